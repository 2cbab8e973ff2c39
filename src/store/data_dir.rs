//! The data directory and the private files in it. They are created with permissions for their owner only, atomically, and
//! under a lock, so that two processes do not both create them.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::StoreError;
use crate::{hex, secret::Secret, written::not_utf8};

/// The timeout for locks of other processes.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Name of the lock file.
pub const SETUP_LOCK: &str = "setup.lock";
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// The lock of the data directory (`setup.lock`), held while something is created there that must be created once.
/// Released when dropped, and by the operating system when the process dies.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Waits for the lock on `dir`, which is created if it is missing.
    pub async fn acquire(dir: &Path) -> Result<Self, StoreError> {
        Self::acquire_within(dir, LOCK_TIMEOUT).await
    }

    pub(super) async fn acquire_within(dir: &Path, timeout: Duration) -> Result<Self, StoreError> {
        make_dir(dir)?;
        // Not the database file: closing any handle on it would release the locks of SQLite (POSIX advisory locks).
        let path = dir.join(SETUP_LOCK);
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

/// Creates the data directory with mode 0700. One that exists keeps its mode.
fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => StoreError::NoDirectory { path: dir.to_owned() },
        _ => StoreError::from_io(dir, error),
    })
}

/// The reason why users other than that of this process and root can replace files in `dir`, with advice. `None` if they
/// cannot.
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

/// The identity of a file, independent of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The identity of the database file. It is open, so its metadata are in memory: no disk access.
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

/// Creates an empty database file if there is none, and restricts it to its owner. `SQLite` gives the files beside it
/// (`-wal`, `-shm`) the same permissions. A lost database is not replaced by an empty one: that is an error.
pub(super) fn make_database_file(path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_io(path, error);
    let (found, traces) = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(StoreError::Corrupt { path: path.to_owned(), detail: "it is not a file".to_owned() });
        }
        Ok(metadata) if metadata.len() > 0 => (true, &[][..]),
        // An interrupted first start leaves an empty file, but none of these.
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
    let file = path.display();
    if path.with_file_name("master-key").exists() {
        tracing::warn!(%file, "a new database was created beside a master key: if there was one before, stop tollgate and put it back");
    } else {
        tracing::info!(%file, "a new database was created");
    }
    Ok(())
}

fn tighten(path: &Path) -> io::Result<()> {
    if only_for_owner(&fs::metadata(path)?) {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o600))
}

/// True if group and others have no permissions.
fn only_for_owner(metadata: &fs::Metadata) -> bool {
    const GROUP_AND_OTHERS: u32 = 0o077;
    metadata.permissions().mode() & GROUP_AND_OTHERS == 0
}

/// Writes a new private file (mode 0600) atomically, and syncs it to disk. A file that exists is an error, and stays as it
/// is.
pub fn write_private(_held: &DirLock, path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_io(path, error);
    if fs::symlink_metadata(path).is_ok() {
        let advice = "another file exists there: look at it, move it away, then try again";
        return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, advice)));
    }
    let draft = draft_path(path);
    let written = write_and_rename(&draft, path, content);
    if written.is_err() {
        // The error to report is the one above. A draft that stays behind does no harm.
        let _ = fs::remove_file(&draft);
    }
    written.map_err(failed)
}

/// Renames a private file to `to`, replacing what is there, and syncs the directory.
pub fn replace_private(_held: &DirLock, from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).and_then(|()| sync_dir(to)).map_err(|error| StoreError::from_io(to, error))
}

/// Removes a private file, and syncs the directory.
pub fn remove_private(_held: &DirLock, path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).and_then(|()| sync_dir(path)).map_err(|error| StoreError::from_io(path, error))
}

fn write_and_rename(draft: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    give_to_owner_of_dir(&file, path)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(draft, path)?;
    let synced = sync_dir(path);
    if synced.is_err() {
        // Reported as not written, it must not be found and used later: a loss of power may still take it away.
        let _ = fs::remove_file(path);
    }
    synced
}

/// A file that root writes has to be readable for the server, whose user owns the directory.
fn give_to_owner_of_dir(file: &File, path: &Path) -> io::Result<()> {
    let Some(dir) = path.parent() else { return Ok(()) };
    let owner = fs::metadata(dir)?;
    if rustix::process::geteuid().is_root() && owner.uid() != 0 {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Syncs the directory of a file: only then is the file's name on disk.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// The result of reading a private file.
pub enum PrivateFile {
    /// No such file exists.
    Missing,
    /// Other users may read the file. It was not read.
    Exposed {
        /// The permission bits.
        mode: u32,
    },
    /// The contents of a file that only its owner can read.
    Text(Secret),
}

/// The users that may have permission to read a file with a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Only its owner, and root.
    Owner,
    /// Any: another program manages the permissions, such as systemd or Kubernetes.
    Any,
}

/// Reads a private file of at most 4 KiB.
pub fn read_private(path: &Path) -> Result<PrivateFile, StoreError> {
    read_small(path, Readers::Owner)
}

/// Reads a file of at most 4 KiB, unless its permissions are wider than `readers`.
pub fn read_small(path: &Path, readers: Readers) -> Result<PrivateFile, StoreError> {
    const MAX_BYTES: u64 = 4096;
    let failed = |error| StoreError::from_io(path, error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PrivateFile::Missing),
        file => file.map_err(failed)?,
    };
    // The permissions of the open file, not of the one that may be at the path by now.
    let metadata = file.metadata().map_err(failed)?;
    if readers == Readers::Owner && !only_for_owner(&metadata) {
        return Ok(PrivateFile::Exposed { mode: metadata.permissions().mode() & 0o777 });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let not_text = || failed(io::Error::new(io::ErrorKind::InvalidData, not_utf8(&bytes)));
    str::from_utf8(&bytes).map(|text| PrivateFile::Text(Secret::new(text))).map_err(|_| not_text())
}

/// A unique path for a draft: one left by a crash does not block the next.
pub(super) fn draft_path(path: &Path) -> PathBuf {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("the operating system has random numbers");
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", hex::encode(&random)));
    name.into()
}
