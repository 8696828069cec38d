//! One connection: what it is about to get, and how far it is with each stream.
//!
//! A stream numbers its frames from 1. The connection gets each number once and
//! in order: one that it has is skipped, and one that comes too early makes it
//! fall behind, upon which the component is asked for what is missing. So
//! nothing depends on every frame arriving here by itself.

mod streams;

use super::frame::Frame;
use crate::{capability::bindings::http::Caller, services::tokens::User};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use streams::Stream;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

/// Frames that wait for a client; one that lets more wait is too slow.
pub const QUEUE_CAPACITY: usize = 256;
/// A gap is filled only while the client takes what it gets: so many frames may
/// wait.
const MAX_WAITING: usize = 64;
pub const TOO_SLOW: u16 = 4413;
/// Close reasons have at most this (RFC 6455, 5.5).
const MAX_REASON_BYTES: usize = 123;

pub struct Connection {
    pub id: Uuid,
    pub component: String,
    /// The endpoint's path.
    pub path: String,
    pub client: IpAddr,
    /// The frame that tells the client of a failed call, should no version be live
    /// that names one.
    pub failure: String,
    inner: Mutex<Inner>,
    /// Wakes the connection's task: there is something in `inner` for it.
    pub wake: Notify,
}

struct Inner {
    /// Frames that wait for the client. Holds no memory while it is empty.
    queue: VecDeque<Message>,
    caller: Caller,
    bound: Option<Bound>,
    state: Vec<u8>,
    rooms: Vec<String>,
    streams: HashMap<String, Stream>,
    /// Streams that are behind, each once.
    behind: VecDeque<String>,
    /// Calls that keep back what is broadcast: the first one, and those in which
    /// the connection joins a room.
    holds: u32,
    kept: Vec<Frame>,
    limit: usize,
    timer: Option<Instant>,
    /// The call that let the connection into a room has failed.
    join_aborted: bool,
    close: Option<(u16, String)>,
}

/// What is broadcast to the connection is kept back while this lives.
pub struct Hold(Arc<Connection>);

impl Hold {
    /// The call has failed in which the connection came into the room.
    pub fn abort_join(&self) {
        self.0.abort_join();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The token whose end ends the connection.
#[derive(Clone, Debug)]
pub struct Bound {
    pub user_id: Uuid,
    pub session_id: Uuid,
    /// The role that the user has to have.
    pub role: String,
    pub expires_at: SystemTime,
}

impl Connection {
    pub fn new(component: &str, path: &str, client: IpAddr, limit: usize, failure: String) -> Connection {
        let inner = Inner {
            queue: VecDeque::new(),
            caller: Caller::Anonymous,
            bound: None,
            state: Vec::new(),
            rooms: Vec::new(),
            streams: HashMap::new(),
            behind: VecDeque::new(),
            holds: 1,
            kept: Vec::new(),
            limit,
            timer: None,
            join_aborted: false,
            close: None,
        };
        Connection {
            id: Uuid::new_v4(),
            component: component.to_owned(),
            path: path.to_owned(),
            client,
            failure,
            inner: Mutex::new(inner),
            wake: Notify::new(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn caller(&self) -> Caller {
        self.inner().caller.clone()
    }

    /// Tells clients apart, for which version they get.
    pub fn who(&self) -> String {
        match &self.inner().caller {
            Caller::User(principal) => principal.user_id.clone(),
            _ => self.client.to_string(),
        }
    }

    pub fn state(&self) -> Vec<u8> {
        self.inner().state.clone()
    }

    pub fn limit(&self) -> usize {
        self.inner().limit
    }

    pub fn timer(&self) -> Option<Instant> {
        self.inner().timer
    }

    pub fn bound(&self) -> Option<Bound> {
        self.inner().bound.clone()
    }

    pub fn rooms(&self) -> Vec<String> {
        self.inner().rooms.clone()
    }

    pub fn joined(&self, room: &str) {
        let mut inner = self.inner();
        if !inner.rooms.iter().any(|other| other == room) {
            inner.rooms.push(room.to_owned());
        }
    }

    pub fn left(&self, room: &str) {
        self.inner().rooms.retain(|other| other != room);
    }

    /// Makes the connection this user's, for as long as the user has this role.
    pub fn bind(&self, user: &User, role: String) {
        let id = |text: &str| Uuid::parse_str(text).ok();
        let (Some(user_id), Some(session_id)) = (id(&user.principal.user_id), id(&user.principal.session_id)) else {
            unreachable!("both were read from columns of type uuid");
        };
        let seconds = u64::try_from(user.token.expires_at).unwrap_or(0);
        let expires_at = UNIX_EPOCH + Duration::from_secs(seconds);
        let mut inner = self.inner();
        inner.caller = Caller::User(user.principal.clone().into());
        inner.bound = Some(Bound { user_id, session_id, role, expires_at });
    }

    pub fn set_state(&self, state: Vec<u8>) {
        self.inner().state = state;
    }

    pub fn set_limit(&self, bytes: usize) {
        self.inner().limit = bytes;
    }

    /// Zero takes the timer back.
    pub fn set_timer(&self, duration: Duration) {
        self.inner().timer = (!duration.is_zero()).then(|| Instant::now() + duration);
        self.wake.notify_one();
    }

    /// True if the timer has run out, which removes it.
    pub fn take_timer(&self) -> bool {
        self.inner().timer.take_if(|end| *end <= Instant::now()).is_some()
    }

    /// Frames in the queue are still sent. Of several closes the first counts.
    pub fn close(&self, code: u16, reason: &str) {
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
        self.inner().close.get_or_insert((code, reason.to_owned()));
        self.wake.notify_one();
    }

    /// The connection is in a room only because of a call that has failed: it gets
    /// no more broadcasts, and has to end.
    pub fn abort_join(&self) {
        self.inner().join_aborted = true;
        self.wake.notify_one();
    }

    pub fn join_aborted(&self) -> bool {
        self.inner().join_aborted
    }

    pub fn closing(&self) -> Option<(u16, String)> {
        self.inner().close.clone()
    }

    /// The component has seen the connection open.
    pub fn opened(&self) {
        self.release();
    }

    /// Keeps back what is broadcast, until the hold is dropped.
    pub fn hold(self: &Arc<Self>) -> Hold {
        self.inner().holds += 1;
        Hold(Arc::clone(self))
    }

    /// With the last hold gone, what was kept back goes out.
    fn release(&self) {
        let mut inner = self.inner();
        inner.holds = inner.holds.saturating_sub(1);
        if inner.holds > 0 {
            return;
        }
        let kept = std::mem::take(&mut inner.kept);
        let names: Vec<String> = inner.streams.keys().cloned().collect();
        for name in names {
            inner.check(&name);
        }
        drop(inner);
        for frame in kept {
            self.deliver(&frame, false);
        }
        self.wake.notify_one();
    }

    /// For this connection alone. A frame with a number fills a gap.
    pub fn send(&self, frame: &Frame) {
        self.deliver(frame, true);
    }

    pub fn broadcast(&self, frame: &Frame) {
        self.deliver(frame, false);
    }

    fn deliver(&self, frame: &Frame, directly: bool) {
        let mut inner = self.inner();
        if inner.close.is_some() || (inner.join_aborted && !directly) {
            return;
        }
        if !inner.admits(frame, directly) {
            if !inner.behind.is_empty() || inner.close.is_some() {
                self.wake.notify_one();
            }
            return;
        }
        // Under the lock, so that the order in the queue is that of the numbers.
        if inner.queue.len() < QUEUE_CAPACITY {
            inner.queue.push_back(frame.message.clone());
        } else {
            inner.close.get_or_insert((TOO_SLOW, "the client is too slow".to_owned()));
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Whether frames wait for the client.
    pub fn has_frames(&self) -> bool {
        !self.inner().queue.is_empty()
    }

    /// Whether the client takes what it gets.
    pub fn keeps_up(&self) -> bool {
        self.inner().queue.len() <= MAX_WAITING
    }

    /// The next one that is to be written.
    pub fn next_frame(&self) -> Option<Message> {
        let mut inner = self.inner();
        let frame = inner.queue.pop_front();
        if inner.queue.is_empty() {
            inner.queue = VecDeque::new();
        }
        frame
    }
}

#[cfg(test)]
mod tests;
