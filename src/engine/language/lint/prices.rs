//! Lints of price files. Built-in files that the directory lacks are exempt: their author is not the reader.

use std::{collections::HashSet, sync::Arc};

use crate::{
    base::{
        budget::Budget,
        day::Day,
        diag::{Code, Diagnostic, Location, MAX_FINDINGS},
        suggest::nearest,
    },
    language::compile::{Located, NamePattern, PRICE_BOUNDARIES, PriceEntry, PriceFile, price_overlaps},
};

/// The findings about price files beside each other and beside providers. `providers` are the names of all provider files; without
/// `today`, no date is in the future.
pub fn prices(files: &[Arc<PriceFile>], providers: &[&str], today: Option<Day>) -> Vec<Diagnostic> {
    let own: Vec<&Arc<PriceFile>> = files.iter().filter(|file| !file.built_in).collect();
    let mut found = unused(&own, providers);
    found.extend(overlapping(&own));
    found.extend(odd_tiers(&own));
    found.extend(today.into_iter().flat_map(|today| future_dates(&own, today)));
    found
}

fn unused(files: &[&Arc<PriceFile>], providers: &[&str]) -> Vec<Diagnostic> {
    let known: HashSet<&str> = providers.iter().copied().collect();
    let mut found = Vec::new();
    for file in files {
        let mut reported = HashSet::new();
        for price in &file.prices {
            let unknown = |pattern: &&NamePattern| match pattern {
                NamePattern::Exact(name) => !known.contains(&**name),
                NamePattern::Glob(_) => !known.iter().any(|name| pattern.matches(name)),
            };
            for pattern in price.providers.iter().filter(unknown).map(NamePattern::as_str) {
                // Most files have one provider: one finding is enough.
                if !reported.insert(pattern) || found.len() > MAX_FINDINGS {
                    continue;
                }
                let message = format!("no provider is named `{pattern}`");
                let help = match nearest(pattern, providers.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "rename the file to the name of its provider, or add `provider`".to_owned(),
                };
                found.push(Diagnostic::new(Code::UnusedPrice, price.at.of(&file.file), message).help(help));
            }
        }
    }
    found
}

/// Tiers whose threshold splits no usage that was stored before them.
fn odd_tiers(files: &[&Arc<PriceFile>]) -> Vec<Diagnostic> {
    let prices = files.iter().flat_map(|file| file.prices.iter().map(move |price| (file, price)));
    let tiers = prices
        .flat_map(|(file, price)| price.tiers.iter().map(move |tier| (price.at.of(&file.file), tier.over)));
    let odd = tiers.filter(|(_, over)| !PRICE_BOUNDARIES.contains(over)).take(MAX_FINDINGS + 1);
    let one = |(at, over): (Location, u64)| {
        let known = PRICE_BOUNDARIES.map(|size| size.to_string()).join(", ");
        let message = format!("no usage from before this entry is split at {over} prompt tokens");
        let help = format!(
            "past exchanges count for the tier below; it is exact for history if it is one of {known}"
        );
        Diagnostic::new(Code::TierThreshold, at, message).help(help)
    };
    odd.map(one).collect()
}

/// Files that were read after today. The author's today may be one day ahead of UTC.
fn future_dates(files: &[&Arc<PriceFile>], today: Day) -> Vec<Diagnostic> {
    let dates = files.iter().filter_map(|file| file.date.as_ref());
    let one = |date: &Located<Day>| {
        let message = format!("`date` is in the future: today is {today}");
        let help = "`date` is the day on which the prices were read; the first day of a price is its `from`";
        Diagnostic::new(Code::FutureDate, date.at.clone(), message).help(help)
    };
    dates.filter(|date| date.value.0 > today.0.saturating_add(1)).map(one).collect()
}

fn overlapping(files: &[&Arc<PriceFile>]) -> Vec<Diagnostic> {
    let entries = files.iter().flat_map(|file| file.entries());
    // Entries of one file do not overlap: that is an error of the file.
    let pairs = price_overlaps(entries, &Budget::default());
    let one = |(first, second): (PriceEntry<'_>, PriceEntry<'_>)| {
        let message = format!("another file has a price for `{}` that is as specific", second.model.as_str());
        let help = "write one of the two more specific, or give it another `from`";
        let found = Diagnostic::new(Code::PriceOverlap, second.at(), message);
        found.related(first.at(), "this one applies").help(help)
    };
    pairs.into_iter().map(one).collect()
}
