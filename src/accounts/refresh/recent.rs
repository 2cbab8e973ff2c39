//! Recently obtained tokens. An upstream's 401 does not cause another refresh of a new token, since the reason may
//! be another one. Nor does a lifetime shorter than the file's `refresh_before`. In memory and bounded.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{CredentialId, RefreshReason, RefreshRequest, Refreshed};
use crate::{clock, secret::Secret};

/// Maximum number of tokens. Dropping one costs a needless refresh.
const MAX: usize = 10_000;
/// The age below which a refused token is not refreshed. It doubles with each refresh in a row that a refusal caused.
const MIN_AGE: Duration = Duration::from_mins(1);
const MAX_MIN_AGE: Duration = Duration::from_hours(1);

/// The latest token of each credential.
#[derive(Debug, Default)]
pub(super) struct RecentTokens(HashMap<CredentialId, RecentToken>);

#[derive(Debug)]
struct RecentToken {
    token: Secret,
    obtained: Instant,
    /// Its lifetime when it was obtained, if known.
    lifetime: Option<Duration>,
    /// Number of refreshes in a row that refusals caused, up to this one. A token that was good for a while ends the row.
    refusals: u32,
}

impl RecentTokens {
    /// True if the token is too new to be refreshed for this reason.
    pub(super) fn is_recent(&self, request: &RefreshRequest, now: Instant) -> bool {
        self.get(request).is_some_and(|token| match request.reason {
            RefreshReason::Due => token.serves(request.refresh_before(), now),
            RefreshReason::Expired => false,
            RefreshReason::Refused => token.age(now) < min_age(token.refusals),
        })
    }

    /// The token of a credential, while it need not be replaced.
    pub(super) fn serving(&self, request: &RefreshRequest, now: Instant) -> Option<&Secret> {
        let token = self.0.get(&request.credential)?;
        token.serves(request.refresh_before(), now).then_some(&token.token)
    }

    /// Records the successor of the token that was seen.
    pub(super) fn insert(&mut self, request: &RefreshRequest, fresh: &Refreshed, now: Instant) {
        let refusals = match request.reason {
            RefreshReason::Due | RefreshReason::Expired => 0,
            RefreshReason::Refused => self.get(request).map_or(1, |token| token.refusals_with_next(now)),
        };
        if self.0.len() >= MAX
            && !self.0.contains_key(&request.credential)
            && let Some(any) = self.0.keys().next().cloned()
        {
            self.0.remove(&any);
        }
        let left_ms = fresh.expires_at_ms.map(|at| at.saturating_sub(clock::now_ms()));
        let lifetime = left_ms.map(Duration::from_millis);
        let token = RecentToken { token: fresh.token.clone(), obtained: now, lifetime, refusals };
        self.0.insert(request.credential.clone(), token);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The record of the token that was seen.
    fn get(&self, request: &RefreshRequest) -> Option<&RecentToken> {
        self.0.get(&request.credential).filter(|recent| request.seen() == Some(&recent.token))
    }
}

impl RecentToken {
    /// True if it is not due yet: `before` its expiry, but not before half of its lifetime.
    fn serves(&self, before: Duration, now: Instant) -> bool {
        self.lifetime.is_none_or(|lifetime| self.age(now) < lifetime.saturating_sub(before.min(lifetime / 2)))
    }

    /// The refusals in a row with one of this token now. It comes no sooner than the least age; much later than that, the token
    /// was good, and some upstreams revoke each that is.
    fn refusals_with_next(&self, now: Instant) -> u32 {
        let in_a_row = self.age(now) < 2 * min_age(self.refusals);
        if in_a_row { self.refusals.saturating_add(1) } else { 1 }
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.obtained)
    }
}

/// The age below which a token is not refreshed, after so many refusals in a row.
fn min_age(refusals: u32) -> Duration {
    let factor = 1_u32.checked_shl(refusals).unwrap_or(u32::MAX);
    MIN_AGE.saturating_mul(factor).min(MAX_MIN_AGE)
}
