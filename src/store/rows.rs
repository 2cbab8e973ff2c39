//! What goes into the store and comes out of it. A token is here only as its hash, a credential only
//! as a sealed blob: the store could not tell either if it wanted to.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Act;
use crate::hex;
use crate::name::{AdminTokenId, FileName, GroupName, Owner, Scope, TokenId, UserId};

/// The SHA-256 of a token. Tokens are random enough that a plain hash does; hashes are compared, never
/// tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token, of whatever length and shape.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The hash as numbers.
    pub fn numbers(&self) -> [u32; 8] {
        let (bytes, _) = self.0.as_chunks::<4>();
        std::array::from_fn(|index| u32::from_be_bytes(bytes[index]))
    }

    /// As it stands in the database.
    pub(super) fn hex(&self) -> String {
        hex::encode(&self.0)
    }

    /// Back from the database, or from another system that keeps such hashes.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenHash(***)")
    }
}

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// What people call the user.
    pub name: String,
    /// A note of where the user calls from. It restricts nothing.
    pub ip: Option<String>,
    /// The group whose shared credentials the user may use.
    pub group: Option<GroupName>,
    /// When the user was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Since when the user may not call; may, if absent.
    pub disabled_at_ms: Option<u64>,
}

/// What of a user is to be another. What is absent stays.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// The name.
    pub name: Option<String>,
    /// The note of where the user calls from.
    pub ip: Option<Option<String>>,
    /// The group.
    pub group: Option<Option<GroupName>>,
    /// Since when the user may not call. One who may not already keeps the earlier time.
    pub disabled_at_ms: Option<Option<u64>>,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Calls to providers.
    Proxy,
    /// The user's own credentials and tokens.
    Manage,
    /// Both.
    Both,
}

impl TokenKind {
    /// As it stands in the database and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Manage => "manage",
            Self::Both => "both",
        }
    }

    /// Back from its text.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Proxy, Self::Manage, Self::Both].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A token to be stored.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What people and documents call it by.
    pub id: TokenId,
    /// What it is found by.
    pub hash: TokenHash,
    /// The first characters, for people to recognise it by.
    pub prefix: String,
    /// What it is for, in its owner's words.
    pub label: Option<String>,
    /// What it may do.
    pub kind: TokenKind,
    /// What it is narrowed to; all providers, if absent.
    pub scopes: Option<Vec<Scope>>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when on it is refused; never, if absent.
    pub expires_at_ms: Option<u64>,
}

/// A token as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What people and documents call it by.
    pub id: TokenId,
    /// What it is found by.
    pub hash: TokenHash,
    /// The first characters; none of one of a vendor's shape, which all begin alike.
    pub prefix: String,
    /// What it is for.
    pub label: Option<String>,
    /// What it may do.
    pub kind: TokenKind,
    /// What it is narrowed to; all providers, if absent.
    pub scopes: Option<Vec<Scope>>,
    /// The provider of whose shape it is, and whose routes it serves.
    pub paste: Option<FileName>,
    /// Whose it is.
    pub user: UserId,
    /// The owner's name.
    pub user_name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when on it is refused.
    pub expires_at_ms: Option<u64>,
    /// When another one was made in its place.
    pub replaced_at_ms: Option<u64>,
    /// When it was last used, to some seconds.
    pub last_used_at_ms: Option<u64>,
}

impl Token {
    /// What lists say that it is: its kind, or `paste`.
    pub fn kind_shown(&self) -> &'static str {
        if self.paste.is_some() { "paste" } else { self.kind.as_str() }
    }
}

/// What became of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// The new token is there.
    Done {
        /// From when on the old one is refused.
        old_expires_at_ms: u64,
    },
    /// The old token is not there any more.
    Gone,
    /// The old token was replaced before: only what replaced it may be.
    Replaced,
}

/// A token of a vendor's shape, to be stored.
#[derive(Debug, Clone)]
pub struct NewPasteToken {
    /// What people and documents call it by.
    pub id: TokenId,
    /// What it is found by.
    pub hash: TokenHash,
    /// Whose it is.
    pub user: UserId,
    /// The provider whose routes it serves.
    pub provider: FileName,
    /// What it is narrowed to: that provider, or less.
    pub scopes: Vec<Scope>,
    /// The section of the login that it dies with.
    pub section: String,
    /// The field of that login.
    pub field: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when on it is refused; never, if absent.
    pub expires_at_ms: Option<u64>,
}

/// An admin token, to be stored.
#[derive(Debug, Clone)]
pub struct NewAdminToken {
    /// What people and documents call it by.
    pub id: AdminTokenId,
    /// What it is found by.
    pub hash: TokenHash,
    /// The first characters, for people to recognise it by.
    pub prefix: String,
    /// What it is for.
    pub label: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when on it is refused; never, if absent.
    pub expires_at_ms: Option<u64>,
}

/// An admin token as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// What people and documents call it by.
    pub id: AdminTokenId,
    /// The first characters; none is known of the oldest.
    pub prefix: String,
    /// What it is for.
    pub label: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when on it is refused.
    pub expires_at_ms: Option<u64>,
    /// When it was last used, to some seconds.
    pub last_used_at_ms: Option<u64>,
}

/// What became of the revoking of an admin token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// It is gone.
    Done,
    /// There is no such token.
    Unknown,
    /// It is the last one: nobody could be let in any more.
    Last,
}

/// A credential as stored: unreadable without the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCredential {
    /// Whose it is.
    pub owner: Owner,
    /// The section of the credentials document.
    pub section: String,
    /// The field in the section.
    pub field: String,
    /// The sealed blob.
    pub sealed: Vec<u8>,
    /// The origins that it is sealed for; absent where it was sealed before any were.
    pub origins: Option<Vec<String>>,
    /// When it was last set, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// What stands in a field, for so many owners alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialPlace {
    /// The section of the credentials document.
    pub section: String,
    /// The field in the section.
    pub field: String,
    /// The origins that it is sealed for.
    pub origins: Vec<String>,
    /// How many owners have it so.
    pub owners: u64,
}

/// What a token leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose token it is.
    pub user: User,
    /// The token. The store has no clock: whoever asks, judges when it ends.
    pub token: Token,
    /// The credentials that the user may use: own, the group's, everybody's.
    pub credentials: Vec<SealedCredential>,
}

/// One step of a change to an owner's credentials.
#[derive(Debug, Clone)]
pub enum CredentialChange {
    /// Sets a field, whatever stood there. Its owner is the one that the change is about.
    Put(SealedCredential),
    /// Takes a field away.
    Remove {
        /// Its section.
        section: String,
        /// Its name.
        field: String,
    },
    /// Takes all away; first, to replace a whole document.
    RemoveAll,
}

/// What became of a change to an owner's credentials: all of it, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// Done; so many fields were written or removed.
    Done {
        /// How many rows.
        rows: u64,
    },
    /// There is no such user.
    UnknownUser,
    /// The store has been given another master key since: nobody could open what is to be written.
    OtherKey,
}

/// Why a credential is sealed anew.
#[derive(Debug, Clone, Copy)]
pub enum Resealing<'a> {
    /// Under another master key; what it holds is the same.
    Rekey,
    /// A login was refreshed.
    Refresh,
    /// Somebody changed what it is sealed for.
    Change(&'a Act),
}

/// The ids of the master keys that the store knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyIds {
    /// The one that it was set up with.
    pub current: Option<String>,
    /// The one that all is being sealed with anew.
    pub next: Option<String>,
}

impl KeyIds {
    /// The one that seals what is written now.
    pub fn sealing(&self) -> Option<&str> {
        self.next.as_deref().or(self.current.as_deref())
    }
}

/// What became of a new user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// Stored, with the first token.
    Created,
    /// A user of that name is there already, and the caller wanted it unique.
    NameTaken(UserId),
    /// As for [`ChangeOutcome::OtherKey`].
    OtherKey,
}

/// Whether two users may have one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// A name that is taken is refused.
    Unique,
    /// Names are only for people; ids tell users apart.
    Any,
}

/// Whose master key may take the place of another one, by which nothing is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// The server's, which is the only one that is served from this store.
    IfNothingSealed,
    /// Not a command's: the server beside it would go on with its own.
    Never,
}
