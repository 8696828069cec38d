//! What is asked for, and how it has gone.

use super::table::Actor;
use crate::runtime::{Version, gate::Timing, version_id::VersionId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a deploy asks for.
#[derive(Clone, Debug)]
pub struct Request {
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

impl Request {
    /// Of the directory of components.
    pub(super) fn seed(signature: Option<Vec<u8>>) -> Request {
        let actor = Actor { name: "start".to_owned(), origin: "the directory of components".to_owned() };
        Request { activate: true, canary: 0, shadow: false, mounts: Vec::new(), signature, actor, seed: true }
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

/// The same as the control API answers it and the commands read it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Change {
    pub component: String,
    pub version: String,
    pub state: String,
    pub check_ms: f64,
    pub compile_ms: f64,
    pub swap_us: f64,
    pub unchanged: bool,
    pub message: String,
    pub capabilities: Difference,
    pub routes: Difference,
    pub nodes: usize,
}

impl From<Outcome> for Change {
    fn from(outcome: Outcome) -> Change {
        Change {
            component: outcome.component,
            version: outcome.version.to_string(),
            state: outcome.state.to_owned(),
            check_ms: millis(outcome.timing.check),
            compile_ms: millis(outcome.timing.compile),
            swap_us: rounded(outcome.swap.as_secs_f64() * 1e6),
            unchanged: outcome.unchanged,
            message: outcome.message,
            capabilities: outcome.capabilities,
            routes: outcome.routes,
            nodes: outcome.nodes,
        }
    }
}

/// Against the version that was live before.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Difference {
    pub added: Vec<String>,
    pub removed: Vec<String>,
}

impl Difference {
    pub(super) fn between(old: &[String], new: &[String]) -> Difference {
        let without = |from: &[String], what: &[String]| from.iter().filter(|x| !what.contains(x)).cloned().collect();
        Difference { added: without(new, old), removed: without(old, new) }
    }
}

/// What a version is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Live,
    Trial { weight: u8, shadow: bool },
}

impl Outcome {
    pub(super) fn of(version: &Version, timing: Timing) -> Outcome {
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

pub fn millis(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e3)
}

/// To three decimals.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
