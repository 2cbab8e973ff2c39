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
pub mod import_worker;
mod issued;
pub mod mock;
pub mod new;
pub mod prove;
pub mod rekey;
pub mod reload;
pub mod restore;
pub mod routes;
pub mod schema;
pub mod serve;
mod serve_lock;
pub mod status;
pub mod test;
pub mod token;
pub mod user;
mod whole_file;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Parser;

use crate::{
    accounts::KeySources,
    secret::Secret,
    settings::{Given, Places, Settings, resolve},
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
    given: Given,
    #[command(flatten)]
    places: Places,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Run the proxy (the default)
    Serve(Box<Given>),
    /// Report all errors and lints of provider files; needs no network, environment or secrets
    ///
    /// Exit codes: 0 without errors, warnings or not; 1 with findings; 2 for invalid arguments or settings, or if no provider file is
    /// named; 3 if a file cannot be read. Set the levels of lints under `[lints]` in the settings file.
    Check(check::Args),
    Fmt(fmt::Args),
    New(new::Args),
    Diff(diff::Args),
    Prove(prove::Args),
    /// Run the provider files' own tests, and report what they do not cover
    Test(test::Args),
    /// Show what a request would do, and which rule decides it, without sending it
    Explain(explain::Args),
    /// Show the state of each provider file in the running server; exit code 1 unless all are live
    Status(status::Args),
    /// Reload the provider files of the running server now; exit code 1 unless all are live
    Reload(reload::Args),
    /// List all endpoints and their upstream URLs
    Routes,
    /// Print or write the JSON schemas of the files
    Schema(schema::Args),
    /// Add, list and remove users
    User(user::UserArgs),
    /// Add, list and revoke users' tokens
    Token(token::TokenArgs),
    /// Set, list and remove users' credentials
    Credential(credential::CredentialArgs),
    /// Verify the audit log
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
    let cli = Cli::parse();
    // For these commands, 1 is a result; an error needs another code.
    let failure = match &cli.command {
        Some(Command::Test(_) | Command::Explain(_)) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            // Standard error may be closed. Nothing can report that.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            if error.is::<fmt::FileAccessError>() { ExitCode::from(3) } else { failure }
        }
    }
}

/// Runs the parsed command. Returns its exit code.
fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let places = cli.places;
    let plain = || resolve(&places, Given::default());
    let success = match cli.command {
        None => serve(&resolve(&places, cli.given)?),
        Some(Command::Serve(given)) => serve(&resolve(&places, *given)?),
        Some(Command::Check(args)) => return Ok(check::run(&args, &places)),
        Some(Command::New(args)) => new::run(&args, &plain()?.providers),
        Some(Command::Fmt(args)) => fmt::run(&args, &plain()?.providers),
        Some(Command::Diff(args)) => return Ok(diff::main(&args)),
        Some(Command::Prove(args)) => return Ok(prove::main(&args, &places)),
        Some(Command::Test(args)) => test::run(&args, &plain()?.providers),
        Some(Command::Explain(args)) => {
            let settings = plain()?;
            explain::run(&args, &settings, &key_sources(&settings))
        }
        Some(Command::Status(args)) => status::run(&args, &plain()?.data),
        Some(Command::Reload(args)) => reload::run(&args, &plain()?.data),
        Some(Command::Routes) => routes::run(&plain()?),
        Some(Command::Schema(args)) => schema::run(&args).map(|()| true),
        Some(Command::User(args)) => with_context(&plain()?, async |context| user::run(args, &context).await),
        Some(Command::Token(args)) => {
            with_context(&plain()?, async |context| token::run(args, &context).await)
        }
        Some(Command::Credential(args)) => {
            with_context(&plain()?, async |context| credential::run(args, &context).await)
        }
        Some(Command::Backup(args)) => block_on(backup::run(&args, &plain()?.data)),
        Some(Command::Restore(args)) => {
            let settings = plain()?;
            block_on(restore::run(&args, &settings.data, &key_sources(&settings)))
        }
        Some(Command::ImportWorker(args)) => {
            with_context(&plain()?, async |context| import_worker::run(&args, &context).await)
        }
        Some(Command::Rekey(args)) => {
            let settings = plain()?;
            block_on(rekey::run(&args, &settings.data, &key_sources(&settings)))
        }
        Some(Command::Audit(args)) => {
            with_context(&plain()?, async |context| audit::run(args, &context).await)
        }
        Some(Command::Mock(args)) => mock::run(*args).map(|()| true),
    }?;
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve(settings: &Settings) -> anyhow::Result<bool> {
    serve::run(settings, &key_sources(settings)).map(|()| true)
}

/// The possible sources of the master key.
fn key_sources(settings: &Settings) -> KeySources {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    // A value that is not UTF-8 is no key either: the lossy text fails as a malformed key.
    let key = variable("TOLLGATE_MASTER_KEY").map(|key| Secret::new(key.to_string_lossy().into_owned()));
    let credentials = variable("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    KeySources { variable: key, file: settings.master_key_file.clone(), credentials }
}

/// Runs a command on accounts, with or without a running server.
fn with_context(
    settings: &Settings,
    command: impl AsyncFnOnce(context::Context<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let context = context::Context { settings, keys: key_sources(settings) };
    block_on(command(context))
}

fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command).map(|()| true)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
