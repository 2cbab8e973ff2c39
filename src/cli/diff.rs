//! `tollgate diff`: compares two sets of provider files, and marks changes that widen exposure.

mod git;

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, StatusCode};

use super::{check, print_error};
use crate::{
    compile::{self, ClientFile, Clients, Compiled, LimitFile, Limits, PriceFile, Prices, Provider},
    control,
    diag::{Diagnostic, Sources},
    diff::{self, Verdict},
    files::{self, ServedFiles, SourceTree},
    filetest,
    output::{self, Document},
    pipeline::{self, Loaded},
    settings::Source,
};

/// Compare two sets of provider files by meaning, and mark changes that widen exposure
///
/// OLD and NEW are each a directory, `REV:PATH` or `socket:DATA_DIR`. `REV:PATH` is a directory in a Git revision. `socket:DATA_DIR`
/// stands for the files that the running tollgate with that data directory serves.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 the same, 1 different, 4 different and wider, 2 cannot be compared")]
pub struct Args {
    /// The old files: a directory, `REV:PATH`, or `socket:DATA_DIR`
    old: String,
    /// The new files: likewise
    new: String,
    /// The output format
    #[arg(long, value_enum, default_value_t = DiffFormat::Human)]
    format: DiffFormat,
}

/// Output format of the differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DiffFormat {
    /// Text for people
    Human,
    /// One JSON document
    Json,
    /// Markdown, for a comment on a pull request
    Markdown,
}

/// Compares and prints. Returns the exit code.
pub fn main(args: &Args) -> ExitCode {
    match run(args) {
        Ok(Verdict::Same) => ExitCode::SUCCESS,
        Ok(Verdict::Different) => ExitCode::from(1),
        Ok(Verdict::Widened) => ExitCode::from(4),
        Err(error) => {
            print_error(&error);
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<Verdict> {
    let (old, new) = (file_set(&args.old, |_| Vec::new())?, file_set(&args.new, failing)?);
    if !new.found.is_empty() {
        check::show(&new.sources, &new.found)?;
        bail!("`{}` has errors: mend them first; providers with errors cannot be compared", args.new);
    }
    // A file with errors did not serve, so a change that mends it adds its provider.
    if !old.found.is_empty() {
        check::show(&old.sources, &old.found)?;
        let note = format_args!("note: `{}` has errors: providers with errors count as missing", args.old);
        output::note_line(note).context("failed to print")?;
    }
    let prices = [old.prices, new.prices].map(Prices::new);
    let clients = [old.clients, new.clients].map(Clients::new);
    let limits = [old.limits, new.limits].map(|files| Limits::new(&files));
    let diff = diff::diff(&old.providers, &new.providers)
        .with_prices(&prices[0], &prices[1])
        .with_clients(&clients[0], &clients[1])
        .with_limits(&limits[0], &limits[1]);
    let printed = match args.format {
        DiffFormat::Human => output::print(&diff::human(&diff)),
        DiffFormat::Markdown => output::print(&diff::markdown(&diff)),
        DiffFormat::Json => output::print_document(&Document::json(&diff)?),
    };
    printed.context("failed to print")?;
    Ok(diff.verdict)
}

/// One of the two compared sets of provider files.
#[derive(Default)]
struct FileSet {
    providers: Vec<Arc<Provider>>,
    prices: Vec<Arc<PriceFile>>,
    clients: Vec<Arc<ClientFile>>,
    limits: Vec<Arc<LimitFile>>,
    sources: Sources,
    found: Vec<Diagnostic>,
}

/// Further findings about compiled files.
type Findings = fn(&Compiled) -> Vec<Diagnostic>;

/// The failing tests.
fn failing(compiled: &Compiled) -> Vec<Diagnostic> {
    filetest::run(compiled).diagnostics
}

impl FileSet {
    fn take(&mut self, loaded: Loaded, findings: Findings) {
        let compiled = compile::compile(&loaded.files);
        self.found.extend(findings(&compiled));
        self.providers.extend(compiled.providers);
        self.prices.extend(compiled.prices);
        self.clients.extend(compiled.clients);
        self.limits.extend(compiled.limits);
        self.found.extend(loaded.diagnostics);
        self.found.extend(compiled.diagnostics);
        self.found.sort();
        self.sources = loaded.sources;
    }
}

fn file_set(what: &str, findings: Findings) -> anyhow::Result<FileSet> {
    let mut set = FileSet::default();
    if Path::new(what).is_dir() {
        let source = Source::directory(what);
        set.take(files::load(&source).with_context(|| format!("cannot read `{what}`"))?, findings);
    } else if let Some(data) = what.strip_prefix("socket:") {
        for tree in served(Path::new(data))?.trees() {
            set.take(pipeline::parse(tree.input_files(), |_| true), findings);
        }
        return Ok(set);
    } else if what.contains(':') {
        let tree = SourceTree::from_contents(what, git::read(what)?);
        let loaded = Loaded { sources: tree.sources(), ..pipeline::parse(tree.input_files(), |_| true) };
        set.take(loaded, findings);
    } else {
        bail!(
            "`{what}` is no directory, no `REV:PATH` of a Git revision, and no `socket:DATA_DIR` of a running tollgate"
        );
    }
    if set.providers.is_empty() && set.found.is_empty() {
        bail!("`{what}` has no provider file: name a directory that has some");
    }
    Ok(set)
}

/// The files that a running tollgate serves.
fn served(data: &Path) -> anyhow::Result<ServedFiles> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (code, document) =
        runtime.block_on(control::call(data, Method::GET, "/admin/providers/files", Bytes::new()))?;
    if code != StatusCode::OK {
        bail!("the running tollgate returned {code}: does its version differ from this command's?");
    }
    serde_json::from_slice(&document).context(
        "failed to read the response of the running tollgate: does its version differ from this command's?",
    )
}
