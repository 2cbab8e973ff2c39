//! Tests of requests and answers.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::*;

const NOW_MS: u64 = 1_000_000_000_000;

#[test]
fn the_request_is_form_encoded() {
    let check = |client_secret: Option<&str>, scope: Option<&str>, expected: &str| {
        let oauth = OAuth {
            paste: std::collections::BTreeMap::new(),
            token_url: "https://auth.example/token".to_owned(),
            client_id: "app_1~x".to_owned(),
            client_secret: client_secret.map(Secret::new),
            scope: scope.map(str::to_owned),
            refresh_before: std::time::Duration::ZERO,
        };
        let form = form(&Secret::new("r/1+2=ü &"), &oauth);
        let start = "grant_type=refresh_token&refresh_token=r%2F1%2B2%3D%C3%BC+%26&client_id=app_1%7Ex";
        assert_eq!(str::from_utf8(&form), Ok(&*format!("{start}{expected}")));
    };
    check(None, None, "");
    check(Some("a&b"), None, "&client_secret=a%26b");
    check(Some("s"), Some("openid offline_access"), "&client_secret=s&scope=openid+offline_access");
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
        Grant {
            tokens:
                NewTokens::Login(StoredCredential::OAuth {
                    access_token,
                    refresh_token: Some(refresh),
                    expires_at_ms: Some(expires),
                }),
            unread: None,
        } => (access_token.expose().to_owned(), refresh.expose().to_owned(), expires - NOW_MS),
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
    for missing in ["null", "0", "-1", "\"soon\"", "[]", "\"\"", "\"nan\"", "1e400"] {
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
        let names = ["", "identity", " Identity , ", "identity, identity", "none", "UTF-8", "br", "gzip"];
        for (status, content_encoding) in [200, 201, 203, 206, 226, 250, 298, 299].into_iter().zip(names) {
            let answer = ReceivedAnswer {
                content_type: content_type.into(),
                content_encoding: content_encoding.into(),
                body: body.to_vec().into(),
                ..answer(status, "")
            };
            let expected = Grant { tokens: login("a", "7", 3_600_000), unread: None };
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
    check("application/json", format!("\r\n {json}\n\0\0").as_bytes());
    let deep = format!(r#""more":{}{},"#, "[".repeat(1000), "]".repeat(1000));
    for more in [
        &*deep,
        r#""more":1e999,"error":{"code":1e999},"x":"\ud800","y":"\"refresh_token\":","#,
        r#""expires_in":7,"refreshToken":"b","a":{"refresh_token":"b"},"#,
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
    let form = "access_token=%61&expires_in=3600&refresh_token=7&scope=repo%2Cgist&token_type=bearer&error=";
    for content_type in ["application/x-www-form-urlencoded; charset=utf-8", "text/plain", ""] {
        check(content_type, form.as_bytes());
        check(content_type, format!("{form}\r\n").as_bytes());
    }
    let wide: Vec<u8> = form.encode_utf16().flat_map(u16::to_le_bytes).collect();
    check("application/x-www-form-urlencoded; charset=utf-16le", &wide);
}

/// A refresh token is no header value: it may have any visible character, and spaces (RFC 6749, appendix A.17).
#[test]
fn every_legal_refresh_token_is_taken() {
    let all: String = (' '..='~').collect();
    for token in [all, " r ".into(), "R".repeat(9000), "R".repeat(64 << 10)] {
        let body = serde_json::json!({ "access_token": "a", "refresh_token": token }).to_string();
        assert_eq!(granted(&body), Ok(("a".into(), token, DEFAULT_LIFETIME_MS)));
    }
    for token in ["r\n".into(), "\u{7f}".into(), "\u{fc}".into(), "R".repeat((64 << 10) + 1)] {
        let body = serde_json::json!({ "access_token": "a", "refresh_token": token }).to_string();
        let problem = "contains a refresh token that is too long or has a forbidden character";
        check_kept(answer(200, &body), &login("a", "old", DEFAULT_LIFETIME_MS), problem);
    }
}

fn login(access: &str, refresh: &str, lasts_ms: u64) -> NewTokens {
    NewTokens::Login(StoredCredential::OAuth {
        access_token: Secret::new(access),
        refresh_token: Some(Secret::new(refresh)),
        expires_at_ms: Some(NOW_MS + lasts_ms),
    })
}

/// The answer is kept, whatever is used of it.
fn check_kept(received: ReceivedAnswer, tokens: &NewTokens, problem: &str) {
    let kept = UnreadAnswer {
        received_at_ms: NOW_MS,
        problem: problem.to_owned(),
        spent: digest(&Secret::new("old")),
        answer: received.clone(),
    };
    let granted = interpret(received, &Secret::new("old"), NOW_MS);
    let shown = String::from_utf8_lossy(&kept.answer.body).into_owned();
    assert_eq!(granted, Ok(Grant { tokens: tokens.clone(), unread: Some(kept) }), "{shown}");
}

/// Answers of which nothing is used: they are kept.
#[test]
fn an_answer_that_is_not_understood_is_handed_on_whole() {
    let check = |received: ReceivedAnswer, expected: &'static str| {
        check_kept(received, &NewTokens::Nothing(TokenEndpointError::InvalidResponse(expected)), expected);
    };
    let with = |change: fn(&mut ReceivedAnswer)| {
        let mut answer = answer(200, r#"{"access_token":"a","refresh_token":"r"}"#);
        change(&mut answer);
        answer
    };
    let coded =
        |coding: &str| ReceivedAnswer { content_encoding: coding.into(), ..answer(200, "\u{1}compressed") };
    check(coded("identity, br"), "has a content coding that is not understood");
    check(coded("zstd"), "has a content coding that is not understood");
    check(coded("GZIP"), "has a broken content coding");
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
    for token in ["[1]", "{\"a\":1}", "-1", "1.5", "true", "1e400"] {
        check(answer(200, &format!(r#"{{"access_token":{token}}}"#)), "contains no access token");
    }
    check(answer(200, r#"{"data":{"access_token":"a","refresh_token":"r"}}"#), "contains no access token");
    check(answer(200, r#"{"accessToken":"a","refreshToken":"r"}"#), "contains no access token");
    for status in [302, 400, 500] {
        let answer = answer(status, r#"{"access_token":"a","refresh_token":"r"}"#);
        check(answer, "contains an access token, but its status is no success");
    }
    // A document that is complete is used, though its connection broke.
    let granted = interpret(with(|answer| answer.incomplete = Some("is cut")), &Secret::new("old"), NOW_MS);
    assert_eq!(granted.unwrap().unread, None);
}

/// A token that is valid is used, though the other one is not where the standard puts it.
#[test]
fn an_answer_is_kept_though_its_access_token_is_used() {
    let check = |body: &str, problem: &str| {
        check_kept(answer(200, body), &login("a", "old", DEFAULT_LIFETIME_MS), problem);
    };
    let odd = "contains a refresh token that is no text";
    for token in ["[1]", "{\"a\":1}", "-1", "1.5", "true", "1e400", "123456789012345678901234567890"] {
        check(&format!(r#"{{"access_token":"a","refresh_token":{token}}}"#), odd);
    }
    let stray = "contains a refresh token in an unexpected place";
    for other in [
        r#""data":{"refresh_token":"r"}"#,
        r#""refreshToken":"r""#,
        r#""Refresh-Token":"r""#,
        r#""new_refresh_token":"r","refresh_token":null"#,
        r#""refresh":{"token":"r"}"#,
        r#""a":[[{"b":{"REFRESH_TOKEN":"r"}}]],"refresh_token":"""#,
        r#""refresh\u005ftoken\u0073":"r","refreshT\u006fken":"r""#,
    ] {
        check(&format!(r#"{{"access_token":"a",{other}}}"#), stray);
    }
    let form = ReceivedAnswer { content_type: String::new(), ..answer(200, "access_token=a&refreshToken=r") };
    check_kept(form, &login("a", "old", DEFAULT_LIFETIME_MS), stray);
}

#[test]
fn other_fields_are_no_refresh_tokens() {
    for other in [
        r#""refresh_token_expires_in":15811200"#,
        r#""refresh_expires_in":1800,"refresh":true"#,
        r#""refreshToken":null,"data":{"refresh_token":""}"#,
        r#""scope":"refresh_token:","id_token":"\"refresh_token\":\"r\"""#,
    ] {
        let body = format!(r#"{{"access_token":"a",{other}}}"#);
        assert_eq!(granted(&body), Ok(("a".into(), "old".into(), DEFAULT_LIFETIME_MS)), "{body}");
    }
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
    check("", r#"{"error":{"code":"Rate_Limit_Exceeded"}}"#, TokenEndpointError::Temporary);
}

/// An error that ends no login, or that has tokens beside it, may be part of a success.
#[test]
fn an_error_with_more_content_is_kept() {
    let problem = "reports an error, and may hold more than that";
    for body in [
        r#"{"error":"none","data":{"access_token":"a","refresh_token":"r"}}"#,
        r#"{"error":"invalid_grant","data":{"refresh_token":"r"}}"#,
        r#"{"error":"slow_down","accessToken":"a"}"#,
        r#"{"error":"canary"}"#,
    ] {
        let nothing = NewTokens::Nothing(TokenEndpointError::InvalidResponse(problem));
        check_kept(answer(200, body), &nothing, problem);
    }
    for error in ["\"none\"", "\"invalid_grant\"", "false", "{\"code\":\"ok\"}", "1e400"] {
        let body = format!(r#"{{"error":{error},"access_token":"a","refresh_token":"r"}}"#);
        assert_eq!(granted(&body), Ok(("a".into(), "r".into(), DEFAULT_LIFETIME_MS)), "{body}");
    }
}

#[test]
fn a_rotated_refresh_token_is_kept_without_an_access_token() {
    let check = |access: &str, why: &'static str| {
        let body = format!(r#"{{{access}"refresh_token":"r","expires_in":60}}"#);
        let tokens = NewTokens::RefreshToken(Secret::new("r"), TokenEndpointError::InvalidResponse(why));
        check_kept(answer(200, &body), &tokens, why);
    };
    check("", "contains no access token");
    check(r#""access_token":"","#, "contains no access token");
    let unsendable = "contains an access token that is no valid header value";
    check(r#""access_token":"a b","#, unsendable);
    check(&format!(r#""access_token":"{}","#, "a".repeat(8193)), unsendable);
}

/// Only codes that end a login end it (RFC 6749, section 5.2). After others, the refresh is tried again.
#[test]
fn only_known_codes_end_a_login() {
    let check = |status: u16, code: &str, expected: TokenEndpointError| {
        for body in [
            format!(r#"{{"error":"{code}"}}"#),
            format!(r#"{{"error":{{"code":"{code}","message":"canary"}}}}"#),
            format!(r#"{{"error":{{"code":null,"type":"{code}"}}}}"#),
        ] {
            let outcome = interpret(answer(status, &body), &Secret::new("old"), NOW_MS);
            assert_eq!(outcome, Err(expected), "{body}");
        }
        let form = ReceivedAnswer { content_type: String::new(), ..answer(status, &format!("error={code}")) };
        assert_eq!(interpret(form, &Secret::new("old"), NOW_MS), Err(expected), "{code}");
    };
    for code in [
        "invalid_grant",
        "Invalid_Grant",
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "refresh_token_reused",
        "interaction_required",
    ] {
        for status in [400, 401, 403] {
            check(status, code, TokenEndpointError::Rejected);
        }
        check(429, code, TokenEndpointError::Status(429));
    }
    for code in [
        "rate_limit_exceeded",
        "slow_down",
        "temporarily_unavailable",
        "forbidden",
        "timeout",
        "server_error",
        "invalid_request",
        "invalid_scope",
        "access_denied",
        "invalid_request_error",
        "something_new",
    ] {
        for status in [400, 401, 403] {
            check(status, code, TokenEndpointError::Status(status));
        }
    }
}

#[test]
fn error_responses_and_invalid_bodies_grant_nothing() {
    let check = |status: u16, body: &str, expected: &str| {
        let error = match interpret(answer(status, body), &Secret::new("old"), NOW_MS) {
            Err(error) => error,
            Ok(Grant { tokens: NewTokens::Nothing(error), unread: Some(unread) }) => {
                assert_eq!(unread.answer, answer(status, body));
                error
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
    let unsendable = "the token endpoint's response contains an access token that is no valid header value";
    check(200, r#"{"access_token":"a\nb"}"#, unsendable);
}
