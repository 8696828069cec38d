//! How a client is told of an error, and with which code a connection ends.

use crate::{domain::sessions::CHAT_SESSION_NOT_FOUND, rooms};
use sdk::{Code, Error, codes, sockets::Connection};

/// Close codes of the API contract, and those of RFC 6455 that the chat uses.
pub mod close {
    pub const TOO_LARGE: u16 = 1009;
    pub const INTERNAL: u16 = 1011;
    pub const MALFORMED: u16 = 4400;
    pub const UNAUTHENTICATED: u16 = 4401;
    pub const FORBIDDEN: u16 = 4403;
    pub const UNKNOWN_SESSION: u16 = 4404;
    pub const TIMEOUT: u16 = 4408;
    pub const SESSION_CLOSED: u16 = 4409;
    pub const RATE_LIMITED: u16 = 4429;
}

/// Of what guests ask for that is the admins'.
pub fn admins_only() -> Error {
    Error::new(codes::AUTH_FORBIDDEN, "Only admins may do this")
}

/// Sends the error, in reply to the frame with this id; the connection stays.
pub fn send_error(connection: &Connection, error: &Error, id: Option<&str>) {
    connection.send(&rooms::frame("error", &sdk::sockets::refusal(error), id));
}

/// Sends the error, and ends the connection.
pub fn refuse(connection: &Connection, error: &Error, id: Option<&str>) {
    send_error(connection, error, id);
    let (code, reason) = match error.code() {
        codes::VALIDATION_ERROR => (close::MALFORMED, "malformed"),
        codes::RATE_LIMIT_EXCEEDED => (close::RATE_LIMITED, "too many requests"),
        CHAT_SESSION_NOT_FOUND => (close::UNKNOWN_SESSION, "unknown session"),
        Code { status: 401, .. } => (close::UNAUTHENTICATED, "not authenticated"),
        Code { status: 403, .. } => (close::FORBIDDEN, "forbidden"),
        _ => (close::INTERNAL, "internal error"),
    };
    connection.close(code, reason);
}
