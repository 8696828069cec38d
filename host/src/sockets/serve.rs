//! The task of one connection: reads frames, calls the component for them one
//! after the other, and writes what the hub has for the client.

use super::{Connection, Frame, Hub};
use crate::{
    capability::Context,
    component::{
        bindings::sockets::{self as wit, Event},
        instance::Failure,
        pool::{Answer, Question},
        registry::Slot,
    },
};
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinHandle, time::sleep_until};
use tokio_tungstenite::tungstenite;
use tokio_util::sync::CancellationToken;

pub use wit::Opening;

/// No word for too long.
const SILENT: u16 = 4408;
/// For a client to answer a close, and for a slow one to take what it is sent
/// before.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// A gap is filled only while the client takes what it gets: so many frames may
/// wait.
const MOST_WAITING: usize = 64;
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
    Gap(wit::Gap),
}

type Call = JoinHandle<Option<Result<(), Failure>>>;

/// Runs a connection to its end.
pub async fn serve(socket: WebSocket, connection: Arc<Connection>, opening: Opening, served: Served) {
    let (sink, stream) = socket.split();
    served.hub.add(&connection);
    let mut task = Task { sink, connection, served, calling: None, gap_after: None, stopping: false, pending: None };
    task.call(Event::Opened(opening), Purpose::Open);
    let (code, heard) = task.run(stream).await;
    task.finish(code, heard).await;
}

struct Task {
    sink: SplitSink<WebSocket, Message>,
    connection: Arc<Connection>,
    served: Served,
    calling: Option<(Call, Purpose)>,
    gap_after: Option<Instant>,
    stopping: bool,
    /// A frame that came while a call ran, and waits for its turn.
    pending: Option<Message>,
}

impl Task {
    /// Returns the code that the connection ended with, and the reading side if
    /// the client still has to be told.
    async fn run(&mut self, mut stream: SplitStream<WebSocket>) -> (u16, Option<SplitStream<WebSocket>>) {
        let mut heard = Instant::now();
        let mut ping_at = heard + self.served.timing.heartbeat;
        loop {
            if self.calling.is_none() {
                if self.connection.is_stranded() {
                    self.connection.close(close_code::ERROR, "the service failed");
                }
                if let Some((code, _)) = self.connection.closing() {
                    return (code, Some(stream));
                }
            }
            self.begin_next();
            let next = self.next_look(heard, ping_at);
            let (calling, connection) = (&mut self.calling, &self.connection);
            // Also while a call runs, so that a client which answers pings is heard:
            // one frame may wait.
            let may_read = self.pending.is_none();
            tokio::select! {
                () = self.served.stop.cancelled(), if !self.stopping => {
                    self.stopping = true;
                    connection.close(close_code::AWAY, "the server is stopping");
                }
                done = async { match calling { Some((call, _)) => call.await, None => std::future::pending().await } } => {
                    self.called(done.ok().flatten());
                }
                () = std::future::ready(()), if connection.waiting() > 0 => {
                    if let Some(frame) = connection.next_frame()
                        && !self.write(frame).await
                    {
                        return (close_code::ABNORMAL, None);
                    }
                }
                () = connection.wake.notified() => (),
                message = stream.next(), if may_read => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => self.pending = Some(message),
                        Some(Ok(message)) => {
                            if let Some(code) = self.read(message) {
                                return (code, None);
                            }
                        }
                        Some(Err(error)) => return self.broken(error, stream),
                        None => return (close_code::ABNORMAL, None),
                    }
                }
                () = sleep_until(next.into()) => {
                    if heard.elapsed() >= self.served.timing.timeout {
                        self.connection.close(SILENT, "no sign of life");
                    } else if Instant::now() >= ping_at {
                        ping_at = Instant::now() + self.served.timing.heartbeat;
                        if !self.write(Message::Ping(Default::default())).await {
                            return (close_code::ABNORMAL, None);
                        }
                    }
                }
            }
        }
    }

    fn next_look(&self, heard: Instant, ping_at: Instant) -> Instant {
        let silent = heard + self.served.timing.timeout;
        let timer = self.connection.timer().filter(|_| self.calling.is_none());
        let gap = self.gap_after.filter(|_| self.calling.is_none());
        [Some(silent), Some(ping_at), timer, gap].into_iter().flatten().min().unwrap_or(silent)
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
            self.call(Event::Timer, Purpose::Frame);
            return;
        }
        let may_fill =
            self.gap_after.is_none_or(|after| after <= Instant::now()) && self.connection.waiting() <= MOST_WAITING;
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
                self.connection.close(close_code::ERROR, "the service failed");
            }
            Purpose::Gap(gap) if well => self.connection.caught_up(&gap),
            Purpose::Gap(gap) => {
                self.gap_after = Some(Instant::now() + GAP_PAUSE);
                self.connection.not_caught_up(&gap);
            }
            Purpose::Frame if well => (),
            Purpose::Frame => self.fail(),
        }
    }

    /// Tells the client that its frame came to nothing.
    fn fail(&self) {
        let live = self.served.slot.live().and_then(|version| version.failure_frame(&self.connection.path));
        let text = live.unwrap_or_else(|| self.connection.failure.clone());
        self.connection.send(&Frame::text(text));
    }

    /// Some: the client has closed, with this code.
    fn read(&mut self, message: Message) -> Option<u16> {
        match message {
            Message::Text(text) if text.len() > self.connection.limit() => self.too_large(),
            Message::Binary(bytes) if bytes.len() > self.connection.limit() => self.too_large(),
            Message::Text(text) => self.call(Event::Text(text.to_string()), Purpose::Frame),
            Message::Binary(bytes) => self.call(Event::Binary(bytes.into()), Purpose::Frame),
            Message::Ping(_) | Message::Pong(_) => (),
            Message::Close(frame) => return Some(frame.map_or(close_code::STATUS, |frame| frame.code)),
        }
        None
    }

    fn too_large(&self) {
        self.connection.close(close_code::SIZE, "the frame is too large");
    }

    /// What cannot be read: a frame that is too large, or against the protocol.
    fn broken(&self, error: axum::Error, stream: SplitStream<WebSocket>) -> (u16, Option<SplitStream<WebSocket>>) {
        use tungstenite::Error;
        let code = match error.into_inner().downcast::<Error>().map(|error| *error) {
            Ok(Error::Capacity(_)) => close_code::SIZE,
            Ok(Error::Utf8(_)) => close_code::INVALID,
            Ok(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                return (close_code::ABNORMAL, None);
            }
            Ok(Error::Protocol(_)) => close_code::PROTOCOL,
            _ => return (close_code::ABNORMAL, None),
        };
        self.connection.close(code, "");
        (code, Some(stream))
    }

    /// False if the connection is broken, or the client takes nothing for as
    /// long as it may be silent. One that is only slow gets what waits for it
    /// and then the reason why there is no more.
    async fn write(&mut self, message: Message) -> bool {
        let stop = self.served.stop.clone();
        let stopped = async {
            stop.cancelled().await;
            tokio::time::sleep(CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            sent = tokio::time::timeout(self.served.timing.timeout, self.sink.send(message)) => matches!(sent, Ok(Ok(()))),
            () = stopped => false,
        }
    }

    /// Says goodbye, takes the connection out of everything, and tells the
    /// component.
    async fn finish(mut self, code: u16, heard: Option<SplitStream<WebSocket>>) {
        if let Some((call, _)) = self.calling.take() {
            let _ = call.await;
        }
        self.served.hub.remove(&self.connection);
        if let Some(mut stream) = heard {
            let goodbye = async {
                while let Some(frame) = self.connection.next_frame() {
                    self.sink.feed(frame).await?;
                }
                let (code, reason) = self.connection.closing().unwrap_or((code, String::new()));
                self.sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
                while let Some(Ok(_)) = stream.next().await {}
                Ok::<(), axum::Error>(())
            };
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
        }
        let _ = call(&self.served.slot, &self.connection, Event::Closed(code)).await;
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
    let context = Context::new(&connection.id.simple().to_string(), &version, None);
    let question = Question::Socket(&subject, &event);
    let (outcome, _) = version.ask(typed, context, question).await;
    if let Err(failure) = &outcome {
        let label = &version.label;
        tracing::error!(component = ?label, request_id = %connection.id.simple(), "a call for a socket {failure}");
    }
    Some(outcome.map(|answer| debug_assert!(matches!(answer, Answer::Done))))
}
