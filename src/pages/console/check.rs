//! The check of a pasted file: its findings, the text with their places marked, and what it would change. Nothing is written.

use std::{borrow::Borrow, collections::BTreeMap};

use askama::Template;
use http::{Method, StatusCode};
use serde_json::json;

use super::{
    super::{
        client::{Api, Client},
        form::Form,
        frame::Frame,
        refused::form_status,
        response::PageResponse,
    },
    file_name, file_page,
    listing::{self, Mark, Row},
};
use crate::{
    admin::{CheckFinding, CheckResult, CheckSpan},
    diag::Severity,
    diff::{Change, ChangeKind, Diff, Subject, Verdict},
    fault::Fault,
    numbers::counted,
    rewrite::value_of,
};

/// The findings that are listed; all are counted.
const MAX_FINDINGS: usize = 200;
/// The longest text that the form holds again, in bytes: a page is small.
const MAX_AGAIN: usize = 128 << 10;
/// The changes that are listed.
const MAX_CHANGES: usize = 300;

#[derive(Template)]
#[template(path = "console/check.html")]
struct CheckPage<'p> {
    frame: &'p Frame,
    file: &'p str,
    text: &'p str,
    /// True if the text is too long to be shown again.
    is_long: bool,
    /// What is wrong with the call: of the field `file`, or of all of it.
    problem: Option<Problem>,
    checked: Option<Checked<'p>>,
}

#[derive(Debug)]
struct Problem {
    is_file: bool,
    message: String,
}

/// The result, as the page shows it.
struct Checked<'p> {
    result: &'p CheckResult,
    errors: usize,
    warnings: usize,
    /// The findings that are listed.
    findings: &'p [CheckFinding],
    rows: Vec<Row>,
    /// The changes that are left out.
    more_changes: usize,
    changes: Vec<Changes<'p>>,
}

/// The changes of some providers, of limits, of prices or of clients.
struct Changes<'p> {
    title: String,
    /// Those that widen exposure.
    wider: &'p [Change],
    others: &'p [Change],
}

/// The form.
pub(in super::super) fn show(frame: &Frame, query: Option<&str>) -> PageResponse {
    let file = value_of(query, "file").unwrap_or_default();
    let page = CheckPage { frame, file: &file, text: "", is_long: false, problem: None, checked: None };
    PageResponse::html(StatusCode::OK, &page)
}

/// Checks what was typed.
pub(in super::super) async fn check(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    // Browsers send the line ends of a text as CRLF, whatever they were.
    let text = form.exact("text").replace("\r\n", "\n");
    let file = form.text("file");
    let body = json!({ "file": file, "text": text });
    let is_long = text.len() > MAX_AGAIN;
    let again = if is_long { "" } else { &text };
    let page = CheckPage { frame, file, text: again, is_long, problem: None, checked: None };
    match client.send::<CheckResult>(Method::POST, "/admin/check", &body).await {
        Ok(result) => {
            let checked = Some(Checked::new(&result, &text));
            Ok(PageResponse::html(StatusCode::OK, &CheckPage { checked, ..page }))
        }
        Err(fault) => {
            let problem = Some(Problem::of(&fault));
            Ok(PageResponse::html(form_status(&fault), &CheckPage { problem, ..page }))
        }
    }
}

impl Problem {
    fn of(fault: &Fault) -> Self {
        let is_file = fault.at.as_deref() == Some("/file");
        let message = fault.message.strip_prefix("/file: ").unwrap_or(&fault.message).to_owned();
        Self { is_file, message }
    }
}

impl CheckPage<'_> {
    /// The problem of the field `file`.
    fn wrong_file(&self) -> Option<&Problem> {
        self.problem.as_ref().filter(|problem| problem.is_file)
    }
}

impl<'p> Checked<'p> {
    fn new(result: &'p CheckResult, text: &str) -> Self {
        let count = |severity| result.findings.iter().filter(|one| one.severity == severity).count();
        let findings = &result.findings[..result.findings.len().min(MAX_FINDINGS)];
        let own = findings.iter().enumerate().filter(|(_, one)| one.span.file == result.file);
        let marks: Vec<_> = own.map(|(finding, one)| mark(&one.span, finding)).collect();
        let all = result.diff.iter().flat_map(changes).collect();
        let (changes, more_changes) = cut(all);
        Self {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            rows: listing::rows(text, &marks),
            result,
            findings,
            more_changes,
            changes,
        }
    }

    /// True for a place in the text.
    fn is_own(&self, span: &CheckSpan) -> bool {
        span.file == self.result.file
    }

    /// The numbers of findings, in words.
    fn summary(&self) -> String {
        match (self.errors, self.warnings) {
            (0, 0) => "No findings".to_owned(),
            (errors, 0) => counted(errors, "error"),
            (0, warnings) => format!("No errors, {}", counted(warnings, "warning")),
            (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
        }
    }

    /// The number of findings that are not listed.
    fn more_findings(&self) -> usize {
        self.result.findings.len() - self.findings.len() + self.result.omitted
    }

    fn is_same(&self) -> bool {
        self.result.diff.as_ref().is_some_and(|diff| diff.verdict == Verdict::Same)
    }

    /// The codes of the findings, each with its explanation.
    fn codes(&self) -> &BTreeMap<String, String> {
        &self.result.codes
    }
}

fn mark(span: &CheckSpan, finding: usize) -> Mark {
    Mark { bytes: span.start.byte..span.end.byte, line: span.start.line, finding }
}

/// The changes, those that widen exposure first.
fn changes(diff: &Diff) -> Vec<Changes<'_>> {
    let groups = diff.groups.iter().map(|group| Changes {
        title: format!(
            "{} {}",
            names(&group.providers),
            match group.kind {
                ChangeKind::Added => "added",
                ChangeKind::Removed => "removed",
                ChangeKind::Changed => "changed",
            }
        ),
        // Those that widen exposure come first.
        wider: &group.changes[..wider(&group.changes)],
        others: &group.changes[wider(&group.changes)..],
    });
    let independent = [("Limits:", &diff.limits), ("Prices:", &diff.prices), ("Clients:", &diff.clients)];
    let independent = independent.into_iter().filter(|(_, changes)| !changes.is_empty());
    let independent = independent.map(|(title, changes)| {
        let (wider, others) = changes.split_at(wider(changes));
        Changes { title: title.to_owned(), wider, others }
    });
    groups.chain(independent).collect()
}

/// The number of changes that widen exposure.
fn wider(changes: &[Change]) -> usize {
    changes.partition_point(|one| one.widens.is_some())
}

/// Some names, and the number of the others.
fn names(all: &[String]) -> String {
    const SHOWN: usize = 5;
    match all.len() {
        0..=SHOWN => format!("{}:", all.join(", ")),
        more => format!("{} and {}:", all[..SHOWN].join(", "), counted(more - SHOWN, "more provider")),
    }
}

/// Truncates changes. Returns the number of those that are left out, too.
fn cut(all: Vec<Changes<'_>>) -> (Vec<Changes<'_>>, usize) {
    let (mut room, mut more) = (MAX_CHANGES, 0);
    let mut kept = Vec::new();
    for one in all {
        let wider = one.wider.len().min(room);
        let others = one.others.len().min(room - wider);
        room -= wider + others;
        more += one.wider.len() + one.others.len() - wider - others;
        if wider + others > 0 {
            kept.push(Changes { wider: &one.wider[..wider], others: &one.others[..others], ..one });
        }
    }
    (kept, more)
}

fn severity(severity: impl Borrow<Severity>) -> &'static str {
    severity.borrow().as_str()
}

fn class(severity: impl Borrow<Severity>) -> &'static str {
    match severity.borrow() {
        Severity::Error => "bad",
        Severity::Warning => "warn",
    }
}

/// The subject of a change, as `tollgate diff` has it.
fn subject(subject: impl Borrow<Subject>) -> String {
    let word = serde_json::to_value(subject.borrow()).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().replace('-', " ")
}
