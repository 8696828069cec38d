//! Endpoints of the host itself: `GET /health` and `GET /services`.

use super::{Gateway, Line, dispatch};
use crate::error::Refusal;
use axum::{
    Json,
    http::{HeaderValue, Method, header, request::Parts},
    response::{IntoResponse, Response},
};
use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};

impl Gateway {
    /// None: the path is not the host's.
    pub(super) fn platform(&self, parts: &Parts, path: &str, line: &mut Line) -> Option<Result<Response, Refusal>> {
        let answer: fn(&Gateway) -> Value = match path {
            "/health" => Gateway::health,
            "/services" => Gateway::services,
            _ => return None,
        };
        line.route = Some(path.to_owned());
        if ![Method::GET, Method::HEAD].contains(&parts.method) {
            return Some(Err(dispatch::wrong_method(&[crate::component::bindings::http::Method::Get])));
        }
        let mut response = Json(answer(self)).into_response();
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Some(Ok(response))
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
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}
