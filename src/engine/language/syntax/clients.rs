//! The document of a client: a tool or library that people connect to tollgate, the wire formats that it speaks, and the
//! steps to set it up. The doc comments of keys are its reference: they become the descriptions in the schema.
//!
//! Read next: `compile/clients`, which parses the placeholders of its texts.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// A client: a tool or library that people connect to tollgate.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate client")]
pub struct Client {
    /// The version of the language that the file is written in.
    #[schemars(example = 2, range(min = 1, max = 2))]
    pub language: Option<u32>,
    /// The name on pages.
    #[schemars(example = &"Acme Code", length(min = 1, max = 60))]
    pub title: String,
    /// The kind of client. Pages show the kinds in the order of this list.
    #[schemars(example = &"tool")]
    pub kind: ClientKind,
    /// Its documentation.
    #[schemars(example = &"https://code.acme.example/docs", regex(pattern = "^https?://"))]
    pub docs: Option<String>,
    /// A limit that people should know before they begin.
    #[schemars(example = &"Acme Code calls from its maker's servers: they have to reach this address.", length(max = 1000))]
    pub note: Option<String>,
    /// The provider that `tollgate setup` sets it up for if none is named. Without it, or if no such provider can be called with the
    /// client, one has to be named.
    #[schemars(example = &"acme", regex(pattern = "^[a-z0-9][a-z0-9-]*$"), length(max = 64))]
    pub provider: Option<String>,
    /// The wire formats that it speaks. For a provider, the first counts that one of its endpoints has.
    #[schemars(length(min = 1, max = 16), example = json!([{ "api": "messages", "path": "/v1/messages" }]))]
    pub speaks: Vec<Speaks>,
    /// The text of the file: a finding about a placeholder lies within a value.
    #[serde(skip)]
    pub source: String,
}

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ClientKind {
    /// A program in a shell, for a first try.
    Shell,
    /// A program that people work with.
    Tool,
    /// A library that programs use.
    Library,
}

impl std::fmt::Display for ClientKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Shell => "shell",
            Self::Tool => "tool",
            Self::Library => "library",
        })
    }
}

/// A wire format that a client speaks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Speaks {
    /// The api of the endpoint: the stem of a file in `providers.d/apis`.
    #[schemars(example = &"messages")]
    pub api: String,
    /// The path that the client puts after its base URL. A capture stands for one of any name.
    #[schemars(example = &"/v1/messages", regex(pattern = "^/"))]
    pub path: String,
    /// The steps to set it up.
    #[schemars(length(min = 1, max = 16), example = json!([{ "language": "sh", "code": "export ACME_URL={base_url}" }]))]
    pub step: Vec<Step>,
    /// The steps with a paste token in place of a token, for a client that takes no other: `paste_token` of a provider file.
    #[serde(default)]
    #[schemars(length(max = 16), example = json!([{ "file": "~/.acme/login.json", "language": "json", "code": "{\"access_token\": \"{token}\"}" }]))]
    pub paste_step: Vec<Step>,
}

/// A step to set a client up. `text` and `code` may have `{base_url}`, `{token}`, `{provider}` and `{model}`; other braces
/// are text.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// A sentence before the code.
    #[schemars(example = &"Install it, and run:", length(max = 1000))]
    pub text: Option<String>,
    /// True if it does what the step before it does, in another way: one of them is enough.
    #[schemars(example = true)]
    pub alternative: Option<bool>,
    /// The file that the code goes into: below the user's home directory after `~/`, else below the current one. `tollgate setup
    /// --write` puts code into it if its language is `json`, `toml` or `yaml`.
    #[schemars(example = &"~/.acme/config.toml", length(max = 200))]
    pub file: Option<String>,
    /// The language of the code.
    #[schemars(example = &"sh", length(max = 30))]
    pub language: String,
    /// The code.
    #[schemars(example = &"export ACME_URL={base_url}", length(max = 8000))]
    pub code: String,
}
