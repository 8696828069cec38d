//! What can happen to a session. Each function is one transaction that locks
//! the session first and tells the others last; who may call it has been judged
//! before. Requests and socket frames come here alike.

use crate::{
    domain::{
        SessionId, UserId,
        messages::{self, Content, Cursor, Excerpt, Message, NewMessage, Sender, Window},
        sessions::{self, Assigned, Assignment, NewSession, Reason, Session, SessionAssignment, Started, Status},
        token::Token,
    },
    live, store,
};
use sdk::{
    Error, Result, Stored,
    database::{Transaction, transaction},
};

/// Always a new session: to find an old one by email would open it to
/// everybody who knows the address.
pub fn start(new: &NewSession) -> Result<Started> {
    let token = draw_token()?;
    let (session, message) = transaction(|transaction| {
        let id = store::insert_session(transaction, new, &token.hash())?;
        let first = new.initial_message.as_ref().map(Content::as_str);
        let message =
            first.map(|text| store::insert_message(transaction, &id, &Sender::Guest, text, None)).transpose()?;
        let session = present(&id)?;
        live::started(transaction, &session)?;
        if let Some(message) = &message {
            live::new_message(transaction, message)?;
        }
        Ok((session, message))
    })?;
    Ok(Started { session, session_token: token, message })
}

/// Stores a message, or finds the one that the sender repeats. An admin who
/// answers an unassigned session gets it.
pub fn send(id: &SessionId, from: &Sender, new: &NewMessage) -> Result<Stored<Message>> {
    transaction(|transaction| {
        let status = lock(transaction, id)?;
        // Before everything else, and under the lock: a repeat gets its answer
        // whatever has happened since, and of two at once one is a repeat.
        if let Some(name) = &new.client_message_id
            && let Some(stored) = store::find_repeated_message(id, name)?
        {
            return messages::repeated(stored, from).map(Stored::Known);
        }
        sessions::check_open(status)?;
        if let Sender::Admin(admin) = from {
            claim_locked(transaction, id, admin)?;
        }
        let name = new.client_message_id.as_ref();
        let message = store::insert_message(transaction, id, from, new.content.as_str(), name)?;
        live::new_message(transaction, &message)?;
        Ok(Stored::New(message))
    })
}

/// Gives an unassigned session to the admin who asks for it.
pub fn claim(id: &SessionId, admin: &UserId) -> Result<Assigned> {
    transaction(|transaction| {
        sessions::check_open(lock(transaction, id)?)?;
        let assignment = claim_locked(transaction, id, admin)?;
        assigned(id, assignment)
    })
}

/// Gives a session to an admin, whoever has it now.
pub fn assign(id: &SessionId, admin: &UserId) -> Result<Assigned> {
    transaction(|transaction| {
        let status = lock(transaction, id)?;
        sessions::check_assignee(store::find_role(admin)?)?;
        sessions::check_open(status)?;
        let assignment = match store::find_assignment(id)? {
            Some(present) if present.admin_id == *admin => present,
            _ => appoint(transaction, id, admin)?,
        };
        assigned(id, assignment)
    })
}

/// Closes or re-opens a session for an admin; does nothing if it is so already.
pub fn set_status(id: &SessionId, status: Status) -> Result<Session> {
    transaction(|transaction| match (lock(transaction, id)?, status) {
        (Status::Open, Status::Closed) => close(transaction, id, Reason::ClosedByAdmin),
        (Status::Closed, Status::Open) => {
            store::reopen_session(transaction, id)?;
            live::status_changed(transaction, id, status)?;
            present(id)
        }
        (Status::Open, Status::Open) | (Status::Closed, Status::Closed) => present(id),
    })
}

/// Closes a session in which nothing was written for `seconds`; false if that
/// is not so any more.
pub fn close_idle(id: &SessionId, seconds: i64) -> Result<bool> {
    transaction(|transaction| {
        let is_idle = store::lock_idle_session(transaction, id, seconds)?;
        if is_idle {
            close(transaction, id, Reason::IdleTimeout)?;
        }
        Ok(is_idle)
    })
}

/// The part of the messages that a reader asks for.
pub fn read(id: &SessionId, window: &Window) -> Result<Excerpt> {
    let seq_of = |message, name| store::find_message_seq(id, message)?.ok_or_else(|| messages::unknown_cursor(name));
    let (seq, backwards) = match &window.cursor {
        Cursor::Newest => (i64::MAX, true),
        Cursor::Before(message) => (seq_of(message, "before")?, true),
        Cursor::After(message) => (seq_of(message, "after")?, false),
        Cursor::AfterSeq(seq) => (*seq, false),
    };
    let list = if backwards { store::list_messages_before } else { store::list_messages_after };
    // One more than is shown tells whether it goes on.
    Ok(Excerpt::new(list(id, seq, window.limit + 1)?, window.limit, backwards))
}

fn lock(transaction: &Transaction, id: &SessionId) -> Result<Status> {
    store::lock_session(transaction, id)?.ok_or_else(sessions::not_found)
}

/// Who holds the session is read after the lock: in the statement that waits
/// for the lock it would be what it was before the wait.
fn claim_locked(transaction: &Transaction, id: &SessionId, admin: &UserId) -> Result<Assignment> {
    match store::find_assignment(id)? {
        Some(holder) => sessions::check_holder(&holder, admin).map(|()| holder),
        None => appoint(transaction, id, admin),
    }
}

fn appoint(transaction: &Transaction, id: &SessionId, admin: &UserId) -> Result<Assignment> {
    let assignment = store::put_assignment(transaction, id, admin)?;
    store::touch_session(transaction, id)?;
    live::assigned(transaction, id, &assignment)?;
    Ok(assignment)
}

fn assigned(id: &SessionId, assignment: Assignment) -> Result<Assigned> {
    Ok(Assigned { session: present(id)?, assignment: SessionAssignment { session_id: id.clone(), assignment } })
}

fn close(transaction: &Transaction, id: &SessionId, reason: Reason) -> Result<Session> {
    store::delete_assignment(transaction, id)?;
    let farewell = store::insert_message(transaction, id, &Sender::System, reason.farewell(), None)?;
    store::close_session(transaction, id, reason)?;
    let session = present(id)?;
    live::new_message(transaction, &farewell)?;
    live::status_changed(transaction, id, session.status)?;
    live::closed(transaction, id, reason, session.closed_at)?;
    Ok(session)
}

fn present(id: &SessionId) -> Result<Session> {
    store::find_session(id)?.ok_or_else(sessions::not_found)
}

fn draw_token() -> Result<Token> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| Error::internal(format!("no randomness: {error}")))?;
    Ok(Token::new(secret))
}
