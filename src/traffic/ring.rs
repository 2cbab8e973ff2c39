//! Sums by part of time, in a ring: a new part takes the place of the oldest. Pure.

use super::{histogram::Histogram, is_error};
use crate::{
    access_record::{AccessRecord, Outcome},
    compile::Price,
    money::Amounts,
};

/// Sums over finished calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls.
    pub requests: u64,
    /// By outcome.
    outcomes: [u64; Outcome::ALL.len()],
    /// Times from the head of a request to the first byte of an upstream's answer.
    pub first_byte: Histogram,
    /// Tokens, estimates included.
    pub tokens: u64,
    /// The part of them that is an estimate.
    pub estimated_tokens: u64,
    /// The cost at the prices of the end of each call.
    pub cost: Amounts,
    /// Tokens without a price.
    pub unpriced_tokens: u64,
}

impl Figures {
    /// The calls that did not succeed, by outcome.
    pub fn failures(&self) -> impl Iterator<Item = (Outcome, u64)> {
        let all = Outcome::ALL.into_iter().zip(self.outcomes);
        all.filter(|(outcome, number)| *outcome != Outcome::Success && *number > 0)
    }

    /// The calls that did not succeed.
    pub fn failed(&self) -> u64 {
        self.failures().map(|(_, number)| number).sum()
    }

    /// The calls that failed through no fault of the client.
    pub fn errors(&self) -> u64 {
        self.failures().filter(|(outcome, _)| is_error(*outcome)).map(|(_, number)| number).sum()
    }

    /// Adds a finished call, at its price.
    pub(super) fn add(&mut self, record: &AccessRecord, price: Option<&Price>) {
        self.requests += 1;
        self.outcomes[record.outcome() as usize] += 1;
        // A refusal has no answer of an upstream.
        if let (Some(first_byte), None) = (record.first_byte, record.fault) {
            self.first_byte.add(first_byte);
        }
        let Some(usage) = record.usage.as_ref().filter(|usage| !usage.counters.is_zero()) else { return };
        let tokens = usage.counters.tokens();
        self.tokens = self.tokens.saturating_add(tokens);
        let estimated = usage.estimated.tokens().min(tokens);
        self.estimated_tokens = self.estimated_tokens.saturating_add(estimated);
        match price {
            Some(price) => {
                let context = price.context(usage.counters.prompt_tokens());
                self.cost.add(price.cost(&usage.counters, context));
            }
            None => self.unpriced_tokens = self.unpriced_tokens.saturating_add(tokens),
        }
    }

    fn add_all(&mut self, other: &Self) {
        self.requests += other.requests;
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, more)| *sum += more);
        self.first_byte.add_all(&other.first_byte);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.estimated_tokens = self.estimated_tokens.saturating_add(other.estimated_tokens);
        self.cost.add_all(&other.cost);
        self.unpriced_tokens = self.unpriced_tokens.saturating_add(other.unpriced_tokens);
    }
}

/// The last parts of time.
#[derive(Debug)]
pub(super) struct Ring {
    /// The length of a part.
    part_ms: u64,
    /// Each at its number since 1970, modulo their count.
    parts: Box<[Figures]>,
    /// The number of the newest part.
    newest: u64,
}

impl Ring {
    pub(super) fn new(part_ms: u64, parts: usize) -> Self {
        Self { part_ms, parts: vec![Figures::default(); parts].into(), newest: 0 }
    }

    /// The part of a time; the newest one for an earlier time. Those that the ring has no place for any more are forgotten.
    pub(super) fn at(&mut self, time_ms: u64) -> &mut Figures {
        let (number, length) = ((time_ms / self.part_ms).max(self.newest), self.parts.len() as u64);
        for fresh in (self.newest + 1).max((number + 1).saturating_sub(length))..=number {
            *self.slot(fresh) = Figures::default();
        }
        self.newest = number;
        self.slot(number)
    }

    /// The begin and the sums of the last parts, that of now among them.
    pub(super) fn last(&self, now_ms: u64, parts: usize) -> (u64, Figures) {
        let (now, length) = (now_ms / self.part_ms, self.parts.len() as u64);
        let first = (now + 1).saturating_sub(parts as u64);
        let oldest = (self.newest + 1).saturating_sub(length);
        let mut sum = Figures::default();
        for number in first.max(oldest)..=now.min(self.newest) {
            sum.add_all(&self.parts[self.index(number)]);
        }
        (first * self.part_ms, sum)
    }

    fn slot(&mut self, number: u64) -> &mut Figures {
        let index = self.index(number);
        &mut self.parts[index]
    }

    fn index(&self, number: u64) -> usize {
        usize::try_from(number % self.parts.len() as u64).expect("it is below the number of parts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_has_the_last_parts_alone() {
        let mut ring = Ring::new(10, 4);
        let mut check = |adds: &[u64], now: u64, parts: usize, expected: (u64, u64)| {
            for at in adds {
                ring.at(*at).requests += 1;
            }
            let (since, sum) = ring.last(now, parts);
            assert_eq!((since, sum.requests), expected, "{adds:?} at {now}");
        };
        check(&[], 105, 4, (70, 0));
        check(&[100, 109, 110], 119, 4, (80, 3));
        check(&[], 119, 1, (110, 1));
        // An earlier time counts in the newest part.
        check(&[100, 0], 119, 2, (100, 5));
        check(&[], 139, 4, (100, 5));
        check(&[], 140, 4, (110, 3));
        // The parts between are empty.
        check(&[140], 149, 4, (110, 4));
        check(&[1000], 1000, 4, (970, 1));
        check(&[], 5000, 4, (4970, 0));
    }
}
