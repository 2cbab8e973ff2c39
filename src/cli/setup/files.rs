//! The files of a client that `tollgate setup --write` changes: reads them, merges the steps, and writes.
//!
//! It guarantees: nothing is written before every file has been read and merged. Each version that is replaced stays beside the file.
//! Read next: `merge`.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};

use super::{
    super::{context::absolute, whole_file},
    as_owner::{self, Owner},
    merge::{self, Before, Change, FILE_TOKEN, Language, MergeError, Merged},
};
use crate::{client_setup::FilledStep, compile::SetupValue, escape::Lines, written::not_utf8};

/// The largest file that is read.
const MAX_BYTES: u64 = 4 << 20;
/// The mode of a file with a token.
const PRIVATE: u32 = 0o600;
/// The most copies of earlier texts.
const MAX_COPIES: usize = 1000;

/// A file with its new text. Not `Debug`: it may hold a token.
pub(super) struct Plan {
    path: PathBuf,
    /// The user with whose rights root writes it.
    owner: Option<Owner>,
    /// The text that it has; none if it does not exist.
    old: Option<String>,
    merged: Merged,
    /// True if a real token is put into it.
    has_token: bool,
}

/// Reads the file of a step, and merges the step into it, or into what an earlier step makes of the file. `token` is true if
/// the step has a real token. Returns false if the step has no file that can be written.
pub(super) fn plan(
    step: &FilledStep<'_>,
    home: Option<&Path>,
    token: bool,
    plans: &mut Vec<Plan>,
) -> anyhow::Result<bool> {
    let (Some(file), Some(language)) = (step.file, Language::named(step.language)) else { return Ok(false) };
    let (base, below) = match file.strip_prefix("~/") {
        Some(below) => (home.context("there is no home directory: name one with --home")?, below),
        None => (Path::new(""), file),
    };
    let path = base.join(below);
    let has_token = token && step.values.contains(&SetupValue::Token);
    if let Some(earlier) = plans.iter_mut().find(|plan| is_same(&plan.path, &path)) {
        let Merged { text, changes, kept } = merged(language, &earlier.merged.text, step, &path)?;
        earlier.merged.text = text;
        earlier.merged.changes.extend(changes);
        earlier.merged.kept.extend(kept);
        earlier.has_token |= has_token;
        return Ok(true);
    }
    let owner = as_owner::owner(base, &path);
    let old = as_owner::run(owner, || read(&path))?;
    let merged = merged(language, old.as_deref().unwrap_or_default(), step, &path)?;
    plans.push(Plan { path, owner, old, merged, has_token });
    Ok(true)
}

/// True if both paths name one file, which need not exist.
fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    one == other || file(one).is_ok_and(|one| file(other).is_ok_and(|other| one == other))
}

fn merged(language: Language, text: &str, step: &FilledStep<'_>, path: &Path) -> anyhow::Result<Merged> {
    merge::merge(language, text, &step.code).map_err(|error| match error {
        MergeError::Snippet(problem) => {
            let file = step.file.unwrap_or_default();
            anyhow::anyhow!("the client's own file is wrong: its code for `{file}` is refused: {problem}")
        }
        MergeError::Text { at, problem } => {
            let at = at.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
            anyhow::anyhow!(
                "`{}{at}`: {problem}; nothing was changed: mend the file, or put the step into it yourself, as `tollgate setup` without `--write` prints it",
                absolute(path)
            )
        }
    })
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let shown = absolute(path);
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ensure!(
                fs::symlink_metadata(path).is_err(),
                "`{shown}` is a symbolic link to a file that does not exist: create that file, or remove the link"
            );
            return Ok(None);
        }
        found => found.with_context(|| format!("cannot read `{shown}`"))?,
    };
    ensure!(metadata.is_file(), "`{shown}` is not a file");
    // A file that cannot be written is refused before anything is.
    let opened = File::options().read(true).write(true).open(path);
    let file = opened.with_context(|| format!("cannot change `{shown}`"))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read `{shown}`"))?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "`{shown}` is larger than {MAX_BYTES} bytes");
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|error| anyhow::anyhow!("`{shown}` {}", not_utf8(error.as_bytes())))
}

impl Plan {
    /// True if the file has all of it already.
    fn is_done(&self) -> bool {
        self.merged.changes.is_empty()
    }

    /// True if the stand-in for a token is in the file.
    pub(super) fn has_stand_in(&self) -> bool {
        self.merged.text.contains(FILE_TOKEN)
    }

    /// True if a real token is put into the file.
    pub(super) fn takes_token(&self) -> bool {
        self.has_token
    }

    /// The path, for messages.
    pub(super) fn shown(&self) -> String {
        absolute(&self.path)
    }

    /// Writes the file. Returns what was done.
    pub(super) fn write(&self) -> anyhow::Result<Lines> {
        as_owner::run(self.owner, || self.write_with_rights())
    }

    fn write_with_rights(&self) -> anyhow::Result<Lines> {
        let shown = self.shown();
        let Merged { text, changes, kept } = &self.merged;
        let mut lines = Lines::default();
        if self.is_done() {
            lines.push(format_args!("{shown}: has it already, and was not changed"));
            if self.has_token && self.make_private()? {
                lines.push(format_args!("  mode:     it is {PRIVATE:o} now"));
            }
        } else if let Some(old) = &self.old {
            let copy = self.keep(old)?;
            if self.has_token {
                self.make_private()?;
            }
            whole_file::write(&self.path, text).with_context(|| format!("cannot write `{shown}`"))?;
            lines.push(format_args!("{shown}: changed"));
            show_changes(&mut lines, changes);
            lines.push(format_args!("  kept:     what it was is in {copy}"));
        } else {
            if let Some(dir) = self.path.parent() {
                fs::create_dir_all(dir).with_context(|| format!("cannot create `{}`", absolute(dir)))?;
            }
            let mode = if self.has_token { PRIVATE } else { whole_file::MODE };
            whole_file::create_with(&self.path, text, mode)
                .with_context(|| format!("cannot write `{shown}`"))?;
            lines.push(format_args!("{shown}: created"));
            show_changes(&mut lines, changes);
        }
        for key in kept {
            lines.push(format_args!(
                "  keeps the token that stands there ({key}); use --token-stdin to replace it"
            ));
        }
        Ok(lines)
    }

    /// Gives the file the mode of one with a token. Returns false if it had it.
    fn make_private(&self) -> anyhow::Result<bool> {
        let change = || {
            let is_private = fs::metadata(&self.path)?.permissions().mode() & 0o7777 == PRIVATE;
            if !is_private {
                fs::set_permissions(&self.path, fs::Permissions::from_mode(PRIVATE))?;
            }
            io::Result::Ok(!is_private)
        };
        change().with_context(|| format!("cannot change `{}`", self.shown()))
    }

    /// Keeps the text that the file has, unless the newest copy has it. Returns the path of the copy.
    fn keep(&self, old: &str) -> anyhow::Result<String> {
        let mode = fs::metadata(&self.path).map_or(PRIVATE, |found| found.permissions().mode() & 0o777);
        let mut newest: Option<PathBuf> = None;
        for number in 1..=MAX_COPIES {
            let copy = self.copy(number);
            if fs::symlink_metadata(&copy).is_ok() {
                newest = Some(copy);
                continue;
            }
            let has_it = |copy: &PathBuf| read(copy).is_ok_and(|text| text.as_deref() == Some(old));
            if let Some(newest) = newest.as_ref().filter(|newest| has_it(newest)) {
                return Ok(absolute(newest));
            }
            match whole_file::create_with(&copy, old, mode) {
                Ok(()) => return Ok(absolute(&copy)),
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => newest = Some(copy),
                Err(error) => {
                    bail!("cannot write `{}`: {error}; nothing was changed", absolute(&copy))
                }
            }
        }
        bail!("`{}` has {MAX_COPIES} copies: remove some; nothing was changed", self.shown())
    }

    fn copy(&self, number: usize) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".before-tollgate");
        if number > 1 {
            name.push(format!("-{number}"));
        }
        self.path.with_file_name(name)
    }
}

fn show_changes(lines: &mut Lines, changes: &[Change]) {
    for Change { key, before } in changes {
        match before {
            Before::Absent => lines.push(format_args!("  set:      {key}")),
            Before::Shown(old) => lines.push(format_args!("  replaced: {key}, which was `{old}`")),
            Before::Hidden => lines.push(format_args!("  replaced: {key}")),
        }
    }
}
