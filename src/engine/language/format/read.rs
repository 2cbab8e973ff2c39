//! Reads a valid TOML text into tables and items, in order and with their comments.
//!
//! A comment directly above an item or a header belongs to it. A comment directly below a table, with a blank line after
//! it, belongs to the table. A comment that a blank line separates from the first key belongs to the file.

use toml_parser::{
    Raw, Source,
    decoder::Encoding,
    parser::{Event, EventKind, parse_document},
};
use toml_writer::{ToTomlValue as _, TomlStringBuilder};

use super::{
    Block, File, Header, Item, Node,
    portable::{with_old_escapes, with_seconds},
};

/// The start of a comment that names the file's schema.
const SCHEMA: &str = "#:schema ";

/// The file, and the line that names its schema, if there is one.
pub(super) fn read(text: &str) -> (File, Option<String>) {
    let mut reader = Reader { text, events: events(text), next: 0 };
    let mut file = File::default();
    let mut above = Vec::new();
    while let Some(event) = reader.peek() {
        match event.kind() {
            EventKind::Newline => {
                reader.next += 1;
                above.push(String::new());
            }
            EventKind::Comment => {
                above.push(reader.comment());
                reader.line_end();
            }
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                let above = file.take_above(&mut above, true);
                let block = Block { above, header: Some(reader.header()), ..Block::default() };
                file.blocks.push(block);
            }
            EventKind::SimpleKey => {
                let above = file.take_above(&mut above, false);
                let mut entry = reader.entry(above);
                entry.beside = reader.line_end();
                if file.blocks.is_empty() {
                    file.blocks.push(Block::default());
                }
                file.blocks.last_mut().expect("one was put there").entries.push(entry);
            }
            _ => reader.next += 1,
        }
    }
    file.end(above);
    let named = file.take_schema();
    (file, named)
}

/// All comments of a text.
pub(super) fn comments(text: &str) -> Vec<String> {
    let events = events(text);
    let comments = events.iter().filter(|event| event.kind() == EventKind::Comment);
    comments.map(|event| part(text, event).trim_end().to_owned()).collect()
}

fn events(text: &str) -> Vec<Event> {
    let tokens = Source::new(text).lex().into_vec();
    let mut events: Vec<Event> = Vec::with_capacity(tokens.len());
    parse_document(&tokens, &mut events, &mut ());
    events.retain(|event| event.kind() != EventKind::Whitespace);
    events
}

fn part<'t>(text: &'t str, event: &Event) -> &'t str {
    &text[event.span().start()..event.span().end()]
}

impl File {
    /// The comments of the next header or key. Moves those of the preceding table or of the file there.
    fn take_above(&mut self, lines: &mut Vec<String>, header: bool) -> Vec<String> {
        let mut lines = std::mem::take(lines);
        match self.blocks.last_mut() {
            None => {
                let above = lines.split_off(after_last_blank(&lines));
                self.head = lines;
                above
            }
            Some(block) if header => {
                block.below = take_first_paragraph(&mut lines);
                lines
            }
            Some(_) => lines,
        }
    }

    fn end(&mut self, mut lines: Vec<String>) {
        match self.blocks.last_mut() {
            None => self.head = lines,
            Some(block) => {
                // A table at the end of the file needs no blank line.
                lines.push(String::new());
                block.below = take_first_paragraph(&mut lines);
                self.foot = lines;
            }
        }
    }

    /// Removes the line that names the schema from the lines at the start.
    pub(super) fn take_schema(&mut self) -> Option<String> {
        let own = self.head.iter().any(|line| line.starts_with(SCHEMA));
        let lines = if own { &mut self.head } else { self.blocks.first_mut()?.first_above() };
        let at = lines.iter().position(|line| line.starts_with(SCHEMA))?;
        Some(lines.remove(at))
    }
}

impl Block {
    /// The lines above its first item or header.
    pub(super) fn first_above(&mut self) -> &mut Vec<String> {
        match self.entries.first_mut() {
            Some(first) if self.header.is_none() => &mut first.above,
            Some(_) | None => &mut self.above,
        }
    }
}

/// The first line after the last blank one.
pub(super) fn after_last_blank(lines: &[String]) -> usize {
    lines.iter().rposition(String::is_empty).map_or(0, |blank| blank + 1)
}

/// The lines before the first blank one, if there is one.
fn take_first_paragraph(lines: &mut Vec<String>) -> Vec<String> {
    match lines.iter().position(String::is_empty) {
        Some(blank) => lines.drain(..blank).collect(),
        None => Vec::new(),
    }
}

struct Reader<'t> {
    text: &'t str,
    events: Vec<Event>,
    next: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<Event> {
        self.events.get(self.next).copied()
    }

    fn is(&self, kind: EventKind) -> bool {
        self.peek().is_some_and(|event| event.kind() == kind)
    }

    fn take(&mut self) -> Option<Event> {
        let event = self.peek();
        self.next += 1;
        event
    }

    fn comment(&mut self) -> String {
        let event = self.take().expect("the caller saw a comment");
        part(self.text, &event).trim_end().to_owned()
    }

    /// The comment after an item or a header, on the same line.
    fn line_end(&mut self) -> Option<String> {
        let beside = self.is(EventKind::Comment).then(|| self.comment());
        self.next += usize::from(self.is(EventKind::Newline));
        beside
    }

    fn header(&mut self) -> Header {
        let array = self.is(EventKind::ArrayTableOpen);
        self.next += 1;
        let path = self.path();
        self.next += 1;
        Header { path, array, beside: self.line_end() }
    }

    fn path(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(event) = self.peek() {
            match event.kind() {
                EventKind::SimpleKey => path.push(self.key(&event)),
                EventKind::KeySep => {}
                _ => break,
            }
            self.next += 1;
        }
        path
    }

    fn key(&self, event: &Event) -> String {
        let mut key = std::borrow::Cow::Borrowed("");
        Raw::new_unchecked(part(self.text, event), event.encoding(), event.span())
            .decode_key(&mut key, &mut ());
        key.into_owned()
    }

    fn entry(&mut self, mut above: Vec<String>) -> Item {
        let path = self.path();
        // In an inline table, line breaks and comments may occur on both sides of `=`.
        self.lines(&mut above);
        self.next += 1;
        self.lines(&mut above);
        Item { above, path, value: self.value(), beside: None }
    }

    fn lines(&mut self, comments: &mut Vec<String>) {
        while self.is(EventKind::Newline) || self.is(EventKind::Comment) {
            if self.is(EventKind::Comment) {
                comments.push(self.comment());
            } else {
                self.next += 1;
            }
        }
    }

    fn value(&mut self) -> Node {
        let event = self.take().expect("a value follows its key");
        match event.kind() {
            EventKind::ArrayOpen => {
                let (items, below) = self.items(EventKind::ArrayClose);
                Node::Array(items, below)
            }
            EventKind::InlineTableOpen => {
                let (items, below) = self.items(EventKind::InlineTableClose);
                Node::Table(items, below)
            }
            _ => Node::Scalar(scalar(part(self.text, &event), &event)),
        }
    }

    /// The items of an array or an inline table, and the comments after the last one.
    fn items(&mut self, close: EventKind) -> (Vec<Item>, Vec<String>) {
        let mut items: Vec<Item> = Vec::new();
        let mut above = Vec::new();
        let mut same_line = false;
        while let Some(event) = self.peek() {
            match event.kind() {
                kind if kind == close => {
                    self.next += 1;
                    break;
                }
                EventKind::Comment => {
                    let comment = self.comment();
                    match items.last_mut().filter(|last| same_line && last.beside.is_none()) {
                        Some(last) => last.beside = Some(comment),
                        None => above.push(comment),
                    }
                }
                EventKind::Newline => {
                    self.next += 1;
                    same_line = false;
                }
                EventKind::ValueSep => self.next += 1,
                EventKind::SimpleKey => {
                    let entry = self.entry(std::mem::take(&mut above));
                    items.push(entry);
                    same_line = true;
                }
                _ => {
                    let above = std::mem::take(&mut above);
                    items.push(Item { above, path: Vec::new(), value: self.value(), beside: None });
                    same_line = true;
                }
            }
        }
        (items, above)
    }
}

/// A scalar in its simplest form. A string with several lines stays unchanged, but for escapes that are new in TOML 1.1.
fn scalar(written: &str, event: &Event) -> String {
    match event.encoding() {
        None => return with_seconds(written),
        Some(Encoding::MlBasicString) if written.contains('\n') => return with_old_escapes(written),
        Some(Encoding::MlLiteralString) if written.contains('\n') => return written.to_owned(),
        Some(_) => {}
    }
    let mut text = std::borrow::Cow::Borrowed("");
    let _ = Raw::new_unchecked(written, event.encoding(), event.span()).decode_scalar(&mut text, &mut ());
    quoted(&text)
}

/// A text in quotes: plain ones if nothing must be escaped, otherwise literal ones if possible.
pub fn quoted(text: &str) -> String {
    let builder = TomlStringBuilder::new(text);
    let simplest = builder.as_basic_pretty().or_else(|| builder.as_literal());
    simplest.unwrap_or_else(|| builder.as_basic()).to_toml_value()
}
