//! Deletes rows that are older than they may be: at the start and every hour, in small transactions with pauses between, so
//! that other writes wait for one of them at most.

use std::{convert::Infallible, time::Duration};

use tokio::time::sleep;

use super::Retention;
use crate::{
    clock,
    numbers::millis,
    store::{Store, StoreError, UsageLimits},
};

/// Interval of deletions.
const INTERVAL: Duration = Duration::from_hours(1);
/// Pause between two transactions.
const PAUSE: Duration = Duration::from_millis(50);

/// Deletes old rows for ever.
pub(super) async fn run(store: &Store, retention: Retention) -> Infallible {
    loop {
        if let Err(error) = keep_within(store, retention, clock::now_ms()).await {
            tracing::warn!(%error, "old usage cannot be deleted: it is tried again in an hour");
        }
        sleep(INTERVAL).await;
    }
}

/// Deletes all rows that are too old at that time.
pub async fn keep_within(store: &Store, retention: Retention, now_ms: u64) -> Result<(), StoreError> {
    let limits = limits(retention, now_ms);
    let mut after = 0;
    while let Some(next) = store.trim_usage(limits, after).await? {
        after = next;
        sleep(PAUSE).await;
    }
    Ok(())
}

fn limits(Retention { roll_ups, exchanges }: Retention, now_ms: u64) -> UsageLimits {
    let before = |age: Duration| now_ms.saturating_sub(millis(age));
    // Without retention of single exchanges, those of a time with another setting go, whatever their clock was.
    let first_end_ms = if exchanges.is_zero() { u64::MAX } else { before(exchanges) };
    UsageLimits { first_hour: before(roll_ups) / 3_600_000, first_end_ms, now_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_become_limits() {
        let check = |roll_ups, exchanges, now_ms, expected| {
            let hours = |number| Duration::from_hours(number);
            let retention = Retention { roll_ups: hours(roll_ups), exchanges: hours(exchanges) };
            let UsageLimits { first_hour, first_end_ms, .. } = limits(retention, now_ms);
            assert_eq!((first_hour, first_end_ms), expected);
        };
        check(48, 24, 100 * 3_600_000 + 5, (52, 76 * 3_600_000 + 5));
        check(48, 0, 100 * 3_600_000, (52, u64::MAX));
        check(48, 24, 0, (0, 0));
    }
}
