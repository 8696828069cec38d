//! `chat`: whether a chat survives everything, and what its sockets cost.
//!
//! - `schedules`: faults drawn from a seed, and a checker of what clients saw.
//! - `crowd`: many sockets that are idle, and all of them coming back at once.
//! - `traffic`: messages from guests to admins beside a crowd, without and with
//!   swaps.
//! - `guest`, `socket`: a client of the chat.

mod crowd;
mod guest;
mod schedules;
mod socket;
mod traffic;

use crate::{
    processes::{self, Scratch},
    report::Report,
};
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::time::Duration;

#[derive(Args)]
pub struct Plan {
    /// Schedules of faults; each has a seed of its own, counted on from --seed.
    #[arg(long, default_value_t = 1_000)]
    schedules: u64,
    /// Sockets that are open at a time.
    #[arg(long, default_value_t = 15_000)]
    sockets: usize,
    /// Only this part of the proof.
    #[arg(long)]
    only: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    Schedules,
    Crowd,
    Traffic,
}

/// What hosts are started on.
struct Setup<'a> {
    shema: &'a std::path::Path,
    components: &'a std::path::Path,
    scratch: &'a std::path::Path,
    seed: u64,
}

pub async fn run(plan: &Plan, seconds: u64, rounds: u64, seed: u64) -> Result<()> {
    let scratch = Scratch::new()?;
    let work = async {
        let shema = processes::build_host()?;
        let components = processes::build_components(&shema, scratch.path(), "hello")?;
        let setup = Setup { shema: &shema, components: &components, scratch: scratch.path(), seed };
        prove(&setup, plan, Duration::from_secs(seconds), rounds).await
    };
    let report = processes::unless_stopped(work).await?;
    report.print();
    Ok(())
}

/// Of the result, beside the notes.
const KEYS: [&str; 11] = [
    "schedules",
    "violations",
    "sockets",
    "bytes_per_socket",
    "cpu_us_per_socket_second",
    "resume_all_seconds",
    "durable_per_second",
    "durable_p99_ms",
    "swaps",
    "disconnects",
    "lost",
];

/// What may not happen, with many sockets and in the traffic.
#[derive(Clone, Copy)]
struct Counts {
    /// Sockets that ended although nobody wanted it.
    disconnects: u64,
    /// Messages that somebody did not get once and in order.
    lost: u64,
}

async fn prove(setup: &Setup<'_>, plan: &Plan, time: Duration, rounds: u64) -> Result<Report> {
    let mut report = Report::default();
    KEYS.iter().for_each(|key| report.set(key, None));
    if let Some(only) = plan.only.and_then(|only| only.to_possible_value()) {
        report.notes.push(format!("only {} was asked for; what is of other parts is null", only.get_name()));
    }
    let wants = |part| plan.only.is_none_or(|only| only == part);
    if wants(Part::Schedules) {
        let outcome = schedules::run(setup, plan.schedules).await;
        if let Some(outcome) = report.part("what faults do", outcome) {
            outcome.tell(&mut report);
        }
    }
    let mut counts = Vec::new();
    if wants(Part::Crowd) {
        counts.extend(crowd::run(setup, plan.sockets, rounds, &mut report).await);
    }
    if wants(Part::Traffic) {
        counts.extend(traffic::run(setup, plan.sockets, time, rounds, &mut report).await);
    }
    let sum = |read: fn(&Counts) -> u64| (!counts.is_empty()).then(|| counts.iter().map(read).sum::<u64>());
    report.count("disconnects", sum(|counts| counts.disconnects));
    report.count("lost", sum(|counts| counts.lost));
    Ok(report)
}
