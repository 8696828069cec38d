//! `swap`: what clients notice when versions come and go while they ask, and
//! what it costs.
//!
//! - `scene`: a host with its artifacts, ready to be asked and changed.
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
mod scene;
mod traffic;
mod uploads;

use crate::{
    median,
    place::{self, Postgres, Scratch},
};
use anyhow::Result;
use scene::{Artifacts, Scene};
use serde_json::{Map, Value, json};
use std::time::Duration;
use traffic::Tally;

/// What the proof has found so far.
#[derive(Default)]
struct Report {
    result: Map<String, Value>,
    /// For people.
    table: Vec<String>,
    notes: Vec<String>,
    /// Of all parts in which no request may fail.
    seen: Tally,
    swaps: usize,
}

impl Report {
    /// The outcome of one part; its keys are null if it failed.
    fn part<T>(&mut self, what: &str, outcome: Result<T>) -> Option<T> {
        outcome.inspect_err(|error| self.notes.push(format!("{what} could not be measured: {error:#}"))).ok()
    }

    fn set(&mut self, key: &str, value: Option<f64>) {
        let value = value.filter(|value| value.is_finite());
        self.result.insert(key.into(), value.map_or(Value::Null, |value| json!((value * 1000.0).round() / 1000.0)));
    }

    fn line(&mut self, what: &str, values: &[f64], unit: &str) {
        self.table.push(format!("{what:44} {:>10.2} {unit:4} {}", median(values.to_vec()), spread(values)));
    }
}

/// `lowest … highest`.
fn spread(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    format!("{low:.2} … {high:.2}")
}

pub async fn run(seconds: u64, rounds: u64, seed: u64) -> Result<()> {
    let scratch = Scratch::new()?;
    let mut postgres = None;
    let work = async {
        let shema = place::build_host()?;
        let components = place::build_components(&shema, scratch.path(), "hello")?;
        let artifacts = Artifacts::build(&components, seed)?;
        let postgres = postgres.insert(Postgres::start(scratch.path()).await?);
        let redis = place::start_redis(scratch.path()).await?;
        let ground = Ground {
            shema: &shema,
            components: &components,
            scratch: scratch.path(),
            postgres,
            redis: redis.as_ref().map(|(_, url)| url.as_str()),
        };
        prove(&ground, &artifacts, Duration::from_secs(seconds), rounds).await
    };
    let outcome = place::unless_stopped(work).await;
    if let Some(postgres) = postgres {
        postgres.stop().await;
    }
    let mut report = outcome?;
    println!("{:44} {:>10}      lowest … highest", "", "median");
    report.table.iter().for_each(|line| println!("{line}"));
    report.result.insert("notes".into(), json!(report.notes));
    println!("{}", Value::Object(report.result));
    Ok(())
}

/// What hosts are started on.
struct Ground<'a> {
    shema: &'a std::path::Path,
    components: &'a std::path::Path,
    scratch: &'a std::path::Path,
    postgres: &'a Postgres,
    redis: Option<&'a str>,
}

async fn prove(ground: &Ground<'_>, artifacts: &Artifacts, time: Duration, rounds: u64) -> Result<Report> {
    let mut report = Report::default();
    let scene = Scene::set(ground, artifacts).await?;

    let uploads = report.part("the time from upload to live", uploads::run(&scene).await);
    let value = |read: fn(&uploads::Uploads) -> &Vec<f64>| uploads.as_ref().map(|uploads| read(uploads).clone());
    for (key, what, unit, values) in [
        ("check_ms", "upload to live: check", "ms", value(|uploads| &uploads.check_ms)),
        ("compile_ms", "upload to live: compile", "ms", value(|uploads| &uploads.compile_ms)),
        ("swap_us", "upload to live: swap", "µs", value(|uploads| &uploads.swap_us)),
        ("", "upload to live: all, as the client sees it", "ms", value(|uploads| &uploads.took_ms)),
    ] {
        if let Some(values) = &values {
            report.line(what, values, unit);
        }
        if !key.is_empty() {
            report.set(key, values.map(median));
        }
    }

    let outcome = rounds::run(&scene, time, rounds).await;
    let compared = report.part("full load", outcome);
    report.set("p99_ratio", compared.as_ref().map(rounds::Compared::p99_ratio));
    if let Some(compared) = compared {
        compared.tell(&mut report);
    }

    let outcome = memory::run(&scene).await;
    let memory = report.part("the memory of a thousand swaps", outcome);
    report.set("rss_growth_mib_per_1000_swaps", memory.as_ref().map(memory::Memory::growth_per_1000));
    if let Some(memory) = memory {
        memory.tell(&mut report);
    }

    let outcome = rollback::run(&scene, rounds).await;
    let rollbacks = report.part("the automatic rollback", outcome);
    report.set("rollback_seconds", rollbacks.as_ref().map(|rollbacks| median(rollbacks.full.seconds.clone())));
    report.set("failed_before_rollback", rollbacks.as_ref().map(|rollbacks| median(rollbacks.full.failed.clone())));
    if let Some(rollbacks) = rollbacks {
        rollbacks.tell(&mut report);
    }

    // Three hosts need the cores for themselves.
    drop(scene);
    let outcome = flips::run(ground, artifacts).await;
    let flips = report.part("the flip on three hosts", outcome);
    report.set("flip_skew_ms", flips.as_ref().map(|flips| median(flips.skew_ms.clone())));
    if let Some(flips) = flips {
        flips.tell(&mut report);
    }

    report.result.insert("requests".into(), json!(report.seen.requests));
    report.result.insert("failed".into(), json!(report.seen.failed));
    report.result.insert("mixed_versions".into(), json!(report.seen.mixed));
    report.result.insert("swaps".into(), json!(report.swaps));
    let counts = format!(
        "{} requests, {} failed, {} of mixed versions, over {} swaps",
        report.seen.requests, report.seen.failed, report.seen.mixed, report.swaps
    );
    report.table.push(counts);
    if !report.seen.samples.is_empty() {
        report.notes.push(format!("wrong answers, for example: {}", report.seen.samples.join("; ")));
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    report.notes.push(format!(
        "{rounds} rounds of {} s for each kind of load, 32 connections; clients, hosts, Postgres and {} on the same \
         {cores} cores; rate limits are off; requests of the rollback, some of which are to fail, are not in the counts",
        time.as_secs(),
        if ground.redis.is_some() { "Redis" } else { "no Redis (the store in the host stood in)" },
    ));
    Ok(report)
}
