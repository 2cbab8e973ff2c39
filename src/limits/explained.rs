//! What limits would say of a call, for `explain`: nothing is counted, and no counter is made.

use std::sync::Arc;

use super::LimitStates;
use crate::{
    call_limits::{
        admit::{Held, admit_call},
        call::{BodyFacts, Selected},
        concurrent::Concurrent,
        counter::Counter,
        refuse::exceeded,
        take::{Reckoning, Take},
        terms::Balance,
    },
    compile::{CallFacts, Prices},
    day::Day,
    explain::Counting,
    fault::Fault,
};

/// The counters at a time.
#[derive(Debug)]
pub struct CountersAt<'a> {
    /// All counters.
    pub states: &'a LimitStates,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
}

impl CountersAt<'_> {
    /// A copy of the counter that a call takes of. Empty if nothing was counted.
    fn copy(&self, take: &Take) -> (Counter, Concurrent) {
        let state = self.states.0.states.load().get(&take.limit.counter_id).map(Arc::clone);
        let Some(state) = state else { return Default::default() };
        let shard = state.shard_of(&take.key);
        shard.entries.get(&take.key).map(|entry| (entry.counter.clone(), entry.running)).unwrap_or_default()
    }
}

impl Counting for CountersAt<'_> {
    fn takes(
        &self,
        selected: &Selected,
        call: &CallFacts<'_>,
        body: &BodyFacts,
        (prices, day): (&Prices, Day),
    ) -> Result<Vec<Take>, Fault> {
        let extra =
            |limit: &crate::compile::Limit| self.states.grants().extra(&limit.id, call.user, self.now_ms);
        self.states
            .with_learned(|learned| selected.takes(call, body, Reckoning { prices, day, learned }, extra))
    }

    fn balance(&self, take: &Take) -> Option<Balance> {
        let (counter, running) = self.copy(take);
        if !take.is_concurrent() {
            return Some(counter.balance(&take.terms, self.now_ms));
        }
        let used = i128::from(running.running());
        let left = take.terms.amount.saturating_sub(used);
        Some(Balance { used, reserved: 0, left, resets_at_ms: None })
    }

    fn admits(&self, takes: &[Take]) -> Result<(), Fault> {
        let mut copies: Vec<_> = takes.iter().map(|take| self.copy(take)).collect();
        let mut held: Vec<Held<'_>> =
            copies.iter_mut().map(|(counter, running)| Held { counter, running }).collect();
        let Err(refusal) = admit_call(&mut held, takes, self.now_ms) else { return Ok(()) };
        let take = &takes[refusal.index];
        Err(exceeded(&take.limit, &refusal.refused, take.asked, take.terms.amount))
    }
}
