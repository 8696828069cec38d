//! How versions come and go while requests run.
//!
//! Every change takes the same way: the version is checked and compiled here,
//! prepared on all other hosts of the cluster, and then made live by one commit
//! in the database, upon which each host stores one pointer. Until the commit
//! nobody has seen anything of the new version; a host that cannot follow it
//! answers nothing until it can.
//!
//! - `request`: what is asked for, and how it has gone.
//! - `load`: getting a version into memory, through the gate or from the database.
//! - `activate`: what it becomes: live, on trial, taken back.
//! - `table`: what the hosts of a cluster know in common, in PostgreSQL.
//! - `component_config`: what host.toml says of a component today.
//! - `commit`: prepared by all, made by one commit, followed by all.
//! - `apply`: from a row of that table to the pointer; draining.
//! - `fence`: keeps a host that may be behind from answering.
//! - `status`: what operators ask about.
//! - `node`: this host's place in the cluster: it listens, catches up, beats.
//! - `start`: what is live, and what the directory of components brings.
//! - `auto_rollback`: compares a new version with the one before, and takes it back.

mod activate;
mod apply;
mod auto_rollback;
mod commit;
mod component_config;
mod error;
mod fence;
mod load;
mod node;
mod request;
mod start;
mod status;
mod table;

pub use error::Error;
pub use fence::Fence;
pub use node::Address;
pub use request::{Change, Difference, Outcome, Request, millis};
pub use table::{Actor, Artifact, Node};

use crate::{
    config::Config,
    runtime::{Loader, gate, registry::Registry, version_id::VersionId},
    services::database::Pool,
    telemetry::operator_events::{Kind, OperatorEvents},
};
use chrono::{DateTime, Utc};
use component_config::check_name;
use request::Goal;
use serde_json::Map;
use sqlx::postgres::PgConnectOptions;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64},
    time::Duration,
};
use table::{Entry, Row, Table};
use tokio::sync::Notify;
use uuid::Uuid;

pub struct Deployer {
    loader: Arc<Loader>,
    registry: Arc<Registry>,
    table: Table,
    events: Arc<OperatorEvents>,
    config: Config,
    options: PgConnectOptions,
    started_at: DateTime<Utc>,
    fence: Arc<Fence>,
    /// What this host has applied, by component.
    known: Mutex<BTreeMap<String, apply::Applied>>,
    /// It has applied everything up to this generation.
    caught_up_to: AtomicI64,
    /// One row is applied at a time.
    applying: tokio::sync::Mutex<()>,
    /// One change of a component at a time.
    changing: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Being checked at this moment.
    checking: Mutex<BTreeMap<String, BTreeSet<VersionId>>>,
    watches: auto_rollback::Watches,
    /// Components whose row this host cannot follow, and why.
    behind: Mutex<BTreeMap<String, String>>,
    /// Artifacts as they were known last.
    seen: Mutex<Vec<Artifact>>,
    /// Another host has said something: wakes whoever waits for the others …
    peers_changed: Notify,
    /// … and this host, to look what it is.
    changed: Notify,
    address: Mutex<Address>,
    peers: Mutex<node::Peers>,
}

impl Deployer {
    pub fn new(
        config: &Config,
        options: &PgConnectOptions,
        loader: Arc<Loader>,
        registry: Arc<Registry>,
        node: Uuid,
    ) -> Arc<Deployer> {
        Arc::new(Deployer {
            // Its own: requests that take all connections must not make the
            // others think that this host is gone.
            table: Table { pool: Pool::owner(options), node },
            events: Arc::clone(&loader.shared.services.operator_events),
            loader,
            registry,
            config: config.clone(),
            options: options.clone(),
            started_at: Utc::now(),
            fence: Arc::default(),
            known: Mutex::default(),
            caught_up_to: AtomicI64::new(0),
            applying: tokio::sync::Mutex::default(),
            changing: Mutex::default(),
            checking: Mutex::default(),
            watches: auto_rollback::Watches::default(),
            behind: Mutex::default(),
            seen: Mutex::default(),
            peers_changed: Notify::new(),
            changed: Notify::new(),
            address: Mutex::default(),
            peers: Mutex::default(),
        })
    }

    /// Uploads a version and, unless it is told not to, makes it live or puts
    /// it on trial.
    pub async fn deploy(self: &Arc<Self>, name: &str, wasm: Vec<u8>, request: Request) -> Result<Outcome, Error> {
        check_name(name)?;
        if wasm.len() > self.loader.max_artifact_bytes {
            return Err(gate::too_large(self.loader.max_artifact_bytes).into());
        }
        let id = VersionId::of(&wasm);
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        let before = self.registry.slot(name).and_then(|slot| slot.live());
        let config = self.component_config(name, &request.mounts).await?;
        let admitted = self.admit(name, &wasm, &id, &config, &request).await;
        let (version, timing, existed) = match admitted {
            Ok(admitted) => admitted,
            Err(Error::Gate(gate::Error::Rejected(rejection))) => {
                return Err(self.refuse(name, &wasm, &id, &request.actor, rejection).await);
            }
            Err(error) => return Err(error),
        };
        let mut outcome = Outcome {
            component: name.to_owned(),
            version: id.clone(),
            state: "ready",
            timing,
            swap: Duration::ZERO,
            existed,
            unchanged: false,
            message: format!("{name}@{id} is ready; `shema activate {name} {id}` makes it live."),
            capabilities: Difference::between(before.as_ref().map_or(&[], |old| &old.imports), &version.imports),
            routes: Difference::between(
                &before.as_ref().map_or_else(Vec::new, |old| old.route_list()),
                &version.route_list(),
            ),
            nodes: 1,
        };
        if !existed {
            let details = Map::from_iter([
                ("check_ms".to_owned(), millis(timing.check).into()),
                ("compile_ms".to_owned(), millis(timing.compile).into()),
                ("actor".to_owned(), request.actor.name.clone().into()),
            ]);
            let message = format!("{name}@{id} was deployed and has passed all checks.");
            self.events.emit_with(Kind::Deploy, name, Some(id.as_str()), message, details);
        }
        if request.activate || request.shadow {
            let goal = match (request.canary, request.shadow) {
                (weight, true) => Goal::Trial { weight, shadow: true },
                (0 | 100.., false) => Goal::Live,
                (weight, false) => Goal::Trial { weight, shadow: false },
            };
            self.activate_version(&mut outcome, goal, &version.mounts, &request.actor, request.seed).await?;
        } else if let Some(state) = self.state_of(name, &id) {
            outcome.state = state;
            outcome.unchanged = existed;
            outcome.message = format!("{name}@{id} is {state} already; nothing was done.");
        }
        Ok(outcome)
    }

    /// Makes a version that is there live, or puts it on trial.
    pub async fn activate(
        self: &Arc<Self>,
        name: &str,
        version: &str,
        weight: u8,
        shadow: bool,
        actor: &Actor,
    ) -> Result<Outcome, Error> {
        let id = VersionId::parse(version).ok_or_else(|| Error::version_not_found(name, version))?;
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        self.check_exists(name).await?;
        let (version, timing) = self.reload_with_current_grants(name, &id).await?;
        let mut outcome = Outcome::of(&version, timing);
        let goal = if shadow || weight < 100 { Goal::Trial { weight, shadow } } else { Goal::Live };
        self.activate_version(&mut outcome, goal, &version.mounts, actor, false).await?;
        Ok(outcome)
    }

    /// Takes a version on trial back; without one, makes the live version's
    /// predecessor live again.
    pub async fn rollback(self: &Arc<Self>, name: &str, actor: &Actor) -> Result<Outcome, Error> {
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        self.check_exists(name).await?;
        self.roll_back(name, None, actor, "an operator took it back").await
    }

    /// Takes a component off: its mounts answer 503 until it is deployed again.
    pub async fn delete(self: &Arc<Self>, name: &str, actor: &Actor) -> Result<(), Error> {
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        self.check_exists(name).await?;
        let entry = Entry { action: "delete", component: name, version: None, digest: None, actor, detail: None };
        let mounts = self.registry.mounts(name);
        let delete = |mut row: Row| {
            row.mounts.clone_from(&mounts);
            row.history.extend(row.live.take());
            row.end_trial();
            row.deleted = true;
            Some(row)
        };
        self.commit(&entry, None, delete).await?;
        self.events.emit(Kind::Delete, name, None, format!("{name} was deleted; its mounts answer 503."));
        Ok(())
    }

    async fn check_exists(&self, name: &str) -> Result<(), Error> {
        // Uploaded on another host, it is only in the database.
        let exists =
            self.row(name).is_some() || self.table.artifacts(Some(name)).await?.iter().any(Artifact::was_admitted);
        if exists { Ok(()) } else { Err(Error::component_not_found(name)) }
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(changing.entry(name.to_owned()).or_default())
    }

    pub fn fence(&self) -> Arc<Fence> {
        Arc::clone(&self.fence)
    }

    /// The row that this host goes by.
    pub fn row(&self, name: &str) -> Option<Row> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).map(|applied| applied.row.clone())
    }
}
