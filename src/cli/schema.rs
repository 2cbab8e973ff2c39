//! `tollgate schema`: the JSON schemas of the files that people write.

use std::{io::Write, path::PathBuf};

use anyhow::Context as _;

use crate::{settings, spec};

/// Print the JSON schema of a kind of file, or write all of them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `provider`, `gateway`, `api` or `settings`
    #[arg(value_parser = ["provider", "gateway", "api", "settings"], default_value = "provider")]
    kind: String,
    /// Write all schemas into this directory instead
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// All schemas, each with its file's name.
pub fn all() -> Vec<(String, String)> {
    let files =
        spec::KINDS.iter().map(|kind| (format!("{}.schema.json", kind.stem()), spec::schema_text(*kind)));
    files.chain([("settings.schema.json".to_owned(), settings::schema_text())]).collect()
}

/// Prints one, or writes all.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let Some(dir) = &args.out else {
        let wanted = format!("{}.schema.json", args.kind);
        let text =
            all().into_iter().find(|(file, _)| *file == wanted).map(|(_, text)| text).unwrap_or_default();
        return std::io::stdout().write_all(text.as_bytes()).context("failed to print");
    };
    std::fs::create_dir_all(dir).with_context(|| format!("failed to make `{}`", dir.display()))?;
    for (file, text) in all() {
        let path = dir.join(file);
        std::fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn schemas_on_disk_are_fresh() {
        for (file, text) in super::all() {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(&file);
            let on_disk = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(on_disk == text, "schema/{file} is stale: run `cargo run -- schema --out schema`");
        }
    }
}
