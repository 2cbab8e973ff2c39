//! Entries that are equally specific and can match the same model: neither precedes by its meaning.

use std::collections::HashMap;

use super::{NamePattern, PriceEntry, literals};
use crate::base::{budget::Budget, day::Day, diag::MAX_FINDINGS};

/// The part of an entry that decides its rank: a name as a whole, of a glob its literal bytes.
type Key<'e> = (Part<'e>, Part<'e>, Day);

#[derive(Debug, PartialEq, Eq, Hash)]
enum Part<'e> {
    Name(&'e str),
    Literals(usize),
}

/// Pairs of entries of the same rank that can match the same model: each later entry with the first such one before it. Of
/// many pairs only the first are returned, or none of those that the budget does not suffice for.
pub fn overlaps<'e>(
    entries: impl Iterator<Item = PriceEntry<'e>>,
    budget: &Budget,
) -> Vec<(PriceEntry<'e>, PriceEntry<'e>)> {
    let mut by_key = HashMap::<Key<'_>, Vec<PriceEntry<'_>>>::new();
    let mut found = Vec::new();
    for entry in entries {
        let alike = by_key.entry(key(&entry)).or_default();
        let first = alike.iter().find(|other| {
            budget.work(steps(other.provider, entry.provider) + steps(other.model, entry.model))
                && meet(other.provider, entry.provider)
                && meet(other.model, entry.model)
        });
        found.extend(first.map(|first| (*first, entry)));
        if found.len() > MAX_FINDINGS || budget.is_exceeded() {
            break;
        }
        alike.push(entry);
    }
    found
}

fn key<'e>(entry: &PriceEntry<'e>) -> Key<'e> {
    (part(entry.provider), part(entry.model), entry.price.from)
}

fn part(pattern: &NamePattern) -> Part<'_> {
    match pattern {
        NamePattern::Exact(name) => Part::Name(name),
        NamePattern::Glob(glob) => Part::Literals(literals(glob)),
    }
}

fn steps(one: &NamePattern, other: &NamePattern) -> usize {
    1 + one.as_str().len() * other.as_str().len() / 4
}

/// True if a name exists that both match.
fn meet(one: &NamePattern, other: &NamePattern) -> bool {
    match (one, other) {
        (NamePattern::Exact(one), NamePattern::Exact(other)) => one == other,
        (NamePattern::Exact(name), NamePattern::Glob(glob))
        | (NamePattern::Glob(glob), NamePattern::Exact(name)) => glob.matches(name),
        (NamePattern::Glob(one), NamePattern::Glob(other)) => {
            globs_meet(one.as_str().as_bytes(), other.as_str().as_bytes())
        }
    }
}

/// True if a text exists that both globs match. `row[j]`: the rest of `one` and the rest of `other` from `j` have such a text.
fn globs_meet(one: &[u8], other: &[u8]) -> bool {
    let only_stars = |rest: &[u8]| rest.iter().all(|byte| *byte == b'*');
    let mut below: Vec<bool> = (0..=other.len()).map(|j| only_stars(&other[j..])).collect();
    for i in (0..one.len()).rev() {
        let mut row = vec![false; other.len() + 1];
        row[other.len()] = only_stars(&one[i..]);
        for j in (0..other.len()).rev() {
            row[j] = if one[i] == b'*' || other[j] == b'*' {
                // A star stands for nothing more, or for a further byte of the other one.
                below[j] || row[j + 1]
            } else {
                one[i] == other[j] && below[j + 1]
            };
        }
        below = row;
    }
    below[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::compile::Glob;

    #[test]
    fn globs_meet_if_a_text_matches_both() {
        for (one, other, expected) in [
            ("a*", "*b", true),
            ("a*", "b*", false),
            ("*a", "*b", false),
            ("a*c", "ab*", true),
            ("a*c", "a*d", false),
            ("*", "*", true),
            ("a*b*c", "*x*", true),
            ("gpt-*", "*-gpt", true),
            ("m-20*", "m-2*", true),
            ("*ab*", "*ba*", true),
            ("a*", "a", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(globs_meet(one.as_bytes(), other.as_bytes()), expected, "{one} {other}");
            assert_eq!(globs_meet(other.as_bytes(), one.as_bytes()), expected, "{other} {one}");
        }
    }

    /// Compared with all short texts over two letters.
    #[test]
    fn globs_meet_as_a_search_says() {
        let letters = |alphabet: &[u8], length: u32, number: usize| -> Vec<u8> {
            let digit = |place| alphabet[number / alphabet.len().pow(place) % alphabet.len()];
            (0..length).map(digit).collect()
        };
        let all = |alphabet: &'static [u8], longest: u32| {
            (0..=longest).flat_map(move |length| {
                (0..alphabet.len().pow(length)).map(move |number| letters(alphabet, length, number))
            })
        };
        let texts: Vec<String> = all(b"ab", 6).map(|text| String::from_utf8(text).unwrap()).collect();
        let globs: Vec<Vec<u8>> = all(b"ab*", 3).collect();
        for one in &globs {
            for other in &globs {
                let glob = |bytes: &[u8]| Glob::new(std::str::from_utf8(bytes).unwrap());
                let (first, second) = (glob(one), glob(other));
                let expected = texts.iter().any(|text| first.matches(text) && second.matches(text));
                assert_eq!(globs_meet(one, other), expected, "{first:?} {second:?}");
            }
        }
    }
}
