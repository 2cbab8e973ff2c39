//! Compares two sets of provider files by meaning: additions, removals and changes of each provider, with its preset,
//! gateways and apis, and which of them widen exposure. Another spelling of the same meaning is no difference, nor is a
//! test.
//!
//! It never shows what looks like a key. Read next: `facts`, which lists what is compared; `widens`, which rates it.

mod clients;
mod facts;
mod limits;
mod prices;
mod reached;
mod show;
mod values;
mod widens;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::name::FileName,
    language::compile::{Clients, Limits, Prices, Provider},
};

pub use show::{human, markdown};

use facts::{Fact, facts};
use widens::{Files, Rating};

/// The subject of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "the tables and keys of a provider file, the origins that are called, prices, clients, and limits"
)]
#[schemars(rename = "DiffSubject")]
pub enum Subject {
    Paths,
    Upstream,
    Tls,
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
    Limit,
    Allow,
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
    /// Those of limits, and of rules for models and endpoints. What loosens one widens.
    #[serde(default)]
    pub limits: Vec<Change>,
}

/// The length of texts that are shown whole although a part of them differs alone.
const LONG: usize = 120;

/// Providers with the same differences, each with its own texts of them.
type Users<'a> = Vec<(&'a FileName, Vec<Change>)>;

/// Compares two sets of providers.
pub fn diff(old: &[Arc<Provider>], new: &[Arc<Provider>]) -> Diff {
    let files = Files::new(old, new);
    let names: BTreeSet<&FileName> = files.old.keys().chain(files.new.keys()).copied().collect();
    let mut grouped: BTreeMap<(ChangeKind, Vec<Change>), Users<'_>> = BTreeMap::new();
    for name in names {
        let (before, after) = (files.old.get(name).copied(), files.new.get(name).copied());
        let kind = match (before, after) {
            (Some(_), Some(_)) => ChangeKind::Changed,
            (None, _) => ChangeKind::Added,
            (Some(_), None) => ChangeKind::Removed,
        };
        let changes = compare(before, after, &files);
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
    Diff { verdict, groups, prices: Vec::new(), clients: Vec::new(), limits: Vec::new() }
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

impl Diff {
    /// Adds the differences of limits.
    #[must_use]
    pub fn with_limits(self, old: &Limits, new: &Limits) -> Self {
        let limits = limits::changes(old, new);
        let verdict = match limits.iter().map(|change| change.widens.is_some()).max() {
            None => self.verdict,
            Some(false) => self.verdict.max(Verdict::Different),
            Some(true) => Verdict::Widened,
        };
        Self { verdict, limits, ..self }
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
        let [old, new, widens] = [&self.old, &self.new, &self.widens].map(|one| one.as_ref().map(text));
        Self { subject: self.subject, name: text(&self.name), old, new, widens }
    }
}

fn compare(old: Option<&Provider>, new: Option<&Provider>, files: &Files<'_>) -> Vec<Change> {
    let (before, after) = (old.map(facts).unwrap_or_default(), new.map(facts).unwrap_or_default());
    let rating = Rating { old, new, before: &before, after: &after, files };
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for key in keys {
        let (was, is) = (before.get(key), after.get(key));
        if was.zip(is).is_some_and(|(was, is)| was.states(is)) {
            continue;
        }
        let (subject, name) = key;
        let widens = rating.widens(*subject, name, was, is);
        let (old, new) = match (was, is) {
            (Some(was), Some(is)) if was.value == is.value => {
                let [was, is] = differing(was, is);
                (Some(was), Some(is))
            }
            _ => (was.map(|fact| fact.value.clone()), is.map(|fact| fact.value.clone())),
        };
        changes.push(Change { subject: *subject, name: name.clone(), old, new, widens });
    }
    changes.sort_by_key(|change| change.widens.is_none());
    changes
}

/// The values of two facts that have the same text for people: with what differs, unless that looks like a key.
fn differing(was: &Fact, is: &Fact) -> [String; 2] {
    let details = [was, is].map(|fact| facts::masked(&fact.detail));
    if details[0] == details[1] {
        return [was.value.clone(), format!("{}, with other contents", is.value)];
    }
    let front = if was.value.is_empty() { String::new() } else { format!("{}, ", was.value) };
    different_part(&details).map(|part| format!("{front}in full: {part}"))
}

/// The parts of two long texts between the words that both have at the start, and those at the end.
fn different_part(texts: &[String; 2]) -> [String; 2] {
    if texts.iter().all(|text| text.len() <= LONG) {
        return texts.clone();
    }
    let words = texts.each_ref().map(|text| text.split(' ').collect::<Vec<_>>());
    let shortest = words[0].len().min(words[1].len());
    let same = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(a, b)| a == b).count();
    let start = same(&mut words[0].iter().zip(&words[1]));
    let end = same(&mut words[0].iter().rev().zip(words[1].iter().rev())).min(shortest - start);
    words.map(|words| {
        let part = words[start..words.len() - end].join(" ");
        format!("{}{part}{}", if start > 0 { "... " } else { "" }, if end > 0 { " ..." } else { "" })
    })
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod exposure_tests;
#[cfg(test)]
mod tests;
