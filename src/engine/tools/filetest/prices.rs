//! Tests of price files: the cost of the usage that a test states, under the prices of its file alone.

use super::{Mismatch, Outcome, diagnostic};
use crate::{
    base::{
        budget::Budget,
        usage::{Counter, Counters},
    },
    language::{
        compile::{Price, PriceFile, PriceTest, Prices},
        syntax::{PriceExpect, PriceUsage},
    },
};

/// The work of one entry in a lookup, in steps.
const ENTRY_STEPS: usize = 64;

impl Outcome {
    /// Runs the tests of a file. The work is charged first.
    pub(super) fn run_prices(&mut self, file: &std::sync::Arc<PriceFile>, budget: &Budget) {
        if file.tests.is_empty()
            || !budget.work(file.entries().count() * ENTRY_STEPS * (1 + file.tests.len()))
        {
            return;
        }
        let prices = Prices::new(vec![file.clone()]);
        for test in &file.tests {
            self.ran += 1;
            let mismatches = run_one(file, &prices, test);
            self.diagnostics.extend(diagnostic(&mismatches, &test.spec.name, &test.at));
        }
    }
}

/// Runs one test of a price file. `prices` are those of the file alone.
pub fn run_one(file: &PriceFile, prices: &Prices, test: &PriceTest) -> Vec<Mismatch> {
    let usage = &test.spec.usage;
    let provider = usage.provider.as_deref().unwrap_or(file.name.as_str());
    let price = prices.find(provider, &usage.model, test.day);
    let PriceExpect { cost, context, priced } = &test.spec.expect;
    let counters = counters(usage);
    let tier = price.map(|price| price.context(counters.prompt_tokens()));
    let mut mismatches = Vec::new();
    let mut same = |what: &str, expected: Option<String>, actual: Option<String>| {
        if let Some(expected) = expected.filter(|expected| actual.as_ref() != Some(expected)) {
            mismatches.push(Mismatch::Differs { what: what.to_owned(), expected, actual });
        }
    };
    same("priced", priced.map(|one| one.to_string()), Some(price.is_some().to_string()));
    same("context", context.map(|one| one.to_string()), tier.map(|one| one.to_string()));
    let actual = price.map(|price: &Price| price.cost(&counters, tier.unwrap_or_default()).exact());
    same("cost", cost.as_deref().map(without_zeros), actual);
    if cost.is_none() && context.is_none() && priced.is_none() {
        mismatches.push(Mismatch::Other("it expects nothing".to_owned()));
    }
    mismatches
}

fn counters(usage: &PriceUsage) -> Counters {
    let mut counters = Counters::ZERO;
    for (counter, value) in Counter::ALL.into_iter().zip(usage.counters()) {
        counters.set(counter, value.unwrap_or(0));
    }
    counters
}

/// A decimal number without the zeros that mean nothing.
fn without_zeros(number: &str) -> String {
    let number = number.trim_start_matches('0');
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    if number.is_empty() || number.starts_with('.') { format!("0{number}") } else { number.to_owned() }
}
