//! `tollgate usage`: shows who used how much, and what it cost. Reads through the API of the running server; without one,
//! from the store.
//!
//! `table` lays out numbers. All sums and checks are the API's.

mod filter;
mod recent;
mod table;

use anyhow::Context as _;
use http::Method;

use super::{
    api::{self, CallRefused},
    context::{Context, Report},
};
use crate::{
    admin::{DEFAULT_BY, RecentExchanges, UsageFigures, UsageReport, UsageRow, user_shown},
    escape::{self, Lines},
    ledger::{
        UsageBacklog,
        report::{NONE, REST},
    },
    numbers::{counted, grouped},
    output::{self, Document},
    usage::Counter,
};
use filter::Filter;
use table::{Align, Table, cost};

/// Models without a price that are named.
const NAMED_MODELS: usize = 5;

/// Show usage and its cost by user, model, provider and time
///
/// Sums of tokens come from the usage ledger; costs from the price files of this moment. `~` marks numbers that
/// contain estimates.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Dimensions of a row, with commas: user, token, group, provider, endpoint, model, `key_owner`; none for one row
    #[arg(long, value_name = "DIMENSIONS", default_value = DEFAULT_BY)]
    by: String,
    /// Begin of the range: an age (7d, 24h, 4w), a day (2026-11-01), or RFC 3339 [default: 7d]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End of the range, in the same forms; a day is included [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Split the range: hour, day or month
    #[arg(long, value_name = "PART")]
    every: Option<String>,
    /// Time zone of days and months, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Show so many rows, those with the most tokens, and the sum of the others
    #[arg(long, value_name = "N")]
    top: Option<u64>,
    #[command(flatten)]
    filter: Filter,
    /// Print a JSON document, as `GET /admin/usage` does
    #[arg(long)]
    json: bool,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Show the last exchanges, N of them [default: 20]
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        default_missing_value = "20",
        conflicts_with_all = ["by", "since", "until", "every", "tz", "top"]
    )]
    recent: Option<u64>,
    /// Show the exchange with this request id, as the response's `tollgate-request-id` and the access log have it
    #[arg(
        long,
        value_name = "ID",
        conflicts_with_all = ["by", "since", "until", "every", "tz", "top", "follow"]
    )]
    request: Option<String>,
    /// With `--recent`: go on showing exchanges as they end
    #[arg(long, requires = "recent", conflicts_with_all = ["json", "csv"])]
    follow: bool,
}

/// A path with query parameters, those that are given.
struct Query(form_urlencoded::Serializer<'static, String>);

impl Default for Query {
    fn default() -> Self {
        Self(form_urlencoded::Serializer::new(String::new()))
    }
}

impl Query {
    fn new(filter: &Filter) -> Self {
        filter.given().fold(Self::default(), |query, (name, value)| query.with(name, Some(value)))
    }

    fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.append_pair(name, value);
        }
        self
    }

    fn below(mut self, path: &str) -> String {
        match self.0.finish() {
            query if query.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<()> {
    if args.recent.is_some() || args.request.is_some() {
        return recent::run(args, context).await;
    }
    let Args { by, since, until, every, tz, top, filter, .. } = args;
    let top = top.map(|top| top.to_string());
    let query = Query::new(filter)
        .with("by", Some(by))
        .with("since", since.as_deref())
        .with("until", until.as_deref())
        .with("every", every.as_deref())
        .with("tz", tz.as_deref())
        .with("top", top.as_deref())
        .with("format", args.csv.then_some("csv"));
    let text = call(context, &query.below("/admin/usage")).await?;
    if args.json || args.csv {
        return print_document(text, args.csv, context).await;
    }
    let report: UsageReport = serde_json::from_str(&text).context("the response is not a usage report")?;
    if report.rows.is_empty() {
        return Report::note(none(&report, &filter.named(), &filter.hints(context).await?)).print();
    }
    shown(&report).print()
}

/// The lines for no usage with these filters.
fn none(report: &UsageReport, with: &str, hints: &str) -> String {
    let UsageReport { since, until, pending, .. } = report;
    format!(
        "no usage{with} from {since} to {until}, in whole hours{hints}\n{}",
        pending_line(pending.as_ref())
    )
}

/// Makes a call. A refusal names the flag instead of the query parameter, and the command that helps.
async fn call(context: &Context<'_>, path: &str) -> anyhow::Result<String> {
    api::call_text(context, Method::GET, path).await.map_err(|error| match error.downcast::<CallRefused>() {
        Ok(refused) if refused.is_unknown_call() => refused.with_message(
            "the server that runs is older than this command, and does not know usage: restart it with this version",
        ),
        Ok(refused) => match refused.problem().strip_prefix('?').and_then(|rest| rest.split_once("=: ")) {
            Some((name, problem)) => {
                let advice = if name == "user" { ": `tollgate user list` shows all" } else { "" };
                refused.with_message(&format!("`{}`: {problem}{advice}", flag(name)))
            }
            None => refused.into(),
        },
        Err(error) => error,
    })
}

/// The flag for a query parameter.
fn flag(parameter: &str) -> String {
    match parameter {
        "request_id" => "--request".to_owned(),
        "limit" => "--recent".to_owned(),
        name => format!("--{}", name.replace('_', "-")),
    }
}

async fn print_document(text: String, csv: bool, context: &Context<'_>) -> anyhow::Result<()> {
    let document = if csv {
        note_pending(context).await?;
        Document::file(text)
    } else {
        let value: serde_json::Value = serde_json::from_str(&text).context("the response is not JSON")?;
        Document::json(&value)?
    };
    output::print_document(&document).context("failed to print")
}

/// Notes usage that waits in memory: CSV has no place for it.
async fn note_pending(context: &Context<'_>) -> anyhow::Result<()> {
    let text = call(context, "/admin/usage/recent?limit=1").await?;
    let found: RecentExchanges =
        serde_json::from_str(&text).context("the response is not a list of exchanges")?;
    // The document is printed also if standard error takes no note.
    let _ = output::note(&Lines::split(&pending_line(found.pending.as_ref())));
    Ok(())
}

/// The line about usage that waits in memory.
fn pending_line(pending: Option<&UsageBacklog>) -> String {
    pending.map_or_else(String::new, |pending| format!("{}\n", escape::value(&pending.to_string())))
}

/// A report for people.
fn shown(report: &UsageReport) -> Report {
    let range = format!("{} to {}", report.since, report.until);
    let counters = counters(report);
    let mut table = Table::new(head(report, &counters));
    for row in &report.rows {
        let mut cells = names(row, report);
        cells.extend(numbers(&row.sums, &counters));
        table.row(&cells);
    }
    if report.rows.len() > 1 {
        let named = usize::from(report.every.is_some()) + report.by.len();
        let mut cells = vec![String::new(); named];
        match cells.first_mut() {
            Some(first) => "total".clone_into(first),
            None => return Report { out: table.text(), note: notes(report, &range) },
        }
        cells.extend(numbers(&report.total, &counters));
        table.row(&cells);
    }
    Report { out: table.text(), note: notes(report, &range) }
}

/// The counters with a column: input and output, and those that occur.
fn counters(report: &UsageReport) -> Vec<Counter> {
    let occurs = |counter: &Counter| {
        matches!(counter, Counter::Input | Counter::Output)
            || report.total.counters.contains_key(counter.name())
    };
    Counter::ALL.into_iter().filter(occurs).collect()
}

fn head(report: &UsageReport, counters: &[Counter]) -> Vec<(String, Align)> {
    let title = |name: &str| name.replace('_', " ").to_uppercase();
    let names = report.every.iter().chain(&report.by).map(|name| (title(name), Align::Left));
    let counters = counters.iter().map(|counter| (title(counter.name()), Align::Right));
    let fixed = ["REQUESTS", "FAILED"].map(|name| (name.to_owned(), Align::Right));
    names.chain(fixed).chain(counters).chain([("COST".to_owned(), Align::Right)]).collect()
}

fn names(row: &UsageRow, report: &UsageReport) -> Vec<String> {
    let mut cells: Vec<String> = report.every.iter().map(|_| row.time.clone().unwrap_or_default()).collect();
    for name in &report.by {
        let value = row.value(name).unwrap_or_default();
        let value = if name == "user" { user_shown(value, row.user_name.as_deref()) } else { value };
        cells.push(match (row.rest, value) {
            (true, _) => REST.to_owned(),
            (false, "") => NONE.to_owned(),
            (false, value) => value.to_owned(),
        });
    }
    cells
}

fn numbers(sums: &UsageFigures, counters: &[Counter]) -> Vec<String> {
    let mut cells = vec![grouped(sums.requests), grouped(sums.failed)];
    let estimated = [sums.estimated_prompt_tokens, sums.estimated_answer_tokens];
    for counter in counters {
        let value = sums.counters.get(counter.name()).copied().unwrap_or_default();
        let of_side = counter.is_tokens() && estimated[usize::from(!counter.is_prompt())] > 0;
        // Estimates are of the plain counters of each side.
        let is_plain = matches!(counter, Counter::Input | Counter::Output);
        cells.push(format!("{}{}", if of_side && is_plain { "~" } else { "" }, grouped(value)));
    }
    let mark = if estimated == [0, 0] { "" } else { "~" };
    cells.push(cost(&sums.cost, mark));
    cells
}

/// Notes below the table: the range, and the usage that the numbers leave out.
fn notes(report: &UsageReport, range: &str) -> String {
    let total = &report.total;
    let zone = escape::value(&report.tz);
    let mut lines = vec![format!("{range}, in whole hours; days and months in {zone}")];
    if total.estimated_prompt_tokens + total.estimated_answer_tokens > 0 {
        let tokens = total.estimated_prompt_tokens.saturating_add(total.estimated_answer_tokens);
        let are = if tokens == 1 { "token is an estimate" } else { "tokens are estimates" };
        lines.push(format!("~: {} {are}", grouped(tokens)));
    }
    if total.not_counted > 0 {
        let counted = counted(total.not_counted, "request");
        lines.push(format!("not counted, or not wholly: {counted} (`--recent` shows the reason)"));
    }
    if total.unpriced_tokens > 0 {
        let named = report.unpriced.iter().take(NAMED_MODELS);
        let mut named: Vec<String> = named
            .map(|one| {
                let model = if one.model.is_empty() { "(no model)" } else { &one.model };
                let name = escape::value(&format!("{}/{model}", one.provider)).into_owned();
                format!("{} of {name}", grouped(one.tokens))
            })
            .collect();
        let more = report.unpriced.len().saturating_sub(NAMED_MODELS);
        named.extend((more > 0).then(|| format!("and of {more} more")));
        let tokens = grouped(total.unpriced_tokens);
        lines.push(format!("no price, and in no cost: {tokens} tokens: {}", named.join(", ")));
    }
    lines.push(pending_line(report.pending.as_ref()));
    lines.join("\n")
}

#[cfg(test)]
mod tests;
