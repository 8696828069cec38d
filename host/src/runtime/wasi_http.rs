//! Components of the `wasi:http` worlds: anybody's, in any language.
//!
//! Such a component speaks HTTP itself, so the host knows nothing of its routes
//! and hands each request on as it came. wasmtime's `ProxyHandler` runs the
//! guests, of 0.2 and of 0.3 alike; what is here bounds it: calls at a time,
//! one deadline for instantiation, call and body together, memory, and the size
//! of an answer. An instance serves one call at a time, until the client has
//! the whole body: so a guest that fails takes no other request along. One of
//! 0.2 serves one call and no more: tool chains of that world build guests that
//! answer once, and other hosts never ask them twice.
//!
//! - `exchange`: one request and its answer, seen from both sides.
//! - `worker`: when an instance takes a call, and when it has to go.
//! - `instance`: the store of a guest, and what it may use.
//! - `outbound`: the guest's own requests, to granted origins.
//!
//! Not here: which headers of an answer get to the client (`gateway/http/wasi_http.rs`).

mod exchange;
mod instance;
mod outbound;
mod shared;
mod state;
mod worker;

pub use state::State;

use super::{call::Failure, stats::Stats};
use crate::{capability::http_client::Grant, config::Limits};
use axum::{
    body::Body,
    http::{Request, header},
    response::Response,
};
use bytes::Bytes;
use exchange::{BodyError, Client, Exchange};
use http_body_util::{BodyExt, Full};
use instance::Factory;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime::{
    Engine,
    component::{Component, Linker},
};
use wasmtime_wasi_http::handler::{ExpirationError, InstantiationError, ProxyHandler, ProxyPre, TrapOrPanicError};

/// Which of the two `wasi:http` worlds a component is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// `wasi:http/proxy@0.2`
    Http02,
    /// `wasi:http/service@0.3`
    Http03,
}

impl World {
    /// By the handler that the component exports, of whatever patch version.
    pub fn of(component: &Component, engine: &Engine) -> Option<World> {
        component.component_type().exports(engine).find_map(|(name, _)| World::of_export(name))
    }

    fn of_export(name: &str) -> Option<World> {
        if name.starts_with("wasi:http/incoming-handler@0.2.") {
            Some(World::Http02)
        } else if name.starts_with("wasi:http/handler@0.3.") {
            Some(World::Http03)
        } else {
            None
        }
    }

    /// As the control API names it.
    pub fn name(self) -> &'static str {
        match self {
            World::Http02 => "wasi:http@0.2",
            World::Http03 => "wasi:http@0.3",
        }
    }
}

/// What the tool chains of both worlds import. All but the clocks, random
/// numbers and HTTP is closed: see [`State`].
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// One version of a `wasi:http` component, with its instances.
pub struct WasiHttp {
    world: World,
    handler: ProxyHandler<Factory>,
    running: Arc<Semaphore>,
    deadline: Duration,
    max_wait: Duration,
    max_response_bytes: u64,
    /// Workers hold the handler, so it would live on with them: this tells them
    /// to end when they are idle.
    _closing: DropGuard,
}

impl WasiHttp {
    /// `call_timeout`: the deadline of a component whose limits name none.
    /// `name` is for the log. An error says what the component imports or
    /// exports that this host does not have.
    pub fn new(
        linker: &Linker<State>,
        component: &Component,
        world: World,
        limits: Limits,
        call_timeout: Duration,
        outbound: Grant,
        name: &str,
    ) -> wasmtime::Result<WasiHttp> {
        let pre = linker.instantiate_pre(component)?;
        let pre = match world {
            World::Http02 => ProxyPre::P2(wasmtime_wasi_http::p2::bindings::ProxyPre::new(pre)?),
            World::Http03 => ProxyPre::P3(wasmtime_wasi_http::p3::bindings::ServicePre::new(pre)?),
        };
        let closed = CancellationToken::new();
        let deadline = limits.deadline(call_timeout);
        Ok(WasiHttp {
            world,
            running: Arc::new(Semaphore::new(limits.max_calls)),
            deadline,
            max_wait: Duration::from_millis(limits.max_wait_ms),
            max_response_bytes: (limits.max_response_kib as u64) << 10,
            _closing: closed.clone().drop_guard(),
            handler: ProxyHandler::new(Factory::new(
                component.engine().clone(),
                pre,
                limits,
                deadline,
                Arc::new(outbound),
                name.to_owned(),
                closed,
            )),
        })
    }

    pub fn world(&self) -> World {
        self.world
    }

    /// Outlives the version, if somebody holds it.
    pub fn stats(&self) -> &Arc<Stats> {
        self.handler.state().stats()
    }

    /// Instantiates once, under the limits.
    pub async fn probe(&self) -> Result<(), Failure> {
        let started = Instant::now();
        match self.handler.state().create().await {
            Ok(_) => Ok(()),
            Err(_) if started.elapsed() >= self.deadline => Err(Failure::Timeout(self.deadline)),
            Err(error) => Err(Failure::Trap(format!("cannot be instantiated: {error:#}"))),
        }
    }

    /// Runs one call and returns the answer as the guest gave it, with a body
    /// that streams. The body ends with an error if the guest fails meanwhile,
    /// overruns the deadline or sends more than it may; dropping it, like
    /// dropping the call, ends the guest.
    pub async fn call(&self, request: Request<Bytes>) -> Result<Response, Failure> {
        let permit = self.permit().await.ok_or(Failure::Busy)?;
        let exchange = Arc::new(Exchange::new(Instant::now() + self.deadline, permit));
        let client = Client::new(Arc::clone(&exchange));
        let request = request.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
        let answer = self.handler.handle(Arc::clone(&exchange), request);
        match tokio::time::timeout_at(exchange.deadline().into(), answer).await {
            Ok(Ok(response)) => self.bound(response, client, &exchange).await,
            Ok(Err(error)) => {
                drop(client);
                Err(self.explain(&error, &exchange).await)
            }
            Err(_) => Err(Failure::Timeout(self.deadline)),
        }
    }

    async fn bound(
        &self,
        response: wasmtime_wasi_http::handler::Response,
        client: Client,
        exchange: &Exchange,
    ) -> Result<Response, Failure> {
        let declared = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let declared: Option<u64> = declared.and_then(|length| length.parse().ok());
        if declared.is_some_and(|length| length > self.max_response_bytes) {
            return Err(Failure::Trap("gave an answer that is over max_response_kib".into()));
        }
        let (head, body) = response.into_parts();
        let mut body = exchange::Body::new(body, client, declared, self.max_response_bytes);
        let Err(error) = body.begin().await else { return Ok(Response::from_parts(head, Body::new(body))) };
        drop(body);
        if Instant::now() >= exchange.deadline() {
            return Err(Failure::Timeout(self.deadline));
        }
        let tail = match error {
            BodyError::Died(tail) => tail,
            error => format!("{error} {}", Self::stderr_tail(exchange).await),
        };
        Err(Failure::Trap(format!("gave only the headers of an answer: {tail}")))
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        match Arc::clone(&self.running).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(TryAcquireError::Closed) => None,
            Err(TryAcquireError::NoPermits) => {
                let permit = Arc::clone(&self.running).acquire_owned();
                tokio::time::timeout(self.max_wait, permit).await.ok()?.ok()
            }
        }
    }

    /// What a worker says that ends, by a trap or because nobody waits for it.
    async fn stderr_tail(exchange: &Exchange) -> String {
        let tail = tokio::time::timeout_at(exchange.deadline().into(), exchange.stderr_tail()).await;
        tail.unwrap_or_default()
    }

    async fn explain(&self, error: &wasmtime::Error, exchange: &Exchange) -> Failure {
        // The worker ends at the same deadline, and may be the first to see it.
        if Instant::now() >= exchange.deadline() || error.is::<ExpirationError>() {
            return Failure::Timeout(self.deadline);
        }
        if let Some(failed) = error.downcast_ref::<InstantiationError<Arc<Exchange>>>() {
            return Failure::Trap(format!("cannot be instantiated: {:#}", failed.error));
        }
        let tail = Self::stderr_tail(exchange).await;
        Failure::Trap(if error.is::<TrapOrPanicError>() { tail } else { format!("gave no answer: {error:#} {tail}") })
    }
}

#[cfg(test)]
mod tests {
    use super::World;

    #[test]
    fn the_exported_handler_tells_the_world_whatever_its_patch() {
        assert_eq!(World::of_export("wasi:http/incoming-handler@0.2.0"), Some(World::Http02));
        assert_eq!(World::of_export("wasi:http/incoming-handler@0.2.12"), Some(World::Http02));
        assert_eq!(World::of_export("wasi:http/handler@0.3.0"), Some(World::Http03));
        assert_eq!(World::of_export("wasi:http/handler@0.3.7"), Some(World::Http03));
        assert_eq!(World::of_export("wasi:http/outgoing-handler@0.2.0"), None);
        assert_eq!(World::of_export("shema:http/handler@0.1.0"), None);
    }
}
