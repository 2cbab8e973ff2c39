//! The messages of an OAuth 2.0 refresh: the request to a token endpoint (RFC 6749, section 6) and its response. `refresh`
//! makes the calls.
//!
//! Pure. No message contains a token or text of a response.

use bytes::Bytes;
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    credential::{StoredCredential, checked},
    expiry::{expiry_of, seconds},
    json_secret::JsonSecret,
};
use crate::secret::Secret;

/// Maximum size of a response, in bytes.
pub(super) const MAX_RESPONSE: usize = 64 * 1024;
/// The lifetime of an access token whose response and claims do not contain one.
const DEFAULT_LIFETIME_MS: u64 = 3_600_000;

/// Why a token endpoint granted nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenEndpointError {
    /// It refuses the login permanently: only another login helps.
    #[error("the token endpoint rejected the login: a new login is needed")]
    Rejected,
    /// It was not reached in time.
    #[error("the token endpoint did not respond")]
    NoResponse,
    /// The URL is invalid.
    #[error("the provider file's `token_url` is not a valid URL")]
    InvalidUrl,
    /// Another status code.
    #[error("the token endpoint responded with status {0}")]
    Status(u16),
    /// The body is no response of a token endpoint.
    #[error("the token endpoint's response {0}")]
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
    access_token: Option<JsonSecret<'a>>,
    #[serde(borrow)]
    refresh_token: Option<JsonSecret<'a>>,
    expires_in: Option<serde_json::Value>,
}

/// Interprets a response to this refresh token. Without a valid token nothing changes.
pub(super) fn parse_response(
    status: u16,
    body: &[u8],
    refresh_token: &Secret,
    now_ms: u64,
) -> Result<Grant, TokenEndpointError> {
    if status != 200 {
        let is_permanent = matches!(status, 400 | 401 | 403) && is_error(body);
        return Err(if is_permanent {
            TokenEndpointError::Rejected
        } else {
            TokenEndpointError::Status(status)
        });
    }
    let granted: Granted<'_> = serde_json::from_slice(body)
        .map_err(|_| TokenEndpointError::InvalidResponse("is not the expected JSON"))?;
    let token = |text: &str| {
        checked("", text).map_err(|_| {
            TokenEndpointError::InvalidResponse("contains a token that is no valid header value")
        })
    };
    let access_token = granted.access_token.filter(|text| !text.is_empty());
    let access_token = access_token
        .ok_or(TokenEndpointError::InvalidResponse("contains no access token"))
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
    let claimed = || expiry_of(&access_token).filter(|expires_at_ms| *expires_at_ms > now_ms);
    let expires_at_ms = expires_at_ms.or_else(claimed).unwrap_or(now_ms.saturating_add(DEFAULT_LIFETIME_MS));
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

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    const NOW_MS: u64 = 1_000_000_000_000;

    #[test]
    fn the_request_is_form_encoded() {
        let form = form(&Secret::new("r/1+2=ü &"), "app_1~x");
        let expected = "grant_type=refresh_token&refresh_token=r%2F1%2B2%3D%C3%BC+%26&client_id=app_1%7Ex";
        assert_eq!(form, expected);
    }

    fn granted(body: &str) -> Result<(String, String, u64), TokenEndpointError> {
        parse_response(200, body.as_bytes(), &Secret::new("old"), NOW_MS).map(|grant| match grant {
            Grant::Login(StoredCredential::OAuth {
                access_token,
                refresh_token: Some(refresh),
                expires_at_ms: Some(expires),
            }) => (access_token.expose().to_owned(), refresh.expose().to_owned(), expires - NOW_MS),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_response_with_an_access_token_is_a_login() {
        let check = |body: &str, access: &str, refresh: &str, lasts_ms: u64| {
            assert_eq!(granted(body), Ok((access.into(), refresh.into(), lasts_ms)), "{body}");
        };
        check(r#"{"access_token":"a","refresh_token":"r","expires_in":60,"more":[1]}"#, "a", "r", 60_000);
        check(r#"{"access_token":"a","expires_in":"60"}"#, "a", "old", 60_000);
        check(r#"{"access_token":"a","refresh_token":null,"expires_in":60.9}"#, "a", "old", 60_000);
        check(r#"{"access_token":"a","refresh_token":"","expires_in":60}"#, "a", "old", 60_000);
        check(r#"{"access_token":"\u0061"}"#, "a", "old", DEFAULT_LIFETIME_MS);
        for missing in ["null", "0", "-1", "\"soon\"", "[]", "\"\"", "\"nan\""] {
            let body = format!(r#"{{"access_token":"a","expires_in":{missing}}}"#);
            check(&body, "a", "old", DEFAULT_LIFETIME_MS);
        }
        let forever = u64::MAX - NOW_MS;
        check(r#"{"access_token":"a","expires_in":1e300}"#, "a", "old", forever);
        let jwt = |exp: &str| format!("h.{}.s", URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#)));
        let claim = |exp: &str, lasts_ms| {
            let token = jwt(exp);
            check(&format!(r#"{{"access_token":"{token}"}}"#), &token, "old", lasts_ms);
        };
        claim("1000000100", 100_000);
        claim("1000000000", DEFAULT_LIFETIME_MS);
        claim("true", DEFAULT_LIFETIME_MS);
        let token = jwt("1000000100");
        check(&format!(r#"{{"access_token":"{token}","expires_in":7}}"#), &token, "old", 7_000);
    }

    #[test]
    fn a_rotated_refresh_token_is_kept_without_an_access_token() {
        let check = |access: &str, why: &'static str| {
            let body = format!(r#"{{{access}"refresh_token":"r","expires_in":60}}"#);
            let grant = parse_response(200, body.as_bytes(), &Secret::new("old"), NOW_MS);
            assert_eq!(
                grant,
                Ok(Grant::RefreshToken(Secret::new("r"), TokenEndpointError::InvalidResponse(why))),
                "{body}"
            );
        };
        check("", "contains no access token");
        check(r#""access_token":"","#, "contains no access token");
        check(r#""access_token":"a b","#, "contains a token that is no valid header value");
        check(
            &format!(r#""access_token":"{}","#, "a".repeat(8193)),
            "contains a token that is no valid header value",
        );
    }

    #[test]
    fn error_responses_and_invalid_bodies_grant_nothing() {
        let check = |status: u16, body: &str, expected: &str| {
            let error = parse_response(status, body.as_bytes(), &Secret::new("old"), NOW_MS).unwrap_err();
            assert_eq!(error.to_string(), expected, "{status} {body}");
        };
        let rejected = "the token endpoint rejected the login: a new login is needed";
        check(400, r#"{"error":"invalid_grant","error_description":"canary"}"#, rejected);
        check(401, r#"{"error":"invalid_grant"}"#, rejected);
        check(500, r#"{"error":"invalid_grant"}"#, "the token endpoint responded with status 500");
        check(400, r#"{"error":"invalid_client"}"#, rejected);
        check(401, r#"{"error":{"code":"refresh_token_reused","message":"canary"}}"#, rejected);
        check(403, r#"{"error":{"code":null,"type":"invalid_request_error"}}"#, rejected);
        for temporary in [
            r#"{"error":""}"#,
            r#"{"error":{"code":7}}"#,
            r#"{"error":{}}"#,
            r#"{"error":null}"#,
            r#"{"detail":"invalid_grant"}"#,
            r#""invalid_grant""#,
            r#"{"error":"temporarily_unavailable"}"#,
            r#"{"error":{"type":"server_error"}}"#,
        ] {
            check(400, temporary, "the token endpoint responded with status 400");
        }
        for status in [402, 404, 408, 429, 503] {
            let expected = format!("the token endpoint responded with status {status}");
            check(status, r#"{"error":"invalid_grant"}"#, &expected);
        }
        check(400, "canary", "the token endpoint responded with status 400");
        check(429, "{}", "the token endpoint responded with status 429");
        check(302, "", "the token endpoint responded with status 302");
        check(201, r#"{"access_token":"a"}"#, "the token endpoint responded with status 201");
        let no_json = "the token endpoint's response is not the expected JSON";
        check(200, "canary", no_json);
        check(200, r#"{"access_token":1}"#, no_json);
        check(200, "", no_json);
        check(200, r#"{"token":"canary"}"#, "the token endpoint's response contains no access token");
        check(200, r#"{"access_token":""}"#, "the token endpoint's response contains no access token");
        check(200, r#"{"access_token":null}"#, "the token endpoint's response contains no access token");
        let unsendable = "the token endpoint's response contains a token that is no valid header value";
        check(200, r#"{"access_token":"a\nb"}"#, unsendable);
        check(200, r#"{"access_token":"a","refresh_token":"ü"}"#, unsendable);
    }
}
