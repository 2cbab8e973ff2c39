//! The shares of a limit's amount that were reported, so that each is reported once in a window.

use crate::call_limits::{
    terms::{Balance, Terms},
    warn::crossed,
};

/// The reported shares of one counter.
#[derive(Debug, Default)]
pub(super) struct Warned {
    /// The end of the window that they are of.
    window: Option<u64>,
    /// The greatest one, in thousandths.
    share: u32,
}

impl Warned {
    /// The greatest share that a change reached, if it was not reported in this window.
    pub(super) fn reach(
        &mut self,
        terms: &Terms,
        before: &Balance,
        after: &Balance,
        warn_at: &[u32],
    ) -> Option<u32> {
        if self.window != after.resets_at_ms {
            *self = Self { window: after.resets_at_ms, share: 0 };
        }
        let reached = crossed(terms, before, after, warn_at).max().filter(|share| *share > self.share)?;
        self.share = reached;
        Some(reached)
    }
}
