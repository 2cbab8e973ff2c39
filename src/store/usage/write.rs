//! Writing batches. A batch becomes a few statements. Keys and sums, which are few, are passed as one JSON text; single
//! exchanges as parameters, since parsing JSON would be most of their cost.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    super::{Query, Result, Store, from_db, invalidation::Invalidates, to_db, writer::Transaction},
    Exchange, MAX_CELL, UsageBatch, UsageKey, UsageSums,
};
use crate::usage::Counter;

/// Single exchanges that the store keeps at most. Older ones make room, whatever their age.
const MAX_EXCHANGES: i64 = 2_000_000;
/// Hours of a day.
const HOURS: u64 = 24;
/// The time after which a writer is forgotten, in milliseconds. A batch is not repeated for so long.
const WRITER_KEPT_MS: u64 = 86_400_000;

/// The columns of a key.
const KEY: &str = "user_id, token_id, group_name, provider, endpoint, model, context, key_owner";

static UPSERT_HOURS: LazyLock<String> = LazyLock::new(|| upsert("usage_hours", "hour"));
static UPSERT_DAYS: LazyLock<String> = LazyLock::new(|| upsert("usage_days", "day"));
static INSERT_EXCHANGES: LazyLock<[(usize, String); 3]> =
    LazyLock::new(|| [64, 8, 1].map(|rows| (rows, insert_exchanges(rows))));

/// A statement that adds rows to a roll-up: an array of period, key and values.
fn upsert(table: &str, period: &str) -> String {
    let columns: Vec<_> = UsageSums::columns().collect();
    let values: Vec<_> = (2..columns.len() + 2).map(|index| format!("value ->> {index}")).collect();
    let sums: Vec<_> = columns
        .iter()
        .map(|column| format!("{column} = min({column} + excluded.{column}, {MAX_CELL})"))
        .collect();
    format!(
        "INSERT INTO {table} ({period}, key, {}) SELECT value ->> 0, value ->> 1, {} FROM json_each($1) WHERE true
         ON CONFLICT ({period}, key) DO UPDATE SET {}",
        columns.join(", "),
        values.join(", "),
        sums.join(", ")
    )
}

/// A statement that inserts so many single exchanges. Few numbers of rows have one, so that all stay prepared.
fn insert_exchanges(rows: usize) -> String {
    let counters: Vec<_> = Counter::ALL.into_iter().map(Counter::name).collect();
    let columns = 12 + counters.len();
    let parameters = |row: usize| {
        let all: Vec<_> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", all.join(", "))
    };
    let values: Vec<_> = (0..rows).map(parameters).collect();
    format!(
        "INSERT INTO exchanges (seq, ended_at, duration, first_byte, key, request_id, status, outcome, fault, not_counted,
             estimated_prompt, estimated_answer, {}) VALUES {}",
        counters.join(", "),
        values.join(", ")
    )
}

impl Store {
    /// Adds a batch to the ledger. Returns false, and changes nothing, if the writer has added this batch or a later one
    /// before: after an error, a batch can be added again.
    pub async fn add_usage(&self, writer: &str, batch: &UsageBatch, now_ms: u64) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let first = self.claim(&mut transaction, writer, batch, now_ms).await?;
        let Some(last_exchange) = first else { return Ok(false) };
        let ids = self.intern(&mut transaction, batch).await?;
        let hours = rows(batch.hours.iter().map(|(hour, key, sums)| (*hour, ids[key], sums)));
        self.step(&mut transaction, sqlx::query(UPSERT_HOURS.as_str()).bind(hours)).await?;
        let days = days(batch, &ids);
        let days = rows(days.iter().map(|((day, id), sums)| (*day, *id, sums)));
        self.step(&mut transaction, sqlx::query(UPSERT_DAYS.as_str()).bind(days)).await?;
        if !batch.exchanges.is_empty() {
            self.insert(&mut transaction, &batch.exchanges, &ids, last_exchange).await?;
        }
        self.commit(transaction, Invalidates::Nothing).await?;
        Ok(true)
    }

    /// Marks the batch as added. Returns the number of the last exchange before it, or `None` if it was added before.
    async fn claim(
        &self,
        transaction: &mut Transaction,
        writer: &str,
        batch: &UsageBatch,
        now_ms: u64,
    ) -> Result<Option<u64>> {
        let last = sqlx::query("SELECT COALESCE(MAX(last_exchange), 0) AS last FROM usage_writers");
        let last = transaction.fetch_optional(last).await?;
        let last = last.map_or(Ok(0), |row| self.get(&row, "last").map(from_db))?;
        let added = u64::try_from(batch.exchanges.len()).unwrap_or(u64::MAX);
        let claim = "INSERT INTO usage_writers (id, batch, last_exchange, at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE
             SET batch = excluded.batch, last_exchange = excluded.last_exchange, at = excluded.at
             WHERE usage_writers.batch < excluded.batch";
        let claim = sqlx::query(claim).bind(writer.to_owned()).bind(to_db(batch.number));
        let claim = claim.bind(to_db(last.saturating_add(added))).bind(to_db(now_ms));
        if self.step(transaction, claim).await?.rows_affected() == 0 {
            return Ok(None);
        }
        let forget = "DELETE FROM usage_writers WHERE at < $1 AND id <> $2";
        let forget = sqlx::query(forget).bind(to_db(now_ms.saturating_sub(WRITER_KEPT_MS)));
        self.step(transaction, forget.bind(writer.to_owned())).await?;
        Ok(Some(last))
    }

    /// The numbers of all keys of a batch. New keys get one.
    async fn intern<'b>(
        &self,
        transaction: &mut Transaction,
        batch: &'b UsageBatch,
    ) -> Result<HashMap<&'b UsageKey, i64>> {
        let hours = batch.hours.iter().map(|(hour, key, _)| (key, hour / HOURS));
        let single = batch.exchanges.iter().map(|one| (&one.key, one.ended_at_ms / 86_400_000));
        let mut last_days = BTreeMap::<&UsageKey, u64>::new();
        for (key, day) in hours.chain(single) {
            let last = last_days.entry(key).or_default();
            *last = day.max(*last);
        }
        let texts: Vec<Value> = last_days.iter().map(|(key, day)| key_row(key, *day)).collect();
        let texts = Value::from(texts).to_string();
        let upsert = AssertSqlSafe(format!(
            "INSERT INTO usage_keys ({KEY}, last_day)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                 value ->> 7, value ->> 8 FROM json_each($1) WHERE true
             ON CONFLICT ({KEY}) DO UPDATE SET last_day = excluded.last_day WHERE last_day < excluded.last_day"
        ));
        self.step(transaction, sqlx::query(upsert).bind(texts.clone())).await?;
        // In the order of the batch: a join may be made in another one.
        let select = "SELECT k.id FROM json_each($1) j CROSS JOIN usage_keys k
             ON k.user_id = j.value ->> 0 AND k.token_id = j.value ->> 1 AND k.group_name = j.value ->> 2
             AND k.provider = j.value ->> 3 AND k.endpoint = j.value ->> 4 AND k.model = j.value ->> 5
             AND k.context = j.value ->> 6 AND k.key_owner = j.value ->> 7 ORDER BY j.key";
        let rows = transaction.fetch_all(sqlx::query(select).bind(texts)).await?;
        if rows.len() != last_days.len() {
            return Err(self.corrupt("a key of the usage ledger is not found again".to_owned()));
        }
        let ids = rows.iter().map(|row| row.try_get(0).map_err(|error| self.failed(error)));
        last_days.into_keys().zip(ids).map(|(key, id)| Ok((key, id?))).collect()
    }

    async fn insert(
        &self,
        transaction: &mut Transaction,
        exchanges: &[Exchange],
        ids: &HashMap<&UsageKey, i64>,
        last: u64,
    ) -> Result<()> {
        let (mut rest, mut number) = (exchanges, last);
        for (rows, insert) in INSERT_EXCHANGES.iter() {
            while let Some((some, more)) = rest.split_at_checked(*rows) {
                let mut query: Query = sqlx::query(insert.as_str());
                for exchange in some {
                    number = number.saturating_add(1);
                    query = bind_exchange(query, exchange, ids[&exchange.key], number);
                }
                self.step(transaction, query).await?;
                rest = more;
            }
        }
        let trim = "DELETE FROM exchanges WHERE seq <= (SELECT MAX(seq) FROM exchanges) - $1";
        self.step(transaction, sqlx::query(trim).bind(MAX_EXCHANGES)).await?;
        Ok(())
    }
}

/// The sums of a batch by day and key.
fn days(batch: &UsageBatch, ids: &HashMap<&UsageKey, i64>) -> BTreeMap<(u64, i64), UsageSums> {
    let mut days = BTreeMap::<(u64, i64), UsageSums>::new();
    for (hour, key, sums) in &batch.hours {
        days.entry((hour / HOURS, ids[key])).or_default().add(sums);
    }
    days
}

fn rows<'s>(rows: impl Iterator<Item = (u64, i64, &'s UsageSums)>) -> String {
    let row = |(period, id, sums): (u64, i64, &UsageSums)| -> Value {
        let head = [Value::from(to_db(period)), Value::from(id)];
        head.into_iter().chain(sums.values().map(|value| value.min(MAX_CELL).into())).collect()
    };
    rows.map(row).collect::<Value>().to_string()
}

fn key_row(key: &UsageKey, last_day: u64) -> Value {
    let UsageKey { user, token, group, provider, endpoint, model, context, key_owner } = key;
    json!([user, token, group, provider, endpoint, model, to_db(*context), key_owner, to_db(last_day)])
}

/// Binds the columns of one exchange, in the order of [`insert_exchanges`].
fn bind_exchange(query: Query, exchange: &Exchange, key: i64, number: u64) -> Query {
    let Exchange {
        number: _,
        ended_at_ms,
        duration_ms,
        first_byte_ms,
        key: _,
        request_id,
        status,
        outcome,
        fault,
        not_counted,
        counters,
        estimated_prompt,
        estimated_answer,
    } = exchange;
    let text = |text: &Option<Cow<'static, str>>| text.as_deref().map(str::to_owned);
    let query = query.bind(to_db(number)).bind(to_db(*ended_at_ms)).bind(to_db(*duration_ms));
    let query = query.bind(first_byte_ms.map(to_db)).bind(key).bind(request_id.clone());
    let query = query.bind(status.map(i64::from)).bind(outcome.to_string());
    let query = query.bind(text(fault)).bind(text(not_counted));
    let counts = [*estimated_prompt, *estimated_answer].into_iter();
    let counts = counts.chain(counters.iter().map(|(_, value)| value));
    counts.fold(query, |query, count| query.bind(to_db(count.min(MAX_CELL))))
}
