//! Inspection of a database file that no process has open: is it undamaged, is it one of tollgate's, what is in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    BackupError, Inventory, StoreError,
    data_dir::LOCK_TIMEOUT,
    probe,
    schema::{self, SchemaObject},
};

type Result<T> = std::result::Result<T, BackupError>;

/// Verifies a file that no process has open, and counts its contents. Errors name the file `named`.
pub(super) async fn inspect(file: &Path, named: &Path) -> Result<Inventory> {
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
    let problem = match foreign_object(connection, probe.schema).await? {
        None => misfit(connection).await?,
        found => found,
    };
    if problem.is_some() {
        return Ok((problem, None));
    }
    let users = one(connection, "SELECT count(*) FROM users").await?;
    let tokens = one(connection, "SELECT count(*) FROM tokens").await?;
    let credentials = one(connection, "SELECT count(*) FROM credentials WHERE instr(field, ':') = 0").await?;
    Ok((None, Some(Inventory { probe, users, tokens, credentials, bytes: 0 })))
}

/// A table, index or trigger that differs from those of the schema. A foreign trigger could change data later.
async fn foreign_object(connection: &mut SqliteConnection, schema: i64) -> sqlx::Result<Option<String>> {
    let found = schema::objects(connection).await?;
    let expected = schema::objects_of(schema).await?;
    let differs = |all: &BTreeSet<SchemaObject>, other: &BTreeSet<SchemaObject>| {
        all.difference(other).next().map(|one| format!("the {} `{}`", one.kind, one.name))
    };
    Ok(differs(&found, &expected).map(|object| format!("{object} is not as in schema {schema}")).or_else(
        || differs(&expected, &found).map(|object| format!("{object} of schema {schema} is missing")),
    ))
}

/// A value of another type than its column's, or a row without the one that it refers to. `SQLite` checks neither on reading.
async fn misfit(connection: &mut SqliteConnection) -> sqlx::Result<Option<String>> {
    for (table, columns) in typed_columns(connection).await? {
        // One look at a table, which may be long, and one for each column only to name it.
        let any: Vec<&str> = columns.iter().map(|column| column.misfits.as_str()).collect();
        if count_where(connection, &table, &any.join(" OR ")).await? == 0 {
            continue;
        }
        for Column { name, declared, misfits } in columns {
            if count_where(connection, &table, &misfits).await? > 0 {
                return Ok(Some(format!("`{table}.{name}` holds another type than {declared}")));
            }
        }
    }
    let orphan = sqlx::query("PRAGMA foreign_key_check").fetch_optional(connection).await?;
    let table: Option<String> = orphan.map(|row| row.try_get(0)).transpose()?;
    Ok(table.map(|table| format!("a row of `{table}` refers to one that does not exist")))
}

/// A column, and the condition on its values of another type.
struct Column {
    name: String,
    declared: String,
    misfits: String,
}

/// The columns of all tables. The names are those of this program: the schema was compared before.
async fn typed_columns(connection: &mut SqliteConnection) -> sqlx::Result<BTreeMap<String, Vec<Column>>> {
    let columns = sqlx::query(
        "SELECT s.name, c.name, lower(c.type), c.\"notnull\" FROM sqlite_schema s, pragma_table_info(s.name) c
         WHERE s.type = 'table'",
    );
    let mut tables = BTreeMap::<String, Vec<Column>>::new();
    for row in columns.fetch_all(connection).await? {
        let (table, name, declared): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let stored = if declared == "bigint" { "integer" } else { &declared };
        let or_null = if row.try_get::<bool, _>(3)? { "" } else { ", 'null'" };
        let misfits = format!("typeof(\"{name}\") NOT IN ('{stored}'{or_null})");
        tables.entry(table).or_default().push(Column { name, declared, misfits });
    }
    Ok(tables)
}

async fn count_where(connection: &mut SqliteConnection, table: &str, condition: &str) -> sqlx::Result<i64> {
    let query = format!("SELECT count(*) FROM \"{table}\" WHERE {condition}");
    sqlx::query(AssertSqlSafe(query)).fetch_one(connection).await?.try_get(0)
}

async fn one<T>(connection: &mut SqliteConnection, query: &'static str) -> sqlx::Result<T>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    sqlx::query(query).fetch_one(connection).await?.try_get(0)
}

/// An error of the staged copy, as one of the backup that it was copied from.
pub(super) fn named_error(error: StoreError, named: &Path) -> BackupError {
    match error {
        StoreError::Corrupt { detail, .. } => BackupError::Damaged { path: named.to_owned(), detail },
        StoreError::Database { reason, .. } => {
            BackupError::Damaged { path: named.to_owned(), detail: reason.to_string() }
        }
        other => other.into(),
    }
}

pub(super) async fn connect(path: &Path) -> sqlx::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(LOCK_TIMEOUT);
    options.disable_statement_logging().connect().await
}

pub(super) fn has_content(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() > 0)
}
