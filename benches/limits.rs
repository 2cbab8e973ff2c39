//! Limits at size: 100,000 users and 20 limits, each with a counter for each user. Memory, the cost of a warm admitted call with
//! three limits, the write of everything, and the load of it at a start.
//!
//! ```sh
//! cargo bench --bench limits                 # or: -- USERS LIMITS
//! ```

#![expect(clippy::print_stdout, reason = "it reports")]

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tollgate::{
    call_limits::take::{self, Take},
    clock::now_ms,
    compile::{self, Files, Limit, Limits},
    limits::{self, LimitStates},
    name::FileName,
    store::Store,
    syntax,
};

/// Limits of all kinds of windows, of tokens, cost and requests.
fn text(count: usize) -> String {
    let windows = [
        "{ every = \"month\", tz = \"Europe/Berlin\" }",
        "{ every = \"day\" }",
        "{ sliding = \"60s\" }",
        "\"total\"",
    ];
    let amounts = [
        "tokens = 900_000_000_000",
        "requests = 900_000_000_000",
        "cost = \"900_000_000 USD\"\nno_price = \"free\"",
    ];
    let limit = |index: usize| {
        let amount = amounts[index % amounts.len()].replace("900_000_000 USD", "900000000 USD");
        format!("[[limit]]\nid = \"l{index:02}\"\n{amount}\nwindow = {}\n", windows[index % windows.len()])
    };
    (0..count).map(limit).collect()
}

fn compiled(count: usize) -> Vec<Arc<Limit>> {
    let (slot, found) = syntax::parse(&"limits.d/bench.toml".into(), &text(count));
    assert!(found.is_empty(), "{found:?}");
    let mut files = Files::default();
    files.limits.insert(FileName::new("bench").expect("a name"), slot);
    let compiled = compile::compile(&files);
    assert!(compiled.diagnostics.is_empty(), "{:?}", compiled.diagnostics);
    Limits::new(&compiled.limits).all().to_vec()
}

fn takes(limits: &[Arc<Limit>], key: &Arc<str>) -> Vec<Take> {
    let one = |limit: &Arc<Limit>| Take {
        limit: Arc::clone(limit),
        key: Arc::clone(key),
        terms: take::terms(limit, limit.amount),
        asked: 1,
    };
    limits.iter().map(one).collect()
}

/// The time of one of so many calls.
fn each(time: Duration, calls: usize) -> Duration {
    time / u32::try_from(calls).unwrap_or(u32::MAX)
}

/// Resident memory in MiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn call(states: &LimitStates, limits: &[Arc<Limit>], key: &Arc<str>, now: u64) {
    let admitted = states.admit(takes(limits, key), now).expect("the amounts are large");
    admitted.settle(|_, _| Some(1), now);
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let (users, count) = (given.first().copied().unwrap_or(100_000), given.get(1).copied().unwrap_or(20));
    let limits = compiled(count);
    let keys: Vec<Arc<str>> = (0..users).map(|user| format!("usr_{user:016x}").into()).collect();
    let (states, now) = (LimitStates::default(), now_ms());
    let before = resident();
    let begun = Instant::now();
    for key in &keys {
        call(&states, &limits, key, now);
    }
    let filled = begun.elapsed();
    println!(
        "{users} users, {count} limits: {} counters, {} MiB more resident",
        users * count,
        resident() - before
    );
    println!("first calls: {:?} a call of {count} limits", each(filled, users));
    for matching in [1, 3, count.min(20)] {
        let (some, calls) = (&limits[..matching], 1_000_000);
        let begun = Instant::now();
        (0..calls).for_each(|number| call(&states, some, &keys[number * 7919 % users], now));
        println!("warm calls, {matching} limits, random users: {:?}", each(begun.elapsed(), calls));
        let begun = Instant::now();
        (0..calls).for_each(|_| call(&states, some, &keys[0], now));
        println!("warm calls, {matching} limits, one user: {:?}", each(begun.elapsed(), calls));
    }
    threads(&states, &limits[..3.min(count)], &keys, now);
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path()).await?;
    let writer = limits::start(&store, &states).await?;
    let stop = CancellationToken::new();
    stop.cancel();
    let begun = Instant::now();
    writer.run(stop).await;
    println!("write of all: {:.1} s", begun.elapsed().as_secs_f64());
    let (loaded, begun) = (LimitStates::default(), Instant::now());
    drop(limits::start(&store, &loaded).await?);
    println!("load at a start: {:.2} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// One counter for all, from four threads.
fn threads(states: &LimitStates, limits: &[Arc<Limit>], keys: &[Arc<str>], now: u64) {
    for (name, is_shared) in [("one user", true), ("four users", false)] {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let key = &keys[if is_shared { 0 } else { thread % keys.len() }];
                scope.spawn(move || (0..250_000).for_each(|_| call(states, limits, key, now)));
            }
        });
        println!(
            "4 threads, {} limits, {name}: {:.3} us a call",
            limits.len(),
            begun.elapsed().as_secs_f64()
        );
    }
}
