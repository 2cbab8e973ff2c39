//! The number of calls that run at the same time. Exact: it is no window, so nothing leaves it but by [`Concurrent::give_back`].
//!
//! It is not stored: after a restart, no call runs. To admit with other limits, take here first, and give back if
//! [`admit`](super::admit::admit) refuses.

/// The running calls of one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Concurrent(u64);

impl Concurrent {
    /// Counts a call if fewer than `most` run. True if it was counted.
    #[must_use = "a call that was not counted is refused"]
    pub fn take(&mut self, most: u64) -> bool {
        let has_room = self.0 < most;
        self.0 += u64::from(has_room);
        has_room
    }

    /// Counts a call, however many run: for limits that only warn.
    pub fn count(&mut self) {
        self.0 = self.0.saturating_add(1);
    }

    /// The end of a call that was counted. Never below zero.
    pub fn give_back(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// The number of running calls.
    pub fn running(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_calls_are_counted() {
        let mut calls = Concurrent::default();
        calls.give_back();
        assert_eq!((calls.running(), calls.take(0)), (0, false));
        assert_eq!((calls.take(2), calls.take(2), calls.take(2), calls.running()), (true, true, false, 2));
        calls.count();
        calls.give_back();
        assert_eq!((calls.take(2), calls.running()), (false, 2));
        calls.give_back();
        assert_eq!((calls.take(2), calls.take(1), calls.running()), (true, false, 2));
        let mut full = Concurrent(u64::MAX);
        full.count();
        assert_eq!((full.take(u64::MAX), full.running()), (false, u64::MAX));
    }
}
