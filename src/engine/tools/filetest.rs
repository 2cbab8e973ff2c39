//! The tests that files bring along: a request in, what would go upstream out. It runs the very functions
//! that requests run, with vars, credentials and answers from the test: no network, no environment, no clock.

mod coverage;
mod junit;

use std::{collections::BTreeMap, fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, request::Parts};

use crate::{
    base::{
        diag::{Code, Diagnostic},
        fault::{Fault, FaultKind},
        name::FileName,
        secret::Secret,
    },
    language::{
        bind::{self, OverlaySource},
        compile::{Api, Compiled, ErrorValues, Glob, Provider, Test},
        syntax::{self, TestAnswer, VarValue},
    },
    request::{
        decide::{self, Begun, CallerFacts, Candidate, ListenerRole, ProviderCall},
        rewrite::{self, Chosen, RewrittenResponse},
        table::{Hit, Table},
    },
};

pub use coverage::{Coverage, Item};
pub use junit::{Case, Problem, Suite, junit};

/// How many tests ran, and what those that fail are told.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many tests ran.
    pub ran: usize,
    /// A finding for each test that fails.
    pub diagnostics: Vec<Diagnostic>,
}

/// Runs all tests of a set of files.
pub fn run(compiled: &Compiled) -> Outcome {
    let mut outcome = Outcome::default();
    for (provider, test, _) in all(compiled) {
        outcome.ran += 1;
        outcome.diagnostics.extend(one(provider, test).diagnostic(test));
    }
    outcome.diagnostics.sort();
    outcome
}

/// All tests of a set of files, each with its provider; and whether the test of a shared file brings that along.
pub fn all(compiled: &Compiled) -> impl Iterator<Item = (&Arc<Provider>, &Test, bool)> {
    let own = compiled.providers.iter().flat_map(|one| one.tests.iter().map(move |test| (one, test, false)));
    own.chain(compiled.fixtures.iter().map(|(provider, test)| (provider, test, true)))
}

/// What came of a test.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is not as expected; empty if the test passes.
    pub wrong: Vec<Wrong>,
    /// What of the provider its request went through.
    pub went: Went,
}

/// Something that is not as a test expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// A value is another one.
    Differs {
        /// Of what.
        what: String,
        /// What it was to be.
        expected: String,
        /// What it is, if it is there.
        actual: Option<String>,
    },
    /// Something else, as a sentence.
    Says(String),
}

/// What of a provider a request went through, by index.
#[derive(Debug, Default)]
pub struct Went {
    /// The endpoint.
    pub endpoint: Option<usize>,
    /// The `[[auth]]` entry.
    pub auth: Option<usize>,
    /// The gateway.
    pub gateway: Option<FileName>,
    /// The egresses.
    pub egresses: Vec<usize>,
}

/// Runs one test.
pub fn one(provider: &Provider, test: &Test) -> Verdict {
    match seen(provider, &test.spec) {
        Ok(seen) => Verdict { wrong: compare(&test.spec.expect, &seen), went: seen.went },
        Err(reason) => Verdict { wrong: vec![Wrong::Says(reason)], went: Went::default() },
    }
}

impl Verdict {
    fn diagnostic(&self, test: &Test) -> Option<Diagnostic> {
        let (first, more) = self.wrong.split_first()?;
        let message = format!("test `{}` fails: {first}", test.spec.name);
        let diagnostic = Diagnostic::new(Code::Test, test.at.clone(), message);
        let more: Vec<String> = more.iter().map(ToString::to_string).collect();
        Some(if more.is_empty() {
            diagnostic
        } else {
            diagnostic.help(format!("also: {}", more.join("\n      ")))
        })
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs { what, expected, actual: Some(actual) } => {
                write!(out, "{what} is `{actual}`, expected `{expected}`")
            }
            Self::Differs { what, expected, actual: None } => {
                write!(out, "{what} is missing, expected `{expected}`")
            }
            Self::Says(sentence) => out.write_str(sentence),
        }
    }
}

/// The body with its keys in order, as the test's own has them.
fn in_order(mut body: serde_json::Value) -> serde_json::Value {
    body.sort_all_objects();
    body
}

/// What came of a test's request.
#[derive(Debug, Default)]
struct Seen {
    url: Option<String>,
    method: Option<String>,
    headers: HeaderMap,
    status: Option<StatusCode>,
    message: Option<String>,
    code: Option<&'static str>,
    body: Option<serde_json::Value>,
    token: Option<String>,
    went: Went,
}

fn seen(provider: &Provider, test: &syntax::Test) -> Result<Seen, String> {
    let (table, head) = set_up(provider, test)?;
    let mut seen = decided(&table, &head, test)?;
    seen.token = rewrite::token(&head, &table).map(|token| token.expose().to_owned());
    Ok(seen)
}

/// The table of a test's provider alone, and its request. The error is a sentence.
pub fn set_up(provider: &Provider, test: &syntax::Test) -> Result<(Table, Parts), String> {
    check_names(provider, test)?;
    let (bound, found) = bind::bind(provider, |owner, name, _| var(test, owner, name));
    let Some(bound) = bound else {
        return Err(found.first().map_or_else(String::new, |first| first.message.clone()));
    };
    Ok((Table::new(vec![Arc::new(bound)], Vec::new(), &provider.cors_headers), head(test)?))
}

/// The decision about a test's request, without waiting: its token counts as good. The error is a sentence.
fn decided(table: &Table, head: &Parts, test: &syntax::Test) -> Result<Seen, String> {
    let hit = table.find_canonical(&head.method, head.uri.path());
    let refused = |fault: Fault| {
        told(fault.kind.status(), &fault, hit.as_ref().and_then(|hit| hit.endpoint().api.as_deref()))
    };
    let mut seen = match decide::begin(head, table, ListenerRole::All) {
        Ok(Begun::Own(own)) => Seen { status: Some(own.status()), ..Seen::default() },
        Ok(Begun::Admin(_) | Begun::SelfService(_)) => {
            return Err("its request is a call of tollgate's own API: no provider is behind it".to_owned());
        }
        Ok(Begun::Provider(call)) => upstream(call, head, test).unwrap_or_else(refused),
        Err(fault) => refused(fault),
    };
    seen.went.endpoint = hit.map(|hit| hit.index());
    Ok(seen)
}

fn upstream(call: ProviderCall<'_>, head: &Parts, test: &syntax::Test) -> Result<Seen, Fault> {
    let given = test.credentials.iter().flatten().map(|(field, value)| (field.as_str(), Secret::new(value)));
    let given: BTreeMap<&str, Secret> = given.collect();
    let authorized = call.authenticated(CallerFacts::UNRESTRICTED)?.in_scope()?;
    let stored = |field: &str| given.get(field).map(Candidate::given);
    let sendable = authorized.credential([stored], 0)?.without_refresh();
    let out = sendable.request(decide::body_bytes(head))?;
    let hit = &authorized.hit;
    let answered = test.answer.as_ref().map(|answer| answered(hit, answer)).unwrap_or_default();
    let went = went(hit, sendable.chosen.as_ref());
    let (url, method) = (Some(out.url()), Some(out.method.to_string()));
    Ok(Seen { url, method, headers: out.headers, went, ..answered })
}

/// What a request goes through that goes up.
fn went(hit: &Hit, chosen: Option<&Chosen<'_>>) -> Went {
    let provider = &hit.provider;
    let egress = |whose| match whose {
        OverlaySource::Egress(index) => Some(index),
        OverlaySource::Gateway => None,
    };
    Went {
        endpoint: None,
        auth: chosen.and_then(|chosen| provider.auth.iter().position(|one| std::ptr::eq(one, chosen.auth))),
        gateway: provider.gateway.clone(),
        egresses: provider.overlays.iter().filter_map(|overlay| egress(overlay.of)).collect(),
    }
}

/// What the client gets of an upstream's answer.
fn answered(hit: &Hit, answer: &TestAnswer) -> Seen {
    let status = StatusCode::from_u16(answer.status).unwrap_or_default();
    match rewrite::response(hit, status, answer_headers(answer), false) {
        RewrittenResponse::Relayed(_) => Seen { status: Some(status), ..Seen::default() },
        RewrittenResponse::Replaced(rule) => {
            let fault = Fault::new(FaultKind::ResponseRule, rule.message.clone());
            told(rule.reply_status, &fault, hit.endpoint().api.as_deref())
        }
    }
}

/// What the client is told of a fault.
fn told(status: StatusCode, fault: &Fault, api: Option<&Api>) -> Seen {
    let code = fault.kind.code();
    let words = ErrorValues { status, ..ErrorValues::of(fault, "test") };
    Seen {
        status: Some(status),
        message: Some(fault.message.clone().into_owned()),
        code: Some(code),
        body: serde_json::from_str(&words.body(api)).ok().map(in_order),
        ..Seen::default()
    }
}

/// The value that a test gives a var.
pub fn var(test: &syntax::Test, owner: Option<&FileName>, name: &str) -> Option<String> {
    let vars = test.vars.as_ref()?;
    match owner {
        None => match vars.get(name)? {
            VarValue::Text(value) => Some(value.clone()),
            VarValue::Gateway(_) => None,
        },
        Some(gateway) => match vars.get(gateway.as_str())? {
            VarValue::Gateway(values) => values.get(name).cloned(),
            VarValue::Text(_) => None,
        },
    }
}

/// A test that sets a var or a credential which does not exist shows nothing.
fn check_names(provider: &Provider, test: &syntax::Test) -> Result<(), String> {
    for (name, value) in test.vars.iter().flatten() {
        let known: Vec<&String> = match value {
            VarValue::Text(_) if provider.vars.contains_key(name) => continue,
            VarValue::Text(_) => return Err(format!("there is no var `{name}` that it could set")),
            VarValue::Gateway(_) => {
                let used = provider.gateways.iter().find(|used| used.gateway.name.as_str() == name);
                used.ok_or_else(|| format!("the provider has no gateway `{name}`"))?
                    .gateway
                    .vars
                    .keys()
                    .collect()
            }
        };
        if let VarValue::Gateway(values) = value
            && let Some(unknown) = values.keys().find(|name| !known.contains(name))
        {
            return Err(format!("gateway `{name}` has no var `{unknown}`"));
        }
    }
    let fields: Vec<&str> =
        provider.section.iter().flat_map(|s| &s.fields).map(|f| f.value.name.as_str()).collect();
    match test.credentials.iter().flatten().find(|(field, _)| !fields.contains(&field.as_str())) {
        Some((field, _)) => Err(format!("the credentials section has no field `{field}`")),
        None => Ok(()),
    }
}

fn head(test: &syntax::Test) -> Result<Parts, String> {
    let method = test.request.method.as_deref().unwrap_or("GET");
    // A test need not name a host, and HTTP/1.0 alone allows that.
    let mut request = Request::builder().method(method).uri(&test.request.path).version(Version::HTTP_10);
    for (name, value) in test.request.headers.iter().flatten() {
        request = request.header(name, value);
    }
    let request = request.body(()).map_err(|error| format!("its request cannot be sent: {error}"))?;
    Ok(request.into_parts().0)
}

fn answer_headers(answer: &TestAnswer) -> HeaderMap {
    let pair = |(name, value): (&String, &String)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    };
    answer.headers.iter().flatten().filter_map(pair).collect()
}

/// What is not as expected.
fn compare(expect: &syntax::Expect, seen: &Seen) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut same = |what: &str, expected: Option<&str>, found: Option<&str>| {
        if let Some(expected) = expected
            && found != Some(expected)
        {
            let (expected, actual) = (expected.to_owned(), found.map(str::to_owned));
            wrong.push(Wrong::Differs { what: what.to_owned(), expected, actual });
        }
    };
    let status = seen.status.map(|status| status.as_str().to_owned());
    same("the URL", expect.url.as_deref(), seen.url.as_deref());
    same("the method", expect.method.as_deref(), seen.method.as_deref());
    same("the status", expect.status.map(|status| status.to_string()).as_deref(), status.as_deref());
    same("the message", expect.message.as_deref(), seen.message.as_deref());
    same("the code", expect.code.as_deref(), seen.code);
    same("the client's token", expect.token.as_deref(), seen.token.as_deref());
    let body = expect.body.as_ref().map(|body| serde_json::json!(body).to_string());
    same("the body", body.as_deref(), seen.body.as_ref().map(ToString::to_string).as_deref());
    for (name, expected) in expect.headers.iter().flatten() {
        same(&format!("header `{name}`"), Some(expected), all_values(&seen.headers, name).as_deref());
    }
    for text in expect.absent.iter().flatten() {
        let glob = Glob::new(&text.to_ascii_lowercase());
        if let Some(name) = seen.headers.keys().find(|name| glob.matches(name.as_str())) {
            wrong.push(Wrong::Says(format!("header `{name}` goes up, but `{text}` is to be absent")));
        }
    }
    let refused = seen.code.is_some() && seen.url.is_none();
    if refused && silent(expect) {
        let message = seen.message.as_deref().unwrap_or_default();
        wrong.insert(0, Wrong::Says(format!("the request is refused: {message}")));
    }
    wrong
}

/// Whether a test does not say what the client is told.
fn silent(expect: &syntax::Expect) -> bool {
    expect.status.is_none() && expect.code.is_none() && expect.message.is_none() && expect.body.is_none()
}

fn all_values(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

#[cfg(test)]
mod tests;
