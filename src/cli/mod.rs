//! The command line: one file a command. A command parses its arguments, calls the modules below, and
//! tells a person what happened: results on stdout, everything else on stderr.

pub mod check;
pub mod context;
pub mod credential;
pub mod mock;
pub mod token;
pub mod user;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use crate::load::Origin;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(check::Args),
    Mock(mock::Args),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let default = if std::path::Path::new("providers.d").is_dir() {
        Origin::Directory(PathBuf::from("providers.d"))
    } else {
        Origin::Embedded
    };
    let done = match cli.command {
        Command::Check(args) => check::run(&args, &default),
        Command::Mock(args) => mock::run(args).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}
