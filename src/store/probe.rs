//! Reads the schema and the master-key ids of a database without opening it as the store. Writes nothing, neither to the
//! database nor beside it.

use std::{path::Path, time::Duration};

use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    DATABASE, KeyIds,
    credentials::{MASTER_KEY_ID, NEXT_KEY_ID},
    schema,
};

/// The schema and keys of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// The version of the schema.
    pub schema: i64,
    /// The ids of its master keys.
    pub keys: KeyIds,
    /// True if it has encrypted credentials.
    pub sealed: bool,
}

/// Probes the database in `data_dir`. Returns `None` if there is none, or it has no tables yet. The caller holds the lock
/// of the directory, so that no process opens the database meanwhile.
pub async fn probe(data_dir: &Path) -> sqlx::Result<Option<Probe>> {
    let path = data_dir.join(DATABASE);
    if !path.metadata().is_ok_and(|found| found.is_file() && found.len() > 0) {
        return Ok(None);
    }
    // A process that has it open, or crashed, leaves a write-ahead log, which has to be read too. Without one, the
    // database is opened as immutable: otherwise `SQLite` would create a log.
    let immutable = !path.with_extension("db-wal").exists();
    let options = SqliteConnectOptions::new().filename(&path).read_only(true).immutable(immutable);
    // No waiting here: opening the store waits.
    let options = options.busy_timeout(Duration::ZERO);
    let mut connection = options.disable_statement_logging().connect().await?;
    let found = read(&mut connection).await;
    connection.close().await?;
    found
}

pub(super) async fn read(connection: &mut SqliteConnection) -> sqlx::Result<Option<Probe>> {
    let schema = schema::version(connection).await?;
    if schema == 0 {
        return Ok(None);
    }
    let mut keys = KeyIds::default();
    for (name, id) in [(MASTER_KEY_ID, &mut keys.current), (NEXT_KEY_ID, &mut keys.next)] {
        let query = sqlx::query("SELECT value FROM meta WHERE name = $1").bind(name);
        *id = query.fetch_optional(&mut *connection).await?.map(|row| row.try_get(0)).transpose()?;
    }
    let sealed = sqlx::query("SELECT 1 FROM credentials LIMIT 1").fetch_optional(&mut *connection).await?;
    Ok(Some(Probe { schema, keys, sealed: sealed.is_some() }))
}
