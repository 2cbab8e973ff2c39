//! Scanner of a form (`multipart/form-data`: RFC 7578; RFC 2046, section 5.1), piece by piece.
//!
//! It guarantees: linear time; equal results for every way of cutting the bytes; fixed memory, [`MAX_HEAD`] included. Files
//! are searched for their end, and never kept. Lines end with CRLF; within the head of a part, LF alone is enough.
//!
//! Read next: `parameters`, for the boundary and the names of fields; `fields`, which reads them as JSON is read.

mod fields;
mod parameters;

use memchr::{memchr, memmem::Finder, memrchr};

use parameters::Disposition;

pub(super) use fields::Fields;

/// The longest boundary, in bytes: RFC 2046, section 5.1.1.
const MAX_BOUNDARY: usize = 70;
/// The most bytes of the head of a part. A part with a longer one is skipped.
const MAX_HEAD: usize = 4 << 10;
/// CRLF, which is before each delimiter but one at the start.
const LINE_END: usize = 2;

/// Takes the parts of a form.
pub(super) trait Parts {
    /// A part begins. True if it wants its bytes.
    fn begin(&mut self, name: &[u8], is_file: bool) -> bool;

    /// The next bytes of a part.
    fn bytes(&mut self, bytes: &[u8]);

    /// The end of a part whose bytes were wanted.
    fn end(&mut self);

    /// The end of the form.
    fn end_of_form(&mut self);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Within a part, or before the first.
    Content,
    /// After what may be a delimiter.
    Delimiter,
    /// After `-` behind it.
    Dash,
    /// On the rest of its line.
    Padding,
    /// Within the head of a part.
    Head,
    /// After the last part.
    Done,
}

#[derive(Debug)]
pub(super) struct Form {
    /// CRLF, `--` and the boundary. CR is nowhere else in it.
    delimiter: Finder<'static>,
    state: State,
    /// The bytes of the delimiter that came last.
    matched: usize,
    /// Those of them that are no content in any case: the line end before the first delimiter, or after a head.
    before: usize,
    /// The part at hand wants its bytes.
    is_wanted: bool,
    /// The head of the part at hand, up to one byte more than [`MAX_HEAD`].
    head: Vec<u8>,
    /// The bytes of its line at hand, without LF.
    line: usize,
    /// True if that line begins with CR.
    has_cr: bool,
}

impl Form {
    /// The scanner for a content type. None if it is no form, or its boundary is missing or invalid.
    pub(super) fn new(content_type: &[u8]) -> Option<Self> {
        let boundary = parameters::boundary(content_type)?;
        let is_valid = (1..=MAX_BOUNDARY).contains(&boundary.len())
            && boundary.iter().all(|byte| matches!(byte, b' '..=b'~'));
        let delimiter = is_valid.then(|| [b"\r\n--", &*boundary].concat())?;
        Some(Self {
            delimiter: Finder::new(&delimiter).into_owned(),
            state: State::Content,
            matched: LINE_END,
            before: LINE_END,
            is_wanted: false,
            head: Vec::new(),
            line: 0,
            has_cr: false,
        })
    }

    /// Reads on.
    pub(super) fn feed(&mut self, bytes: &[u8], parts: &mut impl Parts) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at = match self.state {
                State::Content if self.matched > 0 => self.match_on(bytes, at, parts),
                State::Content => self.content(bytes, at, parts),
                State::Delimiter => self.delimiter(*byte, at, parts),
                State::Dash if *byte == b'-' => {
                    self.part_ended(parts);
                    parts.end_of_form();
                    self.state = State::Done;
                    at
                }
                State::Dash => {
                    self.no_delimiter(b"-", parts);
                    at
                }
                State::Padding => self.padding(bytes, at),
                State::Head => self.head(bytes, at, parts),
                State::Done => return,
            };
        }
    }

    /// Content, up to the next delimiter.
    fn content(&mut self, bytes: &[u8], at: usize, parts: &mut impl Parts) -> usize {
        let needle = self.delimiter.needle();
        let rest = &bytes[at..];
        let (content, end) = if let Some(found) = self.delimiter.find(rest) {
            self.state = State::Delimiter;
            self.matched = needle.len();
            (found, found + needle.len())
        } else {
            // The last CR may begin a delimiter.
            let tail = rest.len().saturating_sub(needle.len() - 1);
            let start = memrchr(b'\r', &rest[tail..]).map_or(rest.len(), |place| tail + place);
            let is_start = needle.starts_with(&rest[start..]);
            self.matched = if is_start { rest.len() - start } else { 0 };
            (rest.len() - self.matched, rest.len())
        };
        if self.is_wanted {
            parts.bytes(&rest[..content]);
        }
        at + end
    }

    /// Goes on where the last bytes may begin a delimiter.
    fn match_on(&mut self, bytes: &[u8], at: usize, parts: &mut impl Parts) -> usize {
        let needle = self.delimiter.needle();
        let missing = &needle[self.matched..];
        let equal = missing.iter().zip(&bytes[at..]).take_while(|(one, other)| one == other).count();
        self.matched += equal;
        if self.matched == needle.len() {
            self.state = State::Delimiter;
        } else if at + equal < bytes.len() {
            self.no_delimiter(b"", parts);
        }
        at + equal
    }

    /// The bytes that looked like a delimiter are content.
    fn no_delimiter(&mut self, after: &[u8], parts: &mut impl Parts) {
        self.state = State::Content;
        if self.is_wanted {
            parts.bytes(&self.delimiter.needle()[self.before..self.matched]);
            parts.bytes(after);
        }
        (self.matched, self.before) = (0, 0);
    }

    /// The byte after a delimiter. A longer word that begins like it is content.
    fn delimiter(&mut self, byte: u8, at: usize, parts: &mut impl Parts) -> usize {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                self.part_ended(parts);
                self.state = State::Padding;
                at
            }
            b'-' => {
                self.state = State::Dash;
                at + 1
            }
            _ => {
                self.no_delimiter(b"", parts);
                at
            }
        }
    }

    fn part_ended(&mut self, parts: &mut impl Parts) {
        if std::mem::take(&mut self.is_wanted) {
            parts.end();
        }
    }

    fn padding(&mut self, bytes: &[u8], at: usize) -> usize {
        let Some(end) = memchr(b'\n', &bytes[at..]) else { return bytes.len() };
        self.state = State::Head;
        self.head.clear();
        self.line = 0;
        at + end + 1
    }

    /// A line of the head of a part. An empty one ends it.
    fn head(&mut self, bytes: &[u8], at: usize, parts: &mut impl Parts) -> usize {
        let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end + 1);
        let part = &bytes[at..end];
        let room = (MAX_HEAD + 1).saturating_sub(self.head.len());
        self.head.extend_from_slice(&part[..part.len().min(room)]);
        let is_ended = part.ends_with(b"\n");
        if self.line == 0 {
            self.has_cr = part.starts_with(b"\r");
        }
        self.line += part.len() - usize::from(is_ended);
        if !is_ended {
            return end;
        }
        if std::mem::take(&mut self.line) <= usize::from(self.has_cr) {
            let known = (self.head.len() <= MAX_HEAD).then(|| Disposition::of(&self.head)).flatten();
            self.is_wanted = known.is_some_and(|part| parts.begin(&part.name, part.is_file));
            self.state = State::Content;
            // A delimiter may follow at once: the line end before it is that of the head.
            (self.matched, self.before) = (LINE_END, LINE_END);
        }
        end
    }
}
