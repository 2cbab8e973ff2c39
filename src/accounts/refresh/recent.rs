//! Recently obtained access tokens. A new token is not refreshed again because an upstream refuses it, since the reason
//! may be another one; nor because its lifetime is shorter than the file's `refresh_before`. In memory and bounded.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{CredentialId, RefreshReason, RefreshRequest, Refreshed};
use crate::{clock, secret::Secret};

/// Maximum number of tokens. Dropping one costs a needless refresh.
const MAX: usize = 10_000;
/// Time for which a token is kept despite refusals, if it was not itself obtained after a refusal.
const STAYS: Duration = Duration::from_mins(1);
const LONGEST_STAY: Duration = Duration::from_hours(1);

/// The latest token of each login.
#[derive(Debug, Default)]
pub(super) struct RecentTokens(HashMap<CredentialId, Token>);

#[derive(Debug)]
struct Token {
    text: Secret,
    at: Instant,
    /// Its lifetime when it was obtained, if known.
    lasts: Option<Duration>,
    /// Number of refreshes in a row that refusals caused, up to this one.
    refusals: u32,
}

impl RecentTokens {
    /// True if the token is too new to be refreshed for this reason.
    pub(super) fn is_recent(&self, wanted: &RefreshRequest, now: Instant) -> bool {
        self.get(wanted).is_some_and(|token| match wanted.reason {
            RefreshReason::Due => token.serves(wanted.refresh_before, now),
            RefreshReason::Expired => false,
            RefreshReason::Refused => token.age(now) < pause(token.refusals),
        })
    }

    /// The access token of a login, while it need not be refreshed.
    pub(super) fn serving(&self, wanted: &RefreshRequest, now: Instant) -> Option<&Secret> {
        let token = self.0.get(&wanted.credential)?;
        token.serves(wanted.refresh_before, now).then_some(&token.text)
    }

    /// Records the successor of the token that was seen.
    pub(super) fn note(&mut self, wanted: &RefreshRequest, fresh: &Refreshed, now: Instant) {
        let refusals = match wanted.reason {
            RefreshReason::Due | RefreshReason::Expired => 0,
            RefreshReason::Refused => self.get(wanted).map_or(0, |token| token.refusals).saturating_add(1),
        };
        if self.0.len() >= MAX
            && !self.0.contains_key(&wanted.credential)
            && let Some(any) = self.0.keys().next().cloned()
        {
            self.0.remove(&any);
        }
        let left_ms = fresh.expires_at_ms.map(|at| at.saturating_sub(clock::now_ms()));
        let lasts = left_ms.map(Duration::from_millis);
        let token = Token { text: fresh.access_token.clone(), at: now, lasts, refusals };
        self.0.insert(wanted.credential.clone(), token);
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.0.len()
    }

    /// The record of the token that was seen.
    fn get(&self, wanted: &RefreshRequest) -> Option<&Token> {
        self.0.get(&wanted.credential).filter(|token| token.text == wanted.seen.access_token)
    }
}

impl Token {
    /// True if it is not due yet. Half of its lifetime counts if that is shorter than `refresh_before`.
    fn serves(&self, before: Duration, now: Instant) -> bool {
        self.lasts.is_none_or(|lasts| self.age(now) < lasts.saturating_sub(before.min(lasts / 2)))
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

/// Time for which a token is kept after so many refusals in a row.
fn pause(refusals: u32) -> Duration {
    let factor = 1_u32.checked_shl(refusals).unwrap_or(u32::MAX);
    STAYS.saturating_mul(factor).min(LONGEST_STAY)
}
