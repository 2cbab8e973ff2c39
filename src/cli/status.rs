//! `tollgate status`: shows the state of each provider file in the running server, problems first.

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{Method, StatusCode};

use super::{
    context::first_names,
    unconfirmed::{self, Waiting},
};
use crate::{
    admission::Load,
    control,
    diag::Severity,
    escape::Lines,
    exporters::ExporterStatus,
    files::{self, FileState, FileStatus, Finding, RelatedLocation, Status, Watching},
    listener_tls::CertificateStatus,
    numbers::counted,
    output::{self, Document},
    settings::{Places, Source},
};

/// The arguments of `tollgate status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the whole JSON document, as `GET /admin/providers` does
    #[arg(long)]
    json: bool,
    /// Also list live files, with their warnings
    #[arg(long, conflicts_with = "json")]
    all: bool,
}

/// Prints the status. Returns the exit code: 0 if all files are live, and nothing else is wrong; 1 if not; 5 if stored
/// credentials wait for a confirmation.
pub fn run(args: &Args, places: &Places) -> anyhow::Result<ExitCode> {
    let view = if args.all { StatusView::All } else { StatusView::Problems };
    show(places, Method::GET, "/admin/providers", if args.json { StatusView::Json } else { view })
}

/// The shown part of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusView {
    /// The JSON document.
    Json,
    /// The verdict, and files with problems.
    Problems,
    /// The verdict, and all files.
    All,
}

/// Calls an endpoint that returns a status, and prints it, with the credentials that wait for a confirmation. Returns the
/// exit code.
pub(super) fn show(
    places: &Places,
    method: Method,
    path: &str,
    view: StatusView,
) -> anyhow::Result<ExitCode> {
    let data = places.data()?;
    let (status, document) = call(&data, method, path)?;
    let waiting = runtime()?.block_on(Waiting::read(&data));
    let printed = match view {
        StatusView::Json => {
            output::print_document(&Document::json_text(&format!("{}\n", String::from_utf8_lossy(&document))))
        }
        StatusView::Problems => output::print(&report(&status, false)),
        StatusView::All => output::print(&report(&status, true)),
    };
    printed.context("failed to print")?;
    let some_wait = show_waiting(waiting, view)?;
    note_unread_directory(&status, &places.providers()?)?;
    Ok(match (status.ok, some_wait) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(unconfirmed::EXIT_CODE),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// Prints the credentials that wait for a confirmation: below the status, or beside its document. True if there are any.
fn show_waiting(waiting: anyhow::Result<Waiting>, view: StatusView) -> anyhow::Result<bool> {
    let waiting = match waiting {
        Ok(waiting) if waiting.is_empty() => return Ok(false),
        Ok(waiting) => waiting,
        Err(error) => {
            output::note_line(format_args!(
                "note: whether stored credentials wait for a confirmation is unknown: {}",
                crate::escape::value(&format!("{error:#}"))
            ))
            .context("failed to print")?;
            return Ok(false);
        }
    };
    let report = waiting.report();
    let printed = if view == StatusView::Json { output::note(&report) } else { output::print(&report) };
    printed.context("failed to print")?;
    Ok(true)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Calls an endpoint that returns a status.
pub(super) fn call(data: &Path, method: Method, path: &str) -> anyhow::Result<(Status, Bytes)> {
    runtime()?.block_on(fetch(data, method, path))
}

/// The same, for an asynchronous command.
pub(super) async fn fetch(data: &Path, method: Method, path: &str) -> anyhow::Result<(Status, Bytes)> {
    let (code, document) = control::call(data, method, path, Bytes::new()).await?;
    Ok((read(code, &document)?, document))
}

/// Prints a note if a tollgate runs that does not read these files. Without a running one there is nothing to say.
pub(super) fn note_if_running_elsewhere(places: &Places, providers: &Source) -> anyhow::Result<()> {
    match call(&places.data()?, Method::GET, "/admin/providers") {
        Ok((status, _)) => note_unread_directory(&status, providers),
        Err(_) => Ok(()),
    }
}

/// Prints a note if there is a providers directory, and the running tollgate began before it. It serves the built-in files,
/// and watches no directory.
fn note_unread_directory(status: &Status, providers: &Source) -> anyhow::Result<()> {
    let Source::Directory { path: dir, .. } = providers else { return Ok(()) };
    if status.source != files::BUILT_IN {
        return Ok(());
    }
    let dir = crate::escape::value(&dir.to_string_lossy()).to_string();
    output::note_line(format_args!(
        "note: the running tollgate serves the built-in files and does not read `{dir}`: restart it"
    ))
    .context("failed to print")
}

fn read(code: StatusCode, document: &Bytes) -> anyhow::Result<Status> {
    if matches!(code, StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY) {
        return serde_json::from_slice(document).context(
            "failed to read the response of the running tollgate: does its version differ from this command's?",
        );
    }
    let fault: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    match fault["error"]["message"].as_str() {
        Some(message) => Err(anyhow!("{message}")),
        None => bail!("the running tollgate returned {code}: does its version differ from this command's?"),
    }
}

fn report(status: &Status, all: bool) -> Lines {
    let mut text = Lines::one(format_args!("{}", verdict(status)));
    if let Some(load) = &status.load {
        text.push(format_args!("{}", shown_load(load)));
    }
    for (scheme, proxy) in &status.outgoing_proxies {
        text.push(format_args!("outgoing proxy for {scheme}: {proxy}"));
    }
    if let Some(CertificateStatus { file, expires, problem }) = &status.certificate {
        text.push(format_args!("certificate: {file}, expires {expires}"));
        if let Some(problem) = problem {
            text.push(format_args!("certificate: the new files are not used: {problem}"));
        }
    }
    if !status.dropped.is_empty() {
        let dropped: Vec<_> =
            status.dropped.iter().map(|(queue, number)| format!("{number} by `{queue}`")).collect();
        text.push(format_args!("dropped since the start: {}", dropped.join(", ")));
    }
    for one in status.exporters.iter().filter(|one| all || one.failed > 0 || one.problem.is_some()) {
        text.push(format_args!("{}", shown_exporter(one)));
    }
    if let Some(problem) = &status.problem {
        text.push(format_args!("problem: {problem}"));
    }
    if let Some(problem) = &status.store_problem {
        text.push(format_args!("store: {problem}"));
    }
    for (sink, problem) in &status.sink_problems {
        text.push(format_args!("{sink}: {problem}"));
    }
    if let Some(pending) = &status.usage_pending {
        text.push(format_args!("{pending}"));
    }
    if all {
        status.files.iter().for_each(|one| file(&mut text, one));
    } else {
        problems(&mut text, status.files.iter().filter(|one| one.state != FileState::Live));
    }
    if status.omitted > 0 {
        text.push(format_args!(
            "and {} more, not shown: mend these first",
            counted(status.omitted, "finding")
        ));
    }
    text
}

/// Connections, requests, their limits, what was refused, and errors of this machine.
fn shown_load(Load { connections, requests, refused, local_errors, .. }: &Load) -> String {
    let mut text = format!(
        "load: {} of {} connections, {} of {} requests",
        connections.now, connections.max, requests.now, requests.max
    );
    let refused: Vec<_> =
        refused.by_setting().map(|(setting, number)| format!("{number} by {setting}")).collect();
    if !refused.is_empty() {
        text = format!("{text}; refused since the start: {}", refused.join(", "));
    }
    let local: Vec<_> =
        local_errors.by_cause().map(|(cause, number)| format!("{number} of {cause}")).collect();
    if !local.is_empty() {
        text = format!("{text}; local errors since the start: {}", local.join(", "));
    }
    text
}

/// The state of a queue of an exporter.
fn shown_exporter(one: &ExporterStatus) -> String {
    let ExporterStatus { exporter, signal, queued, sent, dropped, failed, problem } = one;
    let problem = problem.as_ref().map(|problem| format!("; the last attempt failed: {problem}"));
    format!(
        "exporter {exporter}, {signal}: {sent} sent, {queued} queued, {dropped} dropped, {failed} given up{}",
        problem.unwrap_or_default()
    )
}

/// The first line: `ok` or not, the reason, and counts of what serves.
fn verdict(status: &Status) -> String {
    let counts = &status.counts;
    let wrong = [(counts.stale, "stale"), (counts.rejected, "rejected")];
    let wrong = wrong.iter().filter(|(number, _)| *number > 0);
    let mut parts: Vec<String> = wrong.map(|(number, what)| format!("{number} {what}")).collect();
    let watching = match status.watching {
        Watching::Events => "watching by events",
        Watching::Polling => "watching by polling",
        Watching::Nothing => "not watching",
    };
    parts.extend([
        format!("generation {} since {}", status.generation, status.since),
        counted(counts.providers, "provider"),
        counted(counts.routes, "route"),
        watching.to_owned(),
    ]);
    let findings = status.files.iter().flat_map(|file| &file.diagnostics);
    let warnings = findings.filter(|one| one.severity == Severity::Warning).count();
    if warnings > 0 {
        parts.push(counted(warnings, "warning"));
    }
    format!("{}: {}", if status.ok { "ok" } else { "NOT OK" }, parts.join(", "))
}

/// The files with errors of their own, then those that follow from errors of others, of which the ones with the same reason
/// share a line.
fn problems<'f>(text: &mut Lines, files: impl Iterator<Item = &'f FileStatus>) {
    let (following, own): (Vec<_>, Vec<_>) = files.partition(|one| follows(one));
    for one in own {
        file(text, one);
    }
    let mut reasons: Vec<((&str, String), Vec<&FileStatus>)> = Vec::new();
    for one in following {
        let reason = (state(one), reason(one));
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, files)) => files.push(one),
            None => reasons.push((reason, vec![one])),
        }
    }
    for ((state, reason), files) in reasons {
        if let [one] = files.as_slice() {
            file(text, one);
            continue;
        }
        let names: Vec<&str> = files.iter().map(|one| one.file.as_str()).collect();
        text.push(format_args!(
            "{state}: {}, {reason}: {}; `--all` shows each",
            counted(files.len(), "file"),
            first_names(&names)
        ));
    }
}

/// True if the errors of other files alone keep a file from being live.
fn follows(file: &FileStatus) -> bool {
    match file.diagnostics.as_slice() {
        [] => !file.because.is_empty(),
        findings => findings.iter().all(|one| one.follows),
    }
}

/// The errors of other files that keep a file from being live.
fn reason(file: &FileStatus) -> String {
    let messages = file.diagnostics.iter().map(|one| format!("since {}", one.message));
    let because = (!file.because.is_empty()).then(|| format!("because of {}", file.because.join(", ")));
    messages.chain(because).collect::<Vec<_>>().join(", ")
}

fn state(file: &FileStatus) -> &'static str {
    match file.state {
        FileState::Live => "live",
        FileState::Stale => "stale",
        FileState::Rejected => "rejected",
    }
}

fn file(text: &mut Lines, file: &FileStatus) {
    let because = match file.because.as_slice() {
        [] => String::new(),
        files => format!(", because of {}", &files.join(", ")),
    };
    text.push(format_args!("{} {} since {}{because}", state(file), &file.file, file.since));
    for finding in &file.diagnostics {
        let Finding { code, severity, file, line: row, column, message, help, related, follows: _ } = finding;
        let severity = severity.as_str();
        text.push(format_args!("  {file}:{row}:{column}: {severity}[{code}]: {message}"));
        for RelatedLocation { file, line: row, column, label } in related {
            text.push(format_args!("    {file}:{row}:{column}: {label}"));
        }
        if let Some(help) = help {
            // The help of a failed test has several lines.
            for (index, line) in help.lines().enumerate() {
                let label = if index == 0 { "help:" } else { "     " };
                text.push(format_args!("    {label} {}", line.trim_start()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
