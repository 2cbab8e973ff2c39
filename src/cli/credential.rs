//! `tollgate credential`: stores, lists and removes what a user keeps for the providers. Values come
//! from stdin or a prompt; they are shown only masked.

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::context::{Context, Report, find_user, read_secret, table};
use crate::{
    accounts::{Actor, Edit, MasterKey, Stored, change_credentials, read_credentials, remove_credential},
    fields::FieldKind,
    name::Owner,
    secret::Secret,
    store::{ChangeOutcome, Store, User},
};

/// The arguments of `tollgate credential`.
#[derive(Args)]
pub struct CredentialArgs {
    #[command(subcommand)]
    command: CredentialCommand,
}

#[derive(Subcommand)]
enum CredentialCommand {
    /// Store a credential, read from stdin or asked for
    Set {
        /// The user's id or name
        user: String,
        /// Where it belongs, such as `providers.example.apiKey`
        #[arg(value_name = "SECTION.FIELD")]
        place: String,
    },
    /// List a user's credentials, masked
    List {
        /// The user's id or name
        user: String,
    },
    /// Remove a credential
    Remove {
        /// The user's id or name
        user: String,
        /// Where it stands, as `credential list` shows it
        #[arg(value_name = "SECTION.FIELD")]
        place: String,
    },
}

/// Runs the command.
pub async fn run(args: CredentialArgs, context: &Context<'_>) -> anyhow::Result<()> {
    let report = match args.command {
        CredentialCommand::Set { user, place } => set(&user, &place, read_secret, context).await?,
        CredentialCommand::List { user } => list(&user, context).await?,
        CredentialCommand::Remove { user, place } => remove(&user, &place, context).await?,
    };
    report.print()
}

async fn set(
    user: &str,
    place: &str,
    read: impl Fn(&str) -> anyhow::Result<Secret>,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    let (section, field) = split(place)?;
    let known = context.known.find(section, field)?;
    let store = context.store().await?;
    let user = find_user(&store, user).await?;
    // All that can fail without the value fails before somebody is asked for it.
    let key = master_key(&store, context).await?;
    let text = read(place)?;
    let stored = match &known.kind {
        FieldKind::Plain => Stored::plain(text.expose()),
        FieldKind::OAuth2(oauth) => Stored::oauth(text.expose(), &oauth.paste),
    };
    let stored = stored.with_context(|| format!("failed to store `{place}`"))?;
    let (section, field) = (section.to_owned(), field.to_owned());
    let edit = Edit::Set { section, field, stored, origins: known.origins.clone() };
    let owner = Owner::User(user.id.clone());
    match change_credentials(&store, &Actor::command(), &key, &owner, &[edit]).await? {
        ChangeOutcome::Done { .. } => {
            Ok(Report::note(format!("stored `{place}` for {}\n", shown_user(&user))))
        }
        ChangeOutcome::UnknownUser => anyhow::bail!("the user {} has been removed meanwhile", user.id),
        ChangeOutcome::OtherKey => anyhow::bail!("the master key has been replaced meanwhile: try again"),
    }
}

async fn list(user: &str, context: &Context<'_>) -> anyhow::Result<Report> {
    let store = context.store().await?;
    let user = find_user(&store, user).await?;
    if store.credentials(&Owner::User(user.id.clone())).await?.is_empty() {
        let advice = format!("`tollgate credential set {} SECTION.FIELD` stores one", user.id);
        return Ok(Report::note(format!("{} has no credentials yet: {advice}\n", shown_user(&user))));
    }
    let key = master_key(&store, context).await?;
    let (credentials, unreadable) = read_credentials(&store, &key, &Owner::User(user.id.clone())).await?;
    let readable =
        credentials.iter().map(|(section, field, stored)| [format!("{section}.{field}"), stored.mask()]);
    let unreadable = unreadable
        .iter()
        .map(|lost| [format!("{}.{}", lost.section, lost.field), format!("does not open: {}", lost.reason)]);
    let mut rows: Vec<_> = readable.chain(unreadable).collect();
    rows.sort();
    Ok(Report { out: table(["CREDENTIAL", "VALUE"], &rows), note: String::new() })
}

/// Takes whatever is stored, also what no provider file declares any more.
async fn remove(user: &str, place: &str, context: &Context<'_>) -> anyhow::Result<Report> {
    let (section, field) = split(place)?;
    let store = context.store().await?;
    let user = find_user(&store, user).await?;
    let owner = Owner::User(user.id.clone());
    let removed = remove_credential(&store, &Actor::command(), &owner, section, field).await?;
    let id = &user.id;
    anyhow::ensure!(
        removed,
        "{} has no credential `{place}`: `tollgate credential list {id}` shows what is stored",
        shown_user(&user)
    );
    Ok(Report::note(format!("removed `{place}` of {}\n", shown_user(&user))))
}

/// Section and field. The section may hold dots, the field does not.
fn split(place: &str) -> anyhow::Result<(&str, &str)> {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    // Not repeated: it may be `field=secret`.
    anyhow::ensure!(
        place.chars().all(plain),
        "SECTION.FIELD holds letters, digits, `.`, `-` and `_` only; a value is never an argument: pipe it in, or run the command without it and be asked"
    );
    let (section, field) = place
        .rsplit_once('.')
        .filter(|(section, field)| !section.is_empty() && !field.is_empty())
        .with_context(|| {
            format!("`{place}` is not of the form SECTION.FIELD, such as `providers.example.apiKey`")
        })?;
    Ok((section, field))
}

async fn master_key(store: &Store, context: &Context<'_>) -> anyhow::Result<MasterKey> {
    let key = MasterKey::load_beside(&context.keys, &context.data_dir, store).await;
    key.context("failed to load the master key")
}

fn shown_user(user: &User) -> String {
    format!("`{}` ({})", user.name, user.id)
}

#[cfg(test)]
mod tests;
