//! The differences between a path and a pattern that it does not match, to find the endpoint that was meant. For tools;
//! never used on the request path.

use super::{Pattern, is_dots, segment::Segment};

/// A difference between a request and an endpoint. Segments count from 1, in the request's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The method.
    Method,
    /// A slash at the end.
    TrailingSlash,
    /// Two slashes in a row.
    DoubleSlash,
    /// `.` or `..` as a segment.
    Dots,
    /// Percent-encoding: paths are matched as sent.
    Encoding(usize),
    /// Upper case instead of lower case, or the reverse.
    Case(usize),
    /// Another segment.
    Segment(usize),
    /// An additional segment.
    Extra(usize),
    /// A missing segment, counted in the pattern.
    Missing(usize),
}

/// A normalized path: its segments, and the corrections that were needed.
#[derive(Debug)]
pub struct NormalizedPath {
    segments: Vec<String>,
    corrected: Vec<Difference>,
}

/// The greatest number of segments. No endpoint's path has so many.
const MAX_SEGMENTS: usize = 64;

const CORRECT: u32 = 2;
const INSERT: u32 = 7;
const REPLACE: u32 = 4;
/// The cost of a rest capture. Above zero, so that a named segment is preferred.
const REST: u32 = 1;

impl NormalizedPath {
    /// Normalizes a path. None if it has too many segments.
    pub fn new(path: &str) -> Option<Self> {
        let mut corrected = Vec::new();
        let mut path = path.to_owned();
        if ["%2f", "%5c"].iter().any(|escape| path.to_ascii_lowercase().contains(escape)) {
            path = percent_decode(&path).replace('\\', "/");
            corrected.push(Difference::Encoding(0));
        }
        let mut segments = Vec::new();
        let inner = path.strip_prefix('/').unwrap_or(&path);
        let (inner, slash) = inner.strip_suffix('/').map_or((inner, false), |inner| (inner, true));
        for segment in inner.split('/').take(MAX_SEGMENTS + 1) {
            if segment.is_empty() && !inner.is_empty() {
                note(&mut corrected, Difference::DoubleSlash);
            } else if is_dots(segment) {
                note(&mut corrected, Difference::Dots);
                if segment.to_ascii_lowercase().replace("%2e", ".").starts_with("..") {
                    segments.pop();
                }
            } else {
                segments.push(segment.to_owned());
            }
        }
        if slash {
            corrected.push(Difference::TrailingSlash);
        }
        (segments.len() <= MAX_SEGMENTS).then_some(Self { segments, corrected })
    }

    /// A segment of the path, counted from 1; the whole path for 0.
    pub fn segment(&self, number: usize) -> String {
        let one = number.checked_sub(1).and_then(|index| self.segments.get(index));
        one.cloned().unwrap_or_else(|| format!("/{}", self.segments.join("/")))
    }
}

fn note(corrected: &mut Vec<Difference>, difference: Difference) {
    if !corrected.contains(&difference) {
        corrected.push(difference);
    }
}

impl Pattern {
    /// The edit distance to a matching path. None if they have too little in common.
    pub fn distance(&self, path: &NormalizedPath) -> Option<u32> {
        let differences = self.differences(path);
        let other = |one: &&Difference| {
            matches!(one, Difference::Segment(_) | Difference::Extra(_) | Difference::Missing(_))
        };
        let others = differences.iter().filter(other).count();
        let corrections = u32::try_from(path.corrected.len()).unwrap_or(u32::MAX).saturating_mul(CORRECT);
        let cost = self.costs(path)[0][0].saturating_add(corrections);
        (others <= (self.len() / 2).max(1) && others < self.len().max(2)).then_some(cost)
    }

    /// The differences to a matching path.
    pub fn differences(&self, path: &NormalizedPath) -> Vec<Difference> {
        let costs = self.costs(path);
        let mut differences = path.corrected.clone();
        let (mut i, mut j) = (0, 0);
        while i < self.len() || j < path.segments.len() {
            let segment = path.segments.get(j);
            if self.is_rest(i) && segment.is_some() {
                // As many segments as its cost has room for.
                let captured = |next: &usize| costs[i][j] == costs[i + 1][*next].saturating_add(REST);
                (i, j) = (i + 1, (j + 1..=path.segments.len()).rev().find(captured).unwrap_or(j + 1));
                continue;
            }
            let pair = segment
                .filter(|_| i < self.len())
                .filter(|segment| costs[i][j] == costs[i + 1][j + 1].saturating_add(self.cost(i, segment)));
            if let Some(segment) = pair {
                differences.extend(self.difference(i, segment, j + 1));
                (i, j) = (i + 1, j + 1);
            } else if i < self.len() && costs[i][j] == costs[i + 1][j].saturating_add(INSERT) {
                differences.push(Difference::Missing(i + 1));
                i += 1;
            } else {
                differences.push(Difference::Extra(j + 1));
                j += 1;
            }
        }
        differences
    }

    /// The edit distance of each pair of tails (dynamic programming).
    fn costs(&self, path: &NormalizedPath) -> Vec<Vec<u32>> {
        let (n, m) = (self.len(), path.segments.len());
        let mut costs = vec![vec![0_u32; m + 1]; n + 1];
        for (i, j) in (0..=n).rev().flat_map(|i| (0..=m).rev().map(move |j| (i, j))) {
            if self.is_rest(i) && j < m {
                let captured = costs[i + 1][j + 1..].iter().min().copied().unwrap_or(0);
                costs[i][j] = captured.saturating_add(REST);
                continue;
            }
            let drop = (j < m).then(|| costs[i][j + 1].saturating_add(INSERT));
            let add = (i < n).then(|| costs[i + 1][j].saturating_add(INSERT));
            let pair =
                (i < n && j < m).then(|| costs[i + 1][j + 1].saturating_add(self.cost(i, &path.segments[j])));
            costs[i][j] = [drop, add, pair].into_iter().flatten().min().unwrap_or(0);
        }
        costs
    }

    fn len(&self) -> usize {
        self.segments.len() + usize::from(self.rest.is_some())
    }

    fn is_rest(&self, index: usize) -> bool {
        self.rest.is_some_and(|rest| rest.at == index)
    }

    /// The segment at an index, the rest capture counted; none for that.
    fn item(&self, index: usize) -> Option<&Segment> {
        match self.rest {
            Some(rest) if rest.at == index => None,
            Some(rest) if rest.at < index => self.segments.get(index - 1),
            Some(_) | None => self.segments.get(index),
        }
    }

    fn difference(&self, index: usize, text: &str, number: usize) -> Option<Difference> {
        let segment = self.item(index)?;
        match segment {
            _ if segment.matches(text) => None,
            Segment::Literal(literal) if literal.eq_ignore_ascii_case(text) => Some(Difference::Case(number)),
            Segment::Literal(literal) if percent_decode(text) == **literal => {
                Some(Difference::Encoding(number))
            }
            Segment::Literal(_) | Segment::Capture { .. } | Segment::OneOf { .. } => {
                Some(Difference::Segment(number))
            }
        }
    }

    fn cost(&self, index: usize, text: &str) -> u32 {
        match (self.difference(index, text, 0), self.item(index)) {
            (None, _) => 0,
            (Some(Difference::Case(_) | Difference::Encoding(_)), _) => CORRECT,
            (Some(_), Some(Segment::Literal(literal))) => {
                let far = 1.0 - strsim::normalized_levenshtein(literal, text);
                let steps = [0.0, 0.25, 0.5, 0.75].into_iter().filter(|step| far > *step);
                steps.fold(REPLACE, |cost, _| cost + 1)
            }
            (Some(_), _) => REPLACE + 2,
        }
    }
}

/// The percent-decoded text.
pub fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|hex| *first == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let value = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
