//! What users have beyond the amount of a limit, for now.

use std::collections::BTreeMap;

use arc_swap::ArcSwap;

use crate::{
    name::{LimitId, UserId},
    store::LimitGrant,
};

/// The grants of all users.
#[derive(Debug, Default)]
pub struct Grants(ArcSwap<BTreeMap<LimitId, BTreeMap<UserId, Vec<LimitGrant>>>>);

impl Grants {
    /// Replaces all.
    pub fn set(&self, grants: Vec<LimitGrant>) {
        let mut by_limit: BTreeMap<LimitId, BTreeMap<UserId, Vec<LimitGrant>>> = BTreeMap::new();
        for grant in grants {
            let users = by_limit.entry(grant.limit.clone()).or_default();
            users.entry(grant.user.clone()).or_default().push(grant);
        }
        self.0.store(by_limit.into());
    }

    /// What a user has beyond the amount of a limit.
    pub fn extra(&self, limit: &LimitId, user: &UserId, now_ms: u64) -> i128 {
        let grants = self.0.load();
        if grants.is_empty() {
            return 0;
        }
        let of_user = grants.get(limit).and_then(|users| users.get(user));
        let valid = of_user.into_iter().flatten().filter(|grant| grant.until_ms > now_ms);
        valid.fold(0, |sum, grant| sum.saturating_add(grant.amount))
    }

    /// The grants of a user.
    pub fn of_user(&self, user: &UserId, now_ms: u64) -> Vec<LimitGrant> {
        let grants = self.0.load();
        let of_user = grants.values().filter_map(|users| users.get(user)).flatten();
        of_user.filter(|grant| grant.until_ms > now_ms).cloned().collect()
    }
}
