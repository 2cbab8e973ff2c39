//! Changes and reads stored credentials. They are encrypted here before they reach the store.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Actor, Credentials, MasterKey, StoredCredential,
    encryption::{AssociatedData, DecryptError},
};
use crate::{
    name::Owner,
    store::{ChangeOutcome, CredentialChange, PasteTokenIssue, SealedCredential, Store, StoreError},
};

/// One step of a change to a user's credentials.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Sets a field.
    Set {
        /// Its section.
        section: String,
        /// Its name.
        field: String,
        /// The credential.
        stored: StoredCredential,
        /// The origins that it is bound to.
        origins: Vec<String>,
    },
    /// Removes a field.
    Remove {
        /// Its section.
        section: String,
        /// Its name.
        field: String,
    },
    /// Binds a stored credential to other origins. Nothing happens if it was set again meanwhile.
    Bind {
        /// Its section.
        section: String,
        /// Its name.
        field: String,
        /// What is stored.
        old: Box<SealedCredential>,
        /// The origins that it is bound to.
        origins: Vec<String>,
    },
    /// Removes everything: the first step of replacing a whole document.
    RemoveAll,
}

/// Changes an owner's credentials atomically: all of `edits`, in order, or none.
pub async fn change_credentials(
    store: &Store,
    actor: &Actor,
    key: &MasterKey,
    owner: &Owner,
    edits: &[Edit],
) -> Result<ChangeOutcome, StoreError> {
    change_logins(store, actor, key, owner, edits, &[]).await
}

/// The same, with paste tokens of the logins that `edits` set.
pub async fn change_logins(
    store: &Store,
    actor: &Actor,
    key: &MasterKey,
    owner: &Owner,
    edits: &[Edit],
    issued: &[PasteTokenIssue],
) -> Result<ChangeOutcome, StoreError> {
    let act = actor.act(
        "credentials.change",
        owner,
        Value::from(edits.iter().map(audit_entry).collect::<Vec<_>>()),
    );
    let key = &key.snapshot();
    let changes: Vec<_> = edits.iter().filter_map(|edit| encrypted(key, owner, edit, act.at_ms)).collect();
    store.change_logins(owner, &key.id(), &changes, &act, issued).await
}

/// Removes a credential; false if there was none. Needs no master key.
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

/// The audit log's entry of an edit.
pub(super) fn audit_entry(edit: &Edit) -> Value {
    match edit {
        Edit::Set { section, field, origins, .. } => {
            json!({ "set": format!("{section}.{field}"), "origins": origins })
        }
        Edit::Remove { section, field } => json!({ "remove": format!("{section}.{field}") }),
        Edit::Bind { section, field, old, origins } => {
            json!({ "bind": format!("{section}.{field}"), "from": old.origins, "origins": origins })
        }
        Edit::RemoveAll => json!({ "remove": "all" }),
    }
}

/// The change of the store. None for a credential that cannot be decrypted: it stays as it is.
pub(super) fn encrypted(
    key: &MasterKey,
    owner: &Owner,
    edit: &Edit,
    updated_at_ms: u64,
) -> Option<CredentialChange> {
    Some(match edit {
        Edit::Set { section, field, stored, origins } => {
            let data = AssociatedData { owner, section, field, origins: Some(origins) };
            CredentialChange::Put(encrypt_credential(key, data, stored, updated_at_ms))
        }
        Edit::Remove { section, field } => {
            CredentialChange::Remove { section: section.clone(), field: field.clone() }
        }
        Edit::Bind { old, origins, .. } => CredentialChange::Bind {
            new: reencrypted(key, old, Some(origins.clone()))?,
            old: old.sealed.clone(),
        },
        Edit::RemoveAll => CredentialChange::RemoveAll,
    })
}

/// The credential re-encrypted with the current key, for these origins. None if it cannot be decrypted.
pub(super) fn reencrypted(
    key: &MasterKey,
    old: &SealedCredential,
    origins: Option<Vec<String>>,
) -> Option<SealedCredential> {
    let SealedCredential { owner, section, field, .. } = old;
    let data = |origins| AssociatedData { owner, section, field, origins };
    let plaintext = key.decrypt(data(old.origins.as_deref()), &old.sealed).ok()?;
    let sealed = key.encrypt(data(origins.as_deref()), &plaintext);
    Some(SealedCredential { sealed, origins, ..old.clone() })
}

/// Encrypts the credential of a field.
pub(super) fn encrypt_credential(
    key: &MasterKey,
    data: AssociatedData<'_>,
    stored: &StoredCredential,
    updated_at_ms: u64,
) -> SealedCredential {
    SealedCredential {
        owner: data.owner.clone(),
        section: data.section.to_owned(),
        field: data.field.to_owned(),
        sealed: key.encrypt(data, &stored.to_plaintext()),
        origins: data.origins.map(<[String]>::to_vec),
        updated_at_ms,
    }
}

/// A stored credential that cannot be decrypted.
#[derive(Debug)]
pub struct Unreadable {
    /// Its section.
    pub section: String,
    /// Its field.
    pub field: String,
    /// The reason.
    pub reason: DecryptError,
}

/// An owner's decrypted credentials, and those that cannot be decrypted.
pub async fn read_credentials(
    store: &Store,
    key: &MasterKey,
    owner: &Owner,
) -> Result<(Credentials, Vec<Unreadable>), StoreError> {
    let (credentials, unreadable) = decrypt_all(key, store.credentials(owner).await?);
    Ok((credentials.into_iter().next().map(|(_, own)| own).unwrap_or_default(), unreadable))
}

/// Decrypts credentials: by owner, in order of precedence.
pub(super) fn decrypt_all(
    key: &MasterKey,
    sealed: Vec<SealedCredential>,
) -> (Vec<(Owner, Credentials)>, Vec<Unreadable>) {
    let (mut credentials, mut unreadable) = (BTreeMap::<_, Credentials>::new(), Vec::new());
    for one in sealed {
        let stored = decrypt_credential(key, &one);
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

/// Decrypts a credential.
pub fn decrypt_credential(
    key: &MasterKey,
    sealed: &SealedCredential,
) -> Result<StoredCredential, DecryptError> {
    let SealedCredential { owner, section, field, sealed, origins, .. } = sealed;
    let plaintext =
        key.decrypt(AssociatedData { owner, section, field, origins: origins.as_deref() }, sealed)?;
    StoredCredential::from_plaintext(&plaintext).ok_or(DecryptError::Unknown)
}
