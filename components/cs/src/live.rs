//! What others are notified of: frames for the sockets, and events for the rest of
//! the system.
//!
//! Both are rows of the outbox under the session's key, so that they go out in
//! the order in which they are written here, and only if the change is kept. The
//! sockets of this host do not wait for that: they get the frames when the change
//! is committed, and the hub drops those that come again by their event's id.

use crate::{
    domain::{
        SessionId,
        messages::Message,
        sessions::{Assignment, Reason, Session, Status},
    },
    rooms::{Kind, Notification},
};
use sdk::{
    Result, Timestamp,
    database::{self, Transaction},
    events::{self, Event},
};
use serde_json::{Value, json};
use std::{cell::RefCell, ops::Deref};

/// An open transaction, and what the sockets of this host are sent after it.
pub struct Change<'a> {
    transaction: &'a Transaction,
    notifications: RefCell<Vec<Notification>>,
}

impl Deref for Change<'_> {
    type Target = Transaction;

    fn deref(&self) -> &Transaction {
        self.transaction
    }
}

/// Runs `work` in a transaction, and notifies the sockets of this host after it.
pub fn change<T>(mut work: impl FnMut(&Change<'_>) -> Result<T>) -> Result<T> {
    let (value, notifications) = database::transaction(|transaction| {
        // A new list for each attempt: nothing is sent of one that failed.
        let change = Change { transaction, notifications: RefCell::default() };
        let value = work(&change)?;
        Ok((value, change.notifications.into_inner()))
    })?;
    notifications.iter().for_each(Notification::deliver);
    Ok(value)
}

pub fn started(change: &Change<'_>, session: &Session) -> Result<()> {
    announce(change, &session.id, "chat.session.created", "CHAT_SESSION_CREATED")?;
    send(change, &session.id, Kind::SessionCreated, json!({ "session": session }))
}

pub fn new_message(change: &Change<'_>, message: &Message) -> Result<()> {
    send(change, &message.session_id, Kind::NewMessage, json!(message))
}

pub fn assigned(change: &Change<'_>, session: &SessionId, assignment: &Assignment) -> Result<()> {
    let admin = json!({ "id": assignment.admin_id, "full_name": assignment.admin_name });
    send(change, session, Kind::SessionAssigned, json!({ "session_id": session, "admin": admin }))
}

pub fn status_changed(change: &Change<'_>, session: &SessionId, status: Status) -> Result<()> {
    send(change, session, Kind::SessionStatusChanged, json!({ "session_id": session, "status": status }))
}

pub fn closed(change: &Change<'_>, session: &SessionId, reason: Reason, closed_at: Option<Timestamp>) -> Result<()> {
    send(change, session, Kind::SessionClosed, ending(session, Some(reason), closed_at))?;
    announce(change, session, "chat.session.closed", "CHAT_SESSION_CLOSED")
}

/// What is said when a session is closed.
pub fn ending(session: &SessionId, reason: Option<Reason>, closed_at: Option<Timestamp>) -> Value {
    json!({ "session_id": session, "reason": reason, "closed_at": closed_at })
}

fn send(change: &Change<'_>, session: &SessionId, kind: Kind, data: Value) -> Result<()> {
    let frame = json!({ "type": kind, "data": data });
    let event_id = events::publish_plain(change, &format!("chat:session:{session}"), key(session), &frame)?;
    change.notifications.borrow_mut().push(Notification { session: session.clone(), event_id, kind, data });
    Ok(())
}

fn announce(change: &Change<'_>, session: &SessionId, channel: &str, kind: &str) -> Result<()> {
    let fields = json!({ "sessionId": session });
    events::publish(change, Event { channel, key: key(session), kind, fields })
}

fn key(session: &SessionId) -> String {
    format!("chat:{session}")
}
