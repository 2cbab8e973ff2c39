//! One refresh: take the lease, call the token endpoint, store the result. The stored login is read first, since
//! another process may have refreshed it, or a user replaced it. New tokens are stored by compare-and-swap before
//! waiters get them. An answer that was not understood is stored too: it may hold the only valid refresh token.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    CredentialId, RefreshError, RefreshRequest, RefreshResult, Refreshed, TokenEndpoint, TokenPair,
    login_store::{Login, LoginStore},
};
use crate::{
    accounts::{
        StoredCredential,
        oauth::{Grant, TokenEndpointError},
        unread_answer::UnreadAnswer,
    },
    secret::Secret,
    store::{KeepOutcome, StoreError},
};

/// Duration of the lease: enough for one call and for storing its result.
const LEASE_MS: u64 = 13_000;
/// Longest wait for another process's lease. A lease expires within this time even if its process has died.
const LEASE_DEADLINE: Duration = Duration::from_secs(14);
/// Interval of reads of the store meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Attempts to store new tokens while others re-encrypt the row at the same time.
const MAX_TRIES: u32 = 16;

/// The result of a call that has not been stored yet.
#[derive(Debug)]
pub(super) struct Unsaved {
    /// The request.
    pub(super) request: RefreshRequest,
    old: Login,
    new: NewState,
    /// The error, if the endpoint issued no valid access token.
    refused: Option<TokenEndpointError>,
}

#[derive(Debug)]
enum NewState {
    Login(StoredCredential),
    Unread(UnreadAnswer),
}

/// The result of a refresh.
#[derive(Debug)]
pub(super) struct Completed {
    pub(super) outcome: RefreshResult,
    /// True if this refresh obtained the access token.
    pub(super) obtained: bool,
    /// After a failure: the stored tokens, which the backoff applies to.
    pub(super) refused: Option<TokenPair>,
    /// Tokens that still have to be stored.
    pub(super) unsaved: Option<Unsaved>,
}

impl From<RefreshResult> for Completed {
    fn from(outcome: RefreshResult) -> Self {
        Self { outcome, obtained: false, refused: None, unsaved: None }
    }
}

/// Gets another access token than the one in the request. `serving` is a recent one that need not be refreshed.
pub(super) async fn attempt(
    logins: &impl LoginStore,
    endpoint: &impl TokenEndpoint,
    request: &RefreshRequest,
    serving: Option<Secret>,
    unsaved: Option<Unsaved>,
) -> Completed {
    // The old refresh token may be spent. So its result is stored before another refresh starts.
    if let Some(unsaved) = unsaved {
        return save(logins, unsaved).await;
    }
    let leased = match lease(logins, request, serving.as_ref()).await {
        Ok(LeaseOutcome::Refreshed(fresh)) => return Ok(fresh).into(),
        Ok(LeaseOutcome::Due(login, refresh_token)) => (login, refresh_token),
        Err(why) => return Err(why).into(),
    };
    let ended = with_lease(logins, endpoint, request, leased).await;
    if let Err(error) = logins.release(&request.credential).await {
        tracing::warn!(%error, "releasing a lease failed; it expires by itself");
    }
    ended
}

enum LeaseOutcome {
    /// Another node has refreshed the login.
    Refreshed(Refreshed),
    /// This task holds the lease and has to refresh the login with this refresh token.
    Due(Login, Secret),
}

/// Waits for the lease, or for another access token.
async fn lease(
    logins: &impl LoginStore,
    request: &RefreshRequest,
    serving: Option<&Secret>,
) -> Result<LeaseOutcome, RefreshError> {
    let until = Instant::now() + LEASE_DEADLINE;
    loop {
        let stored = check_stored(logins, request, serving).await?;
        if matches!(stored, LeaseOutcome::Refreshed(_)) {
            return Ok(stored);
        }
        if logins.lease(&request.credential, LEASE_MS).await.map_err(|error| store_failed(&error))? {
            // The previous holder of the lease may have stored new tokens.
            let stored = check_stored(logins, request, serving).await;
            if !matches!(stored, Ok(LeaseOutcome::Due(..))) {
                let _ = logins.release(&request.credential).await;
            }
            return stored;
        }
        if Instant::now() >= until {
            return Err(RefreshError::Timeout);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Reads the stored login. It may have been refreshed or replaced since the request.
async fn check_stored(
    logins: &impl LoginStore,
    request: &RefreshRequest,
    serving: Option<&Secret>,
) -> Result<LeaseOutcome, RefreshError> {
    let login = logins.read(&request.credential).await.map_err(|error| store_failed(&error))?;
    let login = login.ok_or(RefreshError::NotFound)?;
    let serves = serving == Some(&login.access_token) || !request.is_due(login.expires_at_ms);
    if login.access_token != request.seen.access_token && serves {
        return Ok(LeaseOutcome::Refreshed(refreshed(&login)));
    }
    let refresh_token = login.refresh_token.clone().ok_or(RefreshError::NoRefreshToken)?;
    if !is_bound_to_endpoint(&login, request) {
        return Err(RefreshError::OriginMismatch);
    }
    Ok(LeaseOutcome::Due(login, refresh_token))
}

/// True if a login is bound to its token endpoint.
fn is_bound_to_endpoint(login: &Login, request: &RefreshRequest) -> bool {
    let bound_to = login.row.origins.as_deref().unwrap_or_default();
    request.origin().is_some_and(|origin| bound_to.contains(&origin))
}

fn refreshed(login: &Login) -> Refreshed {
    let origins = login.row.origins.clone().unwrap_or_default();
    Refreshed { access_token: login.access_token.clone(), expires_at_ms: login.expires_at_ms, origins }
}

async fn with_lease(
    logins: &impl LoginStore,
    endpoint: &impl TokenEndpoint,
    request: &RefreshRequest,
    (old, refresh_token): (Login, Secret),
) -> Completed {
    match endpoint.refresh(&request.token_url, &request.client_id, &refresh_token).await {
        Ok(grant) => {
            let (new, refused) = match grant {
                Grant::Login(new) => (NewState::Login(new), None),
                Grant::RefreshToken(rotated, why) => (NewState::Login(old.with(rotated)), Some(why)),
                Grant::Unread(answer, problem) => {
                    if let Ok(Some(login)) = logins.read(&request.credential).await
                        && !login.is_same(&old)
                    {
                        return Ok(refreshed(&login)).into();
                    }
                    (NewState::Unread(answer), Some(TokenEndpointError::InvalidResponse(problem)))
                }
            };
            save(logins, Unsaved { request: request.clone(), old, new, refused }).await
        }
        Err(why) => {
            let outcome = newer_login_or(logins, request, &old, why).await;
            let tokens = TokenPair { access_token: old.access_token, refresh_token };
            Completed { refused: Some(tokens), ..outcome.into() }
        }
    }
}

/// After a failed refresh: the login that was stored meanwhile, if there is one, or the error.
async fn newer_login_or(
    logins: &impl LoginStore,
    request: &RefreshRequest,
    old: &Login,
    refused: TokenEndpointError,
) -> RefreshResult {
    match logins.read(&request.credential).await {
        Ok(Some(login)) if !login.is_same(old) => Ok(refreshed(&login)),
        _ => Err(refused.into()),
    }
}

/// Stores new tokens by compare-and-swap, or an answer beside the login. A login that was stored meanwhile wins.
async fn save(logins: &impl LoginStore, mut unsaved: Unsaved) -> Completed {
    for _ in 0..MAX_TRIES {
        let saved = match &unsaved.new {
            NewState::Login(new) => logins.replace(&unsaved.old, new).await,
            NewState::Unread(answer) => keep(logins, &unsaved.request, answer).await,
        };
        match saved {
            Ok(true) => return completed(unsaved),
            Ok(false) => {}
            Err(error) => return retry_later(unsaved, &error),
        }
        match logins.read(&unsaved.request.credential).await {
            // The same login, re-encrypted by another key or for other origins: try again.
            Ok(Some(login)) if login.is_same(&unsaved.old) => unsaved.old = login,
            Ok(Some(login)) => return Ok(refreshed(&login)).into(),
            Ok(None) => return Err(RefreshError::NotFound).into(),
            Err(error) => return retry_later(unsaved, &error),
        }
    }
    Completed { unsaved: Some(unsaved), ..Err(RefreshError::Timeout).into() }
}

/// Keeps an answer that was not understood. False if another key encrypts by now.
async fn keep(
    logins: &impl LoginStore,
    request: &RefreshRequest,
    answer: &UnreadAnswer,
) -> Result<bool, StoreError> {
    let kept = logins.keep(&request.credential, answer).await?;
    let RefreshRequest { provider, credential: CredentialId { owner, section, field }, .. } = request;
    let problem = &*answer.problem;
    match kept {
        KeepOutcome::OtherKey => return Ok(false),
        KeepOutcome::Kept => tracing::error!(
            provider, %owner, section, field, problem,
            "a token endpoint's response was not understood; it is kept, encrypted: see `tollgate credential recover`"
        ),
        KeepOutcome::NotKept => tracing::error!(
            provider, %owner, section, field, problem,
            "a token endpoint's response was not understood; earlier ones are kept: see `tollgate credential recover`"
        ),
    }
    Ok(true)
}

fn completed(Unsaved { old, new, refused, .. }: Unsaved) -> Completed {
    let new = match new {
        NewState::Login(new) => new,
        NewState::Unread(_) => old.unchanged(),
    };
    let StoredCredential::OAuth { access_token, refresh_token, expires_at_ms } = new else {
        return Err(RefreshError::NotFound).into();
    };
    if let (Some(why), Some(refresh_token)) = (refused, refresh_token) {
        let tokens = TokenPair { access_token, refresh_token };
        return Completed { refused: Some(tokens), ..Err(why.into()).into() };
    }
    let outcome: RefreshResult = Ok(Refreshed { access_token, expires_at_ms, ..refreshed(&old) });
    Completed { obtained: true, ..outcome.into() }
}

fn retry_later(unsaved: Unsaved, error: &StoreError) -> Completed {
    Completed { unsaved: Some(unsaved), ..Err(store_failed(error)).into() }
}

fn store_failed(error: &StoreError) -> RefreshError {
    tracing::error!(%error, "the store failed during the refresh of a login");
    RefreshError::Store
}
