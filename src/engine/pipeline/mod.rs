//! The pipeline of files: `parse -> compile -> bind -> link`. Texts become documents, providers, and the route table. It
//! also runs the files' own tests, the lints and the policy.
//!
//! Returns good providers, rejected ones, and all findings. Reads no files and no vars: the caller supplies them.
//! Read next: `documents` and `judgement`, its two halves; [`crate::tools::reconcile`], which chooses between a new and the
//! last good version.

mod documents;
mod judgement;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    base::{budget::Budgets, diag::Diagnostic, name::FileName},
    language::{
        bind, compile,
        compile::{Clients, Compiled, Limits, Prices, Rejected, VarSource},
        lint, variables,
    },
    request::table::{self, Table},
    tools::{filetest, prove, reconcile::reconcile},
};

pub use documents::{Folder, InputFile, Loaded, parse};
pub use judgement::{Built, FileJudgement, IndependentFile, Judgement, build};

/// The result for a set of files.
#[derive(Debug)]
pub struct Assembled {
    /// The table of the good providers.
    pub table: Table,
    /// The same providers without values of vars, by name.
    pub providers: Vec<Arc<compile::Provider>>,
    /// All findings.
    pub diagnostics: Vec<Diagnostic>,
}

/// All findings of `tollgate check`. Needs no vars.
pub fn check(loaded: &Loaded) -> (Compiled, filetest::Outcome, Vec<Diagnostic>) {
    let compiled = compile::compile(&loaded.files);
    let tests = filetest::run(&compiled);
    let mut all = loaded.diagnostics.clone();
    all.extend(compiled.diagnostics.iter().cloned());
    all.extend(variables::refused(&loaded.files, &loaded.env_allow));
    let conflicts = table::link(&[], &compiled.providers, &compiled.rejected, &compiled.budgets);
    all.extend(conflicts.into_iter().map(|one| one.diagnostic));
    all.extend(tests.diagnostics.iter().cloned());
    all.extend(loaded.lint_each(&compiled));
    all.extend(loaded.unused_gateways(compiled.providers.iter().map(|one| &**one), &compiled.rejected));
    all.extend(loaded.lint_prices(&compiled.prices, &loaded.provider_names()));
    all.extend(loaded.lint_clients(&compiled.clients, &loaded.api_names()));
    let limits = lint::limits(&compiled.limits, &compiled.providers, &compiled.prices);
    all.extend(loaded.levels.apply(limits));
    all.extend(loaded.levels.apply(prove::check_policy(&loaded.files, &compiled).into_diagnostics()));
    report_budgets(&mut all, &compiled.budgets);
    sort(&mut all);
    (compiled, tests, all)
}

/// Reports the files over their budget. Nothing else is known of them: their other findings are removed.
fn report_budgets(found: &mut Vec<Diagnostic>, budgets: &Budgets) {
    let over: Vec<Diagnostic> = budgets.findings().collect();
    if !over.is_empty() {
        let files: BTreeSet<&str> = over.iter().map(|one| &*one.at.file).collect();
        found.retain(|one| !files.contains(&*one.at.file));
        found.extend(over);
    }
}

/// Builds the table of all good providers.
pub fn assemble(loaded: &Loaded, value: impl FnMut(&VarSource) -> bind::Lookup) -> Assembled {
    let built = build(loaded, value);
    let mut diagnostics: Vec<Diagnostic> = built.diagnostics().cloned().collect();
    let (prices, clients) = (good_of(&built.prices), good_of(&built.clients));
    let limits = good_of(&built.limits);
    diagnostics.extend(loaded.lint_prices(&prices, &loaded.provider_names()));
    diagnostics.extend(loaded.lint_clients(&clients, &loaded.api_names()));
    let current = built.providers.into_iter().map(|(name, one)| (name, one.current)).collect();
    let reconciled = reconcile(current, &BTreeMap::new());
    diagnostics.extend(reconciled.diagnostics);
    let serving = reconciled.serving.values().map(|one| &*one.good.compiled);
    diagnostics.extend(loaded.unused_gateways(serving, &reconciled.rejected));
    sort(&mut diagnostics);
    let providers: Vec<_> = reconciled.serving.values().map(|one| one.good.compiled.clone()).collect();
    let bound = reconciled.serving.into_values().map(|one| one.good.bound).collect();
    let table = table(&providers, bound, reconciled.rejected);
    let table = table.with_prices(Arc::new(Prices::new(prices)));
    let table = table.with_clients(Arc::new(Clients::new(clients)));
    let table = table.with_limits(Arc::new(Limits::new(&limits)));
    Assembled { table, providers, diagnostics }
}

fn good_of<T>(judged: &BTreeMap<FileName, FileJudgement<T>>) -> Vec<Arc<T>> {
    judged.values().filter_map(|one| one.good.clone()).collect()
}

/// The table of providers without conflicts. It has no prices, no clients and no limits.
pub fn table(
    compiled: &[Arc<compile::Provider>],
    bound: Vec<Arc<bind::Provider>>,
    rejected: Vec<Rejected>,
) -> Table {
    let compiled: Vec<_> = compiled.iter().map(Arc::as_ref).collect();
    Table::new(bound, rejected, &compiled)
}

/// Sorts findings and removes repetitions: each provider of a gateway reports the gateway's vars.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort();
    diagnostics.dedup();
}

#[cfg(test)]
mod tests;
