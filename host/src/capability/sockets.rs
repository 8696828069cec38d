//! `shema:sockets`: what a component may do with the connections it holds.
//!
//! Almost all of it is noted during the call and done by the hub when the call
//! has ended well.

pub mod connection;
pub mod frame;
pub mod hub;
pub mod presence;
pub mod session_guard;

use super::{
    Call, Shared,
    bindings::{
        http::Principal,
        hub::Host,
        sockets::{self, Content, Outgoing},
    },
    matches_pattern,
    sockets::{
        connection::Hold,
        hub::{Effect, Hub},
    },
};
use crate::gateway::http::rate_limit::Limiter;
use std::sync::{Arc, Weak};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use uuid::Uuid;

/// What one call may ask for.
const MAX_EFFECTS: usize = 25_000;
const MAX_EFFECT_BYTES: usize = 16 << 20;
const MAX_STATE_BYTES: usize = 4 << 10;
const MAX_LIMIT_BYTES: u32 = 1 << 20;
const MAX_NAME_BYTES: usize = 200;

/// The connections that a component holds, and what it may do with them.
pub struct Grant {
    pub hub: Arc<Hub>,
    pub limiter: Arc<Limiter>,
    /// Weak, because what is shared leads to the components again.
    pub shared: Weak<Shared>,
}

/// What a call has asked of the hub so far.
#[derive(Default)]
pub struct Asked {
    effects: Vec<Effect>,
    bytes: usize,
    joins: Vec<Join>,
}

/// A connection came into a room, or was asked to. Dropped when the effects are
/// done, so that it gets what was broadcast meanwhile.
pub struct Join {
    hold: Hold,
    is_new: bool,
}

impl Join {
    /// The call has failed: what it had found out before it let the connection
    /// in, and where the connection was to begin, is gone.
    pub fn fail(&self) {
        if self.is_new {
            self.hold.strand();
        }
    }
}

impl Call {
    pub fn take_effects(&mut self) -> (Vec<Effect>, Vec<Join>) {
        let asked = std::mem::take(&mut self.asked);
        (asked.effects, asked.joins)
    }

    /// An error traps: a component that asks for so much is broken.
    fn ask(&mut self, bytes: usize, effect: impl FnOnce() -> Option<Effect>) -> wasmtime::Result<()> {
        self.asked.bytes += bytes;
        if self.asked.effects.len() >= MAX_EFFECTS || self.asked.bytes > MAX_EFFECT_BYTES {
            return Err(wasmtime::format_err!(
                "one call may send {MAX_EFFECTS} frames of {MAX_EFFECT_BYTES} bytes in all"
            ));
        }
        self.asked.effects.extend(effect());
        Ok(())
    }

    fn name_is_short(name: &str) -> wasmtime::Result<()> {
        if name.len() <= MAX_NAME_BYTES {
            return Ok(());
        }
        Err(wasmtime::format_err!("names of rooms, streams and events have at most {MAX_NAME_BYTES} bytes"))
    }
}

/// A connection by what a component calls it; nonsense is one that is not there.
fn id(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text).ok()
}

/// The size of what is in a frame whose names are good.
fn check(frame: &Outgoing) -> wasmtime::Result<usize> {
    for name in [&frame.stream, &frame.event_id].into_iter().flatten() {
        Call::name_is_short(name)?;
    }
    Ok(match &frame.content {
        Content::Text(text) => text.len(),
        Content::Binary(bytes) => bytes.len(),
    })
}

/// Some codes stand for what was not sent and are not sent themselves
/// (RFC 6455, 7.4).
fn check_code(code: u16) -> wasmtime::Result<()> {
    if CloseCode::from(code).is_allowed() {
        return Ok(());
    }
    Err(wasmtime::format_err!("{code} is no code that a connection can be closed with"))
}

impl sockets::Host for Call {}

impl Host for Call {
    async fn send(&mut self, connection: String, frame: Outgoing) -> wasmtime::Result<()> {
        let bytes = check(&frame)?;
        self.ask(bytes, || Some(Effect::Send(id(&connection)?, frame.into())))
    }

    async fn broadcast(&mut self, room: String, frame: Outgoing) -> wasmtime::Result<()> {
        let bytes = check(&frame)?;
        self.ask(bytes, || Some(Effect::Broadcast(room, frame.into())))
    }

    async fn close(&mut self, connection: String, code: u16, reason: String) -> wasmtime::Result<()> {
        check_code(code)?;
        self.ask(reason.len(), || Some(Effect::Close(id(&connection)?, code, reason)))
    }

    async fn close_room(&mut self, room: String, code: u16, reason: String) -> wasmtime::Result<()> {
        check_code(code)?;
        self.ask(reason.len(), || Some(Effect::CloseRoom(room, code, reason)))
    }

    async fn join(&mut self, connection: String, room: String) -> wasmtime::Result<()> {
        Call::name_is_short(&room)?;
        let hub = Arc::clone(&self.held.sockets.hub);
        if let Some(connection) = id(&connection).and_then(|id| hub.find(&self.held.name, id)) {
            // First, so that nothing slips through in between.
            let hold = connection.hold();
            self.asked.joins.push(Join { hold, is_new: hub.join(&connection, &room) });
        }
        Ok(())
    }

    async fn leave(&mut self, connection: String, room: String) -> wasmtime::Result<()> {
        self.ask(room.len(), || Some(Effect::Leave(id(&connection)?, room)))
    }

    async fn set_position(&mut self, connection: String, stream: String, number: u64) -> wasmtime::Result<()> {
        Call::name_is_short(&stream)?;
        self.ask(stream.len(), || Some(Effect::Position(id(&connection)?, stream, number)))
    }

    async fn advance(&mut self, room: String, stream: String, number: u64) -> wasmtime::Result<()> {
        Call::name_is_short(&stream)?;
        self.ask(room.len() + stream.len(), || Some(Effect::Advance(room, stream, number)))
    }

    async fn catch_up(&mut self, connection: String, stream: String, number: u64) -> wasmtime::Result<()> {
        Call::name_is_short(&stream)?;
        self.ask(stream.len(), || Some(Effect::CatchUp(id(&connection)?, stream, number)))
    }

    async fn mute(&mut self, connection: String, stream: String, muted: bool) -> wasmtime::Result<()> {
        Call::name_is_short(&stream)?;
        self.ask(stream.len(), || Some(Effect::Mute(id(&connection)?, stream, muted)))
    }

    async fn set_state(&mut self, connection: String, state: Vec<u8>) -> wasmtime::Result<()> {
        if state.len() > MAX_STATE_BYTES {
            return Err(wasmtime::format_err!("the state of a connection has at most {MAX_STATE_BYTES} bytes"));
        }
        self.ask(state.len(), || Some(Effect::State(id(&connection)?, state)))
    }

    async fn set_timer(&mut self, connection: String, milliseconds: u32) -> wasmtime::Result<()> {
        self.ask(0, || Some(Effect::Timer(id(&connection)?, milliseconds)))
    }

    async fn set_limit(&mut self, connection: String, bytes: u32) -> wasmtime::Result<()> {
        self.ask(0, || Some(Effect::Limit(id(&connection)?, bytes.min(MAX_LIMIT_BYTES))))
    }

    async fn authenticate(
        &mut self,
        connection: String,
        token: String,
        role: String,
    ) -> wasmtime::Result<Result<Principal, String>> {
        let Some(shared) = self.held.sockets.shared.upgrade() else {
            return Ok(Err("DB_CONNECTION_ERROR".to_owned()));
        };
        self.database.release();
        let header = format!("Bearer {token}");
        let verified = match shared.verify(Some(header.as_bytes())).await {
            Ok(verified) => verified,
            Err(refused) => return Ok(Err(refused.code().to_owned())),
        };
        let found = id(&connection).and_then(|id| self.held.sockets.hub.find(&self.held.name, id));
        if let Some(connection) = found {
            connection.bind(&verified, role);
        }
        Ok(Ok(verified.principal))
    }

    async fn admit(&mut self, scope: String, key: String) -> wasmtime::Result<Result<(), u64>> {
        Ok(self.held.sockets.limiter.count(&scope, &key).await)
    }

    async fn publish(&mut self, channel: String, payload: String) -> wasmtime::Result<()> {
        let granted = matches_pattern(&self.held.events.channels, &channel);
        if granted && !self.is_read_only() {
            // Lost while Redis is away, as promised.
            let _ = self.held.redis.store.publish(&channel, payload.into_bytes()).await;
        }
        Ok(())
    }

    async fn present(&mut self, rooms: Vec<String>) -> wasmtime::Result<Vec<String>> {
        let Some(shared) = self.held.sockets.shared.upgrade() else { return Ok(rooms) };
        self.database.release();
        match presence::present(&shared, &self.held.name, &rooms).await {
            Ok(present) => Ok(present),
            Err(error) => {
                // Whoever might be there counts as there.
                tracing::warn!(component = self.held.name, "cannot look up who is present: {error}");
                Ok(rooms)
            }
        }
    }
}
