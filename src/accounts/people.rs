//! Users, their tokens and credentials as the admin and the command line change them: made here, sealed
//! here, stored by `store`. A token leaves this module once, in the answer to who made it.

use serde_json::{Value, json};
use thiserror::Error;

use super::{
    Credentials, MasterKey, Stored, clock,
    seal::{OpenError, Place},
    token,
};
use crate::{
    name::{Owner, UserId},
    secret::Secret,
    store::{
        Act, Beginning, ChangeOutcome, Creation, CredentialChange, DirLock, Names, PrivateFile,
        SealedCredential, Store, StoreError, TokenKind, User, read_private, write_private,
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

/// Who changes something, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A kind and an id: `admin adm_…`, `user usr_…`, `uid 1000`, `tollgate`.
    pub who: String,
    /// An address, or `local`.
    pub source: String,
}

impl Actor {
    /// Tollgate itself.
    pub fn own() -> Self {
        Self { who: "tollgate".to_owned(), source: LOCAL.to_owned() }
    }

    /// The user of the machine who runs this command.
    pub fn command() -> Self {
        let uid = rustix::process::getuid().as_raw();
        Self { who: format!("uid {uid}"), source: LOCAL.to_owned() }
    }

    /// What the actor does now.
    pub fn act(&self, action: &'static str, target: &(impl ToString + ?Sized), detail: Value) -> Act {
        let (actor, source) = (self.who.clone(), self.source.clone());
        Act { at_ms: clock::now_ms(), actor, source, action, target: target.to_string(), detail }
    }
}

/// Where an actor is who came over no network.
const LOCAL: &str = "local";

/// Makes a user and the first token, which may do all.
pub async fn create_user(
    store: &Store,
    actor: &Actor,
    name: &DisplayName,
    names: Names,
) -> Result<NewUser, StoreError> {
    let id = token::generate_user_id();
    let act = actor.act("user.create", &id, json!({ "name": name.0 }));
    let user = User {
        id: id.clone(),
        name: name.0.clone(),
        ip: None,
        group: None,
        created_at_ms: act.at_ms,
        disabled_at_ms: None,
    };
    let token = token::generate();
    let record = token::record(&token, None, TokenKind::Both, act.at_ms);
    let beginning = Beginning { token: &record, credentials: None };
    match store.create_user(&user, beginning, names, &act).await? {
        Creation::Created | Creation::OtherKey => Ok(NewUser::Created { id, token }),
        Creation::NameTaken(other) => Ok(NewUser::NameTaken(other)),
    }
}

/// Makes a further token; `None` if there is no such user.
pub async fn issue_token(
    store: &Store,
    actor: &Actor,
    user: &UserId,
    label: Option<DisplayName>,
) -> Result<Option<Secret>, StoreError> {
    let token = token::generate();
    let record = token::record(&token, label.map(|label| label.0), TokenKind::Proxy, clock::now_ms());
    let act = actor.act("token.create", user, json!({ "token": record.id.as_str(), "label": record.label }));
    Ok(store.add_token(user, &record, &act).await?.then_some(token))
}

/// Makes a further admin token. Those that there are stay.
pub async fn issue_admin_token(
    store: &Store,
    actor: &Actor,
    label: Option<DisplayName>,
) -> Result<Secret, StoreError> {
    let label = label.map_or_else(|| FURTHER_ADMIN_TOKEN_LABEL.to_owned(), |label| label.0);
    let token = token::generate();
    add_admin_token(store, actor, &token, label).await?;
    Ok(token)
}

async fn add_admin_token(
    store: &Store,
    actor: &Actor,
    token: &Secret,
    label: String,
) -> Result<(), StoreError> {
    let record = token::admin_record(token, label, clock::now_ms());
    let act = actor.act("admin_token.create", &record.id, json!({ "label": record.label }));
    store.add_admin_token(&record, &act).await
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
        /// The origins that it is for.
        origins: Vec<String>,
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

/// Changes an owner's credentials: all of `edits`, in their order, or none.
pub async fn change_credentials(
    store: &Store,
    actor: &Actor,
    key: &MasterKey,
    owner: &Owner,
    edits: &[Edit],
) -> Result<ChangeOutcome, StoreError> {
    let act = actor.act("credentials.change", owner, Value::from(edits.iter().map(told).collect::<Vec<_>>()));
    let key = &key.as_now();
    let changes: Vec<_> = edits.iter().map(|edit| sealed(key, owner, edit, act.at_ms)).collect();
    store.change_credentials(owner, &key.id(), &changes, &act).await
}

/// Takes a credential away; false if there was none. This needs no master key.
pub async fn remove_credential(
    store: &Store,
    actor: &Actor,
    owner: &Owner,
    section: &str,
    field: &str,
) -> Result<bool, StoreError> {
    let change = CredentialChange::Remove { section: section.to_owned(), field: field.to_owned() };
    let act = actor.act("credentials.change", owner, json!([{ "remove": format!("{section}.{field}") }]));
    let done = store.change_credentials(owner, "", &[change], &act).await?;
    Ok(matches!(done, ChangeOutcome::Done { rows: 1.. }))
}

/// What the audit log says of an edit.
fn told(edit: &Edit) -> Value {
    match edit {
        Edit::Set { section, field, origins, .. } => {
            json!({ "set": format!("{section}.{field}"), "origins": origins })
        }
        Edit::Remove { section, field } => json!({ "remove": format!("{section}.{field}") }),
        Edit::RemoveAll => json!({ "remove": "all" }),
    }
}

fn sealed(key: &MasterKey, owner: &Owner, edit: &Edit, updated_at_ms: u64) -> CredentialChange {
    match edit {
        Edit::Set { section, field, stored, origins } => {
            let place = Place { owner, section, field, origins: Some(origins) };
            CredentialChange::Put(SealedCredential {
                owner: owner.clone(),
                section: section.clone(),
                field: field.clone(),
                sealed: key.seal(place, &stored.to_plaintext()),
                origins: Some(origins.clone()),
                updated_at_ms,
            })
        }
        Edit::Remove { section, field } => {
            CredentialChange::Remove { section: section.clone(), field: field.clone() }
        }
        Edit::RemoveAll => CredentialChange::RemoveAll,
    }
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

/// An owner's credentials in clear, and those that do not open.
pub async fn read_credentials(
    store: &Store,
    key: &MasterKey,
    owner: &Owner,
) -> Result<(Credentials, Vec<Unreadable>), StoreError> {
    Ok(open_all(key, &store.credentials(owner).await?))
}

/// Opens sealed credentials. Of one field, a user's own goes before a group's, and that before everybody's.
pub(super) fn open_all(key: &MasterKey, sealed: &[SealedCredential]) -> (Credentials, Vec<Unreadable>) {
    let (mut credentials, mut unreadable) = (Credentials::default(), Vec::new());
    let mut sealed: Vec<&SealedCredential> = sealed.iter().collect();
    sealed.sort_by(|one, other| other.owner.cmp(&one.owner));
    for SealedCredential { owner, section, field, sealed, origins, .. } in sealed {
        let place = Place { owner, section, field, origins: origins.as_deref() };
        let plaintext = key.open(place, sealed);
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
    add_admin_token(store, &Actor::own(), &token, ADMIN_TOKEN_LABEL.to_owned()).await?;
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
