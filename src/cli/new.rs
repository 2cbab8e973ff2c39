//! `tollgate new`: creates a provider file, that of the catalogue or one that extends a preset, with two tests. Writes it only if
//! `check` has no errors, and never replaces a file.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};

use http::Method;
use sha2::{Digest as _, Sha256};

use super::{check, context::absolute, fmt, own_url, status, whole_file};
use crate::{
    compile::{Clients, default_preset},
    control::CallError,
    diag::{Diagnostic, Severity},
    escape::{self, Lines},
    files::{self, FileState, FileStatus},
    hex,
    name::FileName,
    numbers::counted,
    output,
    pipeline::{self, Loaded},
    settings::{Places, Source},
    starter,
    suggest::{backticked, nearest},
    syntax::{self, FieldKind, FileKind},
};

/// The providers directory to create if there is none.
const DIRECTORY: &str = "providers.d";

/// Create a provider file, from the catalogue or from a preset, ready to serve
///
/// Without `--base-url`, NAME is a provider of the catalogue (`tollgate providers`), and its file is written.
///
/// A running server is asked to read its files again, as by `tollgate reload`: what is printed then works at once.
///
/// Exit codes: 0 if the file was written; 1 if not, since it exists or `check` would report errors; 2 for invalid arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The provider's name, `[a-z0-9][a-z0-9-]*`: the file is NAME.toml in the providers directory
    #[arg(value_parser = name)]
    name: FileName,
    /// The base URL of the upstream, such as `https://api.example.com`. A name in braces, as in `https://{region}.example.com`,
    /// becomes a field that each user fills in
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// The preset [default: the one with `default = true`]
    #[arg(long, value_name = "PRESET", requires = "base_url")]
    extends: Option<String>,
}

fn name(text: &str) -> Result<FileName, String> {
    FileName::new(text).ok_or_else(|| "use `[a-z0-9][a-z0-9-]*`, at most 64 characters".to_owned())
}

/// Creates the file. Returns false if `check` has errors.
pub fn run(args: &Args, places: &Places) -> anyhow::Result<bool> {
    let default = &places.providers()?;
    let dir = match default {
        Source::Directory { path: dir, .. } => dir.clone(),
        Source::Embedded { .. } => PathBuf::from(DIRECTORY),
    };
    let path = dir.join(format!("{}.toml", args.name));
    if fs::symlink_metadata(&path).is_ok() {
        bail!(
            "`{}` exists already: `tollgate providers {}` shows what it takes; change it, or choose another name",
            path.display(),
            args.name
        );
    }
    let what = check::describe(default);
    let loaded = files::load(default).with_context(|| match default {
        Source::Directory { .. } => format!("cannot read {what}: create it first"),
        Source::Embedded { .. } => format!("cannot read {what}"),
    })?;
    let mut loaded = Loaded { levels: places.lints()?, env_allow: places.env_allow()?, ..loaded };
    let (text, template) = match &args.base_url {
        Some(base_url) => from_preset(args, base_url, &loaded)?,
        None => (of_catalogue(&args.name)?.to_owned(), "the catalogue".to_owned()),
    };
    let shown: Arc<str> = path.to_string_lossy().into();
    let header = fmt::schema_line(&path, FileKind::Provider);
    let text = crate::format::format(&shown, &text, syntax::schema(FileKind::Provider), Some(&header))
        .map_err(|refused| anyhow::anyhow!("cannot format the file: {refused:?}"))?;
    let found = findings(&mut loaded, &args.name, &shown, &text);
    check::show(&loaded.sources, &found)?;
    if found.iter().any(|one| one.severity == Severity::Error) {
        output::note_line(format_args!(
            "error: `{shown}` was not written: run the command again with arguments that `check` accepts"
        ))?;
        return Ok(false);
    }
    let is_first = loaded.providers.keys().all(|file| loaded.filled_in.contains(file));
    let stays = "`catalogue = \"all\"` in the settings keeps those beside it";
    if matches!(default, Source::Embedded { .. }) {
        fs::create_dir_all(&dir)
            .and_then(|()| whole_file::give_to_owner_of_dir(&dir))
            .with_context(|| format!("cannot create `{}`", dir.display()))?;
        let instead = match places.catalogue()? {
            Some(_) => "beside the built-in providers of `catalogue`".to_owned(),
            None => format!("instead of the built-in providers; {stays}"),
        };
        output::note_line(format_args!(
            "note: `{DIRECTORY}` is new: from its next start, tollgate serves its files {instead}"
        ))?;
    } else if is_first && !loaded.providers.is_empty() && default.beside().is_none() {
        output::note_line(format_args!(
            "note: this is the first provider of `{}`: tollgate serves it instead of the built-in providers; {stays}",
            dir.display()
        ))?;
    }
    whole_file::create(&path, &text).with_context(|| format!("cannot write `{shown}`"))?;
    let serving = Serving::ask(places, &dir, &args.name, &text)?;
    print_summary(&args.name, &shown, &template, &loaded, &header, &serving)?;
    Ok(true)
}

/// The text of a file that extends a preset, and the preset for messages.
fn from_preset(args: &Args, base_url: &str, loaded: &Loaded) -> anyhow::Result<(String, String)> {
    let (extends, preset) = preset(args.extends.as_deref(), loaded)?;
    let text = starter::text(&args.name, base_url, &extends, &preset)
        .map_err(|problem| anyhow::anyhow!("`{base_url}` cannot be a base URL: {problem}"))?;
    Ok((text, format!("preset `{extends}`")))
}

/// The text of a file of the catalogue.
fn of_catalogue(name: &FileName) -> anyhow::Result<&'static str> {
    files::built_in_provider(name.as_str()).map_err(|near| {
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        anyhow::anyhow!(
            "the catalogue has no provider `{name}`: {near}`tollgate providers` searches it; for another provider, name its base URL: --base-url https://api.example.com"
        )
    })
}

/// What became of the file in the running server.
struct Serving {
    /// The URL of the server.
    url: String,
    /// The line about it.
    line: String,
}

impl Serving {
    /// Asks the running server to read its files again.
    fn ask(places: &Places, dir: &Path, name: &FileName, text: &str) -> anyhow::Result<Self> {
        let data = places.data()?;
        let (status, _) = match status::call(&data, Method::POST, "/admin/reload") {
            Ok(found) => found,
            Err(error) => {
                let line = match error.downcast_ref() {
                    Some(CallError::NotRunning { .. }) => {
                        format!(
                            "not yet: no tollgate serves from `{}`: start one with `tollgate serve`",
                            absolute(&data)
                        )
                    }
                    _ => format!(
                        "unknown: {}; `tollgate reload` tries again",
                        escape::value(&format!("{error:#}"))
                    ),
                };
                return Ok(Self { url: own_url::configured_url(places), line });
            }
        };
        // The server may serve another file of this name, from another directory or its own built-in one.
        let sha256 = hex::encode(&Sha256::digest(text));
        let built_in = Path::new(files::BUILT_IN);
        let is_it = |file: &&FileStatus| {
            file.provider.as_deref() == Some(name.as_str())
                && !Path::new(&file.file).starts_with(built_in)
                && file.sha256.as_deref().is_none_or(|served| served == sha256)
        };
        let line = match status.files.iter().find(is_it).map(|file| file.state) {
            Some(FileState::Live) => "now: the running tollgate has read it".to_owned(),
            Some(FileState::Stale | FileState::Rejected) => {
                "not yet: `tollgate status` shows what the running tollgate found".to_owned()
            }
            None => format!(
                "not yet: the running tollgate serves {} and does not read `{}`: restart it",
                if status.source == files::BUILT_IN {
                    "the built-in files".to_owned()
                } else {
                    format!("`{}`", escape::value(&status.source))
                },
                absolute(dir)
            ),
        };
        Ok(Self { url: status.url.unwrap_or_else(|| own_url::configured_url(places)), line })
    }
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
    template: &str,
    loaded: &Loaded,
    header: &str,
    serving: &Serving,
) -> anyhow::Result<()> {
    let compiled = crate::compile::compile(&loaded.files);
    let provider = compiled.providers.iter().find(|provider| provider.name == *name);
    let tests = provider.map_or(0, |provider| provider.tests.len());
    let mut out =
        Lines::one(format_args!("{shown}: created from {template}, with {}", counted(tests, "test")));
    let Some(provider) = provider else { return Ok(output::print(&out)?) };
    if let Some(line) = credential_line(provider) {
        out.push(format_args!("  {line}"));
    }
    for field in entered(provider) {
        out.push(format_args!(
            "  allow hosts:  `{field}` takes what the setting `user_origins` allows: nothing, at first"
        ));
    }
    let paths: Vec<_> = provider.api_paths().collect();
    for base in Clients::new(compiled.clients.clone()).base_paths(&paths, &provider.prefix) {
        out.push(format_args!("  base URL:     {}{base}", serving.url));
    }
    out.push(format_args!("  serves:       {}", serving.line));
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

/// The fields that are whole origins.
fn entered(provider: &crate::compile::Provider) -> impl Iterator<Item = &str> {
    let fields = provider.section.iter().flat_map(|section| &section.fields).map(|field| &field.value);
    fields.filter(|field| field.kind == Some(FieldKind::Origin)).map(|field| field.name.as_str())
}

/// The command that stores what requests need: of the entries of `auth`, the first whose fields are plain strings, since most
/// people have a key and few a login. None if nothing is stored.
fn credential_line(provider: &crate::compile::Provider) -> Option<String> {
    let section = provider.section.as_ref()?;
    let fields = || section.fields.iter().map(|field| &field.value);
    let kind_of = |name: &str| fields().find(|field| field.name == name).and_then(|field| field.kind);
    let needed = |auth: &crate::compile::Auth| -> Vec<&str> {
        let of_entry = provider.fields_of(auth);
        let is_needed = |field: &&crate::syntax::Field| {
            let is_shown = matches!(field.kind, Some(FieldKind::Text | FieldKind::Origin));
            let can_be_absent = field.optional == Some(true) || field.default.is_some();
            !can_be_absent && (is_shown || of_entry.contains(field.name.as_str()))
        };
        fields().filter(is_needed).map(|field| field.name.as_str()).collect()
    };
    let is_plain = |auth: &&crate::compile::Auth| {
        let is_document = |name: &&str| matches!(kind_of(name), Some(FieldKind::Json | FieldKind::Oauth2));
        // A secret that has to look like another vendor's token is not the usual one.
        auth.matches.is_none() && !needed(auth).iter().any(is_document)
    };
    let sends_nothing = |auth: &&crate::compile::Auth| provider.fields_of(auth).is_empty();
    let optional = provider.auth.iter().find(sends_nothing);
    // Files name the usual field first, whatever the order in which entries apply.
    let place = |auth: &&crate::compile::Auth| {
        needed(auth).iter().filter_map(|name| fields().position(|field| field.name == **name)).max()
    };
    let plain = || provider.auth.iter().filter(is_plain);
    let usual = plain().min_by_key(place).or_else(|| provider.auth.first());
    let (section, names) = (&section.name, needed(optional.or(usual)?));
    Some(match names.as_slice() {
        [] if optional.is_some() && provider.auth.len() > 1 => {
            format!(
                "a key:        not needed; `tollgate credential fields USER` shows what `{section}` takes"
            )
        }
        [] => return None,
        [field] if matches!(kind_of(field), Some(FieldKind::Json | FieldKind::Oauth2)) => {
            format!("store a key:  tollgate credential set USER {section}.{field} < FILE.json")
        }
        [field] => {
            let others: BTreeSet<&str> =
                plain().map(needed).filter(|names| names.len() == 1).flatten().collect();
            let others = others.into_iter().filter(|other| other != field);
            let others: Vec<String> = others.map(|other| format!(", or {section}.{other}")).collect();
            format!("store a key:  tollgate credential set USER {section}.{field}{}", others.concat())
        }
        several => format!(
            "store keys:   tollgate credential set USER {section} < fields.json, a JSON object with {}",
            backticked(several)
        ),
    })
}
