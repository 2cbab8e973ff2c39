//! Usage over time, with the parts in which nothing was used: reports of the API leave them out, and a chart would lie.

use jiff::tz::TimeZone;

use crate::{
    admin::{UsageFigures, UsageReport},
    clock::from_utc,
    ledger::range::{Every, Hours, parts},
};

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
