//! Imports users from another system, with their tokens and credentials.

use serde_json::{Value, json};

use super::{
    Actor, AddressNote, DisplayName, Edit, MasterKey, TokenDraft,
    credentials::{audit_entry, encrypted},
    token,
};
use crate::{
    name::{FileName, Owner, Scope, UserId},
    secret::Secret,
    store::{Import, Imported, NewPasteToken, Store, StoreError, TokenHash, TokenKind, User},
};

/// A user to import.
#[derive(Debug)]
pub struct ImportedUser {
    /// The id, which is kept.
    pub id: UserId,
    /// The name.
    pub name: DisplayName,
    /// A note of the user's address.
    pub ip: Option<AddressNote>,
    /// Time of creation, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Tokens, of kind `both`.
    pub tokens: Vec<ImportedToken>,
    /// Paste tokens.
    pub pastes: Vec<ImportedPasteToken>,
    /// Credentials.
    pub edits: Vec<Edit>,
}

/// A token.
#[derive(Debug)]
pub struct ImportedToken {
    /// The token itself.
    pub token: Secret,
    /// Its expiry, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

/// A paste token. Only its hash is known.
#[derive(Debug)]
pub struct ImportedPasteToken {
    /// SHA-256 of the token.
    pub hash: TokenHash,
    /// The provider that it is valid for.
    pub provider: FileName,
    /// The section of its login. It becomes invalid with that login.
    pub section: String,
    /// The field of its login.
    pub field: String,
    /// Its expiry, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

/// Imports a user atomically. An existing user is left unchanged.
pub async fn import_user(
    store: &Store,
    actor: &Actor,
    key: &MasterKey,
    newcomer: &ImportedUser,
) -> Result<Imported, StoreError> {
    let ImportedUser { id, name, ip, created_at_ms, tokens, pastes, edits } = newcomer;
    let stored: Vec<Value> = edits.iter().map(audit_entry).collect();
    let detail = json!({ "name": name.as_str(), "tokens": tokens.len(), "credentials": stored });
    let act = actor.act("user.import", id, detail);
    let (owner, key) = (Owner::User(id.clone()), key.snapshot());
    let user = User {
        id: id.clone(),
        name: name.as_str().to_owned(),
        ip: ip.clone().map(AddressNote::into_string),
        group: None,
        created_at_ms: *created_at_ms,
        disabled_at_ms: None,
    };
    let credentials: Vec<_> =
        edits.iter().filter_map(|edit| encrypted(&key, &owner, edit, act.at_ms)).collect();
    let record = |one: &ImportedToken| {
        let draft = TokenDraft { expires_at_ms: one.expires_at_ms, ..TokenDraft::new(None, TokenKind::Both) };
        token::foreign_record(&one.token, draft, act.at_ms)
    };
    let paste = |one: &ImportedPasteToken| {
        let ImportedPasteToken { hash, provider, section, field, expires_at_ms } = one;
        let (provider, section, field) = (provider.clone(), section.clone(), field.clone());
        NewPasteToken {
            id: token::generate_id(),
            hash: *hash,
            user: id.clone(),
            scopes: vec![Scope { provider: provider.clone(), endpoint: None }],
            provider,
            section,
            field,
            created_at_ms: act.at_ms,
            expires_at_ms: *expires_at_ms,
        }
    };
    let tokens: Vec<_> = tokens.iter().map(record).collect();
    let pastes: Vec<_> = pastes.iter().map(paste).collect();
    let (credentials, key_id) = (&*credentials, &*key.id());
    store
        .import_user(Import { user: &user, tokens: &tokens, pastes: &pastes, credentials, key_id }, &act)
        .await
}
