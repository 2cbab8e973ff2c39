//! Sealed credentials, the id of the key that sealed them, and admin tokens.

use sqlx::{Sqlite, Transaction};

use super::{
    ChangeOutcome, CredentialChange, Query, Replace, Result, SealedCredential, Store, TokenHash, to_db,
};
use crate::name::UserId;

pub(super) const MASTER_KEY_ID: &str = "master_key_id";

// === impl Store: credentials and the master key's id ===

impl Store {
    /// A user's credentials, by section and field.
    pub async fn credentials(&self, user: &UserId) -> Result<Vec<SealedCredential>> {
        let query = "SELECT section, field, sealed, updated_at FROM credentials
             WHERE user_id = $1 ORDER BY section, field";
        let rows = self.read(sqlx::query(query).bind(user.to_string())).await?;
        rows.iter().map(|row| self.credential(row)).collect()
    }

    /// Changes a user's credentials: all of `changes`, in their order, or none. `key_id` is that of the
    /// master key that sealed them.
    pub async fn change_credentials(
        &self,
        user: &UserId,
        key_id: &str,
        changes: &[CredentialChange],
    ) -> Result<ChangeOutcome> {
        let mut transaction = self.begin().await?;
        if !self.exists(&mut transaction, user).await? {
            return Ok(ChangeOutcome::UnknownUser);
        }
        let puts = changes.iter().any(|change| matches!(change, CredentialChange::Put(_)));
        if puts && self.recorded_key(&mut transaction).await?.as_deref() != Some(key_id) {
            return Ok(ChangeOutcome::OtherKey);
        }
        let mut rows = 0;
        for change in changes {
            rows += self.step(&mut transaction, change_query(user, change)).await?.rows_affected();
        }
        self.commit(transaction).await?;
        Ok(ChangeOutcome::Done { rows })
    }

    /// Removes one credential; false if there was none. This needs no master key.
    pub async fn delete_credential(&self, user: &UserId, section: &str, field: &str) -> Result<bool> {
        let change = CredentialChange::Remove { section: section.to_owned(), field: field.to_owned() };
        Ok(self.write(change_query(user, &change)).await? > 0)
    }

    /// The id of the master key that the store was set up with, if it has been.
    pub async fn master_key_id(&self) -> Result<Option<String>> {
        let query = sqlx::query("SELECT value FROM meta WHERE name = $1").bind(MASTER_KEY_ID);
        self.read(query).await?.first().map(|row| self.get(row, "value")).transpose()
    }

    /// Records the id of the master key. If another one is recorded and stays, it returns false.
    pub async fn adopt_master_key(&self, key_id: &str, replace: Replace) -> Result<bool> {
        if self.master_key_id().await?.as_deref() == Some(key_id) {
            return Ok(true);
        }
        let mut transaction = self.begin().await?;
        let recorded = self.recorded_key(&mut transaction).await?;
        if recorded.as_deref() == Some(key_id) {
            return Ok(true);
        }
        if recorded.is_some() && replace == Replace::Never {
            return Ok(false);
        }
        let sealed = sqlx::query("SELECT 1 FROM credentials LIMIT 1").fetch_optional(&mut *transaction).await;
        if sealed.map_err(|error| self.failed(error))?.is_some() {
            return Ok(false);
        }
        let record = "INSERT INTO meta (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let record = sqlx::query(record).bind(MASTER_KEY_ID).bind(key_id.to_owned());
        self.step(&mut transaction, record).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    async fn recorded_key(&self, transaction: &mut Transaction<'static, Sqlite>) -> Result<Option<String>> {
        let query = sqlx::query("SELECT value FROM meta WHERE name = $1").bind(MASTER_KEY_ID);
        let row = query.fetch_optional(&mut **transaction).await.map_err(|error| self.failed(error))?;
        row.map(|row| self.get(&row, "value")).transpose()
    }
}

// === impl Store: admin tokens ===

impl Store {
    /// Whether anybody could be let in as the admin.
    pub async fn has_admin_token(&self) -> Result<bool> {
        Ok(!self.read(sqlx::query("SELECT 1 FROM admin_tokens LIMIT 1")).await?.is_empty())
    }

    /// Lets an admin token in from now on.
    pub async fn add_admin_token(&self, hash: &TokenHash, label: &str, created_at_ms: u64) -> Result<()> {
        let query = sqlx::query("INSERT INTO admin_tokens (hash, label, created_at) VALUES ($1, $2, $3)")
            .bind(hash.hex())
            .bind(label.to_owned())
            .bind(to_db(created_at_ms));
        self.write(query).await?;
        Ok(())
    }

    /// Whether this is an admin token's hash.
    pub async fn is_admin_token(&self, hash: &TokenHash) -> Result<bool> {
        let query = sqlx::query("SELECT 1 FROM admin_tokens WHERE hash = $1").bind(hash.hex());
        Ok(!self.read(query).await?.is_empty())
    }
}

fn change_query(user: &UserId, change: &CredentialChange) -> Query {
    match change {
        CredentialChange::Put(put) => {
            let query = "INSERT INTO credentials (user_id, section, field, sealed, updated_at)
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (user_id, section, field)
                 DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at";
            sqlx::query(query)
                .bind(user.to_string())
                .bind(put.section.clone())
                .bind(put.field.clone())
                .bind(put.sealed.clone())
                .bind(to_db(put.updated_at_ms))
        }
        CredentialChange::Remove { section, field } => {
            sqlx::query("DELETE FROM credentials WHERE user_id = $1 AND section = $2 AND field = $3")
                .bind(user.to_string())
                .bind(section.clone())
                .bind(field.clone())
        }
        CredentialChange::RemoveAll => {
            sqlx::query("DELETE FROM credentials WHERE user_id = $1").bind(user.to_string())
        }
    }
}
