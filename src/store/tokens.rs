//! The SQL statements on tokens: of users, paste tokens, and of admins. Only their hashes are stored. Revocation and
//! rotation are in `revocation`; sessions are in `sessions`.

use sqlx::sqlite::SqliteRow;

use super::{
    Act, Maker, NewAdminToken, NewPasteToken, NewToken, Query, Result, Store, StoreError, StoredAdminToken,
    StoredToken, TokenHash, TokenKind, TokenLookup, from_db, invalidation::Invalidates, to_db,
    writer::Transaction,
};
use crate::name::{AdminTokenId, FileName, Scope, TokenId, UserId};

/// The maximum number of tokens of a user.
const MAX_TOKENS: u64 = 1000;
/// The maximum number of replaced paste tokens of a user and provider, within the scopes of one token, that are still valid.
const MAX_REPLACED_PASTES: u64 = 100;
/// The time that an expired token is still listed, in milliseconds: a day.
const EXPIRED_KEPT_MS: u64 = 86_400_000;

/// The columns of a `StoredToken`.
macro_rules! token {
    () => {
        "t.hash AS token_hash, t.id AS token_id, t.prefix, t.label, t.kind, t.scopes, NULL AS provider, t.user_id,
         u.name AS user_name, t.created_at AS token_created_at, t.expires_at, t.replaced_at, t.last_used_at, t.maker"
    };
}

/// The same for a paste token.
macro_rules! paste_token {
    () => {
        "t.hash AS token_hash, t.id AS token_id, '' AS prefix, NULL AS label, 'proxy' AS kind, t.scopes, t.provider,
         t.user_id, u.name AS user_name, t.created_at AS token_created_at, t.expires_at, NULL AS replaced_at,
         t.last_used_at, t.maker"
    };
}

/// The columns of a user, and of the credentials that the user may use.
macro_rules! user_and_credentials {
    () => {
        "u.id, u.name, u.ip, u.group_name, u.created_at, u.disabled_at,
         c.owner, c.section, c.field, c.sealed, c.origins, c.updated_at"
    };
}

/// The columns of a `StoredAdminToken`.
macro_rules! admin_token {
    () => {
        "id, prefix, label, kind, created_at, expires_at, last_used_at, maker"
    };
}

/// True if all scopes of a list lie within another list: see [`Scope::includes`].
macro_rules! scopes_within {
    ($inner:literal, $outer:literal) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM json_each(",
            $inner,
            ") inner_scope WHERE NOT EXISTS (SELECT 1 FROM json_each(",
            $outer,
            ") outer_scope WHERE outer_scope.value = inner_scope.value
                 OR outer_scope.value || '/' = substr(inner_scope.value, 1, length(outer_scope.value) + 1)))"
        )
    };
}

macro_rules! join_credentials {
    () => {
        "LEFT JOIN credentials c ON c.owner IN (u.id, 'group:' || u.group_name, 'everybody')"
    };
}

pub(super) use {admin_token, join_credentials, scopes_within, token, user_and_credentials};

// === impl Store: users' tokens ===

impl Store {
    /// Stores a token of a user. It expires no later than the token by whose right it is created. Returns false if no such
    /// user exists.
    pub async fn add_token(&self, user: &UserId, token: &NewToken, act: &Act) -> Result<bool> {
        let mut transaction = self.begin_for(act).await?;
        if !self.exists(&mut transaction, user).await? {
            return Ok(false);
        }
        self.enforce_token_limit(&mut transaction, user, act.at_ms).await?;
        let maker = self.maker(&mut transaction, act).await?;
        let token = NewToken { expires_at_ms: maker.limit(token.expires_at_ms), ..token.clone() };
        self.step(&mut transaction, insert_token(user, &token, maker.id)).await?;
        self.commit_act(transaction, Invalidates::User(user), act).await?;
        Ok(true)
    }

    /// Deletes tokens that expired more than a day ago. Fails if the user has the maximum number even so.
    pub(super) async fn enforce_token_limit(
        &self,
        transaction: &mut Transaction,
        user: &UserId,
        now_ms: u64,
    ) -> Result<()> {
        let before = to_db(now_ms.saturating_sub(EXPIRED_KEPT_MS));
        loop {
            let expired = "SELECT id FROM tokens WHERE user_id = $1 AND expires_at <= $2 LIMIT 1";
            let expired = sqlx::query(expired).bind(user.to_string()).bind(before);
            let Some(row) = transaction.fetch_optional(expired).await? else { break };
            self.take_out(transaction, self.get(&row, "id")?).await?;
        }
        let count =
            sqlx::query("SELECT COUNT(*) AS count FROM tokens WHERE user_id = $1 AND kind <> 'session'");
        let row = transaction.fetch_optional(count.bind(user.to_string())).await?;
        let count = row.map_or(Ok(0), |row| self.get(&row, "count").map(from_db))?;
        if count >= MAX_TOKENS { Err(StoreError::TooManyTokens { limit: MAX_TOKENS }) } else { Ok(()) }
    }

    /// All tokens of users, paste tokens included, by owner, oldest first.
    pub async fn tokens(&self) -> Result<Vec<StoredToken>> {
        let query = concat!(
            "SELECT ",
            token!(),
            ", u.created_at AS user_created_at FROM tokens t JOIN users u ON u.id = t.user_id
             UNION ALL SELECT ",
            paste_token!(),
            ", u.created_at FROM paste_tokens t JOIN users u ON u.id = t.user_id
             ORDER BY user_created_at, user_id, token_created_at, token_id"
        );
        let rows = self.read(sqlx::query(query)).await?;
        rows.iter().map(|row| self.token(row)).collect()
    }

    /// A user's tokens, paste tokens included, oldest first: those after a creation time and an id, at most `limit`.
    pub async fn tokens_page(
        &self,
        user: &UserId,
        after: Option<(u64, &TokenId)>,
        limit: Option<u64>,
    ) -> Result<Vec<StoredToken>> {
        let query = concat!(
            "SELECT ",
            token!(),
            " FROM tokens t JOIN users u ON u.id = t.user_id
             WHERE t.user_id = $1 AND (t.created_at > $2 OR (t.created_at = $2 AND t.id > $3))
             UNION ALL SELECT ",
            paste_token!(),
            " FROM paste_tokens t JOIN users u ON u.id = t.user_id
             WHERE t.user_id = $1 AND (t.created_at > $2 OR (t.created_at = $2 AND t.id > $3))
             ORDER BY token_created_at, token_id LIMIT $4"
        );
        let (at, id) = after.map_or((-1, String::new()), |(at, id)| (to_db(at), id.to_string()));
        let query = sqlx::query(query).bind(user.to_string()).bind(at).bind(id);
        let rows = self.read(query.bind(limit.map_or(-1, to_db))).await?;
        rows.iter().map(|row| self.token(row)).collect()
    }

    /// Records the last use of tokens of every kind. No cache holds it.
    pub async fn record_last_use(&self, used: &[(TokenHash, u64)]) -> Result<()> {
        let mut transaction = self.begin().await?;
        for (hash, at_ms) in used {
            for update in [
                "UPDATE tokens SET last_used_at = $1 WHERE hash = $2 AND COALESCE(last_used_at, 0) < $1",
                "UPDATE paste_tokens SET last_used_at = $1 WHERE hash = $2 AND COALESCE(last_used_at, 0) < $1",
                "UPDATE admin_tokens SET last_used_at = $1 WHERE hash = $2 AND COALESCE(last_used_at, 0) < $1",
            ] {
                let update = sqlx::query(update).bind(to_db(*at_ms)).bind(hash.hex());
                self.step(&mut transaction, update).await?;
            }
        }
        self.commit(transaction, Invalidates::Nothing).await
    }

    /// The number of tokens of every kind.
    pub async fn count_tokens(&self) -> Result<u64> {
        let query = "SELECT (SELECT COUNT(*) FROM tokens) + (SELECT COUNT(*) FROM paste_tokens)
             + (SELECT COUNT(*) FROM admin_tokens) AS count";
        let rows = self.read(sqlx::query(query)).await?;
        rows.first().map_or(Ok(0), |row| Ok(from_db(self.get(row, "count")?)))
    }

    /// The hashes of a user's tokens of every kind; without a user, those of the admin tokens.
    pub async fn token_hashes_of(&self, user: Option<&UserId>) -> Result<Vec<TokenHash>> {
        let query = match user {
            Some(user) => sqlx::query(
                "SELECT hash FROM tokens WHERE user_id = $1
                 UNION ALL SELECT hash FROM paste_tokens WHERE user_id = $1",
            )
            .bind(user.to_string()),
            None => sqlx::query("SELECT hash FROM admin_tokens"),
        };
        let rows = self.read(query).await?;
        rows.iter().map(|row| self.token_hash(row, "hash")).collect()
    }

    /// The hashes of tokens of every kind after one, in order; at most `limit`.
    pub async fn token_hashes_after(&self, after: Option<&TokenHash>, limit: u64) -> Result<Vec<TokenHash>> {
        let query = "SELECT hash FROM tokens WHERE hash > $1
             UNION ALL SELECT hash FROM paste_tokens WHERE hash > $1
             UNION ALL SELECT hash FROM admin_tokens WHERE hash > $1 ORDER BY hash LIMIT $2";
        let after = after.map_or_else(String::new, TokenHash::hex);
        let rows = self.read(sqlx::query(query).bind(after).bind(to_db(limit))).await?;
        rows.iter().map(|row| self.token_hash(row, "hash")).collect()
    }

    /// Looks up the token with this hash, its user and their credentials: one statement, for a consistent read. A session is
    /// none of these.
    pub async fn lookup_token(&self, hash: &TokenHash) -> Result<Option<TokenLookup>> {
        let query = concat!(
            "SELECT ",
            token!(),
            ", ",
            user_and_credentials!(),
            " FROM tokens t JOIN users u ON u.id = t.user_id
             ",
            join_credentials!(),
            " WHERE t.hash = $1 AND t.kind <> 'session' ORDER BY c.owner, c.section, c.field"
        );
        let rows = self.read(sqlx::query(query).bind(hash.hex())).await?;
        self.token_lookup(&rows)
    }

    pub(super) fn token_lookup(&self, rows: &[SqliteRow]) -> Result<Option<TokenLookup>> {
        let Some(first) = rows.first() else { return Ok(None) };
        let mut credentials = Vec::new();
        for row in rows {
            if self.get::<Option<&str>>(row, "owner")?.is_some() {
                credentials.push(self.credential(row)?);
            }
        }
        Ok(Some(TokenLookup {
            user: self.user_row(first)?,
            token: self.token(first)?,
            credentials,
            session_of: None,
        }))
    }

    fn token(&self, row: &SqliteRow) -> Result<StoredToken> {
        let id: &str = self.get(row, "token_id")?;
        let kind: &str = self.get(row, "kind")?;
        Ok(StoredToken {
            id: TokenId::new(id).ok_or_else(|| self.corrupt(format!("`{id}` is not a token id")))?,
            hash: self.token_hash(row, "token_hash")?,
            prefix: self.get(row, "prefix")?,
            label: self.get(row, "label")?,
            kind: TokenKind::parse(kind)
                .ok_or_else(|| self.corrupt(format!("`{kind}` is not a kind of token")))?,
            scopes: self.scopes(row)?,
            paste: self.provider(row)?,
            user: self.user_id(row, "user_id")?,
            user_name: self.get(row, "user_name")?,
            created_at_ms: from_db(self.get(row, "token_created_at")?),
            expires_at_ms: self.time(row, "expires_at")?,
            replaced_at_ms: self.time(row, "replaced_at")?,
            last_used_at_ms: self.time(row, "last_used_at")?,
            maker: self.stored_maker(row, Maker::parse)?,
        })
    }

    fn stored_maker<T>(&self, row: &SqliteRow, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(id) = self.get::<Option<&str>>(row, "maker")? else { return Ok(None) };
        parse(id).map(Some).ok_or_else(|| self.corrupt(format!("`{id}` is not the id of a token's maker")))
    }

    pub(super) fn token_hash(&self, row: &SqliteRow, column: &'static str) -> Result<TokenHash> {
        let hash = TokenHash::from_hex(self.get(row, column)?);
        hash.ok_or_else(|| self.corrupt("the hash of a token cannot be read".to_owned()))
    }

    fn provider(&self, row: &SqliteRow) -> Result<Option<FileName>> {
        let Some(name) = self.get::<Option<&str>>(row, "provider")? else { return Ok(None) };
        let provider = FileName::new(name);
        provider.map(Some).ok_or_else(|| self.corrupt(format!("`{name}` is not a provider name")))
    }

    /// Unreadable scopes are an error: without scopes a token reaches everything.
    fn scopes(&self, row: &SqliteRow) -> Result<Option<Vec<Scope>>> {
        let Some(text) = self.get::<Option<&str>>(row, "scopes")? else { return Ok(None) };
        let names: Option<Vec<String>> = serde_json::from_str(text).ok();
        let scopes = names.and_then(|names| names.iter().map(|name| Scope::parse(name)).collect());
        scopes.map(Some).ok_or_else(|| self.corrupt("the scopes of a token cannot be read".to_owned()))
    }
}

// === impl Store: paste tokens ===

impl Store {
    /// Stores a paste token of a user and provider. It expires no later than the token by whose right it is created. Earlier
    /// ones that reach no further expire at `old_expires_at_ms`, or at their own expiry if that is earlier; the oldest of too
    /// many at once.
    /// Returns false if the user or the login does not exist.
    pub async fn replace_paste_token(
        &self,
        token: &NewPasteToken,
        old_expires_at_ms: u64,
        act: &Act,
    ) -> Result<bool> {
        let mut transaction = self.begin_for(act).await?;
        let login = "SELECT 1 FROM credentials c JOIN users u ON u.id = c.owner
             WHERE c.owner = $1 AND c.section = $2 AND c.field = $3";
        let login = sqlx::query(login)
            .bind(token.user.to_string())
            .bind(token.section.clone())
            .bind(token.field.clone());
        if transaction.fetch_optional(login).await?.is_none() {
            return Ok(false);
        }
        self.put_paste_token(&mut transaction, token, old_expires_at_ms, act).await?;
        self.commit_act(transaction, Invalidates::User(&token.user), act).await?;
        Ok(true)
    }

    /// Stores a paste token in the transaction that checked or stored its login. It expires no later than the token by
    /// whose right it is created.
    pub(super) async fn put_paste_token(
        &self,
        transaction: &mut Transaction,
        token: &NewPasteToken,
        old_expires_at_ms: u64,
        act: &Act,
    ) -> Result<()> {
        let maker = self.maker(transaction, act).await?;
        let token = NewPasteToken { expires_at_ms: maker.limit(token.expires_at_ms), ..token.clone() };
        for query in [
            "DELETE FROM paste_tokens WHERE user_id = $1 AND provider = $2 AND expires_at <= $3",
            concat!(
                "UPDATE paste_tokens SET expires_at = $4 WHERE user_id = $1 AND provider = $2
                 AND (expires_at IS NULL OR expires_at > $4) AND ",
                scopes_within!("scopes", "$6")
            ),
            concat!(
                "DELETE FROM paste_tokens WHERE id IN (SELECT id FROM paste_tokens WHERE user_id = $1
                 AND provider = $2 AND ",
                scopes_within!("scopes", "$6"),
                " ORDER BY created_at DESC, id LIMIT -1 OFFSET $5)"
            ),
        ] {
            let query = sqlx::query(query)
                .bind(token.user.to_string())
                .bind(token.provider.to_string())
                .bind(to_db(act.at_ms))
                .bind(to_db(old_expires_at_ms))
                .bind(to_db(MAX_REPLACED_PASTES))
                .bind(scopes_json(&token.scopes));
            self.step(transaction, query).await?;
        }
        self.step(transaction, insert_paste_token(&token, maker.id)).await?;
        Ok(())
    }

    /// Looks up the paste token with this hash, its user and their credentials.
    pub async fn lookup_paste_token(&self, hash: &TokenHash) -> Result<Option<TokenLookup>> {
        let query = concat!(
            "SELECT ",
            paste_token!(),
            ", ",
            user_and_credentials!(),
            " FROM paste_tokens t JOIN users u ON u.id = t.user_id
             ",
            join_credentials!(),
            " WHERE t.hash = $1 ORDER BY c.owner, c.section, c.field"
        );
        let rows = self.read(sqlx::query(query).bind(hash.hex())).await?;
        self.token_lookup(&rows)
    }
}

// === impl Store: admin tokens ===

impl Store {
    /// True if an admin token exists.
    pub async fn has_admin_token(&self) -> Result<bool> {
        Ok(!self
            .read(sqlx::query("SELECT 1 FROM admin_tokens WHERE kind = 'admin' LIMIT 1"))
            .await?
            .is_empty())
    }

    /// Stores an admin token.
    pub async fn add_admin_token(&self, token: &NewAdminToken, act: &Act) -> Result<()> {
        let mut transaction = self.begin_for(act).await?;
        let maker = self.maker(&mut transaction, act).await?;
        let insert = "INSERT INTO admin_tokens (hash, id, prefix, label, created_at, expires_at, maker)
             VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let insert = sqlx::query(insert)
            .bind(token.hash.hex())
            .bind(token.id.to_string())
            .bind(token.prefix.clone())
            .bind(token.label.clone())
            .bind(to_db(token.created_at_ms))
            .bind(token.expires_at_ms.map(to_db))
            .bind(maker.id);
        self.step(&mut transaction, insert).await?;
        // A cache may hold that this token was refused.
        self.commit_act(transaction, Invalidates::Everybody, act).await
    }

    /// All admin tokens and their sessions, oldest first.
    pub async fn admin_tokens(&self) -> Result<Vec<StoredAdminToken>> {
        let query = concat!("SELECT ", admin_token!(), " FROM admin_tokens ORDER BY created_at, id");
        let rows = self.read(sqlx::query(query)).await?;
        rows.iter().map(|row| self.admin_token(row)).collect()
    }

    /// The admin token with this hash. A session is none.
    pub async fn find_admin_token(&self, hash: &TokenHash) -> Result<Option<StoredAdminToken>> {
        let query =
            concat!("SELECT ", admin_token!(), " FROM admin_tokens WHERE hash = $1 AND kind = 'admin'");
        let rows = self.read(sqlx::query(query).bind(hash.hex())).await?;
        rows.first().map(|row| self.admin_token(row)).transpose()
    }

    fn is_admin_session(&self, row: &SqliteRow) -> Result<bool> {
        match self.get(row, "kind")? {
            "session" => Ok(true),
            "admin" => Ok(false),
            other => Err(self.corrupt(format!("`{other}` is not a kind of admin token"))),
        }
    }

    pub(super) fn admin_token(&self, row: &SqliteRow) -> Result<StoredAdminToken> {
        let id: &str = self.get(row, "id")?;
        Ok(StoredAdminToken {
            id: AdminTokenId::new(id)
                .ok_or_else(|| self.corrupt(format!("`{id}` is not an admin token id")))?,
            prefix: self.get(row, "prefix")?,
            label: self.get(row, "label")?,
            is_session: self.is_admin_session(row)?,
            created_at_ms: from_db(self.get(row, "created_at")?),
            expires_at_ms: self.time(row, "expires_at")?,
            last_used_at_ms: self.time(row, "last_used_at")?,
            maker: self.stored_maker(row, AdminTokenId::new)?,
        })
    }
}

pub(super) fn insert_token(user: &UserId, token: &NewToken, maker: Option<String>) -> Query {
    let query = "INSERT INTO tokens
             (hash, id, user_id, prefix, label, kind, scopes, created_at, expires_at, maker)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    sqlx::query(query)
        .bind(token.hash.hex())
        .bind(token.id.to_string())
        .bind(user.to_string())
        .bind(token.prefix.clone())
        .bind(token.label.clone())
        .bind(token.kind.as_str())
        .bind(token.scopes.as_deref().map(scopes_json))
        .bind(to_db(token.created_at_ms))
        .bind(token.expires_at_ms.map(to_db))
        .bind(maker)
}

pub(super) fn insert_paste_token(token: &NewPasteToken, maker: Option<String>) -> Query {
    let query = "INSERT INTO paste_tokens
             (hash, id, user_id, provider, scopes, section, field, created_at, expires_at, maker)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    sqlx::query(query)
        .bind(token.hash.hex())
        .bind(token.id.to_string())
        .bind(token.user.to_string())
        .bind(token.provider.to_string())
        .bind(scopes_json(&token.scopes))
        .bind(token.section.clone())
        .bind(token.field.clone())
        .bind(to_db(token.created_at_ms))
        .bind(token.expires_at_ms.map(to_db))
        .bind(maker)
}

/// The database form of scopes.
fn scopes_json(scopes: &[Scope]) -> String {
    let names: Vec<String> = scopes.iter().map(Scope::to_string).collect();
    serde_json::Value::from(names).to_string()
}
