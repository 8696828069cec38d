//! Memory before and after a thousand swaps, a fifth of them to artifacts that
//! the host has never seen, while a client asks.

use super::{
    Findings,
    scenario::{FIRST, Scenario},
    traffic::{Tally, Traffic, Until},
};
use anyhow::Result;
use std::time::{Duration, Instant};

/// One upload and four swaps back and forth.
const SWAPS_PER_UPLOAD: usize = 5;
const WARM_UP: usize = 10;
const UPLOADS: usize = 200;
/// Fewer swaps are made where this does not suffice.
const LONGEST: Duration = Duration::from_secs(240);
const SETTLING: Duration = Duration::from_secs(15);

pub struct Memory {
    swaps: usize,
    /// In MiB, before, and after each tenth of the swaps.
    resident: Vec<f64>,
    loaded_before: f64,
    loaded_after: f64,
    tally: Tally,
}

pub async fn run(scenario: &Scenario<'_>) -> Result<Memory> {
    let until = Until::after(LONGEST * 2);
    // One client: the compiler gives way to more, and this would take long.
    let traffic = Traffic::start(scenario.host.process.address, &scenario.hello_lanes(), 1, &until);
    let mut version = swap(scenario, None).await?;
    for _ in 0..WARM_UP {
        version = swap(scenario, Some(&version)).await?;
    }
    let loaded_before = settled(scenario, None).await?;
    let mut resident = vec![resident_mib(scenario).await?];
    let (begun, mut uploads) = (Instant::now(), 0);
    while uploads < UPLOADS && begun.elapsed() < LONGEST {
        version = swap(scenario, Some(&version)).await?;
        uploads += 1;
        if uploads % (UPLOADS / 10) == 0 && uploads < UPLOADS {
            resident.push(resident_mib(scenario).await?);
            eprintln!("memory  {:4} swaps  {:.1} MiB", uploads * SWAPS_PER_UPLOAD, resident[resident.len() - 1]);
        }
    }
    let loaded_after = settled(scenario, Some(loaded_before)).await?;
    resident.push(resident_mib(scenario).await?);
    until.stop();
    let tally = traffic.tally().await?;
    Ok(Memory { swaps: uploads * SWAPS_PER_UPLOAD, resident, loaded_before, loaded_after, tally })
}

/// To a new artifact, and back and forth between it and the one before.
async fn swap(scenario: &Scenario<'_>, before: Option<&str>) -> Result<String> {
    let artifact = scenario.artifacts.fresh(&scenario.artifacts.hello);
    let new = scenario.deploy(&scenario.hello, &artifact, Some(FIRST), "").await?.version;
    if let Some(before) = before {
        for turn in 1..SWAPS_PER_UPLOAD {
            scenario.activate(&scenario.hello, if turn % 2 == 1 { before } else { &new }).await?;
        }
    }
    Ok(new)
}

/// Waits until the versions that nobody needs are gone: there are `due` left, or
/// their number stays the same.
async fn settled(scenario: &Scenario<'_>, due: Option<f64>) -> Result<f64> {
    let end = Instant::now() + SETTLING;
    loop {
        let before = scenario.control.metric("shema_versions_loaded").await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let loaded = scenario.control.metric("shema_versions_loaded").await?;
        let done = due.map_or(loaded == before, |due| loaded <= due);
        if done || Instant::now() > end {
            return Ok(loaded);
        }
    }
}

async fn resident_mib(scenario: &Scenario<'_>) -> Result<f64> {
    Ok(scenario.control.metric("process_resident_memory_bytes").await? / f64::from(1 << 20))
}

impl Memory {
    pub fn growth_per_1000(&self) -> f64 {
        let first = self.resident.first().copied().unwrap_or(f64::NAN);
        let last = self.resident.last().copied().unwrap_or(f64::NAN);
        (last - first) * 1000.0 / self.swaps as f64
    }

    pub fn tell(self, found: &mut Findings) {
        found.report.line("resident memory over the swaps", &self.resident, "MiB");
        let grown: Vec<String> = self.resident.iter().map(|mib| format!("{mib:.1}")).collect();
        found.report.notes.push(format!(
            "memory over {} swaps, {} of them to new artifacts: {} MiB; versions loaded: {} before, {} after",
            self.swaps,
            self.swaps / SWAPS_PER_UPLOAD,
            grown.join(", "),
            self.loaded_before,
            self.loaded_after
        ));
        found.seen.merge(self.tally.counts());
        found.swaps += self.swaps;
    }
}
