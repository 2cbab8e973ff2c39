//! The SSRF guard: the destination check of IP addresses. Every address is checked at every connect, after connect rules
//! and DNS lookup, so that DNS rebinding gains nothing.
//!
//! Link-local and metadata addresses are never allowed. Private and loopback addresses are allowed if the URL or a
//! connect rule names the address itself, or with `allow_private`; `localhost` may resolve to loopback. A name that a proxy
//! resolves is checked by its form (`check_name`). It never resolves or connects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The last labels of names that are reserved for private networks or customary there.
const PRIVATE_SUFFIXES: [&str; 9] =
    ["local", "internal", "localdomain", "lan", "home", "corp", "intranet", "private", "localhost"];

/// The kind of host that an address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostKind {
    /// The address itself, written on purpose.
    Literal,
    /// `localhost` or a name below it.
    Localhost,
    /// A name that a user entered, of a pattern of the setting `user_origins`: its operator vouches for private addresses.
    UserEntered,
    /// Any other name. Its DNS records may be under foreign control.
    Name,
}

/// Classes of addresses, from harmless to harmful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Public,
    /// Not routed on the public internet.
    Private,
    Loopback,
    /// Link-local, cloud metadata, unspecified, multicast, broadcast.
    Never,
}

/// Checks an address. The error is a fragment that names the kind of address.
pub(super) fn check(address: IpAddr, host_kind: HostKind, allow_private: bool) -> Result<(), &'static str> {
    match (class(address), host_kind) {
        (Class::Public, HostKind::Literal | HostKind::Localhost | HostKind::UserEntered | HostKind::Name)
        | (Class::Private | Class::Loopback, HostKind::Literal)
        | (Class::Private, HostKind::UserEntered)
        | (Class::Loopback, HostKind::Localhost) => Ok(()),
        (Class::Private | Class::Loopback, HostKind::Localhost | HostKind::UserEntered | HostKind::Name)
            if allow_private =>
        {
            Ok(())
        }
        (Class::Private, HostKind::Localhost | HostKind::Name) => {
            Err("a private address that nothing names and no setting allows")
        }
        (Class::Loopback, HostKind::UserEntered | HostKind::Name) => {
            Err("a loopback address that nothing names and no setting allows")
        }
        (Class::Never, HostKind::Literal | HostKind::Localhost | HostKind::UserEntered | HostKind::Name) => {
            Err("a link-local, metadata, unspecified or multicast address, which is never called")
        }
    }
}

/// Checks a name that a proxy resolves: its addresses are not known here, so that only names which are private by their form
/// can be refused. The error is a fragment that names the kind of name.
pub(super) fn check_name(host: &str, allow_private: bool) -> Result<(), &'static str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_private = match host.rsplit_once('.') {
        None => true,
        Some((front, last)) => {
            PRIVATE_SUFFIXES.contains(&last) || last == "arpa" && front.rsplit('.').next() == Some("home")
        }
    };
    if is_private && !allow_private {
        return Err("a name of a private network, which a proxy would resolve and no setting allows");
    }
    Ok(())
}

/// True if no setting and no kind of host allows the address.
pub(super) fn is_never(address: IpAddr) -> bool {
    class(address) == Class::Never
}

fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

#[expect(clippy::unnested_or_patterns, reason = "a range to a line reads like the registry")]
fn class_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        // "This network" (loopback on Linux), link-local, multicast, broadcast. Then the metadata services outside of
        // link-local: Alibaba, Azure, Oracle.
        [0, ..]
        | [169, 254, ..]
        | [224..=239, ..]
        | [255, 255, 255, 255]
        | [100, 100, 100, 200]
        | [168, 63, 129, 16]
        | [192, 0, 0, 192] => Class::Never,
        [127, ..] => Class::Loopback,
        // RFC 1918 and shared address space (RFC 6598); then the rest of the IANA special-purpose
        // registry: protocol assignments, documentation, 6to4 relays, benchmarks, reserved.
        [10, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [100, 64..=127, ..]
        | [192, 0, 0 | 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [240..=255, ..] => Class::Private,
        _ => Class::Public,
    }
}

#[expect(clippy::unnested_or_patterns, reason = "a range to a line reads like the registry")]
fn class_v6(address: Ipv6Addr) -> Class {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        class_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0]
        | [0xfe80..=0xfebf, ..]
        | [0xff00..=0xffff, ..]
        // The metadata services of AWS and of Google.
        | [0xfd00, 0x0ec2, 0, 0, ..]
        | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254]
        // Teredo: an obfuscated IPv4 address behind a foreign relay.
        | [0x2001, 0, ..] => Class::Never,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // Embedded IPv4 addresses: compatible, mapped, translated, NAT64, 6to4.
        [0, 0, 0, 0, 0 | 0xffff, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x0064, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => embedded(high, low),
        // NAT64 under a local prefix (RFC 8215).
        [0x0064, 0xff9b, 1, _, _, _, high, low] => embedded(high, low).max(Class::Private),
        // Unique local, site-local, discard, protocol assignments, documentation.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..]
        | [0x0100, 0, 0, ..]
        | [0x2001, 0x0001..=0x01ff | 0x0db8, ..]
        | [0x3fff, 0..=0x0fff, ..] => Class::Private,
        _ => Class::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let check = |expected: Class, addresses: &str| {
            for address in addresses.split_whitespace() {
                assert_eq!(class(address.parse().unwrap()), expected, "{address}");
            }
        };
        check(Class::Public, "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.169.0.1");
        check(
            Class::Public,
            "11.0.0.1 128.0.0.1 169.253.1.1 169.255.1.1 198.17.0.1 198.20.0.1 223.255.255.255",
        );
        check(
            Class::Public,
            "2606:4700::1111 2001:4860:4860::8888 64:ff9b::8.8.8.8 ::ffff:8.8.8.8 2002:808:808::1",
        );
        check(Class::Private, "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.1");
        check(Class::Private, "100.127.255.255 192.0.2.1 198.51.100.7 203.0.113.9 198.18.0.1 198.19.255.255");
        check(Class::Private, "192.0.0.1 192.88.99.1 240.0.0.1 255.255.255.254");
        check(Class::Private, "fc00::1 fd00::1 fdff::1 fec0::1 2001:db8::1 2001:2::1 3fff::1 100::1");
        check(
            Class::Private,
            "::ffff:10.0.0.1 ::10.0.0.1 64:ff9b::10.0.0.1 2002:a00:1::1 64:ff9b:1::8.8.8.8",
        );
        check(Class::Loopback, "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 64:ff9b::127.0.0.1");
        check(Class::Loopback, "64:ff9b:1::127.0.0.1 ::ffff:0:127.0.0.1 2002:7f00:1::1");
        check(Class::Never, "0.0.0.0 0.1.2.3 169.254.0.1 169.254.169.254 100.100.100.200 168.63.129.16");
        check(Class::Never, "192.0.0.192 224.0.0.1 239.255.255.255 255.255.255.255");
        check(Class::Never, ":: fe80::1 febf::1 ff02::1 ff0e::1 fd00:ec2::254 fd20:ce::254 2001::1");
        check(
            Class::Never,
            "::ffff:169.254.169.254 ::169.254.169.254 64:ff9b::169.254.169.254 ::ffff:0.0.0.0",
        );
        check(Class::Never, "64:ff9b:1::169.254.169.254 2002:a9fe:a9fe::1 ::ffff:0:169.254.169.254 ::2");
    }

    #[test]
    fn names_for_a_proxy() {
        for private in
            ["intranet", "a.local", "A.b.internal.", "router.lan", "home.arpa", "x.home.arpa", "x.corp"]
        {
            let private = private.to_ascii_lowercase();
            assert!(check_name(&private, false).is_err(), "{private}");
            assert!(check_name(&private, true).is_ok(), "{private}");
        }
        for public in
            ["api.example.test", "api.example.test.", "local.example", "1.2.0.192.in-addr.arpa", "xhome.arpa"]
        {
            assert!(check_name(public, false).is_ok(), "{public}");
        }
    }

    #[test]
    fn verdicts() {
        let check = |address: &str, host_kind: HostKind, without: bool, with: bool| {
            let address = address.parse().unwrap();
            assert_eq!(super::check(address, host_kind, false).is_ok(), without, "{address} {host_kind:?}");
            assert_eq!(
                super::check(address, host_kind, true).is_ok(),
                with,
                "{address} {host_kind:?}, private allowed"
            );
        };
        for host_kind in [HostKind::Literal, HostKind::Localhost, HostKind::UserEntered, HostKind::Name] {
            check("1.1.1.1", host_kind, true, true);
            check("169.254.169.254", host_kind, false, false);
            check("::ffff:169.254.169.254", host_kind, false, false);
        }
        check("10.0.0.1", HostKind::Literal, true, true);
        check("10.0.0.1", HostKind::Localhost, false, true);
        check("10.0.0.1", HostKind::Name, false, true);
        check("10.0.0.1", HostKind::UserEntered, true, true);
        check("127.0.0.1", HostKind::UserEntered, false, true);
        check("127.0.0.1", HostKind::Literal, true, true);
        check("127.0.0.1", HostKind::Localhost, true, true);
        check("127.0.0.1", HostKind::Name, false, true);
        check("::1", HostKind::Name, false, true);
    }
}
