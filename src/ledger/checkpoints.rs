//! Keeps the write-ahead log of the store short: the ledger writes and reads most.

use std::{convert::Infallible, time::Duration};

use tokio::time::sleep;

use crate::store::Store;

/// The length from which the log is emptied, in bytes.
const MAX_LOG: u64 = 16 << 20;
/// Interval at which its length is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Empties the log whenever it is long, for ever.
pub(super) async fn run(store: &Store) -> Infallible {
    let mut failing = false;
    loop {
        sleep(INTERVAL).await;
        match store.shorten_log(MAX_LOG).await {
            // Another reader may be in the way: it is tried again.
            Ok(_) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the write-ahead log of the store cannot be emptied: it is tried again every second");
                }
            }
        }
    }
}
