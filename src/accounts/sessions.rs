//! Sessions: sign-in and sign-out of browsers. The token of a session leaves this module once, in the result of its start; it is
//! for a cookie alone, never for a body, a log or the audit log.

use std::time::Duration;

use serde_json::json;

use super::{Actor, Caller, token};
use crate::{
    clock,
    name::AdminTokenId,
    secret::Secret,
    store::{NewSession, Store, StoreError, TokenHash},
};

/// A session to start.
#[derive(Debug, Clone)]
pub struct SessionRequest {
    /// Its lifetime, unless its maker expires earlier.
    pub lifetime: Duration,
    /// The sessions that the same browser had. They end.
    pub replaces: Vec<TokenHash>,
}

/// A new session. Its token is returned here only.
#[derive(Debug)]
pub struct StartedSession {
    /// Its id: that of a token, or of an admin token.
    pub id: String,
    /// The token.
    pub token: Secret,
    /// Its expiry, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// Starts a session of the caller; `None` if the caller's token is a session.
pub async fn start_session(
    store: &Store,
    actor: &Actor,
    caller: &Caller,
    request: SessionRequest,
) -> Result<Option<StartedSession>, StoreError> {
    let token = token::generate();
    let session = record(token::generate_id(), &token, request);
    let detail = json!({ "session": session.id.as_str(), "madeBy": caller.token.id.as_str() });
    let expires = store.add_session(&session, &actor.act("session.create", &caller.id, detail)).await?;
    Ok(expires.map(|expires_at_ms| StartedSession { id: session.id.to_string(), token, expires_at_ms }))
}

/// Starts a session of the admin who acts; `None` if that is no admin with a token: a session starts none.
pub async fn start_admin_session(
    store: &Store,
    actor: &Actor,
    request: SessionRequest,
) -> Result<Option<StartedSession>, StoreError> {
    let token = token::generate();
    let session = record(token::generate_admin_id(), &token, request);
    let act = actor.act("session.create", &session.id, json!({}));
    let expires = store.add_admin_session(&session, &act).await?;
    Ok(expires.map(|expires_at_ms| StartedSession { id: session.id.to_string(), token, expires_at_ms }))
}

fn record<I>(id: I, token: &Secret, request: SessionRequest) -> NewSession<I> {
    let SessionRequest { lifetime, replaces } = request;
    let now_ms = clock::now_ms();
    let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
    NewSession {
        id,
        hash: TokenHash::of(token.expose()),
        prefix: token::shown_prefix(token.expose()).to_owned(),
        created_at_ms: now_ms,
        expires_at_ms: now_ms.saturating_add(lifetime_ms),
        replaces,
    }
}

/// Ends the caller's session. Returns false if the caller's token is none.
pub async fn end_session(store: &Store, actor: &Actor, caller: &Caller) -> Result<bool, StoreError> {
    let detail = json!({ "session": caller.token.id.as_str() });
    store.end_session(&caller.id, &caller.token.hash, &actor.act("session.end", &caller.id, detail)).await
}

/// Ends the session of an admin. Returns false if it is none.
pub async fn end_admin_session(
    store: &Store,
    actor: &Actor,
    session: &AdminTokenId,
) -> Result<bool, StoreError> {
    store.end_admin_session(session, &actor.act("session.end", session, json!({}))).await
}
