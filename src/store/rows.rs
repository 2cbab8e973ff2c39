//! The values that go into the store and come out of it. A token is here only as its hash, a credential only as an
//! encrypted blob: the store cannot read either. Outcomes of changes are enums, so that callers match on the cause.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Act;
use crate::{
    decide::TokenKind,
    hex,
    name::{AdminTokenId, FileName, GroupName, Owner, Scope, TokenId, UserId},
};

/// The SHA-256 of a token. No salt and no key derivation: tokens have enough random bits. Only hashes are compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token of any length and shape.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The hash as eight big-endian words.
    pub fn numbers(&self) -> [u32; 8] {
        let (bytes, _) = self.0.as_chunks::<4>();
        std::array::from_fn(|index| u32::from_be_bytes(bytes[index]))
    }

    /// A part of the hash, as good as unique: the key of a table in memory.
    pub fn key(&self) -> u64 {
        let [first, second, ..] = self.numbers();
        (u64::from(first) << 32) | u64::from(second)
    }

    /// The form in the database.
    pub(super) fn hex(&self) -> String {
        hex::encode(&self.0)
    }

    /// Reads the form in the database, or in another system that stores SHA-256 hashes of tokens.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenHash(***)")
    }
}

/// A stored user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The display name.
    pub name: String,
    /// A note of the address that the user calls from. It restricts nothing.
    pub ip: Option<String>,
    /// The group whose shared credentials the user may use.
    pub group: Option<GroupName>,
    /// Creation time, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The time since which all calls of the user are refused; absent if they are not.
    pub disabled_at_ms: Option<u64>,
}

/// A change to a user. An absent field stays as it is.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// The new name.
    pub name: Option<String>,
    /// The new address note.
    pub ip: Option<Option<String>>,
    /// The new group.
    pub group: Option<Option<GroupName>>,
    /// The time since which calls are refused. A user who is disabled already keeps the earlier time.
    pub disabled_at_ms: Option<Option<u64>>,
}

/// A token to store.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The public id.
    pub id: TokenId,
    /// The key that it is looked up by.
    pub hash: TokenHash,
    /// The first characters, by which people recognise it.
    pub prefix: String,
    /// A label in its owner's words.
    pub label: Option<String>,
    /// The use that it is good for.
    pub kind: TokenKind,
    /// The providers and endpoints that it reaches; all, if absent.
    pub scopes: Option<Vec<Scope>>,
    /// Creation time, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Expiry; never, if absent.
    pub expires_at_ms: Option<u64>,
}

/// A stored token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// The public id.
    pub id: TokenId,
    /// The key that it is looked up by.
    pub hash: TokenHash,
    /// The first characters. Empty for a paste token: they all begin alike.
    pub prefix: String,
    /// A label in its owner's words.
    pub label: Option<String>,
    /// The use that it is good for.
    pub kind: TokenKind,
    /// The providers and endpoints that it reaches; all, if absent.
    pub scopes: Option<Vec<Scope>>,
    /// For a paste token, the provider whose token shape it has and whose endpoints it serves.
    pub paste: Option<FileName>,
    /// The owner.
    pub user: UserId,
    /// The owner's display name.
    pub user_name: String,
    /// Creation time, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Expiry; never, if absent.
    pub expires_at_ms: Option<u64>,
    /// The time at which a rotation replaced it.
    pub replaced_at_ms: Option<u64>,
    /// The time of the last use, to about a minute.
    pub last_used_at_ms: Option<u64>,
    /// The token that created it. Absent if the operator did on the machine, if it was imported, or if it is from before
    /// makers were recorded.
    pub maker: Option<Maker>,
}

impl StoredToken {
    /// The kind that lists show: `paste` for a paste token.
    pub fn kind_label(&self) -> &'static str {
        if self.paste.is_some() { "paste" } else { self.kind.as_str() }
    }
}

/// The token that created another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// A user's token.
    Token(TokenId),
    /// An admin token.
    Admin(AdminTokenId),
}

impl Maker {
    /// Reads the form in the database: the id.
    pub(super) fn parse(text: &str) -> Option<Self> {
        TokenId::new(text).map(Self::Token).or_else(|| AdminTokenId::new(text).map(Self::Admin))
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => id.fmt(formatter),
            Self::Admin(id) => id.fmt(formatter),
        }
    }
}

/// The tokens that a revocation ends. Paste tokens and sessions always end with their maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeExtent {
    /// The token.
    Alone,
    /// The token, and recursively those that it created, and those that it replaced or that replaced it.
    WithMade,
}

/// The tokens that a revocation ended, and those that it left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Users' tokens that ended, with the revoked one.
    pub tokens: u64,
    /// Paste tokens that ended.
    pub paste_tokens: u64,
    /// Admin tokens that ended, with the revoked one.
    pub admin_tokens: u64,
    /// Sessions that ended, of users or admins.
    pub sessions: u64,
    /// Tokens of [`RevokeExtent::WithMade`] that stay valid.
    pub remaining: u64,
}

/// The outcome of a token rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenRotation {
    /// The new token is stored.
    Done(Rotated),
    /// The old token has been revoked or has expired.
    Gone,
    /// The old token was rotated before: only its successor can be.
    Replaced,
}

/// A rotation that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// The time from which the old token is refused.
    pub old_expires_at_ms: u64,
    /// Paste tokens of the old token, which end with it.
    pub paste_tokens: u64,
    /// Tokens that the old token created, sessions apart. The new one is their maker now, and that of the sessions.
    pub handed_over: u64,
}

/// A paste token to store: a token in the shape of a vendor's own.
#[derive(Debug, Clone)]
pub struct NewPasteToken {
    /// The public id.
    pub id: TokenId,
    /// The key that it is looked up by.
    pub hash: TokenHash,
    /// The owner.
    pub user: UserId,
    /// The provider whose endpoints it serves.
    pub provider: FileName,
    /// The scopes: that provider, or some of its endpoints.
    pub scopes: Vec<Scope>,
    /// The section of the login that it depends on: it is deleted with it.
    pub section: String,
    /// The field of that login.
    pub field: String,
    /// Creation time, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Expiry; never, if absent.
    pub expires_at_ms: Option<u64>,
}

/// A paste token to store, and the end of the earlier ones of its user and provider.
#[derive(Debug, Clone)]
pub struct PasteTokenIssue {
    /// The token.
    pub token: NewPasteToken,
    /// The time at which earlier ones expire at the latest, in milliseconds since 1970.
    pub old_expires_at_ms: u64,
    /// The act, for the audit log.
    pub act: Act,
}

/// An admin token to store.
#[derive(Debug, Clone)]
pub struct NewAdminToken {
    /// The public id.
    pub id: AdminTokenId,
    /// The key that it is looked up by.
    pub hash: TokenHash,
    /// The first characters, by which people recognise it.
    pub prefix: String,
    /// A label.
    pub label: String,
    /// Creation time, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Expiry; never, if absent.
    pub expires_at_ms: Option<u64>,
}

/// A stored admin token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAdminToken {
    /// The public id.
    pub id: AdminTokenId,
    /// The first characters. Empty for tokens from before they were stored.
    pub prefix: String,
    /// A label. That of a session is its maker's.
    pub label: String,
    /// True for a session: it comes in a cookie alone.
    pub is_session: bool,
    /// Creation time, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Expiry; never, if absent.
    pub expires_at_ms: Option<u64>,
    /// The time of the last use, to about a minute.
    pub last_used_at_ms: Option<u64>,
    /// The admin token that created it; absent as for [`StoredToken::maker`].
    pub maker: Option<AdminTokenId>,
}

/// The outcome of revoking an admin token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminTokenRevocation {
    /// It is revoked.
    Done(Revoked),
    /// No such token exists.
    Unknown,
    /// It is the last valid one: without it nobody could call the admin API. It stays.
    Last,
}

/// A stored credential, encrypted with the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCredential {
    /// The owner.
    pub owner: Owner,
    /// The section of the credentials document.
    pub section: String,
    /// The field in the section.
    pub field: String,
    /// The encrypted blob.
    pub sealed: Vec<u8>,
    /// The origins that the blob is bound to; absent if it is from before credentials were bound.
    pub origins: Option<Vec<String>>,
    /// The time of the last change, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// A field of the credentials document with its bound origins, and the number of owners that have it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredField {
    /// The section of the credentials document.
    pub section: String,
    /// The field in the section.
    pub field: String,
    /// The origins that the blobs are bound to.
    pub origins: Vec<String>,
    /// The number of owners.
    pub owners: u64,
}

/// A session to store. Its maker, whose rights it has, is the token by whose right it is created.
#[derive(Debug, Clone)]
pub struct NewSession<I> {
    /// The public id.
    pub id: I,
    /// The key that it is looked up by.
    pub hash: TokenHash,
    /// The first characters, by which people recognise it.
    pub prefix: String,
    /// Creation time, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Expiry, unless that of its maker is earlier.
    pub expires_at_ms: u64,
    /// The sessions that end with its creation: those that the same browser had.
    pub replaces: Vec<TokenHash>,
}

/// The token that made a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionMaker {
    /// Its id.
    pub id: TokenId,
    /// Its hash.
    pub hash: TokenHash,
    /// Its expiry; never, if absent.
    pub expires_at_ms: Option<u64>,
}

/// Everything that authentication needs about a token. The store has no clock: the caller checks expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLookup {
    /// The owner of the token.
    pub user: User,
    /// The token.
    pub token: StoredToken,
    /// The credentials that the user may use: own, the group's and everybody's.
    pub credentials: Vec<SealedCredential>,
    /// For a session: its maker.
    pub session_of: Option<SessionMaker>,
}

/// One step of a change to an owner's credentials.
#[derive(Debug, Clone)]
pub enum CredentialChange {
    /// Sets a field. The owner inside is ignored: the change has one.
    Put(SealedCredential),
    /// Compare-and-swap: replaces the blob `old` of a field. Nothing happens if another one is stored by now.
    Bind {
        /// The new blob, with the origins that it is bound to.
        new: SealedCredential,
        /// The blob that it replaces.
        old: Vec<u8>,
    },
    /// Removes a field.
    Remove {
        /// Its section.
        section: String,
        /// Its name.
        field: String,
    },
    /// Removes every field. The first step of replacing a whole document.
    RemoveAll,
}

/// The outcome of a change to an owner's credentials, which happens as a whole or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// It is done.
    Done {
        /// Fields written or removed.
        rows: u64,
    },
    /// No such user exists.
    UnknownUser,
    /// The store has another master key since: nothing could decrypt the new values.
    OtherKey,
}

/// The reason for replacing an encrypted credential.
#[derive(Debug, Clone, Copy)]
pub enum SwapReason {
    /// Master-key rotation; the plaintext is the same.
    Rekey,
    /// A login was refreshed. Its kept answers end.
    Refresh,
    /// A login got new tokens from an answer that was not understood completely. Its kept answers stay.
    RefreshInPart,
}

/// The ids of the master keys that the store knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyIds {
    /// The key that the store was set up with.
    pub current: Option<String>,
    /// The key of a master-key rotation that is in progress.
    pub next: Option<String>,
}

impl KeyIds {
    /// The key that encrypts new values.
    pub fn sealing(&self) -> Option<&str> {
        self.next.as_deref().or(self.current.as_deref())
    }
}

/// The outcome of creating a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserCreation {
    /// The user and the first token are stored.
    Created,
    /// A user of that name exists, and [`DuplicateNames::Refuse`] was asked for.
    NameTaken(UserId),
    /// As for [`ChangeOutcome::OtherKey`].
    OtherKey,
}

/// A rule for a new user whose display name exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DuplicateNames {
    /// Refuse it.
    Refuse,
    /// Allow it: ids tell users apart.
    Allow,
}

/// A rule for a store that has another master key recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaceKey {
    /// Replace it unless something is encrypted with it. For the server, which is the only one on this store.
    IfNothingSealed,
    /// Keep it. For a command: a server beside it would go on with its own key.
    Never,
}
