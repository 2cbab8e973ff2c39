//! Files of limits beside each other, providers and prices. A new text that says what cannot hold there, such as an unknown provider
//! or the id of a limit of another file, does not serve.
//!
//! A text that serves is never taken out of service: what became of others is reported alone.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    compile::{self, LimitFile, Measure, NameFilter, PriceFile},
    diag::{Code, Diagnostic, Location},
    files::compiler::Compiler,
    name::FileName,
    reconcile::{Reconciled, ReconciledFiles},
};

/// What serves beside limits.
pub(super) struct Beside<'a> {
    compiler: &'a Compiler,
    reconciled: &'a Reconciled,
    providers: Vec<Arc<compile::Provider>>,
    prices: &'a ReconciledFiles<PriceFile>,
}

impl<'a> Beside<'a> {
    pub(super) fn new(
        compiler: &'a Compiler,
        reconciled: &'a Reconciled,
        prices: &'a ReconciledFiles<PriceFile>,
    ) -> Self {
        let providers = reconciled.serving.values().map(|one| one.good.compiled.clone()).collect();
        Self { compiler, reconciled, providers, prices }
    }

    /// All findings about files of limits.
    pub(super) fn lints(&self, files: &[Arc<LimitFile>]) -> Vec<Diagnostic> {
        self.compiler.lint_limits(files, &self.providers, &self.prices.files())
    }

    /// The new files that cannot serve, and the reasons.
    pub(super) fn unfit(
        &self,
        files: &[Arc<LimitFile>],
        is_new: impl Fn(&Arc<LimitFile>) -> bool,
    ) -> (BTreeSet<FileName>, Vec<Diagnostic>) {
        let new: Vec<_> = files.iter().filter(|file| is_new(file)).collect();
        if new.is_empty() {
            return (BTreeSet::new(), Vec::new());
        }
        let find = |at: &Location| new.iter().find(|file| file.file == at.file);
        let (mut names, mut found) = (BTreeSet::new(), Vec::new());
        let errors = self.lints(files).into_iter().filter(|one| one.code == Code::Limit && one.is_error());
        for mut one in errors.filter(|one| self.is_certain(one, files)) {
            // Of two limits with one id, a new one does not take the place of the other.
            if find(&one.at).is_none()
                && let Some((other, _)) = one.related.first_mut()
            {
                std::mem::swap(&mut one.at, other);
            }
            if let Some(file) = find(&one.at) {
                names.insert(file.name.clone());
                found.push(one);
            }
        }
        (names, found)
    }

    /// False if the limit or rule may miss nothing but a provider or a price that is out of service.
    fn is_certain(&self, error: &Diagnostic, files: &[Arc<LimitFile>]) -> bool {
        let is_there = |providers: &NameFilter| {
            self.reconciled.rejected.iter().all(|one| !providers.matches(one.name.as_str()))
        };
        let is_two_with_one_id = !error.related.is_empty();
        let mut limits = files.iter().flat_map(|file| &file.limits);
        let mut rules = files.iter().flat_map(|file| &file.allows);
        is_two_with_one_id
            || limits.find(|limit| limit.at == error.at).is_some_and(|limit| {
                let is_priced = !matches!(limit.measure, Measure::Cost(_)) || self.prices.rejected.is_empty();
                is_priced && is_there(&limit.filter.provider)
            })
            || rules.find(|rule| rule.at == error.at).is_some_and(|rule| is_there(&rule.providers))
    }
}
