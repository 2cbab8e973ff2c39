//! Histograms and counters since the start of the process: duration, time to first byte, tokens.
//!
//! Exchanges of metered endpoints are inferences or, with the operation `embeddings`, embeddings. All others have a duration alone.
//! Series are bounded whatever clients and upstreams send: the models of the settings, or else the [`MAX_MODELS`] that are
//! used most, have series of their own; others, and those that only failed exchanges name, are counted as `(other)`. Estimated tokens have series of their own.

mod instrument;

use std::collections::{BTreeMap, BTreeSet};

use self::instrument::{Distribution, Spent, TOKEN};
use super::{
    attributes::{error_type, operation, output_tokens, provider},
    messages::{
        CUMULATIVE, Histogram, HistogramDataPoint, KeyValue, Metric, NumberDataPoint, Sum, Value, attribute,
        text,
    },
};
use crate::{
    access_record::{AccessRecord, Outcome, Usage},
    ranking::Ranking,
    usage::Counter,
};

/// Maximum number of distinct models.
const MAX_MODELS: usize = 100;
/// Maximum number of series of an instrument.
const MAX_SERIES: usize = 2000;
/// The label of models without a series of their own.
const OTHER: &str = "(other)";

/// The kind of an exchange, by which the conventions name its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inference,
    Embeddings,
    Other,
}

impl Kind {
    fn of(record: &AccessRecord) -> Self {
        match &record.telemetry {
            Some(names) if names.is_metered && &*names.operation == "embeddings" => Self::Embeddings,
            Some(names) if names.is_metered => Self::Inference,
            _ => Self::Other,
        }
    }

    const fn duration(self) -> Distribution {
        match self {
            Self::Inference => Distribution::InferenceDuration,
            Self::Embeddings => Distribution::EmbeddingsDuration,
            Self::Other => Distribution::OtherDuration,
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
    modality: Option<&'static str>,
    is_estimated: bool,
}

#[derive(Debug, Clone)]
struct Buckets {
    /// Since when it counts, in milliseconds since 1970.
    since_ms: u64,
    counts: Vec<u64>,
    sum: f64,
}

#[derive(Debug, Clone)]
struct Total {
    /// Since when it counts, in milliseconds since 1970.
    since_ms: u64,
    sum: u64,
}

/// The series of an instrument. That without labels has what exceeds [`MAX_SERIES`].
type Series<T> = BTreeMap<Option<Labels>, T>;

/// All series.
#[derive(Debug)]
pub(super) struct Metrics {
    /// The start, or the last time at which series were removed: a later one begins then.
    since_ms: u64,
    /// The models of the settings.
    listed: Option<BTreeSet<String>>,
    models: Ranking<String, ()>,
    distributions: BTreeMap<Distribution, Series<Buckets>>,
    spent: BTreeMap<Spent, Series<Total>>,
}

impl Metrics {
    pub(super) fn new(since_ms: u64, listed: Option<BTreeSet<String>>) -> Self {
        let models = Ranking::new(MAX_MODELS);
        Self { since_ms, listed, models, distributions: BTreeMap::new(), spent: BTreeMap::new() }
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
            modality: None,
            is_estimated: false,
        };
        let kind = Kind::of(record);
        let failed = Labels { error: error_type(record), ..labels.clone() };
        self.observe(kind.duration(), failed.clone(), record.duration.as_secs_f64());
        let first = record.first_byte.filter(|_| is_success && kind == Kind::Inference);
        if let Some(first) = first {
            let first = first.as_secs_f64();
            self.observe(Distribution::FirstToken, labels.clone(), first);
            if usage.is_some_and(|usage| usage.streamed) {
                self.observe(Distribution::FirstChunk, labels.clone(), first);
            }
        }
        match (kind, usage) {
            (Kind::Inference, Some(usage)) => {
                self.add_operation(usage, &failed);
                self.add_spent(usage, &labels);
            }
            (Kind::Embeddings, Some(usage)) if usage.counters.prompt_tokens() > 0 => {
                let is_estimated = usage.estimated.prompt_tokens() > 0;
                let tokens = float(usage.counters.prompt_tokens());
                self.observe(Distribution::EmbeddingsTokens, Labels { is_estimated, ..labels }, tokens);
            }
            _ => {}
        }
    }

    /// Adds to the distributions of tokens: also of an inference that failed, which used none.
    fn add_operation(&mut self, usage: &Usage, labels: &Labels) {
        let (all, estimated) = (&usage.counters, &usage.estimated);
        for (distribution, tokens, estimated) in [
            (Distribution::InputTokens, all.prompt_tokens(), estimated.prompt_tokens()),
            (Distribution::OutputTokens, output_tokens(all), output_tokens(estimated)),
        ] {
            let labels = Labels { is_estimated: estimated > 0, ..labels.clone() };
            self.observe(distribution, labels, float(tokens));
        }
    }

    /// Adds to the counters of tokens. Only audio is counted apart: the modality of other tokens is unknown.
    fn add_spent(&mut self, usage: &Usage, labels: &Labels) {
        let (all, estimated) = (&usage.counters, &usage.estimated);
        let of = |counter| all.get(counter);
        let (input, output) = (all.prompt_tokens(), output_tokens(all));
        let (is_input, is_output) = (estimated.prompt_tokens() > 0, output_tokens(estimated) > 0);
        for (spent, tokens, audio, is_estimated) in [
            (Spent::Input, input, of(Counter::AudioInput), is_input),
            (Spent::Output, output, of(Counter::AudioOutput), is_output),
            (Spent::CacheRead, of(Counter::CacheRead), 0, is_input),
            (Spent::CacheWrite, of(Counter::CacheWrite), 0, is_input),
            (Spent::Reasoning, of(Counter::Reasoning), 0, is_output),
        ] {
            let rest = tokens.saturating_sub(audio);
            for (modality, tokens, is_there) in
                [("audio", audio, audio > 0), ("unknown", rest, rest > 0 || audio == 0)]
            {
                if is_there {
                    let labels = Labels { modality: Some(modality), is_estimated, ..labels.clone() };
                    self.count(spent, labels, tokens);
                }
            }
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
        let stays = |labels: &Option<Labels>| {
            labels.as_ref().is_none_or(|all| stays(&all.request_model) && stays(&all.response_model))
        };
        let mut has_removed = false;
        for series in self.distributions.values_mut() {
            let before = series.len();
            series.retain(|labels, _| stays(labels));
            has_removed |= series.len() < before;
        }
        for series in self.spent.values_mut() {
            let before = series.len();
            series.retain(|labels, _| stays(labels));
            has_removed |= series.len() < before;
        }
        if has_removed {
            self.since_ms = now_ms;
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

    fn observe(&mut self, distribution: Distribution, labels: Labels, value: f64) {
        let bounds = distribution.bounds();
        let since_ms = self.since_ms;
        let empty = || Buckets { since_ms, counts: vec![0; bounds.len() + 1], sum: 0.0 };
        let series = self.distributions.entry(distribution).or_default();
        let labels = place(series, labels);
        let buckets = series.entry(labels).or_insert_with(empty);
        // A bucket's upper bound belongs to it.
        buckets.counts[bounds.partition_point(|bound| *bound < value)] += 1;
        buckets.sum += value;
    }

    fn count(&mut self, spent: Spent, labels: Labels, tokens: u64) {
        let since_ms = self.since_ms;
        let series = self.spent.entry(spent).or_default();
        let labels = place(series, labels);
        let total = series.entry(labels).or_insert(Total { since_ms, sum: 0 });
        total.sum = total.sum.saturating_add(tokens);
    }

    /// All metrics that have a series.
    pub(super) fn collect(&self, now_ms: u64) -> Vec<Metric> {
        let time_unix_nano = nanos(now_ms);
        let distributions = Distribution::ALL.into_iter().filter_map(|distribution| {
            let series = self.distributions.get(&distribution)?;
            let point = |(labels, buckets): (&Option<Labels>, &Buckets)| HistogramDataPoint {
                attributes: attributes(labels.as_ref()),
                start_time_unix_nano: nanos(buckets.since_ms),
                time_unix_nano,
                count: buckets.counts.iter().sum(),
                sum: Some(buckets.sum),
                bucket_counts: buckets.counts.clone(),
                explicit_bounds: distribution.bounds().to_vec(),
            };
            let data_points = series.iter().map(point).collect();
            Some(Metric {
                name: distribution.name().to_owned(),
                description: distribution.description().to_owned(),
                unit: distribution.unit().to_owned(),
                histogram: Some(Histogram { data_points, aggregation_temporality: CUMULATIVE }),
                sum: None,
            })
        });
        let spent = Spent::ALL.into_iter().filter_map(|spent| {
            let series = self.spent.get(&spent)?;
            let point = |(labels, total): (&Option<Labels>, &Total)| NumberDataPoint {
                attributes: attributes(labels.as_ref()),
                start_time_unix_nano: nanos(total.since_ms),
                time_unix_nano,
                as_int: Some(i64::try_from(total.sum).unwrap_or(i64::MAX)),
            };
            let data_points = series.iter().map(point).collect();
            Some(Metric {
                name: spent.name().to_owned(),
                description: spent.description().to_owned(),
                unit: TOKEN.to_owned(),
                histogram: None,
                sum: Some(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true }),
            })
        });
        distributions.chain(spent).collect()
    }
}

/// The place of a series: that without labels, if there is no room for another one.
fn place<T>(series: &Series<T>, labels: Labels) -> Option<Labels> {
    let labels = Some(labels);
    if series.len() < MAX_SERIES || series.contains_key(&labels) { labels } else { None }
}

fn nanos(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}

fn attributes(labels: Option<&Labels>) -> Vec<KeyValue> {
    labels.map_or_else(overflow, Labels::attributes)
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
            ("gen_ai.token.modality", self.modality),
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
