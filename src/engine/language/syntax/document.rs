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
    catalogue::Catalogue,
    file_test::{Test, example_test},
    wire_format::WhenMissing,
};
use crate::language::{auth::syntax::Auth, generator::Generator, token::syntax::Token};

/// A table of strings.
pub type StringMap = BTreeMap<String, String>;

/// A provider: one upstream API, its allowed endpoints, and the rules that rewrite requests to it.
/// The stem of the file is its name. Presets have the same keys.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate provider")]
pub struct Provider {
    /// The version of the language that the file is written in.
    #[schemars(example = 2, range(min = 1, max = 2))]
    pub language: Option<u32>,
    /// The display name.
    #[schemars(example = &"Example AI")]
    pub title: Option<String>,
    /// The preset, `presets/<name>.toml`, that supplies the keys which this file leaves out. A top-level table written here
    /// replaces the preset's table as a whole. Endpoints are merged by name, and within an endpoint key by key.
    #[schemars(example = &"example-preset")]
    pub extends: Option<String>,
    /// Endpoint sets, `endpoints/<name>.toml`, whose endpoints this file has. An endpoint of that name written here changes
    /// the set's endpoint key by key, and `false` removes it. In a preset: the endpoint sets of all files that extend it.
    #[schemars(example = json!(["example/files"]))]
    #[schemars(extend("maxItems" = 64, "x-language" = 2))]
    pub include: Option<Vec<String>>,
    /// In a preset: `true` makes it the preset of new files (`tollgate new` without `--extends`). At most one preset can be
    /// the default.
    #[schemars(example = true)]
    pub default: Option<bool>,
    /// The base URL of the upstream: scheme, host and an optional base path. A template over vars.
    #[schemars(example = &"https://api.example.com")]
    #[schemars(extend("maxLength" = 2048))]
    pub base_url: Option<String>,
    /// Further base URLs of the same vendor, by name: an endpoint's `origin` names the one that it calls. Templates as `base_url`.
    #[schemars(example = json!({ "queue": "https://queue.example.com" }))]
    #[schemars(extend("maxProperties" = 16, "x-language" = 2))]
    pub origins: Option<StringMap>,
    /// The front that is cut from an endpoint's `path` before it follows the base URL: clients call `/v1/chat`, the upstream
    /// `/chat`. A path with another front is not changed, and `upstream_path` is used as written. Empty: nothing is cut, whatever the
    /// preset says. It has nothing to do with the `strip` of a gateway, which is cut from upstream paths.
    #[schemars(example = &"/v1")]
    #[schemars(extend("maxLength" = 2048, "x-language" = 2))]
    pub strip: Option<String>,
    /// The prefix of all client paths. `{provider}` is the name of the provider.
    #[schemars(example = &"/proxy/{provider}")]
    #[schemars(extend("maxLength" = 2048))]
    pub path_prefix: Option<String>,
    /// Further prefixes of all client paths, for SDKs that put a path of their own between their base URL and the path of an
    /// endpoint. Every endpoint is below each of them too.
    #[schemars(example = json!(["/proxy/{provider}/api"]))]
    #[schemars(extend("maxItems" = 16, "x-language" = 2))]
    pub path_prefixes: Option<Vec<String>>,
    /// The group of the provider on pages.
    #[schemars(example = &"additional")]
    pub group: Option<String>,
    /// The page where users get an API key.
    #[schemars(example = &"https://example.com/keys")]
    pub keys_url: Option<String>,
    /// The beginnings of the vendor's keys. A client that sends such a key in place of a gateway token gets an error that names the vendor.
    #[schemars(example = json!(["sk-example-"]))]
    #[schemars(extend("x-language" = 2, "minItems" = 1, "maxItems" = 16))]
    pub key_prefixes: Option<Vec<String>>,
    /// The upstream's documentation.
    #[schemars(example = &"https://example.com/docs")]
    pub docs: Option<String>,
    /// What is known about the provider, and from where.
    #[schemars(example = json!({ "env": { "apiKey": ["EXAMPLE_API_KEY"] }, "checked": "2026-11-30" }))]
    #[schemars(extend("x-language" = 2))]
    pub catalogue: Option<Catalogue>,
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
    /// TLS of the provider's own: an authority, a client certificate.
    #[schemars(example = json!({ "ca": "corp_ca", "roots": "only" }))]
    #[schemars(extend("x-language" = 2))]
    pub tls: Option<Tls>,
    /// Further token locations: where clients of this provider may put their gateway token, besides `Authorization` and
    /// `x-api-key`.
    #[schemars(example = json!({ "headers": ["x-example-key"] }))]
    pub caller: Option<Caller>,
    /// The credentials that users store for this provider.
    #[schemars(example = json!({ "section": "providers.{provider}" }))]
    pub credentials: Option<Credentials>,
    /// Tokens that are made from stored fields, by name: by a request to a token endpoint, or as a signed JWT.
    #[schemars(example = example_token())]
    #[schemars(extend("maxProperties" = 16, "x-language" = 2))]
    pub token: Option<BTreeMap<String, Token>>,
    /// Authentication at the upstream. The first entry whose field is stored, usable and matches is applied. A provider
    /// without entries needs no credential.
    #[schemars(example = example_auth())]
    #[schemars(extend("maxItems" = 64))]
    pub auth: Option<Vec<Auth>>,
    /// The allowed endpoints by name. `false` removes the endpoint of that name which the preset or an endpoint set has.
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
    /// Rules for headers of the upstream's responses.
    #[schemars(example = json!({ "rewrite_urls": ["location"] }))]
    #[schemars(extend("x-language" = 2))]
    pub response_headers: Option<ResponseHeaders>,
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
    #[schemars(example = 2, range(min = 1, max = 2))]
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
    /// The value if the source has none. A var with a default is always set, and cannot be a secret.
    #[schemars(example = &"eu")]
    #[schemars(extend("minLength" = 1, "maxLength" = 2048, "x-language" = 2))]
    pub default: Option<String>,
    /// `true`: the value is never shown.
    #[schemars(example = true)]
    pub secret: Option<bool>,
}

/// TLS for connections to the origin of `base_url` and to those of `origins`, and to no others: a gateway, an egress with a `url`
/// and a token endpoint have that of the system. Each text is PEM and comes from a var with `file`, named without braces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The var with the certificates of authorities that sign the origin's certificate.
    #[schemars(example = &"corp_ca")]
    pub ca: Option<String>,
    /// The trusted authorities: `system` (the default) for those of the system and `ca`, `only` for `ca` alone.
    #[schemars(example = &"only")]
    pub roots: Option<Roots>,
    /// The var with the client certificate, followed by its chain.
    #[schemars(example = &"client_certificate")]
    pub certificate: Option<String>,
    /// The var with the private key of the client certificate, not encrypted: PKCS#8, PKCS#1 or SEC1. It has to be `secret`.
    #[schemars(example = &"client_key")]
    pub key: Option<String>,
}

/// The authorities that are trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Roots {
    /// Those of the system and of the operator, and `ca`.
    #[default]
    System,
    /// `ca` alone.
    Only,
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
    /// Prefixes of items of `Sec-WebSocket-Protocol`, checked before the query: the token follows the prefix. A browser can put
    /// the token of a WebSocket nowhere else but into the URL.
    #[schemars(example = json!(["example-api-key."]))]
    #[schemars(extend("maxItems" = 64, "x-language" = 2))]
    pub subprotocol: Option<Vec<String>>,
    /// Further schemes of `Authorization`, besides `Bearer`, in any case. The empty one is a token without a scheme.
    #[schemars(example = json!(["Token", "Key", ""]))]
    #[schemars(extend("maxItems" = 16, "x-language" = 2))]
    pub schemes: Option<Vec<String>>,
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
    /// The kind of value: `secret` (the default), `text`, which is shown, `origin`, a whole origin of the user's own, `json`, a
    /// pasted document, or an `oauth2` login.
    #[schemars(example = &"secret")]
    #[schemars(extend("x-language-values" = json!({ "text": 2, "origin": 2, "json": 2 })))]
    pub kind: Option<FieldKind>,
    /// `true`: an entry of `auth` applies also where the field is not stored. A header or query parameter that names it is then
    /// left out.
    #[schemars(example = true, extend("x-language" = 2))]
    pub optional: Option<bool>,
    /// `text`: a regular expression that the whole value matches.
    #[schemars(example = &"[a-z0-9-]{1,63}", extend("x-language" = 2, "maxLength" = 512))]
    pub pattern: Option<String>,
    /// `text`: the allowed values.
    #[schemars(example = json!(["eu", "us"]), extend("x-language" = 2, "minItems" = 1, "maxItems" = 256))]
    pub one_of: Option<Vec<String>>,
    /// `text` and `origin`: the value where none is stored.
    #[schemars(example = &"eu", extend("x-language" = 2, "maxLength" = 1024))]
    pub default: Option<String>,
    /// `json` and `oauth2`: JSON pointers to the strings that templates use, by name: `{field.name}`. Those of a document; of a
    /// login, those among the claims of its access token, if that is a JSON Web Token.
    #[schemars(example = json!({ "email": "/client_email" }), extend("x-language" = 2, "maxProperties" = 64))]
    pub parts: Option<StringMap>,
    /// `oauth2`: the token endpoint that refreshes a login.
    #[schemars(example = &"https://auth.example.com/oauth/token")]
    pub token_url: Option<String>,
    /// `oauth2`: the client id at the token endpoint.
    #[schemars(example = &"app_123")]
    pub client_id: Option<String>,
    /// `oauth2`: the client secret at the token endpoint, if it wants one: the name of a secret var in braces.
    #[schemars(example = &"{client_secret}", extend("x-language" = 2))]
    pub client_secret: Option<String>,
    /// `oauth2`: the scope that a refresh asks for; without it, that of the login.
    #[schemars(example = &"openid offline_access", extend("x-language" = 2, "minLength" = 1, "maxLength" = 1024))]
    pub scope: Option<String>,
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

impl Field {
    /// True if its value is never shown.
    pub fn is_secret(&self) -> bool {
        match self.kind.unwrap_or(FieldKind::Secret) {
            FieldKind::Secret | FieldKind::Json | FieldKind::Oauth2 => true,
            FieldKind::Text | FieldKind::Origin => false,
        }
    }
}

/// The kinds of credential fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum FieldKind {
    /// A string such as an API key.
    Secret,
    /// A string that is no secret, such as a region. It is shown.
    Text,
    /// A whole origin, such as `http://gpu.lan:8000`. The operator's settings limit it.
    Origin,
    /// A JSON document.
    Json,
    /// An OAuth 2.0 login.
    Oauth2,
}

impl FieldKind {
    /// Its name in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Text => "text",
            Self::Origin => "origin",
            Self::Json => "json",
            Self::Oauth2 => "oauth2",
        }
    }
}

/// The grants of RFC 6749 that refresh a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Grant {
    /// RFC 6749, section 6.
    RefreshToken,
}

/// An endpoint, or `false` to remove the endpoint that the preset or an endpoint set has.
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
    /// The path below the prefix. A segment may hold one capture, as `{model}` or `{model}:generate`. One segment may be
    /// `{rest...}`, which captures one or more segments: all but those before it and after it.
    #[schemars(example = &"/v1/chat/completions")]
    #[schemars(extend("maxLength" = 2048))]
    pub path: Option<String>,
    /// Closed sets, by the name of the capture: no other text matches.
    #[schemars(example = json!({ "version": ["v1", "v2"] }))]
    #[schemars(extend("maxProperties" = 8, "x-language" = 2))]
    pub captures: Option<BTreeMap<String, Members>>,
    /// The captures in which an encoded slash, `%2F`, may stand. It stays encoded on the way to the upstream. Everywhere else
    /// it matches no endpoint.
    #[schemars(example = json!(["model"]))]
    #[schemars(extend("maxItems" = 8, "x-language" = 2))]
    pub encoded_slash: Option<Vec<String>>,
    /// Further client paths, written in full, with the same captures.
    #[schemars(example = json!(["/v1/chat/completions"]))]
    #[schemars(extend("maxItems" = 16))]
    pub aliases: Option<Vec<String>>,
    /// The name of the base URL among `origins` that the endpoint calls; `base_url` by default.
    #[schemars(example = &"queue", extend("x-language" = 2))]
    pub origin: Option<String>,
    /// The path at the upstream, below the base path; the same as `path` by default. A template over captures and vars.
    #[schemars(example = &"/chat/completions")]
    #[schemars(extend("maxLength" = 2048))]
    pub upstream_path: Option<String>,
    /// The protocol that the endpoint switches to. Every request for it has to ask for that, with `GET`. Frames pass as they are,
    /// both ways.
    #[schemars(example = &"websocket")]
    #[schemars(extend("x-language" = 2))]
    pub upgrade: Option<Upgrade>,
    /// The wire format, `apis/<name>.toml`, which defines the format of errors and the places of usage.
    #[schemars(example = &"chat-completions")]
    pub api: Option<String>,
    /// The operation's name in OpenTelemetry (`gen_ai.operation.name`); by default that of the api, if the endpoint is metered,
    /// else the endpoint's own name. A name is of lower-case letters, digits, `_` and dots between words.
    #[schemars(example = &"chat", regex(pattern = r"^[a-z][a-z0-9_]*([.][a-z][a-z0-9_]*)*$"))]
    #[schemars(extend("maxLength" = 64))]
    pub operation: Option<String>,
    /// The model, if the upstream reads it in the path, and not at the place that the api names: a text with one capture.
    #[schemars(example = &"{deployment}", regex(pattern = r"^[^{}]*\{[a-z_][a-z0-9_]*\}[^{}]*$"))]
    #[schemars(extend("maxLength" = 128))]
    pub model: Option<String>,
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

/// The members of a closed set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
#[schemars(extend("minItems" = 1, "maxItems" = 64))]
pub struct Members(pub Vec<String>);

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

/// The protocols that an endpoint can switch to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Upgrade {
    /// RFC 6455.
    Websocket,
}

impl Upgrade {
    /// The word for it in files, in `Upgrade` and in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
        }
    }
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
    /// Headers to add if the client sent none of that name. Values as in `set`.
    #[schemars(example = json!({ "api-version": "1" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub default: Option<BTreeMap<String, HeaderText>>,
    /// Headers to set. They replace those of the client. Templates over vars, and at an endpoint over its captures. The value
    /// of a table `{ gen = "uuid" | "hex24" | "now", prefix = "..." }` is generated for each request.
    #[schemars(example = json!({ "x-source": "gateway" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub set: Option<BTreeMap<String, HeaderText>>,
    /// Members to add to headers that are lists. They follow those of the client, without duplicates. Templates as in `set`.
    #[schemars(example = json!({ "example-beta": "feature-1" }))]
    #[schemars(extend("maxProperties" = 256, "x-language" = 2))]
    pub add: Option<StringMap>,
}

/// The value of a header.
#[derive(Debug, Clone)]
pub enum HeaderText {
    /// A template.
    Text(String),
    /// A value that is generated for each request.
    Generated(Generated),
}

/// A generated value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// The generator: a random UUID, 24 random hex digits, or the seconds since 1970.
    #[serde(rename = "gen")]
    #[schemars(example = &"uuid")]
    #[schemars(extend("x-language" = 2))]
    pub generator: Generator,
    /// The text before it.
    #[schemars(example = &"req-")]
    #[schemars(extend("x-language" = 2))]
    pub prefix: Option<String>,
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

/// Rules for headers of the upstream's responses.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseHeaders {
    /// Headers whose value is a URL. One that an endpoint of this file reaches becomes the URL at which clients reach it.
    #[schemars(example = json!(["location", "x-example-upload-url"]))]
    #[schemars(extend("maxItems" = 16, "x-language" = 2))]
    pub rewrite_urls: Option<Vec<String>>,
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
    /// The timeout between two pieces of the response; `300s` by default. It does not run while the client does not read. A
    /// WebSocket ends if nothing passes for that long, either way.
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
    /// The greatest body of a request whose signature covers it: it is read and kept in memory before it is sent. `16MiB` by
    /// default, at most `64MiB`.
    #[schemars(example = &"16MiB", regex(pattern = r"^[0-9]+(B|KiB|MiB|GiB)$"), extend("x-language" = 2))]
    pub signed_body: Option<String>,
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

// === impl HeaderText: untagged, distinguished by JSON type ===

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self::Text(text)),
            other => Generated::deserialize(other).map(Self::Generated).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for HeaderText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HeaderText".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<Generated>();
        json_schema!({
            "type": ["string", "object"],
            "if": { "type": "string" },
            "then": true,
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

fn example_token() -> serde_json::Value {
    let form = serde_json::json!({ "grant_type": "client_credentials", "client_secret": "{clientSecret}" });
    serde_json::json!({ "example": {
        "request": { "url": "https://login.example.com/oauth/token", "form": form },
        "reply": { "token": "/access_token", "expires_in": "/expires_in" },
    } })
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
