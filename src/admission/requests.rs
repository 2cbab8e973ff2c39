//! Concurrent requests to providers: of one token, of one user, and of all. Counters are sharded, so that workers seldom
//! meet at a lock, and never hold one for longer than an addition.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Admission, Cause, Limits};
use crate::name::UserId;

const SHARDS: usize = 64;

#[derive(Debug)]
pub(super) struct Requests {
    total: AtomicUsize,
    max: usize,
    tokens: Counters,
    users: Counters,
    /// Seeded at random, so that no two users share a key again after a restart.
    hasher: foldhash::quality::RandomState,
}

/// A request that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRefusal {
    /// The limit that was reached.
    pub cause: Cause,
    /// Its value.
    pub limit: usize,
}

/// A counted request. Dropping it gives its place back.
#[derive(Debug)]
pub struct RequestGuard {
    admission: Arc<Admission>,
    token: u64,
    user: u64,
}

impl Requests {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            total: AtomicUsize::new(0),
            max: limits.requests,
            tokens: Counters::new(limits.requests_per_token),
            // Without a limit, too: a refusal for the limit of all names the user with the most requests.
            users: Counters::new(limits.requests_per_user.or(Some(usize::MAX))),
            hasher: foldhash::quality::RandomState::default(),
        }
    }

    /// Requests at this moment.
    pub(super) fn running(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// The user with the most requests, and their number. None if nobody has two.
    pub(super) fn largest_user(&self) -> Option<(UserId, usize)> {
        self.users.largest()
    }

    /// Counts a request. Returns the key of its user.
    fn acquire(&self, token: u64, user: &UserId) -> Result<u64, RequestRefusal> {
        let refusal = |cause| move |limit| RequestRefusal { cause, limit };
        self.tokens.acquire(token, None).map_err(refusal(Cause::Token))?;
        let key = self.hasher.hash_one(user.as_str());
        if let Err(limit) = self.users.acquire(key, Some(user)) {
            self.tokens.release(token);
            return Err(refusal(Cause::User)(limit));
        }
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.release(token, key);
            return Err(refusal(Cause::Requests)(self.max));
        }
        Ok(key)
    }

    fn release(&self, token: u64, user: u64) {
        self.total.fetch_sub(1, Ordering::Relaxed);
        self.users.release(user);
        self.tokens.release(token);
    }
}

impl RequestGuard {
    /// `token` is a part of the token's SHA-256: as good as unique.
    pub(super) fn acquire(
        admission: &Arc<Admission>,
        token: u64,
        user: &UserId,
    ) -> Result<Self, RequestRefusal> {
        let user = admission.requests.acquire(token, user)?;
        Ok(Self { admission: Arc::clone(admission), token, user })
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.admission.requests.release(self.token, self.user);
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

type Shard = HashMap<u64, Count, BuildHasherDefault<Identity>>;

/// The requests of one key.
#[derive(Debug, Default)]
struct Count {
    now: usize,
    /// Their user, from the second one on: most callers have one request at a time, which shall cost little.
    user: Option<UserId>,
}

/// One count per key. A key without requests has no entry.
#[derive(Debug)]
struct Counters {
    /// None for no limit.
    limit: Option<usize>,
    shards: [Mutex<Shard>; SHARDS],
}

impl Counters {
    fn new(limit: Option<usize>) -> Self {
        Self { limit, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Counts one. The limit, and it is not counted, if there are as many already.
    fn acquire(&self, key: u64, user: Option<&UserId>) -> Result<(), usize> {
        let Some(limit) = self.limit else { return Ok(()) };
        let mut shard = self.shard(key);
        let count = shard.entry(key).or_default();
        if count.now >= limit {
            return Err(limit);
        }
        count.now += 1;
        if count.now == 2 && count.user.is_none() {
            count.user = user.cloned();
        }
        Ok(())
    }

    fn largest(&self) -> Option<(UserId, usize)> {
        let mut largest: Option<(UserId, usize)> = None;
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let most = shard.values().filter_map(|count| Some((count.user.as_ref()?, count.now)));
            if let Some((user, now)) = most.max_by_key(|(_, now)| *now)
                && largest.as_ref().is_none_or(|(_, before)| now > *before)
            {
                largest = Some((user.clone(), now));
            }
        }
        largest
    }

    fn release(&self, key: u64) {
        if self.limit.is_none() {
            return;
        }
        let mut shard = self.shard(key);
        let Some(count) = shard.get_mut(&key) else { return };
        count.now -= 1;
        if count.now == 0 {
            shard.remove(&key);
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // Other bits than the table inside uses.
        let index = usize::try_from((key >> 32) % SHARDS as u64).expect("a shard's number is small");
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admission::{Overrides, Resources};

    fn admission(overrides: &Overrides) -> Arc<Admission> {
        let resources = Resources { open_files: 10_000, memory: 1 << 40 };
        Admission::new(Limits::derive(resources, overrides, 1, 64 << 10), 1)
    }

    fn acquire(admission: &Arc<Admission>, token: u64, user: &str) -> Result<RequestGuard, Cause> {
        let user = UserId::new(&format!("usr_{user:0>16}")).unwrap();
        RequestGuard::acquire(admission, token, &user).map_err(|refusal| refusal.cause)
    }

    #[test]
    fn each_limit_refuses_what_is_beyond_it_and_takes_the_next_again() {
        let overrides = Overrides {
            requests_per_token: Some(2),
            requests_per_user: Some(3),
            requests: Some(4),
            ..Overrides::default()
        };
        let admission = admission(&overrides);
        let check = |token, user, expected| {
            assert_eq!(acquire(&admission, token, user).map(drop).unwrap_err(), expected);
        };
        let first = acquire(&admission, 1, "a").unwrap();
        let mut held = vec![acquire(&admission, 1, "a").unwrap()];
        check(1, "a", Cause::Token);
        held.push(acquire(&admission, 2, "a").unwrap());
        check(2, "a", Cause::User);
        held.push(acquire(&admission, 3, "b").unwrap());
        check(3, "b", Cause::Requests);
        let largest = admission.requests.largest_user().map(|(user, now)| (user.to_string(), now));
        assert_eq!(largest, Some(("usr_000000000000000a".to_owned(), 3)));
        drop(first);
        held.push(acquire(&admission, 1, "a").unwrap());
        drop(held);
        assert_eq!(admission.requests.running(), 0);
        for counters in [&admission.requests.tokens, &admission.requests.users] {
            let entries = counters.shards.iter().map(|shard| shard.lock().unwrap().len());
            assert_eq!(entries.sum::<usize>(), 0, "a caller without requests leaves no entry");
        }
    }

    #[test]
    fn zero_is_no_limit() {
        let none =
            Overrides { requests_per_token: Some(0), requests_per_user: Some(0), ..Overrides::default() };
        let admission = admission(&none);
        let held: Vec<_> = (0..3000).map(|_| acquire(&admission, 1, "a")).collect();
        assert!(held.iter().all(Result::is_ok));
    }

    proptest! {
        /// Whatever comes and goes, in whatever order: no limit is exceeded, nobody is refused below all of them.
        #[test]
        fn counts_are_exact(steps in prop::collection::vec((0..4_u64, 0..2_usize, any::<bool>()), 0..200)) {
            let overrides = Overrides {
                requests_per_token: Some(3),
                requests_per_user: Some(5),
                requests: Some(8),
                ..Overrides::default()
            };
            let admission = admission(&overrides);
            let mut held: Vec<(u64, usize, RequestGuard)> = Vec::new();
            for (token, user, goes) in steps {
                if goes {
                    if !held.is_empty() {
                        held.swap_remove(usize::try_from(token).unwrap() % held.len());
                    }
                    continue;
                }
                let of_token = held.iter().filter(|one| one.0 == token).count();
                let of_user = held.iter().filter(|one| one.1 == user).count();
                let expected = match (of_token, of_user, held.len()) {
                    (3.., ..) => Some(Cause::Token),
                    (_, 5.., _) => Some(Cause::User),
                    (_, _, 8..) => Some(Cause::Requests),
                    _ => None,
                };
                let acquired = acquire(&admission, token, ["a", "b"][user]);
                prop_assert_eq!(acquired.as_ref().err().copied(), expected);
                held.extend(acquired.ok().map(|guard| (token, user, guard)));
            }
        }
    }
}
