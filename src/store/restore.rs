//! Restore: puts a backup in the place of the current database, which is kept.
//!
//! The backup is copied first, and the copy verified: checksum, structure, schema, audit log and every row. It is atomic: a
//! crash at any point leaves either the old database or the new one.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use sqlx::{Connection as _, Row as _};

use super::{
    Act, BackupError, BrokenChain, DATABASE, HashChain, Inventory, Store, StoreError,
    checksum::{self, Verdict},
    data_dir::{DirLock, create_private, create_private_dir, keep_out_of_git, sync_dir},
    inspect::{connect, has_content, inspect, named_error},
    invalidation::Invalidates,
};

/// The directory below the data directory in which a restore is prepared.
const STAGING: &str = "restore.tmp";
/// Rows that are read at once.
const PAGE: u64 = 1000;

type Result<T> = std::result::Result<T, BackupError>;

/// A database made from a backup: verified and migrated to the current schema, but not active yet.
#[derive(Debug)]
pub struct PreparedRestore {
    data_dir: PathBuf,
    /// Held so that no process opens the database meanwhile.
    _lock: DirLock,
    /// Its contents.
    pub inventory: Inventory,
    /// False if the file is not one that [`super::back_up`] wrote, but a copy of a database.
    pub has_checksum: bool,
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
    let (inventory, has_checksum) = prepared?;
    Ok(PreparedRestore { data_dir: data_dir.to_owned(), _lock: lock, inventory, has_checksum })
}

/// Copies first, then verifies the copy: the backup may change in between.
async fn stage(staging: &Path, from: &Path, act: &Act) -> Result<(Inventory, bool)> {
    let draft = staging.join(DATABASE);
    let damaged = |detail: &str| BackupError::Damaged { path: from.to_owned(), detail: detail.to_owned() };
    let has_checksum = match copy(from, &draft).map_err(|error| StoreError::from_io(error.1, error.0))? {
        Verdict::Good => true,
        Verdict::Absent => false,
        Verdict::Wrong => return Err(damaged("its checksum is wrong: it was changed after it was written")),
        Verdict::CutOff => return Err(damaged("it does not end where its database ends")),
    };
    let inventory = inspect(&draft, from).await?;
    let store = Store::open(staging).await.map_err(|error| named_error(error, from))?;
    verify_audit_log(&store, from).await?;
    read_every_row(&store).await.map_err(|error| named_error(error, from))?;
    store.commit_act(store.begin().await?, Invalidates::Everybody, act).await?;
    store.close().await;
    if has_content(&draft.with_extension("db-wal")) {
        return Err(StoreError::Locked { path: draft }.into());
    }
    File::open(&draft)
        .and_then(|file| file.sync_all())
        .map_err(|error| StoreError::from_io(&draft, error))?;
    Ok((inventory, has_checksum))
}

/// Reads all that the store has, in its own types: a row that cannot be read is found now, and not by a request.
async fn read_every_row(store: &Store) -> std::result::Result<(), StoreError> {
    store.users().await?;
    store.tokens().await?;
    store.token_hashes_of(None).await?;
    store.admin_tokens().await?;
    store.stored_fields().await?;
    store.sharing_owners().await?;
    store.invalidated_since(0).await?;
    store.key_ids().await?;
    let mut credential = None;
    while let Some(last) = store.credentials_after(credential.as_ref(), PAGE).await?.pop() {
        credential = Some(last);
    }
    let mut answer = None;
    while let Some(last) = store.kept_answers_after(answer.as_ref(), PAGE).await?.pop() {
        answer = Some(last);
    }
    Ok(())
}

async fn verify_audit_log(store: &Store, named: &Path) -> Result<()> {
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

fn copy<'p>(from: &'p Path, to: &'p Path) -> std::result::Result<Verdict, CopyError<'p>> {
    let dir = to.parent().unwrap_or(to);
    create_private_dir(dir).map_err(|error| (error, dir))?;
    let mut source = File::open(from).map_err(|error| (error, from))?;
    let copy = create_private(to);
    checksum::copy(&mut source, &mut copy.map_err(|error| (error, to))?).map_err(|error| (error, to))
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
        keep_out_of_git(&self.data_dir);
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
            let mut copy = create_private(new)?;
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
