//! Exponential backoff after failed refreshes: per login, and per token endpoint that does not respond. A login that its
//! endpoint has rejected is not tried again until another one is stored; directly after an answer that was lost, the
//! rejection has to be repeated. In memory and bounded.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{CredentialId, RefreshError, RefreshRequest, TokenPair};
use crate::accounts::oauth::TokenEndpointError;

const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_mins(5);
/// Maximum number of logins. Dropping one costs one more call that fails.
const MAX_LOGINS: usize = 10_000;

/// All logins and token endpoints in backoff.
#[derive(Debug, Default)]
pub(super) struct Backoffs {
    logins: HashMap<CredentialId, LoginBackoff>,
    /// By URL. The other logins of an endpoint do not wait for its timeout too.
    endpoints: HashMap<String, EndpointBackoff>,
}

/// The backoff of one login. It applies only to requests with the same tokens, endpoint and client id. Others are tried at
/// once.
#[derive(Debug)]
struct LoginBackoff {
    tokens: TokenPair,
    token_url: String,
    client_id: String,
    /// Failures in a row.
    failures: u32,
    error: RefreshError,
    /// True if an answer was lost, or not understood, and none has rejected the login since. The token endpoint may have
    /// replaced the refresh token, and many accept the old one again for a while.
    answer_lost: bool,
    /// Its end; none for a rejected login.
    until: Option<Instant>,
}

#[derive(Debug)]
struct EndpointBackoff {
    /// Failures in a row.
    failures: u32,
    until: Instant,
}

impl Backoffs {
    /// The error for a request that a backoff applies to.
    pub(super) fn error(&self, request: &RefreshRequest, now: Instant) -> Option<RefreshError> {
        let login = self.logins.get(&request.credential).filter(|backoff| backoff.applies_to(request, now));
        let endpoint = self.endpoints.get(&request.token_url).filter(|backoff| now < backoff.until);
        login.map(|backoff| backoff.error).or(endpoint.map(|_| RefreshError::Backoff))
    }

    /// Ends the backoff of a login and of its endpoint, after a success.
    pub(super) fn clear(&mut self, request: &RefreshRequest) {
        self.logins.remove(&request.credential);
        self.endpoints.remove(&request.token_url);
    }

    /// Starts or prolongs the backoff of a login with these tokens, and of its endpoint if that did not respond.
    pub(super) fn fail(
        &mut self,
        request: RefreshRequest,
        tokens: TokenPair,
        error: TokenEndpointError,
        now: Instant,
    ) {
        let RefreshRequest { credential, token_url, client_id, .. } = request;
        if error == TokenEndpointError::NoResponse {
            let failures =
                self.endpoints.get(&token_url).map_or(0, |before| before.failures).saturating_add(1);
            self.endpoints
                .insert(token_url.clone(), EndpointBackoff { failures, until: now + delay(failures) });
        }
        let before =
            self.logins.get(&credential).filter(|before| before.tokens.access_token == tokens.access_token);
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let before_lost = before.is_some_and(|before| before.answer_lost && before.tokens == tokens);
        let answer_lost = match error {
            TokenEndpointError::NoResponse | TokenEndpointError::InvalidResponse(_) => true,
            TokenEndpointError::Rejected => false,
            // An overloaded endpoint says nothing about the refresh token.
            TokenEndpointError::InvalidUrl
            | TokenEndpointError::Temporary
            | TokenEndpointError::Status(_) => before_lost,
        };
        let (error, until) = match error {
            TokenEndpointError::Rejected if !before_lost => (error.into(), None),
            TokenEndpointError::Rejected
            | TokenEndpointError::NoResponse
            | TokenEndpointError::InvalidUrl
            | TokenEndpointError::Temporary
            | TokenEndpointError::Status(_)
            | TokenEndpointError::InvalidResponse(_) => (RefreshError::Backoff, Some(now + delay(failures))),
        };
        self.make_room(now);
        let backoff = LoginBackoff { tokens, token_url, client_id, failures, error, answer_lost, until };
        self.logins.insert(credential, backoff);
    }

    fn make_room(&mut self, now: Instant) {
        if self.logins.len() < MAX_LOGINS {
            return;
        }
        self.logins.retain(|_, backoff| !backoff.is_outdated(now));
        if self.logins.len() >= MAX_LOGINS
            && let Some(any) = self.logins.keys().next().cloned()
        {
            self.logins.remove(&any);
        }
    }
}

impl LoginBackoff {
    fn applies_to(&self, request: &RefreshRequest, now: Instant) -> bool {
        let Self { tokens, token_url, client_id, .. } = self;
        (tokens, token_url, client_id) == (&request.seen, &request.token_url, &request.client_id)
            && self.until.is_none_or(|until| now < until)
    }

    /// True if it ended so long ago that its count of failures does not matter any more.
    fn is_outdated(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until + MAX_BACKOFF < now)
    }
}

/// The duration of the backoff after so many failures in a row.
fn delay(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    MIN_BACKOFF.saturating_mul(factor).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_after_a_lost_answer_has_to_be_repeated() {
        use crate::{name::Owner, secret::Secret};
        let seen = TokenPair { access_token: Secret::new("a1"), refresh_token: Secret::new("r1") };
        let request = RefreshRequest {
            provider: "demo".into(),
            credential: CredentialId {
                owner: Owner::Everybody,
                section: "demo".into(),
                field: "login".into(),
            },
            seen: seen.clone(),
            reason: crate::decide::RefreshReason::Expired,
            token_url: "https://auth.example.com/token".into(),
            client_id: "app_1".into(),
            refresh_before: Duration::from_mins(5),
        };
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let rejected = TokenEndpointError::Rejected;
        for lost in [TokenEndpointError::NoResponse, TokenEndpointError::InvalidResponse("is cut")] {
            let mut backoffs = Backoffs::default();
            let mut fail = |error, at| backoffs.fail(request.clone(), seen.clone(), error, at);
            fail(lost, start);
            fail(rejected, after(10));
            assert_eq!(backoffs.error(&request, after(11)), Some(RefreshError::Backoff));
            assert_eq!(backoffs.error(&request, after(20)), None, "{lost:?}");
            let mut fail = |error, at| backoffs.fail(request.clone(), seen.clone(), error, at);
            fail(rejected, after(20));
            assert_eq!(backoffs.error(&request, after(100_000)), Some(rejected.into()));
        }
        // What the endpoint says of itself in between changes nothing.
        for between in [TokenEndpointError::Status(503), TokenEndpointError::Temporary] {
            let mut backoffs = Backoffs::default();
            let mut fail = |error, at| backoffs.fail(request.clone(), seen.clone(), error, at);
            fail(TokenEndpointError::InvalidResponse("is cut"), start);
            fail(between, after(10));
            fail(rejected, after(20));
            assert_eq!(backoffs.error(&request, after(21)), Some(RefreshError::Backoff));
            let mut fail = |error, at| backoffs.fail(request.clone(), seen.clone(), error, at);
            fail(between, after(40));
            fail(rejected, after(60));
            assert_eq!(backoffs.error(&request, after(100_000)), Some(rejected.into()));
        }
        let mut backoffs = Backoffs::default();
        backoffs.fail(request.clone(), seen.clone(), TokenEndpointError::Status(500), start);
        backoffs.fail(request.clone(), seen.clone(), rejected, after(10));
        assert_eq!(backoffs.error(&request, after(100_000)), Some(rejected.into()));
    }

    #[test]
    fn the_backoff_doubles_up_to_five_minutes() {
        let delays: Vec<u64> =
            [0, 1, 2, 3, 8, 9, 10, 33, u32::MAX].map(|failures| delay(failures).as_secs()).into();
        assert_eq!(delays, [1, 1, 2, 4, 128, 256, 300, 300, 300]);
    }
}
