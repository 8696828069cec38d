//! One file per side of the chat: request, domain, answer. Neither SQL nor
//! rules.

pub mod demo;
pub mod desk;
pub mod guest;
pub mod tasks;

use crate::domain::messages::Message;
use schemars::JsonSchema;
use sdk::Stored;
use serde::Serialize;

/// What was sent, as it is stored.
#[derive(JsonSchema, Serialize)]
pub struct Sent {
    message: Message,
}

fn sent(stored: Stored<Message>) -> Stored<Sent> {
    match stored {
        Stored::New(message) => Stored::New(Sent { message }),
        Stored::Known(message) => Stored::Known(Sent { message }),
    }
}
