//! `tollgate credential`: stores, lists, confirms and removes credentials of a user, a group or everybody. Values
//! come from stdin or a prompt, and are printed only masked. `recover` alone prints secrets.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

mod fields;
mod list;

use self::fields::{FieldsOwner, Near, Place};
use super::{
    api::{self, CallRefused},
    context::{Context, Report, Typed, find_user, read_value, table},
};
use crate::{
    accounts::{MasterKey, NewOrigins, UnreadAnswer, read_answers},
    admin::{CredentialField, CredentialFields, CredentialKind, FieldSection, Wanted, parse_json},
    clock::utc,
    escape,
    fault::Cause,
    name::{GroupName, Owner},
    secret::Secret,
    store::User,
    suggest::{backticked, nearest},
    written::{document, line, odd_character},
};

/// The arguments of `tollgate credential`.
#[derive(Args)]
pub struct CredentialArgs {
    #[command(subcommand)]
    command: CredentialCommand,
}

#[derive(Subcommand)]
enum CredentialCommand {
    /// Store a credential, read from standard input or a prompt, or several fields of a section as one JSON object
    #[command(allow_missing_positional = true)]
    Set {
        #[command(flatten)]
        owner: CredentialOwner,
        /// Its section and field, such as `providers.example.apiKey`; or the section alone: then the value is a JSON object of
        /// its fields, of which all are stored or none
        #[arg(value_name = "SECTION[.FIELD]")]
        place: String,
    },
    /// List the fields that the provider files declare: their kinds, rules, and what is stored
    Fields {
        #[command(flatten)]
        owner: FieldsOwner,
        /// Print a JSON document
        #[arg(long)]
        json: bool,
    },
    /// List credentials, masked: a user's own, and those that a group or everybody shares with the user
    List {
        #[command(flatten)]
        owner: ListedOwner,
    },
    /// Show credentials that the provider files lead to new hosts, or confirm that they may go there
    Confirm {
        #[command(flatten)]
        owner: CredentialOwner,
        /// Confirm this new origin, such as `https://api.example.com` (repeatable) [default: confirm nothing, show all]
        #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
        to: Vec<String>,
    },
    /// Print the answers of a token endpoint that were not understood, with the secrets in them, as JSON
    #[command(allow_missing_positional = true)]
    Recover {
        #[command(flatten)]
        owner: CredentialOwner,
        /// The section and field of the login, as `credential list` shows them
        #[arg(value_name = "SECTION.FIELD")]
        place: String,
    },
    /// Remove a credential
    #[command(allow_missing_positional = true)]
    Remove {
        #[command(flatten)]
        owner: CredentialOwner,
        /// Its section and field, as `credential list` shows them
        #[arg(value_name = "SECTION.FIELD")]
        place: String,
    },
}

/// The owner of the credentials: a user, a group or everybody.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct CredentialOwner {
    /// The user's id or name
    user: Option<String>,
    /// The shared credentials of a group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The shared credentials of everybody
    #[arg(long)]
    everybody: bool,
}

/// The owner of the credentials to list, or all of them.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct ListedOwner {
    /// The user's id or name
    user: Option<String>,
    /// The shared credentials of a group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The shared credentials of everybody
    #[arg(long)]
    everybody: bool,
    /// The credentials of all users and groups, and of everybody
    #[arg(long)]
    all: bool,
}

/// Runs the command.
pub async fn run(args: CredentialArgs, context: &Context<'_>) -> anyhow::Result<()> {
    let report = match args.command {
        CredentialCommand::Set { owner, place } => set(&owner, &place, read_value, context).await?,
        CredentialCommand::Fields { owner, json } => fields::show(owner, json, context).await?,
        CredentialCommand::List { owner } => list::run(owner, context).await?,
        CredentialCommand::Confirm { owner, to } => confirm(&owner, &to, context).await?,
        CredentialCommand::Recover { owner, place } => recover(&owner, &place, context).await?,
        CredentialCommand::Remove { owner, place } => remove(&owner, &place, context).await?,
    };
    report.print()
}

/// The credentials of an owner, as a resource of the admin API.
struct CredentialsResource {
    /// The owner in the store.
    owner: Owner,
    /// The URL path.
    path: String,
    /// The owner, for messages.
    shown: String,
    /// The owner, as an argument of this command.
    argument: String,
}

impl CredentialOwner {
    async fn resource(&self, context: &Context<'_>) -> anyhow::Result<CredentialsResource> {
        if self.everybody {
            return Ok(CredentialsResource::everybody());
        }
        if let Some(group) = &self.group {
            return Ok(CredentialsResource::group(&GroupName::new(group).context(GroupName::RULE)?));
        }
        let user = find_user(&context.store().await?, self.user.as_deref().unwrap_or_default()).await?;
        Ok(CredentialsResource::user(&user))
    }
}

impl CredentialsResource {
    fn everybody() -> Self {
        Self {
            owner: Owner::Everybody,
            path: "/admin/credentials/everybody".to_owned(),
            shown: "everybody".to_owned(),
            argument: "--everybody".to_owned(),
        }
    }

    fn group(name: &GroupName) -> Self {
        Self {
            owner: Owner::Group(name.clone()),
            path: format!("/admin/credentials/groups/{name}"),
            shown: format!("the group `{name}`"),
            argument: format!("--group {name}"),
        }
    }

    fn user(user: &User) -> Self {
        Self {
            path: format!("/admin/users/{}/creds", user.id),
            shown: format!("`{}` ({})", user.name, user.id),
            argument: user.id.to_string(),
            owner: Owner::User(user.id.clone()),
        }
    }

    /// The stored credentials: `SECTION.FIELD` and masked value, sorted.
    async fn stored(&self, context: &Context<'_>) -> anyhow::Result<Vec<[String; 2]>> {
        let document = api::call(context, Method::GET, &self.path, None).await?;
        Ok(rows_of(&document))
    }

    /// The credentials that wait for a confirmation of new origins, by `SECTION.FIELD`.
    async fn unconfirmed(&self, context: &Context<'_>) -> anyhow::Result<BTreeMap<String, NewOrigins>> {
        let answer = api::call(context, Method::GET, &format!("{}/confirm", self.path), None).await?;
        serde_json::from_value(answer["unconfirmed"].clone()).context(
            "failed to read the response of the running tollgate: does its version differ from this command's?",
        )
    }

    /// A note if credentials of a section wait for a confirmation, since a value leads them elsewhere now. What was stored is
    /// stored in any case: no error here takes that back.
    async fn waiting_note(&self, section: &str, context: &Context<'_>) -> String {
        let Ok(waiting) = self.unconfirmed(context).await else { return String::new() };
        let is_of = |place: &&String| place.rsplit_once('.').is_some_and(|(of, _)| of == section);
        let places: Vec<_> = waiting.keys().filter(is_of).map(|place| format!("`{place}`")).collect();
        if places.is_empty() {
            return String::new();
        }
        format!(
            "{} was stored for another host, and is not sent before that is confirmed: `tollgate credential confirm {}` shows the hosts\n",
            places.join(", "),
            self.argument
        )
    }

    /// A note if a section that holds something lacks what requests need beside it. As above, no error counts.
    async fn absent_note(&self, section: &str, context: &Context<'_>) -> String {
        let Ok(declared) = self.fields(context).await else { return String::new() };
        let Some(section) = declared.sections.iter().find(|one| one.section == section) else {
            return String::new();
        };
        let is_absent = |field: &&CredentialField| field.stored.is_none() && field.used.is_none();
        let is_needed = |field: &&CredentialField| field.wanted == Wanted::Required;
        let absent = section.fields.iter().filter(is_needed).filter(is_absent).map(|field| &field.field);
        let absent: Vec<String> = absent.map(|field| format!("`{}.{field}`", section.section)).collect();
        if absent.is_empty() || section.fields.iter().all(|field| field.stored.is_none()) {
            return String::new();
        }
        format!("requests need {} too, which is not stored yet\n", absent.join(", "))
    }

    /// A note if nobody is in the group. As above, no error counts.
    async fn empty_group_note(&self, context: &Context<'_>) -> String {
        let Owner::Group(group) = &self.owner else { return String::new() };
        let users = match context.store().await {
            Ok(store) => store.users().await.unwrap_or_default(),
            Err(_) => return String::new(),
        };
        let groups: BTreeSet<&str> =
            users.iter().filter_map(|user| Some(user.group.as_ref()?.as_str())).collect();
        if groups.contains(group.as_str()) {
            return String::new();
        }
        match nearest(group.as_str(), groups) {
            Some(near) => format!("no user is in `{group}`; did you mean `{near}`?\n"),
            None => format!(
                "no user is in `{group}` yet: `tollgate user change USER --group {group}` puts one there\n"
            ),
        }
    }

    async fn merge(&self, place: &str, value: Value, context: &Context<'_>) -> anyhow::Result<()> {
        let document = place.rsplit('.').fold(value, |inner, step| json!({ step: inner }));
        api::call(context, Method::PATCH, &self.path, Some(&document)).await.map(|_| ())
    }

    /// The error for a place that no file declares, with the fields that there are. The server says what is wrong with it, and
    /// in which files it looked.
    async fn unknown(&self, place: &str, known: &Near, context: &Context<'_>) -> anyhow::Error {
        // No field takes this value, should a file declare the place meanwhile.
        let error = match self.merge(place, Value::Bool(true), context).await {
            Ok(()) => return anyhow::anyhow!("the provider files have changed: try again"),
            Err(error) => error,
        };
        let Near { suggestion, rows } = known;
        match error.downcast_ref::<CallRefused>() {
            // The server looks at one step of the place, and names all that may stand there.
            Some(refused) if !rows.is_empty() => {
                let near = suggestion.as_ref().map(|near| format!("; did you mean `{near}`?"));
                let problem =
                    format!("no provider file has such a section or field{}", near.unwrap_or_default());
                refused.with_lines(&problem, rows)
            }
            Some(_) | None => self.refusal(place, error),
        }
    }

    /// The error for a rejected value. It does not repeat the field, which the user has typed.
    fn refusal(&self, place: &str, error: anyhow::Error) -> anyhow::Error {
        let Some(refused) = error.downcast_ref::<CallRefused>() else { return error };
        let Some(pointer) = &refused.pointer else { return error };
        let (named, problem) = (format!("/{}", place.replace('.', "/")), refused.problem());
        let problem = match pointer.strip_prefix(&named) {
            _ if refused.is(Cause::LoginExpected) => format!(
                "this field holds a login: give its JSON, as in `tollgate credential set {} {place} < login.json`",
                self.argument
            ),
            Some(below) if below.starts_with('/') => format!("{below}: {problem}"),
            Some("") => problem.to_owned(),
            _ if named.starts_with(pointer) => problem.to_owned(),
            _ => return error,
        };
        refused.with_message(&problem)
    }
}

async fn set(
    owner: &CredentialOwner,
    place: &str,
    read: impl Fn(&str, Typed) -> anyhow::Result<Secret>,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    let failed = || format!("failed to store `{place}`");
    check_names(place)?;
    let resource = owner.resource(context).await?;
    // All other failures come before the prompt for the value.
    let declared = resource.fields(context).await?;
    let Some(found) = fields::find(&declared, place) else {
        let known = fields::near(&declared, place, &resource.argument);
        ensure!(place.contains('.') || known.suggestion.is_some(), wrong_form(place));
        return Err(resource.unknown(place, &known, context).await).with_context(failed);
    };
    let (section, field) = match found {
        Place::Section(section) => (section, None),
        Place::Field(field) => {
            let holds = |section: &&FieldSection| section.fields.iter().any(|one| std::ptr::eq(one, field));
            (declared.sections.iter().find(holds).context("a field is in a section")?, Some(field))
        }
    };
    let is_shown =
        |field: &CredentialField| matches!(field.kind, CredentialKind::Text | CredentialKind::Origin);
    let typed = if field.is_some_and(is_shown) { Typed::Shown } else { Typed::Hidden };
    let text = read(place, typed)?;
    let value = value(text.expose()).with_context(failed)?;
    let done = match (&field, &value) {
        (None, Value::Object(values)) if !values.is_empty() => done(place, values, &resource.shown),
        (None, _) => {
            let names: Vec<_> =
                section.fields.iter().map(|field| format!("\"{}\": …", field.field)).collect();
            let empty = if value.is_object() { "the object is empty: " } else { "" };
            bail!(
                "failed to store `{place}`: {empty}give a JSON object of its fields, as in {{{}}}",
                names.join(", ")
            );
        }
        (Some(_), _) => format!("stored `{place}` for {}", resource.shown),
    };
    let merged = resource.merge(place, value, context).await;
    merged.map_err(|error| resource.refusal(place, error)).with_context(failed)?;
    let mut note = format!("{done}\n");
    if field.is_none_or(is_shown) {
        note.push_str(&resource.waiting_note(&section.section, context).await);
    }
    note.push_str(&resource.absent_note(&section.section, context).await);
    note.push_str(&resource.empty_group_note(context).await);
    Ok(Report::note(note))
}

/// What these fields of a section did: `null` removes one.
fn done(section: &str, fields: &Map<String, Value>, owner: &str) -> String {
    let names = |is_removed: bool| {
        let named = fields.iter().filter(|(_, value)| value.is_null() == is_removed);
        named.map(|(field, _)| format!("`{section}.{field}`")).collect::<Vec<_>>().join(", ")
    };
    match (names(false), names(true)) {
        (stored, removed) if removed.is_empty() => format!("stored {stored} for {owner}"),
        (stored, removed) if stored.is_empty() => format!("removed {removed} of {owner}"),
        (stored, removed) => format!("stored {stored}, and removed {removed}, for {owner}"),
    }
}

/// Parses a value: a login is a JSON object, all else is text. One line break at the end is removed, since terminals
/// and `echo` add it. No message quotes the text.
fn value(text: &str) -> anyhow::Result<Value> {
    let pasted = document(text);
    match serde_json::from_str(pasted) {
        // A key that is there twice is refused, as by the API.
        Ok(Value::Object(_)) => parse_json(pasted.as_bytes()).map_err(|fault| anyhow::anyhow!(fault.message)),
        Err(error) if pasted.starts_with('{') => {
            let place = || format!("see line {}, column {}", error.line(), error.column());
            bail!("the text begins as JSON and is none: {}", odd_character(pasted).unwrap_or_else(place))
        }
        Ok(_) | Err(_) => Ok(line(text).into()),
    }
}

/// Prints the kept answers of a login. It reads the store and the master key itself: no API returns a secret.
async fn recover(owner: &CredentialOwner, place: &str, context: &Context<'_>) -> anyhow::Result<Report> {
    check_place(place)?;
    let resource = owner.resource(context).await?;
    let store = context.store().await?;
    let (section, field) = place.rsplit_once('.').unwrap_or_default();
    let key = MasterKey::load_beside(context.keys()?, &context.places.data()?, &store).await?;
    let kept = read_answers(&store, &key, &resource.owner, section, field).await?;
    if kept.is_empty() {
        return Ok(Report::note(format!("no answer is kept for `{place}` of {}\n", resource.shown)));
    }
    let answers = kept.into_iter().map(|answer| answer.map(shown)).collect::<Result<Vec<_>, _>>()?;
    let note = format!(
        "these are secrets: `tollgate credential set {} {place}` stores the login, and its next refresh deletes them\n",
        resource.argument
    );
    Ok(Report { out: escape::json(&format!("{:#}\n", Value::from(answers))).into_owned(), note })
}

/// A kept answer as JSON. A body that is not text is encoded.
fn shown(unread: UnreadAnswer) -> Value {
    let UnreadAnswer { received_at_ms, problem, answer, .. } = unread;
    let mut shown = json!({
        "receivedAt": utc(received_at_ms),
        "problem": format!("the token endpoint's response {problem}"),
        "status": answer.status,
        "contentType": answer.content_type,
        "contentEncoding": answer.content_encoding,
    });
    match str::from_utf8(&answer.body) {
        Ok(text) => shown["body"] = text.into(),
        Err(_) => shown["bodyBase64"] = BASE64_STANDARD.encode(&*answer.body).into(),
    }
    shown
}

/// A masked value.
fn shown_value(value: &Value) -> String {
    if let Value::String(mask) = value {
        return mask.clone();
    }
    let expires = value.get("expiresAt").and_then(Value::as_u64);
    let expires = expires.map_or_else(String::new, |at| format!(", expires {}", utc(at)));
    format!("{}{expires}", value["status"].as_str().unwrap_or_default())
}

/// The credentials of a masked document, sorted.
fn rows_of(document: &Value) -> Vec<[String; 2]> {
    let mut rows = Vec::new();
    if let Value::Object(sections) = document {
        flatten("", sections, &mut rows);
    }
    rows.sort();
    rows
}

/// The fields of a masked document.
fn flatten(section: &str, object: &Map<String, Value>, rows: &mut Vec<[String; 2]>) {
    for (key, value) in object {
        let place = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        match value {
            Value::String(mask) => rows.push([place, mask.clone()]),
            Value::Object(login) if login.get("status").is_some_and(Value::is_string) => {
                rows.push([place, shown_value(value)]);
            }
            Value::Object(below) => flatten(&place, below, rows),
            _ => {}
        }
    }
}

/// Shows the credentials that wait for a confirmation, or confirms those whose new origins are all in `to`. The server
/// refuses if the files changed since.
async fn confirm(owner: &CredentialOwner, to: &[String], context: &Context<'_>) -> anyhow::Result<Report> {
    let resource = owner.resource(context).await?;
    let path = format!("{}/confirm", resource.path);
    let waiting = resource.unconfirmed(context).await?;
    if waiting.is_empty() {
        let incomplete = incomplete_note(&resource.fields(context).await?);
        let none = format!("no credential of {} has new origins to confirm\n", resource.shown);
        return Ok(Report::note(none + &incomplete));
    }
    if to.is_empty() {
        return Ok(shown_origins(&waiting, &resource, &resource.fields(context).await?));
    }
    let origins = named_origins(&waiting, to)?;
    api::call(context, Method::POST, &path, Some(&json!({ "origins": origins }))).await?;
    let lines =
        waiting.iter().filter(|(place, _)| origins.contains_key(place.as_str())).map(|(place, moved)| {
            let (to, from) = (moved.to.join(", "), moved.from.join(", "));
            format!("confirmed `{place}`: it may go to {to}; until now to {from}\n")
        });
    Ok(Report::note(lines.collect::<String>()))
}

/// The stored secrets whose hosts lack a value: there is nothing to confirm before that is set.
fn incomplete_note(fields: &CredentialFields) -> String {
    let all = fields.sections.iter().flat_map(|section| section.fields.iter().map(move |one| (section, one)));
    let incomplete = all.filter(|(_, field)| !field.bound_to.is_empty() && !field.missing.is_empty());
    let lines = incomplete.map(|(FieldSection { section, .. }, field)| {
        let missing: Vec<String> = field.missing.iter().map(|name| format!("{section}.{name}")).collect();
        let verb = if missing.len() == 1 { "is" } else { "are" };
        format!("`{section}.{}` has no complete host: {} {verb} missing\n", field.field, backticked(&missing))
    });
    lines.collect()
}

fn shown_origins(
    waiting: &BTreeMap<String, NewOrigins>,
    resource: &CredentialsResource,
    declared: &CredentialFields,
) -> Report {
    let row = |(place, moved): (&String, &NewOrigins)| {
        [place.clone(), moved.from.join(", "), moved.added().collect::<Vec<_>>().join(", ")]
    };
    let rows: Vec<_> = waiting.iter().map(row).collect();
    let mut note = format!(
        "nothing was confirmed: `tollgate credential confirm {} --to ORIGIN` confirms a new origin\n",
        resource.argument
    );
    let fields = declared.sections.iter().flat_map(|section| &section.fields);
    let gateways: BTreeMap<&String, &String> = fields.flat_map(|field| &field.gateways).collect();
    let new: BTreeSet<&str> = waiting.values().flat_map(NewOrigins::added).collect();
    for (origin, gateway) in gateways.iter().filter(|(origin, _)| new.contains(origin.as_str())) {
        note.extend([format!(
            "`{origin}` is that of the gateway `{gateway}`: requests go there only if it is configured\n"
        )]);
    }
    Report { out: table(["CREDENTIAL", "SAVED FOR", "NEW"], &rows), note }
}

/// All origins of the credentials whose new ones are named. Errors if only a part of them is, or if a name fits none.
fn named_origins<'w>(
    waiting: &'w BTreeMap<String, NewOrigins>,
    named: &[String],
) -> anyhow::Result<BTreeMap<&'w str, &'w [String]>> {
    for origin in named {
        ensure!(
            waiting.values().any(|moved| moved.added().any(|one| one == origin)),
            "no credential has the new origin `{origin}`: the command without `--to` shows them; nothing was confirmed"
        );
    }
    let mut origins = BTreeMap::new();
    for (place, moved) in waiting {
        let is_named = |one: &&str| named.iter().any(|named| named == one);
        if !moved.added().any(|one| is_named(&one)) {
            continue;
        }
        if let Some(other) = moved.added().find(|one| !is_named(one)) {
            bail!("`{place}` leads to `{other}` too, which `--to` does not name: nothing was confirmed");
        }
        origins.insert(place.as_str(), moved.to.as_slice());
    }
    Ok(origins)
}

/// Removes a stored credential, also one that no provider file declares now.
async fn remove(owner: &CredentialOwner, place: &str, context: &Context<'_>) -> anyhow::Result<Report> {
    check_place(place)?;
    let resource = owner.resource(context).await?;
    let (shown, argument) = (&resource.shown, &resource.argument);
    ensure!(
        resource.stored(context).await?.iter().any(|[stored, _]| stored == place),
        "{shown} has no credential `{place}`: `tollgate credential list {argument}` shows what is stored"
    );
    resource.merge(place, Value::Null, context).await?;
    Ok(Report::note(format!("removed `{place}` of {shown}\n")))
}

/// Checks the names of a section or a field.
fn check_names(place: &str) -> anyhow::Result<()> {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    // The message does not quote it: it may be `field=secret`.
    ensure!(
        place.chars().all(plain),
        "SECTION.FIELD holds letters, digits, `.`, `-` and `_` only; a value is never an argument: pipe it in, or enter it at the prompt"
    );
    ensure!(place.split('.').all(|step| !step.is_empty()), wrong_form(place));
    Ok(())
}

/// Checks the form SECTION.FIELD. The section may contain dots, the field may not.
fn check_place(place: &str) -> anyhow::Result<()> {
    check_names(place)?;
    ensure!(place.contains('.'), wrong_form(place));
    Ok(())
}

fn wrong_form(place: &str) -> String {
    format!("`{place}` is not of the form SECTION.FIELD, such as `providers.example.apiKey`")
}

#[cfg(test)]
mod tests;
