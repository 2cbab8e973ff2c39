//! The binary event stream of AWS: messages of a prelude, headers, a payload and a checksum.
//!
//! Payloads are the events. Of the headers, only the one is read that says that a message is an error. Checksums are not
//! checked: a message with impossible lengths ends the walk.

use crate::{
    language::compile::metering::Map,
    request::meter::reader::{NotJson, Reader},
};

/// The length of the prelude: lengths of the message and of its headers, and their checksum.
const PRELUDE: u32 = 12;
/// The length of the message's checksum.
const CHECKSUM: u32 = 4;
/// Longer messages are none.
const MAX_MESSAGE: u32 = 24 * 1024 * 1024;
/// Longer headers are none.
const MAX_HEADERS: u32 = 128 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Prelude,
    Headers,
    Payload,
    Checksum,
    Broken,
}

/// The state within a message.
#[derive(Debug)]
pub(in crate::request::meter) struct Aws {
    part: Part,
    /// Bytes of the part that are still to come.
    left: u32,
    prelude: Vec<u8>,
    /// The length of the payload.
    payload: u32,
    headers: Headers,
}

impl Default for Aws {
    fn default() -> Self {
        let (prelude, headers) = (Vec::new(), Headers::default());
        Self { part: Part::Prelude, left: PRELUDE, prelude, payload: 0, headers }
    }
}

impl Aws {
    pub(super) fn feed(&mut self, map: &Map, mut bytes: &[u8], reader: &mut Reader) {
        while !bytes.is_empty() && self.part != Part::Broken {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX);
            let (here, rest) = bytes.split_at(most.min(bytes.len()));
            bytes = rest;
            self.left = self.left.saturating_sub(u32::try_from(here.len()).unwrap_or(u32::MAX));
            let is_good = match self.part {
                Part::Headers => here.iter().all(|byte| self.headers.push(*byte, reader)),
                Part::Prelude => {
                    self.prelude.extend_from_slice(here);
                    true
                }
                Part::Payload => {
                    reader.feed(map, here);
                    true
                }
                Part::Checksum | Part::Broken => true,
            };
            if !is_good || !self.advance(map, reader) {
                reader.is_broken = true;
                self.part = Part::Broken;
            }
        }
    }

    /// True between two messages.
    pub(super) fn is_between(&self) -> bool {
        self.part == Part::Prelude && self.prelude.is_empty()
    }

    /// Goes to the next part that has bytes. False if the lengths are impossible.
    fn advance(&mut self, map: &Map, reader: &mut Reader) -> bool {
        while self.left == 0 {
            (self.part, self.left) = match self.part {
                Part::Prelude => {
                    let Some((headers, payload)) = self.lengths() else { return false };
                    self.prelude.clear();
                    self.headers = Headers::default();
                    self.payload = payload;
                    (Part::Headers, headers)
                }
                Part::Headers => (Part::Payload, self.payload),
                Part::Payload => {
                    reader.end(map, NotJson::Broken);
                    (Part::Checksum, CHECKSUM)
                }
                Part::Checksum | Part::Broken => (Part::Prelude, PRELUDE),
            };
        }
        true
    }

    /// The lengths of headers and payload.
    fn lengths(&self) -> Option<(u32, u32)> {
        let number = |at: usize| Some(u32::from_be_bytes(self.prelude.get(at..at + 4)?.try_into().ok()?));
        let (total, headers) = (number(0)?, number(4)?);
        let payload = total.checked_sub(PRELUDE + CHECKSUM)?.checked_sub(headers)?;
        (total <= MAX_MESSAGE && headers <= MAX_HEADERS).then_some((headers, payload))
    }
}

/// The header of messages that says that one is an error.
const TYPE: &[u8] = b":message-type";
/// Its values for errors.
const ERRORS: [&[u8]; 2] = [b"exception", b"error"];
/// The type of a value that is a string.
const STRING: u8 = 7;
/// The longest text to compare.
const LONGEST: usize = 13;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Field {
    #[default]
    NameLength,
    Name,
    Type,
    /// The first byte of a value's length.
    LengthHigh,
    LengthLow,
    Value,
}

/// The state within headers.
#[derive(Debug, Default)]
struct Headers {
    field: Field,
    /// Bytes of the field that are still to come.
    left: usize,
    /// The start of the name or value.
    text: [u8; LONGEST],
    length: usize,
    /// The header at hand says what the message is.
    is_type: bool,
    is_string: bool,
}

impl Headers {
    /// The next byte. False if it cannot be.
    fn push(&mut self, byte: u8, reader: &mut Reader) -> bool {
        match self.field {
            Field::NameLength => self.start(Field::Name, usize::from(byte)),
            Field::Name => {
                self.take(byte);
                if self.left == 0 {
                    self.is_type = self.is(TYPE);
                    self.field = Field::Type;
                }
            }
            Field::Type => {
                self.is_string = byte == STRING;
                let fixed = match byte {
                    0 | 1 => 0,
                    2 => 1,
                    3 => 2,
                    4 => 4,
                    5 | 8 => 8,
                    9 => 16,
                    6 | STRING => {
                        self.field = Field::LengthHigh;
                        return true;
                    }
                    _ => return false,
                };
                self.start(Field::Value, fixed);
            }
            Field::LengthHigh => {
                self.left = usize::from(byte) << 8;
                self.field = Field::LengthLow;
            }
            Field::LengthLow => self.start(Field::Value, self.left | usize::from(byte)),
            Field::Value => {
                self.take(byte);
                if self.left == 0 {
                    let is_error = ERRORS.iter().any(|error| self.is(error));
                    reader.tally.failed |= self.is_type && self.is_string && is_error;
                    self.field = Field::NameLength;
                }
            }
        }
        true
    }

    fn start(&mut self, field: Field, left: usize) {
        self.is_type &= field != Field::Name;
        let empty = if field == Field::Name { Field::Type } else { Field::NameLength };
        self.field = if left == 0 { empty } else { field };
        (self.left, self.length) = (left, 0);
    }

    fn take(&mut self, byte: u8) {
        self.left -= 1;
        if let Some(place) = self.text.get_mut(self.length) {
            *place = byte;
        }
        self.length += 1;
    }

    fn is(&self, text: &[u8]) -> bool {
        self.text.get(..self.length) == Some(text)
    }
}
