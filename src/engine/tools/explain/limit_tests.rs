use super::{limits::*, *};
use crate::{
    base::{day::Day, diag::Sources, name::GroupName},
    language::compile::{CallFacts, Prices},
    pipeline::{self, Assembled},
    request::limits::{
        call::{BodyFacts, Selected},
        take::Take,
        terms::Balance,
    },
    tools::limit_tests,
};

const LIMITS: &str = r#"
[[limit]]
id = "burst"
requests = 60
window = { sliding = "60s" }

[[limit]]
id = "tokens"
match = { user = ["alice"], model = ["big*"] }
output_tokens = 100
window = "total"
reserve = "max"
except = { root = "none" }

[[allow]]
match = { group = ["interns"] }
endpoints = ["chat"]
models = ["mini"]
"#;

/// Counters of which 7 is left, or that refuse all.
struct Left(bool);

impl Counting for Left {
    fn takes(
        &self,
        selected: &Selected,
        call: &CallFacts<'_>,
        body: &BodyFacts,
        prices: (&Prices, Day),
    ) -> Result<Vec<Take>, Fault> {
        NothingCounted.takes(selected, call, body, prices)
    }

    fn balance(&self, _: &Take) -> Option<Balance> {
        Some(Balance { used: 0, reserved: 0, left: 7, resets_at_ms: None })
    }

    fn admits(&self, takes: &[Take]) -> Result<(), Fault> {
        let take = takes.first().filter(|_| !self.0);
        take.map_or(Ok(()), |take| {
            let refused = crate::request::limits::terms::Refused { left: 0, retry_after_ms: None };
            Err(crate::request::limits::refuse::exceeded(&take.limit, &refused, take.asked, 1))
        })
    }
}

/// The lines about limits of a request, and its error code. `caller` is `user` or `user:group`.
fn explained(
    request: &str,
    caller: &str,
    body: Option<&str>,
    counting: &dyn Counting,
) -> (Vec<String>, String) {
    let loaded = limit_tests::loaded(&[("team", LIMITS)]);
    let Assembled { table, providers, diagnostics } =
        pipeline::assemble(&loaded, |_| Ok(Some("eu".to_owned())));
    assert!(!diagnostics.iter().any(crate::base::diag::Diagnostic::is_error), "{diagnostics:?}");
    let (method, path) = request.split_once(' ').unwrap();
    let request = http::Request::builder().method(method).uri(path).version(http::Version::HTTP_10);
    let (head, ()) = request.body(()).unwrap().into_parts();
    let (user, group) = caller.split_once(':').unwrap_or((caller, ""));
    let stored = [("key".to_owned(), StoredValue::Present)];
    let mut caller = Caller { user: user.to_owned(), ..Caller::given(stored, "nothing") };
    caller.calling.group = GroupName::new(group);
    caller.calling.body = body.map(|body| body.as_bytes().to_vec());
    let sources: &Sources = &loaded.sources;
    let context =
        Context { files: &loaded.files, sources, table: &table, providers: &providers, fixture: None };
    let explained = explain_counted(context, &head, &|_, _, _| Ok(Some("eu".to_owned())), &caller, counting);
    let text = explained.to_string();
    let lines =
        text.lines().skip_while(|line| !line.starts_with("  rules ") && !line.starts_with("  limits "));
    let lines = lines.take_while(|line| !line.starts_with("  refused ") && !line.is_empty());
    let code = explained.route.unwrap().fault.map(|fault| fault.code.into_owned()).unwrap_or_default();
    (lines.map(|line| line.trim().to_owned()).collect(), code)
}

fn check(
    request: &str,
    caller: &str,
    body: Option<&str>,
    counting: &dyn Counting,
    expected: (&[&str], &str),
) {
    let (lines, code) = explained(request, caller, body, counting);
    assert_eq!((lines.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), code.as_str()), expected);
}

const BURST: &str =
    "limits    `burst`: 60 requests in any 1 min per user, reserves 1 request  (limits.d/team.toml:3)";

#[test]
fn limits_of_a_request() {
    let none = &NothingCounted;
    let allowed = "verdict   allowed by limits and rules, as if nothing had been used so far";
    check("GET /demo/items/1", "bob", None, none, (&[BURST, allowed], ""));
    check("POST /demo/chat", "bob", Some(r#"{"model":"big"}"#), none, (&[BURST, allowed], ""));
    let plain = "limits    `burst`: 60 requests in any 1 min per user  (limits.d/team.toml:3)";
    let tokens = "`tokens`: 100 tokens of answers in all per user";
    check(
        "POST /demo/chat",
        "alice",
        None,
        none,
        (
            &[
                plain,
                &format!("{tokens}  (limits.d/team.toml:8)"),
                "verdict   the body decides, and is not known: the model, the cap on the tokens of the answer, its size",
            ],
            "",
        ),
    );
    check(
        "POST /demo/chat",
        "alice",
        Some(r#"{"model":"big-1","max_tokens":20}"#),
        none,
        (&[BURST, &format!("{tokens}, reserves 20 tokens of answers  (limits.d/team.toml:8)"), allowed], ""),
    );
    check("POST /demo/chat", "alice", Some(r#"{"model":"mini"}"#), none, (&[BURST, allowed], ""));
    check(
        "POST /demo/chat",
        "alice",
        Some(r#"{"model":"big"}"#),
        none,
        (
            &[
                plain,
                &format!("{tokens}  (limits.d/team.toml:8)"),
                "verdict   refused: 400 no_output_cap  (limits.d/team.toml:8)",
            ],
            "no_output_cap",
        ),
    );
}

#[test]
fn rules_of_a_caller() {
    let rule = |says: &str| {
        format!("rules     {says}: providers `*`, endpoints `chat`, models `mini`  (limits.d/team.toml:15)")
    };
    let check = |request: &str, body: Option<&str>, says: &str, limit: &str, verdict: &str, code: &str| {
        check(request, "bob:interns", body, &NothingCounted, (&[&rule(says), limit, verdict], code));
    };
    let plain = "limits    `burst`: 60 requests in any 1 min per user  (limits.d/team.toml:3)";
    let refused = |code: &str| format!("verdict   refused: 403 {code}  (limits.d/team.toml:15)");
    let (endpoint, model) = (refused("endpoint_not_allowed"), refused("model_not_allowed"));
    check("GET /demo/items/1", None, "does not allow it", plain, &endpoint, "endpoint_not_allowed");
    check(
        "POST /demo/chat",
        Some(r#"{"model":"big"}"#),
        "does not allow it",
        plain,
        &model,
        "model_not_allowed",
    );
    check(
        "POST /demo/chat",
        Some(r#"{"model":"mini"}"#),
        "allows it",
        BURST,
        "verdict   allowed by limits and rules, as if nothing had been used so far",
        "",
    );
    check(
        "POST /demo/chat",
        None,
        "allows some models",
        plain,
        "verdict   the body decides, and is not known: the model",
        "",
    );
}

#[test]
fn what_is_left_comes_from_the_counters() {
    let line = "limits    `burst`: 60 requests in any 1 min per user, reserves 1 request, left 7 requests  (limits.d/team.toml:3)";
    let allowed = "verdict   allowed by limits and rules";
    check("GET /demo/items/1", "bob", None, &Left(true), (&[line, allowed], ""));
    check(
        "GET /demo/items/1",
        "bob",
        None,
        &Left(false),
        (&[line, "verdict   refused: 429 limit_exceeded  (limits.d/team.toml:3)"], "limit_exceeded"),
    );
}
