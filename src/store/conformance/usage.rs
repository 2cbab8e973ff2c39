//! The usage ledger: batches that count once, sums, filters, single exchanges, retention.

use std::collections::BTreeMap;

use super::super::{
    Exchange, LearnedBytes, RollUps, Store, UsageBatch, UsageFilter, UsageKey, UsageLimits, UsageReader,
    UsageSegment, UsageSums,
};
use crate::{
    access_record::Outcome,
    name::Scope,
    usage::{Counter, Counters},
};

const DAY_MS: u64 = 86_400_000;

fn key(user: &str, model: &str) -> UsageKey {
    let (user, model) = (user.into(), model.into());
    UsageKey { user, model, provider: "demo".into(), endpoint: "chat".into(), ..UsageKey::default() }
}

/// The sums of so many requests, each with these tokens.
fn sums(requests: u64, input: u64, output: u64) -> UsageSums {
    let mut counters = Counters::ZERO;
    counters.set(Counter::Input, input * requests);
    counters.set(Counter::Output, output * requests);
    UsageSums { requests, counters, ..UsageSums::default() }
}

fn exchange(key: &UsageKey, ended_at_ms: u64) -> Exchange {
    let outcome = Outcome::Success.as_str().into();
    Exchange { key: key.clone(), ended_at_ms, outcome, request_id: "r".into(), ..Exchange::default() }
}

fn batch(number: u64, hours: Vec<(u64, UsageKey, UsageSums)>, exchanges: Vec<Exchange>) -> UsageBatch {
    UsageBatch { number, hours, exchanges }
}

/// The sums of segments by segment, user and model.
async fn summed(
    store: &Store,
    roll_ups: RollUps,
    segments: &[(u64, u64)],
    filter: UsageFilter,
) -> BTreeMap<(usize, String, String), UsageSums> {
    let segments: Vec<_> = segments.iter().map(|&(from, until)| UsageSegment { from, until }).collect();
    let mut all = BTreeMap::new();
    let each = |segment, key: &UsageKey, sums: &UsageSums| {
        all.insert((segment, key.user.to_string(), key.model.to_string()), *sums);
    };
    store.sum_usage(roll_ups, &segments, &filter, each).await.unwrap();
    all
}

/// The keys that a filter matches.
async fn matching(store: &Store, filter: &UsageFilter) -> Vec<UsageKey> {
    let mut keys = Vec::new();
    let each = |_, key: &UsageKey, _: &UsageSums| {
        keys.push(key.clone());
    };
    let all = [UsageSegment { from: 0, until: 9999 }];
    store.sum_usage(RollUps::Days, &all, filter, each).await.unwrap();
    keys
}

fn row(segment: usize, user: &str, sums: UsageSums) -> ((usize, String, String), UsageSums) {
    ((segment, user.to_owned(), "m".to_owned()), sums)
}

pub(super) async fn batches_count_once(store: Store) {
    let (a, b) = (key("a", "m"), key("b", "m"));
    let one = batch(
        1,
        vec![(23, a.clone(), sums(2, 3, 5)), (24, b.clone(), sums(1, 7, 11))],
        vec![exchange(&a, 23 * 3_600_000)],
    );
    let invalidations = store.invalidations().current();
    assert!(store.add_usage("writer", &one, 0).await.unwrap());
    assert!(!store.add_usage("writer", &one, 0).await.unwrap(), "the second time");
    assert!(
        store
            .add_usage("other", &batch(1, vec![(24, a.clone(), sums(1, 1, 1))], Vec::new()), 0)
            .await
            .unwrap()
    );
    assert!(
        store
            .add_usage("writer", &batch(2, vec![(24, a.clone(), sums(1, 0, 2))], Vec::new()), 0)
            .await
            .unwrap()
    );
    assert!(!store.add_usage("writer", &one, 0).await.unwrap(), "an earlier one");
    assert_eq!((store.invalidations().current(), store.audit_head().await.unwrap().0), (invalidations, 0));
    let all = UsageFilter::default();
    let mut a24 = sums(1, 1, 1);
    a24.add(&sums(1, 0, 2));
    let hours = summed(&store, RollUps::Hours, &[(0, 24), (24, 25), (25, 99)], all.clone()).await;
    assert_eq!(hours, [row(0, "a", sums(2, 3, 5)), row(1, "a", a24), row(1, "b", sums(1, 7, 11))].into());
    let days = summed(&store, RollUps::Days, &[(0, 1), (1, 2)], all).await;
    assert_eq!(days, hours);
    assert_eq!(store.last_exchanges(&UsageFilter::default(), 9).await.unwrap().len(), 1);
}

pub(super) async fn usage_is_filtered(store: Store) {
    let full = UsageKey {
        user: "u".into(),
        token: "t".into(),
        group: "g".into(),
        provider: "p".into(),
        endpoint: "e".into(),
        model: "m \u{202e}\"'\\ \n".into(),
        context: 7,
        key_owner: "o".into(),
    };
    let other = UsageKey { context: 8, ..full.clone() };
    let hours = vec![
        (1, full.clone(), sums(1, 1, 1)),
        (1, other.clone(), sums(1, 1, 1)),
        (1, key("x", "y"), sums(1, 1, 1)),
    ];
    let exchanges = vec![exchange(&full, 5), exchange(&key("x", "y"), 6)];
    assert!(store.add_usage("writer", &batch(1, hours, exchanges), 0).await.unwrap());
    let check = async |filter: UsageFilter, keys: usize, exchanges: usize| {
        let found = matching(&store, &filter).await;
        assert_eq!(found.len(), keys, "{filter:?}");
        let is_own = |one: &UsageKey| *one == full || *one == other;
        assert!(keys != 2 || found.iter().all(is_own), "{filter:?}");
        assert_eq!(store.last_exchanges(&filter, 9).await.unwrap().len(), exchanges, "{filter:?}");
    };
    let any = UsageFilter::default;
    check(any(), 3, 2).await;
    check(UsageFilter { user: Some("u".into()), ..any() }, 2, 1).await;
    check(UsageFilter { token: Some("t".into()), ..any() }, 2, 1).await;
    check(UsageFilter { group: Some("g".into()), ..any() }, 2, 1).await;
    check(UsageFilter { provider: Some("p".into()), ..any() }, 2, 1).await;
    check(UsageFilter { endpoint: Some("e".into()), ..any() }, 2, 1).await;
    check(UsageFilter { model: Some(full.model.to_string()), ..any() }, 2, 1).await;
    check(UsageFilter { key_owner: Some("o".into()), ..any() }, 2, 1).await;
    let within = |scopes: &[&str]| {
        let scopes = scopes.iter().map(|scope| Scope::parse(scope).unwrap()).collect();
        UsageFilter { scopes: Some(scopes), ..any() }
    };
    check(within(&[]), 0, 0).await;
    check(within(&["p"]), 2, 1).await;
    check(within(&["p/e"]), 2, 1).await;
    check(within(&["p/other", "demo/e", "q"]), 0, 0).await;
    check(within(&["p/e", "demo", "demo/chat"]), 3, 2).await;
    check(UsageFilter { user: Some("x".into()), ..within(&["p/e", "demo/chat"]) }, 1, 1).await;
    check(UsageFilter { user: Some("u".into()), model: Some("y".into()), ..any() }, 0, 0).await;
    check(UsageFilter { user: Some("U".into()), ..any() }, 0, 0).await;
    assert_eq!(
        summed(&store, RollUps::Hours, &[(0, 9)], UsageFilter { user: Some("x".into()), ..any() })
            .await
            .len(),
        1
    );
    for (day, expected) in [(0, 3), (1, 0)] {
        let mut keys = 0;
        store.usage_keys_of_day(day, |_| keys += 1).await.unwrap();
        assert_eq!(keys, expected, "{day}");
    }
}

/// A report costs what is in its range, and not what was before: keys of other days are not read.
pub(super) async fn reads_are_bounded(store: Store) {
    let old = (0..500).map(|number| (24, key("a", &format!("old{number}")), sums(1, 1, 1)));
    let new = (0..5).map(|number| (240, key("a", &format!("new{number}")), sums(1, 1, 1)));
    store.add_usage("one", &batch(1, old.chain(new).collect(), Vec::new()), 0).await.unwrap();
    let rows = async |filter: &UsageFilter, from| -> usize {
        let mut rows = 0;
        let each = |_, _: &UsageKey, _: &UsageSums| rows += 1;
        let segments = [UsageSegment { from, until: 999 }];
        store.sum_usage(RollUps::Hours, &segments, filter, each).await.unwrap();
        rows
    };
    for reader in [UsageReader::User, UsageReader::Admin] {
        let own = UsageFilter { reader, user: Some("a".into()), ..UsageFilter::default() };
        assert_eq!(rows(&own, 240).await, 5);
        assert_eq!(rows(&own, 24).await, 505);
    }
}

pub(super) async fn exchanges_are_numbered(store: Store) {
    let key = key("a", "m");
    let mut counters = Counters::ZERO;
    for (number, counter) in (1..).zip(Counter::ALL) {
        counters.set(counter, number);
    }
    let full = Exchange {
        duration_ms: 30,
        first_byte_ms: Some(20),
        status: Some(200),
        outcome: Outcome::Cut.as_str().into(),
        fault: Some("a_fault".into()),
        not_counted: Some("bad_count".into()),
        counters,
        estimated_prompt: 4,
        estimated_answer: 5,
        ..exchange(&key, 50)
    };
    let two = vec![exchange(&key, 40), full.clone()];
    assert_eq!(store.last_exchange_number().await.unwrap(), 0);
    store.add_usage("one", &batch(1, Vec::new(), two), 0).await.unwrap();
    store.add_usage("two", &batch(1, Vec::new(), vec![exchange(&key, 60)]), 0).await.unwrap();
    let any = UsageFilter::default();
    let last = store.last_exchanges(&any, 2).await.unwrap();
    assert_eq!(last, [Exchange { number: 3, ..exchange(&key, 60) }, Exchange { number: 2, ..full }]);
    let numbers = async |after| -> Vec<u64> {
        store.exchanges_after(&any, after, 2).await.unwrap().iter().map(|one| one.number).collect()
    };
    assert_eq!((numbers(0).await, numbers(2).await, numbers(3).await), (vec![1, 2], vec![3], vec![]));
    let of_request = async |id: &str, filter: &UsageFilter, after| -> Vec<u64> {
        let found = store.exchanges_of_request(id, filter, after, 2).await.unwrap();
        found.iter().map(|one| one.number).collect()
    };
    let own = exchange(&key, 60).request_id;
    let others = UsageFilter { user: Some("nobody".into()), ..any.clone() };
    assert_eq!(of_request(&own, &any, 2).await, [3]);
    assert_eq!(of_request(&own, &any, 3).await, [0; 0]);
    assert_eq!(of_request("req_unknown", &any, 0).await, [0; 0]);
    assert_eq!(of_request(&own, &others, 0).await, [0; 0]);
    // Numbers never start again, also not when nothing is left.
    let limits = UsageLimits { first_hour: 0, first_end_ms: 1000, now_ms: 1000 };
    trim(&store, limits).await;
    store.add_usage("two", &batch(2, Vec::new(), vec![exchange(&key, 2000)]), 0).await.unwrap();
    assert_eq!((numbers(0).await, store.last_exchange_number().await.unwrap()), (vec![4], 4));
}

async fn trim(store: &Store, limits: UsageLimits) {
    let mut after = 0;
    while let Some(next) = store.trim_usage(limits, after).await.unwrap() {
        after = next;
    }
}

/// After a step of the clock, exchanges of the future lie before old ones.
pub(super) async fn a_step_of_the_clock_keeps_no_old_exchange(store: Store) {
    let key = key("a", "m");
    let future = (0..1500).map(|_| exchange(&key, 99 * DAY_MS));
    let old = (0..1500).map(|_| exchange(&key, DAY_MS));
    let young = (0..5).map(|_| exchange(&key, 40 * DAY_MS));
    let all = future.chain(old).chain(young).collect();
    store.add_usage("one", &batch(1, Vec::new(), all), 0).await.unwrap();
    trim(&store, UsageLimits { first_hour: 0, first_end_ms: 39 * DAY_MS, now_ms: 40 * DAY_MS }).await;
    let left = store.last_exchanges(&UsageFilter::default(), 9999).await.unwrap();
    assert_eq!(left.len(), 1505);
    assert!(left.iter().all(|one| one.ended_at_ms >= 39 * DAY_MS));
}

pub(super) async fn usage_is_trimmed(store: Store) {
    let (old, new) = (key("old", "m"), key("new", "m"));
    let hours = (0..1500).map(|hour| (hour, old.clone(), sums(1, 1, 0)));
    let hours: Vec<_> = hours.chain([(1500, new.clone(), sums(1, 0, 1))]).collect();
    let single = vec![exchange(&old, 1499 * 3_600_000), exchange(&new, 1500 * 3_600_000)];
    store.add_usage("one", &batch(1, hours, single), 0).await.unwrap();
    let now_ms = 1500 * 3_600_000;
    let limits = UsageLimits { first_hour: 1488, first_end_ms: now_ms, now_ms };
    let next = store.trim_usage(limits, 0).await.unwrap();
    assert!(next.is_some(), "1488 rows are no small transaction");
    trim(&store, limits).await;
    let left = summed(&store, RollUps::Hours, &[(0, 1500), (1500, 1501)], UsageFilter::default()).await;
    assert_eq!(left, [row(0, "old", sums(12, 1, 0)), row(1, "new", sums(1, 0, 1))].into());
    let users = async || -> Vec<String> {
        let keys = store.usage_keys().await.unwrap();
        keys.into_iter().map(|(_, key)| key.user.to_string()).collect()
    };
    assert_eq!(users().await.len(), 2, "a key that is used stays");
    let last = store.last_exchanges(&UsageFilter::default(), 9).await.unwrap();
    assert_eq!(last.len(), 1);
    // A key ends after its last day, with its rows.
    let limits = UsageLimits { first_hour: 64 * 24, first_end_ms: 64 * DAY_MS, now_ms: 64 * DAY_MS };
    trim(&store, limits).await;
    assert_eq!(users().await, Vec::<String>::new());
    assert_eq!(summed(&store, RollUps::Days, &[(0, 99)], UsageFilter::default()).await, BTreeMap::new());
}

/// An upstream that lies cannot make a sum overflow.
pub(super) async fn sums_are_bounded(store: Store) {
    let key = key("a", "m");
    let most = sums(1, u64::MAX, 1);
    for number in 1..=3 {
        let hours = (0..50).map(|hour| (hour, key.clone(), most)).collect();
        store.add_usage("one", &batch(number, hours, Vec::new()), 0).await.unwrap();
    }
    for (roll_ups, until) in [(RollUps::Hours, 50), (RollUps::Days, 3)] {
        let all = summed(&store, roll_ups, &[(0, until)], UsageFilter::default()).await;
        let [sums] = all.into_values().collect::<Vec<_>>()[..] else { panic!("one row") };
        assert_eq!((sums.requests, sums.counters.get(Counter::Output)), (150, 150));
        assert!(sums.counters.get(Counter::Input) > 1 << 40, "{sums:?}");
    }
}

pub(super) async fn ratios_are_learned_from_counts(store: Store) {
    let counted = UsageSums {
        prompt_bytes: 400,
        prompt_text_tokens: 100,
        answer_bytes: 90,
        answer_text_tokens: 30,
        ..sums(1, 100, 30)
    };
    // Counted and estimated tokens that are not those of known text.
    let mut other = UsageSums { estimated_prompt: 50, estimated_answer: 20, ..sums(1, 50_000, 20_000) };
    other.not_counted = 1;
    let hours = vec![
        (24, key("a", "m"), counted),
        (25, key("b", "m"), other),
        (25, key("b", "n"), counted),
        (0, key("a", "old"), counted),
        (25, key("a", ""), counted),
    ];
    store.add_usage("one", &batch(1, hours, Vec::new()), 0).await.unwrap();
    let learned = |model: &str| LearnedBytes {
        provider: "demo".into(),
        model: model.into(),
        prompt_bytes: 400,
        prompt_tokens: 100,
        answer_bytes: 90,
        answer_tokens: 30,
    };
    assert_eq!(store.learned_bytes(1, 9).await.unwrap(), [learned("m"), learned("n")]);
    assert_eq!(store.learned_bytes(1, 1).await.unwrap(), [learned("m")]);
}
