//! Which version of which component answers a request.

use super::{Gateway, error_response::ErrorResponse};
use crate::runtime::{Version, registry::prefixes, version_id::VersionId};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use std::{net::IpAddr, sync::Arc};
use subtle::ConstantTimeEq;

const VERSION: HeaderName = HeaderName::from_static("x-shema-version");
const CONTROL: HeaderName = HeaderName::from_static("x-shema-control");

pub struct Chosen<'a> {
    pub version: Arc<Version>,
    /// The prefix that the component is mounted under.
    pub mount: &'a str,
    /// A version on which the request is repeated.
    pub shadow: Option<Arc<Version>>,
}

impl Gateway {
    /// None: no component answers under this path.
    pub(super) async fn choose<'a>(
        &self,
        parts: &Parts,
        path: &'a str,
        client: IpAddr,
    ) -> Option<Result<Chosen<'a>, ErrorResponse>> {
        if let Some(asked) = self.asked_version(parts, path).await {
            return Some(asked.map(|(version, mount)| Chosen { version, mount, shadow: None }));
        }
        let (slot, mount) = self.registry.find(path)?;
        let chosen = slot.choose(|| principal(parts).unwrap_or_else(|| client.to_string()));
        let unavailable = || {
            let message = "This part of the service is not available now.";
            ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message)
        };
        let shadow = if parts.method == Method::GET { slot.shadow() } else { None };
        Some(chosen.map(|version| Chosen { version, mount, shadow }).ok_or_else(unavailable))
    }

    /// The version that a tester names, who shows the control token. For
    /// everybody else the header is not there.
    async fn asked_version<'a>(
        &self,
        parts: &Parts,
        path: &'a str,
    ) -> Option<Result<(Arc<Version>, &'a str), ErrorResponse>> {
        let asked = parts.headers.get(VERSION)?.to_str().ok()?;
        let token = parts.headers.get(CONTROL).map(HeaderValue::as_bytes).unwrap_or_default();
        if !bool::from(token.ct_eq(self.control_token.as_bytes())) {
            return None;
        }
        let (name, id) = asked.split_once('@')?;
        let found = match VersionId::parse(id) {
            Some(id) => self.deployer.version(name, &id).await.ok(),
            None => None,
        };
        let Some(version) = found else {
            // Only if the request is for this component at all.
            let (owner, _) = self.registry.find(path)?;
            let message = format!("There is no version {asked}.");
            let error = ErrorResponse::new(StatusCode::NOT_FOUND, "ROUTE_NOT_FOUND", message);
            return (owner.name == name).then_some(Err(error));
        };
        let mount = prefixes(path).find(|prefix| version.mounts.iter().any(|mount| mount == prefix))?;
        Some(Ok((version, mount)))
    }
}

/// Whom a bearer token names. Not verified: it decides about nothing but the
/// share, and who lies gets another version of the same service.
fn principal(parts: &Parts) -> Option<String> {
    let token = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let payload: Value = serde_json::from_slice(&payload).ok()?;
    payload.get("sub").or_else(|| payload.get("userId"))?.as_str().map(str::to_owned)
}
