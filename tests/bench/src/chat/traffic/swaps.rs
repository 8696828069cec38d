//! Versions of the chat that take turns, beside the traffic.

use crate::{control::Control, processes};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

const VERSIONS: u64 = 3;

pub struct Swaps {
    control: Control,
    versions: Vec<String>,
    turn: usize,
    pub done: usize,
    /// From asking for a swap to its answer.
    pub took_ms: Vec<f64>,
}

impl Swaps {
    /// Uploads the versions. Each has been live once then.
    pub async fn prepare(control: Control, artifact: &[u8], seed: u64) -> Result<Swaps> {
        let mut versions = Vec::new();
        for number in 1..=VERSIONS {
            eprintln!("swaps   uploads version {number} of {VERSIONS}");
            versions.push(control.deploy("cs", "", &processes::marked(artifact, seed, number)).await?.version);
        }
        Ok(Swaps { control, versions, turn: 0, done: 0, took_ms: Vec::new() })
    }

    /// So many, spread over a time.
    pub async fn make(&mut self, number: u64, time: Duration) -> Result<()> {
        let mut ticks = interval(time.div_f64(number as f64).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..number {
            ticks.tick().await;
            let begun = Instant::now();
            let version = &self.versions[self.turn % self.versions.len()];
            self.control.activate("cs", version).await.with_context(|| format!("swap {} failed", self.done + 1))?;
            self.turn += 1;
            self.done += 1;
            self.took_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        // The last one is to be seen at work as well.
        ticks.tick().await;
        Ok(())
    }
}
