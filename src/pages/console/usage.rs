//! The usage of all users: over any range, by up to two dimensions, with filters and a chart over time.

use askama::Template;
use http::StatusCode;

use super::super::{
    chart::Chart,
    client::{Api, Client, with_query},
    form::Form,
    frame::Frame,
    over_time::{self, MEASURES, all_parts},
    response::PageResponse,
    shown,
};
use crate::{
    admin::{UsageReport, UsageRow, user_shown},
    clock::from_utc,
    fault::{Fault, FaultKind},
    ledger::report::NONE,
};

/// A name of the API, and its title on the page.
type Named = (&'static str, &'static str);

/// The dimensions.
const DIMENSIONS: [Named; 7] = [
    ("user", "User"),
    ("group", "Group"),
    ("provider", "Provider"),
    ("endpoint", "Endpoint"),
    ("model", "Model"),
    ("key_owner", "Owner of the key"),
    ("token", "Token"),
];
/// The dimensions that a link from a row leads to, the most useful first.
const NEXT: [&str; 7] = ["model", "user", "provider", "endpoint", "token", "key_owner", "group"];
/// The ranges that end now: name, title, age.
const RANGES: [(&str, &str, &str); 5] = [
    ("hour", "Hour", "1h"),
    ("day", "Day", "24h"),
    ("week", "Week", "7d"),
    ("month", "30 days", "30d"),
    ("year", "Year", "365d"),
];
/// The range without a name.
const RANGE: &str = "week";
/// The units of the chart. Without one, it fits the range.
const EVERY: [Named; 4] = [("", "Automatic"), ("hour", "Hours"), ("day", "Days"), ("month", "Months")];
/// The rows that are shown if the form has no number; the others are one.
const TOP: &str = "50";
/// The longest range whose chart has hours, and the longest whose chart has days.
const MAX_HOURS: u64 = 72;
const MAX_DAYS: u64 = 120;
/// The rows of the chart's numbers that are shown, the last ones.
const MAX_NUMBERS: usize = 400;
/// The hours that a range of a day touches.
const DAY_HOURS: usize = 25;

#[derive(Template)]
#[template(path = "console/usage.html")]
struct UsagePage<'p> {
    frame: &'p Frame,
    asked: &'p Asked,
    ranges: Vec<Range>,
    filters: Vec<Filter>,
    is_filtered: bool,
    found: Option<Found<'p>>,
    problem: Option<&'p str>,
    tail: String,
}

/// What a report has to show.
struct Found<'p> {
    report: &'p UsageReport,
    rows: Vec<(Vec<Cell<'p>>, &'p UsageRow)>,
    over_time: Option<OverTime<'p>>,
    csv: String,
}

/// The chart, with the same numbers as rows.
struct OverTime<'p> {
    chart: Chart,
    unit: &'p str,
    /// The last rows, and the number of those before.
    rows: &'p [UsageRow],
    omitted: usize,
    csv: String,
}

/// A link to a range.
struct Range {
    title: &'static str,
    href: String,
    is_current: bool,
}

/// A filter of the form.
pub(super) struct Filter {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) value: String,
    /// The address of the page without it.
    pub(super) without: String,
}

/// A cell of a dimension, with a link to what is in it.
struct Cell<'p> {
    text: &'p str,
    href: String,
}

/// The fields of the form, as they were typed.
#[derive(Debug, Clone)]
struct Asked {
    range: String,
    since: String,
    until: String,
    by: String,
    then: String,
    every: String,
    chart: String,
    top: String,
    filters: Filters,
}

/// The values that dimensions are restricted to, as they were typed. Empty texts restrict nothing.
#[derive(Debug, Clone)]
pub(super) struct Filters(Vec<(Named, String)>);

impl Filters {
    pub(super) fn of(form: &Form) -> Self {
        Self(DIMENSIONS.map(|named| (named, form.text(named.0).to_owned())).into())
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|((name, _), value)| (*name, value.as_str()))
    }

    /// True if one restricts something.
    pub(super) fn is_any(&self) -> bool {
        self.pairs().any(|(_, value)| !value.is_empty())
    }

    fn has(&self, dimension: &str) -> bool {
        self.pairs().any(|(name, value)| name == dimension && !value.is_empty())
    }

    fn with(&self, dimension: &str, value: &str) -> Self {
        let mut filters = self.clone();
        for ((name, _), old) in &mut filters.0 {
            if *name == dimension {
                value.clone_into(old);
            }
        }
        filters
    }

    /// The filters of a form, with the addresses that pages without one of them have.
    pub(super) fn shown(&self, without: impl Fn(Self) -> String) -> Vec<Filter> {
        let one = |((name, title), value): &(Named, String)| Filter {
            name,
            title,
            value: value.clone(),
            without: without(self.with(name, "")),
        };
        self.0.iter().map(one).collect()
    }
}

impl Asked {
    fn of(form: &Form) -> Self {
        let text = |name| form.text(name).to_owned();
        let or = |name, default: &str| match form.text(name) {
            "" => default.to_owned(),
            given => given.to_owned(),
        };
        Self {
            range: or("range", RANGE),
            since: text("since"),
            until: text("until"),
            by: or("by", "user"),
            then: text("then"),
            every: text("every"),
            chart: text("chart"),
            top: or("top", TOP),
            filters: Filters::of(form),
        }
    }

    /// The address of this page with these fields.
    fn page(&self, frame: &Frame) -> String {
        let Self { range, since, until, by, then, every, chart, top, filters } = self;
        let own = [
            ("range", range.as_str()),
            ("since", since),
            ("until", until),
            ("by", by),
            ("then", then),
            ("every", every),
            ("chart", chart),
            ("top", if top == TOP { "" } else { top }),
        ];
        let pairs: Vec<_> = own.into_iter().chain(filters.pairs()).collect();
        with_query(&frame.path("/usage"), &pairs)
    }

    /// The path of a report of the API, with these parameters besides range and filters.
    fn report(&self, more: &[(&str, &str)]) -> String {
        let age = RANGES.iter().find(|(name, ..)| *name == self.range).map_or("7d", |(.., age)| age);
        let is_typed = !self.since.is_empty() || !self.until.is_empty();
        let range = [("since", if is_typed { &*self.since } else { age }), ("until", &*self.until)];
        let own: Vec<(&str, &str)> = range.into_iter().chain(self.filters.pairs()).collect();
        let pairs = [&own, more].concat();
        with_query("/admin/usage", &pairs)
    }

    /// The dimensions of a row, as the API has them.
    fn by(&self) -> String {
        if self.then.is_empty() { self.by.clone() } else { format!("{},{}", self.by, self.then) }
    }

    /// The address of the page with what is in one value of a dimension.
    fn within(&self, frame: &Frame, dimension: &str, value: &str) -> String {
        let filters = self.filters.with(dimension, if value.is_empty() { NONE } else { value });
        let by = NEXT.into_iter().find(|next| !filters.has(next)).unwrap_or("model").to_owned();
        Self { by, then: String::new(), filters, ..self.clone() }.page(frame)
    }

    fn ranges(&self, frame: &Frame) -> Vec<Range> {
        let is_typed = !self.since.is_empty() || !self.until.is_empty();
        let range = |(name, title, _): (&str, &'static str, &str)| {
            let fields =
                Self { range: name.to_owned(), since: String::new(), until: String::new(), ..self.clone() };
            Range { title, href: fields.page(frame), is_current: !is_typed && self.range == name }
        };
        RANGES.map(range).into()
    }

    fn dimensions() -> [Named; 7] {
        DIMENSIONS
    }

    fn units() -> [Named; 4] {
        EVERY
    }

    fn measures() -> [Named; 4] {
        MEASURES
    }
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let asked = Asked::of(&Form::parse(query.unwrap_or_default().as_bytes()));
    let by = asked.by();
    let by = [("by", by.as_str()), ("top", &asked.top)];
    let (report, mut problem) = refused(client.get::<UsageReport>(&asked.report(&by)).await)?;
    let unit = report.as_ref().map_or("", |report| unit(&asked, report));
    let over_time = [("by", "none"), ("every", unit)];
    let mut parts = None;
    if report.is_some() {
        let (found, refused) = refused(client.get::<UsageReport>(&asked.report(&over_time)).await)?;
        (parts, problem) = (found, problem.or(refused));
    }
    let csv = |more: &[(&str, &str)]| asked.report(&[more, &[("format", "csv")]].concat());
    let found = report.as_ref().map(|report| Found {
        report,
        rows: report.rows.iter().map(|row| (cells(&asked, frame, report, row), row)).collect(),
        over_time: parts.as_ref().map(|parts| {
            let omitted = parts.rows.len().saturating_sub(MAX_NUMBERS);
            let (rows, csv) = (&parts.rows[omitted..], csv(&over_time));
            OverTime { chart: chart(&asked, unit, parts), unit, rows, omitted, csv }
        }),
        csv: csv(&by),
    });
    let pairs: Vec<_> = asked.filters.pairs().collect();
    let page = UsagePage {
        frame,
        asked: &asked,
        ranges: asked.ranges(frame),
        is_filtered: asked.filters.is_any(),
        filters: asked.filters.shown(|filters| Asked { filters, ..asked.clone() }.page(frame)),
        found,
        problem: problem.as_deref(),
        tail: with_query(&frame.path("/usage/tail"), &pairs),
    };
    let status = if problem.is_some() { FaultKind::InvalidRequest.status() } else { StatusCode::OK };
    Ok(PageResponse::html(status, &page))
}

/// An answer, or the message about parameters that the API refuses. The form shows it.
pub(super) fn refused<T>(answer: Result<T, Fault>) -> Result<(Option<T>, Option<String>), Fault> {
    match answer {
        Ok(found) => Ok((Some(found), None)),
        Err(fault) if fault.kind == FaultKind::InvalidRequest => Ok((None, Some(fault.message.into_owned()))),
        Err(fault) => Err(fault),
    }
}

/// The unit of the chart.
fn unit<'a>(asked: &'a Asked, report: &UsageReport) -> &'a str {
    if !asked.every.is_empty() {
        return &asked.every;
    }
    let hours = from_utc(&report.until)
        .zip(from_utc(&report.since))
        .map_or(0, |(until, since)| until.saturating_sub(since) / 3_600_000);
    match hours {
        ..=MAX_HOURS => "hour",
        _ if hours <= 24 * MAX_DAYS => "day",
        _ => "month",
    }
}

fn chart(asked: &Asked, unit: &str, parts: &UsageReport) -> Chart {
    let all = all_parts(parts);
    over_time::chart(&asked.chart, &all, |time| label(time, unit, all.len() > DAY_HOURS))
}

/// The part of a time that differs from its neighbours.
fn label(time: &str, unit: &str, is_long: bool) -> String {
    let part = match unit {
        "hour" if is_long => time.get(5..16),
        "hour" => time.get(11..16),
        "day" => time.get(5..10),
        _ => None,
    };
    part.unwrap_or(time).replacen('T', " ", 1)
}

/// The cells of a row's dimensions.
fn cells<'r>(asked: &Asked, frame: &Frame, report: &'r UsageReport, row: &'r UsageRow) -> Vec<Cell<'r>> {
    let cell = |dimension: &'r String| {
        let value = row.value(dimension).unwrap_or_default();
        let text = match dimension.as_str() {
            _ if value.is_empty() => shown::NONE,
            "user" => user_shown(value, row.user_name.as_deref()),
            _ => value,
        };
        Cell { text, href: asked.within(frame, dimension, value) }
    };
    report.by.iter().map(cell).collect()
}

/// The title of a dimension.
fn title(dimension: &str) -> &str {
    DIMENSIONS.iter().find(|(name, _)| *name == dimension).map_or(dimension, |(_, title)| title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::Area;

    fn asked(query: &str) -> Asked {
        Asked::of(&Form::parse(query.as_bytes()))
    }

    #[test]
    fn the_fields_are_parameters_of_the_api() {
        let check = |query: &str, expected: &str| {
            let asked = asked(query);
            let report = asked.report(&[("by", &asked.by()), ("top", &asked.top)]);
            assert_eq!(report, format!("/admin/usage?{expected}"), "{query}");
        };
        check("", "since=7d&by=user&top=50");
        check("range=year&by=model&then=user&top=9", "since=365d&by=model%2Cuser&top=9");
        check("range=x", "since=7d&by=user&top=50");
        check("range=day&since=2026-11-01", "since=2026-11-01&by=user&top=50");
        check("until=2026-11-01", "until=2026-11-01&by=user&top=50");
        check("user=ada&key_owner=-&since=+", "since=7d&user=ada&key_owner=-&by=user&top=50");
    }

    #[test]
    fn a_row_leads_to_what_is_in_it() {
        let frame = Frame::bare(Area::Console);
        let check = |query: &str, dimension: &str, value: &str, expected: &str| {
            let href = asked(query).within(&frame, dimension, value);
            assert_eq!(href, format!("/console/usage?{expected}"), "{query}");
        };
        check("", "user", "usr_1", "range=week&by=model&user=usr_1");
        check("by=model&then=user", "model", "m&n", "range=week&by=user&model=m%26n");
        check("user=ada&by=model", "model", "m", "range=week&by=provider&user=ada&model=m");
        check("since=2026-11-01&top=3", "group", "", "range=week&since=2026-11-01&by=model&top=3&group=-");
    }

    #[test]
    fn labels_have_what_differs() {
        let check = |time, unit, long, expected: &str| assert_eq!(label(time, unit, long), expected);
        check("2026-11-29T13:00:00+00:00", "hour", false, "13:00");
        check("2026-11-29T13:00:00+00:00", "hour", true, "11-29 13:00");
        check("2026-11-29", "day", true, "11-29");
        check("2026-11", "month", false, "2026-11");
        check("", "hour", false, "");
    }
}
