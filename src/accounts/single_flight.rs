//! `SingleFlight`: questions that a worker has asked and not been answered yet, so that who asks the same
//! meanwhile waits for that answer instead of asking too. Bounded by what is under way.
//!
//! It asks nobody and has no clock: `lookup` does, and sees to deadlines.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::token::Candidates;

/// The questions under way, by what they are about.
#[derive(Debug)]
pub(super) struct SingleFlight<T>(Mutex<HashMap<Candidates, InFlight<T>>>);

/// What the others are told. Why there is no answer only the one who asked gets to know.
pub(super) type Shared<T> = Result<Option<T>, NoAnswer>;

/// The store gave no answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoAnswer;

#[derive(Debug)]
struct InFlight<T> {
    version: u64,
    landed: watch::Receiver<Option<Shared<T>>>,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Role<'a, T> {
    /// Ask, and tell the others.
    Ask(Leader<'a, T>),
    /// Somebody has asked: wait. If the sender is gone, so is who asked, and the next one has to.
    Wait(watch::Receiver<Option<Shared<T>>>),
}

/// Held by the one who asks.
#[derive(Debug)]
pub(super) struct Leader<'a, T> {
    flights: &'a SingleFlight<T>,
    key: Candidates,
    version: u64,
    tell: watch::Sender<Option<Shared<T>>>,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> SingleFlight<T> {
    /// Whether to ask or to wait. A question of an older version does not do: its answer may have
    /// been read before the change that somebody asks about now.
    pub(super) fn join(&self, key: Candidates, version: u64) -> Role<'_, T> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&key).filter(|flight| flight.version == version) {
            return Role::Wait(flight.landed.clone());
        }
        let (tell, landed) = watch::channel(None);
        flights.insert(key, InFlight { version, landed });
        Role::Ask(Leader { flights: self, key, version, tell })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Candidates, InFlight<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Leader<'_, T> {
    /// Tells all who wait.
    pub(super) fn tell(self, landed: Shared<T>) {
        self.tell.send_replace(Some(landed));
    }
}

impl<T> Drop for Leader<'_, T> {
    /// Answered or given up: the next one asks anew. A question of a newer version stays.
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        if flights.get(&self.key).is_some_and(|flight| flight.version == self.version) {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(turn: &Role<'_, u32>) -> bool {
        matches!(turn, Role::Ask(_))
    }

    #[test]
    fn one_asks_and_the_others_wait_within_a_version() {
        let (flights, [a, b]) =
            (SingleFlight::<u32>::default(), ["a", "b"].map(|text| Candidates::of(text).unwrap()));
        let Role::Ask(first) = flights.join(a, 1) else { panic!("nobody has asked") };
        let Role::Wait(waiting) = flights.join(a, 1) else { panic!("somebody has asked") };
        let other = flights.join(b, 1);
        assert!(asks(&other));
        let newer = flights.join(a, 2);
        assert!(asks(&newer));
        first.tell(Ok(Some(7)));
        assert!(matches!(*waiting.borrow(), Some(Ok(Some(7)))));
        assert!(!asks(&flights.join(a, 2)), "the newer one is under way");
        drop((newer, other));
        assert!(flights.lock().is_empty());
        assert!(asks(&flights.join(a, 2)));
    }

    #[test]
    fn who_gives_up_is_followed() {
        let (flights, key) = (SingleFlight::<u32>::default(), Candidates::of("a").unwrap());
        let first = flights.join(key, 1);
        let Role::Wait(waiting) = flights.join(key, 1) else { panic!("somebody has asked") };
        drop(first);
        assert!(waiting.has_changed().is_err());
        assert!(asks(&flights.join(key, 1)));
    }
}
