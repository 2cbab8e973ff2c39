use std::sync::LazyLock;

use super::*;
use crate::name::UserId;

/// As a caller.
impl Remembered for UserId {
    fn changed(&self, invalidations: &InvalidationCounter) -> u64 {
        invalidations.last_for(self)
    }
}

/// Whatever changes concerns it.
impl Remembered for u32 {
    fn changed(&self, invalidations: &InvalidationCounter) -> u64 {
        invalidations.current()
    }
}

fn key(number: usize) -> TokenHash {
    TokenHash::of(&number.to_string())
}

fn one(number: usize) -> Candidates {
    Candidates::one(key(number))
}

fn known(value: u32) -> Known<u32> {
    Known { value, expires_at_ms: None }
}

/// A moment `seconds` after the start, at version `version`, confirmed by a poll at `confirmed` seconds.
fn now(start: Instant, seconds: u64, version: usize, confirmed: u64) -> Now<'static> {
    static COUNTERS: LazyLock<[InvalidationCounter; 4]> = LazyLock::new(|| {
        std::array::from_fn(|count| {
            let counter = InvalidationCounter::default();
            (0..count).for_each(|_| counter.invalidate_all());
            counter
        })
    });
    let after = |seconds| start + Duration::from_secs(seconds);
    Now {
        at: after(seconds),
        wall_ms: seconds * 1000,
        invalidations: &COUNTERS[version],
        confirmed: after(confirmed),
        grace: Duration::from_hours(1),
    }
}

#[test]
fn an_entry_is_fresh_until_something_changes_and_serves_on_for_an_hour() {
    let start = Instant::now();
    let mut answers = Entries::new(10, 10);
    answers.keep(one(1), Some((key(1), known(7))), 1, start);
    answers.keep(one(2), None, 1, start);
    let mut check = |number, now, expected| assert_eq!(answers.recall(one(number), now), expected, "{now:?}");
    check(1, now(start, 0, 1, 0), Recall::Fresh(Some(7)));
    check(2, now(start, 0, 1, 0), Recall::Fresh(None));
    check(3, now(start, 0, 1, 0), Recall::Unknown);
    // Nothing changes and the store confirms that, for hours.
    check(1, now(start, 9000, 1, 9000), Recall::Fresh(Some(7)));
    // Then polls fail: an hour more, no longer.
    check(1, now(start, 12_600, 1, 9000), Recall::Fresh(Some(7)));
    check(1, now(start, 12_601, 1, 9000), Recall::Unknown);
    check(2, now(start, 12_601, 1, 9000), Recall::Unknown);
    // Or something changes, and the entry cannot be looked up again.
    check(1, now(start, 12_600, 2, 12_600), Recall::Stale(key(1), 7));
    check(1, now(start, 12_601, 2, 12_601), Recall::Unknown);
    check(2, now(start, 9000, 2, 9000), Recall::Unknown);
}

#[test]
fn after_a_failure_a_known_caller_does_not_wait_again_at_once() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut answers = Entries::new(10, 10);
    for number in [1, 2] {
        answers.keep(one(number), Some((key(number), known(7))), 1, start);
    }
    answers.keep(one(3), None, 1, start);
    answers.pause(&key(1), after(5));
    answers.pause(&key(4), after(5));
    assert_eq!(answers.recall(one(1), now(start, 5, 2, 5)), Recall::Fresh(Some(7)));
    // Nobody asked about the others: they may have been revoked.
    assert_eq!(answers.recall(one(2), now(start, 5, 2, 5)), Recall::Stale(key(2), 7));
    assert_eq!(answers.recall(one(3), now(start, 5, 2, 5)), Recall::Unknown);
    assert_eq!(answers.recall(one(4), now(start, 5, 2, 5)), Recall::Unknown);
    assert_eq!(answers.recall(one(1), now(start, 6, 2, 5)), Recall::Stale(key(1), 7));
    answers.pause(&key(1), after(6));
    assert_eq!(answers.recall(one(1), now(start, 6, 2, 5)), Recall::Fresh(Some(7)));
    answers.keep(one(3), None, 2, after(6));
    assert_eq!(answers.recall(one(1), now(start, 6, 2, 5)), Recall::Stale(key(1), 7), "the store is back");
}

#[test]
fn a_token_expires_while_it_is_cached() {
    let start = Instant::now();
    let mut answers = Entries::new(10, 10);
    answers.keep(one(1), Some((key(1), Known { value: 7, expires_at_ms: Some(10_000) })), 1, start);
    assert_eq!(answers.recall(one(1), now(start, 9, 1, 9)), Recall::Fresh(Some(7)));
    assert_eq!(answers.recall(one(1), now(start, 10, 1, 10)), Recall::Fresh(None));
    assert_eq!(answers.recall(one(1), now(start, 9, 2, 9)), Recall::Stale(key(1), 7));
    assert_eq!(answers.recall(one(1), now(start, 10, 2, 10)), Recall::Unknown);
}

#[test]
fn a_token_is_either_known_or_refused() {
    let start = Instant::now();
    let mut answers = Entries::new(10, 10);
    answers.keep(one(1), Some((key(1), known(7))), 1, start);
    answers.keep(one(1), None, 1, start);
    assert_eq!(answers.recall(one(1), now(start, 0, 1, 0)), Recall::Fresh(None));
    answers.keep(one(1), Some((key(1), known(8))), 1, start);
    assert_eq!(answers.recall(one(1), now(start, 0, 1, 0)), Recall::Fresh(Some(8)));
}

#[test]
fn a_flood_of_wrong_tokens_is_bounded_and_drives_out_no_known_one() {
    let start = Instant::now();
    let mut answers = Entries::new(10, 100);
    answers.keep(one(0), Some((key(0), known(7))), 1, start);
    for number in 1..=10_000 {
        answers.keep(one(number), None, 1, start);
    }
    assert!(answers.refused.len() <= 100);
    assert_eq!(answers.recall(one(0), now(start, 0, 1, 0)), Recall::Fresh(Some(7)));
    assert_eq!(answers.recall(one(10_000), now(start, 0, 1, 0)), Recall::Fresh(None));
}

#[test]
fn a_known_token_is_one_entry_whatever_stands_before_it() {
    let start = Instant::now();
    let mut answers = Entries::new(10, 10);
    let [bare, prefixed, other] = ["tg_0", "a-tg_0", "b-tg_0"].map(|text| Candidates::of(text).unwrap());
    answers.keep(prefixed, Some((bare.whole, known(7))), 1, start);
    for candidates in [bare, prefixed, other] {
        assert_eq!(answers.recall(candidates, now(start, 0, 1, 0)), Recall::Fresh(Some(7)));
        assert_eq!(answers.recall(candidates, now(start, 0, 2, 0)), Recall::Stale(bare.whole, 7));
    }
    assert_eq!(answers.known.len(), 1);
    // One refusal is about one text, but what it holds is known no more.
    answers.keep(other, None, 2, start);
    assert_eq!(answers.recall(other, now(start, 0, 2, 0)), Recall::Fresh(None));
    assert_eq!(answers.recall(prefixed, now(start, 0, 2, 0)), Recall::Unknown);
    // A token that has a dash itself goes before its last part.
    answers.keep(other, Some((other.whole, known(8))), 3, start);
    assert_eq!(answers.recall(other, now(start, 0, 3, 0)), Recall::Fresh(Some(8)));
    assert_eq!(answers.recall(bare, now(start, 0, 3, 0)), Recall::Unknown);
}

#[test]
fn a_change_concerns_whom_it_is_about() {
    let (start, counter) = (Instant::now(), InvalidationCounter::default());
    let user = |number: usize| UserId::new(&format!("usr_{number:016x}")).unwrap();
    let mut answers = Entries::new(10, 10);
    for number in [1, 2] {
        let known = Known { value: user(number), expires_at_ms: None };
        answers.keep(one(number), Some((key(number), known)), 0, start);
    }
    answers.keep(one(3), None, 0, start);
    let mut check = |expected: [bool; 3]| {
        let now = Now { invalidations: &counter, ..now(start, 0, 0, 0) };
        let fresh = [1, 2, 3].map(|number| matches!(answers.recall(one(number), now), Recall::Fresh(_)));
        assert_eq!(fresh, expected);
    };
    check([true, true, true]);
    counter.invalidate_user(&user(2));
    check([true, false, false]);
    counter.invalidate_all();
    check([false, false, false]);
}

#[test]
fn a_use_is_told_once_a_minute() {
    let start = Instant::now();
    let mut answers = Entries::new(10, 10);
    answers.keep(one(1), Some((key(1), known(7))), 1, start);
    assert_eq!(answers.take_used(), [key(1)]);
    let mut check = |seconds, expected: &[TokenHash]| {
        answers.recall(one(1), now(start, seconds, 1, seconds));
        assert_eq!(answers.take_used(), expected, "after {seconds} s");
    };
    check(1, &[]);
    check(59, &[]);
    check(60, &[key(1)]);
    check(61, &[]);
    // Who is asked about anew is still the same.
    answers.keep(one(1), Some((key(1), known(8))), 1, start + Duration::from_secs(70));
    answers.keep(one(2), None, 1, start);
    assert_eq!(answers.take_used(), []);
}
