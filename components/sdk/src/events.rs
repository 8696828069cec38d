//! Events for the rest of the system, through the host's outbox.

use crate::{
    bindings::shema::events::outbox,
    database::Transaction,
    error::{Error, Result},
};
use serde_json::Value;

/// What happened.
pub struct Event<'a> {
    pub channel: &'a str,
    /// Names the thing that changed, whose row the transaction has inserted or
    /// locked: that puts the events of one key in order.
    pub key: String,
    /// Upper snake case.
    pub kind: &'a str,
    /// A flat object in camel case.
    pub fields: Value,
}

/// Writes the event in the open transaction, so that it is kept exactly if the
/// change is.
pub fn publish(_: &Transaction, event: Event<'_>) -> Result<()> {
    let event = outbox::Event {
        channel: event.channel.to_owned(),
        key: event.key,
        event_type: Some(event.kind.to_owned()),
        fields: event.fields.to_string(),
    };
    match outbox::publish(&event) {
        Ok(_) => Ok(()),
        Err(outbox::Error::Database(error)) => Err(error.into()),
        Err(error) => Err(Error::internal(format!("event {}: {error}", event.channel))),
    }
}
