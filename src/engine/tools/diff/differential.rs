//! Holds `diff` against the real rewrite: files that make any difference in a request, an answer or a refusal are never
//! "the same", and another origin is never unrated.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, diff};
use crate::tools::generated::{FileSet, Outcome, Random, observe, requests, setting};

const SEED: u64 = 12;
const CASES: u64 = 1500;
const REQUESTS: usize = 9;
const SETTINGS: usize = 2;

#[test]
fn what_differs_is_never_the_same() {
    let (mut differing, mut widening) = (BTreeMap::<&str, usize>::new(), 0);
    for case in 0..CASES {
        let mut random = Random::new(SEED + case);
        let old = FileSet::random(&mut random);
        let (new, slot) = old.mutated(&mut random);
        let (Some(before), Some(after)) = (old.compile(), new.compile()) else { continue };
        let found = diff(&before.providers, &after.providers);
        for _ in 0..SETTINGS {
            let (setting, requests) = (setting(&mut random), requests(&mut random, REQUESTS));
            let of = |provider| observe(provider, &setting, &requests);
            let (was, is) = (of(&before.providers[0]), of(&after.providers[0]));
            let message =
                || format!("case {case} of seed {SEED}: `{slot}`\n{}\n=>\n{}", old.text(), new.text());
            let text = |outcome: &Option<Outcome>| outcome.as_ref().map(|outcome| outcome.text.clone());
            if text(&was) != text(&is) {
                assert_ne!(found.verdict, Verdict::Same, "{}", message());
                *differing.entry(slot).or_default() += 1;
            }
            if let (Some(was), Some(is)) = (&was, &is)
                && reached(is).difference(&reached(was)).next().is_some()
            {
                assert_eq!(found.verdict, Verdict::Widened, "{}", message());
                widening += 1;
            }
        }
    }
    // Slots that nothing depends on would prove nothing.
    assert!(differing.len() > 25, "{differing:?}");
    assert!(widening > 60, "{widening}");
}

/// The URLs without query that requests reach, by the request, and the values of vars in headers.
fn reached(outcome: &Outcome) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    for sent in &outcome.sent {
        let url = sent.url.split('?').next().unwrap_or_default();
        reached.insert(format!("{} {} {url} {:?}", sent.method, sent.path, sent.origins));
        for value in sent.headers.values().filter_map(|value| value.to_str().ok()) {
            if ["pass", "eu", "us", "t-value", "file-value"].contains(&value) {
                reached.insert(format!("{value} at {:?}", sent.origins));
            }
        }
    }
    reached
}
