//! What a counter holds beside its current window, within bounds.

use super::{held::Held, sliding};

/// The windows that are held although no call runs in them, the current one included.
const KEPT: usize = 3;
/// The greatest number of windows, the current one included.
const MAX_WINDOWS: usize = 64;
/// The greatest number of slices, the current one included: the 65 that count, and some of the past or future.
pub(super) const MAX: usize = 72;

#[derive(Debug, Clone, Default)]
pub(super) struct More {
    pub(super) others: Vec<Held>,
    /// The number of times that all was moved to one window while calls ran. The slots of those calls have an earlier number.
    pub(super) epoch: u32,
    /// A time in the window that holds what was moved.
    pub(super) moved_to_ms: u64,
}

impl More {
    /// Drops windows without calls, the earliest first, and joins the earliest ones with calls. True if that suffices.
    pub(super) fn bound_windows(&mut self, current_ms: u64) -> bool {
        self.others.sort_unstable_by_key(|held| held.start_ms);
        let idle = self.others.iter().filter(|held| held.running == 0).count();
        let mut surplus = (idle + 1).saturating_sub(KEPT);
        self.others.retain(|held| {
            let is_dropped = surplus > 0 && held.running == 0;
            surplus -= usize::from(is_dropped);
            !is_dropped
        });
        while self.others.len() >= MAX_WINDOWS {
            // The current window is not among the others. A joined one must not cover it.
            let apart = |pair: &[Held]| current_ms < pair[0].start_ms || pair[1].start_ms < current_ms;
            let Some(at) = self.others.windows(2).position(apart) else { return false };
            let later = self.others.remove(at + 1);
            self.others[at].add(&later, true);
            self.others[at].extend(&later);
        }
        true
    }

    /// Drops slices that do not count, or joins them if calls run in them. True if that suffices.
    pub(super) fn bound_slices(&mut self, length_ms: u64, now_ms: u64) -> bool {
        if self.others.len() < MAX {
            return true;
        }
        let mut past = Held::default();
        self.others.retain(|held| {
            let counts = sliding::counts(held, length_ms, now_ms);
            if !counts && held.running > 0 {
                past = join_past(past, *held);
            }
            counts
        });
        if past.running > 0 {
            self.others.push(past);
        }
        self.others.len() < MAX
    }
}

/// Joins slices that no longer count. Only the use of the later one is kept: it might count again if the clock is set back a little.
fn join_past(past: Held, held: Held) -> Held {
    if past.running == 0 {
        return held;
    }
    let (mut later, earlier) = if held.end_ms > past.end_ms { (held, past) } else { (past, held) };
    later.add(&earlier, false);
    later.extend(&earlier);
    later
}
