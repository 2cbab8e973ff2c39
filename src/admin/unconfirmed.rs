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
    accounts::{NewOrigins, WaitingOwner, WaitingOwners, waiting},
    fault::Fault,
    name::Owner,
};

/// The owners of a page at most, and without `?limit=`.
const MAX_OWNERS: u64 = 100;
/// The owners that one call looks at. Of those whose values make an origin, few may wait: the page is then shorter, and has a
/// link to the next one.
const MAX_LOOKED_AT: u64 = 2000;

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
        let mut after = after.transpose()?;
        let limit = page.read_limit().unwrap_or(MAX_OWNERS);
        let (known, fields) = (&request.table.fields, self.store.stored_fields().await.map_err(store_fault)?);
        let (mut list, mut looked_at) = (ById(Vec::new()), 0);
        loop {
            let found = waiting(&self.store, &self.key, known, &fields, after.as_ref(), limit).await;
            let WaitingOwners { owners, rest } = found.map_err(store_fault)?;
            list.0.extend(owners.into_iter().map(|WaitingOwner { owner, name, unconfirmed }| {
                (owner.to_string(), UnconfirmedOwner { name, unconfirmed })
            }));
            (after, looked_at) = (rest, looked_at + limit);
            if after.is_none() || looked_at >= MAX_LOOKED_AT || list.0.len() as u64 >= limit {
                break;
            }
        }
        let rest = || after.map(|owner| page.link(request, &owner.to_string()));
        let link = page.truncate(&request.path, &mut list).or_else(rest);
        Ok(Response { link, ..Response::json(StatusCode::OK, &list) })
    }
}

fn unknown_owner() -> Fault {
    invalid_query("?after=: no such owner exists: start again without it")
}
