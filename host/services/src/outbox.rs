//! Ships committed events to Redis: at least once, in order per key, for ever.
//!
//! One relay per cluster, on the host that leads. The commit of an event wakes
//! the relay, which also looks at the table every second. Events of one key go
//! one after the other, the next only after Redis has taken the one before; keys
//! do not wait for each other.

use super::{
    database::Pool,
    leader::{self, Lock, within},
    redis::Store,
};
use anyhow::{Context, Result};
use futures_util::future::join_all;
use sqlx::{
    PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const CHANNEL: &str = "shema_outbox";
const POLL_INTERVAL: Duration = Duration::from_secs(1);
const BATCH: i64 = 500;
const BACK_OFF: Duration = Duration::from_millis(100);
const MAX_BACK_OFF: Duration = Duration::from_secs(3);
const PRUNE_INTERVAL: Duration = Duration::from_secs(3600);

struct Event {
    id: i64,
    channel: String,
    payload: String,
}

/// Runs until `stop`; what goes wrong with the database is tried again.
pub async fn run(options: PgConnectOptions, redis: Arc<Store>, stop: CancellationToken) {
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
    let work = |connection| ship_for_ever(connection, pool.clone(), Arc::clone(&redis));
    leader::lead(options, Lock::Relay, "relay", stop, work).await;
}

async fn ship_for_ever(mut connection: PgConnection, pool: PgPool, redis: Arc<Store>) -> Result<()> {
    let mut listener = within(PgListener::connect_with(&pool)).await?;
    within(listener.listen(CHANNEL)).await?;
    let mut tidied: Option<Instant> = None;
    let mut failures: u32 = 0;
    loop {
        match ship(&mut connection, &redis).await? {
            Shipped::All => failures = 0,
            Shipped::Some => {
                failures = failures.saturating_add(1);
                tokio::time::sleep(BACK_OFF.saturating_mul(failures).min(MAX_BACK_OFF)).await;
                continue;
            }
        }
        if tidied.is_none_or(|last| last.elapsed() > PRUNE_INTERVAL) {
            tidy(&mut connection).await?;
            tidied = Some(Instant::now());
        }
        if let Ok(woken) = tokio::time::timeout(POLL_INTERVAL, listener.recv()).await {
            woken.context("listening for events")?;
        }
    }
}

enum Shipped {
    All,
    /// Redis did not take every one.
    Some,
}

/// Ships everything that is there, in batches.
async fn ship(connection: &mut PgConnection, redis: &Store) -> Result<Shipped> {
    let mut after = 0;
    let mut shipped = Shipped::All;
    loop {
        let (batch, last) = read(connection, after).await?;
        let Some(last) = last else { return Ok(shipped) };
        let sent = join_all(batch.into_values().map(|events| send_in_order(redis, events))).await;
        let done: Vec<i64> = sent.iter().flat_map(|key| key.done.iter().copied()).collect();
        let failed: Vec<i64> = sent.iter().filter_map(|key| key.failed.as_ref().map(|(id, _)| *id)).collect();
        let reason = sent.iter().find_map(|key| key.failed.as_ref().map(|(_, reason)| reason.clone()));
        let mark = sqlx::query("update public.outbox set published_at = now() where id = any($1)").bind(&done);
        within(mark.execute(&mut *connection)).await?;
        if failed.is_empty() {
            after = last;
            continue;
        }
        let note = sqlx::query("update public.outbox set attempts = attempts + 1, last_error = $2 where id = any($1)");
        within(note.bind(&failed).bind(&reason).execute(&mut *connection)).await?;
        shipped = Shipped::Some;
        if !redis.is_up() {
            return Ok(shipped);
        }
        // Redis refuses some: the keys that it takes go on. Later events of a
        // failed key must not overtake it, so the whole table is looked at
        // again only after a pause.
        after = last;
    }
}

/// Unpublished events by key, each in the order of ids, and the highest id.
/// Events behind one of an earlier batch that is still unpublished stay out.
async fn read(connection: &mut PgConnection, after: i64) -> Result<(BTreeMap<String, Vec<Event>>, Option<i64>)> {
    let query = sqlx::query(
        "select o.id, o.key, o.channel, o.payload::text as payload,
                exists (select from public.outbox e
                        where e.published_at is null and e.key = o.key and e.id <= $1) as waits
         from public.outbox o
         where o.published_at is null and o.id > $1
         order by o.id
         limit $2",
    );
    let rows = within(query.bind(after).bind(BATCH).fetch_all(&mut *connection)).await?;
    let mut last = None;
    let mut keys: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for row in rows {
        let id = row.try_get("id")?;
        last = Some(id);
        if !row.try_get::<bool, _>("waits")? {
            let event = Event { id, channel: row.try_get("channel")?, payload: row.try_get("payload")? };
            keys.entry(row.try_get("key")?).or_default().push(event);
        }
    }
    Ok((keys, last))
}

#[derive(Default)]
struct Sent {
    done: Vec<i64>,
    failed: Option<(i64, String)>,
}

async fn send_in_order(redis: &Store, events: Vec<Event>) -> Sent {
    let mut sent = Sent::default();
    for event in events {
        match redis.publish(&event.channel, event.payload.into_bytes()).await {
            Ok(()) => sent.done.push(event.id),
            Err(error) => {
                sent.failed = Some((event.id, error.to_string()));
                break;
            }
        }
    }
    sent
}

/// Deletes what has served: published events and ended login sessions.
async fn tidy(connection: &mut PgConnection) -> Result<()> {
    let statements = [
        "delete from public.outbox where published_at < now() - interval '7 days'",
        "delete from public.refresh_sessions where least(expires_at, revoked_at) < now() - interval '30 days'",
    ];
    for statement in statements {
        within(sqlx::query(statement).execute(&mut *connection)).await?;
    }
    Ok(())
}

/// The secret that the host shows when it writes an event, so that SQL of a
/// component cannot write one.
pub async fn read_secret(owner: &Pool) -> Result<String> {
    let mut lease = owner.get().await?;
    let secret = sqlx::query_scalar("select secret from public.outbox_secret").fetch_one(lease.connection()).await?;
    lease.give_back();
    Ok(secret)
}
