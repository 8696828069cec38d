//! The frames of those who are known, and what is answered.
//!
//! Three go beyond the API contract, which allows that: `mark_read`
//! `{"session_id"?, "seq"}` reaches the other side as `messages_read`
//! `{"session_id","role","seq"}`. `watch_presence` `{}` of an admin is answered
//! with `online_guests` `{"session_ids"}`; from then on that connection gets
//! `presence` `{"session_id","online"}`. Nobody gets them who does not ask.

use super::{
    envelope::Envelope,
    pace, presence,
    refusal::admins_only,
    resume::Seen,
    state::{State, Who},
};
use crate::{
    chat,
    domain::{
        SessionId, UserId,
        messages::{NewMessage, Sender},
        sessions,
    },
    rooms::{self, DESK, Kind, Notification},
    store,
};
use sdk::{
    Code, Error, Int, Principal, Problem, Problems, Result, Stored, request,
    request::{Request, Source},
    sockets::{self, Connection},
};
use serde_json::{Value, json};
use std::time::Duration;

const UNKNOWN_TYPE: Code = Code::new(400, "UNKNOWN_TYPE");

/// A direct reply: type and data.
type Reply = Option<(&'static str, Value)>;

request! {
    struct Target {
        session_id: SessionId,
    }
}

request! {
    struct ReadMark {
        seq: Int<0, { i64::MAX }>,
    }
}

request! {
    struct Subscription {
        session_id: SessionId,
        after_seq: Option<Seen>,
    }
}

pub fn answer(connection: &Connection, state: &mut State, who: &Who, frame: &Envelope) -> Result<Reply> {
    match (frame.kind.as_str(), who) {
        ("ping", _) => Ok(Some(("pong", json!({})))),
        ("send_message", Who::Guest { session }) => send_as_guest(session, frame),
        ("send_message", Who::Admin { .. }) => send_as_admin(user(connection)?, frame),
        ("typing", _) => typing(state, who, frame),
        ("mark_read", _) => mark_read(state, who, frame),
        ("subscribe", Who::Admin { .. }) => subscribe(connection, frame),
        ("unsubscribe", Who::Admin { .. }) => unsubscribe(connection, frame),
        ("watch_presence", Who::Admin { .. }) => Ok(Some(("online_guests", presence::watch(connection)?))),
        ("subscribe" | "unsubscribe" | "watch_presence", Who::Guest { .. }) => Err(admins_only()),
        ("auth", _) => Err(Problem::custom("type", "is for the first frame only").into()),
        _ => Err(Error::new(UNKNOWN_TYPE, "There is no such type of frame")),
    }
}

fn user(connection: &Connection) -> Result<&Principal> {
    connection.caller.as_ref().ok_or_else(|| Error::internal("the connection of an admin has no user"))
}

fn source(frame: &Envelope) -> Source<'_> {
    Source::Body(&frame.data)
}

/// As over HTTP, a message is counted before it is looked at, and counts there
/// as well.
fn send_as_guest(session: &SessionId, frame: &Envelope) -> Result<Reply> {
    sockets::admit("chat_message", &session.to_string())?;
    send(session, &Sender::Guest, &NewMessage::read(&source(frame))?)
}

fn send_as_admin(user: &Principal, frame: &Envelope) -> Result<Reply> {
    let mut problems = Problems::default();
    let target = problems.take(Target::read(&source(frame)));
    let new = problems.take(NewMessage::read(&source(frame)));
    let (Some(target), Some(new)) = (target, new) else { return Err(problems.into()) };
    send(&target.session_id, &Sender::Admin(UserId(user.user_id.clone())), &new)
}

fn send(session: &SessionId, from: &Sender, new: &NewMessage) -> Result<Reply> {
    let (Stored::New(message) | Stored::Known(message)) = chat::send(session, from, new)?;
    let mut data = json!({ "message_id": message.id, "seq": message.seq, "delivered_at": message.created_at });
    if let Some(name) = &new.client_message_id {
        data["client_message_id"] = json!(name);
    }
    Ok(Some(("message_delivered", data)))
}

/// Goes to the other side if it is connected now. Frames above the limit are
/// dropped without an error.
fn typing(state: &mut State, who: &Who, frame: &Envelope) -> Result<Reply> {
    let (session, role) = side(who, frame)?;
    if state.typing.admits(pace::now(), 1, Duration::from_secs(2)) {
        let data = json!({ "session_id": session, "role": role });
        Notification { session, event_id: rooms::random_id()?, kind: Kind::Typing, data }.publish();
    }
    Ok(None)
}

/// The same for how far somebody has read. A client says it again when it comes
/// back, so that this need not be stored.
fn mark_read(state: &mut State, who: &Who, frame: &Envelope) -> Result<Reply> {
    let (session, role) = side(who, frame)?;
    let seq = ReadMark::read(&source(frame))?.seq.get();
    if state.reading.admits(pace::now(), 20, Duration::from_secs(10)) {
        let data = json!({ "session_id": session, "role": role, "seq": seq });
        Notification { session, event_id: rooms::random_id()?, kind: Kind::MessagesRead, data }.publish();
    }
    Ok(None)
}

/// The session that a frame is about, and the side that it comes from.
fn side(who: &Who, frame: &Envelope) -> Result<(SessionId, &'static str)> {
    match who {
        Who::Guest { session } => Ok((session.clone(), rooms::GUEST)),
        Who::Admin { .. } => Ok((Target::read(&source(frame))?.session_id, rooms::ADMIN)),
    }
}

/// Takes a session back: from now on, or from where the admin says.
fn subscribe(connection: &Connection, frame: &Envelope) -> Result<Reply> {
    let Subscription { session_id, after_seq } = Subscription::read(&source(frame))?;
    // From here on new frames wait for the position that is set below.
    connection.join(DESK);
    let head = store::find_standing(&session_id)?.ok_or_else(sessions::not_found)?.last_seq;
    let seen = after_seq.map_or(head, |seen| seen.up_to(head));
    let stream = session_id.to_string();
    connection.mute(&stream, false);
    connection.set_position(&stream, rooms::number(seen));
    if seen == 0 {
        // The admin wants it all: with the first message here the session is not
        // taken for one that the connection has never heard of.
        for message in store::list_messages_after(&session_id, 0, 1)? {
            connection.send(&rooms::message(&session_id, message.seq, &json!(message)));
        }
    }
    connection.catch_up(&stream, rooms::number(head));
    Ok(None)
}

fn unsubscribe(connection: &Connection, frame: &Envelope) -> Result<Reply> {
    let Target { session_id } = Target::read(&source(frame))?;
    // Only of sessions that there are, or a client could name ever more.
    store::find_standing(&session_id)?.ok_or_else(sessions::not_found)?;
    connection.mute(&session_id.to_string(), true);
    Ok(None)
}
