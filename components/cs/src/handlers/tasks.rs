//! Scheduled work, which the host calls.

use crate::{chat, rooms, settings, store};
use schemars::JsonSchema;
use sdk::{Call, Data, Result, log, sockets};
use serde::Serialize;

#[derive(JsonSchema, Serialize)]
pub struct Closed {
    closed: usize,
}

/// Sessions closed in one run; the rest is left to the next.
const MAX_PER_RUN: usize = 500;

/// Closes sessions in which nobody has written for long, each in a transaction
/// of its own, the longest idle first. A guest who is connected, to whichever
/// host, keeps the session open, however quiet it is.
pub fn close_idle(_: &Call) -> Result<Data<Closed>> {
    let seconds = settings::idle_timeout();
    let (mut closed, mut kept) = (0, 0);
    while closed < MAX_PER_RUN {
        let idle = store::list_idle_sessions(seconds, kept)?;
        if idle.is_empty() {
            break;
        }
        let rooms: Vec<String> = idle.iter().map(rooms::guests).collect();
        let present = sockets::present(&rooms);
        for (id, room) in idle.iter().zip(&rooms) {
            if present.contains(room) {
                kept += 1;
                continue;
            }
            match chat::close_idle(id, seconds) {
                Ok(is_closed) => closed += usize::from(is_closed),
                // One session that cannot be closed must not keep the others open.
                Err(error) => {
                    log::error(&format!("an idle session stays open: {error:?}"));
                    kept += 1;
                }
            }
        }
    }
    Ok(Data(Closed { closed }))
}
