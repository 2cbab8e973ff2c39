//! Searches the shortest name that some globs match and others do not. It runs the globs as automata in parallel,
//! character by character: if it finds none, there is none.

use std::collections::{BTreeMap, VecDeque};

use crate::language::compile::Glob;

/// Names that are tried per state of the automata. More than the number of single names that `accept` refuses.
const TRIES: usize = 128;

/// The shortest name that all of `wanted` match, none of `without` matches, and `accept` accepts. `accept` may refuse a
/// few single names; whole families of names belong into `without`.
pub(super) fn shortest_name(
    wanted: &[&Glob],
    without: &[&Glob],
    accept: impl Fn(&str) -> bool,
) -> Option<String> {
    let globs: Vec<&[u8]> = wanted.iter().chain(without).map(|glob| glob.as_str().as_bytes()).collect();
    let wanted = wanted.len();
    let alphabet = alphabet(&globs);
    let start: State = globs.iter().map(|glob| closure(glob, vec![0])).collect();
    let mut tries: BTreeMap<State, usize> = BTreeMap::new();
    let mut open = VecDeque::from([(start, String::new())]);
    while let Some((state, name)) = open.pop_front() {
        let seen = tries.entry(state.clone()).or_default();
        *seen += 1;
        if *seen > TRIES || is_lost(&globs, &state, wanted) {
            continue;
        }
        let mut ends = globs.iter().zip(&state).map(|(glob, at)| at.contains(&glob.len()));
        let good = ends.by_ref().take(wanted).all(|ends| ends) && !ends.any(|ends| ends);
        if good && !name.is_empty() && accept(&name) {
            return Some(name);
        }
        for byte in &alphabet {
            let next = globs.iter().zip(&state).map(|(glob, at)| step(glob, at, *byte)).collect();
            open.push_back((next, format!("{name}{}", char::from(*byte))));
        }
    }
    None
}

/// The set of positions in each glob.
type State = Vec<Vec<usize>>;

/// The characters of the globs, and one that stands for all others.
fn alphabet(globs: &[&[u8]]) -> Vec<u8> {
    let mut own: Vec<u8> =
        globs.iter().flat_map(|glob| glob.iter().copied()).filter(|b| *b != b'*').collect();
    own.sort_unstable();
    own.dedup();
    let other = b"xzqjwvkyuabcdefghilmnoprst0123456789-".iter().find(|byte| !own.contains(byte));
    other.copied().into_iter().chain(own.iter().copied()).collect()
}

/// True if a wanted glob cannot match any more, or an unwanted one matches whatever follows.
fn is_lost(globs: &[&[u8]], state: &State, wanted: usize) -> bool {
    let open_end = |(glob, at): (&&[u8], &Vec<usize>)| glob.ends_with(b"*") && at.contains(&(glob.len() - 1));
    state[..wanted].iter().any(Vec::is_empty) || globs.iter().zip(state).skip(wanted).any(open_end)
}

/// Adds the positions after stars: a star matches the empty string.
fn closure(glob: &[u8], mut at: Vec<usize>) -> Vec<usize> {
    let mut index = 0;
    while let Some(one) = at.get(index).copied() {
        if glob.get(one) == Some(&b'*') && !at.contains(&(one + 1)) {
            at.push(one + 1);
        }
        index += 1;
    }
    at.sort_unstable();
    at
}

fn step(glob: &[u8], at: &[usize], byte: u8) -> Vec<usize> {
    let next = at.iter().filter_map(|one| match glob.get(*one) {
        Some(b'*') => Some(*one),
        Some(known) if *known == byte => Some(one + 1),
        Some(_) | None => None,
    });
    let mut next: Vec<usize> = next.collect();
    next.sort_unstable();
    next.dedup();
    closure(glob, next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(wanted: &str, without: &[&str], refused: &[&str]) -> Option<String> {
        let without: Vec<Glob> = without.iter().map(|glob| Glob::new(glob)).collect();
        shortest_name(&[&Glob::new(wanted)], &without.iter().collect::<Vec<_>>(), |name| {
            !refused.contains(&name)
        })
    }

    #[test]
    fn finds_the_shortest_name() {
        let check = |wanted: &str, without: &[&str], expected: Option<&str>| {
            assert_eq!(find(wanted, without, &[]).as_deref(), expected, "{wanted} {without:?}");
        };
        check("a", &[], Some("a"));
        check("a", &["a"], None);
        check("a", &["*"], None);
        check("x-*", &["x-a*"], Some("x-"));
        check("x-*", &["x-", "x-z*"], Some("x-q"));
        check("x-*", &["x*"], None);
        check("x-*", &["*-*"], None);
        check("*", &["a*", "*a"], Some("x"));
        check("*-id", &["x-*"], Some("-id"));
        check("a*b", &["a*c*b", "ab"], Some("axb"));
        assert_eq!(find("a*", &[], &["a", "ax", "aa"]).as_deref(), Some("axx"));
    }

    proptest! {
        /// If no name is found, brute force over short names finds none either.
        #[test]
        fn agrees_with_brute_force(wanted in "[ab*]{0,4}", without in prop::collection::vec("[ab*]{1,4}", 0..3)) {
            let without: Vec<&str> = without.iter().map(String::as_str).collect();
            let globs: Vec<Glob> = without.iter().map(|glob| Glob::new(glob)).collect();
            let left = |name: &str| Glob::new(&wanted).matches(name) && !globs.iter().any(|glob| glob.matches(name));
            let mut names = vec![String::new()];
            for _ in 0..5 {
                let longer = names.iter().flat_map(|name| ["a", "b", "x"].map(|more| format!("{name}{more}")));
                names = longer.chain(names.clone()).collect();
                names.sort();
                names.dedup();
            }
            names.retain(|name| !name.is_empty() && left(name));
            let found = find(&wanted, &without, &[]);
            prop_assert!(found.as_ref().is_none_or(|found| left(found)), "{found:?}");
            prop_assert!(found.is_some() || names.is_empty(), "{names:?}");
        }
    }
}
