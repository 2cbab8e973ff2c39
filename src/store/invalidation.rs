//! Cache invalidation: `InvalidationCounter` counts the changes to the store, and keeps the last one that affects each
//! user, so that a change for one user does not empty the cache of the others.
//!
//! Readers take two atomic loads and take no lock. The log of these changes for other processes is `invalidation_log`;
//! the cache that reads the counter is `accounts/cache.rs`.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::name::{Owner, UserId};

/// Slots of users, by the last four hex digits of their ids. A change for a user costs the others in the slot a lookup.
const SLOTS: usize = 1 << 16;
/// Changes of this process that are kept until a poll has seen them.
const MAX_OWN: usize = 10_000;

/// The cached callers that a change invalidates.
#[derive(Debug, Clone, Copy)]
pub(super) enum Invalidates<'a> {
    /// None: the change is to something that no cache holds.
    Nothing,
    /// Those of one user.
    User(&'a UserId),
    /// All.
    Everybody,
}

/// The same, for a task that may outlive the one that makes the change.
#[derive(Debug)]
pub(super) enum OwnedInvalidation {
    /// See [`Invalidates::Nothing`].
    Nothing,
    /// See [`Invalidates::User`].
    User(UserId),
    /// See [`Invalidates::Everybody`].
    Everybody,
}

impl Invalidates<'_> {
    pub(super) fn to_owned(self) -> OwnedInvalidation {
        match self {
            Self::Nothing => OwnedInvalidation::Nothing,
            Self::User(user) => OwnedInvalidation::User(user.clone()),
            Self::Everybody => OwnedInvalidation::Everybody,
        }
    }
}

impl OwnedInvalidation {
    pub(super) fn as_ref(&self) -> Invalidates<'_> {
        match self {
            Self::Nothing => Invalidates::Nothing,
            Self::User(user) => Invalidates::User(user),
            Self::Everybody => Invalidates::Everybody,
        }
    }
}

impl<'a> From<&'a Owner> for Invalidates<'a> {
    fn from(owner: &'a Owner) -> Self {
        match owner {
            Owner::User(user) => Self::User(user),
            Owner::Group(_) | Owner::Everybody => Self::Everybody,
        }
    }
}

/// Counts the changes to the store that this process made or noticed. A value that was read before the last change that
/// affects it may be out of date. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct InvalidationCounter(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    current: AtomicU64,
    /// The last change that affects everybody.
    everybody: AtomicU64,
    /// The last time at which changes could not be read.
    unknown: AtomicU64,
    /// The last change that affects a user of each slot.
    users: Box<[AtomicU64]>,
    /// The numbers that the log gave to changes of this process, from the last poll on. They are counted already.
    own: Mutex<BTreeSet<u64>>,
    /// Notified of the changes that this process makes.
    local: Notify,
}

impl Default for InvalidationCounter {
    fn default() -> Self {
        let [current, everybody, unknown] = std::array::from_fn(|_| AtomicU64::new(0));
        let users = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        let (own, local) = (Mutex::default(), Notify::new());
        Self(Arc::new(Counts { current, everybody, unknown, users, own, local }))
    }
}

impl InvalidationCounter {
    /// The number of the last change. Read it before reading the value: a change in between then counts as newer.
    pub fn current(&self) -> u64 {
        self.0.current.load(Ordering::Acquire)
    }

    /// The last change that affects everybody.
    pub fn last_for_everybody(&self) -> u64 {
        self.0.everybody.load(Ordering::Acquire)
    }

    /// The last change that affects this user: one for the user's slot, or for everybody.
    pub fn last_for(&self, user: &UserId) -> u64 {
        self.slot(user).load(Ordering::Acquire).max(self.last_for_everybody())
    }

    /// The last time at which changes could not be read: a value that was read before may be out of date, or not.
    pub fn last_unknown(&self) -> u64 {
        self.0.unknown.load(Ordering::Acquire)
    }

    /// Counts that changes cannot be read.
    pub fn invalidate_unknown(&self) {
        self.count(&self.0.unknown);
    }

    /// Counts a change that affects everybody. Call it after the change, not before.
    pub fn invalidate_all(&self) {
        self.count(&self.0.everybody);
    }

    /// Counts a change that affects one user. Call it after the change, not before.
    pub fn invalidate_user(&self, user: &UserId) {
        self.count(self.slot(user));
    }

    /// Counts a change that this process has committed, and wakes `local_change`. `logged` is its number in the log.
    pub(super) fn invalidate(&self, invalidates: Invalidates<'_>, logged: Option<u64>) {
        match invalidates {
            Invalidates::Nothing => return,
            Invalidates::User(user) => self.invalidate_user(user),
            Invalidates::Everybody => self.invalidate_all(),
        }
        let mut own = self.own();
        own.extend(logged);
        if own.len() > MAX_OWN {
            // It is counted again when it is polled. That costs a lookup.
            own.pop_first();
        }
        drop(own);
        self.0.local.notify_one();
    }

    /// True if the change with this number in the log is one of this process. Smaller numbers are forgotten.
    pub(super) fn is_own(&self, logged: u64) -> bool {
        let mut own = self.own();
        *own = own.split_off(&logged);
        own.contains(&logged)
    }

    fn own(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this process makes a change.
    pub async fn local_change(&self) {
        self.0.local.notified().await;
    }

    fn count(&self, last: &AtomicU64) {
        let number = self.0.current.fetch_add(1, Ordering::AcqRel) + 1;
        last.fetch_max(number, Ordering::AcqRel);
    }

    fn slot(&self, user: &UserId) -> &AtomicU64 {
        let digits = user.as_str().len() - 4;
        let slot = usize::from_str_radix(&user.as_str()[digits..], 16).expect("an id ends in hex digits");
        &self.0.users[slot]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u64) -> UserId {
        UserId::new(&format!("usr_{number:016x}")).unwrap()
    }

    #[test]
    fn a_change_affects_one_user_or_all() {
        let counter = InvalidationCounter::default();
        let check = |current, everybody, [one, other]: [u64; 2]| {
            let last = [user(1), user(2)].map(|user| counter.last_for(&user));
            assert_eq!(
                (counter.current(), counter.last_for_everybody(), last),
                (current, everybody, [one, other])
            );
        };
        check(0, 0, [0, 0]);
        counter.invalidate_user(&user(1));
        check(1, 0, [1, 0]);
        counter.clone().invalidate_user(&user(2));
        check(2, 0, [1, 2]);
        counter.invalidate_all();
        check(3, 3, [3, 3]);
        counter.invalidate(Invalidates::User(&user(1)), None);
        check(4, 3, [4, 3]);
        counter.invalidate(Invalidates::Nothing, None);
        check(4, 3, [4, 3]);
        counter.invalidate_unknown();
        check(5, 3, [4, 3]);
        assert_eq!(counter.last_unknown(), 5);
    }

    #[test]
    fn users_are_spread_over_all_slots() {
        let counter = InvalidationCounter::default();
        (0..SLOTS as u64).for_each(|number| counter.invalidate_user(&user(number)));
        assert!(counter.0.users.iter().all(|slot| slot.load(Ordering::Relaxed) > 0));
    }

    #[tokio::test]
    async fn only_changes_of_this_process_wake_the_waiter() {
        let counter = InvalidationCounter::default();
        let woken =
            async || tokio::time::timeout(std::time::Duration::ZERO, counter.local_change()).await.is_ok();
        counter.invalidate_all();
        assert!(!woken().await);
        counter.invalidate(Invalidates::Everybody, Some(7));
        assert_eq!([6, 7, 8].map(|logged| counter.is_own(logged)), [false, true, false]);
        assert!(woken().await);
        assert!(!woken().await);
    }
}
