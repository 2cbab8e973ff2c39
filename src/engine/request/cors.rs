//! CORS: the requests that pages of other origins may send, and the responses that they may read.
//!
//! Every page may read every response, unless a setting lists the origins of those that may: it needs a token for anything
//! but health checks, and cookies never count. The answer to a preflight is the same for all paths, so that nobody without
//! a token can probe for endpoints. Whatever an upstream says about CORS is removed before (`safety`).

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::language::compile::{self, Glob, HeaderGlob};

/// Headers that browsers may send to every provider.
const COMMON: [&str; 3] = ["Content-Type", "Authorization", "x-api-key"];
/// All methods that an endpoint may have.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// The time that browsers may remember the answer to a preflight, in seconds.
const MAX_AGE: &str = "86400";
/// The parts of a preflight that its answer depends on.
const VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, \
    Access-Control-Request-Private-Network";
/// Maximum number of requested headers that a preflight's answer considers.
const MAX_REQUESTED: usize = 128;

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// What the provider files allow to pages.
#[derive(Debug)]
pub struct Cors {
    /// The list of every answer: the common headers, and the names in the files' `cors_headers`.
    listed: HeaderValue,
    names: BTreeSet<Box<str>>,
    globs: Vec<Glob>,
}

/// Origins whose pages may send any header, and call from a public network into a private one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedOrigins {
    any: bool,
    origins: Vec<Box<str>>,
}

/// The pages that may read responses of providers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Readers {
    /// Those of all origins.
    #[default]
    All,
    /// Those of these origins.
    Only(TrustedOrigins),
}

impl Readers {
    /// Those of `listed`, where `*` stands for all, and of the origins that are trusted by name.
    pub fn new(listed: TrustedOrigins, trusted: &TrustedOrigins) -> Self {
        if listed.any {
            return Self::All;
        }
        let origins = listed.origins.into_iter().chain(trusted.origins.iter().cloned()).collect();
        Self::Only(TrustedOrigins { any: false, origins })
    }
}

impl Cors {
    /// The union over all files.
    pub fn of<'p>(providers: impl Iterator<Item = &'p compile::Provider> + Clone) -> Self {
        let is_name = |pattern: &&str| !pattern.contains('*');
        let listed =
            providers.clone().flat_map(|provider| provider.cors_headers.iter().map(HeaderGlob::as_str));
        let listed = listed.filter(is_name).collect();
        let patterns: BTreeSet<&str> = providers.flat_map(compile::Provider::browser_headers).collect();
        let (names, globs): (Vec<&str>, Vec<&str>) = patterns.into_iter().partition(is_name);
        let common = COMMON.map(str::to_ascii_lowercase).map(String::into_boxed_str);
        Self {
            listed: list(&listed),
            names: names.into_iter().map(Box::from).chain(common).collect(),
            globs: globs.into_iter().map(Glob::new).collect(),
        }
    }

    /// True if pages may send a header, by its name in lower case.
    pub fn allows(&self, name: &str) -> bool {
        self.names.contains(name) || self.globs.iter().any(|glob| glob.matches(name))
    }

    /// Marks a response to a request of `page`, the origin that it names: the page may read it if `readers` has the origin.
    pub fn mark(&self, headers: &mut HeaderMap, page: Option<&HeaderValue>, readers: &Readers) {
        let fixed = HeaderValue::from_static;
        let reader = match readers {
            Readers::All => fixed("*"),
            Readers::Only(origins) => {
                // Caches must not give the answer for one origin to another.
                headers.append(header::VARY, fixed("Origin"));
                match page.filter(|page| origins.contains(page)) {
                    Some(page) => page.clone(),
                    None => return,
                }
            }
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, reader);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, fixed(METHODS));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.listed.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, fixed("*"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, fixed(MAX_AGE));
    }

    /// The answer to a preflight: of what it asks for, what the files allow; for a trusted origin, all of it. Nothing for a
    /// page that is none of the readers.
    pub fn preflight(&self, asked: &HeaderMap, trusted: &TrustedOrigins, readers: &Readers) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.mark(&mut headers, asked.get(header::ORIGIN), readers);
        if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            return headers;
        }
        let is_trusted = asked.get(header::ORIGIN).is_some_and(|origin| trusted.contains(origin));
        let wanted = requested(asked).filter(|name| is_trusted || self.allows(name.as_str()));
        let known = self.listed.to_str().unwrap_or_default();
        let is_listed =
            |name: &HeaderName| known.split(", ").any(|one| one.eq_ignore_ascii_case(name.as_str()));
        let more: BTreeSet<String> =
            wanted.filter(|name| !is_listed(name)).map(|name| name.to_string()).collect();
        let all: Vec<&str> = std::iter::once(known).chain(more.iter().map(String::as_str)).collect();
        let mut replace = |name: HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        };
        replace(header::ACCESS_CONTROL_ALLOW_HEADERS, value(&all.join(", ")));
        if is_trusted {
            let method = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD).and_then(own_method);
            replace(header::ACCESS_CONTROL_ALLOW_METHODS, method);
            let private = asked.get(REQUEST_PRIVATE_NETWORK).filter(|value| *value == "true");
            replace(ALLOW_PRIVATE_NETWORK, private.cloned());
        }
        headers.insert(header::VARY, HeaderValue::from_static(VARY));
        headers
    }
}

/// The names that a preflight asks for.
pub fn requested(asked: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let lines = asked.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    names.take(MAX_REQUESTED).filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

/// All methods, with one that is none of those of endpoints.
fn own_method(asked: &HeaderValue) -> Option<HeaderValue> {
    let method = Method::from_bytes(asked.as_bytes()).ok()?;
    let is_known = METHODS.split(", ").any(|known| known == method.as_str());
    (!is_known).then(|| value(&format!("{METHODS}, {method}")))?
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

/// The common headers and these.
fn list(names: &BTreeSet<&str>) -> HeaderValue {
    let fresh = names.iter().filter(|name| !COMMON.iter().any(|known| known.eq_ignore_ascii_case(name)));
    let all: Vec<&str> = COMMON.into_iter().chain(fresh.copied()).collect();
    value(&all.join(", ")).expect("header names are header values")
}

impl TrustedOrigins {
    /// Origins as browsers send them, or `*` for all. The error is the first that is none, and a fragment about it.
    pub fn parse(texts: &[String]) -> Result<Self, (String, String)> {
        let mut trusted = Self::default();
        for text in texts.iter().map(|text| text.trim()) {
            if text == "*" {
                trusted.any = true;
                continue;
            }
            let origin = origin(text).map_err(|problem| (text.to_owned(), problem.to_owned()))?;
            trusted.origins.push(origin.into_boxed_str());
        }
        Ok(trusted)
    }

    fn contains(&self, origin: &HeaderValue) -> bool {
        self.any || self.origins.iter().any(|one| origin.as_bytes().eq_ignore_ascii_case(one.as_bytes()))
    }
}

/// An origin in the form that browsers send: scheme and host in lower case, without a default port.
fn origin(text: &str) -> Result<String, &'static str> {
    const FORM: &str = "write origins, as `https://app.example` or `http://localhost:3000`, or `*`";
    if text.eq_ignore_ascii_case("null") {
        return Err("every sandboxed page has this origin: write `*` to trust all pages");
    }
    let (scheme, host) = text.split_once("://").ok_or(FORM)?;
    let scheme = scheme.to_ascii_lowercase();
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@*,\\".contains(&byte);
    if !scheme.starts_with(|first: char| first.is_ascii_lowercase())
        || !scheme.bytes().all(is_scheme)
        || host.is_empty()
        || !host.bytes().all(is_host)
    {
        return Err(FORM);
    }
    let default = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix(default).unwrap_or(&host);
    Ok(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(names: &[&str], globs: &[&str]) -> Cors {
        Cors {
            listed: list(&["acme-version"].into()),
            names: names.iter().copied().map(Box::from).collect(),
            globs: globs.iter().map(|glob| Glob::new(glob)).collect(),
        }
    }

    fn trusted(origins: &[&str]) -> TrustedOrigins {
        TrustedOrigins::parse(&origins.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_a_preflight_allows() {
        let cors = cors(&["x-key"], &["x-stainless-*"]);
        let check =
            |asked: &[(&'static str, &'static str)], origins: &[&str], expected: [Option<&str>; 3]| {
                let asked = asked
                    .iter()
                    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
                let found = cors.preflight(&asked.collect(), &trusted(origins), &Readers::All);
                let text = |name: HeaderName| found.get(name).map(|value| value.to_str().unwrap().to_owned());
                let common = "Content-Type, Authorization, x-api-key, acme-version";
                let headers = text(header::ACCESS_CONTROL_ALLOW_HEADERS).unwrap();
                let headers = headers.strip_prefix(common).unwrap().to_owned();
                let methods = text(header::ACCESS_CONTROL_ALLOW_METHODS).unwrap();
                let methods = methods.strip_prefix(METHODS).unwrap().to_owned();
                let seen = [Some(headers), Some(methods), text(ALLOW_PRIVATE_NETWORK)];
                assert_eq!(seen.each_ref().map(Option::as_deref), expected, "{origins:?}");
                assert_eq!(text(header::ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), "*");
                assert!(text(header::VARY).unwrap().contains("Origin"));
            };
        let names = (
            "access-control-request-headers",
            "X-Stainless-OS,x-key, acme-version,x-other, content-type,b d",
        );
        let from = ("origin", "https://app.example");
        let method = ("access-control-request-method", "PURGE");
        let private = ("access-control-request-private-network", "true");
        let files = [Some(", x-key, x-stainless-os"), Some(""), None];
        check(&[], &["*"], [Some(""), Some(""), None]);
        check(&[names], &[], files);
        check(&[names, from, method, private], &["https://other.example"], files);
        let all = [Some(", x-key, x-other, x-stainless-os"), Some(", PURGE"), Some("true")];
        check(&[names, from, method, private], &["https://other.example", "HTTPS://App.example:443"], all);
        check(&[names, from, method, private], &["*"], all);
        check(&[from, ("access-control-request-method", "GET")], &["*"], [Some(""), Some(""), None]);
    }

    #[test]
    fn a_preflight_asks_for_a_bounded_number() {
        let many = (0..10_000).map(|number| format!("x-{number}")).collect::<Vec<_>>().join(",");
        let asked = HeaderMap::from_iter([
            (header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_str(&many).unwrap()),
            (header::ORIGIN, HeaderValue::from_static("https://a.example")),
        ]);
        let found = cors(&[], &[]).preflight(&asked, &trusted(&["*"]), &Readers::All);
        let allowed = found[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
        assert_eq!(allowed.split(", ").count(), MAX_REQUESTED + 4);
    }

    #[test]
    fn only_listed_pages_may_read() {
        let check = |listed: &[&str], also: &[&str], page: Option<&'static str>, expected: Option<&str>| {
            let readers = Readers::new(trusted(listed), &trusted(also));
            let page = page.map(HeaderValue::from_static);
            let mut headers = HeaderMap::new();
            cors(&[], &[]).mark(&mut headers, page.as_ref(), &readers);
            let seen = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap());
            assert_eq!(seen, expected, "{listed:?} {also:?} {page:?}");
            assert_eq!(headers.contains_key(header::VARY), seen != Some("*"), "{listed:?} {page:?}");
            assert_eq!(headers.contains_key(header::ACCESS_CONTROL_EXPOSE_HEADERS), seen.is_some());
        };
        let app = "https://app.example";
        check(&["*"], &[], Some(app), Some("*"));
        check(&[app], &["*"], Some("null"), None);
        check(&[app], &[], Some(app), Some(app));
        check(&["http://a.example"], &[app], Some(app), Some(app));
        check(&[app], &[], Some("https://app.example.evil.example"), None);
        check(&[app], &[], Some("null"), None);
        check(&[app], &[], None, None);
        check(&[], &[], Some(app), None);
    }

    #[test]
    fn origins_are_as_browsers_send_them() {
        let check = |text: &str, expected: Result<&str, ()>| {
            assert_eq!(origin(text).as_deref().map_err(drop), expected, "{text}");
        };
        check("https://app.example", Ok("https://app.example"));
        check("HTTPS://App.Example:443", Ok("https://app.example"));
        check("http://localhost:3000", Ok("http://localhost:3000"));
        check("http://[::1]:80", Ok("http://[::1]"));
        check("chrome-extension://abcdef", Ok("chrome-extension://abcdef"));
        for bad in [
            "",
            "null",
            "app.example",
            "https://",
            "https://a/",
            "https://*.example",
            "https://u@a",
            "a b://c",
        ] {
            check(bad, Err(()));
        }
    }
}
