//! Failing upstreams: each failure has a code, a status and the provider's name, and a truncated answer is visibly
//! truncated for the client.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use tollgate::mock::Authority;

use crate::harness::{
    Answer, Broken, Exchange, Fault, Framing, Home, Message, PROVIDER, Upstream, Wire, World, chunk,
};

/// More providers, one for each reason why an upstream cannot be reached.
fn reach(name: &str, base_url: &str) -> String {
    let file = format!("base_url = \"{base_url}\"\n{PROVIDER}\n[timeouts]\nconnect = \"1s\"\n");
    file.replace("/t\"", &format!("/{name}\"")).replace("providers.t", &format!("providers.{name}"))
}

/// A closed port of loopback.
fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A home of provider `name`, and a user's request to it.
fn home(name: &str, base_url: &str) -> (Home, Vec<u8>) {
    let home = Home::new(&[(name, &reach(name, base_url))]);
    let token = home.user("ada");
    home.credential("ada", &format!("providers.{name}.apiKey"), "k");
    let target = format!("/{name}/get");
    let request = Exchange::get().at(&target, "").removed("authorization", &format!("Bearer {token}"));
    (home, request.bytes())
}

fn refused(name: &str, base_url: &str, args: &[&str], fault: Fault<'_>) {
    let (home, request) = home(name, base_url);
    let gateway = home.serve(args);
    let mut client = Wire::connect(gateway.address);
    client.send(request);
    fault.check(Some("Content-Type, Authorization, x-api-key"), &client.answer().unwrap());
}

#[test]
fn a_connection_is_refused() {
    let message = "Upstream gone failed: it refused the connection or cannot be reached";
    let fault = Fault(502, "upstream_refused", message);
    refused("gone", &format!("http://{}", closed_port()), &[], fault);
}

/// An error of this machine is neither the upstream's nor the client's, and is counted apart.
#[test]
fn an_error_of_this_machine_is_not_the_upstreams() {
    let mut world = World::new();
    let mut client = world.client();
    let ends = Answer::new("200 OK").removed("Connection", "close");
    let exchange = world.known(Exchange::get().answer(ends));
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    wire.send(exchange.answer.bytes());
    world.receive(&mut client, &exchange);
    wire.ends();
    world.gateway.allow_no_files();
    let message = "tollgate could not call t: it has no free file descriptor";
    for _ in 0..2 {
        client.send(exchange.bytes());
        world.check_fault(exchange.bytes(), Fault(503, "local_error", message), &client.answer().unwrap());
    }
    world.upstream.saw_nothing();
    world.gateway.allow_files(100);
    world.exchange(Exchange::get());
    let status = world.home.done(&["status"], "");
    assert!(status.contains("local errors since the start: 2 of descriptors"), "{status}");
    let log = world.gateway.logged("request failed by an error of this machine");
    assert!(log.len() == 2 && log[0].contains("Too many open files"), "{log:?}");
}

#[test]
fn a_name_does_not_resolve() {
    let fault = Fault(502, "upstream_dns", "Upstream lost failed: its name does not resolve");
    refused("lost", "https://nonexistent.invalid", &[], fault);
}

#[test]
fn addresses_that_are_never_called() {
    let message = "Upstream near failed: its name leads to an address that must not be called";
    for host in [
        "169.254.169.254",
        "[fe80::1]",
        "0.0.0.0",
        "[::ffff:169.254.169.254]",
        "224.0.0.1",
        "[fd00:ec2::254]",
    ] {
        refused("near", &format!("http://{host}"), &[], Fault(502, "upstream_forbidden", message));
    }
}

const NO_CONNECTION: &str = "it did not accept a connection in time";

#[test]
fn a_connection_is_not_accepted_in_time() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    // A full backlog leaves further connections unanswered.
    let waiting: Vec<Socket> = (0..4)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    let message = format!("Upstream full failed: {NO_CONNECTION}");
    let fault = Fault(504, "upstream_connect_timeout", &message);
    refused("full", &format!("http://{address}"), &[], fault);
    drop(waiting);
}

#[test]
fn a_handshake_does_not_end_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let message = format!("Upstream mute failed: {NO_CONNECTION}");
    let fault = Fault(504, "upstream_connect_timeout", &message);
    refused("mute", &format!("https://{}", silent.local_addr().unwrap()), &[], fault);
}

#[test]
fn an_unknown_certificate_authority() {
    let authority = Arc::new(Authority::new(&[]).unwrap());
    let mut upstream = Upstream::tls(authority);
    let (home, request) = home("masked", &format!("https://{}", upstream.address()));
    let gateway = home.serve(&[]);
    let mut client = Wire::connect(gateway.address);
    client.send(request);
    // The upstream completes the handshake; no request follows.
    assert_eq!(upstream.next().request().unwrap_err(), Broken::Closed);
    let fault = Fault(502, "upstream_tls", "Upstream masked failed: the TLS handshake failed");
    fault.check(Some("Content-Type, Authorization, x-api-key"), &client.answer().unwrap());
}

#[test]
fn a_plain_upstream_where_tls_is_expected() {
    let mut upstream = Upstream::plain();
    let (home, request) = home("plain", &format!("https://{}", upstream.address()));
    let gateway = home.serve(&[]);
    let mut client = Wire::connect(gateway.address);
    client.send(request);
    let mut wire = upstream.next();
    wire.bytes(1).unwrap();
    wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let fault = Fault(502, "upstream_tls", "Upstream plain failed: the TLS handshake failed");
    fault.check(Some("Content-Type, Authorization, x-api-key"), &client.answer().unwrap());
}

/// A request of a known caller; the upstream reads it, and then runs `act` on the connection.
fn fails(world: &mut World, act: impl FnOnce(Wire) -> Option<Wire>, fault: Fault<'_>) {
    let exchange = world.known(Exchange::post("prompt"));
    let mut client = world.client();
    client.send(exchange.bytes());
    let (request, wire) = world.upstream.request();
    exchange.check(&world.host, &request);
    let _open = act(wire);
    let answer = client.answer().unwrap();
    world.check_fault(exchange.bytes(), fault, &answer);
}

const RESET: Fault<'_> =
    Fault(502, "upstream_reset", "Upstream t failed: it closed the connection before it answered");
const MALFORMED: Fault<'_> =
    Fault(502, "upstream_malformed", "Upstream t failed: its answer is not valid HTTP");
const LATE: Fault<'_> =
    Fault(504, "upstream_timeout", "Upstream t failed: it did not begin its answer in time");

#[test]
fn an_upstream_closes_before_it_answers() {
    let mut world = World::new();
    fails(
        &mut world,
        |wire| {
            drop(wire);
            None
        },
        RESET,
    );
    fails(
        &mut world,
        |wire| {
            wire.reset();
            None
        },
        RESET,
    );
    fails(
        &mut world,
        |mut wire| {
            wire.send("HTTP/1.1 200 OK\r\nContent-Le");
            None
        },
        RESET,
    );
    // Each failed once: a request that was written is never sent again.
    world.upstream.saw_nothing();
    world.exchange(Exchange::get());
}

#[test]
fn an_upstream_that_speaks_no_http() {
    let mut world = World::new();
    for garbage in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "garbage\r\n\r\n",
        "HTTP/1.1 xyz OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ] {
        eprintln!("{}", garbage.escape_default());
        fails(
            &mut world,
            |mut wire| {
                wire.send(garbage);
                Some(wire)
            },
            MALFORMED,
        );
    }
    world.exchange(Exchange::get());
}

#[test]
fn an_answer_begins_too_late() {
    let mut world = World::with("[timeouts]\nfirst_byte = \"200ms\"", &[]);
    fails(&mut world, Some, LATE);
    fails(
        &mut world,
        |mut wire| {
            wire.send("HTTP/1.1 200 OK\r\n");
            Some(wire)
        },
        LATE,
    );
    world.exchange(Exchange::get());
}

#[test]
fn an_endpoint_has_its_own_timeouts() {
    let more = "[endpoint.post.timeouts]\nfirst_byte = \"100ms\"\n";
    let mut world = World::with(more, &[]);
    fails(&mut world, Some, LATE);
}

/// The client's view of an answer that the upstream cuts after `sent`.
fn cut(world: &mut World, answer: &Answer, sent: &[u8], reset: bool) -> Result<Message, Broken> {
    let exchange = world.known(Exchange::get());
    let mut client = world.client();
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    wire.send(answer.head_bytes());
    let head = client.head().unwrap();
    answer.check_head(&world.cors, &head);
    wire.send(sent);
    if reset {
        wire.reset();
    } else {
        drop(wire);
    }
    let framing = head.answer_framing().unwrap();
    let (body, trailers) = client.body(framing)?;
    Ok(Message { head, framing, body, trailers })
}

#[test]
fn a_cut_answer_looks_cut() {
    let mut world = World::new();
    let short = Answer::new("200 OK").framed(Framing::Length(100));
    let chunked = Answer::new("200 OK").framed(Framing::Chunked);
    let cases: [(&Answer, &[u8]); 6] = [
        (&short, b""),
        (&short, b"only this"),
        (&chunked, b""),
        (&chunked, b"5\r\nhello\r\n"),
        (&chunked, b"5\r\nhello\r\n0\r\n"),
        (&chunked, b"5\r\nhel"),
    ];
    for (answer, sent) in cases {
        for reset in [false, true] {
            let seen = cut(&mut world, answer, sent, reset);
            assert_eq!(seen.unwrap_err(), Broken::Cut, "{answer:?} {}", sent.escape_ascii());
        }
    }
    for bad in [&b"5\r\nhello\r\nxyz\r\n"[..], b"5\r\nhelloworld\r\n"] {
        assert_eq!(cut(&mut world, &chunked, bad, false).unwrap_err(), Broken::Cut, "{}", bad.escape_ascii());
    }
    world.exchange(Exchange::get());
}

#[test]
fn bytes_before_a_cut_arrive() {
    let mut world = World::new();
    let answer = Answer::new("200 OK").framed(Framing::Chunked);
    for size in [1, 100, 10_000, 100_000] {
        let exchange = world.known(Exchange::post("prompt"));
        let mut client = world.client();
        client.send(exchange.bytes());
        let (_, mut wire) = world.upstream.request();
        // In one write, so that the end may be known before the head was written.
        wire.send([answer.head_bytes(), chunk(&vec![b'x'; size])].concat());
        drop(wire);
        answer.check_head(&world.cors, &client.head().unwrap());
        let mut seen = 0;
        while seen < size {
            seen += client.chunk().unwrap().unwrap().len();
        }
        assert_eq!((seen, client.chunk().unwrap_err()), (size, Broken::Cut));
    }
}

#[test]
fn a_stalled_answer_is_cut() {
    let mut world = World::with("[timeouts]\nidle = \"200ms\"", &[]);
    let exchange = world.known(Exchange::get());
    let answer = Answer::new("200 OK").framed(Framing::Chunked);
    let mut client = world.client();
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    wire.send(answer.head_bytes());
    wire.send("5\r\nhello\r\n");
    answer.check_head(&world.cors, &client.head().unwrap());
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"hello"[..]));
    assert_eq!(client.chunk().unwrap_err(), Broken::Cut);
    wire.ends();
}

#[test]
fn redirects_pass_and_are_never_followed() {
    let mut world = World::new();
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let location = format!("http://{}/elsewhere", world.host);
        let answer = Answer::new(status).header("Location", &location).body("moved");
        world.exchange(Exchange::post("prompt").answer(answer.clone()));
        world.exchange(Exchange::get().answer(answer));
        world.upstream.saw_nothing();
    }
}

#[test]
fn errors_of_the_upstream_pass_unmarked() {
    let mut world = World::new();
    for status in [
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "529 Overloaded",
    ] {
        let answer = Answer::new(status).header("Content-Type", "application/json").body("{\"error\":{}}");
        let answer = answer.header("Retry-After", "20").header("x-should-retry", "true");
        world.exchange(Exchange::post("prompt").answer(answer));
    }
}

#[test]
fn an_idle_connection_that_the_upstream_closed_is_not_used() {
    let mut world = World::new();
    for _ in 0..20 {
        world.exchange(Exchange::post("prompt"));
        world.upstream.drop_idle();
    }
    world.upstream.saw_nothing();
    assert_eq!(world.upstream.connections, 20);
}

#[test]
fn a_kept_connection_that_breaks_under_a_request_is_not_tried_again() {
    let mut world = World::new();
    for exchange in [Exchange::get(), Exchange::post("prompt"), Exchange::post("").chunked("prompt")] {
        for reset in [false, true] {
            world.exchange(Exchange::get());
            let exchange = world.known(exchange.clone());
            let mut client = world.client();
            client.send(exchange.bytes());
            let (request, wire) = world.upstream.request();
            exchange.check(&world.host, &request);
            if reset {
                wire.reset();
            } else {
                drop(wire);
            }
            world.check_fault(exchange.bytes(), RESET, &client.answer().unwrap());
            world.upstream.saw_nothing();
        }
    }
}

#[test]
fn a_client_that_ends_its_side_has_left() {
    // TCP does not show whether the client still reads. A model that generates for nobody costs money.
    let mut world = World::new();
    let exchange = world.known(Exchange::post("prompt"));
    let mut client = world.client();
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    client.finish();
    assert!(wire.ends() < SOON);
    client.ends();
}

#[test]
fn connections_are_used_again() {
    let mut world = World::new();
    for _ in 0..20 {
        world.exchange(Exchange::post("prompt"));
        world.exchange(Exchange::get());
    }
    assert_eq!(world.upstream.connections, 1);
}

/// The time within which the upstream must notice that the client left.
const SOON: Duration = Duration::from_millis(500);

#[test]
fn a_client_leaves_before_the_answer() {
    let mut world = World::new();
    let exchange = world.known(Exchange::post("prompt"));
    for reset in [false, true] {
        let mut client = world.client();
        client.send(exchange.bytes());
        let (request, mut wire) = world.upstream.request();
        exchange.check(&world.host, &request);
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        let elapsed = wire.ends();
        eprintln!("the upstream knew after {elapsed:?}");
        assert!(elapsed < SOON, "{elapsed:?}");
    }
    world.exchange(Exchange::get());
}

#[test]
fn a_client_leaves_in_the_middle_of_a_stream() {
    let mut world = World::new();
    let exchange = world.known(Exchange::post("prompt"));
    let answer = Answer::new("200 OK").framed(Framing::Chunked);
    for reset in [false, true] {
        let mut client = world.client();
        client.send(exchange.bytes());
        let (_, mut wire) = world.upstream.request();
        wire.send(answer.head_bytes());
        wire.send("5\r\nhello\r\n");
        answer.check_head(&world.cors, &client.head().unwrap());
        client.chunk().unwrap();
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        let elapsed = wire.ends();
        eprintln!("the upstream knew after {elapsed:?}");
        assert!(elapsed < SOON, "{elapsed:?}");
    }
    world.exchange(Exchange::get());
}

#[test]
fn a_client_leaves_in_the_middle_of_its_body() {
    let mut world = World::new();
    let exchange = world.known(Exchange::post("").framed_up(Framing::Length(100)));
    let bytes =
        String::from_utf8(exchange.bytes()).unwrap().replace("Content-Length: 0", "Content-Length: 100");
    let mut client = world.client();
    client.send(bytes);
    client.send("half");
    let mut wire = world.upstream.next();
    wire.head().unwrap();
    assert_eq!(wire.bytes(4).unwrap(), b"half");
    drop(client);
    let elapsed = wire.ends();
    assert!(elapsed < SOON, "{elapsed:?}");
    world.exchange(Exchange::get());
}

#[test]
fn rules_on_answers_replace_them() {
    let more = r#"
[[response]]
when = { status = 403, content_type = "text/html*" }
reply = { status = 502, message = "Upstream {host} blocked this request (403)." }
"#;
    let mut world = World::with(more, &[]);
    let html = Answer::new("403 Forbidden").header("Content-Type", "text/HTML; charset=utf-8").body("<html>");
    let exchange = world.known(Exchange::get().answer(html));
    let mut client = world.client();
    client.send(exchange.bytes());
    world.serve(&exchange);
    let fault = Fault(502, "response_rule", "Upstream 127.0.0.1 blocked this request (403).");
    world.check_fault(exchange.bytes(), fault, &client.answer().unwrap());
    let json = Answer::new("403 Forbidden").header("Content-Type", "application/json").body("{}");
    world.exchange(Exchange::get().answer(json));
}
