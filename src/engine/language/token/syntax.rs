//! The `[token.NAME]` table as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::language::{auth::syntax::Basic, syntax::StringMap};

/// A token that is made from stored fields: by a request to a token endpoint, or as a signed JWT.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The request to the token endpoint. Without it, the `jwt` is the token.
    #[schemars(example = example_request())]
    pub request: Option<Request>,
    /// The places of the token and its expiry in the token endpoint's reply.
    #[schemars(example = json!({ "token": "/access_token", "expires_in": "/expires_in" }))]
    pub reply: Option<Reply>,
    /// A signed JSON Web Token (RFC 7519): `{jwt}` in the request, or the token itself.
    #[schemars(example = example_jwt())]
    pub jwt: Option<Jwt>,
    /// The next token is made this long before the present one expires; `300s` by default.
    #[schemars(example = &"300s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub refresh_before: Option<String>,
}

/// A request to a token endpoint. All texts are templates over the fields of the section and vars; `{jwt}` is the token's JWT.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The method; `POST` by default.
    #[schemars(example = &"POST")]
    pub method: Option<RequestMethod>,
    /// The URL. Stored keys are bound to its origin.
    #[schemars(example = &"https://login.example.com/oauth/token", extend("maxLength" = 2048))]
    pub url: String,
    /// Headers, besides `Accept: application/json` and that of the body.
    #[schemars(example = json!({ "x-example": "1" }), extend("maxProperties" = 64))]
    pub headers: Option<StringMap>,
    /// The body as a form.
    #[schemars(example = json!({ "grant_type": "client_credentials" }), extend("maxProperties" = 64))]
    pub form: Option<StringMap>,
    /// The body as JSON. Its strings are templates.
    #[schemars(example = json!({ "grant_type": "client_credentials" }), extend("maxProperties" = 64))]
    pub json: Option<BTreeMap<String, serde_json::Value>>,
    /// HTTP Basic authentication.
    #[schemars(example = json!({ "username": "{clientId}", "password": "{clientSecret}" }))]
    pub basic: Option<Basic>,
}

/// The methods of requests to token endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum RequestMethod {
    /// Without a body.
    Get,
    /// With the form or the JSON as its body.
    #[default]
    Post,
}

/// The places in a token endpoint's reply, as JSON pointers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The token.
    #[schemars(example = &"/access_token")]
    pub token: String,
    /// The seconds until it expires.
    #[schemars(example = &"/expires_in")]
    pub expires_in: Option<String>,
    /// The time at which it expires: seconds or milliseconds since 1970, or a text such as `2026-01-31T12:00:00Z`.
    #[schemars(example = &"/expires_at")]
    pub expires_at: Option<String>,
    /// Further texts of the reply, by name. The entry of `auth` names them `{NAME.name}`, with the name of the token.
    #[schemars(example = json!({ "kind": "/token_type" }), extend("maxProperties" = 16))]
    pub fields: Option<StringMap>,
}

/// A JSON Web Token. `iat` and `exp` are added to the claims that do not have them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// The algorithm of the signature (RFC 7518; RFC 8037).
    #[schemars(example = &"RS256")]
    pub alg: Algorithm,
    /// The private key in PEM (PKCS#8, or PKCS#1 for RSA), or the shared secret of `HS256`. A template, as all other texts.
    #[schemars(example = &"{privateKey}")]
    pub key: String,
    /// The id of the key, in the header.
    #[schemars(example = &"{keyId}")]
    pub kid: Option<String>,
    /// Further texts of the header.
    #[schemars(example = json!({ "x5t": "{thumbprint}" }), extend("maxProperties" = 16))]
    pub headers: Option<StringMap>,
    /// The time from `iat` to `exp`; `10m` by default.
    #[schemars(example = &"10m", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub ttl: Option<String>,
    /// The claims. Strings are templates; `{fingerprint}` is the SHA-256 of the key's public half, in base64. The value of a
    /// table `{ gen = "uuid" | "hex24" | "now", prefix = "..." }` is generated.
    #[schemars(example = json!({ "iss": "{clientId}" }), extend("maxProperties" = 64))]
    pub claims: BTreeMap<String, serde_json::Value>,
}

/// The algorithms of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Algorithm {
    /// RSA with PKCS#1 v1.5 padding and SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// HMAC with SHA-256.
    #[serde(rename = "HS256")]
    Hs256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Its name (RFC 7518, section 3.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

fn example_request() -> serde_json::Value {
    json!({ "url": "https://login.example.com/oauth/token", "form": { "grant_type": "client_credentials" } })
}

fn example_jwt() -> serde_json::Value {
    json!({ "alg": "RS256", "key": "{privateKey}", "claims": { "iss": "{clientId}" } })
}
