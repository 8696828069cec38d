//! Two hosts, Postgres and Redis, for one schedule after the other, and what
//! can be done to them.

use super::{
    Artifacts,
    clients::{Nodes, lock},
    schedule::{Fault, NODES},
};
use crate::{
    chat::Setup,
    control::Control,
    environment::{self, Environment},
    processes::{self, Host, Postgres, Process},
};
use anyhow::{Context, Result, ensure};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::Mutex,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

/// For something that was broken to be as before.
const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Lab {
    shema: PathBuf,
    dir: PathBuf,
    components: PathBuf,
    postgres: Mutex<Option<Postgres>>,
    redis: Mutex<Option<Process>>,
    hosts: [Mutex<Option<Host>>; NODES],
    pub nodes: Arc<Nodes>,
    pub database: String,
    redis_url: String,
    /// Normal ones, and at last the one that traps.
    versions: Vec<String>,
    /// Changes of the version one after the other.
    changing: Mutex<()>,
}

impl Lab {
    pub async fn set_up(setup: &Setup<'_>, artifacts: &Artifacts, number: usize) -> Result<Arc<Lab>> {
        let dir = setup.scratch.join(format!("lab-{number}"));
        std::fs::create_dir_all(&dir)?;
        let postgres = Postgres::start(&dir).await?;
        let (redis, redis_url) = processes::start_redis(&dir).await?.context("there is no redis-server on the PATH")?;
        let mut lab = Lab {
            shema: setup.shema.to_owned(),
            components: artifacts.dir.clone(),
            database: postgres.url("bench"),
            postgres: Mutex::new(Some(postgres)),
            redis: Mutex::new(Some(redis)),
            redis_url,
            hosts: Default::default(),
            nodes: Arc::default(),
            versions: Vec::new(),
            changing: Mutex::new(()),
            dir,
        };
        for node in 0..NODES {
            lab.start(node).await?;
        }
        environment::fill(&lab.database).await?;
        let control = lab.control().await?;
        for artifact in &artifacts.versions {
            let change = control.deploy("cs", "activate=false", artifact).await?;
            lab.versions.push(change.version);
        }
        Ok(Arc::new(lab))
    }

    pub async fn tear_down(&self) {
        for host in &self.hosts {
            host.lock().await.take();
        }
        if let Some(postgres) = self.postgres.lock().await.take() {
            postgres.stop().await;
        }
    }

    async fn start(&self, node: usize) -> Result<()> {
        let environment = Environment {
            shema: &self.shema,
            components: &self.components,
            mounts: &[],
            database: &self.database,
            redis: Some(&self.redis_url),
        };
        let host = environment.start(&self.dir.join(format!("host-{node}"))).await?;
        lock(&self.nodes)[node] = Some(host.process.address);
        *self.hosts[node].lock().await = Some(host);
        Ok(())
    }

    /// Of any host that is there.
    async fn control(&self) -> Result<Control> {
        for host in &self.hosts {
            if let Some(host) = host.lock().await.as_ref() {
                return Ok(Control::of(host));
            }
        }
        anyhow::bail!("no host is there")
    }

    /// Returns what goes on in the background: that something comes back.
    pub async fn strike(self: &Arc<Self>, fault: Fault) -> Result<Option<JoinHandle<Result<()>>>> {
        let lab = Arc::clone(self);
        Ok(match fault {
            Fault::KillNode(node) => {
                let Some(host) = self.hosts[node].lock().await.take() else { return Ok(None) };
                lock(&self.nodes)[node] = None;
                host.process.kill()?;
                Some(tokio::spawn(async move { lab.start_again(node).await }))
            }
            Fault::Trap => Some(tokio::spawn(async move { lab.change(lab.versions.len() - 1).await })),
            Fault::Swap(version) => Some(tokio::spawn(async move { lab.change(version).await })),
            Fault::RestartRedis(milliseconds) => {
                let Some(redis) = self.redis.lock().await.take() else { return Ok(None) };
                redis.kill()?;
                Some(tokio::spawn(async move {
                    sleep(Duration::from_millis(milliseconds)).await;
                    let (redis, _) = processes::start_redis(&lab.dir).await?.context("no Redis")?;
                    *lab.redis.lock().await = Some(redis);
                    Ok(())
                }))
            }
            Fault::RestartPostgres => Some(tokio::spawn(async move { lab.restart_postgres().await })),
            Fault::Cut { .. } => None,
        })
    }

    /// A host that starts while Postgres is away does not start.
    async fn start_again(&self, node: usize) -> Result<()> {
        let until = Instant::now() + TIMEOUT;
        loop {
            match self.start(node).await {
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => sleep(Duration::from_millis(100)).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn restart_postgres(&self) -> Result<()> {
        let mut postgres = self.postgres.lock().await;
        let before = postgres.take().context("Postgres is there")?;
        *postgres = Some(before.crash_and_recover(&self.dir).await?);
        Ok(())
    }

    async fn change(&self, version: usize) -> Result<()> {
        let _in_turn = self.changing.lock().await;
        let until = Instant::now() + TIMEOUT;
        // A host may be killed while it is asked, and Postgres be away.
        loop {
            let changed = async { self.control().await?.activate("cs", &self.versions[version]).await };
            match timeout(Duration::from_secs(30), changed).await.context("no answer").flatten() {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Everything is there, and works.
    pub async fn heal(&self, mut background: JoinSet<Result<()>>) -> Result<()> {
        while let Some(done) = background.join_next().await {
            done??;
        }
        self.change(0).await?;
        ensure!(lock(&self.nodes).iter().all(Option::is_some), "a host has not come back");
        Ok(())
    }
}
