//! Where a request came from: the connection's other end, or what trusted proxies tell of theirs. A header
//! counts only if a trusted proxy sent it, and only as far as trusted proxies wrote it.
//!
//! Pure: it looks at what it is given, and knows no socket.

use std::{
    net::{IpAddr, SocketAddr},
    str,
};

use http::HeaderMap;
use ipnet::IpNet;

/// Each proxy appends the address that it was called from.
const FORWARDED: &str = "x-forwarded-for";

/// The rightmost address on the way here that is no trusted proxy; the peer, where that cannot be told. If all
/// are trusted, it is the one farthest away.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    told(headers, is_trusted).unwrap_or(peer)
}

/// What lies further left than the answer is whatever a client wrote, and not looked at.
fn told(headers: &HeaderMap, is_trusted: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let mut farthest = None;
    for line in headers.get_all(FORWARDED).iter().rev() {
        for hop in line.as_bytes().rsplit(|byte| *byte == b',') {
            let address = hop_address(hop)?;
            if !is_trusted(&address) {
                return Some(address);
            }
            farthest = Some(address);
        }
    }
    farthest
}

/// An address; some proxies write a port behind it, and then brackets around one of version 6.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(hop).ok()?.trim_matches([' ', '\t']);
    let bare = || text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(peer: &str, lines: &[&[u8]], trusted: &str, expected: &str) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED, HeaderValue::from_bytes(line).unwrap());
        }
        let trusted: Vec<IpNet> = trusted.split_whitespace().map(|net| net.parse().unwrap()).collect();
        let got = address(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(got.to_string(), expected, "{peer} {lines:?} {trusted:?}");
    }

    #[test]
    fn without_trust_a_header_says_nothing() {
        check("192.0.2.1", &[b"203.0.113.9"], "", "192.0.2.1");
        check("192.0.2.1", &[b"203.0.113.9"], "10.0.0.0/8", "192.0.2.1");
        check("2001:db8::1", &[b"203.0.113.9"], "::/128 0.0.0.0/0", "2001:db8::1");
        check("::ffff:192.0.2.1", &[], "", "192.0.2.1");
    }

    #[test]
    fn the_rightmost_address_that_is_no_trusted_proxy_counts() {
        let nets = "10.0.0.0/8 2001:db8::/32 127.0.0.1/32";
        check("10.0.0.1", &[b"203.0.113.9"], nets, "203.0.113.9");
        check("::ffff:10.0.0.1", &[b"203.0.113.9"], nets, "203.0.113.9");
        check("10.0.0.1", &[b"198.51.100.7, 203.0.113.9"], nets, "203.0.113.9");
        check("10.0.0.1", &[b"198.51.100.7,203.0.113.9 ,\t10.1.2.3"], nets, "203.0.113.9");
        check("2001:db8::1", &[b"10.9.9.9, 2001:db9::5, 10.0.0.2, 2001:db8::2"], nets, "2001:db9::5");
        check("10.0.0.1", &[b"198.51.100.7", b"203.0.113.9", b"10.0.0.2"], nets, "203.0.113.9");
        check("127.0.0.1", &[b"::ffff:203.0.113.9"], nets, "203.0.113.9");
        check("10.0.0.1", &[b"::ffff:10.0.0.7"], nets, "10.0.0.7");
        check("10.0.0.1", &[b"10.0.0.3, 10.0.0.2"], nets, "10.0.0.3");
    }

    #[test]
    fn ports_are_left_off() {
        let nets = "10.0.0.0/8";
        check("10.0.0.1", &[b"203.0.113.9:4711"], nets, "203.0.113.9");
        check("10.0.0.1", &[b"[2001:db8::9]:4711"], nets, "2001:db8::9");
        check("10.0.0.1", &[b"[2001:db8::9]"], nets, "2001:db8::9");
    }

    #[test]
    fn what_is_no_address_leads_to_the_peer() {
        let nets = "10.0.0.0/8";
        let texts: [&[u8]; 10] = [
            b"",
            b",",
            b"unknown",
            b"203.0.113.9, ",
            b"203.0.113.9, _hidden",
            b"203.0.113.9;10.0.0.2",
            b"203.0.113.256",
            b"[203.0.113.9",
            b"\xff",
            b"fe80::1%eth0",
        ];
        for text in texts {
            check("10.0.0.1", &[text], nets, "10.0.0.1");
        }
        check("10.0.0.1", &[], nets, "10.0.0.1");
        // What a client wrote before the proxy's own word changes nothing.
        for text in [&b"unknown, 203.0.113.9"[..], b"\xff, 203.0.113.9", b",,203.0.113.9"] {
            check("10.0.0.1", &[text], nets, "203.0.113.9");
        }
    }
}
