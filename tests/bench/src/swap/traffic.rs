//! Clients that judge every answer: whether it came, and whether it is one
//! version's and nothing of another's.

use crate::load::{self, Answer, Connection, Request};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// No connection asks more often than this, however long it is left alone.
const MAX_REQUESTS: u64 = 5_000_000;
/// Answers that were wrong, of which so many are shown.
const SAMPLES: usize = 5;
/// Before a lost connection is opened again.
const BACK_OFF: Duration = Duration::from_millis(20);

/// The versions of one component that may answer, and which of them has to.
pub struct Expected {
    pub component: &'static str,
    faces: RwLock<Vec<Face>>,
    /// Generation << 16 | index + 1 of the only version that may answer; 0 while
    /// a change is under way, when all may.
    settled: AtomicU64,
    generation: AtomicU64,
}

struct Face {
    version: String,
    /// What its answers contain and those of no other version do.
    says: Option<&'static str>,
}

impl Expected {
    pub fn new(component: &'static str) -> Arc<Expected> {
        Arc::new(Expected {
            component,
            faces: RwLock::default(),
            settled: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        })
    }

    /// A version that may answer from now on.
    pub fn add(&self, version: &str, says: Option<&'static str>) {
        let mut faces = self.faces.write().expect("no panic");
        if !faces.iter().any(|face| face.version == version) {
            faces.push(Face { version: version.to_owned(), says });
        }
    }

    /// A change begins.
    pub fn unsettle(&self) {
        self.settled.store(0, SeqCst);
    }

    /// The host has said that the change is done: whoever asks now gets `version`.
    pub fn settle(&self, version: &str) {
        let index = self.faces.read().expect("no panic").iter().position(|face| face.version == version);
        let index = index.map_or(0, |index| index as u64 + 1);
        let generation = self.generation.fetch_add(1, SeqCst) + 1;
        self.settled.store(generation << 16 | index, SeqCst);
    }

    fn settled(&self) -> u64 {
        self.settled.load(SeqCst)
    }

    /// The version that an answer is of; the error says what is mixed in it.
    /// `before`: what was settled when the request was sent.
    fn judge(&self, before: u64, answer: &Answer<'_>) -> Result<String, String> {
        let after = self.settled();
        let label = answer.header("x-shema-component").ok_or("it names no version")?;
        let version = label.strip_prefix(self.component).and_then(|rest| rest.strip_prefix('@'));
        let version = version.ok_or_else(|| format!("it is by {label}, not by {}", self.component))?;
        let faces = self.faces.read().expect("no panic");
        let index = faces.iter().position(|face| face.version == version);
        let index = index.ok_or_else(|| format!("it is by {label}, which nobody has deployed"))?;
        if let Some(says) = faces[index].says
            && load::find(answer.body, says.as_bytes()).is_none()
        {
            return Err(format!("by its header it is by {label}, by its body it is not"));
        }
        let due = before & 0xffff;
        if before == after && due != 0 && due != index as u64 + 1 {
            return Err(format!("it is by {label}, which had been swapped out before it was asked"));
        }
        Ok(version.to_owned())
    }
}

/// One kind of request, and who has to answer it.
pub struct Lane {
    pub name: &'static str,
    pub request: Request,
    pub expected: Arc<Expected>,
}

/// How long clients ask.
#[derive(Clone)]
pub struct Until {
    end: Instant,
    stopped: Arc<AtomicBool>,
}

impl Until {
    /// At the latest after `time`.
    pub fn after(time: Duration) -> Until {
        Until { end: Instant::now() + time, stopped: Arc::default() }
    }

    pub fn stop(&self) {
        self.stopped.store(true, SeqCst);
    }

    pub fn is_over(&self) -> bool {
        self.stopped.load(SeqCst) || Instant::now() >= self.end
    }
}

/// What clients saw.
#[derive(Default)]
pub struct Tally {
    pub requests: u64,
    /// No answer, or one of another status.
    pub failed: u64,
    /// Answers that are not wholly of the one right version.
    pub mixed: u64,
    /// Of what went well, in microseconds, by lane.
    pub latencies: BTreeMap<&'static str, Vec<u32>>,
    /// When failures came.
    pub failures: Vec<Instant>,
    /// Some of what went wrong.
    pub samples: Vec<String>,
}

impl Tally {
    pub fn merge(&mut self, other: Tally) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.mixed += other.mixed;
        for (lane, latencies) in other.latencies {
            self.latencies.entry(lane).or_default().extend(latencies);
        }
        self.failures.extend(other.failures);
        self.samples.extend(other.samples);
        self.samples.truncate(SAMPLES);
    }

    /// Only the counts: for adding up what happened over a whole proof.
    pub fn counts(&self) -> Tally {
        let samples = self.samples.clone();
        Tally { requests: self.requests, failed: self.failed, mixed: self.mixed, samples, ..Tally::default() }
    }

    fn wrong(&mut self, lane: &Lane, why: &str) {
        if self.samples.len() < SAMPLES {
            self.samples.push(format!("{}: {why}", lane.name));
        }
    }
}

/// Clients under way.
pub struct Traffic(JoinSet<Tally>);

impl Traffic {
    /// `connections` clients, each with one of the lanes in turn, repeating its
    /// request `until` it is over.
    pub fn start(address: SocketAddr, lanes: &[Arc<Lane>], connections: usize, until: &Until) -> Traffic {
        // So that two runs send no number twice.
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, SeqCst);
        let mut clients = JoinSet::new();
        for (index, lane) in (0..connections).zip(lanes.iter().cycle()) {
            let first = run << 44 | (index as u64) << 32;
            clients.spawn(ask(address, Arc::clone(lane), first, until.clone()));
        }
        Traffic(clients)
    }

    /// What they saw, when all are through.
    pub async fn tally(mut self) -> Result<Tally> {
        let mut tally = Tally::default();
        while let Some(client) = self.0.join_next().await {
            tally.merge(client?);
        }
        Ok(tally)
    }
}

async fn ask(address: SocketAddr, lane: Arc<Lane>, first: u64, until: Until) -> Tally {
    let mut tally = Tally::default();
    let mut latencies = Vec::new();
    let mut kept = None;
    let fixed = lane.request.body.is_none().then(|| lane.request.bytes(0));
    while !until.is_over() && tally.requests < MAX_REQUESTS {
        let bytes = fixed.clone().unwrap_or_else(|| lane.request.bytes(first + tally.requests));
        tally.requests += 1;
        let before = lane.expected.settled();
        let sent = Instant::now();
        match exchange(&mut kept, address, &bytes).await {
            Ok(answer) if answer.status == lane.request.expect => {
                latencies.push(load::micros(sent.elapsed()));
                if let Err(why) = lane.expected.judge(before, &answer) {
                    tally.mixed += 1;
                    tally.wrong(&lane, &why);
                }
            }
            Ok(answer) => {
                let why = format!("status {}: {}", answer.status, String::from_utf8_lossy(answer.body));
                tally.failed += 1;
                tally.failures.push(Instant::now());
                tally.wrong(&lane, &why);
            }
            Err(error) => {
                kept = None;
                tally.failed += 1;
                tally.failures.push(Instant::now());
                tally.wrong(&lane, &format!("{error:#}"));
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
    tally.latencies.insert(lane.name, latencies);
    tally
}

async fn exchange<'a>(kept: &'a mut Option<Connection>, address: SocketAddr, bytes: &[u8]) -> Result<Answer<'a>> {
    let connection = match kept {
        Some(connection) => connection,
        None => kept.insert(Connection::open(address).await?),
    };
    connection.exchange(bytes).await
}

/// Asks one host again and again, and tells `see` when another version begins to
/// answer.
pub async fn poll(
    address: SocketAddr,
    lane: Arc<Lane>,
    until: Until,
    see: impl Fn(String, Instant) + Send,
) -> Result<Tally> {
    let mut connection = Connection::open(address).await?;
    let bytes = lane.request.bytes(0);
    let (mut tally, mut last) = (Tally::default(), String::new());
    while !until.is_over() && tally.requests < MAX_REQUESTS {
        let before = lane.expected.settled();
        tally.requests += 1;
        let answer = connection.exchange(&bytes).await?;
        let came = Instant::now();
        if answer.status != lane.request.expect {
            let why = format!("status {}", answer.status);
            tally.failed += 1;
            tally.wrong(&lane, &why);
            continue;
        }
        match lane.expected.judge(before, &answer) {
            Ok(version) if version == last => (),
            Ok(version) => {
                see(version.clone(), came);
                last = version;
            }
            Err(why) => {
                tally.mixed += 1;
                tally.wrong(&lane, &why);
            }
        }
    }
    Ok(tally)
}
