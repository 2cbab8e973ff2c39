//! Operations that show the credential fields of the provider files, with the credentials of an owner, and those that are
//! shared with the owner. A token with scopes sees the fields of the providers that it reaches.
//!
//! Secrets are masked here. Read next: `document`, which arranges fields for pages.

mod document;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use http::StatusCode;

pub(super) use self::document::in_order;
pub use self::document::{
    CredentialField, CredentialFields, CredentialKind, FieldSection, Holder, PasteTokenPlace,
    SharedCredential, UndeclaredField, Wanted,
};
use self::document::{Stored, StoredField, arrange};
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
    accounts::{self, new_origins},
    fault::Fault,
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
    async fn stored(&self, owner: &Owner, request: &Request) -> Result<Stored, Fault> {
        let group = match owner {
            Owner::User(id) => {
                let user = self.store.user(id).await.map_err(store_fault)?;
                user.ok_or_else(|| owner_not_found(request))?.group
            }
            Owner::Group(_) | Owner::Everybody => None,
        };
        let everybody = (*owner != Owner::Everybody).then_some(Owner::Everybody);
        Ok(Stored {
            own: self.stored_by(owner, &request.table).await?,
            group: self.stored_by_other(group.map(Owner::Group), &request.table).await?,
            everybody: self.stored_by_other(everybody, &request.table).await?,
        })
    }

    async fn stored_by_other(
        &self,
        owner: Option<Owner>,
        table: &Table,
    ) -> Result<BTreeMap<FieldKey, StoredField>, Fault> {
        match owner {
            Some(owner) => self.stored_by(&owner, table).await,
            None => Ok(BTreeMap::new()),
        }
    }

    async fn stored_by(
        &self,
        owner: &Owner,
        table: &Table,
    ) -> Result<BTreeMap<FieldKey, StoredField>, Fault> {
        let sealed = self.store.credentials(owner).await.map_err(store_fault)?;
        let stored = sealed.into_iter().map(|one| {
            let unconfirmed = new_origins(&table.fields, &one);
            let decrypted = accounts::decrypt_credential(&self.key, &one);
            let is_readable = decrypted.is_ok();
            let value = decrypted.as_ref().map_or_else(|_| unreadable_value(), masked_value);
            let updated_at_ms = one.updated_at_ms;
            ((one.section, one.field), StoredField { value, is_readable, updated_at_ms, unconfirmed })
        });
        Ok(stored.collect())
    }
}
