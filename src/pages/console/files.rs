//! The provider files: each with its state and its findings, as `tollgate status` shows them. Nothing here writes a file.

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
};

#[derive(Template)]
#[template(path = "console/files.html")]
struct FilesPage<'p> {
    frame: &'p Frame,
    status: &'p Status,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    let status: Status = client.get("/admin/providers").await?;
    Ok(PageResponse::html(StatusCode::OK, &FilesPage { frame, status: &status }))
}

/// Reloads the files, and shows their state.
pub(in super::super) async fn reload(
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    let _: Status = client.send(Method::POST, "/admin/reload", &json!(null)).await?;
    Ok(PageResponse::see_other(&frame.path("/providers")))
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
