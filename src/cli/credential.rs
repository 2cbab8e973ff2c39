//! `tollgate credential`: stores, lists, confirms and removes credentials of a user, a group or everybody. Values
//! come from stdin or a prompt, and are printed only masked. `recover` alone prints secrets.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    api::{self, CallRefused},
    context::{Context, Report, find_user, read_secret, table},
};
use crate::{
    accounts::{MasterKey, NewOrigins, UnreadAnswer, read_answers},
    clock::utc,
    escape,
    fault::Cause,
    name::{GroupName, Owner},
    secret::Secret,
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
    /// Store a credential, read from standard input or a prompt
    #[command(allow_missing_positional = true)]
    Set {
        #[command(flatten)]
        owner: CredentialOwner,
        /// Its section and field, such as `providers.example.apiKey`
        #[arg(value_name = "SECTION.FIELD")]
        place: String,
    },
    /// List credentials, masked
    List {
        #[command(flatten)]
        owner: CredentialOwner,
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

/// Runs the command.
pub async fn run(args: CredentialArgs, context: &Context<'_>) -> anyhow::Result<()> {
    let report = match args.command {
        CredentialCommand::Set { owner, place } => set(&owner, &place, read_secret, context).await?,
        CredentialCommand::List { owner } => list(&owner, context).await?,
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
            let (path, shown) = ("/admin/credentials/everybody".to_owned(), "everybody".to_owned());
            let owner = Owner::Everybody;
            return Ok(CredentialsResource { owner, path, shown, argument: "--everybody".to_owned() });
        }
        if let Some(group) = &self.group {
            let owner = Owner::Group(GroupName::new(group).context(GroupName::RULE)?);
            let (path, shown) =
                (format!("/admin/credentials/groups/{group}"), format!("the group `{group}`"));
            return Ok(CredentialsResource { owner, path, shown, argument: format!("--group {group}") });
        }
        let user = find_user(&context.store().await?, self.user.as_deref().unwrap_or_default()).await?;
        let path = format!("/admin/users/{}/creds", user.id);
        Ok(CredentialsResource {
            path,
            shown: format!("`{}` ({})", user.name, user.id),
            argument: user.id.to_string(),
            owner: Owner::User(user.id),
        })
    }
}

impl CredentialsResource {
    /// The stored credentials: `SECTION.FIELD` and masked value, sorted.
    async fn stored(&self, context: &Context<'_>) -> anyhow::Result<Vec<[String; 2]>> {
        let document = api::call(context, Method::GET, &self.path, None).await?;
        let mut rows = Vec::new();
        if let Value::Object(sections) = &document {
            flatten("", sections, &mut rows);
        }
        rows.sort();
        Ok(rows)
    }

    /// The credentials that wait for a confirmation of new origins, by `SECTION.FIELD`.
    async fn unconfirmed(&self, context: &Context<'_>) -> anyhow::Result<BTreeMap<String, NewOrigins>> {
        let answer = api::call(context, Method::GET, &format!("{}/confirm", self.path), None).await?;
        serde_json::from_value(answer["unconfirmed"].clone()).context(
            "failed to read the response of the running tollgate: does its version differ from this command's?",
        )
    }

    async fn merge(&self, place: &str, value: Value, context: &Context<'_>) -> anyhow::Result<()> {
        let document = place.rsplit('.').fold(value, |inner, step| json!({ step: inner }));
        api::call(context, Method::PATCH, &self.path, Some(&document)).await.map(|_| ())
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
    read: impl Fn(&str) -> anyhow::Result<Secret>,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    check_place(place)?;
    let resource = owner.resource(context).await?;
    // All other failures come before the prompt for the value.
    resource.stored(context).await?;
    let text = read(place)?;
    let value = value(text.expose()).with_context(|| format!("failed to store `{place}`"))?;
    let stored = resource.merge(place, value, context).await;
    let stored = stored.map_err(|error| resource.refusal(place, error));
    stored.with_context(|| format!("failed to store `{place}`"))?;
    Ok(Report::note(format!("stored `{place}` for {}\n", resource.shown)))
}

/// Parses a value: a login is a JSON object, all else is text. One line break at the end is removed, since terminals
/// and `echo` add it. No message quotes the text.
fn value(text: &str) -> anyhow::Result<Value> {
    let pasted = document(text);
    match serde_json::from_str(pasted) {
        Ok(Value::Object(login)) => Ok(login.into()),
        Err(error) if pasted.starts_with('{') => {
            let place = || format!("see line {}, column {}", error.line(), error.column());
            bail!("the text begins as JSON and is none: {}", odd_character(pasted).unwrap_or_else(place))
        }
        Ok(_) | Err(_) => Ok(line(text).into()),
    }
}

async fn list(owner: &CredentialOwner, context: &Context<'_>) -> anyhow::Result<Report> {
    let resource = owner.resource(context).await?;
    let mut rows = resource.stored(context).await?;
    if rows.is_empty() {
        let advice = format!("`tollgate credential set {} SECTION.FIELD` stores one", resource.argument);
        return Ok(Report::note(format!("{} has no credentials yet: {advice}\n", resource.shown)));
    }
    let kept = context.store().await?.kept_answers(&resource.owner).await?;
    let kept: BTreeSet<String> = kept.iter().map(|one| format!("{}.{}", one.section, one.field)).collect();
    for [_, value] in rows.iter_mut().filter(|[place, _]| kept.contains(place)) {
        value.push_str(", an answer that was not understood is kept");
    }
    let advice = |place: &String| {
        format!(
            "the token endpoint of `{place}` sent what was not understood: `tollgate credential recover {} {place}` prints it\n",
            resource.argument
        )
    };
    let mut note: String = kept.iter().map(advice).collect();
    let moved = resource.unconfirmed(context).await?;
    for [place, value] in &mut rows {
        if moved.contains_key(place) {
            value.push_str(", blocked: the provider files name a new origin");
        }
    }
    if !moved.is_empty() {
        let advice = ["`tollgate credential confirm ", &resource.argument, "` shows the new origins\n"];
        note.push_str(&advice.concat());
    }
    Ok(Report { out: table(["CREDENTIAL", "VALUE"], &rows), note })
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

/// The fields of a masked document.
fn flatten(section: &str, object: &Map<String, Value>, rows: &mut Vec<[String; 2]>) {
    for (key, value) in object {
        let place = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        match value {
            Value::String(mask) => rows.push([place, mask.clone()]),
            Value::Object(login) if login.get("status").is_some_and(Value::is_string) => {
                let expires = login.get("expiresAt").and_then(Value::as_u64);
                let expires = expires.map_or_else(String::new, |at| format!(", expires {}", utc(at)));
                let status = login["status"].as_str().unwrap_or_default();
                rows.push([place, format!("{status}{expires}")]);
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
        return Ok(Report::note(format!("no credential of {} has new origins to confirm\n", resource.shown)));
    }
    if to.is_empty() {
        return Ok(shown_origins(&waiting, &resource));
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

fn shown_origins(waiting: &BTreeMap<String, NewOrigins>, resource: &CredentialsResource) -> Report {
    let row = |(place, moved): (&String, &NewOrigins)| {
        [place.clone(), moved.from.join(", "), moved.added().collect::<Vec<_>>().join(", ")]
    };
    let rows: Vec<_> = waiting.iter().map(row).collect();
    let note = format!(
        "nothing was confirmed: `tollgate credential confirm {} --to ORIGIN` confirms a new origin\n",
        resource.argument
    );
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

/// Checks the form SECTION.FIELD. The section may contain dots, the field may not.
fn check_place(place: &str) -> anyhow::Result<()> {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    // The message does not quote it: it may be `field=secret`.
    ensure!(
        place.chars().all(plain),
        "SECTION.FIELD holds letters, digits, `.`, `-` and `_` only; a value is never an argument: pipe it in, or enter it at the prompt"
    );
    ensure!(
        place.contains('.') && place.split('.').all(|step| !step.is_empty()),
        "`{place}` is not of the form SECTION.FIELD, such as `providers.example.apiKey`"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
