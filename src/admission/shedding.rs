//! Load shedding in the log: for each limit, a line when it begins for a token, user or address, and one when it has ended.
//! The thousand refusals between them are counted, not logged.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::numbers::millis;

/// Time without a refusal after which load shedding has ended.
const QUIET: Duration = Duration::from_secs(10);
/// Maximum number of tokens, users or addresses that the log names in one episode.
const MAX_NAMED: usize = 8;

/// A limit that new work can be refused by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Requests of one token.
    Token,
    /// Requests of one user.
    User,
    /// Requests of all.
    Requests,
    /// Connections of one address.
    Address,
    /// Connections of all.
    Connections,
}

impl Cause {
    pub(super) const ALL: [Self; 5] =
        [Self::Token, Self::User, Self::Requests, Self::Address, Self::Connections];

    /// The setting with this limit.
    pub(super) fn setting(self) -> &'static str {
        match self {
            Self::Token => "max_requests_per_token",
            Self::User => "max_requests_per_user",
            Self::Requests => "max_requests",
            Self::Address => "max_connections_per_address",
            Self::Connections => "max_connections",
        }
    }
}

#[derive(Debug)]
pub(super) struct Shedding {
    started: Instant,
    /// By cause.
    episodes: [Episode; Cause::ALL.len()],
}

/// Refusals that follow each other closely.
#[derive(Debug, Default)]
struct Episode {
    refused: AtomicU64,
    /// Milliseconds since the start.
    last: AtomicU64,
    /// Refusals of episodes that are over.
    before: AtomicU64,
    /// Those that the log has named. One that is refused all the time hides no other.
    named: Mutex<Vec<String>>,
}

impl Default for Shedding {
    fn default() -> Self {
        Self { started: Instant::now(), episodes: std::array::from_fn(|_| Episode::default()) }
    }
}

impl Shedding {
    /// Counts a refusal. `from` names the one that the limit is for; for a limit of all, the one with the most work.
    pub(super) fn refused(&self, cause: Cause, limit: Option<usize>, from: impl FnOnce() -> String) {
        let episode = &self.episodes[cause as usize];
        episode.last.store(millis(self.started.elapsed()), Ordering::Relaxed);
        episode.refused.fetch_add(1, Ordering::Relaxed);
        // Another worker that names somebody is not waited for.
        let Ok(mut named) = episode.named.try_lock() else { return };
        // The one with the most work is named once: its number changes all the time.
        let most = if matches!(cause, Cause::Requests | Cause::Connections) { 1 } else { MAX_NAMED };
        if named.len() >= most {
            return;
        }
        let from = from();
        if !named.contains(&from) {
            let setting = cause.setting();
            tracing::warn!(setting, limit, from, "load shedding began: new work is refused");
            named.push(from);
        }
    }

    /// Logs the end of each episode that is over.
    pub(super) fn tick(&self) {
        let now = self.started.elapsed();
        for cause in Cause::ALL {
            if let Some(refused) = self.episodes[cause as usize].end(now) {
                tracing::warn!(setting = cause.setting(), refused, "load shedding ended");
            }
        }
    }

    /// Refusals since the start.
    pub(super) fn total(&self, cause: Cause) -> u64 {
        let episode = &self.episodes[cause as usize];
        episode.before.load(Ordering::Relaxed) + episode.refused.load(Ordering::Relaxed)
    }
}

impl Episode {
    /// Ends the episode, if it is over; the number of its refusals.
    fn end(&self, now: Duration) -> Option<u64> {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        if self.refused.load(Ordering::Relaxed) == 0 || now.saturating_sub(last) < QUIET {
            return None;
        }
        // Workers may do this at once: one of them gets the number.
        let refused = self.refused.swap(0, Ordering::Relaxed);
        self.named.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.before.fetch_add(refused, Ordering::Relaxed);
        (refused > 0).then_some(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_ends_after_a_quiet_time_and_is_counted_once() {
        let shedding = Shedding::default();
        let episode = &shedding.episodes[Cause::Token as usize];
        assert_eq!(episode.end(QUIET * 9), None);
        for _ in 0..3 {
            shedding.refused(Cause::Token, Some(1), || "somebody".to_owned());
        }
        let last = Duration::from_millis(episode.last.load(Ordering::Relaxed));
        assert_eq!(episode.end(last + QUIET / 2), None);
        assert_eq!(episode.end(last + QUIET), Some(3));
        assert_eq!(episode.end(last + QUIET), None);
        shedding.refused(Cause::Token, Some(1), || "somebody".to_owned());
        for number in 0..100 {
            shedding.refused(Cause::User, Some(1), || format!("user {}", number % 50));
            shedding.refused(Cause::Requests, Some(1), || format!("somebody with {number}"));
        }
        let named = |cause: Cause| shedding.episodes[cause as usize].named.lock().unwrap().len();
        assert_eq!([Cause::Token, Cause::User, Cause::Requests].map(named), [1, MAX_NAMED, 1]);
        assert_eq!((shedding.total(Cause::Token), shedding.total(Cause::User)), (4, 100));
    }
}
