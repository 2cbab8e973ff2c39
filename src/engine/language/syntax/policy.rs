//! The document of `policy.toml`: rules for all provider files together. The doc comments of keys are its reference: they
//! become the descriptions in the schema.
//!
//! Rules are not checked here. Read next: `tools/prove`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Amount, Method};

/// A policy: rules that hold for all providers, whatever the values of vars. The file is next to the providers directory.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate policy")]
pub struct Policy {
    /// The version of the language that the file is written in.
    #[schemars(example = 1)]
    pub language: Option<u32>,
    /// The origins that stored credentials may be sent to.
    #[schemars(example = example_credentials())]
    #[schemars(extend("maxItems" = 256))]
    pub credentials: Option<Vec<CredentialsRule>>,
    /// The endpoints that providers may have.
    #[schemars(example = example_endpoints())]
    #[schemars(extend("maxItems" = 256))]
    pub endpoints: Option<Vec<EndpointsRule>>,
    /// The tests that every provider must have.
    #[schemars(example = json!([{ "name": "what is refused is tested" }]))]
    #[schemars(extend("maxItems" = 256))]
    pub tests: Option<Vec<TestsRule>>,
    /// No plain `http://`.
    #[schemars(example = json!([{ "name": "no plain http" }]))]
    #[schemars(extend("maxItems" = 256))]
    pub https: Option<Vec<HttpsRule>>,
    /// The headers that are never sent upstream.
    #[schemars(example = example_headers())]
    #[schemars(extend("maxItems" = 256))]
    pub headers: Option<Vec<HeadersRule>>,
    /// The environment variables that providers may read.
    #[schemars(example = example_variables())]
    #[schemars(extend("maxItems" = 256))]
    pub variables: Option<Vec<VariablesRule>>,
    /// The bodies of requests pass unchanged.
    #[schemars(example = json!([{ "name": "bodies pass unchanged" }]))]
    #[schemars(extend("maxItems" = 256))]
    pub bodies: Option<Vec<BodiesRule>>,
    /// The limits that callers must have. `tollgate check` and `tollgate prove` hold these rules; a server does not.
    #[schemars(example = example_limits())]
    #[schemars(extend("maxItems" = 256))]
    pub limits: Option<Vec<LimitsRule>>,
}

/// Credentials of some sections are sent only to these origins.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialsRule {
    /// The name of the rule, for messages.
    #[schemars(example = &"keys go to their vendors alone")]
    pub name: String,
    /// The sections, as globs; all by default.
    #[schemars(example = json!(["providers.example"]))]
    #[schemars(extend("maxItems" = 256))]
    pub sections: Option<Vec<String>>,
    /// The allowed origins, as globs on `https://host` or `https://host:port`. A var is written `{name}`. Its value is
    /// unknown, so that only `*` and its own name match it.
    #[schemars(example = json!(["https://api.example.com", "https://{region}.example.com", "{egress_url}"]))]
    #[schemars(extend("maxItems" = 256))]
    pub origins: Vec<String>,
    /// The providers that are exempt, as globs.
    #[schemars(example = json!(["lab-*"]))]
    #[schemars(extend("maxItems" = 256))]
    pub except: Option<Vec<String>>,
}

/// Endpoints have only these methods and client paths.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointsRule {
    /// The name of the rule, for messages.
    #[schemars(example = &"nothing is deleted")]
    pub name: String,
    /// The allowed methods; all by default.
    #[schemars(example = json!(["GET", "POST"]))]
    #[schemars(extend("maxItems" = 256))]
    pub methods: Option<Vec<Method>>,
    /// The allowed client paths, as globs; all by default. Only `*` matches a capture.
    #[schemars(example = json!(["/proxy/*"]))]
    #[schemars(extend("maxItems" = 256))]
    pub paths: Option<Vec<String>>,
    /// The providers that are exempt, as globs.
    #[schemars(example = json!(["lab-*"]))]
    #[schemars(extend("maxItems" = 256))]
    pub except: Option<Vec<String>>,
}

/// Every provider has a test for each of these refusals.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestsRule {
    /// The name of the rule, for messages.
    #[schemars(example = &"what is refused is tested")]
    pub name: String,
    /// The refusals; `credential_missing` and `route_not_found` by default. A provider needs no test for a refusal that it
    /// cannot produce.
    #[schemars(example = json!(["credential_missing"]))]
    #[schemars(extend("maxItems" = 256))]
    pub refusals: Option<Vec<Refusal>>,
    /// The providers that are exempt, as globs.
    #[schemars(example = json!(["lab-*"]))]
    #[schemars(extend("maxItems" = 256))]
    pub except: Option<Vec<String>>,
}

/// An error response instead of the upstream's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The caller has stored no credential that the provider can use.
    CredentialMissing,
    /// The path or the method is not allowed.
    RouteNotFound,
    /// A response rule replaces the upstream's response.
    ResponseRule,
}

/// Requests use no plain `http://`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpsRule {
    /// The name of the rule, for messages.
    #[schemars(example = &"no plain http")]
    pub name: String,
    /// Exempt origins, as globs. A var is written `{name}`.
    #[schemars(example = json!(["http://127.0.0.1:*", "{egress_url}"]))]
    #[schemars(extend("maxItems" = 256))]
    pub allow: Option<Vec<String>>,
    /// The providers that are exempt, as globs.
    #[schemars(example = json!(["lab-*"]))]
    #[schemars(extend("maxItems" = 256))]
    pub except: Option<Vec<String>>,
}

/// These headers are never sent upstream, neither by a client nor by a file.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadersRule {
    /// The name of the rule, for messages.
    #[schemars(example = &"nobody learns where a client is")]
    pub name: String,
    /// The headers, as globs on names.
    #[schemars(example = json!(["x-forwarded-*", "forwarded"]))]
    #[schemars(extend("maxItems" = 64))]
    pub never: Vec<String>,
    /// The providers that are exempt, as globs.
    #[schemars(example = json!(["lab-*"]))]
    #[schemars(extend("maxItems" = 256))]
    pub except: Option<Vec<String>>,
}

/// Providers, with their gateways, read only these environment variables.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VariablesRule {
    /// The name of the rule, for messages.
    #[schemars(example = &"providers read their own variables")]
    pub name: String,
    /// The allowed names, as globs. `{provider}` is the name of the provider in capitals, with `_` for `-`.
    #[schemars(example = json!(["{provider}_*", "EGRESS_*"]))]
    #[schemars(extend("maxItems" = 256))]
    pub allow: Vec<String>,
    /// The providers that are exempt, as globs.
    #[schemars(example = json!(["lab-*"]))]
    #[schemars(extend("maxItems" = 256))]
    pub except: Option<Vec<String>>,
}

/// The bodies of requests pass unchanged: no endpoint asks the upstream for usage.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodiesRule {
    /// The name of the rule, for messages.
    #[schemars(example = &"bodies pass unchanged")]
    pub name: String,
    /// The providers that are exempt, as globs.
    #[schemars(example = json!(["lab-*"]))]
    #[schemars(extend("maxItems" = 256))]
    pub except: Option<Vec<String>>,
}

/// Everybody who may call these providers has a limit that is for all of their requests, and refuses what is beyond it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsRule {
    /// The name of the rule, for messages.
    #[schemars(example = &"nobody spends without a limit")]
    pub name: String,
    /// What the limit counts.
    #[schemars(example = &"cost")]
    pub measure: LimitMeasure,
    /// The greatest amount that the limit may have, written as in files of limits; any by default.
    #[schemars(example = &"200 USD")]
    pub amount: Option<Amount>,
    /// The providers, as globs; all by default.
    #[schemars(example = json!(["example"]))]
    #[schemars(extend("minItems" = 1, "maxItems" = 64))]
    pub providers: Option<Vec<String>>,
    /// The groups of the callers, as globs; by default everybody, also without a group.
    #[schemars(example = json!(["interns"]))]
    #[schemars(extend("minItems" = 1, "maxItems" = 64))]
    pub groups: Option<Vec<String>>,
    /// The providers that are exempt, as globs.
    #[schemars(example = json!(["lab-*"]))]
    #[schemars(extend("maxItems" = 256))]
    pub except: Option<Vec<String>>,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LimitMeasure {
    /// Requests.
    Requests,
    /// Tokens of prompts and answers.
    Tokens,
    /// Tokens of prompts.
    InputTokens,
    /// Tokens of answers.
    OutputTokens,
    /// Cost.
    Cost,
    /// Bytes of bodies.
    Bytes,
    /// Requests at a time.
    Concurrent,
}

impl LimitMeasure {
    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Cost => "cost",
            Self::Bytes => "bytes",
            Self::Concurrent => "concurrent",
        }
    }
}

fn example_limits() -> serde_json::Value {
    serde_json::json!([{ "name": "nobody spends without a limit", "measure": "cost", "amount": "200 USD" }])
}

fn example_variables() -> serde_json::Value {
    serde_json::json!([{ "name": "providers read their own variables", "allow": ["{provider}_*"] }])
}

fn example_credentials() -> serde_json::Value {
    serde_json::json!([{ "name": "keys go to their vendors alone", "origins": ["https://api.example.com"] }])
}

fn example_endpoints() -> serde_json::Value {
    serde_json::json!([{ "name": "nothing is deleted", "methods": ["GET", "POST"] }])
}

fn example_headers() -> serde_json::Value {
    serde_json::json!([{ "name": "nobody learns where a client is", "never": ["x-forwarded-*"] }])
}
