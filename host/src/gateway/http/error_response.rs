//! Errors as clients see them: the contract's envelope with a code of its
//! register. What went wrong inside is for the log and never in here.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::borrow::Cow;

/// An answer of the host itself.
#[derive(Debug)]
pub struct ErrorResponse {
    pub status: StatusCode,
    pub code: &'static str,
    message: Cow<'static, str>,
    /// Further members of the `error` object.
    extra: Vec<(&'static str, Value)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ErrorResponse {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> ErrorResponse {
        ErrorResponse { status, code, message: message.into(), extra: Vec::new(), headers: Vec::new() }
    }

    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> ErrorResponse {
        self.extra.push((member, value.into()));
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> ErrorResponse {
        self.headers.push((name, value.into()));
        self
    }
}

/// Tells the log which error an answer is.
#[derive(Clone, Copy)]
pub struct Code(pub &'static str);

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.code, "message": self.message });
        for (member, value) in self.extra {
            error[member] = value;
        }
        let body = json!({ "success": false, "message": self.message, "error": error });
        let mut response = (self.status, Json(body)).into_response();
        response
            .headers_mut()
            .insert(axum::http::header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        response.headers_mut().extend(self.headers);
        response.extensions_mut().insert(Code(self.code));
        response
    }
}
