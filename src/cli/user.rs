//! `tollgate user`: creates, lists, changes and removes users.

mod access;
mod import;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand, ValueEnum};

use super::{
    context::{Context, Report, find_user, table},
    issued::Issued,
};
use crate::{
    accounts::{Actor, AddressNote, DisplayName, NewUser, UserDraft, add_user, remove_user, update_user},
    clock::{now_ms, utc},
    name::GroupName,
    store::{DuplicateNames, User, UserChange},
};

/// The arguments of `tollgate user`.
#[derive(Args)]
pub struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Subcommand)]
enum UserCommand {
    /// Create a user with a first token, and print the token; or many users
    ///
    /// A file of `--from` is CSV. Its first line names the columns: `name`, and if wanted `group` and `ip`. The whole file is
    /// checked first: with a problem in any line, no user is created. The result is CSV with the columns `name`, `id` and `token`.
    Add {
        /// The user's name
        #[arg(required_unless_present = "from")]
        name: Option<String>,
        /// The group whose shared credentials the user may use
        #[arg(long)]
        group: Option<String>,
        /// A note of the user's address; it restricts nothing
        #[arg(long, value_name = "NOTE")]
        ip: Option<String>,
        /// Create the users of this CSV file
        #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "group", "ip"])]
        from: Option<PathBuf>,
        /// Write the tokens of `--from` to this new file, readable by its owner alone [default: print them]
        #[arg(long, value_name = "FILE", requires = "from")]
        out: Option<PathBuf>,
    },
    /// Show the providers and endpoints that a user may call, with whose key, and at which base URL
    Access(access::AccessArgs),
    /// List all users
    List,
    /// Rename a user, change the group, or disable all tokens
    Change(Box<ChangeArgs>),
    /// Remove a user with all tokens and credentials
    Remove {
        /// The user's id or name
        user: String,
    },
}

#[derive(Args)]
struct ChangeArgs {
    /// The user's id or name
    user: String,
    #[command(flatten)]
    fields: ChangedFields,
}

/// The fields to change, at least one.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct ChangedFields {
    /// The new name
    #[arg(long)]
    name: Option<String>,
    /// The new group
    #[arg(long, conflicts_with = "no_group")]
    group: Option<String>,
    /// Remove from the group
    #[arg(long)]
    no_group: bool,
    /// The new note of the user's address
    #[arg(long, value_name = "NOTE", conflicts_with = "no_ip")]
    ip: Option<String>,
    /// Remove the note
    #[arg(long)]
    no_ip: bool,
    /// Accept or refuse all of the user's tokens
    #[arg(long)]
    state: Option<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// The user's tokens are accepted
    Active,
    /// All of the user's tokens are refused
    Disabled,
}

/// Runs the command.
pub async fn run(args: UserArgs, context: &Context<'_>) -> anyhow::Result<()> {
    let report = match args.command {
        UserCommand::Access(args) => access::run(&args, context).await?,
        UserCommand::Add { from: Some(from), out, .. } => {
            return import::run(&from, out.as_deref(), context).await;
        }
        UserCommand::Add { name, group, ip, from: None, .. } => {
            let name = name.unwrap_or_default();
            let (report, issued) = add(&name, group.as_deref(), ip, context).await?;
            return issued.print(report, context).await;
        }
        UserCommand::List => list(context).await?,
        UserCommand::Change(args) => change(&args, context).await?,
        UserCommand::Remove { user } => remove(&user, context).await?,
    };
    report.print()
}

async fn add(
    name: &str,
    group: Option<&str>,
    ip: Option<String>,
    context: &Context<'_>,
) -> anyhow::Result<(Report, Issued)> {
    let name = DisplayName::new(name).context("failed to add the user")?;
    let group = group.map(group_name).transpose()?;
    let ip = ip.as_deref().map(AddressNote::new).transpose().context("`--ip`")?;
    let store = context.store_or_new().await?;
    let name_text = name.as_str();
    let draft = UserDraft { name: name.clone(), ip, group, credentials: None };
    match add_user(&store, &Actor::command(), draft, DuplicateNames::Refuse).await? {
        NewUser::Created { id, token } => {
            let note = format!(
                "created user `{name_text}` with the id {id}; the token above is shown this once\n\
                 next: `tollgate credential set {id} SECTION.FIELD` stores a provider's key\n"
            );
            Ok((Report { out: format!("{}\n", token.expose()), note }, Issued::User(id)))
        }
        NewUser::NameTaken(id) => anyhow::bail!(
            "a user named `{name_text}` exists, with the id {id}: choose another name, or run `tollgate token add {id}` for a further token"
        ),
        NewUser::OtherKey => anyhow::bail!("the master key has been replaced meanwhile: try again"),
    }
}

fn group_name(text: &str) -> anyhow::Result<GroupName> {
    GroupName::new(text).context(GroupName::RULE)
}

async fn list(context: &Context<'_>) -> anyhow::Result<Report> {
    let users = context.store().await?.users().await?;
    if users.is_empty() {
        return Ok(Report::note("there are no users yet: `tollgate user add NAME` creates one\n"));
    }
    let rows: Vec<_> = users.into_iter().map(row).collect();
    Ok(Report { out: table(["ID", "CREATED", "STATE", "GROUP", "NAME"], &rows), note: String::new() })
}

fn row(user: User) -> [String; 5] {
    let state = if user.disabled_at_ms.is_some() { "disabled" } else { "active" };
    let group = user.group.map_or_else(|| "-".to_owned(), |group| group.to_string());
    [user.id.to_string(), utc(user.created_at_ms), state.to_owned(), group, user.name]
}

async fn change(args: &ChangeArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let fields = &args.fields;
    let name =
        fields.name.as_deref().map(DisplayName::new).transpose().context("failed to rename the user")?;
    let group = fields.group.as_deref().map(group_name).transpose()?;
    let ip = fields.ip.as_deref().map(AddressNote::new).transpose().context("`--ip`")?;
    let change = UserChange {
        name: name.map(|name| name.as_str().to_owned()),
        group: (group.is_some() || fields.no_group).then_some(group),
        ip: (ip.is_some() || fields.no_ip).then(|| ip.map(AddressNote::into_string)),
        disabled_at_ms: fields.state.map(|state| (state == State::Disabled).then(now_ms)),
    };
    let store = context.store().await?;
    let user = find_user(&store, &args.user).await?;
    let changed = update_user(&store, &Actor::command(), &user.id, &change).await?;
    let changed = changed.with_context(|| format!("the user {} has been removed meanwhile", user.id))?;
    Ok(Report {
        out: table(["ID", "CREATED", "STATE", "GROUP", "NAME"], &[row(changed)]),
        note: String::new(),
    })
}

async fn remove(user: &str, context: &Context<'_>) -> anyhow::Result<Report> {
    let store = context.store().await?;
    let user = find_user(&store, user).await?;
    let done = remove_user(&store, &Actor::command(), &user.id).await?;
    ensure!(done, "the user {} has been removed meanwhile", user.id);
    let note = format!("removed user `{}` ({}) with all tokens and credentials\n", user.name, user.id);
    Ok(Report::note(note))
}

#[cfg(test)]
mod tests;
