//! The operator's listener. Apart from the public one, so that a firewall can
//! keep it in; everything but `/health` needs the control token.

use crate::http::Gateway;
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use subtle::ConstantTimeEq;

const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

struct Control {
    gateway: Arc<Gateway>,
    token: String,
}

pub fn router(gateway: Arc<Gateway>, token: String) -> Router {
    let control = Arc::new(Control { gateway, token });
    let guarded = Router::new()
        .route("/v1/components", get(components))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&control), authorize));
    Router::new().route("/health", get(health)).merge(guarded).with_state(control)
}

async fn authorize(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let token = header.and_then(|header| header.strip_prefix(b"Bearer ")).unwrap_or_default();
    // In constant time, so that answering times do not spell the token.
    if bool::from(token.ct_eq(control.token.as_bytes())) {
        return next.run(request).await;
    }
    refuse(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "This needs the control token as a bearer token.")
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let error = json!({ "error": { "code": code, "message": message, "details": Value::Null } });
    (status, Json(error)).into_response()
}

async fn unknown() -> Response {
    refuse(StatusCode::NOT_FOUND, "NOT_FOUND", "The control API has nothing at this path.")
}

async fn wrong_method() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "This path does not answer this method.")
}

async fn health(State(control): State<Arc<Control>>) -> Json<Value> {
    let shared = &control.gateway.shared;
    let database = tokio::time::timeout(HEALTH_TIMEOUT, shared.database_answers()).await.unwrap_or(false);
    let components: serde_json::Map<String, Value> = control
        .gateway
        .registry
        .slots()
        .map(|slot| (slot.name.clone(), if slot.live.load().is_some() { "live" } else { "missing" }.into()))
        .collect();
    let state = |up: bool| if up { "up" } else { "down" };
    Json(json!({ "database": state(database), "redis": state(shared.redis.is_up()), "components": components }))
}

async fn components(State(control): State<Arc<Control>>) -> Json<Value> {
    let slots = control.gateway.registry.slots().map(|slot| {
        let live = slot.live.load();
        let versions: Vec<Value> = live
            .iter()
            .map(|version| json!({ "version": version.id.to_string(), "state": "live", "weight": 100 }))
            .collect();
        json!({ "name": slot.name, "mounts": slot.mounts, "versions": versions })
    });
    Json(slots.collect())
}
