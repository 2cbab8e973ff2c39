//! The `[[auth]]` table as written: the credential of an entry, and the keys of each kind of authentication.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::headers;

/// An entry of `auth`: puts the credential of one field into the request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The field of the credentials section.
    #[schemars(example = &"apiKey")]
    pub field: String,
    /// A glob on the secret. If it does not match, the next entry is tried.
    #[schemars(example = &"sk-oat*")]
    pub r#match: Option<String>,
    /// The headers to set. `{secret}` is the secret, or the access token of an `oauth2` field. Templates over vars.
    #[schemars(example = json!({ "authorization": "Bearer {secret}" }))]
    pub(super) set: headers::Syntax,
}
