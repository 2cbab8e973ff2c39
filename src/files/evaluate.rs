//! The evaluation of a scan: compiles the providers that changed, and lets [`crate::reconcile`] choose the version of each
//! that serves. A scan has three outcomes: it takes the files over, holds since the directory is missing, or is refused by
//! `strict`.
//!
//! It never builds the route table, and never writes the status document. Read next: `state`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Finding, SourceTree,
    compiler::Compiler,
    independent::Independent,
    judged::{self, JudgedFiles},
    last_good::LastGoodSet,
    last_good_dir::LastGoodFiles,
};
use crate::{
    compile::Rejected,
    diag::{Diagnostic, Sources},
    name::FileName,
    pipeline,
    reconcile::{CurrentVersion, Good, LAST_GOOD, Reconciled, ReconciledIndependent, reconcile},
};

/// The most findings that a status document holds.
const MAX_FINDINGS: usize = 1000;

/// The outcome of a scan: the providers that are to serve, and everything to report about the files.
#[derive(Clone, Default)]
pub(super) struct Evaluation {
    pub reconciled: Reconciled,
    pub diagnostics: Vec<Diagnostic>,
    /// For each provider that is bad only because of other files: those files.
    pub blocked_by: BTreeMap<FileName, BTreeSet<Arc<str>>>,
    /// The reason why the whole reload changed nothing.
    pub problem: Option<String>,
    /// The files of prices and clients that are to serve.
    pub independent: ReconciledIndependent,
    /// Providers that are stale only because `strict` refused the reload: their own files are good.
    pub held_back: BTreeSet<FileName>,
}

impl Evaluation {
    pub(super) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The texts that diagnostics point into: those of the directory, and of stale providers the last good ones.
    pub(super) fn sources(&self, tree: &SourceTree, last_good: &LastGoodSet) -> Sources {
        if self.diagnostics.is_empty() {
            return Sources::default();
        }
        let mut sources = tree.sources();
        let stale = self.reconciled.serving.iter().filter(|(_, one)| one.stale);
        let stale = stale.filter_map(|(name, _)| last_good.get(name));
        for (file, text) in stale.flat_map(|one| &one.files.inputs) {
            if let Ok(text) = &text.text {
                sources.insert(format!("{file}{LAST_GOOD}").into(), text.into());
            }
        }
        sources
    }

    /// The findings to show, errors first, and the number of those beyond the limit.
    pub(super) fn findings(&self, sources: &Sources) -> (Vec<Finding>, usize) {
        let (shown, omitted) = self.shown();
        (shown.into_iter().map(|one| Finding::new(one, sources)).collect(), omitted)
    }

    /// The same, as diagnostics.
    pub(super) fn shown(&self) -> (Vec<&Diagnostic>, usize) {
        let mut all: Vec<_> = self.diagnostics.iter().collect();
        all.sort_by_key(|one| one.severity);
        let omitted = all.len().saturating_sub(MAX_FINDINGS);
        all.truncate(MAX_FINDINGS);
        (all, omitted)
    }
}

/// Evaluates the texts of the directory. `stored` are last good versions on disk whose texts are those of the
/// directory: a start compiles them once, with all others.
pub(super) fn evaluate(
    tree: &SourceTree,
    stored: BTreeMap<FileName, LastGoodFiles>,
    last_good: &mut LastGoodSet,
    judged: &mut JudgedFiles,
    independent: &mut Independent,
    compiler: &mut Compiler,
) -> Evaluation {
    last_good.rebind(compiler);
    let unchanged = last_good.unchanged(tree, compiler);
    let judgements = judged.judge(tree, |name| !unchanged.contains(name), compiler);
    let mut current = judged::current(&judgements);
    let mut diagnostics: Vec<Diagnostic> = judged.shared().cloned().collect();
    let mut blocked_by = BTreeMap::new();
    for (name, one) in judgements {
        diagnostics.extend(one.found);
        if !one.blocked_by.is_empty() {
            blocked_by.insert(name, one.blocked_by);
        }
    }
    last_good.adopt(stored, &mut current, compiler);
    for name in unchanged {
        diagnostics
            .extend(last_good.get(&name).into_iter().flat_map(|one| one.good.warnings.iter().cloned()));
        current.insert(name, CurrentVersion::Same);
    }
    let reconciled = reconcile(current, &last_good.good());
    diagnostics.extend(reconciled.diagnostics.iter().cloned());
    let serving = reconciled.serving.values().map(|one| &*one.good.compiled);
    diagnostics.extend(judged.unused_gateways(serving, &reconciled.rejected));
    let (independent, found) = independent.judge(tree, compiler, &reconciled);
    diagnostics.extend(found);
    diagnostics.extend(compiler.lint_prices(&independent.prices.current(), tree));
    diagnostics.extend(compiler.lint_clients(&independent.clients.current(), tree));
    pipeline::sort(&mut diagnostics);
    Evaluation { reconciled, diagnostics, blocked_by, independent, ..Evaluation::default() }
}

/// Keeps everything as it was, since the directory is missing or empty. `rejected` are the providers that were out of
/// service before.
pub(super) fn hold(
    problem: &str,
    rejected: Vec<Rejected>,
    last_good: &mut LastGoodSet,
    independent: &Independent,
    compiler: &mut Compiler,
) -> Evaluation {
    last_good.rebind(compiler);
    let known = last_good.iter().map(|(name, one)| (name.clone(), bad(&one.good)));
    let rejected = rejected.into_iter().map(|one| (one.name.clone(), CurrentVersion::Bad(one)));
    let current = rejected.chain(known).collect();
    let problem = format!("{problem}: the last good files go on serving; restore the directory");
    let reconciled = reconcile(current, &last_good.good());
    let independent = independent.hold(None);
    Evaluation { reconciled, problem: Some(problem), independent, ..Evaluation::default() }
}

/// Keeps everything as it was, since `strict` is on and the evaluation has errors. `rejected` are the providers that
/// were out of service before.
pub(super) fn refuse(
    tree: &SourceTree,
    evaluation: Evaluation,
    rejected: Vec<Rejected>,
    last_good: &LastGoodSet,
    independent: &Independent,
    compiler: &mut Compiler,
) -> Evaluation {
    let unchanged = last_good.unchanged(tree, compiler);
    let current = last_good.iter().map(|(name, one)| {
        let current = if unchanged.contains(name) { CurrentVersion::Same } else { bad(&one.good) };
        (name.clone(), current)
    });
    let reconciled = Reconciled { rejected, ..reconcile(current.collect(), &last_good.good()) };
    let good = evaluation.reconciled.serving.iter().filter(|(_, one)| !one.stale);
    let held_back = good.map(|(name, _)| name.clone()).collect();
    let problem = "`strict` is on and a file has errors: the reload changed nothing".into();
    let independent = independent.hold(Some(tree));
    Evaluation { reconciled, problem: Some(problem), held_back, independent, ..evaluation }
}

fn bad(good: &Good) -> CurrentVersion {
    CurrentVersion::Bad(Rejected::from(&*good.compiled))
}
