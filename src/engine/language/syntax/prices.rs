//! The document of a price file: the prices of models, in one currency. The doc comments of keys are its reference: they
//! become the descriptions in the schema.
//!
//! Prices have the names of the counters of usage. Read next: `compile/prices`, which gives them a meaning.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::base::usage::Counter;

/// Prices of models, in one currency. The stem of the file is the provider of all entries that name none.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate prices")]
pub struct Prices {
    /// The version of the language that the file is written in.
    #[schemars(example = 2, range(min = 1, max = 2))]
    pub language: Option<u32>,
    /// The display name.
    #[schemars(example = &"Example AI")]
    pub title: String,
    /// The currency of all prices, by its ISO 4217 code.
    #[schemars(example = &"USD")]
    pub currency: String,
    /// The place where the prices were read.
    #[schemars(example = &"https://example.com/pricing")]
    pub source: Option<String>,
    /// The day on which they were read, `YYYY-MM-DD`.
    #[schemars(example = &"2026-11-20")]
    pub date: Option<String>,
    /// The prices. Of several entries for a model, the most specific applies.
    #[schemars(example = example_price())]
    #[schemars(extend("maxItems" = 5000))]
    pub price: Vec<Price>,
    /// Tests of the file: usage of a model, and its expected cost. Only this file's prices count in them.
    #[schemars(example = example_test())]
    #[schemars(extend("maxItems" = 2000))]
    pub test: Option<Vec<PriceTest>>,
}

/// The prices of some models from a day on. A unit without a price costs nothing.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The providers, as names or globs; the stem of the file by default.
    #[schemars(example = json!(["example"]))]
    #[schemars(extend("minItems" = 1, "maxItems" = 64))]
    pub provider: Option<Vec<String>>,
    /// The models, as names or globs. Case counts.
    #[schemars(example = json!(["example-1", "example-1-2026-*"]))]
    #[schemars(extend("minItems" = 1, "maxItems" = 64))]
    pub model: Vec<String>,
    /// The first day of these prices, `YYYY-MM-DD` in UTC. They end where the next entry for the same models begins. Without
    /// it, they hold from the beginning.
    #[schemars(example = &"2026-01-01")]
    pub from: Option<String>,
    /// The price of tokens of the prompt that no other key counts, per million.
    #[schemars(example = 2.5, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub input: Option<f64>,
    /// The price of tokens of the answer that no other key counts, per million.
    #[schemars(example = 10, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub output: Option<f64>,
    /// The price of tokens of the prompt that were read from the cache, per million; as `input` by default.
    #[schemars(example = 0.25, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub cache_read: Option<f64>,
    /// The price of tokens of the prompt that were written to the cache, per million; as `input` by default.
    #[schemars(example = 3.125, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub cache_write: Option<f64>,
    /// The price of tokens spent on reasoning, per million; as `output` by default.
    #[schemars(example = 10, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub reasoning: Option<f64>,
    /// The price of audio tokens of the prompt, per million; as `input` by default.
    #[schemars(example = 40, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub audio_input: Option<f64>,
    /// The price of audio tokens of the answer, per million; as `output` by default.
    #[schemars(example = 80, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub audio_output: Option<f64>,
    /// The price of images made, each.
    #[schemars(example = 0.04, extend("minimum" = 0, "maximum" = 5_000_000))]
    pub images: Option<f64>,
    /// The price of characters that were read aloud or translated, per million.
    #[schemars(example = 15, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub characters: Option<f64>,
    /// The price of seconds of audio or video, each.
    #[schemars(example = 0.0001, extend("minimum" = 0, "maximum" = 5_000_000))]
    pub seconds: Option<f64>,
    /// The price of other units that the vendor bills, each.
    #[schemars(example = 0.002, extend("minimum" = 0, "maximum" = 5_000_000))]
    pub units: Option<f64>,
    /// Prices of requests with a long prompt, by ascending length.
    #[schemars(example = json!([{ "over": 200_000, "input": 5 }]))]
    #[schemars(extend("maxItems" = 16))]
    pub tier: Option<Vec<Tier>>,
}

/// The prices of a whole request whose prompt is longer than a threshold. A price that is left out is that of the entry.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The number of tokens that the prompt exceeds, cached ones included.
    #[schemars(example = 200_000, extend("minimum" = 1, "maximum" = 1_000_000_000))]
    pub over: u64,
    /// The price of tokens of the prompt that no other key counts, per million.
    #[schemars(example = 2.5, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub input: Option<f64>,
    /// The price of tokens of the answer that no other key counts, per million.
    #[schemars(example = 10, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub output: Option<f64>,
    /// The price of tokens of the prompt that were read from the cache, per million.
    #[schemars(example = 0.25, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub cache_read: Option<f64>,
    /// The price of tokens of the prompt that were written to the cache, per million.
    #[schemars(example = 3.125, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub cache_write: Option<f64>,
    /// The price of tokens spent on reasoning, per million.
    #[schemars(example = 10, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub reasoning: Option<f64>,
    /// The price of audio tokens of the prompt, per million.
    #[schemars(example = 40, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub audio_input: Option<f64>,
    /// The price of audio tokens of the answer, per million.
    #[schemars(example = 80, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub audio_output: Option<f64>,
    /// The price of images made, each.
    #[schemars(example = 0.04, extend("minimum" = 0, "maximum" = 5_000_000))]
    pub images: Option<f64>,
    /// The price of characters that were read aloud or translated, per million.
    #[schemars(example = 15, extend("minimum" = 0, "maximum" = 1_000_000_000))]
    pub characters: Option<f64>,
    /// The price of seconds of audio or video, each.
    #[schemars(example = 0.0001, extend("minimum" = 0, "maximum" = 5_000_000))]
    pub seconds: Option<f64>,
    /// The price of other units that the vendor bills, each.
    #[schemars(example = 0.002, extend("minimum" = 0, "maximum" = 5_000_000))]
    pub units: Option<f64>,
}

/// A test of a price file.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceTest {
    /// The name of the test.
    #[schemars(example = &"cached tokens")]
    pub name: String,
    /// The usage of a request.
    #[schemars(example = json!({ "model": "example-1", "input": 1000 }))]
    pub usage: PriceUsage,
    /// The expected result.
    #[schemars(example = json!({ "cost": "0.0025" }))]
    pub expect: PriceExpect,
}

/// The usage of a request in a test. Counters that are left out are zero.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceUsage {
    /// The provider; the stem of the file by default.
    #[schemars(example = &"example")]
    pub provider: Option<String>,
    /// The model, as the upstream names it.
    #[schemars(example = &"example-1")]
    pub model: String,
    /// The day of the request, `YYYY-MM-DD` in UTC; the end of time by default, when the latest prices hold.
    #[schemars(example = &"2026-11-20")]
    pub day: Option<String>,
    /// The number of tokens of the prompt that no other key counts.
    #[schemars(example = 1000)]
    pub input: Option<u64>,
    /// The number of tokens of the answer that no other key counts.
    #[schemars(example = 1000)]
    pub output: Option<u64>,
    /// The number of tokens of the prompt that were read from the cache.
    #[schemars(example = 1000)]
    pub cache_read: Option<u64>,
    /// The number of tokens of the prompt that were written to the cache.
    #[schemars(example = 1000)]
    pub cache_write: Option<u64>,
    /// The number of tokens spent on reasoning.
    #[schemars(example = 1000)]
    pub reasoning: Option<u64>,
    /// The number of audio tokens of the prompt.
    #[schemars(example = 1000)]
    pub audio_input: Option<u64>,
    /// The number of audio tokens of the answer.
    #[schemars(example = 1000)]
    pub audio_output: Option<u64>,
    /// The number of images made.
    #[schemars(example = 1000)]
    pub images: Option<u64>,
    /// The number of characters that were read aloud or translated.
    #[schemars(example = 1000)]
    pub characters: Option<u64>,
    /// The number of seconds of audio or video.
    #[schemars(example = 1000)]
    pub seconds: Option<u64>,
    /// The number of other units that the vendor bills.
    #[schemars(example = 1000)]
    pub units: Option<u64>,
}

/// The expected result of a test. Properties that are left out are not checked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceExpect {
    /// The exact cost in the currency of the file, as a decimal number.
    #[schemars(example = &"0.0025")]
    #[schemars(extend("pattern" = "^[0-9]+([.][0-9]{1,12})?$"))]
    pub cost: Option<String>,
    /// The threshold of the tier that applies; 0 for none.
    #[schemars(example = 200_000)]
    pub context: Option<u64>,
    /// False if no entry of the file applies.
    #[schemars(example = false)]
    pub priced: Option<bool>,
}

/// The value of the key that is named as a counter.
macro_rules! by_counter {
    ($table:expr, $counter:expr) => {
        match $counter {
            Counter::Input => $table.input,
            Counter::Output => $table.output,
            Counter::CacheRead => $table.cache_read,
            Counter::CacheWrite => $table.cache_write,
            Counter::Reasoning => $table.reasoning,
            Counter::AudioInput => $table.audio_input,
            Counter::AudioOutput => $table.audio_output,
            Counter::Images => $table.images,
            Counter::Characters => $table.characters,
            Counter::Seconds => $table.seconds,
            Counter::Units => $table.units,
        }
    };
}

impl Price {
    /// The prices, in the order of [`Counter::ALL`].
    pub fn rates(&self) -> [Option<f64>; Counter::ALL.len()] {
        Counter::ALL.map(|counter| by_counter!(self, counter))
    }
}

impl Tier {
    /// The prices, in the order of [`Counter::ALL`].
    pub fn rates(&self) -> [Option<f64>; Counter::ALL.len()] {
        Counter::ALL.map(|counter| by_counter!(self, counter))
    }
}

impl PriceUsage {
    /// The counters, in the order of [`Counter::ALL`].
    pub fn counters(&self) -> [Option<u64>; Counter::ALL.len()] {
        Counter::ALL.map(|counter| by_counter!(self, counter))
    }
}

// === examples with several keys ===

fn example_price() -> serde_json::Value {
    json!([{ "model": ["example-1"], "from": "2026-01-01", "input": 2.5, "output": 10 }])
}

fn example_test() -> serde_json::Value {
    json!([{
        "name": "a prompt of a thousand tokens",
        "usage": { "model": "example-1", "input": 1000 },
        "expect": { "cost": "0.0025" },
    }])
}
