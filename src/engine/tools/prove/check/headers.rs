//! Checks the claim that headers never reach the upstream. Names are compared in their folded form, as in the rewrite.
//! Read next: `name_search`.

use std::collections::BTreeSet;

use http::HeaderName;

use super::{Breach, Breaches, Checker, KEY_STEPS, NAME_BYTES, SEARCH_STEPS, Step};
use crate::{
    base::{diag::Location, header_name::FoldedName},
    language::compile::{
        Endpoint, Glob, HeaderGlob, HeaderRules, VarSource,
        safety::{self, HeaderClass},
    },
    tools::{
        prove::{
            glob_automaton::Automaton,
            name_search::{MAX_STATES, Search, shortest_name},
        },
        upstream_routes::{self, UpstreamRoute},
    },
};

impl<'p> Checker<'p> {
    /// A header reaches the upstream because a rule sets it, or because a client sends it and no rule removes it.
    pub(super) fn headers(&self, never: &'p [HeaderGlob], mut found: Breaches<'_>) -> Vec<Breach> {
        let routes = self.routes_with(&BTreeSet::new());
        for endpoint in &self.provider.endpoints {
            let names = names(&self.provider.headers).chain(names(&endpoint.headers)).count();
            let work = (names + routes.len()) * (1 + never.len());
            if found.is_full() || !self.budget.work(work + names * header_glob_steps(never, NAME_BYTES)) {
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
        never: &[HeaderGlob],
        routes: &[UpstreamRoute<'p>],
        found: &mut Breaches<'_>,
    ) {
        let provider = self.provider;
        let removed = |name: &&HeaderName| is_any(&endpoint.headers.remove, name);
        let wide = names(&provider.headers).filter(|name| !removed(name));
        let wide = wide.map(|name| (name, provider.headers.at.as_ref().unwrap_or(&provider.at)));
        let own = names(&endpoint.headers);
        let own = own.map(|name| (name, endpoint.headers.at.as_ref().unwrap_or(&endpoint.at)));
        let auth = provider.auth.iter().filter(|one| one.counts_for(&endpoint.name)).flat_map(|one| {
            one.kind.outputs().into_iter().filter_map(|output| Some((output.place.header()?, &one.at)))
        });
        for (name, at) in wide.chain(own).chain(auth).filter(|(name, _)| is_any(never, name)) {
            if let Some(route) = routes.iter().find(|route| route.passes_header(name)) {
                found.add(self.header_breach(name.as_str(), "the file sets it", at, route, Some(endpoint)));
            }
        }
    }

    fn set_by_overlays(&self, never: &[HeaderGlob], found: &mut Breaches<'_>) {
        let provider = self.provider;
        for route in self.routes_with(&BTreeSet::new()) {
            let Some(used) = route.gateway else { continue };
            for (name, _) in used.gateway.overlay.set.iter().filter(|(name, _)| is_any(never, name)) {
                if route.passes_header_after(name, 0) {
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
                let named = egress.overlay.set.iter().filter(|(name, _)| is_any(never, name));
                for (name, _) in named.filter(|(name, _)| route.passes_header_after(name, index + 1)) {
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
        never: &'p HeaderGlob,
        found: &mut Breaches<'_>,
    ) {
        let provider = self.provider;
        let gateway = route.gateway.iter().flat_map(|used| &used.gateway.overlay.remove);
        let egresses = route.egresses.iter().flat_map(|egress| &egress.overlay.remove);
        let own = provider.headers.remove.iter().chain(&endpoint.headers.remove);
        let removed = own.chain(gateway).chain(egresses).map(|glob| glob.folded().as_str());
        let (removed, never_text) = (removed.collect::<BTreeSet<&str>>(), never.folded().as_str());
        let by = "a client may send it, and nothing removes it";
        let plain = self.search(&[never_text], &removed, HeaderClass::Plain);
        self.add_sent(plain, never, by, &endpoint.at, (route, endpoint), found);
        for rules in [&provider.headers, &endpoint.headers] {
            let at = rules.at.as_ref().unwrap_or(&endpoint.at);
            for pass in &rules.pass {
                let wanted = [never_text, pass.folded().as_str()];
                let passed = self.search(&wanted, &removed, HeaderClass::Passable);
                self.add_sent(passed, never, "`headers.pass` lets it through", at, (route, endpoint), found);
            }
        }
    }

    fn add_sent(
        &self,
        search: Search,
        never: &HeaderGlob,
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

    /// A folded name of a class that is `wanted` and not removed: the rewrite compares no other form of a name. Endpoints
    /// with the same rules share one search.
    fn search(&self, wanted: &[&'p str], removed: &BTreeSet<&'p str>, class: HeaderClass) -> Search {
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
        let glob = |text: &&str| Automaton::glob(&Glob::new(text));
        let mut kept_back = self.kept_back.borrow_mut();
        let kept_back = kept_back.entry(class).or_insert_with(|| self.kept_back(class));
        let (wanted, removed): (Vec<_>, Vec<_>) =
            (wanted.iter().map(glob).collect(), removed.iter().map(glob).collect());
        let unwanted: Vec<&Automaton> = removed.iter().chain(&*kept_back).collect();
        let search = shortest_name(&wanted, &unwanted, self.budget);
        self.searches.borrow_mut().insert(key, search.clone());
        search
    }

    /// The names of other classes, and those that are removed since the provider sets or reads them.
    fn kept_back(&self, class: HeaderClass) -> Vec<Automaton> {
        let by_prefix = safety::PREFIXES.iter().filter(|(_, other)| *other != class);
        let by_prefix = by_prefix.map(|(prefix, _)| Automaton::glob(&Glob::new(&format!("{prefix}*"))));
        let others = safety::SINGLE_NAMES.iter().filter(|(_, other)| *other != class);
        let others = others.map(|(name, _)| FoldedName::of(name));
        let names = Automaton::names(others.chain(self.claimed.iter().map(FoldedName::from)));
        by_prefix.chain([names]).collect()
    }
}

fn header_glob_steps(globs: &[HeaderGlob], text_bytes: usize) -> usize {
    globs.len() + globs.iter().map(|glob| glob.as_str().len()).sum::<usize>() * text_bytes / 8
}

fn is_any(globs: &[HeaderGlob], name: &HeaderName) -> bool {
    let name = FoldedName::from(name);
    globs.iter().any(|glob| glob.matches(&name))
}

fn names(rules: &HeaderRules) -> impl Iterator<Item = &HeaderName> {
    rules.written().map(|(name, _)| name)
}
