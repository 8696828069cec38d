//! What a component says of its routes: `paths` and `components` of an OpenAPI
//! 3.1 document.
//!
//! The host does not take its word for the list: it has to be the table that
//! routes, as far as that is about the API. A page for browsers, which lies
//! elsewhere, need not be described. Whatever else is in it is shown and never
//! used.

use super::{method_name, routes::lies_under};
use crate::capability::bindings::{Route, http::Access};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Members of a path that are operations.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Below it every route is part of the API.
const API: &str = "/api";

/// Kinds of components that lie under names of the component's own.
const NAMED: [&str; 2] = ["schemas", "responses"];

/// A description whose names are unlike those of any other component.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Description {
    /// Path -> method -> operation.
    pub paths: BTreeMap<String, Map<String, Value>>,
    /// Kind -> name -> what it is.
    pub components: BTreeMap<String, Map<String, Value>>,
}

impl Description {
    /// Reads what the component `name` answered. Nothing was said: nothing is
    /// shown. Each error is a sentence for the component's author.
    pub fn read(text: &str, name: &str, routes: &[Route]) -> Result<Description> {
        if text.is_empty() {
            return Ok(Description::default());
        }
        let mut document: Value = serde_json::from_str(text).context("its description is not JSON")?;
        scope(&mut document, name);
        let description = serde_json::from_value(document);
        let mut description: Description = description.context("its description is not one of OpenAPI")?;
        compare(&description.paths, routes)?;
        for kind in NAMED {
            if let Some(members) = description.components.get_mut(kind) {
                *members =
                    std::mem::take(members).into_iter().map(|(key, value)| (scoped(name, &key), value)).collect();
            }
        }
        for operation in description.paths.values_mut().flat_map(Map::values_mut) {
            if let Some(operation) = operation.as_object_mut() {
                operation.insert("tags".into(), json!([name]));
                if let Some(Value::String(id)) = operation.get_mut("operationId") {
                    *id = scoped(name, id);
                }
            }
        }
        Ok(description)
    }
}

impl Description {
    /// The schema that a reference stands for; any other stands for itself.
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> Option<&'a Value> {
        let Some(target) = schema.get("$ref").and_then(Value::as_str) else { return Some(schema) };
        let (kind, name) = target.strip_prefix("#/components/")?.split_once('/')?;
        self.components.get(kind)?.get(name)
    }

    /// Adds the members of what a schema describes, whichever of several it is.
    pub fn members(&self, schema: &Value, members: &mut Map<String, Value>) {
        // One level is enough, and has no circles.
        let Some(schema) = self.resolve(schema) else { return };
        members.extend(schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default());
        for word in ["allOf", "anyOf", "oneOf"] {
            let parts = schema.get(word).and_then(Value::as_array).into_iter().flatten();
            let parts = parts.filter_map(|part| self.resolve(part)?.get("properties")?.as_object());
            members.extend(parts.flatten().map(|(name, member)| (name.clone(), member.clone())));
        }
    }
}

fn scoped(name: &str, key: &str) -> String {
    format!("{name}.{key}")
}

/// Makes all references ones to names of the component `name`.
fn scope(value: &mut Value, name: &str) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get_mut("$ref") {
                for kind in NAMED {
                    let prefix = format!("#/components/{kind}/");
                    if let Some(key) = target.strip_prefix(&prefix) {
                        *target = format!("{prefix}{}", scoped(name, key));
                        break;
                    }
                }
            }
            members.values_mut().for_each(|member| scope(member, name));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| scope(item, name)),
        _ => (),
    }
}

/// Whether the description lists what clients can call, and nothing else.
fn compare(paths: &BTreeMap<String, Map<String, Value>>, routes: &[Route]) -> Result<()> {
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.keys().filter(|member| METHODS.contains(&member.as_str()));
            methods.map(|method| (path.clone(), method.to_ascii_uppercase()))
        })
        .collect();
    let public = routes.iter().filter(|route| route.access != Access::Internal);
    let table: BTreeSet<(String, String)> =
        public.map(|route| (template(&route.path), method_name(route.method).to_owned())).collect();
    if let Some((path, method)) = table.difference(&described).find(|(path, _)| lies_under(path, API)) {
        bail!("its description lacks its route {method} {path}");
    }
    if let Some((path, method)) = described.difference(&table).next() {
        bail!("its description has {method} {path}, which is not in its table of routes for clients");
    }
    Ok(())
}

/// A path as OpenAPI writes it: `/things/{id}` for `/things/:id`.
pub fn template(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment.strip_prefix(':') {
        Some(name) => format!("{{{name}}}"),
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::bindings::http::Method;

    fn table() -> Vec<Route> {
        let route = |method, path: &str, access| Route { method, path: path.into(), access };
        vec![
            route(Method::Get, "/api/x/:id", Access::Public),
            route(Method::Put, "/api/x/:id", Access::User),
            route(Method::Post, "/api/x/tasks", Access::Internal),
            // No part of the API.
            route(Method::Get, "/page", Access::Public),
        ]
    }

    fn read(paths: Value) -> Result<Description> {
        let document = json!({ "paths": paths, "components": { "schemas": { "Thing": {} } } });
        Description::read(&document.to_string(), "name", &table())
    }

    #[test]
    fn the_description_lists_what_clients_can_call() {
        let complete = json!({ "/api/x/{id}": { "get": {}, "put": {}, "parameters": [] } });
        assert!(read(complete).is_ok());
        let refused = |paths| format!("{:#}", read(paths).unwrap_err());
        assert_eq!(refused(json!({ "/api/x/{id}": { "get": {} } })), "its description lacks its route PUT /api/x/{id}");
        let internal = json!({ "/api/x/{id}": { "get": {}, "put": {} }, "/api/x/tasks": { "post": {} } });
        let page = json!({ "/api/x/{id}": { "get": {}, "put": {} }, "/page": { "get": {} } });
        assert!(read(page).is_ok());
        let sentence = "its description has POST /api/x/tasks, which is not in its table of routes for clients";
        assert_eq!(refused(internal), sentence);
        assert!(refused(json!([])).starts_with("its description is not one of OpenAPI"));
        assert!(format!("{:#}", Description::read("{", "name", &table()).unwrap_err()).contains("not JSON"));
        assert!(Description::read("", "name", &table()).unwrap().paths.is_empty());
    }

    #[test]
    fn names_get_the_component_in_front() {
        let reference = json!({ "$ref": "#/components/schemas/Thing" });
        let get = json!({ "operationId": "things.show", "responses": { "200": { "schema": [reference] } } });
        let read = read(json!({ "/api/x/{id}": { "get": get, "put": {} } })).unwrap();
        let get = &read.paths["/api/x/{id}"]["get"];
        assert_eq!((&get["operationId"], &get["tags"]), (&json!("name.things.show"), &json!(["name"])));
        assert_eq!(get["responses"]["200"]["schema"][0]["$ref"], "#/components/schemas/name.Thing");
        assert!(read.components["schemas"]["name.Thing"].is_object());
    }
}
