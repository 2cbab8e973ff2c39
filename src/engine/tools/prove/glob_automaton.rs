//! Deterministic automata that read a folded header name byte by byte: one for a glob, one for a set of names.
//!
//! A glob's texts between stars are matched from left to right, each as early as possible (Knuth-Morris-Pratt): so a
//! glob has no more states than characters. Read next: `name_search`, which runs several side by side.

use std::collections::BTreeMap;

use crate::{base::header_name::FoldedName, language::compile::Glob};

/// The state of an automaton that can accept no more.
pub(super) const DEAD: u32 = u32::MAX;

/// An automaton.
#[derive(Debug)]
pub(super) enum Automaton {
    Glob(GlobAutomaton),
    Names(Vec<Node>),
}

/// The automaton of a glob. Its state is the number of the glob's characters that are matched, without stars.
#[derive(Debug)]
pub(super) struct GlobAutomaton {
    text: Vec<u8>,
    /// For each state, the longest shorter one with the same end, within its text between two stars.
    fallback: Vec<u32>,
    /// The start of each text between stars. The first begins at the start of the name, unless the glob starts with `*`.
    starts: Vec<u32>,
    /// For each state, the index of its text.
    piece: Vec<u32>,
    /// True if the first text is bound to the start of the name.
    is_anchored: bool,
    /// True if anything may follow the last text.
    is_open: bool,
}

/// A node of a trie of names.
#[derive(Debug, Default)]
pub(super) struct Node {
    next: BTreeMap<u8, u32>,
    is_name: bool,
}

impl Automaton {
    pub(super) fn glob(glob: &Glob) -> Self {
        Self::Glob(GlobAutomaton::new(glob.as_str().as_bytes()))
    }

    /// Accepts these names.
    pub(super) fn names<'n>(names: impl IntoIterator<Item = FoldedName<'n>>) -> Self {
        let mut nodes = vec![Node::default()];
        for name in names {
            let mut at = 0;
            for byte in name.as_str().bytes() {
                let new = narrow(nodes.len());
                let next = *nodes[at].next.entry(byte).or_insert(new);
                if next == new {
                    nodes.push(Node::default());
                }
                at = wide(next);
            }
            nodes[at].is_name = true;
        }
        Self::Names(nodes)
    }

    pub(super) fn step(&self, state: u32, byte: u8) -> u32 {
        match self {
            _ if state == DEAD => DEAD,
            Self::Glob(glob) => glob.step(state, byte),
            Self::Names(nodes) => {
                let node = &nodes[wide(state)];
                node.next.get(&byte).copied().unwrap_or(DEAD)
            }
        }
    }

    pub(super) fn accepts(&self, state: u32) -> bool {
        match self {
            _ if state == DEAD => false,
            Self::Glob(glob) => wide(state) == glob.text.len(),
            Self::Names(nodes) => nodes[wide(state)].is_name,
        }
    }

    /// True if it accepts whatever follows.
    pub(super) fn accepts_all_after(&self, state: u32) -> bool {
        matches!(self, Self::Glob(glob) if glob.is_open) && self.accepts(state)
    }

    /// The bytes that it treats differently from others.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Glob(glob) => glob.text.clone(),
            Self::Names(nodes) => nodes.iter().flat_map(|node| node.next.keys().copied()).collect(),
        }
    }
}

impl GlobAutomaton {
    fn new(glob: &[u8]) -> Self {
        let pieces: Vec<&[u8]> = glob.split(|byte| *byte == b'*').collect();
        let (is_anchored, is_open) = (!glob.starts_with(b"*"), glob.ends_with(b"*"));
        let pieces: Vec<&[u8]> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let mut made = Self {
            text: Vec::new(),
            fallback: vec![0],
            starts: Vec::new(),
            piece: Vec::new(),
            is_anchored,
            is_open,
        };
        for (index, piece) in pieces.iter().enumerate() {
            made.push(index, piece);
        }
        made.piece.push(narrow(pieces.len().saturating_sub(1)));
        // A glob without a star or a text accepts the empty name alone, as an anchored text of no bytes does.
        made
    }

    fn push(&mut self, index: usize, piece: &[u8]) {
        let start = self.text.len();
        self.starts.push(narrow(start));
        let mut matched = 0;
        for (at, byte) in piece.iter().enumerate() {
            if at > 0 {
                while matched > 0 && piece[matched] != *byte {
                    matched = wide(self.fallback[start + matched]) - start;
                }
                matched += usize::from(piece[matched] == *byte);
            }
            self.piece.push(narrow(index));
            // The state after the whole text is the start of the next one, but for the last.
            self.fallback.push(narrow(start + matched));
        }
        self.text.extend(piece);
    }

    fn step(&self, state: u32, byte: u8) -> u32 {
        let end = narrow(self.text.len());
        if state == end && self.is_open {
            return state;
        }
        let start = self.starts.get(wide(self.piece[wide(state)])).copied().unwrap_or(0);
        if self.piece[wide(state)] == 0 && self.is_anchored {
            return if self.text.get(wide(state)) == Some(&byte) { state + 1 } else { DEAD };
        }
        let mut state = state;
        loop {
            if self.text.get(wide(state)) == Some(&byte) {
                return state + 1;
            }
            if state == start {
                return state;
            }
            state = self.fallback[wide(state)];
        }
    }
}

/// A file is far smaller than 4 GiB: all states have a number.
fn narrow(state: usize) -> u32 {
    u32::try_from(state).unwrap_or(DEAD)
}

fn wide(state: u32) -> usize {
    state as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(automaton: &Automaton, name: &str) -> bool {
        automaton.accepts(name.bytes().fold(0, |state, byte| automaton.step(state, byte)))
    }

    proptest! {
        #[test]
        fn an_automaton_agrees_with_the_glob(glob in "[ab_*]{0,8}", name in "[ab_-]{0,10}") {
            let compiled = Glob::new(&glob);
            prop_assert_eq!(matches(&Automaton::glob(&compiled), &name), compiled.matches(&name));
        }
    }

    #[test]
    fn names_are_accepted_whole() {
        let names = Automaton::names(["x-key", "x-keys", "via"].map(FoldedName::of));
        for (name, expected) in
            [("x-key", true), ("x-keys", true), ("x-", false), ("vias", false), ("", false)]
        {
            assert_eq!(matches(&names, name), expected, "{name}");
        }
    }
}
