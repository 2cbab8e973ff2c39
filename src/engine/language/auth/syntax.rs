//! The `[[auth]]` table as written: the credential of an entry, and the keys of each kind of authentication.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{basic, headers, query, sigv4};

pub use super::basic::Syntax as Basic;

/// An entry of `auth`: puts a credential into the request. It applies if all fields that it names are stored.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The field of the credentials section that `{secret}` stands for.
    #[schemars(example = &"apiKey")]
    pub field: Option<String>,
    /// The token that `{secret}` stands for, `[token.NAME]`, in the place of `field`.
    #[schemars(example = &"example", extend("x-language" = 2))]
    pub token: Option<String>,
    /// A glob on the secret. If it does not match, the next entry is tried.
    #[schemars(example = &"sk-oat*")]
    pub r#match: Option<String>,
    /// The endpoints that the entry counts for, as names or globs; all by default.
    #[schemars(example = json!(["chat", "files_*"]), extend("minItems" = 1, "maxItems" = 64, "x-language" = 2))]
    pub endpoints: Option<Vec<String>>,
    /// `true`: no credential is sent. The last entry can say so: it counts where nobody who shares with the caller, and not the
    /// caller either, has stored a secret of the section.
    #[schemars(example = true, extend("x-language" = 2))]
    pub none: Option<bool>,
    /// The headers to set. `{secret}` is the secret, or the access token of an `oauth2` field. Templates over vars and the
    /// fields of the section.
    #[schemars(example = json!({ "authorization": "Bearer {secret}" }))]
    pub(super) set: Option<headers::Syntax>,
    /// Members to add to headers that are lists, beside `set`. They follow those of the client, without duplicates. Templates as in
    /// `set`.
    #[schemars(example = json!({ "example-beta": "oauth" }), extend("maxProperties" = 256, "x-language" = 2))]
    pub(super) add: Option<headers::Syntax>,
    /// Query parameters to set. They replace those of the client. Templates as in `set`; names and values are percent-encoded.
    #[schemars(example = json!({ "key": "{secret}" }), extend("maxProperties" = 256, "x-language" = 2))]
    pub(super) query: Option<query::Syntax>,
    /// HTTP Basic authentication.
    #[schemars(example = json!({ "username": "{login}", "password": "{password}" }), extend("x-language" = 2))]
    pub(super) basic: Option<basic::Syntax>,
    /// A signature in the place of `set`. The key is not sent.
    #[schemars(example = sigv4::example(), extend("x-language" = 2))]
    pub(super) sign: Option<sigv4::Syntax>,
}
