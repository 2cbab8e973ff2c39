//! Statements for many rows at once.
//!
//! Their parameters have no numbers: of each numbered one, `SQLite` searches the name in a list of all. They are no JSON
//! either: parsing it would be most of their cost.

use std::sync::{Arc, LazyLock};

use sqlx::{Arguments as _, sqlite::SqliteArguments};

use super::Query;

/// Statements for so many rows of parameters each. Few numbers of rows have one, so that all stay prepared.
pub(super) type Statements = LazyLock<[(usize, String); 3]>;

pub(super) fn statements(statement: impl Fn(usize) -> String) -> [(usize, String); 3] {
    [64, 8, 1].map(|rows| (rows, statement(rows)))
}

/// Splits the rows over the statements.
pub(super) fn chunks<'r, T>(
    statements: &'static Statements,
    mut rest: &'r [T],
) -> impl Iterator<Item = (&'static str, &'r [T])> {
    statements.iter().flat_map(move |(rows, sql)| {
        let (whole, more) = rest.split_at(rest.len() - rest.len() % rows);
        rest = more;
        whole.chunks_exact(*rows).map(|chunk| (sql.as_str(), chunk))
    })
}

/// Rows of parameters.
pub(super) fn values(rows: usize, columns: usize) -> String {
    vec![format!("({})", marks(columns)); rows].join(", ")
}

pub(super) fn marks(columns: usize) -> String {
    vec!["?"; columns].join(", ")
}

pub(super) fn query<T>(sql: &'static str, rows: &[T], mut row: impl FnMut(&mut Parameters, &T)) -> Query {
    let mut parameters = Parameters(SqliteArguments::default());
    for one in rows {
        row(&mut parameters, one);
    }
    sqlx::query_with(sql, parameters.0)
}

/// The parameters of a statement.
pub(super) struct Parameters(SqliteArguments);

impl Parameters {
    pub(super) fn number(&mut self, number: Option<i64>) {
        self.0.add(number).expect("a number is a value of the database");
    }

    pub(super) fn text(&mut self, text: Option<Arc<str>>) {
        self.0.add(text).expect("a text is a value of the database");
    }
}
