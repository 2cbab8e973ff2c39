//! What of the providers no test goes through: endpoints, auth entries, gateways, egresses. Counted for each provider
//! by itself, whatever its preset's own tests say: a file that changes one line may change all of it.

use std::{collections::BTreeSet, sync::Arc};

use super::Went;
use crate::{
    base::{diag::At, name::FileName},
    language::compile::Provider,
};

/// What tests went through.
#[derive(Debug, Default)]
pub struct Coverage {
    /// All that there is to go through.
    all: Vec<Item>,
    gone: BTreeSet<(Arc<str>, &'static str, usize)>,
}

/// Something of a provider that a test can go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The provider.
    pub provider: FileName,
    /// `endpoint`, `auth entry`, `gateway` or `egress`.
    pub kind: &'static str,
    /// Its name; its number from 1, if it has none.
    pub name: String,
    /// Where it is written; of what a preset says, where the provider's file brings it in, if that is known.
    pub at: At,
    /// The provider's file, and which one it is there: two directories may have providers of one name.
    key: (Arc<str>, &'static str, usize),
}

const ENDPOINT: &str = "endpoint";
const AUTH: &str = "auth entry";
const GATEWAY: &str = "gateway";
const EGRESS: &str = "egress";

impl Coverage {
    /// Adds a provider, with nothing gone through.
    pub fn add(&mut self, provider: &Provider) {
        let mut add = |kind, index, name: String, at: &At| {
            let key = (provider.at.file.clone(), kind, index);
            self.all.push(Item { provider: provider.name.clone(), kind, name, at: at.clone(), key });
        };
        for (index, one) in provider.endpoints.iter().enumerate() {
            add(ENDPOINT, index, one.name.clone(), one.paths.first().map_or(&one.at, |path| &path.at));
        }
        for (index, one) in provider.auth.iter().enumerate() {
            add(AUTH, index, format!("{} ({})", index + 1, one.field), &one.at);
        }
        for (index, one) in provider.gateways.iter().enumerate() {
            add(GATEWAY, index, one.gateway.name.to_string(), &one.at);
        }
        for (index, one) in provider.egress.iter().enumerate() {
            add(EGRESS, index, (index + 1).to_string(), &one.at);
        }
    }

    /// A test of the provider went this way.
    pub fn went(&mut self, provider: &Provider, went: &Went) {
        let gateway = |name: &FileName| provider.gateways.iter().position(|one| one.gateway.name == *name);
        let gone = went.endpoint.map(|index| (ENDPOINT, index)).into_iter();
        let gone = gone.chain(went.auth.map(|index| (AUTH, index)));
        let gone = gone.chain(went.gateway.as_ref().and_then(gateway).map(|index| (GATEWAY, index)));
        let gone = gone.chain(went.egresses.iter().map(|index| (EGRESS, *index)));
        self.gone.extend(gone.map(|(kind, index)| (provider.at.file.clone(), kind, index)));
    }

    /// Adds what is known of other providers.
    pub fn extend(&mut self, other: Self) {
        self.all.extend(other.all);
        self.gone.extend(other.gone);
    }

    /// What no test went through.
    pub fn missing(&self) -> impl Iterator<Item = &Item> {
        self.all.iter().filter(|item| !self.has(item))
    }

    /// Of each kind that there is: its name, how many tests went through, how many there are.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, usize, usize)> {
        [ENDPOINT, AUTH, GATEWAY, EGRESS].into_iter().filter_map(|kind| {
            let (gone, all) = self.count(|item| item.kind == kind);
            (all > 0).then_some((kind, gone, all))
        })
    }

    /// How much of all tests went through, in percent. All of nothing.
    pub fn percent(&self) -> f64 {
        let (gone, all) = self.count(|_| true);
        let exact = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        if all == 0 { 100.0 } else { exact(gone) * 100.0 / exact(all) }
    }

    fn has(&self, item: &Item) -> bool {
        self.gone.contains(&item.key)
    }

    fn count(&self, wanted: impl Fn(&Item) -> bool) -> (usize, usize) {
        let all = self.all.iter().filter(|item| wanted(item));
        all.fold((0, 0), |(gone, all), item| (gone + usize::from(self.has(item)), all + 1))
    }
}
