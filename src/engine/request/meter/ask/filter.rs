//! The filter that takes the event out of an answer of server-sent events that the upstream sends because it was asked.
//!
//! It guarantees: all other bytes of the answer pass unchanged and in order, also the lines of that event that are not its
//! data; at most the current event is held back, up to [`MAX_HELD`], and only while it may be the one to take out. In doubt,
//! an event passes.

use std::sync::Arc;

use memchr::memchr2;

use super::event;
use crate::{
    language::compile::metering::ExtraEvent,
    request::meter::reader::{NotJson, Reader},
};

/// The longest event that may be taken out, in bytes.
pub const MAX_HELD: usize = 64 * 1024;
/// The byte order mark that may stand at the start of the stream.
const MARK: &[u8] = &[0xEF, 0xBB, 0xBF];
/// The longest name of a field.
const LONGEST: usize = 5;

/// A line of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Its field's name goes on after the bytes.
    Begun,
    /// The end of the event.
    Blank,
    Data,
    /// The type of the event.
    Type,
    /// A comment, `id` or `retry`: it passes, whatever the event is.
    Kept,
    /// Such a line that passes at once, since nothing before it is held back.
    Direct,
    /// A field that no stream of events has.
    Unknown,
}

impl Line {
    /// The line that begins with such bytes.
    fn of(bytes: &[u8]) -> Self {
        let Some(end) = bytes.iter().position(|byte| matches!(byte, b':' | b'\n' | b'\r')) else {
            return if bytes.len() > LONGEST { Self::Unknown } else { Self::Begun };
        };
        match (&bytes[..end], bytes[end]) {
            (b"", b':') | (b"id" | b"retry", _) => Self::Kept,
            (b"", _) => Self::Blank,
            (b"data", _) => Self::Data,
            (b"event", _) => Self::Type,
            _ => Self::Unknown,
        }
    }
}

/// The way of the byte CR, which an LF after it shares.
#[derive(Debug, Clone, Copy)]
enum Way {
    Out,
    Held,
    Gone,
}

/// The filter of an answer.
#[derive(Debug)]
pub struct ExtraFilter {
    extra: Arc<ExtraEvent>,
    /// Finds values that the event to take out cannot have.
    reader: Reader,
    /// The bytes of the byte order mark so far; all of them if none can come any more.
    mark: usize,
    /// The lines of the current event that are held back.
    held: Vec<u8>,
    /// The start of the current line in `held`.
    start: usize,
    line: Line,
    /// The bytes of the current line so far.
    length: usize,
    /// The current event is not the one to take out.
    passes: bool,
    /// The byte before was CR.
    after_cr: Option<Way>,
}

impl ExtraFilter {
    /// The filter that takes out such events.
    pub fn new(extra: &Arc<ExtraEvent>) -> Self {
        Self {
            extra: Arc::clone(extra),
            reader: Reader::new(&extra.map, false),
            mark: 0,
            held: Vec::new(),
            start: 0,
            line: Line::Begun,
            length: 0,
            passes: false,
            after_cr: None,
        }
    }

    /// Reads on, and appends what is to be passed on.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut bytes = self.byte_order_mark(bytes, out);
        while !bytes.is_empty() {
            if let Some(way) = self.after_cr.take()
                && let Some(rest) = bytes.strip_prefix(b"\n")
            {
                match way {
                    Way::Out => out.push(b'\n'),
                    Way::Held => self.held.push(b'\n'),
                    Way::Gone => {}
                }
                bytes = rest;
                continue;
            }
            let end = memchr2(b'\n', b'\r', bytes);
            let (piece, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            self.piece(piece, out);
            if end.is_some() {
                self.line_ends(piece.ends_with(b"\r"), out);
            }
            bytes = rest;
        }
    }

    /// The end of the answer: appends what is held back. An event without a blank line at its end is one, too.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.event_ends(out);
    }

    /// Passes on the byte order mark.
    fn byte_order_mark<'b>(&mut self, mut bytes: &'b [u8], out: &mut Vec<u8>) -> &'b [u8] {
        while let (Some(next), [first, rest @ ..]) = (MARK.get(self.mark), bytes) {
            if first != next {
                // A part of a mark makes the first line one that no stream of events has.
                self.passes = self.mark > 0;
                self.mark = MARK.len();
                break;
            }
            out.push(*first);
            self.mark += 1;
            bytes = rest;
        }
        bytes
    }

    /// A piece of the current line, its end included.
    fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if self.length == 0 {
            (self.line, self.start) = (Line::Begun, self.held.len());
        }
        self.length += piece.len();
        if self.passes || self.line == Line::Direct {
            out.extend_from_slice(piece);
            return;
        }
        self.held.extend_from_slice(piece);
        match self.line {
            Line::Begun => self.name(),
            Line::Data => self.read(self.held.len() - piece.len()),
            Line::Blank | Line::Type | Line::Kept | Line::Direct | Line::Unknown => {}
        }
        self.passes |= self.held.len() > MAX_HELD;
        if self.passes || self.line == Line::Direct {
            out.append(&mut self.held);
        }
    }

    /// Classifies the current line by its name, once that is complete.
    fn name(&mut self) {
        self.line = Line::of(&self.held[self.start..]);
        match self.line {
            Line::Kept if self.start == 0 => self.line = Line::Direct,
            Line::Data => self.read((self.start + b"data:".len()).min(self.held.len())),
            Line::Unknown => self.passes = true,
            Line::Begun | Line::Blank | Line::Type | Line::Kept | Line::Direct => {}
        }
    }

    /// Reads the data that is held back from a place on.
    fn read(&mut self, from: usize) {
        self.reader.feed(&self.extra.map, &self.held[from..]);
        self.passes |= self.has(ExtraEvent::PASSES);
    }

    fn line_ends(&mut self, is_cr: bool, out: &mut Vec<u8>) {
        let is_blank = self.length == 1;
        if self.line == Line::Type && !self.passes && value(&self.held[self.start..]) != b"message" {
            self.passes = true;
            out.append(&mut self.held);
        }
        let way = if is_blank && self.event_ends(out) {
            Way::Gone
        } else if self.held.is_empty() {
            Way::Out
        } else {
            Way::Held
        };
        self.after_cr = is_cr.then_some(way);
        self.length = 0;
    }

    /// The end of an event. True if it is taken out: only its lines that are kept pass.
    fn event_ends(&mut self, out: &mut Vec<u8>) -> bool {
        let is_extra = !self.passes
            && self.has(ExtraEvent::VALUE)
            && self.has(ExtraEvent::ARRAY)
            && data(&self.held).is_some_and(|data| event::is_extra(&self.extra, &data));
        if is_extra {
            for line in lines(&self.held).filter(|line| Line::of(line) == Line::Kept) {
                out.extend_from_slice(line);
            }
            self.held.clear();
        } else {
            out.append(&mut self.held);
        }
        self.reader.end(&self.extra.map, NotJson::Ignored);
        self.reader.tally.marks = 0;
        self.passes = false;
        is_extra
    }

    fn has(&self, mark: u8) -> bool {
        self.reader.tally.marks >> mark & 1 == 1
    }
}

/// The data of an event. None if another line says that it is none to take out.
fn data(event: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    for line in lines(event) {
        match Line::of(line) {
            Line::Data => {
                data.extend_from_slice(value(line));
                data.push(b'\n');
            }
            Line::Type if value(line) == b"message" => {}
            Line::Kept | Line::Direct | Line::Blank => {}
            Line::Type | Line::Begun | Line::Unknown => return None,
        }
    }
    Some(data)
}

/// The value of a line's field.
fn value(line: &[u8]) -> &[u8] {
    let value = line.iter().position(|byte| *byte == b':').map_or(&[][..], |colon| &line[colon + 1..]);
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let end = value.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    &value[..end]
}

/// The lines of an event, with their ends.
fn lines(mut event: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let end = memchr2(b'\n', b'\r', event)
            .map_or(event.len(), |end| end + if event[end..].starts_with(b"\r\n") { 2 } else { 1 });
        let (line, rest) = event.split_at(end);
        event = rest;
        (!line.is_empty()).then_some(line)
    })
}
