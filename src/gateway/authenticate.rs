//! Authentication: whose a token is. Wrong tokens count against an authentication rate limit per client address; a
//! request without any token is no guess, and never gets here.

use std::sync::Arc;

use super::{Worker, visit::Visit};
use crate::{
    accounts::{Caller, TooMany},
    fault::{Fault, Kind},
    name::AdminTokenId,
    secret::Secret,
    store::StoreError,
    telemetry::shown,
};

/// The user whose token it is.
pub(super) async fn user(worker: &Worker, token: &Secret, visit: &Visit) -> Result<Arc<Caller>, Fault> {
    let found = worker.accounts.authenticate(&worker.cache, token.expose()).await;
    known(worker, found, Fault::invalid_token, visit).await
}

/// The admin token that it is.
pub(super) async fn admin(
    worker: &Worker,
    token: &Secret,
    visit: &Visit,
) -> Result<Arc<AdminTokenId>, Fault> {
    let found = worker.accounts.authenticate_admin(&worker.cache, token.expose()).await;
    known(worker, found, Fault::invalid_admin_token, visit).await
}

async fn known<T>(
    worker: &Worker,
    found: Result<Option<T>, StoreError>,
    unknown: fn() -> Fault,
    visit: &Visit,
) -> Result<T, Fault> {
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(rate_limited(worker, unknown(), visit).await),
        Err(error) => Err(unavailable(&error, visit)),
    }
}

/// The refusal of a wrong token, delayed as the rate limit asks for.
async fn rate_limited(worker: &Worker, refused: Fault, visit: &Visit) -> Fault {
    match worker.attempts.wrong(visit.from()).await {
        Ok(()) => refused,
        Err(TooMany) => {
            Fault::new(Kind::TooManyAttempts, "Too many wrong tokens came from your network: try again later")
        }
    }
}

fn unavailable(error: &StoreError, visit: &Visit) -> Fault {
    tracing::error!(request_id = visit.request_id(), error = %shown(&error.to_string()), "the store did not answer");
    Fault::new(Kind::StoreUnavailable, "Authentication is temporarily unavailable; try again")
}
