//! `tollgate user access`: the providers and endpoints that a user may call, with whose key, and at which base URL.

use clap::Args;
use serde_json::{Map, Value};

use super::super::{
    api,
    context::{Context, Report, find_user, table},
    own_url::own_url,
};
use crate::{
    admin::{AccessibleProvider, UsedKey, UsedKeyFrom},
    escape,
};

/// The arguments of `tollgate user access`.
#[derive(Args)]
pub(super) struct AccessArgs {
    /// The user's id or name
    user: String,
    /// The id of one of the user's tokens: show only what its scopes reach
    #[arg(long, value_name = "ID")]
    token: Option<String>,
    /// Show only what can be called now: with a key, or where none is needed
    #[arg(long, conflicts_with = "json")]
    callable: bool,
    /// Print the JSON documents of `GET /admin/users/{id}/access` as one
    #[arg(long)]
    json: bool,
}

/// The base URLs, and the names of endpoints, that a row has at most. The others are counted.
const SHOWN: [usize; 2] = [1, 3];

/// Shows what a user may call.
pub(super) async fn run(args: &AccessArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let user = find_user(&context.store().await?, &args.user).await?;
    let token = args.token.as_deref().map(|id| {
        let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
        format!("?token={id}")
    });
    let path = format!("/admin/users/{}/access{}", user.id, token.unwrap_or_default());
    if args.json {
        let all: Map<String, Value> = api::pages(context, &path).await?.into_iter().collect();
        let out = escape::json(&format!("{:#}\n", Value::from(all))).into_owned();
        return Ok(Report { out, note: String::new() });
    }
    let all: Vec<(String, AccessibleProvider)> = api::pages(context, &path).await?;
    let url = own_url(context.places).await?;
    let rows: Vec<_> = all.iter().flat_map(|(name, one)| rows(name, one, &url, args.callable)).collect();
    let mut note = String::new();
    if user.disabled_at_ms.is_some() {
        note.extend([format!(
            "`{}` is disabled, so that every call is refused: `tollgate user change {} --state active` ends that\n",
            user.name, user.id
        )]);
    }
    if all.is_empty() {
        note.push_str("no provider is in reach\n");
        return Ok(Report::note(note));
    }
    let is_refused = |key: &UsedKey| matches!(key.from, UsedKeyFrom::Missing | UsedKeyFrom::Incomplete);
    if rows.is_empty() {
        note.push_str("no provider can be called: each needs a key\n");
    } else if all.iter().any(|(_, one)| is_cut(one)) {
        note.push_str("`--json` shows all base URLs and endpoints\n");
    }
    if (rows.is_empty() || !args.callable) && all.iter().any(|(_, one)| is_refused(&one.key)) {
        note.extend([format!(
            "calls without a whole key are refused: `tollgate credential fields {}` shows what can be stored\n",
            user.id
        )]);
    }
    let head = ["PROVIDER", "KEY", "BASE URL", "ENDPOINTS"];
    let out = if rows.is_empty() { String::new() } else { table(head, &rows) };
    Ok(Report { out, note })
}

/// True if the rows of a provider do not name all of its base URLs and endpoints.
fn is_cut(one: &AccessibleProvider) -> bool {
    one.base_paths.len() > SHOWN[0] || one.provider.endpoints.len() > SHOWN[1]
}

/// The first ones of a list, and the number of the others.
fn first_of(all: &[impl AsRef<str>], number: usize, between: &str) -> String {
    let first: Vec<&str> = all.iter().take(number).map(AsRef::as_ref).collect();
    let more = all.len().saturating_sub(number);
    let more = if more > 0 { format!(" (+{more})") } else { String::new() };
    format!("{}{more}", first.join(between))
}

/// The rows of a provider: one for each key that its endpoints use, or for each that requests are sent with.
fn rows(name: &str, one: &AccessibleProvider, url: &str, callable: bool) -> Vec<[String; 4]> {
    let mut keys: Vec<(&UsedKey, Vec<&str>)> = vec![(&one.key, Vec::new())];
    for endpoint in &one.provider.endpoints {
        let key = one.other_keys.get(&endpoint.name).unwrap_or(&one.key);
        match keys.iter_mut().find(|(known, _)| *known == key) {
            Some((_, endpoints)) => endpoints.push(&endpoint.name),
            None => keys.push((key, vec![&endpoint.name])),
        }
    }
    let bases: Vec<String> = one.base_paths.iter().map(|path| format!("{url}{path}")).collect();
    let row = |(key, endpoints): (&UsedKey, Vec<&str>)| {
        let [bases, endpoints] = [first_of(&bases, SHOWN[0], " "), first_of(&endpoints, SHOWN[1], ",")];
        [name.to_owned(), shown(key), bases, endpoints]
    };
    keys.into_iter().filter(|(key, _)| !callable || key.is_sent()).map(row).collect()
}

fn shown(key: &UsedKey) -> String {
    let UsedKey { from, owner, fields: _, missing, unconfirmed } = key;
    let owner = owner.as_deref().unwrap_or_default();
    let from = match from {
        UsedKeyFrom::Own => "own".to_owned(),
        UsedKeyFrom::Group | UsedKeyFrom::Everybody => owner.to_owned(),
        UsedKeyFrom::NotNeeded => "not needed".to_owned(),
        UsedKeyFrom::Missing => "missing".to_owned(),
        UsedKeyFrom::Incomplete => format!("incomplete, without {} ({owner})", missing.join(", ")),
    };
    if *unconfirmed { format!("{from}, blocked") } else { from }
}
