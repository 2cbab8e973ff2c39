//! The check of one event: true only for an event that the upstream sent because it was asked, and that has nothing else.
//!
//! It reads the event as a whole, and keeps nothing of it. In doubt, the event is another one.

use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::language::compile::metering::{ExtraEvent, Pointer, Step};

/// The rule for the value at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// An object with members.
    Usage,
    /// An array without elements.
    Empty,
    /// A string, a number, a boolean or null.
    Scalar,
}

/// The places that were found.
#[derive(Debug, Default)]
struct Found {
    usage: bool,
    empty: bool,
}

/// A value of the event, and the places at or below it.
struct Place<'a> {
    rules: Vec<(&'a [Step], Rule)>,
    found: &'a mut Found,
}

/// True if the data of an event is one JSON value with usage, an empty array, and the members that the event may have.
/// Members that are null are absent.
pub(super) fn is_extra(extra: &ExtraEvent, data: &[u8]) -> bool {
    let ExtraEvent { at, empty, with, map: _ } = extra;
    let with = with.iter().map(|pointer| (pointer, Rule::Scalar));
    let rules = [(at, Rule::Usage), (empty, Rule::Empty)].into_iter().chain(with);
    let rules = rules.map(|(pointer, rule): (&Pointer, Rule)| (pointer.steps(), rule)).collect();
    let mut found = Found::default();
    let mut text = serde_json::Deserializer::from_slice(data);
    let read = Place { rules, found: &mut found }.deserialize(&mut text).and_then(|()| text.end());
    read.is_ok() && found.usage && found.empty
}

impl Place<'_> {
    /// The rule for this value; none if there are only rules for values below it, or none at all.
    fn rule(&self) -> Option<Rule> {
        self.rules.iter().find(|(steps, _)| steps.is_empty()).map(|(_, rule)| *rule)
    }

    fn scalar<E: Error>(self) -> Result<(), E> {
        if self.rule() == Some(Rule::Scalar) { Ok(()) } else { Err(E::custom("a value of its own")) }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value of the extra event")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        match self.rule() {
            None | Some(Rule::Scalar) => Ok(()),
            Some(Rule::Usage | Rule::Empty) => Err(E::custom("null")),
        }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        if self.rule() != Some(Rule::Empty) || array.next_element::<IgnoredAny>()?.is_some() {
            return Err(A::Error::custom("an array of its own"));
        }
        self.found.empty = true;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let Self { rules, found } = self;
        match rules.iter().find(|(steps, _)| steps.is_empty()) {
            None if rules.is_empty() => {
                return Err(A::Error::custom("an object that the file does not name"));
            }
            None => {}
            Some((_, Rule::Usage)) => {
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    found.usage = true;
                }
                return Ok(());
            }
            Some((_, Rule::Empty | Rule::Scalar)) => return Err(A::Error::custom("an object of its own")),
        }
        while let Some(key) = object.next_key::<String>()? {
            let below = |(steps, rule): &(_, Rule)| below(steps, &key).map(|rest| (rest, *rule));
            let rules = rules.iter().filter_map(below).collect();
            object.next_value_seed(Place { rules, found })?;
        }
        Ok(())
    }
}

/// The steps below a member, if the first step is its key.
fn below<'s>(steps: &&'s [Step], key: &str) -> Option<&'s [Step]> {
    let (Step::Name(name), rest) = steps.split_first()? else { return None };
    (**name == *key).then_some(rest)
}
