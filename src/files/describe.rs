//! Builds the status document of each scan: the state of every file, and the time at which it began. A state that did not
//! change keeps its time.
//!
//! It decides nothing: `evaluate` does. Read next: `status` for the types of the document.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use super::{
    FileState, FileStatus, Finding, SourceTree, Status, StatusCounts, Watching,
    built_in::BUILT_IN,
    evaluate::Evaluation,
    independent::{self, Independent},
    last_good::LastGoodSet,
    source_file::{Hash, SourceFile},
    tree,
};
use crate::{
    clock::{now_ms, utc},
    compile::Rejected,
    diag::Severity,
    hex,
    name::FileName,
    pipeline::Folder,
    settings::Source,
};

/// The status document of the last scan.
pub(super) struct StatusRecord {
    source: Source,
    status: Status,
    since: BTreeMap<Arc<str>, FileSince>,
}

/// The state of a file with a certain text, and the time at which it began.
#[derive(Clone, Copy)]
struct FileSince {
    state: FileState,
    hash: Option<Hash>,
    began_ms: u64,
}

/// A file that the document lists.
struct ListedFile<'a> {
    provider: Option<&'a FileName>,
    /// Its folder and name, if it is an independent file.
    independent: Option<(Folder, &'a FileName)>,
    state: FileState,
    /// The hash of the text, or `None` if the file does not exist.
    hash: Option<Hash>,
}

/// The outcome of a scan.
pub(super) struct StatusInput<'a> {
    pub tree: &'a SourceTree,
    pub evaluation: &'a Evaluation,
    /// The findings to show.
    pub findings: &'a [Finding],
    /// The number of findings beyond those.
    pub omitted: usize,
    /// The last good versions, this scan's included.
    pub last_good: &'a LastGoodSet,
    /// The independent files, this scan's included.
    pub independent: &'a Independent,
    pub watching: Watching,
    /// True if the table changed.
    pub table_changed: bool,
}

impl StatusRecord {
    pub(super) fn new(source: Source) -> Self {
        Self { source, status: Status::default(), since: BTreeMap::new() }
    }

    pub(super) fn current(&self) -> &Status {
        &self.status
    }

    /// Adds changes that no event reported. Returns their number since the start.
    pub(super) fn add_missed(&mut self, more: usize) -> u64 {
        self.status.missed += more as u64;
        self.status.missed
    }

    /// The warnings that the current document does not list.
    pub(super) fn fresh_warnings(&self, findings: &[Finding]) -> HashSet<Finding> {
        let before: HashSet<_> = self.status.files.iter().flat_map(|file| &file.diagnostics).collect();
        let warnings = findings.iter().filter(|one| one.severity == Severity::Warning);
        warnings.filter(|one| !before.contains(one)).cloned().collect()
    }

    /// Replaces the document. Returns true if more than the time of the scan changed.
    pub(super) fn update(&mut self, outcome: &StatusInput<'_>) -> bool {
        let &StatusInput { evaluation, table_changed, .. } = outcome;
        let mut status = Status {
            generation: self.status.generation + u64::from(table_changed),
            source: source_name(&self.source),
            watching: outcome.watching,
            problem: evaluation.problem.clone(),
            omitted: outcome.omitted,
            ..self.status.clone()
        };
        if table_changed {
            status.since = utc(now_ms());
            let independent = outcome.independent.inputs().map(|(_, text)| text);
            status.hash = hex::encode(&outcome.last_good.hash(independent));
        }
        status.files = self.files(outcome);
        status.counts = StatusCounts::of(&status.files);
        let all_live = status.counts.stale + status.counts.rejected == 0;
        status.ok = !evaluation.has_errors() && evaluation.problem.is_none() && all_live;
        let changed = status != self.status;
        status.checked = utc(now_ms());
        self.status = status;
        changed
    }

    /// The state of each file, by path.
    fn files(&mut self, outcome: &StatusInput<'_>) -> Vec<FileStatus> {
        let &StatusInput { evaluation, .. } = outcome;
        let mut findings = by_file(outcome.findings);
        let listed = self.list(outcome, &findings);
        let (mut since, mut files) = (BTreeMap::new(), Vec::with_capacity(listed.len()));
        for (shown, ListedFile { provider, independent, state, hash }) in listed {
            let since_now = self.since(&shown, state, hash);
            let serving = provider.and_then(|name| evaluation.reconciled.serving.get(name));
            let because = provider.and_then(|name| evaluation.blocked_by.get(name)).into_iter().flatten();
            let stale = provider.and_then(|name| outcome.last_good.get(name)?.files.stale);
            let stale = stale
                .or_else(|| independent.and_then(|(folder, name)| outcome.independent.stale(folder, name)));
            // The stored time survives a restart.
            let stored = stale.filter(|_| state == FileState::Stale);
            let stored = stored.map(|stale| stale.since_ms);
            files.push(FileStatus {
                file: shown.to_string(),
                provider: provider.map(ToString::to_string),
                state,
                sha256: hash.map(|hash| hex::encode(&hash)),
                since: utc(stored.unwrap_or(since_now.began_ms)),
                routes: serving.map_or(0, |one| one.good.bound.endpoints.len()),
                because: because.filter(|file| **file != shown).map(ToString::to_string).collect(),
                diagnostics: findings.remove(&*shown).unwrap_or_default(),
            });
            since.insert(shown, since_now);
        }
        self.since = since;
        files
    }

    /// The files to list: those of the directory, those that serve although they are gone, and while the whole
    /// directory is gone, those of providers that were out of service before.
    fn list<'a>(
        &self,
        outcome: &StatusInput<'a>,
        findings: &BTreeMap<&str, Vec<Finding>>,
    ) -> BTreeMap<Arc<str>, ListedFile<'a>> {
        let reconciled = &outcome.evaluation.reconciled;
        let mut files = present(outcome, findings);
        for (name, one) in &reconciled.serving {
            let shown = one.good.compiled.at.file.clone();
            let state = FileState::of(Some(one.stale));
            let gone = ListedFile { provider: Some(name), independent: None, state, hash: None };
            files.entry(shown).or_insert(gone);
        }
        let filled_in = outcome.independent.filled_in();
        for (folder, name, file, stale) in independent::serving(&outcome.evaluation.independent) {
            let (independent, state) = (Some((folder, name)), FileState::of(Some(stale)));
            let gone = ListedFile { provider: None, independent, state, hash: None };
            if !files.contains_key(file) && !filled_in.contains(&**file) {
                files.insert(file.clone(), gone);
            }
        }
        if let Source::Directory { path: dir, .. } = &self.source {
            for Rejected { name, .. } in &reconciled.rejected {
                // Its file may be a built-in one.
                if files.values().any(|listed| listed.provider == Some(name)) {
                    continue;
                }
                let shown = tree::display_path(dir, Folder::Providers, name);
                let state = FileState::Rejected;
                let gone = ListedFile { provider: Some(name), independent: None, state, hash: None };
                files.entry(shown).or_insert(gone);
            }
        }
        files
    }

    fn since(&self, shown: &str, state: FileState, hash: Option<Hash>) -> FileSince {
        let before = self.since.get(shown).filter(|since| (since.state, since.hash) == (state, hash));
        before.copied().unwrap_or_else(|| FileSince { state, hash, began_ms: now_ms() })
    }
}

/// The files of the directory, and the built-in providers if it has none. Any other built-in file that stands in for a
/// missing one is listed only with a finding.
fn present<'a>(
    outcome: &StatusInput<'a>,
    findings: &BTreeMap<&str, Vec<Finding>>,
) -> BTreeMap<Arc<str>, ListedFile<'a>> {
    let &StatusInput { tree, evaluation, .. } = outcome;
    let errors = evaluation.diagnostics.iter().filter(|one| one.is_error());
    let bad: BTreeSet<&str> = errors.map(|one| &*one.at.file).collect();
    let other_text = served_with_other_text(outcome);
    let is_listed = |shown: &str, text: &SourceFile| {
        !text.filled_in || text.folder == Folder::Providers || findings.contains_key(shown)
    };
    let listed = tree.0.iter().filter(|(shown, text)| is_listed(shown, text));
    let serving_independent: BTreeMap<_, _> = independent::serving(&evaluation.independent)
        .map(|(folder, name, _, stale)| ((folder, name), stale))
        .collect();
    let files = listed.map(|(shown, text)| {
        let provider = text.name.as_ref().filter(|_| text.folder == Folder::Providers);
        let independent = text.name.as_ref().filter(|_| text.folder.is_independent());
        let independent = independent.map(|name| (text.folder, name));
        let serving = |name| evaluation.reconciled.serving.get(name).map(|one| one.stale);
        let state = match (provider, independent) {
            (Some(name), _) => FileState::of(serving(name)),
            (None, Some(file)) => FileState::of(serving_independent.get(&file).copied()),
            (None, None) if other_text.contains(&**shown) => FileState::Stale,
            (None, None) if text.name.is_none() || bad.contains(&**shown) => FileState::Rejected,
            (None, None) => FileState::Live,
        };
        (shown.clone(), ListedFile { provider, independent, state, hash: Some(text.hash) })
    });
    files.collect()
}

/// The files that a provider serves with in another text than the directory holds.
fn served_with_other_text<'a>(outcome: &StatusInput<'a>) -> BTreeSet<&'a str> {
    let inputs = outcome.last_good.iter().flat_map(|(_, one)| &one.files.inputs);
    let other = inputs.filter(|(file, text)| outcome.tree.hash_of(file) != Some(&text.hash));
    other.map(|(file, _)| &**file).collect()
}

fn by_file(findings: &[Finding]) -> BTreeMap<&str, Vec<Finding>> {
    let mut by_file = BTreeMap::<&str, Vec<Finding>>::new();
    for one in findings {
        by_file.entry(&one.file).or_default().push(one.clone());
    }
    by_file
}

/// The source of the files, in words.
fn source_name(source: &Source) -> String {
    match source {
        Source::Directory { path: dir, .. } => dir.display().to_string(),
        Source::Embedded { .. } => BUILT_IN.into(),
    }
}

impl FileState {
    /// `stale`: none if no version serves.
    fn of(stale: Option<bool>) -> Self {
        match stale {
            Some(false) => Self::Live,
            Some(true) => Self::Stale,
            None => Self::Rejected,
        }
    }
}

impl StatusCounts {
    fn of(files: &[FileStatus]) -> Self {
        let count = |state| files.iter().filter(|one| one.state == state).count();
        let routes = files.iter().map(|one| one.routes).sum();
        let providers =
            files.iter().filter(|one| one.provider.is_some() && one.state != FileState::Rejected).count();
        let (live, stale, rejected) =
            (count(FileState::Live), count(FileState::Stale), count(FileState::Rejected));
        Self { live, stale, rejected, providers, routes }
    }
}
