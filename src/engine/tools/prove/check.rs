//! Checks one rule against one provider, and makes counterexamples.

mod headers;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use http::{HeaderName, Method};

use super::{
    Breach, Claim, Example, Rule, Step, breaches::Breaches, glob_automaton::Automaton, name_search::Search,
    unknown,
};
use crate::{
    base::{budget::Budget, diag::Location, fault::FaultKind},
    language::{
        bind,
        compile::{
            ClientPath, Endpoint, Glob, Provider, ProviderTemplate, Test, VarSource, metering::WhenMissing,
            safety::HeaderClass,
        },
        syntax::Refusal,
    },
    tools::{
        filetest,
        upstream_routes::{self, CalledOrigin, Revealed, UpstreamRoute},
    },
};

/// The places where the rule does not hold, or where that cannot be decided within the budget of the provider's file.
pub(super) fn breaches<'p>(rule: &'p Rule, provider: &'p Provider, budget: &'p Budget) -> Vec<Breach> {
    let claimed =
        bind::claimed(provider).into_iter().chain(provider.caller.headers.iter().cloned()).collect();
    let (searches, kept_back) = (RefCell::default(), RefCell::default());
    let checker = Checker { provider, budget, claimed, searches, kept_back };
    let breaches = Breaches::new(rule, budget);
    let mut found = match &rule.kind {
        Claim::Credentials { origins, .. } => checker.credentials(origins, breaches),
        Claim::Endpoints { methods, paths } => {
            checker.endpoints(methods.as_deref(), paths.as_deref(), breaches)
        }
        Claim::Tests(refusals) => checker.tests(refusals, breaches),
        Claim::Https(allow) => checker.https(allow, breaches),
        Claim::Headers(never) => checker.headers(never, breaches),
        Claim::Variables(allow) => checker.variables(allow, breaches),
        Claim::Bodies => checker.bodies(breaches),
        // They are about limits, and `prove` holds them.
        Claim::Limits(_) => Vec::new(),
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
    /// By class, what no search of that class may find.
    kept_back: RefCell<BTreeMap<HeaderClass, Vec<Automaton>>>,
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

/// The kind of a token that a token endpoint gives.
#[derive(Clone, Copy)]
enum TokenOf<'p> {
    /// That of a login.
    Login,
    /// One that is made from fields, by its name.
    Fields(&'p str),
}

/// The wanted globs, those that remove, and the class of the name.
type SearchKey<'p> = (Vec<&'p str>, Vec<&'p str>, HeaderClass);

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
        for (called, of) in self.token_urls() {
            for (origin, at) in self.outside([called], origins) {
                let what = match of {
                    TokenOf::Login => format!("a login of section `{section}` is refreshed at `{origin}`"),
                    TokenOf::Fields(name) => {
                        format!("a credential of section `{section}` reaches `{origin}`, for token `{name}`")
                    }
                };
                found.add(self.breach(at, what, help, None));
            }
        }
        for route in self.all_routes() {
            let work = ROUTE_STEPS * (1 + origins.len()) + self.provider.endpoints.len();
            if !self.budget.work(work + glob_steps(origins, ORIGIN_BYTES)) {
                break;
            }
            let Some(Revealed { kind, what, at, endpoint }) = route.revealed() else { continue };
            for (origin, called_at) in self.outside(route.called(), origins) {
                let message = format!("a credential of section `{section}` reaches `{origin}`");
                let step = Step { kind, what: what.clone(), at: Some(at.clone()) };
                let example = self.example(&route, endpoint, Some(step));
                found.add(self.breach(called_at, message, help, example));
            }
        }
        found.into_vec()
    }

    /// The origins that no glob covers, for some values of the fields in them.
    fn outside(
        &self,
        called: impl IntoIterator<Item = CalledOrigin<'p>>,
        globs: &[Glob],
    ) -> Vec<(String, &'p Location)> {
        let mut outside = Vec::new();
        for CalledOrigin { origin, sets, at } in called {
            // A glob may name a field as a whole.
            let written =
                if covers(globs, &origin) { Vec::new() } else { unknown::with_members(&origin, &sets) };
            if self.budget.work(written.len() * (1 + glob_steps(globs, ORIGIN_BYTES))) {
                outside.extend(written.into_iter().filter(|one| !covers(globs, one)).map(|one| (one, at)));
            }
        }
        outside
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

    /// The origins of token endpoints, of logins and of made tokens.
    fn token_urls(&self) -> impl Iterator<Item = (CalledOrigin<'p>, TokenOf<'p>)> {
        let fields = self.provider.section.iter().flat_map(|section| &section.fields);
        let logins = fields.filter_map(|field| {
            let url = ProviderTemplate::text(field.value.token_url.as_deref()?);
            let origin = upstream_routes::origin(&url, true);
            Some((CalledOrigin { origin, sets: BTreeMap::new(), at: &field.at }, TokenOf::Login))
        });
        let made = self.provider.tokens.iter().filter_map(|token| {
            Some((CalledOrigin::of(self.provider, token.url()?), TokenOf::Fields(&token.name)))
        });
        logins.chain(made)
    }

    fn https(&self, allow: &[Glob], mut found: Breaches<'_>) -> Vec<Breach> {
        let bad = |origin: &str| !origin.starts_with("https://");
        let help = "call it over `https://`, or name the origin in the rule's `allow`";
        for (called, of) in self.token_urls() {
            for (origin, at) in self.outside([called], allow).into_iter().filter(|(origin, _)| bad(origin)) {
                let what = match of {
                    TokenOf::Login => format!("a login is refreshed at `{origin}`"),
                    TokenOf::Fields(name) => format!("token `{name}` is made at `{origin}`"),
                };
                found.add(self.breach(at, what, help, None));
            }
        }
        for route in self.all_routes() {
            if !self.budget.work(ROUTE_STEPS * (1 + allow.len()) + glob_steps(allow, ORIGIN_BYTES)) {
                break;
            }
            for (origin, at) in
                self.outside(route.called(), allow).into_iter().filter(|(origin, _)| bad(origin))
            {
                let what = if origin.starts_with("http://") {
                    format!("`{origin}` is called over plain http")
                } else {
                    format!("`{origin}` is called, which may be plain http")
                };
                found.add(self.breach(at, what, help, self.example(&route, None, None)));
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
            let bytes = endpoint.paths.iter().map(|path| path.text.len()).sum::<usize>();
            let written = endpoint
                .paths
                .first()
                .map_or(0, |path| unknown::written_out(&path.text, &endpoint.rules.sets).len());
            let work = ROUTE_STEPS * endpoint.paths.len() * (1 + globs.len()) * written;
            if found.is_full() || !self.budget.work(work + glob_steps(globs, bytes * written)) {
                break;
            }
            let (method, name) = (&endpoint.method, &endpoint.name);
            if !methods.is_none_or(|methods| methods.contains(method)) {
                let what = format!("endpoint `{name}` allows `{method}`");
                let help = "drop the endpoint, or name the method in the rule's `methods`";
                found.add(self.breach(&endpoint.at, what, help, by_any(endpoint)));
            }
            let outside = |path: &&ClientPath| {
                let covered = |text: &String| globs.iter().any(|glob| glob.matches(text));
                paths.is_some() && !unknown::written_out(&path.text, &endpoint.rules.sets).iter().all(covered)
            };
            for path in endpoint.paths.iter().filter(outside) {
                let what = format!("endpoint `{name}` allows the path `{}`", path.text);
                let help = "change the path, or add a glob to the rule's `paths`";
                found.add(self.breach(&path.at, what, help, by_any(endpoint)));
            }
        }
        found.into_vec()
    }

    fn bodies(&self, mut found: Breaches<'_>) -> Vec<Breach> {
        let routes = self.all_routes();
        let help = "write another `when_missing` than \"ask\"";
        for endpoint in &self.provider.endpoints {
            if found.is_full() || !self.budget.work(ROUTE_STEPS) {
                break;
            }
            let metering = endpoint.metering.as_ref();
            let asks = metering.filter(|metering| metering.when_missing == WhenMissing::Ask);
            if let Some(ask) = asks.and_then(|metering| metering.ask.as_ref()) {
                let what = format!("endpoint `{}` inserts `{}` into bodies", endpoint.name, ask.at);
                let example = routes.first().and_then(|route| self.example(route, Some(endpoint), None));
                found.add(self.breach(&endpoint.at, what, help, example));
            }
        }
        found.into_vec()
    }

    fn variables(&self, allow: &[String], mut found: Breaches<'_>) -> Vec<Breach> {
        let own = self.provider.name.as_str().to_ascii_uppercase().replace('-', "_");
        let globs: Vec<Glob> =
            allow.iter().map(|text| Glob::new(&text.replace("{provider}", &own))).collect();
        let gateways = self.provider.gateways.iter().map(|used| &used.gateway.vars);
        for (name, var) in gateways.chain([&self.provider.vars]).flatten() {
            let VarSource::Env(env) = &var.value.source else { continue };
            if !self.budget.work(1 + glob_steps(&globs, env.len())) {
                break;
            }
            if !globs.iter().any(|glob| glob.matches(env)) {
                let what = format!("var `{name}` reads the environment variable `{env}`");
                let help = "read another variable, or add a glob to the rule's `allow`";
                found.add(self.breach(&var.at, what, help, None));
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
            Refusal::CredentialMissing => self.provider.needs_credential(),
            Refusal::RouteNotFound => true,
            Refusal::ResponseRule => self.provider.endpoints.iter().any(|one| !one.responses.is_empty()),
        }
    }

    /// True if a test expects the refusal and gets it. A status alone may be that of another refusal, so the test is run.
    fn is_tested(&self, refusal: Refusal) -> bool {
        let code = kind_of(refusal).code();
        let is_expected = |test: &&Test| {
            let expect = &test.spec.expect;
            expect.code.as_ref().map_or(expect.status.is_some(), |expected| expected == code)
        };
        let mut tests = self.provider.tests.iter().filter(is_expected);
        let (mut runner, mut before) = (filetest::Runner::default(), None);
        tests.any(|test| {
            filetest::is_affordable(self.provider, before.replace(test), test, self.budget)
                && runner.refusal(self.provider, test) == Some(code)
        })
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
        let endpoint = endpoint.or_else(|| {
            let name = route.origin.map(|(name, _)| name);
            self.provider.endpoints.iter().find(|one| one.origin.as_deref() == name)
        })?;
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

/// True if one of the globs on origins matches all that the origin may be.
fn covers(globs: &[Glob], origin: &str) -> bool {
    let origin = unknown::with_vars(origin);
    globs.iter().any(|glob| glob.matches(&origin))
}

pub(super) fn kind_of(refusal: Refusal) -> FaultKind {
    match refusal {
        Refusal::CredentialMissing => FaultKind::CredentialMissing,
        Refusal::RouteNotFound => FaultKind::RouteNotFound,
        Refusal::ResponseRule => FaultKind::ResponseRule,
    }
}
