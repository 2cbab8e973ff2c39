//! Collects the breaches of one rule by one provider.
//!
//! It guarantees that their number and their memory are bounded: a file of 2,000 endpoints may break a rule in 128,000
//! places. Read next: `check`, which finds them.

use std::collections::BTreeSet;

use super::{Breach, Rule};
use crate::base::{
    budget::Budget,
    diag::{Location, MAX_FINDINGS},
};

/// The bytes that are kept of a breach and of the finding about it, beside their texts.
const BREACH_BYTES: usize = 1024;

/// The breaches of one rule by one provider, without repetitions: of equal ones the first stays. All are charged to the
/// budget. Once there are as many as anybody is shown, the rest is not searched for.
pub(super) struct Breaches<'b> {
    found: Vec<Breach>,
    known: BTreeSet<(Location, String)>,
    budget: &'b Budget,
    rule: &'b Rule,
}

impl<'b> Breaches<'b> {
    pub(super) fn new(rule: &'b Rule, budget: &'b Budget) -> Self {
        Self { found: Vec::new(), known: BTreeSet::new(), budget, rule }
    }

    /// True once no more are wanted.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() > MAX_FINDINGS
    }

    /// Adds a breach, unless it is known or there is no room for it.
    pub(super) fn add(&mut self, breach: Breach) {
        let size = breach.size() + self.rule.name.len();
        if self.is_full() || !self.budget.work(1 + size / 8) {
            return;
        }
        // The finding about it repeats its texts.
        if self.known.insert((breach.at.clone(), breach.what.clone()))
            && self.budget.keep(BREACH_BYTES + 3 * size)
        {
            self.found.push(breach);
        }
    }

    pub(super) fn into_vec(self) -> Vec<Breach> {
        self.found
    }
}

impl Breach {
    /// The bytes of its texts.
    fn size(&self) -> usize {
        let example = self.example.iter().map(|example| {
            let steps = example.route.iter().map(|step| step.what.len());
            example.request.len() + example.set.iter().map(String::len).chain(steps).sum::<usize>()
        });
        self.what.len() + self.help.len() + example.sum::<usize>()
    }
}
