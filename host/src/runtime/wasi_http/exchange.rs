//! One request and its answer, between the worker that runs the guest and the
//! connection that sends the body.
//!
//! Each side has to know how the other fares: the worker keeps its instance
//! until the client has the whole body, and ends it when the client gives up;
//! the body has to tell an end that the guest meant from one by its death. A
//! channel alone looks the same in both cases.

use axum::body::Bytes;
use futures_util::task::AtomicWaker;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use wasmtime_wasi_http::WasiBody;

/// How long the headers wait for the first bytes of the body.
const READ_AHEAD: Duration = Duration::from_millis(10);

pub struct Exchange {
    deadline: Instant,
    /// The client has the whole answer.
    delivered: AtomicBool,
    /// The client wants no more of it.
    abandoned: AtomicBool,
    /// The guest has returned, and so writes nothing more.
    returned: AtomicBool,
    /// Why the instance is gone; told before it goes.
    tail: OnceLock<String>,
    ended: Notify,
    worker: AtomicWaker,
    body: AtomicWaker,
    /// Free again when neither side holds the exchange any more.
    _permit: OwnedSemaphorePermit,
}

impl Exchange {
    pub fn new(deadline: Instant, permit: OwnedSemaphorePermit) -> Exchange {
        Exchange {
            deadline,
            delivered: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            returned: AtomicBool::new(false),
            tail: OnceLock::new(),
            ended: Notify::new(),
            worker: AtomicWaker::new(),
            body: AtomicWaker::new(),
            _permit: permit,
        }
    }

    /// For everything: instantiation, call and body.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    pub fn is_delivered(&self) -> bool {
        self.delivered.load(Ordering::Acquire)
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Wakes the worker when the client's side changes.
    pub fn watch(&self, context: &Context<'_>) {
        self.worker.register(context.waker());
    }

    /// Whether the guest has returned, and whether it is gone.
    fn ends(&self) -> (bool, bool) {
        (self.returned.load(Ordering::Acquire), self.tail.get().is_some())
    }

    pub fn note_return(&self) {
        self.returned.store(true, Ordering::Release);
        self.body.wake();
    }

    /// The worker's last act, before it drops the instance.
    pub fn end(&self, tail: String) {
        let _ = self.tail.set(tail);
        self.ended.notify_one();
        self.body.wake();
    }

    /// Waits until the instance is gone, and says why.
    pub async fn stderr_tail(&self) -> String {
        loop {
            if let Some(tail) = self.tail.get() {
                return tail.clone();
            }
            self.ended.notified().await;
        }
    }
}

/// The client's side: dropped before the answer is delivered, it gives up.
pub struct Client(Arc<Exchange>);

impl Client {
    pub fn new(exchange: Arc<Exchange>) -> Client {
        Client(exchange)
    }

    fn delivered(&self) {
        self.0.delivered.store(true, Ordering::Release);
        self.0.worker.wake();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.0.is_delivered() {
            self.0.abandoned.store(true, Ordering::Release);
            self.0.worker.wake();
        }
    }
}

/// Why a body ends early. The connection ends with it.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the guest ended before its answer did: {0}")]
    Died(String),
    #[error("the guest broke off its answer: {0}")]
    Broken(wasmtime_wasi_http::Error),
    #[error("the guest returned without ending its answer")]
    Unfinished,
    #[error("the answer is over max_response_kib")]
    TooLarge,
}

/// The guest's body, as far as it may go.
pub struct Body {
    body: WasiBody,
    client: Client,
    /// Bytes that are still to come, if the guest said how many.
    declared: Option<u64>,
    /// Bytes that may still come.
    allowed: u64,
    /// What was read ahead.
    first: Option<Frame<Bytes>>,
    ended: bool,
}

impl Body {
    pub fn new(body: WasiBody, client: Client, declared: Option<u64>, allowed: u64) -> Body {
        let ended = body.is_end_stream();
        if ended {
            client.delivered();
        }
        Body { body, client, declared, allowed, first: None, ended }
    }

    /// Reads ahead, so that a guest that fails right after its headers can still
    /// be answered for; not for long, as the first bytes may be far away.
    pub async fn begin(&mut self) -> Result<(), BodyError> {
        if let Ok(Some(frame)) = tokio::time::timeout(READ_AHEAD, self.frame()).await {
            self.first = Some(frame?);
        }
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> Result<(), BodyError> {
        self.allowed = self.allowed.checked_sub(bytes).ok_or(BodyError::TooLarge)?;
        // The connection does not ask for more than was declared, so the last
        // declared byte is the end.
        if let Some(left) = &mut self.declared {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.client.delivered();
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }

    /// The body has ended: as the guest meant it to, unless the guest is gone.
    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(tail) = self.client.0.tail.get() {
            let tail = tail.clone();
            return self.fail(BodyError::Died(tail));
        }
        self.ended = true;
        self.client.delivered();
        Poll::Ready(None)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.first.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            // Registered and read before the body is polled: what happens in between
            // is seen there, or wakes this task.
            self.client.0.body.register(cx.waker());
            let (returned, dead) = self.client.0.ends();
            let data = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame.into_data(),
                Poll::Ready(Some(Err(error))) => return self.fail(BodyError::Broken(error)),
                Poll::Ready(None) => return self.end(),
                Poll::Pending if dead => return self.end(),
                Poll::Pending if returned => return self.fail(BodyError::Unfinished),
                Poll::Pending => return Poll::Pending,
            };
            // Trailers could say what headers may not; nobody waits for them.
            let Ok(data) = data else { continue };
            return match self.count(data.len() as u64) {
                Ok(()) => Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(error) => self.fail(error),
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.first.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        self.declared.map(|left| SizeHint::with_exact(left + first)).unwrap_or_default()
    }
}
