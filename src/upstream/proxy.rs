//! Outgoing proxies: which origins are reached through one, and what it is sent. An `https` origin gets a tunnel by `CONNECT`
//! (`tunnel`), a request to an `http` origin goes out in absolute form (RFC 9112, section 3.2.2).
//!
//! No error and no `Debug` shows credentials. It never resolves or connects.

mod tunnel;

use std::{fmt, io, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderValue, Request, StatusCode, Uri,
    header::PROXY_AUTHORIZATION,
    uri::{PathAndQuery, Scheme as UriScheme},
};
use zeroize::Zeroizing;

use crate::{
    origin::{Origin, Scheme},
    secret::Secret,
    settings::Bypass,
};

use super::{SendError, Upload, connect::is_localhost};

pub(super) use self::tunnel::establish;

/// The proxies of a process, by the scheme of the origin, and the origins that are called without.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// The proxy for `http` origins.
    pub http: Option<Proxy>,
    /// The proxy for `https` origins.
    pub https: Option<Proxy>,
    /// The exceptions.
    pub bypass: Bypass,
}

/// One proxy.
#[derive(Clone)]
pub struct Proxy {
    origin: Origin,
    /// The value of `Proxy-Authorization`.
    authorization: Option<HeaderValue>,
}

/// Why a proxy failed. Displayed, it is the rest of a sentence about the proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// There is no connection to it.
    #[error("cannot be used: {0}")]
    Unreachable(Box<SendError>),
    /// The TLS handshake with the proxy itself failed.
    #[error("cannot be used: the TLS handshake with it failed: {0}")]
    Tls(io::Error),
    /// It asks for credentials (407).
    #[error("{}", if *.sent { "refused its credentials (407)" } else { "wants credentials, and none are set (407)" })]
    Unauthorized {
        /// True if it got some.
        sent: bool,
    },
    /// It opens no tunnel.
    #[error("refused a tunnel with status {0}")]
    Refused(u16),
    /// Its answer is not HTTP, or not safe to use.
    #[error("gave an answer that cannot be used: {0}")]
    Malformed(&'static str),
    /// It closed the connection instead of an answer.
    #[error("closed the connection before it opened a tunnel")]
    Closed,
    /// It did not answer within the connect deadline.
    #[error("did not open a connection within {0:?}")]
    Timeout(Duration),
}

impl Proxies {
    /// The proxy on the way to `origin`. This machine itself is never called through one: there, `localhost` is another.
    pub(super) fn of(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = match origin.scheme {
            Scheme::Http => self.http.as_ref(),
            Scheme::Https => self.https.as_ref(),
        }?;
        let is_local =
            is_localhost(origin.host()) || origin.ip().is_some_and(|ip| ip.to_canonical().is_loopback());
        (!is_local && !self.bypass.matches(origin)).then_some(proxy)
    }
}

impl Proxy {
    /// Parses `http://user:password@proxy.example:3128`. Without a scheme it is `http`; name and password are
    /// percent-encoded. The error is a fragment without any part of the text.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            let is_name = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let shown = if is_name { format!("`{scheme}`") } else { "this scheme".to_owned() };
            return Err(format!(
                "{shown} is no protocol of a proxy that tollgate knows: `http` and `https` are"
            ));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if !matches!(tail, "" | "/") {
            return Err(
                "it has a path, which the URL of a proxy has not; in a password, `/`, `?`, `#` and `@` are \
                        written `%2F`, `%3F`, `%23` and `%40`"
                    .to_owned(),
            );
        }
        let (credentials, host) = match authority.rsplit_once('@') {
            Some((credentials, host)) => (Some(credentials), host),
            None => (None, authority),
        };
        let (origin, _) = Origin::split(&format!("{scheme}://{host}"))?;
        let proxy = Self { origin, authorization: None };
        let Some(credentials) = credentials else { return Ok(proxy) };
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let decoded = |text| decoded(text).ok_or("its credentials are not percent-encoded UTF-8");
        if user.contains('@') || password.contains('@') {
            return Err("it has more than one `@`: in a name or a password, it is written `%40`".to_owned());
        }
        let user = Zeroizing::new(decoded(user)?);
        if user.contains(':') {
            return Err("the name before its password has a `:`".to_owned());
        }
        let password = Zeroizing::new(decoded(password)?);
        proxy.with_credentials(&Secret::new(format!("{}:{}", *user, *password)))
    }

    /// The same proxy with credentials, `user:password`. The error is a fragment without them.
    pub fn with_credentials(self, credentials: &Secret) -> Result<Self, String> {
        let text = credentials.expose();
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err("its credentials have a control character".to_owned());
        }
        if !text.contains(':') {
            return Err("its credentials have no `:` between name and password".to_owned());
        }
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(text)));
        let mut value = HeaderValue::from_str(&value).map_err(|_| "its credentials cannot be sent")?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    /// True if it has credentials.
    pub fn has_credentials(&self) -> bool {
        self.authorization.is_some()
    }

    /// Its origin, which has no credentials.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The failure of a request to `host`.
    pub(super) fn failed(&self, host: &str, error: ProxyError) -> SendError {
        SendError::Proxy { proxy: self.origin.to_string().into(), host: host.into(), error }
    }

    /// Refuses an answer to a forwarded request that is the proxy's own: no origin asks for the credentials of a proxy.
    pub(super) fn check(&self, origin: &Origin, status: StatusCode) -> Result<(), SendError> {
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let error = ProxyError::Unauthorized { sent: self.has_credentials() };
            return Err(self.failed(origin.host(), error));
        }
        Ok(())
    }

    /// The request as this proxy forwards it, in absolute form.
    pub(super) fn forwarded(&self, request: &mut Request<Upload>, origin: &Origin) -> Result<(), SendError> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(UriScheme::HTTP);
        parts.authority = origin.authority().parse().ok();
        let path = request.uri().path_and_query().cloned();
        parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| {
            self.failed(origin.host(), ProxyError::Malformed("the request has no absolute form"))
        })?;
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value.clone());
        }
        Ok(())
    }
}

/// A percent-encoded text, decoded. None if it is malformed or not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            rest = after;
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            u8::try_from(digit(0)? * 16 + digit(1)?).ok()?
        } else {
            *first
        });
    }
    Some(std::str::from_utf8(&bytes).ok()?.to_owned())
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, authorization } = self;
        let (origin, has_credentials) = (origin.to_string(), authorization.is_some());
        formatter
            .debug_struct("Proxy")
            .field("origin", &origin)
            .field("has_credentials", &has_credentials)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |url: &str, expected: &str, sent: Option<&str>| {
            let proxy = Proxy::parse(url).unwrap();
            assert_eq!(proxy.origin.to_string(), expected, "{url}");
            let sent = sent.map(|text| format!("Basic {}", STANDARD.encode(text)));
            let found = proxy.authorization.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(found, sent.as_deref(), "{url}");
        };
        check("http://proxy.example:3128", "http://proxy.example:3128", None);
        check("HTTP://proxy.example:3128/", "http://proxy.example:3128", None);
        check("https://proxy.example", "https://proxy.example", None);
        check("proxy.example:3128", "http://proxy.example:3128", None);
        check("10.0.0.1:3128", "http://10.0.0.1:3128", None);
        check("http://[::1]:3128", "http://[::1]:3128", None);
        check("http://ada:s3cret@proxy.example:3128", "http://proxy.example:3128", Some("ada:s3cret"));
        check("ada:s3cret@proxy.example:3128", "http://proxy.example:3128", Some("ada:s3cret"));
        check("http://ada@proxy.example", "http://proxy.example", Some("ada:"));
        check("http://a%40b:p%2F%3A%40@proxy.example", "http://proxy.example", Some("a@b:p/:@"));
        check("http://ada:a:b@proxy.example", "http://proxy.example", Some("ada:a:b"));
    }

    #[test]
    fn bad_urls_are_refused_without_their_text() {
        let check = |url: &str, expected: &str| {
            let error = Proxy::parse(url).unwrap_err();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        };
        check("", "it has no host");
        check("socks5://ada:s3cret@proxy.example:1080", "`socks5` is no protocol");
        check("s3-cret://x", "this scheme is no protocol");
        check("http://ada:s3cret@", "it has no host");
        check("http://ada:s3cret/@proxy.example", "it has a path");
        check("http://ada:s3cret@proxy.example/x", "it has a path");
        check("http://ada:s3cret@x@proxy.example", "more than one `@`");
        check("http://ada:s3cret%zz@proxy.example", "not percent-encoded");
        check("http://a%3Ab:s3cret@proxy.example", "has a `:`");
        check("http://ada:s3cret%0a@proxy.example", "control character");
        check("http://ada:s3cret@proxy.example:0", "its port");
        check("http://s3cret:x:y", "its port");
        assert!(
            !format!("{:?}", Proxy::parse("http://ada:s3cret@proxy.example").unwrap()).contains("s3cret")
        );
    }

    #[test]
    fn the_way_to_an_origin() {
        let proxy = |url: &str| Some(Proxy::parse(url).unwrap());
        let bypass = Bypass::parse(["plain.example"]).unwrap();
        let both = Proxies { http: proxy("http://p.example:1"), https: proxy("https://s.example:2"), bypass };
        let check = |url: &str, expected: Option<&str>| {
            let (origin, _) = Origin::split(url).unwrap();
            assert_eq!(both.of(&origin).map(|proxy| proxy.origin.host()), expected, "{url}");
        };
        check("http://api.example.test", Some("p.example"));
        check("https://api.example.test", Some("s.example"));
        check("https://plain.example", None);
        check("https://10.0.0.1", Some("s.example"));
        for local in [
            "localhost",
            "localhost.",
            "a.localhost",
            "127.0.0.1",
            "127.8.8.8",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            check(&format!("http://{local}:8000"), None);
        }
    }
}
