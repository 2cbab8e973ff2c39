//! The files of a client that `tollgate setup --write` changes: reads them, merges the steps, and writes.
//!
//! It guarantees: nothing is written before every file has been read and merged. The first version of a file stays beside it.
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
    merge::{self, Before, Change, FILE_TOKEN, Language, MergeError, Merged},
};
use crate::{client_setup::FilledStep, compile::SetupValue, escape::Lines, written::not_utf8};

/// The largest file that is read.
const MAX_BYTES: u64 = 4 << 20;
/// The mode of a file with a token.
const PRIVATE: u32 = 0o600;

/// A file with its new text. Not `Debug`: it may hold a token.
pub(super) struct Plan {
    path: PathBuf,
    /// The text that it has; none if it does not exist.
    old: Option<String>,
    merged: Merged,
    /// True if a real token is put into it.
    has_token: bool,
}

/// Reads the file of a step, and merges the step into it. `token` is true if the step has a real token.
pub(super) fn plan(step: &FilledStep<'_>, home: Option<&Path>, token: bool) -> anyhow::Result<Option<Plan>> {
    let (Some(file), Some(language)) = (step.file, Language::named(step.language)) else { return Ok(None) };
    let path = match file.strip_prefix("~/") {
        Some(below) => home.context("there is no home directory: name one with --home")?.join(below),
        None => PathBuf::from(file),
    };
    let old = read(&path)?;
    let shown = absolute(&path);
    let merged = merge::merge(language, old.as_deref().unwrap_or_default(), &step.code);
    let merged = merged.map_err(|error| match error {
        MergeError::Snippet(problem) => {
            anyhow::anyhow!("the client's own file is wrong: its code for `{file}` is refused: {problem}")
        }
        MergeError::Text { at, problem } => {
            let at = at.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
            anyhow::anyhow!(
                "`{shown}{at}`: {problem}; nothing was changed: mend the file, or put the step into it yourself, as `tollgate setup` without `--write` prints it"
            )
        }
    })?;
    let has_token = token && step.values.contains(&SetupValue::Token);
    Ok(Some(Plan { path, old, merged, has_token }))
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
        let shown = self.shown();
        if self.is_done() {
            return Ok(Lines::one(format_args!("{shown}: has it already, and was not changed")));
        }
        let Merged { text, changes } = &self.merged;
        let mut lines = Lines::default();
        let Some(old) = &self.old else {
            if let Some(dir) = self.path.parent() {
                fs::create_dir_all(dir).with_context(|| format!("cannot create `{}`", absolute(dir)))?;
            }
            let mode = if self.has_token { PRIVATE } else { whole_file::MODE };
            whole_file::create_with(&self.path, text, mode)
                .with_context(|| format!("cannot write `{shown}`"))?;
            lines.push(format_args!("{shown}: created"));
            show_changes(&mut lines, changes);
            return Ok(lines);
        };
        let copy = self.keep(old)?;
        if self.has_token {
            let permissions = fs::Permissions::from_mode(PRIVATE);
            fs::set_permissions(&self.path, permissions)
                .with_context(|| format!("cannot change `{shown}`"))?;
        }
        whole_file::write(&self.path, text).with_context(|| format!("cannot write `{shown}`"))?;
        lines.push(format_args!("{shown}: changed"));
        show_changes(&mut lines, changes);
        lines.push(format_args!("  {copy}"));
        Ok(lines)
    }

    /// Keeps the text that the file had before the first change. Returns the line about it.
    fn keep(&self, old: &str) -> anyhow::Result<String> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".before-tollgate");
        let copy = self.path.with_file_name(name);
        let shown = absolute(&copy);
        let mode = fs::metadata(&self.path).map_or(PRIVATE, |found| found.permissions().mode() & 0o777);
        match whole_file::create_with(&copy, old, mode) {
            Ok(()) => Ok(format!("kept:     what it was is in {shown}")),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(format!("kept:     {shown} has what it was before the first change"))
            }
            Err(error) => bail!("cannot write `{shown}`: {error}; nothing was changed"),
        }
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
