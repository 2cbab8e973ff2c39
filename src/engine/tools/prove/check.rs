//! Checks one rule against one provider, and makes counterexamples.

use std::{borrow::Cow, collections::BTreeSet};

use http::{HeaderName, Method};

use super::{Breach, Claim, Example, Step, name_search::shortest_name};
use crate::{
    base::{diag::Location, fault::FaultKind, header_name::dashed},
    language::{
        bind,
        compile::{
            Endpoint, Glob, HeaderRules, Provider, ProviderTemplate, VarSource,
            safety::{self, HeaderClass},
        },
        syntax::{self, Refusal},
    },
    tools::upstream_routes::{self, UpstreamRoute},
};

/// The places where the rule does not hold.
pub(super) fn breaches(rule: &Claim, provider: &Provider) -> Vec<Breach> {
    let checker = Checker { provider };
    match rule {
        Claim::Credentials { origins, .. } => checker.credentials(origins),
        Claim::Endpoints { methods, paths } => checker.endpoints(methods.as_deref(), paths.as_deref()),
        Claim::Tests(refusals) => checker.tests(refusals),
        Claim::Https(allow) => checker.https(allow),
        Claim::Headers(never) => checker.headers(never),
    }
}

struct Checker<'p> {
    provider: &'p Provider,
}

impl<'p> Checker<'p> {
    fn breach(&self, at: &Location, what: String, help: &str, example: Option<Example>) -> Breach {
        let provider = self.provider;
        let endpoint = provider.endpoints.first().and_then(|endpoint| endpoint.paths.first());
        let own = endpoint.map_or(&provider.at, |path| &path.at).clone();
        Breach { provider: provider.name.clone(), own, at: at.clone(), what, help: help.into(), example }
    }

    fn credentials(&self, origins: &[Glob]) -> Vec<Breach> {
        let section = self.provider.section.as_ref().map_or("", |section| section.name.as_str());
        let help = "call another origin, or name this one in the rule's `origins`";
        let mut found = UniqueBreaches::default();
        for (at, origin) in self.token_urls().filter(|(_, origin)| !any(origins, origin)) {
            let what = format!("a login of section `{section}` is refreshed at `{origin}`");
            found.add(self.breach(at, what, help, None));
        }
        for route in upstream_routes::all(self.provider) {
            let Some((header, at)) = self.secret(&route) else { continue };
            for called in route.called().into_iter().filter(|called| !any(origins, &called.origin)) {
                let what = format!("a credential of section `{section}` reaches `{}`", called.origin);
                let step = Step { kind: "auth", what: format!("`{header}`"), at: Some(at.clone()) };
                let example = self.example(&route, None, Some(step));
                found.add(self.breach(called.at, what, help, example));
            }
        }
        found.0
    }

    /// The first header that carries a credential to the upstream.
    fn secret(&self, route: &UpstreamRoute<'p>) -> Option<(&'p HeaderName, &'p Location)> {
        let entries = self.provider.auth.iter();
        let mut outputs =
            entries.flat_map(|auth| auth.kind.outputs().into_iter().map(move |output| (output, &auth.at)));
        let (output, at) = outputs.find(|(one, _)| one.reveals && route.passes_value(one.header.as_str()))?;
        Some((output.header, at))
    }

    fn token_urls(&self) -> impl Iterator<Item = (&'p Location, String)> {
        let fields = self.provider.section.iter().flat_map(|section| &section.fields);
        fields.filter_map(|field| {
            let url = field.value.token_url.as_deref()?;
            Some((&field.at, upstream_routes::origin(&ProviderTemplate::text(url), true)))
        })
    }

    fn https(&self, allow: &[Glob]) -> Vec<Breach> {
        let bad = |origin: &str| !origin.starts_with("https://") && !any(allow, origin);
        let help = "call it over `https://`, or name the origin in the rule's `allow`";
        let mut found = UniqueBreaches::default();
        for (at, origin) in self.token_urls().filter(|(_, origin)| bad(origin)) {
            found.add(self.breach(at, format!("a login is refreshed at `{origin}`"), help, None));
        }
        for route in upstream_routes::all(self.provider) {
            for called in route.called().into_iter().filter(|called| bad(&called.origin)) {
                let what = if called.origin.starts_with("http://") {
                    format!("`{}` is called over plain http", called.origin)
                } else {
                    format!("`{}` is called, which may be plain http", called.origin)
                };
                found.add(self.breach(called.at, what, help, self.example(&route, None, None)));
            }
        }
        found.0
    }

    fn endpoints(&self, methods: Option<&[Method]>, paths: Option<&[Glob]>) -> Vec<Breach> {
        let mut found = Vec::new();
        for endpoint in &self.provider.endpoints {
            let (method, name) = (&endpoint.method, &endpoint.name);
            if !methods.is_none_or(|methods| methods.contains(method)) {
                let what = format!("endpoint `{name}` allows `{method}`");
                let help = "drop the endpoint, or name the method in the rule's `methods`";
                found.push(self.breach(&endpoint.at, what, help, self.any_route(endpoint)));
            }
            for path in endpoint.paths.iter().filter(|path| !paths.is_none_or(|globs| any(globs, &path.text)))
            {
                let what = format!("endpoint `{name}` allows the path `{}`", path.text);
                let help = "change the path, or add a glob to the rule's `paths`";
                found.push(self.breach(&path.at, what, help, self.any_route(endpoint)));
            }
        }
        found
    }

    fn any_route(&self, endpoint: &'p Endpoint) -> Option<Example> {
        self.example(upstream_routes::all(self.provider).first()?, Some(endpoint), None)
    }

    fn tests(&self, refusals: &[Refusal]) -> Vec<Breach> {
        let mut found = Vec::new();
        for refusal in refusals.iter().copied().filter(|one| self.can_refuse(*one) && !self.is_tested(*one)) {
            let code = kind_of(refusal).code();
            let help = format!(
                "add a `[[test]]` with a request that is refused and `expect = {{ code = \"{code}\" }}`"
            );
            let what = format!("no test of the file expects `{code}`");
            let at = self.provider.tests.last().map_or(&self.provider.at, |test| &test.at);
            found.push(self.breach(at, what, &help, None));
        }
        found
    }

    fn can_refuse(&self, refusal: Refusal) -> bool {
        match refusal {
            Refusal::CredentialMissing => !self.provider.auth.is_empty(),
            Refusal::RouteNotFound => true,
            Refusal::ResponseRule => self.provider.endpoints.iter().any(|one| !one.responses.is_empty()),
        }
    }

    fn is_tested(&self, refusal: Refusal) -> bool {
        let kind = kind_of(refusal);
        let rules = self.provider.endpoints.iter().flat_map(|endpoint| &endpoint.responses);
        let replies: BTreeSet<u16> = rules.map(|rule| rule.reply_status.as_u16()).collect();
        let by_status = |expect: &syntax::Expect, answered: bool| {
            expect.status.is_some_and(|status| match refusal {
                Refusal::ResponseRule => answered && expect.message.is_some() && replies.contains(&status),
                Refusal::CredentialMissing | Refusal::RouteNotFound => {
                    !answered && status == kind.status().as_u16()
                }
            })
        };
        self.provider.tests.iter().any(|test| {
            let (expect, answered) = (&test.spec.expect, test.spec.answer.is_some());
            expect.code.as_ref().map_or_else(|| by_status(expect, answered), |code| code == kind.code())
        })
    }
}

// === impl Checker: headers ===

impl<'p> Checker<'p> {
    /// A header reaches the upstream because a rule sets it, or because a client sends it and no rule removes it.
    fn headers(&self, never: &[Glob]) -> Vec<Breach> {
        let mut found = UniqueBreaches::default();
        for endpoint in &self.provider.endpoints {
            self.set_by_rules(endpoint, never, &mut found);
            for route in upstream_routes::by_gateways(self.provider, &BTreeSet::new()) {
                for glob in never {
                    self.sent(endpoint, &route, glob, &mut found);
                }
            }
        }
        self.set_by_overlays(never, &mut found);
        found.0
    }

    fn header_breach(
        &self,
        name: &str,
        by: &str,
        at: &Location,
        route: &UpstreamRoute<'p>,
        endpoint: Option<&'p Endpoint>,
    ) -> Breach {
        let what = format!("`{name}` goes out: {by}");
        let help = "drop what sets it or lets it through, or add it to `headers.remove`";
        let step = Step { kind: "header", what: format!("`{name}`"), at: Some(at.clone()) };
        self.breach(at, what, help, self.example(route, endpoint, Some(step)))
    }

    fn set_by_rules(&self, endpoint: &'p Endpoint, never: &[Glob], found: &mut UniqueBreaches) {
        let provider = self.provider;
        let removed = |name: &&HeaderName| any(&endpoint.headers.remove, name.as_str());
        let wide = names(&provider.headers).filter(|name| !removed(name));
        let wide = wide.map(|name| (name, provider.headers.at.as_ref().unwrap_or(&provider.at)));
        let own = names(&endpoint.headers);
        let own = own.map(|name| (name, endpoint.headers.at.as_ref().unwrap_or(&endpoint.at)));
        let auth = provider
            .auth
            .iter()
            .flat_map(|one| one.kind.outputs().into_iter().map(|output| (output.header, &one.at)));
        let by_gateways = upstream_routes::by_gateways(provider, &BTreeSet::new());
        for (name, at) in wide.chain(own).chain(auth).filter(|(name, _)| any(never, name.as_str())) {
            if let Some(route) = by_gateways.iter().find(|route| route.passes_header(name.as_str())) {
                found.add(self.header_breach(name.as_str(), "the file sets it", at, route, Some(endpoint)));
            }
        }
    }

    fn set_by_overlays(&self, never: &[Glob], found: &mut UniqueBreaches) {
        let provider = self.provider;
        for route in upstream_routes::by_gateways(provider, &BTreeSet::new()) {
            let Some(used) = route.gateway else { continue };
            for (name, _) in used.gateway.overlay.set.iter().filter(|(name, _)| any(never, name.as_str())) {
                if route.passes_header_after(name.as_str(), 0) {
                    found.add(self.header_breach(
                        name.as_str(),
                        "the gateway sets it",
                        &used.at,
                        &route,
                        None,
                    ));
                }
            }
        }
        for egress in &provider.egress {
            let wanted: BTreeSet<&VarSource> = upstream_routes::sources(provider, &egress.when);
            for route in upstream_routes::by_gateways(provider, &wanted) {
                let index = route.egresses.iter().position(|one| std::ptr::eq(*one, egress));
                let Some(index) = index else { continue };
                let named = egress.overlay.set.iter().filter(|(name, _)| any(never, name.as_str()));
                for (name, _) in named.filter(|(name, _)| route.passes_header_after(name.as_str(), index + 1))
                {
                    found.add(self.header_breach(
                        name.as_str(),
                        "an egress sets it",
                        &egress.at,
                        &route,
                        None,
                    ));
                }
            }
        }
    }

    /// Headers that a client sends and no rule removes.
    fn sent(
        &self,
        endpoint: &'p Endpoint,
        route: &UpstreamRoute<'p>,
        never: &Glob,
        found: &mut UniqueBreaches,
    ) {
        let provider = self.provider;
        let engine = ["cf-*", "x-forwarded*", "proxy-*"].map(Glob::new);
        let removed: Vec<&Glob> = provider
            .headers
            .remove
            .iter()
            .chain(&endpoint.headers.remove)
            .chain(route.gateway.iter().flat_map(|used| &used.gateway.overlay.remove))
            .chain(route.egresses.iter().flat_map(|egress| &egress.overlay.remove))
            .collect();
        let file_set = bind::claimed(provider);
        let file_set: BTreeSet<Cow<'_, str>> =
            file_set.iter().chain(&provider.caller.headers).map(|name| dashed(name.as_str())).collect();
        let free = |name: &str, class| {
            let name = dashed(name);
            safety::request(&name) == class && !file_set.contains(&*name)
        };
        let plain: Vec<&Glob> = removed.iter().copied().chain(&engine).collect();
        if let Some(name) = shortest_name(&[never], &plain, |name| free(name, HeaderClass::Plain)) {
            let by = "a client may send it, and nothing removes it";
            found.add(self.header_breach(&name, by, &endpoint.at, route, Some(endpoint)));
        }
        for rules in [&provider.headers, &endpoint.headers] {
            for pass in &rules.pass {
                let name = shortest_name(&[never, pass], &removed, |name| free(name, HeaderClass::Passable));
                let at = rules.at.as_ref().unwrap_or(&endpoint.at);
                if let Some(name) = name {
                    let by = "`headers.pass` lets it through";
                    found.add(self.header_breach(&name, by, at, route, Some(endpoint)));
                }
            }
        }
    }
}

// === impl Checker: counterexamples ===

impl<'p> Checker<'p> {
    fn example(
        &self,
        route: &UpstreamRoute<'p>,
        endpoint: Option<&'p Endpoint>,
        more: Option<Step>,
    ) -> Option<Example> {
        let endpoint = endpoint.or(self.provider.endpoints.first())?;
        let path = endpoint.paths.first()?;
        let at = |at: &Location| Some(at.clone());
        let mut steps =
            vec![Step { kind: "endpoint", what: format!("`{}`", endpoint.name), at: at(&endpoint.at) }];
        steps.extend(more);
        if let Some(used) = route.gateway {
            steps.push(Step { kind: "gateway", what: format!("`{}`", used.gateway.name), at: at(&used.at) });
        }
        let url = route.url(endpoint);
        match route.wrap().and_then(|egress| Some((egress, egress.url.as_ref()?))) {
            None => steps.push(Step { kind: "calls", what: format!("`{url}`"), at: None }),
            Some((egress, wrap)) => {
                let what = format!("`{}`", upstream_routes::shown(wrap, &[]));
                steps.push(Step { kind: "egress", what, at: at(&egress.at) });
                steps.push(Step { kind: "with the URL", what: format!("`{url}`"), at: None });
            }
        }
        // A capture may hold anything: its own name stands in for a value.
        let filled = path.text.replace("...}", "}").replace(['{', '}'], "");
        Some(Example { request: format!("{} {filled}", endpoint.method), set: route.names(), route: steps })
    }
}

/// Breaches without repetitions: of equal ones the first stays.
#[derive(Default)]
struct UniqueBreaches(Vec<Breach>);

impl UniqueBreaches {
    fn add(&mut self, breach: Breach) {
        if !self.0.iter().any(|known| known.what == breach.what && known.at == breach.at) {
            self.0.push(breach);
        }
    }
}

fn any(globs: &[Glob], text: &str) -> bool {
    globs.iter().any(|glob| glob.matches(text))
}

fn names(rules: &HeaderRules) -> impl Iterator<Item = &HeaderName> {
    rules.default.iter().chain(&rules.set).map(|(name, _)| name)
}

fn kind_of(refusal: Refusal) -> FaultKind {
    match refusal {
        Refusal::CredentialMissing => FaultKind::CredentialMissing,
        Refusal::RouteNotFound => FaultKind::RouteNotFound,
        Refusal::ResponseRule => FaultKind::ResponseRule,
    }
}
