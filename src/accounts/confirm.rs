//! Confirming: a credential that was saved for other origins than the files lead to today is bound to today's, once
//! its owner, or an admin, has said that this is right. What it holds stays as it is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use thiserror::Error;

use super::{Actor, MasterKey, credentials, seal::RowIdentity};
use crate::{
    fields::{KnownFields, UnknownField},
    name::Owner,
    store::{SealedCredential, Store, StoreError, SwapReason},
};

/// How often what changes under our hands is looked at again.
const ATTEMPTS: usize = 5;

/// Where a credential may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Confirmed {
    /// The origins that it was saved for.
    pub from: Vec<String>,
    /// Those that it may go to from now on.
    pub to: Vec<String>,
}

/// Why nothing, or not all, was confirmed.
#[derive(Debug, Error)]
pub enum ConfirmError {
    /// What was named is no field of any file.
    #[error(transparent)]
    Unknown(#[from] UnknownField),
    /// Another master key seals by now, or somebody else changes the same without end.
    #[error("the credentials change at the same time, or the master key has been replaced: try again")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// All of an owner's.
    All,
    /// One section.
    Section(&'a str),
    /// One field: its section and name.
    Field(&'a str, &'a str),
}

impl Which<'_> {
    fn check(self, known: &KnownFields) -> Result<(), UnknownField> {
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

/// The origins that a credential would go to today; none if it was saved for all of them.
pub fn moved<'k>(known: &'k KnownFields, one: &SealedCredential) -> Option<&'k [String]> {
    let today = &known.find(&one.section, &one.field).ok()?.origins;
    let saved = one.origins.as_deref().unwrap_or_default();
    today.iter().any(|origin| !saved.contains(origin)).then_some(today)
}

/// Binds what has moved of an owner's credentials to the origins that the files lead to now. What was done, by
/// `section.field`. What does not open stays as it is.
pub async fn confirm(
    store: &Store,
    actor: &Actor,
    key: &MasterKey,
    owner: &Owner,
    known: &KnownFields,
    which: Which<'_>,
) -> Result<BTreeMap<String, Confirmed>, ConfirmError> {
    which.check(known)?;
    let (mut confirmed, key) = (BTreeMap::new(), &key.snapshot());
    for _ in 0..ATTEMPTS {
        let mut lost = false;
        for old in store.credentials(owner).await?.iter().filter(|one| which.names(one)) {
            let Some(today) = moved(known, old) else { continue };
            let Ok(stored) = credentials::open_credential(key, old) else { continue };
            let name = format!("{}.{}", old.section, old.field);
            let one = Confirmed { from: old.origins.clone().unwrap_or_default(), to: today.to_vec() };
            let detail = json!({ "field": name, "from": one.from, "to": one.to });
            let act = actor.act("credentials.confirm", owner, detail);
            let place = RowIdentity { owner, section: &old.section, field: &old.field, origins: Some(today) };
            let new = credentials::encrypt_credential(key, place, &stored, old.updated_at_ms);
            // What is set meanwhile is bound to today's origins already, and wins.
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
