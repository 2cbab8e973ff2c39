//! `tollgate routes`: lists all endpoints and their upstream URLs. Must not print the value of a secret var.

use anyhow::Context as _;

use crate::{
    bind::{self, Destination, Input, TlsMaker},
    budget::Budget,
    cli::check,
    compile,
    compile::Var,
    diag::Diagnostic,
    escape::Lines,
    files, output,
    pipeline::{self, Loaded},
    settings::Places,
    upstream,
};

/// Placeholder of a secret.
const HIDDEN: &str = "***";

/// Prints a table of all endpoints. Returns true if no file has errors.
pub fn run(places: &Places) -> anyhow::Result<bool> {
    let (providers, secrets) = (places.providers()?, places.secrets()?);
    check::note_built_in_files(&providers, places)?;
    let what = check::describe(&providers);
    let loaded = files::load(&providers).with_context(|| format!("failed to read {what}"))?;
    let loaded = Loaded { env_allow: places.env_allow()?, make_tls: upstream::make_tls(), ..loaded };
    let assembled = pipeline::assemble(&loaded, |source| files::var_value(source, &secrets));
    let errors: Vec<_> = assembled.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
    check::show(&loaded.sources, &errors)?;
    let shown = |var: &Var| {
        let value = files::var_value(&var.source, &secrets);
        value.map(|value| value.map(|value| if var.secret { hidden(&value) } else { value }))
    };
    let rows: Vec<_> = assembled.providers.iter().flat_map(|provider| rows(provider, shown)).collect();
    let table = super::context::table(["METHOD", "CLIENT PATH", "PROVIDER", "UPSTREAM"], &rows);
    output::print(&Lines::split(&table)).context("failed to print")?;
    Ok(errors.is_empty())
}

/// The placeholder. An empty value stays empty: gateways and egresses depend on it.
fn hidden(value: &str) -> String {
    if value.is_empty() { String::new() } else { HIDDEN.to_owned() }
}

fn rows(provider: &compile::Provider, shown: impl Fn(&Var) -> bind::Lookup) -> Vec<[String; 4]> {
    let (bound, _) =
        bind::try_bind(provider, |_, _, var| shown(var), TlsMaker::default(), &Budget::default());
    let mut rows = Vec::new();
    for (index, endpoint) in provider.endpoints.iter().enumerate() {
        // A URL that is invalid without its secret, such as a secret host, is hidden completely.
        let target = bound.as_ref().map_or_else(|| HIDDEN.to_owned(), |bound| target(bound, index));
        for path in &*endpoint.paths {
            let (method, name) = (endpoint.method.to_string(), provider.name.to_string());
            rows.push([method, path.text.clone(), name, target.clone()]);
        }
    }
    rows
}

fn target(provider: &bind::Provider, index: usize) -> String {
    let endpoint = &provider.endpoints[index];
    let names = endpoint.paths.first().map(|path| path.pattern.captures()).unwrap_or_default();
    let values = provider.section.as_ref().map(|section| &*section.values).unwrap_or_default();
    let name = |input: &Input| match input {
        Input::Capture(index) => names.get(usize::from(*index)).map_or("", String::as_str),
        Input::Field(index) => values.get(usize::from(*index)).map_or("", |value| value.name.as_str()),
    };
    let mut target = String::new();
    match provider.destination_of(endpoint) {
        Destination::Fixed(origin) => target.push_str(&origin.to_string()),
        Destination::Made(template) => template.render_names(&mut target, name),
    }
    endpoint.target.render_names(&mut target, name);
    match &provider.egress {
        Some(egress) => format!("{target} via {}", egress.origin),
        None => target,
    }
}
