//! The chat over WebSockets: what `chat` can do, said in frames.
//!
//! The host holds the connections and calls for each thing that happens on one;
//! what a connection is known by from one call to the next is its `state`. A
//! connection gets each message of a session once and in order, because each has
//! its number there; what a connection has missed, and what it wants to be told
//! again, comes one and the same way (`replay`).

mod credential;
mod enter;
mod envelope;
mod pace;
mod presence;
mod refusal;
mod replay;
mod resume;
mod state;
mod talk;

use crate::rooms::{self, Notification};
use envelope::Envelope;
use refusal::{admins_only, close, refuse, send_error};
use sdk::{
    Code, Error, Role, codes,
    sockets::{Connection, Endpoint, Event},
};
use serde_json::json;
use state::{State, Who};

/// The first frame may be longer than those after it
/// ([`enter::MAX_FRAME_BYTES`]), because with it an admin lists what was seen of
/// all sessions.
const MAX_FIRST_FRAME_BYTES: u32 = 256 << 10;
/// With so many malformed frames the connection ends.
const MAX_MALFORMED: u32 = 3;

const INVALID_FRAME: Code = Code::new(400, "INVALID_FRAME");

pub fn endpoints() -> Vec<Endpoint> {
    let failure =
        json!({ "code": "SERVICE_UNAVAILABLE", "message": "The chat is not available now; try again in a moment" });
    vec![Endpoint {
        path: "/api/cs/ws".into(),
        max_frame_bytes: MAX_FIRST_FRAME_BYTES,
        failure: json!({ "type": "error", "data": failure }).to_string(),
    }]
}

pub fn handle(connection: &Connection, event: Event) {
    let Some(state) = connection.state::<State>() else {
        // Written by a version with another form of state: the client reconnects
        // and says what it has seen.
        return connection.close(close::INTERNAL, "please connect again");
    };
    match (event, state.who.clone()) {
        (Event::Opened(opening), _) => enter::authenticate_opening(connection, &opening),
        (Event::Text(text), None) => enter::authenticate_frame(connection, &text),
        (Event::Binary(_), None) => enter::reject_unauthenticated(connection, None),
        (Event::Timer, None) => enter::time_out(connection),
        (Event::Text(text), Some(who)) => handle_frame(connection, state, &who, &text),
        (Event::Binary(_), Some(_)) => save_state(connection, &malformed(connection, state, None)),
        (Event::Behind(gap), Some(who)) => replay::fill(connection, &who, &gap),
        (Event::Closed(code), Some(Who::Guest { session })) => presence::guest_disconnected(&session, code),
        (Event::Timer, Some(_)) | (Event::Behind(_), None) | (Event::Closed(_), _) => {}
    }
}

pub fn published(channel: &str, payload: &str) {
    if let Some(notification) = Notification::read(channel, payload) {
        notification.deliver();
    }
}

pub fn missed(rooms: &[String]) {
    replay::advance(rooms);
}

/// A frame of an authenticated client.
fn handle_frame(connection: &Connection, before: State, who: &Who, text: &str) {
    let is_admin = connection.caller.as_ref().is_some_and(|user| user.role == Role::Admin);
    if matches!(who, Who::Admin { .. }) && !is_admin {
        return refuse(connection, &admins_only(), None);
    }
    let mut state = before.clone();
    match Envelope::read(text) {
        Err(frame) => state = malformed(connection, state, frame.id.as_deref()),
        Ok(frame) => match talk::answer(connection, &mut state, who, &frame) {
            Ok(Some((kind, data))) => connection.send(&rooms::frame(kind, &data, frame.id.as_deref())),
            Ok(None) => {}
            Err(error) => {
                send_error(connection, &error, frame.id.as_deref());
                let retry_after = error.details().and_then(|details| details["retry_after"].as_u64());
                if let Some(seconds) = retry_after.filter(|_| error.code() == codes::RATE_LIMIT_EXCEEDED)
                    && state.refusals.end_with(pace::now(), seconds)
                {
                    connection.close(close::RATE_LIMITED, "too many messages");
                }
            }
        },
    }
    if state != before {
        save_state(connection, &state);
    }
}

fn malformed(connection: &Connection, state: State, id: Option<&str>) -> State {
    send_error(connection, &Error::new(INVALID_FRAME, "This is no frame of the chat"), id);
    let malformed = state.malformed + 1;
    if malformed >= MAX_MALFORMED {
        connection.close(close::MALFORMED, "too many invalid frames");
    }
    State { malformed, ..state }
}

fn save_state(connection: &Connection, state: &State) {
    if let Err(error) = connection.set_state(state) {
        refuse(connection, &error, None);
    }
}
