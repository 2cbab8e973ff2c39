//! The budget of judging one file: steps of work, and bytes of what is kept. A pure counter: the loops of parse, compile,
//! bind, link, tests, lints and policy charge it, and stop once it is exceeded.
//!
//! It guarantees that no file delays or starves the process that serves. A file over its budget is rejected with TG004,
//! whatever else is found about it. It measures no time: the same file takes the same steps on every machine.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::base::diag::{Code, Diagnostic, Location};

/// The steps that judging one file may take. A step is about 10 ns of work: a comparison, or a copy of some bytes.
pub const MAX_STEPS: u64 = 50_000_000;
/// The bytes that may be kept of one file.
pub const MAX_BYTES: u64 = 64 << 20;
/// The bytes that are copied or compared in one step.
const BYTES_PER_STEP: usize = 32;

/// The use of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Steps of work.
    pub steps: u64,
    /// Bytes of what is kept.
    pub bytes: u64,
}

/// The budget of one file. Shared by all stages, so that they exceed it together.
#[derive(Debug)]
pub struct Budget {
    max: Used,
    steps: AtomicU64,
    bytes: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Used { steps: MAX_STEPS, bytes: MAX_BYTES })
    }
}

impl Budget {
    /// A budget of its own size, for tests and for pairs of files.
    pub fn new(max: Used) -> Self {
        Self { max, steps: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// The usual budget, of which some is used already.
    pub fn after(used: Used) -> Self {
        let Used { steps, bytes } = used;
        Self { steps: AtomicU64::new(steps), bytes: AtomicU64::new(bytes), ..Self::default() }
    }

    /// Charges work. False once the budget is exceeded: the caller stops.
    #[must_use]
    pub fn work(&self, steps: usize) -> bool {
        add(&self.steps, steps, self.max.steps);
        !self.is_exceeded()
    }

    /// Charges what is kept, and the work of copying it. False once the budget is exceeded.
    #[must_use]
    pub fn keep(&self, bytes: usize) -> bool {
        add(&self.bytes, bytes, self.max.bytes);
        self.work(1 + bytes / BYTES_PER_STEP)
    }

    /// True once more was charged than the budget has.
    pub fn is_exceeded(&self) -> bool {
        let Used { steps, bytes } = self.used();
        steps > self.max.steps || bytes > self.max.bytes
    }

    /// What was charged.
    pub fn used(&self) -> Used {
        Used { steps: self.steps.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }

    /// What is exceeded, as a fragment.
    pub fn problem(&self) -> Option<String> {
        let Used { steps, bytes } = self.used();
        if bytes > self.max.bytes {
            Some(format!("takes more than {} MiB of memory to judge", self.max.bytes >> 20))
        } else if steps > self.max.steps {
            Some(format!("takes more than {} million steps to judge", self.max.steps / 1_000_000))
        } else {
            None
        }
    }

    /// The finding about a file over its budget.
    pub fn finding(&self, at: &Location) -> Option<Diagnostic> {
        let problem = format!("the file {}", self.problem()?);
        let help =
            "split the file, or write fewer endpoints, tests, rules and globs; long texts count for each use";
        Some(Diagnostic::new(Code::Budget, at.clone(), problem).help(help))
    }
}

/// Adds to a counter, up to one more than the maximum: work that is not done any more does not count.
fn add(counter: &AtomicU64, more: usize, max: u64) {
    let sum = counter.load(Relaxed).saturating_add(more as u64);
    counter.store(sum.min(max + 1), Relaxed);
}

/// The budgets of a set of files, by file.
#[derive(Debug, Clone, Default)]
pub struct Budgets(BTreeMap<Arc<str>, Arc<Budget>>);

impl Budgets {
    /// Adds the budget of a file, of which some is used already.
    pub fn insert(&mut self, file: &Arc<str>, used: Used) {
        self.0.insert(file.clone(), Arc::new(Budget::after(used)));
    }

    /// The budget of a file; a fresh one if nothing was charged for it.
    pub fn of(&self, file: &str) -> Arc<Budget> {
        self.0.get(file).cloned().unwrap_or_default()
    }

    /// All findings about files over their budget.
    pub fn findings(&self) -> impl Iterator<Item = Diagnostic> {
        self.0.iter().filter_map(|(file, budget)| budget.finding(&Location::file(file)))
    }

    /// What was charged for all files.
    pub fn used(&self) -> Used {
        self.0.values().map(|one| one.used()).fold(Used::default(), |all, one| Used {
            steps: all.steps + one.steps,
            bytes: all.bytes + one.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_stays_exceeded() {
        let budget = Budget::new(Used { steps: 2_000_000, bytes: 1 << 20 });
        assert!(budget.work(2_000_000) && budget.problem().is_none());
        assert!(!budget.work(1) && !budget.work(0));
        assert_eq!(budget.problem().as_deref(), Some("takes more than 2 million steps to judge"));
        let budget = Budget::new(Used { steps: 2_000_000, bytes: 1 << 20 });
        assert!(budget.keep(1 << 20) && !budget.keep(1));
        assert_eq!(budget.problem().as_deref(), Some("takes more than 1 MiB of memory to judge"));
    }
}
