//! The document of a limits file: what users, groups and tokens may use, and which models they may call. The doc comments of
//! keys are its reference: they become the descriptions in the schema.
//!
//! Read next: `compile/limits`, which gives the values a meaning.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};

use super::{Json, Method};

/// Limits of what is used, and rules for models and endpoints. The files are in `limits.d`, beside `providers.d`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate limits")]
pub struct LimitsFile {
    /// The version of the language that the file is written in.
    #[schemars(example = 2, range(min = 1, max = 2))]
    pub language: Option<u32>,
    /// Limits. Each that matches a request has to admit it.
    #[schemars(example = example_limit())]
    #[schemars(extend("maxItems" = 1000))]
    pub limit: Option<Vec<Limit>>,
    /// The models and endpoints that callers may call. A caller without such a rule may call all; with several, what one of them
    /// allows.
    #[schemars(example = json!([{ "match": { "group": ["interns"] }, "models": ["example-mini-*"] }]))]
    #[schemars(extend("maxItems" = 1000))]
    pub allow: Option<Vec<Allow>>,
    /// Tests of the file: calls one after another, and how many of them are admitted.
    #[schemars(example = example_test())]
    #[schemars(extend("maxItems" = 1000))]
    pub test: Option<Vec<LimitTest>>,
}

/// A limit of what is used in a time. It has exactly one of `requests`, `tokens`, `input_tokens`, `output_tokens`, `cost`,
/// `bytes` and `concurrent`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The name of the limit, in answers and metrics. What was used belongs to the name: it stays while everything else of the
    /// limit changes. No other limit of any file has it.
    #[schemars(example = &"team-month", regex(pattern = "^[a-z0-9][a-z0-9-]*$"), length(max = 64))]
    pub id: String,
    /// The requests that it is for; all by default.
    #[schemars(example = json!({ "group": ["engineers"], "provider": ["example"] }))]
    pub r#match: Option<LimitMatch>,
    /// What has an amount of its own: each user by default. `all` is one amount for everybody, a list one for each combination.
    #[schemars(example = &"user")]
    pub per: Option<Pers>,
    /// The number of requests.
    #[schemars(example = 60, range(min = 1, max = MAX_COUNT))]
    pub requests: Option<u64>,
    /// The number of tokens of prompts and answers.
    #[schemars(example = 1_000_000, range(min = 1, max = MAX_COUNT))]
    pub tokens: Option<u64>,
    /// The number of tokens of prompts, cached ones included.
    #[schemars(example = 1_000_000, range(min = 1, max = MAX_COUNT))]
    pub input_tokens: Option<u64>,
    /// The number of tokens of answers, reasoning included.
    #[schemars(example = 200_000, range(min = 1, max = MAX_COUNT))]
    pub output_tokens: Option<u64>,
    /// The cost, with its currency by its ISO 4217 code. Usage in another currency does not count.
    #[schemars(example = &"200 USD", length(max = 64))]
    pub cost: Option<String>,
    /// The size of the bodies of requests and answers, in bytes.
    #[schemars(example = 1_000_000_000, range(min = 1, max = MAX_COUNT))]
    pub bytes: Option<u64>,
    /// The number of requests at a time.
    #[schemars(example = 8, range(min = 1, max = 1_000_000))]
    pub concurrent: Option<u64>,
    /// The time that the amount is for. A limit of `concurrent` has none.
    #[schemars(example = json!({ "every": "month", "tz": "Europe/Berlin" }))]
    pub window: Option<WindowValue>,
    /// What a request takes before it is sent, of limits of tokens and cost: an estimate that is `learned` from earlier calls (the
    /// default), the most that it can use (`max`: its body has to have a cap), or nothing (`none`). What it used replaces that
    /// at its end.
    #[schemars(example = &"learned")]
    pub reserve: Option<ReserveValue>,
    /// What becomes of a request beyond it: `reject` (the default), or `warn`, which counts and refuses nothing.
    #[schemars(example = &"reject")]
    pub over: Option<OverValue>,
    /// The shares of the amount at which a line is logged, and a header says so.
    #[schemars(example = json!([0.8]), extend("maxItems" = 8))]
    pub warn_at: Option<Vec<f64>>,
    /// What becomes of a request for a model without a price, of limits of cost: `reject`, or `free`, which counts nothing. It
    /// has no default.
    #[schemars(example = &"reject")]
    pub no_price: Option<NoPriceValue>,
    /// Other amounts for some users, by name, written as the amount is; `"none"` for no limit.
    #[schemars(example = json!({ "ci-bot": "none", "alice": "500 USD" }))]
    #[schemars(extend("maxProperties" = 1000))]
    pub except: Option<BTreeMap<String, Amount>>,
}

/// The greatest amount of tokens, requests and bytes.
pub const MAX_COUNT: u64 = 1_000_000_000_000_000;

/// The requests that a limit is for. All that is given has to match.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitMatch {
    /// The names of users, as globs.
    #[schemars(example = json!(["alice"]), extend("minItems" = 1, "maxItems" = 64))]
    pub user: Option<Vec<String>>,
    /// Their groups, as globs. A user without a group matches none.
    #[schemars(example = json!(["engineers"]), extend("minItems" = 1, "maxItems" = 64))]
    pub group: Option<Vec<String>>,
    /// The kinds of their tokens.
    #[schemars(example = json!(["paste"]), extend("minItems" = 1, "maxItems" = 3))]
    pub token: Option<Vec<TokenKindValue>>,
    /// The providers, as globs.
    #[schemars(example = json!(["example", "lab-*"]), extend("minItems" = 1, "maxItems" = 64))]
    pub provider: Option<Vec<String>>,
    /// The names of endpoints, as globs.
    #[schemars(example = json!(["chat"]), extend("minItems" = 1, "maxItems" = 64))]
    pub endpoint: Option<Vec<String>>,
    /// The models, as globs. Case counts. The body of a request is read for it, up to the setting `judged_body`.
    #[schemars(example = json!(["example-large-*"]), extend("minItems" = 1, "maxItems" = 64))]
    pub model: Option<Vec<String>>,
    /// The owner of the credential: `shared` by a group or everybody, or the caller's `own`.
    #[schemars(example = &"shared")]
    pub key: Option<KeyValue>,
}

/// The models and endpoints that some callers may call.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// The callers that it is for; all by default.
    #[schemars(example = json!({ "group": ["interns"] }))]
    pub r#match: Option<AllowMatch>,
    /// The providers that they may call, as globs; all by default.
    #[schemars(example = json!(["example"]), extend("minItems" = 1, "maxItems" = 64))]
    pub providers: Option<Vec<String>>,
    /// The names of endpoints that they may call, as globs; all by default.
    #[schemars(example = json!(["chat", "models"]), extend("minItems" = 1, "maxItems" = 64))]
    pub endpoints: Option<Vec<String>>,
    /// The models that they may call, as globs; all by default. Case counts. An endpoint whose wire format names no model can be
    /// called.
    #[schemars(example = json!(["example-mini-*"]), extend("minItems" = 1, "maxItems" = 256))]
    pub models: Option<Vec<String>>,
}

/// The callers that a rule is for. All that is given has to match.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowMatch {
    /// The names of users, as globs.
    #[schemars(example = json!(["alice"]), extend("minItems" = 1, "maxItems" = 64))]
    pub user: Option<Vec<String>>,
    /// Their groups, as globs. A user without a group matches none.
    #[schemars(example = json!(["interns"]), extend("minItems" = 1, "maxItems" = 64))]
    pub group: Option<Vec<String>>,
    /// The kinds of their tokens.
    #[schemars(example = json!(["paste"]), extend("minItems" = 1, "maxItems" = 3))]
    pub token: Option<Vec<TokenKindValue>>,
}

/// A kind of token that calls providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum TokenKindValue {
    /// For calls to providers alone.
    Proxy,
    /// For those, and for self-service.
    Both,
    /// For one provider, in place of a login of its vendor.
    Paste,
}

/// The owner of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum KeyValue {
    /// The caller.
    Own,
    /// The caller's group, or everybody.
    Shared,
}

/// What has an amount of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Per {
    /// A user.
    User,
    /// A token.
    Token,
    /// A group. Users without one share an amount.
    Group,
    /// A provider.
    Provider,
    /// A model, as requests name it.
    Model,
    /// Everything: one amount.
    All,
}

impl Per {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::User, Self::Token, Self::Group, Self::Provider, Self::Model, Self::All];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::Group => "group",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::All => "all",
        }
    }
}

/// What a request takes before it is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ReserveValue {
    /// Nothing: requests are admitted while something is left.
    None,
    /// An estimate, learned from earlier calls.
    #[default]
    Learned,
    /// The most that the request can use.
    Max,
}

/// What becomes of a request beyond a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum OverValue {
    /// It is refused.
    #[default]
    Reject,
    /// It is counted and passes.
    Warn,
}

/// What becomes of a request for a model without a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum NoPriceValue {
    /// It is refused.
    Reject,
    /// It counts nothing.
    Free,
}

/// A unit of calendar windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum EveryValue {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// From the first day to the last.
    Month,
}

/// One or several of [`Per`].
#[derive(Debug, Clone)]
pub enum Pers {
    /// One.
    One(Per),
    /// A combination.
    Several(Vec<Per>),
}

/// The time that an amount is for: `"total"`, or a table.
#[derive(Debug, Clone)]
pub enum WindowValue {
    /// All time.
    Total,
    /// A window of the calendar, or one that slides.
    Table(WindowTable),
}

/// A window: of the calendar (`every`), or one that slides.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowTable {
    /// The unit of the calendar.
    #[schemars(example = &"month")]
    pub every: Option<EveryValue>,
    /// The time zone of the calendar, by its name in the IANA database; `UTC` by default.
    #[schemars(example = &"Europe/Berlin", length(max = 64))]
    pub tz: Option<String>,
    /// The length of a window that ends now, from `1s` to `8760h`.
    #[schemars(example = &"60s", length(max = 32))]
    pub sliding: Option<String>,
}

/// An amount: a number, or a text such as `500 USD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amount {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

/// A test: calls one after another, and how many of them are admitted.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitTest {
    /// The name of the test.
    #[schemars(example = &"the 61st in a minute")]
    pub name: String,
    /// The caller.
    #[schemars(example = json!({ "user": "alice", "group": "engineers" }))]
    pub r#as: Option<TestCaller>,
    /// The calls, or a list of calls.
    #[schemars(example = json!({ "count": 61, "within": "30s", "request": { "method": "POST", "path": "/proxy/example/v1/chat" } }))]
    pub calls: TestCalls,
    /// The expected result.
    #[schemars(example = json!({ "admitted": 60, "last": { "status": 429, "limit": "burst" } }))]
    pub expect: ExpectLimits,
}

/// The caller in a test.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestCaller {
    /// The user's name; `test` by default.
    #[schemars(example = &"alice")]
    pub user: Option<String>,
    /// The user's group.
    #[schemars(example = &"engineers")]
    pub group: Option<String>,
    /// The kind of the token; `proxy` by default.
    #[schemars(example = &"proxy")]
    pub token: Option<TokenKindValue>,
    /// The owner of the credential; the caller by default.
    #[schemars(example = &"shared")]
    pub key: Option<KeyValue>,
}

/// Calls in a test: equal ones, at equal distances.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestCalls {
    /// The number of calls; 1 by default.
    #[schemars(example = 61, range(min = 1, max = 10_000))]
    pub count: Option<u32>,
    /// The time from the first to the last; none by default.
    #[schemars(example = &"30s", length(max = 32))]
    pub within: Option<String>,
    /// The time of the first call, in UTC; the first second of 2026 by default.
    #[schemars(example = &"2026-03-31T21:59:00Z", length(max = 32))]
    pub from: Option<String>,
    /// True if no call ends before the last has begun, so that all run at a time.
    #[schemars(example = true)]
    pub open: Option<bool>,
    /// The request.
    #[schemars(example = json!({ "method": "POST", "path": "/proxy/example/v1/chat", "body": { "model": "example-1" } }))]
    pub request: TestCall,
    /// The usage of each admitted call; none by default.
    #[schemars(example = json!({ "input": 100, "output": 50 }))]
    pub usage: Option<TestUsage>,
}

/// The request of a test.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestCall {
    /// The method; `GET` by default.
    #[schemars(example = &"POST")]
    pub method: Option<Method>,
    /// The path, with the query.
    #[schemars(example = &"/proxy/example/v1/chat", length(max = 4096))]
    pub path: String,
    /// The body: a table for JSON.
    #[schemars(example = json!({ "model": "example-1", "max_tokens": 10 }))]
    pub body: Option<Json>,
    /// The body as text, in place of `body`: for bodies that no table has.
    #[schemars(example = &r#"{"model":"a","model":"b"}"#, length(max = 65_536))]
    pub text: Option<String>,
}

/// The usage of a call.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestUsage {
    /// The tokens of the prompt.
    #[schemars(example = 100)]
    pub input: Option<u64>,
    /// The tokens of the answer.
    #[schemars(example = 50)]
    pub output: Option<u64>,
}

/// The expected result of a test. Properties that are left out are not checked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectLimits {
    /// The number of calls that are admitted.
    #[schemars(example = 60)]
    pub admitted: Option<u32>,
    /// The answer to the last call, if it is refused.
    #[schemars(example = json!({ "status": 429, "code": "limit_exceeded", "limit": "burst" }))]
    pub last: Option<ExpectRefusal>,
}

/// An expected refusal. Properties that are left out are not checked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectRefusal {
    /// The status.
    #[schemars(example = 429)]
    pub status: Option<u16>,
    /// The code.
    #[schemars(example = &"limit_exceeded")]
    pub code: Option<String>,
    /// The limit that refuses.
    #[schemars(example = &"burst")]
    pub limit: Option<String>,
    /// The seconds of `Retry-After`; 0 if there is none.
    #[schemars(example = 60)]
    pub retry_after: Option<u64>,
}

impl Pers {
    /// The list.
    pub fn list(&self) -> &[Per] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

// === values of several JSON types ===

impl<'de> Deserialize<'de> for Pers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            list @ Value::Array(_) => Vec::deserialize(list).map(Self::Several),
            one => Per::deserialize(one).map(Self::One),
        }
        .map_err(de::Error::custom)
    }
}

impl JsonSchema for Pers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = Per::ALL.map(Per::name);
        json_schema!({
            "type": ["string", "array"],
            "if": { "type": "string" },
            "then": { "enum": names },
            "else": { "items": { "type": "string", "enum": names } },
            "minItems": 1,
            "maxItems": names.len(),
        })
    }
}

impl<'de> Deserialize<'de> for WindowValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(_) => Ok(Self::Total),
            table => WindowTable::deserialize(table).map(Self::Table).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for WindowValue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Window".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<WindowTable>();
        json_schema!({
            "type": ["string", "object"],
            "if": { "type": "string" },
            "then": { "enum": ["total"] },
            "else": table,
        })
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Text(text)),
            number => u64::deserialize(number).map(Self::Number).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 1, "maximum": MAX_COUNT, "maxLength": 64 })
    }
}

// === examples with several keys ===

fn example_limit() -> Value {
    json!([{
        "id": "team-month",
        "match": { "group": ["engineers"] },
        "per": "user",
        "cost": "200 USD",
        "window": { "every": "month", "tz": "Europe/Berlin" },
        "no_price": "reject",
    }])
}

fn example_test() -> Value {
    json!([{
        "name": "the 61st in a minute",
        "as": { "user": "alice", "group": "engineers" },
        "calls": { "count": 61, "within": "30s", "request": { "method": "POST", "path": "/proxy/example/v1/chat" } },
        "expect": { "admitted": 60, "last": { "status": 429, "limit": "burst" } },
    }])
}
