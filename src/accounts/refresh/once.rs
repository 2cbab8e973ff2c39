//! One refresh, from the lease to the stored tokens: what is stored is read first, since somebody may have
//! refreshed or replaced it, and new tokens are stored before anybody gets them.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Outcome, RefreshError, RefreshRequest, Refreshed, TokenEndpoint, TokenPair,
    login_store::{Login, LoginStore},
};
use crate::{
    accounts::{
        Stored,
        oauth::{Grant, TokenEndpointError},
    },
    secret::Secret,
    store::StoreError,
};

/// How long the lease holds: as long as one call and what is stored of it may take.
const LEASE_MS: u64 = 13_000;
/// How long another node's lease is waited out: until it is over, should that node have died.
const PATIENCE: Duration = Duration::from_secs(14);
/// How often what is stored is looked at meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How often new tokens are put in the place of a row that others seal anew at the same time.
const MAX_TRIES: u32 = 16;

/// New tokens that are not stored yet.
#[derive(Debug)]
pub(super) struct Unsaved {
    /// What was asked for.
    pub(super) wanted: RefreshRequest,
    old: Login,
    new: Stored,
    /// Why there is no other access token among them.
    refused: Option<TokenEndpointError>,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// Whether that is an access token that this refresh has obtained.
    pub(super) obtained: bool,
    /// The login that was refused.
    pub(super) refused: Option<TokenPair>,
    /// What is still to be stored.
    pub(super) unsaved: Option<Unsaved>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, obtained: false, refused: None, unsaved: None }
    }
}

/// Brings about another access token than the one that was seen; `serving` is one that would do.
pub(super) async fn once(
    logins: &impl LoginStore,
    endpoint: &impl TokenEndpoint,
    wanted: &RefreshRequest,
    serving: Option<Secret>,
    unsaved: Option<Unsaved>,
) -> Ended {
    // The old refresh token may be spent: nothing is asked for before what it brought is stored.
    if let Some(unsaved) = unsaved {
        return save(logins, unsaved).await;
    }
    let leased = match lease(logins, wanted, serving.as_ref()).await {
        Ok(Leased::Fresh(fresh)) => return Ok(fresh).into(),
        Ok(Leased::Due(login, refresh_token)) => (login, refresh_token),
        Err(why) => return Err(why).into(),
    };
    let ended = with_lease(logins, endpoint, wanted, leased).await;
    if let Err(error) = logins.release(&wanted.place).await {
        tracing::warn!(%error, "a lease is not given back, and ends by itself");
    }
    ended
}

enum Leased {
    /// Somebody was faster.
    Fresh(Refreshed),
    /// It is ours to refresh.
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
        if logins.lease(&wanted.place, LEASE_MS).await.map_err(|error| unstored(&error))? {
            // Whoever had the lease a moment ago may have stored another one since.
            let stored = look(logins, wanted, serving).await;
            if !matches!(stored, Ok(Leased::Due(..))) {
                let _ = logins.release(&wanted.place).await;
            }
            return stored;
        }
        if Instant::now() >= until {
            return Err(RefreshError::Late);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// What is stored, and whether it will do.
async fn look(
    logins: &impl LoginStore,
    wanted: &RefreshRequest,
    serving: Option<&Secret>,
) -> Result<Leased, RefreshError> {
    let login = logins.read(&wanted.place).await.map_err(|error| unstored(&error))?;
    let login = login.ok_or(RefreshError::Gone)?;
    let serves = serving == Some(&login.access_token) || !wanted.is_due(login.expires_at_ms);
    if login.access_token != wanted.seen.access_token && serves {
        return Ok(Leased::Fresh(fresh(&login)));
    }
    let refresh_token = login.refresh_token.clone().ok_or(RefreshError::NoRefreshToken)?;
    if !goes_to(&login, wanted) {
        return Err(RefreshError::Moved);
    }
    Ok(Leased::Due(login, refresh_token))
}

/// Whether a login was saved for its token endpoint.
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

/// Where a refresh has failed, but another login was stored meanwhile, that one counts.
async fn instead(
    logins: &impl LoginStore,
    wanted: &RefreshRequest,
    old: &Login,
    refused: TokenEndpointError,
) -> Outcome {
    match logins.read(&wanted.place).await {
        Ok(Some(login)) if !login.is_same(old) => Ok(fresh(&login)),
        _ => Err(refused.into()),
    }
}

/// Stores new tokens, unless another login was stored meanwhile: then that one counts.
async fn save(logins: &impl LoginStore, mut unsaved: Unsaved) -> Ended {
    for _ in 0..MAX_TRIES {
        match logins.replace(&unsaved.old, &unsaved.new).await {
            Ok(true) => return granted(unsaved),
            Ok(false) => {}
            Err(error) => return keep(unsaved, &error),
        }
        match logins.read(&unsaved.wanted.place).await {
            // Sealed anew, by another key or for other origins.
            Ok(Some(login)) if login.is_same(&unsaved.old) => unsaved.old = login,
            Ok(Some(login)) => return Ok(fresh(&login)).into(),
            Ok(None) => return Err(RefreshError::Gone).into(),
            Err(error) => return keep(unsaved, &error),
        }
    }
    Ended { unsaved: Some(unsaved), ..Err(RefreshError::Late).into() }
}

fn granted(Unsaved { old, new, refused, .. }: Unsaved) -> Ended {
    let Stored::OAuth { access_token, refresh_token, expires_at_ms } = new else {
        return Err(RefreshError::Gone).into();
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
    tracing::error!(%error, "the store does not answer while a login is refreshed");
    RefreshError::Store
}
