//! Settings of the reloader, and the outcome of a start: diagnostics, or an error.
//!
//! These are plain values. Read next: `reload`.

use std::{io, path::PathBuf, time::Duration};

use crate::{
    diag::{Diagnostic, Sources},
    lint::Levels,
    settings::{SecretsDir, Source},
    variables::EnvAllow,
};

/// Settings of the reloader.
#[derive(Debug, Clone)]
pub struct Config {
    /// The source of the files.
    pub source: Source,
    /// The directory of secret files: the values of vars with `file = "..."`.
    pub secrets: SecretsDir,
    /// The data directory, which holds the last good files.
    pub data: PathBuf,
    /// True: an error in any file refuses the start, and every reload. A warning never does.
    pub strict: bool,
    /// The severity of each lint.
    pub lints: Levels,
    /// The environment variables that files may read.
    pub env_allow: EnvAllow,
    /// The longest time that a last good version may serve.
    pub max_stale: Option<Duration>,
    /// The time between two scans without an event.
    pub sweep: Duration,
}

/// A failed start. Nothing serves.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory is missing, empty or unreadable. Either no last good version exists, or the start is strict. A
    /// fragment.
    #[error("{0}")]
    NoFiles(String),
    /// A file has errors, and the start is strict.
    #[error("there are errors")]
    Strict(InitialDiagnostics),
    /// A file of limits has errors and no last good version: what it limits would be unlimited.
    #[error("a file of limits has errors")]
    Limits(InitialDiagnostics),
    /// The operating system refused to start the thread.
    #[error("failed to start a thread: {0}")]
    Thread(io::Error),
}

/// The diagnostics of the first scan, with the texts that they point into.
#[derive(Debug)]
pub struct InitialDiagnostics {
    /// The texts.
    pub sources: Sources,
    /// All errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
}
