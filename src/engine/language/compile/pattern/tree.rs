//! The tree of patterns: a trie by segment that finds the patterns of a path. The cost of a lookup does not grow with the
//! number of patterns, and is linear in the path: a node has one place in it, so that it is visited once.

use std::collections::HashMap;

use super::{Captures, MAX_CAPTURES, Pattern, Relation, segment::Segment, segment::good_slashes};
use crate::base::budget::Budget;

/// The work of one capture beside others, in steps: it is compared when a pattern is added and when one is looked up.
const CAPTURE_STEPS: usize = 32;

/// A trie of patterns with items, searched by path.
#[derive(Debug)]
pub struct Tree<T> {
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    literals: HashMap<Box<str>, usize>,
    /// In the order in which they are tried, see [`Segment::rank`].
    captures: Vec<(Segment, usize)>,
    /// Rest captures: those with the most segments after them first.
    rests: Vec<(RestEdge, usize)>,
    ends: Vec<T>,
}

/// A rest capture, as a way from a node to the node of the segments after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RestEdge {
    /// The number of segments after it, which are the last ones of the path.
    after: usize,
    slash: bool,
}

impl<T> Node<T> {
    fn children(&self, mut visit: impl FnMut(usize)) {
        let captures = self.captures.iter().map(|(_, child)| child);
        let rests = self.rests.iter().map(|(_, child)| child);
        self.literals.values().chain(captures).chain(rests).for_each(|child| visit(*child));
    }

    /// The work of comparing a segment with all captures, in steps.
    fn capture_steps(&self) -> usize {
        self.captures.iter().map(|(segment, _)| CAPTURE_STEPS * (1 + segment.members())).sum()
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: HashMap::new(), captures: Vec::new(), rests: Vec::new(), ends: Vec::new() }
    }
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl<T> Tree<T> {
    /// Adds an item at a pattern.
    pub fn insert(&mut self, pattern: &Pattern, item: T) {
        let mut at = self.add_all(0, pattern.front());
        if let Some(rest) = pattern.rest {
            at = self.rest_child(at, RestEdge { after: pattern.back().len(), slash: rest.slash });
            at = self.add_all(at, pattern.back());
        }
        let ends = &mut self.nodes[at].ends;
        // Most nodes have one, and no node has many.
        ends.reserve_exact(1);
        ends.push(item);
    }

    fn add_all(&mut self, mut at: usize, segments: &[Segment]) -> usize {
        for segment in segments {
            at = match self.child(at, segment) {
                Some(child) => child,
                None => self.add_child(at, segment),
            };
        }
        at
    }

    fn child(&self, at: usize, segment: &Segment) -> Option<usize> {
        let node = &self.nodes[at];
        match segment {
            Segment::Literal(text) => node.literals.get(text).copied(),
            Segment::Capture { .. } | Segment::OneOf { .. } => {
                node.captures.iter().find(|(known, _)| known == segment).map(|(_, child)| *child)
            }
        }
    }

    fn add_child(&mut self, at: usize, segment: &Segment) -> usize {
        let child = self.add_node();
        let node = &mut self.nodes[at];
        match segment {
            Segment::Literal(text) => {
                node.literals.insert(text.clone(), child);
            }
            Segment::Capture { .. } | Segment::OneOf { .. } => {
                node.captures.push((segment.clone(), child));
                node.captures.sort_by_key(|(segment, _)| segment.rank());
            }
        }
        child
    }

    fn rest_child(&mut self, at: usize, edge: RestEdge) -> usize {
        if let Some((_, child)) = self.nodes[at].rests.iter().find(|(known, _)| *known == edge) {
            return *child;
        }
        let child = self.add_node();
        let rests = &mut self.nodes[at].rests;
        rests.push((edge, child));
        rests.sort_by_key(|(edge, _)| (std::cmp::Reverse(edge.after), edge.slash));
        child
    }

    fn add_node(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    /// The first item that `choose` accepts, most specific pattern first, with the captures of its pattern. For a path
    /// without encoded slashes.
    pub fn find<'t, R>(&'t self, path: &str, choose: impl Fn(&'t T) -> Option<R>) -> Option<(R, Captures)> {
        self.search::<false, R>(path, choose)
    }

    /// The same for a path with encoded slashes.
    pub fn find_with_slashes<'t, R>(
        &'t self,
        path: &str,
        choose: impl Fn(&'t T) -> Option<R>,
    ) -> Option<(R, Captures)> {
        self.search::<true, R>(path, choose)
    }

    fn search<'t, const SLASHES: bool, R>(
        &'t self,
        path: &str,
        choose: impl Fn(&'t T) -> Option<R>,
    ) -> Option<(R, Captures)> {
        let start = path.strip_prefix('/').map(|_| 1)?;
        let captures = [(0, 0); MAX_CAPTURES];
        let mut search = Search::<SLASHES, _, _> { tree: self, path, choose, captures, depth: 0 };
        search.node(0, start).map(|found| (found, search.captures))
    }

    /// All items whose patterns may have a path in common with `pattern`. False if the budget is exceeded first.
    pub fn candidates<'t>(&'t self, pattern: &Pattern, found: &mut Vec<&'t T>, budget: &Budget) -> bool {
        let known = found.len();
        self.candidates_below(0, pattern.front(), pattern.rest.is_some(), found, budget);
        // They are compared one by one.
        let members: usize = pattern.segments.iter().map(Segment::members).sum();
        budget.work((found.len() - known) * members)
    }

    fn candidates_below<'t>(
        &'t self,
        at: usize,
        segments: &[Segment],
        rest: bool,
        found: &mut Vec<&'t T>,
        budget: &Budget,
    ) {
        let node = &self.nodes[at];
        if !budget.work(1 + node.capture_steps() + node.rests.len() + node.ends.len()) {
            return;
        }
        let Some((segment, after)) = segments.split_first() else {
            if rest {
                node.children(|child| self.all_below(child, found, budget));
            } else {
                found.extend(&node.ends);
            }
            return;
        };
        node.rests.iter().for_each(|(_, child)| self.all_below(*child, found, budget));
        if let Segment::Literal(text) = segment {
            if let Some(child) = node.literals.get(text) {
                self.candidates_below(*child, after, rest, found, budget);
            }
        } else if budget.work(node.literals.len() * (1 + segment.members())) {
            for (text, child) in &node.literals {
                if segment.matches(text) {
                    self.candidates_below(*child, after, rest, found, budget);
                }
            }
        }
        for (other, child) in &node.captures {
            if segment.relation(other) != Relation::Disjoint {
                self.candidates_below(*child, after, rest, found, budget);
            }
        }
    }

    fn all_below<'t>(&'t self, at: usize, found: &mut Vec<&'t T>, budget: &Budget) {
        let node = &self.nodes[at];
        if !budget.work(1 + node.ends.len() + node.rests.len() + node.captures.len()) {
            return;
        }
        found.extend(&node.ends);
        node.children(|child| self.all_below(child, found, budget));
    }
}

/// A depth-first search with backtracking, most specific child first. `SLASHES`: the path has encoded slashes.
struct Search<'t, 'p, const SLASHES: bool, T, F> {
    tree: &'t Tree<T>,
    path: &'p str,
    choose: F,
    captures: Captures,
    depth: usize,
}

impl<'t, const SLASHES: bool, T, R, F: Fn(&'t T) -> Option<R>> Search<'t, '_, SLASHES, T, F> {
    /// `start`: the first byte of the next segment; one past the end of the path if there is none.
    fn node(&mut self, at: usize, start: usize) -> Option<R> {
        let tree = self.tree;
        let node = &tree.nodes[at];
        if start > self.path.len() {
            return node.ends.iter().find_map(&self.choose);
        }
        let end = self.path[start..].find('/').map_or(self.path.len(), |slash| start + slash);
        let segment = &self.path[start..end];
        if let Some(child) = node.literals.get(segment)
            && let Some(found) = self.node(*child, end + 1)
        {
            return Some(found);
        }
        for (pattern, child) in &node.captures {
            if let Segment::Capture { prefix, suffix, .. } | Segment::OneOf { prefix, suffix, .. } = pattern
                && pattern.matches(segment)
                && (!SLASHES || pattern.slashes_fit(segment))
            {
                self.capture(start + prefix.len(), end - suffix.len());
                if let Some(found) = self.node(*child, end + 1) {
                    return Some(found);
                }
                self.depth -= 1;
            }
        }
        if node.rests.is_empty() || start == self.path.len() {
            return None;
        }
        self.rests(node, start)
    }

    /// The search below the rest captures of a node. The segments after one are the last ones of the path.
    fn rests(&mut self, node: &'t Node<T>, start: usize) -> Option<R> {
        for (edge, child) in &node.rests {
            let Some(end) = start_of_last(&self.path[start..], edge.after).map(|end| start + end) else {
                continue;
            };
            if end == start || SLASHES && !good_slashes(&self.path[start..end], edge.slash) {
                continue;
            }
            self.capture(start, end);
            if let Some(found) = self.node(*child, end + 1) {
                return Some(found);
            }
            self.depth -= 1;
        }
        None
    }

    fn capture(&mut self, start: usize, end: usize) {
        // A head is far smaller than 4 GiB, and a pattern has at most `MAX_CAPTURES` captures.
        let narrow = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        self.captures[self.depth] = (narrow(start), narrow(end));
        self.depth += 1;
    }
}

/// The position of the slash before the last `count` segments; the end of the text for none.
fn start_of_last(text: &str, count: usize) -> Option<usize> {
    match count.checked_sub(1) {
        None => Some(text.len()),
        Some(skipped) => text.rmatch_indices('/').nth(skipped).map(|(slash, _)| slash),
    }
}
