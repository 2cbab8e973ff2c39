//! One refresh: take the lease, call the token endpoint, store the result (of a made token: `making`). The stored login is read first, since
//! another process may have refreshed it, or a user replaced it. New tokens are stored by compare-and-swap before
//! waiters get them. An answer that was not understood is stored too: it may hold the only valid refresh token.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    CredentialId, LoginRefresh, RefreshError, RefreshHow, RefreshRequest, RefreshResult, Refreshed,
    TokenEndpoint, TokenPair,
    backoff::Version,
    login_store::{Login, LoginStore},
    making::{self, UnsavedToken},
};
use crate::{
    accounts::{
        StoredCredential,
        oauth::{Grant, NewTokens, TokenEndpointError},
        unread_answer::UnreadAnswer,
    },
    fields::OAuth,
    secret::Secret,
    store::{KeepOutcome, StoreError, SwapReason},
};

/// Duration of the lease: enough for one call and for storing its result.
const LEASE_MS: u64 = 13_000;
/// Longest wait for another process's lease. A lease expires within this time even if its process has died.
const LEASE_DEADLINE: Duration = Duration::from_secs(14);
/// Interval of reads of the store meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Attempts to store new tokens while others re-encrypt the row at the same time.
pub(super) const MAX_TRIES: u32 = 16;

/// The result of a call that has not been stored yet.
#[derive(Debug)]
pub(super) enum Unsaved {
    /// New tokens of a login.
    Login(Box<UnsavedLogin>),
    /// A made token.
    Token(Box<UnsavedToken>),
}

impl Unsaved {
    /// The request.
    pub(super) fn request(&self) -> &RefreshRequest {
        match self {
            Self::Login(unsaved) => &unsaved.request,
            Self::Token(unsaved) => &unsaved.request,
        }
    }
}

/// New tokens of a login that have not been stored yet.
#[derive(Debug)]
pub(super) struct UnsavedLogin {
    request: RefreshRequest,
    old: Login,
    new: NewTokens,
    /// An answer that still has to be kept.
    unread: Option<UnreadAnswer>,
    /// The reason to replace the old tokens.
    reason: SwapReason,
}

/// The result of a refresh.
#[derive(Debug)]
pub(super) struct Completed {
    pub(super) outcome: RefreshResult,
    /// True if this refresh obtained the access token.
    pub(super) obtained: bool,
    /// After a failure: the version that is stored, which the backoff applies to.
    pub(super) refused: Option<Version>,
    /// Tokens that still have to be stored.
    pub(super) unsaved: Option<Unsaved>,
}

impl From<RefreshResult> for Completed {
    fn from(outcome: RefreshResult) -> Self {
        Self { outcome, obtained: false, refused: None, unsaved: None }
    }
}

/// Gets another access token than the one in the request. `serving` is a recent one that need not be refreshed. `sent`
/// becomes true when the refresh token may be spent.
pub(super) async fn attempt(
    logins: &impl LoginStore,
    endpoint: &impl TokenEndpoint,
    request: &RefreshRequest,
    serving: Option<Secret>,
    unsaved: Option<Unsaved>,
    sent: &AtomicBool,
) -> Completed {
    // The old refresh token may be spent. So its result is stored before another refresh starts.
    match unsaved {
        Some(Unsaved::Login(unsaved)) => return save(logins, *unsaved).await,
        Some(Unsaved::Token(unsaved)) => return making::save(logins, *unsaved, false).await,
        None => {}
    }
    let leased = match lease(logins, request, serving.as_ref()).await {
        Ok(LeaseOutcome::Refreshed(fresh)) => return Ok(fresh).into(),
        Ok(LeaseOutcome::Due(due)) => due,
        Err(why) => return Err(why).into(),
    };
    let ended = match (leased, &request.how) {
        (Due::Login(old, refresh_token), RefreshHow::Login(refresh)) => {
            let refresh = LoginAttempt { request, refresh };
            with_lease(logins, endpoint, refresh, (*old, refresh_token), sent).await
        }
        (Due::Token, RefreshHow::Token(making)) => {
            making::make(logins, endpoint, (request, making), sent).await
        }
        (Due::Login(..), RefreshHow::Token(_)) | (Due::Token, RefreshHow::Login(_)) => {
            Err(RefreshError::NotFound).into()
        }
    };
    if let Err(error) = logins.release(&request.credential).await {
        tracing::warn!(%error, "releasing a lease failed; it expires by itself");
    }
    ended
}

enum LeaseOutcome {
    /// Another node has refreshed it.
    Refreshed(Refreshed),
    /// This task holds the lease and has to act.
    Due(Due),
}

/// The credential that has to be refreshed.
enum Due {
    /// A login, and its refresh token.
    Login(Box<Login>, Secret),
    /// A token has to be made.
    Token,
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
        let leased = match (logins.lease(&request.credential, LEASE_MS).await, &request.how) {
            (Ok(leased), _) => leased,
            (Err(error), RefreshHow::Login(_)) => return Err(store_failed(&error)),
            // Making a token spends nothing: a second one does no harm.
            (Err(_), RefreshHow::Token(_)) => true,
        };
        if leased {
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

/// Reads what is stored. It may have been refreshed or replaced since the request.
async fn check_stored(
    logins: &impl LoginStore,
    request: &RefreshRequest,
    serving: Option<&Secret>,
) -> Result<LeaseOutcome, RefreshError> {
    match &request.how {
        RefreshHow::Login(refresh) => check_login(logins, request, refresh, serving).await,
        RefreshHow::Token(making) => {
            let stored = making::stored(logins, request, making, serving).await;
            Ok(stored.map_or(LeaseOutcome::Due(Due::Token), LeaseOutcome::Refreshed))
        }
    }
}

async fn check_login(
    logins: &impl LoginStore,
    request: &RefreshRequest,
    refresh: &LoginRefresh,
    serving: Option<&Secret>,
) -> Result<LeaseOutcome, RefreshError> {
    let login = logins.read(&request.credential).await.map_err(|error| store_failed(&error))?;
    let login = login.ok_or(RefreshError::NotFound)?;
    let serves = serving == Some(&login.access_token) || !request.is_due(login.expires_at_ms);
    if request.seen() != Some(&login.access_token) && serves {
        return Ok(LeaseOutcome::Refreshed(refreshed(&login)));
    }
    let refresh_token = login.refresh_token.clone().ok_or(RefreshError::NoRefreshToken)?;
    if !is_bound_to_endpoint(&login, &refresh.oauth) {
        return Err(RefreshError::OriginMismatch);
    }
    Ok(LeaseOutcome::Due(Due::Login(Box::new(login), refresh_token)))
}

/// True if a login is bound to its token endpoint.
fn is_bound_to_endpoint(login: &Login, oauth: &OAuth) -> bool {
    let bound_to = login.row.origins.as_deref().unwrap_or_default();
    oauth.origin().is_some_and(|origin| bound_to.contains(&origin))
}

fn refreshed(login: &Login) -> Refreshed {
    let origins = login.row.origins.clone().unwrap_or_default();
    Refreshed::login(login.access_token.clone(), login.expires_at_ms, origins)
}

/// A request to refresh a login.
#[derive(Clone, Copy)]
struct LoginAttempt<'r> {
    request: &'r RefreshRequest,
    refresh: &'r LoginRefresh,
}

async fn with_lease(
    logins: &impl LoginStore,
    endpoint: &impl TokenEndpoint,
    attempt: LoginAttempt<'_>,
    (old, refresh_token): (Login, Secret),
    sent: &AtomicBool,
) -> Completed {
    sent.store(true, Ordering::Relaxed);
    let LoginAttempt { request, refresh } = attempt;
    match endpoint.refresh(&refresh.oauth, &refresh_token).await {
        Ok(Grant { tokens, unread }) => {
            let reason = if unread.is_none() { SwapReason::Refresh } else { SwapReason::RefreshInPart };
            save(logins, UnsavedLogin { request: request.clone(), old, new: tokens, unread, reason }).await
        }
        Err(why) => failed(logins, attempt, old, why).await,
    }
}

/// The result of a refresh without new tokens. A login that was stored meanwhile is used.
async fn failed(
    logins: &impl LoginStore,
    LoginAttempt { request, refresh }: LoginAttempt<'_>,
    old: Login,
    why: TokenEndpointError,
) -> Completed {
    let outcome = newer_login_or(logins, request, &old, why).await;
    let Login { access_token, refresh_token, .. } = old;
    let seen = refresh_token.map(|refresh_token| TokenPair { access_token, refresh_token });
    // After a failure alone: a login that was stored meanwhile is used.
    let seen = seen.filter(|_| outcome.is_err());
    let refused = seen.map(|seen| refresh.version(seen));
    Completed { refused, ..outcome.into() }
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

/// Keeps an answer beside the login, and stores new tokens by compare-and-swap. A login with another refresh token that was
/// stored meanwhile wins. One with the same refresh token is replaced: that token is spent.
async fn save(logins: &impl LoginStore, mut unsaved: UnsavedLogin) -> Completed {
    for _ in 0..MAX_TRIES {
        match try_save(logins, &mut unsaved).await {
            Ok(true) => return completed(logins, unsaved).await,
            Ok(false) => {}
            Err(error) => return retry_later(unsaved, &error),
        }
        match logins.read(&unsaved.request.credential).await {
            Ok(Some(login)) if login.refresh_token == unsaved.old.refresh_token => unsaved.old = login,
            // The answer has still to be kept.
            Ok(Some(_)) if unsaved.unread.is_some() => {}
            Ok(Some(login)) => return Ok(refreshed(&login)).into(),
            Ok(None) => return Err(RefreshError::NotFound).into(),
            Err(error) => return retry_later(unsaved, &error),
        }
    }
    Completed { unsaved: Some(Unsaved::Login(Box::new(unsaved))), ..Err(RefreshError::Timeout).into() }
}

/// False if another login is stored, or another key encrypts by now.
async fn try_save(logins: &impl LoginStore, unsaved: &mut UnsavedLogin) -> Result<bool, StoreError> {
    if let Some(unread) = &unsaved.unread {
        if !keep(logins, unsaved, unread).await? {
            return Ok(false);
        }
        unsaved.unread = None;
    }
    match &unsaved.new {
        NewTokens::Login(new) => logins.replace(&unsaved.old, new, unsaved.reason).await,
        NewTokens::RefreshToken(rotated, _) => {
            let new = unsaved.old.with(rotated.clone());
            logins.replace(&unsaved.old, &new, unsaved.reason).await
        }
        NewTokens::Nothing(_) => Ok(true),
    }
}

/// Keeps an answer that was not understood. False if another key encrypts by now.
async fn keep(
    logins: &impl LoginStore,
    unsaved: &UnsavedLogin,
    answer: &UnreadAnswer,
) -> Result<bool, StoreError> {
    let RefreshRequest { provider, credential, .. } = &unsaved.request;
    let kept = logins.keep(credential, answer).await?;
    let CredentialId { owner, section, field } = credential;
    let problem = &*answer.problem;
    match (kept, &unsaved.new) {
        (KeepOutcome::OtherKey, _) => return Ok(false),
        (KeepOutcome::Kept, NewTokens::Login(_)) => tracing::error!(
            provider, %owner, section, field, problem,
            "a token endpoint's response was not understood completely: its access token is used, and it is kept, encrypted: see `tollgate credential recover`"
        ),
        (KeepOutcome::Kept, NewTokens::RefreshToken(..)) => tracing::error!(
            provider, %owner, section, field, problem,
            "a token endpoint's response was not understood completely: its refresh token is stored, and it is kept, encrypted: see `tollgate credential recover`"
        ),
        (KeepOutcome::Kept, NewTokens::Nothing(_)) => tracing::error!(
            provider, %owner, section, field, problem,
            "a token endpoint's response was not understood; it is kept, encrypted: see `tollgate credential recover`"
        ),
        (KeepOutcome::NoRoom, _) => tracing::error!(
            provider, %owner, section, field, problem,
            "a token endpoint's response was not understood; earlier ones are kept: see `tollgate credential recover`"
        ),
        (KeepOutcome::NoLogin, _) => tracing::error!(
            provider, %owner, section, field, problem,
            "a token endpoint's response was not understood; it is not kept, since its login was removed"
        ),
    }
    Ok(true)
}

async fn completed(
    logins: &impl LoginStore,
    UnsavedLogin { request, old, new, .. }: UnsavedLogin,
) -> Completed {
    let RefreshHow::Login(refresh) = &request.how else { return Err(RefreshError::NotFound).into() };
    match new {
        NewTokens::Login(StoredCredential::OAuth { access_token, expires_at_ms, .. }) => {
            let outcome: RefreshResult =
                Ok(Refreshed::login(access_token, expires_at_ms, refreshed(&old).origins));
            Completed { obtained: true, ..outcome.into() }
        }
        NewTokens::Login(
            StoredCredential::Plain(_)
            | StoredCredential::Value(_)
            | StoredCredential::Document(_)
            | StoredCredential::Made(_),
        ) => Err(RefreshError::NotFound).into(),
        NewTokens::RefreshToken(refresh_token, why) => {
            let seen = TokenPair { access_token: old.access_token, refresh_token };
            Completed { refused: Some(refresh.version(seen)), ..Err(why.into()).into() }
        }
        NewTokens::Nothing(why) => {
            failed(logins, LoginAttempt { request: &request, refresh }, old, why).await
        }
    }
}

fn retry_later(unsaved: UnsavedLogin, error: &StoreError) -> Completed {
    Completed { unsaved: Some(Unsaved::Login(Box::new(unsaved))), ..Err(store_failed(error)).into() }
}

fn store_failed(error: &StoreError) -> RefreshError {
    tracing::error!(%error, "the store failed during the refresh of a login");
    RefreshError::Store
}
