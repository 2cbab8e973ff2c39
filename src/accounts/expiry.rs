//! The expiry time of an access token.

use serde::Deserialize;

use crate::{json_parts::token_payload, secret::Secret};

/// The `exp` claim of an access token that is a JSON Web Token (RFC 7519), in milliseconds since 1970. The signature is
/// not verified: the time only decides when to refresh.
pub(super) fn expiry_of(access_token: &Secret) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: serde_json::Value,
    }
    let claims: Claims = serde_json::from_slice(&token_payload(access_token.expose())?).ok()?;
    Some(seconds(&claims.exp)?.saturating_mul(1000))
}

/// A lifetime in seconds: a number, or a string with one, as some endpoints send it. Zero counts as missing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float that is cast saturates")]
pub(super) fn seconds(value: &serde_json::Value) -> Option<u64> {
    let number = match value {
        serde_json::Value::String(text) => text.trim().parse().ok()?,
        other => other.as_f64()?,
    };
    Some(number as u64).filter(|seconds| *seconds > 0)
}
