//! Operations on sessions: sign-in and sign-out of browsers. The token of a session is in no body: it leaves in
//! [`Response::session`], which becomes a cookie.

use http::StatusCode;

use super::{Admin, ApiResult, Principal, Request, Response, payloads::Session, store_fault};
use crate::{
    accounts::{self, Actor, Caller, SessionRequest, StartedSession},
    clock::{now_ms, utc},
    fault::{Fault, FaultKind},
    secret::Secret,
    store::Right,
};

/// The authenticated side of a browser, in whose name its pages call the API.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Its side, for authorization.
    pub principal: Principal,
    /// The same for the audit log.
    pub actor: Actor,
}

/// The change of a browser's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionChange {
    /// It started.
    Started {
        /// Its token.
        token: Secret,
        /// The seconds until it expires.
        lasts_s: u64,
    },
    /// It ended.
    Ended,
}

impl Admin {
    pub(super) async fn start_session(&self, caller: &Caller, request: &Request) -> ApiResult {
        let wanted = self.wanted_session(request);
        started(
            accounts::start_session(&self.store, &request.actor, caller, wanted)
                .await
                .map_err(store_fault)?,
        )
    }

    pub(super) async fn start_admin_session(&self, request: &Request) -> ApiResult {
        let wanted = self.wanted_session(request);
        started(
            accounts::start_admin_session(&self.store, &request.actor, wanted).await.map_err(store_fault)?,
        )
    }

    pub(super) async fn end_session(&self, caller: &Caller, request: &Request) -> ApiResult {
        ended(accounts::end_session(&self.store, &request.actor, caller).await.map_err(store_fault)?)
    }

    pub(super) async fn end_admin_session(&self, request: &Request) -> ApiResult {
        let Some(Right::Admin(id)) = &request.actor.right else { return ended(false) };
        ended(accounts::end_admin_session(&self.store, &request.actor, id).await.map_err(store_fault)?)
    }

    fn wanted_session(&self, request: &Request) -> SessionRequest {
        SessionRequest { lifetime: self.session_lifetime, replaces: request.sessions.clone() }
    }
}

fn started(session: Option<StartedSession>) -> ApiResult {
    let Some(StartedSession { id, token, expires_at_ms }) = session else {
        return Err(Fault::new(
            FaultKind::TokenKind,
            "A session is started with a token: a session starts none",
        ));
    };
    let lasts_s = expires_at_ms.saturating_sub(now_ms()) / 1000;
    let shown = Session { id, expires_at: utc(expires_at_ms) };
    let session = Some(SessionChange::Started { token, lasts_s });
    Ok(Response { session, ..Response::json(StatusCode::CREATED, &shown) })
}

fn ended(has_ended: bool) -> ApiResult {
    if !has_ended {
        let message =
            "This call ends the session that makes it, and a token is none: revoke a token by its id";
        return Err(Fault::new(FaultKind::TokenKind, message));
    }
    Ok(Response { session: Some(SessionChange::Ended), ..Response::done() })
}
