//! The state of the gateway: what needs attention, and the numbers of now.

use askama::Template;
use http::StatusCode;

use super::super::{
    client::{Api, Client},
    frame::Frame,
    response::PageResponse,
};
use crate::{fault::Fault, files::Status, numbers::counted};

#[derive(Template)]
#[template(path = "console/overview.html")]
struct OverviewPage<'p> {
    frame: &'p Frame,
    status: &'p Status,
    /// What needs attention, the most severe first.
    problems: Vec<String>,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    let status: Status = client.get("/admin/providers").await?;
    let problems = problems(&status);
    Ok(PageResponse::html(StatusCode::OK, &OverviewPage { frame, status: &status, problems }))
}

fn problems(status: &Status) -> Vec<String> {
    let store = status.store_problem.iter().map(|problem| format!("The store: {problem}"));
    let files = status.problem.iter().map(|problem| format!("The files: {problem}"));
    let pending = status.usage_pending.iter().map(|pending| {
        format!(
            "Usage of {} waits in memory: the store cannot be written",
            counted(pending.requests.unwrap_or_default(), "request")
        )
    });
    let sinks = status.sink_problems.iter().map(|(sink, problem)| format!("{sink}: {problem}"));
    let dropped = status.dropped.iter().map(|(queue, number)| {
        format!("{} of the queue {queue} dropped since the start", counted(number, "entry"))
    });
    let exporters = status.exporters.iter().filter_map(|one| {
        Some(format!("The exporter {} ({}): {}", one.exporter, one.signal, one.problem.as_ref()?))
    });
    store.chain(files).chain(pending).chain(sinks).chain(dropped).chain(exporters).collect()
}
