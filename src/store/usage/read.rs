//! Queries of the ledger. Sums are grouped by the number of the key, which is an integer; names are joined afterwards.

use sqlx::{AssertSqlSafe, Row as _, sqlite::SqliteRow};

use super::{
    super::{Query, Result, Store, from_db, to_db},
    Exchange, UsageKey, UsageSums,
    readers::UsageReader,
};
use crate::{
    name::Scope,
    usage::{Counter, Counters},
};

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

/// The values that dimensions are restricted to. An absent one is any, an empty one none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// The caller that asks. It restricts nothing.
    pub reader: UsageReader,
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
    /// The endpoints of the calling token; none for all.
    pub scopes: Option<Vec<Scope>>,
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

/// The columns of a key, in the order of [`Store::usage_key`].
const KEY: &str =
    "k.user_id, k.token_id, k.group_name, k.provider, k.endpoint, k.model, k.context, k.key_owner";

/// The columns of [`KEY`].
const KEY_COLUMNS: usize = 8;

/// A statement for the sums of each segment by key, with the columns of the key. The first parameter is an array of the
/// segments as pairs, the second the first day.
fn sum(roll_ups: RollUps, filter: &UsageFilter) -> String {
    let (table, period) = match roll_ups {
        RollUps::Hours => ("usage_hours", "hour"),
        RollUps::Days => ("usage_days", "day"),
    };
    let sums: Vec<_> = UsageSums::columns().map(|column| format!("sum(u.{column}) AS {column}")).collect();
    let columns: Vec<_> = UsageSums::columns().map(|column| format!("s.{column}")).collect();
    let of = match filter.conditions(3) {
        all if all.is_empty() => String::new(),
        all => format!(
            "WHERE u.key IN (SELECT k.id FROM usage_keys k WHERE {} AND k.last_day >= ?2)",
            all.join(" AND ")
        ),
    };
    format!(
        "SELECT s.segment, {KEY}, {} FROM (
             SELECT p.key AS segment, u.key AS key, {} FROM json_each(?1) p CROSS JOIN {table} u
             ON u.{period} >= p.value ->> 0 AND u.{period} < p.value ->> 1
             {of} GROUP BY p.key, u.key
         ) s CROSS JOIN usage_keys k ON k.id = s.key",
        columns.join(", "),
        sums.join(", "),
    )
}

impl UsageFilter {
    /// The values, with their columns of `usage_keys`.
    fn values(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let Self { reader: _, user, token, group, provider, endpoint, model, key_owner, scopes: _ } = self;
        let all = [
            ("user_id", user),
            ("token_id", token),
            ("group_name", group),
            ("provider", provider),
            ("endpoint", endpoint),
            ("model", model),
            ("key_owner", key_owner),
        ];
        all.into_iter().filter_map(|(column, value)| Some((column, value.as_ref()?)))
    }

    /// Conditions on `usage_keys k`, for the values that are there only: others would keep indexes from use. Their parameters
    /// are those of `bind`, from `first` on.
    fn conditions(&self, first: usize) -> Vec<String> {
        let mut numbers = first..;
        let mut is = |column: &str| format!("k.{column} = ?{}", numbers.next().unwrap_or_default());
        let mut all: Vec<_> = self.values().map(|(column, _)| is(column)).collect();
        if let Some(scopes) = &self.scopes {
            let mut one = |scope: &Scope| {
                let endpoint = scope.endpoint.as_ref().map(|_| "endpoint");
                let both: Vec<_> = ["provider"].into_iter().chain(endpoint).map(&mut is).collect();
                both.join(" AND ")
            };
            let any: Vec<_> = scopes.iter().map(&mut one).collect();
            all.push(if any.is_empty() { "FALSE".to_owned() } else { format!("({})", any.join(" OR ")) });
        }
        all
    }

    fn bind(&self, query: Query) -> Query {
        let values = self.values().map(|(_, value)| value.clone());
        let scopes = self.scopes.iter().flatten();
        let scopes = scopes.flat_map(|one| [Some(one.provider.to_string()), one.endpoint.clone()]).flatten();
        values.chain(scopes).fold(query, Query::bind)
    }
}

impl Store {
    /// All keys, with their numbers.
    #[cfg(test)]
    pub async fn usage_keys(&self) -> Result<Vec<(i64, UsageKey)>> {
        let select = AssertSqlSafe(format!("SELECT {KEY}, k.id FROM usage_keys k"));
        let rows = self.read_usage(sqlx::query(select)).await?;
        rows.iter().map(|row| Ok((self.at(row, KEY_COLUMNS)?, self.usage_key(row, 0)?))).collect()
    }

    /// Sums each segment by key, of those that the filter matches. Calls `each` with the index of the segment, the key and
    /// the sums; nothing else of the result is kept in memory.
    pub async fn sum_usage(
        &self,
        roll_ups: RollUps,
        segments: &[UsageSegment],
        filter: &UsageFilter,
        mut each: impl FnMut(usize, &UsageKey, &UsageSums),
    ) -> Result<()> {
        let Some(first) = segments.iter().map(|one| one.from).min() else { return Ok(()) };
        let first_day = match roll_ups {
            RollUps::Hours => first / 24,
            RollUps::Days => first,
        };
        let pairs: Vec<[i64; 2]> = segments.iter().map(|one| [to_db(one.from), to_db(one.until)]).collect();
        let query: Query = sqlx::query(AssertSqlSafe(sum(roll_ups, filter)));
        let query = query.bind(serde_json::json!(pairs).to_string()).bind(to_db(first_day));
        self.each_row(filter.reader, filter.bind(query), |row| {
            let mut values = [0; UsageSums::VALUES];
            for (index, value) in values.iter_mut().enumerate() {
                *value = from_db(self.at(row, index + 1 + KEY_COLUMNS)?);
            }
            let segment = usize::try_from(self.at::<i64>(row, 0)?).unwrap_or_default();
            each(segment, &self.usage_key(row, 1)?, &UsageSums::from_values(values));
            Ok(())
        })
        .await
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
        let mut conditions = vec!["e.seq > ?1".to_owned()];
        conditions.extend(request_id.map(|_| "e.request_id = ?3".to_owned()));
        conditions.extend(filter.conditions(4));
        let select = AssertSqlSafe(format!(
            "SELECT {KEY}, e.seq, e.ended_at, e.duration, e.first_byte, e.request_id, e.status, e.outcome, e.fault,
                 e.not_counted, e.estimated_prompt, e.estimated_answer, {}
             FROM exchanges e CROSS JOIN usage_keys k ON k.id = e.key
             WHERE {} ORDER BY e.seq {order} LIMIT ?2",
            counters.join(", "),
            conditions.join(" AND "),
        ));
        let query = sqlx::query(select).bind(to_db(after)).bind(to_db(limit));
        let query = query.bind(request_id.map(str::to_owned));
        let mut found = Vec::new();
        let read = self.each_row(filter.reader, filter.bind(query), |row| {
            found.push(self.exchange(row)?);
            Ok(())
        });
        read.await?;
        Ok(found)
    }

    /// The number of the last exchange; zero before the first.
    pub async fn last_exchange_number(&self) -> Result<u64> {
        let query = "SELECT COALESCE(MAX(last_exchange), 0) FROM usage_writers";
        let rows = self.read_usage(sqlx::query(query)).await?;
        rows.first().map_or(Ok(0), |row| self.at(row, 0).map(from_db))
    }

    /// Calls `each` with all keys of a day since 1970, those that were stored first before others.
    pub async fn usage_keys_of_day(&self, day: u64, mut each: impl FnMut(&UsageKey)) -> Result<()> {
        let select = AssertSqlSafe(format!(
            "SELECT {KEY} FROM usage_days u CROSS JOIN usage_keys k ON k.id = u.key WHERE u.day = ?1 ORDER BY u.key"
        ));
        let query: Query = sqlx::query(select).bind(to_db(day));
        let read = self.each_row(UsageReader::Admin, query, |row| {
            each(&self.usage_key(row, 0)?);
            Ok(())
        });
        read.await
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
        self.read(query).await
    }

    /// Calls `each` with all rows, on a connection for reads that may take long.
    pub(in super::super) async fn each_row(
        &self,
        reader: UsageReader,
        query: Query,
        each: impl FnMut(&SqliteRow) -> Result<()>,
    ) -> Result<()> {
        self.check_in_place()?;
        self.usage_readers.read(&self.path, reader, query, each).await
    }

    /// The key in the columns from an index on.
    fn usage_key(&self, row: &SqliteRow, from: usize) -> Result<UsageKey> {
        let text = |index| self.at::<&str>(row, from + index).map(Into::into);
        Ok(UsageKey {
            user: text(0)?,
            token: text(1)?,
            group: text(2)?,
            provider: text(3)?,
            endpoint: text(4)?,
            model: text(5)?,
            context: from_db(self.at(row, from + 6)?),
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
            key: self.usage_key(row, 0)?,
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
