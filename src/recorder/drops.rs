//! Counts of what was dropped, by the full queue or the rate limit that was reached: the one place that `tollgate status`, metrics and the log take
//! them from.
//!
//! A queue counts with an atomic, and never waits. Only the registration of a queue and a report take the lock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::SinkProblems;
use crate::clock::now_ms;

/// The drop counters of all queues of the process.
#[derive(Debug, Clone, Default)]
pub struct Drops {
    counts: Arc<Mutex<BTreeMap<String, DropCount>>>,
    /// The problems of sinks, which cost records, too.
    pub sinks: SinkProblems,
}

/// The drop counter of one queue.
#[derive(Debug, Clone, Default)]
pub struct DropCount(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    number: AtomicU64,
    /// The time of the last drop, in milliseconds since 1970.
    last_ms: AtomicU64,
}

/// The drops of a queue that dropped not long ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentDrops {
    /// Its name.
    pub queue: String,
    /// The drops since the process started.
    pub number: u64,
    /// The time of the last one, in milliseconds since 1970.
    pub last_ms: u64,
}

impl Drops {
    /// The counter of the queue with that name. Queues of the same name share one.
    pub fn queue(&self, name: &str) -> DropCount {
        self.lock().entry(name.to_owned()).or_default().clone()
    }

    /// The drops of every queue since the process started, zeros too.
    pub fn numbers(&self) -> BTreeMap<String, u64> {
        self.lock().iter().map(|(name, count)| (name.clone(), count.get())).collect()
    }

    /// The queues that dropped something since this time, in milliseconds since 1970.
    pub fn since(&self, since_ms: u64) -> Vec<RecentDrops> {
        let counts = self.lock();
        let all = counts.iter().map(|(queue, count)| RecentDrops {
            queue: queue.clone(),
            number: count.get(),
            last_ms: count.0.last_ms.load(Ordering::Relaxed),
        });
        all.filter(|one| one.number > 0 && one.last_ms >= since_ms).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, DropCount>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DropCount {
    /// Counts further drops.
    pub fn add(&self, number: u64) {
        self.add_at(number, now_ms());
    }

    fn add_at(&self, number: u64, at_ms: u64) {
        self.0.number.fetch_add(number, Ordering::Relaxed);
        self.0.last_ms.store(at_ms, Ordering::Relaxed);
    }

    /// The drops since the process started.
    pub fn get(&self) -> u64 {
        self.0.number.load(Ordering::Relaxed)
    }
}

/// Reports drops to the log, each queue's at most once per interval.
#[derive(Debug)]
pub(super) struct DropReport {
    drops: Drops,
    reported: BTreeMap<String, u64>,
}

impl DropReport {
    pub(super) fn new(drops: Drops) -> Self {
        Self { drops, reported: BTreeMap::new() }
    }

    /// The queues with drops since the last call, and the numbers of these.
    pub(super) fn take(&mut self) -> Vec<(String, u64)> {
        let numbers = self.drops.numbers();
        let before = std::mem::replace(&mut self.reported, numbers.clone());
        let since = |name: &str, total: u64| total - before.get(name).copied().unwrap_or_default();
        let grown = numbers.into_iter().map(|(name, total)| (since(&name, total), name));
        grown.filter(|(number, _)| *number > 0).map(|(number, name)| (name, number)).collect()
    }

    /// Logs them.
    pub(super) fn log(&mut self) {
        for (queue, dropped) in self.take() {
            tracing::warn!(queue, dropped, "records or log lines were dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_of_one_name_share_a_counter() {
        let drops = Drops::default();
        let _idle = drops.queue("idle");
        drops.queue("records").add(2);
        drops.queue("records").add(3);
        let expected = [("idle".to_owned(), 0), ("records".to_owned(), 5)];
        assert_eq!(drops.numbers(), expected.into());
    }

    #[test]
    fn drops_are_recent_for_a_while() {
        let drops = Drops::default();
        let _idle = drops.queue("idle");
        drops.queue("records").add_at(2, 10);
        let recent = |since_ms| {
            drops.since(since_ms).into_iter().map(|one| (one.number, one.last_ms)).collect::<Vec<_>>()
        };
        assert_eq!((recent(10), recent(11)), (vec![(2, 10)], vec![]));
        drops.queue("records").add_at(1, 20);
        assert_eq!(recent(11), [(3, 20)]);
    }

    #[test]
    fn a_report_has_the_drops_since_the_last_one() {
        let drops = Drops::default();
        let mut report = DropReport::new(drops.clone());
        let (one, other) = (drops.queue("one"), drops.queue("other"));
        one.add(2);
        assert_eq!(report.take(), [("one".to_owned(), 2)]);
        other.add(1);
        one.add(4);
        assert_eq!(report.take(), [("one".to_owned(), 4), ("other".to_owned(), 1)]);
        assert_eq!(report.take(), []);
    }
}
