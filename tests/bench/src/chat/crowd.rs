//! Many sockets that are idle: what each costs the host, and all of them coming
//! back at once.
//!
//! - `base`: what hosts are started on.
//! - `clients`: the guests on their sockets.
//! - `desk`: an admin.
//! - `cost`: memory and time, as the kernel tells.
//! - `steps`: memory while the crowd grows.
//! - `resume`: cut off, and back.

mod base;
mod clients;
mod cost;
mod desk;
mod resume;
mod steps;

pub use base::Base;
pub use clients::{Clients, Ended, Seat, Way};
pub use desk::{Desk, Seen};

use super::{Counts, Setup};
use crate::{
    median,
    processes::{self, Host},
    report::Report,
};
use anyhow::Result;
use resume::{JITTER, Resume};
use std::{sync::Arc, time::Duration};
use steps::Steps;
use tokio::time::sleep;

/// Hosts that the crowd grows on: an allocator gives nothing back, so only a new
/// process shows again what sockets need.
const HOSTS: u64 = 2;
const RESUMES: u64 = 3;
/// Two heartbeats, and a little.
const QUIET: Duration = Duration::from_secs(61);
const ADMINS: usize = 3;
/// Files that a process needs beside its sockets.
const OTHER_FILES: u64 = 500;

/// What has been found so far.
#[derive(Default)]
struct Found {
    steps: Vec<Steps>,
    cpu: Option<Quiet>,
    resumes: Vec<Resume>,
    disconnects: u64,
    ended: String,
    redis: &'static str,
}

/// What a host without anything to do computes, in seconds per second.
struct Quiet {
    alone: f64,
    with_sockets: f64,
    sockets: usize,
}

impl Quiet {
    fn micros_per_socket_second(&self) -> f64 {
        (self.with_sockets - self.alone) * 1e6 / self.sockets as f64
    }
}

/// None: no socket was open.
pub async fn run(setup: &Setup<'_>, sockets: usize, rounds: u64, report: &mut Report) -> Option<Counts> {
    let mut found = Found::default();
    let outcome = work(setup, sockets, rounds, &mut found).await;
    report.part("all of the crowd", outcome);
    found.tell(report);
    let lost = found.resumes.iter().map(|resume| resume.lost + resume.wrong).sum();
    (!found.steps.is_empty()).then_some(Counts { disconnects: found.disconnects, lost })
}

async fn work(setup: &Setup<'_>, sockets: usize, rounds: u64, found: &mut Found) -> Result<()> {
    let files = processes::open_many_files()?;
    anyhow::ensure!(
        sockets as u64 + OTHER_FILES <= files,
        "{sockets} sockets were asked for, and a process may open {files} files"
    );
    let base = Base::start(setup, "crowd").await?;
    let outcome = grow(&base, sockets, rounds, found).await;
    base.stop().await;
    outcome
}

async fn grow(base: &Base<'_>, sockets: usize, rounds: u64, found: &mut Found) -> Result<()> {
    found.redis = base.redis_in_words();
    // All from the beginning, so that the rows are the same at each step.
    let seats = base.seats(sockets).await?;
    let last = rounds.clamp(1, HOSTS);
    for number in 1..=last {
        let host = base.host().await?;
        let mut clients = Clients::of(host.process.address);
        let outcome = measure_host(&host, &mut clients, &seats, (number, last, rounds), found).await;
        found.disconnects += clients.ended.count();
        found.ended += &clients.ended.in_words();
        outcome?;
    }
    Ok(())
}

/// One host, from its start to its end; the last one is also looked at while it
/// is quiet, and when all come back.
async fn measure_host(
    host: &Host,
    clients: &mut Clients,
    seats: &[Arc<Seat>],
    (number, last, rounds): (u64, u64, u64),
    found: &mut Found,
) -> Result<()> {
    let address = host.process.address;
    let alone = if number == last { Some(load(host, "no sockets").await?) } else { None };
    let steps = steps::grow_in_steps(host, clients, seats, &format!("host {number}/{last}")).await?;
    found.steps.push(steps);
    let Some(alone) = alone else { return Ok(()) };
    // Not before: their greeting names all chats, and what it took for a moment
    // would hold the sockets that come after.
    let mut admins = Vec::new();
    for _ in 0..ADMINS {
        admins.push(Desk::open(address, &clients.ended).await?);
    }
    let with_sockets = load(host, "all sockets").await?;
    found.cpu = Some(Quiet { alone, with_sockets, sockets: seats.len() });
    for round in 1..=rounds.min(RESUMES) {
        let resume = resume::resume(address, clients, seats).await?;
        eprintln!(
            "resume {round}  all are back after {:.1} s, half after {:.1} s",
            resume.seconds, resume.half_seconds
        );
        found.resumes.push(resume);
    }
    Ok(())
}

/// Seconds that a quiet host computes in a second.
async fn load(host: &Host, name: &str) -> Result<f64> {
    eprintln!("quiet   {name}, for {} s", QUIET.as_secs());
    let (begun, before) = (std::time::Instant::now(), cost::cpu(host.process.id())?);
    sleep(QUIET).await;
    let used = cost::cpu(host.process.id())? - before;
    Ok(used.as_secs_f64() / begun.elapsed().as_secs_f64())
}

impl Found {
    fn tell(&self, report: &mut Report) {
        let open = self.steps.iter().filter_map(|steps| steps.points.last()).map(|point| point.0).fold(0.0, f64::max);
        if open > 0.0 {
            report.count("sockets", open as u64);
        }
        self.tell_memory(report);
        self.tell_cpu(report);
        self.tell_resumes(report);
        if self.disconnects > 0 {
            report.notes.push(format!("of the crowd {} sockets ended: {}", self.disconnects, self.ended));
        }
    }

    fn tell_memory(&self, report: &mut Report) {
        let slopes: Vec<f64> = self.steps.iter().map(Steps::bytes_per_socket).collect();
        report.set("bytes_per_socket", (!slopes.is_empty()).then(|| median(slopes.clone())));
        let Some(steps) = self.steps.last() else { return };
        report.line("memory of the host per socket", &slopes, "B");
        let kib = |bytes: f64| bytes / 1024.0;
        report.notes.push(format!(
            "bytes_per_socket is the slope of the host's resident memory over steps of sockets, each of a guest with a \
             chat of their own, on {} new processes; MiB by sockets in the last: {}; not in it is what the kernel \
             holds: {:.1} KiB of buffers and {:.1} KiB of objects per connection, both ends of it together",
            self.steps.len(),
            steps.in_words(),
            kib(steps.kernel.buffers),
            kib(steps.kernel.objects)
        ));
    }

    fn tell_cpu(&self, report: &mut Report) {
        let micros = self.cpu.as_ref().map(Quiet::micros_per_socket_second);
        report.set("cpu_us_per_socket_second", micros);
        let (Some(quiet), Some(micros)) = (&self.cpu, micros) else { return };
        report.line("time of the host per socket and second", &[micros], "µs");
        report.notes.push(format!(
            "cpu_us_per_socket_second, measured once: user and system time over {} s in which nothing happens but pings every 30 s \
             and their answers, {:.2} % of one core with {} sockets and {ADMINS} admins, {:.2} % without; {} and \
             Postgres are other processes",
            QUIET.as_secs(),
            quiet.with_sockets * 100.0,
            quiet.sockets,
            quiet.alone * 100.0,
            self.redis,
        ));
    }

    fn tell_resumes(&self, report: &mut Report) {
        let all: Vec<f64> = self.resumes.iter().map(|resume| resume.seconds).collect();
        report.set("resume_all_seconds", (!all.is_empty()).then(|| median(all.clone())));
        if all.is_empty() {
            return;
        }
        let half: Vec<f64> = self.resumes.iter().map(|resume| resume.half_seconds).collect();
        report.line("all come back: the last one is there", &all, "s");
        report.line("all come back: half of them are there", &half, "s");
        let sum = |read: fn(&Resume) -> u64| self.resumes.iter().map(read).sum::<u64>();
        report.notes.push(format!(
            "resume_all_seconds: all connections are dropped, one message is stored in each chat over HTTP, and all \
             connect again with after_seq, each at a moment drawn from the first {JITTER:?}, without any other bound; \
             until the last one has its greeting and its message; requests to store that came to a busy host: {}, \
             connections tried again: {}, messages lost: {}, twice or out of order: {}",
            sum(|resume| resume.busy),
            sum(|resume| resume.again),
            sum(|resume| resume.lost),
            sum(|resume| resume.wrong)
        ));
    }
}
