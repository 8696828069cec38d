//! The task of one connection: reads frames, calls the component for them one
//! after the other, and writes what the hub has for the client.
//!
//! A client is read again when what it sent before has been answered: once its
//! close is read, the protocol lets nothing be written any more.

use super::write::{Socket, write};
use crate::{
    capability::{
        Context,
        bindings::sockets::{self as wit, Event},
        sockets::{connection::Connection, frame::Frame, hub::Hub},
    },
    runtime::{
        call::{Failure, Invocation, Outcome},
        registry::Slot,
    },
};
use futures_util::{SinkExt, StreamExt};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt, task::JoinHandle, time::sleep_until};
use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError, protocol::CloseFrame};
use tokio_util::sync::CancellationToken;

pub use wit::Opening;

/// Close codes (RFC 6455, 7.4.1).
mod code {
    pub const AWAY: u16 = 1001;
    pub const PROTOCOL: u16 = 1002;
    /// Never sent: the client's close had none.
    pub const NONE: u16 = 1005;
    /// Never sent: there was no close.
    pub const ABNORMAL: u16 = 1006;
    pub const NOT_UTF8: u16 = 1007;
    pub const TOO_LARGE: u16 = 1009;
    pub const FAILED: u16 = 1011;
    /// Neither a pong nor a frame within the idle timeout.
    pub const SILENT: u16 = 4408;
}

/// For a client to answer a close, and for a slow one to take what it is sent
/// before.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// Before a component that failed to fill a gap is asked again.
const GAP_PAUSE: Duration = Duration::from_millis(500);

/// How long a connection may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two pings.
    pub heartbeat: Duration,
    /// Without a pong or frame.
    pub timeout: Duration,
}

/// What the task needs beside the connection.
pub struct Served {
    pub hub: Arc<Hub>,
    pub slot: Arc<Slot>,
    pub timing: Timing,
    pub stop: CancellationToken,
}

/// What a call was made for.
enum Purpose {
    Open,
    Frame,
    Timer,
    Gap(wit::Gap),
}

impl Purpose {
    /// The client has sent something, and may wait for what comes of it.
    fn is_answer(&self) -> bool {
        matches!(self, Purpose::Open | Purpose::Frame)
    }
}

type Call = JoinHandle<Option<Result<(), Failure>>>;

/// How a connection came to its end.
enum End {
    /// The host closes; the close frame has still to be sent.
    Ours,
    /// The client has closed, with this code.
    Theirs(u16),
    /// The client is gone without a close.
    Gone,
}

/// Runs a connection to its end.
pub async fn serve(mut socket: Box<Socket>, connection: Arc<Connection>, opening: Opening, served: Served) {
    served.hub.add(&connection);
    let mut task = Task { connection, served, calling: None, gap_after: None, stopping: false, pending: None };
    task.call(Event::Opened(opening), Purpose::Open);
    let end = task.run(&mut socket).await;
    // Boxed: this future is larger than all else that a connection keeps, which
    // would have to hold room for it from the beginning.
    Box::pin(task.finish(socket, end)).await;
}

struct Task {
    connection: Arc<Connection>,
    served: Served,
    calling: Option<(Call, Purpose)>,
    gap_after: Option<Instant>,
    stopping: bool,
    /// A frame that waits for its turn.
    pending: Option<Message>,
}

impl Task {
    async fn run(&mut self, socket: &mut Socket) -> End {
        let mut heard = Instant::now();
        let mut ping_at = heard + self.served.timing.heartbeat;
        loop {
            if self.calling.is_none() {
                if self.connection.join_aborted() {
                    self.connection.close(code::FAILED, "the service failed");
                }
                if self.connection.closing().is_some() {
                    return End::Ours;
                }
            }
            self.begin_next();
            let is_answering = self.pending.is_some() || self.calling.as_ref().is_some_and(|(_, why)| why.is_answer());
            // The idle timeout is suspended while we are not reading.
            let silent = (!is_answering).then_some(heard + self.served.timing.timeout);
            let next = self.next_look(silent, ping_at);
            let (calling, connection) = (&mut self.calling, &self.connection);
            let waiting = connection.has_frames();
            tokio::select! {
                biased;
                () = self.served.stop.cancelled(), if !self.stopping => {
                    self.stopping = true;
                    connection.close(code::AWAY, "the server is stopping");
                }
                done = async { match calling { Some((call, _)) => call.await, None => std::future::pending().await } } => {
                    if is_answering {
                        heard = Instant::now();
                    }
                    self.called(done.ok().flatten());
                }
                () = std::future::ready(()), if waiting => {
                    if let Some(frame) = connection.next_frame()
                        && !self.write(socket, frame).await
                    {
                        return End::Gone;
                    }
                }
                () = connection.wake.notified() => (),
                message = socket.next(), if !is_answering => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => self.pending = Some(message),
                        Some(Ok(Message::Close(frame))) => {
                            return End::Theirs(frame.map_or(code::NONE, |frame| frame.code.into()));
                        }
                        // The protocol answers pings by itself.
                        Some(Ok(_)) => (),
                        Some(Err(error)) => return self.broken(&error),
                        None => return End::Gone,
                    }
                }
                () = sleep_until(next.into()) => {
                    if silent.is_some_and(|silent| silent <= Instant::now()) {
                        connection.close(code::SILENT, "no sign of life");
                    } else if Instant::now() >= ping_at {
                        ping_at = Instant::now() + self.served.timing.heartbeat;
                        if !self.write(socket, Message::Ping(Default::default())).await {
                            return End::Gone;
                        }
                    }
                }
            }
        }
    }

    fn next_look(&self, silent: Option<Instant>, ping_at: Instant) -> Instant {
        let timer = self.connection.timer().filter(|_| self.calling.is_none());
        let gap = self.gap_after.filter(|_| self.calling.is_none());
        [silent, timer, gap].into_iter().flatten().fold(ping_at, Instant::min)
    }

    /// Begins the next call, if one is due: what the client sends goes before
    /// what it has missed.
    fn begin_next(&mut self) {
        if self.calling.is_some() {
            return;
        }
        if let Some(message) = self.pending.take() {
            self.read(message);
            if self.calling.is_some() {
                return;
            }
        }
        if self.connection.take_timer() {
            self.call(Event::Timer, Purpose::Timer);
            return;
        }
        let may_fill = self.gap_after.is_none_or(|after| after <= Instant::now()) && self.connection.keeps_up();
        if may_fill && let Some(gap) = self.connection.next_gap() {
            self.gap_after = None;
            self.call(Event::Behind(gap.clone()), Purpose::Gap(gap));
        }
    }

    fn call(&mut self, event: Event, purpose: Purpose) {
        let (slot, connection) = (Arc::clone(&self.served.slot), Arc::clone(&self.connection));
        self.calling = Some((tokio::spawn(async move { call(&slot, &connection, event).await }), purpose));
    }

    /// `outcome`: None if the component is not there.
    fn called(&mut self, outcome: Option<Result<(), Failure>>) {
        let Some((_, purpose)) = self.calling.take() else { return };
        let well = matches!(outcome, Some(Ok(())));
        match purpose {
            Purpose::Open if well => self.connection.opened(),
            Purpose::Open => {
                self.fail();
                self.connection.close(code::FAILED, "the service failed");
            }
            Purpose::Gap(gap) if well => self.connection.caught_up(&gap),
            Purpose::Gap(gap) => {
                self.gap_after = Some(Instant::now() + GAP_PAUSE);
                self.connection.not_caught_up(&gap);
            }
            Purpose::Frame | Purpose::Timer if well => (),
            Purpose::Frame | Purpose::Timer => self.fail(),
        }
    }

    /// Tells the client that the call for its frame failed.
    fn fail(&self) {
        let live = self.served.slot.live().and_then(|version| version.failure_frame(&self.connection.path));
        let text = live.unwrap_or_else(|| self.connection.failure.clone());
        self.connection.send(&Frame::text(text));
    }

    /// Handles the next frame of the client.
    fn read(&mut self, message: Message) {
        if message.len() > self.connection.limit() {
            return self.connection.close(code::TOO_LARGE, "the frame is too large");
        }
        match message {
            Message::Text(text) => self.call(Event::Text(text.to_string()), Purpose::Frame),
            Message::Binary(bytes) => self.call(Event::Binary(bytes.into()), Purpose::Frame),
            _ => (),
        }
    }

    /// The client sent what cannot be read: a frame that is too large, or against
    /// the protocol.
    fn broken(&self, error: &Error) -> End {
        let code = match error {
            Error::Capacity(_) => code::TOO_LARGE,
            Error::Utf8(_) => code::NOT_UTF8,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return End::Gone,
            Error::Protocol(_) => code::PROTOCOL,
            _ => return End::Gone,
        };
        self.connection.close(code, "");
        End::Ours
    }

    /// False if the connection is broken, or the client takes nothing for as
    /// long as it may be silent. One that is only slow gets what waits for it
    /// and then the reason why there is no more.
    async fn write(&self, socket: &mut Socket, message: Message) -> bool {
        let stopped = async {
            self.served.stop.cancelled().await;
            tokio::time::sleep(CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            sent = tokio::time::timeout(self.served.timing.timeout, write(socket, message)) => matches!(sent, Ok(Ok(()))),
            () = stopped => false,
        }
    }

    /// Closes the connection, removes it from the hub, and tells the component.
    async fn finish(mut self, mut socket: Box<Socket>, end: End) {
        if let End::Theirs(_) = end {
            // The answer to a close: the same.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, socket.flush()).await;
        }
        if let Some((call, _)) = self.calling.take() {
            let _ = call.await;
        }
        self.served.hub.remove(&self.connection);
        let code = match end {
            End::Ours => {
                let (code, reason) = self.connection.closing().unwrap_or((code::FAILED, String::new()));
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.part(&mut socket, code, reason)).await;
                code
            }
            End::Theirs(code) => code,
            End::Gone => code::ABNORMAL,
        };
        drop(socket);
        let _ = call(&self.served.slot, &self.connection, Event::Closed(code)).await;
    }

    /// Sends what waits and the close, and reads on until the client has answered
    /// or gone: who ends a connection with something unread takes back what has
    /// not arrived yet.
    async fn part(&self, socket: &mut Socket, code: u16, reason: String) -> Result<(), Error> {
        while let Some(frame) = self.connection.next_frame() {
            write(socket, frame).await?;
        }
        write(socket, Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))).await?;
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(_))) => return Ok(()),
                Some(Ok(_)) => (),
                // There are no more frames to be found in what comes.
                Some(Err(_)) | None => break,
            }
        }
        let stream = socket.get_mut();
        stream.shutdown().await?;
        tokio::io::copy(stream, &mut tokio::io::sink()).await?;
        Ok(())
    }
}

/// Runs one call for a connection. None: the component is not there, or holds
/// no connections at this path.
async fn call(slot: &Slot, connection: &Connection, event: Event) -> Option<Result<(), Failure>> {
    let version = slot.choose(|| connection.who())?;
    let (typed, endpoint) = version.endpoint(&connection.path)?;
    let subject = wit::Connection {
        id: connection.id.to_string(),
        endpoint,
        caller: connection.caller(),
        client: connection.client.to_string(),
        state: connection.state(),
    };
    let context = Context {
        request_id: connection.id.simple().to_string(),
        version: version.id.to_string(),
        ..Context::default()
    };
    let invocation = Invocation::Socket(&subject, &event);
    let (outcome, _) = version.invoke(typed, context, invocation).await;
    if let Err(failure) = &outcome {
        let label = &version.label;
        tracing::error!(component = ?label, request_id = %connection.id.simple(), "a call for a socket {failure}");
    }
    Some(outcome.map(|answer| debug_assert!(matches!(answer, Outcome::Done))))
}
