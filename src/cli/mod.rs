//! The command line: one file per command. A command parses its arguments, calls the other modules and prints:
//! results on stdout, everything else on stderr.

mod api;
pub mod audit;
pub mod backup;
pub mod check;
pub mod context;
pub mod credential;
pub mod diff;
pub mod explain;
pub mod fmt;
pub mod import;
pub mod import_worker;
mod issued;
mod own_url;
pub mod limits;
pub mod mock;
mod neighbour;
pub mod new;
pub mod price;
pub mod providers;
pub mod prove;
pub mod rekey;
pub mod reload;
pub mod restore;
pub mod routes;
pub mod schema;
pub mod serve;
mod serve_lock;
pub mod setup;
pub mod status;
mod synonyms;
pub mod test;
pub mod token;
pub mod usage;
pub mod user;
mod unconfirmed;
mod whole_file;

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, error::ErrorKind};

use crate::{
    accounts::KeySources,
    escape::{self, Lines},
    output,
    secret::Secret,
    settings::{
        Arguments, Given, PlaceFlags, Places, Settings, SettingsError,
        environment::{MASTER_KEY, unknown_variables},
        resolve,
    },
    written::not_utf8,
};

/// A declarative, data-driven proxy for LLM providers: one binary, one folder of TOML files
///
/// Without a command it serves. `TOLLGATE_MASTER_KEY` (64 hex digits) encrypts stored credentials; without it a key file is
/// created in the data directory.
#[derive(Parser)]
#[command(name = "tollgate", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    given: Arguments<Given>,
    #[command(flatten)]
    places: Arguments<PlaceFlags>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Run the proxy (the default)
    Serve(Arguments<Given>),
    /// Report all errors and lints of provider files; needs no network, environment or secrets
    ///
    /// Exit codes: 0 without errors, warnings or not; 1 with findings; 2 for invalid arguments or settings, or if no provider file is
    /// named; 3 if a file cannot be read. Set the levels of lints under `[lints]` in the settings file.
    Check(check::Args),
    Fmt(fmt::Args),
    New(new::Args),
    Providers(providers::Args),
    Setup(setup::Args),
    Import(import::Args),
    Diff(diff::Args),
    Prove(prove::Args),
    /// Run the provider files' own tests, and report what they do not cover
    Test(test::Args),
    /// Show what a request would do, and which rule decides it, without sending it
    Explain(explain::Args),
    /// Show the price of a model, and the entry of a price file that it comes from
    Price(price::Args),
    /// Show the state of each provider file in the running server
    ///
    /// Exit codes: 0 if all files are live; 1 if not, or if something else is wrong; 5 if nothing is wrong, but stored credentials
    /// wait for a confirmation, since a changed file leads them to other hosts.
    Status(status::Args),
    /// Reload the provider files of the running server now, and show their state
    ///
    /// Exit codes: those of `tollgate status`.
    Reload(reload::Args),
    /// List all endpoints and their upstream URLs
    Routes,
    /// Print or write the JSON schemas of the files
    Schema(schema::Args),
    /// Add, list, change and remove users, and show what they may call
    User(user::UserArgs),
    /// Add, list, rotate and revoke tokens
    Token(token::TokenArgs),
    /// Set, list, confirm and remove credentials of users, groups and everybody
    Credential(credential::CredentialArgs),
    Usage(Box<usage::Args>),
    Limits(limits::LimitsArgs),
    /// List the audit log, or verify it
    Audit(audit::AuditArgs),
    Backup(backup::Args),
    Restore(restore::Args),
    Rekey(rekey::Args),
    ImportWorker(import_worker::Args),
    /// Run a fast fake upstream, for trying things without a key
    Mock(Box<mock::Args>),
}

/// Parses the arguments and runs their command. Returns its exit code.
pub fn main() -> ExitCode {
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(stopped) => return print_usage(&stopped),
    };
    // For these commands, 1 is a result; an error needs another code.
    let failure = match &cli.command {
        Some(
            Command::Check(_)
            | Command::Diff(_)
            | Command::Prove(_)
            | Command::Test(_)
            | Command::Explain(_)
            | Command::Price(_)
            | Command::Import(_),
        ) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            print_error(&error);
            if error.is::<fmt::FileAccessError>() { ExitCode::from(3) } else { failure }
        }
    }
}

/// Parses arguments, of which the first is the name of the program.
fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = synonyms::add_to(Cli::command());
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Prints help or a usage error, which quotes arguments: they may be names of files.
fn print_usage(stopped: &clap::Error) -> ExitCode {
    // The same error about escaped arguments: a line end in its text is one of ours.
    let escaped = std::env::args_os().map(|one| escape::value(&one.to_string_lossy()).into_owned());
    let text = match parse(escaped.map(OsString::from)) {
        Err(stopped) => Lines::split(&stopped.render().to_string()),
        Ok(_) => Lines::one(format_args!("{}", stopped.render())),
    };
    // The stream may be closed. Nothing can report that.
    let _ = if stopped.use_stderr() { output::note(&text) } else { output::print(&text) };
    u8::try_from(stopped.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Prints an error with its causes, on one line unless one of them has several.
fn print_error(error: &anyhow::Error) {
    let causes: Vec<_> = error.chain().map(shown_cause).collect();
    // Standard error may be closed. Nothing can report that.
    let _ = output::note(&Lines::split(&format!("error: {}", causes.join(": "))));
}

/// An error's own text. A line end is one of ours only in an error that is made of lines.
fn shown_cause(cause: &(dyn std::error::Error + 'static)) -> String {
    let text = cause.to_string();
    let has_lines = cause.is::<Lines>()
        || cause.is::<api::CallRefused>()
        || matches!(cause.downcast_ref(), Some(SettingsError::File(_)));
    if has_lines { text } else { escape::value(&text).into_owned() }
}

/// Runs the parsed command. Returns its exit code.
fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    // For messages alone: a command that does not serve fails on no setting of `serve`.
    let listen = cli.given.text("listen").ok().flatten().map(|(text, _)| text);
    let places = Places::new(cli.places).listening_at(listen);
    let places = &places;
    let success = match cli.command {
        None => serve(places, &cli.given),
        Some(Command::Serve(mut given)) => {
            given.add_flags(cli.given);
            serve(places, &given)
        }
        Some(command) => {
            if let Some(flag) = cli.given.flags().next() {
                let message = format!("`{flag}` is a flag of `tollgate serve`, and has no effect here");
                Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
            }
            return run_command(command, places);
        }
    }?;
    Ok(exit_code(success))
}

/// Runs a command that does not serve. Returns its exit code.
fn run_command(command: Command, places: &Places) -> anyhow::Result<ExitCode> {
    check_places_are_spelt()?;
    let success = match command {
        Command::Serve(given) => serve(places, &given),
        Command::Check(args) => return Ok(check::run(&args, places)),
        Command::New(args) => new::run(&args, places),
        Command::Providers(args) => providers::run(&args),
        Command::Setup(args) => block_on(setup::run(&args, places)),
        Command::Import(args) => import::run(&args, &places.providers()?),
        Command::Fmt(args) => fmt::run(&args, &places.providers()?),
        Command::Diff(args) => return Ok(diff::main(&args)),
        Command::Prove(args) => return Ok(prove::main(&args, places)),
        Command::Test(args) => test::run(&args, &places.providers()?),
        Command::Explain(args) => explain::run(&args, places, key_sources(places)),
        Command::Price(args) => price::run(&args, places),
        Command::Status(args) => return status::run(&args, places),
        Command::Reload(args) => return reload::run(&args, places),
        Command::Routes => routes::run(places),
        Command::Schema(args) => schema::run(&args).map(|()| true),
        Command::User(args) => with_context(places, async |context| user::run(args, &context).await),
        Command::Token(args) => with_context(places, async |context| token::run(args, &context).await),
        Command::Credential(args) => {
            with_context(places, async |context| credential::run(args, &context).await)
        }
        Command::Usage(args) => with_context(places, async |context| usage::run(&args, &context).await),
        Command::Limits(args) => with_context(places, async |context| limits::run(&args, &context).await),
        Command::Backup(args) => block_on(backup::run(&args, &places.data()?)),
        Command::Restore(args) => block_on(restore::run(&args, places, &key_sources(places)?)),
        Command::ImportWorker(args) => {
            with_context(places, async |context| import_worker::run(&args, &context).await)
        }
        Command::Rekey(args) => block_on(rekey::run(&args, &places.data()?, &key_sources(places)?)),
        Command::Audit(args) => with_context(places, async |context| audit::run(args, &context).await),
        Command::Mock(args) => mock::run(*args).map(|()| true),
    }?;
    Ok(exit_code(success))
}

fn exit_code(success: bool) -> ExitCode {
    if success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Refuses a misspelt variable of a place. A command that does not serve reads no other settings.
fn check_places_are_spelt() -> Result<(), SettingsError> {
    match check_variables() {
        Err(SettingsError::UnknownVariable { near, .. }) if !place_variables().contains(&near) => Ok(()),
        checked => checked.map(|_: Vec<String>| ()),
    }
}

/// Returns the variables that look like settings and are none.
fn check_variables() -> Result<Vec<String>, SettingsError> {
    let mut known = Arguments::<Given>::variables();
    known.extend(place_variables());
    unknown_variables(std::env::vars_os().map(|(name, _)| name), &known)
}

fn serve(places: &Places, given: &Arguments<Given>) -> anyhow::Result<bool> {
    let ignored = check_variables()?;
    let settings: Settings = resolve(places, given)?;
    serve::run(&settings, &key_sources(places)?, &ignored).map(|()| true)
}

/// The environment variables that every command reads.
fn place_variables() -> Vec<String> {
    let mut all = Arguments::<PlaceFlags>::variables();
    all.push(MASTER_KEY.to_owned());
    all
}

/// The possible sources of the master key.
fn key_sources(places: &Places) -> anyhow::Result<KeySources> {
    let variable = std::env::var_os(MASTER_KEY).as_deref().map(master_key).transpose()?;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|value| !value.is_empty());
    Ok(KeySources { variable, file: places.master_key_file()?, credentials: credentials.map(PathBuf::from) })
}

fn master_key(value: &OsStr) -> anyhow::Result<Secret> {
    ensure!(!value.is_empty(), "`{MASTER_KEY}` is set, but empty: give it a value, or unset it");
    let text = value.to_str().with_context(|| format!("`{MASTER_KEY}` {}", not_utf8(value.as_bytes())))?;
    Ok(Secret::new(text))
}

/// Runs a command on accounts, with or without a running server.
fn with_context(
    places: &Places,
    command: impl AsyncFnOnce(context::Context<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let context = context::Context { places, keys: key_sources(places) };
    block_on(command(context))
}

fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command).map(|()| true)
}

#[cfg(test)]
mod tests;
