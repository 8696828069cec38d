//! The end of what a guest wrote to stderr, usually a panic message, kept for the
//! log of a trap.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

const MAX_BYTES: usize = 2048;

#[derive(Clone, Default)]
pub struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    /// The last bytes since the last time, as one line.
    pub fn take(&self) -> String {
        let bytes: Vec<u8> = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into();
        String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn append(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = &bytes[bytes.len().saturating_sub(MAX_BYTES)..];
        let surplus = (kept.len() + new.len()).saturating_sub(MAX_BYTES);
        kept.drain(..surplus);
        kept.extend(new);
    }
}

impl IsTerminal for Tail {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Tail {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Tail {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.append(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, Tail};

    #[test]
    fn only_the_end_is_kept() {
        let tail = Tail::default();
        tail.append(&[b'a'; 5000]);
        tail.append(b"\nlast words");
        let text = tail.take();
        assert!(text.ends_with("aaa last words") && text.len() <= MAX_BYTES, "{text}");
        assert_eq!(tail.take(), "");
    }
}
