//! The owners of credentials that wait for a confirmation, since the provider files lead them to other origins.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Admin, ApiResult, Request, Response,
    page::{Page, invalid_query},
    payloads::ById,
    store_fault,
};
use crate::{
    accounts::{NewOrigins, moved_to},
    fault::Fault,
    fields::DeclaredFields,
    name::Owner,
    store::{BoundCredential, StoredField},
};

/// The owners of a page at most, and without `?limit=`.
const MAX_OWNERS: u64 = 100;

/// An owner of credentials that wait for a confirmation.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnconfirmedOwner {
    /// The display name, if the owner is a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// By section and field, such as `providers.demo.apiKey`: the origins that it was saved for, and those that the provider
    /// files lead to.
    pub unconfirmed: BTreeMap<String, NewOrigins>,
}

impl Admin {
    pub(super) async fn list_unconfirmed(&self, request: &Request) -> ApiResult {
        let page = Page::of(request)?.within(MAX_OWNERS);
        let after = page.after.as_deref().map(|text| Owner::parse(text).ok_or_else(unknown_owner));
        let known = &request.table.fields;
        let mut stored = self.store.stored_fields().await.map_err(store_fault)?;
        stored.retain(|one| moved(known, &one.section, &one.field, &one.origins).is_some());
        let mut list = ById(Vec::new());
        if !stored.is_empty() {
            let (after, limit) = (after.transpose()?, page.read_limit().unwrap_or(MAX_OWNERS));
            list = self.moved_credentials(known, &stored, after.as_ref(), limit).await?;
        }
        let link = page.truncate(&request.path, &mut list);
        Ok(Response { link, ..Response::json(StatusCode::OK, &list) })
    }

    async fn moved_credentials(
        &self,
        known: &DeclaredFields,
        stored: &[StoredField],
        after: Option<&Owner>,
        limit: u64,
    ) -> Result<ById<UnconfirmedOwner>, Fault> {
        let found = self.store.credentials_bound_as(stored, after, limit).await.map_err(store_fault)?;
        let mut owners: Vec<(String, UnconfirmedOwner)> = Vec::new();
        for BoundCredential { owner, owner_name, section, field, origins } in found {
            let Some(new) = moved(known, &section, &field, &origins) else { continue };
            let owner = owner.to_string();
            if owners.last().is_none_or(|(last, _)| *last != owner) {
                owners.push((owner, UnconfirmedOwner { name: owner_name, ..UnconfirmedOwner::default() }));
            }
            if let Some((_, last)) = owners.last_mut() {
                last.unconfirmed.insert(format!("{section}.{field}"), new);
            }
        }
        Ok(ById(owners))
    }
}

/// The origins of a credential before and after a confirmation; none if it waits for none.
fn moved(known: &DeclaredFields, section: &str, field: &str, bound_to: &[String]) -> Option<NewOrigins> {
    let to = moved_to(known, section, field, bound_to)?.to_vec();
    Some(NewOrigins { from: bound_to.to_vec(), to })
}

fn unknown_owner() -> Fault {
    invalid_query("?after=: no such owner exists: start again without it")
}
