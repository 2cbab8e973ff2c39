//! `tollgate usage --recent`: the last exchanges, and those that end while it runs.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;

use super::{
    super::context::{Context, Report},
    Args, Query, call, pending_line, print_document,
    table::{Align, Table, cost},
};
use crate::{
    admin::{RecentExchange, RecentExchanges, user_shown},
    escape,
    ledger::report::NONE,
    numbers::grouped,
};

/// Interval at which new exchanges are asked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// New exchanges that are asked for at once.
const LIMIT: u64 = 1000;

pub(super) async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<()> {
    let (format, number) = (args.csv.then_some("csv"), args.recent.map(|number| number.to_string()));
    let query = Query::new(&args.filter)
        .with("limit", number.as_deref())
        .with("request_id", args.request.as_deref())
        .with("format", format);
    let text = call(context, &query.below("/admin/usage/recent")).await?;
    if args.json || args.csv {
        return print_document(text, args.csv, context).await;
    }
    let mut found = read(&text)?;
    if found.exchanges.is_empty() && !args.follow {
        let pending = pending_line(found.pending.as_ref());
        let none = match args.filter.named() {
            with if with.is_empty() || args.request.is_some() => none(args.request.as_deref(), found.next),
            with => format!("no exchange{with}{}", args.filter.hints(context).await?),
        };
        return Report::note(format!("{none}\n{pending}")).print();
    }
    let mut table = Table::new(head());
    loop {
        for exchange in &found.exchanges {
            table.row(&row(exchange));
        }
        let note = pending_line(found.pending.as_ref());
        let report = Report { out: table.text(), note };
        report.print_result().and_then(|()| report.print_note()).context("failed to print")?;
        if !args.follow {
            return Ok(());
        }
        table = table.continued();
        let mut after = found.next;
        loop {
            found = later(args, after, context).await?;
            if !found.exchanges.is_empty() {
                break;
            }
            after = found.next.max(after);
            sleep(INTERVAL).await;
        }
    }
}

/// The line for no exchanges, with the number of the last one that there ever was.
fn none(request: Option<&str>, last: u64) -> String {
    match request {
        Some(id) => format!(
            "no exchange has the request id `{}`: it ended in the last second, had no known user or no endpoint, or is older than `usage_detail_retention`",
            escape::value(id)
        ),
        None if last == 0 => {
            "no exchange yet: one is shown within a second of its end, unless `usage_detail_retention` is 0"
                .to_owned()
        }
        None => "no exchange is left: `usage_detail_retention` is 0, or is over for all".to_owned(),
    }
}

async fn later(args: &Args, after: u64, context: &Context<'_>) -> anyhow::Result<RecentExchanges> {
    let (after, limit) = (after.to_string(), LIMIT.to_string());
    let query = Query::new(&args.filter).with("after", Some(&after)).with("limit", Some(&limit));
    read(&call(context, &query.below("/admin/usage/recent")).await?)
}

fn read(text: &str) -> anyhow::Result<RecentExchanges> {
    serde_json::from_str(text).context("the response is not a list of exchanges")
}

fn head() -> Vec<(String, Align)> {
    let left = ["TIME", "USER", "PROVIDER", "MODEL", "STATUS", "OUTCOME"].map(|title| (title, Align::Left));
    let right = ["FIRST BYTE", "TOTAL", "PROMPT", "ANSWER", "COST"].map(|title| (title, Align::Right));
    left.into_iter().chain(right).map(|(title, align)| (title.to_owned(), align)).collect()
}

fn row(exchange: &RecentExchange) -> Vec<String> {
    let RecentExchange { estimated_prompt_tokens, estimated_answer_tokens, .. } = exchange;
    let marked = |tokens: u64, estimated: u64| {
        let mark = if estimated > 0 { "~" } else { "" };
        format!("{mark}{}", grouped(tokens))
    };
    let prompt = ["input", "cache_read", "cache_write", "audio_input"];
    let prompt = prompt.iter().filter_map(|name| exchange.counters.get(*name));
    let prompt = prompt.fold(0, |sum: u64, value| sum.saturating_add(*value));
    let ms = |ms: u64| format!("{} ms", grouped(ms));
    let mark = if estimated_prompt_tokens + estimated_answer_tokens > 0 { "~" } else { "" };
    vec![
        exchange.at.clone(),
        user_shown(&exchange.user, exchange.user_name.as_deref()).to_owned(),
        exchange.provider.clone(),
        if exchange.model.is_empty() { NONE.to_owned() } else { exchange.model.clone() },
        exchange.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
        outcome(exchange),
        exchange.first_byte_ms.map_or_else(|| "-".to_owned(), ms),
        ms(exchange.duration_ms),
        marked(prompt, *estimated_prompt_tokens),
        marked(exchange.tokens.saturating_sub(prompt), *estimated_answer_tokens),
        cost(&exchange.cost, mark),
    ]
}

/// The outcome, with the code of the fault, or the reason for which it was not counted.
fn outcome(exchange: &RecentExchange) -> String {
    match (&exchange.fault, &exchange.not_counted) {
        (Some(fault), _) => format!("{}: {fault}", exchange.outcome),
        (None, Some(reason)) => format!("{}, not counted: {reason}", exchange.outcome),
        (None, None) => exchange.outcome.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_exchanges_the_reason_is_named() {
        let check = |request: Option<&str>, last: u64, expected: &str| {
            let found = none(request, last);
            assert!(found.starts_with(expected), "{found}");
        };
        check(None, 0, "no exchange yet: ");
        check(None, 7, "no exchange is left: `usage_detail_retention` is 0, or ");
        check(Some("1f\n"), 0, "no exchange has the request id `1f\\n`: ");
    }
}
