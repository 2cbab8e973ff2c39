use serde_json::json;

use super::*;

fn sums(
    requests: u64,
    counters: &serde_json::Value,
    estimated: u64,
    cost: &serde_json::Value,
) -> serde_json::Value {
    json!({
        "requests": requests, "failed": requests / 10, "failures": {}, "notCounted": 0, "tokens": 0,
        "counters": counters, "estimatedPromptTokens": 0, "estimatedAnswerTokens": estimated,
        "cost": cost, "unpricedTokens": 0,
    })
}

fn report(rows: &serde_json::Value, total: &serde_json::Value, unpriced: &serde_json::Value) -> UsageReport {
    serde_json::from_value(json!({
        "since": "2026-11-22T00:00:00Z", "until": "2026-11-29T13:00:00Z", "by": ["user", "model"],
        "tz": "UTC", "rows": rows, "total": total, "unpriced": unpriced,
    }))
    .unwrap()
}

#[test]
fn a_report_is_a_table_with_its_gaps_named() {
    let alice = sums(
        12_345,
        &json!({ "input": 9_876_543, "output": 1234, "cache_read": 7 }),
        0,
        &json!({ "USD": "1.86" }),
    );
    let bob = sums(3, &json!({ "input": 10, "output": 20 }), 20, &json!({}));
    let rows = json!([
        { "user": "usr_1", "userName": "alice\u{202e}", "model": "big\nFORGED", "sums": alice },
        { "user": "usr_2", "model": "", "sums": bob },
        { "user": "(other)", "model": "(other)", "sums": sums(1, &json!({}), 0, &json!({})) },
        { "rest": true, "sums": sums(2, &json!({}), 0, &json!({})) },
    ]);
    let mut total = sums(
        12_351,
        &json!({ "input": 9_876_553, "output": 1254, "cache_read": 7 }),
        20,
        &json!({ "USD": "1.86" }),
    );
    total["unpricedTokens"] = 30.into();
    total["notCounted"] = 1.into();
    let unpriced = json!([{ "provider": "demo", "model": "x\n", "tokens": 20 }, { "provider": "demo", "model": "", "tokens": 10 }]);
    let pending = Some(UsageBacklog {
        since: "2026-11-29T12:00:00Z".into(),
        requests: Some(7),
        problem: Some("no space left to write `d\n`".into()),
    });
    let Report { out, note } = shown(&UsageReport { pending, ..report(&rows, &total, &unpriced) });
    let expected = "\
USER           MODEL        REQUESTS  FAILED      INPUT  OUTPUT  CACHE READ       COST
alice\\u{202e}  big\\nFORGED    12,345   1,234  9,876,543   1,234           7   1.86 USD
usr_2          -                   3       0         10     ~20           0          -
(other)        (other)             1       0          0       0           0          -
(rest)         (rest)              2       0          0       0           0          -
total                         12,351   1,235  9,876,553  ~1,254           7  ~1.86 USD
";
    assert_eq!(out, expected);
    let expected = "\
2026-11-22T00:00:00Z to 2026-11-29T13:00:00Z, in whole hours; days and months in UTC
~: 20 tokens are estimates
not counted, or not wholly: 1 request (`--recent` shows the reason)
no price, and in no cost: 30 tokens: 20 of demo/x\\n, 10 of demo/(no model)
usage of 7 requests waits in memory since 2026-11-29T12:00:00Z: no space left to write `d\\n`
";
    assert_eq!(note, expected);
}

#[test]
fn without_usage_the_range_is_named() {
    let none = report(&json!([]), &sums(0, &json!({}), 0, &json!({})), &json!([]));
    let expected = "no usage from 2026-11-22T00:00:00Z to 2026-11-29T13:00:00Z, in whole hours\n";
    assert_eq!(super::none(&none, "", ""), expected);
    let expected = "no usage with `--model m` from 2026-11-22T00:00:00Z to 2026-11-29T13:00:00Z, in whole hours; did you mean `n`?\n";
    assert_eq!(super::none(&none, " with `--model m`", "; did you mean `n`?"), expected);
}

#[test]
fn a_query_has_what_is_given() {
    let query = Query::default().with("user", Some("a & b=c")).with("model", Some("é\n"));
    let query = query.with("top", Some("3")).with("every", None);
    assert_eq!(query.below("/p"), "/p?user=a+%26+b%3Dc&model=%C3%A9%0A&top=3");
}
