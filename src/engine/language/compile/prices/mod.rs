//! Prices of models: the compiled price files, the lookup of the price of a model on a day, and the cost of usage.
//!
//! It guarantees that a cost is exact, and that costs of parts add up to the cost of the whole under one price. It reads no
//! clock: the caller names the day. Read next: `document`, which compiles one file; `table`, the lookup.

mod context;
mod document;
mod overlap;
mod table;

use std::sync::Arc;

use crate::{
    base::{
        day::Day,
        diag::{Location, Span},
        money::{Currency, Money},
        name::FileName,
        usage::{Counter, CounterSet, Counters},
    },
    language::syntax,
};

pub use context::{BOUNDARIES, boundary};
pub(super) use document::compile;
pub use overlap::overlaps;
pub use table::{PriceEntry, Prices};

use super::{Glob, Located};

/// The units that a price is for: a million of most of them.
const MILLION: u64 = 1_000_000;

/// A price file.
#[derive(Debug)]
pub struct PriceFile {
    /// Its name.
    pub name: FileName,
    /// Its file.
    pub file: Arc<str>,
    /// True for a built-in file that the directory lacks. Entries of all others precede its own.
    pub built_in: bool,
    /// The place where the prices were read.
    pub source: Option<String>,
    /// The day on which they were read.
    pub date: Option<Located<Day>>,
    /// The prices, as written.
    pub prices: Vec<Price>,
    /// Its own tests.
    pub tests: Vec<PriceTest>,
}

/// The prices of some models from a day on. Thousands of them are kept: each is small.
#[derive(Debug)]
pub struct Price {
    /// The place of the entry in its file.
    pub at: Span,
    /// The currency of all prices.
    pub currency: Currency,
    /// The providers. Entries that name none share one list.
    pub providers: Arc<[NamePattern]>,
    /// The models, each with its place in the file.
    pub models: Box<[(NamePattern, Span)]>,
    /// The first day.
    pub from: Day,
    /// The prices of a request that no tier is for.
    pub rates: Rates,
    /// The tiers by ascending threshold, with the prices that they leave out.
    pub tiers: Box<[Tier]>,
}

/// The prices of a whole request with a long prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// The tokens that the prompt exceeds.
    pub over: u64,
    /// The prices.
    pub rates: Rates,
}

/// The prices of counters, in pico-units of the currency for one unit. Most entries have few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates(Box<[(Counter, u64)]>);

/// A name of a provider or model, or a glob on such names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamePattern {
    /// A name. It precedes all globs.
    Exact(Box<str>),
    /// A glob. The one with more literal bytes precedes.
    Glob(Glob),
}

/// A test of a price file.
#[derive(Debug)]
pub struct PriceTest {
    /// The test as written.
    pub spec: syntax::PriceTest,
    /// The day of its usage.
    pub day: Day,
    /// The location of its `expect`.
    pub at: Location,
}

impl Price {
    /// The cost of usage. `context` is a size that the prompt exceeds, as [`Price::context`] or [`boundary`] returns it:
    /// the tier with the greatest threshold up to it applies.
    pub fn cost(&self, usage: &Counters, context: u64) -> Money {
        let pico = usage.iter().fold(0_u128, |sum, (counter, units)| {
            let rate = self.rates(context).rate(counter).unwrap_or(0);
            // A product of two 64-bit numbers fits.
            sum.saturating_add(u128::from(units) * u128::from(rate))
        });
        Money { pico, currency: self.currency }
    }

    /// The greatest cost of a request with at most so many tokens of the prompt and of the answer, whatever kinds of tokens they
    /// are.
    pub fn greatest_cost(&self, prompt: u64, output: u64) -> Money {
        let thresholds = self.tiers.iter().map(|tier| tier.over).filter(|over| *over < prompt);
        let greatest = |rates: &Rates, is_prompt: bool| {
            let counters =
                Counter::ALL.into_iter().filter(|one| one.is_tokens() && one.is_prompt() == is_prompt);
            u128::from(counters.filter_map(|one| rates.rate(one)).max().unwrap_or(0))
        };
        let cost = |context: u64| {
            let rates = self.rates(context);
            let prompt = u128::from(prompt).saturating_mul(greatest(rates, true));
            prompt.saturating_add(u128::from(output).saturating_mul(greatest(rates, false)))
        };
        let pico = [0].into_iter().chain(thresholds).map(cost).max().unwrap_or(0);
        Money { pico, currency: self.currency }
    }

    /// The units that have a price and cost nothing where these are counted alone: nor does another counter with a price have them.
    pub fn uncounted(&self, counted: CounterSet) -> CounterSet {
        let rates = std::iter::once(&self.rates).chain(self.tiers.iter().map(|tier| &tier.rates));
        let priced =
            rates.flat_map(|rates| &rates.0).filter(|(_, rate)| *rate > 0).map(|(counter, _)| *counter);
        let is_seen =
            |counter| counted.has(counter) || stand_in(counter).is_some_and(|other| counted.has(other));
        priced.filter(|counter| !is_seen(*counter)).fold(CounterSet::default(), CounterSet::with)
    }

    /// The threshold of the tier for a prompt of so many tokens, cached ones included; 0 if no tier applies.
    pub fn context(&self, prompt_tokens: u64) -> u64 {
        self.tiers.iter().rev().find(|tier| tier.over < prompt_tokens).map_or(0, |tier| tier.over)
    }

    /// The prices that hold for a context.
    pub fn rates(&self, context: u64) -> &Rates {
        let tier = self.tiers.iter().rev().find(|tier| tier.over <= context);
        tier.map_or(&self.rates, |tier| &tier.rates)
    }
}

impl Rates {
    /// The price of one unit in pico-units; none if the unit costs nothing.
    pub fn rate(&self, counter: Counter) -> Option<u64> {
        self.written(counter).or_else(|| self.written(stand_in(counter)?))
    }

    /// The price of one unit, if the file has one for this counter.
    pub fn written(&self, counter: Counter) -> Option<u64> {
        self.0.iter().find(|(known, _)| *known == counter).map(|(_, rate)| *rate)
    }

    /// The prices that the file has, as decimal numbers for [`Rates::per`] units.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, String)> {
        self.0.iter().map(|(counter, rate)| {
            let pico = u128::from(*rate) * u128::from(Self::per(*counter));
            (*counter, Money { pico, currency: Currency::NONE }.exact())
        })
    }

    /// The number of units that a price is for.
    pub fn per(counter: Counter) -> u64 {
        match counter {
            Counter::Input
            | Counter::Output
            | Counter::CacheRead
            | Counter::CacheWrite
            | Counter::Reasoning
            | Counter::AudioInput
            | Counter::AudioOutput
            | Counter::Characters => MILLION,
            Counter::Images | Counter::Seconds | Counter::Units => 1,
        }
    }

    /// These prices, and for those that are absent the other ones.
    fn or(&self, other: &Self) -> Self {
        let rate = |counter| self.written(counter).or_else(|| other.written(counter));
        Counter::ALL.into_iter().filter_map(|counter| Some((counter, rate(counter)?))).collect()
    }
}

impl FromIterator<(Counter, u64)> for Rates {
    fn from_iter<T: IntoIterator<Item = (Counter, u64)>>(rates: T) -> Self {
        Self(rates.into_iter().collect())
    }
}

/// The counter whose price holds for one without a price of its own.
fn stand_in(counter: Counter) -> Option<Counter> {
    match counter {
        Counter::CacheRead | Counter::CacheWrite | Counter::AudioInput => Some(Counter::Input),
        Counter::Reasoning | Counter::AudioOutput => Some(Counter::Output),
        Counter::Input
        | Counter::Output
        | Counter::Images
        | Counter::Characters
        | Counter::Seconds
        | Counter::Units => None,
    }
}

impl NamePattern {
    /// The pattern of a text.
    pub fn new(text: &str) -> Self {
        if text.contains('*') { Self::Glob(Glob::new(text)) } else { Self::Exact(text.into()) }
    }

    /// True if the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) => **text == *name,
            Self::Glob(glob) => glob.matches(name),
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(text) => text,
            Self::Glob(glob) => glob.as_str(),
        }
    }

    /// How specific it is: the greater value precedes.
    fn specificity(&self) -> (bool, usize) {
        match self {
            Self::Exact(_) => (true, 0),
            Self::Glob(glob) => (false, literals(glob)),
        }
    }
}

/// The bytes of a glob that are no `*`.
fn literals(glob: &Glob) -> usize {
    glob.as_str().bytes().filter(|byte| *byte != b'*').count()
}

#[cfg(test)]
mod tests;
