//! Reports of a real store, under prices of a real file.

use std::sync::Arc;

use jiff::tz::TimeZone;
use tempfile::TempDir;

use super::{
    Dimension::{Model, User},
    *,
};
use crate::{
    compile::{self, Files},
    ledger::range::{Every, parts},
    name::FileName,
    store::UsageBatch,
    syntax,
};

const PRICES: &str = r#"
    title = "Demo"
    currency = "USD"
    [[price]]
    model = ["small*"]
    input = 1
    output = 10
    [[price]]
    model = ["small*"]
    from = "1970-01-11"
    input = 2
    output = 10
    tier = [{ over = 1000, input = 4 }]
    [[price]]
    model = ["embed"]
    input = 1
"#;

fn prices() -> Prices {
    let (slot, found) = syntax::parse(&Arc::from("demo.toml"), PRICES);
    assert_eq!(found, []);
    let mut files = Files::default();
    files.prices.insert(FileName::new("demo").unwrap(), slot);
    let compiled = compile::compile(&files);
    assert_eq!(compiled.diagnostics, []);
    Prices::new(compiled.prices)
}

fn key(user: &str, model: &str) -> UsageKey {
    UsageKey { user: user.into(), model: model.into(), provider: "demo".into(), ..UsageKey::default() }
}

fn sums(input: u64, output: u64) -> UsageSums {
    let mut counters = Counters::ZERO;
    counters.set(Counter::Input, input);
    counters.set(Counter::Output, output);
    UsageSums { requests: 1, counters, ..UsageSums::default() }
}

/// A store with usage in several hours: of `a` a lot, of `b` less, of `c` hardly any.
async fn filled(dir: &TempDir) -> Store {
    let store = Store::open(dir.path()).await.unwrap();
    let tiered = UsageKey { context: 1000, ..key("b", "small-1") };
    let hours = vec![
        (5, key("a", "small-1"), sums(1_000_000, 100_000)),
        (239, key("a", "small-1"), sums(1_000_000, 0)),
        (240, key("a", "small-1"), sums(1_000_000, 0)),
        (300, tiered, sums(1_000_000, 0)),
        (300, key("b", "unknown"), sums(7, 3)),
        (301, key("c", "embed"), sums(4, 2)),
        (900, key("c", ""), sums(0, 0)),
    ];
    let batch = UsageBatch { number: 1, hours, exchanges: Vec::new() };
    assert!(store.add_usage("w", &batch, 0).await.unwrap());
    store
}

fn query(from: u64, until: u64, by: &[Dimension], every: Option<Every>, top: usize) -> UsageQuery {
    let hours = Hours { from, until };
    let parts = every.map(|every| parts(hours, every, &TimeZone::UTC).unwrap());
    UsageQuery { hours, parts, by: by.to_vec(), top, filter: UsageFilter::default(), visible: None }
}

/// Rows as text: part, values, requests, tokens, cost, tokens without a price.
async fn check(store: &Store, query: &UsageQuery, expected: &[&str]) -> Report {
    let report = report(store, &prices(), query).await.unwrap();
    let shown: Vec<String> = report.rows.iter().map(shown).collect();
    assert_eq!(shown, expected);
    let mut total = Priced::default();
    report.rows.iter().for_each(|row| total.add(&row.priced));
    assert_eq!(total, report.total, "parts add up");
    report
}

fn shown(Row { part, values, priced }: &Row) -> String {
    let values = values.as_ref().map_or_else(|| REST.to_owned(), |values| values.join(","));
    let part = part.as_ref().map(|part| format!("{part} ")).unwrap_or_default();
    let (requests, tokens) = (priced.sums.requests, priced.sums.counters.tokens());
    format!("{part}{values}: {requests} {tokens} {} {}", priced.cost, priced.unpriced_tokens)
}

#[tokio::test]
async fn groups_are_priced_and_the_greatest_come_first() {
    let dir = TempDir::new().unwrap();
    let store = filled(&dir).await;
    let all = query(0, 1000, &[User], None, 10);
    // 1 + 1 of the first day's price, 1 of output, 2 from the eleventh day on; 4 in the tier.
    let rows = ["a: 3 3100000 5.00 USD 0", "b: 2 1000010 4.00 USD 10", "c: 2 6 0.000004 USD 2"];
    let report = check(&store, &all, &rows).await;
    let unpriced: Vec<_> =
        report.unpriced.iter().map(|(_, model, tokens)| (model.as_str(), *tokens)).collect();
    assert_eq!(unpriced, [("unknown", 10), ("embed", 2)]);
    let other = ["a: 3 3100000 5.00 USD 0", "(rest): 4 1000016 4.00 USD 12"];
    check(&store, &query(0, 1000, &[User], None, 1), &other).await;
    check(&store, &query(0, 1000, &[], None, 1), &[": 7 4100016 9.00 USD 12"]).await;
    check(&store, &query(0, 1000, &[], None, 0), &["(rest): 7 4100016 9.00 USD 12"]).await;
    let models = ["small-1,a: 1 1000000 2.00 USD 0"];
    check(&store, &query(240, 241, &[Model, User], None, 9), &models).await;
    check(&store, &query(6, 239, &[User], None, 9), &[]).await;
    let filter = UsageFilter { user: Some("b".into()), ..UsageFilter::default() };
    let own = UsageQuery { filter, ..query(0, 1000, &[Model], None, 9) };
    check(&store, &own, &["small-1: 1 1000000 4.00 USD 0", "unknown: 1 10  10"]).await;
}

#[tokio::test]
async fn parts_of_time_have_the_same_groups() {
    let dir = TempDir::new().unwrap();
    let store = filled(&dir).await;
    let days = query(0, 1000, &[Dimension::User], Some(Every::Day), 1);
    let rows = [
        "1970-01-01 a: 1 1100000 2.00 USD 0",
        "1970-01-10 a: 1 1000000 1.00 USD 0",
        "1970-01-11 a: 1 1000000 2.00 USD 0",
        "1970-01-13 (rest): 3 1000016 4.00 USD 12",
        "1970-02-07 (rest): 1 0  0",
    ];
    check(&store, &days, &rows).await;
    let months = query(0, 1000, &[Dimension::Provider], Some(Every::Month), 9);
    let rows = ["1970-01 demo: 6 4100016 9.00 USD 12", "1970-02 demo: 1 0  0"];
    check(&store, &months, &rows).await;
    let hours = query(239, 241, &[], Some(Every::Hour), 9);
    let rows = [
        "1970-01-10T23:00:00+00:00 : 1 1000000 1.00 USD 0",
        "1970-01-11T00:00:00+00:00 : 1 1000000 2.00 USD 0",
    ];
    check(&store, &hours, &rows).await;
}

#[tokio::test]
async fn groups_are_bounded() {
    let dir = TempDir::new().unwrap();
    let store = filled(&dir).await;
    let check = async |by: &[Dimension], max, expected: &[&str]| {
        let query = query(0, 1000, by, None, 10);
        let report = report_within(&store, &prices(), &query, max).await.unwrap();
        assert_eq!(report.rows.iter().map(shown).collect::<Vec<_>>(), expected, "{by:?} {max}");
        assert_eq!(report.total.sums.requests, 7);
    };
    // Which of the groups are found first is open.
    let kept = report_within(&store, &prices(), &query(0, 1000, &[User], None, 10), 2).await.unwrap();
    let rest: Vec<bool> = kept.rows.iter().map(|row| row.values.is_none()).collect();
    assert_eq!((rest, kept.total.sums.requests), (vec![false, false, true], 7));
    let all = ["a: 3 3100000 5.00 USD 0", "b: 2 1000010 4.00 USD 10", "c: 2 6 0.000004 USD 2"];
    check(&[User], 3, &all).await;
    check(&[User], 0, &["(rest): 7 4100016 9.00 USD 12"]).await;
    check(&[], 1, &[": 7 4100016 9.00 USD 12"]).await;
}
