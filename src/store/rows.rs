//! What goes into the store and comes out of it. A token is here only as its hash, a credential only
//! as a sealed blob: the store could not tell either if it wanted to.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sha2::{Digest, Sha256};

use crate::name::UserId;

/// The SHA-256 of a token. Tokens are random enough that a plain hash does; hashes are compared, never
/// tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token, of whatever length and shape.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// As it stands in the database.
    pub(super) fn hex(&self) -> String {
        hex(&self.0)
    }

    /// Back from the database.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenHash(***)")
    }
}

/// Lower-case hex digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

/// The bytes that exactly so many hex digits stand for.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// What people call the user.
    pub name: String,
    /// When the user was made, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// A token to be stored.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What it is found by.
    pub hash: TokenHash,
    /// The first characters, for people to recognise it by.
    pub prefix: String,
    /// What it is for, in its owner's words.
    pub label: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when on it is refused; never, if absent.
    pub expires_at_ms: Option<u64>,
}

/// A token as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is found by.
    pub hash: TokenHash,
    /// The first characters.
    pub prefix: String,
    /// What it is for.
    pub label: Option<String>,
    /// Whose it is.
    pub user: UserId,
    /// The owner's name.
    pub user_name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when on it is refused.
    pub expires_at_ms: Option<u64>,
}

/// A credential as stored: unreadable without the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCredential {
    /// The section of the credentials document.
    pub section: String,
    /// The field in the section.
    pub field: String,
    /// The sealed blob.
    pub sealed: Vec<u8>,
    /// When it was last set, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// What a token leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose token it is.
    pub user: User,
    /// From when on the token is refused. The store has no clock: whoever asks, judges.
    pub expires_at_ms: Option<u64>,
    /// All credentials of the user.
    pub credentials: Vec<SealedCredential>,
}

/// One step of a change to a user's credentials.
#[derive(Debug, Clone)]
pub enum CredentialChange {
    /// Sets a field, whatever stood there.
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

/// What became of a change to a user's credentials: all of it, or nothing.
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

/// What became of a new user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// Stored, with the first token.
    Created,
    /// A user of that name is there already, and the caller wanted it unique.
    NameTaken(UserId),
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

/// Counts the changes to the store that this process has made or noticed. Whatever was read under an
/// older generation may be out of date.
#[derive(Debug, Clone, Default)]
pub struct Generation(Arc<AtomicU64>);

impl Generation {
    /// The generation now. Read it before what it is to date.
    pub fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Begins a new one. Call it after the change, not before.
    pub fn raise(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
