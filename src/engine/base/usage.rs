//! Usage of one exchange: disjoint counters of tokens and of other units that vendors bill.
//!
//! Counters are disjoint: a token is in one of them only, so that their sum is the number of tokens. An api file says with
//! `minus` which counts of its format overlap. Values are never negative. Read next: `language::compile::metering`, which
//! reads counters out of a wire format; `request::meter`, which fills them.

use std::fmt;

/// The greatest count of one exchange. No honest one comes near it, and a greater one would bury the sums of all others.
pub const MAX_COUNT: u64 = 1_000_000_000;

/// One counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// Tokens of the prompt that no other counter has.
    Input,
    /// Tokens of the answer that no other counter has.
    Output,
    /// Tokens of the prompt that the upstream read from its cache.
    CacheRead,
    /// Tokens of the prompt that the upstream wrote to its cache.
    CacheWrite,
    /// Tokens that a model spent on reasoning.
    Reasoning,
    /// Audio tokens of the prompt.
    AudioInput,
    /// Audio tokens of the answer.
    AudioOutput,
    /// Images made.
    Images,
    /// Characters of text that was read aloud or translated.
    Characters,
    /// Seconds of audio or video, rounded up.
    Seconds,
    /// Other units that a vendor bills, such as search units of a rerank.
    Units,
}

impl Counter {
    /// All counters. The order is that of documents and of the store.
    pub const ALL: [Self; 11] = [
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite,
        Self::Reasoning,
        Self::AudioInput,
        Self::AudioOutput,
        Self::Images,
        Self::Characters,
        Self::Seconds,
        Self::Units,
    ];

    /// Its name in files, documents and columns.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::Reasoning => "reasoning",
            Self::AudioInput => "audio_input",
            Self::AudioOutput => "audio_output",
            Self::Images => "images",
            Self::Characters => "characters",
            Self::Seconds => "seconds",
            Self::Units => "units",
        }
    }

    /// The counter of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// True if it counts tokens.
    pub const fn is_tokens(self) -> bool {
        match self {
            Self::Input
            | Self::Output
            | Self::CacheRead
            | Self::CacheWrite
            | Self::Reasoning
            | Self::AudioInput
            | Self::AudioOutput => true,
            Self::Images | Self::Characters | Self::Seconds | Self::Units => false,
        }
    }

    /// True if it counts tokens of the prompt.
    pub const fn is_prompt(self) -> bool {
        matches!(self, Self::Input | Self::CacheRead | Self::CacheWrite | Self::AudioInput)
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// Some counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CounterSet(u16);

impl CounterSet {
    /// Tokens of the prompt.
    pub const PROMPT: Self = Self::tokens(true);
    /// Tokens of the answer.
    pub const ANSWER: Self = Self::tokens(false);

    const fn tokens(of_prompt: bool) -> Self {
        let (mut set, mut index) = (Self(0), 0);
        while index < Counter::ALL.len() {
            let counter = Counter::ALL[index];
            if counter.is_tokens() && counter.is_prompt() == of_prompt {
                set = set.with(counter);
            }
            index += 1;
        }
        set
    }

    /// The set with a further counter.
    #[must_use]
    pub const fn with(self, counter: Counter) -> Self {
        Self(self.0 | 1 << counter.index())
    }

    /// True if it has that counter.
    pub const fn has(self, counter: Counter) -> bool {
        self.0 >> counter.index() & 1 == 1
    }

    /// True if it has one of those counters.
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// True without a counter.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The counters of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The counters of either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The counters of this one alone.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The counters, in the order of [`Counter::ALL`].
    pub fn iter(mut self) -> impl Iterator<Item = Counter> {
        core::iter::from_fn(move || {
            let counter = *Counter::ALL.get(self.0.trailing_zeros() as usize)?;
            self.0 &= self.0 - 1;
            Some(counter)
        })
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A value for each counter. Sums stop at the greatest value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters([u64; Counter::ALL.len()]);

impl Counters {
    /// All zero.
    pub const ZERO: Self = Self([0; Counter::ALL.len()]);

    /// The value of a counter.
    pub const fn get(&self, counter: Counter) -> u64 {
        self.0[counter.index()]
    }

    /// Sets a counter.
    pub const fn set(&mut self, counter: Counter, value: u64) {
        self.0[counter.index()] = value;
    }

    /// Adds to a counter.
    pub const fn add(&mut self, counter: Counter, value: u64) {
        self.0[counter.index()] = self.0[counter.index()].saturating_add(value);
    }

    /// Adds all counters of another value.
    pub fn add_all(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own = own.saturating_add(other);
        }
    }

    /// All tokens.
    pub fn tokens(&self) -> u64 {
        self.sum(Counter::is_tokens)
    }

    /// All tokens of the prompt.
    pub fn prompt_tokens(&self) -> u64 {
        self.sum(Counter::is_prompt)
    }

    /// True if nothing was counted.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// The counters with their values, zeros too.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.into_iter().zip(self.0)
    }

    fn sum(&self, chosen: impl Fn(Counter) -> bool) -> u64 {
        self.iter()
            .filter(|(counter, _)| chosen(*counter))
            .fold(0, |sum, (_, value)| sum.saturating_add(value))
    }
}

/// The reason for which an exchange was not counted, or not wholly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotCounted {
    /// The answer carries no usage, and there is no text to estimate from, or its api file says `when_missing = "none"`.
    Missing,
    /// A count is negative, not whole, too great, or no number.
    BadCount,
    /// Counts contradict each other: a part is greater than its whole.
    Contradiction,
    /// The answer is not in its api's format.
    Format,
    /// Its content coding is unknown, damaged, or expands too far.
    Coding,
    /// Its content type is none that can be read.
    ContentType,
}

impl NotCounted {
    /// All reasons.
    pub const ALL: [Self; 6] =
        [Self::Missing, Self::BadCount, Self::Contradiction, Self::Format, Self::Coding, Self::ContentType];

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "usage_missing",
            Self::BadCount => "bad_count",
            Self::Contradiction => "contradiction",
            Self::Format => "wrong_format",
            Self::Coding => "content_coding",
            Self::ContentType => "content_type",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_distinct_names_in_the_order_of_their_indexes() {
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!((counter.index(), Counter::parse(counter.name())), (index, Some(counter)));
        }
    }

    #[test]
    fn sums_stop_at_the_greatest_value() {
        let mut counters = Counters::ZERO;
        counters.set(Counter::Input, u64::MAX);
        counters.add(Counter::Input, 1);
        counters.add(Counter::CacheRead, 7);
        counters.set(Counter::Images, 3);
        assert_eq!(
            (counters.get(Counter::Input), counters.tokens(), counters.prompt_tokens()),
            (u64::MAX, u64::MAX, u64::MAX)
        );
        let mut sum = Counters::ZERO;
        sum.add_all(&counters);
        assert_eq!((sum, sum.is_zero(), Counters::ZERO.is_zero()), (counters, false, true));
    }
}
