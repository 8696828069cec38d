//! Endpoints of the host itself: its state, and the description of the API.

use super::{Gateway, Line, dispatch, error_response::ErrorResponse};
use crate::{capability::bindings::http::Method as RouteMethod, runtime::registry::Slot, telemetry::timestamp};
use axum::{
    http::{Method, StatusCode, request::Parts},
    response::Response,
};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use std::time::Duration;

pub const HEALTH: &str = "/health";
pub const SERVICES: &str = "/services";
pub const SERVICES_HEALTH: &str = "/services/health";
pub const OPENAPI: &str = "/api/openapi.json";
pub const DOCS: &str = "/api/docs";
/// In development only; what it shows is made above this floor.
const HOME: &str = "/";

/// For each component, and for PostgreSQL.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

impl Gateway {
    /// None: the path is not the host's.
    pub(super) async fn platform(
        &self,
        parts: &Parts,
        path: &str,
        line: &mut Line,
    ) -> Option<Result<Response, ErrorResponse>> {
        let home = self.home.as_ref().filter(|_| path == HOME);
        if home.is_none() && ![HEALTH, SERVICES, SERVICES_HEALTH, OPENAPI, DOCS].contains(&path) {
            return None;
        }
        line.route = Some(path.to_owned());
        if ![Method::GET, Method::HEAD].contains(&parts.method) {
            return Some(Err(dispatch::wrong_method(&[RouteMethod::Get])));
        }
        if let Some((html, policy)) = home {
            return Some(Ok(super::page(html.clone(), policy.clone())));
        }
        Some(Ok(match path {
            HEALTH => self.health(),
            SERVICES => super::json(&self.services()),
            OPENAPI => self.openapi(),
            DOCS => self.docs(),
            _ => self.services_health().await,
        }))
    }

    /// Asks neither database nor Redis. 503 tells a balancer that this host
    /// answers nothing until it has caught up with the others.
    fn health(&self) -> Response {
        let behind = self.fence.is_fenced();
        let mut response = super::json(&json!({
            "service": "shema",
            "status": if behind { "unhealthy" } else { "healthy" },
            "timestamp": timestamp(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime": self.started.elapsed().as_secs(),
            "environment": self.profile,
        }));
        if behind {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }

    fn services(&self) -> Value {
        let slots = self.registry.mounted();
        let services: Map<String, Value> = slots
            .iter()
            .map(|slot| {
                let version = slot.live().map(|version| version.id.to_string());
                (slot.name.clone(), json!({ "name": slot.name, "version": version }))
            })
            .collect();
        let gateway = json!({ "port": self.port, "environment": self.profile });
        json!({
            "success": true,
            "data": { "gateway": gateway, "services": services },
            "meta": { "timestamp": timestamp() },
        })
    }

    /// Asks everything at once. Redis is no reason for a 503, since nothing
    /// depends on it.
    async fn services_health(&self) -> Response {
        let slots = self.registry.mounted();
        let checks = slots.iter().map(|slot| async { (slot.name.clone(), check(slot).await) });
        let database = tokio::time::timeout(CHECK_TIMEOUT, self.services.database_answers());
        let keys = ["health".to_owned()];
        let redis = self.services.redis.any_exists(&keys);
        let (mut services, database, redis) = tokio::join!(join_all(checks), database, redis);
        let answers = |answers: bool, name: &str| match answers {
            true => Ok(json!({})),
            false => Err(format!("{name} does not answer")),
        };
        services.push(("postgres".into(), answers(database.unwrap_or(false), "PostgreSQL")));
        let healthy = services.iter().all(|(_, check)| check.is_ok());
        let redis = answers(redis.is_ok(), "Redis");
        let degraded = !healthy || redis.is_err();
        services.push(("redis".into(), redis));
        let services: Map<String, Value> = services
            .into_iter()
            .map(|(name, check)| match check {
                Ok(data) => (name, json!({ "status": "healthy", "data": data })),
                Err(error) => (name, json!({ "status": "unhealthy", "error": error })),
            })
            .collect();
        let mut response = super::json(&json!({
            "success": true,
            "overallStatus": if degraded { "degraded" } else { "healthy" },
            "services": services,
            "timestamp": timestamp(),
        }));
        if !healthy {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}

/// A component is healthy if a new instance of its live version answers.
async fn check(slot: &Slot) -> Result<Value, String> {
    let version = slot.live().ok_or("The component is not loaded")?;
    match tokio::time::timeout(CHECK_TIMEOUT, version.answers()).await {
        Ok(Ok(())) => Ok(json!({ "version": version.id.to_string() })),
        Ok(Err(failure)) => {
            tracing::warn!(component = ?version.label, "a health check {failure}");
            Err("The component does not answer".into())
        }
        Err(_) => Err("Health check timeout".into()),
    }
}
