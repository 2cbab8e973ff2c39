//! Chooses which version of each price file serves: the current one, its last good one, or none. Price files are chosen one
//! by one, and apart from providers: none of them can reject another file.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    base::name::FileName,
    language::compile::{PriceFile, Prices},
};

/// The price files that serve. Every other one is rejected.
#[derive(Debug, Clone, Default)]
pub struct ReconciledPrices {
    /// Serving files.
    pub serving: BTreeMap<FileName, ServingPrices>,
    /// Files with errors that never were good.
    pub rejected: BTreeSet<FileName>,
}

/// A price file that serves.
#[derive(Debug, Clone)]
pub struct ServingPrices {
    /// The version that serves.
    pub file: Arc<PriceFile>,
    /// True if it is the last good version, since the current one is bad.
    pub stale: bool,
}

/// Chooses what serves. `current` has none for a file with errors; `last` are the last good versions. A file that is not
/// in `current` is removed.
pub fn reconcile_prices<'n>(
    current: impl IntoIterator<Item = (&'n FileName, Option<Arc<PriceFile>>)>,
    last: impl Fn(&FileName) -> Option<Arc<PriceFile>>,
) -> ReconciledPrices {
    let mut reconciled = ReconciledPrices::default();
    for (name, current) in current {
        let stale = current.is_none();
        match current.or_else(|| last(name)) {
            Some(file) => drop(reconciled.serving.insert(name.clone(), ServingPrices { file, stale })),
            None => drop(reconciled.rejected.insert(name.clone())),
        }
    }
    reconciled
}

impl ReconciledPrices {
    /// The prices that serve.
    pub fn prices(&self) -> Prices {
        Prices::new(self.serving.values().map(|one| one.file.clone()).collect())
    }

    /// The files whose current version serves.
    pub fn current(&self) -> Vec<Arc<PriceFile>> {
        self.serving.values().filter(|one| !one.stale).map(|one| one.file.clone()).collect()
    }
}
