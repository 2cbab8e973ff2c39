//! Lints of price files. Built-in files that the directory lacks are exempt: their author is not the reader.

use std::{collections::HashSet, sync::Arc};

use crate::{
    base::{
        budget::Budget,
        diag::{Code, Diagnostic, MAX_FINDINGS},
        suggest::nearest,
    },
    language::compile::{NamePattern, PriceEntry, PriceFile, price_overlaps},
};

/// The findings about price files beside each other and beside providers. `providers` are the names of all provider files.
pub fn prices(files: &[Arc<PriceFile>], providers: &[&str]) -> Vec<Diagnostic> {
    let own: Vec<&Arc<PriceFile>> = files.iter().filter(|file| !file.built_in).collect();
    let mut found = unused(&own, providers);
    found.extend(overlapping(&own));
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
                NamePattern::Glob { .. } => !known.iter().any(|name| pattern.matches(name)),
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
                found.push(Diagnostic::new(Code::UnusedPrice, price.at.clone(), message).help(help));
            }
        }
    }
    found
}

fn overlapping(files: &[&Arc<PriceFile>]) -> Vec<Diagnostic> {
    let entries: Vec<_> = files.iter().flat_map(|file| file.entries()).collect();
    // Entries of one file do not overlap: that is an error of the file.
    let pairs = price_overlaps(&entries, &Budget::default());
    let one = |(first, second): (&PriceEntry, &PriceEntry)| {
        let message = format!("another file has a price for `{}` that is as specific", second.model.as_str());
        let help = "write one of the two more specific, or give it another `from`";
        let found = Diagnostic::new(Code::PriceOverlap, second.at.clone(), message);
        found.related(first.at.clone(), "this one applies").help(help)
    };
    pairs.into_iter().map(one).collect()
}
