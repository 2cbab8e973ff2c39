//! Confirmation of origins. The files may lead to origins that a credential is not bound to. Its owner or an admin can
//! confirm them, which binds the credential to the current origins. The secret itself does not change.
//!
//! A confirmation names the origins that it expects: if the files changed since they were shown, it is refused. An origin that
//! a missing value leaves incomplete is none of them: any value could complete it later.
//!
//! A change of credentials may name them too ([`check_change`]).

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

use super::{Actor, MasterKey, OwnValues, credentials::reencrypted};
use crate::{
    fields::{DeclaredFields, UnknownField},
    name::Owner,
    origin::Origin,
    store::{BoundCredential, SealedCredential, Store, StoreError, StoredField},
};

/// Attempts if a credential changes at the same time.
const ATTEMPTS: usize = 5;

/// The origins of a credential before and after its confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewOrigins {
    /// The origins that it was saved for.
    pub from: Vec<String>,
    /// The origins that the provider files lead to, without those that lack a value.
    pub to: Vec<String>,
}

impl NewOrigins {
    /// The origins that it was not saved for.
    pub fn added(&self) -> impl Iterator<Item = &str> {
        self.to.iter().filter(|origin| !self.from.contains(origin)).map(String::as_str)
    }
}

/// The origins that a confirmation or a change expects, by `section.field`.
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
    #[error("`{place}` leads to {}: look at it again, then confirm that", hosts(current))]
    Changed {
        /// The `section.field`.
        place: String,
        /// Its current origins.
        current: Vec<String>,
    },
    /// A change would lead to other origins than expected. Each with the place and both.
    #[error("{}: look at it again, then repeat the call with what you see", others(.0))]
    Other(Vec<OtherOrigins>),
    /// The master key was replaced, or the credentials keep changing.
    #[error("the credentials were changed at the same time, or the master key was replaced: try again")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An owner's credentials that wait for a confirmation, by `section.field`.
pub async fn unconfirmed(
    store: &Store,
    key: &MasterKey,
    owner: &Owner,
    known: &DeclaredFields,
) -> Result<BTreeMap<String, NewOrigins>, StoreError> {
    let stored = store.credentials(owner).await?;
    let values = OwnValues::decrypt(key, known, &stored);
    let moved = stored.iter().filter_map(|one| Some((place(one), new_origins(known, &values, one)?)));
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
    let key = &key.snapshot();
    for _ in 0..ATTEMPTS {
        let stored = store.credentials(owner).await?;
        let values = OwnValues::decrypt(key, known, &stored);
        check_expected(known, &values, expected)?;
        let (mut confirmed, mut swaps) = (BTreeMap::new(), Vec::new());
        for old in &stored {
            let name = place(old);
            let Some(one) = new_origins(known, &values, old).filter(|_| expected.contains_key(&name)) else {
                continue;
            };
            let Some(new) = reencrypted(key, old, Some(one.to.clone())) else { continue };
            let detail = json!({ "field": name, "from": one.from, "to": one.to });
            let act = actor.act("credentials.confirm", owner, detail);
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

fn check_expected(
    known: &DeclaredFields,
    values: &OwnValues,
    expected: &ExpectedOrigins,
) -> Result<(), ConfirmError> {
    for (place, origins) in expected {
        let (section, field) = section_and_field(place);
        let place = place.clone();
        let current = match known.find(section, field) {
            Ok(field) => values.complete_origins(section, field),
            Err(error) => return Err(ConfirmError::Unknown { place, error }),
        };
        if current.iter().collect::<BTreeSet<_>>() != origins.iter().collect() {
            return Err(ConfirmError::Changed { place, current });
        }
    }
    Ok(())
}

/// A field that a change leads to other origins than expected.
#[derive(Debug)]
pub struct OtherOrigins {
    /// The `section.field`.
    place: String,
    is_secret: bool,
    expected: Vec<String>,
    current: Vec<String>,
}

fn others(all: &[OtherOrigins]) -> String {
    let one = |OtherOrigins { place, is_secret, expected, current }: &OtherOrigins| {
        let verb = if *is_secret { "go" } else { "lead" };
        format!("`{place}` would {verb} to {}, and not to {}", hosts(current), hosts(expected))
    };
    all.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn hosts(origins: &[String]) -> String {
    if origins.is_empty() { "no host".to_owned() } else { origins.join(", ") }
}

/// Checks that a change, after which the owner has these values, leads fields to the origins that the caller has seen.
pub fn check_change(
    known: &DeclaredFields,
    after: &OwnValues,
    expected: &ExpectedOrigins,
) -> Result<(), ConfirmError> {
    let mut others = Vec::new();
    for (place, origins) in expected {
        let (section, name) = section_and_field(place);
        let field = known.find(section, name);
        let field = field.map_err(|error| ConfirmError::Unknown { place: place.clone(), error })?;
        let (is_secret, current) = (field.is_secret(), after.leads_to(known, section, name));
        // A page fills values in as they are typed, in letters of either case.
        let plain = |origin: &String| match Origin::split(origin) {
            Ok((plain, "")) => plain.to_string(),
            Ok(_) | Err(_) => origin.clone(),
        };
        let seen: BTreeSet<String> = origins.iter().map(plain).collect();
        if !seen.iter().eq(&current) {
            let expected = seen.into_iter().collect();
            others.push(OtherOrigins { place: place.clone(), is_secret, expected, current });
        }
    }
    if others.is_empty() { Ok(()) } else { Err(ConfirmError::Other(others)) }
}

fn place(one: &SealedCredential) -> String {
    format!("{}.{}", one.section, one.field)
}

/// The origins of a credential before and after a confirmation, beside these values of its owner; none if it waits for none.
pub fn new_origins(known: &DeclaredFields, values: &OwnValues, one: &SealedCredential) -> Option<NewOrigins> {
    moved(known, values, &one.section, &one.field, one.origins.as_deref().unwrap_or_default())
}

fn moved(
    known: &DeclaredFields,
    values: &OwnValues,
    section: &str,
    field: &str,
    bound_to: &[String],
) -> Option<NewOrigins> {
    let field = known.find(section, field).ok()?;
    let is_new = |origin: &String| !bound_to.contains(origin);
    // Most fields have fixed origins alone: those are compared without a copy.
    if field.made.is_empty() && !field.origins.iter().any(is_new) {
        return None;
    }
    let to = values.complete_origins(section, field);
    to.iter().any(is_new).then(|| NewOrigins { from: bound_to.to_vec(), to })
}

/// Owners of credentials that wait for a confirmation.
#[derive(Debug, Default)]
pub struct WaitingOwners {
    /// They, in the order of their texts.
    pub owners: Vec<WaitingOwner>,
    /// The last owner that was looked at, if others may follow.
    pub rest: Option<Owner>,
}

/// An owner of credentials that wait for a confirmation.
#[derive(Debug)]
pub struct WaitingOwner {
    /// The owner.
    pub owner: Owner,
    /// The display name, if the owner is a user.
    pub name: Option<String>,
    /// Its credentials that wait, by `section.field`.
    pub unconfirmed: BTreeMap<String, NewOrigins>,
}

/// The owners, after one, whose credentials of the `fields` wait for a confirmation. Looks at `limit` owners at most: those
/// whose values make an origin have to be read to know if they wait.
pub async fn waiting(
    store: &Store,
    key: &MasterKey,
    known: &DeclaredFields,
    fields: &[StoredField],
    after: Option<&Owner>,
    limit: u64,
) -> Result<WaitingOwners, StoreError> {
    let may_wait = |one: &&StoredField| {
        let is_made = known.find(&one.section, &one.field).is_ok_and(|field| !field.made.is_empty());
        is_made || moved(known, &OwnValues::default(), &one.section, &one.field, &one.origins).is_some()
    };
    let wanted: Vec<_> = fields.iter().filter(may_wait).cloned().collect();
    if wanted.is_empty() {
        return Ok(WaitingOwners::default());
    }
    let found = store.credentials_bound_as(&wanted, after, limit).await?;
    let has_made = |section: &str| {
        known.section(section).is_ok_and(|fields| fields.values().any(|one| !one.made.is_empty()))
    };
    let (mut all, mut looked_at, none) = (WaitingOwners::default(), 0, OwnValues::default());
    let mut values = None;
    for BoundCredential { owner, owner_name, section, field, origins } in found {
        if all.rest.as_ref() != Some(&owner) {
            looked_at += 1;
            values = None;
            all.rest = Some(owner.clone());
        }
        if values.is_none() && has_made(&section) {
            values = Some(OwnValues::decrypt(key, known, &store.credentials(&owner).await?));
        }
        let own = values.as_ref().unwrap_or(&none);
        let Some(new) = moved(known, own, &section, &field, &origins) else { continue };
        if all.owners.last().is_none_or(|last| last.owner != owner) {
            all.owners.push(WaitingOwner { owner, name: owner_name, unconfirmed: BTreeMap::new() });
        }
        if let Some(last) = all.owners.last_mut() {
            last.unconfirmed.insert(format!("{section}.{field}"), new);
        }
    }
    if looked_at < limit {
        all.rest = None;
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
