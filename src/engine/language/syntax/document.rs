//! The files as they are written: one struct per table, every field optional that a file may leave out.
//! The comments here are the reference of the language: they become the schema's descriptions.
//!
//! Nothing is decided here; what the values mean is `compile`'s.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::json;

use crate::language::auth::syntax::Auth;

/// Name to text.
pub type StringMap = BTreeMap<String, String>;

/// A provider: one upstream API, its allowed endpoints, and how a request to it is rewritten.
/// The file's stem is its name. Presets have the same keys.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate provider")]
pub struct Provider {
    /// The version of this language that the file is written in.
    #[schemars(example = 1, range(min = 1, max = 1))]
    pub language: Option<u32>,
    /// The provider's name for people.
    #[schemars(example = &"Example AI")]
    pub title: Option<String>,
    /// A preset, `presets/<name>.toml`, that supplies what this file leaves out. A top-level table written
    /// here replaces the preset's whole; endpoints are merged by name.
    #[schemars(example = &"example-preset")]
    pub extends: Option<String>,
    /// In a preset: whether it is the one that a new file extends unless another is named. One at most says `true`.
    #[schemars(example = true)]
    pub default: Option<bool>,
    /// Where the upstream's paths start: scheme, host, and a base path if it has one. A template over vars.
    #[schemars(example = &"https://api.example.com")]
    pub base_url: Option<String>,
    /// Where client paths start. `{provider}` stands for the provider's name.
    #[schemars(example = &"/proxy/{provider}")]
    pub path_prefix: Option<String>,
    /// How pages group the provider.
    #[schemars(example = &"additional")]
    pub group: Option<String>,
    /// Where a person gets a key.
    #[schemars(example = &"https://example.com/keys")]
    pub keys_url: Option<String>,
    /// The upstream's documentation.
    #[schemars(example = &"https://example.com/docs")]
    pub docs: Option<String>,
    /// Headers that browsers may send beyond `Content-Type`, `Authorization` and `x-api-key`.
    #[schemars(example = json!(["example-version"]))]
    pub cors_headers: Option<Vec<String>>,
    /// Named values from the environment or a file: the only place where either is read.
    #[schemars(example = example_vars())]
    pub vars: Option<BTreeMap<String, Var>>,
    /// Where this provider's own clients put a gateway token, beside `Authorization` and `x-api-key`.
    #[schemars(example = json!({ "headers": ["x-example-key"] }))]
    pub caller: Option<Caller>,
    /// Where a caller's credentials for this provider are stored.
    #[schemars(example = json!({ "section": "providers.{provider}" }))]
    pub credentials: Option<Credentials>,
    /// How a credential goes into the request: the first entry whose field is stored and usable wins.
    /// No entry at all: no credential is needed.
    #[schemars(example = example_auth())]
    pub auth: Option<Vec<Auth>>,
    /// The allowed endpoints by name; `false` removes the preset's endpoint of that name.
    #[schemars(example = example_endpoint())]
    pub endpoint: Option<BTreeMap<String, EndpointEntry>>,
    /// What happens to the request's headers, at every endpoint.
    #[schemars(example = json!({ "default": { "api-version": "1" } }))]
    pub headers: Option<Headers>,
    /// Upstream gateways, `gateways/<name>.toml`, through which the provider can be reached.
    #[schemars(example = example_gateway())]
    pub gateway: Option<BTreeMap<String, GatewayUse>>,
    /// Overlays on the finished request. Those whose `when` vars are all set apply, in the file's order.
    #[schemars(example = json!([{ "url": "{egress_url}?target={url|urlencode}" }]))]
    pub egress: Option<Vec<Egress>>,
    /// Rules on the upstream's answer; the first that matches applies.
    #[schemars(example = example_response())]
    pub response: Option<Vec<Response>>,
    /// How long to wait for the upstream.
    #[schemars(example = json!({ "first_byte": "600s" }))]
    pub timeouts: Option<Timeouts>,
    /// How much a request may carry.
    #[schemars(example = json!({ "max_body": "256MiB" }))]
    pub limits: Option<Limits>,
    /// A token of a vendor's shape, for clients that insist on one.
    #[schemars(example = json!({ "path": "/auth/example-token" }))]
    pub paste_token: Option<PasteToken>,
    /// What a page's "try it" calls.
    #[schemars(example = json!({ "endpoint": "chat" }))]
    pub probe: Option<Probe>,
    /// The file's own tests: a request in, what goes upstream out. No network, no environment, no clock.
    #[schemars(example = example_test())]
    pub test: Option<Vec<Test>>,
}

/// A gateway: a service in front of many providers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate gateway")]
pub struct Gateway {
    /// The version of this language that the file is written in.
    #[schemars(example = 1, range(min = 1, max = 1))]
    pub language: Option<u32>,
    /// The gateway's name for people.
    #[schemars(example = &"Example Gateway")]
    pub title: String,
    /// The gateway's documentation.
    #[schemars(example = &"https://example.com/docs")]
    pub docs: Option<String>,
    /// Where the gateway's paths start. A template over its vars.
    #[schemars(example = &"https://gateway.example.com/v1/{account}")]
    pub base_url: String,
    /// The gateway's vars; it is active when all of them are set.
    #[schemars(example = example_vars())]
    pub vars: BTreeMap<String, Var>,
    /// What the gateway changes in the request's headers.
    #[schemars(example = json!({ "set": { "x-gateway-token": "{token}" } }))]
    pub headers: Option<Overlay>,
    /// The file's own tests; each brings its provider in `[test.provider]`.
    #[schemars(example = example_test())]
    pub test: Option<Vec<Test>>,
}

/// A wire format: how it says that something went wrong.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate api")]
pub struct Api {
    /// The version of this language that the file is written in.
    #[schemars(example = 1, range(min = 1, max = 1))]
    pub language: Option<u32>,
    /// The format's name for people.
    #[schemars(example = &"Example chat")]
    pub title: String,
    /// The format's documentation.
    #[schemars(example = &"https://example.com/docs")]
    pub docs: Option<String>,
    /// The shape of an error.
    #[schemars(example = json!({ "body": { "message": "{message}" } }))]
    pub error: ErrorShape,
    /// The file's own tests; each brings its provider in `[test.provider]`.
    #[schemars(example = example_test())]
    pub test: Option<Vec<Test>>,
}

/// The shape of an api's errors.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorShape {
    /// The JSON body. Texts in it are templates over `{message}`, `{code}`, `{type}` and `{request_id}`.
    #[schemars(example = json!({ "message": "{message}" }))]
    pub body: BTreeMap<String, serde_json::Value>,
    /// What `{type}` stands for, by status; `default` for all others.
    #[schemars(example = json!({ "401": "authentication_error", "default": "api_error" }))]
    pub types: Option<StringMap>,
}

/// A named value from the environment or from a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Var {
    /// The environment variable. Empty counts as unset; `TOLLGATE_*` is refused.
    #[schemars(example = &"EXAMPLE_TOKEN")]
    pub env: Option<String>,
    /// A file's name below the secrets directory.
    #[schemars(example = &"example-token")]
    pub file: Option<String>,
    /// Whether it may be unset. An optional var is used only where a `when` names it.
    #[schemars(example = true)]
    pub optional: Option<bool>,
    /// Whether its value is never shown.
    #[schemars(example = true)]
    pub secret: Option<bool>,
}

/// Further places where a client of this provider puts its gateway token.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// Headers, looked at in this order after `Authorization` and `x-api-key`.
    #[schemars(example = json!(["x-example-key"]))]
    pub headers: Option<Vec<String>>,
    /// Query parameters, looked at last.
    #[schemars(example = json!(["key"]))]
    pub query: Option<Vec<String>>,
}

/// A section of the caller's credentials.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Where the section stands in the credentials document. `{provider}` stands for the provider's name.
    #[schemars(example = &"providers.{provider}")]
    pub section: Option<String>,
    /// Other providers that use the same section; each names the others.
    #[schemars(example = json!(["example-login"]))]
    pub shared_with: Option<Vec<String>>,
    /// The section's fields.
    #[schemars(example = json!([{ "label": "API key", "name": "apiKey" }]))]
    pub field: Option<Vec<Field>>,
}

/// One field of a credentials section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// The field's name in the credentials document.
    #[schemars(example = &"apiKey")]
    pub name: String,
    /// What pages call it.
    #[schemars(example = &"API key")]
    pub label: Option<String>,
    /// What pages say below it.
    #[schemars(example = &"starts with sk-")]
    pub hint: Option<String>,
    /// What pages show in the empty field.
    #[schemars(example = &"sk-...")]
    pub placeholder: Option<String>,
    /// What is stored: a `secret` (the default) or an `oauth2` login.
    #[schemars(example = &"secret")]
    pub kind: Option<FieldKind>,
    /// `oauth2`: where a login is refreshed.
    #[schemars(example = &"https://auth.example.com/oauth/token")]
    pub token_url: Option<String>,
    /// `oauth2`: the client's id at the token endpoint.
    #[schemars(example = &"app_123")]
    pub client_id: Option<String>,
    /// `oauth2`: the grant. Only `refresh_token` is known.
    #[schemars(example = &"refresh_token")]
    pub grant: Option<Grant>,
    /// `oauth2`: how long before it expires a login is refreshed.
    #[schemars(example = &"300s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub refresh_before: Option<String>,
    /// `oauth2`: JSON pointers into what a user pastes, by the name of what stands there.
    #[schemars(example = json!({ "accessToken": "/tokens/access_token" }))]
    pub paste: Option<StringMap>,
}

/// The kinds of stored fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum FieldKind {
    /// A text such as an API key.
    Secret,
    /// An OAuth 2.0 login.
    Oauth2,
}

/// The grants of RFC 6749 by which a login is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Grant {
    /// RFC 6749, section 6.
    RefreshToken,
}

/// An endpoint, or `false` to remove the preset's.
#[derive(Debug, Clone)]
pub enum EndpointEntry {
    /// `false`.
    Removed,
    /// The endpoint's table.
    Table(Box<Endpoint>),
}

/// One allowed method and path.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The method, in capitals.
    #[schemars(example = &"POST")]
    pub method: Option<Method>,
    /// The path below the prefix. A segment may hold a capture, `{model}` or `{model}:generate`; `{rest...}`
    /// as the last one takes all that follows.
    #[schemars(example = &"/v1/chat/completions")]
    pub path: Option<String>,
    /// Further whole client paths, with the same captures.
    #[schemars(example = json!(["/v1/chat/completions"]))]
    pub aliases: Option<Vec<String>>,
    /// The path at the upstream, below the base path; the same as `path` if left out. A template over captures
    /// and vars.
    #[schemars(example = &"/chat/completions")]
    pub upstream_path: Option<String>,
    /// The wire format, `apis/<name>.toml`: how faults are shaped.
    #[schemars(example = &"chat-completions")]
    pub api: Option<String>,
    /// What happens to the query.
    #[schemars(example = json!({ "remove": ["beta"] }))]
    pub query: Option<Query>,
    /// What happens to the request's headers, at this endpoint, after the provider's rules.
    #[schemars(example = json!({ "remove": ["x-debug"] }))]
    pub headers: Option<Headers>,
    /// How long to wait for the upstream, at this endpoint.
    #[schemars(example = json!({ "first_byte": "60s" }))]
    pub timeouts: Option<Timeouts>,
    /// Rules on the upstream's answer, at this endpoint, before the provider's.
    #[schemars(example = example_response())]
    pub response: Option<Vec<Response>>,
}

/// The methods that an endpoint may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
#[expect(missing_docs, reason = "RFC 9110, section 9.3; RFC 5789")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

/// What happens to the query, in this order. All else passes as sent.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Names that never go up.
    #[schemars(example = json!(["beta"]))]
    pub remove: Option<Vec<String>>,
    /// Added if the client sent none of that name.
    #[schemars(example = json!({ "api-version": "2024-10-21" }))]
    pub default: Option<StringMap>,
    /// Replaces what the client sent.
    #[schemars(example = json!({ "alt": "sse" }))]
    pub set: Option<StringMap>,
}

/// What happens to headers, in this order.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Headers {
    /// Lets through what the engine strips: forwarding and client-address headers, `cf-*`, `origin`, `referer`.
    #[schemars(example = json!(["x-forwarded-for"]))]
    pub pass: Option<Vec<String>>,
    /// Names or globs that never go up.
    #[schemars(example = json!(["x-debug-*"]))]
    pub remove: Option<Vec<String>>,
    /// Added if the client sent none.
    #[schemars(example = json!({ "api-version": "1" }))]
    pub default: Option<StringMap>,
    /// Set, whatever the client sent. Templates over vars; at an endpoint also over its captures.
    #[schemars(example = json!({ "x-source": "gateway" }))]
    pub set: Option<StringMap>,
}

/// What a gateway or an egress changes in the headers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Names or globs that do not go this way.
    #[schemars(example = json!(["x-real-ip"]))]
    pub remove: Option<Vec<String>>,
    /// Headers set on this way.
    #[schemars(example = json!({ "x-proxy-auth": "Bearer {token}" }))]
    pub set: Option<StringMap>,
}

/// How the provider is reached through a gateway.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewayUse {
    /// Taken from the front of the upstream path, base path included; it must fit every endpoint.
    #[schemars(example = &"/base/v1")]
    pub strip: Option<String>,
    /// The path below the gateway's base URL. `{path}` is the upstream path less `strip`.
    #[schemars(example = &"/example{path}")]
    pub path: String,
    /// Vars of this file that must be set too.
    #[schemars(example = json!(["custom_gateway"]))]
    pub when: Option<Vec<String>>,
    /// Which gateway is used when several are active: the lowest.
    #[schemars(example = 1, range(min = i32::MIN, max = i32::MAX))]
    pub order: Option<i32>,
}

/// An overlay on the finished request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Vars that must all be set for it to apply.
    #[schemars(example = json!(["egress_url"]))]
    pub when: Option<Vec<String>>,
    /// Where the request goes instead; `{url}` is the upstream URL. At most one active egress has it.
    #[schemars(example = &"{egress_url}?target={url|urlencode}")]
    pub url: Option<String>,
    /// What changes in the headers.
    #[schemars(example = json!({ "remove": ["x-real-ip"] }))]
    pub headers: Option<Overlay>,
}

/// A rule on the upstream's answer.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// The answers it applies to.
    #[schemars(example = json!({ "content_type": "text/html*" }))]
    pub when: ResponseWhen,
    /// What the client gets instead.
    #[schemars(example = serde_json::json!({ "status": 502, "message": "{host} refused this" }))]
    pub reply: Reply,
}

/// Which answers a rule applies to: all that is named must hold.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseWhen {
    /// The answer's status.
    #[schemars(example = 403, range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// A glob on the answer's content type.
    #[schemars(example = &"text/html*")]
    pub content_type: Option<String>,
}

/// An answer of tollgate's own, in the error shape of the endpoint's api.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The status.
    #[schemars(example = 502, range(min = 400, max = 599))]
    pub status: u16,
    /// The message. `{host}` is the `base_url`'s host, `{provider}` the provider's name.
    #[schemars(example = &"Upstream {host} blocked this request (403).")]
    pub message: String,
}

/// How long to wait, as a number and `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// For name lookup, connection and TLS together.
    #[schemars(example = &"10s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub connect: Option<String>,
    /// From the last progress of the request's upload to the head of the answer.
    #[schemars(example = &"600s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub first_byte: Option<String>,
    /// Between two pieces of the answer; not counted while the client does not read.
    #[schemars(example = &"300s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub idle: Option<String>,
}

/// How much a request may carry.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The largest request body, as a number and `B`, `KiB`, `MiB` or `GiB`.
    #[schemars(example = &"256MiB", regex(pattern = r"^[0-9]+(B|KiB|MiB|GiB)$"))]
    pub max_body: Option<String>,
}

/// A token of a vendor's shape. It holds nothing real and serves only this provider's routes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasteToken {
    /// The self-service path that makes one, below `/auth/`.
    #[schemars(example = &"/auth/example-token")]
    pub path: String,
    /// The answer's key that holds the token.
    #[schemars(example = &"pasteToken")]
    pub reply: String,
    /// What is said when the caller has stored no login.
    #[schemars(example = &"no login is stored: add one first")]
    pub missing: String,
    /// The token's claims. A table `{ gen = "uuid" | "hex24" | "now", prefix = "..." }` is generated.
    #[schemars(example = json!({ "sub": "gateway-proxy" }))]
    pub claims: BTreeMap<String, serde_json::Value>,
}

/// What a page's "try it" calls.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// An endpoint's name.
    #[schemars(example = &"chat")]
    pub endpoint: String,
    /// The request's JSON body.
    #[schemars(example = json!({ "model": "example-1" }))]
    pub body: Option<BTreeMap<String, serde_json::Value>>,
}

/// A test of the file: a request in, what goes upstream out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What it shows.
    #[schemars(example = &"the caller's key")]
    pub name: String,
    /// In a preset, gateway or api: the provider that uses it, named `fixture`.
    #[schemars(example = json!({ "title": "Fixture" }))]
    pub provider: Option<Box<Provider>>,
    /// The vars that are set, by name; a gateway's in a table of its name. All others are unset.
    #[schemars(example = json!({ "egress_url": "https://egress.example.com" }))]
    pub vars: Option<BTreeMap<String, VarValue>>,
    /// The client's request, as an authenticated caller sends it.
    #[schemars(example = json!({ "path": "/proxy/example/v1/models" }))]
    pub request: TestRequest,
    /// The caller's stored credentials, by field; an `oauth2` field by its access token.
    #[schemars(example = json!({ "apiKey": "secret" }))]
    pub credentials: Option<StringMap>,
    /// What the upstream answers.
    #[schemars(example = json!({ "status": 200 }))]
    pub answer: Option<TestAnswer>,
    /// What must come of it.
    #[schemars(example = json!({ "url": "https://api.example.com/v1/models" }))]
    pub expect: Expect,
}

/// A var's value in a test, or a gateway's vars.
#[derive(Debug, Clone)]
pub enum VarValue {
    /// A value.
    Text(String),
    /// The vars of the gateway of this name.
    Gateway(StringMap),
}

/// A client's request in a test.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The method; `GET` if left out.
    #[schemars(example = &"POST")]
    pub method: Option<String>,
    /// Path and query.
    #[schemars(example = &"/proxy/example/v1/models?limit=5")]
    pub path: String,
    /// Headers.
    #[schemars(example = json!({ "cf-ray": "1" }))]
    pub headers: Option<StringMap>,
}

/// An upstream's answer in a test.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestAnswer {
    /// The status.
    #[schemars(example = 403, range(min = 200, max = 599))]
    pub status: u16,
    /// Headers.
    #[schemars(example = json!({ "content-type": "text/html" }))]
    pub headers: Option<StringMap>,
}

/// What must come of a test; what is left out is not looked at.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The whole URL that is called.
    #[schemars(example = &"https://api.example.com/v1/models")]
    pub url: Option<String>,
    /// The method of the upstream request.
    #[schemars(example = &"POST")]
    pub method: Option<String>,
    /// Headers of the upstream request that must be there, with their values.
    #[schemars(example = json!({ "authorization": "Bearer secret" }))]
    pub headers: Option<StringMap>,
    /// Names or globs of headers that must not go up.
    #[schemars(example = json!(["cf-*", "x-api-key"]))]
    pub absent: Option<Vec<String>>,
    /// The status that the client gets: of a fault, a reply rule, or the answer.
    #[schemars(example = 401, range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// The message that the client gets from a fault or a reply rule.
    #[schemars(example = &"No API key configured for example")]
    pub message: Option<String>,
    /// The stable code of the fault that the client gets.
    #[schemars(example = &"credential_missing")]
    pub code: Option<String>,
    /// The JSON body that the client gets of a fault or a reply rule. The request's id in it is `test`.
    #[schemars(example = json!({ "error": { "message": "no key" } }))]
    pub body: Option<BTreeMap<String, serde_json::Value>>,
    /// The gateway token that is found in the client's request.
    #[schemars(example = &"client-token")]
    pub token: Option<String>,
}

// === impl EndpointEntry and VarValue: two shapes, told apart by type ===

impl<'de> Deserialize<'de> for EndpointEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Bool(false) => Ok(Self::Removed),
            other => Endpoint::deserialize(other)
                .map(|table| Self::Table(Box::new(table)))
                .map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for EndpointEntry {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EndpointEntry".into()
    }

    // `if` rather than `anyOf`, so that an error inside a table points at its key.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<Endpoint>();
        json_schema!({
            "type": ["object", "boolean"],
            "if": { "type": "boolean" },
            "then": { "const": false },
            "else": table,
        })
    }
}

impl<'de> Deserialize<'de> for VarValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self::Text(text)),
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

// === examples that are more than a literal ===

fn example_vars() -> serde_json::Value {
    serde_json::json!({ "token": { "env": "EXAMPLE_TOKEN", "optional": true, "secret": true } })
}

fn example_auth() -> serde_json::Value {
    serde_json::json!([{ "field": "apiKey", "set": { "authorization": "Bearer {secret}" } }])
}

fn example_endpoint() -> serde_json::Value {
    serde_json::json!({ "chat": { "method": "POST", "path": "/v1/chat/completions" }, "models": false })
}

fn example_gateway() -> serde_json::Value {
    serde_json::json!({ "example-gateway": { "strip": "/v1", "path": "/example{path}" } })
}

fn example_response() -> serde_json::Value {
    serde_json::json!([{
        "when": { "status": 403, "content_type": "text/html*" },
        "reply": { "status": 502, "message": "Upstream {host} blocked this request (403)." },
    }])
}

fn example_test() -> serde_json::Value {
    serde_json::json!([{
        "name": "the caller's key",
        "request": { "method": "POST", "path": "/proxy/example/v1/chat/completions" },
        "credentials": { "apiKey": "secret" },
        "expect": { "headers": { "authorization": "Bearer secret" } },
    }])
}
