//! Rate limits of one connection, kept in its state. Limits per client are counted
//! by the host.

use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch. The clock of this host is good enough to
/// measure seconds with; what is stored has PostgreSQL's.
pub fn now() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A fixed window, which the first event opens.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Pace {
    opened_at: u64,
    count: u32,
}

impl Pace {
    /// Counts one; false if it is one too many.
    pub fn admits(&mut self, now: u64, max: u32, length: Duration) -> bool {
        // A clock that was set back opens a new one, too.
        let age = now.checked_sub(self.opened_at).map(Duration::from_millis);
        if self.count == 0 || age.is_none_or(|age| age >= length) {
            *self = Self { opened_at: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= max
    }
}

/// Refusals within one window of a rate limit.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Refusals {
    /// Of the window, in seconds since the Unix epoch.
    ends_at: u64,
    count: u32,
}

impl Refusals {
    /// With so many the connection ends.
    const MAX: u32 = 20;
    /// Seconds are rounded, so the end of a window is not always told as the
    /// same one.
    const SLACK: u64 = 2;

    /// Counts one that named the seconds to the end of its window; true if it is
    /// one too many.
    pub fn end_with(&mut self, now: u64, retry_after: u64) -> bool {
        let ends_at = now / 1_000 + retry_after;
        if ends_at.abs_diff(self.ends_at) > Self::SLACK {
            *self = Self { ends_at, count: 0 };
        }
        self.count += 1;
        self.count >= Self::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_admits_so_many_and_then_the_next_one_does() {
        let mut pace = Pace::default();
        let mut at = |now| pace.admits(now, 2, Duration::from_secs(2));
        let found = [1_000, 1_001, 1_002, 2_999, 3_000, 3_001, 3_002, 500].map(&mut at);
        assert_eq!(found, [true, true, false, false, true, true, false, true]);
        assert!(Pace::default().admits(0, 1, Duration::from_secs(2)));
    }

    #[test]
    fn the_twentieth_refusal_of_a_window_is_one_too_many() {
        let mut refusals = Refusals::default();
        for second in 0..19 {
            assert!(!refusals.end_with(second * 1_000 + 900, 60 - second), "{second}");
        }
        assert!(refusals.end_with(30_000, 30));
        let mut refusals = Refusals::default();
        for second in 0..19 {
            refusals.end_with(second, 60);
        }
        assert!(!refusals.end_with(61_000, 59), "the next window counts anew");
    }
}
