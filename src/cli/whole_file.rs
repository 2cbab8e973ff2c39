//! Writes files whole or not at all: each to a draft beside its target first, which then gets the name. A reader, such as
//! a watching server, never sees half a file, and a full disk leaves the previous one.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

/// The mode of a new file.
pub(super) const MODE: u32 = 0o644;

/// Creates a file. Errors if it exists.
pub(super) fn create(path: &Path, text: &str) -> io::Result<()> {
    create_with(path, text, MODE)
}

/// Creates a file with a mode. Errors if it exists.
pub(super) fn create_with(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let draft = Draft::write(path, text, mode)?;
    match renameat_with(CWD, &draft.path, CWD, path, RenameFlags::NOREPLACE) {
        // Some file systems cannot rename without replacement. Linking does not replace either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::hard_link(&draft.path, path),
        renamed => Ok(renamed?),
    }
}

/// Creates a file, or replaces it and keeps its permissions. A symbolic link stays one.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    write_all([(path, text)]).map_err(|(_, error)| error)
}

/// Writes several files: none gets its name before all are written. An error names its file.
pub(super) fn write_all<'f>(
    files: impl IntoIterator<Item = (&'f Path, &'f str)>,
) -> Result<(), (&'f Path, io::Error)> {
    let mut drafts = Vec::new();
    for (path, text) in files {
        drafts.extend(prepare(path, text).map_err(|error| (path, error))?.map(|draft| (path, draft)));
    }
    drafts.into_iter().try_for_each(|(path, draft)| draft.place().map_err(|error| (path, error)))
}

/// A draft of a file; none for a device or a pipe, such as `/dev/stdout`, which is written to instead.
fn prepare(path: &Path, text: &str) -> io::Result<Option<Draft>> {
    let target = match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        found => found?,
    };
    // Renaming would also replace a read-only file: opening it for writing checks the permission.
    let before = match File::options().write(true).open(&target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        opened => {
            let mut file = opened?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return file.write_all(text.as_bytes()).map(|()| None);
            }
            Some(metadata)
        }
    };
    // No reader sees the draft of a private file.
    let mode = before.as_ref().map_or(MODE, |one| one.permissions().mode() & 0o777);
    let draft = Draft::write(&target, text, mode)?;
    if let Some(before) = before {
        if rustix::process::geteuid().is_root() {
            lchown(&draft.path, Some(before.uid()), Some(before.gid()))?;
        }
        fs::set_permissions(&draft.path, before.permissions())?;
    }
    Ok(Some(draft))
}

/// A file beside its target, deleted on drop unless it was placed. No server reads its name as a provider file.
struct Draft {
    path: PathBuf,
    target: PathBuf,
}

impl Draft {
    fn write(target: &Path, text: &str, mode: u32) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&path)?;
        let draft = Self { path, target: target.to_owned() };
        give_to_owner_of_dir(&draft.path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(draft)
    }

    fn place(self) -> io::Result<()> {
        fs::rename(&self.path, &self.target)
    }
}

/// Gives what root creates in the directory of another user to that user: a service has to read what root writes for it.
pub(super) fn give_to_owner_of_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let owner = fs::metadata(dir)?;
    let is_other = rustix::process::geteuid().is_root() && owner.uid() != 0;
    if is_other { lchown(path, Some(owner.uid()), Some(owner.gid())) } else { Ok(()) }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone if it was placed.
        let _ = fs::remove_file(&self.path);
    }
}
