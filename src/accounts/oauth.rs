//! The messages of an OAuth 2.0 refresh: the request to a token endpoint (RFC 6749, section 6), its response, and the
//! backoff after failures. `refresh` makes the calls.
//!
//! Pure. No message contains a token or text of a response.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    credential::{StoredCredential, checked},
    expiry::{expiry_of, seconds},
};
use crate::secret::Secret;

/// Maximum size of a response, in bytes.
pub(super) const MAX_ANSWER: usize = 64 * 1024;
/// Default lifetime of an access token without an announced one.
const LIFETIME_MS: u64 = 3_600_000;
const MIN_BACKOFF: Duration = Duration::from_secs(1);
pub(super) const MAX_BACKOFF: Duration = Duration::from_mins(5);

/// Why a token endpoint granted nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenEndpointError {
    /// It refuses the login permanently: only another login helps.
    #[error("the token endpoint refuses the login")]
    Rejected,
    /// It was not reached in time.
    #[error("the token endpoint did not answer")]
    NoResponse,
    /// The URL is invalid.
    #[error("the provider file's `token_url` is no URL to call")]
    InvalidUrl,
    /// Another status code.
    #[error("the token endpoint answered {0}")]
    Status(u16),
    /// The body is no response of a token endpoint.
    #[error("the token endpoint's answer {0}")]
    InvalidResponse(&'static str),
}

/// A successful response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// A login.
    Login(StoredCredential),
    /// Only the next refresh token, since the access token beside it is invalid.
    RefreshToken(Secret, TokenEndpointError),
}

/// The body of the request for a new access token.
pub(super) fn form(refresh_token: &Secret, client_id: &str) -> Bytes {
    // A byte becomes three at most. The buffer must not grow, or else copies of the secret stay behind.
    let room = 64 + 3 * (refresh_token.expose().len() + client_id.len());
    let mut form = Zeroizing::new(String::with_capacity(room));
    form.push_str("grant_type=refresh_token&refresh_token=");
    form.extend(form_urlencoded::byte_serialize(refresh_token.expose().as_bytes()));
    form.push_str("&client_id=");
    form.extend(form_urlencoded::byte_serialize(client_id.as_bytes()));
    Bytes::from_owner(Zeroizing::new(std::mem::take(&mut *form).into_bytes()))
}

/// The body of a successful response (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Granted<'a> {
    #[serde(borrow)]
    access_token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    refresh_token: Option<Cow<'a, str>>,
    expires_in: Option<serde_json::Value>,
}

/// Interprets a response to this refresh token. Without a valid token nothing changes.
pub(super) fn answer(
    status: u16,
    body: &[u8],
    refresh_token: &Secret,
    now_ms: u64,
) -> Result<Grant, TokenEndpointError> {
    if status != 200 {
        let for_good = matches!(status, 400 | 401 | 403) && is_error(body);
        return Err(if for_good { TokenEndpointError::Rejected } else { TokenEndpointError::Status(status) });
    }
    let granted: Granted<'_> = serde_json::from_slice(body)
        .map_err(|_| TokenEndpointError::InvalidResponse("is not the JSON that it should be"))?;
    let token = |text: &str| {
        checked("", text)
            .map_err(|_| TokenEndpointError::InvalidResponse("holds a token that cannot be sent"))
    };
    let access_token = granted.access_token.filter(|text| !text.is_empty());
    let access_token = access_token
        .ok_or(TokenEndpointError::InvalidResponse("holds no access token"))
        .and_then(|text| token(&text));
    let rotated =
        granted.refresh_token.filter(|text| !text.is_empty()).map(|text| token(&text)).transpose()?;
    let access_token = match (access_token, rotated.clone()) {
        (Ok(access_token), _) => access_token,
        // The previous refresh token may be spent.
        (Err(why), Some(rotated)) => return Ok(Grant::RefreshToken(rotated, why)),
        (Err(why), None) => return Err(why),
    };
    let refresh_token = rotated.or_else(|| Some(refresh_token.clone()));
    let lasts_ms = granted.expires_in.as_ref().and_then(seconds).map(|seconds| seconds.saturating_mul(1000));
    let expires_at_ms = lasts_ms.map(|lasts_ms| now_ms.saturating_add(lasts_ms));
    let own = || expiry_of(&access_token).filter(|expires_at_ms| *expires_at_ms > now_ms);
    let expires_at_ms = expires_at_ms.or_else(own).unwrap_or(now_ms.saturating_add(LIFETIME_MS));
    Ok(Grant::Login(StoredCredential::OAuth {
        access_token,
        refresh_token,
        expires_at_ms: Some(expires_at_ms),
    }))
}

/// True if a body is a permanent error of a token endpoint (section 5.2). Some endpoints put the code into an object.
fn is_error(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else { return false };
    let error = &body["error"];
    let code = [error, &error["code"], &error["type"]].into_iter().find_map(serde_json::Value::as_str);
    !matches!(code, None | Some("" | "server_error" | "slow_down" | "temporarily_unavailable"))
}

/// Exponential backoff after so many failures in a row.
pub(super) fn pause(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    MIN_BACKOFF.saturating_mul(factor).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    const NOW_MS: u64 = 1_000_000_000_000;

    #[test]
    fn what_is_asked() {
        let form = form(&Secret::new("r/1+2=ü &"), "app_1~x");
        let expected = "grant_type=refresh_token&refresh_token=r%2F1%2B2%3D%C3%BC+%26&client_id=app_1%7Ex";
        assert_eq!(form, expected);
    }

    fn granted(body: &str) -> Result<(String, String, u64), TokenEndpointError> {
        answer(200, body.as_bytes(), &Secret::new("old"), NOW_MS).map(|brought| match brought {
            Grant::Login(StoredCredential::OAuth {
                access_token,
                refresh_token: Some(refresh),
                expires_at_ms: Some(expires),
            }) => (access_token.expose().to_owned(), refresh.expose().to_owned(), expires - NOW_MS),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn what_is_granted() {
        let check = |body: &str, access: &str, refresh: &str, lasts_ms: u64| {
            assert_eq!(granted(body), Ok((access.into(), refresh.into(), lasts_ms)), "{body}");
        };
        check(r#"{"access_token":"a","refresh_token":"r","expires_in":60,"more":[1]}"#, "a", "r", 60_000);
        check(r#"{"access_token":"a","expires_in":"60"}"#, "a", "old", 60_000);
        check(r#"{"access_token":"a","refresh_token":null,"expires_in":60.9}"#, "a", "old", 60_000);
        check(r#"{"access_token":"a","refresh_token":"","expires_in":60}"#, "a", "old", 60_000);
        check(r#"{"access_token":"\u0061"}"#, "a", "old", LIFETIME_MS);
        for nothing in ["null", "0", "-1", "\"soon\"", "[]", "\"\"", "\"nan\""] {
            let body = format!(r#"{{"access_token":"a","expires_in":{nothing}}}"#);
            check(&body, "a", "old", LIFETIME_MS);
        }
        let forever = u64::MAX - NOW_MS;
        check(r#"{"access_token":"a","expires_in":1e300}"#, "a", "old", forever);
        let jwt = |exp: &str| format!("h.{}.s", URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#)));
        let own = |exp: &str, lasts_ms| {
            let token = jwt(exp);
            check(&format!(r#"{{"access_token":"{token}"}}"#), &token, "old", lasts_ms);
        };
        own("1000000100", 100_000);
        own("1000000000", LIFETIME_MS);
        own("true", LIFETIME_MS);
        let token = jwt("1000000100");
        check(&format!(r#"{{"access_token":"{token}","expires_in":7}}"#), &token, "old", 7_000);
    }

    #[test]
    fn what_else_a_rotated_refresh_token_comes_with() {
        let check = |access: &str, why: &'static str| {
            let body = format!(r#"{{{access}"refresh_token":"r","expires_in":60}}"#);
            let brought = answer(200, body.as_bytes(), &Secret::new("old"), NOW_MS);
            assert_eq!(
                brought,
                Ok(Grant::RefreshToken(Secret::new("r"), TokenEndpointError::InvalidResponse(why))),
                "{body}"
            );
        };
        check("", "holds no access token");
        check(r#""access_token":"","#, "holds no access token");
        check(r#""access_token":"a b","#, "holds a token that cannot be sent");
        check(&format!(r#""access_token":"{}","#, "a".repeat(8193)), "holds a token that cannot be sent");
    }

    #[test]
    fn what_is_not() {
        let check = |status: u16, body: &str, expected: &str| {
            let refused = answer(status, body.as_bytes(), &Secret::new("old"), NOW_MS).unwrap_err();
            assert_eq!(refused.to_string(), expected, "{status} {body}");
        };
        let revoked = "the token endpoint refuses the login";
        check(400, r#"{"error":"invalid_grant","error_description":"canary"}"#, revoked);
        check(401, r#"{"error":"invalid_grant"}"#, revoked);
        check(500, r#"{"error":"invalid_grant"}"#, "the token endpoint answered 500");
        check(400, r#"{"error":"invalid_client"}"#, revoked);
        check(401, r#"{"error":{"code":"refresh_token_reused","message":"canary"}}"#, revoked);
        check(403, r#"{"error":{"code":null,"type":"invalid_request_error"}}"#, revoked);
        for passing in [
            r#"{"error":""}"#,
            r#"{"error":{"code":7}}"#,
            r#"{"error":{}}"#,
            r#"{"error":null}"#,
            r#"{"detail":"invalid_grant"}"#,
            r#""invalid_grant""#,
            r#"{"error":"temporarily_unavailable"}"#,
            r#"{"error":{"type":"server_error"}}"#,
        ] {
            check(400, passing, "the token endpoint answered 400");
        }
        for status in [402, 404, 408, 429, 503] {
            let expected = format!("the token endpoint answered {status}");
            check(status, r#"{"error":"invalid_grant"}"#, &expected);
        }
        check(400, "canary", "the token endpoint answered 400");
        check(429, "{}", "the token endpoint answered 429");
        check(302, "", "the token endpoint answered 302");
        check(201, r#"{"access_token":"a"}"#, "the token endpoint answered 201");
        let no_json = "the token endpoint's answer is not the JSON that it should be";
        check(200, "canary", no_json);
        check(200, r#"{"access_token":1}"#, no_json);
        check(200, "", no_json);
        check(200, r#"{"token":"canary"}"#, "the token endpoint's answer holds no access token");
        check(200, r#"{"access_token":""}"#, "the token endpoint's answer holds no access token");
        check(200, r#"{"access_token":null}"#, "the token endpoint's answer holds no access token");
        let unsendable = "the token endpoint's answer holds a token that cannot be sent";
        check(200, r#"{"access_token":"a\nb"}"#, unsendable);
        check(200, r#"{"access_token":"a","refresh_token":"ü"}"#, unsendable);
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let pauses: Vec<u64> =
            [0, 1, 2, 3, 8, 9, 10, 33, u32::MAX].map(|failures| pause(failures).as_secs()).into();
        assert_eq!(pauses, [1, 1, 2, 4, 128, 256, 300, 300, 300]);
    }
}
