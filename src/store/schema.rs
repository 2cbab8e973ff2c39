//! The schema, and its migrations. Migrations only go forward, and are never edited after a release: a change is a new
//! migration.
//!
//! Column types are text, 64-bit integers and blobs, so that `PostgreSQL` could have the same tables. Times are milliseconds
//! since 1970, UTC; hashes are lower-case hex.

use std::{collections::BTreeSet, path::Path};

use sqlx::{Connection as _, Row, SqliteConnection};

use super::StoreError;

/// Migration `n` changes schema `n` to `n + 1`, and sets `user_version`.
const MIGRATIONS: &[&str] = &[
    FIRST,
    ACCOUNTS,
    MAKERS,
    OWNERS_OF_MAKERS,
    KEPT_ANSWERS,
    USAGE,
    TEXT_TOKENS,
    SESSIONS,
    LISTS,
    AUDIT_FILTERS,
    LIMITS,
];

const FIRST: &str = "
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
";

/// Tokens get ids, kinds and scopes; existing ones become tokens of both kinds. Credentials get owners other than users,
/// and bound origins. New: paste tokens, the invalidation log (`changes`), the audit log, leases.
const ACCOUNTS: &str = "
    ALTER TABLE users ADD COLUMN ip TEXT;
    ALTER TABLE users ADD COLUMN group_name TEXT;
    ALTER TABLE users ADD COLUMN disabled_at BIGINT;
    CREATE INDEX users_by_age ON users (created_at, id);

    DROP INDEX tokens_by_user;
    ALTER TABLE tokens RENAME TO tokens_1;
    CREATE TABLE tokens (
        hash         TEXT   NOT NULL PRIMARY KEY,
        id           TEXT   NOT NULL UNIQUE,
        user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        prefix       TEXT   NOT NULL,
        label        TEXT,
        kind         TEXT   NOT NULL,
        scopes       TEXT,
        created_at   BIGINT NOT NULL,
        expires_at   BIGINT,
        replaced_at  BIGINT,
        last_used_at BIGINT
    );
    INSERT INTO tokens (hash, id, user_id, prefix, label, kind, created_at, expires_at)
        SELECT hash, 'tok_' || substr(hash, 1, 16), user_id, prefix, label, 'both', created_at, expires_at
        FROM tokens_1;
    DROP TABLE tokens_1;
    CREATE INDEX tokens_by_user ON tokens (user_id, created_at, id);

    ALTER TABLE credentials RENAME TO credentials_1;
    CREATE TABLE credentials (
        owner      TEXT   NOT NULL,
        section    TEXT   NOT NULL,
        field      TEXT   NOT NULL,
        sealed     BLOB   NOT NULL,
        origins    TEXT,
        updated_at BIGINT NOT NULL,
        PRIMARY KEY (owner, section, field)
    );
    INSERT INTO credentials (owner, section, field, sealed, updated_at)
        SELECT user_id, section, field, sealed, updated_at FROM credentials_1;
    DROP TABLE credentials_1;

    CREATE TABLE paste_tokens (
        hash         TEXT   NOT NULL PRIMARY KEY,
        id           TEXT   NOT NULL UNIQUE,
        user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        provider     TEXT   NOT NULL,
        scopes       TEXT   NOT NULL,
        section      TEXT   NOT NULL,
        field        TEXT   NOT NULL,
        created_at   BIGINT NOT NULL,
        expires_at   BIGINT,
        last_used_at BIGINT
    );
    CREATE INDEX paste_tokens_by_user ON paste_tokens (user_id, created_at, id);

    ALTER TABLE admin_tokens RENAME TO admin_tokens_1;
    CREATE TABLE admin_tokens (
        hash         TEXT   NOT NULL PRIMARY KEY,
        id           TEXT   NOT NULL UNIQUE,
        prefix       TEXT   NOT NULL,
        label        TEXT   NOT NULL,
        created_at   BIGINT NOT NULL,
        expires_at   BIGINT,
        last_used_at BIGINT
    );
    INSERT INTO admin_tokens (hash, id, prefix, label, created_at)
        SELECT hash, 'adm_' || substr(hash, 1, 16), '', label, created_at FROM admin_tokens_1;
    DROP TABLE admin_tokens_1;

    CREATE TABLE changes (
        seq     BIGINT NOT NULL PRIMARY KEY,
        user_id TEXT
    );

    CREATE TABLE audit (
        seq    BIGINT NOT NULL PRIMARY KEY,
        at     BIGINT NOT NULL,
        actor  TEXT   NOT NULL,
        source TEXT   NOT NULL,
        action TEXT   NOT NULL,
        target TEXT   NOT NULL,
        detail TEXT   NOT NULL,
        hash   TEXT   NOT NULL
    );
    CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
    CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

    CREATE TABLE leases (
        name   TEXT   NOT NULL PRIMARY KEY,
        holder TEXT   NOT NULL,
        until  BIGINT NOT NULL
    );
    PRAGMA user_version = 2;
";

/// Tokens know their maker: the id of the token or admin token that created them. Existing ones have none. A paste token
/// is deleted with its maker. A replaced token knows its successor. New: the makers that were revoked while tokens that
/// they made stayed valid, so that a later revocation finds these.
const MAKERS: &str = "
    ALTER TABLE tokens ADD COLUMN maker TEXT;
    ALTER TABLE tokens ADD COLUMN replaced_by TEXT;
    ALTER TABLE paste_tokens ADD COLUMN maker TEXT REFERENCES tokens (id) ON DELETE CASCADE;
    ALTER TABLE admin_tokens ADD COLUMN maker TEXT;
    CREATE INDEX tokens_by_maker ON tokens (maker);
    CREATE INDEX tokens_by_successor ON tokens (replaced_by);
    CREATE INDEX paste_tokens_by_maker ON paste_tokens (maker);
    CREATE TABLE revoked_makers (
        id          TEXT NOT NULL PRIMARY KEY,
        maker       TEXT,
        replaced_by TEXT
    );
    CREATE INDEX admin_tokens_by_maker ON admin_tokens (maker);
    CREATE INDEX revoked_makers_by_maker ON revoked_makers (maker);
    CREATE INDEX revoked_makers_by_successor ON revoked_makers (replaced_by);
    PRAGMA user_version = 3;
";

/// A revoked maker has a user, or is an admin token, and a time: what is remembered of each user is bounded. The user of an
/// existing one is that of a token next to it in its chain.
const OWNERS_OF_MAKERS: &str = "
    ALTER TABLE revoked_makers ADD COLUMN user_id TEXT REFERENCES users (id) ON DELETE CASCADE;
    ALTER TABLE revoked_makers ADD COLUMN revoked_at BIGINT NOT NULL DEFAULT 0;
    UPDATE revoked_makers SET user_id = (
        SELECT t.user_id FROM tokens t WHERE t.maker = revoked_makers.id OR t.id = revoked_makers.replaced_by LIMIT 1
    ) WHERE id LIKE 'tok^_%' ESCAPE '^';
    CREATE INDEX revoked_makers_by_user ON revoked_makers (user_id, revoked_at, id);
    PRAGMA user_version = 4;
";

/// New: the answers of token endpoints that were not understood. They end with their login.
const KEPT_ANSWERS: &str = "
    CREATE TABLE kept_answers (
        owner       TEXT   NOT NULL,
        section     TEXT   NOT NULL,
        field       TEXT   NOT NULL,
        received_at BIGINT NOT NULL,
        sealed      BLOB   NOT NULL,
        PRIMARY KEY (owner, section, field, received_at),
        FOREIGN KEY (owner, section, field) REFERENCES credentials (owner, section, field) ON DELETE CASCADE
    );
    PRAGMA user_version = 5;
";

/// New: the usage ledger. A key is interned; roll-ups per hour and per day refer to it by its number, and so do single
/// exchanges. No row refers to a user or token by a foreign key: history outlives both.
const USAGE: &str = "
    CREATE TABLE usage_keys (
        id         INTEGER NOT NULL PRIMARY KEY,
        user_id    TEXT    NOT NULL,
        token_id   TEXT    NOT NULL,
        group_name TEXT    NOT NULL,
        provider   TEXT    NOT NULL,
        endpoint   TEXT    NOT NULL,
        model      TEXT    NOT NULL,
        context    BIGINT  NOT NULL,
        key_owner  TEXT    NOT NULL,
        last_day   BIGINT  NOT NULL,
        UNIQUE (user_id, token_id, group_name, provider, endpoint, model, context, key_owner)
    );
    CREATE TABLE usage_hours (
        hour              BIGINT NOT NULL,
        key               BIGINT NOT NULL,
        requests          BIGINT NOT NULL,
        refused           BIGINT NOT NULL,
        gateway_error     BIGINT NOT NULL,
        upstream_failed   BIGINT NOT NULL,
        upstream_limited  BIGINT NOT NULL,
        upstream_rejected BIGINT NOT NULL,
        upstream_error    BIGINT NOT NULL,
        cut               BIGINT NOT NULL,
        client_left       BIGINT NOT NULL,
        input             BIGINT NOT NULL,
        output            BIGINT NOT NULL,
        cache_read        BIGINT NOT NULL,
        cache_write       BIGINT NOT NULL,
        reasoning         BIGINT NOT NULL,
        audio_input       BIGINT NOT NULL,
        audio_output      BIGINT NOT NULL,
        images            BIGINT NOT NULL,
        characters        BIGINT NOT NULL,
        seconds           BIGINT NOT NULL,
        units             BIGINT NOT NULL,
        estimated_prompt  BIGINT NOT NULL,
        estimated_answer  BIGINT NOT NULL,
        not_counted       BIGINT NOT NULL,
        prompt_bytes      BIGINT NOT NULL,
        answer_bytes      BIGINT NOT NULL,
        PRIMARY KEY (hour, key)
    ) WITHOUT ROWID;
    CREATE TABLE usage_days (
        day               BIGINT NOT NULL,
        key               BIGINT NOT NULL,
        requests          BIGINT NOT NULL,
        refused           BIGINT NOT NULL,
        gateway_error     BIGINT NOT NULL,
        upstream_failed   BIGINT NOT NULL,
        upstream_limited  BIGINT NOT NULL,
        upstream_rejected BIGINT NOT NULL,
        upstream_error    BIGINT NOT NULL,
        cut               BIGINT NOT NULL,
        client_left       BIGINT NOT NULL,
        input             BIGINT NOT NULL,
        output            BIGINT NOT NULL,
        cache_read        BIGINT NOT NULL,
        cache_write       BIGINT NOT NULL,
        reasoning         BIGINT NOT NULL,
        audio_input       BIGINT NOT NULL,
        audio_output      BIGINT NOT NULL,
        images            BIGINT NOT NULL,
        characters        BIGINT NOT NULL,
        seconds           BIGINT NOT NULL,
        units             BIGINT NOT NULL,
        estimated_prompt  BIGINT NOT NULL,
        estimated_answer  BIGINT NOT NULL,
        not_counted       BIGINT NOT NULL,
        prompt_bytes      BIGINT NOT NULL,
        answer_bytes      BIGINT NOT NULL,
        PRIMARY KEY (day, key)
    ) WITHOUT ROWID;
    CREATE TABLE exchanges (
        seq              INTEGER NOT NULL PRIMARY KEY,
        ended_at         BIGINT NOT NULL,
        duration         BIGINT NOT NULL,
        first_byte       BIGINT,
        key              BIGINT NOT NULL,
        request_id       TEXT   NOT NULL,
        status           BIGINT,
        outcome          TEXT   NOT NULL,
        fault            TEXT,
        not_counted      TEXT,
        input            BIGINT NOT NULL,
        output           BIGINT NOT NULL,
        cache_read       BIGINT NOT NULL,
        cache_write      BIGINT NOT NULL,
        reasoning        BIGINT NOT NULL,
        audio_input      BIGINT NOT NULL,
        audio_output     BIGINT NOT NULL,
        images           BIGINT NOT NULL,
        characters       BIGINT NOT NULL,
        seconds          BIGINT NOT NULL,
        units            BIGINT NOT NULL,
        estimated_prompt BIGINT NOT NULL,
        estimated_answer BIGINT NOT NULL
    );
    CREATE TABLE usage_writers (
        id            TEXT   NOT NULL PRIMARY KEY,
        batch         BIGINT NOT NULL,
        last_exchange BIGINT NOT NULL,
        at            BIGINT NOT NULL
    );
    PRAGMA user_version = 6;
";

/// The tokens that go with the bytes of text. The bytes from before are dropped: they were not all of text alone.
const TEXT_TOKENS: &str = "
    ALTER TABLE usage_hours ADD COLUMN prompt_text_tokens BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE usage_hours ADD COLUMN answer_text_tokens BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE usage_days ADD COLUMN prompt_text_tokens BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE usage_days ADD COLUMN answer_text_tokens BIGINT NOT NULL DEFAULT 0;
    UPDATE usage_hours SET prompt_bytes = 0, answer_bytes = 0;
    UPDATE usage_days SET prompt_bytes = 0, answer_bytes = 0;
    PRAGMA user_version = 7;
";

/// New: sessions, which are tokens of the kind `session`. Admin tokens get a kind too: `admin` or `session`.
const SESSIONS: &str = "
    ALTER TABLE admin_tokens ADD COLUMN kind TEXT NOT NULL DEFAULT 'admin';
    PRAGMA user_version = 8;
";

/// Indexes for lists: of users by name, group and last use, and of the owners of a field.
const LISTS: &str = "
    CREATE INDEX users_by_folded_name ON users (name COLLATE NOCASE, id);
    CREATE INDEX users_by_group ON users (group_name);
    CREATE INDEX tokens_by_last_use ON tokens (user_id, last_used_at);
    CREATE INDEX paste_tokens_by_last_use ON paste_tokens (user_id, last_used_at);
    CREATE INDEX credentials_by_field ON credentials (section, field, origins, owner);
    PRAGMA user_version = 9;
";

/// The indexes that the audit log is searched by. The actor counts without its token, which has an index of its own.
const AUDIT_FILTERS: &str = "
    CREATE INDEX audit_by_actor ON audit (substr(actor, 1, instr(actor || ' token ', ' token ') - 1), seq);
    CREATE INDEX audit_by_token ON audit (substr(actor, instr(actor, ' token ') + 7), seq)
        WHERE instr(actor, ' token ') > 0;
    CREATE INDEX audit_by_action ON audit (action, seq);
    CREATE INDEX audit_by_target ON audit (target, seq);
    CREATE INDEX audit_by_source ON audit (source, seq);
    CREATE INDEX audit_by_time ON audit (at, seq);
    PRAGMA user_version = 10;
";

/// Counters of limits: what was used, by window, as text. Grants beyond them.
const LIMITS: &str = "
    CREATE TABLE limit_counters (
        limit_id   TEXT   NOT NULL,
        key        TEXT   NOT NULL,
        counted    TEXT   NOT NULL,
        updated_at BIGINT NOT NULL,
        PRIMARY KEY (limit_id, key)
    ) WITHOUT ROWID;
    CREATE TABLE limit_grants (
        limit_id   TEXT   NOT NULL,
        user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        amount     TEXT   NOT NULL,
        until      BIGINT NOT NULL,
        created_at BIGINT NOT NULL
    );
    CREATE INDEX limit_grants_by_user ON limit_grants (user_id);
    PRAGMA user_version = 11;
";

/// The newest schema that this version knows.
pub(super) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("there are few migrations")
}

/// Migrates the database to the newest schema: all migrations or none.
pub(super) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_sqlx(path, error);
    // A current database is only read: that waits for no lock, and needs no disk space.
    if version(connection).await.map_err(failed)? == known() {
        return Ok(());
    }
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(failed)?;
    let found = version(connection).await.map_err(failed)?;
    let done = usize::try_from(found)
        .map_err(|_| StoreError::Corrupt { path: path.to_owned(), detail: format!("schema {found}") })?;
    let Some(migrations) = MIGRATIONS.get(done..) else {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known: known() });
    };
    for &migration in migrations {
        sqlx::raw_sql(migration).execute(&mut *connection).await.map_err(failed)?;
    }
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await.map_err(failed)?;
    Ok(())
}

/// A table, index or trigger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SchemaObject {
    /// `table`, `index` or `trigger`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its definition without blanks and quotes, which depend on the version of `SQLite` that renamed a table.
    definition: String,
}

/// Everything that a database defines.
pub(super) async fn objects(connection: &mut SqliteConnection) -> sqlx::Result<BTreeSet<SchemaObject>> {
    let rows =
        sqlx::query("SELECT type, name, coalesce(sql, '') FROM sqlite_schema").fetch_all(connection).await?;
    let object = |row: &sqlx::sqlite::SqliteRow| {
        let definition: String = row.try_get(2)?;
        let definition = definition.replace(|one: char| one.is_whitespace() || one == '"', "");
        Ok(SchemaObject { kind: row.try_get(0)?, name: row.try_get(1)?, definition })
    };
    rows.iter().map(object).collect()
}

/// What a database of this schema defines, whichever one it was migrated from.
pub(super) async fn objects_of(schema: i64) -> sqlx::Result<BTreeSet<SchemaObject>> {
    let mut fresh = SqliteConnection::connect("sqlite::memory:").await?;
    let migrations = usize::try_from(schema).ok().and_then(|done| MIGRATIONS.get(..done));
    for &migration in migrations.unwrap_or_default() {
        sqlx::raw_sql(migration).execute(&mut fresh).await?;
    }
    let found = objects(&mut fresh).await?;
    fresh.close().await?;
    Ok(found)
}

pub(super) async fn version(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query("PRAGMA user_version").fetch_one(connection).await?.try_get(0)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        name::Owner,
        store::{Store, TokenHash, TokenKind},
    };

    #[tokio::test]
    async fn migration_from_the_first_schema_keeps_all_data() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(super::super::DATABASE);
        let mut old =
            SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
        sqlx::raw_sql(FIRST).execute(&mut old).await.unwrap();
        let (token, admin) = (TokenHash::of("token"), TokenHash::of("admin"));
        let rows = [
            "INSERT INTO users VALUES ('usr_0123456789abcdef', 'ada', 1)".to_owned(),
            format!(
                "INSERT INTO tokens VALUES ('{}', 'usr_0123456789abcdef', 'tg_1', 'ci', 2, 3)",
                token.hex()
            ),
            "INSERT INTO credentials VALUES ('usr_0123456789abcdef', 'demo', 'apiKey', x'01', 4)".to_owned(),
            format!("INSERT INTO admin_tokens VALUES ('{}', 'first start', 5)", admin.hex()),
            "INSERT INTO meta VALUES ('master_key_id', 'key')".to_owned(),
        ];
        sqlx::raw_sql(sqlx::AssertSqlSafe(rows.join(";"))).execute(&mut old).await.unwrap();
        old.close().await.unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let found = store.lookup_token(&token).await.unwrap().unwrap();
        let [credential] = found.credentials.as_slice() else { panic!("one credential") };
        assert_eq!((&credential.owner, &credential.origins), (&Owner::User(found.user.id.clone()), &None));
        assert_eq!((&*credential.sealed, found.user.name.as_str()), (&[1][..], "ada"));
        let token = found.token;
        assert_eq!((token.kind, token.label.as_deref()), (TokenKind::Both, Some("ci")));
        assert_eq!((token.created_at_ms, token.expires_at_ms), (2, Some(3)));
        assert_eq!(store.find_admin_token(&admin).await.unwrap().unwrap().label, "first start");
        assert_eq!(store.master_key_id().await.unwrap().as_deref(), Some("key"));
    }

    #[tokio::test]
    async fn tokens_from_before_makers_were_recorded_have_none() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(super::super::DATABASE);
        let mut old =
            SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
        let (token, paste) = (TokenHash::of("token"), TokenHash::of("a.b.c"));
        let rows = [
            FIRST.to_owned(),
            ACCOUNTS.to_owned(),
            "INSERT INTO users (id, name, created_at) VALUES ('usr_0123456789abcdef', 'ada', 1)".to_owned(),
            format!(
                "INSERT INTO tokens (hash, id, user_id, prefix, kind, created_at)
                 VALUES ('{}', 'tok_0123456789abcdef', 'usr_0123456789abcdef', 'tg_1', 'both', 2)",
                token.hex()
            ),
            format!(
                "INSERT INTO paste_tokens (hash, id, user_id, provider, scopes, section, field, created_at)
                 VALUES ('{}', 'tok_00000000000000aa', 'usr_0123456789abcdef', 'demo', '[\"demo\"]', 'demo', 'oauth', 3)",
                paste.hex()
            ),
        ];
        sqlx::raw_sql(sqlx::AssertSqlSafe(rows.join(";"))).execute(&mut old).await.unwrap();
        old.close().await.unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let found = store.lookup_token(&token).await.unwrap().unwrap().token;
        let pasted = store.lookup_paste_token(&paste).await.unwrap().unwrap().token;
        assert_eq!((found.maker, pasted.maker), (None, None));
        assert_eq!(store.tokens().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn revoked_makers_from_before_their_users_were_recorded_get_them() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(super::super::DATABASE);
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let mut old = SqliteConnection::connect(&url).await.unwrap();
        let rows = [
            FIRST,
            ACCOUNTS,
            MAKERS,
            "INSERT INTO users (id, name, created_at) VALUES ('usr_0123456789abcdef', 'ada', 1)",
            "INSERT INTO tokens (hash, id, user_id, prefix, kind, created_at, maker)
             VALUES ('aa', 'tok_1', 'usr_0123456789abcdef', 'tg_1', 'both', 2, 'tok_0'),
                    ('bb', 'tok_2', 'usr_0123456789abcdef', 'tg_2', 'both', 2, 'adm_0')",
            "INSERT INTO revoked_makers (id) VALUES ('tok_0'), ('adm_0')",
        ];
        sqlx::raw_sql(sqlx::AssertSqlSafe(rows.join(";"))).execute(&mut old).await.unwrap();
        old.close().await.unwrap();
        drop(Store::open(dir.path()).await.unwrap());
        let mut new = SqliteConnection::connect(&url).await.unwrap();
        let rows = sqlx::query("SELECT id, user_id FROM revoked_makers ORDER BY id")
            .fetch_all(&mut new)
            .await
            .unwrap();
        let users: Vec<(String, Option<String>)> =
            rows.iter().map(|row| (row.get("id"), row.get("user_id"))).collect();
        let user = Some("usr_0123456789abcdef".to_owned());
        assert_eq!(users, [("adm_0".to_owned(), None), ("tok_0".to_owned(), user)]);
    }

    #[tokio::test]
    async fn bytes_of_text_from_before_their_tokens_are_dropped() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(super::super::DATABASE);
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let mut old = SqliteConnection::connect(&url).await.unwrap();
        let zeros = ", 0".repeat(22);
        for migration in &MIGRATIONS[..6] {
            sqlx::raw_sql(*migration).execute(&mut old).await.unwrap();
        }
        for table in ["usage_hours", "usage_days"] {
            let row = format!("INSERT INTO {table} VALUES (1, 2, 3{zeros}, 400, 500)");
            sqlx::raw_sql(sqlx::AssertSqlSafe(row)).execute(&mut old).await.unwrap();
        }
        old.close().await.unwrap();
        drop(Store::open(dir.path()).await.unwrap());
        let mut new = SqliteConnection::connect(&url).await.unwrap();
        for table in ["usage_hours", "usage_days"] {
            let select = format!(
                "SELECT requests, prompt_bytes, answer_bytes, prompt_text_tokens, answer_text_tokens FROM {table}"
            );
            let row = sqlx::query(sqlx::AssertSqlSafe(select)).fetch_one(&mut new).await.unwrap();
            let found: Vec<i64> = (0..5).map(|column| row.get(column)).collect();
            assert_eq!(found, [3, 0, 0, 0, 0], "{table}");
        }
    }
}
