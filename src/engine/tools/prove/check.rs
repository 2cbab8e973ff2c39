//! Checks one rule against one provider, and makes counterexamples.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use http::{HeaderName, Method};

use super::{
    Breach, Claim, Example, Rule, Step,
    breaches::Breaches,
    glob_automaton::{Automaton, Reading},
    name_search::{MAX_STATES, Search, shortest_name},
};
use crate::{
    base::{budget::Budget, diag::Location, fault::FaultKind, header_name::dashed},
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

/// The places where the rule does not hold, or where that cannot be decided within the budget of the provider's file.
pub(super) fn breaches<'p>(rule: &'p Rule, provider: &'p Provider, budget: &'p Budget) -> Vec<Breach> {
    let claimed =
        bind::claimed(provider).into_iter().chain(provider.caller.headers.iter().cloned()).collect();
    let checker = Checker { provider, budget, claimed, searches: RefCell::default() };
    let breaches = Breaches::new(rule, budget);
    let mut found = match &rule.kind {
        Claim::Credentials { origins, .. } => checker.credentials(origins, breaches),
        Claim::Endpoints { methods, paths } => {
            checker.endpoints(methods.as_deref(), paths.as_deref(), breaches)
        }
        Claim::Tests(refusals) => checker.tests(refusals, breaches),
        Claim::Https(allow) => checker.https(allow, breaches),
        Claim::Headers(never) => checker.headers(never, breaches),
    };
    if let Some(problem) = budget.problem() {
        let what = format!("it cannot be decided whether the rule holds: the file {problem}");
        found.push(checker.undecided(
            &provider.at,
            what,
            "split the file, or write fewer endpoints, gateways and globs",
        ));
    }
    found
}

struct Checker<'p> {
    provider: &'p Provider,
    budget: &'p Budget,
    /// The client's headers that are removed since the provider sets them, or reads tokens from them.
    claimed: Vec<HeaderName>,
    searches: RefCell<BTreeMap<SearchKey<'p>, Search>>,
}

/// The work of comparing a route or a path with a glob, in steps.
const ROUTE_STEPS: usize = 64;
/// The work of a glob in the key of a search, in steps.
const KEY_STEPS: usize = 4;
/// The work of making the automata that every search has, in steps.
const SEARCH_STEPS: usize = 2000;
/// The lengths that are usual for an origin and for the name of a header, in bytes.
const ORIGIN_BYTES: usize = 256;
const NAME_BYTES: usize = 32;

/// The wanted globs, those that remove, and the class of the name.
type SearchKey<'p> = (Vec<(&'p str, Reading)>, Vec<&'p str>, HeaderClass);

impl<'p> Checker<'p> {
    fn breach(&self, at: &Location, what: String, help: &str, example: Option<Example>) -> Breach {
        let provider = self.provider;
        let endpoint = provider.endpoints.first().and_then(|endpoint| endpoint.paths.first());
        let own = endpoint.map_or(&provider.at, |path| &path.at).clone();
        let (provider, help) = (provider.name.clone(), help.into());
        Breach { provider, own, at: at.clone(), what, help, example, is_undecided: false }
    }

    fn undecided(&self, at: &Location, what: String, help: &str) -> Breach {
        Breach { is_undecided: true, ..self.breach(at, what, help, None) }
    }

    fn credentials(&self, origins: &[Glob], mut found: Breaches<'_>) -> Vec<Breach> {
        let section = self.provider.section.as_ref().map_or("", |section| section.name.as_str());
        let help = "call another origin, or name this one in the rule's `origins`";
        for (at, origin) in self.token_urls().filter(|(_, origin)| !any(origins, origin)) {
            let what = format!("a login of section `{section}` is refreshed at `{origin}`");
            found.add(self.breach(at, what, help, None));
        }
        for route in self.all_routes() {
            if !self.budget.work(ROUTE_STEPS * (1 + origins.len()) + glob_steps(origins, ORIGIN_BYTES)) {
                break;
            }
            let Some((header, at)) = self.secret(&route) else { continue };
            for called in route.called().into_iter().filter(|called| !any(origins, &called.origin)) {
                let what = format!("a credential of section `{section}` reaches `{}`", called.origin);
                let step = Step { kind: "auth", what: format!("`{header}`"), at: Some(at.clone()) };
                let example = self.example(&route, None, Some(step));
                found.add(self.breach(called.at, what, help, example));
            }
        }
        found.into_vec()
    }

    /// The first header that carries a credential to the upstream.
    fn secret(&self, route: &UpstreamRoute<'p>) -> Option<(&'p HeaderName, &'p Location)> {
        let entries = self.provider.auth.iter();
        let mut outputs =
            entries.flat_map(|auth| auth.kind.outputs().into_iter().map(move |output| (output, &auth.at)));
        let (output, at) = outputs.find(|(one, _)| one.reveals && route.passes_value(one.header.as_str()))?;
        Some((output.header, at))
    }

    /// All routes of the provider. None if the budget does not suffice to find them.
    fn all_routes(&self) -> Vec<UpstreamRoute<'p>> {
        let is_affordable = self.budget.work(upstream_routes::steps_of_all(self.provider));
        if is_affordable { upstream_routes::all(self.provider) } else { Vec::new() }
    }

    /// The same of the routes with these vars set.
    fn routes_with(&self, wanted: &BTreeSet<&'p VarSource>) -> Vec<UpstreamRoute<'p>> {
        let is_affordable = self.budget.work(upstream_routes::steps(self.provider));
        if is_affordable { upstream_routes::by_gateways(self.provider, wanted) } else { Vec::new() }
    }

    fn token_urls(&self) -> impl Iterator<Item = (&'p Location, String)> {
        let fields = self.provider.section.iter().flat_map(|section| &section.fields);
        fields.filter_map(|field| {
            let url = field.value.token_url.as_deref()?;
            Some((&field.at, upstream_routes::origin(&ProviderTemplate::text(url), true)))
        })
    }

    fn https(&self, allow: &[Glob], mut found: Breaches<'_>) -> Vec<Breach> {
        let bad = |origin: &str| !origin.starts_with("https://") && !any(allow, origin);
        let help = "call it over `https://`, or name the origin in the rule's `allow`";
        for (at, origin) in self.token_urls().filter(|(_, origin)| bad(origin)) {
            found.add(self.breach(at, format!("a login is refreshed at `{origin}`"), help, None));
        }
        for route in self.all_routes() {
            if !self.budget.work(ROUTE_STEPS * (1 + allow.len()) + glob_steps(allow, ORIGIN_BYTES)) {
                break;
            }
            for called in route.called().into_iter().filter(|called| bad(&called.origin)) {
                let what = if called.origin.starts_with("http://") {
                    format!("`{}` is called over plain http", called.origin)
                } else {
                    format!("`{}` is called, which may be plain http", called.origin)
                };
                found.add(self.breach(called.at, what, help, self.example(&route, None, None)));
            }
        }
        found.into_vec()
    }

    fn endpoints(
        &self,
        methods: Option<&[Method]>,
        paths: Option<&[Glob]>,
        mut found: Breaches<'_>,
    ) -> Vec<Breach> {
        let routes = self.all_routes();
        let by_any = |endpoint| self.example(routes.first()?, Some(endpoint), None);
        let globs = paths.unwrap_or_default();
        for endpoint in &self.provider.endpoints {
            let bytes = endpoint.paths.iter().map(|path| path.text.len()).sum();
            let work = ROUTE_STEPS * endpoint.paths.len() * (1 + globs.len());
            if found.is_full() || !self.budget.work(work + glob_steps(globs, bytes)) {
                break;
            }
            let (method, name) = (&endpoint.method, &endpoint.name);
            if !methods.is_none_or(|methods| methods.contains(method)) {
                let what = format!("endpoint `{name}` allows `{method}`");
                let help = "drop the endpoint, or name the method in the rule's `methods`";
                found.add(self.breach(&endpoint.at, what, help, by_any(endpoint)));
            }
            for path in endpoint.paths.iter().filter(|path| !paths.is_none_or(|globs| any(globs, &path.text)))
            {
                let what = format!("endpoint `{name}` allows the path `{}`", path.text);
                let help = "change the path, or add a glob to the rule's `paths`";
                found.add(self.breach(&path.at, what, help, by_any(endpoint)));
            }
        }
        found.into_vec()
    }

    fn tests(&self, refusals: &[Refusal], mut found: Breaches<'_>) -> Vec<Breach> {
        let rules: usize = self.provider.endpoints.iter().map(|endpoint| 1 + endpoint.responses.len()).sum();
        for refusal in refusals {
            if !self.budget.work(1 + rules + self.provider.tests.len()) {
                break;
            }
            if !self.can_refuse(*refusal) || self.is_tested(*refusal) {
                continue;
            }
            let code = kind_of(*refusal).code();
            let help = format!(
                "add a `[[test]]` with a request that is refused and `expect = {{ code = \"{code}\" }}`"
            );
            let what = format!("no test of the file expects `{code}`");
            let at = self.provider.tests.last().map_or(&self.provider.at, |test| &test.at);
            found.add(self.breach(at, what, &help, None));
        }
        found.into_vec()
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
    fn headers(&self, never: &'p [Glob], mut found: Breaches<'_>) -> Vec<Breach> {
        let routes = self.routes_with(&BTreeSet::new());
        for endpoint in &self.provider.endpoints {
            let names = names(&self.provider.headers).chain(names(&endpoint.headers)).count();
            let work = (names + routes.len()) * (1 + never.len());
            if found.is_full() || !self.budget.work(work + names * glob_steps(never, NAME_BYTES)) {
                break;
            }
            self.set_by_rules(endpoint, never, &routes, &mut found);
            for route in &routes {
                for glob in never {
                    self.sent(endpoint, route, glob, &mut found);
                }
            }
        }
        self.set_by_overlays(never, &mut found);
        found.into_vec()
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

    fn set_by_rules(
        &self,
        endpoint: &'p Endpoint,
        never: &[Glob],
        routes: &[UpstreamRoute<'p>],
        found: &mut Breaches<'_>,
    ) {
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
        for (name, at) in wide.chain(own).chain(auth).filter(|(name, _)| any(never, name.as_str())) {
            if let Some(route) = routes.iter().find(|route| route.passes_header(name.as_str())) {
                found.add(self.header_breach(name.as_str(), "the file sets it", at, route, Some(endpoint)));
            }
        }
    }

    fn set_by_overlays(&self, never: &[Glob], found: &mut Breaches<'_>) {
        let provider = self.provider;
        for route in self.routes_with(&BTreeSet::new()) {
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
            for route in self.routes_with(&wanted) {
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
        never: &'p Glob,
        found: &mut Breaches<'_>,
    ) {
        let provider = self.provider;
        let gateway = route.gateway.iter().flat_map(|used| &used.gateway.overlay.remove);
        let egresses = route.egresses.iter().flat_map(|egress| &egress.overlay.remove);
        let own = provider.headers.remove.iter().chain(&endpoint.headers.remove);
        let removed: BTreeSet<&str> = own.chain(gateway).chain(egresses).map(Glob::as_str).collect();
        let by = "a client may send it, and nothing removes it";
        let plain = self.search(&[(never.as_str(), Reading::Written)], &removed, HeaderClass::Plain);
        self.add_sent(plain, never, by, &endpoint.at, (route, endpoint), found);
        for rules in [&provider.headers, &endpoint.headers] {
            let at = rules.at.as_ref().unwrap_or(&endpoint.at);
            for pass in &rules.pass {
                let wanted = [(never.as_str(), Reading::Written), (pass.as_str(), Reading::Dashed)];
                let passed = self.search(&wanted, &removed, HeaderClass::Passable);
                self.add_sent(passed, never, "`headers.pass` lets it through", at, (route, endpoint), found);
            }
        }
    }

    fn add_sent(
        &self,
        search: Search,
        never: &Glob,
        by: &str,
        at: &Location,
        (route, endpoint): (&UpstreamRoute<'p>, &'p Endpoint),
        found: &mut Breaches<'_>,
    ) {
        match search {
            // The end of `breaches` reports an exceeded budget, once.
            Search::Nothing | Search::OverBudget => {}
            Search::Found(name) => found.add(self.header_breach(&name, by, at, route, Some(endpoint))),
            Search::TooManyStates => {
                let reason =
                    format!("the product of the globs of `remove` has more than {MAX_STATES} states");
                let what = format!(
                    "it cannot be decided whether a header of `{}` goes out: {reason}",
                    never.as_str()
                );
                found.add(self.undecided(at, what, "write fewer globs in `remove`, or globs with fewer `*`"));
            }
        }
    }

    /// A name of a class that is `wanted` and not removed. The engine reads `_` as `-` for its own rules; the globs of
    /// `remove` apply to names as written. Endpoints with the same rules share one search.
    fn search(
        &self,
        wanted: &[(&'p str, Reading)],
        removed: &BTreeSet<&'p str>,
        class: HeaderClass,
    ) -> Search {
        let key = (wanted.to_vec(), removed.iter().copied().collect(), class);
        if !self.budget.work(1 + KEY_STEPS * removed.len()) {
            return Search::OverBudget;
        }
        if let Some(known) = self.searches.borrow().get(&key) {
            return known.clone();
        }
        let bytes: usize = removed.iter().map(|text| text.len()).sum();
        if !self.budget.work(SEARCH_STEPS + bytes) {
            return Search::OverBudget;
        }
        let glob = |text: &str, reading| Automaton::glob(&Glob::new(text), reading);
        let by_prefix = safety::PREFIXES.iter().filter(|(_, other)| *other != class);
        let by_prefix = by_prefix.map(|(prefix, _)| glob(&format!("{prefix}*"), Reading::Dashed));
        let unwanted = removed.iter().map(|text| glob(text, Reading::Written)).chain(by_prefix);
        let unwanted: Vec<_> = unwanted.chain([self.kept_back(class)]).collect();
        let wanted: Vec<_> = wanted.iter().map(|(text, reading)| glob(text, *reading)).collect();
        let search = shortest_name(&wanted, &unwanted, self.budget);
        self.searches.borrow_mut().insert(key, search.clone());
        search
    }

    /// The single names of other classes, and those that are removed since the provider sets or reads them.
    fn kept_back(&self, class: HeaderClass) -> Automaton {
        let others = safety::SINGLE_NAMES.iter().filter(|(_, other)| *other != class);
        let others = others.map(|(name, _)| Cow::Borrowed(*name));
        Automaton::names(others.chain(self.claimed.iter().map(|name| dashed(name.as_str()))))
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

/// The work of comparing texts with globs, in steps. Each star may compare the rest of a glob with all of a text.
pub(super) fn glob_steps(globs: &[Glob], text_bytes: usize) -> usize {
    globs.len() + globs.iter().map(|glob| glob.as_str().len()).sum::<usize>() * text_bytes / 8
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
