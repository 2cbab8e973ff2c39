//! Connect: the address of each provider that a user reaches, "try it", and the steps to set a client up. Snippets show a
//! stand-in for the token.

use std::collections::BTreeMap;

use askama::Template;
use http::{Method, StatusCode};
use serde_json::json;

use super::super::{
    client::{Api, Client, Listed, with_query},
    clients,
    frame::Frame,
    response::PageResponse,
    shown,
};
use crate::{
    admin::{
        AccessibleProvider, ProbeEnd, ProbeResult, ReachableProvider, ReachableProviders, TOKEN_PLACES,
        UsageReport, UsedKeyFrom, base_paths,
    },
    client_setup::Setup,
    fault::{Fault, FaultKind},
};

/// The time within which a used model is taken for the examples.
const MODEL_SINCE: &str = "30d";

#[derive(Template)]
#[template(path = "config/connect.html")]
struct ListPage<'p> {
    frame: &'p Frame,
    /// The providers that requests are sent to.
    ready: Vec<Connected<'p>>,
    /// Those that lack a key.
    others: Vec<Connected<'p>>,
}

/// A provider with its addresses.
struct Connected<'p> {
    provider: &'p ReachableProvider,
    bases: Vec<String>,
    /// True if its requests go without a key.
    is_keyless: bool,
}

#[derive(Template)]
#[template(path = "config/connect_one.html")]
struct OnePage<'p> {
    frame: &'p Frame,
    provider: &'p ReachableProvider,
    bases: Vec<String>,
    groups: Vec<SetupGroup<'p>>,
    result: Option<Tried>,
}

/// The clients of one kind.
struct SetupGroup<'p> {
    title: &'static str,
    setups: Vec<Setup<'p>>,
}

/// The outcome of "try it".
enum Tried {
    Answered(ProbeResult),
    Refused(String),
}

/// All providers, those with a key first.
pub(in super::super) async fn list(
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    let ReachableProviders { providers } = client.get("/auth/providers").await?;
    let callable = callable(client).await?;
    let is_keyless = |one: &ReachableProvider| callable.get(&one.name).is_some_and(|has_key| !has_key);
    let connected =
        |provider| Connected { provider, bases: bases(frame, provider), is_keyless: is_keyless(provider) };
    let all = providers.iter().map(connected);
    let (mut ready, others): (Vec<_>, _) = all.partition(|one| callable.contains_key(&one.provider.name));
    ready.sort_by_key(|one| one.is_keyless);
    Ok(PageResponse::html(StatusCode::OK, &ListPage { frame, ready, others }))
}

/// The addresses of a provider that clients put their paths after: first that of most clients.
fn bases(frame: &Frame, provider: &ReachableProvider) -> Vec<String> {
    let paths = base_paths(&frame.clients, provider).into_iter();
    paths.map(|path| format!("{}{path}", frame.public_url)).collect()
}

/// The providers that requests of the user are sent to, by name; true if that is with a key.
async fn callable(client: &Client<'_, impl Api>) -> Result<BTreeMap<String, bool>, Fault> {
    let (mut found, mut after) = (BTreeMap::new(), String::new());
    loop {
        let path = with_query("/auth/access", &[("after", &after)]);
        let Listed { items, next } = client.list::<AccessibleProvider>(&path).await?;
        let callable = items.into_iter().filter(|(_, one)| one.is_callable());
        found.extend(callable.map(|(name, one)| (name, one.key.from != UsedKeyFrom::NotNeeded)));
        let Some(next) = next else { return Ok(found) };
        after = next;
    }
}

/// One provider.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    name: &str,
) -> Result<PageResponse, Fault> {
    page(client, frame, (name, None)).await
}

/// Sends the probe of a provider, and shows the answer.
pub(in super::super) async fn probe(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    name: &str,
) -> Result<PageResponse, Fault> {
    let path = format!("/auth/providers/{name}/probe");
    let result = match client.send(Method::POST, &path, &json!(null)).await {
        Ok(result) => Tried::Answered(result),
        Err(fault) => Tried::Refused(fault.message.into_owned()),
    };
    page(client, frame, (name, Some(result))).await
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    (name, result): (&str, Option<Tried>),
) -> Result<PageResponse, Fault> {
    let ReachableProviders { providers } = client.get("/auth/providers").await?;
    let provider = providers.iter().find(|provider| provider.name == name);
    let provider = provider.ok_or_else(|| {
        Fault::new(FaultKind::NotFound, "No provider that you reach has this name: go back to the list")
    })?;
    let model = used_model(client, name).await?;
    let setups = clients::setups(&frame.clients, provider, &frame.public_url, model.as_deref());
    let bases = bases(frame, provider);
    let page = OnePage { frame, provider, bases, groups: grouped(setups), result };
    Ok(PageResponse::html(StatusCode::OK, &page))
}

/// The model of the provider that the user has used most of late.
async fn used_model(client: &Client<'_, impl Api>, provider: &str) -> Result<Option<String>, Fault> {
    let parameters = [("by", "model"), ("provider", provider), ("since", MODEL_SINCE), ("top", "2")];
    let report: UsageReport = client.get(&with_query("/auth/usage", &parameters)).await?;
    Ok(report.rows.into_iter().filter_map(|row| row.model).find(|model| !model.is_empty()))
}

fn grouped(setups: Vec<Setup<'_>>) -> Vec<SetupGroup<'_>> {
    let mut groups: Vec<SetupGroup<'_>> = Vec::new();
    for setup in setups {
        let title = clients::kind_title(setup.kind);
        match groups.last_mut().filter(|group| group.title == title) {
            Some(group) => group.setups.push(setup),
            None => groups.push(SetupGroup { title, setups: vec![setup] }),
        }
    }
    groups
}

/// True if a provider has an endpoint that switches to WebSocket.
fn has_websocket(provider: &ReachableProvider) -> bool {
    provider.endpoints.iter().any(|endpoint| endpoint.upgrade.is_some())
}

impl Tried {
    fn is_good(&self) -> bool {
        matches!(self, Self::Answered(result) if (200..300).contains(&result.status) && result.fault.is_none())
    }
}

/// The reason why an answer is not shown to its end.
fn cut(end: ProbeEnd) -> Option<&'static str> {
    match end {
        ProbeEnd::Complete => None,
        ProbeEnd::Broken => Some("the upstream broke the answer off"),
        ProbeEnd::Deadline => Some("the answer took too long"),
        ProbeEnd::Limit => Some("the answer is longer than 1 MiB"),
    }
}
