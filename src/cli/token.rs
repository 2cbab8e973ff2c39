//! `tollgate token`: creates, lists and revokes user tokens and admin tokens.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::json;

use super::{
    api::{self, CallRefused},
    context::{Context, Report, find_user, read_secret, table},
    issued::Issued,
};
use crate::{
    accounts::{
        Actor, DisplayName, IssuedToken, REPLACED_TOKEN_MS, RotateError, issue_admin_token,
        revoke_admin_token, revoke_token, rotate_stored_token, shown_prefix,
    },
    clock::{from_utc, now_ms, utc},
    control::CallError,
    escape::Lines,
    name::{AdminTokenId, Scope, TokenId, UserId},
    numbers::counted,
    secret::Secret,
    store::{AdminTokenRevocation, RevokeExtent, Revoked, Store, StoredToken, TokenHash, TokenKind, User},
    written::without_mark,
};

/// The arguments of `tollgate token`.
#[derive(Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Create a further token for a user or the admin, and print it
    Add(AddArgs),
    /// List tokens, with their ids and first characters
    List {
        /// The user's id or name [default: all users]
        user: Option<String>,
        /// List admin tokens
        #[arg(long, conflicts_with = "user")]
        admin: bool,
    },
    /// Replace a user's token by a new one with the same kind, scopes and expiry, and print it
    ///
    /// The old token stays valid for an hour, or until it expires. With a token that may be known to others, use `token revoke`.
    Rotate {
        /// Its id or first characters as `token list` shows them, or `-` to read a whole token from standard input
        token: String,
    },
    /// Revoke tokens
    Revoke {
        /// Ids or first characters as `token list` shows them, or `-` to read a whole token from standard input
        #[arg(required = true, value_name = "TOKEN")]
        tokens: Vec<String>,
        /// Revoke admin tokens, by their ids as `token list --admin` shows them
        #[arg(long)]
        admin: bool,
        /// Also revoke the tokens that they created, recursively, and those that they replaced or that replaced them;
        /// takes the id of a token that was revoked before, too
        #[arg(long)]
        with_made: bool,
    },
}

#[derive(Args)]
struct AddArgs {
    /// The user's id or name
    #[arg(required_unless_present = "admin")]
    user: Option<String>,
    /// Create an admin token, for example when the first one is lost
    #[arg(long, conflicts_with_all = ["user", "kind", "scope", "expires"])]
    admin: bool,
    /// A label: the purpose of the token
    #[arg(long)]
    label: Option<String>,
    /// The kind of token
    #[arg(long, default_value = "proxy")]
    kind: Kind,
    /// A scope: `provider` or `provider/endpoint` (repeatable) [default: all providers]
    #[arg(long)]
    scope: Vec<String>,
    /// Its expiry: a time such as `2030-01-01T00:00:00Z`, or a lifetime such as `12h` or `30d` [default: never]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Kind {
    /// For calls to providers
    Proxy,
    /// For self-service below `/auth`: the user's own tokens and credentials
    Manage,
    /// For both
    Both,
}

/// Runs the command.
pub async fn run(args: TokenArgs, context: &Context<'_>) -> anyhow::Result<()> {
    let report = match args.command {
        TokenCommand::Add(args) => {
            let (report, issued) = add(&args, context).await?;
            return issued.print(report, context).await;
        }
        TokenCommand::Rotate { token } => {
            let (report, issued) = rotate(token, read_secret, context).await?;
            return issued.print(report, context).await;
        }
        TokenCommand::List { admin: true, .. } => list_admin(context).await?,
        TokenCommand::List { user, .. } => list(user.as_deref(), context).await?,
        TokenCommand::Revoke { tokens, admin, with_made } => {
            let extent = if with_made { RevokeExtent::WithMade } else { RevokeExtent::Alone };
            if admin {
                revoke_admin(&tokens, extent, context).await?
            } else {
                revoke(tokens, extent, read_secret, context).await?
            }
        }
    };
    report.print()
}

async fn add(args: &AddArgs, context: &Context<'_>) -> anyhow::Result<(Report, Issued)> {
    let Some(user) = args.user.as_deref() else { return add_admin(args.label.as_deref(), context).await };
    let mut wanted = json!({ "kind": args.kind.kind().as_str() });
    if let Some(label) = &args.label {
        wanted["label"] = label.as_str().into();
    }
    if !args.scope.is_empty() {
        wanted["scopes"] = args.scope.as_slice().into();
    }
    if let Some(expires) = &args.expires {
        wanted["expiresAt"] = utc(expiry(expires)?).into();
    }
    let user = find_user(&context.store().await?, user).await?;
    let path = format!("/admin/users/{}/tokens", user.id);
    let made = api::call(context, Method::POST, &path, Some(&wanted))
        .await
        .map_err(|error| refusal(error, &user))?;
    let (token, id) = made["token"].as_str().zip(made["id"].as_str()).context("the response has no token")?;
    let issued = TokenId::new(id).context("the response has no id of a token")?;
    let note = format!(
        "created a token for `{}` ({}); it is shown this once\n`tollgate token revoke {id}` revokes it\n",
        user.name, user.id
    );
    Ok((Report { out: format!("{token}\n"), note }, Issued::Token(user.id, issued)))
}

/// Names the argument of a rejected value, or the token that a lost response may leave.
fn refusal(error: anyhow::Error, user: &User) -> anyhow::Error {
    if let Some(CallError::TimedOut { .. } | CallError::Broken { .. }) = error.downcast_ref() {
        let id = &user.id;
        return error.context(format!(
            "a token may have been created, and is lost: `tollgate token list {id}` shows it, `tollgate token revoke ID` revokes it"
        ));
    }
    let Some(refused) = error.downcast_ref::<CallRefused>() else { return error };
    let argument = match refused.pointer.as_deref().and_then(|pointer| pointer.split('/').nth(1)) {
        Some("label") => "--label",
        Some("scopes") => "--scope",
        Some("expiresAt") => "--expires",
        _ => return error,
    };
    refused.with_message(&format!("`{argument}`: {}", refused.problem()))
}

/// Creates an admin token. The others stay valid.
async fn add_admin(label: Option<&str>, context: &Context<'_>) -> anyhow::Result<(Report, Issued)> {
    let label = label.map(DisplayName::new).transpose().context("failed to take the label as a name")?;
    let (token, id) = issue_admin_token(&context.store_or_new().await?, &Actor::command(), label).await?;
    let note = format!(
        "created an admin token; it is shown this once\n`tollgate token revoke --admin {id}` revokes it\n"
    );
    Ok((Report { out: format!("{}\n", token.expose()), note }, Issued::AdminToken(id)))
}

fn expiry(text: &str) -> anyhow::Result<u64> {
    let now = now_ms();
    if let Some(at) = from_utc(text) {
        ensure!(at > now, "`--expires` cannot be `{text}`: it lies in the past");
        return Ok(at);
    }
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)];
    let unit = units.iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, ms)));
    match unit {
        Some((count @ 1.., ms)) => Ok(now.saturating_add(count.saturating_mul(*ms))),
        _ => bail!(
            "`--expires` cannot be `{text}`: it is not a time such as `2030-01-01T00:00:00Z`, or `30d`, `12h`, `90m`"
        ),
    }
}

impl Kind {
    pub(super) fn kind(self) -> TokenKind {
        match self {
            Self::Proxy => TokenKind::Proxy,
            Self::Manage => TokenKind::Manage,
            Self::Both => TokenKind::Both,
        }
    }
}

const COLUMNS: [&str; 11] =
    ["ID", "TOKEN", "USER", "KIND", "SCOPES", "MADE BY", "CREATED", "EXPIRES", "LAST USED", "NAME", "LABEL"];

async fn list(user: Option<&str>, context: &Context<'_>) -> anyhow::Result<Report> {
    let store = context.store().await?;
    let tokens = match user {
        Some(user) => store.tokens_page(&find_user(&store, user).await?.id, None, None).await?,
        None => store.tokens().await?,
    };
    if tokens.is_empty() {
        return Ok(Report::note("there are no tokens: `tollgate token add USER` creates one\n"));
    }
    let rows: Vec<_> = tokens.into_iter().map(row).collect();
    Ok(Report { out: table(COLUMNS, &rows), note: String::new() })
}

fn row(token: StoredToken) -> [String; 11] {
    let scopes = token.scopes.map_or_else(
        || "all".to_owned(),
        |scopes| scopes.iter().map(Scope::to_string).collect::<Vec<_>>().join(","),
    );
    [
        token.id.to_string(),
        if token.prefix.is_empty() { "-".to_owned() } else { token.prefix },
        token.user.to_string(),
        if token.paste.is_some() { "paste" } else { token.kind.as_str() }.to_owned(),
        scopes,
        token.maker.map_or_else(|| "-".to_owned(), |maker| maker.to_string()),
        utc(token.created_at_ms),
        time(token.expires_at_ms),
        time(token.last_used_at_ms),
        token.user_name,
        token.label.unwrap_or_default(),
    ]
}

fn time(ms: Option<u64>) -> String {
    ms.map_or_else(|| "never".to_owned(), utc)
}

async fn list_admin(context: &Context<'_>) -> anyhow::Result<Report> {
    let tokens = context.store().await?.admin_tokens().await?;
    if tokens.is_empty() {
        return Ok(Report::note("there are no admin tokens: `tollgate token add --admin` creates one\n"));
    }
    let row = |token: &crate::store::StoredAdminToken| {
        let times = [Some(token.created_at_ms), token.expires_at_ms, token.last_used_at_ms].map(time);
        let [created, expires, used] = times;
        let maker = token.maker.as_ref().map_or_else(|| "-".to_owned(), AdminTokenId::to_string);
        let kind = if token.is_session { "session" } else { "admin" }.to_owned();
        let (id, prefix, label) = (token.id.to_string(), token.prefix.clone(), token.label.clone());
        [id, prefix, kind, maker, created, expires, used, label]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    let head = ["ID", "TOKEN", "KIND", "MADE BY", "CREATED", "EXPIRES", "LAST USED", "LABEL"];
    Ok(Report { out: table(head, &rows), note: String::new() })
}

/// Revokes admin tokens, but none if one of them is not found.
async fn revoke_admin(
    texts: &[String],
    extent: RevokeExtent,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    let store = context.store().await?;
    let ids = known_admin_tokens(&store, texts, extent).await?;
    let mut total = Revoked::default();
    for id in &ids {
        let revoked = revoke_admin_token(&store, &Actor::command(), id, extent).await;
        match revoked.with_context(|| so_far(&total))? {
            AdminTokenRevocation::Done(revoked) => add_counts(&mut total, revoked),
            // One of those before created it, or another process has revoked it meanwhile.
            AdminTokenRevocation::Unknown => {}
            AdminTokenRevocation::Last => {
                let last = anyhow!(
                    "{id} is the last valid admin token: create another one first, with `tollgate token add --admin`"
                );
                return Err(if total == Revoked::default() { last } else { last.context(so_far(&total)) });
            }
        }
    }
    Ok(Report::note(revocation_note(&total, ids.len() > 1)))
}

/// The ids of admin tokens, each once. An error names all that are not found.
async fn known_admin_tokens(
    store: &Store,
    texts: &[String],
    extent: RevokeExtent,
) -> anyhow::Result<BTreeSet<AdminTokenId>> {
    let stored = store.admin_tokens().await?;
    let (mut ids, mut unknown) = (BTreeSet::new(), Vec::new());
    for text in texts {
        let Some(id) = AdminTokenId::new(text) else {
            unknown.push(shown_prefix(text));
            continue;
        };
        let is_known = stored.iter().any(|one| one.id == id)
            || (extent == RevokeExtent::WithMade && store.has_made(&id).await?);
        if is_known {
            ids.insert(id);
        } else {
            unknown.push(text);
        }
    }
    ensure!(
        unknown.is_empty(),
        "no admin token has the id {}: `tollgate token list --admin` shows them; {NOTHING_REVOKED}",
        unknown.join(", ")
    );
    Ok(ids)
}

/// Replaces a token. The old one stays valid for a while.
async fn rotate(
    text: String,
    read: impl Fn(&str) -> anyhow::Result<Secret>,
    context: &Context<'_>,
) -> anyhow::Result<(Report, Issued)> {
    let text = if text == "-" { read("token")? } else { Secret::new(text) };
    let text = without_mark(text.expose()).trim();
    ensure!(
        AdminTokenId::new(text).is_none(),
        "`{text}` is an admin token's id, and those are not rotated: create another with `tollgate token add --admin`, then revoke this one"
    );
    let store = context.store().await?;
    let stored = store.tokens().await?;
    let Some(old) = find(&stored, text, NOTHING_ROTATED)? else {
        // The argument may be a whole token.
        let shown = TokenId::new(text).map_or(shown_prefix(text), |_| text);
        bail!(
            "no token is shown as `{shown}`: give its id or its beginning exactly as `tollgate token list` shows them, or all of it; {NOTHING_ROTATED}"
        );
    };
    ensure!(
        old.paste.is_none(),
        "`{}` is a paste token, which belongs to a stored login: store the login again for a new one; {NOTHING_ROTATED}",
        old.id
    );
    let until = now_ms() + REPLACED_TOKEN_MS;
    let (rotated, IssuedToken { token, record }) =
        match rotate_stored_token(&store, &Actor::command(), &old.user, &old.hash, until).await? {
            Ok(done) => done,
            Err(RotateError::Replaced) => {
                bail!(
                    "`{}` was replaced before: rotate the token that replaced it; {NOTHING_ROTATED}",
                    old.id
                )
            }
            Err(RotateError::Gone) => bail!("`{}` has expired or was revoked; {NOTHING_ROTATED}", old.id),
        };
    let until = utc(rotated.old_expires_at_ms);
    let note = format!(
        "replaced {} of `{}` ({}) by {}, which is shown this once; the old one stays valid until {until}\n",
        old.id, old.user_name, old.user, record.id
    );
    let issued = Issued::Rotated { user: old.user.clone(), token: record.id, until };
    Ok((Report { out: format!("{}\n", token.expose()), note }, issued))
}

/// Revokes tokens, but none if one of them is not found.
async fn revoke(
    tokens: Vec<String>,
    extent: RevokeExtent,
    read: impl Fn(&str) -> anyhow::Result<Secret>,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    let store = context.store().await?;
    let stored = store.tokens().await?;
    let (mut found, mut unknown) = (BTreeMap::new(), Vec::new());
    for text in tokens {
        let text = if text == "-" { read("token")? } else { Secret::new(text) };
        let text = without_mark(text.expose()).trim();
        let left = match TokenId::new(text) {
            Some(id) if extent == RevokeExtent::WithMade => left_by(&store, &stored, &id).await?,
            Some(_) | None => None,
        };
        let token = find(&stored, text, NOTHING_REVOKED)?.map(|token| (token.id.clone(), token.user.clone()));
        match left.or(token) {
            Some((id, user)) => _ = found.insert(id, user),
            // The argument may be a whole token, so the message quotes only its prefix.
            None => unknown.push(format!("`{}`", TokenId::new(text).map_or(shown_prefix(text), |_| text))),
        }
    }
    ensure!(
        unknown.is_empty(),
        "no token is shown as {}: give its id or its beginning exactly as `tollgate token list` shows them, or all of it; {NOTHING_REVOKED}",
        unknown.join(", ")
    );
    let (several, mut total) = (found.len() > 1, Revoked::default());
    for (id, user) in found {
        let revoked = revoke_token(&store, &Actor::command(), &user, &id, extent).await;
        let revoked = revoked.with_context(|| so_far(&total))?;
        // One of those before created it, or another process has revoked it meanwhile.
        add_counts(&mut total, revoked.unwrap_or_default());
    }
    Ok(Report::note(revocation_note(&total, several)))
}

/// For a token that was revoked before: its id, and the user of the tokens that are left of those that it created.
async fn left_by(
    store: &Store,
    stored: &[StoredToken],
    id: &TokenId,
) -> anyhow::Result<Option<(TokenId, UserId)>> {
    if stored.iter().any(|one| one.id == *id) {
        return Ok(None);
    }
    let family = store.family(id).await?;
    let left = stored.iter().find(|one| family.contains(&one.id));
    Ok(left.map(|one| (id.clone(), one.user.clone())))
}

fn add_counts(total: &mut Revoked, more: Revoked) {
    let Revoked { tokens, paste_tokens, admin_tokens, sessions, remaining } = more;
    total.tokens += tokens;
    total.paste_tokens += paste_tokens;
    total.admin_tokens += admin_tokens;
    total.sessions += sessions;
    total.remaining += remaining;
}

const NOTHING_REVOKED: &str = "nothing was revoked";
const NOTHING_ROTATED: &str = "nothing was changed";

/// The revocations before one that failed.
fn so_far(total: &Revoked) -> String {
    format!("failed to revoke all; before that: {}", revocation_note(total, true).trim_end())
}

fn revocation_note(total: &Revoked, several: bool) -> String {
    let Revoked { tokens, paste_tokens, admin_tokens, sessions, remaining } = *total;
    let mut ended = Vec::new();
    if admin_tokens > 0 {
        ended.push(counted(admin_tokens, "admin token"));
    }
    if tokens > 0 {
        ended.push(counted(tokens, "token"));
    }
    if paste_tokens > 0 {
        ended.push(counted(paste_tokens, "paste token"));
    }
    if sessions > 0 {
        ended.push(counted(sessions, "session"));
    }
    let ended = if ended.is_empty() { "nothing".to_owned() } else { ended.join(", ") };
    let advice = "`--with-made` revokes these too; `tollgate token list` shows each token's maker\n";
    let left = match (remaining, several) {
        (0, _) => String::new(),
        (_, false) => format!("still valid: {} that came from it: {advice}", counted(remaining, "token")),
        // Some may have been named, too.
        (_, true) => format!("tokens that came from these may still be valid: {advice}"),
    };
    format!("revoked {ended}\n{left}")
}

/// The token with this value, id or shown prefix. Errors if there are several; `nothing` says what was not done then.
fn find<'t>(stored: &'t [StoredToken], text: &str, nothing: &str) -> anyhow::Result<Option<&'t StoredToken>> {
    ensure!(AdminTokenId::new(text).is_none(), "`{text}` is an admin token's id: add `--admin`; {nothing}");
    let hash = TokenHash::of(text);
    // A token in a provider's format has no prefix of its own.
    let begins = |token: &StoredToken| !token.prefix.is_empty() && token.prefix == text;
    let is_it = |token: &&StoredToken| token.hash == hash || token.id.as_str() == text || begins(token);
    let matches: Vec<_> = stored.iter().filter(is_it).collect();
    match matches.as_slice() {
        [] => Ok(None),
        [token] => Ok(Some(token)),
        several => {
            let rows: Vec<_> = several.iter().map(|token| row((*token).clone())).collect();
            let advice = format_args!("several tokens are shown as `{text}`: give an id; {nothing}");
            let mut lines = Lines::one(advice);
            lines.extend(&table(COLUMNS, &rows));
            Err(lines.into())
        }
    }
}

#[cfg(test)]
mod tests;
