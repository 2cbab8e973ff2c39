//! A histogram of times, from 5 ms (a refusal, a cached answer) to 10 minutes (a long stream).

use std::time::Duration;

/// The upper bounds: the text of the label `le`, in the form that `OpenMetrics` prescribes, and milliseconds.
pub(super) const BOUNDS: [(&str, u64); 17] = [
    ("0.005", 5),
    ("0.01", 10),
    ("0.025", 25),
    ("0.05", 50),
    ("0.1", 100),
    ("0.25", 250),
    ("0.5", 500),
    ("1.0", 1000),
    ("2.5", 2500),
    ("5.0", 5000),
    ("10.0", 10_000),
    ("20.0", 20_000),
    ("30.0", 30_000),
    ("60.0", 60_000),
    ("120.0", 120_000),
    ("300.0", 300_000),
    ("600.0", 600_000),
];

/// Numbers of times by bound.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    /// Of each bound, the times that no lower bound has.
    within: [u64; BOUNDS.len()],
    count: u64,
    sum: Duration,
}

impl Histogram {
    pub(super) fn add(&mut self, time: Duration) {
        let index = BOUNDS.partition_point(|(_, bound_ms)| Duration::from_millis(*bound_ms) < time);
        if let Some(number) = self.within.get_mut(index) {
            *number += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// Each bound, with the number of times up to it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let mut total = 0;
        BOUNDS.iter().zip(self.within).map(move |((text, _), number)| {
            total += number;
            (*text, total)
        })
    }

    /// The number of all times.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub(super) const fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_the_bounds() {
        for (text, ms) in BOUNDS {
            let seconds: f64 = text.parse().unwrap();
            assert_eq!(Duration::from_secs_f64(seconds), Duration::from_millis(ms));
        }
        assert!(BOUNDS.is_sorted_by(|(_, one), (_, next)| one < next));
    }

    #[test]
    fn a_time_counts_at_its_bound_and_above() {
        let check = |time: Duration, first: Option<&str>| {
            let mut histogram = Histogram::default();
            histogram.add(time);
            let at = histogram.cumulative().find(|(_, number)| *number > 0).map(|(text, _)| text);
            assert_eq!(at, first, "{time:?}");
            assert_eq!((histogram.count(), histogram.sum()), (1, time));
        };
        check(Duration::ZERO, Some("0.005"));
        check(Duration::from_millis(5), Some("0.005"));
        check(Duration::from_micros(5001), Some("0.01"));
        check(Duration::from_mins(10), Some("600.0"));
        check(Duration::from_secs(601), None);
        check(Duration::MAX, None);
        let mut sum = Histogram::default();
        sum.add(Duration::MAX);
        sum.add(Duration::MAX);
        assert_eq!((sum.count(), sum.sum()), (2, Duration::MAX));
    }
}
