//! `LocalCache`: what one worker remembers of tokens, bounded in both the known and the refused ones.
//! It holds hashes, never tokens; it asks nobody and reads no clock. `lookup` fills it.
//!
//! An entry is fresh as long as nothing in the store has changed since it was read. After that it is
//! looked up again; only if that fails does a known caller's stale entry serve on, for a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::Caller;
use crate::store::TokenHash;

/// How long an entry serves after the store last confirmed it.
pub(super) const MAX_UNCONFIRMED: Duration = Duration::from_hours(1);
/// After the store has failed, known callers are served without asking for so long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

const MAX_KNOWN: usize = 100_000;
const MAX_REFUSED: usize = 10_000;

/// The cache of one worker. Its locks are for the compiler: no other thread ever takes them.
#[derive(Debug)]
pub struct LocalCache {
    pub(super) callers: Mutex<Answers<Arc<Caller>>>,
    pub(super) admins: Mutex<Answers<()>>,
}

impl Default for LocalCache {
    fn default() -> Self {
        Self {
            callers: Mutex::new(Answers::new(MAX_KNOWN, MAX_REFUSED)),
            admins: Mutex::new(Answers::new(MAX_KNOWN, MAX_REFUSED)),
        }
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
    /// Known when last asked: ask again, and give this answer if the store cannot.
    Stale(T),
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

    pub(super) fn recall(&mut self, key: &TokenHash, now: Now) -> Recall<T> {
        if let Some(entry) = self.known.get(key) {
            let fresh = entry.is_fresh(now);
            return match &entry.content {
                known if known.expired(now.wall_ms) && fresh => Recall::Fresh(None),
                known if known.expired(now.wall_ms) || entry.is_too_old(now) => Recall::Unknown,
                known if fresh || self.paused_until.is_some_and(|until| now.at < until) => {
                    Recall::Fresh(Some(known.value.clone()))
                }
                known => Recall::Stale(known.value.clone()),
            };
        }
        let refused =
            self.refused.get(key).is_some_and(|entry| entry.is_fresh(now) && !entry.is_too_old(now));
        if refused { Recall::Fresh(None) } else { Recall::Unknown }
    }

    /// Takes in an answer of the store, read at `generation` or later.
    pub(super) fn keep(&mut self, key: TokenHash, answer: Option<Known<T>>, generation: u64, at: Instant) {
        self.paused_until = None;
        if let Some(content) = answer {
            self.refused.remove(&key);
            self.known.insert(key, Dated { content, generation, confirmed: at });
        } else {
            self.known.remove(&key);
            self.refused.insert(key, Dated { content: (), generation, confirmed: at });
        }
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
