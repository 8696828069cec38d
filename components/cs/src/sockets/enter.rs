//! How a connection becomes a guest's or an admin's.
//!
//! Before anything is read the connection joins its room, so that what is told
//! meanwhile waits. Then it learns where things stand, and gets its place in
//! each session: from there on it is brought up to date (`replay`) and told what
//! is new, both by numbers.

use super::{
    credential::{self, Credential},
    envelope::{Envelope, Malformed},
    presence,
    refusal::{admins_only, close, refuse, send_error},
    replay,
    resume::{Seen, SeenOf},
    state::{State, Who},
};
use crate::{
    chat,
    domain::{
        SessionId, UserId,
        messages::Window,
        sessions::{self, NewSession, Session, Status},
        token::Token,
    },
    rooms::{self, DESK},
    settings, store,
};
use sdk::{
    Error, Principal, Problem, Result, Role, codes,
    request::{Request, Source},
    sockets::{self, Connection, Opening},
};
use serde_json::{Map, Value, json};

/// Of a frame after the first.
pub const MAX_FRAME_BYTES: u32 = 16 << 10;
/// Milliseconds in which a client has to authenticate.
const AUTH_TIMEOUT: u64 = 10_000;

pub fn authenticate_opening(connection: &Connection, opening: &Opening) {
    match credential::of_opening(opening, connection.caller.is_some(), !settings::token_required()) {
        Ok(Some(credential)) => enter(connection, credential, None),
        Ok(None) => connection.set_timer(AUTH_TIMEOUT),
        Err(error) => refuse(connection, &error, None),
    }
}

pub fn authenticate_frame(connection: &Connection, text: &str) {
    match Envelope::read(text) {
        Ok(frame) if frame.kind == "auth" => match credential::of_frame(&frame) {
            Ok(credential) => enter(connection, credential, frame.id.as_deref()),
            Err(error) => refuse(connection, &error, frame.id.as_deref()),
        },
        Err(Malformed { kind: Some(kind), id }) if kind == "auth" => {
            refuse(connection, &Problem::custom("data", "must be an object").into(), id.as_deref());
        }
        _ if text.len() > MAX_FRAME_BYTES as usize => connection.close(close::TOO_LARGE, "frame too large"),
        Ok(Envelope { id, .. }) | Err(Malformed { id, .. }) => reject_unauthenticated(connection, id.as_deref()),
    }
}

/// The first frame has to be the authentication.
pub fn reject_unauthenticated(connection: &Connection, id: Option<&str>) {
    refuse(connection, &unauthenticated(), id);
}

pub fn time_out(connection: &Connection) {
    send_error(connection, &unauthenticated(), None);
    connection.close(close::TIMEOUT, "not authenticated in time");
}

fn unauthenticated() -> Error {
    Error::new(codes::AUTH_MISSING_TOKEN, "Please say who you are first")
}

fn enter(connection: &Connection, credential: Credential, id: Option<&str>) {
    let entered = match credential {
        Credential::Verified { after } => match &connection.caller {
            Some(user) if user.role == Role::Admin => admit_admin(connection, user, after.as_ref(), id),
            _ => Err(admins_only()),
        },
        Credential::Admin { token, after } => {
            let user = connection.authenticate(&token, Role::Admin);
            user.and_then(|user| admit_admin(connection, &user, after.as_ref(), id))
        }
        Credential::Guest { session, token, after } => {
            let known = chat::check_guest(&session, token.as_deref());
            known.and_then(|()| admit_guest(connection, &session, after, None, id))
        }
        Credential::NewGuest { name, email } => new_guest(connection, name, email),
    };
    if let Err(error) = entered {
        refuse(connection, &error, id);
    }
}

/// Under the rules and limits of CS-1: what is counted there is counted here.
fn new_guest(connection: &Connection, name: Option<String>, email: Option<String>) -> Result<()> {
    sockets::admit("chat_session", &connection.client)?;
    let sent = [("guest_name", name), ("guest_email", email)];
    let body = sent.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::String(value?))));
    let new = NewSession::read(&Source::Body(&body.collect::<Map<_, _>>()))?;
    let started = chat::start(&new)?;
    admit_guest(connection, &started.session.id, None, Some(&started.session_token), None)
}

/// Makes the connection one of the session's guests.
fn admit_guest(
    connection: &Connection,
    id: &SessionId,
    after: Option<Seen>,
    token: Option<&Token>,
    answers: Option<&str>,
) -> Result<()> {
    presence::guest_connecting(id);
    connection.join(&rooms::guests(id));
    let session = store::find_session(id)?.ok_or_else(sessions::not_found)?;
    let (head, status) = (session.message_count, session.status);
    // Not those that came after the session was read: they come live.
    let mut messages = match after {
        None => store::list_messages_before(id, head + 1, Window::NEWEST.limit)?,
        Some(_) => vec![],
    };
    messages.reverse();
    let mut data = json!({ "session": session.for_guest(), "seq": head, "messages": messages });
    if let Some(token) = token {
        data["session_token"] = json!(token);
    }
    // Beyond the contract, and only if the operator has something to say.
    for (name, text) in [("greeting", settings::greeting()), ("office_hours", settings::office_hours())] {
        if let Some(text) = text {
            data[name] = text.into();
        }
    }
    welcome(connection, Who::Guest { session: id.clone() }, &data, answers)?;
    let stream = id.to_string();
    connection.set_position(&stream, rooms::number(after.map_or(head, |seen| seen.up_to(head))));
    connection.catch_up(&stream, rooms::goal(status, head));
    Ok(())
}

/// Makes the connection one of the admins'.
fn admit_admin(connection: &Connection, user: &Principal, after: Option<&SeenOf>, answers: Option<&str>) -> Result<()> {
    connection.join(DESK);
    let admin = store::find_desk_admin(&UserId(user.user_id.clone()))?;
    let admin = admin.ok_or_else(|| Error::new(codes::AUTH_UNAUTHORIZED, "The user is gone"))?;
    let sessions = store::list_desk_sessions(&after.map(SeenOf::sessions).unwrap_or_default())?;
    let heads: Map<String, Value> =
        sessions.iter().map(|session| (session.id.to_string(), session.message_count.into())).collect();
    let mut data = json!({
        "admin": { "id": user.user_id, "full_name": admin.full_name },
        "open_sessions": sessions.iter().filter(|session| session.status == Status::Open).count(),
        "seq": heads,
    });
    if after.is_some() {
        data["sessions"] = json!(sessions);
    }
    let since = after.is_none().then(|| replay::news_since(admin.seen_at));
    welcome(connection, Who::Admin { since }, &data, answers)?;
    for Session { id, message_count: head, .. } in &sessions {
        let stream = id.to_string();
        let seen = after.map_or(*head, |after| after.of(id).up_to(*head));
        // What a call may ask for is limited, so not more than has to be said:
        // a place begins at 0.
        if seen > 0 {
            connection.set_position(&stream, rooms::number(seen));
        }
        if seen < *head {
            connection.catch_up(&stream, rooms::number(*head));
        }
    }
    Ok(())
}

fn welcome(connection: &Connection, who: Who, data: &Value, answers: Option<&str>) -> Result<()> {
    connection.set_timer(0);
    connection.set_limit(MAX_FRAME_BYTES.into());
    connection.set_state(&State { who: Some(who), ..State::default() })?;
    connection.send(&rooms::frame("connected", data, answers));
    Ok(())
}
