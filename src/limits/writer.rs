//! The durable copy of all counters: written behind admissions, at least every 250 ms while something changes, and at once if a
//! call waits for it. Loaded at the start.
//!
//! It guarantees: a counter that cannot be written stays among the changed ones, and is tried again; memory is bounded by the
//! counters themselves; the last write of a shutdown has all that was settled.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    LimitStates,
    cover::{Ahead, Room},
    state::{Entry, LimitState, is_strict},
};
use crate::{
    call_limits::counter::{Counter, Row, slot_span},
    clock::now_ms,
    compile::Limit,
    store::{LimitRow, Store, StoreError, StoredCounter},
    window::Window,
};

/// The time between two writes.
const INTERVAL: Duration = Duration::from_millis(250);
/// The time between two searches for counters of the past.
const SWEEP: Duration = Duration::from_mins(1);
/// Deadline of one write: as long as the store waits for a lock.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time of the last writes, at shutdown.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);
/// The age at which counters of limits that are gone are deleted, in milliseconds. More than a year, the longest sliding window.
const KEPT_MS: u64 = 400 * 86_400_000;
/// Counters of one transaction.
const BATCH: usize = 2_000;

/// Writes the counters until it is stopped.
pub struct LimitWriter {
    all: LimitStates,
    store: Store,
    /// The last write failed: the log says it once.
    is_failing: bool,
    swept: Instant,
    /// Nothing is stored ahead any more.
    is_ending: bool,
}

/// A counter on its way to the store.
struct Read {
    state: Arc<LimitState>,
    key: Arc<str>,
    rows: Vec<Row>,
    /// What is stored ahead of a strict limit.
    ahead: Option<Ahead>,
}

/// Loads the counters, and makes the writer of them.
pub async fn start(store: &Store, all: &LimitStates) -> Result<LimitWriter, StoreError> {
    let now = now_ms();
    let loaded = |stored: StoredCounter| all.restore(&stored, now);
    store.limit_counters(loaded).await?;
    all.grants().set(store.limit_grants(now).await?);
    Ok(LimitWriter {
        all: all.clone(),
        store: store.clone(),
        is_failing: false,
        swept: Instant::now(),
        is_ending: false,
    })
}

/// The counters as the store has them, for a command without a server. Nothing is written.
pub async fn stored(store: &Store) -> Result<LimitStates, StoreError> {
    let all = LimitStates::default();
    drop(start(store, &all).await?);
    Ok(all)
}

impl LimitStates {
    /// Takes a stored counter over.
    fn restore(&self, stored: &StoredCounter, now_ms: u64) {
        let rows = stored.rows.iter().map(|row| Row {
            mark: row.mark,
            start_ms: row.start_ms,
            end_ms: row.end_ms,
            used: row.used,
        });
        let (state, key) = (self.state_of(&Arc::from(stored.limit.as_str())), Arc::from(stored.key.as_str()));
        let mut shard = state.shard_of(&key);
        let entry = shard.entries.entry(Arc::clone(&key)).or_default();
        if stored.rows.iter().all(|row| is_long_over(row, now_ms)) {
            // The next write deletes it.
            shard.changed(&key);
        } else {
            entry.counter = Counter::restored(rows);
        }
    }
}

/// True if a window ended so long ago that no limit has it any more.
fn is_long_over(row: &LimitRow, now_ms: u64) -> bool {
    row.end_ms.is_some_and(|end_ms| end_ms.saturating_add(KEPT_MS) < now_ms)
}

impl LimitWriter {
    /// Writes until `stop`, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.all.0.cover.wake.notified() => {}
                () = sleep(INTERVAL) => {}
            }
            if self.swept.elapsed() >= SWEEP {
                self.swept = Instant::now();
                self.sweep();
            }
            self.write().await;
        }
        self.is_ending = true;
        self.take_back();
        let end = Instant::now() + CLOSE_TIMEOUT;
        while !self.write().await && Instant::now() < end {
            sleep(INTERVAL).await;
        }
    }

    /// Writes all that changed. False if something could not be written.
    async fn write(&mut self) -> bool {
        let number = self.all.0.cover.begin();
        let now = now_ms();
        let mut all = Vec::new();
        for state in self.all.states() {
            for index in 0..super::state::SHARDS {
                read(&state, index, now, !self.is_ending, &mut all);
            }
        }
        let mut is_written = true;
        for batch in all.chunks(BATCH) {
            is_written &= self.write_batch(batch).await;
        }
        if is_written {
            self.all.0.cover.end(number);
        }
        is_written
    }

    async fn write_batch(&mut self, batch: &[Read]) -> bool {
        let counters: Vec<StoredCounter> = batch.iter().map(Read::stored).collect();
        let written = self.store.set_limit_counters(&counters, now_ms());
        let written = timeout(WRITE_TIMEOUT, written).await.unwrap_or(Err(StoreError::Unanswered));
        let is_written = written.is_ok();
        if let Err(error) = &written
            && !self.is_failing
        {
            tracing::error!(%error, "counters of limits cannot be written: they are kept in memory, and tried again");
        } else if is_written && self.is_failing {
            tracing::info!("counters of limits are written again");
        }
        self.is_failing = !is_written;
        for read in batch {
            read.written(is_written);
        }
        is_written
    }

    /// The next write takes back what is stored ahead: no call comes any more. A limit that is no longer strict may have some,
    /// too.
    fn take_back(&self) {
        for state in self.all.states() {
            for mut shard in state.shards() {
                let ahead = shard.entries.iter().filter(|(_, entry)| entry.room.is_ahead());
                let keys: Vec<Arc<str>> = ahead.map(|(key, _)| Arc::clone(key)).collect();
                for key in keys {
                    shard.changed(&key);
                }
            }
        }
    }

    /// Empties the counters whose windows are over for long: the next write deletes them.
    fn sweep(&self) {
        let now = now_ms();
        for state in self.all.states() {
            let Some(window) = state.limit().and_then(|limit| limit.window.clone()) else { continue };
            for mut shard in state.shards() {
                let old: Vec<Arc<str>> = shard
                    .entries
                    .iter()
                    .filter(|(_, entry)| entry.is_over(&window, now))
                    .map(|(key, _)| Arc::clone(key))
                    .collect();
                for key in old {
                    shard.changed(&key).counter = Counter::default();
                }
            }
        }
    }
}

impl Entry {
    /// True if all that it counts is of windows before the last one.
    fn is_over(&self, window: &Window, now_ms: u64) -> bool {
        let is_over = |row: Row| {
            let Some(end_ms) = row.end_ms else { return false };
            let length = match window {
                Window::Sliding(length) => *length,
                Window::Calendar { .. } | Window::Total => end_ms - row.start_ms,
            };
            end_ms.saturating_add(length) < now_ms
        };
        !self.counter.is_running() && !self.is_changed && self.counter.rows().all(is_over)
    }
}

/// Reads the changed counters of a part.
fn read(state: &Arc<LimitState>, index: usize, now_ms: u64, stores_ahead: bool, read: &mut Vec<Read>) {
    let limit = state.limit().filter(|limit| stores_ahead && is_strict(limit));
    let mut shard = state.shard(index);
    let changed = std::mem::take(&mut shard.changed);
    for key in changed {
        let Some(entry) = shard.entries.get_mut(&key) else { continue };
        entry.is_changed = false;
        let mut rows: Vec<Row> = entry.counter.rows().collect();
        let ahead = limit.as_ref().and_then(|limit| store_ahead(limit, entry.room, &mut rows, now_ms));
        entry.room.read(ahead);
        read.push(Read { state: Arc::clone(state), key, rows, ahead });
    }
}

/// Adds some calls of the near future to what is stored of a strict limit.
fn store_ahead(limit: &Limit, room: Room, rows: &mut Vec<Row>, now_ms: u64) -> Option<Ahead> {
    let window = limit.window.as_ref()?;
    let present = slot_span(window, now_ms);
    // Slices of a sliding window leave one by one: those of the future are in the next one.
    let span = match window {
        Window::Sliding(_) => slot_span(window, present.end_ms?),
        Window::Calendar { .. } | Window::Total => present,
    };
    rows.iter().any(|row| row.used > 0).then_some(())?;
    let (calls, mark) = (room.wanted(), window.mark());
    match rows.iter_mut().find(|row| row.start_ms == span.start_ms) {
        Some(row) => row.used = row.used.saturating_add(calls),
        None => rows.push(Row { mark, start_ms: span.start_ms, end_ms: span.end_ms, used: calls }),
    }
    Some(Ahead { calls, until_ms: span.end_ms.unwrap_or(u64::MAX), mark })
}

impl Read {
    fn stored(&self) -> StoredCounter {
        let rows = self.rows.iter().map(|row| LimitRow {
            mark: row.mark,
            start_ms: row.start_ms,
            end_ms: row.end_ms,
            used: row.used,
        });
        StoredCounter { limit: self.state.id.to_string(), key: self.key.to_string(), rows: rows.collect() }
    }

    /// The write has ended.
    fn written(&self, is_written: bool) {
        let mut shard = self.state.shard_of(&self.key);
        if !is_written {
            shard.changed(&self.key);
            return;
        }
        let Some(entry) = shard.entries.get_mut(&self.key) else { return };
        entry.room.stored(self.ahead);
        if entry.is_idle() {
            shard.entries.remove(&self.key);
        }
    }
}
