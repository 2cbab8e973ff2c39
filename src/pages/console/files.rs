//! The provider files: a list that can be searched, each with its state, and a page for each with its findings, as
//! `tollgate check` renders them, its endpoints and the hosts that it calls. Nothing here writes a file.

use std::{borrow::Borrow, cmp::Reverse};

use askama::Template;
use http::{Method, StatusCode};
use serde_json::json;

use super::{
    super::{
        client::{Api, Client, with_query},
        frame::Frame,
        response::PageResponse,
        shown,
    },
    explain, file_name, file_page,
};
use crate::{
    admin::{FileFinding, FileFindings, ReachableEndpoint, ServingProvider},
    diag::Severity,
    fault::{Fault, FaultKind},
    files::{FileState, FileStatus, Finding, Status},
    numbers::counted,
    rewrite::value_of,
};

/// The files of one page.
const PAGE: usize = 100;
/// The states to filter by, as the address and as the page names them.
const STATES: [(&str, &str); 4] =
    [("", "all"), ("attention", "with findings"), ("stale", "stale"), ("rejected", "rejected")];

#[derive(Template)]
#[template(path = "console/files.html")]
struct FilesPage<'p> {
    frame: &'p Frame,
    status: &'p Status,
    states: &'static [(&'static str, &'static str)],
    asked: Asked,
    /// The files of this page.
    files: &'p [&'p FileStatus],
    /// The number of files that match.
    found: usize,
    /// The number of pages.
    pages: usize,
}

#[derive(Template)]
#[template(path = "console/file.html")]
struct FilePage<'p> {
    frame: &'p Frame,
    file: &'p FileStatus,
    /// The findings with their source lines. Of many, the first.
    rendered: &'p [FileFinding],
    /// The provider that serves, if the file is one.
    serving: Option<&'p ServingProvider>,
}

/// The query, as typed.
#[derive(Debug)]
struct Asked {
    search: String,
    state: &'static str,
    /// From 1.
    page: usize,
}

/// The list.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let status: Status = client.get("/admin/providers").await?;
    let mut asked = Asked::of(query);
    let mut files: Vec<&FileStatus> = status.files.iter().filter(|file| asked.matches(file)).collect();
    files.sort_by_key(|file| (Reverse(file.urgency()), file.file.as_str()));
    let (found, pages) = (files.len(), files.len().div_ceil(PAGE).max(1));
    asked.page = asked.page.clamp(1, pages);
    let start = (asked.page - 1) * PAGE;
    let files = &files[start..found.min(start + PAGE)];
    let page = FilesPage { frame, status: &status, states: &STATES, asked, files, found, pages };
    Ok(PageResponse::html(StatusCode::OK, &page))
}

/// The page of one file.
pub(in super::super) async fn item(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let name = value_of(query, "file").unwrap_or_default();
    let status: Status = client.get("/admin/providers").await?;
    let file = status.files.iter().find(|file| file_name(&file.file) == name || file.file == name);
    let file = file.ok_or_else(|| {
        Fault::new(FaultKind::NotFound, "No file of this name is listed: it may be built in, or gone")
    })?;
    let rendered = match &file.diagnostics[..] {
        [] => Vec::new(),
        // The findings are shown without their lines if there are too many calls, or one is late.
        _ => {
            match client.get::<FileFindings>(&with_query("/admin/findings", &[("file", &file.file)])).await {
                Ok(all) => all.findings,
                Err(fault) if fault.kind.retry_may_help() => Vec::new(),
                Err(fault) => return Err(fault),
            }
        }
    };
    let serving = match &file.provider {
        Some(name) if file.state != FileState::Rejected => {
            match client.get::<ServingProvider>(&format!("/admin/providers/{name}")).await {
                Ok(serving) => Some(serving),
                // It may have gone since.
                Err(fault) if fault.kind == FaultKind::NotFound => None,
                Err(fault) => return Err(fault),
            }
        }
        _ => None,
    };
    let page = FilePage { frame, file, rendered: &rendered, serving: serving.as_ref() };
    Ok(PageResponse::html(StatusCode::OK, &page))
}

/// Reloads the files, and shows their state.
pub(in super::super) async fn reload(
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    let _: Status = client.send(Method::POST, "/admin/reload", &json!(null)).await?;
    Ok(PageResponse::see_other(&frame.path("/providers")))
}

impl Asked {
    fn of(query: Option<&str>) -> Self {
        let text = |name| value_of(query, name).unwrap_or_default();
        let state = STATES.iter().find(|(state, _)| *state == text("state")).map_or("", |(state, _)| state);
        let page = text("page").parse().unwrap_or(1);
        Self { search: text("q").trim().to_owned(), state, page }
    }

    fn matches(&self, file: &FileStatus) -> bool {
        let name = file_name(&file.file).to_lowercase();
        let has_state = match self.state {
            "attention" => file.urgency() > 0,
            "" => true,
            state => file.state.word() == state,
        };
        has_state && name.contains(&self.search.to_lowercase())
    }

    fn is_filtered(&self) -> bool {
        !self.search.is_empty() || !self.state.is_empty()
    }

    /// The address of another page of the same list.
    fn at(&self, page: usize) -> String {
        let page = page.to_string();
        // The path is relative: it stays the same.
        with_query("", &[("q", &self.search), ("state", self.state), ("page", &page)])
    }
}

impl FilePage<'_> {
    /// The source lines of a finding, by its index. None if the file changed meanwhile.
    fn lines(&self, index: impl Borrow<usize>) -> Option<&str> {
        let index = *index.borrow();
        let (finding, rendered) = (self.file.diagnostics.get(index)?, self.rendered.get(index)?);
        let is_same =
            (&finding.code, finding.line, finding.column) == (&rendered.code, rendered.line, rendered.column);
        // The first line is the message.
        rendered.text.split_once('\n').filter(|_| is_same).map(|(_, lines)| lines)
    }
}

impl FileStatus {
    /// The rank in the list: rejected files come first, then stale ones, then those with findings.
    fn urgency(&self) -> u8 {
        match self.state {
            FileState::Rejected => 3,
            FileState::Stale => 2,
            FileState::Live => u8::from(!self.diagnostics.is_empty()),
        }
    }

    /// The numbers of its findings, in words. Empty if it has none.
    fn summary(&self) -> String {
        let errors = self.diagnostics.iter().filter(|one| one.is_error()).count();
        let all = [(errors, "error"), (self.diagnostics.len() - errors, "warning")];
        let all = all.into_iter().filter(|(number, _)| *number > 0);
        all.map(|(number, what)| counted(number, what)).collect::<Vec<_>>().join(", ")
    }
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

    /// Its meaning.
    fn meaning(self) -> &'static str {
        match self {
            Self::Live => "Its current text serves.",
            Self::Stale => "Its current text cannot serve: the last good one does.",
            Self::Rejected => {
                "It does not serve: no text of it was ever good, or the last good one has expired."
            }
        }
    }
}

impl Finding {
    fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    fn class(&self) -> &'static str {
        if self.is_error() { "bad" } else { "warn" }
    }
}

/// The whole path of an endpoint.
fn path(serving: &ServingProvider, endpoint: &ReachableEndpoint) -> String {
    format!("{}{}", serving.provider.base_path, endpoint.path)
}

/// The explanation of a request to a path of an endpoint.
fn explained(frame: &Frame, endpoint: &ReachableEndpoint, path: &str) -> String {
    explain::address(frame, &endpoint.method, &explain::example_path(path), "")
}

/// The form to check another text of a file.
fn check_page(frame: &Frame, file: &FileStatus) -> String {
    with_query(&frame.path("/check"), &[("file", file_name(&file.file))])
}
