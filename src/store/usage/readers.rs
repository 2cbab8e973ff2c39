//! Connections for reads of the ledger, which may take long. Lookups of callers have others, and never wait for them.
//!
//! Users and admins have their own, so that users keep no admin from a report. A read ends at its deadline, and at once if its
//! caller leaves: `SQLite` looks at a flag while it works. The connection of such a read is closed.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::TryStreamExt as _;
use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::super::{Query, Result, StoreError};

/// Concurrent reads for users, and as many for admins.
const MAX_READS: u32 = 2;
/// Deadline of one read.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Deadline for the reads before one.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// Instructions of `SQLite` after which it looks at the flag: well below a millisecond.
const INSTRUCTIONS: i32 = 2000;

/// The callers for whom the ledger is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UsageReader {
    /// A user, who reads the own usage.
    User,
    /// An admin, or tollgate itself.
    #[default]
    Admin,
}

/// The connections, by reader.
#[derive(Debug)]
pub(in super::super) struct UsageReaders {
    options: SqliteConnectOptions,
    /// The deadline of one read.
    limit: Duration,
    users: Lane,
    admins: Lane,
}

/// The connections of one kind of reader.
#[derive(Debug)]
struct Lane {
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
struct Connection {
    own: SqliteConnection,
    /// True if nobody waits for the read that runs.
    left: Arc<AtomicBool>,
}

/// A read that runs.
struct Reading<'l> {
    lane: &'l Lane,
    connection: Option<Connection>,
    _permit: SemaphorePermit<'l>,
}

impl UsageReaders {
    pub(in super::super) fn new(options: SqliteConnectOptions) -> Self {
        let lane = || Lane {
            permits: Semaphore::new(usize::try_from(MAX_READS).unwrap_or(1)),
            idle: Mutex::default(),
        };
        Self { options, limit: READ_TIMEOUT, users: lane(), admins: lane() }
    }

    /// Calls `each` with all rows. One row at a time is in memory.
    pub(super) async fn read(
        &self,
        path: &Path,
        reader: UsageReader,
        query: Query,
        mut each: impl FnMut(&SqliteRow) -> Result<()>,
    ) -> Result<()> {
        let failed = |error| StoreError::from_sqlx(path, error);
        let lane = match reader {
            UsageReader::User => &self.users,
            UsageReader::Admin => &self.admins,
        };
        let permit = timeout(WAIT_TIMEOUT, lane.permits.acquire()).await;
        let permit = permit.map_err(|_| StoreError::Unanswered)?.expect("nothing closes the semaphore");
        let read = async {
            let mut reading = Reading { lane, connection: lane.lock().pop(), _permit: permit };
            let connection = match &mut reading.connection {
                Some(connection) => connection,
                none => none.insert(Connection::open(&self.options).await.map_err(failed)?),
            };
            let mut rows = query.fetch(&mut connection.own);
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                each(&row)?;
            }
            drop(rows);
            reading.end();
            Ok(())
        };
        timeout(self.limit, read).await.unwrap_or(Err(StoreError::TooLong { limit: self.limit }))
    }

    /// The options of their connections.
    pub(in super::super) fn options(&self) -> SqliteConnectOptions {
        self.options.clone()
    }

    /// Waits for the reads in progress. Others wait until the result is dropped.
    pub(in super::super) async fn pause(&self) -> [SemaphorePermit<'_>; 2] {
        [self.users.pause().await, self.admins.pause().await]
    }

    /// Closes the connections after the reads in progress.
    pub(in super::super) async fn close(&self) {
        let _pause = self.pause().await;
        for lane in [&self.users, &self.admins] {
            let idle = std::mem::take(&mut *lane.lock());
            for connection in idle {
                // Nothing was written.
                let _ = connection.own.close().await;
            }
        }
    }
}

impl Lane {
    async fn pause(&self) -> SemaphorePermit<'_> {
        self.permits.acquire_many(MAX_READS).await.expect("nothing closes the semaphore")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    async fn open(options: &SqliteConnectOptions) -> sqlx::Result<Self> {
        let mut own = SqliteConnection::connect_with(options).await?;
        let left = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&left);
        own.lock_handle().await?.set_progress_handler(INSTRUCTIONS, move || !flag.load(Relaxed));
        Ok(Self { own, left })
    }
}

impl Reading<'_> {
    /// Keeps the connection for the next read.
    fn end(mut self) {
        self.lane.lock().extend(self.connection.take());
    }
}

impl Drop for Reading<'_> {
    /// After an error, a break or a deadline, or if the caller left.
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.left.store(true, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query that never ends by itself.
    const ENDLESS: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n";

    fn readers() -> UsageReaders {
        UsageReaders::new(SqliteConnectOptions::new().in_memory(true))
    }

    async fn read(readers: &UsageReaders, reader: UsageReader, sql: &'static str) -> Result<usize> {
        let mut rows = 0;
        let each = |_: &SqliteRow| {
            rows += 1;
            Ok(())
        };
        readers.read(Path::new("db"), reader, sqlx::query(sql), each).await?;
        Ok(rows)
    }

    #[tokio::test]
    async fn a_read_ends_when_its_caller_leaves() {
        let readers = readers();
        let mut connection = Connection::open(&readers.options).await.unwrap();
        let left = Arc::clone(&connection.left);
        let query: Query = sqlx::query(ENDLESS);
        let leave = async { left.store(true, Relaxed) };
        let (ended, ()) = tokio::join!(query.fetch_all(&mut connection.own), leave);
        assert!(ended.unwrap_err().to_string().contains("interrupted"));
    }

    #[tokio::test]
    async fn a_read_has_a_deadline_and_frees_its_place() {
        let readers = UsageReaders { limit: Duration::ZERO, ..readers() };
        let connection = Connection::open(&readers.options).await.unwrap();
        let left = Arc::clone(&connection.left);
        readers.users.lock().push(connection);
        let ended = read(&readers, UsageReader::User, ENDLESS).await.unwrap_err();
        assert!(matches!(ended, StoreError::TooLong { .. }), "{ended}");
        assert!(left.load(Relaxed), "it is broken off");
        assert_eq!((readers.users.permits.available_permits(), readers.users.lock().len()), (2, 0));
        let readers = UsageReaders { limit: READ_TIMEOUT, ..readers };
        assert_eq!(read(&readers, UsageReader::User, "SELECT 1").await.unwrap(), 1);
        assert_eq!(readers.users.lock().len(), 1, "a connection is kept after a success");
    }

    #[tokio::test]
    async fn users_take_no_place_of_an_admin() {
        let readers = readers();
        let _all = readers.users.permits.acquire_many(MAX_READS).await.unwrap();
        assert_eq!(read(&readers, UsageReader::Admin, "SELECT 1").await.unwrap(), 1);
    }
}
