//! Queries of the ledger. Sums are grouped by the number of the key, which is an integer; names are joined afterwards.

use std::sync::LazyLock;

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Row as _, sqlite::SqliteRow};

use super::{
    super::{Query, Result, Store, from_db, to_db},
    Exchange, UsageKey, UsageSums,
};
use crate::usage::{Counter, Counters};

/// A roll-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollUps {
    /// By hour since 1970, UTC.
    Hours,
    /// By day since 1970, UTC.
    Days,
}

/// A range of hours or days whose sums are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageSegment {
    /// The first hour or day.
    pub from: u64,
    /// The one after the last.
    pub until: u64,
}

/// The values that dimensions are restricted to. An absent one is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// The id of the caller.
    pub user: Option<String>,
    /// The id of the token.
    pub token: Option<String>,
    /// The group.
    pub group: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// The endpoint.
    pub endpoint: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The owner of the credential.
    pub key_owner: Option<String>,
}

/// Bytes and tokens of the text of a model that estimates learn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedBytes {
    /// The provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Bytes of text of the prompts.
    pub prompt_bytes: u64,
    /// Tokens of these prompts.
    pub prompt_tokens: u64,
    /// Bytes of text of the answers.
    pub answer_bytes: u64,
    /// Tokens of these answers.
    pub answer_tokens: u64,
}

/// Conditions on `usage_keys k`, with the parameters from `$1` on.
const MATCHES: &str = "($1 IS NULL OR k.user_id = $1) AND ($2 IS NULL OR k.token_id = $2)
    AND ($3 IS NULL OR k.group_name = $3) AND ($4 IS NULL OR k.provider = $4)
    AND ($5 IS NULL OR k.endpoint = $5) AND ($6 IS NULL OR k.model = $6)
    AND ($7 IS NULL OR k.key_owner = $7)";
/// The columns of a key, the first eight of a row.
const KEY: &str =
    "k.user_id, k.token_id, k.group_name, k.provider, k.endpoint, k.model, k.context, k.key_owner";

static SUM_HOURS: LazyLock<String> = LazyLock::new(|| sum("usage_hours", "hour"));
static SUM_DAYS: LazyLock<String> = LazyLock::new(|| sum("usage_days", "day"));

/// The sums of each segment (`$1`, an array of pairs) by key, of the keys in `$2` or of all.
fn sum(table: &str, period: &str) -> String {
    let sums: Vec<_> = UsageSums::columns().map(|column| format!("sum(u.{column})")).collect();
    format!(
        "SELECT s.key, u.key, {} FROM json_each($1) s CROSS JOIN {table} u
         ON u.{period} >= s.value ->> 0 AND u.{period} < s.value ->> 1
         WHERE $2 IS NULL OR u.key IN (SELECT value FROM json_each($2))
         GROUP BY s.key, u.key",
        sums.join(", ")
    )
}

impl UsageFilter {
    /// True if it restricts nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn bind(&self, query: Query) -> Query {
        let Self { user, token, group, provider, endpoint, model, key_owner } = self.clone();
        query.bind(user).bind(token).bind(group).bind(provider).bind(endpoint).bind(model).bind(key_owner)
    }
}

impl Store {
    /// All keys that the filter matches, with their numbers.
    pub async fn usage_keys(&self, filter: &UsageFilter) -> Result<Vec<(i64, UsageKey)>> {
        let select = AssertSqlSafe(format!("SELECT {KEY}, k.id FROM usage_keys k WHERE {MATCHES}"));
        let rows = self.read_usage(filter.bind(sqlx::query(select))).await?;
        rows.iter().map(|row| Ok((self.at(row, 8)?, self.usage_key(row)?))).collect()
    }

    /// Sums each segment by key: of `keys`, or of all. Calls `each` with the index of the segment, the number of the key and
    /// the sums; nothing else of the result is kept in memory.
    pub async fn sum_usage(
        &self,
        roll_ups: RollUps,
        segments: &[UsageSegment],
        keys: Option<&[i64]>,
        mut each: impl FnMut(usize, i64, &UsageSums),
    ) -> Result<()> {
        if segments.is_empty() {
            return Ok(());
        }
        self.check_in_place()?;
        let _permit = self.usage_reads.acquire().await.expect("nothing closes the semaphore");
        let pairs: Vec<[i64; 2]> = segments.iter().map(|one| [to_db(one.from), to_db(one.until)]).collect();
        let sql = match roll_ups {
            RollUps::Hours => SUM_HOURS.as_str(),
            RollUps::Days => SUM_DAYS.as_str(),
        };
        let query: Query = sqlx::query(sql);
        let query = query.bind(serde_json::json!(pairs).to_string());
        let query = query.bind(keys.map(|keys| serde_json::json!(keys).to_string()));
        let mut rows = query.fetch(&self.readers);
        while let Some(row) = rows.try_next().await.map_err(|error| self.failed(error))? {
            let mut values = [0; UsageSums::VALUES];
            for (index, value) in values.iter_mut().enumerate() {
                *value = from_db(self.at(&row, index + 2)?);
            }
            let segment = usize::try_from(self.at::<i64>(&row, 0)?).unwrap_or_default();
            each(segment, self.at(&row, 1)?, &UsageSums::from_values(values));
        }
        Ok(())
    }

    /// The last exchanges that the filter matches, the newest first.
    pub async fn last_exchanges(&self, filter: &UsageFilter, limit: u64) -> Result<Vec<Exchange>> {
        self.exchanges(filter, None, 0, limit, "DESC").await
    }

    /// The exchanges with a number greater than `after` that the filter matches, the oldest first.
    pub async fn exchanges_after(
        &self,
        filter: &UsageFilter,
        after: u64,
        limit: u64,
    ) -> Result<Vec<Exchange>> {
        self.exchanges(filter, None, after, limit, "ASC").await
    }

    /// The exchanges of a request among those, the oldest first. It reads all of them: ids have no index.
    pub async fn exchanges_of_request(
        &self,
        request_id: &str,
        filter: &UsageFilter,
        after: u64,
        limit: u64,
    ) -> Result<Vec<Exchange>> {
        self.exchanges(filter, Some(request_id), after, limit, "ASC").await
    }

    async fn exchanges(
        &self,
        filter: &UsageFilter,
        request_id: Option<&str>,
        after: u64,
        limit: u64,
        order: &'static str,
    ) -> Result<Vec<Exchange>> {
        let counters: Vec<_> = Counter::ALL.into_iter().map(|one| format!("e.{}", one.name())).collect();
        let select = AssertSqlSafe(format!(
            "SELECT {KEY}, e.seq, e.ended_at, e.duration, e.first_byte, e.request_id, e.status, e.outcome, e.fault,
                 e.not_counted, e.estimated_prompt, e.estimated_answer, {}
             FROM exchanges e CROSS JOIN usage_keys k ON k.id = e.key
             WHERE {MATCHES} AND e.seq > $8 AND ($10 IS NULL OR e.request_id = $10) ORDER BY e.seq {order} LIMIT $9",
            counters.join(", ")
        ));
        let query = filter.bind(sqlx::query(select)).bind(to_db(after)).bind(to_db(limit));
        let query = query.bind(request_id.map(str::to_owned));
        self.read_usage(query).await?.iter().map(|row| self.exchange(row)).collect()
    }

    /// The number of the last exchange; zero before the first.
    pub async fn last_exchange_number(&self) -> Result<u64> {
        let query = "SELECT COALESCE(MAX(last_exchange), 0) FROM usage_writers";
        let rows = self.read_usage(sqlx::query(query)).await?;
        rows.first().map_or(Ok(0), |row| self.at(row, 0).map(from_db))
    }

    /// The providers and models of a day, in days since 1970.
    pub async fn models_of_day(&self, day: u64) -> Result<Vec<(String, String)>> {
        let select = "SELECT DISTINCT k.provider, k.model FROM usage_days u JOIN usage_keys k ON k.id = u.key
             WHERE u.day = $1";
        let rows = self.read_usage(sqlx::query(select).bind(to_db(day))).await?;
        rows.iter().map(|row| Ok((self.at(row, 0)?, self.at(row, 1)?))).collect()
    }

    /// Bytes and tokens of the text that estimates learn from since a day, by provider and model: those with the most requests, at most `limit`.
    pub async fn learned_bytes(&self, since_day: u64, limit: u64) -> Result<Vec<LearnedBytes>> {
        let select = "SELECT k.provider, k.model, sum(u.prompt_bytes), sum(u.answer_bytes),
                 sum(u.prompt_text_tokens), sum(u.answer_text_tokens)
             FROM usage_days u JOIN usage_keys k ON k.id = u.key
             WHERE u.day >= $1 AND k.model <> '' GROUP BY k.provider, k.model
             ORDER BY sum(u.requests) DESC, k.provider, k.model LIMIT $2";
        let query = sqlx::query(select).bind(to_db(since_day)).bind(to_db(limit));
        let learned = |row: &SqliteRow| {
            Ok(LearnedBytes {
                provider: self.at(row, 0)?,
                model: self.at(row, 1)?,
                prompt_bytes: from_db(self.at(row, 2)?),
                answer_bytes: from_db(self.at(row, 3)?),
                prompt_tokens: from_db(self.at(row, 4)?),
                answer_tokens: from_db(self.at(row, 5)?),
            })
        };
        self.read_usage(query).await?.iter().map(learned).collect()
    }

    async fn read_usage(&self, query: Query) -> Result<Vec<SqliteRow>> {
        let _permit = self.usage_reads.acquire().await.expect("nothing closes the semaphore");
        self.read(query).await
    }

    fn usage_key(&self, row: &SqliteRow) -> Result<UsageKey> {
        let text = |index| self.at::<&str>(row, index).map(Into::into);
        Ok(UsageKey {
            user: text(0)?,
            token: text(1)?,
            group: text(2)?,
            provider: text(3)?,
            endpoint: text(4)?,
            model: text(5)?,
            context: from_db(self.at(row, 6)?),
            key_owner: text(7)?,
        })
    }

    fn exchange(&self, row: &SqliteRow) -> Result<Exchange> {
        let text = |index| self.at::<Option<String>>(row, index).map(|text| text.map(Into::into));
        let mut counters = Counters::ZERO;
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            counters.set(counter, from_db(self.at(row, index + 19)?));
        }
        Ok(Exchange {
            number: from_db(self.at(row, 8)?),
            ended_at_ms: from_db(self.at(row, 9)?),
            duration_ms: from_db(self.at(row, 10)?),
            first_byte_ms: self.at::<Option<i64>>(row, 11)?.map(from_db),
            key: self.usage_key(row)?,
            request_id: self.at(row, 12)?,
            status: self.at::<Option<i64>>(row, 13)?.and_then(|status| u16::try_from(status).ok()),
            outcome: self.at::<String>(row, 14)?.into(),
            fault: text(15)?,
            not_counted: text(16)?,
            counters,
            estimated_prompt: from_db(self.at(row, 17)?),
            estimated_answer: from_db(self.at(row, 18)?),
        })
    }

    /// A column by its position: a name would be looked up in each row.
    pub(super) fn at<'r, T>(&self, row: &'r SqliteRow, index: usize) -> Result<T>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        row.try_get(index).map_err(|error| self.failed(error))
    }
}
