//! Numbers of one worker's upstream connections, readable by any thread.
//!
//! The worker alone writes them, with relaxed atomics on a cache line of their own: a count costs a few nanoseconds.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Connections to upstreams, and the responses that are read from them.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ConnectionCounts {
    opened: AtomicU64,
    reused: AtomicU64,
    idle: AtomicUsize,
    streams: AtomicUsize,
}

impl ConnectionCounts {
    /// Connections opened since the start.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Requests for which an idle connection was taken since the start.
    pub fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    /// Idle connections at this moment.
    pub fn idle(&self) -> usize {
        self.idle.load(Ordering::Relaxed)
    }

    /// Responses whose head has arrived, and whose body has not ended.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    pub(super) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_reused(&self) {
        self.reused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_idle(&self, number: usize) {
        self.idle.store(number, Ordering::Relaxed);
    }
}

/// Counts a response while it lives.
#[derive(Debug)]
pub(super) struct StreamGuard(Arc<ConnectionCounts>);

impl StreamGuard {
    pub(super) fn new(counts: &Arc<ConnectionCounts>) -> Self {
        counts.streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
