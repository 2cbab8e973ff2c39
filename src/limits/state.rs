//! The counters of one limit, by key.

use std::{
    collections::HashMap,
    hash::BuildHasher as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use foldhash::fast::RandomState;

use super::{cover::Room, warned::Warned};
use crate::{
    call_limits::{concurrent::Concurrent, counter::Counter},
    compile::{Limit, Measure},
    syntax::OverValue,
    window::Window,
};

/// The locks of a limit.
pub const SHARDS: usize = 16;

/// The counters of one limit.
#[derive(Debug)]
pub(super) struct LimitState {
    pub(super) id: Arc<str>,
    /// The limit as it was at its last admission. None after a restart, until then.
    limit: ArcSwapOption<Limit>,
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    pub(super) admitted: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// A part of the counters, by the hash of their keys.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) entries: HashMap<Arc<str>, Entry, RandomState>,
    /// The keys whose counters differ from the store, each once.
    pub(super) changed: Vec<Arc<str>>,
}

/// The state of a limit for one key.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) counter: Counter,
    pub(super) running: Concurrent,
    /// It is among the changed ones.
    pub(super) is_changed: bool,
    /// What may be admitted before the store has to know of it.
    pub(super) room: Room,
    pub(super) warned: Warned,
}

impl LimitState {
    pub(super) fn new(id: Arc<str>) -> Self {
        Self {
            id,
            limit: ArcSwapOption::empty(),
            shards: Default::default(),
            hasher: RandomState::default(),
            admitted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Remembers the limit, if it is another one than before.
    pub(super) fn describe(&self, limit: &Arc<Limit>) {
        let known = self.limit.load();
        if !known.as_ref().is_some_and(|known| Arc::ptr_eq(known, limit)) {
            self.limit.store(Some(Arc::clone(limit)));
        }
    }

    pub(super) fn limit(&self) -> Option<Arc<Limit>> {
        self.limit.load_full()
    }

    /// The part that holds a key.
    pub(super) fn shard_of(&self, key: &str) -> MutexGuard<'_, Shard> {
        // The low bits of a hash choose its place in the map.
        let index = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default() % SHARDS;
        lock(&self.shards[index])
    }

    /// A part, by its place.
    pub(super) fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        lock(&self.shards[index])
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(lock)
    }

    pub(super) fn count(&self, is_admitted: bool) {
        let counter = if is_admitted { &self.admitted } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    /// The entry of a key, marked as changed.
    pub(super) fn changed(&mut self, key: &Arc<str>) -> &mut Entry {
        let entry = self.entries.entry(Arc::clone(key)).or_default();
        if !std::mem::replace(&mut entry.is_changed, true) {
            self.changed.push(Arc::clone(key));
        }
        entry
    }
}

/// The shortest sliding window that a kill of the process may not exceed. A restart takes a part of shorter ones, and their
/// slices end before the store has them.
const MIN_STRICT_MS: u64 = 20_000;

/// True if the store has to know of each admission of a limit: a window of requests that no kill of the process may exceed.
pub(super) fn is_strict(limit: &Limit) -> bool {
    let is_short = matches!(limit.window, Some(Window::Sliding(length)) if length < MIN_STRICT_MS);
    limit.measure == Measure::Requests && limit.over == OverValue::Reject && !is_short
}
