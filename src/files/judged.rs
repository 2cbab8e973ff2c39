//! The memo of judgements: a file that was judged is not judged again while its texts, its secret files and all shared
//! files stay the same. It serves files that are not live: those that are live are known to be good.
//!
//! It guarantees that a file which takes long to judge delays no change of another file twice. It decides nothing. Read
//! next: `compiler`, which judges; `evaluate`, which chooses.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    SourceTree,
    compiler::Compiler,
    source_file::{Hash, hash_parts},
    vars::Fingerprints,
};
use crate::{
    compile,
    diag::Diagnostic,
    name::FileName,
    pipeline::{Folder, Judgement, Loaded},
    reconcile::CurrentVersion,
};

/// The judgements of the last scan.
#[derive(Default)]
pub(super) struct JudgedFiles {
    shared: Option<JudgedShared>,
    providers: BTreeMap<FileName, JudgedProvider>,
}

/// Presets, gateways, apis and the policy.
struct JudgedShared {
    key: Hash,
    /// Findings of tests and lints. An error takes the providers that use the file out of service.
    found: Vec<Diagnostic>,
    compiled: Vec<Diagnostic>,
    /// The parsed gateways, for the lint about those that nobody uses.
    loaded: Loaded,
}

struct JudgedProvider {
    hash: Hash,
    fingerprints: Fingerprints,
    judgement: Judgement,
}

impl JudgedFiles {
    /// Judges the wanted providers of a tree. Only those that changed are compiled.
    pub(super) fn judge(
        &mut self,
        tree: &SourceTree,
        wanted: impl Fn(&FileName) -> bool,
        compiler: &mut Compiler,
    ) -> BTreeMap<FileName, Judgement> {
        let key = shared_key(tree);
        if self.shared.as_ref().is_none_or(|shared| shared.key != key) {
            *self = Self::default();
        }
        let wanted = own_hashes(tree).filter(|(name, _)| wanted(name));
        let wanted: BTreeMap<_, _> = wanted.collect();
        self.providers.retain(|name, known| {
            wanted.get(name) == Some(&known.hash) && compiler.are_current(&known.fingerprints)
        });
        let new: BTreeSet<&FileName> =
            wanted.keys().filter(|name| !self.providers.contains_key(*name)).collect();
        if !new.is_empty() || self.shared.is_none() {
            let known = self.shared.take().map(|shared| shared.found);
            let (loaded, built) = compiler.compile_with(tree, |name| new.contains(name), known);
            for (name, judgement) in built.providers {
                let fingerprints = compiler.fingerprints_of(&judgement.sources);
                if let Some(hash) = wanted.get(&name).copied() {
                    self.providers.insert(name, JudgedProvider { hash, fingerprints, judgement });
                }
            }
            let loaded = loaded.gateways_only();
            self.shared = Some(JudgedShared { key, found: built.shared, compiled: built.compiled, loaded });
        }
        self.providers.iter().map(|(name, one)| (name.clone(), one.judgement.clone())).collect()
    }

    /// Findings about shared files.
    pub(super) fn shared(&self) -> impl Iterator<Item = &Diagnostic> {
        self.shared.iter().flat_map(|shared| shared.found.iter().chain(&shared.compiled))
    }

    /// The gateways that none of the serving providers uses.
    pub(super) fn unused_gateways<'p>(
        &self,
        serving: impl Iterator<Item = &'p compile::Provider>,
        rejected: &[compile::Rejected],
    ) -> Vec<Diagnostic> {
        self.shared.as_ref().map_or_else(Vec::new, |shared| shared.loaded.unused_gateways(serving, rejected))
    }
}

/// The hash of everything that is judged with every provider: shared files, and files without a valid name.
fn shared_key(tree: &SourceTree) -> Hash {
    let shared = tree.0.iter().filter(|(_, text)| text.folder.is_shared() || text.name.is_none());
    let parts: Vec<&[u8]> = shared
        .flat_map(|(file, text)| {
            let origin: &[u8] = if text.filled_in { b"built-in" } else { b"" };
            [file.as_bytes(), &text.hash, origin]
        })
        .collect();
    hash_parts(&parts)
}

/// The providers of a tree, each with the hash of its own file.
fn own_hashes(tree: &SourceTree) -> impl Iterator<Item = (FileName, Hash)> {
    let own = tree.0.values().filter(|text| text.folder == Folder::Providers);
    own.filter_map(|text| Some((text.name.clone()?, text.hash)))
}

/// The providers alone.
pub(super) fn current(judgements: &BTreeMap<FileName, Judgement>) -> BTreeMap<FileName, CurrentVersion> {
    judgements.iter().map(|(name, one)| (name.clone(), one.current.clone())).collect()
}
