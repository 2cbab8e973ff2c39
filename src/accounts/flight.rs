//! `Flights`: questions that a worker has asked and not been answered yet, so that who asks the same
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
pub(super) struct Flights<T>(Mutex<HashMap<Candidates, Flight<T>>>);

/// What the others are told. Why there is no answer only the one who asked gets to know.
pub(super) type Landed<T> = Result<Option<T>, NoAnswer>;

/// The store gave no answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoAnswer;

#[derive(Debug)]
struct Flight<T> {
    version: u64,
    landed: watch::Receiver<Option<Landed<T>>>,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Turn<'a, T> {
    /// Ask, and tell the others.
    Ask(Asking<'a, T>),
    /// Somebody has asked: wait. If the sender is gone, so is who asked, and the next one has to.
    Wait(watch::Receiver<Option<Landed<T>>>),
}

/// Held by the one who asks.
#[derive(Debug)]
pub(super) struct Asking<'a, T> {
    flights: &'a Flights<T>,
    key: Candidates,
    version: u64,
    tell: watch::Sender<Option<Landed<T>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Flights<T> {
    /// Whether to ask or to wait. A question of an older version does not do: its answer may have
    /// been read before the change that somebody asks about now.
    pub(super) fn join(&self, key: Candidates, version: u64) -> Turn<'_, T> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&key).filter(|flight| flight.version == version) {
            return Turn::Wait(flight.landed.clone());
        }
        let (tell, landed) = watch::channel(None);
        flights.insert(key, Flight { version, landed });
        Turn::Ask(Asking { flights: self, key, version, tell })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Candidates, Flight<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Asking<'_, T> {
    /// Tells all who wait.
    pub(super) fn tell(self, landed: Landed<T>) {
        self.tell.send_replace(Some(landed));
    }
}

impl<T> Drop for Asking<'_, T> {
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

    fn asks(turn: &Turn<'_, u32>) -> bool {
        matches!(turn, Turn::Ask(_))
    }

    #[test]
    fn one_asks_and_the_others_wait_within_a_version() {
        let (flights, [a, b]) =
            (Flights::<u32>::default(), ["a", "b"].map(|text| Candidates::of(text).unwrap()));
        let Turn::Ask(first) = flights.join(a, 1) else { panic!("nobody has asked") };
        let Turn::Wait(waiting) = flights.join(a, 1) else { panic!("somebody has asked") };
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
        let (flights, key) = (Flights::<u32>::default(), Candidates::of("a").unwrap());
        let first = flights.join(key, 1);
        let Turn::Wait(waiting) = flights.join(key, 1) else { panic!("somebody has asked") };
        drop(first);
        assert!(waiting.has_changed().is_err());
        assert!(asks(&flights.join(key, 1)));
    }
}
