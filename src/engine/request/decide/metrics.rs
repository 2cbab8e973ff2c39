//! Access to the metrics: open at the admin listener, and to programs of this machine; else with an admin token.
//!
//! A proxy on this machine connects from loopback as well, for clients of anywhere. So a request is open only if nothing in it
//! comes from a proxy or a browser: see [`is_direct`].

use std::net::IpAddr;

use http::{HeaderValue, Version, header, request::Parts, uri::Authority};

use super::{ListenerRole, TokenOf};
use crate::base::{fault::Fault, secret::Secret};

/// A request for the metrics, before its token is authenticated, if it needs one.
#[derive(Debug)]
pub struct MetricsCall<'r> {
    head: &'r Parts,
    token: Option<Secret>,
    listener: ListenerRole,
}

impl<'r> MetricsCall<'r> {
    pub(super) const fn new(head: &'r Parts, token: Option<Secret>, listener: ListenerRole) -> Self {
        Self { head, token, listener }
    }

    /// True if it needs no token. `from_loopback`: the connection comes from a loopback address, and from none that the
    /// settings name as a proxy's.
    pub fn is_open(&self, from_loopback: bool) -> bool {
        match self.listener {
            ListenerRole::Admin => true,
            ListenerRole::All | ListenerRole::Public => from_loopback && is_direct(self.head),
        }
    }

    /// The token to authenticate, if it is not open.
    pub fn token(&self) -> Result<&Secret, Fault> {
        self.token.as_ref().ok_or_else(|| TokenOf::Admin.missing())
    }
}

/// True if no proxy and no page in a browser took part: no header but those of scrapers, since proxies and browsers add
/// headers of names without end; a `Host` of this machine (the name of a page's own server can be made to resolve to
/// loopback); and no HTTP/1.0, which some proxies speak while they add no header.
fn is_direct(head: &Parts) -> bool {
    head.version > Version::HTTP_10
        && head.headers.keys().all(|name| is_of_a_scraper(name.as_str()))
        && head.headers.get(header::HOST).is_some_and(is_of_this_machine)
        && head.uri.authority().is_none_or(|authority| is_loopback(authority.host()))
}

/// True for the headers that Prometheus, its agents and `curl` send.
fn is_of_a_scraper(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "user-agent"
            | "accept"
            | "accept-encoding"
            | "accept-language"
            | "accept-charset"
            | "connection"
            | "keep-alive"
            | "authorization"
    ) || name.starts_with("x-prometheus-")
}

fn is_of_this_machine(host: &HeaderValue) -> bool {
    let authority: Option<Authority> = host.to_str().ok().and_then(|host| host.parse().ok());
    authority.is_some_and(|authority| is_loopback(authority.host()))
}

fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const LOOPBACK: &str = "Host: 127.0.0.1:8787";

    fn check(listener: ListenerRole, from_loopback: bool, version: Version, lines: &[&str], expected: bool) {
        let mut request = Request::builder().uri("/metrics").version(version);
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let call = MetricsCall::new(&head, None, listener);
        assert_eq!(
            call.is_open(from_loopback),
            expected,
            "{listener:?} {from_loopback} {version:?} {lines:?}"
        );
    }

    #[test]
    fn the_admin_listener_asks_for_no_token() {
        for from_loopback in [true, false] {
            check(ListenerRole::Admin, from_loopback, Version::HTTP_11, &["Host: gateway.test"], true);
        }
        check(ListenerRole::Admin, true, Version::HTTP_10, &["X-Forwarded-For: 192.0.2.1"], true);
    }

    #[test]
    fn programs_of_this_machine_need_no_token() {
        for host in [
            LOOPBACK,
            "Host: localhost",
            "Host: LOCALHOST:8787",
            "Host: [::1]:8787",
            "Host: [::ffff:127.0.0.1]",
        ] {
            check(ListenerRole::All, true, Version::HTTP_11, &[host], true);
            check(ListenerRole::All, false, Version::HTTP_11, &[host], false);
        }
        let scrape = [
            LOOPBACK,
            "User-Agent: Prometheus/3.0.0",
            "Accept: application/openmetrics-text;version=1.0.0",
            "Accept-Encoding: gzip",
            "Connection: keep-alive",
            "X-Prometheus-Scrape-Timeout-Seconds: 10",
        ];
        check(ListenerRole::All, true, Version::HTTP_11, &scrape, true);
        check(ListenerRole::All, true, Version::HTTP_2, &[LOOPBACK], true);
    }

    #[test]
    fn a_proxy_and_a_browser_on_this_machine_are_no_such_programs() {
        for line in [
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Host: localhost",
            "x_forwarded_for: 127.0.0.1",
            "Forwarded: for=127.0.0.1",
            "X-Real-IP: 127.0.0.1",
            "Via: 1.1 proxy",
            "CF-Connecting-IP: 192.0.2.1",
            "X-Envoy-External-Address: 192.0.2.1",
            "Origin: http://localhost",
            "Referer: http://localhost/",
            "Sec-Fetch-Site: cross-site",
            "WL-Proxy-Client-IP: 192.0.2.1",
            "X-Vercel-Forwarded-For: 192.0.2.1",
            "X-True-IP: 192.0.2.1",
            "X-Original-Host: gateway.test",
            "X-Ssl-Client-Verify: SUCCESS",
            "X-Varnish: 1",
            "Surrogate-Capability: a=b",
            "X-Prometheus: 1",
            "Any-Other: 1",
        ] {
            check(ListenerRole::All, true, Version::HTTP_11, &[LOOPBACK, line], false);
        }
        for host in
            ["gateway.test", "127.0.0.1.attacker.test", "localhost.attacker.test", "192.0.2.1", "127.1"]
        {
            check(ListenerRole::All, true, Version::HTTP_11, &[&format!("Host: {host}")], false);
        }
        check(ListenerRole::All, true, Version::HTTP_11, &[], false);
        check(ListenerRole::All, true, Version::HTTP_10, &[LOOPBACK], false);
    }
}
