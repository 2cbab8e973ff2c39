//! `tollgate new`: creates a provider file that extends a preset, with two tests. Writes it only if `check` has no
//! findings, and never replaces a file.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};

use super::{check, fmt, whole_file};
use crate::{
    compile::default_preset,
    diag::Diagnostic,
    escape::Lines,
    files,
    name::FileName,
    output,
    pipeline::{self, Loaded},
    settings::Source,
    starter,
    suggest::{backticked, nearest},
    syntax::{self, FileKind},
};

/// The providers directory to create if there is none.
const DIRECTORY: &str = "providers.d";

/// Create a provider file from a preset, with two tests, ready to serve
///
/// Exit codes: 0 if the file was written; 1 if not, since it exists or `check` would report errors; 2 for invalid arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The provider's name, `[a-z0-9][a-z0-9-]*`: the file is NAME.toml in the providers directory
    #[arg(value_parser = name)]
    name: FileName,
    /// The base URL of the upstream, such as `https://api.example.com`
    #[arg(long, value_name = "URL")]
    base_url: String,
    /// The preset [default: the one with `default = true`]
    #[arg(long, value_name = "PRESET")]
    extends: Option<String>,
}

fn name(text: &str) -> Result<FileName, String> {
    FileName::new(text).ok_or_else(|| "use `[a-z0-9][a-z0-9-]*`, at most 64 characters".to_owned())
}

/// Creates the file. Returns false if `check` has findings.
pub fn run(args: &Args, default: &Source) -> anyhow::Result<bool> {
    let dir = match default {
        Source::Directory(dir) => dir.clone(),
        Source::Embedded => PathBuf::from(DIRECTORY),
    };
    let path = dir.join(format!("{}.toml", args.name));
    if fs::symlink_metadata(&path).is_ok() {
        bail!("`{}` exists already: change it, or choose another name", path.display());
    }
    let what = check::describe(default);
    let mut loaded = files::load(default).with_context(|| format!("cannot read {what}: create it first"))?;
    let (extends, preset) = preset(args.extends.as_deref(), &loaded)?;
    let text = starter::text(&args.name, &args.base_url, &extends, &preset)
        .map_err(|problem| anyhow::anyhow!("`{}` cannot be a base URL: {problem}", args.base_url))?;
    let shown: Arc<str> = path.to_string_lossy().into();
    let header = fmt::schema_line(&path, FileKind::Provider);
    let text = crate::format::format(&shown, &text, syntax::schema(FileKind::Provider), Some(&header))
        .map_err(|refused| anyhow::anyhow!("cannot format the file: {refused:?}"))?;
    let found = findings(&mut loaded, &args.name, &shown, &text);
    if !found.is_empty() {
        check::show(&loaded.sources, &found)?;
        output::note_line(format_args!(
            "error: `{shown}` was not written: run the command again with arguments that `check` accepts"
        ))?;
        return Ok(false);
    }
    let is_first = loaded.providers.keys().all(|file| loaded.filled_in.contains(file));
    if *default == Source::Embedded {
        fs::create_dir_all(&dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
        output::note_line(format_args!(
            "note: `{DIRECTORY}` is new: from its next start, tollgate serves its files instead of the built-in providers"
        ))?;
    } else if is_first && !loaded.providers.is_empty() {
        output::note_line(format_args!(
            "note: this is the first provider of `{}`: tollgate serves it instead of the built-in providers",
            dir.display()
        ))?;
    }
    whole_file::create(&path, &text).with_context(|| format!("cannot write `{shown}`"))?;
    print_summary(&args.name, &shown, &extends, &loaded, &header)?;
    Ok(true)
}

/// The preset to extend.
fn preset(wanted: Option<&str>, loaded: &Loaded) -> anyhow::Result<(FileName, syntax::Provider)> {
    let presets = &loaded.files.presets;
    let names: Vec<&str> = presets.keys().map(FileName::as_str).collect();
    let name = match wanted {
        Some(wanted) => {
            FileName::new(wanted).filter(|name| presets.contains_key(name)).with_context(|| {
                let near = nearest(wanted, names.iter().copied());
                let help = near.map_or_else(
                    || format!("there are: {}", backticked(&names)),
                    |near| format!("did you mean `{near}`?"),
                );
                format!("there is no preset `{wanted}`: {help}")
            })?
        }
        None => default_preset(&loaded.files).cloned().with_context(|| {
            format!("no preset has `default = true`: name one with --extends: {}", backticked(&names))
        })?,
    };
    let Some(Ok(parsed)) = presets.get(&name) else {
        bail!("preset `{name}` has errors: see `tollgate check`");
    };
    let document = parsed.document.clone();
    Ok((name, document))
}

/// The findings of `check` for the file, together with the other files.
fn findings(loaded: &mut Loaded, name: &FileName, shown: &Arc<str>, text: &str) -> Vec<Diagnostic> {
    let (parsed, mut found) = syntax::parse(shown, text);
    loaded.sources.insert(shown.clone(), text.into());
    loaded.files.providers.insert(name.clone(), parsed);
    found.extend(pipeline::check(loaded).2);
    found.retain(|one| one.at.file == *shown || one.related.iter().any(|(at, _)| at.file == *shown));
    found
}

fn print_summary(
    name: &FileName,
    shown: &str,
    extends: &FileName,
    loaded: &Loaded,
    header: &str,
) -> anyhow::Result<()> {
    let compiled = crate::compile::compile(&loaded.files);
    let provider = compiled.providers.iter().find(|provider| provider.name == *name);
    let mut out = Lines::one(format_args!("{shown}: created from preset `{extends}`, with 2 tests"));
    let Some(provider) = provider else { return Ok(output::print(&out)?) };
    let auth = provider.section.as_ref().zip(provider.auth.first());
    if let Some((section, auth)) = auth {
        out.push(format_args!(
            "  store a key:  tollgate credential set USER {}.{}",
            section.name, auth.field
        ));
    }
    out.push(format_args!("  call it:      http://127.0.0.1:8787{}", provider.prefix));
    out.push(format_args!("  change it:    {shown}, then tollgate check {shown}"));
    let schema = header.trim_start_matches("#:schema ");
    let dir = Path::new(shown).parent().unwrap_or(Path::new("."));
    if !dir.join(schema).is_file() {
        out.push(format_args!(
            "  for editors:  tollgate schema --out {}",
            dir.with_file_name("schema").display()
        ));
    }
    Ok(output::print(&out)?)
}
