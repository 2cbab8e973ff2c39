use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use http::Method;

use super::*;
use crate::{access_record::End, compile, name::FileName, syntax, usage::Counter};

/// A finished exchange without a provider.
fn record() -> AccessRecord {
    let begun = AccessRecord::begun(Ipv4Addr::LOCALHOST.into(), Method::POST, "/x".to_owned(), 0);
    AccessRecord { status: Some(StatusCode::OK), end: End::Complete, ..begun }
}

/// A finished exchange with an endpoint.
fn routed(provider: &str, endpoint: &str) -> AccessRecord {
    AccessRecord { provider: FileName::new(provider), endpoint: Some(endpoint.into()), ..record() }
}

/// The usage of an exchange with this model.
fn with_model(model: &str, counts: &[(Counter, u64)]) -> AccessRecord {
    let mut usage = Usage { model: Some(model.into()), ..Usage::default() };
    for (counter, number) in counts {
        usage.counters.set(*counter, *number);
    }
    AccessRecord { usage: Some(Box::new(usage)), ..routed("demo", "chat") }
}

fn counted(labels: MetricLabels, records: &[AccessRecord]) -> Counts {
    let mut counts = Counts::new(labels);
    for record in records {
        counts.add(record, &Prices::default());
    }
    counts
}

#[test]
fn status_classes_and_outcomes() {
    let check = |record: AccessRecord, class: &str, outcome: Outcome| {
        let counts = counted(MetricLabels::default(), &[record]);
        let (class, outcome) =
            (STATUS_CLASSES.iter().position(|one| *one == class).unwrap(), outcome as usize);
        let endpoint = &counts.providers["demo"].endpoints["chat"];
        assert_eq!(endpoint.requests[class][outcome], 1);
        assert_eq!(endpoint.requests.iter().flatten().sum::<u64>(), 1);
    };
    let status = |code: u16| AccessRecord {
        status: Some(StatusCode::from_u16(code).unwrap()),
        ..routed("demo", "chat")
    };
    check(status(200), "2xx", Outcome::Success);
    check(status(304), "3xx", Outcome::Success);
    check(status(404), "4xx", Outcome::UpstreamRejected);
    check(status(429), "4xx", Outcome::UpstreamLimited);
    check(status(599), "5xx", Outcome::UpstreamError);
    check(status(999), "none", Outcome::UpstreamError);
    check(AccessRecord { end: End::Cut, ..status(200) }, "2xx", Outcome::Cut);
    check(
        AccessRecord { status: None, end: End::ClientLeft, ..routed("demo", "chat") },
        "none",
        Outcome::ClientLeft,
    );
    let fault = AccessRecord { fault: Some(FaultKind::UpstreamDns), ..status(502) };
    check(fault, "5xx", Outcome::UpstreamFailed);
}

#[test]
fn every_outcome_and_kind_has_its_place() {
    for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
        assert_eq!(outcome as usize, index);
    }
    for (index, kind) in FaultKind::ALL.iter().enumerate() {
        assert_eq!(*kind as usize, index);
    }
    for (index, reason) in NotCounted::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index);
    }
}

#[test]
fn times_are_those_of_exchanges_with_an_upstream() {
    let check = |record: AccessRecord, duration, first_byte| {
        let record = AccessRecord {
            duration: Duration::from_secs(1),
            first_byte: Some(Duration::from_millis(1)),
            ..record
        };
        let counts = counted(MetricLabels::default(), &[record]);
        let (_, provider) = counts.providers.first_key_value().unwrap();
        let (_, endpoint) = provider.endpoints.first_key_value().unwrap();
        assert_eq!((endpoint.duration.count(), endpoint.first_byte.count()), (duration, first_byte));
    };
    let fault = |kind| AccessRecord { fault: Some(kind), ..routed("demo", "chat") };
    check(routed("demo", "chat"), 1, 1);
    check(record(), 0, 0);
    check(fault(FaultKind::CredentialMissing), 0, 0);
    // It took that time, and no byte came.
    check(fault(FaultKind::UpstreamTimeout), 1, 0);
}

#[test]
fn counted_and_estimated_tokens_are_apart() {
    let mut record =
        with_model("large", &[(Counter::Input, 100), (Counter::Output, 30), (Counter::Images, 2)]);
    record.usage.as_mut().unwrap().estimated.set(Counter::Output, 10);
    let counts = counted(MetricLabels::default(), &[record.clone(), record]);
    let (provider, model, tokens) = counts.models().next().unwrap();
    assert_eq!((provider, model, counts.models().count()), ("demo", "large", 1));
    let numbers = |counters: &Counters| -> Vec<(Counter, u64)> {
        counters.iter().filter(|(_, number)| *number > 0).collect()
    };
    assert_eq!(
        numbers(&tokens.usage.counted),
        [(Counter::Input, 200), (Counter::Output, 40), (Counter::Images, 4)]
    );
    assert_eq!(numbers(&tokens.usage.estimated), [(Counter::Output, 20)]);
}

fn models(counts: &Counts) -> Vec<&str> {
    counts.models().map(|(_, model, _)| model).collect()
}

#[test]
fn only_listed_models_have_a_series() {
    let labels =
        MetricLabels { models: Some(["large".to_owned(), "a\u{200b}b".to_owned()].into()), users: false };
    let one = [(Counter::Input, 1)];
    let records = ["large", "small", "LARGE", "", "a\u{200b}b"].map(|model| with_model(model, &one));
    let counts = counted(labels, &records);
    assert_eq!(models(&counts), ["(other)", "a\u{200b}b", "large"]);
    let others = counts.models().next().unwrap().2.usage.counted;
    assert_eq!(others.get(Counter::Input), 3);
    let none = MetricLabels { models: Some(BTreeSet::new()), users: false };
    assert_eq!(models(&counted(none, &records)), ["(other)"]);
}

#[test]
fn a_peer_chooses_no_label_of_another_meaning() {
    let token = format!("tg_{}", "0123456789abcdef".repeat(3));
    let long = "m".repeat(5000);
    let one = [(Counter::Input, 1)];
    let records = ["(other)", &token, &long, "a\nb\u{202e}c"].map(|model| with_model(model, &one));
    let counts = counted(MetricLabels::default(), &records);
    assert_eq!(models(&counts), ["a\\nb\\u{202e}c", &long[..MAX_MODEL_NAME], "(other)"]);
}

#[test]
fn users_have_series_only_by_setting_and_with_a_provider() {
    let user = |number: usize| UserId::new(&format!("usr_{number:016x}"));
    let by = |number| AccessRecord { user: user(number), ..with_model("large", &[(Counter::Input, 5)]) };
    let users = |users, records: &[AccessRecord]| {
        let counts = counted(MetricLabels { models: None, users }, records);
        let seen = counts.users().filter(|(_, counts)| counts.requests.iter().sum::<u64>() > 0);
        seen.map(|(name, counts)| (name.to_owned(), counts.tokens.counted.get(Counter::Input)))
            .collect::<Vec<_>>()
    };
    assert_eq!(users(false, &[by(1)]), []);
    let of_api = AccessRecord { user: user(3), ..record() };
    let seen = users(true, &[by(1), by(1), by(2), of_api]);
    assert_eq!(seen, [("usr_0000000000000001".to_owned(), 10), ("usr_0000000000000002".to_owned(), 5)]);
    let many: Vec<_> = (0..3 * MAX_USERS).map(by).collect();
    assert_eq!(users(true, &many).len(), MAX_USERS + 1);
}

#[test]
fn a_flood_of_names_makes_a_bounded_number_of_series() {
    let mut counts = Counts::new(MetricLabels { models: None, users: true });
    let none = Prices::default();
    for number in 0..5000 {
        let flood = AccessRecord {
            provider: FileName::new(&format!("p{}", number % 3)),
            path: format!("/wp-login-{number}.php"),
            method: format!("M{number}").parse().unwrap(),
            user: UserId::new(&format!("usr_{number:016x}")),
            ..with_model(&format!("model-{number}"), &[(Counter::Input, 1), (Counter::Output, 1)])
        };
        counts.add(&flood, &none);
        counts.add(&AccessRecord { provider: None, endpoint: None, usage: None, ..flood }, &none);
        // Files that come and go.
        let renamed =
            AccessRecord { provider: FileName::new(&format!("q{number}")), ..routed("demo", "chat") };
        counts.add(&renamed, &none);
        counts.add(&routed("demo", &format!("endpoint-{number}")), &none);
    }
    assert_eq!(models(&counts).len(), MAX_MODELS + 3);
    assert_eq!(counts.users().count(), MAX_USERS + 1);
    assert_eq!(counts.providers.len(), MAX_PROVIDERS + 1);
    assert_eq!(counts.providers["demo"].endpoints.len(), MAX_ENDPOINTS + 1);
    assert_eq!(counts.providers[""].endpoints.len(), 1);
    let all: u64 = counts.models().map(|(.., counts)| counts.usage.counted.get(Counter::Input)).sum();
    assert_eq!(all, 5000, "no token is lost");
}

#[test]
fn usage_costs_the_price_of_its_model_on_that_day() {
    let text = r#"
        title = "Prices"
        currency = "EUR"
        source = "https://prices.example"
        date = "2026-03-01"
        [[price]]
        model = ["large"]
        from = "2026-01-01"
        input = 2
        output = 10
        tier = [{ over = 100, input = 4 }]
    "#;
    let (parsed, found) = syntax::parse(&"prices/demo.toml".into(), text);
    assert_eq!(found, []);
    let mut files = compile::Files::default();
    files.prices.insert(FileName::new("demo").unwrap(), parsed);
    let prices = Prices::new(compile::compile(&files).prices);
    let mut counts = Counts::new(MetricLabels::default());
    let at = |time: &str, input, model| AccessRecord {
        started_at_ms: crate::clock::from_utc(time).unwrap(),
        ..with_model(model, &[(Counter::Input, input), (Counter::Output, 1)])
    };
    for (time, input, model) in [
        ("2026-01-01T00:00:00Z", 100, "large"),
        ("2026-02-01T00:00:00Z", 101, "large"),
        ("2025-12-31T23:59:59Z", 6, "large"),
        ("2026-01-01T00:00:00Z", 8, "small"),
    ] {
        counts.add(&at(time, input, model), &prices);
    }
    let seen: Vec<_> = counts
        .models()
        .map(|(_, model, counts)| {
            let cost = counts.cost.iter().map(|money| format!("{} {}", money.exact(), money.currency));
            (model, cost.collect::<Vec<_>>(), counts.unpriced)
        })
        .collect();
    assert_eq!(seen, [("large", vec!["0.000624 EUR".to_owned()], 7), ("small", vec![], 9)]);
}
