//! The state of one limit for one key: what is used and reserved, by window.
//!
//! A call is [taken](Counter::take) in the window of its admission, and [settled](Counter::settle) there, also after its end.
//!
//! **Calendar and total.** The counter holds windows by their time, so that the clock may be set: a window is found again when the
//! clock returns to it. It holds the current window and the latest two others, and in addition all in which calls run. Beyond 64,
//! the two earliest become one that covers both: it refuses too early rather than too late.
//!
//! **Sliding.** In no span of the length is more than the amount admitted (`counter/sliding.rs` explains the slices).
//! If the clock is set back,
//! slices of the future count. If it is set back by more than the length from any of them, all that counts and all running calls are
//! treated as of now: they leave one length later, so that nothing is refused forever. Beyond 72 slices, those in which calls run and which no longer count
//! become one; if that does not suffice, all is treated as of now. A call that is settled after its slice has left counts nowhere.
//!
//! **Another window.** If the text of a limit changes its kind of window, what was used in held windows that overlap the present
//! window of the new kind counts in that window, and so do all running calls. The rest is forgotten. From an hour to a day, that
//! is the day's use as far as it is held; from a month to an hour, the hour has the use of the month, and refuses too early. A
//! changed amount changes no window.
//!
//! **Storage.** A [`Row`] says what was used in a window, and contains what was reserved when it was written: a process that is
//! killed loses nothing that running calls reserved. What running calls use with [`Admits::WhilePositive`](super::terms::Admits)
//! is not reserved, and so is lost, as is what was admitted after the last write. A counter with [running](Counter::is_running)
//! calls must be kept: reservations are not restored.

use super::terms::{Balance, Over, Refused, Terms};
use crate::base::window::{Span, Window};

mod held;
mod more;
mod sliding;

use held::Held;
use more::More;

/// The mark of no window.
const UNUSED: u64 = 0;
/// The mark of windows of several kinds. No window has it.
const MIXED: u64 = 2;

/// The state of one limit for one key. The default has nothing used.
#[derive(Debug, Clone, Default)]
pub struct Counter {
    /// The [`Window::mark`] that what is held is divided by.
    mark: u64,
    /// The window of the last admission, with its end: while the clock is in it, no calendar is asked.
    current: Held,
    /// Absent in a typical counter.
    more: Option<Box<More>>,
}

/// Where a call was admitted, and what it reserved. To be given back once, to [`Counter::settle`] of the same counter.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a call that is not settled stays reserved"]
pub struct Slot {
    epoch: u32,
    start_ms: u64,
    reserved: i128,
}

/// What is stored of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The kind of window, by [`Window::mark`]: below 2^63. 2 if it is not known.
    pub mark: u64,
    /// The first millisecond of the window or slice.
    pub start_ms: u64,
    /// The first millisecond after it, or `None` if it does not end.
    pub end_ms: Option<u64>,
    /// What was used, and what was reserved when it was written.
    pub used: i128,
}

impl Slot {
    /// What the call reserved.
    pub fn reserved(&self) -> i128 {
        self.reserved
    }
}

impl Counter {
    /// Whether a request passes. Nothing is counted. A limit that only warns never refuses.
    ///
    /// It takes `&mut` since it makes the counter follow a changed kind of window, and a clock that was set back.
    pub fn check(&mut self, terms: &Terms, now_ms: u64, asked: i128) -> Result<(), Refused> {
        self.follow(&terms.window, now_ms);
        let needed = terms.needed(asked);
        let (used, reserved) = self.sums(&terms.window, now_ms);
        let total = used.saturating_add(reserved);
        if total.saturating_add(needed) <= terms.amount || terms.over == Over::Warn {
            return Ok(());
        }
        let retry_after_ms = if needed > terms.amount { None } else { self.wait_ms(terms, now_ms, needed) };
        Err(Refused { left: terms.amount.saturating_sub(total), retry_after_ms })
    }

    /// Counts a call in the window of `now_ms`, whether or not it fits: [`check`](Self::check) before. Negative amounts are zero.
    pub fn take(&mut self, terms: &Terms, now_ms: u64, asked: i128) -> Slot {
        self.follow(&terms.window, now_ms);
        self.take_checked(terms, now_ms, asked)
    }

    /// [`take`](Self::take) directly after a [`check`](Self::check) of the same time.
    pub(super) fn take_checked(&mut self, terms: &Terms, now_ms: u64, asked: i128) -> Slot {
        self.open(&terms.window, now_ms);
        let reserved = terms.reserved(asked);
        self.current.take(reserved);
        Slot { epoch: self.epoch(), start_ms: self.current.start_ms, reserved }
    }

    /// The end of a call: what it used counts in the window of its admission, in place of what it reserved. Zero gives all back.
    #[expect(clippy::needless_pass_by_value, reason = "a slot is settled once")]
    pub fn settle(&mut self, slot: Slot, used: i128) {
        let Slot { epoch, start_ms, reserved } = slot;
        let start_ms = match &self.more {
            Some(more) if more.epoch != epoch => more.moved_to_ms,
            Some(_) | None => start_ms,
        };
        if let Some(held) = self.find_mut(start_ms) {
            held.settle(reserved, used);
        }
    }

    /// Corrects what was used in the window of `now_ms`, which never falls below zero.
    pub fn correct(&mut self, terms: &Terms, now_ms: u64, difference: i128) {
        self.follow(&terms.window, now_ms);
        self.open(&terms.window, now_ms);
        self.current.used = self.current.used.saturating_add(difference).max(0);
    }

    /// What is used, reserved and left in the window of `now_ms`.
    pub fn balance(&self, terms: &Terms, now_ms: u64) -> Balance {
        if self.is_behind(&terms.window, now_ms) {
            let mut following = self.clone();
            following.follow(&terms.window, now_ms);
            return following.balance(terms, now_ms);
        }
        let (used, reserved) = self.sums(&terms.window, now_ms);
        let left = terms.amount.saturating_sub(used.saturating_add(reserved));
        Balance { used, reserved, left, resets_at_ms: self.resets_at_ms(&terms.window, now_ms) }
    }

    /// True if calls run. Such a counter must be kept.
    pub fn is_running(&self) -> bool {
        self.all().any(|held| held.running > 0)
    }

    /// What to store: all rows of the counter, in no order. Rows that were stored before and are not among them are to be deleted.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.all().filter(|held| held.total() > 0).map(|held| Row {
            mark: self.mark,
            start_ms: held.start_ms,
            end_ms: held.end_ms(),
            used: held.total(),
        })
    }

    /// The counter of stored rows, in any order. Rows that no counter writes are left out. Of too many, the latest are kept.
    pub fn restored(rows: impl IntoIterator<Item = Row>) -> Self {
        let is_valid = |row: &Row| row.used > 0 && row.end_ms.is_none_or(|end_ms| row.start_ms < end_ms);
        let mut rows: Vec<Row> = rows.into_iter().filter(is_valid).collect();
        rows.sort_unstable_by_key(|row| row.start_ms);
        let Some(mark) = rows.last().map(|row| row.mark) else { return Self::default() };
        let is_mixed = mark == UNUSED || rows.iter().any(|row| row.mark != mark);
        let held = rows.iter().skip(rows.len().saturating_sub(more::MAX)).map(|row| Held {
            used: row.used,
            ..Held::new(Span { start_ms: row.start_ms, end_ms: row.end_ms })
        });
        let mut others: Vec<Held> = held.collect();
        let current = others.pop().unwrap_or_default();
        let more = (!others.is_empty()).then(|| Box::new(More { others, ..More::default() }));
        Self { mark: if is_mixed { MIXED } else { mark }, current, more }
    }

    fn epoch(&self) -> u32 {
        self.more.as_ref().map_or(0, |more| more.epoch)
    }

    fn others(&self) -> &[Held] {
        self.more.as_ref().map_or(&[], |more| &more.others)
    }

    fn all(&self) -> impl Iterator<Item = &Held> {
        std::iter::once(&self.current).chain(self.others())
    }

    fn find(&self, time_ms: u64) -> Option<&Held> {
        if self.current.contains(time_ms) {
            return Some(&self.current);
        }
        self.others().iter().find(|held| held.contains(time_ms))
    }

    fn find_mut(&mut self, time_ms: u64) -> Option<&mut Held> {
        if self.current.contains(time_ms) {
            return Some(&mut self.current);
        }
        self.more.as_mut()?.others.iter_mut().find(|held| held.contains(time_ms))
    }

    /// What is used and reserved at a time.
    fn sums(&self, window: &Window, now_ms: u64) -> (i128, i128) {
        match window {
            Window::Calendar { .. } | Window::Total => {
                self.find(now_ms).map_or((0, 0), |held| (held.used, held.reserved))
            }
            Window::Sliding(length) => {
                self.counting(*length, now_ms).fold((0_i128, 0_i128), |(used, reserved), held| {
                    (used.saturating_add(held.used), reserved.saturating_add(held.reserved))
                })
            }
        }
    }

    /// The slices that count.
    fn counting(&self, length: u64, now_ms: u64) -> impl Iterator<Item = &Held> {
        self.all().filter(move |held| held.total() > 0 && sliding::counts(held, length, now_ms))
    }

    fn resets_at_ms(&self, window: &Window, now_ms: u64) -> Option<u64> {
        match window {
            Window::Calendar { .. } | Window::Total => self.end_ms(window, now_ms),
            Window::Sliding(length) => self
                .counting(*length, now_ms)
                .map(|held| sliding::leaves_ms(held, *length))
                .try_fold(now_ms, |latest, leaves_ms| Some(latest.max(leaves_ms?))),
        }
    }

    /// The end of the window that contains a time.
    fn end_ms(&self, window: &Window, time_ms: u64) -> Option<u64> {
        self.find(time_ms).map_or_else(|| window.span(time_ms).end_ms, Held::end_ms)
    }

    /// The time until `needed`, which is no more than the amount, is free.
    fn wait_ms(&self, terms: &Terms, now_ms: u64, needed: i128) -> Option<u64> {
        let is_free = |total: i128| total.saturating_add(needed) <= terms.amount;
        if let Window::Sliding(length) = terms.window {
            let total =
                self.counting(length, now_ms).fold(0_i128, |sum, held| sum.saturating_add(held.total()));
            let missing = total.saturating_add(needed).saturating_sub(terms.amount);
            return sliding::wait_ms(self.counting(length, now_ms), length, now_ms, missing);
        }
        // A later window is full only if it is held, so that this ends.
        let mut time_ms = self.end_ms(&terms.window, now_ms)?;
        while let Some(held) = self.find(time_ms).filter(|held| !is_free(held.total())) {
            time_ms = held.end_ms()?;
        }
        Some(time_ms - now_ms)
    }

    /// True if what is held has to be [moved](Self::gather) first.
    fn is_behind(&self, window: &Window, now_ms: u64) -> bool {
        let is_other = self.mark != window.mark() && self.mark != UNUSED;
        match window {
            Window::Calendar { .. } | Window::Total => is_other,
            Window::Sliding(length) => {
                is_other || self.all().any(|held| sliding::is_far_ahead(held, *length, now_ms))
            }
        }
    }

    /// Makes the counter follow another kind of window, and a clock that was set back by more than a sliding window.
    fn follow(&mut self, window: &Window, now_ms: u64) {
        if self.is_behind(window, now_ms) {
            self.gather(window, now_ms);
        }
        self.mark = window.mark();
    }

    /// Treats all that counts at a time, and all running calls, as of the window or slice of that time.
    fn gather(&mut self, window: &Window, now_ms: u64) {
        let mut present = Held::new(slot_span(window, now_ms));
        let until = window.span(now_ms);
        for held in self.all() {
            let counts = match window {
                Window::Calendar { .. } | Window::Total => held.overlaps(until),
                Window::Sliding(length) => sliding::counts(held, *length, now_ms),
            };
            present.add(held, counts);
        }
        // Slots of before are found by their epoch. If no call runs, there are none.
        let moved =
            More { others: Vec::new(), epoch: self.epoch().wrapping_add(1), moved_to_ms: present.start_ms };
        self.more = (present.running > 0).then(|| Box::new(moved));
        self.current = present;
    }

    /// Makes the window or slice of a time the current one.
    fn open(&mut self, window: &Window, now_ms: u64) {
        if self.current.contains(now_ms) {
            return;
        }
        let known =
            self.more.as_mut().and_then(|more| more.others.iter_mut().find(|held| held.contains(now_ms)));
        if let Some(held) = known {
            std::mem::swap(held, &mut self.current);
            return;
        }
        let before = std::mem::replace(&mut self.current, Held::new(slot_span(window, now_ms)));
        if before.is_none() {
            return;
        }
        let more = self.more.get_or_insert_default();
        more.others.push(before);
        let is_bounded = match window {
            Window::Calendar { .. } | Window::Total => more.bound_windows(self.current.start_ms),
            Window::Sliding(length) => more.bound_slices(*length, now_ms),
        };
        if !is_bounded {
            self.gather(window, now_ms);
        }
    }
}

/// The window, or the slice of a sliding one, that counts what is admitted at a time.
pub fn slot_span(window: &Window, now_ms: u64) -> Span {
    match window {
        Window::Calendar { .. } | Window::Total => window.span(now_ms),
        Window::Sliding(length) => sliding::slice(*length, now_ms),
    }
}

#[cfg(test)]
mod tests;
