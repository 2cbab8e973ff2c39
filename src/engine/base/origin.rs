//! Origins: scheme, host and port of an upstream (RFC 6454).
//!
//! Parsing is strict: no user info, no percent-encoding, no empty label, no control or non-ASCII character. An authority
//! that two parsers read differently could send a key to another host. Never resolves names, never connects.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The scheme of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of URLs without one.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// A lower-case DNS name or an IPv4 address, or an IPv6 address without brackets.
    host: Box<str>,
    /// The port, explicit or the scheme's default.
    pub port: u16,
}

impl Origin {
    /// Splits an absolute `http` or `https` URL into its origin and the rest (a path, a query, or nothing). The error is a
    /// fragment that names the problem.
    pub fn split(url: &str) -> Result<(Self, &str), &'static str> {
        let (scheme, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else if url.starts_with("wss://") {
            return Err("a WebSocket begins as a request: write `https://` for `wss://`");
        } else if url.starts_with("ws://") {
            return Err("a WebSocket begins as a request: write `http://` for `ws://`");
        } else {
            return Err("it does not start with `https://` or `http://`");
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (host, port) = split_port(authority)?;
        let port = port.unwrap_or(scheme.default_port());
        Ok((Self { scheme, host: check_host(host)?.into(), port }, tail))
    }

    /// The host: a lower-case DNS name or an IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host's address, if the host is an IP literal.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The value of `Host`: without the scheme's default port, IPv6 in brackets.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// True if a client's `Host` is a host with an optional port (RFC 9110, section 7.2). Looser than [`Origin::split`],
/// since tollgate does not connect to it, but user info and paths are rejected.
pub fn is_host(text: &str) -> bool {
    let bracket = text.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match text[bracket..].find(':') {
        Some(colon) => (&text[..bracket + colon], &text[bracket + colon + 1..]),
        None => (text, ""),
    };
    let good_host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok()),
        None => host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)),
    };
    good_host && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit())
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    if authority.contains('@') {
        return Err("it has user information before the host");
    }
    let after_host = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = authority[after_host..].find(':').map(|at| at + after_host) else {
        return Ok((authority, None));
    };
    let digits = &authority[colon + 1..];
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse() {
        Ok(port) if plain && port != 0 => Ok((&authority[..colon], Some(port))),
        _ => Err("its port is not a number from 1 to 65535"),
    }
}

fn check_host(host: &str) -> Result<String, &'static str> {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("its IPv6 address has no closing bracket")?;
        return inner
            .parse::<Ipv6Addr>()
            .map(|ip| ip.to_string())
            .map_err(|_| "its IPv6 address is malformed");
    }
    if host.is_empty() {
        return Err("it has no host");
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let bare = host.strip_suffix('.').unwrap_or(host);
    if bare.len() > 253 || !bare.split('.').all(label) {
        return Err("its host is not a DNS name or an IP address");
    }
    // `127.1`, `0x7f.1` and `2130706433` are addresses to some resolvers and names to others.
    let last = bare.rsplit('.').next().unwrap_or_default();
    let looks_numeric =
        last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X");
    if looks_numeric && bare.parse::<Ipv4Addr>().is_err() {
        return Err("its host ends like an IPv4 address, but is none");
    }
    Ok(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let check = |text: &str, good: bool| assert_eq!(is_host(text), good, "{text}");
        for good in ["", "a", "a:", "a:80", "svc.1", "my_host:8787", "[::1]", "[::1]:80", "127.0.0.1:1"] {
            check(good, true);
        }
        for bad in ["a:x", "u@a", "a/b", "a b", "[::1", "::1", "a:123456", "a,b", "a?b"] {
            check(bad, false);
        }
    }

    #[test]
    fn split() {
        let check = |url: &str, expected: Option<(&str, &str, &str)>| {
            let found = Origin::split(url).ok();
            let found = found.as_ref().map(|(o, tail)| (o.to_string(), o.authority(), (*tail).to_owned()));
            let expected = expected.map(|(o, a, t)| (o.to_owned(), a.to_owned(), t.to_owned()));
            assert_eq!(found, expected, "{url}");
        };
        check("https://api.example.com", Some(("https://api.example.com", "api.example.com", "")));
        check("https://API.example.com/v1?x", Some(("https://api.example.com", "api.example.com", "/v1?x")));
        check("https://a:443/", Some(("https://a", "a", "/")));
        check("http://a:443?q", Some(("http://a:443", "a:443", "?q")));
        check("http://[::1]:8080/x", Some(("http://[::1]:8080", "[::1]:8080", "/x")));
        check("http://127.0.0.1:1", Some(("http://127.0.0.1:1", "127.0.0.1:1", "")));
        for bad in [
            "",
            "ftp://a",
            "https://",
            "https:///x",
            "https://u@h",
            "https://a:0",
            "https://a:+1",
            "https://a:65536",
            "https://a:",
            "https://[::1",
            "https://a..b",
            "https://a b",
            "https://ä",
            "https://127.1",
            "https://0x7f.1",
            "https://2130706433",
            "https://a%2e",
            "https://a\\b",
            "HTTPS://a",
            "https://[::1]x:1",
            "https://a:1:2",
        ] {
            check(bad, None);
        }
    }
}
