//! One request and its answer, between the worker that runs the guest and the
//! connection that sends the body.
//!
//! Each side has to know how the other fares: the worker keeps its instance
//! until the client has the whole body, and ends it when the client gives up;
//! the body has to tell an end that the guest meant from one by its death. A
//! channel alone looks the same in both cases.

use axum::body::Bytes;
use futures_util::task::AtomicWaker;
use hyper::body::{Body as _, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use wasmtime_wasi_http::WasiBody;

pub struct Exchange {
    deadline: Instant,
    /// The client has the whole answer.
    delivered: AtomicBool,
    /// The client wants no more of it.
    abandoned: AtomicBool,
    /// Why the instance is gone; told before it goes.
    words: OnceLock<String>,
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
            words: OnceLock::new(),
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

    /// The worker wants to know of the client's side.
    pub fn watch(&self, context: &Context<'_>) {
        self.worker.register(context.waker());
    }

    /// The worker's last act, before it drops the instance.
    pub fn end(&self, words: String) {
        let _ = self.words.set(words);
        self.ended.notify_one();
        self.body.wake();
    }

    /// Waits until the instance is gone, and says why.
    pub async fn last_words(&self) -> String {
        loop {
            if let Some(words) = self.words.get() {
                return words.clone();
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

/// Why a body was cut. The connection ends with it.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    #[error("the guest ended before its answer did: {0}")]
    Died(String),
    #[error("the guest broke off its answer: {0}")]
    Broken(wasmtime_wasi_http::Error),
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
    ended: bool,
}

impl Body {
    pub fn new(body: WasiBody, client: Client, declared: Option<u64>, allowed: u64) -> Body {
        let ended = body.is_end_stream();
        if ended {
            client.delivered();
        }
        Body { body, client, declared, allowed, ended }
    }

    fn count(&mut self, bytes: u64) -> Result<(), Cut> {
        self.allowed = self.allowed.checked_sub(bytes).ok_or(Cut::TooLarge)?;
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

    fn fail(&mut self, cut: Cut) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.ended = true;
        Poll::Ready(Some(Err(cut)))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            // Before the look at the words, so that none are missed.
            self.client.0.body.register(cx.waker());
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                // Nothing can come any more, whatever the body waits for.
                Poll::Pending if self.client.0.words.get().is_some() => None,
                Poll::Pending => return Poll::Pending,
            };
            let data = match frame {
                Some(Ok(frame)) => frame.into_data(),
                Some(Err(error)) => return self.fail(Cut::Broken(error)),
                None => {
                    if let Some(words) = self.client.0.words.get() {
                        let words = words.clone();
                        return self.fail(Cut::Died(words));
                    }
                    self.ended = true;
                    self.client.delivered();
                    return Poll::Ready(None);
                }
            };
            // Trailers could say what headers may not; nobody waits for them.
            let Ok(data) = data else { continue };
            return match self.count(data.len() as u64) {
                Ok(()) => Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(cut) => self.fail(cut),
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map(SizeHint::with_exact).unwrap_or_default()
    }
}
