//! Describes the answers that the host puts together from several components.
//! What is taken from a component is described as it describes it.

use super::schema;
use crate::{
    config::{Aggregate, Part},
    runtime::description::{Description, template},
};
use serde_json::{Map, Value, json};

/// The aggregates, as paths of the description.
pub fn describe(aggregates: &[Aggregate], components: &Description) -> Vec<(String, Map<String, Value>)> {
    let described = |aggregate: &Aggregate| {
        (template(&aggregate.path), Map::from_iter([("get".to_owned(), operation(aggregate, components))]))
    };
    aggregates.iter().map(described).collect()
}

fn operation(aggregate: &Aggregate, components: &Description) -> Value {
    let mut data = Map::new();
    let mut health = Map::new();
    for part in &aggregate.parts {
        data.insert(part.field.clone(), describe_part(part, components));
        health.insert(part.service.clone(), json!({ "type": "boolean" }));
    }
    data.extend(aggregate.constants.iter().map(|(name, value)| (name.clone(), json!({ "const": value }))));
    let object = |members: Map<String, Value>| {
        let names: Vec<String> = members.keys().cloned().collect();
        json!({ "type": "object", "properties": members, "required": names })
    };
    data.insert("servicesHealth".into(), object(health));
    let text = json!({ "type": "string" });
    let meta = json!({ "timestamp": { "type": "string", "format": "date-time" }, "requestId": text });
    let envelope = Map::from_iter([
        ("success".into(), json!({ "const": true })),
        ("data".into(), object(data)),
        ("meta".into(), json!({ "type": "object", "properties": meta, "required": ["timestamp", "requestId"] })),
    ]);

    let names = || aggregate.path.split('/').filter_map(|segment| segment.strip_prefix(':'));
    let mut missing = vec!["ROUTE_NOT_FOUND"];
    if aggregate.parts.iter().any(|part| part.required) {
        missing.push("NOT_FOUND");
    }
    let mut responses = json!({
        "200": schema::answer("Done", &object(envelope)),
        "401": schema::error(&[
            "AUTH_MISSING_TOKEN", "AUTH_INVALID_FORMAT", "AUTH_INVALID_TOKEN", "AUTH_TOKEN_EXPIRED",
            "AUTH_UNAUTHORIZED", "AUTH_NO_ROLE",
        ]),
        "403": schema::error(&["AUTH_FORBIDDEN"]),
        "404": schema::error(&missing),
        "405": schema::error(&["METHOD_NOT_ALLOWED"]),
        "429": schema::error(&["RATE_LIMIT_EXCEEDED"]),
        "500": schema::error(&["INTERNAL_SERVER_ERROR"]),
        "503": schema::error(&["DB_CONNECTION_ERROR"]),
    });
    if names().next().is_some() {
        responses["400"] = schema::error(&["VALIDATION_ERROR"]);
    }
    let id = json!({ "type": "string", "format": "uuid" });
    let parameters: Vec<Value> =
        names().map(|name| json!({ "in": "path", "name": name, "required": true, "schema": id })).collect();
    let owner = aggregate.owner.as_ref().map(|name| format!("the user that `{name}` names, and for "));
    let audience = format!("For {}users of the role {}.", owner.unwrap_or_default(), aggregate.roles.join(" or "));
    let words = aggregate.path.trim_start_matches("/api").split('/');
    let words: Vec<&str> = words.filter(|word| !word.is_empty() && !word.starts_with(':')).collect();
    json!({
        "operationId": format!("host.{}", words.join(".")),
        "summary": format!("Several components at once: {}", words.join(" ")),
        "description": audience,
        "tags": ["host"],
        "security": [{ schema::BEARER: [] }],
        "parameters": parameters,
        "responses": responses,
    })
}

fn describe_part(part: &Part, components: &Description) -> Value {
    let kind = match &part.otherwise {
        Value::Array(_) => json!({ "type": "array" }),
        Value::Number(_) => json!({ "type": "number" }),
        Value::Object(_) => json!({ "type": "object" }),
        _ => json!({}),
    };
    let Some(whole) = picked(part, components) else { return kind };
    let kept = if part.only.is_empty() { whole } else { narrowed(&whole, &part.only, components) };
    match &part.otherwise {
        // Of these kinds what stands for a failed part is one as well.
        Value::Array(_) | Value::Number(_) => kept,
        otherwise => json!({ "anyOf": [kept, { "const": otherwise }] }),
    }
}

/// The schema of what a part takes from a component's answer, if that is
/// described.
fn picked(part: &Part, components: &Description) -> Option<Value> {
    let blank = |segment: &str| if segment.starts_with(['{', ':']) { "" } else { segment }.to_owned();
    let shape = |path: &str| path.split('/').map(blank).collect::<Vec<_>>().join("/");
    let path = part.path.split('?').next().map(shape)?;
    let (_, item) = components.paths.iter().find(|(template, _)| shape(template) == path)?;
    let mut schema = item.get("get")?.pointer("/responses/200/content/application~1json/schema")?;
    for name in part.pick.split('/').skip(1) {
        schema = components.resolve(schema)?.get("properties")?.get(name)?;
    }
    Some(schema.clone())
}

/// What is left of a schema when only the named members are kept.
fn narrowed(schema: &Value, names: &[String], components: &Description) -> Value {
    if let Some(items) = components.resolve(schema).and_then(|schema| schema.get("items")) {
        return json!({ "type": "array", "items": narrowed(items, names, components) });
    }
    let mut members = Map::new();
    components.members(schema, &mut members);
    members.retain(|name, _| names.contains(name));
    json!({ "type": "object", "properties": members })
}
