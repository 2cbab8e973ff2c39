//! Backups: a copy of the database of one moment, made while others write; and the way back, which puts one in
//! the place of a database that is kept. Neither ever holds a key: what is sealed stays sealed.
//!
//! Nothing here is half done: a file has its name only once it is whole and on disk, so that whoever stops this
//! at any point finds the old one, or the new one.

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

/// Where a backup becomes a database, below the data directory.
const WORKSHOP: &str = "restore.tmp";

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Its schema, and the keys that it was sealed with.
    pub probe: Probe,
    /// How many users there are.
    pub users: i64,
    /// How many tokens of theirs.
    pub tokens: i64,
    /// How many sealed credentials.
    pub credentials: i64,
    /// How large the file is.
    pub bytes: u64,
}

/// Why there is no backup, or none to restore.
#[derive(Debug, Error)]
pub enum BackupError {
    /// A backup takes nothing's place.
    #[error("`{}` is there already: name another file", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to read.
    #[error("`{}` is missing or empty: {advice}", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
    /// Something else, or not whole.
    #[error("`{}` is no tollgate database, or is damaged ({detail}): nothing was changed; take another backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A database that is in use, or was when it was copied.
    #[error(
        "`{}` was copied while it was in use: part of it is in `{0}-wal`; make a backup of its directory with `tollgate --data DIR backup FILE`, and restore that",
        path.display()
    )]
    Torn {
        /// The file.
        path: PathBuf,
    },
    /// The database could not be read, or a file not written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Result<T> = std::result::Result<T, BackupError>;

// === backup ===

/// Copies the database of `data_dir`, as it is at one moment, into a new file that its owner alone can read.
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
        // The error that matters is the one above.
        let _ = fs::remove_file(&draft);
    }
    done
}

/// Into an empty file that is there already, so that nobody else can ever read it. `SQLite` syncs nothing here.
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
        StoreError::from_io(draft, io::Error::new(io::ErrorKind::InvalidInput, "its name is no text"))
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

/// Gives the draft its name, unless something has that by now.
fn publish(draft: &Path, to: &Path) -> Result<()> {
    let failed = |error: Errno| StoreError::from_io(to, error.into());
    match renameat_with(CWD, draft, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => return Err(BackupError::Exists { path: to.to_owned() }),
        // Some file systems cannot promise it.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::rename(draft, to).map_err(|error| StoreError::from_io(to, error))?;
        }
        renamed => renamed.map_err(failed)?,
    }
    sync_dir(to).map_err(|error| StoreError::from_io(to, error))?;
    Ok(())
}

// === restore ===

/// A database that was made of a backup, checked, and of today's schema, and is not in its place yet.
#[derive(Debug)]
pub struct PreparedRestore {
    data_dir: PathBuf,
    /// Held so that nobody opens the database meanwhile.
    _lock: DirLock,
    /// What it holds.
    pub inventory: Inventory,
}

/// Makes a database of a backup, beside the one that there is. Whoever calls sees to it that nobody serves.
/// `act` goes into its audit log, which has to be as it was written.
pub async fn prepare(data_dir: &Path, from: &Path, act: &Act) -> Result<PreparedRestore> {
    if !has_content(from) {
        return Err(BackupError::Nothing {
            path: from.to_owned(),
            advice: "name a file that `tollgate backup` wrote",
        });
    }
    let mut wal = from.as_os_str().to_owned();
    wal.push("-wal");
    if has_content(Path::new(&wal)) {
        return Err(BackupError::Torn { path: from.to_owned() });
    }
    let lock = DirLock::acquire(data_dir).await?;
    let workshop = data_dir.join(WORKSHOP);
    // One that was stopped has left its own.
    clear(&workshop)?;
    let prepared = make(&workshop, from, act).await;
    if prepared.is_err() {
        let _ = clear(&workshop);
    }
    Ok(PreparedRestore { data_dir: data_dir.to_owned(), _lock: lock, inventory: prepared? })
}

/// A copy is what is checked, and what then serves: nobody changes it in between.
async fn make(workshop: &Path, from: &Path, act: &Act) -> Result<Inventory> {
    let draft = workshop.join(DATABASE);
    copy(from, &draft).map_err(|error| StoreError::from_io(error.1, error.0))?;
    let inventory = inspect(&draft, from).await?;
    let store = Store::open(workshop).await.map_err(|error| about(error, from))?;
    follow_log(&store, from).await?;
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

async fn follow_log(store: &Store, named: &Path) -> Result<()> {
    const PAGE: u64 = 1000;
    let mut chain = HashChain::default();
    loop {
        let page = store.audit_page(chain.seq, Some(PAGE)).await.map_err(|error| about(error, named))?;
        for entry in &page {
            let damaged = |error: BrokenChain| BackupError::Damaged {
                path: named.to_owned(),
                detail: error.to_string(),
            };
            chain.follow(entry).map_err(damaged)?;
        }
        if page.is_empty() {
            return Ok(());
        }
    }
}

type Failed<'p> = (io::Error, &'p Path);

fn copy<'p>(from: &'p Path, to: &'p Path) -> std::result::Result<(), Failed<'p>> {
    use std::os::unix::fs::DirBuilderExt;
    let dir = to.parent().unwrap_or(to);
    fs::DirBuilder::new().mode(0o700).create(dir).map_err(|error| (error, dir))?;
    let mut source = File::open(from).map_err(|error| (error, from))?;
    let copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    io::copy(&mut source, &mut copy.map_err(|error| (error, to))?).map_err(|error| (error, to))?;
    Ok(())
}

impl PreparedRestore {
    /// Puts it in its place; the database that was there is kept under another name. Which one, if there was any.
    pub async fn put_in_place(self, kept_as: &str) -> Result<Option<PathBuf>> {
        let (workshop, database) = (self.data_dir.join(WORKSHOP), self.data_dir.join(DATABASE));
        let kept = if fs::symlink_metadata(&database).is_ok() {
            settle(&database).await?;
            Some(keep(&database, &free(&self.data_dir, kept_as))?)
        } else {
            None
        };
        let failed = |error| StoreError::from_io(&database, error);
        // Of another database: they would be taken for this one's.
        for beside in ["db-wal", "db-shm"].map(|extension| database.with_extension(extension)) {
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error).into()),
                _ => {}
            }
        }
        fs::rename(workshop.join(DATABASE), &database).map_err(failed)?;
        sync_dir(&database).map_err(failed)?;
        clear(&workshop)?;
        Ok(kept)
    }
}

/// Moves what is in the write-ahead log to the database itself, unless that is too damaged for it.
async fn settle(database: &Path) -> Result<()> {
    let settled = async {
        let mut connection = connect(database).await?;
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
        let busy: i64 = row.try_get(0)?;
        connection.close().await?;
        Ok(busy)
    };
    match settled.await.map_err(|error| StoreError::from_sqlx(database, error)) {
        Ok(0) | Err(StoreError::Corrupt { .. } | StoreError::Disk { .. }) => Ok(()),
        Ok(_) => Err(StoreError::Locked { path: database.to_owned() }.into()),
        Err(error) => Err(error.into()),
    }
}

/// A path that nothing has yet: the name itself, or with a number.
fn free(dir: &Path, name: &str) -> PathBuf {
    let taken = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
    let numbered = (2_u32..).map(|number| dir.join(format!("{name}-{number}")));
    let mut paths = std::iter::once(dir.join(name)).chain(numbered).skip_while(taken);
    paths.next().expect("there are fewer files than numbers")
}

/// Gives the database a second name, and what could not be moved out of its write-ahead log with it, so that the
/// first one leads to it until it leads to the new one.
fn keep(database: &Path, kept: &Path) -> Result<PathBuf> {
    let mut kept_log = kept.as_os_str().to_owned();
    kept_log.push("-wal");
    let log = database.with_extension("db-wal");
    for (old, new) in [(database, kept), (&log, Path::new(&kept_log))] {
        if has_content(old) || old == database {
            link(old, new).map_err(|error| StoreError::from_io(new, error))?;
        }
    }
    sync_dir(kept).map_err(|error| StoreError::from_io(kept, error))?;
    Ok(kept.to_owned())
}

fn link(old: &Path, new: &Path) -> io::Result<()> {
    match fs::hard_link(old, new) {
        // Some file systems have no links.
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

fn clear(workshop: &Path) -> Result<()> {
    match fs::remove_dir_all(workshop) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::from_io(workshop, error).into())
        }
        _ => Ok(()),
    }
}

// === what both look at ===

/// What a file holds that nobody has open, if it is whole; what is wrong is told of `named`.
async fn inspect(file: &Path, named: &Path) -> Result<Inventory> {
    let damaged = |detail: String| BackupError::Damaged { path: named.to_owned(), detail };
    let failed = |error: sqlx::Error| about(StoreError::from_sqlx(file, error), named);
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
    let mut connection = options.disable_statement_logging().connect().await.map_err(failed)?;
    let found = look(&mut connection).await;
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

async fn look(connection: &mut SqliteConnection) -> sqlx::Result<(Option<String>, Option<Inventory>)> {
    let verdict: String = one(connection, "PRAGMA integrity_check(1)").await?;
    if verdict != "ok" {
        return Ok((Some(verdict.replace('\n', " ")), None));
    }
    let Some(probe) = probe::look(connection).await? else { return Ok((None, None)) };
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

/// An error of the copy, told of the file that it is a copy of.
fn about(error: StoreError, named: &Path) -> BackupError {
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
