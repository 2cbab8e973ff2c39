//! The state of the gateway: what needs attention, and each file with its findings, as `tollgate status` shows them.
//! Nothing here writes a file.

use askama::Template;
use http::{Method, StatusCode};
use serde_json::json;

use super::super::{
    client::{Api, Client},
    frame::Frame,
    response::PageResponse,
    shown,
};
use crate::{
    diag::Severity,
    fault::Fault,
    files::{FileState, Finding, Status},
    numbers::counted,
};

#[derive(Template)]
#[template(path = "console/files.html")]
struct FilesPage<'p> {
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
    Ok(page(frame, &status))
}

/// Reloads the files, and shows their state.
pub(in super::super) async fn reload(
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    let _: Status = client.send(Method::POST, "/admin/reload", &json!(null)).await?;
    Ok(PageResponse::see_other(&frame.path("")))
}

fn page(frame: &Frame, status: &Status) -> PageResponse {
    PageResponse::html(StatusCode::OK, &FilesPage { frame, status, problems: problems(status) })
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

impl FileState {
    fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Rejected => "rejected",
        }
    }

    /// The class of its chip.
    fn class(self) -> &'static str {
        match self {
            Self::Live => "good",
            Self::Stale => "warn",
            Self::Rejected => "bad",
        }
    }
}

impl Finding {
    fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
