//! What the host has done every so often.

use crate::{chat, settings, store};
use schemars::JsonSchema;
use sdk::{Call, Data, Result, log};
use serde::Serialize;

#[derive(JsonSchema, Serialize)]
pub struct Closed {
    closed: usize,
}

/// Closes sessions in which nobody has written for long, each in a transaction
/// of its own, the longest idle first. What one run leaves is for the next.
pub fn close_idle(_: &Call) -> Result<Data<Closed>> {
    let seconds = settings::idle_timeout();
    let idle = store::list_idle_sessions(seconds)?;
    // A guest who is connected keeps the session open, however quiet it is: here
    // is the place to take off those that have a guest's socket on some node.
    let mut closed = 0;
    for id in &idle {
        match chat::close_idle(id, seconds) {
            Ok(is_closed) => closed += usize::from(is_closed),
            // One session that cannot be closed must not keep the others open.
            Err(error) => log::error(&format!("an idle session stays open: {error:?}")),
        }
    }
    Ok(Data(Closed { closed }))
}
