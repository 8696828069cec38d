//! Three hosts that share a database: how far apart in time they begin to serve
//! a version that went live on one of them.

use super::{
    Findings, Setup,
    scenario::{Artifacts, FIRST, SECOND},
    traffic::{self, Expected, Lane, Tally, Until},
};
use crate::{control::Control, environment::Environment, load::Request, processes::Host};
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinSet};

const HOSTS: usize = 3;
const FLIPS: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(120);

pub struct Flips {
    /// Between the first and the last host to answer by the new version.
    pub skew_ms: Vec<f64>,
    /// From asking for the flip to its answer.
    took_ms: Vec<f64>,
    tally: Tally,
}

/// A host has begun to answer by a version.
struct Sighting {
    host: usize,
    version: String,
    at: Instant,
}

pub async fn run(setup: &Setup<'_>, artifacts: &Artifacts) -> Result<Flips> {
    // Nothing but `hello`, so that three hosts start in little time.
    let components = setup.scratch.join("cluster-components");
    std::fs::create_dir_all(&components)?;
    std::fs::write(components.join("hello.wasm"), &artifacts.hello)?;
    setup.postgres.create("cluster").await?;
    let database = setup.postgres.url("cluster");
    let environment = Environment {
        shema: setup.shema,
        components: &components,
        mounts: &[("hello", "/hello")],
        database: &database,
        redis: setup.redis,
    };
    let mut hosts = Vec::new();
    for number in 1..=HOSTS {
        hosts.push(environment.start(&setup.scratch.join(format!("host-{number}"))).await?);
    }
    let expected = Expected::new("hello");
    let control = Control::of(&hosts[0]);
    let first = control.deploy("hello", "", &artifacts.hello).await?.version;
    expected.add(&first, Some(FIRST));
    expected.add(host::runtime::version_id::VersionId::of(&artifacts.second).as_str(), Some(SECOND));
    let second = control.deploy("hello", "", &artifacts.second).await?.version;

    let until = Until::after(LONGEST);
    let (pollers, sightings) = poll(&hosts, &expected, &until);
    let outcome = flip(&control, &[first, second], sightings).await;
    until.stop();
    let mut flips = outcome?;
    for tally in pollers.join_all().await {
        flips.tally.merge(tally?);
    }
    Ok(flips)
}

fn poll(
    hosts: &[Host],
    expected: &Arc<Expected>,
    until: &Until,
) -> (JoinSet<Result<Tally>>, mpsc::UnboundedReceiver<Sighting>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut pollers = JoinSet::new();
    for (host, process) in hosts.iter().map(|host| &host.process).enumerate() {
        let lane = Lane { name: "GET /hello", request: Request::get("/hello"), expected: Arc::clone(expected) };
        let sender = sender.clone();
        let see = move |version, at| {
            // Nobody listens any more when the last flip is through.
            let _ = sender.send(Sighting { host, version, at });
        };
        pollers.spawn(traffic::poll(process.address, Arc::new(lane), until.clone(), see));
    }
    (pollers, receiver)
}

/// Changes to the one and the other version in turn, beginning with the first.
async fn flip(
    control: &Control,
    versions: &[String; 2],
    mut sightings: mpsc::UnboundedReceiver<Sighting>,
) -> Result<Flips> {
    let mut flips = Flips { skew_ms: Vec::new(), took_ms: Vec::new(), tally: Tally::default() };
    // What is live when the polling begins.
    all_see(&versions[1], &mut sightings).await?;
    for number in 1..=FLIPS {
        let version = &versions[(number + 1) % 2];
        let change = control.activate("hello", version).await?;
        let seen = all_see(version, &mut sightings).await?;
        let (first, last) = (seen.values().min().context("a host")?, seen.values().max().context("a host")?);
        flips.skew_ms.push((*last - *first).as_secs_f64() * 1e3);
        flips.took_ms.push(change.took.as_secs_f64() * 1e3);
    }
    eprintln!("flips  {FLIPS} on {HOSTS} hosts");
    Ok(flips)
}

/// When each host began to answer by a version.
async fn all_see(version: &str, sightings: &mut mpsc::UnboundedReceiver<Sighting>) -> Result<BTreeMap<usize, Instant>> {
    let mut seen = BTreeMap::new();
    let all = async {
        while seen.len() < HOSTS {
            let sighting = sightings.recv().await.context("the hosts are no longer asked")?;
            if sighting.version == version {
                seen.insert(sighting.host, sighting.at);
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(TIMEOUT, all).await.with_context(|| format!("not all hosts serve {version}"))??;
    Ok(seen)
}

impl Flips {
    pub fn tell(self, found: &mut Findings) {
        found.report.line("flip on three hosts: last after first", &self.skew_ms, "ms");
        found.report.line("flip on three hosts: request to answer", &self.took_ms, "ms");
        found.seen.merge(self.tally.counts());
        found.swaps += self.skew_ms.len();
    }
}
