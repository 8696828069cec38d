//! The public listener: everything that happens to a request, in the order of
//! the contract (1.11), on one page.
//!
//! - `choose`: which version answers.
//! - `dispatch`: request -> call -> answer.
//! - `wasi_http`: the same for components of the `wasi:http` worlds.
//! - `mirror`: repeats GETs on a version in the shadow.
//! - `rate_limit`: what a client is told of its limits.
//! - `cors`: which pages may read the answers.
//! - `aggregate`: answers put together from several components.
//! - `platform`: the endpoints that are the host's own.
//! - `upgrade`: requests that become WebSockets.
//! - `openapi`: the description of all endpoints, and the page that shows it.

mod aggregate;
mod choose;
mod cors;
mod dispatch;
mod error_response;
mod mirror;
mod openapi;
mod platform;
mod rate_limit;
mod upgrade;
pub mod wasi_http;

use super::sockets::serve::Timing;
use crate::{
    capability::{Shared, Usage, bindings::http::Method as RouteMethod, sockets::hub::Hub},
    config::{Config, Profile},
    deploy::{Deployer, Fence},
    runtime::{Found, registry::Registry, version::Runner},
    services::{Services, rate_limit::Limiter},
};
use aggregate::Aggregates;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use choose::Chosen;
use cors::Cors;
use error_response::{Code, ErrorResponse};
use ipnet::IpNet;
use openapi::Documents;
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const COMPONENT: HeaderName = HeaderName::from_static("x-shema-component");

pub struct Gateway {
    registry: Arc<Registry>,
    services: Arc<Services>,
    hub: Arc<Hub>,
    limiter: Arc<Limiter>,
    timing: Timing,
    max_sockets: usize,
    /// Ends with the host: connections are told to come back.
    stop: CancellationToken,
    aggregates: Aggregates,
    documents: Documents,
    /// HTML at `/` and its content security policy.
    home: Option<(Bytes, HeaderValue)>,
    deployer: Arc<Deployer>,
    fence: Arc<Fence>,
    cors: Cors,
    trusted_proxies: Vec<IpNet>,
    profile: &'static str,
    /// Of the public listener.
    port: u16,
    started: Instant,
    /// Opens versions that are not live, for testing them.
    control_token: String,
}

/// What the gateway has to know of the listener that it answers on.
pub struct PublicListener {
    pub port: u16,
    /// WebSockets at a time.
    pub max_sockets: usize,
    /// HTML at `/` and its content security policy; None: there is no such page.
    pub home: Option<(Bytes, HeaderValue)>,
}

impl Gateway {
    pub fn new(
        config: &Config,
        registry: Arc<Registry>,
        shared: &Shared,
        deployer: Arc<Deployer>,
        stop: CancellationToken,
        listener: PublicListener,
    ) -> anyhow::Result<Gateway> {
        Ok(Gateway {
            registry,
            limiter: Arc::clone(&shared.services.limiter),
            timing: Timing { heartbeat: config.heartbeat, timeout: config.socket_timeout },
            max_sockets: listener.max_sockets,
            stop,
            services: Arc::clone(&shared.services),
            hub: Arc::clone(&shared.hub),
            fence: deployer.fence(),
            deployer,
            cors: Cors::new(&config.allowed_origins, config.profile == Profile::Development),
            trusted_proxies: config.trusted_proxies.clone(),
            profile: config.profile.name(),
            port: listener.port,
            started: Instant::now(),
            control_token: config.secrets.control.clone(),
            aggregates: Aggregates::new(config.aggregates.clone())?,
            documents: Documents::new()?,
            home: listener.home,
        })
    }

    /// One handler for all: which path leads where changes while the host runs.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new().fallback(answer).with_state(self)
    }

    /// The socket's peer, or whom a trusted proxy names: the last address of
    /// `X-Forwarded-For` that is no trusted proxy itself. What stands before it
    /// is the client's own word.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusted = |address: IpAddr| self.trusted_proxies.iter().any(|network| network.contains(&address));
        let peer = peer.to_canonical();
        if !trusted(peer) {
            return peer;
        }
        let values = headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
        for hop in hops.into_iter().rev() {
            match hop.parse::<IpAddr>() {
                Ok(address) if trusted(address.to_canonical()) => (),
                Ok(address) => return address.to_canonical(),
                Err(_) => break,
            }
        }
        peer
    }
}

/// What the line of a request in the log says beside its outcome.
#[derive(Default)]
pub struct Line {
    /// As in the table of routes, so that no id and no token gets into a log.
    route: Option<String>,
    component: Option<HeaderValue>,
    usage: Usage,
    /// The call alone.
    call: Duration,
}

async fn answer(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let id = request_id(&parts.headers);
    let path = gateway.registry.canonical(parts.uri.path());
    let mut line = Line::default();
    let received = dispatch::receive(&parts, body).await;
    let outcome = gateway.respond(&mut parts, received.body, &path, &id, &mut line).await;
    let mut response = outcome.unwrap_or_else(IntoResponse::into_response);

    let headers = response.headers_mut();
    if !received.complete {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(id) = HeaderValue::try_from(id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if path.starts_with("/api") {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Some(component) = &line.component {
        headers.insert(COMPONENT, component.clone());
    }
    gateway.cors.add_headers(&parts.headers, headers);
    log(&parts, &path, &id, &line, &response, started.elapsed());
    response
}

impl Gateway {
    async fn respond(
        &self,
        parts: &mut axum::http::request::Parts,
        body: Result<Bytes, ErrorResponse>,
        path: &str,
        id: &str,
        line: &mut Line,
    ) -> Result<Response, ErrorResponse> {
        if parts.method == Method::OPTIONS {
            line.route = Some("preflight".into());
            return Ok(self.cors.preflight(&parts.headers));
        }
        if let Some(response) = self.platform(parts, path, line).await {
            return response;
        }
        if self.fence.is_fenced() {
            return Err(behind());
        }
        if let Some(response) = self.aggregate(parts, path, id, line).await {
            return response;
        }
        let unknown = || {
            ErrorResponse::new(StatusCode::NOT_FOUND, "ROUTE_NOT_FOUND", "There is nothing at this path.")
                .with("path", parts.uri.path())
                .with("method", parts.method.as_str())
        };
        let client = self.client(dispatch::peer(parts), &parts.headers);
        // Pins this version for the whole request, whatever goes live meanwhile.
        let Chosen { version, mount, shadow } = self.choose(parts, path, client).await.ok_or_else(unknown)??;
        if let Runner::WasiHttp(component) = &version.runner {
            let origin = wasi_http::Origin { mount, request_id: id, client };
            return self.wasi_http(&version, component, parts, body?, &origin, line).await;
        }
        if version.endpoint(path).is_some() {
            if parts.method != Method::GET {
                return Err(dispatch::wrong_method(&[RouteMethod::Get]));
            }
            return self.upgrade(&version, parts, path, client, line).await;
        }
        let found = version.find(dispatch::method(&parts.method), path, false);
        let (typed, index, route, params) = match found {
            Found::Route { typed, index, route, params } => (typed, index, route, params),
            Found::OtherMethods(methods) => return Err(dispatch::wrong_method(&methods)),
            Found::Nothing => return Err(unknown()),
        };
        line.route = Some(route.path.clone());

        let body = body?;
        let caller = self.caller(parts, route.access, &version.component).await;
        let admitted = self.count(route, &params, &body, caller.as_ref().ok(), client).await?;
        let answered = match dispatch::admit(&caller, route.access) {
            Ok(()) => {
                let request = dispatch::request(index, params, parts, body, &caller, id);
                let token = caller.ok().and_then(|identity| identity.user().map(|user| user.token.clone()));
                let mirrored = shadow.map(|shadow| (shadow, request.clone()));
                let answered = dispatch::call(&version, typed, request, token, line).await;
                match mirrored {
                    Some((shadow, request)) => self.mirror(&version, shadow, path, request, answered).await,
                    None => answered,
                }
            }
            Err(error) => Err(error),
        };
        self.settle(admitted, answered).await
    }
}

/// Other hosts may have changed what is live, and this one does not know.
fn behind() -> ErrorResponse {
    let message = "This host has lost touch with the others; ask again in a moment.";
    ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message)
        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// 200 with JSON.
fn json(value: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, dispatch::JSON);
    response
}

/// 200 with HTML, which may load what the content security policy names.
fn page(html: Bytes, policy: HeaderValue) -> Response {
    let mut response = Response::new(Body::from(html));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// The client's if it is a sane token, else one of ours.
fn request_id(headers: &HeaderMap) -> String {
    let sane = |id: &&str| {
        (8..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane);
    given.map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned)
}

fn log(parts: &axum::http::request::Parts, path: &str, id: &str, line: &Line, response: &Response, elapsed: Duration) {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let (database, redis) = (micros(line.usage.database), micros(line.usage.redis));
    tracing::info!(
        target: "request",
        method = parts.method.as_str(),
        // An unknown path may hold anything, so only its beginning is told.
        route = line.route.as_deref().unwrap_or_else(|| path_prefix(path)),
        status = response.status().as_u16(),
        code = response.extensions().get::<Code>().map(|code| code.0),
        component = line.component.as_ref().and_then(|label| label.to_str().ok()),
        request_id = id,
        total_us = micros(elapsed),
        // Its own time: what it waited for is told apart.
        component_us = micros(line.call).saturating_sub(database + redis),
        database_us = database,
        redis_us = redis,
    );
}

/// The first two segments of a path, where no credential stands.
fn path_prefix(path: &str) -> &str {
    let end = path.match_indices('/').nth(3).map_or(path.len(), |(index, _)| index);
    let end = path.floor_char_boundary(end.min(64));
    path.get(..end).unwrap_or_default()
}
