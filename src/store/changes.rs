//! What changed for whom, so that whoever remembers callers forgets only those; and leases, by which one of
//! several processes does what only one must do.

use sqlx::{Sqlite, Transaction};

use super::{Result, Store, from_db, to_db};
use crate::name::{Owner, UserId};

/// So many changes are known of; who is further behind forgets all.
const KEPT: i64 = 10_000;

/// Whose entries in a cache a change concerns.
#[derive(Debug, Clone, Copy)]
pub(super) enum Concerns<'a> {
    /// Nobody's: what changed is not remembered.
    Nobody,
    /// One user's.
    User(&'a UserId),
    /// Everybody's.
    Everybody,
}

impl<'a> From<&'a Owner> for Concerns<'a> {
    fn from(owner: &'a Owner) -> Self {
        match owner {
            Owner::User(user) => Self::User(user),
            Owner::Group(_) | Owner::Everybody => Self::Everybody,
        }
    }
}

/// What changed since some change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The last change.
    pub seq: u64,
    /// Whom something changed for, in the order of the changes; who changed twice may be there twice.
    pub users: Vec<UserId>,
    /// Whether something changed for everybody.
    pub everybody: bool,
    /// Whether there is more that is not known any more.
    pub more: bool,
}

impl Store {
    /// What changed after the change with this number.
    pub async fn changes_since(&self, after: u64) -> Result<Changes> {
        let query = "SELECT seq, user_id FROM changes WHERE seq > $1 ORDER BY seq";
        let rows = self.read(sqlx::query(query).bind(to_db(after))).await?;
        let mut changes = Changes { seq: after, users: Vec::new(), everybody: false, more: false };
        for row in &rows {
            let seq = from_db(self.get(row, "seq")?);
            changes.more |= seq != changes.seq + 1;
            changes.seq = seq;
            match self.get::<Option<&str>>(row, "user_id")? {
                Some(_) => changes.users.push(self.user_id(row, "user_id")?),
                None => changes.everybody = true,
            }
        }
        Ok(changes)
    }

    /// The number of the last change; zero before the first.
    pub async fn change_seq(&self) -> Result<u64> {
        let rows = self.read(sqlx::query("SELECT COALESCE(MAX(seq), 0) AS seq FROM changes")).await?;
        rows.first().map_or(Ok(0), |row| Ok(from_db(self.get(row, "seq")?)))
    }

    /// Notes in a transaction whom it concerns.
    pub(super) async fn note(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        concerns: Concerns<'_>,
    ) -> Result<()> {
        let user = match concerns {
            Concerns::Nobody => return Ok(()),
            Concerns::User(user) => Some(user.to_string()),
            Concerns::Everybody => None,
        };
        let insert = "INSERT INTO changes (seq, user_id) SELECT COALESCE(MAX(seq), 0) + 1, $1 FROM changes";
        self.step(transaction, sqlx::query(insert).bind(user)).await?;
        let trim = "DELETE FROM changes WHERE seq <= (SELECT MAX(seq) FROM changes) - $1";
        self.step(transaction, sqlx::query(trim).bind(KEPT)).await?;
        Ok(())
    }

    /// Takes a lease, or keeps one that `holder` has: false if another has it until later than `now_ms`.
    pub async fn try_lease(&self, name: &str, holder: &str, now_ms: u64, until_ms: u64) -> Result<bool> {
        let query = "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) ON CONFLICT (name)
             DO UPDATE SET holder = excluded.holder, until = excluded.until
             WHERE leases.holder = excluded.holder OR leases.until <= $4";
        let query = sqlx::query(query).bind(name.to_owned()).bind(holder.to_owned());
        Ok(self.write_quietly(query.bind(to_db(until_ms)).bind(to_db(now_ms))).await? > 0)
    }

    /// Drops all leases whose names begin so, whoever has them: for the process that has the store to itself.
    pub async fn drop_leases(&self, prefix: &'static str) -> Result<()> {
        let query = sqlx::query("DELETE FROM leases WHERE substr(name, 1, length($1)) = $1");
        self.write_quietly(query.bind(prefix)).await?;
        Ok(())
    }

    /// Gives a lease back.
    pub async fn release_lease(&self, name: &str, holder: &str) -> Result<()> {
        let query = sqlx::query("DELETE FROM leases WHERE name = $1 AND holder = $2");
        self.write_quietly(query.bind(name.to_owned()).bind(holder.to_owned())).await?;
        Ok(())
    }
}
