//! The task that writes what is pending. A batch that fails is tried again with backoff, unchanged, under its number: the
//! store counts it once, also if the failed try took effect.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    Retention, Shared, checkpoints, retention,
    retry::{Deadline, Pauses},
};
use crate::{
    clock, hex,
    store::{Store, StoreError, UsageBatch},
};

/// Time from the first record of a batch until it is written: later records join it.
const COLLECT: Duration = Duration::from_millis(300);
/// Deadline of one try: as long as the store waits for a lock.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of a batch that the database refuses for another reason than its state.
const MAX_REFUSALS: u32 = 3;

/// Writes batches until the sink is closed and nothing is left, and meanwhile deletes old rows and keeps the log short.
pub(super) async fn run(shared: Arc<Shared>, store: Store, retention: Retention) {
    let writer =
        Writer { shared, store: store.clone(), id: writer_id(), number: 0, deadline: Deadline::default() };
    tokio::select! {
        () = writer.run() => {}
        never = retention::run(&store, retention) => match never {},
        never = checkpoints::run(&store) => match never {},
    }
}

/// An id of this process: batches are numbered from 1 for each.
fn writer_id() -> String {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("the operating system has random numbers");
    hex::encode(&random)
}

struct Writer {
    shared: Arc<Shared>,
    store: Store,
    id: String,
    /// The number of the last batch.
    number: u64,
    /// The end of all tries at shutdown.
    deadline: Deadline,
}

impl Writer {
    async fn run(mut self) {
        loop {
            self.shared.wake.notified().await;
            self.collect().await;
            while let Some(batch) = self.next() {
                self.write(&batch).await;
            }
            let state = self.shared.lock();
            if state.closed && state.pending.is_empty() {
                return;
            }
        }
    }

    /// Lets further records join, unless there will be none.
    async fn collect(&self) {
        let until = Instant::now() + COLLECT;
        while !self.shared.lock().closed && timeout_at(until, self.shared.wake.notified()).await {}
    }

    /// Takes out what is pending.
    fn next(&mut self) -> Option<UsageBatch> {
        let mut state = self.shared.lock();
        let pending = state.pending.take();
        if pending.is_empty() {
            return None;
        }
        state.writing = pending.requests();
        drop(state);
        self.number += 1;
        Some(pending.into_batch(self.number))
    }

    /// Writes a batch, however long that takes; at the end of the process, for as long as there is time.
    async fn write(&mut self, batch: &UsageBatch) {
        let (mut pauses, mut refusals, mut failing) = (Pauses::new(), 0, false);
        let requests = batch.hours.iter().map(|(_, _, sums)| sums.requests).sum();
        loop {
            let added = self.store.add_usage(&self.id, batch, clock::now_ms());
            let tried = timeout(TRY_TIMEOUT, added).await.unwrap_or(Err(StoreError::Unanswered));
            let Err(error) = tried else { break };
            refusals += u32::from(matches!(error, StoreError::Database { .. }));
            if !std::mem::replace(&mut failing, true) {
                tracing::error!(%error, "usage cannot be written: it is kept in memory, and tried again");
            }
            self.shared.failed(requests, &error);
            let closed = self.shared.lock().closed;
            let pause = pauses.next(Instant::now(), closed, &mut self.deadline);
            let Some(pause) = pause.filter(|_| refusals < MAX_REFUSALS) else {
                return self.lose(requests, &error);
            };
            self.pause(pause).await;
        }
        self.shared.settled();
        if failing {
            tracing::info!("usage is written again");
        }
    }

    /// Waits, until the sink is closed at most: the time after that is short.
    async fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        if self.shared.lock().closed {
            return sleep(pause).await;
        }
        while timeout_at(until, self.shared.wake.notified()).await {
            if self.shared.lock().closed {
                return;
            }
        }
    }

    fn lose(&self, requests: u64, error: &StoreError) {
        self.shared.settled();
        self.shared.dropped.requests.add(requests);
        tracing::error!(%error, requests, "usage was not written: these requests are in no sum");
    }
}

/// True if the future was ready before that time.
async fn timeout_at(until: Instant, ready: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = sleep_until(until) => false,
        () = ready => true,
    }
}
