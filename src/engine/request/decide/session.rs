//! Sessions: a browser's token, in a cookie. It counts below tollgate's own paths only, never for a call to a provider, and
//! only if the request has no token of its own. A request that changes something must come from tollgate's own pages.
//!
//! Pure: the head and the settings in, a secret or a fault out. Read next: `authorize`.

use http::{HeaderMap, HeaderName, Method, header, request::Parts};

use crate::{
    base::{
        fault::{Fault, FaultKind},
        origin::{Origin, Scheme},
        secret::Secret,
    },
    request::{rewrite, table::Table},
};

/// The secret that a client presents.
#[derive(Debug, Clone)]
pub enum Presented {
    /// A token, perhaps behind a vendor's prefix.
    Token(Secret),
    /// The token of a session, from its cookie.
    Session(Secret),
}

impl Presented {
    pub(super) fn into_secret(self) -> Secret {
        match self {
            Self::Token(secret) | Self::Session(secret) => secret,
        }
    }
}

/// The cookie of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionCookie {
    /// That of a user: below `/auth` and `/config`.
    User,
    /// That of an admin: below `/admin` and `/console`.
    Admin,
}

impl SessionCookie {
    /// Its names, in the order in which they count: over TLS, and without. Browsers accept a name with `__Host-` only from
    /// this host, over TLS.
    pub const fn names(self) -> [&'static str; 2] {
        match self {
            Self::User => ["__Host-tollgate", "tollgate"],
            Self::Admin => ["__Host-tollgate-admin", "tollgate-admin"],
        }
    }

    /// All that a request has: name and value. A name that occurs twice has none, since nobody knows which of the two
    /// tollgate has set.
    pub fn all(self, headers: &HeaderMap) -> Vec<(&'static str, Secret)> {
        let value = |name: &'static str| {
            let mut values = cookies(headers).filter(|(other, _)| *other == name).map(|(_, value)| value);
            let (value, further) = (values.next()?, values.next());
            let is_token = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
            (is_token && further.is_none()).then(|| (name, Secret::new(value)))
        };
        self.names().into_iter().filter_map(value).collect()
    }

    /// The names that a request has, whatever their values.
    pub fn sent(self, headers: &HeaderMap) -> impl Iterator<Item = &'static str> {
        self.names().into_iter().filter(|name| cookies(headers).any(|(sent, _)| sent == *name))
    }

    /// The name that a new session gets.
    pub const fn name(self, is_secure: bool) -> &'static str {
        let [secure, plain] = self.names();
        if is_secure { secure } else { plain }
    }

    /// The session's token in a request, if it counts: the request has no token of its own. A request that changes
    /// something has to come from tollgate's own pages.
    pub fn session(self, head: &Parts, site: Site<'_>) -> Result<Option<Secret>, Fault> {
        if rewrite::has_token_header(&head.headers) {
            return Ok(None);
        }
        let sessions = self.all(&head.headers);
        if sessions.is_empty() {
            return Ok(None);
        }
        let changes = ![Method::GET, Method::HEAD].contains(&head.method);
        let page = PageOrigin::of(&head.headers, site);
        if changes {
            page.check()?;
        }
        // Another host of the domain can set a plain name, so that none counts where people come over TLS. A request that
        // changes nothing may come from any page, which says nothing of TLS.
        let page = if changes { page } else { PageOrigin { origin: None, ..page } };
        let mut sessions = sessions.into_iter();
        let counts = sessions.find(|(name, _)| !page.is_secure() || *name == self.name(true));
        Ok(counts.map(|(_, session)| session))
    }

    /// The secret that a request for tollgate's own API presents.
    pub(super) fn presented(
        self,
        head: &Parts,
        table: &Table,
        site: Site<'_>,
    ) -> Result<Option<Presented>, Fault> {
        match rewrite::token(head, table) {
            Some(token) => Ok(Some(Presented::Token(token))),
            None => Ok(self.session(head, site)?.map(Presented::Session)),
        }
    }
}

/// The values of all cookies of sessions in a request, whether they count or not.
pub fn session_secrets(headers: &HeaderMap) -> impl Iterator<Item = Secret> {
    let cookies = [SessionCookie::User, SessionCookie::Admin].into_iter();
    cookies.flat_map(|cookie| cookie.all(headers)).map(|(_, session)| session)
}

/// The names and values of all cookies (RFC 6265, section 5.4).
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t'])))
}

/// What is known of the address at which people reach tollgate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Site<'r> {
    /// That of the settings.
    pub public_url: Option<&'r Origin>,
    /// The listener takes TLS alone, and the browser called it itself.
    pub is_tls: bool,
}

impl Site<'_> {
    /// True if people come over TLS. The setting counts before the listener: a proxy in front of it may have none.
    fn is_secure(self) -> bool {
        self.public_url.map_or(self.is_tls, |url| url.scheme == Scheme::Https)
    }
}

/// The page that a request comes from, as the browser says it. A value is empty if the header is there and has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageOrigin<'r> {
    /// `Sec-Fetch-Site`: how that page relates to this host. Browsers send it over TLS and to their own machine.
    pub fetch_site: Option<&'r str>,
    /// `Origin`: scheme, host and port of that page.
    pub origin: Option<&'r str>,
    /// `Host`: host and port of this request.
    pub host: Option<&'r str>,
    /// What is known of the address at which people reach tollgate.
    pub site: Site<'r>,
}

impl<'r> PageOrigin<'r> {
    /// That of a request.
    pub fn of(headers: &'r HeaderMap, site: Site<'r>) -> Self {
        let one = |name: HeaderName| {
            let mut values = headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (None, _) => None,
                (Some(value), None) => Some(value.to_str().unwrap_or_default()),
                (Some(_), Some(_)) => Some(""),
            }
        };
        Self {
            fetch_site: one(HeaderName::from_static("sec-fetch-site")),
            origin: one(header::ORIGIN),
            host: one(header::HOST),
            site,
        }
    }

    /// Refuses a request that a page of another origin may have made. A browser with `Referrer-Policy: no-referrer` sends
    /// the origin `null` with a form; then the other header has to vouch for it.
    pub fn check(self) -> Result<(), Fault> {
        let is_own = match (self.fetch_site, self.origin) {
            (Some("same-origin"), None | Some("null")) => true,
            (Some("same-origin") | None, Some(origin)) => self.is_own(origin),
            (None, None) | (Some(_), _) => false,
        };
        is_own.then_some(()).ok_or_else(cross_site)
    }

    /// True if an origin is that of tollgate: the public URL, or of the host that the request names. If people reach that
    /// host over TLS, its page without TLS may be anybody's.
    fn is_own(self, origin: &str) -> bool {
        let Ok((origin, "")) = Origin::split(origin) else { return false };
        let host = self.host.map(|host| format!("{}://{host}", origin.scheme.as_str()));
        let is_host = host.as_deref().map(Origin::split).is_some_and(|host| host == Ok((origin.clone(), "")));
        let lacks_tls = origin.scheme == Scheme::Http
            && match self.site.public_url {
                Some(url) => url.scheme == Scheme::Https && url.host() == origin.host(),
                None => self.site.is_tls,
            };
        (is_host && !lacks_tls) || self.site.public_url == Some(&origin)
    }

    /// True if the page was loaded over TLS: a cookie that is set then is for TLS alone.
    pub fn is_secure(self) -> bool {
        let is_tls = |origin: &Origin| origin.scheme == Scheme::Https;
        self.site.is_secure()
            || self
                .origin
                .and_then(|text| Origin::split(text).ok())
                .is_some_and(|(origin, _)| is_tls(&origin))
    }
}

fn cross_site() -> Fault {
    let message = "This change was not asked for by a page of this tollgate, as far as the browser says. \
        Behind a proxy that changes `Host`, set `public_url` to the address that people open";
    Fault::new(FaultKind::CrossSite, message)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn head(method: &str, lines: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/auth/creds");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_first_name_that_has_a_value_counts() {
        let check = |cookie: SessionCookie, lines: &[&str], expected: Option<&str>| {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            let found = cookie.session(&head("GET", &lines), Site::default()).unwrap();
            assert_eq!(found.as_ref().map(Secret::expose), expected, "{lines:?}");
        };
        let user = SessionCookie::User;
        check(user, &["tollgate=a"], Some("a"));
        check(user, &["tollgate=a; __Host-tollgate=b"], Some("b"));
        check(user, &["x=1;tollgate=a ;y=2"], Some("a"));
        check(user, &["x=1", "tollgate=a"], Some("a"));
        check(user, &["tollgate=a=b"], Some("a=b"));
        check(user, &["__Host-tollgate=; tollgate=a"], Some("a"));
        check(SessionCookie::Admin, &["tollgate-admin=a; tollgate=b"], Some("a"));
        check(SessionCookie::Admin, &["__Host-tollgate-admin=a; tollgate-admin=b"], Some("a"));
        for none in
            ["", "tollgate", "tollgate=", "tollgate=a b", "Tollgate=a", "tollgate-admin=a", "x-tollgate=a"]
        {
            check(user, &[none], None);
        }
        check(SessionCookie::Admin, &["tollgate=a"], None);
        // Another site of the same domain may have set one of them.
        check(user, &["tollgate=a; tollgate=b"], None);
        check(user, &["tollgate=a", "tollgate=a"], None);
        check(user, &["__Host-tollgate=a; __Host-tollgate=b; tollgate=c"], Some("c"));
    }

    #[test]
    fn a_plain_name_does_not_count_where_people_come_over_tls() {
        let [plain, tls] = ["http://a.example", "https://a.example"].map(|url| Origin::split(url).unwrap().0);
        for (public_url, is_tls, cookie, expected) in [
            (Some(&plain), false, "tollgate=a", Some("a")),
            (Some(&plain), true, "tollgate=a", Some("a")),
            (Some(&tls), false, "tollgate=a", None),
            (Some(&tls), false, "tollgate=a; __Host-tollgate=b", Some("b")),
            (Some(&tls), false, "__Host-tollgate=; tollgate=a", None),
            (None, true, "tollgate=a", None),
            (None, true, "tollgate=a; __Host-tollgate=b", Some("b")),
        ] {
            let head = head("GET", &[("cookie", cookie)]);
            let found = SessionCookie::User.session(&head, Site { public_url, is_tls }).unwrap();
            assert_eq!(found.as_ref().map(Secret::expose), expected, "{cookie}");
        }
        // Without the setting, a change says it.
        let lines = [("cookie", "tollgate=a"), ("origin", "https://a.example"), ("host", "a.example")];
        assert_eq!(SessionCookie::User.session(&head("POST", &lines), Site::default()), Ok(None));
    }

    #[test]
    fn a_token_of_the_request_goes_before_the_cookie() {
        for (name, value, expected) in [
            ("authorization", "Bearer tg_1", None),
            ("authorization", "Basic YTpi", None),
            ("authorization", "", Some("a")),
            ("x-api-key", "tg_1", None),
            ("x-goog-api-key", "tg_1", Some("a")),
        ] {
            let head = head("GET", &[("cookie", "tollgate=a"), (name, value)]);
            let found = SessionCookie::User.session(&head, Site::default()).unwrap();
            assert_eq!(found.as_ref().map(Secret::expose), expected, "{name} {value}");
        }
    }

    #[test]
    fn only_own_pages_change_anything() {
        const HOST: (&str, &str) = ("host", "gw.example");
        for (method, lines, expected) in [
            ("GET", &[][..], true),
            ("HEAD", &[("sec-fetch-site", "cross-site")], true),
            ("POST", &[], false),
            ("POST", &[("origin", "http://gw.example")], true),
            ("PUT", &[("origin", "http://evil.example")], false),
            ("DELETE", &[("sec-fetch-site", "same-origin")], true),
            ("PATCH", &[("sec-fetch-site", "same-site")], false),
        ] {
            let head = head(method, &[&[HOST, ("cookie", "tollgate=a")], lines].concat());
            let found = SessionCookie::User.session(&head, Site::default()).map_err(|fault| fault.kind);
            assert_eq!(found.is_ok(), expected, "{method} {lines:?}");
            assert!(found.err().is_none_or(|kind| kind == FaultKind::CrossSite));
        }
        // Without a session, authentication decides.
        assert_eq!(SessionCookie::User.session(&head("POST", &[HOST]), Site::default()), Ok(None));
    }

    #[test]
    fn both_headers_have_to_fit() {
        let public = Origin::split("https://public.example:8443").unwrap().0;
        let check = |fetch_site: Option<&str>, origin: Option<&str>, host: &str, expected: bool| {
            let site = Site { public_url: Some(&public), is_tls: false };
            let page = PageOrigin { fetch_site, origin, host: Some(host), site };
            assert_eq!(page.check().is_ok(), expected, "{page:?}");
        };
        let same = Some("same-origin");
        let own = Some("https://gw.example");
        check(None, None, "gw.example", false);
        check(None, own, "gw.example", true);
        check(None, Some("http://gw.example"), "gw.example", true);
        check(None, own, "GW.example:443", true);
        check(None, Some("http://gw.example"), "gw.example:80", true);
        check(None, Some("http://127.0.0.1:8787"), "127.0.0.1:8787", true);
        check(None, Some("http://[::1]:8787"), "[::1]:8787", true);
        check(None, Some("https://public.example:8443"), "10.0.0.1", true);
        check(None, Some("https://public.example"), "public.example", true);
        check(None, Some("http://public.example"), "public.example", false);
        for other in [
            "",
            "null",
            "https://evil.example",
            "https://gw.example.evil.example",
            "https://gw.example:444",
            "https://gw.example/",
            "https://a@gw.example",
            "gw.example",
            "ftp://gw.example",
            "https://public.example",
            "http://public.example:8443",
        ] {
            check(None, Some(other), "gw.example", false);
            check(same, Some(other), "gw.example", other == "null");
        }
        check(None, own, "gw.example:444", false);
        check(None, own, "", false);
        check(same, None, "", true);
        check(same, own, "gw.example", true);
        for other in ["", "none", "same-site", "cross-site", "Same-Origin"] {
            check(Some(other), None, "gw.example", false);
            check(Some(other), Some("null"), "gw.example", false);
            check(Some(other), own, "gw.example", false);
        }
        let mut twice = HeaderMap::new();
        for value in ["https://gw.example", "https://evil.example"] {
            twice.append(header::ORIGIN, HeaderValue::from_static(value));
        }
        twice.insert(header::HOST, HeaderValue::from_static("gw.example"));
        assert_eq!(PageOrigin::of(&twice, Site::default()).origin, Some(""));
        assert!(PageOrigin::of(&twice, Site::default()).check().is_err());
    }

    #[test]
    fn tls_is_known_from_the_page_or_the_settings() {
        let [plain, tls] = ["http://a.example", "https://a.example"].map(|url| Origin::split(url).unwrap().0);
        let check = |origin: Option<&str>, public_url: Option<&Origin>, is_tls, expected: bool| {
            let site = Site { public_url, is_tls };
            let page = PageOrigin { origin, site, ..PageOrigin::default() };
            assert_eq!(page.is_secure(), expected, "{page:?}");
        };
        check(None, None, false, false);
        check(Some("http://a.example"), Some(&plain), false, false);
        check(Some("null"), None, false, false);
        check(Some("https://a.example"), None, false, true);
        check(None, Some(&tls), false, true);
        check(None, None, true, true);
        check(None, Some(&plain), true, false);
    }
}
