//! The places that stored values and the values of vars reach: origins, under any setting of the vars.

use std::collections::{BTreeMap, BTreeSet};

use super::values::{Names, Use, Value, source};
use crate::{
    language::compile::{Auth, Endpoint, HeaderRules, Provider, ProviderTemplate},
    tools::upstream_routes::{self, UpstreamRoute},
};

/// Stands for the requests themselves among the values that reach an origin.
pub(super) const REQUESTS: &str = "requests";

/// Origins, each with the values that reach it.
pub(super) type Reached = BTreeMap<String, BTreeSet<Value>>;

/// The values that each origin gets.
pub(super) fn reached(provider: &Provider) -> Reached {
    let names = Names::of(provider).with_section();
    let mut reached = Reached::new();
    let mut add = |origin: String, values: BTreeSet<Value>| {
        let requests = Value::of(REQUESTS, Use::Sent);
        reached.entry(origin).or_default().extend(values.into_iter().chain([requests]));
    };
    for route in upstream_routes::all(provider) {
        for (origin, values) in by_route(names, &route) {
            add(origin, values);
        }
    }
    if let Some(section) = &provider.section {
        for field in section.fields.iter().map(|field| &field.value) {
            let Some(url) = &field.token_url else { continue };
            let secrets = section.client_secrets.iter().filter(|(of, _)| *of == field.name);
            let secrets = secrets.filter_map(|(_, var)| Some(source(&provider.vars.get(var)?.value.source)));
            let values = secrets.chain([names.field(&field.name)]);
            let values = values.map(|name| Value::of(name, Use::Sent)).collect();
            add(upstream_routes::origin(&ProviderTemplate::text(url), true), values);
        }
    }
    for (token, url) in provider.tokens.iter().filter_map(|token| Some((token, token.url()?))) {
        let values = token.keys().iter().flat_map(|key| names.made(key)).collect();
        add(upstream_routes::origin(&url.value, true), values);
    }
    reached
}

/// The values that the requests of a route bring to its origins.
fn by_route<'p>(names: Names<'p>, route: &UpstreamRoute<'p>) -> Vec<(String, BTreeSet<Value>)> {
    let provider = route.provider;
    let endpoints: Vec<&Endpoint> = route.endpoints().collect();
    // Nothing calls a base URL whose endpoints all have another one.
    if endpoints.is_empty() {
        return Vec::new();
    }
    let counts = |auth: &&Auth| endpoints.iter().any(|endpoint| auth.counts_for(&endpoint.name));
    let mut sent = BTreeSet::new();
    for auth in provider.auth.iter().filter(counts) {
        let outputs = auth.kind.outputs().into_iter().filter(|output| route.passes_output(output.place));
        sent.extend(outputs.flat_map(|output| names.entry(auth).written(&output)));
    }
    let rules = endpoints.iter().map(|endpoint| &endpoint.headers).chain([&provider.headers]);
    let headers = rules.flat_map(HeaderRules::written).filter(|(name, _)| route.passes_value(name));
    let query = endpoints.iter().map(|endpoint| &endpoint.query);
    let query = query.flat_map(|rules| rules.default.iter().chain(&rules.set)).map(|(_, text)| text);
    let paths = endpoints.iter().map(|endpoint| &endpoint.upstream_path);
    let texts = headers.map(|(_, text)| text).chain(query).chain(paths);
    sent.extend(texts.flat_map(|text| names.values(text)));
    if let Some(used) = route.gateway {
        let own = used.gateway.overlay.set.iter().map(|(_, text)| text).chain([&used.gateway.base_url.value]);
        sent.extend(own.flat_map(|text| names.vars(&used.gateway.vars).values(text)));
        sent.extend(names.values(&used.path));
    } else {
        sent.extend(names.values(&route.base_url().value));
    }
    let mut reached: Vec<_> =
        route.called().into_iter().map(|called| (called.origin, sent.clone())).collect();
    // What an egress adds is for the origin that is called, not for the one in a wrapping URL.
    let own = route
        .egresses
        .iter()
        .flat_map(|egress| egress.overlay.set.iter().map(|(_, text)| text).chain(egress.url.iter()));
    reached[0].1.extend(own.flat_map(|text| names.values(text)));
    reached
}
