//! `tollgate fmt`: formats provider files, or lists those that are not formatted. Replaces a file atomically, so that a
//! watching server never reads half of it. A file that is not TOML stays unchanged.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use serde_json::Value;
use similar::TextDiff;

use super::{check, whole_file};
use crate::{
    diag::Sources,
    escape::Lines,
    files,
    format::{self, FormatError},
    numbers::counted,
    output::{self, Document},
    pipeline::Folder,
    settings::{self, Source},
    syntax::{self, FileKind},
};

/// The maximum number of lines of a printed difference.
const SHOWN_LINES: usize = 20;
/// The maximum number of lines after the first difference that are compared.
const COMPARED_LINES: usize = 400;

/// Format provider files: order of keys, alignment, blank lines, quotes; comments are kept
///
/// Exit codes: 0 if all files are formatted; 1 if `--check` finds one that is not, or a file is not TOML; 2 for invalid
/// arguments; 3 if a file cannot be read or written.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directories of providers or limits, or files; `-` for standard input [default: the providers directory]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write nothing; list files that are not formatted, with the difference
    #[arg(long)]
    check: bool,
    /// The file that standard input stands for: decides its kind and the path of its schema
    #[arg(long, value_name = "PATH")]
    name: Option<PathBuf>,
}

/// A file could not be read or written. The reason has been printed.
#[derive(Debug, thiserror::Error)]
#[error("not every file could be read and written")]
pub struct FileAccessError;

/// A text and its source; standard input has no path.
struct Input {
    shown: String,
    path: Option<PathBuf>,
    text: Result<Arc<str>, String>,
    /// True for a file in the directory of limits, which may have any name.
    is_limits: bool,
}

/// The result for one file, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FormatResult {
    Formatted,
    Rejected,
    Inaccessible,
}

/// Formats or checks all files. Returns true if all are formatted.
pub fn run(args: &Args, default: &Source) -> anyhow::Result<bool> {
    let mut worst = FormatResult::Formatted;
    for input in inputs(args, default)? {
        worst = worst.max(format_input(&input, args)?);
    }
    match worst {
        FormatResult::Formatted => Ok(true),
        FormatResult::Rejected => Ok(false),
        FormatResult::Inaccessible => Err(FileAccessError.into()),
    }
}

fn inputs(args: &Args, default: &Source) -> anyhow::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    if args.paths.is_empty() {
        if matches!(default, Source::Embedded { .. }) && !default.limits().is_dir() {
            anyhow::bail!(
                "there is no providers directory here: name one, or a file, as `tollgate fmt providers.d`"
            );
        }
        inputs.extend(directory(default, |_| true)?);
    }
    for path in &args.paths {
        if path.as_os_str() == "-" {
            inputs.push(standard_input(args.name.as_deref()));
        } else if path.is_dir() {
            let source = check::source_of(path);
            // A directory of limits alone: the providers beside it are not meant.
            let is_meant = |folder| source == Source::directory(path) || folder == Folder::Limits;
            inputs.extend(directory(&source, is_meant)?);
        } else {
            let text = files::read_text(path);
            let is_limits = is_in(path, &default.limits());
            inputs.push(Input {
                shown: path.display().to_string(),
                path: Some(path.clone()),
                text,
                is_limits,
            });
        }
    }
    Ok(inputs)
}

/// The files of a providers directory, those of its folders and the limits beside it included. Of built-in providers, the limits
/// alone.
fn directory(source: &Source, is_meant: impl Fn(Folder) -> bool) -> anyhow::Result<Vec<Input>> {
    let tree = files::SourceTree::read(source, &files::SourceTree::default());
    let tree = tree
        .with_context(|| format!("cannot read {}", check::describe(source)))
        .map_err(|error| error.context(FileAccessError))?;
    let is_embedded = matches!(source, Source::Embedded { .. });
    let own = tree.0.iter().filter(|(_, text)| {
        !text.filled_in && is_meant(text.folder) && (!is_embedded || text.folder == Folder::Limits)
    });
    let input = |(shown, text): (&Arc<str>, &Arc<files::SourceFile>)| Input {
        shown: shown.to_string(),
        path: Some(PathBuf::from(&**shown)),
        text: text.text.as_ref().map(Arc::from).map_err(String::clone),
        is_limits: text.folder == Folder::Limits,
    };
    Ok(own.map(input).collect())
}

fn standard_input(name: Option<&Path>) -> Input {
    let mut bytes = Vec::new();
    let read = io::stdin().take(files::MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    let text = match read {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(_) if bytes.len() as u64 > files::MAX_FILE_BYTES => {
            Err(format!("is larger than {} bytes", files::MAX_FILE_BYTES))
        }
        Ok(_) => files::decode_utf8(bytes).map(Arc::from),
    };
    let shown = name.map_or_else(|| "<stdin>".to_owned(), |name| name.display().to_string());
    Input { shown, path: None, text, is_limits: false }
}

/// True if a file is in a directory, links to which are followed.
fn is_in(path: &Path, dir: &Path) -> bool {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::canonicalize(dir).is_ok_and(|dir| fs::canonicalize(parent).is_ok_and(|parent| parent == dir))
}

fn format_input(input: &Input, args: &Args) -> anyhow::Result<FormatResult> {
    let shown = &input.shown;
    let text = match &input.text {
        Ok(text) => text,
        Err(problem) => {
            output::note_line(format_args!("error: `{shown}`: {problem}"))?;
            return Ok(FormatResult::Inaccessible);
        }
    };
    let path = input.path.as_deref().or(args.name.as_deref());
    let formatted = match layout(&shown.as_str().into(), text, path, input.is_limits) {
        Ok(formatted) => formatted,
        Err(refused) => return report_refusal(shown, text, &refused).map(|()| FormatResult::Rejected),
    };
    let same = *formatted == **text;
    if args.check {
        if !same {
            let mut lines = Lines::one(format_args!("{shown}: not formatted"));
            lines.extend(&difference(text, &formatted));
            output::print(&lines)?;
        }
        return Ok(if same { FormatResult::Formatted } else { FormatResult::Rejected });
    }
    let Some(path) = &input.path else {
        output::print_document(&Document::file(formatted))?;
        return Ok(FormatResult::Formatted);
    };
    if same {
        return Ok(FormatResult::Formatted);
    }
    if let Err(error) = whole_file::write(path, &formatted) {
        output::note_line(format_args!("error: `{shown}`: cannot be written: {error}"))?;
        return Ok(FormatResult::Inaccessible);
    }
    output::print(&Lines::one(format_args!("{shown}: formatted")))?;
    Ok(FormatResult::Formatted)
}

fn report_refusal(shown: &str, text: &Arc<str>, refused: &FormatError) -> anyhow::Result<()> {
    match refused {
        FormatError::Broken(found) => {
            let mut sources = Sources::default();
            sources.insert(shown.into(), text.clone());
            check::show(&sources, found)?;
            output::note_line(format_args!("error: `{shown}` is not TOML, and stays as it is"))?;
        }
        FormatError::Changed => output::note_line(format_args!(
            "error: `{shown}` stays as it is: formatting would change its meaning, which is a bug in tollgate: please report it"
        ))?,
    }
    Ok(())
}

/// The formatted text. The kind of file comes from its path, or from the schema that it names. `is_limits`: the file is one of
/// limits, whatever its path.
fn layout(shown: &Arc<str>, text: &str, path: Option<&Path>, is_limits: bool) -> Result<String, FormatError> {
    let Some(path) = path else {
        return format::format(shown, text, schema_of(named_kind(text)), None);
    };
    let name = path.file_name().unwrap_or_default();
    if name == settings::DEFAULT_FILE {
        return format::format(shown, text, settings::schema(), None);
    }
    // The path is no proof: a provider may be called `policy`, too, and a directory of limits may have any name.
    let kind = match named_kind(text) {
        named @ (FileKind::Policy | FileKind::Limits) => named,
        _ if is_limits => FileKind::Limits,
        _ => kind_of(path),
    };
    format::format(shown, text, schema_of(kind), Some(&schema_line(path, kind)))
}

fn schema_of(kind: FileKind) -> &'static Value {
    syntax::schema(kind)
}

fn named_kind(text: &str) -> FileKind {
    let named = |kind: &&FileKind| {
        let file = format!("/{}.schema.json", kind.stem());
        text.lines().any(|line| line.starts_with("#:schema ") && line.trim_end().ends_with(&file))
    };
    FileKind::ALL.iter().find(named).copied().unwrap_or(FileKind::Provider)
}

fn kind_of(path: &Path) -> FileKind {
    match folder_of(path) {
        Folder::Providers | Folder::Presets => FileKind::Provider,
        Folder::Endpoints => FileKind::Endpoints,
        Folder::Gateways => FileKind::Gateway,
        Folder::Apis => FileKind::Api,
        Folder::Prices => FileKind::Prices,
        Folder::Clients => FileKind::Client,
        Folder::Limits => FileKind::Limits,
        Folder::Policy => FileKind::Policy,
    }
}

fn folder_of(path: &Path) -> Folder {
    Folder::of_any_path(&absolute(path).to_string_lossy())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The schema line for editors. It names the nearest `schema` directory above the file, or one beside the providers
/// directory.
pub(super) fn schema_line(path: &Path, kind: FileKind) -> String {
    let file = format!("schema/{}.schema.json", kind.stem());
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = fs::canonicalize(parent).unwrap_or_default();
    let near = dir.ancestors().position(|above| above.join(&file).is_file());
    let beside = match folder_of(path) {
        _ if kind == FileKind::Policy => 0,
        _ if kind == FileKind::Limits => 1,
        Folder::Providers | Folder::Limits => 1,
        Folder::Endpoints => {
            let path = absolute(path);
            let below = Folder::Endpoints.below(path.to_str().unwrap_or_default());
            2 + below.map_or(0, |below| below.matches('/').count())
        }
        Folder::Presets
        | Folder::Gateways
        | Folder::Apis
        | Folder::Prices
        | Folder::Clients
        | Folder::Policy => 2,
    };
    format!("#:schema {}{file}", "../".repeat(near.unwrap_or(beside)))
}

/// The first lines of the difference. Of two texts that differ much, the lines after the first difference alone are compared:
/// comparing all of them would take the square of their number.
fn difference(before: &str, after: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) =
        (before.split_inclusive('\n').collect(), after.split_inclusive('\n').collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let differing = old.len().max(new.len()) - same;
    let same_end = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let is_long = differing.saturating_sub(same_end) > COMPARED_LINES;
    let end = if is_long { same + COMPARED_LINES } else { usize::MAX };
    let head = |lines: &[&str]| lines[..lines.len().min(end)].concat();
    let (old, new) = (head(&old), head(&new));
    let text = TextDiff::from_lines(&old, &new).unified_diff().context_radius(1).to_string();
    let mut lines: Vec<&str> = text.lines().collect();
    // The last part may differ only since it was cut.
    let last = lines.iter().rposition(|line| line.starts_with("@@")).filter(|at| is_long && *at > 0);
    let more = lines.len().saturating_sub(SHOWN_LINES);
    lines.truncate(last.unwrap_or(SHOWN_LINES).min(SHOWN_LINES));
    let rest = match more {
        _ if is_long => "... and more lines\n".to_owned(),
        0 => String::new(),
        more => format!("... and {}\n", counted(more, "more line")),
    };
    format!("{}\n{rest}", lines.join("\n"))
}
