//! Writing batches. A batch becomes a few statements, each for many rows: `statements` makes them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use super::{
    super::{
        Result, Store, from_db,
        invalidation::Invalidates,
        statements::{Parameters, Statements, chunks, marks, query, statements, values},
        to_db,
        writer::Transaction,
    },
    Exchange, MAX_CELL, UsageBatch, UsageKey, UsageSums,
};
use crate::usage::Counter;
use foldhash::fast::RandomState;

/// Single exchanges that the store keeps at most. Older ones make room, whatever their age.
const MAX_EXCHANGES: i64 = 2_000_000;
/// Hours of a day.
const HOURS: u64 = 24;
/// The time after which a writer is forgotten, in milliseconds. A batch is not repeated for so long.
const WRITER_KEPT_MS: u64 = 86_400_000;

/// The columns of a key.
const KEY: [&str; 8] =
    ["user_id", "token_id", "group_name", "provider", "endpoint", "model", "context", "key_owner"];

/// The numbers of keys. They are few: the ledger bounds the part that clients choose.
type Ids<'b> = HashMap<&'b UsageKey, i64, RandomState>;

static FIND_KEYS: Statements = LazyLock::new(|| statements(find_keys));
static UPSERT_KEYS: Statements = LazyLock::new(|| statements(upsert_keys));
static UPSERT_HOURS: Statements = LazyLock::new(|| statements(|rows| upsert("usage_hours", "hour", rows)));
static UPSERT_DAYS: Statements = LazyLock::new(|| statements(|rows| upsert("usage_days", "day", rows)));
static INSERT_EXCHANGES: Statements = LazyLock::new(|| statements(insert_exchanges));

/// A statement that finds keys whose last day is not before the given one: parameters are the columns and the day.
fn find_keys(rows: usize) -> String {
    let row = |number: usize| format!("({}, {number})", marks(KEY.len() + 1));
    let keys: Vec<_> = (0..rows).map(row).collect();
    let columns = KEY.iter().zip(1..);
    let equal: Vec<_> = columns.map(|(name, number)| format!("k.{name} = v.column{number}")).collect();
    // In the order of the parameters: a join may be made in another one.
    format!(
        "SELECT v.column10, k.id FROM (VALUES {}) v CROSS JOIN usage_keys k ON {} AND k.last_day >= v.column9",
        keys.join(", "),
        equal.join(" AND ")
    )
}

fn upsert_keys(rows: usize) -> String {
    let columns = KEY.join(", ");
    format!(
        "INSERT INTO usage_keys ({columns}, last_day) VALUES {}
         ON CONFLICT ({columns}) DO UPDATE SET last_day = excluded.last_day WHERE last_day < excluded.last_day",
        values(rows, KEY.len() + 1)
    )
}

/// A statement that adds rows to a roll-up: period, key and values.
fn upsert(table: &str, period: &str, rows: usize) -> String {
    let columns: Vec<_> = UsageSums::columns().collect();
    let sums: Vec<_> = columns
        .iter()
        .map(|column| format!("{column} = min({column} + excluded.{column}, {MAX_CELL})"))
        .collect();
    format!(
        "INSERT INTO {table} ({period}, key, {}) VALUES {} ON CONFLICT ({period}, key) DO UPDATE SET {}",
        columns.join(", "),
        values(rows, columns.len() + 2),
        sums.join(", ")
    )
}

fn insert_exchanges(rows: usize) -> String {
    let counters: Vec<_> = Counter::ALL.into_iter().map(Counter::name).collect();
    format!(
        "INSERT INTO exchanges (seq, ended_at, duration, first_byte, key, request_id, status, outcome, fault, not_counted,
             estimated_prompt, estimated_answer, {}) VALUES {}",
        counters.join(", "),
        values(rows, 12 + counters.len())
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
        let hours: Vec<_> = batch.hours.iter().map(|(hour, key, sums)| ((*hour, ids[key]), *sums)).collect();
        let days: Vec<_> = days(&hours).into_iter().collect();
        for (statements, rows) in [(&UPSERT_HOURS, hours), (&UPSERT_DAYS, days)] {
            for (sql, rows) in chunks(statements, &rows) {
                let query = query(sql, rows, Parameters::sums);
                self.step(&mut transaction, query).await?;
            }
        }
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
    async fn intern<'b>(&self, transaction: &mut Transaction, batch: &'b UsageBatch) -> Result<Ids<'b>> {
        let hours = batch.hours.iter().map(|(hour, key, _)| (key, hour / HOURS));
        let single = batch.exchanges.iter().map(|one| (&one.key, one.ended_at_ms / 86_400_000));
        let mut last_days = HashMap::<&UsageKey, u64, RandomState>::default();
        for (key, day) in hours.chain(single) {
            let last = last_days.entry(key).or_default();
            *last = day.max(*last);
        }
        let mut ids = Ids::default();
        let rest = self.find(transaction, last_days.into_iter().collect(), &mut ids).await?;
        for (sql, keys) in chunks(&UPSERT_KEYS, &rest) {
            self.step(transaction, query(sql, keys, Parameters::key)).await?;
        }
        if !self.find(transaction, rest, &mut ids).await?.is_empty() {
            return Err(self.corrupt("a key of the usage ledger is not found again".to_owned()));
        }
        Ok(ids)
    }

    /// Adds the numbers of the keys that have one and are used on the day or later. Returns the others.
    async fn find<'b>(
        &self,
        transaction: &mut Transaction,
        mut keys: Vec<(&'b UsageKey, u64)>,
        ids: &mut Ids<'b>,
    ) -> Result<Vec<(&'b UsageKey, u64)>> {
        for (sql, keys) in chunks(&FIND_KEYS, &keys) {
            let query = query(sql, keys, Parameters::key);
            for row in transaction.fetch_all(query).await? {
                let number = usize::try_from(self.at::<i64>(&row, 0)?).unwrap_or(usize::MAX);
                if let Some((key, _)) = keys.get(number) {
                    ids.insert(key, self.at(&row, 1)?);
                }
            }
        }
        keys.retain(|(key, _)| !ids.contains_key(key));
        Ok(keys)
    }

    async fn insert(
        &self,
        transaction: &mut Transaction,
        exchanges: &[Exchange],
        ids: &Ids<'_>,
        last: u64,
    ) -> Result<()> {
        let mut number = last;
        for (sql, exchanges) in chunks(&INSERT_EXCHANGES, exchanges) {
            let query = query(sql, exchanges, |parameters, exchange| {
                number = number.saturating_add(1);
                parameters.exchange(exchange, ids[&exchange.key], number);
            });
            self.step(transaction, query).await?;
        }
        let trim = "DELETE FROM exchanges WHERE seq <= (SELECT MAX(seq) FROM exchanges) - $1";
        self.step(transaction, sqlx::query(trim).bind(MAX_EXCHANGES)).await?;
        Ok(())
    }
}

/// Sums by day and key of those by hour and key.
fn days(hours: &[((u64, i64), UsageSums)]) -> BTreeMap<(u64, i64), UsageSums> {
    let mut days = BTreeMap::<(u64, i64), UsageSums>::new();
    for ((hour, id), sums) in hours {
        days.entry((hour / HOURS, *id)).or_default().add(sums);
    }
    days
}

/// A statement with the parameters of all rows.
impl Parameters {
    /// The columns of a roll-up, in the order of [`upsert`].
    fn sums(&mut self, ((period, id), sums): &((u64, i64), UsageSums)) {
        self.number(Some(to_db(*period)));
        self.number(Some(*id));
        sums.values().for_each(|value| self.number(Some(to_db(value.min(MAX_CELL)))));
    }

    /// The columns of a key, in the order of [`KEY`], and a day.
    fn key(&mut self, (key, day): &(&UsageKey, u64)) {
        let UsageKey { user, token, group, provider, endpoint, model, context, key_owner } = key;
        for text in [user, token, group, provider, endpoint, model] {
            self.text(Some(Arc::clone(text)));
        }
        self.number(Some(to_db(*context)));
        self.text(Some(Arc::clone(key_owner)));
        self.number(Some(to_db(*day)));
    }

    /// The columns of one exchange, in the order of [`insert_exchanges`].
    fn exchange(&mut self, exchange: &Exchange, key: i64, number: u64) {
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
        let optional = |text: &Option<Cow<'static, str>>| text.as_deref().map(Arc::from);
        self.number(Some(to_db(number)));
        self.number(Some(to_db(*ended_at_ms)));
        self.number(Some(to_db(*duration_ms)));
        self.number(first_byte_ms.map(to_db));
        self.number(Some(key));
        self.text(Some(Arc::from(request_id.as_str())));
        self.number(status.map(i64::from));
        self.text(Some(Arc::from(&**outcome)));
        self.text(optional(fault));
        self.text(optional(not_counted));
        let counts = [*estimated_prompt, *estimated_answer].into_iter();
        let counts = counts.chain(counters.iter().map(|(_, value)| value));
        counts.for_each(|count| self.number(Some(to_db(count.min(MAX_CELL)))));
    }
}
