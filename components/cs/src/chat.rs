//! What can happen to a session. Each function is one transaction that locks
//! the session first and tells the others last; who may call it has been judged
//! before. Requests and socket frames come here alike.

use crate::{
    domain::{
        SessionId, UserId,
        messages::{self, Content, Cursor, Excerpt, Message, NewMessage, Sender, Window},
        sessions::{self, Assigned, Assignment, NewSession, Reason, Session, SessionAssignment, Started, Status},
        token::{self, Token},
    },
    live::{self, Change},
    settings, store,
};
use sdk::{Error, Result, Stored};

/// Whether the guest's token is shown; a wrong one is refused.
pub fn presents_token(id: &SessionId, token: Option<&str>) -> Result<bool> {
    let hash = store::find_token_hash(id)?.ok_or_else(sessions::not_found)?;
    match token.filter(|token| !token.is_empty()) {
        Some(token) => token::check(token, &hash).map(|()| true),
        None => Ok(false),
    }
}

/// Whoever does not show the guest's token is refused.
pub fn check_guest(id: &SessionId, token: Option<&str>) -> Result<()> {
    if !presents_token(id, token)? && settings::token_required() {
        return Err(token::missing());
    }
    Ok(())
}

/// Always a new session: to find an old one by email would open it to
/// everybody who knows the address.
pub fn start(new: &NewSession) -> Result<Started> {
    let token = random_token()?;
    let (session, message) = live::change(|change| {
        let id = store::insert_session(change, new, &token.hash())?;
        let first = new.initial_message.as_ref().map(Content::as_str);
        let message = first.map(|text| store::insert_message(change, &id, &Sender::Guest, text, None)).transpose()?;
        let session = load(&id)?;
        live::started(change, &session)?;
        if let Some(message) = &message {
            live::new_message(change, message)?;
        }
        Ok((session, message))
    })?;
    Ok(Started { session, session_token: token, message })
}

/// Stores a message, or finds the one that the sender repeats. An admin who
/// answers an unassigned session gets it.
pub fn send(id: &SessionId, from: &Sender, new: &NewMessage) -> Result<Stored<Message>> {
    live::change(|change| {
        let status = lock(change, id)?;
        // Before everything else, and under the lock: a repeat gets its answer
        // whatever has happened since, and of two at once one is a repeat.
        if let Some(name) = &new.client_message_id
            && let Some(stored) = store::find_repeated_message(id, name)?
        {
            return messages::repeated(stored, from).map(Stored::Known);
        }
        sessions::check_open(status)?;
        if let Sender::Admin(admin) = from {
            claim_locked(change, id, admin)?;
        }
        let name = new.client_message_id.as_ref();
        let message = store::insert_message(change, id, from, new.content.as_str(), name)?;
        live::new_message(change, &message)?;
        Ok(Stored::New(message))
    })
}

/// Gives an unassigned session to the admin who asks for it.
pub fn claim(id: &SessionId, admin: &UserId) -> Result<Assigned> {
    live::change(|change| {
        sessions::check_open(lock(change, id)?)?;
        let assignment = claim_locked(change, id, admin)?;
        assigned(id, assignment)
    })
}

/// Gives a session to an admin, whoever has it now.
pub fn assign(id: &SessionId, admin: &UserId) -> Result<Assigned> {
    live::change(|change| {
        let status = lock(change, id)?;
        sessions::check_assignee(store::find_role(admin)?)?;
        sessions::check_open(status)?;
        let assignment = match store::find_assignment(id)? {
            Some(present) if present.admin_id == *admin => present,
            _ => appoint(change, id, admin)?,
        };
        assigned(id, assignment)
    })
}

/// Closes or re-opens a session for an admin; does nothing if it is so already.
pub fn set_status(id: &SessionId, status: Status) -> Result<Session> {
    live::change(|change| match (lock(change, id)?, status) {
        (Status::Open, Status::Closed) => close(change, id, Reason::ClosedByAdmin),
        (Status::Closed, Status::Open) => {
            store::reopen_session(change, id)?;
            live::status_changed(change, id, status)?;
            load(id)
        }
        (Status::Open, Status::Open) | (Status::Closed, Status::Closed) => load(id),
    })
}

/// Closes a session in which nothing was written for `seconds`; false if that
/// is not so any more.
pub fn close_idle(id: &SessionId, seconds: i64) -> Result<bool> {
    live::change(|change| {
        let is_idle = store::lock_idle_session(change, id, seconds)?;
        if is_idle {
            close(change, id, Reason::IdleTimeout)?;
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

fn lock(change: &Change<'_>, id: &SessionId) -> Result<Status> {
    store::lock_session(change, id)?.ok_or_else(sessions::not_found)
}

/// Who holds the session is read after the lock: in the statement that waits
/// for the lock it would be what it was before the wait.
fn claim_locked(change: &Change<'_>, id: &SessionId, admin: &UserId) -> Result<Assignment> {
    match store::find_assignment(id)? {
        Some(holder) => sessions::check_holder(&holder, admin).map(|()| holder),
        None => appoint(change, id, admin),
    }
}

fn appoint(change: &Change<'_>, id: &SessionId, admin: &UserId) -> Result<Assignment> {
    let assignment = store::put_assignment(change, id, admin)?;
    store::touch_session(change, id)?;
    live::assigned(change, id, &assignment)?;
    Ok(assignment)
}

fn assigned(id: &SessionId, assignment: Assignment) -> Result<Assigned> {
    Ok(Assigned { session: load(id)?, assignment: SessionAssignment { session_id: id.clone(), assignment } })
}

fn close(change: &Change<'_>, id: &SessionId, reason: Reason) -> Result<Session> {
    store::delete_assignment(change, id)?;
    let farewell = store::insert_message(change, id, &Sender::System, reason.farewell(), None)?;
    store::close_session(change, id, reason)?;
    let session = load(id)?;
    live::new_message(change, &farewell)?;
    live::status_changed(change, id, session.status)?;
    live::closed(change, id, reason, session.closed_at)?;
    Ok(session)
}

fn load(id: &SessionId) -> Result<Session> {
    store::find_session(id)?.ok_or_else(sessions::not_found)
}

fn random_token() -> Result<Token> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| Error::internal(format!("no randomness: {error}")))?;
    Ok(Token::new(secret))
}
