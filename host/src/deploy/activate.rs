//! What a version that has passed the gate becomes: live, on trial, or taken
//! back.

use super::{
    Deployer, Error,
    commit::{Committed, Prepared},
    request::{Goal, Outcome},
    table::{Actor, Entry, Row},
};
use crate::{
    runtime::{registry::Slot, version_id::VersionId},
    telemetry::operator_events::Kind,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

impl Deployer {
    /// `version`: only if it is this one that is live or on trial.
    pub(super) async fn roll_back(
        self: &Arc<Self>,
        name: &str,
        version: Option<&VersionId>,
        actor: &Actor,
        why: &str,
    ) -> Result<Outcome, Error> {
        let known = self.row(name).ok_or_else(|| Error::component_not_found(name))?;
        let asked = |id: &Option<VersionId>| id.is_some() && (version.is_none() || id.as_ref() == version);
        let of_trial = asked(&known.canary);
        let of_deleted = known.deleted && version.is_none();
        if !(of_trial || of_deleted || asked(&known.live)) {
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
        let change = |mut row: Row| {
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
        let Committed { swap, nodes } = self.commit(&entry, Some(prepared), change).await?;
        let message = match &bad {
            Some(bad) => format!("{name}@{bad} was taken back, because {why}; {name}@{good} is live."),
            None => format!("{name}@{good} is live again, because {why}."),
        };
        let details = Map::from_iter([
            ("reason".to_owned(), Value::from(why)),
            ("from".to_owned(), json!(bad.as_ref().map(VersionId::as_str))),
            ("to".to_owned(), good.as_str().into()),
        ]);
        self.events.emit_with(Kind::Rollback, name, bad.as_ref().map(VersionId::as_str), message.clone(), details);
        Ok(Outcome { swap, nodes, message, state: "live", ..Outcome::of(&target, timing) })
    }

    /// Prepares a version everywhere and commits what it is to become.
    pub(super) async fn activate_version(
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
        let change = |mut row: Row| {
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
        let Committed { swap, nodes } = self.commit(&entry, Some(prepared), change).await?;
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
        self.events.emit_with(kind, &name, Some(id.as_str()), outcome.message.clone(), details);
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

    pub(super) fn state_of(&self, name: &str, id: &VersionId) -> Option<&'static str> {
        let row = self.row(name)?;
        if row.live.as_ref() == Some(id) {
            return Some("live");
        }
        (row.canary.as_ref() == Some(id)).then_some("canary")
    }
}
