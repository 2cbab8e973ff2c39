//! Lists a provider's meaning as facts that are compared one by one. A fact has a key; a list in a file is one fact per
//! entry. Defaults are no facts.
//!
//! It takes every compiled type apart without `..`: a new field does not compile until it is a fact, or is left out with a
//! reason. Read next: `reached`, the places that values reach; `widens`, which rates the changes of facts.

mod metering;
mod routes;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;

use super::{
    Subject,
    reached::{exact, reached, values},
};
use crate::{
    base::{name::FileName, secret_scan, suggest::backticked},
    language::{
        auth::Output,
        compile::{
            Auth, Endpoint, Located, Provider, ProviderTemplate, Section, Timeouts, TokenLocations, Vars,
        },
        syntax,
    },
    tools::upstream_routes,
};

pub(super) type Key = (Subject, String);
pub(super) type Facts = BTreeMap<Key, Fact>;

/// Stands for every credential of a field, of any shape.
pub(super) const ANY: &str = "any credential";
/// Stands, with a glob and a backtick after it, for the credentials that a `match` holds for.
pub(super) const LIKE: &str = "a credential like `";
/// The limit of bodies of a file that has none.
const DEFAULT_MAX_BODY: u64 = 256 << 20;

/// One fact about a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fact {
    /// Its text for people.
    pub value: String,
    /// More to compare that is not shown.
    pub detail: String,
    /// The credentials and the values of vars that it sends. One more widens exposure.
    pub values: BTreeSet<String>,
    /// The text that the upstream gets and no client can send. Another one widens exposure.
    pub fixed: Option<String>,
    /// True for a var whose value is never shown.
    pub is_secret: bool,
    /// The reason why adding it widens exposure.
    pub added: Option<&'static str>,
    /// The reason why removing it widens exposure.
    pub removed: Option<&'static str>,
    /// The reason why any change of it widens exposure.
    pub changed: Option<&'static str>,
    /// The fact that it belongs to. If that is removed, this one is not reported.
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
    let base = canonical(&exact(&provider.base_url.value, &provider.vars));
    format!("{base}{}", exact(&endpoint.upstream_path, &provider.vars))
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
    caller.headers.iter().map(header_location).chain(caller.query.iter().map(query_location))
}

fn header_location(name: &HeaderName) -> String {
    format!("header `{name}`")
}

fn query_location(name: impl std::fmt::Display) -> String {
    format!("query parameter `{name}`")
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
            base_url: Located { value: base_url, at: _ },
            vars,
            caller,
            section,
            auth,
            headers,
            endpoints,
            gateways,
            egress,
            cors_headers,
            telemetry_name,
            max_body,
            paste_token,
            probe,
            // They change nothing that is sent.
            tests: _,
            size: _,
        } = self.provider;
        self.add(Subject::Paths, "path_prefix", Fact::of(prefix.clone()));
        self.base_url(base_url);
        for endpoint in endpoints {
            self.endpoint(endpoint);
        }
        self.origins();
        if let Some(section) = section {
            self.section(section);
        }
        self.auth(auth);
        self.headers("", None, headers, &[]);
        for used in gateways {
            self.gateway(used);
        }
        self.egresses(egress);
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
        if let Some(Located { value: paste, at: _ }) = paste_token {
            self.paste_token(paste);
        }
        if let Some(probe) = probe {
            self.probe(probe);
        }
    }

    fn base_url(&mut self, url: &ProviderTemplate) {
        let fact = Fact {
            value: masked(&canonical(&upstream_routes::shown(url, &[]))),
            detail: canonical(&exact(url, &self.provider.vars)),
            values: values(url, &self.provider.vars),
            ..Fact::default()
        };
        self.add(Subject::Upstream, "base_url", fact);
    }

    fn origins(&mut self) {
        for (origin, values) in reached(self.provider) {
            let list: Vec<&str> = values.iter().map(String::as_str).collect();
            let value = if list.is_empty() { String::new() } else { format!("with {}", list.join(", ")) };
            self.add(Subject::Origin, origin, Fact { value, values, ..Fact::default() });
        }
    }

    fn token_locations(&mut self, caller: &TokenLocations) {
        let TokenLocations { headers, query } = caller;
        let removed = Some("a gateway token there reaches the upstream");
        let added = Some("a gateway token is accepted there");
        for name in headers.iter().map(header_location) {
            self.add(Subject::Caller, name, Fact { added, removed, ..Fact::default() });
        }
        let added = Some("a gateway token is accepted in URLs, which logs keep");
        for name in query.iter().map(query_location) {
            self.add(Subject::Caller, name, Fact { added, removed, ..Fact::default() });
        }
        // The first location with a token counts.
        if headers.len() + query.len() > 1 {
            let order: Vec<&str> =
                headers.iter().map(HeaderName::as_str).chain(query.iter().map(String::as_str)).collect();
            self.add(Subject::Caller, "order", Fact::of(order.join(", ")));
        }
    }

    fn paste_token(&mut self, paste: &syntax::PasteToken) {
        let syntax::PasteToken { path, reply, missing, claims } = paste;
        let detail = format!("{reply:?} {missing:?} {claims:?}");
        self.add(Subject::PasteToken, path.clone(), Fact { detail, ..Fact::default() });
    }

    fn probe(&mut self, probe: &syntax::Probe) {
        let syntax::Probe { endpoint, body } = probe;
        let fact = Fact { detail: format!("{body:?}"), ..Fact::of(format!("endpoint `{endpoint}`")) };
        self.add(Subject::Probe, "probe", fact);
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        let Endpoint {
            name,
            at: _,
            method,
            paths,
            // Part of `upstream` and `exact`.
            upstream_path,
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
        let value = format!("{method} {} (upstream {})", texts.join(", "), upstream(endpoint));
        let detail = format!("{} {slots:?}", exact(upstream_path, &self.provider.vars));
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

    fn section(&mut self, section: &Section) {
        let Section { name, at: _, shared_with, fields } = section;
        let shared: Vec<&str> = shared_with.iter().map(FileName::as_str).collect();
        let shared =
            if shared.is_empty() { String::new() } else { format!(", shared with {}", backticked(&shared)) };
        self.add(Subject::Credentials, "section", Fact::of(format!("`{name}`{shared}")));
        for Located { value: field, at: _ } in fields {
            // `Field` is data of the document: all of it is compared.
            let detail = format!("{field:?}");
            let (value, login) = match &field.token_url {
                Some(url) => (format!("a login, refreshed at `{url}`"), Some(format!("a login for `{url}`"))),
                None => ("a key".to_owned(), None),
            };
            let fact = Fact { detail, values: login.into_iter().collect(), ..Fact::of(value) };
            self.add(Subject::Credentials, format!("field `{}`", field.name), fact);
        }
    }

    fn auth(&mut self, entries: &[Auth]) {
        let mut order = Vec::new();
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for Auth { field, matches, kind, at: _ } in entries {
            let like = matches.as_ref().map(|glob| format!("{LIKE}{}`", glob.as_str()));
            let shown = matches.as_ref().map(|glob| format!(" (`{}`)", glob.as_str())).unwrap_or_default();
            order.push(format!("`{field}`{shown}"));
            for Output { header, text, reveals } in kind.outputs() {
                let key = format!("`{field}` into `{header}`");
                let times = times.entry(key.clone()).or_default();
                *times += 1;
                let key = if *times == 1 { key } else { format!("{key} ({times})") };
                let mut fact = self.text(text, &[]);
                fact.fixed = Some(fact.detail.clone()).filter(|_| !reveals);
                fact.detail.push_str(like.as_deref().unwrap_or_default());
                // A credential that is not revealed is used there all the same.
                fact.values.insert(like.clone().unwrap_or_else(|| ANY.to_owned()));
                fact.value.push_str(&like.as_ref().map(|like| format!(", for {like}")).unwrap_or_default());
                self.add(Subject::Auth, key, fact);
            }
        }
        // The first that is stored and matches is used.
        if order.len() > 1 {
            self.add(Subject::Auth, "order", Fact::of(order.join(", ")));
        }
    }
}

impl Fact {
    /// A literal that looks like a key is compared, and masked where it is shown.
    fn text(text: &ProviderTemplate, vars: &Vars, captures: &[String]) -> Self {
        let value = masked(&upstream_routes::shown(text, captures));
        Self { value, detail: exact(text, vars), values: values(text, vars), ..Self::default() }
    }

    fn of(value: String) -> Self {
        Self { value, ..Self::default() }
    }
}

/// The text with everything masked that looks like a key.
fn masked(text: &str) -> String {
    secret_scan::mask(text).into_owned()
}
