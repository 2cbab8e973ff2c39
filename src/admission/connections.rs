//! The connections of one kind: how many are open, and which of them are idle, the one that is idle for longest first.
//!
//! Idle connections are listed per listener, so that a worker meets no other on a warm request. An entry is never removed
//! when its connection gets a request: it becomes stale, and is skipped, or swept out once stale ones outnumber the rest.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{ClientConnection, client_connection::Epoch};

/// Stale entries that are not worth a sweep.
const FEW: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    /// Connections above the limit: they replace idle ones that are being closed.
    slack: usize,
    open: AtomicUsize,
    /// By listener.
    idle: Box<[Mutex<VecDeque<Idle>>]>,
}

#[derive(Debug)]
struct Idle {
    connection: Arc<ClientConnection>,
    since: Epoch,
}

/// A place in a pool, until [`Place::leave`].
#[derive(Debug)]
pub(super) struct Place {
    pool: Pool,
    listener: usize,
}

impl Pool {
    pub(super) fn new(limit: usize, slack: usize, listeners: usize) -> Self {
        let idle = (0..listeners).map(|_| Mutex::default()).collect();
        Self(Arc::new(Shared { limit, slack, open: AtomicUsize::new(0), idle }))
    }

    /// A place for a connection of a listener. If the pool is full, an idle connection has to go. None if there is none.
    pub(super) fn open(&self, listener: usize) -> Option<Place> {
        let pool = &*self.0;
        let open = pool.open.fetch_add(1, Ordering::Relaxed);
        // Also where this one is refused, so that there is room for the next.
        if open < pool.limit || (self.evict_idle(listener) && open < pool.limit + pool.slack) {
            return Some(Place { pool: self.clone(), listener });
        }
        pool.open.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Asks the connection that is idle for longest to close: one of this listener, or else of another. False if none is
    /// idle.
    pub(super) fn evict_idle(&self, listener: usize) -> bool {
        let lists = self.0.idle.len();
        (0..lists).any(|more| {
            let mut list = self.list((listener + more) % lists);
            while let Some(Idle { connection, since }) = list.pop_front() {
                if connection.is_idle_since(since) {
                    connection.evict();
                    return true;
                }
            }
            false
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() >= self.0.limit
    }

    pub(super) fn count(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    fn list(&self, listener: usize) -> MutexGuard<'_, VecDeque<Idle>> {
        self.0.idle[listener].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Lists a connection that became idle.
    pub(super) fn add_idle(&self, connection: &Arc<ClientConnection>, since: Epoch) {
        let open = self.pool.count();
        let mut list = self.pool.list(self.listener);
        list.push_back(Idle { connection: Arc::clone(connection), since });
        if list.len() > FEW + 2 * open {
            list.retain(|idle| idle.connection.is_idle_since(idle.since));
        }
    }

    /// Gives the place back, once. A list of idle connections may refer to the connection for longer.
    pub(super) fn leave(&self) {
        self.pool.0.open.fetch_sub(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn listed(&self) -> usize {
        self.pool.list(self.listener).len()
    }
}
