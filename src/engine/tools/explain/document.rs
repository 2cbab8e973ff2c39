//! The JSON document of `explain`. Its keys are stable, and `docs/tooling.md` lists them. Secrets are masked as `***`.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The explanation of a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The request.
    pub request: Request,
    /// The location of the client's gateway token. Null if the request has none.
    pub token: Option<Token>,
    /// The caller.
    pub caller: CallerInfo,
    /// The request's route. Null without an endpoint.
    #[serde(rename = "way")]
    pub route: Option<Route>,
    /// The reason why there is no endpoint. Null if there is one.
    pub miss: Option<Miss>,
}

/// The request without query and headers, which may hold secrets.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedRequest")]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
}

/// The location of a client's gateway token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedToken")]
pub struct Token {
    /// `header`, `query` or `subprotocol`.
    pub r#in: Cow<'static, str>,
    /// The name of the header or parameter, or the prefix of the subprotocol.
    pub name: String,
    /// The scheme before the token, if it is one of `caller.schemes`; empty for a token without one.
    pub scheme: Option<String>,
}

/// A header of the upstream's response. A URL in it that an endpoint reaches becomes the one at which clients reach it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedReturnedHeader")]
pub struct ReturnedHeader {
    /// Its name.
    pub name: String,
    /// The position of the rule.
    pub at: Option<Position>,
}

/// Facts about the caller that decide besides the credentials. The token counts as valid.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedCaller")]
pub struct CallerInfo {
    /// The user's name. Null if none is named.
    pub user: Option<String>,
    /// True if the user is disabled.
    pub disabled: bool,
    /// The token's kind: `proxy`, `manage`, `both` or `session`.
    pub kind: Cow<'static, str>,
    /// The provider of a paste token. Null for other tokens.
    pub paste: Option<String>,
    /// The token's scopes. Null for every provider.
    pub scopes: Option<Vec<String>>,
}

/// A position in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SourcePosition")]
pub struct Position {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// A request's route to the upstream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedRoute")]
pub struct Route {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The `[[auth]]` entries, in order.
    pub auth: Vec<Choice>,
    /// The owner of the credential that is used: a user's id, `group:NAME` or `everybody`. Null if none is used, or
    /// one that is not stored.
    pub owner: Option<String>,
    /// The file's gateways.
    pub gateways: Vec<Choice>,
    /// The egresses, in order.
    pub egresses: Vec<Choice>,
    /// TLS of the provider's own: `ca` and `certificate`, if its file has them.
    pub tls: Vec<Choice>,
    /// The method sent upstream.
    pub method: String,
    /// The URL that is called.
    pub url: String,
    /// Headers that the client sent or that are sent upstream. Those that are sent come first.
    pub headers: Vec<Header>,
    /// Query parameters that are removed, added or set. All others pass unchanged.
    pub query: Vec<Parameter>,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// The maximum size of the request's body, in bytes.
    pub max_body: u64,
    /// The maximum size of a body whose hash the credential signs, in bytes. Null if the credential needs nothing of the body.
    pub signed_body: Option<u64>,
    /// The headers of the answer whose URLs come back through tollgate.
    pub returned_urls: Vec<ReturnedHeader>,
    /// The metering of the answer.
    pub metering: Metering,
    /// The names in OpenTelemetry.
    pub telemetry: Telemetry,
    /// The limits and rules.
    pub limits: CallLimits,
    /// tollgate's own error response. Null if the request is sent upstream.
    pub fault: Option<ErrorReply>,
}

/// The limits and rules of a request.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedLimits")]
pub struct CallLimits {
    /// The rules for models and endpoints that are for the caller. With any, one of them has to allow the request.
    pub rules: Vec<RuleOfCall>,
    /// The limits that are for the request, by id.
    pub limits: Vec<LimitOfCall>,
    /// The parts of the body that decide and are not known: `model`, `max_output` and `size`.
    pub depends_on: Vec<String>,
    /// What the limits and rules say, apart from all else that may refuse the request.
    pub verdict: Verdict,
    /// The error response, if one of them refuses the request. Null if none does.
    pub fault: Option<ErrorReply>,
    /// The position of the limit, or of the caller's first rule, that refuses it.
    pub at: Option<Position>,
}

/// What limits and rules say of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ExplainedVerdict")]
pub enum Verdict {
    /// All let it pass.
    #[default]
    Allowed,
    /// One refuses it.
    Refused,
    /// Its body decides, and is not known.
    Depends,
}

/// A rule for models and endpoints.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedAllow")]
pub struct RuleOfCall {
    /// The providers that it allows, as globs.
    pub providers: String,
    /// The endpoints that it allows, as globs.
    pub endpoints: String,
    /// The models that it allows, as globs.
    pub models: String,
    /// True if it allows the request. Null if the model decides, and none is known.
    pub allows: Option<bool>,
    /// Its position.
    pub at: Option<Position>,
}

/// A limit that is for a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedLimit")]
pub struct LimitOfCall {
    /// Its id.
    pub id: String,
    /// What it counts: `requests`, `tokens`, `input_tokens`, `output_tokens`, `cost`, `bytes` or `concurrent`.
    pub measure: Cow<'static, str>,
    /// The caller's amount. Null if the limit exempts the caller.
    pub amount: Option<String>,
    /// The time that the amount is for. Null of concurrent requests.
    pub window: Option<String>,
    /// What has an amount of its own.
    pub per: String,
    /// False if it only warns.
    pub rejects: bool,
    /// What the request would reserve. Null if that depends on its body, or it is refused before.
    pub reserves: Option<String>,
    /// What is left before the request. Null if it is not known: a server knows it.
    pub left: Option<String>,
    /// Its position.
    pub at: Option<Position>,
}

/// The endpoint.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedEndpoint")]
pub struct Endpoint {
    /// Its provider.
    pub provider: String,
    /// Its name in the file.
    pub name: String,
    /// Its method.
    pub method: String,
    /// The client path that matched, as written.
    pub path: String,
    /// The values of the path's captures.
    pub captures: BTreeMap<String, String>,
    /// The name of its origin among the file's `origins`. Null for that of `base_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The protocol that the connection switches to: `websocket`. Null for plain requests.
    pub upgrade: Option<Cow<'static, str>>,
    /// The members of their closed sets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sets: BTreeMap<String, Vec<String>>,
    /// The path's position.
    pub at: Option<Position>,
}

/// An option: an `[[auth]]` entry, a gateway, an egress or a key of `tls`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedChoice")]
pub struct Choice {
    /// An entry's field, a gateway's name, an egress's number from 1, a key of `tls`.
    pub name: String,
    /// True if it is used.
    pub used: bool,
    /// The reason why it is used or not.
    pub reason: String,
    /// Its position.
    pub at: Option<Position>,
}

/// A header.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedHeader")]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its values as sent upstream. Empty if it is removed.
    pub values: Vec<String>,
    /// The decisions about it, in order. The last one wins.
    pub steps: Vec<Step>,
}

/// A query parameter.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedParameter")]
pub struct Parameter {
    /// Its name, decoded.
    pub name: String,
    /// The decisions about it, in order.
    pub steps: Vec<Step>,
}

/// One decision about a header or a query parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedStep")]
pub struct Step {
    /// The action.
    pub action: Action,
    /// The rule, as the path of its key. Null if the engine decided.
    pub rule: Option<String>,
    /// The engine's reason. Null if a rule decided.
    pub reason: Option<String>,
    /// The position of the rule, or of the cause.
    pub at: Option<Position>,
}

/// An action on a header or a query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ExplainedAction")]
pub enum Action {
    /// It passes unchanged.
    Kept,
    /// It passes since a rule lets it through.
    LetThrough,
    /// It is removed.
    Removed,
    /// It is added, since the client sent none.
    Added,
    /// Members were added to its list.
    Appended,
    /// It is set, and replaces the client's.
    Set,
}

/// The timeouts of a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedTimeouts")]
pub struct Timeouts {
    /// For name lookup, connection and TLS together.
    pub connect: Timeout,
    /// From the last progress of the upload to the head of the response.
    pub first_byte: Timeout,
    /// Between two chunks of the response's body.
    pub idle: Timeout,
}

/// A timeout.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedTimeout")]
pub struct Timeout {
    /// In milliseconds.
    pub ms: u128,
    /// Its position. Null for the default.
    pub at: Option<Position>,
}

/// The metering of an answer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedMetering")]
pub struct Metering {
    /// The wire format that usage is read from. Null if the answer is not metered.
    pub api: Option<String>,
    /// The procedure for an answer without usage: `estimate`, `none` or `ask`. Null if the answer is not metered.
    pub when_missing: Option<Cow<'static, str>>,
    /// The key that is inserted into the request's body to ask for usage. Null if the body passes unchanged.
    pub inserts: Option<Inserted>,
    /// The event that is taken out of the answer then. Null if none is.
    pub takes_out: Option<TakenOut>,
    /// The reason why the answer is not metered. Null if it is.
    pub reason: Option<String>,
    /// The position of the endpoint's key that decides about it.
    pub at: Option<Position>,
}

/// The names of an exchange in OpenTelemetry.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedTelemetry")]
pub struct Telemetry {
    /// That of the operation.
    pub operation: TelemetryName,
    /// That of the provider.
    pub provider: TelemetryName,
}

/// A name in OpenTelemetry.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedName")]
pub struct TelemetryName {
    /// The name.
    pub name: String,
    /// The position of the key that it comes from. Null if it is the name of the endpoint or of the provider.
    pub at: Option<Position>,
}

/// A key that is inserted into the body of a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedInsertion")]
pub struct Inserted {
    /// Its JSON pointer.
    pub at: String,
    /// Its value.
    pub value: serde_json::Value,
    /// The JSON pointer of a value that has to be true. Null if the key is always inserted.
    pub when: Option<String>,
}

/// An event with usage alone.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedRemoval")]
pub struct TakenOut {
    /// The JSON pointer of the usage.
    pub at: String,
    /// The JSON pointer of the empty array.
    pub empty: String,
    /// The JSON pointers of other values that it may have.
    pub with: Vec<String>,
}

/// tollgate's own error response.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedFault")]
pub struct ErrorReply {
    /// The status.
    pub status: u16,
    /// The stable code.
    pub code: Cow<'static, str>,
    /// The message.
    pub message: String,
}

/// The result for a request without an endpoint.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExplainedMiss")]
pub struct Miss {
    /// The request that tollgate answers itself, in a sentence. Null for any other.
    pub own: Option<String>,
    /// The error response. Null if tollgate answers the request itself and does not refuse it.
    pub fault: Option<ErrorReply>,
    /// The most similar endpoint. Null if none is similar.
    pub nearest: Option<Nearest>,
}

/// The endpoint that is most similar to a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NearestEndpoint")]
pub struct Nearest {
    /// Its provider.
    pub provider: String,
    /// Its name in the file.
    pub name: String,
    /// Its method.
    pub method: String,
    /// Its client path, as written.
    pub path: String,
    /// The differences. One, if an endpoint is that similar.
    pub differs: Vec<Difference>,
    /// The path's position.
    pub at: Option<Position>,
}

/// A difference between a request and an endpoint.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NearestDifference")]
pub struct Difference {
    /// `method`, `trailing_slash`, `double_slash`, `dots`, `encoding`, `case`, `segment`, `extra_segment` or
    /// `missing_segment`.
    pub what: Cow<'static, str>,
    /// In a sentence.
    pub message: String,
}
