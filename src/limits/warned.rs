//! The shares of a limit's amount that were reported, so that each is reported once in a window.

use crate::call_limits::{
    terms::{Balance, Terms},
    warn::crossed,
};

/// The reported share of one counter.
#[derive(Debug, Default)]
pub(super) struct Warned {
    /// The end of the time in which it is not reported again, in milliseconds since 1970: that of the window, or of a sliding one
    /// as it was then.
    until_ms: u64,
    /// The greatest one, in thousandths.
    share: u32,
}

impl Warned {
    /// The greatest share that a change reached, if it was not reported in this window.
    pub(super) fn reach(
        &mut self,
        (terms, warn_at): (&Terms, &[u32]),
        before: &Balance,
        after: &Balance,
        now_ms: u64,
    ) -> Option<u32> {
        if now_ms >= self.until_ms {
            *self = Self::default();
        }
        let reached = crossed(terms, before, after, warn_at).max().filter(|share| *share > self.share)?;
        *self = Self { until_ms: after.resets_at_ms.unwrap_or(u64::MAX), share: reached };
        Some(reached)
    }
}
