//! The credential fields that the provider files declare, with what an owner has stored: `credential fields`, and the hints of
//! `credential set`.

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
    suggest::backticked,
};

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

/// The fields that there are, as a table, for a place that no file declares: those of its section if that is known. Empty if
/// there are none at all.
pub(super) fn known_rows(fields: &CredentialFields, place: &str) -> String {
    let all: Vec<_> = fields.sections.iter().flat_map(all_of).collect();
    let section = place.rsplit_once('.').map_or("", |(section, _)| section);
    let near: Vec<_> = all.iter().copied().filter(|(one, _)| one.section == section).collect();
    let shown = if near.is_empty() { all } else { near };
    if shown.is_empty() { String::new() } else { rows_of(shown) }
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
