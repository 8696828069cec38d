//! How versions come and go while requests run.
//!
//! Every change takes the same way: the version is checked and compiled here,
//! prepared on all other hosts of the cluster, and then made live by one commit
//! in the database, upon which each host stores one pointer. Until the commit
//! nobody has seen anything of the new version; a host that cannot follow it
//! answers nothing until it can.
//!
//! - `table`: what the hosts of a cluster know in common, in PostgreSQL.
//! - `configured`: what host.toml says of a component today.
//! - `commit`: prepared by all, made by one commit, followed by all.
//! - `apply`: from a row of that table to the pointer; draining.
//! - `fence`: keeps a host that may be behind from answering.
//! - `look`: what operators ask about.
//! - `node`: this host's place in the cluster: it listens, catches up, beats.
//! - `start`: what is live, and what the directory of components brings.
//! - `watch`: compares a new version with the one before, and takes it back.

mod apply;
mod commit;
mod configured;
mod error;
mod fence;
mod look;
mod node;
mod start;
mod table;
mod watch;

pub use error::Error;
pub use fence::Fence;
pub use node::Address;
pub use table::{Actor, Artifact, Node};

use crate::{
    component::{
        Version, Workshop,
        artifact::{self, VersionId},
        gate::{self, Timing},
        registry::{Registry, Slot},
    },
    config::Config,
    database::Pool,
    notice::{Kind, Notices},
};
use chrono::{DateTime, Utc};
use commit::{Committed, Prepared};
use configured::{Configured, check_name};
use serde_json::{Map, Value, json};
use sqlx::postgres::PgConnectOptions;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64},
    time::Duration,
};
use table::{Entry, NewArtifact, Row, Table};
use tokio::sync::Notify;
use uuid::Uuid;

pub struct Deployer {
    workshop: Arc<Workshop>,
    registry: Arc<Registry>,
    table: Table,
    notices: Arc<Notices>,
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
    watches: watch::Watches,
    /// Components whose row this host cannot follow, and why.
    behind: Mutex<BTreeMap<String, String>>,
    /// Artifacts as they were known last.
    seen: Mutex<Vec<Artifact>>,
    /// Another host has said something: wakes whoever waits for the others …
    woken: Notify,
    /// … and this host, to look what it is.
    heard: Notify,
    address: Mutex<Address>,
    neighbours: Mutex<node::Neighbours>,
}

/// What a deploy asks for.
#[derive(Clone, Debug)]
pub struct Order {
    pub activate: bool,
    /// Share of the clients, in percent; 0: all of them.
    pub canary: u8,
    pub shadow: bool,
    /// Empty: those of host.toml, else those it has, else `/api/NAME`.
    pub mounts: Vec<String>,
    pub signature: Option<Vec<u8>>,
    pub actor: Actor,
    /// It comes from the directory of components.
    pub seed: bool,
}

impl Order {
    /// Of the directory of components.
    fn seed(signature: Option<Vec<u8>>) -> Order {
        let actor = Actor { name: "start".to_owned(), origin: "the directory of components".to_owned() };
        Order { activate: true, canary: 0, shadow: false, mounts: Vec::new(), signature, actor, seed: true }
    }
}

/// How a change has gone.
#[derive(Debug)]
pub struct Outcome {
    pub component: String,
    pub version: VersionId,
    /// `live`, `canary` or `ready`.
    pub state: &'static str,
    pub timing: Timing,
    /// Of the pointer store alone.
    pub swap: Duration,
    /// The artifact was there already.
    pub existed: bool,
    /// Nothing had to be done.
    pub unchanged: bool,
    pub message: String,
    pub capabilities: Difference,
    pub routes: Difference,
    /// Hosts that the change waited for, this one included.
    pub nodes: usize,
}

/// Against the version that was live before.
#[derive(Debug, Default)]
pub struct Difference {
    pub added: Vec<String>,
    pub removed: Vec<String>,
}

impl Difference {
    fn between(old: &[String], new: &[String]) -> Difference {
        let without = |from: &[String], what: &[String]| from.iter().filter(|x| !what.contains(x)).cloned().collect();
        Difference { added: without(new, old), removed: without(old, new) }
    }
}

/// What a version is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Live,
    Trial { weight: u8, shadow: bool },
}

impl Deployer {
    pub fn new(
        config: &Config,
        options: &PgConnectOptions,
        workshop: Arc<Workshop>,
        registry: Arc<Registry>,
        node: Uuid,
    ) -> Arc<Deployer> {
        Arc::new(Deployer {
            // Its own: requests that take all connections must not make the
            // others think that this host is gone.
            table: Table { pool: Pool::owner(options), node },
            notices: Arc::clone(&workshop.shared.notices),
            workshop,
            registry,
            config: config.clone(),
            options: options.clone(),
            started_at: Utc::now(),
            fence: Arc::new(Fence::new()),
            known: Mutex::default(),
            caught_up_to: AtomicI64::new(0),
            applying: tokio::sync::Mutex::default(),
            changing: Mutex::default(),
            checking: Mutex::default(),
            watches: watch::Watches::default(),
            behind: Mutex::default(),
            seen: Mutex::default(),
            woken: Notify::new(),
            heard: Notify::new(),
            address: Mutex::default(),
            neighbours: Mutex::default(),
        })
    }

    /// Uploads a version and, unless it is told not to, makes it live or puts
    /// it on trial.
    pub async fn deploy(self: &Arc<Self>, name: &str, wasm: Vec<u8>, order: Order) -> Result<Outcome, Error> {
        check_name(name)?;
        if wasm.len() > self.workshop.max_artifact_bytes {
            return Err(gate::too_large(self.workshop.max_artifact_bytes).into());
        }
        let id = VersionId::of(&wasm);
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        let before = self.registry.slot(name).and_then(|slot| slot.live());
        let config = self.component_config(name, &order.mounts).await?;
        let admitted = self.admit(name, &wasm, &id, &config, &order).await;
        let (version, timing, existed) = match admitted {
            Ok(admitted) => admitted,
            Err(Error::Gate(gate::Error::Rejected(rejection))) => {
                return Err(self.refuse(name, &wasm, &id, &order.actor, rejection).await);
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
                &before.as_ref().map_or_else(Vec::new, |old| old.endpoints()),
                &version.endpoints(),
            ),
            nodes: 1,
        };
        if !existed {
            let details = Map::from_iter([
                ("check_ms".to_owned(), millis(timing.check)),
                ("compile_ms".to_owned(), millis(timing.compile)),
                ("actor".to_owned(), order.actor.name.clone().into()),
            ]);
            let message = format!("{name}@{id} was deployed and has passed all checks.");
            self.notices.tell_with(Kind::Deploy, name, Some(&id), message, details);
        }
        if order.activate || order.shadow {
            let goal = match (order.canary, order.shadow) {
                (weight, true) => Goal::Trial { weight, shadow: true },
                (0 | 100.., false) => Goal::Live,
                (weight, false) => Goal::Trial { weight, shadow: false },
            };
            self.bring(&mut outcome, goal, &version.mounts, &order.actor, order.seed).await?;
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
        let (version, timing) = self.fresh(name, &id).await?;
        let mut outcome = Outcome::of(&version, timing);
        let goal = if shadow || weight < 100 { Goal::Trial { weight, shadow } } else { Goal::Live };
        self.bring(&mut outcome, goal, &version.mounts, actor, false).await?;
        Ok(outcome)
    }

    /// Takes a version on trial back; without one, makes the live version's
    /// predecessor live again.
    pub async fn rollback(self: &Arc<Self>, name: &str, actor: &Actor) -> Result<Outcome, Error> {
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        self.check_exists(name).await?;
        self.take_back(name, None, actor, "an operator took it back").await
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
        self.notices.tell(Kind::Delete, name, None, format!("{name} was deleted; its mounts answer 503."));
        Ok(())
    }

    /// `version`: only if it is this one that is live or on trial.
    async fn take_back(
        self: &Arc<Self>,
        name: &str,
        version: Option<&VersionId>,
        actor: &Actor,
        why: &str,
    ) -> Result<Outcome, Error> {
        let known = self.row(name).ok_or_else(|| Error::component_not_found(name))?;
        let asked = |id: &Option<VersionId>| id.is_some() && (version.is_none() || id.as_ref() == version);
        let of_trial = asked(&known.canary);
        if !of_trial && !asked(&known.live) && !(known.deleted && version.is_none()) {
            return Err(Error::no_previous(name));
        }
        let (bad, good) = if of_trial {
            (known.canary.clone(), known.live.clone())
        } else {
            (known.live.clone(), known.history.last().cloned())
        };
        let good = good.ok_or_else(|| Error::no_previous(name))?;
        let (target, timing) = self.ensure(name, &good).await?;
        let detail = match &bad {
            Some(bad) => format!("{bad} was taken back: {why}"),
            None => why.to_owned(),
        };
        let entry = Entry {
            action: "rollback",
            component: name,
            version: Some(&good),
            digest: None,
            actor,
            detail: Some(&detail),
        };
        let prepared = Prepared { version: &good, fresh: false };
        let take_back = |mut row: Row| {
            if row.generation != known.generation {
                return None;
            }
            if !of_trial {
                row.history.pop();
                row.live = Some(good.clone());
                row.deleted = false;
            }
            row.end_trial();
            row.mounts.clone_from(&target.mounts);
            Some(row)
        };
        let Committed { swap, nodes } = self.commit(&entry, Some(prepared), take_back).await?;
        let message = match &bad {
            Some(bad) => format!("{name}@{bad} was taken back, because {why}; {name}@{good} is live."),
            None => format!("{name}@{good} is live again, because {why}."),
        };
        let details = Map::from_iter([
            ("reason".to_owned(), Value::from(why)),
            ("from".to_owned(), json!(bad.as_ref().map(VersionId::as_str))),
            ("to".to_owned(), good.as_str().into()),
        ]);
        self.notices.tell_with(Kind::Rollback, name, bad.as_ref(), message.clone(), details);
        Ok(Outcome { swap, nodes, message, state: "live", ..Outcome::of(&target, timing) })
    }

    /// Lets a version in that is new here, or finds it where it is known.
    async fn admit(
        self: &Arc<Self>,
        name: &str,
        wasm: &[u8],
        id: &VersionId,
        config: &Configured,
        order: &Order,
    ) -> Result<(Arc<Version>, Timing, bool), Error> {
        if let Some(key) = &self.workshop.public_key {
            gate::check_signature(wasm, order.signature.as_deref(), key)?;
        }
        let existed = self.table.artifacts(Some(name)).await?;
        let existed = existed.iter().any(|artifact| artifact.version == *id && artifact.was_admitted());
        let slot = self.registry.slot(name);
        let loaded = slot.as_ref().and_then(|slot| slot.loaded().get(id));
        if let Some(version) = loaded.filter(|version| existed && version.config == config.fingerprint) {
            return Ok((version, Timing::default(), true));
        }
        let _checking = self.checking(name, id);
        let (version, timing) = self.workshop.load(name, wasm, &config.component, &config.fingerprint).await?;
        let version = Arc::new(version);
        if !existed || !order.mounts.is_empty() {
            let digest = artifact::digest(wasm);
            let artifact = NewArtifact {
                component: name,
                version: id,
                digest: &digest,
                wasm,
                signature: order.signature.as_deref(),
                mounts: config.recorded_mounts.as_deref(),
                compile_ms: timing.compile.as_secs_f64() * 1000.0,
                actor: &order.actor.name,
                refusal: None,
            };
            let entry = Entry {
                action: "deploy",
                component: name,
                version: Some(id),
                digest: Some(&digest),
                actor: &order.actor,
                detail: None,
            };
            self.table.add(&artifact, &entry).await?;
        }
        self.registry.slot_or_new(name).loaded().put(&version);
        Ok((version, timing, existed))
    }

    async fn refuse(
        &self,
        name: &str,
        wasm: &[u8],
        id: &VersionId,
        actor: &Actor,
        rejection: gate::Rejection,
    ) -> Error {
        let digest = artifact::digest(wasm);
        let artifact = NewArtifact {
            component: name,
            version: id,
            digest: &digest,
            wasm,
            signature: None,
            mounts: None,
            compile_ms: 0.0,
            actor: &actor.name,
            refusal: Some(&rejection.message),
        };
        let detail = format!("{}: {}", rejection.code, rejection.message);
        let entry = Entry {
            action: "refuse",
            component: name,
            version: Some(id),
            digest: Some(&digest),
            actor,
            detail: Some(&detail),
        };
        if let Err(error) = self.table.add(&artifact, &entry).await {
            tracing::warn!(component = name, "cannot note that a version was refused: {error}");
        }
        let details = Map::from_iter([("code".to_owned(), rejection.code.into())]);
        let message = format!("{name}@{id} was refused. {}", rejection.message);
        self.notices.tell_with(Kind::Refused, name, Some(id), message, details);
        Error::Gate(gate::Error::Rejected(rejection))
    }

    /// Prepares a version everywhere and commits what it is to become.
    async fn bring(
        self: &Arc<Self>,
        outcome: &mut Outcome,
        goal: Goal,
        mounts: &[String],
        actor: &Actor,
        seed: bool,
    ) -> Result<(), Error> {
        let (name, id) = (outcome.component.clone(), outcome.version.clone());
        let known = self.row(&name);
        let live = known.as_ref().and_then(|row| row.live.clone());
        // With nobody beside it, everything is its share.
        let goal = match goal {
            Goal::Trial { .. } if live.is_none() || live.as_ref() == Some(&id) => Goal::Live,
            goal => goal,
        };
        let is_already = known.as_ref().is_some_and(|row| match goal {
            Goal::Live => row.live.as_ref() == Some(&id) && row.canary.is_none() && row.mounts == mounts,
            Goal::Trial { weight, shadow } => {
                row.canary.as_ref() == Some(&id) && row.weight == weight && row.shadow == shadow
            }
        });
        let applied = self.registry.slot(&name).is_some_and(|slot| self.is_applied(&slot, &id));
        outcome.state = if goal == Goal::Live { "live" } else { "canary" };
        if is_already && applied && !seed {
            outcome.unchanged = true;
            outcome.message = format!("{name}@{id} is {} already; nothing was done.", outcome.state);
            return Ok(());
        }
        let detail = match goal {
            Goal::Live => "live".to_owned(),
            Goal::Trial { weight, shadow: false } => format!("on trial for {weight} % of the clients"),
            Goal::Trial { shadow: true, .. } => "on trial in the shadow".to_owned(),
        };
        let entry = Entry {
            action: "activate",
            component: &name,
            version: Some(&id),
            digest: None,
            actor,
            detail: Some(&detail),
        };
        let generation = known.as_ref().map_or(0, |row| row.generation);
        let prepared = Prepared { version: &id, fresh: true };
        let bring = |mut row: Row| {
            // At the start the row is taken as it is: no other host starts now.
            if row.generation != generation && !seed {
                return None;
            }
            match goal {
                Goal::Live => row.go_live(&id, mounts),
                Goal::Trial { weight, shadow } => row.begin_trial(&id, weight, shadow, mounts),
            }
            if seed {
                row.seeded = Some(id.clone());
            }
            Some(row)
        };
        let Committed { swap, nodes } = self.commit(&entry, Some(prepared), bring).await?;
        (outcome.swap, outcome.nodes) = (swap, nodes);
        outcome.message = format!("{name}@{id} is {detail}.");
        let details = Map::from_iter([
            ("from".to_owned(), json!(live.as_ref().map(VersionId::as_str))),
            ("swap_us".to_owned(), json!(outcome.swap.as_secs_f64() * 1e6)),
            ("actor".to_owned(), actor.name.clone().into()),
        ]);
        let kind = match goal {
            Goal::Live => Kind::Swap,
            Goal::Trial { shadow: false, .. } => Kind::Canary,
            Goal::Trial { shadow: true, .. } => Kind::Shadow,
        };
        self.notices.tell_with(kind, &name, Some(&id), outcome.message.clone(), details);
        Ok(())
    }

    /// Whether the version that answers is the one that is in memory, and not
    /// an earlier load of the same bytes.
    fn is_applied(&self, slot: &Slot, id: &VersionId) -> bool {
        let split = slot.split();
        let serving = split.live.iter().chain(split.canary.as_ref().map(|canary| &canary.version));
        let loaded = slot.loaded().get(id);
        serving.into_iter().any(|version| loaded.as_ref().is_some_and(|loaded| Arc::ptr_eq(loaded, version)))
    }

    /// A version that passed the gate, whether or not it is live.
    pub async fn version(&self, name: &str, id: &VersionId) -> Result<Arc<Version>, Error> {
        Ok(self.ensure(name, id).await?.0)
    }

    /// The version in memory, loaded from the database if need be.
    async fn ensure(&self, name: &str, id: &VersionId) -> Result<(Arc<Version>, Timing), Error> {
        let slot = self.registry.slot_or_new(name);
        if let Some(version) = slot.loaded().get(id) {
            return Ok((version, Timing::default()));
        }
        self.fresh(name, id).await
    }

    /// The same, but under the grants of today.
    async fn fresh(&self, name: &str, id: &VersionId) -> Result<(Arc<Version>, Timing), Error> {
        let slot = self.registry.slot_or_new(name);
        let known = self.table.artifacts(Some(name)).await?;
        let artifact = known.into_iter().find(|artifact| artifact.version == *id);
        let mounts = artifact.and_then(|artifact| artifact.mounts).unwrap_or_default();
        let config = self.component_config(name, &mounts).await?;
        let loaded = slot.loaded().get(id).filter(|version| version.config == config.fingerprint);
        if let Some(version) = loaded {
            return Ok((version, Timing::default()));
        }
        let wasm = self.table.wasm(name, id).await?;
        let (wasm, signature) = wasm.ok_or_else(|| Error::version_not_found(name, id.as_str()))?;
        if let Some(key) = &self.workshop.public_key {
            gate::check_signature(&wasm, signature.as_deref(), key)?;
        }
        let (version, timing) = self.workshop.load(name, &wasm, &config.component, &config.fingerprint).await?;
        let version = Arc::new(version);
        slot.loaded().put(&version);
        Ok((version, timing))
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

impl Deployer {
    fn checking(self: &Arc<Self>, name: &str, id: &VersionId) -> Checking {
        let mut checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        checking.entry(name.to_owned()).or_default().insert(id.clone());
        Checking { deployer: Arc::clone(self), name: name.to_owned(), id: id.clone() }
    }

    /// Versions of a component that are at the gate.
    pub fn being_checked(&self, name: &str) -> Vec<VersionId> {
        let checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        checking.get(name).into_iter().flatten().cloned().collect()
    }

    fn state_of(&self, name: &str, id: &VersionId) -> Option<&'static str> {
        let row = self.row(name)?;
        if row.live.as_ref() == Some(id) {
            return Some("live");
        }
        (row.canary.as_ref() == Some(id)).then_some("canary")
    }
}

struct Checking {
    deployer: Arc<Deployer>,
    name: String,
    id: VersionId,
}

impl Drop for Checking {
    fn drop(&mut self) {
        let mut checking = self.deployer.checking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ids) = checking.get_mut(&self.name) {
            ids.remove(&self.id);
        }
    }
}

impl Outcome {
    fn of(version: &Version, timing: Timing) -> Outcome {
        Outcome {
            component: version.component.clone(),
            version: version.id.clone(),
            state: "live",
            timing,
            swap: Duration::ZERO,
            existed: true,
            unchanged: false,
            message: String::new(),
            capabilities: Difference::default(),
            routes: Difference::default(),
            nodes: 1,
        }
    }
}

pub fn millis(duration: Duration) -> Value {
    json!((duration.as_secs_f64() * 1e6).round() / 1000.0)
}
