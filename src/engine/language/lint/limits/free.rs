//! Prices that no limit of cost charges: no api file of the provider counts the unit. A call of such a model would be free under
//! the limit, without a word.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::{
    base::{
        diag::{Code, Diagnostic, MAX_FINDINGS},
        usage::{Counter, CounterSet},
    },
    language::compile::{Limit, Measure, NameFilter, NamePattern, Price, PriceFile, Provider},
};

/// The counters of each provider, by its name.
type Counted<'a> = BTreeMap<&'a str, CounterSet>;

/// A price of which a unit is never charged.
struct Free<'a> {
    file: &'a PriceFile,
    price: &'a Price,
    provider: &'a str,
    unit: Counter,
}

/// The findings: one for each price file and unit.
pub(super) fn prices<'a>(
    limits: impl Iterator<Item = &'a Arc<Limit>>,
    providers: &'a [Arc<Provider>],
    prices: &'a [Arc<PriceFile>],
) -> Vec<Diagnostic> {
    let limits: Vec<&Limit> =
        limits.map(|limit| &**limit).filter(|limit| matches!(limit.measure, Measure::Cost(_))).collect();
    if limits.is_empty() {
        return Vec::new();
    }
    let counted: Counted<'_> = providers.iter().map(|one| (one.name.as_str(), counted_by(one))).collect();
    let (mut found, mut reported) = (Vec::new(), HashSet::new());
    for file in prices {
        for price in &file.prices {
            for one in free(file, price, &counted) {
                let Some(limit) = limits.iter().find(|limit| one.is_under(limit)) else { continue };
                if found.len() <= MAX_FINDINGS && reported.insert((file.file.clone(), one.unit)) {
                    found.push(one.report(limit));
                }
            }
        }
    }
    found
}

fn counted_by(provider: &Provider) -> CounterSet {
    let metering = provider.endpoints.iter().filter_map(|endpoint| endpoint.metering.as_ref());
    metering.fold(CounterSet::default(), |all, metering| all.or(metering.counted()))
}

/// What is never charged of a price.
fn free<'a>(file: &'a PriceFile, price: &'a Price, counted: &Counted<'a>) -> Vec<Free<'a>> {
    let of = |(name, counted): (&&'a str, &CounterSet)| {
        let provider = *name;
        price
            .uncounted(*counted)
            .iter()
            .map(move |unit| Free { file, price, provider, unit })
            .collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for pattern in &*price.providers {
        match pattern {
            NamePattern::Exact(name) => all.extend(counted.get_key_value(&**name).into_iter().flat_map(of)),
            NamePattern::Glob(glob) => {
                all.extend(counted.iter().filter(|(name, _)| glob.matches(name)).flat_map(of));
            }
        }
    }
    all
}

impl Free<'_> {
    /// True if the limit is for calls that have the price.
    fn is_under(&self, limit: &Limit) -> bool {
        limit.measure == Measure::Cost(self.price.currency)
            && limit.filter.provider.matches(self.provider)
            && self.price.models.iter().any(|(model, _)| may_match(&limit.filter.model, model))
    }

    fn report(&self, limit: &Limit) -> Diagnostic {
        let Self { file, price, provider, unit } = self;
        let message = format!(
            "the price for `{unit}` is never charged, since no api of provider `{provider}` counts it: under a limit of cost it is free"
        );
        let help = format!(
            "name the place of `{unit}` in the api file (`usage`), or limit `requests` of these models, too"
        );
        let at = price.at.of(&file.file);
        // The author of a built-in file is not the reader.
        let (at, other, label) = if file.built_in {
            (limit.at.clone(), at, "the price")
        } else {
            (at, limit.at.clone(), "such a limit")
        };
        Diagnostic::new(Code::UncountedUse, at, message).help(help).related(other, label)
    }
}

/// True if a limit on models may be for one that has the price.
fn may_match(filter: &NameFilter, model: &NamePattern) -> bool {
    match model {
        NamePattern::Exact(name) => filter.matches(name),
        NamePattern::Glob(_) => true,
    }
}
