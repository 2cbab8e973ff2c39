//! The origins that are called without a proxy: the list of `no_proxy`, in the forms that are customary for `NO_PROXY`.
//!
//! Names are compared as texts and never resolved: a network matches origins that are written as an address.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::origin::Origin;

/// A parsed list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bypass(Vec<Entry>);

/// What an entry has to be.
pub const FORMS: &str = "write a host (`example.com`, with all names below it), an address, or a network (`10.0.0.0/8`); a host or an \
     address with a port (`example.com:8443`) for that port alone; or `*` for all";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    All,
    /// A host and all names below it.
    Host(Box<str>, Option<u16>),
    Net(IpNet, Option<u16>),
}

impl Bypass {
    /// Parses the entries of a list. The error is one that is not understood, and a fragment that names the problem.
    pub fn parse<'e>(entries: impl IntoIterator<Item = &'e str>) -> Result<Self, (&'e str, &'static str)> {
        let parsed =
            entries.into_iter().map(|entry| Entry::parse(entry.trim()).map_err(|what| (entry, what)));
        Ok(Self(parsed.collect::<Result<_, _>>()?))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if `origin` is called without a proxy.
    pub fn matches(&self, origin: &Origin) -> bool {
        self.0.iter().any(|entry| entry.matches(origin))
    }
}

impl Entry {
    fn parse(entry: &str) -> Result<Self, &'static str> {
        if entry == "*" {
            return Ok(Self::All);
        }
        if entry.contains("://") {
            return Err("it has a scheme");
        }
        if entry.contains('/') {
            return entry.parse::<IpNet>().map(|net| Self::Net(net, None)).map_err(|_| "it is no network");
        }
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Ok(Self::Net(address.to_canonical().into(), None));
        }
        let has_port = entry.rfind(']').map_or(entry, |end| &entry[end..]).contains(':');
        // `*.example.com` and `.example.com` are other spellings of `example.com`.
        let plain = entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.')).unwrap_or(entry);
        let url = format!("http://{plain}");
        let (origin, _) = Origin::split(&url).map_err(|_| "it is no host")?;
        let port = has_port.then_some(origin.port);
        Ok(match origin.ip() {
            Some(address) => Self::Net(address.to_canonical().into(), port),
            None => Self::Host(bare(origin.host()).into(), port),
        })
    }

    fn matches(&self, origin: &Origin) -> bool {
        let is_port = |port: &Option<u16>| port.is_none_or(|port| port == origin.port);
        match self {
            Self::All => true,
            Self::Host(suffix, port) => {
                let front = bare(origin.host()).strip_suffix(&**suffix);
                is_port(port) && front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
            }
            Self::Net(net, port) => {
                is_port(port) && origin.ip().is_some_and(|address| net.contains(&address.to_canonical()))
            }
        }
    }
}

/// A name without the dot that ends it in DNS.
fn bare(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let check = |list: &str, yes: &str, no: &str| {
            let bypass = Bypass::parse(list.split(',').filter(|entry| !entry.is_empty())).unwrap();
            for (urls, expected) in [(yes, true), (no, false)] {
                for url in urls.split_whitespace() {
                    let (origin, _) = Origin::split(url).unwrap();
                    assert_eq!(bypass.matches(&origin), expected, "{list} {url}");
                }
            }
        };
        check("", "", "https://a.example http://10.0.0.1");
        check("*", "https://a.example http://10.0.0.1 http://[fd00::1]", "");
        for host in ["b.example", ".b.example", "*.b.example", "B.Example", "b.example."] {
            check(
                host,
                "https://b.example https://b.example. https://a.b.example http://a.b.example:81",
                "https://ab.example https://example https://b.example.test http://10.0.0.1",
            );
        }
        check("b.example:8443", "https://b.example:8443 http://a.b.example:8443", "https://b.example");
        check("b.example:443", "https://b.example", "http://b.example https://b.example:8443");
        check(
            "10.0.0.0/8",
            "https://10.1.2.3 http://[::ffff:10.0.0.1]",
            "https://11.0.0.1 https://ten.example",
        );
        check("10.0.0.1", "https://10.0.0.1 http://10.0.0.1:81", "https://10.0.0.2 https://x.10.0.0.example");
        check("10.0.0.1:81", "http://10.0.0.1:81", "http://10.0.0.1");
        check("fd00::/8,::2", "https://[fd12::1] https://[::2]:1", "https://[fe00::1]");
        check("[fd00::1]:81,[fd00::2]", "http://[fd00::1]:81 http://[fd00::2]", "http://[fd00::1]");
        check("a.example , c.example", "https://a.example https://c.example", "https://b.example");
    }

    #[test]
    fn what_is_wrong() {
        for (entry, expected) in [
            ("10.0.0.0/33", "it is no network"),
            ("a.example/x", "it is no network"),
            ("https://a.example", "it has a scheme"),
            ("10.*", "it is no host"),
            ("a.*.example", "it is no host"),
            ("a b", "it is no host"),
            ("a.example:x", "it is no host"),
            ("ada@a.example", "it is no host"),
            ("[::1", "it is no host"),
        ] {
            assert_eq!(Bypass::parse([entry]), Err((entry, expected)));
        }
    }
}
