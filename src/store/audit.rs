//! The audit log: an append-only hash chain of all changes to accounts. An entry is written in the transaction of its
//! change. Its hash covers the entry before, so that altered or missing entries show.
//!
//! It has names and ids of what was changed, and never a secret. Nothing is decided by its texts.

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;

use super::{Query, Result, Store, StoreError, TokenHash, from_db, to_db, writer::Transaction};
use crate::{hex, name::AdminTokenId};

/// A change, for the audit log: who makes it, from where, to what, and by which right.
#[derive(Debug, Clone)]
pub struct Act {
    /// The time, in milliseconds since 1970.
    pub at_ms: u64,
    /// The actor: a kind and an id, such as `admin adm_…`, `user usr_…`, `uid 1000`.
    pub actor: String,
    /// The actor's address, or `local`.
    pub source: String,
    /// The right to it, which is checked in the transaction. Absent for actors whose right cannot be revoked.
    pub right: Option<Right>,
    /// The action, such as `user.create`.
    pub action: &'static str,
    /// The target: the id of a user or a token, or an owner of credentials.
    pub target: String,
    /// Details. Never a secret.
    pub detail: Value,
}

/// The token that gives an actor the right to a change. It may be revoked between authentication and the change, so it is
/// checked again in the transaction of the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// A user's token or session that is still the current one: not revoked, expired or replaced by a rotation.
    Token(TokenHash),
    /// The same, but a replaced token passes too. Only a rotation takes it: a token that was replaced is answered with
    /// [`TokenRotation::Replaced`](super::TokenRotation), not as revoked.
    TokenEvenIfReplaced(TokenHash),
    /// An admin token, or an admin's session, that is neither revoked nor expired.
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

    /// The hash of the user's token.
    pub(super) fn token(&self) -> Option<&TokenHash> {
        match self {
            Self::Token(hash) | Self::TokenEvenIfReplaced(hash) => Some(hash),
            Self::Admin(_) => None,
        }
    }

    /// The id of the admin token.
    pub(super) fn admin(&self) -> Option<&AdminTokenId> {
        match self {
            Self::Admin(id) => Some(id),
            Self::Token(_) | Self::TokenEvenIfReplaced(_) => None,
        }
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The number: from 1, without gaps.
    pub seq: u64,
    /// The time, in milliseconds since 1970.
    pub at_ms: u64,
    /// The actor.
    pub actor: String,
    /// The actor's address.
    pub source: String,
    /// The action.
    pub action: String,
    /// The target.
    pub target: String,
    /// Details, as compact JSON.
    pub detail: String,
    /// SHA-256, in hex, over the hash of the entry before and all of the above.
    pub hash: String,
}

/// The hash before the first entry.
pub const GENESIS_HASH: &str = "";

impl AuditEntry {
    /// The hash of the entry after one with the hash `before`. Every part is hashed with its length, so that text moved
    /// from one part to the next changes the hash.
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

/// Verifies the log entry by entry: finds altered, missing and inserted entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashChain {
    /// The number of the last verified entry.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for HashChain {
    fn default() -> Self {
        Self { seq: 0, hash: GENESIS_HASH.to_owned() }
    }
}

/// The first place where the log is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// Entries are missing.
    #[error(
        "the audit log has a gap between the entries {last} and {next}: find out who can write to the data directory; an earlier backup has the missing entries"
    )]
    Gap {
        /// The last entry before the gap.
        last: u64,
        /// The first entry after it.
        next: u64,
    },
    /// An entry was altered.
    #[error("entry {seq} of the audit log does not match its hash: this entry or one before it was altered")]
    Altered {
        /// The first entry that does not match its hash.
        seq: u64,
    },
}

impl HashChain {
    /// Verifies the next entry.
    pub fn verify(&mut self, entry: &AuditEntry) -> std::result::Result<(), BrokenChain> {
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
    /// The entries after the one with this number: at most `limit`, or all.
    pub async fn audit_page(&self, after: u64, limit: Option<u64>) -> Result<Vec<AuditEntry>> {
        let query = "SELECT seq, at, actor, source, action, target, detail, hash FROM audit
             WHERE seq > $1 ORDER BY seq LIMIT $2";
        let rows = self.read(sqlx::query(query).bind(to_db(after)).bind(limit.map_or(-1, to_db))).await?;
        rows.iter().map(|row| self.entry(row)).collect()
    }

    /// The number and the hash of the last entry; zero and the genesis hash if there is none.
    pub async fn audit_head(&self) -> Result<(u64, String)> {
        match self.read(sqlx::query(LAST)).await?.first() {
            Some(row) => Ok((from_db(self.get(row, "seq")?), self.get(row, "hash")?)),
            None => Ok((0, GENESIS_HASH.to_owned())),
        }
    }

    /// Begins a write transaction for `act`, and checks its right in that transaction: a token that was revoked,
    /// expired or disabled since the call came in changes nothing.
    pub(super) async fn begin_for(&self, act: &Act) -> Result<Transaction> {
        let mut transaction = self.begin().await?;
        let Some(right) = &act.right else { return Ok(transaction) };
        let query = right_query(right).bind(to_db(act.at_ms));
        match transaction.fetch_optional(query).await? {
            Some(_) => Ok(transaction),
            None => Err(match right {
                Right::Token(_) | Right::TokenEvenIfReplaced(_) => StoreError::TokenRevoked,
                Right::Admin(_) => StoreError::AdminTokenRevoked,
            }),
        }
    }

    /// Appends an entry in the transaction of its change.
    pub(super) async fn append(&self, transaction: &mut Transaction, act: &Act) -> Result<AuditEntry> {
        let last = transaction.fetch_optional(sqlx::query(LAST)).await?;
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
        self.audit_tail.note_own(&entry);
        self.step(transaction, insert).await?;
        Ok(entry)
    }

    pub(super) fn entry(&self, row: &SqliteRow) -> Result<AuditEntry> {
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

/// A query that finds a row if the right is valid at the time `$2`, which the caller binds.
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

/// The process that wrote an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// This one.
    Own,
    /// A command: no other process writes beside a server.
    Command,
}

/// Writes a stored entry to the log of the process.
pub(super) fn log(entry: &AuditEntry, writer: Writer) {
    let AuditEntry { seq, actor, source, action, target, detail, hash, .. } = entry;
    let via = (writer == Writer::Command).then_some("command line");
    tracing::info!(seq, actor, source, via, action, target, detail, hash, "audit");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<AuditEntry> {
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
    fn altered_and_missing_entries_are_found() {
        let check = |change: fn(&mut Vec<AuditEntry>), expected: std::result::Result<u64, BrokenChain>| {
            let (mut log, mut chain) = (entries(), HashChain::default());
            change(&mut log);
            let verified = log.iter().try_for_each(|entry| chain.verify(entry)).map(|()| chain.seq);
            assert_eq!(verified, expected);
        };
        check(|_| {}, Ok(4));
        check(|log| drop(log.pop()), Ok(3));
        check(|log| drop(log.remove(1)), Err(BrokenChain::Gap { last: 1, next: 3 }));
        check(|log| log.swap(1, 2), Err(BrokenChain::Gap { last: 1, next: 3 }));
        check(|log| log[2].actor.push('1'), Err(BrokenChain::Altered { seq: 3 }));
        check(|log| log[2].at_ms += 1, Err(BrokenChain::Altered { seq: 3 }));
        // The same text, split differently between two parts.
        check(
            |log| (log[1].action, log[1].target) = ("testi".into(), "t".into()),
            Err(BrokenChain::Altered { seq: 2 }),
        );
        // With a forged hash of its own, the next entry does not match.
        let forge = |log: &mut Vec<AuditEntry>| {
            log[1].target = "other".to_owned();
            log[1].hash = log[1].hash_after(&log[0].hash);
        };
        check(forge, Err(BrokenChain::Altered { seq: 3 }));
    }
}
