//! Routes through gateway and egress that a provider's requests can take, over all settings of its vars.
//!
//! It tries out no settings. A gateway or an egress is active if a list of vars is set and no conflicting one is active.
//! Setting more vars only activates more. So each route that is possible at all is possible in the *minimal* setting of
//! the vars that it needs: one setting per route, however many vars there are. Vars with the same source are one var.
//!
//! It never looks at the value of a var. Read next: `prove` and `diff`, which use it.

mod revealed;

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;

use crate::{
    base::{diag::Location, header_name::FoldedName, origin::Origin},
    language::{
        auth::Place,
        compile::{
            Egress, Endpoint, GatewayUse, HeaderGlob, Located, Part, Placeholder, Provider, ProviderTemplate,
            ValueRule, Var, VarSource, Vars,
        },
    },
};

pub use revealed::Revealed;

/// A route to the upstream, with the minimal setting that leads to it.
#[derive(Debug, Clone)]
pub struct UpstreamRoute<'p> {
    /// The provider.
    pub provider: &'p Provider,
    /// The vars that are set, beside those that the provider requires.
    pub set: BTreeSet<&'p VarSource>,
    /// The name of the endpoints' base URL among `origins`, and that; none for `base_url`.
    pub origin: Option<(&'p str, &'p Located<ProviderTemplate>)>,
    /// The active gateway.
    pub gateway: Option<&'p GatewayUse>,
    /// The active egresses, in order.
    pub egresses: Vec<&'p Egress>,
}

/// An origin that a request is sent to, or that the URL of a wrapping egress names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalledOrigin<'p> {
    /// As `https://host`, with vars and fields in braces. `{name}` alone or at the end stands for an unknown rest.
    pub origin: String,
    /// The fields in it whose values are known, with these values.
    pub sets: BTreeMap<String, Vec<String>>,
    /// Its position in a file.
    pub at: &'p Location,
}

/// All routes: each gateway or none, combined with each wrapping egress or none. Without a gateway, each base URL has its own.
pub fn all(provider: &Provider) -> Vec<UpstreamRoute<'_>> {
    let mut routes = Vec::new();
    for egress in options(provider.egress.iter().filter(|egress| egress.url.is_some())) {
        let wanted = egress.map(|egress| sources(provider, &egress.when)).unwrap_or_default();
        let by = by_gateways(provider, &wanted).into_iter();
        for route in by.filter(|route| same(route.wrap(), egress)) {
            let others = provider.origins.iter().filter(|_| route.gateway.is_none());
            let others = others.map(|(name, url)| Some((name.as_str(), url)));
            routes.extend(others.map(|origin| UpstreamRoute { origin, ..route.clone() }));
            routes.push(route);
        }
    }
    routes
}

/// Routes through each gateway or none, with these vars set.
pub fn by_gateways<'p>(provider: &'p Provider, wanted: &BTreeSet<&'p VarSource>) -> Vec<UpstreamRoute<'p>> {
    let one = |gateway: Option<&'p GatewayUse>| {
        let mut set = wanted.clone();
        set.extend(gateway.iter().flat_map(|used| needs(provider, used)));
        minimal(provider, set).filter(|route| same(route.gateway, gateway))
    };
    options(provider.gateways.iter()).filter_map(one).collect()
}

/// The work of [`by_gateways`], in steps.
pub fn steps(provider: &Provider) -> usize {
    let gateways = provider.gateways.iter().map(|used| 1 + used.gateway.vars.len() + used.when.len());
    let egresses = provider.egress.iter().map(|egress| 1 + egress.when.len());
    let sources = provider.vars.len() + gateways.chain(egresses).sum::<usize>();
    SOURCE_STEPS * (1 + provider.gateways.len()) * sources
}

/// The work of [`all`], in steps.
pub fn steps_of_all(provider: &Provider) -> usize {
    let egresses = 1 + provider.egress.iter().filter(|egress| egress.url.is_some()).count();
    egresses * (1 + provider.origins.len()) * steps(provider)
}

/// The work of a source in a setting, in steps.
const SOURCE_STEPS: usize = 8;

/// The route under the minimal setting that contains `wanted`; none if the provider cannot serve under it.
pub fn minimal<'p>(provider: &'p Provider, wanted: BTreeSet<&'p VarSource>) -> Option<UpstreamRoute<'p>> {
    // A var with a default serves without a value of its source.
    let is_required = |var: &&Located<Var>| !var.value.optional && var.value.default.is_none();
    let required = provider.vars.values().filter(is_required).map(|var| &var.value.source);
    let mut set: BTreeSet<&VarSource> = required.collect();
    let given = wanted.difference(&set).copied().collect();
    set.extend(wanted);
    let is_set = |needed: BTreeSet<&VarSource>| needed.is_subset(&set);
    let active: Vec<_> = provider.gateways.iter().filter(|used| is_set(needs(provider, used))).collect();
    let orders: BTreeSet<_> = active.iter().filter_map(|used| used.order).collect();
    if active.len() > 1 && orders.len() < active.len() {
        return None;
    }
    let gateway = active.into_iter().min_by_key(|used| used.order);
    let egresses = provider.egress.iter().filter(|egress| is_set(sources(provider, &egress.when)));
    let route = UpstreamRoute { provider, set: given, origin: None, gateway, egresses: egresses.collect() };
    (route.egresses.iter().filter(|egress| egress.url.is_some()).count() <= 1).then_some(route)
}

/// The sources of some of a provider's vars.
pub fn sources<'p>(provider: &'p Provider, names: &[String]) -> BTreeSet<&'p VarSource> {
    names.iter().filter_map(|name| Some(&provider.vars.get(name)?.value.source)).collect()
}

fn needs<'p>(provider: &'p Provider, used: &'p GatewayUse) -> BTreeSet<&'p VarSource> {
    let own = used.gateway.vars.values().filter(|var| var.value.default.is_none());
    let own = own.map(|var| &var.value.source);
    own.chain(sources(provider, &used.when)).collect()
}

fn options<T>(all: impl Iterator<Item = T>) -> impl Iterator<Item = Option<T>> {
    std::iter::once(None).chain(all.map(Some))
}

fn same<T>(one: Option<&T>, other: Option<&T>) -> bool {
    one.map(std::ptr::from_ref) == other.map(std::ptr::from_ref)
}

impl<'p> UpstreamRoute<'p> {
    /// The active egress that wraps the URL.
    pub fn wrap(&self) -> Option<&'p Egress> {
        self.egresses.iter().copied().find(|egress| egress.url.is_some())
    }

    /// The origins of a request: first the one that is called, then the one that a wrapping URL names.
    pub fn called(&self) -> Vec<CalledOrigin<'p>> {
        let last = match self.gateway {
            None => CalledOrigin::of(self.provider, self.base_url()),
            Some(used) => {
                let base = &used.gateway.base_url;
                // A gateway's vars may have the names of fields.
                CalledOrigin { origin: origin(&base.value, true), sets: BTreeMap::new(), at: &base.at }
            }
        };
        let wrap = self.wrap().and_then(|egress| Some((egress.url.as_ref()?, &egress.at)));
        let first =
            wrap.map(|(url, at)| CalledOrigin { origin: origin(url, false), sets: BTreeMap::new(), at });
        first.into_iter().chain([last]).collect()
    }

    /// The provider's base URL of this route.
    pub fn base_url(&self) -> &'p Located<ProviderTemplate> {
        self.origin.map_or(&self.provider.base_url, |(_, url)| url)
    }

    /// The endpoints whose requests go there.
    pub fn endpoints(&self) -> impl Iterator<Item = &'p Endpoint> {
        let name = self.origin.map(|(name, _)| name);
        self.provider.endpoints.iter().filter(move |endpoint| endpoint.origin.as_deref() == name)
    }

    /// True if gateway and egresses do not remove the header.
    pub fn passes_header(&self, name: &HeaderName) -> bool {
        !self.gateway.is_some_and(|used| any(&used.gateway.overlay.remove, name))
            && self.passes_header_after(name, 0)
    }

    /// True if the egresses from `index` on do not remove the header.
    pub fn passes_header_after(&self, name: &HeaderName, index: usize) -> bool {
        !self.egresses.iter().skip(index).any(|egress| any(&egress.overlay.remove, name))
    }

    /// True if gateway and egresses neither remove nor replace the header's value.
    pub fn passes_value(&self, name: &HeaderName) -> bool {
        let gateway = self.gateway.iter().flat_map(|used| &used.gateway.overlay.set);
        let mut set = gateway.chain(self.egresses.iter().flat_map(|egress| &egress.overlay.set));
        self.passes_header(name) && !set.any(|(known, _)| known == name)
    }

    /// True if gateway and egresses neither remove nor replace what is written there.
    pub fn passes_output(&self, place: Place<'_>) -> bool {
        place.header().is_none_or(|name| self.passes_value(name))
    }

    /// The URL of an endpoint before a wrapping egress, with vars and captures in braces.
    pub fn url(&self, endpoint: &Endpoint) -> String {
        let captures = endpoint.paths.first().map(|path| path.pattern.captures()).unwrap_or_default();
        let base = shown(&self.provider.base_of(endpoint).value, &[]);
        let base = base.trim_end_matches('/');
        let path = shown(&endpoint.upstream_path, captures);
        let Some(used) = self.gateway else { return format!("{base}{path}") };
        let base_path = base.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let path = format!("{}{path}", base_path.map(|(_, path)| format!("/{path}")).unwrap_or_default());
        let path = path.strip_prefix(used.strip.as_str()).unwrap_or(&path);
        let gateway = shown(&used.gateway.base_url.value, &[]);
        format!("{}{}", gateway.trim_end_matches('/'), shown(&used.path, captures).replace("{path}", path))
    }

    /// Names of the vars to set; a gateway's vars have the gateway's name in front.
    pub fn names(&self) -> Vec<String> {
        let named = |vars: &'p Vars, front: String| {
            let set = vars.iter().filter(|(_, var)| self.set.contains(&var.value.source));
            set.map(|(name, _)| format!("{front}{name}")).collect::<Vec<_>>()
        };
        let gateways = self.provider.gateways.iter();
        let gateways = gateways.flat_map(|used| named(&used.gateway.vars, format!("{}.", used.gateway.name)));
        named(&self.provider.vars, String::new()).into_iter().chain(gateways).collect()
    }
}

impl<'p> CalledOrigin<'p> {
    /// That of a URL of a provider's file.
    pub fn of(provider: &Provider, url: &'p Located<ProviderTemplate>) -> Self {
        let sets = closed_sets(provider, &url.value);
        Self { origin: origin(&url.value, true), sets, at: &url.at }
    }
}

/// The fields in a URL that have one of a few values, with these.
fn closed_sets(provider: &Provider, url: &ProviderTemplate) -> BTreeMap<String, Vec<String>> {
    let set = |name: &Placeholder| {
        let Placeholder::Field(field) = name else { return None };
        let value = &provider.values()[usize::from(field.index)];
        let Some(ValueRule::OneOf(members)) = &value.rule else { return None };
        // Hosts are compared in lower case.
        Some((value.name.clone(), members.iter().map(|member| member.to_ascii_lowercase()).collect()))
    };
    url.placeholders().filter_map(set).collect()
}

fn any(globs: &[HeaderGlob], name: &HeaderName) -> bool {
    let name = FoldedName::from(name);
    globs.iter().any(|glob| glob.matches(&name))
}

/// A template as written in the file.
pub fn shown(text: &ProviderTemplate, captures: &[String]) -> String {
    let mut shown = String::new();
    for part in text.parts() {
        match part {
            Part::Text(text) => shown.push_str(text),
            Part::Placeholder { name, filters } => {
                shown.extend(["{", name.written(captures), &filters.written(), "}"]);
            }
        }
    }
    shown
}

/// The origin of a URL. With `labels`, a var or a field in the host holds labels only, as in base URLs. Otherwise everything
/// after the first one is unknown.
pub fn origin(url: &ProviderTemplate, labels: bool) -> String {
    let mut origin = String::new();
    for part in url.parts() {
        match part {
            Part::Placeholder { name, .. } => {
                let first = origin.is_empty();
                origin.extend(["{", name.written(&[]), "}"]);
                // Its value may be a whole URL.
                if first || !labels {
                    return origin;
                }
            }
            Part::Text(text) => {
                let host = if origin.is_empty() { text.find("://").map_or(0, |at| at + 3) } else { 0 };
                let end = text[host..].find(['/', '?']).map(|end| host + end);
                origin.push_str(&text[..end.unwrap_or(text.len())].to_ascii_lowercase());
                if end.is_some() {
                    break;
                }
            }
        }
    }
    // The scheme's default port is left out.
    match Origin::split(&origin) {
        Ok((plain, _)) => plain.to_string(),
        Err(_) => origin,
    }
}
