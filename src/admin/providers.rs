//! Operations on the providers that serve: those that a user's token reaches, and one with all its facts for operators.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiResult, Request, Response, fields::in_order, scope::Reach};
use crate::{
    bind,
    compile::{self, Clients},
    fault::{Fault, FaultKind},
    table::Table,
};

/// The places of the gateway token in requests to every provider.
pub const TOKEN_PLACES: [&str; 2] = ["Authorization: Bearer TOKEN", "x-api-key: TOKEN"];

/// The providers that the calling token reaches.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReachableProviders {
    /// Those of the group `main` first, then by title.
    pub providers: Vec<ReachableProvider>,
}

/// A provider.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReachableProvider {
    /// Its name.
    pub name: String,
    /// The display name.
    pub title: String,
    /// The group on pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The prefix of its paths.
    pub base_path: String,
    /// The documentation of the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
    /// The section of its credentials. Absent if it needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// Where a request may have the gateway token, which is `TOKEN` here, besides `Authorization: Bearer TOKEN` and
    /// `x-api-key: TOKEN`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_in: Vec<String>,
    /// The endpoints that the token reaches.
    pub endpoints: Vec<ReachableEndpoint>,
    /// The name of the endpoint that its probe calls. Absent without a probe, or if the token does not reach that endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
}

/// An endpoint.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReachableEndpoint {
    /// Its name.
    pub name: String,
    /// The method.
    pub method: String,
    /// The path below `basePath`. `{name}` stands for one segment, or a part of it.
    pub path: String,
    /// Further paths, in full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The wire format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// True if its answers can be streams.
    pub streaming: bool,
    /// The protocol that its requests switch to, such as `websocket`. Absent for plain requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<String>,
}

/// A provider that serves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServingProvider {
    /// The provider, with all its endpoints.
    pub provider: ReachableProvider,
    /// The origins that its requests reach.
    pub origins: Vec<String>,
    /// The name of the gateway that it is called through. Absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// A provider that serves, by its name.
pub(super) fn serving(name: &str, request: &Request) -> ApiResult {
    let mut providers = request.table.providers.iter();
    let found = providers.find(|one| one.name.as_str() == name).ok_or_else(|| {
        Fault::new(
            FaultKind::NotFound,
            "No provider of this name serves: `GET /admin/providers` shows the state of each file",
        )
    })?;
    let document = ServingProvider {
        provider: provider(found, Reach(None)),
        origins: found.reached(),
        gateway: found.gateway.as_ref().map(ToString::to_string),
    };
    Ok(Response::json(StatusCode::OK, &document))
}

/// The providers that the calling token reaches.
pub(super) fn reachable(request: &Request) -> Response {
    Response::json(StatusCode::OK, &list(&request.table, Reach::of(request)))
}

fn list(table: &Table, reach: Reach<'_>) -> ReachableProviders {
    ReachableProviders {
        providers: in_order(table, reach).into_iter().map(|one| provider(one, reach)).collect(),
    }
}

/// The paths that clients have in their base URL, behind this server's address: each the one of some client that the files
/// of clients know, those of most clients first. The prefix of the provider if they know none.
pub fn base_paths(clients: &Clients, provider: &ReachableProvider) -> Vec<String> {
    let paths = provider.endpoints.iter().flat_map(|endpoint| {
        let path = format!("{}{}", provider.base_path, endpoint.path);
        let all = [path].into_iter().chain(endpoint.aliases.iter().cloned());
        all.filter_map(|path| Some((endpoint.api.as_deref()?, path)))
    });
    let paths: Vec<(&str, String)> = paths.collect();
    let paths: Vec<(&str, &str)> = paths.iter().map(|(api, path)| (*api, path.as_str())).collect();
    clients.base_paths(&paths, &provider.base_path)
}

pub(super) fn provider(provider: &bind::Provider, reach: Reach<'_>) -> ReachableProvider {
    let reached = |endpoint: &str| reach.endpoint(&provider.name, endpoint);
    let endpoints = provider.endpoints.iter().filter(|one| reached(&one.name));
    let probe = provider.probe.as_ref().filter(|probe| reached(&probe.endpoint));
    ReachableProvider {
        name: provider.name.to_string(),
        title: provider.shown.title.clone(),
        group: provider.shown.group.clone(),
        base_path: provider.prefix.clone(),
        docs: provider.shown.docs.clone(),
        section: provider.section.as_ref().map(|section| section.name.clone()),
        token_in: token_places(&provider.caller),
        endpoints: endpoints.map(|one| endpoint(one, &provider.prefix)).collect(),
        probe: probe.map(|probe| probe.endpoint.clone()),
    }
}

fn endpoint(endpoint: &bind::Endpoint, prefix: &str) -> ReachableEndpoint {
    let mut paths = endpoint.paths.iter().map(|path| path.text.as_str());
    let path = paths.next().unwrap_or_default();
    ReachableEndpoint {
        name: endpoint.name.to_string(),
        method: endpoint.method.to_string(),
        path: path.strip_prefix(prefix).unwrap_or(path).to_owned(),
        aliases: paths.map(str::to_owned).collect(),
        api: endpoint.api.as_ref().map(|api| api.name.to_string()),
        streaming: endpoint.metering.as_ref().is_some_and(|metering| !metering.framings.is_empty()),
        upgrade: endpoint.upgrade.map(|upgrade| upgrade.as_str().to_owned()),
    }
}

/// The places of the gateway token that this provider has besides those of all.
fn token_places(caller: &compile::TokenLocations) -> Vec<String> {
    let compile::TokenLocations { headers, query, subprotocol, schemes } = caller;
    let schemes = schemes.iter().map(|scheme| format!("Authorization: {scheme} TOKEN").replace("  ", " "));
    let headers = headers.iter().map(|name| format!("{name}: TOKEN"));
    let query = query.iter().map(|name| format!("?{name}=TOKEN"));
    let subprotocol = subprotocol.iter().map(|prefix| format!("Sec-WebSocket-Protocol: {prefix}TOKEN"));
    let mut all: Vec<String> = schemes.chain(headers).chain(query).chain(subprotocol).collect();
    all.retain(|place| !TOKEN_PLACES.iter().any(|one| one.eq_ignore_ascii_case(place)));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::fields::tests::{scopes, table},
        *,
    };

    #[test]
    fn a_token_sees_what_it_reaches() {
        let more = r#"
title = "B"
docs = "https://docs.example"
probe = { endpoint = "one" }
credentials = { section = "s", field = [{ name = "key" }] }
caller = { headers = ["X-Key"], query = ["key"], schemes = ["Token", ""], subprotocol = ["b-key."] }
auth = [{ field = "key", set = { x-key = "{secret}" } }]
endpoint.two = { method = "GET", path = "/two/{model}", aliases = ["/v1/two/{model}"], upgrade = "websocket" }
"#;
        let table = table(&[("a", "title = \"Z\"\ngroup = \"main\""), ("b", more)]);
        let one = json!({ "name": "one", "method": "GET", "path": "/one", "streaming": false });
        let two = json!({
            "name": "two", "method": "GET", "path": "/two/{model}", "aliases": ["/v1/two/{model}"], "streaming": false,
            "upgrade": "websocket",
        });
        let places = [
            "Authorization: token TOKEN",
            "Authorization: TOKEN",
            "x-key: TOKEN",
            "?key=TOKEN",
            "Sec-WebSocket-Protocol: b-key.TOKEN",
        ];
        let a = json!({ "name": "a", "title": "Z", "group": "main", "basePath": "/a", "endpoints": [one] });
        let b = json!({
            "name": "b", "title": "B", "basePath": "/b", "docs": "https://docs.example", "section": "s", "probe": "one",
            "tokenIn": places,
        });
        let b = |endpoints, has_probe: bool| {
            let mut b = b.clone();
            b["endpoints"] = endpoints;
            if !has_probe {
                b.as_object_mut().unwrap().remove("probe");
            }
            b
        };
        let check = |reached: Option<&str>, expected| {
            let reached = reached.map(scopes);
            let seen = serde_json::to_value(list(&table, Reach(reached.as_deref()))).unwrap();
            assert_eq!(seen, json!({ "providers": expected }), "{reached:?}");
        };
        check(None, json!([a, b(json!([one, two]), true)]));
        check(Some("a b/one"), json!([a, b(json!([one]), true)]));
        check(Some("b/two"), json!([b(json!([two]), false)]));
        check(Some("c"), json!([]));
    }
}
