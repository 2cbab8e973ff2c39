//! Disjoint counters out of the counts at a map's pointers.

use super::{number, tally::Count};
use crate::{
    base::usage::{Counter, CounterSet, Counters, NotCounted},
    language::compile::metering::{Map, Target},
};

/// Counters of one kind of document.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    /// The values; zero without one.
    values: Counters,
    /// The counters that have a value.
    known: CounterSet,
    /// Those whose own place has a value, and not only places that add to it.
    whole: CounterSet,
    /// The reason for which counts were left out.
    pub(super) reason: Option<NotCounted>,
}

/// The number of groups of counters that are valid only with each other.
const GROUPS: usize = 6;

/// The group of a counter.
fn group(counter: Counter) -> usize {
    match counter {
        Counter::Input | Counter::CacheRead | Counter::CacheWrite | Counter::AudioInput => 0,
        Counter::Output | Counter::Reasoning | Counter::AudioOutput => 1,
        Counter::Images => 2,
        Counter::Characters => 3,
        Counter::Seconds => 4,
        Counter::Units => 5,
    }
}

impl Counted {
    /// The counters of a map's counts.
    pub(super) fn new(map: &Map, counts: &[Count]) -> Self {
        let mut counted = Self::default();
        if counts.iter().all(|count| *count == Count::Absent) {
            return counted;
        }
        let (reported, present, whole) = reported(map, counts);
        counted.whole = whole;
        let mut reasons = [None; GROUPS];
        for counter in present.iter() {
            match disjoint(map, &reported, counter) {
                Ok(Some(value)) => {
                    counted.values.set(counter, value);
                    counted.known = counted.known.with(counter);
                }
                Ok(None) => {}
                Err(problem) => reasons[group(counter)] = reasons[group(counter)].or(Some(problem)),
            }
        }
        counted.reason = reasons.into_iter().flatten().next();
        if counted.reason.is_some() {
            for counter in Counter::ALL.into_iter().filter(|counter| reasons[group(*counter)].is_some()) {
                counted.values.set(counter, 0);
                counted.known = counted.known.without(CounterSet::default().with(counter));
            }
        }
        counted
    }

    /// The counters of two documents; a counter that both have is that of the first.
    pub(super) fn or(mut self, other: &Self) -> Self {
        for counter in other.known.without(self.known).iter() {
            self.values.set(counter, other.values.get(counter));
        }
        (self.known, self.whole) = (self.known.or(other.known), self.whole.or(other.whole));
        self.reason = self.reason.or(other.reason);
        self
    }

    /// True if one of these counters has a value.
    pub(super) fn has_any(&self, chosen: CounterSet) -> bool {
        self.known.and(self.whole).has_any(chosen)
    }

    /// The values; none is zero.
    pub(super) fn counters(&self) -> &Counters {
        &self.values
    }
}

/// The counts of each counter, as the upstream reports them.
type Reported = [Count; Counter::ALL.len()];

/// The count of a counter without those that it includes.
fn disjoint(map: &Map, reported: &Reported, counter: Counter) -> Result<Option<u64>, NotCounted> {
    let of = |counter: Counter| match reported[counter as usize] {
        Count::Absent => Ok(None),
        Count::Good(value) => Ok(Some(value)),
        Count::Bad => Err(NotCounted::BadCount),
    };
    let Some(mut value) = of(counter)? else { return Ok(None) };
    for part in map.rule(counter).map_or(&[][..], |rule| &rule.minus) {
        value = value.checked_sub(of(*part)?.unwrap_or_default()).ok_or(NotCounted::Contradiction)?;
    }
    Ok(Some(value))
}

/// The first count of each counter that has a value, and the counts to add to it. Also the counters that have any of these, and
/// those that have the first.
fn reported(map: &Map, counts: &[Count]) -> (Reported, CounterSet, CounterSet) {
    let mut reported = Reported::default();
    let (mut present, mut whole) = (CounterSet::default(), CounterSet::default());
    for (entry, count) in map.entries().iter().zip(counts).filter(|(_, count)| **count != Count::Absent) {
        let counter = match &entry.target {
            Target::Plus(counter) => *counter,
            Target::Count(counter) if !whole.has(*counter) => {
                whole = whole.with(*counter);
                *counter
            }
            _ => continue,
        };
        present = present.with(counter);
        let sum = &mut reported[counter as usize];
        *sum = number::sum(*sum, *count);
    }
    (reported, present, whole)
}
