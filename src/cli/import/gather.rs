//! Finds and reads the files of a project in a directory. It follows no link out of the directory, reads regular files of a bounded
//! size and a bounded number of them, and reports what it leaves out.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;

use crate::{
    files,
    import::{Finding, Pattern, Project, SourceText},
};

/// The size of the largest file that is read, in bytes.
const MAX_BYTES: u64 = 32 << 20;
/// The greatest number of files of a pattern.
const MAX_FILES: usize = 100_000;

/// The files of projects, and what is wrong with some.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) texts: Vec<SourceText>,
    pub(super) findings: Vec<Finding>,
}

/// A directory of a project.
struct Place<'d> {
    project: Project,
    dir: &'d Path,
    /// Its real path.
    root: PathBuf,
}

impl Gathered {
    /// Reads the files of a project in a directory. The error is about the directory itself.
    pub(super) fn read(&mut self, project: Project, dir: &Path) -> anyhow::Result<()> {
        let shown = dir.display();
        let root = fs::canonicalize(dir).with_context(|| format!("`{shown}` cannot be read"))?;
        fs::read_dir(&root).with_context(|| format!("`{shown}` is not a directory that can be read"))?;
        let place = Place { project, dir, root };
        for pattern in project.patterns() {
            let steps: Vec<&str> = pattern.path.split('/').collect();
            let mut found = Vec::new();
            self.expand(&place, String::new(), &steps, &mut found);
            if found.len() >= MAX_FILES {
                self.find(
                    &place,
                    pattern.path,
                    format!("more than {MAX_FILES} files: the others are left out"),
                );
            }
            for path in found {
                self.take(&place, pattern, path);
            }
        }
        Ok(())
    }

    /// True if a file of the project was found.
    pub(super) fn has(&self, project: Project) -> bool {
        self.texts.iter().any(|text| text.project == project)
    }

    fn find(&mut self, place: &Place<'_>, path: &str, message: String) {
        let place_shown = place.dir.join(path).to_string_lossy().into_owned();
        self.findings.push(Finding { project: place.project, place: place_shown, message });
    }

    /// Reads a file, or takes its name.
    fn take(&mut self, place: &Place<'_>, pattern: &Pattern, path: String) {
        let shown: Arc<str> = place.dir.join(&path).to_string_lossy().into();
        let text = if pattern.names_only {
            None
        } else {
            match files::read_foreign(&place.root.join(&path), &place.root, MAX_BYTES) {
                Ok(text) => Some(text),
                Err(problem) => return self.find(place, &path, problem),
            }
        };
        self.texts.push(SourceText { project: place.project, path: path.into(), shown, text });
    }

    /// Adds the paths below `path` that fit the steps of a pattern, in order.
    fn expand(&mut self, place: &Place<'_>, path: String, steps: &[&str], found: &mut Vec<String>) {
        if found.len() >= MAX_FILES {
            return;
        }
        let Some((step, rest)) = steps.split_first() else { return found.push(path) };
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let Some((start, end)) = step.split_once('*') else {
            let below = below(step);
            if place.root.join(&below).symlink_metadata().is_ok() {
                self.expand(place, below, rest, found);
            }
            return;
        };
        let is_all = *step == "**";
        let Some(names) = self.names(place, &path) else { return };
        for (name, is_dir) in names {
            let fits =
                name.starts_with(start) && name.ends_with(end) && name.len() >= start.len() + end.len();
            match () {
                () if is_all && is_dir => self.expand(place, below(&name), steps, found),
                () if is_all && name.strip_suffix(".toml").is_some() => found.push(below(&name)),
                () if is_all || !fits || is_dir && rest.is_empty() => {}
                () if is_plain(&name) => self.expand(place, below(&name), rest, found),
                () => {
                    let message = "its name has other characters than letters, digits, `-`, `.` and `_`";
                    self.find(place, &below(&name), message.to_owned());
                }
            }
        }
    }

    /// The names in a directory in order, and whether they are directories. None if it is none, or not to be read.
    fn names(&mut self, place: &Place<'_>, path: &str) -> Option<Vec<(String, bool)>> {
        let dir = place.root.join(path);
        // A file beside the directories of providers, such as a README.
        let real = fs::canonicalize(&dir).ok().filter(|real| real.is_dir())?;
        if !real.starts_with(&place.root) {
            self.find(place, path, "a link that leads out of the directory is not followed".to_owned());
            return None;
        }
        let entries = match fs::read_dir(&real) {
            Ok(entries) => entries.flatten(),
            Err(error) => {
                self.find(place, path, format!("cannot be read: {error}"));
                return None;
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match entry.file_name().into_string() {
                Ok(name) if name.starts_with('.') => {}
                Ok(name) => names.push((name, is_dir)),
                Err(name) => {
                    self.find(
                        place,
                        &format!("{path}/{}", name.to_string_lossy()),
                        "its name is not UTF-8".to_owned(),
                    );
                }
            }
        }
        names.sort();
        Some(names)
    }
}

/// True for a name that can stand in a comment of a file.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}
