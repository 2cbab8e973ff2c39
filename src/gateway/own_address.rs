//! The address by which a client called tollgate, for URLs that it is to follow.
//!
//! `Host` is the client's own, and the URL goes to that client alone. But whether TLS ended before tollgate is not in it, and
//! a client must not follow an `https` call over plain HTTP with its token: where that is not known, there is no address. It
//! is known where the listener itself takes TLS.

use http::{HeaderMap, header};

use super::InFlight;
use crate::origin::Origin;

/// The address: that of the settings, else the host of the request if its scheme is known.
pub(super) fn find(request: InFlight<'_>) -> Option<Origin> {
    let InFlight { worker, head, .. } = request;
    if let Some(origin) = &worker.public_url {
        return Some(origin.clone());
    }
    of_host(&head.headers, request.is_from_proxy(), worker.is_tls)
}

/// The host of a request, with the scheme that a trusted proxy names. Nobody ends TLS before a loopback host, unless a proxy
/// says so.
fn of_host(headers: &HeaderMap, is_from_proxy: bool, is_tls: bool) -> Option<Origin> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let mut protocols = headers.get_all("x-forwarded-proto").iter();
    let scheme = match (protocols.next().filter(|_| is_from_proxy), protocols.next()) {
        (Some(protocol), None) if protocol == "https" => "https",
        (Some(protocol), None) if protocol == "http" => "http",
        (None, _) if is_tls => "https",
        (None, _) if !is_from_proxy => "http",
        (None | Some(_), _) => return None,
    };
    let url = format!("{scheme}://{host}");
    let (origin, _) = Origin::split(&url).ok().filter(|(_, rest)| rest.is_empty())?;
    let is_loopback = origin.host() == "localhost" || origin.ip().is_some_and(|ip| ip.is_loopback());
    (is_from_proxy || is_loopback || is_tls).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_known_scheme() {
        let check = |host: &str, protocols: &[&str], is_from_proxy, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            for protocol in protocols {
                headers.append("x-forwarded-proto", protocol.parse().unwrap());
            }
            let found = of_host(&headers, is_from_proxy, false).map(|origin| origin.to_string());
            assert_eq!(found.as_deref(), expected, "{host} {protocols:?} {is_from_proxy}");
            // What a trusted proxy says counts also where it calls over TLS.
            let found = of_host(&headers, is_from_proxy, true).map(|origin| origin.to_string());
            let over_tls = format!("https://{host}");
            let expected = if is_from_proxy && !protocols.is_empty() { expected } else { Some(&*over_tls) };
            assert_eq!(found.as_deref(), expected, "{host} {protocols:?} {is_from_proxy} over TLS");
        };
        check("127.0.0.1:8787", &[], false, Some("http://127.0.0.1:8787"));
        check("[::1]:8787", &[], false, Some("http://[::1]:8787"));
        check("localhost", &[], false, Some("http://localhost"));
        check("localhost", &["https"], false, Some("http://localhost"));
        check("gate.example", &[], false, None);
        check("gate.example", &["https"], false, None);
        check("10.0.0.1:8787", &[], false, None);
        check("gate.example", &["https"], true, Some("https://gate.example"));
        check("gate.example:8080", &["http"], true, Some("http://gate.example:8080"));
        check("gate.example", &["https, http"], true, None);
        check("gate.example", &["https", "http"], true, None);
        check("gate.example", &[], true, None);
        check("a@gate.example", &["https"], true, None);
        check("gate.example/x", &["https"], true, None);
    }
}
