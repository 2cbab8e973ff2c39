//! `tollgate credential list`: what is stored, masked. Of a user also what a group and everybody share; or of all owners.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{
        api,
        context::{Context, Report, find_user, table},
    },
    CredentialOwner, CredentialsResource, ListedOwner, rows_of,
};
use crate::{
    accounts::NewOrigins,
    admin::UnconfirmedOwner,
    name::{GroupName, Owner},
};

/// The credentials of an owner, to be listed.
struct Listed {
    owner: Owner,
    /// The owner in the table.
    shown: String,
    /// The owner, as an argument of this command.
    argument: String,
    rows: Vec<[String; 2]>,
    unconfirmed: BTreeMap<String, NewOrigins>,
}

/// An owner in the list of all.
#[derive(Deserialize)]
struct OwnerCredentials {
    name: Option<String>,
    credentials: Value,
}

/// Lists credentials.
pub(super) async fn run(owner: ListedOwner, context: &Context<'_>) -> anyhow::Result<Report> {
    let ListedOwner { user, group, everybody, all } = owner;
    if all {
        return list_all(context).await;
    }
    of_owner(&CredentialOwner { user, group, everybody }, context).await
}

/// Lists the credentials of an owner, and those that others share with the owner.
pub(super) async fn of_owner(owner: &CredentialOwner, context: &Context<'_>) -> anyhow::Result<Report> {
    let resource = owner.resource(context).await?;
    let group = match &resource.owner {
        Owner::User(id) => Some(find_user(&context.store().await?, id.as_str()).await?.group),
        Owner::Group(_) | Owner::Everybody => None,
    };
    let is_user = group.is_some();
    let mut all = vec![
        listed(&resource, if is_user { "own".to_owned() } else { resource.owner.to_string() }, context)
            .await?,
    ];
    let shared = group.flatten().as_ref().map(CredentialsResource::group).into_iter();
    for other in shared.chain(is_user.then(CredentialsResource::everybody)) {
        all.push(listed(&other, other.owner.to_string(), context).await?);
    }
    if all.iter().all(|one| one.rows.is_empty()) {
        let advice = format!(
            "`tollgate credential fields {0}` shows which there are, and `tollgate credential set {0} SECTION.FIELD` stores one",
            resource.argument
        );
        return Ok(Report::note(format!("{} has no credentials yet: {advice}\n", resource.shown)));
    }
    let is_shared = all.iter().skip(1).any(|one| !one.rows.is_empty());
    let mut report = report(all, context).await?;
    if is_shared {
        report.note.extend([format!(
            "a user's own credentials count before those of the group, and these before those of everybody: `tollgate user access {}` shows which are used\n",
            resource.argument
        )]);
    }
    Ok(report)
}

async fn listed(
    resource: &CredentialsResource,
    shown: String,
    context: &Context<'_>,
) -> anyhow::Result<Listed> {
    let rows = resource.stored(context).await?;
    let unconfirmed = if rows.is_empty() { BTreeMap::new() } else { resource.unconfirmed(context).await? };
    let (owner, argument) = (resource.owner.clone(), resource.argument.clone());
    Ok(Listed { owner, shown, argument, rows, unconfirmed })
}

/// Lists the credentials of all owners.
async fn list_all(context: &Context<'_>) -> anyhow::Result<Report> {
    let owners: Vec<(String, OwnerCredentials)> = api::pages(context, "/admin/credentials").await?;
    let waiting = api::pages::<UnconfirmedOwner>(context, "/admin/credentials/unconfirmed").await?;
    let mut waiting: BTreeMap<String, _> = waiting.into_iter().collect();
    if owners.is_empty() {
        return Ok(Report::note(
            "nobody has credentials yet: `tollgate credential set USER SECTION.FIELD` stores one\n",
        ));
    }
    let mut all = Vec::new();
    for (text, OwnerCredentials { name, credentials }) in owners {
        let Some(owner) = Owner::parse(&text) else { continue };
        let argument = match &owner {
            Owner::User(id) => id.to_string(),
            Owner::Group(group) => argument_of(group),
            Owner::Everybody => "--everybody".to_owned(),
        };
        let unconfirmed = waiting.remove(&text).map(|one| one.unconfirmed).unwrap_or_default();
        let shown = name.map_or_else(|| text.clone(), |name| format!("{name} ({text})"));
        all.push(Listed { owner, shown, argument, rows: rows_of(&credentials), unconfirmed });
    }
    report(all, context).await
}

fn argument_of(group: &GroupName) -> String {
    format!("--group {group}")
}

/// The table, and advice on what is blocked or was kept.
async fn report(all: Vec<Listed>, context: &Context<'_>) -> anyhow::Result<Report> {
    let store = context.store().await?;
    let (mut rows, mut note) = (Vec::new(), String::new());
    for Listed { owner, shown, argument, rows: stored, unconfirmed } in all {
        let kept = store.kept_answers(&owner).await?;
        let kept: BTreeSet<String> =
            kept.iter().map(|one| format!("{}.{}", one.section, one.field)).collect();
        for place in &kept {
            note.extend([format!(
                "the token endpoint of `{place}` sent what was not understood: `tollgate credential recover {argument} {place}` prints it\n"
            )]);
        }
        for [place, mut value] in stored {
            if kept.contains(&place) {
                value.push_str(", an answer that was not understood is kept");
            }
            if unconfirmed.contains_key(&place) {
                value.push_str(", blocked: it leads to an origin that it was not stored for");
            }
            rows.push([place, shown.clone(), value]);
        }
        if !unconfirmed.is_empty() {
            note.extend([format!("`tollgate credential confirm {argument}` shows the new origins\n")]);
        }
    }
    Ok(Report { out: table(["CREDENTIAL", "OWNER", "VALUE"], &rows), note })
}
