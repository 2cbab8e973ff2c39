//! The token cache of one worker: known and refused tokens by hash, both bounded. It holds hashes, never tokens. It does
//! no lookups and reads no clock; `lookup` fills it. A known token's key has no vendor's prefix, so that it has one entry.
//!
//! Cache invalidation: an entry is fresh while no change in the store has invalidated it. A stale entry is looked up
//! again. If that lookup fails, a known caller's stale entry is used, for the grace period.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{Caller, lru::LruMap, single_flight::SingleFlight, token::Candidates};
use crate::{
    name::AdminTokenId,
    store::{InvalidationCounter, TokenHash},
};

/// Backoff after a failed lookup of a known caller. Its stale entry is used meanwhile.
const BACKOFF_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Minimum interval between two reports of a token's use.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

const MAX_KNOWN: usize = 100_000;
const MAX_REFUSED: usize = 10_000;

/// The cache of one worker. Its locks are never contended: no other thread takes them.
#[derive(Debug)]
pub struct LocalCache {
    pub(super) callers: TokenCache<Arc<Caller>>,
    pub(super) admins: TokenCache<Arc<AdminTokenId>>,
}

/// A value that the cache holds for a token.
pub(super) trait Cached: Clone {
    /// The last invalidation that concerns it.
    fn changed(&self, invalidations: &InvalidationCounter) -> u64;
}

impl Cached for Arc<Caller> {
    fn changed(&self, invalidations: &InvalidationCounter) -> u64 {
        invalidations.last_for(&self.id)
    }
}

impl Cached for Arc<AdminTokenId> {
    fn changed(&self, invalidations: &InvalidationCounter) -> u64 {
        invalidations.last_for_everybody()
    }
}

/// The cache of one kind of token, with the lookups in flight.
#[derive(Debug)]
pub(super) struct TokenCache<T> {
    pub(super) entries: Mutex<Entries<T>>,
    pub(super) single_flight: SingleFlight<T>,
}

impl Default for LocalCache {
    fn default() -> Self {
        Self { callers: TokenCache::new(), admins: TokenCache::new() }
    }
}

impl<T: Cached> TokenCache<T> {
    fn new() -> Self {
        Self {
            entries: Mutex::new(Entries::new(MAX_KNOWN, MAX_REFUSED)),
            single_flight: SingleFlight::default(),
        }
    }
}

/// Time and store state at a cache access.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now<'a> {
    /// The monotonic clock.
    pub(super) at: Instant,
    /// The wall clock, for the expiry of tokens.
    pub(super) wall_ms: u64,
    /// Invalidations by changes of the store.
    pub(super) invalidations: &'a InvalidationCounter,
    /// The time up to which the invalidations are known to be complete.
    pub(super) confirmed: Instant,
    /// The grace period of an entry after its last confirmation.
    pub(super) grace: Duration,
}

/// A token that the store knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known<T> {
    pub(super) value: T,
    /// The token's expiry, in milliseconds since 1970.
    pub(super) expires_at_ms: Option<u64>,
}

impl<T> Known<T> {
    pub(super) fn expired(&self, wall_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= wall_ms)
    }
}

/// The result of a cache access.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CacheResult<T> {
    /// A fresh entry: the caller, or none for a refused token.
    Hit(Option<T>),
    /// An entry that has to be looked up again. It is used if the store fails.
    Stale(TokenHash, T),
    /// No entry.
    Miss,
}

/// Cached entries of one kind of token.
#[derive(Debug)]
pub(super) struct Entries<T> {
    known: LruMap<TokenHash, Entry<Known<T>>>,
    refused: LruMap<TokenHash, Entry<()>>,
    /// Time of the store's last response.
    responded: Option<Instant>,
    /// Tokens whose use has to be reported.
    used: Vec<TokenHash>,
}

#[derive(Debug)]
struct Entry<T> {
    content: T,
    version: u64,
    confirmed: Instant,
    /// Time of the last failed lookup.
    failed: Option<Instant>,
    /// Time of the last report of its use.
    reported: Option<Instant>,
}

impl<T: Cached> Entries<T> {
    pub(super) fn new(max_known: usize, max_refused: usize) -> Self {
        let (known, refused) = (LruMap::new(max_known), LruMap::new(max_refused));
        Self { known, refused, responded: None, used: Vec::new() }
    }

    pub(super) fn get(&mut self, candidates: Candidates, now: Now<'_>) -> CacheResult<T> {
        let (mut stale, mut all_expired) = (None, true);
        for key in candidates.iter() {
            match self.get_known(key, now) {
                CacheResult::Hit(None) => {}
                CacheResult::Hit(found) => return CacheResult::Hit(found),
                CacheResult::Stale(key, value) => stale = stale.or(Some(CacheResult::Stale(key, value))),
                CacheResult::Miss => all_expired = false,
            }
        }
        if let Some(stale) = stale {
            return stale;
        }
        let refused = all_expired || self.is_refused(&candidates.whole, now);
        if refused { CacheResult::Hit(None) } else { CacheResult::Miss }
    }

    /// The entry of one candidate; an expired token counts as refused.
    fn get_known(&mut self, key: TokenHash, now: Now<'_>) -> CacheResult<T> {
        let Some(entry) = self.known.get(&key) else { return CacheResult::Miss };
        let changed = entry.content.value.changed(now.invalidations);
        let fresh = entry.is_fresh(changed, now);
        match &entry.content {
            known if known.expired(now.wall_ms) && fresh => CacheResult::Hit(None),
            known if known.expired(now.wall_ms) || entry.is_too_old(now) => CacheResult::Miss,
            known if fresh || entry.is_in_backoff(now.at, self.responded) => {
                let value = known.value.clone();
                self.used.extend(entry.report_use(now.at).then_some(key));
                CacheResult::Hit(Some(value))
            }
            known => CacheResult::Stale(key, known.value.clone()),
        }
    }

    /// A refused token is fresh only if nothing has changed at all: any change may have been a new token.
    fn is_refused(&mut self, whole: &TokenHash, now: Now<'_>) -> bool {
        let changed = now.invalidations.current();
        self.refused.get(whole).is_some_and(|entry| entry.is_fresh(changed, now) && !entry.is_too_old(now))
    }

    /// Stores the result of a lookup of `candidates`, read at `version` or later: the first candidate that is known. The
    /// candidates before it are unknown; all of them, if there is no result.
    pub(super) fn insert(
        &mut self,
        candidates: Candidates,
        result: Option<(TokenHash, Known<T>)>,
        version: u64,
        at: Instant,
    ) {
        self.responded = self.responded.max(Some(at));
        let found = result.as_ref().map(|(key, _)| *key);
        for key in candidates.iter().take_while(|key| Some(*key) != found) {
            self.known.remove(&key);
        }
        if let Some((key, content)) = result {
            self.refused.remove(&candidates.whole);
            let reported = self.known.get(&key).and_then(|entry| entry.reported);
            let mut entry = Entry { content, version, confirmed: at, failed: None, reported };
            self.used.extend(entry.report_use(at).then_some(key));
            self.known.insert(key, entry);
        } else {
            let entry = Entry { content: (), version, confirmed: at, failed: None, reported: None };
            self.refused.insert(candidates.whole, entry);
        }
    }

    /// Takes the tokens whose use has to be reported.
    pub(super) fn take_used(&mut self) -> Vec<TokenHash> {
        std::mem::take(&mut self.used)
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.known.len()
    }

    /// Starts the backoff of a known caller after a failed lookup. Other callers are still looked up, since any of them
    /// may have been revoked.
    pub(super) fn back_off(&mut self, key: &TokenHash, at: Instant) {
        if let Some(entry) = self.known.get(key) {
            entry.failed = Some(at);
        }
    }
}

impl<T> Entry<T> {
    /// True if no change has invalidated it since it was read. The time of this confirmation is recorded.
    fn is_fresh(&mut self, changed: u64, now: Now<'_>) -> bool {
        let fresh = changed <= self.version;
        if fresh {
            self.confirmed = self.confirmed.max(now.confirmed);
        }
        fresh
    }

    fn is_too_old(&self, now: Now<'_>) -> bool {
        now.at.saturating_duration_since(self.confirmed) > now.grace
    }

    /// True during its backoff. The backoff ends early if the store responds to any lookup.
    fn is_in_backoff(&self, at: Instant, responded: Option<Instant>) -> bool {
        self.failed.is_some_and(|failed| at < failed + BACKOFF_AFTER_FAILURE && responded < Some(failed))
    }

    /// True if a use has to be reported now. The time is recorded.
    fn report_use(&mut self, at: Instant) -> bool {
        let due =
            self.reported.is_none_or(|reported| at.saturating_duration_since(reported) >= REPORT_INTERVAL);
        if due {
            self.reported = Some(at);
        }
        due
    }
}

#[cfg(test)]
mod tests;
