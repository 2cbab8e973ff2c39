//! Members of an object: keys, and values that are skipped.

use super::{
    QUOTE, SCALAR, Scanner, State, class, is_space, node, scalar_end, space_end, text::quote_or_escape,
};
use crate::{
    language::compile::metering::{MAX_STEP, Map, NO_NODE},
    request::meter::tally::Tally,
};

impl Scanner {
    /// Members of an object, up to one whose value goes deeper, or that is not wholly here. Most bytes take this path: what
    /// no pointer is about is skipped without a change of state.
    pub(super) fn members(&mut self, map: &Map, bytes: &[u8], mut at: usize, tally: &mut Tally) -> usize {
        let (depth, object) = (self.depth, node(map, self.frame().node));
        loop {
            let end = if bytes.get(at) == Some(&b'"') { quote_or_escape(bytes, at + 1) } else { bytes.len() };
            let Some((value, first)) = value_of(bytes, end) else {
                return self.key(map, bytes, at, tally);
            };
            self.node = object.member(&bytes[at + 1..end]);
            self.key_came(map, tally);
            let ended = if self.node == NO_NODE { skipped_end(bytes, value, first) } else { None };
            let ended = if let Some(ended) = ended {
                ended
            } else {
                self.state = State::Value;
                let ended = self.value(map, bytes, value, tally);
                if self.state != State::After || self.depth != depth {
                    return ended;
                }
                ended
            };
            at = space_end(bytes, ended);
            match bytes.get(at) {
                Some(b',') => at = space_end(bytes, at + 1),
                Some(b'}') => return self.close(bytes, at),
                _ => {
                    self.state = State::After;
                    return at;
                }
            }
            self.state = State::Key;
        }
    }

    /// A key that stands for itself here, or something in its place.
    fn key(&mut self, map: &Map, bytes: &[u8], at: usize, tally: &mut Tally) -> usize {
        match bytes.get(at) {
            None => return at,
            Some(b'"') => {}
            Some(b'}') if self.state == State::FirstKey => return self.close(bytes, at),
            Some(byte) if is_space(*byte) => return at + 1,
            Some(_) => return self.broken(bytes),
        }
        let end = quote_or_escape(bytes, at + 1);
        if bytes.get(end) == Some(&b'"') {
            self.node = node(map, self.frame().node).member(&bytes[at + 1..end]);
            self.key_came(map, tally);
            self.state = State::Colon;
            return end + 1;
        }
        self.state = State::KeyText;
        self.length = 0;
        at + 1
    }

    /// In a request, drops what an earlier value of the same key had. Within an array it stays: it may be that of another element.
    #[inline]
    fn key_came(&mut self, map: &Map, tally: &mut Tally) {
        if !self.last_counts || self.node == NO_NODE {
            return;
        }
        let Some(frame) = self.depth.checked_sub(1).map(|last| &mut self.frames[last]) else { return };
        let key = node(map, frame.node).bit(self.node);
        let is_repeated = frame.seen & key != 0;
        frame.seen |= key;
        if is_repeated && !self.frames[..self.depth].iter().any(|frame| frame.is_array) {
            tally.forget(map, self.node);
        }
    }

    pub(super) fn key_text(&mut self, map: &Map, bytes: &[u8], at: usize, tally: &mut Tally) -> usize {
        let Self { unescape, buffer, length, .. } = self;
        let mut push = |part: &[u8]| {
            if let Some(room) = buffer.get_mut(*length..*length + part.len()) {
                room.copy_from_slice(part);
            }
            // Beyond the buffer, the length alone grows: no key of a map is that long.
            *length = (*length + part.len()).min(MAX_STEP + 4);
        };
        let mut push_char = |one: char| push(one.encode_utf8(&mut [0; 4]).as_bytes());
        if unescape.is_open() {
            return if unescape.push(bytes[at], &mut push_char) { at + 1 } else { self.broken(bytes) };
        }
        let end = quote_or_escape(bytes, at);
        if end > at || bytes.get(end) == Some(&b'"') {
            unescape.flush(&mut push_char);
        }
        // A piece that is too long only has to make the key too long.
        push(&bytes[at..end.min(at + MAX_STEP + 1)]);
        match bytes.get(end) {
            Some(b'"') => {
                let key = self.buffer.get(..self.length);
                self.node = key.map_or(NO_NODE, |key| node(map, self.frame().node).member(key));
                self.key_came(map, tally);
                self.state = State::Colon;
                end + 1
            }
            Some(_) => {
                self.unescape.open();
                end + 1
            }
            None => end,
        }
    }
}

/// The place and first byte of the value after a key that ends at a place; none if one of its bytes is not here.
#[inline]
fn value_of(bytes: &[u8], end: usize) -> Option<(usize, u8)> {
    let [b'"', next, ..] = *bytes.get(end..)? else { return None };
    let colon = if next == b':' { end + 1 } else { space_end(bytes, end + 1) };
    let value = space_end(bytes, colon + 1);
    (bytes.get(colon) == Some(&b':')).then_some((value, *bytes.get(value)?))
}

/// The place after a string, number or literal that is wholly here and is skipped.
#[inline]
fn skipped_end(bytes: &[u8], at: usize, first: u8) -> Option<usize> {
    let end = match class(first) {
        QUOTE => {
            let end = quote_or_escape(bytes, at + 1);
            return (bytes.get(end) == Some(&b'"')).then_some(end + 1);
        }
        SCALAR => scalar_end(bytes, at),
        _ => return None,
    };
    (end < bytes.len()).then_some(end)
}
