//! WebSockets: the host holds the connections, the component answers what happens on
//! them. This one says everything to everybody who is there.
//!
//! ```toml
//! [components.socket-example]
//! mounts = ["/api/hall"]
//! grants.sockets = []
//! ```

use schemars::JsonSchema;
use sdk::{
    Call, Data, Result,
    route::{Access::Public, Route, get},
};
use serde::Serialize;

sdk::component!(routes, sockets = hall);

fn routes() -> Vec<Route> {
    vec![get("/api/hall", Public, about)]
}

#[derive(JsonSchema, Serialize)]
struct About {
    socket: &'static str,
}

fn about(_: &Call) -> Result<Data<About>> {
    Ok(Data(About { socket: "/api/hall/ws" }))
}

mod hall {
    use sdk::sockets::{Connection, Endpoint, Event, Frame, broadcast};

    const ROOM: &str = "hall";

    pub fn endpoints() -> Vec<Endpoint> {
        vec![Endpoint { path: "/api/hall/ws".into(), max_frame_bytes: 4096, failure: "That failed".into() }]
    }

    pub fn handle(connection: &Connection, event: Event) {
        match event {
            Event::Opened(_) => connection.join(ROOM),
            Event::Text(text) => broadcast(ROOM, &Frame::text(text)),
            _ => (),
        }
    }

    pub fn published(_channel: &str, _payload: &str) {}

    pub fn missed(_rooms: &[String]) {}
}
