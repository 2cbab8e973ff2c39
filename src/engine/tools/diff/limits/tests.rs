//! Each way to loosen a limit or a rule widens; no way to tighten one does.

use std::sync::Arc;

use super::super::{Change, Diff, Verdict, diff, human, markdown};
use crate::{
    base::name::FileName,
    language::{
        compile::{self, Files, LimitFile, Limits},
        syntax,
    },
};

fn files(text: &str) -> Vec<Arc<LimitFile>> {
    let (slot, found) = syntax::parse(&"limits.d/demo.toml".into(), text);
    assert_eq!(found, [], "{text}");
    let files = Files { limits: [(FileName::new("demo").unwrap(), slot)].into(), ..Files::default() };
    let compiled = compile::compile(&files);
    assert_eq!(compiled.diagnostics, [], "{text}");
    compiled.limits
}

fn changes(old: &str, new: &str) -> Diff {
    let [old, new] = [old, new].map(|text| Limits::new(&files(text)));
    diff(&[], &[]).with_limits(&old, &new)
}

/// Changes, one a line: the kind, the subject, and after `!` the reason for which it widens.
fn lines(diff: &Diff) -> String {
    let line = |one: &Change| {
        let mark = match (&one.old, &one.new) {
            (None, _) => '+',
            (_, None) => '-',
            (Some(_), Some(_)) => '~',
        };
        let widens = one.widens.as_ref().map(|reason| format!(" ! {reason}")).unwrap_or_default();
        format!("{mark}{} {}{widens}", format!("{:?}", one.subject).to_lowercase(), one.name)
    };
    diff.limits.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn check(old: &str, new: &str, expected: &str) {
    let found = changes(old, new);
    assert_eq!(lines(&found), expected, "{old}\n{new}\n{found:#?}");
    let verdict = match expected {
        "" => Verdict::Same,
        text if text.contains(" ! ") => Verdict::Widened,
        _ => Verdict::Different,
    };
    assert_eq!(found.verdict, verdict, "{old}\n{new}");
}

const DAY: &str = "window = { every = \"day\" }";

/// Compares a limit `a` of these keys with one of others. `widens`: the reason for which the other one widens.
fn limit(old: &str, new: &str, widens: &str) {
    let text = |keys: &str| {
        let window = if keys.contains("window") || keys.contains("concurrent") { "" } else { DAY };
        format!("[[limit]]\nid = \"a\"\n{}\n{window}\n", keys.replace("; ", "\n"))
    };
    let reason = if widens.is_empty() { String::new() } else { format!(" ! {widens}") };
    check(&text(old), &text(new), &format!("~limit a{reason}"));
}

/// The same in both directions: `old` to `new` loosens, and back tightens.
fn loosens(old: &str, new: &str, widens: &str) {
    limit(old, new, widens);
    limit(new, old, "");
}

#[test]
fn limits_that_come_and_go() {
    let text = format!("[[limit]]\nid = \"a\"\nrequests = 1\n{DAY}\n");
    check(&text, &text, "");
    check("", "", "");
    check("", &text, "+limit a");
    check(&text, "", "-limit a ! nothing has this limit any more");
    let more = text.replace("= 1", "= 2").replace("\"a\"", "\"b\"");
    check(&text, &more, "-limit a ! nothing has this limit any more\n+limit b");
    // The order of keys and spelling say nothing.
    check(
        &format!("{text}warn_at = [0.5, 0.25]\nper = [\"user\"]\n"),
        &format!("{text}over = \"reject\"\nper = \"user\"\nwarn_at = [0.25, 0.5]\n"),
        "",
    );
}

#[test]
fn a_renamed_limit_begins_again() {
    let limit = |id: &str| format!("[[limit]]\nid = \"{id}\"\nrequests = 1\n{DAY}\n");
    let both = |one: &str, other: &str| limit(one) + &limit(other);
    let again = "! renamed: what was used begins again";
    check(&limit("a"), &limit("b"), &format!("~limit a {again}"));
    check(&both("a", "b"), &both("c", "b"), &format!("~limit a {again}"));
    check(&both("a", "b"), &both("d", "c"), &format!("~limit a {again}\n~limit b {again}"));
    check(
        &both("a", "b"),
        &limit("c"),
        &format!("~limit a {again}\n-limit b ! nothing has this limit any more"),
    );
    check(&limit("a"), &both("c", "b"), &format!("~limit a {again}\n+limit c"));
    // The old one is still there.
    check(&limit("a"), &both("a", "b"), "+limit b");
    let found = changes(&limit("a"), &limit("b"));
    let shown = |one: &Option<String>| one.clone().unwrap_or_default();
    assert_eq!(
        [shown(&found.limits[0].old), shown(&found.limits[0].new)],
        ["1 request a day (UTC) per user", "`b`: 1 request a day (UTC) per user"]
    );
}

#[test]
fn a_looser_limit_widens_and_a_tighter_one_does_not() {
    loosens("requests = 1", "requests = 2", "the amount is larger");
    loosens(
        "cost = \"1 USD\"; no_price = \"free\"",
        "cost = \"1.01 USD\"; no_price = \"free\"",
        "the amount is larger",
    );
    loosens("concurrent = 8", "concurrent = 9", "the amount is larger");
    loosens("requests = 1", "requests = 1; over = \"warn\"", "nothing is refused any more");
    for (from, to) in [("learned", "none"), ("max", "none"), ("max", "learned")] {
        let keys = |reserve: &str| format!("tokens = 1; reserve = \"{reserve}\"");
        loosens(&keys(from), &keys(to), "less is reserved before a request");
    }
    loosens(
        "cost = \"1 USD\"; no_price = \"reject\"",
        "cost = \"1 USD\"; no_price = \"free\"",
        "models without a price are free",
    );
    let fewer = "it may be for fewer requests";
    for filter in [
        "user = [\"alice\"]",
        "group = [\"interns\"]",
        "token = [\"paste\"]",
        "provider = [\"acme\"]",
        "endpoint = [\"chat\"]",
        "model = [\"large-*\"]",
        "key = \"own\"",
    ] {
        loosens("requests = 1", &format!("requests = 1; match = {{ {filter} }}"), fewer);
    }
    loosens(
        "requests = 1",
        "requests = 1; except = { bob = \"none\" }",
        "a user has a larger amount, or no limit",
    );
    loosens("requests = 1", "requests = 1; except = { bob = 2 }", "a user has a larger amount, or no limit");
    loosens(
        "requests = 3; except = { bob = 1 }",
        "requests = 3; except = { bob = 2 }",
        "a user has a larger amount, or no limit",
    );
    limit("requests = 2", "requests = 2; except = { bob = 1 }", "");
    limit("requests = 2; except = { bob = 1 }", "requests = 2; except = { bob = 1, eve = 1 }", "");
    limit("requests = 2", "requests = 2; warn_at = [0.5]", "");
    limit("requests = 2; warn_at = [0.5]", "requests = 2", "");
    limit(
        "requests = 1",
        "requests = 2; over = \"warn\"",
        "the amount is larger; nothing is refused any more",
    );
}

/// A change that cannot be rated widens in either direction.
#[test]
fn another_kind_of_limit_widens() {
    let either = |one: &str, other: &str, widens: &str| {
        limit(one, other, widens);
        limit(other, one, widens);
    };
    either("requests = 1", "tokens = 1", "it counts something else");
    either("requests = 5", "bytes = 1", "it counts something else");
    either(
        "cost = \"1 USD\"; no_price = \"free\"",
        "cost = \"1 EUR\"; no_price = \"free\"",
        "it counts something else",
    );
    either("requests = 1", "requests = 1; window = { every = \"hour\" }", "the amount is for another time");
    either("requests = 1", "requests = 1; window = \"total\"", "the amount is for another time");
    either(
        "requests = 1",
        "requests = 1; window = { every = \"day\", tz = \"Europe/Berlin\" }",
        "the amount is for another time",
    );
    either("requests = 1", "requests = 1; per = \"all\"", "the amount is shared in another way");
    either(
        "requests = 1; match = { user = [\"alice\"] }",
        "requests = 1; match = { user = [\"bob\"] }",
        "it may be for fewer requests",
    );
    either(
        "requests = 1; match = { key = \"own\" }",
        "requests = 1; match = { key = \"shared\" }",
        "it may be for fewer requests",
    );
}

#[test]
fn rules() {
    let rule =
        |caller: &str, models: &str| format!("[[allow]]\nmatch = {{ {caller} }}\nmodels = [\"{models}\"]\n");
    let interns = "group = [\"interns\"]";
    let (one, other) = (rule(interns, "m*"), rule(interns, "n*"));
    check(&one, &one, "");
    check("", &one, "+allow group interns");
    check(&one, "", "-allow group interns ! these callers may call all models and endpoints");
    check(&one, &other, "~allow group interns ! other models or endpoints are allowed");
    check(&one, &format!("{one}{other}"), "~allow group interns ! other models or endpoints are allowed");
    // Of several rules, one is enough to allow a call.
    check(&format!("{one}{other}"), &one, "~allow group interns");
    check(&format!("{one}{other}"), &format!("{other}{one}"), "");
    let bob = rule("user = [\"bob\"]", "m*");
    check(
        &one,
        &format!("{one}{bob}"),
        "+allow user bob ! callers who have another rule, too, may call more",
    );
    check("", &rule("", "m*"), "+allow everybody");
    check(&rule("", "m*"), "", "-allow everybody ! these callers may call all models and endpoints");
}

#[test]
fn limits_are_shown_before_prices() {
    let old = format!("[[limit]]\nid = \"a\"\nrequests = 1\n{DAY}\n");
    let found = changes(&old, &old.replace("= 1", "= 2"));
    let shown = human(&found).to_string();
    for part in [
        "WIDENED: 1 limit changed; 1 change widens exposure",
        "limits, and rules for models and endpoints",
        "1 request a day (UTC) per user",
        "2 requests a day (UTC) per user",
        "WIDENS: the amount is larger",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let shown = markdown(&found).to_string();
    for part in [
        "### tollgate: WIDENED",
        "| all | ~ limit <code>a</code>: ",
        " | the amount is larger |",
        "\n- changed limit ",
        ":warning:",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let rule = "[[allow]]\nmodels = [\"m\"]\n";
    let shown = human(&changes("", rule)).to_string();
    assert!(shown.starts_with("different: 1 rule changed; nothing widens exposure"), "{shown}");
    assert!(shown.ends_with("+ allow everybody: models m"), "{shown}");
    // A limit that warns, with all of its keys.
    let all = "[[limit]]\nid = \"a\"\nmatch = { user = [\"al*\"], group = [\"x\"], token = [\"paste\"], provider = [\"p\"], endpoint = [\"e\"], model = [\"m\"], key = \"own\" }\n\
               cost = \"1.5 USD\"\nno_price = \"free\"\nreserve = \"max\"\nover = \"warn\"\nwarn_at = [0.25, 0.5]\nper = [\"user\", \"model\"]\n\
               window = { every = \"month\" }\nexcept = { bob = \"none\", eve = \"2 USD\" }\n";
    let found = changes("", all);
    assert_eq!(
        found.limits[0].new.as_deref(),
        Some(
            "1.50 USD a month (UTC) per user and model, for user al*, group x, paste tokens, provider p, endpoint e, model m, own keys, \
             reserves the most that is possible, warns alone, without a price free, warns at 25 %, warns at 50 %, bob: no limit, eve: 2.00 USD"
        )
    );
}
