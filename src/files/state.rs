//! The reloader's state from one scan to the next. A scan reads the files, evaluates them, makes the outcome the last
//! good one, and reports the table and the status document.
//!
//! It never waits, and never publishes anything: the reloader does. Read next: `evaluate` for the decision, `last_good`
//! for the providers that serve, `describe` for the status document.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    BUILT_IN, Config, Found, InitialDiagnostics, SourceFile, SourceTree, StartError, Watching,
    compiler::Compiler,
    describe::{StatusInput, StatusRecord},
    evaluate::{Evaluation, evaluate, hold, refuse},
    independent::Independent,
    judged::JudgedFiles,
    last_good::{LastGoodSet, is_same},
    last_good_dir::{LastGoodDir, LastGoodFiles, StoredFiles},
    log,
    scan::{Changes, ScanReport},
    served::ServedInputs,
    tree::{Inputs, folders_within, policy_of},
    vars::Vars,
    watch::WatchPaths,
};
use crate::{
    compile::{Clients, Limits, Prices, Rejected},
    diag::Sources,
    name::FileName,
    pipeline::{self, Folder},
    settings::Source,
    table::Table,
};

/// The reloader's state.
pub(super) struct ReloadState {
    config: Config,
    last_good_dir: LastGoodDir,
    compiler: Compiler,
    judged: JudgedFiles,
    /// The last evaluation, if it changed nothing: the next one has the same outcome while files and secrets are the same.
    unchanged: Option<Evaluation>,
    /// The work of comparing providers with each other, so far.
    link_steps: u64,
    /// All steps up to the last scan.
    reported_steps: u64,
    /// The files as of the last scan that found any.
    tree: SourceTree,
    last_good: LastGoodSet,
    independent: Independent,
    table: Arc<Table>,
    record: StatusRecord,
    /// The findings of the last scan.
    found: Arc<Found>,
}

impl ReloadState {
    pub(super) fn new(config: Config) -> Self {
        let last_good_dir = match &config.source {
            Source::Directory { path: dir, .. } => {
                LastGoodDir::new(&config.data, dir, config.source.limits())
            }
            Source::Embedded { .. } => {
                LastGoodDir::new(&config.data, Path::new(BUILT_IN), config.source.limits())
            }
        };
        Self {
            last_good_dir,
            compiler: Compiler::new(
                Vars::new(config.secrets.clone()),
                config.lints.clone(),
                config.env_allow.clone(),
            ),
            judged: JudgedFiles::default(),
            unchanged: None,
            link_steps: 0,
            reported_steps: 0,
            tree: SourceTree::default(),
            last_good: LastGoodSet::default(),
            independent: Independent::default(),
            table: Arc::new(pipeline::table(&[], Vec::new(), Vec::new())),
            record: StatusRecord::new(config.source.clone()),
            found: Arc::default(),
            config,
        }
    }

    /// The first scan.
    pub(super) fn start(
        &mut self,
        watching: Watching,
    ) -> Result<(ScanReport, InitialDiagnostics), StartError> {
        let began = Instant::now();
        let StoredFiles { providers, prices, clients, limits } = self.stored();
        let read = self.read(providers.values().any(LastGoodFiles::has_own_provider), !limits.is_empty());
        let (unchanged, changed) = split(providers, read.as_ref().ok());
        self.last_good.restore(changed, &mut self.compiler);
        self.independent.prices.restore(prices, read.as_ref().ok(), &mut self.compiler);
        self.independent.clients.restore(clients, read.as_ref().ok(), &mut self.compiler);
        self.independent.limits.restore(limits, read.as_ref().ok(), &mut self.compiler);
        let rejected = self.expire();
        let evaluation = match &read {
            Ok(tree) => self.evaluate(tree, unchanged),
            Err(problem) if self.last_good.is_empty() || self.config.strict => {
                return Err(StartError::NoFiles(problem.clone()));
            }
            Err(problem) => self.hold(problem, rejected),
        };
        let tree = read.unwrap_or_default();
        let sources = evaluation.sources(&tree, &self.last_good);
        let first = InitialDiagnostics { sources, diagnostics: evaluation.diagnostics.clone() };
        if self.config.strict && evaluation.has_errors() {
            return Err(StartError::Strict(first));
        }
        if has_rejected_limits(&tree, &evaluation) {
            return Err(StartError::Limits(first));
        }
        // Only variables that a file names after the start need a warning.
        self.compiler.vars_mut().new_variables();
        Ok((self.conclude(tree, evaluation, &first.sources, watching, began), first))
    }

    /// Every later scan.
    pub(super) fn scan(&mut self, watching: Watching) -> ScanReport {
        let began = Instant::now();
        let same_secrets = self.compiler.vars_mut().refresh();
        let rejected = self.expire();
        let has_own = self.tree.has_own_providers() || self.last_good.has_own_provider();
        let read = self.read(has_own, self.tree.has_limits());
        let same = same_secrets && rejected.len() == self.table.rejected.len();
        let unchanged = self.unchanged.take().filter(|_| same);
        if let (Some(evaluation), Ok(tree)) = (unchanged, &read)
            && tree.has_same_texts(&self.tree)
        {
            let sources = evaluation.sources(tree, &self.last_good);
            return self.conclude(read.unwrap_or_default(), evaluation, &sources, watching, began);
        }
        self.compiler.vars_mut().forget();
        self.last_good.retry(&mut self.compiler);
        let evaluation = match &read {
            Ok(tree) => {
                let evaluation = self.evaluate(tree, BTreeMap::new());
                if self.config.strict && evaluation.has_errors() {
                    refuse(tree, evaluation, rejected, &self.last_good, &self.independent, &mut self.compiler)
                } else {
                    evaluation
                }
            }
            Err(problem) => self.hold(problem, rejected),
        };
        for (variable, set) in self.compiler.vars_mut().new_variables() {
            log::new_variable(&variable, set);
        }
        let tree = read.unwrap_or_default();
        let sources = evaluation.sources(&tree, &self.last_good);
        self.conclude(tree, evaluation, &sources, watching, began)
    }

    fn hold(&mut self, problem: &str, rejected: Vec<Rejected>) -> Evaluation {
        hold(problem, rejected, &mut self.last_good, &self.independent, &mut self.compiler)
    }

    fn stored(&mut self) -> StoredFiles {
        self.last_good_dir.load()
    }

    /// Reads the texts. The error is about the directory itself. `has_own`: a provider of the directory served before. The
    /// built-in ones never take its place. `has_limits`: there were limits before. Nothing takes their place.
    fn read(&self, has_own: bool, has_limits: bool) -> Result<SourceTree, String> {
        let (read, dir) = (SourceTree::read_stable(&self.config.source, &self.tree), &self.config.source);
        match (read, dir) {
            (Ok(tree), source) if has_limits && !tree.has_limits() && !source.limits().is_dir() => {
                let dir = source.limits();
                Err(format!(
                    "`{}` is missing; to have no limits any more, leave the directory and delete its files",
                    dir.display()
                ))
            }
            (Ok(tree), _) if tree.has_providers() && (!has_own || tree.has_own_providers()) => Ok(tree),
            (Ok(_), Source::Directory { path: dir, .. }) => {
                let kept = self.config.data.join("last-good");
                let (dir, kept) = (dir.display(), kept.display());
                let meant = if has_own {
                    format!("; if that is meant, stop tollgate, delete `{kept}`, and start it")
                } else {
                    String::new()
                };
                Err(format!("`{dir}` has no provider file{meant}"))
            }
            (Ok(_), Source::Embedded { .. }) => Err("`catalogue` names no provider".to_owned()),
            (Err(error), Source::Directory { path: dir, .. }) => {
                Err(format!("`{}` cannot be read: {error}", dir.display()))
            }
            (Err(error), Source::Embedded { .. }) => Err(error.to_string()),
        }
    }

    fn evaluate(&mut self, tree: &SourceTree, stored: BTreeMap<FileName, LastGoodFiles>) -> Evaluation {
        let Self { last_good, judged, independent, compiler, .. } = self;
        let evaluation = evaluate(tree, stored, last_good, judged, independent, compiler);
        self.link_steps += evaluation.reconciled.steps;
        evaluation
    }

    /// Removes expired last good versions. Returns all providers that are out of service then, by name.
    fn expire(&mut self) -> Vec<Rejected> {
        let mut rejected = self.table.rejected.clone();
        rejected.extend(self.last_good.expire(self.config.max_stale));
        rejected.sort_by(|a, b| a.name.cmp(&b.name));
        rejected
    }

    /// Makes the outcome of a scan the last good one, the table and the status document.
    fn conclude(
        &mut self,
        tree: SourceTree,
        evaluation: Evaluation,
        sources: &Sources,
        watching: Watching,
        began: Instant,
    ) -> ScanReport {
        let is_there = !tree.0.is_empty();
        let changed_files = if is_there { differences(&self.tree, &tree) } else { 0 };
        let (findings, omitted) = evaluation.findings(sources);
        self.found = Arc::new(Found::new(&evaluation, sources));
        let fresh_warnings = self.record.fresh_warnings(&findings);
        let (table_changed, changes) = self.take_over(&tree, &evaluation);
        let status_changed = self.record.update(&StatusInput {
            tree: &tree,
            evaluation: &evaluation,
            findings: &findings,
            omitted,
            last_good: &self.last_good,
            independent: &self.independent,
            watching,
            table_changed,
        });
        // While the directory is missing, its last tree stays: on its return, unchanged files are not read again.
        if is_there {
            self.tree = tree;
        }
        self.unchanged = Some(evaluation).filter(|_| is_there && !table_changed);
        let status = self.record.current().clone();
        let duration = began.elapsed();
        let all_steps = self.compiler.steps() + self.link_steps;
        let steps = all_steps - std::mem::replace(&mut self.reported_steps, all_steps);
        ScanReport {
            table_changed,
            status,
            findings,
            fresh_warnings,
            changes,
            changed_files,
            status_changed,
            steps,
            duration,
        }
    }

    /// Makes the chosen providers the last good ones, and builds a new table if it would differ.
    fn take_over(&mut self, tree: &SourceTree, evaluation: &Evaluation) -> (bool, Changes) {
        let reconciled = &evaluation.reconciled;
        let changes = Changes::between(&self.table, reconciled, &evaluation.independent);
        let is_first = self.record.current().generation == 0;
        let table_changed = is_first || changes.any() || self.table.rejected != reconciled.rejected;
        self.last_good.update(tree, reconciled, &evaluation.held_back, &mut self.compiler);
        self.independent.take(&evaluation.independent, tree);
        if table_changed {
            let compiled: Vec<_> = reconciled.serving.values().map(|one| one.good.compiled.clone()).collect();
            let bound = reconciled.serving.values().map(|one| one.good.bound.clone()).collect();
            let prices = Arc::new(Prices::new(evaluation.independent.prices.files()));
            let clients = Arc::new(Clients::new(evaluation.independent.clients.files()));
            let table = pipeline::table(&compiled, bound, reconciled.rejected.clone());
            let limits = Limits::new(&evaluation.independent.limits.files());
            let limits = Arc::new(limits.after(&self.table.limits));
            self.table = Arc::new(table.with_prices(prices).with_clients(clients).with_limits(limits));
        }
        (table_changed, changes)
    }

    /// Adds changes that no event reported. Returns their number since the start.
    pub(super) fn add_missed(&mut self, more: usize) -> u64 {
        self.record.add_missed(more)
    }

    /// The time until a stale provider reaches `max_stale`.
    pub(super) fn until_expiry(&self) -> Duration {
        self.last_good.until_expiry(self.config.max_stale)
    }

    /// Every path whose change may change a scan's outcome.
    pub(super) fn watch_paths(&self) -> WatchPaths {
        let mut watch_paths = WatchPaths::default();
        watch_paths.add_directory(&self.config.source.limits());
        if let Some(policy) = policy_of(&self.config.source) {
            watch_paths.add_file(&policy);
        }
        let Source::Directory { path: dir, .. } = &self.config.source else { return watch_paths };
        for folder in Folder::ALL.into_iter().filter(|folder| *folder != Folder::Limits) {
            let dir = dir.join(folder.name());
            watch_paths.add_directory(&dir);
            for within in &folders_within(folder, &dir) {
                watch_paths.add_directory(within);
            }
        }
        for (shown, _) in self.tree.0.iter().filter(|(_, text)| text.needs_own_watch) {
            watch_paths.add_file(Path::new(&**shown));
        }
        for file in self.compiler.vars().files() {
            watch_paths.add_file(&file);
        }
        watch_paths
    }

    /// The texts that serve.
    pub(super) fn served(&self) -> ServedInputs {
        let Independent { prices, clients, limits } = &self.independent;
        ServedInputs {
            providers: self.last_good.served(),
            prices: prices.served(),
            clients: clients.served(),
            limits: limits.served(),
            compiled: self.last_good.compiled(),
            table: self.table.clone(),
        }
    }

    /// The shared files of the last scan: presets, endpoint sets, gateways, apis and the policy.
    pub(super) fn shared_files(&self) -> Inputs {
        let shared = self.tree.0.iter().filter(|(_, text)| text.folder.is_shared());
        shared.map(|(file, text)| (file.clone(), text.clone())).collect()
    }

    /// The findings of the last scan.
    pub(super) fn found(&self) -> Arc<Found> {
        self.found.clone()
    }

    /// Stores the last good versions for a restart.
    pub(super) fn save(&mut self) {
        // Built-in files are always there.
        let is_kept = matches!(self.config.source, Source::Directory { .. });
        let Independent { prices, clients, limits } = &self.independent;
        let providers = self.last_good.stored().filter(|_| is_kept);
        let prices = prices.stored().filter(|_| is_kept);
        let clients = clients.stored().filter(|_| is_kept);
        self.last_good_dir.save(providers, prices, clients, limits.stored());
    }
}

/// True if a file of limits serves in no version, so that nothing of it would be limited.
fn has_rejected_limits(tree: &SourceTree, evaluation: &Evaluation) -> bool {
    let is_nameless = |text: &SourceFile| text.folder == Folder::Limits && text.name.is_none();
    !evaluation.independent.limits.rejected.is_empty() || tree.0.values().any(|text| is_nameless(text))
}

/// Splits stored versions: those whose texts the tree holds, and those to compile from their own texts.
fn split(
    mut stored: BTreeMap<FileName, LastGoodFiles>,
    tree: Option<&SourceTree>,
) -> (BTreeMap<FileName, LastGoodFiles>, BTreeMap<FileName, LastGoodFiles>) {
    let Some(tree) = tree else { return (BTreeMap::new(), stored) };
    let policy = tree.policy().map(|(file, _)| file);
    let unchanged = stored.extract_if(.., |_, files| is_same(&files.inputs, tree, policy)).collect();
    (unchanged, stored)
}

/// The number of files that are new, gone, or have another text.
fn differences(before: &SourceTree, after: &SourceTree) -> usize {
    let differs = |shown: &str, hash| before.hash_of(shown) != Some(hash);
    let changed = after.0.iter().filter(|(shown, text)| differs(shown, &text.hash)).count();
    changed + before.0.keys().filter(|shown| !after.0.contains_key(*shown)).count()
}

#[cfg(test)]
mod tests;
