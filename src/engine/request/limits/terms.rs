//! What a limit says, and what is said about a request that it limits.

use crate::base::window::Window;

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The time in which it counts.
    pub window: Window,
    /// The greatest amount in a window, in whole units: above 0.
    pub amount: i128,
    /// What happens beyond it.
    pub over: Over,
    /// Which requests pass.
    pub admits: Admits,
}

/// What happens to a request that does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// It is refused.
    Reject,
    /// It passes, and is counted.
    Warn,
}

/// Which requests pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admits {
    /// Those whose reservation fits: used + reserved + asked <= amount.
    Fits,
    /// All while something is left: used + reserved < amount. Nothing is reserved.
    WhilePositive,
}

/// Why a request does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// What is left in the window. Negative if calls used more than they reserved.
    pub left: i128,
    /// The time until this request passes, if nothing else comes and running calls use what they reserved. `None` if it never does.
    pub retry_after_ms: Option<u64>,
}

/// The state of a limit for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// What ended calls used in the window.
    pub used: i128,
    /// What running calls reserved in it.
    pub reserved: i128,
    /// amount - used - reserved. Negative if calls used more than they reserved.
    pub left: i128,
    /// The time at which all of the amount is free again: the end of the window. For a sliding window, the time at which all that
    /// counts has left it; the present if nothing counts. `None` if the window does not end.
    pub resets_at_ms: Option<u64>,
}

impl Terms {
    /// What a request reserves.
    pub(super) fn reserved(&self, asked: i128) -> i128 {
        match self.admits {
            Admits::Fits => asked.max(0),
            Admits::WhilePositive => 0,
        }
    }

    /// What has to be left for a request.
    pub(super) fn needed(&self, asked: i128) -> i128 {
        match self.admits {
            Admits::Fits => asked.max(0),
            Admits::WhilePositive => 1,
        }
    }
}
