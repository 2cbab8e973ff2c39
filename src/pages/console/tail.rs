//! The last exchanges of all users, the newest first. A script adds those that end while the page is open.

use askama::Template;
use http::StatusCode;

use super::{
    super::{
        client::{Api, Client, with_query},
        form::Form,
        frame::Frame,
        response::PageResponse,
        shown,
    },
    usage::{Filter, Filters, refused},
};
use crate::{
    admin::{RecentExchange, RecentExchanges},
    fault::{Fault, FaultKind},
};

/// The exchanges that the page begins with.
const LIMIT: &str = "50";

#[derive(Template)]
#[template(path = "console/tail.html")]
struct TailPage<'p> {
    frame: &'p Frame,
    filters: Vec<Filter>,
    is_filtered: bool,
    exchanges: Vec<&'p RecentExchange>,
    /// The address of this page with the same filters.
    own: String,
    usage: String,
    /// The call for later exchanges, and the number that they come after.
    call: String,
    next: u64,
    /// True if usage waits for the store.
    pending: bool,
    problem: Option<&'p str>,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let filters = Filters::of(&Form::parse(query.unwrap_or_default().as_bytes()));
    let path = |path: &str, filters: &Filters| with_query(path, &filters.pairs().collect::<Vec<_>>());
    let pairs: Vec<_> = [("limit", LIMIT)].into_iter().chain(filters.pairs()).collect();
    let found = client.get::<RecentExchanges>(&with_query("/admin/usage/recent", &pairs)).await;
    let (found, problem) = refused(found)?;
    let own = frame.path("/usage/tail");
    let page = TailPage {
        frame,
        is_filtered: filters.is_any(),
        filters: filters.shown(|filters| path(&own, &filters)),
        exchanges: found.iter().flat_map(|found| found.exchanges.iter().rev()).collect(),
        own: path(&own, &filters),
        usage: path(&frame.path("/usage"), &filters),
        call: path("/admin/usage/recent", &filters),
        next: found.as_ref().map_or(0, |found| found.next),
        pending: found.as_ref().is_some_and(|found| found.pending.is_some()),
        problem: problem.as_deref(),
    };
    let status = if problem.is_some() { FaultKind::InvalidRequest.status() } else { StatusCode::OK };
    Ok(PageResponse::html(status, &page))
}
