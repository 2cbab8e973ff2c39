//! Validates the head of a response before it is relayed (RFC 9112, section 6). hyper already refuses conflicting or
//! invalid `Content-Length`s where it needs them for framing.
//!
//! It never reads a body.

use std::time::Duration;

use http::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING},
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Refuses a response with ambiguous framing (response splitting), and merges equal `Content-Length`s. The error is a
/// fragment.
pub(super) fn check<B>(answer: &mut Response<B>) -> Result<(), &'static str> {
    match answer.status() {
        // RFC 9110, section 15: invalid, and clients fail on it in their own ways.
        status if status.as_u16() > 599 => Err("its status is above 599"),
        StatusCode::SWITCHING_PROTOCOLS => Err("it switches protocols without being asked to"),
        // A 204 has no body, whatever its headers announce.
        StatusCode::NO_CONTENT => {
            answer.headers_mut().remove(CONTENT_LENGTH);
            answer.headers_mut().remove(TRANSFER_ENCODING);
            Ok(())
        }
        _ => check_framing(answer.headers_mut()),
    }
}

fn check_framing(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(first) = codings.next() {
        // hyper would decode the last `chunked` and return what is under it as the content.
        if codings.next().is_some() || !first.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("its transfer encoding is not `chunked` alone");
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return Err("it has both a content length and a transfer encoding");
        }
    }
    merge_lengths(headers)
}

/// The upstream's keep-alive timeout, less one second: a request that crosses the closing of its connection is lost.
pub(super) fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    Some(Duration::from_secs(seconds.trim().parse::<u64>().ok()?.saturating_sub(1)))
}

/// `5, 5` or two lines `5` become one `5`, and `005` becomes `5`: a client might read it as octal.
fn merge_lengths(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut length = None;
    let mut is_plain = true;
    for value in headers.get_all(CONTENT_LENGTH) {
        for part in value.as_bytes().split(|byte| *byte == b',') {
            let part = part.trim_ascii();
            let found = parse_length(part).ok_or("its content length is not a number")?;
            let is_first = length.is_none();
            if *length.get_or_insert(found) != found {
                return Err("its content lengths differ");
            }
            is_plain &= is_first && (part == b"0" || !part.starts_with(b"0"));
        }
    }
    match length {
        Some(length) if !is_plain => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
        Some(_) | None => {}
    }
    Ok(())
}

fn parse_length(digits: &[u8]) -> Option<u64> {
    // `u64::from_str` would accept a sign.
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_connections_are_kept() {
        let check = |value: &'static str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(KEEP_ALIVE, HeaderValue::from_static(value))]);
            assert_eq!(keep_alive_timeout(&headers), expected.map(Duration::from_secs), "{value}");
        };
        check("timeout=5", Some(4));
        check("timeout=5, max=100", Some(4));
        check("max=100,timeout=60", Some(59));
        check("timeout=0", Some(0));
        check("timeout=", None);
        check("timeout=-1", None);
        check("max=100", None);
        assert_eq!(keep_alive_timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn heads() {
        let check = |status: u16, headers: &[(&str, &str)], expected: Result<Option<&str>, ()>| {
            let mut answer = Response::builder().status(status);
            for (name, value) in headers {
                answer = answer.header(*name, *value);
            }
            let mut answer = answer.body(()).unwrap();
            let found = check(&mut answer).map_err(drop).map(|()| {
                let lengths: Vec<_> = answer.headers().get_all(CONTENT_LENGTH).iter().collect();
                assert!(lengths.len() <= 1, "{headers:?}");
                lengths.first().map(|value| value.to_str().unwrap())
            });
            assert_eq!(found, expected, "{status} {headers:?}");
        };
        let (cl, te) = ("content-length", "transfer-encoding");
        check(200, &[], Ok(None));
        check(200, &[(cl, "5")], Ok(Some("5")));
        check(200, &[(cl, "5"), (cl, "5")], Ok(Some("5")));
        check(200, &[(cl, "5, 5")], Ok(Some("5")));
        check(200, &[(cl, "0")], Ok(Some("0")));
        check(200, &[(cl, "002")], Ok(Some("2")));
        check(200, &[(cl, "00")], Ok(Some("0")));
        check(200, &[(cl, "5, 05")], Ok(Some("5")));
        check(200, &[(cl, "10")], Ok(Some("10")));
        check(599, &[(cl, "5")], Ok(Some("5")));
        check(600, &[(cl, "5")], Err(()));
        check(999, &[], Err(()));
        check(200, &[(cl, "5"), (cl, "6")], Err(()));
        check(200, &[(cl, "5,6")], Err(()));
        check(200, &[(cl, "+5")], Err(()));
        check(200, &[(cl, "")], Err(()));
        check(304, &[(cl, "x")], Err(()));
        check(304, &[(cl, "9")], Ok(Some("9")));
        check(204, &[(cl, "9")], Ok(None));
        check(204, &[(te, "chunked")], Ok(None));
        check(200, &[(te, "chunked")], Ok(None));
        check(200, &[(te, "Chunked")], Ok(None));
        check(200, &[(te, "gzip, chunked")], Err(()));
        check(200, &[(te, "identity")], Err(()));
        check(200, &[(te, "chunked"), (te, "chunked")], Err(()));
        check(200, &[(te, "chunked"), (cl, "5")], Err(()));
        check(101, &[], Err(()));
        check(302, &[], Ok(None));
    }
}
