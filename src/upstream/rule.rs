//! Connect rules (`--connect-to`): connections to a host and port go to another address. Only the address changes;
//! `Host`, SNI and the certificate's name stay those of the origin.
//!
//! It never resolves or connects.

use crate::origin::Origin;

use super::destination;

/// One rule of `connect_to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRule {
    /// The origin's host; none for every host.
    host: Option<Box<str>>,
    /// The origin's port; none for every port.
    port: Option<u16>,
    /// The destination. Its scheme is not used.
    target: Origin,
}

/// Why a rule cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{rule}` is not a connect rule: {what}; write `host:port=address:port`, or `*:port=address:port` or \
     `*=address:port` for every host, with an IPv6 address in brackets"
)]
pub struct RuleError {
    rule: Box<str>,
    what: Box<str>,
}

impl ConnectRule {
    /// Parses `host:port=address:port`, `*:port=address:port` or `*=address:port`.
    pub fn parse(rule: &str) -> Result<Self, RuleError> {
        Self::read(rule).map_err(|what| RuleError { rule: rule.into(), what: what.into() })
    }

    fn read(rule: &str) -> Result<Self, String> {
        let (from, to) = rule.split_once('=').ok_or("it has no `=`")?;
        let target = host_and_port(to).map_err(|what| format!("after the `=`, {what}"))?;
        if target.ip().is_some_and(destination::is_never) {
            return Err("link-local, metadata, unspecified and multicast addresses are never called".into());
        }
        let (host, port) = if from == "*" {
            (None, None)
        } else if let Some(port) = from.strip_prefix("*:") {
            let any =
                host_and_port(&format!("any:{port}")).map_err(|what| format!("before the `=`, {what}"))?;
            (None, Some(any.port))
        } else {
            let origin = host_and_port(from).map_err(|what| format!("before the `=`, {what}"))?;
            (Some(origin.host().into()), Some(origin.port))
        };
        Ok(Self { host, port, target })
    }

    /// The destination for connections to `origin`, if this rule matches its host and port.
    pub(super) fn target(&self, origin: &Origin) -> Option<&Origin> {
        let host = self.host.as_deref().is_none_or(|host| host == origin.host());
        let port = self.port.is_none_or(|port| port == origin.port);
        (host && port).then_some(&self.target)
    }
}

/// Parses an authority as in a `base_url`; here the port is required.
fn host_and_port(authority: &str) -> Result<Origin, &'static str> {
    let url = format!("http://{authority}");
    let (origin, tail) = Origin::split(&url)?;
    if !tail.is_empty() {
        return Err("something follows the port");
    }
    if !authority.ends_with(&format!(":{}", origin.port)) {
        return Err("it has no port");
    }
    Ok(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let check = |rule: &str, url: &str, expected: Option<&str>| {
            let rule = ConnectRule::parse(rule).unwrap();
            let (origin, _) = Origin::split(url).unwrap();
            let found = rule.target(&origin).map(|target| format!("{} {}", target.host(), target.port));
            assert_eq!(found.as_deref(), expected, "{rule:?} {url}");
        };
        check("api.example.test:443=127.0.0.1:8443", "https://api.example.test", Some("127.0.0.1 8443"));
        check("API.example.test:443=127.0.0.1:8443", "https://api.example.test", Some("127.0.0.1 8443"));
        check("api.example.test:443=127.0.0.1:8443", "http://api.example.test", None);
        check("api.example.test:443=127.0.0.1:8443", "https://example.test", None);
        check("*=[::1]:80", "https://api.example.test", Some("::1 80"));
        check("*=[::1]:80", "http://10.0.0.1:1", Some("::1 80"));
        check("*:443=proxy.example.test:3128", "https://demo.example.test", Some("proxy.example.test 3128"));
        check("*:443=proxy.example.test:3128", "http://demo.example.test", None);
        check("[::1]:80=127.0.0.1:80", "http://[::1]", Some("127.0.0.1 80"));
        check("demo:80=localhost:8080", "http://demo", Some("localhost 8080"));
    }

    #[test]
    fn what_is_wrong() {
        let check = |rule: &str, expected: &str| {
            let error = ConnectRule::parse(rule).unwrap_err().to_string();
            assert!(error.contains(expected), "{rule}: {error}");
            assert!(error.contains("write `host:port=address:port`"), "{error}");
        };
        check("", "it has no `=`");
        check("demo:443", "it has no `=`");
        check("demo:443=127.0.0.1", "after the `=`, it has no port");
        check("demo=127.0.0.1:1", "before the `=`, it has no port");
        check("demo:443=::1:80", "after the `=`");
        check("demo:443=", "after the `=`, it has no host");
        check("demo:443=127.0.0.1:0", "after the `=`, its port");
        check("demo:443=127.0.0.1:1/x", "after the `=`, something follows the port");
        check("*:x=127.0.0.1:1", "before the `=`, its port");
        check("*=169.254.169.254:80", "never called");
        check("*=[::ffff:169.254.169.254]:80", "never called");
        check("*=0.0.0.0:80", "never called");
    }
}
