//! `tollgate check`: reports all errors and lints of provider files. Needs no network, environment or secrets.

mod formats;
mod target;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, anyhow};

use super::{
    context::{first_names, has_no_store},
    print_error,
};
use crate::{
    clock,
    compile::VarSource,
    day::Day,
    diag::{self, Code, CodeInfo, Diagnostic, MAX_FINDINGS, MAX_SHOWN_FINDINGS, Severity, Sources},
    escape::{self, Lines},
    files,
    lint::Levels,
    numbers::counted,
    output,
    pipeline::{self, Loaded},
    settings::{DEFAULT_PROVIDERS, Places, SettingsError, Source},
    variables::EnvAllow,
    written::defect,
};

use formats::Finding;
use target::{Target, targets};

/// Checks provider files: parses, compiles, links them, runs their own tests, and lints them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Provider directories, or files in one or in `limits.d`; `-` for standard input [default: the providers directory]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The file that standard input stands for, as `providers.d/example.toml`
    #[arg(long, value_name = "FILE")]
    name: Option<PathBuf>,
    /// Output format: text for people, one JSON document, GitHub workflow commands, or SARIF 2.1.0
    #[arg(long, value_enum, default_value_t = CheckFormat::Human)]
    format: CheckFormat,
    /// Treat warnings as errors
    #[arg(long)]
    deny_warnings: bool,
    /// Explain a code or a lint, with examples; `all` for all
    #[arg(long, value_name = "CODE", value_parser = code, conflicts_with_all = ["paths", "name", "format", "deny_warnings"])]
    explain: Option<Explained>,
}

/// Output format of the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum CheckFormat {
    Human,
    Json,
    Github,
    Sarif,
}

/// Argument of `--explain`.
#[derive(Debug, Clone, Copy)]
enum Explained {
    One(&'static CodeInfo),
    All,
}

fn code(text: &str) -> Result<Explained, String> {
    if text == "all" {
        return Ok(Explained::All);
    }
    let codes = Code::all();
    let (first, last) = (codes[0].text, codes[codes.len() - 1].text);
    Code::find(text)
        .map(Explained::One)
        .ok_or_else(|| format!("codes are from {first} to {last}, as TG012; or name a lint, or `all`"))
}

/// A failure of the command itself, apart from findings.
#[derive(Debug)]
enum Failure {
    /// Errors of a settings file that is checked.
    Findings(anyhow::Error),
    /// Invalid arguments or settings.
    Usage(anyhow::Error),
    /// A failed read or write.
    Io(anyhow::Error),
}

const FINDINGS: u8 = 1;
const USAGE: u8 = 2;
const IO: u8 = 3;

/// The findings of one directory.
struct Checked {
    what: String,
    loaded: Loaded,
    only: Option<BTreeSet<String>>,
    found: Vec<Diagnostic>,
    /// Files with more findings than the limit.
    cut: BTreeSet<Arc<str>>,
    good: bool,
    providers: usize,
    endpoints: usize,
    tests: usize,
    limits: usize,
    vars: BTreeSet<VarSource>,
}

/// Checks and prints the findings. Returns the exit code.
pub fn run(args: &Args, places: &Places) -> ExitCode {
    let result = match args.explain {
        Some(explained) => explain(explained).map(|()| true).map_err(Failure::Io),
        None => check(args, places),
    };
    let (code, error) = match result {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => return ExitCode::FAILURE,
        Err(Failure::Findings(error)) => (FINDINGS, error),
        Err(Failure::Usage(error)) => (USAGE, error),
        Err(Failure::Io(error)) => (IO, error),
    };
    print_error(&error);
    ExitCode::from(code)
}

fn explain(what: Explained) -> anyhow::Result<()> {
    let text = match what {
        Explained::One(entry) => entry.explain(),
        Explained::All => diag::document(),
    };
    output::print(&Lines::split(&text)).context("cannot write to standard output")
}

fn check(args: &Args, places: &Places) -> Result<bool, Failure> {
    let failed = |error| match error {
        SettingsError::Read { .. } => Failure::Io(error.into()),
        SettingsError::File(_)
        | SettingsError::Value { .. }
        | SettingsError::Text { .. }
        | SettingsError::UnknownVariable { .. } => Failure::Usage(error.into()),
    };
    let levels = places.lints().map_err(failed)?;
    let providers = if args.paths.is_empty() {
        let providers = places.providers().map_err(failed)?;
        note_built_in_files(&providers, places).map_err(Failure::Io)?;
        providers
    } else {
        Source::built_in()
    };
    let targets = targets(&args.paths, args.name.as_deref(), &providers)?;
    let env_allow = places.env_allow().map_err(failed)?;
    let one = |target| checked(target, &levels, &env_allow, args.deny_warnings);
    let all = targets.into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
    print_all(&all, args.format).map_err(Failure::Io)?;
    if args.paths.is_empty() && args.format == CheckFormat::Human {
        note_unusable_vars(&all, places).map_err(Failure::Io)?;
    }
    Ok(all.iter().all(|one| one.good))
}

/// Prints a note for each var that has a value here which cannot be used. The findings do not depend on the environment.
fn note_unusable_vars(all: &[Checked], places: &Places) -> anyhow::Result<()> {
    let secrets = match places.secrets() {
        Ok(secrets) => secrets,
        Err(error) => return output::note_line(format_args!("note: {error}")).context("failed to print"),
    };
    for source in all.iter().flat_map(|one| &one.vars) {
        let problem = match files::var_value(source, &secrets) {
            Ok(None) => continue,
            Ok(Some(text)) => defect(&text).map(|defect| defect.to_string()),
            Err(problem) => Some(problem),
        };
        if let Some(problem) = problem {
            let note = format_args!("note: {source} {problem}; providers that use it do not serve here");
            output::note_line(note).context("failed to print")?;
        }
    }
    Ok(())
}

fn checked(
    target: Target,
    levels: &Levels,
    env_allow: &EnvAllow,
    deny_warnings: bool,
) -> Result<Checked, Failure> {
    let what = describe(&target.source);
    let loaded = match &target.given {
        Some((path, bytes)) => files::load_with(&target.source, path, bytes.clone()),
        None => files::load(&target.source),
    };
    let loaded = loaded.with_context(|| format!("cannot read {what}")).map_err(Failure::Io)?;
    let (levels, env_allow) = (levels.clone(), env_allow.clone());
    let today = Some(Day::of_seconds(clock::now_ms() / 1000));
    let loaded = Loaded { levels, env_allow, today, ..loaded };
    let (compiled, tests, mut found) = pipeline::check(&loaded);
    if let Some(only) = &target.only {
        let is_there = |file: &str| loaded.sources.has(file) || found.iter().any(|one| &*one.at.file == file);
        if let Some(stray) = only.iter().find(|file| !is_there(file)) {
            return Err(Failure::Usage(anyhow!(
                "`{stray}` is no provider file: one ends in `.toml`, and stands in a providers directory or its presets, endpoints, gateways, apis, prices or clients, or in `limits.d` beside it"
            )));
        }
        let wanted = |file: &str| only.contains(file);
        found.retain(|one| wanted(&one.at.file) || one.related.iter().any(|(at, _)| wanted(&at.file)));
    } else if loaded.files.providers.is_empty() && found.is_empty() {
        return Err(Failure::Usage(anyhow!("{what} has no provider file: name a directory that has some")));
    }
    if deny_warnings {
        for one in &mut found {
            one.severity = Severity::Error;
        }
    }
    let good = !found.iter().any(Diagnostic::is_error);
    // Errors first, and causes before what follows from them: the limits must not leave them out, and nothing must hide them.
    found.sort_by_key(|one| (!one.is_error(), one.follows));
    let cut = cut(&mut found);
    let endpoints = compiled.providers.iter().map(|provider| provider.endpoints.len()).sum();
    let vars = compiled.providers.iter().flat_map(|provider| provider.var_sources().cloned()).collect();
    let limits = compiled.limits.iter().map(|file| file.limits.len()).sum();
    let (only, providers) = (target.only, loaded.files.providers.len());
    Ok(Checked { what, only, found, cut, good, providers, endpoints, tests: tests.ran, limits, vars, loaded })
}

/// Truncates the findings to `MAX_FINDINGS` of each file and `MAX_SHOWN_FINDINGS` of all. Returns the files with more.
fn cut(found: &mut Vec<Diagnostic>) -> BTreeSet<Arc<str>> {
    let mut counts = BTreeMap::<Arc<str>, usize>::new();
    let mut cut = BTreeSet::new();
    let mut kept = 0;
    found.retain(|one| {
        let number = counts.entry(one.at.file.clone()).or_default();
        *number += 1;
        let keep = *number <= MAX_FINDINGS && kept < MAX_SHOWN_FINDINGS;
        kept += usize::from(keep);
        if !keep {
            cut.insert(one.at.file.clone());
        }
        keep
    });
    cut
}

impl Checked {
    fn findings(&self) -> impl Iterator<Item = Finding<'_>> {
        self.found.iter().map(|one| Finding::of(one, &self.loaded.sources))
    }

    fn show(&self) -> anyhow::Result<()> {
        show(&self.loaded.sources, &self.found)?;
        let more = |file: &Arc<str>| {
            output::note_line(format_args!("`{file}` has more findings than these: mend these first"))
                .and_then(|()| output::note_line(format_args!("")))
        };
        self.cut.iter().try_for_each(more).context("cannot write to standard error")
    }

    /// The files that the report covers.
    fn files(&self) -> BTreeSet<&str> {
        if let Some(only) = &self.only {
            return only.iter().map(String::as_str).collect();
        }
        let own = self.loaded.sources.files().filter(|file| !self.loaded.filled_in.contains(*file));
        own.chain(self.found.iter().map(|one| &*one.at.file)).collect()
    }

    fn summary(&self) -> String {
        let Self { what, providers, endpoints, tests, limits, .. } = self;
        let number = |severity| self.found.iter().filter(|one| one.severity == severity).count();
        let wrong = [(number(Severity::Error), "error"), (number(Severity::Warning), "warning")];
        let wrong: Vec<_> = wrong
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| counted(number, what))
            .collect();
        if number(Severity::Error) > 0 {
            return format!("{what}: {} in {}", wrong.join(", "), counted(providers, "provider"));
        }
        let ok = std::iter::once("ok".to_owned()).chain(wrong).collect::<Vec<_>>().join(", ");
        let mut counts = vec![(providers, "provider"), (endpoints, "endpoint"), (tests, "test")];
        counts.extend((*limits > 0).then_some((limits, "limit")));
        let counts: Vec<_> = counts.into_iter().map(|(number, what)| counted(number, what)).collect();
        format!("{what}: {}: {ok}", counts.join(", "))
    }
}

/// Prints all results. In the human format, findings go to standard error and the summary to standard output. In the
/// other formats, standard output has only the document, for programs.
fn print_all(all: &[Checked], format: CheckFormat) -> anyhow::Result<()> {
    let files = || all.iter().flat_map(Checked::files).collect::<BTreeSet<_>>();
    let findings: Vec<_> = match format {
        CheckFormat::Human => Vec::new(),
        CheckFormat::Json | CheckFormat::Github | CheckFormat::Sarif => {
            all.iter().flat_map(Checked::findings).collect()
        }
    };
    let document = match format {
        CheckFormat::Human => {
            all.iter().try_for_each(Checked::show)?;
            let mut lines = Lines::default();
            for one in all {
                lines.push(format_args!("{}", one.summary()));
            }
            return output::print(&lines).context("cannot write to standard output");
        }
        CheckFormat::Json => {
            let cut = all.iter().flat_map(|one| &one.cut).map(|file| &**file).collect();
            formats::json(&files(), &findings, &cut)
        }
        CheckFormat::Github => formats::github(&findings),
        CheckFormat::Sarif => formats::sarif(&findings),
    };
    output::print_document(&document).context("cannot write to standard output")
}

/// Prints findings to standard error. Those that follow from the same errors of another file share a line at the end.
pub fn show(sources: &Sources, found: &[Diagnostic]) -> anyhow::Result<()> {
    let (shown, more) = found.split_at(found.len().min(MAX_SHOWN_FINDINGS));
    let mut following = BTreeMap::<(Code, &str), Vec<&Diagnostic>>::new();
    for one in shown.iter().filter(|one| one.follows) {
        following.entry((one.code, &one.message)).or_default().push(one);
    }
    let several = |one: &Diagnostic| one.follows && following[&(one.code, &*one.message)].len() > 1;
    let alone: Vec<Diagnostic> = shown.iter().filter(|one| !several(one)).cloned().collect();
    let mut lines = sources.render(&alone, output::errors_on_terminal());
    for ((code, message), all) in following.iter().filter(|(_, all)| all.len() > 1) {
        let severity = if all.iter().any(|one| one.is_error()) { Severity::Error } else { Severity::Warning };
        let mut files: Vec<&str> = all.iter().map(|one| &*one.at.file).collect();
        files.dedup();
        let (number, names) = (counted(all.len(), "place"), first_names(&files));
        lines.push(format_args!("{}[{}]: {message}: {number}, in {names}", severity.as_str(), code.as_str()));
        lines.push(format_args!(""));
    }
    if !more.is_empty() {
        let more = counted(more.len(), "more finding");
        lines.push(format_args!("and {more}, not shown: mend these first"));
    }
    output::note(&lines).context("cannot write to standard error")
}

/// The source of provider files, for messages.
pub fn describe(origin: &Source) -> String {
    match origin {
        Source::Directory { path: dir, .. } => format!("`{}`", escape::value(&dir.to_string_lossy())),
        Source::Embedded { .. } => "the built-in provider files".into(),
    }
}

/// A note that the built-in files are in use, in case the user meant other ones.
pub(super) fn built_in_note() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    format!(
        "the built-in provider files are used, since there is no `{DEFAULT_PROVIDERS}` in {}; `--providers` names others",
        escape::value(&here.to_string_lossy())
    )
}

/// Prints the note if a server has used the data directory: that server may have other files.
pub(super) fn note_built_in_files(providers: &Source, places: &Places) -> anyhow::Result<()> {
    if matches!(providers, Source::Embedded { .. }) && places.data().is_ok_and(|data| !has_no_store(&data)) {
        output::note_line(format_args!("note: {}", built_in_note())).context("failed to print")?;
    }
    Ok(())
}

/// Parses path arguments for other commands: each directory, with the selected files in it (all if `None`).
pub(super) fn selected_files(
    paths: &[PathBuf],
    default: &Source,
) -> anyhow::Result<Vec<(Source, Option<BTreeSet<String>>)>> {
    let found = targets(paths, None, default).map_err(|failure| match failure {
        Failure::Findings(error) | Failure::Usage(error) | Failure::Io(error) => error,
    })?;
    Ok(found.into_iter().map(|one| (one.source, one.only)).collect())
}

/// The source of a directory argument: of providers, or of limits.
pub(super) fn source_of(dir: &Path) -> Source {
    target::source_of(dir)
}

/// A path relative to the working directory, if it is below it.
fn relative(file: &str) -> &str {
    let here = std::env::current_dir().ok();
    let below = here.as_ref().and_then(|here| Path::new(file).strip_prefix(here).ok()?.to_str());
    let file = below.unwrap_or(file);
    file.strip_prefix("./").unwrap_or(file)
}
