//! Full load, in turns: without changes, with a swap every 200 ms, and while the
//! host compiles one upload after another.

use super::{
    Findings,
    scenario::{FIRST, SECOND, Scenario},
    traffic::{Expected, Lane, Tally, Traffic, Until},
};
use crate::{load, median};
use anyhow::Result;
use sqlx::{Connection, Executor, PgConnection};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::MissedTickBehavior;

const SWAP_EVERY: Duration = Duration::from_millis(200);
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
enum Arm {
    Quiet,
    Swapping,
    Compiling,
}

/// In the order of their numbers.
const ARMS: [(Arm, &str); 3] =
    [(Arm::Quiet, "quiet"), (Arm::Swapping, "a swap every 200 ms"), (Arm::Compiling, "compiling")];

/// What one arm of one round has shown.
#[derive(Default)]
struct Measured {
    counts: Tally,
    /// In the order of the lanes.
    p99_ms: Vec<f64>,
    changes: usize,
    /// Of the pointer store, in microseconds.
    swap_us: Vec<f64>,
    /// From asking for a change to its answer.
    change_ms: Vec<f64>,
    seconds: f64,
}

pub struct Compared {
    /// By round, then by arm.
    rounds: Vec<[Measured; 3]>,
    lanes: Vec<&'static str>,
    /// Changes that the host refused, in its words.
    refused: Vec<String>,
    /// Versions that the host took back without a reason.
    taken_back: Vec<String>,
}

/// Two versions of each component, whose turn it is to be swapped, and to what.
struct Rotation {
    components: Vec<(Arc<Expected>, [String; 2])>,
    turn: usize,
    refused: Vec<String>,
}

impl Rotation {
    async fn upload(scenario: &Scenario<'_>) -> Result<Rotation> {
        let artifacts = scenario.artifacts;
        let mut components = Vec::new();
        for (expected, first, second, says) in [
            (&scenario.course, &artifacts.course, &artifacts.fresh(&artifacts.course), [None, None]),
            (&scenario.booking, &artifacts.booking, &artifacts.fresh(&artifacts.booking), [None, None]),
            (&scenario.hello, &artifacts.hello, &artifacts.second, [Some(FIRST), Some(SECOND)]),
        ] {
            let second = scenario.deploy(expected, second, says[1], "").await?;
            let first = scenario.deploy(expected, first, says[0], "").await?;
            components.push((Arc::clone(expected), [second.version, first.version]));
        }
        Ok(Rotation { components, turn: 0, refused: Vec::new() })
    }

    /// Swaps the next component in turn to its other version.
    async fn swap(&mut self, scenario: &Scenario<'_>, measured: &mut Measured) {
        let (turn, count) = (self.turn, self.components.len());
        self.turn += 1;
        let (expected, versions) = &self.components[turn % count];
        match scenario.activate(expected, &versions[turn / count % 2]).await {
            Ok(change) => {
                measured.changes += 1;
                measured.swap_us.push(change.swap_us);
                measured.change_ms.push(change.took.as_secs_f64() * 1e3);
            }
            Err(error) => self.refused.push(format!("{error:#}")),
        }
    }
}

pub async fn run(scenario: &Scenario<'_>, time: Duration, rounds: u64) -> Result<Compared> {
    let mut rotation = Rotation::upload(scenario).await?;
    let taken_back = Arc::new(Mutex::new(Vec::new()));
    let watch = watch(scenario, Arc::clone(&taken_back)).await?;
    let lanes = scenario.lanes();
    measure(scenario, Arm::Swapping, &mut rotation, WARM_UP).await?;
    let mut measured = Vec::new();
    for round in 1..=rounds {
        let mut arms: [Measured; 3] = Default::default();
        for index in 0..ARMS.len() {
            // Each arm comes first, second and third as often.
            let (arm, name) = ARMS[(index + round as usize) % ARMS.len()];
            clear(&scenario.database).await?;
            let done = measure(scenario, arm, &mut rotation, time).await?;
            let p99 = done.p99_ms.iter().copied().fold(0.0, f64::max);
            let (rate, changes) = (done.per_second(), done.changes);
            eprintln!("round {round}/{rounds}  {name:20} {rate:8.0}/s  p99 up to {p99:7.2} ms  {changes:3} changes");
            arms[arm as usize] = done;
        }
        measured.push(arms);
    }
    watch.abort();
    let taken_back = taken_back.lock().expect("no panic").clone();
    let lanes = lanes.iter().map(|lane| lane.name).collect();
    Ok(Compared { rounds: measured, lanes, refused: rotation.refused, taken_back })
}

/// Notes rollbacks: nothing here is worse than what was there before.
async fn watch(scenario: &Scenario<'_>, taken_back: Arc<Mutex<Vec<String>>>) -> Result<tokio::task::JoinHandle<()>> {
    let mut events = scenario.control.events().await?;
    Ok(tokio::spawn(async move {
        while let Ok((event, _)) = events.next(None, &["rollback"]).await {
            taken_back.lock().expect("no panic").push(event["message"].to_string());
        }
    }))
}

/// The rows of the measurement before would slow the next one down.
async fn clear(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute("truncate booking.bookings cascade").await?;
    connection.execute("vacuum analyze").await?;
    Ok(())
}

async fn measure(scenario: &Scenario<'_>, arm: Arm, rotation: &mut Rotation, time: Duration) -> Result<Measured> {
    let mut measured = Measured::default();
    let begun = std::time::Instant::now();
    let until = Until::after(time);
    let lanes = scenario.lanes();
    let traffic = Traffic::start(scenario.host.process.address, &lanes, load::CONNECTIONS, &until);
    match arm {
        Arm::Quiet => (),
        Arm::Swapping => {
            let mut ticks = tokio::time::interval(SWAP_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !until.is_over() {
                ticks.tick().await;
                rotation.swap(scenario, &mut measured).await;
            }
        }
        Arm::Compiling => {
            while !until.is_over() {
                let artifact = scenario.artifacts.fresh(&scenario.artifacts.course);
                scenario.deploy(&scenario.course, &artifact, None, "activate=false").await?;
                measured.changes += 1;
            }
        }
    }
    let mut tally = traffic.tally().await?;
    measured.seconds = begun.elapsed().as_secs_f64();
    let p99 = |lane: &Arc<Lane>| tally.latencies.get_mut(lane.name).map(|latencies| load::percentile(latencies, 99));
    let p99: Vec<_> = lanes.iter().map(p99).collect();
    measured.p99_ms = p99.into_iter().map(|p99| p99.unwrap_or_default().as_secs_f64() * 1e3).collect();
    measured.counts = tally.counts();
    Ok(measured)
}

impl Measured {
    fn per_second(&self) -> f64 {
        self.counts.requests as f64 / self.seconds
    }
}

impl Compared {
    /// The median over the rounds of p99 with swaps divided by p99 without.
    pub fn p99_ratio(&self) -> f64 {
        median(self.ratios(Arm::Swapping))
    }

    /// By round: p99 of an arm divided by that of the quiet one. The geometric
    /// mean over the lanes: p99 of all requests together depends above all on
    /// how many of the fast ones there are.
    fn ratios(&self, arm: Arm) -> Vec<f64> {
        let by_lane: Vec<Vec<f64>> = (0..self.lanes.len()).map(|lane| self.lane_ratios(lane, arm)).collect();
        let mean = |round: usize| by_lane.iter().map(|ratios| ratios[round].ln()).sum::<f64>() / by_lane.len() as f64;
        (0..self.rounds.len()).map(|round| mean(round).exp()).collect()
    }

    fn lane_ratios(&self, lane: usize, arm: Arm) -> Vec<f64> {
        let [of_arm, of_quiet] = [arm, Arm::Quiet].map(|arm| self.p99s(lane, arm));
        of_arm.iter().zip(of_quiet).map(|(of_arm, of_quiet)| of_arm / of_quiet).collect()
    }

    fn p99s(&self, lane: usize, arm: Arm) -> Vec<f64> {
        self.of(arm).map(|measured| measured.p99_ms[lane]).collect()
    }

    fn of(&self, arm: Arm) -> impl Iterator<Item = &Measured> {
        self.rounds.iter().map(move |round| &round[arm as usize])
    }

    pub fn tell(self, found: &mut Findings) {
        for (arm, name) in ARMS {
            let rates: Vec<f64> = self.of(arm).map(Measured::per_second).collect();
            found.report.line(&format!("full load, {name}"), &rates, "/s");
        }
        self.tell_p99(found);
        let swapping = || self.of(Arm::Swapping);
        let swap_us: Vec<f64> = swapping().flat_map(|measured| measured.swap_us.iter().copied()).collect();
        let change_ms: Vec<f64> = swapping().flat_map(|measured| measured.change_ms.iter().copied()).collect();
        found.report.line("swap under full load: pointer store", &swap_us, "µs");
        found.report.line("swap under full load: request to answer", &change_ms, "ms");
        found.swaps += swapping().map(|measured| measured.changes).sum::<usize>();
        for (what, said) in [("refused a swap", &self.refused), ("took back a good version", &self.taken_back)] {
            if let Some(first) = said.first() {
                found.report.notes.push(format!("under full load the host {what} {} times: {first}", said.len()));
            }
        }
        for measured in self.rounds.into_iter().flatten() {
            found.seen.merge(measured.counts);
        }
    }

    fn tell_p99(&self, found: &mut Findings) {
        let of = |arm, lane| median(self.p99s(lane, arm));
        let line = |name: &str, p99: [String; 3], ratios: &[f64]| {
            let ratio = median(ratios.to_vec());
            let [quiet, swapping, compiling] = p99;
            format!(
                "{name:44} {quiet:>9} {swapping:>9} {compiling:>9} {ratio:>7.2} ({})",
                crate::report::spread(ratios)
            )
        };
        let head = ["quiet", "swapping", "compiling"];
        found
            .report
            .table
            .push(format!("{:44} {:>9} {:>9} {:>9}   swapping/quiet", "p99 in ms", head[0], head[1], head[2]));
        for (lane, name) in self.lanes.iter().enumerate() {
            let p99 = ARMS.map(|(arm, _)| format!("{:.2}", of(arm, lane)));
            found.report.table.push(line(name, p99, &self.lane_ratios(lane, Arm::Swapping)));
        }
        found.report.table.push(line("mean of the ratios", Default::default(), &self.ratios(Arm::Swapping)));
        found.report.notes.push(format!(
            "p99_ratio is the geometric mean over the kinds of requests; while the host compiles uploads without a \
             pause it is {:.2}",
            median(self.ratios(Arm::Compiling))
        ));
    }
}
