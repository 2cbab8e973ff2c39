//! Users, their tokens and credentials as the admin and the command line change them: made here, sealed
//! here, stored by `store`. A token leaves this module once, in the answer to who made it.

use thiserror::Error;

use super::{
    Credentials, MasterKey, Stored, clock,
    seal::{OpenError, Place},
    token,
};
use crate::{
    name::UserId,
    secret::Secret,
    store::{
        ChangeOutcome, Creation, CredentialChange, DirLock, Names, PrivateFile, SealedCredential, Store,
        StoreError, TokenHash, User, read_private, write_private,
    },
};

const MAX_NAME_CHARS: usize = 100;
const ADMIN_TOKEN_FILE: &str = "admin-token";
const ADMIN_TOKEN_LABEL: &str = "first start";
const FURTHER_ADMIN_TOKEN_LABEL: &str = "command line";

/// A user's name or a token's label: 1 to 100 printable characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(String);

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadName {
    /// Nothing, or too much.
    #[error("a name has 1 to {MAX_NAME_CHARS} characters")]
    Length,
    /// A character that cannot be seen, or blanks at an end.
    #[error("a name has printable characters only, and no blanks at its ends")]
    Character,
    /// It would be taken for an id.
    #[error("a name cannot look like a user id: choose another")]
    LooksLikeId,
}

impl DisplayName {
    /// The name, if it is well-formed.
    pub fn new(text: &str) -> Result<Self, BadName> {
        if !(1..=MAX_NAME_CHARS).contains(&text.chars().count()) {
            return Err(BadName::Length);
        }
        if text.trim() != text || !text.chars().all(is_printable) {
            return Err(BadName::Character);
        }
        if UserId::new(text).is_some() {
            return Err(BadName::LooksLikeId);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not a control character, nor one that hides or turns around what stands beside it.
fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// What became of a new user.
#[derive(Debug)]
pub enum NewUser {
    /// Made. The token is known nowhere else.
    Created {
        /// The user's id.
        id: UserId,
        /// The first token.
        token: Secret,
    },
    /// Another user has that name.
    NameTaken(UserId),
}

/// Makes a user and the first token.
pub async fn create_user(store: &Store, name: &DisplayName, names: Names) -> Result<NewUser, StoreError> {
    let created_at_ms = clock::now_ms();
    let id = token::generate_user_id();
    let user = User { id: id.clone(), name: name.0.clone(), created_at_ms };
    let token = token::generate();
    match store.create_user(&user, &token::record(&token, None, created_at_ms), names).await? {
        Creation::Created => Ok(NewUser::Created { id, token }),
        Creation::NameTaken(other) => Ok(NewUser::NameTaken(other)),
    }
}

/// Makes a further token; `None` if there is no such user.
pub async fn issue_token(
    store: &Store,
    user: &UserId,
    label: Option<DisplayName>,
) -> Result<Option<Secret>, StoreError> {
    let token = token::generate();
    let record = token::record(&token, label.map(|label| label.0), clock::now_ms());
    Ok(store.add_token(user, &record).await?.then_some(token))
}

/// Makes a further admin token. Those that there are stay.
pub async fn issue_admin_token(store: &Store, label: Option<DisplayName>) -> Result<Secret, StoreError> {
    let token = token::generate();
    let label = label.map_or_else(|| FURTHER_ADMIN_TOKEN_LABEL.to_owned(), |label| label.0);
    store.add_admin_token(&TokenHash::of(token.expose()), &label, clock::now_ms()).await?;
    Ok(token)
}

/// One step of a change to a user's credentials.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Sets a field.
    Set {
        /// Its section.
        section: String,
        /// Its name.
        field: String,
        /// What it then holds.
        stored: Stored,
    },
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

/// Changes a user's credentials: all of `edits`, in their order, or none.
pub async fn change_credentials(
    store: &Store,
    key: &MasterKey,
    user: &UserId,
    edits: &[Edit],
) -> Result<ChangeOutcome, StoreError> {
    let updated_at_ms = clock::now_ms();
    let seal = |edit: &Edit| match edit {
        Edit::Set { section, field, stored } => {
            let sealed = key.seal(Place { user, section, field }, &stored.to_plaintext());
            let (section, field) = (section.clone(), field.clone());
            CredentialChange::Put(SealedCredential { section, field, sealed, updated_at_ms })
        }
        Edit::Remove { section, field } => {
            CredentialChange::Remove { section: section.clone(), field: field.clone() }
        }
        Edit::RemoveAll => CredentialChange::RemoveAll,
    };
    let changes: Vec<_> = edits.iter().map(seal).collect();
    store.change_credentials(user, &key.id(), &changes).await
}

/// A stored credential that does not open.
#[derive(Debug)]
pub struct Unreadable {
    /// Its section.
    pub section: String,
    /// Its field.
    pub field: String,
    /// Why.
    pub reason: OpenError,
}

/// A user's credentials in clear, and those that do not open.
pub async fn read_credentials(
    store: &Store,
    key: &MasterKey,
    user: &UserId,
) -> Result<(Credentials, Vec<Unreadable>), StoreError> {
    Ok(open_all(key, user, &store.credentials(user).await?))
}

/// Opens all of a user's sealed credentials.
pub(super) fn open_all(
    key: &MasterKey,
    user: &UserId,
    sealed: &[SealedCredential],
) -> (Credentials, Vec<Unreadable>) {
    let (mut credentials, mut unreadable) = (Credentials::default(), Vec::new());
    for SealedCredential { section, field, sealed, .. } in sealed {
        let plaintext = key.open(Place { user, section, field }, sealed);
        let stored = plaintext.and_then(|text| Stored::from_plaintext(&text).ok_or(OpenError::Unknown));
        let (section, field) = (section.clone(), field.clone());
        match stored {
            Ok(stored) => credentials.insert(section, field, stored),
            Err(reason) => unreadable.push(Unreadable { section, field, reason }),
        }
    }
    (credentials, unreadable)
}

/// Makes the first admin token if there is none at all. With a terminal it is returned, to be printed
/// once; without one it goes into the private file `admin-token` in the data directory.
pub async fn ensure_admin_token(
    store: &Store,
    data_dir: &std::path::Path,
    stdout_is_terminal: bool,
) -> Result<Option<Secret>, StoreError> {
    let lock = DirLock::acquire(data_dir).await?;
    if store.has_admin_token().await? {
        return Ok(None);
    }
    let token = if stdout_is_terminal { token::generate() } else { token_file(&lock, data_dir)? };
    store.add_admin_token(&TokenHash::of(token.expose()), ADMIN_TOKEN_LABEL, clock::now_ms()).await?;
    Ok(stdout_is_terminal.then_some(token))
}

/// The file comes before the row, or a crash between the two would lose the token. So one that is there
/// already, of our making, is such a crash's, and is taken.
fn token_file(lock: &DirLock, data_dir: &std::path::Path) -> Result<Secret, StoreError> {
    let path = data_dir.join(ADMIN_TOKEN_FILE);
    if let PrivateFile::Text(text) = read_private(&path)?
        && let Some(token) = token::parse(text.expose().trim_ascii())
    {
        return Ok(token);
    }
    let token = token::generate();
    let line = Secret::new(format!("{}\n", token.expose()));
    write_private(lock, &path, line.expose().as_bytes())?;
    Ok(token)
}

#[cfg(test)]
mod tests;
