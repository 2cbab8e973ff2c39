//! Rules for models, and what bodies say: a body that could be read in two ways never reaches the upstream as a whole, and one that
//! is admitted reaches it byte for byte.

use std::{io::Write as _, thread};

use flate2::{Compression, write::GzEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::harness::{Broken, Exchange, Framing, Message, Next, World, chunk, over_socket};

const RULES: &str = "[[allow]]\nmodels = [\"small*\"]\n[[allow]]\nendpoints = [\"live\"]\n";
const MORE: &str = r#"
api = "chat-completions"
[endpoint.form]
method = "POST"
path = "/form"
api = "transcription"
[endpoint.asked]
method = "POST"
path = "/asked"
api = "chat-completions"
when_missing = "ask"
[endpoint.live]
method = "GET"
path = "/live"
upgrade = "websocket"
[endpoint.other]
method = "GET"
path = "/other"
upgrade = "websocket"
"#;
const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: multipart/form-data; boundary=edge\r\n";
/// Of a body, so much is read before it is sent.
const JUDGED: usize = 64 * 1024;

fn world() -> World {
    World::limited(RULES, MORE, &["--judged-body", "64KiB"])
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    compress_to_vec(text, CompressionLevel::Fastest)
}

/// Bytes that no coding makes much smaller.
fn noise(size: usize) -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + u8::try_from(state % 64).unwrap() % 64)
    };
    (0..size).map(|_| next()).map(|c| if c == '\\' { 'x' } else { c }).collect()
}

fn part(name: &str, value: &str) -> String {
    format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

/// A request with these header lines, each with its end.
fn request(world: &World, target: &str, lines: &str, body: &[u8], framing: Framing) -> Vec<u8> {
    let (token, length) = (&world.token, body.len());
    let (framing, body) = match framing {
        Framing::Chunked => {
            ("Transfer-Encoding: chunked".to_owned(), [chunk(body), b"0\r\n\r\n".to_vec()].concat())
        }
        _ => (format!("Content-Length: {length}"), body.to_vec()),
    };
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\n{lines}{framing}\r\n\r\n"
    );
    [head.into_bytes(), body].concat()
}

/// The status and the code of tollgate's own answer.
fn refusal(answer: &Message) -> (u16, &str) {
    let details = answer.head.get("proxy-status").and_then(|status| status.split('"').nth(1));
    (answer.head.status(), details.unwrap_or_default())
}

/// Models that the upstream may call in place of the first are judged, too: also those that come while the rest streams.
#[test]
fn models_to_fall_back_to_have_to_be_allowed() {
    let mut world = world();
    for body in [
        r#"{"model":"small","models":["big"]}"#,
        r#"{"models":["small","big"],"model":"small"}"#,
        r#"{"model":"small","providerOptions":{"gateway":{"models":["big"]}}}"#,
        r#"{"model":"small","fallbacks":[{"model":"small"},{"model":"b\u0069g"}]}"#,
        r#"{"model":"small","tools":[{"type":"x:advisor","parameters":{"model":"big"}}]}"#,
    ] {
        refused(&mut world, "/t/post", JSON, body.as_bytes(), NOT_ALLOWED);
    }
    // Without a model, the upstream takes one of its own.
    for body in [
        r#"{"models":["small"]}"#,
        r#"{"model":null,"preset":"small"}"#,
        r#"{"fallbacks":["small"],"messages":[]}"#,
        r#"{"tools":[{"type":"function","parameters":{"model":"small"}}]}"#,
    ] {
        refused(&mut world, "/t/post", JSON, body.as_bytes(), NOT_ALLOWED);
    }
    for body in [
        r#"{"model":"small","fallbacks":"big"}"#,
        r#"{"model":"small","fallbacks":{"model":"big"}}"#,
        r#"{"model":"small","models":[["big"]]}"#,
        r#"{"model":"small","models":["small-2"],"MODELS":"big"}"#,
        r#"{"model":"small","models":["small"],"models":["big"]}"#,
    ] {
        refused(&mut world, "/t/post", JSON, body.as_bytes(), UNJUDGEABLE);
    }
    refused(&mut world, "/t/post?models=big", JSON, br#"{"model":"small"}"#, UNJUDGEABLE);
    for body in [
        r#"{"model":"small","models":["small-2","small"]}"#.to_owned(),
        r#"{"model":"small","models":null,"fallbacks":[]}"#.to_owned(),
        format!("{{\"model\":\"small\",\"pad\":\"{}\",\"models\":[\"small-2\"]}}", noise(6 * JUDGED)),
    ] {
        passes(&mut world, Exchange::post("").body(body));
    }
    let late = format!("{{\"model\":\"small\",\"pad\":\"{}\",\"models\":[\"big\"]}}", noise(6 * JUDGED));
    let request = request(&world, "/t/post", JSON, late.as_bytes(), Framing::Length(0));
    cut_with(&mut world, &request, NOT_ALLOWED);
}

/// Limits that depend on the model know all that may answer, also those that come late.
#[test]
fn limits_know_all_models_that_may_answer() {
    let cost = "[[limit]]\nid = \"c\"\ncost = \"1 USD\"\nwindow = \"total\"\nno_price = \"reject\"\n";
    let mut world = World::limited(cost, MORE, &["--judged-body", "64KiB"]);
    let price = "title = \"T\"\ncurrency = \"USD\"\nprice = [{ model = [\"m\"], input = 1, output = 1 }]\n";
    world.home.write("prices/t", price);
    assert_eq!(over_socket(&world.home.data(), "POST /admin/reload").0, 200);
    let no_price = (403, "no_price");
    refused(&mut world, "/t/post", JSON, br#"{"models":["m"]}"#, (400, "model_missing"));
    refused(&mut world, "/t/post", JSON, br#"{"model":"m","models":["unknown"]}"#, no_price);
    // Its two halves come apart.
    let halves = [r#"{"model":"m","max_tokens":5,"#, r#""models":["unknown"]}"#];
    let whole = halves.concat();
    let request = request(&world, "/t/post", JSON, whole.as_bytes(), Framing::Length(0));
    let (front, rest) = request.split_at(request.len() - halves[1].len());
    let mut client = world.client();
    client.send(front);
    assert!(client.is_quiet_for(std::time::Duration::from_millis(100)), "it waits for the rest");
    client.send(rest);
    assert_eq!(refusal(&client.answer().unwrap()), no_price);
    world.upstream.saw_nothing();
    let late = format!("{{\"model\":\"m\",\"pad\":\"{}\",\"models\":[\"unknown\"]}}", noise(6 * JUDGED));
    let request = self::request(&world, "/t/post", JSON, late.as_bytes(), Framing::Length(0));
    cut_with(&mut world, &request, (413, "body_too_large_to_judge"));
    let by_model = "[[limit]]\nid = \"c\"\nrequests = 2\nper = [\"user\", \"model\"]\nwindow = \"total\"\n";
    let mut world = World::limited(by_model, MORE, &[]);
    refused(&mut world, "/t/post", JSON, br#"{"model":"a","models":["b"]}"#, UNJUDGEABLE);
    passes(&mut world, Exchange::post("").body(r#"{"model":"a","models":["a"]}"#));
}

/// Calls that count tokens name the model as those that are metered.
#[test]
fn an_endpoint_that_is_not_metered_names_its_model() {
    let more = "api = \"chat-completions\"\nmetered = false\n";
    let mut world = World::limited("[[allow]]\nmodels = [\"small*\"]\n", more, &[]);
    passes(&mut world, Exchange::post("").body(r#"{"model":"small"}"#));
    refused(&mut world, "/t/post", JSON, br#"{"model":"big"}"#, NOT_ALLOWED);
    refused(&mut world, "/t/post", JSON, b"{}", NOT_ALLOWED);
}

const NOT_ALLOWED: (u16, &str) = (403, "model_not_allowed");
const UNJUDGEABLE: (u16, &str) = (400, "unjudgeable_body");

/// A request that is refused before the upstream sees any of it, in both framings.
fn refused(world: &mut World, target: &str, lines: &str, body: &[u8], expected: (u16, &str)) {
    let shown = format!("{target} {lines:?} {}", body[..body.len().min(80)].escape_ascii());
    // An empty chunk would end the body.
    let framings: &[Framing] =
        if body.is_empty() { &[Framing::Length(0)] } else { &[Framing::Length(0), Framing::Chunked] };
    for framing in framings {
        let request = request(world, target, lines, body, *framing);
        let mut client = world.client();
        let mut sender = client.twin();
        thread::scope(|scope| {
            scope.spawn(|| sender.try_send(&request));
            let answer = client.answer().unwrap_or_else(|broken| panic!("{shown}: {broken:?}"));
            assert_eq!(refusal(&answer), expected, "{shown} {framing:?}: {}", answer.body.escape_ascii());
        });
        match framing {
            // The end of such a body comes apart: some are refused only then.
            Framing::Chunked => world.upstream.saw_no_request(),
            _ => world.upstream.saw_no_byte(),
        }
    }
}

#[test]
fn json_that_could_be_read_in_two_ways_is_refused() {
    let mut world = world();
    let utf16: Vec<u8> = "{\"model\":\"small\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16_marked = [&[0xff, 0xfe], &utf16[..]].concat();
    let deep = format!("{{\"model\":\"small\",\"a\":{}{}}}", "[".repeat(600), "]".repeat(600));
    let late = format!("{{\"pad\":\"{}\",\"model\":\"small\"}}", "x".repeat(4 * JUDGED));
    let long = format!("{{\"model\":\"small{}\"}}", "l".repeat(600));
    let cases: &[(&[u8], (u16, &str))] = &[
        (br#"{"model":"big"}"#, NOT_ALLOWED),
        (br#"{"model":"Small"}"#, NOT_ALLOWED),
        (br#"{"model":" small"}"#, NOT_ALLOWED),
        (br#"{"mod\u0065l":"big"}"#, NOT_ALLOWED),
        (br#"{"model":"b\u0069g"}"#, NOT_ALLOWED),
        (br#"{"a":{"model":"small"}}"#, NOT_ALLOWED),
        (br#"{"model":null}"#, NOT_ALLOWED),
        (b"{}", NOT_ALLOWED),
        (b"", NOT_ALLOWED),
        (br#"{"model":"small","model":"big"}"#, UNJUDGEABLE),
        (br#"{"model":"big","model":"small"}"#, UNJUDGEABLE),
        (br#"{"model":"small","model":"small"}"#, UNJUDGEABLE),
        (br#"{"model":"small","\u006dodel":"big"}"#, UNJUDGEABLE),
        (br#"{"model":"small","Model":"big"}"#, UNJUDGEABLE),
        (br#"{"model":"small","model\u0000":"big"}"#, UNJUDGEABLE),
        (br#"{"model":"small\u0000big"}"#, UNJUDGEABLE),
        (br#"{"model":["small"]}"#, UNJUDGEABLE),
        (br#"{"model":1}"#, UNJUDGEABLE),
        (br#"["model"]"#, UNJUDGEABLE),
        (br#"{"model":"small"}{"model":"big"}"#, UNJUDGEABLE),
        (br#"{"model":"small",}"#, UNJUDGEABLE),
        (br#"{"model":"small"} // "#, UNJUDGEABLE),
        (b"{'model':'small'}", UNJUDGEABLE),
        (br#"{"model":"small""#, UNJUDGEABLE),
        (b"{\"model\":\"small\",\"a\":\"\xff\"}", UNJUDGEABLE),
        (b"\xef\xbb\xbf{\"model\":\"small\"}", UNJUDGEABLE),
        (&utf16, UNJUDGEABLE),
        (&utf16_marked, UNJUDGEABLE),
        (deep.as_bytes(), UNJUDGEABLE),
        (long.as_bytes(), UNJUDGEABLE),
        (late.as_bytes(), (413, "body_too_large_to_judge")),
    ];
    for (body, expected) in cases {
        refused(&mut world, "/t/post", JSON, body, *expected);
    }
}

#[test]
fn heads_and_codings_that_could_be_read_in_two_ways_are_refused() {
    let mut world = world();
    let (small, big) = (br#"{"model":"small"}"#, br#"{"model":"big"}"#);
    let twice = br#"{"model":"small","model":"big"}"#;
    for target in ["/t/post?model=big", "/t/post?a=b&model=small", "/t/post?%6dodel=big"] {
        refused(&mut world, target, JSON, small, UNJUDGEABLE);
    }
    let cases: &[(&str, &[u8], (u16, &str))] = &[
        ("", big, NOT_ALLOWED),
        ("Content-Type: text/plain\r\n", big, NOT_ALLOWED),
        (
            "Content-Type: application/json\r\nContent-Type: multipart/form-data; boundary=edge\r\n",
            small,
            UNJUDGEABLE,
        ),
        ("Content-Type: application/json\r\nContent-Type: application/json\r\n", small, UNJUDGEABLE),
        ("Content-Type: application/json; charset=utf-16\r\n", small, UNJUDGEABLE),
        ("Content-Type: application/json, multipart/form-data\r\n", small, UNJUDGEABLE),
        ("Content-Encoding: gzip\r\n", &gzip(big), NOT_ALLOWED),
        ("Content-Encoding: gzip\r\n", &gzip(twice), UNJUDGEABLE),
        ("Content-Encoding: gzip\r\n", &[gzip(small), gzip(big)].concat(), UNJUDGEABLE),
        ("Content-Encoding: gzip\r\n", small, UNJUDGEABLE),
        ("Content-Encoding: zstd\r\n", &zstd(big), NOT_ALLOWED),
        ("Content-Encoding: zstd\r\n", &zstd(twice), UNJUDGEABLE),
        ("Content-Encoding: lzma\r\n", small, UNJUDGEABLE),
        ("Content-Encoding: gzip, zstd\r\n", &gzip(small), UNJUDGEABLE),
        ("Content-Encoding: gzip\r\nContent-Encoding: identity\r\n", &gzip(small), UNJUDGEABLE),
    ];
    for (lines, body, expected) in cases {
        refused(&mut world, "/t/post", lines, body, *expected);
    }
}

#[test]
fn forms_that_could_be_read_in_two_ways_are_refused() {
    let mut world = world();
    let (small, big, end) = (part("model", "small"), part("model", "big"), "--edge--\r\n");
    let file = "--edge\r\nContent-Disposition: form-data; name=\"model\"; filename=\"a\"\r\n\r\nsmall\r\n";
    let cases = [
        (FORM, format!("{big}{end}"), NOT_ALLOWED),
        (FORM, format!("{}{end}", part("a", "b")), NOT_ALLOWED),
        (FORM, format!("{small}{big}{end}"), UNJUDGEABLE),
        (FORM, format!("{small}{}{end}", part("model[]", "big")), UNJUDGEABLE),
        (FORM, format!("{file}{end}"), UNJUDGEABLE),
        (FORM, format!("{small}{}{end}", part("_charset_", "utf-16")), UNJUDGEABLE),
        (FORM, small.clone(), UNJUDGEABLE),
        ("Content-Type: multipart/form-data\r\n", format!("{small}{end}"), UNJUDGEABLE),
        (
            "Content-Type: multipart/form-data; boundary=edge; boundary=other\r\n",
            format!("{small}{end}"),
            UNJUDGEABLE,
        ),
        ("Content-Type: application/x-www-form-urlencoded\r\n", "model=big".into(), NOT_ALLOWED),
        ("Content-Type: application/x-www-form-urlencoded\r\n", "model=small&model=big".into(), UNJUDGEABLE),
    ];
    for (lines, body, expected) in &cases {
        refused(&mut world, "/t/form", lines, body.as_bytes(), *expected);
    }
}

/// A body whose part that was read ahead is good, and whose rest is not.
#[test]
fn an_upload_is_cut_when_its_rest_is_refused() {
    let mut world = world();
    let pad = "x".repeat(6 * JUDGED);
    let twice = format!("{{\"model\":\"small\",\"pad\":\"{pad}\",\"model\":\"big\"}}");
    let broken = format!("{{\"model\":\"small\",\"pad\":\"{pad}\"");
    let noisy = format!("{{\"model\":\"small\",\"pad\":\"{}\",\"model\":\"big\"}}", noise(6 * JUDGED));
    let (lying, coded) = (gzip(twice.as_bytes()), gzip(noisy.as_bytes()));
    let form =
        format!("{}{}{}--edge--\r\n", part("model", "small"), part("file", &pad), part("model", "big"));
    // The gateway changes small ones on their way.
    let streamed = twice.replace("\"pad\"", "\"stream\":true,\"pad\"");
    let huge = streamed.replace(&pad, &pad.repeat(40));
    let cases: &[(&str, &str, &[u8])] = &[
        ("/t/post", JSON, twice.as_bytes()),
        ("/t/post", JSON, broken.as_bytes()),
        ("/t/post", "Content-Encoding: gzip\r\n", &coded),
        ("/t/form", FORM, form.as_bytes()),
        ("/t/asked", JSON, streamed.as_bytes()),
        ("/t/asked", JSON, huge.as_bytes()),
    ];
    for (target, lines, body) in cases {
        for framing in [Framing::Length(0), Framing::Chunked] {
            let request = request(&world, target, lines, body, framing);
            cut(&mut world, &request);
        }
    }
    // The coding makes it small enough to be read as a whole.
    refused(&mut world, "/t/post", "Content-Encoding: gzip\r\n", &lying, UNJUDGEABLE);
    world.exchange(Exchange::get());
}

fn cut(world: &mut World, request: &[u8]) {
    cut_with(world, request, UNJUDGEABLE);
}

fn cut_with(world: &mut World, request: &[u8], expected: (u16, &str)) {
    let mut client = world.client();
    let mut sender = client.twin();
    thread::scope(|scope| {
        scope.spawn(|| sender.try_send(request));
        if let Next::Request(mut wire) = world.upstream.next_or(&client) {
            let seen = wire.request();
            assert!(matches!(seen, Err(Broken::Cut | Broken::Closed)), "the upstream got all of it");
        }
        let answer = client.answer().unwrap_or_else(|broken| panic!("{broken:?}"));
        assert_eq!(refusal(&answer), expected, "{}", answer.body.escape_ascii());
    });
}

/// The second model comes after the upstream has the first.
#[test]
fn a_slow_second_model_cuts_the_upload() {
    let mut world = world();
    let (first, second) = (r#"{"model":"small","#, r#""model":"big"}"#);
    for framing in [Framing::Length((first.len() + second.len()) as u64), Framing::Chunked] {
        let exchange = world.known(Exchange::post("").framed(framing));
        let framed = |text: &str| match framing {
            Framing::Chunked => chunk(text.as_bytes()),
            _ => text.as_bytes().to_vec(),
        };
        let mut client = world.client();
        client.send(exchange.head_bytes());
        client.send(framed(first));
        let mut wire = world.upstream.next();
        exchange.check_head(&world.host, &wire.head().unwrap());
        client.send(framed(second));
        assert!(wire.body(framing).is_err(), "the upstream got all of it");
        assert_eq!(refusal(&client.answer().unwrap()), UNJUDGEABLE);
    }
}

#[test]
fn an_admitted_body_arrives_byte_for_byte() {
    let mut world = world();
    let large = |head: &str| format!("{{{head}\"pad\":\"{}\"}}", noise(6 * JUDGED)).into_bytes();
    let late = format!("{{ \"pad\" : \"{}\",\r\n\t\"model\":\"small\"}} \n", noise(JUDGED / 2));
    let model_first = large("\"model\":\"small-1\",");
    let form = format!("{}{}--edge--\r\n", part("model", "small"), part("file", &noise(6 * JUDGED)));
    let bodies: &[(&str, &str, &[u8])] = &[
        ("post", "", br#"{"model":"small"}"#),
        ("post", "", br#" {"x":[1e5,-0.0,"\ud83d\ude00"] , "mod\u0065l" : "sm\u0061ll"}"#),
        ("post", "", late.as_bytes()),
        ("post", "", &model_first),
        ("post", "gzip", &gzip(late.as_bytes())),
        ("post", "gzip", &gzip(&model_first)),
        ("post", "zstd", &zstd(late.as_bytes())),
        ("form", "", form.as_bytes()),
    ];
    for (endpoint, coding, body) in bodies {
        let base = Exchange::post("").at(&format!("/t/{endpoint}"), &format!("/{endpoint}"));
        let base = match *endpoint {
            "form" => base.header("Content-Type", "multipart/form-data; boundary=edge"),
            _ => base.header("Content-Type", "application/json"),
        };
        let base = if coding.is_empty() { base } else { base.header("Content-Encoding", coding) };
        for exchange in [base.clone().body(*body), base.clone().chunked(*body)] {
            passes(&mut world, exchange);
        }
    }
}

/// A body that is changed after it was judged is the one that was judged, but for the change.
#[test]
fn a_body_that_is_changed_is_judged_too() {
    let mut world = world();
    let twice = br#"{"model":"small","stream":true,"model":"big"}"#;
    refused(&mut world, "/t/asked", JSON, twice, UNJUDGEABLE);
    refused(&mut world, "/t/asked", JSON, br#"{"stream":true,"model":"big"}"#, NOT_ALLOWED);
    let mut client = world.client();
    let body = br#"{"model":"small","stream":true}"#;
    client.send(request(&world, "/t/asked", JSON, body, Framing::Length(0)));
    let (seen, mut upstream) = world.upstream.request();
    let changed: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    let expected =
        serde_json::json!({ "model": "small", "stream": true, "stream_options": { "include_usage": true } });
    assert_eq!(changed, expected);
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().unwrap().head.status(), 200);
}

/// A large body is sent while the upstream reads.
fn passes(world: &mut World, exchange: Exchange) {
    let exchange = world.known(exchange);
    let mut client = world.client();
    let mut sender = client.twin();
    thread::scope(|scope| {
        scope.spawn(|| sender.send(exchange.bytes()));
        let (request, mut upstream) = world.upstream.request();
        // A body that was read as a whole has a length.
        let exchange = match request.framing {
            Framing::Length(length) => exchange.clone().framed_up(Framing::Length(length)),
            _ => exchange.clone(),
        };
        exchange.check(&world.host, &request);
        upstream.send(exchange.answer.bytes());
        world.upstream.keep(upstream);
        world.receive(&mut client, &exchange);
    });
}

#[test]
fn a_websocket_under_a_rule_for_models_needs_a_rule_of_its_own() {
    let mut world = world();
    let handshake = |world: &World, endpoint: &str| {
        format!(
            "GET /t/{endpoint} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            world.token
        )
    };
    let mut client = world.client();
    client.send(handshake(&world, "other"));
    assert_eq!(refusal(&client.answer().unwrap()), NOT_ALLOWED);
    world.upstream.saw_nothing();
    let mut client = world.client();
    client.send(handshake(&world, "live"));
    let (_, mut upstream) = world.upstream.request();
    upstream.send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    assert_eq!(client.head().unwrap().status(), 101);
    // An endpoint without a body names no model, and asks none for anything.
    world.exchange(Exchange::get());
}

/// The upstream answers before it has all of a body whose rest is refused: it never gets all.
#[test]
fn an_early_answer_ends_no_check() {
    let mut world = world();
    let (first, second) = (r#"{"model":"small","#, r#""model":"big"}"#);
    let exchange = world.known(Exchange::post("").framed(Framing::Chunked));
    let mut client = world.client();
    client.send(exchange.head_bytes());
    client.send(chunk(first.as_bytes()));
    let mut wire = world.upstream.next();
    wire.head().unwrap();
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.send(chunk(b"early"));
    assert_eq!(client.head().unwrap().status(), 200);
    client.send([chunk(second.as_bytes()), b"0\r\n\r\n".to_vec()].concat());
    assert!(wire.body(Framing::Chunked).is_err(), "the upstream got all of it");
}
