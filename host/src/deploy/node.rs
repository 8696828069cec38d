//! This host's place in the cluster: hosts that share a database form one. It
//! listens for changes, catches up with them, prepares what others deploy, and
//! lets the others know that it is there.

use super::{
    Deployer,
    fence::FENCED_AFTER,
    table::{self, Heartbeat, Other, Row, Wanted},
};
use crate::{runtime::version_id::VersionId, telemetry::operator_events::Kind};
use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use sqlx::{
    Executor,
    postgres::{PgListener, PgPoolOptions},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A notification may be lost with its connection: the table is looked at this
/// often anyway, and the others are told that this host lives.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
const PING_INTERVAL: Duration = Duration::from_secs(5);
const BACK_OFF: Duration = Duration::from_millis(500);

/// Under which URLs this host is reached.
#[derive(Clone, Debug, Default)]
pub struct Address {
    pub public: String,
    pub control: String,
}

/// What was seen of the others at the last heartbeat.
#[derive(Default)]
pub struct Peers {
    /// By id: where it is, and whether it is fenced. None: before the first.
    others: Option<BTreeMap<Uuid, (String, bool)>>,
    pub(super) at: DateTime<Utc>,
}

impl Deployer {
    /// Joins the cluster: from here on changes wait for this host. It has
    /// missed nothing when this returns.
    pub async fn join(self: &Arc<Self>, address: Address) -> Result<()> {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
        for ready in [false, true] {
            ensure!(self.sync(ready).await?, "this host cannot follow what is live; the log says why");
        }
        Ok(())
    }

    /// Follows the cluster until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = self.listen() => (),
            () = self.follow() => (),
            () = stop.cancelled() => (),
        }
        if let Err(error) = self.table.leave().await {
            tracing::debug!("cannot take this host off the list: {error}");
        }
    }

    async fn listen(&self) {
        // Of its own, since it listens all the time.
        let options = self.options.clone().application_name("shema/listener");
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        loop {
            if let Err(error) = self.hear(&pool).await {
                tracing::debug!("cannot listen for changes, and looks for them instead: {error:#}");
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    }

    async fn hear(&self, pool: &sqlx::PgPool) -> Result<()> {
        let mut listener = within_lease(PgListener::connect_with(pool)).await?;
        within_lease(listener.listen(table::CHANNEL)).await?;
        loop {
            // At the beginning too: something may have been missed before.
            self.peers_changed.notify_waiters();
            self.changed.notify_one();
            if let Ok(heard) = tokio::time::timeout(PING_INTERVAL, listener.try_recv()).await {
                // Without a notification, if there is a new connection.
                heard?;
            } else {
                // A connection that has died in silence brings none.
                within_lease(listener.execute("select 1")).await?;
            }
        }
    }

    async fn follow(self: &Arc<Self>) {
        let mut with_others = true;
        loop {
            if let Err(error) = self.keep_up(&mut with_others).await {
                self.tell_once(&mut with_others, false, || format!("This host has lost the database: {error:#}."));
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }

    async fn keep_up(self: &Arc<Self>, with_others: &mut bool) -> Result<()> {
        let end = tokio::time::Instant::now() + HEARTBEAT_INTERVAL;
        let behind = self.fence.is_fenced();
        if behind {
            let message = "This host may be behind the others, and answers nothing until it has caught up.";
            self.tell_once(with_others, false, || message.to_owned());
        }
        let current = (!behind || self.sync(false).await?) && self.sync(true).await?;
        if current {
            self.tell_once(with_others, true, || "This host has caught up with the cluster.".to_owned());
        }
        while tokio::time::timeout_at(end, self.changed.notified()).await.is_ok() {
            self.sync_and_ack().await?;
        }
        Ok(())
    }

    fn tell_once(&self, state: &mut bool, new: bool, message: impl FnOnce() -> String) {
        if std::mem::replace(state, new) != new {
            self.events.emit(Kind::Node, "", None, message());
        }
    }

    /// Tells the others that this host is there, then catches up with what they
    /// have done before they knew. True if it is not behind.
    async fn sync(self: &Arc<Self>, ready: bool) -> Result<bool> {
        let began = Instant::now();
        let others = within_lease(self.heartbeat(ready, false)).await?;
        let current = if ready { self.sync_and_ack().await? } else { self.apply_changes().await? };
        if current && ready {
            self.fence.lower(began, others == 0);
        }
        Ok(current)
    }

    /// Whoever makes a change waits until the others have followed it.
    async fn sync_and_ack(self: &Arc<Self>) -> Result<bool> {
        let before = self.caught_up_to.load(Relaxed);
        let current = self.apply_changes().await?;
        if self.caught_up_to.load(Relaxed) != before {
            within_lease(self.heartbeat(current, true)).await?;
        }
        Ok(current)
    }

    /// Returns how many others are there.
    async fn heartbeat(&self, ready: bool, wake: bool) -> Result<usize> {
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let heartbeat = Heartbeat {
            public: &address.public,
            control: &address.control,
            started_at: self.started_at,
            ready,
            generation: self.caught_up_to.load(Relaxed),
            versions: &self.live_versions(),
        };
        let others = self.table.heartbeat(heartbeat, wake).await?;
        Ok(self.update_peers(others))
    }

    pub(super) fn live_versions(&self) -> BTreeMap<String, String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let live =
            known.iter().filter_map(|(name, applied)| Some((name.clone(), applied.row.live.as_ref()?.to_string())));
        live.collect()
    }

    /// Tells of others that come and go; returns how many are there.
    fn update_peers(&self, others: Vec<Other>) -> usize {
        let others: BTreeMap<Uuid, (String, bool)> =
            others.into_iter().map(|other| (other.id, (other.public, other.fenced))).collect();
        let present = others.values().filter(|(_, fenced)| !fenced).count();
        let before = {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            peers.at = Utc::now();
            peers.others.replace(others.clone())
        };
        let Some(before) = before else { return present };
        let tell = |at: &str, what: &str| self.events.emit(Kind::Node, "", None, format!("The host at {at} {what}"));
        for (id, (at, fenced)) in &others {
            match (before.get(id).map(|(_, fenced)| *fenced), *fenced) {
                (None, false) => tell(at, "has joined the cluster."),
                (Some(false), true) => {
                    tell(at, "was not seen for some seconds and is fenced: changes go on without it.");
                }
                (Some(true), false) => tell(at, "is back."),
                _ => (),
            }
        }
        for (_, (at, _)) in before.iter().filter(|(id, (_, fenced))| !fenced && !others.contains_key(*id)) {
            tell(at, "has left the cluster.");
        }
        present
    }

    /// Applies what others have committed and prepares what they propose. False
    /// if this host cannot follow; it is told, and tried again with each heartbeat.
    async fn apply_changes(self: &Arc<Self>) -> Result<bool> {
        let rows = within_lease(self.table.rows(self.caught_up_to.load(Relaxed))).await?;
        let mut current = true;
        for row in &rows {
            let known = self.row(&row.name).map(|known| known.generation);
            match self.apply(row).await {
                Ok(_) => {
                    self.tell_of_others(row, known);
                    self.tell_if_behind(row, None);
                }
                Err(error) => {
                    current = false;
                    self.tell_if_behind(row, Some(error.to_string()));
                }
            }
        }
        match rows.last() {
            Some(last) if current => self.caught_up_to.store(last.generation, Relaxed),
            _ if !current => self.fence.raise(),
            _ => (),
        }
        for wanted in within_lease(self.table.wanted(self.prepare_timeout())).await? {
            self.prepare(wanted);
        }
        Ok(current)
    }

    /// A change that another host has made and told of there.
    fn tell_of_others(&self, row: &Row, known: Option<i64>) {
        if row.changed_by == Some(self.table.node) || known.is_some_and(|known| known >= row.generation) {
            return;
        }
        let name = &row.name;
        let by = "by a change on another host";
        let (kind, version, message) = match (&row.canary, &row.live) {
            (Some(canary), _) if row.shadow => {
                (Kind::Shadow, Some(canary), format!("{name}@{canary} is on trial in the shadow, {by}."))
            }
            (Some(canary), _) => {
                let message = format!("{name}@{canary} is on trial for {} % of the clients, {by}.", row.weight);
                (Kind::Canary, Some(canary), message)
            }
            (None, Some(live)) => (Kind::Swap, Some(live), format!("{name}@{live} is live, {by}.")),
            (None, None) => (Kind::Delete, None, format!("{name} was deleted, {by}; its mounts answer 503.")),
        };
        self.events.emit(kind, name, version.map(VersionId::as_str), message);
    }

    /// Once, not with each heartbeat.
    fn tell_if_behind(&self, row: &Row, problem: Option<String>) {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let told = behind.remove(&row.name);
        let Some(problem) = problem else { return };
        if told.as_ref() != Some(&problem) {
            let message = format!("This host cannot follow a change of {} and is behind: {problem}", row.name);
            self.events.emit(Kind::Node, &row.name, row.live.as_ref().map(VersionId::as_str), message);
        }
        behind.insert(row.name.clone(), problem);
    }

    /// Another host deploys a version: gets it ready here, or says why not. In a
    /// task of its own, since this host has to go on following meanwhile.
    fn prepare(self: &Arc<Self>, wanted: Wanted) {
        let Wanted { component: name, version: id, fresh } = wanted;
        // What is being checked is asked for again with the next heartbeat.
        if self.being_checked(&name).contains(&id) {
            return;
        }
        let (deployer, checking) = (Arc::clone(self), self.checking(&name, &id));
        tokio::spawn(async move {
            let loaded = if fresh {
                deployer.reload_with_current_grants(&name, &id).await
            } else {
                deployer.ensure(&name, &id).await
            };
            let problem = loaded.err().map(|error| error.to_string());
            if let Some(problem) = &problem {
                let message = format!("This host cannot prepare {name}@{id}, which blocks its deploy: {problem}");
                deployer.events.emit(Kind::Node, &name, Some(id.as_str()), message);
            }
            // Before the others hear of it, upon which the version may go live.
            drop(checking);
            if let Err(error) = deployer.table.prepared(&name, &id, problem.as_deref()).await {
                tracing::warn!(component = name, "cannot tell the cluster that a version is prepared: {error}");
            }
        });
    }
}

/// A step that comes too late when the others wait no longer.
async fn within_lease<T, E: Into<anyhow::Error>>(step: impl Future<Output = Result<T, E>>) -> Result<T> {
    match tokio::time::timeout(FENCED_AFTER, step).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => anyhow::bail!("it did not answer within {FENCED_AFTER:?}"),
    }
}
