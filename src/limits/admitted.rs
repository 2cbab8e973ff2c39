//! The life of a call in its limits: admitted by all, settled at its end in each.

use std::sync::{Arc, MutexGuard};

use super::{
    LimitStates,
    cover::Covering,
    state::{Entry, LimitState, Shard, is_strict},
};
use crate::{
    call_limits::{
        admit::{self, Held},
        counter::Slot,
        take::Take,
        terms::{Balance, Refused},
    },
    compile::{Limit, Measure},
};

/// A call that all of its limits admitted. Dropped without [`settle`](Self::settle), it counts what it reserved.
#[derive(Debug)]
#[must_use = "dropped, it counts what was reserved"]
pub struct Admitted {
    all: LimitStates,
    parts: Vec<Part>,
    /// The store has to know of it before it is sent.
    is_uncovered: bool,
}

/// A call in one limit.
#[derive(Debug)]
struct Part {
    state: Arc<LimitState>,
    take: Take,
    /// Where it is counted. None of concurrent calls, and once it is settled.
    slot: Option<Slot>,
}

/// The refusal of a call.
#[derive(Debug)]
pub struct Refusal {
    /// The limit that refuses it.
    pub limit: Arc<Limit>,
    /// What is left, and the time until it would fit.
    pub refused: Refused,
    /// What the call would have reserved.
    pub asked: i128,
    /// The amount of the limit for the caller.
    pub amount: i128,
}

/// The state of a limit after a call was admitted.
#[derive(Debug)]
pub struct Standing<'a> {
    /// The limit.
    pub limit: &'a Limit,
    /// What is left, with its amount for the caller.
    pub left: i128,
    /// The time at which all of it is free again, in milliseconds since 1970.
    pub resets_at_ms: Option<u64>,
}

pub(super) fn admit(all: &LimitStates, takes: Vec<Take>, now_ms: u64) -> Result<Admitted, Box<Refusal>> {
    let states: Vec<Arc<LimitState>> = takes.iter().map(|take| all.state(&take.limit)).collect();
    let mut shards: Vec<MutexGuard<'_, Shard>> =
        states.iter().zip(&takes).map(|(state, take)| state.shard_of(&take.key)).collect();
    let result = admit_locked(&mut shards, &takes, now_ms);
    match &result {
        Ok(_) => mark_changed(&mut shards, &takes),
        Err(_) => forget_idle(&mut shards, &takes),
    }
    drop(shards);
    match result {
        Ok((slots, is_uncovered)) => {
            for state in &states {
                state.count(true);
            }
            let parts = states.into_iter().zip(takes).zip(slots);
            let parts = parts.map(|((state, take), slot)| Part { state, take, slot });
            Ok(Admitted { all: all.clone(), parts: parts.collect(), is_uncovered })
        }
        Err((index, refused)) => {
            states[index].count(false);
            let Take { limit, terms, asked, .. } = &takes[index];
            Err(Box::new(Refusal { limit: Arc::clone(limit), refused, asked: *asked, amount: terms.amount }))
        }
    }
}

/// Where a call is counted in each limit, and true if the store has to know of it before it is sent.
type Slots = (Vec<Option<Slot>>, bool);

/// Admits with all counters at hand. True if the store has to know of the call before it is sent. The error has the place of the
/// limit.
fn admit_locked(
    shards: &mut [MutexGuard<'_, Shard>],
    takes: &[Take],
    now_ms: u64,
) -> Result<Slots, (usize, Refused)> {
    let mut entries: Vec<&mut Entry> = Vec::with_capacity(takes.len());
    for (shard, take) in shards.iter_mut().zip(takes) {
        entries.push(shard.entries.entry(Arc::clone(&take.key)).or_default());
    }
    let before: Vec<Option<Balance>> =
        entries.iter().zip(takes).map(|(entry, take)| balance_to_warn(entry, take, now_ms)).collect();
    let mut held: Vec<Held<'_>> = entries
        .iter_mut()
        .map(|entry| Held { counter: &mut entry.counter, running: &mut entry.running })
        .collect();
    let slots = admit::admit_call(&mut held, takes, now_ms).map_err(|one| (one.index, one.refused))?;
    let mut is_uncovered = false;
    for ((entry, take), before) in entries.into_iter().zip(takes).zip(before) {
        if take.is_concurrent() {
            continue;
        }
        if take.limit.measure == Measure::Requests {
            // Also while it refuses nothing: it may do so by the next call.
            entry.room.take(&take.terms, now_ms);
            is_uncovered |= is_strict(&take.limit) && entry.room.is_used_up();
        }
        report_share(entry, take, before.as_ref(), now_ms);
    }
    Ok((slots, is_uncovered))
}

/// Lets the store know of what changed. Concurrent calls are not stored.
fn mark_changed(shards: &mut [MutexGuard<'_, Shard>], takes: &[Take]) {
    for (shard, take) in shards.iter_mut().zip(takes).filter(|(_, take)| !take.is_concurrent()) {
        shard.changed(&take.key);
    }
}

/// Removes the entries that a refused call made: nothing would remove them later, and a client chooses the names of models.
fn forget_idle(shards: &mut [MutexGuard<'_, Shard>], takes: &[Take]) {
    for (shard, take) in shards.iter_mut().zip(takes) {
        if shard.entries.get(&take.key).is_some_and(Entry::is_idle) {
            shard.entries.remove(&take.key);
        }
    }
}

fn balance_to_warn(entry: &Entry, take: &Take, now_ms: u64) -> Option<Balance> {
    let warns = !take.limit.warn_at.is_empty() && !take.is_concurrent();
    warns.then(|| entry.counter.balance(&take.terms, now_ms))
}

/// Logs the share of an amount that a change reached.
fn report_share(entry: &mut Entry, take: &Take, before: Option<&Balance>, now_ms: u64) {
    let Some(before) = before else { return };
    let after = entry.counter.balance(&take.terms, now_ms);
    if let Some(share) = entry.warned.reach((&take.terms, &take.limit.warn_at), before, &after, now_ms) {
        let (limit, key) = (&take.limit.id, &take.key);
        let measure = take.limit.measure;
        let left = measure.shown(after.left);
        tracing::warn!(%limit, %key, share = f64::from(share) / 1000.0, left, "a limit is nearly used up");
    }
}

impl Admitted {
    /// The wait until the store knows of the call, where it has to. None if it does.
    pub fn covering(&self) -> Option<Covering> {
        self.is_uncovered.then(|| self.all.0.cover.ask())
    }

    /// The end of the call: what it used of each limit counts in place of what it reserved, which is the second argument of `used`.
    /// None gives all back.
    pub fn settle(mut self, used: impl Fn(&Limit, i128) -> Option<i128>, now_ms: u64) {
        for part in &mut self.parts {
            let reserved = part.slot.as_ref().map_or(0, Slot::reserved);
            let used = used(&part.take.limit, reserved);
            part.settle(used, now_ms);
        }
        self.parts.clear();
    }

    /// The limits that count the call.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.parts.iter().map(|part| &*part.take.limit)
    }

    /// The state of each limit, for headers.
    pub fn standings(&self, now_ms: u64) -> Vec<Standing<'_>> {
        self.parts.iter().map(|part| part.standing(now_ms)).collect()
    }
}

impl Part {
    /// `used`: none gives back what was reserved.
    fn settle(&mut self, used: Option<i128>, now_ms: u64) {
        let Self { state, take, slot } = self;
        let mut shard = state.shard_of(&take.key);
        if take.is_concurrent() {
            if let Some(entry) = shard.entries.get_mut(&take.key) {
                entry.running.give_back();
                if entry.is_idle() {
                    shard.entries.remove(&take.key);
                }
            }
            return;
        }
        let Some(slot) = slot.take() else { return };
        if used == Some(slot.reserved()) && !take.limit.measure.is_settled() {
            // The store has it as it is.
            if let Some(entry) = shard.entries.get_mut(&take.key) {
                entry.counter.settle(slot, used.unwrap_or_default());
            }
            return;
        }
        let entry = shard.changed(&take.key);
        let before = balance_to_warn(entry, take, now_ms);
        entry.counter.settle(slot, used.unwrap_or_default());
        report_share(entry, take, before.as_ref(), now_ms);
    }

    fn standing(&self, now_ms: u64) -> Standing<'_> {
        let Take { limit, key, terms, .. } = &self.take;
        let shard = self.state.shard_of(key);
        let Some(entry) = shard.entries.get(key) else {
            return Standing { limit, left: terms.amount, resets_at_ms: None };
        };
        if self.take.is_concurrent() {
            let left = terms.amount.saturating_sub(i128::from(entry.running.running()));
            return Standing { limit, left, resets_at_ms: None };
        }
        let balance = entry.counter.balance(terms, now_ms);
        Standing { limit, left: balance.left, resets_at_ms: balance.resets_at_ms }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let now_ms = crate::clock::now_ms();
        for part in &mut self.parts {
            let reserved = part.slot.as_ref().map(Slot::reserved);
            part.settle(reserved, now_ms);
        }
    }
}

impl Entry {
    /// True if it says nothing: no call runs, and nothing is counted.
    pub(super) fn is_idle(&self) -> bool {
        self.running.running() == 0
            && !self.is_changed
            && !self.counter.is_running()
            && self.counter.rows().next().is_none()
    }
}
