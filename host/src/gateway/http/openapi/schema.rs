//! Pieces that every part of the description is made of.

use serde_json::{Value, json};

/// The name of bearer tokens in the description of the API.
pub const BEARER: &str = "bearer";

/// What [`ErrorResponse`](crate::gateway::http::error_response::ErrorResponse) writes.
pub fn failure() -> Value {
    let text = json!({ "type": "string" });
    let error =
        json!({ "type": "object", "properties": { "code": text, "message": text }, "required": ["code", "message"] });
    json!({
        "type": "object",
        "properties": { "success": { "type": "boolean", "const": false }, "message": text, "error": error },
        "required": ["success", "message", "error"],
    })
}

/// An answer with JSON.
pub fn answer(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// A refusal of the host with one of these codes.
pub fn error(codes: &[&str]) -> Value {
    let code = json!({ "properties": { "error": { "properties": { "code": { "enum": codes } } } } });
    let schema = json!({ "allOf": [{ "$ref": "#/components/schemas/host.Failure" }, code] });
    answer(&codes.join(", "), &schema)
}
