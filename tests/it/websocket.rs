//! WebSockets: the handshake, frames both ways as they are, close codes, cuts, limits, and the drain.

use std::{thread, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Home, KEY, Message, Upstream, Wire, World, eventually, provider};

const ENDPOINTS: &str = r#"
[endpoint.live]
method = "GET"
path = "/live/{room}"
upgrade = "websocket"
upstream_path = "/v1/{room}"
query = { set = { model = "m" } }
timeouts = { first_byte = "2s" }

[endpoint.brief]
method = "GET"
path = "/brief"
upgrade = "websocket"
timeouts = { idle = "400ms" }

[caller]
subprotocol = ["example-key."]
query = ["key"]
"#;

/// The key of RFC 6455, section 1.3, and the answer to it.
const SAMPLE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [1, 2, 3, 4];

fn world(args: &[&str]) -> World {
    World::with(ENDPOINTS, args)
}

/// A handshake with these further lines, each with its end.
fn handshake(target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: gw.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {SAMPLE}\r\n{more}\r\n"
    )
}

fn known(world: &World) -> String {
    format!("Authorization: Bearer {}\r\n", world.token)
}

/// The answer that switches, with these further lines.
fn switching(more: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n{more}\r\n"
    )
}

/// An open WebSocket: the client, and the upstream.
fn open_at(world: &mut World, target: &str) -> (Wire, Wire) {
    let mut client = world.client();
    client.send(handshake(target, &known(world)));
    let (_, mut upstream) = world.upstream.request();
    upstream.send(switching(""));
    assert_eq!(client.head().unwrap().status(), 101);
    (client, upstream)
}

fn open(world: &mut World) -> (Wire, Wire) {
    open_at(world, "/t/live/a")
}

/// A frame: its first byte, and its payload. That of a client is masked.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(bit | u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            frame.push(bit | 0x7e);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(bit | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask.into_iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
    frame
}

fn close(code: u16, mask: Option<[u8; 4]>) -> Vec<u8> {
    frame(0x88, &code.to_be_bytes(), mask)
}

/// The bytes arrive unchanged.
fn passes(from: &mut Wire, to: &mut Wire, bytes: &[u8]) {
    from.send(bytes);
    assert!(to.bytes(bytes.len()).unwrap() == bytes, "{} bytes changed on their way", bytes.len());
}

/// The code of tollgate's own close frame, after which the connection ends.
fn farewell(wire: &mut Wire, masked: bool) -> u16 {
    let head = wire.bytes(2).unwrap();
    assert_eq!((head[0], head[1] & 0x80 != 0), (0x88, masked), "{head:?}");
    let mask = if masked { wire.bytes(4).unwrap() } else { vec![0; 4] };
    let payload = wire.bytes(usize::from(head[1] & 0x7f)).unwrap();
    u16::from_be_bytes([payload[0] ^ mask[0], payload[1] ^ mask[1]])
}

/// The next line of the access log.
fn logged(world: &World) -> Value {
    world.gateway.wait_for_log("request")
}

fn refused(world: &mut World, request: &str, status: u16, code: &str) -> Message {
    let mut client = world.client();
    client.send(request);
    let answer = client.answer().unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    assert_eq!((answer.head.status(), body["error"]["code"].as_str()), (status, Some(code)), "{request}");
    world.upstream.saw_nothing();
    answer
}

#[test]
fn the_handshake_passes_with_the_stored_key() {
    let mut world = world(&[]);
    let mut client = world.client();
    let more = "Sec-WebSocket-Protocol: realtime, other\r\nSec-WebSocket-Extensions: permessage-deflate\r\nOrigin: https://page.example\r\nCookie: a=b\r\n";
    client.send(handshake("/t/live/a?x=1", &format!("{}{more}", known(&world))));
    let (request, mut upstream) = world.upstream.request();
    assert_eq!(request.head.start, "GET /v1/a?x=1&model=m HTTP/1.1");
    let mut lines = request.head.lines.clone();
    lines.sort();
    let host = world.host.clone();
    let authorization = format!("Bearer {KEY}");
    let expected = [
        ("authorization", &*authorization),
        ("connection", "Upgrade"),
        ("host", &host),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-key", SAMPLE),
        ("sec-websocket-protocol", "realtime, other"),
        ("sec-websocket-version", "13"),
        ("upgrade", "websocket"),
    ];
    assert_eq!(lines, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let offered = "Sec-WebSocket-Protocol: realtime\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    let of_requests = format!("Sec-WebSocket-Key: {SAMPLE}\r\nSec-WebSocket-Version: 13\r\n");
    upstream.send(switching(&format!("{offered}{of_requests}Set-Cookie: a=b\r\nX-Id: 7\r\n")));
    let answer = client.head().unwrap();
    assert_eq!(answer.status(), 101);
    for (name, value) in [
        ("upgrade", Some("websocket")),
        ("connection", Some("Upgrade")),
        ("sec-websocket-accept", Some(ACCEPT)),
        ("sec-websocket-protocol", Some("realtime")),
        ("sec-websocket-extensions", Some("permessage-deflate")),
        ("x-id", Some("7")),
        ("sec-websocket-key", None),
        ("sec-websocket-version", None),
        ("set-cookie", None),
        ("content-length", None),
        ("keep-alive", None),
    ] {
        assert_eq!(answer.get(name), value, "{name}");
    }
    passes(&mut client, &mut upstream, &frame(0x81, b"Hello", Some(MASK)));
    passes(&mut upstream, &mut client, &frame(0x81, b"Hi", None));
}

#[test]
fn a_token_may_be_in_a_subprotocol_or_in_the_query() {
    let mut world = world(&[]);
    let token = world.token.clone();
    let offers = [
        (format!("realtime, example-key.{token}"), "", Some("realtime")),
        (format!("example-key.{token},realtime , v1"), "", Some("realtime, v1")),
        (format!("realtime\r\nSec-WebSocket-Protocol: example-key.{token}"), "", Some("realtime")),
        (format!("example-key.{token}"), "", None),
        // Where no file expects it, the token goes nowhere either.
        (format!("realtime, other.{token}"), "?key=TOKEN", Some("realtime")),
    ];
    for (offer, query, expected) in offers {
        let mut client = world.client();
        let target = format!("/t/live/a{}", query.replace("TOKEN", &token));
        client.send(handshake(&target, &format!("Sec-WebSocket-Protocol: {offer}\r\n")));
        let (request, mut upstream) = world.upstream.request();
        assert_eq!(request.head.get("sec-websocket-protocol"), expected, "{offer}");
        assert!(!format!("{:?}", request.head).contains(&token));
        upstream.send(switching(if expected.is_some() {
            "Sec-WebSocket-Protocol: realtime\r\n"
        } else {
            ""
        }));
        let answer = client.head().unwrap();
        assert_eq!(
            (answer.status(), answer.get("sec-websocket-protocol")),
            (101, expected.map(|_| "realtime"))
        );
    }
    // Any token that may stand there, in any spelling of the line.
    let known = known(&world);
    for (line, expected) in [
        ("Sec_WebSocket_Protocol: v1, example-key.another", Some(("sec_websocket_protocol", "v1"))),
        ("Sec-WebSocket_Protocol: example-key.another", None),
        ("Sec-WebSocket-Protocol: é, example-key.another", None),
        ("Sec_WebSocket_Protocol: v1, é", None),
    ] {
        let mut client = world.client();
        client.send(handshake("/t/live/a", &format!("{known}{line}\r\n")));
        let (request, _) = world.upstream.request();
        let lines = request.head.lines.iter().map(|(name, value)| (&**name, &**value));
        let found: Vec<_> = lines.filter(|(name, _)| name.ends_with("protocol")).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{line}");
    }
    let wrong = handshake("/t/live/a", "Sec-WebSocket-Protocol: realtime, example-key.wrong\r\n");
    refused(&mut world, &wrong, 401, "foreign_token");
    assert!(!world.gateway.log().concat().contains(&token));
}

#[test]
fn requests_that_open_nothing() {
    let mut world = world(&[]);
    let known = known(&world);
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{known}\r\n");
    refused(&mut world, &handshake("/t/live/a", ""), 401, "missing_token");
    let plain = refused(&mut world, &get("/t/live/a"), 426, "upgrade_required");
    assert_eq!(
        (plain.head.get("upgrade"), plain.head.get("connection")),
        (Some("websocket"), Some("upgrade"))
    );
    for target in ["/t/get", "/t/nowhere"] {
        let fallback = refused(&mut world, &handshake(target, &known), 426, "upgrade_refused");
        assert_eq!(fallback.head.get("upgrade"), Some("HTTP/1.1"));
    }
    let good = handshake("/t/live/a", &known);
    let version = refused(&mut world, &good.replace("Version: 13", "Version: 8"), 426, "websocket_version");
    assert_eq!(version.head.get("sec-websocket-version"), Some("13"));
    for (from, to) in [
        ("Connection: keep-alive, Upgrade\r\n", ""),
        (SAMPLE, "short"),
        ("Sec-WebSocket-Key:", "X-Key:"),
        ("Sec-WebSocket-Key:", "Content-Length: 1\r\nSec-WebSocket-Key:"),
    ] {
        refused(&mut world, &good.replace(from, to), 400, "invalid_handshake");
    }
    refused(&mut world, &good.replace("GET /t/live/a", "POST /t/live/a"), 426, "upgrade_refused");
}

#[test]
fn an_upstream_that_does_not_switch_answers_as_anywhere() {
    let more = "[[response]]\nwhen = { status = 403 }\nreply = { status = 502, message = \"no\" }";
    let mut world = World::with(&format!("{ENDPOINTS}\n{more}"), &[]);
    let mut ask = |answer: &str| {
        let mut client = world.client();
        client.send(handshake("/t/live/a", &format!("Authorization: Bearer {}\r\n", world.token)));
        let (_, mut upstream) = world.upstream.request();
        upstream.send(answer);
        let answer = client.answer().unwrap();
        (answer.head.status(), String::from_utf8(answer.body).unwrap())
    };
    assert_eq!(ask("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"), (404, "none".to_owned()));
    assert_eq!(ask("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").0, 502);
    assert_eq!(ask("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), (200, "ok".to_owned()));
    let good = switching("");
    for wrong in [
        good.replace(ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="),
        good.replace("Sec-WebSocket-Accept", "X-Accept"),
        good.replace("Upgrade: websocket", "Upgrade: h2c"),
        good.replace("Connection: Upgrade", "Connection: close"),
        switching("Sec-WebSocket-Protocol: other\r\n"),
        switching("Sec-WebSocket-Extensions: x-other\r\n"),
    ] {
        let (status, body) = ask(&wrong);
        assert_eq!(status, 502, "{wrong}");
        assert!(body.contains("upstream_handshake"), "{wrong} {body}");
    }
}

#[test]
fn frames_pass_as_they_are_in_both_directions() {
    let mut world = world(&[]);
    let (mut client, mut upstream) = open(&mut world);
    // A text in three fragments, a ping between them, a pong, an empty frame, an unmasked frame of a client, reserved bits.
    let stream = |mask| {
        [
            frame(0x01, b"one", mask),
            frame(0x89, b"ping", mask),
            frame(0x00, b"two", mask),
            frame(0x80, b"", mask),
            frame(0x8a, b"pong", mask),
            frame(0xf2, &[0xff; 300], mask),
            frame(0x82, &vec![7; 70_000], mask),
        ]
        .concat()
    };
    passes(&mut client, &mut upstream, &stream(Some(MASK)));
    passes(&mut upstream, &mut client, &stream(None));
    passes(&mut client, &mut upstream, &stream(None));
    for byte in frame(0x81, b"byte by byte", Some(MASK)) {
        passes(&mut client, &mut upstream, &[byte]);
    }
}

#[test]
fn what_comes_with_the_handshake_is_part_of_it() {
    let mut world = world(&[]);
    let mut client = world.client();
    let hello = frame(0x81, b"early", Some(MASK));
    client.send([handshake("/t/live/a", &known(&world)).as_bytes(), &hello].concat());
    let (_, mut upstream) = world.upstream.request();
    let welcome = frame(0x81, b"welcome", None);
    upstream.send([switching("").as_bytes(), &welcome].concat());
    assert_eq!(client.head().unwrap().status(), 101);
    assert_eq!(client.bytes(welcome.len()).unwrap(), welcome);
    assert_eq!(upstream.bytes(hello.len()).unwrap(), hello);
    passes(&mut upstream, &mut client, &close(1000, None));
    passes(&mut client, &mut upstream, &close(1000, Some(MASK)));
    client.ends();
    let line = logged(&world);
    assert_eq!((&line["frames_in"], &line["frames_out"]), (&2.into(), &2.into()), "{line}");
    let (sent, answered) = (hello.len() + 8, welcome.len() + 4);
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&sent.into(), &answered.into()), "{line}");
}

/// What tollgate offers of its own is between it and the upstream.
#[test]
fn the_client_gets_what_it_offered() {
    let upstream = Upstream::plain();
    let host = upstream.address().to_string();
    let rule = "headers = { default = { sec-websocket-extensions = \"x-own\" } }";
    let endpoints = ENDPOINTS.replace("[endpoint.brief]", &format!("{rule}\n[endpoint.brief]"));
    let rule = "set = { sec-websocket-protocol = \"realtime, v1, insecure-key.{secret}\" }";
    let text = provider(&format!("http://{host}"), &endpoints)
        .replace("set = { authorization = \"Bearer {secret}\" }", rule);
    let home = Home::new(&[("t", &text)]);
    let token = home.user("ada");
    home.credential("ada", "providers.t.apiKey", KEY);
    let gateway = home.serve_with(&[], &[]);
    let mut world = World { upstream, gateway, home, token, host, cors: String::new() };
    let stored = format!("insecure-key.{KEY}");
    let mut check = |offered: [&str; 2], answered: [&str; 2], expected: Option<[Option<&str>; 2]>| {
        let lines = |values: [&str; 2]| {
            let names = ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"];
            let lines = names.iter().zip(values).filter(|(_, value)| !value.is_empty());
            lines.map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat()
        };
        let mut client = world.client();
        client.send(handshake("/t/live/a", &format!("{}{}", known(&world), lines(offered))));
        let (request, mut upstream) = world.upstream.request();
        let sent = request.head.get("sec-websocket-protocol");
        assert_eq!(sent, Some(&*format!("realtime, v1, {stored}")));
        upstream.send(switching(&lines(answered)));
        let head = client.head().unwrap();
        let case = format!("{offered:?} {answered:?} {head:?}");
        assert!(!format!("{head:?}").contains(KEY), "{case}");
        assert_eq!(head.status(), if expected.is_some() { 101 } else { 502 }, "{case}");
        if let Some(expected) = expected {
            let found = ["sec-websocket-protocol", "sec-websocket-extensions"].map(|name| head.get(name));
            assert_eq!(found, expected, "{case}");
        }
    };
    check(["realtime", ""], ["realtime", ""], Some([Some("realtime"), None]));
    check(["realtime", ""], ["v1", ""], Some([None, None]));
    check(["realtime", ""], [&stored, ""], Some([None, None]));
    check(["", ""], [&stored, ""], Some([None, None]));
    check(["", ""], ["realtime", ""], Some([None, None]));
    check(["", "x-a"], ["", "x-a; b=1"], Some([None, Some("x-a; b=1")]));
    check(["", "x-a"], ["", &format!("x-a; b={KEY}")], Some([None, None]));
    // The frames would have a form that the client does not know.
    check(["", ""], ["", "x-own"], None);
}

#[test]
fn a_huge_frame_takes_little_memory() {
    const SIZE: usize = 64 << 20;
    let mut world = world(&[]);
    let (client, upstream) = open(&mut world);
    let memory = || world.gateway.proc_status("VmHWM:").split(' ').next().unwrap().parse::<u64>().unwrap();
    let before = memory();
    for (mut from, mut to, mask) in
        [(client.twin(), upstream.twin(), 0x80), (upstream.twin(), client.twin(), 0)]
    {
        let mut head = vec![0x82, mask | 127];
        head.extend((SIZE as u64).to_be_bytes());
        head.extend(if mask == 0 { &[][..] } else { &MASK });
        let length = head.len() + SIZE;
        let sender = thread::spawn(move || {
            from.send(head);
            let block = vec![b'x'; 1 << 20];
            (0..SIZE >> 20).for_each(|_| from.send(&block));
        });
        assert_eq!(to.skip(length), length);
        sender.join().unwrap();
    }
    let grown = memory() - before;
    assert!(grown < 8 << 10, "{grown} KiB more");
}

#[test]
fn a_peer_that_does_not_read_stops_the_other_one() {
    let mut world = world(&[]);
    let (mut client, mut upstream) = open(&mut world);
    let head = |mask: u8| [&[0x82, mask | 127][..], &(1_u64 << 40).to_be_bytes()].concat();
    client.send([head(0x80), MASK.to_vec()].concat());
    upstream.send(head(0));
    let pause = Duration::from_millis(500);
    for (mut from, mut to) in [(client.twin(), upstream.twin()), (upstream.twin(), client.twin())] {
        let taken = from.push(256 << 20, pause);
        assert!(taken < 64 << 20, "{taken} bytes are held");
        // All of it arrives, and more is taken then.
        assert!(to.skip(taken) == taken);
        assert!(from.push(1 << 20, pause) > 0);
    }
}

#[test]
fn a_receiver_that_takes_its_time_is_no_silence() {
    let mut world = world(&[]);
    let (mut client, mut upstream) = open_at(&mut world, "/t/brief");
    let head = |mask: u8| [&[0x82, mask | 127][..], &(1_u64 << 40).to_be_bytes()].concat();
    client.send([head(0x80), MASK.to_vec()].concat());
    upstream.send(head(0));
    for (mut from, mut to) in [(client.twin(), upstream.twin()), (upstream.twin(), client.twin())] {
        // Three times the limit.
        let taken = from.push(256 << 20, Duration::from_millis(1200));
        assert!(to.skip(taken) == taken);
        assert!(from.push(1 << 10, Duration::from_millis(100)) > 0);
    }
}

#[test]
fn close_codes_pass_both_ways() {
    let mut world = world(&[]);
    for code in [1000_u16, 1001, 1011, 3000, 4999] {
        let (mut client, mut upstream) = open(&mut world);
        passes(&mut client, &mut upstream, &close(code, Some(MASK)));
        // The other side may finish its message first.
        passes(&mut upstream, &mut client, &frame(0x81, b"last", None));
        passes(&mut upstream, &mut client, &close(code, None));
        client.ends();
        drop(upstream);
        let line = logged(&world);
        assert_eq!((&line["close_code"], &line["closed_by"]), (&code.into(), &"client".into()), "{line}");
        assert_eq!(
            (&line["end"], &line["outcome"], &line["status"]),
            (&"complete".into(), &"success".into(), &101.into())
        );
        assert_eq!((&line["frames_in"], &line["frames_out"]), (&1.into(), &2.into()));
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&8.into(), &10.into()));
    }
    let (mut client, mut upstream) = open(&mut world);
    passes(&mut upstream, &mut client, &frame(0x88, &[], None));
    passes(&mut client, &mut upstream, &frame(0x88, &[], Some(MASK)));
    client.ends();
    let line = logged(&world);
    assert_eq!((&line["close_code"], &line["closed_by"]), (&1005.into(), &"upstream".into()), "{line}");
    let mut scraper = world.client();
    scraper.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let metrics = String::from_utf8(scraper.answer().unwrap().body).unwrap();
    assert!(metrics.contains(r#"tollgate_websockets_total{provider="t",code="1000"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"tollgate_websockets_total{provider="t",code="4xxx"} 1"#), "{metrics}");
}

#[test]
fn an_upstream_that_closes_after_its_close_frame_is_heard() {
    let mut world = world(&[]);
    let (mut client, mut upstream) = open(&mut world);
    passes(&mut client, &mut upstream, &frame(0x81, b"x", Some(MASK)));
    upstream.send(close(1008, None));
    drop(upstream);
    assert_eq!(client.bytes(4).unwrap(), close(1008, None));
    client.ends();
    assert_eq!(logged(&world)["close_code"], 1008);
}

#[test]
fn a_cut_looks_cut() {
    let mut world = world(&[]);
    for within in [false, true] {
        for reset in [false, true] {
            let (mut client, mut upstream) = open(&mut world);
            passes(&mut upstream, &mut client, &frame(0x81, b"whole", None));
            let front = if within { &[0x82, 100, 1, 2][..] } else { &[] };
            passes(&mut upstream, &mut client, front);
            if reset {
                upstream.reset();
            } else {
                drop(upstream);
            }
            assert_eq!(client.rest(), b"", "nothing is made up");
            let line = logged(&world);
            assert_eq!((&line["end"], &line["close_code"]), (&"cut".into(), &1006.into()), "{line}");
            assert_eq!(line["closed_by"], "upstream");
        }
    }
    let (mut client, mut upstream) = open(&mut world);
    passes(&mut client, &mut upstream, &frame(0x81, b"whole", Some(MASK)));
    client.reset();
    assert_eq!(upstream.rest(), b"");
    let line = logged(&world);
    assert_eq!((&line["end"], &line["closed_by"]), (&"client_left".into(), &"client".into()), "{line}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the limit is one of time: frames have to come late")]
fn silence_has_a_limit_and_pings_are_none() {
    let mut world = world(&[]);
    let (mut client, mut upstream) = open_at(&mut world, "/t/brief");
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(200));
        passes(&mut client, &mut upstream, &frame(0x89, b"", Some(MASK)));
        thread::sleep(Duration::from_millis(100));
        passes(&mut upstream, &mut client, &frame(0x8a, b"", None));
    }
    assert_eq!((farewell(&mut client, false), farewell(&mut upstream, true)), (1001, 1001));
    client.ends();
    let line = logged(&world);
    assert_eq!((&line["end"], &line["closed_by"]), (&"cut".into(), &"tollgate".into()), "{line}");
    // A frame that has begun gets nothing into its middle.
    let (mut client, mut upstream) = open_at(&mut world, "/t/brief");
    passes(&mut upstream, &mut client, &[0x82, 100, 1]);
    assert_eq!(farewell(&mut upstream, true), 1001);
    assert_eq!(client.rest(), b"");
    assert_eq!(logged(&world)["close_code"], 1001);
    // With no place on either way, there was no close frame.
    let (mut client, mut upstream) = open_at(&mut world, "/t/brief");
    passes(&mut upstream, &mut client, &[0x82, 100, 1]);
    passes(&mut client, &mut upstream, &[0x82, 0xe4, 1]);
    assert_eq!((client.rest(), upstream.rest()), (Vec::new(), Vec::new()));
    let line = logged(&world);
    assert_eq!((&line["close_code"], &line["closed_by"]), (&1006.into(), &"tollgate".into()), "{line}");
    assert_eq!(line["end"], "cut");
}

#[test]
fn a_drain_closes_what_runs_and_opens_nothing() {
    let mut world = world(&["--grace", "500ms", "--drain-delay", "500ms"]);
    let (mut client, mut upstream) = open(&mut world);
    let (mut stalled, mut within) = open(&mut world);
    passes(&mut within, &mut stalled, &[0x82, 100, 1]);
    world.gateway.signal(Signal::TERM);
    eventually("the drain begins", || {
        let mut probe = world.client();
        probe.send("GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        probe.answer().unwrap().head.status() == 503
    });
    let late = handshake("/t/live/a", &known(&world));
    refused(&mut world, &late, 503, "overloaded");
    passes(&mut client, &mut upstream, &frame(0x81, b"goes on", Some(MASK)));
    assert_eq!((farewell(&mut client, false), farewell(&mut upstream, true)), (1001, 1001));
    client.ends();
    // A frame without an end is cut.
    assert_eq!(stalled.rest(), b"");
    assert!(world.gateway.exit().success());
}

#[test]
fn it_is_one_request_for_its_whole_life() {
    let mut world = world(&["--max-requests-per-token", "1"]);
    let (mut client, mut upstream) = open(&mut world);
    let second = handshake("/t/live/a", &known(&world));
    refused(&mut world, &second, 429, "token_concurrency");
    passes(&mut client, &mut upstream, &close(1000, Some(MASK)));
    passes(&mut upstream, &mut client, &close(1000, None));
    client.ends();
    logged(&world);
    logged(&world);
    open(&mut world);
}

#[test]
fn a_connection_goes_on_after_a_refused_handshake() {
    let mut world = world(&[]);
    let mut client = world.client();
    client.send(handshake("/t/get", &known(&world)));
    assert_eq!(client.answer().unwrap().head.status(), 426);
    client.send(handshake("/t/live/a", &known(&world)));
    let (_, mut upstream) = world.upstream.request();
    upstream.send(switching(""));
    assert_eq!(client.head().unwrap().status(), 101);
    passes(&mut client, &mut upstream, &frame(0x81, b"Hello", Some(MASK)));
    assert!(client.is_quiet_for(Duration::from_millis(50)));
}
