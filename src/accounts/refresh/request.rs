//! The requests to the refresher, and their outcomes.

use std::time::Duration;

use thiserror::Error;

use super::{
    Flight, RefreshReason,
    backoff::Version,
    making::{self, TokenMaking},
};
use crate::{
    accounts::oauth::TokenEndpointError, clock, decide::expires_within, fields::OAuth, name::Owner,
    secret::Secret, token::TokenProblem,
};

/// The identity of a stored login.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CredentialId {
    /// Its owner.
    pub owner: Owner,
    /// Its section.
    pub section: String,
    /// Its field.
    pub field: String,
}

/// The two tokens of a login. They identify its version, however it is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// The access token.
    pub access_token: Secret,
    /// The refresh token.
    pub refresh_token: Secret,
}

/// A request for another token than the one that was seen.
#[derive(Debug, Clone)]
pub struct RefreshRequest {
    /// The name of the provider whose request needs it.
    pub provider: String,
    /// The login, or the place of a made token.
    pub credential: CredentialId,
    /// The reason to replace the token.
    pub reason: RefreshReason,
    /// The way to the next one.
    pub how: RefreshHow,
}

/// The way to another token.
#[derive(Debug, Clone)]
pub enum RefreshHow {
    /// A refresh token.
    Login(LoginRefresh),
    /// Stored fields.
    Token(Box<TokenMaking>),
}

/// The refresh of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRefresh {
    /// The tokens that have to be replaced.
    pub seen: TokenPair,
    /// The token endpoint.
    pub oauth: OAuth,
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// The token.
    pub token: Secret,
    /// Of a made token: further fields of the reply, by name.
    pub fields: Box<[(Box<str>, Secret)]>,
    /// Its expiry, in milliseconds since 1970, if known.
    pub expires_at_ms: Option<u64>,
    /// The origins that it is bound to.
    pub origins: Vec<String>,
}

impl RefreshRequest {
    /// True if a token with this expiry has to be replaced.
    pub(super) fn is_due(&self, expires_at_ms: Option<u64>) -> bool {
        expires_within(expires_at_ms, clock::now_ms(), self.refresh_before())
    }

    /// A token is due this long before it expires.
    pub(super) fn refresh_before(&self) -> Duration {
        match &self.how {
            RefreshHow::Login(login) => login.oauth.refresh_before,
            RefreshHow::Token(making) => making.token.refresh_before,
        }
    }

    /// The token that has to be replaced; none if there was none.
    pub fn seen(&self) -> Option<&Secret> {
        match &self.how {
            RefreshHow::Login(login) => Some(&login.seen.access_token),
            RefreshHow::Token(making) => making.seen.as_ref(),
        }
    }

    /// The name of the token endpoint for its backoff, if one is called.
    pub(super) fn endpoint(&self) -> Option<String> {
        match &self.how {
            RefreshHow::Login(login) => Some(login.oauth.token_url.clone()),
            // The values of one user may be the reason: other credentials have a backoff of their own.
            RefreshHow::Token(_) => None,
        }
    }

    /// The version of the credential that this request is about.
    pub(super) fn version(&self) -> Version {
        match &self.how {
            RefreshHow::Login(login) => Version::Login(login.clone()),
            RefreshHow::Token(making) => Version::Token(making.made_from),
        }
    }

    /// The identity of its flight.
    pub(super) fn flight(&self) -> Flight {
        let made_from = match &self.how {
            RefreshHow::Login(_) => None,
            RefreshHow::Token(making) => Some(making.made_from),
        };
        Flight { credential: self.credential.clone(), made_from }
    }
}

impl LoginRefresh {
    /// The same login with these tokens.
    pub(super) fn version(&self, seen: TokenPair) -> Version {
        Version::Login(Self { seen, oauth: self.oauth.clone() })
    }
}

impl Refreshed {
    /// The access token of a login.
    pub fn login(access_token: Secret, expires_at_ms: Option<u64>, origins: Vec<String>) -> Self {
        Self { token: access_token, fields: Box::default(), expires_at_ms, origins }
    }
}

/// The reason why a refresh returned no access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RefreshError {
    /// The token endpoint refused, or gave no valid response.
    #[error(transparent)]
    TokenEndpoint(#[from] TokenEndpointError),
    /// A token could not be made from its fields.
    #[error("{0}")]
    Token(TokenProblem),
    /// The login is in backoff after a failure.
    #[error("an earlier refresh failed; the backoff has not ended")]
    Backoff,
    /// The login was refreshed a moment ago.
    #[error("the login was refreshed only a moment ago")]
    Recent,
    /// The login has been removed.
    #[error("the login was removed")]
    NotFound,
    /// The login has no refresh token.
    #[error("the login has no refresh token")]
    NoRefreshToken,
    /// The login is not bound to the token endpoint that the files name now.
    #[error("the login is not bound to this token endpoint")]
    OriginMismatch,
    /// The store could not be read or written.
    #[error("the store did not respond")]
    Store,
    /// The refresh, in this process or another, takes too long, or too many others are running.
    #[error("the refresh did not finish in time")]
    Timeout,
}

impl RefreshError {
    /// True if a later refresh of the same login may succeed.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::TokenEndpoint(TokenEndpointError::Rejected)
            | Self::NotFound
            | Self::NoRefreshToken
            | Self::OriginMismatch => false,
            Self::Token(problem) => !making::is_final(problem),
            Self::TokenEndpoint(_) | Self::Backoff | Self::Recent | Self::Store | Self::Timeout => true,
        }
    }
}
