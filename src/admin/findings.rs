//! The findings of one provider file with their source lines, as `tollgate check` prints them.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Admin, ApiResult, Request, Response,
    operations::{Parameter, ParameterKind},
    page::invalid_query,
    tools,
    usage::Parameters,
};
use crate::files::RenderedFinding;

/// The parameters of `GET /admin/findings`.
pub(super) static PARAMETERS: &[Parameter] = &[Parameter {
    name: "file",
    description: "The path of the file, as `GET /admin/providers` has it. Required",
    kind: ParameterKind::Text,
}];

/// The findings of a file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileFindings {
    /// In the order of `GET /admin/providers`: errors come first. Empty for a file without findings.
    pub findings: Vec<FileFinding>,
    /// Number of findings beyond the limit of 100, or of 128 KiB, which are left out.
    pub omitted: usize,
}

/// A finding of a file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileFinding {
    /// Stable code, such as `TG010`.
    pub code: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, in characters, from 1.
    pub column: usize,
    /// The finding with its source lines, as `tollgate check` prints it. What looks like a key is masked.
    pub text: String,
}

impl Admin {
    /// The findings of the file that the query names.
    pub(super) async fn findings(&self, request: &Request) -> ApiResult {
        let found = self.files.found()?;
        let file = Parameters::of(request, PARAMETERS)?.value("file");
        let file = file.ok_or_else(|| invalid_query("?file=: give the path of a file"))?;
        tools::run(move || {
            let (rendered, omitted) = found.render(&file);
            let findings = rendered.into_iter().map(FileFinding::from).collect();
            Response::json(StatusCode::OK, &FileFindings { findings, omitted })
        })
        .await
    }
}

impl From<RenderedFinding> for FileFinding {
    fn from(RenderedFinding { finding, text }: RenderedFinding) -> Self {
        Self { code: finding.code, line: finding.line, column: finding.column, text }
    }
}
