//! Documents of one side of an exchange: a scanner, its tally, and the number of documents that were good.

use super::{
    scanner::{Captured, Scanner, is_mark, is_space},
    tally::Tally,
};
use crate::language::compile::metering::Map;

/// A walk over the documents of one side.
#[derive(Debug)]
pub(super) struct Reader {
    scanner: Scanner,
    pub(super) tally: Tally,
    /// Documents that were whole.
    pub(super) documents: u64,
    /// True if something was no document.
    pub(super) is_broken: bool,
    /// True if the document at hand is an object.
    is_object: bool,
}

/// The treatment of text between events that is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotJson {
    /// Only a broken object is an error: a stream may have other signs, such as one for its end.
    Ignored,
    /// All of it is an error.
    Broken,
}

impl Reader {
    pub(super) fn new(map: &Map, content: bool) -> Self {
        Self {
            scanner: Scanner::new(content),
            tally: Tally::new(map, content),
            documents: 0,
            is_broken: false,
            is_object: false,
        }
    }

    /// A walk over a request.
    pub(super) fn of_request(map: &Map, content: bool) -> Self {
        Self { scanner: Scanner::of_request(content), ..Self::new(map, content) }
    }

    /// Reads on in a document. After its end, only space may follow.
    pub(super) fn feed(&mut self, map: &Map, bytes: &[u8]) {
        let end = self.feed_until_end(map, bytes);
        if self.scanner.is_done() && !bytes[end..].iter().all(|byte| is_space(*byte)) {
            self.scanner.break_off();
        }
    }

    /// Reads on in a document. Returns the number of bytes up to its end.
    pub(super) fn feed_until_end(&mut self, map: &Map, bytes: &[u8]) -> usize {
        if self.scanner.is_unstarted() {
            self.is_object = bytes.iter().find(|byte| !is_space(**byte) && !is_mark(**byte)) == Some(&b'{');
        }
        self.scanner.feed(map, bytes, &mut self.tally)
    }

    /// Reads a whole document that differs from an earlier one in its text alone, and what has to follow it. Returns the number
    /// of bytes; none if nothing was read.
    #[inline]
    pub(super) fn repeat(&mut self, bytes: &[u8], follows: &[u8]) -> Option<usize> {
        let end = self.scanner.repeat(bytes, follows, &mut self.tally)?;
        self.documents = self.documents.saturating_add(1);
        self.tally.document_ended();
        Some(end)
    }

    /// True after the end of a document.
    pub(super) fn is_done(&self) -> bool {
        self.scanner.is_done()
    }

    /// True after an error in a document.
    pub(super) fn is_at_error(&self) -> bool {
        self.scanner.is_broken()
    }

    /// Ends the document at hand, if there is one.
    pub(super) fn end(&mut self, map: &Map, not_json: NotJson) {
        if self.scanner.is_unstarted() {
            return;
        }
        if self.scanner.end(map, &mut self.tally) {
            self.documents = self.documents.saturating_add(1);
        } else {
            self.is_broken |= not_json == NotJson::Broken || self.is_object;
        }
        self.tally.document_ended();
        self.scanner.reset();
    }

    /// Ends the document at hand where the bytes were cut: what is missing is no error.
    pub(super) fn end_cut(&mut self, map: &Map, not_json: NotJson) {
        let was_broken = self.is_broken;
        let is_cut = !self.scanner.is_broken();
        self.end(map, not_json);
        if is_cut {
            self.is_broken = was_broken;
        }
    }

    /// Bytes of prompts that are kept.
    pub(super) fn prompt_bytes(&self) -> usize {
        self.scanner.prompt_bytes()
    }

    /// Drops them, and keeps no more.
    pub(super) fn drop_prompts(&mut self) {
        self.scanner.drop_prompts();
    }

    pub(super) fn into_parts(self) -> (Tally, Vec<Captured>) {
        (self.tally, self.scanner.into_captured())
    }
}
