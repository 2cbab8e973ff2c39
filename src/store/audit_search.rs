//! Searches of the audit log: filters, both orders, pages. Each filter has an index that ends with the number of the entry,
//! so that a page is read in its order, and nothing is sorted.
//!
//! A search may read far, so that it uses the connections of usage reports: it has a deadline, and delays no other call.

use sqlx::AssertSqlSafe;

use super::{AuditEntry, Query, Result, Store, UsageReader, to_db};

/// The bytes of the texts of one page at most. A page has at least one entry.
const MAX_BYTES: usize = 16 << 20;

/// The entries that are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// The values that entries have.
    pub filter: AuditFilter,
    /// The order.
    pub order: AuditOrder,
    /// The number of the entry that the page begins after, in this order.
    pub after: Option<u64>,
    /// The most entries.
    pub limit: u64,
}

/// The order of entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditOrder {
    /// The order in which they were written.
    #[default]
    OldestFirst,
    /// The reverse.
    NewestFirst,
}

/// The values that entries are restricted to. An absent one is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// The actor.
    pub actor: Option<AuditActor>,
    /// The action.
    pub action: Option<String>,
    /// The target.
    pub target: Option<String>,
    /// The address of the actor.
    pub source: Option<String>,
    /// The first millisecond since 1970.
    pub since_ms: Option<u64>,
    /// The millisecond since 1970 after the last.
    pub until_ms: Option<u64>,
}

/// An actor of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditActor {
    /// A kind and an id, with any token: `user usr_…`, `admin adm_…`, `uid 1000`, `tollgate`.
    Any(String),
    /// The user's token with this id.
    Token(String),
}

/// A page of entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The entries, in the order that was asked for.
    pub entries: Vec<AuditEntry>,
    /// True if others follow.
    pub more: bool,
}

/// The actor of an entry without its token, as the index has it.
const ACTOR: &str = "substr(actor, 1, instr(actor || ' token ', ' token ') - 1)";
/// The token of an entry's actor, as the index has it.
const TOKEN: &str = "substr(actor, instr(actor, ' token ') + 7)";

impl AuditFilter {
    /// The expressions that are restricted, with their values: those that are expected to match the fewest entries first.
    fn values(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let Self { actor, action, target, source, since_ms: _, until_ms: _ } = self;
        let (any, token) = match actor {
            Some(AuditActor::Any(actor)) => (Some(actor), None),
            Some(AuditActor::Token(token)) => (None, Some(token)),
            None => (None, None),
        };
        let all = [
            (TOKEN, token),
            ("target", target.as_ref()),
            (ACTOR, any),
            ("source", source.as_ref()),
            ("action", action.as_ref()),
        ];
        all.into_iter().filter_map(|(expression, value)| Some((expression, value?)))
    }

    /// The range in milliseconds, if there is one: the first and the last.
    fn range(&self) -> Option<(u64, u64)> {
        let Self { since_ms, until_ms, .. } = self;
        (since_ms.is_some() || until_ms.is_some())
            .then(|| (since_ms.unwrap_or(0), until_ms.map_or(u64::MAX, |until| until.saturating_sub(1))))
    }
}

/// The statement of a search. Its parameters: limit, `after`, the first and the last millisecond, then the values.
fn statement(query: &AuditQuery) -> String {
    let (order, before) = match query.order {
        AuditOrder::OldestFirst => ("ASC", ">"),
        AuditOrder::NewestFirst => ("DESC", "<"),
    };
    let mut conditions = vec![format!("seq {before} ?2")];
    for (index, (expression, _)) in query.filter.values().enumerate() {
        // A sign keeps the other indexes from use.
        let sign = if index == 0 { "" } else { "+" };
        conditions.push(format!("{sign}{expression} = ?{}", index + 5));
        conditions.extend((expression == TOKEN).then(|| "instr(actor, ' token ') > 0".to_owned()));
    }
    if query.filter.range().is_some() {
        // Numbers follow times, but for steps of the clock: they bound what is read, and the times decide.
        for bound in ["seq >= (SELECT min(seq)", "seq <= (SELECT max(seq)"] {
            conditions.push(format!("{bound} FROM audit WHERE at BETWEEN ?3 AND ?4)"));
        }
        conditions.push("+at BETWEEN ?3 AND ?4".to_owned());
    }
    format!(
        "SELECT seq, at, actor, source, action, target, detail, hash FROM audit
         WHERE {} ORDER BY seq {order} LIMIT ?1",
        conditions.join(" AND ")
    )
}

impl Store {
    /// The entries that a query asks for. A page ends early if its texts are very long.
    pub async fn search_audit(&self, query: &AuditQuery) -> Result<AuditPage> {
        let first = match query.order {
            AuditOrder::OldestFirst => 0,
            AuditOrder::NewestFirst => u64::MAX,
        };
        let (since, until) = query.filter.range().unwrap_or_default();
        let mut statement: Query = sqlx::query(AssertSqlSafe(statement(query)))
            .bind(to_db(query.limit.saturating_add(1)))
            .bind(to_db(query.after.unwrap_or(first)))
            .bind(to_db(since))
            .bind(to_db(until));
        for (_, value) in query.filter.values() {
            statement = statement.bind(value.clone());
        }
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let (mut page, mut bytes) = (AuditPage::default(), 0);
        let read = self.each_row(UsageReader::Admin, statement, |row| {
            if page.more || page.entries.len() >= limit || bytes > MAX_BYTES {
                page.more = true;
                return Ok(());
            }
            let entry = self.entry(row)?;
            bytes += entry.detail.len() + entry.target.len() + entry.actor.len();
            page.entries.push(entry);
            Ok(())
        });
        read.await?;
        Ok(page)
    }
}

/// The most ids that a name is looked up for.
const MAX_IDS: u32 = 5;

impl Store {
    /// The ids of users whom entries of the log gave this name, also of those who were removed since. Not all, if they are many.
    pub async fn audited_users(&self, name: &str) -> Result<Vec<String>> {
        let statement = "SELECT DISTINCT target FROM audit
             WHERE action IN ('user.create', 'user.change', 'user.import') AND json_extract(detail, '$.name') = ?1
             LIMIT ?2";
        let statement: Query = sqlx::query(statement).bind(name.to_owned()).bind(MAX_IDS);
        let mut found = Vec::new();
        let read = self.each_row(UsageReader::Admin, statement, |row| {
            found.push(self.get(row, "target")?);
            Ok(())
        });
        read.await?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;
    use tempfile::TempDir;

    use super::*;

    fn filters() -> Vec<(&'static str, AuditFilter)> {
        let text = || Some("x".to_owned());
        let none = AuditFilter::default;
        vec![
            ("sqlite_autoindex_audit_1", none()),
            ("audit_by_actor", AuditFilter { actor: text().map(AuditActor::Any), action: text(), ..none() }),
            ("audit_by_token", AuditFilter { actor: text().map(AuditActor::Token), ..none() }),
            ("audit_by_action", AuditFilter { action: text(), since_ms: Some(1), ..none() }),
            ("audit_by_target", AuditFilter { target: text(), source: text(), ..none() }),
            ("audit_by_source", AuditFilter { source: text(), action: text(), ..none() }),
            ("audit_by_time", AuditFilter { since_ms: Some(1), until_ms: Some(9), ..none() }),
        ]
    }

    #[tokio::test]
    async fn each_filter_has_an_index_and_nothing_is_sorted() {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        for (index, filter) in filters() {
            for order in [AuditOrder::OldestFirst, AuditOrder::NewestFirst] {
                let query = AuditQuery { filter: filter.clone(), order, after: None, limit: 10 };
                let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement(&query)));
                let rows = store.read(sqlx::query(explain)).await.unwrap();
                let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
                let plan = plan.join("; ");
                assert!(plan.contains(index) && !plan.contains("SCAN") && !plan.contains("SORT"), "{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{plan}");
            }
        }
    }
}
