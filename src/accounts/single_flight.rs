//! Single flight: concurrent lookups of the same token in one worker share one lookup. One request leads, and the others
//! wait for its result. The map is bounded by the number of concurrent requests.
//!
//! It does no lookups and has no clock: `lookup` does the lookups and sets the deadlines.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::token::Candidates;

/// Lookups in flight, by their candidates.
#[derive(Debug)]
pub(super) struct SingleFlight<T>(Mutex<HashMap<Candidates, InFlight<T>>>);

/// The result for the followers. Only the leader gets the reason of a failure.
pub(super) type Shared<T> = Result<Option<T>, LookupFailed>;

/// The lookup failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct LookupFailed;

#[derive(Debug)]
struct InFlight<T> {
    version: u64,
    result: watch::Receiver<Option<Shared<T>>>,
}

/// The role of a request in a lookup.
#[derive(Debug)]
pub(super) enum Role<'a, T> {
    /// Does the lookup, and publishes the result.
    Leader(Leader<'a, T>),
    /// Waits for the leader's result. If the sender is dropped, the leader was dropped: join again.
    Follower(watch::Receiver<Option<Shared<T>>>),
}

/// The leader's handle.
#[derive(Debug)]
pub(super) struct Leader<'a, T> {
    single_flight: &'a SingleFlight<T>,
    key: Candidates,
    version: u64,
    sender: watch::Sender<Option<Shared<T>>>,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> SingleFlight<T> {
    /// Joins a lookup in flight of the same version. A lookup of an older version may have read the store before a change
    /// that this request has to see.
    pub(super) fn join(&self, key: Candidates, version: u64) -> Role<'_, T> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&key).filter(|flight| flight.version == version) {
            return Role::Follower(flight.result.clone());
        }
        let (sender, result) = watch::channel(None);
        flights.insert(key, InFlight { version, result });
        Role::Leader(Leader { single_flight: self, key, version, sender })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Candidates, InFlight<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Leader<'_, T> {
    /// Publishes the result to the followers.
    pub(super) fn publish(self, result: Shared<T>) {
        self.sender.send_replace(Some(result));
    }
}

impl<T> Drop for Leader<'_, T> {
    /// Done or abandoned: the next request starts a new lookup. A lookup of a newer version stays.
    fn drop(&mut self) {
        let mut flights = self.single_flight.lock();
        if flights.get(&self.key).is_some_and(|flight| flight.version == self.version) {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(role: &Role<'_, u32>) -> bool {
        matches!(role, Role::Leader(_))
    }

    #[test]
    fn one_request_leads_and_the_others_follow_within_a_version() {
        let (flights, [a, b]) =
            (SingleFlight::<u32>::default(), ["a", "b"].map(|text| Candidates::of(text).unwrap()));
        let Role::Leader(first) = flights.join(a, 1) else { panic!("no lookup is in flight") };
        let Role::Follower(follower) = flights.join(a, 1) else { panic!("a lookup is in flight") };
        let other = flights.join(b, 1);
        assert!(leads(&other));
        let newer = flights.join(a, 2);
        assert!(leads(&newer));
        first.publish(Ok(Some(7)));
        assert!(matches!(*follower.borrow(), Some(Ok(Some(7)))));
        assert!(!leads(&flights.join(a, 2)), "the newer lookup is in flight");
        drop((newer, other));
        assert!(flights.lock().is_empty());
        assert!(leads(&flights.join(a, 2)));
    }

    #[test]
    fn a_leader_that_is_dropped_is_replaced() {
        let (flights, key) = (SingleFlight::<u32>::default(), Candidates::of("a").unwrap());
        let first = flights.join(key, 1);
        let Role::Follower(follower) = flights.join(key, 1) else { panic!("a lookup is in flight") };
        drop(first);
        assert!(follower.has_changed().is_err());
        assert!(leads(&flights.join(key, 1)));
    }
}
