//! The caller's token in generated places and encodings: none of them goes upstream.

use std::fmt::Write as _;

use super::{
    super::TokenPart::{self, AfterPrefix, Whole},
    *,
};
use crate::{
    base::fault::{Fault, FaultKind},
    pipeline,
    request::decide::{Begun, CallerFacts, Listener, UpstreamRequest},
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
/// Tokens, each as its client presents it, the part that is the token, and as the client sends it again.
const TOKENS: [(&str, TokenPart, &str); 9] = [
    (OWN, Whole, OWN),
    ("sk-ant-oat-tg_0123456789abcdef0123456789abcdef0123456789abcdef", AfterPrefix, OWN),
    (OWN, Whole, "sk-ant-oat-tg_0123456789abcdef0123456789abcdef0123456789abcdef"),
    (PASTE, Whole, PASTE),
    ("imported1", Whole, "imported1"),
    ("an-imported-token~of.another+form/1=", Whole, "an-imported-token~of.another+form/1="),
    ("an-imported-token~of.another+form/1=", AfterPrefix, "token~of.another+form/1="),
    ("sk-abcdefgh1234", AfterPrefix, "abcdefgh1234"),
    ("sk-abcdefgh1234", AfterPrefix, "sk-ant-oat-abcdefgh1234"),
];

/// A query as a browser writes it: spaces become `+`.
fn form_encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'*' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// The forms of `encoded`, one around the other.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    /// Of every byte, or of every so many.
    Percent(usize),
    /// With this text before the token and after it.
    Base64(&'static str, &'static str),
    Base64Url(&'static str, &'static str),
    /// In lines of so many digits, with this between them.
    Lines(usize, &'static str),
    /// Of UTF-16, as PowerShell makes it.
    Utf16,
    /// A string of JSON, with escapes for every so many characters.
    Json(usize),
    QuotedPairs(usize),
}

fn encoding() -> impl Strategy<Value = Encoding> {
    let pair =
        (prop::sample::select(vec!["", "u:", "us:", "use:"]), prop::sample::select(vec!["", ":", ":pw"]));
    prop_oneof![
        (1..4_usize).prop_map(Encoding::Percent),
        pair.clone().prop_map(|(before, after)| Encoding::Base64(before, after)),
        pair.prop_map(|(before, after)| Encoding::Base64Url(before, after)),
        (8..77_usize, prop::sample::select(vec![" ", "\t", "\n", "\r\n", "\r\n "]))
            .prop_map(|(width, end)| Encoding::Lines(width, end)),
        Just(Encoding::Utf16),
        (1..4_usize).prop_map(Encoding::Json),
    ]
}

impl Encoding {
    fn is_base64(self) -> bool {
        matches!(self, Self::Base64(..) | Self::Base64Url(..) | Self::Lines(..) | Self::Utf16)
    }
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
        Encoding::Lines(width, end) => {
            let digits = base64(&format!("user:{text}"), *b"+/", true);
            let lines: Vec<_> =
                digits.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            out = lines.join(end);
        }
        Encoding::Utf16 => {
            let wide: String = text.chars().flat_map(|one| [one, '\0']).collect();
            out = base64(&wide, *b"+/", true);
        }
        Encoding::Json(step) => text.chars().enumerate().for_each(|(at, one)| match one {
            _ if at % step == 0 => {
                let _ = write!(out, "\\u{:04x}", u32::from(one));
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' | '\\' | '/' => out.extend(['\\', one]),
            _ => out.push(one),
        }),
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
    /// With `_` as `-`, as servers read names.
    DashedHeaderName,
    /// The second of three lines of a header.
    HeaderLine,
    Query(String),
    QueryName,
    /// As a form's field.
    Form(String),
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
        1 => Just(Place::DashedHeaderName),
        1 => Just(Place::HeaderLine),
        2 => prop::sample::select(parameters).prop_map(|name| Place::Query(name.to_owned())),
        1 => "[a-z]{1,9}".prop_map(Place::Query),
        1 => Just(Place::QueryName),
        2 => "[a-z]{1,9}".prop_map(Place::Form),
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
        Place::HeaderName | Place::DashedHeaderName => headers.push((piece.to_owned(), "1".to_owned())),
        Place::HeaderLine => {
            headers.extend(["1", piece, "3"].map(|line| ("x-lines".to_owned(), line.to_owned())));
        }
        Place::Query(name) | Place::Form(name) => query = format!("a=1&{name}={piece}&z=2"),
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
    part: TokenPart,
    check: impl FnOnce(&UpstreamRequest<'_>),
) -> Result<&'t Table, Fault> {
    let Begun::Provider(call) = decide::begin(head, table, Listener::ANY)? else {
        panic!("{} is a provider's path", head.uri.path())
    };
    let authorized = call
        .authenticated(CallerFacts { token_part: Some(part), ..CallerFacts::UNRESTRICTED })?
        .in_scope()?;
    let sendable = authorized.credential([|_: &str| None], 0)?.without_refresh();
    check(&sendable.request(0, Fresh::STAND_IN)?);
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
        (presented, part, token) in prop::sample::select(TOKENS.to_vec()),
        place in place(),
        encodings in prop::collection::vec(encoding(), 0..=3),
        // A field's own syntax, and so the outermost encoding.
        quoted in prop::option::weighted(0.2, 1..4_usize),
        (before, after) in prop::sample::select(AROUND.to_vec()),
        absolute: bool,
    ) {
        // Names of headers lose their case, and with it the meaning of base64. A form is a layer of its own.
        let is_name = matches!(place, Place::HeaderName | Place::DashedHeaderName);
        let mut base64 = if is_name { 0 } else { 2 };
        let is_form = matches!(place, Place::Form(_));
        let mut encodings = encodings;
        encodings.truncate(if is_form { 2 } else { 3 });
        encodings.retain(|one| {
            let fits = !one.is_base64() || base64 > 0;
            base64 -= usize::from(fits && one.is_base64());
            fits
        });
        encodings.extend(quoted.filter(|_| !is_form).map(Encoding::QuotedPairs));
        let piece = encodings.iter().fold(token.to_owned(), |text, one| encoded(&text, *one));
        let piece = match place {
            Place::DashedHeaderName => format!("x-{}", piece.replace('_', "-")),
            Place::Form(_) => form_encoded(&piece),
            _ => piece,
        };
        let around = match place {
            Place::Header(_) | Place::HeaderLine => format!("{before}{piece}{after}"),
            _ => piece.clone(),
        };
        let Some(head) = request_with(presented, &place, &around, absolute) else { return Ok(()) };
        let made = MADE.get_or_init(|| {
            let files = shipped::load_with(&[("demo.toml", DEMO)]);
            let made = pipeline::assemble(&files, |_| Ok(None));
            assert!(made.diagnostics.iter().all(|one| !one.is_error()), "{:?}", made.diagnostics);
            made
        });
        let lower = piece.to_lowercase();
        let outcome = decided(&head, &made.table, part, |out| {
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
