//! The data directory and the private files in it: made with rights for their owner alone, whole or
//! not at all, and guarded against two processes that both make them.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::StoreError;
use crate::{hex, secret::Secret};

/// How long we wait for other processes.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// Held while something in the data directory is made that must be made once. Released when dropped,
/// and by the operating system when the process dies.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Waits for the lock on `dir`, which is made if it is missing.
    pub async fn acquire(dir: &Path) -> Result<Self, StoreError> {
        Self::acquire_within(dir, LOCK_TIMEOUT).await
    }

    pub(super) async fn acquire_within(dir: &Path, timeout: Duration) -> Result<Self, StoreError> {
        make_dir(dir)?;
        // Not the database file: to close any handle on that one would drop SQLite's own locks.
        let path = dir.join("setup.lock");
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = file.map_err(|error| StoreError::from_io(&path, error))?;
        let deadline = Instant::now() + timeout;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(LOCK_RETRY).await,
                Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path }),
                Err(TryLockError::Error(error)) => return Err(StoreError::from_io(&path, error)),
            }
        }
    }
}

/// Makes the data directory, for its owner alone. One that exists is left as its owner made it.
fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => StoreError::NoDirectory { path: dir.to_owned() },
        _ => StoreError::from_io(dir, error),
    })
}

/// Who, besides the user of this process and root, can put other files in the place of ours in `dir`.
pub fn untrusted_writers(dir: &Path) -> Result<Option<String>, StoreError> {
    const BY_GROUP_AND_OTHERS: u32 = 0o022;
    let metadata = fs::metadata(dir).map_err(|error| StoreError::from_io(dir, error))?;
    let (owner, mode) = (metadata.uid(), metadata.permissions().mode() & 0o777);
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Ok(Some(format!("it belongs to the user {owner}: run `chown` on it")));
    }
    let exposed = mode & BY_GROUP_AND_OTHERS != 0;
    Ok(exposed.then(|| format!("its mode is {mode:o}: run `chmod 700` on it")))
}

/// Which file a path leads to, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// That of the database file. Its metadata are in memory, so that nobody waits for a disk.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let metadata = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Moved { path: path.to_owned() },
            _ => StoreError::from_io(path, error),
        })?;
        if metadata.len() == 0 {
            return Err(StoreError::Corrupt { path: path.to_owned(), detail: "it is empty".to_owned() });
        }
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// Makes the empty database file if there is none, and sees to it that only its owner can read it.
/// `SQLite` gives the files beside it (`-wal`, `-shm`) the same rights. One that was lost is not made anew.
pub(super) fn make_database_file(path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_io(path, error);
    let (found, traces) = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(StoreError::Corrupt { path: path.to_owned(), detail: "it is not a file".to_owned() });
        }
        Ok(metadata) if metadata.len() > 0 => (true, &[][..]),
        // A first start that went no further leaves an empty one, but none of these.
        Ok(_) => (true, &["tollgate.db-wal", "tollgate.db-shm", "admin-token", "master-key"][..]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (false, &["tollgate.db-wal", "tollgate.db-shm"][..])
        }
        Err(error) => return Err(failed(error)),
    };
    let mut traces = traces.iter().map(|name| path.with_file_name(name));
    if let Some(trace) = traces.find(|trace| trace.exists()) {
        return Err(StoreError::Lost { path: path.to_owned(), trace });
    }
    if found {
        return tighten(path).map_err(failed);
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    tracing::info!(file = %path.display(), "a new database was made");
    Ok(())
}

fn tighten(path: &Path) -> io::Result<()> {
    if only_for_owner(&fs::metadata(path)?) {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o600))
}

/// Whether group and others have no rights.
fn only_for_owner(metadata: &fs::Metadata) -> bool {
    const GROUP_AND_OTHERS: u32 = 0o077;
    metadata.permissions().mode() & GROUP_AND_OTHERS == 0
}

/// Writes a new file that only its owner can read: whole and on disk, or not at all. One that exists is
/// an error and stays as it is.
pub fn write_private(_held: &DirLock, path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_io(path, error);
    if fs::symlink_metadata(path).is_ok() {
        let advice = "something else exists there: look at it, move it away, then try again";
        return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, advice)));
    }
    let draft = draft_path(path);
    let written = write_and_rename(&draft, path, content);
    if written.is_err() {
        // The error that matters is the one above; a draft that stays behind does no harm.
        let _ = fs::remove_file(&draft);
    }
    written.map_err(failed)
}

/// Puts a private file in the place of another, on disk when this returns.
pub fn replace_private(_held: &DirLock, from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).and_then(|()| sync_dir(to)).map_err(|error| StoreError::from_io(to, error))
}

/// Removes a private file.
pub fn remove_private(_held: &DirLock, path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).and_then(|()| sync_dir(path)).map_err(|error| StoreError::from_io(path, error))
}

fn write_and_rename(draft: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    give_to_owner_of_dir(&file, path)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(draft, path)?;
    sync_dir(path)
}

/// What root writes beside a server, that is to be able to read.
fn give_to_owner_of_dir(file: &File, path: &Path) -> io::Result<()> {
    let Some(dir) = path.parent() else { return Ok(()) };
    let owner = fs::metadata(dir)?;
    if rustix::process::geteuid().is_root() && owner.uid() != 0 {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// A file's name is on disk only once its directory is.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// What stands in the place of a private file.
pub enum PrivateFile {
    /// Nothing.
    Missing,
    /// A file that others may read too, with these rights. It was not read.
    Exposed {
        /// The permission bits.
        mode: u32,
    },
    /// A file for its owner alone.
    Text(Secret),
}

/// Who may be able to read a file that holds a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner, and root.
    Owner,
    /// Whomever somebody else lets in, whose business that is.
    Any,
}

/// Reads a small private file.
pub fn read_private(path: &Path) -> Result<PrivateFile, StoreError> {
    read_small(path, Readers::Owner)
}

/// Reads a small file, if nobody else can who should not.
pub fn read_small(path: &Path, readers: Readers) -> Result<PrivateFile, StoreError> {
    const MAX_BYTES: u64 = 4096;
    let failed = |error| StoreError::from_io(path, error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PrivateFile::Missing),
        file => file.map_err(failed)?,
    };
    // The rights of what was opened, not of what may stand there by now.
    let metadata = file.metadata().map_err(failed)?;
    if readers == Readers::Owner && !only_for_owner(&metadata) {
        return Ok(PrivateFile::Exposed { mode: metadata.permissions().mode() & 0o777 });
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(PrivateFile::Text(Secret::new(text)))
}

/// A name of its own for each draft, so that one left by a crash is in nobody's way.
pub(super) fn draft_path(path: &Path) -> PathBuf {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("the operating system has random numbers");
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", hex::encode(&random)));
    name.into()
}
