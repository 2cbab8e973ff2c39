//! Any request head through token, find, choose and both rewrites: invariants of the outcome, whatever the files and
//! the client declare.
//!
//! The input is text: a digit for the location of the caller's token, `METHOD TARGET`, then a header per line.

#![no_main]

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header, request::Parts};
use libfuzzer_sys::fuzz_target;
use tollgate::{bind::{self, capture}, compile::{self, Part, safety}, decide::{self, Candidate}, files, name::FileName, rewrite::{self, RewrittenResponse, Outgoing, Withheld}, secret::Secret, settings::Source, syntax, table::{self, Hit, Table}};

/// A value that no input contains by chance.
const TOKEN: &str = "tgXtokenXofXtheXcaller";

/// Captures in paths, headers and queries; rest captures; an egress that wraps the URL; further token locations.
const OWN: &[(&str, &str)] = &[
    (
        "captures",
        r#"
title = "Captures"
path_prefix = "/proxy/{provider}"
base_url = "https://captures.example/base"
[caller]
headers = ["x-goog-api-key"]
query = ["key"]
[credentials]
section = "captures"
[[credentials.field]]
name = "key"
label = "Key"
[[auth]]
field = "key"
match = "sk-*"
set = { x-goog-api-key = "{secret}" }
[headers]
pass = ["x-forwarded-*", "origin", "cf-*"]
remove = ["x-stainless-*"]
default = { accept = "application/json" }
[endpoint.generate]
method = "POST"
path = "/v1beta/models/{model}:generateContent"
query = { remove = ["drop"], default = { model = "{model}" }, set = { alt = "sse" } }
[endpoint.show]
method = "GET"
path = "/v1/{kind}/x{id}y"
upstream_path = "/v2/{id}/of/{kind}"
headers = { set = { x-kind = "{kind}", x-id = "a {id} b" } }
[endpoint.rest]
method = "GET"
path = "/files/{name}/{rest...}"
"#,
    ),
    (
        "wrapped",
        r#"
title = "Wrapped"
path_prefix = "/w"
base_url = "http://wrapped.example:8080"
[vars]
egress = { env = "EGRESS", optional = true }
[credentials]
section = "wrapped"
[[credentials.field]]
name = "key"
label = "Key"
[[auth]]
field = "key"
set = { authorization = "Bearer {secret}" }
[endpoint.any]
method = "POST"
path = "/{rest...}"
[[egress]]
when = ["egress"]
url = "{egress}/through?url={url|urlencode}&end=1"
headers = { remove = ["x-real-*"], set = { x-egress = "{egress}" } }
[[response]]
when = { status = 403, content_type = "text/html*" }
reply = { status = 502, message = "{host} blocked this" }
"#,
    ),
];

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut loaded = files::load(&Source::Embedded).expect("the shipped files are there");
    for (name, text) in OWN {
        let (parsed, found) = syntax::parse(&format!("{name}.toml").into(), text);
        assert!(found.is_empty(), "{found:?}");
        loaded.files.providers.insert(FileName::new(name).expect("the name is well-formed"), parsed);
    }
    let compiled = compile::compile(&loaded.files);
    assert!(compiled.diagnostics.is_empty(), "{:?}", compiled.diagnostics);
    let own = ["captures", "wrapped"];
    let bound = compiled.providers.iter().filter_map(|provider| {
        // The shipped files are bound without vars: direct, where a gateway would need them.
        let value = own.contains(&provider.name.as_str()).then(|| "https://egress.example".to_owned());
        let (bound, found) = bind::bind(provider, |_, _, _| value.clone());
        assert!(value.is_none() || found.is_empty(), "{found:?}");
        bound.map(Arc::new)
    });
    Table::new(bound.collect(), Vec::new(), &[])
});

/// The head and its text. None if hyper would reject it.
fn head(text: &str) -> Option<Parts> {
    let (first, rest) = text.split_at_checked(1)?;
    let mut lines = rest.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let place = first.bytes().next()? & 7;
    let target = match place {
        3 if target.contains('?') => format!("{target}&%6bey={TOKEN}"),
        3 => format!("{target}?key={TOKEN}"),
        _ => target.to_owned(),
    };
    let mut request = Request::builder().method(method).uri(target);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        request = request.header(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    let request = match place {
        0 => request.header("authorization", format!("Bearer {TOKEN}")),
        1 => request.header("x-api-key", TOKEN),
        2 => request.header("x-goog-api-key", TOKEN),
        4 => request.header("authorization", format!("Bearer {TOKEN}")).header("x-api-key", TOKEN),
        _ => request,
    };
    let parts = request.body(()).ok()?.into_parts().0;
    parts.uri.path().starts_with('/').then_some(parts)
}

/// The names in `Connection`, and the fixed hop-by-hop headers.
fn hop_by_hop(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let nominated = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
    let always = ["keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "proxy-authenticate"]
        .map(str::to_owned);
    nominated.chain(always).filter(|name| !name.is_empty() && name != "te").collect()
}

fn check_request(hit: &Hit, head: &Parts, out: &Outgoing<'_>) {
    let values = |name: HeaderName| out.headers.get_all(name).iter().collect::<Vec<_>>();
    let owned: Vec<&HeaderName> = hit.provider.claimed.iter().collect();
    for name in hop_by_hop(&head.headers) {
        let set_by_us = name == "host" || owned.iter().any(|own| own.as_str() == name) || name == "accept";
        assert!(set_by_us || !out.headers.contains_key(name.as_str()), "{name} is sent upstream");
    }
    for name in ["content-length", "trailer", "expect", "cookie", "http2-settings", "x-api-key"] {
        assert!(!out.headers.contains_key(name), "{name} is sent upstream");
    }
    let trailers = rewrite::takes_trailers(&head.headers);
    assert_eq!(values(header::TE), if trailers { vec!["trailers"] } else { vec![] });
    assert_eq!(values(header::CONNECTION), if trailers { vec!["te"] } else { vec![] });
    for name in out.headers.keys().filter(|name| safety::request(&(*name).into()) == safety::HeaderClass::Passable) {
        let globs = hit.provider.headers.pass.iter().chain(&hit.endpoint().headers.pass);
        let passed = globs.into_iter().any(|glob| glob.matches(&name.into()));
        assert!(passed || owned.contains(&name), "{name} is sent upstream");
    }
    assert_eq!(values(header::HOST), [&out.origin.authority()]);
    for (name, value) in &out.headers {
        let bytes = value.as_bytes();
        assert!(
            !bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()),
            "the token is sent upstream in {name}"
        );
        assert!(
            !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
            "{name} contains a control character"
        );
    }
    check_target(hit, head, out);
}

fn check_target(hit: &Hit, head: &Parts, out: &Outgoing<'_>) {
    assert!(!out.target.contains(TOKEN), "the token is sent upstream in {}", out.target);
    assert!(!out.target.bytes().any(|byte| byte <= b' ' || byte == 0x7f), "{:?}", out.target);
    assert!(out.target.starts_with('/'));
    let (provider, endpoint) = (&hit.provider, hit.endpoint());
    if let Some(egress) = &provider.egress {
        assert_eq!(*out.origin, egress.origin);
        assert!(out.target.starts_with(egress.target.leading_text()));
        // The wrapped URL is one value: no character in it ends it.
        assert_eq!(out.target.matches(['&', '=', '?', '#']).count(), 4, "{}", out.target);
        return;
    }
    assert_eq!(*out.origin, provider.origin);
    assert!(out.target.starts_with(endpoint.target.leading_text()), "{}", out.target);
    let path = out.target.split('?').next().expect("a split has a first part");
    let client = head.uri.path();
    let slashes = endpoint.target.parts().iter().map(|part| match part {
        Part::Text(text) => text.matches('/').count(),
        Part::Placeholder { name, .. } => capture(client, &hit.captures, *name).matches('/').count(),
    });
    assert_eq!(path.matches('/').count(), slashes.sum::<usize>(), "{} from {client}", out.target);
    assert!(table::is_canonical(path), "{path} from {client}");
    // A capture that is not a rest stays within a segment.
    if !endpoint.paths.iter().any(|path| path.text.contains("...}")) {
        let own = endpoint.target.parts().iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.matches('/').count()),
            Part::Placeholder { .. } => None,
        });
        assert_eq!(path.matches('/').count(), own.sum::<usize>(), "{} from {client}", out.target);
    }
    let rules = &endpoint.query;
    if head.uri.query().is_none_or(str::is_empty) && rules.default.is_empty() && rules.set.is_empty() {
        assert!(!out.target.contains('?'), "{} has a query", out.target);
    }
    let count = |name: &str| {
        let query = out.target.split_once('?').map_or("", |(_, query)| query);
        query.split('&').filter(|pair| pair.split('=').next() == Some(name)).count()
    };
    for (name, _) in &rules.set {
        assert_eq!(count(name), 1, "{name} in {}", out.target);
    }
    for name in &rules.remove {
        assert_eq!(count(name), 0, "{name} in {}", out.target);
    }
}

fn check_answer(hit: &Hit, sent: &HeaderMap) {
    for (status, trailers) in [(StatusCode::OK, false), (StatusCode::FORBIDDEN, true)] {
        let RewrittenResponse::Relayed(headers) = rewrite::response(hit, status, sent.clone(), trailers) else {
            continue;
        };
        for name in hop_by_hop(sent) {
            assert!(!headers.contains_key(name.as_str()), "{name} comes down");
        }
        for name in ["connection", "set-cookie", "alt-svc", "strict-transport-security", "clear-site-data"] {
            assert!(!headers.contains_key(name), "{name} comes down");
        }
        assert!(trailers || !headers.contains_key("trailer"));
        assert!(headers.len() <= sent.len());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(text) = std::str::from_utf8(data).ok().filter(|text| !text.contains(TOKEN)) else { return };
    let Some(head) = head(text) else { return };
    let token = rewrite::token(&head, &TABLE);
    if text.starts_with('0') && head.headers.get_all(header::AUTHORIZATION).iter().count() == 1 {
        assert_eq!(token.as_ref().map(Secret::expose), Some(TOKEN));
    }
    let path = head.uri.path();
    if !table::is_canonical(path) {
        return;
    }
    let Some(hit) = TABLE.find(&head.method, path) else { return };
    check_answer(&hit, &head.headers);
    let secret = Secret::new("sk-1");
    let key = |_: &str| Some(Candidate::given(&secret));
    let chosen = decide::choose(&hit, &TABLE.fields, [key], 0).expect("there is a key for each field");
    let withheld = Withheld::of(&TABLE, token.as_ref());
    match rewrite::request(&hit, &head, chosen.as_ref(), withheld, rewrite::Fresh::STAND_IN) {
        Ok(out) => check_request(&hit, &head, &out),
        Err(fault) => assert!(!fault.message.contains(TOKEN)),
    }
});
