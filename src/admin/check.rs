//! The check of a text as that of a provider file: its findings, and what it would change. Nothing is written.
//!
//! The text may hold a key by mistake: it is never logged, and findings mask what looks like one.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Admin, ApiResult, Request, Response, body, json, pointer, tools};
use crate::{
    diag::{Code, Diagnostic, Location, Point, Severity, Sources},
    diff::{Diff, Verdict},
    fault::{Cause, Fault},
    files::{CheckedText, FilePlace},
};

/// The largest body: a text of 1 MiB, with an escape for each second byte or so.
pub const MAX_BODY: usize = 2 << 20;

/// A text to check.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckRequest {
    /// The file that it would be, by its path below the providers directory: a provider, or one in `presets`,
    /// `endpoints`, `gateways`, `apis`, `prices` or `clients`. Files of limits are in `limits.d`.
    #[schemars(length(min = 1, max = 200), example = &"acme.toml")]
    pub file: String,
    /// The text, at most 1 MiB.
    pub text: String,
}

/// Findings about a text, and what it would change.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// True if no finding is an error.
    pub ok: bool,
    /// The path of the file, as findings show it.
    pub file: String,
    /// Findings as `tollgate check` has them: those about the text first, then the errors that it would cause in files that
    /// serve. Errors come first.
    pub findings: Vec<CheckFinding>,
    /// By code of these findings: the meaning of the code, and the reason for the rule.
    pub codes: BTreeMap<String, String>,
    /// Number of findings beyond the limit of 1,000, which are left out.
    pub omitted: usize,
    /// The differences to the files that serve, as the document of `tollgate diff --format json`. Absent if there is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Diff>,
    /// True if it would widen exposure.
    pub widens: bool,
}

/// A finding.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckFinding {
    /// Stable code, such as `TG010`.
    pub code: String,
    /// Name of the lint. Absent for other findings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lint: Option<String>,
    /// `error` if the file could not serve.
    pub severity: Severity,
    /// The error or warning.
    pub message: String,
    /// Advice, in one or more lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Its place.
    pub span: CheckSpan,
    /// Other places that belong to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<CheckPlace>,
}

/// A place that belongs to a finding.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckPlace {
    /// The place.
    pub span: CheckSpan,
    /// A description.
    pub message: String,
}

/// A range of a file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckSpan {
    /// Path of the file.
    pub file: String,
    /// The first character.
    pub start: CheckPoint,
    /// The point after the last character.
    pub end: CheckPoint,
}

/// A position in a file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckPoint {
    /// In bytes, from 0.
    pub byte: usize,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Admin {
    /// Checks a text.
    pub(super) async fn check(&self, request: &Request) -> ApiResult {
        let serving = self.files.serving()?;
        let body = request.body.clone();
        tools::run(move || {
            let CheckRequest { file, text } = body::parse(json::parse(&body)?)?;
            let place = FilePlace::parse(&file).ok_or_else(wrong_place)?;
            Ok(Response::json(StatusCode::OK, &CheckResult::new(serving.check(&place, &text))))
        })
        .await?
    }
}

fn wrong_place() -> Fault {
    let rule = "it is a name such as `acme.toml`, or one in `presets`, `endpoints`, `gateways`, `apis`, `prices`, `clients` or `limits.d`, such as `apis/acme.toml`";
    pointer::fault("/file", Cause::InvalidValue, rule)
}

impl CheckResult {
    fn new(checked: CheckedText) -> Self {
        let CheckedText { file, sources, found, omitted, diff } = checked;
        Self {
            ok: diff.is_some(),
            file: file.to_string(),
            findings: found.iter().map(|one| CheckFinding::new(one, &sources)).collect(),
            codes: found.iter().map(|one| (one.code.as_str().to_owned(), about(one.code))).collect(),
            omitted,
            widens: diff.as_ref().is_some_and(|diff| diff.verdict == Verdict::Widened),
            diff,
        }
    }
}

fn about(code: Code) -> String {
    let entry = code.entry();
    format!("{} {}", entry.meaning, entry.why)
}

impl CheckFinding {
    fn new(one: &Diagnostic, sources: &Sources) -> Self {
        let entry = one.code.entry();
        let related = one
            .related
            .iter()
            .map(|(at, message)| CheckPlace { span: CheckSpan::new(at, sources), message: message.clone() });
        Self {
            code: one.code.as_str().to_owned(),
            lint: entry.lint.map(str::to_owned),
            severity: one.severity,
            message: one.message.clone(),
            help: one.help.clone(),
            span: CheckSpan::new(&one.at, sources),
            related: related.collect(),
        }
    }
}

impl CheckSpan {
    fn new(at: &Location, sources: &Sources) -> Self {
        let (start, end) = sources.points(at);
        Self { file: at.file.to_string(), start: start.into(), end: end.into() }
    }
}

impl From<Point> for CheckPoint {
    fn from(Point { byte, line, column }: Point) -> Self {
        Self { byte, line, column }
    }
}
