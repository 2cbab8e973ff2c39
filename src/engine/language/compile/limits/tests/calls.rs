//! The requests that limits are for, and the limits of several files.

use super::*;
use crate::{
    base::name::{GroupName, TokenId, UserId},
    language::{
        compile::{CallFacts, KeyOwner, Limits},
        syntax::TokenKindValue,
    },
};

/// A call: `user group token provider endpoint key`, with `-` for no group and no key.
struct Call {
    user: UserId,
    name: String,
    group: Option<GroupName>,
    token: TokenId,
    token_kind: TokenKindValue,
    provider: FileName,
    endpoint: String,
    key: KeyOwner,
}

impl Call {
    fn parse(text: &str) -> Self {
        let [user, group, token, provider, endpoint, key] = *text.split(' ').collect::<Vec<_>>() else {
            panic!("{text}")
        };
        Self {
            user: UserId::new("usr_0123456789abcdef").unwrap(),
            name: user.to_owned(),
            group: GroupName::new(group),
            token: TokenId::new("tok_0123456789abcdef").unwrap(),
            token_kind: match token {
                "proxy" => TokenKindValue::Proxy,
                "both" => TokenKindValue::Both,
                "paste" => TokenKindValue::Paste,
                other => panic!("{other}"),
            },
            provider: FileName::new(provider).unwrap(),
            endpoint: endpoint.to_owned(),
            key: match key {
                "own" => KeyOwner::Own,
                "shared" => KeyOwner::Shared,
                "-" => KeyOwner::Nobody,
                other => panic!("{other}"),
            },
        }
    }

    fn facts(&self) -> CallFacts<'_> {
        CallFacts {
            user: &self.user,
            user_name: &self.name,
            group: self.group.as_ref(),
            token: &self.token,
            token_kind: self.token_kind,
            provider: &self.provider,
            endpoint: &self.endpoint,
            is_metered: true,
            counts_answer: true,
            has_cap: true,
            key: self.key,
        }
    }
}

/// The limits of a text without fault.
fn limits(text: &str) -> Limits {
    let (files, found) = compiled(vec![parse("demo", text)]);
    assert_eq!(found, [], "{text}");
    Limits::new(&files)
}

#[test]
fn a_limit_is_for_calls_that_match_all_of_its_filter() {
    let check = |filter: &str, call: &str, expected: bool| {
        let limits = limits(&format!("{HEAD}match = {{ {filter} }}\nrequests = 1\n{DAY}"));
        let call = Call::parse(call);
        assert_eq!(limits.matching(&call.facts()).count() == 1, expected, "{filter}: {}", call.name);
    };
    let alice = "alice engineers proxy acme chat own";
    for (filter, expected) in [
        ("", true),
        ("user = [\"alice\"]", true),
        ("user = [\"bob\", \"al*\"]", true),
        ("user = [\"Alice\"]", false),
        ("user = [\"bob\"]", false),
        ("group = [\"eng*\"]", true),
        ("group = [\"interns\"]", false),
        ("token = [\"proxy\"]", true),
        ("token = [\"both\", \"paste\"]", false),
        ("provider = [\"acme\"]", true),
        ("provider = [\"ac*e\"]", true),
        ("provider = [\"acm\"]", false),
        ("endpoint = [\"chat\"]", true),
        ("endpoint = [\"models\"]", false),
        ("key = \"own\"", true),
        ("key = \"shared\"", false),
        (
            "user = [\"alice\"], group = [\"engineers\"], provider = [\"acme\"], endpoint = [\"chat\"], key = \"own\"",
            true,
        ),
        ("user = [\"alice\"], group = [\"interns\"]", false),
        // The model is judged apart.
        ("model = [\"none-such\"]", true),
    ] {
        check(filter, alice, expected);
    }
    // A user without a group matches no group, `*` included.
    check("", "bob - proxy acme chat own", true);
    check("group = [\"*\"]", "bob - proxy acme chat own", false);
    check("group = [\"*\"]", alice, true);
    check("token = [\"paste\"]", "bob - paste acme chat own", true);
    check("token = [\"both\"]", "bob - both acme chat own", true);
    check("key = \"shared\"", "bob - proxy acme chat shared", true);
    // Without a credential, no owner matches.
    check("key = \"own\"", "bob - proxy acme chat -", false);
    check("key = \"shared\"", "bob - proxy acme chat -", false);
    check("", "bob - proxy acme chat -", true);
}

#[test]
fn a_request_without_a_model_is_for_limits_of_any() {
    let check = |filter: &str, model: Option<&str>, expected: bool| {
        let limits = limits(&format!("{HEAD}match = {{ {filter} }}\nrequests = 1\n{DAY}"));
        assert_eq!(limits.all()[0].filter.matches_model(model), expected, "{filter} {model:?}");
    };
    check("", Some("large"), true);
    check("", None, true);
    check("model = [\"*\"]", None, true);
    check("model = [\"large\", \"*\"]", None, true);
    check("model = [\"large*\"]", None, false);
    check("model = [\"large*\"]", Some("large-2"), true);
    check("model = [\"large*\"]", Some("Large-2"), false);
    check("model = [\"large\"]", Some(""), false);
    check("model = [\"*\"]", Some(""), true);
}

#[test]
fn rules_are_for_callers() {
    let check = |rule: &str, call: &str, is_for: bool, allows: bool| {
        let limits = limits(&format!("[[allow]]\n{rule}"));
        let call = Call::parse(call);
        assert_eq!(limits.rules(&call.facts()).count() == 1, is_for, "{rule}");
        assert_eq!(limits.allows()[0].allows_endpoint(&call.facts()), allows, "{rule}");
    };
    let alice = "alice engineers proxy acme chat own";
    check("models = [\"m\"]", alice, true, true);
    check("providers = [\"other\"]", alice, true, false);
    check("providers = [\"ac*\"]\nendpoints = [\"models\"]", alice, true, false);
    check("providers = [\"ac*\"]\nendpoints = [\"ch*\"]", alice, true, true);
    check("match = { user = [\"bob\"] }\nmodels = [\"m\"]", alice, false, true);
    check("match = { group = [\"engineers\"], token = [\"proxy\"] }\nmodels = [\"m\"]", alice, true, true);
    check("match = { group = [\"engineers\"], token = [\"both\"] }\nmodels = [\"m\"]", alice, false, true);
    check("match = { group = [\"*\"] }\nmodels = [\"m\"]", "bob - proxy acme chat own", false, true);
}

#[test]
fn of_two_limits_with_one_id_that_of_the_first_file_counts() {
    let text = |id: &str, requests: u32| format!("[[limit]]\nid = \"{id}\"\nrequests = {requests}\n{DAY}");
    let check = |files: &[(&str, String)], limits: &str, conflicts: &str| {
        let (files, found) = compiled(files.iter().map(|(name, text)| parse(name, text)).collect());
        assert_eq!(found, []);
        // The order of the files is that of their names, however they are given.
        let mut turned = files.clone();
        turned.reverse();
        for files in [files, turned] {
            let set = Limits::new(&files);
            let shown = set.all().iter().map(|one| format!("{}={}", one.id, one.amount));
            assert_eq!(shown.collect::<Vec<_>>().join(" "), limits);
            assert!(
                set.all()
                    .iter()
                    .all(|one| set.get(one.id.as_str()).is_some_and(|other| Arc::ptr_eq(one, other)))
            );
            assert!(set.get("no-such").is_none());
            let found = Limits::conflicts(&files);
            let shown = found
                .iter()
                .map(|one| format!("{} {} beside {}", one.at.file, one.message, one.related[0].0.file));
            assert_eq!(shown.collect::<Vec<_>>().join("\n"), conflicts);
        }
    };
    check(&[], "", "");
    check(&[("a", text("x", 1)), ("b", text("y", 2))], "x=1 y=2", "");
    check(&[("b", text("a", 1)), ("a", text("z", 2))], "a=1 z=2", "");
    let message = "another file has a limit `x`, too: this one does not count";
    check(&[("b", text("x", 2)), ("a", text("x", 1))], "x=1", &format!("b.toml {message} beside a.toml"));
    check(
        &[("c", text("x", 3)), ("b", text("x", 2) + &text("y", 5)), ("a", text("x", 1))],
        "x=1 y=5",
        &format!("b.toml {message} beside a.toml\nc.toml {message} beside a.toml"),
    );
}

#[test]
fn amounts_and_windows_have_words() {
    let check = |keys: &str, amount: &str, window: &str, per: &str| {
        let limits = limits(&format!("{HEAD}{keys}"));
        let one = &limits.all()[0];
        let seen = (one.measure.shown(one.amount), one.window_text(), one.per_text());
        assert_eq!(seen, (amount.to_owned(), window.to_owned(), per.to_owned()), "{keys}");
    };
    check("requests = 60\nwindow = { sliding = \"60s\" }", "60 requests", "in any 1 min", "user");
    check("tokens = 5\nper = \"all\"\nwindow = \"total\"", "5 tokens", "in all", "all");
    check(
        "cost = \"200 USD\"\nno_price = \"free\"\nper = [\"model\", \"group\"]\nwindow = { every = \"month\", tz = \"europe/berlin\" }",
        "200.00 USD",
        "a month (Europe/Berlin)",
        "group and model",
    );
    check("concurrent = 8\nper = \"token\"", "8 requests at a time", "", "token");
    check("bytes = 9\nwindow = { sliding = \"1500ms\" }", "9 bytes", "in any 1500 ms", "user");
    check("input_tokens = 9\nwindow = { every = \"hour\" }", "9 tokens of prompts", "an hour (UTC)", "user");
    check("output_tokens = 9\nwindow = { every = \"week\" }", "9 tokens of answers", "a week (UTC)", "user");
    check("requests = 9\nwindow = { sliding = \"8760h\" }", "9 requests", "in any 365 d", "user");
}

#[test]
fn a_user_may_have_another_amount() {
    let limits = limits(&format!(
        "{HEAD}cost = \"2 USD\"\nno_price = \"free\"\nexcept = {{ bob = \"none\", eve = \"0.5 USD\" }}\n{DAY}"
    ));
    let amounts = ["alice", "bob", "eve"].map(|user| limits.all()[0].amount_of(user));
    assert_eq!(amounts, [Some(2_000_000_000_000), None, Some(500_000_000_000)]);
}

#[test]
fn names_of_callers_are_those_without_globs() {
    let limits = limits(&format!(
        "{HEAD}match = {{ user = [\"alice\", \"b*\"], group = [\"interns\", \"*\"] }}\nrequests = 1\n{DAY}except = {{ eve = \"none\", alice = 2 }}\n\
         [[allow]]\nmatch = {{ user = [\"carol\"], group = [\"lab\", \"interns\"] }}\nmodels = [\"m\"]\n"
    ));
    let (users, groups) = limits.named_callers();
    assert_eq!(users.into_iter().collect::<Vec<_>>(), ["alice", "carol", "eve"]);
    assert_eq!(groups.into_iter().collect::<Vec<_>>(), ["interns", "lab"]);
}
