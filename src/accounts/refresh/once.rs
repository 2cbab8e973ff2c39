//! One refresh, from the lease to the stored tokens. The stored login is read first, since another node may have refreshed
//! or a user replaced it. New tokens are stored by compare-and-swap before any waiter gets them.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Outcome, RefreshError, RefreshRequest, Refreshed, TokenEndpoint, TokenPair,
    login_store::{Login, LoginStore},
};
use crate::{
    accounts::{
        StoredCredential,
        oauth::{Grant, TokenEndpointError},
    },
    secret::Secret,
    store::StoreError,
};

/// Duration of the lease: one call, and storing its result.
const LEASE_MS: u64 = 13_000;
/// Longest wait for another node's lease: until it expires, if that node has died.
const PATIENCE: Duration = Duration::from_secs(14);
/// Interval of reads of the store meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Attempts to store new tokens while others re-encrypt the row at the same time.
const MAX_TRIES: u32 = 16;

/// New tokens that have not been stored yet.
#[derive(Debug)]
pub(super) struct Unsaved {
    /// The request.
    pub(super) wanted: RefreshRequest,
    old: Login,
    new: StoredCredential,
    /// Why they contain no access token.
    refused: Option<TokenEndpointError>,
}

/// The result of a refresh.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// True if this refresh obtained the access token.
    pub(super) obtained: bool,
    /// The login that was refused.
    pub(super) refused: Option<TokenPair>,
    /// Tokens that still have to be stored.
    pub(super) unsaved: Option<Unsaved>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, obtained: false, refused: None, unsaved: None }
    }
}

/// Gets another access token than the one that was seen. `serving` is one that would do.
pub(super) async fn once(
    logins: &impl LoginStore,
    endpoint: &impl TokenEndpoint,
    wanted: &RefreshRequest,
    serving: Option<Secret>,
    unsaved: Option<Unsaved>,
) -> Ended {
    // The old refresh token may be spent: its result is stored before another refresh.
    if let Some(unsaved) = unsaved {
        return save(logins, unsaved).await;
    }
    let leased = match lease(logins, wanted, serving.as_ref()).await {
        Ok(Leased::Fresh(fresh)) => return Ok(fresh).into(),
        Ok(Leased::Due(login, refresh_token)) => (login, refresh_token),
        Err(why) => return Err(why).into(),
    };
    let ended = with_lease(logins, endpoint, wanted, leased).await;
    if let Err(error) = logins.release(&wanted.credential).await {
        tracing::warn!(%error, "releasing a lease failed; it expires by itself");
    }
    ended
}

enum Leased {
    /// Another one has refreshed it.
    Fresh(Refreshed),
    /// This task has to refresh it.
    Due(Login, Secret),
}

/// Waits for the lease, or for another access token.
async fn lease(
    logins: &impl LoginStore,
    wanted: &RefreshRequest,
    serving: Option<&Secret>,
) -> Result<Leased, RefreshError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let stored = look(logins, wanted, serving).await?;
        if matches!(stored, Leased::Fresh(_)) {
            return Ok(stored);
        }
        if logins.lease(&wanted.credential, LEASE_MS).await.map_err(|error| unstored(&error))? {
            // The previous holder of the lease may have stored new tokens.
            let stored = look(logins, wanted, serving).await;
            if !matches!(stored, Ok(Leased::Due(..))) {
                let _ = logins.release(&wanted.credential).await;
            }
            return stored;
        }
        if Instant::now() >= until {
            return Err(RefreshError::Timeout);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Reads the stored login and decides if it will do.
async fn look(
    logins: &impl LoginStore,
    wanted: &RefreshRequest,
    serving: Option<&Secret>,
) -> Result<Leased, RefreshError> {
    let login = logins.read(&wanted.credential).await.map_err(|error| unstored(&error))?;
    let login = login.ok_or(RefreshError::NotFound)?;
    let serves = serving == Some(&login.access_token) || !wanted.is_due(login.expires_at_ms);
    if login.access_token != wanted.seen.access_token && serves {
        return Ok(Leased::Fresh(fresh(&login)));
    }
    let refresh_token = login.refresh_token.clone().ok_or(RefreshError::NoRefreshToken)?;
    if !goes_to(&login, wanted) {
        return Err(RefreshError::OriginMismatch);
    }
    Ok(Leased::Due(login, refresh_token))
}

/// True if a login is bound to its token endpoint.
fn goes_to(login: &Login, wanted: &RefreshRequest) -> bool {
    let saved_for = login.row.origins.as_deref().unwrap_or_default();
    wanted.origin().is_some_and(|origin| saved_for.contains(&origin))
}

fn fresh(login: &Login) -> Refreshed {
    let origins = login.row.origins.clone().unwrap_or_default();
    Refreshed { access_token: login.access_token.clone(), expires_at_ms: login.expires_at_ms, origins }
}

async fn with_lease(
    logins: &impl LoginStore,
    endpoint: &impl TokenEndpoint,
    wanted: &RefreshRequest,
    (old, refresh_token): (Login, Secret),
) -> Ended {
    match endpoint.refresh(&wanted.token_url, &wanted.client_id, &refresh_token).await {
        Ok(brought) => {
            let (new, refused) = match brought {
                Grant::Login(new) => (new, None),
                Grant::RefreshToken(rotated, why) => (old.with(rotated), Some(why)),
            };
            save(logins, Unsaved { wanted: wanted.clone(), old, new, refused }).await
        }
        Err(why) => {
            let outcome = instead(logins, wanted, &old, why).await;
            let tokens = TokenPair { access_token: old.access_token, refresh_token };
            Ended { refused: Some(tokens), ..outcome.into() }
        }
    }
}

/// After a failure: if another login was stored meanwhile, that one counts.
async fn instead(
    logins: &impl LoginStore,
    wanted: &RefreshRequest,
    old: &Login,
    refused: TokenEndpointError,
) -> Outcome {
    match logins.read(&wanted.credential).await {
        Ok(Some(login)) if !login.is_same(old) => Ok(fresh(&login)),
        _ => Err(refused.into()),
    }
}

/// Stores new tokens by compare-and-swap. If another login was stored meanwhile, that one counts.
async fn save(logins: &impl LoginStore, mut unsaved: Unsaved) -> Ended {
    for _ in 0..MAX_TRIES {
        match logins.replace(&unsaved.old, &unsaved.new).await {
            Ok(true) => return granted(unsaved),
            Ok(false) => {}
            Err(error) => return keep(unsaved, &error),
        }
        match logins.read(&unsaved.wanted.credential).await {
            // The same login, re-encrypted by another key or for other origins: try again.
            Ok(Some(login)) if login.is_same(&unsaved.old) => unsaved.old = login,
            Ok(Some(login)) => return Ok(fresh(&login)).into(),
            Ok(None) => return Err(RefreshError::NotFound).into(),
            Err(error) => return keep(unsaved, &error),
        }
    }
    Ended { unsaved: Some(unsaved), ..Err(RefreshError::Timeout).into() }
}

fn granted(Unsaved { old, new, refused, .. }: Unsaved) -> Ended {
    let StoredCredential::OAuth { access_token, refresh_token, expires_at_ms } = new else {
        return Err(RefreshError::NotFound).into();
    };
    if let (Some(why), Some(refresh_token)) = (refused, refresh_token) {
        let tokens = TokenPair { access_token, refresh_token };
        return Ended { refused: Some(tokens), ..Err(why.into()).into() };
    }
    let outcome: Outcome = Ok(Refreshed { access_token, expires_at_ms, ..fresh(&old) });
    Ended { obtained: true, ..outcome.into() }
}

fn keep(unsaved: Unsaved, error: &StoreError) -> Ended {
    Ended { unsaved: Some(unsaved), ..Err(unstored(error)).into() }
}

fn unstored(error: &StoreError) -> RefreshError {
    tracing::error!(%error, "the store failed during the refresh of a login");
    RefreshError::Store
}
