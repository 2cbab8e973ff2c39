//! The usage ledger in the store: hourly and daily roll-ups, and single exchanges, all of tokens and never of money.
//!
//! A batch is written whole or not at all, and counts once however often it is written. No cache holds any of it, so that
//! it invalidates none, and it is no change by an API call, so that it has no audit entry. Read next: `write`, `read`,
//! `retention`; the room `ledger` collects the batches.

mod read;
mod readers;
mod retention;
mod write;

use std::{borrow::Cow, sync::Arc};

use crate::{
    access_record::Outcome,
    usage::{Counter, Counters},
};

pub(super) use self::readers::UsageReaders;
pub use self::{
    read::{LearnedBytes, RollUps, UsageFilter, UsageSegment},
    readers::UsageReader,
    retention::UsageLimits,
};

/// The most that one cell of a roll-up holds. Counts of one exchange are below it by far; sums over all hours of a key stay in 64
/// bits.
const MAX_CELL: u64 = 1 << 43;

/// The dimensions of usage. An empty text stands for none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsageKey {
    /// The id of the caller.
    pub user: Arc<str>,
    /// The id of the caller's token.
    pub token: Arc<str>,
    /// The group of the caller at that time.
    pub group: Arc<str>,
    /// The provider.
    pub provider: Arc<str>,
    /// The endpoint's name in the provider's file.
    pub endpoint: Arc<str>,
    /// The model of the answer, else of the request; bounded.
    pub model: Arc<str>,
    /// The greatest boundary that the prompt exceeds, in tokens; zero if it exceeds none.
    pub context: u64,
    /// The owner of the credential that was used.
    pub key_owner: Arc<str>,
}

/// Sums over exchanges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageSums {
    /// Exchanges.
    pub requests: u64,
    /// Those of each outcome other than success, in the order of [`Outcome::ALL`].
    pub failures: [u64; Outcome::ALL.len() - 1],
    /// All counts, estimates included.
    pub counters: Counters,
    /// The estimated tokens of prompts among them.
    pub estimated_prompt: u64,
    /// The estimated tokens of answers among them.
    pub estimated_answer: u64,
    /// Exchanges that were not counted, or not wholly.
    pub not_counted: u64,
    /// Bytes of text of the prompts that estimates learn from.
    pub prompt_bytes: u64,
    /// Bytes of text of the answers that estimates learn from.
    pub answer_bytes: u64,
    /// The tokens of these prompts.
    pub prompt_text_tokens: u64,
    /// The tokens of these answers.
    pub answer_text_tokens: u64,
}

/// The outcomes that have a column, in its order.
pub(super) fn failures() -> impl Iterator<Item = Outcome> {
    Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Success)
}

impl UsageSums {
    /// Number of values.
    pub(super) const VALUES: usize = Outcome::ALL.len() + Counter::ALL.len() + 7;

    /// The names of the columns, in their order.
    pub(super) fn columns() -> impl Iterator<Item = &'static str> {
        let failures = failures().map(Outcome::as_str);
        let counters = Counter::ALL.into_iter().map(Counter::name);
        let others = [
            "estimated_prompt",
            "estimated_answer",
            "not_counted",
            "prompt_bytes",
            "answer_bytes",
            "prompt_text_tokens",
            "answer_text_tokens",
        ];
        std::iter::once("requests").chain(failures).chain(counters).chain(others)
    }

    /// The values of the columns.
    fn values(&self) -> impl Iterator<Item = u64> {
        let counters = self.counters.iter().map(|(_, value)| value);
        let others = [
            self.estimated_prompt,
            self.estimated_answer,
            self.not_counted,
            self.prompt_bytes,
            self.answer_bytes,
            self.prompt_text_tokens,
            self.answer_text_tokens,
        ];
        std::iter::once(self.requests).chain(self.failures).chain(counters).chain(others)
    }

    /// The sums with these values of the columns.
    fn from_values(values: [u64; Self::VALUES]) -> Self {
        let mut values = values.into_iter();
        let mut next = || values.next().expect("the number of values is that of the columns");
        let requests = next();
        let failures = std::array::from_fn(|_| next());
        let mut counters = Counters::ZERO;
        for counter in Counter::ALL {
            counters.set(counter, next());
        }
        // Struct fields are evaluated in the order in which they stand here.
        Self {
            requests,
            failures,
            counters,
            estimated_prompt: next(),
            estimated_answer: next(),
            not_counted: next(),
            prompt_bytes: next(),
            answer_bytes: next(),
            prompt_text_tokens: next(),
            answer_text_tokens: next(),
        }
    }

    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        let Self {
            requests,
            failures,
            counters,
            estimated_prompt,
            estimated_answer,
            not_counted,
            prompt_bytes,
            answer_bytes,
            prompt_text_tokens,
            answer_text_tokens,
        } = other;
        let add = |own: &mut u64, other: &u64| *own = own.saturating_add(*other);
        add(&mut self.requests, requests);
        self.failures.iter_mut().zip(failures).for_each(|(own, other)| add(own, other));
        self.counters.add_all(counters);
        add(&mut self.estimated_prompt, estimated_prompt);
        add(&mut self.estimated_answer, estimated_answer);
        add(&mut self.not_counted, not_counted);
        add(&mut self.prompt_bytes, prompt_bytes);
        add(&mut self.answer_bytes, answer_bytes);
        add(&mut self.prompt_text_tokens, prompt_text_tokens);
        add(&mut self.answer_text_tokens, answer_text_tokens);
    }

    /// The exchanges that did not succeed.
    pub fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// The estimated tokens.
    pub fn estimated(&self) -> u64 {
        self.estimated_prompt.saturating_add(self.estimated_answer)
    }

    /// The failures with their outcomes.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        failures().zip(self.failures)
    }

    /// Counts the outcome of an exchange.
    pub fn count_outcome(&mut self, outcome: Outcome) {
        if let Some(index) = failures().position(|one| one == outcome) {
            self.failures[index] = self.failures[index].saturating_add(1);
        }
    }
}

/// One exchange, without content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Its number, by which later ones are asked for. Assigned by the store.
    pub number: u64,
    /// Its end, in milliseconds since 1970, UTC.
    pub ended_at_ms: u64,
    /// From the request's head to the end of the response, in milliseconds.
    pub duration_ms: u64,
    /// From the request's head to the first byte of the response's body, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// Its dimensions.
    pub key: UsageKey,
    /// The id of the request.
    pub request_id: String,
    /// The status of the response.
    pub status: Option<u16>,
    /// The word for its [`Outcome`].
    pub outcome: Cow<'static, str>,
    /// The code of tollgate's own fault.
    pub fault: Option<Cow<'static, str>>,
    /// The code of the reason for which it was not counted, or not wholly.
    pub not_counted: Option<Cow<'static, str>>,
    /// All counts, estimates included.
    pub counters: Counters,
    /// The estimated tokens of the prompt among them.
    pub estimated_prompt: u64,
    /// The estimated tokens of the answer among them.
    pub estimated_answer: u64,
}

/// Usage that is added to the ledger at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageBatch {
    /// The number of the batch: greater than those before it of the same writer.
    pub number: u64,
    /// Sums by hour since 1970, UTC, and dimensions; each pair once.
    pub hours: Vec<(u64, UsageKey, UsageSums)>,
    /// Single exchanges.
    pub exchanges: Vec<Exchange>,
}
