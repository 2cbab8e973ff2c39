//! Numbers of the accesses to one worker's cache of tokens, readable by any thread. The worker alone writes them, with relaxed
//! atomics on a cache line of their own.

use std::sync::atomic::{AtomicU64, Ordering};

use super::CacheResult;

/// Accesses since the start, by their result.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct CacheCounts {
    hits: AtomicU64,
    stale: AtomicU64,
    misses: AtomicU64,
}

impl CacheCounts {
    /// Each result, with its number: `hit`, `stale` (looked up again, since something changed or the store was away) and
    /// `miss`.
    pub fn by_result(&self) -> [(&'static str, u64); 3] {
        let Self { hits, stale, misses } = self;
        [("hit", hits), ("stale", stale), ("miss", misses)]
            .map(|(result, number)| (result, number.load(Ordering::Relaxed)))
    }

    pub(in crate::accounts) fn add<T>(&self, result: &CacheResult<T>) {
        let number = match result {
            CacheResult::Hit(_) => &self.hits,
            CacheResult::Stale(..) => &self.stale,
            CacheResult::Miss => &self.misses,
        };
        number.fetch_add(1, Ordering::Relaxed);
    }
}
