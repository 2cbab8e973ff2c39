//! A simple reference for documents: the values at a map's pointers by a recursive walk over parsed JSON.

use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::*;
use crate::{
    base::usage::MAX_COUNT,
    language::compile::metering::Step,
    request::meter::{
        number::whole,
        tally::{Count, MAX_LABEL, Tally, bounded},
    },
};

/// A value of JSON; objects keep repeated keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "greater numbers are no counts")]
    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "greater numbers are no counts")]
    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Tree, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element()? {
            array.push(element);
        }
        Ok(Tree::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Tree::Object(object))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

/// The values of a tally, in a form to compare.
#[derive(Debug, PartialEq)]
pub(super) struct Values {
    counts: Vec<Count>,
    labels: [Option<Box<str>>; 3],
    max_output: Option<u64>,
    stream: Option<bool>,
    failed: bool,
    text_bytes: u64,
    content: String,
}

impl Values {
    pub(super) fn of(tally: &Tally) -> Self {
        Self {
            counts: tally.counts.to_vec(),
            labels: [tally.model.get(), tally.id.get(), tally.finish_reason.get()],
            max_output: tally.max_output(),
            stream: tally.stream,
            failed: tally.failed,
            text_bytes: tally.text_bytes,
            content: String::from_utf8(tally.content.clone().unwrap_or_default()).unwrap(),
        }
    }

    /// The values of parsed documents.
    pub(super) fn reference(map: &Map, documents: &[Tree]) -> Self {
        let mut places = Vec::new();
        for document in documents {
            let all = (0..map.entries().len()).map(|entry| (entry, map.entries()[entry].pointer.steps()));
            places_of(document, &all.collect::<Vec<_>>(), &mut places);
        }
        let at = |entry: usize| {
            places.iter().filter(move |(_, ended)| ended.contains(&entry)).map(|(tree, _)| *tree)
        };
        let counts = (0..map.entries().len()).map(|entry| match &map.entries()[entry].target {
            Target::Count(counter) | Target::Plus(counter) => {
                count(map.rule(*counter).unwrap().combine, *counter, at(entry))
            }
            _ => Count::Absent,
        });
        let entries = |target: Target| {
            (0..map.entries().len()).filter(move |entry| map.entries()[*entry].target == target)
        };
        let texts = |entry: usize| {
            at(entry).filter_map(|tree| match tree {
                Tree::Text(text) if !text.is_empty() => Some(text.as_str()),
                _ => None,
            })
        };
        let label = |text: &str| Box::from(bounded(text.as_bytes(), MAX_LABEL));
        let first = |target: Target| entries(target).find_map(|entry| texts(entry).next().map(label));
        let last = |target: Target| entries(target).find_map(|entry| texts(entry).next_back().map(label));
        let is_at = |ended: &Vec<usize>, target: &Target| {
            ended.iter().any(|entry| map.entries()[*entry].target == *target)
        };
        let text_of = |target: Target| {
            let chosen = places.iter().filter(move |(_, ended)| is_at(ended, &target));
            chosen
                .filter_map(|(tree, _)| if let Tree::Text(text) = tree { Some(text.as_str()) } else { None })
        };
        let caps = |entry| {
            let mut good = at(entry).filter_map(|tree| match tree {
                Tree::Number(number) => integer(*number),
                _ => None,
            });
            good.next_back()
        };
        let is_present = |tree: &Tree| *tree != Tree::Null;
        Self {
            counts: counts.collect(),
            labels: [first(Target::Model), first(Target::Id), last(Target::FinishReason)],
            max_output: entries(Target::MaxOutput).find_map(caps),
            stream: entries(Target::Stream)
                .flat_map(at)
                .rfind(|tree| is_present(tree))
                .map(|tree| *tree == Tree::Bool(true)),
            failed: entries(Target::Error)
                .flat_map(at)
                .any(|tree| is_present(tree) && *tree != Tree::Bool(false)),
            text_bytes: text_of(Target::Text).map(|text| whole(text.len())).sum(),
            content: text_of(Target::Content).collect(),
        }
    }
}

/// All values in the order of the text, each with the entries whose pointer ends there.
fn places_of<'t>(tree: &'t Tree, alive: &[(usize, &[Step])], places: &mut Vec<(&'t Tree, Vec<usize>)>) {
    let ended = alive.iter().filter(|(_, steps)| steps.is_empty()).map(|(entry, _)| *entry);
    places.push((tree, ended.collect()));
    let below = |is_on: &dyn Fn(&Step) -> bool| -> Vec<(usize, &[Step])> {
        let on = alive.iter().filter(|(_, steps)| steps.first().is_some_and(is_on));
        on.map(|(entry, steps)| (*entry, &steps[1..])).collect()
    };
    match tree {
        Tree::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                let is_on = |step: &Step| match step {
                    Step::Every => true,
                    Step::Name(name) => **name == *index.to_string(),
                };
                places_of(element, &below(&is_on), places);
            }
        }
        Tree::Object(members) => {
            for (key, value) in members {
                places_of(value, &below(&|step| *step == Step::Name(key.as_str().into())), places);
            }
        }
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::Text(_) => {}
    }
}

fn count<'t>(combine: Combine, counter: Counter, matches: impl Iterator<Item = &'t Tree>) -> Count {
    let values = matches.filter(|tree| **tree != Tree::Null).filter_map(|tree| match (combine, tree) {
        (Combine::Length, Tree::Text(text)) => Some(Some(whole(text.chars().count()))),
        (Combine::Length, _) => None,
        (Combine::Count, _) => Some(Some(1)),
        (_, Tree::Number(number)) => Some(good(*number, counter)),
        _ => Some(None),
    });
    let values: Vec<Option<u64>> = values.collect();
    if values.is_empty() {
        return Count::Absent;
    }
    let all = || values.iter().copied().collect::<Option<Vec<u64>>>();
    let combined = match combine {
        Combine::Last => *values.last().unwrap(),
        Combine::First => values[0],
        Combine::Max => all().map(|all| all.into_iter().max().unwrap()),
        Combine::Sum | Combine::Count | Combine::Length => all().map(|all| all.into_iter().sum()),
    };
    combined.filter(|value| *value <= MAX_COUNT).map_or(Count::Bad, Count::Good)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is within the bounds"
)]
fn integer(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}

fn good(number: f64, counter: Counter) -> Option<u64> {
    let number = if counter == Counter::Seconds { number.ceil() } else { number };
    integer(number).filter(|count| *count <= MAX_COUNT)
}
