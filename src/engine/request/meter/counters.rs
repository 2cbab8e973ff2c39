//! Disjoint counters out of the counts at a map's pointers.

use super::{number, tally::Count};
use crate::{
    base::usage::{Counter, Counters, NotCounted},
    language::compile::metering::{Map, Target},
};

/// Counters of one kind of document.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    /// The value of each counter that has one.
    values: [Option<u64>; Counter::ALL.len()],
    /// True for each counter whose own place has a value, and not only places that add to it.
    is_whole: [bool; Counter::ALL.len()],
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

/// True if it counts tokens of an answer.
pub(super) fn is_answer(counter: Counter) -> bool {
    counter.is_tokens() && !counter.is_prompt()
}

impl Counted {
    /// The counters of a map's counts.
    pub(super) fn new(map: &Map, counts: &[Count]) -> Self {
        let mut counted = Self::default();
        if counts.iter().all(|count| *count == Count::Absent) {
            return counted;
        }
        let (reported, is_whole) = reported(map, counts);
        counted.is_whole = is_whole;
        let mut reasons = [None; GROUPS];
        for counter in Counter::ALL {
            match disjoint(map, &reported, counter) {
                Ok(found) => counted.values[counter as usize] = found,
                Err(problem) => reasons[group(counter)] = reasons[group(counter)].or(Some(problem)),
            }
        }
        counted.reason = reasons.into_iter().flatten().next();
        if counted.reason.is_some() {
            for counter in Counter::ALL.into_iter().filter(|counter| reasons[group(*counter)].is_some()) {
                counted.values[counter as usize] = None;
            }
        }
        counted
    }

    /// The counters of two documents; a counter that both have is that of the first.
    pub(super) fn or(self, other: Self) -> Self {
        let (mut values, mut is_whole) = (self.values, self.is_whole);
        for (value, other) in values.iter_mut().zip(other.values) {
            *value = value.or(other);
        }
        for (one, other) in is_whole.iter_mut().zip(other.is_whole) {
            *one |= other;
        }
        Self { values, is_whole, reason: self.reason.or(other.reason) }
    }

    /// True if such a counter has a value.
    pub(super) fn has(&self, chosen: impl Fn(Counter) -> bool) -> bool {
        let has_value =
            |counter: Counter| self.values[counter as usize].is_some() && self.is_whole[counter as usize];
        Counter::ALL.into_iter().any(|counter| chosen(counter) && has_value(counter))
    }

    /// The values; none is zero.
    pub(super) fn counters(&self) -> Counters {
        let mut counters = Counters::ZERO;
        for (counter, value) in Counter::ALL.into_iter().zip(self.values) {
            counters.set(counter, value.unwrap_or_default());
        }
        counters
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

/// The first count of each counter that has a value, and the counts to add to it. True for each counter that has the first.
fn reported(map: &Map, counts: &[Count]) -> (Reported, [bool; Counter::ALL.len()]) {
    let mut reported = Reported::default();
    let mut has_first = [false; Counter::ALL.len()];
    for (entry, count) in map.entries().iter().zip(counts).filter(|(_, count)| **count != Count::Absent) {
        let counter = match &entry.target {
            Target::Plus(counter) => *counter,
            Target::Count(counter) if !std::mem::replace(&mut has_first[*counter as usize], true) => *counter,
            _ => continue,
        };
        let sum = &mut reported[counter as usize];
        *sum = number::sum(*sum, *count);
    }
    (reported, has_first)
}
