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
    write(event.channel, event.key, Some(event.kind), &event.fields).map(drop)
}

/// As [`publish`], but for what goes out as it stands, an object without type
/// and timestamp; the host adds `eventId` alone, which this gives.
pub fn publish_plain(_: &Transaction, channel: &str, key: String, payload: &Value) -> Result<String> {
    write(channel, key, None, payload)
}

fn write(channel: &str, key: String, kind: Option<&str>, fields: &Value) -> Result<String> {
    let event = outbox::Event {
        channel: channel.to_owned(),
        key,
        event_type: kind.map(str::to_owned),
        fields: fields.to_string(),
    };
    match outbox::publish(&event) {
        Ok(id) => Ok(id),
        Err(outbox::Error::Database(error)) => Err(error.into()),
        Err(error) => Err(Error::internal(format!("event {channel}: {error}"))),
    }
}
