//! From a row of the live table to the pointer that requests follow, and what
//! becomes of the versions that they no longer follow it to.

use super::{Deployer, Error, table::Row};
use crate::{
    runtime::{
        Version,
        registry::{Canary, Slot, Split},
    },
    telemetry::operator_events::Kind,
};
use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

/// Calls end by their own deadline; this is for the last steps after it.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A row that this host serves.
#[derive(Clone)]
pub struct Applied {
    pub row: Row,
    /// How long the pointer store took.
    pub swap: Duration,
}

impl Deployer {
    /// Makes this host serve what a row says, or a later one.
    pub(super) async fn apply(self: &Arc<Self>, row: &Row) -> Result<Applied, Error> {
        let _applying = self.applying.lock().await;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&row.name).cloned();
        if let Some(known) = known.filter(|known| known.row.generation >= row.generation) {
            return Ok(known);
        }
        let slot = self.registry.slot_or_new(&row.name);
        let split = self.split(row).await?;
        // New mounts come before the swap and old ones go after it, so that no
        // request finds the new version under an old path or the reverse.
        let mut both = self.registry.mounts(&row.name);
        both.extend(row.mounts.iter().filter(|mount| !both.contains(mount)).cloned().collect::<Vec<_>>());
        both.sort();
        self.registry.mount(&slot, &both);
        let old = Arc::clone(&slot.split());
        let next = split.clone();
        let started = Instant::now();
        slot.store(next);
        let swap = started.elapsed();
        self.registry.mount(&slot, &row.mounts);
        let applied = Applied { row: row.clone(), swap };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(row.name.clone(), applied.clone());
        self.watch(&slot, &old, &split);
        self.retire(&slot, &old, &split);
        Ok(applied)
    }

    async fn split(&self, row: &Row) -> Result<Split, Error> {
        let mut split = Split::default();
        if let Some(live) = &row.live {
            split.live = Some(self.ensure(&row.name, live).await?.0);
        }
        if let Some(canary) = &row.canary {
            let (version, _) = self.ensure(&row.name, canary).await?;
            split.canary = Some(Canary { version, percent: row.weight, shadow: row.shadow });
        }
        Ok(split)
    }

    /// Sees the versions out that were in use and are no longer, and frees what
    /// is too much.
    fn retire(self: &Arc<Self>, slot: &Arc<Slot>, old: &Split, split: &Split) {
        let used = |version: &Arc<Version>| {
            let trial = split.canary.as_ref().map(|canary| &canary.version);
            split.live.iter().chain(trial).any(|other| Arc::ptr_eq(other, version))
        };
        let former = old.live.iter().chain(old.canary.as_ref().map(|canary| &canary.version));
        for version in former.filter(|version| !used(version)) {
            tokio::spawn(drain(Arc::clone(self), Arc::clone(slot), Arc::clone(version)));
        }
        for version in split.live.iter().chain(split.canary.as_ref().map(|canary| &canary.version)) {
            slot.loaded().put(version);
        }
        let gone = slot.loaded().trim(split, self.config.deploy.keep);
        free(gone);
    }

    /// Keeps a version in memory that is new here, and frees what is too much:
    /// uploads that nobody makes live must not pile up until the next swap.
    pub(super) fn keep_loaded(&self, slot: &Slot, version: &Arc<Version>) {
        let gone = {
            let mut loaded = slot.loaded();
            loaded.put(version);
            // It is to go live in a moment, even where no former version is kept.
            loaded.trim(&slot.split(), self.config.deploy.keep.max(1))
        };
        free(gone);
    }
}

/// Out of the executor: unmapping code takes its time.
fn free(gone: Vec<Arc<Version>>) {
    tokio::task::spawn_blocking(move || drop(gone));
}

/// Waits for the calls of a version that gets no new ones, then frees its
/// instances. Each call has its own deadline, so this comes to an end.
async fn drain(deployer: Arc<Deployer>, slot: Arc<Slot>, version: Arc<Version>) {
    let started = Instant::now();
    let end = started + deployer.config.call_timeout + DRAIN_GRACE;
    while version.stats.running() > 0 && Instant::now() < end {
        tokio::time::sleep(DRAIN_POLL_INTERVAL).await;
    }
    let left = version.stats.running();
    // It may have come back meanwhile.
    let in_use = slot.split().uses(&version.id);
    if !in_use {
        version.cool();
    }
    let message = match left {
        0 => format!("{}@{} has finished its calls in {} ms.", slot.name, version.id, started.elapsed().as_millis()),
        left => format!("{}@{} still had {left} calls at the end of its time.", slot.name, version.id),
    };
    deployer.events.emit(Kind::Drain, &slot.name, Some(version.id.as_str()), message);
}
