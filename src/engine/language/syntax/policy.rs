//! `policy.toml`: what has to hold of all provider files together, as it is written. The comments here are its
//! reference: they become the schema's descriptions.
//!
//! Nothing is decided here; whether the files keep to it is `prove`'s.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Method;

/// A policy: rules that all providers keep, whatever is set. It stands beside the providers directory.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate policy")]
pub struct Policy {
    /// The version of this language that the file is written in.
    #[schemars(example = 1)]
    pub language: Option<u32>,
    /// Where stored credentials may go.
    #[schemars(example = example_credentials())]
    pub credentials: Option<Vec<CredentialsRule>>,
    /// Which endpoints there may be.
    #[schemars(example = example_endpoints())]
    pub endpoints: Option<Vec<EndpointsRule>>,
    /// Which tests every provider has to have.
    #[schemars(example = json!([{ "name": "what is refused is tested" }]))]
    pub tests: Option<Vec<TestsRule>>,
    /// Nothing is called over plain `http://`.
    #[schemars(example = json!([{ "name": "no plain http" }]))]
    pub https: Option<Vec<HttpsRule>>,
    /// Which headers never go to an upstream.
    #[schemars(example = example_headers())]
    pub headers: Option<Vec<HeadersRule>>,
}

/// The credentials of some sections reach only these origins.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialsRule {
    /// What the rule is called when it is broken.
    #[schemars(example = &"keys go to their vendors alone")]
    pub name: String,
    /// The sections, as globs; all if left out.
    #[schemars(example = json!(["providers.example"]))]
    pub sections: Option<Vec<String>>,
    /// The only origins, as globs on `https://host` or `https://host:port`. A var stands as `{name}`: what it may hold is not
    /// known, so that only `*` and its own name match it.
    #[schemars(example = json!(["https://api.example.com", "https://{region}.example.com", "{egress_url}"]))]
    pub origins: Vec<String>,
    /// The providers that the rule does not hold for, as globs.
    #[schemars(example = json!(["lab-*"]))]
    pub except: Option<Vec<String>>,
}

/// There is no endpoint but of these methods and below these paths.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointsRule {
    /// What the rule is called when it is broken.
    #[schemars(example = &"nothing is deleted")]
    pub name: String,
    /// The only methods; all if left out.
    #[schemars(example = json!(["GET", "POST"]))]
    pub methods: Option<Vec<Method>>,
    /// The only client paths, as globs; all if left out. A capture is matched by `*` alone.
    #[schemars(example = json!(["/proxy/*"]))]
    pub paths: Option<Vec<String>>,
    /// The providers that the rule does not hold for, as globs.
    #[schemars(example = json!(["lab-*"]))]
    pub except: Option<Vec<String>>,
}

/// Every provider has a test for each of its refusals.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestsRule {
    /// What the rule is called when it is broken.
    #[schemars(example = &"what is refused is tested")]
    pub name: String,
    /// The refusals; `credential_missing` and `route_not_found` if left out. One that a provider cannot come to needs
    /// no test there.
    #[schemars(example = json!(["credential_missing"]))]
    pub refusals: Option<Vec<Refusal>>,
    /// The providers that the rule does not hold for, as globs.
    #[schemars(example = json!(["lab-*"]))]
    pub except: Option<Vec<String>>,
}

/// What a provider answers instead of its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The caller has stored no key that the provider can use.
    CredentialMissing,
    /// The path or the method is not allowed.
    RouteNotFound,
    /// A rule on answers replaces the upstream's.
    ResponseRule,
}

/// Nothing is called over plain `http://`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpsRule {
    /// What the rule is called when it is broken.
    #[schemars(example = &"no plain http")]
    pub name: String,
    /// Origins that may be called all the same, as globs; a var stands as `{name}`.
    #[schemars(example = json!(["http://127.0.0.1:*", "{egress_url}"]))]
    pub allow: Option<Vec<String>>,
    /// The providers that the rule does not hold for, as globs.
    #[schemars(example = json!(["lab-*"]))]
    pub except: Option<Vec<String>>,
}

/// These headers never go to an upstream, whoever set them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadersRule {
    /// What the rule is called when it is broken.
    #[schemars(example = &"nobody learns where a client is")]
    pub name: String,
    /// The headers, as globs on names.
    #[schemars(example = json!(["x-forwarded-*", "forwarded"]))]
    pub never: Vec<String>,
    /// The providers that the rule does not hold for, as globs.
    #[schemars(example = json!(["lab-*"]))]
    pub except: Option<Vec<String>>,
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
