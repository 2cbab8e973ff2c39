//! The tables, and how an older database becomes one of today. Steps only go forward and are never
//! edited once released: a change is a new step.
//!
//! Types are plain enough that `PostgreSQL` can have the same tables: text, 64-bit integers, blobs.
//! Times are milliseconds since 1970, UTC; hashes are lower-case hex.

use std::path::Path;

use sqlx::{Row, SqliteConnection};

use super::StoreError;

/// Step `n` leads from schema `n` to `n + 1`. Each ends by saying where it has led.
const STEPS: &[&str] = &["
    CREATE TABLE users (
        id         TEXT   NOT NULL PRIMARY KEY,
        name       TEXT   NOT NULL,
        created_at BIGINT NOT NULL
    );
    CREATE INDEX users_by_name ON users (name);
    CREATE TABLE tokens (
        hash       TEXT   NOT NULL PRIMARY KEY,
        user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        prefix     TEXT   NOT NULL,
        label      TEXT,
        created_at BIGINT NOT NULL,
        expires_at BIGINT
    );
    CREATE INDEX tokens_by_user ON tokens (user_id);
    CREATE TABLE credentials (
        user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        section    TEXT   NOT NULL,
        field      TEXT   NOT NULL,
        sealed     BLOB   NOT NULL,
        updated_at BIGINT NOT NULL,
        PRIMARY KEY (user_id, section, field)
    );
    CREATE TABLE admin_tokens (
        hash       TEXT   NOT NULL PRIMARY KEY,
        label      TEXT   NOT NULL,
        created_at BIGINT NOT NULL
    );
    CREATE TABLE meta (
        name       TEXT   NOT NULL PRIMARY KEY,
        value      TEXT   NOT NULL
    );
    PRAGMA user_version = 1;
"];

/// The newest schema that this program knows.
pub(super) fn known() -> i64 {
    i64::try_from(STEPS.len()).expect("there are few steps")
}

/// Brings the database to today's schema, all steps or none.
pub(super) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_sqlx(path, error);
    // One that needs nothing is only read: that waits for nobody, and needs no space.
    if version(connection).await.map_err(failed)? == known() {
        return Ok(());
    }
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(failed)?;
    let found = version(connection).await.map_err(failed)?;
    let done = usize::try_from(found)
        .map_err(|_| StoreError::Corrupt { path: path.to_owned(), detail: format!("schema {found}") })?;
    let Some(steps) = STEPS.get(done..) else {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known: known() });
    };
    for &step in steps {
        sqlx::raw_sql(step).execute(&mut *connection).await.map_err(failed)?;
    }
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await.map_err(failed)?;
    Ok(())
}

pub(super) async fn version(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query("PRAGMA user_version").fetch_one(connection).await?.try_get(0)
}
