//! The OpenAPI document of a component, made from its route table.
//!
//! Nothing is written here about any route: paths, parameters, bodies, answers
//! and refusals are read off the declarations that route and judge requests,
//! and off the types that handlers return. The host puts the documents of all
//! components together.

use crate::{
    call::Role,
    error::Code,
    extract::Input,
    request::Member,
    route::{Access, Method, Route},
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const BEARER: &str = "bearer";
const SERVICE: &str = "service";

/// An OpenAPI 3.1 object with `paths` and `components`. What only the host may
/// call is not in it, nor are files for browsers.
pub fn describe(routes: &[Route]) -> String {
    let mut document = Document::new();
    for route in routes.iter().filter(|route| route.described && route.access != Access::Internal) {
        document.add(route);
    }
    document.finish().to_string()
}

struct Document {
    schemas: SchemaGenerator,
    paths: BTreeMap<String, Map<String, Value>>,
    responses: BTreeMap<String, Value>,
    security: BTreeMap<String, Value>,
}

impl Document {
    fn new() -> Self {
        let mut settings = SchemaSettings::draft2020_12().for_serialize();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        Self {
            schemas: settings.into_generator(),
            paths: BTreeMap::new(),
            responses: BTreeMap::new(),
            security: BTreeMap::new(),
        }
    }

    fn finish(mut self) -> Value {
        json!({
            "paths": self.paths,
            "components": {
                "schemas": self.schemas.take_definitions(true),
                "responses": self.responses,
                "securitySchemes": self.security,
            },
        })
    }

    fn add(&mut self, route: &Route) {
        let mut parameters = Vec::new();
        let mut body = None;
        for input in route.inputs() {
            match input {
                Input::Path(schemas) => {
                    parameters.extend(route.names().iter().zip(schemas).map(|(name, schema)| of_path(name, &schema)));
                }
                Input::Query(members) => parameters.extend(members.into_iter().map(of_query)),
                Input::Body { required, schema } => {
                    let (was_required, all) = body.unwrap_or((false, json!({ "type": "object" })));
                    body = Some((was_required || required, merged(all, schema)));
                }
            }
        }
        // A parameter that no handler reads is part of the path all the same.
        let described = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        for name in route.names().iter().skip(described) {
            parameters.push(of_path(name, &json!({ "type": "string" })));
        }

        let (id, summary) = names(route.handler);
        let mut operation = json!({
            "operationId": id,
            "summary": summary,
            "security": self.security(route),
            "responses": self.responses(route),
        });
        if let Some(description) = circle(route.access) {
            operation["description"] = description.into();
        }
        if route.deprecated {
            operation["deprecated"] = true.into();
        }
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some((required, schema)) = body {
            operation["requestBody"] = json!({ "required": required, "content": content(&schema) });
        }
        let path: Vec<String> = route
            .path
            .split('/')
            .map(|segment| segment.strip_prefix(':').map_or_else(|| segment.to_owned(), |name| format!("{{{name}}}")))
            .collect();
        self.paths.entry(path.join("/")).or_default().insert(method(route.method).to_owned(), operation);
    }

    /// What opens the route, one of these; the empty one is nothing at all.
    fn security(&mut self, route: &Route) -> Vec<Value> {
        let mut ways = match route.access {
            Access::Public | Access::Internal => vec![],
            Access::Optional | Access::User | Access::Roles(_) | Access::OwnerOr(..) => vec![BEARER],
            Access::Service => vec![SERVICE],
            Access::UserOrService => vec![BEARER, SERVICE],
        };
        ways.extend(route.token.map(|(header, _)| header));
        let needs_token = route.token.is_some_and(|(_, needed)| needed);
        let is_open = [Access::Public, Access::Optional].contains(&route.access) && !needs_token;
        for way in &ways {
            let scheme = match *way {
                BEARER => json!({ "type": "http", "scheme": "bearer", "bearerFormat": "JWT" }),
                SERVICE => json!({ "type": "apiKey", "in": "header", "name": "X-Service-Token" }),
                header => json!({ "type": "apiKey", "in": "header", "name": header }),
            };
            self.security.insert((*way).to_owned(), scheme);
        }
        let mut security: Vec<Value> = ways.into_iter().map(|way| json!({ way: [] })).collect();
        if is_open && !security.is_empty() {
            security.push(json!({}));
        }
        security
    }

    fn responses(&mut self, route: &Route) -> Value {
        let mut responses = Map::new();
        for (status, schema) in route.answers(&mut self.schemas) {
            let description = if status == 201 { "Created" } else { "Done" };
            let response = json!({ "description": description, "content": content(&schema) });
            responses.insert(status.to_string(), response);
        }
        let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for Code { name, status } in route.failures() {
            by_status.entry(status).or_default().push(name);
        }
        for (status, mut names) in by_status {
            names.sort_unstable();
            // Most routes share most of their refusals, so each is there once.
            let key = format!("{status}-{}", names.join("-"));
            let schemas = &mut self.schemas;
            self.responses.entry(key.clone()).or_insert_with(|| refusal(schemas, &names));
            responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{key}") }));
        }
        responses.into()
    }
}

/// Who may call, where a good token is not enough.
fn circle(access: Access) -> Option<String> {
    let words = |roles: &[Role]| roles.iter().map(|role| role.word()).collect::<Vec<_>>().join(" or ");
    match access {
        Access::Roles(roles) => Some(format!("For users of the role {}.", words(roles))),
        Access::OwnerOr(name, roles) => {
            Some(format!("For the user that `{name}` names, and for users of the role {}.", words(roles)))
        }
        _ => None,
    }
}

/// The envelope of an error.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "only described; errors write themselves")]
struct Failure {
    success: bool,
    message: String,
    error: Reason,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only described; errors write themselves")]
struct Reason {
    code: String,
    message: String,
    /// Of `VALIDATION_ERROR`: a list of problems, each with `path`, `field`,
    /// `code` and `message`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

fn refusal(schemas: &mut SchemaGenerator, names: &[&str]) -> Value {
    let code = json!({ "properties": { "error": { "properties": { "code": { "enum": names } } } } });
    let schema = json!({ "allOf": [schemas.subschema_for::<Failure>(), code] });
    json!({ "description": names.join(", "), "content": content(&schema) })
}

fn content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn of_path(name: &str, schema: &Value) -> Value {
    json!({ "in": "path", "name": name, "required": true, "schema": schema })
}

fn of_query(member: Member) -> Value {
    let Member { name, required, schema } = member;
    let mut schema = without_null(schema);
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    let mut parameter = json!({ "in": "query", "name": name, "required": required, "schema": schema });
    if let Some(description) = description {
        parameter["description"] = description;
    }
    parameter
}

/// There is no null in a query.
fn without_null(mut schema: Value) -> Value {
    if let Some([kind, _]) = schema["type"].as_array().map(Vec::as_slice) {
        schema["type"] = kind.clone();
    }
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.retain(|word| !word.is_null());
    }
    if let Some(kinds) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind["type"] != "null");
        if let [only] = kinds.as_mut_slice() {
            return only.take();
        }
    }
    schema
}

/// One object of the members of two: a body can be read in parts.
fn merged(mut one: Value, other: Value) -> Value {
    let Value::Object(other) = other else { return one };
    for (key, value) in other {
        match (one.get_mut(&key), value) {
            (Some(Value::Object(members)), Value::Object(more)) => members.extend(more),
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (_, value) => one[key] = value,
        }
    }
    one
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Get => "get",
        Method::Post => "post",
        Method::Put => "put",
        Method::Patch => "patch",
        Method::Delete => "delete",
    }
}

/// Id and summary out of a handler's name: `course::handlers::rooms::list_free`
/// is `rooms.list_free` and "Rooms: list free".
fn names(handler: &str) -> (String, String) {
    let path = handler.split_once("::handlers::").map_or(handler, |(_, path)| path);
    let mut parts: Vec<&str> = path.split("::").collect();
    // A file of one handler has its name.
    parts.dedup();
    let words = |parts: &[&str]| parts.join(" ").replace('_', " ");
    let summary = match parts.split_last() {
        Some((last, [])) => words(&[last]),
        Some((last, rest)) => format!("{}: {}", words(rest), words(&[last])),
        None => String::new(),
    };
    let mut letters = summary.chars();
    let summary = letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect());
    (parts.join("."), summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Call, Data, File, Page, Patch, Path, Query, Result, Stored, Text, Uuid, request, route, row};

    row! {
        struct Owner { id: Uuid }
        struct Thing { id: Uuid, title: String, owner: Option<Owner> as "owner_" }
    }
    request! {
        #[expect(dead_code, reason = "only described")]
        struct Filter { role: Option<Role>, search alias q: Option<Text<0, 3>> }
    }
    request! {
        #[expect(dead_code, reason = "only described")]
        partial struct Changes { title: Patch<Text<1, 5>>, note: Patch<Option<Text<0, 5>>> }
    }

    fn change(_: &Call, Path(id): Path<Uuid>, Body(_): Body<Changes>) -> Result<Stored<Thing>> {
        Ok(Stored::New(Thing { id, title: String::new(), owner: None }))
    }

    fn list(_: &Call, _: Query<Filter>, _: Page) -> Result<Data<Vec<Thing>>> {
        Ok(Data(vec![]))
    }

    fn tidy(_: &Call) -> Result<Data<bool>> {
        Ok(Data(true))
    }

    fn page(_: &Call) -> Result<File> {
        Ok(File { headers: &[("content-type", "text/html")], text: "<!doctype html>" })
    }

    const GONE: Code = Code::new(404, "THING_GONE");

    fn document() -> Value {
        let routes = [
            route::put("/api/things/:id", Access::OwnerOr("id", &[Role::Admin]), change).fails(&[GONE]),
            route::get("/api/things", Access::Optional, list).needs_token("X-Token").deprecated(),
            route::post("/api/tidy", Access::Internal, tidy),
            route::get("/page", Access::Public, page),
        ];
        serde_json::from_str(&describe(&routes)).unwrap_or_default()
    }

    /// What a `$ref` stands for.
    fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(target) => document.pointer(target.trim_start_matches('#')).unwrap_or(&Value::Null),
            None => value,
        }
    }

    #[test]
    fn what_is_for_the_host_alone_or_for_browsers_is_left_out() {
        let document = document();
        let paths: Vec<&String> = document["paths"].as_object().into_iter().flat_map(Map::keys).collect();
        assert_eq!(paths, ["/api/things", "/api/things/{id}"]);
    }

    #[test]
    fn parameters_have_the_schemas_they_are_read_by() {
        let document = document();
        let parameters = &document["paths"]["/api/things"]["get"]["parameters"];
        assert_eq!(parameters[0]["schema"], json!({ "type": "string", "enum": ["admin", "instructor", "student"] }));
        assert_eq!((&parameters[1]["name"], &parameters[1]["required"]), (&json!("search"), &json!(false)));
        assert_eq!(parameters[1]["description"], "Also read as `q`.");
        assert_eq!(parameters[3]["schema"]["maximum"], 1000);
        let id = &document["paths"]["/api/things/{id}"]["put"]["parameters"][0];
        assert_eq!(*id, of_path("id", &json!({ "type": "string", "format": "uuid" })));
    }

    #[test]
    fn a_body_is_described_with_what_may_be_null_or_missing() {
        let document = document();
        let body = &document["paths"]["/api/things/{id}"]["put"]["requestBody"];
        assert_eq!(body["required"], true);
        let schema = &body["content"]["application/json"]["schema"];
        assert_eq!(schema["properties"]["note"]["type"], json!(["string", "null"]));
        assert_eq!(schema["anyOf"], json!([{ "required": ["title"] }, { "required": ["note"] }]));
    }

    #[test]
    fn answers_come_from_the_types_and_refusals_from_the_declaration() {
        let document = document();
        let responses = &document["paths"]["/api/things/{id}"]["put"]["responses"];
        let statuses: Vec<&String> = responses.as_object().into_iter().flat_map(Map::keys).collect();
        assert_eq!(statuses, ["200", "201", "400", "401", "403", "404", "405", "413", "429", "500", "503", "504"]);
        let schema = &responses["201"]["content"]["application/json"]["schema"];
        let data = resolved(&document, &schema["properties"]["data"]);
        assert_eq!(data["required"], json!(["id", "title", "owner"]));
        assert!(data["properties"]["owner"]["anyOf"].is_array());
        let not_found = resolved(&document, &responses["404"]);
        assert_eq!(not_found["description"], "ROUTE_NOT_FOUND, THING_GONE");
    }

    #[test]
    fn security_says_what_opens_a_route() {
        let document = document();
        let security = |path: &str, method: &str| document["paths"][path][method]["security"].clone();
        assert_eq!(security("/api/things/{id}", "put"), json!([{ "bearer": [] }]));
        assert_eq!(security("/api/things", "get"), json!([{ "bearer": [] }, { "X-Token": [] }]));
        assert_eq!(document["components"]["securitySchemes"]["X-Token"]["in"], "header");
        assert_eq!(document["paths"]["/api/things"]["get"]["deprecated"], true);
        let circle = &document["paths"]["/api/things/{id}"]["put"]["description"];
        assert_eq!(*circle, "For the user that `id` names, and for users of the role admin.");
    }

    #[test]
    fn names_are_those_of_handlers() {
        let named = |handler| names(handler);
        assert_eq!(named("course::handlers::rooms::list_free"), ("rooms.list_free".into(), "Rooms: list free".into()));
        assert_eq!(named("auth::handlers::me::me"), ("me".into(), "Me".into()));
        assert_eq!(
            named("auth::handlers::firebase::verify::of_path"),
            ("firebase.verify.of_path".into(), "Firebase verify: of path".into())
        );
    }
}
