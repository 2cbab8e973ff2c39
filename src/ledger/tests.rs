//! The sink and the writing task on a real store, with records as workers make them.

use std::{net::Ipv4Addr, time::Duration};

use futures_util::FutureExt as _;
use http::{Method, StatusCode};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;

use super::*;
use crate::{
    access_record::{End, Sides, Usage},
    name::{FileName, GroupName, Owner, TokenId, UserId},
    store::{DATABASE, RollUps, UsageBatch, UsageFilter, UsageKey, UsageSegment, UsageSums},
    usage::{Counter, Counters, NotCounted},
};

const HOUR_MS: u64 = 3_600_000;
const KEPT: Retention =
    Retention { roll_ups: Duration::from_hours(24 * 400), exchanges: Duration::from_hours(24) };

fn user(number: u64) -> UserId {
    UserId::new(&format!("usr_{number:016x}")).unwrap()
}

fn usage(model: &str, input: u64, output: u64) -> Usage {
    let mut counters = Counters::ZERO;
    counters.set(Counter::Input, input);
    counters.set(Counter::Output, output);
    Usage { counters, model: Some(model.into()), prompt_bytes: 40, answer_bytes: 9, ..Usage::default() }
}

/// A finished exchange of a user.
fn record(number: u64, usage: Option<Usage>) -> AccessRecord {
    let now = clock::now_ms();
    let begun = AccessRecord::begun(Ipv4Addr::LOCALHOST.into(), Method::POST, "/demo".into(), now);
    AccessRecord {
        request_id: format!("req_{number}"),
        user: Some(user(number)),
        group: GroupName::new("research"),
        token: TokenId::new("tok_0123456789abcdef"),
        key_owner: Some(Owner::Everybody),
        provider: FileName::new("demo"),
        endpoint: Some("chat".into()),
        status: Some(StatusCode::OK),
        first_byte: Some(Duration::from_millis(3)),
        duration: Duration::from_millis(7),
        end: End::Complete,
        usage: usage.map(Box::new),
        ..begun
    }
}

fn no_prices() -> IsListed {
    Box::new(|_, _| false)
}

fn no_tiers() -> PriceTier {
    Box::new(|_, _, _, _| 0)
}

/// The sums of all keys.
async fn sums(store: &Store) -> Vec<(UsageKey, UsageSums)> {
    let mut all = Vec::new();
    let each = |_, key: &UsageKey, sums: &UsageSums| {
        all.push((key.clone(), *sums));
    };
    let segments = [UsageSegment { from: 0, until: u64::from(u32::MAX) }];
    let all_keys = UsageFilter::default();
    store.sum_usage(RollUps::Hours, &segments, &all_keys, each).await.unwrap();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

async fn requests(store: &Store) -> u64 {
    sums(store).await.iter().map(|(_, sums)| sums.requests).sum()
}

/// Waits until the store has so many requests. A test that never ends is ended by its runner.
async fn written(store: &Store, number: u64) {
    while requests(store).await < number {}
}

#[tokio::test]
async fn finished_exchanges_become_sums_and_rows() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let tier: PriceTier = Box::new(
        |provider, model, _, prompt| {
            if (provider, model) == ("demo", "m") && prompt > 100 { 100 } else { 0 }
        },
    );
    let (mut sink, task) =
        start(store.clone(), KEPT, tier, no_prices(), &Ledger::new(&Drops::default())).await;
    let mut estimated = usage("m", 200, 30);
    estimated.estimated.set(Counter::Output, 30);
    estimated.to_estimate = Sides { prompt: false, answer: true };
    let odd = Usage { not_counted: Some(NotCounted::BadCount), ..usage("m", 0, 0) };
    let unknown = AccessRecord { user: None, ..record(1, None) };
    let own_path = AccessRecord { provider: None, ..record(1, None) };
    let limited = AccessRecord { status: Some(StatusCode::TOO_MANY_REQUESTS), ..record(1, None) };
    sink.record(&[record(1, Some(usage("m", 10, 3))), unknown, own_path, limited]);
    sink.record(&[record(1, Some(estimated)), record(1, Some(odd))]);
    sink.close();
    task.await;
    let found = sums(&store).await;
    let shown: Vec<_> = found.iter().map(|(key, _)| (&*key.model, key.context)).collect();
    assert_eq!(shown, [("", 0), ("m", 0), ("m", 100)]);
    let [(_, none), (key, plain), (_, tiered)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*key.user, &*key.group), (user(1).as_str(), "research"));
    assert_eq!((&*key.token, &*key.key_owner), ("tok_0123456789abcdef", "everybody"));
    assert_eq!((none.requests, none.failed()), (1, 1));
    assert_eq!((plain.requests, plain.failed(), plain.not_counted), (2, 0, 1));
    assert_eq!((plain.counters.tokens(), plain.prompt_bytes, plain.answer_bytes), (13, 40, 9));
    assert_eq!((tiered.estimated_answer, tiered.estimated_prompt), (30, 0));
    assert_eq!((plain.prompt_text_tokens, plain.answer_text_tokens), (10, 3));
    assert_eq!((tiered.prompt_bytes, tiered.answer_bytes), (0, 0), "only counted text teaches");
    let rows = store.last_exchanges(&UsageFilter::default(), 9).await.unwrap();
    let shown: Vec<_> = rows.iter().map(|row| (&*row.outcome, row.not_counted.as_deref())).collect();
    let expected =
        [("success", Some("bad_count")), ("success", None), ("upstream_limited", None), ("success", None)];
    assert_eq!(shown, expected);
    assert_eq!((rows[3].first_byte_ms, rows[3].duration_ms, rows[3].status), (Some(3), 7, Some(200)));
}

/// Else a user could add as many keys again after each restart.
#[tokio::test]
async fn a_restart_keeps_the_bounds_of_users() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let today = clock::now_ms() / DAY_MS;
    let token = |number: u64| TokenId::new(&format!("tok_{number:016x}"));
    let of_token = |number| AccessRecord { token: token(number), ..record(1, Some(usage("m", 1, 1))) };
    let of_model = |number: u64| record(2, Some(usage(&format!("m{number}"), 1, 1)));
    let known = |record: AccessRecord| {
        let mut names = model_names::ModelNames::new(0, no_prices());
        let entry = pending::entry(&record, &mut names, &no_tiers()).unwrap();
        (today * 24, entry.exchange.key, entry.sums)
    };
    let hours = (0..1000).map(of_token).chain((0..200).map(of_model)).map(known).collect();
    let batch = UsageBatch { number: 1, hours, exchanges: Vec::new() };
    assert!(store.add_usage("before", &batch, clock::now_ms()).await.unwrap());
    let (mut sink, task) =
        start(store.clone(), KEPT, no_tiers(), no_prices(), &Ledger::new(&Drops::default())).await;
    sink.record(&[of_token(7), of_token(1000), of_model(3), of_model(200)]);
    sink.close();
    task.await;
    let rows = store.last_exchanges(&UsageFilter::default(), 9).await.unwrap();
    let shown: Vec<_> = rows.iter().rev().map(|row| (&*row.key.token, &*row.key.model)).collect();
    let one = "tok_0123456789abcdef";
    let expected = [("tok_0000000000000007", "m"), ("(other)", "m"), (one, "m3"), (one, "(other)")];
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn what_is_not_written_is_counted() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let ledger = Ledger::new(&Drops::default());
    let (mut sink, task) = start(store.clone(), KEPT, no_tiers(), no_prices(), &ledger).await;
    sink.record(&[record(1, Some(usage("m", 1, 1))), record(2, None)]);
    sink.close();
    assert_eq!(ledger.unwritten(), 2);
    let mut task = Box::pin(task);
    assert!(task.as_mut().now_or_never().is_none());
    assert_eq!(ledger.unwritten(), 2, "a batch that is being written");
    task.await;
    assert_eq!((ledger.unwritten(), requests(&store).await), (0, 2));
}

#[test]
fn a_failed_exchange_has_the_model_of_its_request() {
    let check = |usage: Option<Usage>, expected: &str| {
        let mut names = model_names::ModelNames::new(0, no_prices());
        let failed = AccessRecord { status: Some(StatusCode::BAD_GATEWAY), ..record(1, usage) };
        let entry = pending::entry(&failed, &mut names, &no_tiers()).unwrap();
        assert_eq!((&*entry.exchange.key.model, entry.sums.failed()), (expected, 1));
    };
    let asked = Usage { request_model: Some("asked\n".into()), ..Usage::default() };
    check(None, "");
    check(Some(Usage::default()), "");
    check(Some(Usage { model: Some("answered".into()), ..asked.clone() }), "answered");
    check(Some(asked), "asked\u{fffd}");
}

#[tokio::test]
async fn without_their_retention_no_exchanges_are_kept() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let kept = Retention { exchanges: Duration::ZERO, ..KEPT };
    let (mut sink, task) =
        start(store.clone(), kept, no_tiers(), no_prices(), &Ledger::new(&Drops::default())).await;
    sink.record(&[record(1, None)]);
    sink.close();
    task.await;
    assert_eq!(requests(&store).await, 1);
    assert_eq!(store.last_exchange_number().await.unwrap(), 0);
}

/// A writer that another process keeps waiting, and then a failing one: everything is counted once in the end.
#[tokio::test]
async fn a_failing_store_delays_usage_and_loses_none() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let drops = Drops::default();
    let ledger = Ledger::new(&drops);
    let (mut sink, task) = start(store.clone(), KEPT, no_tiers(), no_prices(), &ledger).await;
    let writing = async {
        let url = format!("sqlite://{}", dir.path().join(DATABASE).display());
        let mut other = SqliteConnection::connect(&url).await.unwrap();
        sink.record(&[record(1, Some(usage("m", 1, 1)))]);
        written(&store, 1).await;
        let fail = "CREATE TRIGGER fails BEFORE INSERT ON usage_writers BEGIN SELECT RAISE(ABORT, 'no'); END";
        sqlx::query(fail).execute(&mut other).await.unwrap();
        sink.record(&[record(1, Some(usage("m", 1, 1)))]);
        // A database that refuses a batch as such three times refuses it for ever: it is dropped, and counted. Until
        // then it waits, with its reason.
        let mut seen = None;
        while drops.numbers()["ledger"] == 0 {
            seen = ledger.backlog().or(seen);
            assert_eq!(requests(&store).await, 1);
        }
        let seen = seen.unwrap();
        assert_eq!((seen.requests, seen.problem.unwrap().contains("no")), (Some(1), true));
        assert_eq!(ledger.backlog(), None, "it waits no longer");
        sqlx::query("DROP TRIGGER fails").execute(&mut other).await.unwrap();
        let path = dir.path().join(DATABASE);
        let away = dir.path().join("away");
        std::fs::rename(&path, &away).unwrap();
        for _ in 0..100 {
            sink.record(&[record(1, Some(usage("m", 1, 1)))]);
            tokio::task::yield_now().await;
        }
        std::fs::rename(&away, &path).unwrap();
        written(&store, 101).await;
        sink.close();
    };
    tokio::join!(writing, task);
    assert_eq!(requests(&store).await, 101);
    assert_eq!(drops.numbers()["ledger"], 1);
}

#[test]
fn what_is_pending_is_bounded() {
    let mut names = model_names::ModelNames::new(0, no_prices());
    let mut pending = Pending::default();
    let mut add = |number, pending: &mut Pending| {
        let entry = pending::entry(&record(number, None), &mut names, &no_tiers()).unwrap();
        let entry = pending::Entry { hour: 5, ..entry };
        pending.add(entry, true)
    };
    let sums = u64::try_from(pending::MAX_SUMS).unwrap();
    for number in 0..sums {
        assert_eq!(add(number, &mut pending), Room::Enough);
    }
    assert_eq!(add(sums, &mut pending), Room::None);
    // Known keys go on being summed; the oldest single exchange makes room.
    assert_eq!(add(0, &mut pending), Room::NotForExchange);
    let batch = pending.into_batch(1);
    assert_eq!((batch.hours.len(), batch.exchanges.len()), (pending::MAX_SUMS, pending::MAX_EXCHANGES));
    assert_eq!(batch.exchanges.last().unwrap().key.user, user(0).text());
    assert_eq!(batch.exchanges[0].key.user, user(1).text());
    let requests: u64 = batch.hours.iter().map(|(_, _, sums)| sums.requests).sum();
    assert_eq!(requests, sums + 1);
}

#[tokio::test]
async fn old_rows_are_deleted() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let (mut sink, task) =
        start(store.clone(), KEPT, no_tiers(), no_prices(), &Ledger::new(&Drops::default())).await;
    sink.record(&[record(1, None)]);
    sink.close();
    task.await;
    let now = clock::now_ms();
    keep_within(&store, KEPT, now).await.unwrap();
    assert_eq!(
        (requests(&store).await, store.last_exchanges(&UsageFilter::default(), 9).await.unwrap().len()),
        (1, 1)
    );
    keep_within(&store, KEPT, now + 25 * HOUR_MS).await.unwrap();
    assert_eq!(
        (requests(&store).await, store.last_exchanges(&UsageFilter::default(), 9).await.unwrap().len()),
        (1, 0)
    );
    keep_within(&store, KEPT, now + 24 * 402 * HOUR_MS).await.unwrap();
    assert_eq!(store.usage_keys().await.unwrap(), []);
}
