//! Warns of users and groups that limits name and no account has: a name may be misspelt, and then nothing is limited by it.
//!
//! Accounts come and go, so that it is no error of a file. It polls for new limits, and says it once for them.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{compile::Limits, files::Live, store::Store, suggest::backticked};

/// Interval of polls for a new table.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The most names in a line.
const SHOWN: usize = 10;

/// Polls until `stop` is cancelled.
pub(super) async fn watch(live: Arc<Live>, store: Store, stop: CancellationToken) {
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Option<Arc<Limits>> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let limits = live.snapshot().limits.clone();
        // Without a store for now, the next poll tries again.
        if seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &limits)) && warn(&limits, &store).await {
            seen = Some(limits);
        }
    }
}

/// Logs the unknown names. False if the store does not answer.
async fn warn(limits: &Limits, store: &Store) -> bool {
    let (users, groups) = limits.named_callers();
    if users.is_empty() && groups.is_empty() {
        return true;
    }
    let owned = |names: std::collections::BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
    let Ok((users, groups)) = store.unknown_names(owned(users), owned(groups)).await else { return false };
    if !users.is_empty() || !groups.is_empty() {
        let (users, groups) = (shown(&users), shown(&groups));
        tracing::warn!(
            users,
            groups,
            "limits name users or groups that no account has: they may be misspelt"
        );
    }
    true
}

/// Some of the names.
fn shown(names: &[String]) -> String {
    let all = backticked(names.iter().take(SHOWN));
    match names.len().saturating_sub(SHOWN) {
        0 => all,
        more => format!("{all} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_bounded() {
        let names = |number: usize| (0..number).map(|one| format!("u{one}")).collect::<Vec<_>>();
        assert_eq!(shown(&names(0)), "");
        assert_eq!(shown(&names(2)), "`u0`, `u1`");
        assert!(shown(&names(10)).ends_with("`u9`"));
        assert!(shown(&names(12)).ends_with("`u9` and 2 more"));
    }
}
