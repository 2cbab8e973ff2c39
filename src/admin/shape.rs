//! What goes in and out of the API, as types: bodies are read into them, answers are written from them, and the
//! `OpenAPI` document is made of them. Times are texts in UTC (RFC 3339); what may be left out may be `null` too.
//!
//! Shapes alone: what a text has to look like beyond its schema is said where it is used.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use crate::{accounts::Confirmed, name::GroupName};

// === What comes in ===

/// A user to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewUser {
    /// What people call the user. Others may have the same name.
    #[schemars(length(min = 1, max = 100), example = &"alice")]
    pub name: String,
    /// A note of where the user sits. It restricts nothing.
    #[serde(default)]
    #[schemars(length(max = 100), example = &"192.0.2.7")]
    pub ip: Option<String>,
    /// The group that the user is in.
    #[serde(default)]
    #[schemars(regex(pattern = GroupName::PATTERN), example = &"research")]
    pub group: Option<String>,
    /// Credentials to begin with.
    #[serde(default)]
    pub creds: Option<CredentialsDocument>,
}

/// What to change of a user. What is left out stays.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::option_option, reason = "what is left out, `null` and a value are three things")]
pub struct UserPatch {
    /// Another name.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String", length(min = 1, max = 100), example = &"alice")]
    pub name: Option<String>,
    /// Another note; `null` for none.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(max = 100), example = &"192.0.2.7")]
    pub ip: Option<Option<String>>,
    /// Another group; `null` for none.
    #[serde(default, deserialize_with = "present")]
    #[schemars(regex(pattern = GroupName::PATTERN), example = &"research")]
    pub group: Option<Option<String>>,
    /// Whether all tokens of the user are refused for now.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "bool")]
    pub disabled: Option<bool>,
}

/// A token to be made. All of it may be left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), example = &"laptop")]
    pub label: Option<String>,
    /// What it is good for: `proxy` if left out.
    #[serde(default)]
    pub kind: Option<KindOfToken>,
    /// The providers and endpoints that it reaches, each `provider` or `provider/endpoint`; all if left out.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 200)), example = ["demo", "demo/chat"])]
    pub scopes: Option<Vec<String>>,
    /// From when on it is refused; never if left out.
    #[serde(default)]
    #[schemars(extend("format" = "date-time"), example = &"2030-01-01T00:00:00Z")]
    pub expires_at: Option<String>,
}

/// An admin token to be made.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewAdminToken {
    /// What it is for.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), example = &"on call")]
    pub label: Option<String>,
}

/// What of somebody's credentials to confirm: all that has moved, if nothing is said.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirm {
    /// Only what stands in this section.
    #[serde(default)]
    #[schemars(example = &"providers.demo")]
    pub section: Option<String>,
    /// Only this field of the section.
    #[serde(default)]
    #[schemars(example = &"apiKey")]
    pub field: Option<String>,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindOfToken {
    /// Calls to providers.
    Proxy,
    /// Self-service below `/auth`.
    Manage,
    /// Both.
    Both,
}

impl JsonSchema for KindOfToken {
    fn schema_name() -> Cow<'static, str> {
        "TokenKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let description =
            "What a token is good for: calls to providers, self-service below `/auth`, or both.";
        json_schema!({ "type": "string", "enum": ["proxy", "manage", "both"], "description": description })
    }
}

/// Credentials by section and field, as the provider files name them: `providers.demo` is `demo` in `providers`.
/// A text sets a field, `null` takes one or a whole section away. A login is an object with
/// `accessToken`, `refreshToken` and `expiresAt` (milliseconds since 1970).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct CredentialsDocument(pub Map<String, Value>);

impl JsonSchema for CredentialsDocument {
    fn schema_name() -> Cow<'static, str> {
        "CredentialsDocument".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "Credentials by section and field, as the provider files name them: `providers.demo` is `demo` in `providers`. A text sets a field, `null` takes one or a whole section away. A login (OAuth2) is an object with `accessToken`, `refreshToken` and `expiresAt` (milliseconds since 1970).",
            "additionalProperties": { "type": ["object", "string", "null"] },
            "examples": [{ "providers": { "demo": { "apiKey": "a key" } } }],
        })
    }
}

/// Tells what is `null` from what is not there.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

// === What goes out ===

/// Things by their id, in order. Each stands once.
#[derive(Debug, Clone)]
pub struct ById<T>(pub Vec<(String, T)>);

impl<T: Serialize> Serialize for ById<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, one) in &self.0 {
            map.serialize_entry(id, one)?;
        }
        map.end()
    }
}

impl<T: JsonSchema> JsonSchema for ById<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}ById", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "By id.",
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

/// Whether the process is well, in a word.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    /// `ok`, or what is not.
    pub status: String,
}

/// It is done.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Done {
    /// True.
    pub ok: bool,
}

/// What was confirmed, and nothing else changed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Confirmation {
    /// By section and field, as `providers.demo.apiKey`. Empty, if nothing had moved.
    pub confirmed: BTreeMap<String, Confirmed>,
}

/// A user that was made.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeUser {
    /// The user's id.
    pub user_id: String,
    /// The first token: it is shown this once.
    pub token: String,
}

/// A user.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// What people call the user.
    pub name: String,
    /// A note of where the user sits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The group that the user is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// When the user was made.
    pub created_at: String,
    /// Since when all tokens of the user are refused, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<String>,
}

/// A token that was made.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeToken {
    /// Its id.
    pub id: String,
    /// The token: it is shown this once.
    pub token: String,
    /// What it is good for.
    pub kind: KindOfToken,
    /// The providers and endpoints that it reaches; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// From when on it is refused; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// What a listed token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ListedKind {
    /// Calls to one provider: it is of that one's shape.
    Paste,
    /// What it was made for.
    #[serde(untagged)]
    Of(KindOfToken),
}

impl JsonSchema for ListedKind {
    fn schema_name() -> Cow<'static, str> {
        "ListedTokenKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let description = "What a token is good for: calls to providers, self-service below `/auth`, or both; `paste` is one of a provider's shape, for calls to that one.";
        json_schema!({ "type": "string", "enum": ["proxy", "manage", "both", "paste"], "description": description })
    }
}

/// A token.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Its first characters; absent of one of a provider's shape, which all begin alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What it is good for.
    pub kind: ListedKind,
    /// The provider of whose shape it is, if it is of one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The providers and endpoints that it reaches; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// When it was made.
    pub created_at: String,
    /// From when on it is refused; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When it was last used, to a minute or so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// When another took its place, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_at: Option<String>,
}

/// The token that takes the place of the one that called.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotated {
    /// The new token: it is shown this once.
    pub token: String,
    /// Its id.
    pub id: String,
    /// From when on the token that called is refused.
    pub old_tokens_expire_at: String,
}

/// An admin token.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminToken {
    /// What it is for.
    pub label: String,
    /// Its first characters, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// From when on it is refused; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When it was last used, to a minute or so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
}

/// An admin token that was made.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeAdminToken {
    /// Its id.
    pub id: String,
    /// The token: it is shown this once.
    pub token: String,
}

/// Who calls.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The user's id.
    pub id: String,
    /// What people call the user.
    pub name: String,
    /// The group that the user is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The token that called.
    pub token: MyToken,
}

/// The token that called.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MyToken {
    /// Its id.
    pub id: String,
    /// What it is good for.
    pub kind: KindOfToken,
    /// The providers and endpoints that it reaches; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// From when on it is refused; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// An entry of the audit log.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// When it happened.
    pub at: String,
    /// The same, in milliseconds since 1970, as it is hashed.
    pub at_ms: u64,
    /// Who did it.
    pub actor: String,
    /// From where: an address, or `local`.
    pub source: String,
    /// What was done.
    pub action: String,
    /// To whom or what.
    pub target: String,
    /// More about it; never a secret.
    pub detail: Value,
    /// SHA-256, in hex, of all of the above and the hash of the entry before.
    pub hash: String,
}

/// Credentials as they are shown: a text is masked, a login is `configured` until `expiresAt` (milliseconds
/// since 1970). What is not stored is not there.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct MaskedCredentials(pub Map<String, Value>);

impl JsonSchema for MaskedCredentials {
    fn schema_name() -> Cow<'static, str> {
        "MaskedCredentials".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "Credentials as they are shown: a text is masked, a login is `configured` until `expiresAt` (milliseconds since 1970). What is not stored is not there.",
            "additionalProperties": { "type": ["object", "string"] },
            "examples": [{ "providers": { "demo": { "apiKey": "abcdefgh...wxyz" } } }],
        })
    }
}

/// A token of a vendor's shape, under the name that the provider file gives it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(example = BTreeMap::from([("examplePasteToken", "eyJ...")]))]
pub struct PasteToken(pub BTreeMap<String, String>);

/// Why a call was refused, or failed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Fault")]
pub struct FaultDocument {
    /// What is wrong.
    pub error: FaultWords,
}

/// What is wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FaultWords {
    /// For a person.
    pub message: String,
    /// Of what kind it is, as clients' libraries tell them apart.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stable code.
    pub code: String,
}
