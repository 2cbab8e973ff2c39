//! `StoreError`: errors of the database and of the files beside it. Each message says what the operator has to do, and
//! none has a value that was read or written.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;

/// An error of the store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process held the database or the lock file for longer than the timeout.
    #[error("`{}` is locked by another process: find it (`fuser {0}`), stop it, then try again", path.display())]
    Locked {
        /// The database or lock file.
        path: PathBuf,
    },
    /// The disk is full, or the quota is used up.
    #[error("no space left to write `{}`: free some, then try again", path.display())]
    Full {
        /// The file to write.
        path: PathBuf,
    },
    /// The file system is read-only.
    #[error(
        "`{}` is on a read-only file system: remount it writable (the system log has the cause), then try again",
        path.display()
    )]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
    },
    /// The permissions of a file or its directory are too narrow.
    #[error(
        "no permission to read and write `{}`: give the user that runs tollgate both rights, on the file and its directory",
        path.display()
    )]
    Forbidden {
        /// The file or directory.
        path: PathBuf,
    },
    /// The process, or the machine, has too many files open.
    #[error(
        "too many open files to open `{}`: raise the limit (`ulimit -n`, `LimitNOFILE=` of a service), then try again",
        path.display()
    )]
    TooManyFiles {
        /// The file to open.
        path: PathBuf,
    },
    /// The data directory is a file, or below one.
    #[error(
        "`{}` is not a directory, or is below a file: choose another data directory with `--data`, or move the file away",
        path.display()
    )]
    NoDirectory {
        /// The path of the data directory.
        path: PathBuf,
    },
    /// The disk failed.
    #[error("disk error at `{}` ({detail}): the system log has the cause; repair it, then try again", path.display())]
    Disk {
        /// The database.
        path: PathBuf,
        /// The error of the database.
        detail: String,
    },
    /// The disk failed during a commit: the change is not in effect now, but its data may be on disk.
    #[error(
        "it is not known whether a change of `{}` is on disk ({reason}): it is not in effect now, but may be after a crash; check after a restart whether it is there",
        path.display()
    )]
    Unconfirmed {
        /// The database.
        path: PathBuf,
        /// The error of the commit.
        reason: String,
    },
    /// The database was removed or replaced while it was open: other processes no longer use the open file.
    #[error(
        "`{}` was removed or replaced while tollgate had it open: put that file back; or stop tollgate, put the right file there without the `{0}-wal` and `{0}-shm` of another, and start it again",
        path.display()
    )]
    Moved {
        /// The database.
        path: PathBuf,
    },
    /// The database is missing or empty, but files beside it show that it existed.
    #[error(
        "`{}` is missing or empty, though `{}` shows that it was in use: stop tollgate, move all of `{0}*` away, then restore a backup, or start with an empty database",
        path.display(), trace.display()
    )]
    Lost {
        /// The database.
        path: PathBuf,
        /// The file that shows it.
        trace: PathBuf,
    },
    /// The file is not a database, or not one that tollgate wrote.
    #[error("`{}` is damaged ({detail}): stop tollgate, move all of `{0}*` away, and restore the file from a backup", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// The problem that was found.
        detail: String,
    },
    /// A newer tollgate wrote the database. An older one could lose data of it.
    #[error(
        "`{}` was written by a newer tollgate (schema {found}, this one knows {known}): run that version, or restore a backup from before the upgrade",
        path.display()
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// The schema in the file.
        found: i64,
        /// The newest schema that this version knows.
        known: i64,
    },
    /// The store took too long, or was stopped.
    #[error("the store did not answer in time: the log has the cause; try again after it is repaired")]
    Unanswered,
    /// A read of the usage ledger took too long.
    #[error("the usage ledger was read for {} s without an end: ask for a shorter time, or with filters", limit.as_secs())]
    TooLong {
        /// Its deadline.
        limit: Duration,
    },
    /// The user's token that gave the right to a change was revoked or has expired, or the user was disabled.
    #[error("the token for this change was revoked meanwhile: nothing was changed")]
    TokenRevoked,
    /// The admin token that gave the right to a change was revoked or has expired.
    #[error("the admin token for this change was revoked meanwhile: nothing was changed")]
    AdminTokenRevoked,
    /// The user has the maximum number of tokens.
    #[error("the user has {limit} tokens, the maximum: revoke some first")]
    TooManyTokens {
        /// The maximum.
        limit: u64,
    },
    /// A file beside the database could not be read or written.
    #[error("`{}`: {reason}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// Any other error of the database.
    #[error("error of the database `{}`: {reason}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// The error.
        reason: sqlx::Error,
    },
}

impl StoreError {
    /// True if a commit that fails with it has changed nothing.
    pub(super) fn undoes_commit(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::ReadOnly { .. } | Self::Forbidden { .. } | Self::Locked { .. }
        )
    }

    /// Classifies an error of the operating system about `path`.
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

    /// Classifies an error of the database at `path`.
    pub(super) fn from_sqlx(path: &Path, error: sqlx::Error) -> Self {
        let (at, path) = (path, path.to_owned());
        let Some((code, detail)) = sqlite(&error) else {
            return match error {
                // All connections are in use: by slow reads of this process, not by another one.
                sqlx::Error::PoolTimedOut => Self::Unanswered,
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
            // SQLITE_FULL; SQLITE_IOERR_SHMSIZE: the index of the write-ahead log cannot grow.
            (13, _) | (_, 4874) => Self::Full { path },
            (_, 1032) => Self::Moved { path },
            (3 | 8 | 14, _) => forbidden(at),
            (10, _) => Self::Disk { path, detail },
            (11 | 26, _) => Self::Corrupt { path, detail },
            _ => Self::Database { path, reason: error },
        }
    }
}

/// The extended result code of `SQLite`, and its message.
fn sqlite(error: &sqlx::Error) -> Option<(i32, String)> {
    let error = error.as_database_error()?;
    let code: i32 = error.code()?.parse().ok()?;
    Some((code, format!("{}, code {code}", error.message())))
}

/// The cause of a refused access, from the directory: `SQLite` does not return it. The database file itself is not opened:
/// closing any handle on it would release the locks of `SQLite` (POSIX advisory locks).
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
