//! Usage as CSV (RFC 4180): one line of names, then one line for each row. Columns do not depend on the rows: there is a
//! cost for each currency that the price files have, so that imports find the same columns each time. Hidden characters are escaped, so that a cell holds no line end. No cell is a formula.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::document::{RecentExchange, RecentExchanges, UsageFigures, UsageReport, UsageRow};
use crate::{access_record::Outcome, compile::Prices, escape, usage::Counter};

/// The CSV of a report, whose costs are those under these prices.
pub(super) fn report(report: &UsageReport, prices: &Prices) -> String {
    let currencies = currencies(prices);
    let mut text = String::new();
    let mut head: Vec<String> = report.every.iter().map(|_| "time".to_owned()).collect();
    for name in &report.by {
        head.push(name.clone());
        head.extend((name == "user").then(|| "user_name".to_owned()));
    }
    head.extend(["requests", "failed", "not_counted"].map(str::to_owned));
    head.extend(failures().map(|outcome| outcome.as_str().to_owned()));
    head.extend(counts(&currencies));
    line(&mut text, head);
    for row in &report.rows {
        line(&mut text, report_row(row, report, &currencies));
    }
    text
}

fn report_row(row: &UsageRow, report: &UsageReport, currencies: &BTreeSet<String>) -> Vec<String> {
    let mut cells: Vec<String> = report.every.iter().map(|_| row.time.clone().unwrap_or_default()).collect();
    for name in &report.by {
        let value = if row.rest { crate::ledger::report::REST } else { row.value(name).unwrap_or_default() };
        cells.push(value.to_owned());
        cells.extend((name == "user").then(|| row.user_name.clone().unwrap_or_default()));
    }
    let UsageFigures { requests, failed, failures: by_outcome, not_counted, .. } = &row.sums;
    cells.extend([requests, failed, not_counted].map(u64::to_string));
    cells.extend(failures().map(|outcome| number(by_outcome, outcome.as_str())));
    let UsageFigures { tokens, counters, estimated_prompt_tokens, estimated_answer_tokens, .. } = &row.sums;
    let UsageFigures { cost, unpriced_tokens, .. } = &row.sums;
    let estimated = [estimated_prompt_tokens, estimated_answer_tokens];
    cells.extend(counted(*tokens, counters, estimated, *unpriced_tokens, cost, currencies));
    cells
}

/// The CSV of exchanges, whose costs are those under these prices.
pub(super) fn recent(document: &RecentExchanges, prices: &Prices) -> String {
    let currencies = currencies(prices);
    let mut text = String::new();
    let head = [
        "number",
        "at",
        "request_id",
        "user",
        "user_name",
        "token",
        "group",
        "provider",
        "endpoint",
        "model",
        "key_owner",
        "status",
        "outcome",
        "fault",
        "not_counted",
        "first_byte_ms",
        "duration_ms",
    ];
    line(&mut text, head.map(str::to_owned).into_iter().chain(counts(&currencies)));
    for one in &document.exchanges {
        line(&mut text, recent_row(one, &currencies));
    }
    text
}

fn recent_row(one: &RecentExchange, currencies: &BTreeSet<String>) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut cells = vec![
        one.number.to_string(),
        one.at.clone(),
        one.request_id.clone(),
        one.user.clone(),
        text(&one.user_name),
        one.token.clone(),
        one.group.clone(),
        one.provider.clone(),
        one.endpoint.clone(),
        one.model.clone(),
        one.key_owner.clone(),
        one.status.map_or_else(String::new, |status| status.to_string()),
        one.outcome.clone(),
        text(&one.fault),
        text(&one.not_counted),
        one.first_byte_ms.map_or_else(String::new, |ms| ms.to_string()),
        one.duration_ms.to_string(),
    ];
    let estimated = [&one.estimated_prompt_tokens, &one.estimated_answer_tokens];
    cells.extend(counted(one.tokens, &one.counters, estimated, one.unpriced_tokens, &one.cost, currencies));
    cells
}

fn failures() -> impl Iterator<Item = Outcome> {
    Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Success)
}

/// The currencies that a cost can have, whether or not a row has one.
fn currencies(prices: &Prices) -> BTreeSet<String> {
    prices.entries().map(|entry| entry.price.currency.code().to_owned()).collect()
}

/// The names of the columns that reports and exchanges have in common.
fn counts(currencies: &BTreeSet<String>) -> impl Iterator<Item = String> {
    let counters = Counter::ALL.into_iter().map(|counter| counter.name().to_owned());
    let estimated = ["estimated_prompt_tokens", "estimated_answer_tokens", "unpriced_tokens"];
    let costs = currencies.iter().map(|currency| format!("cost_{currency}"));
    std::iter::once("tokens".to_owned()).chain(counters).chain(estimated.map(str::to_owned)).chain(costs)
}

fn counted(
    tokens: u64,
    counters: &BTreeMap<String, u64>,
    estimated: [&u64; 2],
    unpriced: u64,
    cost: &BTreeMap<String, String>,
    currencies: &BTreeSet<String>,
) -> Vec<String> {
    let mut cells = vec![tokens.to_string()];
    cells.extend(Counter::ALL.into_iter().map(|counter| number(counters, counter.name())));
    cells.extend(estimated.map(u64::to_string));
    cells.push(unpriced.to_string());
    cells.extend(currencies.iter().map(|currency| cost.get(currency).cloned().unwrap_or_default()));
    cells
}

fn number(numbers: &BTreeMap<String, u64>, name: &str) -> String {
    numbers.get(name).copied().unwrap_or_default().to_string()
}

/// Adds a line of these cells.
pub fn line(text: &mut String, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> =
        cells.into_iter().map(|cell| quoted(&as_text(&cell, &escape::line(&cell))).into_owned()).collect();
    text.push_str(&cells.join(","));
    text.push('\n');
}

/// The text of a cell that a spreadsheet takes for text: clients choose names, and a formula runs when the file is opened. No
/// number is changed by that, since none is negative.
fn as_text<'t>(cell: &str, escaped: &'t str) -> Cow<'t, str> {
    const BEGINS: [char; 10] =
        ['=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
    // A spreadsheet may skip spaces before a formula.
    let begins = cell.starts_with(BEGINS) || cell.trim_start().starts_with(BEGINS);
    if begins { format!("'{escaped}").into() } else { escaped.into() }
}

fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains([',', '"']) || cell.starts_with(' ') || cell.ends_with(' ') {
        return format!("\"{}\"", cell.replace('"', "\"\"")).into();
    }
    cell.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stay_on_their_line_and_in_their_column() {
        let check = |cell: &str, expected: &str| {
            let mut text = String::new();
            line(&mut text, [cell.to_owned(), "x".to_owned()]);
            assert_eq!(text, format!("{expected},x\n"));
        };
        check("plain", "plain");
        check("", "");
        check("a,b", "\"a,b\"");
        check("say \"x\"", "\"say \"\"x\"\"\"");
        check(" a", "\" a\"");
        check("a\r\nb\u{202e}", "a\\r\\nb\\u{202e}");
        check("::error::x", "\\u{3a}:error::x");
    }

    #[test]
    fn no_cell_is_a_formula() {
        let check = |cell: &str, expected: &str| {
            let mut text = String::new();
            line(&mut text, [cell.to_owned()]);
            assert_eq!(text, format!("{expected}\n"));
        };
        check("=1+1", "'=1+1");
        check("+1", "'+1");
        check("-1", "'-1");
        check("@SUM(A1)", "'@SUM(A1)");
        check("=HYPERLINK(\"http://x\",1)", "\"'=HYPERLINK(\"\"http://x\"\",1)\"");
        check("\t=1", "'\\t=1");
        check("\r=1", "'\\r=1");
        check("\tx", "'\\tx");
        check("  =1", "'  =1");
        check("\u{ff1d}1", "'\u{ff1d}1");
        check("a=1", "a=1");
        check("gpt-4", "gpt-4");
        check("0.0000025", "0.0000025");
    }
}
