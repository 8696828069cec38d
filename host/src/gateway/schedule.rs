//! Scheduled work: the operator's file says which route of a component is called
//! how often; exactly one host of a cluster does it.
//!
//! A run is a call like any other, with the component's limits. A task that is
//! still running when its time comes again is left to finish.

use crate::{
    capability::{
        bindings::http::{Caller, Method},
        calls::{Components, InternalCall},
    },
    config::Task,
    runtime::registry::Registry,
    services::leader::{self, Lock, within},
};
use anyhow::Result;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Looks at the connection that holds the lock at least this often.
const PING_INTERVAL: Duration = Duration::from_secs(2);

pub struct Scheduled {
    pub component: String,
    pub task: Task,
}

/// Runs until `stop`.
pub async fn run(options: PgConnectOptions, registry: Arc<Registry>, tasks: Vec<Scheduled>, stop: CancellationToken) {
    if tasks.is_empty() {
        return;
    }
    let tasks: Vec<Arc<Scheduled>> = tasks.into_iter().map(Arc::new).collect();
    let work = |connection| tick(connection, Arc::clone(&registry), tasks.clone());
    leader::lead(options, Lock::Schedule, "schedule", stop, work).await;
}

async fn tick(mut connection: PgConnection, registry: Arc<Registry>, tasks: Vec<Arc<Scheduled>>) -> Result<()> {
    // At once, because a host that is restarted often would never come to it.
    let mut due: Vec<Instant> = tasks.iter().map(|_| Instant::now()).collect();
    let mut running = vec![false; tasks.len()];
    // Dropped with the lead, which cuts off what runs and rolls it back.
    let mut runs: JoinSet<usize> = JoinSet::new();
    loop {
        within(connection.ping()).await?;
        for (index, scheduled) in tasks.iter().enumerate() {
            let (Some(due), Some(running)) = (due.get_mut(index), running.get_mut(index)) else { continue };
            if *due > Instant::now() {
                continue;
            }
            *due = Instant::now() + scheduled.task.every;
            if !std::mem::replace(running, true) {
                let (registry, scheduled) = (Arc::clone(&registry), Arc::clone(scheduled));
                runs.spawn(async move {
                    call(&registry, &scheduled).await;
                    index
                });
            }
        }
        let next = due.iter().min().copied().unwrap_or_else(Instant::now).min(Instant::now() + PING_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep_until(next) => (),
            Some(ended) = runs.join_next() => {
                if let Some(running) = ended.ok().and_then(|index| running.get_mut(index)) {
                    *running = false;
                }
            }
        }
    }
}

async fn call(registry: &Registry, scheduled: &Scheduled) {
    let (component, path) = (scheduled.component.as_str(), scheduled.task.path.as_str());
    let internal = InternalCall {
        component,
        method: Method::Post,
        path,
        query: String::new(),
        body: Vec::new(),
        caller: Caller::Service("host".into()),
        internal: true,
        request_id: Uuid::new_v4().simple().to_string(),
        depth: 0,
        deadline: None,
        read_only: false,
    };
    match registry.call(internal).await {
        Ok(answer) if (200..300).contains(&answer.status) => tracing::debug!(component, path, "scheduled work is done"),
        Ok(answer) => tracing::warn!(component, path, status = answer.status, "scheduled work failed"),
        Err(why) => tracing::warn!(component, path, "scheduled work failed: {why}"),
    }
}
