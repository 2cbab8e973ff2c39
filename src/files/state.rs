//! What became of each file: the last good of every provider, what serves of it, and the status document that
//! says so. It takes one look after the other, each from the texts to the table, and keeps what the next one
//! compares with.
//!
//! Never waits for anything, and never puts a table in place: that is the reloader's.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Config, Counts, File, Finding, First, Place, StartError, State, Status, Watching,
    keep::{Inputs, Keep, Kept},
    live::describe,
    texts::Served,
    watch::Places,
};
use crate::{
    accounts::{now_ms, utc},
    bind,
    compile::Rejected,
    diag::{At, Diagnostic, Severity, Sources},
    files::{self, Hash, Prints, Text, Tree, Vars, policy_of},
    hex,
    name::FileName,
    pipeline::{self, Folder, Loaded, Made},
    reconcile::{Fresh, Good, LAST_GOOD, Serving, Settled, settle},
    settings::Source,
    table::Table,
};

/// Findings that a status holds.
const MAX_FINDINGS: usize = 1000;

/// The files, and what is known of them.
pub(super) struct Files {
    config: Config,
    keep: Option<Keep>,
    keep_failed: bool,
    vars: Vars,
    env: BTreeSet<String>,
    tree: Tree,
    known: BTreeMap<FileName, Known>,
    /// What was good, and cannot be made of its texts now, as where a secret is not there yet.
    unmade: BTreeMap<FileName, Kept>,
    table: Arc<Table>,
    seen: BTreeMap<String, Seen>,
    status: Status,
}

/// A provider as it was last good.
struct Known {
    good: Good,
    kept: Kept,
    prints: Prints,
}

/// A file's state, with which text, and since when.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: State,
    hash: Option<Hash>,
    since_ms: u64,
}

/// What a look amounts to.
pub(super) struct Look {
    /// What is to serve.
    pub table: Arc<Table>,
    /// Whether it is another table than before.
    pub swap: bool,
    /// What became of each file.
    pub status: Status,
    /// What is to be said: what is wrong, then what lints warn of.
    pub findings: Vec<Finding>,
    /// The warnings that the last look did not have.
    pub fresh_warnings: HashSet<Finding>,
    /// What became of providers.
    pub done: Done,
    /// How many files differ from the last look.
    pub differs: usize,
    /// Whether anything at all is another than before.
    pub news: bool,
    /// How long it took.
    pub took: Duration,
}

/// The names of providers by what became of them.
#[derive(Default)]
pub(super) struct Done {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
    pub stale: Vec<String>,
    pub rejected: Vec<String>,
}

/// What is to serve, and what is to be said of it.
#[derive(Default)]
struct Outcome {
    settled: Settled,
    diagnostics: Vec<Diagnostic>,
    because: BTreeMap<FileName, BTreeSet<Arc<str>>>,
    problem: Option<String>,
    /// What is stale only because of others: its files are good.
    held: BTreeSet<FileName>,
}

impl Outcome {
    fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

// === impl Files: looking ===

impl Files {
    pub(super) fn new(config: Config) -> Self {
        let keep = match &config.source {
            Source::Directory(dir) => Some(Keep::new(&config.data, dir)),
            Source::Embedded => None,
        };
        let vars = Vars::new(config.secrets.clone());
        Self {
            config,
            keep,
            keep_failed: false,
            vars,
            env: BTreeSet::new(),
            tree: Tree::default(),
            known: BTreeMap::new(),
            unmade: BTreeMap::new(),
            table: Arc::new(pipeline::table(&[], Vec::new(), Vec::new())),
            seen: BTreeMap::new(),
            status: Status::default(),
        }
    }

    /// The first look.
    pub(super) fn start(&mut self, watching: Watching) -> Result<(Look, First), StartError> {
        let began = Instant::now();
        let mut kept = match self.keep.as_mut().map(Keep::load) {
            Some(Ok(kept)) => kept,
            Some(Err(problem)) => {
                tracing::warn!(%problem, "what was last good is not known: a file that is bad now is out of service");
                BTreeMap::new()
            }
            None => BTreeMap::new(),
        };
        let read = self.read();
        let tree = read.as_ref().ok();
        // What is as it was is compiled with all else.
        let policy = tree.and_then(Tree::policy).map(|(file, _)| file);
        let is_same =
            |_: &FileName, kept: &mut Kept| tree.is_some_and(|tree| is_same(&kept.inputs, tree, policy));
        let same: BTreeMap<_, _> = kept.extract_if(.., is_same).collect();
        self.recall(kept);
        let out = self.expire();
        let outcome = match &read {
            Ok(tree) => self.weigh(tree, same),
            Err(problem) if self.known.is_empty() || self.config.strict => {
                return Err(StartError::Nothing(problem.clone()));
            }
            Err(problem) => self.hold(problem, out),
        };
        let tree = read.unwrap_or_default();
        let sources = self.sources(&tree, &outcome);
        let first = First { sources, diagnostics: outcome.diagnostics.clone() };
        if self.config.strict && outcome.has_errors() {
            return Err(StartError::Strict(first));
        }
        self.env = self.vars.env().keys().cloned().collect();
        Ok((self.conclude(tree, &outcome, watching, began), first))
    }

    /// Looks at all files anew.
    pub(super) fn look(&mut self, watching: Watching) -> Look {
        let began = Instant::now();
        self.vars.refresh();
        let unmade = std::mem::take(&mut self.unmade);
        self.recall(unmade);
        let out = self.expire();
        let read = self.read();
        let outcome = match &read {
            Ok(tree) => {
                let outcome = self.weigh(tree, BTreeMap::new());
                if self.config.strict && outcome.has_errors() {
                    self.refuse(tree, outcome, out)
                } else {
                    outcome
                }
            }
            Err(problem) => self.hold(problem, out),
        };
        self.tell_env();
        self.conclude(read.unwrap_or_default(), &outcome, watching, began)
    }

    /// Reads the texts. The error says what is wrong with the directory.
    fn read(&self) -> Result<Tree, String> {
        let shown = match &self.config.source {
            Source::Directory(dir) => dir.display().to_string(),
            Source::Embedded => String::new(),
        };
        match Tree::settled(&self.config.source, &self.tree) {
            Ok(tree) if tree.has_providers() => Ok(tree),
            Ok(_) => Err(format!("`{shown}` has no provider file")),
            Err(error) => Err(format!("`{shown}` cannot be read: {error}")),
        }
    }

    /// What the texts amount to. Those that are `kept`, and good, are what they were.
    fn weigh(&mut self, tree: &Tree, kept: BTreeMap<FileName, Kept>) -> Outcome {
        self.rebind();
        let same = self.same(tree);
        let loaded = self.parse(tree, |name| !same.contains(name));
        let Made { mut fresh, because, mut diagnostics } =
            pipeline::make(&loaded, |source| self.vars.value(source));
        let mut spoilt = BTreeMap::new();
        for (name, kept) in kept {
            if let Some(Fresh::New(good)) = fresh.get(&name) {
                let (good, prints) = (good.clone(), self.vars.prints(&good.compiled));
                let kept = Kept { stale_since_ms: None, ..kept };
                fresh.insert(name.clone(), Fresh::Same);
                self.known.insert(name, Known { good, kept, prints });
            } else {
                // A file that it is not made of spoils one that it is, by a test.
                spoilt.insert(name, kept);
            }
        }
        self.recall(spoilt);
        let unchanged = same.iter().filter_map(|name| self.known.get(name));
        diagnostics.extend(unchanged.flat_map(|known| known.good.warnings.iter().cloned()));
        fresh.extend(same.into_iter().map(|name| (name, Fresh::Same)));
        let settled = self.settle(fresh);
        diagnostics.extend(settled.diagnostics.iter().cloned());
        let serving = settled.serving.values().map(|one| &*one.good.compiled);
        diagnostics.extend(loaded.unused_gateways(serving, &settled.rejected));
        pipeline::sort(&mut diagnostics);
        Outcome { settled, diagnostics, because, ..Outcome::default() }
    }

    fn parse(&self, tree: &Tree, wanted: impl Fn(&FileName) -> bool) -> Loaded {
        Loaded { levels: self.config.lints.clone(), ..pipeline::parse(tree.inputs(), wanted) }
    }

    fn settle(&self, fresh: BTreeMap<FileName, Fresh>) -> Settled {
        let last = self.known.iter().map(|(name, known)| (name.clone(), known.good.clone())).collect();
        settle(fresh, &last)
    }

    /// The providers that are made of just what they were made of when they were last good.
    fn same(&mut self, tree: &Tree) -> BTreeSet<FileName> {
        let (known, vars) = (&self.known, &mut self.vars);
        let policy = tree.policy().map(|(file, _)| file);
        let same = |known: &Known, vars: &mut Vars| {
            is_same(&known.kept.inputs, tree, policy) && vars.prints(&known.good.compiled) == known.prints
        };
        known.iter().filter(|(_, one)| same(one, vars)).map(|(name, _)| name.clone()).collect()
    }

    /// What serves, whether its files are good or not, does not go on with a secret that has been replaced.
    fn rebind(&mut self) {
        for known in self.known.values_mut() {
            let prints = self.vars.prints(&known.good.compiled);
            if prints == known.prints {
                continue;
            }
            let vars = std::cell::RefCell::new(&mut self.vars);
            let (bound, _) =
                bind::bind_read(&known.good.compiled, |_, _, var| vars.borrow_mut().value(&var.source));
            if let Some(bound) = bound {
                known.good.bound = Arc::new(bound);
                known.prints = prints;
            }
        }
    }

    /// Nothing changes: the directory is not there, or empty, which nobody means.
    fn hold(&mut self, problem: &str, out: Vec<Rejected>) -> Outcome {
        self.rebind();
        let known = self.known.iter().map(|(name, one)| (name.clone(), bad(&one.good)));
        let rejected = out.into_iter().map(|one| (one.name.clone(), Fresh::Bad(one)));
        let fresh = rejected.chain(known).collect();
        let problem = format!("{problem}: what served before goes on serving; put the files back");
        Outcome { settled: self.settle(fresh), problem: Some(problem), ..Outcome::default() }
    }

    /// Nothing changes: something is wrong, and all is to be right.
    fn refuse(&mut self, tree: &Tree, outcome: Outcome, rejected: Vec<Rejected>) -> Outcome {
        let same = self.same(tree);
        let fresh = |(name, known): (&FileName, &Known)| {
            let fresh = if same.contains(name) { Fresh::Same } else { bad(&known.good) };
            (name.clone(), fresh)
        };
        let fresh = self.known.iter().map(fresh).collect();
        let problem =
            "`strict` is on and not every file is good: nothing of this reload was taken over".into();
        let good = outcome.settled.serving.iter().filter(|(_, one)| !one.stale);
        let held = good.map(|(name, _)| name.clone()).collect();
        let settled = Settled { rejected, ..self.settle(fresh) };
        Outcome { settled, problem: Some(problem), held, ..outcome }
    }

    /// Makes providers of the texts that they were last made of.
    fn recall(&mut self, kept: BTreeMap<FileName, Kept>) {
        for (name, kept) in kept {
            let loaded = self.parse(&Tree(kept.inputs.clone()), |_| true);
            let mut made = pipeline::make(&loaded, |source| self.vars.value(source));
            if let Some(Fresh::New(good)) = made.fresh.remove(&name) {
                let prints = self.vars.prints(&good.compiled);
                self.known.insert(name, Known { good, kept, prints });
            } else {
                self.unmade.insert(name, kept);
            }
        }
    }

    /// Forgets what has been stale for too long. What is out then, if no file can be taken over.
    fn expire(&mut self) -> Vec<Rejected> {
        let mut out = self.table.rejected.clone();
        if let Some(max) = self.config.max_stale {
            let now = now_ms();
            let expired = |_: &FileName, one: &mut Known| one.kept.expiry(max).is_some_and(|at| at <= now);
            self.unmade.retain(|_, kept| kept.expiry(max).is_none_or(|at| at > now));
            for (name, known) in self.known.extract_if(.., expired) {
                tracing::error!(provider = %name, "stale for longer than `max_stale` allows: out of service until its files are good");
                out.push(Rejected::from(&*known.good.compiled));
            }
        }
        out.sort_by(|a, b| a.name.cmp(&b.name));
        out
    }

    /// How long until something has been stale for too long.
    pub(super) fn until_expiry(&self) -> Duration {
        let Some(max) = self.config.max_stale else { return Duration::MAX };
        let next = self.known.values().filter_map(|known| known.kept.expiry(max)).min();
        next.map_or(Duration::MAX, |at| Duration::from_millis(at.saturating_sub(now_ms())))
    }

    /// A variable that is set in a shell somewhere does not reach a process that runs.
    fn tell_env(&mut self) {
        for (name, set) in self.vars.env() {
            if self.env.insert(name.clone()) {
                tracing::warn!(
                    variable = name,
                    set,
                    "a file names this environment variable anew: it counts as it was when this process started, and a change to it needs a restart"
                );
            }
        }
    }

    /// Counts changes that no event told of.
    pub(super) fn missed(&mut self, more: usize) -> u64 {
        self.status.missed += more as u64;
        self.status.missed
    }

    /// What to watch.
    pub(super) fn places(&self, places: &mut Places) {
        let Source::Directory(dir) = &self.config.source else { return };
        for folder in Folder::ALL {
            places.directory(&dir.join(folder.name()));
        }
        for (shown, _) in self.tree.0.iter().filter(|(_, text)| text.apart) {
            places.itself(Path::new(&**shown));
        }
        places.file(&policy_of(dir));
        for file in self.vars.files() {
            places.file(&file);
        }
    }

    /// The texts that serve, by provider.
    pub(super) fn served(&self) -> Served {
        self.known.iter().map(|(name, known)| (name.clone(), known.kept.inputs.clone())).collect()
    }

    /// Keeps what is good for a restart.
    pub(super) fn save(&mut self) {
        let Some(keep) = &mut self.keep else { return };
        let known = self.known.iter().map(|(name, known)| (name, &known.kept));
        match keep.save(known.chain(&self.unmade)) {
            Ok(()) => {
                if std::mem::take(&mut self.keep_failed) {
                    tracing::info!("what is good is kept for a restart again");
                }
            }
            Err(problem) => {
                if !std::mem::replace(&mut self.keep_failed, true) {
                    tracing::error!(%problem, "what is good cannot be kept for a restart: a file that is bad then is out of service; tried again at every look");
                }
            }
        }
    }
}

fn bad(good: &Good) -> Fresh {
    Fresh::Bad(Rejected::from(&*good.compiled))
}

/// Whether these are the texts of the tree, whose policy is handed in, since it is looked for among all files.
fn is_same(inputs: &Inputs, tree: &Tree, policy: Option<&Arc<str>>) -> bool {
    // What no policy was there for yet has not been held against it.
    policy.is_none_or(|file| inputs.contains_key(file))
        && inputs.iter().all(|(file, text)| tree.hash_of(file) == Some(&text.hash))
}

impl Kept {
    fn expiry(&self, max: Duration) -> Option<u64> {
        let max = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
        self.stale_since_ms.map(|since| since.saturating_add(max))
    }
}

// === impl Files: concluding ===

impl Files {
    fn conclude(&mut self, tree: Tree, outcome: &Outcome, watching: Watching, began: Instant) -> Look {
        let there = !tree.0.is_empty();
        let differs = if there { differences(&self.tree, &tree) } else { 0 };
        let sources = self.sources(&tree, outcome);
        // Of very many, warnings are what is left out.
        let mut told: Vec<_> = outcome.diagnostics.iter().collect();
        told.sort_by_key(|one| one.severity);
        let findings: Vec<_> = told.iter().take(MAX_FINDINGS).map(|one| finding(one, &sources)).collect();
        let fresh_warnings = self.fresh_warnings(&findings);
        let (swap, done) = self.take_over(&tree, outcome);
        let mut status = Status {
            ok: !outcome.has_errors() && outcome.problem.is_none(),
            generation: self.status.generation + u64::from(swap),
            source: describe(&self.config.source),
            watching,
            problem: outcome.problem.clone(),
            omitted: told.len().saturating_sub(MAX_FINDINGS),
            ..self.status.clone()
        };
        if swap {
            status.since = utc(now_ms());
            status.hash = self.hash(&outcome.settled);
        }
        status.files = self.describe(&tree, outcome, &findings);
        status.counts = Counts::of(&status.files);
        status.ok &= status.counts.stale + status.counts.rejected == 0;
        status.checked.clone_from(&self.status.checked);
        let news = status != self.status;
        status.checked = utc(now_ms());
        // A directory that is gone for a moment is not read whole again when it is back.
        if there {
            self.tree = tree;
        }
        self.status = status.clone();
        Look {
            table: self.table.clone(),
            swap,
            status,
            findings,
            fresh_warnings,
            done,
            differs,
            news,
            took: began.elapsed(),
        }
    }

    fn fresh_warnings(&self, findings: &[Finding]) -> HashSet<Finding> {
        let before: HashSet<_> = self.status.files.iter().flat_map(|file| &file.diagnostics).collect();
        let warnings = findings.iter().filter(|one| one.severity == Severity::Warning);
        warnings.filter(|one| !before.contains(one)).cloned().collect()
    }

    /// Makes what was settled the last good, and a table of it if it is another than before.
    fn take_over(&mut self, tree: &Tree, outcome: &Outcome) -> (bool, Done) {
        let settled = &outcome.settled;
        let mut done = Done::default();
        let before: BTreeMap<_, _> = self.table.providers.iter().map(|one| (&one.name, one)).collect();
        for (name, Serving { good, stale }) in &settled.serving {
            match before.get(name) {
                None => done.added.push(name.to_string()),
                Some(known) if !Arc::ptr_eq(known, &good.bound) => done.changed.push(name.to_string()),
                Some(_) => {}
            }
            if *stale {
                done.stale.push(name.to_string());
            }
        }
        let gone = before.keys().filter(|name| !settled.serving.contains_key(**name));
        done.removed.extend(gone.map(ToString::to_string));
        done.rejected.extend(settled.rejected.iter().map(|one| one.name.to_string()));
        let swap = self.status.generation == 0
            || !(done.added.is_empty() && done.removed.is_empty() && done.changed.is_empty())
            || self.table.rejected != settled.rejected;
        self.remember(tree, outcome);
        if swap {
            let compiled: Vec<_> = settled.serving.values().map(|one| one.good.compiled.clone()).collect();
            let bound = settled.serving.values().map(|one| one.good.bound.clone()).collect();
            self.table = Arc::new(pipeline::table(&compiled, bound, settled.rejected.clone()));
        }
        (swap, done)
    }

    fn remember(&mut self, tree: &Tree, Outcome { settled, held, .. }: &Outcome) {
        let now = now_ms();
        // A directory that is not there has deleted nothing.
        let out = |name: &FileName| tree.0.is_empty() || settled.rejected.iter().any(|one| one.name == *name);
        self.unmade.retain(|name, _| !settled.serving.contains_key(name) && out(name));
        self.known.retain(|name, _| settled.serving.contains_key(name));
        for (name, Serving { good, stale }) in &settled.serving {
            match self.known.get_mut(name) {
                Some(known) if *stale => {
                    if held.contains(name) {
                        continue;
                    }
                    known.kept.stale_since_ms.get_or_insert(now);
                }
                Some(known) if Arc::ptr_eq(&known.good.bound, &good.bound) => {
                    known.kept.stale_since_ms = None;
                }
                _ => {
                    let inputs = good.compiled.inputs.iter();
                    let inputs = inputs.filter_map(|file| Some((file.clone(), tree.0.get(file)?.clone())));
                    let kept = Kept { inputs: inputs.collect(), stale_since_ms: None };
                    let prints = self.vars.prints(&good.compiled);
                    self.known.insert(name.clone(), Known { good: good.clone(), kept, prints });
                }
            }
        }
    }

    /// Over what serves: the same wherever the same files do, whatever their directory is called.
    fn hash(&self, settled: &Settled) -> String {
        let known = settled.serving.keys().filter_map(|name| self.known.get_key_value(name));
        let mut texts: Vec<_> = known
            .flat_map(|(name, known)| known.kept.inputs.values().map(move |text| (name, text)))
            .collect();
        texts.sort_by_key(|(provider, text)| (*provider, text.folder, &text.name));
        let mut parts = Vec::new();
        for (provider, text) in texts {
            let name = text.name.as_ref().map_or("", FileName::as_str);
            parts.extend([
                provider.as_str().as_bytes(),
                text.folder.name().as_bytes(),
                name.as_bytes(),
                &text.hash,
            ]);
        }
        hex::encode(&files::hash(&parts))
    }

    /// All texts that findings point into.
    fn sources(&self, tree: &Tree, outcome: &Outcome) -> Sources {
        if outcome.diagnostics.is_empty() {
            return Sources::default();
        }
        let mut sources = tree.sources();
        let stale = outcome.settled.serving.iter().filter(|(_, one)| one.stale);
        for (file, text) in
            stale.filter_map(|(name, _)| self.known.get(name)).flat_map(|known| &known.kept.inputs)
        {
            if let Ok(text) = &text.text {
                sources.insert(format!("{file}{LAST_GOOD}").into(), text.clone());
            }
        }
        sources
    }

    /// What became of each file.
    fn describe(&mut self, tree: &Tree, outcome: &Outcome, findings: &[Finding]) -> Vec<File> {
        let mut told: BTreeMap<&str, Vec<Finding>> = BTreeMap::new();
        for one in findings {
            told.entry(&one.file).or_default().push(one.clone());
        }
        let errors = outcome.diagnostics.iter().filter(|one| one.is_error());
        let bad: BTreeSet<&str> = errors.map(|one| &*one.at.file).collect();
        let serving = &outcome.settled.serving;
        // A file that others are made of: whether a provider serves with another text of it.
        let mut other_text = BTreeSet::new();
        for known in self.known.values() {
            let other =
                known.kept.inputs.iter().filter(|(file, text)| tree.hash_of(file) != Some(&text.hash));
            other_text.extend(other.map(|(file, _)| file.clone()));
        }
        let mut files = BTreeMap::new();
        for (shown, text) in
            tree.0.iter().filter(|(shown, text)| !text.filled_in || told.contains_key(&***shown))
        {
            let name = text.name.as_ref().filter(|_| text.folder == Folder::Providers);
            let state = match name {
                Some(name) => State::of(serving.get(name)),
                None if other_text.contains(shown) => State::Stale,
                None if text.name.is_none() || bad.contains(&**shown) => State::Rejected,
                None => State::Live,
            };
            files.insert(shown.clone(), (name.cloned(), state, Some(text.hash)));
        }
        // What serves although its file is not there.
        for (name, one) in serving {
            let shown = one.good.compiled.at.file.clone();
            files.entry(shown).or_insert_with(|| (Some(name.clone()), State::of(Some(one)), None));
        }
        // The same of what does not, while the directory is gone.
        if let Source::Directory(dir) = &self.config.source {
            for Rejected { name, .. } in &outcome.settled.rejected {
                let shown = files::shown(dir, Folder::Providers, name);
                files.entry(shown).or_insert_with(|| (Some(name.clone()), State::Rejected, None));
            }
        }
        let (mut seen, mut described) = (BTreeMap::new(), Vec::with_capacity(files.len()));
        for (shown, (name, state, hash)) in files {
            let since = self.since(&shown, state, hash);
            seen.insert(shown.to_string(), since);
            let served = name.as_ref().and_then(|name| serving.get(name));
            let because = name.as_ref().and_then(|name| outcome.because.get(name)).into_iter().flatten();
            described.push(File {
                routes: served.map_or(0, |one| one.good.bound.endpoints.len()),
                provider: name.as_ref().map(ToString::to_string),
                state,
                since: utc(self.stale_since(name.as_ref(), state).unwrap_or(since.since_ms)),
                because: because.filter(|file| **file != shown).map(ToString::to_string).collect(),
                diagnostics: told.remove(&*shown).unwrap_or_default(),
                file: shown.to_string(),
            });
        }
        self.seen = seen;
        described
    }

    fn since(&self, shown: &str, state: State, hash: Option<Hash>) -> Seen {
        let before = self.seen.get(shown).filter(|seen| (seen.state, seen.hash) == (state, hash));
        before.copied().unwrap_or_else(|| Seen { state, hash, since_ms: now_ms() })
    }

    /// It outlives a restart.
    fn stale_since(&self, name: Option<&FileName>, state: State) -> Option<u64> {
        let known = self.known.get(name.filter(|_| state == State::Stale)?)?;
        known.kept.stale_since_ms
    }
}

impl State {
    fn of(serving: Option<&Serving>) -> Self {
        match serving {
            Some(Serving { stale: false, .. }) => Self::Live,
            Some(Serving { stale: true, .. }) => Self::Stale,
            None => Self::Rejected,
        }
    }
}

impl Counts {
    fn of(files: &[File]) -> Self {
        let count = |state| files.iter().filter(|one| one.state == state).count();
        let routes = files.iter().map(|one| one.routes).sum();
        let providers =
            files.iter().filter(|one| one.provider.is_some() && one.state != State::Rejected).count();
        let (live, stale, rejected) = (count(State::Live), count(State::Stale), count(State::Rejected));
        Self { live, stale, rejected, providers, routes }
    }
}

/// How many files are another, new, or gone.
fn differences(before: &Tree, after: &Tree) -> usize {
    let differs = |(shown, text): &(&Arc<str>, &Arc<Text>)| before.hash_of(shown) != Some(&text.hash);
    let gone = before.0.keys().filter(|shown| !after.0.contains_key(*shown)).count();
    after.0.iter().filter(differs).count() + gone
}

fn finding(diagnostic: &Diagnostic, sources: &Sources) -> Finding {
    let place = |at: &At| {
        let (line, column) = sources.line_column(at);
        (at.file.to_string(), line, column)
    };
    let (file, line, column) = place(&diagnostic.at);
    let related = diagnostic.related.iter().map(|(at, label)| {
        let (file, line, column) = place(at);
        Place { file, line, column, label: label.clone() }
    });
    Finding {
        code: diagnostic.code.as_str().into(),
        severity: diagnostic.severity,
        file,
        line,
        column,
        message: diagnostic.message.clone(),
        help: diagnostic.help.clone(),
        related: related.collect(),
    }
}
