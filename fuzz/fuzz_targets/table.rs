//! Patterns and paths: the tree finds the same match and captures as a scan of all patterns, and the same conflicts
//! as a comparison of all pairs.
//!
//! The input is lines: `PATTERN` adds a pattern, `=PATH` looks one up, each after a digit for the method.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::{
    budget::{Budget, Used},
    compile::{CaptureRules, Captures, Pattern, Relation, Tree, members_problem},
};

const MAX_PATTERNS: usize = 48;

struct Known {
    method: u8,
    text: String,
    pattern: Pattern,
}

/// A pattern as written here: `{x=a|b}` is a closed set, `{x%}` and `{x...%}` take encoded slashes.
fn parse(text: &str) -> Option<Pattern> {
    let (mut path, mut rules) = (String::new(), CaptureRules::default());
    for (index, part) in text.split(['{', '}']).enumerate() {
        if index % 2 == 0 {
            path.push_str(part);
            continue;
        }
        let name = match part.split_once('=') {
            Some((name, set)) => {
                let members: Vec<String> = set.split('|').map(str::to_owned).collect();
                if members_problem(&members).is_some() {
                    return None;
                }
                rules.sets.insert(name.to_owned(), members);
                name
            }
            None => part.trim_end_matches('%'),
        };
        if part.ends_with('%') {
            rules.slashes.push(name.trim_end_matches('.').to_owned());
        }
        path.extend(["{", name, "}"]);
    }
    Pattern::parse_with(&path, &rules).ok()
}

/// The captures of a pattern's text in a path, if it matches: the specification, segment by segment.
fn matches<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let segments: Vec<&str> = pattern[1..].split('/').collect();
    let inner = path.strip_prefix('/')?;
    let parts: Vec<&str> = inner.split('/').collect();
    let is_rest = |segment: &&str| segment.contains("...");
    let Some(at) = segments.iter().position(is_rest) else {
        return (segments.len() == parts.len()).then(|| all(&segments, &parts)).flatten();
    };
    let end = parts.len().checked_sub(segments.len() - at - 1).filter(|end| *end > at)?;
    let start: usize = parts[..at].iter().map(|part| part.len() + 1).sum();
    let length = parts[at..end].iter().map(|part| part.len() + 1).sum::<usize>() - 1;
    let rest = &inner[start..start + length];
    let mut captures = all(&segments[..at], &parts[..at])?;
    captures.push(rest);
    captures.extend(all(&segments[at + 1..], &parts[end..])?);
    let takes = segments[at].ends_with("%}");
    (!rest.is_empty() && rest.split('/').all(|part| slashes_fit(part, takes))).then_some(captures)
}

fn all<'p>(segments: &[&str], parts: &[&'p str]) -> Option<Vec<&'p str>> {
    let one = |(segment, part): (&&str, &&'p str)| match segment.split_once('{') {
        None => (segment == part).then_some(None),
        Some((prefix, tail)) => {
            let (name, suffix) = tail.split_once('}')?;
            let inner = part.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let fits = match name.split_once('=') {
                Some((_, set)) => set.split('|').any(|member| member == inner),
                None => is_value(inner) && slashes_fit(inner, name.ends_with('%')),
            };
            fits.then_some(Some(inner))
        }
    };
    let found: Option<Vec<Option<&str>>> = segments.iter().zip(parts).map(one).collect();
    Some(found?.into_iter().flatten().collect())
}

/// True for a text without encoded slashes, or one that may have them and has a value around each.
fn slashes_fit(text: &str, takes: bool) -> bool {
    let folded = text.replace("%2F", "%2f");
    let is_dots = |piece: &str| {
        let plain = piece.to_ascii_lowercase().replace("%2e", ".").replace("%3b", ";");
        matches!(plain.split(';').next(), Some("." | ".."))
    };
    let mut pieces = folded.split("%2f");
    !folded.contains("%2f")
        || takes && !text.contains("%25") && pieces.all(|piece| !piece.is_empty() && !is_dots(piece))
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
    let by_tree = tree.find_with_slashes(path, |index| (known[*index].method == method).then_some(*index));
    if !path.to_ascii_lowercase().contains("%2f") {
        assert_eq!(tree.find(path, |index| (known[*index].method == method).then_some(*index)), by_tree);
    }
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
        let Some(pattern) = parse(line) else { continue };
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
