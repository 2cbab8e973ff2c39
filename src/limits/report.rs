//! The state of limits, for people: how much of each amount is used, and when it is free again.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use super::{
    LimitStates,
    state::{Entry, LimitState},
};
use crate::{
    call_limits::{take, terms::Balance},
    compile::{Limit, Measure},
    name::{TokenId, UserId},
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

/// The reports of a limit that are asked for: a page of them, by key.
#[derive(Debug, Clone, Copy)]
pub struct ReportPage<'p> {
    /// Only keys after this one.
    pub after: Option<&'p str>,
    /// The most reports.
    pub max: usize,
    /// The present, in milliseconds since 1970.
    pub now_ms: u64,
}

/// What all amounts of a limit come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitSum {
    /// The amounts of which at least a share is used or reserved.
    pub near: usize,
    /// What is reserved of all.
    pub reserved: i128,
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
                let parts = key_parts(limit, key);
                if !is_wanted(&parts) {
                    continue;
                }
                let Some(amount) = amount(&parts) else { continue };
                reports.push(LimitReport { parts, balance: entry.balance(limit, amount, now_ms) });
            }
        }
        reports
    }

    /// A page of the amounts of a limit that something was counted in, by key. `report` makes a report of the parts of a key and
    /// what is counted, and returns none for one that is not wanted; `amount` is that of a key.
    pub fn page<T>(
        &self,
        limit: &Arc<Limit>,
        page: ReportPage<'_>,
        amount: impl Fn(&[(Per, String)]) -> Option<i128>,
        report: impl Fn(LimitReport, i128) -> Option<T>,
    ) -> Vec<(Arc<str>, T)> {
        let Some(state) = self.0.states.load().get(&limit.counter_id).cloned() else { return Vec::new() };
        let mut first: BTreeMap<Arc<str>, T> = BTreeMap::new();
        for shard in state.shards() {
            for (key, entry) in &shard.entries {
                let is_later = page.after.is_none_or(|after| &**key > after);
                let is_full = first.len() >= page.max;
                if !is_later || is_full && first.last_key_value().is_none_or(|(last, _)| key > last) {
                    continue;
                }
                let parts = key_parts(limit, key);
                if !is_of(limit, key, &parts) {
                    continue;
                }
                let Some(amount) = amount(&parts) else { continue };
                let balance = entry.balance(limit, amount, page.now_ms);
                let Some(made) = report(LimitReport { parts, balance }, amount) else { continue };
                first.insert(Arc::clone(key), made);
                if first.len() > page.max {
                    first.pop_last();
                }
            }
        }
        first.into_iter().collect()
    }

    /// The state of one amount of a limit, also if nothing was counted in it.
    pub fn report(&self, limit: &Arc<Limit>, key: &str, amount: i128, now_ms: u64) -> LimitReport {
        let parts = key_parts(limit, key);
        let state = self.0.states.load().get(&limit.counter_id).cloned();
        let shard = state.as_ref().map(|state| state.shard_of(key));
        let entry = shard.as_ref().and_then(|shard| shard.entries.get(key));
        let balance = match entry {
            Some(entry) => entry.balance(limit, amount, now_ms),
            None => Entry::default().balance(limit, amount, now_ms),
        };
        LimitReport { parts, balance }
    }

    /// What the amounts of a limit come to. `is_near` decides about one.
    pub fn sum(
        &self,
        limit: &Arc<Limit>,
        now_ms: u64,
        amount: impl Fn(&[(Per, String)]) -> i128,
        is_near: impl Fn(&Balance, i128) -> bool,
    ) -> LimitSum {
        let Some(state) = self.0.states.load().get(&limit.counter_id).cloned() else {
            return LimitSum::default();
        };
        let mut sum = LimitSum::default();
        for shard in state.shards() {
            for (key, entry) in &shard.entries {
                let parts = key_parts(limit, key);
                if !is_of(limit, key, &parts) {
                    continue;
                }
                let amount = amount(&parts);
                let balance = entry.balance(limit, amount, now_ms);
                sum.near += usize::from(is_near(&balance, amount));
                sum.reserved = sum.reserved.saturating_add(balance.reserved);
            }
        }
        sum
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

impl Entry {
    /// What is used and left of an amount. Of concurrent requests, those that run are used.
    fn balance(&self, limit: &Limit, amount: i128, now_ms: u64) -> Balance {
        if limit.measure == Measure::Concurrent {
            let used = i128::from(self.running.running());
            return Balance { used, reserved: 0, left: amount.saturating_sub(used), resets_at_ms: None };
        }
        self.counter.balance(&take::terms(limit, amount), now_ms)
    }
}

impl LimitReport {
    /// The share of an amount that is used or reserved: above 1 if calls used more than they reserved.
    pub fn share(&self, amount: i128) -> f64 {
        share(&self.balance, amount)
    }
}

/// The share of an amount that is used or reserved.
#[expect(clippy::cast_precision_loss, reason = "a share is for people and thresholds")]
pub fn share(balance: &Balance, amount: i128) -> f64 {
    let taken = balance.used.saturating_add(balance.reserved);
    if amount <= 0 { 1.0 } else { taken as f64 / amount as f64 }
}

/// False for the key of a time when the limit had amounts for other things.
fn is_of(limit: &Limit, key: &str, parts: &[(Per, String)]) -> bool {
    let is_written = |(per, text): &(Per, String)| match per {
        Per::User => text.starts_with(UserId::PREFIX),
        Per::Token => text.starts_with(TokenId::PREFIX),
        Per::Group | Per::Provider | Per::Model | Per::All => true,
    };
    let is_whole = parts.len() == limit.per.len() && (!limit.per.is_empty() || key.is_empty());
    is_whole && parts.iter().all(is_written)
}

/// The parts of a key.
pub fn key_parts(limit: &Limit, key: &str) -> Vec<(Per, String)> {
    let texts = key.splitn(limit.per.len().max(1), ' ');
    limit.per.iter().copied().zip(texts.map(str::to_owned)).collect()
}
