//! Confirmation of origins. The files may lead to origins that a credential is not bound to. Its owner or an admin can
//! confirm them, which binds the credential to the current origins. The secret itself does not change.
//!
//! A confirmation names the origins that it expects: if the files changed since they were shown, it is refused.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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

/// The origins of a credential before and after its confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewOrigins {
    /// The origins that it was saved for.
    pub from: Vec<String>,
    /// The origins that the provider files lead to.
    pub to: Vec<String>,
}

impl NewOrigins {
    /// The origins that it was not saved for.
    pub fn added(&self) -> impl Iterator<Item = &str> {
        self.to.iter().filter(|origin| !self.from.contains(origin)).map(String::as_str)
    }
}

/// The origins that a confirmation expects, by `section.field`.
pub type ExpectedOrigins = BTreeMap<String, Vec<String>>;

/// Why the confirmation failed or is incomplete.
#[derive(Debug, Error)]
pub enum ConfirmError {
    /// No provider file declares the field or section.
    #[error("{error}")]
    Unknown {
        /// The `section.field`, as it was named.
        place: String,
        /// The reason.
        error: UnknownField,
    },
    /// The provider files lead to other origins than expected.
    #[error("`{place}` leads to {}: look at it again, then confirm that", current.join(", "))]
    Changed {
        /// The `section.field`.
        place: String,
        /// Its current origins.
        current: Vec<String>,
    },
    /// The master key was replaced, or the credentials keep changing.
    #[error("the credentials were changed at the same time, or the master key was replaced: try again")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The current origins of a credential; none if it is bound to all of them already.
pub fn unconfirmed_origins<'k>(known: &'k DeclaredFields, one: &SealedCredential) -> Option<&'k [String]> {
    moved_to(known, &one.section, &one.field, one.origins.as_deref().unwrap_or_default())
}

/// The current origins of a field; none if a credential with these origins is bound to all of them.
pub fn moved_to<'k>(
    known: &'k DeclaredFields,
    section: &str,
    field: &str,
    bound_to: &[String],
) -> Option<&'k [String]> {
    let current = &known.find(section, field).ok()?.origins;
    current.iter().any(|origin| !bound_to.contains(origin)).then_some(current)
}

/// An owner's credentials that wait for a confirmation, by `section.field`.
pub async fn unconfirmed(
    store: &Store,
    owner: &Owner,
    known: &DeclaredFields,
) -> Result<BTreeMap<String, NewOrigins>, StoreError> {
    let stored = store.credentials(owner).await?;
    let moved = stored.iter().filter_map(|one| Some((place(one), new_origins(known, one)?)));
    Ok(moved.collect())
}

/// Section and field of a `section.field`. The section may contain dots.
pub fn section_and_field(place: &str) -> (&str, &str) {
    place.rsplit_once('.').unwrap_or((place, ""))
}

/// Binds an owner's moved credentials to the expected origins: all or none. Returns the result by `section.field`.
/// Those that are not expected, are bound already or cannot be decrypted stay as they are.
pub async fn confirm(
    store: &Store,
    actor: &Actor,
    key: &MasterKey,
    owner: &Owner,
    known: &DeclaredFields,
    expected: &ExpectedOrigins,
) -> Result<BTreeMap<String, NewOrigins>, ConfirmError> {
    check_expected(known, expected)?;
    let key = &key.snapshot();
    for _ in 0..ATTEMPTS {
        let (mut confirmed, mut swaps) = (BTreeMap::new(), Vec::new());
        for old in &store.credentials(owner).await? {
            let name = place(old);
            let Some(one) = new_origins(known, old).filter(|_| expected.contains_key(&name)) else {
                continue;
            };
            let Ok(stored) = credentials::decrypt_credential(key, old) else { continue };
            let detail = json!({ "field": name, "from": one.from, "to": one.to });
            let act = actor.act("credentials.confirm", owner, detail);
            let (section, field) = (&old.section, &old.field);
            let data = AssociatedData { owner, section, field, origins: Some(&one.to) };
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

fn check_expected(known: &DeclaredFields, expected: &ExpectedOrigins) -> Result<(), ConfirmError> {
    for (place, origins) in expected {
        let (section, field) = section_and_field(place);
        let place = place.clone();
        let current = match known.find(section, field) {
            Ok(field) => &field.origins,
            Err(error) => return Err(ConfirmError::Unknown { place, error }),
        };
        if current.iter().collect::<BTreeSet<_>>() != origins.iter().collect() {
            return Err(ConfirmError::Changed { place, current: current.clone() });
        }
    }
    Ok(())
}

fn place(one: &SealedCredential) -> String {
    format!("{}.{}", one.section, one.field)
}

/// The origins of a credential before and after a confirmation; none if it waits for none.
pub fn new_origins(known: &DeclaredFields, one: &SealedCredential) -> Option<NewOrigins> {
    let to = unconfirmed_origins(known, one)?.to_vec();
    Some(NewOrigins { from: one.origins.clone().unwrap_or_default(), to })
}

#[cfg(test)]
mod tests;
