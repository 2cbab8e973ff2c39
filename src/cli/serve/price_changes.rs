//! Corrects limits of cost when prices change.
//!
//! It polls for a new route table. The correction of one change is done before the next is looked for.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::now_ms,
    compile::Prices,
    files::Live,
    limits::{LimitStates, PriceChange},
    store::Store,
};

/// Interval of polls for a new table.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Polls until `stop` is cancelled.
pub(super) async fn watch(live: Arc<Live>, store: Store, states: LimitStates, stop: CancellationToken) {
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counted: Arc<Prices> = live.snapshot().prices.clone();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let table = live.snapshot();
        let change = PriceChange { old: &counted, new: &table.prices };
        if Arc::ptr_eq(&counted, &table.prices) || change.is_none() {
            continue;
        }
        let are_current = || Arc::ptr_eq(&table, &live.snapshot());
        match states.correct(&store, (&table.limits, are_current), change, now_ms()).await {
            // The next poll has the limits of then.
            Ok(None) => continue,
            Ok(Some(0)) => {}
            Ok(Some(amounts)) => tracing::info!(amounts, "prices changed: limits of cost were corrected"),
            // The next poll tries again.
            Err(error) => {
                tracing::warn!(%error, "prices changed, and limits of cost cannot be corrected now");
                continue;
            }
        }
        counted = table.prices.clone();
    }
}
