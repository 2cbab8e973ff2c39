//! The end of connections (RFC 9112, sections 9.3 and 9.6): the response to an upload that is refused is readable for a
//! client that sends everything before it reads, connections announce how long they may idle, and a client that closes
//! its side is treated as the setting says.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::harness::{Answer, Exchange, Framing, Wire, World, chunk, connect};

/// More than all buffers on the way.
const UPLOAD: usize = 25 << 20;

/// Sends a whole request, and only then reads. Returns the answer's status and its code.
fn sent_first(mut client: Wire, head: &str, chunked: bool) -> (u16, String) {
    let block = vec![b'x'; 1 << 20];
    let framing =
        if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {UPLOAD}") };
    client.send(format!("{head}{framing}\r\n\r\n"));
    for _ in 0..UPLOAD / block.len() {
        if chunked {
            client.send(chunk(&block));
        } else {
            client.send(&block);
        }
    }
    if chunked {
        client.send("0\r\n\r\n");
    }
    let answer = client.answer().unwrap();
    client.ends();
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.head.status(), body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn every_refusal_of_an_upload_is_readable() {
    let world = World::with("[limits]\nmax_body = \"1MiB\"", &["--admin-listen", "127.0.0.1:0"]);
    let known = format!("Authorization: Bearer {}\r\n", world.token);
    let huge = format!("X: {}\r\n", "a".repeat(70_000));
    let cases: &[(&str, &str, &str, u16, &str)] = &[
        ("POST /t/post", "Host: a\r\n", "", 401, "missing_token"),
        ("POST /t/post", "Host: a\r\n", "Authorization: Bearer wrong\r\n", 401, "foreign_token"),
        ("POST /t/nowhere", "Host: a\r\n", &known, 404, "route_not_found"),
        ("POST /t/post", "Host: a\r\n", &known, 413, "body_too_large"),
        ("POST /t/post", "Host: a\r\nUpgrade: websocket\r\n", &known, 426, "upgrade_refused"),
        ("POST /t/post", "Host: a b\r\n", &known, 400, "malformed_request"),
        ("POST /t/post", "", &known, 400, "malformed_request"),
        ("POST /t/post", &huge, &known, 431, "head_too_large"),
        ("POST /t/post", "bad line\r\n", &known, 400, "malformed_request"),
        ("PUT /auth/creds", "Host: a\r\n", "", 401, "missing_token"),
        ("PUT /auth/creds", "Host: a\r\n", &known, 413, "body_too_large"),
        ("POST /auth/nowhere", "Host: a\r\n", &known, 404, "not_found"),
        ("POST /admin/users", "Host: a\r\n", "", 404, "not_found"),
        ("POST /health", "Host: a\r\n", "", 401, "missing_token"),
        ("GET /health", "Host: a\r\n", "", 200, ""),
        ("OPTIONS /t/post", "Host: a\r\n", "", 204, ""),
        ("POST /t/post", "Host: a\r\nConnection: close\r\n", "", 401, "missing_token"),
        ("POST /t/post", "Host: a\r\nExpect: 100-continue\r\n", "", 401, "missing_token"),
    ];
    for (line, host, more, status, code) in cases {
        for chunked in [false, true] {
            let head = format!("{line} HTTP/1.1\r\n{host}{more}");
            let seen = sent_first(world.client(), &head, chunked);
            assert_eq!((seen.0, &*seen.1), (*status, *code), "{line} {host:.60} chunked: {chunked}");
        }
    }
    for (line, status, code) in
        [("POST /admin/users", 401, "missing_token"), ("POST /t/post", 404, "not_found")]
    {
        let head = format!("{line} HTTP/1.1\r\nHost: a\r\n");
        let seen = sent_first(Wire::connect(world.gateway.admin_address), &head, false);
        assert_eq!((seen.0, &*seen.1), (status, code), "{line}");
    }
}

#[test]
fn every_refusal_at_the_control_socket_is_readable() {
    let world = World::new();
    let check = |line: &str, status: &str| {
        let mut socket = connect(&world.home.data());
        write!(socket, "{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {UPLOAD}\r\n\r\n").unwrap();
        socket.write_all(&vec![b'x'; UPLOAD]).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
    };
    check("POST /admin/users", "413");
    check("POST /admin/nowhere", "404");
    check("GET /admin/users", "200");
}

/// Limits of connections and requests, and an upstream that answers without reading.
#[test]
fn a_refusal_at_a_limit_is_readable() {
    let mut world = World::with("", &["--max-requests-per-token", "1", "--max-connections-per-address", "2"]);
    let mut client = world.client();
    client.send(world.known(Exchange::post("{}")).bytes());
    let (_, mut wire) = world.upstream.request();
    let answer = Answer::new("200 OK").framed(Framing::Chunked);
    wire.send(answer.head_bytes());
    answer.check_head(&world.cors, &client.head().unwrap());
    let head = format!("POST /t/post HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", world.token);
    let seen = sent_first(world.client(), &head, false);
    assert_eq!((seen.0, &*seen.1), (429, "token_concurrency"));
    let mut second = world.client();
    second.send(format!("{head}Content-Length: 1\r\n\r\n"));
    // A request without its body has begun: this connection is not idle, and makes no room.
    let third = sent_first(world.client(), &head, false);
    assert!(matches!(&*third.1, "too_many_connections" | "token_concurrency"), "{third:?}");
    wire.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), None);
}

#[test]
fn an_early_answer_of_an_upstream_is_readable() {
    let mut world =
        World::with("[[response]]\nwhen = { status = 403 }\nreply = { status = 502, message = \"no\" }", &[]);
    for (status, expected) in [("401 Unauthorized", 401), ("403 Forbidden", 502)] {
        let client = world.client();
        let head = format!("POST /t/post HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", world.token);
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| sent_first(client, &head, false));
            let mut wire = world.upstream.next();
            wire.head().unwrap();
            wire.send(Answer::new(status).body("early").added("Connection", "close").bytes());
            wire.finish();
            assert_eq!(sender.join().unwrap().0, expected);
        });
    }
}

/// Programs that send all of a request before they read: Python's and Node's own clients, with the body in memory and as a
/// stream.
#[test]
fn real_clients_read_the_refusal() {
    let world = World::new();
    let port = world.gateway.address.port().to_string();
    let python = "import http.client, sys\n\
        for body in (b'x' * (25 << 20), iter([b'x' * (1 << 20)] * 25)):\n    \
            c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=60)\n    \
            c.request('POST', '/t/post', body=body, encode_chunked=not isinstance(body, bytes),\n        \
                headers={} if isinstance(body, bytes) else {'transfer-encoding': 'chunked'})\n    \
            r = c.getresponse()\n    print(r.status, len(r.read()) > 0)\n";
    let node = "const url = `http://127.0.0.1:${process.argv[1]}/t/post`;\n\
        let left = 25;\n\
        const stream = new ReadableStream({ pull(c) { left-- ? c.enqueue(new Uint8Array(1 << 20)) : c.close() } });\n\
        for (const body of [Buffer.alloc(25 << 20), stream]) {\n  \
            const r = await fetch(url, { method: 'POST', body, duplex: 'half' });\n  \
            console.log(r.status, (await r.text()).length > 0 ? 'True' : 'False');\n}\n";
    for (program, flags, script) in
        [("python3", &["-c"][..], python), ("node", &["--input-type=module", "-e"][..], node)]
    {
        match Command::new(program).args(flags).args([script, &port]).output() {
            Ok(output) => {
                let shown = String::from_utf8_lossy(&output.stdout);
                assert_eq!(shown, "401 True\n401 True\n", "{program}: {output:?}");
            }
            Err(error) => eprintln!("not tested here, for want of {program}: {error}"),
        }
    }
}

/// A refused upload whose client goes on sending, and never closes.
fn lingering(world: &World) -> Wire {
    let mut client = world.client();
    client.send(format!("POST /t/post HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\nx", 1_u64 << 40));
    let answer = client.answer().unwrap();
    assert_eq!((answer.head.status(), answer.head.get("connection")), (401, Some("close")));
    client.ends();
    client
}

#[test]
fn a_connection_that_lingers_makes_room_and_ends_with_the_process() {
    let mut world = World::with("", &["--max-connections", "2", "--grace", "1h"]);
    let mut lingers: Vec<Wire> = (0..2).map(|_| lingering(&world)).collect();
    lingers[0].send("more");
    for _ in 0..10 {
        world.exchange(Exchange::get());
    }
    let mut last = lingering(&world);
    last.send("more");
    let start = Instant::now();
    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn the_idle_timeout_is_announced() {
    let mut world = World::with("", &["--idle-timeout", "90500ms"]);
    let exchange = world.known(Exchange::get());
    let announced = |client: &mut Wire| {
        let head = client.answer().unwrap().head;
        (head.get("connection").map(str::to_owned), head.get("keep-alive").map(str::to_owned))
    };
    let (yes, close) =
        ((Some("keep-alive".to_owned()), Some("timeout=90".to_owned())), (Some("close".to_owned()), None));
    // An answer that is relayed, a refusal, and an answer of tollgate's own.
    let mut client = world.client();
    client.send(exchange.bytes());
    world.serve(&exchange);
    assert_eq!(announced(&mut client), yes);
    for path in ["/t/get", "/health", "/admin/users"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(announced(&mut client), yes, "{path}");
    }
    // Not where the connection ends: the client asks for it, the request is malformed, or its body is too long to wait for.
    for request in [
        "GET /health HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: a b\r\n\r\n",
        "POST /t/post HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n",
        "POST /t/post HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    ] {
        let mut client = world.client();
        client.send(request);
        assert_eq!(announced(&mut client), close, "{request}");
    }
    let mut client = world.client();
    client.send("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(announced(&mut client).1, None);
}

/// A client that closes its side after its request.
fn half_closed(world: &mut World) -> (Wire, Wire) {
    let mut client = world.client();
    client.send(world.known(Exchange::post("{}")).bytes());
    let (_, wire) = world.upstream.request();
    client.finish();
    (client, wire)
}

#[test]
fn a_half_closed_client_has_left() {
    for args in [&[][..], &["--half-closed", "cancel"]] {
        let mut world = World::with("", args);
        let (mut client, mut wire) = half_closed(&mut world);
        wire.ends();
        client.ends();
    }
}

#[test]
fn a_half_closed_client_gets_its_answer_by_setting() {
    let mut world = World::with("", &["--half-closed", "answer"]);
    let (mut client, mut wire) = half_closed(&mut world);
    wire.send(Answer::new("200 OK").framed(Framing::Chunked).head_bytes());
    for piece in ["hello", "world"] {
        wire.send(chunk(piece.as_bytes()));
    }
    wire.send("0\r\n\r\n");
    let answer = client.answer().unwrap();
    assert_eq!((answer.head.status(), &*answer.body), (200, &b"helloworld"[..]));
    client.ends();
    world.upstream.keep(wire);
    // One that has left altogether is noticed with the first bytes that it does not take.
    let (client, mut wire) = half_closed(&mut world);
    client.reset();
    wire.send(Answer::new("200 OK").framed(Framing::Chunked).head_bytes());
    while wire.try_send(&chunk(&[b'x'; 1 << 14])).is_ok() {}
    // Connections without a request end with the client's side.
    let socket = TcpStream::connect(world.gateway.address).unwrap();
    let mut idle = Wire::plain(socket);
    idle.finish();
    idle.ends();
}
