//! The audit log: every change to accounts, in the transaction that makes it, each entry hashed with the one
//! before it, so that none can be altered or taken out unseen. It is only ever added to.
//!
//! Holds no secret: what is changed is named, never told.

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use super::{Query, Result, Store, StoreError, TokenHash, from_db, to_db};
use crate::{hex, name::AdminTokenId};

/// Something that somebody did.
#[derive(Debug, Clone)]
pub struct Act {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who: a kind and an id, such as `admin adm_…`, `user usr_…`, `uid 1000`.
    pub actor: String,
    /// From where: an address, or `local`.
    pub source: String,
    /// What gives the right to it, if that may have been taken away since it was asked for.
    pub right: Option<Right>,
    /// What, such as `user.create`.
    pub action: &'static str,
    /// To what: a user's id, an owner.
    pub target: String,
    /// What else there is to tell. Never a secret.
    pub detail: Value,
}

/// What somebody came with. It has to be good still in the transaction that does what it gave the right to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// A user's token that is still the current one: not revoked, expired or replaced by a rotation.
    Token(TokenHash),
    /// The same, but a replaced token passes too. Only a rotation takes it: a token that was replaced is answered with
    /// [`TokenRotation::Replaced`](super::TokenRotation), not as revoked.
    TokenEvenIfReplaced(TokenHash),
    /// An admin token that is neither revoked nor expired.
    Admin(AdminTokenId),
}

impl Right {
    /// The same right for a call that a replaced token may make too.
    #[must_use]
    pub fn even_if_replaced(self) -> Self {
        match self {
            Self::Token(hash) | Self::TokenEvenIfReplaced(hash) => Self::TokenEvenIfReplaced(hash),
            Self::Admin(id) => Self::Admin(id),
        }
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
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
pub const GENESIS_HASH: &str = "";

impl AuditEntry {
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
        hex::encode(&digest.finalize())
    }
}

/// Follows the log entry by entry, and notices what was altered, taken out or put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashChain {
    /// The number of the last entry.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for HashChain {
    fn default() -> Self {
        Self { seq: 0, hash: GENESIS_HASH.to_owned() }
    }
}

/// Where the log is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// Entries are missing.
    #[error(
        "the audit log goes from entry {last} to {next}: what was between is missing: see who can write to the data directory; an earlier backup has them"
    )]
    Gap {
        /// The last one before.
        last: u64,
        /// The next that is there.
        next: u64,
    },
    /// An entry is not the one that was written.
    #[error(
        "entry {seq} of the audit log does not fit its hash: it, or one before it, is not as it was written"
    )]
    Altered {
        /// The first one that does not fit.
        seq: u64,
    },
}

impl HashChain {
    /// Takes the next entry.
    pub fn follow(&mut self, entry: &AuditEntry) -> std::result::Result<(), BrokenChain> {
        if entry.seq != self.seq + 1 {
            return Err(BrokenChain::Gap { last: self.seq, next: entry.seq });
        }
        if entry.hash != entry.hash_after(&self.hash) {
            return Err(BrokenChain::Altered { seq: entry.seq });
        }
        self.seq = entry.seq;
        self.hash.clone_from(&entry.hash);
        Ok(())
    }
}

macro_rules! good_token {
    () => {
        "SELECT 1 FROM tokens t JOIN users u ON u.id = t.user_id WHERE t.hash = $1
         AND u.disabled_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2)"
    };
}

const LAST: &str = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";

impl Store {
    /// At most `limit` entries, all if there is none, that come after the one with this number.
    pub async fn audit_page(&self, after: u64, limit: Option<u64>) -> Result<Vec<AuditEntry>> {
        let query = "SELECT seq, at, actor, source, action, target, detail, hash FROM audit
             WHERE seq > $1 ORDER BY seq LIMIT $2";
        let rows = self.read(sqlx::query(query).bind(to_db(after)).bind(limit.map_or(-1, to_db))).await?;
        rows.iter().map(|row| self.entry(row)).collect()
    }

    /// The number and the hash of the last entry; zero and nothing before the first.
    pub async fn audit_head(&self) -> Result<(u64, String)> {
        match self.read(sqlx::query(LAST)).await?.first() {
            Some(row) => Ok((from_db(self.get(row, "seq")?), self.get(row, "hash")?)),
            None => Ok((0, GENESIS_HASH.to_owned())),
        }
    }

    /// Begins a write transaction for `act`, and checks its right in that transaction: a token that was revoked,
    /// expired or disabled since the call came in changes nothing.
    pub(super) async fn begin_for(&self, act: &Act) -> Result<Transaction<'static, Sqlite>> {
        let mut transaction = self.begin().await?;
        let Some(right) = &act.right else { return Ok(transaction) };
        let query = right_query(right).bind(to_db(act.at_ms));
        let good = query.fetch_optional(&mut *transaction).await.map_err(|error| self.failed(error))?;
        match good {
            Some(_) => Ok(transaction),
            None => Err(StoreError::Revoked { admin: matches!(right, Right::Admin(_)) }),
        }
    }

    /// Adds an entry to what a transaction does.
    pub(super) async fn append(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        act: &Act,
    ) -> Result<AuditEntry> {
        let last = sqlx::query(LAST).fetch_optional(&mut **transaction).await;
        let last = last.map_err(|error| self.failed(error))?;
        let (seq, before): (i64, String) = match &last {
            Some(row) => (self.get(row, "seq")?, self.get(row, "hash")?),
            None => (0, GENESIS_HASH.to_owned()),
        };
        let mut entry = AuditEntry {
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

    fn entry(&self, row: &SqliteRow) -> Result<AuditEntry> {
        Ok(AuditEntry {
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

/// Finds a row if the right is good at the time `$2`, which the caller binds.
fn right_query(right: &Right) -> Query {
    let (query, key) = match right {
        Right::Token(hash) => (concat!(good_token!(), " AND t.replaced_at IS NULL"), hash.hex()),
        Right::TokenEvenIfReplaced(hash) => (good_token!(), hash.hex()),
        Right::Admin(id) => (
            "SELECT 1 FROM admin_tokens WHERE id = $1 AND (expires_at IS NULL OR expires_at > $2)",
            id.to_string(),
        ),
    };
    sqlx::query(query).bind(key)
}

/// What is written to the log of the process once an entry is stored.
pub(super) fn tell(entry: &AuditEntry) {
    let AuditEntry { seq, actor, source, action, target, detail, hash, .. } = entry;
    tracing::info!(seq, actor, source, action, target, detail, hash, "audit");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<AuditEntry> {
        let mut before = GENESIS_HASH.to_owned();
        let entry = |seq| {
            let [actor, source, action, target, detail] =
                ["uid 0", "local", "test", "it", "{}"].map(str::to_owned);
            let hash = String::new();
            let mut entry = AuditEntry { seq, at_ms: seq, actor, source, action, target, detail, hash };
            entry.hash = entry.hash_after(&before);
            before.clone_from(&entry.hash);
            entry
        };
        (1..=4).map(entry).collect()
    }

    #[test]
    fn a_change_to_the_log_is_noticed() {
        let check = |change: fn(&mut Vec<AuditEntry>), expected: std::result::Result<u64, BrokenChain>| {
            let (mut log, mut chain) = (log(), HashChain::default());
            change(&mut log);
            let done = log.iter().try_for_each(|entry| chain.follow(entry)).map(|()| chain.seq);
            assert_eq!(done, expected);
        };
        check(|_| {}, Ok(4));
        check(|log| drop(log.pop()), Ok(3));
        check(|log| drop(log.remove(1)), Err(BrokenChain::Gap { last: 1, next: 3 }));
        check(|log| log.swap(1, 2), Err(BrokenChain::Gap { last: 1, next: 3 }));
        check(|log| log[2].actor.push('1'), Err(BrokenChain::Altered { seq: 3 }));
        check(|log| log[2].at_ms += 1, Err(BrokenChain::Altered { seq: 3 }));
        // What moves from one part to the next is another entry too.
        check(
            |log| (log[1].action, log[1].target) = ("testi".into(), "t".into()),
            Err(BrokenChain::Altered { seq: 2 }),
        );
        // With its own hash made to fit, the next one does not.
        let forge = |log: &mut Vec<AuditEntry>| {
            log[1].target = "other".to_owned();
            log[1].hash = log[1].hash_after(&log[0].hash);
        };
        check(forge, Err(BrokenChain::Altered { seq: 3 }));
    }
}
