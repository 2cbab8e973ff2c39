//! `LocalCache`: what one worker remembers of tokens, bounded in both the known and the refused ones.
//! It holds hashes, never tokens; it asks nobody and reads no clock. `lookup` fills it. A caller is kept
//! under the token alone, whatever vendor's prefix it came with, so that nobody is known under many keys.
//!
//! An entry is fresh as long as nothing in the store that concerns it has changed since it was read. After that it
//! is looked up again; only if that fails does a known caller's stale entry serve on, for a time.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{Caller, segments::Segments, single_flight::SingleFlight, token::Candidates};
use crate::{
    name::AdminTokenId,
    store::{InvalidationCounter, TokenHash},
};

/// After the store has failed about a known caller, that one is served without asking for so long.
const BACKOFF_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A token's use is told no more often than that.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

const MAX_KNOWN: usize = 100_000;
const MAX_REFUSED: usize = 10_000;

/// The cache of one worker. Its locks are for the compiler: no other thread ever takes them.
#[derive(Debug)]
pub struct LocalCache {
    pub(super) callers: TokenCache<Arc<Caller>>,
    pub(super) admins: TokenCache<Arc<AdminTokenId>>,
}

/// What a cache remembers of a token.
pub(super) trait Remembered: Clone {
    /// The last version that concerned it.
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

/// What is remembered of one kind of token, and what is being asked.
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

/// The moment of a question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now<'a> {
    /// The monotonic clock.
    pub(super) at: Instant,
    /// The wall clock, which tokens expire by.
    pub(super) wall_ms: u64,
    /// What has changed in the store.
    pub(super) invalidations: &'a InvalidationCounter,
    /// When the store last said that this is all that has.
    pub(super) confirmed: Instant,
    /// How long an entry serves after the store last confirmed it.
    pub(super) grace: Duration,
}

/// What a token was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known<T> {
    pub(super) value: T,
    /// From when on the token is refused, in milliseconds since 1970.
    pub(super) expires_at_ms: Option<u64>,
}

impl<T> Known<T> {
    pub(super) fn expired(&self, wall_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= wall_ms)
    }
}

/// What the cache says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recall<T> {
    /// An answer to give: who it is, or nobody.
    Fresh(Option<T>),
    /// This candidate was known when last asked: ask again, and give this answer if the store cannot.
    Stale(TokenHash, T),
    /// Ask.
    Unknown,
}

/// Entries about one kind of token.
#[derive(Debug)]
pub(super) struct Entries<T> {
    known: Segments<TokenHash, Entry<Known<T>>>,
    refused: Segments<TokenHash, Entry<()>>,
    /// When the store last answered.
    answered: Option<Instant>,
    /// Tokens whose use is to be told.
    used: Vec<TokenHash>,
}

#[derive(Debug)]
struct Entry<T> {
    content: T,
    version: u64,
    confirmed: Instant,
    /// When the store last did not answer about it.
    failed: Option<Instant>,
    /// When its use was last told.
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

    /// What is known of one candidate; nobody, if it has expired.
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

    /// Any change may have been a new token.
    fn is_refused(&mut self, whole: &TokenHash, now: Now<'_>) -> bool {
        let changed = now.invalidations.current();
        self.refused.get(whole).is_some_and(|entry| entry.is_fresh(changed, now) && !entry.is_too_old(now))
    }

    /// Takes in an answer of the store about `candidates`, read at `version` or later: which of them
    /// is known, as the first. Those before it are not, or all of them.
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

    /// The tokens whose use is to be told now.
    pub(super) fn take_used(&mut self) -> Vec<TokenHash> {
        std::mem::take(&mut self.used)
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.known.len()
    }

    /// The store did not answer about one that is known: that one does not wait for it again at once. The others
    /// do, since any of them may have been revoked.
    pub(super) fn pause(&mut self, key: &TokenHash, at: Instant) {
        if let Some(entry) = self.known.get(key) {
            entry.failed = Some(at);
        }
    }
}

impl<T> Entry<T> {
    /// Nothing that concerns it has changed since. That is a confirmation, and is noted as one.
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

    /// Whether the store has just not answered about it, nor anything since.
    fn is_paused(&self, at: Instant, answered: Option<Instant>) -> bool {
        self.failed.is_some_and(|failed| at < failed + BACKOFF_AFTER_FAILURE && answered < Some(failed))
    }

    /// Whether it is time to tell of a use.
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
