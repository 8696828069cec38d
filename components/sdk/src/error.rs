//! Answers that are refusals: a code of the contract's register, a sentence for
//! humans, and sometimes a cause that only the log gets to see.

use crate::{
    database_error,
    problem::{Problem, Problems},
    time::Timestamp,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Of handlers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error code with the one status that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    pub name: &'static str,
    pub status: u16,
}

impl Code {
    pub const fn new(status: u16, name: &'static str) -> Self {
        Self { name, status }
    }
}

/// The codes that more than one component answers; a component declares its
/// own the same way.
pub mod codes {
    use super::Code;

    pub const VALIDATION_ERROR: Code = Code::new(400, "VALIDATION_ERROR");
    pub const INVALID_USER_ROLE: Code = Code::new(400, "INVALID_USER_ROLE");
    pub const AUTH_MISSING_TOKEN: Code = Code::new(401, "AUTH_MISSING_TOKEN");
    pub const AUTH_INVALID_FORMAT: Code = Code::new(401, "AUTH_INVALID_FORMAT");
    pub const AUTH_INVALID_TOKEN: Code = Code::new(401, "AUTH_INVALID_TOKEN");
    pub const AUTH_TOKEN_EXPIRED: Code = Code::new(401, "AUTH_TOKEN_EXPIRED");
    pub const AUTH_UNAUTHORIZED: Code = Code::new(401, "AUTH_UNAUTHORIZED");
    pub const AUTH_NO_ROLE: Code = Code::new(401, "AUTH_NO_ROLE");
    pub const SERVICE_AUTH_MISSING: Code = Code::new(401, "SERVICE_AUTH_MISSING");
    pub const SERVICE_AUTH_INVALID: Code = Code::new(401, "SERVICE_AUTH_INVALID");
    pub const AUTH_FORBIDDEN: Code = Code::new(403, "AUTH_FORBIDDEN");
    pub const NOT_FOUND: Code = Code::new(404, "NOT_FOUND");
    pub const ROUTE_NOT_FOUND: Code = Code::new(404, "ROUTE_NOT_FOUND");
    pub const METHOD_NOT_ALLOWED: Code = Code::new(405, "METHOD_NOT_ALLOWED");
    pub const DB_DUPLICATE_ENTRY: Code = Code::new(409, "DB_DUPLICATE_ENTRY");
    pub const PAYLOAD_TOO_LARGE: Code = Code::new(413, "PAYLOAD_TOO_LARGE");
    pub const RATE_LIMIT_EXCEEDED: Code = Code::new(429, "RATE_LIMIT_EXCEEDED");
    pub const DB_QUERY_ERROR: Code = Code::new(500, "DB_QUERY_ERROR");
    pub const INTERNAL_SERVER_ERROR: Code = Code::new(500, "INTERNAL_SERVER_ERROR");
    pub const DB_CONNECTION_ERROR: Code = Code::new(503, "DB_CONNECTION_ERROR");
    pub const SERVICE_UNAVAILABLE: Code = Code::new(503, "SERVICE_UNAVAILABLE");
    pub const REQUEST_TIMEOUT: Code = Code::new(504, "REQUEST_TIMEOUT");

    /// What the host says of an access token that it does not accept.
    pub const REFUSED_TOKEN: [Code; 5] =
        [AUTH_INVALID_FORMAT, AUTH_INVALID_TOKEN, AUTH_TOKEN_EXPIRED, AUTH_UNAUTHORIZED, AUTH_NO_ROLE];
}

/// A refusal.
#[derive(Debug)]
pub struct Error {
    code: Code,
    message: Cow<'static, str>,
    details: Option<Value>,
    cause: Option<Box<Cause>>,
}

/// For the log, never for clients.
#[derive(Debug)]
enum Cause {
    Database(database_error::Error),
    Other(String),
}

impl Error {
    /// `message` is public: no driver texts, no internals.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), details: None, cause: None }
    }

    pub fn with(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(codes::NOT_FOUND, format!("{what} not found"))
    }

    /// What the host says of an access token that it does not accept, by the
    /// name of its code.
    pub fn refused_token(name: &str) -> Self {
        let code = match name {
            "AUTH_FORBIDDEN" => return Self::new(codes::AUTH_FORBIDDEN, "You are not allowed to do this"),
            "DB_CONNECTION_ERROR" => return Self::new(codes::DB_CONNECTION_ERROR, "The database cannot be reached"),
            _ => codes::REFUSED_TOKEN.into_iter().find(|code| code.name == name),
        };
        Self::new(code.unwrap_or(codes::AUTH_INVALID_TOKEN), "The access token was not accepted")
    }

    /// 409 of a unique value that is taken.
    pub fn duplicate(field: &str) -> Self {
        Self::new(codes::DB_DUPLICATE_ENTRY, format!("This {field} is already in use")).with(json!({ "field": field }))
    }

    /// 500; the cause goes to the log.
    pub fn internal(cause: impl Into<String>) -> Self {
        let error = Self::new(codes::INTERNAL_SERVER_ERROR, "Something went wrong");
        Self { cause: Some(Box::new(Cause::Other(cause.into()))), ..error }
    }

    /// The same refusal, cause and all, under a code that says more.
    pub fn with_code(self, code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), ..self }
    }

    pub fn code(&self) -> Code {
        self.code
    }

    /// Public.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn details(&self) -> Option<&Value> {
        self.details.as_ref()
    }

    /// The database's refusal, if that is what this is.
    pub fn database(&self) -> Option<&database_error::Error> {
        match self.cause.as_deref() {
            Some(Cause::Database(error)) => Some(error),
            _ => None,
        }
    }

    /// A sentence for the log, if this has a cause that the client is not told.
    pub(crate) fn cause(&self) -> Option<String> {
        self.cause.as_deref().map(|cause| match cause {
            Cause::Database(error) => format!("{}: {error}", self.code.name),
            Cause::Other(text) => format!("{}: {text}", self.code.name),
        })
    }

    pub(crate) fn body(&self, request_id: &str, timestamp: Timestamp) -> Vec<u8> {
        #[derive(Serialize)]
        struct Inner<'a> {
            code: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            details: Option<&'a Value>,
        }
        let error = Inner { code: self.code.name, message: &self.message, details: self.details.as_ref() };
        let meta = json!({ "timestamp": timestamp, "requestId": request_id });
        let body = json!({ "success": false, "message": self.message, "error": error, "meta": meta });
        body.to_string().into_bytes()
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        let details = serde_json::to_value(&problems).unwrap_or_default();
        Self::new(codes::VALIDATION_ERROR, "The request is not valid").with(details)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Problems::from(problem).into()
    }
}

/// The one place where a database error becomes an answer.
impl From<database_error::Error> for Error {
    fn from(error: database_error::Error) -> Self {
        let (code, message) = match &error {
            database_error::Error::Unavailable(_) => (codes::DB_CONNECTION_ERROR, "The database cannot be reached"),
            database_error::Error::Timeout => (codes::REQUEST_TIMEOUT, "The request took too long"),
            _ if error.is_transient() => (codes::SERVICE_UNAVAILABLE, "Too busy, please try again"),
            _ => (codes::DB_QUERY_ERROR, "The request could not be carried out"),
        };
        Self { cause: Some(Box::new(Cause::Database(error))), ..Self::new(code, message) }
    }
}
