//! `tollgate reload`: the running tollgate looks at its provider files now, and says what came of it.

use std::path::Path;

use http::Method;

use super::status::{StatusView, show};

/// The arguments of `tollgate reload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the whole JSON document, as `POST /admin/reload` does
    #[arg(long)]
    json: bool,
}

/// Reloads; whether all is well.
pub fn run(args: &Args, data: &Path) -> anyhow::Result<bool> {
    show(data, Method::POST, "/admin/reload", if args.json { StatusView::Json } else { StatusView::Problems })
}
