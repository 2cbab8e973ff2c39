//! Lints of a compiled provider, with its preset and its gateways. Findings are in the provider's own file.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::document::is_version;
use crate::{
    base::{
        diag::{Code, Diagnostic, Location},
        origin::Origin,
        suggest::backticked,
    },
    language::{
        compile::{
            self, Compiled, GatewayUse, Located, Part, Placeholder, Provider, ProviderTemplate, Test, Tree,
            VarSource,
        },
        syntax::{self, Parsed, pointer_step},
    },
};

/// The endpoints that tests of presets cover, by file and name.
pub(super) struct Tested(BTreeSet<(Arc<str>, String)>);

impl Tested {
    pub(super) fn of(compiled: &Compiled) -> Self {
        let reached = |(provider, test): &(Arc<Provider>, Test)| {
            if !compiled.budgets.of(&provider.at.file).work(provider.size / 8) {
                return None;
            }
            let name = EndpointLookup::of(provider).endpoint(test)?;
            Some((provider.at.file.clone(), name.to_owned()))
        };
        Self(compiled.fixtures.iter().filter_map(reached).collect())
    }
}

/// Finds the endpoint of a request.
struct EndpointLookup<'p>(Tree<(&'p http::Method, &'p str)>);

impl<'p> EndpointLookup<'p> {
    fn of(provider: &'p Provider) -> Self {
        let mut tree = Tree::default();
        for endpoint in &provider.endpoints {
            for path in &*endpoint.paths {
                tree.insert(&path.pattern, (&endpoint.method, endpoint.name.as_str()));
            }
        }
        Self(tree)
    }

    fn endpoint(&self, test: &Test) -> Option<&'p str> {
        let request = &test.spec.request;
        let path = request.path.split('?').next().unwrap_or_default();
        let method = request.method.as_deref().unwrap_or("GET");
        self.0
            .find_with_slashes(path, |(known, name)| (known.as_str() == method).then_some(*name))
            .map(|(name, _)| name)
    }
}

pub(super) fn provider(
    provider: &Provider,
    parsed: &Parsed<syntax::Provider>,
    tested: &Tested,
    found: &mut Vec<Diagnostic>,
) {
    untested(provider, parsed, tested, found);
    doubled(provider, parsed, found);
    outranked(provider, parsed, found);
    offered_to_nobody(provider, parsed, found);
}

/// The location, if it is in the file itself; otherwise the file's `extends`.
fn own(at: &Location, parsed: &Parsed<syntax::Provider>) -> Location {
    if at.file == parsed.file { at.clone() } else { parsed.spans.value(&parsed.file, "/extends") }
}

// === tests ===

fn untested(
    provider: &Provider,
    parsed: &Parsed<syntax::Provider>,
    tested: &Tested,
    found: &mut Vec<Diagnostic>,
) {
    let reach = (!provider.tests.is_empty()).then(|| EndpointLookup::of(provider));
    let covered: BTreeSet<&str> = reach
        .iter()
        .flat_map(|reach| provider.tests.iter().filter_map(|test| reach.endpoint(test)))
        .collect();
    let mut inherited = BTreeMap::<(&Arc<str>, bool), Vec<&str>>::new();
    for endpoint in provider.endpoints.iter().filter(|one| !covered.contains(one.name.as_str())) {
        let pointer = format!("/endpoint/{}", pointer_step(&endpoint.name));
        if parsed.spans.has(&pointer) {
            let message = format!("no test covers endpoint `{}`", endpoint.name);
            let at = parsed.spans.key(&parsed.file, &pointer);
            found
                .push(Diagnostic::new(Code::UntestedEndpoint, at, message).help(test_of(provider, endpoint)));
        } else if !tested.0.contains(&(endpoint.at.file.clone(), endpoint.name.clone())) {
            inherited.entry((&endpoint.at.file, endpoint.is_of_set)).or_default().push(&endpoint.name);
        }
    }
    for ((file, is_set), names) in
        inherited.into_iter().filter(|((file, _), _)| !file.starts_with("built-in/"))
    {
        let message = format!("no test covers what `{file}` supplies: {}", backticked(&names));
        let (key, help) = if is_set {
            (
                "/include",
                "add a test to the endpoint set, which holds for all that include it, or to this file",
            )
        } else {
            ("/extends", "add a test to the preset, which holds for all that extend it, or to this file")
        };
        let at = parsed.spans.value(&parsed.file, key);
        found.push(Diagnostic::new(Code::UntestedEndpoint, at, message).help(help));
    }
}

/// A help with the request of a test.
fn test_of(provider: &Provider, endpoint: &compile::Endpoint) -> String {
    let path = endpoint.paths.first().map_or(provider.prefix.as_str(), |path| path.text.as_str());
    format!(
        "add a `[[test]]` with `request = {{ method = \"{}\", path = \"{path}\" }}`, and `expect` what goes up",
        endpoint.method
    )
}

// === joined paths ===

fn doubled(provider: &Provider, parsed: &Parsed<syntax::Provider>, found: &mut Vec<Diagnostic>) {
    let base = path_of(&provider.base_url);
    let direct = provider.endpoints.iter().find_map(|one| {
        let path = one.upstream_path.leading_text();
        let base = path_of(provider.base_of(one));
        twice(&base, path).map(|version| (one, version.to_owned(), format!("{base}{path}")))
    });
    if let Some((endpoint, version, path)) = &direct {
        let message = format!("the upstream path says `/{version}` twice: `{path}`");
        let diagnostic =
            Diagnostic::new(Code::DoubledPath, own(&provider.base_of(endpoint).at, parsed), message);
        let diagnostic =
            diagnostic.related(endpoint.at.clone(), format!("the path of endpoint `{}`", endpoint.name));
        found.push(diagnostic.help(format!("drop `/{version}` from one of the two")));
    }
    for used in &provider.gateways {
        let joined =
            provider.endpoints.iter().find_map(|one| through(used, &base, one.upstream_path.leading_text()));
        // The same mistake would be reported again for every gateway.
        if let Some((version, path)) = joined.filter(|_| direct.is_none()) {
            let message = format!("the path through this gateway says `/{version}` twice: `{path}`");
            let help = format!("drop `/{version}` from `path`, or strip it from the upstream's");
            found.push(Diagnostic::new(Code::DoubledPath, own(&used.at, parsed), message).help(help));
        }
    }
}

/// The version that a gateway's path repeats where it is joined, and the path.
fn through(used: &GatewayUse, base: &str, path: &str) -> Option<(String, String)> {
    let front = path_of(&used.gateway.base_url);
    let whole = format!("{base}{path}");
    let upstream = whole.strip_prefix(used.strip.as_str())?;
    let before = used.path.leading_text();
    let joins = matches!(
        used.path.parts().get(1),
        Some(Part::Placeholder { name: Placeholder::Path, filters }) if filters.is_empty()
    );
    let version = twice(&front, before).or_else(|| twice(before, upstream).filter(|_| joins));
    version.map(|version| (version.to_owned(), format!("{front}{before}{upstream}")))
}

/// The version at the end of one path and at the start of the next.
fn twice<'p>(front: &str, path: &'p str) -> Option<&'p str> {
    let first = path.strip_prefix('/')?.split('/').next().filter(|one| is_version(one))?;
    (front.trim_end_matches('/').rsplit('/').next() == Some(first)).then_some(first)
}

/// The path of a base URL, with `{x}` for placeholders.
fn path_of(url: &Located<ProviderTemplate>) -> String {
    let text: String = url
        .value
        .parts()
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Placeholder { .. } => "{x}",
        })
        .collect();
    let path = match Origin::split(&text.replace(['{', '}'], "")) {
        Ok((_, path)) => path.to_owned(),
        Err(_) => text.split_once("}/").map_or_else(String::new, |(_, path)| format!("/{path}")),
    };
    path.trim_end_matches('/').to_owned()
}

// === token locations ===

/// Reports prefixes of subprotocols in a file without a WebSocket.
fn offered_to_nobody(provider: &Provider, parsed: &Parsed<syntax::Provider>, found: &mut Vec<Diagnostic>) {
    let pointer = "/caller/subprotocol";
    if parsed.spans.has(pointer) && provider.endpoints.iter().all(|endpoint| endpoint.upgrade.is_none()) {
        let message = "`subprotocol` never applies: no endpoint of this provider is a WebSocket";
        let at = parsed.spans.key(&parsed.file, pointer);
        let help = "write `upgrade = \"websocket\"` in an endpoint, or drop it";
        found.push(Diagnostic::new(Code::DeadRule, at, message).help(help));
    }
}

// === gateways ===

/// Reports gateways that are active only if another one with a lower order is.
fn outranked(provider: &Provider, parsed: &Parsed<syntax::Provider>, found: &mut Vec<Diagnostic>) {
    let needs: Vec<BTreeSet<&VarSource>> = provider.gateways.iter().map(|one| needs(one, provider)).collect();
    for (index, one) in provider.gateways.iter().enumerate() {
        let Some(order) = one.order else { continue };
        let always = |other: usize| {
            provider.gateways[other].order.is_some_and(|before| before < order)
                && needs[other].is_subset(&needs[index])
        };
        let Some(other) = (0..provider.gateways.len()).find(|other| always(*other)) else { continue };
        let other = &provider.gateways[other];
        let message = format!(
            "gateway `{}` is never used: whenever it is active `{}` is too, and goes before it",
            one.gateway.name, other.gateway.name
        );
        let diagnostic = Diagnostic::new(Code::UnreachableGateway, own(&one.at, parsed), message);
        let help = "give it the lower `order`, or drop it";
        found.push(diagnostic.related(other.at.clone(), "this one goes before it").help(help));
    }
}

/// The sources of the vars that make a gateway active.
fn needs<'p>(one: &'p GatewayUse, provider: &'p Provider) -> BTreeSet<&'p VarSource> {
    let when = one.when.iter().filter_map(|name| provider.vars.get(name));
    let when = when.filter(|var| var.value.optional);
    let own = one.gateway.vars.values().filter(|var| var.value.default.is_none());
    own.chain(when).map(|var| &var.value.source).collect()
}
