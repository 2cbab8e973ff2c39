//! Estimates of tokens from bytes of text, by ratios that are learned from counted exchanges.
//!
//! For each provider and model, and for prompts and answers apart: the bytes of text and the tokens of what was counted.
//! Older exchanges weigh less: beyond [`WINDOW`] tokens, both sums are halved. Tokens without visible text, such as hidden
//! reasoning, are part of the ratio, so that an estimate has its share of them, too. Bounded: [`MAX_MODELS`].

use std::collections::BTreeMap;

use crate::{
    base::usage::{Counter, Counters, MAX_COUNT, NotCounted},
    request::access_record::{Sides, Usage},
};

/// Bytes of text per token before anything is learned: that of English prose.
pub const DEFAULT_BYTES_PER_TOKEN: u64 = 4;
/// The number of tokens that the default weighs as much as.
const DEFAULT_WEIGHT: u64 = 64;
/// The tokens after which what was learned counts half.
pub const WINDOW: u64 = 100_000;
/// The greatest number of models. Beyond it, the model that was counted longest ago is forgotten.
pub const MAX_MODELS: usize = 1_000;
/// Bytes per token outside of these are not learned: other things than text were counted. A tokenizer makes at most one token of
/// a byte; an answer may have hidden reasoning besides.
const MAX_BYTES_PER_TOKEN: u64 = 64;
const MAX_PROMPT_TOKENS_PER_BYTE: u64 = 1;
const MAX_ANSWER_TOKENS_PER_BYTE: u64 = 4;

/// Learned bytes per token of each provider and model.
#[derive(Debug, Default)]
pub struct Ratios {
    providers: BTreeMap<Box<str>, BTreeMap<Box<str>, Learned>>,
    models: usize,
    /// The number of exchanges that were learned from.
    learned: u64,
}

/// Text of counted exchanges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextSum {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its tokens.
    pub tokens: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Learned {
    prompt: Ratio,
    answer: Ratio,
    /// The number of the last exchange.
    last: u64,
}

#[derive(Debug, Clone, Copy)]
struct Ratio {
    bytes: u64,
    tokens: u64,
}

/// True if it counts tokens of an answer.
fn is_answer(counter: Counter) -> bool {
    counter.is_tokens() && !counter.is_prompt()
}

impl Default for Ratio {
    fn default() -> Self {
        Self { bytes: DEFAULT_BYTES_PER_TOKEN * DEFAULT_WEIGHT, tokens: DEFAULT_WEIGHT }
    }
}

impl Ratio {
    fn learn(&mut self, bytes: u64, tokens: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.tokens = self.tokens.saturating_add(tokens);
        while self.tokens > WINDOW {
            // Neither becomes zero: their ratio stays within the bounds of what is learned.
            (self.bytes, self.tokens) = (self.bytes.div_ceil(2), self.tokens.div_ceil(2));
        }
    }

    /// The tokens of so much text, rounded up.
    fn tokens(self, bytes: u64) -> u64 {
        let tokens = (u128::from(bytes) * u128::from(self.tokens)).div_ceil(u128::from(self.bytes.max(1)));
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }
}

impl Ratios {
    /// The text of the prompt and of the answer that ratios are learned from: of sides that were counted wholly, and have
    /// nothing but text. Zero for others.
    pub fn text(usage: &Usage) -> [TextSum; 2] {
        if usage.not_counted.is_some() || usage.failed {
            return [TextSum::default(); 2];
        }
        let tokens = |chosen: fn(Counter) -> bool| sum(&usage.counters, chosen);
        let is_estimated = |chosen: fn(Counter) -> bool| sum(&usage.estimated, chosen) > 0;
        let prompt = !usage.to_estimate.prompt
            && !is_estimated(Counter::is_prompt)
            && usage.counters.get(Counter::AudioInput) == 0
            && !usage.prompt_has_other;
        let answer = !usage.to_estimate.answer
            && !is_estimated(is_answer)
            && usage.counters.get(Counter::AudioOutput) == 0;
        let of = |is_text: bool, sum: TextSum| if is_text { sum } else { TextSum::default() };
        let in_prompt = TextSum { bytes: usage.prompt_bytes, tokens: tokens(Counter::is_prompt) };
        let in_answer = TextSum { bytes: usage.answer_bytes, tokens: tokens(is_answer) };
        [of(prompt && in_prompt.is_prompt(), in_prompt), of(answer && in_answer.is_answer(), in_answer)]
    }

    /// Learns from the [text](Self::text) of an exchange.
    pub fn learn(&mut self, provider: &str, usage: &Usage) {
        let [prompt, answer] = Self::text(usage);
        self.seed(provider, usage.charged_model(), prompt, answer);
    }

    /// Learns from sums of counted exchanges of earlier times.
    pub fn seed(&mut self, provider: &str, model: &str, prompt: TextSum, answer: TextSum) {
        if !prompt.is_prompt() && !answer.is_answer() {
            return;
        }
        let learned = self.entry(provider, model);
        if prompt.is_prompt() {
            learned.prompt.learn(prompt.bytes, prompt.tokens);
        }
        if answer.is_answer() {
            learned.answer.learn(answer.bytes, answer.tokens);
        }
    }

    /// Adds estimates to the counters of sides that need them. A second call changes nothing.
    pub fn estimate(&self, provider: &str, usage: &mut Usage) {
        if usage.to_estimate != Sides::default() {
            let learned = self.of(provider, usage.charged_model());
            learned.estimate(usage, usage.prompt_bytes);
        }
    }

    /// The same by ratios that were learned of whole bodies, by the models of requests. `body_bytes`: the size of the request's
    /// body. That of one with images says little of its tokens.
    pub fn estimate_by_body(&self, provider: &str, usage: &mut Usage, body_bytes: u64) {
        if usage.to_estimate != Sides::default() {
            let model = usage.request_model.as_deref().filter(|model| !model.is_empty());
            let learned = self.of(provider, model.unwrap_or_else(|| usage.charged_model()));
            let prompt_bytes = if usage.prompt_has_other { 0 } else { body_bytes };
            learned.estimate(usage, prompt_bytes.max(usage.prompt_bytes));
        }
    }

    fn of(&self, provider: &str, model: &str) -> Learned {
        self.providers.get(provider).and_then(|models| models.get(model)).copied().unwrap_or_default()
    }

    /// The tokens of a prompt of so many bytes.
    pub fn prompt_tokens(&self, provider: &str, model: &str, bytes: u64) -> u64 {
        self.of(provider, model).prompt.tokens(bytes)
    }

    /// The number of models that something is known of.
    pub fn len(&self) -> usize {
        self.models
    }

    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        self.models == 0
    }

    fn entry(&mut self, provider: &str, model: &str) -> &mut Learned {
        let is_known = self.providers.get(provider).is_some_and(|models| models.contains_key(model));
        if !is_known {
            if self.models == MAX_MODELS {
                self.forget_one();
            }
            self.models += 1;
            self.providers.entry(provider.into()).or_default().insert(model.into(), Learned::default());
        }
        self.learned += 1;
        let models = self.providers.get_mut(provider);
        let learned = models.and_then(|models| models.get_mut(model)).expect("it was inserted");
        learned.last = self.learned;
        learned
    }

    fn forget_one(&mut self) {
        let all = self.providers.iter().flat_map(|(provider, models)| {
            models.iter().map(move |(model, learned)| (learned.last, provider, model))
        });
        let Some((_, provider, model)) = all.min() else { return };
        let (provider, model) = (provider.clone(), model.clone());
        if let Some(models) = self.providers.get_mut(&provider) {
            models.remove(&model);
            if models.is_empty() {
                self.providers.remove(&provider);
            }
        }
        self.models -= 1;
    }
}

impl Learned {
    fn estimate(&self, usage: &mut Usage, prompt_bytes: u64) {
        if usage.to_estimate.prompt {
            raise(usage, Counter::Input, Counter::is_prompt, self.prompt.tokens(prompt_bytes));
        }
        if usage.to_estimate.answer {
            raise(usage, Counter::Output, is_answer, self.answer.tokens(usage.answer_bytes));
        }
    }
}

fn sum(counters: &Counters, chosen: fn(Counter) -> bool) -> u64 {
    counters.iter().filter(|(one, _)| chosen(*one)).fold(0, |sum, (_, value)| sum.saturating_add(value))
}

impl TextSum {
    /// True if it can be the text of prompts.
    fn is_prompt(self) -> bool {
        self.is_text(MAX_PROMPT_TOKENS_PER_BYTE)
    }

    /// True if it can be the text of answers.
    fn is_answer(self) -> bool {
        self.is_text(MAX_ANSWER_TOKENS_PER_BYTE)
    }

    /// True if so many tokens can be those of so much text.
    fn is_text(self, max_tokens_per_byte: u64) -> bool {
        let Self { bytes, tokens } = self;
        bytes > 0
            && tokens > 0
            && bytes <= tokens.saturating_mul(MAX_BYTES_PER_TOKEN)
            && tokens <= bytes.saturating_mul(max_tokens_per_byte)
    }
}

/// Raises a side to so many tokens, if it has fewer.
fn raise(usage: &mut Usage, counter: Counter, side: fn(Counter) -> bool, tokens: u64) {
    let missing = tokens.min(MAX_COUNT).saturating_sub(sum(&usage.counters, side));
    usage.counters.add(counter, missing);
    usage.estimated.add(counter, missing);
    if usage.counters.get(counter) == 0 {
        // Parts of the side that were counted exceed the estimate: nothing says how much there is besides.
        usage.not_counted = usage.not_counted.or(Some(NotCounted::Missing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::access_record::Sides;

    fn counted(model: &str, bytes: u64, tokens: u64) -> Usage {
        let mut usage =
            Usage { model: Some(model.into()), prompt_bytes: bytes, answer_bytes: bytes, ..Usage::default() };
        usage.counters.set(Counter::Input, tokens);
        usage.counters.set(Counter::Output, tokens);
        usage
    }

    #[test]
    fn sums_of_earlier_times_are_learned_unless_they_are_no_text() {
        let mut ratios = Ratios::default();
        let (text, none) = (TextSum { bytes: 6_000_000, tokens: 3_000_000 }, TextSum { bytes: 0, tokens: 9 });
        ratios.seed("one", "m", text, none);
        ratios.seed("one", "no text", none, TextSum { bytes: 1, tokens: 1000 });
        assert_eq!(ratios.len(), 1);
        let mut usage = uncounted("m", 2000);
        ratios.estimate("one", &mut usage);
        let estimated = |counter| usage.counters.get(counter);
        assert_eq!((estimated(Counter::Input), estimated(Counter::Output)), (1000, 500));
    }

    fn uncounted(model: &str, bytes: u64) -> Usage {
        Usage { to_estimate: Sides { prompt: true, answer: true }, ..counted(model, bytes, 0) }
    }

    #[test]
    fn without_an_answer_the_ratio_is_that_of_the_requested_model() {
        let mut ratios = Ratios::default();
        for _ in 0..100 {
            ratios.learn("demo", &counted("m", 2000, 1000));
        }
        let asked = Usage { model: None, request_model: Some("m".into()), ..uncounted("m", 20_000) };
        assert!((9_900..=10_000).contains(&estimated(&ratios, asked).0));
    }

    fn estimated(ratios: &Ratios, mut usage: Usage) -> (u64, u64, Counters) {
        ratios.estimate("demo", &mut usage);
        let once = usage.clone();
        ratios.estimate("demo", &mut usage);
        assert_eq!(usage, once, "a second estimate changes nothing");
        (usage.counters.get(Counter::Input), usage.counters.get(Counter::Output), usage.estimated)
    }

    #[test]
    fn before_anything_is_learned_a_token_has_four_bytes() {
        let (input, output, marked) = estimated(&Ratios::default(), uncounted("m", 41));
        assert_eq!((input, output), (11, 11));
        assert_eq!((marked.get(Counter::Input), marked.get(Counter::Output)), (11, 11));
    }

    #[test]
    fn ratios_are_those_of_the_counted_exchanges_of_a_model() {
        let mut ratios = Ratios::default();
        for _ in 0..100 {
            ratios.learn("demo", &counted("m", 2000, 1000));
        }
        let (input, output, _) = estimated(&ratios, uncounted("m", 20_000));
        assert!((9_900..=10_000).contains(&input) && input == output, "{input} {output}");
        assert_eq!(estimated(&ratios, uncounted("other", 20_000)).0, 5_000);
        // It follows a change.
        for _ in 0..500 {
            ratios.learn("demo", &counted("m", 8000, 1000));
        }
        let (input, _, _) = estimated(&ratios, uncounted("m", 80_000));
        assert!((10_000..=10_600).contains(&input), "{input}");
    }

    #[test]
    fn only_whole_counts_are_learned_from() {
        let mut ratios = Ratios::default();
        let one = counted("m", 2000, 1000);
        let mut audio = one.clone();
        audio.counters.set(Counter::AudioInput, 1);
        audio.counters.set(Counter::AudioOutput, 1);
        let mut done = uncounted("m", 100);
        ratios.estimate("demo", &mut done);
        for usage in [
            Usage { not_counted: Some(NotCounted::Format), ..one.clone() },
            Usage { failed: true, ..one.clone() },
            Usage { to_estimate: Sides { prompt: true, answer: true }, ..one },
            audio,
            done,
            counted("m", 0, 10),
            counted("m", 10, 0),
            counted("m", 10, 41),
            counted("m", 6_401, 100),
            counted("m", 10, u64::MAX),
        ] {
            ratios.learn("demo", &usage);
            assert!(ratios.is_empty(), "{usage:?}");
        }
    }

    #[test]
    fn of_a_preliminary_count_and_an_estimate_the_greater_is_used() {
        let mut usage = uncounted("m", 40);
        usage.counters.set(Counter::Output, 1);
        usage.counters.set(Counter::Reasoning, 2);
        usage.counters.set(Counter::CacheRead, 500);
        let (input, output, marked) = estimated(&Ratios::default(), usage);
        assert_eq!((input, output), (0, 8));
        assert_eq!((marked.get(Counter::Output), marked.tokens()), (7, 7));
    }

    #[test]
    fn prompts_with_other_parts_than_text_teach_nothing() {
        let mut ratios = Ratios::default();
        let with_image = Usage { prompt_has_other: true, answer_bytes: 0, ..counted("m", 300, 275) };
        let dense = Usage { answer_bytes: 0, ..counted("m", 300, 301) };
        for _ in 0..60 {
            ratios.learn("demo", &with_image);
            ratios.learn("demo", &dense);
        }
        assert!(ratios.is_empty());
        // An answer may have hidden reasoning.
        ratios.learn("demo", &Usage { prompt_bytes: 0, ..counted("m", 300, 1_200) });
        assert_eq!(ratios.len(), 1);
        assert_eq!(estimated(&ratios, uncounted("m", 4_000)).0, 1_000);
    }

    #[test]
    fn no_estimate_is_greater_than_a_count() {
        let (input, output, _) = estimated(&Ratios::default(), uncounted("m", u64::MAX));
        assert_eq!((input, output), (MAX_COUNT, MAX_COUNT));
    }

    #[test]
    fn a_side_without_an_estimate_is_no_counted_zero() {
        let mut usage = uncounted("m", 40);
        usage.counters.set(Counter::Output, 100);
        Ratios::default().estimate("demo", &mut usage);
        assert_eq!(usage.not_counted, None);
        usage.counters.set(Counter::CacheRead, 500);
        usage.counters.set(Counter::Input, 0);
        Ratios::default().estimate("demo", &mut usage);
        assert_eq!(usage.not_counted, Some(NotCounted::Missing));
    }

    #[test]
    fn the_number_of_models_is_bounded_and_the_oldest_is_forgotten() {
        let mut ratios = Ratios::default();
        ratios.learn("other", &counted("first", 2000, 1000));
        for index in 0..MAX_MODELS {
            ratios.learn("demo", &counted(&format!("m{index}"), 2000, 1000));
        }
        assert_eq!((ratios.len(), ratios.providers.len()), (MAX_MODELS, 1));
        ratios.learn("demo", &counted("m0", 2000, 1000));
        ratios.learn("demo", &counted("new", 2000, 1000));
        let models = &ratios.providers["demo"];
        assert_eq!((ratios.len(), models.len()), (MAX_MODELS, MAX_MODELS));
        assert!(models.contains_key("m0") && models.contains_key("new") && !models.contains_key("m1"));
    }
}
