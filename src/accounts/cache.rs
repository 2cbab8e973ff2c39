//! `LocalCache`: what one worker remembers of tokens, bounded in both the known and the refused ones.
//! It holds hashes, never tokens; it asks nobody and reads no clock. `lookup` fills it. A caller is kept
//! under the token alone, whatever vendor's prefix it came with, so that nobody is known under many keys.
//!
//! An entry is fresh as long as nothing in the store has changed since it was read. After that it is
//! looked up again; only if that fails does a known caller's stale entry serve on, for a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{Caller, flight::Flights, token::Candidates};
use crate::{name::AdminTokenId, store::TokenHash};

/// How long an entry serves after the store last confirmed it.
pub(super) const MAX_UNCONFIRMED: Duration = Duration::from_hours(1);
/// After the store has failed, known callers are served without asking for so long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

const MAX_KNOWN: usize = 100_000;
const MAX_REFUSED: usize = 10_000;

/// The cache of one worker. Its locks are for the compiler: no other thread ever takes them.
#[derive(Debug)]
pub struct LocalCache {
    pub(super) callers: Memory<Arc<Caller>>,
    pub(super) admins: Memory<Arc<AdminTokenId>>,
}

/// What is remembered of one kind of token, and what is being asked.
#[derive(Debug)]
pub(super) struct Memory<T> {
    pub(super) answers: Mutex<Answers<T>>,
    pub(super) flights: Flights<T>,
}

impl Default for LocalCache {
    fn default() -> Self {
        Self { callers: Memory::new(), admins: Memory::new() }
    }
}

impl<T: Clone> Memory<T> {
    fn new() -> Self {
        Self { answers: Mutex::new(Answers::new(MAX_KNOWN, MAX_REFUSED)), flights: Flights::default() }
    }
}

/// The moment of a question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// The monotonic clock.
    pub(super) at: Instant,
    /// The wall clock, which tokens expire by.
    pub(super) wall_ms: u64,
    /// The generation of the store.
    pub(super) generation: u64,
    /// When the store last said that this is the generation.
    pub(super) confirmed: Instant,
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

/// Answers about one kind of token.
#[derive(Debug)]
pub(super) struct Answers<T> {
    known: Segments<Dated<Known<T>>>,
    refused: Segments<Dated<()>>,
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Dated<T> {
    content: T,
    generation: u64,
    confirmed: Instant,
}

impl<T: Clone> Answers<T> {
    pub(super) fn new(max_known: usize, max_refused: usize) -> Self {
        Self { known: Segments::new(max_known), refused: Segments::new(max_refused), paused_until: None }
    }

    pub(super) fn recall(&mut self, candidates: Candidates, now: Now) -> Recall<T> {
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
    fn recall_known(&mut self, key: TokenHash, now: Now) -> Recall<T> {
        let Some(entry) = self.known.get(&key) else { return Recall::Unknown };
        let fresh = entry.is_fresh(now);
        match &entry.content {
            known if known.expired(now.wall_ms) && fresh => Recall::Fresh(None),
            known if known.expired(now.wall_ms) || entry.is_too_old(now) => Recall::Unknown,
            known if fresh || self.paused_until.is_some_and(|until| now.at < until) => {
                Recall::Fresh(Some(known.value.clone()))
            }
            known => Recall::Stale(key, known.value.clone()),
        }
    }

    fn is_refused(&mut self, whole: &TokenHash, now: Now) -> bool {
        self.refused.get(whole).is_some_and(|entry| entry.is_fresh(now) && !entry.is_too_old(now))
    }

    /// Takes in an answer of the store about `candidates`, read at `generation` or later: which of them
    /// is known, as the first. Those before it are not, or all of them.
    pub(super) fn keep(
        &mut self,
        candidates: Candidates,
        answer: Option<(TokenHash, Known<T>)>,
        generation: u64,
        at: Instant,
    ) {
        self.paused_until = None;
        let found = answer.as_ref().map(|(key, _)| *key);
        for key in candidates.iter().take_while(|key| Some(*key) != found) {
            self.known.remove(&key);
        }
        if let Some((key, content)) = answer {
            self.refused.remove(&candidates.whole);
            self.known.insert(key, Dated { content, generation, confirmed: at });
        } else {
            self.refused.insert(candidates.whole, Dated { content: (), generation, confirmed: at });
        }
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.known.young.len() + self.known.old.len()
    }

    /// The store did not answer: known callers do not wait for it again at once.
    pub(super) fn pause(&mut self, at: Instant) {
        self.paused_until = Some(at + PAUSE_AFTER_FAILURE);
    }
}

impl<T> Dated<T> {
    /// Nothing has changed since. That is a confirmation, and is noted as one.
    fn is_fresh(&mut self, now: Now) -> bool {
        let fresh = self.generation == now.generation;
        if fresh {
            self.confirmed = self.confirmed.max(now.confirmed);
        }
        fresh
    }

    fn is_too_old(&self, now: Now) -> bool {
        now.at.saturating_duration_since(self.confirmed) > MAX_UNCONFIRMED
    }
}

/// A bounded map that forgets what was not used for longest, roughly: when the young half is full, it
/// becomes the old one, and the old one goes. What is used in the old half becomes young again.
#[derive(Debug)]
struct Segments<V> {
    young: HashMap<TokenHash, V>,
    old: HashMap<TokenHash, V>,
    half: usize,
}

impl<V> Segments<V> {
    fn new(limit: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (limit / 2).max(1) }
    }

    fn get(&mut self, key: &TokenHash) -> Option<&mut V> {
        if let Some(value) = self.old.remove(key) {
            self.insert(*key, value);
        }
        self.young.get_mut(key)
    }

    fn insert(&mut self, key: TokenHash, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn remove(&mut self, key: &TokenHash) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests;
