//! Compares two sets of provider files by meaning: additions, removals and changes of each provider, with its preset,
//! gateways and apis, and which of them widen exposure. Another spelling of the same meaning is no difference, nor is a
//! test.
//!
//! It never shows what looks like a key. Read next: `facts`, which lists what is compared; `widens`, which rates it.

mod clients;
mod facts;
mod prices;
mod reached;
mod show;
mod widens;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::name::FileName,
    language::compile::{Clients, Prices, Provider},
};

pub use show::{human, markdown};

use facts::facts;
use reached::pairs;
use widens::Rating;

/// The subject of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "the tables and keys of a provider file, the origins that are called, prices, and clients"
)]
#[schemars(rename = "DiffSubject")]
pub enum Subject {
    Paths,
    Upstream,
    Endpoint,
    Origin,
    Credentials,
    Auth,
    Headers,
    Query,
    Gateway,
    Egress,
    Caller,
    Var,
    Timeouts,
    Limits,
    Response,
    Api,
    Metering,
    Telemetry,
    CorsHeaders,
    PasteToken,
    Probe,
    Price,
    Client,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DiffChange")]
pub struct Change {
    /// Its subject.
    #[serde(rename = "what")]
    pub subject: Subject,
    /// The name of the one that changed.
    pub name: String,
    /// The old value; none if it was added.
    pub old: Option<String>,
    /// The new value; none if it was removed.
    pub new: Option<String>,
    /// The reason why it widens exposure; none if it does not.
    pub widens: Option<String>,
}

/// The kind of change to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "DiffKind")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is removed.
    Removed,
    /// Its meaning changed.
    Changed,
}

/// Providers with the same differences. If there are several, `{provider}` stands for each name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DiffGroup")]
pub struct Group {
    /// Their names.
    pub providers: Vec<String>,
    /// The kind of change.
    #[serde(rename = "became")]
    pub kind: ChangeKind,
    /// The differences of each.
    pub changes: Vec<Change>,
}

/// The result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "DiffVerdict")]
pub enum Verdict {
    /// They mean the same.
    Same,
    /// They differ, and nothing more is exposed.
    Different,
    /// More is exposed.
    Widened,
}

/// All differences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// The result of all.
    pub verdict: Verdict,
    /// By provider; groups that widen exposure come first.
    pub groups: Vec<Group>,
    /// Those of prices. They neither widen nor narrow access.
    pub prices: Vec<Change>,
    /// Those of clients: texts on pages. They neither widen nor narrow access.
    pub clients: Vec<Change>,
}

/// Providers with the same differences, each with its own texts of them.
type Users<'a> = Vec<(&'a FileName, Vec<Change>)>;

/// Compares two sets of providers.
pub fn diff(old: &[Arc<Provider>], new: &[Arc<Provider>]) -> Diff {
    // A value that already reached an origin, through any provider, is not exposed by reaching it again.
    let reached: BTreeSet<(String, String)> = old.iter().flat_map(|provider| pairs(provider)).collect();
    let by_name = |all: &[Arc<Provider>]| -> BTreeMap<FileName, Arc<Provider>> {
        all.iter().map(|provider| (provider.name.clone(), provider.clone())).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    // They act on the requests to all providers. None if no provider is left.
    let locations: Option<BTreeSet<String>> = (!new.is_empty())
        .then(|| new.values().flat_map(|provider| facts::locations(&provider.caller)).collect());
    let names: BTreeSet<&FileName> = old.keys().chain(new.keys()).collect();
    let mut grouped: BTreeMap<(ChangeKind, Vec<Change>), Users<'_>> = BTreeMap::new();
    for name in names {
        let (before, after) = (old.get(name), new.get(name));
        let kind = match (before, after) {
            (Some(_), Some(_)) => ChangeKind::Changed,
            (None, _) => ChangeKind::Added,
            (Some(_), None) => ChangeKind::Removed,
        };
        let changes =
            compare(before.map(AsRef::as_ref), after.map(AsRef::as_ref), &reached, locations.as_ref());
        if !changes.is_empty() {
            let alike = changes.iter().map(|change| change.without(name.as_str())).collect();
            grouped.entry((kind, alike)).or_default().push((name, changes));
        }
    }
    let groups = grouped.into_iter().map(|((kind, alike), mut users)| {
        let providers = users.iter().map(|(name, _)| name.to_string()).collect();
        let changes = if users.len() == 1 { users.remove(0).1 } else { alike };
        Group { providers, kind, changes }
    });
    let mut groups: Vec<Group> = groups.collect();
    groups.sort_by(|a, b| (!a.widens(), &a.providers).cmp(&(!b.widens(), &b.providers)));
    let verdict = match groups.iter().map(Group::widens).max() {
        None => Verdict::Same,
        Some(false) => Verdict::Different,
        Some(true) => Verdict::Widened,
    };
    Diff { verdict, groups, prices: Vec::new(), clients: Vec::new() }
}

impl Diff {
    /// Adds the differences of prices.
    #[must_use]
    pub fn with_prices(self, old: &Prices, new: &Prices) -> Self {
        let prices = prices::changes(old, new);
        let verdict = if prices.is_empty() { self.verdict } else { self.verdict.max(Verdict::Different) };
        Self { verdict, prices, ..self }
    }

    /// Adds the differences of clients.
    #[must_use]
    pub fn with_clients(self, old: &Clients, new: &Clients) -> Self {
        let clients = clients::changes(old, new);
        let verdict = if clients.is_empty() { self.verdict } else { self.verdict.max(Verdict::Different) };
        Self { verdict, clients, ..self }
    }
}

impl Group {
    /// True if any of its changes widens exposure.
    pub fn widens(&self) -> bool {
        self.changes.iter().any(|change| change.widens.is_some())
    }
}

impl Change {
    /// The change without the provider's name, to compare it with those of others.
    fn without(&self, name: &str) -> Self {
        let text = |text: &String| facts::without(text, name);
        let (old, new) = (self.old.as_ref().map(text), self.new.as_ref().map(text));
        Self { subject: self.subject, name: text(&self.name), old, new, widens: self.widens.clone() }
    }
}

fn compare(
    old: Option<&Provider>,
    new: Option<&Provider>,
    reached: &BTreeSet<(String, String)>,
    locations: Option<&BTreeSet<String>>,
) -> Vec<Change> {
    let (before, after) = (old.map(facts).unwrap_or_default(), new.map(facts).unwrap_or_default());
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for key in keys {
        let (was, is) = (before.get(key), after.get(key));
        if was == is {
            continue;
        }
        let (subject, name) = key;
        let widens = match new {
            Some(new) => {
                Rating { old, new, before: &before, after: &after, reached }.widens(*subject, name, was, is)
            }
            // A removed provider exposes nothing but gateway tokens in locations that no other one declares.
            None if *subject == Subject::Caller && locations.is_some_and(|all| !all.contains(name)) => {
                was.and_then(|was| was.removed).map(str::to_owned)
            }
            None => None,
        };
        let (old, new) = (was.map(|fact| fact.value.clone()), is.map(|fact| fact.value.clone()));
        let new = if old.is_some() && old == new {
            new.map(|new| format!("{new}, with other contents"))
        } else {
            new
        };
        changes.push(Change { subject: *subject, name: name.clone(), old, new, widens });
    }
    changes.sort_by_key(|change| change.widens.is_none());
    changes
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
