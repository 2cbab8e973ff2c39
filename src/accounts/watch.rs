//! What the workers see of the store without asking: what has changed, and which tokens there can be. Here is
//! the one that looks, on the control runtime, for changes of its own process and of others.
//!
//! It never looks at a token that somebody presents: `lookup` does.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{bloom_filter::BloomFilter, cache::Now, directory::Directory};
use crate::{
    clock,
    name::UserId,
    store::{Invalidated, InvalidationCounter, StoreError},
};

/// How often we ask whether another process has changed the store.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long we wait for the answer to that.
pub(super) const POLL_DEADLINE: Duration = Duration::from_millis(500);
/// When to try again to fill the filter.
const FILL_RETRY: Duration = Duration::from_secs(1);
/// So many tokens are read at once to fill it.
const PAGE: u64 = 2000;
/// If something changed for more users than that at once, it is filled anew.
const MANY_USERS: usize = 500;

/// What the workers see of the store without asking.
#[derive(Debug)]
pub(super) struct StoreView {
    pub(super) invalidations: InvalidationCounter,
    pub(super) filter: BloomFilter,
    pub(super) started: Instant,
    /// When the store last answered a poll, in milliseconds since `started`.
    confirmed_ms: AtomicU64,
    /// For how long after that known callers are served.
    grace: Duration,
}

impl StoreView {
    pub(super) fn new(invalidations: InvalidationCounter, grace: Duration) -> Self {
        let (filter, started, confirmed_ms) = (BloomFilter::default(), Instant::now(), AtomicU64::new(0));
        Self { invalidations, filter, started, confirmed_ms, grace }
    }

    pub(super) fn now(&self) -> Now<'_> {
        let confirmed = Duration::from_millis(self.confirmed_ms.load(Ordering::Relaxed));
        Now {
            at: Instant::now(),
            wall_ms: clock::now_ms(),
            invalidations: &self.invalidations,
            confirmed: self.started + confirmed,
            grace: self.grace,
        }
    }

    fn confirm(&self, at: Instant) {
        let elapsed = at.saturating_duration_since(self.started).as_millis();
        self.confirmed_ms.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Invalidates the callers for whom another process has changed something, or may have; and lets the filter know
/// what tokens there are now, whoever made them. Never ends.
pub(super) async fn watch(directory: &impl Directory, view: &StoreView) {
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watcher = Watcher::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = view.invalidations.local_change() => {}
        }
        watcher.poll(directory, view).await;
    }
}

#[derive(Debug, Default)]
pub(super) struct Watcher {
    /// How far we know of everything.
    seen: Option<Seen>,
    pub(super) failing: bool,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    version: i64,
    seq: u64,
}

impl Watcher {
    pub(super) async fn poll(&mut self, directory: &impl Directory, view: &StoreView) {
        let asked = Instant::now();
        let looked = timeout(POLL_DEADLINE, look(self.seen, directory, &view.invalidations)).await;
        match looked.unwrap_or(Err(StoreError::Unanswered)) {
            Ok((seen, changes)) => {
                self.seen = Some(seen);
                view.confirm(asked);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the store answers again");
                }
                let taken = timeout(POLL_DEADLINE, take_in(changes, directory, &view.filter)).await;
                if !matches!(taken, Ok(Ok(()))) {
                    // A few may be missing until it is filled anew; that is no reason to let a flood through.
                    view.filter.renew();
                }
            }
            Err(error) => {
                // Whether something has changed is not known. So all is looked up again, by whom that
                // still works for: a token revoked meanwhile must not stay good.
                view.invalidations.invalidate_all();
                if !std::mem::replace(&mut self.failing, true) {
                    let for_s = view.grace.as_secs();
                    tracing::error!(%error, for_s, "the store does not answer; known callers are served on, for `store_grace`");
                }
            }
        }
    }
}

/// Asks what has changed since, and lets those concerned know at once.
async fn look(
    seen: Option<Seen>,
    directory: &impl Directory,
    invalidations: &InvalidationCounter,
) -> Result<(Seen, Invalidated), StoreError> {
    let version = directory.data_version().await?;
    let unchanged = |seq, gap| Invalidated { seq, users: Vec::new(), everybody: false, gap };
    let changes = match seen {
        Some(seen) if seen.version == version => unchanged(seen.seq, false),
        Some(seen) => directory.invalidated_since(seen.seq).await?,
        // What was read before it has no date.
        None => unchanged(directory.last_invalidation().await?, true),
    };
    if changes.everybody || changes.gap {
        invalidations.invalidate_all();
    } else {
        changes.users.iter().for_each(|user| invalidations.invalidate_user(user));
    }
    Ok((Seen { version, seq: changes.seq }, changes))
}

/// Puts the tokens of those concerned into the filter.
async fn take_in(
    changes: Invalidated,
    directory: &impl Directory,
    filter: &BloomFilter,
) -> Result<(), StoreError> {
    let users: BTreeSet<UserId> = changes.users.into_iter().collect();
    if changes.gap || users.len() > MANY_USERS {
        filter.forget();
        return Ok(());
    }
    let admins = changes.everybody.then_some(None);
    for whose in users.iter().map(Some).chain(admins) {
        directory.token_hashes_of(whose).await?.iter().for_each(|hash| filter.insert(hash));
    }
    Ok(())
}

/// Fills the filter whenever there should be another one. Never ends.
pub(super) async fn fill(directory: &impl Directory, filter: &BloomFilter) {
    loop {
        filter.wanted().await;
        let mut told = false;
        while let Err(error) = fill_once(directory, filter).await {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, "the tokens cannot be listed: until they can, all that come are looked up");
            }
            tokio::time::sleep(FILL_RETRY).await;
        }
    }
}

pub(super) async fn fill_once(directory: &impl Directory, filter: &BloomFilter) -> Result<(), StoreError> {
    let tokens = directory.count_tokens().await?;
    let bits = filter.begin(tokens);
    let mut last = None;
    loop {
        let hashes = directory.token_hashes_after(last.as_ref(), PAGE).await?;
        for hash in &hashes {
            bits.insert(hash);
        }
        last = hashes.last().copied();
        if last.is_none() {
            break;
        }
    }
    filter.finish(&bits);
    tracing::debug!(tokens, "the tokens are listed: others are hardly looked up");
    Ok(())
}
