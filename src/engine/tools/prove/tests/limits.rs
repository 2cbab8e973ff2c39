//! Rules for limits: tables, and a comparison with the selection of limits for calls.

use super::*;
use crate::{
    base::name::{GroupName, TokenId, UserId},
    language::{
        compile::{CallFacts, KeyOwner, Limits},
        syntax::TokenKindValue,
    },
};

const PROVIDER: &str = "title = \"D\"\npath_prefix = \"/demo\"\nbase_url = \"https://a.example\"\n\
                        [endpoint.chat]\nmethod = \"POST\"\npath = \"/chat\"\n[endpoint.items]\nmethod = \"GET\"\npath = \"/items\"\n";

fn compiled(limit: &str) -> Compiled {
    compiled_with(limit, "")
}

/// The same, with further endpoints. The api `asking` counts prompts.
fn compiled_with(limit: &str, endpoints: &str) -> Compiled {
    let mut files = Files::default();
    files.providers.insert(name("demo"), Ok(parse("demo", &format!("{PROVIDER}{endpoints}"))));
    files.apis.insert(name("asking"), Ok(parse("asking", API)));
    let text = format!("[[limit]]\nid = \"a\"\n{}\n", limit.replace("; ", "\n"));
    files.limits.insert(name("team"), Ok(parse("limits.d/team", &text)));
    let compiled = crate::language::compile::compile(&files);
    assert_eq!(compiled.diagnostics, [], "{limit}");
    compiled
}

fn rules(rule: &str) -> Vec<Rule> {
    let text = format!("[[limits]]\nname = \"r\"\n{}\n", rule.replace("; ", "\n"));
    let (rules, found) = compile(&parse("policy", &text));
    assert_eq!(found, []);
    rules.unwrap()
}

/// The breaches of a rule, one a line.
fn breaches(limit: &str, rule: &str) -> Vec<String> {
    let compiled = compiled(limit);
    let verdicts = prove_with(rules(rule), &compiled.providers, &compiled.limits, &compiled.budgets);
    verdicts.into_iter().flat_map(|one| one.breaches).map(|breach| breach.what).collect()
}

fn check(limit: &str, rule: &str, expected: &[&str]) {
    assert_eq!(breaches(limit, rule), expected, "{limit} | {rule}");
}

const REQUESTS: &str = "requests = 5; window = \"total\"";
const LACKS: &str = "callers of provider `demo` have no limit of `requests`";

#[test]
fn a_limit_is_for_all_requests_of_the_callers() {
    let everybody = "measure = \"requests\"";
    let check_with = |more: &str, is_met: bool| {
        let expected: &[&str] = if is_met { &[] } else { &[LACKS] };
        check(&format!("{REQUESTS}; {more}"), everybody, expected);
    };
    for (more, is_met) in [
        ("per = \"all\"", true),
        ("match = { provider = [\"d*\"] }", true),
        ("match = { endpoint = [\"chat\", \"items\"] }", true),
        ("match = { user = [\"*\"] }", true),
        ("match = { endpoint = [\"chat\"] }", false),
        ("match = { user = [\"alice\"] }", false),
        ("match = { group = [\"*\"] }", false),
        ("match = { token = [\"proxy\"] }", false),
        ("match = { key = \"own\" }", false),
        ("over = \"warn\"", false),
        ("except = { bob = \"none\" }", false),
        ("except = { bob = 9 }", true),
    ] {
        check_with(more, is_met);
    }
    check("concurrent = 5", everybody, &[LACKS]);
    check("concurrent = 5", "measure = \"concurrent\"", &[]);
    check("concurrent = 5", "measure = \"requests\"; providers = [\"other\"]", &[]);
    check("concurrent = 5", "measure = \"requests\"; except = [\"demo\"]", &[]);
}

#[test]
fn amounts_and_groups() {
    let most = "measure = \"requests\"; amount = 5";
    check(REQUESTS, most, &[]);
    check("requests = 6; window = \"total\"", most, &[&format!("{LACKS} of at most 5")]);
    check(&format!("{REQUESTS}; except = {{ bob = 6 }}"), most, &[&format!("{LACKS} of at most 5")]);
    let groups = "measure = \"requests\"; groups = [\"a\", \"team-*\"]";
    let lacks = |group: &str| {
        format!("callers of the group `{group}` of provider `demo` have no limit of `requests`")
    };
    check(REQUESTS, groups, &[]);
    check(&format!("{REQUESTS}; match = {{ group = [\"*\"] }}"), groups, &[]);
    check(&format!("{REQUESTS}; match = {{ group = [\"a\"] }}"), groups, &[&lacks("team-*")]);
    check(&format!("{REQUESTS}; match = {{ group = [\"team-*\"] }}"), groups, &[&lacks("a")]);
    check(&format!("{REQUESTS}; match = {{ group = [\"a*\", \"team-*\"] }}"), groups, &[]);
}

#[test]
fn amounts_are_checked() {
    for (rule, expected) in [
        ("measure = \"requests\"; amount = \"5 USD\"", "this is no amount of `requests`"),
        ("measure = \"cost\"; amount = 5", "this is no amount of `cost`"),
        ("measure = \"cost\"; amount = \"5 XYZ\"", "this is no amount of `cost`"),
    ] {
        let text = format!("[[limits]]\nname = \"r\"\n{}\n", rule.replace("; ", "\n"));
        let (rules, found) = compile(&parse("policy", &text));
        assert!(rules.is_none(), "{rule}");
        assert_eq!(found.iter().map(|one| one.message.as_str()).collect::<Vec<_>>(), [expected], "{rule}");
    }
}

/// What no limit of the measure counts is said, whether or not the rule holds.
#[test]
fn calls_that_count_no_usage_are_noted() {
    let check = |endpoints: &str, rule: &str, expected: &[&str]| {
        let compiled = compiled_with("tokens = 5; window = \"total\"", endpoints);
        let results = prove_with(rules(rule), &compiled.providers, &compiled.limits, &compiled.budgets);
        let notes: Vec<_> =
            results.iter().flat_map(|one| &one.notes).map(|note| note.what.as_str()).collect();
        assert_eq!(notes, expected, "{endpoints} | {rule}");
        for mut result in results {
            let Some(one) = result.noted() else { continue };
            assert!(
                one.message.ends_with(&format!("the policy \"r\" does not see all calls: {}", expected[0]))
            );
            // One finding for all providers.
            result.notes = vec![result.notes[0].clone(), result.notes[0].clone()];
            let more = "; likewise at 1 further provider, which `tollgate prove` names";
            assert_eq!(result.noted().map(|all| all.message), Some(one.message.clone() + more));
            assert_eq!((one.code, one.is_error(), &*one.at.file), (Code::UncountedUse, false, "policy.toml"));
            assert_eq!((one.related.len(), &*one.related[0].0.file), (1, "demo.toml"));
        }
    };
    let post = |name: &str| format!("[endpoint.{name}]\nmethod = \"POST\"\npath = \"/{name}\"\n");
    let ask = format!("{}api = \"asking\"\n", post("ask"));
    let live = "[endpoint.live]\nmethod = \"GET\"\npath = \"/live\"\nupgrade = \"websocket\"\n";
    let says = |measure: &str, names: &str| {
        format!(
            "no limit of `{measure}` counts calls of {names} of provider `demo`: no api file says where their answers have what it counts"
        )
    };
    // A request with `GET` asks no model for anything, but for one that becomes a WebSocket.
    check("", "measure = \"cost\"", &[&says("cost", "`chat`")]);
    check("", "measure = \"cost\"; except = [\"demo\"]", &[]);
    check(&ask, "measure = \"tokens\"", &[&says("tokens", "`chat`")]);
    check(&ask, "measure = \"input_tokens\"", &[&says("input_tokens", "`chat`")]);
    check(&ask, "measure = \"output_tokens\"", &[&says("output_tokens", "`ask`, `chat`")]);
    check(live, "measure = \"tokens\"", &[&says("tokens", "`chat`, `live`")]);
    for measure in ["requests", "bytes", "concurrent"] {
        check(live, &format!("measure = \"{measure}\""), &[]);
    }
    let many: String = (0..20).map(|number| post(&format!("e{number:02}"))).collect();
    let names = "`chat`, `e00`, `e01`, `e02`, `e03`, `e04`, `e05`, `e06` and 13 others";
    check(&many, "measure = \"cost\"", &[&says("cost", names)]);
}

/// If a rule holds, a limit of its measure is selected for each call that it is about.
#[test]
fn a_rule_that_holds_is_kept_by_every_call() {
    let filters = [
        "",
        "user = [\"*\"]",
        "user = [\"alice\"]",
        "group = [\"*\"]",
        "group = [\"t*\", \"x\"]",
        "token = [\"both\"]",
        "key = \"shared\"",
        "endpoint = [\"chat\"]",
        "provider = [\"demo\"]",
    ];
    let groups =
        ["", "groups = [\"*\"]", "groups = [\"t*\"]", "groups = [\"team\"]", "groups = [\"x\", \"team\"]"];
    let (user, token) =
        (UserId::new("usr_0123456789abcdef").unwrap(), TokenId::new("tok_0123456789abcdef").unwrap());
    let mut held = 0;
    for filter in filters.iter().flat_map(|a| filters.iter().map(move |b| (a, b))).filter(|(a, b)| a < b) {
        let keys = [*filter.0, *filter.1].into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>();
        let names: std::collections::BTreeSet<&str> = keys.iter().map(|one| &one[..3]).collect();
        if names.len() < keys.len() {
            continue;
        }
        let limit = format!("{REQUESTS}; match = {{ {} }}", keys.join(", "));
        let compiled = compiled(&limit);
        let limits = Limits::new(&compiled.limits);
        for group in groups {
            if !breaches(&limit, &format!("measure = \"requests\"; {group}")).is_empty() {
                continue;
            }
            held += 1;
            for (own, endpoint) in
                ["", "team", "x", "other"].into_iter().flat_map(|g| [(g, "chat"), (g, "items")])
            {
                let is_about = group.is_empty()
                    || !own.is_empty() && {
                        let globs = group.split('"').skip(1).step_by(2);
                        globs.into_iter().any(|glob| crate::language::compile::Glob::new(glob).matches(own))
                    };
                let own = GroupName::new(own);
                for (token_kind, key) in
                    [(TokenKindValue::Proxy, KeyOwner::Own), (TokenKindValue::Paste, KeyOwner::Nobody)]
                {
                    let facts = CallFacts {
                        user: &user,
                        user_name: "bob",
                        group: own.as_ref(),
                        token: &token,
                        token_kind,
                        provider: &name("demo"),
                        endpoint,
                        is_metered: true,
                        counts_answer: true,
                        has_cap: true,
                        key,
                    };
                    assert!(
                        !is_about || limits.matching(&facts).next().is_some(),
                        "{limit} | {group} | {facts:?}"
                    );
                }
            }
        }
    }
    assert!(held > 10, "{held}");
}
