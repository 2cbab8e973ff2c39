use std::sync::LazyLock;

use super::*;
use crate::{accounts::token::Shape, name::UserId};

/// Invalidated like a caller.
impl Cached for UserId {
    fn changed(&self, invalidations: &InvalidationCounter) -> u64 {
        invalidations.last_for(self)
    }
}

/// Invalidated by every known change.
impl Cached for u32 {
    fn changed(&self, invalidations: &InvalidationCounter) -> u64 {
        invalidations.last_for_everybody()
    }
}

fn key(number: usize) -> Candidate {
    Candidate { hash: TokenHash::of(&number.to_string()), shape: Shape::Gateway }
}

fn one(number: usize) -> Candidates {
    Candidates::only(key(number))
}

fn known(value: u32) -> Known<u32> {
    Known { value, expires_at_ms: None }
}

/// A moment `seconds` after the start, at version `version`, confirmed by a poll at `confirmed` seconds. Since the version
/// before, changes could not be read.
fn now(start: Instant, seconds: u64, version: usize, confirmed: u64) -> Now<'static> {
    static COUNTERS: LazyLock<[InvalidationCounter; 4]> =
        LazyLock::new(|| counters(InvalidationCounter::invalidate_unknown));
    at(&COUNTERS[version], start, seconds, confirmed)
}

/// The same, but there was a change.
fn changed(start: Instant, seconds: u64, version: usize, confirmed: u64) -> Now<'static> {
    static COUNTERS: LazyLock<[InvalidationCounter; 4]> =
        LazyLock::new(|| counters(InvalidationCounter::invalidate_all));
    at(&COUNTERS[version], start, seconds, confirmed)
}

fn counters(invalidate: fn(&InvalidationCounter)) -> [InvalidationCounter; 4] {
    std::array::from_fn(|count| {
        let counter = InvalidationCounter::default();
        (0..count).for_each(|_| invalidate(&counter));
        counter
    })
}

fn at(counter: &'static InvalidationCounter, start: Instant, seconds: u64, confirmed: u64) -> Now<'static> {
    static NOT_FILLED: LazyLock<BloomFilter> = LazyLock::new(BloomFilter::default);
    let after = |seconds| start + Duration::from_secs(seconds);
    Now {
        at: after(seconds),
        wall_ms: seconds * 1000,
        invalidations: counter,
        confirmed: after(confirmed),
        grace: Duration::from_hours(1),
        filter: &NOT_FILLED,
    }
}

#[test]
fn an_entry_is_fresh_until_a_change_and_is_used_for_the_grace_period() {
    let start = Instant::now();
    let mut entries = Entries::new(10, 10);
    entries.insert(one(1), Some((key(1), known(7))), 1, start);
    entries.insert(one(2), None, 1, start);
    let mut check = |number, now, expected| assert_eq!(entries.get(one(number), now), expected, "{now:?}");
    check(1, now(start, 0, 1, 0), CacheResult::Hit(Some(7)));
    check(2, now(start, 0, 1, 0), CacheResult::Hit(None));
    check(3, now(start, 0, 1, 0), CacheResult::Miss);
    // For hours, nothing changes and polls succeed.
    check(1, now(start, 9000, 1, 9000), CacheResult::Hit(Some(7)));
    // Then polls fail: the entry is used for the grace period of an hour.
    check(1, now(start, 12_600, 1, 9000), CacheResult::Hit(Some(7)));
    check(1, now(start, 12_601, 1, 9000), CacheResult::Miss);
    check(2, now(start, 12_601, 1, 9000), CacheResult::Miss);
    // Lookups fail, too.
    check(1, now(start, 12_600, 2, 9000), CacheResult::Stale(key(1), Some(7)));
    check(1, now(start, 12_601, 2, 9000), CacheResult::Miss);
    check(2, now(start, 9000, 2, 9000), CacheResult::Miss);
    // Polls succeed again, and nothing had changed: the grace period begins again.
    check(1, now(start, 12_602, 2, 12_601), CacheResult::Stale(key(1), Some(7)));
    // After a change the value is not used.
    check(1, changed(start, 12_602, 2, 12_601), CacheResult::Stale(key(1), None));
}

/// An entry that was last used long ago is as good as the last poll.
#[test]
fn the_grace_period_begins_with_the_last_poll() {
    let start = Instant::now();
    let mut entries = Entries::new(10, 10);
    entries.insert(one(1), Some((key(1), known(7))), 1, start);
    assert_eq!(entries.get(one(1), now(start, 12_600, 2, 9000)), CacheResult::Stale(key(1), Some(7)));
    assert_eq!(entries.get(one(1), now(start, 12_601, 2, 9000)), CacheResult::Miss);
}

#[test]
fn a_worker_takes_the_newest_entry_of_another() {
    let (start, shared) = (Instant::now(), SharedEntries::new());
    let mut entries = Entries::new(10, 10);
    assert!(shared.find(one(1)).is_none());
    shared.insert(one(1), Some(&(key(1), known(7))), 1, start);
    shared.insert(one(1), Some(&(key(1), known(6))), 0, start);
    shared.insert(one(1), None, 0, start);
    assert!(entries.adopt(shared.find(one(1)).unwrap()));
    assert!(!entries.adopt(shared.find(one(1)).unwrap()));
    assert_eq!(entries.get(one(1), now(start, 0, 1, 0)), CacheResult::Hit(Some(7)));
    entries.insert(one(1), Some((key(1), known(8))), 2, start);
    assert!(!entries.adopt(shared.find(one(1)).unwrap()));
    shared.insert(one(1), None, 2, start);
    assert!(shared.find(one(1)).is_none(), "it was revoked");
}

/// A paste token is not found behind a prefix, in whichever order it is presented.
#[test]
fn entries_of_one_shape_are_not_found_for_the_other() {
    let start = Instant::now();
    let [whole, prefixed] = ["a.b.c", "x-a.b.c"].map(|text| Candidates::of(text).unwrap());
    let paste = Candidate { hash: TokenHash::of("a.b.c"), shape: Shape::Paste };
    let mut entries = Entries::new(10, 10);
    entries.insert(whole, Some((paste, known(7))), 1, start);
    assert_eq!(entries.get(prefixed, now(start, 0, 1, 0)), CacheResult::Miss);
    entries.insert(prefixed, None, 1, start);
    assert_eq!(entries.get(prefixed, now(start, 0, 1, 0)), CacheResult::Hit(None));
    assert_eq!(entries.get(whole, now(start, 0, 1, 0)), CacheResult::Hit(Some(7)));
}

#[test]
fn after_a_failed_lookup_a_known_caller_is_in_backoff() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut entries = Entries::new(10, 10);
    for number in [1, 2] {
        entries.insert(one(number), Some((key(number), known(7))), 1, start);
    }
    entries.insert(one(3), None, 1, start);
    entries.back_off(&key(1), after(5));
    entries.back_off(&key(4), after(5));
    assert_eq!(entries.get(one(1), now(start, 5, 2, 5)), CacheResult::Hit(Some(7)));
    // Other callers have had no failed lookup. They may have been revoked.
    assert_eq!(entries.get(one(2), now(start, 5, 2, 5)), CacheResult::Stale(key(2), Some(7)));
    assert_eq!(entries.get(one(3), now(start, 5, 2, 5)), CacheResult::Miss);
    assert_eq!(entries.get(one(4), now(start, 5, 2, 5)), CacheResult::Miss);
    assert_eq!(entries.get(one(1), now(start, 6, 2, 5)), CacheResult::Stale(key(1), Some(7)));
    entries.back_off(&key(1), after(6));
    assert_eq!(entries.get(one(1), now(start, 6, 2, 5)), CacheResult::Hit(Some(7)));
    entries.insert(one(3), None, 2, after(6));
    assert_eq!(
        entries.get(one(1), now(start, 6, 2, 5)),
        CacheResult::Stale(key(1), Some(7)),
        "any response of the store ends the backoff"
    );
}

#[test]
fn a_cached_token_expires() {
    let start = Instant::now();
    let mut entries = Entries::new(10, 10);
    entries.insert(one(1), Some((key(1), Known { value: 7, expires_at_ms: Some(10_000) })), 1, start);
    assert_eq!(entries.get(one(1), now(start, 9, 1, 9)), CacheResult::Hit(Some(7)));
    assert_eq!(entries.get(one(1), now(start, 10, 1, 10)), CacheResult::Hit(None));
    assert_eq!(entries.get(one(1), now(start, 9, 2, 9)), CacheResult::Stale(key(1), Some(7)));
    assert_eq!(entries.get(one(1), now(start, 10, 2, 10)), CacheResult::Miss);
}

#[test]
fn a_token_is_either_known_or_refused() {
    let start = Instant::now();
    let mut entries = Entries::new(10, 10);
    entries.insert(one(1), Some((key(1), known(7))), 1, start);
    entries.insert(one(1), None, 1, start);
    assert_eq!(entries.get(one(1), now(start, 0, 1, 0)), CacheResult::Hit(None));
    entries.insert(one(1), Some((key(1), known(8))), 1, start);
    assert_eq!(entries.get(one(1), now(start, 0, 1, 0)), CacheResult::Hit(Some(8)));
}

#[test]
fn refused_tokens_are_bounded_and_evict_no_known_token() {
    let start = Instant::now();
    let mut entries = Entries::new(10, 100);
    entries.insert(one(0), Some((key(0), known(7))), 1, start);
    for number in 1..=10_000 {
        entries.insert(one(number), None, 1, start);
    }
    assert!(entries.refused.len() <= 100);
    assert_eq!(entries.get(one(0), now(start, 0, 1, 0)), CacheResult::Hit(Some(7)));
    assert_eq!(entries.get(one(10_000), now(start, 0, 1, 0)), CacheResult::Hit(None));
}

/// The filter of a store with these tokens.
fn filter_of(tokens: &[&str]) -> BloomFilter {
    let filter = BloomFilter::default();
    let bits = filter.begin(10);
    for token in tokens {
        bits.insert(&TokenHash::of(token));
    }
    filter.finish(&bits);
    filter
}

#[test]
fn a_known_token_has_one_entry_whatever_its_prefix() {
    let start = Instant::now();
    let mut entries = Entries::new(10, 10);
    let [bare, prefixed, other] = ["tg_0", "a-tg_0", "b-tg_0"].map(|text| Candidates::of(text).unwrap());
    let whole = |text| Candidate { hash: TokenHash::of(text), shape: Shape::Gateway };
    let filter = filter_of(&["tg_0"]);
    let now = |version| Now { filter: &filter, ..now(start, 0, version, 0) };
    entries.insert(prefixed, Some((whole("tg_0"), known(7))), 1, start);
    for candidates in [bare, prefixed, other] {
        assert_eq!(entries.get(candidates, now(1)), CacheResult::Hit(Some(7)));
        assert_eq!(entries.get(candidates, now(2)), CacheResult::Stale(whole("tg_0"), Some(7)));
    }
    assert_eq!(entries.known.len(), 1);
    // A refusal is for one text. But the token in that text is not known any more.
    entries.insert(other, None, 2, start);
    assert_eq!(entries.get(other, now(2)), CacheResult::Hit(None));
    assert_eq!(entries.get(prefixed, now(2)), CacheResult::Miss);
}

/// A token with a dash takes precedence over its last part, whichever of them is known.
#[test]
fn the_last_part_counts_only_if_the_whole_text_is_no_token() {
    let start = Instant::now();
    let [bare, prefixed] = ["tg_0", "b-tg_0"].map(|text| Candidates::of(text).unwrap());
    let whole = |text| Candidate { hash: TokenHash::of(text), shape: Shape::Gateway };
    let mut entries = Entries::new(10, 10);
    // The filter has only one of them, both, or is not filled.
    let check = |entries: &mut Entries<u32>, version, expected: [CacheResult<u32>; 3]| {
        for (filter, expected) in
            [filter_of(&["tg_0"]), filter_of(&["tg_0", "b-tg_0"]), BloomFilter::default()]
                .iter()
                .zip(expected)
        {
            let now = Now { filter, ..now(start, 0, version, 0) };
            assert_eq!(entries.get(prefixed, now), expected);
        }
    };
    let hit = |value| CacheResult::Hit(Some(value));
    entries.insert(bare, Some((whole("tg_0"), known(7))), 1, start);
    check(&mut entries, 1, [hit(7), CacheResult::Miss, CacheResult::Miss]);
    // A lookup has found that the whole text is none. Any change may have created it.
    entries.insert(prefixed, Some((whole("tg_0"), known(7))), 1, start);
    check(&mut entries, 1, [hit(7), hit(7), hit(7)]);
    entries.insert(bare, Some((whole("tg_0"), known(7))), 2, start);
    check(&mut entries, 2, [hit(7), CacheResult::Miss, CacheResult::Miss]);
    // Once the whole is known, its last part is not used, not even while the whole is stale.
    entries.insert(prefixed, Some((whole("b-tg_0"), known(8))), 2, start);
    check(&mut entries, 2, [hit(8), hit(8), hit(8)]);
    entries.insert(bare, Some((whole("tg_0"), known(7))), 3, start);
    let stale = || CacheResult::Stale(whole("b-tg_0"), Some(8));
    check(&mut entries, 3, [stale(), stale(), stale()]);
}

#[test]
fn a_change_invalidates_only_the_callers_concerned() {
    let (start, counter) = (Instant::now(), InvalidationCounter::default());
    let user = |number: usize| UserId::new(&format!("usr_{number:016x}")).unwrap();
    let mut entries = Entries::new(10, 10);
    for number in [1, 2] {
        let known = Known { value: user(number), expires_at_ms: None };
        entries.insert(one(number), Some((key(number), known)), 0, start);
    }
    entries.insert(one(3), None, 0, start);
    let mut check = |expected: [bool; 3]| {
        let now = Now { invalidations: &counter, ..now(start, 0, 0, 0) };
        let fresh = [1, 2, 3].map(|number| matches!(entries.get(one(number), now), CacheResult::Hit(_)));
        assert_eq!(fresh, expected);
    };
    check([true, true, true]);
    counter.invalidate_user(&user(2));
    check([true, false, false]);
    counter.invalidate_all();
    check([false, false, false]);
}

#[test]
fn a_use_is_reported_once_a_minute() {
    let start = Instant::now();
    let mut entries = Entries::new(10, 10);
    entries.insert(one(1), Some((key(1), known(7))), 1, start);
    assert_eq!(entries.take_used(), [key(1).hash]);
    let mut check = |seconds, expected: &[TokenHash]| {
        entries.get(one(1), now(start, seconds, 1, seconds));
        assert_eq!(entries.take_used(), expected, "after {seconds} s");
    };
    check(1, &[]);
    check(59, &[]);
    check(60, &[key(1).hash]);
    check(61, &[]);
    // Another lookup of the same token does not report a use again.
    entries.insert(one(1), Some((key(1), known(8))), 1, start + Duration::from_secs(70));
    entries.insert(one(2), None, 1, start);
    assert_eq!(entries.take_used(), []);
}
