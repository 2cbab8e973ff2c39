//! The audit log: every change to accounts, in the transaction that makes it, each entry hashed with the one
//! before it, so that none can be altered or taken out unseen. It is only ever added to.
//!
//! Holds no secret: what is changed is named, never told.

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use super::{Result, Store, from_db, hex, to_db};

/// Something that somebody did.
#[derive(Debug, Clone)]
pub struct Act {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who: a kind and an id, such as `admin adm_…`, `user usr_…`, `uid 1000`.
    pub actor: String,
    /// From where: an address, or `local`.
    pub source: String,
    /// What, such as `user.create`.
    pub action: &'static str,
    /// To what: a user's id, an owner.
    pub target: String,
    /// What else there is to tell. Never a secret.
    pub detail: Value,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number; the first is 1, and none is left out.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who.
    pub actor: String,
    /// From where.
    pub source: String,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// What else, as compact JSON.
    pub detail: String,
    /// SHA-256, in hex, of the hash before and all of the above.
    pub hash: String,
}

/// What the first entry follows.
pub const BEGINNING: &str = "";

impl Entry {
    /// The hash that the entry has to have after one with the hash `before`. With each length before its
    /// part, no two entries are hashed alike.
    pub fn hash_after(&self, before: &str) -> String {
        let (seq, at) = (self.seq.to_string(), self.at_ms.to_string());
        let parts = [before, &seq, &at, &self.actor, &self.source, &self.action, &self.target, &self.detail];
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part.as_bytes());
        }
        hex(&digest.finalize())
    }
}

const LAST: &str = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";

impl Store {
    /// At most `limit` entries, all if there is none, that come after the one with this number.
    pub async fn audit_page(&self, after: u64, limit: Option<u64>) -> Result<Vec<Entry>> {
        let query = "SELECT seq, at, actor, source, action, target, detail, hash FROM audit
             WHERE seq > $1 ORDER BY seq LIMIT $2";
        let rows = self.read(sqlx::query(query).bind(to_db(after)).bind(limit.map_or(-1, to_db))).await?;
        rows.iter().map(|row| self.entry(row)).collect()
    }

    /// The number and the hash of the last entry; zero and nothing before the first.
    pub async fn audit_head(&self) -> Result<(u64, String)> {
        match self.read(sqlx::query(LAST)).await?.first() {
            Some(row) => Ok((from_db(self.get(row, "seq")?), self.get(row, "hash")?)),
            None => Ok((0, BEGINNING.to_owned())),
        }
    }

    /// Adds an entry to what a transaction does.
    pub(super) async fn append(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        act: &Act,
    ) -> Result<Entry> {
        let last = sqlx::query(LAST).fetch_optional(&mut **transaction).await;
        let last = last.map_err(|error| self.failed(error))?;
        let (seq, before): (i64, String) = match &last {
            Some(row) => (self.get(row, "seq")?, self.get(row, "hash")?),
            None => (0, BEGINNING.to_owned()),
        };
        let mut entry = Entry {
            seq: from_db(seq) + 1,
            at_ms: act.at_ms,
            actor: act.actor.clone(),
            source: act.source.clone(),
            action: act.action.to_owned(),
            target: act.target.clone(),
            detail: act.detail.to_string(),
            hash: String::new(),
        };
        entry.hash = entry.hash_after(&before);
        let insert = "INSERT INTO audit (seq, at, actor, source, action, target, detail, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let insert = sqlx::query(insert)
            .bind(to_db(entry.seq))
            .bind(to_db(entry.at_ms))
            .bind(entry.actor.clone())
            .bind(entry.source.clone())
            .bind(entry.action.clone())
            .bind(entry.target.clone())
            .bind(entry.detail.clone())
            .bind(entry.hash.clone());
        self.step(transaction, insert).await?;
        Ok(entry)
    }

    fn entry(&self, row: &SqliteRow) -> Result<Entry> {
        Ok(Entry {
            seq: from_db(self.get(row, "seq")?),
            at_ms: from_db(self.get(row, "at")?),
            actor: self.get(row, "actor")?,
            source: self.get(row, "source")?,
            action: self.get(row, "action")?,
            target: self.get(row, "target")?,
            detail: self.get(row, "detail")?,
            hash: self.get(row, "hash")?,
        })
    }
}

/// What is written to the log of the process once an entry is stored.
pub(super) fn tell(entry: &Entry) {
    let Entry { seq, actor, source, action, target, detail, hash, .. } = entry;
    tracing::info!(seq, actor, source, action, target, detail, hash, "audit");
}
