//! Strings of JSON: plain runs, which are searched in vectors, and escapes.

use memchr::memchr2;

use super::{Json, MAX_KEY, MAX_MODEL, Piece, State, Use};
use crate::request::judge::{Unjudgeable, findings::Findings, name::hex};

/// The state of escapes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Escapes {
    stage: Stage,
    /// The digits of `\u` so far.
    unit: u16,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Backslash,
    /// After a backslash.
    Sign,
    /// After `\u` and so many digits.
    Digits(u8),
}

/// The place of the first byte of a string that is not plain, from a place on: a quote, backslash or control character.
fn plain_end(bytes: &[u8], from: usize) -> usize {
    /// Longer runs are worth the call of a search in vectors.
    const NEAR: usize = 16;
    let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..=0x1F);
    let near = &bytes[from..bytes.len().min(from + NEAR)];
    let start = near.iter().take_while(|byte| is_plain(byte)).count();
    if start < near.len() || from + start == bytes.len() {
        return from + start;
    }
    let rest = &bytes[from + start..];
    let rest = &rest[..memchr2(b'"', b'\\', rest).unwrap_or(rest.len())];
    let has_control = |part: &[u8]| part.iter().copied().fold(u8::MAX, u8::min) < 0x20;
    // In blocks, so that the search ends soon after the first control character.
    let mut end = from + start;
    for block in rest.chunks(4096) {
        if has_control(block) {
            return end + block.iter().take_while(|byte| is_plain(byte)).count();
        }
        end += block.len();
    }
    end
}

impl Json {
    /// The rest of a plain run, and the byte that ends it.
    pub(super) fn plain(
        &mut self,
        piece: Piece<'_>,
        at: usize,
        findings: &mut Findings,
    ) -> Result<usize, Unjudgeable> {
        let end = plain_end(piece.text.as_bytes(), at);
        self.keep_text(&piece.text[at..end], findings)?;
        if end == piece.text.len() {
            return Ok(end);
        }
        match piece.byte(end) {
            b'"' => self.text_ended(findings)?,
            b'\\' => {
                self.escapes = Escapes { stage: Stage::Sign, unit: 0, high: None };
                self.state = State::Escape;
            }
            _ => return Err(piece.not_json(end)),
        }
        Ok(end + 1)
    }

    /// The next byte of an escape, or of the second half of a pair.
    pub(super) fn escape(
        &mut self,
        piece: Piece<'_>,
        at: usize,
        findings: &Findings,
    ) -> Result<usize, Unjudgeable> {
        let byte = piece.byte(at);
        let Escapes { stage, unit, high } = self.escapes;
        let is_good = match (stage, byte) {
            (Stage::Backslash, b'\\') => {
                self.escapes.stage = Stage::Sign;
                true
            }
            (Stage::Sign, b'u') => {
                (self.escapes.stage, self.escapes.unit) = (Stage::Digits(0), 0);
                true
            }
            (Stage::Sign, _) if high.is_none() => match simple(byte) {
                Some(one) => self.escaped(one, findings)?,
                None => false,
            },
            (Stage::Digits(count), _) => match hex(byte) {
                Some(digit) => {
                    self.escapes.unit = unit << 4 | u16::from(digit);
                    self.escapes.stage = Stage::Digits(count + 1);
                    count < 3 || self.unit(self.escapes.unit, findings)?
                }
                None => false,
            },
            (Stage::Backslash | Stage::Sign, _) => false,
        };
        if is_good { Ok(at + 1) } else { Err(piece.not_json(at)) }
    }

    /// A whole `\u` escape. False for a half of a pair that stands alone.
    fn unit(&mut self, unit: u16, findings: &Findings) -> Result<bool, Unjudgeable> {
        let high = self.escapes.high.take();
        if high.is_none() && (0xD800..0xDC00).contains(&unit) {
            self.escapes = Escapes { stage: Stage::Backslash, unit: 0, high: Some(unit) };
            return Ok(true);
        }
        let mut decoded = char::decode_utf16(high.into_iter().chain([unit]));
        match (decoded.next(), decoded.next()) {
            (Some(Ok(one)), None) => self.escaped(one, findings),
            _ => Ok(false),
        }
    }

    fn escaped(&mut self, one: char, findings: &Findings) -> Result<bool, Unjudgeable> {
        self.state = State::Text;
        self.keep_text(one.encode_utf8(&mut [0; 4]), findings)?;
        Ok(true)
    }

    fn keep_text(&mut self, part: &str, findings: &Findings) -> Result<(), Unjudgeable> {
        match self.used {
            Use::Skipped | Use::SkippedKey => {}
            Use::Key => self.keep(part, MAX_KEY),
            Use::Value(node) => {
                self.keep(part, MAX_MODEL);
                if self.is_long {
                    return Err(findings.too_long(node));
                }
            }
        }
        Ok(())
    }

    fn text_ended(&mut self, findings: &mut Findings) -> Result<(), Unjudgeable> {
        match self.used {
            Use::Skipped => self.value_ended(),
            Use::SkippedKey => self.state = State::Colon,
            Use::Key => {
                if let Some(parent) = self.tracked.last() {
                    self.next = findings.key(*parent, &self.text, !self.is_long)?;
                }
                self.state = State::Colon;
            }
            Use::Value(node) => {
                findings.set(node, &self.text)?;
                self.value_ended();
            }
        }
        Ok(())
    }
}

/// The character of an escape of one character.
fn simple(byte: u8) -> Option<char> {
    Some(match byte {
        b'"' | b'\\' | b'/' => char::from(byte),
        b'b' => '\u{8}',
        b'f' => '\u{C}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return None,
    })
}
