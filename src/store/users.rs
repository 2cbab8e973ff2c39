//! Users and their tokens: the statements, and how rows become what they mean.

use sqlx::sqlite::SqliteRow;

use super::{Creation, Found, Names, NewToken, Query, Result, Store, Token, TokenHash, User, from_db, to_db};
use crate::name::UserId;

impl Store {
    /// Stores a user together with the first token.
    pub async fn create_user(&self, user: &User, token: &NewToken, names: Names) -> Result<Creation> {
        let mut transaction = self.begin().await?;
        if names == Names::Unique {
            let same =
                sqlx::query("SELECT id FROM users WHERE name = $1 ORDER BY id").bind(user.name.clone());
            let same = same.fetch_optional(&mut *transaction).await.map_err(|error| self.failed(error))?;
            if let Some(row) = same {
                return Ok(Creation::NameTaken(self.user_id(&row, "id")?));
            }
        }
        let insert = sqlx::query("INSERT INTO users (id, name, created_at) VALUES ($1, $2, $3)")
            .bind(user.id.to_string())
            .bind(user.name.clone())
            .bind(to_db(user.created_at_ms));
        self.step(&mut transaction, insert).await?;
        self.step(&mut transaction, insert_token(&user.id, token)).await?;
        self.commit(transaction).await?;
        Ok(Creation::Created)
    }

    /// All users, oldest first.
    pub async fn users(&self) -> Result<Vec<User>> {
        let rows =
            self.read(sqlx::query("SELECT id, name, created_at FROM users ORDER BY created_at, id")).await?;
        rows.iter().map(|row| self.user(row)).collect()
    }

    /// The user with this id, or those with this name.
    pub async fn find_users(&self, id_or_name: &str) -> Result<Vec<User>> {
        let query =
            "SELECT id, name, created_at FROM users WHERE id = $1 OR name = $1 ORDER BY created_at, id";
        let rows = self.read(sqlx::query(query).bind(id_or_name.to_owned())).await?;
        rows.iter().map(|row| self.user(row)).collect()
    }

    /// Removes a user with all tokens and credentials; false if there was none.
    pub async fn delete_user(&self, user: &UserId) -> Result<bool> {
        let query = sqlx::query("DELETE FROM users WHERE id = $1").bind(user.to_string());
        Ok(self.write(query).await? > 0)
    }

    /// Gives a user a further token; false if there is no such user.
    pub async fn add_token(&self, user: &UserId, token: &NewToken) -> Result<bool> {
        let mut transaction = self.begin().await?;
        if !self.exists(&mut transaction, user).await? {
            return Ok(false);
        }
        self.step(&mut transaction, insert_token(user, token)).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// All tokens, by owner, oldest first.
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        let query = "SELECT t.hash, t.prefix, t.label, t.user_id, u.name, t.created_at, t.expires_at
             FROM tokens t JOIN users u ON u.id = t.user_id
             ORDER BY u.created_at, u.id, t.created_at, t.hash";
        let rows = self.read(sqlx::query(query)).await?;
        rows.iter().map(|row| self.token(row)).collect()
    }

    /// Revokes tokens, all at once; tells how many there were.
    pub async fn revoke_tokens(&self, hashes: &[TokenHash]) -> Result<u64> {
        let mut transaction = self.begin().await?;
        let mut revoked = 0;
        for hash in hashes {
            let delete = sqlx::query("DELETE FROM tokens WHERE hash = $1").bind(hash.hex());
            revoked += self.step(&mut transaction, delete).await?.rows_affected();
        }
        self.commit(transaction).await?;
        Ok(revoked)
    }

    /// What the token with this hash leads to. One statement, so that it is of one moment.
    pub async fn lookup_token(&self, hash: &TokenHash) -> Result<Option<Found>> {
        let query =
            "SELECT u.id, u.name, u.created_at, t.expires_at, c.section, c.field, c.sealed, c.updated_at
             FROM tokens t JOIN users u ON u.id = t.user_id LEFT JOIN credentials c ON c.user_id = u.id
             WHERE t.hash = $1 ORDER BY c.section, c.field";
        let rows = self.read(sqlx::query(query).bind(hash.hex())).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let user = self.user(first)?;
        let expires_at_ms = self.get::<Option<i64>>(first, "expires_at")?.map(from_db);
        let mut credentials = Vec::new();
        for row in &rows {
            if self.get::<Option<String>>(row, "section")?.is_some() {
                credentials.push(self.credential(row)?);
            }
        }
        Ok(Some(Found { user, expires_at_ms, credentials }))
    }

    fn user(&self, row: &SqliteRow) -> Result<User> {
        Ok(User {
            id: self.user_id(row, "id")?,
            name: self.get(row, "name")?,
            created_at_ms: from_db(self.get(row, "created_at")?),
        })
    }

    fn token(&self, row: &SqliteRow) -> Result<Token> {
        let hash = TokenHash::from_hex(self.get(row, "hash")?);
        Ok(Token {
            hash: hash.ok_or_else(|| self.corrupt("a token's hash is none".to_owned()))?,
            prefix: self.get(row, "prefix")?,
            label: self.get(row, "label")?,
            user: self.user_id(row, "user_id")?,
            user_name: self.get(row, "name")?,
            created_at_ms: from_db(self.get(row, "created_at")?),
            expires_at_ms: self.get::<Option<i64>>(row, "expires_at")?.map(from_db),
        })
    }
}

fn insert_token(user: &UserId, token: &NewToken) -> Query {
    let query = "INSERT INTO tokens (hash, user_id, prefix, label, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)";
    sqlx::query(query)
        .bind(token.hash.hex())
        .bind(user.to_string())
        .bind(token.prefix.clone())
        .bind(token.label.clone())
        .bind(to_db(token.created_at_ms))
        .bind(token.expires_at_ms.map(to_db))
}
