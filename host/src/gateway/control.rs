//! The operator's listener. Apart from the public one, so that a firewall can
//! keep it in; everything but `/health` and the console's page needs the
//! control token.
//!
//! - `components`: what runs, and changing it.
//! - `console`: all of this on a page.
//! - `events`: what happens, as it happens.
//! - `logs`: what components have said lately.
//! - `metrics`: how much and how fast.

mod components;
mod console;
mod events;
mod logs;
mod metrics;

use crate::{
    deploy::{self, Deployer},
    runtime::registry::Registry,
    services::Services,
};
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

/// For a whole artifact.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Control {
    registry: Arc<Registry>,
    services: Arc<Services>,
    deployer: Arc<Deployer>,
    token: String,
    max_artifact_bytes: usize,
    /// Ends answers that have no end of their own.
    stop: CancellationToken,
}

pub fn router(
    registry: Arc<Registry>,
    services: Arc<Services>,
    deployer: Arc<Deployer>,
    token: String,
    max_artifact_bytes: usize,
    stop: CancellationToken,
) -> Router {
    let control = Arc::new(Control { registry, services, deployer, token, max_artifact_bytes, stop });
    let guarded = Router::new()
        .route("/v1/components", get(components::list))
        .route("/v1/components/{name}", delete(components::delete))
        .route("/v1/components/{name}/versions", post(components::deploy))
        .route("/v1/components/{name}/activate", post(components::activate))
        .route("/v1/components/{name}/rollback", post(components::rollback))
        .route("/v1/components/{name}/stats", get(components::stats))
        .route("/v1/components/{name}/logs", get(logs::of_component))
        .route("/v1/logs", get(logs::all))
        .route("/v1/nodes", get(components::nodes))
        .route("/v1/events", get(events::follow))
        .route("/metrics", get(metrics::text))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        // `deploy` counts by itself, to answer in its own words.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(&control), authorize));
    let open = Router::new()
        .route("/health", get(health))
        .route("/", get(console::page))
        .route("/console.js", get(console::script))
        .route("/console.css", get(console::style));
    open.merge(guarded).with_state(control)
}

async fn authorize(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let token = header.and_then(|header| header.strip_prefix(b"Bearer ")).unwrap_or_default();
    // In constant time, so that answering times do not spell the token.
    if bool::from(token.ct_eq(control.token.as_bytes())) {
        return next.run(request).await;
    }
    // Else an answer that overtakes its request is lost with the connection.
    receive(request.into_body(), 0, control.max_artifact_bytes).await;
    refuse(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "This needs the control token as a bearer token.")
}

/// A body as it came.
enum Received {
    Whole(Vec<u8>),
    TooLarge,
    Broken,
}

/// Keeps up to `max_bytes`, and reads on beyond, up to `max_discarded`, so that
/// the client gets to read its answer.
async fn receive(mut body: Body, max_bytes: usize, max_discarded: usize) -> Received {
    let (mut kept, mut length) = (Vec::new(), 0_usize);
    let read = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            let Ok(data) = frame.into_data() else { continue };
            length = length.saturating_add(data.len());
            if length <= max_bytes {
                kept.extend_from_slice(&data);
            } else if length > max_bytes.saturating_add(max_discarded) {
                break;
            }
        }
        true
    };
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        _ if length > max_bytes => Received::TooLarge,
        Ok(true) => Received::Whole(kept),
        _ => Received::Broken,
    }
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    refuse_with(status, code, message, &Value::Null)
}

fn refuse_with(status: StatusCode, code: &str, message: &str, details: &Value) -> Response {
    let error = json!({ "error": { "code": code, "message": message, "details": details } });
    (status, Json(error)).into_response()
}

impl IntoResponse for deploy::Error {
    fn into_response(self) -> Response {
        let (status, code, details) = self.parts();
        if status.is_server_error() {
            tracing::error!("a change failed: {self}");
        }
        refuse_with(status, code, &capitalized(&self.to_string()), &details)
    }
}

/// A sentence.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

async fn unknown() -> Response {
    refuse(StatusCode::NOT_FOUND, "NOT_FOUND", "The control API has nothing at this path.")
}

async fn wrong_method() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "This path does not answer this method.")
}

async fn health(State(control): State<Arc<Control>>) -> Json<Value> {
    let services = &control.services;
    let database = tokio::time::timeout(HEALTH_TIMEOUT, services.database_answers()).await.unwrap_or(false);
    let slots = control.registry.slots();
    let components: serde_json::Map<String, Value> = slots
        .iter()
        .map(|slot| (slot.name.clone(), if slot.live().is_some() { "live" } else { "missing" }.into()))
        .collect();
    let state = |up: bool| if up { "up" } else { "down" };
    Json(json!({ "database": state(database), "redis": state(services.redis.is_up()), "components": components }))
}
