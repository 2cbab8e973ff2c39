//! A stretch of time and what is counted in it: a window of the calendar, or a slice of a sliding one.

use crate::base::window::Span;

/// A stretch of time that does not end.
const ENDLESS: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) start_ms: u64,
    /// Exclusive. [`ENDLESS`] if there is none. The default contains no time.
    pub(super) end_ms: u64,
    pub(super) used: i128,
    pub(super) reserved: i128,
    /// Calls that were admitted here and have not been settled.
    pub(super) running: u64,
}

impl Held {
    pub(super) fn new(span: Span) -> Self {
        Self { start_ms: span.start_ms, end_ms: span.end_ms.unwrap_or(ENDLESS), ..Self::default() }
    }

    pub(super) fn contains(&self, time_ms: u64) -> bool {
        self.start_ms <= time_ms && (time_ms < self.end_ms || self.end_ms == ENDLESS)
    }

    pub(super) fn overlaps(&self, span: Span) -> bool {
        self.start_ms < span.end_ms.unwrap_or(ENDLESS) && self.end_ms > span.start_ms
    }

    pub(super) fn end_ms(&self) -> Option<u64> {
        (self.end_ms != ENDLESS).then_some(self.end_ms)
    }

    pub(super) fn total(&self) -> i128 {
        self.used.saturating_add(self.reserved)
    }

    /// True if it contains no time: the current window of a new counter.
    pub(super) fn is_none(&self) -> bool {
        self.end_ms == 0
    }

    /// Adds what another holds, reservations only or all.
    pub(super) fn add(&mut self, other: &Self, with_used: bool) {
        self.reserved = self.reserved.saturating_add(other.reserved);
        self.running = self.running.saturating_add(other.running);
        if with_used {
            self.used = self.used.saturating_add(other.used);
        }
    }

    /// Extends its time by that of another.
    pub(super) fn extend(&mut self, other: &Self) {
        self.start_ms = self.start_ms.min(other.start_ms);
        self.end_ms = self.end_ms.max(other.end_ms);
    }

    pub(super) fn take(&mut self, reserved: i128) {
        self.reserved = self.reserved.saturating_add(reserved);
        self.running = self.running.saturating_add(1);
    }

    pub(super) fn settle(&mut self, reserved: i128, used: i128) {
        self.reserved = self.reserved.saturating_sub(reserved).max(0);
        self.running = self.running.saturating_sub(1);
        self.used = self.used.saturating_add(used.max(0));
    }
}
