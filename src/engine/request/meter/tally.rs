//! The values that a walk finds: counts, short strings, lengths of text. Bounded, whatever the documents hold.

use super::number;
use crate::{
    base::usage::Counter,
    language::compile::metering::{Combine, Map, Node, Target, reads},
};

/// The most bytes of a model, an id and a finish reason.
pub(super) const MAX_LABEL: usize = 200;
/// The most bytes of the answer's text that exporters get.
pub(super) const MAX_CONTENT: usize = 400 * 1024;

/// The count at one pointer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Count {
    /// No value.
    #[default]
    Absent,
    /// A whole number that is not negative, up to [`MAX_COUNT`](crate::base::usage::MAX_COUNT).
    Good(u64),
    /// Another value.
    Bad,
}

/// A short string, of the first pointer that has one.
#[derive(Debug, Default)]
pub(super) struct Label {
    /// The number of its entry in the map.
    entry: u16,
    text: Vec<u8>,
}

/// The values of all documents of one side.
#[derive(Debug)]
pub(super) struct Tally {
    /// The count of each entry of the map; empty if it counts nothing.
    pub(super) counts: Box<[Count]>,
    pub(super) model: Label,
    pub(super) id: Label,
    pub(super) finish_reason: Label,
    max_output: Option<(u16, u64)>,
    /// The request asks for a stream.
    pub(super) stream: Option<bool>,
    /// The answer reports an error.
    pub(super) failed: bool,
    /// The request has a part of the prompt that is no text, or text that another one replaces.
    pub(super) has_other: bool,
    /// A bit for each mark.
    pub(super) marks: u64,
    /// Bytes of text.
    pub(super) text_bytes: u64,
    /// Bytes of text up to the end of the last document that counts tokens of an answer.
    pub(super) text_bytes_counted: u64,
    /// True if the document at hand counts tokens of an answer.
    counts_answer: bool,
    /// The text of the answer, if exporters take it.
    pub(super) content: Option<Vec<u8>>,
    /// The characters of the string at hand.
    characters: u64,
    /// The start of the string at hand.
    label: Vec<u8>,
}

/// A value other than a string, a number and null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found<'a> {
    Number(&'a [u8]),
    True,
    False,
    /// A string or a container.
    Other,
}

impl Label {
    /// The text; invalid UTF-8 is replaced.
    pub(super) fn get(&self) -> Option<Box<str>> {
        (!self.is_empty()).then(|| bounded(&self.text, MAX_LABEL).into())
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// The text of the first bytes, cut at a character. Invalid UTF-8 is replaced.
pub(super) fn bounded(bytes: &[u8], most: usize) -> String {
    if let Some(text) = str::from_utf8(bytes).ok().filter(|text| text.len() <= most) {
        return text.to_owned();
    }
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(most)]).into_owned();
    if bytes.len() > most {
        // The cut may lie within a character.
        let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
        text.truncate(whole);
    }
    text.truncate(text.floor_char_boundary(most));
    text
}

impl Tally {
    /// No values yet.
    pub(super) fn new(map: &Map, content: bool) -> Self {
        Self {
            counts: vec![Count::Absent; if map.has_counts() { map.entries().len() } else { 0 }].into(),
            model: Label::default(),
            id: Label::default(),
            finish_reason: Label::default(),
            max_output: None,
            stream: None,
            failed: false,
            has_other: false,
            marks: 0,
            text_bytes: 0,
            text_bytes_counted: 0,
            counts_answer: false,
            content: content.then(Vec::new),
            characters: 0,
            label: Vec::new(),
        }
    }

    /// The greatest number of tokens of the answer that the request allows.
    pub(super) fn max_output(&self) -> Option<u64> {
        self.max_output.map(|(_, value)| value)
    }

    /// The end of a document.
    pub(super) fn document_ended(&mut self) {
        if core::mem::take(&mut self.counts_answer) {
            self.text_bytes_counted = self.text_bytes;
        }
    }

    /// Drops counts, labels and other values from a place on: another value follows there. Bytes of text stay.
    pub(super) fn forget(&mut self, map: &Map, place: u16) {
        let node = &map.nodes()[usize::from(place)];
        for entry in &node.entries {
            if let Some(count) = self.counts.get_mut(usize::from(*entry)) {
                *count = Count::Absent;
            }
            let target = &map.entries()[usize::from(*entry)].target;
            match target {
                Target::Stream => self.stream = None,
                // The bytes of the text that nobody reads are not known apart: nothing is learned from them.
                Target::Text => self.has_other = true,
                Target::MaxOutput if self.max_output.is_some_and(|(known, _)| known == *entry) => {
                    self.max_output = None;
                }
                _ => {
                    if let Some(label) = self.label_of(target).filter(|label| label.entry == *entry) {
                        label.text.clear();
                    }
                }
            }
        }
        for below in node.below() {
            self.forget(map, below);
        }
    }

    /// The start of a string. Returns the uses of its text.
    pub(super) fn open_string(&mut self, map: &Map, node: &Node) -> u8 {
        if node.reads & reads::SCALAR != 0 {
            self.found(map, node, Found::Other);
        }
        let mut used = node.reads & (reads::TEXT | reads::CHARACTERS);
        if node.reads & reads::CONTENT != 0 && self.content.is_some() {
            used |= reads::CONTENT;
        }
        if node.reads & reads::LABEL != 0 && self.wants_label(map, node) {
            used |= reads::LABEL;
        }
        self.characters = 0;
        self.label.clear();
        used
    }

    /// A part of the string at hand.
    #[inline]
    pub(super) fn text(&mut self, used: u8, part: &[u8]) {
        if used & reads::TEXT != 0 {
            self.text_bytes = self.text_bytes.saturating_add(number::length(part));
        }
        if used != reads::TEXT {
            self.use_text(used, part);
        }
    }

    fn use_text(&mut self, used: u8, part: &[u8]) {
        if used & reads::CHARACTERS != 0 {
            let characters = part.iter().filter(|byte| *byte & 0xC0 != 0x80).count();
            self.characters = self.characters.saturating_add(number::whole(characters));
        }
        if used & reads::LABEL != 0 {
            append(&mut self.label, part, MAX_LABEL + 1);
        }
        if used & reads::CONTENT != 0
            && let Some(content) = &mut self.content
        {
            append(content, part, MAX_CONTENT + 1);
        }
    }

    /// The end of the string at hand.
    pub(super) fn close_string(&mut self, map: &Map, node: &Node, used: u8) {
        if used & (reads::CHARACTERS | reads::LABEL) != 0 {
            let label = core::mem::take(&mut self.label);
            self.text_ended(map, node, self.characters, &label);
            self.label = label;
        }
    }

    /// A whole string that has no escape.
    pub(super) fn whole_string(&mut self, map: &Map, node: &Node, used: u8, text: &[u8]) {
        self.text(used & !reads::LABEL, text);
        if used & (reads::CHARACTERS | reads::LABEL) != 0 {
            let label = if used & reads::LABEL == 0 { &[] } else { &text[..text.len().min(MAX_LABEL + 1)] };
            self.text_ended(map, node, self.characters, label);
        }
    }

    /// The end of a string with so many characters, and the start of its text if it is a label.
    fn text_ended(&mut self, map: &Map, node: &Node, characters: u64, label: &[u8]) {
        for entry in &node.entries {
            match &map.entries()[usize::from(*entry)].target {
                Target::Count(counter) | Target::Plus(counter)
                    if combine(map, *counter) == Combine::Length =>
                {
                    self.count(*entry, *counter, Combine::Sum, Count::Good(characters));
                }
                target if !label.is_empty() && self.is_wanted(*entry, target) => {
                    if let Some(known) = self.label_of(target) {
                        known.entry = *entry;
                        known.text.clear();
                        known.text.reserve_exact(label.len());
                        known.text.extend_from_slice(label);
                    }
                }
                _ => {}
            }
        }
    }

    /// A number or literal. False if it is none of JSON.
    pub(super) fn scalar(&mut self, map: &Map, node: &Node, scalar: &[u8]) -> bool {
        let found = match scalar {
            b"null" => return true,
            b"true" => Found::True,
            b"false" => Found::False,
            [b'-' | b'0'..=b'9', ..] => Found::Number(scalar),
            _ => return false,
        };
        self.found(map, node, found);
        true
    }

    /// A container.
    pub(super) fn other(&mut self, map: &Map, node: &Node) {
        self.found(map, node, Found::Other);
    }

    fn found(&mut self, map: &Map, node: &Node, found: Found<'_>) {
        for entry in &node.entries {
            match &map.entries()[usize::from(*entry)].target {
                Target::Count(counter) | Target::Plus(counter) => {
                    let combine = combine(map, *counter);
                    match (combine, found) {
                        (Combine::Length, _) => {}
                        (Combine::Count, _) => self.count(*entry, *counter, Combine::Sum, Count::Good(1)),
                        (_, Found::Number(number)) => {
                            self.count(*entry, *counter, combine, number::parse(number, *counter));
                        }
                        (_, Found::True | Found::False | Found::Other) => {
                            self.count(*entry, *counter, combine, Count::Bad);
                        }
                    }
                }
                Target::Error => self.failed |= found != Found::False,
                Target::Mark(mark) => self.marks |= 1 << (mark & 63),
                Target::Stream => self.stream = Some(found == Found::True),
                Target::Other => self.has_other = true,
                Target::MaxOutput => self.cap(*entry, found),
                Target::Model
                | Target::Id
                | Target::FinishReason
                | Target::Text
                | Target::Content
                | Target::Prompt(_)
                | Target::Parameter(_)
                // These have no node.
                | Target::OtherModel
                | Target::Answers
                | Target::Prompts
                | Target::Unbounded(_) => {}
            }
        }
    }

    fn cap(&mut self, entry: u16, found: Found<'_>) {
        let Found::Number(number) = found else { return };
        if let Some(value) = number::integer(number, false)
            && self.max_output.is_none_or(|(known, _)| entry <= known)
        {
            self.max_output = Some((entry, value));
        }
    }

    fn count(&mut self, entry: u16, counter: Counter, combine: Combine, value: Count) {
        self.counts_answer |= counter.is_tokens() && !counter.is_prompt();
        let count = &mut self.counts[usize::from(entry)];
        *count = match (*count, value, combine) {
            (Count::Absent, chosen, _) | (_, chosen, Combine::Last) | (chosen, _, Combine::First) => chosen,
            (Count::Good(one), Count::Good(other), Combine::Max) => Count::Good(one.max(other)),
            (Count::Good(one), Count::Good(other), Combine::Sum | Combine::Count | Combine::Length) => {
                number::good(one.saturating_add(other))
            }
            (_, _, Combine::Max | Combine::Sum | Combine::Count | Combine::Length) => Count::Bad,
        };
    }

    fn wants_label(&mut self, map: &Map, node: &Node) -> bool {
        node.entries.iter().any(|entry| self.is_wanted(*entry, &map.entries()[usize::from(*entry)].target))
    }

    /// True if a label of that entry is better than the known one.
    fn is_wanted(&mut self, entry: u16, target: &Target) -> bool {
        let is_finish_reason = *target == Target::FinishReason;
        self.label_of(target).is_some_and(|known| {
            known.is_empty() || entry < known.entry || (is_finish_reason && entry == known.entry)
        })
    }

    fn label_of(&mut self, target: &Target) -> Option<&mut Label> {
        match target {
            Target::Model => Some(&mut self.model),
            Target::Id => Some(&mut self.id),
            Target::FinishReason => Some(&mut self.finish_reason),
            Target::Count(_)
            | Target::Plus(_)
            | Target::Error
            | Target::MaxOutput
            | Target::OtherModel
            | Target::Answers
            | Target::Prompts
            | Target::Unbounded(_)
            | Target::Stream
            | Target::Text
            | Target::Other
            | Target::Content
            | Target::Prompt(_)
            | Target::Parameter(_)
            | Target::Mark(_) => None,
        }
    }
}

fn combine(map: &Map, counter: Counter) -> Combine {
    map.rule(counter).map_or(Combine::default(), |rule| rule.combine)
}

fn append(text: &mut Vec<u8>, part: &[u8], most: usize) {
    let room = most.saturating_sub(text.len());
    text.extend_from_slice(&part[..part.len().min(room)]);
}
