//! The usage ledger: finished exchanges become hourly sums and single rows in the store.
//!
//! The recorder's thread adds records to what is pending ([`LedgerSink`]); a task on the control runtime writes that at
//! least every 500 ms. It guarantees: no request and no other sink waits for the store; a batch counts once, however often
//! it is tried; memory is bounded, and what has no room is counted in `dropped` of the status. It holds tokens and never
//! money: costs are derived in `report`. Read next: `pending`, `write`, `range`, `report`.

mod backlog;
mod checkpoints;
mod learned;
mod model_names;
mod pending;
pub mod range;
pub mod report;
mod retention;
mod retry;
mod user_keys;
mod visible_tokens;
mod write;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    access_record::AccessRecord,
    clock,
    recorder::{DropCount, Drops, Sink},
    store::{Store, UsageKey},
};
use pending::{Pending, Room};

pub use backlog::UsageBacklog;
pub use learned::learned_ratios;
pub use model_names::IsListed;
pub use retention::keep_within;
pub use visible_tokens::VisibleTokens;

/// The greatest boundary that a prompt exceeds: of a provider, a model, a day since 1970 and tokens.
pub type PriceTier = Box<dyn Fn(&str, &str, u64, u64) -> u64 + Send>;

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// The ages at which rows of the ledger are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The age of roll-ups.
    pub roll_ups: Duration,
    /// The age of single exchanges. None are kept if it is zero.
    pub exchanges: Duration,
}

/// The handle of the ledger, for its parts and for all that report its state. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Shared>);

/// The state that the recorder's thread and the writing task share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when there is something to write, and at the end.
    wake: Notify,
    dropped: Dropped,
}

/// Counters of what was lost.
#[derive(Debug)]
struct Dropped {
    /// Requests that are in no sum.
    requests: DropCount,
    /// Single exchanges that are in sums only.
    exchanges: DropCount,
}

#[derive(Debug, Default)]
struct State {
    pending: Pending,
    /// The requests of the batch that is being written.
    writing: u64,
    /// The batch that is tried again.
    failed: Option<backlog::FailedBatch>,
    /// True after the last record.
    closed: bool,
}

/// The end of the ledger that takes finished exchanges.
pub struct LedgerSink {
    shared: Arc<Shared>,
    names: model_names::ModelNames,
    keys: user_keys::UserKeys,
    tier: PriceTier,
    /// False if no single exchanges are kept.
    keeps_exchanges: bool,
}

/// Starts a ledger: its sink, and the future that writes to the store and ends after the sink was closed.
pub async fn start(
    store: Store,
    retention: Retention,
    tier: PriceTier,
    is_listed: IsListed,
    ledger: &Ledger,
) -> (LedgerSink, impl Future<Output = ()> + Send + 'static) {
    let shared = Arc::clone(&ledger.0);
    let today = clock::now_ms() / DAY_MS;
    let mut names = model_names::ModelNames::new(today, is_listed);
    let mut keys = user_keys::UserKeys::new(today);
    // Without the keys of today, a restart could let in as many again.
    let known = |key: &UsageKey| {
        names.add_known(key);
        keys.add_known(key);
    };
    if let Err(error) = store.usage_keys_of_day(today, known).await {
        tracing::warn!(%error, "the keys of today cannot be read from the usage ledger");
    }
    let keeps_exchanges = !retention.exchanges.is_zero();
    let sink = LedgerSink { shared: Arc::clone(&shared), names, keys, tier, keeps_exchanges };
    (sink, write::run(shared, store, retention))
}

impl Ledger {
    /// One that counts here what it drops.
    pub fn new(drops: &Drops) -> Self {
        let dropped = Dropped { requests: drops.queue("ledger"), exchanges: drops.queue("ledger_exchanges") };
        Self(Arc::new(Shared { state: Mutex::default(), wake: Notify::new(), dropped }))
    }
}

impl Shared {
    /// Only the recorder's thread and the writing task take it, the latter to move the pending records out.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for LedgerSink {
    fn record(&mut self, records: &[AccessRecord]) {
        let mut state = self.shared.lock();
        for record in records {
            let Some(mut entry) = pending::entry(record, &mut self.names, &self.tier) else { continue };
            self.keys.bound(entry.hour / 24, &mut entry.exchange.key);
            match state.pending.add(entry, self.keeps_exchanges) {
                Room::Enough => {}
                Room::NotForExchange => self.shared.dropped.exchanges.add(1),
                Room::None => self.shared.dropped.requests.add(1),
            }
        }
        let has_some = !state.pending.is_empty();
        drop(state);
        if has_some {
            self.shared.wake.notify_one();
        }
    }

    fn close(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

#[cfg(test)]
mod tests;
