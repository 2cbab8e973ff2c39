//! The writing connection. `SQLite` has one writer at a time, so a process has one connection that writes. Writers wait
//! for it in the order in which they came, and take no connection from readers.
//!
//! It guarantees that a connection is used again only if every statement on it succeeded and its transaction ended. After an
//! error its state is unknown: `SQLite` may have rolled back by itself, or not. The same is true if a caller leaves in the
//! middle of a statement. Such a connection is closed, which rolls back, and the next write opens another. So nothing of a
//! full or failing disk is left once it works again.
//!
//! It knows no table. Read next: `Store::commit`.

use std::{
    fmt,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteQueryResult, SqliteRow},
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{Query, Result, StoreError};

/// The only connection that writes.
struct Slot {
    /// Absent until the next write opens it, while a statement runs, and after one that failed.
    connection: Option<SqliteConnection>,
    /// The attempt to open it. A writer that leaves meanwhile leaves it to the next one: on a disk that hangs, each attempt
    /// holds a thread.
    opening: Option<Pin<Box<dyn Future<Output = sqlx::Result<SqliteConnection>> + Send>>>,
}

/// The writing connection of a store.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    slot: Arc<Mutex<Slot>>,
    path: Arc<Path>,
    options: SqliteConnectOptions,
    /// The time that a writer waits for the writers before it.
    wait: Duration,
    /// Commits and rollbacks whose callers may have left.
    tasks: TaskTracker,
    last: LastWrite,
}

/// The failure of the last write, if it failed for a reason of the disk or of another process. Cheap to clone.
#[derive(Debug, Clone, Default)]
struct LastWrite(Arc<StdMutex<Option<String>>>);

/// A write transaction. If it is dropped before its commit, nothing is changed.
#[derive(Debug)]
pub(super) struct Transaction {
    /// The lock on the slot, until the transaction has ended.
    slot: Option<OwnedMutexGuard<Slot>>,
    path: Arc<Path>,
    tasks: TaskTracker,
    last: LastWrite,
}

// === impl LastWrite ===

impl LastWrite {
    fn failed(&self, error: &StoreError) {
        // That a statement is refused, say by a constraint, says nothing about the disk.
        if !matches!(error, StoreError::Database { .. }) {
            self.set(Some(error.to_string()));
        }
    }

    fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl Writer ===

impl fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Slot").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer for the database at `path`. It opens its connection at once.
    pub(super) async fn open(
        path: &Path,
        options: SqliteConnectOptions,
        wait: Duration,
    ) -> sqlx::Result<Self> {
        let connection = Some(SqliteConnection::connect_with(&options).await?);
        let slot = Arc::new(Mutex::new(Slot { connection, opening: None }));
        Ok(Self {
            slot,
            path: path.into(),
            options,
            wait,
            tasks: TaskTracker::new(),
            last: LastWrite::default(),
        })
    }

    /// Begins a transaction. It takes the write lock at once: a transaction that reads first and writes later could be
    /// refused without waiting (`SQLITE_BUSY_SNAPSHOT`).
    pub(super) async fn begin(&self) -> Result<Transaction> {
        let slot = timeout(self.wait, self.connection()).await.unwrap_or(Err(StoreError::Unanswered));
        let slot = slot.inspect_err(|error| self.last.failed(error))?;
        let (path, tasks, last) = (Arc::clone(&self.path), self.tasks.clone(), self.last.clone());
        let mut transaction = Transaction { slot: Some(slot), path, tasks, last };
        transaction.command("BEGIN IMMEDIATE").await?;
        Ok(transaction)
    }

    /// The failure of the last write, until one succeeds.
    pub(super) fn problem(&self) -> Option<String> {
        self.last.get()
    }

    /// Waits for the connection, and opens one if the last was closed.
    async fn connection(&self) -> Result<OwnedMutexGuard<Slot>> {
        let mut slot = Arc::clone(&self.slot).lock_owned().await;
        if slot.connection.is_none() {
            let options = self.options.clone();
            let open = || Box::pin(async move { SqliteConnection::connect_with(&options).await }) as _;
            let opened = slot.opening.get_or_insert_with(open).await;
            slot.opening = None;
            slot.connection = Some(opened.map_err(|error| StoreError::from_sqlx(&self.path, error))?);
        }
        Ok(slot)
    }

    /// Runs a commit to its end, also if the caller leaves. `close` waits for it.
    pub(super) async fn finish<T: Send + 'static>(
        &self,
        commit: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        // The task fails only if it panics, or if the runtime ends before it.
        self.tasks.spawn(commit).await.unwrap_or_else(|error| {
            Err(StoreError::Unconfirmed { path: self.path.to_path_buf(), reason: error.to_string() })
        })
    }

    /// Closes the connection after the transactions in progress.
    pub(super) async fn close(self) {
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(connection) = self.slot.lock().await.connection.take() {
            // Committed data is on disk whether this works or not.
            let _ = connection.close().await;
        }
    }

    /// True if a transaction has the connection.
    #[cfg(test)]
    pub(super) fn is_taken(&self) -> bool {
        self.slot.try_lock().is_err()
    }
}

// === impl Transaction ===

impl Transaction {
    /// Runs a statement.
    pub(super) async fn execute(&mut self, query: Query) -> Result<SqliteQueryResult> {
        let mut connection = self.take()?;
        let done = query.execute(&mut connection).await;
        self.keep(connection, done)
    }

    /// Runs a statement, and returns its first row.
    pub(super) async fn fetch_optional(&mut self, query: Query) -> Result<Option<SqliteRow>> {
        let mut connection = self.take()?;
        let row = query.fetch_optional(&mut connection).await;
        self.keep(connection, row)
    }

    /// Runs a statement, and returns all its rows.
    pub(super) async fn fetch_all(&mut self, query: Query) -> Result<Vec<SqliteRow>> {
        let mut connection = self.take()?;
        let rows = query.fetch_all(&mut connection).await;
        self.keep(connection, rows)
    }

    /// Commits. After `Full`, `ReadOnly`, `Forbidden` and `Locked`, nothing is changed. After another error, nothing is changed for the
    /// processes that have the database open, but all of it may be on disk: a process that opens the database after a crash
    /// may find it.
    pub(super) async fn commit(mut self) -> Result<()> {
        let committed = self.command("COMMIT").await;
        // The transaction is over: the connection is free again, if it is kept.
        self.slot = None;
        committed.inspect(|()| self.last.set(None)).map_err(|error| {
            if error.undoes_commit() {
                return error;
            }
            StoreError::Unconfirmed { path: self.path.to_path_buf(), reason: error.to_string() }
        })
    }

    async fn command(&mut self, sql: &'static str) -> Result<()> {
        let mut connection = self.take()?;
        let done = sqlx::raw_sql(sql).execute(&mut connection).await;
        self.keep(connection, done.map(drop))
    }

    /// Takes the connection out of its slot for one statement. The statement's future owns it: an error, or a future that
    /// is dropped in the middle, closes it.
    fn take(&mut self) -> Result<SqliteConnection> {
        self.slot.as_mut().and_then(|slot| slot.connection.take()).ok_or(StoreError::Unanswered)
    }

    /// Puts the connection back after a success.
    fn keep<T>(&mut self, connection: SqliteConnection, done: sqlx::Result<T>) -> Result<T> {
        let done = done.map_err(|error| StoreError::from_sqlx(&self.path, error));
        let done = done.inspect_err(|error| self.last.failed(error))?;
        if let Some(slot) = &mut self.slot {
            slot.connection = Some(connection);
        }
        Ok(done)
    }
}

impl Drop for Transaction {
    /// A change that is refused ends without a commit and without an error. Its connection is rolled back and kept.
    fn drop(&mut self) {
        let Some(mut slot) = self.slot.take() else { return };
        let (Some(mut connection), Ok(runtime)) = (slot.connection.take(), Handle::try_current()) else {
            return;
        };
        let roll_back = async move {
            if sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.is_ok() {
                slot.connection = Some(connection);
            }
        };
        self.tasks.spawn_on(roll_back, &runtime);
    }
}
