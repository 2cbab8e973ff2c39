//! JSON scanner: walks a document piece by piece along the tree of a map, and hands the values that the map is about to a
//! [`Tally`].
//!
//! It guarantees: linear time; equal results for every way of cutting the bytes; fixed memory, except for captured values,
//! which are bounded. A place that no pointer is about is skipped: there, only quotes and brackets are looked at. It is
//! lenient where that is safe: strings may hold any byte. Of a repeated key, all values are matches; in a request, the last.

mod capture;
mod members;
mod repeats;
mod strings;
mod text;

use super::tally::Tally;
use crate::language::compile::metering::{MAX_STEP, MAX_STEPS, Map, Node, ROOT, reads};

use capture::Captures;
use repeats::Repeats;
use text::{Unescape, quote_or_escape};

pub(super) use capture::Captured;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the document.
    Start,
    /// Before a value.
    Value,
    /// After `[`.
    FirstElement,
    /// After `{`.
    FirstKey,
    /// After the comma of an object.
    Key,
    /// Within a key that was cut, or has escapes.
    KeyText,
    /// After a key.
    Colon,
    /// After a value within a container.
    After,
    /// Within a string that is read.
    Text,
    /// Within a string that is skipped.
    SkippedText,
    /// After the backslash of a string that is skipped.
    SkippedEscape,
    /// Within a number or literal that is read.
    Scalar,
    /// Within a number or literal that is skipped.
    SkippedScalar,
    /// Within a container that is skipped.
    Skipped,
    /// After the document.
    Done,
    /// After an error.
    Broken,
}

/// An open container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Frame {
    node: u16,
    is_array: bool,
    index: u32,
    /// In a request, the keys that it had so far, as bits.
    seen: u64,
}

/// The state of a walk.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    /// The node of the value that is read or comes next.
    node: u16,
    /// The uses of the string that is read.
    used: u8,
    /// The open containers that have a node below them.
    frames: [Frame; MAX_STEPS],
    depth: usize,
    /// The open containers within a skipped one, itself included.
    skipped: u64,
    /// A key, number or literal that was cut.
    buffer: [u8; MAX_STEP],
    /// Its length; more than the buffer has if it was too long.
    length: usize,
    unescape: Unescape,
    captures: Captures,
    /// A document has ended before this one.
    is_again: bool,
    repeats: Option<Box<Repeats>>,
    /// Of a repeated key, the last value counts.
    last_counts: bool,
}

/// The start of a number or literal.
const SCALAR: u8 = 0;
/// A further character of a number or literal.
const SCALAR_REST: u8 = 1;
const QUOTE: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const SPACE: u8 = 5;
const OTHER: u8 = 6;

/// The class of each byte outside strings.
const CLASS: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = match byte {
            b'0'..=b'9' | b'-' | b't' | b'f' | b'n' => SCALAR,
            b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'.' => SCALAR_REST,
            b'"' => QUOTE,
            b'{' | b'[' => OPEN,
            b'}' | b']' => CLOSE,
            b' ' | b'\t' | b'\r' | b'\n' => SPACE,
            _ => OTHER,
        };
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

#[inline]
fn class(byte: u8) -> u8 {
    CLASS[usize::from(byte)]
}

#[inline]
pub(super) fn is_space(byte: u8) -> bool {
    class(byte) == SPACE
}

/// True for a byte of a byte order mark, which may stand before a document.
#[inline]
pub(super) fn is_mark(byte: u8) -> bool {
    matches!(byte, 0xEF | 0xBB | 0xBF)
}

/// The place of the first byte from a place on that is no space.
#[inline]
fn space_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| is_space(*byte)) {
        at += 1;
    }
    at
}

/// The place after a number or literal from a place on.
#[inline]
fn scalar_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at)
        && class(*byte) <= SCALAR_REST
    {
        at += 1;
    }
    at
}

impl Scanner {
    /// A scanner before a document. Prompts are captured only with `content`.
    pub(super) fn new(content: bool) -> Self {
        Self {
            state: State::Start,
            node: ROOT,
            used: 0,
            frames: [Frame::default(); MAX_STEPS],
            depth: 0,
            skipped: 0,
            buffer: [0; MAX_STEP],
            length: 0,
            unescape: Unescape::default(),
            captures: Captures::new(content),
            is_again: false,
            repeats: None,
            last_counts: false,
        }
    }

    /// A scanner of which the last value of a repeated key counts, as for most parsers.
    pub(super) fn of_request(content: bool) -> Self {
        Self { last_counts: true, ..Self::new(content) }
    }

    /// Reads on. Returns the number of bytes up to the end of the document; all of them if it goes on or is broken.
    pub(super) fn feed(&mut self, map: &Map, bytes: &[u8], tally: &mut Tally) -> usize {
        let mut at = if self.state == State::Start { self.skip_head(bytes) } else { 0 };
        while at < bytes.len() {
            at = match self.state {
                State::Key | State::FirstKey => self.members(map, bytes, at, tally),
                State::After => match self.skip_tail(bytes, at) {
                    Some(end) => end,
                    None => self.after(map, bytes, at),
                },
                State::Start | State::Value | State::FirstElement => self.value(map, bytes, at, tally),
                State::Colon => self.colon(bytes, at),
                State::Text => self.text(map, bytes, at, tally),
                State::Skipped => self.skip(bytes, at),
                State::SkippedText => self.skip_text(bytes, at),
                State::SkippedEscape => {
                    self.state = State::SkippedText;
                    at + 1
                }
                State::KeyText => self.key_text(map, bytes, at, tally),
                State::Scalar | State::SkippedScalar => self.scalar(map, bytes, at, tally),
                State::Done => break,
                State::Broken => bytes.len(),
            };
        }
        self.captures.carry(bytes, at);
        self.remember(bytes, at);
        at
    }

    /// Ends the document. True if it was whole.
    pub(super) fn end(&mut self, map: &Map, tally: &mut Tally) -> bool {
        if self.depth == 0 && matches!(self.state, State::Scalar | State::SkippedScalar) {
            // The end of the bytes is the end of a number, too.
            self.scalar(map, b" ", 0, tally);
            self.captures.carry(&[], 0);
        }
        self.state == State::Done
    }

    /// Starts the next document.
    pub(super) fn reset(&mut self) {
        self.state = State::Start;
        self.node = ROOT;
        self.depth = 0;
        self.skipped = 0;
        self.unescape = Unescape::default();
        self.captures.abandon();
        self.is_again = true;
    }

    /// True before the first character of a document.
    pub(super) fn is_unstarted(&self) -> bool {
        self.state == State::Start
    }

    /// True after a whole document.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// True after an error.
    pub(super) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// Makes the document one with an error.
    pub(super) fn break_off(&mut self) {
        self.state = State::Broken;
    }

    /// Bytes of prompts that are captured.
    pub(super) fn prompt_bytes(&self) -> usize {
        self.captures.prompt_bytes()
    }

    /// Drops them, and captures no further ones.
    pub(super) fn drop_prompts(&mut self) {
        self.captures.drop_prompts();
    }

    /// The captured values.
    pub(super) fn into_captured(self) -> Vec<Captured> {
        self.captures.into_done()
    }

    fn broken(&mut self, bytes: &[u8]) -> usize {
        self.state = State::Broken;
        bytes.len()
    }

    fn frame(&self) -> Frame {
        // There is a frame in every state within a container that is not skipped.
        self.depth.checked_sub(1).map(|last| self.frames[last]).unwrap_or_default()
    }

    fn colon(&mut self, bytes: &[u8], at: usize) -> usize {
        match bytes[at] {
            b':' => self.state = State::Value,
            byte if is_space(byte) => {}
            _ => return self.broken(bytes),
        }
        at + 1
    }

    fn after(&mut self, map: &Map, bytes: &[u8], at: usize) -> usize {
        let frame = self.frame();
        match bytes[at] {
            b',' if frame.is_array => {
                let index = frame.index.saturating_add(1);
                self.frames[self.depth - 1].index = index;
                self.node = node(map, frame.node).element(index);
                self.state = State::Value;
            }
            b',' => self.state = State::Key,
            b'}' if !frame.is_array => return self.close(bytes, at),
            b']' if frame.is_array => return self.close(bytes, at),
            byte if is_space(byte) => {}
            _ => return self.broken(bytes),
        }
        at + 1
    }

    fn close(&mut self, bytes: &[u8], at: usize) -> usize {
        self.depth -= 1;
        self.ended(bytes, at + 1)
    }

    /// The end of a value.
    fn ended(&mut self, bytes: &[u8], end: usize) -> usize {
        self.state = if self.depth == 0 { State::Done } else { State::After };
        self.captures.close(self.depth, bytes, end);
        end
    }

    fn value(&mut self, map: &Map, bytes: &[u8], at: usize, tally: &mut Tally) -> usize {
        let node = node(map, self.node);
        if node.reads & reads::JSON != 0 {
            self.value_is_open();
        }
        match class(bytes[at]) {
            QUOTE => {
                self.captures.open(map, node, self.depth, at);
                self.string(map, node, bytes, at + 1, tally)
            }
            SCALAR => {
                self.captures.open(map, node, self.depth, at);
                self.length = 0;
                let is_read = node.reads & reads::SCALAR != 0;
                if is_read {
                    self.value_begins(at, None);
                }
                self.state = if is_read { State::Scalar } else { State::SkippedScalar };
                self.scalar(map, bytes, at, tally)
            }
            OPEN => {
                self.captures.open(map, node, self.depth, at);
                if node.reads & reads::SCALAR != 0 {
                    self.value_is_open();
                    tally.other(map, node);
                }
                self.container(node, bytes, at)
            }
            SPACE => at + 1,
            CLOSE if self.state == State::FirstElement && bytes[at] == b']' => self.close(bytes, at),
            // A byte order mark.
            _ if self.state == State::Start && is_mark(bytes[at]) => at + 1,
            _ => self.broken(bytes),
        }
    }

    fn container(&mut self, node: &Node, bytes: &[u8], at: usize) -> usize {
        if !node.has_below() {
            self.skipped = 1;
            self.state = State::Skipped;
            return at + 1;
        }
        let Some(frame) = self.frames.get_mut(self.depth) else { return self.broken(bytes) };
        let is_array = bytes[at] == b'[';
        *frame = Frame { node: self.node, is_array, index: 0, seen: 0 };
        self.depth += 1;
        if is_array {
            self.node = node.element(0);
            self.state = State::FirstElement;
        } else {
            self.state = State::FirstKey;
        }
        at + 1
    }

    fn skip(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match class(*byte) {
                QUOTE => {
                    let end = quote_or_escape(bytes, at);
                    if bytes.get(end) != Some(&b'"') {
                        self.state = State::SkippedText;
                        return end;
                    }
                    at = end + 1;
                }
                OPEN => self.skipped += 1,
                CLOSE => {
                    self.skipped -= 1;
                    if self.skipped == 0 {
                        return self.ended(bytes, at);
                    }
                }
                _ => {}
            }
        }
        at
    }

    fn scalar(&mut self, map: &Map, bytes: &[u8], at: usize, tally: &mut Tally) -> usize {
        let end = scalar_end(bytes, at);
        let is_ended = end < bytes.len();
        if self.state == State::SkippedScalar {
            return if is_ended { self.ended(bytes, end) } else { end };
        }
        let part = &bytes[at..end];
        if is_ended && self.length == 0 {
            return self.scalar_ended(map, part, (bytes, end), tally);
        }
        if let Some(room) = self.buffer.get_mut(self.length..self.length + part.len()) {
            room.copy_from_slice(part);
            self.length += part.len();
        } else {
            // Too long for a number: its start says so.
            self.buffer[self.length..].copy_from_slice(&part[..MAX_STEP - self.length]);
            self.length = MAX_STEP;
        }
        if !is_ended {
            return end;
        }
        let (buffer, length) = (self.buffer, self.length);
        self.scalar_ended(map, &buffer[..length], (bytes, end), tally)
    }

    fn scalar_ended(
        &mut self,
        map: &Map,
        scalar: &[u8],
        (bytes, end): (&[u8], usize),
        tally: &mut Tally,
    ) -> usize {
        if tally.scalar(map, node(map, self.node), scalar) {
            let end = self.ended(bytes, end);
            self.value_ended(end);
            end
        } else {
            self.broken(bytes)
        }
    }
}

#[inline]
fn node(map: &Map, number: u16) -> &Node {
    &map.nodes()[usize::from(number)]
}
