//! Every log line of this room.
//!
//! A line never holds the text of a file or the value of a var: either may be a secret. Read next: `reload`, which logs
//! each scan.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use super::{
    Finding, Status,
    scan::{Changes, ScanReport, Trigger},
};
use crate::{
    diag::{Code, Severity},
    name::FileName,
    numbers::millis,
};

/// The most files whose findings are logged for one scan.
const MAX_LOGGED: usize = 50;
/// The most providers that one field names.
const MAX_NAMES: usize = 20;

/// Logs one line for each file: its first error, or else its first warning. Files with errors come first. Lints about tests
/// are for `tollgate check` alone.
pub fn findings<'f>(all: impl IntoIterator<Item = &'f Finding>) {
    let (first, more_files) = first_of_each_file(all);
    for (one, more) in &first {
        finding(one, *more);
    }
    if more_files > 0 {
        tracing::warn!(more_files, "files with findings omitted: `tollgate check` shows them");
    }
}

/// The finding to log of each file and the number of its others, those of `MAX_LOGGED` files; and the number of further files.
fn first_of_each_file<'f>(all: impl IntoIterator<Item = &'f Finding>) -> (Vec<(&'f Finding, usize)>, usize) {
    let is_for_operators =
        |one: &&Finding| !Code::find(&one.code).is_some_and(|entry| entry.code.is_about_tests());
    let mut due: Vec<_> = all.into_iter().filter(is_for_operators).collect();
    due.sort_by_key(|one| one.severity != Severity::Error);
    let mut files: Vec<(&Finding, usize)> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for one in due {
        let next = files.len();
        match known.entry(one.file.as_str()) {
            Entry::Occupied(at) => files[*at.get()].1 += 1,
            Entry::Vacant(free) => {
                free.insert(next);
                files.push((one, 0));
            }
        }
    }
    let more_files = files.len().saturating_sub(MAX_LOGGED);
    files.truncate(MAX_LOGGED);
    (files, more_files)
}

/// Logs a finding at its own severity, and the number of further ones of its file.
fn finding(one: &Finding, more: usize) {
    let Finding { file, line, column, code, help, message, .. } = one;
    let (help, more) = (help.as_deref(), (more > 0).then_some(more));
    match one.severity {
        Severity::Error => tracing::error!(file, line, column, code, help, more, "{message}"),
        Severity::Warning => tracing::warn!(file, line, column, code, help, more, "{message}"),
    }
}

/// Logs one line about a scan, and one for each file with findings. A scan that changed nothing is logged only if it was
/// requested.
pub(super) fn scanned(scan: &ScanReport, trigger: Trigger) {
    if !scan.status_changed && trigger != Trigger::Request {
        return;
    }
    summary(scan, &scan.status);
    // An error is logged again at each scan that changes the status, a warning only once.
    let is_due = |one: &&Finding| one.severity == Severity::Error || scan.fresh_warnings.contains(one);
    findings(scan.findings.iter().filter(is_due));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_file_errors_first_and_no_lint_about_tests() {
        let one = |(file, severity, code): (&str, Severity, Code)| Finding {
            code: code.as_str().to_owned(),
            severity,
            file: file.to_owned(),
            line: 1,
            column: 1,
            message: String::new(),
            help: None,
            related: Vec::new(),
            follows: false,
        };
        let check = |given: &[(&str, Severity, Code)], expected: &[(&str, &str, usize)]| {
            let given: Vec<_> = given.iter().copied().map(one).collect();
            let (files, more) = first_of_each_file(&given);
            let files: Vec<_> =
                files.iter().map(|(one, more)| (one.file.as_str(), one.code.as_str(), *more)).collect();
            assert_eq!((files.as_slice(), more), (expected, 0));
        };
        let (error, warning) = (Severity::Error, Severity::Warning);
        let [lint, wrong] = ["TG065", "TG010"].map(|text| Code::find(text).unwrap().code);
        check(&[], &[]);
        check(&[("a", warning, Code::UntestedEndpoint), ("b", warning, Code::UntestedUsage)], &[]);
        check(
            &[
                ("a", warning, lint),
                ("b", warning, lint),
                ("b", error, wrong),
                ("a", warning, Code::UntestedEndpoint),
                ("b", error, wrong),
                ("c", error, wrong),
                ("a", warning, lint),
            ],
            &[("b", "TG010", 2), ("c", "TG010", 0), ("a", "TG065", 1)],
        );
        let many: Vec<_> = (0..60).map(|number| one((&number.to_string(), error, wrong))).collect();
        let (files, more) = first_of_each_file(&many);
        assert_eq!((files.len(), more), (50, 10));
    }
}
