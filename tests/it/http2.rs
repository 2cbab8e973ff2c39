//! HTTP/2 on the listener: requests and answers pass as with HTTP/1.1, each with its own end; what a client may send is
//! bounded; a connection ends with GOAWAY, and running requests are finished.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Broken, Exchange, Home, Http2, KEY, Message, Vendor, Wire, World, eventually,
    http2::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, Seen,
        WINDOW_UPDATE, block, frame, opening,
    },
    over_socket, pause,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn client(world: &World) -> (Http2, String) {
    (Http2::connect(world.gateway.address), format!("Bearer {}", world.token))
}

/// The next request at the upstream, which gets this answer.
fn serve(world: &mut World, answer: &str) -> Message {
    let (request, mut wire) = world.upstream.request();
    wire.send(answer);
    world.upstream.keep(wire);
    request
}

#[test]
fn requests_and_answers_pass() {
    let mut world = World::new();
    let (mut client, bearer) = client(&world);
    let headers = [("authorization", &*bearer), ("x-a", "1"), ("accept", "*/*")];

    let answering = client.send("GET /t/get?q=1", &headers, b"");
    let request = serve(
        &mut world,
        "HTTP/1.1 201 Made\r\nX-B: 2\r\nConnection: x-c\r\nX-C: 3\r\nContent-Length: 2\r\n\r\nok",
    );
    assert_eq!(request.head.start, "GET /get?q=1 HTTP/1.1");
    assert_eq!(request.head.get("host"), Some(&*world.host));
    assert_eq!(request.head.get("authorization"), Some(&*format!("Bearer {KEY}")));
    assert_eq!(request.head.all("x-a"), ["1"]);
    let answer = client.head(answering);
    assert_eq!((answer.status, &answer.headers["x-b"]), (201, &"2".parse().unwrap()));
    for name in ["connection", "keep-alive", "x-c", "transfer-encoding", "upgrade"] {
        assert!(!answer.headers.contains_key(name), "{name}: {:?}", answer.headers);
    }
    assert!(answer.headers.contains_key("tollgate-request-id") && answer.headers.contains_key("date"));
    assert_eq!(client.rest(answer).0, b"ok");

    // A body without an announced length is sent in chunks, one with a length has that length.
    let body = vec![b'x'; 300_000];
    let answering = client.send("POST /t/post", &headers, &body);
    let request = serve(&mut world, OK);
    assert_eq!(
        (request.head.all("transfer-encoding"), request.body),
        (vec!["chunked".to_owned()], body.clone())
    );
    assert_eq!(client.answer(answering), (200, b"ok".to_vec()));
    let headers = [("authorization", &*bearer), ("content-length", "300000")];
    let answering = client.send("POST /t/post", &headers, &body);
    let request = serve(&mut world, OK);
    assert_eq!((request.head.get("content-length"), request.body.len()), (Some("300000"), 300_000));
    assert_eq!(client.answer(answering), (200, b"ok".to_vec()));

    // A HEAD has the head of a GET, and no body.
    let answering = client.send("HEAD /health", &[], b"");
    let answer = client.head(answering);
    assert_eq!((answer.status, &answer.headers["content-length"]), (200, &"15".parse().unwrap()));
    assert_eq!(client.rest(answer).0, b"");
    // Own faults have the shape that they have with HTTP/1.1.
    let answering = client.send("GET /t/nowhere", &headers[..1], b"");
    let (status, body) = client.answer(answering);
    assert!(status == 404 && String::from_utf8_lossy(&body).contains("route_not_found"), "{status}");
    assert_eq!(world.upstream.connections, 1, "the upstream's connection is kept");
}

#[test]
fn requests_run_beside_each_other_and_stream() {
    let mut world = World::new();
    let (mut client, bearer) = client(&world);
    let headers = [("authorization", &*bearer), ("te", "trailers")];
    let (first, second) =
        (client.send("GET /t/get?1", &headers, b""), client.send("GET /t/get?2", &headers, b""));
    let mut wires: Vec<_> = (0..2).map(|_| world.upstream.request()).collect();
    wires.sort_by_key(|(request, _)| request.head.start.clone());
    let (mut wire_of_first, mut wire_of_second) = (wires.remove(0).1, wires.remove(0).1);
    // The second is answered while the first streams.
    wire_of_first.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n1\r\na\r\n");
    let mut streaming = client.head(first);
    assert_eq!(client.piece(&mut streaming).unwrap().unwrap(), "a");
    wire_of_second.send(OK);
    assert_eq!(client.answer(second), (200, b"ok".to_vec()));
    wire_of_first.send("1\r\nb\r\n");
    assert_eq!(client.piece(&mut streaming).unwrap().unwrap(), "b");
    wire_of_first.send("0\r\nx-sum: 5\r\n\r\n");
    let (rest, trailers) = client.rest(streaming);
    assert_eq!((rest, &trailers.unwrap()["x-sum"]), (vec![], &"5".parse().unwrap()));
    world.upstream.keep(wire_of_first);
    world.upstream.keep(wire_of_second);
    // An answer that breaks off looks broken.
    let answering = client.send("GET /t/get", &headers, b"");
    let (_, mut wire) = world.upstream.request();
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    let mut answer = client.head(answering);
    assert_eq!(client.piece(&mut answer).unwrap().unwrap(), "a");
    drop(wire);
    let error = client.piece(&mut answer).unwrap().unwrap_err();
    assert!(error.contains("INTERNAL_ERROR"), "{error}");
}

#[test]
fn a_cancelled_request_is_cancelled_upstream() {
    let mut world = World::new();
    let (mut client, bearer) = client(&world);
    let headers = [("authorization", &*bearer)];
    // Before the answer.
    let answering = client.send("GET /t/get", &headers, b"");
    let (_, mut wire) = world.upstream.request();
    drop(answering);
    wire.ends();
    // In its body.
    let answering = client.send("GET /t/get", &headers, b"");
    let (_, mut wire) = world.upstream.request();
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    let mut answer = client.head(answering);
    assert_eq!(client.piece(&mut answer).unwrap().unwrap(), "a");
    drop(answer);
    wire.ends();
    // With the connection.
    let answering = client.send("GET /t/get", &headers, b"");
    let (_, mut wire) = world.upstream.request();
    drop((answering, client));
    wire.ends();
    eventually("the records", || world.gateway.logged("client_left").len() == 3);
}

/// Of streams of one connection that all come at once, as many pass as a limit admits.
#[test]
fn of_many_streams_exactly_fifty_pass() {
    const STREAMS: usize = 300;
    let vendor = Vendor::start();
    let home = Home::new(&[("v", &vendor.provider())]);
    home.write_limits("t", "[[limit]]\nid = \"n\"\nrequests = 50\nwindow = { sliding = \"60s\" }\n");
    let bearer = format!("Bearer {}", home.user("ada"));
    let gateway = home.serve(&["--workers", "4", "--limit-headers"]);
    let mut client = Http2::connect(gateway.address);
    let headers = [("authorization", &*bearer)];
    let answering: Vec<_> = (0..STREAMS).map(|_| client.send("GET /v/get", &headers, b"")).collect();
    let mut passed = 0;
    for answering in answering {
        let answer = client.head(answering);
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap());
        if answer.status == 200 {
            let limit = header("tollgate-limit").unwrap();
            assert!(limit.starts_with("n; measure=requests; left="), "{limit}");
            passed += 1;
            continue;
        }
        // The refusal has the headers that it has with HTTP/1.1, and none of a connection.
        let wait: u64 = header("retry-after").unwrap().parse().unwrap();
        assert!((1..=61).contains(&wait), "{wait}");
        assert_eq!(header("x-should-retry"), (wait > 60).then_some("false"));
        let proxy = header("proxy-status");
        assert_eq!(proxy, Some("tollgate; error=http_request_denied; details=\"limit_exceeded\""));
        assert_eq!((answer.status, header("tollgate-limit")), (429, Some("n")));
        for name in ["connection", "keep-alive", "transfer-encoding"] {
            assert!(!answer.headers.contains_key(name), "{name}");
        }
        let body: Value = serde_json::from_slice(&client.rest(answer).0).unwrap();
        assert_eq!(body["error"]["code"], "limit_exceeded", "{body}");
    }
    assert_eq!((passed, vendor.requests()), (50, 50));
}

/// A stream that is reset gives its place back, and the others of the connection keep theirs.
#[test]
fn a_reset_stream_gives_its_place_back() {
    let limit = "[[limit]]\nid = \"two\"\nconcurrent = 2\n";
    let mut world = World::limited(limit, "", &[]);
    let data = world.home.data();
    let runs = |number: u64| {
        eventually("the number of calls that run", || {
            over_socket(&data, "GET /admin/limits?id=two&user=ada").1["limits"][0]["running"] == number
        });
    };
    let (mut client, bearer) = client(&world);
    let headers = [("authorization", &*bearer)];
    let staying = client.send("GET /t/get", &headers, b"");
    let (_, mut stays) = world.upstream.request();
    for reset in ["before the answer", "in the answer", "in the body"] {
        let (answering, pieces) = if reset == "in the body" {
            let (answering, pieces) = client.begin("POST /t/post", &headers);
            pieces.send("a piece".into()).unwrap();
            (answering, Some(pieces))
        } else {
            (client.send("GET /t/get", &headers, b""), None)
        };
        let mut wire = world.upstream.next();
        wire.head().unwrap();
        runs(2);
        let third = client.send("GET /t/get", &headers, b"");
        let refused = client.head(third);
        let limit = refused.headers.get("tollgate-limit").map(|value| value.to_str().unwrap());
        assert_eq!(
            (refused.status, limit, &refused.headers["retry-after"]),
            (429, Some("two"), &"1".parse().unwrap())
        );
        if reset == "in the answer" {
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
            let mut answer = client.head(answering);
            assert_eq!(client.piece(&mut answer).unwrap().unwrap(), "a");
            drop(answer);
        } else {
            drop(answering);
        }
        drop(pieces);
        wire.rest();
        runs(1);
        let next = client.send("GET /t/get", &headers, b"");
        serve(&mut world, OK);
        assert_eq!(client.answer(next), (200, b"ok".to_vec()), "{reset}");
        runs(1);
    }
    stays.send(OK);
    world.upstream.keep(stays);
    assert_eq!(client.answer(staying), (200, b"ok".to_vec()));
    runs(0);
    // A connection that ends gives back the places of all of its streams.
    let streams: Vec<_> = (0..2).map(|_| client.send("GET /t/get", &headers, b"")).collect();
    let wires: Vec<_> = (0..2).map(|_| world.upstream.request().1).collect();
    runs(2);
    drop((streams, client));
    runs(0);
    drop(wires);
}

#[test]
fn neither_side_is_read_ahead_of_the_other() {
    const MOST: usize = 64 << 20;
    const PAUSE: Duration = Duration::from_millis(300);
    let mut world = World::new();
    let (mut client, bearer) = client(&world);
    let headers = [("authorization", &*bearer)];
    // A client that takes nothing of an answer, and another request beside it.
    let answering = client.send("GET /t/get", &headers, b"");
    let (_, mut wire) = world.upstream.request();
    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {MOST}\r\n\r\n"));
    let stalled = client.head(answering);
    assert!(wire.push(MOST, PAUSE) < 16 << 20, "most of it waits at the upstream");
    let beside = client.send("GET /health", &[], b"");
    assert_eq!(client.head(beside).status, 200);
    drop(stalled);
    // An upstream that takes nothing of an upload.
    let (_answering, pieces) = client.begin("POST /t/post", &headers);
    for _ in 0..MOST >> 20 {
        pieces.send(vec![b'x'; 1 << 20].into()).unwrap();
    }
    let mut wire = world.upstream.next();
    wire.head().unwrap();
    let before = world.gateway.resident_bytes();
    pause(PAUSE);
    assert!(world.gateway.resident_bytes() < before + (4 << 20), "the upload is not held in memory");
}

/// The pseudo-headers of a request.
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/t/post")];

/// What HTTP/1.1 cannot express, and what its parser refuses, never reaches the upstream.
#[test]
fn malformed_requests_are_refused() {
    const PROTOCOL_ERROR: Option<u8> = Some(1);
    let mut world = World::new();
    let bearer = format!("Bearer {}", world.token);
    // `None` is a 400 of tollgate, `Some` a reset with this code by the library.
    let mut check =
        |pseudo: &[(&str, &str)], more: &[(&str, &str)], data: Option<&str>, expected: Option<u8>| {
            let mut wire = Wire::connect(world.gateway.address);
            let lines = [pseudo, &[("authorization", &bearer)], more].concat();
            let flags = END_HEADERS | if data.is_none() { END_STREAM } else { 0 };
            wire.send([opening(), frame(HEADERS, flags, 1, &block(&lines))].concat());
            if let Some(data) = data {
                wire.send(frame(DATA, END_STREAM, 1, data.as_bytes()));
            }
            let seen = wire.frame_of(&[HEADERS, RST_STREAM, GOAWAY]).unwrap();
            let found = if seen.kind == HEADERS { (None, seen.status()) } else { (Some(seen.code()), None) };
            let wanted = (expected, expected.is_none().then_some(400));
            assert_eq!(found, wanted, "{pseudo:?} {more:?} {data:?}: {seen:?}");
            // A head may be good, and the body not.
            world.upstream.saw_no_request();
        };
    for (line, expected) in [
        (("connection", "close"), PROTOCOL_ERROR),
        (("transfer-encoding", "chunked"), PROTOCOL_ERROR),
        (("upgrade", "websocket"), PROTOCOL_ERROR),
        (("keep-alive", "timeout=5"), PROTOCOL_ERROR),
        (("proxy-connection", "keep-alive"), PROTOCOL_ERROR),
        (("te", "gzip"), PROTOCOL_ERROR),
        (("X-Upper", "1"), PROTOCOL_ERROR),
        (("x a", "1"), PROTOCOL_ERROR),
        (("x-a", "1\r\nx-b: 2"), PROTOCOL_ERROR),
        (("x-a", "\0"), PROTOCOL_ERROR),
        ((":path", "/t/get"), PROTOCOL_ERROR),
        ((":unknown", "1"), PROTOCOL_ERROR),
        ((":status", "200"), PROTOCOL_ERROR),
        (("x-a", " 1"), None),
        (("host", "b"), None),
        (("content-length", "4x"), PROTOCOL_ERROR),
    ] {
        check(&POST, &[line], Some("body"), expected);
    }
    check(&POST, &[("content-length", "5")], Some("body"), PROTOCOL_ERROR);
    check(&POST, &[("content-length", "3")], Some("body"), PROTOCOL_ERROR);
    check(&POST, &[("content-length", "4"), ("content-length", "5")], Some("body"), PROTOCOL_ERROR);
    check(&POST, &[("content-length", "4"), ("content-length", "4")], Some("body"), None);
    check(&POST, &[("content-length", "4")], None, PROTOCOL_ERROR);
    for missing in POST {
        let some: Vec<_> = POST.into_iter().filter(|line| *line != missing).collect();
        let expected = if missing.0 == ":authority" { None } else { PROTOCOL_ERROR };
        check(&some, &[], None, expected);
    }
    let with = |name: &str, value: &'static str| {
        POST.map(|line| if line.0 == name { (line.0, value) } else { line })
    };
    check(&with(":authority", "a@b"), &[], None, None);
    check(&with(":authority", "a b"), &[], None, PROTOCOL_ERROR);
    check(&with(":path", ""), &[], None, PROTOCOL_ERROR);
    check(&with(":path", "*"), &[], None, None);
    check(&[(":method", "CONNECT"), (":authority", "a:443")], &[], None, None);
    // A WebSocket over HTTP/2 was not offered.
    let connect = [(":method", "CONNECT"), (":protocol", "websocket"), POST[1], POST[2], POST[3]];
    check(&connect, &[], None, PROTOCOL_ERROR);
}

#[test]
fn a_websocket_needs_http1() {
    let world =
        World::with("[endpoint.live]\nmethod = \"GET\"\npath = \"/live\"\nupgrade = \"websocket\"\n", &[]);
    let (mut client, bearer) = client(&world);
    let answering = client.send("GET /t/live", &[("authorization", &bearer)], b"");
    let answer = client.head(answering);
    assert!(answer.status == 426 && !answer.headers.contains_key("upgrade"), "{:?}", answer.headers);
    let body = String::from_utf8(client.rest(answer).0).unwrap();
    assert!(body.contains("upgrade_required") && body.contains("HTTP/1.1"), "{body}");
}

#[test]
fn a_drain_lets_requests_end() {
    let mut world = World::new();
    let (mut client, bearer) = client(&world);
    let answering = client.send("GET /t/get", &[("authorization", &bearer)], b"");
    let (_, mut wire) = world.upstream.request();
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    let mut answer = client.head(answering);
    assert_eq!(client.piece(&mut answer).unwrap().unwrap(), "a");
    let mut idle = Http2::connect(world.gateway.address);
    assert_eq!(idle.health(), 200);
    world.gateway.signal(Signal::TERM);
    world.gateway.wait_for_log("draining: no new connections; open streams continue");
    idle.ends().unwrap();
    wire.send("1\r\nb\r\n0\r\n\r\n");
    assert_eq!(client.rest(answer).0, b"b");
    client.ends().unwrap();
    assert!(world.gateway.exit().success());
}

#[test]
fn an_idle_connection_ends_in_order() {
    let mut world = World::with("", &["--idle-timeout", "1s", "--head-timeout", "1s"]);
    Http2::connect(world.gateway.address).ends().unwrap();
    let (mut client, bearer) = client(&world);
    let answering = client.send("GET /t/get", &[("authorization", &bearer)], b"");
    let (_, mut wire) = world.upstream.request();
    // A request that takes longer is not idle time.
    assert!(wire.is_quiet_for(Duration::from_millis(1500)));
    wire.send(OK);
    assert_eq!(client.answer(answering), (200, b"ok".to_vec()));
    client.ends().unwrap();
    // A client that does not answer the ping of GOAWAY is left, and so is one that sends a part of the preface.
    let mut silent = Wire::connect(world.gateway.address);
    silent.send(opening());
    assert_eq!(silent.frame_of(&[GOAWAY]).unwrap().code(), 0);
    assert!(silent.frame_of(&[]) == Err(Broken::Cut));
    let mut partial = Wire::connect(world.gateway.address);
    partial.send(&opening()[..10]);
    partial.rest();
}

#[test]
fn the_preface_may_come_in_pieces() {
    let world = World::new();
    let get = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/health")];
    let bytes = [opening(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&get))].concat();
    let mut wire = Wire::connect(world.gateway.address);
    for byte in bytes {
        wire.send([byte]);
    }
    assert_eq!(wire.frame_of(&[HEADERS]).unwrap().status(), Some(200));
    // Behind it, a request of HTTP/1.1 is none.
    let mut wire = Wire::connect(world.gateway.address);
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_ne!(wire.frame_of(&[GOAWAY]).unwrap().code(), 0);
    // What only begins like it is HTTP/1.1.
    for (sent, expected) in [
        ("PRI * HTTP/2.1\r\n\r\n", "HTTP/1.1 400 "),
        ("PRI /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 401 "),
    ] {
        let mut wire = Wire::connect(world.gateway.address);
        wire.send(sent);
        let answer = String::from_utf8(wire.rest()).unwrap();
        assert!(answer.starts_with(expected), "{sent}: {answer}");
    }
    let mut wire = Wire::connect(world.gateway.address);
    wire.send("P");
    wire.finish();
    assert_eq!(wire.rest(), b"");
}

#[test]
fn requests_at_a_time_count_as_connections_of_an_address() {
    let mut world = World::with("", &["--max-connections-per-address", "3"]);
    let (mut client, bearer) = client(&world);
    let headers = [("authorization", &*bearer)];
    let mut wires = Vec::new();
    let running: Vec<_> = (0..3)
        .map(|_| {
            let answering = client.send("GET /t/get", &headers, b"");
            wires.push(world.upstream.request().1);
            answering
        })
        .collect();
    let answering = client.send("GET /t/get", &headers, b"");
    let (status, body) = client.answer(answering);
    assert!(status == 429 && String::from_utf8_lossy(&body).contains("too_many_connections"), "{status}");
    // A health check is answered all the same.
    assert_eq!(client.health(), 200);
    for wire in &mut wires {
        wire.send(OK);
    }
    for answering in running {
        assert_eq!(client.answer(answering).0, 200);
    }
    for wire in wires {
        world.upstream.keep(wire);
    }
    let answering = client.send("GET /t/get", &headers, b"");
    serve(&mut world, OK);
    assert_eq!(client.answer(answering).0, 200);
}

/// What ends the connection of a client that abuses it.
fn is_cut(world: &World, opening_bytes: &[u8], flood: impl Fn(u32) -> Vec<u8>) {
    let mut wire = Wire::connect(world.gateway.address);
    wire.send(opening_bytes);
    let mut reader = wire.twin();
    // The answers are read, so that nothing but a bound ends it.
    let read = std::thread::spawn(move || reader.rest().len());
    let is_ended = (0..2_000_000_u32).any(|count| wire.try_send(&flood(count)).is_err());
    drop(wire);
    read.join().unwrap();
    assert!(is_ended);
    assert_eq!(Http2::connect(world.gateway.address).health(), 200, "others are served");
}

#[test]
fn floods_end_their_connection() {
    let world = World::new();
    let get = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/t/get")];
    let open = opening();
    let many = |frame: Vec<u8>| frame.repeat(50);
    // Requests that are cancelled before they begin (CVE-2023-44487).
    is_cut(&world, &open, |count| {
        let id = 2 * count + 1;
        let headers = frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&get));
        [headers, frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()
    });
    // Frames that say nothing.
    is_cut(&world, &open, |_| many(frame(PING, 0, 0, &[0; 8])));
    is_cut(&world, &open, |_| many(frame(SETTINGS, 0, 0, &[])));
    is_cut(&world, &open, |_| many(frame(0xbe, 0, 0, &[0; 8])));
    let begun = [open.clone(), frame(HEADERS, END_HEADERS, 1, &block(&get))].concat();
    is_cut(&world, &begun, |_| many(frame(DATA, 0, 1, &[])));
    // A head without end (CVE-2024-27316), and one that is too large.
    let begun = [open.clone(), frame(HEADERS, 0, 1, &block(&get))].concat();
    is_cut(&world, &begun, |_| frame(CONTINUATION, 0, 1, &[]));
    is_cut(&world, &begun, |_| frame(CONTINUATION, 0, 1, &block(&[("x-a", &"a".repeat(100))]).repeat(100)));
    // Errors of streams without end.
    is_cut(&world, &open, |count| {
        let lines = [&get[..], &[("connection", "close")]].concat();
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * count + 1, &block(&lines))
    });
    assert!(world.gateway.peak_bytes() < 200 << 20);
}

/// Requests that are cancelled once they have begun: the library does not count them.
#[test]
fn a_client_that_cancels_without_end_loses_its_connection() {
    let world = World::new();
    let bearer = format!("Bearer {}", world.token);
    let lines = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/t/post"),
        ("authorization", &bearer),
    ];
    let mut wire = Wire::connect(world.gateway.address);
    wire.send(opening());
    let cancelled = (0..2000_u32).take_while(|count| {
        let id = 2 * count + 1;
        let headers = frame(HEADERS, END_HEADERS, id, &block(&lines));
        let begun = wire.try_send(&[headers, frame(PING, 0, 0, &[0; 8])].concat()).is_ok()
            && wire.frame_of(&[PING]).is_ok();
        begun && wire.try_send(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8])).is_ok()
    });
    let cancelled = cancelled.count();
    assert!((200..1000).contains(&cancelled), "{cancelled}");
    world.gateway.logged("began and cancelled requests without end");
    assert_eq!(Http2::connect(world.gateway.address).health(), 200, "others are served");
}

#[test]
fn a_head_beyond_the_limit_is_refused() {
    let world = World::new();
    let (mut client, bearer) = client(&world);
    for (bytes, count) in [(70_000, 1), (6000, 11), (20_000, 5), (120_000, 2)] {
        let large = "a".repeat(bytes);
        let headers: Vec<_> = std::iter::once(("authorization", &*bearer))
            .chain((0..count).map(|_| ("x-a", &*large)))
            .collect();
        let answering = client.send("GET /t/get", &headers, b"");
        let (status, body) = client.answer(answering);
        let body = String::from_utf8_lossy(&body);
        assert!(status == 431 && body.contains("\"head_too_large\""), "{bytes} {count}: {status} {body}");
    }
    eventually("the records", || world.gateway.logged("\"head_too_large\"").len() == 4);
    // The library answers with 431, or resets the stream.
    let large = "a".repeat(60_000);
    let headers = [("x-a", &*large); 5];
    let answering = client.send("GET /t/get", &headers, b"");
    let error = client.outcome(answering);
    assert!(
        error.as_ref().map_or_else(|error| error.contains("REFUSED"), |status| *status == 431),
        "{error:?}"
    );
    assert_eq!(client.health(), 200, "the connection goes on");
}

/// A client that uploads, as the windows of connection and stream allow.
struct Uploader {
    wire: Wire,
    windows: [usize; 2],
}

impl Uploader {
    fn new(world: &World) -> Self {
        let mut wire = Wire::connect(world.gateway.address);
        wire.send(opening());
        Self { wire, windows: [WINDOW; 2] }
    }

    /// The next frame of one of these kinds, or a reset or an end.
    fn next(&mut self, kind: u8) -> Seen {
        loop {
            let seen = self.wire.frame().unwrap();
            if seen.kind == WINDOW_UPDATE {
                self.windows[usize::from(seen.stream > 0)] += seen.increment();
            }
            if [kind, RST_STREAM, GOAWAY].contains(&seen.kind) {
                return seen;
            }
        }
    }

    /// Begins a request, whose answer comes before its body is sent. Then sends this much of that.
    fn early(&mut self, stream: u32, lines: &[(&str, &str)], bytes: usize) {
        let post = [(":method", "POST"), (":scheme", "http"), (":authority", "a")];
        self.wire.send(frame(HEADERS, END_HEADERS, stream, &block(&[&post, lines].concat())));
        let seen = self.next(HEADERS);
        assert_eq!((seen.kind, seen.stream), (HEADERS, stream), "{lines:?}: {seen:?}");
        self.windows[1] = WINDOW;
        for _ in 0..bytes / FRAME {
            while self.windows.iter().any(|window| *window < FRAME) {
                let seen = self.next(WINDOW_UPDATE);
                assert_eq!(seen.kind, WINDOW_UPDATE, "{lines:?}: {seen:?}");
            }
            self.wire.send(frame(DATA, 0, stream, &[b'x'; FRAME]));
            self.windows = self.windows.map(|window| window - FRAME);
        }
    }

    /// Ends it. The stream is not reset.
    fn end(&mut self, stream: u32) {
        self.wire.send(frame(DATA, END_STREAM, stream, b"end"));
        self.wire.send(frame(PING, 0, 0, &[0; 8]));
        let seen = self.next(PING);
        assert_eq!(seen.kind, PING, "{stream}: {seen:?}");
    }
}

/// The windows at the begin, until the other side says otherwise.
const WINDOW: usize = (1 << 16) - 1;
/// Bytes of a frame of data.
const FRAME: usize = 16 << 10;

/// Clients that send all of a request before they read lose the answer if the stream is reset: curl and httpx among them.
#[test]
fn a_refused_upload_is_read_to_its_end() {
    let mut world = World::with("[limits]\nmax_body = \"1MiB\"", &["--grace", "1h"]);
    let bearer = format!("Bearer {}", world.token);
    let known = ("authorization", &*bearer);
    let mut uploader = Uploader::new(&world);
    for (stream, lines) in [
        (1, &[(":path", "/t/post")][..]),
        (3, &[(":path", "/t/nowhere"), known]),
        (5, &[(":path", "/t/post"), known, ("content-length", "6291459")]),
        (7, &[(":path", "/auth/creds")]),
        (9, &[(":path", "/admin/users"), ("expect", "100-continue")]),
    ] {
        uploader.early(stream, lines, 6 << 20);
        uploader.end(stream);
    }
    drop(uploader);
    // A program.
    let (mut client, _) = client(&world);
    let (answering, pieces) = client.begin("POST /t/post", &[]);
    for _ in 0..30 {
        pieces.send(vec![b'x'; 1 << 20].into()).unwrap();
    }
    drop(pieces);
    assert_eq!(client.answer(answering).0, 401);
    // An upload that never ends is left at a shutdown.
    let (answering, pieces) = client.begin("POST /t/post", &[]);
    assert_eq!(client.answer(answering).0, 401);
    pieces.send(vec![b'x'; 2 << 20].into()).unwrap();
    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
}

/// A client may take its time: what the library still holds of a provider's answer makes the connection no idle one.
#[test]
fn an_answer_that_is_not_taken_yet_makes_no_room() {
    let args = ["--max-connections", "2", "--max-connections-per-address", "0"];
    let mut world = World::with("", &args);
    let bearer = format!("Bearer {}", world.token);
    let serves = |world: &mut World| {
        let mut client = world.client();
        world.exchange_on(&mut client, &world.known(Exchange::get()));
        client
    };
    let mut wire = Wire::connect(world.gateway.address);
    // A window of one byte.
    wire.send([&opening()[..24], &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])].concat());
    let get = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/t/get"),
        ("authorization", &bearer),
    ];
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&get)));
    serve(&mut world, OK);
    assert_eq!(wire.frame_of(&[HEADERS, GOAWAY]).unwrap().status(), Some(200));
    assert_eq!(wire.frame_of(&[DATA, GOAWAY]).unwrap().payload, b"o");
    let mut idle = serves(&mut world);
    let mut next = serves(&mut world);
    idle.ends();
    wire.send(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]));
    assert_eq!(wire.frame_of(&[DATA, GOAWAY]).unwrap().payload, b"k");
    // Then it does, after the one that is idle for longer.
    let _third = serves(&mut world);
    next.ends();
    let _fourth = serves(&mut world);
    assert_eq!(wire.frame_of(&[GOAWAY]).unwrap().code(), 0);
}
