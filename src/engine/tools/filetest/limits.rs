//! Tests of limits files: calls at times of their own, admitted by all limits and rules of the directory with the functions that
//! requests run. There is no clock: the test says when a call comes.
//!
//! `tollgate check` and `tollgate test` run all of them, against vars that stand in. The server runs those of a text that is new
//! to it, against what serves then: a text with a failing test does not serve. A test is not run again when a provider, a price or
//! another limits file changes, nor at a restart, so that no such change takes limits out of service; `tollgate check` finds that.

use std::{collections::BTreeMap, sync::Arc};

use http::{Request, Version, request::Parts};

use super::{Mismatch, Outcome, diagnostic, var};
use crate::{
    base::{
        budget::Budget,
        day::Day,
        diag::Diagnostic,
        fault::Fault,
        name::{FileName, GroupName, LimitId, TokenId, UserId},
        suggest::nearest,
        usage::{Counter as TokenCounter, Counters},
        websocket,
    },
    language::{
        bind,
        compile::{
            CallFacts, Compiled, KeyOwner, LimitFile, LimitTest, Limits, Prices, Provider, http_method,
        },
        syntax::{self, ExpectLimits, KeyValue, TestCall, TokenKindValue},
    },
    request::{
        access_record::Usage,
        decide::{self, Begun, CallerFacts, Listener},
        limits::{
            admit::{Held, admit_call},
            call::{BodyFacts, CallOf, Selected},
            concurrent::Concurrent,
            counter::{Counter, Slot},
            refuse::exceeded,
            take::{Learned, Reckoning, Take, used},
        },
        table::{Hit, Table},
    },
};

/// The work of a call, and of each limit that counts it, in steps.
const CALL_STEPS: usize = 128;
/// The texts that vars without a value have in tests: what a base URL needs comes last.
const STAND_INS: [&str; 3] = ["test", "test.example", "https://test.example"];

/// The providers, prices and limits that tests of limits run against.
#[derive(Debug)]
pub struct LimitTests {
    table: Table,
    /// The providers that no stand-in fits.
    unbound: Vec<FileName>,
}

/// The result of the calls of a test.
#[derive(Debug)]
struct Observed {
    admitted: u32,
    /// The first refusal, with the number of its call.
    first: Option<(u32, Fault)>,
    /// The refusal of the last call.
    last: Option<Fault>,
    /// The limits for the calls.
    limits: Vec<LimitId>,
}

/// A call of a test, up to its admission.
struct Call<'t> {
    facts: CallFacts<'t>,
    selected: Selected,
    body: BodyFacts,
}

/// The counters of all limits, by id and key.
#[derive(Default)]
struct States(BTreeMap<(LimitId, Arc<str>), (Counter, Concurrent)>);

impl Outcome {
    /// Runs the tests of all limits files. The work is charged as it is done: of a file over its budget, nothing is reported.
    pub(super) fn run_limits(&mut self, compiled: &Compiled) {
        if compiled.limits.iter().all(|file| file.tests.is_empty()) {
            return;
        }
        let tests = LimitTests::of(compiled);
        for file in &compiled.limits {
            self.ran += file.tests.len();
            self.diagnostics.extend(tests.failing(file, &compiled.budgets.of(&file.file)));
        }
    }
}

impl LimitTests {
    /// Tests against compiled files. Their vars have the values of the first test of their provider that sets what it needs, else
    /// stand-ins.
    pub fn of(compiled: &Compiled) -> Self {
        let (mut providers, mut bound, mut unbound) = (Vec::new(), Vec::new(), Vec::new());
        for provider in &compiled.providers {
            match with_stand_ins(provider) {
                Some(one) => {
                    providers.push(&**provider);
                    bound.push(Arc::new(one));
                }
                None => unbound.push(provider.name.clone()),
            }
        }
        let table = Table::new(bound, compiled.rejected.clone(), &providers)
            .with_prices(Arc::new(Prices::new(compiled.prices.clone())))
            .with_limits(Arc::new(Limits::new(&compiled.limits)));
        Self { table, unbound }
    }

    /// Tests against the providers, prices and limits of a table.
    pub fn at(table: Table) -> Self {
        Self { table, unbound: Vec::new() }
    }

    /// The findings about the failing tests of a file.
    pub fn failing(&self, file: &LimitFile, budget: &Budget) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for test in &file.tests {
            let mismatches = self.run(test, budget);
            found.extend(diagnostic(&mismatches, &test.spec.name, &test.at));
        }
        found
    }

    /// Runs one test. It ends early, without a difference, once the budget is exceeded.
    pub fn run(&self, test: &LimitTest, budget: &Budget) -> Vec<Mismatch> {
        match self.observe(test, budget) {
            Ok(Some(observed)) => self.compare(&test.spec.expect, &observed),
            Ok(None) => Vec::new(),
            Err(sentence) => vec![Mismatch::Other(sentence)],
        }
    }

    /// None if the budget is exceeded. The error is a sentence.
    fn observe(&self, test: &LimitTest, budget: &Budget) -> Result<Option<Observed>, String> {
        let spec = &test.spec;
        let request = &spec.calls.request;
        let (head, body) = (head(request)?, body(request)?);
        let hit = self.find(&head)?;
        let caller = spec.r#as.clone().unwrap_or_default();
        let group = caller.group.as_deref().map(|group| {
            GroupName::new(group)
                .ok_or_else(|| format!("`{group}` is no name of a group: {}", GroupName::RULE))
        });
        let group = group.transpose()?;
        let [user, token] =
            [UserId::PREFIX, TokenId::PREFIX].map(|prefix| format!("{prefix}0000000000000001"));
        let (Some(user), Some(token)) = (UserId::new(&user), TokenId::new(&token)) else {
            return Err("its caller has no id".to_owned());
        };
        let call = CallOf {
            user: (&user, caller.user.as_deref().unwrap_or("test")),
            group: group.as_ref(),
            token: (&token, caller.token.unwrap_or(TokenKindValue::Proxy)),
            key: match caller.key {
                Some(KeyValue::Shared) => KeyOwner::Shared,
                None if hit.provider.auth.is_empty() => KeyOwner::Nobody,
                Some(KeyValue::Own) | None => KeyOwner::Own,
            },
        };
        let facts = call.to(&hit);
        if !budget.work(CALL_STEPS + body.len() + self.table.limits.all().len()) {
            return Ok(None);
        }
        let count = spec.calls.count.unwrap_or(1);
        Ok(match prepare(&self.table.limits, facts, &hit, &head, &body) {
            Ok(Some(call)) => self.admit_all(test, &call, count, budget),
            Ok(None) => Some(Observed { admitted: count, first: None, last: None, limits: Vec::new() }),
            Err(fault) => {
                let (first, last) = (Some((1, fault.clone())), Some(fault));
                Some(Observed { admitted: 0, first, last, limits: Vec::new() })
            }
        })
    }

    /// The endpoint of a test's request.
    fn find(&self, head: &Parts) -> Result<Hit, String> {
        let refused = |fault: Fault| {
            let prefix = |name: &&FileName| head.uri.path().contains(name.as_str());
            match self.unbound.iter().find(prefix) {
                Some(name) => {
                    format!("the vars of provider `{name}` have no values: give them in a test of its file")
                }
                None => format!("its request reaches no provider: {}", fault.message),
            }
        };
        match decide::begin(head, &self.table, Listener::ANY).map_err(refused)? {
            Begun::Provider(call) => {
                let routed = call.authenticated(CallerFacts::UNRESTRICTED).map_err(refused)?;
                Ok(routed.in_scope().map_err(refused)?.hit)
            }
            Begun::Own(_) | Begun::Page(_) | Begun::Metrics(_) | Begun::Admin(_) | Begun::SelfService(_) => {
                Err("its request is one that tollgate answers itself: no limit is for it".to_owned())
            }
        }
    }

    /// Admits the calls of a test one after another. None if the budget is exceeded.
    fn admit_all(&self, test: &LimitTest, call: &Call<'_>, count: u32, budget: &Budget) -> Option<Observed> {
        let limits = call.selected.for_body(&call.body).map(|one| one.id.clone()).collect();
        let mut observed = Observed { admitted: 0, first: None, last: None, limits };
        let (mut states, mut learned) = (States::default(), Learned::default());
        let calls = &test.spec.calls;
        for number in 0..count {
            if !budget.work(CALL_STEPS * (1 + observed.limits.len())) {
                return None;
            }
            let steps = u64::from(count.saturating_sub(1).max(1));
            let passed = u128::from(test.within_ms) * u128::from(number) / u128::from(steps);
            let now = test.from_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
            let day = Day::of_seconds(now / 1000);
            let reckoning = Reckoning { prices: &self.table.prices, day, learned: &learned };
            let takes = call.selected.takes(&call.facts, &call.body, reckoning, |_| 0);
            let admitted = takes.and_then(|takes| Ok((states.admit(&takes, now)?, takes)));
            observed.last = match admitted {
                Ok((slots, takes)) => {
                    observed.admitted += 1;
                    if calls.open != Some(true) {
                        let usage = calls.usage.as_ref().map(|usage| usage_of(usage, call));
                        let (provider, bytes) = (call.facts.provider.as_str(), call.body.bytes);
                        let prices = (&*self.table.prices, day);
                        let of =
                            |take: &Take| used(take.limit.measure, provider, usage.as_ref(), bytes, prices);
                        states.settle(&takes, slots, of);
                        if let Some(usage) = &usage {
                            learned.learn(provider, usage, bytes);
                        }
                    }
                    None
                }
                Err(fault) => {
                    observed.first.get_or_insert((number + 1, fault.clone()));
                    Some(fault)
                }
            };
        }
        Some(observed)
    }

    fn compare(&self, expect: &ExpectLimits, observed: &Observed) -> Vec<Mismatch> {
        let ExpectLimits { admitted, last } = expect;
        let mut mismatches = Vec::new();
        if let Some(admitted) = admitted.filter(|one| *one != observed.admitted) {
            let were = if observed.admitted == 1 { "was" } else { "were" };
            mismatches
                .push(Mismatch::Other(format!("expected {admitted} admitted, {} {were}", observed.admitted)));
            mismatches.push(Mismatch::Other(reason(admitted, observed)));
        }
        if let Some(last) = last {
            mismatches.extend(self.compare_last(last, observed.last.as_ref()));
        }
        if admitted.is_none() && last.is_none() {
            mismatches.push(Mismatch::Other("it expects nothing".to_owned()));
        }
        mismatches
    }

    fn compare_last(&self, expect: &syntax::ExpectRefusal, last: Option<&Fault>) -> Vec<Mismatch> {
        let syntax::ExpectRefusal { status, code, limit, retry_after } = expect;
        let mut mismatches = Vec::new();
        if let Some(id) = limit.as_deref().filter(|id| self.table.limits.get(id).is_none()) {
            let near = nearest(id, self.table.limits.all().iter().map(|one| one.id.as_str()));
            let near = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
            return vec![Mismatch::Other(format!("no limit has the id `{id}`{near}"))];
        }
        let Some(fault) = last else {
            return vec![Mismatch::Other("the last call is admitted, expected a refusal".to_owned())];
        };
        let mut same = |what: &str, expected: Option<String>, actual: Option<String>| {
            if let Some(expected) = expected.filter(|expected| actual.as_ref() != Some(expected)) {
                mismatches.push(Mismatch::Differs { what: what.to_owned(), expected, actual });
            }
        };
        let refusal = fault.limit.as_deref();
        let wait = refusal.and_then(|one| one.retry_after_s).unwrap_or_default();
        let found = fault.kind.status().as_u16();
        same("the status of the last call", status.map(|one| one.to_string()), Some(found.to_string()));
        same("the code of the last call", code.clone(), Some(fault.kind.code().to_owned()));
        same("the limit that refuses the last call", limit.clone(), refusal.map(|one| one.id.to_string()));
        same(
            "`Retry-After` of the last call",
            retry_after.map(|one| one.to_string()),
            Some(wait.to_string()),
        );
        mismatches
    }
}

/// The reason why another number of calls is admitted, as a sentence.
fn reason(expected: u32, observed: &Observed) -> String {
    match &observed.first {
        Some((number, fault)) if observed.admitted < expected => {
            format!("call {number} is refused: {}", fault.message)
        }
        _ if observed.limits.is_empty() => "no limit is for these calls".to_owned(),
        _ => {
            let ids: Vec<String> = observed.limits.iter().map(|id| format!("`{id}`")).collect();
            format!("the limits for these calls: {}", ids.join(", "))
        }
    }
}

/// What limits and rules need of a call. None if there are none for it.
fn prepare<'t>(
    limits: &Limits,
    facts: CallFacts<'t>,
    hit: &Hit,
    head: &Parts,
    body: &[u8],
) -> Result<Option<Call<'t>>, Fault> {
    let Some(selected) = Selected::of(limits, &facts)? else { return Ok(None) };
    let endpoint = hit.endpoint();
    let path_model = hit.captured_model(head.uri.path());
    let body = selected.body_facts(endpoint, path_model.as_deref(), (None, head.uri.query()), body)?;
    selected.check_models(&facts, endpoint, &body)?;
    Ok(Some(Call { facts, selected, body }))
}

impl States {
    /// Admits a call. The fault is that of the request.
    fn admit(&mut self, takes: &[Take], now_ms: u64) -> Result<Vec<Option<Slot>>, Fault> {
        let key = |take: &Take| (take.limit.id.clone(), take.key.clone());
        let mut states: Vec<_> =
            takes.iter().map(|take| self.0.remove(&key(take)).unwrap_or_default()).collect();
        let mut held: Vec<Held<'_>> =
            states.iter_mut().map(|(counter, running)| Held { counter, running }).collect();
        let result = admit_call(&mut held, takes, now_ms);
        self.0.extend(takes.iter().map(key).zip(states));
        result.map_err(|refusal| {
            let take = &takes[refusal.index];
            exceeded(&take.limit, &refusal.refused, take.asked, take.terms.amount)
        })
    }

    /// The end of a call.
    fn settle(&mut self, takes: &[Take], slots: Vec<Option<Slot>>, used: impl Fn(&Take) -> i128) {
        for (take, slot) in takes.iter().zip(slots) {
            let Some((counter, running)) = self.0.get_mut(&(take.limit.id.clone(), take.key.clone())) else {
                continue;
            };
            match slot {
                Some(slot) => counter.settle(slot, used(take)),
                None => running.give_back(),
            }
        }
    }
}

/// A provider with values for its vars. None if none fit.
fn with_stand_ins(provider: &Provider) -> Option<bind::Provider> {
    let of_tests = provider.tests.iter().map(|test| &test.spec);
    let mut last = None;
    for test in of_tests {
        if last.replace(&test.vars) == Some(&test.vars) {
            continue;
        }
        if let (Some(bound), _) = bind::bind(provider, |owner, name, _| var(test, owner, name)) {
            return Some(bound);
        }
    }
    STAND_INS.into_iter().find_map(|text| {
        let value = |owner: bind::VarOwner<'_>, _: &str, var: &crate::language::compile::Var| {
            let is_needed = owner.is_none() && !var.optional && var.default.is_none();
            is_needed.then(|| text.to_owned())
        };
        bind::bind(provider, value).0
    })
}

fn usage_of(usage: &syntax::TestUsage, call: &Call<'_>) -> Usage {
    let syntax::TestUsage { input, output } = usage;
    let mut counters = Counters::ZERO;
    counters.set(TokenCounter::Input, input.unwrap_or(0));
    counters.set(TokenCounter::Output, output.unwrap_or(0));
    let request_model = call.body.model.as_deref().map(Into::into);
    Usage { counters, request_model, ..Usage::default() }
}

fn head(request: &TestCall) -> Result<Parts, String> {
    let method = request.method.map_or(http::Method::GET, http_method);
    let made = Request::builder().method(method).uri(&request.path).version(Version::HTTP_10).body(());
    let mut head = made.map_err(|error| format!("its request cannot be sent: {error}"))?.into_parts().0;
    websocket::complete(&mut head);
    Ok(head)
}

fn body(request: &TestCall) -> Result<Vec<u8>, String> {
    match (&request.body, &request.text) {
        (Some(_), Some(_)) => Err("its request has a `body` and a `text`: remove one of them".to_owned()),
        (Some(body), None) => Ok(body.0.to_string().into_bytes()),
        (None, Some(text)) => Ok(text.clone().into_bytes()),
        (None, None) => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests;
