//! Limits at work: the counters of all limits in memory, admission of calls, and their durable copy in the store.
//!
//! It guarantees:
//! - All limits of a call admit it, or none counts it.
//! - What a call reserved is settled or given back at its end, however it ends.
//! - No admission waits for the store, but the first ones of a strict limit of requests: those wait until the store knows of
//!   them (`cover`).
//! - A process that is killed loses at most the settlements of the last second.
//!
//! An admission takes one lock for each of its limits, in the order of their ids, and holds them for the arithmetic alone. Each
//! limit has 16 locks, chosen by the key, so that callers with different amounts rarely meet.
//!
//! Read next: `state` for the counters, `admitted` for the life of a call, `writer` for the store.

mod admitted;
mod corrections;
mod cover;
mod explained;
mod grants;
mod state;
mod report;
mod warned;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::{ArcSwap, ArcSwapOption};

pub use admitted::{Admitted, Refusal, Standing};
pub use corrections::PriceChange;
pub use cover::Covering;
pub use explained::CountersAt;
pub use grants::{Grants, MAX_GRANTS};
pub use report::{LimitReport, LimitSum, ReportPage, key_parts, share};
pub use writer::{LimitWriter, start, stored};

use crate::{
    access_record::Usage,
    call_limits::take::{Learned, Take},
    compile::{Limit, Limits},
};
use state::LimitState;

/// The counters of all limits, and what is learned for reservations. Cheap to clone; shared by all workers.
#[derive(Debug, Clone)]
pub struct LimitStates(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// By the id of the counters. A limit that is gone keeps its state: it may come back.
    states: ArcSwap<BTreeMap<Arc<str>, Arc<LimitState>>>,
    /// The newest limits by which a call was judged.
    newest: ArcSwapOption<Limits>,
    learned: Mutex<Learned>,
    grants: Grants,
    cover: cover::Cover,
}

impl Default for LimitStates {
    fn default() -> Self {
        Self(Arc::new(Shared {
            states: ArcSwap::default(),
            newest: ArcSwapOption::empty(),
            learned: Mutex::default(),
            grants: Grants::default(),
            cover: cover::Cover::default(),
        }))
    }
}

impl LimitStates {
    /// Moves a call to the windows of now if it was judged by limits of before, as one whose body takes its time: a window of
    /// before would come back for all calls, and forget what was used since. `limits`: those that it was judged by.
    pub fn keep_windows(&self, limits: &Arc<Limits>, takes: &mut [Take]) {
        if self.0.newest.load().as_ref().is_some_and(|newest| Arc::ptr_eq(newest, limits)) {
            return;
        }
        self.0.newest.rcu(|newest| {
            let later = newest.as_ref().filter(|newest| limits.are_before(newest));
            Some(Arc::clone(later.unwrap_or(limits)))
        });
        if let Some(newest) = self.0.newest.load().as_ref() {
            for take in takes {
                take.move_to_window_of(newest);
            }
        }
    }

    /// Admits a call by all of these limits, which are in the order of their ids, or by none.
    pub fn admit(&self, takes: Vec<Take>, now_ms: u64) -> Result<Admitted, Box<Refusal>> {
        admitted::admit(self, takes, now_ms)
    }

    /// Does something with what is learned. The lock is held for a moment: it is never waited for any longer.
    pub fn with_learned<T>(&self, read: impl FnOnce(&Learned) -> T) -> T {
        read(&self.0.learned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds estimates to the usage of an ended call, and learns from it. `body_bytes`: the size of the request's body.
    pub fn learn(&self, provider: &str, usage: &mut Usage, body_bytes: u64) {
        let mut learned = self.0.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.estimate(provider, usage, body_bytes);
        learned.learn(provider, usage, body_bytes);
    }

    /// What users have beyond their amounts, for now.
    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// The state of a limit.
    fn state(&self, limit: &Arc<Limit>) -> Arc<LimitState> {
        if let Some(state) = self.0.states.load().get(&limit.counter_id) {
            state.describe(limit);
            return Arc::clone(state);
        }
        let state = self.state_of(&limit.counter_id);
        state.describe(limit);
        state
    }

    fn state_of(&self, id: &Arc<str>) -> Arc<LimitState> {
        let mut made = None;
        self.0.states.rcu(|states| {
            if let Some(state) = states.get(id) {
                made = Some(Arc::clone(state));
                return Arc::clone(states);
            }
            let state = Arc::clone(made.get_or_insert_with(|| Arc::new(LimitState::new(Arc::clone(id)))));
            let mut more = BTreeMap::clone(states);
            more.insert(Arc::clone(id), state);
            Arc::new(more)
        });
        made.unwrap_or_else(|| Arc::new(LimitState::new(Arc::clone(id))))
    }

    fn states(&self) -> Vec<Arc<LimitState>> {
        self.0.states.load().values().cloned().collect()
    }
}
