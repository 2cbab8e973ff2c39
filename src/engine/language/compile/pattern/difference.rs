//! The differences between a path and a pattern that it does not match, to find the endpoint that was meant. For tools, and
//! for requests without an endpoint, which bound the work.

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
/// The work of a pair of segments, in that of a pair of letters.
const SEGMENT_WORK: usize = 4;
/// The work of a comparison without its pairs.
const COMPARISON_WORK: usize = 60;
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

/// The edit distance of each pair of tails, from one pair of heads on.
struct Costs {
    from: usize,
    width: usize,
    cells: Vec<u32>,
}

impl Costs {
    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[(i - self.from) * self.width + j - self.from]
    }

    fn set(&mut self, (i, j): (usize, usize), cost: u32) {
        self.cells[(i - self.from) * self.width + j - self.from] = cost;
    }
}

impl Pattern {
    /// The edit distance to a matching path. None if they have too little in common. The comparison takes from `work` what it
    /// costs, and is not made if too little is left.
    pub fn distance_within(&self, path: &NormalizedPath, work: &mut usize) -> Option<u32> {
        let (n, m) = (self.len(), path.segments.len());
        let most = (n / 2).max(1);
        let extra = if self.rest.is_some() { 0 } else { m.saturating_sub(n) };
        if n.saturating_sub(m) + extra > most {
            return None;
        }
        // Segments that match at the begin are a part of the cheapest alignment.
        let is_same =
            |index: &usize| self.item(*index).is_some_and(|segment| segment.matches(&path.segments[*index]));
        let from = (0..n.min(m)).take_while(is_same).count();
        let left = work.checked_sub(self.work(path, from));
        *work = left.unwrap_or(0);
        left?;
        let costs = self.costs(path, from);
        let differences = self.differences_by(path, &costs);
        let other = |one: &&Difference| {
            matches!(one, Difference::Segment(_) | Difference::Extra(_) | Difference::Missing(_))
        };
        let corrections = u32::try_from(path.corrected.len()).unwrap_or(u32::MAX).saturating_mul(CORRECT);
        let cost = costs.at(from, from).saturating_add(corrections);
        (differences.iter().filter(other).count() <= most).then_some(cost)
    }

    /// The same, with no bound on the work.
    pub fn distance(&self, path: &NormalizedPath) -> Option<u32> {
        let mut work = usize::MAX;
        self.distance_within(path, &mut work)
    }

    /// The work of a comparison: the pairs of letters, of segments, and the comparison itself.
    fn work(&self, path: &NormalizedPath, from: usize) -> usize {
        let texts = (from..self.len()).filter_map(|index| match self.item(index) {
            Some(Segment::Literal(literal)) => Some(literal.len()),
            Some(Segment::Capture { .. } | Segment::OneOf { .. }) | None => None,
        });
        let letters: usize = path.segments[from..].iter().map(String::len).sum();
        let segments = (self.len() + 1 - from) * (path.segments.len() + 1 - from);
        texts.sum::<usize>() * letters + SEGMENT_WORK * segments + COMPARISON_WORK
    }

    /// The differences to a matching path.
    pub fn differences(&self, path: &NormalizedPath) -> Vec<Difference> {
        self.differences_by(path, &self.costs(path, 0))
    }

    /// The differences from the pair of heads on that the costs begin with.
    fn differences_by(&self, path: &NormalizedPath, costs: &Costs) -> Vec<Difference> {
        let mut differences = path.corrected.clone();
        let (mut i, mut j) = (costs.from, costs.from);
        while i < self.len() || j < path.segments.len() {
            let segment = path.segments.get(j);
            let cost = costs.at(i, j);
            if self.is_rest(i) && segment.is_some() {
                // As many segments as its cost has room for.
                let captured = |next: &usize| cost == costs.at(i + 1, *next).saturating_add(REST);
                (i, j) = (i + 1, (j + 1..=path.segments.len()).rev().find(captured).unwrap_or(j + 1));
                continue;
            }
            let pair = segment
                .filter(|_| i < self.len())
                .filter(|segment| cost == costs.at(i + 1, j + 1).saturating_add(self.cost(i, segment)));
            if let Some(segment) = pair {
                differences.extend(self.difference(i, segment, j + 1));
                (i, j) = (i + 1, j + 1);
            } else if i < self.len() && cost == costs.at(i + 1, j).saturating_add(INSERT) {
                differences.push(Difference::Missing(i + 1));
                i += 1;
            } else {
                differences.push(Difference::Extra(j + 1));
                j += 1;
            }
        }
        differences
    }

    /// The edit distance of each pair of tails (dynamic programming), from these heads on.
    fn costs(&self, path: &NormalizedPath, from: usize) -> Costs {
        let (n, m) = (self.len(), path.segments.len());
        let width = m + 1 - from;
        let mut costs = Costs { from, width, cells: vec![0; width * (n + 1 - from)] };
        for (i, j) in (from..=n).rev().flat_map(|i| (from..=m).rev().map(move |j| (i, j))) {
            if self.is_rest(i) && j < m {
                let captured = (j + 1..=m).map(|next| costs.at(i + 1, next)).min().unwrap_or(0);
                costs.set((i, j), captured.saturating_add(REST));
                continue;
            }
            let drop = (j < m).then(|| costs.at(i, j + 1).saturating_add(INSERT));
            let add = (i < n).then(|| costs.at(i + 1, j).saturating_add(INSERT));
            let pair = (i < n && j < m)
                .then(|| costs.at(i + 1, j + 1).saturating_add(self.cost(i, &path.segments[j])));
            costs.set((i, j), [drop, add, pair].into_iter().flatten().min().unwrap_or(0));
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
                let (edits, longer) =
                    (edits(literal.as_bytes(), text.as_bytes()), literal.len().max(text.len()));
                // One for each quarter of the letters that differ, begun ones counted.
                REPLACE + u32::try_from((4 * edits).div_ceil(longer.max(1))).unwrap_or(4)
            }
            (Some(_), _) => REPLACE + 2,
        }
    }
}

/// The letters that have to be added, removed or replaced (Levenshtein), as bytes.
fn edits(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.iter().enumerate() {
        let (mut before, mut left) = (i, i + 1);
        row[0] = left;
        for (known, place) in other.iter().zip(&mut row[1..]) {
            let replaced = before + usize::from(letter != known);
            before = *place;
            left = replaced.min(before.min(left) + 1);
            *place = left;
        }
    }
    row[other.len()]
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
