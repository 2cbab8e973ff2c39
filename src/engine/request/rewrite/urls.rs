//! URLs in headers of responses: one that an endpoint of the provider reaches becomes the URL at which clients reach it.
//! A redirect or an upload then comes back through tollgate, with the client's token, and not to the upstream.
//!
//! A URL that no endpoint reaches stays as it is: what clients may call is listed, never guessed. Only headers change.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use crate::{
    base::origin::Origin,
    language::{
        auth::FieldValues,
        bind::{Input, RequestInputs, ReturnedOrigin},
        compile::{ClientPath, MAX_CAPTURES, Part, Template},
    },
    request::table::{Hit, Table},
};

/// The address by which clients reach tollgate; none if it is not known.
pub type OwnAddress<'o> = Option<&'o Origin>;

/// The request that a response answers.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'r> {
    /// Its endpoint.
    pub hit: &'r Hit,
    /// Its head, as the client sent it.
    pub head: &'r Parts,
    /// The table that decided about it.
    pub table: &'r Table,
    /// The values that it was made of.
    pub values: &'r FieldValues<'r>,
}

/// Rewrites the URLs in the headers of a response. A provider that names no header costs nothing.
pub fn return_urls(request: Answered<'_>, own: OwnAddress<'_>, headers: &mut HeaderMap) {
    let Some(urls) = &request.hit.provider.returned_urls else { return };
    let known = urls.origins.iter();
    let known = known.filter_map(|one| Some((one.destination.origin(request.values).ok()?, one)));
    let returning = Returning { request, origins: known.collect() };
    for name in &urls.headers {
        let lines: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
        let changed = lines.iter().map(|line| returning.value(name, line, own)).collect::<Vec<_>>();
        if changed.iter().all(Option::is_none) {
            continue;
        }
        headers.remove(name);
        for (line, changed) in lines.into_iter().zip(changed) {
            headers.append(name.clone(), changed.unwrap_or(line));
        }
    }
}

struct Returning<'r> {
    request: Answered<'r>,
    /// The origins of URLs that may come back.
    origins: Vec<(Cow<'r, Origin>, &'r ReturnedOrigin)>,
}

impl Returning<'_> {
    /// The other value of a header; none if it stays.
    fn value(&self, name: &HeaderName, line: &HeaderValue, own: OwnAddress<'_>) -> Option<HeaderValue> {
        let text = line.to_str().ok()?;
        let (origins, target) = self.split(text)?;
        let (path, tail) = target.split_at(target.find(['?', '#']).unwrap_or(target.len()));
        let path = origins.into_iter().find_map(|origin| self.client_path(origin, path))?;
        // RFC 9110, sections 8.7 and 10.2.2: these may lack an origin. A client then keeps the address that it called.
        let is_reference = [header::LOCATION, header::CONTENT_LOCATION].contains(name);
        let front = own.filter(|_| !is_reference).map(Origin::to_string).unwrap_or_default();
        HeaderValue::from_str(&format!("{front}{path}{tail}")).ok()
    }

    /// The known origins of a URL, and the rest of it. A path alone belongs to the origin that was called.
    fn split<'u>(&self, url: &'u str) -> Option<(Vec<&ReturnedOrigin>, &'u str)> {
        let own = self.request.hit.endpoint().origin.as_ref().map(|origin| &origin.name);
        let called = || self.origins.iter().find(|(_, one)| one.name.as_ref() == own);
        let (origin, target) = if url.starts_with('/') && !url.starts_with("//") {
            ((*called()?.0).clone(), url)
        } else {
            // RFC 3986, section 3.1: a scheme has no case.
            let scheme = url.find(':')?;
            let lower = format!("{}{}", url[..scheme].to_ascii_lowercase(), &url[scheme..]);
            let (origin, target) = Origin::split(&lower).ok()?;
            (origin, &url[url.len() - target.len()..])
        };
        let known = self.origins.iter().filter(|(known, _)| **known == origin);
        Some((known.map(|(_, one)| *one).collect(), target))
    }

    /// The path at which a client reaches a path of the upstream.
    fn client_path(&self, origin: &ReturnedOrigin, path: &str) -> Option<String> {
        let Answered { hit, head, table, values } = self.request;
        let endpoints = hit.provider.endpoints.iter().zip(&origin.targets);
        endpoints.enumerate().find_map(|(index, (endpoint, target))| {
            let target = target.as_ref()?;
            let capture = |spans| captured(target, path, values, spans);
            [Spans::Segment, Spans::Segments].into_iter().filter_map(capture).find_map(|captured| {
                let mut paths: Vec<&ClientPath> = endpoint.paths.iter().collect();
                // The one most like the client's own: with the same prefix.
                paths.sort_by_key(|path| std::cmp::Reverse(common(&path.text, head.uri.path())));
                let made = paths.into_iter().find_map(|path| filled(path, &captured))?;
                // A more specific endpoint would take the request elsewhere.
                let found = table.find_canonical(&endpoint.method, &made)?;
                let inputs = RequestInputs { path: &made, captures: &found.captures, values };
                let reached = inputs.rendered(target)?;
                let is_same = found.provider.name == hit.provider.name && found.index() == index;
                (is_same && reached == path).then_some(made)
            })
        })
    }
}

/// The texts of captures, by index.
type Captured<'p> = [Option<&'p str>; MAX_CAPTURES];

/// How far a capture reaches that does not end a path.
#[derive(Clone, Copy)]
enum Spans {
    /// Within its segment.
    Segment,
    /// To the last place of the text after it.
    Segments,
}

/// The captures with which a target becomes a path. A capture ends at the last place in its segment where the text after
/// it may begin; the caller renders the target again, to be sure.
fn captured<'p>(
    target: &Template<Input>,
    path: &'p str,
    values: &FieldValues<'_>,
    spans: Spans,
) -> Option<Captured<'p>> {
    let mut captured = Captured::default();
    let mut rest = path;
    let mut parts = target.parts().iter().peekable();
    while let Some(part) = parts.next() {
        match part {
            Part::Text(text) => rest = rest.strip_prefix(text.as_str())?,
            Part::Placeholder { name: Input::Field(index), filters } => {
                let mut value = String::new();
                filters.push_to(&mut value, values.get(*index)?);
                rest = rest.strip_prefix(value.as_str())?;
            }
            Part::Placeholder { name: Input::Capture(index), filters } => {
                if !filters.is_empty() {
                    return None;
                }
                let end = match parts.peek() {
                    None => rest.len(),
                    Some(Part::Text(after)) => {
                        let segment = rest.find('/').unwrap_or(rest.len());
                        let own = after.split('/').next().unwrap_or_default();
                        match spans {
                            Spans::Segments if own.is_empty() => rest.rfind(after.as_str())?,
                            Spans::Segment | Spans::Segments if own.is_empty() => segment,
                            Spans::Segment | Spans::Segments => rest[..segment].rfind(own)?,
                        }
                    }
                    Some(Part::Placeholder { .. }) => return None,
                };
                captured[usize::from(*index)] = Some(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    rest.is_empty().then_some(captured)
}

/// A client path with its captures filled in; none if one of them is not known.
fn filled(path: &ClientPath, captured: &Captured<'_>) -> Option<String> {
    let mut slots = path.slots.iter();
    let (mut made, mut rest) = (String::with_capacity(path.text.len()), path.text.as_str());
    while let Some((front, after)) = rest.split_once('{') {
        made.push_str(front);
        made.push_str(captured[usize::from(*slots.next()?)]?);
        rest = after.split_once('}')?.1;
    }
    made.push_str(rest);
    Some(made)
}

/// The bytes that two paths have in common at their start.
fn common(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use http::{Method, Request};

    use super::*;
    use crate::{pipeline, shipped};

    const DEMO: &str = r#"title = "Demo"
base_url = "https://demo.example/base"
path_prefix = "/demo"
response_headers = { rewrite_urls = ["location", "x-upload"] }
[vars]
hub = { env = "HUB", optional = true }
[endpoint]
files = { method = "POST", path = "/v1/files", aliases = ["/old/files"] }
file = { method = "GET", path = "/v1/files/{id}" }
list = { method = "GET", path = "/v1/files/list", upstream_path = "/v1/lists" }
run = { method = "POST", path = "/m/{model}:run", upstream_path = "/models/{model}:run", aliases = ["/old/{model}"] }
rest = { method = "GET", path = "/blob/{rest...}", upstream_path = "/blobs/{rest}" }
two = { method = "GET", path = "/pair/{a}/of/{b}", upstream_path = "/pairs/{b}-{a}" }
fixed = { method = "GET", path = "/any/thing/{x}", upstream_path = "/constant" }
[gateway.hub]
path = "/g{path}"
when = ["hub"]
"#;
    const HUB: &str = "title = \"Hub\"\nbase_url = \"https://hub.example\"\nvars.token = { env = \"HUB\" }\n";

    /// The value of a header after the rewrite.
    fn returned(name: &str, value: &str, hub: bool, called: &str) -> String {
        let files = [("demo.toml", DEMO), ("gateways/hub.toml", HUB)];
        let made = pipeline::assemble(&shipped::load_with(&files), |_| Ok(hub.then(|| "on".into())));
        let errors: Vec<_> = made.diagnostics.iter().filter(|one| one.is_error()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        let hit = made.table.find(&Method::POST, called).unwrap();
        let head = Request::post(called).body(()).unwrap().into_parts().0;
        let own = Origin::split("https://gate.example:8443").unwrap().0;
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let mut headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_str(value).unwrap())]);
        let request =
            Answered { hit: &hit, head: &head, table: &made.table, values: &FieldValues::default() };
        return_urls(request, Some(&own), &mut headers);
        assert_eq!(headers.len(), 1);
        headers[&name].to_str().unwrap().to_owned()
    }

    #[test]
    fn urls_that_endpoints_reach_come_back() {
        let check = |url: &str, expected: &str| {
            assert_eq!(returned("location", url, false, "/demo/v1/files"), expected, "{url}");
        };
        check(
            "https://demo.example/base/v1/files/f1?x=https://demo.example/base#y",
            "/demo/v1/files/f1?x=https://demo.example/base#y",
        );
        check("https://DEMO.example:443/base/v1/files", "/demo/v1/files");
        check("/base/v1/files/f1", "/demo/v1/files/f1");
        check("https://demo.example/base/models/a:b:run", "/demo/m/a:b:run");
        check("https://demo.example/base/blobs/a/b%20c/d", "/demo/blob/a/b%20c/d");
        check("https://demo.example/base/v1/lists", "/demo/v1/files/list");
        check("https://demo.example/base/pairs/x-y", "/demo/pair/y/of/x");
        for stays in [
            "https://demo.example/base/v1/models",
            "https://demo.example/v1/files",
            "https://demo.example/base/constant",
            "https://demo.example/base/v1/files/list",
            "https://demo.example/base/v1/files/a/b",
            "https://demo.example/base/v1/files/..",
            "https://demo.example/base/v1/files/a%2Fb",
            "https://demo.example.evil.example/base/v1/files",
            "https://demo.example@evil.example/base/v1/files",
            "http://demo.example/base/v1/files",
            "https://demo.example:444/base/v1/files",
            "//demo.example/base/v1/files",
            "v1/files",
            "?x=1",
            "",
            "/v1/files",
        ] {
            check(stays, stays);
        }
    }

    #[test]
    fn a_client_gets_the_path_most_like_its_own() {
        let check = |called: &str, url: &str, expected: &str| {
            assert_eq!(returned("location", url, false, called), expected, "{called}");
        };
        check("/old/files", "https://demo.example/base/v1/files", "/old/files");
        check("/old/files", "https://demo.example/base/models/m:run", "/old/m");
        check("/demo/v1/files", "https://demo.example/base/models/m:run", "/demo/m/m:run");
    }

    #[test]
    fn other_headers_get_the_whole_url() {
        let check = |hub: bool, url: &str, expected: &str| {
            assert_eq!(returned("x-upload", url, hub, "/demo/v1/files"), expected, "{url}");
        };
        check(
            false,
            "https://demo.example/base/v1/files?id=1",
            "https://gate.example:8443/demo/v1/files?id=1",
        );
        check(
            true,
            "https://demo.example/base/v1/files?id=1",
            "https://gate.example:8443/demo/v1/files?id=1",
        );
        check(true, "https://hub.example/g/base/v1/files", "https://gate.example:8443/demo/v1/files");
        check(true, "/g/base/v1/files", "https://gate.example:8443/demo/v1/files");
        check(false, "https://hub.example/g/base/v1/files", "https://hub.example/g/base/v1/files");
    }
}
