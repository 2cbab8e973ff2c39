//! Chooses which version of each independent file serves: the current one, its last good one, or none. Independent files,
//! such as those of prices and clients, are chosen one by one, and apart from providers: none of them can reject another file.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    base::name::FileName,
    language::compile::{ClientFile, LimitFile, PriceFile},
};

/// The independent files of all kinds that serve.
#[derive(Debug, Clone, Default)]
pub struct ReconciledIndependent {
    /// Price files.
    pub prices: ReconciledFiles<PriceFile>,
    /// Files of clients.
    pub clients: ReconciledFiles<ClientFile>,
    /// Files of limits.
    pub limits: ReconciledFiles<LimitFile>,
}

/// The independent files of a kind that serve. Every other one is rejected.
#[derive(Debug)]
pub struct ReconciledFiles<T> {
    /// Serving files.
    pub serving: BTreeMap<FileName, ServingFile<T>>,
    /// Files with errors that never were good.
    pub rejected: BTreeSet<FileName>,
}

/// An independent file that serves.
#[derive(Debug)]
pub struct ServingFile<T> {
    /// The version that serves.
    pub file: Arc<T>,
    /// True if it is the last good version, since the current one is bad.
    pub stale: bool,
}

/// Chooses what serves. `current` has none for a file with errors; `last` are the last good versions. A file that is not
/// in `current` is removed.
pub fn reconcile_files<'n, T>(
    current: impl IntoIterator<Item = (&'n FileName, Option<Arc<T>>)>,
    last: impl Fn(&FileName) -> Option<Arc<T>>,
) -> ReconciledFiles<T> {
    let mut reconciled = ReconciledFiles::default();
    for (name, current) in current {
        let stale = current.is_none();
        match current.or_else(|| last(name)) {
            Some(file) => drop(reconciled.serving.insert(name.clone(), ServingFile { file, stale })),
            None => drop(reconciled.rejected.insert(name.clone())),
        }
    }
    reconciled
}

impl<T> ReconciledFiles<T> {
    /// The files that serve, in whichever version.
    pub fn files(&self) -> Vec<Arc<T>> {
        self.serving.values().map(|one| one.file.clone()).collect()
    }

    /// The files whose current version serves.
    pub fn current(&self) -> Vec<Arc<T>> {
        self.serving.values().filter(|one| !one.stale).map(|one| one.file.clone()).collect()
    }
}

// By hand: a derived implementation would ask the same of `T`.
impl<T> Default for ReconciledFiles<T> {
    fn default() -> Self {
        Self { serving: BTreeMap::new(), rejected: BTreeSet::new() }
    }
}

impl<T> Clone for ReconciledFiles<T> {
    fn clone(&self) -> Self {
        Self { serving: self.serving.clone(), rejected: self.rejected.clone() }
    }
}

impl<T> Clone for ServingFile<T> {
    fn clone(&self) -> Self {
        Self { file: self.file.clone(), stale: self.stale }
    }
}
