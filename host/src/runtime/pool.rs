//! Warm instances of one version, and how many may run at a time.
//!
//! An instance belongs to one call alone. It comes back if the call ended well
//! and it is still small and young; otherwise it is dropped with everything it
//! held. A warm instance saves some 20 µs of every call.

use super::{
    call::{Failure, Invocation, Outcome, PROBE_DEADLINE},
    instance::{self, Instance, Prepared},
    stats::Stats,
};
use crate::{
    capability::{Context, Grants, Usage, sockets::Join},
    config::Limits,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use wasmtime::Engine;

pub struct Pool {
    pub stats: Arc<Stats>,
    engine: Engine,
    prepared: Prepared,
    grants: Arc<Grants>,
    limits: Limits,
    deadline: Duration,
    running: Semaphore,
    /// Of those that run, the ones that are no requests.
    events: Semaphore,
    warm: Mutex<Vec<Instance>>,
}

impl Pool {
    /// `call_timeout`: the deadline of a component whose limits name none.
    pub fn new(
        engine: Engine,
        prepared: Prepared,
        grants: Arc<Grants>,
        limits: Limits,
        call_timeout: Duration,
    ) -> Pool {
        let deadline = limits.deadline(call_timeout);
        let running = Semaphore::new(limits.max_calls);
        // When thousands of connections begin or end at once, their calls wait
        // in line for longer than a request would: some places are not for them.
        let events = Semaphore::new(limits.max_calls - limits.max_calls / 4);
        Pool {
            stats: Arc::default(),
            engine,
            prepared,
            grants,
            limits,
            deadline,
            running,
            events,
            warm: Mutex::default(),
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// An instance of its own, for the questions at load.
    pub async fn instance(&self) -> Result<Instance, Failure> {
        let new = Instance::new(&self.engine, &self.prepared, &self.grants, &self.limits, &self.stats);
        match tokio::time::timeout(self.deadline, new).await {
            Ok(instance) => instance.map_err(|error| Failure::Trap(format!("cannot be instantiated: {error:#}"))),
            Err(_) => Err(Failure::Timeout(self.deadline)),
        }
    }

    /// What the component says of its own health.
    pub async fn check_health(&self) -> Result<Result<(), String>, Failure> {
        let check = instance::check_health(&self.engine, &self.prepared, &self.grants, &self.limits, &self.stats);
        match tokio::time::timeout(PROBE_DEADLINE, check).await {
            Ok(health) => health.map_err(|error| Failure::Trap(format!("{error:#}"))),
            Err(_) => Err(Failure::Timeout(PROBE_DEADLINE)),
        }
    }

    /// Runs one call, within the deadline from its instantiation on.
    pub async fn call(&self, context: Context, invocation: Invocation<'_>) -> (Result<Outcome, Failure>, Usage) {
        let deadline = context
            .deadline
            .map_or(self.deadline, |end| self.deadline.min(end.saturating_duration_since(Instant::now())));
        // Nobody waits for an answer on a socket, but each frame has to get one.
        let wait = match invocation {
            Invocation::Request(_) => Duration::from_millis(self.limits.max_wait_ms),
            _ => deadline,
        };
        let Some(_permits) = self.permits(invocation, wait).await else {
            return (Err(Failure::Busy), Usage::default());
        };
        let warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut instance = match warm {
            Some(instance) => instance,
            None => match self.instance().await {
                Ok(instance) => instance,
                Err(failure) => return (Err(failure), Usage::default()),
            },
        };
        let read_only = context.read_only;
        let outcome = instance.invoke(context, invocation, deadline).await;
        let (effects, joins) = instance.take_effects();
        let usage = instance.finish();
        if outcome.is_err() {
            joins.iter().for_each(Join::abort);
        }
        if outcome.is_ok() && !effects.is_empty() && !read_only {
            self.grants.sockets.hub.apply(&self.grants.component, effects);
        }
        drop(joins);
        if outcome.is_ok() && instance.is_reusable(&self.limits) {
            self.warm.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
        }
        (outcome, usage)
    }

    /// Drops the warm instances: a version that is not asked needs none.
    pub fn cool(&self) {
        // Taken out first, so that they are not dropped under the lock.
        let warm = std::mem::take(&mut *self.warm.lock().unwrap_or_else(PoisonError::into_inner));
        drop(warm);
    }

    /// Grants while a call runs. None: it would have to wait for too long.
    async fn permits(&self, invocation: Invocation<'_>, wait: Duration) -> Option<[Option<SemaphorePermit<'_>>; 2]> {
        let events = match invocation {
            Invocation::Request(_) => None,
            _ => Some(permit(&self.events, wait).await?),
        };
        Some([events, Some(permit(&self.running, wait).await?)])
    }
}

async fn permit(places: &Semaphore, wait: Duration) -> Option<SemaphorePermit<'_>> {
    match places.try_acquire() {
        Ok(permit) => Some(permit),
        Err(TryAcquireError::Closed) => None,
        Err(TryAcquireError::NoPermits) => tokio::time::timeout(wait, places.acquire()).await.ok()?.ok(),
    }
}
