//! An event, written in the transaction of the change and shipped to Redis after its
//! commit, however long Redis is away.
//!
//! ```toml
//! [components.events-example]
//! mounts = ["/api/bells"]
//! grants.database = "shema_course"
//! grants.events = ["bell.*"]
//! ```

use schemars::JsonSchema;
use sdk::{
    Call, Data, Result, database,
    events::{self, Event},
    route::{Access::Public, Route, post},
};
use serde::Serialize;
use serde_json::json;

sdk::component!(routes);

fn routes() -> Vec<Route> {
    vec![post("/api/bells", Public, ring)]
}

#[derive(JsonSchema, Serialize)]
struct Rung {
    times: i64,
}

fn ring(_: &Call) -> Result<Data<Rung>> {
    database::transaction(|transaction| {
        let fields = json!({ "times": 3 });
        let event = Event { channel: "bell.rung", key: "bell:1".into(), kind: "BELL_RUNG", fields };
        events::publish(transaction, event)?;
        Ok(Data(Rung { times: 3 }))
    })
}
