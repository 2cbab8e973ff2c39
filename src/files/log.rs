//! Every log line of this room, so that its texts and fields stand in one place.
//!
//! A line never holds the text of a file or the value of a var: either may be a secret.

use std::time::Duration;

use super::{
    Finding, Status,
    scan::{Changes, ScanReport, Trigger},
};
use crate::{diag::Severity, name::FileName};

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
    // An error is repeated for as long as it is there, a warning is logged once.
    let is_due = |one: &&Finding| one.severity == Severity::Error || scan.fresh_warnings.contains(one);
    let due: Vec<_> = scan.findings.iter().filter(is_due).collect();
    due.iter().take(MAX_LOGGED).for_each(|one| finding(one));
    if due.len() > MAX_LOGGED {
        tracing::warn!(more = due.len() - MAX_LOGGED, "further findings: `tollgate status` shows them");
    }
}

fn summary(scan: &ScanReport, status: &Status) {
    let Changes { added, removed, changed, stale, rejected } = &scan.changes;
    let (added, removed, changed) = (names(added), names(removed), names(changed));
    let (stale, rejected, problem) = (names(stale), names(rejected), status.problem.as_deref());
    let (generation, routes, ms) = (status.generation, status.counts.routes, millis(scan.duration));
    macro_rules! line {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                generation, added, removed, changed, stale, rejected, routes, ms, problem, $message
            )
        };
    }
    match (status.ok, scan.status_changed) {
        (true, true) => line!(info, "reloaded"),
        (true, false) => line!(info, "reloaded: nothing to change"),
        (false, _) => line!(warn, "reloaded: not all is good"),
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
    tracing::error!(%provider, "stale for longer than `max_stale` allows: out of service until its files are good");
}

/// A variable that was set in a shell afterwards does not reach a running process.
pub(super) fn new_variable(variable: &str, set: bool) {
    tracing::warn!(
        variable,
        set,
        "a file names this environment variable anew: it counts as it was when this process started, and a change to it needs a restart"
    );
}

pub(super) fn missed(files: usize, missed: u64, sweep: Duration) {
    tracing::warn!(
        files,
        missed,
        sweep_ms = millis(sweep),
        "files changed and no event told of it: a network or bind mount may not pass them on; changes there are seen by the sweep alone"
    );
}

pub(super) fn polling(problem: &str, interval: Duration) {
    tracing::warn!(
        problem,
        every_ms = millis(interval),
        "the system cannot tell of changes to files: they are looked at again and again instead"
    );
}

pub(super) fn events_again() {
    tracing::info!("the system tells of changes to files again");
}

pub(super) fn last_good_unknown(problem: &str) {
    tracing::warn!(problem, "what was last good is not known: a file that is bad now is out of service");
}

pub(super) fn save_failed(problem: &str) {
    tracing::error!(
        problem,
        "what is good cannot be kept for a restart: a file that is bad then is out of service; tried again at every look"
    );
}

pub(super) fn saved_again() {
    tracing::info!("what is good is kept for a restart again");
}

pub(super) fn reloader_failed(problem: &str) {
    tracing::error!("{problem}");
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
