//! One artifact of a component, ready to answer.

use super::{
    call::{Failure, Invocation, Outcome},
    description::Description,
    pool::Pool,
    stats::{End, Stats},
    version_id::VersionId,
    wasi_http::WasiHttp,
};
use crate::{
    capability::{
        Context, Usage,
        bindings::{
            Request, Response, Route,
            http::{Access, Method},
            sockets::Endpoint,
        },
    },
    telemetry::operator_events::{Kind, OperatorEvents},
};
use axum::http::HeaderValue;
use serde_json::Map;
use std::{
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{self, Poll},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Between two events of traps of one version.
const TRAP_PAUSE: Duration = Duration::from_secs(1);

/// Versions that are in memory, of all components.
static LOADED: AtomicUsize = AtomicUsize::new(0);

pub struct Version {
    pub id: VersionId,
    /// Name of the component.
    pub component: String,
    /// `NAME@VERSION`, as in `X-Shema-Component`.
    pub label: HeaderValue,
    pub mounts: Vec<String>,
    /// Stands for what the operator's file said of it when it was loaded.
    pub config: String,
    /// The capabilities that it imports, as in `shema:database/sql@0.1.0`.
    pub imports: Vec<String>,
    pub description: Description,
    pub stats: Arc<Stats>,
    /// Wakes whoever watches a version that went live lately: it has failed.
    pub failed: Arc<Notify>,
    pub runner: Runner,
    events: Arc<OperatorEvents>,
    trap_told: Mutex<Option<Instant>>,
}

/// How its calls are run.
pub enum Runner {
    Typed(Box<Typed>),
    WasiHttp(WasiHttp),
}

/// A component of the host's own world.
pub struct Typed {
    pub pool: Pool,
    pub routes: Vec<Route>,
    /// Path -> indexes in `routes`, one per method.
    pub paths: matchit::Router<Vec<u32>>,
    /// Where it holds connections.
    pub endpoints: Vec<Endpoint>,
}

/// What a path leads to in one version.
pub enum Found<'a> {
    Route {
        typed: &'a Typed,
        index: u32,
        route: &'a Route,
        params: Vec<String>,
    },
    /// The path is there, but not for this method; these it is there for.
    OtherMethods(Vec<Method>),
    Nothing,
}

/// What a version is made of.
pub struct Parts {
    pub id: VersionId,
    pub component: String,
    pub mounts: Vec<String>,
    pub config: String,
    pub imports: Vec<String>,
    pub description: Description,
    pub stats: Arc<Stats>,
    pub runner: Runner,
    pub events: Arc<OperatorEvents>,
}

impl Version {
    /// An error if the component's name does not fit into a header.
    pub fn new(parts: Parts) -> Result<Version, axum::http::header::InvalidHeaderValue> {
        let label = format!("{}@{}", parts.component, parts.id).parse()?;
        LOADED.fetch_add(1, Relaxed);
        Ok(Version {
            id: parts.id,
            component: parts.component,
            label,
            mounts: parts.mounts,
            config: parts.config,
            imports: parts.imports,
            description: parts.description,
            stats: parts.stats,
            failed: Arc::default(),
            runner: parts.runner,
            events: parts.events,
            trap_told: Mutex::default(),
        })
    }

    /// Versions that are in memory, of all components.
    pub fn loaded() -> usize {
        LOADED.load(Relaxed)
    }

    /// `internal`: whether the routes that are not for clients are there.
    pub fn find(&self, method: Option<Method>, path: &str, internal: bool) -> Found<'_> {
        match &self.runner {
            Runner::Typed(typed) => typed.find(method, path, internal),
            // It has no table: what it is called for is its own affair.
            Runner::WasiHttp(_) => Found::Nothing,
        }
    }

    /// The WIT world that it was built for.
    pub fn world(&self) -> &'static str {
        match self.runner {
            Runner::Typed(_) => "shema:host/component@0.1.0",
            Runner::WasiHttp(ref guest) => guest.world().name(),
        }
    }

    /// `GET /path` of each route.
    pub fn route_list(&self) -> Vec<String> {
        match &self.runner {
            Runner::Typed(typed) => {
                let endpoint = |route: &Route| format!("{} {}", super::method_name(route.method), route.path);
                typed.routes.iter().map(endpoint).collect()
            }
            Runner::WasiHttp(_) => self.mounts.iter().map(|mount| format!("* {mount}/*")).collect(),
        }
    }

    /// Answers one request.
    pub async fn call(&self, typed: &Typed, context: Context, request: &Request) -> (Result<Response, Failure>, Usage) {
        let (outcome, usage) = self.invoke(typed, context, Invocation::Request(request)).await;
        let outcome = outcome.and_then(|answer| match answer {
            Outcome::Response(response) => Ok(response),
            Outcome::Done => Err(Failure::Trap("gave no answer".into())),
        });
        (outcome, usage)
    }

    /// Runs one call and counts it.
    pub async fn invoke(
        &self,
        typed: &Typed,
        context: Context,
        invocation: Invocation<'_>,
    ) -> (Result<Outcome, Failure>, Usage) {
        let started = Instant::now();
        let mut cpu = Duration::ZERO;
        let running = self.stats.begin();
        let (outcome, usage) = Metered { inner: pin!(typed.pool.call(context, invocation)), cpu: &mut cpu }.await;
        drop(running);
        let end = match &outcome {
            Ok(Outcome::Response(response)) => End::Answer(response.status),
            Ok(Outcome::Done) => End::Answer(200),
            Err(failure) => failure.into(),
        };
        self.record(end, started.elapsed(), cpu);
        (outcome, usage)
    }

    /// The endpoint for connections at this path: its position.
    pub fn endpoint(&self, path: &str) -> Option<(&Typed, u32)> {
        let Runner::Typed(typed) = &self.runner else { return None };
        let position = typed.endpoints.iter().position(|endpoint| endpoint.path == path)?;
        Some((typed, u32::try_from(position).ok()?))
    }

    /// The first frame limit of the endpoint at this path, in bytes.
    pub fn frame_limit(&self, path: &str) -> Option<usize> {
        let (typed, position) = self.endpoint(path)?;
        Some(typed.endpoints.get(position as usize)?.max_frame_bytes as usize)
    }

    /// What a client gets when the component fails on its frame.
    pub fn failure_frame(&self, path: &str) -> Option<String> {
        let (typed, position) = self.endpoint(path)?;
        Some(typed.endpoints.get(position as usize)?.failure.clone())
    }

    /// Whether a new instance answers.
    pub async fn answers(&self) -> Result<(), Failure> {
        match &self.runner {
            Runner::Typed(typed) => typed.pool.instance().await?.routes().await.map(drop),
            Runner::WasiHttp(guest) => guest.probe().await,
        }
    }

    pub fn record(&self, end: End, took: Duration, cpu: Duration) {
        if !self.stats.record(end, took, cpu) {
            return;
        }
        self.failed.notify_waiters();
        if end == End::Trap {
            self.tell_of_trap();
        }
    }

    /// Thousands of traps a second are one notice a second.
    fn tell_of_trap(&self) {
        let mut told = self.trap_told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| told.elapsed() < TRAP_PAUSE) {
            return;
        }
        *told = Some(Instant::now());
        drop(told);
        let details = Map::from_iter([("traps".to_owned(), self.stats.snapshot().traps.into())]);
        let message = "A call trapped; the log says why.".to_owned();
        self.events.emit_with(Kind::Trap, &self.component, Some(self.id.as_str()), message, details);
    }

    /// Frees what a version that gets no calls does not need.
    pub fn cool(&self) {
        match &self.runner {
            Runner::Typed(typed) => typed.pool.cool(),
            // Its instances go by themselves when they are idle.
            Runner::WasiHttp(_) => (),
        }
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        LOADED.fetch_sub(1, Relaxed);
    }
}

impl From<&Failure> for End {
    fn from(failure: &Failure) -> End {
        match failure {
            Failure::Busy => End::Busy,
            Failure::Timeout(_) => End::Timeout,
            Failure::Trap(_) => End::Trap,
        }
    }
}

impl Typed {
    fn find(&self, method: Option<Method>, path: &str, internal: bool) -> Found<'_> {
        let Ok(matched) = self.paths.at(path) else { return Found::Nothing };
        let all = || matched.value.iter().filter_map(|index| Some((*index, self.routes.get(*index as usize)?)));
        let routes = || all().filter(|(_, route)| internal || route.access != Access::Internal);
        if let Some((index, route)) = routes().find(|(_, route)| Some(route.method) == method) {
            let params = matched.params.iter().map(|(_, value)| decode(value)).collect();
            return Found::Route { typed: self, index, route, params };
        }
        let others: Vec<Method> = routes().map(|(_, route)| route.method).collect();
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
    }
}

fn decode(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Adds up the time that a future computes, as opposed to waits.
pub struct Metered<'a, F> {
    pub inner: Pin<&'a mut F>,
    pub cpu: &'a mut Duration,
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<F::Output> {
        let started = Instant::now();
        let polled = self.inner.as_mut().poll(context);
        *self.cpu += started.elapsed();
        polled
    }
}
