//! The pipeline of files: `parse -> compile -> bind -> link`. Texts become documents, providers, and the route table. It
//! also runs the files' own tests, the lints and the policy.
//!
//! Returns good providers, rejected ones, and all findings. Reads no files and no vars: the caller supplies them.
//! Read next: [`crate::tools::reconcile`], which chooses between a new and the last good version.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::{
        budget::{Budget, Budgets, Used},
        diag::{Code, Diagnostic, Location, Sources},
        name::FileName,
    },
    language::{
        bind, compile,
        compile::{Compiled, Files, PriceFile, Prices, Rejected, VarSource},
        lint, syntax,
        variables::{self, EnvAllow},
    },
    request::table::{self, Table},
    tools::{
        filetest, prove,
        reconcile::{CurrentVersion, Good, reconcile},
    },
};

/// The folder of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Folder {
    /// The directory itself: providers.
    Providers,
    /// `presets`.
    Presets,
    /// `gateways`.
    Gateways,
    /// `apis`.
    Apis,
    /// `prices`.
    Prices,
    /// Next to the directory: `policy.toml` only.
    Policy,
}

/// One file, as read.
#[derive(Debug, Clone, Copy)]
pub struct InputFile<'t> {
    /// Its folder.
    pub folder: Folder,
    /// Its name. None if the stem is no valid name.
    pub name: Option<&'t FileName>,
    /// Its text, or the reason why it cannot be read, as a fragment.
    pub text: Result<&'t str, &'t str>,
    /// True for a built-in file that the directory lacks. Its tests are not run.
    pub filled_in: bool,
    /// True for a shared file that was judged before. Its tests are not run again, and its lints are not reported again.
    pub is_judged: bool,
}

impl Folder {
    /// The folders of the directory.
    pub const ALL: [Self; 5] = [Self::Providers, Self::Presets, Self::Gateways, Self::Apis, Self::Prices];

    /// The folder with this path relative to the providers directory.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|folder| folder.name() == name)
    }

    /// True if providers are compiled from its files: an error in one takes the providers that use it out of service.
    pub fn is_shared(self) -> bool {
        match self {
            Self::Presets | Self::Gateways | Self::Apis | Self::Policy => true,
            Self::Providers | Self::Prices => false,
        }
    }

    /// Its path relative to the providers directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Providers => "",
            Self::Presets => "presets",
            Self::Gateways => "gateways",
            Self::Apis => "apis",
            Self::Prices => "prices",
            Self::Policy => "..",
        }
    }
}

/// Parsed files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// All texts, for rendering findings.
    pub sources: Sources,
    /// The documents.
    pub files: Files,
    /// Errors of form, and unreadable files.
    pub diagnostics: Vec<Diagnostic>,
    /// Findings about texts that seem to contain an API key.
    pub literals: Vec<Diagnostic>,
    /// The wanted provider files, and their names.
    pub providers: BTreeMap<Arc<str>, FileName>,
    /// The price files, and their names.
    pub prices: BTreeMap<Arc<str>, FileName>,
    /// The built-in files. Their lints are not reported, since the author cannot change them.
    pub filled_in: BTreeSet<Arc<str>>,
    /// The shared files that were judged before.
    pub judged: BTreeSet<Arc<str>>,
    /// The findings of those.
    pub known: Vec<Diagnostic>,
    /// The levels of lints.
    pub levels: lint::Levels,
    /// The environment variables that files may read.
    pub env_allow: EnvAllow,
}

/// The result for each file by itself.
#[derive(Debug, Default)]
pub struct Built {
    /// The providers.
    pub providers: BTreeMap<FileName, Judgement>,
    /// The price files.
    pub prices: BTreeMap<FileName, PriceJudgement>,
    /// Findings of presets, gateways, apis and the policy by themselves, and of names of files. An error takes the providers
    /// that use the file out of service.
    pub shared: Vec<Diagnostic>,
    /// Findings of compiling those files.
    pub compiled: Vec<Diagnostic>,
    /// What was charged to the budgets of all files.
    pub used: Used,
}

/// The result for one provider by itself.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The provider.
    pub current: CurrentVersion,
    /// If it is bad only because of its preset, gateway, api or the policy: those files.
    pub blocked_by: BTreeSet<Arc<str>>,
    /// The sources of the vars that it is bound to.
    pub sources: BTreeSet<VarSource>,
    /// All findings that this provider has, also those about its preset.
    pub found: Vec<Diagnostic>,
}

/// The result for one price file by itself.
#[derive(Debug, Clone, Default)]
pub struct PriceJudgement {
    /// Its prices; none if the file has an error.
    pub good: Option<Arc<PriceFile>>,
    /// All findings about it.
    pub found: Vec<Diagnostic>,
}

impl Built {
    /// All findings.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        let prices = self.prices.values().flat_map(|one| &one.found);
        let providers = self.providers.values().flat_map(|one| &one.found);
        providers.chain(prices).chain(&self.shared).chain(&self.compiled)
    }
}

/// The result for a set of files.
#[derive(Debug)]
pub struct Assembled {
    /// The table of the good providers.
    pub table: Table,
    /// The same providers without values of vars, by name.
    pub providers: Vec<Arc<compile::Provider>>,
    /// All findings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses files: the wanted providers and all shared files.
pub fn parse<'t>(
    files: impl IntoIterator<Item = (&'t Arc<str>, InputFile<'t>)>,
    wanted: impl Fn(&FileName) -> bool,
) -> Loaded {
    let mut loaded = Loaded::default();
    for (file, input) in files {
        match input.name {
            Some(name) if input.folder != Folder::Providers || wanted(name) => {
                loaded.take(file, name, &input);
            }
            Some(_) => {}
            None => loaded.diagnostics.push(no_name(file)),
        }
    }
    loaded.own_default();
    loaded.diagnostics.sort();
    loaded
}

fn no_name(file: &Arc<str>) -> Diagnostic {
    let stem = std::path::Path::new(&**file).file_stem().unwrap_or_default().to_string_lossy();
    let message = format!("`{stem}` cannot be a name: use `[a-z0-9][a-z0-9-]*`, at most 64 characters");
    let good = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let better = stem.chars().map(good).collect::<String>();
    let help = match FileName::new(better.trim_matches('-')) {
        Some(better) => format!("rename the file to `{better}.toml`"),
        None => "rename the file".to_owned(),
    };
    Diagnostic::new(Code::FileName, Location::file(file), message).help(help)
}

impl Loaded {
    /// A default preset of the directory replaces the built-in one.
    fn own_default(&mut self) {
        let filled_in = |file: &Arc<str>| self.filled_in.contains(file);
        let mut presets: Vec<_> = self.files.presets.values_mut().flatten().collect();
        presets.retain(|preset| preset.document.default == Some(true));
        if presets.iter().any(|preset| !filled_in(&preset.file)) {
            let others = presets.into_iter().filter(|preset| filled_in(&preset.file));
            others.for_each(|preset| preset.document.default = None);
        }
    }

    fn take(&mut self, file: &Arc<str>, name: &FileName, text: &InputFile<'_>) {
        let files = &mut self.files;
        match text.folder {
            Folder::Providers => drop(self.providers.insert(file.clone(), name.clone())),
            Folder::Prices => drop(self.prices.insert(file.clone(), name.clone())),
            Folder::Presets | Folder::Gateways | Folder::Apis | Folder::Policy => {}
        }
        if text.folder == Folder::Prices && text.filled_in {
            files.built_in_prices.insert(name.clone());
        }
        let found = match text.folder {
            Folder::Providers => keep(&mut files.providers, name, file, text, |one| &mut one.test),
            Folder::Presets => keep(&mut files.presets, name, file, text, |one| &mut one.test),
            Folder::Gateways => keep(&mut files.gateways, name, file, text, |one| &mut one.test),
            Folder::Apis => keep(&mut files.apis, name, file, text, |one| &mut one.test),
            Folder::Prices => keep(&mut files.prices, name, file, text, |one| &mut one.test),
            Folder::Policy => {
                let (slot, found) = slot(file, text);
                files.policy = Some((file.clone(), slot));
                found
            }
        };
        self.diagnostics.extend(found);
        if text.is_judged {
            self.judged.insert(file.clone());
        }
        if text.filled_in {
            self.filled_in.insert(file.clone());
        } else if !text.is_judged
            && let Ok(text) = text.text
        {
            self.literals.extend(lint::literals(file, text));
        }
    }

    /// Applies the levels of lints.
    fn lint(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let mut found = self.levels.apply(found);
        found.retain(|one| !self.filled_in.contains(&one.at.file) && !self.judged.contains(&one.at.file));
        found
    }

    /// The lints of each file.
    fn lint_each(&self, compiled: &Compiled) -> Vec<Diagnostic> {
        let mut found = lint::each(&self.files, compiled, &self.env_allow);
        found.extend(self.literals.iter().cloned());
        self.lint(found)
    }

    /// The gateways alone, for [`Loaded::unused_gateways`].
    #[must_use]
    pub fn gateways_only(self) -> Self {
        let Self { files, filled_in, levels, .. } = self;
        let files = Files { gateways: files.gateways, ..Files::default() };
        Self { files, filled_in, levels, ..Self::default() }
    }

    /// Lints of price files beside each other and beside these provider files.
    pub fn lint_prices(&self, prices: &[Arc<PriceFile>], providers: &[&str]) -> Vec<Diagnostic> {
        self.levels.apply(lint::prices(prices, providers))
    }

    fn provider_names(&self) -> Vec<&str> {
        self.files.providers.keys().map(FileName::as_str).collect()
    }

    /// Unused gateways. None are reported while a provider is rejected, since it may use them.
    pub fn unused_gateways<'p>(
        &self,
        providers: impl Iterator<Item = &'p compile::Provider>,
        rejected: &[Rejected],
    ) -> Vec<Diagnostic> {
        if rejected.is_empty() {
            self.lint(lint::unused_gateways(&self.files, providers))
        } else {
            Vec::new()
        }
    }
}

/// Adds a file. A file that cannot be read or parsed is kept by name, for findings about references to it.
fn keep<T: syntax::Document, S>(
    slots: &mut BTreeMap<FileName, syntax::Slot<T>>,
    name: &FileName,
    file: &Arc<str>,
    text: &InputFile<'_>,
    tests: fn(&mut T) -> &mut Option<Vec<S>>,
) -> Vec<Diagnostic> {
    let (mut slot, found) = slot(file, text);
    if (text.filled_in || text.is_judged)
        && let Ok(parsed) = &mut slot
    {
        *tests(&mut parsed.document) = None;
    }
    slots.insert(name.clone(), slot);
    found
}

fn slot<T: syntax::Document>(file: &Arc<str>, text: &InputFile<'_>) -> (syntax::Slot<T>, Vec<Diagnostic>) {
    match text.text {
        Ok(text) => syntax::parse(file, text),
        Err(problem) => {
            let found = Diagnostic::new(Code::File, Location::file(file), problem.to_owned());
            (Err(syntax::Outline::default()), vec![found])
        }
    }
}

/// All findings of `tollgate check`. Needs no vars.
pub fn check(loaded: &Loaded) -> (Compiled, filetest::Outcome, Vec<Diagnostic>) {
    let compiled = compile::compile(&loaded.files);
    let tests = filetest::run(&compiled);
    let mut all = loaded.diagnostics.clone();
    all.extend(compiled.diagnostics.iter().cloned());
    all.extend(variables::refused(&loaded.files, &loaded.env_allow));
    let conflicts = table::link(&[], &compiled.providers, &compiled.rejected, &compiled.budgets);
    all.extend(conflicts.into_iter().map(|one| one.diagnostic));
    all.extend(tests.diagnostics.iter().cloned());
    all.extend(loaded.lint_each(&compiled));
    all.extend(loaded.unused_gateways(compiled.providers.iter().map(|one| &**one), &compiled.rejected));
    all.extend(loaded.lint_prices(&compiled.prices, &loaded.provider_names()));
    all.extend(prove::check_policy(&loaded.files, &compiled).into_diagnostics());
    report_budgets(&mut all, &compiled.budgets);
    sort(&mut all);
    (compiled, tests, all)
}

/// Reports the files over their budget. Nothing else is known of them: their other findings are removed.
fn report_budgets(found: &mut Vec<Diagnostic>, budgets: &Budgets) {
    let over: Vec<Diagnostic> = budgets.findings().collect();
    if !over.is_empty() {
        let files: BTreeSet<&str> = over.iter().map(|one| &*one.at.file).collect();
        found.retain(|one| !files.contains(&*one.at.file));
        found.extend(over);
    }
}

/// Builds each provider by itself. It is rejected if it does not compile, if one of its files has an error or a failing
/// test, if it reads an environment variable that is not allowed, if it breaks the policy, if its vars cannot be filled in, or if its file exceeds its budget.
pub fn build(loaded: &Loaded, mut value: impl FnMut(&VarSource) -> bind::Lookup) -> Built {
    let compiled = compile::compile(&loaded.files);
    let mut found = loaded.diagnostics.clone();
    found.extend(loaded.known.iter().cloned());
    // An error of the file: none of its vars is looked up.
    found.extend(variables::refused(&loaded.files, &loaded.env_allow));
    found.extend(filetest::run(&compiled).diagnostics);
    found.extend(loaded.lint_each(&compiled));
    let mut judged = prove::check_policy(&loaded.files, &compiled);
    found.append(&mut judged.policy);
    report_budgets(&mut found, &compiled.budgets);
    let errors = found.iter().filter(|one| one.is_error());
    let bad: BTreeSet<Arc<str>> = errors.map(|one| one.at.file.clone()).collect();
    let mut findings = FindingsByFile::new(found, loaded);
    let prices = judge_prices(loaded, &compiled, &mut findings);
    let mut providers = BTreeMap::new();
    for rejected in compiled.rejected {
        let name = rejected.name.clone();
        let found = findings.of(&name, compiled.by_provider.get(&name));
        let (blocked_by, sources) = (BTreeSet::new(), BTreeSet::new());
        providers
            .insert(name, Judgement { current: CurrentVersion::Bad(rejected), blocked_by, sources, found });
    }
    for provider in compiled.providers {
        let name = provider.name.clone();
        let mut found = findings.of(&name, None);
        let blocked_by: BTreeSet<_> = provider.inputs.intersection(&bad).cloned().collect();
        let broken = judged.broken.remove(&name);
        let current = if broken.is_some() || !blocked_by.is_empty() {
            CurrentVersion::Bad(Rejected::from(&*provider))
        } else {
            bound(&provider, &mut found, &mut value, &compiled.budgets.of(&provider.at.file))
        };
        // A breach of the policy is its own.
        let blocked_by = if broken.is_some() { BTreeSet::new() } else { blocked_by };
        let over = compiled.budgets.of(&provider.at.file).is_exceeded();
        found.extend(broken.into_iter().flatten().filter(|_| !over));
        let sources = provider.var_sources().cloned().collect();
        providers.insert(name, Judgement { current, blocked_by, sources, found });
    }
    let mut own: BTreeSet<&Diagnostic> = compiled.by_provider.values().flatten().collect();
    own.extend(prices.values().flat_map(|one| &one.found));
    let compile = compiled.diagnostics.iter().filter(|one| !own.contains(one)).cloned().collect();
    let mut shared = findings.shared;
    sort(&mut shared);
    Built { providers, prices, shared, compiled: compile, used: compiled.budgets.used() }
}

/// Judges each price file by itself.
fn judge_prices(
    loaded: &Loaded,
    compiled: &Compiled,
    findings: &mut FindingsByFile,
) -> BTreeMap<FileName, PriceJudgement> {
    let mut judged = BTreeMap::new();
    for (file, name) in &loaded.prices {
        let mut found: Vec<Diagnostic> = findings.prices.remove(file).unwrap_or_default();
        // Of a file over its budget, nothing else is known.
        if !compiled.budgets.of(file).is_exceeded() {
            found.extend(compiled.diagnostics.iter().filter(|one| one.at.file == *file).cloned());
        }
        sort(&mut found);
        let good = compiled.prices.iter().find(|one| one.file == *file).cloned();
        let good = good.filter(|_| !found.iter().any(Diagnostic::is_error));
        judged.insert(name.clone(), PriceJudgement { good, found });
    }
    judged
}

fn bound(
    provider: &Arc<compile::Provider>,
    found: &mut Vec<Diagnostic>,
    value: &mut impl FnMut(&VarSource) -> bind::Lookup,
    budget: &Budget,
) -> CurrentVersion {
    let warnings = found.clone();
    let value = std::cell::RefCell::new(value);
    let (bound, more) = bind::try_bind(provider, |_, _, var| (value.borrow_mut())(&var.source), budget);
    found.extend(more);
    if let Some(bound) = bound {
        let (compiled, bound) = (provider.clone(), Arc::new(bound));
        return CurrentVersion::New(Good { compiled, bound, warnings, used: budget.used(), linked: false });
    }
    let unusable_var = bind::unusable_var(provider, |var| (value.borrow_mut())(&var.source));
    CurrentVersion::Bad(Rejected { unusable_var, ..Rejected::from(&**provider) })
}

/// Findings, by the file of a provider or of prices that they are about.
struct FindingsByFile {
    own: BTreeMap<FileName, Vec<Diagnostic>>,
    prices: BTreeMap<Arc<str>, Vec<Diagnostic>>,
    shared: Vec<Diagnostic>,
}

impl FindingsByFile {
    fn new(found: Vec<Diagnostic>, loaded: &Loaded) -> Self {
        let mut by_file = BTreeMap::<Arc<str>, Vec<Diagnostic>>::new();
        for one in found {
            by_file.entry(one.at.file.clone()).or_default().push(one);
        }
        let names = loaded.providers.iter();
        let own = names.filter_map(|(file, name)| Some((name.clone(), by_file.remove(file)?))).collect();
        let prices = by_file.extract_if(.., |file, _| loaded.prices.contains_key(file)).collect();
        Self { own, prices, shared: by_file.into_values().flatten().collect() }
    }

    fn of(&mut self, name: &FileName, compiled: Option<&Vec<Diagnostic>>) -> Vec<Diagnostic> {
        let mut found = self.own.remove(name).unwrap_or_default();
        found.extend(compiled.into_iter().flatten().cloned());
        found
    }
}

/// Builds the table of all good providers.
pub fn assemble(loaded: &Loaded, value: impl FnMut(&VarSource) -> bind::Lookup) -> Assembled {
    let built = build(loaded, value);
    let mut diagnostics: Vec<Diagnostic> = built.diagnostics().cloned().collect();
    let prices: Vec<_> = built.prices.values().filter_map(|one| one.good.clone()).collect();
    diagnostics.extend(loaded.lint_prices(&prices, &loaded.provider_names()));
    let current = built.providers.into_iter().map(|(name, one)| (name, one.current)).collect();
    let reconciled = reconcile(current, &BTreeMap::new());
    diagnostics.extend(reconciled.diagnostics);
    let serving = reconciled.serving.values().map(|one| &*one.good.compiled);
    diagnostics.extend(loaded.unused_gateways(serving, &reconciled.rejected));
    sort(&mut diagnostics);
    let providers: Vec<_> = reconciled.serving.values().map(|one| one.good.compiled.clone()).collect();
    let bound = reconciled.serving.into_values().map(|one| one.good.bound).collect();
    let table = table(&providers, bound, reconciled.rejected, Arc::new(Prices::new(prices)));
    Assembled { table, providers, diagnostics }
}

/// The table of providers without conflicts.
pub fn table(
    compiled: &[Arc<compile::Provider>],
    bound: Vec<Arc<bind::Provider>>,
    rejected: Vec<Rejected>,
    prices: Arc<Prices>,
) -> Table {
    let compiled: Vec<_> = compiled.iter().map(Arc::as_ref).collect();
    Table::new(bound, rejected, &compiled).with_prices(prices)
}

/// Sorts findings and removes repetitions: each provider of a gateway reports the gateway's vars.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort();
    diagnostics.dedup();
}

#[cfg(test)]
mod tests;
