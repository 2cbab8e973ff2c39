//! What a call reserves: learned numbers of output tokens, and the rules of reservation.
//!
//! For each provider and model, [`Outputs`] holds how many answers had how many tokens, in intervals of at most 1/16 of their
//! lower bound. A percentile is the upper bound of its interval: never too low, and at most 6.25 % too high. Older answers weigh
//! less: beyond [`WINDOW`] answers, all weights are halved. Bounded: [`MAX_MODELS`].

use std::collections::BTreeMap;

/// The output tokens that are expected of a model of which nothing is known.
pub const DEFAULT_OUTPUT_TOKENS: u64 = 1_000;
/// The most output tokens that are reserved by what was learned: a few huge answers keep no other caller out.
pub const MAX_OUTPUT_TOKENS: u64 = 1 << 17;
/// The answers of a model after which what was learned counts half.
pub const WINDOW: u64 = 1_000;
/// The greatest number of models. Beyond it, the model that was learned longest ago is forgotten.
pub const MAX_MODELS: usize = 1_000;
/// The weight of an answer: halved so often, it is forgotten.
const WEIGHT: u64 = 1 << 8;
/// Intervals of each power of two, as a power of two. Numbers below have an interval of their own.
const STEPS: u32 = 4;

/// Learned output tokens of each provider and model.
#[derive(Debug, Default)]
pub struct Outputs {
    providers: BTreeMap<Box<str>, BTreeMap<Box<str>, Histogram>>,
    models: usize,
    /// The number of answers that were learned from.
    learned: u64,
}

#[derive(Debug, Default)]
struct Histogram {
    /// The weights of intervals that have any.
    weights: BTreeMap<u16, u64>,
    sum: u64,
    /// The number of the last answer.
    last: u64,
}

/// How much a call reserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// Nothing.
    None,
    /// What most answers of the model have.
    Learned,
    /// The most that the request allows.
    Max,
}

/// The tokens that a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Those of the prompt.
    Input,
    /// Those of the answer.
    Output,
    /// All.
    Both,
}

/// A request without an upper bound of its output tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the request does not bound its output tokens, and a limit reserves the greatest number: set the field of the body that \
     bounds them, such as `max_tokens`"
)]
pub struct NoCap;

impl Outputs {
    /// The number of output tokens that 9 of 10 answers do not exceed; [`DEFAULT_OUTPUT_TOKENS`] if nothing is known.
    pub fn p90(&self, provider: &str, model: &str) -> u64 {
        let known = self.providers.get(provider).and_then(|models| models.get(model));
        known.and_then(Histogram::p90).unwrap_or(DEFAULT_OUTPUT_TOKENS)
    }

    /// Learns from an answer.
    pub fn learn(&mut self, provider: &str, model: &str, output_tokens: u64) {
        self.learned += 1;
        let last = self.learned;
        let known = self.providers.get_mut(provider).and_then(|models| models.get_mut(model));
        if let Some(histogram) = known {
            histogram.learn(output_tokens, last);
            return;
        }
        if self.models == MAX_MODELS {
            self.forget();
        }
        self.models += 1;
        let models = self.providers.entry(provider.into()).or_default();
        models.entry(model.into()).or_default().learn(output_tokens, last);
    }

    /// Forgets the model that was learned longest ago.
    fn forget(&mut self) {
        let oldest = |models: &BTreeMap<Box<str>, Histogram>| models.values().map(|one| one.last).min();
        let Some(models) = self.providers.values_mut().min_by_key(|models| oldest(models)) else { return };
        let last = oldest(models);
        models.retain(|_, histogram| Some(histogram.last) != last);
        self.models -= 1;
        self.providers.retain(|_, models| !models.is_empty());
    }
}

impl Histogram {
    fn learn(&mut self, tokens: u64, last: u64) {
        self.last = last;
        *self.weights.entry(interval(tokens)).or_default() += WEIGHT;
        self.sum += WEIGHT;
        if self.sum > WINDOW * WEIGHT {
            self.weights.retain(|_, weight| {
                *weight /= 2;
                *weight > 0
            });
            self.sum = self.weights.values().sum();
        }
    }

    /// The upper bound of the first interval that has 9 of 10 at or below it.
    fn p90(&self) -> Option<u64> {
        let mut below = 0;
        let mut found = self.weights.iter().filter(|(_, weight)| {
            below += **weight;
            below * 10 >= self.sum * 9
        });
        found.next().map(|(interval, _)| upper_bound(*interval))
    }
}

/// The number of the interval of a value.
fn interval(value: u64) -> u16 {
    let power = value.checked_ilog2().unwrap_or(0).saturating_sub(STEPS);
    let interval = (u64::from(power) << STEPS) + (value >> power);
    u16::try_from(interval).expect("a power below 64, and less than 2^(STEPS + 1)")
}

/// The greatest value of an interval.
fn upper_bound(interval: u16) -> u64 {
    let steps = 1 << STEPS;
    let power = (interval >> STEPS).saturating_sub(1);
    let high = u64::from(interval - (power << STEPS));
    debug_assert!(high < 2 * steps);
    (high << power) | ((1 << power) - 1)
}

/// The tokens that a call reserves of a limit.
///
/// `prompt` is an estimate of the prompt's tokens. For [`Reserve::Max`] it must be an upper bound, such as the bytes of the body: a
/// tokenizer makes at most one token of a byte. `cap` is the greatest number of output tokens that the request allows. Only a limit
/// that counts them needs it.
pub fn reserve_tokens(
    kind: Reserve,
    prompt: u64,
    cap: Option<u64>,
    p90: u64,
    side: Side,
) -> Result<i128, NoCap> {
    let output = match (kind, side) {
        (Reserve::None, _) => return Ok(0),
        (_, Side::Input) => 0,
        (Reserve::Learned, Side::Output | Side::Both) => cap.map_or(p90, |cap| cap.min(p90)),
        (Reserve::Max, Side::Output | Side::Both) => cap.ok_or(NoCap)?,
    };
    let input = match side {
        Side::Input | Side::Both => prompt,
        Side::Output => 0,
    };
    Ok(i128::from(input) + i128::from(output))
}

#[cfg(test)]
mod tests;
