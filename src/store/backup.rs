//! Backup and restore. A backup is a consistent copy of the database, made while others write. A restore puts one in the
//! place of the current database, which is kept. Neither has the master key: encrypted values stay encrypted.
//!
//! Both are atomic: a file gets its name only when it is complete and synced to disk. A crash at any point leaves either
//! the old file or the new one.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use thiserror::Error;

use super::{
    Act, BrokenChain, DATABASE, HashChain, Probe, Store, StoreError,
    data_dir::{DirLock, LOCK_TIMEOUT, draft_path, sync_dir},
    invalidation::Invalidates,
    probe, schema,
};

/// The directory below the data directory in which a restore is prepared.
const STAGING: &str = "restore.tmp";

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

// === backup ===

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
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft);
    let file = made.map_err(|error| StoreError::from_io(draft, error))?;
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
    file.sync_all().map_err(|error| StoreError::from_io(draft, error))?;
    inspect(draft, draft).await
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

// === restore ===

/// A database made from a backup: verified and migrated to the current schema, but not active yet.
#[derive(Debug)]
pub struct PreparedRestore {
    data_dir: PathBuf,
    /// Held so that no process opens the database meanwhile.
    _lock: DirLock,
    /// Its contents.
    pub inventory: Inventory,
}

/// Prepares a database from a backup, beside the current one. The caller ensures that no server runs. `act` is appended to
/// its audit log, after the log's hash chain was verified.
pub async fn prepare_restore(data_dir: &Path, from: &Path, act: &Act) -> Result<PreparedRestore> {
    if !has_content(from) {
        return Err(BackupError::Nothing {
            path: from.to_owned(),
            advice: "name a file that `tollgate backup` wrote",
        });
    }
    if has_content(&with_log_suffix(from)) {
        return Err(BackupError::Torn { path: from.to_owned() });
    }
    let lock = DirLock::acquire(data_dir).await?;
    let staging = data_dir.join(STAGING);
    // An interrupted restore leaves its directory.
    clear(&staging)?;
    let prepared = stage(&staging, from, act).await;
    if prepared.is_err() {
        let _ = clear(&staging);
    }
    Ok(PreparedRestore { data_dir: data_dir.to_owned(), _lock: lock, inventory: prepared? })
}

/// Copies first, then verifies the copy: the backup may change in between.
async fn stage(staging: &Path, from: &Path, act: &Act) -> Result<Inventory> {
    let draft = staging.join(DATABASE);
    copy(from, &draft).map_err(|error| StoreError::from_io(error.1, error.0))?;
    let inventory = inspect(&draft, from).await?;
    let store = Store::open(staging).await.map_err(|error| named_error(error, from))?;
    verify_audit_log(&store, from).await?;
    store.commit_act(store.begin().await?, Invalidates::Everybody, act).await?;
    store.close().await;
    if has_content(&draft.with_extension("db-wal")) {
        return Err(StoreError::Locked { path: draft }.into());
    }
    File::open(&draft)
        .and_then(|file| file.sync_all())
        .map_err(|error| StoreError::from_io(&draft, error))?;
    Ok(inventory)
}

async fn verify_audit_log(store: &Store, named: &Path) -> Result<()> {
    const PAGE: u64 = 1000;
    let mut chain = HashChain::default();
    loop {
        let page =
            store.audit_page(chain.seq, Some(PAGE)).await.map_err(|error| named_error(error, named))?;
        for entry in &page {
            let damaged = |error: BrokenChain| BackupError::Damaged {
                path: named.to_owned(),
                detail: error.to_string(),
            };
            chain.verify(entry).map_err(damaged)?;
        }
        if page.is_empty() {
            return Ok(());
        }
    }
}

/// An error, with the path that it is about.
type CopyError<'p> = (io::Error, &'p Path);

fn copy<'p>(from: &'p Path, to: &'p Path) -> std::result::Result<(), CopyError<'p>> {
    use std::os::unix::fs::DirBuilderExt;
    let dir = to.parent().unwrap_or(to);
    fs::DirBuilder::new().mode(0o700).create(dir).map_err(|error| (error, dir))?;
    let mut source = File::open(from).map_err(|error| (error, from))?;
    let copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    io::copy(&mut source, &mut copy.map_err(|error| (error, to))?).map_err(|error| (error, to))?;
    Ok(())
}

impl PreparedRestore {
    /// Activates it. Returns the path under which the previous database is kept, if there was one.
    pub async fn activate(self, kept_as: &str) -> Result<Option<PathBuf>> {
        let activated = self.replace(kept_as).await;
        // Whether it is empty by now or not: the next restore removes what cannot be removed here.
        let _ = clear(&self.data_dir.join(STAGING));
        activated
    }

    async fn replace(&self, kept_as: &str) -> Result<Option<PathBuf>> {
        let (staging, database) = (self.data_dir.join(STAGING), self.data_dir.join(DATABASE));
        let kept = if fs::symlink_metadata(&database).is_ok() {
            Some(keep_previous(&database, &unused_path(&self.data_dir, kept_as)).await?)
        } else {
            None
        };
        let failed = |error| StoreError::from_io(&database, error);
        // The log of the previous database: `SQLite` would apply it to this one.
        for beside in ["db-wal", "db-shm"].map(|extension| database.with_extension(extension)) {
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error).into()),
                _ => {}
            }
        }
        fs::rename(staging.join(DATABASE), &database).map_err(failed)?;
        sync_dir(&database).map_err(failed)?;
        Ok(kept)
    }
}

/// Keeps the previous database under a second name, with its write-ahead log unless that could be emptied.
///
/// The names are given first: `SQLite` deletes the log when it closes a database, also one that is too damaged to read.
async fn keep_previous(database: &Path, kept: &Path) -> Result<PathBuf> {
    let log = with_log_suffix(kept);
    keep(database, kept, &log)?;
    let checkpointed = checkpoint(database).await;
    let unused = match checkpointed {
        Ok(()) if has_content(&log) => &[][..],
        Ok(()) => &[&*log],
        Err(_) => &[kept, &log],
    };
    for path in unused {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::from_io(path, error).into());
            }
            _ => {}
        }
    }
    checkpointed.map(|()| kept.to_owned())
}

fn with_log_suffix(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Moves the write-ahead log into the database file, unless that file is too damaged.
async fn checkpoint(database: &Path) -> Result<()> {
    let checkpointed = async {
        let mut connection = connect(database).await?;
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
        let busy: i64 = row.try_get(0)?;
        connection.close().await?;
        Ok(busy)
    };
    match checkpointed.await.map_err(|error| StoreError::from_sqlx(database, error)) {
        Ok(0) | Err(StoreError::Corrupt { .. } | StoreError::Disk { .. }) => Ok(()),
        Ok(_) => Err(StoreError::Locked { path: database.to_owned() }.into()),
        Err(error) => Err(error.into()),
    }
}

/// An unused path: the name itself, or with a number.
fn unused_path(dir: &Path, name: &str) -> PathBuf {
    let taken = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
    let numbered = (2_u32..).map(|number| dir.join(format!("{name}-{number}")));
    let mut paths = std::iter::once(dir.join(name)).chain(numbered).skip_while(taken);
    paths.next().expect("there are fewer files than numbers")
}

/// Gives the database and its write-ahead log second names. The first names stay until a rename replaces them: at no time
/// is there no database.
fn keep(database: &Path, kept: &Path, kept_log: &Path) -> Result<()> {
    let log = database.with_extension("db-wal");
    for (old, new) in [(database, kept), (&log, kept_log)] {
        if has_content(old) || old == database {
            link(old, new).map_err(|error| StoreError::from_io(new, error))?;
        }
    }
    sync_dir(kept).map_err(|error| StoreError::from_io(kept, error).into())
}

fn link(old: &Path, new: &Path) -> io::Result<()> {
    match fs::hard_link(old, new) {
        // Some file systems have no hard links.
        Err(error)
            if error.kind() == io::ErrorKind::Unsupported
                || error.kind() == io::ErrorKind::PermissionDenied =>
        {
            let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
            io::copy(&mut File::open(old)?, &mut copy)?;
            copy.sync_all()
        }
        linked => linked,
    }
}

fn clear(staging: &Path) -> Result<()> {
    match fs::remove_dir_all(staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::from_io(staging, error).into())
        }
        _ => Ok(()),
    }
}

// === inspection ===

/// Verifies a file that no process has open, and counts its contents. Errors name the file `named`.
async fn inspect(file: &Path, named: &Path) -> Result<Inventory> {
    let damaged = |detail: String| BackupError::Damaged { path: named.to_owned(), detail };
    let failed = |error: sqlx::Error| named_error(StoreError::from_sqlx(file, error), named);
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
    let mut connection = options.disable_statement_logging().connect().await.map_err(failed)?;
    let found = read_inventory(&mut connection).await;
    connection.close().await.map_err(failed)?;
    let (problem, inventory) = found.map_err(failed)?;
    if let Some(problem) = problem {
        return Err(damaged(problem));
    }
    let Some(mut inventory) = inventory else { return Err(damaged("it has no tables".to_owned())) };
    let (found, known) = (inventory.probe.schema, schema::known());
    if found > known {
        return Err(StoreError::NewerSchema { path: named.to_owned(), found, known }.into());
    }
    inventory.bytes = fs::metadata(file).map_err(|error| StoreError::from_io(file, error))?.len();
    Ok(inventory)
}

async fn read_inventory(
    connection: &mut SqliteConnection,
) -> sqlx::Result<(Option<String>, Option<Inventory>)> {
    let verdict: String = one(connection, "PRAGMA integrity_check(1)").await?;
    if verdict != "ok" {
        return Ok((Some(verdict.replace('\n', " ")), None));
    }
    let Some(probe) = probe::read(connection).await? else { return Ok((None, None)) };
    if probe.schema > schema::known() {
        return Ok((None, Some(Inventory { probe, users: 0, tokens: 0, credentials: 0, bytes: 0 })));
    }
    let users = one(connection, "SELECT count(*) FROM users").await?;
    let tokens = one(connection, "SELECT count(*) FROM tokens").await?;
    let credentials = one(connection, "SELECT count(*) FROM credentials").await?;
    Ok((None, Some(Inventory { probe, users, tokens, credentials, bytes: 0 })))
}

async fn one<T>(connection: &mut SqliteConnection, query: &'static str) -> sqlx::Result<T>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    sqlx::query(query).fetch_one(connection).await?.try_get(0)
}

/// An error of the staged copy, as one of the backup that it was copied from.
fn named_error(error: StoreError, named: &Path) -> BackupError {
    match error {
        StoreError::Corrupt { detail, .. } => BackupError::Damaged { path: named.to_owned(), detail },
        StoreError::Database { reason, .. } => {
            BackupError::Damaged { path: named.to_owned(), detail: reason.to_string() }
        }
        other => other.into(),
    }
}

async fn connect(path: &Path) -> sqlx::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(LOCK_TIMEOUT);
    options.disable_statement_logging().connect().await
}

fn has_content(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() > 0)
}
