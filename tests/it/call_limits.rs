//! The life of a call in its limits: the answer to one that is refused, what one uses at each kind of end, and that it gives back what
//! it held.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Exchange, Framing, LIMIT, Message, Next, Wire, World, chunk, eventually, over_socket, pause, save,
};

const ENDPOINTS: &str = r#"
[endpoint.chat]
method = "POST"
path = "/chat"
api = "chat-completions"
timeouts = { first_byte = "2s" }
[endpoint.messages]
method = "POST"
path = "/messages"
api = "messages"
[endpoint.probe]
method = "POST"
path = "/probe"
api = "chat-completions"
[endpoint.live]
method = "GET"
path = "/live"
upgrade = "websocket"
"#;
const QUESTION: &str =
    r#"{"model":"m-1","stream":true,"max_tokens":90,"messages":[{"role":"user","content":"12345678"}]}"#;

fn exchange(world: &World, endpoint: &str) -> Exchange {
    let exchange = if endpoint == "get" { Exchange::get() } else { Exchange::post(QUESTION) };
    world.known(exchange.at(&format!("/t/{endpoint}"), &format!("/{endpoint}")))
}

/// Sends a request that the upstream gets. Returns both ends.
fn begun(world: &mut World, endpoint: &str) -> (Wire, Wire) {
    let exchange = exchange(world, endpoint);
    let mut client = world.client();
    client.send(exchange.bytes());
    match world.upstream.next_or(&client) {
        Next::Request(mut upstream) => {
            exchange.check(&world.host, &upstream.request().unwrap());
            (client, upstream)
        }
        Next::Client => panic!("`{endpoint}` is refused: {:?}", client.answer()),
    }
}

/// A request that a limit refuses, and of which the upstream sees nothing.
fn refused(world: &mut World, endpoint: &str, limit: &str) -> Message {
    let mut client = world.client();
    client.send(exchange(world, endpoint).bytes());
    let answer = client.answer().unwrap();
    assert_eq!((answer.head.status(), answer.head.get("tollgate-limit")), (429, Some(limit)), "{answer:?}");
    world.upstream.saw_nothing();
    answer
}

/// A request that passes as soon as the one before has ended.
fn passes_soon(world: &mut World, after: &str) {
    let (exchange, start) = (exchange(world, "get"), Instant::now());
    loop {
        let mut client = world.client();
        client.send(exchange.bytes());
        if let Next::Request(mut upstream) = world.upstream.next_or(&client) {
            if upstream.request().is_err() {
                continue;
            }
            upstream.send(exchange.answer.bytes());
            assert_eq!(client.answer().unwrap().head.status(), 200, "after {after}");
            return;
        }
        assert_eq!(client.answer().unwrap().head.status(), 429, "after {after}");
        assert!(start.elapsed() < LIMIT, "nothing is given back after {after}");
        pause(Duration::from_millis(5));
    }
}

// === ends give the place back ===

const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The end of a call that was begun, with both its ends.
type End = fn(Wire, Wire);
/// With its name.
type NamedEnd = (&'static str, End);

/// The ways in which a call ends. Each is begun and has a place.
const ENDS: &[NamedEnd] = &[
    ("a whole answer", |mut client, mut upstream| {
        upstream.send(Answer::new("200 OK").body("ok").bytes());
        assert_eq!(client.answer().unwrap().head.status(), 200);
    }),
    ("a whole stream", |mut client, mut upstream| {
        upstream.send(STREAM);
        upstream.send(chunk(b"data: 1\n\n"));
        upstream.send("0\r\n\r\n");
        assert_eq!(client.answer().unwrap().body, b"data: 1\n\n");
    }),
    ("a stream that breaks off", |mut client, mut upstream| {
        upstream.send(STREAM);
        upstream.send(chunk(b"data: 1\n\n"));
        drop(upstream);
        assert!(client.answer().is_err());
    }),
    ("a client that leaves a stream", |mut client, mut upstream| {
        upstream.send(STREAM);
        upstream.send(chunk(b"data: 1\n\n"));
        client.head().unwrap();
        client.reset();
    }),
    ("a client that leaves before the answer", |client, mut upstream| {
        client.reset();
        upstream.rest();
    }),
    ("an upstream that ends without an answer", |mut client, upstream| {
        drop(upstream);
        assert_eq!(client.answer().unwrap().head.status(), 502);
    }),
    ("an answer that is no HTTP", |mut client, mut upstream| {
        upstream.send("nonsense\r\n\r\n");
        assert_eq!(client.answer().unwrap().head.status(), 502);
    }),
    ("an upstream that does not answer in time", |mut client, _upstream| {
        assert_eq!(client.answer().unwrap().head.status(), 504);
    }),
    ("an error of the upstream", |mut client, mut upstream| {
        upstream.send(Answer::new("500 Internal Server Error").body("no").bytes());
        assert_eq!(client.answer().unwrap().head.status(), 500);
    }),
];

const ONE: &str = "[[limit]]\nid = \"one\"\nconcurrent = 1\n";

#[test]
fn every_end_gives_the_place_back() {
    let mut world = World::limited(ONE, ENDPOINTS, &[]);
    for (name, end) in ENDS {
        let (client, upstream) = begun(&mut world, "chat");
        refused(&mut world, "get", "one");
        end(client, upstream);
        passes_soon(&mut world, name);
    }
}

#[test]
fn a_body_that_breaks_off_gives_the_place_back() {
    let mut world = World::limited(ONE, ENDPOINTS, &[]);
    for framing in [Framing::Length(100), Framing::Chunked] {
        let exchange = world.known(Exchange::post("").framed(framing));
        let mut client = world.client();
        client.send(exchange.head_bytes());
        let mut upstream = world.upstream.next();
        exchange.check_head(&world.host, &upstream.head().unwrap());
        refused(&mut world, "get", "one");
        client.reset();
        upstream.rest();
        passes_soon(&mut world, "half a body");
    }
}

/// The handshake of a WebSocket.
fn handshake(world: &World) -> String {
    format!(
        "GET /t/live HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        world.token
    )
}

/// A WebSocket that is open. Returns both ends.
fn opened(world: &mut World) -> (Wire, Wire) {
    let mut client = world.client();
    client.send(handshake(world));
    let (_, mut upstream) = world.upstream.request();
    upstream.send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    assert_eq!(client.head().unwrap().status(), 101);
    (client, upstream)
}

/// Frames of a client and of an upstream: a text, and a close.
const SAYS: &[u8] = b"\x81\x85\0\0\0\0hello";
const ANSWERS: &[u8] = b"\x81\x02hi";
const LEAVES: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";
const ENDS_IT: &[u8] = b"\x88\x02\x03\xe8";

/// The frame arrives unchanged.
fn passes(from: &mut Wire, to: &mut Wire, frame: &[u8]) {
    from.send(frame);
    assert_eq!(to.bytes(frame.len()).unwrap(), frame);
}

/// The ends of WebSockets over which a text of each side has passed, and the bytes that pass at the end.
const CLOSES: &[(&str, usize, End)] = &[
    ("a close of the client", LEAVES.len() + ENDS_IT.len(), |mut client, mut upstream| {
        passes(&mut client, &mut upstream, LEAVES);
        passes(&mut upstream, &mut client, ENDS_IT);
        client.ends();
    }),
    ("a close of the upstream", LEAVES.len() + ENDS_IT.len(), |mut client, mut upstream| {
        passes(&mut upstream, &mut client, ENDS_IT);
        passes(&mut client, &mut upstream, LEAVES);
        client.ends();
    }),
    ("a client that is gone", 0, |client, mut upstream| {
        client.reset();
        upstream.rest();
    }),
    ("an upstream that is gone", 0, |mut client, upstream| {
        upstream.reset();
        client.rest();
    }),
    ("a client that is gone within a frame", 3, |mut client, mut upstream| {
        passes(&mut client, &mut upstream, &SAYS[..3]);
        client.reset();
        upstream.rest();
    }),
];

/// Its bytes and its request, at the endpoint of WebSockets.
const OF_WEBSOCKETS: &str = "[[limit]]\nid = \"b\"\nbytes = 1000\nmatch = { endpoint = [\"live\"] }\nwindow = \"total\"\n\
                             [[limit]]\nid = \"n\"\nrequests = 100\nmatch = { endpoint = [\"live\"] }\nwindow = \"total\"\n";

/// What is used of the bytes and of the requests of WebSockets, and the calls that run.
fn of_websockets(world: &World) -> [i64; 3] {
    let report = over_socket(&world.home.data(), "GET /admin/limits?user=ada").1;
    let of = |id: &str, key: &str| {
        let all = report["limits"].as_array().unwrap();
        let one = all.iter().find(|one| one["id"] == id).map(|one| one[key].clone()).unwrap_or_default();
        one.as_i64().or_else(|| one.as_str()?.parse().ok()).unwrap_or(0)
    };
    [of("b", "used"), of("n", "used"), of("one", "running")]
}

/// A WebSocket is one request. It holds its place to its end, and its bytes are counted there.
#[test]
fn each_end_of_a_websocket_settles_it() {
    let mut world = World::limited(&format!("{ONE}{OF_WEBSOCKETS}"), ENDPOINTS, &["--grace", "300ms"]);
    let (mut bytes, mut requests) = (0, 0);
    let mut begun = |world: &mut World, at_end: usize| {
        let (mut client, mut upstream) = opened(world);
        passes(&mut client, &mut upstream, SAYS);
        passes(&mut upstream, &mut client, ANSWERS);
        refused(world, "get", "one");
        assert_eq!(of_websockets(world), [bytes, requests, 1], "while it runs");
        bytes += i64::try_from(SAYS.len() + ANSWERS.len() + at_end).unwrap();
        requests += 1;
        (client, upstream, [bytes, requests, 0])
    };
    for (name, at_end, end) in CLOSES {
        let (client, upstream, expected) = begun(&mut world, *at_end);
        end(client, upstream);
        passes_soon(&mut world, name);
        eventually(name, || of_websockets(&world) == expected);
    }
    // tollgate closes it: its own frames are none of the call's.
    let (mut client, mut upstream, expected) = begun(&mut world, 0);
    world.gateway.signal(Signal::TERM);
    assert_eq!((client.bytes(2).unwrap()[0], upstream.bytes(2).unwrap()[0]), (0x88, 0x88));
    assert!(world.gateway.exit().success());
    world.gateway = world.home.serve(&[]);
    assert_eq!(of_websockets(&world), expected, "after a drain");
    passes_soon(&mut world, "a drain");
}

/// A WebSocket that uses up the bytes goes on, and the next one is refused.
#[test]
fn bytes_of_a_websocket_are_limited_at_the_next_one() {
    let mut world = World::limited(&OF_WEBSOCKETS.replace("1000", "20"), ENDPOINTS, &[]);
    let (mut client, mut upstream) = opened(&mut world);
    for _ in 0..3 {
        passes(&mut client, &mut upstream, SAYS);
    }
    client.reset();
    upstream.rest();
    eventually("it is settled", || of_websockets(&world)[0] == 33);
    let mut client = world.client();
    client.send(handshake(&world));
    let answer = client.answer().unwrap();
    assert_eq!((answer.head.status(), answer.head.get("tollgate-limit")), (429, Some("b")), "{answer:?}");
    world.upstream.saw_nothing();
}

/// A provider whose upstream is not there.
fn add_dead(world: &World) {
    let dead = "title = \"D\"\nbase_url = \"http://127.0.0.1:9\"\npath_prefix = \"/d\"\n[endpoint.chat]\nmethod = \"POST\"\npath = \"/chat\"\napi = \"chat-completions\"\n";
    world.home.write("d", dead);
    assert_eq!(over_socket(&world.home.data(), "POST /admin/reload").0, 200);
}

#[test]
fn a_failed_connection_gives_all_back() {
    let limits = format!("{ONE}[[limit]]\nid = \"two\"\nrequests = 2\nwindow = \"total\"\n");
    let mut world = World::limited(&limits, ENDPOINTS, &[]);
    add_dead(&world);
    for _ in 0..5 {
        let mut client = world.client();
        client.send(exchange(&world, "chat").at("/d/chat", "").bytes());
        assert_eq!(client.answer().unwrap().head.status(), 502);
    }
    passes_soon(&mut world, "a failed connection");
    passes_soon(&mut world, "a failed connection");
    refused(&mut world, "get", "two");
}

#[test]
fn a_drain_ends_calls_and_a_new_process_has_all_places() {
    let mut world = World::limited(ONE, ENDPOINTS, &[]);
    let (mut client, mut upstream) = begun(&mut world, "chat");
    refused(&mut world, "get", "one");
    world.gateway.signal(Signal::TERM);
    upstream.send(STREAM);
    upstream.send(chunk(b"data: 1\n\n"));
    upstream.send("0\r\n\r\n");
    assert_eq!(client.answer().unwrap().body, b"data: 1\n\n");
    world.gateway.exit();
    world.gateway = world.home.serve(&[]);
    let (mut client, mut upstream) = begun(&mut world, "get");
    upstream.send(Answer::new("200 OK").body("ok").bytes());
    assert_eq!(client.answer().unwrap().head.status(), 200);
}

/// Of many requests at once, as many run as may, and no more; in each round again.
#[test]
fn exactly_as_many_run_at_a_time() {
    const PLACES: usize = 5;
    let limit = format!("[[limit]]\nid = \"five\"\nper = \"all\"\nconcurrent = {PLACES}\n");
    let mut world = World::limited(&limit, ENDPOINTS, &["--workers", "4"]);
    for round in 0..5 {
        let numbered = |world: &World, number: usize| {
            world.known(Exchange::get().header("X-Number", &number.to_string()))
        };
        // A place is given back a moment after its client has the answer.
        world.gateway.ended(round * 40);
        let mut clients: Vec<Wire> = (0..40).map(|_| world.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(numbered(&world, number).bytes());
        }
        let mut running: Vec<(usize, Wire)> = (0..PLACES)
            .map(|_| {
                let (request, upstream) = world.upstream.request();
                (request.head.get("x-number").unwrap().parse().unwrap(), upstream)
            })
            .collect();
        for (number, client) in clients.iter_mut().enumerate() {
            if running.iter().all(|(other, _)| *other != number) {
                assert_eq!(client.answer().unwrap().head.status(), 429, "round {round}");
            }
        }
        world.upstream.saw_nothing();
        for (number, upstream) in &mut running {
            upstream.send(Answer::new("200 OK").body("ok").bytes());
            assert_eq!(clients[*number].answer().unwrap().head.status(), 200, "round {round}");
        }
        drop(running);
    }
}

/// A running call keeps its place, whatever becomes of the file.
#[test]
fn a_reload_neither_frees_nor_loses_a_place() {
    let mut world = World::limited(ONE, ENDPOINTS, &[]);
    let change = |world: &World, text: &str| {
        save(&world.home.limits("t"), text);
        assert_eq!(over_socket(&world.home.data(), "POST /admin/reload").0, 200);
    };
    let (mut client, mut upstream) = begun(&mut world, "chat");
    refused(&mut world, "get", "one");
    change(&world, "");
    passes_soon(&mut world, "no limit");
    let two = ONE.replace("= 1", "= 2");
    change(&world, &two);
    passes_soon(&mut world, "a second place");
    change(&world, ONE);
    refused(&mut world, "get", "one");
    upstream.send(Answer::new("200 OK").body("ok").bytes());
    assert_eq!(client.answer().unwrap().head.status(), 200);
    drop(upstream);
    passes_soon(&mut world, "the end");
    let (_client, _upstream) = begun(&mut world, "chat");
    refused(&mut world, "get", "one");
}

// === all limits admit, or none counts ===

#[test]
fn a_refused_request_uses_up_nothing() {
    let limits = "[[limit]]\nid = \"a\"\nrequests = 4\nwindow = \"total\"\n\
                  [[limit]]\nid = \"b\"\nrequests = 1\nwindow = \"total\"\nmatch = { endpoint = [\"chat\"] }\n\
                  [[limit]]\nid = \"c\"\nconcurrent = 1\n\
                  [[limit]]\nid = \"d\"\ntokens = 2000\nwindow = \"total\"\n";
    let mut world = World::limited(limits, ENDPOINTS, &[]);
    let (mut client, mut upstream) = begun(&mut world, "chat");
    upstream.send(Answer::new("429 Too Many Requests").body("no").bytes());
    world.upstream.keep(upstream);
    client.answer().unwrap();
    for _ in 0..5 {
        refused(&mut world, "chat", "b");
    }
    for _ in 0..3 {
        passes_soon(&mut world, "refusals");
    }
    refused(&mut world, "get", "a");
}

// === the refusal ===

/// The endpoint, the limit, the least and the most seconds of `Retry-After`, and whether no other try helps.
type Refusal = (&'static str, &'static str, Option<(u64, u64)>, bool);

/// The `Retry-After` of a refusal.
fn retry_after(answer: &Message) -> Option<u64> {
    answer.head.get("retry-after").map(|seconds| seconds.parse().unwrap())
}

#[test]
fn a_refusal_has_the_shape_of_its_endpoint_and_says_when_to_try_again() {
    let limit = |id: &str, endpoint: &str, window: &str| {
        format!(
            "[[limit]]\nid = \"{id}\"\nrequests = 1\nmatch = {{ endpoint = [\"{endpoint}\"] }}\nwindow = {window}\n"
        )
    };
    let limits = [
        limit("never", "chat", "\"total\""),
        limit("later", "messages", "{ sliding = \"2h\" }"),
        limit("soon", "post", "{ sliding = \"40s\" }"),
    ];
    let mut world = World::limited(&limits.concat(), ENDPOINTS, &[]);
    let cases: [Refusal; 3] = [
        ("chat", "never", None, true),
        ("messages", "later", Some((3_600, 7_400)), true),
        ("post", "soon", Some((1, 41)), false),
    ];
    for (endpoint, id, wait, is_final) in cases {
        // The vendor's own limits pass, and tollgate's are not shown beside them.
        let answer = Answer::new("200 OK").header("x-ratelimit-remaining-requests", "7");
        let answer = answer.header("retry-after", "3").body("ok");
        let admitted = exchange(&world, endpoint).answer(answer);
        world.exchange_on(&mut world.client(), &admitted);
        let answer = refused(&mut world, endpoint, id);
        let seconds = retry_after(&answer);
        let is_good = match (wait, seconds) {
            (None, None) => true,
            (Some((least, most)), Some(seconds)) => (least..=most).contains(&seconds),
            _ => false,
        };
        assert!(is_good, "{endpoint}: {seconds:?}");
        assert_eq!(answer.head.get("x-should-retry"), is_final.then_some("false"), "{endpoint}");
        assert_eq!(answer.head.get("x-ratelimit-remaining-requests"), None);
        let proxy = answer.head.get("proxy-status");
        assert_eq!(proxy, Some("tollgate; error=http_request_denied; details=\"limit_exceeded\""));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let error = &body["error"];
        assert!(error["message"].as_str().unwrap().contains(&format!("`{id}`")), "{body}");
        assert_eq!(error["code"], "limit_exceeded", "{body}");
        if endpoint != "post" {
            assert_eq!(error["type"], "rate_limit_error", "{body}");
        }
        let (kind, request_id) = (&body["type"], body["request_id"].as_str());
        let id = answer.head.get("tollgate-request-id").filter(|_| endpoint == "messages");
        assert_eq!((kind, request_id), (&id.map_or(Value::Null, |_| json!("error")), id), "{body}");
    }
}

/// The client, which first sends all of its body, gets the refusal, and the connection serves another request.
#[test]
fn a_refusal_of_a_large_body_is_seen() {
    let limits = "[[limit]]\nid = \"head\"\nrequests = 1\nmatch = { endpoint = [\"post\"] }\nwindow = \"total\"\n\
                  [[limit]]\nid = \"body\"\nrequests = 1\nmatch = { model = [\"m-*\"] }\nwindow = \"total\"\n";
    let mut world = World::limited(limits, ENDPOINTS, &[]);
    let large = format!("{{\"model\":\"m-1\",\"pad\":\"{}\"}}", "x".repeat(500_000));
    for (endpoint, id) in [("post", "head"), ("chat", "body")] {
        let small = exchange(&world, endpoint);
        world.exchange_on(&mut world.client(), &small);
        let base = small.clone().body(large.clone());
        for exchange in [base.clone(), base.chunked(large.clone())] {
            let mut client = world.client();
            let mut sender = client.twin();
            std::thread::scope(|scope| {
                scope.spawn(|| sender.send(exchange.bytes()));
                let answer = client.answer().unwrap_or_else(|broken| panic!("{endpoint}: {broken:?}"));
                let limit = answer.head.get("tollgate-limit");
                assert_eq!((answer.head.status(), limit), (429, Some(id)), "{endpoint}");
            });
            let next = world.known(Exchange::get());
            world.exchange_on(&mut client, &next);
        }
    }
}

#[test]
fn the_vendors_refusal_passes_unchanged() {
    let limit = "[[limit]]\nid = \"n\"\nrequests = 5\nwindow = \"total\"\n";
    let mut world = World::limited(limit, ENDPOINTS, &[]);
    let answer = Answer::new("429 Too Many Requests").header("retry-after", "9");
    let answer = answer.header("x-ratelimit-limit-tokens", "10").body("{\"error\":{\"code\":\"rate\"}}");
    let exchange = exchange(&world, "chat").answer(answer);
    world.exchange_on(&mut world.client(), &exchange);
}

#[test]
fn a_request_too_many_at_a_time_may_try_again_at_once() {
    let mut world = World::limited(ONE, ENDPOINTS, &[]);
    let (_client, _upstream) = begun(&mut world, "chat");
    let answer = refused(&mut world, "get", "one");
    assert_eq!((retry_after(&answer), answer.head.get("x-should-retry")), (Some(1), None));
}

// === what a call uses ===

const BUDGET: i64 = 1_000_000;
const USAGE: &str = r#""usage":{"prompt_tokens":10,"completion_tokens":7}"#;

/// What was used so far, as the header of an answer says. The request itself fails, and uses nothing.
fn used(world: &mut World) -> i64 {
    let (mut client, mut upstream) = begun(world, "probe");
    answered(&mut upstream, "400 Bad Request", "{}");
    let answer = client.answer().unwrap();
    let values = answer.head.all("tollgate-limit");
    let twin = values.iter().find(|value| value.starts_with("twin; measure=tokens; left="));
    let left = twin.and_then(|value| value.split("left=").nth(1)?.parse::<i64>().ok());
    BUDGET - left.unwrap_or_else(|| panic!("{values:?}"))
}

fn event(text: &str) -> Vec<u8> {
    let word = json!({ "model": "m-1", "choices": [{ "delta": { "content": text } }] });
    chunk(format!("data: {word}\n\n").as_bytes())
}

fn answered(upstream: &mut Wire, status: &str, body: &str) {
    let length = body.len();
    upstream.send(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
}

/// The name of an end, the least and the most tokens that its call uses, and the end.
type Use = (&'static str, (i64, i64), End);

/// The ends of calls, and what they use.
const USES: &[Use] = &[
    ("counts in one piece", (17, 17), |mut client, mut upstream| {
        answered(&mut upstream, "200 OK", &format!("{{\"model\":\"m-1\",{USAGE}}}"));
        client.answer().unwrap();
    }),
    ("counts at the end of a stream", (17, 17), |mut client, mut upstream| {
        upstream.send(STREAM);
        upstream.send(event("one"));
        upstream.send(chunk(format!("data: {{\"model\":\"m-1\",\"choices\":[],{USAGE}}}\n\n").as_bytes()));
        upstream.send("0\r\n\r\n");
        client.answer().unwrap();
    }),
    ("a stream that is cut", (2, 90), |mut client, mut upstream| {
        upstream.send(STREAM);
        upstream.send(event("one"));
        upstream.send(event("two"));
        drop(upstream);
        assert!(client.answer().is_err());
    }),
    ("a client that leaves a stream", (2, 90), |mut client, mut upstream| {
        upstream.send(STREAM);
        upstream.send(event("one"));
        client.head().unwrap();
        client.chunk().unwrap();
        client.reset();
        upstream.rest();
    }),
    ("an upstream that ends without an answer", (1, 90), |mut client, upstream| {
        drop(upstream);
        client.answer().unwrap();
    }),
    ("429", (0, 0), |mut client, mut upstream| {
        answered(&mut upstream, "429 Too Many Requests", "{}");
        client.answer().unwrap();
    }),
    ("503", (0, 0), |mut client, mut upstream| {
        answered(&mut upstream, "503 Service Unavailable", "{}");
        client.answer().unwrap();
    }),
    ("529", (0, 0), |mut client, mut upstream| {
        answered(&mut upstream, "529 Overloaded", "{}");
        client.answer().unwrap();
    }),
    ("400", (0, 0), |mut client, mut upstream| {
        answered(&mut upstream, "400 Bad Request", "{}");
        client.answer().unwrap();
    }),
    ("500", (0, 0), |mut client, mut upstream| {
        answered(&mut upstream, "500 Internal Server Error", "{}");
        client.answer().unwrap();
    }),
];

const TWIN: &str = "[[limit]]\nid = \"twin\"\ntokens = 1000000\nwindow = \"total\"\nreserve = \"none\"\n";

/// Settles exactly once, and keeps no reservation: a limit that holds about two of them goes on admitting.
#[test]
fn each_end_settles_what_was_used() {
    let tight =
        "[[limit]]\nid = \"tight\"\ntokens = 700\nwindow = \"total\"\nmatch = { endpoint = [\"chat\"] }\n";
    let mut world = World::limited(&format!("{TWIN}{tight}"), ENDPOINTS, &["--limit-headers"]);
    for (name, (least, most), end) in USES {
        let before = used(&mut world);
        let (client, upstream) = begun(&mut world, "chat");
        end(client, upstream);
        let start = Instant::now();
        loop {
            let now = used(&mut world) - before;
            // It is settled a moment after the client saw the end.
            if (*least..=*most).contains(&now) {
                break;
            }
            assert!(start.elapsed() < LIMIT, "`{name}` used {now}");
            pause(Duration::from_millis(5));
        }
    }
    add_dead(&world);
    let before = used(&mut world);
    let mut client = world.client();
    client.send(exchange(&world, "chat").at("/d/chat", "").bytes());
    assert_eq!(client.answer().unwrap().head.status(), 502);
    assert_eq!(used(&mut world), before, "a failed connection");
}

/// A stream that the end of the process cuts counts what was seen of it.
#[test]
fn a_stream_that_a_drain_cuts_is_counted() {
    let args = ["--limit-headers", "--grace", "300ms"];
    let mut world = World::limited(TWIN, ENDPOINTS, &args);
    assert_eq!(used(&mut world), 0);
    let (mut client, mut upstream) = begun(&mut world, "chat");
    upstream.send(STREAM);
    upstream.send(event(&"some words ".repeat(40)));
    client.head().unwrap();
    client.chunk().unwrap();
    world.gateway.signal(Signal::TERM);
    world.gateway.exit();
    assert!(client.chunk().is_err());
    drop(upstream);
    world.gateway = world.home.serve(&args);
    let counted = used(&mut world);
    assert!((50..400).contains(&counted), "{counted}");
}

/// What calls reserve is learned: of an unknown model a thousand tokens, of a known one what most of its answers had.
#[test]
fn reservations_are_learned() {
    let limit = "[[limit]]\nid = \"t\"\noutput_tokens = 1500\nwindow = \"total\"\n";
    let mut world = World::limited(limit, ENDPOINTS, &[]);
    let unbounded = |world: &World| {
        let exchange = Exchange::post(r#"{"model":"m-1"}"#).at("/t/chat", "/chat");
        world.known(exchange)
    };
    let ask = |world: &mut World| {
        let mut client = world.client();
        client.send(unbounded(world).bytes());
        match world.upstream.next_or(&client) {
            Next::Request(mut upstream) => {
                upstream.request().unwrap();
                Ok((client, upstream))
            }
            Next::Client => Err(client.answer().unwrap().head.status()),
        }
    };
    let (mut client, mut upstream) = ask(&mut world).unwrap();
    assert_eq!(ask(&mut world).err(), Some(429));
    answered(&mut upstream, "200 OK", &format!("{{\"model\":\"m-1\",{USAGE}}}"));
    world.upstream.keep(upstream);
    client.answer().unwrap();
    let start = Instant::now();
    let mut running = Vec::new();
    while running.len() < 20 {
        match ask(&mut world) {
            Ok(call) => running.push(call),
            Err(status) => {
                assert!(status == 429 && start.elapsed() < LIMIT, "{status}: {} run", running.len());
            }
        }
    }
}

/// The reserve `max` needs to know the most that a request can use.
#[test]
fn the_greatest_reservation_needs_a_bound() {
    let limit = "[[limit]]\nid = \"t\"\ntokens = 200\nwindow = \"total\"\nreserve = \"max\"\nmatch = { endpoint = [\"chat\"] }\n";
    let mut world = World::limited(limit, ENDPOINTS, &[]);
    let status = |world: &mut World, body: &str, chunked: bool| {
        let exchange = Exchange::post("").at("/t/chat", "/chat");
        let exchange = if chunked { exchange.chunked(body) } else { exchange.body(body) };
        let exchange = world.known(exchange.answer(Answer::new("429 Too Many Requests").body("no")));
        let mut client = world.client();
        client.send(exchange.bytes());
        if let Next::Request(mut upstream) = world.upstream.next_or(&client) {
            // A body that was read as a whole has a length.
            let length = Framing::Length(body.len() as u64);
            exchange.clone().framed_up(length).check(&world.host, &upstream.request().unwrap());
            upstream.send(exchange.answer.bytes());
            world.upstream.keep(upstream);
        }
        let answer = client.answer().unwrap();
        let details = answer.head.get("proxy-status").and_then(|status| status.split('"').nth(1));
        details.unwrap_or("passed").to_owned()
    };
    let cases = [
        (r#"{"model":"m"}"#, "no_output_cap"),
        (r#"{"model":"m","max_tokens":null}"#, "no_output_cap"),
        (r#"{"model":"m","max_tokens":-1}"#, "unjudgeable_body"),
        (r#"{"model":"m","max_tokens":1e9}"#, "unjudgeable_body"),
        (r#"{"model":"m","max_tokens":5,"max_tokens":5}"#, "unjudgeable_body"),
        (r#"{"model":"m","max_tokens":5,"max_completion_tokens":6}"#, "unjudgeable_body"),
        (r#"{"model":"m","max_tokens":200}"#, "limit_exceeded"),
        (r#"{"model":"m","max_tokens":170}"#, "passed"),
        (r#"{"model":"m","max_tokens":170}"#, "passed"),
        // Each answer may have so many.
        (r#"{"n":2,"model":"m","max_tokens":85}"#, "limit_exceeded"),
        (r#"{"model":"m","max_tokens":75,"n":2}"#, "passed"),
        (r#"{"model":"m","max_tokens":75,"n":2.0}"#, "unjudgeable_body"),
        // What neither the size nor the cap bounds.
        (r#"{"model":"m","max_tokens":9,"plugins":[{"id":"web"}]}"#, "unbounded_request"),
        (r#"{"max_tokens":9,"tools":[{"type":"function"},{"type":"web"}]}"#, "unbounded_request"),
        (r#"{"max_tokens":9,"tools":[{"type":"function"}]}"#, "passed"),
        (r#"{"messages":[{"content":[{"image_url":{"url":"x"}}]}],"max_tokens":9}"#, "unbounded_request"),
        (r#"{"messages":[{"content":"image_url"}],"max_tokens":9}"#, "passed"),
        (r#"{"messages":{"content":[{"image_url":{"url":"x"}}]},"max_tokens":9}"#, "unjudgeable_body"),
        (r#"{"fallbacks":[{"model":"m","max_tokens":900}],"max_tokens":9}"#, "unbounded_request"),
    ];
    for (body, expected) in cases {
        for chunked in [false, true] {
            assert_eq!(status(&mut world, body, chunked), expected, "{body} {chunked}");
        }
    }
}

/// A cap that cannot be read is none, where it only makes an estimate better.
#[test]
fn an_estimate_needs_no_cap() {
    let limit = "[[limit]]\nid = \"t\"\ntokens = 2000\nwindow = \"total\"\n";
    let mut world = World::limited(limit, ENDPOINTS, &[]);
    for body in [
        r#"{"model":"m","max_tokens":-1}"#,
        r#"{"model":"m","max_tokens":5.0}"#,
        r#"{"max_tokens":5,"max_completion_tokens":6}"#,
    ] {
        let exchange = Exchange::post("").at("/t/chat", "/chat").body(body);
        let usage = r#"{"model":"m","usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
        world.exchange(exchange.answer(Answer::new("200 OK").body(usage)));
    }
}

/// Answers without tokens need no cap.
#[test]
fn an_endpoint_without_tokens_of_answers_needs_no_cap() {
    let limit = "[[limit]]\nid = \"t\"\ntokens = 200\nwindow = \"total\"\nreserve = \"max\"\n";
    let mut world = World::limited(
        limit,
        "[endpoint.embed]\nmethod = \"POST\"\npath = \"/embed\"\napi = \"embeddings\"\n",
        &[],
    );
    let usage = r#"{"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}"#;
    let small = Exchange::post(r#"{"model":"m","input":"x"}"#).at("/t/embed", "/embed");
    world.exchange(small.answer(Answer::new("200 OK").body(usage)));
    let large = world.known(
        Exchange::post(format!(r#"{{"model":"m","input":"{}"}}"#, "x".repeat(300))).at("/t/embed", "/embed"),
    );
    let mut client = world.client();
    client.send(large.bytes());
    assert_eq!(client.answer().unwrap().head.status(), 429);
    world.upstream.saw_nothing();
}

/// An endpoint whose answers are not counted uses no tokens: it reserves none.
#[test]
fn what_is_not_counted_reserves_nothing() {
    for reserve in ["max", "learned", "none"] {
        let limit =
            format!("[[limit]]\nid = \"t\"\ntokens = 200\nwindow = \"total\"\nreserve = \"{reserve}\"\n");
        let mut world = World::limited(&limit, ENDPOINTS, &[]);
        world.exchange(Exchange::get());
        world.exchange(Exchange::post("{}"));
    }
}
