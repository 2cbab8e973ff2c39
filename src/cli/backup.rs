//! `tollgate backup`: copies a consistent snapshot of the database to a file, with or without a running server.

use std::path::{Path, PathBuf};

use super::context::Report;
use crate::{
    escape,
    numbers::counted,
    store::{self, Inventory},
};

/// Copy the database to a new file, also while tollgate serves
///
/// The copy is consistent. It contains hashes of tokens and encrypted credentials, and never the master key.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The new file; an existing file is not overwritten
    file: PathBuf,
}

/// Runs the command.
pub async fn run(args: &Args, data: &Path) -> anyhow::Result<()> {
    let held = store::back_up(data, &args.file).await?;
    let needs = match &held.probe.keys.current {
        Some(id) => {
            format!("it needs the master key `{id}`, which it does not contain: keep a copy elsewhere")
        }
        None => "nothing in it is encrypted".to_owned(),
    };
    Report::note(format!(
        "wrote `{}`: {}\n{needs}\n",
        escape::value(&args.file.to_string_lossy()),
        contents(&held)
    ))
    .print()
}

/// A summary of a database: counts of its records, schema and size.
pub(super) fn contents(held: &Inventory) -> String {
    let Inventory { probe, users, tokens, credentials, bytes } = held;
    let parts = [(*users, "user"), (*tokens, "token"), (*credentials, "credential")];
    let parts = parts.map(|(number, what)| counted(number, what)).join(", ");
    format!("{parts}, schema {}, {bytes} bytes", probe.schema)
}
