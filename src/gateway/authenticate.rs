//! Authentication: finds the user or the admin that a token or a session belongs to. Wrong ones count against the
//! authentication rate limit of the client's address. A request without any is refused earlier, and does not count.

use std::{net::IpAddr, sync::Arc};

use super::Worker;
use crate::{
    accounts::{Authenticated, TooManyDelayed},
    decide::{Presented, TokenOf},
    fault::{Fault, FaultKind},
    name::AdminTokenId,
    secret::Secret,
    store::StoreError,
    table::Table,
    telemetry::shown,
};

/// The client that presents a secret.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'c> {
    /// Its address.
    pub(super) address: IpAddr,
    /// The id of its request.
    pub(super) request_id: &'c str,
    /// The files that its request is decided with: they know the beginnings of vendors' keys.
    pub(super) table: &'c Table,
}

/// The user whose token it is, and the part of the text that is the token.
pub(super) async fn user(
    worker: &Worker,
    token: &Secret,
    client: Client<'_>,
) -> Result<Authenticated, Fault> {
    let found = worker.accounts.authenticate(&worker.cache, token.expose()).await;
    known(worker, found, || TokenOf::User.unknown(token.expose(), client.table), client).await
}

/// The user whose token or session it is.
pub(super) async fn self_service(
    worker: &Worker,
    presented: &Presented,
    client: Client<'_>,
) -> Result<Authenticated, Fault> {
    match presented {
        Presented::Token(token) => user(worker, token, client).await,
        Presented::Session(session) => {
            let found = worker.accounts.authenticate_session(&worker.cache, session.expose()).await;
            known(worker, found, Fault::invalid_token, client).await
        }
    }
}

/// The admin token that it is.
pub(super) async fn admin_token(
    worker: &Worker,
    token: &Secret,
    client: Client<'_>,
) -> Result<Arc<AdminTokenId>, Fault> {
    let found = worker.accounts.authenticate_admin(&worker.cache, token.expose()).await;
    known(worker, found, || TokenOf::Admin.unknown(token.expose(), client.table), client).await
}

/// The admin token or the admin's session that it is.
pub(super) async fn admin(
    worker: &Worker,
    presented: &Presented,
    client: Client<'_>,
) -> Result<Arc<AdminTokenId>, Fault> {
    match presented {
        Presented::Token(token) => admin_token(worker, token, client).await,
        Presented::Session(session) => {
            let found = worker.accounts.authenticate_admin_session(&worker.cache, session.expose()).await;
            known(worker, found, Fault::invalid_admin_token, client).await
        }
    }
}

async fn known<T>(
    worker: &Worker,
    found: Result<Option<T>, StoreError>,
    unknown: impl FnOnce() -> Fault,
    client: Client<'_>,
) -> Result<T, Fault> {
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(rate_limited(worker, unknown(), client).await),
        Err(error) => Err(unavailable(&error, client)),
    }
}

/// The refusal of a wrong token, delayed as the rate limit asks for.
async fn rate_limited(worker: &Worker, refused: Fault, client: Client<'_>) -> Fault {
    match worker.auth_rate_limit.record_failure(client.address).await {
        Ok(()) => refused,
        Err(TooManyDelayed) => Fault::new(
            FaultKind::TooManyAttempts,
            "Too many wrong tokens came from your network: try again later",
        ),
    }
}

fn unavailable(error: &StoreError, client: Client<'_>) -> Fault {
    tracing::error!(request_id = client.request_id, error = %shown(&error.to_string()), "failed to authenticate: the store did not respond");
    Fault::new(FaultKind::StoreUnavailable, "Authentication is temporarily unavailable; try again")
}
