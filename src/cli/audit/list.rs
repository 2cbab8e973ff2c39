//! `tollgate audit list`: entries of the audit log, through the API of the running server; without one, from the store.

use anyhow::Context as _;
use http::Method;

use super::super::{
    api::{self, CallRefused},
    context::{Context, Report},
};
use crate::{
    admin::{AuditEntry, ById},
    escape,
    output::{self, Document},
};

/// Entries that are listed by default.
const LIMIT: u64 = 100;
/// Lines of CSV that are read at once.
const LINES: u64 = 10_000;

/// The arguments of `tollgate audit list`.
#[derive(clap::Args)]
pub(super) struct ListArgs {
    /// Only this actor: the id or name of a user, the id of a token or an admin token, `uid 1000`, or tollgate
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Only this action, such as user.create
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only this target: the id or name of a user, the id of an admin token, everybody, or group:NAME
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Only this address; local for the machine itself
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// Only entries since then: an age (7d, 24h, 4w), a day (2026-11-01, UTC), or RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only entries before then, in the same forms; a day is included
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show so many entries, at most 1000 [default: 100]
    #[arg(long, value_name = "N", conflicts_with = "csv")]
    limit: Option<u64>,
    /// Print a JSON document, as `GET /admin/audit` does
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print all entries as CSV, the oldest first
    #[arg(long)]
    csv: bool,
}

pub(super) async fn run(args: &ListArgs, context: &Context<'_>) -> anyhow::Result<()> {
    if args.csv {
        return export(args, context).await;
    }
    let limit = args.limit.unwrap_or(LIMIT).to_string();
    let text = call(args, &[("order", "newest"), ("limit", &limit)], context).await?;
    if args.json {
        let value: serde_json::Value = serde_json::from_str(&text).context("the response is not JSON")?;
        return output::print_document(&Document::json(&value)?).context("failed to print");
    }
    let ById(entries): ById<AuditEntry> =
        serde_json::from_str(&text).context("the response is not a list of entries")?;
    if entries.is_empty() {
        return Report::note("no entry matches\n".to_owned()).print();
    }
    let out = entries.iter().map(|(number, entry)| line(number, entry)).collect();
    Report { out, note: String::new() }.print()
}

/// Prints all entries, page by page.
async fn export(args: &ListArgs, context: &Context<'_>) -> anyhow::Result<()> {
    let (limit, mut after) = (LINES.to_string(), "0".to_owned());
    for page in 0.. {
        let text = call(args, &[("format", "csv"), ("limit", &limit), ("after", &after)], context).await?;
        let (head, lines) = text.split_once('\n').context("the response is not CSV")?;
        let last = lines.lines().next_back().and_then(|line| line.split(',').next());
        let first = if page == 0 { format!("{head}\n") } else { String::new() };
        output::print_document(&Document::file(first + lines)).context("failed to print")?;
        let Some(last) = last else { break };
        last.clone_into(&mut after);
    }
    Ok(())
}

/// Makes the call. A refusal names the flag instead of the query parameter.
async fn call(args: &ListArgs, more: &[(&str, &str)], context: &Context<'_>) -> anyhow::Result<String> {
    let ListArgs { actor, action, target, source, since, until, limit: _, json: _, csv: _ } = args;
    let filters = [
        ("actor", actor),
        ("action", action),
        ("target", target),
        ("source", source),
        ("since", since),
        ("until", until),
    ];
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(filters.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
    query.extend_pairs(more);
    let path = format!("/admin/audit?{}", query.finish());
    api::call_text(context, Method::GET, &path).await.map_err(|error| match error.downcast::<CallRefused>() {
        Ok(refused) => match refused.problem().strip_prefix('?').and_then(|rest| rest.split_once("=: ")) {
            Some((name, problem)) => refused.with_message(&format!("`--{name}`: {problem}")),
            None => refused.into(),
        },
        Err(error) => error,
    })
}

/// An entry in one line: number, time, action, target, actor, address, detail.
fn line(number: &str, entry: &AuditEntry) -> String {
    let AuditEntry { at, actor, source, action, target, detail, actor_name, target_name, .. } = entry;
    let named = |text: &str, name: &Option<String>| match name {
        Some(name) => format!("{} ({})", escape::value(text), escape::value(name)),
        None => escape::value(text).to_string(),
    };
    let (target, actor) = (named(target, target_name), named(actor, actor_name));
    let detail = match detail.to_string() {
        detail if detail == "{}" => String::new(),
        detail => format!(" {}", escape::value(&detail)),
    };
    format!("{number} {at} {action} {target} by {actor} from {}{detail}\n", escape::value(source))
}
