//! Messages from guests to an admin beside a crowd that is idle: how many are
//! stored, how long each takes, and whether swaps of the component are noticed.
//!
//! - `senders`: the guests who send.
//! - `swaps`: the versions that take turns.
//! - `verdict`: what the admin saw beside what was sent.

mod senders;
mod swaps;
mod verdict;

use super::{
    Counts, Setup,
    crowd::{Base, Clients, Desk, Way},
    guest::Guest,
};
use crate::{
    control::Control,
    load, median,
    processes::{self, Host},
    report::Report,
};
use anyhow::{Context, Result, ensure};
use senders::{Pace, Senders};
use std::time::{Duration, Instant};
use swaps::Swaps;
use verdict::{Verdict, judge};

/// Sockets that are idle beside.
const BESIDE: usize = 10_000;
const SENDERS: usize = 32;
/// In all rounds together.
const SWAPS: u64 = 100;
const WARM_UP: Duration = Duration::from_secs(2);
/// Of what is stored at full load: where latency is looked at.
const PACED: f64 = 0.5;
/// For the admin to see what is acknowledged.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What one measurement has shown.
struct Measured {
    verdict: Verdict,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// In turns.
struct Round {
    full: Measured,
    paced: Measured,
    swapping: Measured,
}

#[derive(Default)]
struct Found {
    beside: usize,
    open: u64,
    rounds: Vec<Round>,
    swaps: usize,
    swap_ms: Vec<f64>,
    disconnects: u64,
    ended: String,
    redis: &'static str,
}

struct Scenario<'a> {
    host: &'a Host,
    guests: Vec<Guest>,
    beside: &'a Clients,
}

/// None: no round came to its end.
pub async fn run(
    setup: &Setup<'_>,
    sockets: usize,
    time: Duration,
    rounds: u64,
    report: &mut Report,
) -> Option<Counts> {
    let mut found = Found::default();
    let outcome = work(setup, sockets.min(BESIDE), time, rounds, &mut found).await;
    report.part("all of the traffic", outcome);
    found.tell(report, time);
    let lost = found.measured().map(|measured| measured.verdict.lost()).sum();
    (!found.rounds.is_empty()).then_some(Counts { disconnects: found.disconnects, lost })
}

async fn work(setup: &Setup<'_>, beside: usize, time: Duration, rounds: u64, found: &mut Found) -> Result<()> {
    processes::open_many_files()?;
    let base = Base::start(setup, "traffic").await?;
    let outcome = sit(&base, setup.seed, beside, time, rounds, found).await;
    base.stop().await;
    outcome
}

async fn sit(base: &Base<'_>, seed: u64, beside: usize, time: Duration, rounds: u64, found: &mut Found) -> Result<()> {
    found.redis = base.redis_in_words();
    let seats = base.seats(beside).await?;
    let host = base.host().await?;
    let mut clients = Clients::of(host.process.address);
    clients.open(&seats, Way::InTurn).await?;
    found.beside = beside;
    eprintln!("traffic {beside} sockets are idle beside");
    let guests = Guest::many(host.process.address, SENDERS).await?;
    let scenario = Scenario { host: &host, guests, beside: &clients };
    let mut swaps = Swaps::prepare(Control::of(&host), &base.artifact()?, seed).await?;
    let outcome = repeat(&scenario, &mut swaps, time, rounds, found).await;
    found.swaps = swaps.done;
    found.swap_ms = swaps.took_ms;
    found.disconnects = clients.ended.count();
    found.ended = clients.ended.in_words();
    outcome
}

async fn repeat(
    scenario: &Scenario<'_>,
    swaps: &mut Swaps,
    time: Duration,
    rounds: u64,
    found: &mut Found,
) -> Result<()> {
    scenario.measure(Pace::Acknowledged, pass(WARM_UP), found).await?;
    for round in 1..=rounds {
        let full = scenario.measure(Pace::Acknowledged, pass(time), found).await?;
        tell_progress(round, rounds, "full load", &full);
        let pace = Pace::Every(Duration::from_secs_f64(SENDERS as f64 / (full.per_second * PACED)));
        // As many of the hundred as are due by now.
        let due = (SWAPS * round).div_ceil(rounds) - swaps.done as u64;
        let (paced, swapping) = if round % 2 == 1 {
            let paced = scenario.measure(pace, pass(time), found).await?;
            (paced, scenario.measure(pace, swaps.make(due, time), found).await?)
        } else {
            let swapping = scenario.measure(pace, swaps.make(due, time), found).await?;
            (scenario.measure(pace, pass(time), found).await?, swapping)
        };
        tell_progress(round, rounds, "paced", &paced);
        tell_progress(round, rounds, "paced, swapping", &swapping);
        found.rounds.push(Round { full, paced, swapping });
    }
    Ok(())
}

/// Does nothing for a while.
async fn pass(time: Duration) -> Result<()> {
    tokio::time::sleep(time).await;
    Ok(())
}

fn tell_progress(round: u64, rounds: u64, what: &str, measured: &Measured) {
    let Measured { verdict, per_second, p50_ms, p99_ms } = measured;
    eprintln!(
        "round {round}/{rounds}  {what:16} {per_second:7.0}/s  p50 {p50_ms:6.2} ms  p99 {p99_ms:7.2} ms  pause {:5.1} ms  lost {}",
        verdict.pause.as_secs_f64() * 1e3,
        verdict.lost()
    );
}

impl Scenario<'_> {
    /// Guests send while something is done beside.
    async fn measure(
        &self,
        pace: Pace,
        meanwhile: impl Future<Output = Result<()>>,
        found: &mut Found,
    ) -> Result<Measured> {
        let (address, ended) = (self.host.process.address, &self.beside.ended);
        let desk = Desk::open(address, ended).await?;
        found.open = desk.open;
        let senders = Senders::start(address, &self.guests, pace, ended).await?;
        let begun = Instant::now();
        let outcome = meanwhile.await;
        let lanes = senders.stop().await?;
        let elapsed = begun.elapsed();
        outcome?;
        let stored = lanes.iter().flat_map(|lane| &lane.sent).filter(|sent| sent.stored.is_some()).count();
        desk.hear(stored, TIMEOUT).await;
        let mut verdict = judge(&lanes, &desk.take());
        ensure!(
            verdict.acknowledged > 0,
            "nothing was stored: {}",
            verdict.refused.first().context("no guest was answered")?
        );
        let mut milliseconds = |percent| load::percentile(&mut verdict.latencies, percent).as_secs_f64() * 1e3;
        let (p50_ms, p99_ms) = (milliseconds(50), milliseconds(99));
        Ok(Measured { per_second: verdict.acknowledged as f64 / elapsed.as_secs_f64(), p50_ms, p99_ms, verdict })
    }
}

impl Found {
    fn measured(&self) -> impl Iterator<Item = &Measured> {
        self.rounds.iter().flat_map(|round| [&round.full, &round.paced, &round.swapping])
    }

    fn tell(&mut self, report: &mut Report, time: Duration) {
        let values = |read: fn(&Round) -> f64| self.rounds.iter().map(read).collect::<Vec<f64>>();
        let pause = |measured: &Measured| measured.verdict.pause.as_secs_f64() * 1e3;
        let ratios = values(|round| round.swapping.p99_ms / round.paced.p99_ms);
        let rates = values(|round| round.full.per_second);
        let p99 = values(|round| round.paced.p99_ms);
        let is_there = !self.rounds.is_empty();
        report.set("durable_per_second", is_there.then(|| median(rates.clone())));
        report.set("durable_p99_ms", is_there.then(|| median(p99.clone())));
        if !is_there {
            return;
        }
        report.count("swaps", self.swaps);
        for (what, values, unit) in [
            ("stored messages, full load", rates, "/s"),
            ("guest to admin, full load: p50", values(|round| round.full.p50_ms), "ms"),
            ("guest to admin, full load: p99", values(|round| round.full.p99_ms), "ms"),
            ("stored messages, half load", values(|round| round.paced.per_second), "/s"),
            ("guest to admin, half load: p50", values(|round| round.paced.p50_ms), "ms"),
            ("guest to admin, half load: p99", p99, "ms"),
            ("the same while swapping: p50", values(|round| round.swapping.p50_ms), "ms"),
            ("the same while swapping: p99", values(|round| round.swapping.p99_ms), "ms"),
            ("p99 while swapping divided by without", ratios, ""),
            ("longest pause at the admin", self.rounds.iter().map(|round| pause(&round.paced)).collect(), "ms"),
            ("the same while swapping", self.rounds.iter().map(|round| pause(&round.swapping)).collect(), "ms"),
            ("a swap: request to answer", std::mem::take(&mut self.swap_ms), "ms"),
        ] {
            report.line(what, &values, unit);
        }
        self.tell_counts(report, time);
    }

    fn tell_counts(&self, report: &mut Report, time: Duration) {
        let sum = |read: fn(&Verdict) -> u64| self.measured().map(|measured| read(&measured.verdict)).sum::<u64>();
        let refused: Vec<&String> = self.measured().flat_map(|measured| &measured.verdict.refused).collect();
        report.table.push(format!(
            "{} messages acknowledged, {} never seen by the admin, {} twice or out of order, over {} swaps",
            sum(|verdict| verdict.acknowledged),
            sum(|verdict| verdict.missing),
            sum(|verdict| verdict.wrong),
            self.swaps
        ));
        report.notes.push(format!(
            "traffic: {} rounds of {} s of each kind, {SENDERS} guests with a socket each, an admin, {} idle sockets \
             beside and {} open chats; a message is stored, with its row of the outbox, before it is acknowledged; \
             clients, host, Postgres and {} on the same cores; rate limits are off",
            self.rounds.len(),
            time.as_secs(),
            self.beside,
            self.open,
            self.redis
        ));
        report.notes.push(
            "durable_per_second is with a guest sending when the last message is acknowledged; durable_p99_ms is from \
             sending to the admin's socket at half of that rate, at fixed times, and without swaps"
                .into(),
        );
        if let Some(first) = refused.first() {
            report.notes.push(format!("{} messages were refused, for example: {first}", refused.len()));
        }
        let unanswered = sum(|verdict| verdict.unanswered);
        if unanswered > 0 {
            report.notes.push(format!("{unanswered} messages were neither acknowledged nor refused"));
        }
        if self.disconnects > 0 {
            report.notes.push(format!("beside and in the traffic {} sockets ended: {}", self.disconnects, self.ended));
        }
    }
}
