//! The slices of a sliding window.
//!
//! A bucket that refills at a constant rate (GCRA) with a burst of N admits almost 2 N in a window: N at once, and what refills
//! meanwhile. So time is divided into slices instead, 64 for a length, and each slice counts until all of it has left the span.
//! What was admitted counts for the length, and for less than one slice longer.

use super::held::Held;
use crate::base::window::Span;

/// The slices of a length.
const SLICES: u64 = 64;

/// The length, at least 1 ms, so that a request is in the window in which it is admitted.
pub(super) fn length(length_ms: u64) -> u64 {
    length_ms.max(1)
}

/// The slice that contains a time.
pub(super) fn slice(length_ms: u64, now_ms: u64) -> Span {
    let size = length(length_ms).div_ceil(SLICES);
    let start_ms = now_ms / size * size;
    Span { start_ms, end_ms: start_ms.checked_add(size) }
}

/// The first time at which all of a slice is out of the span, or `None` if there is none.
pub(super) fn leaves_ms(held: &Held, length_ms: u64) -> Option<u64> {
    held.end_ms()?.saturating_sub(1).checked_add(length(length_ms))
}

/// True if a slice counts. Slices of the future do: the clock was set back.
pub(super) fn counts(held: &Held, length_ms: u64, now_ms: u64) -> bool {
    leaves_ms(held, length_ms).is_none_or(|leaves_ms| now_ms < leaves_ms)
}

/// True if the clock is earlier than a slice by more than the length.
pub(super) fn is_far_ahead(held: &Held, length_ms: u64, now_ms: u64) -> bool {
    held.start_ms.saturating_sub(now_ms) > length(length_ms)
}

/// The time until so much is free, if nothing else comes: slices leave one after the other. `slices` are those that count.
pub(super) fn wait_ms<'h>(
    slices: impl Iterator<Item = &'h Held>,
    length_ms: u64,
    now_ms: u64,
    mut missing: i128,
) -> Option<u64> {
    let leaving = slices.filter_map(|held| Some((leaves_ms(held, length_ms)?, held.total())));
    let mut leaving: Vec<(u64, i128)> = leaving.collect();
    leaving.sort_unstable();
    for (leaves_ms, amount) in leaving {
        missing = missing.saturating_sub(amount);
        if missing <= 0 {
            return Some(leaves_ms - now_ms);
        }
    }
    None
}
