//! The list of all stored credentials, masked: users, groups and everybody, in pages.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Admin, ApiResult, Request, Response,
    page::{Page, invalid_query},
    payloads::{ById, MaskedCredentials},
    store_fault,
};
use crate::name::Owner;

/// The owners of a page at most, and without `?limit=`.
const MAX_OWNERS: u64 = 100;

/// The stored credentials of an owner.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnerCredentials {
    /// The display name, if the owner is a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The credentials, masked.
    pub credentials: MaskedCredentials,
}

impl Admin {
    /// The owners of credentials: everybody, groups, then users.
    pub(super) async fn list_creds(&self, request: &Request) -> ApiResult {
        let page = Page::of(request)?.within(MAX_OWNERS);
        let unknown = || invalid_query("?after=: it is a user's id, `group:NAME` or `everybody`");
        let after = page.after.as_deref().map(|text| Owner::parse(text).ok_or_else(unknown)).transpose()?;
        let limit = page.read_limit().unwrap_or(MAX_OWNERS);
        let mut owners = self.store.credential_owners(after.as_ref(), limit).await.map_err(store_fault)?;
        let link = page.cut(&mut owners).map(|(last, _)| page.link(request, &last.to_string()));
        let mut list = ById(Vec::new());
        for (owner, name) in owners {
            let credentials = self.masked_creds(&owner, request).await?;
            list.0.push((owner.to_string(), OwnerCredentials { name, credentials }));
        }
        Ok(Response { link, ..Response::json(StatusCode::OK, &list) })
    }
}
