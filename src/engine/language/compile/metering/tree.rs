//! The tree of a map's pointers: each place of a document has at most one node, so that a walk follows one path.
//!
//! Where pointers have both `*` and an index at a step, the index gets a node of its own, which also has what is below
//! `*` (subset construction).

use std::collections::BTreeMap;

use super::{Combine, CounterRule, Entry, MAX_NODES, PointerProblem, Step, Target};
use crate::base::usage::Counter;

/// No node. The number is that of the root, which is no node's child.
pub const NO_NODE: u16 = 0;

/// A place in a document.
#[derive(Debug, Default)]
pub struct Node {
    /// The members of an object that have a node.
    keys: Box<[(Box<[u8]>, u16)]>,
    /// A bit for the length of each key, modulo 64.
    lengths: u64,
    /// The elements of an array that have a node of their own.
    indexes: Box<[(u32, u16)]>,
    /// The node of all other elements.
    every: u16,
    /// The entries whose value stands here.
    pub entries: Box<[u16]>,
    /// True if a string here is used, in whole or as a length.
    pub reads_strings: bool,
    /// True if the characters of a string here are counted.
    pub counts_characters: bool,
    /// True if an entry takes the whole value as JSON.
    pub takes_json: bool,
}

impl Node {
    /// The node of an object's member.
    #[inline]
    pub fn member(&self, key: &[u8]) -> u16 {
        if self.lengths >> (key.len() & 63) & 1 == 0 {
            return NO_NODE;
        }
        self.keys.iter().find(|(known, _)| **known == *key).map_or(NO_NODE, |(_, node)| *node)
    }

    /// The node of an array's element.
    #[inline]
    pub fn element(&self, index: u32) -> u16 {
        self.indexes.iter().find(|(known, _)| *known == index).map_or(self.every, |(_, node)| *node)
    }

    /// True if something below it has a node.
    #[inline]
    pub fn has_below(&self) -> bool {
        self.lengths != 0 || self.every != NO_NODE || !self.indexes.is_empty()
    }
}

/// The entries that agree on the way to a place, and the number of steps to it.
type Place = (usize, Vec<u16>);

struct Builder<'a> {
    entries: &'a [Entry],
    known: BTreeMap<Place, u16>,
    open: Vec<Place>,
}

/// The nodes for entries, the root first.
pub(super) fn build(
    entries: &[Entry],
    rules: &BTreeMap<Counter, CounterRule>,
) -> Result<Vec<Node>, PointerProblem> {
    let all = (0_u16..).zip(entries).map(|(index, _)| index).collect();
    let mut builder = Builder { entries, known: BTreeMap::new(), open: Vec::new() };
    let mut nodes = Vec::new();
    if entries.is_empty() {
        return Ok(nodes);
    }
    builder.number((0, all))?;
    while let Some(place) = builder.open.get(nodes.len()).cloned() {
        let node = builder.node(&place)?;
        nodes.push(finished(node, entries, rules));
    }
    Ok(nodes)
}

impl Builder<'_> {
    /// The number of a place's node, a new one if it has none.
    fn number(&mut self, place: Place) -> Result<u16, PointerProblem> {
        if let Some(known) = self.known.get(&place) {
            return Ok(*known);
        }
        let number = u16::try_from(self.open.len()).ok().filter(|number| usize::from(*number) < MAX_NODES);
        let number = number.ok_or(PointerProblem::TooMixed)?;
        self.known.insert(place.clone(), number);
        self.open.push(place);
        Ok(number)
    }

    fn node(&mut self, (depth, alive): &Place) -> Result<Node, PointerProblem> {
        let entries = self.entries;
        let step = |index: &u16| entries[usize::from(*index)].pointer.steps().get(*depth);
        let ended: Vec<u16> = alive.iter().copied().filter(|index| step(index).is_none()).collect();
        let with = |chosen: &dyn Fn(&Step) -> bool| -> Vec<u16> {
            alive.iter().copied().filter(|index| step(index).is_some_and(chosen)).collect()
        };
        let mut names: Vec<&Step> =
            alive.iter().filter_map(step).filter(|step| **step != Step::Every).collect();
        names.sort();
        names.dedup();
        let (mut keys, mut indexes, mut lengths) = (Vec::new(), Vec::new(), 0);
        for name in names {
            let Step::Name(key) = name else { continue };
            lengths |= 1_u64 << (key.len() & 63);
            keys.push((key.as_bytes().into(), self.number((depth + 1, with(&|step| step == name)))?));
            if let Some(index) = name.index() {
                let here = with(&|step| step == name || *step == Step::Every);
                indexes.push((index, self.number((depth + 1, here))?));
            }
        }
        let every = with(&|step| *step == Step::Every);
        let every = if every.is_empty() { NO_NODE } else { self.number((depth + 1, every))? };
        let (keys, indexes, ended) = (keys.into(), indexes.into(), ended.into());
        Ok(Node { keys, lengths, indexes, every, entries: ended, ..Node::default() })
    }
}

fn finished(mut node: Node, entries: &[Entry], rules: &BTreeMap<Counter, CounterRule>) -> Node {
    for index in &node.entries {
        match &entries[usize::from(*index)].target {
            Target::Count(counter) | Target::Plus(counter) => {
                let combine = rules.get(counter).map_or(Combine::default(), |rule| rule.combine);
                let length = combine == Combine::Length;
                node.reads_strings |= length;
                node.counts_characters |= length;
            }
            Target::Model | Target::Id | Target::FinishReason | Target::Text | Target::Content => {
                node.reads_strings = true;
            }
            Target::Prompt(_) | Target::Parameter(_) => node.takes_json = true,
            Target::Error | Target::MaxOutput | Target::Stream | Target::Mark(_) => {}
        }
    }
    node
}
