//! Runs the `[[test]]` entries of provider files, and compares the request that would be sent upstream with the expected
//! one. It runs the functions that requests run.
//!
//! Vars, credentials and upstream responses come from the test: no network, environment or clock. Read next: `usage`,
//! which meters an answer; `limits`, which admits calls; `coverage`, `junit`.

mod absent;
mod coverage;
mod frames;
mod judged;
mod junit;
mod limits;
mod prices;
mod tokens;
mod usage;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, request::Parts};

use crate::{
    base::{
        budget::{Budget, Budgets},
        diag::{Code, Diagnostic, Location},
        fault::{Fault, FaultKind},
        name::FileName,
        origin::Origin,
        secret::Secret,
        websocket,
    },
    language::{
        bind::{self, OverlaySource},
        compile::{Api, Compiled, ErrorValues, HeaderGlob, Provider, Test},
        syntax::{self, Payload, TestAnswer, VarValue},
    },
    request::{
        decide::{
            self, Begun, CallerFacts, Candidate, Credential, Listener, OwnAnswer, ProviderCall, Refresh,
            RefreshOf, Sendable,
        },
        rewrite::{self, Chosen, Fresh, RewrittenResponse},
        table::{Hit, Table},
    },
};

pub use coverage::{Coverage, Item};
pub use junit::{Case, Problem, Suite, junit};
pub use limits::LimitTests;
pub use prices::run_one as run_price_test;

/// The address of tollgate in tests.
static OWN_ADDRESS: LazyLock<Option<Origin>> =
    LazyLock::new(|| Origin::split("https://tollgate.example").ok().map(|(origin, _)| origin));

/// The result of a test run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The number of tests that ran.
    pub ran: usize,
    /// A diagnostic for each failed test.
    pub diagnostics: Vec<Diagnostic>,
}

/// Runs all tests of a set of files. The work is charged first: no test of a file over its budget runs.
pub fn run(compiled: &Compiled) -> Outcome {
    let mut outcome = run_each(compiled);
    outcome.run_limits(compiled);
    outcome.diagnostics.sort();
    outcome
}

/// Runs all tests but those of limits, which need the providers and prices beside them.
pub fn run_each(compiled: &Compiled) -> Outcome {
    let mut outcome = Outcome::default();
    for provider in &compiled.providers {
        outcome.run(provider, provider.tests.iter(), &compiled.budgets);
    }
    for (provider, test) in &compiled.fixtures {
        outcome.run(provider, [test].into_iter(), &compiled.budgets);
    }
    for file in &compiled.prices {
        outcome.run_prices(file, &compiled.budgets.of(&file.file));
    }
    outcome.diagnostics.sort();
    outcome
}

impl Outcome {
    fn run<'t>(
        &mut self,
        provider: &Provider,
        tests: impl Iterator<Item = &'t Test> + Clone,
        budgets: &Budgets,
    ) {
        let budget = budgets.of(&provider.at.file);
        let mut before = None;
        let charged = tests.clone().all(|test| is_affordable(provider, before.replace(test), test, &budget));
        let mut runner = Runner::default();
        for test in tests.take_while(|_| charged) {
            self.ran += 1;
            let result = runner.run(provider, test);
            self.diagnostics.extend(diagnostic(&result.mismatches, &test.spec.name, &test.at));
        }
    }
}

/// The work of a client path in a test, in steps.
const PATH_STEPS: usize = 64;
/// The work of metering a byte, both ways, in steps.
const METERED_STEPS: usize = 8;
/// The length of a var's value that is usual in a test, in bytes.
const USUAL_VALUE: usize = 256;

/// The work of a table for a test: the provider is bound, and its paths are inserted.
fn table_steps(provider: &Provider, longest: usize) -> usize {
    let paths: usize = provider.endpoints.iter().map(|endpoint| endpoint.paths.len()).sum();
    (provider.size + bind::max_size(provider, longest)) / 8 + PATH_STEPS * paths
}

/// The work of a test that finds its table: at most, each endpoint and header rule is looked at once.
fn request_steps(provider: &Provider) -> usize {
    PATH_STEPS + provider.endpoints.len() + provider.size / 64
}

/// Charges the work of a test that runs after another. False if the budget does not suffice.
pub(super) fn is_affordable(
    provider: &Provider,
    before: Option<&Test>,
    test: &Test,
    budget: &Budget,
) -> bool {
    let metered = test.spec.answer.as_ref().map_or(0, |answer| usage::size(&test.spec.request, answer));
    let shares_table = before.is_some_and(|before| before.spec.vars == test.spec.vars);
    let longest = longest_value(&test.spec).max(USUAL_VALUE);
    let table = if shares_table { 0 } else { table_steps(provider, longest) };
    budget.work(table + request_steps(provider) + METERED_STEPS * metered)
}

fn longest_value(test: &syntax::Test) -> usize {
    let values = test.vars.iter().flatten().map(|(_, value)| match value {
        VarValue::Text(value) => value.len(),
        VarValue::Gateway(values) => values.values().map(String::len).max().unwrap_or(0),
    });
    values.max().unwrap_or(0)
}

/// All tests of a set of files, each with its provider. True for a shared file's own test, which brings its provider.
pub fn all(compiled: &Compiled) -> impl Iterator<Item = (&Arc<Provider>, &Test, bool)> {
    let own = compiled.providers.iter().flat_map(|one| one.tests.iter().map(move |test| (one, test, false)));
    own.chain(compiled.fixtures.iter().map(|(provider, test)| (provider, test, true)))
}

/// The result of one test.
#[derive(Debug, Default)]
pub struct TestResult {
    /// Differences from the expectation. Empty if the test passes.
    pub mismatches: Vec<Mismatch>,
    /// The parts of the provider that its request exercised.
    pub exercised: Exercised,
}

/// A difference from a test's expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// A value differs.
    Differs {
        /// The subject.
        what: String,
        /// The expected value.
        expected: String,
        /// The actual value. None if it is missing.
        actual: Option<String>,
    },
    /// Any other difference, as a sentence.
    Other(String),
}

/// The parts of a provider that a request exercised, by index.
#[derive(Debug, Default)]
pub struct Exercised {
    /// The endpoint.
    pub endpoint: Option<usize>,
    /// The `[[auth]]` entry.
    pub auth: Option<usize>,
    /// The gateway.
    pub gateway: Option<FileName>,
    /// The egresses.
    pub egresses: Vec<usize>,
}

/// Runs tests, and keeps the table of the last one: tests of a provider that set the same vars and follow one another share it.
#[derive(Debug, Default)]
pub struct Runner<'c> {
    last: Option<Made<'c>>,
}

/// A table that was made for a test.
#[derive(Debug)]
struct Made<'c> {
    provider: &'c Provider,
    vars: Option<&'c BTreeMap<String, VarValue>>,
    /// The error is a sentence.
    table: Result<Table, String>,
}

impl<'c> Runner<'c> {
    /// Runs one test.
    pub fn run(&mut self, provider: &'c Provider, test: &'c Test) -> TestResult {
        match self.observe(provider, test) {
            Ok(observed) => TestResult {
                mismatches: compare(&test.spec.expect, &observed),
                exercised: observed.exercised,
            },
            Err(reason) => {
                TestResult { mismatches: vec![Mismatch::Other(reason)], exercised: Exercised::default() }
            }
        }
    }

    /// The code of the error response that a passing test observes: of a refusal, or of a rule that replaces a response.
    pub fn refusal(&mut self, provider: &'c Provider, test: &'c Test) -> Option<&'static str> {
        let observed = self.observe(provider, test).ok()?;
        observed.code.filter(|_| compare(&test.spec.expect, &observed).is_empty())
    }

    fn observe(&mut self, provider: &'c Provider, test: &'c Test) -> Result<Observed, String> {
        check_names(provider, &test.spec)?;
        let (table, head) = (self.table(provider, &test.spec)?, head(&test.spec)?);
        let mut observed = decide_request(table, &head, test)?;
        observed.token = rewrite::token(&head, table).map(|token| token.expose().to_owned());
        Ok(observed)
    }

    fn table(&mut self, provider: &'c Provider, test: &'c syntax::Test) -> Result<&Table, String> {
        let vars = test.vars.as_ref();
        let is_same = |made: &Made<'_>| std::ptr::eq(made.provider, provider) && made.vars == vars;
        let made = match self.last.take().filter(is_same) {
            Some(made) => made,
            None => Made { provider, vars, table: table(provider, test) },
        };
        self.last.insert(made).table.as_ref().map_err(Clone::clone)
    }
}

/// The finding about a failed test, at its `expect`; none if it passed.
fn diagnostic(mismatches: &[Mismatch], name: &str, at: &Location) -> Option<Diagnostic> {
    let (first, more) = mismatches.split_first()?;
    let message = format!("test `{name}` fails: {first}");
    let diagnostic = Diagnostic::new(Code::Test, at.clone(), message);
    let label = |index| if index == 0 { "also: " } else { "      " };
    let more: Vec<String> =
        more.iter().enumerate().map(|(index, one)| format!("{}{one}", label(index))).collect();
    Some(if more.is_empty() { diagnostic } else { diagnostic.help_lines(more) })
}

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs { what, expected, actual: Some(actual) } => {
                write!(out, "{what} is `{actual}`, expected `{expected}`")
            }
            Self::Differs { what, expected, actual: None } => {
                write!(out, "{what} is missing, expected `{expected}`")
            }
            Self::Other(sentence) => out.write_str(sentence),
        }
    }
}

/// The body with sorted keys, as in the test.
fn in_order(mut body: serde_json::Value) -> serde_json::Value {
    body.sort_all_objects();
    body
}

/// The actual values for a test's request.
#[derive(Debug, Default)]
struct Observed {
    url: Option<String>,
    method: Option<String>,
    headers: HeaderMap,
    status: Option<StatusCode>,
    /// Headers of the response to the client, if it is the upstream's.
    answer_headers: HeaderMap,
    message: Option<String>,
    code: Option<&'static str>,
    body: Option<serde_json::Value>,
    /// The body with the first sentence of the message alone: what follows is advice.
    plain_body: Option<serde_json::Value>,
    token: Option<String>,
    /// The token that was made for the request.
    made: tokens::Seen,
    /// The exchange; none if it is not metered.
    metered: Option<usage::Metered>,
    /// The test has an answer.
    has_answer: bool,
    /// What limits and rules read of the request. None if they read nothing.
    judged: Option<judged::Judged>,
    /// The reason why the exchange cannot be metered, as a sentence.
    unmeterable: Option<String>,
    /// Of the headers that a preflight is expected to allow, those that it does. None for any other request.
    allowed: Option<Vec<String>>,
    exercised: Exercised,
}

/// The table of a test's provider alone, and its request. The error is a sentence.
pub fn set_up(provider: &Provider, test: &syntax::Test) -> Result<(Table, Parts), String> {
    check_names(provider, test)?;
    Ok((table(provider, test)?, head(test)?))
}

/// The table of a provider alone, with the vars of a test. The error is a sentence.
fn table(provider: &Provider, test: &syntax::Test) -> Result<Table, String> {
    let (bound, found) = bind::bind(provider, |owner, name, _| var(test, owner, name));
    let bound = bound.ok_or_else(|| found.first().map_or_else(String::new, |first| first.message.clone()))?;
    Ok(Table::new(vec![Arc::new(bound)], Vec::new(), &[provider]))
}

/// The decision about a test's request, without IO: its token counts as valid. The error is a sentence.
fn decide_request(table: &Table, head: &Parts, test: &Test) -> Result<Observed, String> {
    let hit = table.find_canonical(&head.method, head.uri.path());
    let refused =
        |fault: Fault| error_reply(fault.kind.status(), &fault, table.error_format(head).as_deref());
    let mut made = tokens::Seen::default();
    let mut observed = match decide::begin(head, table, Listener::ANY) {
        Ok(Begun::Own(own)) => {
            let allowed = (own == OwnAnswer::Preflight).then(|| allowed_headers(table, &test.spec));
            Observed { status: Some(own.status()), allowed, ..Observed::default() }
        }
        Ok(Begun::Page(_) | Begun::Metrics(_)) => {
            Observed { status: Some(StatusCode::OK), ..Observed::default() }
        }
        Ok(Begun::Admin(_) | Begun::SelfService(_)) => {
            return Err("its request is a call of tollgate's own API: no provider is behind it".to_owned());
        }
        Ok(Begun::Provider(call)) => upstream(call, head, test, &mut made).unwrap_or_else(refused),
        Err(fault) => refused(fault),
    };
    observed.exercised.endpoint = hit.map(|hit| hit.index());
    observed.made = made;
    Ok(observed)
}

/// `made`: the token that was made for the request, also of one that is refused then.
fn upstream(
    call: ProviderCall<'_>,
    head: &Parts,
    test: &Test,
    made: &mut tokens::Seen,
) -> Result<Observed, Fault> {
    let Test { spec, now_ms, index: _, at: _ } = test;
    let given: BTreeMap<&str, Secret> = spec
        .credentials
        .iter()
        .flatten()
        .map(|(field, value)| (field.as_str(), Secret::new(value.text())))
        .collect();
    let authorized = call.authenticated(CallerFacts::UNRESTRICTED)?.in_scope()?;
    let stored = |field: &str| given.get(field).map(Candidate::given);
    let before = tokens::Held { value: stored, attempt: None };
    let attempt = match authorized.credential([before], *now_ms)? {
        Credential::Refresh(Refresh { how: RefreshOf::Token { token, values, made_from, .. }, .. }, _) => {
            let scripted = spec.token_reply.as_ref();
            Some(tokens::Attempt::new(token, (&values, made_from), scripted, *now_ms))
        }
        Credential::Refresh(..) | Credential::Ready(_) => None,
    };
    *made = attempt.as_ref().map(tokens::Attempt::seen).unwrap_or_default();
    let owner = tokens::Held { value: stored, attempt: attempt.as_ref() };
    let sendable = authorized.credential([owner], *now_ms)?.without_refresh();
    let hit = &authorized.hit;
    let sendable = sendable.with_body(&usage::sent_body(hit, head, &spec.request));
    let out = sendable.request(decide::body_bytes(head), Fresh::STAND_IN)?;
    let answered = spec.answer.as_ref().map(|answer| answered((hit, &sendable), spec, answer));
    let answered = answered.unwrap_or_default();
    let exercised = exercised(hit, sendable.chosen.as_ref());
    let (url, method) = (Some(out.url()), Some(out.method.to_string()));
    let has_answer = spec.answer.is_some();
    let judged = spec.expect.judged.as_ref().and_then(|_| judged::judged(hit, head, &spec.request));
    Ok(Observed { url, method, headers: out.headers, exercised, has_answer, judged, ..answered })
}

/// The parts that a request exercises once it is sent upstream.
fn exercised(hit: &Hit, chosen: Option<&Chosen<'_>>) -> Exercised {
    let provider = &hit.provider;
    let egress = |source| match source {
        OverlaySource::Egress(index) => Some(index),
        OverlaySource::Gateway => None,
    };
    Exercised {
        endpoint: None,
        auth: chosen.and_then(|chosen| provider.auth.iter().position(|one| std::ptr::eq(one, chosen.auth))),
        gateway: provider.gateway.clone(),
        egresses: provider.overlays.iter().filter_map(|overlay| egress(overlay.of)).collect(),
    }
}

/// The client's response for an upstream's response. Only one that is relayed is metered.
fn answered((hit, sent): (&Hit, &Sendable<'_>), test: &syntax::Test, answer: &TestAnswer) -> Observed {
    let status = StatusCode::from_u16(answer.status()).unwrap_or_default();
    match rewrite::response(hit, status, answer_headers(answer), false) {
        RewrittenResponse::Relayed(mut answer_headers) => {
            sent.return_urls(OWN_ADDRESS.as_ref(), &mut answer_headers);
            sent.conceal(&mut answer_headers);
            let (metered, unmeterable) = match usage::metered(hit, &test.request, answer) {
                Ok(metered) => (metered, None),
                Err(reason) => (None, Some(reason)),
            };
            Observed { status: Some(status), answer_headers, metered, unmeterable, ..Observed::default() }
        }
        RewrittenResponse::Replaced(rule) => {
            let fault = Fault::new(FaultKind::ResponseRule, rule.message.clone());
            error_reply(rule.reply_status, &fault, hit.endpoint().api.as_deref())
        }
    }
}

/// The error response for a fault.
fn error_reply(status: StatusCode, fault: &Fault, api: Option<&Api>) -> Observed {
    let code = fault.kind.code();
    let body = |fault: &Fault| {
        let values = ErrorValues { status, ..ErrorValues::of(fault, "test") };
        serde_json::from_str(&values.body(api)).ok().map(in_order)
    };
    let first = fault.message.split(". ").next().unwrap_or_default().to_owned();
    Observed {
        status: Some(status),
        message: Some(fault.message.clone().into_owned()),
        code: Some(code),
        body: body(fault),
        plain_body: body(&Fault { message: first.into(), ..fault.clone() }),
        ..Observed::default()
    }
}

fn allowed_headers(table: &Table, test: &syntax::Test) -> Vec<String> {
    let expected = test.expect.allow_headers.iter().flatten();
    expected.filter(|name| table.cors.allows(&name.to_ascii_lowercase())).cloned().collect()
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

/// Refuses vars and credentials that do not exist: a test that sets them would prove nothing.
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
    let mut head = request.into_parts().0;
    websocket::complete(&mut head);
    Ok(head)
}

fn answer_headers(answer: &TestAnswer) -> HeaderMap {
    let pair = |(name, value): (&String, &String)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    };
    answer.headers.iter().flatten().filter_map(pair).collect()
}

/// The expected part of a message that begins with it and goes on with further sentences, which advise; else all of it.
fn first_sentences<'m>(message: &'m str, expected: Option<&'m str>) -> &'m str {
    let rest = expected.and_then(|expected| message.strip_prefix(expected));
    rest.filter(|rest| rest.starts_with(". ")).map_or(message, |rest| &message[..message.len() - rest.len()])
}

/// Compares expectation and actual values.
fn compare(expect: &syntax::Expect, observed: &Observed) -> Vec<Mismatch> {
    let mut mismatches = Vec::new();
    let mut same = |what: &str, expected: Option<&str>, found: Option<&str>| {
        if let Some(expected) = expected
            && found != Some(expected)
        {
            let (expected, actual) = (expected.to_owned(), found.map(str::to_owned));
            mismatches.push(Mismatch::Differs { what: what.to_owned(), expected, actual });
        }
    };
    let status = observed.status.map(|status| status.as_str().to_owned());
    same("the URL", expect.url.as_deref(), observed.url.as_deref());
    same("the method", expect.method.as_deref(), observed.method.as_deref());
    same("the status", expect.status.map(|status| status.to_string()).as_deref(), status.as_deref());
    let message = observed.message.as_deref();
    let said = message.map(|message| first_sentences(message, expect.message.as_deref()));
    same("the message", expect.message.as_deref(), said);
    same("the code", expect.code.as_deref(), observed.code);
    same("the client's token", expect.token.as_deref(), observed.token.as_deref());
    let body = expect.body.as_ref().map(|body| serde_json::json!(body).to_string());
    let found = [&observed.plain_body, &observed.body].map(|body| body.as_ref().map(ToString::to_string));
    let found = found.iter().find(|found| **found == body).unwrap_or(&found[1]);
    same("the body", body.as_deref(), found.as_deref());
    for (name, expected) in expect.headers.iter().flatten() {
        same(&format!("header `{name}`"), Some(expected), all_values(&observed.headers, name).as_deref());
    }
    for (name, expected) in expect.answer_headers.iter().flatten() {
        let found = all_values(&observed.answer_headers, name);
        same(&format!("header `{name}` of the answer"), Some(expected), found.as_deref());
    }
    mismatches.extend(expect.token_request.iter().flat_map(|one| observed.made.compare_request(one)));
    mismatches.extend(expect.jwt.iter().flat_map(|one| observed.made.compare_jwt(one)));
    for text in expect.absent.iter().flatten() {
        let glob = HeaderGlob::new(text);
        if let Some(name) = observed.headers.keys().find(|name| glob.matches(&(*name).into())) {
            mismatches
                .push(Mismatch::Other(format!("header `{name}` goes up, but `{text}` is to be absent")));
        }
    }
    for name in expect.allow_headers.iter().flatten() {
        let problem = match &observed.allowed {
            Some(allowed) if allowed.contains(name) => continue,
            Some(_) => format!("the preflight does not allow `{name}`"),
            None => "its request is no preflight, which has the method OPTIONS".to_owned(),
        };
        mismatches.push(Mismatch::Other(problem));
    }
    let judged = expect.judged.iter();
    mismatches.extend(judged.flat_map(|one| judged::compare(one, observed.judged.as_ref())));
    match &observed.unmeterable {
        Some(reason) => mismatches.push(Mismatch::Other(reason.clone())),
        None => mismatches.extend(usage::compare(expect, observed.metered.as_ref(), observed.has_answer)),
    }
    let refused = observed.code.is_some() && observed.url.is_none();
    if refused && expects_no_refusal(expect) {
        let message = observed.message.as_deref().unwrap_or_default();
        mismatches.insert(0, Mismatch::Other(format!("the request is refused: {message}")));
    }
    mismatches
}

/// True if the test expects nothing of an error response.
fn expects_no_refusal(expect: &syntax::Expect) -> bool {
    expect.status.is_none() && expect.code.is_none() && expect.message.is_none() && expect.body.is_none()
}

fn all_values(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

#[cfg(test)]
mod tests;
