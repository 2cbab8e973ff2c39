//! Histograms since the start of the process: duration, time to first byte, tokens.
//!
//! Series are bounded whatever clients and upstreams send: the models of the settings, or else the [`MAX_MODELS`] that are
//! used most, have series of their own; others, and those that only failed exchanges name, are counted as `(other)`. Estimated tokens have series of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    attributes::{error_type, operation, output_tokens, provider},
    messages::{CUMULATIVE, Histogram, HistogramDataPoint, KeyValue, Metric, Value, attribute, text},
};
use crate::{
    access_record::{AccessRecord, Outcome, Usage},
    ranking::Ranking,
};

/// Maximum number of distinct models.
const MAX_MODELS: usize = 100;
/// Maximum number of series of an instrument.
const MAX_SERIES: usize = 2000;
/// The label of models without a series of their own.
const OTHER: &str = "(other)";

/// Bounds of buckets, in seconds, and in tokens: those of the conventions.
const SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// The histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Instrument {
    Duration,
    FirstChunk,
    FirstToken,
    Tokens,
}

impl Instrument {
    const ALL: [Self; 4] = [Self::Duration, Self::FirstChunk, Self::FirstToken, Self::Tokens];

    const fn name(self) -> &'static str {
        match self {
            Self::Duration => "gen_ai.client.operation.duration",
            Self::FirstChunk => "gen_ai.client.operation.time_to_first_chunk",
            Self::FirstToken => "gen_ai.server.time_to_first_token",
            Self::Tokens => "gen_ai.client.token.usage",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Duration => "GenAI operation duration.",
            Self::FirstChunk => "Time to receive the first chunk of a streamed answer.",
            Self::FirstToken => "Time to the first byte of a successful answer.",
            Self::Tokens => "Number of input and output tokens used.",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Duration | Self::FirstChunk | Self::FirstToken => "s",
            Self::Tokens => "{token}",
        }
    }

    const fn bounds(self) -> &'static [f64] {
        match self {
            Self::Duration | Self::FirstChunk => SECONDS,
            Self::FirstToken => FIRST_SECONDS,
            Self::Tokens => TOKENS,
        }
    }
}

/// The labels of a series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    operation: String,
    provider: String,
    request_model: Option<String>,
    response_model: Option<String>,
    error: Option<String>,
    token_type: Option<&'static str>,
    is_estimated: bool,
}

#[derive(Debug, Clone)]
struct Buckets {
    /// Since when it counts, in milliseconds since 1970.
    since_ms: u64,
    counts: Vec<u64>,
    sum: f64,
}

/// All series. That without labels has what exceeds [`MAX_SERIES`].
#[derive(Debug)]
pub(super) struct Metrics {
    /// The start, or the last time at which series were removed: a later one begins then.
    since_ms: u64,
    /// The models of the settings.
    listed: Option<BTreeSet<String>>,
    models: Ranking<String, ()>,
    series: BTreeMap<Instrument, BTreeMap<Option<Labels>, Buckets>>,
}

impl Metrics {
    pub(super) fn new(since_ms: u64, listed: Option<BTreeSet<String>>) -> Self {
        Self { since_ms, listed, models: Ranking::new(MAX_MODELS), series: BTreeMap::new() }
    }

    /// Adds an exchange.
    pub(super) fn add(&mut self, record: &AccessRecord) {
        let usage = record.usage.as_deref();
        let is_success = record.outcome() == Outcome::Success;
        let named = [
            usage.and_then(|usage| usage.request_model.as_deref()),
            usage.and_then(|usage| usage.model.as_deref()),
        ];
        if is_success && self.listed.is_none() {
            self.use_models(named.into_iter().flatten(), record.ended_at_ms());
        }
        let [request_model, response_model] = named.map(|model| Some(self.label(model?)));
        let labels = Labels {
            operation: operation(record).to_owned(),
            provider: provider(record).to_owned(),
            request_model,
            response_model,
            error: None,
            token_type: None,
            is_estimated: false,
        };
        let duration = record.duration.as_secs_f64();
        self.observe(Instrument::Duration, Labels { error: error_type(record), ..labels.clone() }, duration);
        if let Some(first) = record.first_byte.filter(|_| is_success) {
            let first = first.as_secs_f64();
            self.observe(Instrument::FirstToken, labels.clone(), first);
            if usage.is_some_and(|usage| usage.streamed) {
                self.observe(Instrument::FirstChunk, labels.clone(), first);
            }
        }
        if let Some(usage) = usage {
            self.add_tokens(usage, &labels);
        }
    }

    fn add_tokens(&mut self, usage: &Usage, labels: &Labels) {
        let (all, estimated) = (&usage.counters, &usage.estimated);
        let sides = [
            ("input", all.prompt_tokens(), estimated.prompt_tokens()),
            ("output", output_tokens(all), output_tokens(estimated)),
        ];
        for (token_type, tokens, estimated) in sides.into_iter().filter(|(_, tokens, _)| *tokens > 0) {
            let is_estimated = estimated > 0;
            let labels = Labels { token_type: Some(token_type), is_estimated, ..labels.clone() };
            self.observe(Instrument::Tokens, labels, float(tokens));
        }
    }

    /// Counts uses of models. Only a success is one, since clients choose the model of a request. Removes the series of models
    /// that lose their place.
    fn use_models<'m>(&mut self, models: impl Iterator<Item = &'m str>, now_ms: u64) {
        let mut has_new = false;
        for model in models {
            let was_ranked = self.models.contains(model);
            has_new |= self.models.used(&model.to_owned()).is_some() && !was_ranked;
        }
        if !has_new {
            return;
        }
        let ranked = &self.models;
        let stays = |model: &Option<String>| {
            model.as_ref().is_none_or(|model| model == OTHER || ranked.contains(model))
        };
        for series in self.series.values_mut() {
            let before = series.len();
            series.retain(|labels, _| {
                labels.as_ref().is_none_or(|all| stays(&all.request_model) && stays(&all.response_model))
            });
            if series.len() < before {
                self.since_ms = now_ms;
            }
        }
    }

    /// The label of a model.
    fn label(&self, model: &str) -> String {
        let is_known = match &self.listed {
            Some(listed) => listed.contains(model),
            None => self.models.contains(model),
        };
        if is_known { model } else { OTHER }.to_owned()
    }

    fn observe(&mut self, instrument: Instrument, labels: Labels, value: f64) {
        let bounds = instrument.bounds();
        let since_ms = self.since_ms;
        let empty = || Buckets { since_ms, counts: vec![0; bounds.len() + 1], sum: 0.0 };
        let all = self.series.entry(instrument).or_default();
        let labels =
            Some(labels).filter(|labels| all.len() < MAX_SERIES || all.contains_key(&Some(labels.clone())));
        let buckets = all.entry(labels).or_insert_with(empty);
        // A bucket's upper bound belongs to it.
        buckets.counts[bounds.partition_point(|bound| *bound < value)] += 1;
        buckets.sum += value;
    }

    /// All metrics that have a series.
    pub(super) fn collect(&self, now_ms: u64) -> Vec<Metric> {
        let metric = |instrument: Instrument| {
            let series = self.series.get(&instrument)?;
            let point = |(labels, buckets): (&Option<Labels>, &Buckets)| HistogramDataPoint {
                attributes: labels.as_ref().map_or_else(overflow, Labels::attributes),
                start_time_unix_nano: buckets.since_ms.saturating_mul(1_000_000),
                time_unix_nano: now_ms.saturating_mul(1_000_000),
                count: buckets.counts.iter().sum(),
                sum: Some(buckets.sum),
                bucket_counts: buckets.counts.clone(),
                explicit_bounds: instrument.bounds().to_vec(),
            };
            let data_points = series.iter().map(point).collect();
            Some(Metric {
                name: instrument.name().to_owned(),
                description: instrument.description().to_owned(),
                unit: instrument.unit().to_owned(),
                histogram: Some(Histogram { data_points, aggregation_temporality: CUMULATIVE }),
            })
        };
        Instrument::ALL.into_iter().filter_map(metric).collect()
    }
}

impl Labels {
    fn attributes(&self) -> Vec<KeyValue> {
        let mut all = vec![
            text("gen_ai.operation.name", self.operation.as_str()),
            text("gen_ai.provider.name", self.provider.as_str()),
        ];
        let optional = [
            ("gen_ai.request.model", self.request_model.as_deref()),
            ("gen_ai.response.model", self.response_model.as_deref()),
            ("error.type", self.error.as_deref()),
            ("gen_ai.token.type", self.token_type),
        ];
        all.extend(optional.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
        if self.is_estimated {
            all.push(attribute("tollgate.usage.estimated", Value::Bool(true)));
        }
        all
    }
}

/// The label that OpenTelemetry gives to what exceeds a bound.
fn overflow() -> Vec<KeyValue> {
    vec![attribute("otel.metric.overflow", Value::Bool(true))]
}

/// The nearest floating-point number: exact up to 2^53.
fn float(number: u64) -> f64 {
    let half = |bits: u64| f64::from(u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX));
    half(number >> 32) * 4_294_967_296.0 + half(number)
}
