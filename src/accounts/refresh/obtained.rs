//! The access tokens that were obtained a short time ago: what has just been replaced is not replaced again only
//! because an upstream refuses it, since that may have nothing to do with the login. In memory, and bounded.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Need, Place, Wanted};
use crate::secret::Secret;

/// How many are remembered. Forgetting one costs a refresh that was not needed.
const MAX: usize = 10_000;
/// How long one stays however an upstream refuses it, if it was not itself obtained after a refusal.
const STAYS: Duration = Duration::from_mins(1);
const LONGEST_STAY: Duration = Duration::from_hours(1);

/// The last one of each place.
#[derive(Debug, Default)]
pub(super) struct Obtained(HashMap<Place, Token>);

#[derive(Debug)]
struct Token {
    access_token: Secret,
    at: Instant,
    /// How many refreshes in a row refusals have led to, the last one to this.
    refusals: u32,
}

impl Obtained {
    /// Whether an access token is too new to be replaced for what it is asked.
    pub(super) fn is_recent(&self, wanted: &Wanted, now: Instant) -> bool {
        self.get(wanted).is_some_and(|token| token.stays(wanted, now))
    }

    /// Remembers what has come in the place of the one that was seen.
    pub(super) fn note(&mut self, wanted: &Wanted, access_token: &Secret, now: Instant) {
        let refusals = match wanted.need {
            Need::Due => 0,
            Need::Refused => self.get(wanted).map_or(0, |token| token.refusals).saturating_add(1),
        };
        if self.0.len() >= MAX
            && !self.0.contains_key(&wanted.place)
            && let Some(any) = self.0.keys().next().cloned()
        {
            self.0.remove(&any);
        }
        let token = Token { access_token: access_token.clone(), at: now, refusals };
        self.0.insert(wanted.place.clone(), token);
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.0.len()
    }

    /// What is known of the one that was seen.
    fn get(&self, wanted: &Wanted) -> Option<&Token> {
        self.0.get(&wanted.place).filter(|token| token.access_token == wanted.seen)
    }
}

impl Token {
    fn stays(&self, wanted: &Wanted, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.at);
        match wanted.need {
            Need::Due => false,
            Need::Refused => age < pause(self.refusals),
        }
    }
}

/// How long an access token stays that so many refusals in a row have led to.
fn pause(refusals: u32) -> Duration {
    let factor = 1_u32.checked_shl(refusals).unwrap_or(u32::MAX);
    STAYS.saturating_mul(factor).min(LONGEST_STAY)
}
