//! The price files: each is judged once for each text, and keeps its last good version. A file with errors goes on serving in
//! that version; without one, its prices are absent.
//!
//! It guarantees that no price file takes a provider out of service: providers are compiled without them. Prices expose
//! nothing, so that `max_stale` does not apply. Read next: `evaluate`, which judges; `state`, which takes the outcome over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    SourceFile, SourceTree, compiler::Compiler, last_good_dir::LastGoodFiles, source_file::Hash,
    staleness::Staleness, tree::Inputs,
};
use crate::{
    compile::PriceFile,
    diag::Diagnostic,
    name::FileName,
    pipeline::{Folder, PriceJudgement},
    reconcile::{ReconciledPrices, ServingPrices, reconcile_prices},
};

/// The judgements of the present texts, and the last good versions.
#[derive(Default)]
pub(super) struct PriceFiles {
    judged: BTreeMap<FileName, JudgedPrices>,
    good: BTreeMap<FileName, LastGoodPrices>,
}

struct JudgedPrices {
    key: (Hash, bool),
    judgement: PriceJudgement,
}

struct LastGoodPrices {
    file: Arc<PriceFile>,
    files: LastGoodFiles,
}

impl PriceFiles {
    /// Takes over stored versions. Those whose text is that of the tree are judged with it.
    pub(super) fn restore(
        &mut self,
        stored: BTreeMap<FileName, LastGoodFiles>,
        tree: Option<&SourceTree>,
        compiler: &mut Compiler,
    ) {
        for (name, files) in stored {
            if tree.is_some_and(|tree| is_present(&files.inputs, tree)) {
                continue;
            }
            let mut judged = compiler.compile_prices(&SourceTree(files.inputs.clone()), |_| true);
            if let Some(file) = judged.remove(&name).and_then(|one| one.good) {
                self.good.insert(name, LastGoodPrices { file, files });
            }
        }
    }

    /// Judges the price files of a tree: only those that changed are compiled. Returns the outcome and all findings.
    pub(super) fn judge(
        &mut self,
        tree: &SourceTree,
        compiler: &mut Compiler,
    ) -> (ReconciledPrices, Vec<Diagnostic>) {
        let keys: BTreeMap<&FileName, (Hash, bool)> =
            named(tree).map(|(name, text)| (name, key(text))).collect();
        self.judged.retain(|name, known| keys.get(name) == Some(&known.key));
        let new: BTreeSet<&FileName> =
            keys.keys().filter(|name| !self.judged.contains_key(**name)).copied().collect();
        if !new.is_empty() {
            for (name, judgement) in compiler.compile_prices(tree, |name| new.contains(name)) {
                if let Some(key) = keys.get(&name) {
                    self.judged.insert(name, JudgedPrices { key: *key, judgement });
                }
            }
        }
        let current = self.judged.iter().map(|(name, one)| (name, one.judgement.good.clone()));
        let outcome = reconcile_prices(current, |name| self.good.get(name).map(|good| good.file.clone()));
        let found = self.judged.values().flat_map(|one| one.judgement.found.iter().cloned()).collect();
        (outcome, found)
    }

    /// The outcome of a scan that changes nothing. `tree`: none if the directory is missing.
    pub(super) fn hold(&self, tree: Option<&SourceTree>) -> ReconciledPrices {
        let serving = self.good.iter().map(|(name, good)| {
            let stale = tree.is_none_or(|tree| !is_present(&good.files.inputs, tree));
            (name.clone(), ServingPrices { file: good.file.clone(), stale })
        });
        let serving: BTreeMap<_, _> = serving.collect();
        let present = tree.into_iter().flat_map(named).map(|(name, _)| name);
        let rejected = present.filter(|name| !serving.contains_key(*name)).cloned().collect();
        ReconciledPrices { serving, rejected }
    }

    /// Makes the outcome for a tree the last good one.
    pub(super) fn take(&mut self, outcome: &ReconciledPrices, tree: &SourceTree) {
        self.good.retain(|name, _| outcome.serving.contains_key(name));
        for (name, ServingPrices { file, stale }) in &outcome.serving {
            match self.good.get_mut(name) {
                Some(known) if *stale => drop(known.files.stale.get_or_insert_with(Staleness::begin)),
                Some(known) if Arc::ptr_eq(&known.file, file) => known.files.stale = None,
                _ => {
                    let text = tree.0.get(&file.file).map(|text| (file.file.clone(), text.clone()));
                    let files = LastGoodFiles { inputs: text.into_iter().collect(), stale: None };
                    self.good.insert(name.clone(), LastGoodPrices { file: file.clone(), files });
                }
            }
        }
    }

    /// The last good versions, to store for a restart.
    pub(super) fn stored(&self) -> impl Iterator<Item = (&FileName, &LastGoodFiles)> + Clone {
        self.good.iter().map(|(name, good)| (name, &good.files))
    }

    /// The texts that serve, by path.
    pub(super) fn inputs(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<SourceFile>)> {
        self.good.values().flat_map(|good| &good.files.inputs)
    }

    /// The time since which a file is stale.
    pub(super) fn stale(&self, name: &FileName) -> Option<Staleness> {
        self.good.get(name)?.files.stale
    }
}

/// The price files of a tree that have a valid name.
fn named(tree: &SourceTree) -> impl Iterator<Item = (&FileName, &SourceFile)> {
    let prices = tree.0.values().filter(|text| text.folder == Folder::Prices);
    prices.filter_map(|text| Some((text.name.as_ref()?, &**text)))
}

/// A built-in file with the same text has another place in the order of precedence.
fn key(text: &SourceFile) -> (Hash, bool) {
    (text.hash, text.filled_in)
}

fn is_present(inputs: &Inputs, tree: &SourceTree) -> bool {
    inputs.iter().all(|(file, text)| tree.hash_of(file) == Some(&text.hash))
}
