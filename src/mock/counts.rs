//! What a mock has seen: connections, requests, and clients that left early. Counting never blocks a
//! request; waiting for a count needs no sleep.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::Serialize;
use tokio::sync::watch;

/// Live counters, shared by all workers of a mock.
#[derive(Debug, Default)]
pub struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
    cancelled: watch::Sender<u64>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Connections accepted.
    pub connections: u64,
    /// Request heads read.
    pub requests: u64,
    /// Requests whose client went away before the mock had given its whole answer.
    pub cancelled: u64,
}

impl Counts {
    /// The counters now.
    pub fn tally(&self) -> Tally {
        Tally {
            connections: self.connections.load(Relaxed),
            requests: self.requests.load(Relaxed),
            cancelled: *self.cancelled.borrow(),
        }
    }

    /// Waits until at least `count` clients went away early. It never gives up: put a deadline on it.
    pub async fn cancelled_reaches(&self, count: u64) {
        let mut receiver = self.cancelled.subscribe();
        // An error would mean that the sender is gone, but it is borrowed for as long as this waits.
        let _reached = receiver.wait_for(|cancelled| *cancelled >= count).await;
    }

    /// Counts a connection and gives its number, from 1.
    pub(super) fn connection(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed) + 1
    }

    /// Counts a request.
    pub(super) fn request(self: &Arc<Self>) -> Guard {
        self.requests.fetch_add(1, Relaxed);
        Guard { counts: Some(Arc::clone(self)) }
    }
}

/// Counts its request as cancelled if dropped before `finish`.
#[derive(Debug)]
pub(super) struct Guard {
    counts: Option<Arc<Counts>>,
}

impl Guard {
    /// The mock has nothing more to say: whatever comes now is no cancellation.
    pub(super) fn finish(&mut self) {
        self.counts = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(counts) = &self.counts {
            counts.cancelled.send_modify(|cancelled| *cancelled += 1);
        }
    }
}
