//! The lookup of prices: all entries of all price files in the order of precedence, with an index by provider and model.
//!
//! An entry of the directory precedes every built-in one. Then the most specific one wins: a model's name before a glob, a
//! longer glob before a shorter one, likewise for providers, and of those for the same models the latest that has begun.

use std::{cmp::Reverse, hash::BuildHasher as _, sync::Arc};

use foldhash::fast::FixedState;

use super::{NamePattern, Price, PriceFile};
use crate::base::{
    day::Day,
    diag::{Location, Span},
};

/// All prices that serve.
#[derive(Debug, Default)]
pub struct Prices {
    files: Vec<Arc<PriceFile>>,
    /// All entries, in the order of precedence.
    places: Vec<Place>,
    /// The index of each entry by the hash of its names, in order.
    by_names: Vec<(u64, usize)>,
}

/// The place of an entry: the indexes of its file, and of what it has there.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: u32,
    price: u32,
    provider: u32,
    model: u32,
}

/// A price for one provider pattern and one model pattern.
#[derive(Debug, Clone, Copy)]
pub struct PriceEntry<'p> {
    /// Its file.
    pub file: &'p PriceFile,
    /// The price.
    pub price: &'p Price,
    /// The provider.
    pub provider: &'p NamePattern,
    /// The model.
    pub model: &'p NamePattern,
    /// The place of the model in the file.
    pub span: Span,
}

impl Prices {
    /// The prices of these files. Of entries that are equally specific, that of the first file precedes.
    pub fn new(mut files: Vec<Arc<PriceFile>>) -> Self {
        files.sort_by(|one, other| one.name.cmp(&other.name));
        let mut places: Vec<Place> = (0..).zip(&files).flat_map(|(file, one)| places(file, one)).collect();
        // Stable: the order of files and of entries in a file stays.
        places.sort_by_cached_key(|place| Reverse(place.entry(&files).rank()));
        let names = places.iter().map(|place| place.entry(&files).names());
        let mut by_names: Vec<_> = names.map(hash).zip(0..).collect();
        by_names.sort_unstable();
        Self { files, places, by_names }
    }

    /// The price of a model at a provider on a day.
    pub fn find(&self, provider: &str, model: &str, day: Day) -> Option<&Price> {
        let names = [(provider, model), (provider, GLOB), (GLOB, model), (GLOB, GLOB)];
        let first = |names| {
            self.with_hash(hash(names)).find(|index| self.entry(*index).applies(provider, model, day))
        };
        let best = names.into_iter().filter_map(first).min();
        best.map(|index| self.entry(index).price)
    }

    /// True if an entry for the provider has the name of the model, whatever its day.
    pub fn is_listed(&self, provider: &str, model: &str) -> bool {
        let is_for = |entry: PriceEntry<'_>| {
            matches!(entry.model, NamePattern::Exact(name) if **name == *model)
                && entry.provider.matches(provider)
        };
        let names = [(provider, model), (GLOB, model)].into_iter();
        names.flat_map(|names| self.with_hash(hash(names))).any(|index| is_for(self.entry(index)))
    }

    /// All entries for a model at a provider on a day. The first one is that of [`Prices::find`].
    pub fn matches(&self, provider: &str, model: &str, day: Day) -> impl Iterator<Item = PriceEntry<'_>> {
        self.entries().filter(move |entry| entry.applies(provider, model, day))
    }

    /// All entries in the order of precedence.
    pub fn entries(&self) -> impl Iterator<Item = PriceEntry<'_>> {
        self.places.iter().map(|place| place.entry(&self.files))
    }

    /// The files by name.
    pub fn files(&self) -> &[Arc<PriceFile>] {
        &self.files
    }

    fn entry(&self, index: usize) -> PriceEntry<'_> {
        self.places[index].entry(&self.files)
    }

    /// The indexes of the entries whose names have this hash, in the order of precedence.
    fn with_hash(&self, hash: u64) -> impl Iterator<Item = usize> {
        let start = self.by_names.partition_point(|(known, _)| *known < hash);
        let rest = self.by_names[start..].iter();
        rest.take_while(move |(known, _)| *known == hash).map(|(_, index)| *index)
    }
}

/// Stands for the name in the hash of an entry with a glob. No name is empty.
const GLOB: &str = "";

fn hash(names: (&str, &str)) -> u64 {
    FixedState::default().hash_one(names)
}

/// The places of a file's entries: one for each provider and model of each price.
fn places(file: u32, prices: &PriceFile) -> impl Iterator<Item = Place> {
    (0..).zip(&prices.prices).flat_map(move |(price, one)| {
        (0..).zip(&*one.providers).flat_map(move |(provider, _)| {
            (0..).zip(&one.models).map(move |(model, _)| Place { file, price, provider, model })
        })
    })
}

impl Place {
    fn entry(self, files: &[Arc<PriceFile>]) -> PriceEntry<'_> {
        let index = |index: u32| usize::try_from(index).expect("an index of a list in memory");
        let file = &*files[index(self.file)];
        let price = &file.prices[index(self.price)];
        let (model, span) = &price.models[index(self.model)];
        PriceEntry { file, price, provider: &price.providers[index(self.provider)], model, span: *span }
    }
}

impl<'p> PriceEntry<'p> {
    /// The location of the model in the file.
    pub fn at(&self) -> Location {
        self.span.of(&self.file.file)
    }

    fn applies(&self, provider: &str, model: &str, day: Day) -> bool {
        self.price.from <= day && self.provider.matches(provider) && self.model.matches(model)
    }

    fn rank(&self) -> impl Ord + use<> {
        (!self.file.built_in, self.model.specificity(), self.provider.specificity(), self.price.from)
    }

    /// The names, with [`GLOB`] for a glob.
    fn names(&self) -> (&'p str, &'p str) {
        let name = |pattern: &'p NamePattern| match pattern {
            NamePattern::Exact(name) => &**name,
            NamePattern::Glob(_) => GLOB,
        };
        (name(self.provider), name(self.model))
    }
}

impl PriceFile {
    /// Its entries: one for each provider and model of each price.
    pub fn entries(&self) -> impl Iterator<Item = PriceEntry<'_>> {
        self.prices.iter().flat_map(move |price| {
            price.providers.iter().flat_map(move |provider| {
                price.models.iter().map(move |(model, span)| PriceEntry {
                    file: self,
                    price,
                    provider,
                    model,
                    span: *span,
                })
            })
        })
    }
}
