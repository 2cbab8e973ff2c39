//! The `[catalogue]` table: what is known about a provider, and from where. No request depends on it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// The projects whose files `tollgate import` reads.
pub const PROJECTS: [&str; 4] = ["models.dev", "litellm", "catwalk", "bitrouter"];

/// What is known about the provider, and from where: for `tollgate providers` and for readers of the file. No request depends on
/// it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The environment variables in which people keep the values of the section's fields, by field. tollgate does not read them.
    #[schemars(example = json!({ "apiKey": ["EXAMPLE_API_KEY"] }))]
    #[schemars(extend("maxProperties" = 64))]
    pub env: Option<BTreeMap<String, Vec<String>>>,
    /// Families of models that the provider serves, such as `llama`, for searches.
    #[schemars(example = json!(["llama", "qwen"]))]
    #[schemars(extend("maxItems" = 64))]
    pub models: Option<Vec<String>>,
    /// The sources of the file: URLs, or files of public repositories.
    #[schemars(example = json!(["https://example.com/docs/api"]))]
    #[schemars(extend("maxItems" = 64))]
    pub sources: Option<Vec<String>>,
    /// The day on which the sources were looked at.
    #[schemars(example = &"2026-11-30", regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub checked: Option<String>,
    /// Keys of the provider that no source confirms, with dots between the steps.
    #[schemars(example = json!(["endpoint.models", "docs"]))]
    #[schemars(extend("maxItems" = 256))]
    pub unconfirmed: Option<Vec<String>>,
    /// What sources contradict each other about, or leave open, a sentence each.
    #[schemars(example = json!(["Its documents name two base URLs, with `/v1` and without."]))]
    #[schemars(extend("maxItems" = 64))]
    pub doubts: Option<Vec<String>>,
    /// In a preset: how projects that `tollgate import` reads name APIs of its kind. By project, each mark with the part of the
    /// endpoints' paths that the project's base URLs already end with; it may be empty.
    #[schemars(example = json!({ "models.dev": { "@demo/compatible": "/v1" } }))]
    #[schemars(extend("maxProperties" = 4))]
    pub imports: Option<BTreeMap<String, BTreeMap<String, String>>>,
}
