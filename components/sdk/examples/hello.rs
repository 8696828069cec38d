//! The smallest component: one route, and a query that is checked before the handler
//! runs. It needs no grants.
//!
//! ```toml
//! [components.hello-example]
//! mounts = ["/api/hello"]
//! ```

use schemars::JsonSchema;
use sdk::{
    Call, Data, Query, Result, Text, request,
    route::{Access::Public, Route, get},
};
use serde::Serialize;

sdk::component!(routes);

fn routes() -> Vec<Route> {
    vec![get("/api/hello", Public, greet)]
}

request! {
    struct Whom {
        name: Option<Text<1, 60>>,
    }
}

#[derive(JsonSchema, Serialize)]
struct Greeting {
    message: String,
}

fn greet(_: &Call, Query(whom): Query<Whom>) -> Result<Data<Greeting>> {
    let name = whom.name.as_ref().map_or("world", Text::as_str);
    Ok(Data(Greeting { message: format!("Hello, {name}!") }))
}
