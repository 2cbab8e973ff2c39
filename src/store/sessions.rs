//! Sessions: tokens of browsers. A session has a maker, a token or an admin token, whose rights and scopes it has. It expires
//! no later than its maker, ends with it, and follows a rotation of it (see `revocation`).
//!
//! Bounded: a user has [`MAX_SESSIONS`], and so has each admin token. Of more, the oldest end.

use super::{
    Act, NewSession, Query, Result, Right, SessionMaker, Store, StoredAdminToken, TokenHash, TokenLookup,
    from_db,
    invalidation::Invalidates,
    to_db,
    tokens::{admin_token, join_credentials, token, user_and_credentials},
    writer::Transaction,
};
use crate::name::{AdminTokenId, TokenId, UserId};

/// The maximum number of sessions of a user, and of an admin token.
pub(super) const MAX_SESSIONS: i64 = 20;

/// Reads nothing but its maker: the token of the hash `$6`, of a kind that may make sessions. The label is that of the maker.
const INSERT: &str = "INSERT INTO tokens
         (hash, id, user_id, prefix, label, kind, scopes, created_at, expires_at, maker)
     SELECT $1, $2, user_id, $3, label, 'session', scopes, $4, MIN($5, COALESCE(expires_at, $5)), id
     FROM tokens WHERE hash = $6 AND kind IN ('manage', 'both') RETURNING expires_at, user_id";

/// The same for an admin token, whose id is `$6`.
const INSERT_ADMIN: &str = "INSERT INTO admin_tokens
         (hash, id, prefix, label, kind, created_at, expires_at, maker)
     SELECT $1, $2, $3, label, 'session', $4, MIN($5, COALESCE(expires_at, $5)), id
     FROM admin_tokens WHERE id = $6 AND kind = 'admin' RETURNING expires_at, id";

/// The sessions of the user `$1` that expired before `$2`, and the oldest of those beyond the maximum `$3`. The new one, `$4`,
/// stays.
const TRIM: &str = "DELETE FROM tokens WHERE kind = 'session' AND user_id = $1 AND (expires_at <= $2 OR id IN
     (SELECT id FROM tokens WHERE kind = 'session' AND user_id = $1 AND expires_at > $2 AND id <> $4
      ORDER BY created_at DESC, id LIMIT -1 OFFSET $3 - 1))";

/// The same of the admin token `$1`.
const TRIM_ADMIN: &str =
    "DELETE FROM admin_tokens WHERE kind = 'session' AND maker = $1 AND (expires_at <= $2 OR id IN
     (SELECT id FROM admin_tokens WHERE kind = 'session' AND maker = $1 AND expires_at > $2 AND id <> $4
      ORDER BY created_at DESC, id LIMIT -1 OFFSET $3 - 1))";

/// The sessions of a browser that signs in once more, by their hashes `$1`.
const REPLACE: &str = "DELETE FROM tokens WHERE kind = 'session'
     AND hash IN (SELECT value FROM json_each($1)) RETURNING user_id AS owner";
const REPLACE_ADMIN: &str = "DELETE FROM admin_tokens WHERE kind = 'session'
     AND hash IN (SELECT value FROM json_each($1)) RETURNING id AS owner";

// === impl Store: users ===

impl Store {
    /// Stores a session of the user whose token gives the right to it. Returns its expiry; `None` if that is no token that
    /// may make one: a session makes none.
    pub async fn add_session(&self, session: &NewSession<TokenId>, act: &Act) -> Result<Option<u64>> {
        let Some(maker) = act.right.as_ref().and_then(Right::token) else { return Ok(None) };
        let mut transaction = self.begin_for(act).await?;
        let replaced = self.replaced(&mut transaction, REPLACE, &session.replaces).await?;
        let insert = insert(INSERT, session.id.to_string(), session).bind(maker.hex());
        let Some(row) = transaction.fetch_optional(insert).await? else { return Ok(None) };
        let (user, expires_at_ms) = (self.user_id(&row, "user_id")?, from_db(self.get(&row, "expires_at")?));
        let trimmed =
            self.trim(&mut transaction, TRIM, [user.as_str(), session.id.as_str()], act.at_ms).await?;
        // The browser may have had a session of another user.
        let others = replaced.iter().any(|other| other != user.as_str());
        let invalidates = if others { Invalidates::Everybody } else { Invalidates::User(&user) };
        let ended = replaced.len() as u64 + trimmed;
        self.commit_act(transaction, invalidates, &with_ended(act, ended)).await?;
        Ok(Some(expires_at_ms))
    }

    /// Ends a session of a user. Returns false if it is none.
    pub async fn end_session(&self, user: &UserId, hash: &TokenHash, act: &Act) -> Result<bool> {
        let mut transaction = self.begin_for(act).await?;
        let delete = "DELETE FROM tokens WHERE kind = 'session' AND hash = $1 AND user_id = $2";
        let delete = sqlx::query(delete).bind(hash.hex()).bind(user.to_string());
        if self.step(&mut transaction, delete).await?.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit_act(transaction, Invalidates::User(user), act).await?;
        Ok(true)
    }

    /// Looks up the session with this hash, as [`Store::lookup_token`] does a token.
    pub async fn lookup_session(&self, hash: &TokenHash) -> Result<Option<TokenLookup>> {
        let query = concat!(
            "SELECT ",
            token!(),
            ", ",
            user_and_credentials!(),
            ", m.id AS maker_id, m.hash AS maker_hash, m.expires_at AS maker_expires_at
             FROM tokens t JOIN users u ON u.id = t.user_id JOIN tokens m ON m.id = t.maker
             ",
            join_credentials!(),
            " WHERE t.hash = $1 AND t.kind = 'session' ORDER BY c.owner, c.section, c.field"
        );
        let rows = self.read(sqlx::query(query).bind(hash.hex())).await?;
        let Some((found, row)) = self.token_lookup(&rows)?.zip(rows.first()) else { return Ok(None) };
        let id: &str = self.get(row, "maker_id")?;
        let maker = SessionMaker {
            id: TokenId::new(id).ok_or_else(|| self.corrupt(format!("`{id}` is not a token id")))?,
            hash: self.token_hash(row, "maker_hash")?,
            expires_at_ms: self.time(row, "maker_expires_at")?,
        };
        Ok(Some(TokenLookup { session_of: Some(maker), ..found }))
    }
}

// === impl Store: admins ===

impl Store {
    /// Stores a session of the admin token that gives the right to it, as [`Store::add_session`] does.
    pub async fn add_admin_session(
        &self,
        session: &NewSession<AdminTokenId>,
        act: &Act,
    ) -> Result<Option<u64>> {
        let Some(maker) = act.right.as_ref().and_then(Right::admin) else { return Ok(None) };
        let mut transaction = self.begin_for(act).await?;
        let replaced = self.replaced(&mut transaction, REPLACE_ADMIN, &session.replaces).await?;
        let insert = insert(INSERT_ADMIN, session.id.to_string(), session).bind(maker.to_string());
        let Some(row) = transaction.fetch_optional(insert).await? else { return Ok(None) };
        let expires_at_ms = from_db(self.get(&row, "expires_at")?);
        let trimmed =
            self.trim(&mut transaction, TRIM_ADMIN, [maker.as_str(), session.id.as_str()], act.at_ms).await?;
        let ended = replaced.len() as u64 + trimmed;
        self.commit_act(transaction, Invalidates::Everybody, &with_ended(act, ended)).await?;
        Ok(Some(expires_at_ms))
    }

    /// Ends a session of an admin. Returns false if it is none.
    pub async fn end_admin_session(&self, id: &AdminTokenId, act: &Act) -> Result<bool> {
        let mut transaction = self.begin_for(act).await?;
        let delete = "DELETE FROM admin_tokens WHERE kind = 'session' AND id = $1";
        let delete = sqlx::query(delete).bind(id.to_string());
        if self.step(&mut transaction, delete).await?.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit_act(transaction, Invalidates::Everybody, act).await?;
        Ok(true)
    }

    /// The session of an admin with this hash.
    pub async fn find_admin_session(&self, hash: &TokenHash) -> Result<Option<StoredAdminToken>> {
        let query =
            concat!("SELECT ", admin_token!(), " FROM admin_tokens WHERE hash = $1 AND kind = 'session'");
        let rows = self.read(sqlx::query(query).bind(hash.hex())).await?;
        rows.first().map(|row| self.admin_token(row)).transpose()
    }
}

// === impl Store: both ===

impl Store {
    /// Deletes the sessions with these hashes. Returns the owner of each.
    async fn replaced(
        &self,
        transaction: &mut Transaction,
        query: &'static str,
        hashes: &[TokenHash],
    ) -> Result<Vec<String>> {
        let hashes: Vec<String> = hashes.iter().map(TokenHash::hex).collect();
        let query = sqlx::query(query).bind(serde_json::Value::from(hashes).to_string());
        let rows = transaction.fetch_all(query).await?;
        rows.iter().map(|row| self.get(row, "owner")).collect()
    }

    /// Deletes sessions that expired, and those beyond the maximum. Returns the number of both.
    async fn trim(
        &self,
        transaction: &mut Transaction,
        query: &'static str,
        [owner, new]: [&str; 2],
        now_ms: u64,
    ) -> Result<u64> {
        let trim = sqlx::query(query).bind(owner.to_owned()).bind(to_db(now_ms));
        let trim = trim.bind(MAX_SESSIONS).bind(new.to_owned());
        Ok(self.step(transaction, trim).await?.rows_affected())
    }
}

fn insert<I>(query: &'static str, id: String, session: &NewSession<I>) -> Query {
    sqlx::query(query)
        .bind(session.hash.hex())
        .bind(id)
        .bind(session.prefix.clone())
        .bind(to_db(session.created_at_ms))
        .bind(to_db(session.expires_at_ms))
}

/// The audit entry of a sign-in, with the number of sessions that it ended.
fn with_ended(act: &Act, ended: u64) -> Act {
    let mut act = act.clone();
    act.detail["ended"] = ended.into();
    act
}
