//! Operations that show the credential fields of the provider files, with the credentials of an owner, and those that are
//! shared with the owner. A token with scopes sees the fields of the providers that it reaches.
//!
//! Secrets are masked here. Read next: `document`, which arranges fields for pages.

mod document;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use http::StatusCode;

pub use self::document::{
    CredentialField, CredentialFields, CredentialKind, FieldSection, Holder, PasteTokenPlace,
    SharedCredential, UndeclaredField, Wanted,
};
pub(super) use self::document::{Stored, in_order};
use self::document::{StoredField, arrange};
use super::{
    Admin, ApiResult, Request, Response,
    credentials::owner_not_found,
    document::{FieldKey, masked_value, unreadable_value},
    operations::{Parameter, ParameterKind},
    page::invalid_query,
    scope::Reach,
    store_fault,
    usage::Parameters,
};
use crate::{
    accounts::{self, OwnValues, new_origins},
    fault::Fault,
    fields::Field,
    name::Owner,
    table::Table,
};

/// The parameters of the fields for admins.
pub(super) static PARAMETERS: &[Parameter] = &[Parameter {
    name: "owner",
    description: "Show the credentials of this owner too: a user's id, `group:NAME` or `everybody`",
    kind: ParameterKind::Text,
}];

impl Admin {
    /// The fields, with the credentials of an owner.
    pub(super) async fn fields(&self, owner: Option<Owner>, request: &Request) -> ApiResult {
        let stored = match &owner {
            Some(owner) => Some(self.stored(owner, request).await?),
            None => None,
        };
        let owner = owner.map(|owner| owner.to_string());
        let document = arrange(&request.table, Reach::of(request), owner, stored.as_ref());
        Ok(Response::json(StatusCode::OK, &document))
    }

    /// The fields, with the credentials of the owner that the query names.
    pub(super) async fn fields_of(&self, request: &Request) -> ApiResult {
        let owner = Parameters::of(request, PARAMETERS)?.value("owner");
        let parse = |text: String| {
            Owner::parse(&text).ok_or_else(|| {
                invalid_query("?owner=: give the id of a user, `group:NAME` for a group, or `everybody`")
            })
        };
        self.fields(owner.map(parse).transpose()?, request).await
    }

    /// An owner's credentials, and those that the owner shares.
    pub(super) async fn stored(&self, owner: &Owner, request: &Request) -> Result<Stored, Fault> {
        let group = match owner {
            Owner::User(id) => {
                let user = self.store.user(id).await.map_err(store_fault)?;
                user.ok_or_else(|| owner_not_found(request))?.group
            }
            Owner::Group(_) | Owner::Everybody => None,
        };
        let group = group.map(Owner::Group);
        let everybody = (*owner != Owner::Everybody).then_some(Owner::Everybody);
        let mut all = Stored::default();
        for (holder, by) in [
            (Holder::Own, Some(owner)),
            (Holder::Group, group.as_ref()),
            (Holder::Everybody, everybody.as_ref()),
        ] {
            let Some(by) = by else { continue };
            let (fields, values) = self.stored_by(by, &request.table).await?;
            all.values.insert(holder, values);
            *all.of(holder) = fields;
        }
        Ok(all)
    }

    async fn stored_by(
        &self,
        owner: &Owner,
        table: &Table,
    ) -> Result<(BTreeMap<FieldKey, StoredField>, OwnValues), Fault> {
        let sealed = self.store.credentials(owner).await.map_err(store_fault)?;
        let values = OwnValues::decrypt(&self.key, &table.fields, &sealed);
        let stored = sealed.into_iter().map(|one| {
            let unconfirmed = new_origins(&table.fields, &values, &one);
            let decrypted = accounts::decrypt_credential(&self.key, &one);
            let is_readable = decrypted.is_ok();
            let declared = table.fields.find(&one.section, &one.field).ok();
            let value = match &decrypted {
                Ok(stored) => masked_value(stored, declared),
                Err(_) => unreadable_value(),
            };
            let bound_to = one.origins.filter(|_| declared.is_some_and(Field::is_secret)).unwrap_or_default();
            let updated_at_ms = one.updated_at_ms;
            let stored = StoredField { value, is_readable, updated_at_ms, unconfirmed, bound_to };
            ((one.section, one.field), stored)
        });
        Ok((stored.collect(), values))
    }
}
