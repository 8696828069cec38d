//! Operator events: deploys, swaps, traps, rollbacks, as `GET /v1/events` sends
//! them.
//!
//! Each is a line of the log as well. The last ones are kept, so that whoever
//! comes back after a pause misses nothing.

use super::timestamp;
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
const CAPACITY: usize = 512;

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
pub struct OperatorEvent {
    /// Rises by one with each event of this process.
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

pub struct OperatorEvents {
    node: String,
    next: AtomicU64,
    kept: Mutex<VecDeque<Arc<OperatorEvent>>>,
    listeners: broadcast::Sender<Arc<OperatorEvent>>,
}

impl OperatorEvents {
    pub fn new(node: &str) -> OperatorEvents {
        OperatorEvents {
            node: node.to_owned(),
            next: AtomicU64::new(1),
            kept: Mutex::default(),
            listeners: broadcast::Sender::new(CAPACITY),
        }
    }

    pub fn emit(&self, kind: Kind, component: &str, version: Option<&str>, message: String) {
        self.emit_with(kind, component, version, message, Map::new());
    }

    /// `details`: further members of the event.
    pub fn emit_with(
        &self,
        kind: Kind,
        component: &str,
        version: Option<&str>,
        message: String,
        details: Map<String, Value>,
    ) {
        let version = version.map(str::to_owned);
        match kind {
            // The call that trapped has its own line, with the guest's words.
            Kind::Trap => (),
            Kind::Rollback | Kind::Refused | Kind::Node => {
                tracing::warn!(component, version, kind = kind.name(), "{message}");
            }
            _ => tracing::info!(component, version, kind = kind.name(), "{message}"),
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Arc::new(OperatorEvent {
            // Under the lock, so that the order of the ids is that of the list.
            id: self.next.fetch_add(1, Relaxed),
            at: timestamp(),
            kind,
            component: component.to_owned(),
            version,
            node: self.node.clone(),
            message,
            details,
        });
        if kept.len() == CAPACITY {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&event));
        // Nobody may be listening.
        let _ = self.listeners.send(event);
    }

    /// The kept events after `last`, and a receiver of all that follow.
    pub fn listen(&self, last: u64) -> (Vec<Arc<OperatorEvent>>, broadcast::Receiver<Arc<OperatorEvent>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = kept.iter().filter(|event| event.id > last).cloned().collect();
        (missed, self.listeners.subscribe())
    }
}
