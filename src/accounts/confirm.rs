//! Confirmation of origins. The files may lead to origins that a credential is not bound to. Its owner or an admin can
//! confirm them, which binds the credential to the current origins. The secret itself does not change.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use thiserror::Error;

use super::{Actor, MasterKey, credentials, encryption::AssociatedData};
use crate::{
    fields::{DeclaredFields, UnknownField},
    name::Owner,
    store::{SealedCredential, Store, StoreError},
};

/// Attempts if a credential changes at the same time.
const ATTEMPTS: usize = 5;

/// A confirmed credential: its old and new origins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Confirmed {
    /// The origins that it was bound to.
    pub from: Vec<String>,
    /// The origins that it is bound to now.
    pub to: Vec<String>,
}

/// Why the confirmation failed or is incomplete.
#[derive(Debug, Error)]
pub enum ConfirmError {
    /// No provider file declares the field or section.
    #[error(transparent)]
    Unknown(#[from] UnknownField),
    /// The master key was replaced, or the credentials keep changing.
    #[error("the credentials were changed at the same time, or the master key was replaced: try again")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The credentials to confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialSelector<'a> {
    /// All of an owner's.
    All,
    /// One section.
    Section(&'a str),
    /// One field: its section and name.
    Field(&'a str, &'a str),
}

impl CredentialSelector<'_> {
    fn check(self, known: &DeclaredFields) -> Result<(), UnknownField> {
        match self {
            Self::All => Ok(()),
            Self::Section(section) => known.section(section).map(|_| ()),
            Self::Field(section, field) => known.find(section, field).map(|_| ()),
        }
    }

    fn names(self, one: &SealedCredential) -> bool {
        match self {
            Self::All => true,
            Self::Section(section) => one.section == section,
            Self::Field(section, field) => (one.section.as_str(), one.field.as_str()) == (section, field),
        }
    }
}

/// The current origins of a credential; none if it is bound to all of them already.
pub fn unconfirmed_origins<'k>(known: &'k DeclaredFields, one: &SealedCredential) -> Option<&'k [String]> {
    let current = &known.find(&one.section, &one.field).ok()?.origins;
    let bound_to = one.origins.as_deref().unwrap_or_default();
    current.iter().any(|origin| !bound_to.contains(origin)).then_some(current)
}

/// Binds an owner's moved credentials to the current origins: all or none. Returns the result by `section.field`.
/// Credentials that cannot be decrypted stay as they are.
pub async fn confirm(
    store: &Store,
    actor: &Actor,
    key: &MasterKey,
    owner: &Owner,
    known: &DeclaredFields,
    which: CredentialSelector<'_>,
) -> Result<BTreeMap<String, Confirmed>, ConfirmError> {
    which.check(known)?;
    let key = &key.snapshot();
    for _ in 0..ATTEMPTS {
        let (mut confirmed, mut swaps) = (BTreeMap::new(), Vec::new());
        for old in store.credentials(owner).await?.iter().filter(|one| which.names(one)) {
            let Some(current) = unconfirmed_origins(known, old) else { continue };
            let Ok(stored) = credentials::decrypt_credential(key, old) else { continue };
            let name = format!("{}.{}", old.section, old.field);
            let one = Confirmed { from: old.origins.clone().unwrap_or_default(), to: current.to_vec() };
            let detail = json!({ "field": name, "from": one.from, "to": one.to });
            let act = actor.act("credentials.confirm", owner, detail);
            let data =
                AssociatedData { owner, section: &old.section, field: &old.field, origins: Some(current) };
            let new = credentials::encrypt_credential(key, data, &stored, old.updated_at_ms);
            swaps.push((new, old.sealed.clone(), act));
            confirmed.insert(name, one);
        }
        // A credential that is set meanwhile is bound to the current origins already, and wins.
        if store.confirm_credentials(owner, &swaps, &key.id()).await? {
            return Ok(confirmed);
        }
    }
    Err(ConfirmError::Contended)
}

#[cfg(test)]
mod tests;
