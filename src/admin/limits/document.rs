//! The documents about limits. Amounts are decimal texts: exact, however large.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Row, grants_of};
use crate::{
    clock::utc,
    compile::{Allow, Limit, LimitFilter, Measure, NameFilter},
    limits::{LimitStates, share},
    name::UserId,
    store::LimitGrant,
    syntax::{KeyValue, OverValue, Per, TokenKindValue},
};

/// Amounts of limits: what is used and left of each.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsReport {
    /// The time of the numbers.
    pub at: String,
    /// Where the numbers come from.
    pub counters: LimitCounters,
    /// The amounts, by the limit's id, then by their key. An amount for each token, provider or model is listed once something
    /// was used of it. A user does not see the amounts for each model that others use too.
    pub limits: Vec<LimitBalance>,
    /// The rules for models and endpoints of the user whose report it is: what one of them allows may be called. Empty if all
    /// may be called; absent in a report of all users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<AllowRule>>,
}

/// Where numbers of limits come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LimitCounters {
    /// The running server.
    Live,
    /// The last write of a server that does not run. Reserved and running calls are none or used, and a limit of requests may
    /// have some more than were sent.
    Stored,
}

/// An amount of a limit, and what is used of it. Amounts are decimal numbers without a unit.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitBalance {
    /// The limit's id.
    pub id: String,
    /// What is counted: `requests`, `tokens`, `input_tokens`, `output_tokens`, `cost`, `bytes`, or `concurrent`.
    pub measure: String,
    /// The currency of a cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The amount, with grants.
    pub amount: String,
    /// What ended calls used. Of `concurrent`, the calls that run.
    pub used: String,
    /// What running calls reserved.
    pub reserved: String,
    /// What is left. Below zero if calls used more than they reserved.
    pub left: String,
    /// The share of the amount that is used or reserved.
    pub share: f64,
    /// The calls that run, of a limit of `concurrent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u64>,
    /// The time that the amount is for. Absent for `concurrent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// The time at which all of the amount is free again. Absent if it never is, and for `concurrent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<String>,
    /// What becomes of a request beyond it: `reject` or `warn`.
    pub over: String,
    /// What has an amount of its own, such as `user`; `all` for one amount for everybody.
    pub per: Vec<String>,
    /// Whose amount it is: a part for each of `per`.
    pub key: LimitKey,
    /// The requests that it is for; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applies_to: Option<LimitScope>,
    /// The file of the limit, below the directory of limits.
    pub file: String,
    /// The grants that the amount contains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantOfLimit>,
}

/// Whose amount of a limit it is.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitKey {
    /// The user's id; of an amount for each token, that of the token's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's name. Absent if the user was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// The token's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The group. Empty for users without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model, as requests name it. Empty for requests without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// The requests that a limit is for: names and globs, with commas. All that is given has to match.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitScope {
    /// Providers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<String>,
    /// Endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<String>,
    /// Models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<String>,
    /// Kinds of tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<String>,
    /// The owner of the credential: `own` or `shared`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A grant of an amount.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantOfLimit {
    /// What it adds.
    pub amount: String,
    /// Its end.
    pub until: String,
}

/// A rule for models and endpoints: names and globs, with commas; `*` for all.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowRule {
    /// The providers that may be called.
    pub providers: String,
    /// The endpoints.
    pub endpoints: String,
    /// The models.
    pub models: String,
    /// The kinds of tokens that it is for; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<String>,
    /// The file of the rule, below the directory of limits.
    pub file: String,
}

/// A grant to add: what a user has beyond the amount of a limit, for a time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewLimitGrant {
    /// The user, by id or name.
    #[schemars(length(min = 1, max = 256), example = &"alice")]
    pub user: String,
    /// The limit's id. The limit has an amount for each user or token.
    #[schemars(length(min = 1, max = 64), example = &"team-month")]
    pub limit: String,
    /// What is added to the amount: `50 USD` for a limit of cost, else a whole number. A `+` before it means the same.
    #[schemars(schema_with = "grant_amount")]
    pub amount: Value,
    /// The end: a time (RFC 3339), or a time from now such as `90m`, `2h` or `3d`; at most a year.
    #[schemars(length(min = 1, max = 64), example = &"3d")]
    pub until: String,
}

fn grant_amount(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": ["string", "integer"], "examples": ["+50 USD", 50_000] })
}

/// A grant.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "LimitGrant")]
pub struct LimitGrantDocument {
    /// The limit's id.
    pub limit: String,
    /// The user's id.
    pub user: String,
    /// The user's name.
    pub user_name: String,
    /// What is added to the amount.
    pub amount: String,
    /// The currency of a cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Its end.
    pub until: String,
}

/// Grants that ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndedGrants {
    /// Their number.
    pub ended: u64,
}

/// The users of amounts.
#[derive(Debug)]
pub(super) struct Names {
    /// By the id of a token.
    pub(super) tokens: BTreeMap<String, UserId>,
    /// Names by the id of a user.
    pub(super) users: BTreeMap<String, String>,
}

pub(super) fn balance(row: &Row, names: &Names, states: &LimitStates, now_ms: u64) -> LimitBalance {
    let Row { limit, parts, amount, balance, .. } = row;
    let measure = limit.measure;
    let key = key(parts, names);
    let user = key.user.as_deref().and_then(UserId::new);
    let grants = user.map(|user| grants_of(states, &limit.id, &user, now_ms)).unwrap_or_default();
    let is_concurrent = measure == Measure::Concurrent;
    LimitBalance {
        id: limit.id.to_string(),
        measure: measure.name().to_owned(),
        currency: currency(measure),
        amount: measure.exact(*amount),
        used: measure.exact(balance.used),
        reserved: measure.exact(balance.reserved),
        left: measure.exact(balance.left),
        share: (share(balance, *amount) * 10_000.0).round() / 10_000.0,
        running: is_concurrent.then(|| u64::try_from(balance.used).unwrap_or(u64::MAX)),
        window: (!is_concurrent).then(|| limit.window_text()),
        resets_at: balance.resets_at_ms.map(utc),
        over: match limit.over {
            OverValue::Reject => "reject".to_owned(),
            OverValue::Warn => "warn".to_owned(),
        },
        per: match limit.per.as_slice() {
            [] => vec![Per::All.name().to_owned()],
            several => several.iter().map(|per| per.name().to_owned()).collect(),
        },
        key,
        applies_to: applies_to(&limit.filter),
        file: file(&limit.at.file),
        grants: grants.iter().map(|grant| of_limit(grant, limit)).collect(),
    }
}

fn key(parts: &[(Per, String)], names: &Names) -> LimitKey {
    let mut key = LimitKey::default();
    for (per, text) in parts {
        let place = match per {
            Per::User => &mut key.user,
            Per::Token => &mut key.token,
            Per::Group => &mut key.group,
            Per::Provider => &mut key.provider,
            Per::Model => &mut key.model,
            Per::All => continue,
        };
        *place = Some(text.clone());
    }
    if key.user.is_none() {
        key.user = key.token.as_ref().and_then(|token| names.tokens.get(token)).map(UserId::to_string);
    }
    key.user_name = key.user.as_ref().and_then(|user| names.users.get(user)).cloned();
    key
}

fn applies_to(LimitFilter { caller, provider, endpoint, model, key }: &LimitFilter) -> Option<LimitScope> {
    let some = |filter: &NameFilter| (!filter.is_any()).then(|| filter.text());
    let scope = LimitScope {
        providers: some(provider),
        endpoints: some(endpoint),
        models: some(model),
        tokens: token_kinds(&caller.token),
        key: key.map(|key| match key {
            KeyValue::Own => "own".to_owned(),
            KeyValue::Shared => "shared".to_owned(),
        }),
    };
    (scope != LimitScope::default()).then_some(scope)
}

fn token_kinds(kinds: &[TokenKindValue]) -> Option<String> {
    let name = |kind: &TokenKindValue| match kind {
        TokenKindValue::Proxy => "proxy",
        TokenKindValue::Both => "both",
        TokenKindValue::Paste => "paste",
    };
    (!kinds.is_empty()).then(|| kinds.iter().map(name).collect::<Vec<_>>().join(", "))
}

pub(super) fn rule(Allow { at, caller, providers, endpoints, models }: &Allow) -> AllowRule {
    AllowRule {
        providers: providers.text(),
        endpoints: endpoints.text(),
        models: models.text(),
        tokens: token_kinds(&caller.token),
        file: file(&at.file),
    }
}

fn of_limit(grant: &LimitGrant, limit: &Limit) -> GrantOfLimit {
    GrantOfLimit { amount: limit.measure.exact(grant.amount), until: utc(grant.until_ms) }
}

pub(super) fn currency(measure: Measure) -> Option<String> {
    match measure {
        Measure::Cost(currency) => Some(currency.code().to_owned()),
        Measure::Requests
        | Measure::Tokens
        | Measure::InputTokens
        | Measure::OutputTokens
        | Measure::Bytes
        | Measure::Concurrent => None,
    }
}

/// The name of a file in its directory: users do not see where that is.
fn file(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}
