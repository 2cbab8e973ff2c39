//! The shipped provider files against facts about their vendors (`facts.json`): each endpoint that a vendor has is reached by an
//! endpoint of its file, with the wire format of the facts, the key goes where the vendor takes it, and required headers are sent.
//! `unsayable.toml` lists what no file can say, and what a file says otherwise, each with the reason. The requests themselves are in
//! the files' own tests.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]
#![expect(clippy::disallowed_methods, reason = "tests read the facts, and the files that are shipped")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use tollgate_engine::{
    language::compile::{self, Compiled, Provider},
    pipeline::{self, Folder, InputFile},
    tools::filetest::{self, Coverage, Runner},
};

/// One vendor, as its documents or clients say.
#[derive(Debug, Deserialize)]
struct Facts {
    id: String,
    base_url: String,
    /// A Bearer token if absent.
    auth: Option<BTreeMap<String, serde_json::Value>>,
    /// Names and values. A value in braces is anyone's.
    #[serde(default)]
    required_headers: BTreeMap<String, String>,
    endpoints: BTreeMap<String, Endpoint>,
}

/// Method, path or whole URL, streaming, wire format.
type Endpoint = (String, String, String, String);

/// The apis of files for a wire format of the facts. Other formats of the facts are not metered: a file chooses an api for them by
/// its errors.
const APIS: &[(&str, &[&str])] = &[
    ("bedrock-converse", &["bedrock-converse"]),
    ("chat-completions", &["chat-completions", "chat-completions-apart"]),
    ("cohere", &["cohere-chat"]),
    ("completions", &["completions"]),
    ("embeddings", &["embeddings"]),
    ("generate-content", &["gemini"]),
    ("images", &["images"]),
    ("messages", &["messages"]),
    ("ollama", &["ollama"]),
    ("rerank", &["rerank"]),
    ("responses", &["responses"]),
];

/// What files say otherwise than the facts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    unsayable: Vec<Unsayable>,
    other_api: Vec<OtherApi>,
}

/// Endpoints of the facts whose file has another api than the facts' wire format.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherApi {
    provider: String,
    endpoints: Vec<String>,
    reason: String,
}

/// A part of the facts that the vendor's file does not say as the facts do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unsayable {
    provider: String,
    /// `everything`, `endpoint NAME`, `key`, or words for readers.
    part: String,
    reason: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn facts() -> Vec<Facts> {
    let text = fs::read_to_string(root().join("tests/catalogue/facts.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn exceptions() -> Exceptions {
    let text = fs::read_to_string(root().join("tests/catalogue/unsayable.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

/// The shipped files, compiled.
fn shipped() -> Compiled {
    let mut texts = Vec::new();
    // Limits are beside the providers, and none are shipped.
    for folder in Folder::ALL.into_iter().filter(|folder| *folder != Folder::Limits) {
        let mut dirs = vec![root().join("providers.d").join(folder.name())];
        while let Some(dir) = dirs.pop() {
            for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    dirs.extend(folder.has_folders().then_some(path));
                    continue;
                }
                let below =
                    path.strip_prefix(root().join("providers.d")).unwrap().to_str().unwrap().to_owned();
                let (folder, name) = Folder::of_path(&below).unwrap();
                let name = folder.file_name(name.trim_end_matches(".toml"));
                texts.push((Arc::<str>::from(below), folder, name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let inputs = texts.iter().map(|(file, folder, name, text)| {
        let (folder, name, text) = (*folder, name.as_ref(), Ok(text.as_str()));
        (file, InputFile { folder, name, text, filled_in: false, is_built_in: true, is_judged: false })
    });
    compile::compile(&pipeline::parse(inputs, |_| true).files)
}

/// The upstream URL of an endpoint, with names in braces.
fn url(provider: &Provider, endpoint: &compile::Endpoint) -> String {
    let captures = endpoint.paths.first().map(|path| path.pattern.captures()).unwrap_or_default();
    let mut url = String::new();
    let base = &provider.base_of(endpoint).value;
    base.render_names(&mut url, |name| name.written(captures));
    endpoint.upstream_path.render_names(&mut url, |name| name.written(captures));
    url
}

/// True if a URL with names in braces covers another: a name stands for one segment, or for several.
fn covers(pattern: &str, url: &str) -> bool {
    let url = url.replace("...}", "}").replace(['{', '}'], "");
    let mut texts = pattern.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
    let Some(mut rest) = url.strip_prefix(texts.next().unwrap_or_default()) else { return false };
    let texts: Vec<&str> = texts.collect();
    for (index, text) in texts.iter().enumerate() {
        let is_last = index + 1 == texts.len();
        let found = if is_last && text.is_empty() {
            Some(rest.len())
        } else {
            rest.get(1..).and_then(|rest| rest.find(text)).map(|at| at + 1)
        };
        let Some(found) = found.filter(|found| *found > 0) else { return false };
        rest = &rest[found + text.len()..];
    }
    rest.is_empty()
}

/// The endpoints of a file that reach an upstream URL of the facts.
fn reaching<'p>(
    provider: &'p Provider,
    method: &'p str,
    wanted: &'p str,
) -> impl Iterator<Item = &'p compile::Endpoint> {
    let endpoints = provider.endpoints.iter();
    endpoints.filter(move |one| one.method.as_str() == method && covers(&url(provider, one), wanted))
}

/// The whole upstream URL of the facts, without its query.
fn url_of_facts(facts: &Facts, path: &str) -> String {
    let whole = if path.starts_with('/') { format!("{}{path}", facts.base_url) } else { path.to_owned() };
    let whole = whole.replacen("wss://", "https://", 1);
    whole.split('?').next().unwrap_or_default().to_owned()
}

/// The header and the text, or the query parameter, that the facts have for the key.
fn key_place(facts: &Facts) -> Option<(String, String)> {
    let Some(auth) = &facts.auth else { return Some(("authorization".into(), "Bearer {secret}".into())) };
    let text = |key: &str| auth.get(key).and_then(serde_json::Value::as_str);
    match text("style")? {
        "bearer" | "header" | "scheme" => {
            Some((text("header")?.to_lowercase(), text("format")?.replace("{key}", "{secret}")))
        }
        "query" => Some((text("query")?.to_owned(), "{secret}".into())),
        _ => None,
    }
}

#[test]
fn each_endpoint_of_a_vendor_is_in_its_file() {
    let (compiled, unsayable) = (shipped(), exceptions().unsayable);
    let mut wrong: BTreeSet<String> = BTreeSet::new();
    let listed = |id: &str, part: &str| unsayable.iter().any(|one| one.provider == id && one.part == part);
    for facts in facts() {
        let id = &facts.id;
        let provider = compiled.providers.iter().find(|provider| provider.name.as_str() == id);
        match (provider, listed(id, "everything")) {
            (None, false) => drop(wrong.insert(format!("{id}: has no file"))),
            (Some(_), true) => drop(wrong.insert(format!("{id}: has a file: take it off the list"))),
            (None, true) => {}
            (Some(provider), false) => {
                for (name, (method, path, ..)) in &facts.endpoints {
                    let wanted = url_of_facts(&facts, path);
                    let is_reached = reaching(provider, method, &wanted).next().is_some();
                    let is_listed = listed(id, &format!("endpoint {name}"));
                    if is_reached == is_listed {
                        let what =
                            if is_listed { "is reached: take it off the list" } else { "is not reached" };
                        wrong.insert(format!("{id}: {name}: {method} {wanted} {what}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), Vec::from_iter(wrong).join("\n"));
}

#[test]
fn the_key_goes_where_the_vendor_takes_it() {
    let (compiled, unsayable) = (shipped(), exceptions().unsayable);
    let mut wrong = BTreeSet::new();
    for facts in facts() {
        let provider = compiled.providers.iter().find(|provider| provider.name.as_str() == facts.id);
        let (Some(provider), Some((place, text))) = (provider, key_place(&facts)) else { continue };
        let outputs = provider.auth.iter().flat_map(|auth| auth.kind.outputs());
        let is_there = outputs.map(|output| {
            let mut written = String::new();
            output.text.render_names(&mut written, |name| name.written(&[]));
            let name = output.place.header().map(http::HeaderName::as_str).or(output.place.parameter());
            (name.unwrap_or_default().to_owned(), written)
        });
        let is_there = is_there.collect::<Vec<_>>().contains(&(place.clone(), text.clone()));
        let is_listed = unsayable.iter().any(|one| one.provider == facts.id && one.part == "key");
        if is_there == is_listed {
            wrong.insert(format!("{}: `{place}: {text}`, listed: {is_listed}", facts.id));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), Vec::from_iter(wrong).join("\n"));
}

/// A metered endpoint with a wrong api would count nothing, or the wrong numbers.
#[test]
fn each_endpoint_has_the_wire_format_of_the_facts() {
    let (compiled, other) = (shipped(), exceptions().other_api);
    let mut wrong: BTreeSet<String> = BTreeSet::new();
    for facts in facts() {
        let provider = compiled.providers.iter().find(|provider| provider.name.as_str() == facts.id);
        let Some(provider) = provider else { continue };
        for (name, (method, path, _, format)) in &facts.endpoints {
            let Some((_, apis)) = APIS.iter().find(|(known, _)| known == format) else { continue };
            let wanted = url_of_facts(&facts, path);
            let found = reaching(provider, method, &wanted).map(|one| one.api.as_ref());
            let found: Vec<&str> = found.map(|api| api.map_or("none", |api| api.name.as_str())).collect();
            let is_alike = found.iter().any(|api| apis.contains(api));
            let is_listed = other.iter().any(|one| one.provider == facts.id && one.endpoints.contains(name));
            // An endpoint that is not reached is for the test of endpoints.
            if !found.is_empty() && is_alike == is_listed {
                wrong.insert(format!("{}: {name}: {format}, api {found:?}, listed: {is_listed}", facts.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), Vec::from_iter(wrong).join("\n"));
}

/// The headers that a file writes, and their values with names in braces: its own, those of its endpoints and of its credentials.
fn written_headers(provider: &Provider) -> Vec<(String, String)> {
    let rules = std::iter::once(&provider.headers).chain(provider.endpoints.iter().map(|one| &one.headers));
    let rules = rules.flat_map(compile::HeaderRules::written).map(|(name, text)| (name.as_str(), text));
    let outputs = provider.auth.iter().flat_map(|auth| auth.kind.outputs());
    let outputs = outputs.filter_map(|output| Some((output.place.header()?.as_str(), output.text)));
    let written = rules.chain(outputs).map(|(name, text)| {
        let mut value = String::new();
        text.render_names(&mut value, |name| name.written(&[]));
        (name.to_owned(), value)
    });
    written.collect()
}

#[test]
fn required_headers_are_sent() {
    let compiled = shipped();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for facts in facts() {
        let provider = compiled.providers.iter().find(|provider| provider.name.as_str() == facts.id);
        let Some(provider) = provider else { continue };
        let written = written_headers(provider);
        for (name, value) in &facts.required_headers {
            seen += 1;
            let wanted = value.split(' ').next().filter(|word| !word.contains('{'));
            let is_sent = written.iter().any(|(header, text)| {
                header.eq_ignore_ascii_case(name) && wanted.is_none_or(|wanted| text == wanted)
            });
            if !is_sent {
                wrong.push(format!("{}: `{name}: {value}` is not sent", facts.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(seen > 5, "{seen}");
}

#[test]
fn the_list_names_vendors_and_reasons() {
    let (facts, exceptions) = (facts(), exceptions());
    for one in exceptions.unsayable {
        let vendor = facts.iter().find(|facts| facts.id == one.provider);
        let vendor = vendor.unwrap_or_else(|| panic!("{}: no such vendor", one.provider));
        assert!(one.reason.len() > 20, "{}: {}: a reason", one.provider, one.part);
        if let Some(name) = one.part.strip_prefix("endpoint ") {
            assert!(vendor.endpoints.contains_key(name), "{}: no endpoint `{name}`", one.provider);
        }
    }
    for one in exceptions.other_api {
        let vendor = facts.iter().find(|facts| facts.id == one.provider);
        let vendor = vendor.unwrap_or_else(|| panic!("{}: no such vendor", one.provider));
        assert!(one.reason.len() > 20, "{}: a reason", one.provider);
        for name in &one.endpoints {
            assert!(vendor.endpoints.contains_key(name), "{}: no endpoint `{name}`", one.provider);
        }
    }
}

/// Each shipped file says where it comes from, and has tests.
#[test]
fn each_file_of_the_catalogue_has_sources_and_tests() {
    let compiled = shipped();
    assert!(compiled.rejected.is_empty(), "{:?}", compiled.rejected);
    let mut wrong = Vec::new();
    for provider in &compiled.providers {
        let path = root().join(format!("providers.d/{}.toml", provider.name));
        let file: toml::Value = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let known = file.get("catalogue");
        for key in ["sources", "checked"] {
            if known.and_then(|known| known.get(key)).is_none() {
                wrong.push(format!("{}: no `catalogue.{key}`", provider.name));
            }
        }
        if provider.tests.is_empty() {
            wrong.push(format!("{}: no test", provider.name));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every test of the shipped files passes. Each endpoint, way to authenticate, gateway and egress of a file is exercised by a test of
/// that file, and each endpoint of a set by one of the set's file.
#[test]
fn each_part_of_the_catalogue_is_tested() {
    let compiled = shipped();
    let (mut wrong, mut coverage, mut runner) = (Vec::new(), Coverage::default(), Runner::default());
    for provider in &compiled.providers {
        coverage.add(provider);
    }
    let mut of_sets: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for (provider, test, is_fixture) in filetest::all(&compiled) {
        let result = runner.run(provider, test);
        if let Some(mismatch) = result.mismatches.first() {
            wrong.push(format!("{}: test `{}`: {mismatch}", test.at.file, test.spec.name));
        }
        if !is_fixture {
            coverage.mark(provider, &result.exercised);
        } else if test.at.file.starts_with("endpoints/") {
            for (index, endpoint) in provider.endpoints.iter().enumerate().filter(|(_, one)| one.is_of_set) {
                let is_tested = of_sets.entry((&*test.at.file, endpoint.name.as_str())).or_default();
                *is_tested |= result.exercised.endpoint == Some(index);
            }
        }
    }
    assert!(!of_sets.is_empty(), "there are endpoint sets");
    let untested = of_sets.iter().filter(|(_, is_tested)| !**is_tested);
    wrong.extend(untested.map(|((file, name), _)| format!("{file}: no test of the endpoint `{name}`")));
    let missing = coverage.missing();
    wrong.extend(missing.map(|item| format!("{}: no test of {} `{}`", item.provider, item.kind, item.name)));
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_name_covers_segments() {
    let check = |pattern: &str, url: &str, expected: bool| {
        assert_eq!(covers(pattern, url), expected, "{pattern} {url}");
    };
    check("https://a.example/v1/chat", "https://a.example/v1/chat", true);
    check("https://a.example/v1/chat", "https://a.example/v1/chats", false);
    check("https://{region}.example/v1/{id}", "https://{place}.example/v1/{file_id}", true);
    check("https://a.example/v1/{id}", "https://a.example/v1/", false);
    check("https://a.example/v1/{id}/content", "https://a.example/v1/{id}", false);
    check("https://a.example/{path}", "https://a.example/{app...}", true);
}
