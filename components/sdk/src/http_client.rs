//! HTTP requests to origins that the operator grants. Responses are as little to be
//! trusted as requests of clients.

use crate::bindings::shema::http_client::requests;
use serde_json::Value;

pub use requests::{Error, Response};

/// Sends JSON. A response with an error status is a response, not an error.
pub fn post_json(url: &str, headers: &[(&str, &str)], body: &Value) -> Result<Response, Error> {
    post(url, "application/json", headers, body.to_string())
}

/// Sends `application/x-www-form-urlencoded` fields.
pub fn post_form(url: &str, fields: &[(&str, &str)]) -> Result<Response, Error> {
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    post(url, "application/x-www-form-urlencoded", &[], fields.join("&"))
}

/// Percent-encodes a value that becomes part of a URL.
pub fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn post(url: &str, content_type: &str, headers: &[(&str, &str)], body: String) -> Result<Response, Error> {
    let given = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let content_type = ("content-type".to_owned(), content_type.to_owned());
    requests::send(&requests::Request {
        method: "POST".into(),
        url: url.into(),
        headers: given.chain([content_type]).collect(),
        body: body.into_bytes(),
    })
}

impl Response {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Null if the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
