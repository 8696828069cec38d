//! A transaction: everything in it is kept, or nothing. Returning an error rolls back,
//! as do a trap, a timeout and a client that hangs up.
//!
//! ```toml
//! [components.transaction-example]
//! mounts = ["/api/pairs"]
//! grants.database = "shema_course"
//! ```

use schemars::JsonSchema;
use sdk::{
    Call, Data, Error, Result, codes, database, params,
    route::{Access::Public, Route, post},
};
use serde::Serialize;

sdk::component!(routes);

fn routes() -> Vec<Route> {
    vec![post("/api/pairs", Public, both), post("/api/pairs/broken", Public, one_and_a_half)]
}

#[derive(JsonSchema, Serialize)]
struct Rooms {
    rooms: i64,
}

const INSERT: &str = "insert into course.rooms (name, capacity) values ($1, 2)";
const COUNT: &str = "select count(*) from course.rooms where name like 'Pair %'";

fn both(_: &Call) -> Result<Data<Rooms>> {
    database::transaction(|_| {
        database::execute(INSERT, &params!["Pair one"])?;
        database::execute(INSERT, &params!["Pair two"])?;
        Ok(Data(Rooms { rooms: database::scalar(COUNT, &[])? }))
    })
}

fn one_and_a_half(_: &Call) -> Result<Data<Rooms>> {
    database::transaction(|_| {
        database::execute(INSERT, &params!["Pair three"])?;
        Err(Error::new(codes::VALIDATION_ERROR, "There is no fourth"))
    })
}
