//! `tollgate token`: makes, lists and revokes gateway tokens.

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::context::{Context, Report, find_user, read_secret, table};
use crate::{
    accounts::{Actor, DisplayName, issue_admin_token, issue_token, shown, utc},
    secret::Secret,
    store::{Token, TokenHash},
};

/// The arguments of `tollgate token`.
#[derive(Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a further token for a user or the admin, and print it
    Add {
        /// The user's id or name
        #[arg(required_unless_present = "admin")]
        user: Option<String>,
        /// A token for the admin, such as when the one that the first start showed is lost
        #[arg(long, conflicts_with = "user")]
        admin: bool,
        /// What the token is for
        #[arg(long)]
        label: Option<String>,
    },
    /// List tokens by their first characters
    List {
        /// The user's id or name; all users if left out
        user: Option<String>,
    },
    /// Revoke tokens
    Revoke {
        /// Tokens as `token list` shows them, or `-` for a whole one on stdin
        #[arg(required = true, value_name = "TOKEN_OR_PREFIX")]
        tokens: Vec<String>,
    },
}

/// Runs the command.
pub async fn run(args: TokenArgs, context: &Context<'_>) -> anyhow::Result<()> {
    let report = match args.command {
        TokenCommand::Add { user: Some(user), label, .. } => add(&user, label.as_deref(), context).await?,
        TokenCommand::Add { user: None, label, .. } => add_admin(label.as_deref(), context).await?,
        TokenCommand::List { user } => list(user.as_deref(), context).await?,
        TokenCommand::Revoke { tokens } => revoke(tokens, read_secret, context).await?,
    };
    report.print()
}

async fn add(user: &str, label: Option<&str>, context: &Context<'_>) -> anyhow::Result<Report> {
    let label = take_label(label)?;
    let store = context.store().await?;
    let user = find_user(&store, user).await?;
    let token = issue_token(&store, &Actor::command(), &user.id, label).await?;
    let token = token.with_context(|| format!("the user {} has been removed meanwhile", user.id))?;
    let prefix = shown(token.expose());
    let note = format!(
        "made a token for `{}` ({}); it is shown this once\n\
         `tollgate token revoke {prefix}` takes it back\n",
        user.name, user.id
    );
    Ok(Report { out: format!("{}\n", token.expose()), note })
}

/// It takes nothing away: other admin tokens go on working.
async fn add_admin(label: Option<&str>, context: &Context<'_>) -> anyhow::Result<Report> {
    let label = take_label(label)?;
    let (token, _) = issue_admin_token(&context.store().await?, &Actor::command(), label).await?;
    let note = "made a token for the admin; it is shown this once\n".to_owned();
    Ok(Report { out: format!("{}\n", token.expose()), note })
}

fn take_label(label: Option<&str>) -> anyhow::Result<Option<DisplayName>> {
    label.map(DisplayName::new).transpose().context("failed to take the label as a name")
}

async fn list(user: Option<&str>, context: &Context<'_>) -> anyhow::Result<Report> {
    let store = context.store().await?;
    let mut tokens = store.tokens().await?;
    if let Some(user) = user {
        let user = find_user(&store, user).await?;
        tokens.retain(|token| token.user == user.id);
    }
    if tokens.is_empty() {
        return Ok(Report::note("there are no tokens: `tollgate token add USER` makes one\n"));
    }
    let rows: Vec<_> = tokens.into_iter().map(row).collect();
    let head = ["TOKEN", "USER", "CREATED", "EXPIRES", "NAME", "LABEL"];
    Ok(Report { out: table(head, &rows), note: String::new() })
}

fn row(token: Token) -> [String; 6] {
    let expires = token.expires_at_ms.map_or_else(|| "never".to_owned(), utc);
    let created = utc(token.created_at_ms);
    [token.prefix, token.user.to_string(), created, expires, token.user_name, token.label.unwrap_or_default()]
}

/// Finds all before it revokes any.
async fn revoke(
    tokens: Vec<String>,
    read: impl Fn(&str) -> anyhow::Result<Secret>,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    let store = context.store().await?;
    let stored = store.tokens().await?;
    let mut found = BTreeMap::new();
    for text in tokens {
        let text = if text == "-" { read("token")? } else { Secret::new(text) };
        let token = find(&stored, text.expose().trim())?;
        found.insert(token.id.clone(), token.user.clone());
    }
    let mut revoked = 0;
    for (id, user) in found {
        let act = Actor::command().act("token.revoke", &user, serde_json::json!({ "token": id.as_str() }));
        revoked += usize::from(store.revoke_token(&user, &id, &act).await?);
    }
    let tokens = if revoked == 1 { "token" } else { "tokens" };
    Ok(Report::note(format!("revoked {revoked} {tokens}\n")))
}

/// The one token that is this, or is shown as this.
fn find<'t>(stored: &'t [Token], text: &str) -> anyhow::Result<&'t Token> {
    let hash = TokenHash::of(text);
    let matches: Vec<_> = stored.iter().filter(|token| token.hash == hash || token.prefix == text).collect();
    match matches.as_slice() {
        [token] => Ok(token),
        [] => {
            // Whatever it is, it may be a whole token: only its beginning is repeated.
            let beginning = shown(text);
            anyhow::bail!(
                "no token is shown as `{beginning}`: give one exactly as `tollgate token list` shows it, or a whole one"
            )
        }
        several => {
            let rows: Vec<_> = several.iter().map(|token| row((*token).clone())).collect();
            let head = ["TOKEN", "USER", "CREATED", "EXPIRES", "NAME", "LABEL"];
            anyhow::bail!(
                "several tokens are shown as `{text}`; pipe the whole token into `tollgate token revoke -`\n{}",
                table(head, &rows)
            )
        }
    }
}

#[cfg(test)]
mod tests;
