//! The age of a stale provider, for `max_stale`. It is measured by a monotonic clock: setting the wall clock neither ends
//! nor extends the time that a last good version serves.

use std::time::{Duration, Instant};

use crate::clock::now_ms;

/// The time since which a provider's current files differ from its last good ones, and are bad.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staleness {
    /// The time, in milliseconds since 1970: to show, and to store for a restart.
    pub since_ms: u64,
    /// Its age at the time `noted`.
    before: Duration,
    noted: Instant,
}

impl Staleness {
    /// Begins now.
    pub(super) fn begin() -> Self {
        Self { since_ms: now_ms(), before: Duration::ZERO, noted: Instant::now() }
    }

    /// Continues that of an earlier process, whose time only the wall clock knows. A time in the future counts as now.
    pub(super) fn resume(since_ms: u64) -> Self {
        let before = Duration::from_millis(now_ms().saturating_sub(since_ms));
        Self { since_ms, before, noted: Instant::now() }
    }

    /// The time that is left until it lasted `max`.
    pub(super) fn left(&self, max: Duration) -> Duration {
        self.left_at(max, Instant::now())
    }

    fn left_at(&self, max: Duration, now: Instant) -> Duration {
        max.saturating_sub(self.before.saturating_add(now.saturating_duration_since(self.noted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn the_age_grows_with_the_monotonic_clock_alone() {
        let begun = Staleness::begin();
        let check = |minutes: u64, left: u64| {
            let now = begun.noted + Duration::from_mins(minutes);
            assert_eq!(begun.left_at(HOUR, now), Duration::from_mins(left), "after {minutes} minutes");
        };
        check(0, 60);
        check(59, 1);
        check(60, 0);
        check(6000, 0);
        // The wall clock was set after it began: only what is shown depends on it.
        let moved = Staleness { since_ms: 0, ..begun };
        assert_eq!(moved.left_at(HOUR, begun.noted), HOUR);
    }

    #[test]
    fn a_restart_continues_the_age() {
        let check = |since_ms: u64, expected: Duration| {
            let resumed = Staleness::resume(since_ms);
            let left = resumed.left_at(HOUR, resumed.noted);
            assert!(left <= expected && left + Duration::from_secs(30) >= expected, "{since_ms}: {left:?}");
            assert_eq!(resumed.since_ms, since_ms);
        };
        check(now_ms() - 20 * 60_000, Duration::from_mins(40));
        check(0, Duration::ZERO);
        // Stored before the wall clock was set back.
        check(u64::MAX, HOUR);
        check(now_ms() + 3_600_000, HOUR);
    }
}
