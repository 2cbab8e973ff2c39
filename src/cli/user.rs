//! `tollgate user`: makes, lists and removes users.

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::context::{Context, Report, find_user, table};
use crate::{
    accounts::{Actor, DisplayName, NewUser, create_user, utc},
    store::Names,
};

/// The arguments of `tollgate user`.
#[derive(Args)]
pub struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Subcommand)]
enum UserCommand {
    /// Make a user with a first token, and print the token
    Add {
        /// What to call the user
        name: String,
    },
    /// List all users
    List,
    /// Remove a user with all tokens and credentials
    Remove {
        /// The user's id or name
        user: String,
    },
}

/// Runs the command.
pub async fn run(args: UserArgs, context: &Context<'_>) -> anyhow::Result<()> {
    let report = match args.command {
        UserCommand::Add { name } => add(&name, context).await?,
        UserCommand::List => list(context).await?,
        UserCommand::Remove { user } => remove(&user, context).await?,
    };
    report.print()
}

async fn add(name: &str, context: &Context<'_>) -> anyhow::Result<Report> {
    let name = DisplayName::new(name).context("failed to add the user")?;
    let store = context.store().await?;
    let name_text = name.as_str();
    match create_user(&store, &Actor::command(), &name, Names::Unique).await? {
        NewUser::Created { id, token } => Ok(Report {
            out: format!("{}\n", token.expose()),
            note: format!(
                "made user `{name_text}` with the id {id}; the token above is shown this once\n\
                 next: `tollgate credential set {id} SECTION.FIELD` stores a provider's key\n"
            ),
        }),
        NewUser::OtherKey => anyhow::bail!("the master key has been replaced meanwhile: try again"),
        NewUser::NameTaken(id) => anyhow::bail!(
            "a user named `{name_text}` exists, with the id {id}: choose another name, or run `tollgate token add {id}` for a further token"
        ),
    }
}

async fn list(context: &Context<'_>) -> anyhow::Result<Report> {
    let users = context.store().await?.users().await?;
    if users.is_empty() {
        return Ok(Report::note("there are no users yet: `tollgate user add NAME` makes one\n"));
    }
    let rows: Vec<_> =
        users.into_iter().map(|user| [user.id.to_string(), utc(user.created_at_ms), user.name]).collect();
    Ok(Report { out: table(["ID", "CREATED", "NAME"], &rows), note: String::new() })
}

async fn remove(user: &str, context: &Context<'_>) -> anyhow::Result<Report> {
    let store = context.store().await?;
    let user = find_user(&store, user).await?;
    let act = Actor::command().act("user.delete", &user.id, serde_json::json!({}));
    let done = store.delete_user(&user.id, &act).await?;
    anyhow::ensure!(done, "the user {} has been removed meanwhile", user.id);
    let note = format!("removed user `{}` ({}) with all tokens and credentials\n", user.name, user.id);
    Ok(Report::note(note))
}

#[cfg(test)]
mod tests;
