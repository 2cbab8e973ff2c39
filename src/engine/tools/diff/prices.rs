//! Compares prices entry by entry. Another price costs no access and gives none: its changes have no rating.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Subject};
use crate::{
    base::day::Day,
    language::compile::{Price, PriceEntry, Prices, Rates},
};

/// The prices of each provider and model from each first day, in words.
type Words = BTreeMap<String, BTreeSet<String>>;

pub(super) fn changes(old: &Prices, new: &Prices) -> Vec<Change> {
    let (old, new) = (words(old), words(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    let joined = |words: &BTreeSet<String>| words.iter().cloned().collect::<Vec<_>>().join("; or ");
    let change = |name: &String| Change {
        subject: Subject::Price,
        name: name.clone(),
        old: old.get(name).map(joined),
        new: new.get(name).map(joined),
        widens: None,
    };
    differing.map(change).collect()
}

fn words(prices: &Prices) -> Words {
    let mut words = Words::new();
    for entry in prices.entries() {
        words.entry(name(&entry)).or_default().insert(price(entry.price));
    }
    words
}

fn name(entry: &PriceEntry<'_>) -> String {
    let PriceEntry { file: _, price, provider, model, span: _ } = entry;
    let name = format!("{} {}", provider.as_str(), model.as_str());
    if price.from == Day::FIRST { name } else { format!("{name} from {}", price.from) }
}

fn price(price: &Price) -> String {
    let rates = |rates: &Rates| {
        rates.iter().map(|(counter, price)| format!("{counter} {price}")).collect::<Vec<_>>().join(", ")
    };
    let mut words = format!("{} {}", rates(&price.rates), price.currency);
    for tier in &price.tiers {
        words = format!("{words}; over {} tokens: {}", tier.over, rates(&tier.rates));
    }
    words
}
