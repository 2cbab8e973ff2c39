//! Equal beginnings and ends of documents.
//!
//! The events of a stream differ little: most have the same bytes before their text, and the same after it. A walk that
//! comes from the same place over the same bytes, with no value to read among them, ends at the same place, and changes
//! nothing else. So it is skipped.

use super::{Frame, Scanner, State, text::quote_or_escape};
use crate::request::meter::tally::Tally;

/// The most bytes of a stretch.
const MAX_STRETCH: usize = 512;
/// Documents in a row that may begin in a new way: with more, remembering costs more than it saves.
const MAX_MISSES: u8 = 8;

/// The place of a walk between two tokens.
#[derive(Debug)]
struct Place {
    state: State,
    node: u16,
    /// The open containers.
    frames: Box<[Frame]>,
}

/// Bytes without a value to read, and the place after them.
#[derive(Debug)]
struct Stretch {
    bytes: Box<[u8]>,
    to: Place,
}

/// The stretches before and after the values of an earlier document.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    head: Option<Stretch>,
    /// With the place before it.
    tail: Option<(Place, Stretch)>,
    /// The uses of its text, if that is all that it has to read.
    text: Option<u8>,
    misses: u8,
    /// The values of the document at hand are watched.
    is_watched: bool,
    /// The same as `text`, of the document at hand.
    watched_text: Option<u8>,
    /// The place before the first of them.
    first: Option<(usize, Place)>,
    /// The place after the last of them.
    last: Option<(usize, Place)>,
    /// The document at hand begins as the earlier one.
    is_repeated: bool,
}

impl Scanner {
    fn place(&self) -> Place {
        Place { state: self.state, node: self.node, frames: self.frames[..self.depth].into() }
    }

    /// Equal places lead to equal walks.
    fn is_at(&self, place: &Place) -> bool {
        (self.state, self.node) == (place.state, place.node) && self.frames[..self.depth] == *place.frames
    }

    fn go_to(&mut self, place: &Place) {
        (self.state, self.node, self.depth) = (place.state, place.node, place.frames.len());
        self.frames[..self.depth].copy_from_slice(&place.frames);
    }

    /// The start of a document. Returns the place after what is skipped.
    #[inline]
    pub(super) fn skip_head(&mut self, bytes: &[u8]) -> usize {
        if !self.is_again {
            return 0;
        }
        let mut repeats = self.repeats.take().unwrap_or_default();
        let end = repeats.head_of(bytes).map(|head| {
            self.go_to(&head.to);
            head.bytes.len()
        });
        self.repeats = Some(repeats);
        end.unwrap_or_default()
    }

    /// A whole document that differs from an earlier one in its text alone, and what has to follow it. Returns the place after
    /// both; none if it is to be walked. A text with a line break is not taken: it may end there.
    #[inline]
    pub(in crate::request::meter) fn repeat(
        &mut self,
        bytes: &[u8],
        follows: &[u8],
        tally: &mut Tally,
    ) -> Option<usize> {
        let repeats = self.repeats.as_deref_mut().filter(|_| self.state == State::Start)?;
        let (used, head, (_, tail)) = (repeats.text?, repeats.head.as_ref()?, repeats.tail.as_ref()?);
        let rest = bytes.strip_prefix(&*head.bytes)?.strip_prefix(b"\"")?;
        let (text, rest) = rest.split_at(quote_or_escape(rest, 0));
        let rest = rest.strip_prefix(b"\"")?.strip_prefix(&*tail.bytes)?.strip_prefix(follows)?;
        if text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return None;
        }
        repeats.misses = 0;
        tally.text(used, text);
        Some(bytes.len() - rest.len())
    }

    /// After a value. Returns the place after what is skipped.
    #[inline]
    pub(super) fn skip_tail(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let mut repeats = self.repeats.take_if(|repeats| repeats.is_repeated)?;
        repeats.is_repeated = false;
        let tail = repeats.tail.as_ref().filter(|(_, tail)| bytes[at..].starts_with(&tail.bytes));
        let end = tail.filter(|(from, _)| self.is_at(from)).map(|(_, tail)| {
            self.go_to(&tail.to);
            at + tail.bytes.len()
        });
        self.repeats = Some(repeats);
        end
    }

    /// A value that is read begins at the place `at`. `text`: its uses, if it is a string whose end changes nothing.
    #[inline]
    pub(super) fn value_begins(&mut self, at: usize, text: Option<u8>) {
        let Some(repeats) = self.watched() else { return };
        let is_first = repeats.first.is_none();
        repeats.watched_text = text.filter(|_| is_first);
        if is_first {
            let first = Some((at, self.place()));
            if let Some(repeats) = self.watched() {
                repeats.first = first;
            }
        }
    }

    /// A value that is read has ended just before the place `at`.
    #[inline]
    pub(super) fn value_ended(&mut self, at: usize) {
        if self.watched().is_some() {
            let last = Some((at, self.place()));
            if let Some(repeats) = self.watched() {
                repeats.last = last;
            }
        }
    }

    /// A value that is read has no known end: the document at hand is not remembered.
    pub(super) fn value_is_open(&mut self) {
        if let Some(repeats) = self.watched() {
            repeats.is_watched = false;
        }
    }

    #[inline]
    fn watched(&mut self) -> Option<&mut Repeats> {
        self.repeats.as_deref_mut().filter(|repeats| repeats.is_watched)
    }

    /// The end of a piece. Remembers the stretches of a document that it has wholly.
    #[inline]
    pub(super) fn remember(&mut self, bytes: &[u8], end: usize) {
        if self.watched().is_none() {
            return;
        }
        let (is_done, place) = (self.is_done(), self.place());
        let Some(repeats) = self.watched() else { return };
        repeats.is_watched = false;
        if let (true, Some(first), Some(last)) = (is_done, repeats.first.take(), repeats.last.take()) {
            let (last, from) = last;
            repeats.text = repeats.watched_text;
            repeats.head = Stretch::new(bytes, 0, first);
            repeats.tail = Stretch::new(bytes, last, (end, place)).map(|tail| (from, tail));
        }
    }
}

impl Repeats {
    /// The earlier document's beginning, if this one has the same. Else this one is watched.
    #[inline]
    fn head_of(&mut self, bytes: &[u8]) -> Option<&Stretch> {
        let head = self.head.as_ref().filter(|head| bytes.starts_with(&head.bytes));
        self.is_repeated = head.is_some();
        if head.is_some() {
            self.misses = 0;
        } else if self.misses < MAX_MISSES {
            self.misses += 1;
            (self.is_watched, self.watched_text, self.first, self.last) = (true, None, None, None);
        }
        head
    }
}

impl Stretch {
    /// None if it is too long.
    fn new(bytes: &[u8], begin: usize, (end, to): (usize, Place)) -> Option<Self> {
        let bytes = bytes.get(begin..end).filter(|bytes| bytes.len() <= MAX_STRETCH)?.into();
        Some(Self { bytes, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        language::compile::metering::{MapBuilder, Target},
        request::meter::tally::Tally,
    };

    #[test]
    fn stretches_around_the_values() {
        let check = |documents: &[&str], expected: Option<(&str, &str)>| {
            let mut builder = MapBuilder::new();
            builder.add("/id", Target::Id).unwrap();
            builder.add("/choices/*/text", Target::Text).unwrap();
            let map = builder.build().unwrap();
            let (mut scanner, mut tally) = (Scanner::new(false), Tally::new(&map, false));
            for document in documents {
                assert_eq!(scanner.feed(&map, document.as_bytes(), &mut tally), document.len());
                scanner.reset();
            }
            let repeats = scanner.repeats.as_deref();
            let bytes = |stretch: Option<&'_ Stretch>| {
                stretch.map(|stretch| String::from_utf8(stretch.bytes.to_vec()).unwrap())
            };
            let found = bytes(repeats.and_then(|repeats| repeats.head.as_ref()))
                .zip(bytes(repeats.and_then(|repeats| repeats.tail.as_ref()).map(|(_, tail)| tail)));
            let found = found.as_ref().map(|(head, tail)| (head.as_str(), tail.as_str()));
            assert_eq!(found, expected, "{documents:?}");
        };
        let one = r#"{"id":"a","choices":[{"text":"x","n":1}],"end":2}"#;
        let around = Some((r#"{"id":"a","choices":[{"text":"#, r#","n":1}],"end":2}"#));
        check(&[one], None);
        check(&[one, one], around);
        check(&[one, one, one], around);
        // The id is read no more; a document without values changes nothing.
        check(&[one, one, r#"{"id":"b"}"#], around);
        check(
            &[one, one, r#"{"id":"b","choices":[{"text":"y"},{"text":"z"}]}"#],
            Some((r#"{"id":"b","choices":[{"text":"#, "}]}")),
        );
        let long = format!(r#"{{"id":"a","x":"{}","choices":[{{"text":"x"}}]}}"#, "x".repeat(MAX_STRETCH));
        check(&[one, &long], None);
        // Others end the attempts.
        let other: Vec<String> =
            (0..20).map(|number| format!(r#"{{"n":{number},"choices":[{{"text":"x"}}]}}"#)).collect();
        let others: Vec<&str> = other.iter().map(String::as_str).collect();
        check(&others, Some((r#"{"n":8,"choices":[{"text":"#, "}]}")));
    }
}
