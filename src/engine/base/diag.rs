//! Diagnostics: findings about files, for their authors. Each has a location, a stable code, a severity, a message and a
//! help. [`Sources`] renders them in the style of rustc.
//!
//! Diagnostics are collected: a step returns a value together with all findings, not the first error. Reads no files;
//! the texts come in `Sources`. Likely keys are masked in every message and source line ([`secret_scan`]), and hidden
//! characters are escaped ([`escape`]).
//! Read next: `codes`, the table of codes.

mod codes;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, LazyLock, OnceLock},
};

use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{
    escape::{self, Lines},
    secret_scan,
};

pub use codes::{Code, CodeInfo, EXAMPLE_BASE, document};

/// Two locations of one file that are at most this far apart are rendered in one snippet.
const NEAR_LINES: usize = 100;

/// The most findings that are shown of one file.
pub const MAX_FINDINGS: usize = 1000;

/// The most findings that one command shows.
pub const MAX_SHOWN_FINDINGS: usize = 5000;

/// A file and a range of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file's path as shown to the user.
    pub file: Arc<str>,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Location {
    /// The range `span` of `file`.
    pub fn new(file: &Arc<str>, span: Range<usize>) -> Self {
        Self { file: file.clone(), start: span.start, end: span.end }
    }

    /// The start of `file`, for findings about the whole file.
    pub fn file(file: &Arc<str>) -> Self {
        Self::new(file, 0..0)
    }
}

/// A range of the bytes of a file that its owner knows: smaller than a [`Location`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl From<&Location> for Span {
    fn from(at: &Location) -> Self {
        // Files are far smaller than 4 GiB.
        let bounded = |byte: usize| u32::try_from(byte).unwrap_or(u32::MAX);
        Self { start: bounded(at.start), end: bounded(at.end) }
    }
}

impl Span {
    /// The location of this range of `file`.
    pub fn of(self, file: &Arc<str>) -> Location {
        let byte = |byte: u32| usize::try_from(byte).unwrap_or(usize::MAX);
        Location::new(file, byte(self.start)..byte(self.end))
    }
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot serve as it is.
    Error,
    /// The file serves, but somebody should look at it.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A finding about a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The location to mend.
    pub at: Location,
    /// The kind of finding.
    pub code: Code,
    /// Its severity.
    pub severity: Severity,
    /// One line: a lower-case fragment without a final full stop.
    pub message: String,
    /// Related locations, each with a label.
    pub related: Vec<(Location, String)>,
    /// The way to mend it.
    pub help: Option<String>,
    /// True if it ends with the errors of another file, which are findings of their own.
    pub follows: bool,
}

impl Diagnostic {
    /// A finding with the default severity of its code.
    pub fn new(code: Code, at: Location, message: impl Into<String>) -> Self {
        let message = masked(message.into());
        Self { at, code, severity: code.severity(), message, related: Vec::new(), help: None, follows: false }
    }

    /// Marks it as one that ends with the errors of another file.
    #[must_use]
    pub fn following(self) -> Self {
        Self { follows: true, ..self }
    }

    /// Adds a help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(masked(help.into()));
        self
    }

    /// Adds a help of several lines.
    #[must_use]
    pub fn help_lines(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.help = Some(lines.into_iter().map(masked).collect::<Vec<_>>().join("\n"));
        self
    }

    /// Adds a help, if there is one.
    #[must_use]
    pub fn maybe_help(self, help: Option<String>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// Adds a related location with a label.
    #[must_use]
    pub fn related(mut self, at: Location, label: impl Into<String>) -> Self {
        self.related.push((at, masked(label.into())));
        self
    }

    /// The bytes that are kept of it.
    pub fn size(&self) -> usize {
        let texts = self.related.iter().map(|(_, label)| label).chain(&self.help).chain([&self.message]);
        texts.map(|text| text.len() + 48).sum()
    }

    /// True if the file cannot serve.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The length of the longest message, help or label, in bytes.
const MAX_TEXT: usize = 4096;

/// The text on one line, with likely keys masked, and cut at a bound: a file may have long names.
fn masked(mut message: String) -> String {
    if message.len() > MAX_TEXT {
        let cut = &message[..floor_boundary(&message, MAX_TEXT)];
        // Without the last word: a part of a key would not be masked.
        message.truncate(cut.trim_end_matches(|c: char| !c.is_whitespace()).len());
        message.push_str("...");
    }
    let masked = match secret_scan::mask(&message) {
        Cow::Borrowed(_) => message,
        Cow::Owned(masked) => masked,
    };
    match escape::value(&masked) {
        Cow::Borrowed(_) => masked,
        Cow::Owned(escaped) => escaped,
    }
}

/// A position in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Point {
    /// In bytes, from 0.
    pub byte: usize,
    /// The line, from 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// The texts of files, for rendering diagnostics.
#[derive(Debug, Clone, Default)]
pub struct Sources(BTreeMap<Arc<str>, SourceText>);

#[derive(Debug, Clone)]
struct SourceText {
    raw: Arc<str>,
    /// The first byte of each line.
    lines: OnceLock<Vec<usize>>,
    /// The text with likely keys masked and no hidden characters. It has the same length, so that spans stay valid.
    masked: OnceLock<String>,
}

static EMPTY: LazyLock<SourceText> = LazyLock::new(|| SourceText::new("".into()));

impl SourceText {
    fn new(raw: Arc<str>) -> Self {
        Self { raw, lines: OnceLock::new(), masked: OnceLock::new() }
    }

    fn lines(&self) -> &[usize] {
        let starts =
            || std::iter::once(0).chain(self.raw.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.lines.get_or_init(starts)
    }

    fn masked(&self) -> &str {
        self.masked.get_or_init(|| escape::same_length(&secret_scan::mask(&self.raw)).into_owned())
    }

    /// The line of a byte, from 0.
    fn line(&self, byte: usize) -> usize {
        self.lines().partition_point(|start| *start <= byte).saturating_sub(1)
    }

    fn point(&self, byte: usize) -> Point {
        let byte = floor_boundary(&self.raw, byte);
        let line = self.line(byte);
        let start = self.lines().get(line).copied().unwrap_or_default();
        Point { byte, line: line + 1, column: self.raw[start..byte].chars().count() + 1 }
    }

    /// The span within the text, moved to character boundaries: a renderer would panic on others.
    fn span(&self, at: &Location) -> Range<usize> {
        let start = floor_boundary(&self.raw, at.start);
        start..floor_boundary(&self.raw, at.end).max(start)
    }

    /// The lines around some spans, and the number of the first line, from 1.
    fn window(&self, spans: &[Range<usize>]) -> (Range<usize>, usize) {
        let first = spans.iter().map(|span| span.start).min().unwrap_or_default();
        let last = spans.iter().map(|span| span.end).max().unwrap_or_default();
        let (first, last) = (self.line(first).saturating_sub(2), self.line(last) + 3);
        let start = self.lines().get(first).copied().unwrap_or_default();
        (start..self.lines().get(last).copied().unwrap_or(self.raw.len()), first + 1)
    }
}

impl Sources {
    /// Adds a file's text.
    pub fn insert(&mut self, file: Arc<str>, text: Arc<str>) {
        self.0.insert(file, SourceText::new(text));
    }

    /// True if the text of the file is known.
    pub fn has(&self, file: &str) -> bool {
        self.0.contains_key(file)
    }

    /// The files with a known text.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|file| &**file)
    }

    fn text(&self, file: &str) -> &SourceText {
        self.0.get(file).unwrap_or(&EMPTY)
    }

    /// Line and column of a location, both from 1, the column in characters.
    pub fn line_column(&self, at: &Location) -> (usize, usize) {
        let (start, _) = self.points(at);
        (start.line, start.column)
    }

    /// The start of a location, and the point after its end.
    pub fn points(&self, at: &Location) -> (Point, Point) {
        let text = self.text(&at.file);
        let span = text.span(at);
        (text.point(span.start), text.point(span.end))
    }

    /// Renders findings in order, with their source lines.
    pub fn render(&self, diagnostics: &[Diagnostic], color: bool) -> Lines {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for diagnostic in diagnostics {
            out.push_str(&self.render_one(&renderer, diagnostic));
            out.push_str("\n\n");
        }
        Lines::rendered(&out)
    }

    fn render_one(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let file = &diagnostic.at.file;
        let text = self.text(file);
        let line = text.line(diagnostic.at.start);
        let near = |at: &Location| at.file == *file && text.line(at.start).abs_diff(line) <= NEAR_LINES;
        let (beside, apart): (Vec<_>, Vec<_>) = diagnostic.related.iter().partition(|(at, _)| near(at));
        let mut marks = vec![(AnnotationKind::Primary, &diagnostic.at, None)];
        marks.extend(beside.iter().map(|(at, what)| (AnnotationKind::Context, at, Some(what.as_str()))));
        let primary = snippet(text, &marks);
        let others = apart.iter().map(|(at, what)| {
            snippet(self.text(&at.file), &[(AnnotationKind::Context, at, Some(what.as_str()))])
        });
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.as_str());
        let mut group = title.element(primary).elements(others);
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        if let Some(lint) = diagnostic.code.entry().lint {
            group = group.element(Level::NOTE.message(format!("lint `{lint}`")));
        }
        renderer.render(&[group])
    }
}

type Mark<'a> = (AnnotationKind, &'a Location, Option<&'a str>);

/// The most bytes of lines that are rendered for one finding: a file may be one line.
const MAX_SHOWN: usize = 16 << 10;

/// Some locations of one file, with their lines. Of lines that are too long, the first location alone.
fn snippet<'a>(text: &'a SourceText, marks: &[Mark<'a>]) -> Element<'a> {
    let spans: Vec<_> = marks.iter().map(|(_, at, _)| text.span(at)).collect();
    let (window, first_line) = text.window(&spans);
    let start = window.start;
    if window.len() > MAX_SHOWN {
        let at = text.point(spans.first().map_or(0, |span| span.start));
        let file = marks.first().map_or("", |(_, at, _)| &*at.file);
        return Origin::path(escape::value(file)).line(at.line).char_column(at.column).into();
    }
    let annotations = marks
        .iter()
        .zip(spans)
        .map(|((kind, _, label), span)| kind.span(span.start - start..span.end - start).label(*label));
    let file = marks.first().map_or("", |(_, at, _)| &*at.file);
    Snippet::source(&text.masked()[window])
        .line_start(first_line)
        .path(escape::value(file))
        .annotations(annotations)
        .into()
}

fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendering_has_location_source_line_and_help() {
        let (a, b): (Arc<str>, Arc<str>) = ("a.toml".into(), "b.toml".into());
        let mut sources = Sources::default();
        sources.insert(a.clone(), "title = \"ä\"\nbase = 1\n".into());
        sources.insert(b.clone(), "x = 1\n".into());
        let diagnostic = Diagnostic::new(Code::UnknownKey, Location::new(&a, 13..17), "unknown key `base`")
            .related(Location::new(&b, 0..1), "first here")
            .help("did you mean `base_url`?");
        assert_eq!(sources.line_column(&diagnostic.at), (2, 1));
        let text = sources.render(&[diagnostic], false);
        for part in [
            "TG010",
            "unknown key `base`",
            "a.toml:2:1",
            "base = 1",
            "^^^^",
            "b.toml:1:1",
            "first here",
            "help: did",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn a_location_far_down_is_rendered_with_its_line_number() {
        let file: Arc<str> = "a.toml".into();
        let mut sources = Sources::default();
        let lines: Vec<_> = (1..=500).map(|line| format!("line{line}\n")).collect();
        let text = lines.concat();
        sources.insert(file.clone(), text.as_str().into());
        let place = |line: &str| {
            let start = text.find(line).unwrap();
            Location::new(&file, start..start + line.len())
        };
        let diagnostic =
            Diagnostic::new(Code::Name, place("line444"), "twice").related(place("line3"), "first");
        let shown = sources.render(&[diagnostic], false);
        for part in ["a.toml:444:1", "\n444 | line444\n", "a.toml:3:1", "first"] {
            assert!(shown.contains(part), "{part} is missing in\n{shown}");
        }
        assert!(!shown.contains("line200"), "{shown}");
        let end = Location::new(&file, text.len()..text.len() + 9);
        assert_eq!(sources.points(&end).0, Point { byte: text.len(), line: 501, column: 1 });
    }

    #[test]
    fn a_line_that_is_too_long_is_not_rendered() {
        let file: Arc<str> = "a.toml".into();
        let mut sources = Sources::default();
        sources.insert(file.clone(), format!("\nx = [{}]\n", "1, ".repeat(100_000)).into());
        let found = Diagnostic::new(Code::WrongType, Location::new(&file, 9..10), "wrong").help("drop it");
        let shown = sources.render(&[found], false);
        for part in ["error[TG011]: wrong", "a.toml:2:9", "help: drop it"] {
            assert!(shown.contains(part), "{part} is missing in\n{shown}");
        }
        assert!(shown.len() < 200, "{}", shown.len());
    }

    #[test]
    fn keys_are_masked_and_carets_stay_aligned() {
        let file: Arc<str> = "a.toml".into();
        let key = "sk-0123456789abcdef";
        let mut sources = Sources::default();
        sources.insert(file.clone(), format!("x = \"{key}\"; wrong").into());
        let found = Diagnostic::new(Code::Syntax, Location::new(&file, 27..32), format!("not `{key}`"))
            .help(format!("drop {key}"));
        let shown = sources.render(&[found], false);
        assert!(!shown.contains("0123") && shown.contains("x = \"*******************\"; wrong"), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let line = lines.iter().position(|line| line.contains("; wrong")).unwrap();
        assert_eq!(lines[line].find("wrong"), lines[line + 1].find("^^^^^"), "{shown}");
    }
}
