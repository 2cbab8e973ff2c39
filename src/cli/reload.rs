//! `tollgate reload`: reloads the provider files of the running tollgate, and prints their status.

use std::process::ExitCode;

use http::Method;

use super::status::{StatusView, show};
use crate::settings::Places;

/// The arguments of `tollgate reload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the whole JSON document, as `POST /admin/reload` does
    #[arg(long)]
    json: bool,
}

/// Reloads and prints the status. Returns the exit code, which is that of `tollgate status`.
pub fn run(args: &Args, places: &Places) -> anyhow::Result<ExitCode> {
    show(
        places,
        Method::POST,
        "/admin/reload",
        if args.json { StatusView::Json } else { StatusView::Problems },
    )
}
