//! `tollgate check`: everything that is wrong with provider files, without network, environment or secrets.

use std::{io::Write, path::PathBuf};

use anyhow::{Context, bail};

use crate::{diag::Sources, load, settings::Source};

/// Checks provider files: parses, compiles, runs their own tests.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Provider directories, or files in one; the providers directory if none is named
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Checks, prints findings to standard error and a summary to standard output. Whether all is well.
pub fn run(args: &Args, default: &Source) -> anyhow::Result<bool> {
    let mut good = true;
    let targets = if args.paths.is_empty() { vec![(default.clone(), None)] } else { targets(&args.paths)? };
    for (origin, only) in targets {
        good &= check(&origin, only.as_deref())?;
    }
    Ok(good)
}

/// A file is checked together with the directory that it stands in; only what is said of it is shown.
pub(super) fn targets(paths: &[PathBuf]) -> anyhow::Result<Vec<(Source, Option<String>)>> {
    let one = |path: &PathBuf| {
        let metadata =
            std::fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        if metadata.is_dir() {
            return Ok((Source::Directory(path.clone()), None));
        }
        let mut dir = path.parent().map(PathBuf::from).unwrap_or_default();
        let folder = dir.file_name().and_then(|name| name.to_str());
        if matches!(folder, Some("presets" | "gateways" | "apis")) {
            dir.pop();
        }
        if dir.as_os_str().is_empty() {
            dir.push(".");
        }
        let shown = dir.join(path.strip_prefix(&dir).unwrap_or(path));
        Ok((Source::Directory(dir), Some(shown.to_string_lossy().into_owned())))
    };
    paths.iter().map(one).collect()
}

fn check(origin: &Source, only: Option<&str>) -> anyhow::Result<bool> {
    let what = describe(origin);
    let loaded = load::load(origin).with_context(|| format!("cannot read {what}"))?;
    let (compiled, tests, mut found) = load::check(&loaded);
    if let Some(only) = only {
        found.retain(|one| &*one.at.file == only || one.related.iter().any(|(at, _)| &*at.file == only));
    }
    show(&loaded.sources, &found)?;
    let providers = loaded.files.providers.len();
    if let Some(only) = only.filter(|only| found.is_empty() && !loaded.sources.has(only)) {
        bail!(
            "`{only}` is no provider file: one ends in `.toml`, and stands in a providers directory or its presets, gateways or apis"
        );
    }
    if providers == 0 && found.is_empty() {
        bail!("{what} has no provider file: name a directory that has some");
    }
    if found.is_empty() {
        let endpoints: usize = compiled.providers.iter().map(|provider| provider.endpoints.len()).sum();
        writeln!(
            std::io::stdout(),
            "{what}: {providers} providers, {endpoints} endpoints, {} tests: ok",
            tests.ran
        )?;
        return Ok(true);
    }
    writeln!(std::io::stdout(), "{what}: {} in {providers} providers", count(found.len(), "error"))?;
    Ok(false)
}

/// Prints findings to standard error.
pub fn show(sources: &Sources, found: &[crate::diag::Diagnostic]) -> anyhow::Result<()> {
    use std::io::IsTerminal;
    let mut out = std::io::stderr().lock();
    let color = out.is_terminal();
    out.write_all(sources.render(found, color).as_bytes()).context("cannot write to standard error")
}

/// Where files come from, in words.
pub fn describe(origin: &Source) -> String {
    match origin {
        Source::Directory(dir) => format!("`{}`", dir.display()),
        Source::Embedded => "the built-in provider files".into(),
    }
}

pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
