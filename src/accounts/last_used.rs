//! When tokens were last used: workers tell, and now and then it is written, many at once. Nobody waits for it,
//! and what there is no room for is not told: the next use is.

use std::{collections::HashMap, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::directory::Directory;
use crate::store::TokenHash;

/// How often it is written.
const WRITE_INTERVAL: Duration = Duration::from_secs(30);
/// How many are written at once, since others wait meanwhile.
const BATCH: usize = 500;
/// What may wait to be taken in, and to be written.
const QUEUE: usize = 4096;
const MAX_KEPT: usize = 100_000;

/// A use of a token: which, and when, in milliseconds since 1970.
pub(super) type Use = (TokenHash, u64);

pub(super) fn channel() -> (mpsc::Sender<Use>, mpsc::Receiver<Use>) {
    mpsc::channel(QUEUE)
}

/// Takes in uses, and writes them, until nobody is left to tell any.
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

/// What cannot be written is kept for the next time.
async fn write(directory: &impl Directory, kept: &mut HashMap<TokenHash, u64>) {
    let all: Vec<Use> = kept.iter().map(|(hash, at_ms)| (*hash, *at_ms)).collect();
    for batch in all.chunks(BATCH) {
        if let Err(error) = directory.record_last_use(batch).await {
            tracing::warn!(%error, "when tokens were last used cannot be written: tried again in 30 s");
            return;
        }
        for (hash, _) in batch {
            kept.remove(hash);
        }
    }
}
