//! Calls to other components, inside the host. The callee sees this component's
//! name as the calling service.

use crate::bindings::shema::components::calls;
use serde_json::Value;

pub use calls::Error;

/// What the other component answered.
pub struct Answer {
    pub status: u16,
    /// Null if it is not JSON.
    pub body: Value,
}

/// `query` as a client would send it, percent-encoded.
pub fn get(component: &str, path: &str, query: &str) -> Result<Answer, Error> {
    send(component, calls::Method::Get, path, query, Vec::new())
}

pub fn post(component: &str, path: &str, body: &Value) -> Result<Answer, Error> {
    send(component, calls::Method::Post, path, "", body.to_string().into_bytes())
}

fn send(component: &str, method: calls::Method, path: &str, query: &str, body: Vec<u8>) -> Result<Answer, Error> {
    let call = calls::Call { component: component.into(), method, path: path.into(), query: query.into(), body };
    let response = calls::send(&call)?;
    Ok(Answer { status: response.status, body: serde_json::from_slice(&response.body).unwrap_or_default() })
}
