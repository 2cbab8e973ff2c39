//! Counts of finished exchanges. Their number is bounded, whatever clients send: labels are names of the provider files,
//! codes of tollgate's own, and a limited number of models and users.
//!
//! Pure. Read next: `expose`, which writes them; `ranking` for the models that have a series of their own.

use std::{collections::BTreeMap, sync::Arc};

use http::StatusCode;

use super::histogram::Histogram;
use crate::{
    access_record::{AccessRecord, Outcome, Usage},
    compile::{Price, Prices},
    day::Day,
    escape,
    fault::FaultKind,
    money::Amounts,
    name::UserId,
    ranking::Ranking,
    rewrite::TokenSearch,
    settings::MetricLabels,
    usage::{Counters, NotCounted},
};

/// The label of all that has no series of its own.
pub(super) const OTHER: &str = "(other)";

/// Models with series of their own, where no list names them.
const MAX_MODELS: usize = 100;
/// Users with series of their own.
const MAX_USERS: usize = 1000;
/// Names of providers that one process ever counts. Files come and go, and their series stay.
const MAX_PROVIDERS: usize = 1000;
/// Names of endpoints of one provider, in the same way.
const MAX_ENDPOINTS: usize = 1000;
/// Bytes of a model's name.
const MAX_MODEL_NAME: usize = 100;

/// Classes of status, by their index. The last one is that of exchanges without a response.
pub(super) const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// Codes of close frames, by their index: those of RFC 6455 and its registry, and classes of all others.
pub(super) const CLOSE_CODES: [&str; 19] = [
    "1000", "1001", "1002", "1003", "1004", "1005", "1006", "1007", "1008", "1009", "1010", "1011", "1012",
    "1013", "1014", "1015", "3xxx", "4xxx", "other",
];

/// Counts of all finished exchanges since the start.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    labels: Arc<MetricLabels>,
    /// By name; those without a provider have an empty one.
    pub(super) providers: BTreeMap<Box<str>, ProviderCounts>,
    /// By provider and model, for those that are used most.
    models: Ranking<(Box<str>, Box<str>), ModelCounts>,
    /// The same for the models that the settings list, and for each provider's [`OTHER`].
    further_models: BTreeMap<(Box<str>, Box<str>), ModelCounts>,
    users: Ranking<UserId, UserCounts>,
    other_users: UserCounts,
}

/// Counts of one provider.
#[derive(Debug, Clone)]
pub(super) struct ProviderCounts {
    pub(super) endpoints: BTreeMap<Box<str>, EndpointCounts>,
    /// By kind.
    pub(super) faults: [u64; FaultKind::ALL.len()],
    /// By reason.
    pub(super) not_counted: [u64; NotCounted::ALL.len()],
    /// WebSockets, by the code of their end.
    pub(super) websockets: [u64; CLOSE_CODES.len()],
}

/// Counts of one endpoint.
#[derive(Debug, Clone, Default)]
pub(super) struct EndpointCounts {
    /// By class of status and outcome.
    pub(super) requests: [[u64; Outcome::ALL.len()]; STATUS_CLASSES.len()],
    pub(super) duration: Histogram,
    pub(super) first_byte: Histogram,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// Counters of usage.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TokenCounts {
    /// What upstreams counted.
    pub(super) counted: Counters,
    /// What was estimated.
    pub(super) estimated: Counters,
}

/// Counts of one model at one provider.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelCounts {
    pub(super) usage: TokenCounts,
    pub(super) cost: Amounts,
    /// Tokens that have no price.
    pub(super) unpriced: u64,
}

/// Counts of one user.
#[derive(Debug, Clone, Default)]
pub(super) struct UserCounts {
    /// By outcome.
    pub(super) requests: [u64; Outcome::ALL.len()],
    pub(super) tokens: TokenCounts,
}

impl Default for ProviderCounts {
    fn default() -> Self {
        Self { endpoints: BTreeMap::new(), faults: [0; _], not_counted: [0; _], websockets: [0; _] }
    }
}

impl ProviderCounts {
    /// The requests with an outcome.
    pub(super) fn with_outcome(&self, outcome: Outcome) -> u64 {
        let requests = self.endpoints.values().flat_map(|endpoint| &endpoint.requests);
        requests.map(|by_outcome| by_outcome[outcome as usize]).sum()
    }
}

impl TokenCounts {
    fn add(&mut self, usage: &Usage) {
        for (counter, all) in usage.counters.iter() {
            let estimated = usage.estimated.get(counter).min(all);
            self.estimated.add(counter, estimated);
            self.counted.add(counter, all - estimated);
        }
    }
}

impl ModelCounts {
    /// Adds usage at its price, if it has one.
    fn add(&mut self, usage: &Usage, price: Option<&Price>) {
        self.usage.add(usage);
        match price {
            Some(price) => {
                let context = price.context(usage.counters.prompt_tokens());
                self.cost.add(price.cost(&usage.counters, context));
            }
            None => self.unpriced = self.unpriced.saturating_add(usage.counters.tokens()),
        }
    }
}

impl Counts {
    pub(super) fn new(labels: MetricLabels) -> Self {
        Self {
            labels: Arc::new(labels),
            providers: BTreeMap::new(),
            models: Ranking::new(MAX_MODELS),
            further_models: BTreeMap::new(),
            users: Ranking::new(MAX_USERS),
            other_users: UserCounts::default(),
        }
    }

    /// Counts a finished exchange.
    pub(super) fn add(&mut self, record: &AccessRecord, prices: &Prices) {
        let outcome = record.outcome();
        let name = record.provider.as_ref().map_or("", |provider| provider.as_str());
        let (name, provider) = slot(&mut self.providers, name, MAX_PROVIDERS);
        if let Some(fault) = record.fault {
            provider.faults[fault as usize] += 1;
        }
        if let Some(websocket) = record.websocket {
            provider.websockets[close_code(websocket.code)] += 1;
        }
        let endpoint = record.endpoint.as_deref().unwrap_or_default();
        let (_, endpoint) = slot(&mut provider.endpoints, endpoint, MAX_ENDPOINTS);
        endpoint.add(record, outcome);
        if let Some(usage) = &record.usage {
            if let Some(reason) = usage.not_counted {
                provider.not_counted[reason as usize] += 1;
            }
            let day = Day::of_seconds(record.ended_at_ms() / 1000);
            self.add_usage(name, usage, prices.find(name, usage.charged_model(), day));
        }
        self.add_user(record, outcome);
    }

    fn add_usage(&mut self, provider: &str, usage: &Usage, price: Option<&Price>) {
        if usage.counters.is_zero() {
            return;
        }
        let model = usage.model.as_deref().unwrap_or_default();
        let model = match &self.labels.models {
            Some(listed) => listed.get(model).map(|listed| listed.as_str().into()),
            None => label(model),
        };
        let own = model.map(|model| (provider.into(), model));
        if self.labels.models.is_none()
            && let Some(counts) = own.as_ref().and_then(|key| self.models.used(key))
        {
            return counts.add(usage, price);
        }
        let listed = own.filter(|_| self.labels.models.is_some());
        let key = listed.unwrap_or_else(|| (provider.into(), OTHER.into()));
        self.further_models.entry(key).or_default().add(usage, price);
    }

    fn add_user(&mut self, record: &AccessRecord, outcome: Outcome) {
        if !self.labels.users || record.provider.is_none() {
            return;
        }
        let Some(user) = &record.user else { return };
        let counts = self.users.used(user).unwrap_or(&mut self.other_users);
        counts.requests[outcome as usize] += 1;
        if let Some(usage) = &record.usage {
            counts.tokens.add(usage);
        }
    }

    /// Counters of usage, by provider and model.
    pub(super) fn models(&self) -> impl Iterator<Item = (&str, &str, &ModelCounts)> {
        let all = self.models.iter().chain(&self.further_models);
        all.map(|((provider, model), counts)| (&**provider, &**model, counts))
    }

    /// Counts by user.
    pub(super) fn users(&self) -> impl Iterator<Item = (&str, &UserCounts)> {
        let others = (OTHER, &self.other_users);
        self.users.iter().map(|(user, counts)| (user.as_str(), counts)).chain([others])
    }
}

impl EndpointCounts {
    fn add(&mut self, record: &AccessRecord, outcome: Outcome) {
        self.requests[status_class(record.status)][outcome as usize] += 1;
        self.bytes_in = self.bytes_in.saturating_add(record.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(record.bytes_out);
        // Refusals take no time, and would hide the times of the others.
        if record.provider.is_some() && outcome != Outcome::Refused {
            self.duration.add(record.duration);
        }
        if let (Some(first_byte), Some(_), None) = (record.first_byte, &record.provider, record.fault) {
            self.first_byte.add(first_byte);
        }
    }
}

/// The index in [`CLOSE_CODES`].
fn close_code(code: u16) -> usize {
    match code {
        1000..=1015 => usize::from(code - 1000),
        3000..4000 => 16,
        4000..5000 => 17,
        _ => 18,
    }
}

/// The value of a name, or that of [`OTHER`] if there are too many names.
fn slot<'m, 'n, V: Default>(
    map: &'m mut BTreeMap<Box<str>, V>,
    name: &'n str,
    most: usize,
) -> (&'n str, &'m mut V) {
    let name = if map.contains_key(name) || map.len() < most { name } else { OTHER };
    if !map.contains_key(name) {
        map.insert(name.into(), V::default());
    }
    (name, map.get_mut(name).expect("it was inserted"))
}

fn status_class(status: Option<StatusCode>) -> usize {
    let class = status.map(|status| usize::from(status.as_u16() / 100));
    class.and_then(|class| class.checked_sub(1)).filter(|class| *class < 5).unwrap_or(5)
}

/// The name of a model as a label: bounded, without hidden characters. A peer chose it: none if it could be taken for
/// another label, or holds a token.
fn label(model: &str) -> Option<Box<str>> {
    let label = escape::value(&model[..model.floor_char_boundary(MAX_MODEL_NAME)]);
    (label != OTHER && !TokenSearch::generated().is_in(model.as_bytes())).then(|| label.into())
}

#[cfg(test)]
mod tests;
