//! Patterns and paths: the tree finds the same match and captures as a scan of all patterns, and the same conflicts
//! as a comparison of all pairs.
//!
//! The input is lines: `PATTERN` adds a pattern, `=PATH` looks one up, each after a digit for the method.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::{
    budget::{Budget, Used},
    compile::{Captures, Pattern, Relation, Tree},
};

const MAX_PATTERNS: usize = 48;

struct Known {
    method: u8,
    text: String,
    pattern: Pattern,
}

/// The captures of a pattern's text in a path, if it matches: the specification, segment by segment.
fn matches<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let segments: Vec<&str> = pattern[1..].split('/').collect();
    let mut rest = path.strip_prefix('/')?;
    let mut captures = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        if segment.ends_with("...}") {
            captures.push(rest);
            return (!rest.is_empty()).then_some(captures);
        }
        let (part, after) = match rest.split_once('/') {
            Some((part, after)) => (part, Some(after)),
            None => (rest, None),
        };
        match segment.split_once('{') {
            None if *segment != part => return None,
            None => {}
            Some((prefix, tail)) => {
                let suffix = tail.split_once('}')?.1;
                let inner = part.strip_prefix(prefix)?.strip_suffix(suffix)?;
                if !is_value(inner) {
                    return None;
                }
                captures.push(inner);
            }
        }
        match after {
            None if last => return Some(captures),
            Some(_) if last => return None,
            None => return None,
            Some(after) => rest = after,
        }
    }
    None
}

/// Valid captures: not empty, no dot segment in any spelling, no incomplete percent escape.
fn is_value(text: &str) -> bool {
    let plain = text.to_ascii_lowercase().replace("%2e", ".").replace("%3b", ";");
    let torn = text.ends_with('%') || text.bytes().nth_back(1) == Some(b'%');
    !torn && !text.is_empty() && !matches!(plain.split(';').next(), Some("." | ".."))
}

fn clash(a: &Known, b: &Known) -> bool {
    a.method == b.method && matches!(a.pattern.relation(&b.pattern), Relation::Equal | Relation::Overlap)
}

fn texts<'p>(path: &'p str, captures: &Captures, count: usize) -> Vec<&'p str> {
    captures[..count].iter().map(|(start, end)| &path[*start as usize..*end as usize]).collect()
}

fn look_up(tree: &Tree<usize>, known: &[Known], method: u8, path: &str) {
    let by_tree = tree.find(path, |index| (known[*index].method == method).then_some(*index));
    let all = known.iter().enumerate().filter(|(_, one)| one.method == method);
    let mut fitting: Vec<(usize, Vec<&str>)> =
        all.filter_map(|(index, one)| Some((index, matches(&one.text, path)?))).collect();
    let inside = |a: usize, b: usize| known[a].pattern.relation(&known[b].pattern) == Relation::Subset;
    let best = fitting.iter().position(|(a, _)| fitting.iter().all(|(b, _)| a == b || inside(*a, *b)));
    assert_eq!(best.is_some(), !fitting.is_empty(), "no pattern is the most specific one for {path}");
    match (by_tree, best.map(|best| fitting.swap_remove(best))) {
        (None, None) => {}
        (Some((tree, captures)), Some((scan, expected))) => {
            assert_eq!(known[tree].text, known[scan].text, "for {path}");
            assert_eq!(texts(path, &captures, expected.len()), expected, "of {path}");
        }
        (tree, scan) => panic!("{path}: the tree finds {tree:?}, the scan {scan:?}"),
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (mut tree, mut known): (Tree<usize>, Vec<Known>) = (Tree::default(), Vec::new());
    for line in text.lines() {
        let Some(method @ b'0'..=b'9') = line.bytes().next() else { continue };
        let (method, line) = (method & 1, &line[1..]);
        if let Some(path) = line.strip_prefix('=') {
            look_up(&tree, &known, method, path);
            continue;
        }
        let Ok(pattern) = Pattern::parse(line) else { continue };
        let one = Known { method, text: line.to_owned(), pattern };
        let by_scan = known.iter().any(|other| clash(&one, other));
        let mut near = Vec::new();
        let is_searched = tree.candidates(&one.pattern, &mut near, &Budget::after(Used::default()));
        assert!(is_searched, "a table of {MAX_PATTERNS} patterns fits into the budget");
        assert_eq!(near.iter().any(|index| clash(&one, &known[**index])), by_scan, "clashes of {line}");
        if !by_scan && known.len() < MAX_PATTERNS {
            tree.insert(&one.pattern, known.len());
            known.push(one);
        }
    }
});
