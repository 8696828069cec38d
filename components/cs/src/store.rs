//! The statements of this component; no other file names one.
//!
//! A function that takes a [`Transaction`] has to run inside one: it locks rows,
//! or its change belongs together with others.

use crate::domain::{
    ClientMessageId, MessageId, SessionId, UserId,
    messages::{Message, Sender},
    sessions::{Assignment, ListedSession, NewSession, Reason, Session, Standing, Status},
};
use sdk::{
    Page, Role, Timestamp,
    database::{self, Error, Transaction, Value},
    params, row,
};

row! {
    struct Idle {
        id: SessionId,
    }

    /// How far a session has got.
    pub struct Head {
        pub id: SessionId,
        pub status: Status,
        pub last_seq: i64,
    }

    /// Who sits at the desk, and since when by the database's clock.
    pub struct DeskAdmin {
        pub full_name: String,
        pub seen_at: Timestamp,
    }
}

/// A parameter for `any`.
fn list(ids: &[SessionId]) -> Value {
    Value::UuidArray(ids.iter().map(SessionId::to_string).collect())
}

/// Which sessions a list shows.
#[derive(Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub assigned: Option<bool>,
    /// A pattern for `ilike`.
    pub search: Option<String>,
    pub admin: Option<UserId>,
}

impl Filter {
    fn params(&self) -> [Value; 4] {
        params![self.status, self.assigned, self.search, self.admin]
    }
}

pub fn list_sessions(filter: &Filter, page: Page) -> Result<Vec<ListedSession>, Error> {
    let params = [filter.params().as_slice(), &[page.limit(), page.offset()]].concat();
    database::all(include_str!("../sql/list_sessions.sql"), &params)
}

pub fn count_sessions(filter: &Filter) -> Result<i64, Error> {
    database::scalar(include_str!("../sql/count_sessions.sql"), &filter.params())
}

pub fn find_session(id: &SessionId) -> Result<Option<Session>, Error> {
    database::first(include_str!("../sql/find_session.sql"), &params![id])
}

/// All open sessions, and those of these that there are.
pub fn list_desk_sessions(named: &[SessionId]) -> Result<Vec<Session>, Error> {
    database::all(include_str!("../sql/list_desk_sessions.sql"), &[list(named)])
}

/// Of these sessions, and, with `desk`, of all in which an admin can have missed
/// something.
pub fn list_heads(named: &[SessionId], desk: bool) -> Result<Vec<Head>, Error> {
    database::all(include_str!("../sql/list_heads.sql"), &[list(named), Value::Boolean(desk)])
}

pub fn find_standing(id: &SessionId) -> Result<Option<Standing>, Error> {
    database::first(include_str!("../sql/find_standing.sql"), &params![id])
}

/// None if there is no such session.
pub fn find_token_hash(id: &SessionId) -> Result<Option<Vec<u8>>, Error> {
    database::find(include_str!("../sql/find_token_hash.sql"), &params![id])
}

pub fn insert_session(_: &Transaction, new: &NewSession, token_hash: &[u8]) -> Result<SessionId, Error> {
    let params = params![new.guest_name, new.guest_email, new.school, new.class, token_hash.to_vec()];
    database::scalar(include_str!("../sql/insert_session.sql"), &params)
}

/// Everything that happens to a session waits here for what happens before.
pub fn lock_session(_: &Transaction, id: &SessionId) -> Result<Option<Status>, Error> {
    database::find(include_str!("../sql/lock_session.sql"), &params![id])
}

/// As [`lock_session`], but false unless the session is open and nothing was
/// written in it for so long.
pub fn lock_idle_session(_: &Transaction, id: &SessionId, seconds: i64) -> Result<bool, Error> {
    let locked: Option<SessionId> =
        database::find(include_str!("../sql/lock_idle_session.sql"), &params![id, seconds])?;
    Ok(locked.is_some())
}

/// The longest idle first, without the first `kept` of them.
pub fn list_idle_sessions(seconds: i64, kept: i64) -> Result<Vec<SessionId>, Error> {
    let idle: Vec<Idle> = database::all(include_str!("../sql/list_idle_sessions.sql"), &params![seconds, kept])?;
    Ok(idle.into_iter().map(|idle| idle.id).collect())
}

pub fn touch_session(_: &Transaction, id: &SessionId) -> Result<(), Error> {
    database::execute(include_str!("../sql/touch_session.sql"), &params![id]).map(drop)
}

pub fn close_session(_: &Transaction, id: &SessionId, reason: Reason) -> Result<(), Error> {
    database::execute(include_str!("../sql/close_session.sql"), &params![id, reason]).map(drop)
}

pub fn reopen_session(_: &Transaction, id: &SessionId) -> Result<(), Error> {
    database::execute(include_str!("../sql/reopen_session.sql"), &params![id]).map(drop)
}

/// Numbers the message and stores it. The session is locked.
pub fn insert_message(
    _: &Transaction,
    session: &SessionId,
    from: &Sender,
    content: &str,
    name: Option<&ClientMessageId>,
) -> Result<Message, Error> {
    let params = params![session, from.kind(), from.id(), content, name];
    database::one(include_str!("../sql/insert_message.sql"), &params)
}

pub fn find_repeated_message(session: &SessionId, name: &ClientMessageId) -> Result<Option<Message>, Error> {
    database::first(include_str!("../sql/find_repeated_message.sql"), &params![session, name])
}

/// The number of a message of that session.
pub fn find_message_seq(session: &SessionId, id: &MessageId) -> Result<Option<i64>, Error> {
    database::find(include_str!("../sql/find_message_seq.sql"), &params![session, id])
}

/// The number of the last message that was stored before, or 0.
pub fn find_seq_before(session: &SessionId, time: Timestamp) -> Result<i64, Error> {
    database::scalar(include_str!("../sql/find_seq_before.sql"), &params![session, time])
}

/// Newest first.
pub fn list_messages_before(session: &SessionId, seq: i64, limit: i64) -> Result<Vec<Message>, Error> {
    database::all(include_str!("../sql/list_messages_before.sql"), &params![session, seq, limit])
}

/// Oldest first.
pub fn list_messages_after(session: &SessionId, seq: i64, limit: i64) -> Result<Vec<Message>, Error> {
    database::all(include_str!("../sql/list_messages_after.sql"), &params![session, seq, limit])
}

pub fn find_assignment(session: &SessionId) -> Result<Option<Assignment>, Error> {
    database::first(include_str!("../sql/find_assignment.sql"), &params![session])
}

/// In place of whoever holds the session. The session is locked.
pub fn put_assignment(_: &Transaction, session: &SessionId, admin: &UserId) -> Result<Assignment, Error> {
    database::one(include_str!("../sql/put_assignment.sql"), &params![session, admin])
}

pub fn delete_assignment(_: &Transaction, session: &SessionId) -> Result<(), Error> {
    database::execute(include_str!("../sql/delete_assignment.sql"), &params![session]).map(drop)
}

/// None if there is no such user, or not any more.
pub fn find_role(id: &UserId) -> Result<Option<Role>, Error> {
    database::find(include_str!("../sql/find_role.sql"), &params![id])
}

pub fn find_desk_admin(id: &UserId) -> Result<Option<DeskAdmin>, Error> {
    database::first(include_str!("../sql/find_desk_admin.sql"), &params![id])
}
