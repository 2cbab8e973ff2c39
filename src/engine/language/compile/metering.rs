//! Compiled metering of a wire format: pointers into requests and answers, and the use of the values there.
//!
//! All pointers of one kind of document form one [`Map`]. `request::meter` walks it while the bytes pass, so each map is
//! bounded: [`MAX_POINTERS`], [`MAX_STEPS`], [`MAX_NODES`]. This module reads no body. Read next: [`MapBuilder`], then
//! `request::meter`.

pub mod places;
mod pointer;
mod tree;

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use crate::base::usage::{Counter, CounterSet};

use places::{Places, PlacesProblem};

pub use pointer::{MAX_STEP, MAX_STEPS, Pointer, PointerProblem, Step};
pub use tree::{NO_NODE, Node, ROOT, reads};

/// The greatest number of pointers of a map.
pub const MAX_POINTERS: usize = 64;
/// The greatest number of nodes of a map: pointers that mix `*` and indexes need several for one step.
pub const MAX_NODES: usize = 2048;

/// The metering of an endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metering {
    /// The request's body.
    pub request: Arc<Map>,
    /// An answer that is one JSON value.
    pub body: Arc<Map>,
    /// An event of a stream.
    pub event: Arc<Map>,
    /// Framings of streamed answers; the content type of an answer selects one. Without any, no answer is a stream.
    pub framings: Vec<Framing>,
    /// The use of an answer without usage.
    pub when_missing: WhenMissing,
    /// The key that asks the upstream for usage.
    pub ask: Option<Arc<Ask>>,
    /// The model in the path. None if it stands in the body.
    pub path_model: Option<PathModel>,
}

impl Metering {
    /// True if the api file names content of either side.
    pub fn has_content(&self) -> bool {
        [&self.request, &self.body, &self.event].iter().any(|map| map.has_content())
    }

    /// True if a request names its model: in its path, or in its body.
    pub fn names_model(&self) -> bool {
        self.path_model.is_some() || self.request.has(|target| *target == Target::Model)
    }

    /// True if a request may have a cap on the tokens of its answer.
    pub fn has_cap(&self) -> bool {
        self.request.has(|target| *target == Target::MaxOutput)
    }

    /// True if a request may name models besides its model.
    pub fn names_other_models(&self) -> bool {
        self.request.has(|target| *target == Target::OtherModel)
    }

    /// True if tokens of prompts are counted.
    pub fn counts_prompt(&self) -> bool {
        self.counted().has_any(CounterSet::PROMPT)
    }

    /// True if tokens of answers are counted.
    pub fn counts_answer(&self) -> bool {
        self.counted().has_any(CounterSet::ANSWER)
    }

    /// True if anything is counted.
    pub fn counts_any(&self) -> bool {
        !self.counted().is_empty()
    }

    /// What is counted.
    pub fn counted(&self) -> CounterSet {
        [&self.body, &self.event, &self.request]
            .into_iter()
            .fold(CounterSet::default(), |all, map| all.or(map.counted()))
    }

    /// A text that is equal for equal metering.
    pub fn shape(&self) -> String {
        let Self { request, body, event, framings, when_missing, ask, path_model } = self;
        let maps = [request, body, event].map(|map| map.shape());
        format!("{maps:?} {framings:?} {when_missing:?} {ask:?} {path_model:?}")
    }
}

/// A model that the path of a request names: a capture, and the text around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathModel {
    before: Box<str>,
    /// The name of the capture.
    pub capture: Box<str>,
    after: Box<str>,
}

impl PathModel {
    /// Parses a text with one capture in braces. None for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (before, rest) = text.split_once('{')?;
        let (capture, after) = rest.split_once('}')?;
        let is_plain = |text: &str| !text.contains(['{', '}']);
        let is_good = !capture.is_empty() && [before, capture, after].into_iter().all(is_plain);
        is_good.then(|| Self { before: before.into(), capture: capture.into(), after: after.into() })
    }

    /// The model, if the capture has this value.
    pub fn model(&self, value: &str) -> String {
        format!("{}{value}{}", self.before, self.after)
    }
}

impl fmt::Display for PathModel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{{{}}}{}", self.before, self.capture, self.after)
    }
}

/// The use of an answer that carries no usage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenMissing {
    /// Tokens are estimated from the text, and marked.
    #[default]
    Estimate,
    /// Nothing is counted.
    None,
    /// The request asks for usage ([`Ask`]); an answer without it is estimated.
    Ask,
}

impl WhenMissing {
    /// All cases.
    pub const ALL: [Self; 3] = [Self::Estimate, Self::None, Self::Ask];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Estimate => "estimate",
            Self::None => "none",
            Self::Ask => "ask",
        }
    }

    /// The case of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// The framing of a streamed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events: `text/event-stream`.
    Sse,
    /// A JSON value a line: `application/x-ndjson` and its kin.
    Ndjson,
    /// One JSON array whose elements are the events: a JSON content type, and `[` as the first character.
    JsonArray,
    /// The binary event stream of AWS: `application/vnd.amazon.eventstream`.
    AwsEventStream,
}

impl Framing {
    /// All framings.
    pub const ALL: [Self; 4] = [Self::Sse, Self::Ndjson, Self::JsonArray, Self::AwsEventStream];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::Ndjson => "ndjson",
            Self::JsonArray => "json-array",
            Self::AwsEventStream => "aws-event-stream",
        }
    }

    /// The framing of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// The use of the value at a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A count. Of several pointers of one counter, the first in the order of [`MapBuilder::add`] that has a value counts.
    Count(Counter),
    /// A count that is added to that of [`Target::Count`].
    Plus(Counter),
    /// The model. Of this and the next three: the first pointer with a value, and of its matches the first.
    Model,
    /// The upstream's id of the response.
    Id,
    /// The finish reason; of the matches of a pointer the last.
    FinishReason,
    /// A value other than null and false reports an error.
    Error,
    /// The greatest number of tokens of the answer. Of several pointers, the first with a value.
    MaxOutput,
    /// A model that the upstream may call besides the model, or in its place. Limits and rules alone read it and the next three.
    OtherModel,
    /// The number of answers to each prompt, each of which may have the greatest number of tokens. Of several, the greatest.
    Answers,
    /// A prompt of several in one request.
    Prompts,
    /// A value that lets the request use more tokens than its size and the bounds of its answer say, unless it is a string that
    /// one of these globs matches.
    Unbounded(Box<[Box<str>]>),
    /// True asks for a streamed answer.
    Stream,
    /// Text of the side that the map describes, for estimates.
    Text,
    /// A part of the prompt that is no text. Any value but null is one.
    Other,
    /// Text of the answer, for exporters.
    Content,
    /// A JSON value of the request, for exporters, by its name.
    Prompt(Box<str>),
    /// A number, string or boolean of the request, for exporters, by its name.
    Parameter(Box<str>),
    /// Presence of a value other than null, by a number below 64.
    Mark(u8),
}

impl Target {
    /// True if the meter reads the value.
    pub fn is_metered(&self) -> bool {
        !matches!(self, Self::OtherModel | Self::Answers | Self::Prompts | Self::Unbounded(_))
    }
}

/// The combination of the matches of one pointer, in the order of the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Combine {
    /// The last.
    #[default]
    Last,
    /// The first.
    First,
    /// The sum.
    Sum,
    /// The greatest.
    Max,
    /// The number of matches that are not null.
    Count,
    /// The sum of the lengths of strings, in characters. Other values are absent.
    Length,
}

impl Combine {
    /// All combinations.
    pub const ALL: [Self; 6] = [Self::Last, Self::First, Self::Sum, Self::Max, Self::Count, Self::Length];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::First => "first",
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Count => "count",
            Self::Length => "length",
        }
    }

    /// The combination of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// The rule of a counter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CounterRule {
    /// The combination of matches.
    pub combine: Combine,
    /// Counters whose counts, as reported, this count includes. They are subtracted once each.
    pub minus: Vec<Counter>,
}

/// A pointer and the use of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The pointer.
    pub pointer: Pointer,
    /// The use.
    pub target: Target,
}

/// All pointers into one kind of document.
#[derive(Debug)]
pub struct Map {
    entries: Vec<Entry>,
    rules: BTreeMap<Counter, CounterRule>,
    nodes: Vec<Node>,
    has_content: bool,
    /// The rules by counter, for a look-up without a search.
    by_counter: [Option<CounterRule>; Counter::ALL.len()],
    /// The counters of [`Target::Count`].
    counted: CounterSet,
    has_counts: bool,
    places: OnceLock<Result<Arc<Places>, PlacesProblem>>,
}

impl Default for Map {
    fn default() -> Self {
        MapBuilder::default().build().expect("without pointers, there is nothing to mix")
    }
}

impl Map {
    /// The pointers, in the order in which they were added.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The rule of a counter.
    pub fn rule(&self, counter: Counter) -> Option<&CounterRule> {
        self.by_counter[counter as usize].as_ref()
    }

    /// True if a pointer has a target of this kind.
    fn has(&self, is_wanted: impl Fn(&Target) -> bool) -> bool {
        self.entries.iter().any(|entry| is_wanted(&entry.target))
    }

    /// The counters that a pointer counts, and not only adds to.
    pub fn counted(&self) -> CounterSet {
        self.counted
    }

    /// True if a pointer counts, or adds to a count.
    pub fn has_counts(&self) -> bool {
        self.has_counts
    }

    /// The pointers and the rules. All else is derived from them.
    pub fn parts(&self) -> (&[Entry], &BTreeMap<Counter, CounterRule>) {
        let Self {
            entries,
            rules,
            nodes: _,
            has_content: _,
            by_counter: _,
            counted: _,
            has_counts: _,
            places: _,
        } = self;
        (entries, rules)
    }

    /// A text that is equal for equal maps.
    pub fn shape(&self) -> String {
        let (entries, rules) = self.parts();
        let mut text = String::new();
        for Entry { pointer, target } in entries {
            let _ = write!(text, "{pointer}={target:?} ");
        }
        let _ = write!(text, "{rules:?}");
        text
    }

    /// True if a pointer names content: text of the answer, or a value of the prompt. Parameters are none.
    pub fn has_content(&self) -> bool {
        self.has_content
    }

    /// The places that limits and rules depend on, if the map is that of requests. Made once.
    pub fn places(&self) -> Result<&Arc<Places>, &PlacesProblem> {
        self.places.get_or_init(|| Places::of(self).map(Arc::new)).as_ref()
    }

    /// True without any pointer.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The nodes of the tree, for [`NO_NODE`] and [`ROOT`] on.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
}

/// Collects the pointers of a map.
#[derive(Debug, Default)]
pub struct MapBuilder {
    entries: Vec<Entry>,
    rules: BTreeMap<Counter, CounterRule>,
}

impl MapBuilder {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pointer: RFC 6901, with `*` for every element of an array. A number is an index of an array, or a key.
    pub fn add(&mut self, pointer: &str, target: Target) -> Result<(), PointerProblem> {
        let pointer = Pointer::parse(pointer)?;
        if self.entries.len() == MAX_POINTERS {
            return Err(PointerProblem::TooMany);
        }
        self.entries.push(Entry { pointer, target });
        Ok(())
    }

    /// Sets the rule of a counter; without one, the last match counts, and includes no other counter.
    pub fn rule(&mut self, counter: Counter, rule: CounterRule) {
        self.rules.insert(counter, rule);
    }

    /// The map. The error: its pointers mix `*` and indexes in too many ways.
    pub fn build(self) -> Result<Map, PointerProblem> {
        let Self { entries, rules } = self;
        let nodes = tree::build(&entries, &rules)?;
        let is_content = |target: &Target| matches!(target, Target::Content | Target::Prompt(_));
        let has_content = entries.iter().any(|entry| is_content(&entry.target));
        let counted = entries.iter().fold(CounterSet::default(), |set, entry| match &entry.target {
            Target::Count(counter) => set.with(*counter),
            _ => set,
        });
        let has_counts =
            entries.iter().any(|entry| matches!(entry.target, Target::Count(_) | Target::Plus(_)));
        let by_counter = Counter::ALL.map(|counter| rules.get(&counter).cloned());
        Ok(Map {
            entries,
            rules,
            nodes,
            has_content,
            by_counter,
            counted,
            has_counts,
            places: OnceLock::new(),
        })
    }
}

/// One key of a request that makes the upstream send usage, and the mark of the event that it sends then.
#[derive(Debug)]
pub struct Ask {
    /// The place of the key.
    pub at: Pointer,
    /// Its value.
    pub value: Value,
    /// Only requests with true at this pointer are changed.
    pub when: Option<Pointer>,
    /// The event to take out of the answer; none if the upstream sends no event of its own.
    pub extra: Option<Arc<ExtraEvent>>,
}

/// An event that the upstream sends only because it was asked: usage at one pointer, an empty array at another, and nothing
/// else that is new to a client.
#[derive(Debug)]
pub struct ExtraEvent {
    /// An object with members stands here.
    pub at: Pointer,
    /// An empty array stands here.
    pub empty: Pointer,
    /// The strings, numbers and booleans that it may have besides.
    pub with: Vec<Pointer>,
    /// Marks of values, as they pass: [`Self::VALUE`], [`Self::ARRAY`], [`Self::PASSES`].
    pub map: Arc<Map>,
}

impl ExtraEvent {
    /// The mark of a value at [`Self::at`].
    pub const VALUE: u8 = 0;
    /// The mark of a value at [`Self::empty`].
    pub const ARRAY: u8 = 1;
    /// The mark of a value that the event cannot have: an element of the array, or an error.
    pub const PASSES: u8 = 2;

    /// The event with such places, in a format whose events have the places `event`.
    pub fn new(at: &str, empty: &str, with: &[String], event: &Map) -> Result<Self, PointerProblem> {
        let mut map = MapBuilder::new();
        map.add(at, Target::Mark(Self::VALUE))?;
        map.add(empty, Target::Mark(Self::ARRAY))?;
        map.add(&format!("{empty}/*"), Target::Mark(Self::PASSES))?;
        for entry in event.entries().iter().filter(|entry| entry.target == Target::Error) {
            map.add(entry.pointer.as_str(), Target::Mark(Self::PASSES))?;
        }
        let (at, empty) = (Pointer::parse_single(at)?, Pointer::parse_single(empty)?);
        let with = with.iter().map(|pointer| Pointer::parse_single(pointer)).collect::<Result<_, _>>()?;
        Ok(Self { at, empty, with, map: Arc::new(map.build()?) })
    }
}

#[cfg(test)]
mod tests;
