//! The token cache of one worker: known and refused tokens by hash, both bounded. It holds hashes, never tokens. It does
//! no lookups and reads no clock; `lookup` fills it. The key is the token without a vendor's prefix, so that a caller has
//! one entry.
//!
//! Cache invalidation: an entry is fresh while nothing in the store that concerns it has changed since it was read.
//! Otherwise it is looked up again. Only if that fails, a known caller's stale entry serves on, for the grace period.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{Caller, segments::Segments, single_flight::SingleFlight, token::Candidates};
use crate::{
    name::AdminTokenId,
    store::{InvalidationCounter, TokenHash},
};

/// Backoff after a failed lookup of a known caller: the stale entry serves meanwhile.
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
pub(super) trait Remembered: Clone {
    /// The last invalidation that concerns it.
    fn changed(&self, invalidations: &InvalidationCounter) -> u64;
}

impl Remembered for Arc<Caller> {
    fn changed(&self, invalidations: &InvalidationCounter) -> u64 {
        invalidations.last_for(&self.id)
    }
}

impl Remembered for Arc<AdminTokenId> {
    fn changed(&self, invalidations: &InvalidationCounter) -> u64 {
        invalidations.last_for_everybody()
    }
}

/// The cache of one kind of token, with the lookups in flight.
#[derive(Debug)]
pub(super) struct TokenCache<T> {
    pub(super) answers: Mutex<Entries<T>>,
    pub(super) flights: SingleFlight<T>,
}

impl Default for LocalCache {
    fn default() -> Self {
        Self { callers: TokenCache::new(), admins: TokenCache::new() }
    }
}

impl<T: Remembered> TokenCache<T> {
    fn new() -> Self {
        Self { answers: Mutex::new(Entries::new(MAX_KNOWN, MAX_REFUSED)), flights: SingleFlight::default() }
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
pub(super) enum Recall<T> {
    /// A valid entry: the caller, or none for a refused token.
    Fresh(Option<T>),
    /// An entry that has to be looked up again. It serves if the store fails.
    Stale(TokenHash, T),
    /// No entry.
    Unknown,
}

/// Cached entries of one kind of token.
#[derive(Debug)]
pub(super) struct Entries<T> {
    known: Segments<TokenHash, Entry<Known<T>>>,
    refused: Segments<TokenHash, Entry<()>>,
    /// Time of the store's last response.
    answered: Option<Instant>,
    /// Tokens whose use is to be reported.
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
    told: Option<Instant>,
}

impl<T: Remembered> Entries<T> {
    pub(super) fn new(max_known: usize, max_refused: usize) -> Self {
        let (known, refused) = (Segments::new(max_known), Segments::new(max_refused));
        Self { known, refused, answered: None, used: Vec::new() }
    }

    pub(super) fn recall(&mut self, candidates: Candidates, now: Now<'_>) -> Recall<T> {
        let (mut stale, mut all_expired) = (None, true);
        for key in candidates.iter() {
            match self.recall_known(key, now) {
                Recall::Fresh(None) => {}
                Recall::Fresh(found) => return Recall::Fresh(found),
                Recall::Stale(key, value) => stale = stale.or(Some(Recall::Stale(key, value))),
                Recall::Unknown => all_expired = false,
            }
        }
        if let Some(stale) = stale {
            return stale;
        }
        let nobody = all_expired || self.is_refused(&candidates.whole, now);
        if nobody { Recall::Fresh(None) } else { Recall::Unknown }
    }

    /// The entry of one candidate; an expired token counts as refused.
    fn recall_known(&mut self, key: TokenHash, now: Now<'_>) -> Recall<T> {
        let Some(entry) = self.known.get(&key) else { return Recall::Unknown };
        let changed = entry.content.value.changed(now.invalidations);
        let fresh = entry.is_fresh(changed, now);
        match &entry.content {
            known if known.expired(now.wall_ms) && fresh => Recall::Fresh(None),
            known if known.expired(now.wall_ms) || entry.is_too_old(now) => Recall::Unknown,
            known if fresh || entry.is_paused(now.at, self.answered) => {
                let value = known.value.clone();
                self.used.extend(entry.tell(now.at).then_some(key));
                Recall::Fresh(Some(value))
            }
            known => Recall::Stale(key, known.value.clone()),
        }
    }

    /// A refused token is fresh only if nothing has changed at all: any change may have been a new token.
    fn is_refused(&mut self, whole: &TokenHash, now: Now<'_>) -> bool {
        let changed = now.invalidations.current();
        self.refused.get(whole).is_some_and(|entry| entry.is_fresh(changed, now) && !entry.is_too_old(now))
    }

    /// Stores the result of a lookup of `candidates`, read at `version` or later: the first one that is known. Those
    /// before it are unknown; all of them, if none is.
    pub(super) fn keep(
        &mut self,
        candidates: Candidates,
        answer: Option<(TokenHash, Known<T>)>,
        version: u64,
        at: Instant,
    ) {
        self.answered = self.answered.max(Some(at));
        let found = answer.as_ref().map(|(key, _)| *key);
        for key in candidates.iter().take_while(|key| Some(*key) != found) {
            self.known.remove(&key);
        }
        if let Some((key, content)) = answer {
            self.refused.remove(&candidates.whole);
            let told = self.known.get(&key).and_then(|entry| entry.told);
            let mut entry = Entry { content, version, confirmed: at, failed: None, told };
            self.used.extend(entry.tell(at).then_some(key));
            self.known.insert(key, entry);
        } else {
            let entry = Entry { content: (), version, confirmed: at, failed: None, told: None };
            self.refused.insert(candidates.whole, entry);
        }
    }

    /// Takes the tokens whose use is to be reported.
    pub(super) fn take_used(&mut self) -> Vec<TokenHash> {
        std::mem::take(&mut self.used)
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.known.len()
    }

    /// Starts the backoff of a known caller after a failed lookup. Others still wait for the store, since any of them
    /// may have been revoked.
    pub(super) fn pause(&mut self, key: &TokenHash, at: Instant) {
        if let Some(entry) = self.known.get(key) {
            entry.failed = Some(at);
        }
    }
}

impl<T> Entry<T> {
    /// True if no invalidation concerns it since it was read. That confirms it, and is recorded.
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

    /// True during its backoff, as long as the store has not responded to anything since.
    fn is_paused(&self, at: Instant, answered: Option<Instant>) -> bool {
        self.failed.is_some_and(|failed| at < failed + BACKOFF_AFTER_FAILURE && answered < Some(failed))
    }

    /// True if a use is to be reported now.
    fn tell(&mut self, at: Instant) -> bool {
        let due = self.told.is_none_or(|told| at.saturating_duration_since(told) >= REPORT_INTERVAL);
        if due {
            self.told = Some(at);
        }
        due
    }
}

#[cfg(test)]
mod tests;
