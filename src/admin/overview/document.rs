//! The documents of the overview. Doc comments here are descriptions of the `OpenAPI` document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::usage::{UsageFigures, UsageReport, UsageRow};
use crate::{
    access_record::Outcome,
    admission::{Gauge, Load},
    clock::{from_utc, utc},
    files::{Status, StatusCounts, Watching},
    ledger::UsageBacklog,
    traffic::{Figures, Histogram, Window, is_error},
};

/// An hour, in milliseconds.
const HOUR_MS: usize = 3_600_000;
/// The hours that a day touches.
const MAX_HOURS: usize = 25;

/// The state of the gateway at a glance.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The time of this document, in UTC.
    pub at: String,
    /// The last minute, and what runs at this moment.
    pub now: OverviewNow,
    /// The last day, from the usage ledger. Absent while the store cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<OverviewDay>,
    /// Times to the first byte over the last day. They begin again with the process.
    pub first_byte: OverviewFirstByte,
    /// What needs attention, the worst first. At most 100 entries: of each kind, the last one may stand for those that are not listed.
    pub attention: Vec<Attention>,
    /// The steps to a first call. Absent while the store cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<OverviewSetup>,
}

/// Calls to providers that ended within the last minute, and what runs at this moment.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverviewNow {
    /// Begin of the last minute, or of the process, in UTC.
    pub since: String,
    /// Calls.
    pub requests: u64,
    /// Calls in a second.
    pub requests_per_second: f64,
    /// Calls that failed through no fault of the client: the gateway or the upstream failed, limited the call, or broke off.
    pub errors: u64,
    /// Calls that did not succeed.
    pub failed: u64,
    /// Those by outcome.
    pub failures: BTreeMap<String, u64>,
    /// Times to the first byte of an answer. Absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Percentiles>,
    /// Tokens, estimates included.
    pub tokens: u64,
    /// The part of them that is an estimate.
    pub estimated_tokens: u64,
    /// Cost as a decimal number, by currency, at the prices of the end of each call.
    pub cost: BTreeMap<String, String>,
    /// Tokens that have no price, and are in no cost.
    pub unpriced_tokens: u64,
    /// Requests to providers that run at this moment.
    pub in_flight: Gauge,
    /// Answers of upstreams that are being passed on.
    pub streams: usize,
    /// Open connections of clients.
    pub connections: Gauge,
}

/// Times that a part of the calls does not exceed, in milliseconds, to within a sixteenth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// Of half of the calls.
    pub p50_ms: u64,
    /// Of 95 %.
    pub p95_ms: u64,
    /// Of 99 %.
    pub p99_ms: u64,
}

/// Times to the first byte over a range.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverviewFirstByte {
    /// Begin of the range, in UTC: 24 hours ago, or the start of the process.
    pub since: String,
    /// The times. Absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Percentiles>,
}

/// The last day, by whole hours. It outlives a restart.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverviewDay {
    /// Begin of the range, in UTC.
    pub since: String,
    /// Exchanges that failed through no fault of the client.
    pub errors: u64,
    /// The sums.
    pub total: UsageFigures,
    /// Each hour, the earliest first.
    pub hours: Vec<OverviewHour>,
    /// Usage that waits in memory, because the store cannot be written: the sums lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<UsageBacklog>,
}

/// One hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OverviewHour {
    /// Its begin, in UTC.
    pub at: String,
    /// Exchanges.
    pub requests: u64,
    /// Exchanges that failed through no fault of the client.
    pub errors: u64,
    /// Exchanges that did not succeed.
    pub failed: u64,
    /// Tokens.
    pub tokens: u64,
}

/// What a new gateway has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OverviewSetup {
    /// True if there is a user.
    pub users: bool,
    /// True if a credential is stored.
    pub credentials: bool,
    /// True if the ledger has an exchange.
    pub exchanges: bool,
}

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attention {
    /// The kind.
    pub kind: AttentionKind,
    /// How bad it is.
    pub severity: AttentionSeverity,
    /// What is wrong, and where.
    pub message: String,
    /// What to do.
    pub action: String,
    /// The place where it is mended.
    pub target: AttentionTarget,
    /// The problems that the entry stands for: one, or those of its kind that are not listed.
    pub count: usize,
}

/// The kind of what needs attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKind {
    /// The store does not respond, or the last write failed: the disk is full, say.
    Store,
    /// Usage waits in memory, because the store cannot be written.
    UsagePending,
    /// The directory of provider files cannot be read, or a whole reload was refused.
    Directory,
    /// A file does not serve.
    FileRejected,
    /// The last good text of a file serves.
    FileStale,
    /// A consumer of finished exchanges panicked.
    Sink,
    /// An exporter fails.
    Exporter,
    /// Records or log lines were dropped within the last hour.
    Dropped,
    /// Credentials wait until somebody confirms the origins that the files name now.
    CredentialMoved,
    /// An upstream refuses a stored key: it answers 401 or 403.
    KeyRefused,
    /// The refresh of a login fails.
    RefreshFailed,
    /// A shared login expires, and cannot be refreshed.
    LoginExpires,
    /// A limit with one amount for everybody is nearly used up.
    LimitNearlyUsed,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttentionSeverity {
    /// Something does not work, or is lost.
    Error,
    /// Something will not work, or works with less than it should.
    Warning,
}

/// The place where something is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttentionTarget {
    /// The provider files.
    Providers,
    /// Credentials that are shared.
    Shared,
    /// Credentials of all owners that wait for a confirmation.
    Unconfirmed,
    /// Users and their credentials.
    Users,
    /// The usage.
    Usage,
    /// The machine: its disk, its network, tollgate's log and settings.
    Machine,
}

/// The state of the provider files, as the event `status` of `GET /admin/events` has it. `GET /admin/providers` has the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusEvent {
    /// True if every file is live and the directory can be read.
    pub ok: bool,
    /// Number of route tables that have served since the process started, from 1.
    pub generation: u64,
    /// SHA-256, in hex, over the files that serve.
    pub hash: String,
    /// Time of the last scan, in UTC.
    pub checked: String,
    /// Detection of file changes.
    pub watching: Watching,
    /// Number of files in each state.
    pub counts: StatusCounts,
}

impl StatusEvent {
    /// That of a status document.
    pub fn new(status: &Status) -> Self {
        let Status { ok, generation, hash, checked, watching, counts, .. } = status;
        let (hash, checked) = (hash.clone(), checked.clone());
        Self { ok: *ok, generation: *generation, hash, checked, watching: *watching, counts: *counts }
    }
}

impl OverviewNow {
    pub(super) fn new(minute: &Window, now_ms: u64, load: &Load, streams: usize) -> Self {
        let Window { since_ms, figures } = minute;
        let Figures { requests, first_byte, tokens, estimated_tokens, cost, unpriced_tokens, .. } = figures;
        let cost = cost.iter().map(|money| (money.currency.to_string(), money.exact())).collect();
        Self {
            since: utc(*since_ms),
            requests: *requests,
            requests_per_second: per_second(*requests, now_ms.saturating_sub(*since_ms)),
            errors: figures.errors(),
            failed: figures.failed(),
            failures: figures
                .failures()
                .map(|(outcome, number)| (outcome.as_str().to_owned(), number))
                .collect(),
            first_byte: Percentiles::of(first_byte),
            tokens: *tokens,
            estimated_tokens: *estimated_tokens,
            cost,
            unpriced_tokens: *unpriced_tokens,
            in_flight: load.requests,
            streams,
            connections: load.connections,
        }
    }
}

/// A rate with two digits after the point. Within the first second of the process, it is the number.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(number: u64, ms: u64) -> f64 {
    ((number as f64) * 100_000.0 / (ms.max(1000) as f64)).round() / 100.0
}

impl Percentiles {
    fn of(times: &Histogram) -> Option<Self> {
        let at = |percent| times.percentile(percent);
        Some(Self { p50_ms: at(50)?, p95_ms: at(95)?, p99_ms: at(99)? })
    }
}

impl OverviewFirstByte {
    pub(super) fn new(day: &Window) -> Self {
        Self { since: utc(day.since_ms), times: Percentiles::of(&day.figures.first_byte) }
    }
}

impl OverviewDay {
    /// That of a report by hours, which leaves out those without usage.
    pub(super) fn new(report: UsageReport) -> Self {
        let UsageReport { since, until, rows, total, pending, .. } = report;
        let hours = hours(&since, &until, &rows);
        Self { since, errors: errors(&total), total, hours, pending }
    }
}

/// Each hour of a range, with the sums that it has.
fn hours(since: &str, until: &str, rows: &[UsageRow]) -> Vec<OverviewHour> {
    let at = |row: &UsageRow| row.time.as_deref().and_then(from_utc);
    let by_begin: BTreeMap<u64, &UsageFigures> =
        rows.iter().filter_map(|row| Some((at(row)?, &row.sums))).collect();
    let (from, to) = (from_utc(since).unwrap_or_default(), from_utc(until).unwrap_or_default());
    let begins = (from..to).step_by(HOUR_MS).take(MAX_HOURS);
    let hour = |begin| {
        let sums = by_begin.get(&begin);
        OverviewHour {
            at: utc(begin),
            requests: sums.map_or(0, |sums| sums.requests),
            errors: sums.map_or(0, |sums| errors(sums)),
            failed: sums.map_or(0, |sums| sums.failed),
            tokens: sums.map_or(0, |sums| sums.tokens),
        }
    };
    begins.map(hour).collect()
}

/// The exchanges that failed through no fault of the client.
fn errors(figures: &UsageFigures) -> u64 {
    let all = Outcome::ALL.into_iter().filter(|outcome| is_error(*outcome));
    all.filter_map(|outcome| figures.failures.get(outcome.as_str())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_two_digits() {
        for (number, ms, expected) in
            [(0, 0, 0.0), (3, 500, 3.0), (1, 60_000, 0.02), (10, 58_000, 0.17), (6000, 60_000, 100.0)]
        {
            assert!((per_second(number, ms) - expected).abs() < 1e-9, "{number} in {ms} ms");
        }
    }

    #[test]
    fn a_day_has_each_hour() {
        let row = |at: &str, requests| UsageRow {
            time: Some(at.to_owned()),
            sums: UsageFigures { requests, ..UsageFigures::default() },
            ..UsageRow::default()
        };
        let rows = [row("2026-11-28T23:00:00Z", 2), row("2026-11-29T01:00:00+00:00", 3)];
        let found = hours("2026-11-28T22:00:00Z", "2026-11-29T02:00:00Z", &rows);
        let found: Vec<_> = found.iter().map(|hour| (&hour.at[11..13], hour.requests)).collect();
        assert_eq!(found, [("22", 0), ("23", 2), ("00", 0), ("01", 3)]);
        assert_eq!(hours("2026-11-28T22:00:00Z", "2030-11-29T02:00:00Z", &[]).len(), MAX_HOURS);
    }

    #[test]
    fn errors_are_what_no_client_caused() {
        let failures = [("refused", 1), ("cut", 2), ("client_left", 4), ("upstream_error", 8)];
        let failures = failures.map(|(outcome, number)| (outcome.to_owned(), number)).into();
        assert_eq!(errors(&UsageFigures { failures, ..UsageFigures::default() }), 10);
    }
}
