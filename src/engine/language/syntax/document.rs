//! The documents of provider and gateway files: one struct per table. A key that a file may leave out is an `Option`.
//!
//! The doc comments of keys are the reference of the language: they become the descriptions in `schema/*.json`, which
//! editors show. Values are not checked here beyond their types. Read next: `wire_format`, the document of api files;
//! `file_test`, that of tests; `compile`, which gives them a meaning.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::json;

use super::{
    file_test::{Test, example_test},
    wire_format::WhenMissing,
};
use crate::language::auth::syntax::Auth;

/// A table of strings.
pub type StringMap = BTreeMap<String, String>;

/// A provider: one upstream API, its allowed endpoints, and the rules that rewrite requests to it.
/// The stem of the file is its name. Presets have the same keys.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate provider")]
pub struct Provider {
    /// The version of the language that the file is written in.
    #[schemars(example = 1, range(min = 1, max = 1))]
    pub language: Option<u32>,
    /// The display name.
    #[schemars(example = &"Example AI")]
    pub title: Option<String>,
    /// The preset, `presets/<name>.toml`, that supplies the keys which this file leaves out. A top-level table written here
    /// replaces the preset's table as a whole. Endpoints are merged by name, and within an endpoint key by key.
    #[schemars(example = &"example-preset")]
    pub extends: Option<String>,
    /// In a preset: `true` makes it the preset of new files (`tollgate new` without `--extends`). At most one preset can be
    /// the default.
    #[schemars(example = true)]
    pub default: Option<bool>,
    /// The base URL of the upstream: scheme, host and an optional base path. A template over vars.
    #[schemars(example = &"https://api.example.com")]
    #[schemars(extend("maxLength" = 2048))]
    pub base_url: Option<String>,
    /// The prefix of all client paths. `{provider}` is the name of the provider.
    #[schemars(example = &"/proxy/{provider}")]
    #[schemars(extend("maxLength" = 2048))]
    pub path_prefix: Option<String>,
    /// The group of the provider on pages.
    #[schemars(example = &"additional")]
    pub group: Option<String>,
    /// The page where users get an API key.
    #[schemars(example = &"https://example.com/keys")]
    pub keys_url: Option<String>,
    /// The upstream's documentation.
    #[schemars(example = &"https://example.com/docs")]
    pub docs: Option<String>,
    /// The provider's name in OpenTelemetry (`gen_ai.provider.name`); the name of the provider by default. The semantic
    /// conventions list well-known names. A name is of lower-case letters, digits, `_` and dots between words.
    #[schemars(example = &"example_ai", regex(pattern = r"^[a-z][a-z0-9_]*([.][a-z][a-z0-9_]*)*$"))]
    #[schemars(extend("maxLength" = 64))]
    pub telemetry_name: Option<String>,
    /// CORS: headers that browsers may send, as names or globs, besides `Content-Type`, `Authorization`, `x-api-key`, and all
    /// that this file names as a token location or in a rule for requests.
    #[schemars(example = json!(["example-version"]))]
    #[schemars(extend("maxItems" = 64))]
    pub cors_headers: Option<Vec<String>>,
    /// Named values from environment variables or secret files. Nothing else in a file reads either.
    #[schemars(example = example_vars())]
    #[schemars(extend("maxProperties" = 256))]
    pub vars: Option<BTreeMap<String, Var>>,
    /// Further token locations: where clients of this provider may put their gateway token, besides `Authorization` and
    /// `x-api-key`.
    #[schemars(example = json!({ "headers": ["x-example-key"] }))]
    pub caller: Option<Caller>,
    /// The credentials that users store for this provider.
    #[schemars(example = json!({ "section": "providers.{provider}" }))]
    pub credentials: Option<Credentials>,
    /// Authentication at the upstream. The first entry whose field is stored, usable and matches is applied. A provider
    /// without entries needs no credential.
    #[schemars(example = example_auth())]
    #[schemars(extend("maxItems" = 64))]
    pub auth: Option<Vec<Auth>>,
    /// The allowed endpoints by name. `false` removes the preset's endpoint of that name.
    #[schemars(example = example_endpoint())]
    #[schemars(extend("maxProperties" = 2000))]
    pub endpoint: Option<BTreeMap<String, EndpointEntry>>,
    /// Rules for request headers at every endpoint.
    #[schemars(example = json!({ "default": { "api-version": "1" } }))]
    pub headers: Option<Headers>,
    /// Upstream gateways, `gateways/<name>.toml`, that requests can go through.
    #[schemars(example = example_gateway())]
    #[schemars(extend("maxProperties" = 16))]
    pub gateway: Option<BTreeMap<String, GatewayUse>>,
    /// Overlays on the finished request, such as an outbound proxy. Those whose `when` vars are all set apply, in order.
    #[schemars(example = json!([{ "url": "{egress_url}?target={url|urlencode}" }]))]
    #[schemars(extend("maxItems" = 16))]
    pub egress: Option<Vec<Egress>>,
    /// Rules that replace responses of the upstream. The first that matches applies.
    #[schemars(example = example_response())]
    #[schemars(extend("maxItems" = 64))]
    pub response: Option<Vec<Response>>,
    /// Timeouts of upstream requests.
    #[schemars(example = json!({ "first_byte": "600s" }))]
    pub timeouts: Option<Timeouts>,
    /// Limits of requests.
    #[schemars(example = json!({ "max_body": "256MiB" }))]
    pub limits: Option<Limits>,
    /// A gateway token in the format of a vendor, for clients that accept no other.
    #[schemars(example = json!({ "path": "/auth/example-token" }))]
    pub paste_token: Option<PasteToken>,
    /// The request that the "try it" button of a page sends.
    #[schemars(example = json!({ "endpoint": "chat" }))]
    pub probe: Option<Probe>,
    /// Tests of the file: a client's request, and the expected upstream request or response. They use no network, no
    /// environment and no clock.
    #[schemars(example = example_test())]
    #[schemars(extend("maxItems" = 2000))]
    pub test: Option<Vec<Test>>,
}

/// A gateway: a service in front of many providers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate gateway")]
pub struct Gateway {
    /// The version of the language that the file is written in.
    #[schemars(example = 1, range(min = 1, max = 1))]
    pub language: Option<u32>,
    /// The display name.
    #[schemars(example = &"Example Gateway")]
    pub title: String,
    /// The gateway's documentation.
    #[schemars(example = &"https://example.com/docs")]
    pub docs: Option<String>,
    /// The base URL of the gateway. A template over its vars.
    #[schemars(example = &"https://gateway.example.com/v1/{account}")]
    #[schemars(extend("maxLength" = 2048))]
    pub base_url: String,
    /// The vars of the gateway. It is active when all of them are set.
    #[schemars(example = example_vars())]
    #[schemars(extend("maxProperties" = 256))]
    pub vars: BTreeMap<String, Var>,
    /// Changes to the headers of requests through the gateway.
    #[schemars(example = json!({ "set": { "x-gateway-token": "{token}" } }))]
    pub headers: Option<Overlay>,
    /// Tests of the file. Each has a provider of its own in `[test.provider]`.
    #[schemars(example = example_test())]
    #[schemars(extend("maxItems" = 2000))]
    pub test: Option<Vec<Test>>,
}

/// A value from an environment variable or from a secret file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Var {
    /// The environment variable. An empty value counts as unset, and one line end is removed. `TOLLGATE_*` is rejected.
    #[schemars(example = &"EXAMPLE_TOKEN")]
    pub env: Option<String>,
    /// The name of a file in the secrets directory.
    #[schemars(example = &"example-token")]
    pub file: Option<String>,
    /// `true`: the var may be unset. An optional var can be used only where a `when` names it.
    #[schemars(example = true)]
    pub optional: Option<bool>,
    /// `true`: the value is never shown.
    #[schemars(example = true)]
    pub secret: Option<bool>,
}

/// Further token locations: where clients of this provider may put their gateway token. tollgate removes them from every
/// request, on every route.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// Headers, checked in this order after `Authorization` and `x-api-key`.
    #[schemars(example = json!(["x-example-key"]))]
    #[schemars(extend("maxItems" = 64))]
    pub headers: Option<Vec<String>>,
    /// Query parameters, checked last.
    #[schemars(example = json!(["key"]))]
    #[schemars(extend("maxItems" = 64))]
    pub query: Option<Vec<String>>,
}

/// A section of the credentials that users store.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The path of the section in the credentials document; `providers.{provider}` by default. `{provider}` is the name of
    /// the provider.
    #[schemars(example = &"providers.{provider}")]
    pub section: Option<String>,
    /// The other providers that use the section. Each of them must list all the others.
    #[schemars(example = json!(["example-login"]))]
    #[schemars(extend("maxItems" = 256))]
    pub shared_with: Option<Vec<String>>,
    /// The fields of the section.
    #[schemars(example = json!([{ "label": "API key", "name": "apiKey" }]))]
    #[schemars(extend("maxItems" = 256))]
    pub field: Option<Vec<Field>>,
}

/// One field of a credentials section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// The field's name in the credentials document.
    #[schemars(example = &"apiKey")]
    pub name: String,
    /// The label of the field on pages.
    #[schemars(example = &"API key")]
    pub label: Option<String>,
    /// The hint below the field on pages.
    #[schemars(example = &"starts with sk-")]
    pub hint: Option<String>,
    /// The placeholder of the empty field on pages.
    #[schemars(example = &"sk-...")]
    pub placeholder: Option<String>,
    /// The kind of credential: a `secret` (the default) or an `oauth2` login.
    #[schemars(example = &"secret")]
    pub kind: Option<FieldKind>,
    /// `oauth2`: the token endpoint that refreshes a login.
    #[schemars(example = &"https://auth.example.com/oauth/token")]
    pub token_url: Option<String>,
    /// `oauth2`: the client id at the token endpoint.
    #[schemars(example = &"app_123")]
    pub client_id: Option<String>,
    /// `oauth2`: the grant. Only `refresh_token` is supported.
    #[schemars(example = &"refresh_token")]
    pub grant: Option<Grant>,
    /// `oauth2`: a login is refreshed this long before it expires; `300s` by default.
    #[schemars(example = &"300s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub refresh_before: Option<String>,
    /// `oauth2`: JSON pointers into the document that a user pastes, for `accessToken`, `refreshToken` and `expiresAt`.
    #[schemars(example = json!({ "accessToken": "/tokens/access_token" }))]
    #[schemars(extend("maxProperties" = 64))]
    pub paste: Option<StringMap>,
}

/// The kinds of credential fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum FieldKind {
    /// A string such as an API key.
    Secret,
    /// An OAuth 2.0 login.
    Oauth2,
}

/// The grants of RFC 6749 that refresh a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Grant {
    /// RFC 6749, section 6.
    RefreshToken,
}

/// An endpoint, or `false` to remove the preset's endpoint.
#[derive(Debug, Clone)]
pub enum EndpointEntry {
    /// `false`.
    Removed,
    /// The endpoint's table.
    Table(Box<Endpoint>),
}

/// An endpoint: one allowed method and path.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The method, in capitals.
    #[schemars(example = &"POST")]
    pub method: Option<Method>,
    /// The path below the prefix. A segment may hold one capture, as `{model}` or `{model}:generate`. `{rest...}` as the last
    /// segment captures all that follow.
    #[schemars(example = &"/v1/chat/completions")]
    #[schemars(extend("maxLength" = 2048))]
    pub path: Option<String>,
    /// Further client paths, written in full, with the same captures.
    #[schemars(example = json!(["/v1/chat/completions"]))]
    #[schemars(extend("maxItems" = 16))]
    pub aliases: Option<Vec<String>>,
    /// The path at the upstream, below the base path; the same as `path` by default. A template over captures and vars.
    #[schemars(example = &"/chat/completions")]
    #[schemars(extend("maxLength" = 2048))]
    pub upstream_path: Option<String>,
    /// The wire format, `apis/<name>.toml`, which defines the format of errors and the places of usage.
    #[schemars(example = &"chat-completions")]
    pub api: Option<String>,
    /// The operation's name in OpenTelemetry (`gen_ai.operation.name`); by default that of the api, if the endpoint is metered,
    /// else the endpoint's own name. A name is of lower-case letters, digits, `_` and dots between words.
    #[schemars(example = &"chat", regex(pattern = r"^[a-z][a-z0-9_]*([.][a-z][a-z0-9_]*)*$"))]
    #[schemars(extend("maxLength" = 64))]
    pub operation: Option<String>,
    /// The procedure for an answer without usage; that of the api by default.
    #[schemars(example = &"none")]
    pub when_missing: Option<WhenMissing>,
    /// `false`: answers are not metered, whatever the api says. Endpoints with GET, HEAD and DELETE never are.
    #[schemars(example = false)]
    pub metered: Option<bool>,
    /// Rules for the query.
    #[schemars(example = json!({ "remove": ["beta"] }))]
    pub query: Option<Query>,
    /// Rules for request headers at this endpoint. They apply after the provider's rules.
    #[schemars(example = json!({ "remove": ["x-debug"] }))]
    pub headers: Option<Headers>,
    /// Timeouts of upstream requests at this endpoint.
    #[schemars(example = json!({ "first_byte": "60s" }))]
    pub timeouts: Option<Timeouts>,
    /// Rules that replace responses at this endpoint. They precede the provider's rules.
    #[schemars(example = example_response())]
    #[schemars(extend("maxItems" = 64))]
    pub response: Option<Vec<Response>>,
}

/// The method of an endpoint.
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

/// Rules for the query, applied in this order. Other parameters pass unchanged.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Parameters to remove.
    #[schemars(example = json!(["beta"]))]
    #[schemars(extend("maxItems" = 64))]
    pub remove: Option<Vec<String>>,
    /// Parameters to add if the client sent none of that name.
    #[schemars(example = json!({ "api-version": "2024-10-21" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub default: Option<StringMap>,
    /// Parameters to set. They replace those of the client.
    #[schemars(example = json!({ "alt": "sse" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub set: Option<StringMap>,
}

/// Rules for request headers, applied in this order.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Headers {
    /// Headers to pass that tollgate removes by default: forwarding and client-address headers, `cf-*`, `origin`, `referer`.
    #[schemars(example = json!(["x-forwarded-for"]))]
    #[schemars(extend("maxItems" = 64))]
    pub pass: Option<Vec<String>>,
    /// Headers to remove, as names or globs.
    #[schemars(example = json!(["x-debug-*"]))]
    #[schemars(extend("maxItems" = 64))]
    pub remove: Option<Vec<String>>,
    /// Headers to add if the client sent none of that name. Templates as in `set`.
    #[schemars(example = json!({ "api-version": "1" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub default: Option<StringMap>,
    /// Headers to set. They replace those of the client. Templates over vars, and at an endpoint over its captures.
    #[schemars(example = json!({ "x-source": "gateway" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub set: Option<StringMap>,
}

/// Changes of a gateway or an egress to the headers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Headers to remove, as names or globs.
    #[schemars(example = json!(["x-real-ip"]))]
    #[schemars(extend("maxItems" = 64))]
    pub remove: Option<Vec<String>>,
    /// Headers to set. Templates over vars.
    #[schemars(example = json!({ "x-proxy-auth": "Bearer {token}" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub set: Option<StringMap>,
}

/// The way to the provider through a gateway.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewayUse {
    /// The prefix to remove from the upstream path, base path included. It must be a prefix of every endpoint's path.
    #[schemars(example = &"/base/v1")]
    #[schemars(extend("maxLength" = 2048))]
    pub strip: Option<String>,
    /// The path below the base URL of the gateway. `{path}` is the upstream path without `strip`.
    #[schemars(example = &"/example{path}")]
    #[schemars(extend("maxLength" = 2048))]
    pub path: String,
    /// Vars of this file that must also be set.
    #[schemars(example = json!(["custom_gateway"]))]
    #[schemars(extend("maxItems" = 16))]
    pub when: Option<Vec<String>>,
    /// The rank among active gateways: the lowest is used. Required if several can be active.
    #[schemars(example = 1, range(min = i32::MIN, max = i32::MAX))]
    pub order: Option<i32>,
}

/// An overlay on the finished request: another URL, or changes to the headers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Vars that must all be set for the overlay to apply.
    #[schemars(example = json!(["egress_url"]))]
    #[schemars(extend("maxItems" = 16))]
    pub when: Option<Vec<String>>,
    /// The URL to send the request to instead. `{url}` is the upstream URL. At most one active egress can have it.
    #[schemars(example = &"{egress_url}?target={url|urlencode}")]
    #[schemars(extend("maxLength" = 2048))]
    pub url: Option<String>,
    /// Changes to the headers.
    #[schemars(example = json!({ "remove": ["x-real-ip"] }))]
    pub headers: Option<Overlay>,
}

/// A rule that replaces responses of the upstream.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// The responses that it replaces.
    #[schemars(example = json!({ "content_type": "text/html*" }))]
    pub when: ResponseWhen,
    /// The response to the client.
    #[schemars(example = serde_json::json!({ "status": 502, "message": "{host} refused this" }))]
    pub reply: Reply,
}

/// The responses that a rule replaces. All conditions must hold.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseWhen {
    /// The status of the response.
    #[schemars(example = 403, range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// A glob on the content type of the response.
    #[schemars(example = &"text/html*")]
    pub content_type: Option<String>,
}

/// An error response in the format of the endpoint's `api`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The status.
    #[schemars(example = 502, range(min = 400, max = 599))]
    pub status: u16,
    /// The message. `{host}` is the host of `base_url`, `{provider}` the name of the provider.
    #[schemars(example = &"Upstream {host} blocked this request (403).")]
    pub message: String,
}

/// Timeouts, each a number and `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// The timeout of DNS lookup, connection and TLS handshake together; `10s` by default.
    #[schemars(example = &"10s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub connect: Option<String>,
    /// The timeout from the last progress of the upload to the head of the response; `600s` by default.
    #[schemars(example = &"600s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub first_byte: Option<String>,
    /// The timeout between two pieces of the response; `300s` by default. It does not run while the client does not read.
    #[schemars(example = &"300s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub idle: Option<String>,
}

/// Limits of requests.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The greatest size of a request body, a number and `B`, `KiB`, `MiB` or `GiB`; `256MiB` by default.
    #[schemars(example = &"256MiB", regex(pattern = r"^[0-9]+(B|KiB|MiB|GiB)$"))]
    pub max_body: Option<String>,
}

/// A gateway token in the format of a vendor's token. Its claims are not real, and it is valid only on the routes of this
/// provider.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasteToken {
    /// The path, below `/auth/`, where users get a token.
    #[schemars(example = &"/auth/example-token")]
    pub path: String,
    /// The key of the response that holds the token.
    #[schemars(example = &"pasteToken")]
    pub reply: String,
    /// The error message for callers without a stored login.
    #[schemars(example = &"no login is stored: add one first")]
    pub missing: String,
    /// The claims of the token. The value of a table `{ gen = "uuid" | "hex24" | "now", prefix = "..." }` is generated.
    #[schemars(example = json!({ "sub": "gateway-proxy" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub claims: BTreeMap<String, serde_json::Value>,
}

/// The request that the "try it" button of a page sends.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The name of the endpoint. Its path has no captures.
    #[schemars(example = &"chat")]
    pub endpoint: String,
    /// The JSON body of the request.
    #[schemars(example = json!({ "model": "example-1" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub body: Option<BTreeMap<String, serde_json::Value>>,
}

// === impl EndpointEntry: untagged, distinguished by JSON type ===

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

// === examples with several keys ===

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
