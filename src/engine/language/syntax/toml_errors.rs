//! What is said of a text that is no TOML. The parser tells what it expected next; an author wants to know what is
//! wrong, and how to mend it. Never reads on where the parser lost its way: of each line the first error is told, and
//! of what is never closed only where the way was lost.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use toml::de::Error;

use super::spans::Spans;
use crate::base::diag::{At, Code, Diagnostic, MAX_FINDINGS};

const LOST: &str = "something above is never closed";
const JSON: &str = "this is JSON";

/// A syntax error as a person reads it.
struct Said {
    message: String,
    help: Option<&'static str>,
    related: Option<(Range<usize>, &'static str)>,
}

/// The syntax errors of a text; `spans` are of what could be read of it.
pub(super) fn tell(file: &Arc<str>, text: &str, errors: &[Error], spans: &Spans) -> Vec<Diagnostic> {
    let conflicts = conflicts(text);
    let mut found: Vec<_> = conflicts.iter().map(|(all, end)| conflict(file, text, all, end)).collect();
    let unclosed = errors.iter().any(|error| is_unclosed(error.message()));
    let mut errors: Vec<_> =
        errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    errors.truncate(MAX_FINDINGS + 1);
    let (mut lines, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for (span, message) in errors {
        let before = text.get(..span.start).unwrap_or_default();
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        let in_conflict = conflicts.iter().any(|(all, _)| all.contains(&span.start));
        if in_conflict || !lines.insert(line) {
            continue;
        }
        if message.starts_with("duplicate key") {
            let header = header_above(text, line);
            // What stands in a table that is there twice is there twice with it.
            if header != line && twice.contains(&header) {
                continue;
            }
            twice.insert(line);
        }
        let Said { message: words, help, related } = said(message, text, &span, spans);
        let end_here =
            words == JSON || message.starts_with("carriage return") || unclosed && is_lost(message);
        let one = Diagnostic::new(Code::Syntax, At::new(file, span), words);
        let one = one.maybe_help(help.map(str::to_owned));
        found.push(match related {
            Some((span, what)) => one.related(At::new(file, span), what),
            None => one,
        });
        if end_here {
            break;
        }
    }
    found
}

/// Where the line starts that is the header of the table in which the line at `line` stands.
fn header_above(text: &str, line: usize) -> usize {
    let mut at = 0;
    let mut header = 0;
    for one in text.split_inclusive('\n') {
        if at > line {
            break;
        }
        if one.starts_with('[') {
            header = at;
        }
        at += one.len();
    }
    header
}

fn is_unclosed(message: &str) -> bool {
    message.starts_with("unclosed array") || message.starts_with("unclosed inline")
}

/// Whether this is what the parser says of the first line after something that is never closed.
fn is_lost(message: &str) -> bool {
    message.starts_with("missing comma") || message.starts_with("missing key for inline")
}

/// Merge conflicts: each from its first marker to the end of its last one, and that last one.
fn conflicts(text: &str) -> Vec<(Range<usize>, Range<usize>)> {
    let mut found = Vec::new();
    let (mut at, mut start) = (0, None);
    for line in text.split_inclusive('\n') {
        let end = at + line.trim_end().len();
        if line.starts_with("<<<<<<<") {
            start.get_or_insert(at);
        } else if line.starts_with(">>>>>>>")
            && let Some(start) = start.take()
        {
            found.push((start..end, at..end));
        }
        at += line.len();
    }
    found
}

fn conflict(file: &Arc<str>, text: &str, all: &Range<usize>, end: &Range<usize>) -> Diagnostic {
    let first_line = text[all.clone()].lines().next().unwrap_or_default().len();
    Diagnostic::new(Code::Syntax, At::new(file, all.start..all.start + first_line), "a merge conflict")
        .related(At::new(file, end.clone()), "it ends here")
        .help("keep one of the two sides, and delete the three marker lines")
}

fn said(message: &str, text: &str, span: &Range<usize>, spans: &Spans) -> Said {
    let line = message.lines().next().unwrap_or("not TOML");
    let here = text.get(span.clone()).unwrap_or_default();
    let say = |message: String, help| Said { message, help: Some(help), related: None };
    let before = text.get(..span.start).unwrap_or_default();
    let own_line = || before.rsplit('\n').next().unwrap_or_default();
    if line == "duplicate key" {
        let first = first_place(before, here, spans);
        let related = first.map(|span| (span, "first written here"));
        let help = Some("keep one of them, or join both");
        return Said { message: format!("`{here}` is written twice"), help, related };
    }
    if own_line().is_empty() && text[span.start..].starts_with('{') {
        return say(JSON.into(), "TOML has no outer braces, and `key = value` on each line");
    }
    if line.starts_with("carriage return") {
        return say("a line ends in CR alone".into(), "save the file with LF or CRLF line ends");
    }
    if let Some((_, expected)) = line.split_once("missing escaped value, expected ") {
        let help = r"a backslash itself is `\\`; or put the text in single quotes, which know no escapes";
        return say(format!("`\\` starts an escape, and needs one of {expected} after it"), help);
    }
    if line.starts_with("invalid basic string, expected non") {
        return say("a control character in a text".into(), r"drop it, or write it as an escape: `\u001b`");
    }
    if line.starts_with("invalid multi-line basic string, expected `\"`") {
        return say("a text of several lines is never closed".into(), r#"it ends in `"""`"#);
    }
    if line.starts_with("invalid basic string, expected `\"`") {
        return say("a text is not closed on its line".into(), r#"it ends in `"`"#);
    }
    let mut said = value(line, here)
        .or_else(|| key(line, here, own_line(), &text[span.start..]))
        .unwrap_or_else(|| Said { message: line.to_owned(), help: None, related: None });
    if is_lost(line) {
        said.related = open_above(before).map(|span| (span, "this is not closed on its line"));
    }
    said
}

/// The last line that opens more than it closes, without being a table's header.
fn open_above(before: &str) -> Option<Range<usize>> {
    let mut end = before.len();
    for line in before.split_inclusive('\n').rev() {
        let start = end - line.len();
        let count = |signs: [char; 2]| line.matches(signs).count();
        if !line.starts_with('[') && count(['[', '{']) > count([']', '}']) {
            return Some(start..start + line.trim_end().len());
        }
        end = start;
    }
    None
}

/// What is wrong with a value.
fn value(line: &str, here: &str) -> Option<Said> {
    let say = |message: String, help| Some(Said { message, help: Some(help), related: None });
    match here {
        _ if line.starts_with("invalid boolean") => say(
            format!("`{here}` is no value"),
            "it is `true` or `false`, in small letters, or a text in quotes",
        ),
        "null" | "nil" | "None" => say(format!("TOML has no `{here}`"), "leave the key out, or write `[]`"),
        _ if !line.starts_with("string values must be quoted") => None,
        "" => say("a value is missing".into(), r#"for example: "text", or `[]` for a list of nothing"#),
        _ if here.starts_with(['“', '”', '‘', '’']) => {
            say("these are quotes for prose".into(), r#"write straight ones: "text""#)
        }
        _ => say("a text has to be in quotes".into(), r#"for example: "text""#),
    }
}

/// What is wrong with a line that is to be `key = value`.
fn key(line: &str, here: &str, before: &str, after: &str) -> Option<Said> {
    let say = |message: &str, help| Some(Said { message: message.into(), help: Some(help), related: None });
    if before.is_empty() && here.starts_with("//") {
        return say("`//` starts no comment", "a comment starts with `#`");
    }
    if before.trim_end().ends_with(':') || here.starts_with(':') || after.starts_with(':') {
        return say("`:` between key and value", "TOML has `=` there: `key = value`");
    }
    if line.starts_with("key with no value") {
        return say("a key without `=` and a value", "for example: title = \"Example AI\"");
    }
    if line.starts_with("unexpected key or value") {
        return say("there is more on this line than one value", "one `key = value` stands on a line");
    }
    if line.starts_with("unclosed table") {
        return say(
            "the name of a table is not closed",
            "it ends in `]`, and its parts are joined by dots: `[endpoint.chat]`",
        );
    }
    if is_lost(line) {
        return say(LOST, "look for a `[` without `]`, or a `{` without `}`");
    }
    is_unclosed(line).then(|| Said {
        message: "a list or an inline table is never closed".into(),
        help: Some("look for a `[` without `]`, or a `{` without `}`"),
        related: None,
    })
}

/// Where a key that is written twice stands first, as far as the text before its second place tells.
fn first_place(before: &str, key: &str, spans: &Spans) -> Option<Range<usize>> {
    let line = before.rsplit('\n').next()?;
    let name = |line: &str| line.trim().trim_start_matches('[').trim_end_matches(']').trim().to_owned();
    let of_header = line.starts_with('[');
    let above = if of_header {
        name(line).trim_end_matches('.').to_owned()
    } else {
        before.lines().rev().find(|line| line.starts_with('[')).map(name).unwrap_or_default()
    };
    let whole = if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
    let mut at = 0;
    for one in before.split_inclusive('\n').filter(|_| of_header) {
        if one.starts_with('[') && name(one) == whole || one.starts_with(&format!("{whole}.")) {
            return Some(at..at + one.trim_end().len());
        }
        at += one.len();
    }
    spans.key_of(&format!("/{}", whole.replace('.', "/"))).filter(|span| span.start < before.len())
}
