//! Diagnostics for text that is not TOML. The parser reports the token that it expected next; an author needs the
//! problem and its fix. Only the first error of a line is shown. After something that is never closed, the parser's
//! further errors are noise: they are dropped.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use toml::de::Error;

use super::spans::Spans;
use crate::base::{
    budget::Budget,
    diag::{Code, Diagnostic, Location, MAX_FINDINGS},
};

/// A kind of error of the parser. The toml crate has none: its errors carry text only, which [`Flaw::of`] alone reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    DuplicateKey,
    CarriageReturn,
    Escape,
    ControlCharacter,
    UnclosedText,
    UnclosedLines,
    Boolean,
    Unquoted,
    KeyAlone,
    SecondValue,
    UnclosedHeader,
    UnclosedList,
    UnclosedInline,
    MissingComma,
    MissingInlineKey,
    Other,
}

/// The first words of the crate's messages. A test provokes each of them, so that an update of the crate that rewords
/// one does not pass.
const FIRST_WORDS: [(&str, Flaw); 15] = [
    ("duplicate key", Flaw::DuplicateKey),
    ("carriage return", Flaw::CarriageReturn),
    (ESCAPE, Flaw::Escape),
    ("invalid basic string, expected non", Flaw::ControlCharacter),
    ("invalid basic string, expected `\"`", Flaw::UnclosedText),
    ("invalid multi-line basic string, expected `\"`", Flaw::UnclosedLines),
    ("invalid boolean", Flaw::Boolean),
    ("string values must be quoted", Flaw::Unquoted),
    ("key with no value", Flaw::KeyAlone),
    ("unexpected key or value", Flaw::SecondValue),
    ("unclosed table", Flaw::UnclosedHeader),
    ("unclosed array", Flaw::UnclosedList),
    ("unclosed inline", Flaw::UnclosedInline),
    ("missing comma", Flaw::MissingComma),
    ("missing key for inline", Flaw::MissingInlineKey),
];

/// The escapes follow.
const ESCAPE: &str = "missing escaped value, expected ";

impl Flaw {
    fn of(message: &str) -> Self {
        let row = FIRST_WORDS.iter().find(|(words, _)| message.starts_with(words));
        row.map_or(Self::Other, |(_, flaw)| *flaw)
    }

    fn is_unclosed(self) -> bool {
        matches!(self, Self::UnclosedList | Self::UnclosedInline)
    }

    /// True if the parser reports this on the first line after an unclosed bracket.
    fn is_lost(self) -> bool {
        matches!(self, Self::MissingComma | Self::MissingInlineKey)
    }
}

/// A syntax error in words.
struct Explanation {
    message: String,
    help: Option<&'static str>,
    related: Option<(Range<usize>, &'static str)>,
}

/// The syntax errors of a text. `spans` are those of its readable part.
pub(super) fn diagnose(
    file: &Arc<str>,
    text: &str,
    errors: &[Error],
    spans: &Spans,
    budget: &Budget,
) -> Vec<Diagnostic> {
    let conflicts = conflicts(text);
    let mut found: Vec<_> = conflicts.iter().map(|(all, end)| conflict(file, text, all, end)).collect();
    let unclosed = errors.iter().any(|error| Flaw::of(error.message()).is_unclosed());
    let mut errors: Vec<_> =
        errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    errors.truncate(MAX_FINDINGS + 1);
    let (mut lines, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for (span, message) in errors {
        // Some errors are explained by all of the text before them.
        if !budget.work(text.len() / 64) {
            break;
        }
        let before = text.get(..span.start).unwrap_or_default();
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        let in_conflict = conflicts.iter().any(|(all, _)| all.contains(&span.start));
        if in_conflict || !lines.insert(line) {
            continue;
        }
        let flaw = Flaw::of(message);
        if flaw == Flaw::DuplicateKey {
            let header = header_above(text, line);
            // A table that is there twice has all its keys twice.
            if header != line && twice.contains(&header) {
                continue;
            }
            twice.insert(line);
        }
        let json = flaw != Flaw::DuplicateKey && is_json(text, span.start);
        let Explanation { message: words, help, related } =
            if json { json_document() } else { explain(flaw, message, text, &span, spans) };
        let last = json || flaw == Flaw::CarriageReturn || unclosed && flaw.is_lost();
        let one = Diagnostic::new(Code::Syntax, Location::new(file, span), words);
        let one = one.maybe_help(help.map(str::to_owned));
        found.push(match related {
            Some((span, what)) => one.related(Location::new(file, span), what),
            None => one,
        });
        if last {
            break;
        }
    }
    found
}

/// The start of the header line of the table that the line at `line` is in.
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

/// Merge conflicts: the range from the first marker to the end of the last one, and the range of the last one.
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
    Diagnostic::new(Code::Syntax, Location::new(file, all.start..all.start + first_line), "a merge conflict")
        .related(Location::new(file, end.clone()), "it ends here")
        .help("keep one of the two sides, and delete the three marker lines")
}

/// The part of the line before an offset.
fn line_before(text: &str, at: usize) -> &str {
    text.get(..at).and_then(|before| before.rsplit('\n').next()).unwrap_or_default()
}

fn is_json(text: &str, at: usize) -> bool {
    line_before(text, at).is_empty() && text[at..].starts_with('{')
}

fn json_document() -> Explanation {
    let help = Some("TOML has no outer braces, and `key = value` on each line");
    Explanation { message: "this is JSON".into(), help, related: None }
}

fn explain(flaw: Flaw, message: &str, text: &str, span: &Range<usize>, spans: &Spans) -> Explanation {
    let line = message.lines().next().unwrap_or("not TOML");
    let here = text.get(span.clone()).unwrap_or_default();
    let before = text.get(..span.start).unwrap_or_default();
    if flaw == Flaw::DuplicateKey {
        let first = first_place(before, here, spans);
        let related = first.map(|span| (span, "first written here"));
        let help = Some("keep one of them, or join both");
        return Explanation { message: format!("`{here}` is written twice"), help, related };
    }
    let own_line = line_before(text, span.start);
    let mut found = in_text(flaw, line)
        .or_else(|| in_value(flaw, here))
        .or_else(|| in_key(flaw, here, own_line, &text[span.start..]))
        .unwrap_or_else(|| Explanation { message: line.to_owned(), help: None, related: None });
    if flaw.is_lost() {
        found.related = open_above(before).map(|span| (span, "this is not closed on its line"));
    }
    found
}

/// Errors inside a quoted text, and of line ends.
fn in_text(flaw: Flaw, line: &str) -> Option<Explanation> {
    let say = |message: String, help| Some(Explanation { message, help: Some(help), related: None });
    match flaw {
        Flaw::CarriageReturn => {
            say("a line ends in CR alone".into(), "save the file with LF or CRLF line ends")
        }
        Flaw::Escape => {
            let expected = line.strip_prefix(ESCAPE).unwrap_or_default();
            let help = r"a backslash itself is `\\`; or put the text in single quotes, which know no escapes";
            say(format!("`\\` starts an escape, and needs one of {expected} after it"), help)
        }
        Flaw::ControlCharacter => {
            say("a control character in a text".into(), r"drop it, or write it as an escape: `\u001b`")
        }
        Flaw::UnclosedLines => say("a text of several lines is never closed".into(), r#"it ends in `"""`"#),
        Flaw::UnclosedText => say("a text is not closed on its line".into(), r#"it ends in `"`"#),
        _ => None,
    }
}

/// The last line, other than a table's header, that opens more brackets than it closes.
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

/// Errors of a value.
fn in_value(flaw: Flaw, here: &str) -> Option<Explanation> {
    let say = |message: String, help| Some(Explanation { message, help: Some(help), related: None });
    match here {
        _ if flaw == Flaw::Boolean => say(
            format!("`{here}` is no value"),
            "it is `true` or `false`, in small letters, or a text in quotes",
        ),
        "null" | "nil" | "None" => say(format!("TOML has no `{here}`"), "leave the key out, or write `[]`"),
        _ if flaw != Flaw::Unquoted => None,
        "" => say("a value is missing".into(), r#"for example: "text", or `[]` for a list of nothing"#),
        _ if here.starts_with(['“', '”', '‘', '’']) => {
            say("these are quotes for prose".into(), r#"write straight ones: "text""#)
        }
        _ => say("a text has to be in quotes".into(), r#"for example: "text""#),
    }
}

/// Errors of a line that has to be `key = value`, or a header.
fn in_key(flaw: Flaw, here: &str, before: &str, after: &str) -> Option<Explanation> {
    let say =
        |message: &str, help| Some(Explanation { message: message.into(), help: Some(help), related: None });
    if before.is_empty() && here.starts_with("//") {
        return say("`//` starts no comment", "a comment starts with `#`");
    }
    if before.trim_end().ends_with(':') || here.starts_with(':') || after.starts_with(':') {
        return say("`:` between key and value", "TOML has `=` there: `key = value`");
    }
    match flaw {
        Flaw::KeyAlone => say("a key without `=` and a value", "for example: title = \"Example AI\""),
        Flaw::SecondValue => {
            say("there is more on this line than one value", "one `key = value` stands on a line")
        }
        Flaw::UnclosedHeader => say(
            "the name of a table is not closed",
            "it ends in `]`, and its parts are joined by dots: `[endpoint.chat]`",
        ),
        Flaw::MissingComma | Flaw::MissingInlineKey => {
            say("something above is never closed", "look for a `[` without `]`, or a `{` without `}`")
        }
        Flaw::UnclosedList | Flaw::UnclosedInline => say(
            "a list or an inline table is never closed",
            "look for a `[` without `]`, or a `{` without `}`",
        ),
        _ => None,
    }
}

/// The first place of a key that is written twice, if the text before the second place shows it.
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

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    /// The wording of the toml crate is no promise of it.
    #[test]
    fn each_flaw_is_recognized_in_the_words_of_the_parser() {
        let check = |text: &str, expected: Flaw| {
            let (_, errors) = DeTable::parse_recoverable(text);
            let flaws: Vec<_> = errors.iter().map(|error| Flaw::of(error.message())).collect();
            let messages: Vec<_> = errors.iter().map(Error::message).collect();
            assert!(flaws.contains(&expected), "{text:?} is not {expected:?}: {messages:?}");
            expected
        };
        let seen = [
            check("a = 1\na = 2\n", Flaw::DuplicateKey),
            check("a = 1\rb = 2\n", Flaw::CarriageReturn),
            check("a = \"\\q\"\n", Flaw::Escape),
            check("a = \"\u{1b}\"\n", Flaw::ControlCharacter),
            check("a = \"x\n", Flaw::UnclosedText),
            check("a = \"\"\"x\n", Flaw::UnclosedLines),
            check("a = True\n", Flaw::Boolean),
            check("a = x\n", Flaw::Unquoted),
            check("a\n", Flaw::KeyAlone),
            check("a = \"x\" b\n", Flaw::SecondValue),
            check("[a\n", Flaw::UnclosedHeader),
            check("a = [1\n", Flaw::UnclosedList),
            check("a = { b = 1\n", Flaw::UnclosedInline),
            check("a = [1\nb = 2\n", Flaw::MissingComma),
            check("a = { b = 1,\n[c]\n", Flaw::MissingInlineKey),
        ];
        assert!(FIRST_WORDS.iter().all(|(_, flaw)| seen.contains(flaw)));
    }
}
