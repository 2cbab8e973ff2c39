//! Writes all metrics: the counts of exchanges, and the numbers of the process at this moment.

use std::sync::Arc;

use super::{
    WorkerCounts,
    counts::{CLOSE_CODES, Counts, EndpointCounts, STATUS_CLASSES, TokenCounts},
    exposition::{Exposition, Format},
    sources::Sources,
    table::{self, Metric},
};
use crate::{
    access_record::Outcome,
    admission::Load,
    clock,
    compile::Limit,
    fault::{Blame, FaultKind},
    files::{Status, Watching},
    limits::{LimitStates, LimitSum, share},
    listener_tls::ListenerTls,
    name::UserId,
    syntax::Per,
    usage::{Counter, NotCounted},
};

/// The text of all metrics.
pub(super) fn text(counts: &Counts, workers: &[WorkerCounts], sources: &Sources, format: Format) -> String {
    let mut text = Exposition::new(format);
    requests(&mut text, counts);
    failures(&mut text, counts);
    times(&mut text, counts);
    usage(&mut text, counts);
    users(&mut text, counts);
    load(&mut text, &sources.admission.load(), workers);
    upstreams(&mut text, workers);
    config(&mut text, &sources.live.status());
    certificate(&mut text, sources.tls.as_ref());
    stored(&mut text, sources);
    limits(&mut text, sources);
    process(&mut text, sources);
    text.finish()
}

/// Each endpoint with its provider.
fn endpoints(counts: &Counts) -> impl Iterator<Item = (&str, &str, &EndpointCounts)> {
    counts.providers.iter().flat_map(|(provider, counts)| {
        counts.endpoints.iter().map(move |(endpoint, counts)| (&**provider, &**endpoint, counts))
    })
}

fn requests(text: &mut Exposition, counts: &Counts) {
    let mut family = text.family(&table::REQUESTS);
    for (provider, endpoint, counts) in endpoints(counts) {
        for (class, by_outcome) in STATUS_CLASSES.iter().zip(&counts.requests) {
            for (outcome, number) in Outcome::ALL.iter().zip(by_outcome).filter(|(_, number)| **number > 0) {
                family.sample(&[provider, endpoint, class, outcome.as_str()], number);
            }
        }
    }
}

fn failures(text: &mut Exposition, counts: &Counts) {
    let faults = |provider| {
        let numbers = FaultKind::ALL.iter().zip(provider);
        numbers.filter(|(_, number): &(&FaultKind, &u64)| **number > 0)
    };
    let mut family = text.family(&table::FAULTS);
    for (name, provider) in &counts.providers {
        for (kind, number) in faults(&provider.faults) {
            family.sample(&[name, kind.code(), blame(kind.blame())], number);
        }
    }
    let mut family = text.family(&table::UPSTREAM_FAILURES);
    for (name, provider) in &counts.providers {
        for (kind, number) in faults(&provider.faults).filter(|(kind, _)| kind.blame() == Blame::Upstream) {
            family.sample(&[name, kind.code()], number);
        }
        for outcome in [Outcome::UpstreamLimited, Outcome::UpstreamError, Outcome::Cut] {
            let number = provider.with_outcome(outcome);
            if number > 0 {
                family.sample(&[name, outcome.as_str()], number);
            }
        }
    }
}

const fn blame(blame: Blame) -> &'static str {
    match blame {
        Blame::Client => "client",
        Blame::Gateway => "gateway",
        Blame::Upstream => "upstream",
    }
}

fn times(text: &mut Exposition, counts: &Counts) {
    let mut family = text.family(&table::DURATION);
    for (provider, endpoint, counts) in endpoints(counts).filter(|(.., counts)| counts.duration.count() > 0) {
        family.histogram(&[provider, endpoint], &counts.duration);
    }
    let mut family = text.family(&table::FIRST_BYTE);
    for (provider, endpoint, counts) in endpoints(counts).filter(|(.., counts)| counts.first_byte.count() > 0)
    {
        family.histogram(&[provider, endpoint], &counts.first_byte);
    }
    let mut family = text.family(&table::REQUEST_BYTES);
    for (provider, endpoint, counts) in endpoints(counts) {
        family.sample(&[provider, endpoint], counts.bytes_in);
    }
    let mut family = text.family(&table::WEBSOCKETS);
    for (name, provider) in &counts.providers {
        for (code, number) in CLOSE_CODES.iter().zip(provider.websockets).filter(|one| one.1 > 0) {
            family.sample(&[name, code], number);
        }
    }
    let mut family = text.family(&table::RESPONSE_BYTES);
    for (provider, endpoint, counts) in endpoints(counts) {
        family.sample(&[provider, endpoint], counts.bytes_out);
    }
}

fn usage(text: &mut Exposition, counts: &Counts) {
    for (metric, is_tokens) in [(&table::TOKENS, true), (&table::UNITS, false)] {
        let mut family = text.family(metric);
        for (provider, model, counts) in counts.models() {
            for (counter, estimated, number) in numbers(&counts.usage) {
                if counter.is_tokens() == is_tokens {
                    family.sample(&[provider, model, counter.name(), estimated], number);
                }
            }
        }
    }
    let mut family = text.family(&table::COST);
    for (provider, model, counts) in counts.models() {
        for money in counts.cost.iter() {
            family.sample(&[provider, model, money.currency.code()], money.exact());
        }
    }
    let mut family = text.family(&table::UNPRICED);
    for (provider, model, counts) in counts.models().filter(|(.., counts)| counts.unpriced > 0) {
        family.sample(&[provider, model], counts.unpriced);
    }
    let mut family = text.family(&table::NOT_COUNTED);
    for (name, provider) in &counts.providers {
        for (reason, number) in NotCounted::ALL.iter().zip(provider.not_counted).filter(|one| one.1 > 0) {
            family.sample(&[name, reason.code()], number);
        }
    }
}

/// The counters that are not zero, with the value of the label `estimated`.
fn numbers(tokens: &TokenCounts) -> impl Iterator<Item = (Counter, &'static str, u64)> {
    let counted = tokens.counted.iter().map(|(counter, number)| (counter, "false", number));
    let estimated = tokens.estimated.iter().map(|(counter, number)| (counter, "true", number));
    counted.chain(estimated).filter(|(.., number)| *number > 0)
}

fn users(text: &mut Exposition, counts: &Counts) {
    let mut family = text.family(&table::USER_REQUESTS);
    for (user, counts) in counts.users() {
        for (outcome, number) in Outcome::ALL.iter().zip(counts.requests).filter(|one| one.1 > 0) {
            family.sample(&[user, outcome.as_str()], number);
        }
    }
    let mut family = text.family(&table::USER_TOKENS);
    for (user, counts) in counts.users() {
        for (counter, estimated, number) in numbers(&counts.tokens).filter(|(one, ..)| one.is_tokens()) {
            family.sample(&[user, counter.name(), estimated], number);
        }
    }
}

fn load(text: &mut Exposition, load: &Load, workers: &[WorkerCounts]) {
    text.family(&table::IN_FLIGHT).sample(&[], load.requests.now);
    text.family(&table::IN_FLIGHT_LIMIT).sample(&[], load.requests.max);
    let streams: usize = workers.iter().map(|worker| worker.upstream.streams()).sum();
    text.family(&table::STREAMS).sample(&[], streams);
    text.family(&table::CONNECTIONS).sample(&[], load.connections.now);
    text.family(&table::CONNECTIONS_LIMIT).sample(&[], load.connections.max);
    let mut family = text.family(&table::REFUSED);
    for (limit, number) in load.refused.all_by_setting() {
        family.sample(&[limit], number);
    }
    let mut family = text.family(&table::LOCAL_ERRORS);
    for (cause, number) in load.local_errors.all_by_cause() {
        family.sample(&[cause], number);
    }
}

fn certificate(text: &mut Exposition, tls: Option<&ListenerTls>) {
    let mut family = text.family(&table::CERTIFICATE_END);
    if let Some(tls) = tls {
        family.sample(&[], tls.expires_ms() / 1000);
    }
    let mut family = text.family(&table::CERTIFICATE_OK);
    if let Some(tls) = tls {
        family.sample(&[], u8::from(tls.is_current()));
    }
}

fn upstreams(text: &mut Exposition, workers: &[WorkerCounts]) {
    let mut family = text.family(&table::UPSTREAM_CONNECTIONS);
    family.sample(&["new"], workers.iter().map(|worker| worker.upstream.opened()).sum::<u64>());
    family.sample(&["reused"], workers.iter().map(|worker| worker.upstream.reused()).sum::<u64>());
    let idle: usize = workers.iter().map(|worker| worker.upstream.idle()).sum();
    text.family(&table::UPSTREAM_IDLE).sample(&[], idle);
    let mut family = text.family(&table::CACHE);
    let results = workers.iter().map(|worker| worker.callers.by_result());
    let sum = results.reduce(|mut sum, more| {
        sum.iter_mut().zip(more).for_each(|(sum, more)| sum.1 += more.1);
        sum
    });
    for (result, number) in sum.into_iter().flatten() {
        family.sample(&[result], number);
    }
}

fn config(text: &mut Exposition, status: &Status) {
    let seconds = |utc: &str| clock::from_utc(utc).unwrap_or_default() / 1000;
    let mut number = |metric: &'static Metric, number: u64| text.family(metric).sample(&[], number);
    number(&table::RELOAD_OK, status.ok.into());
    number(&table::RELOAD_TIME, seconds(&status.since));
    number(&table::SCAN_TIME, seconds(&status.checked));
    number(&table::GENERATION, status.generation);
    let counts = status.counts;
    let mut family = text.family(&table::FILES);
    for (state, number) in [("live", counts.live), ("stale", counts.stale), ("rejected", counts.rejected)] {
        family.sample(&[state], number);
    }
    text.family(&table::PROVIDERS).sample(&[], counts.providers);
    text.family(&table::ENDPOINTS).sample(&[], counts.routes);
    let mut family = text.family(&table::WATCHING);
    for (word, mode) in
        [("events", Watching::Events), ("polling", Watching::Polling), ("nothing", Watching::Nothing)]
    {
        family.sample(&[word], u8::from(status.watching == mode));
    }
    text.family(&table::MISSED).sample(&[], status.missed);
}

fn stored(text: &mut Exposition, sources: &Sources) {
    text.family(&table::STORE_UP).sample(&[], u8::from(sources.store.responds()));
    let succeeded_ms = u128::from(clock::now_ms()).saturating_sub(sources.store.silence().as_millis());
    text.family(&table::STORE_TIME).sample(&[], Seconds(succeeded_ms));
    let pending = sources.ledger.backlog().and_then(|backlog| backlog.requests);
    text.family(&table::USAGE_PENDING).sample(&[], pending.unwrap_or_default());
}

/// The limits that are shown at most.
const MAX_LIMITS: usize = 1000;
/// The share from which an amount is nearly used up.
const NEAR: f64 = 0.8;

fn limits(text: &mut Exposition, sources: &Sources) {
    let (states, table, now_ms) = (&sources.limits, sources.live.snapshot(), clock::now_ms());
    let mut family = text.family(&table::LIMIT_REQUESTS);
    for (limit, admitted, refused) in states.outcomes().into_iter().take(MAX_LIMITS) {
        family.sample(&[&limit, "admitted"], admitted);
        family.sample(&[&limit, "refused"], refused);
    }
    let all = || table.limits.all().iter().take(MAX_LIMITS);
    let mut family = text.family(&table::LIMIT_USED);
    for limit in all().filter(|limit| limit.per.is_empty()) {
        let report = states.report(limit, "", limit.amount, now_ms);
        family.sample(&[limit.id.as_str()], report.share(limit.amount));
    }
    let sums: Vec<_> = all().map(|limit| (limit, sum(states, limit, now_ms))).collect();
    let mut family = text.family(&table::LIMIT_KEYS_NEAR);
    for (limit, sum) in &sums {
        family.sample(&[limit.id.as_str()], sum.near);
    }
    let mut family = text.family(&table::LIMIT_RESERVED);
    for (limit, sum) in sums.iter().filter(|(limit, _)| limit.measure.is_settled()) {
        family.sample(&[limit.id.as_str()], limit.measure.exact(sum.reserved));
    }
}

/// What the amounts of a limit come to, with the grants of users.
fn sum(states: &LimitStates, limit: &Arc<Limit>, now_ms: u64) -> LimitSum {
    let amount = |parts: &[(Per, String)]| {
        let user = parts.iter().find(|(per, _)| *per == Per::User).and_then(|(_, id)| UserId::new(id));
        let extra = user.map_or(0, |user| states.grants().extra(&limit.id, &user, now_ms));
        limit.amount.saturating_add(extra)
    };
    states.sum(limit, now_ms, amount, |balance, amount| share(balance, amount) > NEAR)
}

fn process(text: &mut Exposition, sources: &Sources) {
    let mut family = text.family(&table::DROPPED);
    for (queue, number) in sources.drops.numbers() {
        family.sample(&[&queue], number);
    }
    let mut family = text.family(&table::EXPORTER_ENTRIES);
    for one in sources.exporters.status() {
        for (result, number) in [("sent", one.sent), ("dropped", one.dropped), ("given_up", one.failed)] {
            family.sample(&[&one.exporter, &one.signal, result], number);
        }
    }
    text.family(&table::BUILD).sample(&[env!("CARGO_PKG_VERSION")], 1);
    text.family(&table::START).sample(&[], Seconds(sources.started_at_ms.into()));
}

/// Milliseconds, written as seconds.
struct Seconds(u128);

impl std::fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
