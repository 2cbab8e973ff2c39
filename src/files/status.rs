//! The status document: what serves, since when, and what became of each file. It is what `tollgate status`
//! and `GET /admin/providers` show. Places are told as file, line and column; the text of a file, which may
//! hold what nobody is to see, never is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diag::{At, Diagnostic, Severity, Sources};

/// What serves, and what became of each file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Whether every file is live and nothing else is wrong. Warnings change nothing of that.
    pub ok: bool,
    /// Counts the tables that have served since the process started, from 1.
    pub generation: u64,
    /// SHA-256, in hex, over the files that serve: the same wherever the same files serve.
    pub hash: String,
    /// Since when this table serves, in UTC.
    pub since: String,
    /// Where the files come from.
    pub source: String,
    /// How changes are noticed.
    pub watching: Watching,
    /// When the files were last looked at, in UTC.
    pub checked: String,
    /// What is wrong with the directory itself, or why a reload was refused whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Changed files that a sweep found and no event told of, since the process started.
    pub missed: u64,
    /// How many files are in which state.
    pub counts: StatusCounts,
    /// All files, by name.
    pub files: Vec<FileStatus>,
    /// Findings that are not shown, since there are too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// How changes to files are noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Watching {
    /// The system tells of them; a sweep finds what it did not tell.
    Events,
    /// By looking again and again, since the system cannot tell.
    Polling,
    /// They are not: the files are those in the binary.
    #[default]
    Nothing,
}

/// How many files are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Counts")]
pub struct StatusCounts {
    /// Files that serve as they are.
    pub live: usize,
    /// Files of which an older text serves.
    pub stale: usize,
    /// Files of which nothing serves.
    pub rejected: usize,
    /// Providers that serve.
    pub providers: usize,
    /// Endpoints that serve.
    pub routes: usize,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "File")]
pub struct FileStatus {
    /// Its path.
    pub file: String,
    /// The provider that it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Its state.
    pub state: FileState,
    /// Since when it is in that state, with this text, in UTC.
    pub since: String,
    /// The provider's endpoints that serve.
    pub routes: usize,
    /// Other files that keep it from being live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// What is to be said of it: what is wrong, then what lints warn of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Finding>,
}

/// The state of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "State")]
pub enum FileState {
    /// It serves as it is.
    Live,
    /// It cannot serve, and its last good text does.
    Stale,
    /// It cannot serve, and no text of it was ever good, or that was too long ago.
    Rejected,
}

/// A diagnostic, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The stable code, as `TG010`.
    pub code: String,
    /// Whether the file cannot serve as it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Other places that belong to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<RelatedLocation>,
}

/// A place that belongs to a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Place")]
pub struct RelatedLocation {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// What it is.
    pub label: String,
}

impl Finding {
    /// A diagnostic, with lines and columns looked up in the texts.
    pub fn new(diagnostic: &Diagnostic, sources: &Sources) -> Self {
        let (line, column) = sources.line_column(&diagnostic.at);
        let related = diagnostic.related.iter().map(|(at, label)| RelatedLocation::new(at, label, sources));
        Self {
            code: diagnostic.code.as_str().into(),
            severity: diagnostic.severity,
            file: diagnostic.at.file.to_string(),
            line,
            column,
            message: diagnostic.message.clone(),
            help: diagnostic.help.clone(),
            related: related.collect(),
        }
    }
}

impl RelatedLocation {
    fn new(at: &At, label: &str, sources: &Sources) -> Self {
        let (line, column) = sources.line_column(at);
        Self { file: at.file.to_string(), line, column, label: label.to_owned() }
    }
}
