//! Tables of numbers for people: columns as wide as their widest cell, numbers to the right, foreign text escaped and cut.

use std::collections::BTreeMap;

use crate::{escape, money::Amounts};

/// The longest cell, in characters.
const MAX_CELL: usize = 60;

/// The side that a column's cells stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Align>,
    titles: Vec<String>,
    widths: Vec<usize>,
    /// The widths of the columns below the titles that were printed last.
    printed: Option<Vec<usize>>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these titles.
    pub(super) fn new(head: Vec<(String, Align)>) -> Self {
        let (titles, columns): (Vec<_>, _) =
            head.into_iter().map(|(title, align)| (shown(&title), align)).unzip();
        let widths = titles.iter().map(|title| title.chars().count()).collect();
        Self { columns, titles, widths, printed: None, rows: Vec::new() }
    }

    /// The table below the printed one, without rows.
    pub(super) fn continued(self) -> Self {
        Self { printed: Some(self.widths.clone()), rows: Vec::new(), ..self }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: &[String]) {
        let cells: Vec<String> = cells.iter().map(|cell| shown(cell)).collect();
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = cell.chars().count().max(*width);
        }
        self.rows.push(cells);
    }

    /// The lines of the table. They begin with the titles, unless those that were printed stand above the same columns.
    pub(super) fn text(&self) -> String {
        let titles = (self.printed.as_ref() != Some(&self.widths)).then_some(&self.titles);
        titles.into_iter().chain(&self.rows).map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &[String]) -> String {
        let cells =
            row.iter().zip(&self.columns).zip(&self.widths).map(|((cell, align), width)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
        let cells: Vec<String> = cells.collect();
        format!("{}\n", cells.join("  ").trim_end())
    }
}

/// A cell, escaped first: an escape is not cut.
fn shown(cell: &str) -> String {
    let cell = escape::line(cell);
    if cell.char_indices().nth(MAX_CELL).is_none() {
        return cell.into_owned();
    }
    let kept: String = cell.chars().take(MAX_CELL - 3).collect();
    format!("{kept}...")
}

/// A cost of a document, rounded for people; `-` if there is none.
pub(super) fn cost(amounts: &BTreeMap<String, String>, mark: &str) -> String {
    let cost = Amounts::read(amounts);
    if cost.is_empty() { "-".to_owned() } else { format!("{mark}{cost}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_rounded() {
        let check = |amounts: &[(&str, &str)], expected: &str| {
            let amounts = amounts.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned()));
            assert_eq!(cost(&amounts.collect(), "~"), expected);
        };
        check(&[], "-");
        check(&[("USD", "1.8649")], "~1.86 USD");
        check(&[("EUR", "0.0004"), ("USD", "12")], "~0.0004 EUR + 12.00 USD");
    }

    #[test]
    fn cells_are_aligned_escaped_and_cut() {
        let mut table = Table::new(vec![("NAME".into(), Align::Left), ("N".into(), Align::Right)]);
        table.row(&["a\n\u{202e}".into(), "1,000".into()]);
        table.row(&["b".into(), "7".into()]);
        let expected = "NAME             N\na\\n\\u{202e}  1,000\nb                7\n";
        assert_eq!(table.text(), expected);
        let mut table = table.continued();
        table.row(&["c".into(), "10,000".into()]);
        let expected = "NAME              N\nc            10,000\n";
        assert_eq!(table.text(), expected, "a wider column has its title again");
        let mut table = table.continued();
        table.row(&["d".into(), "2".into()]);
        assert_eq!(table.text(), "d                 2\n");
        let long = shown(&"é".repeat(70));
        assert_eq!((long.chars().count(), long.ends_with("é...")), (60, true));
    }
}
