//! Request and response bodies of the API, as types. The `OpenAPI` document is generated from them: doc comments here are its
//! descriptions. Times are texts in UTC (RFC 3339). An optional field may also be `null`.
//!
//! Only the form is here. Rules beyond the schema are checked by the operation that reads the body.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::{Map, Value, json};

use crate::{accounts::NewOrigins, fault::Cause, name::GroupName};

// === requests ===

/// A user to create.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewUser {
    /// The display name. It need not be unique.
    #[schemars(length(min = 1, max = 100), example = &"alice")]
    pub name: String,
    /// A note of the user's address. It restricts nothing.
    #[serde(default)]
    #[schemars(length(max = 100), example = &"192.0.2.7")]
    pub ip: Option<String>,
    /// The user's group.
    #[serde(default)]
    #[schemars(regex(pattern = GroupName::PATTERN), example = &"research")]
    pub group: Option<String>,
    /// The first credentials.
    #[serde(default)]
    pub creds: Option<CredentialsDocument>,
}

/// A change to a user. A field that is left out stays as it is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::option_option, reason = "absent, `null` and a value mean different things")]
pub struct UserPatch {
    /// The new display name.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String", length(min = 1, max = 100), example = &"alice")]
    pub name: Option<String>,
    /// The new address note; `null` removes it.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(max = 100), example = &"192.0.2.7")]
    pub ip: Option<Option<String>>,
    /// The new group; `null` removes the user from the group.
    #[serde(default, deserialize_with = "present")]
    #[schemars(regex(pattern = GroupName::PATTERN), example = &"research")]
    pub group: Option<Option<String>>,
    /// True to disable the user, which refuses all tokens; false to enable the user again.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "bool")]
    pub disabled: Option<bool>,
}

/// A token to create. Every field may be left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewToken {
    /// The label.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), example = &"laptop")]
    pub label: Option<String>,
    /// The kind; `proxy` if left out.
    #[serde(default)]
    pub kind: Option<KindOfToken>,
    /// Scopes: the providers and endpoints that it reaches, each `provider` or `provider/endpoint`; all if left out.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 200)), example = ["demo", "demo/chat"])]
    pub scopes: Option<Vec<String>>,
    /// The expiry; never if left out.
    #[serde(default)]
    #[schemars(extend("format" = "date-time"), example = &"2030-01-01T00:00:00Z")]
    pub expires_at: Option<String>,
}

/// An admin token to create.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewAdminToken {
    /// The label.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), example = &"on call")]
    pub label: Option<String>,
}

/// The credentials to confirm.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirm {
    /// By section and field, such as `providers.demo.apiKey`: the origins that the provider files lead to, all of them, as a
    /// `GET` of the same path shows them in `to`. If the files lead elsewhere by now, nothing is confirmed.
    #[schemars(example = BTreeMap::from([("providers.demo.apiKey", ["https://api.demo.example"])]))]
    pub origins: BTreeMap<String, Vec<String>>,
}

/// The kind of a token.
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
        let description = "The kind of a token: `proxy` for calls to providers, `manage` for self-service below `/auth`, or `both`.";
        json_schema!({ "type": "string", "enum": ["proxy", "manage", "both"], "description": description })
    }
}

/// Credentials to set or remove. The schema describes the form.
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
            "description": "Credentials by section and field, as the provider files name them: `providers.demo` is `demo` in `providers`. A string sets a field, `null` removes a field or a whole section. A login (OAuth2) is an object with `accessToken`, `refreshToken` and `expiresAt` (milliseconds since 1970).",
            "additionalProperties": { "type": ["object", "string", "null"] },
            "examples": [{ "providers": { "demo": { "apiKey": "a key" } } }],
        })
    }
}

/// A change of credentials, which may name the origins that it expects. The schema describes the form.
#[derive(Debug)]
pub struct CredentialsChange;

/// The key of the origins that a change expects. No section has such a name.
pub const EXPECTED_ORIGINS: &str = "$origins";

impl JsonSchema for CredentialsChange {
    fn schema_name() -> Cow<'static, str> {
        "CredentialsChange".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = CredentialsDocument::json_schema(generator);
        let origins = json_schema!({
            "type": "object",
            "description": "By section and field, such as `providers.demo.apiKey`: the origins that it is to have after the change, all of them, as `origins` of the fields shows them. If the values and the provider files lead elsewhere by now, nothing is changed. Fields that are left out go where those lead.",
            "additionalProperties": { "type": "array", "items": { "type": "string" } },
            "examples": [{ "providers.demo.apiKey": ["https://api.demo.example"] }],
        });
        schema.insert("properties".to_owned(), json!({ EXPECTED_ORIGINS: origins }));
        schema
    }
}

/// Distinguishes `null` from an absent field.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

// === responses ===

/// A JSON object of items by their ids, in order.
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

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ById<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = ById<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of items by id")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<ById<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = object.next_entry()? {
                    items.push(item);
                }
                Ok(ById(items))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for ById<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}ById", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "Items by id.",
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

/// The health of the process.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    /// `ok`, or the reason why not.
    pub status: String,
}

/// The operation succeeded.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Done {
    /// Always true.
    pub ok: bool,
}

/// A revocation, with the number of tokens that it ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    /// Always true.
    pub ok: bool,
    /// Users' tokens that ended, with the revoked one.
    pub tokens: u64,
    /// Paste tokens that ended.
    pub paste_tokens: u64,
    /// Admin tokens that ended, with the revoked one. Absent if a user's token was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_tokens: Option<u64>,
    /// Sessions that ended.
    pub sessions: u64,
    /// Tokens that stay valid: those that the revoked one created, and those that it replaced or that replaced it.
    /// `?withMade=true` ends them too.
    pub remaining: u64,
}

/// The confirmed credentials.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Confirmation {
    /// By section and field, such as `providers.demo.apiKey`. Empty if no origins had changed.
    pub confirmed: BTreeMap<String, NewOrigins>,
}

/// The credentials that wait for a confirmation.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unconfirmed {
    /// By section and field, such as `providers.demo.apiKey`. Empty if each may go where the provider files lead.
    pub unconfirmed: BTreeMap<String, NewOrigins>,
}

/// A created user.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeUser {
    /// The user's id.
    pub user_id: String,
    /// The first token. It is shown only here.
    pub token: String,
}

/// A user.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The display name.
    pub name: String,
    /// A note of the user's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The user's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The creation time.
    pub created_at: String,
    /// The time since which the user is disabled; absent if the user is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<String>,
}

/// A created token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeToken {
    /// Its id.
    pub id: String,
    /// The token. It is shown only here.
    pub token: String,
    /// The kind.
    pub kind: KindOfToken,
    /// The providers and endpoints that it reaches; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The expiry; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A session that was started. Its token is in the cookie alone.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id, as lists of tokens have it.
    pub id: String,
    /// The expiry.
    pub expires_at: String,
}

/// The kind of a token in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListedKind {
    /// A paste token: calls to one provider.
    Paste,
    /// A session: self-service, from a browser.
    Session,
    /// The kind that it was created with.
    #[serde(untagged)]
    Of(KindOfToken),
}

impl JsonSchema for ListedKind {
    fn schema_name() -> Cow<'static, str> {
        "ListedTokenKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let description = "The kind of a token: `proxy` for calls to providers, `manage` for self-service below `/auth`, or `both`. `paste` is a token in a vendor's own shape, for calls to one provider; `session` that of a browser, in a cookie.";
        json_schema!({ "type": "string", "enum": ["proxy", "manage", "both", "paste", "session"], "description": description })
    }
}

/// A token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Its first characters. Absent for a paste token: they all begin alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The kind.
    pub kind: ListedKind,
    /// The provider of a paste token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The providers and endpoints that it reaches; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The creation time.
    pub created_at: String,
    /// The expiry; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The time of the last use, to about a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// The time at which a rotation replaced it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_at: Option<String>,
    /// The id of the token or admin token that created it. Absent if it was created on the machine or imported, or before
    /// makers were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
}

/// The token that replaces the calling one; for a session, the one that it was started with.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotated {
    /// The new token. It is shown only here.
    pub token: String,
    /// Its id.
    pub id: String,
    /// The new expiry of the calling token, and the latest one of its paste tokens.
    pub old_tokens_expire_at: String,
    /// Paste tokens of the calling token, which end with it.
    pub ending_paste_tokens: u64,
    /// Tokens that the calling token created, without sessions. They stay valid, and the new token is their maker now.
    pub handed_over_tokens: u64,
}

/// The kind of an admin token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindOfAdminToken {
    /// A token.
    Admin,
    /// A session.
    Session,
}

impl JsonSchema for KindOfAdminToken {
    fn schema_name() -> Cow<'static, str> {
        "AdminTokenKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let description =
            "The kind of an admin token: `admin`, or `session` for that of a browser, in a cookie.";
        json_schema!({ "type": "string", "enum": ["admin", "session"], "description": description })
    }
}

/// An admin token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminToken {
    /// The label. That of a session is its maker's.
    pub label: String,
    /// The kind.
    pub kind: KindOfAdminToken,
    /// True for the calling token or session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub current: bool,
    /// Its first characters, if they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The creation time.
    pub created_at: String,
    /// The expiry; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The time of the last use, to about a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// The id of the admin token that created it. Absent if it was created on the machine, or before makers were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
}

/// A created admin token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeAdminToken {
    /// Its id.
    pub id: String,
    /// The token. It is shown only here.
    pub token: String,
}

/// The calling user and token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The user's id.
    pub id: String,
    /// The display name.
    pub name: String,
    /// The user's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The calling token.
    pub token: MyToken,
}

/// The calling token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MyToken {
    /// Its id.
    pub id: String,
    /// The kind.
    pub kind: ListedKind,
    /// The providers and endpoints that it reaches; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The expiry; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// For a session: the id of the token that it was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
}

/// Stored credentials, masked. The schema describes the form.
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
            "description": "Stored credentials by section and field. A string is masked, except for that of a `text` or `origin` field. A login or a JSON document is an object with the status `configured` and, if it expires, `expiresAt` (milliseconds since 1970). A value that cannot be decrypted has the status `unreadable`.",
            "additionalProperties": { "type": ["object", "string"] },
            "examples": [{ "providers": { "demo": { "apiKey": "abcdefgh...wxyz" } } }],
        })
    }
}

/// A stored credential, masked. The schema describes the form.
#[derive(Debug)]
pub struct MaskedCredential;

impl JsonSchema for MaskedCredential {
    fn schema_name() -> Cow<'static, str> {
        "MaskedCredential".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["object", "string"],
            "description": "A stored credential. A string is masked, except for that of a `text` or `origin` field. A login or a JSON document is an object with the status `configured` and, if it expires, `expiresAt` (milliseconds since 1970). A value that cannot be decrypted has the status `unreadable`.",
            "examples": ["abcdefgh...wxyz"],
        })
    }
}

/// A paste token, under the name that the provider file gives it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(example = BTreeMap::from([("examplePasteToken", "eyJ...")]))]
pub struct PasteToken(pub BTreeMap<String, String>);

/// The reason why a call was refused or failed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Fault")]
pub struct FaultDocument {
    /// The fault.
    pub error: FaultDetail,
}

/// A fault.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FaultWords")]
pub struct FaultDetail {
    /// A message for people.
    pub message: String,
    /// The type, by which clients' libraries tell errors apart.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stable code.
    pub code: String,
    /// The exact cause, a stable code. Refused calls of this API have one where a code stands for several causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = causes()))]
    pub cause: Option<String>,
    /// The JSON pointer (RFC 6901) of the part of the body that caused the fault; empty for the whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "json-pointer"))]
    pub at: Option<String>,
}

/// The codes of all causes.
fn causes() -> Vec<&'static str> {
    Cause::ALL.iter().map(|cause| cause.code()).collect()
}
