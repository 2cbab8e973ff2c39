//! Backup: a consistent copy of the database, made while others write, with a checksum at its end. It does not have the
//! master key: encrypted values stay encrypted.
//!
//! It is atomic: the file gets its name only when it is complete and synced to disk. Read next: `restore`.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use sqlx::Connection as _;
use thiserror::Error;

use super::{
    DATABASE, Probe, StoreError, checksum,
    data_dir::{DirLock, create_own, create_private, draft_path, sync_dir},
    inspect::{connect, has_content, inspect},
};

/// The contents of a database, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Its schema, and the ids of its master keys.
    pub probe: Probe,
    /// The number of users.
    pub users: i64,
    /// The number of their tokens.
    pub tokens: i64,
    /// The number of credentials.
    pub credentials: i64,
    /// The size of the file, in bytes.
    pub bytes: u64,
}

/// An error of a backup or a restore.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The file of a backup exists already.
    #[error("`{}` exists already: name another file", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file to read is missing or empty.
    #[error("`{}` is missing or empty: {advice}", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// The advice for the operator.
        advice: &'static str,
    },
    /// The file is not a tollgate database, or is damaged.
    #[error("`{}` is not a tollgate database, or is damaged ({detail}): nothing was changed; use another backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem that was found.
        detail: String,
    },
    /// The file is a copy of a database that was in use: part of its data is in the write-ahead log.
    #[error(
        "`{}` was copied while it was in use: part of it is in `{0}-wal`; make a backup of its directory with `tollgate --data DIR backup FILE`, and restore that",
        path.display()
    )]
    Torn {
        /// The file.
        path: PathBuf,
    },
    /// The database could not be read, or a file could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Result<T> = std::result::Result<T, BackupError>;

/// Writes a consistent copy of the database of `data_dir` to a new file with mode 0600.
pub async fn back_up(data_dir: &Path, to: &Path) -> Result<Inventory> {
    let database = data_dir.join(DATABASE);
    if !has_content(&database) {
        let advice = "name the data directory of a tollgate with `--data`";
        return Err(BackupError::Nothing { path: database, advice });
    }
    let to = std::path::absolute(to).map_err(|error| StoreError::from_io(to, error))?;
    if fs::symlink_metadata(&to).is_ok() {
        return Err(BackupError::Exists { path: to });
    }
    let draft = draft_path(&to);
    let done = fill(data_dir, &draft).await;
    let done = match done {
        Ok(inventory) => publish(&draft, &to).map(|()| inventory),
        Err(error) => Err(error),
    };
    if done.is_err() {
        // The error to report is the one above.
        let _ = fs::remove_file(&draft);
    }
    done
}

/// Copies into an empty file of mode 0600, so that no other user can read it at any time. `VACUUM INTO` does not sync.
async fn fill(data_dir: &Path, draft: &Path) -> Result<Inventory> {
    let made = if is_of_same_user(data_dir, draft) { create_private(draft) } else { create_own(draft) };
    let mut file = made.map_err(|error| StoreError::from_io(draft, error))?;
    let database = data_dir.join(DATABASE);
    let failed = |error| StoreError::from_sqlx(&database, error);
    let mut connection = {
        let _lock = DirLock::acquire(data_dir).await?;
        connect(&database).await.map_err(failed)?
    };
    let text = draft.to_str().ok_or_else(|| {
        StoreError::from_io(draft, io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8"))
    })?;
    let copied = sqlx::query("VACUUM INTO $1").bind(text.to_owned()).execute(&mut connection).await;
    let closed = connection.close().await;
    copied.map_err(|error| match StoreError::from_sqlx(draft, error) {
        StoreError::Corrupt { detail, .. } => StoreError::Corrupt { path: database.clone(), detail },
        other => other,
    })?;
    closed.map_err(failed)?;
    let inventory = inspect(draft, draft).await?;
    let finished = checksum::append(&mut file).and_then(|()| file.sync_all());
    finished.map_err(|error| StoreError::from_io(draft, error))?;
    Ok(inventory)
}

/// True if the backup goes to a directory of the user whose data directory it is. Nobody else is given a backup of root's.
fn is_of_same_user(data_dir: &Path, draft: &Path) -> bool {
    let user = |dir: &Path| fs::metadata(dir).map(|found| found.uid()).ok();
    draft.parent().is_some_and(|dir| user(dir) == user(data_dir))
}

/// Renames the draft, unless another file has the name by now.
fn publish(draft: &Path, to: &Path) -> Result<()> {
    let failed = |error: Errno| StoreError::from_io(to, error.into());
    match renameat_with(CWD, draft, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => return Err(BackupError::Exists { path: to.to_owned() }),
        // Some file systems have no atomic rename without replacement.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::rename(draft, to).map_err(|error| StoreError::from_io(to, error))?;
        }
        renamed => renamed.map_err(failed)?,
    }
    if let Err(error) = sync_dir(to) {
        // A backup that is reported as failed is not left behind: nobody would know that it may be lost.
        let _ = fs::remove_file(to);
        return Err(StoreError::from_io(to, error).into());
    }
    Ok(())
}
