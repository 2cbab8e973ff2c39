//! Times of last use of tokens: workers report them over a bounded queue, and they are written in batches. Nothing waits
//! for it. A report that does not fit is dropped; the next use reports again.

use std::{collections::HashMap, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::directory::Directory;
use crate::store::TokenHash;

/// Interval of writes.
const WRITE_INTERVAL: Duration = Duration::from_secs(30);
/// Batch size of a write, since other changes wait meanwhile.
const BATCH: usize = 500;
/// Capacity of the queue, and of the unwritten times.
const QUEUE: usize = 4096;
const MAX_KEPT: usize = 100_000;

/// A use of a token: its hash, and the time in milliseconds since 1970.
pub(super) type Use = (TokenHash, u64);

pub(super) fn channel() -> (mpsc::Sender<Use>, mpsc::Receiver<Use>) {
    mpsc::channel(QUEUE)
}

/// Collects and writes uses until the last sender is gone.
pub(super) async fn note(directory: &impl Directory, mut told: mpsc::Receiver<Use>) {
    let mut ticks = interval(WRITE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = HashMap::new();
    loop {
        tokio::select! {
            used = told.recv() => match used {
                Some(used) => keep(&mut kept, used),
                None => break,
            },
            _ = ticks.tick() => write(directory, &mut kept).await,
        }
    }
    write(directory, &mut kept).await;
}

fn keep(kept: &mut HashMap<TokenHash, u64>, (hash, at_ms): Use) {
    if kept.len() < MAX_KEPT || kept.contains_key(&hash) {
        kept.insert(hash, at_ms);
    }
}

/// Writes all. Times that cannot be written are kept for the next interval.
async fn write(directory: &impl Directory, kept: &mut HashMap<TokenHash, u64>) {
    let all: Vec<Use> = kept.iter().map(|(hash, at_ms)| (*hash, *at_ms)).collect();
    for batch in all.chunks(BATCH) {
        if let Err(error) = directory.record_last_use(batch).await {
            tracing::warn!(%error, "writing the times of last use failed; retried in 30 s");
            return;
        }
        for (hash, _) in batch {
            kept.remove(hash);
        }
    }
}
