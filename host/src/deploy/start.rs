//! What a host brings with it when it starts: everything that is live, and what
//! the directory of components holds.

use super::{Deployer, Request, table};
use crate::{
    config::Profile,
    runtime::{gate, version_id::VersionId},
    services::leader::{Lock, within},
};
use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use sqlx::{Connection, PgConnection};
use std::{collections::BTreeMap, sync::Arc};

impl Deployer {
    /// Loads everything that is live, and what the directory of components
    /// brings. What is wrong with one of them stops the start.
    pub async fn start(self: &Arc<Self>) -> Result<()> {
        for (name, component) in &self.config.components {
            let slot = self.registry.slot_or_new(name);
            self.registry.mount(&slot, &component.mounts);
        }
        // One host at a time, so that several that start together on an empty
        // database agree on what they find.
        let mut alone = within(PgConnection::connect_with(&self.options)).await?;
        sqlx::query("select pg_advisory_lock($1)").bind(Lock::Start as i64).execute(&mut alone).await?;
        let started = self.start_alone().await;
        // With the connection goes the lock.
        alone.close().await.context("cannot close a connection")?;
        started
    }

    async fn start_alone(self: &Arc<Self>) -> Result<()> {
        let rows: BTreeMap<String, table::Row> =
            self.table.rows(0).await?.into_iter().map(|row| (row.name.clone(), row)).collect();
        let seeds = self.seeds(&rows)?;
        let seeded: Vec<String> = seeds.iter().map(|(name, _)| name.clone()).collect();
        let seeding = seeds.into_iter().map(|(name, wasm)| async move {
            let deployed = self.deploy(&name, wasm, Request::seed(self.signature(&name))).await;
            let outcome = deployed.with_context(|| format!("component {name}"))?;
            let ms = (outcome.timing.check + outcome.timing.compile).as_millis();
            tracing::info!("Loaded {name}@{} in {ms} ms.", outcome.version);
            Ok::<(), anyhow::Error>(())
        });
        // Compilation uses all cores by itself; two overlap the waits between.
        stream::iter(seeding).buffer_unordered(2).try_collect::<()>().await?;
        let others = rows.into_values().filter(|row| !seeded.contains(&row.name));
        let applying = others.map(|row| async move {
            self.apply(&row).await.with_context(|| format!("component {}", row.name))?;
            Ok::<(), anyhow::Error>(())
        });
        stream::iter(applying).buffer_unordered(2).try_collect().await
    }

    /// Artifacts of the directory that are to go live: at the first start all;
    /// in development also what has been built since the last one.
    fn seeds(&self, rows: &BTreeMap<String, table::Row>) -> Result<Vec<(String, Vec<u8>)>> {
        let mut seeds = Vec::new();
        for (name, component) in &self.config.components {
            let path = self.config.components_dir.join(format!("{name}.wasm"));
            let row = rows.get(name);
            let is_new = row.is_none_or(|row| row.live.is_none() && !row.deleted);
            match std::fs::read(&path) {
                Ok(wasm) => {
                    let seeded = row.and_then(|row| row.seeded.as_ref());
                    let rebuilt = seeded != Some(&VersionId::of(&wasm));
                    if is_new || (rebuilt && self.config.profile == Profile::Development) {
                        seeds.push((name.clone(), wasm));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    if is_new {
                        let mounts = component.mounts.join(", ");
                        tracing::warn!("There is no {}: {mounts} will answer 503.", path.display());
                    }
                }
                Err(error) => bail!("cannot read {}: {error}", path.display()),
            }
        }
        Ok(seeds)
    }

    /// Beside the artifact, for a host that demands signatures.
    fn signature(&self, name: &str) -> Option<Vec<u8>> {
        let text = std::fs::read_to_string(self.config.components_dir.join(format!("{name}.wasm.sig"))).ok()?;
        gate::read_signature(&text)
    }
}
