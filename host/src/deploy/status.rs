//! What operators ask about; nothing here changes anything.

use super::{Artifact, Deployer, Node};
use crate::config;
use serde_json::json;
use sqlx::Row;
use std::{sync::PoisonError, time::Duration};

/// An operator looks above all when the database is away.
const TIMEOUT: Duration = Duration::from_secs(3);

impl Deployer {
    /// All artifacts, the newest first; as they were known last when the
    /// database does not answer.
    pub async fn artifacts(&self) -> Vec<Artifact> {
        let read = tokio::time::timeout(TIMEOUT, self.table.artifacts(None)).await;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Ok(artifacts)) = read {
            *seen = artifacts;
        }
        seen.clone()
    }

    /// The hosts of the cluster; this one alone, as it was seen last, when the
    /// database does not answer.
    pub async fn nodes(&self) -> Vec<Node> {
        let read = tokio::time::timeout(TIMEOUT, self.table.nodes()).await;
        if let Ok(Ok(nodes)) = read {
            return nodes;
        }
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner).clone();
        vec![Node {
            id: self.table.node,
            public: address.public,
            control: address.control,
            started_at: self.started_at,
            seen_at: self.peers.lock().unwrap_or_else(PoisonError::into_inner).at,
            ready: true,
            fenced: self.fence.is_fenced(),
            versions: json!(self.live_versions()),
        }]
    }

    /// What host.toml said of a component at the start.
    pub fn configured(&self, name: &str) -> Option<config::Component> {
        self.config.components.get(name).cloned()
    }

    /// What counts for a component that host.toml does not name.
    pub fn unnamed(&self) -> config::Component {
        config::Component::unnamed(self.config.default_limits.clone())
    }

    /// Events that Redis has not taken yet, and the age of the oldest in
    /// seconds; None if the database does not answer.
    pub async fn outbox(&self) -> Option<(i64, f64)> {
        let read = async {
            let mut lease = self.table.pool.get().await.ok()?;
            let select = "select count(*), coalesce(extract(epoch from now() - min(created_at)), 0)::float8
                          from public.outbox where published_at is null";
            let row = sqlx::query(select).fetch_one(lease.connection()).await.ok()?;
            lease.give_back();
            Some((row.try_get(0).ok()?, row.try_get(1).ok()?))
        };
        tokio::time::timeout(TIMEOUT, read).await.ok().flatten()
    }
}
