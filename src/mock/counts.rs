//! Counters: connections, requests, and requests cancelled by the client. Counting never blocks a request; a test can
//! await a count without polling.

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

/// A snapshot of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Connections accepted.
    pub connections: u64,
    /// Request heads read.
    pub requests: u64,
    /// Requests whose client disconnected before the complete response was sent.
    pub cancelled: u64,
}

impl Counts {
    /// A snapshot of the counters.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            connections: self.connections.load(Relaxed),
            requests: self.requests.load(Relaxed),
            cancelled: *self.cancelled.borrow(),
        }
    }

    /// Waits until at least `count` requests were cancelled. It has no timeout of its own.
    pub async fn cancelled_reaches(&self, count: u64) {
        let mut receiver = self.cancelled.subscribe();
        // It cannot fail: the sender is borrowed for the whole wait.
        let _reached = receiver.wait_for(|cancelled| *cancelled >= count).await;
    }

    /// Counts a connection. Returns its number, from 1.
    pub(super) fn connection(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed) + 1
    }

    /// Counts a request. The guard counts it as cancelled unless it is finished.
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
    /// Marks the response as complete: a later disconnect is no cancellation.
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
