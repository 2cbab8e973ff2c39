//! The last good version of every provider, in memory: its texts, the provider compiled from them, and hashes of the
//! secret files that it is bound to. These are the providers that serve.
//!
//! It guarantees that an unchanged provider is not compiled again, and that a replaced secret takes effect even for a
//! provider whose files are bad now. It does not choose between versions: `evaluate` does. Read next: `last_good_dir` for
//! the copy on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    SourceFile, SourceTree,
    compiler::Compiler,
    last_good_dir::LastGoodFiles,
    log, served,
    source_file::{self, Hash},
    staleness::Staleness,
    tree::Inputs,
    vars::Fingerprints,
};
use crate::{
    compile::{self, Rejected},
    name::FileName,
    pipeline::Judgement,
    reconcile::{CurrentVersion, Good, Reconciled, Serving},
};

/// One provider in its last good version.
pub(super) struct LastGood {
    pub good: Good,
    pub files: LastGoodFiles,
    fingerprints: Fingerprints,
}

/// The last good versions of all providers.
#[derive(Default)]
pub(super) struct LastGoodSet {
    providers: BTreeMap<FileName, LastGood>,
    /// Stored versions that do not compile now, for instance because a secret is missing. Each scan tries again.
    unrestored: BTreeMap<FileName, LastGoodFiles>,
}

impl LastGoodSet {
    pub(super) fn is_empty(&self) -> bool {
        self.providers.is_empty()
    }

    /// True if one of them is a file of the directory, and not a built-in one.
    pub(super) fn has_own_provider(&self) -> bool {
        let restored = self.providers.values().map(|one| &one.files);
        restored.chain(self.unrestored.values()).any(LastGoodFiles::has_own_provider)
    }

    pub(super) fn get(&self, name: &FileName) -> Option<&LastGood> {
        self.providers.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&FileName, &LastGood)> + Clone {
        self.providers.iter()
    }

    /// The providers alone, as `reconcile` takes them.
    pub(super) fn good(&self) -> BTreeMap<FileName, Good> {
        self.iter().map(|(name, one)| (name.clone(), one.good.clone())).collect()
    }

    /// The texts that serve, by provider.
    pub(super) fn served(&self) -> served::InputsByProvider {
        self.iter().map(|(name, one)| (name.clone(), one.files.inputs.clone())).collect()
    }

    /// The providers that serve, before vars are filled in.
    pub(super) fn compiled(&self) -> BTreeMap<FileName, Arc<compile::Provider>> {
        self.iter().map(|(name, one)| (name.clone(), one.good.compiled.clone())).collect()
    }

    /// Everything to store for a restart.
    pub(super) fn stored(&self) -> impl Iterator<Item = (&FileName, &LastGoodFiles)> + Clone {
        self.iter().map(|(name, one)| (name, &one.files)).chain(&self.unrestored)
    }

    /// The providers whose texts and secret files are those of their last good version.
    pub(super) fn unchanged(&self, tree: &SourceTree, compiler: &mut Compiler) -> BTreeSet<FileName> {
        let policy = tree.policy().map(|(file, _)| file);
        let mut unchanged = |one: &LastGood| {
            is_same(&one.files.inputs, tree, policy)
                && compiler.fingerprints(&one.good.compiled) == one.fingerprints
        };
        self.iter().filter(|(_, one)| unchanged(one)).map(|(name, _)| name.clone()).collect()
    }

    /// Compiles stored versions from their own texts.
    pub(super) fn restore(&mut self, stored: BTreeMap<FileName, LastGoodFiles>, compiler: &mut Compiler) {
        for (name, files) in stored {
            let mut made = compiler.compile(&SourceTree(files.inputs.clone()), |_| true);
            if let Some(Judgement { current: CurrentVersion::New(good), .. }) = made.providers.remove(&name) {
                self.insert(name, good, files, compiler);
            } else {
                self.unrestored.insert(name, files);
            }
        }
    }

    /// Tries again to compile the stored versions that did not compile before.
    pub(super) fn retry(&mut self, compiler: &mut Compiler) {
        let unrestored = std::mem::take(&mut self.unrestored);
        self.restore(unrestored, compiler);
    }

    /// Takes over stored versions whose texts are those of the directory: `current` has them compiled. Those that are bad
    /// there are compiled from their own texts.
    pub(super) fn adopt(
        &mut self,
        stored: BTreeMap<FileName, LastGoodFiles>,
        current: &mut BTreeMap<FileName, CurrentVersion>,
        compiler: &mut Compiler,
    ) {
        let mut spoilt = BTreeMap::new();
        for (name, files) in stored {
            if let Some(CurrentVersion::New(good)) = current.get(&name) {
                let (good, files) = (good.clone(), LastGoodFiles { stale: None, ..files });
                current.insert(name.clone(), CurrentVersion::Same);
                self.insert(name, good, files, compiler);
            } else {
                // Its own texts are the same: a test in a file that is not among them made one of them bad.
                spoilt.insert(name, files);
            }
        }
        self.restore(spoilt, compiler);
    }

    /// Binds providers again whose secret files changed, stale ones too: a revoked secret must not stay in use.
    pub(super) fn rebind(&mut self, compiler: &mut Compiler) {
        for one in self.providers.values_mut() {
            let fingerprints = compiler.fingerprints(&one.good.compiled);
            if fingerprints == one.fingerprints {
                continue;
            }
            if let Some(bound) = compiler.bind(&one.good.compiled) {
                one.good.bound = bound;
                one.fingerprints = fingerprints;
            }
        }
    }

    /// Removes the versions that have been stale for `max_stale` or longer. Returns the providers.
    pub(super) fn expire(&mut self, max_stale: Option<Duration>) -> Vec<Rejected> {
        let Some(max) = max_stale else { return Vec::new() };
        self.unrestored.retain(|_, files| !files.is_expired(max));
        let expired = self.providers.extract_if(.., |_, one| one.files.is_expired(max));
        let rejected = expired.map(|(name, one)| {
            log::expired(&name);
            Rejected::from(&*one.good.compiled)
        });
        rejected.collect()
    }

    /// The time until the next version expires.
    pub(super) fn until_expiry(&self, max_stale: Option<Duration>) -> Duration {
        let Some(max) = max_stale else { return Duration::MAX };
        let stale = self.providers.values().filter_map(|one| one.files.stale);
        stale.map(|stale| stale.left(max)).min().unwrap_or(Duration::MAX)
    }

    /// Makes the chosen providers the last good ones. The files of `held_back` are good, and only `strict` keeps them
    /// from serving: their `max_stale` does not run.
    pub(super) fn update(
        &mut self,
        tree: &SourceTree,
        reconciled: &Reconciled,
        held_back: &BTreeSet<FileName>,
        compiler: &mut Compiler,
    ) {
        // A missing directory deletes no provider.
        let out =
            |name: &FileName| tree.0.is_empty() || reconciled.rejected.iter().any(|one| one.name == *name);
        self.unrestored.retain(|name, _| !reconciled.serving.contains_key(name) && out(name));
        self.providers.retain(|name, _| reconciled.serving.contains_key(name));
        for (name, Serving { good, stale }) in &reconciled.serving {
            if let Some(known) = self.providers.get_mut(name) {
                known.good.linked = true;
            }
            match self.providers.get_mut(name) {
                Some(_) if *stale && held_back.contains(name) => {}
                Some(known) if *stale => {
                    known.files.stale.get_or_insert_with(Staleness::begin);
                }
                Some(known) if Arc::ptr_eq(&known.good.bound, &good.bound) => {
                    known.files.stale = None;
                }
                _ => {
                    let files = LastGoodFiles { inputs: inputs(good, tree), stale: None };
                    let good = Good { linked: true, ..good.clone() };
                    self.insert(name.clone(), good, files, compiler);
                }
            }
        }
    }

    fn insert(&mut self, name: FileName, good: Good, files: LastGoodFiles, compiler: &mut Compiler) {
        let fingerprints = compiler.fingerprints(&good.compiled);
        self.providers.insert(name, LastGood { good, files, fingerprints });
    }

    /// SHA-256 over all texts that serve, those of independent files included. It leaves the directory's path out: nodes with the
    /// same files have the same.
    pub(super) fn hash<'t>(&'t self, prices: impl Iterator<Item = &'t Arc<SourceFile>>) -> Hash {
        let texts =
            self.iter().flat_map(|(name, one)| one.files.inputs.values().map(move |text| (name, text)));
        let mut texts: Vec<_> = texts.collect();
        texts.sort_by_key(|(provider, text)| (*provider, text.folder, &text.name));
        let mut parts = Vec::new();
        for (provider, text) in texts {
            let name = text.name.as_ref().map_or("", FileName::as_str);
            let (provider, folder) = (provider.as_str(), text.folder.name());
            parts.extend([provider.as_bytes(), folder.as_bytes(), name.as_bytes(), &text.hash]);
        }
        for text in prices {
            let name = text.name.as_ref().map_or("", FileName::as_str);
            parts.extend([text.folder.name().as_bytes(), name.as_bytes(), &text.hash]);
        }
        source_file::hash_parts(&parts)
    }
}

/// The texts of the files that a provider was compiled from.
fn inputs(good: &Good, tree: &SourceTree) -> Inputs {
    let inputs = good.compiled.inputs.iter();
    inputs.filter_map(|file| Some((file.clone(), tree.0.get(file)?.clone()))).collect()
}

/// True if the tree holds the same texts. `policy` is the tree's policy file, found once for all providers.
pub(super) fn is_same(inputs: &Inputs, tree: &SourceTree, policy: Option<&Arc<str>>) -> bool {
    // Without the policy among its inputs, the provider was never checked against the policy.
    policy.is_none_or(|file| inputs.contains_key(file))
        && inputs.iter().all(|(file, text)| tree.hash_of(file) == Some(&text.hash))
}
