//! The targets of a check, from path arguments. A file is checked together with its providers directory; files of one
//! directory share one check.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};

use super::Failure;
use crate::{
    pipeline::Folder,
    settings::{self, Catalogue, DEFAULT_FILE, DEFAULT_PROVIDERS, SettingsError, Source, beside},
};

/// Standard input, among paths.
const STDIN: &str = "-";
/// The limit of standard input: more than a file may have, so that the file limit reports it.
const MAX_STDIN: u64 = 2 << 20;

/// A providers directory, and the selected files in it.
pub(super) struct Target {
    pub(super) source: Source,
    /// The selected files, as shown; all if `None`.
    pub(super) only: Option<BTreeSet<String>>,
    /// The path and text of a file from standard input.
    pub(super) given: Option<(PathBuf, Vec<u8>)>,
}

/// The targets of the arguments; the default if there are none.
pub(super) fn targets(
    paths: &[PathBuf],
    name: Option<&Path>,
    default: &Source,
) -> Result<Vec<Target>, Failure> {
    let usage = |text: &str| Err(Failure::Usage(anyhow!("{text}")));
    let given = paths.iter().any(|path| path == Path::new(STDIN));
    match name {
        None if given => return usage("`-` needs `--name FILE`: the file that standard input stands for"),
        Some(_) if !given => return usage("`--name` names the file that `-` stands for: give `-` too"),
        Some(_) if paths.len() > 1 => return usage("`-` cannot be combined with other paths"),
        Some(name) => return Ok(vec![standard_input(name)?]),
        None => {}
    }
    if paths.is_empty() {
        return Ok(vec![Target { source: default.clone(), only: None, given: None }]);
    }
    let mut targets: Vec<Target> = Vec::new();
    for path in paths {
        let Some((source, only)) = locate(path)? else { continue };
        match (targets.iter_mut().find(|known| known.source == source), only) {
            (None, only) => {
                let only = only.map(|file| BTreeSet::from([file]));
                targets.push(Target { source, only, given: None });
            }
            (Some(known), None) => known.only = None,
            (Some(known), Some(file)) => known.only.iter_mut().for_each(|only| only.extend([file.clone()])),
        }
    }
    Ok(targets)
}

fn standard_input(name: &Path) -> Result<Target, Failure> {
    let (source, shown) = split_file_path(name);
    let shown_text = shown.to_string_lossy().into_owned();
    if shown.extension().is_none_or(|extension| extension != "toml") {
        return Err(Failure::Usage(anyhow!(
            "`--name {}` is no provider file: one ends in `.toml`",
            name.display()
        )));
    }
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(MAX_STDIN).read_to_end(&mut bytes);
    read.context("cannot read standard input").map_err(Failure::Io)?;
    let only = Some(BTreeSet::from([shown_text]));
    Ok(Target { source, only, given: Some((shown, bytes)) })
}

/// The source of a path, and the selected file, if it is a file. None for a settings file without a directory.
fn locate(path: &Path) -> Result<Option<(Source, Option<String>)>, Failure> {
    let unreadable =
        |error| Failure::Io(anyhow::Error::new(error).context(format!("cannot read `{}`", path.display())));
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Ok(Some((source_of(path), None)));
    }
    // Opening a pipe would block until another process writes.
    if metadata.is_file() {
        File::open(path).map_err(unreadable)?;
    }
    let there = Some(path.with_file_name(DEFAULT_PROVIDERS)).filter(|dir| dir.is_dir());
    // A settings file and a policy decide about all files of the directory.
    if path.file_name().is_some_and(|name| name == DEFAULT_FILE) {
        let named = settings::source_in(path).map_err(|error| match error {
            SettingsError::Read { .. } => Failure::Io(error.into()),
            other => Failure::Findings(other.into()),
        })?;
        return Ok(settings_source(named, there).map(|source| (source, None)));
    }
    if path.file_name().is_some_and(|name| name == "policy.toml") {
        let limits = path.with_file_name(Folder::Limits.name());
        match there {
            Some(dir) => return Ok(Some((Source::directory(dir), None))),
            None if limits.is_dir() => return Ok(Some((beside_limits(&limits), None))),
            None => {}
        }
    }
    let (source, shown) = split_file_path(path);
    Ok(Some((source, Some(shown.to_string_lossy().into_owned()))))
}

/// The source that a settings file names: its directories of providers and of limits, or those beside it.
fn settings_source(
    (providers, limits): (Option<PathBuf>, Option<PathBuf>),
    there: Option<PathBuf>,
) -> Option<Source> {
    match (providers.or(there), limits) {
        (Some(path), limits) => Some(Source::Directory { path, catalogue: None, limits }),
        (None, Some(limits)) => Some(Source::Embedded { catalogue: Catalogue::All, limits: Some(limits) }),
        (None, None) => None,
    }
}

/// The source of a directory: of providers, or of limits.
pub(super) fn source_of(dir: &Path) -> Source {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    if absolute.file_name().is_some_and(|name| name == Folder::Limits.name()) {
        beside_limits(dir)
    } else {
        Source::directory(dir)
    }
}

/// The providers beside a directory of limits; the built-in ones if there are none.
fn beside_limits(limits: &Path) -> Source {
    let providers = beside(limits, DEFAULT_PROVIDERS);
    if providers.is_dir() {
        Source::directory(providers)
    } else {
        Source::Embedded { catalogue: Catalogue::All, limits: Some(limits.to_owned()) }
    }
}

/// The source of a file, and the file's path as shown in findings.
fn split_file_path(path: &Path) -> (Source, PathBuf) {
    let here = || PathBuf::from(".");
    let or_here =
        |dir: Option<&Path>| dir.filter(|dir| !dir.as_os_str().is_empty()).map_or_else(here, Path::to_owned);
    let parent = or_here(path.parent());
    let file = path.file_name().unwrap_or_default();
    let absolute = std::path::absolute(&parent).unwrap_or_else(|_| parent.clone());
    let whole = absolute.join(file).to_string_lossy().into_owned();
    let folder = Folder::of_any_path(&whole);
    if folder == Folder::Providers {
        let shown = parent.join(file);
        return (Source::directory(parent), shown);
    }
    if folder == Folder::Limits {
        let source = beside_limits(&parent);
        let shown = source.limits().join(file);
        return (source, shown);
    }
    let depth = folder.below(&whole).map_or(1, |below| below.split('/').count());
    // The last parts of the absolute path, also where the path as written is shorter.
    let mut dir = parent;
    for _ in 0..depth {
        dir = if dir.file_name().is_some() { or_here(dir.parent()) } else { dir.join("..") };
    }
    let last: Vec<_> = absolute.iter().rev().take(depth).collect();
    let shown = last.into_iter().rev().fold(dir.clone(), |path, part| path.join(part)).join(file);
    (Source::directory(dir), shown)
}
