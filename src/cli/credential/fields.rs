//! The credential fields that the provider files declare, with what an owner has stored: `credential fields`, and the hints of
//! `credential set`.

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::Args;
use http::Method;
use serde_json::Value;

use super::{
    super::{
        api,
        context::{Context, Report, table},
    },
    CredentialOwner, CredentialsResource, shown_value,
};
use crate::{
    admin::{CredentialField, CredentialFields, CredentialKind, FieldSection, Wanted},
    escape,
    suggest::{backticked, nearest},
};

/// The fields that an error lists at most.
const LISTED: usize = 20;

/// The owner whose stored credentials are shown beside the fields; none for the fields alone.
#[derive(Args)]
#[group(multiple = false)]
pub(super) struct FieldsOwner {
    /// The user's id or name [default: nobody, and nothing that is stored]
    user: Option<String>,
    /// The shared credentials of a group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The shared credentials of everybody
    #[arg(long)]
    everybody: bool,
}

/// A place in the credentials document that a value can be stored at.
pub(super) enum Place<'f> {
    /// A field.
    Field(&'f CredentialField),
    /// A section with all of its fields.
    Section(&'f FieldSection),
}

/// Prints the fields.
pub(super) async fn show(owner: FieldsOwner, json: bool, context: &Context<'_>) -> anyhow::Result<Report> {
    let FieldsOwner { user, group, everybody } = owner;
    let resource = if user.is_some() || group.is_some() || everybody {
        Some(CredentialOwner { user, group, everybody }.resource(context).await?)
    } else {
        None
    };
    let document = document(resource.as_ref(), context).await?;
    if json {
        return Ok(Report {
            out: escape::json(&format!("{document:#}\n")).into_owned(),
            note: String::new(),
        });
    }
    let fields = parsed(document)?;
    if fields.sections.is_empty() {
        return Ok(Report::note("no provider file declares a credential\n"));
    }
    let owner = resource.map_or_else(|| "USER".to_owned(), |resource| resource.argument);
    let note = format!(
        "`tollgate credential set {owner} SECTION.FIELD` stores one; `tollgate credential set {owner} SECTION < fields.json` stores several of a section\n"
    );
    Ok(Report { out: rows_of(fields.sections.iter().flat_map(all_of)), note })
}

impl CredentialsResource {
    /// The fields, with what the owner has stored.
    pub(super) async fn fields(&self, context: &Context<'_>) -> anyhow::Result<CredentialFields> {
        parsed(document(Some(self), context).await?)
    }
}

async fn document(resource: Option<&CredentialsResource>, context: &Context<'_>) -> anyhow::Result<Value> {
    let owner = resource
        .map(|resource| form_urlencoded::byte_serialize(resource.owner.to_string().as_bytes()).collect());
    let query = owner.map_or_else(String::new, |owner: String| format!("?owner={owner}"));
    api::call(context, Method::GET, &format!("/admin/fields{query}"), None).await
}

fn parsed(document: Value) -> anyhow::Result<CredentialFields> {
    serde_json::from_value(document).context(
        "failed to read the response of the running tollgate: does its version differ from this command's?",
    )
}

/// The field or section of this name. A field goes before a section of the same name.
pub(super) fn find<'f>(fields: &'f CredentialFields, place: &str) -> Option<Place<'f>> {
    let all = fields.sections.iter().flat_map(all_of);
    let field = all.into_iter().find(|(section, field)| name(section, field) == place);
    let section = || fields.sections.iter().find(|section| section.section == place);
    field.map(|(_, field)| Place::Field(field)).or_else(|| section().map(Place::Section))
}

/// What there is near a place that no file declares.
pub(super) struct Near {
    /// The place that was probably meant.
    pub(super) suggestion: Option<String>,
    /// A table of the fields of its section; without one, of the first fields of all. Empty if there are none at all.
    pub(super) rows: String,
}

/// The fields near a place that no file declares. `owner`: the argument of commands.
pub(super) fn near(fields: &CredentialFields, place: &str, owner: &str) -> Near {
    let all: Vec<_> = fields.sections.iter().flat_map(all_of).collect();
    let meant = meant(&all, place);
    let section = meant.map(|(section, _)| section.section.as_str());
    let section = section.or_else(|| place.rsplit_once('.').map(|(section, _)| section)).unwrap_or_default();
    let near: Vec<_> = all.iter().copied().filter(|(one, _)| one.section == section).collect();
    let shown = if near.is_empty() { all } else { near };
    let mut rows = if shown.is_empty() { String::new() } else { rows_of(shown.iter().copied().take(LISTED)) };
    if shown.len() > LISTED {
        let more = shown.len() - LISTED;
        rows.extend([format!("and {more} more: `tollgate credential fields {owner}` lists all\n")]);
    }
    Near { suggestion: meant.map(|(section, field)| name(section, field)), rows }
}

/// The field that a place was probably meant for. Each step is the same or misspelt; the first step of the section may be left
/// out, as in `example.apiKey` for `providers.example.apiKey`, and so may the field.
fn meant<'f>(
    all: &[(&'f FieldSection, &'f CredentialField)],
    place: &str,
) -> Option<(&'f FieldSection, &'f CredentialField)> {
    let given: Vec<&str> = place.split('.').collect();
    let mut alike = BTreeMap::new();
    for (section, field) in all.iter().copied() {
        let whole = name(section, field);
        let steps: Vec<&str> = whole.split('.').collect();
        let ends = [steps.len(), steps.len() - 1];
        let parts = [0, 1].into_iter().flat_map(|from| ends.map(|to| (from, to)));
        // A part without a step of the section names no field.
        let parts = parts.filter(|(from, _)| from + 1 < steps.len()).map(|(from, to)| &steps[from..to]);
        for part in parts.filter(|part| part.len() == given.len()) {
            if given.iter().zip(part).all(|(one, step)| nearest(one, [*step]).is_some()) {
                alike.entry(part.join(".")).or_insert((section, field));
            }
        }
    }
    nearest(place, alike.keys().map(String::as_str)).and_then(|near| alike.get(near)).copied()
}

fn all_of(section: &FieldSection) -> Vec<(&FieldSection, &CredentialField)> {
    section.fields.iter().map(|field| (section, field)).collect()
}

fn name(section: &FieldSection, field: &CredentialField) -> String {
    format!("{}.{}", section.section, field.field)
}

fn rows_of<'f>(fields: impl IntoIterator<Item = (&'f FieldSection, &'f CredentialField)>) -> String {
    let row = |(section, field): (&FieldSection, &CredentialField)| {
        let stored = field.stored.as_ref().map_or_else(|| "-".to_owned(), shown_value);
        [name(section, field), kind(field).to_owned(), needed(field).to_owned(), rule(field), stored]
    };
    let rows: Vec<_> = fields.into_iter().map(row).collect();
    table(["CREDENTIAL", "KIND", "NEEDED", "RULE", "STORED"], &rows)
}

fn kind(field: &CredentialField) -> &'static str {
    match field.kind {
        CredentialKind::Secret => "secret",
        CredentialKind::Text => "text",
        CredentialKind::Origin => "origin",
        CredentialKind::Json => "json",
        CredentialKind::Oauth2 => "oauth2",
    }
}

fn needed(field: &CredentialField) -> &'static str {
    match field.wanted {
        Wanted::Required => "required",
        Wanted::Optional => "optional",
    }
}

/// The values that a field takes.
fn rule(field: &CredentialField) -> String {
    let mut rules = Vec::new();
    rules.extend(field.pattern.as_ref().map(|pattern| format!("matches `{pattern}`")));
    if !field.one_of.is_empty() {
        rules.push(format!("one of {}", backticked(&field.one_of)));
    }
    if !field.parts.is_empty() {
        let pointers: Vec<String> = field.parts.values().cloned().collect();
        rules.push(format!("a document with {}", backticked(&pointers)));
    }
    rules.extend(field.default.as_ref().map(|default| format!("`{default}` by default")));
    if rules.is_empty() { "-".to_owned() } else { rules.join(", ") }
}
