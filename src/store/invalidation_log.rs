//! The log of cache invalidations, for the other processes that use the database: each transaction that changes cached
//! data appends the user it affects to the table `changes`.
//!
//! The log is bounded. A reader that is too far behind sees a gap, and has to empty its cache. `accounts/watch.rs` polls it.

use super::{Result, Store, from_db, invalidation::Invalidates, to_db, writer::Transaction};
use crate::name::UserId;

/// Entries that the log keeps.
const KEPT: i64 = 10_000;

/// The invalidations since one that the reader knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalidated {
    /// The number of the last one.
    pub seq: u64,
    /// Those by changes of other processes.
    pub others: Affected,
    /// Those by changes of this process. The counter has them already.
    pub own: Affected,
    /// True if entries are missing that the log no longer keeps.
    pub gap: bool,
}

/// Whose cached callers changes affect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affected {
    /// The affected users, in the order of the changes. A user may be listed twice.
    pub users: Vec<UserId>,
    /// True if a change affects everybody.
    pub everybody: bool,
}

impl Invalidated {
    /// None, after the invalidation with this number.
    pub fn none(seq: u64) -> Self {
        Self { seq, others: Affected::default(), own: Affected::default(), gap: false }
    }
}

impl Store {
    /// The invalidations after the one with this number.
    pub async fn invalidated_since(&self, after: u64) -> Result<Invalidated> {
        let query = "SELECT seq, user_id FROM changes WHERE seq > $1 ORDER BY seq";
        let rows = self.read(sqlx::query(query).bind(to_db(after))).await?;
        let mut found = Invalidated::none(after);
        for row in &rows {
            let seq = from_db(self.get(row, "seq")?);
            found.gap |= seq != found.seq + 1;
            found.seq = seq;
            let affected = if self.invalidations.is_own(seq) { &mut found.own } else { &mut found.others };
            match self.get::<Option<&str>>(row, "user_id")? {
                Some(_) => affected.users.push(self.user_id(row, "user_id")?),
                None => affected.everybody = true,
            }
        }
        Ok(found)
    }

    /// The number of the last invalidation; zero before the first.
    pub async fn last_invalidation(&self) -> Result<u64> {
        let rows = self.read(sqlx::query("SELECT COALESCE(MAX(seq), 0) AS seq FROM changes")).await?;
        rows.first().map_or(Ok(0), |row| Ok(from_db(self.get(row, "seq")?)))
    }

    /// Appends to the log in the transaction that makes the change. Returns the number of the entry.
    pub(super) async fn log_invalidation(
        &self,
        transaction: &mut Transaction,
        invalidates: Invalidates<'_>,
    ) -> Result<Option<u64>> {
        let user = match invalidates {
            Invalidates::Nothing => return Ok(None),
            Invalidates::User(user) => Some(user.to_string()),
            Invalidates::Everybody => None,
        };
        let insert = "INSERT INTO changes (seq, user_id) SELECT COALESCE(MAX(seq), 0) + 1, $1 FROM changes
             RETURNING seq";
        let row = transaction.fetch_optional(sqlx::query(insert).bind(user)).await?;
        let seq = row.map(|row| self.get(&row, "seq").map(from_db)).transpose()?;
        let trim = "DELETE FROM changes WHERE seq <= (SELECT MAX(seq) FROM changes) - $1";
        self.step(transaction, sqlx::query(trim).bind(KEPT)).await?;
        Ok(seq)
    }
}
