//! Findings for programs: one JSON document, GitHub's workflow commands, SARIF 2.1.0.
//!
//! Must not quote lines of a file: a file may contain a secret by mistake.

use std::{collections::BTreeSet, fmt::Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::relative;
use crate::{
    compile::percent_encode,
    diag::{Code, Diagnostic, Location, Point, Severity, Sources},
    output::{Document, WorkflowCommand},
};

/// The version of the JSON document. It changes if a key is removed or changes its meaning.
const VERSION: u32 = 1;

/// A diagnostic with its lines and columns.
#[derive(Serialize)]
pub(super) struct Finding<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lint: Option<&'static str>,
    severity: Severity,
    message: &'a str,
    span: Span<'a>,
    related: Vec<Related<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    #[serde(skip)]
    kind: Code,
}

#[derive(Serialize)]
struct Span<'a> {
    file: &'a str,
    start: Point,
    end: Point,
}

#[derive(Serialize)]
struct Related<'a> {
    span: Span<'a>,
    message: &'a str,
}

impl<'a> Finding<'a> {
    pub(super) fn of(one: &'a Diagnostic, sources: &Sources) -> Self {
        let span = |at: &'a Location| {
            let (start, end) = sources.points(at);
            Span { file: relative(&at.file), start, end }
        };
        let related = one.related.iter().map(|(at, message)| Related { span: span(at), message });
        Self {
            code: one.code.as_str(),
            lint: one.code.entry().lint,
            severity: one.severity,
            message: &one.message,
            span: span(&one.at),
            related: related.collect(),
            help: one.help.as_deref(),
            kind: one.code,
        }
    }

    /// The message with its help.
    fn text(&self) -> String {
        let mut text = self.message.to_owned();
        if let Some(help) = self.help {
            let _ = write!(text, "\nhelp: {help}");
        }
        text
    }
}

fn number(findings: &[Finding<'_>], severity: Severity) -> usize {
    findings.iter().filter(|one| one.severity == severity).count()
}

/// One document on all files. `cut` lists files with more findings than shown.
pub(super) fn json(files: &BTreeSet<&str>, findings: &[Finding<'_>], cut: &BTreeSet<&str>) -> Document {
    let (errors, warnings) = (number(findings, Severity::Error), number(findings, Severity::Warning));
    let shown =
        |files: &BTreeSet<&str>| files.iter().map(|file| relative(file).to_owned()).collect::<Vec<_>>();
    pretty(&json!({
        "version": VERSION,
        "ok": errors == 0,
        "errors": errors,
        "warnings": warnings,
        "files": shown(files),
        "cut": shown(cut),
        "findings": findings,
    }))
}

fn pretty(document: &Value) -> Document {
    Document::json(document).expect("JSON values have a text")
}

// === GitHub's workflow commands ===

/// One workflow command per finding. GitHub shows it beside the line of the file.
pub(super) fn github(findings: &[Finding<'_>]) -> Document {
    Document::workflow_commands(findings.iter().map(command))
}

fn command(one: &Finding<'_>) -> WorkflowCommand {
    let Span { file, start, end } = &one.span;
    let number = |number: usize| number.to_string();
    let mut properties =
        vec![("file", (*file).to_owned()), ("line", number(start.line)), ("col", number(start.column))];
    if end.line == start.line && end.column > start.column {
        properties.extend([("endLine", number(end.line)), ("endColumn", number(end.column - 1))]);
    }
    properties.push(("title", one.code.to_owned()));
    let mut lines: Vec<_> = one.text().lines().map(str::to_owned).collect();
    lines.extend(one.related.iter().map(|Related { span, message }| {
        format!("{}:{}:{}: {message}", span.file, span.start.line, span.start.column)
    }));
    WorkflowCommand::new(one.severity.as_str(), &properties, &lines)
}

// === SARIF ===

/// A log of one run, with a rule for each code.
pub(super) fn sarif(findings: &[Finding<'_>]) -> Document {
    let rules: Vec<_> = Code::all().iter().map(rule).collect();
    let results: Vec<_> = findings.iter().map(result).collect();
    pretty(&json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "tollgate",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
}

fn rule(entry: &crate::diag::CodeInfo) -> Value {
    json!({
        "id": entry.text,
        "name": entry.lint.unwrap_or(entry.text),
        "shortDescription": { "text": entry.meaning },
        "fullDescription": { "text": entry.why },
        "help": { "text": entry.why, "markdown": entry.explain() },
        "defaultConfiguration": { "level": entry.severity.as_str() },
    })
}

fn result(one: &Finding<'_>) -> Value {
    let mut result = json!({
        "ruleId": one.code,
        "ruleIndex": one.kind as usize,
        "level": one.severity.as_str(),
        "message": { "text": one.text() },
        "locations": [{ "physicalLocation": location(&one.span) }],
    });
    if !one.related.is_empty() {
        let related = one.related.iter().enumerate().map(|(id, Related { span, message })| {
            json!({ "id": id, "physicalLocation": location(span), "message": { "text": message } })
        });
        result["relatedLocations"] = related.collect();
    }
    result
}

fn location(span: &Span<'_>) -> Value {
    let Span { file, start, end } = span;
    json!({
        "artifactLocation": { "uri": uri(file) },
        "region": {
            "startLine": start.line,
            "startColumn": start.column,
            "endLine": end.line,
            "endColumn": end.column,
            "byteOffset": start.byte,
            "byteLength": end.byte - start.byte,
        },
    })
}

/// A path as a URI: relative to the working directory, or absolute.
fn uri(file: &str) -> String {
    let path = percent_encode(file, |b| b.is_ascii_alphanumeric() || b"-._~/".contains(&b));
    if file.starts_with('/') { format!("file://{path}") } else { path.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri() {
        assert_eq!(uri("providers.d/a b.toml"), "providers.d/a%20b.toml");
        assert_eq!(uri("/ä/x.toml"), "file:///%C3%A4/x.toml");
    }
}
