//! The client's address: the peer of the connection, or behind trusted proxies the address in `X-Forwarded-For`. The
//! header counts only if a trusted proxy sent it, and only as far as trusted proxies wrote it.
//!
//! Pure: knows no socket.

use std::{
    net::{IpAddr, SocketAddr},
    str,
};

use http::HeaderMap;
use ipnet::IpNet;

/// Each proxy appends the address of its own peer.
const FORWARDED: &str = "x-forwarded-for";

/// The rightmost address that is no trusted proxy's. If all are trusted, the leftmost; if the header is malformed, the
/// peer.
pub(super) fn find(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    forwarded(headers, is_trusted).unwrap_or(peer)
}

/// Stops at the first address that is not trusted: what lies further left was written by the client.
fn forwarded(headers: &HeaderMap, is_trusted: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
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

/// An address. Some proxies append a port, and then put IPv6 addresses in brackets.
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
        let got = find(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(got.to_string(), expected, "{peer} {lines:?} {trusted:?}");
    }

    #[test]
    fn the_header_of_an_untrusted_peer_does_not_count() {
        check("192.0.2.1", &[b"203.0.113.9"], "", "192.0.2.1");
        check("192.0.2.1", &[b"203.0.113.9"], "10.0.0.0/8", "192.0.2.1");
        check("2001:db8::1", &[b"203.0.113.9"], "::/128 0.0.0.0/0", "2001:db8::1");
        check("::ffff:192.0.2.1", &[], "", "192.0.2.1");
    }

    #[test]
    fn the_rightmost_untrusted_address_counts() {
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
    fn ports_are_removed() {
        let nets = "10.0.0.0/8";
        check("10.0.0.1", &[b"203.0.113.9:4711"], nets, "203.0.113.9");
        check("10.0.0.1", &[b"[2001:db8::9]:4711"], nets, "2001:db8::9");
        check("10.0.0.1", &[b"[2001:db8::9]"], nets, "2001:db8::9");
    }

    #[test]
    fn a_malformed_header_leads_to_the_peer() {
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
        // Text of the client's, left of the proxy's entry, changes nothing.
        for text in [&b"unknown, 203.0.113.9"[..], b"\xff, 203.0.113.9", b",,203.0.113.9"] {
            check("10.0.0.1", &[text], nets, "203.0.113.9");
        }
    }
}
