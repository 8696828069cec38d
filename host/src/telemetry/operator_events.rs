//! What operators want to hear at once: deploys, swaps, traps, rollbacks.
//!
//! Each is a line of the log as well. The last ones are kept, so that whoever
//! comes back after a pause misses nothing.

use crate::runtime::version_id::VersionId;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::broadcast;

/// How many are kept, and how far a slow listener may fall behind.
const KEPT: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Deploy,
    Refused,
    Swap,
    Canary,
    Shadow,
    Trap,
    Rollback,
    Drain,
    Delete,
    Node,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Deploy => "deploy",
            Kind::Refused => "refused",
            Kind::Swap => "swap",
            Kind::Canary => "canary",
            Kind::Shadow => "shadow",
            Kind::Trap => "trap",
            Kind::Rollback => "rollback",
            Kind::Drain => "drain",
            Kind::Delete => "delete",
            Kind::Node => "node",
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Notice {
    /// Rises by one with each notice of this process.
    pub id: u64,
    pub at: String,
    pub kind: Kind,
    pub component: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The host that tells it.
    pub node: String,
    /// One sentence, which says why where there is a why.
    pub message: String,
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

pub struct Notices {
    node: String,
    next: AtomicU64,
    kept: Mutex<VecDeque<Arc<Notice>>>,
    listeners: broadcast::Sender<Arc<Notice>>,
}

impl Notices {
    pub fn new(node: &str) -> Notices {
        Notices {
            node: node.to_owned(),
            next: AtomicU64::new(1),
            kept: Mutex::default(),
            listeners: broadcast::Sender::new(KEPT),
        }
    }

    pub fn tell(&self, kind: Kind, component: &str, version: Option<&VersionId>, message: String) {
        self.tell_with(kind, component, version, message, Map::new());
    }

    /// `details`: further members of the notice.
    pub fn tell_with(
        &self,
        kind: Kind,
        component: &str,
        version: Option<&VersionId>,
        message: String,
        details: Map<String, Value>,
    ) {
        let version = version.map(VersionId::to_string);
        match kind {
            // The call that trapped has its own line, with the guest's words.
            Kind::Trap => (),
            Kind::Rollback | Kind::Refused | Kind::Node => {
                tracing::warn!(component, version, kind = kind.name(), "{message}");
            }
            _ => tracing::info!(component, version, kind = kind.name(), "{message}"),
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let notice = Arc::new(Notice {
            // Under the lock, so that the order of the ids is that of the list.
            id: self.next.fetch_add(1, Relaxed),
            at: crate::gateway::http::now(),
            kind,
            component: component.to_owned(),
            version,
            node: self.node.clone(),
            message,
            details,
        });
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&notice));
        // Nobody may be listening.
        let _ = self.listeners.send(notice);
    }

    /// The kept notices after `last`, and a receiver of all that follow.
    pub fn listen(&self, last: u64) -> (Vec<Arc<Notice>>, broadcast::Receiver<Arc<Notice>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = kept.iter().filter(|notice| notice.id > last).cloned().collect();
        (missed, self.listeners.subscribe())
    }
}
