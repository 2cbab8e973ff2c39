//! `tollgate routes`: what can be called, and where it leads.

use std::io::Write;

use anyhow::Context as _;

use crate::{cli::check, load, settings::Settings};

/// Prints a table of all endpoints. Whether all files are good.
pub fn run(settings: &Settings) -> anyhow::Result<bool> {
    let what = check::describe(&settings.providers);
    let loaded = load::load(&settings.providers).with_context(|| format!("failed to read {what}"))?;
    let assembled = load::assemble(&loaded, |source| load::var_value(source, &settings.secrets));
    check::show(&loaded.sources, &assembled.diagnostics)?;
    let mut rows = Vec::new();
    for provider in &assembled.table.providers {
        for endpoint in &provider.endpoints {
            let mut target = provider.origin.to_string();
            let names = endpoint.paths.first().map(|path| path.pattern.captures()).unwrap_or_default();
            endpoint
                .target
                .render_names(&mut target, |index| names.get(usize::from(*index)).map_or("", String::as_str));
            if let Some(egress) = &provider.egress {
                target = format!("{target} via {}", egress.origin);
            }
            for path in &endpoint.paths {
                rows.push([
                    endpoint.method.to_string(),
                    path.text.clone(),
                    provider.name.to_string(),
                    target.clone(),
                ]);
            }
        }
    }
    let table = super::context::table(["METHOD", "CLIENT PATH", "PROVIDER", "UPSTREAM"], &rows);
    std::io::stdout().write_all(table.as_bytes()).context("failed to print")?;
    Ok(assembled.diagnostics.is_empty())
}
