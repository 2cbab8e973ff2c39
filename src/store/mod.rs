//! The store: users, hashes of tokens, encrypted credentials and the audit log, in `SQLite` in the data directory. It owns
//! the files there, their permissions, the schema, and every SQL statement.
//!
//! It never sees a token or a credential in plaintext, and has no clock: the caller passes times. A change by an API
//! call runs in one transaction with its audit entry and its cache invalidation. `accounts` caches the data for
//! requests. `conformance` is the test suite for any other backend.

mod audit;
mod audit_search;
mod audit_tail;
mod backup;
mod checkpoint;
mod checksum;
mod credentials;
mod data_dir;
mod error;
mod import;
mod inspect;
mod invalidation;
mod invalidation_log;
mod kept_answers;
mod leases;
mod limits;
mod listing;
mod made_tokens;
mod probe;
mod restore;
mod revocation;
mod revoked_makers;
mod rows;
mod schema;
mod sessions;
mod statements;
mod tokens;
mod usage;
mod users;
mod writer;

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
    Connection, Row, Sqlite, SqliteConnection, SqlitePool,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteQueryResult, SqliteRow,
        SqliteSynchronous,
    },
};
use tokio::sync::Mutex;

pub use self::{
    audit::{Act, AuditEntry, BrokenChain, GENESIS_HASH, HashChain, Right},
    audit_search::{AuditActor, AuditFilter, AuditOrder, AuditPage, AuditQuery},
    backup::{BackupError, Inventory, back_up},
    data_dir::{
        DirLock, PrivateFile, Readers, SETUP_LOCK, create_for_own_user, create_private, create_private_dir,
        is_of_other_user, keep_private, open_private, read_private, read_small, remove_private,
        replace_private, untrusted_writers, write_private,
    },
    error::StoreError,
    import::{Import, Imported},
    invalidation::InvalidationCounter,
    invalidation_log::{Affected, Invalidated},
    kept_answers::{KeepOutcome, SealedAnswer},
    limits::{LimitGrant, LimitRow, StoredCounter},
    listing::{
        BoundCredential, ListedGroup, ListedUser, SortKey, UserCount, UserFilter, UserOrder, UserPage,
    },
    probe::{Probe, probe},
    restore::{PreparedRestore, prepare_restore},
    rows::{
        AdminTokenRevocation, ChangeOutcome, CredentialChange, DuplicateNames, KeyIds, Maker, NewAdminToken,
        NewPasteToken, NewSession, NewToken, PasteTokenIssue, ReplaceKey, RevokeExtent, Revoked, Rotated,
        SealedCredential, SessionMaker, StoredAdminToken, StoredField, StoredToken, SwapReason, TokenHash,
        TokenLookup, TokenRotation, User, UserChange, UserCreation,
    },
    usage::{
        Exchange, LearnedBytes, RollUps, UsageBatch, UsageFilter, UsageKey, UsageLimits, UsageReader,
        UsageSegment, UsageSums,
    },
    users::InitialAccess,
};
use self::{
    audit_tail::AuditTail,
    data_dir::FileIdentity,
    invalidation::Invalidates,
    usage::UsageReaders,
    writer::{Transaction, Writer},
};
pub use crate::decide::TokenKind;
use crate::name::{Owner, UserId};

/// The database file in the data directory.
pub const DATABASE: &str = "tollgate.db";
/// The length to which `SQLite` cuts the write-ahead log when it begins again: that at which it moves the pages.
const LOG_BYTES: &str = "4194304";
/// Connections for reading.
const MAX_READERS: u32 = 4;

/// The open store. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Store {
    path: Arc<Path>,
    /// The open file. Another one may be at `path` by now.
    identity: FileIdentity,
    readers: SqlitePool,
    writer: Writer,
    /// A connection that never writes: `PRAGMA data_version` does not count the commits of its own connection.
    watch: Arc<Mutex<SqliteConnection>>,
    usage_readers: Arc<UsageReaders>,
    invalidations: InvalidationCounter,
    audit_tail: AuditTail,
}

type Result<T> = std::result::Result<T, StoreError>;

// === impl Store: open and watch ===

impl Store {
    /// Opens the store in `data_dir`, and creates both if they are missing. Several processes may have it open.
    pub async fn open(data_dir: &Path) -> Result<Self> {
        Self::open_within(data_dir, data_dir::LOCK_TIMEOUT).await
    }

    async fn open_within(data_dir: &Path, lock_timeout: Duration) -> Result<Self> {
        let path: PathBuf = data_dir.join(DATABASE);
        let failed = |error| StoreError::from_sqlx(&path, error);
        // Held to the end: two processes that switch a new file to WAL mode at once would see it as locked.
        let _lock = DirLock::acquire_within(data_dir, lock_timeout).await?;
        data_dir::keep_out_of_git(data_dir);
        data_dir::make_database_file(&path)?;
        let options = options(&path, lock_timeout);
        let mut first = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        // If a step fails, the connection closes with its transaction open, which rolls it back.
        schema::migrate(&mut first, &path).await?;
        // Connections stay open when they are idle: a process that is short of files could not open them again.
        let readers = SqlitePoolOptions::new().max_connections(MAX_READERS).acquire_timeout(lock_timeout);
        let readers = readers.idle_timeout(None).max_lifetime(None);
        let reading = options.clone().pragma("query_only", "ON");
        let usage_readers = Arc::new(UsageReaders::new(reading.clone()));
        let readers = readers.connect_with(reading).await;
        let readers = readers.map_err(failed)?;
        let watch = Arc::new(Mutex::new(first));
        let writer = Writer::open(&path, options, lock_timeout).await.map_err(failed)?;
        let identity = FileIdentity::of(&path)?;
        Ok(Self {
            path: path.into(),
            identity,
            readers,
            writer,
            watch,
            usage_readers,
            invalidations: InvalidationCounter::default(),
            audit_tail: AuditTail::default(),
        })
    }

    /// Closes the connections when they are idle; the watching one only if this is the last clone. Closing the last
    /// connection moves the write-ahead log into the database file.
    pub async fn close(self) {
        self.readers.close().await;
        self.usage_readers.close().await;
        self.writer.close().await;
        if let Some(watch) = Arc::into_inner(self.watch) {
            // Committed data is on disk whether this works or not.
            let _ = watch.into_inner().close().await;
        }
    }

    /// The counter for cache invalidation. It counts every write through this store that affects cached callers;
    /// `accounts` adds the changes of other processes, which it reads by `invalidated_since`.
    pub fn invalidations(&self) -> InvalidationCounter {
        self.invalidations.clone()
    }

    /// A number that differs after every commit of any process. It has no order: compare it by `!=` only.
    pub async fn data_version(&self) -> Result<i64> {
        self.check_in_place()?;
        let mut watch = self.watch.lock().await;
        let row = sqlx::query("PRAGMA data_version").fetch_one(&mut *watch).await;
        row.and_then(|row| row.try_get(0)).map_err(|error| self.failed(error))
    }

    /// Checks that the store can be read now, and is still the one at its path.
    pub async fn check(&self) -> Result<()> {
        self.check_in_place()?;
        self.key_ids().await.map(drop)
    }

    /// The failure of the last write, until one succeeds: no space is left, say, or another process holds the lock. Reads may work
    /// nevertheless.
    pub fn write_problem(&self) -> Option<String> {
        self.writer.problem()
    }

    /// Checks that the open file is still the one at the path. Otherwise other processes would write data that we never
    /// see, and we would write data that nothing ever reads.
    fn check_in_place(&self) -> Result<()> {
        if FileIdentity::of(&self.path)? == self.identity {
            return Ok(());
        }
        Err(StoreError::Moved { path: self.path.to_path_buf() })
    }

    fn failed(&self, error: sqlx::Error) -> StoreError {
        StoreError::from_sqlx(&self.path, error)
    }

    async fn begin(&self) -> Result<Transaction> {
        self.check_in_place()?;
        self.writer.begin().await
    }

    /// Commits a transaction, and invalidates caches.
    async fn commit(&self, transaction: Transaction, invalidates: Invalidates<'_>) -> Result<()> {
        self.end(transaction, invalidates, Vec::new()).await
    }

    /// Commits a transaction with its audit entry, and logs the entry.
    async fn commit_act(
        &self,
        mut transaction: Transaction,
        invalidates: Invalidates<'_>,
        act: &Act,
    ) -> Result<()> {
        let entry = self.append(&mut transaction, act).await?;
        self.end(transaction, invalidates, vec![entry]).await
    }

    /// Commits a transaction with audit entries that it has appended. A commit that has begun ends, also if the caller
    /// leaves: otherwise nobody would invalidate the caches.
    async fn end(
        &self,
        mut transaction: Transaction,
        invalidates: Invalidates<'_>,
        entries: Vec<AuditEntry>,
    ) -> Result<()> {
        let logged = self.log_invalidation(&mut transaction, invalidates).await?;
        let (invalidations, invalidation) = (self.invalidations.clone(), invalidates.to_owned());
        let audit_tail = self.audit_tail.clone();
        let commit = async move {
            let committed = transaction.commit().await;
            if !committed.as_ref().is_err_and(StoreError::undoes_commit) {
                // If it is unknown whether the commit took effect, a new lookup is right in both cases. The number in the
                // log may then be another process's.
                let logged = logged.filter(|_| committed.is_ok());
                invalidations.invalidate(invalidation.as_ref(), logged);
            }
            if committed.is_ok() {
                for entry in &entries {
                    audit_tail.log_own(entry);
                }
            }
            committed
        };
        self.writer.finish(commit).await
    }

    async fn read(&self, query: Query) -> Result<Vec<SqliteRow>> {
        self.check_in_place()?;
        // A reading connection has no transaction that an error could leave open.
        query.fetch_all(&self.readers).await.map_err(|error| self.failed(error))
    }
}

type Query = sqlx::query::Query<'static, Sqlite, sqlx::sqlite::SqliteArguments>;

fn options(path: &Path, lock_timeout: Duration) -> SqliteConnectOptions {
    use sqlx::ConnectOptions;
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(lock_timeout)
        .foreign_keys(true)
        .pragma("journal_size_limit", LOG_BYTES)
        .disable_statement_logging()
}

// === impl Store: steps and rows ===

impl Store {
    async fn step(&self, transaction: &mut Transaction, query: Query) -> Result<SqliteQueryResult> {
        transaction.execute(query).await
    }

    async fn exists(&self, transaction: &mut Transaction, user: &UserId) -> Result<bool> {
        let query = sqlx::query("SELECT 1 FROM users WHERE id = $1").bind(user.to_string());
        Ok(transaction.fetch_optional(query).await?.is_some())
    }

    fn get<'r, T>(&self, row: &'r SqliteRow, column: &'static str) -> Result<T>
    where
        T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
    {
        row.try_get(column).map_err(|error| self.failed(error))
    }

    fn user_id(&self, row: &SqliteRow, column: &'static str) -> Result<UserId> {
        let text: &str = self.get(row, column)?;
        UserId::new(text).ok_or_else(|| self.corrupt(format!("`{text}` is not a user id")))
    }

    fn owner(&self, row: &SqliteRow) -> Result<Owner> {
        let text: &str = self.get(row, "owner")?;
        Owner::parse(text).ok_or_else(|| self.corrupt(format!("`{text}` is not an owner of credentials")))
    }

    fn time(&self, row: &SqliteRow, column: &'static str) -> Result<Option<u64>> {
        Ok(self.get::<Option<i64>>(row, column)?.map(from_db))
    }

    fn origins(&self, row: &SqliteRow) -> Result<Option<Vec<String>>> {
        let origins = self.get::<Option<&str>>(row, "origins")?.map(serde_json::from_str);
        origins.transpose().map_err(|_| self.corrupt("the origins of a credential cannot be read".to_owned()))
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

/// SQL has no unsigned integers. A time beyond their range becomes the last one in it.
fn to_db(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn from_db(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}
