//! `Generation`: counts changes, and knows whom the last ones concerned, so that whoever remembers something of
//! one user need not ask again because of another's change. No reader waits for anybody.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

use super::changes::Concerns;
use crate::name::UserId;

/// Users share slots, by the last digits of their ids. A change of one costs the others there a lookup, no more.
const SLOTS: usize = 1 << 16;

/// Counts the changes to the store that this process has made or noticed. Whatever was read before a change
/// that concerns it may be out of date.
#[derive(Debug, Clone)]
pub struct Generation(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    current: AtomicU64,
    /// The last one that concerned everybody.
    everybody: AtomicU64,
    /// The last one that concerned a user of each slot.
    users: Box<[AtomicU64]>,
    /// Told of the changes that this process makes.
    made: Notify,
}

impl Default for Generation {
    fn default() -> Self {
        let [current, everybody] = [AtomicU64::new(0), AtomicU64::new(0)];
        let users = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Counts { current, everybody, users, made: Notify::new() }))
    }
}

impl Generation {
    /// The generation now. Read it before what it is to date.
    pub fn current(&self) -> u64 {
        self.0.current.load(Ordering::Acquire)
    }

    /// The last one that concerned everybody.
    pub fn of_everybody(&self) -> u64 {
        self.0.everybody.load(Ordering::Acquire)
    }

    /// The last one that concerned this user, or everybody.
    pub fn of(&self, user: &UserId) -> u64 {
        self.slot(user).load(Ordering::Acquire).max(self.of_everybody())
    }

    /// Begins a new one, for everybody. Call it after the change, not before.
    pub fn raise(&self) {
        self.raise_at(&self.0.everybody);
    }

    /// Begins a new one, for one user. Call it after the change, not before.
    pub fn raise_for(&self, user: &UserId) {
        self.raise_at(self.slot(user));
    }

    /// The same, for a change that this process has made.
    pub(super) fn made(&self, concerns: Concerns<'_>) {
        match concerns {
            Concerns::Nobody => return,
            Concerns::User(user) => self.raise_for(user),
            Concerns::Everybody => self.raise(),
        }
        self.0.made.notify_one();
    }

    /// Waits until this process has made a change.
    pub async fn next_made(&self) {
        self.0.made.notified().await;
    }

    fn raise_at(&self, last: &AtomicU64) {
        let raised = self.0.current.fetch_add(1, Ordering::AcqRel) + 1;
        last.fetch_max(raised, Ordering::AcqRel);
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
    fn a_change_concerns_one_or_all() {
        let generation = Generation::default();
        let check = |current, everybody, [one, other]: [u64; 2]| {
            let last = [user(1), user(2)].map(|user| generation.of(&user));
            assert_eq!(
                (generation.current(), generation.of_everybody(), last),
                (current, everybody, [one, other])
            );
        };
        check(0, 0, [0, 0]);
        generation.raise_for(&user(1));
        check(1, 0, [1, 0]);
        generation.clone().raise_for(&user(2));
        check(2, 0, [1, 2]);
        generation.raise();
        check(3, 3, [3, 3]);
        generation.made(Concerns::User(&user(1)));
        check(4, 3, [4, 3]);
        generation.made(Concerns::Nobody);
        check(4, 3, [4, 3]);
    }

    #[test]
    fn users_are_spread_over_all_slots() {
        let generation = Generation::default();
        (0..SLOTS as u64).for_each(|number| generation.raise_for(&user(number)));
        assert!(generation.0.users.iter().all(|slot| slot.load(Ordering::Relaxed) > 0));
    }

    #[tokio::test]
    async fn what_this_process_makes_is_told() {
        let generation = Generation::default();
        let told =
            async || tokio::time::timeout(std::time::Duration::ZERO, generation.next_made()).await.is_ok();
        generation.raise();
        assert!(!told().await);
        generation.made(Concerns::Everybody);
        assert!(told().await);
        assert!(!told().await);
    }
}
