//! The setting `user_origins`: which origins users may enter as a whole. Patterns of scheme, host or network, and port.
//!
//! A name is matched as a text, label by label, and an address by its network: no name matches a network, whatever it
//! resolves to. Without patterns, nothing is allowed. It never resolves.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::origin::{Origin, Scheme};

/// The origins that users may enter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserOrigins(Vec<Pattern>);

/// The form of a pattern, for messages.
pub const FORMS: &str = "write `https://*.corp.example`, where `*` stands for one label, or `http://10.0.0.0/8`, with a port or `:*` for every port";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    scheme: Scheme,
    host: Host,
    /// None for every port.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// The labels; none for any one.
    Name(Vec<Option<Box<str>>>),
    Net(IpNet),
}

impl UserOrigins {
    /// Parses patterns. The error is one that is not understood, and a fragment that names the problem.
    pub fn parse<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, (&'p str, &'static str)> {
        let parsed = patterns.into_iter().map(|text| Pattern::parse(text).map_err(|what| (text, what)));
        Ok(Self(parsed.collect::<Result<_, _>>()?))
    }

    /// True if users may enter this origin.
    pub fn allows(&self, origin: &Origin) -> bool {
        self.0.iter().any(|pattern| pattern.allows(origin))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            return Err("it does not start with `https://` or `http://`");
        };
        if rest.contains('@') {
            return Err("it has user information before the host");
        }
        let (host, port) = split_port(rest)?;
        let port = match port {
            None => Some(scheme.default_port()),
            Some("*") => None,
            Some(digits) => {
                Some(number(digits).ok_or("its port is neither `*` nor a number from 1 to 65535")?)
            }
        };
        Ok(Self { scheme, host: Host::parse(host)?, port })
    }

    fn allows(&self, origin: &Origin) -> bool {
        self.scheme == origin.scheme
            && self.port.is_none_or(|port| port == origin.port)
            && self.host.allows(origin)
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or("its IPv6 address has no closing bracket")?;
            return network(inner)
                .filter(|net| net.addr().is_ipv6())
                .map(Self::Net)
                .ok_or("its network is malformed");
        }
        if text.contains('/') {
            let net = network(text).ok_or("it has a path, or its network is malformed")?;
            return if net.addr().is_ipv4() {
                Ok(Self::Net(net))
            } else {
                Err("an IPv6 network stands in brackets")
            };
        }
        // An address or a name as in any origin, but for the labels that are `*`.
        let sample = text.split('.').map(|label| if label == "*" { "x" } else { label });
        let sample = sample.collect::<Vec<_>>().join(".");
        let url = format!("http://{sample}");
        let (origin, tail) =
            Origin::split(&url).map_err(|_| "its host is not a DNS name or an IP address")?;
        if !tail.is_empty() {
            return Err("it has a query or a fragment");
        }
        if let Some(address) = origin.ip() {
            let is_plain = !text.contains('*');
            return is_plain.then(|| Self::Net(address.into())).ok_or("a network is written `10.0.0.0/8`");
        }
        let bare = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let labels: Vec<_> = bare.split('.').map(|label| (label != "*").then(|| label.into())).collect();
        match labels.last() {
            Some(Some(_)) => Ok(Self::Name(labels)),
            Some(None) | None => Err("its last label is `*`, which would allow hosts of anybody"),
        }
    }

    fn allows(&self, origin: &Origin) -> bool {
        match (self, origin.ip()) {
            (Self::Net(net), Some(address)) => net.contains(&address.to_canonical()),
            (Self::Name(labels), None) => {
                let host = origin.host();
                let host = host.strip_suffix('.').unwrap_or(host);
                let mut found = host.split('.');
                let is_same = |label: &Option<Box<str>>| {
                    found.next().is_some_and(|found| label.as_deref().is_none_or(|label| label == found))
                };
                labels.iter().all(is_same) && found.next().is_none()
            }
            (Self::Net(_), None) | (Self::Name(_), Some(_)) => false,
        }
    }
}

/// The host of an authority, and its port.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    let after_host = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[after_host..].split_once(':') {
        None => Ok((authority, None)),
        Some((rest, port)) if !port.contains(':') => Ok((&authority[..after_host + rest.len()], Some(port))),
        Some(_) => Err("an IPv6 address stands in brackets"),
    }
}

fn number(digits: &str) -> Option<u16> {
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| is_plain && *port != 0)
}

/// A network or an address. One of IPv4 within IPv6 would never match: origins have IPv4 there.
fn network(text: &str) -> Option<IpNet> {
    let net: IpNet = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let is_mapped = matches!(net.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    (!is_mapped).then_some(net)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(list: &str) -> UserOrigins {
        UserOrigins::parse(list.split_whitespace()).unwrap()
    }

    #[test]
    fn patterns() {
        let check = |list: &str, yes: &str, no: &str| {
            let allowed = parse(list);
            for (urls, expected) in [(yes, true), (no, false)] {
                for url in urls.split_whitespace() {
                    let (origin, _) = Origin::split(url).unwrap();
                    assert_eq!(allowed.allows(&origin), expected, "{list} {url}");
                }
            }
        };
        check("", "", "http://localhost https://a.corp.example http://10.0.0.1 https://1.1.1.1");
        check(
            "https://*.corp.example",
            "https://a.corp.example https://A.Corp.Example https://a.corp.example. https://a.corp.example:443",
            "http://a.corp.example https://a.corp.example:8443 https://corp.example https://a.b.corp.example \
             https://acorp.example https://a.corp.example.test https://10.0.0.1",
        );
        check("https://*.*.corp.example:*", "https://a.b.corp.example:1", "https://b.corp.example");
        check(
            "http://localhost:*",
            "http://localhost http://localhost:11434",
            "https://localhost http://127.0.0.1 http://a.localhost",
        );
        check(
            "http://10.0.0.0/8",
            "http://10.0.0.1 http://10.255.255.255:80 http://[::ffff:10.0.0.1]",
            "https://10.0.0.1 http://10.0.0.1:8080 http://11.0.0.1 http://ten.example http://[::10.0.0.1]",
        );
        check(
            "http://10.0.0.0/8:8080 http://192.168.1.2:*",
            "http://10.0.0.1:8080 http://192.168.1.2:9",
            "http://10.0.0.1 http://192.168.1.3",
        );
        check("http://[fd00::/8]:*", "http://[fd12::1]:5", "http://[fe00::1] http://10.0.0.1");
        check("http://[::1]", "http://[::1] http://[0:0:0:0:0:0:0:1]", "http://[::2] http://127.0.0.1");
    }

    #[test]
    fn what_is_wrong() {
        for (pattern, expected) in [
            ("corp.example", "it does not start with"),
            ("*", "it does not start with"),
            ("HTTPS://corp.example", "it does not start with"),
            ("https://ada@corp.example", "user information"),
            ("https://corp.example/v1", "it has a path"),
            ("https://corp.example?x", "it has a query"),
            ("https://*", "its last label is `*`"),
            ("https://corp.*", "its last label is `*`"),
            ("https://a*.corp.example", "its host is not"),
            ("https://**.corp.example", "its host is not"),
            ("https://ä.example", "its host is not"),
            ("https://", "its host is not"),
            ("https://corp..example", "its host is not"),
            ("https://corp.example:0", "its port"),
            ("https://corp.example:", "its port"),
            ("https://corp.example:80*", "its port"),
            ("https://fd00::1", "stands in brackets"),
            ("https://fd00::/8", "stands in brackets"),
            ("https://[fd00", "no closing bracket"),
            ("https://[fd00::/8", "stands in brackets"),
            ("https://[::ffff:10.0.0.0/104]", "its network is malformed"),
            ("https://[10.0.0.0/8]", "its network is malformed"),
            ("https://10.0.0.0/33", "its network is malformed"),
            ("https://127.1", "its host is not"),
            ("https://10.*.0.1", "its host is not"),
            ("https://0x7f.1", "its host is not"),
        ] {
            let (text, what) = UserOrigins::parse([pattern]).unwrap_err();
            assert!(text == pattern && what.contains(expected), "{pattern}: {what}");
        }
    }

    proptest! {
        /// No text leaves the hosts and the port that the patterns name, whatever another parser would make of it.
        #[test]
        fn hostile_texts(
            front in "[a-z@:#/?%\\\\.\\[\\]0-9äß。 *-]{0,12}",
            middle in prop::sample::select(vec!["corp.example", "a.corp.example", "xn--corp-example", "ⓒorp.example", "0x0a.1", "10.0.0.1", "012.0.0.1", "[::ffff:10.0.0.1]"]),
            back in "[a-z@:#/?%\\\\.0-9。 ]{0,8}",
        ) {
            let allowed = parse("https://*.corp.example http://10.0.0.0/8");
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{front}{middle}{back}");
                let Ok((origin, tail)) = Origin::split(&url) else { continue };
                if tail.is_empty() && allowed.allows(&origin) {
                    let host = origin.host().trim_end_matches('.');
                    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                    let is_corp = scheme == "https" && origin.port == 443
                        && host.strip_suffix(".corp.example").is_some_and(|label| label.bytes().all(plain));
                    let is_ten = scheme == "http" && origin.port == 80
                        && matches!(origin.ip().map(|ip| ip.to_canonical()), Some(IpAddr::V4(ip)) if ip.octets()[0] == 10);
                    prop_assert!(is_corp || is_ten, "{origin}");
                }
            }
        }
    }
}
