//! The facts about stored credentials that decide about a request, for `explain`: who owns one, for which origins, and
//! whether it can be used.
//!
//! A value is read only if it affects a decision. No value leaves but as a secret. Read next: [`crate::explain`].

use std::collections::BTreeMap;

use super::{MasterKey, StoredCredential, credentials::decrypt_credential};
use crate::{
    clock,
    explain::{OwnerCredentials, StoredField, StoredValue},
    name::Owner,
    store::{SealedCredential, Store, StoreError, User},
    syntax::FieldKind,
    table::Hit,
};

/// The stored credentials of one provider's section that a user may use.
#[derive(Debug)]
pub struct StoredFacts<'h> {
    hit: &'h Hit,
    sealed: Vec<SealedCredential>,
}

impl<'h> StoredFacts<'h> {
    /// Reads them: the user's own, then the group's, then everybody's. None if the endpoint's provider takes none.
    pub async fn read(store: &Store, user: &User, hit: &'h Hit) -> Result<Option<Self>, StoreError> {
        let Some(section) = &hit.provider.section else { return Ok(None) };
        let group = user.group.clone().map(Owner::Group);
        let mut sealed = Vec::new();
        for owner in [Some(Owner::User(user.id.clone())), group, Some(Owner::Everybody)].into_iter().flatten()
        {
            sealed.extend(store.credentials(&owner).await?);
        }
        sealed.retain(|one| one.section == section.name);
        Ok(Some(Self { hit, sealed }))
    }

    /// True if a decision depends on a value, which the master key decrypts.
    pub fn needs_key(&self) -> bool {
        self.sealed.iter().any(|one| self.decides(&one.field))
    }

    /// The facts, by owner. Without the key, no value is known, and no kind of one.
    pub fn by_owner(self, key: Option<&MasterKey>) -> Vec<OwnerCredentials> {
        let mut owners: BTreeMap<Owner, BTreeMap<String, StoredField>> = BTreeMap::new();
        for one in &self.sealed {
            let (value, stored_as) = match key.map(|key| decrypt_credential(key, one)) {
                Some(Ok(stored)) if self.decides(&one.field) => (stored_value(&stored), stored.kind()),
                Some(Err(reason)) => (StoredValue::Unreadable(reason.to_string()), None),
                decrypted => (StoredValue::Present, decrypted.and_then(|one| one.ok()?.kind())),
            };
            let stored = StoredField { value, stored_as, origins: one.origins.clone().unwrap_or_default() };
            owners.entry(one.owner.clone()).or_default().insert(one.field.clone(), stored);
        }
        owners.into_iter().map(|(owner, fields)| OwnerCredentials { owner: Some(owner), fields }).collect()
    }

    /// True for the field of an entry's `match`, for a login, which may have expired, and for a value or a document that the
    /// request is made of.
    fn decides(&self, field: &str) -> bool {
        let provider = &self.hit.provider;
        let entries = provider.auth.iter().flat_map(|auth| &auth.reads);
        let mut reads = provider.reads.iter().chain(&self.hit.endpoint().reads).chain(entries);
        let is_shown_or_part = |index: &u16| {
            let value = provider.section.as_ref().and_then(|section| section.values.get(usize::from(*index)));
            value.is_some_and(|one| one.field == field && (one.rule.is_some() || one.pointer.is_some()))
        };
        if reads.any(is_shown_or_part) {
            return true;
        }
        let mut fields = provider.section.iter().flat_map(|section| &section.fields);
        let is_login = fields
            .find(|known| known.value.name == field)
            .is_some_and(|known| known.value.kind == Some(FieldKind::Oauth2));
        let mut entries = provider.auth.iter().filter(|auth| auth.field.as_deref() == Some(field));
        entries.any(|auth| auth.matches.is_some() || is_login)
    }
}

fn stored_value(stored: &StoredCredential) -> StoredValue {
    if let StoredCredential::Document(text) = stored {
        return StoredValue::Value(text.clone());
    }
    // A request would first refresh an expired login, if it has a refresh token.
    let usable = stored.usable(clock::now_ms()).or_else(|| stored.refreshable());
    usable.map_or(StoredValue::Expired, |secret| StoredValue::Value(secret.clone()))
}
