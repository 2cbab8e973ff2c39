//! What must hold, by brute force: a plain list of calls for each limit and key.

use crate::{
    base::window::Window,
    request::limits::terms::{Admits, Over, Terms},
};

/// A call that was admitted.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: usize,
    /// When it was admitted. A sliding window treats it as of a later call if the clock was set far back.
    pub(super) at_ms: u64,
    /// The start of its calendar window.
    window_ms: u64,
    pub(super) reserved: i128,
    /// What it used. `None` while it runs.
    pub(super) used: Option<i128>,
}

/// The calls of one key that a counter has to know.
#[derive(Debug, Clone, Default)]
pub(super) struct Key {
    pub(super) calls: Vec<Call>,
}

impl Call {
    fn charge(&self) -> i128 {
        self.used.unwrap_or(self.reserved)
    }
}

/// The first and the last millisecond of the slice of a time.
fn slice(length: u64, at_ms: u64) -> (u64, u64) {
    let size = length.div_ceil(64);
    (at_ms / size * size, at_ms / size * size + size - 1)
}

pub(super) fn needed(terms: &Terms, asked: i128) -> i128 {
    if terms.admits == Admits::Fits { asked } else { 1 }
}

impl Key {
    /// True if a call counts at a time.
    fn counts(call: &Call, window: &Window, now_ms: u64) -> bool {
        match window {
            Window::Sliding(length) => now_ms < slice(*length, call.at_ms).1 + length,
            Window::Calendar { .. } => window.span(now_ms).contains(call.at_ms),
            Window::Total => true,
        }
    }

    /// What ended calls used and running calls reserved.
    pub(super) fn sums(&self, window: &Window, now_ms: u64) -> (i128, i128) {
        let counting: Vec<&Call> =
            self.calls.iter().filter(|call| Self::counts(call, window, now_ms)).collect();
        let used = counting.iter().filter_map(|call| call.used).sum();
        (used, counting.iter().filter(|call| call.used.is_none()).map(|call| call.reserved).sum())
    }

    pub(super) fn passes(&self, terms: &Terms, now_ms: u64, asked: i128) -> bool {
        let (used, reserved) = self.sums(&terms.window, now_ms);
        terms.over == Over::Warn || used + reserved + needed(terms, asked) <= terms.amount
    }

    /// A sliding window whose clock is far behind: what counts is as of now.
    pub(super) fn asked(&mut self, window: &Window, now_ms: u64) {
        let Window::Sliding(length) = window else { return };
        if self.calls.iter().any(|call| slice(*length, call.at_ms).0 > now_ms + length) {
            self.calls.retain(|call| call.used.is_none() || Self::counts(call, window, now_ms));
            for call in &mut self.calls {
                // A running call that counts no longer is held, too: its reservation moves.
                call.at_ms = now_ms;
            }
        }
    }

    pub(super) fn take(&mut self, terms: &Terms, now_ms: u64, id: usize, asked: i128) {
        let reserved = if terms.admits == Admits::Fits { asked } else { 0 };
        let window_ms = terms.window.span(now_ms).start_ms;
        if matches!(terms.window, Window::Calendar { .. }) && !self.windows().contains(&window_ms) {
            self.make_room();
        }
        self.calls.push(Call { id, at_ms: now_ms, window_ms, reserved, used: None });
    }

    fn windows(&self) -> Vec<u64> {
        let mut windows: Vec<u64> = self.calls.iter().map(|call| call.window_ms).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
    }

    /// Beside a new window, the latest two are held, and those in which calls run.
    fn make_room(&mut self) {
        let runs =
            |calls: &[Call], window| calls.iter().any(|call| call.window_ms == window && call.used.is_none());
        let mut idle = self.windows();
        idle.retain(|window| !runs(&self.calls, *window));
        let dropped = idle[..idle.len().saturating_sub(2)].to_vec();
        self.calls.retain(|call| !dropped.contains(&call.window_ms));
    }

    pub(super) fn settle(&mut self, id: usize, used: i128) {
        if let Some(call) = self.calls.iter_mut().find(|call| call.id == id) {
            call.used = Some(used);
        }
    }

    /// A restart: running calls are gone, and what they reserved is used. Windows without use are not stored.
    pub(super) fn restart(&mut self) {
        for call in &mut self.calls {
            call.used = Some(call.charge());
        }
        let used: Vec<u64> =
            self.calls.iter().filter(|call| call.charge() > 0).map(|call| call.window_ms).collect();
        self.calls.retain(|call| used.contains(&call.window_ms));
    }

    /// In each window, and in each span of a sliding one, is at most the amount and what calls used beyond their reservation.
    pub(super) fn is_within(&self, terms: &Terms) -> bool {
        let within = |calls: &mut dyn Iterator<Item = &Call>| {
            let (mut sum, mut beyond) = (0, 0);
            for call in calls {
                sum += call.charge();
                beyond += (call.charge() - call.reserved).max(0);
            }
            sum <= terms.amount + beyond
        };
        self.calls.iter().all(|last| match terms.window {
            Window::Sliding(length) => within(
                &mut self
                    .calls
                    .iter()
                    .filter(|call| call.at_ms <= last.at_ms && last.at_ms - call.at_ms < length),
            ),
            Window::Calendar { .. } => {
                within(&mut self.calls.iter().filter(|call| call.window_ms == last.window_ms))
            }
            Window::Total => within(&mut self.calls.iter()),
        })
    }
}
