//! WebSockets that the host holds. The host calls for each thing that happens on
//! one, one call at a time and in order, and a component answers with what it
//! asks of the hub.
//!
//! Except for [`Connection::join`], [`Connection::authenticate`], [`admit`],
//! [`publish`] and [`present`], what is asked for happens when the call has
//! ended well: so a component tells others after its commit, and a trap undoes
//! it all. A connection or room that is not there is nobody's error.
//!
//! This module keeps nothing and knows no protocol: what is in the frames is the
//! component's.

use crate::{
    bindings::shema::sockets::{hub, socket_types as types},
    call::{Principal, QueryString, Role},
    error::{Error, Result, codes},
    log,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub use types::{Content, Endpoint, Gap, Outgoing as Frame};

/// One connection, as it is at this call.
pub struct Connection {
    id: String,
    /// Position in the list of the component's endpoints.
    pub endpoint: u32,
    /// None until somebody has shown a good access token.
    pub caller: Option<Principal>,
    /// Address of the client.
    pub client: String,
    state: Vec<u8>,
}

/// What has happened on a connection.
#[derive(Debug)]
pub enum Event {
    /// The first, once.
    Opened(Opening),
    Text(String),
    Binary(Vec<u8>),
    /// The time of [`Connection::set_timer`] is over.
    Timer,
    /// Frames of a stream are missing: the component sends them, or the first of
    /// them, and is asked again for the rest.
    Behind(Gap),
    /// The last, once, with the code. Nothing can be sent any more.
    Closed(u16),
}

/// The request that was upgraded.
#[derive(Debug)]
pub struct Opening {
    /// As the client sent it, before aliases.
    pub path: String,
    pub query: QueryString,
    headers: Vec<(String, String)>,
}

impl Opening {
    pub fn new(path: String, query: &str, headers: Vec<(String, String)>) -> Self {
        Self { path, query: QueryString::parse(query), headers }
    }

    /// The first header of that name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Why the host did not accept the access token of the header; None if it
    /// did, or if there was none.
    pub fn refusal(&self) -> Option<Error> {
        self.header("x-shema-refusal").map(Error::refused_token)
    }
}

impl Connection {
    /// What was kept with [`Self::set_state`]; the default, if nothing was. None
    /// if it is of another form, as a former version of the component may have
    /// left it.
    pub fn state<T: DeserializeOwned + Default>(&self) -> Option<T> {
        if self.state.is_empty() { Some(T::default()) } else { serde_json::from_slice(&self.state).ok() }
    }

    /// Kept by the host and handed to every later call; at most 4 KiB.
    pub fn set_state(&self, state: &impl Serialize) -> Result<()> {
        let state = serde_json::to_vec(state).map_err(|error| Error::internal(format!("a state: {error}")))?;
        hub::set_state(&self.id, &state);
        Ok(())
    }

    pub fn send(&self, frame: &Frame) {
        hub::send(&self.id, frame);
    }

    /// A reason has at most 123 bytes.
    pub fn close(&self, code: u16, reason: &str) {
        hub::close(&self.id, code, reason);
    }

    /// At once. What is broadcast from here on to the end of the call is kept
    /// back, so that what the call reads and what comes later leave no hole.
    pub fn join(&self, room: &str) {
        hub::join(&self.id, room);
    }

    pub fn leave(&self, room: &str) {
        hub::leave(&self.id, room);
    }

    /// The connection has got the stream up to this number.
    pub fn set_position(&self, stream: &str, number: u64) {
        hub::set_position(&self.id, stream, number);
    }

    /// The stream has got this far; if the connection has less, it is behind.
    pub fn catch_up(&self, stream: &str, number: u64) {
        hub::catch_up(&self.id, stream, number);
    }

    /// Whether frames of the stream are kept from the connection.
    pub fn mute(&self, stream: &str, muted: bool) {
        hub::mute(&self.id, stream, muted);
    }

    /// One [`Event::Timer`] after so many milliseconds; 0 takes it back.
    pub fn set_timer(&self, milliseconds: u64) {
        hub::set_timer(&self.id, milliseconds);
    }

    /// Of frames from the client, in bytes.
    pub fn set_limit(&self, bytes: u64) {
        hub::set_limit(&self.id, bytes);
    }

    /// Makes the connection that of the token's user, provided that it is one of
    /// this role. The host ends it when that is not so any more.
    pub fn authenticate(&self, token: &str, role: Role) -> Result<Principal> {
        let user = hub::authenticate(&self.id, token, role.word()).map_err(authentication_error)?;
        let user = Principal::new(user)?;
        if user.role == role { Ok(user) } else { Err(Error::refused_token(codes::AUTH_FORBIDDEN.name)) }
    }
}

impl Frame {
    pub fn text(text: String) -> Self {
        Self::new(Content::Text(text))
    }

    pub fn binary(bytes: Vec<u8>) -> Self {
        Self::new(Content::Binary(bytes))
    }

    /// A frame that is neither part of a stream nor known by a name.
    fn new(content: Content) -> Self {
        Self { content, stream: None, number: None, event_id: None }
    }

    /// About this stream: kept from those who have muted it.
    pub fn about(self, stream: impl ToString) -> Self {
        Self { stream: Some(stream.to_string()), ..self }
    }

    /// The place in the stream, from 1 on: each connection gets it once and in
    /// order.
    pub fn numbered(self, number: u64) -> Self {
        Self { number: Some(number), ..self }
    }

    /// Tells of this event: a room of a host gets one of a name only once.
    pub fn named(self, event_id: &str) -> Self {
        Self { event_id: Some(event_id.to_owned()), ..self }
    }
}

/// To all connections of this host that are in the room.
pub fn broadcast(room: &str, frame: &Frame) {
    hub::broadcast(room, frame);
}

/// Ends all connections of this host that are in the room.
pub fn close_room(room: &str, code: u16, reason: &str) {
    hub::close_room(room, code, reason);
}

/// The stream has got this far: whoever of the room has less is behind.
pub fn advance(room: &str, stream: &str, number: u64) {
    hub::advance(room, stream, number);
}

fn authentication_error(error: hub::AuthenticationError) -> Error {
    use hub::AuthenticationError as E;
    Error::refused_token(match error {
        E::InvalidFormat => codes::AUTH_INVALID_FORMAT.name,
        E::InvalidToken => codes::AUTH_INVALID_TOKEN.name,
        E::Expired => codes::AUTH_TOKEN_EXPIRED.name,
        E::NoUser => codes::AUTH_UNAUTHORIZED.name,
        E::NoRole => codes::AUTH_NO_ROLE.name,
        E::Unavailable => codes::DB_CONNECTION_ERROR.name,
    })
}

/// Counts one against a rate limit of the operator's file.
pub fn admit(scope: &str, key: &str) -> Result<()> {
    hub::admit(scope, key).map_err(|exceeded| {
        let seconds = exceeded.retry_after_seconds;
        let message = format!("Too many requests; try again in {seconds} seconds.");
        Error::new(codes::RATE_LIMIT_EXCEEDED, message).with(json!({ "retry_after": seconds }))
    })
}

/// Tells a channel, now and at most once: for what is not worth storing.
pub fn publish(channel: &str, payload: &Value) {
    hub::publish(channel, &payload.to_string());
}

/// Those of the rooms that have a connection on some host of the cluster, as of
/// a few seconds ago.
pub fn present(rooms: &[String]) -> Vec<String> {
    hub::present(rooms)
}

/// What a client is told of an error. Its cause goes to the log.
pub fn refusal(error: &Error) -> Value {
    if let Some(cause) = error.cause() {
        log::error(&cause);
    }
    json!({ "code": error.code().name, "message": error.message() })
}

impl TryFrom<types::Connection> for Connection {
    type Error = Error;

    fn try_from(connection: types::Connection) -> Result<Self> {
        let types::Connection { id, endpoint, caller, client, state } = connection;
        Ok(Self { id, endpoint, caller: Principal::of(caller)?, client, state })
    }
}

impl From<types::Event> for Event {
    fn from(event: types::Event) -> Self {
        match event {
            types::Event::Opened(types::Opening { path, query, headers }) => {
                Self::Opened(Opening::new(path, &query, headers))
            }
            types::Event::Text(text) => Self::Text(text),
            types::Event::Binary(bytes) => Self::Binary(bytes),
            types::Event::Timer => Self::Timer,
            types::Event::Behind(gap) => Self::Behind(gap),
            types::Event::Closed(code) => Self::Closed(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(state: &str) -> Connection {
        let anonymous = crate::bindings::shema::http::types::Caller::Anonymous;
        let connection = types::Connection {
            id: "1".into(),
            endpoint: 0,
            caller: anonymous,
            client: "127.0.0.1".into(),
            state: state.into(),
        };
        Connection::try_from(connection).unwrap_or_else(|error| unreachable!("{error:?}"))
    }

    #[test]
    fn no_state_is_the_default_and_a_strange_one_is_noticed() {
        assert_eq!(connection("").state::<Vec<u8>>(), Some(vec![]));
        assert_eq!(connection("[1]").state::<Vec<u8>>(), Some(vec![1]));
        assert_eq!(connection("{}").state::<Vec<u8>>(), None);
    }

    #[test]
    fn an_opening_shows_query_headers_and_refusal() {
        let opening = types::Opening {
            path: "/api/x".into(),
            query: "a=%5B1%5D&b=".into(),
            headers: vec![("x-shema-refusal".into(), "AUTH_TOKEN_EXPIRED".into())],
        };
        let Event::Opened(opening) = types::Event::Opened(opening).into() else { unreachable!() };
        assert_eq!(
            (opening.query.get("a"), opening.query.get("b"), opening.query.get("c")),
            (Some("[1]"), Some(""), None)
        );
        assert_eq!(opening.refusal().map(|error| error.code()), Some(codes::AUTH_TOKEN_EXPIRED));
    }

    #[test]
    fn an_error_is_shown_without_its_details() {
        let error = Error::new(codes::RATE_LIMIT_EXCEEDED, "Slowly").with(json!({ "retry_after": 5 }));
        assert_eq!(refusal(&error), json!({ "code": "RATE_LIMIT_EXCEEDED", "message": "Slowly" }));
    }
}
