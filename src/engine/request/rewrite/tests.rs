use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, request::Parts};
use proptest::prelude::*;

use super::*;
use crate::{
    base::{header_name::FoldedName, secret::Secret},
    language::{
        bind,
        compile::{
            self, TokenLocations,
            safety::{self, HeaderClass},
        },
        fields::DeclaredFields,
    },
    request::{
        decide::{self, Candidate},
        table::{Hit, Table},
    },
};

mod places;

/// The caller's token, which must never reach an upstream.
const TOKEN: &str = "caller-token-0123";
const CREDENTIAL: &str = "stored-credential";

/// Shipped providers by themselves, without vars and with all of them, with one client path of each endpoint.
struct Shipped {
    tables: Vec<(Table, Vec<(Method, String)>)>,
    /// Header names that any file's `set` writes, by provider.
    sets: std::collections::BTreeMap<String, Vec<String>>,
}

fn shipped() -> Shipped {
    let loaded = crate::shipped::load();
    let compiled = compile::compile(&loaded.files);
    assert_eq!(compiled.diagnostics, []);
    let table = |providers: &[Arc<compile::Provider>], value: &dyn Fn(&str) -> Option<String>| {
        let bound = providers.iter().map(|one| bind::bind(one, |_, name, _| value(name)).0.unwrap());
        let bound: Vec<_> = bound.map(Arc::new).collect();
        let paths = bound.iter().flat_map(|one| &one.endpoints).flat_map(|endpoint| {
            endpoint.paths.iter().map(|path| (endpoint.method.clone(), path.text.replace(['{', '}'], "x")))
        });
        let paths: Vec<(http::Method, String)> = paths.collect();
        let table = Table::new(bound, Vec::new(), &[]);
        // A capture may have a closed set.
        let paths: Vec<_> =
            paths.into_iter().filter(|(method, path)| table.find(method, path).is_some()).collect();
        assert!(paths.len() > 500, "{}", paths.len());
        (table, paths)
    };
    let all = |name: &str| {
        Some(if name.ends_with("url") { format!("https://{name}.example.com") } else { format!("v-{name}") })
    };
    // Files with values of users are sent with these in their own tests.
    let is_plain = |one: &compile::Provider| {
        one.values().iter().all(|value| value.rule.is_none())
            && one.auth.iter().all(|entry| entry.field.is_some())
    };
    let plain: Vec<_> = compiled.providers.iter().filter(|one| is_plain(one)).cloned().collect();
    assert!(plain.len() > 100);
    let direct = table(&plain, &|_| None);
    let through = table(&plain, &all);
    let sets = compiled.providers.iter().map(|one| (one.name.to_string(), set_names(one))).collect();
    Shipped { tables: vec![direct, through], sets }
}

fn set_names(provider: &compile::Provider) -> Vec<String> {
    let sets = provider.egress.iter().map(|one| &one.overlay.set);
    let sets = sets.chain(provider.gateways.iter().map(|one| &one.gateway.overlay.set));
    let sets =
        sets.chain(provider.endpoints.iter().map(|one| &one.headers.set)).chain([&provider.headers.set]);
    let auth =
        provider.auth.iter().flat_map(|one| one.kind.outputs()).filter_map(|output| output.place.header());
    sets.flatten().map(|(name, _)| name).chain(auth).map(ToString::to_string).collect()
}

fn name() -> impl Strategy<Value = String> {
    let known = vec![
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "host",
        "http2-settings",
        "expect",
        "cookie",
        "proxy-authorization",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-real-ip",
        "true-client-ip",
        "via",
        "cdn-loop",
        "origin",
        "referer",
        "cf-ray",
        "cf-connecting-ip",
        "cf-aig-authorization",
        "cf-access-client-id",
        "cf-access-client-secret",
        "x-proxy-auth",
        "accept",
        "user-agent",
        "content-type",
        "x-nominated",
    ];
    prop_oneof![6 => prop::sample::select(known).prop_map(str::to_owned), 1 => "[a-zA-Z][a-zA-Z0-9_-]{0,12}"]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => "[ -~]{0,16}".prop_map(String::into_bytes),
        2 => prop::sample::select(vec!["te", "x-nominated, close", "trailers", "upgrade, accept", "chunked", "smuggled"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ]
}

/// A client's headers, with its token in any of the places where one can stand.
fn headers() -> impl Strategy<Value = HeaderMap> {
    let token = prop::sample::select(vec!["", "authorization", "x-api-key", "x-goog-api-key", "api-key"]);
    (prop::collection::vec((name(), value()), 0..12), token).prop_map(|(pairs, token)| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(name, value);
            }
        }
        if token == "authorization" {
            headers.append(token, HeaderValue::from_static("Bearer caller-token-0123"));
        } else if !token.is_empty() {
            headers.append(token, HeaderValue::from_static(TOKEN));
        }
        headers
    })
}

fn query() -> impl Strategy<Value = Option<String>> {
    let pair =
        prop_oneof![3 => "[a-z]{1,3}=[a-zA-Z0-9%+.,:/?]{0,6}", 1 => Just(String::new()), 1 => "[a-z=]{0,3}"];
    let pairs = prop::collection::vec(pair, 0..5).prop_map(|pairs| pairs.join("&"));
    let token = prop::sample::select(vec!["", "key=", "k%65y=", "%6Bey="]);
    prop::option::of((pairs, token).prop_map(|(pairs, token)| match token {
        "" => pairs,
        token => format!("{pairs}&{token}{TOKEN}"),
    }))
}

fn head(method: &Method, path: &str, query: Option<&str>, headers: HeaderMap) -> Parts {
    let uri = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut request = Request::builder().method(method).uri(uri).body(()).unwrap();
    *request.headers_mut() = headers;
    request.into_parts().0
}

/// Token locations of files that are not shipped.
fn token_locations() -> TokenLocations {
    let names = ["x-goog-api-key", "api-key"].map(HeaderName::from_static);
    let subprotocol = vec!["example-key.".to_owned()];
    TokenLocations {
        headers: names.to_vec(),
        query: vec!["key".to_owned()],
        subprotocol,
        schemes: Vec::new(),
    }
}

/// A head without a caller's token, with these token locations.
fn withheld(locations: &TokenLocations) -> Withheld<'_> {
    Withheld { locations, token: None }
}

fn sent(hit: &Hit, head: &Parts) -> (String, HeaderMap) {
    let secret = Secret::new(CREDENTIAL);
    let fields = DeclaredFields::default();
    let chosen = decide::choose(hit, &fields, [|_: &str| Some(Candidate::given(&secret))], 0).unwrap();
    let mut last = Last::default();
    let out = request_observed(
        hit,
        head,
        chosen.as_ref(),
        withheld(&token_locations()),
        Fresh::STAND_IN,
        &mut last,
    )
    .unwrap();
    check_observed(&last, &head.headers, &out.headers);
    (out.url(), out.headers)
}

/// The last decision about each header.
#[derive(Default)]
struct Last(std::collections::HashMap<HeaderName, Fate>);

impl Witness for Last {
    fn header(&mut self, name: &HeaderName, fate: Fate) {
        self.0.insert(name.clone(), fate);
    }
}

/// Compares a witness's decisions with the two heads, for each name of either.
fn check_observed(observed: &Last, came: &HeaderMap, went: &HeaderMap) {
    for name in came.keys().chain(went.keys()) {
        let goes = match observed.0[name] {
            Fate::Dropped(_) => false,
            Fate::Ruled(rule) => rule.kind != RuleKind::Remove,
            Fate::Kept | Fate::Engine(_) => true,
        };
        assert_eq!(goes, went.contains_key(name), "{name}: {:?}", observed.0[name]);
        let kept = matches!(observed.0[name], Fate::Kept);
        assert!(!kept || went.get_all(name).iter().eq(came.get_all(name)), "{name} is not as it came");
    }
}

/// The names that `Connection` nominates, computed in another way than the engine's.
fn nominated(headers: &HeaderMap) -> Vec<String> {
    let values = headers
        .get_all("connection")
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    values
        .flat_map(|value| {
            value.split(',').map(|name| name.trim().to_lowercase().replace('_', "-")).collect::<Vec<_>>()
        })
        .collect()
}

/// Checks what holds for every upstream head, whatever came in.
fn check_sent(shipped: &Shipped, hit: &Hit, sent: &HeaderMap, url: &str, client: &HeaderMap) {
    let nominated = nominated(client);
    let sets = &shipped.sets[hit.provider.name.as_str()];
    assert!(!url.contains(TOKEN), "{url}");
    for (name, value) in sent {
        let (text, value) = (name.as_str(), value.as_bytes());
        if hit.endpoint().upgrade.is_some() && is_handshake(text, value, client) {
            continue;
        }
        let ours = sets.iter().any(|set| set == text);
        assert!(!value.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()), "{name} holds the token");
        assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{name} can split a head");
        assert!(ours || !text.starts_with("cf-"), "{name} went up");
        assert!(
            ours || !nominated.contains(&text.replace('_', "-")) || is_trailers(text, value),
            "{name} was nominated"
        );
        match safety::request(&FoldedName::of(text)) {
            HeaderClass::Managed => {
                assert!(text == "host" || is_trailers(text, value), "{name} belongs to the hop");
            }
            HeaderClass::Stripped | HeaderClass::Passable => assert!(ours, "{name} went up"),
            HeaderClass::Plain => {}
        }
        if ours {
            let theirs = client.get_all(name).iter().any(|one| one.as_bytes() == value && !value.is_empty());
            assert!(!theirs, "{name} was smuggled");
        }
    }
}

/// The engine's own headers of a handshake: RFC 6455, section 4.1.
fn is_handshake(name: &str, value: &[u8], client: &HeaderMap) -> bool {
    match name {
        "connection" => value == b"Upgrade",
        "upgrade" => value == b"websocket",
        "sec-websocket-version" => value == b"13",
        "sec-websocket-key" => client.get(name).is_some_and(|key| key.as_bytes() == value),
        _ => false,
    }
}

/// The engine's own headers for a client that accepts trailers: RFC 9110, section 10.1.4.
fn is_trailers(name: &str, value: &[u8]) -> bool {
    matches!((name, value), ("te", b"trailers") | ("connection", b"te"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_unwanted_goes_up(client in headers(), query in query()) {
        let shipped = SHIPPED.get_or_init(shipped);
        for (table, paths) in &shipped.tables {
            for (method, path) in paths {
                let hit = table.find(method, path).unwrap();
                let head = head(method, path, query.as_deref(), client.clone());
                let (url, headers) = sent(&hit, &head);
                check_sent(shipped, &hit, &headers, &url, &client);
            }
        }
    }

    #[test]
    fn the_query_passes_byte_for_byte(query in "[a-zA-Z0-9%&=+.,:;/?!*'()_~-]{0,24}") {
        let shipped = SHIPPED.get_or_init(shipped);
        prop_assume!(!query.is_empty());
        let (table, paths) = &shipped.tables[0];
        for (method, path) in paths {
            let hit = table.find(method, path).unwrap();
            let head = head(method, path, Some(&query), HeaderMap::new());
            let with_key = request(&hit, &head, None, withheld(&token_locations()), Fresh::STAND_IN).unwrap().target;
            let (_, passed) = with_key.split_once('?').unwrap_or((&with_key, ""));
            prop_assert_eq!(passed, query.as_str());
        }
    }

    #[test]
    fn the_answer_loses_what_concerns_its_own_hop_and_origin(upstream in headers(), trailers: bool) {
        let shipped = SHIPPED.get_or_init(shipped);
        let (table, paths) = &shipped.tables[0];
        let hit = table.find(&paths[0].0, &paths[0].1).unwrap();
        let mut upstream = upstream;
        upstream.append("connection", HeaderValue::from_static("x-nominated"));
        upstream.append("x-nominated", HeaderValue::from_static("1"));
        let nominated = nominated(&upstream);
        for name in ["set-cookie", "alt-svc", "strict-transport-security", "clear-site-data", "service-worker-allowed", "trailer"] {
            upstream.append(name, HeaderValue::from_static("x"));
        }
        let RewrittenResponse::Relayed(kept) = response(&hit, StatusCode::OK, upstream.clone(), trailers) else {
            return Err(TestCaseError::fail("no rule is about a 200"));
        };
        for name in kept.keys() {
            prop_assert!(!safety::is_removed_from_response(name.as_str()), "{} came back", name);
            prop_assert!(!nominated.iter().any(|one| one == name.as_str()), "{} was nominated", name);
            prop_assert!(trailers || name != "trailer");
        }
        for name in upstream.keys().filter(|name| !kept.contains_key(*name)) {
            let stays = safety::is_removed_from_response(name.as_str()) || name == "trailer" && !trailers;
            prop_assert!(stays || nominated.iter().any(|one| one == name.as_str()), "{} was lost", name);
        }
    }
}

static SHIPPED: std::sync::OnceLock<Shipped> = std::sync::OnceLock::new();

#[test]
fn tokens() {
    let shipped = SHIPPED.get_or_init(shipped);
    let check = |pairs: &[(&'static str, &'static str)], expected: Option<&str>| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let head = head(&Method::GET, "/x", None, pairs.collect());
        let found = token(&head, &shipped.tables[0].0);
        assert_eq!(found.as_ref().map(Secret::expose), expected, "{:?}", head.headers);
    };
    check(&[], None);
    check(&[("authorization", "Bearer t")], Some("t"));
    check(&[("authorization", "bearer t")], Some("t"));
    check(&[("authorization", "BEARER t")], Some("t"));
    check(&[("authorization", "bEaReR    t")], Some("t"));
    check(&[("authorization", " \tBearer t\t ")], Some("t"));
    check(&[("authorization", "Bearer\tt")], None);
    check(&[("authorization", "Bearer \tt")], None);
    check(&[("authorization", "Bearert")], None);
    check(&[("authorization", "Bearer=t")], None);
    check(&[("authorization", "Bearers t")], None);
    check(&[("authorization", "Bearer"), ("x-api-key", "t")], None);
    check(&[("authorization", "\"Bearer\" t")], None);
    check(&[("authorization", "Bearer a,b")], Some("a,b"));
    check(&[("authorization", "Bearer a, Bearer b")], None);
    check(&[("authorization", "Bearer token=t, realm=x")], None);
    check(&[("authorization", " "), ("x-api-key", " t ")], Some("t"));
    check(&[("authorization", "Bearer a b")], None);
    check(&[("authorization", "Bearer t"), ("authorization", "Bearer t")], None);
    check(&[("x-api-key", "t"), ("x-api-key", "u")], None);
    check(&[("authorization", "Bearer ")], None);
    check(&[("authorization", "Basic t"), ("x-api-key", "t")], None);
    check(&[("authorization", ""), ("x-api-key", "t")], Some("t"));
    check(&[("x-api-key", "")], None);
    check(&[("x-goog-api-key", "t")], None);
}

#[test]
fn queries() {
    let shipped = SHIPPED.get_or_init(shipped);
    let (table, paths) = &shipped.tables[0];
    let hit = table.find(&paths[0].0, &paths[0].1).unwrap();
    let check = |query: &str, expected: &str| {
        let head = head(&paths[0].0, &paths[0].1, Some(query), HeaderMap::new());
        let target =
            request(&hit, &head, None, withheld(&token_locations()), Fresh::STAND_IN).unwrap().target;
        assert_eq!(target.split_once('?').map_or("", |(_, query)| query), expected, "{query}");
    };
    check("", "");
    check("a=1&&b=2&", "a=1&&b=2&");
    check("key=t", "");
    check("a=1&key=t&b=2", "a=1&b=2");
    check("k%65y=t&a=1", "a=1");
    check("key&a", "a");
    check("keys=1&%+65=2&KEY=3", "keys=1&%+65=2&KEY=3");
}
