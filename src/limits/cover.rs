//! Limits of requests that hold although the process is killed. The store has more than was admitted: a few calls ahead. As long
//! as those last, no call waits. One beyond them waits until the store has it.
//!
//! After a kill, what was stored ahead counts as used: the limit may admit a few calls less in that window, and never one more.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::call_limits::terms::Terms;

/// The longest wait for the store. Beyond it, the call passes: a store that fails must not stop all traffic.
const WAIT: Duration = Duration::from_secs(2);
/// The calls that are stored ahead are this part of the amount.
const PART: i128 = 16;
/// They are never more.
const MOST: i128 = 1_000;

/// What may be admitted of a key before the store has to know of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Room {
    /// Calls. Below zero: calls wait for the store.
    left: i128,
    /// What the store has ahead.
    ahead: Option<Ahead>,
    /// Calls that were admitted since the counter was read for the store.
    since: i128,
    /// The amount of the key, as of the last call.
    amount: i128,
}

/// Calls of the near future that are stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    pub(super) calls: i128,
    /// The end of the window or slice that has them, in milliseconds since 1970.
    pub(super) until_ms: u64,
    /// The kind of that window.
    pub(super) mark: u64,
}

impl Room {
    /// A call was admitted.
    pub(super) fn take(&mut self, terms: &Terms, now_ms: u64) {
        let mark = terms.window.mark();
        if self.ahead.is_none_or(|ahead| now_ms >= ahead.until_ms || ahead.mark != mark) {
            self.left = 0;
        }
        self.left -= 1;
        self.since += 1;
        self.amount = terms.amount;
    }

    /// True if the store does not know of the last call.
    pub(super) fn is_used_up(self) -> bool {
        self.left < 0
    }

    /// True if the store has calls that were not admitted.
    pub(super) fn is_ahead(self) -> bool {
        self.ahead.is_some()
    }

    /// The calls that are to be stored ahead.
    pub(super) fn wanted(self) -> i128 {
        (self.amount / PART).clamp(1, MOST)
    }

    /// The counter is read for the store, which gets these calls in place of those that it has ahead. Either may be there if the
    /// process is killed meanwhile, so that no more may be admitted than both have.
    pub(super) fn read(&mut self, ahead: Option<Ahead>) {
        self.since = 0;
        self.left = self.left.min(ahead.map_or(0, |ahead| ahead.calls));
    }

    /// The store has what was read, and these calls more.
    pub(super) fn stored(&mut self, ahead: Option<Ahead>) {
        self.left = ahead.map_or(0, |ahead| ahead.calls) - self.since;
        self.ahead = ahead;
    }
}

/// The waits of calls for the store.
#[derive(Debug)]
pub(super) struct Cover {
    /// Tells the writer that a call waits.
    pub(super) wake: Notify,
    /// The number of the last write that has ended.
    written: watch::Sender<u64>,
    /// The number of the last write that has begun.
    begun: AtomicU64,
}

impl Default for Cover {
    fn default() -> Self {
        Self { wake: Notify::new(), written: watch::Sender::new(0), begun: AtomicU64::new(0) }
    }
}

/// A wait until the store knows of a call.
#[derive(Debug)]
pub struct Covering {
    /// The number of the first write that begins after the call was admitted.
    write: u64,
    written: watch::Receiver<u64>,
}

impl Cover {
    /// A wait for the next write that has all that is counted now.
    pub(super) fn ask(&self) -> Covering {
        let covering =
            Covering { write: self.begun.load(Ordering::Acquire) + 1, written: self.written.subscribe() };
        self.wake.notify_one();
        covering
    }

    /// A write begins: it reads the counters after this.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// A write has ended.
    pub(super) fn end(&self, write: u64) {
        self.written.send_replace(write);
    }
}

impl Covering {
    /// Waits. False if the store did not answer in time.
    pub async fn wait(mut self) -> bool {
        let write = self.write;
        timeout(WAIT, self.written.wait_for(|written| *written >= write))
            .await
            .is_ok_and(|waited| waited.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call_limits::terms::{Admits, Over},
        window::Window,
    };

    fn terms(window: Window, amount: i128) -> Terms {
        Terms { window, amount, over: Over::Reject, admits: Admits::Fits }
    }

    fn ahead(room: Room, window: &Window) -> Ahead {
        Ahead { calls: room.wanted(), until_ms: 1_000, mark: window.mark() }
    }

    /// The calls that pass at a time before one has to wait.
    fn passing(mut room: Room, terms: &Terms, now_ms: u64) -> usize {
        let mut passes = || {
            room.take(terms, now_ms);
            !room.is_used_up()
        };
        (0..1_000).take_while(|_| passes()).count()
    }

    /// What passes is in the store: in what it has, and in what it is about to have.
    #[test]
    fn what_passes_is_in_the_store() {
        let (total, hour) = (Window::Total, Window::Sliding(3_600_000));
        let (large, small) = (terms(total.clone(), 1_600), terms(total.clone(), 32));
        let mut room = Room::default();
        assert_eq!(passing(room, &large, 0), 0);
        room.take(&large, 0);
        room.read(Some(ahead(room, &total)));
        assert_eq!((passing(room, &large, 0), room.is_ahead()), (0, false));
        room.stored(Some(ahead(room, &total)));
        assert_eq!((passing(room, &large, 0), room.is_ahead()), (100, true));
        // In its time, and for the kind of window that it was stored for.
        assert_eq!((passing(room, &large, 999), passing(room, &large, 1_000)), (100, 0));
        assert_eq!(passing(room, &terms(hour, 1_600), 0), 0);
        // While fewer calls are written, no more pass than those, and after it none beyond them.
        room.take(&small, 0);
        let fewer = ahead(room, &total);
        room.read(Some(fewer));
        assert_eq!((fewer.calls, passing(room, &small, 0)), (2, 2));
        room.take(&small, 0);
        room.stored(Some(fewer));
        assert_eq!(passing(room, &small, 0), 1);
        // While more are written, those that the store has.
        room.take(&large, 0);
        let more = ahead(room, &total);
        room.read(Some(more));
        assert_eq!((more.calls, passing(room, &large, 0)), (100, 0));
        room.stored(Some(more));
        assert_eq!(passing(room, &large, 0), 100);
        room.read(None);
        assert_eq!(passing(room, &large, 0), 0);
        room.stored(None);
        assert_eq!((passing(room, &large, 0), room.is_ahead()), (0, false));
    }
}
