//! `Diagnostic`: what is said about a file to the person who wrote it. Where, what is wrong, and how to
//! mend it, under a stable code; and the one way of rendering it, which looks as rustc's does.
//!
//! Diagnostics are collected, never thrown: a step returns what it could make of a file together with
//! everything it found. This module reads no files: the text comes along in `Sources`.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A place in a file, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The file as it is shown: relative to where the user stands.
    pub file: Arc<str>,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl At {
    /// The bytes `span` of `file`.
    pub fn new(file: &Arc<str>, span: Range<usize>) -> Self {
        Self { file: file.clone(), start: span.start, end: span.end }
    }

    /// The beginning of `file`, for what is wrong with all of it.
    pub fn file(file: &Arc<str>) -> Self {
        Self::new(file, 0..0)
    }
}

/// One finding about a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The place to mend.
    pub at: At,
    /// What kind of finding.
    pub code: Code,
    /// One line: a lower-case fragment without a final full stop.
    pub message: String,
    /// Other places that belong to it, each with what it is.
    pub related: Vec<(At, String)>,
    /// How to mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding at a place.
    pub fn new(code: Code, at: At, message: impl Into<String>) -> Self {
        Self { at, code, message: message.into(), related: Vec::new(), help: None }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place that belongs to it.
    #[must_use]
    pub fn related(mut self, at: At, what: impl Into<String>) -> Self {
        self.related.push((at, what.into()));
        self
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $text:literal;)*) => {
        /// The kinds of findings. The text of each code is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The stable text, `TG` and three digits.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The file cannot be read: unreadable, too large, not UTF-8, not a regular file.
    File "TG001";
    /// The file's name cannot be a provider's name.
    FileName "TG002";
    /// Not TOML.
    Syntax "TG003";
    /// A key that the language does not know.
    UnknownKey "TG010";
    /// A value of the wrong type.
    WrongType "TG011";
    /// A key that has to be there.
    MissingKey "TG012";
    /// A value out of its range or form.
    BadValue "TG013";
    /// The file wants a newer language.
    Language "TG014";
    /// A template that cannot be read, or that uses a name which stands for nothing there.
    Template "TG020";
    /// A URL that cannot be an upstream's.
    Url "TG021";
    /// A header name or value that cannot be sent, or that the engine keeps to itself.
    Header "TG022";
    /// A client path that cannot be matched.
    Path "TG023";
    /// Two things of one name, or a reserved name.
    Name "TG024";
    /// A name that leads to nothing: a preset, gateway, api, field or endpoint that is not there.
    Reference "TG025";
    /// An optional var is used where it may be unset.
    OptionalVar "TG026";
    /// The gateway's `strip` does not fit an endpoint.
    Strip "TG027";
    /// A condition that can never hold, or a rule without effect.
    Condition "TG028";
    /// A var that is not set, or whose value cannot be used.
    Var "TG030";
    /// Several gateways are active and no order is given.
    GatewayOrder "TG031";
    /// Two endpoints can match the same request.
    Clash "TG040";
    /// Files that share a credentials section disagree.
    Section "TG041";
    /// One of the file's own tests fails.
    Test "TG050";
}

/// The texts that diagnostics point into, by file as shown.
#[derive(Debug, Clone, Default)]
pub struct Sources(BTreeMap<Arc<str>, Arc<str>>);

impl Sources {
    /// Remembers a file's text.
    pub fn insert(&mut self, file: Arc<str>, text: Arc<str>) {
        self.0.insert(file, text);
    }

    /// Whether the text of a file is known.
    pub fn has(&self, file: &str) -> bool {
        self.0.contains_key(file)
    }

    /// Line and column of a place, both from 1, the column in characters.
    pub fn line_column(&self, at: &At) -> (usize, usize) {
        let text = self.0.get(&at.file).map_or("", |text| &**text);
        let before = &text[..floor_boundary(text, at.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// Renders findings in their order, with the source lines they point at.
    pub fn render(&self, diagnostics: &[Diagnostic], color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for diagnostic in diagnostics {
            out.push_str(&self.render_one(&renderer, diagnostic));
            out.push_str("\n\n");
        }
        out
    }

    fn render_one(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let text = self.0.get(&diagnostic.at.file).map_or("", |text| &**text);
        let mut primary = snippet(text, &diagnostic.at, AnnotationKind::Primary, None);
        let mut others = Vec::new();
        for (at, what) in &diagnostic.related {
            if at.file == diagnostic.at.file {
                primary =
                    primary.annotation(AnnotationKind::Context.span(span(text, at)).label(what.as_str()));
            } else {
                let text = self.0.get(&at.file).map_or("", |text| &**text);
                others.push(snippet(text, at, AnnotationKind::Context, Some(what)));
            }
        }
        let title = Level::ERROR.primary_title(diagnostic.message.as_str()).id(diagnostic.code.as_str());
        let mut group = title.element(primary).elements(others);
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

fn snippet<'a>(
    text: &'a str,
    at: &'a At,
    kind: AnnotationKind,
    label: Option<&'a String>,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let annotation = kind.span(span(text, at)).label(label.map(String::as_str));
    Snippet::source(text).path(&*at.file).annotation(annotation)
}

/// The span within the text, on character boundaries, so that no renderer panics on it.
fn span(text: &str, at: &At) -> Range<usize> {
    let start = floor_boundary(text, at.start);
    start..floor_boundary(text, at.end).max(start)
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
    fn codes_are_unique() {
        let mut codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        codes.dedup();
        assert_eq!(codes.len(), Code::ALL.len());
        assert!(codes.is_sorted());
    }

    #[test]
    fn renders_place_source_line_and_help() {
        let (a, b): (Arc<str>, Arc<str>) = ("a.toml".into(), "b.toml".into());
        let mut sources = Sources::default();
        sources.insert(a.clone(), "title = \"ä\"\nbase = 1\n".into());
        sources.insert(b.clone(), "x = 1\n".into());
        let diagnostic = Diagnostic::new(Code::UnknownKey, At::new(&a, 13..17), "unknown key `base`")
            .related(At::new(&b, 0..1), "first here")
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
}
