//! Forms of `multipart/form-data` (RFC 7578), piece by piece and strictly: a form that this walk accepts has one reading.
//!
//! It guarantees: linear time; memory bounded by [`MAX_HEAD`]; equal results for every way of cutting the bytes. The form
//! starts with a delimiter, so that it is never JSON, too. Its delimiters stand on lines of their own, which end with CRLF;
//! no other text in it is like one. Nothing follows the last but CRLF. Files are searched for their end, and never kept.
//!
//! Read next: `head`, for the names of fields.

mod head;

use memchr::{memchr, memmem::Finder};

use super::{MAX_MODEL, Unjudgeable, findings::Findings};

use head::Head;

/// The most bytes of the head of a part.
const MAX_HEAD: usize = 4 << 10;
/// CRLF.
const LINE_END: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first delimiter, or within it after so many bytes.
    Start(usize),
    /// After a delimiter.
    Delimiter,
    /// After the CR behind it.
    LineEnd,
    /// After the first `-` behind it.
    Dash,
    /// Within the head of a part.
    Head,
    /// Within a part.
    Content,
    /// After the last delimiter.
    Last,
    /// After the CR behind it.
    LastLineEnd,
    /// After CRLF behind it.
    Done,
}

/// The state of a walk.
#[derive(Debug)]
pub(super) struct Multipart {
    /// `--` and the boundary.
    delimiter: Finder<'static>,
    state: State,
    head: Head,
    /// The line of the head so far.
    line: Vec<u8>,
    /// The bytes of the head.
    head_bytes: usize,
    /// The node of the part at hand.
    node: Option<u16>,
    /// What is kept of the part at hand: all of it for a node, or else the end, which may begin a delimiter.
    kept: Vec<u8>,
    /// The bytes before those that are fed.
    before: u64,
}

impl Multipart {
    pub(super) fn new(boundary: &[u8]) -> Self {
        Self {
            delimiter: Finder::new(&[b"--", boundary].concat()).into_owned(),
            state: State::Start(0),
            head: Head::default(),
            line: Vec::new(),
            head_bytes: 0,
            node: None,
            kept: Vec::new(),
            before: 0,
        }
    }

    /// Reads on.
    pub(super) fn feed(&mut self, bytes: &[u8], findings: &mut Findings) -> Result<(), Unjudgeable> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at = match self.state {
                State::Content => self.content(bytes, at, findings)?,
                State::Head => self.head(bytes, at, findings)?,
                _ => {
                    self.state = self.after(*byte).ok_or_else(|| self.wrong(at))?;
                    at + 1
                }
            };
        }
        self.before += bytes.len() as u64;
        Ok(())
    }

    /// The end of the form.
    pub(super) fn end(&self) -> Result<(), Unjudgeable> {
        if matches!(self.state, State::Last | State::Done) { Ok(()) } else { Err(Unjudgeable::Incomplete) }
    }

    fn wrong(&self, at: usize) -> Unjudgeable {
        Unjudgeable::NotAForm { at: self.before + at as u64 }
    }

    /// The state after a byte of a delimiter, or behind one.
    fn after(&mut self, byte: u8) -> Option<State> {
        let needle = self.delimiter.needle();
        match (self.state, byte) {
            (State::Start(matched), _) if needle[matched] == byte => {
                let is_whole = matched + 1 == needle.len();
                Some(if is_whole { State::Delimiter } else { State::Start(matched + 1) })
            }
            (State::Delimiter, b'\r') => Some(State::LineEnd),
            (State::Delimiter, b'-') => Some(State::Dash),
            (State::LineEnd, b'\n') => {
                self.head = Head::default();
                self.head_bytes = 0;
                Some(State::Head)
            }
            (State::Dash, b'-') => Some(State::Last),
            (State::Last, b'\r') => Some(State::LastLineEnd),
            (State::LastLineEnd, b'\n') => Some(State::Done),
            _ => None,
        }
    }

    /// The rest of a line of a head. An empty line ends it.
    fn head(&mut self, bytes: &[u8], at: usize, findings: &mut Findings) -> Result<usize, Unjudgeable> {
        let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end + 1);
        self.head_bytes += end - at;
        if self.head_bytes > MAX_HEAD {
            return Err(Unjudgeable::PartHead);
        }
        self.line.extend_from_slice(&bytes[at..end]);
        let Some(line) = self.line.strip_suffix(b"\n") else { return Ok(end) };
        let line = line.strip_suffix(b"\r").ok_or(Unjudgeable::PartHead)?;
        if line.is_empty() {
            let name = self.head.name()?;
            self.node = findings.field(name)?;
            if let Some(node) = self.node.filter(|_| !self.head.is_plain_text()) {
                return Err(findings.no_text(node));
            }
            self.kept.clear();
            self.state = State::Content;
        } else {
            self.head.line(line)?;
        }
        self.line.clear();
        Ok(end)
    }

    /// Content, up to the end of what is like a delimiter.
    fn content(&mut self, bytes: &[u8], at: usize, findings: &mut Findings) -> Result<usize, Unjudgeable> {
        let rest = &bytes[at..];
        let found = self.find(rest);
        let end = found.unwrap_or(rest.len());
        let most = MAX_MODEL + LINE_END + self.delimiter.needle().len();
        if let Some(node) = self.node {
            // With one byte more, and no delimiter before it, the text is too long.
            let room = most + 1 - self.kept.len();
            self.kept.extend_from_slice(&rest[..end.min(room)]);
            let is_found = found.is_some_and(|end| end <= room);
            if self.kept.len() > most && !is_found {
                return Err(findings.too_long(node));
            }
        } else {
            self.keep_end(&rest[..end]);
        }
        if found.is_none() {
            return Ok(bytes.len());
        }
        let content = self.kept.len() - self.delimiter.needle().len();
        let Some(text) = self.kept[..content].strip_suffix(b"\r\n") else {
            return Err(self.wrong(at + end - 1));
        };
        if let Some(node) = self.node {
            let text = str::from_utf8(text);
            let text = text.map_err(|_| Unjudgeable::NotUtf8 { at: self.before + (at + end - 1) as u64 })?;
            findings.set(node, text)?;
        }
        self.state = State::Delimiter;
        Ok(at + end)
    }

    /// The place after the first delimiter, which may have begun in what is kept.
    fn find(&self, rest: &[u8]) -> Option<usize> {
        let length = self.delimiter.needle().len();
        let from = self.kept.len().saturating_sub(length - 1);
        let kept = &self.kept[from..];
        let near = [kept, &rest[..rest.len().min(length - 1)]].concat();
        let begun = self.delimiter.find(&near).map(|start| start + length - kept.len());
        begun.or_else(|| self.delimiter.find(rest).map(|start| start + length))
    }

    /// Keeps the end of a part: a delimiter, and the line end before it.
    fn keep_end(&mut self, part: &[u8]) {
        let most = self.delimiter.needle().len() + LINE_END;
        let part = &part[part.len().saturating_sub(most)..];
        let excess = (self.kept.len() + part.len()).saturating_sub(most);
        self.kept.drain(..excess.min(self.kept.len()));
        self.kept.extend_from_slice(part);
    }
}
