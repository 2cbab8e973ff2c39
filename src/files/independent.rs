//! Files that no other file depends on, of prices, clients and limits: each is judged once for each text, and keeps its last good
//! version. A file with errors goes on serving in that version; without one, what it has is absent. A new text of limits is also judged
//! beside what serves.
//!
//! It guarantees that no such file takes a provider out of service: providers are compiled without them. They expose
//! nothing, so that `max_stale` does not apply. Read next: `evaluate`, which judges; `state`, which takes the outcome over.

mod beside;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::beside::Beside;
use super::{
    SourceFile, SourceTree, compiler::Compiler, last_good_dir::LastGoodFiles, source_file::Hash,
    staleness::Staleness, tree::Inputs,
};
use crate::{
    budget::Budget,
    compile::{ClientFile, LimitFile, Limits, PriceFile, Prices},
    diag::Diagnostic,
    filetest::LimitTests,
    name::FileName,
    pipeline::{self, FileJudgement, Folder, IndependentFile},
    reconcile::{Reconciled, ReconciledFiles, ReconciledIndependent, ServingFile, reconcile_files},
};

/// The independent files of all kinds.
#[derive(Default)]
pub(super) struct Independent {
    pub prices: IndependentFiles<PriceFile>,
    pub clients: IndependentFiles<ClientFile>,
    pub limits: IndependentFiles<LimitFile>,
}

/// A file that serves: its folder, name and path, and true if its version is the last good one.
pub(super) type ServingPlace<'a> = (Folder, &'a FileName, &'a Arc<str>, bool);

impl Independent {
    /// Judges the independent files of a tree. Returns the outcome and all findings. Limits are judged beside the providers that are
    /// to serve.
    pub(super) fn judge(
        &mut self,
        tree: &SourceTree,
        compiler: &mut Compiler,
        reconciled: &Reconciled,
    ) -> (ReconciledIndependent, Vec<Diagnostic>) {
        self.prices.compile(tree, compiler);
        self.clients.compile(tree, compiler);
        self.limits.compile(tree, compiler);
        let none = BTreeSet::new();
        let (prices, clients) = (self.prices.outcome(&none), self.clients.outcome(&none));
        let beside = Beside::new(compiler, reconciled, &prices);
        let (limits, unfit) = self.judge_limits(&beside, |limits| limit_tests(reconciled, &prices, limits));
        let mut found: Vec<Diagnostic> = beside.lints(&limits.current());
        found.extend(unfit);
        found.extend(self.prices.found().chain(self.clients.found()).chain(self.limits.found()).cloned());
        (ReconciledIndependent { prices, clients, limits }, found)
    }

    /// Judges files of limits beside each other and what serves, and runs their tests, once for each new text: neither a provider nor
    /// another file takes limits out of service. Returns the outcome, and the reasons of texts that are not fit to serve there.
    fn judge_limits(
        &mut self,
        beside: &Beside<'_>,
        tests: impl Fn(&ReconciledFiles<LimitFile>) -> LimitTests,
    ) -> (ReconciledFiles<LimitFile>, Vec<Diagnostic>) {
        let (mut unfit, mut found) = (BTreeSet::new(), Vec::new());
        // Each round takes a text out of service. Without it, others may be fit no more, or have its last good version beside them.
        loop {
            let limits = self.limits.outcome(&unfit);
            let (names, more) = beside.unfit(&limits.files(), |file| self.limits.is_new(file));
            found.extend(more);
            if !names.is_empty() {
                unfit.extend(names);
                continue;
            }
            if !self.limits.untested(&unfit).any(JudgedFile::has_tests) {
                return (limits, found);
            }
            let tests = tests(&limits);
            if !self.limits.test(&unfit, |file| tests.failing(file, &Budget::default())) {
                return (limits, found);
            }
        }
    }

    /// The outcome of a scan that changes nothing. `tree`: none if the directory is missing.
    pub(super) fn hold(&self, tree: Option<&SourceTree>) -> ReconciledIndependent {
        ReconciledIndependent {
            prices: self.prices.hold(tree),
            clients: self.clients.hold(tree),
            limits: self.limits.hold(tree),
        }
    }

    /// Makes the outcome for a tree the last good one.
    pub(super) fn take(&mut self, outcome: &ReconciledIndependent, tree: &SourceTree) {
        self.prices.take(&outcome.prices, tree);
        self.clients.take(&outcome.clients, tree);
        self.limits.take(&outcome.limits, tree);
    }

    /// The texts that serve, by path.
    pub(super) fn inputs(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<SourceFile>)> {
        self.prices.inputs().chain(self.clients.inputs()).chain(self.limits.inputs())
    }

    /// The time since which a file is stale.
    pub(super) fn stale(&self, folder: Folder, name: &FileName) -> Option<Staleness> {
        match folder {
            Folder::Prices => self.prices.stale(name),
            Folder::Clients => self.clients.stale(name),
            Folder::Limits => self.limits.stale(name),
            Folder::Providers
            | Folder::Presets
            | Folder::Endpoints
            | Folder::Gateways
            | Folder::Apis
            | Folder::Policy => None,
        }
    }

    /// The paths of built-in files that serve since the directory lacks them.
    pub(super) fn filled_in(&self) -> BTreeSet<&str> {
        self.inputs().filter(|(_, text)| text.filled_in).map(|(file, _)| &**file).collect()
    }
}

/// The tests of limits beside the providers, prices and limits that are to serve.
fn limit_tests(
    reconciled: &Reconciled,
    prices: &ReconciledFiles<PriceFile>,
    limits: &ReconciledFiles<LimitFile>,
) -> LimitTests {
    let (compiled, bound): (Vec<_>, Vec<_>) =
        reconciled.serving.values().map(|one| (one.good.compiled.clone(), one.good.bound.clone())).unzip();
    let table = pipeline::table(&compiled, bound, Vec::new())
        .with_prices(Arc::new(Prices::new(prices.files())))
        .with_limits(Arc::new(Limits::new(&limits.files())));
    LimitTests::at(table)
}

/// All independent files that serve.
pub(super) fn serving(outcome: &ReconciledIndependent) -> impl Iterator<Item = ServingPlace<'_>> {
    places(&outcome.prices).chain(places(&outcome.clients)).chain(places(&outcome.limits))
}

fn places<T: IndependentFile>(files: &ReconciledFiles<T>) -> impl Iterator<Item = ServingPlace<'_>> {
    files.serving.iter().map(|(name, one)| (T::FOLDER, name, one.file.file(), one.stale))
}

/// The independent files of a kind: the judgements of the present texts, and the last good versions.
pub(super) struct IndependentFiles<T> {
    judged: BTreeMap<FileName, JudgedFile<T>>,
    good: BTreeMap<FileName, LastGoodFile<T>>,
    /// Texts that served before this start: their tests passed.
    passed: BTreeSet<Hash>,
}

struct JudgedFile<T> {
    key: (Hash, bool),
    judgement: FileJudgement<T>,
    /// Its tests ran, or need not run.
    is_tested: bool,
}

impl JudgedFile<LimitFile> {
    fn has_tests(&self) -> bool {
        self.judgement.good.as_ref().is_some_and(|file| !file.tests.is_empty())
    }
}

struct LastGoodFile<T> {
    file: Arc<T>,
    files: LastGoodFiles,
}

impl<T> Default for IndependentFiles<T> {
    fn default() -> Self {
        Self { judged: BTreeMap::new(), good: BTreeMap::new(), passed: BTreeSet::new() }
    }
}

impl<T: IndependentFile> IndependentFiles<T> {
    /// Takes over stored versions. Those whose text is that of the tree are judged with it.
    pub(super) fn restore(
        &mut self,
        stored: BTreeMap<FileName, LastGoodFiles>,
        tree: Option<&SourceTree>,
        compiler: &mut Compiler,
    ) {
        for (name, files) in stored {
            self.passed.extend(files.inputs.values().map(|text| text.hash));
            if tree.is_some_and(|tree| is_present(&files.inputs, tree)) {
                continue;
            }
            let mut judged = compiler.compile_independent::<T>(&SourceTree(files.inputs.clone()), |_| true);
            if let Some(file) = judged.remove(&name).and_then(|one| one.good) {
                self.good.insert(name, LastGoodFile { file, files });
            }
        }
    }

    /// Judges the files of a tree, each by itself: only those that changed are compiled.
    fn compile(&mut self, tree: &SourceTree, compiler: &mut Compiler) {
        let keys: BTreeMap<&FileName, (Hash, bool)> =
            named::<T>(tree).map(|(name, text)| (name, key(text))).collect();
        self.judged.retain(|name, known| keys.get(name) == Some(&known.key));
        let new: BTreeSet<&FileName> =
            keys.keys().filter(|name| !self.judged.contains_key(**name)).copied().collect();
        if !new.is_empty() {
            for (name, judgement) in compiler.compile_independent::<T>(tree, |name| new.contains(name)) {
                if let Some(key) = keys.get(&name) {
                    let is_tested = self.passed.contains(&key.0);
                    self.judged.insert(name, JudgedFile { key: *key, judgement, is_tested });
                }
            }
        }
    }

    /// The outcome, if the texts of `unfit` do not serve.
    fn outcome(&self, unfit: &BTreeSet<FileName>) -> ReconciledFiles<T> {
        let good = |name, one: &JudgedFile<T>| one.judgement.good.clone().filter(|_| !unfit.contains(name));
        let current = self.judged.iter().map(|(name, one)| (name, good(name, one)));
        reconcile_files(current, |name| self.good.get(name).map(|good| good.file.clone()))
    }

    /// The findings of the files by themselves.
    fn found(&self) -> impl Iterator<Item = &Diagnostic> {
        self.judged.values().flat_map(|one| &one.judgement.found)
    }

    /// True for a text that never served.
    fn is_new(&self, file: &Arc<T>) -> bool {
        let is_good = self.good.get(file.name()).is_some_and(|good| Arc::ptr_eq(&good.file, file));
        !is_good && self.judged.get(file.name()).is_some_and(|one| !self.passed.contains(&one.key.0))
    }

    /// The files whose tests did not run.
    fn untested<'s>(&'s self, unfit: &'s BTreeSet<FileName>) -> impl Iterator<Item = &'s JudgedFile<T>> {
        let untested = |(name, one): &(&FileName, &JudgedFile<T>)| !one.is_tested && !unfit.contains(*name);
        self.judged.iter().filter(untested).map(|(_, one)| one)
    }

    /// Tests the files that are new: one with a finding does not serve. True if there is one.
    fn test(&mut self, unfit: &BTreeSet<FileName>, failing: impl Fn(&T) -> Vec<Diagnostic>) -> bool {
        let mut any_fails = false;
        for (_, one) in self.judged.iter_mut().filter(|(name, _)| !unfit.contains(*name)) {
            let Some(file) = one.judgement.good.as_deref().filter(|_| !one.is_tested) else { continue };
            let found = failing(file);
            one.is_tested = true;
            if found.iter().any(Diagnostic::is_error) {
                one.judgement.good = None;
                any_fails = true;
            }
            one.judgement.found.extend(found);
        }
        any_fails
    }

    /// The outcome of a scan that changes nothing. `tree`: none if the directory is missing.
    fn hold(&self, tree: Option<&SourceTree>) -> ReconciledFiles<T> {
        let serving = self.good.iter().map(|(name, good)| {
            let stale = tree.is_none_or(|tree| !is_present(&good.files.inputs, tree));
            (name.clone(), ServingFile { file: good.file.clone(), stale })
        });
        let serving: BTreeMap<_, _> = serving.collect();
        let present = tree.into_iter().flat_map(named::<T>).map(|(name, _)| name);
        let rejected = present.filter(|name| !serving.contains_key(*name)).cloned().collect();
        ReconciledFiles { serving, rejected }
    }

    /// Makes the outcome for a tree the last good one.
    fn take(&mut self, outcome: &ReconciledFiles<T>, tree: &SourceTree) {
        self.good.retain(|name, _| outcome.serving.contains_key(name));
        for (name, ServingFile { file, stale }) in &outcome.serving {
            match self.good.get_mut(name) {
                Some(known) if *stale => drop(known.files.stale.get_or_insert_with(Staleness::begin)),
                Some(known) if Arc::ptr_eq(&known.file, file) => known.files.stale = None,
                _ => {
                    let text = tree.0.get(file.file()).map(|text| (file.file().clone(), text.clone()));
                    let files = LastGoodFiles { inputs: text.into_iter().collect(), stale: None };
                    self.good.insert(name.clone(), LastGoodFile { file: file.clone(), files });
                }
            }
        }
    }

    /// The last good versions, to store for a restart.
    pub(super) fn stored(&self) -> impl Iterator<Item = (&FileName, &LastGoodFiles)> + Clone {
        self.good.iter().map(|(name, good)| (name, &good.files))
    }

    /// The texts that serve, for the document of them.
    pub(super) fn served(&self) -> Inputs {
        self.inputs().map(|(file, text)| (file.clone(), text.clone())).collect()
    }

    fn inputs(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<SourceFile>)> {
        self.good.values().flat_map(|good| &good.files.inputs)
    }

    fn stale(&self, name: &FileName) -> Option<Staleness> {
        self.good.get(name)?.files.stale
    }
}

/// The files of a tree that have a valid name.
fn named<T: IndependentFile>(tree: &SourceTree) -> impl Iterator<Item = (&FileName, &SourceFile)> {
    let files = tree.0.values().filter(|text| text.folder == T::FOLDER);
    files.filter_map(|text| Some((text.name.as_ref()?, &**text)))
}

/// A built-in file with the same text has another place in the order of precedence.
fn key(text: &SourceFile) -> (Hash, bool) {
    (text.hash, text.filled_in)
}

fn is_present(inputs: &Inputs, tree: &SourceTree) -> bool {
    inputs.iter().all(|(file, text)| tree.hash_of(file) == Some(&text.hash))
}
