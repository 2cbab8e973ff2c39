//! A user's own usage: what was used by provider and model, and what it cost.

use askama::Template;
use http::StatusCode;

use super::super::{
    chart::{Amount, Chart},
    client::{Api, Client, with_query},
    frame::Frame,
    response::PageResponse,
    shown,
};
use crate::{
    admin::{UsageFigures, UsageReport, UsageRow},
    fault::Fault,
    rewrite::value_of,
};

/// A range that the page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Range {
    /// The word in the address.
    pub(in super::super) name: &'static str,
    pub(in super::super) title: &'static str,
    since: &'static str,
    every: &'static str,
}

/// The ranges, the shortest first.
const RANGES: [Range; 3] = [
    Range { name: "hour", title: "Hour", since: "1h", every: "hour" },
    Range { name: "day", title: "Day", since: "24h", every: "hour" },
    Range { name: "month", title: "Month", since: "30d", every: "day" },
];
/// The range without a word.
const DEFAULT: Range = RANGES[1];
/// The rows that the table shows; the others are one.
const TOP: &str = "50";

#[derive(Template)]
#[template(path = "config/usage.html")]
struct UsagePage<'p> {
    frame: &'p Frame,
    ranges: &'static [Range],
    range: Range,
    chart: Chart,
    total: &'p UsageFigures,
    rows: &'p [UsageRow],
    unpriced: usize,
    /// True if usage waits for the store, and is in no sum.
    pending: bool,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let asked = value_of(query, "range");
    let range = RANGES.into_iter().find(|range| asked.as_deref() == Some(range.name)).unwrap_or(DEFAULT);
    let by = |by: &str, every: &str| {
        with_query(
            "/auth/usage",
            &[
                ("by", by),
                ("since", range.since),
                ("every", every),
                ("top", if every.is_empty() { TOP } else { "" }),
            ],
        )
    };
    let parts: UsageReport = client.get(&by("none", range.every)).await?;
    let models: UsageReport = client.get(&by("provider,model", "")).await?;
    let page = UsagePage {
        frame,
        ranges: &RANGES,
        range,
        chart: Chart::new("Tokens", parts.rows.iter().map(amount).collect()),
        total: &models.total,
        rows: &models.rows,
        unpriced: models.unpriced.len(),
        pending: models.pending.is_some(),
    };
    Ok(PageResponse::html(StatusCode::OK, &page))
}

fn amount(row: &UsageRow) -> Amount {
    let time = row.time.as_deref().unwrap_or_default();
    Amount { time: short(time).to_owned(), total: row.sums.tokens, estimated: row.sums.estimated_tokens() }
}

/// The part of a time that tells it from its neighbours: the hour of a day, the day of a month.
fn short(time: &str) -> &str {
    match time.split_once('T') {
        Some((_, hour)) => hour.get(..5).unwrap_or(hour),
        None => time.get(5..).unwrap_or(time),
    }
}
