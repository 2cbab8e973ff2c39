//! Values that are strings: read, or skipped.

use super::{
    Scanner, State, node,
    text::{quote_or_escape, simple},
};
use crate::{
    language::compile::metering::{Map, Node, reads},
    request::meter::tally::Tally,
};

impl Scanner {
    pub(super) fn string(
        &mut self,
        map: &Map,
        node: &Node,
        bytes: &[u8],
        at: usize,
        tally: &mut Tally,
    ) -> usize {
        self.used = if node.reads == 0 { 0 } else { tally.open_string(map, node) };
        if self.used == 0 {
            let end = quote_or_escape(bytes, at);
            if bytes.get(end) == Some(&b'"') {
                return self.ended(bytes, end + 1);
            }
            self.state = State::SkippedText;
            return end;
        }
        let end = quote_or_escape(bytes, at);
        let is_whole = bytes.get(end) == Some(&b'"');
        let is_plain = node.reads & !(reads::TEXT | reads::CONTENT) == 0;
        self.value_begins(at - 1, is_plain.then_some(self.used));
        if is_whole {
            tally.whole_string(map, node, self.used, &bytes[at..end]);
            let end = self.ended(bytes, end + 1);
            self.value_ended(end);
            return end;
        }
        self.state = State::Text;
        if at == bytes.len() { at } else { self.text_from(map, bytes, (at, end), tally) }
    }

    pub(super) fn text(&mut self, map: &Map, bytes: &[u8], at: usize, tally: &mut Tally) -> usize {
        let used = self.used;
        if self.unescape.is_open() {
            let mut character = |one: char| tally.text(used, one.encode_utf8(&mut [0; 4]).as_bytes());
            let is_good = self.unescape.push(bytes[at], &mut character);
            return if is_good { at + 1 } else { self.broken(bytes) };
        }
        self.text_from(map, bytes, (at, quote_or_escape(bytes, at)), tally)
    }

    /// Reads on in a string, up to its end or an escape of several characters. `end` is the place of the next quote or escape.
    fn text_from(
        &mut self,
        map: &Map,
        bytes: &[u8],
        (mut at, mut end): (usize, usize),
        tally: &mut Tally,
    ) -> usize {
        let used = self.used;
        loop {
            let byte = bytes.get(end);
            if self.unescape.is_in_pair() && (end > at || byte == Some(&b'"')) {
                self.unescape.flush(&mut |one| tally.text(used, one.encode_utf8(&mut [0; 4]).as_bytes()));
            }
            tally.text(used, &bytes[at..end]);
            match byte {
                None => return end,
                Some(b'"') => {
                    tally.close_string(map, node(map, self.node), used);
                    let end = self.ended(bytes, end + 1);
                    self.value_ended(end);
                    return end;
                }
                Some(_) => {}
            }
            let simple = bytes.get(end + 1).and_then(|byte| simple(*byte));
            let Some(simple) = simple.filter(|_| !self.unescape.is_in_pair()) else {
                self.unescape.open();
                return end + 1;
            };
            tally.text(used, &[simple]);
            at = end + 2;
            end = quote_or_escape(bytes, at);
        }
    }

    pub(super) fn skip_text(&mut self, bytes: &[u8], at: usize) -> usize {
        let end = quote_or_escape(bytes, at);
        match bytes.get(end) {
            None => end,
            Some(b'"') if self.skipped == 0 => self.ended(bytes, end + 1),
            Some(b'"') => {
                self.state = State::Skipped;
                end + 1
            }
            Some(_) => {
                self.state = State::SkippedEscape;
                end + 1
            }
        }
    }
}
