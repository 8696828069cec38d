//! A version that fails one request in five is deployed under full load: how
//! long until the host takes it back, and how many requests it has failed.

use super::{
    Findings,
    scenario::{FIRST, Scenario},
    traffic::{Traffic, Until},
};
use crate::load;
use anyhow::{Context, Result};
use std::time::Duration;

/// Load before the deploy, so that there is something to compare with, and after
/// the rollback, so that a failure after it is seen.
const BESIDE: Duration = Duration::from_secs(1);
/// Requests that the version had taken when it was taken back may still fail.
const LAST_CALLS: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_secs(60);
const PERCENT: u32 = 20;

#[derive(Default)]
pub struct Rollback {
    /// From the event of the swap to that of the rollback.
    pub seconds: Vec<f64>,
    /// Requests that clients saw fail.
    pub failed: Vec<f64>,
    /// Of those, the ones that failed when the version had long been taken back.
    late: usize,
    requests_per_second: Vec<f64>,
    samples: Vec<String>,
}

pub struct Rollbacks {
    /// All requests went to the version.
    pub full: Rollback,
    /// Only those of a share of the clients.
    trial: Rollback,
}

pub async fn run(scenario: &Scenario<'_>, rounds: u64) -> Result<Rollbacks> {
    let mut rollbacks = Rollbacks { full: Rollback::default(), trial: Rollback::default() };
    scenario.deploy(&scenario.hello, &scenario.artifacts.hello, Some(FIRST), "").await?;
    for round in 1..=rounds {
        once(scenario, "", "swap", &mut rollbacks.full).await.context("of a live version")?;
        once(scenario, &format!("canary={PERCENT}"), "canary", &mut rollbacks.trial).await.context("of a trial")?;
        for (what, done) in [("live", &rollbacks.full), ("trial", &rollbacks.trial)] {
            let (seconds, failed) = (done.seconds.last().unwrap_or(&f64::NAN), done.failed.last().unwrap_or(&f64::NAN));
            eprintln!("rollback {round}/{rounds}  {what:5}  after {seconds:.3} s, {failed} requests failed");
        }
    }
    Ok(rollbacks)
}

async fn once(scenario: &Scenario<'_>, query: &str, kind: &str, done: &mut Rollback) -> Result<()> {
    let until = Until::after(BESIDE * 2 + TIMEOUT);
    let begun = std::time::Instant::now();
    let traffic = Traffic::start(scenario.host.process.address, &scenario.hello_lanes(), load::CONNECTIONS, &until);
    tokio::time::sleep(BESIDE).await;
    let mut events = scenario.control.events().await?;
    let artifact = scenario.artifacts.fresh(&scenario.artifacts.flaky);
    scenario.hello.add(host::runtime::version_id::VersionId::of(&artifact).as_str(), Some(FIRST));
    scenario.hello.unsettle();
    scenario.control.deploy("hello", query, &artifact).await?;
    let both = async {
        let (_, swapped) = events.next(Some("hello"), &[kind]).await?;
        let (_, back) = events.next(Some("hello"), &["rollback"]).await?;
        anyhow::Ok((swapped, back))
    };
    let (swapped, back) = tokio::time::timeout(TIMEOUT, both).await.context("it was not taken back")??;
    tokio::time::sleep(BESIDE).await;
    until.stop();
    let tally = traffic.tally().await?;
    done.seconds.push((back - swapped).as_secs_f64());
    done.failed.push(tally.failed as f64);
    done.late += tally.failures.iter().filter(|at| **at > back + LAST_CALLS).count();
    done.requests_per_second.push(tally.requests as f64 / begun.elapsed().as_secs_f64());
    done.samples.extend(tally.samples);
    Ok(())
}

impl Rollbacks {
    pub fn tell(self, found: &mut Findings) {
        for (done, what) in [(self.full, "a live version".to_owned()), (self.trial, format!("a trial of {PERCENT} %"))]
        {
            found.report.line(&format!("rollback of {what}: seconds"), &done.seconds, "s");
            found.report.line(&format!("rollback of {what}: failed requests"), &done.failed, "");
            found.report.line(&format!("rollback of {what}: load meanwhile"), &done.requests_per_second, "/s");
            if done.late > 0 {
                let example = done.samples.first().map_or("", String::as_str);
                found
                    .report
                    .notes
                    .push(format!("{} requests failed after the rollback of {what}: {example}", done.late));
            }
        }
    }
}
