//! Getting a version into memory: through the gate when it is new, from the
//! database when another host has let it in.

use super::{
    Deployer, Error, Request,
    component_config::Configured,
    table::{Actor, Entry, NewArtifact},
};
use crate::{
    runtime::{
        Version,
        gate::{self, Timing},
        version_id::{self, VersionId},
    },
    telemetry::operator_events::Kind,
};
use serde_json::Map;
use std::sync::{Arc, PoisonError};

impl Deployer {
    /// Lets a version in that is new here, or finds it where it is known.
    pub(super) async fn admit(
        self: &Arc<Self>,
        name: &str,
        wasm: &[u8],
        id: &VersionId,
        config: &Configured,
        request: &Request,
    ) -> Result<(Arc<Version>, Timing, bool), Error> {
        if let Some(key) = &self.loader.public_key {
            gate::check_signature(wasm, request.signature.as_deref(), key)?;
        }
        let existed = self.table.artifacts(Some(name)).await?;
        let existed = existed.iter().any(|artifact| artifact.version == *id && artifact.was_admitted());
        let slot = self.registry.slot(name);
        let loaded = slot.as_ref().and_then(|slot| slot.loaded().get(id));
        if let Some(version) = loaded.filter(|version| existed && version.config == config.fingerprint) {
            return Ok((version, Timing::default(), true));
        }
        let _checking = self.checking(name, id);
        let (version, timing) = self.loader.load(name, wasm, &config.component, &config.fingerprint).await?;
        let version = Arc::new(version);
        if !existed || !request.mounts.is_empty() {
            let digest = version_id::digest(wasm);
            let artifact = NewArtifact {
                component: name,
                version: id,
                digest: &digest,
                wasm,
                signature: request.signature.as_deref(),
                mounts: config.recorded_mounts.as_deref(),
                compile_ms: timing.compile.as_secs_f64() * 1000.0,
                actor: &request.actor.name,
                refusal: None,
            };
            let entry = Entry {
                action: "deploy",
                component: name,
                version: Some(id),
                digest: Some(&digest),
                actor: &request.actor,
                detail: None,
            };
            self.table.add(&artifact, &entry).await?;
        }
        self.keep_loaded(&self.registry.slot_or_new(name), &version);
        Ok((version, timing, existed))
    }

    pub(super) async fn refuse(
        &self,
        name: &str,
        wasm: &[u8],
        id: &VersionId,
        actor: &Actor,
        rejection: gate::Rejection,
    ) -> Error {
        let digest = version_id::digest(wasm);
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
        self.events.emit_with(Kind::Refused, name, Some(id.as_str()), message, details);
        Error::Gate(gate::Error::Rejected(rejection))
    }

    /// A version that passed the gate, whether or not it is live.
    pub async fn version(&self, name: &str, id: &VersionId) -> Result<Arc<Version>, Error> {
        Ok(self.ensure(name, id).await?.0)
    }

    /// The version in memory, loaded from the database if need be.
    pub(super) async fn ensure(&self, name: &str, id: &VersionId) -> Result<(Arc<Version>, Timing), Error> {
        let slot = self.registry.slot_or_new(name);
        if let Some(version) = slot.loaded().get(id) {
            return Ok((version, Timing::default()));
        }
        self.reload_with_current_grants(name, id).await
    }

    /// The same, but under the grants of today.
    pub(super) async fn reload_with_current_grants(
        &self,
        name: &str,
        id: &VersionId,
    ) -> Result<(Arc<Version>, Timing), Error> {
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
        if let Some(key) = &self.loader.public_key {
            gate::check_signature(&wasm, signature.as_deref(), key)?;
        }
        let (version, timing) = self.loader.load(name, &wasm, &config.component, &config.fingerprint).await?;
        let version = Arc::new(version);
        self.keep_loaded(&slot, &version);
        Ok((version, timing))
    }

    pub(super) fn checking(self: &Arc<Self>, name: &str, id: &VersionId) -> Checking {
        let mut checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        checking.entry(name.to_owned()).or_default().insert(id.clone());
        Checking { deployer: Arc::clone(self), name: name.to_owned(), id: id.clone() }
    }

    /// Versions of a component that are at the gate.
    pub fn being_checked(&self, name: &str) -> Vec<VersionId> {
        let checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        checking.get(name).into_iter().flatten().cloned().collect()
    }
}

/// Shows that a version is at the gate, until it is dropped.
pub(super) struct Checking {
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
