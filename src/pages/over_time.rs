//! Usage over time, with the parts in which nothing was used: reports of the API leave them out, and a chart would lie. The
//! chart of one of its measures.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use super::chart::{Amount, Chart, nano};
use crate::{
    admin::{UsageFigures, UsageReport},
    clock::from_utc,
    ledger::range::{Every, Hours, parts},
    money::{Amounts, Currency},
};

/// The measures of a chart: the word in an address, and the title. The first one counts without a word.
pub(super) const MEASURES: [(&str, &str); 4] =
    [("tokens", "Tokens"), ("requests", "Requests"), ("cost", "Cost"), ("errors", "Errors")];

/// A part of time, as the API names it, with its sums.
pub(super) type Part = (String, UsageFigures);

/// All parts of a report that has the sums of parts of UTC, in their order.
pub(super) fn all_parts(report: &UsageReport) -> Vec<Part> {
    let mut found =
        report.rows.iter().map(|row| (row.time.clone().unwrap_or_default(), row.sums.clone())).peekable();
    let mut all = Vec::new();
    for label in labels(report).unwrap_or_default() {
        let sums = found.next_if(|(time, _)| *time == label).map(|(_, sums)| sums);
        all.push((label, sums.unwrap_or_default()));
    }
    // Nothing is lost, whatever the labels are.
    all.extend(found);
    all
}

/// The chart of a measure. `label` is the time of a part, as the page shows it.
pub(super) fn chart(measure: &str, parts: &[Part], label: impl Fn(&str) -> String) -> Chart {
    let (word, title) = MEASURES.into_iter().find(|(word, _)| *word == measure).unwrap_or(MEASURES[0]);
    let amounts = |amount: &dyn Fn(&UsageFigures) -> (u64, u64)| {
        let amounts = parts.iter().map(|(time, sums)| {
            let (total, estimated) = amount(sums);
            Amount { time: label(time), total, estimated }
        });
        amounts.collect()
    };
    match word {
        "requests" => Chart::new(title, amounts(&|sums| (sums.requests, 0))),
        "errors" => Chart::new(title, amounts(&|sums| (sums.failed, 0))),
        "cost" => match currency(parts) {
            // Nobody knows which part of a cost is that of the estimates.
            Some(currency) => Chart::of_money(
                title,
                currency,
                amounts(&|sums| {
                    let cost = cost(sums, currency);
                    (cost, if sums.is_estimated() { cost } else { 0 })
                }),
            ),
            None => Chart::new(title, amounts(&|_| (0, 0))),
        },
        _ => Chart::new(title, amounts(&|sums| (sums.tokens, sums.estimated_tokens()))),
    }
}

/// The currencies of the costs that a chart leaves out, since it has one alone.
pub(super) fn other_currencies(parts: &[Part]) -> usize {
    let all: BTreeSet<&String> = parts.iter().flat_map(|(_, sums)| sums.cost.keys()).collect();
    all.len().saturating_sub(1)
}

/// The currency of the first part that has a cost.
fn currency(parts: &[Part]) -> Option<Currency> {
    parts.iter().find_map(|(_, sums)| Amounts::read(&sums.cost).iter().next()).map(|money| money.currency)
}

fn cost(sums: &UsageFigures, currency: Currency) -> u64 {
    let amounts = Amounts::read(&sums.cost);
    let money = amounts.iter().find(|money| money.currency == currency);
    money.map_or(0, |money| nano(money.pico))
}

fn labels(report: &UsageReport) -> Option<Vec<String>> {
    let (_, every) = Every::ALL.into_iter().find(|(word, _)| Some(*word) == report.every.as_deref())?;
    let hours = Hours::touched(from_utc(&report.since)?, from_utc(&report.until)?);
    let parts = parts(hours, every, &TimeZone::UTC)?;
    Some(parts.into_iter().map(|part| part.label).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(every: &str, since: &str, until: &str, rows: &[(&str, u64)]) -> UsageReport {
        let sums = |tokens: u64| {
            json!({
                "requests": 1, "failed": 0, "failures": {}, "notCounted": 0, "tokens": tokens, "counters": {},
                "estimatedPromptTokens": 0, "estimatedAnswerTokens": 0, "cost": {}, "unpricedTokens": 0,
            })
        };
        let rows: Vec<Value> =
            rows.iter().map(|(time, tokens)| json!({ "time": time, "sums": sums(*tokens) })).collect();
        let report = json!({
            "since": since, "until": until, "by": [], "every": every, "tz": "UTC", "rows": rows, "total": sums(0),
            "unpriced": [],
        });
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn a_chart_has_one_measure() {
        let sums = json!({
            "requests": 9, "failed": 2, "failures": {}, "notCounted": 0, "tokens": 7, "counters": {},
            "estimatedPromptTokens": 3, "estimatedAnswerTokens": 0, "cost": { "EUR": "1", "USD": "0.0025" },
            "unpricedTokens": 0,
        });
        let parts = [
            ("1".to_owned(), UsageFigures::default()),
            ("2".to_owned(), serde_json::from_value(sums).unwrap()),
        ];
        let check = |measure: &str, title: &str, top: &str, estimated: bool| {
            let chart = chart(measure, &parts, str::to_owned);
            assert_eq!((chart.title.as_str(), chart.scale().as_str()), (title, top));
            assert_eq!(chart.estimated, estimated, "{measure}");
        };
        for measure in ["tokens", "", "x"] {
            check(measure, "Tokens", "7", true);
        }
        check("requests", "Requests", "9", false);
        check("errors", "Errors", "2", false);
        check("cost", "Cost (EUR)", "1.00 EUR", true);
        assert_eq!((other_currencies(&parts), other_currencies(&parts[..1])), (1, 0));
    }

    #[test]
    fn parts_without_usage_are_there() {
        let check = |report: UsageReport, expected: &[(&str, u64)]| {
            let parts = all_parts(&report);
            let seen: Vec<_> = parts.iter().map(|(time, sums)| (&**time, sums.tokens)).collect();
            assert_eq!(seen, expected);
        };
        let (first, last) = ("2026-11-28T22:00:00Z", "2026-11-29T01:00:00Z");
        let hours = [("2026-11-28T23:00:00+00:00", 5)];
        let all = [("2026-11-28T22:00:00+00:00", 0), hours[0], ("2026-11-29T00:00:00+00:00", 0)];
        check(report("hour", first, last, &hours), &all);
        check(report("hour", first, last, &all), &all);
        check(report("day", first, last, &[]), &[("2026-11-28", 0), ("2026-11-29", 0)]);
        check(report("month", first, last, &[("2026-11", 7)]), &[("2026-11", 7)]);
        check(
            report("hour", first, last, &[("other", 7)]).clone(),
            &[
                ("2026-11-28T22:00:00+00:00", 0),
                ("2026-11-28T23:00:00+00:00", 0),
                ("2026-11-29T00:00:00+00:00", 0),
                ("other", 7),
            ],
        );
        check(report("fortnight", first, last, &[("x", 1)]), &[("x", 1)]);
    }
}
