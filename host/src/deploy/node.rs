//! This host's place in the cluster: hosts that share a database form one. It
//! listens for changes, catches up with them, prepares what others deploy, and
//! lets the others know that it is there.

use super::{Deployer, Error, Order, table};
use crate::{
    component::{artifact::VersionId, gate},
    config::Profile,
    leader::{Lock, within},
    notice::Kind,
};
use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// A notification may be lost with its connection: the table is looked at this
/// often anyway, and the others are told that this host lives.
const BEAT: Duration = Duration::from_secs(1);
const BACK_OFF: Duration = Duration::from_millis(500);

/// Under which URLs this host is reached.
#[derive(Clone, Debug, Default)]
pub struct Address {
    pub public: String,
    pub control: String,
}

impl Deployer {
    /// Loads everything that is live, and what the directory of components
    /// brings. What is wrong with one of them stops the start.
    pub async fn start(self: &Arc<Self>, options: &PgConnectOptions) -> Result<()> {
        for (name, component) in &self.config.components {
            let slot = self.registry.slot_or_new(name);
            self.registry.mount(&slot, &component.mounts);
        }
        // One host at a time, so that several that start together on an empty
        // database agree on what they find.
        let mut alone = within(PgConnection::connect_with(options)).await?;
        sqlx::query("select pg_advisory_lock($1)").bind(Lock::Start as i64).execute(&mut alone).await?;
        let started = self.start_alone().await;
        // With the connection goes the lock.
        alone.close().await.context("cannot close a connection")?;
        started
    }

    async fn start_alone(self: &Arc<Self>) -> Result<()> {
        let rows: BTreeMap<String, table::Row> =
            self.table.rows().await?.into_iter().map(|row| (row.name.clone(), row)).collect();
        let seeds = self.seeds(&rows)?;
        let seeded: Vec<String> = seeds.iter().map(|(name, _)| name.clone()).collect();
        let seeding = seeds.into_iter().map(|(name, wasm)| async move {
            let deployed = self.deploy(&name, wasm, Order::seed(self.signature(&name))).await;
            let outcome = deployed.with_context(|| format!("component {name}"))?;
            let ms = (outcome.timing.check + outcome.timing.compile).as_millis();
            tracing::info!("Loaded {name}@{} in {ms} ms.", outcome.version);
            Ok::<(), anyhow::Error>(())
        });
        // Compilation uses all cores by itself; two overlap the waits between.
        stream::iter(seeding).buffer_unordered(2).try_collect::<()>().await?;
        let others = rows.into_values().filter(|row| !seeded.contains(&row.name));
        let applying = others.map(|row| async move {
            self.apply(&row).await.with_context(|| format!("component {}", row.name))?;
            Ok::<(), anyhow::Error>(())
        });
        stream::iter(applying).buffer_unordered(2).try_collect().await
    }

    /// Artifacts of the directory that are to go live: at the first start all;
    /// in development also what has been built since the last one.
    fn seeds(&self, rows: &BTreeMap<String, table::Row>) -> Result<Vec<(String, Vec<u8>)>> {
        let mut seeds = Vec::new();
        for (name, component) in &self.config.components {
            let path = self.config.components_dir.join(format!("{name}.wasm"));
            let row = rows.get(name);
            let is_new = row.is_none_or(|row| row.live.is_none() && !row.deleted);
            match std::fs::read(&path) {
                Ok(wasm) => {
                    let seeded = row.and_then(|row| row.seeded.as_ref());
                    let rebuilt = seeded != Some(&VersionId::of(&wasm));
                    if is_new || (rebuilt && self.config.profile == Profile::Development) {
                        seeds.push((name.clone(), wasm));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    if is_new {
                        let mounts = component.mounts.join(", ");
                        tracing::warn!("There is no {}: {mounts} will answer 503.", path.display());
                    }
                }
                Err(error) => bail!("cannot read {}: {error}", path.display()),
            }
        }
        Ok(seeds)
    }

    /// Beside the artifact, for a host that demands signatures.
    fn signature(&self, name: &str) -> Option<Vec<u8>> {
        let text = std::fs::read_to_string(self.config.components_dir.join(format!("{name}.wasm.sig"))).ok()?;
        gate::read_signature(&text)
    }

    /// Joins the cluster: from here on changes wait for this host. It has
    /// missed nothing when this returns.
    pub async fn join(self: &Arc<Self>, address: Address) -> Result<()> {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
        self.beat().await?;
        self.catch_up().await;
        Ok(())
    }

    /// Follows the cluster until `stop`.
    pub async fn run(self: Arc<Self>, options: PgConnectOptions, stop: CancellationToken) {
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let mut reached = true;
        let for_ever = async {
            loop {
                if let Err(error) = self.follow(&pool, &mut reached).await {
                    if std::mem::replace(&mut reached, false) {
                        let message =
                            format!("This host has lost the database, and is fenced until it is back: {error:#}");
                        self.notices.tell(Kind::Node, "", None, message);
                    }
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        };
        tokio::select! {
            () = for_ever => (),
            () = stop.cancelled() => (),
        }
        if let Err(error) = self.table.leave().await {
            tracing::debug!("cannot take this host off the list: {error}");
        }
    }

    async fn follow(self: &Arc<Self>, pool: &sqlx::PgPool, reached: &mut bool) -> Result<()> {
        let mut listener = within(PgListener::connect_with(pool)).await?;
        within(listener.listen(table::CHANNEL)).await?;
        loop {
            self.beat().await?;
            self.catch_up().await;
            if !std::mem::replace(reached, true) {
                self.notices.tell(Kind::Node, "", None, "This host has the database again and has caught up.".into());
            }
            let end = tokio::time::Instant::now() + BEAT;
            while let Ok(woken) = tokio::time::timeout_at(end, listener.recv()).await {
                woken.context("listening for changes")?;
                self.woken.notify_waiters();
                self.catch_up().await;
            }
        }
    }

    async fn beat(&self) -> Result<(), Error> {
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let generation = known.values().map(|row| row.generation).max().unwrap_or(0);
        let versions = known.into_iter().filter_map(|(name, row)| Some((name, row.live?.to_string()))).collect();
        Ok(self.table.beat(&address.public, &address.control, generation, &versions).await?)
    }

    /// Applies what others have committed and prepares what they propose. What
    /// fails is told and tried again with the next beat.
    async fn catch_up(self: &Arc<Self>) {
        match self.table.rows().await {
            Ok(rows) => {
                for row in rows {
                    let problem = self.apply(&row).await.err().map(|error| error.to_string());
                    self.tell_if_behind(&row, problem);
                }
            }
            Err(error) => tracing::warn!("cannot read the live table: {error}"),
        }
        match self.table.wanted().await {
            Ok(wanted) => {
                for (name, id) in wanted {
                    self.prepare(&name, &id).await;
                }
            }
            Err(error) => tracing::warn!("cannot read what others deploy: {error}"),
        }
    }

    /// Once, not with each beat.
    fn tell_if_behind(&self, row: &table::Row, problem: Option<String>) {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let told = behind.remove(&row.name);
        let Some(problem) = problem else { return };
        if told.as_ref() != Some(&problem) {
            let message = format!("This host cannot follow a change of {} and is behind: {problem}", row.name);
            self.notices.tell(Kind::Node, &row.name, row.live.as_ref(), message);
        }
        behind.insert(row.name.clone(), problem);
    }

    /// Another host deploys a version: gets it ready here, or says why not.
    async fn prepare(self: &Arc<Self>, name: &str, id: &VersionId) {
        let problem = self.fresh(name, id).await.err().map(|error| error.to_string());
        if let Some(problem) = &problem {
            let message = format!("This host cannot prepare {name}@{id}, which blocks its deploy: {problem}");
            self.notices.tell(Kind::Node, name, Some(id), message);
        }
        if let Err(error) = self.table.prepared(name, id, problem.as_deref()).await {
            tracing::warn!(component = name, "cannot tell the cluster that a version is prepared: {error}");
        }
    }
}
