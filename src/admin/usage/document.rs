//! The documents of usage: what `GET /admin/usage` and `GET /admin/usage/recent` return, and `tollgate usage` reads. Doc
//! comments here are descriptions of the `OpenAPI` document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{parameters::AskedReport, shown_hour};
use crate::{
    access_record::Outcome,
    clock::utc,
    ledger::{
        UsageBacklog,
        report::{Dimension, Priced, Report, Row},
    },
    money::Amounts,
    store::{Exchange, UsageSums},
    usage::Counters,
};

/// Usage by dimensions and parts of time. Costs come from the prices of this moment.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageReport {
    /// Begin of the range, in UTC.
    pub since: String,
    /// End of the range, in UTC.
    pub until: String,
    /// Dimensions of the rows.
    pub by: Vec<String>,
    /// Length of the parts that the range is split into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// Time zone of these parts.
    pub tz: String,
    /// Rows: by part, then those with the most tokens first.
    pub rows: Vec<UsageRow>,
    /// Sum of all rows.
    pub total: UsageFigures,
    /// Models that have tokens without a price, those with the most first.
    pub unpriced: Vec<UnpricedModel>,
    /// Usage that waits in memory, because the store cannot be written: the sums lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<UsageBacklog>,
}

/// The usage of one group in one part of time. It has the dimensions that were asked for; an empty text stands for none.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageRow {
    /// Begin of the part of time, in its time zone: `2026-11-29`, `2026-11` or `2026-11-29T13:00:00+01:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// True for the sum of all groups that are not shown. Such a row has no dimensions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rest: bool,
    /// Id of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Name of the user, if the user still exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Id of the token. `(hidden)`: tokens that reach further than the calling one, and removed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Group of the user at the time of the exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Endpoint in the provider's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Model of the answer; of the request, if no answer names one. Empty if nothing was sent to the upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Owner of the credential that was used: a user's id, `group:NAME` or `everybody`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_owner: Option<String>,
    /// The sums.
    pub sums: UsageFigures,
}

/// Sums over exchanges.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageFigures {
    /// Exchanges.
    pub requests: u64,
    /// Exchanges that did not succeed.
    pub failed: u64,
    /// The failed exchanges by outcome, those that occur.
    pub failures: BTreeMap<String, u64>,
    /// Exchanges that were not counted, or not wholly.
    pub not_counted: u64,
    /// All tokens.
    pub tokens: u64,
    /// Each counter that is not zero, such as `input`, `output` or `images`. No token is in two of them.
    pub counters: BTreeMap<String, u64>,
    /// The part of the prompts' tokens that is an estimate.
    pub estimated_prompt_tokens: u64,
    /// The part of the answers' tokens that is an estimate.
    pub estimated_answer_tokens: u64,
    /// Cost as a decimal number, by currency.
    pub cost: BTreeMap<String, String>,
    /// Tokens that have no price, and are in no cost.
    pub unpriced_tokens: u64,
}

/// A model that has tokens without a price.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnpricedModel {
    /// Provider.
    pub provider: String,
    /// Model.
    pub model: String,
    /// Tokens.
    pub tokens: u64,
}

/// The last exchanges, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecentExchanges {
    /// The exchanges.
    pub exchanges: Vec<RecentExchange>,
    /// The value of `after` that later exchanges are found by.
    pub next: u64,
    /// Usage that waits in memory, because the store cannot be written: its exchanges are not among these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<UsageBacklog>,
}

/// One exchange. It has no content.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecentExchange {
    /// Its number.
    pub number: u64,
    /// Arrival of the request, in UTC.
    pub at: String,
    /// Id of the request.
    pub request_id: String,
    /// Id of the user.
    pub user: String,
    /// Name of the user, if the user still exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Id of the token. `(hidden)`: one that reaches further than the calling one, or was removed.
    pub token: String,
    /// Group of the user.
    pub group: String,
    /// Provider.
    pub provider: String,
    /// Endpoint in the provider's file.
    pub endpoint: String,
    /// Model of the answer; of the request, if no answer names one. Empty if nothing was sent to the upstream.
    pub model: String,
    /// Owner of the credential that was used; empty if none was.
    pub key_owner: String,
    /// Status of the response; absent if the client left before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Outcome, such as `success`, `refused` or `upstream_error`.
    pub outcome: String,
    /// Code of tollgate's own error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Reason for which it was not counted, or not wholly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_counted: Option<String>,
    /// Time to the first byte of the response's body, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// Time to the end of the response, in milliseconds.
    pub duration_ms: u64,
    /// All tokens.
    pub tokens: u64,
    /// Each counter that is not zero.
    pub counters: BTreeMap<String, u64>,
    /// The part of the prompt's tokens that is an estimate.
    pub estimated_prompt_tokens: u64,
    /// The part of the answer's tokens that is an estimate.
    pub estimated_answer_tokens: u64,
    /// Cost as a decimal number, by currency.
    pub cost: BTreeMap<String, String>,
    /// Tokens that have no price, and are in no cost.
    pub unpriced_tokens: u64,
}

/// The name of a user, else the id.
pub fn user_shown<'u>(id: &'u str, name: Option<&'u str>) -> &'u str {
    name.unwrap_or(id)
}

impl UsageReport {
    pub(super) fn new(
        asked: &AskedReport,
        report: Report,
        names: &BTreeMap<String, String>,
        pending: Option<UsageBacklog>,
    ) -> Self {
        let by = &asked.query.by;
        let unpriced = report.unpriced.into_iter();
        Self {
            since: shown_hour(asked.query.hours.from),
            until: shown_hour(asked.query.hours.until),
            by: by.iter().map(|dimension| dimension.name().to_owned()).collect(),
            every: asked.every.clone(),
            tz: asked.tz.clone(),
            rows: report.rows.into_iter().map(|row| UsageRow::new(row, by, names)).collect(),
            total: UsageFigures::new(&report.total),
            unpriced: unpriced
                .map(|(provider, model, tokens)| UnpricedModel { provider, model, tokens })
                .collect(),
            pending,
        }
    }
}

impl UsageRow {
    fn new(row: Row, by: &[Dimension], names: &BTreeMap<String, String>) -> Self {
        let Row { part, values, priced } = row;
        let mut document =
            Self { time: part, rest: values.is_none(), sums: UsageFigures::new(&priced), ..Self::default() };
        for (dimension, value) in by.iter().zip(values.into_iter().flatten()) {
            match dimension {
                Dimension::User => {
                    document.user_name = names.get(&value).cloned();
                    document.user = Some(value);
                }
                Dimension::Token => document.token = Some(value),
                Dimension::Group => document.group = Some(value),
                Dimension::Provider => document.provider = Some(value),
                Dimension::Endpoint => document.endpoint = Some(value),
                Dimension::Model => document.model = Some(value),
                Dimension::KeyOwner => document.key_owner = Some(value),
            }
        }
        document
    }

    /// The value of a dimension, by its name.
    pub fn value(&self, dimension: &str) -> Option<&str> {
        match dimension {
            "user" => self.user.as_deref(),
            "token" => self.token.as_deref(),
            "group" => self.group.as_deref(),
            "provider" => self.provider.as_deref(),
            "endpoint" => self.endpoint.as_deref(),
            "model" => self.model.as_deref(),
            "key_owner" => self.key_owner.as_deref(),
            _ => None,
        }
    }
}

impl UsageFigures {
    fn new(Priced { sums, cost, unpriced_tokens }: &Priced) -> Self {
        let UsageSums { requests, counters, estimated_prompt, estimated_answer, not_counted, .. } = sums;
        let failures = sums.outcomes().filter(|(_, number)| *number > 0);
        Self {
            requests: *requests,
            failed: sums.failed(),
            failures: failures.map(|(outcome, number)| (outcome.as_str().to_owned(), number)).collect(),
            not_counted: *not_counted,
            tokens: counters.tokens(),
            counters: counted(counters),
            estimated_prompt_tokens: *estimated_prompt,
            estimated_answer_tokens: *estimated_answer,
            cost: amounts(cost),
            unpriced_tokens: *unpriced_tokens,
        }
    }
}

impl UsageFigures {
    /// Tokens that are an estimate.
    pub fn estimated_tokens(&self) -> u64 {
        self.estimated_prompt_tokens.saturating_add(self.estimated_answer_tokens)
    }

    /// True if a part of the tokens is an estimate.
    pub fn is_estimated(&self) -> bool {
        self.estimated_tokens() > 0
    }

    /// Adds an exchange.
    pub fn add(&mut self, exchange: &RecentExchange) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.requests, 1);
        if exchange.outcome != Outcome::Success.as_str() {
            add(&mut self.failed, 1);
            add(self.failures.entry(exchange.outcome.clone()).or_default(), 1);
        }
        add(&mut self.not_counted, u64::from(exchange.not_counted.is_some()));
        add(&mut self.tokens, exchange.tokens);
        for (counter, number) in &exchange.counters {
            add(self.counters.entry(counter.clone()).or_default(), *number);
        }
        add(&mut self.estimated_prompt_tokens, exchange.estimated_prompt_tokens);
        add(&mut self.estimated_answer_tokens, exchange.estimated_answer_tokens);
        let mut cost = Amounts::read(&self.cost);
        cost.add_all(&Amounts::read(&exchange.cost));
        self.cost = amounts(&cost);
        add(&mut self.unpriced_tokens, exchange.unpriced_tokens);
    }

    /// A counter, by its name.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or_default()
    }
}

impl RecentExchange {
    /// True if a part of the tokens is an estimate.
    pub fn is_estimated(&self) -> bool {
        self.estimated_prompt_tokens > 0 || self.estimated_answer_tokens > 0
    }

    pub(super) fn new(exchange: Exchange, priced: &Priced, names: &BTreeMap<String, String>) -> Self {
        let key = exchange.key;
        Self {
            number: exchange.number,
            at: utc(exchange.ended_at_ms.saturating_sub(exchange.duration_ms)),
            request_id: exchange.request_id,
            user_name: names.get(&*key.user).cloned(),
            user: key.user.to_string(),
            token: key.token.to_string(),
            group: key.group.to_string(),
            provider: key.provider.to_string(),
            endpoint: key.endpoint.to_string(),
            model: key.model.to_string(),
            key_owner: key.key_owner.to_string(),
            status: exchange.status,
            outcome: exchange.outcome.into_owned(),
            fault: exchange.fault.map(Into::into),
            not_counted: exchange.not_counted.map(Into::into),
            first_byte_ms: exchange.first_byte_ms,
            duration_ms: exchange.duration_ms,
            tokens: exchange.counters.tokens(),
            counters: counted(&exchange.counters),
            estimated_prompt_tokens: exchange.estimated_prompt,
            estimated_answer_tokens: exchange.estimated_answer,
            cost: amounts(&priced.cost),
            unpriced_tokens: priced.unpriced_tokens,
        }
    }
}

fn counted(counters: &Counters) -> BTreeMap<String, u64> {
    let counted = counters.iter().filter(|(_, value)| *value > 0);
    counted.map(|(counter, value)| (counter.name().to_owned(), value)).collect()
}

fn amounts(cost: &Amounts) -> BTreeMap<String, String> {
    cost.iter().map(|money| (money.currency.to_string(), money.exact())).collect()
}
