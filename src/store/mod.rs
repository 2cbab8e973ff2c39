//! The store: users, the hashes of their tokens, their sealed credentials, in `SQLite` in the data
//! directory. It owns the files there and their rights, the schema, and every SQL statement.
//!
//! It never sees a token or a credential in clear, and it has no clock: times are handed in. On the
//! request path `accounts` stands before it. Whatever backend comes next is held to `conformance`.

mod audit;
mod backup;
mod credentials;
mod data_dir;
mod error;
mod import;
mod invalidation;
mod invalidation_log;
mod leases;
mod probe;
mod rows;
mod schema;
mod tokens;
mod users;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    Connection, Row, Sqlite, SqliteConnection, SqlitePool, Transaction,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteQueryResult, SqliteRow,
        SqliteSynchronous,
    },
};
use tokio::sync::Mutex;

pub use self::{
    audit::{Act, AuditEntry, BrokenChain, GENESIS_HASH, HashChain, Right},
    backup::{BackupError, Inventory, PreparedRestore, back_up, prepare},
    data_dir::{
        DirLock, PrivateFile, Readers, read_private, read_small, remove_private, replace_private,
        untrusted_writers, write_private,
    },
    error::StoreError,
    import::{Import, Imported},
    invalidation::InvalidationCounter,
    invalidation_log::Invalidated,
    probe::{Probe, probe},
    rows::{
        AdminTokenRevocation, ChangeOutcome, CredentialChange, DuplicateNames, KeyIds, NewAdminToken,
        NewPasteToken, NewToken, ReplaceKey, SealedCredential, StoredAdminToken, StoredField, StoredToken,
        SwapReason, TokenHash, TokenLookup, TokenRotation, User, UserChange, UserCreation,
    },
    users::InitialAccess,
};
use self::{data_dir::FileIdentity, invalidation::Invalidates};
pub use crate::decide::TokenKind;
use crate::name::{Owner, UserId};

/// The database file in the data directory.
pub const DATABASE: &str = "tollgate.db";
const MAX_READING: u32 = 4;

/// The open store. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Store {
    path: Arc<Path>,
    /// The file that is open, which is not always the one at `path`.
    identity: FileIdentity,
    reading: SqlitePool,
    /// One connection, since one at a time can write: who waits for others' writing keeps nobody from reading.
    writing: SqlitePool,
    /// A connection that never writes, since `PRAGMA data_version` tells of all commits but one's own.
    watch: Arc<Mutex<SqliteConnection>>,
    invalidations: InvalidationCounter,
}

type Result<T> = std::result::Result<T, StoreError>;

// === impl Store: open and watch ===

impl Store {
    /// Opens the store in `data_dir`; makes both if they are missing. Any number of processes may.
    pub async fn open(data_dir: &Path) -> Result<Self> {
        Self::open_within(data_dir, data_dir::LOCK_TIMEOUT).await
    }

    async fn open_within(data_dir: &Path, patience: Duration) -> Result<Self> {
        let path: PathBuf = data_dir.join(DATABASE);
        let failed = |error| StoreError::from_sqlx(&path, error);
        // Held to the end: two processes that switch a new file to WAL at once would see it as locked.
        let _lock = DirLock::acquire_within(data_dir, patience).await?;
        data_dir::make_database_file(&path)?;
        let options = options(&path, patience);
        let mut first = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        // If a step fails, the connection closes with its transaction open, which undoes all of it.
        schema::migrate(&mut first, &path).await?;
        let pool = async |connections, options| {
            let pool = SqlitePoolOptions::new().max_connections(connections).acquire_timeout(patience);
            pool.connect_with(options).await.map_err(failed)
        };
        let reading = pool(MAX_READING, options.clone().pragma("query_only", "ON")).await?;
        let writing = pool(1, options).await?;
        let watch = Arc::new(Mutex::new(first));
        let identity = FileIdentity::of(&path)?;
        Ok(Self {
            path: path.into(),
            identity,
            reading,
            writing,
            watch,
            invalidations: InvalidationCounter::default(),
        })
    }

    /// Closes the connections, once they are idle; the one that watches only if there is no other clone. With
    /// it the write-ahead log moves to the database file.
    pub async fn close(self) {
        self.reading.close().await;
        self.writing.close().await;
        if let Some(watch) = Arc::into_inner(self.watch) {
            // What is stored is on disk whether this works or not.
            let _ = watch.into_inner().close().await;
        }
    }

    /// Counts changes: raised here by every write through this store that invalidates a cache, and by `accounts` when
    /// `invalidated_since` tells of another process's.
    pub fn invalidations(&self) -> InvalidationCounter {
        self.invalidations.clone()
    }

    /// A number that is another one after every change, whoever made it. Only `!=` means anything.
    pub async fn data_version(&self) -> Result<i64> {
        self.in_place()?;
        let mut watch = self.watch.lock().await;
        let row = sqlx::query("PRAGMA data_version").fetch_one(&mut *watch).await;
        row.and_then(|row| row.try_get(0)).map_err(|error| self.failed(error))
    }

    /// That what is open is still what others open. Else they would write what we never see, and we what
    /// nobody will ever read.
    fn in_place(&self) -> Result<()> {
        if FileIdentity::of(&self.path)? == self.identity {
            return Ok(());
        }
        Err(StoreError::Moved { path: self.path.to_path_buf() })
    }

    fn failed(&self, error: sqlx::Error) -> StoreError {
        StoreError::from_sqlx(&self.path, error)
    }

    /// A transaction that can write. It takes the write lock at once: one that read first and then
    /// wanted to write could be refused without waiting.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        self.in_place()?;
        self.writing.begin_with("BEGIN IMMEDIATE").await.map_err(|error| self.failed(error))
    }

    /// Ends a transaction with what it did.
    async fn commit(
        &self,
        mut transaction: Transaction<'static, Sqlite>,
        invalidates: Invalidates<'_>,
    ) -> Result<()> {
        self.log_invalidation(&mut transaction, invalidates).await?;
        transaction.commit().await.map_err(|error| self.failed(error))?;
        self.invalidations.invalidate(invalidates);
        Ok(())
    }

    /// Ends a transaction with what somebody did, and tells the logs.
    async fn commit_act(
        &self,
        mut transaction: Transaction<'static, Sqlite>,
        invalidates: Invalidates<'_>,
        act: &Act,
    ) -> Result<()> {
        let entry = self.append(&mut transaction, act).await?;
        self.commit(transaction, invalidates).await?;
        audit::tell(&entry);
        Ok(())
    }

    /// Runs one statement that writes what no cache remembers.
    async fn write_uncached(&self, query: Query) -> Result<u64> {
        self.in_place()?;
        let done = query.execute(&self.writing).await.map_err(|error| self.failed(error))?;
        Ok(done.rows_affected())
    }

    async fn read(&self, query: Query) -> Result<Vec<SqliteRow>> {
        self.in_place()?;
        query.fetch_all(&self.reading).await.map_err(|error| self.failed(error))
    }
}

type Query = sqlx::query::Query<'static, Sqlite, sqlx::sqlite::SqliteArguments>;

fn options(path: &Path, patience: Duration) -> SqliteConnectOptions {
    use sqlx::ConnectOptions;
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(patience)
        .foreign_keys(true)
        .disable_statement_logging()
}

// === impl Store: steps and rows ===

impl Store {
    async fn step(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        query: Query,
    ) -> Result<SqliteQueryResult> {
        query.execute(&mut **transaction).await.map_err(|error| self.failed(error))
    }

    async fn exists(&self, transaction: &mut Transaction<'static, Sqlite>, user: &UserId) -> Result<bool> {
        let query = sqlx::query("SELECT 1 FROM users WHERE id = $1").bind(user.to_string());
        let row = query.fetch_optional(&mut **transaction).await;
        Ok(row.map_err(|error| self.failed(error))?.is_some())
    }

    fn get<'r, T>(&self, row: &'r SqliteRow, column: &'static str) -> Result<T>
    where
        T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
    {
        row.try_get(column).map_err(|error| self.failed(error))
    }

    fn user_id(&self, row: &SqliteRow, column: &'static str) -> Result<UserId> {
        let text: &str = self.get(row, column)?;
        UserId::new(text).ok_or_else(|| self.corrupt(format!("`{text}` is no user id")))
    }

    fn owner(&self, row: &SqliteRow) -> Result<Owner> {
        let text: &str = self.get(row, "owner")?;
        Owner::parse(text).ok_or_else(|| self.corrupt(format!("`{text}` owns no credentials")))
    }

    fn time(&self, row: &SqliteRow, column: &'static str) -> Result<Option<u64>> {
        Ok(self.get::<Option<i64>>(row, column)?.map(from_db))
    }

    fn origins(&self, row: &SqliteRow) -> Result<Option<Vec<String>>> {
        let origins = self.get::<Option<&str>>(row, "origins")?.map(serde_json::from_str);
        origins.transpose().map_err(|_| self.corrupt("a credential's origins are none".to_owned()))
    }

    fn credential(&self, row: &SqliteRow) -> Result<SealedCredential> {
        Ok(SealedCredential {
            owner: self.owner(row)?,
            section: self.get(row, "section")?,
            field: self.get(row, "field")?,
            sealed: self.get(row, "sealed")?,
            origins: self.origins(row)?,
            updated_at_ms: from_db(self.get(row, "updated_at")?),
        })
    }

    fn corrupt(&self, detail: String) -> StoreError {
        StoreError::Corrupt { path: self.path.to_path_buf(), detail }
    }
}

/// SQL has no unsigned integers. A time beyond the end of them is as good as their end.
fn to_db(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn from_db(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}
