//! Watches a version that went live or is on trial, compares it with the one
//! before, and takes it back when it is worse.
//!
//! Woken by each failure of a watched version, so a version that traps is gone
//! after the smallest number of requests that says anything; a slow one is
//! found by looking every so often.

use super::{Deployer, table::Actor};
use crate::{
    config,
    runtime::{
        Version,
        registry::{Slot, Split},
        stats::{Snapshot, Stats},
        version_id::VersionId,
    },
    telemetry::operator_events::Kind,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Latency says something only after more requests than failures do.
const REQUESTS_FOR_LATENCY: u64 = 10;

/// By component: ends the present watch.
#[derive(Default)]
pub struct Watches(Mutex<BTreeMap<String, CancellationToken>>);

impl Watches {
    /// Ends the watch that there is, and returns what ends the next.
    fn replace(&self, name: &str) -> CancellationToken {
        let token = CancellationToken::new();
        let mut watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = watches.insert(name.to_owned(), token.clone()) {
            old.cancel();
        }
        token
    }
}

/// A version under watch and what it is compared with.
struct Watch {
    name: String,
    id: VersionId,
    /// Weak, so that a watch keeps no version in memory.
    version: Weak<Version>,
    start: Snapshot,
    before: Arc<Stats>,
    /// Where the comparison begins; all of its life if it gets no more calls.
    before_start: Snapshot,
    /// On trial: watched for as long as the trial lasts.
    trial: bool,
}

impl Deployer {
    /// Begins to watch what a swap has brought; what was watched before of this
    /// component no longer is.
    pub(super) fn watch(self: &Arc<Self>, slot: &Arc<Slot>, old: &Split, split: &Split) {
        let end = self.watches.replace(&slot.name);
        let watch = match (&split.canary, &split.live, &old.live) {
            (Some(canary), Some(live), _) if !canary.shadow => {
                Watch::new(slot, &canary.version, &live.stats, live.stats.snapshot(), true)
            }
            // What came back by a rollback has shown what it can do.
            (None, Some(live), Some(old)) if live.id != old.id && !self.is_back(&slot.name, &old.id) => {
                Watch::new(slot, live, &old.stats, Snapshot::zero(), false)
            }
            _ => return,
        };
        let deployer = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                () = watch.run(&deployer) => (),
                () = end.cancelled() => (),
            }
        });
    }

    /// Whether a version is no longer in the history of the component, which is
    /// so when it was taken back.
    fn is_back(&self, name: &str, old: &VersionId) -> bool {
        self.row(name).is_some_and(|row| row.history.last() != Some(old))
    }
}

impl Watch {
    fn new(slot: &Slot, version: &Arc<Version>, before: &Arc<Stats>, before_start: Snapshot, trial: bool) -> Watch {
        Watch {
            name: slot.name.clone(),
            id: version.id.clone(),
            version: Arc::downgrade(version),
            start: version.stats.snapshot(),
            before: Arc::clone(before),
            before_start,
            trial,
        }
    }

    async fn run(self, deployer: &Arc<Deployer>) {
        let end = Instant::now() + Duration::from_secs(deployer.config.deploy.watch_seconds);
        let mut told = None;
        while self.trial || Instant::now() < end {
            let Some(version) = self.version.upgrade() else { return };
            let now = version.stats.snapshot().since(&self.start);
            let before = self.before.snapshot().since(&self.before_start);
            if let Some(why) = judge(&now, &before, &deployer.config.deploy)
                && self.roll_back(deployer, &why, &mut told).await
            {
                return;
            }
            let failed = Arc::clone(&version.failed);
            drop(version);
            let _ = tokio::time::timeout(POLL_INTERVAL, failed.notified()).await;
        }
    }

    /// True if there is nothing more to watch.
    async fn roll_back(&self, deployer: &Arc<Deployer>, why: &str, told: &mut Option<String>) -> bool {
        let actor = Actor { name: "watch".to_owned(), origin: "this host".to_owned() };
        let turn = deployer.turn(&self.name);
        let _turn = turn.lock().await;
        // In a task of its own: the swap ends this watch, not the swap.
        let work = {
            let (deployer, name, id, why) = (Arc::clone(deployer), self.name.clone(), self.id.clone(), why.to_owned());
            tokio::spawn(async move { deployer.roll_back(&name, Some(&id), &actor, &why).await })
        };
        let error = match work.await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // The database may be back in a moment, a lack of versions will last, and
        // where another host was faster, this watch ends while it sleeps.
        tokio::time::sleep(POLL_INTERVAL).await;
        if told.as_ref() != Some(&error) {
            let message = format!("{}@{} is worse than before ({why}), but stays: {error}", self.name, self.id);
            deployer.events.emit(Kind::Rollback, &self.name, Some(self.id.as_str()), message);
            *told = Some(error);
        }
        false
    }
}

/// Why a version is worse than the one before; None if it is not, or if there
/// is too little to say so.
fn judge(now: &Snapshot, before: &Snapshot, rules: &config::Deploy) -> Option<String> {
    if now.requests < rules.min_requests.max(1) {
        return None;
    }
    let percent = |share: f64| share * 100.0;
    let (errors, traps) = (percent(now.error_share()), percent(now.trap_share()));
    let (old_errors, old_traps) = (percent(before.error_share()), percent(before.trap_share()));
    if traps > old_traps + rules.max_trap_percent {
        return Some(format!("{traps:.1} % of its {} requests trapped, against {old_traps:.1} % before", now.requests));
    }
    if errors > old_errors + rules.max_error_percent {
        return Some(format!(
            "{errors:.1} % of its {} requests failed, against {old_errors:.1} % before",
            now.requests
        ));
    }
    let enough = rules.min_requests.max(1) * REQUESTS_FOR_LATENCY;
    if now.requests < enough || before.requests < enough {
        return None;
    }
    let (p99, old_p99) = (now.percentile_ms(99.0), before.percentile_ms(99.0));
    if p99 > rules.min_p99_ms && p99 > old_p99 * rules.max_p99_factor {
        return Some(format!("its p99 is {p99:.1} ms, against {old_p99:.1} ms before"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::{
        config,
        runtime::stats::{End, Snapshot, Stats},
    };
    use std::time::Duration;

    fn rules() -> config::Deploy {
        config::Deploy {
            max_artifact_mib: 64,
            compile_seconds: 60,
            compile_memory_mib: 1024,
            keep: 3,
            public_key: None,
            watch_seconds: 60,
            min_requests: 20,
            max_error_percent: 5.0,
            max_trap_percent: 1.0,
            max_p99_factor: 3.0,
            min_p99_ms: 50.0,
        }
    }

    fn sample(good: usize, bad: usize, end: End, ms: u64) -> Snapshot {
        let stats = Stats::default();
        for _ in 0..good {
            stats.record(End::Answer(200), Duration::from_millis(ms), Duration::ZERO);
        }
        for _ in 0..bad {
            stats.record(end, Duration::from_millis(ms), Duration::ZERO);
        }
        stats.snapshot()
    }

    #[test]
    fn one_failure_in_five_is_worse_and_says_how() {
        let before = sample(1000, 0, End::Trap, 1);
        let why = judge(&sample(80, 20, End::Answer(500), 1), &before, &rules());
        assert_eq!(why.as_deref(), Some("20.0 % of its 100 requests failed, against 0.0 % before"));
        let why = judge(&sample(80, 20, End::Trap, 1), &before, &rules());
        assert_eq!(why.as_deref(), Some("20.0 % of its 100 requests trapped, against 0.0 % before"));
    }

    #[test]
    fn too_few_requests_and_failures_of_both_say_nothing() {
        let before = sample(1000, 0, End::Trap, 1);
        assert_eq!(judge(&sample(0, 19, End::Trap, 1), &before, &rules()), None);
        let as_bad = sample(80, 20, End::Answer(503), 1);
        assert_eq!(judge(&sample(80, 20, End::Answer(503), 1), &as_bad, &rules()), None);
        assert_eq!(judge(&sample(500, 500, End::Busy, 1), &before, &rules()), None);
        assert_eq!(judge(&sample(50, 50, End::Answer(404), 1), &before, &rules()), None);
    }

    #[test]
    fn slowness_counts_only_where_it_is_slow() {
        let rules = rules();
        let before = sample(1000, 0, End::Trap, 2);
        assert_eq!(judge(&sample(300, 0, End::Trap, 40), &before, &rules), None, "under min_p99_ms");
        assert_eq!(judge(&sample(100, 0, End::Trap, 90), &before, &rules), None, "too few");
        let why = judge(&sample(300, 0, End::Trap, 90), &before, &rules).expect("it is slow");
        assert!(why.starts_with("its p99 is 9"), "{why}");
        let slow = sample(1000, 0, End::Trap, 40);
        assert_eq!(judge(&sample(300, 0, End::Trap, 90), &slow, &rules), None, "not three times");
    }
}
