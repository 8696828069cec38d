//! Answers that the host puts together from several components, as the
//! operator's file declares them: one call for a page that would need many.
//!
//! The calls run at once and inside the process. A part that fails takes its
//! declared place-holder and never spoils the whole.

use super::{Gateway, Line, dispatch, error_response::ErrorResponse};
use crate::{
    capability::{
        bindings::{
            Route,
            http::{Access, Caller, Method},
        },
        calls::{Components, InternalCall},
    },
    config::{Aggregate, Part},
    services::tokens::User,
    telemetry::timestamp,
};
use anyhow::Context;
use axum::{
    http::{StatusCode, request::Parts},
    response::Response,
};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// For each part: a page with a part missing is better than a late one.
const PART_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Aggregates {
    list: Vec<Aggregate>,
    paths: matchit::Router<usize>,
}

/// The outcome of one part.
enum Outcome {
    Value(Value),
    /// The component says that the thing does not exist.
    Missing,
    Failed,
}

impl Aggregates {
    pub fn new(list: Vec<Aggregate>) -> anyhow::Result<Aggregates> {
        let mut paths = matchit::Router::new();
        for (index, aggregate) in list.iter().enumerate() {
            let pattern: Vec<String> = aggregate
                .path
                .split('/')
                .map(|segment| segment.strip_prefix(':').map_or_else(|| segment.into(), |name| format!("{{{name}}}")))
                .collect();
            let added = paths.insert(pattern.join("/"), index);
            added.with_context(|| format!("aggregates: the path {} conflicts with another", aggregate.path))?;
        }
        Ok(Aggregates { list, paths })
    }

    pub fn list(&self) -> &[Aggregate] {
        &self.list
    }

    /// The aggregate at a path, and the values of its parameters by name.
    fn find(&self, path: &str) -> Option<(&Aggregate, Vec<(String, String)>)> {
        let found = self.paths.at(path).ok()?;
        let params = found.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some((self.list.get(*found.value)?, params))
    }
}

impl Gateway {
    /// None: there is no aggregate at this path.
    pub(super) async fn aggregate(
        &self,
        parts: &Parts,
        path: &str,
        id: &str,
        line: &mut Line,
    ) -> Option<Result<Response, ErrorResponse>> {
        let (aggregate, params) = self.aggregates.find(path)?;
        line.route = Some(aggregate.path.clone());
        if dispatch::method(&parts.method) != Some(Method::Get) {
            return Some(Err(dispatch::wrong_method(&[Method::Get])));
        }
        let route = Route { method: Method::Get, path: aggregate.path.clone(), access: Access::User };
        let answered = async {
            let caller = self.caller(parts, route.access, "").await;
            let values: Vec<String> = params.iter().map(|(_, value)| value.clone()).collect();
            let client = self.client(dispatch::peer(parts), &parts.headers);
            let admitted = self.count(&route, &values, &[], caller.as_ref().ok(), client).await?;
            let answered = async {
                dispatch::admit(&caller, route.access)?;
                let user = caller.as_ref().ok().and_then(|known| known.user());
                let user = user.ok_or_else(forbidden)?;
                judge(aggregate, &params, user)?;
                self.put_together(aggregate, &params, user, id).await
            };
            let answered = answered.await;
            self.settle(admitted, answered).await
        };
        Some(answered.await)
    }

    async fn put_together(
        &self,
        aggregate: &Aggregate,
        params: &[(String, String)],
        user: &User,
        id: &str,
    ) -> Result<Response, ErrorResponse> {
        let outcomes = join_all(aggregate.parts.iter().map(|part| self.part(part, params, user, id))).await;
        let mut data = Map::new();
        let mut health: Map<String, Value> = Map::new();
        for (part, outcome) in aggregate.parts.iter().zip(outcomes) {
            let (value, healthy) = match outcome {
                Outcome::Value(value) => (value, true),
                Outcome::Missing if part.required => {
                    return Err(ErrorResponse::new(StatusCode::NOT_FOUND, "NOT_FOUND", "There is no such thing."));
                }
                Outcome::Missing | Outcome::Failed => (part.otherwise.clone(), false),
            };
            data.insert(part.field.clone(), value);
            let all = health.entry(part.service.clone()).or_insert(Value::Bool(true));
            *all = Value::Bool(healthy && *all == Value::Bool(true));
        }
        data.extend(aggregate.constants.clone());
        data.insert("servicesHealth".into(), Value::Object(health));
        let meta = json!({ "timestamp": timestamp(), "requestId": id });
        Ok(super::json(&json!({ "success": true, "data": data, "meta": meta })))
    }

    async fn part(&self, part: &Part, params: &[(String, String)], user: &User, id: &str) -> Outcome {
        let path = fill(&part.path, params);
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let caller =
            if part.as_host { Caller::Service("host".into()) } else { Caller::User(user.principal.clone().into()) };
        let internal = InternalCall {
            component: &part.component,
            method: Method::Get,
            path,
            query: query.to_owned(),
            body: Vec::new(),
            caller,
            internal: part.as_host,
            request_id: id.to_owned(),
            depth: 0,
            deadline: Some(Instant::now() + PART_TIMEOUT),
            read_only: false,
        };
        let called = tokio::time::timeout(PART_TIMEOUT, self.registry.call(internal)).await;
        let answer = match called {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => {
                tracing::warn!(component = part.component, request_id = id, "a part is missing: {why}");
                return Outcome::Failed;
            }
            Err(_) => return Outcome::Failed,
        };
        if answer.status == 404 {
            return Outcome::Missing;
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match body.pointer(&part.pick).filter(|_| (200..300).contains(&answer.status)) {
            Some(value) => Outcome::Value(only(value, &part.only)),
            None => Outcome::Failed,
        }
    }
}

/// In the order of the contract: role and ownership, then the path.
fn judge(aggregate: &Aggregate, params: &[(String, String)], user: &User) -> Result<(), ErrorResponse> {
    let principal = &user.principal;
    let owner = aggregate.owner.as_ref().and_then(|name| params.iter().find(|(param, _)| param == name));
    let is_owner = owner.is_some_and(|(_, id)| id.eq_ignore_ascii_case(&principal.user_id));
    if !is_owner && !aggregate.roles.contains(&principal.role) {
        return Err(forbidden().with("details", json!({ "userRole": principal.role })));
    }
    let problems: Vec<Value> = params
        .iter()
        // Only the hyphenated form: 8-4-4-4-12 hex digits.
        .filter(|(_, value)| value.len() != 36 || Uuid::try_parse(value).is_err())
        .map(|(name, _)| json!({ "path": [name], "field": name, "code": "invalid_string", "message": "is not a UUID" }))
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    let error = ErrorResponse::new(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", "The request is not valid.");
    Err(error.with("details", problems))
}

fn forbidden() -> ErrorResponse {
    ErrorResponse::new(StatusCode::FORBIDDEN, "AUTH_FORBIDDEN", "You are not allowed to do this.")
}

/// Puts the parameters, which are UUIDs by now, into a path.
fn fill(path: &str, params: &[(String, String)]) -> String {
    params.iter().fold(path.to_owned(), |path, (name, value)| path.replace(&format!(":{name}"), &value.to_lowercase()))
}

/// The named members of an object, or of each object of a list; all if none
/// are named.
fn only(value: &Value, names: &[String]) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| only(item, names)).collect(),
        Value::Object(object) if !names.is_empty() => {
            let kept = names.iter().filter_map(|name| Some((name.clone(), object.get(name)?.clone())));
            Value::Object(kept.collect())
        }
        other => other.clone(),
    }
}
