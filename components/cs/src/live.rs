//! What the others get to hear: frames for the sockets, and events for the rest
//! of the system.
//!
//! Both are rows of the outbox under the session's key, so that they go out in
//! the order in which they are written here, and only if the change is kept.
//! Frames are complete; for guests the host takes off what only admins see.

use crate::domain::{
    SessionId,
    messages::Message,
    sessions::{Assignment, Reason, Session, Status},
};
use sdk::{
    Result, Timestamp,
    database::Transaction,
    events::{self, Event},
};
use serde_json::{Value, json};

pub fn started(transaction: &Transaction, session: &Session) -> Result<()> {
    announce(transaction, &session.id, "chat.session.created", "CHAT_SESSION_CREATED")?;
    send(transaction, &session.id, "session_created", json!({ "session": session }))
}

pub fn new_message(transaction: &Transaction, message: &Message) -> Result<()> {
    send(transaction, &message.session_id, "new_message", json!(message))
}

pub fn assigned(transaction: &Transaction, session: &SessionId, assignment: &Assignment) -> Result<()> {
    let admin = json!({ "id": assignment.admin_id, "full_name": assignment.admin_name });
    send(transaction, session, "session_assigned", json!({ "session_id": session, "admin": admin }))
}

pub fn status_changed(transaction: &Transaction, session: &SessionId, status: Status) -> Result<()> {
    send(transaction, session, "session_status_changed", json!({ "session_id": session, "status": status }))
}

pub fn closed(
    transaction: &Transaction,
    session: &SessionId,
    reason: Reason,
    closed_at: Option<Timestamp>,
) -> Result<()> {
    let data = json!({ "session_id": session, "reason": reason, "closed_at": closed_at });
    send(transaction, session, "session_closed", data)?;
    announce(transaction, session, "chat.session.closed", "CHAT_SESSION_CLOSED")
}

fn send(transaction: &Transaction, session: &SessionId, kind: &str, data: Value) -> Result<()> {
    let frame = json!({ "type": kind, "data": data });
    events::publish_plain(transaction, &format!("chat:session:{session}"), key(session), &frame)
}

fn announce(transaction: &Transaction, session: &SessionId, channel: &str, kind: &str) -> Result<()> {
    let fields = json!({ "sessionId": session });
    events::publish(transaction, Event { channel, key: key(session), kind, fields })
}

fn key(session: &SessionId) -> String {
    format!("chat:{session}")
}
