//! What one version has done since it was loaded: how many calls, how they
//! ended, how long they took.

use hdrhistogram::Histogram;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// Longer calls count as this long.
const MAX_MICROS: u64 = 600_000_000;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The component answered with this status.
    Answer(u16),
    Trap,
    Timeout,
    /// No free instance within its wait, which is not the version's fault.
    Busy,
}

pub struct Stats {
    requests: AtomicU64,
    errors: AtomicU64,
    traps: AtomicU64,
    timeouts: AtomicU64,
    cpu_micros: AtomicU64,
    peak_memory: AtomicUsize,
    /// Calls under way.
    running: AtomicUsize,
    instances: AtomicUsize,
    /// Answers that were compared with those of the live version, and those
    /// that were different.
    compared: [AtomicU64; 2],
    /// Microseconds, two significant digits.
    durations: Mutex<Histogram<u64>>,
}

/// The counts at one moment.
#[derive(Clone)]
pub struct Snapshot {
    pub requests: u64,
    /// Traps, timeouts and answers of 500 and above.
    pub errors: u64,
    pub traps: u64,
    pub timeouts: u64,
    pub cpu: Duration,
    /// Bytes of linear memory that the largest instance had.
    pub peak_memory: usize,
    pub instances: usize,
    pub compared: Compared,
    pub durations: Histogram<u64>,
}

/// What came of repeating requests in the shadow.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    pub all: u64,
    pub different: u64,
}

impl Compared {
    /// The 1st, 2nd, 4th, 8th, … difference.
    pub fn is_worth_telling(self) -> bool {
        self.different.is_power_of_two()
    }
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            requests: AtomicU64::default(),
            errors: AtomicU64::default(),
            traps: AtomicU64::default(),
            timeouts: AtomicU64::default(),
            cpu_micros: AtomicU64::default(),
            peak_memory: AtomicUsize::default(),
            running: AtomicUsize::default(),
            instances: AtomicUsize::default(),
            compared: Default::default(),
            durations: Mutex::new(histogram()),
        }
    }
}

fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, MAX_MICROS, 2) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("constant bounds, which are in order"),
    }
}

/// A call under way, for as long as it lives.
pub struct Running(Arc<Stats>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

impl Stats {
    /// Counts a call as under way for as long as the guard lives.
    pub fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Relaxed);
        Running(Arc::clone(self))
    }

    /// True if the end was a failure of the version.
    pub fn record(&self, end: End, took: Duration, cpu: Duration) -> bool {
        self.requests.fetch_add(1, Relaxed);
        self.cpu_micros.fetch_add(micros(cpu), Relaxed);
        match end {
            End::Trap => self.traps.fetch_add(1, Relaxed),
            End::Timeout => self.timeouts.fetch_add(1, Relaxed),
            End::Answer(_) | End::Busy => 0,
        };
        let failed = matches!(end, End::Trap | End::Timeout | End::Answer(500..));
        if failed {
            self.errors.fetch_add(1, Relaxed);
        }
        self.durations.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros(took).max(1));
        failed
    }

    pub fn compared(&self, different: bool) -> Compared {
        let [all, differing] = &self.compared;
        Compared {
            all: all.fetch_add(1, Relaxed) + 1,
            different: differing.fetch_add(u64::from(different), Relaxed) + u64::from(different),
        }
    }

    pub fn saw_memory(&self, bytes: usize) {
        self.peak_memory.fetch_max(bytes, Relaxed);
    }

    pub fn instance_made(&self) {
        self.instances.fetch_add(1, Relaxed);
    }

    pub fn instance_dropped(&self) {
        self.instances.fetch_sub(1, Relaxed);
    }

    /// Instances in memory.
    pub fn instances(&self) -> usize {
        self.instances.load(Relaxed)
    }

    /// Calls under way.
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            requests: self.requests.load(Relaxed),
            errors: self.errors.load(Relaxed),
            traps: self.traps.load(Relaxed),
            timeouts: self.timeouts.load(Relaxed),
            cpu: Duration::from_micros(self.cpu_micros.load(Relaxed)),
            peak_memory: self.peak_memory.load(Relaxed),
            instances: self.instances.load(Relaxed),
            compared: Compared { all: self.compared[0].load(Relaxed), different: self.compared[1].load(Relaxed) },
            durations: self.durations.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Snapshot {
    /// Nothing yet.
    pub fn zero() -> Snapshot {
        Stats::default().snapshot()
    }

    /// What has happened since an earlier moment.
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let mut durations = self.durations.clone();
        // Only a histogram of other bounds cannot be taken off.
        let _ = durations.subtract(&earlier.durations);
        Snapshot {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            traps: self.traps.saturating_sub(earlier.traps),
            timeouts: self.timeouts.saturating_sub(earlier.timeouts),
            cpu: self.cpu.saturating_sub(earlier.cpu),
            peak_memory: self.peak_memory,
            instances: self.instances,
            compared: self.compared,
            durations,
        }
    }

    /// Share of the requests that failed, 0 to 1.
    pub fn error_share(&self) -> f64 {
        share(self.errors, self.requests)
    }

    /// Share of the requests that trapped, 0 to 1.
    pub fn trap_share(&self) -> f64 {
        share(self.traps, self.requests)
    }

    /// In milliseconds; 0 where there was no request. `percent`: 99 for p99.
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        self.durations.value_at_percentile(percent) as f64 / 1000.0
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
