//! Token caches: known tokens by hash and shape, refused ones by all that was looked up, both bounded. Each worker has one,
//! and all share the entries that any of them looked up. They hold hashes, never tokens. They do no lookups and read no
//! clock; `lookup` fills them. A known token's key has no vendor's prefix, so that it has one entry. A text may contain
//! several tokens, of which the first counts: an entry of a later one is used only if the earlier ones are known not to
//! exist. So the result is that of a lookup, whatever was looked up before.
//!
//! Cache invalidation: an entry is fresh while no change in the store has invalidated it. Another one is looked up again.
//! If that lookup fails, an entry that no known change has invalidated is used, for the grace period. One that a change
//! has invalidated is never used: the change may be a revocation.

mod counts;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub use counts::CacheCounts;

use super::{
    Caller,
    bloom_filter::BloomFilter,
    lru::LruMap,
    single_flight::SingleFlight,
    token::{Candidate, Candidates, Shape},
};
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
    /// The last change that concerns it.
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
    pub(super) counts: Arc<CacheCounts>,
}

impl Default for LocalCache {
    fn default() -> Self {
        Self { callers: TokenCache::new(), admins: TokenCache::new() }
    }
}

impl LocalCache {
    /// The numbers of its accesses for users' tokens.
    pub fn counts(&self) -> &Arc<CacheCounts> {
        &self.callers.counts
    }
}

impl<T: Cached> TokenCache<T> {
    fn new() -> Self {
        Self {
            entries: Mutex::new(Entries::new(MAX_KNOWN, MAX_REFUSED)),
            single_flight: SingleFlight::default(),
            counts: Arc::default(),
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
    /// The hashes of all tokens.
    pub(super) filter: &'a BloomFilter,
}

impl Now<'_> {
    /// The time since the invalidations were last known to be complete.
    pub(super) fn silence(&self) -> Duration {
        self.at.saturating_duration_since(self.confirmed)
    }
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
    /// An entry that has to be looked up again. The value is used if the store fails; there is none after a change.
    Stale(Candidate, Option<T>),
    /// No entry.
    Miss,
}

/// Cached entries of one kind of token.
#[derive(Debug)]
pub(super) struct Entries<T> {
    known: LruMap<Candidate, Entry<Known<T>>>,
    refused: LruMap<Candidates, Entry<()>>,
    /// Time of the store's last response.
    responded: Option<Instant>,
    /// Tokens whose use has to be reported.
    used: Vec<TokenHash>,
}

/// The known tokens that any worker has looked up. A worker takes an entry from here that it does not have, so that all
/// workers know the same callers while the store is away. The lock is held for a few map accesses, and never by a request
/// whose token its worker knows.
#[derive(Debug)]
pub(super) struct SharedEntries<T>(Mutex<LruMap<Candidate, Entry<Known<T>>>>);

#[derive(Debug, Clone)]
pub(super) struct Entry<T> {
    content: T,
    version: u64,
    confirmed: Instant,
    /// Time of the last failed lookup.
    failed: Option<Instant>,
    /// Time of the last report of its use.
    reported: Option<Instant>,
}

/// The state of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// Nothing has changed.
    Fresh,
    /// No change is known, but changes could not be read since.
    Unconfirmed,
    /// A change has invalidated it.
    Changed,
}

impl<T: Clone> SharedEntries<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruMap::new(MAX_KNOWN)))
    }

    /// The entry of the first candidate that has one.
    pub(super) fn find(&self, candidates: Candidates) -> Option<(Candidate, Entry<Known<T>>)> {
        let mut entries = self.lock();
        candidates.iter().find_map(|key| entries.get(&key).map(|entry| (key, entry.clone())))
    }

    /// Stores the result of a lookup, as [`Entries::insert`] does. Entries of a newer version stay.
    pub(super) fn insert(
        &self,
        candidates: Candidates,
        result: Option<&(Candidate, Known<T>)>,
        version: u64,
        at: Instant,
    ) {
        let mut entries = self.lock();
        for key in unknown(candidates, result) {
            if entries.get(&key).is_some_and(|entry| entry.version <= version) {
                entries.remove(&key);
            }
        }
        if let Some((key, content)) = result
            && entries.get(key).is_none_or(|entry| entry.version <= version)
        {
            entries.insert(*key, Entry::new(content.clone(), version, at));
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruMap<Candidate, Entry<Known<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The candidates before the known one, which are unknown; all, if none is known.
fn unknown<T>(
    candidates: Candidates,
    result: Option<&(Candidate, T)>,
) -> impl Iterator<Item = Candidate> + use<T> {
    let found = result.map(|(key, _)| *key);
    candidates.iter().take_while(move |key| Some(*key) != found)
}

impl<T: Cached> Entries<T> {
    pub(super) fn new(max_known: usize, max_refused: usize) -> Self {
        let (known, refused) = (LruMap::new(max_known), LruMap::new(max_refused));
        Self { known, refused, responded: None, used: Vec::new() }
    }

    pub(super) fn get(&mut self, candidates: Candidates, now: Now<'_>) -> CacheResult<T> {
        let mut all_expired = true;
        for key in candidates.iter() {
            match self.get_known(key, now) {
                CacheResult::Hit(None) => {}
                CacheResult::Miss => {
                    all_expired = false;
                    if !self.is_absent(key, now) {
                        break;
                    }
                }
                found @ (CacheResult::Hit(Some(_)) | CacheResult::Stale(..)) => return found,
            }
        }
        let refused = all_expired || self.is_refused(&candidates, now);
        if refused { CacheResult::Hit(None) } else { CacheResult::Miss }
    }

    /// True if the store has no token for this candidate. Of a paste token nothing has to be known: the candidate after it
    /// has the same hash, and the store has a hash only once.
    fn is_absent(&mut self, key: Candidate, now: Now<'_>) -> bool {
        let Candidate { hash, shape } = key;
        shape == Shape::Paste || now.filter.excludes(&hash) || self.is_refused(&Candidates::only(key), now)
    }

    /// The entry of one candidate; an expired token counts as refused.
    fn get_known(&mut self, key: Candidate, now: Now<'_>) -> CacheResult<T> {
        let Some(entry) = self.known.get(&key) else { return CacheResult::Miss };
        let freshness = entry.freshness(entry.content.value.changed(now.invalidations), now);
        let expired = entry.content.expired(now.wall_ms);
        match freshness {
            Freshness::Fresh if expired => return CacheResult::Hit(None),
            _ if expired || entry.is_too_old(now) => return CacheResult::Miss,
            Freshness::Fresh => {}
            Freshness::Unconfirmed if entry.is_in_backoff(now.at, self.responded) => {}
            Freshness::Unconfirmed => return CacheResult::Stale(key, Some(entry.content.value.clone())),
            Freshness::Changed => return CacheResult::Stale(key, None),
        }
        self.used.extend(entry.report_use(now.at).then_some(key.hash));
        CacheResult::Hit(Some(entry.content.value.clone()))
    }

    /// A refused token is fresh only if nothing has changed at all: any change may have been a new token.
    fn is_refused(&mut self, candidates: &Candidates, now: Now<'_>) -> bool {
        let changed = now.invalidations.current();
        self.refused
            .get(candidates)
            .is_some_and(|entry| entry.freshness(changed, now) == Freshness::Fresh && !entry.is_too_old(now))
    }

    /// Stores the result of a lookup of `candidates`, read at `version` or later: the first candidate that is known. The
    /// candidates before it are unknown; all of them, if there is no result.
    pub(super) fn insert(
        &mut self,
        candidates: Candidates,
        result: Option<(Candidate, Known<T>)>,
        version: u64,
        at: Instant,
    ) {
        self.responded = self.responded.max(Some(at));
        for key in unknown(candidates, result.as_ref()) {
            self.known.remove(&key);
        }
        if let Some((key, content)) = result {
            for absent in unknown(candidates, Some(&(key, ()))) {
                // Until the filter has all tokens, no other entry says that the ones before are none.
                self.refused.insert(Candidates::only(absent), Entry::new((), version, at));
            }
            self.refused.remove(&candidates);
            let reported = self.known.get(&key).and_then(|entry| entry.reported);
            let mut entry = Entry { reported, ..Entry::new(content, version, at) };
            self.used.extend(entry.report_use(at).then_some(key.hash));
            self.known.insert(key, entry);
        } else {
            self.refused.insert(candidates, Entry::new((), version, at));
        }
    }

    /// Takes an entry of another worker, unless its own one is as new. Returns true if it does.
    pub(super) fn adopt(&mut self, (key, entry): (Candidate, Entry<Known<T>>)) -> bool {
        let own = self.known.get(&key);
        if own.as_ref().is_some_and(|own| own.version >= entry.version) {
            return false;
        }
        let reported = own.and_then(|own| own.reported);
        self.known.insert(key, Entry { reported, failed: None, ..entry });
        true
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
    pub(super) fn back_off(&mut self, key: &Candidate, at: Instant) {
        if let Some(entry) = self.known.get(key) {
            entry.failed = Some(at);
        }
    }
}

impl<T> Entry<T> {
    fn new(content: T, version: u64, at: Instant) -> Self {
        Self { content, version, confirmed: at, failed: None, reported: None }
    }

    /// The state, with `changed` as the last change that concerns it. If there was none since it was read, it was right at
    /// the last successful poll. The time of this confirmation is recorded.
    fn freshness(&mut self, changed: u64, now: Now<'_>) -> Freshness {
        if changed > self.version {
            return Freshness::Changed;
        }
        self.confirmed = self.confirmed.max(now.confirmed);
        if now.invalidations.last_unknown() > self.version {
            Freshness::Unconfirmed
        } else {
            Freshness::Fresh
        }
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
