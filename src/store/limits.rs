//! Counters of limits, and grants beyond them. A counter is one row: what was used in each window that it holds, as text.
//!
//! It knows no limit: ids and keys are text here. Read next: `limits`, which counts.

use std::{collections::BTreeMap, sync::LazyLock};

use super::{
    Act, Result, Store, from_db,
    invalidation::Invalidates,
    statements::{Parameters, Statements, chunks, query, statements, values},
    to_db,
};
use crate::name::{LimitId, UserId};

/// What a user has beyond the amount of a limit, for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitGrant {
    /// The limit.
    pub limit: LimitId,
    /// The user.
    pub user: UserId,
    /// What is added to the amount, in units of what the limit counts.
    pub amount: i128,
    /// Its end, in milliseconds since 1970.
    pub until_ms: u64,
}

/// What was used in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitRow {
    /// The number of the kind of window.
    pub mark: u64,
    /// Its first millisecond, since 1970.
    pub start_ms: u64,
    /// The first millisecond after it; none if it does not end.
    pub end_ms: Option<u64>,
    /// What was used.
    pub used: i128,
}

/// The counter of a limit for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCounter {
    /// The limit's id.
    pub limit: String,
    /// The key.
    pub key: String,
    /// What was used, by window. Nothing deletes the counter.
    pub rows: Vec<LimitRow>,
}

static UPSERT: Statements = LazyLock::new(|| statements(upsert));

fn upsert(rows: usize) -> String {
    format!(
        "INSERT INTO limit_counters (limit_id, key, counted, updated_at) VALUES {}
         ON CONFLICT (limit_id, key) DO UPDATE SET counted = excluded.counted, updated_at = excluded.updated_at",
        values(rows, 4)
    )
}

impl Store {
    /// Reads all counters. One that cannot be read is left out, with a line in the log.
    pub async fn limit_counters(&self, mut each: impl FnMut(StoredCounter)) -> Result<()> {
        let query = sqlx::query("SELECT limit_id, key, counted FROM limit_counters");
        for row in self.read(query).await? {
            let (limit, key): (String, String) = (self.get(&row, "limit_id")?, self.get(&row, "key")?);
            let text: &str = self.get(&row, "counted")?;
            match parse(text) {
                Some(rows) => each(StoredCounter { limit, key, rows }),
                None => {
                    tracing::error!(
                        limit,
                        key,
                        "a stored counter of a limit cannot be read: it begins again"
                    );
                }
            }
        }
        Ok(())
    }

    /// Replaces counters, all or none. Each comes once.
    pub async fn set_limit_counters(&self, counters: &[StoredCounter], now_ms: u64) -> Result<()> {
        let mut transaction = self.begin().await?;
        let (empty, counted): (Vec<_>, Vec<_>) = counters.iter().partition(|counter| counter.rows.is_empty());
        for (sql, rows) in chunks(&UPSERT, &counted) {
            let row = |parameters: &mut Parameters, counter: &&StoredCounter| {
                let texts = [counter.limit.as_str(), counter.key.as_str(), &text(&counter.rows)];
                for text in texts {
                    parameters.text(Some(text.into()));
                }
                parameters.number(Some(to_db(now_ms)));
            };
            self.step(&mut transaction, query(sql, rows, row)).await?;
        }
        // One by one: of a list of pairs, `SQLite` searches all of the table.
        for counter in empty {
            let delete = sqlx::query("DELETE FROM limit_counters WHERE limit_id = ? AND key = ?");
            let delete = delete.bind(counter.limit.clone()).bind(counter.key.clone());
            self.step(&mut transaction, delete).await?;
        }
        self.commit(transaction, Invalidates::Nothing).await
    }

    /// The grants that have not ended.
    pub async fn limit_grants(&self, now_ms: u64) -> Result<Vec<LimitGrant>> {
        let query = sqlx::query(
            "SELECT limit_id, user_id, amount, until FROM limit_grants WHERE until > $1 ORDER BY created_at, limit_id",
        );
        let mut grants = Vec::new();
        for row in self.read(query.bind(to_db(now_ms))).await? {
            let (limit, amount): (&str, &str) = (self.get(&row, "limit_id")?, self.get(&row, "amount")?);
            let (limit, amount) = LimitId::new(limit)
                .zip(amount.parse().ok())
                .ok_or_else(|| self.corrupt("a grant of a limit cannot be read".to_owned()))?;
            let user: UserId = self.user_id(&row, "user_id")?;
            grants.push(LimitGrant { limit, user, amount, until_ms: from_db(self.get(&row, "until")?) });
        }
        Ok(grants)
    }

    /// Adds a grant. False if there is no such user.
    pub async fn add_limit_grant(&self, grant: &LimitGrant, now_ms: u64, act: &Act) -> Result<bool> {
        let mut transaction = self.begin().await?;
        if !self.exists(&mut transaction, &grant.user).await? {
            return Ok(false);
        }
        let ended = sqlx::query("DELETE FROM limit_grants WHERE until <= $1").bind(to_db(now_ms));
        self.step(&mut transaction, ended).await?;
        let insert = "INSERT INTO limit_grants (limit_id, user_id, amount, until, created_at) VALUES ($1, $2, $3, $4, $5)";
        let insert = sqlx::query(insert)
            .bind(grant.limit.to_string())
            .bind(grant.user.to_string())
            .bind(grant.amount.to_string())
            .bind(to_db(grant.until_ms))
            .bind(to_db(now_ms));
        self.step(&mut transaction, insert).await?;
        self.commit_act(transaction, Invalidates::Nothing, act).await?;
        Ok(true)
    }

    /// Ends all grants of a user for a limit. Returns the number of those that had not ended yet.
    pub async fn end_limit_grants(&self, limit: &LimitId, user: &UserId, act: &Act) -> Result<u64> {
        let mut transaction = self.begin().await?;
        let delete = "DELETE FROM limit_grants WHERE limit_id = $1 AND user_id = $2 AND until > $3";
        let delete = sqlx::query(delete);
        let delete = delete.bind(limit.to_string()).bind(user.to_string()).bind(to_db(act.at_ms));
        let ended = self.step(&mut transaction, delete).await?.rows_affected();
        if ended > 0 {
            self.commit_act(transaction, Invalidates::Nothing, act).await?;
        }
        Ok(ended)
    }

    /// The ids of the users with these names.
    pub async fn users_named(&self, names: &[String]) -> Result<BTreeMap<UserId, String>> {
        let query = "SELECT id, name FROM users WHERE name IN (SELECT value FROM json_each($1))";
        let rows = self.read(sqlx::query(query).bind(serde_json::json!(names).to_string())).await?;
        rows.iter().map(|row| Ok((self.user_id(row, "id")?, self.get(row, "name")?))).collect()
    }

    /// The users of these tokens, and those of all tokens that these users have, by the token's id.
    pub async fn token_users(&self, tokens: &[String], users: &[String]) -> Result<BTreeMap<String, UserId>> {
        let query = "WITH all_tokens AS (
                         SELECT id, user_id FROM tokens UNION ALL SELECT id, user_id FROM paste_tokens
                     )
                     SELECT id, user_id FROM all_tokens WHERE id IN (SELECT value FROM json_each($1))
                     UNION SELECT id, user_id FROM all_tokens WHERE user_id IN (SELECT value FROM json_each($2))";
        let (tokens, users) = (serde_json::json!(tokens).to_string(), serde_json::json!(users).to_string());
        let rows = self.read(sqlx::query(query).bind(tokens).bind(users)).await?;
        rows.iter().map(|row| Ok((self.get(row, "id")?, self.user_id(row, "user_id")?))).collect()
    }
}

/// `MARK START END USED`, joined by `;`. An end of `-` is none.
fn text(rows: &[LimitRow]) -> String {
    let one = |row: &LimitRow| {
        let end = row.end_ms.map_or_else(|| "-".to_owned(), |end| end.to_string());
        format!("{} {} {end} {}", row.mark, row.start_ms, row.used)
    };
    rows.iter().map(one).collect::<Vec<_>>().join(";")
}

fn parse(text: &str) -> Option<Vec<LimitRow>> {
    text.split(';').map(parse_row).collect()
}

fn parse_row(text: &str) -> Option<LimitRow> {
    let mut parts = text.split(' ');
    let (mark, start_ms) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let end_ms = match parts.next()? {
        "-" => None,
        end => Some(end.parse().ok()?),
    };
    let used = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(LimitRow { mark, start_ms, end_ms, used })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn counter(key: &str, rows: &[(u64, u64, Option<u64>, i128)]) -> StoredCounter {
        let row = |(mark, start_ms, end_ms, used): &(u64, u64, Option<u64>, i128)| LimitRow {
            mark: *mark,
            start_ms: *start_ms,
            end_ms: *end_ms,
            used: *used,
        };
        StoredCounter { limit: "l".into(), key: key.into(), rows: rows.iter().map(row).collect() }
    }

    async fn stored(store: &Store) -> Vec<StoredCounter> {
        let mut all = Vec::new();
        store.limit_counters(|counter| all.push(counter)).await.unwrap();
        all.sort_by(|one, other| one.key.cmp(&other.key));
        all
    }

    #[tokio::test]
    async fn counters_are_replaced_and_deleted() {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let first = [
            counter("", &[(3, 0, None, i128::MAX)]),
            counter("usr a b", &[(u64::MAX, 5, Some(u64::MAX), -7), (2, 1, Some(2), 9)]),
        ];
        store.set_limit_counters(&first, 1).await.unwrap();
        assert_eq!(stored(&store).await, first);
        store.set_limit_counters(&[counter("", &[]), counter("x", &[])], 2).await.unwrap();
        assert_eq!(stored(&store).await, first[1..]);
        let changed = counter("usr a b", &[(2, 2, Some(3), 1)]);
        store.set_limit_counters(std::slice::from_ref(&changed), 3).await.unwrap();
        assert_eq!(stored(&store).await, [changed]);
    }

    #[test]
    fn texts_of_counters_are_read_or_refused() {
        for text in ["", "1", "1 2 3", "1 2 3 4 5", "1 2 3 x", "-1 2 3 4", "1 2 3 4;", "1  2 3 4"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse("1 2 - 4").map(|rows| rows[0].end_ms), Some(None));
    }
}
