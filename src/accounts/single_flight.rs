//! Single flight: of concurrent lookups of the same token in one worker, one runs, and the others wait for its result.
//! Bounded by the number of requests.
//!
//! It does no lookups and has no clock: `lookup` does, and sets the deadlines.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::token::Candidates;

/// Lookups in flight, by their candidates.
#[derive(Debug)]
pub(super) struct SingleFlight<T>(Mutex<HashMap<Candidates, InFlight<T>>>);

/// The result for followers. Only the leader gets the reason of a failure.
pub(super) type Shared<T> = Result<Option<T>, NoAnswer>;

/// The lookup failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoAnswer;

#[derive(Debug)]
struct InFlight<T> {
    version: u64,
    landed: watch::Receiver<Option<Shared<T>>>,
}

/// The role of a request in a lookup.
#[derive(Debug)]
pub(super) enum Role<'a, T> {
    /// Do the lookup, and publish the result.
    Ask(Leader<'a, T>),
    /// Wait for the leader's result. If the sender is dropped, the leader has gone: join again.
    Wait(watch::Receiver<Option<Shared<T>>>),
}

/// The leader's handle.
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
    /// Joins a lookup. One of an older version does not count: it may have read the store before the change that this
    /// request has to see.
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
    /// Publishes the result to the followers.
    pub(super) fn tell(self, landed: Shared<T>) {
        self.tell.send_replace(Some(landed));
    }
}

impl<T> Drop for Leader<'_, T> {
    /// Done or abandoned: the next request starts a new lookup. One of a newer version stays.
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
