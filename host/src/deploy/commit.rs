//! How a change becomes the truth: prepared on all hosts, made by one commit,
//! followed by all of them before whoever asked for it gets an answer.

use super::{
    Deployer, Error,
    fence::FENCED_AFTER,
    table::{Change, Entry, Row, Unprepared},
};
use crate::{runtime::version_id::VersionId, telemetry::operator_events::Kind};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a change waits for the other hosts beyond the time of a compilation.
const PREPARE_GRACE: Duration = Duration::from_secs(15);
/// The others answer by notifications, one of which may be lost.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A version that all hosts have to have ready.
#[derive(Clone, Copy)]
pub struct Prepared<'a> {
    pub version: &'a VersionId,
    /// Under the grants of today. A rollback takes what is in memory: it must
    /// not fail because of what has changed since that version was live.
    pub fresh: bool,
}

/// A change that was made.
pub struct Committed {
    /// Of the pointer store alone, on this host.
    pub swap: Duration,
    /// Hosts that it waited for, this one included.
    pub nodes: usize,
}

impl Deployer {
    /// `change` says what to make of the row; None if somebody else has changed
    /// it meanwhile. It may be asked several times.
    pub(super) async fn commit(
        self: &Arc<Self>,
        entry: &Entry<'_>,
        prepared: Option<Prepared<'_>>,
        change: impl Fn(Row) -> Option<Row>,
    ) -> Result<Committed, Error> {
        let name = entry.component;
        if let Some(prepared) = prepared {
            self.table.propose(name, prepared.version, prepared.fresh).await?;
        }
        let end = Instant::now() + self.prepare_timeout();
        let (row, nodes) = loop {
            let peers_changed = self.peers_changed.notified();
            match self.table.change(name, prepared.map(|prepared| prepared.version), entry, &change).await? {
                Change::Done { row, nodes } => break (row, nodes),
                Change::Overtaken => return Err(Error::overtaken(name)),
                Change::Unprepared(nodes) => self.may_wait(entry, nodes, end)?,
            }
            let _ = tokio::time::timeout(POLL_INTERVAL, peers_changed).await;
        };
        let swap = self.apply(&row).await?.swap;
        self.settle(row.generation).await;
        Ok(Committed { swap, nodes })
    }

    /// How long a host may take to prepare a version.
    pub(super) fn prepare_timeout(&self) -> Duration {
        Duration::from_secs(self.config.deploy.compile_seconds) + PREPARE_GRACE
    }

    /// An error if it is of no use to wait for these hosts.
    fn may_wait(&self, entry: &Entry<'_>, mut nodes: Vec<Unprepared>, end: Instant) -> Result<(), Error> {
        if Instant::now() > end {
            for node in &mut nodes {
                node.problem.get_or_insert_with(|| "It did not answer in time.".to_owned());
            }
        }
        nodes.retain(|node| node.problem.is_some());
        if nodes.is_empty() {
            return Ok(());
        }
        let error = Error::not_prepared(&nodes);
        self.events.emit(Kind::Refused, entry.component, entry.version.map(VersionId::as_str), error.to_string());
        Err(error)
    }

    /// Waits until the other hosts have followed. One that cannot raises its
    /// fence, so after this none answers as it was before.
    async fn settle(&self, generation: i64) {
        let end = Instant::now() + 2 * FENCED_AFTER;
        while Instant::now() < end {
            let peers_changed = self.peers_changed.notified();
            match self.table.is_lagging(generation).await {
                Ok(true) => drop(tokio::time::timeout(POLL_INTERVAL, peers_changed).await),
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!("cannot see whether the other hosts have followed a change: {error}");
                    return;
                }
            }
        }
    }
}
