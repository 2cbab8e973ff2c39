//! Retention: rows that are older than they may be are deleted, in small transactions.

use super::super::{Query, Result, Store, from_db, invalidation::Invalidates, to_db, writer::Transaction};

/// Rows that one transaction deletes at most of each table: a writer waits for a few milliseconds at most.
const ROWS: i64 = 1000;

/// The ages from which rows are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageLimits {
    /// The first hour of the roll-ups that is kept, in hours since 1970.
    pub first_hour: u64,
    /// The first end of a single exchange that is kept, in milliseconds since 1970.
    pub first_end_ms: u64,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
}

impl Store {
    /// Deletes some of the rows before the limits, of single exchanges those with a number greater than `after`. Returns the
    /// number to go on after, if there may be more.
    pub async fn trim_usage(&self, limits: UsageLimits, after: u64) -> Result<Option<u64>> {
        let (hour, day) = (to_db(limits.first_hour), to_db(limits.first_hour / 24));
        // A key is used by no row after its last day. Exchanges may be kept longer than roll-ups.
        let key_day = day.min(to_db(limits.first_end_ms / 86_400_000));
        let hours = "DELETE FROM usage_hours WHERE (hour, key) IN
             (SELECT hour, key FROM usage_hours WHERE hour < $1 ORDER BY hour, key LIMIT $2)";
        let days = "DELETE FROM usage_days WHERE (day, key) IN
             (SELECT day, key FROM usage_days WHERE day < $1 ORDER BY day, key LIMIT $2)";
        let keys =
            "DELETE FROM usage_keys WHERE id IN (SELECT id FROM usage_keys WHERE last_day < $1 LIMIT $2)";
        let mut transaction = self.begin().await?;
        let next = self.trim_exchanges(&mut transaction, limits, after).await?;
        let (mut deleted, mut more) = (next.is_some(), next.is_some());
        for (sql, limit) in [(hours, hour), (days, day), (keys, key_day)] {
            let query: Query = sqlx::query(sql);
            let rows = self.step(&mut transaction, query.bind(limit).bind(ROWS)).await?.rows_affected();
            deleted |= rows > 0;
            more |= rows == u64::try_from(ROWS).unwrap_or_default();
        }
        if deleted {
            self.commit(transaction, Invalidates::Nothing).await?;
        }
        Ok(more.then(|| next.unwrap_or(after)))
    }

    /// Deletes the old ones among the next exchanges. In the order of their numbers, which is nearly that of their ends: no
    /// index is needed. Returns the number of the last one, unless it and the others around it are young. After a step of
    /// the clock, ends may lie in the future: such exchanges say nothing about the age of those behind them.
    async fn trim_exchanges(
        &self,
        transaction: &mut Transaction,
        limits: UsageLimits,
        after: u64,
    ) -> Result<Option<u64>> {
        let next = "SELECT max(seq) AS last, sum(ended_at < $1) AS old,
                 sum(ended_at BETWEEN $1 AND $2) AS young
             FROM (SELECT seq, ended_at FROM exchanges WHERE seq > $3 ORDER BY seq LIMIT $4)";
        let (end, now, after) = (to_db(limits.first_end_ms), to_db(limits.now_ms), to_db(after));
        let next = sqlx::query(next).bind(end).bind(now).bind(after).bind(ROWS);
        let Some(row) = transaction.fetch_optional(next).await? else { return Ok(None) };
        let Some(last) = self.get::<Option<i64>>(&row, "last")? else { return Ok(None) };
        let (old, young): (i64, i64) = (self.get(&row, "old")?, self.get(&row, "young")?);
        if old > 0 {
            let delete = "DELETE FROM exchanges WHERE seq > $1 AND seq <= $2 AND ended_at < $3";
            let delete: Query = sqlx::query(delete);
            self.step(transaction, delete.bind(after).bind(last).bind(end)).await?;
        }
        Ok((old > 0 || young == 0).then(|| from_db(last)))
    }
}
