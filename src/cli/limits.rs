//! `tollgate limits`: shows what is used and left of limits, and grants users more for a time. Reads and changes through the
//! API of the running server; without one, through the same API on the store, with the files of the directory.
//!
//! All sums and checks are the API's.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::{
    api::{self, CallRefused},
    context::{Context, Report, find_user, table},
};
use crate::{
    admin::{AllowRule, GrantOfLimit, LimitBalance, LimitCounters, LimitsReport},
    escape,
    money::{Currency, Money, parse_decimal},
    numbers::{counted, grouped},
    output::{self, Document},
};

/// The signs of a bar that is full.
const BAR: usize = 10;

/// Show what is used and left of limits, or grant a user more for a time
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LimitsArgs {
    #[command(subcommand)]
    command: Option<LimitsCommand>,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Only what requests of this user take from, by id or name, and the rules for the user
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
    /// Only this limit
    #[arg(long, value_name = "ID")]
    limit: Option<String>,
    /// Only amounts of which at least this share is used or reserved, such as 0.8
    #[arg(long, value_name = "SHARE")]
    near: Option<String>,
    /// Print a JSON document, as `GET /admin/limits` does
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum LimitsCommand {
    /// Grant a user more than the amount of a limit, for a time; it is in effect at once, and ends by itself
    Grant {
        /// The user's id or name
        user: String,
        /// The limit, which has an amount for each user or token
        limit: String,
        /// What is added to the amount: `+50USD`, or a whole number
        amount: String,
        /// The end: a time from now such as `90m`, `2h` or `3d`, or a time such as `2030-01-01T00:00:00Z`; at most a year
        #[arg(long, value_name = "TIME")]
        until: String,
    },
    /// End all grants of a user for a limit now
    Revoke {
        /// The user's id or name
        user: String,
        /// The limit
        limit: String,
    },
}

/// Runs the command.
pub async fn run(args: &LimitsArgs, context: &Context<'_>) -> anyhow::Result<()> {
    match &args.command {
        None => show(&args.show, context).await,
        Some(LimitsCommand::Grant { user, limit, amount, until }) => {
            let user = find_user(&context.store().await?, user).await?;
            let body = json!({
                "user": user.id.as_str(), "limit": limit, "amount": amount, "until": until
            });
            let made = api::call(context, Method::POST, "/admin/limits/grants", Some(&body)).await;
            let made = made.map_err(refusal)?;
            let text = |key: &str| made[key].as_str().unwrap_or_default().to_owned();
            let amount = shown(&text("amount"), made["currency"].as_str());
            let note = format!(
                "granted `{}` {amount} more of `{}` until {}\n`tollgate limits revoke {} {1}` ends it\n",
                escape::value(&user.name),
                escape::value(limit),
                text("until"),
                user.id,
            );
            Report::note(note).print()
        }
        Some(LimitsCommand::Revoke { user, limit }) => {
            let user = find_user(&context.store().await?, user).await?;
            anyhow::ensure!(
                crate::name::LimitId::new(limit).is_some(),
                "`{limit}` is not the id of a limit: `tollgate limits` shows all"
            );
            let path = format!("/admin/limits/grants/{limit}/{}", user.id);
            let made = api::call(context, Method::DELETE, &path, None).await.map_err(refusal)?;
            let ended = counted(made["ended"].as_u64().unwrap_or_default(), "grant");
            let (name, limit) = (escape::value(&user.name), escape::value(limit));
            Report::note(format!("ended {ended} of `{name}` for `{limit}`\n")).print()
        }
    }
}

async fn show(args: &ShowArgs, context: &Context<'_>) -> anyhow::Result<()> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let given = [("user", &args.user), ("id", &args.limit), ("near", &args.near)];
    for (name, value) in given {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    let path = if query.is_empty() { "/admin/limits".to_owned() } else { format!("/admin/limits?{query}") };
    let report = report(context, path).await.map_err(refusal)?;
    if args.json {
        return output::print_document(&Document::json(&report)?).context("failed to print");
    }
    Report { out: rows(&report), note: notes(&report, args) }.print()
}

/// The report, of all pages.
async fn report(context: &Context<'_>, path: String) -> anyhow::Result<LimitsReport> {
    let (mut whole, mut next): (LimitsReport, _) = api::document_page(context, &path).await?;
    while let Some(path) = next {
        let (more, after): (LimitsReport, _) = api::document_page(context, &path).await?;
        whole.limits.extend(more.limits);
        next = after;
    }
    Ok(whole)
}

/// A refusal that names the flag or the argument instead of the parameter or the key.
fn refusal(error: anyhow::Error) -> anyhow::Error {
    let Some(refused) = error.downcast_ref::<CallRefused>() else { return error };
    if refused.is_unknown_call() {
        return refused.with_message(
            "the server that runs is older than this command, and does not know limits: restart it with this version",
        );
    }
    let argument = match refused.pointer.as_deref() {
        Some("/amount") => Some("AMOUNT"),
        Some("/until") => Some("--until"),
        Some("/limit") => Some("LIMIT"),
        Some("/user") => Some("USER"),
        _ => None,
    };
    if let Some(argument) = argument {
        return refused.with_message(&format!("`{argument}`: {}", refused.problem()));
    }
    match refused.problem().strip_prefix('?').and_then(|rest| rest.split_once("=: ")) {
        Some((name, problem)) => {
            let flag = match name {
                "user" => "--as",
                "id" => "--limit",
                _ => "--near",
            };
            let advice = if name == "user" { ": `tollgate user list` shows all" } else { "" };
            refused.with_message(&format!("`{flag}`: {problem}{advice}"))
        }
        None => error,
    }
}

/// The table.
fn rows(report: &LimitsReport) -> String {
    if report.limits.is_empty() {
        return String::new();
    }
    let row = |one: &LimitBalance| {
        let currency = one.currency.as_deref();
        [
            one.id.clone(),
            whose(one),
            shown(&one.used, currency),
            if one.reserved == "0" { "-".to_owned() } else { shown(&one.reserved, currency) },
            shown(&one.left, currency),
            of(one),
            one.resets_at.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{} {:.0} %", bar(one.share), one.share * 100.0),
        ]
    };
    let rows: Vec<_> = report.limits.iter().map(row).collect();
    table(["LIMIT", "WHO", "USED", "RESERVED", "LEFT", "OF", "RESETS", "SHARE"], &rows)
}

/// Whose amount it is, for people.
fn whose(one: &LimitBalance) -> String {
    let key = &one.key;
    let mut parts = Vec::new();
    if let Some(token) = &key.token {
        parts.push(format!("token {token}"));
    }
    if let Some(user) = &key.user {
        parts.push(key.user_name.as_ref().unwrap_or(user).clone());
    }
    if let Some(group) = &key.group {
        parts.push(if group.is_empty() { "no group".to_owned() } else { format!("group {group}") });
    }
    if let Some(provider) = &key.provider {
        parts.push(format!("provider {provider}"));
    }
    if let Some(model) = &key.model {
        parts.push(if model.is_empty() { "no model".to_owned() } else { format!("model {model}") });
    }
    if parts.is_empty() { "everybody".to_owned() } else { parts.join(", ") }
}

/// The amount with its window, for people.
fn of(one: &LimitBalance) -> String {
    let amount = shown(&one.amount, one.currency.as_deref());
    let amount = if one.currency.is_some() { amount } else { format!("{amount} {}", one.measure) };
    let grants = granted(&one.grants);
    let over = if one.over == "warn" { ", warns" } else { "" };
    match &one.window {
        Some(window) => format!("{amount} {window}{grants}{over}"),
        None => format!("{amount}{grants}{over}"),
    }
}

/// The end of grants, for people: that of the first to end.
fn granted(grants: &[GrantOfLimit]) -> String {
    // Times of this form have the order of their texts.
    let Some(first) = grants.iter().map(|grant| grant.until.as_str()).min() else { return String::new() };
    match grants.len() {
        1 => format!(" (granted until {first})"),
        number => format!(" ({number} grants, the first until {first})"),
    }
}

/// An amount of a document, for people.
fn shown(amount: &str, currency: Option<&str>) -> String {
    let (sign, size) = amount.strip_prefix('-').map_or(("", amount), |size| ("-", size));
    let text = match currency.and_then(Currency::new) {
        Some(currency) => parse_decimal(size).map(|pico| Money { pico, currency }.to_string()),
        None => size.parse().ok().map(grouped),
    };
    format!("{sign}{}", text.unwrap_or_else(|| size.to_owned()))
}

/// A bar for a share.
fn bar(share: f64) -> String {
    let tenths = (0..BAR).filter(|tenth| share * 10.0 >= f64::from(u32::try_from(*tenth).unwrap_or(0)) + 0.5);
    let full = tenths.count();
    format!("{}{}", "#".repeat(full), ".".repeat(BAR - full))
}

/// Notes below the table.
fn notes(report: &LimitsReport, args: &ShowArgs) -> String {
    let mut lines = Vec::new();
    if report.limits.is_empty() {
        let what = if args.near.is_some() {
            "no amount of a limit is that near"
        } else {
            "no amount of a limit is used"
        };
        lines.push(what.to_owned());
    }
    let rules = report.rules.iter().flatten();
    lines.extend(rules.map(rule));
    if report.counters == LimitCounters::Stored {
        lines.push(
            "no tollgate serves from this data directory: these are the counters that the last one wrote, with the files of the \
             directory; a limit of requests may show some more than were sent"
                .to_owned(),
        );
    }
    lines.join("\n")
}

fn rule(rule: &AllowRule) -> String {
    let AllowRule { providers, endpoints, models, tokens, file } = rule;
    let tokens = tokens.as_ref().map_or_else(String::new, |kinds| format!(", with tokens of kind {kinds}"));
    let text =
        format!("may call models {models} of providers {providers}, endpoints {endpoints}{tokens} ({file})");
    escape::value(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_say_when_they_end() {
        let check = |ends: &[&str], expected: &str| {
            let grant = |until: &&str| GrantOfLimit { amount: "5".to_owned(), until: (*until).to_owned() };
            assert_eq!(granted(&ends.iter().map(grant).collect::<Vec<_>>()), expected);
        };
        let (first, second) = ("2030-01-01T00:00:00Z", "2030-02-01T00:00:00Z");
        check(&[], "");
        check(&[first], " (granted until 2030-01-01T00:00:00Z)");
        check(&[second, first], " (2 grants, the first until 2030-01-01T00:00:00Z)");
    }

    #[test]
    fn amounts_and_bars_are_for_people() {
        let check = |amount: &str, currency: Option<&str>, expected: &str| {
            assert_eq!(shown(amount, currency), expected);
        };
        check("1234567", None, "1,234,567");
        check("-5", None, "-5");
        check("12.5", Some("USD"), "12.50 USD");
        check("-0.0004", Some("USD"), "-0.0004 USD");
        check("99999999999999999999999", None, "99999999999999999999999");
        for (share, expected) in [
            (0.0, ".........."),
            (0.04, ".........."),
            (0.05, "#........."),
            (0.5, "#####....."),
            (7.0, "##########"),
        ] {
            assert_eq!(bar(share), expected, "{share}");
        }
    }
}
