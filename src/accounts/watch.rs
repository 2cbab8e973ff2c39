//! Watches the store for changes, by this process and by others. It runs on the control runtime and publishes cache
//! invalidations and token hashes to the workers.
//!
//! It never handles a presented token: `lookup` does.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{
    Caller,
    bloom_filter::BloomFilter,
    cache::{Now, SharedEntries},
    directory::Directory,
};
use crate::{
    clock,
    name::{AdminTokenId, UserId},
    store::{Invalidated, InvalidationCounter, StoreError},
};

/// Interval of polls for changes by other processes.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Deadline of a poll.
pub(super) const POLL_DEADLINE: Duration = Duration::from_millis(500);
/// Delay before filling the Bloom filter is retried.
const FILL_RETRY: Duration = Duration::from_secs(1);
/// Page size for reading the token hashes.
const PAGE: u64 = 2000;
/// If more users than this changed at once, the filter is filled again.
const MANY_USERS: usize = 500;

/// The workers' view of the store, readable without a lookup.
#[derive(Debug)]
pub(super) struct StoreView {
    pub(super) invalidations: InvalidationCounter,
    pub(super) filter: BloomFilter,
    /// The callers and admins that any worker has looked up.
    pub(super) callers: SharedEntries<Arc<Caller>>,
    pub(super) admins: SharedEntries<Arc<AdminTokenId>>,
    pub(super) started: Instant,
    /// Time of the last successful poll, in milliseconds since `started`.
    confirmed_ms: AtomicU64,
    /// True if the last poll succeeded.
    responds: AtomicBool,
    /// Grace period for known callers after that.
    grace: Duration,
}

impl StoreView {
    pub(super) fn new(invalidations: InvalidationCounter, grace: Duration) -> Self {
        let (filter, started, confirmed_ms) = (BloomFilter::default(), Instant::now(), AtomicU64::new(0));
        let (callers, admins) = (SharedEntries::new(), SharedEntries::new());
        // The store was read when it was opened.
        let responds = AtomicBool::new(true);
        Self { invalidations, filter, callers, admins, started, confirmed_ms, responds, grace }
    }

    pub(super) fn responds(&self) -> bool {
        self.responds.load(Ordering::Relaxed)
    }

    pub(super) fn now(&self) -> Now<'_> {
        let confirmed = Duration::from_millis(self.confirmed_ms.load(Ordering::Relaxed));
        Now {
            at: Instant::now(),
            wall_ms: clock::now_ms(),
            invalidations: &self.invalidations,
            confirmed: self.started + confirmed,
            grace: self.grace,
            filter: &self.filter,
        }
    }

    fn confirm(&self, at: Instant) {
        let elapsed = at.saturating_duration_since(self.started).as_millis();
        self.confirmed_ms.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.responds.store(true, Ordering::Relaxed);
    }
}

/// Polls for changes by other processes, invalidates the callers concerned, and inserts new tokens into the Bloom
/// filter. Never ends.
pub(super) async fn watch(mut watcher: Watcher, directory: &impl Directory, view: &StoreView) {
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
    /// The state of the store at the last successful poll.
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
        let started = Instant::now();
        let read = timeout(POLL_DEADLINE, read_changes(self.seen, directory, &view.invalidations)).await;
        match read.unwrap_or(Err(StoreError::Unanswered)) {
            Ok((seen, changes)) => {
                let is_new = self.seen.replace(seen).is_none_or(|last| last.version != seen.version);
                view.confirm(started);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the store responds again");
                }
                let inserted = timeout(POLL_DEADLINE, insert_tokens(changes, directory, &view.filter)).await;
                if !matches!(inserted, Ok(Ok(()))) {
                    // A few tokens may be missing until it is filled again. Clearing it would let a flood through.
                    view.filter.request_fill();
                }
                // What was not logged is tried again at the next poll.
                let _ = timeout(POLL_DEADLINE, directory.log_others_acts(is_new)).await;
            }
            Err(error) => {
                // Everything is looked up again: a token revoked meanwhile must not stay valid where lookups still work.
                view.invalidations.invalidate_unknown();
                view.responds.store(false, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    let for_s = view.grace.as_secs();
                    tracing::error!(%error, for_s, "the store does not respond; known callers are served for `store_grace`");
                }
            }
        }
    }
}

/// Reads the changes since `seen`, and publishes the invalidations at once.
async fn read_changes(
    seen: Option<Seen>,
    directory: &impl Directory,
    invalidations: &InvalidationCounter,
) -> Result<(Seen, Invalidated), StoreError> {
    let version = directory.data_version().await?;
    let changes = match seen {
        Some(seen) if seen.version == version => Invalidated::none(seen.seq),
        Some(seen) => directory.invalidated_since(seen.seq).await?,
        // Entries read before the first poll have no known version.
        None => Invalidated { gap: true, ..Invalidated::none(directory.last_invalidation().await?) },
    };
    if changes.others.everybody || changes.gap {
        invalidations.invalidate_all();
    } else {
        changes.others.users.iter().for_each(|user| invalidations.invalidate_user(user));
    }
    Ok((Seen { version, seq: changes.seq }, changes))
}

/// Inserts the tokens of the users concerned into the filter.
async fn insert_tokens(
    changes: Invalidated,
    directory: &impl Directory,
    filter: &BloomFilter,
) -> Result<(), StoreError> {
    let Invalidated { others, own, gap, .. } = changes;
    let users: BTreeSet<UserId> = others.users.into_iter().chain(own.users).collect();
    if gap || users.len() > MANY_USERS {
        filter.clear();
        return Ok(());
    }
    let admins = (others.everybody || own.everybody).then_some(None);
    for user in users.iter().map(Some).chain(admins) {
        directory.token_hashes_of(user).await?.iter().for_each(|hash| filter.insert(hash));
    }
    Ok(())
}

/// Fills the filter whenever a new one is requested. Never ends.
pub(super) async fn fill(directory: &impl Directory, filter: &BloomFilter) {
    loop {
        filter.fill_requested().await;
        let mut warned = false;
        while let Err(error) = fill_once(directory, filter).await {
            if !std::mem::replace(&mut warned, true) {
                tracing::warn!(%error, "listing the tokens failed; until it succeeds, every presented token is looked up in the store");
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
    tracing::debug!(tokens, "the Bloom filter of token hashes is filled");
    Ok(())
}
