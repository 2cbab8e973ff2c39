//! The caller's token in generated places and encodings: none of them goes upstream.

use std::fmt::Write as _;

use super::*;
use crate::{
    base::fault::{Fault, FaultKind},
    pipeline,
    request::decide::{Begun, CallerFacts, ListenerRole, UpstreamRequest},
    shipped,
};

const DEMO: &str = r#"title = "Demo"
base_url = "https://demo.example"
path_prefix = "/demo"
headers = { pass = ["x-forwarded-for", "referer"], default = { api-key = "own" }, remove = ["x-removed"] }
endpoint.get = { method = "GET", path = "/get/{a}/{b}", headers.set = { x-a = "{a}" }, query.set = { b = "{b}" } }
endpoint.plain = { method = "GET", path = "/plain/{a}" }
"#;

const OWN: &str = "tg_0123456789abcdef0123456789abcdef0123456789abcdef";
const PASTE: &str = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2EifQ.c2lnbmF0dXJl-c2lnbmF0dXJlc2ln";
/// Tokens, each as its client presents it and as it sends it again.
const TOKENS: [(&str, &str); 7] = [
    (OWN, OWN),
    ("sk-ant-oat-tg_0123456789abcdef0123456789abcdef0123456789abcdef", OWN),
    (OWN, "sk-ant-oat-tg_0123456789abcdef0123456789abcdef0123456789abcdef"),
    (PASTE, PASTE),
    ("imported1", "imported1"),
    ("an-imported-token~of.another+form/1=", "an-imported-token~of.another+form/1="),
    ("an-imported-token~of.another+form/1=", "token~of.another+form/1="),
];

/// The forms of `encoded`, one around the other.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    /// Of every byte, or of every so many.
    Percent(usize),
    /// With this text before the token and after it.
    Base64(&'static str, &'static str),
    Base64Url(&'static str, &'static str),
    QuotedPairs(usize),
}

fn encoding() -> impl Strategy<Value = Encoding> {
    let pair =
        (prop::sample::select(vec!["", "u:", "us:", "use:"]), prop::sample::select(vec!["", ":", ":pw"]));
    prop_oneof![
        (1..4_usize).prop_map(Encoding::Percent),
        pair.clone().prop_map(|(before, after)| Encoding::Base64(before, after)),
        pair.prop_map(|(before, after)| Encoding::Base64Url(before, after)),
    ]
}

fn encoded(text: &str, encoding: Encoding) -> String {
    let mut out = String::new();
    match encoding {
        Encoding::Percent(step) => text.bytes().enumerate().for_each(|(at, byte)| {
            let _ =
                if at % step == 0 { write!(out, "%{byte:02x}") } else { write!(out, "{}", char::from(byte)) };
        }),
        Encoding::Base64(before, after) => out = base64(&format!("{before}{text}{after}"), *b"+/", true),
        Encoding::Base64Url(before, after) => out = base64(&format!("{before}{text}{after}"), *b"-_", false),
        Encoding::QuotedPairs(step) => text.chars().enumerate().for_each(|(at, one)| {
            out.push_str(if at % step == 0 || one == '\\' { "\\" } else { "" });
            out.push(one);
        }),
    }
    out
}

fn base64(text: &str, last: [u8; 2], padded: bool) -> String {
    let alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last).collect();
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        out.extend((0..=three.len()).map(|at| char::from(alphabet[bits >> (18 - 6 * at) & 63])));
        out.push_str(if padded { ["==", "=", ""][three.len() - 1] } else { "" });
    }
    out
}

#[derive(Debug, Clone)]
enum Place {
    Header(String),
    HeaderName,
    /// The second of three lines of a header.
    HeaderLine,
    Query(String),
    QueryName,
    Path,
}

fn place() -> impl Strategy<Value = Place> {
    let headers = vec![
        "api-key",
        "x-goog-api-key",
        "content-type",
        "x-forwarded-for",
        "referer",
        "user-agent",
        "x_api_key",
    ];
    let parameters = vec!["key", "api_key", "access_token", "token", "b", "k%65y"];
    prop_oneof![
        2 => prop::sample::select(headers).prop_map(|name| Place::Header(name.to_owned())),
        1 => "x-[a-z]{1,9}".prop_map(Place::Header),
        1 => Just(Place::HeaderName),
        1 => Just(Place::HeaderLine),
        2 => prop::sample::select(parameters).prop_map(|name| Place::Query(name.to_owned())),
        1 => "[a-z]{1,9}".prop_map(Place::Query),
        1 => Just(Place::QueryName),
        2 => Just(Place::Path),
    ]
}

/// A request with the token in `authorization`, and a piece with the token in a place. None if it is no request.
fn request_with(token: &str, place: &Place, piece: &str, absolute: bool) -> Option<Parts> {
    let mut path = String::from("/demo/plain/x");
    let mut query = String::from("a=1");
    let mut headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
    headers.extend(["x-kept", "x-removed"].map(|name| (name.to_owned(), "kept".to_owned())));
    match place {
        Place::Header(name) => headers.push((name.clone(), piece.to_owned())),
        Place::HeaderName => headers.push((piece.to_owned(), "1".to_owned())),
        Place::HeaderLine => {
            headers.extend(["1", piece, "3"].map(|line| ("x-lines".to_owned(), line.to_owned())));
        }
        Place::Query(name) => query = format!("a=1&{name}={piece}&z=2"),
        Place::QueryName => query = format!("a=1&{piece}=1&z=2"),
        Place::Path => path = format!("/demo/get/{piece}/x"),
    }
    let start = if absolute { "http://user@gateway.test" } else { "" };
    let mut request = Request::get(format!("{start}{path}?{query}")).version(http::Version::HTTP_10);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    Some(request.body(()).ok()?.into_parts().0)
}

fn decided<'t>(
    head: &Parts,
    table: &'t Table,
    check: impl FnOnce(&UpstreamRequest<'_>),
) -> Result<&'t Table, Fault> {
    let Begun::Provider(call) = decide::begin(head, table, ListenerRole::All)? else {
        panic!("{} is a provider's path", head.uri.path())
    };
    let authorized = call.authenticated(CallerFacts::UNRESTRICTED)?.in_scope()?;
    let sendable = authorized.credential([|_: &str| None], 0)?.without_refresh();
    check(&sendable.request(0)?);
    Ok(table)
}

/// What surrounds the token in a value.
const AROUND: [(&str, &str); 9] = [
    ("", ""),
    ("Bearer ", ""),
    ("Basic ", ""),
    ("basic ", ", x"),
    ("a=b; c=", "; d=e"),
    ("x,", ",y"),
    ("{\"k\":\"", "\"}"),
    ("v1/", "/x"),
    ("ab-", "-cd"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_place_and_no_encoding_lets_the_token_go_up(
        (presented, token) in prop::sample::select(TOKENS.to_vec()),
        place in place(),
        encodings in prop::collection::vec(encoding(), 0..=3),
        // A field's own syntax, and so the outermost encoding.
        quoted in prop::option::weighted(0.2, 1..4_usize),
        (before, after) in prop::sample::select(AROUND.to_vec()),
        absolute: bool,
    ) {
        // Names of headers lose their case, and with it the meaning of base64.
        let mut base64 = if matches!(place, Place::HeaderName) { 0 } else { 2 };
        let mut encodings = encodings;
        encodings.retain(|one| match one {
            Encoding::Base64(..) | Encoding::Base64Url(..) if base64 == 0 => false,
            Encoding::Base64(..) | Encoding::Base64Url(..) => {
                base64 -= 1;
                true
            }
            Encoding::Percent(_) | Encoding::QuotedPairs(_) => true,
        });
        encodings.extend(quoted.map(Encoding::QuotedPairs));
        let piece = encodings.iter().fold(token.to_owned(), |text, one| encoded(&text, *one));
        let around = match place {
            Place::Header(_) | Place::HeaderLine => format!("{before}{piece}{after}"),
            Place::HeaderName | Place::Query(_) | Place::QueryName | Place::Path => piece.clone(),
        };
        let Some(head) = request_with(presented, &place, &around, absolute) else { return Ok(()) };
        let made = MADE.get_or_init(|| {
            let files = shipped::load_with(&[("demo.toml", DEMO)]);
            let made = pipeline::assemble(&files, |_| Ok(None));
            assert!(made.diagnostics.iter().all(|one| !one.is_error()), "{:?}", made.diagnostics);
            made
        });
        let lower = piece.to_lowercase();
        let outcome = decided(&head, &made.table, |out| {
            let leaks = |text: &str| text.to_lowercase().contains(&lower);
            let target = out.target.to_string();
            assert!(!leaks(&target), "{target}");
            for (name, value) in &out.headers {
                assert!(!leaks(name.as_str()) && !leaks(value.to_str().unwrap()), "{name}: {value:?}");
            }
            assert!(target.starts_with("/plain/x?a=1"), "{target}");
            assert_eq!(out.headers["x-kept"], "kept");
            assert_eq!(out.headers["api-key"], "own");
            assert!(!out.headers.contains_key("x-lines"));
        });
        let is_path = matches!(place, Place::Path);
        match outcome {
            Ok(_) => prop_assert!(!is_path, "{}", head.uri),
            Err(fault) => {
                let is_route = matches!(fault.kind, FaultKind::TokenInPath);
                prop_assert!(is_path && is_route && !fault.message.contains(&piece), "{fault:?} {}", head.uri);
            }
        }
    }
}

static MADE: std::sync::OnceLock<pipeline::Assembled> = std::sync::OnceLock::new();
