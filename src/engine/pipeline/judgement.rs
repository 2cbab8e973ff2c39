//! The judgement of each file by itself: a good version, or a rejected one, with its findings.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    documents::{Folder, Loaded},
    report_budgets, sort,
};
use crate::{
    base::{
        budget::{Budget, Used},
        diag::Diagnostic,
        name::FileName,
    },
    language::{
        bind, compile,
        compile::{ClientFile, Compiled, LimitFile, PriceFile, Rejected, VarSource},
        variables,
    },
    tools::{
        filetest, prove,
        reconcile::{CurrentVersion, Good},
    },
};

/// The result for each file by itself.
#[derive(Debug, Default)]
pub struct Built {
    /// The providers.
    pub providers: BTreeMap<FileName, Judgement>,
    /// The price files.
    pub prices: BTreeMap<FileName, FileJudgement<PriceFile>>,
    /// The files of clients.
    pub clients: BTreeMap<FileName, FileJudgement<ClientFile>>,
    /// The files of limits.
    pub limits: BTreeMap<FileName, FileJudgement<LimitFile>>,
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

/// The result for one independent file by itself.
#[derive(Debug)]
pub struct FileJudgement<T> {
    /// Its meaning; none if the file has an error.
    pub good: Option<Arc<T>>,
    /// All findings about it.
    pub found: Vec<Diagnostic>,
}

/// A compiled file that no other file depends on.
pub trait IndependentFile: Sized {
    /// The folder of such files.
    const FOLDER: Folder;

    /// Its name.
    fn name(&self) -> &FileName;

    /// Its file.
    fn file(&self) -> &Arc<str>;

    /// The results for all such files.
    fn judgements(built: Built) -> BTreeMap<FileName, FileJudgement<Self>>;
}

impl IndependentFile for PriceFile {
    const FOLDER: Folder = Folder::Prices;

    fn name(&self) -> &FileName {
        &self.name
    }

    fn file(&self) -> &Arc<str> {
        &self.file
    }

    fn judgements(built: Built) -> BTreeMap<FileName, FileJudgement<Self>> {
        built.prices
    }
}

impl IndependentFile for ClientFile {
    const FOLDER: Folder = Folder::Clients;

    fn name(&self) -> &FileName {
        &self.name
    }

    fn file(&self) -> &Arc<str> {
        &self.file
    }

    fn judgements(built: Built) -> BTreeMap<FileName, FileJudgement<Self>> {
        built.clients
    }
}

impl IndependentFile for LimitFile {
    const FOLDER: Folder = Folder::Limits;

    fn name(&self) -> &FileName {
        &self.name
    }

    fn file(&self) -> &Arc<str> {
        &self.file
    }

    fn judgements(built: Built) -> BTreeMap<FileName, FileJudgement<Self>> {
        built.limits
    }
}

impl Built {
    /// All findings.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        let prices = self.prices.values().flat_map(|one| &one.found);
        let clients = self.clients.values().flat_map(|one| &one.found);
        let providers = self.providers.values().flat_map(|one| &one.found);
        let limits = self.limits.values().flat_map(|one| &one.found);
        providers.chain(prices).chain(clients).chain(limits).chain(&self.shared).chain(&self.compiled)
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
    found.extend(filetest::run_each(&compiled).diagnostics);
    found.extend(loaded.lint_each(&compiled));
    let mut judged = prove::check_providers(&loaded.files, &compiled);
    found.append(&mut judged.policy);
    report_budgets(&mut found, &compiled.budgets);
    let errors = found.iter().filter(|one| one.is_error());
    let bad: BTreeSet<Arc<str>> = errors.map(|one| one.at.file.clone()).collect();
    let mut findings = FindingsByFile::new(found, loaded);
    let prices = judge_files(&loaded.prices, &compiled.prices, &compiled, &mut findings);
    let clients = judge_files(&loaded.clients, &compiled.clients, &compiled, &mut findings);
    let limits = judge_files(&loaded.limits, &compiled.limits, &compiled, &mut findings);
    let mut providers = BTreeMap::new();
    for rejected in compiled.rejected {
        let name = rejected.name.clone();
        let found = findings.of(&name, compiled.by_provider.get(&name));
        let (blocked_by, sources) = (BTreeSet::new(), BTreeSet::new());
        providers
            .insert(name, Judgement { current: CurrentVersion::Bad(rejected), blocked_by, sources, found });
    }
    for mut provider in compiled.providers {
        // They ran: what serves does not keep them.
        Arc::get_mut(&mut provider).expect("nothing else holds it yet").tests = Vec::new();
        let name = provider.name.clone();
        let mut found = findings.of(&name, None);
        let blocked_by: BTreeSet<_> = provider.inputs.intersection(&bad).cloned().collect();
        let broken = judged.broken.remove(&name);
        let current = if broken.is_some() || !blocked_by.is_empty() {
            CurrentVersion::Bad(Rejected::from(&*provider))
        } else {
            let budget = compiled.budgets.of(&provider.at.file);
            bound(&provider, &mut found, &mut value, (loaded.make_tls, &budget))
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
    own.extend(clients.values().flat_map(|one| &one.found));
    own.extend(limits.values().flat_map(|one| &one.found));
    let compile = compiled.diagnostics.iter().filter(|one| !own.contains(one)).cloned().collect();
    let mut shared = findings.shared;
    sort(&mut shared);
    Built { providers, prices, clients, limits, shared, compiled: compile, used: compiled.budgets.used() }
}

/// Judges each independent file of a kind by itself. `good` are those that compile.
fn judge_files<T: IndependentFile>(
    files: &BTreeMap<Arc<str>, FileName>,
    good: &[Arc<T>],
    compiled: &Compiled,
    findings: &mut FindingsByFile,
) -> BTreeMap<FileName, FileJudgement<T>> {
    let mut judged = BTreeMap::new();
    for (file, name) in files {
        let mut found: Vec<Diagnostic> = findings.independent.remove(file).unwrap_or_default();
        // Of a file over its budget, nothing else is known.
        if !compiled.budgets.of(file).is_exceeded() {
            found.extend(compiled.diagnostics.iter().filter(|one| one.at.file == *file).cloned());
        }
        sort(&mut found);
        let good = good.iter().find(|one| one.file() == file).cloned();
        let good = good.filter(|_| !found.iter().any(Diagnostic::is_error));
        judged.insert(name.clone(), FileJudgement { good, found });
    }
    judged
}

fn bound(
    provider: &Arc<compile::Provider>,
    found: &mut Vec<Diagnostic>,
    value: &mut impl FnMut(&VarSource) -> bind::Lookup,
    (make_tls, budget): (bind::TlsMaker, &Budget),
) -> CurrentVersion {
    let warnings = found.clone();
    let value = std::cell::RefCell::new(value);
    let (bound, more) =
        bind::try_bind(provider, |_, _, var| (value.borrow_mut())(&var.source), make_tls, budget);
    found.extend(more);
    if let Some(bound) = bound {
        let (compiled, bound) = (provider.clone(), Arc::new(bound));
        return CurrentVersion::New(Good { compiled, bound, warnings, used: budget.used(), linked: false });
    }
    let unusable_var = bind::unusable_var(provider, |var| (value.borrow_mut())(&var.source));
    CurrentVersion::Bad(Rejected { unusable_var, ..Rejected::from(&**provider) })
}

/// Findings, by the file of a provider or the independent file that they are about.
struct FindingsByFile {
    own: BTreeMap<FileName, Vec<Diagnostic>>,
    independent: BTreeMap<Arc<str>, Vec<Diagnostic>>,
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
        let is_independent = |file: &Arc<str>| {
            [&loaded.prices, &loaded.clients, &loaded.limits].iter().any(|files| files.contains_key(file))
        };
        let independent = by_file.extract_if(.., |file, _| is_independent(file)).collect();
        Self { own, independent, shared: by_file.into_values().flatten().collect() }
    }

    fn of(&mut self, name: &FileName, compiled: Option<&Vec<Diagnostic>>) -> Vec<Diagnostic> {
        let mut found = self.own.remove(name).unwrap_or_default();
        found.extend(compiled.into_iter().flatten().cloned());
        found
    }
}
