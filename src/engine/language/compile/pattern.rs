//! Routing: path patterns, the relation of two patterns, and the tree (a trie by segment) that finds the patterns of a
//! path. The cost of a lookup does not grow with the number of patterns.
//!
//! A segment is literal, or holds one capture with literal text before or after it. `{rest...}` at the end captures one
//! or more whole segments. Precedence, segment by segment: literal, capture, rest. [`Pattern::relation`] finds pairs
//! without a clear precedence.

mod difference;

use std::{cmp::Ordering, collections::HashMap};

use crate::base::budget::Budget;

pub use difference::{Difference, NormalizedPath, percent_decode};

/// The greatest number of captures in a path.
pub const MAX_CAPTURES: usize = 8;

/// The length of the longest path, in bytes.
const MAX_PATH_BYTES: usize = 4096;

/// The work of one capture beside others, in steps: it is compared when a pattern is added and when one is looked up.
const CAPTURE_STEPS: usize = 32;

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
    rest: bool,
    /// Names of the captures, in order.
    captures: Vec<String>,
}

/// One segment of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Matches itself.
    Literal(Box<str>),
    /// Matches a segment with this prefix and suffix, and at least one character between.
    Capture {
        /// The text before the capture.
        prefix: Box<str>,
        /// The text after it.
        suffix: Box<str>,
    },
}

/// The relation of the sets of paths that two patterns match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// No path matches both.
    Disjoint,
    /// Both match the same paths.
    Equal,
    /// The second matches all paths of the first, and others.
    Subset,
    /// The first matches all paths of the second, and others.
    Superset,
    /// Some paths match both, and each matches others.
    Overlap,
}

/// The ranges of captures in a path: first byte, and one past the last.
pub type Captures = [(u32, u32); MAX_CAPTURES];

impl Pattern {
    /// Parses a path that starts with `/`. The error is a fragment.
    pub fn parse(path: &str) -> Result<Self, String> {
        let inner = path.strip_prefix('/').ok_or("it does not start with `/`")?;
        if path.len() > MAX_PATH_BYTES {
            return Err(format!("it has more than {MAX_PATH_BYTES} bytes"));
        }
        let mut pattern = Self { segments: Vec::new(), rest: false, captures: Vec::new() };
        for segment in inner.split('/') {
            if pattern.rest {
                return Err("`{rest...}` has to be the last segment".into());
            }
            pattern.push(segment)?;
        }
        if pattern.captures.len() > MAX_CAPTURES {
            return Err(format!("it has more than {MAX_CAPTURES} captures"));
        }
        Ok(pattern)
    }

    /// True if some path matches both, and none of the two has precedence.
    pub fn clashes(&self, other: &Self) -> bool {
        matches!(self.relation(other), Relation::Equal | Relation::Overlap)
    }

    /// The names of its captures, in order.
    pub fn captures(&self) -> &[String] {
        &self.captures
    }

    fn push(&mut self, segment: &str) -> Result<(), String> {
        let Some((prefix, tail)) = segment.split_once('{') else {
            check_literal(segment, true)?;
            self.segments.push(Segment::Literal(segment.into()));
            return Ok(());
        };
        let (name, suffix) = tail.split_once('}').ok_or("`{` without `}` after it")?;
        let (name, rest) = name.strip_suffix("...").map_or((name, false), |name| (name, true));
        check_name(name)?;
        check_literal(prefix, false)?;
        check_literal(suffix, false)?;
        if self.captures.iter().any(|known| known == name) {
            return Err(format!("it has two captures named `{name}`"));
        }
        if rest && !(prefix.is_empty() && suffix.is_empty()) {
            return Err(format!("`{{{name}...}}` has to be a whole segment"));
        }
        self.captures.push(name.to_owned());
        if rest {
            self.rest = true;
        } else {
            self.segments.push(Segment::Capture { prefix: prefix.into(), suffix: suffix.into() });
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if good { Ok(()) } else { Err(format!("`{name}` cannot be a capture's name: use `[a-z][a-z0-9_]*`")) }
}

/// Checks literal text of a path: RFC 3986's `pchar` without percent-encoding, so that a path has one spelling. `whole`:
/// the text is a whole segment, and must not be empty or a dot segment.
fn check_literal(text: &str, whole: bool) -> Result<(), String> {
    if whole && matches!(text, "" | "." | "..") {
        return Err("it has an empty or a dot segment".into());
    }
    if whole && text == "*" {
        return Err("`*` is no wildcard: `{name}` takes one segment, `{rest...}` all that follow".into());
    }
    if whole && text.starts_with(':') {
        let name = &text[1..];
        return Err(format!("`{text}` is no capture: write `{{{name}}}`"));
    }
    let good = |c: &char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(*c);
    match text.chars().find(|c| !good(c)) {
        None => Ok(()),
        Some(c) if c.is_control() => Err(format!("`{}` cannot stand in it", c.escape_default())),
        Some(c) => Err(format!("`{c}` cannot stand in it")),
    }
}

impl Segment {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => &**literal == text,
            Self::Capture { prefix, suffix } => {
                let captured = text.strip_prefix(&**prefix).and_then(|rest| rest.strip_suffix(&**suffix));
                // The `..` of `..:x` could become a whole segment at the upstream.
                captured.is_some_and(|one| !one.is_empty() && !is_dots(one) && !ends_inside_escape(one))
            }
        }
    }

    fn relation(&self, other: &Self) -> Relation {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) if a == b => Relation::Equal,
            (Self::Literal(_), Self::Literal(_)) => Relation::Disjoint,
            (Self::Literal(a), Self::Capture { .. }) if other.matches(a) => Relation::Subset,
            (Self::Capture { .. }, Self::Literal(b)) if self.matches(b) => Relation::Superset,
            (Self::Literal(_), Self::Capture { .. }) | (Self::Capture { .. }, Self::Literal(_)) => {
                Relation::Disjoint
            }
            (Self::Capture { prefix: ap, suffix: asx }, Self::Capture { prefix: bp, suffix: bsx }) => {
                let prefix = affix(ap.len().cmp(&bp.len()), ap.starts_with(&**bp), bp.starts_with(&**ap));
                let suffix = affix(asx.len().cmp(&bsx.len()), asx.ends_with(&**bsx), bsx.ends_with(&**asx));
                prefix.and(suffix)
            }
        }
    }
}

/// True for `.` and `..`, also percent-encoded or with a parameter: some servers remove `;x` before they resolve dot
/// segments.
pub fn is_dots(segment: &str) -> bool {
    if !segment.starts_with(['.', '%']) {
        return false;
    }
    let plain = segment.to_ascii_lowercase().replace("%2e", ".").replace("%3b", ";");
    matches!(plain.split(';').next(), Some("." | ".."))
}

/// True if a captured text ends with a part of a percent escape, as `%2` of `%20`.
fn ends_inside_escape(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().rev().take(2).any(|byte| *byte == b'%')
}

/// The relation of two prefixes or suffixes: the longer one matches less.
fn affix(length: Ordering, a_extends_b: bool, b_extends_a: bool) -> Relation {
    match length {
        Ordering::Equal if a_extends_b => Relation::Equal,
        Ordering::Greater if a_extends_b => Relation::Subset,
        Ordering::Less if b_extends_a => Relation::Superset,
        Ordering::Equal | Ordering::Greater | Ordering::Less => Relation::Disjoint,
    }
}

impl Relation {
    /// The relation of pairs, from the relations of their parts.
    fn and(self, other: Self) -> Self {
        use Relation::{Disjoint, Equal, Overlap, Subset, Superset};
        match (self, other) {
            (Disjoint, _) | (_, Disjoint) => Disjoint,
            (Equal, one) | (one, Equal) => one,
            (Subset, Subset) => Subset,
            (Superset, Superset) => Superset,
            (Subset | Superset | Overlap, Subset | Superset | Overlap) => Overlap,
        }
    }
}

impl Pattern {
    /// The relation of the paths that `self` and `other` match.
    pub fn relation(&self, other: &Self) -> Relation {
        let shared = self.segments.iter().zip(&other.segments);
        let front = shared.fold(Relation::Equal, |all, (a, b)| all.and(a.relation(b)));
        let tail = match (self.segments.len().cmp(&other.segments.len()), self.rest, other.rest) {
            (Ordering::Equal, a, b) if a == b => Relation::Equal,
            (Ordering::Greater, _, true) => Relation::Subset,
            (Ordering::Less, true, _) => Relation::Superset,
            (Ordering::Equal | Ordering::Greater | Ordering::Less, _, _) => Relation::Disjoint,
        };
        front.and(tail)
    }

    /// The captures, if the path matches. The naive algorithm, for comparison with the tree.
    #[cfg(test)]
    pub fn matches(&self, path: &str) -> Option<Vec<String>> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let n = self.segments.len();
        let fits =
            if self.rest { parts.len() > n && !parts[n..].join("/").is_empty() } else { parts.len() == n };
        if !fits || !self.segments.iter().zip(&parts).all(|(segment, part)| segment.matches(part)) {
            return None;
        }
        let mut captures: Vec<String> = Vec::new();
        for (segment, part) in self.segments.iter().zip(&parts) {
            if let Segment::Capture { prefix, suffix } = segment {
                captures.push(part[prefix.len()..part.len() - suffix.len()].to_owned());
            }
        }
        if self.rest {
            captures.push(parts[n..].join("/"));
        }
        Some(captures)
    }
}

/// A trie of patterns with items, searched by path.
#[derive(Debug)]
pub struct Tree<T> {
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    literals: HashMap<Box<str>, usize>,
    /// Longest literal text first: of two that match the same segment, that one is more specific.
    captures: Vec<(Segment, usize)>,
    ends: Vec<T>,
    rests: Vec<T>,
}

impl<T> Node<T> {
    fn children(&self, mut visit: impl FnMut(usize)) {
        let captures = self.captures.iter().map(|(_, child)| child);
        self.literals.values().chain(captures).for_each(|child| visit(*child));
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: HashMap::new(), captures: Vec::new(), ends: Vec::new(), rests: Vec::new() }
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
        let mut at = 0;
        for segment in &pattern.segments {
            at = match self.child(at, segment) {
                Some(child) => child,
                None => self.add_child(at, segment),
            };
        }
        let node = &mut self.nodes[at];
        if pattern.rest { &mut node.rests } else { &mut node.ends }.push(item);
    }

    fn child(&self, at: usize, segment: &Segment) -> Option<usize> {
        let node = &self.nodes[at];
        match segment {
            Segment::Literal(text) => node.literals.get(text).copied(),
            Segment::Capture { .. } => {
                node.captures.iter().find(|(known, _)| known == segment).map(|(_, child)| *child)
            }
        }
    }

    fn add_child(&mut self, at: usize, segment: &Segment) -> usize {
        let child = self.nodes.len();
        self.nodes.push(Node::default());
        let node = &mut self.nodes[at];
        match segment {
            Segment::Literal(text) => {
                node.literals.insert(text.clone(), child);
            }
            Segment::Capture { .. } => {
                node.captures.push((segment.clone(), child));
                node.captures.sort_by_key(|(segment, _)| std::cmp::Reverse(fixed_len(segment)));
            }
        }
        child
    }

    /// The first item that `choose` accepts, most specific pattern first, with the captures of its pattern.
    pub fn find<'t, R>(&'t self, path: &str, choose: impl Fn(&'t T) -> Option<R>) -> Option<(R, Captures)> {
        let start = path.strip_prefix('/').map(|_| 1)?;
        let mut search = Search { tree: self, path, choose, captures: [(0, 0); MAX_CAPTURES], depth: 0 };
        search.node(0, start).map(|found| (found, search.captures))
    }

    /// All items whose patterns may have a path in common with `pattern`. False if the budget is exceeded first.
    pub fn candidates<'t>(&'t self, pattern: &Pattern, found: &mut Vec<&'t T>, budget: &Budget) -> bool {
        self.candidates_below(0, &pattern.segments, pattern.rest, found, budget);
        !budget.is_exceeded()
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
        if !budget.work(1 + CAPTURE_STEPS * node.captures.len() + node.rests.len() + node.ends.len()) {
            return;
        }
        let Some((segment, after)) = segments.split_first() else {
            if rest {
                found.extend(&node.rests);
                node.children(|child| self.all_below(child, found, budget));
            } else {
                found.extend(&node.ends);
            }
            return;
        };
        found.extend(&node.rests);
        if let Segment::Literal(text) = segment {
            if let Some(child) = node.literals.get(text) {
                self.candidates_below(*child, after, rest, found, budget);
            }
        } else if budget.work(node.literals.len()) {
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
        found.extend(node.ends.iter().chain(&node.rests));
        node.children(|child| self.all_below(child, found, budget));
    }
}

fn fixed_len(segment: &Segment) -> usize {
    match segment {
        Segment::Literal(text) => text.len(),
        Segment::Capture { prefix, suffix } => prefix.len() + suffix.len(),
    }
}

/// A depth-first search with backtracking, most specific child first.
struct Search<'t, 'p, T, F> {
    tree: &'t Tree<T>,
    path: &'p str,
    choose: F,
    captures: Captures,
    depth: usize,
}

impl<'t, T, R, F: Fn(&'t T) -> Option<R>> Search<'t, '_, T, F> {
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
            if let Segment::Capture { prefix, suffix } = pattern
                && pattern.matches(segment)
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
        self.capture(start, self.path.len());
        let found = node.rests.iter().find_map(&self.choose);
        self.depth -= usize::from(found.is_none());
        found
    }

    fn capture(&mut self, start: usize, end: usize) {
        // A head is far smaller than 4 GiB, and a pattern has at most `MAX_CAPTURES` captures.
        let narrow = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        self.captures[self.depth] = (narrow(start), narrow(end));
        self.depth += 1;
    }
}

#[cfg(test)]
mod tests;
