//! The times of last use of tokens. Workers report them over a bounded queue; a task writes them in batches. No request
//! waits for it. A report is dropped if the queue is full; the next use is reported again.

use std::{collections::HashMap, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::directory::Directory;
use crate::store::TokenHash;

/// Interval of writes.
const WRITE_INTERVAL: Duration = Duration::from_secs(30);
/// Batch size of a write. Other changes of the store wait meanwhile.
const BATCH: usize = 500;
/// Capacity of the queue, and maximum number of unwritten times.
const QUEUE: usize = 4096;
const MAX_UNWRITTEN: usize = 100_000;

/// A use of a token: its hash, and the time in milliseconds since 1970.
pub(super) type Use = (TokenHash, u64);

pub(super) fn channel() -> (mpsc::Sender<Use>, mpsc::Receiver<Use>) {
    mpsc::channel(QUEUE)
}

/// Collects and writes uses until the last sender is gone.
pub(super) async fn collect(directory: &impl Directory, mut uses: mpsc::Receiver<Use>) {
    let mut ticks = interval(WRITE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unwritten = HashMap::new();
    loop {
        tokio::select! {
            report = uses.recv() => match report {
                Some(report) => insert(&mut unwritten, report),
                None => break,
            },
            _ = ticks.tick() => write(directory, &mut unwritten).await,
        }
    }
    write(directory, &mut unwritten).await;
}

fn insert(unwritten: &mut HashMap<TokenHash, u64>, (hash, at_ms): Use) {
    if unwritten.len() < MAX_UNWRITTEN || unwritten.contains_key(&hash) {
        unwritten.insert(hash, at_ms);
    }
}

/// Writes all. Times that cannot be written are unwritten for the next interval.
async fn write(directory: &impl Directory, unwritten: &mut HashMap<TokenHash, u64>) {
    let all: Vec<Use> = unwritten.iter().map(|(hash, at_ms)| (*hash, *at_ms)).collect();
    for batch in all.chunks(BATCH) {
        if let Err(error) = directory.record_last_use(batch).await {
            tracing::warn!(%error, "writing the times of last use failed; retried in 30 s");
            return;
        }
        for (hash, _) in batch {
            unwritten.remove(hash);
        }
    }
}
