//! The status document of `tollgate status` and `GET /admin/providers`: the state of every file, with its findings.
//!
//! A finding has a file, a line and a column. The document never holds the text of a file, which may contain a secret.
//! Types keep their names in `schema/openapi.json`. Read next: `describe`, which fills the document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    admission::Load,
    diag::{Diagnostic, Location, Severity, Sources},
    exporters::ExporterStatus,
    ledger::UsageBacklog,
    listener_tls::CertificateStatus,
};

/// The providers that serve, and the state of each file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// True if every file is live and there is no other problem. Warnings do not count.
    pub ok: bool,
    /// Number of route tables that have served since the process started, from 1.
    pub generation: u64,
    /// SHA-256, in hex, over the files that serve. Two nodes have the same hash exactly if they serve the same files.
    pub hash: String,
    /// Time at which this table began to serve, in UTC.
    pub since: String,
    /// URL at which clients reach tollgate: the setting `public_url`, or else the address that it listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Source of the files: a directory, or `built-in`.
    pub source: String,
    /// Detection of file changes.
    pub watching: Watching,
    /// Time of the last scan, in UTC.
    pub checked: String,
    /// Problem with the directory itself, or the reason why a whole reload was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Problem with the store, as of this answer: it cannot be read, and only known callers are served; or its last write failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_problem: Option<String>,
    /// Usage that waits in memory, because the store cannot be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_pending: Option<UsageBacklog>,
    /// Number of changed files that a sweep found without an event, since the process started.
    pub missed: u64,
    /// Number of files in each state.
    pub counts: StatusCounts,
    /// Connections and requests of the running server, and their limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// Numbers of records and log lines that were dropped since the process started, by the queue that was full, or the
    /// limit that was reached. Those without drops are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
    /// Consumers of finished exchanges that panicked, with their state: the access log, metrics, the ledger, exporters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sink_problems: BTreeMap<String, String>,
    /// State of each queue of exporters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exporters: Vec<ExporterStatus>,
    /// Outgoing proxies by the scheme of the origins that are reached through them, without credentials.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outgoing_proxies: BTreeMap<String, String>,
    /// Certificate of the listeners, if they take TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
    /// All files, by path.
    pub files: Vec<FileStatus>,
    /// Number of findings beyond the limit of 1,000, which are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Detection of file changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Watching {
    /// Events of the operating system, and a sweep for changes without an event.
    Events,
    /// Polling, since the operating system gives no events.
    Polling,
    /// None: the files are built in, or the reloader failed.
    #[default]
    Nothing,
}

/// Numbers of files in each state, and of providers and routes that serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Counts")]
pub struct StatusCounts {
    /// Files that serve in their current text.
    pub live: usize,
    /// Files that serve in their last good text.
    pub stale: usize,
    /// Files that do not serve.
    pub rejected: usize,
    /// Providers that serve.
    pub providers: usize,
    /// Endpoints that serve.
    pub routes: usize,
}

/// The state of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "File")]
pub struct FileStatus {
    /// Path of the file.
    pub file: String,
    /// Name of the provider, if the file is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// State of the file.
    pub state: FileState,
    /// SHA-256 of its text, in hex, as `sha256sum` prints it. Absent if it is gone or cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Time at which this state began with this text, in UTC.
    pub since: String,
    /// Number of the provider's endpoints that serve.
    pub routes: usize,
    /// Other files whose errors keep this one from being live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// Findings about the file: errors first, then warnings of lints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Finding>,
}

/// State of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "State")]
pub enum FileState {
    /// The current text serves.
    Live,
    /// The current text cannot serve; the last good one does.
    Stale,
    /// Nothing serves: no text was ever good, or the last good one has expired.
    Rejected,
}

/// A diagnostic, with its file, line and column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable code, such as `TG010`.
    pub code: String,
    /// `error` if the file cannot serve as it is.
    pub severity: Severity,
    /// Path of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, in characters, from 1.
    pub column: usize,
    /// The error or warning.
    pub message: String,
    /// Advice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Other locations that belong to the finding.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<RelatedLocation>,
    /// True if it ends with the errors of another file, such as a preset's, which are findings of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows: bool,
}

/// A location that belongs to a finding.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Place")]
pub struct RelatedLocation {
    /// Path of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, in characters, from 1.
    pub column: usize,
    /// Description of the location.
    pub label: String,
}

impl Finding {
    /// Converts a diagnostic. Lines and columns come from the texts in `sources`.
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
            follows: diagnostic.follows,
        }
    }
}

impl RelatedLocation {
    fn new(at: &Location, label: &str, sources: &Sources) -> Self {
        let (line, column) = sources.line_column(at);
        Self { file: at.file.to_string(), line, column, label: label.to_owned() }
    }
}
