//! Describes the endpoints of the host itself.

use super::schema;
use crate::gateway::http::platform::{DOCS, HEALTH, OPENAPI, SERVICES, SERVICES_HEALTH};
use serde_json::{Map, Value, json};

/// The endpoints, as paths of the description.
pub fn describe() -> impl Iterator<Item = (String, Map<String, Value>)> {
    let text = json!({ "type": "string" });
    let object = |members: Value| {
        let names: Vec<&String> = members.as_object().into_iter().flat_map(Map::keys).collect();
        json!({ "type": "object", "required": names, "properties": members })
    };
    let time = json!({ "type": "string", "format": "date-time" });
    let status = json!({ "type": "string", "enum": ["healthy", "unhealthy"] });
    let health = object(json!({
        "service": text, "status": text, "timestamp": time, "version": text,
        "uptime": { "type": "integer", "minimum": 0 }, "environment": text,
    }));
    let version = object(json!({ "name": text, "version": { "type": ["string", "null"] } }));
    let gateway = object(json!({ "port": { "type": "integer" }, "environment": text }));
    let services = object(json!({
        "success": { "const": true },
        "data": object(json!({ "gateway": gateway, "services": { "type": "object", "additionalProperties": version } })),
        "meta": object(json!({ "timestamp": time })),
    }));
    let checked = json!({
        "type": "object",
        "properties": { "status": status, "data": { "type": "object" }, "error": text },
        "required": ["status"],
    });
    let checks = object(json!({
        "success": { "const": true },
        "overallStatus": { "type": "string", "enum": ["healthy", "degraded"] },
        "services": { "type": "object", "additionalProperties": checked },
        "timestamp": time,
    }));
    let done = |schema: &Value| json!({ "200": schema::answer("Done", schema) });
    let page = json!({ "200": { "description": "A page", "content": { "text/html": { "schema": text } } } });
    let mut of_health = done(&health);
    of_health["503"] = schema::answer("It is behind the other hosts of its cluster", &health);
    let mut of_checks = done(&checks);
    of_checks["503"] = schema::answer("Something does not answer", &checks);
    [
        (HEALTH, "Whether the host is ready", of_health),
        (SERVICES, "Which versions are live", done(&services)),
        (SERVICES_HEALTH, "Whether everything answers", of_checks),
        (OPENAPI, "This description", done(&json!({ "type": "object" }))),
        (DOCS, "This description as a page", page),
    ]
    .into_iter()
    .map(|(path, summary, mut responses)| {
        responses["405"] = schema::error(&["METHOD_NOT_ALLOWED"]);
        let name = path.trim_start_matches("/api").trim_matches('/').replace(['/', '.'], "-");
        let operation = json!({
            "operationId": format!("host.{name}"), "summary": summary, "tags": ["host"], "security": [],
            "responses": responses,
        });
        (path.to_owned(), Map::from_iter([("get".to_owned(), operation)]))
    })
}
