//! The fence around a host that may have fallen behind the others.
//!
//! Others wait with a change for a host that they have seen lately, and go on
//! without one that they have not. So a host whose last word to them is too old
//! must not answer: they may have flipped, and nobody should get the former
//! version after the latter. It counts from before it spoke, they from when
//! they heard it; hence its fence is up before they stop waiting.
//!
//! A host that had no others has nobody to fall behind, and goes on answering
//! while the database is away.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// A host that was not seen for longer is fenced.
pub const FENCED_AFTER: Duration = Duration::from_secs(5);

const ALONE: u64 = u64::MAX;

pub struct Fence {
    began: Instant,
    /// Milliseconds from `began` on, until which it stays down.
    down_until: AtomicU64,
}

impl Default for Fence {
    /// Up, until the host has caught up for the first time.
    fn default() -> Fence {
        Fence { began: Instant::now(), down_until: AtomicU64::new(0) }
    }
}

impl Fence {
    /// Asked for each request.
    pub fn is_fenced(&self) -> bool {
        let until = self.down_until.load(Relaxed);
        until != ALONE && millis(self.began.elapsed()) >= until
    }

    /// This host has told the others at `since` or later that it is there, and
    /// has caught up with them after that.
    pub(super) fn lower(&self, since: Instant, alone: bool) {
        let until = millis(since.saturating_duration_since(self.began) + FENCED_AFTER);
        self.down_until.store(if alone { ALONE } else { until }, Relaxed);
    }

    /// This host knows that it is behind.
    pub(super) fn raise(&self) {
        if self.down_until.load(Relaxed) != ALONE {
            self.down_until.store(0, Relaxed);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(ALONE - 1)
}

#[cfg(test)]
mod tests {
    use super::{FENCED_AFTER, Fence};
    use std::time::{Duration, Instant};

    #[test]
    fn it_is_down_for_as_long_as_others_wait_and_no_longer() {
        let mut fence = Fence::default();
        assert!(fence.is_fenced(), "nothing is known yet");
        fence.lower(Instant::now(), false);
        assert!(!fence.is_fenced());
        fence.raise();
        assert!(fence.is_fenced());
        fence.lower(Instant::now(), false);
        fence.began = fence.began.checked_sub(FENCED_AFTER + Duration::from_millis(1)).expect("an earlier time");
        assert!(fence.is_fenced());
    }

    #[test]
    fn alone_it_stays_down() {
        let mut fence = Fence::default();
        fence.lower(Instant::now(), true);
        fence.raise();
        fence.began = fence.began.checked_sub(FENCED_AFTER * 2).expect("an earlier time");
        assert!(!fence.is_fenced());
        fence.lower(fence.began, false);
        assert!(fence.is_fenced(), "another host has come");
    }
}
