//! The messages of an OAuth 2.0 refresh: the request to a token endpoint (RFC 6749, section 6) and its response. `refresh`
//! makes the calls.
//!
//! Pure. No message contains a token or text of a response.

mod answer;

use bytes::Bytes;
use thiserror::Error;
use zeroize::Zeroizing;

pub use self::answer::ReceivedAnswer;
use self::answer::{Field, Fields};
use super::{
    credential::{StoredCredential, checked},
    expiry::{expiry_of, seconds},
    unread_answer::UnreadAnswer,
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
    /// It reports, with a successful status, an error that may end by itself.
    #[error("the token endpoint reported a temporary error")]
    Temporary,
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
    /// An answer that was not understood, and the problem. It may hold the only valid refresh token.
    Unread(UnreadAnswer, &'static str),
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

/// Interprets an answer to this refresh token. Without a valid token nothing changes; a successful answer that is not
/// understood is to be kept, since the refresh token may be spent.
pub(super) fn interpret(
    answer: ReceivedAnswer,
    refresh_token: &Secret,
    now_ms: u64,
) -> Result<Grant, TokenEndpointError> {
    match understood(&answer, refresh_token, now_ms) {
        Err(TokenEndpointError::InvalidResponse(problem)) if !answer.body.is_empty() => Ok(Grant::Unread(
            UnreadAnswer { received_at_ms: now_ms, problem: problem.to_owned(), answer },
            problem,
        )),
        interpreted => interpreted,
    }
}

fn understood(
    answer: &ReceivedAnswer,
    refresh_token: &Secret,
    now_ms: u64,
) -> Result<Grant, TokenEndpointError> {
    let fields = answer.fields();
    if !answer.is_success() {
        let is_permanent = matches!(answer.status, 400 | 401 | 403)
            && fields.is_ok_and(|fields| error(&fields) == Some(Permanence::Permanent));
        return Err(if is_permanent {
            TokenEndpointError::Rejected
        } else {
            TokenEndpointError::Status(answer.status)
        });
    }
    let fields = fields.map_err(TokenEndpointError::InvalidResponse)?;
    match (error(&fields), &fields.access_token, &fields.refresh_token) {
        // Some endpoints report errors with the status 200.
        (Some(Permanence::Permanent), Field::Absent, Field::Absent) => Err(TokenEndpointError::Rejected),
        (Some(Permanence::Temporary), Field::Absent, Field::Absent) => Err(TokenEndpointError::Temporary),
        _ => granted(&fields, refresh_token, now_ms),
    }
}

/// The tokens of a successful answer (RFC 6749, section 5.1).
fn granted(fields: &Fields, refresh_token: &Secret, now_ms: u64) -> Result<Grant, TokenEndpointError> {
    let token = |text: &str| {
        checked("", text).map_err(|_| {
            TokenEndpointError::InvalidResponse("contains a token that is no valid header value")
        })
    };
    let rotated = match &fields.refresh_token {
        Field::Absent => None,
        Field::Text(text) => Some(token(text)?),
        Field::Other => {
            return Err(TokenEndpointError::InvalidResponse("contains a refresh token that is no text"));
        }
    };
    let access_token = match &fields.access_token {
        Field::Text(text) => token(text),
        Field::Absent | Field::Other => Err(TokenEndpointError::InvalidResponse("contains no access token")),
    };
    let access_token = match (access_token, rotated.clone()) {
        (Ok(access_token), _) => access_token,
        // The previous refresh token may be spent.
        (Err(why), Some(rotated)) => return Ok(Grant::RefreshToken(rotated, why)),
        (Err(why), None) => return Err(why),
    };
    let refresh_token = rotated.or_else(|| Some(refresh_token.clone()));
    let lasts_ms = fields.expires_in.as_ref().and_then(seconds).map(|seconds| seconds.saturating_mul(1000));
    let expires_at_ms = lasts_ms.map(|lasts_ms| now_ms.saturating_add(lasts_ms));
    let claimed = || expiry_of(&access_token).filter(|expires_at_ms| *expires_at_ms > now_ms);
    let expires_at_ms = expires_at_ms.or_else(claimed).unwrap_or(now_ms.saturating_add(DEFAULT_LIFETIME_MS));
    Ok(Grant::Login(StoredCredential::OAuth {
        access_token,
        refresh_token,
        expires_at_ms: Some(expires_at_ms),
    }))
}

/// The kind of an error that a token endpoint reports.
#[derive(PartialEq, Eq)]
enum Permanence {
    Permanent,
    Temporary,
}

/// The error that the fields report (section 5.2), if any. Some endpoints put the code into an object.
fn error(fields: &Fields) -> Option<Permanence> {
    let error = fields.error.as_ref()?;
    let code = [error, &error["code"], &error["type"]].into_iter().find_map(serde_json::Value::as_str);
    match code? {
        "" => None,
        "server_error" | "slow_down" | "temporarily_unavailable" => Some(Permanence::Temporary),
        _ => Some(Permanence::Permanent),
    }
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

    fn answer(status: u16, body: &str) -> ReceivedAnswer {
        ReceivedAnswer {
            status,
            content_type: "application/json".into(),
            content_encoding: String::new(),
            body: Zeroizing::new(body.into()),
            incomplete: None,
        }
    }

    fn granted(body: &str) -> Result<(String, String, u64), TokenEndpointError> {
        interpret(answer(200, body), &Secret::new("old"), NOW_MS).map(|grant| match grant {
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
    fn every_legal_form_of_an_answer_is_understood() {
        let check = |content_type: &str, body: &[u8]| {
            for (status, content_encoding) in [(200, ""), (201, "identity"), (299, " Identity , ")] {
                let answer = ReceivedAnswer {
                    content_type: content_type.into(),
                    content_encoding: content_encoding.into(),
                    body: body.to_vec().into(),
                    ..answer(status, "")
                };
                let expected = Grant::Login(StoredCredential::OAuth {
                    access_token: Secret::new("a"),
                    refresh_token: Some(Secret::new("7")),
                    expires_at_ms: Some(NOW_MS + 3_600_000),
                });
                let shown = String::from_utf8_lossy(body);
                let granted = interpret(answer, &Secret::new("old"), NOW_MS);
                assert_eq!(granted, Ok(expected), "{content_type} {shown}");
            }
        };
        let json = r#"{"access_token":"a","refresh_token":"7","expires_in":3600}"#;
        for content_type in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/vnd.acme+json",
            "text/javascript",
            "text/html",
            "",
        ] {
            check(content_type, json.as_bytes());
        }
        let utf16 = |unit: fn(u16) -> [u8; 2]| json.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let (big, little) = (utf16(u16::to_be_bytes), utf16(u16::to_le_bytes));
        check("application/json; charset=utf-16be", &big);
        check("application/json; charset=UTF-16LE", &little);
        check("application/json; charset=utf-16", &[&[0xfe, 0xff], &*big].concat());
        check("application/json; charset=utf-16", &[&[0xff, 0xfe], &*little].concat());
        check("application/json", &[b"\xef\xbb\xbf", json.as_bytes()].concat());
        check("application/json; charset=utf-16", json.as_bytes());
        check("application/json", format!("\r\n {json}\n").as_bytes());
        for more in [
            r#""token_type":"BEARER","scope":null,"a":{"b":[null,{"access_token":"x"}]},"#,
            r#""error":null,"error_description":"","#,
            r#""error":"","#,
        ] {
            check("application/json", json.replacen('{', &format!("{{{more}"), 1).as_bytes());
        }
        let latin = [b"{\"scope\":\"\xfc\",".as_slice(), &json.as_bytes()[1..]].concat();
        check("application/json; charset=iso-8859-1", &latin);
        for lifetime in ["\"3600\"", "3600.0", "3.6e3", "\"3600.0\"", "\" 3.6e3 \"", "3600.9"] {
            check("application/json", json.replace("3600", lifetime).as_bytes());
        }
        check("application/json", json.replace("\"7\"", "7").as_bytes());
        check("application/json", json.replace("\"a\"", "\"\\u0061\"").as_bytes());
        let form =
            "access_token=%61&expires_in=3600&refresh_token=7&scope=repo%2Cgist&token_type=bearer&error=";
        for content_type in ["application/x-www-form-urlencoded; charset=utf-8", "text/plain", ""] {
            check(content_type, form.as_bytes());
            check(content_type, format!("{form}\r\n").as_bytes());
        }
        let wide: Vec<u8> = form.encode_utf16().flat_map(u16::to_le_bytes).collect();
        check("application/x-www-form-urlencoded; charset=utf-16le", &wide);
    }

    /// Answers of which nothing is used: they are kept.
    #[test]
    fn an_answer_that_is_not_understood_is_handed_on_whole() {
        let check = |received: ReceivedAnswer, expected: &str| {
            let shown = format!("{received:?}");
            let kept = UnreadAnswer {
                received_at_ms: NOW_MS,
                problem: expected.to_owned(),
                answer: received.clone(),
            };
            match interpret(received, &Secret::new("old"), NOW_MS) {
                Ok(Grant::Unread(unread, problem)) => {
                    assert_eq!((unread, problem), (kept, expected), "{shown}");
                }
                other => panic!("{shown} {other:?}"),
            }
        };
        let with = |change: fn(&mut ReceivedAnswer)| {
            let mut answer = answer(200, r#"{"access_token":"a","refresh_token":"r"}"#);
            change(&mut answer);
            answer
        };
        let coded = "has a content coding, though the request asked for none";
        check(with(|answer| answer.content_encoding = "GZIP".into()), coded);
        check(with(|answer| answer.content_encoding = "identity, br".into()), coded);
        let cut = with(|answer| {
            answer.body.truncate(20);
            answer.incomplete = Some("is cut");
        });
        check(cut, "is cut");
        let neither = "is neither the expected JSON nor a form";
        for page in
            ["<a href=\"?access_token=a\">", "[]", "\"a\"", "expires_in=7", "access_token=a&access_token=b"]
        {
            check(answer(200, page), neither);
            let page = ReceivedAnswer { content_type: "text/plain".into(), ..answer(200, page) };
            check(page, neither);
        }
        let invalid = "is not the expected JSON";
        check(answer(200, r#"{"access_token":"a","access_token":"b"}"#), invalid);
        check(answer(200, r#"{"access_token":"a"} more"#), invalid);
        let odd = "contains a refresh token that is no text";
        for token in ["[1]", "{\"a\":1}", "-1", "1.5", "true"] {
            check(answer(200, &format!(r#"{{"access_token":"a","refresh_token":{token}}}"#)), odd);
            check(answer(200, &format!(r#"{{"access_token":{token}}}"#)), "contains no access token");
        }
        // A document that is complete is used, though its connection broke.
        let granted =
            interpret(with(|answer| answer.incomplete = Some("is cut")), &Secret::new("old"), NOW_MS);
        assert!(matches!(granted, Ok(Grant::Login(_))), "{granted:?}");
    }

    #[test]
    fn errors_with_a_successful_status_are_errors() {
        let check = |content_type: &str, body: &str, expected: TokenEndpointError| {
            let answer = ReceivedAnswer { content_type: content_type.into(), ..answer(200, body) };
            assert_eq!(interpret(answer, &Secret::new("old"), NOW_MS), Err(expected), "{body}");
        };
        check(
            "application/json",
            r#"{"ok":false,"error":"invalid_refresh_token"}"#,
            TokenEndpointError::Rejected,
        );
        check("", "error=bad_refresh_token&error_description=canary", TokenEndpointError::Rejected);
        check("", r#"{"error":"temporarily_unavailable","refresh_token":""}"#, TokenEndpointError::Temporary);
    }

    #[test]
    fn a_rotated_refresh_token_is_kept_without_an_access_token() {
        let check = |access: &str, why: &'static str| {
            let body = format!(r#"{{{access}"refresh_token":"r","expires_in":60}}"#);
            let grant = interpret(answer(200, &body), &Secret::new("old"), NOW_MS);
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
            let error = match interpret(answer(status, body), &Secret::new("old"), NOW_MS) {
                Err(error) => error,
                Ok(Grant::Unread(unread, problem)) => {
                    assert_eq!((&*unread.problem, &unread.answer), (problem, &answer(status, body)));
                    TokenEndpointError::InvalidResponse(problem)
                }
                Ok(grant) => panic!("{grant:?}"),
            };
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
        check(200, "canary", "the token endpoint's response is neither the expected JSON nor a form");
        check(200, r#"{"access_token":"a""#, "the token endpoint's response is not the expected JSON");
        check(200, "", "the token endpoint's response is empty");
        check(200, r#"{"token":"canary"}"#, "the token endpoint's response contains no access token");
        check(200, r#"{"access_token":""}"#, "the token endpoint's response contains no access token");
        check(200, r#"{"access_token":null}"#, "the token endpoint's response contains no access token");
        let unsendable = "the token endpoint's response contains a token that is no valid header value";
        check(200, r#"{"access_token":"a\nb"}"#, unsendable);
        check(200, r#"{"access_token":"a","refresh_token":"ü"}"#, unsendable);
    }
}
