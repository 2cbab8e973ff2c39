//! Strict JSON (RFC 8259), piece by piece: a document that this walk accepts has one reading.
//!
//! It guarantees: linear time; no recursion; fixed memory, [`MAX_KEY`] included; an equal result for every way of cutting the
//! text. All of the text is validated, also where no place is needed. Read next: `number`; `strings`.

mod number;
mod strings;

use super::{
    MAX_DEPTH, MAX_KEY, MAX_MODEL, Unjudgeable,
    findings::{Findings, Type},
};
use crate::language::compile::metering::places::WHOLE;

use number::Stage;
use strings::Escapes;

/// The most digits of a cap that are kept: more than any number of 64 bits has.
const MAX_DIGITS: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a value.
    Value,
    /// After `[`.
    FirstElement,
    /// After `{`.
    FirstKey,
    /// After the comma of an object.
    Key,
    /// Within a string.
    Text,
    /// Within an escape of a string.
    Escape,
    /// After a key.
    Colon,
    /// After a value within a container.
    After,
    /// Within a literal, of which this is left.
    Literal(&'static [u8]),
    Number(Stage),
    /// After the document.
    Done,
}

/// The use of a string or number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It is validated alone.
    Skipped,
    /// A key of an object that has no place below it.
    SkippedKey,
    /// A key of an object on the way to a place.
    Key,
    /// The value of this node.
    Value(u16),
}

/// The state of a walk.
#[derive(Debug)]
pub(super) struct Json {
    state: State,
    used: Use,
    /// The node of the value that comes next.
    next: Option<u16>,
    /// The open containers.
    depth: usize,
    /// A bit for each: it is an array.
    arrays: [u64; MAX_DEPTH / 64],
    /// The nodes of the outermost ones, as far as they lie on the way to a place.
    tracked: Vec<u16>,
    /// The text of a string or number that is used, as far as it fits.
    text: String,
    is_long: bool,
    escapes: Escapes,
}

/// A piece of the text.
#[derive(Clone, Copy)]
struct Piece<'t> {
    text: &'t str,
    /// The bytes before it.
    before: u64,
}

impl Piece<'_> {
    fn byte(self, at: usize) -> u8 {
        self.text.as_bytes()[at]
    }

    /// The error of a byte.
    fn not_json(self, at: usize) -> Unjudgeable {
        Unjudgeable::NotJson { at: self.before + at as u64 }
    }
}

impl Json {
    pub(super) fn new() -> Self {
        Self {
            state: State::Value,
            used: Use::Skipped,
            next: Some(WHOLE),
            depth: 0,
            arrays: [0; MAX_DEPTH / 64],
            tracked: Vec::new(),
            text: String::new(),
            is_long: false,
            escapes: Escapes::default(),
        }
    }

    /// Reads on. `before` is the number of bytes before the text.
    pub(super) fn feed(
        &mut self,
        text: &str,
        before: u64,
        findings: &mut Findings,
    ) -> Result<(), Unjudgeable> {
        if before == 0 && text.starts_with('\u{FEFF}') {
            return Err(Unjudgeable::ByteOrderMark);
        }
        let piece = Piece { text, before };
        let mut at = 0;
        while at < text.len() {
            at = match self.state {
                State::Text => self.plain(piece, at, findings)?,
                State::Escape => self.escape(piece, at, findings)?,
                State::Number(stage) => self.number(stage, piece, at, findings)?,
                State::Literal(rest) => self.literal(rest, piece, at)?,
                _ if matches!(piece.byte(at), b' ' | b'\t' | b'\r' | b'\n') => at + 1,
                State::Value | State::FirstElement => self.value(piece, at, findings)?,
                State::FirstKey | State::Key => self.key(piece, at)?,
                State::Colon if piece.byte(at) == b':' => {
                    self.state = State::Value;
                    at + 1
                }
                State::After => self.after(piece, at, findings)?,
                State::Colon | State::Done => return Err(piece.not_json(at)),
            };
        }
        Ok(())
    }

    /// The end of the text.
    pub(super) fn end(&self) -> Result<(), Unjudgeable> {
        // A number cannot be the whole document: an object is needed.
        if self.state == State::Done { Ok(()) } else { Err(Unjudgeable::Incomplete) }
    }

    fn value(&mut self, piece: Piece<'_>, at: usize, findings: &mut Findings) -> Result<usize, Unjudgeable> {
        let byte = piece.byte(at);
        if byte == b']' && self.state == State::FirstElement {
            self.close();
            return Ok(at + 1);
        }
        let (found, state) = match byte {
            b'"' => (Type::Text, State::Text),
            b'{' => (Type::Object, State::FirstKey),
            b'[' => (Type::Array, State::FirstElement),
            b'-' | b'0'..=b'9' => (Type::Number, State::Number(Stage::START)),
            b't' => (Type::Boolean, State::Literal(b"rue")),
            b'f' => (Type::Boolean, State::Literal(b"alse")),
            b'n' => (Type::Null, State::Literal(b"ull")),
            _ => return Err(piece.not_json(at)),
        };
        self.used = match self.next {
            Some(node) if findings.reads(node, found)? => Use::Value(node),
            Some(_) | None => Use::Skipped,
        };
        self.clear_text();
        self.state = state;
        if matches!(found, Type::Object | Type::Array) {
            self.open(found == Type::Array, findings)?;
        }
        // The first byte of a number belongs to it.
        Ok(if found == Type::Number { at } else { at + 1 })
    }

    fn key(&mut self, piece: Piece<'_>, at: usize) -> Result<usize, Unjudgeable> {
        match piece.byte(at) {
            b'"' => {
                self.used = if self.is_on_the_way() { Use::Key } else { Use::SkippedKey };
                self.clear_text();
                self.state = State::Text;
            }
            b'}' if self.state == State::FirstKey => self.close(),
            _ => return Err(piece.not_json(at)),
        }
        Ok(at + 1)
    }

    fn after(&mut self, piece: Piece<'_>, at: usize, findings: &Findings) -> Result<usize, Unjudgeable> {
        match (piece.byte(at), self.is_in_array()) {
            (b',', true) => {
                self.next = self.element(findings);
                self.state = State::Value;
            }
            (b',', false) => self.state = State::Key,
            (b']', true) | (b'}', false) => self.close(),
            _ => return Err(piece.not_json(at)),
        }
        Ok(at + 1)
    }

    fn literal(&mut self, rest: &'static [u8], piece: Piece<'_>, at: usize) -> Result<usize, Unjudgeable> {
        let Some((_, rest)) = rest.split_first().filter(|(first, _)| **first == piece.byte(at)) else {
            return Err(piece.not_json(at));
        };
        self.state = State::Literal(rest);
        if rest.is_empty() {
            self.value_ended();
        }
        Ok(at + 1)
    }

    fn open(&mut self, is_array: bool, findings: &mut Findings) -> Result<(), Unjudgeable> {
        if self.depth == MAX_DEPTH {
            return Err(Unjudgeable::TooDeep);
        }
        if let Some(node) = self.next.take()
            && findings.enter(node, is_array)
        {
            self.tracked.push(node);
        }
        let bit = 1 << (self.depth % 64);
        let bits = &mut self.arrays[self.depth / 64];
        *bits = if is_array { *bits | bit } else { *bits & !bit };
        self.depth += 1;
        self.next = if is_array { self.element(findings) } else { None };
        Ok(())
    }

    /// The node of the elements of the innermost array.
    fn element(&self, findings: &Findings) -> Option<u16> {
        self.tracked.last().filter(|_| self.is_on_the_way()).and_then(|array| findings.element(*array))
    }

    fn close(&mut self) {
        if self.is_on_the_way() {
            self.tracked.pop();
        }
        self.depth -= 1;
        self.value_ended();
    }

    fn value_ended(&mut self) {
        self.next = None;
        self.state = if self.depth == 0 { State::Done } else { State::After };
    }

    /// True if the innermost container lies on the way to a place. Those around it do, then.
    fn is_on_the_way(&self) -> bool {
        self.tracked.len() == self.depth
    }

    fn is_in_array(&self) -> bool {
        let last = self.depth.saturating_sub(1);
        self.arrays[last / 64] >> (last % 64) & 1 == 1
    }

    fn clear_text(&mut self) {
        self.text.clear();
        self.is_long = false;
    }

    /// Keeps a part of a string or number that is used.
    fn keep(&mut self, part: &str, most: usize) {
        if self.is_long {
            return;
        }
        let room = most - self.text.len();
        self.is_long = part.len() > room;
        self.text.push_str(&part[..part.floor_char_boundary(room.min(part.len()))]);
    }
}
