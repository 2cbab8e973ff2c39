//! Compilation: documents become providers with checked, typed values. Parses templates, path patterns, globs, header
//! names and quantities once, merges presets, and resolves references.
//!
//! Collects all findings of all files. Values of vars are not known here: `bind` fills them in. Read next: `parts`, the
//! compiled types; `provider`, which compiles one file.

mod api;
mod blame;
mod clients;
pub mod filter;
mod glob;
mod limits;
pub mod metering;
mod parts;
mod pattern;
mod prices;
mod provider;
pub(crate) mod quantity;
pub mod safety;
mod template;
mod value_rule;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    base::{
        budget::Budgets,
        diag::{Code, Diagnostic, Location},
        name::FileName,
        suggest::nearest,
    },
    language::syntax::{self, Parsed, Slot},
};

pub use api::{Api, ErrorValues};
pub use clients::{ClientFile, Clients, SetupValue, Speaks, Step};
pub use glob::{Glob, HeaderGlob};
pub use limits::{
    Allow, CallFacts, CallerFilter, KeyOwner, Limit, LimitFile, LimitFilter, LimitTest, Limits, Measure,
    NameFilter,
};
pub use parts::*;
pub use pattern::{
    CaptureRules, Captures, Difference, MAX_CAPTURES, NormalizedPath, Pattern, Relation, Tree,
    between_slashes, is_dots, members_problem, percent_decode,
};
pub use prices::{
    BOUNDARIES as PRICE_BOUNDARIES, NamePattern, Price, PriceEntry, PriceFile, PriceTest, Prices, Rates,
    Tier, boundary as price_boundary, overlaps as price_overlaps,
};
pub(crate) use provider::{Compiler, FieldScope, TemplateScope};
pub use provider::{FIXTURE, SourceMap, http_method};
pub use quantity::{age, age_of_a_day, duration, held_size, size, span};
pub use template::{Part, Resolved, Template, percent_encode, push_urlencoded, urlencode};
pub use value_rule::{MAX_VALUE_BYTES, ValueRule, written as written_pattern};

/// All parsed files. A file with TOML or schema errors is present without a document, so that a reference to it is
/// reported as a reference to a broken file, not to a missing one.
#[derive(Debug, Default)]
pub struct Files {
    /// `*.toml`.
    pub providers: BTreeMap<FileName, Slot<syntax::Provider>>,
    /// `presets/*.toml`.
    pub presets: BTreeMap<FileName, Slot<syntax::Provider>>,
    /// `endpoints/**.toml`.
    pub endpoint_sets: BTreeMap<FileName, Slot<syntax::EndpointSet>>,
    /// `gateways/*.toml`.
    pub gateways: BTreeMap<FileName, Slot<syntax::Gateway>>,
    /// `apis/*.toml`.
    pub apis: BTreeMap<FileName, Slot<syntax::Api>>,
    /// `prices/*.toml`.
    pub prices: BTreeMap<FileName, Slot<syntax::Prices>>,
    /// The built-in price files that the directory lacks.
    pub built_in_prices: BTreeSet<FileName>,
    /// `clients/*.toml`.
    pub clients: BTreeMap<FileName, Slot<syntax::Client>>,
    /// `limits.d/*.toml`, next to the directory.
    pub limits: BTreeMap<FileName, Slot<syntax::LimitsFile>>,
    /// `policy.toml`, next to the directory, with its path.
    pub policy: Option<(Arc<str>, Slot<syntax::Policy>)>,
}

impl Files {
    /// The budgets of all files, charged with the work of parsing.
    pub fn budgets(&self) -> Budgets {
        let mut budgets = Budgets::default();
        for one in self.providers.values().chain(self.presets.values()).flatten() {
            budgets.insert(&one.file, one.used);
        }
        self.endpoint_sets.values().flatten().for_each(|one| budgets.insert(&one.file, one.used));
        self.gateways.values().flatten().for_each(|one| budgets.insert(&one.file, one.used));
        self.apis.values().flatten().for_each(|one| budgets.insert(&one.file, one.used));
        self.prices.values().flatten().for_each(|one| budgets.insert(&one.file, one.used));
        self.clients.values().flatten().for_each(|one| budgets.insert(&one.file, one.used));
        self.limits.values().flatten().for_each(|one| budgets.insert(&one.file, one.used));
        if let Some((file, Ok(policy))) = &self.policy {
            budgets.insert(file, policy.used);
        }
        budgets
    }

    /// The endpoint set of this name, if it has no errors of form.
    fn endpoint_set(&self, name: &str) -> Option<&Parsed<syntax::EndpointSet>> {
        self.endpoint_sets.get(&FileName::nested(name)?)?.as_ref().ok()
    }

    /// Removes the files' own tests.
    pub fn drop_tests(&mut self) {
        let providers = self.providers.values_mut().chain(self.presets.values_mut()).flatten();
        providers.for_each(|one| one.document.test = None);
        self.endpoint_sets.values_mut().flatten().for_each(|one| one.document.test = None);
        self.gateways.values_mut().flatten().for_each(|one| one.document.test = None);
        self.apis.values_mut().flatten().for_each(|one| one.document.test = None);
        self.prices.values_mut().flatten().for_each(|one| one.document.test = None);
        self.limits.values_mut().flatten().for_each(|one| one.document.test = None);
    }
}

/// The result of compiling a set of files.
#[derive(Debug, Default)]
pub struct Compiled {
    /// The good providers, by name.
    pub providers: Vec<Arc<Provider>>,
    /// The providers whose files have errors.
    pub rejected: Vec<Rejected>,
    /// The tests of gateways, apis, presets and endpoint sets, each with its compiled provider.
    pub fixtures: Vec<(Arc<Provider>, Test)>,
    /// The good price files, by name.
    pub prices: Vec<Arc<PriceFile>>,
    /// The good files of clients, by name.
    pub clients: Vec<Arc<ClientFile>>,
    /// The good files of limits, by name.
    pub limits: Vec<Arc<LimitFile>>,
    /// All findings.
    pub diagnostics: Vec<Diagnostic>,
    /// Those of each provider, also where they are about its preset.
    pub by_provider: BTreeMap<FileName, Vec<Diagnostic>>,
    /// The budgets of all files, which the further stages charge too.
    pub budgets: Budgets,
}

/// A provider that cannot serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its name.
    pub name: FileName,
    /// The prefixes of its client paths, as far as they are readable.
    pub prefixes: Vec<String>,
    /// Its credentials section, which no other provider may take.
    pub sharing: Option<Sharing>,
    /// Its token locations: its clients' tokens must not reach other providers.
    pub caller: TokenLocations,
    /// The var that keeps it from serving, if that is the reason.
    pub unusable_var: Option<UnusableVar>,
}

/// A var without a usable value, where one is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableVar {
    /// The file that declares it.
    pub file: Arc<str>,
    /// Its name.
    pub name: String,
}

/// A credentials section, and the providers that may share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// The section.
    pub section: String,
    /// The other providers that may use it.
    pub shared_with: Vec<FileName>,
}

impl From<&Provider> for Rejected {
    fn from(provider: &Provider) -> Self {
        let sharing = |section: &Section| Sharing {
            section: section.name.clone(),
            shared_with: section.shared_with.clone(),
        };
        Self {
            name: provider.name.clone(),
            prefixes: [&provider.prefix].into_iter().chain(&provider.prefixes).cloned().collect(),
            sharing: provider.section.as_deref().map(sharing),
            caller: provider.caller.clone(),
            unusable_var: None,
        }
    }
}

/// The presets, endpoint sets, gateways and apis by name; none for a file with errors.
#[derive(Default)]
pub(crate) struct Shared<'a> {
    presets: BTreeMap<FileName, Option<&'a Parsed<syntax::Provider>>>,
    endpoint_sets: BTreeMap<FileName, Option<&'a Parsed<syntax::EndpointSet>>>,
    gateways: BTreeMap<FileName, Option<Arc<Gateway>>>,
    apis: BTreeMap<FileName, Option<Arc<Api>>>,
    budgets: Budgets,
}

/// Compiles all files.
pub fn compile(files: &Files) -> Compiled {
    let budgets = files.budgets();
    let mut compiled = Compiled { budgets: budgets.clone(), ..Compiled::default() };
    let shared = Shared {
        presets: files.presets.iter().map(|(name, slot)| (name.clone(), slot.as_ref().ok())).collect(),
        endpoint_sets: files
            .endpoint_sets
            .iter()
            .map(|(name, slot)| (name.clone(), slot.as_ref().ok()))
            .collect(),
        gateways: compile_each(&files.gateways, &mut compiled.diagnostics, |name, parsed| {
            provider::gateway(name, parsed, &budgets)
        }),
        apis: compile_each(&files.apis, &mut compiled.diagnostics, api::compile),
        budgets,
    };
    let mut findings = Vec::new();
    for (name, slot) in &files.providers {
        let made = slot.as_ref().map(|parsed| provider::compile(name, parsed, &shared));
        let (provider, found) = made.unwrap_or_default();
        let over = slot.as_ref().is_ok_and(|parsed| compiled.budgets.of(&parsed.file).is_exceeded());
        // Of a file over its budget, nothing else is known: `pipeline` reports that.
        let (provider, found) = if over { (None, Vec::new()) } else { (provider, found) };
        findings.extend(slot.as_ref().map(|parsed| findings_of(name, parsed, files, found)));
        if let Some(mut provider) = provider {
            // The policy is an input like the preset: a provider that breaks it is rejected.
            provider.inputs.extend(files.policy.as_ref().map(|(file, _)| file.clone()));
            compiled.providers.push(Arc::new(provider));
        } else {
            compiled.rejected.push(provider::rejected(name, slot, files));
        }
    }
    compiled.by_provider = blame::attribute(findings);
    compiled.diagnostics.extend(compiled.by_provider.values().flatten().cloned());
    compiled.diagnostics.extend(one_default(files));
    for (name, slot) in &files.presets {
        if let Ok(parsed) = slot {
            let tests = parsed.document.test.as_deref().unwrap_or_default();
            let extends = Some(name.as_str());
            provider::fixtures(&Fixtures { extends, ..Fixtures::new(parsed, tests) }, &shared, &mut compiled);
        }
    }
    for (name, slot) in &files.endpoint_sets {
        if let Ok(parsed) = slot {
            let tests = parsed.document.test.as_deref().unwrap_or_default();
            let (fixture, includes) = (parsed.document.fixture.as_deref(), Some(name.as_str()));
            let fixtures = Fixtures { includes, fixture, ..Fixtures::new(parsed, tests) };
            provider::fixtures(&fixtures, &shared, &mut compiled);
        }
    }
    let gateways = files.gateways.values().flatten();
    let gateways = gateways.map(|one| Fixtures::new(one, one.document.test.as_deref().unwrap_or_default()));
    let apis = files.apis.values().flatten();
    let apis = apis.map(|one| Fixtures {
        fixture: one.document.fixture.as_deref(),
        ..Fixtures::new(one, one.document.test.as_deref().unwrap_or_default())
    });
    for fixtures in gateways.chain(apis) {
        provider::fixtures(&fixtures, &shared, &mut compiled);
    }
    compile_prices(files, &mut compiled);
    compile_clients(files, &mut compiled);
    compile_limits(files, &mut compiled);
    compiled.diagnostics.sort();
    compiled.diagnostics.dedup();
    compiled
}

/// Compiles the price files, each by itself: no provider depends on one.
fn compile_prices(files: &Files, compiled: &mut Compiled) {
    let budgets = compiled.budgets.clone();
    let made = compile_each(&files.prices, &mut compiled.diagnostics, |name, parsed| {
        let built_in = files.built_in_prices.contains(name);
        prices::compile(name, parsed, built_in, &budgets.of(&parsed.file))
    });
    compiled.prices = made.into_values().flatten().collect();
}

/// Compiles the files of clients, each by itself.
fn compile_clients(files: &Files, compiled: &mut Compiled) {
    let budgets = compiled.budgets.clone();
    let made = compile_each(&files.clients, &mut compiled.diagnostics, |name, parsed| {
        clients::compile(name, parsed, &budgets.of(&parsed.file))
    });
    compiled.clients = made.into_values().flatten().collect();
}

/// Compiles the files of limits, each by itself.
fn compile_limits(files: &Files, compiled: &mut Compiled) {
    let budgets = compiled.budgets.clone();
    let made = compile_each(&files.limits, &mut compiled.diagnostics, |name, parsed| {
        limits::compile(name, parsed, &budgets.of(&parsed.file))
    });
    compiled.limits = made.into_values().flatten().collect();
}

/// The preset that `tollgate new` extends by default.
pub fn default_preset(files: &Files) -> Option<&FileName> {
    defaults(files).next().map(|(name, _)| name)
}

fn defaults(files: &Files) -> impl Iterator<Item = (&FileName, &Parsed<syntax::Provider>)> {
    let parsed = files.presets.iter().filter_map(|(name, slot)| Some((name, slot.as_ref().ok()?)));
    parsed.filter(|(_, preset)| preset.document.default == Some(true))
}

/// Reports presets that are all the default.
fn one_default(files: &Files) -> Vec<Diagnostic> {
    let mut all = defaults(files);
    let Some((first, preset)) = all.next() else { return Vec::new() };
    let key = |preset: &Parsed<syntax::Provider>| preset.spans.key(&preset.file, "/default");
    let twice = |(name, other): (&FileName, &Parsed<syntax::Provider>)| {
        let message = format!("presets `{first}` and `{name}` both say that they are the default");
        Diagnostic::new(Code::Name, key(other), message)
            .related(key(preset), "first said here")
            .help("remove `default` from one of them")
    };
    all.map(twice).collect()
}

fn findings_of(
    name: &FileName,
    parsed: &Parsed<syntax::Provider>,
    files: &Files,
    found: Vec<Diagnostic>,
) -> blame::Findings {
    let own = |pointer: &str| parsed.spans.value(&parsed.file, pointer);
    let document = &parsed.document;
    let preset = document.extends.as_deref().and_then(FileName::new);
    let preset = preset.and_then(|name| files.presets.get(&name)?.as_ref().ok());
    let mut bases = BTreeMap::new();
    if let Some(preset) = preset {
        bases.insert(preset.file.clone(), own("/extends"));
        let sets = preset.document.include.iter().flatten().filter_map(|name| files.endpoint_set(name));
        bases.extend(sets.map(|set| (set.file.clone(), own("/extends"))));
    }
    for (index, name) in document.include.iter().flatten().enumerate() {
        let set = files.endpoint_set(name);
        bases.extend(set.map(|set| (set.file.clone(), own(&format!("/include/{index}")))));
    }
    blame::Findings { name: name.clone(), file: parsed.file.clone(), bases, found }
}

/// The tests of a shared file.
pub(crate) struct Fixtures<'a> {
    file: &'a Arc<str>,
    spans: &'a syntax::Spans,
    tests: &'a [syntax::Test],
    extends: Option<&'a str>,
    /// The endpoint set that the tests' providers include.
    includes: Option<&'a str>,
    /// The provider of tests that have none of their own.
    fixture: Option<&'a syntax::Provider>,
    size: usize,
}

impl<'a> Fixtures<'a> {
    fn new<T>(parsed: &'a Parsed<T>, tests: &'a [syntax::Test]) -> Self {
        let Parsed { file, spans, size, .. } = parsed;
        Self { file, spans, tests, extends: None, includes: None, fixture: None, size: *size }
    }
}

/// A compiled value and the findings. None if there is an error.
type Compilation<T> = (Option<T>, Vec<Diagnostic>);

fn compile_each<S, T>(
    slots: &BTreeMap<FileName, Slot<S>>,
    found: &mut Vec<Diagnostic>,
    compile: impl Fn(&FileName, &Parsed<S>) -> Compilation<T>,
) -> BTreeMap<FileName, Option<Arc<T>>> {
    let mut made = BTreeMap::new();
    for (name, slot) in slots {
        let (value, more) = slot.as_ref().map(|parsed| compile(name, parsed)).unwrap_or_default();
        found.extend(more);
        made.insert(name.clone(), value.map(Arc::new));
    }
    made
}

/// The kind of a shared file, in references to it.
const ENDPOINT_SET: &str = "endpoint set";

/// Resolves a reference to a shared file. `at`: the reference.
fn resolve<'a, T>(
    kind: &str,
    name: &str,
    known: &'a BTreeMap<FileName, Option<T>>,
    at: impl FnOnce() -> Location,
) -> Result<&'a T, Diagnostic> {
    match FileName::nested(name).and_then(|name| known.get(&name)) {
        Some(Some(found)) => Ok(found),
        Some(None) => {
            let message = format!("{kind} `{name}` has errors of its own");
            Err(Diagnostic::new(Code::Reference, at(), message).help("mend that file first").following())
        }
        None => {
            let help = unknown_help(kind, name, known.keys().map(FileName::as_str));
            Err(Diagnostic::new(Code::Reference, at(), format!("there is no {kind} `{name}`")).help(help))
        }
    }
}

fn unknown_help<'k>(kind: &str, name: &str, known: impl Iterator<Item = &'k str>) -> String {
    let bare = name.trim_end_matches(".toml");
    let (folder, stem, named) = if kind == ENDPOINT_SET {
        let stem = bare.rsplit_once("endpoints/").map_or(bare, |(_, stem)| stem);
        ("endpoints".to_owned(), stem, "an endpoint set is named without `endpoints/`".to_owned())
    } else {
        let stem = bare.rsplit('/').next().unwrap_or(bare);
        (format!("{kind}s"), stem, format!("a {kind} is named without its folder"))
    };
    match nearest(stem, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if stem != name => format!("{named} and `.toml`: `{stem}`"),
        None => format!("there would have to be a file `{folder}/{name}.toml`"),
    }
}

#[cfg(test)]
mod tests;
