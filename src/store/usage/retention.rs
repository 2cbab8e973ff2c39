//! Retention: rows that are older than they may be are deleted, in small transactions.

use super::super::{Query, Result, Store, invalidation::Invalidates, to_db};

/// Rows that one transaction deletes at most of each table: a writer waits for a few milliseconds at most.
const ROWS: i64 = 1000;

/// The ages from which rows are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageLimits {
    /// The first hour of the roll-ups that is kept, in hours since 1970.
    pub first_hour: u64,
    /// The first end of a single exchange that is kept, in milliseconds since 1970.
    pub first_end_ms: u64,
}

impl Store {
    /// Deletes some of the rows before the limits. Returns true if there may be more.
    pub async fn trim_usage(&self, limits: UsageLimits) -> Result<bool> {
        let (hour, day) = (to_db(limits.first_hour), to_db(limits.first_hour / 24));
        // A key is used by no row after its last day. Exchanges may be kept longer than roll-ups.
        let key_day = day.min(to_db(limits.first_end_ms / 86_400_000));
        let hours = "DELETE FROM usage_hours WHERE (hour, key) IN
             (SELECT hour, key FROM usage_hours WHERE hour < $1 ORDER BY hour, key LIMIT $2)";
        let days = "DELETE FROM usage_days WHERE (day, key) IN
             (SELECT day, key FROM usage_days WHERE day < $1 ORDER BY day, key LIMIT $2)";
        // In the order of their numbers, which is nearly that of their ends: no index is needed.
        let exchanges = "DELETE FROM exchanges WHERE ended_at < $1 AND seq IN
             (SELECT seq FROM exchanges ORDER BY seq LIMIT $2)";
        let keys =
            "DELETE FROM usage_keys WHERE id IN (SELECT id FROM usage_keys WHERE last_day < $1 LIMIT $2)";
        let end = to_db(limits.first_end_ms);
        let steps = [(hours, hour), (days, day), (exchanges, end), (keys, key_day)];
        let mut transaction = self.begin().await?;
        let (mut deleted, mut more) = (0, false);
        for (sql, limit) in steps {
            let query: Query = sqlx::query(sql);
            let rows = self.step(&mut transaction, query.bind(limit).bind(ROWS)).await?.rows_affected();
            deleted += rows;
            more |= rows == u64::try_from(ROWS).unwrap_or_default();
        }
        if deleted > 0 {
            self.commit(transaction, Invalidates::Nothing).await?;
        }
        Ok(more)
    }
}
