use super::*;
use crate::{
    base::diag::{Code, Sources},
    language::compile,
    tools::{filetest::run, limit_tests},
};

const OTHER: &str =
    "[[limit]]\nid = \"other\"\nmatch = { user = [\"bob\"] }\nrequests = 1\nwindow = \"total\"\n";

const CHAT: &str =
    r#"request = { method = "POST", path = "/demo/chat", body = { model = "big", max_tokens = 10 } }"#;
const ITEM: &str = r#"request = { path = "/demo/items/1" }"#;

fn compiled(text: &str) -> Compiled {
    let compiled = compile::compile(&limit_tests::loaded(&[("team", text), ("other", OTHER)]).files);
    assert_eq!(compiled.diagnostics, [], "{text}");
    compiled
}

/// Runs a test beside a limit; `calls` has the request, too. The findings: empty if it passes.
fn check(limit: &str, calls: &str, expect: &str, expected: &str) {
    let calls = format!("[[test]]\nname = \"case\"\n{calls}\nexpect = {{ {expect} }}\n");
    let outcome = run(&compiled(&format!("{limit}\n{calls}")));
    assert_eq!(outcome.ran, 1);
    let line = |one: &Diagnostic| {
        assert_eq!(one.code, Code::Test);
        let help = one.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{}{help}", one.message)
    };
    let found: String = outcome.diagnostics.iter().map(line).collect();
    assert_eq!(found, expected, "\n{limit}\n{calls}");
}

const MINUTE: &str = "[[limit]]\nid = \"burst\"\nrequests = 60\nwindow = { sliding = \"60s\" }\n";

#[test]
fn calls_come_at_their_times() {
    let calls = |count: u32, within: &str, expect: &str, expected: &str| {
        let calls = format!("calls = {{ count = {count}, within = \"{within}\", {ITEM} }}");
        check(MINUTE, &calls, expect, expected);
    };
    calls(
        61,
        "30s",
        "admitted = 60, last = { status = 429, code = \"limit_exceeded\", limit = \"burst\" }",
        "",
    );
    calls(61, "30s", "admitted = 60, last = { retry_after = 31 }", "");
    calls(61, "90s", "admitted = 61", "");
    calls(10_000, "8h", "admitted = 10000", "");
    calls(
        61,
        "90s",
        "admitted = 60",
        "test `case` fails: expected 60 admitted, 61 were | also: the limits for these calls: `burst`",
    );
    calls(
        61,
        "30s",
        "admitted = 61",
        "test `case` fails: expected 61 admitted, 60 were | also: call 61 is refused: The limit `burst` has no room: 60 requests \
         in any 1 min per user. Try again in 31 s",
    );
    calls(
        60,
        "30s",
        "last = { status = 429 }",
        "test `case` fails: the last call is admitted, expected a refusal",
    );
    calls(
        61,
        "30s",
        "last = { limit = \"bursts\" }",
        "test `case` fails: no limit has the id `bursts`: did you mean `burst`?",
    );
    calls(
        61,
        "30s",
        "last = { status = 403, code = \"x\", limit = \"other\", retry_after = 5 }",
        "test `case` fails: the status of the last call is `429`, expected `403` | also: the code of the last call is \
         `limit_exceeded`, expected `x`\n      the limit that refuses the last call is `burst`, expected `other`\n      \
         `Retry-After` of the last call is `31`, expected `5`",
    );
    calls(1, "0s", "", "test `case` fails: it expects nothing");
}

/// The upstream may call any of the models, and give several answers.
#[test]
fn what_the_upstream_may_do_is_reserved() {
    let one = |limit: &str, body: &str, expected: &str| {
        let request = format!("{{ method = \"POST\", path = \"/demo/chat\", body = {{ {body} }} }}");
        let limit = format!("[[limit]]\nid = \"a\"\nwindow = \"total\"\n{limit}\n");
        check(&limit, &format!("calls = {{ request = {request} }}"), expected, "");
    };
    let admitted = "admitted = 1";
    let refused = |code: &str| format!("last = {{ code = \"{code}\" }}");
    let cost = |usd: u32| format!("cost = \"{usd} USD\"\nno_price = \"reject\"\nreserve = \"max\"");
    // The bodies have 33 and 50 bytes: a dollar buys 100 tokens of the cheap model, and 10 of the big one.
    one(&cost(1), "max_tokens = 10, model = \"cheap\"", admitted);
    one(&cost(1), "max_tokens = 10, model = \"cheap\", models = [\"big\"]", &refused("limit_exceeded"));
    one(&cost(7), "max_tokens = 10, model = \"cheap\", models = [\"big\"]", admitted);
    one(&cost(7), "max_tokens = 10, model = \"cheap\", models = [\"unknown\"]", &refused("no_price"));
    let free = "cost = \"1 USD\"\nno_price = \"free\"\nreserve = \"max\"";
    one(free, "max_tokens = 10, model = \"unknown\", models = [\"unknown\"]", admitted);
    one(free, "max_tokens = 10, model = \"unknown\", models = [\"big\"]", &refused("limit_exceeded"));
    let tokens = "tokens = 100\nreserve = \"max\"";
    one(tokens, "max_tokens = 50, model = \"cheap\"", admitted);
    one(tokens, "max_tokens = 50, model = \"cheap\", n = 2", &refused("limit_exceeded"));
    one(tokens, "max_tokens = 50, model = \"cheap\", earlier = \"x\"", &refused("unbounded_request"));
    one("tokens = 100", "max_tokens = 50, model = \"cheap\", earlier = \"x\"", admitted);
    one(
        "input_tokens = 100\nreserve = \"max\"",
        "model = \"cheap\", earlier = \"x\"",
        &refused("unbounded_request"),
    );
    // A limit for a model counts a request that may be answered by it.
    let big = "requests = 1\nmatch = { model = [\"big\"] }";
    let twice = |body: &str, expected: &str| {
        let request = format!("{{ method = \"POST\", path = \"/demo/chat\", body = {{ {body} }} }}");
        let limit = format!("[[limit]]\nid = \"a\"\nwindow = \"total\"\n{big}\n");
        check(&limit, &format!("calls = {{ count = 2, request = {request} }}"), expected, "");
    };
    twice("model = \"cheap\"", "admitted = 2");
    twice("model = \"cheap\", models = [\"big\"]", "admitted = 1");
}

#[test]
fn windows_of_the_calendar_begin_in_their_zone() {
    let limit =
        "[[limit]]\nid = \"a\"\nrequests = 2\nwindow = { every = \"month\", tz = \"Europe/Berlin\" }\n";
    let calls = |from: &str| format!("calls = {{ count = 4, within = \"3m\", from = \"{from}\", {ITEM} }}");
    check(limit, &calls("2026-03-31T21:58:00Z"), "admitted = 4", "");
    check(limit, &calls("2026-03-31T22:00:00Z"), "admitted = 2", "");
}

#[test]
fn callers_and_all_limits_of_the_directory_count() {
    let calls = |caller: &str| format!("as = {{ {caller} }}\ncalls = {{ count = 3, {ITEM} }}");
    check("", &calls("user = \"bob\""), "admitted = 1, last = { limit = \"other\", retry_after = 0 }", "");
    check("", &calls("user = \"alice\""), "admitted = 3", "");
    check(
        "",
        &calls("user = \"alice\""),
        "admitted = 1",
        "test `case` fails: expected 1 admitted, 3 were | also: no limit is for these calls",
    );
    let team = "[[limit]]\nid = \"t\"\nmatch = { group = [\"t*\"], token = [\"paste\"], key = \"shared\" }\nrequests = 1\nwindow = \"total\"\n";
    check(team, &calls("group = \"team\", token = \"paste\", key = \"shared\""), "admitted = 1", "");
    check(team, &calls("group = \"team\", token = \"paste\""), "admitted = 3", "");
    check(team, &calls("token = \"paste\", key = \"shared\""), "admitted = 3", "");
    check(
        team,
        &calls("group = \"A team\""),
        "admitted = 3",
        "test `case` fails: `A team` is no name of a group: a group's name has 1 to 64 letters a-z, digits and `-`, and does not begin with `-`",
    );
}

#[test]
fn usage_replaces_reservations_and_open_calls_keep_them() {
    let tokens = |reserve: &str| {
        format!("[[limit]]\nid = \"t\"\ntokens = 100\nwindow = \"total\"\nreserve = \"{reserve}\"\n")
    };
    let used = "usage = { input = 20, output = 10 }";
    let calls = |more: &str| format!("calls = {{ count = 10, {more}, {CHAT} }}");
    // A body has 31 bytes, and a cap of 10.
    check(&tokens("none"), &calls(used), "admitted = 4", "");
    check(&tokens("max"), &calls(used), "admitted = 2", "");
    check(&tokens("max"), &calls("open = true"), "admitted = 2", "");
    check(&tokens("max"), &calls("open = false"), "admitted = 10", "");
    let cost = "[[limit]]\nid = \"c\"\ncost = \"8 USD\"\nwindow = \"total\"\nreserve = \"none\"\nno_price = \"reject\"\n";
    check(cost, &calls(used), "admitted = 3", "");
    let other = r#"request = { method = "POST", path = "/demo/chat", body = { model = "small" } }"#;
    check(
        cost,
        &format!("calls = {{ {other} }}"),
        "admitted = 0, last = { status = 403, code = \"no_price\" }",
        "",
    );
    let most = "[[limit]]\nid = \"m\"\nconcurrent = 3\n";
    check(most, &calls("open = true"), "admitted = 3, last = { limit = \"m\", retry_after = 1 }", "");
    check(most, &calls("open = false"), "admitted = 10", "");
}

#[test]
fn rules_and_bodies_are_judged() {
    let rule = "[[allow]]\nmodels = [\"mini-*\"]\n";
    let text = |body: &str| {
        format!("calls = {{ request = {{ method = \"POST\", path = \"/demo/chat\", text = '{body}' }} }}")
    };
    check(rule, &text(r#"{"model":"mini-1"}"#), "admitted = 1", "");
    check(
        rule,
        &text(r#"{"model":"big"}"#),
        "admitted = 0, last = { status = 403, code = \"model_not_allowed\", retry_after = 0 }",
        "",
    );
    check(rule, &text(r#"{"model":"mini-1","model":"big"}"#), "last = { code = \"unjudgeable_body\" }", "");
    let rule = "[[allow]]\nendpoints = [\"chat\"]\n";
    check(rule, &format!("calls = {{ {ITEM} }}"), "last = { code = \"endpoint_not_allowed\" }", "");
}

#[test]
fn requests_that_no_limit_can_be_for() {
    let calls = |request: &str, expected: &str| {
        let calls = format!("calls = {{ request = {{ {request} }} }}");
        check(MINUTE, &calls, "admitted = 1", &format!("test `case` fails: {expected}"));
    };
    calls(
        "path = \"/demo/items/1\", body = {}, text = \"\"",
        "its request has a `body` and a `text`: remove one of them",
    );
    calls(
        "path = \"/auth/providers\"",
        "its request is one that tollgate answers itself: no limit is for it",
    );
    calls(
        "path = \"/demo/item/1\"",
        "its request reaches no provider: Route not implemented in AI Gateway: /demo/item/1. The nearest endpoint is \
         `GET /demo/items/{id}`. `GET /auth/providers` and `tollgate routes` list all",
    );
    calls("path = \"x y\"", "its request cannot be sent: invalid uri character");
}

#[test]
fn a_finding_is_at_expect_and_a_budget_ends_all() {
    let text = format!(
        "{MINUTE}[[test]]\nname = \"case\"\ncalls = {{ count = 10000, within = \"30s\", {ITEM} }}\n  expect = {{ admitted = 1 }}\n"
    );
    let compiled = compiled(&text);
    let mut sources = Sources::default();
    sources.insert("limits.d/team.toml".into(), text.as_str().into());
    let tests = LimitTests::of(&compiled);
    let file = compiled.limits.iter().find(|file| file.name.as_str() == "team").unwrap();
    let found = tests.failing(file, &Budget::default());
    assert_eq!(found.iter().map(|one| sources.line_column(&one.at)).collect::<Vec<_>>(), [(8, 3)]);
    let budget = Budget::new(crate::base::budget::Used { steps: 100_000, bytes: 1 << 20 });
    assert_eq!(tests.failing(file, &budget), []);
    assert!(budget.is_exceeded());
}
