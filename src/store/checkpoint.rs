//! Checkpoints of the write-ahead log. `SQLite` moves its pages into the database file by itself, but begins the log again
//! only if no read uses it: long reads that overlap would let it grow without end.

use std::time::Duration;

use sqlx::{Connection as _, Row as _, SqliteConnection};

use super::{Result, Store};

/// The time that a checkpoint waits for other readers. Writers wait for it.
const WAIT: Duration = Duration::from_millis(200);

impl Store {
    /// Empties the write-ahead log if it has more than `max` bytes. Reads of the ledger pause meanwhile. Returns false if
    /// another reader, such as a backup, was in the way.
    pub async fn shorten_log(&self, max: u64) -> Result<bool> {
        if self.log_bytes() <= max {
            return Ok(true);
        }
        self.check_in_place()?;
        let _pause = self.usage_readers.pause().await;
        let failed = |error| self.failed(error);
        // Its own connection: a caller that leaves harms none, and the wait is shorter than that of others.
        let options = self.usage_readers.options().busy_timeout(WAIT);
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await;
        let is_busy: i64 = row.and_then(|row| row.try_get(0)).map_err(failed)?;
        connection.close().await.map_err(failed)?;
        Ok(is_busy == 0)
    }

    /// The length of the write-ahead log; zero without one.
    fn log_bytes(&self) -> u64 {
        let mut path = self.path.as_os_str().to_owned();
        path.push("-wal");
        std::fs::metadata(path).map_or(0, |data| data.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt as _, TryStreamExt as _};
    use tempfile::TempDir;

    use super::*;
    use crate::store::{UsageBatch, UsageKey, UsageSums};

    async fn write(store: &Store, number: u64) {
        let key = |number: u64| UsageKey { user: number.to_string().into(), ..UsageKey::default() };
        let hours = (0..300).map(|hour| (hour, key(number * 1000 + hour), UsageSums::default())).collect();
        let batch = UsageBatch { number, hours, exchanges: Vec::new() };
        assert!(store.add_usage("w", &batch, 0).await.unwrap());
    }

    #[tokio::test]
    async fn a_long_log_is_emptied_when_no_read_uses_it() {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        write(&store, 1).await;
        let length = store.log_bytes();
        assert!(length > 30_000);
        assert!(store.shorten_log(length).await.unwrap());
        assert_eq!(store.log_bytes(), length, "it is not too long");
        // A read that goes on: the log cannot begin again.
        let mut rows = sqlx::query("SELECT * FROM usage_hours").fetch(&store.readers);
        assert!(rows.try_next().await.unwrap().is_some());
        write(&store, 2).await;
        assert!(!store.shorten_log(1000).await.unwrap());
        assert!(store.log_bytes() > length);
        drop(rows);
        while !store.shorten_log(1000).await.unwrap() {}
        assert_eq!(store.log_bytes(), 0);
    }

    #[tokio::test]
    async fn a_checkpoint_waits_for_reads_of_the_ledger_and_they_for_it() {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        write(&store, 1).await;
        let first = store.usage_readers.pause().await;
        let mut shorten = Box::pin(store.shorten_log(1000));
        assert!(shorten.as_mut().now_or_never().is_none());
        assert!(store.log_bytes() > 1000);
        let readers = Arc::clone(&store.usage_readers);
        let mut next = Box::pin(readers.pause());
        assert!(next.as_mut().now_or_never().is_none());
        drop(first);
        assert!(shorten.await.unwrap());
        assert_eq!(store.log_bytes(), 0);
        drop(next.await);
    }
}
