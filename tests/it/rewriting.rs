//! Headers and queries sent to the upstream and back to the client: the engine's own removals, whatever the files
//! declare, and the files' rules, line by line.

use crate::harness::{Answer, Exchange, Fault, Framing, World};

/// Passes as sent.
const PASS: [(&str, &str); 18] = [
    ("Accept", "*/*"),
    ("Accept-Encoding", "gzip, br, zstd"),
    ("Accept-Language", "de"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("Content-Encoding", "gzip"),
    ("User-Agent", "OpenAI/Python 1.2.3"),
    ("X-Stainless-Retry-Count", "0"),
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "a,b"),
    ("OpenAI-Organization", "org"),
    ("Idempotency-Key", "k"),
    ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("X-Request-Id", "1"),
    ("Cache-Control", "no-cache"),
    ("Range", "bytes=0-9"),
    ("If-None-Match", "\"a\""),
    ("X-Empty", ""),
    ("X-Latin", "caf\u{e9}"),
];

/// Never sent upstream, without a `headers.pass` in the file.
const STRIP: [(&str, &str); 40] = [
    ("X-Api-Key", "another"),
    ("Cookie", "a=b"),
    ("Cookie2", "a=b"),
    ("CF-Ray", "1"),
    ("CF-Connecting-IP", "1.2.3.4"),
    ("cf-aig-authorization", "Bearer x"),
    ("X-Forwarded-For", "1.2.3.4"),
    ("X-Forwarded-Host", "h"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Client-Cert", "c"),
    ("X-Forwarded", "for=1"),
    ("Forwarded", "for=1.2.3.4"),
    ("X-Real-IP", "1.2.3.4"),
    ("True-Client-IP", "1.2.3.4"),
    ("X-Client-IP", "1.2.3.4"),
    ("X-Cluster-Client-IP", "1.2.3.4"),
    ("X-Original-Forwarded-For", "1.2.3.4"),
    ("Fastly-Client-IP", "1.2.3.4"),
    ("Client-IP", "1.2.3.4"),
    ("Via", "1.1 proxy"),
    ("CDN-Loop", "cloudflare"),
    ("Origin", "https://page.example"),
    ("Referer", "https://page.example/x"),
    ("Proxy-Authorization", "Basic YTpi"),
    ("Proxy-Connection", "keep-alive"),
    ("Proxy-Anything", "x"),
    ("Keep-Alive", "timeout=5"),
    ("Upgrade", "h2c"),
    ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
    ("TE", "gzip"),
    ("Trailer", "X-Checksum"),
    ("Connection", "keep-alive"),
    ("Connection", "X-Custom"),
    ("X-Custom", "nominated"),
    ("Connection", "X-Mine , , x-other"),
    ("X-Mine", "nominated"),
    ("x-OTHER", "nominated"),
    ("Connection", "content-type"),
    ("Content-Type", "nominated"),
];

fn with(exchange: Exchange, pass: &[(&str, &str)], strip: &[(&str, &str)]) -> Exchange {
    let exchange = pass.iter().fold(exchange, |all, (name, value)| all.header(name, value));
    strip.iter().fold(exchange, |all, (name, value)| all.removed(name, value))
}

#[test]
fn request_headers_pass_or_stay() {
    let mut world = World::new();
    world.exchange(with(Exchange::get(), &PASS, &[]));
    world.exchange(with(Exchange::post("{}"), &PASS, &[]));
    world.exchange(with(Exchange::get(), &[], &STRIP));
    world.exchange(with(Exchange::post("{}"), &PASS[..3], &STRIP));
    for one in STRIP.iter().filter(|one| one.0 != "X-Custom" && one.0 != "X-Mine" && one.0 != "x-OTHER") {
        if one.0 != "Content-Type" {
            world.exchange(with(Exchange::post("{}"), &[], &[*one]));
        }
    }
}

#[test]
fn doubled_headers_stay_doubled_and_in_order() {
    let mut world = World::new();
    let twice = Exchange::get().header("Accept", "a/a").header("Accept", "b/b").header("X-A", "1, 2");
    let answer = Answer::new("200 OK").header("Link", "<a>").header("Link", "<b>").body("ok");
    world.exchange(twice.answer(answer));
}

#[test]
fn a_client_cannot_smuggle_in_headers_that_the_file_sets() {
    let more = r#"
[vars]
egress_url = { env = "IT_EGRESS_URL", optional = true }
proxy_token = { env = "IT_PROXY_TOKEN", optional = true, secret = true }
[headers]
remove = ["x-debug-*"]
default = { x-version = "1" }
set = { x-source = "tollgate" }
[[egress]]
when = ["egress_url", "proxy_token"]
url = "{egress_url}?target={url|urlencode}"
headers = { set = { x-proxy-auth = "Bearer {proxy_token}" } }
"#;
    let mut world = World::with(more, &[]);
    let marked = |exchange: Exchange| exchange.added("x-source", "tollgate");
    world.exchange(marked(Exchange::get().added("x-version", "1")));
    let sent = Exchange::get().header("X-Version", "2").removed("X-Source", "me");
    world.exchange(marked(sent.removed("X-Debug-Level", "9").removed("X-Proxy-Auth", "Bearer stolen")));
}

#[test]
fn a_file_may_let_passable_headers_through() {
    let mut world = World::with("[headers]\npass = [\"x-forwarded-*\", \"cf-ipcountry\", \"origin\"]", &[]);
    let exchange = Exchange::get().header("X-Forwarded-For", "1.2.3.4").header("CF-IPCountry", "DE");
    let exchange =
        exchange.header("Origin", "https://page.example").removed("Referer", "https://page.example/");
    world.exchange(exchange.removed("CF-Ray", "1").removed("X-Real-IP", "1.2.3.4").removed("Via", "1.1 a"));
    // Headers named in `Connection` belong to the client's hop, whatever a file declares.
    let nominated = Exchange::get().removed("Connection", "x-forwarded-for, origin");
    world.exchange(nominated.removed("X-Forwarded-For", "1.2.3.4").removed("Origin", "https://page.example"));
}

#[test]
fn the_query_passes_as_sent() {
    let mut world = World::new();
    for query in [
        "beta=true",
        "limit=5&limit=6",
        "a",
        "a=&=b&&",
        "q=%C3%A4+%20&x=%2F..%2F",
        "a=b?c=d/e",
        "key=1",
        "x=%zz",
        "é=1",
    ] {
        let query = query.replace('é', "%E9");
        world.exchange(Exchange::get().at(&format!("/t/get?{query}"), &format!("/get?{query}")));
    }
    world.exchange(Exchange::get().at("/t/get?", "/get"));
}

#[test]
fn the_query_follows_the_files_rules() {
    let more =
        "[endpoint.get.query]\nremove = [\"beta\"]\ndefault = { version = \"1\" }\nset = { alt = \"sse\" }";
    let mut world = World::with(more, &[]);
    for (sent, received) in [
        ("", "version=1&alt=sse"),
        ("beta=true&a=1", "a=1&version=1&alt=sse"),
        ("version=2&alt=json&b%65ta=1", "version=2&alt=sse"),
        ("x=%20&beta", "x=%20&version=1&alt=sse"),
    ] {
        world.exchange(Exchange::get().at(&format!("/t/get?{sent}"), &format!("/get?{received}")));
    }
}

#[test]
fn captures_pass_as_sent() {
    let more = r#"
[endpoint.model]
method = "POST"
path = "/models/{model}:generate"
upstream_path = "/v2/{model}/run"
[endpoint.all]
method = "GET"
path = "/all/{rest...}"
"#;
    let mut world = World::with(more, &[]);
    let post = |at: &str, up: &str| Exchange::new("POST", "/x").body("{}").at(at, up);
    world.exchange(post("/t/models/a-b.c:generate", "/v2/a-b.c/run"));
    world.exchange(post("/t/models/a%20b:generate", "/v2/a%20b/run"));
    world.exchange(post("/t/models/%C3%A4:x:generate", "/v2/%C3%A4:x/run"));
    world.exchange(Exchange::get().at("/t/all/a/b;c=1/d%2Ee", "/all/a/b;c=1/d%2Ee"));
    for path in [
        "/t/all/../get",
        "/t/all/a%2Fb",
        "/t/all/a//b",
        "/t/all/%2e%2e/x",
        "/t/all/a%5Cb",
        "/t/all/a%00",
        "/t/all/",
    ] {
        let message = format!("Route not implemented in AI Gateway: {path}");
        let request = world.known(Exchange::get().at(path, "")).bytes();
        world.fault(request, Fault(404, "route_not_found", &message));
    }
}

/// Passes to the client as sent.
const DOWN_PASS: [(&str, &str); 20] = [
    ("Content-Type", "application/json"),
    ("Content-Encoding", "gzip"),
    ("ETag", "W/\"a\""),
    ("Last-Modified", "Tue, 15 Nov 1994 08:12:31 GMT"),
    ("Cache-Control", "no-store"),
    ("Vary", "Accept-Encoding"),
    ("Retry-After", "20"),
    ("x-ratelimit-remaining-requests", "59"),
    ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:00:00Z"),
    ("request-id", "req_1"),
    ("x-request-id", "r"),
    ("openai-processing-ms", "12"),
    ("Server", "upstream"),
    ("Via", "1.1 front"),
    ("WWW-Authenticate", "Bearer"),
    ("Location", "/x"),
    ("Content-Disposition", "attachment"),
    ("X-Should-Retry", "false"),
    ("X-Latin", "caf\u{e9}"),
    ("CF-Ray", "1-FRA"),
];

/// Never reaches the client.
const DOWN_STRIP: [(&str, &str); 16] = [
    ("Set-Cookie", "__cf_bm=1"),
    ("Set-Cookie", "b=2"),
    ("Set-Cookie2", "c=3"),
    ("Alt-Svc", "h3=\":443\""),
    ("Strict-Transport-Security", "max-age=1"),
    ("Clear-Site-Data", "\"*\""),
    ("Service-Worker-Allowed", "/"),
    ("Connection", "keep-alive, X-Hop"),
    ("X-Hop", "1"),
    ("Keep-Alive", "timeout=60"),
    ("Proxy-Connection", "keep-alive"),
    ("Proxy-Authenticate", "Basic"),
    ("Proxy-Authentication-Info", "x"),
    ("Upgrade", "h2"),
    ("TE", "trailers"),
    ("Trailer", "X-Checksum"),
];

#[test]
fn answer_headers_pass_or_stay() {
    let mut world = World::new();
    let pass = DOWN_PASS.iter().fold(Answer::new("200 OK").body("ok"), |all, (n, v)| all.header(n, v));
    world.exchange(Exchange::get().answer(pass.clone()));
    let both = DOWN_STRIP.iter().fold(pass, |all, (n, v)| all.removed(n, v));
    world.exchange(Exchange::post("{}").answer(both));
    for (name, value) in DOWN_STRIP.iter().filter(|(name, _)| *name != "X-Hop") {
        world.exchange(Exchange::get().answer(Answer::new("200 OK").removed(name, value).body("ok")));
    }
}

#[test]
fn the_upstreams_cors_is_overwritten_and_its_marks_are_not_ours() {
    let mut world = World::new();
    let answer = Answer::new("200 OK")
        .removed("Access-Control-Allow-Origin", "https://only.example")
        .removed("Access-Control-Allow-Methods", "GET")
        .removed("Access-Control-Allow-Headers", "x")
        .removed("Access-Control-Max-Age", "1")
        .removed("tollgate-request-id", "forged")
        .removed("Access-Control-Expose-Headers", "x-request-id")
        .removed("Access-Control-Allow-Credentials", "true")
        .removed("Access-Control-Allow-Private-Network", "true")
        .header("Proxy-Status", "edge; error=dns_error")
        .header("Proxy-Status", "\"other\"; details=\"a, tollgate\"")
        .body("ok");
    world.exchange(Exchange::get().answer(answer));
    for ours in ["tollgate; error=dns_error", "\"tollgate\"; error=dns_error", "edge; details=\"x"] {
        let answer = Answer::new("200 OK").removed("Proxy-Status", ours).body("ok");
        world.exchange(Exchange::get().answer(answer));
    }
}

#[test]
fn answers_without_a_body() {
    let mut world = World::new();
    for answer in [
        Answer::new("204 No Content").bare(),
        Answer::new("304 Not Modified").bare().header("ETag", "\"a\""),
        Answer::new("200 OK"),
        Answer::new("202 Accepted"),
    ] {
        world.exchange(Exchange::get().answer(answer.clone()));
        world.exchange(Exchange::post("{}").answer(answer));
    }
    assert_eq!(world.upstream.connections, 1, "a connection is used again after an answer without a body");
}

#[test]
fn the_reason_passes_or_is_the_standard_one() {
    let mut world = World::new();
    for status in ["200 OK", "429 Too Many Requests", "418 I'm a teapot", "529 Site is overloaded", "299 Odd"]
    {
        world.exchange(Exchange::get().answer(Answer::new(status).body("x")));
    }
}

#[test]
fn a_get_never_carries_a_body() {
    let mut world = World::new();
    world.exchange(Exchange::get().body("unwanted").framed_up(Framing::None));
    world.exchange(Exchange::get().chunked("unwanted").framed_up(Framing::None));
}

#[test]
fn a_post_without_a_body_has_length_zero() {
    let mut world = World::new();
    world.exchange(Exchange::post(""));
}

#[test]
fn the_key_goes_where_the_file_says() {
    let more = "[endpoint.get.headers]\nset = { x-endpoint = \"get\" }";
    let mut world = World::with(more, &[]);
    world.exchange(Exchange::get().added("x-endpoint", "get"));
    world.exchange(Exchange::post("{}").removed("x-endpoint", "post"));
}

#[test]
fn members_are_added_to_lists_and_nothing_of_the_client_is_removed() {
    let more = "[headers]\nadd = { x-beta = \"a, b\" }\n";
    let mut world = World::with(more, &[]);
    world.exchange(Exchange::get().added("x-beta", "a, b"));
    world.exchange(Exchange::get().header("X-Beta", "b,a"));
    world.exchange(Exchange::get().header("X-Beta", "b").header("X-Beta", "a"));
    world.exchange(Exchange::get().removed("X-Beta", "b").added("x-beta", "b, a"));
    let twice = Exchange::get().removed("X-Beta", "c,d").removed("X-Beta", "\"a,\"");
    world.exchange(twice.added("x-beta", "c,d, \"a,\", a, b"));
}

#[test]
fn generated_values_differ_between_requests_and_headers() {
    let more = r#"
[headers]
default = { x-id = { gen = "uuid", prefix = "id-" } }
set = { x-now = { gen = "now" } }
[endpoint.more]
method = "GET"
path = "/more"
headers = { set = { x-own = { gen = "hex24" }, x-other = { gen = "uuid" } } }
"#;
    let mut world = World::with(more, &[]);
    let mut sent = |path: &str, lines: &str| {
        let mut client = world.client();
        let token = world.token.clone();
        client.send(format!(
            "GET /t{path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
        ));
        let (request, mut wire) = world.upstream.request();
        wire.send(Answer::new("200 OK").body("ok").bytes());
        assert_eq!(client.answer().unwrap().body, b"ok");
        ["x-id", "x-now", "x-own", "x-other"]
            .map(|name| request.head.get(name).unwrap_or_default().to_owned())
    };
    let [one, now, own, other] = sent("/more", "");
    assert!(one.starts_with("id-") && one.len() == 39 && other.len() == 36, "{one} {other}");
    assert!(own.len() == 24 && own.bytes().all(|byte| byte.is_ascii_hexdigit()), "{own}");
    assert!(now.parse::<u64>().is_ok_and(|seconds| seconds > 1_700_000_000), "{now}");
    assert_ne!(one[3..], other);
    let [two, _, absent, _] = sent("/get", "");
    assert!(two != one && two.len() == 39 && absent.is_empty(), "{two}");
    assert_eq!(sent("/get", "X-Id: mine\r\n")[0], "mine");
}

#[test]
fn urls_of_answers_come_back_through_tollgate() {
    let more = r#"
[response_headers]
rewrite_urls = ["location", "x-upload"]
[endpoint.item]
method = "GET"
path = "/items/{id}"
[endpoint.model]
method = "GET"
path = "/models/{id}"
encoded_slash = ["id"]
"#;
    let mut world = World::with(more, &["--trusted-proxies", "127.0.0.1"]);
    let upstream = format!("http://{}", world.host);
    let mut returned = |host: &str, lines: &str, url: &str| {
        let mut client = world.client();
        let token = world.token.clone();
        client.send(format!(
            "GET /t/get HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
        ));
        let (_, mut wire) = world.upstream.request();
        let answer = Answer::new("302 Found").header("Location", url).header("X-Upload", url).body(url);
        wire.send(answer.bytes());
        let answer = client.answer().unwrap();
        assert_eq!(answer.body, url.as_bytes(), "bodies stay");
        ["location", "x-upload"].map(|name| answer.head.get(name).unwrap_or_default().to_owned())
    };
    let item = format!("{upstream}/items/7?a=1");
    let proxy = "X-Forwarded-Proto: https\r\n";
    assert_eq!(
        returned("gate.example", proxy, &item),
        ["/t/items/7?a=1", "https://gate.example/t/items/7?a=1"]
    );
    assert_eq!(returned("gate.example", "", &item), ["/t/items/7?a=1", "/t/items/7?a=1"]);
    assert_eq!(returned("gate.example", proxy, "/items/7"), ["/t/items/7", "https://gate.example/t/items/7"]);
    let shouted = item.replace("http:", "HTTP:");
    assert_eq!(returned("gate.example", "", &shouted)[0], "/t/items/7?a=1", "a scheme has no case");
    let slash = format!("{upstream}/models/a%2Fb");
    assert_eq!(returned("gate.example", "", &slash)[0], "/t/models/a%2Fb");
    let slash = format!("{upstream}/items/a%2Fb");
    assert_eq!(returned("gate.example", "", &slash)[0], slash, "that endpoint takes none");
    let unknown = format!("{upstream}/admin");
    assert_eq!(returned("gate.example", proxy, &unknown), [unknown.as_str(), unknown.as_str()]);
    assert_eq!(
        returned("gate.example", proxy, "https://else.example/items/7")[0],
        "https://else.example/items/7"
    );
}

#[test]
fn a_filtered_capture_stays_in_its_segment() {
    let more =
        "[endpoint.item]\nmethod = \"GET\"\npath = \"/items/{id}\"\nupstream_path = \"/b/{id|base64}/z\"\n";
    let mut world = World::with(more, &[]);
    let mut client = world.client();
    let token = world.token.clone();
    client.send(format!("GET /t/items/oÿ HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n\r\n"));
    let (request, mut wire) = world.upstream.request();
    assert_eq!(request.head.start, "GET /b/b8O%2F/z HTTP/1.1");
    wire.send(Answer::new("200 OK").bytes());
    assert_eq!(client.answer().unwrap().head.status(), 200);
}
