//! `StoreError`: what can go wrong with the database or a file beside it, told so that an operator
//! knows what to do. It never holds a value that was read or written.

use std::{
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
    /// The rights of a file or its file system forbid what we need.
    #[error(
        "`{}` cannot be written or read: give the user that runs tollgate the right to both, for the file and its directory",
        path.display()
    )]
    Forbidden {
        /// The file or directory.
        path: PathBuf,
    },
    /// What stands in the file is no database, or not one that tollgate wrote.
    #[error("`{}` is damaged ({detail}): stop tollgate and restore the file from a backup", path.display())]
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
    /// A file beside the database could not be read or written.
    #[error("`{}`: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Anything else that the database said.
    #[error("the database `{}` refused: {source}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What it said.
        source: sqlx::Error,
    },
}

impl StoreError {
    /// Sorts an error of the operating system about `path`.
    pub fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Forbidden { path },
            io::ErrorKind::WouldBlock => Self::Locked { path },
            _ => Self::File { path, source },
        }
    }

    /// Sorts an error of the database at `path`.
    pub(super) fn from_sqlx(path: &Path, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match source {
            sqlx::Error::PoolTimedOut => Self::Locked { path },
            sqlx::Error::Io(source) => Self::from_io(&path, source),
            sqlx::Error::ColumnDecode { index, .. } => {
                Self::Corrupt { path, detail: format!("a value of column {index} has the wrong type") }
            }
            source => match primary_code(&source) {
                // https://www.sqlite.org/rescode.html
                Some(5 | 6) => Self::Locked { path },
                Some(13) => Self::Full { path },
                Some(3 | 8 | 14) => Self::Forbidden { path },
                Some(11 | 26) => Self::Corrupt { path, detail: source.to_string() },
                _ => Self::Database { path, source },
            },
        }
    }
}

/// `SQLite`'s primary result code: the low byte of the extended one.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
