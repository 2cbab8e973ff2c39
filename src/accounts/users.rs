//! Creates, changes and removes users. A first token leaves this module once, in the result.

use serde_json::{Map, Value, json};

use super::{
    Actor, AddressNote, DisplayName, Edit, MasterKey, TokenDraft,
    credentials::{audit_entry, encrypted},
    token,
};
use crate::{
    name::{GroupName, Owner, UserId},
    secret::Secret,
    store::{DuplicateNames, InitialAccess, Store, StoreError, TokenKind, User, UserChange, UserCreation},
};

/// The outcome of creating a user.
#[derive(Debug)]
pub enum NewUser {
    /// Created. The token is returned here only.
    Created {
        /// The user's id.
        id: UserId,
        /// The first token.
        token: Secret,
    },
    /// Another user has that name.
    NameTaken(UserId),
    /// The master key has been replaced meanwhile.
    OtherKey,
}

/// A user to create.
#[derive(Debug)]
pub struct UserDraft<'k> {
    /// The user's name.
    pub name: DisplayName,
    /// A note of the user's address.
    pub ip: Option<AddressNote>,
    /// The user's group.
    pub group: Option<GroupName>,
    /// Credentials to store in the same transaction, and the key that encrypts them.
    pub credentials: Option<(&'k MasterKey, Vec<Edit>)>,
}

/// Creates a user with just a name, and the first token, of kind `both`.
pub async fn create_user(
    store: &Store,
    actor: &Actor,
    name: &DisplayName,
    names: DuplicateNames,
) -> Result<NewUser, StoreError> {
    let draft = UserDraft { name: name.clone(), ip: None, group: None, credentials: None };
    add_user(store, actor, draft, names).await
}

/// Creates a user and the first token, of kind `both`.
pub async fn add_user(
    store: &Store,
    actor: &Actor,
    draft: UserDraft<'_>,
    names: DuplicateNames,
) -> Result<NewUser, StoreError> {
    let id = token::generate_user_id();
    let UserDraft { name: DisplayName(name), ip, group, credentials } = draft;
    let edits = credentials.iter().flat_map(|(_, edits)| edits);
    let stored: Vec<Value> = edits.map(audit_entry).collect();
    let detail =
        json!({ "name": name, "group": group.as_ref().map(GroupName::as_str), "credentials": stored });
    let act = actor.act("user.create", &id, detail);
    let owner = Owner::User(id.clone());
    let ip = ip.map(AddressNote::into_string);
    let user = User { id: id.clone(), name, ip, group, created_at_ms: act.at_ms, disabled_at_ms: None };
    let token = token::generate();
    let record = token::record(&token, TokenDraft::new(None, TokenKind::Both), act.at_ms);
    let sealed = credentials.filter(|(_, edits)| !edits.is_empty()).map(|(key, edits)| {
        let key = &key.snapshot();
        let changes: Vec<_> =
            edits.iter().filter_map(|edit| encrypted(key, &owner, edit, act.at_ms)).collect();
        (key.id(), changes)
    });
    let credentials = sealed.as_ref().map(|(key_id, changes)| (key_id.as_str(), changes.as_slice()));
    let access = InitialAccess { token: &record, credentials };
    Ok(match store.create_user(&user, access, names, &act).await? {
        UserCreation::Created => NewUser::Created { id, token },
        UserCreation::NameTaken(other) => NewUser::NameTaken(other),
        UserCreation::OtherKey => NewUser::OtherKey,
    })
}

/// Changes a user's properties; `None` if there is no such user.
pub async fn update_user(
    store: &Store,
    actor: &Actor,
    id: &UserId,
    change: &UserChange,
) -> Result<Option<User>, StoreError> {
    let mut detail = Map::new();
    let mut add = |key: &str, value: Option<Value>| detail.extend(value.map(|value| (key.to_owned(), value)));
    add("name", change.name.clone().map(Value::from));
    add("ip", change.ip.clone().map(Value::from));
    add("group", change.group.as_ref().map(|group| group.as_ref().map(GroupName::as_str).into()));
    add("disabled", change.disabled_at_ms.map(|since| since.is_some().into()));
    store.update_user(id, change, &actor.act("user.change", id, detail.into())).await
}

/// Removes a user with all tokens and credentials; false if there is no such user.
pub async fn remove_user(store: &Store, actor: &Actor, id: &UserId) -> Result<bool, StoreError> {
    store.delete_user(id, &actor.act("user.delete", id, json!({}))).await
}

#[cfg(test)]
mod tests;
