//! `shema:sockets`: what a component may do with the connections it holds.
//!
//! Almost all of it is noted during the call and done by the hub when the call
//! has ended well.

pub mod connection;
pub mod frame;
pub mod hub;
pub mod presence;
pub mod session_guard;

use super::{CallState, Context, Granting, HasCall, bindings::{AuthenticationError, http::Principal, hub::self as wit, sockets::{Content, Outgoing, self as types}}, database};
use crate::{config, services::{database::Pool, patterns, rate_limit::Limiter, redis::Store, tokens::{AuthError, Verifier}}};
use connection::Hold;
use hub::{Effect, Hub};
use std::{sync::Arc, time::Duration};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use uuid::Uuid;
use wasmtime::component::{HasData, Linker};

pub const INTERFACES: &[&str] = &["shema:sockets/hub@0.1.0", "shema:sockets/socket-types@0.1.0"];

/// What one call may ask for.
const MAX_EFFECTS: usize = 25_000;
const MAX_EFFECT_BYTES: usize = 16 << 20;
const MAX_STATE_BYTES: usize = 4 << 10;
const MAX_LIMIT_BYTES: usize = 1 << 20;
const MAX_TIMER_MS: u64 = 86_400_000;
const MAX_NAME_BYTES: usize = 200;

/// The connections that a component holds, and what it may do with them.
pub struct Grant {
    pub hub: Arc<Hub>,
    limiter: Arc<Limiter>,
    verifier: Arc<Verifier>,
    redis: Arc<Store>,
    /// For looking up who is present.
    owner: Pool,
    /// Channels that it may publish on.
    channels: Vec<String>,
}

pub fn missing_grant(interface: &str, grants: &config::Grants) -> Option<&'static str> {
    (interface == "shema:sockets/hub" && grants.sockets.is_none()).then_some("sockets = [\"CHANNEL\"]")
}

pub async fn grant(granting: &Granting<'_>) -> anyhow::Result<Grant> {
    let (shared, grants) = (granting.shared, &granting.config.grants);
    if let Some(channels) = &grants.sockets {
        shared.hub.subscribe(granting.component, channels);
    }
    Ok(Grant {
        hub: Arc::clone(&shared.hub),
        limiter: Arc::clone(&shared.services.limiter),
        verifier: Arc::clone(&shared.services.verifier),
        redis: Arc::clone(&shared.services.redis),
        owner: shared.services.owner.clone(),
        channels: grants.events.clone(),
    })
}

pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, Sockets>(linker, |state| {
        let call = state.call();
        View {
            grant: &call.grants.sockets,
            component: &call.grants.component,
            context: &call.context,
            effects: &mut call.sockets,
            database: &mut call.database,
        }
    })
}

struct Sockets;

impl HasData for Sockets {
    type Data<'a> = View<'a>;
}

struct View<'a> {
    grant: &'a Grant,
    component: &'a str,
    context: &'a Context,
    effects: &'a mut PendingEffects,
    database: &'a mut database::State,
}

pub type State = PendingEffects;

/// What a call has asked of the hub so far.
#[derive(Default)]
pub struct PendingEffects {
    effects: Vec<Effect>,
    bytes: usize,
    joins: Vec<Join>,
}

impl CallState for PendingEffects {}

/// A connection came into a room, or was asked to. Dropped when the effects are
/// done, so that it gets what was broadcast meanwhile.
pub struct Join {
    hold: Hold,
    is_new: bool,
}

impl Join {
    /// The call has failed: what it had found out before it let the connection
    /// in, and where the connection was to begin, is gone.
    pub fn abort(&self) {
        if self.is_new {
            self.hold.abort_join();
        }
    }
}

impl super::Call {
    /// What the call has asked of the hub, and what is held back until that is
    /// done.
    pub fn take_effects(&mut self) -> (Vec<Effect>, Vec<Join>) {
        let PendingEffects { effects, joins, .. } = std::mem::take(&mut self.sockets);
        (effects, joins)
    }
}

impl PendingEffects {
    /// An error traps: a component that asks for so much is broken.
    fn push(&mut self, bytes: usize, effect: impl FnOnce() -> Option<Effect>) -> wasmtime::Result<()> {
        self.bytes += bytes;
        if self.effects.len() >= MAX_EFFECTS || self.bytes > MAX_EFFECT_BYTES {
            return Err(wasmtime::format_err!(
                "one call may send {MAX_EFFECTS} frames of {MAX_EFFECT_BYTES} bytes in all"
            ));
        }
        self.effects.extend(effect());
        Ok(())
    }
}

fn check_name(name: &str) -> wasmtime::Result<()> {
    if name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(wasmtime::format_err!("names of rooms, streams and events have at most {MAX_NAME_BYTES} bytes"))
}

/// A connection by what a component calls it; nonsense is one that is not there.
fn id(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text).ok()
}

/// The size of what is in a frame whose names are good.
fn check(frame: &Outgoing) -> wasmtime::Result<usize> {
    for name in [&frame.stream, &frame.event_id].into_iter().flatten() {
        check_name(name)?;
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

impl types::Host for View<'_> {}

impl wit::Host for View<'_> {
    async fn send(&mut self, connection: String, frame: Outgoing) -> wasmtime::Result<()> {
        let bytes = check(&frame)?;
        self.effects.push(bytes, || Some(Effect::Send(id(&connection)?, frame.into())))
    }

    async fn broadcast(&mut self, room: String, frame: Outgoing) -> wasmtime::Result<()> {
        let bytes = check(&frame)?;
        self.effects.push(bytes, || Some(Effect::Broadcast(room, frame.into())))
    }

    async fn close(&mut self, connection: String, code: u16, reason: String) -> wasmtime::Result<()> {
        check_code(code)?;
        self.effects.push(reason.len(), || Some(Effect::Close(id(&connection)?, code, reason)))
    }

    async fn close_room(&mut self, room: String, code: u16, reason: String) -> wasmtime::Result<()> {
        check_code(code)?;
        self.effects.push(reason.len(), || Some(Effect::CloseRoom(room, code, reason)))
    }

    async fn join(&mut self, connection: String, room: String) -> wasmtime::Result<()> {
        check_name(&room)?;
        let hub = &self.grant.hub;
        if let Some(connection) = id(&connection).and_then(|id| hub.find(self.component, id)) {
            // First, so that nothing slips through in between.
            let hold = connection.hold();
            self.effects.joins.push(Join { hold, is_new: hub.join(&connection, &room) });
        }
        Ok(())
    }

    async fn leave(&mut self, connection: String, room: String) -> wasmtime::Result<()> {
        self.effects.push(room.len(), || Some(Effect::Leave(id(&connection)?, room)))
    }

    async fn set_position(&mut self, connection: String, stream: String, number: u64) -> wasmtime::Result<()> {
        check_name(&stream)?;
        self.effects.push(stream.len(), || Some(Effect::Position(id(&connection)?, stream, number)))
    }

    async fn advance(&mut self, room: String, stream: String, number: u64) -> wasmtime::Result<()> {
        check_name(&stream)?;
        self.effects.push(room.len() + stream.len(), || Some(Effect::Advance(room, stream, number)))
    }

    async fn catch_up(&mut self, connection: String, stream: String, number: u64) -> wasmtime::Result<()> {
        check_name(&stream)?;
        self.effects.push(stream.len(), || Some(Effect::CatchUp(id(&connection)?, stream, number)))
    }

    async fn mute(&mut self, connection: String, stream: String, muted: bool) -> wasmtime::Result<()> {
        check_name(&stream)?;
        self.effects.push(stream.len(), || Some(Effect::Mute(id(&connection)?, stream, muted)))
    }

    async fn set_state(&mut self, connection: String, state: Vec<u8>) -> wasmtime::Result<()> {
        if state.len() > MAX_STATE_BYTES {
            return Err(wasmtime::format_err!("the state of a connection has at most {MAX_STATE_BYTES} bytes"));
        }
        self.effects.push(state.len(), || Some(Effect::State(id(&connection)?, state)))
    }

    async fn set_timer(&mut self, connection: String, milliseconds: u64) -> wasmtime::Result<()> {
        self.effects.push(0, || Some(Effect::Timer(id(&connection)?, Duration::from_millis(milliseconds.min(MAX_TIMER_MS)))))
    }

    async fn set_limit(&mut self, connection: String, bytes: u64) -> wasmtime::Result<()> {
        self.effects.push(0, || Some(Effect::Limit(id(&connection)?, usize::try_from(bytes).unwrap_or(usize::MAX).min(MAX_LIMIT_BYTES))))
    }

    async fn authenticate(
        &mut self,
        connection: String,
        token: String,
        role: String,
    ) -> Result<Principal, AuthenticationError> {
        self.database.release();
        let header = format!("Bearer {token}");
        let user = self.grant.verifier.verify(Some(header.as_bytes())).await.map_err(authentication_error)?;
        let found = id(&connection).and_then(|id| self.grant.hub.find(self.component, id));
        if let Some(connection) = found {
            connection.bind(&user, role);
        }
        Ok(user.principal.into())
    }

    async fn admit(&mut self, scope: String, key: String) -> wasmtime::Result<Result<(), wit::RateLimitExceeded>> {
        let counted = self.grant.limiter.count(&scope, &key).await;
        Ok(counted.map_err(|retry_after_seconds| wit::RateLimitExceeded { retry_after_seconds }))
    }

    async fn publish(&mut self, channel: String, payload: String) -> wasmtime::Result<()> {
        let granted = patterns::matches(&self.grant.channels, &channel);
        if granted && !self.context.read_only {
            // Lost while Redis is away, as promised.
            let _ = self.grant.redis.publish(&channel, payload.into_bytes()).await;
        }
        Ok(())
    }

    async fn present(&mut self, rooms: Vec<String>) -> wasmtime::Result<Vec<String>> {
        self.database.release();
        match presence::present(&self.grant.hub, &self.grant.owner, self.component, &rooms).await {
            Ok(present) => Ok(present),
            Err(error) => {
                // Whoever might be there counts as there.
                tracing::warn!(component = self.component, "cannot look up who is present: {error}");
                Ok(rooms)
            }
        }
    }

    fn convert_authentication_error(
        &mut self,
        error: AuthenticationError,
    ) -> wasmtime::Result<wit::AuthenticationError> {
        error.downcast()
    }
}

fn authentication_error(error: AuthError) -> wit::AuthenticationError {
    use wit::AuthenticationError as E;
    match error {
        AuthError::Missing | AuthError::Format => E::InvalidFormat,
        AuthError::Invalid | AuthError::ServiceMissing | AuthError::ServiceInvalid => E::InvalidToken,
        AuthError::Expired => E::Expired,
        AuthError::Unauthorized => E::NoUser,
        AuthError::NoRole => E::NoRole,
        AuthError::Unavailable => E::Unavailable,
    }
}
