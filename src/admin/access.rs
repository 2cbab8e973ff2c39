//! The providers and endpoints that a user may call: with whose key, and below which paths. One page at a time, by name.
//!
//! It reads what is stored, and sends nothing: a key that the upstream refuses is shown like any other. Read next: `fields`,
//! which reads the credentials, and `decide`, which chooses among them for a request.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Admin, ApiResult, Principal, Request, Response,
    fields::{Holder, Stored},
    operations::{Parameter, ParameterKind},
    page::{Page, invalid_query},
    payloads::ById,
    providers::{ReachableProvider, base_paths, provider},
    scope::Reach,
    store_fault,
    usage::Parameters,
};
use crate::{
    bind,
    fault::Fault,
    name::{FileName, Owner, Scope, UserId},
    table::Table,
};

/// The providers of a page at most, and without `?limit=`.
const MAX_PROVIDERS: u64 = 100;

/// The parameters for admins.
pub(super) static PARAMETERS: &[Parameter] = &[Parameter {
    name: "token",
    description: "The id of one of the user's tokens: show only what its scopes reach",
    kind: ParameterKind::Text,
}];

/// A provider that a user may call.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessibleProvider {
    /// The provider, with the endpoints in reach.
    pub provider: ReachableProvider,
    /// The paths that clients have in their base URL, behind this server's address: each the one of some client that the files
    /// of clients know. The prefix of the provider if they know none.
    pub base_paths: Vec<String>,
    /// The key that requests are sent with.
    pub key: UsedKey,
    /// The keys of endpoints for which that is another one, by the endpoint's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other_keys: BTreeMap<String, UsedKey>,
}

/// The key that requests are sent with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsedKey {
    /// Where it comes from.
    pub from: UsedKeyFrom,
    /// Its owner: a user's id, `group:NAME` or `everybody`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its fields in the section of the provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// `incomplete`: the fields that are not stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// True if it waits for a confirmation of new origins: it is not sent to those, and requests to them are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconfirmed: bool,
}

/// The origin of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum UsedKeyFrom {
    /// The user's own.
    Own,
    /// The user's group shares it.
    Group,
    /// It is shared with everybody.
    Everybody,
    /// Requests need none.
    NotNeeded,
    /// Nobody has stored one: requests are refused.
    Missing,
    /// The first owner who has one has not stored all of its fields: requests are refused.
    Incomplete,
}

impl Admin {
    /// The providers that a user may call.
    pub(super) async fn access(&self, user: &UserId, request: &Request) -> ApiResult {
        let page = Page::of(request)?.within(MAX_PROVIDERS);
        let unknown = || invalid_query("?after=: it is the name of a provider");
        let after = page.after.as_deref().map(|name| FileName::new(name).ok_or_else(unknown)).transpose()?;
        let scopes = self.scopes(user, request).await?;
        let reach = Reach(scopes.as_deref());
        let stored = self.stored(&Owner::User(user.clone()), request).await?;
        let group = self.store.user(user).await.map_err(store_fault)?.and_then(|user| user.group);
        let owners = Owners { user, group: group.map(Owner::Group) };
        let table = &request.table;
        let reached = table.providers.iter().map(AsRef::as_ref).filter(|one| reach.provider(&one.name));
        let rest = reached.filter(|one| after.as_ref().is_none_or(|after| one.name > *after));
        let mut found: Vec<&bind::Provider> = rest.collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        let link = page.cut(&mut found).map(|last| page.link(request, last.name.as_str()));
        let shown =
            |one: &&bind::Provider| (one.name.to_string(), accessible(table, one, reach, &stored, &owners));
        let list = ById(found.iter().map(shown).collect());
        Ok(Response { link, ..Response::json(StatusCode::OK, &list) })
    }

    /// The scopes of the calling token, or of the one that an admin names.
    async fn scopes(&self, user: &UserId, request: &Request) -> Result<Option<Vec<Scope>>, Fault> {
        if let Principal::User(caller) = &request.principal {
            return Ok(caller.token.scopes.clone());
        }
        let Some(id) = Parameters::of_list(request, PARAMETERS)?.value("token") else { return Ok(None) };
        let tokens = self.store.tokens_page(user, None, None).await.map_err(store_fault)?;
        let token = tokens.into_iter().find(|one| one.id.as_str() == id);
        Ok(token.ok_or_else(|| invalid_query("?token=: this user has no such token"))?.scopes)
    }
}

/// The owners whose credentials a user may use.
struct Owners<'u> {
    user: &'u UserId,
    group: Option<Owner>,
}

impl Owners<'_> {
    fn text(&self, holder: Holder) -> Option<String> {
        match holder {
            Holder::Own => Some(self.user.to_string()),
            Holder::Group => self.group.as_ref().map(Owner::to_string),
            Holder::Everybody => Some(Owner::Everybody.to_string()),
        }
    }
}

fn accessible(
    table: &Table,
    one: &bind::Provider,
    reach: Reach<'_>,
    stored: &Stored,
    owners: &Owners<'_>,
) -> AccessibleProvider {
    let mut keys = Vec::new();
    for (index, endpoint) in one.endpoints.iter().enumerate() {
        if reach.endpoint(&one.name, &endpoint.name) {
            keys.push((endpoint.name.to_string(), key(table, one, index, stored, owners)));
        }
    }
    let none = || UsedKey::without(UsedKeyFrom::NotNeeded);
    let first = keys.first().map_or_else(none, |(_, key)| key.clone());
    keys.retain(|(_, key)| *key != first);
    let provider = provider(one, reach);
    AccessibleProvider {
        base_paths: base_paths(&table.clients, &provider),
        provider,
        key: first,
        other_keys: keys.into_iter().collect(),
    }
}

/// The key of an endpoint: as a request's, of the first owner who has a secret for it.
fn key(
    table: &Table,
    provider: &bind::Provider,
    endpoint: usize,
    stored: &Stored,
    owners: &Owners<'_>,
) -> UsedKey {
    let entries = || provider.auth.iter().filter(|auth| auth.counts_for(endpoint));
    let is_optional = provider.auth.is_empty() || entries().any(|auth| !auth.names_secret);
    let Some(section) = &provider.section else { return UsedKey::without(UsedKeyFrom::NotNeeded) };
    for holder in [Holder::Own, Holder::Group, Holder::Everybody] {
        let mut incomplete = None;
        for auth in entries().filter(|auth| auth.names_secret) {
            let all = fields(provider, auth, &provider.endpoints[endpoint]);
            let is_secret = |field: &&str| {
                table.fields.find(&section.name, field).is_ok_and(crate::fields::Field::is_secret)
            };
            let has = |field: &&str| stored.has(holder, &section.name, field);
            if !all.iter().copied().filter(|field| is_secret(field)).any(|field| has(&field)) {
                continue;
            }
            let owner = owners.text(holder);
            let (held, absent): (Vec<&str>, Vec<&str>) = all.into_iter().partition(has);
            let missing = absent
                .into_iter()
                .filter(|field| provider.needs_at(auth, &provider.endpoints[endpoint], field));
            let missing: Vec<String> = missing.map(str::to_owned).collect();
            let unconfirmed = held.iter().any(|field| stored.waits(holder, &section.name, field));
            let fields = held.into_iter().map(str::to_owned).collect();
            let is_whole = missing.is_empty();
            let from = if is_whole { holder.into() } else { UsedKeyFrom::Incomplete };
            let found = UsedKey { from, owner, fields, missing, unconfirmed };
            if is_whole {
                return found;
            }
            incomplete.get_or_insert(found);
        }
        if let Some(found) = incomplete {
            return found;
        }
    }
    if !is_optional {
        return UsedKey::without(UsedKeyFrom::Missing);
    }
    let keyless = entries().find(|auth| !auth.names_secret);
    keyless.map_or_else(
        || UsedKey::without(UsedKeyFrom::NotNeeded),
        |auth| values(provider, auth, endpoint, stored, owners),
    )
}

/// The values without which no request to an endpoint is made, with an entry that has no secret: of the first owner who has all.
fn values(
    provider: &bind::Provider,
    auth: &bind::Auth,
    endpoint: usize,
    stored: &Stored,
    owners: &Owners<'_>,
) -> UsedKey {
    let (Some(section), endpoint) = (&provider.section, &provider.endpoints[endpoint]) else {
        return UsedKey::without(UsedKeyFrom::NotNeeded);
    };
    let needed = fields(provider, auth, endpoint).into_iter();
    let needed: Vec<&str> = needed.filter(|field| provider.needs_at(auth, endpoint, field)).collect();
    if needed.is_empty() {
        return UsedKey::without(UsedKeyFrom::NotNeeded);
    }
    let named = || needed.iter().map(|field| (*field).to_owned()).collect();
    for holder in [Holder::Own, Holder::Group, Holder::Everybody] {
        if needed.iter().all(|field| stored.has(holder, &section.name, field)) {
            let unconfirmed = needed.iter().any(|field| stored.waits(holder, &section.name, field));
            let (owner, fields) = (owners.text(holder), named());
            return UsedKey { from: holder.into(), owner, fields, missing: Vec::new(), unconfirmed };
        }
    }
    UsedKey { missing: named(), ..UsedKey::without(UsedKeyFrom::Incomplete) }
}

/// The fields that requests to an endpoint with an entry are made of.
fn fields<'p>(
    provider: &'p bind::Provider,
    auth: &'p bind::Auth,
    endpoint: &'p bind::Endpoint,
) -> Vec<&'p str> {
    let values = provider.section.as_ref().map(|section| &*section.values).unwrap_or_default();
    let read = auth.reads.iter().chain(&provider.reads).chain(&endpoint.reads);
    let read = read.filter_map(|index| Some(values.get(usize::from(*index))?.field.as_str()));
    let mut all: Vec<&str> = auth.field.as_deref().into_iter().chain(read).collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl AccessibleProvider {
    /// True if requests to one of its endpoints are sent: with a whole key that waits for no confirmation, or without one.
    pub fn is_callable(&self) -> bool {
        // The keys of endpoints are those of `other_keys`, or the first.
        let mut keys = self.other_keys.values().chain([&self.key]);
        keys.any(UsedKey::is_sent)
    }
}

impl UsedKey {
    /// True if requests are sent with it, or need none.
    pub fn is_sent(&self) -> bool {
        !self.unconfirmed && !matches!(self.from, UsedKeyFrom::Missing | UsedKeyFrom::Incomplete)
    }

    /// Nobody's.
    fn without(from: UsedKeyFrom) -> Self {
        Self { from, owner: None, fields: Vec::new(), missing: Vec::new(), unconfirmed: false }
    }
}

impl From<Holder> for UsedKeyFrom {
    fn from(holder: Holder) -> Self {
        match holder {
            Holder::Own => Self::Own,
            Holder::Group => Self::Group,
            Holder::Everybody => Self::Everybody,
        }
    }
}
