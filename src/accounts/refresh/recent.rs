//! The access tokens that were obtained a short time ago. What has just come is not replaced again because an
//! upstream refuses it, since that may have nothing to do with the login; nor because it is to last no longer than
//! the file's `refresh_before`. In memory, and bounded.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{CredentialKey, Need, RefreshRequest, Refreshed};
use crate::{clock, secret::Secret};

/// How many are remembered. Forgetting one costs a refresh that was not needed.
const MAX: usize = 10_000;
/// How long one stays however an upstream refuses it, if it was not itself obtained after a refusal.
const STAYS: Duration = Duration::from_mins(1);
const LONGEST_STAY: Duration = Duration::from_hours(1);

/// The last one of each place.
#[derive(Debug, Default)]
pub(super) struct RecentTokens(HashMap<CredentialKey, Token>);

#[derive(Debug)]
struct Token {
    text: Secret,
    at: Instant,
    /// How long it was good for then, if that is known.
    lasts: Option<Duration>,
    /// How many refreshes in a row refusals have led to, the last one to this.
    refusals: u32,
}

impl RecentTokens {
    /// Whether an access token is too new to be replaced for what it is asked.
    pub(super) fn is_recent(&self, wanted: &RefreshRequest, now: Instant) -> bool {
        self.get(wanted).is_some_and(|token| match wanted.need {
            Need::Due => token.serves(wanted.refresh_before, now),
            Need::Expired => false,
            Need::Refused => token.age(now) < pause(token.refusals),
        })
    }

    /// The access token of a place, while it need not be replaced.
    pub(super) fn serving(&self, wanted: &RefreshRequest, now: Instant) -> Option<&Secret> {
        let token = self.0.get(&wanted.place)?;
        token.serves(wanted.refresh_before, now).then_some(&token.text)
    }

    /// Remembers what has come in the place of the one that was seen.
    pub(super) fn note(&mut self, wanted: &RefreshRequest, fresh: &Refreshed, now: Instant) {
        let refusals = match wanted.need {
            Need::Due | Need::Expired => 0,
            Need::Refused => self.get(wanted).map_or(0, |token| token.refusals).saturating_add(1),
        };
        if self.0.len() >= MAX
            && !self.0.contains_key(&wanted.place)
            && let Some(any) = self.0.keys().next().cloned()
        {
            self.0.remove(&any);
        }
        let left_ms = fresh.expires_at_ms.map(|at| at.saturating_sub(clock::now_ms()));
        let lasts = left_ms.map(Duration::from_millis);
        let token = Token { text: fresh.access_token.clone(), at: now, lasts, refusals };
        self.0.insert(wanted.place.clone(), token);
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.0.len()
    }

    /// What is known of the one that was seen.
    fn get(&self, wanted: &RefreshRequest) -> Option<&Token> {
        self.0.get(&wanted.place).filter(|token| token.text == wanted.seen.access_token)
    }
}

impl Token {
    /// Whether it is not due yet, be it that it never lasts as long as the file wants it to.
    fn serves(&self, before: Duration, now: Instant) -> bool {
        self.lasts.is_none_or(|lasts| self.age(now) < lasts.saturating_sub(before.min(lasts / 2)))
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

/// How long an access token stays that so many refusals in a row have led to.
fn pause(refusals: u32) -> Duration {
    let factor = 1_u32.checked_shl(refusals).unwrap_or(u32::MAX);
    STAYS.saturating_mul(factor).min(LONGEST_STAY)
}
