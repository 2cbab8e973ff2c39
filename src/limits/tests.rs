//! Tests of admission over threads, restarts and the store.

#![expect(clippy::disallowed_methods, reason = "tests wait for their tasks")]

use std::sync::{Arc, Barrier};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    access_record::Sides,
    call_limits::take,
    clock::now_ms,
    compile::{self, Files},
    name::FileName,
    store::{Store, UsageBatch, UsageKey, UsageSums},
    syntax::{self, Per},
};

/// The limits of a file.
fn limits(text: &str) -> Vec<Arc<Limit>> {
    served(text).all().to_vec()
}

/// The limits of a file, as they serve.
fn served(text: &str) -> compile::Limits {
    let (slot, found) = syntax::parse(&"limits.d/t.toml".into(), text);
    assert!(found.is_empty(), "{found:?}");
    let mut files = Files::default();
    files.limits.insert(FileName::new("t").unwrap(), slot);
    let compiled = compile::compile(&files);
    assert!(compiled.diagnostics.is_empty(), "{:?}", compiled.diagnostics);
    compile::Limits::new(&compiled.limits)
}

/// What a call with this key takes of each.
fn takes(limits: &[Arc<Limit>], key: &str, asked: i128) -> Vec<Take> {
    let one = |limit: &Arc<Limit>| Take {
        key: key.into(),
        terms: take::terms(limit, limit.amount),
        limit: Arc::clone(limit),
        asked: if limit.measure.needs_usage() { asked } else { 1 },
    };
    limits.iter().map(one).collect()
}

const STRICT: &str = "[[limit]]\nid = \"a\"\nrequests = 50\nwindow = { sliding = \"60s\" }\n";
const PAIR: &str =
    "[[limit]]\nid = \"a\"\nrequests = 50\nwindow = \"total\"\n[[limit]]\nid = \"b\"\nconcurrent = 3\n";
const TOKENS: &str = "[[limit]]\nid = \"t\"\ntokens = 100\nwindow = \"total\"\n";

#[test]
fn threads_admit_exactly_the_amount() {
    let (states, limits) = (LimitStates::default(), limits(STRICT));
    let (now, barrier) = (now_ms(), Arc::new(Barrier::new(8)));
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (states, limits, barrier) = (states.clone(), limits.clone(), Arc::clone(&barrier));
                scope.spawn(move || {
                    barrier.wait();
                    let calls = (0..200).filter_map(|_| states.admit(takes(&limits, "k", 1), now).ok());
                    calls.map(|admitted| admitted.settle(|_, _| Some(1), now)).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 50);
    assert_eq!(states.outcomes(), [("a".to_owned(), 50, 1550)]);
}

#[test]
fn a_refused_call_uses_up_nothing() {
    let (states, limits) = (LimitStates::default(), limits(PAIR));
    let running: Vec<_> = (0..3).map(|_| states.admit(takes(&limits, "k", 1), 0).unwrap()).collect();
    for _ in 0..10 {
        assert_eq!(states.admit(takes(&limits, "k", 1), 0).unwrap_err().limit.id.as_str(), "b");
    }
    assert!(states.admit(takes(&limits, "other", 1), 0).is_ok());
    drop(running);
    let again: Vec<_> = (0..4).map(|_| states.admit(takes(&limits, "k", 1), 0)).collect();
    assert_eq!(again.iter().filter(|one| one.is_ok()).count(), 3);
    let used: Vec<i128> = again[0].as_ref().unwrap().standings(0).iter().map(|one| one.left).collect();
    assert_eq!(used, [44, 0]);
}

/// Clients choose some keys, such as models.
#[test]
fn a_refused_call_leaves_no_key_behind() {
    let text =
        "[[limit]]\nid = \"a\"\nconcurrent = 3\n[[limit]]\nid = \"b\"\nrequests = 1\nwindow = \"total\"\n";
    let (states, limits) = (LimitStates::default(), limits(text));
    let both = |key: &str| {
        let mut takes = takes(&limits, key, 1);
        takes[1].key = "k".into();
        takes
    };
    states.admit(both("first"), 0).unwrap().settle(|_, _| Some(1), 0);
    for number in 0..100 {
        assert_eq!(states.admit(both(&number.to_string()), 0).unwrap_err().limit.id.as_str(), "b");
    }
    let held: usize = states.state(&limits[0]).shards().map(|shard| shard.entries.len()).sum();
    assert_eq!(held, 0);
}

#[test]
fn a_call_without_a_settlement_counts_what_it_reserved() {
    let (states, limits) = (LimitStates::default(), limits(TOKENS));
    let left = |states: &LimitStates| {
        let probe = states.admit(takes(&limits, "k", 0), 0).unwrap();
        let left = probe.standings(0)[0].left;
        probe.settle(|_, _| None, 0);
        left
    };
    drop(states.admit(takes(&limits, "k", 40), 0).unwrap());
    assert_eq!(left(&states), 60);
    states.admit(takes(&limits, "k", 40), 0).unwrap().settle(|_, _| Some(7), 0);
    assert_eq!(left(&states), 53);
    states.admit(takes(&limits, "k", 40), 0).unwrap().settle(|_, _| None, 0);
    assert_eq!(left(&states), 53);
    assert!(states.admit(takes(&limits, "k", 54), 0).is_err());
    // What running calls used beyond their reservation is carried on.
    states.admit(takes(&limits, "k", 10), 0).unwrap().settle(|_, _| Some(200), 0);
    assert!(states.admit(takes(&limits, "k", 0), 0).is_err());
}

/// A task that panics while its call runs holds no place any more, and what it reserved counts as used.
#[tokio::test]
async fn a_panic_gives_the_place_back() {
    let text = "[[limit]]\nid = \"a\"\nconcurrent = 1\n[[limit]]\nid = \"b\"\nrequests = 9\nwindow = \"total\"\n\
                [[limit]]\nid = \"c\"\ntokens = 100\nwindow = \"total\"\n";
    let (states, limits) = (LimitStates::default(), limits(text));
    let balances = |states: &LimitStates| -> Vec<(i128, i128)> {
        let reports = limits.iter().map(|limit| states.report(limit, "k", limit.amount, 0).balance);
        reports.map(|balance| (balance.used, balance.reserved)).collect()
    };
    for round in 1..=3 {
        let (admitted, running) = (states.admit(takes(&limits, "k", 10), 0).unwrap(), states.clone());
        let refused = running.admit(takes(&limits, "k", 10), 0).unwrap_err();
        assert_eq!(refused.limit.id.as_str(), "a");
        let task = tokio::spawn(async move {
            tokio::task::yield_now().await;
            let call = admitted;
            assert!(call.limits().count() == 0, "the panic of this test");
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(balances(&states), [(0, 0), (round, 0), (10 * round, 0)], "round {round}");
    }
}

/// A panic beside the counters, with their lock held, takes no limit out of service.
#[test]
fn a_panic_with_a_lock_held_stops_no_admission() {
    let (states, limits) = (LimitStates::default(), limits(PAIR));
    let running = states.admit(takes(&limits, "k", 1), 0).unwrap();
    for limit in &limits {
        let state = states.state(limit);
        let panics = std::thread::spawn(move || {
            let _held = state.shard_of("k");
            panic!("the panic of this test");
        });
        assert!(panics.join().is_err());
    }
    running.settle(|_, _| Some(1), 0);
    let again: Vec<_> = (0..4).map(|_| states.admit(takes(&limits, "k", 1), 0)).collect();
    assert_eq!(again.iter().filter(|one| one.is_ok()).count(), 3);
}

/// A running writer, and what ends it.
async fn writer(store: &Store, states: &LimitStates) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let (writer, stop) = (start(store, states).await.unwrap(), CancellationToken::new());
    (stop.clone(), tokio::spawn(writer.run(stop)))
}

#[tokio::test]
async fn a_kill_lets_no_call_more_pass_and_a_clean_end_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let (states, limits, now) = (LimitStates::default(), limits(STRICT), now_ms());
    let (stop, task) = writer(&store, &states).await;
    for _ in 0..20 {
        let admitted = states.admit(takes(&limits, "k", 1), now).unwrap();
        if let Some(covering) = admitted.covering() {
            assert!(covering.wait().await);
        }
        admitted.settle(|_, _| Some(1), now);
    }
    let admitted_after =
        |states: &LimitStates| (0..60).filter(|_| states.admit(takes(&limits, "k", 1), now).is_ok()).count();
    // As after a kill: what is stored now.
    let killed = LimitStates::default();
    drop(start(&store, &killed).await.unwrap());
    let more = admitted_after(&killed);
    assert!((20..=30).contains(&more), "{more} after 20 of 50");
    stop.cancel();
    task.await.unwrap();
    let ended = LimitStates::default();
    drop(start(&store, &ended).await.unwrap());
    assert_eq!(admitted_after(&ended), 30);
}

/// Whatever a limit says meanwhile: a call that passes while it refuses is known to the store.
#[tokio::test]
async fn no_change_of_a_limit_lets_a_kill_lose_a_call() {
    const TOTAL: &str = "[[limit]]\nid = \"a\"\nrequests = 160\nwindow = \"total\"\n";
    let changes = [
        TOTAL.to_owned(),
        TOTAL.replace("160", "1600"),
        TOTAL.replace("160", "16"),
        format!("{TOTAL}over = \"warn\"\n"),
        TOTAL.replace("\"total\"", "{ sliding = \"10s\" }"),
        TOTAL.replace("\"total\"", "{ sliding = \"10m\" }"),
        TOTAL.replace("\"total\"", "{ every = \"month\" }"),
    ];
    for (change, writes) in changes.iter().flat_map(|change| [(change, false), (change, true)]) {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let (states, now) = (LimitStates::default(), now_ms());
        let (stop, task) = writer(&store, &states).await;
        let mut sent = 0;
        for text in [TOTAL, change, TOTAL] {
            let limits = limits(text);
            for _ in 0..5 {
                let admitted = states.admit(takes(&limits, "k", 1), now).unwrap();
                if let Some(covering) = admitted.covering() {
                    assert!(covering.wait().await);
                }
                sent += 1;
                if state::is_strict(&limits[0]) {
                    let known = stored_of(&store, &limits[0], "k", now).await;
                    assert!(known >= sent, "{known} of {sent} are known, with `{change}` meanwhile");
                }
                admitted.settle(|_, _| Some(1), now);
            }
            assert!(!writes || states.0.cover.ask().wait().await);
        }
        // A clean end leaves nothing of what was stored ahead, whatever the limit says by then.
        states.admit(takes(&limits(change), "other", 1), now).unwrap().settle(|_, _| Some(1), now);
        stop.cancel();
        task.await.unwrap();
        assert_eq!(stored_of(&store, &limits(TOTAL)[0], "k", now).await, sent, "with `{change}`");
    }
}

/// A call that was judged by limits of before is counted in the windows of now, whichever come first.
#[test]
fn a_late_call_is_counted_in_the_window_of_now() {
    let text = |window: &str| format!("[[limit]]\nid = \"a\"\nrequests = 50\nwindow = {window}\n");
    let first = Arc::new(served(&text("\"total\"")));
    let second = Arc::new(served(&text("{ sliding = \"60s\" }")).after(&first));
    let third = Arc::new(served(&text("{ every = \"month\" }")).after(&second));
    let window = |states: &LimitStates, judged_by: &Arc<compile::Limits>| {
        let mut takes = takes(judged_by.all(), "k", 1);
        states.keep_windows(judged_by, &mut takes);
        takes[0].terms.window.clone()
    };
    let states = LimitStates::default();
    let check = |judged_by, expected: &compile::Limits| {
        assert_eq!(Some(window(&states, judged_by)), expected.all()[0].window);
    };
    check(&first, &first);
    check(&second, &second);
    check(&first, &second);
    check(&third, &third);
    check(&second, &third);
    check(&first, &third);
    check(&third, &third);
    // A limit that is gone, or that counts something else, has the window that it had.
    for gone in ["", "[[limit]]\nid = \"a\"\ntokens = 50\nwindow = \"total\"\n"] {
        let (states, newest) = (LimitStates::default(), Arc::new(served(gone).after(&second)));
        states.keep_windows(&newest, &mut []);
        assert_eq!(Some(window(&states, &second)), second.all()[0].window);
    }
}

/// What is used of an amount, as after a kill.
async fn stored_of(store: &Store, limit: &Arc<Limit>, key: &str, now: u64) -> i128 {
    stored(store).await.unwrap().report(limit, key, limit.amount, now).balance.used
}

/// A user with a small amount of a large limit is not kept out by what is stored ahead.
#[tokio::test]
async fn what_is_stored_ahead_is_a_part_of_the_amount_of_the_caller() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let limits = limits("[[limit]]\nid = \"a\"\nrequests = 16000\nwindow = \"total\"\n");
    for (key, amount, ahead) in [("small", 10, 1), ("middle", 160, 10), ("large", 32_000, 1_000)] {
        let (states, now) = (LimitStates::default(), now_ms());
        let (stop, task) = writer(&store, &states).await;
        let mut takes = takes(&limits, key, 1);
        takes[0].terms.amount = amount;
        let admitted = states.admit(takes, now).unwrap();
        assert!(admitted.covering().unwrap().wait().await);
        assert_eq!(stored_of(&store, &limits[0], key, now).await, 1 + ahead, "{key}");
        admitted.settle(|_, _| Some(1), now);
        stop.cancel();
        task.await.unwrap();
    }
}

/// The prices of a file in which a million tokens of the model `m` cost so many dollars.
fn prices(dollars: u64) -> compile::Prices {
    let text = format!(
        "title = \"V\"\ncurrency = \"USD\"\n[[price]]\nmodel = [\"m\"]\ninput = {dollars}\noutput = 0\n"
    );
    let (slot, found) = syntax::parse(&"prices/v.toml".into(), &text);
    assert!(found.is_empty(), "{found:?}");
    let mut files = Files::default();
    files.prices.insert(FileName::new("v").unwrap(), slot);
    compile::Prices::new(compile::compile(&files).prices)
}

/// A corrected price corrects all limits of cost once, or none if other limits serve by then: they may have other windows.
#[tokio::test]
async fn a_corrected_price_corrects_the_limits_that_serve() {
    const USD: i128 = 1_000_000_000_000;
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let text = "[[limit]]\nid = \"a\"\ncost = \"90 USD\"\nno_price = \"free\"\nwindow = \"total\"\n\
                [[limit]]\nid = \"b\"\nper = \"all\"\ncost = \"90 USD\"\nno_price = \"free\"\nwindow = { every = \"month\" }\n\
                [[limit]]\nid = \"c\"\ncost = \"90 USD\"\nno_price = \"free\"\nwindow = { sliding = \"1h\" }\n";
    let (all, states, now) = (limits(text), LimitStates::default(), now_ms());
    let mut calls = takes(&all, "u", 2 * USD);
    calls[1].key = "".into();
    states.admit(calls, now).unwrap().settle(|_, _| Some(2 * USD), now);
    let mut counters = crate::usage::Counters::ZERO;
    counters.set(crate::usage::Counter::Input, 2_000_000);
    let key = UsageKey { user: "u".into(), model: "m".into(), provider: "v".into(), ..UsageKey::default() };
    let hours = vec![(now / 3_600_000, key, UsageSums { requests: 1, counters, ..UsageSums::default() })];
    let batch = UsageBatch { number: 1, hours, exchanges: Vec::new() };
    assert!(store.add_usage("w", &batch, now).await.unwrap());
    let used = || {
        let keys = ["u", "", "u"];
        let reports = all.iter().zip(keys).map(|(limit, key)| states.report(limit, key, limit.amount, now));
        reports.map(|report| report.balance.used / USD).collect::<Vec<_>>()
    };
    let (old, new) = (prices(1), prices(3));
    let change = PriceChange { old: &old, new: &new };
    let served = served(text);
    let corrected = states.correct(&store, (&served, || false), change, now).await.unwrap();
    assert_eq!((corrected, used()), (None, vec![2, 2, 2]));
    let corrected = states.correct(&store, (&served, || true), change, now).await.unwrap();
    assert_eq!((corrected, used()), (Some(2), vec![6, 6, 2]));
}

/// What is not counted is estimated by what reservations learned: of the whole body, and by the model of the request. The answer may
/// name another one.
#[test]
fn estimates_are_by_the_bodies_and_models_of_requests() {
    let states = LimitStates::default();
    let call = |input: u64, output: u64| {
        let mut usage = Usage {
            request_model: Some("m".into()),
            model: Some("m-2026-01-01".into()),
            // The body has other text besides.
            prompt_bytes: 100,
            answer_bytes: 60,
            ..Usage::default()
        };
        usage.counters.set(crate::usage::Counter::Input, input);
        usage.counters.set(crate::usage::Counter::Output, output);
        usage
    };
    for _ in 0..1_000 {
        states.learn("v", &mut call(200, 30), 400);
    }
    // The size of a body with an image says little of its tokens: only its text counts.
    for (prompt_has_other, prompt) in [(false, 200), (true, 50)] {
        let to_estimate = Sides { prompt: true, answer: true };
        let mut cut = Usage { to_estimate, prompt_has_other, ..call(0, 0) };
        states.learn("v", &mut cut, 400);
        assert_eq!((cut.counters.prompt_tokens(), cut.counters.tokens()), (prompt, prompt + 30));
        assert_eq!(cut.prompt_bytes, 100);
    }
}

#[test]
fn reports_come_in_pages_by_key() {
    let (states, limits, now) = (LimitStates::default(), limits(PAIR), now_ms());
    let key = |user: u8| format!("usr_{user:016x}");
    for user in [3, 1, 2] {
        for _ in 0..user {
            states.admit(takes(&limits, &key(user), 1), now).unwrap().settle(|_, _| Some(1), now);
        }
    }
    // A key of a time when the limit had amounts for something else.
    states.admit(takes(&limits, "other", 1), now).unwrap().settle(|_, _| Some(1), now);
    let check = |after: Option<u8>, max: usize, expected: &[(u8, i128)]| {
        let after = after.map(key);
        let page = ReportPage { after: after.as_deref(), max, now_ms: now };
        let amount = |parts: &[(Per, String)]| (parts[0].1 != key(9)).then_some(10);
        let report =
            |report: LimitReport, amount| (report.share(amount) > 0.1).then_some(report.balance.used);
        let found = states.page(&limits[0], page, amount, report);
        let found: Vec<_> = found.iter().map(|(key, used)| (key.to_string(), *used)).collect();
        let expected: Vec<_> = expected.iter().map(|(user, used)| (key(*user), *used)).collect();
        assert_eq!(found, expected, "{after:?} {max}");
    };
    check(None, 9, &[(2, 2), (3, 3)]);
    check(None, 1, &[(2, 2)]);
    check(Some(2), 9, &[(3, 3)]);
    check(Some(3), 9, &[]);
    check(None, 0, &[]);
    let unused = states.report(&limits[0], &key(7), 10, now);
    assert_eq!((unused.balance.used, unused.balance.left, unused.share(10)), (0, 10, 0.0));
    assert_eq!(unused.parts, [(Per::User, key(7))]);
    let running = states.admit(takes(&limits, &key(1), 1), now).unwrap();
    assert_eq!(states.report(&limits[1], &key(1), 3, now).balance.left, 2);
    let sum = states.sum(&limits[0], now, |_| 3, |balance, amount| share(balance, amount) > 0.8);
    assert_eq!(sum, LimitSum { near: 1, reserved: 1 });
    running.settle(|_, _| Some(1), now);
    assert_eq!(states.sum(&limits[0], now, |_| 3, |_, _| true), LimitSum { near: 3, reserved: 0 });
}
