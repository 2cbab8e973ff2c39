//! The ways that a provider's requests can take, over all settings of its vars: through which gateway, by which egress,
//! to which origins.
//!
//! No setting is tried out. What makes a gateway or an egress active is a list of vars that have to be set, and all
//! that stands in its way is another one that must not be active too. So whatever can happen at all happens in the
//! *least* setting that has the vars it needs: what is unset there only switches more on. That is one setting a way,
//! however many vars there are. Vars that come from one place are one.
//!
//! Pure; never asks what a var holds.

use std::collections::BTreeSet;

use crate::{
    base::{diag::At, origin::Origin},
    language::compile::{Egress, Endpoint, GatewayUse, Glob, Name, Part, Provider, Text, VarSource, Vars},
};

/// A way, with the least that has to be set for it.
#[derive(Debug, Clone)]
pub struct Way<'p> {
    /// The provider.
    pub provider: &'p Provider,
    /// What is set, beyond what has to be set for the provider to serve.
    pub set: BTreeSet<&'p VarSource>,
    /// The gateway that is used.
    pub gateway: Option<&'p GatewayUse>,
    /// The egresses that apply, in order.
    pub egresses: Vec<&'p Egress>,
}

/// An origin that a request is sent to, or that a wrapping URL has called on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop<'p> {
    /// As `https://host`, with vars in braces. `{name}` alone, or at the end, stands for what nothing is known of.
    pub origin: String,
    /// Where it is written.
    pub at: &'p At,
}

/// All ways: by every gateway or none, and every egress or none that has a URL.
pub fn ways(provider: &Provider) -> Vec<Way<'_>> {
    let mut ways = Vec::new();
    for egress in options(provider.egress.iter().filter(|egress| egress.url.is_some())) {
        let wanted = egress.map(|egress| sources(provider, &egress.when)).unwrap_or_default();
        let by = by_gateways(provider, &wanted).into_iter();
        ways.extend(by.filter(|way| same(way.wrap(), egress)));
    }
    ways
}

/// By every gateway or none, with these set.
pub fn by_gateways<'p>(provider: &'p Provider, wanted: &BTreeSet<&'p VarSource>) -> Vec<Way<'p>> {
    let one = |gateway: Option<&'p GatewayUse>| {
        let mut set = wanted.clone();
        set.extend(gateway.iter().flat_map(|used| needs(provider, used)));
        least(provider, set).filter(|way| same(way.gateway, gateway))
    };
    options(provider.gateways.iter()).filter_map(one).collect()
}

/// The way under the least setting that has these; none where the provider does not serve then.
pub fn least<'p>(provider: &'p Provider, wanted: BTreeSet<&'p VarSource>) -> Option<Way<'p>> {
    let required = provider.vars.values().filter(|var| !var.value.optional).map(|var| &var.value.source);
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
    let way = Way { provider, set: given, gateway, egresses: egresses.collect() };
    (way.egresses.iter().filter(|egress| egress.url.is_some()).count() <= 1).then_some(way)
}

/// Where the values of some of a provider's vars come from.
pub fn sources<'p>(provider: &'p Provider, names: &[String]) -> BTreeSet<&'p VarSource> {
    names.iter().filter_map(|name| Some(&provider.vars.get(name)?.value.source)).collect()
}

fn needs<'p>(provider: &'p Provider, used: &'p GatewayUse) -> BTreeSet<&'p VarSource> {
    let own = used.gateway.vars.values().map(|var| &var.value.source);
    own.chain(sources(provider, &used.when)).collect()
}

fn options<T>(all: impl Iterator<Item = T>) -> impl Iterator<Item = Option<T>> {
    std::iter::once(None).chain(all.map(Some))
}

fn same<T>(one: Option<&T>, other: Option<&T>) -> bool {
    one.map(std::ptr::from_ref) == other.map(std::ptr::from_ref)
}

impl<'p> Way<'p> {
    /// The egress that wraps the URL.
    pub fn wrap(&self) -> Option<&'p Egress> {
        self.egresses.iter().copied().find(|egress| egress.url.is_some())
    }

    /// Where a request goes: the origin that is called, and the one that a wrapping URL names.
    pub fn stops(&self) -> Vec<Stop<'p>> {
        let base = self.gateway.map_or(&self.provider.base_url, |used| &used.gateway.base_url);
        let last = Stop { origin: origin(&base.value, true), at: &base.at };
        let wrap = self.wrap().and_then(|egress| Some((egress.url.as_ref()?, &egress.at)));
        let first = wrap.map(|(url, at)| Stop { origin: origin(url, false), at });
        first.into_iter().chain([last]).collect()
    }

    /// Whether a header is still there when gateway and egresses have had their say.
    pub fn leaves(&self, name: &str) -> bool {
        !self.gateway.is_some_and(|used| any(&used.gateway.overlay.remove, name))
            && self.leaves_after(name, 0)
    }

    /// The same, of one that is set before the egress at an index.
    pub fn leaves_after(&self, name: &str, index: usize) -> bool {
        !self.egresses.iter().skip(index).any(|egress| any(&egress.overlay.remove, name))
    }

    /// Whether a header goes out with the value that it had before gateway and egresses.
    pub fn keeps(&self, name: &str) -> bool {
        let gateway = self.gateway.iter().flat_map(|used| &used.gateway.overlay.set);
        let mut set = gateway.chain(self.egresses.iter().flat_map(|egress| &egress.overlay.set));
        self.leaves(name) && !set.any(|(known, _)| known == name)
    }

    /// The URL that is called at an endpoint, with vars and captures in braces; that of a wrapping egress has `{url}`.
    pub fn url(&self, endpoint: &Endpoint) -> String {
        let captures = endpoint.paths.first().map(|path| path.pattern.captures()).unwrap_or_default();
        let base = shown(&self.provider.base_url.value, &[]);
        let base = base.trim_end_matches('/');
        let path = shown(&endpoint.upstream_path, captures);
        let Some(used) = self.gateway else { return format!("{base}{path}") };
        let base_path = base.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let path = format!("{}{path}", base_path.map(|(_, path)| format!("/{path}")).unwrap_or_default());
        let path = path.strip_prefix(used.strip.as_str()).unwrap_or(&path);
        let gateway = shown(&used.gateway.base_url.value, &[]);
        format!("{}{}", gateway.trim_end_matches('/'), shown(&used.path, captures).replace("{path}", path))
    }

    /// The vars that have to be set, by name, those of gateways with theirs.
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

fn any(globs: &[Glob], name: &str) -> bool {
    globs.iter().any(|glob| glob.matches(name))
}

/// A template as it was written.
pub fn shown(text: &Text, captures: &[String]) -> String {
    let mut shown = String::new();
    for part in text.parts() {
        match part {
            Part::Text(text) => shown.push_str(text),
            Part::Name { name, urlencode } => {
                let filter = if *urlencode { "|urlencode" } else { "" };
                shown.extend(["{", name_of(name, captures), filter, "}"]);
            }
        }
    }
    shown
}

fn name_of<'n>(name: &'n Name, captures: &'n [String]) -> &'n str {
    match name {
        Name::Var(var) => var,
        Name::Capture(index) => captures.get(usize::from(*index)).map_or("", String::as_str),
        Name::Host => "host",
        Name::Secret => "secret",
        Name::Path => "path",
        Name::Url => "url",
    }
}

/// The origin of a URL. `labels` says that a var in its host can only hold a part of a host, as in base URLs; else
/// nothing is known from the first one on.
pub fn origin(url: &Text, labels: bool) -> String {
    let mut origin = String::new();
    for part in url.parts() {
        match part {
            Part::Name { name, .. } => {
                let first = origin.is_empty();
                origin.extend(["{", name_of(name, &[]), "}"]);
                // It may hold a whole URL.
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
    // Without a port that goes without saying.
    match Origin::split(&origin) {
        Ok((plain, _)) => plain.to_string(),
        Err(_) => origin,
    }
}
