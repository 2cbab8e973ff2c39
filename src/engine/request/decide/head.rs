//! HTTP that a proxy can pass on without guessing: framing and `Host` (RFC 9112, sections 3.2 and 6.1; RFC 9113, sections
//! 8.2 and 8.3).
//!
//! The library of HTTP/2 refuses the rest before: headers of a connection, pseudo-headers out of place, a body of another
//! length than announced.

use http::{HeaderValue, Method, Version, header, request::Parts};

use crate::base::{
    fault::{Fault, FaultKind},
    origin::is_host,
};

/// The most header fields of a request, and of an upstream's response.
pub const MAX_FIELDS: usize = 256;

/// What a field counts besides its name and value.
const FIELD_BYTES: usize = 32;

/// Refuses a head that two servers could read differently, and one with too many fields, or more than `max` bytes.
pub(super) fn check(head: &Parts, max: usize) -> Result<(), Fault> {
    // The parser of HTTP/1.1 has counted the bytes itself.
    if head.headers.len() > MAX_FIELDS || head.version == Version::HTTP_2 && list_size(head) > max {
        return Err(too_large());
    }
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        // hyper decodes the last `chunked` and takes the rest for the body, whatever it is coded with.
        return Err(malformed("The request's transfer encoding is not `chunked` alone"));
    }
    if head.method == Method::CONNECT {
        return Err(malformed("CONNECT is not served here"));
    }
    if head.version == Version::HTTP_2 {
        check_http2(head)?;
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let is_good = |host: &HeaderValue| host.to_str().is_ok_and(is_host);
    match (hosts.next(), hosts.next()) {
        (None, None) if head.version <= Version::HTTP_10 => Ok(()),
        (Some(host), None) if is_good(host) => Ok(()),
        (None, None) => Err(malformed("The request has no Host header")),
        (Some(_), None) => Err(malformed("The request's Host header is malformed")),
        (_, Some(_)) => Err(malformed("The request has more than one Host header")),
    }
}

/// The size of the list of headers (RFC 9113, section 6.5.2). `Host` is in place of `:authority`.
fn list_size(head: &Parts) -> usize {
    let field = |name: usize, value: usize| name + value + FIELD_BYTES;
    let path = head.uri.path_and_query().map_or(1, |path| path.as_str().len());
    let scheme = head.uri.scheme_str().map_or(0, |scheme| field(":scheme".len(), scheme.len()));
    let pseudo = field(":method".len(), head.method.as_str().len()) + field(":path".len(), path) + scheme;
    let fields = head.headers.iter().map(|(name, value)| field(name.as_str().len(), value.len()));
    pseudo + fields.sum::<usize>()
}

/// What HTTP/1.1 cannot express, or its parser refuses. The server adds `Host` where there is none, from `:authority`.
fn check_http2(head: &Parts) -> Result<(), Fault> {
    let has_space_around = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        [bytes.first(), bytes.last()].into_iter().flatten().any(|byte| matches!(byte, b' ' | b'\t'))
    };
    if head.headers.values().any(has_space_around) {
        return Err(malformed("A header of the request begins or ends with a space"));
    }
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    let is_number = |length: &HeaderValue| {
        let digits = length.as_bytes();
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    };
    if lengths.next().is_some_and(|length| lengths.next().is_some() || !is_number(length)) {
        return Err(malformed("The request's Content-Length is not one number"));
    }
    let is_called = |host: &HeaderValue| {
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        authority.is_none_or(|authority| authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()))
    };
    if !head.headers.get_all(header::HOST).iter().all(is_called) {
        return Err(malformed("The request's Host header differs from its :authority"));
    }
    let path = head.uri.path();
    let is_of_server = path == "*" && head.method == Method::OPTIONS;
    if !path.starts_with('/') && !is_of_server {
        return Err(malformed("The request's :path does not begin with `/`"));
    }
    Ok(())
}

/// The fault of a head with more fields or bytes than one may have.
pub fn too_large() -> Fault {
    let message = format!(
        "The head of the request is too large: it may have {MAX_FIELDS} header fields, and as many bytes as \
         this tollgate is set up for (`max_head`)"
    );
    Fault::new(FaultKind::HeadTooLarge, message)
}

/// The fault of a request that is not valid HTTP.
pub fn not_http() -> Fault {
    malformed("The request is not valid HTTP/1.1")
}

fn malformed(message: &'static str) -> Fault {
    Fault::new(FaultKind::MalformedRequest, message)
}

/// The length of the request's body as its head announces it; 0 if it does not.
pub fn body_bytes(head: &Parts) -> u64 {
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check_http2(uri: &str, lines: &[(&str, &str)], expected: Result<(), &str>) {
        let mut request = Request::builder().version(Version::HTTP_2).uri(uri);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        match (check(&head, usize::MAX), expected) {
            (Ok(()), Ok(())) => {}
            (Err(fault), Err(part)) => assert!(fault.message.contains(part), "{}, not {part}", fault.message),
            (found, expected) => panic!("{uri} {lines:?}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn the_size_of_a_list_of_headers_is_bounded() {
        let check = |version: Version, bytes: usize, expected: bool| {
            let request =
                Request::builder().version(version).uri("https://a.example/t/get?q").header("x-a", "b");
            let (head, ()) = request.header("host", "a.example").body(()).unwrap().into_parts();
            assert_eq!(super::check(&head, bytes).is_ok(), expected, "{version:?} {bytes}");
        };
        // `:method` GET, `:path` /t/get?q, `:scheme` https, `x-a` b, `host` a.example.
        let size = (7 + 3) + (5 + 8) + (7 + 5) + (3 + 1) + (4 + 9) + 5 * 32;
        check(Version::HTTP_2, size, true);
        check(Version::HTTP_2, size - 1, false);
        check(Version::HTTP_11, size - 1, true);
    }

    #[test]
    fn http2_is_as_strict_as_the_parser_of_http1() {
        const HOST: (&str, &str) = ("host", "a.example");
        const URI: &str = "https://a.example/t/get";
        check_http2(URI, &[HOST], Ok(()));
        check_http2(URI, &[("host", "A.example")], Ok(()));
        check_http2("/t/get", &[HOST], Ok(()));
        check_http2(URI, &[HOST, ("x", "a b"), ("y", "")], Ok(()));
        check_http2(URI, &[], Err("has no Host header"));
        check_http2(URI, &[("host", "b.example")], Err("differs from its :authority"));
        check_http2(URI, &[("host", "a.example:443")], Err("differs from its :authority"));
        check_http2(URI, &[HOST, HOST], Err("more than one Host header"));
        check_http2("https://a@b.example/", &[("host", "a@b.example")], Err("Host header is malformed"));
        check_http2(URI, &[HOST, ("x", " a")], Err("begins or ends with a space"));
        check_http2(URI, &[HOST, ("x", "a\t")], Err("begins or ends with a space"));
        check_http2(URI, &[HOST, ("content-length", "5")], Ok(()));
        for lengths in [&["5", "5"][..], &["5", "6"], &["5, 5"], &["+5"], &[""], &["5.0"]] {
            let lengths = lengths.iter().map(|length| ("content-length", *length));
            let lines: Vec<_> = [HOST].into_iter().chain(lengths).collect();
            check_http2(URI, &lines, Err("is not one number"));
        }
    }
}
