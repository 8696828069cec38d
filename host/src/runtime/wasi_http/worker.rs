//! When an instance takes a call, and when it has to go.
//!
//! One call at a time: `ProxyHandler` could interleave many in one instance,
//! but a trap, and a deadline too, ends them all. The next one comes in when
//! the client has the whole answer and the guest has nothing left to do.

use super::{World, exchange::Exchange, shared::WorkerShared, state::State};
use crate::config::Limits;
use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use wasmtime::{Store, StoreContextMut, component::GuestTaskId};
use wasmtime_wasi_http::handler::{ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus};

/// How long an instance is kept for the next call: the memory of a rush is
/// given back, but the next request of a quiet day still finds one.
const KEEP: Duration = Duration::from_secs(60);

pub struct Worker {
    shared: Arc<WorkerShared>,
    reuse: usize,
    recycle_above: usize,
    name: String,
}

impl Worker {
    pub fn new(shared: Arc<WorkerShared>, world: World, limits: &Limits, name: String) -> Worker {
        let reuse = match world {
            World::Http02 => 1,
            World::Http03 => limits.reuse as usize,
        };
        Worker { shared, reuse, recycle_above: limits.recycle_above_mib << 20, name }
    }
}

impl WorkerState for Worker {
    type StoreData = State;
    type RequestData = Arc<Exchange>;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if concurrent > 0 || !self.shared.is_free() {
            return ShouldAccept::No;
        }
        if total >= self.reuse || self.shared.growth() > self.recycle_above {
            return ShouldAccept::Never;
        }
        ShouldAccept::Yes
    }

    /// The future would end a call inside of the event loop, which may not be
    /// polled for long: [`Expiration`] does it from outside.
    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, State>,
        exchange: Arc<Exchange>,
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        store.data_mut().begin(&exchange);
        self.shared.idle.store(false, Ordering::Relaxed);
        *self.shared.present() = Some(exchange);
        Box::pin(std::future::pending())
    }

    fn drop(&self, store: Store<State>, result: wasmtime::Result<()>) {
        let exchange = self.shared.present().take();
        if let Some(exchange) = exchange {
            let error = result.err().filter(|_| !self.shared.ended.load(Ordering::Relaxed));
            let tail = store.data().stderr_tail();
            let tail = match error {
                Some(error) => format!("{error:#} {tail}"),
                None => tail,
            };
            if exchange.is_delivered() {
                tracing::warn!(component = self.name, "a call did not end well after its answer: {tail}");
            }
            // First this, then the store: its end closes the body's channel.
            exchange.end(tail);
        }
        drop(store);
    }
}

/// Ends the worker, from outside of the guest's event loop.
pub struct Expiration {
    shared: Arc<WorkerShared>,
    world: World,
    timer: Pin<Box<Sleep>>,
    /// When the worker became idle.
    since: Option<Instant>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Expiration {
    pub fn new(shared: Arc<WorkerShared>, world: World, closed: CancellationToken) -> Expiration {
        Expiration {
            shared,
            world,
            timer: Box::pin(tokio::time::sleep(KEEP)),
            since: None,
            closed: Box::pin(closed.cancelled_owned()),
        }
    }

    fn end(&self) -> Poll<()> {
        self.shared.ended.store(true, Ordering::Relaxed);
        Poll::Ready(())
    }

    fn poll_timer(&mut self, end: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let end = end.into();
        if self.timer.deadline() != end {
            self.timer.as_mut().reset(end);
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Ready(()) => self.end(),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl WorkerExpiration for Expiration {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, status: WorkerStatus, _: Instant) -> Poll<()> {
        let present = self.shared.present().clone();
        let Some(exchange) = present else {
            if self.closed.as_mut().poll(cx).is_ready() {
                return self.end();
            }
            let since = *self.since.get_or_insert_with(Instant::now);
            return self.poll_timer(since + KEEP, cx);
        };
        self.since = None;
        exchange.watch(cx);
        if exchange.is_abandoned() {
            return self.end();
        }
        if status == WorkerStatus::Idle && !self.shared.idle.swap(true, Ordering::Relaxed) {
            // In 0.3 the body may be one that the host brings to its end alone.
            if self.world == World::Http02 {
                exchange.note_return();
            }
            // The worker asks `should_accept_request` only when it is polled.
            if exchange.is_delivered() {
                cx.waker().wake_by_ref();
            }
        }
        self.poll_timer(exchange.deadline(), cx)
    }
}
