//! What other hosts tell through Redis, for the components that listen; and
//! catching up where they could not be heard.
//!
//! Redis keeps nothing for whoever is not listening at the moment. So the
//! component is also told every so often that something may have been missed,
//! often while Redis is away, and looks into the database.

use crate::{
    capability::{Context, sockets::hub::Hub},
    runtime::{
        Version,
        call::Invocation,
        registry::Registry,
        version::{Runner, Typed},
    },
    services::{
        patterns,
        redis::{Heard, Store},
    },
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Between two looks at what may have been missed, while Redis is there …
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// … and while it is not.
const POLL_INTERVAL_WITHOUT_REDIS: Duration = Duration::from_millis(500);
/// Rooms that one call is asked about.
const ROOMS_AT_ONCE: usize = 1_000;
/// Messages that wait for the component; what comes beyond is missed.
const WAITING: usize = 10_000;

/// Listens for every component that is granted channels, now or by a later
/// deploy, until `stop`.
pub async fn listen(hub: Arc<Hub>, registry: Arc<Registry>, redis: Arc<Store>, stop: CancellationToken) {
    let mut granted = hub.channels();
    let mut listening: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Dropped with this, which ends them.
    let mut tasks = JoinSet::new();
    let mut handles: BTreeMap<String, AbortHandle> = BTreeMap::new();
    loop {
        let wanted = granted.borrow_and_update().clone();
        for (component, patterns) in wanted.iter().filter(|(name, patterns)| listening.get(*name) != Some(*patterns)) {
            let (hub, registry, redis) = (Arc::clone(&hub), Arc::clone(&registry), Arc::clone(&redis));
            let task = tasks.spawn(listen_for(component.clone(), patterns.clone(), hub, registry, redis));
            if let Some(former) = handles.insert(component.clone(), task) {
                former.abort();
            }
        }
        listening = wanted;
        tokio::select! {
            changed = granted.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

async fn listen_for(
    component: String,
    patterns: Vec<String>,
    hub: Arc<Hub>,
    registry: Arc<Registry>,
    redis: Arc<Store>,
) {
    let (sender, mut heard) = mpsc::channel(WAITING);
    let listening = redis.listen(patterns.clone(), sender);
    let told = async {
        let mut next = Instant::now() + POLL_INTERVAL;
        loop {
            let every = if redis.is_up() { POLL_INTERVAL } else { POLL_INTERVAL_WITHOUT_REDIS };
            next = next.min(Instant::now() + every);
            tokio::select! {
                some = heard.recv() => match some {
                    Some(Heard::Message { channel, payload }) if patterns::matches(&patterns, &channel) => {
                        published(&component, &hub, &registry, &channel, &payload).await;
                    }
                    Some(Heard::Message { .. }) => (),
                    Some(Heard::Connected) => next = Instant::now(),
                    None => return,
                },
                () = tokio::time::sleep_until(next) => {
                    missed(&component, &hub, &registry).await;
                    next = Instant::now() + every;
                }
            }
        }
    };
    tokio::select! {
        () = listening => (),
        () = told => (),
    }
}

async fn published(component: &str, hub: &Hub, registry: &Registry, channel: &str, payload: &[u8]) {
    let Ok(payload) = std::str::from_utf8(payload) else { return };
    let event: Value = serde_json::from_str(payload).unwrap_or_default();
    let event = event.get("eventId").and_then(Value::as_str);
    // This host's own, which has gone out right after its commit.
    if hub.count() == 0 || event.is_some_and(|event| hub.has_seen(component, event)) {
        return;
    }
    invoke(component, registry, Invocation::Published { channel, payload }).await;
}

async fn missed(component: &str, hub: &Hub, registry: &Registry) {
    for rooms in hub.rooms(component).chunks(ROOMS_AT_ONCE) {
        invoke(component, registry, Invocation::Missed(rooms)).await;
    }
}

async fn invoke(component: &str, registry: &Registry, invocation: Invocation<'_>) {
    let Some(version) = registry.slot(component).and_then(|slot| slot.live()) else { return };
    let Some(typed) = holder(&version) else { return };
    let context = Context { version: version.id.to_string(), ..Context::default() };
    if let (Err(failure), _) = version.invoke(typed, context, invocation).await {
        tracing::error!(component = ?version.label, "a call for a channel {failure}");
    }
}

/// Only a version that holds connections can be asked.
fn holder(version: &Version) -> Option<&Typed> {
    match &version.runner {
        Runner::Typed(typed) if !typed.endpoints.is_empty() => Some(typed),
        _ => None,
    }
}
