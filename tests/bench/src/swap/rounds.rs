//! Full load, in turns: without changes, with a swap every 200 ms, and while the
//! host compiles one upload after another.

use super::{
    Report,
    scene::{FIRST, SECOND, Scene},
    traffic::{Expected, Tally, Traffic, Until},
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

#[derive(Clone, Copy, PartialEq)]
enum Arm {
    Quiet,
    Swapping,
    Compiling,
}

/// What one arm of one round has shown.
struct Measured {
    tally: Tally,
    changes: usize,
    /// Of the pointer store, in microseconds.
    swap_us: Vec<f64>,
    /// From asking for a change to its answer.
    change_ms: Vec<f64>,
    seconds: f64,
}

/// The three arms of each round: quiet, swapping, compiling.
pub struct Compared {
    rounds: Vec<[Measured; 3]>,
    lanes: Vec<&'static str>,
    /// Changes that the host refused, in its words.
    refused: Vec<String>,
    /// Versions that the host took back without a reason.
    taken_back: Vec<String>,
}

/// Two versions of each component, whose turn it is to be swapped, and to what.
struct Rota {
    components: Vec<(Arc<Expected>, [String; 2])>,
    turn: usize,
    refused: Vec<String>,
}

impl Rota {
    async fn upload(scene: &Scene<'_>) -> Result<Rota> {
        let artifacts = scene.artifacts;
        let mut components = Vec::new();
        for (expected, first, second, says) in [
            (&scene.course, &artifacts.course, &artifacts.fresh(&artifacts.course), [None, None]),
            (&scene.booking, &artifacts.booking, &artifacts.fresh(&artifacts.booking), [None, None]),
            (&scene.hello, &artifacts.hello, &artifacts.second, [Some(FIRST), Some(SECOND)]),
        ] {
            let second = scene.deploy(expected, second, says[1], "").await?;
            let first = scene.deploy(expected, first, says[0], "").await?;
            components.push((Arc::clone(expected), [second.version, first.version]));
        }
        Ok(Rota { components, turn: 0, refused: Vec::new() })
    }

    /// Swaps the next component in turn to its other version.
    async fn swap(&mut self, scene: &Scene<'_>, measured: &mut Measured) {
        let (turn, count) = (self.turn, self.components.len());
        self.turn += 1;
        let (expected, versions) = &self.components[turn % count];
        match scene.activate(expected, &versions[turn / count % 2]).await {
            Ok(change) => {
                measured.changes += 1;
                measured.swap_us.push(change.swap_us);
                measured.change_ms.push(change.took.as_secs_f64() * 1e3);
            }
            Err(error) => self.refused.push(format!("{error:#}")),
        }
    }
}

pub async fn run(scene: &Scene<'_>, time: Duration, rounds: u64) -> Result<Compared> {
    let mut rota = Rota::upload(scene).await?;
    let taken_back = Arc::new(Mutex::new(Vec::new()));
    let watch = watch(scene, Arc::clone(&taken_back)).await?;
    let lanes = scene.lanes();
    measure(scene, Arm::Swapping, &mut rota, WARM_UP).await?;
    let mut measured = Vec::new();
    for round in 1..=rounds {
        let mut arms = [None, None, None];
        for place in 0..arms.len() {
            // Each arm comes first, second and third as often.
            let place = (place + round as usize) % arms.len();
            let (arm, name) =
                [(Arm::Quiet, "quiet"), (Arm::Swapping, "swapping"), (Arm::Compiling, "compiling")][place];
            clear(&scene.database).await?;
            let mut done = measure(scene, arm, &mut rota, time).await?;
            let per_second = done.tally.requests as f64 / done.seconds;
            let p99 = done.p99_ms(None);
            eprintln!(
                "round {round}/{rounds}  {name:9} {per_second:9.0}/s  p99 {p99:7.2} ms  {} changes",
                done.changes
            );
            arms[place] = Some(done);
        }
        if let [Some(quiet), Some(swapping), Some(compiling)] = arms {
            measured.push([quiet, swapping, compiling]);
        }
    }
    watch.abort();
    let taken_back = taken_back.lock().expect("no panic").clone();
    let lanes = lanes.iter().map(|lane| lane.name).collect();
    Ok(Compared { rounds: measured, lanes, refused: rota.refused, taken_back })
}

/// Notes rollbacks: nothing here is worse than what was there before.
async fn watch(scene: &Scene<'_>, taken_back: Arc<Mutex<Vec<String>>>) -> Result<tokio::task::JoinHandle<()>> {
    let mut events = scene.control.events().await?;
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

async fn measure(scene: &Scene<'_>, arm: Arm, rota: &mut Rota, time: Duration) -> Result<Measured> {
    let mut measured =
        Measured { tally: Tally::default(), changes: 0, swap_us: Vec::new(), change_ms: Vec::new(), seconds: 0.0 };
    let begun = std::time::Instant::now();
    let until = Until::after(time);
    let traffic = Traffic::start(scene.host.process.address, &scene.lanes(), load::CONNECTIONS, &until);
    match arm {
        Arm::Quiet => (),
        Arm::Swapping => {
            let mut ticks = tokio::time::interval(SWAP_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !until.is_over() {
                ticks.tick().await;
                rota.swap(scene, &mut measured).await;
            }
        }
        Arm::Compiling => {
            while !until.is_over() {
                let artifact = scene.artifacts.fresh(&scene.artifacts.course);
                scene.deploy(&scene.course, &artifact, None, "activate=false").await?;
                measured.changes += 1;
            }
        }
    }
    measured.tally = traffic.tally().await?;
    measured.seconds = begun.elapsed().as_secs_f64();
    Ok(measured)
}

impl Measured {
    /// Of one lane, or of all requests.
    fn p99_ms(&mut self, lane: Option<&str>) -> f64 {
        let lanes = self.tally.latencies.iter().filter(|(name, _)| lane.is_none_or(|lane| **name == lane));
        let mut latencies: Vec<u32> = lanes.flat_map(|(_, latencies)| latencies.iter().copied()).collect();
        load::percentile(&mut latencies, 99).as_secs_f64() * 1e3
    }
}

impl Compared {
    /// The median over the rounds of p99 with swaps divided by p99 without.
    pub fn p99_ratio(&mut self) -> f64 {
        let [quiet, swapping, _] = self.p99s(None);
        ratio(&swapping, &quiet)
    }

    /// By arm, each in the order of the rounds.
    fn p99s(&mut self, lane: Option<&str>) -> [Vec<f64>; 3] {
        [0, 1, 2].map(|arm| self.rounds.iter_mut().map(|round| round[arm].p99_ms(lane)).collect())
    }

    pub fn tell(mut self, report: &mut Report) {
        let rates = |rounds: &[[Measured; 3]], arm: usize| -> Vec<f64> {
            rounds.iter().map(|round| round[arm].tally.requests as f64 / round[arm].seconds).collect()
        };
        for (arm, name) in [(0, "quiet"), (1, "a swap every 200 ms"), (2, "compiling")] {
            report.line(&format!("full load, {name}"), &rates(&self.rounds, arm), "/s");
        }
        report.table.push(format!(
            "{:44} {:>9} {:>9} {:>9} {:>16}",
            "p99 in ms", "quiet", "swapping", "compiling", "swapping/quiet"
        ));
        let lanes: Vec<Option<&str>> = self.lanes.clone().into_iter().map(Some).chain([None]).collect();
        for lane in lanes {
            let [quiet, swapping, compiling] = self.p99s(lane);
            let ratios: Vec<f64> = swapping.iter().zip(&quiet).map(|(swapping, quiet)| swapping / quiet).collect();
            let (name, ratio, spread) = (lane.unwrap_or("all"), median(ratios.clone()), super::spread(&ratios));
            let (quiet, swapping, compiling) = (median(quiet), median(swapping), median(compiling));
            report
                .table
                .push(format!("{name:44} {quiet:>9.2} {swapping:>9.2} {compiling:>9.2} {ratio:>6.2} ({spread})"));
        }
        let [quiet, _, compiling] = self.p99s(None);
        let compiling = ratio(&compiling, &quiet);
        report
            .notes
            .push(format!("p99 while the host compiles uploads without a pause: {compiling:.2} of that without"));
        let swapping = || self.rounds.iter().map(|round| &round[1]);
        let swap_us: Vec<f64> = swapping().flat_map(|measured| measured.swap_us.iter().copied()).collect();
        let change_ms: Vec<f64> = swapping().flat_map(|measured| measured.change_ms.iter().copied()).collect();
        report.line("swap under full load: pointer store", &swap_us, "µs");
        report.line("swap under full load: request to answer", &change_ms, "ms");
        for measured in self.rounds.iter().flatten() {
            report.seen.merge(measured.tally.counts());
        }
        report.swaps += swapping().map(|measured| measured.changes).sum::<usize>();
        for (what, said) in [("refused a swap", &self.refused), ("took back a good version", &self.taken_back)] {
            if let Some(first) = said.first() {
                report.notes.push(format!("under full load the host {what} {} times: {first}", said.len()));
            }
        }
    }
}

fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
}
