//! Every log line of this room.
//!
//! A line never holds the text of a file or the value of a var: either may be a secret. Read next: `reload`, which logs
//! each scan.

use std::time::Duration;

use super::{
    Finding, Status,
    scan::{Changes, ScanReport, Trigger},
};
use crate::{diag::Severity, name::FileName, numbers::millis};

/// The most findings that are logged for one scan.
const MAX_LOGGED: usize = 50;
/// The most providers that one field names.
const MAX_NAMES: usize = 20;

/// Logs a finding at its own severity.
pub fn finding(one: &Finding) {
    let Finding { file, line, column, code, help, message, .. } = one;
    let help = help.as_deref();
    match one.severity {
        Severity::Error => tracing::error!(file, line, column, code, help, "{message}"),
        Severity::Warning => tracing::warn!(file, line, column, code, help, "{message}"),
    }
}

/// Logs one line about a scan, and one for each finding. A scan that changed nothing is logged only if it was
/// requested.
pub(super) fn scanned(scan: &ScanReport, trigger: Trigger) {
    if !scan.status_changed && trigger != Trigger::Request {
        return;
    }
    summary(scan, &scan.status);
    // An error is logged again at each scan that changes the status, a warning only once.
    let is_due = |one: &&Finding| one.severity == Severity::Error || scan.fresh_warnings.contains(one);
    let due: Vec<_> = scan.findings.iter().filter(is_due).collect();
    due.iter().take(MAX_LOGGED).for_each(|one| finding(one));
    if due.len() > MAX_LOGGED {
        tracing::warn!(
            more = due.len() - MAX_LOGGED,
            "further findings omitted: `tollgate status` lists them"
        );
    }
}

fn summary(scan: &ScanReport, status: &Status) {
    let Changes { added, removed, changed, stale, rejected } = &scan.changes;
    let (added, removed, changed) = (names(added), names(removed), names(changed));
    let (stale, rejected, problem) = (names(stale), names(rejected), status.problem.as_deref());
    let (generation, routes, ms) = (status.generation, status.counts.routes, millis(scan.duration));
    let steps = scan.steps;
    macro_rules! line {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                generation, added, removed, changed, stale, rejected, routes, ms, steps, problem, $message
            )
        };
    }
    match (status.ok, scan.status_changed) {
        (true, true) => line!(info, "provider files reloaded"),
        (true, false) => line!(info, "provider files reloaded: no change"),
        (false, _) => line!(warn, "provider files reloaded: some are not live"),
    }
}

/// Names for a field: of many only the first.
fn names(names: &[String]) -> Option<String> {
    let (first, more) = names.split_at(names.len().min(MAX_NAMES));
    let mut text = first.join(" ");
    if !more.is_empty() {
        text = format!("{text} and {} more", more.len());
    }
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn expired(provider: &FileName) {
    tracing::error!(%provider, "provider out of service: stale for longer than `max_stale`");
}

/// Warns about a variable that may have been set after the start: a running process does not see that.
pub(super) fn new_variable(variable: &str, set: bool) {
    tracing::warn!(
        variable,
        set,
        "a provider file named a new environment variable: its value is that at process start, and a change needs a restart"
    );
}

pub(super) fn missed(files: usize, missed: u64, sweep: Duration) {
    tracing::warn!(
        files,
        missed,
        sweep_ms = millis(sweep),
        "files changed without an event: a network or bind mount may not report changes, and only the sweep detects them"
    );
}

pub(super) fn polling(problem: &str, interval: Duration) {
    tracing::warn!(
        problem,
        every_ms = millis(interval),
        "change events are unavailable: files are polled instead"
    );
}

pub(super) fn events_again() {
    tracing::info!("change events are available again");
}

pub(super) fn last_good_unknown(problem: &str) {
    tracing::warn!(problem, "last good files were not loaded: a file that has errors now is out of service");
}

pub(super) fn save_failed(problem: &str) {
    tracing::error!(
        problem,
        "last good files were not stored: a file that has errors at the next start will be out of service; each scan tries again"
    );
}

pub(super) fn saved_again() {
    tracing::info!("last good files were stored again");
}

pub(super) fn reloader_failed(problem: &str) {
    tracing::error!("{problem}");
}
