//! What a database tells of itself before it is opened as the store: not a byte of it is written, nor of what
//! stands beside it.

use std::{path::Path, time::Duration};

use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    DATABASE, KeyIds,
    credentials::{MASTER_KEY_ID, NEXT_KEY_ID},
    schema,
};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// The schema of the tables.
    pub schema: i64,
    /// The ids of the master keys that it knows.
    pub keys: KeyIds,
    /// Whether anything is sealed.
    pub sealed: bool,
}

/// Looks into the database in `data_dir`; nothing, if there is none or it has no tables yet. Whoever calls holds
/// the lock of the directory, so that nobody opens it meanwhile.
pub async fn probe(data_dir: &Path) -> sqlx::Result<Option<Probe>> {
    let path = data_dir.join(DATABASE);
    if !path.metadata().is_ok_and(|found| found.is_file() && found.len() > 0) {
        return Ok(None);
    }
    // Whoever has it open, or had when it crashed, has a write-ahead log: that is to be read too, and is there
    // already. Without one, nothing has to be made for reading.
    let alone = !path.with_extension("db-wal").exists();
    let options = SqliteConnectOptions::new().filename(&path).read_only(true).immutable(alone);
    // Whoever waits for others, waits when it is opened.
    let options = options.busy_timeout(Duration::ZERO);
    let mut connection = options.disable_statement_logging().connect().await?;
    let found = look(&mut connection).await;
    connection.close().await?;
    found
}

pub(super) async fn look(connection: &mut SqliteConnection) -> sqlx::Result<Option<Probe>> {
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
