//! `swap`: what clients notice when versions come and go while they ask, and
//! what it costs.
//!
//! - `scenario`: a host with its artifacts, ready to be asked and changed.
//! - `traffic`: the clients, who judge every answer.
//! - `uploads`: from upload to live on a quiet host, in its parts.
//! - `rounds`: full load without swaps, with swaps, and beside compilations.
//! - `memory`: before and after a thousand swaps.
//! - `rollback`: a version that fails one request in five.
//! - `flips`: one change on three hosts.

mod flips;
mod memory;
mod rollback;
mod rounds;
mod scenario;
mod traffic;
mod uploads;

use crate::{
    median,
    processes::{self, Postgres, Scratch},
    report::Report,
};
use anyhow::Result;
use scenario::{Artifacts, Scenario};
use std::time::Duration;
use traffic::Tally;

/// What the proof has found so far.
#[derive(Default)]
struct Findings {
    report: Report,
    /// Of all parts in which no request may fail.
    seen: Tally,
    swaps: usize,
}

pub async fn run(seconds: u64, rounds: u64, seed: u64) -> Result<()> {
    let scratch = Scratch::new()?;
    let mut postgres = None;
    let work = async {
        let shema = processes::build_host()?;
        let components = processes::build_components(&shema, scratch.path(), "hello")?;
        let artifacts = Artifacts::build(&components, seed)?;
        let postgres = postgres.insert(Postgres::start(scratch.path()).await?);
        let redis = processes::start_redis(scratch.path()).await?;
        let setup = Setup {
            shema: &shema,
            components: &components,
            scratch: scratch.path(),
            postgres,
            redis: redis.as_ref().map(|(_, url)| url.as_str()),
        };
        prove(&setup, &artifacts, Duration::from_secs(seconds), rounds).await
    };
    let outcome = processes::unless_stopped(work).await;
    if let Some(postgres) = postgres {
        postgres.stop().await;
    }
    outcome?.report.print();
    Ok(())
}

/// What hosts are started on.
struct Setup<'a> {
    shema: &'a std::path::Path,
    components: &'a std::path::Path,
    scratch: &'a std::path::Path,
    postgres: &'a Postgres,
    redis: Option<&'a str>,
}

async fn prove(setup: &Setup<'_>, artifacts: &Artifacts, time: Duration, rounds: u64) -> Result<Findings> {
    let mut found = Findings::default();
    let scenario = Scenario::set(setup, artifacts).await?;

    let uploads = found.report.part("the time from upload to live", uploads::run(&scenario).await);
    let value = |read: fn(&uploads::Uploads) -> &Vec<f64>| uploads.as_ref().map(|uploads| read(uploads).clone());
    for (key, what, unit, values) in [
        ("check_ms", "upload to live: check", "ms", value(|uploads| &uploads.check_ms)),
        ("compile_ms", "upload to live: compile", "ms", value(|uploads| &uploads.compile_ms)),
        ("swap_us", "upload to live: swap", "µs", value(|uploads| &uploads.swap_us)),
        ("", "upload to live: all, as the client sees it", "ms", value(|uploads| &uploads.took_ms)),
    ] {
        if let Some(values) = &values {
            found.report.line(what, values, unit);
        }
        if !key.is_empty() {
            found.report.set(key, values.map(median));
        }
    }

    let outcome = rounds::run(&scenario, time, rounds).await;
    let compared = found.report.part("full load", outcome);
    found.report.set("p99_ratio", compared.as_ref().map(rounds::Compared::p99_ratio));
    if let Some(compared) = compared {
        compared.tell(&mut found);
    }

    let outcome = memory::run(&scenario).await;
    let memory = found.report.part("the memory of a thousand swaps", outcome);
    found.report.set("rss_growth_mib_per_1000_swaps", memory.as_ref().map(memory::Memory::growth_per_1000));
    if let Some(memory) = memory {
        memory.tell(&mut found);
    }

    let outcome = rollback::run(&scenario, rounds).await;
    let rollbacks = found.report.part("the automatic rollback", outcome);
    found.report.set("rollback_seconds", rollbacks.as_ref().map(|rollbacks| median(rollbacks.full.seconds.clone())));
    found
        .report
        .set("failed_before_rollback", rollbacks.as_ref().map(|rollbacks| median(rollbacks.full.failed.clone())));
    if let Some(rollbacks) = rollbacks {
        rollbacks.tell(&mut found);
    }

    // Three hosts need the cores for themselves.
    drop(scenario);
    let outcome = flips::run(setup, artifacts).await;
    let flips = found.report.part("the flip on three hosts", outcome);
    found.report.set("flip_skew_ms", flips.as_ref().map(|flips| median(flips.skew_ms.clone())));
    if let Some(flips) = flips {
        flips.tell(&mut found);
    }

    found.report.count("requests", found.seen.requests);
    found.report.count("failed", found.seen.failed);
    found.report.count("mixed_versions", found.seen.mixed);
    found.report.count("swaps", found.swaps);
    let counts = format!(
        "{} requests, {} failed, {} of mixed versions, over {} swaps",
        found.seen.requests, found.seen.failed, found.seen.mixed, found.swaps
    );
    found.report.table.push(counts);
    if !found.seen.samples.is_empty() {
        found.report.notes.push(format!("wrong answers, for example: {}", found.seen.samples.join("; ")));
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    found.report.notes.push(format!(
        "{rounds} rounds of {} s for each kind of load, 32 connections; clients, hosts, Postgres and {} on the same \
         {cores} cores; rate limits are off; requests of the rollback, some of which are to fail, are not in the counts",
        time.as_secs(),
        if setup.redis.is_some() { "Redis" } else { "no Redis (the store in the host stood in)" },
    ));
    Ok(found)
}
