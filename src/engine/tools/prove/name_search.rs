//! Searches a header's name that some globs match and others do not. It runs their automata side by side, byte by byte,
//! and expands each state once: if it finds none, there is none.
//!
//! The number of states is exponential in the number of globs, so that it is bounded: beyond the bound nothing is known.
//! Read next: `glob_automaton`.

use std::{collections::BTreeSet, rc::Rc};

use super::glob_automaton::{Automaton, DEAD};
use crate::base::budget::Budget;

/// The most states of one search.
pub(super) const MAX_STATES: usize = 1 << 14;
/// The most automata times states of one search: 16 MiB.
const MAX_CELLS: usize = 1 << 22;

/// The bytes of a folded header name (RFC 9110, section 5.6.2): no capitals, and `-` for `_`. Letters come first, for
/// readable examples.
const NAME_BYTES: &[u8] = b"xzqjwvkyuabcdefghilmnoprst0123456789-.!#$%&'*+^`|~";

/// The outcome of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Search {
    /// A shortest such name.
    Found(String),
    /// There is no such name.
    Nothing,
    /// There are more states than the bound.
    TooManyStates,
    /// The budget of the file is exceeded.
    OverBudget,
}

/// The shortest name that all of `wanted` accept, and none of `unwanted`.
pub(super) fn shortest_name(wanted: &[Automaton], unwanted: &[&Automaton], budget: &Budget) -> Search {
    let all: Vec<&Automaton> = wanted.iter().chain(unwanted.iter().copied()).collect();
    let bytes = representatives(&all);
    let start: Rc<[u32]> = all.iter().map(|_| 0).collect();
    let mut seen = BTreeSet::from([start.clone()]);
    let mut states = vec![Reached { state: start, from: 0, byte: 0 }];
    let max_states = MAX_STATES.min(MAX_CELLS / all.len().max(1));
    let mut next = 0;
    while let Some(Reached { state, .. }) = states.get(next) {
        let state = state.clone();
        // The first state is the empty name.
        if next > 0 && is_accepted(&all, &state, wanted.len()) {
            return Search::Found(name(&states, next));
        }
        if !budget.work(bytes.len() * all.len()) {
            return Search::OverBudget;
        }
        for byte in &bytes {
            let mut few = all[..wanted.len()].iter().zip(&*state);
            if few.any(|(one, at)| one.step(*at, *byte) == DEAD) {
                continue;
            }
            let after: Rc<[u32]> = all.iter().zip(&*state).map(|(one, at)| one.step(*at, *byte)).collect();
            if is_lost(&all, &after, wanted.len()) || !seen.insert(after.clone()) {
                continue;
            }
            if states.len() >= max_states {
                return Search::TooManyStates;
            }
            states.push(Reached { state: after, from: next, byte: *byte });
        }
        next += 1;
    }
    Search::Nothing
}

/// A state, and the state and the byte that lead to it.
struct Reached {
    state: Rc<[u32]>,
    from: usize,
    byte: u8,
}

/// The name that leads to a state.
fn name(states: &[Reached], mut at: usize) -> String {
    let mut bytes = Vec::new();
    while at > 0 {
        bytes.push(char::from(states[at].byte));
        at = states[at].from;
    }
    bytes.iter().rev().collect()
}

/// The bytes that an automaton treats differently from others, and one that stands for all others.
fn representatives(all: &[&Automaton]) -> Vec<u8> {
    let own: BTreeSet<u8> = all.iter().flat_map(|one| one.bytes()).collect();
    let other = NAME_BYTES.iter().find(|byte| !own.contains(byte));
    other.into_iter().chain(NAME_BYTES.iter().filter(|byte| own.contains(byte))).copied().collect()
}

fn is_accepted(all: &[&Automaton], state: &[u32], wanted: usize) -> bool {
    all.iter().zip(state).enumerate().all(|(index, (one, at))| one.accepts(*at) == (index < wanted))
}

/// True if a wanted automaton can accept no more, or an unwanted one accepts whatever follows.
fn is_lost(all: &[&Automaton], state: &[u32], wanted: usize) -> bool {
    let lost = |(index, (one, at)): (usize, (&&Automaton, &u32))| {
        if index < wanted { *at == DEAD } else { one.accepts_all_after(*at) }
    };
    all.iter().zip(state).enumerate().any(lost)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        base::{budget::Used, header_name::FoldedName},
        language::compile::{Glob, HeaderGlob},
    };

    fn globs(globs: &[&str]) -> Vec<Automaton> {
        globs.iter().map(|glob| Automaton::glob(&Glob::new(glob))).collect()
    }

    fn find(wanted: &str, without: &[&str], refused: &[&'static str]) -> Search {
        let mut unwanted = globs(without);
        unwanted.push(Automaton::names(refused.iter().map(|name| FoldedName::of(name))));
        shortest_name(&globs(&[wanted]), &unwanted.iter().collect::<Vec<_>>(), &Budget::default())
    }

    #[test]
    fn finds_the_shortest_name() {
        let check = |wanted: &str, without: &[&str], expected: Option<&str>| {
            let expected = expected.map_or(Search::Nothing, |name| Search::Found(name.into()));
            assert_eq!(find(wanted, without, &[]), expected, "{wanted} {without:?}");
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
        assert_eq!(find("a*", &[], &["a", "ax", "aa"]), Search::Found("az".into()));
    }

    /// Every byte that a name may have is tried, also when globs name all others.
    #[test]
    fn every_byte_of_a_name_counts() {
        for last in NAME_BYTES.iter().filter(|byte| **byte != b'*') {
            let others: Vec<String> = NAME_BYTES
                .iter()
                .filter(|byte| *byte != last && **byte != b'*')
                .map(|byte| format!("x{}*", char::from(*byte)))
                .collect();
            let mut without: Vec<&str> = others.iter().map(String::as_str).collect();
            without.push("x");
            let Search::Found(found) = find("x*", &without, &[]) else { panic!("{last}") };
            assert!(found == format!("x{}", char::from(*last)) || found == "x*", "{found}");
        }
        assert_eq!(NAME_BYTES.len(), 50);
        assert!(NAME_BYTES.iter().all(|byte| http::HeaderName::from_bytes(&[*byte]).is_ok()));
    }

    /// Eight globs of eight stars have more states than anybody can count: the search ends all the same.
    #[test]
    fn a_search_of_too_many_states_ends() {
        let rotated = |by: usize| {
            let letters: Vec<char> = "abcdefgh".chars().cycle().skip(by).take(8).collect();
            letters.iter().fold("*".to_owned(), |glob, letter| format!("{glob}{letter}*")) + "q"
        };
        let mut without: Vec<String> = (0..8).map(rotated).collect();
        without.push("*y".into());
        let without: Vec<&str> = without.iter().map(String::as_str).collect();
        let budget = Budget::default();
        let without = globs(&without);
        let without: Vec<&Automaton> = without.iter().collect();
        assert_eq!(shortest_name(&globs(&["x-*y"]), &without, &budget), Search::TooManyStates);
        assert!(budget.used().steps <= (MAX_STATES * NAME_BYTES.len() * 10) as u64, "{:?}", budget.used());
        let small = Budget::new(Used { steps: 10_000, bytes: 0 });
        assert_eq!(shortest_name(&globs(&["x-*y"]), &without, &small), Search::OverBudget);
        assert!(small.used().steps < 11_000, "{:?}", small.used());
    }

    proptest! {
        /// If no name is found, brute force over short names finds none either.
        #[test]
        fn none_is_missed(
            wanted in "[a_*]{0,4}",
            without in prop::collection::vec("[a1_*-]{1,4}", 0..4),
            refused in prop::collection::vec("[a1!-]{1,3}", 0..3),
        ) {
            let (wanted, without) = (HeaderGlob::new(&wanted), without.iter().map(|glob| HeaderGlob::new(glob)).collect::<Vec<_>>());
            let left = |name: &str| {
                let folded = FoldedName::of(name);
                wanted.matches(&folded)
                    && !without.iter().any(|glob| glob.matches(&folded))
                    && !refused.iter().any(|one| one == folded.as_str())
            };
            let mut names = vec![String::new()];
            for _ in 0..4 {
                let longer = names.iter().flat_map(|name| ["a", "1", "_", "-", "!", "x"].map(|more| format!("{name}{more}")));
                names = longer.chain(names.clone()).collect();
                names.sort();
                names.dedup();
            }
            names.retain(|name| !name.is_empty() && left(name));
            let mut unwanted: Vec<_> = without.iter().map(|glob| Automaton::glob(glob.folded())).collect();
            unwanted.push(Automaton::names(refused.iter().map(|name| FoldedName::of(name))));
            let found = shortest_name(&[Automaton::glob(wanted.folded())], &unwanted.iter().collect::<Vec<_>>(), &Budget::default());
            match found {
                Search::Found(found) => {
                    prop_assert!(left(&found), "{found}");
                    prop_assert!(names.iter().all(|name| name.len() >= found.len()), "{found} {names:?}");
                }
                Search::Nothing => prop_assert!(names.is_empty(), "{names:?}"),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
