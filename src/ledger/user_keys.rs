//! Bounds on the keys of one user. Tokens are a user's to make and to revoke, and each has keys of its own for each model and
//! endpoint: without a bound, one user could grow the ledger, and all reports, without end.
//!
//! Of each user, the first 1,000 keys of a day are kept apart. Further ones have the token [`OTHER`], which costs no sum of
//! a model; beyond 2,000, the model as well.

use std::{
    collections::{HashMap, HashSet},
    hash::BuildHasher as _,
    sync::Arc,
};

use foldhash::fast::RandomState;

use super::model_names::OTHER;
use crate::store::UsageKey;

/// Keys of one user on one day up to which the token is kept.
const MAX_KEYS: usize = 1000;
/// Those up to which the model is kept.
const MAX_WITHOUT_TOKEN: usize = 2 * MAX_KEYS;

/// The keys of the current day, by user, as hashes: two that are equal only let one more in.
#[derive(Debug)]
pub(super) struct UserKeys {
    day: u64,
    users: HashMap<Arc<str>, HashSet<u64, RandomState>, RandomState>,
    hashes: RandomState,
}

impl UserKeys {
    /// A day without keys.
    pub(super) fn new(day: u64) -> Self {
        Self { day, users: HashMap::default(), hashes: RandomState::default() }
    }

    /// Adds a key that the store has of this day.
    pub(super) fn add_known(&mut self, key: &UsageKey) {
        let hash = self.hashes.hash_one(key);
        self.users.entry(Arc::clone(&key.user)).or_default().insert(hash);
    }

    /// Takes the token, and then the model, out of a key beyond the bound.
    pub(super) fn bound(&mut self, day: u64, key: &mut UsageKey) {
        if day != self.day {
            self.day = day;
            self.users.clear();
        }
        let known = self.users.entry(Arc::clone(&key.user)).or_default();
        let mut is_kept = |key: &UsageKey, max: usize| {
            let hash = self.hashes.hash_one(key);
            known.contains(&hash) || (known.len() < max && known.insert(hash))
        };
        if is_kept(key, MAX_KEYS) {
            return;
        }
        if !key.token.is_empty() {
            key.token = OTHER.into();
        }
        if !is_kept(key, MAX_WITHOUT_TOKEN) && !key.model.is_empty() {
            key.model = OTHER.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_user_and_a_day_are_bounded() {
        let mut keys = UserKeys::new(5);
        let key = |user: &str, token: &str, model: &str| UsageKey {
            user: user.into(),
            token: token.into(),
            model: model.into(),
            ..UsageKey::default()
        };
        let mut check = |day, user, (token, model): (&str, &str), expected: (&str, &str)| {
            let mut found = key(user, token, model);
            keys.bound(day, &mut found);
            assert_eq!((&*found.token, &*found.model), expected, "{token} {model}");
        };
        for number in 0..1000 {
            let token = format!("t{number}");
            check(5, "eve", (&token, "m"), (&token, "m"));
        }
        check(5, "eve", ("t1000", "m"), (OTHER, "m"));
        check(5, "eve", ("t999", "m"), ("t999", "m"));
        check(5, "alice", ("t1000", "m"), ("t1000", "m"));
        for number in 0..999 {
            let model = format!("m{number}");
            check(5, "eve", ("t1", &model), (OTHER, &model));
        }
        check(5, "eve", ("t1", "more"), (OTHER, OTHER));
        check(5, "eve", ("t2", ""), (OTHER, ""));
        check(5, "eve", ("t1", "m"), ("t1", "m"));
        check(4, "eve", ("t1", "more"), ("t1", "more"));
    }
}
