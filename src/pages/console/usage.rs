//! The usage of all users, by any dimension.

use askama::Template;
use http::StatusCode;

use super::super::{
    client::{Api, Client, with_query},
    frame::Frame,
    response::PageResponse,
    shown,
};
use crate::{
    admin::{UsageReport, UsageRow, user_shown},
    fault::Fault,
    rewrite::value_of,
};

/// The dimensions that the page groups by, as the API and as the page names them.
const BY: [(&str, &str); 5] = [
    ("user", "User"),
    ("provider,model", "Provider and model"),
    ("user,model", "User and model"),
    ("group", "Group"),
    ("key_owner", "Owner of the key"),
];
/// The ranges, as the API and as the page names them.
const SINCE: [(&str, &str); 4] = [("24h", "Day"), ("7d", "Week"), ("30d", "30 days"), ("365d", "Year")];
/// The rows that are shown; the others are one.
const TOP: &str = "200";

#[derive(Template)]
#[template(path = "console/usage.html")]
struct UsagePage<'p> {
    frame: &'p Frame,
    by: &'static [(&'static str, &'static str)],
    since: &'static [(&'static str, &'static str)],
    chosen_by: &'static str,
    chosen_since: &'static str,
    report: &'p UsageReport,
    /// The same as CSV.
    csv: String,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let chosen = |name: &str, all: &[(&'static str, &str)], default: usize| {
        let asked = value_of(query, name);
        all.iter().find(|one| asked.as_deref() == Some(one.0)).unwrap_or(&all[default]).0
    };
    let (chosen_by, chosen_since) = (chosen("by", &BY, 0), chosen("since", &SINCE, 1));
    let asked = [("by", chosen_by), ("since", chosen_since), ("top", TOP)];
    let report: UsageReport = client.get(&with_query("/admin/usage", &asked)).await?;
    let csv = with_query("/admin/usage", &[("by", chosen_by), ("since", chosen_since), ("format", "csv")]);
    let page = UsagePage { frame, by: &BY, since: &SINCE, chosen_by, chosen_since, report: &report, csv };
    Ok(PageResponse::html(StatusCode::OK, &page))
}

/// The cells of a row's dimensions.
fn cells<'r>(report: &'r UsageReport, row: &'r UsageRow) -> Vec<&'r str> {
    let shown = |dimension: &'r String| match (dimension.as_str(), row.value(dimension)) {
        ("user", Some(id)) => user_shown(id, row.user_name.as_deref()),
        (_, Some("") | None) => "–",
        (_, Some(value)) => value,
    };
    report.by.iter().map(shown).collect()
}
