//! The facts about stored credentials that decide about a request, for `explain`: who owns one, for which origins, and
//! whether it can be used.
//!
//! A value is decrypted only if it affects a decision. No value leaves but as a secret. Read next: [`crate::explain`].

use std::collections::BTreeMap;

use super::{MasterKey, credentials::decrypt_credential};
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

    /// The facts, by owner. Without the key, no value is known.
    pub fn by_owner(self, key: Option<&MasterKey>) -> Vec<OwnerCredentials> {
        let mut owners: BTreeMap<Owner, BTreeMap<String, StoredField>> = BTreeMap::new();
        for one in &self.sealed {
            let key = key.filter(|_| self.decides(&one.field));
            let value = key.map_or(StoredValue::Present, |key| stored_value(key, one));
            let stored = StoredField { value, origins: one.origins.clone().unwrap_or_default() };
            owners.entry(one.owner.clone()).or_default().insert(one.field.clone(), stored);
        }
        owners.into_iter().map(|(owner, fields)| OwnerCredentials { owner: Some(owner), fields }).collect()
    }

    /// True for the field of an entry's `match`, and for a login, which may have expired.
    fn decides(&self, field: &str) -> bool {
        let provider = &self.hit.provider;
        let mut fields = provider.section.iter().flat_map(|section| &section.fields);
        let is_login = fields
            .find(|known| known.value.name == field)
            .is_some_and(|known| known.value.kind == Some(FieldKind::Oauth2));
        let mut entries = provider.auth.iter().filter(|auth| auth.field == field);
        entries.any(|auth| auth.matches.is_some() || is_login)
    }
}

fn stored_value(key: &MasterKey, sealed: &SealedCredential) -> StoredValue {
    match decrypt_credential(key, sealed) {
        // A request would first refresh an expired login, if it has a refresh token.
        Ok(stored) => {
            let usable = stored.usable(clock::now_ms()).or_else(|| stored.refreshable());
            usable.map_or(StoredValue::Expired, |secret| StoredValue::Value(secret.clone()))
        }
        Err(reason) => StoredValue::Unreadable(reason.to_string()),
    }
}
