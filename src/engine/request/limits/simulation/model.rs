//! What must hold, by brute force: a plain list of calls for each limit and key.

use crate::{
    base::window::{Span, Window},
    request::limits::terms::{Admits, Over, Terms},
};

/// A call that was admitted.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// In the order of admission.
    pub(super) id: usize,
    /// When it was admitted.
    pub(super) at_ms: u64,
    /// What the limit said to it. None of a call that stands for a window that is held with nothing in it.
    terms: Option<Terms>,
    /// The window or slice that it is in. That of its admission, or a later one if the kind of window was changed since, or if the
    /// clock was set far back.
    span: Span,
    pub(super) reserved: i128,
    /// What it used. `None` while it runs.
    pub(super) used: Option<i128>,
}

/// The calls of one key that a counter has to know.
#[derive(Debug, Clone, Default)]
pub(super) struct Key {
    pub(super) calls: Vec<Call>,
    /// The kind of window that they are divided by.
    kind: Option<Window>,
    /// It was another one before.
    pub(super) has_changed: bool,
}

impl Call {
    fn charge(&self) -> i128 {
        self.used.unwrap_or(self.reserved)
    }

    /// True if it counts at a time in a limit with such a window.
    fn counts(&self, window: &Window, now_ms: u64) -> bool {
        match window {
            Window::Sliding(length) => self.span.end_ms.is_none_or(|end_ms| now_ms < end_ms - 1 + length),
            Window::Calendar { .. } | Window::Total => self.span.contains(now_ms),
        }
    }

    /// True if its use counts in a limit whose kind of window is changed to this one at a time.
    fn is_taken_over(&self, window: &Window, now_ms: u64) -> bool {
        let present = window.span(now_ms);
        match window {
            Window::Sliding(_) => self.counts(window, now_ms),
            Window::Calendar { .. } | Window::Total => {
                present.end_ms.is_none_or(|end_ms| self.span.start_ms < end_ms)
                    && self.span.end_ms.is_none_or(|end_ms| present.start_ms < end_ms)
            }
        }
    }
}

/// The window of a time, or its slice of a sliding one.
fn span(window: &Window, at_ms: u64) -> Span {
    match window {
        Window::Sliding(length) => {
            let size = length.div_ceil(64);
            let start_ms = at_ms / size * size;
            Span { start_ms, end_ms: Some(start_ms + size) }
        }
        Window::Calendar { .. } | Window::Total => window.span(at_ms),
    }
}

pub(super) fn needed(terms: &Terms, asked: i128) -> i128 {
    if terms.admits == Admits::Fits { asked } else { 1 }
}

impl Key {
    /// What ended calls used and running calls reserved.
    pub(super) fn sums(&self, window: &Window, now_ms: u64) -> (i128, i128) {
        let counting: Vec<&Call> = self.calls.iter().filter(|call| call.counts(window, now_ms)).collect();
        let used = counting.iter().filter_map(|call| call.used).sum();
        (used, counting.iter().filter(|call| call.used.is_none()).map(|call| call.reserved).sum())
    }

    pub(super) fn passes(&self, terms: &Terms, now_ms: u64, asked: i128) -> bool {
        let (used, reserved) = self.sums(&terms.window, now_ms);
        terms.over == Over::Warn || used + reserved + needed(terms, asked) <= terms.amount
    }

    /// A limit with such a window is asked. If it had another kind of window before, or a sliding window whose clock is far
    /// behind, what counts is as of now, and so are running calls. The rest is forgotten.
    pub(super) fn asked(&mut self, window: &Window, now_ms: u64) {
        let is_other = self.kind.as_ref().is_some_and(|kind| kind != window);
        let is_far =
            |call: &Call| matches!(window, Window::Sliding(length) if call.span.start_ms > now_ms + length);
        if is_other || self.calls.iter().any(is_far) {
            self.calls.retain(|call| call.used.is_none() || call.is_taken_over(window, now_ms));
            self.calls.push(Call {
                id: 0,
                at_ms: 0,
                terms: None,
                span: span(window, now_ms),
                reserved: 0,
                used: Some(0),
            });
            for call in &mut self.calls {
                call.span = span(window, now_ms);
            }
        }
        self.has_changed |= is_other;
        self.kind = Some(window.clone());
    }

    pub(super) fn take(&mut self, terms: &Terms, now_ms: u64, id: usize, asked: i128) {
        let reserved = if terms.admits == Admits::Fits { asked } else { 0 };
        let span = span(&terms.window, now_ms);
        if matches!(terms.window, Window::Calendar { .. }) && !self.windows().contains(&span.start_ms) {
            self.make_room();
        }
        self.calls.push(Call { id, at_ms: now_ms, terms: Some(terms.clone()), span, reserved, used: None });
    }

    fn windows(&self) -> Vec<u64> {
        let mut windows: Vec<u64> = self.calls.iter().map(|call| call.span.start_ms).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
    }

    /// Beside a new window, the latest two are held, and those in which calls run.
    fn make_room(&mut self) {
        let runs = |calls: &[Call], window| {
            calls.iter().any(|call| call.span.start_ms == window && call.used.is_none())
        };
        let mut idle = self.windows();
        idle.retain(|window| !runs(&self.calls, *window));
        let dropped = idle[..idle.len().saturating_sub(2)].to_vec();
        self.calls.retain(|call| !dropped.contains(&call.span.start_ms));
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
            self.calls.iter().filter(|call| call.charge() > 0).map(|call| call.span.start_ms).collect();
        self.calls.retain(|call| used.contains(&call.span.start_ms));
        if self.calls.is_empty() {
            self.kind = None;
        }
    }

    /// No call passed a limit that refuses unless all before it left room in its window, or in the span of a sliding one that ends
    /// with it: what was admitted there up to that call is at most the amount of then, and what calls used beyond their
    /// reservation. By the times of admission, whatever became of the limit since.
    pub(super) fn is_within(&self, is_exact: impl Fn(&Window) -> bool) -> bool {
        self.calls.iter().all(|last| {
            let Some(terms) = last.terms.as_ref().filter(|terms| terms.over == Over::Reject) else {
                return true;
            };
            let window = &terms.window;
            let counts = |call: &Call| match window {
                Window::Sliding(length) => call.at_ms <= last.at_ms && last.at_ms - call.at_ms < *length,
                Window::Calendar { .. } | Window::Total => window.span(last.at_ms).contains(call.at_ms),
            };
            let (mut sum, mut beyond) = (0, 0);
            for call in self.calls.iter().filter(|call| call.id > 0 && call.id <= last.id && counts(call)) {
                sum += call.charge();
                beyond += (call.charge() - call.reserved).max(0);
            }
            !is_exact(window) || sum <= terms.amount + beyond
        })
    }
}
