//! What users have beyond the amount of a limit, for now.

use std::collections::BTreeMap;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    name::{LimitId, UserId},
    store::LimitGrant,
};

/// The most grants at a time.
pub const MAX_GRANTS: usize = 10_000;

type ByLimit = BTreeMap<LimitId, BTreeMap<UserId, Vec<LimitGrant>>>;

/// The grants of all users.
#[derive(Debug, Default)]
pub struct Grants {
    valid: ArcSwap<ByLimit>,
    /// Held from before a change of the store until it is in effect here: changes have one order in both.
    changing: Mutex<()>,
}

impl Grants {
    /// To be held while a grant is added or ended in the store and here.
    pub async fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// All that have not ended.
    pub fn all(&self, now_ms: u64) -> Vec<LimitGrant> {
        let grants = self.valid.load();
        let all = grants.values().flat_map(BTreeMap::values).flatten();
        all.filter(|grant| grant.until_ms > now_ms).cloned().collect()
    }

    /// Adds one. Those that have ended are forgotten.
    pub fn add(&self, grant: LimitGrant, now_ms: u64) {
        let mut all = self.all(now_ms);
        all.push(grant);
        self.set(all);
    }

    /// Ends all of a user for a limit.
    pub fn end(&self, limit: &LimitId, user: &UserId, now_ms: u64) {
        let mut all = self.all(now_ms);
        all.retain(|grant| grant.limit != *limit || grant.user != *user);
        self.set(all);
    }

    /// Replaces all.
    pub fn set(&self, grants: Vec<LimitGrant>) {
        let mut by_limit: BTreeMap<LimitId, BTreeMap<UserId, Vec<LimitGrant>>> = BTreeMap::new();
        for grant in grants {
            let users = by_limit.entry(grant.limit.clone()).or_default();
            users.entry(grant.user.clone()).or_default().push(grant);
        }
        self.valid.store(by_limit.into());
    }

    /// What a user has beyond the amount of a limit.
    pub fn extra(&self, limit: &LimitId, user: &UserId, now_ms: u64) -> i128 {
        let grants = self.valid.load();
        if grants.is_empty() {
            return 0;
        }
        let of_user = grants.get(limit).and_then(|users| users.get(user));
        let valid = of_user.into_iter().flatten().filter(|grant| grant.until_ms > now_ms);
        valid.fold(0, |sum, grant| sum.saturating_add(grant.amount))
    }

    /// The grants of a user.
    pub fn of_user(&self, user: &UserId, now_ms: u64) -> Vec<LimitGrant> {
        let grants = self.valid.load();
        let of_user = grants.values().filter_map(|users| users.get(user)).flatten();
        of_user.filter(|grant| grant.until_ms > now_ms).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(limit: &str, user: u8, amount: i128, until_ms: u64) -> LimitGrant {
        let user = UserId::new(&format!("usr_{user:016x}")).unwrap();
        LimitGrant { limit: LimitId::new(limit).unwrap(), user, amount, until_ms }
    }

    #[test]
    fn grants_add_up_end_and_expire() {
        let grants = Grants::default();
        let (a, other) = (grant("a", 1, 5, 100), grant("a", 2, 50, 100));
        let check = |now_ms: u64, expected: i128| {
            assert_eq!(grants.extra(&a.limit, &a.user, now_ms), expected, "{now_ms}");
        };
        check(0, 0);
        for one in [a.clone(), grant("a", 1, 7, 200), other.clone(), grant("b", 1, 1000, 900)] {
            grants.add(one, 10);
        }
        check(99, 12);
        check(100, 7);
        check(200, 0);
        assert_eq!((grants.all(10).len(), grants.all(150).len(), grants.all(900).len()), (4, 2, 0));
        grants.end(&a.limit, &a.user, 10);
        check(10, 0);
        assert_eq!(grants.extra(&other.limit, &other.user, 10), 50);
        assert_eq!(grants.of_user(&a.user, 10), [grant("b", 1, 1000, 900)]);
        grants.add(a.clone(), 150);
        assert_eq!(grants.all(0).len(), 2, "those that had ended are forgotten");
    }
}
