//! The data directory and the private files in it. They are created with permissions for their owner only, atomically, and
//! under a lock, so that two processes do not both create them.
//!
//! `create_private` is the one function that creates a file here. What root creates belongs to the user of the
//! directory: the server of that user has to read and write it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, chownat, fstat, openat},
    process::{Gid, Uid},
};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::{DATABASE, StoreError};
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
        refuse_links(dir)?;
        hand_over(dir);
        // Not the database file: closing any handle on it would release the locks of SQLite (POSIX advisory locks).
        let path = dir.join(SETUP_LOCK);
        let file = open_private(&path).map_err(|error| StoreError::from_io(&path, error))?;
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

/// Creates the data directory with mode 0700, for the user of the directory that it is in. One that exists keeps its mode.
fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|dir| names_something(dir) && !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        match create_private_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::from_io(dir, error));
            }
            _ => {}
        }
    }
    if dir.is_dir() { Ok(()) } else { Err(StoreError::NoDirectory { path: dir.to_owned() }) }
}

fn names_something(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

/// Creates the data directory for this process's own user, if it is missing: of a server that root runs, it stays root's.
pub fn create_for_own_user(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => StoreError::NoDirectory { path: dir.to_owned() },
        _ => StoreError::from_io(dir, error),
    })
}

// === files, and whose they are ===

/// Creates a private file (mode 0600) to read and write. A file that exists is an error. The file belongs to the user of
/// its directory, also if root creates it.
pub fn create_private(path: &Path) -> io::Result<File> {
    let file = create_own(path)?;
    let given = match user_of(directory(path)) {
        Some((user, group)) => fchown(&file, Some(user), Some(group)),
        None => Ok(()),
    };
    if given.is_err() {
        // The user of the directory could not open it, and would not know why.
        let _ = fs::remove_file(path);
    }
    given.map(|()| file)
}

/// The same, without a look at the directory: for places outside data directories.
pub(super) fn create_own(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a private file to read and write. One that is missing is created, by [`create_private`]. A link is an error.
pub fn open_private(path: &Path) -> io::Result<File> {
    match open_itself(path, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    match create_private(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_itself(path, true),
        created => created,
    }
}

/// Opens a file under its own name: not through a link. If root opens it in the directory of another user, the file has to
/// be that user's or root's, and to have no other name: links are how that user would have root change any file.
fn open_itself(path: &Path, to_write: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).write(to_write).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => is_link(),
        _ => error,
    })?;
    let found = file.metadata()?;
    if let Some((user, _)) = user_of(directory(path))
        && (!found.is_file() || found.nlink() != 1 || ![0, user].contains(&found.uid()))
    {
        return Err(is_link());
    }
    Ok(file)
}

fn is_link() -> io::Error {
    io::Error::other(
        "it is a link, or not a file of the directory's user: move it away, or run the command as that user",
    )
}

/// For root in the directory of another user: refuses a database that is a link.
fn refuse_links(dir: &Path) -> Result<(), StoreError> {
    if user_of(dir).is_none() {
        return Ok(());
    }
    // SQLite opens these by their names.
    for path in
        [DATABASE, "tollgate.db-wal", "tollgate.db-shm", "tollgate.db-journal"].map(|name| dir.join(name))
    {
        if path.is_symlink() {
            return Err(StoreError::from_io(&path, is_link()));
        }
    }
    Ok(())
}

/// Creates a private directory (mode 0700). It belongs to the user of the directory that it is in, also if root creates it.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    match user_of(directory(path)) {
        Some(user) => give(path, user).map(drop),
        None => Ok(()),
    }
}

/// The directory of a file.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| names_something(dir)).unwrap_or(Path::new("."))
}

/// The user and the group to whom this process, if it is root, gives what it creates in `dir`: those of the directory, or of
/// the database in one that belongs to root, as volumes of containers do. None if nothing is to be given away.
fn user_of(dir: &Path) -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    other_user(dir)
}

fn other_user(dir: &Path) -> Option<(u32, u32)> {
    let owner = |path: &Path| {
        let found = fs::symlink_metadata(path).ok()?;
        (found.uid() != 0).then_some((found.uid(), found.gid()))
    };
    // The name may be a link to the directory.
    let dir = fs::canonicalize(dir).ok()?;
    owner(&dir).or_else(|| owner(&dir.join(DATABASE)))
}

/// The user of the data directory, if that is neither root nor the user of this process: what this process creates there,
/// that user cannot open.
pub fn is_of_other_user(dir: &Path) -> Option<u32> {
    let own = rustix::process::geteuid();
    other_user(dir).map(|(user, _)| user).filter(|user| !own.is_root() && *user != own.as_raw())
}

/// Files that earlier versions left to root, in the directory of another user.
const MAY_BE_ROOTS: [&str; 9] = [
    DATABASE,
    "tollgate.db-wal",
    "tollgate.db-shm",
    SETUP_LOCK,
    "serve.lock",
    "master-key",
    "master-key.next",
    "admin-token",
    "last-good",
];

/// Gives files of root's to the user of the directory, if root runs this: the server of that user could not start. A file
/// that cannot be given away stays as it is.
fn hand_over(dir: &Path) {
    let Some((user, group)) = user_of(dir) else { return };
    for path in MAY_BE_ROOTS.map(|name| dir.join(name)) {
        if give(&path, (user, group)).is_ok_and(|given| given) {
            tracing::info!(file = %path.display(), "a file of root's was given to the user of the data directory");
        }
    }
}

/// Gives a file or directory of root's away. Returns false if it is another's, or not alone.
fn give(path: &Path, (user, group): (u32, u32)) -> io::Result<bool> {
    // The other user can put links into the directory. This handle is of the file itself, which may have no other name; to
    // close it releases no lock of SQLite.
    let file = openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let found = fstat(&file)?;
    let kind = FileType::from_raw_mode(found.st_mode);
    let is_alone = kind == FileType::Directory || kind == FileType::RegularFile && found.st_nlink == 1;
    if found.st_uid != 0 || !is_alone {
        return Ok(false);
    }
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    chownat(&file, "", Some(user), Some(group), AtFlags::EMPTY_PATH)?;
    Ok(true)
}

/// The file that keeps a data directory out of Git.
const GITIGNORE: &str = ".gitignore";
/// Beginnings of the names of tollgate's own files.
const OWN_NAMES: [&str; 9] = [
    "tollgate.db",
    "master-key",
    "admin-token",
    "last-good",
    "control.",
    SETUP_LOCK,
    "serve.lock",
    "restore.tmp",
    "lost+found",
];

/// Writes a `.gitignore` that keeps all of the directory out of Git, secrets above all. One that is there stays as it is. A
/// directory with other files gets none: it may be a whole repository. The store works without.
pub(super) fn keep_out_of_git(dir: &Path) {
    let Ok(mut entries) = fs::read_dir(dir) else { return };
    let is_own = |entry: io::Result<fs::DirEntry>| {
        let name = entry.map(|entry| entry.file_name());
        name.is_ok_and(|name| OWN_NAMES.iter().any(|own| name.to_string_lossy().starts_with(own)))
    };
    if entries.all(is_own) {
        let _ = create_private(&dir.join(GITIGNORE)).and_then(|mut file| file.write_all(b"*\n"));
    }
}

/// The warning that users other than that of this process and root can replace files in `dir`, with advice. `None` if they
/// cannot.
pub fn untrusted_writers(dir: &Path) -> Result<Option<String>, StoreError> {
    const BY_GROUP_AND_OTHERS: u32 = 0o022;
    const BY_OTHERS: &str = "other users can write to the data directory";
    let metadata = fs::metadata(dir).map_err(|error| StoreError::from_io(dir, error))?;
    let (owner, mode) = (metadata.uid(), metadata.permissions().mode() & 0o777);
    let own = rustix::process::geteuid();
    let warning = if owner == 0 || owner == own.as_raw() {
        let exposed = mode & BY_GROUP_AND_OTHERS != 0;
        exposed.then(|| format!("{BY_OTHERS}: its mode is {mode:o}: run `chmod 700` on it"))
    } else if own.is_root() {
        Some(format!(
            "root serves, and the data directory belongs to the user {owner}: run `tollgate serve` as that user"
        ))
    } else {
        Some(format!("{BY_OTHERS}: it belongs to the user {owner}: run `chown` on it"))
    };
    Ok(warning)
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
    create_private(path).map_err(failed)?;
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
    if user_of(directory(path)).is_none() {
        return fs::set_permissions(path, Permissions::from_mode(0o600));
    }
    open_itself(path, false)?.set_permissions(Permissions::from_mode(0o600))
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

/// Gives a private file a second name, `to`, and syncs the directory. A file that has that name already stays as it is, if it
/// has the same content; another one is an error.
pub fn keep_private(held: &DirLock, path: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_io(to, error);
    match fs::hard_link(path, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let read = |path: &Path| fs::read(path).map(Zeroizing::new).map_err(failed);
            if read(path)? == read(to)? { Ok(()) } else { Err(failed(error)) }
        }
        // Some file systems have no hard links.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
        {
            let content = fs::read(path).map(Zeroizing::new).map_err(failed)?;
            write_private(held, to, &content)
        }
        linked => linked.and_then(|()| sync_dir(to)).map_err(failed),
    }
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
    let mut file = create_private(draft)?;
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
