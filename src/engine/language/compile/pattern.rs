//! Routing: path patterns, the relation of two patterns, and the tree (a trie by segment) that finds the patterns of a
//! path. The cost of a lookup does not grow with the number of patterns.
//!
//! A segment is literal, or holds one capture with literal text before or after it. `{rest...}` captures one or more whole
//! segments: all but those that the pattern has before it and after it. Precedence, segment by segment: literal, capture
//! of a closed set, capture, rest. [`Pattern::relation`] finds pairs without a clear precedence.
//!
//! Read next: `segment`, one segment; `tree`, the trie.

mod difference;
mod segment;
mod tree;

use std::{cmp::Ordering, collections::BTreeMap};

pub use difference::{Difference, NormalizedPath, percent_decode};
use segment::{Segment, check_literal, check_name, slash_relation};
pub use segment::{between_slashes, is_dots, members_problem};
pub use tree::Tree;

/// The greatest number of captures in a path.
pub const MAX_CAPTURES: usize = 8;

/// The length of the longest path, in bytes.
const MAX_PATH_BYTES: usize = 4096;

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// All segments but the rest capture.
    segments: Vec<Segment>,
    rest: Option<Rest>,
    /// Names of the captures, in order.
    captures: Vec<String>,
}

/// A rest capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rest {
    /// The number of segments before it.
    at: usize,
    /// True if encoded slashes may stand in it.
    slash: bool,
}

/// Rules for the captures of a path, by name.
#[derive(Debug, Clone, Default)]
pub struct CaptureRules {
    /// Closed sets.
    pub sets: BTreeMap<String, Vec<String>>,
    /// Captures in which an encoded slash may stand.
    pub slashes: Vec<String>,
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
    /// Some paths may match both, and none of the two is more specific in every segment.
    Overlap,
}

/// The ranges of captures in a path: first byte, and one past the last.
pub type Captures = [(u32, u32); MAX_CAPTURES];

impl Pattern {
    /// Parses a path that starts with `/`. The error is a fragment.
    pub fn parse(path: &str) -> Result<Self, String> {
        Self::parse_with(path, &CaptureRules::default())
    }

    /// Parses a path whose captures have these rules. Rules for other names are ignored. The error is a fragment.
    pub fn parse_with(path: &str, rules: &CaptureRules) -> Result<Self, String> {
        let inner = path.strip_prefix('/').ok_or("it does not start with `/`")?;
        if path.len() > MAX_PATH_BYTES {
            return Err(format!("it has more than {MAX_PATH_BYTES} bytes"));
        }
        let mut pattern = Self { segments: Vec::new(), rest: None, captures: Vec::new() };
        for segment in inner.split('/') {
            pattern.push(segment, rules)?;
        }
        if pattern.captures.len() > MAX_CAPTURES {
            return Err(format!("it has more than {MAX_CAPTURES} captures"));
        }
        pattern.segments.shrink_to_fit();
        pattern.captures.shrink_to_fit();
        Ok(pattern)
    }

    /// True if some path may match both, and none of the two has precedence.
    pub fn clashes(&self, other: &Self) -> bool {
        matches!(self.relation(other), Relation::Equal | Relation::Overlap)
    }

    /// The names of its captures, in order.
    pub fn captures(&self) -> &[String] {
        &self.captures
    }

    /// True if an encoded slash may stand in one of its captures.
    pub fn takes_slashes(&self) -> bool {
        self.rest.is_some_and(|rest| rest.slash) || self.segments.iter().any(Segment::takes_slashes)
    }

    /// The segments before the rest capture, or all of them.
    fn front(&self) -> &[Segment] {
        &self.segments[..self.rest.map_or(self.segments.len(), |rest| rest.at)]
    }

    /// The segments after the rest capture.
    fn back(&self) -> &[Segment] {
        &self.segments[self.front().len()..]
    }

    fn push(&mut self, segment: &str, rules: &CaptureRules) -> Result<(), String> {
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
        let slash = rules.slashes.iter().any(|one| one == name);
        if rest {
            if self.rest.is_some() {
                return Err(format!("it has a second rest capture, `{{{name}...}}`"));
            }
            self.rest = Some(Rest { at: self.segments.len(), slash });
        } else {
            let (prefix, suffix) = (prefix.into(), suffix.into());
            self.segments.push(match rules.sets.get(name) {
                Some(members) => Segment::of_set(prefix, suffix, members),
                None => Segment::Capture { prefix, suffix, slash },
            });
        }
        Ok(())
    }

    /// The relation of the paths that `self` and `other` match.
    ///
    /// It compares the segments before the rest captures, counted from the front, and those after them, counted from the
    /// end. Every path that matches both has these segments. If each of them can be in both patterns, some long path is.
    pub fn relation(&self, other: &Self) -> Relation {
        match (self.rest, other.rest) {
            (None, None) if self.segments.len() != other.segments.len() => Relation::Disjoint,
            (None, None) => zip(self.segments.iter(), other.segments.iter()),
            (None, Some(rest)) => self.within(other, rest),
            (Some(rest), None) => other.within(self, rest).turned(),
            (Some(one), Some(two)) => {
                let front = zip(self.front().iter(), other.front().iter());
                let back = zip(self.back().iter().rev(), other.back().iter().rev());
                let fronts = (self.front(), other.front());
                let longer_front = beyond(fronts, (one, two), |all, shared| &all[shared..]);
                let backs = (self.back(), other.back());
                let longer_back = beyond(backs, (one, two), |all, shared| &all[..all.len() - shared]);
                let slash = slash_relation(one.slash, two.slash);
                front.and(back).and(longer_front).and(longer_back).and(slash)
            }
        }
    }

    /// The relation of a pattern without a rest capture to one that has it.
    fn within(&self, other: &Self, rest: Rest) -> Relation {
        let (front, back) = (other.front(), other.back());
        let Some(inside) = self.segments.len().checked_sub(front.len() + back.len()).filter(|n| *n > 0)
        else {
            return Relation::Disjoint;
        };
        let middle = &self.segments[front.len()..front.len() + inside];
        zip(self.segments.iter(), front.iter())
            .and(zip(self.segments.iter().rev(), back.iter().rev()))
            .and(below_rest(middle, rest))
    }

    /// The captures, if the path matches. The naive algorithm, for comparison with the tree.
    #[cfg(test)]
    pub fn matches(&self, path: &str) -> Option<Vec<String>> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let captured = |segments: &[Segment], parts: &[&str]| -> Option<Vec<String>> {
            let one = |(segment, part): (&Segment, &&str)| {
                let fits = segment.matches(part) && segment.slashes_fit(part);
                fits.then(|| segment.captured(part).map(str::to_owned))
            };
            let all: Option<Vec<_>> = segments.iter().zip(parts).map(one).collect();
            Some(all?.into_iter().flatten().collect())
        };
        let Some(rest) = self.rest else {
            return captured(&self.segments, &parts).filter(|_| parts.len() == self.segments.len());
        };
        let end = parts.len().checked_sub(self.back().len()).filter(|end| *end > rest.at)?;
        let text = parts[rest.at..end].join("/");
        let mut all = captured(self.front(), &parts[..rest.at])?;
        let fits = !text.is_empty() && segment::good_slashes(&text, rest.slash);
        all.push(text);
        all.extend(captured(self.back(), &parts[end..])?);
        fits.then_some(all)
    }
}

/// The relation of pairs of segments.
fn zip<'s>(ours: impl Iterator<Item = &'s Segment>, theirs: impl Iterator<Item = &'s Segment>) -> Relation {
    ours.zip(theirs).fold(Relation::Equal, |all, (a, b)| all.and(a.relation(b)))
}

/// The relation of two lists of segments, as far as they were not compared: the longer one goes on where the other pattern
/// has its rest capture. `cut` returns its segments there.
fn beyond<'s>(
    (ours, theirs): (&'s [Segment], &'s [Segment]),
    (our_rest, their_rest): (Rest, Rest),
    cut: impl Fn(&'s [Segment], usize) -> &'s [Segment],
) -> Relation {
    match ours.len().cmp(&theirs.len()) {
        Ordering::Equal => Relation::Equal,
        Ordering::Greater => below_rest(cut(ours, theirs.len()), their_rest),
        Ordering::Less => below_rest(cut(theirs, ours.len()), our_rest).turned(),
    }
}

/// The relation of some segments to a rest capture in their place.
fn below_rest(segments: &[Segment], rest: Rest) -> Relation {
    if segments.iter().any(Segment::takes_slashes) && !rest.slash {
        Relation::Overlap
    } else {
        Relation::Subset
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

    /// The same relation, seen from the second.
    fn turned(self) -> Self {
        match self {
            Self::Subset => Self::Superset,
            Self::Superset => Self::Subset,
            Self::Disjoint | Self::Equal | Self::Overlap => self,
        }
    }
}

#[cfg(test)]
mod tests;
