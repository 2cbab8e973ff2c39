//! `StoreError`: what can go wrong with the database or a file beside it, told so that an operator
//! knows what to do. It never holds a value that was read or written.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why the store could not answer.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process held the database, or the lock file, for longer than we wait.
    #[error("`{}` stays locked by another process: find it (`fuser {0}`), end it, then try again", path.display())]
    Locked {
        /// The database or lock file.
        path: PathBuf,
    },
    /// The disk, or the quota, is used up.
    #[error("no space is left to write `{}`: free some, then try again", path.display())]
    Full {
        /// The file that was to grow.
        path: PathBuf,
    },
    /// The file system takes no writes.
    #[error(
        "`{}` is on a read-only file system: make that writable (the system's log says why it is not), then try again",
        path.display()
    )]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
    },
    /// The rights of a file or its directory forbid what we need.
    #[error(
        "`{}` cannot be written or read: give the user that runs tollgate the right to both, for the file and its directory",
        path.display()
    )]
    Forbidden {
        /// The file or directory.
        path: PathBuf,
    },
    /// The process, or the machine, has too many files open.
    #[error(
        "too many files are open already to open `{}`: raise the limit (`ulimit -n`, `LimitNOFILE=` of a service), then try again",
        path.display()
    )]
    TooManyFiles {
        /// The file that was to be opened.
        path: PathBuf,
    },
    /// Something else is in the place of the data directory.
    #[error(
        "`{}` is not a directory, or is below a file: name another data directory with `--data`, or move the file away",
        path.display()
    )]
    NoDirectory {
        /// What was to be the directory.
        path: PathBuf,
    },
    /// The disk failed.
    #[error("the disk failed under `{}` ({detail}): the system's log says why; try again after that is mended", path.display())]
    Disk {
        /// The database.
        path: PathBuf,
        /// What the database said.
        detail: String,
    },
    /// The database has gone from its path while we had it open. What is open is nobody else's any more.
    #[error(
        "`{}` was removed or replaced while tollgate had it open: put that file back; or stop tollgate, see to it that the right one is there, without the `{0}-wal` and `{0}-shm` of another, and start again",
        path.display()
    )]
    Moved {
        /// The database.
        path: PathBuf,
    },
    /// There is no database, or nothing in it, but there was.
    #[error(
        "`{}` is missing or empty, though `{}` shows that it was in use: stop tollgate, move all of `{0}*` away, then restore a backup, or begin anew",
        path.display(), trace.display()
    )]
    Lost {
        /// The database.
        path: PathBuf,
        /// What shows it.
        trace: PathBuf,
    },
    /// What stands in the file is no database, or not one that tollgate wrote.
    #[error("`{}` is damaged ({detail}): stop tollgate, move all of `{0}*` away, and restore the file from a backup", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found wrong.
        detail: String,
    },
    /// A newer tollgate has been here; to go on could lose what it wrote.
    #[error(
        "`{}` was written by a newer tollgate (schema {found}, this one knows {known}): run that version, or restore a backup from before the upgrade",
        path.display()
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// The schema in the file.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// The store took too long, or has stopped.
    #[error(
        "the store did not answer in time: the log says what holds it up; try again after that is mended"
    )]
    Unanswered,
    /// The token that gave the right to a change has been revoked, or its user disabled, since it was asked for.
    #[error("the token that asked for this was revoked meanwhile: nothing was changed")]
    Revoked {
        /// Whether it was an admin token.
        admin: bool,
    },
    /// A user has as many tokens as a user can have.
    #[error("the user has {limit} tokens, and can have no more: revoke some first")]
    TooManyTokens {
        /// How many that is.
        limit: u64,
    },
    /// A file beside the database could not be read or written.
    #[error("`{}`: {reason}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        reason: io::Error,
    },
    /// Anything else that the database said.
    #[error("the database `{}` refused: {reason}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What it said.
        reason: sqlx::Error,
    },
}

impl StoreError {
    /// Sorts an error of the operating system about `path`.
    pub fn from_io(path: &Path, reason: io::Error) -> Self {
        let path = path.to_owned();
        let too_many = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
        match reason.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            io::ErrorKind::PermissionDenied => Self::Forbidden { path },
            io::ErrorKind::NotADirectory => Self::NoDirectory { path },
            io::ErrorKind::WouldBlock => Self::Locked { path },
            _ if too_many.iter().any(|errno| reason.raw_os_error() == Some(errno.raw_os_error())) => {
                Self::TooManyFiles { path }
            }
            _ => Self::File { path, reason },
        }
    }

    /// Sorts an error of the database at `path`.
    pub(super) fn from_sqlx(path: &Path, error: sqlx::Error) -> Self {
        let (at, path) = (path, path.to_owned());
        let Some((code, detail)) = sqlite(&error) else {
            return match error {
                sqlx::Error::PoolTimedOut => Self::Locked { path },
                sqlx::Error::Io(reason) => Self::from_io(&path, reason),
                sqlx::Error::ColumnDecode { index, .. } => {
                    Self::Corrupt { path, detail: format!("a value of column {index} has the wrong type") }
                }
                reason => Self::Database { path, reason },
            };
        };
        // https://www.sqlite.org/rescode.html: the primary code is the low byte of the extended one.
        match (code & 0xff, code) {
            (5 | 6, _) => Self::Locked { path },
            // The second: the index of the write-ahead log cannot grow.
            (13, _) | (_, 4874) => Self::Full { path },
            (_, 1032) => Self::Moved { path },
            (3 | 8 | 14, _) => forbidden(at),
            (10, _) => Self::Disk { path, detail },
            (11 | 26, _) => Self::Corrupt { path, detail },
            _ => Self::Database { path, reason: error },
        }
    }
}

/// `SQLite`'s extended result code, and what it says.
fn sqlite(error: &sqlx::Error) -> Option<(i32, String)> {
    let error = error.as_database_error()?;
    let code: i32 = error.code()?.parse().ok()?;
    Some((code, format!("{}, code {code}", error.message())))
}

/// `SQLite` does not tell why it may not: the directory does. Not the database file: to close any handle on
/// that one would drop `SQLite`'s own locks.
fn forbidden(path: &Path) -> StoreError {
    use rustix::fs::{StatVfsMountFlags, fstatvfs};
    let opened = path.parent().map(|dir| File::open(dir).and_then(|dir| Ok(fstatvfs(&dir)?)));
    match opened {
        Some(Err(reason)) => StoreError::from_io(path, reason),
        Some(Ok(system)) if system.f_flag.contains(StatVfsMountFlags::RDONLY) => {
            StoreError::ReadOnly { path: path.to_owned() }
        }
        Some(Ok(_)) | None => StoreError::Forbidden { path: path.to_owned() },
    }
}
