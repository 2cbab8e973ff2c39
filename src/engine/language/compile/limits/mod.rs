//! Limits: the compiled files of `limits.d`. A limit has a filter, an amount and a window; a rule has the models and endpoints
//! that callers may call.
//!
//! It counts nothing: `request::limits` does. Read next: `document`, which compiles one file; `filter`, which requests a limit
//! is for; `set`, all files of a directory.

mod document;
mod filter;
mod set;

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    base::{
        diag::Location,
        money::{Currency, Money},
        name::{FileName, LimitId},
        window::{Every, Window},
    },
    language::{
        compile::{Endpoint, metering::Metering},
        syntax::{self, LimitMeasure, Per},
    },
};

pub(super) use document::compile;
pub use filter::{CallFacts, CallerFilter, KeyOwner, NameFilter};
pub use set::Limits;

/// A file of limits.
#[derive(Debug)]
pub struct LimitFile {
    /// Its name.
    pub name: FileName,
    /// Its file.
    pub file: Arc<str>,
    /// Its limits, in the order of the file.
    pub limits: Vec<Arc<Limit>>,
    /// Its rules for models and endpoints, in the order of the file.
    pub allows: Vec<Arc<Allow>>,
    /// Its own tests.
    pub tests: Vec<LimitTest>,
}

/// A limit.
#[derive(Debug)]
pub struct Limit {
    /// What was used belongs to it.
    pub id: LimitId,
    /// The name of its counters: the id, and what is counted. What was used in one unit is nothing in another.
    pub counter_id: Arc<str>,
    /// The place of the limit in its file.
    pub at: Location,
    /// The requests that it is for.
    pub filter: LimitFilter,
    /// What has an amount of its own, without duplicates. Empty: one amount for all.
    pub per: Vec<Per>,
    /// What is counted.
    pub measure: Measure,
    /// The amount, in units of the measure.
    pub amount: i128,
    /// The time that the amount is for. None for concurrent requests.
    pub window: Option<Window>,
    /// What a request takes before it is sent.
    pub reserve: syntax::ReserveValue,
    /// What becomes of a request beyond it.
    pub over: syntax::OverValue,
    /// The shares of the amount that are reported, in thousandths, ascending.
    pub warn_at: Vec<u32>,
    /// What becomes of a request for a model without a price.
    pub no_price: syntax::NoPriceValue,
    /// Other amounts by the name of a user; none for no limit.
    pub except: BTreeMap<Box<str>, Option<i128>>,
}

/// The requests that a limit is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitFilter {
    /// The callers.
    pub caller: CallerFilter,
    /// The providers.
    pub provider: NameFilter,
    /// The endpoints.
    pub endpoint: NameFilter,
    /// The models.
    pub model: NameFilter,
    /// The owner of the credential.
    pub key: Option<syntax::KeyValue>,
}

/// The models and endpoints that some callers may call.
#[derive(Debug, Clone)]
pub struct Allow {
    /// The place of the rule in its file.
    pub at: Location,
    /// The callers that it is for.
    pub caller: CallerFilter,
    /// The providers.
    pub providers: NameFilter,
    /// The endpoints.
    pub endpoints: NameFilter,
    /// The models.
    pub models: NameFilter,
}

/// What a limit counts, and in which unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Requests.
    Requests,
    /// Tokens of prompts and answers.
    Tokens,
    /// Tokens of prompts.
    InputTokens,
    /// Tokens of answers.
    OutputTokens,
    /// Cost, in pico-units of the currency.
    Cost(Currency),
    /// Bytes of bodies.
    Bytes,
    /// Requests at a time.
    Concurrent,
}

/// A test of a file of limits.
#[derive(Debug, Clone)]
pub struct LimitTest {
    /// The test as written.
    pub spec: syntax::LimitTest,
    /// The time of the first call, in milliseconds since 1970, UTC.
    pub from_ms: u64,
    /// The time from the first call to the last, in milliseconds.
    pub within_ms: u64,
    /// The location of its `expect`.
    pub at: Location,
}

impl Measure {
    /// What it is in a policy: without a currency.
    pub const fn kind(self) -> LimitMeasure {
        match self {
            Self::Requests => LimitMeasure::Requests,
            Self::Tokens => LimitMeasure::Tokens,
            Self::InputTokens => LimitMeasure::InputTokens,
            Self::OutputTokens => LimitMeasure::OutputTokens,
            Self::Cost(_) => LimitMeasure::Cost,
            Self::Bytes => LimitMeasure::Bytes,
            Self::Concurrent => LimitMeasure::Concurrent,
        }
    }

    /// Its key in files, metrics and answers.
    pub const fn name(self) -> &'static str {
        self.kind().name()
    }

    /// The name of what is counted, with its unit: `tokens`, `cost USD`.
    pub fn unit(self) -> String {
        match self {
            Self::Cost(currency) => format!("cost {currency}"),
            other => other.name().to_owned(),
        }
    }

    /// True if what a request uses is known at its end alone.
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Tokens | Self::InputTokens | Self::OutputTokens | Self::Cost(_) | Self::Bytes => true,
            Self::Requests | Self::Concurrent => false,
        }
    }

    /// True if it counts usage that an answer reports.
    pub const fn needs_usage(self) -> bool {
        self.is_settled() && !matches!(self, Self::Bytes)
    }

    /// An amount of it, for people: `200.00 USD`, `1000 tokens`.
    pub fn shown(self, amount: i128) -> String {
        let sign = if amount < 0 { "-" } else { "" };
        let size = amount.unsigned_abs();
        match self {
            Self::Cost(currency) => format!("{sign}{}", Money { pico: size, currency }),
            Self::Requests => format!("{sign}{size} {}", plural(size, "request")),
            Self::Tokens => format!("{sign}{size} {}", plural(size, "token")),
            Self::InputTokens => format!("{sign}{size} {} of prompts", plural(size, "token")),
            Self::OutputTokens => format!("{sign}{size} {} of answers", plural(size, "token")),
            Self::Bytes => format!("{sign}{size} {}", plural(size, "byte")),
            Self::Concurrent => format!("{sign}{size} {} at a time", plural(size, "request")),
        }
    }

    /// An amount of it, for programs: whole units, of a cost the decimal number without the currency.
    pub fn exact(self, amount: i128) -> String {
        let sign = if amount < 0 { "-" } else { "" };
        let size = amount.unsigned_abs();
        match self {
            Self::Cost(currency) => format!("{sign}{}", Money { pico: size, currency }.exact()),
            _ => format!("{sign}{size}"),
        }
    }
}

impl Endpoint {
    /// True if a limit of this measure counts its calls.
    pub fn counts(&self, measure: LimitMeasure) -> bool {
        let has = |is_counted: fn(&Metering) -> bool| self.metering.as_deref().is_some_and(is_counted);
        match measure {
            LimitMeasure::InputTokens => has(Metering::counts_prompt),
            LimitMeasure::OutputTokens => has(Metering::counts_answer),
            LimitMeasure::Tokens => has(|one| one.counts_prompt() || one.counts_answer()),
            LimitMeasure::Cost => has(Metering::counts_any),
            LimitMeasure::Requests | LimitMeasure::Bytes | LimitMeasure::Concurrent => true,
        }
    }
}

fn plural(number: u128, unit: &str) -> String {
    if number == 1 { unit.to_owned() } else { format!("{unit}s") }
}

/// A length in its largest whole unit: `60 s` is `1 min`.
fn length_text(millis: u64) -> String {
    for (size, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{} {unit}", millis / size);
        }
    }
    format!("{millis} ms")
}

impl fmt::Display for Measure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl Limit {
    /// The amount for a user, by name; none if the user is exempt.
    pub fn amount_of(&self, user: &str) -> Option<i128> {
        self.except.get(user).copied().unwrap_or(Some(self.amount))
    }

    /// True if the model decides which requests it is for, or which amount they take from.
    pub fn needs_model(&self) -> bool {
        !self.filter.model.is_any()
            || self.per.contains(&Per::Model)
            || matches!(self.measure, Measure::Cost(_))
    }

    /// True if the cap in a request's body decides what is reserved.
    pub fn needs_cap(&self) -> bool {
        self.measure.needs_usage()
            && self.measure != Measure::InputTokens
            && self.reserve != syntax::ReserveValue::None
    }

    /// True if all models that may answer have to be known before a call is sent: for their prices, or for their amounts.
    pub fn needs_all_models(&self) -> bool {
        self.per.contains(&Per::Model) || matches!(self.measure, Measure::Cost(_))
    }

    /// True if it is never exceeded, so that a request has to be bounded by its size and its cap.
    pub fn needs_bound(&self) -> bool {
        self.measure.needs_usage() && self.reserve == syntax::ReserveValue::Max
    }

    /// The time that its amount is for, for people: `a month in Europe/Berlin`, `60 s`, `all time`. Empty without one.
    pub fn window_text(&self) -> String {
        match &self.window {
            None => String::new(),
            Some(Window::Total) => "in all".to_owned(),
            Some(Window::Sliding(millis)) => format!("in any {}", length_text(*millis)),
            Some(Window::Calendar { every, zone }) => {
                let every = match every {
                    Every::Hour => "an hour",
                    Every::Day => "a day",
                    Every::Week => "a week",
                    Every::Month => "a month",
                };
                format!("{every} ({})", zone.name())
            }
        }
    }

    /// Whose its amount is, in a sentence: `per user`, `for everybody`.
    pub fn owner_text(&self) -> String {
        if self.per.is_empty() { "for everybody".to_owned() } else { format!("per {}", self.per_text()) }
    }

    /// The amounts that it has, for people: `user`, `group and model`, `all`.
    pub fn per_text(&self) -> String {
        if self.per.is_empty() {
            return Per::All.name().to_owned();
        }
        self.per.iter().map(|one| one.name()).collect::<Vec<_>>().join(" and ")
    }
}

#[cfg(test)]
mod tests;
