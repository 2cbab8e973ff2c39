//! The command line: one file a command. Arguments in, exit code out.

pub mod check;
pub mod mock;

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
