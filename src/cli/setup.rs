//! `tollgate setup`: the steps to set a client up for a provider, printed, or written into the client's own files. Clients
//! are files (`providers.d/clients`): there is no code for any.
//!
//! Never prints a token. Read next: `client_setup`, which fills the steps in, and `files`, which writes.

mod as_owner;
mod files;
mod merge;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use self::merge::FILE_TOKEN;
use super::{check, context, own_url};
use crate::{
    client_setup::{self, Called, FilledStep, Given, MODEL, Setup, TOKEN},
    compile::{self, ClientFile, Clients, SetupValue},
    escape::Lines,
    output::{self, Document},
    secret::Secret,
    settings::Places,
    suggest::{backticked, nearest},
};

/// The providers that a message names.
const MAX_NAMED: usize = 12;

/// Print the steps that point a client at this tollgate, or write them into its files
///
/// Without CLIENT, lists the clients. Exit codes: 0 if the steps were printed or written, or were there already; 1 if not, since
/// there is no such client or provider, the provider has to be named, or a file cannot be changed; 2 for invalid arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The client: the name of its file, such as `claude-code`
    client: Option<String>,
    /// The provider that it is to call [default: the one that the client's file names, or the only one that it can call]
    #[arg(long, value_name = "PROVIDER", requires = "client")]
    provider: Option<String>,
    /// The model that it is to use; else `MODEL` stands in its place
    #[arg(long, value_name = "MODEL", requires = "client", value_parser = model)]
    model: Option<String>,
    /// Put the steps that have a file into it. Other keys and comments stay. A file that existed is kept as FILE.before-tollgate, a later one as FILE.before-tollgate-2
    #[arg(long, requires = "client")]
    write: bool,
    /// The directory that `~` stands for [default: that of the variable HOME]
    #[arg(long, value_name = "DIR", env = "HOME", hide_env = true)]
    home: Option<PathBuf>,
    /// Read a token from stdin, and write it where a file takes one. Such a file gets the mode 600
    #[arg(long, requires = "write")]
    token_stdin: bool,
    /// Print a JSON document
    #[arg(long, conflicts_with = "write")]
    json: bool,
}

fn model(text: &str) -> Result<String, String> {
    if client_setup::is_plain(text) {
        Ok(text.to_owned())
    } else {
        Err("use letters, digits and `. _ : / @ -`, at most 100 of them".to_owned())
    }
}

fn home(args: &Args) -> Option<&Path> {
    args.home.as_deref().filter(|home| !home.as_os_str().is_empty())
}

/// Prints or writes the steps.
pub async fn run(args: &Args, places: &Places) -> anyhow::Result<()> {
    if let Some(home) = home(args).filter(|_| args.write) {
        ensure!(home.is_dir(), "the home directory `{}` does not exist", context::absolute(home));
    }
    let source = places.providers()?;
    let what = check::describe(&source);
    let mut loaded = crate::files::load(&source).with_context(|| format!("failed to read {what}"))?;
    loaded.files.drop_tests();
    let compiled = compile::compile(&loaded.files);
    let clients = Clients::new(compiled.clients.clone());
    let Some(name) = &args.client else { return list(&clients, args.json) };
    let client = find(&clients, name)?;
    let server = own_url::own_url(places).await?;
    let all: Vec<Called<'_>> = compiled.providers.iter().map(|one| called(one, &server)).collect();
    let called = choose(client, args.provider.as_deref(), &all)?;
    let model = args.model.as_deref();
    let given = Given { model: model.unwrap_or(MODEL), ..Given::STAND_INS };
    let setup = setup(client, called, given)?;
    if args.json {
        let document = ShownSetup::of(client, called, &setup);
        return output::print_document(&Document::json(&document)?).context("failed to print");
    }
    note_heading(&setup, called)?;
    if !args.write {
        output::print(&steps(setup.steps.iter())).context("failed to print")?;
        return note_stand_ins(&setup.steps.iter().collect::<Vec<_>>(), args.model.is_some());
    }
    write(args, client, called, &setup)
}

fn setup<'c>(client: &'c ClientFile, called: &Called<'_>, given: Given<'_>) -> anyhow::Result<Setup<'c>> {
    client_setup::setup(client, called, given)
        .with_context(|| format!("`{}` speaks no wire format of `{}`", client.name, called.provider))
}

// === The client and the provider ===

#[derive(Serialize)]
struct ListedClient<'c> {
    client: &'c str,
    title: &'c str,
    kind: String,
    apis: Vec<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'c str>,
}

fn list(clients: &Clients, json: bool) -> anyhow::Result<()> {
    let listed = clients.files().iter().map(|client| ListedClient {
        client: client.name.as_str(),
        title: &client.title,
        kind: client.kind.to_string(),
        apis: client.speaks.iter().map(|one| one.api.value.as_str()).collect(),
        provider: client.provider.as_deref(),
    });
    let listed: Vec<ListedClient<'_>> = listed.collect();
    if json {
        return output::print_document(&Document::json(&listed)?).context("failed to print");
    }
    let rows = listed.iter().map(|one| {
        let provider = one.provider.unwrap_or("-").to_owned();
        [one.client.to_owned(), one.title.to_owned(), one.kind.clone(), provider, one.apis.join(", ")]
    });
    let table =
        context::table(["CLIENT", "TITLE", "KIND", "PROVIDER", "WIRE FORMATS"], &rows.collect::<Vec<_>>());
    output::print(&Lines::split(&table)).context("failed to print")?;
    output::note_line(format_args!(
        "`tollgate setup CLIENT` prints the steps for its provider, `--provider NAME` for another one"
    ))
    .context("failed to print")
}

fn find<'c>(clients: &'c Clients, name: &str) -> anyhow::Result<&'c ClientFile> {
    let found = clients.files().iter().find(|client| client.name.as_str() == name);
    found.map(Arc::as_ref).with_context(|| {
        let near = nearest(name, clients.files().iter().map(|client| client.name.as_str()));
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        format!("there is no client `{name}`: {near}`tollgate setup` lists them")
    })
}

fn called<'p>(provider: &'p compile::Provider, server: &'p str) -> Called<'p> {
    let paths = provider.api_paths().map(|(api, path)| (api, path.to_owned()));
    Called { provider: provider.name.as_str(), server, paths: paths.collect() }
}

/// The provider that was named, or else the one that the client's file names, or else the only one that the client can call.
fn choose<'a, 'p>(
    client: &ClientFile,
    wanted: Option<&str>,
    all: &'a [Called<'p>],
) -> anyhow::Result<&'a Called<'p>> {
    let can = |called: &&Called<'_>| client_setup::setup(client, called, Given::STAND_INS).is_some();
    let callable: Vec<&Called<'_>> = all.iter().filter(can).collect();
    let named = |name: &str| callable.iter().find(|one| one.provider == name).copied();
    let Some(wanted) = wanted else {
        return match (client.provider.as_deref().and_then(named), callable.as_slice()) {
            (Some(named), _) => Ok(named),
            (None, [only]) => Ok(only),
            (None, []) => bail!("`{}` can call none of the providers of these files", client.name),
            (None, _) => {
                bail!("name the provider with --provider: `{}` can call {}", client.name, names(&callable))
            }
        };
    };
    if let Some(named) = named(wanted) {
        return Ok(named);
    }
    if all.iter().any(|one| one.provider == wanted) {
        let apis = backticked(client.speaks.iter().map(|one| &one.api.value));
        bail!(
            "`{}` speaks {apis}, and `{wanted}` has no endpoint for it: it can call {}",
            client.name,
            names(&callable)
        );
    }
    match nearest(wanted, all.iter().map(|one| one.provider)) {
        Some(near) => bail!("there is no provider `{wanted}`: did you mean `{near}`?"),
        None => bail!("there is no provider `{wanted}`: `{}` can call {}", client.name, names(&callable)),
    }
}

fn names(callable: &[&Called<'_>]) -> String {
    let shown = backticked(callable.iter().take(MAX_NAMED).map(|one| one.provider));
    match callable.len().checked_sub(MAX_NAMED) {
        None | Some(0) if callable.is_empty() => "none of the providers".to_owned(),
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

// === Printing ===

/// The steps as a document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownSetup<'s> {
    client: &'s str,
    title: &'s str,
    provider: &'s str,
    base_url: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'s str>,
    steps: Vec<ShownStep<'s>>,
}

#[derive(Serialize)]
struct ShownStep<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'s str>,
    /// True if it does what the step before it does.
    alternative: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'s str>,
    language: &'s str,
    code: &'s str,
}

impl<'s> ShownSetup<'s> {
    fn of(client: &'s ClientFile, called: &'s Called<'_>, setup: &'s Setup<'_>) -> Self {
        let Setup { kind: _, title, docs, note, base_url, steps } = setup;
        let steps = steps.iter().map(|step| {
            let FilledStep { text, file, language, code, values: _, is_alternative } = step;
            ShownStep { text: text.as_deref(), alternative: *is_alternative, file: *file, language, code }
        });
        Self {
            client: client.name.as_str(),
            title,
            provider: called.provider,
            base_url,
            docs: *docs,
            note: *note,
            steps: steps.collect(),
        }
    }
}

fn note_heading(setup: &Setup<'_>, called: &Called<'_>) -> anyhow::Result<()> {
    let mut lines = Lines::one(format_args!(
        "{} for the provider `{}`, at {}",
        setup.title, called.provider, setup.base_url
    ));
    for line in setup.note.into_iter().chain(setup.docs) {
        lines.push(format_args!("{line}"));
    }
    output::note(&lines).context("failed to print")
}

/// The steps, with an empty line between them.
fn steps<'s, 'c: 's>(steps: impl Iterator<Item = &'s FilledStep<'c>>) -> Lines {
    let mut lines = Lines::default();
    for step in steps {
        if !lines.is_empty() {
            lines.push(format_args!(""));
        }
        let heading: Vec<&str> = step.text.as_deref().into_iter().chain(step.file).collect();
        if !heading.is_empty() {
            lines.push(format_args!("{}", heading.join(" ")));
        }
        lines.extend(&step.code);
    }
    lines
}

/// Explains the stand-ins in printed steps.
fn note_stand_ins(steps: &[&FilledStep<'_>], has_model: bool) -> anyhow::Result<()> {
    let has = |value: SetupValue| steps.iter().any(|step| step.values.contains(&value));
    let mut lines = Lines::default();
    if has(SetupValue::Token) {
        lines.push(format_args!("`{TOKEN}` stands for a gateway token: `tollgate token add USER` makes one"));
    }
    if has(SetupValue::Model) && !has_model {
        lines.push(format_args!("`{MODEL}` stands for the name of a model: `--model` fills it in"));
    }
    output::note(&lines).context("failed to print")
}

// === Writing ===

/// Writes the steps that have a file, and prints the others. `printed` has stand-ins alone.
fn write(args: &Args, client: &ClientFile, called: &Called<'_>, printed: &Setup<'_>) -> anyhow::Result<()> {
    let home = home(args);
    let token = args.token_stdin.then(token).transpose()?;
    let shown_token = token.as_ref().map_or(FILE_TOKEN, Secret::expose);
    let given = Given { token: shown_token, model: args.model.as_deref().unwrap_or(MODEL) };
    let filled = setup(client, called, given)?;
    let mut plans = Vec::new();
    let mut left: Vec<&FilledStep<'_>> = Vec::new();
    for (filled, printed) in groups(&filled.steps).zip(groups(&printed.steps)) {
        let mut planned = false;
        for step in filled {
            needs_model(args, step)?;
            planned = files::plan(step, home, token.is_some(), &mut plans)?;
            if planned {
                break;
            }
        }
        if !planned {
            left.extend(printed);
        }
    }
    ensure!(
        token.is_none() || plans.iter().any(files::Plan::takes_token),
        "no file of `{}` takes a token: run this without `--token-stdin`, and do the steps that are left",
        client.name
    );
    let mut lines = Lines::default();
    for plan in &plans {
        lines.append(&plan.write()?);
    }
    if !left.is_empty() {
        lines.push(format_args!(""));
        lines.push(format_args!("left to do:"));
        lines.push(format_args!(""));
        lines.append(&steps(left.iter().copied()));
    }
    output::print(&lines).context("failed to print")?;
    for plan in plans.iter().filter(|plan| plan.has_stand_in()) {
        output::note_line(format_args!(
            "`{FILE_TOKEN}` in `{}` stands for a gateway token: put yours there, or run this again with `--token-stdin`",
            plan.shown()
        ))?;
    }
    note_stand_ins(&left, args.model.is_some())
}

/// Steps that do the same in other ways stand in one group.
fn groups<'s, 'c>(steps: &'s [FilledStep<'c>]) -> impl Iterator<Item = &'s [FilledStep<'c>]> {
    steps.chunk_by(|_, next| next.is_alternative)
}

/// Refuses to write a stand-in for a model into a file: the client would ask for a model of that name.
fn needs_model(args: &Args, step: &FilledStep<'_>) -> anyhow::Result<()> {
    let is_written = step.file.is_some() && merge::Language::named(step.language).is_some();
    ensure!(
        args.model.is_some() || !is_written || !step.values.contains(&SetupValue::Model),
        "`{}` takes the name of a model: name it with --model",
        step.file.unwrap_or_default()
    );
    Ok(())
}

fn token() -> anyhow::Result<Secret> {
    let text = context::read_secret("Token")?;
    let token = text.expose().trim();
    ensure!(
        client_setup::is_harmless_token(token),
        "stdin holds no token: a token is one word, without quotes, `\\`, `$` and `!`"
    );
    Ok(Secret::new(token))
}
