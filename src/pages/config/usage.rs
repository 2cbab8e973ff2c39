//! A user's own usage: what was used by provider and model, and what it cost. The sums are by whole hours; the chart of the
//! last hour adds up single exchanges.

use askama::Template;
use http::StatusCode;

use super::super::{
    chart::Chart,
    client::{Api, Client, with_query},
    frame::Frame,
    over_time::{self, MEASURES, Part, all_parts},
    response::PageResponse,
    shown,
};
use crate::{
    admin::{RecentExchange, RecentExchanges, UsageFigures, UsageReport, UsageRow},
    clock::{from_utc, now_ms, utc},
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
    /// The parts of the chart.
    every: Every,
}

/// The length of a part of the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Every {
    /// Single exchanges are added up, since no sum is of less than an hour.
    FiveMinutes,
    /// The API adds up by this unit.
    Unit(&'static str),
}

/// The ranges, the shortest first.
const RANGES: [Range; 3] = [
    Range { name: "hour", title: "Hour", since: "1h", every: Every::FiveMinutes },
    Range { name: "day", title: "Day", since: "24h", every: Every::Unit("hour") },
    Range { name: "month", title: "Month", since: "30d", every: Every::Unit("day") },
];
/// The range without a word.
const DEFAULT: Range = RANGES[1];
/// The rows that the table shows; the others are one.
const TOP: &str = "50";
/// The exchanges that the chart of the last hour adds up: as many as the API returns at once.
const EXCHANGES: usize = 1000;
/// The exchanges that the page lists.
const LAST: usize = 10;
const PART_MS: u64 = 5 * 60_000;
/// The parts that the last hour touches.
const PARTS: u64 = 13;

#[derive(Template)]
#[template(path = "config/usage.html")]
struct UsagePage<'p> {
    frame: &'p Frame,
    ranges: &'static [Range],
    range: Range,
    /// The measure of the chart: a word of [`MEASURES`].
    measure: &'static str,
    chart: Chart,
    /// The numbers of the chart, by part of time.
    parts: &'p [Part],
    /// The currencies of the costs that the chart leaves out.
    other_currencies: usize,
    /// The time that the chart counts from, if more exchanges than it adds up lie within its range.
    counted_since: Option<String>,
    /// The begin of the sums.
    since: &'p str,
    total: &'p UsageFigures,
    rows: &'p [UsageRow],
    unpriced: usize,
    /// The last exchanges, the newest first.
    last: Vec<&'p RecentExchange>,
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
    let limit = if range.every == Every::FiveMinutes { EXCHANGES } else { LAST };
    // The sums are read after the exchanges, so that no exchange is listed that they lack.
    let recent: RecentExchanges =
        client.get(&with_query("/auth/usage/recent", &[("limit", &limit.to_string())])).await?;
    let models: UsageReport = report(client, range, &[("by", "provider,model"), ("top", TOP)]).await?;
    let asked = value_of(query, "chart");
    let (measure, _) =
        MEASURES.into_iter().find(|(word, _)| asked.as_deref() == Some(*word)).unwrap_or(MEASURES[0]);
    let (parts, counted_since) = match range.every {
        Every::FiveMinutes => last_hour(&recent.exchanges, now_ms()),
        Every::Unit(unit) => {
            let parts = report(client, range, &[("by", "none"), ("every", unit)]).await?;
            (all_parts(&parts), None)
        }
    };
    let page = UsagePage {
        frame,
        ranges: &RANGES,
        range,
        measure,
        chart: over_time::chart(measure, &parts, |time| short(time).to_owned()),
        other_currencies: if measure == "cost" { over_time::other_currencies(&parts) } else { 0 },
        parts: &parts,
        counted_since,
        since: &models.since,
        total: &models.total,
        rows: &models.rows,
        unpriced: models.unpriced.len(),
        last: recent.exchanges.iter().rev().take(LAST).collect(),
        pending: models.pending.is_some(),
    };
    Ok(PageResponse::html(StatusCode::OK, &page))
}

async fn report(
    client: &Client<'_, impl Api>,
    range: Range,
    parameters: &[(&str, &str)],
) -> Result<UsageReport, Fault> {
    let parameters = [&[("since", range.since)], parameters].concat();
    client.get(&with_query("/auth/usage", &parameters)).await
}

/// The sums of the last hour by five minutes, and the time that they count from, if earlier exchanges of that hour are not
/// among these.
fn last_hour(exchanges: &[RecentExchange], now_ms: u64) -> (Vec<Part>, Option<String>) {
    let first = (now_ms / PART_MS + 1).saturating_sub(PARTS) * PART_MS;
    let times = (0..PARTS).map(|part| utc(first + part * PART_MS));
    let mut parts: Vec<Part> = times.map(|time| (time, UsageFigures::default())).collect();
    for exchange in exchanges {
        let at = from_utc(&exchange.at).and_then(|at| at.checked_sub(first));
        let part = at.and_then(|at| usize::try_from(at / PART_MS).ok());
        if let Some((_, sums)) = part.and_then(|part| parts.get_mut(part)) {
            sums.add(exchange);
        }
    }
    let is_full = exchanges.len() >= EXCHANGES;
    // They are in the order of their ends: the earliest arrival need not be the first.
    let earliest = exchanges.iter().map(|one| one.at.as_str()).min().filter(|_| is_full);
    let within = earliest.filter(|at| from_utc(at).is_some_and(|at| at > first));
    (parts, within.map(|at| short(at).to_owned()))
}

/// The part of a time that tells it from its neighbours: the hour of a day, the day of a month.
fn short(time: &str) -> &str {
    match time.split_once('T') {
        Some((_, hour)) => hour.get(..5).unwrap_or(hour),
        None => time.get(5..).unwrap_or(time),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::{admin::Response, pages::Area};

    /// An API whose ledger is empty at the first read, and has one exchange from then on.
    struct Written(AtomicBool);

    impl Api for Written {
        async fn call(&self, _: Method, path: &str, _: Option<&Value>) -> Result<Response, Fault> {
            let is_written = self.0.swap(true, Relaxed);
            let exchanges = if is_written { vec![exchange(NOW, 15, 0)] } else { Vec::new() };
            let figures = UsageFigures { requests: 1, tokens: 15, ..UsageFigures::default() };
            let figures = serde_json::to_value(figures).unwrap();
            let body = if path.starts_with("/auth/usage/recent") {
                json!({ "exchanges": exchanges, "next": exchanges.len() })
            } else {
                let rows = if is_written { vec![json!({ "sums": figures })] } else { Vec::new() };
                json!({
                    "since": NOW, "until": NOW, "by": [], "tz": "UTC", "rows": rows, "total": figures, "unpriced": [],
                })
            };
            let body = body.to_string();
            Ok(Response { status: StatusCode::OK, body, csv: false, link: None, session: None })
        }
    }

    #[tokio::test]
    async fn an_exchange_that_is_listed_is_in_the_sums() {
        for range in RANGES {
            let (api, frame) = (Written(AtomicBool::new(false)), Frame::bare(Area::Config));
            let page =
                show(&Client::new(&api), &frame, Some(&format!("range={}", range.name))).await.unwrap();
            let (_, _, body) = page.into_body(false);
            let body = str::from_utf8(&body).unwrap();
            let listed = [body.contains("Last requests"), body.contains("By provider and model")];
            assert!(listed != [true, false], "{body}");
        }
    }

    const NOW: &str = "2026-11-29T17:06:30Z";

    fn exchange(at: &str, tokens: u64, estimated: u64) -> RecentExchange {
        let exchange = json!({
            "number": 1, "at": at, "requestId": "r", "user": "u", "token": "t", "group": "", "provider": "p",
            "endpoint": "e", "model": "m", "keyOwner": "", "outcome": "success", "durationMs": 1, "tokens": tokens,
            "counters": {}, "estimatedPromptTokens": estimated, "estimatedAnswerTokens": 0, "cost": {},
            "unpricedTokens": 0,
        });
        serde_json::from_value(exchange).unwrap()
    }

    #[test]
    fn the_last_hour_has_parts_of_five_minutes() {
        let check = |exchanges: &[(&str, u64, u64)], expected: &[(&str, u64, u64)]| {
            let exchanges: Vec<_> = exchanges.iter().map(|one| exchange(one.0, one.1, one.2)).collect();
            let (parts, since) = last_hour(&exchanges, from_utc(NOW).unwrap());
            assert_eq!((parts.len(), since), (13, None));
            assert_eq!((short(&parts[0].0), short(&parts[12].0)), ("16:05", "17:05"));
            let seen = parts.iter().filter(|(_, sums)| sums.requests > 0);
            let seen: Vec<_> =
                seen.map(|(time, sums)| (short(time), sums.tokens, sums.estimated_tokens())).collect();
            assert_eq!(seen, expected);
        };
        check(&[], &[]);
        check(&[("2026-11-29T16:04:59Z", 1, 0), ("2026-11-29T17:10:00Z", 1, 0), ("no time", 1, 0)], &[]);
        check(&[("2026-11-29T16:05:00Z", 2, 1)], &[("16:05", 2, 1)]);
        check(
            &[("2026-11-29T16:59:59Z", 2, 0), ("2026-11-29T17:00:00Z", 3, 0), ("2026-11-29T17:04:59Z", 4, 4)],
            &[("16:55", 2, 0), ("17:00", 7, 4)],
        );
    }

    #[test]
    fn a_chart_of_a_part_has_its_begin() {
        let since = |number: usize, at: &str| {
            let exchanges = vec![exchange(at, 1, 0); number];
            last_hour(&exchanges, from_utc(NOW).unwrap()).1
        };
        assert_eq!(since(EXCHANGES, "2026-11-29T16:40:01Z").as_deref(), Some("16:40"));
        assert_eq!(since(EXCHANGES - 1, "2026-11-29T16:40:01Z"), None, "these are all");
        assert_eq!(since(EXCHANGES, "2026-11-29T15:40:01Z"), None, "the hour is whole");
    }
}
