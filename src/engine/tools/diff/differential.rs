//! Holds `diff` against the real rewrite: files that make any difference in a request, an answer or a refusal are never
//! "the same", and another origin is never unrated.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Request, Version, request::Parts};

use super::{
    Verdict, diff,
    exposure_tests::{compiled, file},
};
use crate::{
    language::compile::VarSource,
    tools::generated::{FileSet, Outcome, Random, Setting, Stored, observe, observe_with, requests, setting},
};

const SEED: u64 = 12;
const CASES: u64 = 5000;
const REQUESTS: usize = 9;
const SETTINGS: usize = 2;

#[test]
fn what_differs_is_never_the_same() {
    let (mut differing, mut widening) = (BTreeMap::<&str, usize>::new(), 0);
    for case in 0..CASES {
        let mut random = Random::new(SEED + case);
        let old = FileSet::random(&mut random);
        let (new, slot) = old.mutated(&mut random);
        let (Some(before), Some(after)) = (old.compile(), new.compile()) else { continue };
        let found = diff(&before.providers, &after.providers);
        for _ in 0..SETTINGS {
            let (setting, requests) = (setting(&mut random), requests(&mut random, REQUESTS));
            let of = |provider| observe(provider, &setting, &requests);
            let (was, is) = (of(&before.providers[0]), of(&after.providers[0]));
            let message =
                || format!("case {case} of seed {SEED}: `{slot}`\n{}\n=>\n{}", old.text(), new.text());
            let text = |outcome: &Option<Outcome>| outcome.as_ref().map(|outcome| outcome.text.clone());
            if text(&was) != text(&is) {
                assert_ne!(found.verdict, Verdict::Same, "{}", message());
                *differing.entry(slot).or_default() += 1;
            }
            if let (Some(was), Some(is)) = (&was, &is)
                && reached(is).difference(&reached(was)).next().is_some()
            {
                assert_eq!(found.verdict, Verdict::Widened, "{}", message());
                widening += 1;
            }
        }
    }
    // Slots that nothing depends on would prove nothing.
    assert!(differing.len() > 25, "{differing:?}");
    assert!(widening > 60, "{widening}");
}

/// The URLs without query that requests reach, by the request, and the values of vars in headers.
fn reached(outcome: &Outcome) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    for sent in &outcome.sent {
        let url = sent.url.split('?').next().unwrap_or_default();
        reached.insert(format!("{} {} {url} {:?}", sent.method, sent.path, sent.origins));
        for value in sent.headers.values().filter_map(|value| value.to_str().ok()) {
            if ["pass", "eu", "us", "t-value", "file-value"].contains(&value) {
                reached.insert(format!("{value} at {:?}", sent.origins));
            }
        }
    }
    reached
}

/// Choices for the slots of the file in `exposure_tests`.
const CHOICES: &[(&str, &[&str])] = &[
    (
        "base",
        &[
            "https://a.example",
            "https://b.example",
            "https://a.example/{zone}",
            "{server}",
            "https://b.example/x",
        ],
    ),
    ("admin", &["https://b.example", "https://a.example", "https://b.example/x", "https://{zone}.b.example"]),
    ("proxy", &["", ", optional = true"]),
    (
        "headers",
        &[
            "",
            "set = { x-l = \"{adminKey}\" }",
            "default = { x-l = \"{id}\" }",
            "add = { x-m = \"{zone}\" }",
            "set = { x-l = \"{sa.email}\" }",
        ],
    ),
    ("apiKey", &["", ", optional = true"]),
    ("id", &["", ", optional = true"]),
    (
        "zone",
        &[
            ", pattern = \"[a-z]*\"",
            ", pattern = \"[a-z]*\", default = \"df\"",
            ", pattern = \"[a-z]*\", default = \"other\"",
            ", pattern = \"[a-z]*\", optional = true",
        ],
    ),
    ("server", &["", ", default = \"https://gpu.example\"", ", default = \"https://b.example\""]),
    (
        "parts",
        &[
            "email = \"/client_email\", key = \"/private_key\"",
            "email = \"/private_key\", key = \"/client_email\"",
        ],
    ),
    ("login", &[", client_id = \"c\"", ", client_id = \"c\", scope = \"s\""]),
    (
        "auth",
        &[
            "field = \"apiKey\", endpoints = [\"chat\", \"all\"], set = { authorization = \"{secret}\" }",
            "field = \"apiKey\", endpoints = [\"chat\"], set = { authorization = \"{secret}\" }",
            "field = \"apiKey\", set = { authorization = \"{secret}\", x-l = \"{zone}\" }",
            "field = \"apiKey\", set = { authorization = \"{secret}\", x-l = \"{adminKey}\" }",
            "endpoints = [\"chat\", \"all\"], set = { authorization = \"{id} {apiKey}\" }",
            "endpoints = [\"chat\", \"all\"], set = { x-e = \"{sa.email}\" }",
            "endpoints = [\"chat\", \"all\"], basic = { username = \"{id}\", password = \"{apiKey}\" }",
            "field = \"id\", endpoints = [\"chat\"], query = { k = \"{secret}\" }",
            "endpoints = [\"chat\", \"all\"], sign = { kind = \"aws-sigv4\", service = \"m\", region = \"eu\", key_id = \"{id}\", key = \"{apiKey}\" }",
            "endpoints = [\"chat\", \"all\"], sign = { kind = \"aws-sigv4\", service = \"m\", region = \"eu\", key_id = \"{apiKey}\", key = \"{id}\" }",
            "field = \"apiKey\", match = \"V-*\", set = { x-key = \"{secret}\" } }, { field = \"id\", set = { x-key = \"{secret}\" }",
            "field = \"apiKey\", match = \"x*\", set = { x-key = \"{secret}\" } }, { field = \"id\", set = { x-key = \"{secret}\" }",
        ],
    ),
    ("captures", &["", "captures = { model = [\"m\", \"n\"] }", "captures = { model = [\"m\"] }"]),
    (
        "chat",
        &[
            "",
            "upstream_path = \"/{zone}\"",
            "query.default.k = \"{zone}\"",
            "headers.set.x-l = \"{adminKey}\"",
            "upstream_path = \"/v1/run\"",
        ],
    ),
];

/// All that users store. Some have left out what may be absent.
const STORED: &[(&str, &str)] = &[
    ("apiKey", "V-api"),
    ("adminKey", "V-admin"),
    ("id", "V-id"),
    ("zone", "zone"),
    ("server", "https://srv.example"),
    ("sa", "{\"client_email\":\"V-email\",\"private_key\":\"V-private\"}"),
];

/// Pairs of files that differ in one or two slots: where a stored value, or a request, reaches what it did not, the change
/// widens.
#[test]
fn what_newly_reaches_widens() {
    const CASES: u64 = 3000;
    let mut widening = BTreeMap::<&str, usize>::new();
    for case in 0..CASES {
        let mut random = Random::new(SEED + case);
        let old: Vec<usize> =
            CHOICES.iter().map(|(_, choices)| random.below(2) * random.below(choices.len())).collect();
        let mut new = old.clone();
        let slots = [random.below(CHOICES.len()), random.below(CHOICES.len())];
        for slot in slots {
            new[slot] = random.below(CHOICES[slot].1.len());
        }
        let [before, after] = [&old, &new].map(|chosen| {
            let chosen = chosen.iter().zip(CHOICES).map(|(index, (slot, choices))| (*slot, choices[*index]));
            file(&chosen.collect::<Vec<_>>())
        });
        let (Some(was), Some(is)) = (compiled(&[("acme", &before)]), compiled(&[("acme", &after)])) else {
            continue;
        };
        let absent = STORED[random.below(STORED.len())].0;
        let is_all = random.below(2) == 0;
        let stored: Vec<_> = STORED.iter().filter(|(field, _)| is_all || *field != absent).copied().collect();
        let [proxy, token] = ["PROXY", "TOKEN"].map(|name| VarSource::Env(name.to_owned()));
        let set = [(proxy, "p")].into_iter().filter(|_| random.below(2) == 0).chain([(token, "t")]);
        let setting: Setting = set.collect();
        let reached = |provider| {
            let requests = some_requests();
            let stored = requests.iter().map(|request| (request, Stored::of(&stored)));
            Some(stored_reached(&observe_with(provider, &setting, stored)?))
        };
        // Without a required var, a provider serves nothing.
        let (was_reached, is_reached) =
            (reached(&was[0]).unwrap_or_default(), reached(&is[0]).unwrap_or_default());
        let Some(more) = is_reached.difference(&was_reached).next() else { continue };
        let found = diff(&was, &is);
        assert_eq!(
            found.verdict,
            Verdict::Widened,
            "case {case} of seed {SEED}: {more}\n{before}\n=>\n{after}"
        );
        *widening.entry(CHOICES[slots[0]].0).or_default() += 1;
    }
    // Slots that nothing depends on would prove nothing.
    assert!(widening.len() >= 10 && widening.values().sum::<usize>() > 400, "{widening:?}");
}

fn some_requests() -> Vec<Parts> {
    let all =
        ["POST /acme/chat/m", "POST /acme/chat/n", "POST /acme/chat/x", "POST /acme/more", "GET /acme/jobs"];
    let one = |text: &str| {
        let (method, path) = text.split_once(' ').expect("a method and a path");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .version(Version::HTTP_10)
            .header("x-api-key", "caller-token-0123");
        request.body(()).expect("it is valid").into_parts().0
    };
    all.into_iter().map(one).collect()
}

/// The URLs that requests reach, and the stored values in each part of them.
fn stored_reached(outcome: &Outcome) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    for sent in &outcome.sent {
        let (origins, query) = (&sent.origins, sent.url.split_once('?').map_or("", |(_, query)| query));
        // An egress wraps the URL.
        let url =
            if query.starts_with("to=") { &sent.url } else { sent.url.split('?').next().unwrap_or_default() };
        reached.insert(format!("{} {} {url} {origins:?}", sent.method, sent.path));
        let headers =
            sent.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
        for (place, text) in headers.chain([("query", query)]) {
            let basic = text.strip_prefix("Basic ").and_then(|text| BASE64_STANDARD.decode(text).ok());
            let text =
                basic.map_or_else(|| text.to_owned(), |basic| String::from_utf8_lossy(&basic).into_owned());
            for value in ["V-api", "V-admin", "V-id", "V-email", "V-private"] {
                if text.contains(value) {
                    reached.insert(format!(
                        "{value} in {place} of {} {} at {origins:?}",
                        sent.method, sent.path
                    ));
                }
            }
        }
    }
    reached
}
