//! Server-sent events, as the HTML standard of the WHATWG defines them. Only `data` is read.
//!
//! Lines end with LF, CR or CRLF; the space after `data:` is optional; an event may have several lines of data. Other than
//! in the standard, an event whose blank line is missing at the end of the stream counts, too.

use memchr::memchr2;

use crate::{
    language::compile::metering::Map,
    request::meter::reader::{NotJson, Reader},
};

/// The names of fields.
const DATA: &[u8] = b"data";
const OTHERS: [&[u8]; 3] = [b"event", b"id", b"retry"];
/// The byte order mark that may stand at the start of the stream.
const MARK: &[u8] = &[0xEF, 0xBB, 0xBF];
/// The longest name to tell fields apart by, a byte order mark included.
const LONGEST: usize = 9;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// At the start of a line, or within a field's name.
    #[default]
    Name,
    /// After `data:`, before an optional space.
    Space,
    /// Within data.
    Data,
    /// Within another line.
    Other,
}

/// The state within an event.
#[derive(Debug, Default)]
pub(in crate::request::meter) struct Sse {
    state: State,
    /// The start of the field's name.
    name: [u8; LONGEST],
    /// The length of the name so far; at most [`LONGEST`].
    length: usize,
    /// The byte before was CR: LF belongs to it.
    after_cr: bool,
    /// A line has ended.
    has_line: bool,
    /// The event has a line of data.
    has_data: bool,
}

impl Sse {
    pub(super) fn feed(&mut self, map: &Map, bytes: &[u8], reader: &mut Reader) {
        let mut at = 0;
        while let Some(end) = self.feed_event(map, bytes, at, reader) {
            at = end;
        }
    }

    /// Reads on up to the end of an event, which is a blank line. Returns the place after it; none if the event goes on
    /// after the bytes.
    fn feed_event(&mut self, map: &Map, bytes: &[u8], mut at: usize, reader: &mut Reader) -> Option<usize> {
        while at < bytes.len() {
            if core::mem::take(&mut self.after_cr) && bytes[at] == b'\n' {
                at += 1;
                continue;
            }
            match self.state {
                State::Name if self.length == 0 && bytes[at..].starts_with(b"data:") => {
                    at += 5;
                    if let Some(end) = self.repeat(bytes, at, reader) {
                        return Some(end);
                    }
                    self.state = State::Space;
                }
                State::Name => {
                    at += 1;
                    if self.name_byte(bytes[at - 1], map, reader) {
                        return Some(at);
                    }
                }
                State::Space => {
                    at += usize::from(bytes[at] == b' ');
                    self.state = State::Data;
                    self.data_starts(map, reader);
                }
                State::Data | State::Other => {
                    let end = memchr2(b'\n', b'\r', &bytes[at..]).map(|end| at + end);
                    if self.state == State::Data {
                        reader.feed(map, &bytes[at..end.unwrap_or(bytes.len())]);
                    }
                    let end = end?;
                    self.line_ends(bytes[end]);
                    at = end + 1;
                }
            }
        }
        None
    }

    /// The rest of an event that has one line of data, and differs from an earlier one in its text alone. Returns the place after it.
    #[inline]
    fn repeat(&mut self, bytes: &[u8], at: usize, reader: &mut Reader) -> Option<usize> {
        let at = at + usize::from(bytes.get(at) == Some(&b' '));
        let data = bytes.get(at..).filter(|_| !self.has_data)?;
        let length = reader.repeat(data, b"\n\n")?;
        self.has_line = true;
        Some(at + length)
    }

    /// A byte of a field's name, or its end. True at the end of an event.
    fn name_byte(&mut self, byte: u8, map: &Map, reader: &mut Reader) -> bool {
        match byte {
            b'\n' | b'\r' => {
                let is_blank = self.name().is_empty();
                if self.name() == DATA {
                    self.data_starts(map, reader);
                } else if !is_blank {
                    self.check_name(reader);
                }
                self.line_ends(byte);
                if is_blank && core::mem::take(&mut self.has_data) {
                    reader.end(map, NotJson::Ignored);
                }
                is_blank
            }
            b':' if self.name() == DATA => {
                self.state = State::Space;
                false
            }
            b':' => {
                self.check_name(reader);
                self.state = State::Other;
                false
            }
            _ => {
                if let Some(place) = self.name.get_mut(self.length) {
                    *place = byte;
                    self.length += 1;
                }
                false
            }
        }
    }

    fn name(&self) -> &[u8] {
        let name = &self.name[..self.length];
        if self.has_line { name } else { name.strip_prefix(MARK).unwrap_or(name) }
    }

    /// A field that no stream of events has says that this is something else. A comment has an empty name.
    fn check_name(&self, reader: &mut Reader) {
        reader.is_broken |= !self.name().is_empty() && !OTHERS.contains(&self.name());
    }

    /// Lines of data are joined by LF.
    fn data_starts(&mut self, map: &Map, reader: &mut Reader) {
        if core::mem::replace(&mut self.has_data, true) {
            reader.feed(map, b"\n");
        }
    }

    fn line_ends(&mut self, end: u8) {
        self.after_cr = end == b'\r';
        self.state = State::Name;
        self.length = 0;
        self.has_line = true;
    }
}
