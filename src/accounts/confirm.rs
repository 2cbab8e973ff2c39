//! Confirmation of moved credentials: a credential that is bound to other origins than the files lead to now is bound to
//! the current ones, after its owner or an admin has confirmed that. The secret itself stays.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use thiserror::Error;

use super::{Actor, MasterKey, credentials, seal::AssociatedData};
use crate::{
    fields::{DeclaredFields, UnknownField},
    name::Owner,
    store::{SealedCredential, Store, StoreError, SwapReason},
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
    /// No file has such a field.
    #[error(transparent)]
    Unknown(#[from] UnknownField),
    /// The master key was replaced, or the credentials keep changing.
    #[error("the credentials change at the same time, or the master key has been replaced: try again")]
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
    let today = &known.find(&one.section, &one.field).ok()?.origins;
    let saved = one.origins.as_deref().unwrap_or_default();
    today.iter().any(|origin| !saved.contains(origin)).then_some(today)
}

/// Binds an owner's moved credentials to the current origins. Returns the result by `section.field`. Credentials that
/// cannot be decrypted stay as they are.
pub async fn confirm(
    store: &Store,
    actor: &Actor,
    key: &MasterKey,
    owner: &Owner,
    known: &DeclaredFields,
    which: CredentialSelector<'_>,
) -> Result<BTreeMap<String, Confirmed>, ConfirmError> {
    which.check(known)?;
    let (mut confirmed, key) = (BTreeMap::new(), &key.snapshot());
    for _ in 0..ATTEMPTS {
        let mut lost = false;
        for old in store.credentials(owner).await?.iter().filter(|one| which.names(one)) {
            let Some(today) = unconfirmed_origins(known, old) else { continue };
            let Ok(stored) = credentials::decrypt_credential(key, old) else { continue };
            let name = format!("{}.{}", old.section, old.field);
            let one = Confirmed { from: old.origins.clone().unwrap_or_default(), to: today.to_vec() };
            let detail = json!({ "field": name, "from": one.from, "to": one.to });
            let act = actor.act("credentials.confirm", owner, detail);
            let place =
                AssociatedData { owner, section: &old.section, field: &old.field, origins: Some(today) };
            let new = credentials::encrypt_credential(key, place, &stored, old.updated_at_ms);
            // A credential that is set meanwhile is bound to the current origins already, and wins.
            if store.swap_credential(&new, &old.sealed, &key.id(), SwapReason::Confirm(&act)).await? {
                confirmed.insert(name, one);
            } else {
                lost = true;
            }
        }
        if !lost {
            return Ok(confirmed);
        }
    }
    Err(ConfirmError::Contended)
}

#[cfg(test)]
mod tests;
