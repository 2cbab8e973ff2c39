//! A histogram of times for percentiles: each power of two of milliseconds has eight parts, so that a percentile is off by
//! 1/16 at most.
//!
//! Pure, and of a fixed size.

use std::time::Duration;

use crate::numbers::millis;

/// The bits of a time that are kept below its highest one.
const BITS: u32 = 3;
/// The parts of a power of two.
const PARTS: u64 = 1 << BITS;
/// The longest time that is told from longer ones: 17 minutes.
const LONGEST_MS: u64 = (1 << 20) - 1;
/// The number of all parts: the place of the longest time is the last.
const SIZE: usize = 144;

/// Numbers of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram([u32; SIZE]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; SIZE])
    }
}

impl Histogram {
    pub(super) fn add(&mut self, time: Duration) {
        let number = &mut self.0[place(millis(time))];
        *number = number.saturating_add(1);
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (number, more) in self.0.iter_mut().zip(other.0) {
            *number = number.saturating_add(more);
        }
    }

    /// The time in milliseconds that this part of all times, in percent, does not exceed. None without times.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let count: u64 = self.0.iter().map(|number| u64::from(*number)).sum();
        let rank = (count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.0.iter().position(|number| {
            seen += u64::from(*number);
            seen >= rank
        });
        found.map(middle)
    }
}

/// The place of a time: below [`PARTS`] its own, else by its highest bit and the three that follow.
fn place(ms: u64) -> usize {
    let ms = ms.min(LONGEST_MS);
    let shift = ms.max(PARTS).ilog2() - BITS;
    let place = if ms < PARTS { ms } else { u64::from(shift) * PARTS + (ms >> shift) };
    usize::try_from(place).unwrap_or(SIZE - 1).min(SIZE - 1)
}

/// The middle of the times of a place.
fn middle(place: usize) -> u64 {
    let place = place as u64;
    if place < 2 * PARTS {
        return place;
    }
    let shift = place / PARTS - 1;
    let first = (place - shift * PARTS) << shift;
    first + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_near_the_middle_of_its_place() {
        let mut last = 0;
        for ms in (0..5000).chain((5000..=LONGEST_MS).step_by(97)) {
            let at = place(ms);
            assert!(at == last || at == last + 1 || ms > 5000 && at >= last, "{ms}: {at} after {last}");
            last = at;
            assert!(middle(at).abs_diff(ms) * 16 <= ms, "{ms} is shown as {}", middle(at));
        }
        assert_eq!((place(LONGEST_MS), place(u64::MAX)), (SIZE - 1, SIZE - 1));
    }

    #[test]
    fn percentiles_are_times_that_occurred() {
        let check = |times: &[u64], expected: [u64; 3]| {
            let mut histogram = Histogram::default();
            let (front, back) = times.split_at(times.len() / 2);
            let mut other = Histogram::default();
            for (part, times) in [(&mut histogram, front), (&mut other, back)] {
                for ms in times {
                    part.add(Duration::from_millis(*ms));
                }
            }
            histogram.add_all(&other);
            let found = [50, 95, 99].map(|percent| histogram.percentile(percent).unwrap());
            assert_eq!(found, expected, "{times:?}");
        };
        check(&[7], [7, 7, 7]);
        check(&[1, 2, 3, 4], [2, 4, 4]);
        check(&(0..100).map(|n| n % 15).collect::<Vec<_>>(), [7, 14, 14]);
        check(&[&[5; 95][..], &[8; 4], &[1000]].concat(), [5, 5, 8]);
        assert_eq!(Histogram::default().percentile(50), None);
    }
}
