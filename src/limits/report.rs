//! The state of limits, for people: how much of each amount is used, and when it is free again.

use std::sync::{Arc, atomic::Ordering};

use super::{LimitStates, state::LimitState};
use crate::{
    call_limits::{take, terms::Balance},
    compile::{Limit, Measure},
    syntax::Per,
};

/// The state of one amount of a limit.
#[derive(Debug, Clone)]
pub struct LimitReport {
    /// What the amount is of, in the order of the limit's `per`.
    pub parts: Vec<(Per, String)>,
    /// What is used, reserved and left. Of concurrent requests, those that run are used.
    pub balance: Balance,
}

impl LimitStates {
    /// The state of the amounts of a limit that something was counted in and that are wanted. `amount`: that of each.
    pub fn reports(
        &self,
        limit: &Arc<Limit>,
        now_ms: u64,
        is_wanted: impl Fn(&[(Per, String)]) -> bool,
        amount: impl Fn(&[(Per, String)]) -> Option<i128>,
    ) -> Vec<LimitReport> {
        let Some(state) = self.0.states.load().get(&limit.counter_id).cloned() else { return Vec::new() };
        let mut reports = Vec::new();
        for shard in state.shards() {
            for (key, entry) in &shard.entries {
                let parts = parts(limit, key);
                if !is_wanted(&parts) {
                    continue;
                }
                let Some(amount) = amount(&parts) else { continue };
                let balance = if limit.measure == Measure::Concurrent {
                    let used = i128::from(entry.running.running());
                    Balance { used, reserved: 0, left: amount - used, resets_at_ms: None }
                } else {
                    entry.counter.balance(&take::terms(limit, amount), now_ms)
                };
                reports.push(LimitReport { parts, balance });
            }
        }
        reports
    }

    /// The calls that each limit admitted and refused since the start, by id.
    pub fn outcomes(&self) -> Vec<(String, u64, u64)> {
        let count = |state: &Arc<LimitState>| {
            let (admitted, refused) =
                (state.admitted.load(Ordering::Relaxed), state.refused.load(Ordering::Relaxed));
            // Without the unit.
            let id = state.id.split(' ').next().unwrap_or_default();
            (id.to_owned(), admitted, refused)
        };
        self.0.states.load().values().map(count).collect()
    }
}

/// The parts of a key.
fn parts(limit: &Limit, key: &str) -> Vec<(Per, String)> {
    let texts = key.splitn(limit.per.len().max(1), ' ');
    limit.per.iter().copied().zip(texts.map(str::to_owned)).collect()
}
