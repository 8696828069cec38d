//! A call of another component, inside the host. The other sees this one's name as the
//! calling service.
//!
//! ```toml
//! [components.call-example]
//! mounts = ["/api/messenger"]
//! grants.calls = ["hello-example"]
//! ```

use schemars::JsonSchema;
use sdk::{
    Call, Data, Error, Result, components,
    route::{Access::Public, Route, get},
};
use serde::Serialize;
use serde_json::Value;

sdk::component!(routes);

fn routes() -> Vec<Route> {
    vec![get("/api/messenger", Public, deliver)]
}

#[derive(JsonSchema, Serialize)]
struct Delivered {
    status: u16,
    answer: Value,
}

fn deliver(_: &Call) -> Result<Data<Delivered>> {
    let answer = components::get("hello-example", "/api/hello", "name=Ada");
    let answer = answer.map_err(|error| Error::internal(format!("hello-example: {error}")))?;
    Ok(Data(Delivered { status: answer.status, answer: answer.body }))
}
