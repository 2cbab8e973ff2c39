//! Creates, rotates and revokes tokens of users and of admins. A token leaves this module once, in the result.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Actor, Caller, DisplayName, TokenDraft, token};
use crate::{
    clock,
    name::{AdminTokenId, Scope, TokenId, UserId},
    secret::Secret,
    store::{
        Act, AdminTokenRevocation, DirLock, NewToken, PrivateFile, RevokeExtent, Revoked, Right, Rotated,
        Store, StoreError, TokenHash, TokenKind, TokenRotation, read_private, write_private,
    },
};

const ADMIN_TOKEN_FILE: &str = "admin-token";
const ADMIN_TOKEN_LABEL: &str = "first start";
const FURTHER_ADMIN_TOKEN_LABEL: &str = "command line";

/// The time for which a replaced token stays valid, in milliseconds.
pub const REPLACED_TOKEN_MS: u64 = 3_600_000;

/// A new token. Its text is returned here only.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: Secret,
    /// The stored record.
    pub record: NewToken,
}

/// Creates a further token of kind `proxy` for all providers; `None` if there is no such user.
pub async fn issue_token(
    store: &Store,
    actor: &Actor,
    user: &UserId,
    label: Option<DisplayName>,
) -> Result<Option<Secret>, StoreError> {
    let issued = add_token(store, actor, user, TokenDraft::new(label, TokenKind::Proxy)).await?;
    Ok(issued.map(|issued| issued.token))
}

/// Creates a further token; `None` if there is no such user.
pub async fn add_token(
    store: &Store,
    actor: &Actor,
    user: &UserId,
    draft: TokenDraft,
) -> Result<Option<IssuedToken>, StoreError> {
    let token = token::generate();
    let record = token::record(&token, draft, clock::now_ms());
    let act = actor.act("token.create", user, audit_entry_of(&record));
    Ok(store.add_token(user, &record, &act).await?.then_some(IssuedToken { token, record }))
}

/// The audit log's entry of a new token.
fn audit_entry_of(record: &NewToken) -> Value {
    let scopes = record.scopes.as_ref().map(|all| all.iter().map(Scope::to_string).collect::<Vec<_>>());
    json!({
        "token": record.id.as_str(),
        "label": record.label,
        "kind": record.kind.as_str(),
        "scopes": scopes,
        "expires": record.expires_at_ms.map(clock::utc),
    })
}

/// Revokes one of a user's tokens, with its paste tokens and, by `extent`, with what it created; `None` if there is none
/// with that id.
pub async fn revoke_token(
    store: &Store,
    actor: &Actor,
    user: &UserId,
    token: &TokenId,
    extent: RevokeExtent,
) -> Result<Option<Revoked>, StoreError> {
    let act = actor.act("token.revoke", user, json!({ "token": token.as_str() }));
    store.revoke_token(user, token, extent, &act).await
}

/// Rotates the caller's token; for a session, the token that made it. The new one has the same label, kind, scopes and expiry, and is the maker of what the old
/// one created. The old one and its paste tokens stay valid until `old_expires_at_ms` at most.
pub async fn rotate_token(
    store: &Store,
    actor: &Actor,
    caller: &Caller,
    old_expires_at_ms: u64,
) -> Result<Result<(Rotated, IssuedToken), RotateError>, StoreError> {
    rotate_stored_token(store, actor, &caller.id, caller.token.held(), old_expires_at_ms).await
}

/// The same for a token that somebody else names, by its hash.
pub async fn rotate_stored_token(
    store: &Store,
    actor: &Actor,
    user: &UserId,
    hash: &TokenHash,
    old_expires_at_ms: u64,
) -> Result<Result<(Rotated, IssuedToken), RotateError>, StoreError> {
    let found = store.lookup_token(hash).await?.map(|found| found.token);
    let Some(old) = found else { return Ok(Err(RotateError::Gone)) };
    let draft = TokenDraft {
        label: old.label.map(DisplayName),
        kind: old.kind,
        scopes: old.scopes,
        expires_at_ms: old.expires_at_ms,
    };
    let token = token::generate();
    let record = token::record(&token, draft, clock::now_ms());
    let detail = json!({ "old": old.id.as_str(), "new": audit_entry_of(&record) });
    let act = actor.act("token.rotate", user, detail);
    // A replaced token gets 409 `token_replaced`, and not the 401 of a revoked one.
    let act = Act { right: act.right.map(Right::even_if_replaced), ..act };
    Ok(match store.rotate_token(&old.hash, &record, old_expires_at_ms, &act).await? {
        TokenRotation::Done(rotated) => Ok((rotated, IssuedToken { token, record })),
        TokenRotation::Gone => Err(RotateError::Gone),
        TokenRotation::Replaced => Err(RotateError::Replaced),
    })
}

/// Why a token was not rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotateError {
    /// It has been revoked.
    Gone,
    /// It was replaced before.
    Replaced,
}

/// Creates a further admin token. The existing ones stay valid.
pub async fn issue_admin_token(
    store: &Store,
    actor: &Actor,
    label: Option<DisplayName>,
) -> Result<(Secret, AdminTokenId), StoreError> {
    let label = label.map_or_else(|| FURTHER_ADMIN_TOKEN_LABEL.to_owned(), |label| label.0);
    let token = token::generate();
    let id = add_admin_token(store, actor, &token, label).await?;
    Ok((token, id))
}

async fn add_admin_token(
    store: &Store,
    actor: &Actor,
    token: &Secret,
    label: String,
) -> Result<AdminTokenId, StoreError> {
    let record = token::admin_record(token, label, clock::now_ms());
    let act = actor.act("admin_token.create", &record.id, json!({ "label": record.label }));
    store.add_admin_token(&record, &act).await?;
    Ok(record.id)
}

/// Revokes an admin token and, by `extent`, what it created, unless no valid admin token would be left.
pub async fn revoke_admin_token(
    store: &Store,
    actor: &Actor,
    token: &AdminTokenId,
    extent: RevokeExtent,
) -> Result<AdminTokenRevocation, StoreError> {
    store.revoke_admin_token(token, extent, &actor.act("admin_token.revoke", token, json!({}))).await
}

/// The place where the first admin token was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminTokenPlace {
    /// It was shown to the operator.
    Shown,
    /// It is in this private file.
    File(PathBuf),
}

/// Creates the first admin token if there is none. `show` prints it, and returns false if it cannot; then it is written to
/// the private file `admin-token` in the data directory. It is stored last, so that no failure leaves a token that nobody
/// has.
pub async fn ensure_admin_token(
    store: &Store,
    data_dir: &Path,
    show: impl FnOnce(&Secret) -> bool,
) -> Result<Option<AdminTokenPlace>, StoreError> {
    let lock = DirLock::acquire(data_dir).await?;
    if store.has_admin_token().await? {
        return Ok(None);
    }
    let path = data_dir.join(ADMIN_TOKEN_FILE);
    let generated = token::generate();
    let (token, place) = if show(&generated) {
        (generated, AdminTokenPlace::Shown)
    } else {
        (token_file(&lock, &path, generated)?, AdminTokenPlace::File(path))
    };
    add_admin_token(store, &Actor::own(), &token, ADMIN_TOKEN_LABEL.to_owned()).await?;
    Ok(Some(place))
}

/// Writes the token to its file. A file that is already there comes from a crash, and its token is used.
fn token_file(lock: &DirLock, path: &Path, token: Secret) -> Result<Secret, StoreError> {
    if let PrivateFile::Text(text) = read_private(path)?
        && let Some(token) = token::parse(text.expose().trim_ascii())
    {
        return Ok(token);
    }
    let line = Secret::new(format!("{}\n", token.expose()));
    write_private(lock, path, line.expose().as_bytes())?;
    Ok(token)
}
