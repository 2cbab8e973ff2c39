//! Facts about the metering of answers: the places of counts, of text and of content, and the key that asks for usage.
//!
//! Content that exporters get widens exposure. So does a key that is inserted into the body of a request, since no client
//! sent it, and an event that is taken out of an answer.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Fact, Key, Listing};
use crate::{
    base::suggest::backticked,
    language::compile::metering::{
        Ask, Combine, CounterRule, Entry, ExtraEvent, Framing, Map, Metering, Target, WhenMissing,
    },
    tools::diff::Subject,
};

const INSERTS: &str = "a key that no client sent is inserted into the bodies of requests";
const TAKES_OUT: &str = "an event is taken out of the answers that clients get";
const EXPORTS: &str = "exporters get more of requests and answers";
const UNJUDGED: &str = "limits and rules see less of what requests ask for";

impl Listing<'_> {
    pub(super) fn metering(&mut self, endpoint: &str, owner: &Key, metering: &Metering) {
        let Metering { request, body, event, framings, when_missing, ask, path_model } = metering;
        let mut value = format!("when missing: {}", when_missing.name());
        if !framings.is_empty() {
            let names: Vec<&str> = framings.iter().map(|framing| Framing::name(*framing)).collect();
            let _ = write!(value, ", streams: {}", names.join(", "));
        }
        if let Some(model) = path_model {
            let _ = write!(value, ", model: `{model}`");
        }
        self.metered(endpoint.to_owned(), owner, Fact::of(value));
        self.places(endpoint, owner, "request", request);
        // Most formats have the same places in both.
        if places(body) == places(event) {
            self.places(endpoint, owner, "body and event", body);
        } else {
            self.places(endpoint, owner, "body", body);
            self.places(endpoint, owner, "event", event);
        }
        if let Some(ask) = ask.as_ref().filter(|_| *when_missing == WhenMissing::Ask) {
            self.ask(endpoint, owner, ask);
        }
    }

    fn metered(&mut self, name: String, owner: &Key, fact: Fact) {
        self.add(Subject::Metering, name, Fact { owner: Some(owner.clone()), ..fact });
    }

    fn places(&mut self, endpoint: &str, owner: &Key, document: &str, map: &Map) {
        for (name, place) in places(map) {
            let Place { value, is_content, is_judged } = place;
            let reason = Some(EXPORTS).filter(|_| is_content);
            let judged = Some(UNJUDGED).filter(|_| is_judged);
            let fact = Fact { added: reason, changed: reason.or(judged), removed: judged, ..Fact::of(value) };
            self.metered(format!("{endpoint}: {name} in {document}"), owner, fact);
        }
    }

    fn ask(&mut self, endpoint: &str, owner: &Key, ask: &Ask) {
        let Ask { at, value, when, extra } = ask;
        let when = when.as_ref().map(|when| format!(", if `{when}` is true")).unwrap_or_default();
        let value = format!("`{at}` = `{value}`{when}");
        let fact = Fact { added: Some(INSERTS), changed: Some(INSERTS), ..Fact::of(value) };
        self.metered(format!("{endpoint}: ask"), owner, fact);
        if let Some(extra) = extra {
            // Its map is made of the pointers, and of those of errors.
            let ExtraEvent { at, empty, with, map: _ } = &**extra;
            let mut value = format!("the event with a value at `{at}` and an empty array at `{empty}`");
            for pointer in with {
                let _ = write!(value, ", with `{pointer}`");
            }
            let fact = Fact { added: Some(TAKES_OUT), changed: Some(TAKES_OUT), ..Fact::of(value) };
            self.metered(format!("{endpoint}: ask, taken out"), owner, fact);
        }
    }
}

/// The pointers of one use, as text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    value: String,
    /// True if exporters get the values.
    is_content: bool,
    /// True if limits and rules alone read the values.
    is_judged: bool,
}

/// The places of a map, by the name of their use.
fn places(map: &Map) -> BTreeMap<String, Place> {
    let mut places: BTreeMap<String, Place> = BTreeMap::new();
    let (entries, rules) = map.parts();
    for Entry { pointer, target } in entries {
        let (name, is_content) = used(target);
        let place = places.entry(name).or_default();
        place.is_content |= is_content;
        place.is_judged |= !target.is_metered();
        let (separator, plus) = match (&*place.value, target) {
            ("", _) => ("", ""),
            (_, Target::Plus(_)) => (" ", "plus "),
            (..) => (", ", ""),
        };
        let _ = write!(place.value, "{separator}{plus}`{pointer}`");
        if let Target::Unbounded(except) = target
            && !except.is_empty()
        {
            let _ = write!(place.value, " but for {}", backticked(except));
        }
    }
    for (counter, CounterRule { combine, minus }) in rules {
        let place = places.entry(counter.to_string()).or_default();
        if *combine != Combine::default() {
            let _ = write!(place.value, ", combined by {}", combine.name());
        }
        if !minus.is_empty() {
            let minus: Vec<&str> = minus.iter().map(|part| part.name()).collect();
            let _ = write!(place.value, ", minus {}", minus.join(", "));
        }
    }
    places
}

/// The name of a use, and true if exporters get the value.
fn used(target: &Target) -> (String, bool) {
    let name = match target {
        Target::Count(counter) | Target::Plus(counter) => counter.name(),
        Target::Model => "model",
        Target::Id => "id",
        Target::FinishReason => "finish_reason",
        Target::Error => "error",
        Target::MaxOutput => "max_output",
        Target::OtherModel => "other_models",
        Target::Answers => "answers",
        Target::Prompts => "prompts",
        Target::Unbounded(_) => "unbounded",
        Target::Stream => "stream",
        Target::Text => "text",
        Target::Other => "other parts of the prompt",
        Target::Content => return ("content".to_owned(), true),
        Target::Prompt(name) => return (format!("content `{name}`"), true),
        Target::Parameter(name) => return (format!("parameter `{name}`"), true),
        Target::Mark(mark) => return (format!("mark {mark}"), false),
    };
    (name.to_owned(), false)
}
