//! Users, their tokens and credentials as the admin and the command line change them: made here, sealed
//! here, stored by `store`. A token leaves this module once, in the answer to who made it.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{
    Caller, Credentials, MasterKey, Stored, clock,
    seal::{OpenError, Place},
    token,
};
use crate::{
    name::{AdminTokenId, GroupName, Owner, Scope, TokenId, UserId},
    secret::Secret,
    store::{
        Act, AdminTokenRevocation, ChangeOutcome, CredentialChange, DirLock, DuplicateNames, InitialAccess,
        NewToken, PrivateFile, Right, SealedCredential, Store, StoreError, TokenKind, TokenRotation, User,
        UserChange, UserCreation, read_private, write_private,
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
    /// The store has been given another master key since.
    OtherKey,
}

/// Who changes something, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A kind and an id: `admin adm_…`, `user usr_… token tok_…`, `uid 1000`, `tollgate`.
    pub who: String,
    /// An address, or `local`.
    pub source: String,
    /// What gives the right to what is asked for, if that may be taken away meanwhile.
    pub right: Option<Right>,
}

impl Actor {
    /// Tollgate itself.
    pub fn own() -> Self {
        Self::here("tollgate".to_owned())
    }

    /// The user of the machine who runs this command.
    pub fn command() -> Self {
        Self::local(rustix::process::getuid().as_raw())
    }

    /// A user of the machine.
    pub fn local(uid: u32) -> Self {
        Self::here(format!("uid {uid}"))
    }

    fn here(who: String) -> Self {
        Self { who, source: LOCAL.to_owned(), right: None }
    }

    /// Who came with an admin token, from an address.
    pub fn admin(id: &AdminTokenId, from: IpAddr) -> Self {
        let right = Some(Right::Admin(id.clone()));
        Self { who: format!("admin {id}"), source: from.to_string(), right }
    }

    /// A user, who came with a token from an address.
    pub fn user(caller: &Caller, from: IpAddr) -> Self {
        let who = format!("user {} token {}", caller.id, caller.token.id);
        Self { who, source: from.to_string(), right: Some(Right::Token(caller.token.hash)) }
    }

    /// What the actor does now.
    pub fn act(&self, action: &'static str, target: &(impl ToString + ?Sized), detail: Value) -> Act {
        let Self { who: actor, source, right } = self.clone();
        Act { at_ms: clock::now_ms(), actor, source, right, action, target: target.to_string(), detail }
    }
}

/// Where an actor is who came over no network.
const LOCAL: &str = "local";

/// A user to be made.
#[derive(Debug)]
pub struct Draft<'k> {
    /// What people call the user.
    pub name: DisplayName,
    /// A note of where the user calls from.
    pub ip: Option<String>,
    /// The user's group.
    pub group: Option<GroupName>,
    /// What to store at once, and the key that seals it.
    pub credentials: Option<(&'k MasterKey, Vec<Edit>)>,
}

/// Makes a user of whom only the name is known, and the first token, which may do all.
pub async fn create_user(
    store: &Store,
    actor: &Actor,
    name: &DisplayName,
    names: DuplicateNames,
) -> Result<NewUser, StoreError> {
    let draft = Draft { name: name.clone(), ip: None, group: None, credentials: None };
    add_user(store, actor, draft, names).await
}

/// Makes a user and the first token, which may do all.
pub async fn add_user(
    store: &Store,
    actor: &Actor,
    draft: Draft<'_>,
    names: DuplicateNames,
) -> Result<NewUser, StoreError> {
    let id = token::generate_user_id();
    let Draft { name: DisplayName(name), ip, group, credentials } = draft;
    let edits = credentials.iter().flat_map(|(_, edits)| edits);
    let stored: Vec<Value> = edits.map(told).collect();
    let told = json!({ "name": name, "group": group.as_ref().map(GroupName::as_str), "credentials": stored });
    let act = actor.act("user.create", &id, told);
    let owner = Owner::User(id.clone());
    let user = User { id: id.clone(), name, ip, group, created_at_ms: act.at_ms, disabled_at_ms: None };
    let token = token::generate();
    let record = token::record(&token, TokenDraft::new(None, TokenKind::Both), act.at_ms);
    let sealed = credentials.filter(|(_, edits)| !edits.is_empty()).map(|(key, edits)| {
        let key = &key.as_now();
        let changes: Vec<_> = edits.iter().map(|edit| sealed(key, &owner, edit, act.at_ms)).collect();
        (key.id(), changes)
    });
    let credentials = sealed.as_ref().map(|(key_id, changes)| (key_id.as_str(), changes.as_slice()));
    let beginning = InitialAccess { token: &record, credentials };
    Ok(match store.create_user(&user, beginning, names, &act).await? {
        UserCreation::Created => NewUser::Created { id, token },
        UserCreation::NameTaken(other) => NewUser::NameTaken(other),
        UserCreation::OtherKey => NewUser::OtherKey,
    })
}

/// Changes what is said of a user; `None` if there is no such user.
pub async fn update_user(
    store: &Store,
    actor: &Actor,
    id: &UserId,
    change: &UserChange,
) -> Result<Option<User>, StoreError> {
    let mut told = Map::new();
    let mut tell = |key: &str, value: Option<Value>| told.extend(value.map(|value| (key.to_owned(), value)));
    tell("name", change.name.clone().map(Value::from));
    tell("ip", change.ip.clone().map(Value::from));
    tell("group", change.group.as_ref().map(|group| group.as_ref().map(GroupName::as_str).into()));
    tell("disabled", change.disabled_at_ms.map(|since| since.is_some().into()));
    store.update_user(id, change, &actor.act("user.change", id, told.into())).await
}

/// Removes a user with all tokens and credentials; false if there is no such user.
pub async fn remove_user(store: &Store, actor: &Actor, id: &UserId) -> Result<bool, StoreError> {
    store.delete_user(id, &actor.act("user.delete", id, json!({}))).await
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct TokenDraft {
    /// What it is for.
    pub label: Option<DisplayName>,
    /// What it may do.
    pub kind: TokenKind,
    /// What it is narrowed to; all providers, if absent.
    pub scopes: Option<Vec<Scope>>,
    /// From when on it is refused; never, if absent.
    pub expires_at_ms: Option<u64>,
}

impl TokenDraft {
    /// A token that is narrowed to nothing and does not expire.
    pub fn new(label: Option<DisplayName>, kind: TokenKind) -> Self {
        Self { label, kind, scopes: None, expires_at_ms: None }
    }
}

/// A token that was made. It is known nowhere else.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: Secret,
    /// What the store keeps of it.
    pub record: NewToken,
}

/// Makes a further token for calls to all providers; `None` if there is no such user.
pub async fn issue_token(
    store: &Store,
    actor: &Actor,
    user: &UserId,
    label: Option<DisplayName>,
) -> Result<Option<Secret>, StoreError> {
    let issued = add_token(store, actor, user, TokenDraft::new(label, TokenKind::Proxy)).await?;
    Ok(issued.map(|issued| issued.token))
}

/// Makes a further token; `None` if there is no such user.
pub async fn add_token(
    store: &Store,
    actor: &Actor,
    user: &UserId,
    draft: TokenDraft,
) -> Result<Option<Issued>, StoreError> {
    let token = token::generate();
    let record = token::record(&token, draft, clock::now_ms());
    let act = actor.act("token.create", user, token_told(&record));
    Ok(store.add_token(user, &record, &act).await?.then_some(Issued { token, record }))
}

/// What the audit log says of a new token.
fn token_told(record: &NewToken) -> Value {
    let scopes = record.scopes.as_ref().map(|all| all.iter().map(Scope::to_string).collect::<Vec<_>>());
    json!({
        "token": record.id.as_str(),
        "label": record.label,
        "kind": record.kind.as_str(),
        "scopes": scopes,
        "expires": record.expires_at_ms.map(clock::utc),
    })
}

/// Revokes one of a user's tokens; false if there is none of that id.
pub async fn revoke_token(
    store: &Store,
    actor: &Actor,
    user: &UserId,
    token: &TokenId,
) -> Result<bool, StoreError> {
    let act = actor.act("token.revoke", user, json!({ "token": token.as_str() }));
    store.revoke_token(user, token, &act).await
}

/// Puts a token of the same label, kind, scopes and end in the place of the one that called, which goes on until
/// `old_expires_at_ms` at most.
pub async fn rotate_token(
    store: &Store,
    actor: &Actor,
    caller: &Caller,
    old_expires_at_ms: u64,
) -> Result<Result<(u64, Issued), NotRotated>, StoreError> {
    let found = store.lookup_token(&caller.token.hash).await?.map(|found| found.token);
    let Some(old) = found else { return Ok(Err(NotRotated::Gone)) };
    let draft = TokenDraft {
        label: old.label.map(DisplayName),
        kind: old.kind,
        scopes: old.scopes,
        expires_at_ms: old.expires_at_ms,
    };
    let token = token::generate();
    let record = token::record(&token, draft, clock::now_ms());
    let told = json!({ "old": old.id.as_str(), "new": token_told(&record) });
    let act = actor.act("token.rotate", &caller.id, told);
    // A replaced token is answered as such, not as revoked.
    let act = Act { right: act.right.map(Right::even_if_replaced), ..act };
    Ok(match store.rotate_token(&old.hash, &record, old_expires_at_ms, &act).await? {
        TokenRotation::Done { old_expires_at_ms } => Ok((old_expires_at_ms, Issued { token, record })),
        TokenRotation::Gone => Err(NotRotated::Gone),
        TokenRotation::Replaced => Err(NotRotated::Replaced),
    })
}

/// Why a token was not rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRotated {
    /// It is not there any more.
    Gone,
    /// Another one is in its place already.
    Replaced,
}

/// Makes a further admin token. Those that there are stay.
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

/// Revokes an admin token, unless it is the last one that is good.
pub async fn revoke_admin_token(
    store: &Store,
    actor: &Actor,
    token: &AdminTokenId,
) -> Result<AdminTokenRevocation, StoreError> {
    store.revoke_admin_token(token, &actor.act("admin_token.revoke", token, json!({}))).await
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
pub(super) fn told(edit: &Edit) -> Value {
    match edit {
        Edit::Set { section, field, origins, .. } => {
            json!({ "set": format!("{section}.{field}"), "origins": origins })
        }
        Edit::Remove { section, field } => json!({ "remove": format!("{section}.{field}") }),
        Edit::RemoveAll => json!({ "remove": "all" }),
    }
}

pub(super) fn sealed(key: &MasterKey, owner: &Owner, edit: &Edit, updated_at_ms: u64) -> CredentialChange {
    match edit {
        Edit::Set { section, field, stored, origins } => {
            let place = Place { owner, section, field, origins: Some(origins) };
            CredentialChange::Put(seal_credential(key, place, stored, updated_at_ms))
        }
        Edit::Remove { section, field } => {
            CredentialChange::Remove { section: section.clone(), field: field.clone() }
        }
        Edit::RemoveAll => CredentialChange::RemoveAll,
    }
}

/// Seals what a field holds.
pub(super) fn seal_credential(
    key: &MasterKey,
    place: Place<'_>,
    stored: &Stored,
    updated_at_ms: u64,
) -> SealedCredential {
    SealedCredential {
        owner: place.owner.clone(),
        section: place.section.to_owned(),
        field: place.field.to_owned(),
        sealed: key.seal(place, &stored.to_plaintext()),
        origins: place.origins.map(<[String]>::to_vec),
        updated_at_ms,
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
    let (credentials, unreadable) = open_all(key, store.credentials(owner).await?);
    Ok((credentials.into_iter().next().map(|(_, own)| own).unwrap_or_default(), unreadable))
}

/// Opens sealed credentials: by owner, in the order in which they go before each other.
pub(super) fn open_all(
    key: &MasterKey,
    sealed: Vec<SealedCredential>,
) -> (Vec<(Owner, Credentials)>, Vec<Unreadable>) {
    let (mut credentials, mut unreadable) = (BTreeMap::<_, Credentials>::new(), Vec::new());
    for one in sealed {
        let stored = open_credential(key, &one);
        let SealedCredential { owner, section, field, origins, .. } = one;
        match stored {
            Ok(stored) => {
                let credentials = credentials.entry(owner).or_default();
                credentials.insert(section, field, stored, origins.unwrap_or_default());
            }
            Err(reason) => unreadable.push(Unreadable { section, field, reason }),
        }
    }
    (credentials.into_iter().collect(), unreadable)
}

/// Opens a sealed credential.
pub fn open_credential(key: &MasterKey, sealed: &SealedCredential) -> Result<Stored, OpenError> {
    let SealedCredential { owner, section, field, sealed, origins, .. } = sealed;
    let plaintext = key.open(Place { owner, section, field, origins: origins.as_deref() }, sealed)?;
    Stored::from_plaintext(&plaintext).ok_or(OpenError::Unknown)
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
