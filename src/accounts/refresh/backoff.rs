//! Exponential backoff after failed refreshes: per credential, and per token endpoint that does not respond. A login that its
//! endpoint has rejected is not tried again until another one is stored; directly after an answer that was lost, the
//! rejection has to be repeated. In memory and bounded.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{CredentialId, LoginRefresh, RefreshError, RefreshRequest};
use crate::{accounts::oauth::TokenEndpointError, token::MadeFrom};

const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_mins(5);
/// Maximum number of credentials. Dropping one costs one more call that fails.
const MAX_CREDENTIALS: usize = 10_000;

/// All credentials and token endpoints in backoff.
#[derive(Debug, Default)]
pub(super) struct Backoffs {
    credentials: HashMap<CredentialId, CredentialBackoff>,
    /// By name. The other credentials of an endpoint do not wait for its timeout too.
    endpoints: HashMap<String, EndpointBackoff>,
}

/// The version of a credential that failed: of a login, its tokens and its endpoint. Another one is tried at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    Login(LoginRefresh),
    /// The definition of a made token, and its values.
    Token(MadeFrom),
}

/// The backoff of one credential. It applies only to requests of the same version. Others are tried at once.
#[derive(Debug)]
struct CredentialBackoff {
    version: Version,
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

impl Version {
    /// True if failures of another version count for this one: of a login, if it has the same access token.
    fn continues(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Login(one), Self::Login(other)) => one.seen.access_token == other.seen.access_token,
            (Self::Token(one), Self::Token(other)) => one == other,
            (Self::Login(_), Self::Token(_)) | (Self::Token(_), Self::Login(_)) => false,
        }
    }

    /// True if nothing was spent on the way between the two.
    fn is_same_secret(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Login(one), Self::Login(other)) => one.seen == other.seen,
            (Self::Token(one), Self::Token(other)) => one == other,
            (Self::Login(_), Self::Token(_)) | (Self::Token(_), Self::Login(_)) => false,
        }
    }
}

impl Backoffs {
    /// The error for a request that a backoff applies to.
    pub(super) fn error(&self, request: &RefreshRequest, now: Instant) -> Option<RefreshError> {
        let of = self.credentials.get(&request.credential);
        let of = of.filter(|backoff| backoff.applies_to(request, now));
        let endpoint = || {
            let backoff = self.endpoints.get(&request.endpoint()?)?;
            (now < backoff.until).then_some(RefreshError::Backoff)
        };
        of.map(|backoff| backoff.error).or_else(endpoint)
    }

    /// Ends the backoff of a credential and of its endpoint, after a success.
    pub(super) fn clear(&mut self, request: &RefreshRequest) {
        self.credentials.remove(&request.credential);
        if let Some(endpoint) = request.endpoint() {
            self.endpoints.remove(&endpoint);
        }
    }

    /// Starts or prolongs the backoff of a version of a credential, and of its endpoint if that did not respond.
    pub(super) fn fail(
        &mut self,
        request: &RefreshRequest,
        version: Version,
        error: RefreshError,
        now: Instant,
    ) {
        if let (RefreshError::TokenEndpoint(TokenEndpointError::NoResponse), Some(endpoint)) =
            (error, request.endpoint())
        {
            let failures =
                self.endpoints.get(&endpoint).map_or(0, |before| before.failures).saturating_add(1);
            self.endpoints.insert(endpoint, EndpointBackoff { failures, until: now + delay(failures) });
        }
        let before =
            self.credentials.get(&request.credential).filter(|before| before.version.continues(&version));
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let before_lost =
            before.is_some_and(|before| before.answer_lost && before.version.is_same_secret(&version));
        let until = Some(now + delay(failures));
        let (error, until, answer_lost) = match error {
            // Making a token spends nothing. Until then, the same error is the answer.
            RefreshError::Token(_) => (error, until, false),
            RefreshError::TokenEndpoint(TokenEndpointError::Rejected) if !before_lost => (error, None, false),
            RefreshError::TokenEndpoint(TokenEndpointError::Rejected) => {
                (RefreshError::Backoff, until, false)
            }
            RefreshError::TokenEndpoint(
                TokenEndpointError::NoResponse | TokenEndpointError::InvalidResponse(_),
            ) => (RefreshError::Backoff, until, true),
            // An overloaded endpoint says nothing about the refresh token.
            _ => (RefreshError::Backoff, until, before_lost),
        };
        self.make_room(now);
        let backoff = CredentialBackoff { version, failures, error, answer_lost, until };
        self.credentials.insert(request.credential.clone(), backoff);
    }

    fn make_room(&mut self, now: Instant) {
        if self.credentials.len() < MAX_CREDENTIALS {
            return;
        }
        self.credentials.retain(|_, backoff| !backoff.is_outdated(now));
        if self.credentials.len() >= MAX_CREDENTIALS
            && let Some(any) = self.credentials.keys().next().cloned()
        {
            self.credentials.remove(&any);
        }
    }
}

impl CredentialBackoff {
    fn applies_to(&self, request: &RefreshRequest, now: Instant) -> bool {
        self.version == request.version() && self.until.is_none_or(|until| now < until)
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
        use crate::{
            accounts::refresh::{RefreshHow, TokenPair},
            fields::OAuth,
            name::Owner,
            secret::Secret,
        };
        let login = LoginRefresh {
            seen: TokenPair { access_token: Secret::new("a1"), refresh_token: Secret::new("r1") },
            oauth: OAuth {
                paste: std::collections::BTreeMap::new(),
                token_url: "https://auth.example.com/token".into(),
                client_id: "app_1".into(),
                client_secret: None,
                scope: None,
                refresh_before: Duration::from_mins(5),
            },
        };
        let version = Version::Login(login.clone());
        let request = RefreshRequest {
            provider: "demo".into(),
            credential: CredentialId {
                owner: Owner::Everybody,
                section: "demo".into(),
                field: "login".into(),
            },
            reason: crate::decide::RefreshReason::Expired,
            how: RefreshHow::Login(login),
        };
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let rejected = TokenEndpointError::Rejected;
        for lost in [TokenEndpointError::NoResponse, TokenEndpointError::InvalidResponse("is cut")] {
            let mut backoffs = Backoffs::default();
            let mut fail =
                |error: TokenEndpointError, at| backoffs.fail(&request, version.clone(), error.into(), at);
            fail(lost, start);
            fail(rejected, after(10));
            assert_eq!(backoffs.error(&request, after(11)), Some(RefreshError::Backoff));
            assert_eq!(backoffs.error(&request, after(20)), None, "{lost:?}");
            let mut fail =
                |error: TokenEndpointError, at| backoffs.fail(&request, version.clone(), error.into(), at);
            fail(rejected, after(20));
            assert_eq!(backoffs.error(&request, after(100_000)), Some(rejected.into()));
        }
        // What the endpoint says of itself in between changes nothing.
        for between in [TokenEndpointError::Status(503), TokenEndpointError::Temporary] {
            let mut backoffs = Backoffs::default();
            let mut fail =
                |error: TokenEndpointError, at| backoffs.fail(&request, version.clone(), error.into(), at);
            fail(TokenEndpointError::InvalidResponse("is cut"), start);
            fail(between, after(10));
            fail(rejected, after(20));
            assert_eq!(backoffs.error(&request, after(21)), Some(RefreshError::Backoff));
            let mut fail =
                |error: TokenEndpointError, at| backoffs.fail(&request, version.clone(), error.into(), at);
            fail(between, after(40));
            fail(rejected, after(60));
            assert_eq!(backoffs.error(&request, after(100_000)), Some(rejected.into()));
        }
        let mut backoffs = Backoffs::default();
        backoffs.fail(&request, version.clone(), TokenEndpointError::Status(500).into(), start);
        backoffs.fail(&request, version.clone(), rejected.into(), after(10));
        assert_eq!(backoffs.error(&request, after(100_000)), Some(rejected.into()));
    }

    #[test]
    fn the_backoff_doubles_up_to_five_minutes() {
        let delays: Vec<u64> =
            [0, 1, 2, 3, 8, 9, 10, 33, u32::MAX].map(|failures| delay(failures).as_secs()).into();
        assert_eq!(delays, [1, 1, 2, 4, 128, 256, 300, 300, 300]);
    }
}
