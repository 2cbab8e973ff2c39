//! `tollgate providers`: searches the catalogue, the providers that are built in.

use anyhow::Context as _;

use super::context;
use crate::{
    catalogue::{self, Entry},
    compile,
    escape::Lines,
    files,
    numbers::counted,
    output::{self, Document},
    settings::Source,
    suggest::nearest,
};

/// Search the providers of the catalogue, those that are built in
///
/// Exit codes: 0 if some were found; 1 if none was.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Words that are all in a provider's name, title, class, group, hosts, wire formats, models or environment variables. A
    /// provider's whole name shows all that is known about it
    query: Vec<String>,
    /// Print a JSON document, with all that is known about each
    #[arg(long)]
    json: bool,
    /// Print the table of docs/catalogue.md
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// All providers of the catalogue, by name.
pub fn all() -> anyhow::Result<Vec<Entry>> {
    let mut loaded = files::load(&Source::built_in()).context("failed to read the built-in files")?;
    loaded.files.drop_tests();
    let compiled = compile::compile(&loaded.files);
    Ok(catalogue::entries(&loaded.files, compiled.providers.iter().map(|provider| &**provider)))
}

/// Prints what was found. Returns false if nothing was.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let (all, words) = (all()?, args.query.join(" "));
    let found: Vec<&Entry> = match all.iter().find(|one| one.name == words) {
        Some(named) => vec![named],
        None => all.iter().filter(|one| one.matches(&words)).collect(),
    };
    if args.markdown {
        let found: Vec<Entry> = found.into_iter().cloned().collect();
        output::print(&Lines::split(&catalogue::markdown(&found))).context("failed to print")?;
        return Ok(!found.is_empty());
    }
    if args.json {
        output::print_document(&Document::json(&found)?).context("failed to print")?;
        return Ok(!found.is_empty());
    }
    match found.as_slice() {
        [] => {
            let near = nearest(&words, all.iter().map(|one| one.name.as_str()));
            let help = near.map_or_else(
                || "`tollgate new NAME --base-url URL` makes a file for another one".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            output::note_line(format_args!("no provider of the catalogue has `{words}`: {help}"))?;
        }
        [one] if one.name == words => output::print(&details(one)).context("failed to print")?,
        several => {
            output::print(&Lines::split(&table(several))).context("failed to print")?;
            output::note_line(format_args!(
                "{}; `tollgate providers NAME` shows all that is known about one, `tollgate new NAME` writes its file",
                counted(several.len(), "provider")
            ))?;
        }
    }
    Ok(!found.is_empty())
}

fn table(found: &[&Entry]) -> String {
    let row = |one: &&Entry| {
        let hosts: Vec<&str> = one.origins.iter().map(|origin| host(origin)).collect();
        let hosts = match hosts.as_slice() {
            [first, _, ..] => format!("{first} (+{})", hosts.len() - 1),
            _ => hosts.concat(),
        };
        let doubts = if one.doubts.is_empty() { String::new() } else { one.doubts.len().to_string() };
        [
            one.name.clone(),
            one.title.clone(),
            one.class.clone(),
            hosts,
            one.endpoints.len().to_string(),
            doubts,
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    context::table(["NAME", "TITLE", "CLASS", "HOST", "ENDPOINTS", "DOUBTS"], &rows)
}

/// The section and name of a field, as `tollgate credential set` takes them.
fn place(one: &Entry, field: &str) -> String {
    one.section.as_ref().map_or_else(|| field.to_owned(), |section| format!("{section}.{field}"))
}

fn host(origin: &str) -> &str {
    origin.strip_prefix("https://").unwrap_or(origin)
}

/// All that is known about a provider.
fn details(one: &Entry) -> Lines {
    let mut lines = Lines::one(format_args!("{} ({})", one.title, one.name));
    let mut line = |label: &str, text: &str| {
        if !text.is_empty() {
            lines.push(format_args!("  {label:<13} {text}"));
        }
    };
    let list =
        |items: &std::collections::BTreeSet<String>| items.iter().cloned().collect::<Vec<_>>().join(", ");
    line("class:", &one.class);
    line("group:", one.group.as_deref().unwrap_or_default());
    line("hosts:", &list(&one.origins));
    line("wire formats:", &list(&one.apis));
    line("models:", &one.models.join(", "));
    line("get a key:", one.keys_url.as_deref().unwrap_or_default());
    line("docs:", one.docs.as_deref().unwrap_or_default());
    for entry in &one.auth {
        line("sent with:", entry);
    }
    for field in &one.fields {
        let optional = if field.optional { ", optional" } else { "" };
        let env = if field.env.is_empty() { String::new() } else { format!(": {}", field.env.join(", ")) };
        let place = place(one, &field.name);
        line("field:", &format!("{place} ({}{optional}){env}", field.kind));
    }
    if let Some(field) = one.fields.iter().find(|field| !field.optional).or(one.fields.first()) {
        line("store it:", &format!("tollgate credential set USER {}", place(one, &field.name)));
    }
    for endpoint in &one.endpoints {
        let api = endpoint.api.as_deref().map(|api| format!(" ({api})")).unwrap_or_default();
        line("endpoint:", &format!("{} {}{api}", endpoint.method, endpoint.path));
    }
    for doubt in &one.doubts {
        line("doubt:", doubt);
    }
    line("unconfirmed:", &one.unconfirmed.join(", "));
    if !one.sources.is_empty() {
        line("sources:", &format!("{} (`--json` lists them)", one.sources.len()));
    }
    line("looked at:", one.checked.as_deref().unwrap_or_default());
    lines
}
