//! Lists a provider's meaning as facts that are compared one by one. A fact has a key; a list in a file is one fact per
//! entry. Defaults are no facts.
//!
//! It takes every compiled type apart without `..`: a new field does not compile until it is a fact, or is left out with a
//! reason. Read next: `reached`, the places that values reach; `widens`, which rates the changes of facts.

mod credentials;
mod metering;
mod routes;
mod rules;

pub(super) use credentials::written;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use http::HeaderName;

use super::{
    Subject,
    reached::{REQUESTS, reached},
    values::{Names, Value},
};
use crate::{
    base::{secret_scan, suggest::backticked},
    language::{
        compile::{CaptureRules, Endpoint, Located, Provider, ProviderTemplate, Timeouts, TokenLocations},
        syntax,
    },
    tools::upstream_routes,
};

pub(super) type Key = (Subject, String);
pub(super) type Facts = BTreeMap<Key, Fact>;

/// The limit of bodies of a file that has none.
const DEFAULT_MAX_BODY: u64 = 256 << 20;
/// The default of `limits.signed_body`.
const DEFAULT_SIGNED_BODY: u64 = 16 << 20;

/// One fact about a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fact {
    /// Its text for people.
    pub value: String,
    /// More to compare that is not shown.
    pub detail: String,
    /// The stored values and the values of vars that it sends, or what is stated of it. One more widens exposure.
    pub values: BTreeSet<Value>,
    /// The text that the upstream gets and no client can send. Another one widens exposure.
    pub fixed: Option<String>,
    /// True for a var whose value is never shown.
    pub is_secret: bool,
    /// The sources and the fields without whose values nothing is sent.
    pub requires: BTreeSet<String>,
    /// A time of validity. A longer one widens exposure.
    pub lifetime: Option<Duration>,
    /// The reason why adding it widens exposure.
    pub added: Option<&'static str>,
    /// The reason why removing it widens exposure.
    pub removed: Option<&'static str>,
    /// The reason why any change of it widens exposure.
    pub changed: Option<&'static str>,
    /// The fact that it belongs to. The reasons why adding or removing this one widens exposure do not count where that one is
    /// added or removed, too.
    pub owner: Option<Key>,
    /// Its list of globs and its glob. A change that another glob of the list covers exposes nothing.
    pub glob: Option<(String, String)>,
}

pub(super) fn facts(provider: &Provider) -> Facts {
    let mut listing = Listing { provider, facts: Facts::new() };
    listing.all();
    listing.facts
}

/// The upstream path of an endpoint, below the base URL.
fn upstream(endpoint: &Endpoint) -> String {
    let names = endpoint.paths.first().map(|path| path.pattern.captures()).unwrap_or_default();
    upstream_routes::shown(&endpoint.upstream_path, names)
}

/// The upstream URL of an endpoint, without gateway and egress. Vars stand in it by their sources.
pub(super) fn url(provider: &Provider, endpoint: &Endpoint) -> String {
    let names = Names::of(provider);
    let base = canonical(&names.exact(&provider.base_of(endpoint).value));
    format!("{base}{}", names.exact(&endpoint.upstream_path))
}

/// A base URL in one spelling: no default port, no trailing slash, the host in lower case.
fn canonical(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let port = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(port).unwrap_or(host);
    let mut is_name = false;
    let host = host.chars().map(|c| {
        is_name = c == '{' || is_name && c != '}';
        if is_name { c } else { c.to_ascii_lowercase() }
    });
    format!("{scheme}://{}{path}", host.collect::<String>())
}

/// Replaces a provider's name by `{provider}` where it is a whole word.
pub(super) fn without(text: &str, name: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(name) {
        let (front, tail) = (&rest[..at], &rest[at + name.len()..]);
        let before = front.chars().next_back().or_else(|| out.chars().next_back());
        let whole = !before.is_some_and(word) && !tail.starts_with(word);
        out.push_str(front);
        out.push_str(if whole { "{provider}" } else { name });
        rest = tail;
    }
    out + rest
}

/// The names of the facts about token locations.
pub(super) fn locations(caller: &TokenLocations) -> impl Iterator<Item = String> {
    // Schemes are no places: `authorization` is one anyway.
    let TokenLocations { headers, query, subprotocol, schemes: _ } = caller;
    let headers = headers.iter().map(header_location);
    headers.chain(subprotocol.iter().map(subprotocol_location)).chain(query.iter().map(query_location))
}

fn header_location(name: &HeaderName) -> String {
    format!("header `{name}`")
}

fn query_location(name: impl std::fmt::Display) -> String {
    format!("query parameter `{name}`")
}

fn subprotocol_location(prefix: impl std::fmt::Display) -> String {
    format!("subprotocols that start with `{prefix}`")
}

/// The rules for the captures of a path, as a part of a sentence; empty for none.
fn captures(rules: &CaptureRules) -> String {
    let CaptureRules { sets, slashes } = rules;
    let sets = sets.iter().map(|(name, members)| format!("`{name}` is one of {}", backticked(members)));
    let slashes = slashes.iter().map(|name| format!("`{name}` takes encoded slashes"));
    let all: Vec<String> = sets.chain(slashes).collect();
    if all.is_empty() { String::new() } else { format!(", where {}", all.join(", ")) }
}

struct Listing<'p> {
    provider: &'p Provider,
    facts: Facts,
}

impl Listing<'_> {
    fn add(&mut self, subject: Subject, name: impl Into<String>, fact: Fact) {
        self.facts.entry((subject, name.into())).or_insert(fact);
    }

    fn all(&mut self) {
        let Provider {
            name: _,
            at: _,
            inputs: _,
            // They change nothing that is sent.
            shown: _,
            prefix,
            prefixes,
            base_url: Located { value: base_url, at: _ },
            origins,
            vars,
            tls,
            caller,
            section,
            tokens,
            auth,
            headers,
            endpoints,
            gateways,
            egress,
            rewrite_urls,
            cors_headers,
            telemetry_name,
            max_body,
            signed_body,
            paste_token,
            probe,
            // They change nothing that is sent.
            tests: _,
            size: _,
        } = self.provider;
        self.add(Subject::Paths, "path_prefix", Fact::of(prefix.clone()));
        if !prefixes.is_empty() {
            self.add(Subject::Paths, "path_prefixes", Fact::of(prefixes.join(", ")));
        }
        self.base_url("base_url", base_url);
        for (name, Located { value: url, at: _ }) in origins {
            self.base_url(&format!("origins.{name}"), url);
        }
        if let Some(tls) = tls {
            self.tls(tls);
        }
        for endpoint in endpoints {
            self.endpoint(endpoint);
        }
        self.origins();
        if let Some(section) = section {
            self.section(section);
        }
        for token in tokens {
            self.token(token);
        }
        self.auth(auth);
        self.headers("", None, headers, &[]);
        for used in gateways {
            self.gateway(used);
        }
        self.egresses(egress);
        for name in rewrite_urls {
            let removed = Some("clients follow a URL there to the upstream, past tollgate");
            let name = format!("URLs in `{name}` come back");
            self.add(Subject::Response, name, Fact { removed, ..Fact::default() });
        }
        self.vars("", vars);
        self.token_locations(caller);
        for name in cors_headers {
            self.add(Subject::CorsHeaders, name.as_str(), Fact::default());
        }
        if let Some(name) = telemetry_name {
            self.add(Subject::Telemetry, "telemetry_name", Fact::of(format!("`{name}`")));
        }
        if *max_body != DEFAULT_MAX_BODY {
            self.add(Subject::Limits, "max_body", Fact::of(format!("{max_body} bytes")));
        }
        if *signed_body != DEFAULT_SIGNED_BODY {
            self.add(Subject::Limits, "signed_body", Fact::of(format!("{signed_body} bytes")));
        }
        if let Some(Located { value: paste, at: _ }) = paste_token {
            self.paste_token(paste);
        }
        if let Some(probe) = probe {
            self.probe(probe);
        }
    }

    fn base_url(&mut self, name: &str, url: &ProviderTemplate) {
        let fact = Fact {
            value: masked(&canonical(&upstream_routes::shown(url, &[]))),
            detail: canonical(&Names::of(self.provider).exact(url)),
            values: Names::of(self.provider).values(url),
            requires: Names::of(self.provider).required(url),
            ..Fact::default()
        };
        self.add(Subject::Upstream, name, fact);
    }

    fn origins(&mut self) {
        for (origin, values) in reached(self.provider) {
            let list = values.iter().filter(|value| value.name != REQUESTS).map(Value::to_string);
            let list: Vec<String> = list.collect();
            let value = if list.is_empty() { String::new() } else { format!("with {}", list.join(", ")) };
            self.add(Subject::Origin, origin, Fact { value, values, ..Fact::default() });
        }
    }

    fn token_locations(&mut self, caller: &TokenLocations) {
        let TokenLocations { headers, query, subprotocol, schemes } = caller;
        let removed = Some("a gateway token there reaches the upstream");
        let added = Some("a gateway token is accepted there");
        let subprotocols = subprotocol.iter().map(subprotocol_location);
        for name in headers.iter().map(header_location).chain(subprotocols) {
            self.add(Subject::Caller, name, Fact { added, removed, ..Fact::default() });
        }
        let added = Some("a gateway token is accepted in URLs, which logs keep");
        for name in query.iter().map(query_location) {
            self.add(Subject::Caller, name, Fact { added, removed, ..Fact::default() });
        }
        let added = Some("a gateway token with it is accepted");
        for scheme in schemes {
            let name = if scheme.is_empty() { "no scheme".to_owned() } else { format!("scheme `{scheme}`") };
            // Without it, the header is removed all the same.
            self.add(Subject::Caller, name, Fact { added, ..Fact::default() });
        }
        // The first location with a token counts.
        if headers.len() + query.len() + subprotocol.len() > 1 {
            let names = headers.iter().map(HeaderName::as_str);
            let others = subprotocol.iter().chain(query).map(String::as_str);
            let order: Vec<&str> = names.chain(others).collect();
            self.add(Subject::Caller, "order", Fact::of(order.join(", ")));
        }
    }

    fn paste_token(&mut self, paste: &syntax::PasteToken) {
        let syntax::PasteToken { path, reply, missing, claims } = paste;
        let claims: Vec<String> = claims.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let detail = format!("reply {reply:?}, missing {missing:?}, claims {}", claims.join(", "));
        self.add(Subject::PasteToken, path.clone(), Fact { detail, ..Fact::default() });
    }

    fn probe(&mut self, probe: &syntax::Probe) {
        let syntax::Probe { endpoint, body } = probe;
        let body: Vec<String> =
            body.iter().flatten().map(|(name, value)| format!("{name} = {value}")).collect();
        let detail = format!("body {}", body.join(", "));
        let fact = Fact { detail, ..Fact::of(format!("endpoint `{endpoint}`")) };
        self.add(Subject::Probe, "probe", fact);
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        let Endpoint {
            name,
            at: _,
            is_of_set: _,
            method,
            paths,
            rules,
            // Part of `upstream` and `exact`.
            upstream_path,
            origin,
            upgrade,
            api,
            query,
            headers,
            timeouts,
            responses,
            operation,
            metering,
        } = endpoint;
        let texts: Vec<&str> = paths.iter().map(|path| path.text.as_str()).collect();
        let slots: Vec<&[u8]> = paths.iter().map(|path| path.slots.as_slice()).collect();
        let upgrade = upgrade.map(|upgrade| format!(", a {}", upgrade.as_str())).unwrap_or_default();
        let (texts, upstream, rules) = (texts.join(", "), upstream(endpoint), captures(rules));
        let origin = origin.as_ref().map(|name| format!(" at `{name}`")).unwrap_or_default();
        let value = format!("{method} {texts}{rules} (upstream {upstream}{origin}){upgrade}");
        let detail = format!("{} {slots:?}", Names::of(self.provider).exact(upstream_path));
        self.add(Subject::Endpoint, name.as_str(), Fact { detail, ..Fact::of(value) });
        if *timeouts != Timeouts::default() {
            let Timeouts { connect, first_byte, idle } = timeouts;
            let value = format!("connect {connect:?}, first_byte {first_byte:?}, idle {idle:?}");
            self.add(Subject::Timeouts, name.as_str(), Fact::of(value));
        }
        if let Some(api) = api {
            let fact = Fact { detail: api.shape(), ..Fact::of(format!("`{}`", api.name)) };
            self.add(Subject::Api, name.as_str(), fact);
        }
        let front = format!("{name}: ");
        let owner = (Subject::Endpoint, name.to_owned());
        if let Some(operation) = operation {
            let fact = Fact { owner: Some(owner.clone()), ..Fact::of(format!("`{operation}`")) };
            self.add(Subject::Telemetry, format!("{name}: operation"), fact);
        }
        if let Some(metering) = metering {
            self.metering(name, &owner, metering);
        }
        let captures = paths.first().map(|path| path.pattern.captures()).unwrap_or_default();
        self.headers(&front, Some(&owner), headers, captures);
        self.query(&front, &owner, query, captures);
        self.responses(&front, responses);
    }
}

impl Fact {
    /// True if both state the same. The reasons why a change would widen exposure may depend on other facts.
    pub fn states(&self, other: &Self) -> bool {
        let with_reasons_of_other =
            Self { added: other.added, removed: other.removed, changed: other.changed, ..self.clone() };
        with_reasons_of_other == *other
    }

    /// A literal that looks like a key is compared, and masked where it is shown.
    fn text(text: &ProviderTemplate, names: Names<'_>, captures: &[String]) -> Self {
        let value = masked(&upstream_routes::shown(text, captures));
        let (detail, values) = (names.exact(text), names.values(text));
        Self { value, detail, values, requires: names.required(text), ..Self::default() }
    }

    fn of(value: String) -> Self {
        Self { value, ..Self::default() }
    }
}

/// The text with everything masked that looks like a key.
pub(super) fn masked(text: &str) -> String {
    secret_scan::mask(text).into_owned()
}
