//! The lookup of prices: all entries of all price files in the order of precedence, with an index by provider and model.
//!
//! An entry of the directory precedes every built-in one. Then the most specific one wins: a model's name before a glob, a
//! longer glob before a shorter one, likewise for providers, and of those for the same models the latest that has begun.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use foldhash::fast::FixedState;

use super::{NamePattern, Price, PriceFile};
use crate::base::{day::Day, diag::Location};

/// All prices that serve.
#[derive(Debug, Default)]
pub struct Prices {
    files: Vec<Arc<PriceFile>>,
    /// In the order of precedence.
    entries: Vec<PriceEntry>,
    /// The entries of providers by name. All other entries are under globs.
    named: HashMap<Box<str>, ModelIndex, FixedState>,
    globs: ModelIndex,
}

/// A price for one provider pattern and one model pattern.
#[derive(Debug, Clone)]
pub struct PriceEntry {
    /// The provider.
    pub provider: NamePattern,
    /// The model.
    pub model: NamePattern,
    /// The location of the model in the file.
    pub at: Location,
    /// The price.
    pub price: Arc<Price>,
    /// True if the file is a built-in one that the directory lacks.
    pub built_in: bool,
}

/// The indexes of entries, each list in the order of precedence.
#[derive(Debug, Default)]
struct ModelIndex {
    exact: HashMap<Box<str>, Vec<usize>, FixedState>,
    globs: Vec<usize>,
}

impl Prices {
    /// The prices of these files. Of entries that are equally specific, that of the first file precedes.
    pub fn new(mut files: Vec<Arc<PriceFile>>) -> Self {
        files.sort_by(|one, other| one.name.cmp(&other.name));
        let mut entries: Vec<PriceEntry> = files.iter().flat_map(|file| file.entries()).collect();
        // Stable: the order of files and of entries in a file stays.
        entries.sort_by_key(|entry| Reverse(entry.rank()));
        let mut prices = Self { files, ..Self::default() };
        for (index, entry) in entries.iter().enumerate() {
            let models = match &entry.provider {
                NamePattern::Exact(name) => prices.named.entry(name.clone()).or_default(),
                NamePattern::Glob { .. } => &mut prices.globs,
            };
            match &entry.model {
                NamePattern::Exact(name) => models.exact.entry(name.clone()).or_default().push(index),
                NamePattern::Glob { .. } => models.globs.push(index),
            }
        }
        Self { entries, ..prices }
    }

    /// The price of a model at a provider on a day.
    pub fn find(&self, provider: &str, model: &str, day: Day) -> Option<&Price> {
        let models = self.named.get(provider).into_iter().chain([&self.globs]);
        let lists = models.flat_map(|models| models.exact.get(model).into_iter().chain([&models.globs]));
        let best = lists.filter_map(|list| {
            list.iter().copied().find(|index| self.entries[*index].applies(provider, model, day))
        });
        best.min().map(|index| &*self.entries[index].price)
    }

    /// True if an entry for the provider has the name of the model, whatever its day.
    pub fn is_listed(&self, provider: &str, model: &str) -> bool {
        let has = |entries: &Vec<usize>| {
            entries.iter().any(|index| self.entries[*index].provider.matches(provider))
        };
        let models = self.named.get(provider).into_iter().chain([&self.globs]);
        models.filter_map(|models| models.exact.get(model)).any(has)
    }

    /// All entries for a model at a provider on a day. The first one is that of [`Prices::find`].
    pub fn matches(&self, provider: &str, model: &str, day: Day) -> impl Iterator<Item = &PriceEntry> {
        self.entries.iter().filter(move |entry| entry.applies(provider, model, day))
    }

    /// All entries in the order of precedence.
    pub fn entries(&self) -> &[PriceEntry] {
        &self.entries
    }

    /// The files by name.
    pub fn files(&self) -> &[Arc<PriceFile>] {
        &self.files
    }
}

impl PriceEntry {
    fn applies(&self, provider: &str, model: &str, day: Day) -> bool {
        self.price.from <= day && self.provider.matches(provider) && self.model.matches(model)
    }

    fn rank(&self) -> impl Ord + use<> {
        (!self.built_in, self.model.specificity(), self.provider.specificity(), self.price.from)
    }
}

impl PriceFile {
    /// Its entries: one for each provider and model of each price.
    pub fn entries(&self) -> impl Iterator<Item = PriceEntry> {
        self.prices.iter().flat_map(move |price| {
            price.providers.iter().flat_map(move |provider| {
                price.models.iter().map(move |(model, at)| PriceEntry {
                    provider: provider.clone(),
                    model: model.clone(),
                    at: at.clone(),
                    price: price.clone(),
                    built_in: self.built_in,
                })
            })
        })
    }
}
