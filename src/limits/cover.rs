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

/// The longest wait for the store. Beyond it, the call passes: a store that fails must not stop all traffic.
const WAIT: Duration = Duration::from_secs(2);
/// The calls that are stored ahead are this part of the amount.
const PART: i128 = 16;
/// They are never more.
const MOST: i128 = 1_000;

/// What may be admitted before the store has to know of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Room {
    /// Calls. Below zero: calls wait for the store.
    left: i128,
    /// The end of the window or slice that has them, in milliseconds since 1970.
    until_ms: u64,
    /// Calls that were admitted since the counter was read for the store.
    since: i128,
}

impl Room {
    /// A call was admitted.
    pub(super) fn take(&mut self, now_ms: u64) {
        if now_ms >= self.until_ms {
            self.left = 0;
        }
        self.left -= 1;
        self.since += 1;
    }

    /// True if the store does not know of the last call.
    pub(super) fn is_used_up(self) -> bool {
        self.left < 0
    }

    /// The counter is read for the store, which gets so many calls more than there were.
    pub(super) fn read(&mut self) {
        self.since = 0;
    }

    /// The store has what was read, and `ahead` calls more, which last until the end of their window or slice.
    pub(super) fn stored(&mut self, ahead: i128, until_ms: u64) {
        *self = Self { left: ahead - self.since, until_ms, since: self.since };
    }
}

/// The calls that are stored ahead of an amount.
pub(super) fn ahead(amount: i128) -> i128 {
    (amount / PART).clamp(1, MOST)
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
