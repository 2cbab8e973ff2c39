//! The pipeline of files: `parse -> compile -> bind -> link`. Texts become documents, providers, and the route table. It
//! also runs the files' own tests, the lints and the policy.
//!
//! Returns good providers, rejected ones, and all findings. Reads no files and no vars: the caller supplies them.
//! Read next: [`crate::tools::reconcile`], which chooses between a new and the last good version.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::{
        diag::{Code, Diagnostic, Location, Sources},
        name::FileName,
    },
    language::{
        bind, compile,
        compile::{Compiled, Files, Rejected, VarSource},
        lint, syntax,
    },
    request::table::{self, Table},
    tools::{
        filetest, prove,
        reconcile::{CurrentVersion, Good, reconcile},
    },
};

/// The folder of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Folder {
    /// The directory itself: providers.
    Providers,
    /// `presets`.
    Presets,
    /// `gateways`.
    Gateways,
    /// `apis`.
    Apis,
    /// Next to the directory: `policy.toml` only.
    Policy,
}

/// One file, as read.
#[derive(Debug, Clone, Copy)]
pub struct InputFile<'t> {
    /// Its folder.
    pub folder: Folder,
    /// Its name. None if the stem is no valid name.
    pub name: Option<&'t FileName>,
    /// Its text, or the reason why it cannot be read, as a fragment.
    pub text: Result<&'t str, &'t str>,
    /// True for a built-in file that the directory lacks. Its tests are not run.
    pub filled_in: bool,
}

impl Folder {
    /// The folders of the directory.
    pub const ALL: [Self; 4] = [Self::Providers, Self::Presets, Self::Gateways, Self::Apis];

    /// Its path relative to the providers directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Providers => "",
            Self::Presets => "presets",
            Self::Gateways => "gateways",
            Self::Apis => "apis",
            Self::Policy => "..",
        }
    }
}

/// Parsed files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// All texts, for rendering findings.
    pub sources: Sources,
    /// The documents.
    pub files: Files,
    /// Errors of form, and unreadable files.
    pub diagnostics: Vec<Diagnostic>,
    /// Findings about texts that seem to contain an API key.
    pub literals: Vec<Diagnostic>,
    /// The built-in files. Their lints are not reported, since the author cannot change them.
    pub filled_in: BTreeSet<Arc<str>>,
    /// The levels of lints.
    pub levels: lint::Levels,
}

/// The result for each file by itself.
#[derive(Debug, Default)]
pub struct Built {
    /// The providers.
    pub current: BTreeMap<FileName, CurrentVersion>,
    /// For each provider that is bad only because of its preset, gateway, api or the policy: those files.
    pub blocked_by: BTreeMap<FileName, BTreeSet<Arc<str>>>,
    /// All findings.
    pub diagnostics: Vec<Diagnostic>,
}

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

/// Parses files: the wanted providers and all shared files.
pub fn parse<'t>(
    files: impl IntoIterator<Item = (&'t Arc<str>, InputFile<'t>)>,
    wanted: impl Fn(&FileName) -> bool,
) -> Loaded {
    let mut loaded = Loaded::default();
    for (file, input) in files {
        match input.name {
            Some(name) if input.folder != Folder::Providers || wanted(name) => {
                loaded.take(file, name, &input);
            }
            Some(_) => {}
            None => loaded.diagnostics.push(no_name(file)),
        }
    }
    loaded.own_default();
    loaded.diagnostics.sort();
    loaded
}

fn no_name(file: &Arc<str>) -> Diagnostic {
    let stem = std::path::Path::new(&**file).file_stem().unwrap_or_default().to_string_lossy();
    let message = format!("`{stem}` cannot be a name: use `[a-z0-9][a-z0-9-]*`, at most 64 characters");
    let good = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let better = stem.chars().map(good).collect::<String>();
    let help = match FileName::new(better.trim_matches('-')) {
        Some(better) => format!("rename the file to `{better}.toml`"),
        None => "rename the file".to_owned(),
    };
    Diagnostic::new(Code::FileName, Location::file(file), message).help(help)
}

impl Loaded {
    /// A default preset of the directory replaces the built-in one.
    fn own_default(&mut self) {
        let filled_in = |file: &Arc<str>| self.filled_in.contains(file);
        let mut presets: Vec<_> = self.files.presets.values_mut().flatten().collect();
        presets.retain(|preset| preset.document.default == Some(true));
        if presets.iter().any(|preset| !filled_in(&preset.file)) {
            let others = presets.into_iter().filter(|preset| filled_in(&preset.file));
            others.for_each(|preset| preset.document.default = None);
        }
    }

    fn take(&mut self, file: &Arc<str>, name: &FileName, text: &InputFile<'_>) {
        let files = &mut self.files;
        let found = match text.folder {
            Folder::Providers => keep(&mut files.providers, name, file, text, |one| &mut one.test),
            Folder::Presets => keep(&mut files.presets, name, file, text, |one| &mut one.test),
            Folder::Gateways => keep(&mut files.gateways, name, file, text, |one| &mut one.test),
            Folder::Apis => keep(&mut files.apis, name, file, text, |one| &mut one.test),
            Folder::Policy => {
                let (slot, found) = slot(file, text);
                files.policy = Some((file.clone(), slot));
                found
            }
        };
        self.diagnostics.extend(found);
        if text.filled_in {
            self.filled_in.insert(file.clone());
        } else if let Ok(text) = text.text {
            self.literals.extend(lint::literals(file, text));
        }
    }

    /// Applies the levels of lints.
    fn lint(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let mut found = self.levels.apply(found);
        found.retain(|one| !self.filled_in.contains(&one.at.file));
        found
    }

    /// The lints of each file.
    fn lint_each(&self, compiled: &Compiled) -> Vec<Diagnostic> {
        let mut found = lint::each(&self.files, compiled);
        found.extend(self.literals.iter().cloned());
        self.lint(found)
    }

    /// Unused gateways. None are reported while a provider is rejected, since it may use them.
    pub fn unused_gateways<'p>(
        &self,
        providers: impl Iterator<Item = &'p compile::Provider>,
        rejected: &[Rejected],
    ) -> Vec<Diagnostic> {
        if rejected.is_empty() {
            self.lint(lint::unused_gateways(&self.files, providers))
        } else {
            Vec::new()
        }
    }
}

/// Adds a file. A file that cannot be read or parsed is kept by name, for findings about references to it.
fn keep<T: syntax::Document>(
    slots: &mut BTreeMap<FileName, syntax::Slot<T>>,
    name: &FileName,
    file: &Arc<str>,
    text: &InputFile<'_>,
    tests: fn(&mut T) -> &mut Option<Vec<syntax::Test>>,
) -> Vec<Diagnostic> {
    let (mut slot, found) = slot(file, text);
    if text.filled_in
        && let Ok(parsed) = &mut slot
    {
        *tests(&mut parsed.document) = None;
    }
    slots.insert(name.clone(), slot);
    found
}

fn slot<T: syntax::Document>(file: &Arc<str>, text: &InputFile<'_>) -> (syntax::Slot<T>, Vec<Diagnostic>) {
    match text.text {
        Ok(text) => syntax::parse(file, text),
        Err(problem) => {
            let found = Diagnostic::new(Code::File, Location::file(file), problem.to_owned());
            (Err(syntax::Outline::default()), vec![found])
        }
    }
}

/// All findings of `tollgate check`. Needs no vars.
pub fn check(loaded: &Loaded) -> (Compiled, filetest::Outcome, Vec<Diagnostic>) {
    let compiled = compile::compile(&loaded.files);
    let tests = filetest::run(&compiled);
    let mut all = loaded.diagnostics.clone();
    all.extend(compiled.diagnostics.iter().cloned());
    all.extend(table::link(&compiled.providers, &compiled.rejected).into_iter().map(|one| one.diagnostic));
    all.extend(tests.diagnostics.iter().cloned());
    all.extend(loaded.lint_each(&compiled));
    all.extend(loaded.unused_gateways(compiled.providers.iter().map(|one| &**one), &compiled.rejected));
    all.extend(prove::check_policy(&loaded.files, &compiled.providers).into_diagnostics());
    all.sort();
    (compiled, tests, all)
}

/// Builds each provider by itself. It is rejected if it does not compile, if one of its files has an error or a failing
/// test, if it breaks the policy, or if its vars cannot be filled in.
pub fn build(loaded: &Loaded, mut value: impl FnMut(&VarSource) -> bind::Lookup) -> Built {
    let compiled = compile::compile(&loaded.files);
    let tests = filetest::run(&compiled);
    let mut diagnostics = loaded.diagnostics.clone();
    diagnostics.extend(tests.diagnostics);
    diagnostics.extend(loaded.lint_each(&compiled));
    let findings = prove::check_policy(&loaded.files, &compiled.providers);
    diagnostics.extend(findings.policy);
    let bad = diagnostics.iter().filter(|one| one.is_error());
    let bad: BTreeSet<Arc<str>> = bad.map(|one| one.at.file.clone()).collect();
    let mut warnings = BTreeMap::<Arc<str>, Vec<Diagnostic>>::new();
    for one in diagnostics.iter().filter(|one| !one.is_error()) {
        warnings.entry(one.at.file.clone()).or_default().push(one.clone());
    }
    diagnostics.extend(compiled.diagnostics);
    diagnostics.extend(findings.broken.values().flatten().cloned());
    let mut current: BTreeMap<FileName, CurrentVersion> =
        compiled.rejected.into_iter().map(|one| (one.name.clone(), CurrentVersion::Bad(one))).collect();
    let mut blocked_by = BTreeMap::new();
    for provider in compiled.providers {
        let rejected = || CurrentVersion::Bad(Rejected::from(&*provider));
        let made = if findings.broken.contains_key(&provider.name) {
            rejected()
        } else if provider.inputs.is_disjoint(&bad) {
            let value = std::cell::RefCell::new(&mut value);
            let (bound, found) = bind::try_bind(&provider, |_, _, var| (value.borrow_mut())(&var.source));
            diagnostics.extend(found);
            let bound = bound.map(Arc::new);
            let warnings = warnings.remove(&provider.at.file).unwrap_or_default();
            let good = |bound| CurrentVersion::New(Good { compiled: provider.clone(), bound, warnings });
            bound.map_or_else(rejected, good)
        } else {
            blocked_by.insert(provider.name.clone(), provider.inputs.intersection(&bad).cloned().collect());
            rejected()
        };
        current.insert(provider.name.clone(), made);
    }
    Built { current, blocked_by, diagnostics }
}

/// Builds the table of all good providers.
pub fn assemble(loaded: &Loaded, value: impl FnMut(&VarSource) -> bind::Lookup) -> Assembled {
    let Built { current, mut diagnostics, .. } = build(loaded, value);
    let reconciled = reconcile(current, &BTreeMap::new());
    diagnostics.extend(reconciled.diagnostics);
    let serving = reconciled.serving.values().map(|one| &*one.good.compiled);
    diagnostics.extend(loaded.unused_gateways(serving, &reconciled.rejected));
    sort(&mut diagnostics);
    let providers: Vec<_> = reconciled.serving.values().map(|one| one.good.compiled.clone()).collect();
    let bound = reconciled.serving.into_values().map(|one| one.good.bound).collect();
    let table = table(&providers, bound, reconciled.rejected);
    Assembled { table, providers, diagnostics }
}

/// The table of providers without conflicts.
pub fn table(
    compiled: &[Arc<compile::Provider>],
    bound: Vec<Arc<bind::Provider>>,
    rejected: Vec<Rejected>,
) -> Table {
    let cors: Vec<_> = compiled.iter().flat_map(|provider| provider.cors_headers.iter().cloned()).collect();
    Table::new(bound, rejected, &cors)
}

/// Sorts findings and removes repetitions: each provider of a gateway reports the gateway's vars.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort();
    diagnostics.dedup();
}
