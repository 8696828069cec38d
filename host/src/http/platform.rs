//! Endpoints of the host itself: `GET /health`, `GET /services` and
//! `GET /services/health`.

use super::{Gateway, Line, dispatch};
use crate::{
    component::{bindings::http::Method as RouteMethod, registry::Slot},
    error::Refusal,
};
use axum::{
    http::{Method, StatusCode, request::Parts},
    response::Response,
};
use chrono::{SecondsFormat, Utc};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// For each component, and for PostgreSQL.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

impl Gateway {
    /// None: the path is not the host's.
    pub(super) async fn platform(
        &self,
        parts: &Parts,
        path: &str,
        line: &mut Line,
    ) -> Option<Result<Response, Refusal>> {
        if !["/health", "/services", "/services/health"].contains(&path) {
            return None;
        }
        line.route = Some(path.to_owned());
        if ![Method::GET, Method::HEAD].contains(&parts.method) {
            return Some(Err(dispatch::wrong_method(&[RouteMethod::Get])));
        }
        Some(Ok(match path {
            "/health" => super::json(&self.health()),
            "/services" => super::json(&self.services()),
            _ => self.services_health().await,
        }))
    }

    /// Liveness only: asks neither database nor Redis.
    fn health(&self) -> Value {
        json!({
            "service": "shema",
            "status": "healthy",
            "timestamp": now(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime": self.started.elapsed().as_secs(),
            "environment": self.profile,
        })
    }

    fn services(&self) -> Value {
        let services: Map<String, Value> = self
            .registry
            .slots()
            .map(|slot| {
                let version = slot.live.load().as_ref().map(|version| version.id.to_string());
                (slot.name.clone(), json!({ "name": slot.name, "version": version }))
            })
            .collect();
        let gateway = json!({ "port": self.port, "environment": self.profile });
        json!({
            "success": true,
            "data": { "gateway": gateway, "services": services },
            "meta": { "timestamp": now() },
        })
    }

    /// Asks everything at once. Redis is no reason for a 503, since nothing
    /// depends on it.
    async fn services_health(&self) -> Response {
        let checks = self.registry.slots().map(|slot| async { (slot.name.clone(), check(slot).await) });
        let database = tokio::time::timeout(CHECK_TIMEOUT, self.shared.database_answers());
        let (mut services, database) = tokio::join!(join_all(checks), database);
        let answers = |answers: bool, name: &str| match answers {
            true => Ok(json!({})),
            false => Err(format!("{name} does not answer")),
        };
        services.push(("postgres".into(), answers(database.unwrap_or(false), "PostgreSQL")));
        let healthy = services.iter().all(|(_, check)| check.is_ok());
        let redis = answers(self.shared.redis.is_up(), "Redis");
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
            "timestamp": now(),
        }));
        if !healthy {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}

/// A component is healthy if a new instance of its live version answers.
async fn check(slot: &Slot) -> Result<Value, String> {
    let version = slot.live.load_full().ok_or("The component is not loaded")?;
    let answers = async {
        let mut instance = version.pool.instance().await?;
        instance.routes().await
    };
    match tokio::time::timeout(CHECK_TIMEOUT, answers).await {
        Ok(Ok(_)) => Ok(json!({ "version": version.id.to_string() })),
        Ok(Err(failure)) => {
            tracing::warn!(component = ?version.label, "a health check {failure}");
            Err("The component does not answer".into())
        }
        Err(_) => Err("Health check timeout".into()),
    }
}

pub fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}
