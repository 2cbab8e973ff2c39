//! All limits and rules of a directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Allow, CallFacts, CallerFilter, Limit, LimitFile, NameFilter};
use crate::{
    base::{
        diag::{Code, Diagnostic},
        name::LimitId,
    },
    language::compile::Glob,
};

/// All limits, by id, and all rules.
#[derive(Debug, Default)]
pub struct Limits {
    files: Vec<Arc<LimitFile>>,
    by_id: Vec<Arc<Limit>>,
    allows: Vec<Arc<Allow>>,
    /// The number of sets that served before.
    order: u64,
}

impl Limits {
    /// The limits of these files. Of two with one id, that of the file whose name comes first counts; `conflicts` reports the
    /// other.
    pub fn new(files: &[Arc<LimitFile>]) -> Self {
        let mut by_id: BTreeMap<LimitId, Arc<Limit>> = BTreeMap::new();
        for limit in in_order(files).iter().flat_map(|file| &file.limits) {
            by_id.entry(limit.id.clone()).or_insert_with(|| limit.clone());
        }
        let allows = in_order(files).iter().flat_map(|file| file.allows.iter().cloned()).collect();
        let files = in_order(files).into_iter().cloned().collect();
        Self { files, by_id: by_id.into_values().collect(), allows, order: 0 }
    }

    /// The limits that serve after others.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        Self { order: before.order + 1, ..self }
    }

    /// True if these limits served before others.
    pub fn are_before(&self, others: &Self) -> bool {
        self.order < others.order
    }

    /// The limits of different files with one id.
    pub fn conflicts(files: &[Arc<LimitFile>]) -> Vec<Diagnostic> {
        let mut known: BTreeMap<&LimitId, &Arc<Limit>> = BTreeMap::new();
        let mut found = Vec::new();
        for limit in in_order(files).iter().flat_map(|file| &file.limits) {
            let Some(first) = known.get(&limit.id) else {
                known.insert(&limit.id, limit);
                continue;
            };
            let message = format!("another file has a limit `{}`, too: this one does not count", limit.id);
            let diagnostic = Diagnostic::new(Code::Limit, limit.at.clone(), message);
            found.push(
                diagnostic.related(first.at.clone(), "the one that counts").help("give it an id of its own"),
            );
        }
        found
    }

    /// The files by name.
    pub fn files(&self) -> &[Arc<LimitFile>] {
        &self.files
    }

    /// All limits, by id.
    pub fn all(&self) -> &[Arc<Limit>] {
        &self.by_id
    }

    /// All rules for models and endpoints.
    pub fn allows(&self) -> &[Arc<Allow>] {
        &self.allows
    }

    /// The users and the groups that limits and rules name, without globs.
    pub fn named_callers(&self) -> (BTreeSet<&str>, BTreeSet<&str>) {
        let of_limits = self.by_id.iter().map(|limit| &limit.filter.caller);
        let callers: Vec<&CallerFilter> =
            of_limits.chain(self.allows.iter().map(|rule| &rule.caller)).collect();
        let exempt = self.by_id.iter().flat_map(|limit| limit.except.keys()).map(|name| &**name);
        let users = callers.iter().flat_map(|caller| literals(&caller.user)).chain(exempt).collect();
        (users, callers.iter().flat_map(|caller| literals(&caller.group)).collect())
    }

    /// The limit of an id.
    pub fn get(&self, id: &str) -> Option<&Arc<Limit>> {
        let index = self.by_id.binary_search_by(|limit| limit.id.as_str().cmp(id)).ok()?;
        self.by_id.get(index)
    }

    /// True if there is neither a limit nor a rule.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.allows.is_empty()
    }

    /// The limits for a request, by id, as far as all but its model decides. Where no usage is counted, limits of usage are for
    /// nothing.
    pub fn matching<'l>(&'l self, call: &'l CallFacts<'l>) -> impl Iterator<Item = &'l Arc<Limit>> {
        let is_counted = |limit: &Limit| call.is_metered || !limit.measure.needs_usage();
        self.by_id.iter().filter(move |limit| is_counted(limit) && limit.filter.matches(call))
    }

    /// The rules for a caller.
    pub fn rules<'l>(&'l self, call: &'l CallFacts<'l>) -> impl Iterator<Item = &'l Arc<Allow>> + Clone {
        self.allows.iter().filter(|rule| rule.is_for(call))
    }
}

/// The names of a filter that are no globs.
fn literals(filter: &NameFilter) -> impl Iterator<Item = &str> {
    filter.globs().iter().map(Glob::as_str).filter(|name| !name.contains('*'))
}

/// The files by name.
fn in_order(files: &[Arc<LimitFile>]) -> Vec<&Arc<LimitFile>> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}
