//! The text of the file of a merged provider: its keys, what is known about it, and tests. Each line that an import writes has its
//! sources beside it.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    Conflict, Project, Statement,
    merge::{Agreed, Merged},
};
use crate::{
    base::{escape, name::FileName},
    language::{
        format::{quoted, stamped},
        starter,
        syntax::{self, EndpointEntry},
    },
};

/// The number of projects from which on a value is confirmed.
pub(super) const CONFIRMED: usize = 2;
/// The header of a test.
const TEST: &str = "\n[[test]]\n";
/// The greatest number of families, and of doubts, of a file.
const MAX_ITEMS: usize = 64;

/// What no source says about a provider, and its file has from the preset.
pub(super) fn assumed(merged: &Merged<'_>) -> Vec<String> {
    let mut keys = Vec::new();
    if merged.header.is_none() {
        keys.push("auth".to_owned());
    }
    let first = merged.preset.first().map(|(name, _)| name);
    let is_said = |name: &str| Some(name) == first && direct(merged).is_none();
    let names = merged.preset.paths().map(|(name, _)| name).filter(|name| !is_said(name));
    keys.extend(names.map(|name| format!("endpoint.{}", syntax::toml_key(name))));
    keys
}

/// The end that the base URL lacks: the paths of the preset follow without it.
fn direct<'m>(merged: &'m Merged<'_>) -> Option<&'m str> {
    Some(merged.end.as_str()).filter(|end| !end.is_empty() && !merged.url.value.ends_with(end))
}

/// The parts of a file that are not the provider's own.
#[derive(Clone, Copy)]
pub(super) struct Extras<'e> {
    /// The families of its models.
    pub(super) families: &'e BTreeSet<String>,
    /// The day for `checked`.
    pub(super) checked: &'e str,
    /// The keys that a person wrote or removed: no source has to confirm them.
    pub(super) persons: &'e BTreeSet<String>,
}

/// The text of the file, with marks. It is not formatted. The error is the reason why there can be none.
pub(super) fn text(name: &FileName, merged: &Merged<'_>, extras: Extras<'_>) -> Result<String, String> {
    let url = &merged.url.value;
    let base = url.strip_suffix(merged.end.as_str()).unwrap_or(url);
    let mut preset = merged.preset.document.clone();
    let mut endpoints = String::new();
    if let Some(end) = direct(merged) {
        for (name, entry) in preset.endpoint.iter_mut().flatten() {
            let EndpointEntry::Table(table) = entry else { continue };
            let path = table.upstream_path.as_ref().or(table.path.as_ref());
            let Some(rest) =
                path.and_then(|path| path.strip_prefix(end)).filter(|rest| rest.starts_with('/'))
            else {
                continue;
            };
            let rest = rest.to_owned();
            let _ =
                writeln!(endpoints, "{} = {{ upstream_path = {} }}", syntax::toml_key(name), quoted(&rest));
            table.upstream_path = Some(rest);
        }
    }
    let started = |preset: &syntax::Provider| {
        let started = starter::text(name, base, merged.preset.name, preset);
        started.map_err(|problem| format!("`{base}` cannot be a base URL: {problem}"))
    };
    let whole = started(&preset)?;
    let own_title = whole.lines().next().unwrap_or_default();
    let mut text = match &merged.title {
        Some(title) => format!("title = {}\n", quoted(&title.value)),
        None => format!("{own_title}\n"),
    };
    let _ = writeln!(text, "extends = {}\nbase_url = {}", quoted(&merged.extends.value), quoted(base));
    if let Some(docs) = &merged.docs {
        let _ = writeln!(text, "docs = {}", quoted(&docs.value));
    }
    text.push_str(&catalogue(merged, extras));
    if !endpoints.is_empty() {
        let _ = write!(text, "\n[endpoint]\n{endpoints}");
    }
    for endpoint in preset.endpoint.iter().flatten().map(|(endpoint, _)| endpoint) {
        let mut alone = preset.clone();
        alone.endpoint.iter_mut().for_each(|all| all.retain(|one, _| one == endpoint));
        let started = started(&alone)?;
        let first = started.split(TEST).nth(1).unwrap_or_default();
        let named = first.replacen(&quoted("upstream request"), &quoted(endpoint), 1);
        text.extend([TEST, &named]);
    }
    whole.split(TEST).skip(2).for_each(|test| text.extend([TEST, test]));
    Ok(stamped::stamp(&text, |key| note(merged, key)))
}

/// The sources of a key.
fn note(merged: &Merged<'_>, key: &str) -> Option<String> {
    let files = |files: &[String]| Some(files.join(", ")).filter(|text| !text.is_empty());
    match key {
        "title" => {
            merged.title.as_ref().map_or_else(|| Some("assumed".to_owned()), |title| files(&title.files))
        }
        "extends" => files(&merged.extends.files),
        "base_url" => files(&merged.url.files),
        "docs" => merged.docs.as_ref().and_then(|docs| files(&docs.files)),
        "catalogue.env" => merged.env.as_ref().and_then(|env| files(&env.files)),
        "catalogue.models" => files(&merged.model_files),
        _ if key.starts_with("endpoint.") => Some("assumed".to_owned()),
        _ => None,
    }
}

/// The `[catalogue]` table.
fn catalogue(merged: &Merged<'_>, extras: Extras<'_>) -> String {
    let Extras { families, checked, persons } = extras;
    let list = |items: &[String]| {
        let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
        format!("[{}]", items.join(", "))
    };
    let mut text = "\n[catalogue]\n".to_owned();
    if let (Some(env), Some(field)) = (&merged.env, merged.preset.field()) {
        let _ = writeln!(text, "env = {{ {} = {} }}", syntax::toml_key(field), list(&env.value));
    }
    let families: Vec<String> = families.iter().take(MAX_ITEMS).cloned().collect();
    let sources: Vec<String> = merged.sources.iter().take(MAX_ITEMS).cloned().collect();
    let doubts: Vec<String> = doubts(merged).into_iter().take(MAX_ITEMS).collect();
    let mut unconfirmed = unconfirmed(merged);
    unconfirmed.retain(|key| !persons.contains(key));
    for (key, items) in
        [("models", families), ("sources", sources), ("unconfirmed", unconfirmed), ("doubts", doubts)]
    {
        if !items.is_empty() {
            let _ = writeln!(text, "{key} = {}", list(&items));
        }
    }
    let _ = writeln!(text, "checked = {}", quoted(checked));
    text
}

/// The keys that fewer than two projects have.
fn unconfirmed(merged: &Merged<'_>) -> Vec<String> {
    let is_open = |projects: Option<&BTreeSet<Project>>| projects.is_none_or(|all| all.len() < CONFIRMED);
    let of = |agreed: &Option<Agreed<String>>| is_open(agreed.as_ref().map(|one| &one.projects));
    let env = merged.env.as_ref();
    let keys = [
        ("title", of(&merged.title)),
        ("extends", is_open(Some(&merged.extends.projects))),
        ("base_url", is_open(Some(&merged.url.projects))),
        ("docs", merged.docs.is_some() && of(&merged.docs)),
        ("catalogue.env", env.is_some_and(|env| is_open(Some(&env.projects)))),
        ("auth", of(&merged.header)),
    ];
    let keys = keys.into_iter().filter(|(_, is_open)| *is_open).map(|(key, _)| key.to_owned());
    keys.chain(assumed(merged).into_iter().filter(|key| key != "auth")).collect()
}

/// What the sources contradict each other about, or leave open.
fn doubts(merged: &Merged<'_>) -> Vec<String> {
    let mut doubts: Vec<String> = merged.conflicts.iter().map(sentence).collect();
    doubts.extend(merged.open.iter().cloned());
    let projects: BTreeSet<&str> = merged.sources.iter().filter_map(|line| line.split(' ').next()).collect();
    if projects.len() < CONFIRMED {
        doubts.push("Known from one source alone.".to_owned());
    }
    let assumed = assumed(merged);
    if !assumed.is_empty() {
        let keys: Vec<String> = assumed.iter().map(|key| format!("`{key}`")).collect();
        let preset = merged.preset.name;
        doubts.push(format!("No source says {}: assumed from the preset `{preset}`.", keys.join(", ")));
    }
    if let Some(end) = direct(merged) {
        doubts.push(format!(
            "The base URL does not end with `{end}`: paths are assumed to follow it without that."
        ));
    }
    doubts
}

/// A conflict as a sentence: each value with all who have it.
fn sentence(conflict: &Conflict) -> String {
    let mut values: Vec<(&str, Vec<&str>)> = Vec::new();
    for Statement { by, value, .. } in &conflict.statements {
        match values.iter_mut().find(|(known, _)| known == value) {
            Some((_, all)) if all.contains(&by.as_str()) => {}
            Some((_, all)) => all.push(by),
            None => values.push((value, vec![by])),
        }
    }
    let shown = |by: &str| match by {
        "catalogue" | "preset" => format!("the {by}"),
        project => project.to_owned(),
    };
    let values = values.iter().map(|(value, all)| {
        let all: Vec<String> = all.iter().map(|by| shown(by)).collect();
        format!("`{}` in {}", escape::value(value), all.join(" and "))
    });
    format!("`{}` is {}.", conflict.key, values.collect::<Vec<_>>().join(", "))
}
