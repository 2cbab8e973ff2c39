//! The first step: texts become documents, each by itself. A file that cannot be read or parsed is kept by name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::{
        day::Day,
        diag::{Code, Diagnostic, Location, Sources},
        name::FileName,
    },
    language::{
        bind::TlsMaker,
        compile,
        compile::{ClientFile, Compiled, Files, PriceFile, Rejected},
        lint, syntax,
        variables::EnvAllow,
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
    /// `endpoints`, and the folders in it.
    Endpoints,
    /// `gateways`.
    Gateways,
    /// `apis`.
    Apis,
    /// `prices`.
    Prices,
    /// `clients`.
    Clients,
    /// `limits.d`, next to the directory.
    Limits,
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
    /// True for a text that is built in, wherever it was read. It is not checked against its schema, nor searched for keys.
    pub is_built_in: bool,
    /// True for a file that was judged before. Its tests are not run again, and its lints are not reported again.
    pub is_judged: bool,
}

impl Folder {
    /// The folders of the directory.
    pub const ALL: [Self; 8] = [
        Self::Providers,
        Self::Presets,
        Self::Endpoints,
        Self::Gateways,
        Self::Apis,
        Self::Prices,
        Self::Clients,
        Self::Limits,
    ];

    /// The folder with this path relative to the providers directory.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|folder| folder.name() == name)
    }

    /// The folder of a file, and the path of the file in it, by its path relative to the providers directory. None if no
    /// folder can have it.
    pub fn of_path(path: &str) -> Option<(Self, &str)> {
        let Some((first, below)) = path.split_once('/') else { return Some((Self::Providers, path)) };
        let folder = Self::named(first).filter(|_| !first.is_empty())?;
        (folder.has_folders() || !below.contains('/')).then_some((folder, below))
    }

    /// The folder of a file whose path may have any directories in front. A file that is in no folder is a provider.
    pub fn of_any_path(path: &str) -> Self {
        let parent = path.rsplit('/').nth(1).filter(|parent| !parent.is_empty());
        let with_folders = || Self::ALL.into_iter().find(|folder| folder.below(path).is_some());
        parent.and_then(Self::named).or_else(with_folders).unwrap_or(Self::Providers)
    }

    /// The path of a file below the providers directory, by a path with any directories in front.
    pub fn shown_path(path: &str) -> &str {
        let file = path.rsplit('/').next().unwrap_or(path);
        let folder = Self::of_any_path(path);
        let below = folder.below(path).unwrap_or(file);
        let length = if folder == Self::Providers { 0 } else { folder.name().len() + 1 };
        &path[path.len() - below.len() - length..]
    }

    /// The path of a file in this folder, which may have folders, by a path with any directories in front.
    pub fn below(self, path: &str) -> Option<&str> {
        let is_folder = |part: &str| self.has_folders() && part == self.name();
        let mut starts = path.rmatch_indices('/').map(|(slash, _)| slash);
        let start = starts.by_ref().take(FileName::MAX_DEPTH).find(|slash| {
            let above = &path[..*slash];
            is_folder(above.rsplit('/').next().unwrap_or(above))
        });
        start.map(|slash| &path[slash + 1..])
    }

    /// True if its files may be in folders of it.
    pub fn has_folders(self) -> bool {
        match self {
            Self::Endpoints => true,
            Self::Providers
            | Self::Presets
            | Self::Gateways
            | Self::Apis
            | Self::Prices
            | Self::Clients
            | Self::Limits
            | Self::Policy => false,
        }
    }

    /// The name of a file by its path in this folder, without `.toml`. None if no file can have it.
    pub fn file_name(self, path: &str) -> Option<FileName> {
        if self.has_folders() { FileName::nested(path) } else { FileName::new(path) }
    }

    /// True if providers are compiled from its files: an error in one takes the providers that use it out of service.
    pub fn is_shared(self) -> bool {
        match self {
            Self::Presets | Self::Endpoints | Self::Gateways | Self::Apis | Self::Policy => true,
            Self::Providers | Self::Prices | Self::Clients | Self::Limits => false,
        }
    }

    /// True if no other file depends on its files: each is judged by itself.
    pub fn is_independent(self) -> bool {
        match self {
            Self::Prices | Self::Clients | Self::Limits => true,
            Self::Providers
            | Self::Presets
            | Self::Endpoints
            | Self::Gateways
            | Self::Apis
            | Self::Policy => false,
        }
    }

    /// Its path relative to the providers directory, or the name of a directory beside it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Providers => "",
            Self::Presets => "presets",
            Self::Endpoints => "endpoints",
            Self::Gateways => "gateways",
            Self::Apis => "apis",
            Self::Prices => "prices",
            Self::Clients => "clients",
            Self::Limits => "limits.d",
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
    /// The wanted provider files, and their names.
    pub providers: BTreeMap<Arc<str>, FileName>,
    /// The price files, and their names.
    pub prices: BTreeMap<Arc<str>, FileName>,
    /// The files of clients, and their names.
    pub clients: BTreeMap<Arc<str>, FileName>,
    /// The built-in files. Their lints are not reported, since the author cannot change them.
    pub filled_in: BTreeSet<Arc<str>>,
    /// The shared files that were judged before.
    pub judged: BTreeSet<Arc<str>>,
    /// The findings of those.
    pub known: Vec<Diagnostic>,
    /// The files of limits, and their names.
    pub limits: BTreeMap<Arc<str>, FileName>,
    /// The levels of lints.
    pub levels: lint::Levels,
    /// The environment variables that files may read.
    pub env_allow: EnvAllow,
    /// The maker of TLS for providers that are bound.
    pub make_tls: TlsMaker,
    /// Today, for lints; none if it does not matter.
    pub today: Option<Day>,
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
    if let Some(path) = Folder::Endpoints.below(file).filter(|path| path.contains('/')) {
        let message = format!(
            "`{}` cannot be a name: its folders and its file are named `[a-z0-9][a-z0-9-]*`, at most {} of them",
            path.trim_end_matches(".toml"),
            FileName::MAX_DEPTH
        );
        let help = "rename them, for example to `example/files.toml`";
        return Diagnostic::new(Code::FileName, Location::file(file), message).help(help);
    }
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
        match text.folder {
            Folder::Providers => drop(self.providers.insert(file.clone(), name.clone())),
            Folder::Prices => drop(self.prices.insert(file.clone(), name.clone())),
            Folder::Clients => drop(self.clients.insert(file.clone(), name.clone())),
            Folder::Limits => drop(self.limits.insert(file.clone(), name.clone())),
            Folder::Presets | Folder::Endpoints | Folder::Gateways | Folder::Apis | Folder::Policy => {}
        }
        if text.folder == Folder::Prices && text.filled_in {
            files.built_in_prices.insert(name.clone());
        }
        let found = match text.folder {
            Folder::Providers => keep(&mut files.providers, name, file, text, |one| &mut one.test),
            Folder::Presets => keep(&mut files.presets, name, file, text, |one| &mut one.test),
            Folder::Endpoints => keep(&mut files.endpoint_sets, name, file, text, |one| &mut one.test),
            Folder::Gateways => keep(&mut files.gateways, name, file, text, |one| &mut one.test),
            Folder::Apis => keep(&mut files.apis, name, file, text, |one| &mut one.test),
            Folder::Prices => keep(&mut files.prices, name, file, text, |one| &mut one.test),
            Folder::Clients => {
                let (slot, found) = slot(file, text);
                files.clients.insert(name.clone(), slot);
                found
            }
            Folder::Limits => keep(&mut files.limits, name, file, text, |one| &mut one.test),
            Folder::Policy => {
                let (slot, found) = slot(file, text);
                files.policy = Some((file.clone(), slot));
                found
            }
        };
        self.diagnostics.extend(found);
        if text.is_judged {
            self.judged.insert(file.clone());
        }
        if text.filled_in {
            self.filled_in.insert(file.clone());
        } else if !text.is_judged
            && !text.is_built_in
            && let Ok(text) = text.text
        {
            self.literals.extend(lint::literals(file, text));
        }
    }

    /// Applies the levels of lints.
    fn lint(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let mut found = self.levels.apply(found);
        found.retain(|one| !self.filled_in.contains(&one.at.file) && !self.judged.contains(&one.at.file));
        found
    }

    /// The lints of each file.
    pub(super) fn lint_each(&self, compiled: &Compiled) -> Vec<Diagnostic> {
        let mut found = lint::each(&self.files, compiled, &self.env_allow);
        found.extend(self.literals.iter().cloned());
        self.lint(found)
    }

    /// The gateways alone, for [`Loaded::unused_gateways`].
    #[must_use]
    pub fn gateways_only(self) -> Self {
        let Self { files, filled_in, levels, .. } = self;
        let files = Files { gateways: files.gateways, ..Files::default() };
        Self { files, filled_in, levels, ..Self::default() }
    }

    /// Lints of price files beside each other and beside these provider files.
    pub fn lint_prices(&self, prices: &[Arc<PriceFile>], providers: &[&str]) -> Vec<Diagnostic> {
        self.levels.apply(lint::prices(prices, providers, self.today))
    }

    /// Lints of files of clients beside these wire formats.
    pub fn lint_clients(&self, clients: &[Arc<ClientFile>], apis: &[&str]) -> Vec<Diagnostic> {
        self.lint(lint::clients(clients, apis))
    }

    pub(super) fn api_names(&self) -> Vec<&str> {
        self.files.apis.keys().map(FileName::as_str).collect()
    }

    pub(super) fn provider_names(&self) -> Vec<&str> {
        self.files.providers.keys().map(FileName::as_str).collect()
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
fn keep<T: syntax::Document, S>(
    slots: &mut BTreeMap<FileName, syntax::Slot<T>>,
    name: &FileName,
    file: &Arc<str>,
    text: &InputFile<'_>,
    tests: fn(&mut T) -> &mut Option<Vec<S>>,
) -> Vec<Diagnostic> {
    let (mut slot, found) = slot(file, text);
    if (text.filled_in || text.is_judged)
        && let Ok(parsed) = &mut slot
    {
        *tests(&mut parsed.document) = None;
    }
    slots.insert(name.clone(), slot);
    found
}

fn slot<T: syntax::Document>(file: &Arc<str>, text: &InputFile<'_>) -> (syntax::Slot<T>, Vec<Diagnostic>) {
    match text.text {
        Ok(known) if text.is_built_in => syntax::parse_known(file, known),
        Ok(text) => syntax::parse(file, text),
        Err(problem) => {
            let found = Diagnostic::new(Code::File, Location::file(file), problem.to_owned());
            (Err(syntax::Outline::default()), vec![found])
        }
    }
}
