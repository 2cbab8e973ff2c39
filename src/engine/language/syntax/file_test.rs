//! The document of a file's own tests: a client's request, an upstream's answer, and the expected result.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};

use super::{Provider, StringMap};
use crate::base::usage::{Counter, NotCounted};

/// A test of the file: a client's request, and the expected upstream request or response.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// The name of the test.
    #[schemars(example = &"the caller's key")]
    pub name: String,
    /// In a preset, gateway or api: a provider that uses it. Its name is `fixture`. In an api, `[fixture]` by default.
    #[schemars(example = json!({ "title": "Fixture" }))]
    pub provider: Option<Box<Provider>>,
    /// The vars that are set. Those of a gateway are in a table of its name. All others are unset.
    #[schemars(example = json!({ "egress_url": "https://egress.example.com" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub vars: Option<BTreeMap<String, VarValue>>,
    /// The request of an authenticated client.
    #[schemars(example = json!({ "path": "/proxy/example/v1/models" }))]
    pub request: TestRequest,
    /// The stored credentials of the caller, by field. The value of an `oauth2` field is its access token, or a table with the
    /// claims of one, that of a `json` field a table.
    #[schemars(example = json!({ "apiKey": "secret" }))]
    #[schemars(extend("maxProperties" = 64))]
    pub credentials: Option<BTreeMap<String, Payload>>,
    /// The time of the request in UTC, which signatures depend on; the first second of 1970 by default.
    #[schemars(example = &"2026-01-31T12:00:00Z", extend("x-language" = 2))]
    pub now: Option<String>,
    /// The reply of the token endpoint, if the request needs a made token. Without it, the token is `token`.
    #[schemars(example = json!({ "body": { "access_token": "t-1", "expires_in": 3600 } }))]
    #[schemars(extend("x-language" = 2))]
    pub token_reply: Option<TokenReply>,
    /// The response of the upstream.
    #[schemars(example = json!({ "status": 200 }))]
    pub answer: Option<TestAnswer>,
    /// The expected result.
    #[schemars(example = json!({ "url": "https://api.example.com/v1/models" }))]
    pub expect: Expect,
}

/// The reply of a token endpoint in a test.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenReply {
    /// The status; 200 by default.
    #[schemars(example = 401, range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// The body: a table for JSON, or a string.
    #[schemars(example = json!({ "access_token": "t-1" }))]
    pub body: Option<Payload>,
}

/// The expected request to a token endpoint. Properties that are left out are not checked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectTokenRequest {
    /// Its URL.
    #[schemars(example = &"https://login.example.com/oauth/token")]
    pub url: Option<String>,
    /// Its method.
    #[schemars(example = &"POST")]
    pub method: Option<String>,
    /// Headers that it must have, with their values.
    #[schemars(example = json!({ "content-type": "application/x-www-form-urlencoded" }))]
    #[schemars(extend("maxProperties" = 64))]
    pub headers: Option<StringMap>,
    /// Fields that its form must have, with their values.
    #[schemars(example = json!({ "grant_type": "client_credentials" }))]
    #[schemars(extend("maxProperties" = 64))]
    pub form: Option<StringMap>,
    /// Its JSON body.
    #[schemars(example = json!({ "grant_type": "client_credentials" }))]
    #[schemars(extend("maxProperties" = 64))]
    pub json: Option<BTreeMap<String, Value>>,
}

/// The expected parts of a JWT. Nothing is signed in tests: the signature is the text `signature`, and `{fingerprint}` is that
/// of 32 zero bytes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectJwt {
    /// The header.
    #[schemars(example = json!({ "alg": "RS256", "typ": "JWT" }))]
    #[schemars(extend("maxProperties" = 32))]
    pub header: Option<BTreeMap<String, Value>>,
    /// The claims.
    #[schemars(example = json!({ "iss": "app", "iat": 1_769_860_800, "exp": 1_769_861_400 }))]
    #[schemars(extend("maxProperties" = 64))]
    pub claims: Option<BTreeMap<String, Value>>,
}

/// The value of a var in a test, or the vars of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VarValue {
    /// A value.
    Text(String),
    /// The vars of a gateway.
    Gateway(StringMap),
}

/// The request of a client in a test.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The method; `GET` by default.
    #[schemars(example = &"POST")]
    pub method: Option<String>,
    /// Path and query.
    #[schemars(example = &"/proxy/example/v1/models?limit=5")]
    pub path: String,
    /// Headers. The body is read by its `content-type`: as a form, or else as JSON.
    #[schemars(example = json!({ "cf-ray": "1" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub headers: Option<StringMap>,
    /// The body: a table for JSON, or a string.
    #[schemars(example = json!({ "model": "example-1" }))]
    pub body: Option<Payload>,
}

/// The response of the upstream in a test. It has at most one of `body`, `text` and `events`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestAnswer {
    /// The status; 200 by default.
    #[schemars(example = 403, range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Headers. A body without `content-type` has that of JSON, or of the format's streams.
    #[schemars(example = json!({ "content-type": "text/html" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub headers: Option<StringMap>,
    /// The body as JSON.
    #[schemars(example = json!({ "usage": { "prompt_tokens": 3 } }))]
    pub body: Option<Json>,
    /// The body as text.
    #[schemars(example = &r#"{"usage":null}"#)]
    pub text: Option<String>,
    /// The events of a stream, which are framed as the format's api says: tables for JSON, or strings.
    #[schemars(example = json!(["[DONE]"]))]
    #[schemars(extend("maxItems" = 1000))]
    pub events: Option<Vec<Payload>>,
    /// `true`: the answer breaks off after that.
    #[schemars(example = true)]
    pub cut: Option<bool>,
}

impl TestAnswer {
    /// Its status.
    pub fn status(&self) -> u16 {
        self.status.unwrap_or(200)
    }
}

/// A text: a string as it is, or JSON.
#[derive(Debug, Clone)]
pub struct Payload(Value);

impl Payload {
    /// The text; of JSON, the compact one.
    pub fn text(&self) -> String {
        self.0.as_str().map_or_else(|| self.0.to_string(), str::to_owned)
    }

    /// The JSON; none of a string.
    pub fn json(&self) -> Option<&Value> {
        Some(&self.0).filter(|value| !value.is_string())
    }
}

/// A JSON table or array.
#[derive(Debug, Clone)]
pub struct Json(pub Value);

/// The expected result of a test. Properties that are left out are not checked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The URL of the upstream request.
    #[schemars(example = &"https://api.example.com/v1/models")]
    pub url: Option<String>,
    /// The method of the upstream request.
    #[schemars(example = &"POST")]
    pub method: Option<String>,
    /// Headers that the upstream request must have, with their values.
    #[schemars(example = json!({ "authorization": "Bearer secret" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub headers: Option<StringMap>,
    /// Headers, as names or globs, that the upstream request must not have.
    #[schemars(example = json!(["cf-*", "x-api-key"]))]
    #[schemars(extend("maxItems" = 64))]
    pub absent: Option<Vec<String>>,
    /// The request to the token endpoint.
    #[schemars(example = json!({ "url": "https://login.example.com/oauth/token" }))]
    #[schemars(extend("x-language" = 2))]
    pub token_request: Option<ExpectTokenRequest>,
    /// The JWT that is the token, or that the request to the token endpoint holds.
    #[schemars(example = json!({ "claims": { "iss": "app" } }))]
    #[schemars(extend("x-language" = 2))]
    pub jwt: Option<ExpectJwt>,
    /// The status of the response to the client.
    #[schemars(example = 401, range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Headers that the response to the client must have, with their values, if it is the upstream's. The address of tollgate in
    /// them is `https://tollgate.example`.
    #[schemars(example = json!({ "location": "/proxy/example/v1/files/1" }))]
    #[schemars(extend("maxProperties" = 256, "x-language" = 2))]
    pub answer_headers: Option<StringMap>,
    /// The message of an error response to the client.
    #[schemars(example = &"No API key configured for example")]
    pub message: Option<String>,
    /// The stable code of an error response to the client.
    #[schemars(example = &"credential_missing")]
    pub code: Option<String>,
    /// The JSON body of an error response to the client. The id of the request in it is `test`.
    #[schemars(example = json!({ "error": { "message": "no key" } }))]
    #[schemars(extend("maxProperties" = 256))]
    pub body: Option<BTreeMap<String, Value>>,
    /// Headers that the answer to a browser's preflight (`OPTIONS`) allows.
    #[schemars(example = json!(["example-version"]))]
    #[schemars(extend("maxItems" = 64))]
    pub allow_headers: Option<Vec<String>>,
    /// The gateway token found in the client's request.
    #[schemars(example = &"client-token")]
    pub token: Option<String>,
    /// `false`: the exchange is not metered.
    #[schemars(example = false)]
    pub metered: Option<bool>,
    /// What limits and rules read of the request.
    #[schemars(example = json!({ "model": "example-1", "max_output": 200 }))]
    pub judged: Option<ExpectJudged>,
    /// The metered usage of the exchange.
    #[schemars(example = json!({ "input": 3, "output": 5 }))]
    pub usage: Option<ExpectUsage>,
    /// The events of a metered stream that the client gets: all of the answer but one that tollgate asked for.
    #[schemars(example = json!(["[DONE]"]))]
    #[schemars(extend("maxItems" = 1000))]
    pub events: Option<Vec<Payload>>,
}

/// What limits and rules read of a request that is sent: as if all of them were for it. Without `refused`, none of them refuses it for
/// what it is.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectJudged {
    /// The model. Left out, it is not checked.
    #[schemars(example = &"example-1")]
    pub model: Option<String>,
    /// The models that the upstream may call besides it, or in its place; none if left out.
    #[schemars(example = json!(["example-2"]))]
    #[schemars(extend("maxItems" = 64))]
    pub other_models: Option<Vec<String>>,
    /// The greatest number of tokens of all answers. Left out, it is not checked.
    #[schemars(example = 100, range(min = 0))]
    pub max_output: Option<u64>,
    /// The cause for which the request is refused, such as `unbounded` where it has what no bound holds, `twice`, or `look_alike`.
    #[schemars(example = &"unbounded")]
    pub refused: Option<String>,
}

/// The metered usage of an exchange. Counters that are left out have to be zero, and flags `false`. Names that are left out
/// are not checked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectUsage {
    /// Tokens of the prompt that no other counter has.
    #[schemars(example = 3, range(min = 0))]
    pub input: Option<u64>,
    /// Tokens of the answer that no other counter has.
    #[schemars(example = 5, range(min = 0))]
    pub output: Option<u64>,
    /// Tokens of the prompt that the upstream read from its cache.
    #[schemars(example = 1, range(min = 0))]
    pub cache_read: Option<u64>,
    /// Tokens of the prompt that the upstream wrote to its cache.
    #[schemars(example = 1, range(min = 0))]
    pub cache_write: Option<u64>,
    /// Tokens that a model spent on reasoning.
    #[schemars(example = 1, range(min = 0))]
    pub reasoning: Option<u64>,
    /// Audio tokens of the prompt.
    #[schemars(example = 1, range(min = 0))]
    pub audio_input: Option<u64>,
    /// Audio tokens of the answer.
    #[schemars(example = 1, range(min = 0))]
    pub audio_output: Option<u64>,
    /// Images made.
    #[schemars(example = 1, range(min = 0))]
    pub images: Option<u64>,
    /// Characters of text that was read aloud or translated.
    #[schemars(example = 1, range(min = 0))]
    pub characters: Option<u64>,
    /// Seconds of audio or video, rounded up.
    #[schemars(example = 1, range(min = 0))]
    pub seconds: Option<u64>,
    /// Other units that a vendor bills.
    #[schemars(example = 1, range(min = 0))]
    pub units: Option<u64>,
    /// The model of the answer, else that of the request.
    #[schemars(example = &"example-1")]
    pub model: Option<String>,
    /// The upstream's id of the response.
    #[schemars(example = &"resp_1")]
    pub id: Option<String>,
    /// The last finish reason.
    #[schemars(example = &"stop")]
    pub finish_reason: Option<String>,
    /// The greatest number of tokens of the answer that the request allows.
    #[schemars(example = 100, range(min = 0))]
    pub max_output: Option<u64>,
    /// Bytes of text in the prompt.
    #[schemars(example = 5, range(min = 0))]
    pub prompt_bytes: Option<u64>,
    /// Bytes of text in the answer.
    #[schemars(example = 5, range(min = 0))]
    pub answer_bytes: Option<u64>,
    /// The reason for which the exchange was not counted, or not wholly. Left out, it has to be counted.
    #[serde(default)]
    #[schemars(example = &"usage_missing", schema_with = "reasons")]
    pub not_counted: Option<String>,
    /// `true`: tokens of a side are estimated from its bytes of text.
    #[schemars(example = true)]
    pub estimated: Option<bool>,
    /// `true`: the upstream reported an error within the answer.
    #[schemars(example = true)]
    pub failed: Option<bool>,
    /// The content that exporters may get.
    #[schemars(example = json!({ "answer": "Hello" }))]
    pub content: Option<ExpectContent>,
}

/// The content that exporters may get. Values that are left out are not checked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectContent {
    /// JSON values of the request, by name.
    #[schemars(example = json!({ "messages": [{ "role": "user", "content": "Hi" }] }))]
    #[schemars(extend("maxProperties" = 64))]
    pub prompt: Option<BTreeMap<String, Value>>,
    /// Numbers, booleans and strings of the request, by name.
    #[schemars(example = json!({ "temperature": 1 }))]
    #[schemars(extend("maxProperties" = 64))]
    pub parameters: Option<BTreeMap<String, Value>>,
    /// The text of the answer.
    #[schemars(example = &"Hello")]
    pub answer: Option<String>,
}

impl ExpectUsage {
    /// The expected value of a counter.
    pub fn counter(&self, counter: Counter) -> u64 {
        let value = match counter {
            Counter::Input => self.input,
            Counter::Output => self.output,
            Counter::CacheRead => self.cache_read,
            Counter::CacheWrite => self.cache_write,
            Counter::Reasoning => self.reasoning,
            Counter::AudioInput => self.audio_input,
            Counter::AudioOutput => self.audio_output,
            Counter::Images => self.images,
            Counter::Characters => self.characters,
            Counter::Seconds => self.seconds,
            Counter::Units => self.units,
        };
        value.unwrap_or_default()
    }
}

/// The schema of `not_counted`.
fn reasons(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": NotCounted::ALL.map(NotCounted::code) })
}

// === impl Payload, Json and VarValue: untagged, distinguished by JSON type ===

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Payload {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Payload".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "object"] })
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Json {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Json".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["object", "array"] })
    }
}

impl<'de> Deserialize<'de> for VarValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Text(text)),
            other => StringMap::deserialize(other).map(Self::Gateway).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for VarValue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "VarValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "object"],
            "if": { "type": "object" },
            "then": { "additionalProperties": { "type": "string" } },
        })
    }
}

pub(super) fn example_test() -> Value {
    json!([{
        "name": "the caller's key",
        "request": { "method": "POST", "path": "/proxy/example/v1/chat/completions" },
        "credentials": { "apiKey": "secret" },
        "expect": { "headers": { "authorization": "Bearer secret" } },
    }])
}
