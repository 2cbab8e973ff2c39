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
    /// The affected users, in the order of the changes. A user may be listed twice.
    pub users: Vec<UserId>,
    /// True if one affects everybody.
    pub everybody: bool,
    /// True if entries are missing that the log no longer keeps.
    pub gap: bool,
}

impl Store {
    /// The invalidations after the one with this number.
    pub async fn invalidated_since(&self, after: u64) -> Result<Invalidated> {
        let query = "SELECT seq, user_id FROM changes WHERE seq > $1 ORDER BY seq";
        let rows = self.read(sqlx::query(query).bind(to_db(after))).await?;
        let mut found = Invalidated { seq: after, users: Vec::new(), everybody: false, gap: false };
        for row in &rows {
            let seq = from_db(self.get(row, "seq")?);
            found.gap |= seq != found.seq + 1;
            found.seq = seq;
            match self.get::<Option<&str>>(row, "user_id")? {
                Some(_) => found.users.push(self.user_id(row, "user_id")?),
                None => found.everybody = true,
            }
        }
        Ok(found)
    }

    /// The number of the last invalidation; zero before the first.
    pub async fn last_invalidation(&self) -> Result<u64> {
        let rows = self.read(sqlx::query("SELECT COALESCE(MAX(seq), 0) AS seq FROM changes")).await?;
        rows.first().map_or(Ok(0), |row| Ok(from_db(self.get(row, "seq")?)))
    }

    /// Appends to the log in the transaction that makes the change.
    pub(super) async fn log_invalidation(
        &self,
        transaction: &mut Transaction,
        invalidates: Invalidates<'_>,
    ) -> Result<()> {
        let user = match invalidates {
            Invalidates::Nothing => return Ok(()),
            Invalidates::User(user) => Some(user.to_string()),
            Invalidates::Everybody => None,
        };
        let insert = "INSERT INTO changes (seq, user_id) SELECT COALESCE(MAX(seq), 0) + 1, $1 FROM changes";
        self.step(transaction, sqlx::query(insert).bind(user)).await?;
        let trim = "DELETE FROM changes WHERE seq <= (SELECT MAX(seq) FROM changes) - $1";
        self.step(transaction, sqlx::query(trim).bind(KEPT)).await?;
        Ok(())
    }
}
