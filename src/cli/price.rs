//! `tollgate price`: shows the price of a model, and the entry of a price file that it comes from. A running server is
//! asked only if it reads these files.

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::{check, status};
use crate::{
    clock,
    compile::{self, Price, PriceEntry, PriceFile, Prices, Rates},
    day::Day,
    diag::Diagnostic,
    escape::Lines,
    files,
    output::{self, Document},
    pipeline::Loaded,
    settings::Places,
    suggest::nearest,
};

/// The arguments of `tollgate price`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 there is a price, 1 there is none, 2 the question cannot be answered")]
pub struct Args {
    /// The provider
    provider: String,
    /// The model, as the upstream names it in its answers
    model: String,
    /// The day, `YYYY-MM-DD` in UTC [default: today]
    #[arg(long)]
    day: Option<String>,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// The answer as a JSON document.
#[derive(Serialize)]
struct Answer {
    provider: String,
    model: String,
    day: String,
    /// The entries that match, the one that applies first.
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    file: String,
    line: usize,
    provider: String,
    model: String,
    from: Option<String>,
    currency: String,
    prices: serde_json::Map<String, serde_json::Value>,
    tiers: Vec<Tier>,
    source: Option<String>,
    date: Option<String>,
}

#[derive(Serialize)]
struct Tier {
    over: u64,
    prices: serde_json::Map<String, serde_json::Value>,
}

/// Prints the price. Returns true if there is one.
pub fn run(args: &Args, places: &Places) -> anyhow::Result<bool> {
    let providers = places.providers()?;
    check::note_built_in_files(&providers, places)?;
    let what = check::describe(&providers);
    let loaded = files::load(&providers).with_context(|| format!("cannot read {what}"))?;
    let day = match &args.day {
        None => Day::of_seconds(clock::now_ms() / 1000),
        Some(text) => match text.parse() {
            Ok(day) => day,
            Err(error) => bail!("`--day {text}` {error}"),
        },
    };
    let compiled = compile::compile(&loaded.files);
    let found = loaded.diagnostics.iter().chain(&compiled.diagnostics);
    let of_prices = |one: &&Diagnostic| one.is_error() && loaded.prices.contains_key(&one.at.file);
    check::show(&loaded.sources, &found.filter(of_prices).cloned().collect::<Vec<_>>())?;
    let prices = Prices::new(compiled.prices);
    let entries = prices.matches(&args.provider, &args.model, day);
    let entries: Vec<Entry> = entries.map(|entry| shown_entry(&entry, &loaded)).collect();
    let is_there = !entries.is_empty();
    let (provider, model) = (args.provider.clone(), args.model.clone());
    let answer = Answer { provider, model, day: day.to_string(), entries };
    if !is_there {
        note_absent(&answer, &prices, day)?;
    }
    let printed = if args.json {
        output::print_document(&Document::json(&answer)?)
    } else {
        output::print(&lines(&answer))
    };
    printed.context("failed to print")?;
    status::note_if_running_elsewhere(places, &providers)?;
    Ok(is_there)
}

fn note_absent(answer: &Answer, prices: &Prices, day: Day) -> anyhow::Result<()> {
    let Answer { provider, model, .. } = answer;
    let hint = hint(provider, model, prices, day).unwrap_or_default();
    output::note_line(format_args!("no price for `{model}` of `{provider}` on {day}{hint}"))?;
    Ok(())
}

/// The begin of the model's first price, if that is later; else a model with a similar name.
fn hint(provider: &str, model: &str, prices: &Prices, day: Day) -> Option<String> {
    let of_provider = || prices.entries().filter(|entry| entry.provider.matches(provider));
    let of_model = of_provider().filter(|entry| entry.model.matches(model));
    if let Some(first) = of_model.map(|entry| entry.price.from).filter(|from| *from > day).min() {
        return Some(format!("; its first price begins on {first}"));
    }
    let near = nearest(model, of_provider().map(|entry| entry.model.as_str()))?;
    Some(format!("; there is one for `{near}`"))
}

fn shown_entry(entry: &PriceEntry<'_>, loaded: &Loaded) -> Entry {
    let Price { currency, from, rates, tiers, .. } = entry.price;
    let PriceFile { file, source, date, .. } = entry.file;
    let tiers = tiers.iter().map(|tier| Tier { over: tier.over, prices: json(&tier.rates) });
    Entry {
        file: file.to_string(),
        line: loaded.sources.line_column(&entry.at()).0,
        provider: entry.provider.as_str().to_owned(),
        model: entry.model.as_str().to_owned(),
        from: (*from > Day::FIRST).then(|| from.to_string()),
        currency: currency.to_string(),
        prices: json(rates),
        tiers: tiers.collect(),
        source: source.clone(),
        date: date.as_ref().map(|date| date.value.to_string()),
    }
}

/// Exact decimal numbers as text.
fn json(rates: &Rates) -> serde_json::Map<String, serde_json::Value> {
    rates.iter().map(|(counter, price)| (counter.to_string(), price.into())).collect()
}

fn lines(answer: &Answer) -> Lines {
    let mut out = Lines::default();
    let Some((first, others)) = answer.entries.split_first() else { return out };
    let Answer { provider, model, day, .. } = answer;
    out.push(format_args!("{provider} {model} on {day}: {}", place(first)));
    rows(&mut out, &first.prices, &first.currency);
    for tier in &first.tiers {
        out.push(format_args!("  of a prompt of more than {} tokens:", tier.over));
        rows(&mut out, &tier.prices, &first.currency);
    }
    let date = first.date.as_ref().map(|date| format!(", read on {date}")).unwrap_or_default();
    if let Some(source) = &first.source {
        out.push(format_args!("  source: {source}{date}"));
    }
    for other in others {
        out.push(format_args!("  also matches: {}", place(other)));
    }
    out
}

fn place(entry: &Entry) -> String {
    let Entry { file, line, provider, model, from, .. } = entry;
    let from = from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    format!("{file}:{line} (`{provider}` `{model}`{from})")
}

fn rows(out: &mut Lines, prices: &serde_json::Map<String, serde_json::Value>, currency: &str) {
    for (counter, price) in prices {
        let per = match crate::usage::Counter::parse(counter).map(Rates::per) {
            Some(1) | None => "each",
            Some(_) => "per million",
        };
        let price = price.as_str().unwrap_or_default();
        out.push(format_args!("  {counter:<12} {price:>10} {currency} {per}"));
    }
}
