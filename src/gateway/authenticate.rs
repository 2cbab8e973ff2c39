//! Authentication: finds the user or the admin that a token belongs to. Wrong tokens count against the authentication
//! rate limit of the client's address. A request without a token is refused earlier, and does not count.

use std::sync::Arc;

use super::{Worker, context::RequestContext};
use crate::{
    accounts::{Authenticated, TooManyDelayed},
    fault::{Fault, FaultKind},
    name::AdminTokenId,
    secret::Secret,
    store::StoreError,
    telemetry::shown,
};

/// The user whose token it is, and the part of the text that is the token.
pub(super) async fn user(
    worker: &Worker,
    token: &Secret,
    context: &RequestContext,
) -> Result<Authenticated, Fault> {
    let found = worker.accounts.authenticate(&worker.cache, token.expose()).await;
    known(worker, found, Fault::invalid_token, context).await
}

/// The admin token that it is.
pub(super) async fn admin(
    worker: &Worker,
    token: &Secret,
    context: &RequestContext,
) -> Result<Arc<AdminTokenId>, Fault> {
    let found = worker.accounts.authenticate_admin(&worker.cache, token.expose()).await;
    known(worker, found, Fault::invalid_admin_token, context).await
}

async fn known<T>(
    worker: &Worker,
    found: Result<Option<T>, StoreError>,
    unknown: fn() -> Fault,
    context: &RequestContext,
) -> Result<T, Fault> {
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(rate_limited(worker, unknown(), context).await),
        Err(error) => Err(unavailable(&error, context)),
    }
}

/// The refusal of a wrong token, delayed as the rate limit asks for.
async fn rate_limited(worker: &Worker, refused: Fault, context: &RequestContext) -> Fault {
    match worker.auth_rate_limit.record_failure(context.client()).await {
        Ok(()) => refused,
        Err(TooManyDelayed) => Fault::new(
            FaultKind::TooManyAttempts,
            "Too many wrong tokens came from your network: try again later",
        ),
    }
}

fn unavailable(error: &StoreError, context: &RequestContext) -> Fault {
    tracing::error!(request_id = context.request_id(), error = %shown(&error.to_string()), "failed to authenticate: the store did not respond");
    Fault::new(FaultKind::StoreUnavailable, "Authentication is temporarily unavailable; try again")
}
