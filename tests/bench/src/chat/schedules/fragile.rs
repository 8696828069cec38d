//! A TCP connection that can be told to break after some more bytes, in the
//! middle of a frame.

use super::schedule::End;
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Orders the next break of whichever connection has it now.
#[derive(Clone, Default)]
pub struct Cutter(Arc<Mutex<Option<(u32, End)>>>);

impl Cutter {
    pub fn cut(&self, bytes: u32, end: End) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((bytes, end));
    }

    /// How many bytes may still pass this way; None: any number.
    fn left(&self, writing: bool) -> Option<(usize, End)> {
        let order = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        order.filter(|(_, end)| (*end == End::Writing) == writing).map(|(bytes, end)| (bytes as usize, end))
    }

    fn passed(&self, bytes: usize) {
        if let Some((left, _)) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            *left = left.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }

    fn done(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

pub struct Fragile {
    /// None once it is broken.
    stream: Option<TcpStream>,
    cutter: Cutter,
}

impl Fragile {
    pub fn new(stream: TcpStream, cutter: Cutter) -> Fragile {
        Fragile { stream: Some(stream), cutter }
    }

    fn part(&mut self, end: End) -> io::Error {
        self.cutter.done();
        if let Some(stream) = self.stream.take()
            && end == End::Reset
        {
            let _ = stream.set_zero_linger();
        }
        io::ErrorKind::ConnectionAborted.into()
    }
}

impl AsyncRead for Fragile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let limit = match self.cutter.left(false) {
            Some((0, end)) => return Poll::Ready(Err(self.part(end))),
            Some((left, _)) => left.min(buffer.remaining()),
            None => buffer.remaining(),
        };
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(limit));
        ready!(Pin::new(stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        self.cutter.passed(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fragile {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let limit = match self.cutter.left(true) {
            Some((0, end)) => return Poll::Ready(Err(self.part(end))),
            Some((left, _)) => left.min(bytes.len()),
            None => bytes.len(),
        };
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let written = ready!(Pin::new(stream).poll_write(context, &bytes[..limit]))?;
        self.cutter.passed(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_flush(context),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(context),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Nobody waits for ever for a host that is gone.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(2);
