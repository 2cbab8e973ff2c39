//! Leases: named locks with an end, by which one of several processes does what only one must do, such as refreshing a
//! login. A process that dies loses its leases when they end.

use super::{Query, Result, Store, invalidation::Invalidates, to_db};

impl Store {
    /// Acquires a lease until `until_ms`, or extends one that `holder` has. False if another holder's ends after `now_ms`.
    pub async fn try_lease(&self, name: &str, holder: &str, now_ms: u64, until_ms: u64) -> Result<bool> {
        let query = "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) ON CONFLICT (name)
             DO UPDATE SET holder = excluded.holder, until = excluded.until
             WHERE leases.holder = excluded.holder OR leases.until <= $4";
        let query = sqlx::query(query).bind(name.to_owned()).bind(holder.to_owned());
        Ok(self.write_uncached(query.bind(to_db(until_ms)).bind(to_db(now_ms))).await? > 0)
    }

    /// Releases a lease, if `holder` has it.
    pub async fn release_lease(&self, name: &str, holder: &str) -> Result<()> {
        let query = sqlx::query("DELETE FROM leases WHERE name = $1 AND holder = $2");
        self.write_uncached(query.bind(name.to_owned()).bind(holder.to_owned())).await?;
        Ok(())
    }

    /// Drops every lease whose name has this prefix, of any holder. Only for a process that has the store to itself.
    pub async fn drop_leases(&self, prefix: &'static str) -> Result<()> {
        let query = sqlx::query("DELETE FROM leases WHERE substr(name, 1, length($1)) = $1");
        self.write_uncached(query.bind(prefix)).await?;
        Ok(())
    }

    /// Runs one statement on leases, which no cache holds.
    async fn write_uncached(&self, query: Query) -> Result<u64> {
        let mut transaction = self.begin().await?;
        let rows = self.step(&mut transaction, query).await?.rows_affected();
        self.commit(transaction, Invalidates::Nothing).await?;
        Ok(rows)
    }
}
