//! The tree of a map's pointers: each place of a document has at most one node, so that a walk follows one path.
//!
//! If pointers have both `*` and an index at a step, the index gets a node of its own, which also has all that is below
//! `*` (subset construction).

use std::collections::BTreeMap;

use super::{Combine, CounterRule, Entry, MAX_NODES, PointerProblem, Step, Target};
use crate::base::usage::Counter;

/// The number of the node without entries, for all places that no pointer is about.
pub const NO_NODE: u16 = 0;
/// The number of the whole document's node.
pub const ROOT: u16 = 1;

/// The uses of a value, as bits.
pub mod reads {
    /// The length of a string, in bytes.
    pub const TEXT: u8 = 1;
    /// The length of a string, in characters.
    pub const CHARACTERS: u8 = 2;
    /// A short string.
    pub const LABEL: u8 = 4;
    /// The text of a string, for exporters.
    pub const CONTENT: u8 = 8;
    /// A JSON value, for exporters.
    pub const JSON: u8 = 16;
    /// A number, a boolean, or the presence of a value.
    pub const SCALAR: u8 = 32;
}

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
    /// The uses of the value here: bits of [`reads`].
    pub reads: u8,
}

impl Node {
    /// The node of an object's member.
    #[inline]
    pub fn member(&self, key: &[u8]) -> u16 {
        if (self.lengths >> (key.len() & 63)) & 1 == 0 {
            return NO_NODE;
        }
        // Most keys of the same length differ in their first byte.
        let is_key =
            |known: &[u8]| known.len() == key.len() && known.first() == key.first() && *known == *key;
        self.keys.iter().find(|(known, _)| is_key(known)).map_or(NO_NODE, |(_, node)| *node)
    }

    /// The bit of the member that has this node. A map has too few pointers for two members to share one.
    pub fn bit(&self, member: u16) -> u64 {
        let index = self.keys.iter().position(|(_, node)| *node == member);
        index.map_or(0, |index| 1 << (index & 63))
    }

    /// The nodes directly below.
    pub fn below(&self) -> impl Iterator<Item = u16> {
        let keys = self.keys.iter().map(|(_, node)| *node);
        let elements = self.indexes.iter().map(|(_, node)| *node).chain([self.every]);
        keys.chain(elements).filter(|node| *node != NO_NODE)
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
    let metered = (0_u16..).zip(entries).filter(|(_, entry)| entry.target.is_metered());
    let all = metered.map(|(index, _)| index).collect();
    let mut builder = Builder { entries, known: BTreeMap::new(), open: Vec::new() };
    let mut nodes = vec![Node::default()];
    builder.number((0, all))?;
    while let Some(place) = builder.open.get(nodes.len() - 1).cloned() {
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
        let number =
            u16::try_from(self.open.len() + 1).ok().filter(|number| usize::from(*number) < MAX_NODES);
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
    let uses = node.entries.iter().map(|index| match &entries[usize::from(*index)].target {
        Target::Count(counter) | Target::Plus(counter) => match rules.get(counter).map(|rule| rule.combine) {
            Some(Combine::Length) => reads::CHARACTERS,
            Some(_) | None => reads::SCALAR,
        },
        Target::Text => reads::TEXT,
        Target::Content => reads::CONTENT,
        Target::Model | Target::Id | Target::FinishReason => reads::LABEL,
        Target::Prompt(_) | Target::Parameter(_) => reads::JSON,
        Target::Other | Target::Error | Target::MaxOutput | Target::Stream | Target::Mark(_) => reads::SCALAR,
        // They have no node.
        Target::OtherModel | Target::Answers | Target::Prompts | Target::Unbounded(_) => 0,
    });
    node.reads = uses.fold(0, |all, one| all | one);
    node
}
