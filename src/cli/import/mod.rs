//! `tollgate import`: makes provider files from files of other projects, and reports where those, and the files that are there
//! already, disagree. The engine reads and merges; this module touches the disk.

mod gather;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail, ensure};

use super::{fmt, whole_file};
use crate::{
    clock::now_ms,
    compile::default_preset,
    day::Day,
    diag::{Diagnostic, Severity},
    files,
    import::{self, Input, Plan, Planned, Project, ThereText},
    name::FileName,
    output::{self, Document},
    pipeline::{self, Loaded},
    settings::{Catalogue, Source},
    suggest::backticked,
    syntax::{self, FileKind},
};
use gather::Gathered;

/// The providers directory to create if there is none.
const DIRECTORY: &str = "providers.d";

/// Make provider files from the files of models.dev, litellm, catwalk or bitrouter, and report where they disagree
///
/// The projects are read from local directories, such as clones. Name all in one run: a second project confirms the first. A file
/// that exists is renewed if an import wrote it, but for the lines that a person changed; a file that people wrote is only
/// compared.
///
/// Exit codes: 0 if all files were written and nothing disagrees; 1 if something disagrees, cannot be used, was kept or was not written, as
/// the report says; 2 for invalid arguments, or a directory that cannot be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A project, `models.dev`, `litellm`, `catwalk` or `bitrouter`, and its directories; then the next project. Also
    /// `PROJECT=DIR`
    #[arg(value_name = "PROJECT DIR", required = true)]
    sources: Vec<OsString>,
    /// The directory to write to [default: the providers directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The wanted providers [default: all]
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',', value_parser = name)]
    only: Vec<FileName>,
    /// The day on which the projects' files were looked at, `YYYY-MM-DD` [default: today]
    #[arg(long, value_name = "DAY")]
    checked: Option<Day>,
    /// Report only, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the report as a JSON document
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<FileName, String> {
    FileName::new(text).ok_or_else(|| "use `[a-z0-9][a-z0-9-]*`, at most 64 characters".to_owned())
}

/// Imports, writes the files and prints the report. Returns false if something is left to look at.
pub fn run(args: &Args, default: &Source) -> anyhow::Result<bool> {
    let mut gathered = Gathered::default();
    let sources = sources(&args.sources)?;
    for (project, dir) in &sources {
        gathered.read(*project, dir)?;
    }
    for project in Project::ALL {
        let dirs: Vec<_> =
            sources.iter().filter(|(one, _)| *one == project).map(|(_, dir)| dir.display()).collect();
        if let Some(dir) = dirs.first().filter(|_| !gathered.has(project)) {
            let paths: Vec<&str> = project.patterns().iter().map(|pattern| pattern.path).collect();
            bail!("`{dir}` has no file of {}: tollgate reads {}", project.name(), backticked(&paths));
        }
    }
    let out = match (&args.out, default) {
        (Some(dir), _) | (None, Source::Directory { path: dir, .. }) => dir.clone(),
        (None, Source::Embedded { .. }) => PathBuf::from(DIRECTORY),
    };
    let mut loaded = loaded(&out)?;
    let there = there(&out, &loaded);
    let mut plan = planned(args, &out, &loaded, &there, gathered);
    refuse_faulty(&mut plan, &mut loaded);
    if !args.dry_run {
        write(&mut plan, &out, &there)?;
    }
    if args.json {
        output::print_document(&Document::json(&plan.report)?).context("failed to print")?;
    } else {
        output::print(&import::text(&plan.report, args.dry_run)).context("failed to print")?;
    }
    Ok(plan.report.is_clean())
}

/// The projects and their directories. A word after a project is a directory, also if a project has this name.
fn sources(words: &[OsString]) -> anyhow::Result<Vec<(Project, PathBuf)>> {
    let names: Vec<&str> = Project::ALL.iter().map(|project| project.name()).collect();
    let mut sources = Vec::new();
    let mut open: Option<(Project, usize)> = None;
    for word in words {
        let text = word.to_string_lossy();
        let project = Project::named(&text).filter(|_| open.is_none_or(|(_, dirs)| dirs > 0));
        let assigned = text.split_once('=').and_then(|(name, dir)| Some((Project::named(name)?, dir)));
        match (assigned, project, &mut open) {
            (Some((project, dir)), None, _) => {
                sources.push((project, PathBuf::from(dir)));
                open = Some((project, 1));
            }
            (_, Some(project), _) => open = Some((project, 0)),
            (None, None, Some((project, dirs))) => {
                sources.push((*project, PathBuf::from(word)));
                *dirs += 1;
            }
            (None, None, None) => {
                bail!("`{text}` is no project that can be imported: use {}", backticked(&names))
            }
        }
    }
    if let Some((project, 0)) = open {
        bail!("no directory of {} is named: write it after the project", project.name());
    }
    ensure!(!sources.is_empty(), "no directory is named");
    Ok(sources)
}

/// The files of the directory, if it exists, without built-in providers.
fn loaded(out: &Path) -> anyhow::Result<Loaded> {
    let source = if out.is_dir() {
        Source::directory(out)
    } else {
        Source::Embedded { catalogue: Catalogue::Named(BTreeSet::new()), limits: None }
    };
    let mut loaded = files::load(&source).with_context(|| format!("`{}` cannot be read", out.display()))?;
    let own: BTreeSet<FileName> = loaded
        .providers
        .iter()
        .filter(|(file, _)| !loaded.filled_in.contains(*file))
        .map(|(_, name)| name.clone())
        .collect();
    loaded.files.providers.retain(|name, _| own.contains(name));
    loaded.providers.retain(|_, name| own.contains(name));
    Ok(loaded)
}

/// The path of a provider's file, as in messages.
fn shown(out: &Path, name: &FileName) -> PathBuf {
    out.join(format!("{name}.toml"))
}

/// The provider files of the directory. One that cannot be read is not replaced, since it exists.
fn there(out: &Path, loaded: &Loaded) -> BTreeMap<FileName, ThereText> {
    let Ok(root) = fs::canonicalize(out) else { return BTreeMap::new() };
    let read = |name: &FileName| {
        let path = shown(out, name);
        let real = root.join(format!("{name}.toml"));
        let text = files::read_foreign(&real, &root, files::MAX_FILE_BYTES).ok()?;
        Some((name.clone(), ThereText { shown: path.to_string_lossy().into(), text }))
    };
    loaded.files.providers.keys().filter_map(read).collect()
}

fn planned(
    args: &Args,
    out: &Path,
    loaded: &Loaded,
    there: &BTreeMap<FileName, ThereText>,
    gathered: Gathered,
) -> Plan {
    let default = default_preset(&loaded.files);
    let all = loaded.files.presets.iter();
    let mut presets: Vec<_> =
        all.filter_map(|(name, slot)| Some((name, &slot.as_ref().ok()?.document))).collect();
    presets.sort_by_key(|(name, _)| Some(*name) != default);
    let built_in: BTreeMap<FileName, ThereText> = files::built_in_providers()
        .filter_map(|(name, path, text)| {
            let shown: Arc<str> = path.to_string_lossy().into();
            Some((FileName::new(name)?, ThereText { shown, text: text.into() }))
        })
        .collect();
    let parsed =
        built_in.values().filter_map(|one| syntax::parse::<syntax::Provider>(&one.shown, &one.text).0.ok());
    let families = parsed.filter_map(|parsed| parsed.document.catalogue?.models).flatten().collect();
    let checked = args.checked.unwrap_or_else(|| Day::of_seconds(now_ms() / 1000)).to_string();
    let input = Input {
        texts: &gathered.texts,
        presets: &presets,
        there,
        built_in: &built_in,
        families: &families,
        checked: &checked,
        is_dated: args.checked.is_some(),
        only: &args.only,
        out: &out.to_string_lossy(),
        header: &fmt::schema_line(&out.join("name.toml"), FileKind::Provider),
    };
    import::plan(input, gathered.findings)
}

/// Takes files back about which `check` would report something, all of them with all others.
fn refuse_faulty(plan: &mut Plan, loaded: &mut Loaded) {
    let planned: BTreeSet<Arc<str>> = plan.files.iter().map(|file| file.shown.clone()).collect();
    loaded.diagnostics.retain(|one| !planned.contains(&one.at.file));
    for Planned { name, shown, text } in &plan.files {
        let (parsed, found) = syntax::parse(shown, text);
        loaded.sources.insert(shown.clone(), text.as_str().into());
        loaded.files.providers.insert(name.clone(), parsed);
        loaded.diagnostics.extend(found);
    }
    let (_, _, found) = pipeline::check(loaded);
    let refused: Vec<(FileName, String)> = plan
        .files
        .iter()
        .filter_map(|file| {
            let is_about = |one: &&Diagnostic| {
                one.at.file == file.shown || one.related.iter().any(|(at, _)| at.file == file.shown)
            };
            let mut about = found.iter().filter(is_about);
            let first = about.clone().find(|one| one.severity == Severity::Error).or_else(|| about.next())?;
            let (line, column) = loaded.sources.line_column(&first.at);
            let code = first.code.as_str();
            let reason =
                format!("`check` reports {code} at {}:{line}:{column}: {}", first.at.file, first.message);
            Some((file.name.clone(), reason))
        })
        .collect();
    for (name, reason) in refused {
        plan.files.retain(|file| file.name != name);
        plan.report.refuse(&name, reason);
    }
}

/// Writes the files. One that cannot be written is reported, and the others are written.
fn write(plan: &mut Plan, out: &Path, there: &BTreeMap<FileName, ThereText>) -> anyhow::Result<()> {
    if plan.files.is_empty() {
        return Ok(());
    }
    if !out.is_dir() {
        fs::create_dir_all(out).with_context(|| format!("cannot create `{}`", out.display()))?;
        output::note_line(format_args!(
            "note: `{}` is new: a tollgate that has it as its providers directory serves its files instead of the built-in providers",
            out.display()
        ))?;
    }
    for file in std::mem::take(&mut plan.files) {
        let path = shown(out, &file.name);
        let written = if there.contains_key(&file.name) {
            whole_file::write(&path, &file.text)
        } else {
            whole_file::create(&path, &file.text)
        };
        if let Err(error) = written {
            plan.report.refuse(&file.name, format!("`{}` cannot be written: {error}", path.display()));
        }
    }
    Ok(())
}
