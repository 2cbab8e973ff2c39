//! The `[[auth]]` table as written: which credential an entry uses, and the keys of each kind.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::headers;

/// How one credential field goes into the request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The field of the credentials section.
    #[schemars(example = &"apiKey")]
    pub field: String,
    /// A glob on the secret: the entry is passed over if it does not match.
    #[schemars(example = &"sk-oat*")]
    pub r#match: Option<String>,
    /// The headers it sets; `{secret}` is the secret, or an `oauth2` field's access token.
    #[schemars(example = json!({ "authorization": "Bearer {secret}" }))]
    pub(super) set: headers::Syntax,
}
