//! Test coverage of providers: endpoints, auth entries, gateways and egresses that no test exercises. Each provider
//! counts for itself. Tests of its preset do not count, since one line of a file may change everything.

use std::{collections::BTreeSet, sync::Arc};

use super::Exercised;
use crate::{
    base::{diag::Location, name::FileName},
    language::compile::Provider,
};

/// The items of all providers, and those that tests exercised.
#[derive(Debug, Default)]
pub struct Coverage {
    all: Vec<Item>,
    covered: BTreeSet<(Arc<str>, &'static str, usize)>,
}

/// An item of a provider that a test can exercise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The provider.
    pub provider: FileName,
    /// `endpoint`, `auth entry`, `gateway` or `egress`.
    pub kind: &'static str,
    /// Its name, or its number from 1 if it has none.
    pub name: String,
    /// Its position. For an item of a preset: the position in the provider's file that includes it, if known.
    pub at: Location,
    /// The provider's file, kind and index. Not the name: two directories may have providers of the same name.
    key: (Arc<str>, &'static str, usize),
}

const ENDPOINT: &str = "endpoint";
const AUTH: &str = "auth entry";
const GATEWAY: &str = "gateway";
const EGRESS: &str = "egress";

impl Coverage {
    /// Adds a provider's items, none of them exercised.
    pub fn add(&mut self, provider: &Provider) {
        let mut add = |kind, index, name: String, at: &Location| {
            let key = (provider.at.file.clone(), kind, index);
            self.all.push(Item { provider: provider.name.clone(), kind, name, at: at.clone(), key });
        };
        // The tests of a set's endpoints are in the set's file.
        for (index, one) in provider.endpoints.iter().enumerate().filter(|(_, one)| !one.is_of_set) {
            add(ENDPOINT, index, one.name.clone(), one.paths.first().map_or(&one.at, |path| &path.at));
        }
        for (index, one) in provider.auth.iter().enumerate() {
            add(AUTH, index, format!("{} ({})", index + 1, provider.auth_name(one)), &one.at);
        }
        for (index, one) in provider.gateways.iter().enumerate() {
            add(GATEWAY, index, one.gateway.name.to_string(), &one.at);
        }
        for (index, one) in provider.egress.iter().enumerate() {
            add(EGRESS, index, (index + 1).to_string(), &one.at);
        }
    }

    /// Marks the items that a test of the provider exercised.
    pub fn mark(&mut self, provider: &Provider, exercised: &Exercised) {
        let gateway = |name: &FileName| provider.gateways.iter().position(|one| one.gateway.name == *name);
        let covered = exercised.endpoint.map(|index| (ENDPOINT, index)).into_iter();
        let covered = covered.chain(exercised.auth.map(|index| (AUTH, index)));
        let covered =
            covered.chain(exercised.gateway.as_ref().and_then(gateway).map(|index| (GATEWAY, index)));
        let covered = covered.chain(exercised.egresses.iter().map(|index| (EGRESS, *index)));
        self.covered.extend(covered.map(|(kind, index)| (provider.at.file.clone(), kind, index)));
    }

    /// Adds the coverage of other providers.
    pub fn extend(&mut self, other: Self) {
        self.all.extend(other.all);
        self.covered.extend(other.covered);
    }

    /// Items that no test exercised.
    pub fn missing(&self) -> impl Iterator<Item = &Item> {
        self.all.iter().filter(|item| !self.has(item))
    }

    /// For each kind that occurs: its name, the number of exercised items, the number of all.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, usize, usize)> {
        [ENDPOINT, AUTH, GATEWAY, EGRESS].into_iter().filter_map(|kind| {
            let (covered, all) = self.count(|item| item.kind == kind);
            (all > 0).then_some((kind, covered, all))
        })
    }

    /// Exercised items in percent. 100 if there are none.
    pub fn percent(&self) -> f64 {
        let (covered, all) = self.count(|_| true);
        let exact = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        if all == 0 { 100.0 } else { exact(covered) * 100.0 / exact(all) }
    }

    fn has(&self, item: &Item) -> bool {
        self.covered.contains(&item.key)
    }

    fn count(&self, wanted: impl Fn(&Item) -> bool) -> (usize, usize) {
        let all = self.all.iter().filter(|item| wanted(item));
        all.fold((0, 0), |(covered, all), item| (covered + usize::from(self.has(item)), all + 1))
    }
}
