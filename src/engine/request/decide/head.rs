//! HTTP that a proxy can pass on without guessing: framing and `Host` (RFC 9112, sections 3.2 and 6.1).

use http::{HeaderValue, Method, Version, header, request::Parts};

use crate::base::{
    fault::{Fault, FaultKind},
    origin::is_host,
};

/// Refuses a head that two servers could read differently.
pub(super) fn check(head: &Parts) -> Result<(), Fault> {
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

fn malformed(message: &'static str) -> Fault {
    Fault::new(FaultKind::MalformedRequest, message)
}

/// The length of the request's body as its head announces it; 0 if it does not.
pub fn body_bytes(head: &Parts) -> u64 {
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or(0)
}
