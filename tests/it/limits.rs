//! Limits on size and time of a client's request: beyond them the client gets an error, and can read it.

use std::time::{Duration, Instant};

use crate::harness::{Answer, Broken, Exchange, FOREIGN_TOKEN, Fault, Framing, Next, Wire, World};

const TOO_LARGE: Fault<'_> = Fault(413, "body_too_large", "The request's body is larger than 1024 bytes");
const NO_ROUTE: Fault<'_> = Fault(404, "route_not_found", "Route not implemented in AI Gateway: /t/nowhere");

fn small() -> World {
    World::with("[limits]\nmax_body = \"1KiB\"", &[])
}

#[test]
fn a_body_up_to_the_limit_passes() {
    let mut world = small();
    world.exchange(Exchange::post(vec![0; 1024]));
    world.exchange(Exchange::post("").chunked(vec![0; 1024]));
}

#[test]
fn a_larger_body_is_refused_by_its_length() {
    let mut world = small();
    for size in [1025, 100_000] {
        let request = world.known(Exchange::post(vec![b'x'; size])).bytes();
        world.fault(request, TOO_LARGE);
    }
    for size in ["1025", "9999999999", "9223372036854775807"] {
        let request = String::from_utf8(world.known(Exchange::post("")).bytes()).unwrap();
        world.fault(request.replace("Length: 0", &format!("Length: {size}")), TOO_LARGE);
    }
}

#[test]
fn a_larger_body_is_refused_while_it_streams() {
    let mut world = small();
    let exchange = world.known(Exchange::post("").chunked(vec![b'x'; 100_000]));
    let mut client = world.client();
    client.send(exchange.bytes());
    let Next::Request(mut wire) = world.upstream.next_or(&client) else {
        world.check_fault(exchange.bytes(), TOO_LARGE, &client.answer().unwrap());
        return;
    };
    // The upstream got no whole request.
    assert!(matches!(wire.request(), Err(Broken::Cut | Broken::Closed)));
    world.check_fault(exchange.bytes(), TOO_LARGE, &client.answer().unwrap());
    world.exchange(Exchange::get());
}

/// An answer before the body was read: the client, which first sends all of it, gets the answer, and the connection
/// serves another request.
fn early(world: &mut World, exchange: &Exchange, fault: Fault<'_>) {
    let mut client = world.client();
    let mut sender = client.twin();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(exchange.bytes()));
        let answer = client.answer().unwrap_or_else(|broken| panic!("{broken:?}"));
        world.check_fault(exchange.bytes(), fault, &answer);
    });
    let next = world.known(Exchange::get());
    world.exchange_on(&mut client, &next);
}

#[test]
fn an_early_answer_is_seen() {
    let mut world = small();
    let body = vec![b'x'; 500_000];
    let unknown = Exchange::post(body.clone()).removed("Authorization", "Bearer wrong");
    early(&mut world, &unknown, FOREIGN_TOKEN);
    early(&mut world, &unknown.chunked(body.clone()), FOREIGN_TOKEN);
    let nowhere = world.known(Exchange::post(body.clone()).at("/t/nowhere", ""));
    early(&mut world, &nowhere, NO_ROUTE);
    early(&mut world, &nowhere.chunked(body.clone()), NO_ROUTE);
    let large = world.known(Exchange::post(body));
    early(&mut world, &large, TOO_LARGE);
}

#[test]
fn an_early_answer_of_the_upstream_is_seen() {
    let mut world = World::new();
    let body = vec![b'x'; 500_000];
    let answer = Answer::new("401 Unauthorized").body("no");
    for exchange in [Exchange::post(body.clone()), Exchange::post("").chunked(body)] {
        let exchange = world.known(exchange).answer(answer.clone());
        let mut client = world.client();
        let mut sender = client.twin();
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(exchange.bytes()));
            let mut wire = world.upstream.next();
            exchange.check_head(&world.host, &wire.head().unwrap());
            wire.send(exchange.answer.bytes());
            world.receive(&mut client, &exchange);
        });
        let next = world.known(Exchange::get());
        world.exchange_on(&mut client, &next);
    }
}

#[test]
fn heads_have_a_limit() {
    let mut world = World::new();
    world.exchange(Exchange::get().header("X-Long", &"a".repeat(60_000)));
    let long = "a".repeat(60_000);
    world.exchange(Exchange::get().at(&format!("/t/get?{long}"), &format!("/get?{long}")));
    for (line, header) in
        [("/t/get", "a".repeat(66_000)), (&*format!("/t/get?{}", "a".repeat(66_000)), String::new())]
    {
        let request = world.known(Exchange::get().at(line, "").removed("X-Long", &header)).bytes();
        refused(&mut world, &request);
    }
    let mut small = World::with("", &["--max-head", "8KiB"]);
    small.exchange(Exchange::get().header("X-Long", &"a".repeat(7_000)));
    let request = small.known(Exchange::get().removed("X-Long", &"a".repeat(9_000))).bytes();
    refused(&mut small, &request);
}

/// hyper's own answer, then the end of the connection.
fn refused(world: &mut World, request: &[u8]) {
    let mut client = world.client();
    client.try_send(request).ok();
    let answer = client.answer().unwrap();
    assert!(matches!(answer.head.status(), 414 | 431), "{answer:?}");
    client.ends();
    world.upstream.saw_nothing();
}

/// The shortest and the longest duration of a 300 ms timeout on a busy machine.
const LEAST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(3);

#[test]
fn a_head_has_a_timeout() {
    let mut world = World::with("", &["--head-timeout", "300ms"]);
    let whole = world.known(Exchange::get()).bytes();
    for sent in [1, 20, whole.len() - 1] {
        let mut client = world.client();
        client.send(&whole[..sent]);
        ends_in_time(&mut client, Instant::now());
    }
    // The timeout is for the whole head: occasional bytes do not extend it.
    let mut client = world.client();
    let start = Instant::now();
    for byte in &whole[..40] {
        if client.is_quiet_for(Duration::from_millis(50)) && client.try_send(&[*byte]).is_err() {
            break;
        }
    }
    ends_in_time(&mut client, start);
    world.exchange(Exchange::get());
}

/// The first byte of a head counts, on a connection that had a request before, too.
#[test]
fn the_timeout_of_a_head_begins_with_its_first_byte() {
    let mut world = World::with("", &["--head-timeout", "300ms", "--idle-timeout", "1h"]);
    let exchange = world.known(Exchange::post("{}"));
    let (mut fresh, mut used) = (world.client(), world.client());
    world.exchange_on(&mut used, &exchange);
    // The rest of this body is read after its answer: it is no head.
    let unknown = Exchange::post(vec![b'x'; 200_000]).bytes();
    let mut refused = world.client();
    refused.send(&unknown);
    assert_eq!(refused.answer().unwrap().head.status(), 401);
    for client in [&mut fresh, &mut used, &mut refused] {
        assert!(client.is_quiet_for(MOST / 2), "it may idle");
    }
    for client in [&mut fresh, &mut used, &mut refused] {
        client.send("GET /t");
        ends_in_time(client, Instant::now());
    }
}

#[test]
fn a_connection_does_not_idle_for_ever() {
    let mut world = World::with("", &["--idle-timeout", "300ms"]);
    let exchange = world.known(Exchange::get());
    ends_in_time(&mut world.client(), Instant::now());
    let mut client = world.client();
    for _ in 0..2 {
        client.send(exchange.bytes());
        world.serve(&exchange);
        let answer = client.answer().unwrap();
        // Less than a second cannot be announced.
        assert_eq!((answer.head.status(), answer.head.get("keep-alive")), (200, None));
    }
    ends_in_time(&mut client, Instant::now());
}

fn ends_in_time(client: &mut Wire, start: Instant) {
    let rest = client.rest();
    let elapsed = start.elapsed();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", rest.escape_ascii());
    assert!((LEAST..MOST).contains(&elapsed), "{elapsed:?}");
}

#[test]
fn a_stalled_body_times_out() {
    let mut world = World::with("[timeouts]\nfirst_byte = \"300ms\"\nidle = \"300ms\"", &[]);
    for framing in [Framing::Chunked, Framing::Length(100)] {
        let exchange = world.known(Exchange::post("").framed(framing));
        let mut client = world.client();
        client.send(exchange.head_bytes());
        client.send("5\r\nhello\r\n");
        let mut wire = world.upstream.next();
        exchange.check_head(&world.host, &wire.head().unwrap());
        assert!(wire.body(framing).is_err());
        let fault = Fault(408, "body_timeout", "The request's body did not arrive in time");
        world.check_fault(exchange.bytes(), fault, &client.answer().unwrap());
    }
    world.exchange(Exchange::get());
}

#[test]
fn an_early_answer_that_a_rule_replaces_is_seen() {
    let rule = "[[response]]\nwhen = { status = 403 }\nreply = { status = 502, message = \"blocked\" }";
    let mut world = World::with(rule, &[]);
    let blocked = Fault(502, "response_rule", "blocked");
    for exchange in [Exchange::post(vec![b'x'; 500_000]), Exchange::post("").chunked(vec![b'x'; 500_000])] {
        let exchange = world.known(exchange);
        let mut client = world.client();
        let mut sender = client.twin();
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(exchange.bytes()));
            let mut wire = world.upstream.next();
            wire.head().unwrap();
            wire.send(Answer::new("403 Forbidden").body("no").bytes());
            world.check_fault(exchange.bytes(), blocked, &client.answer().unwrap());
        });
        let next = world.known(Exchange::get());
        world.exchange_on(&mut client, &next);
    }
}

/// After `100 Continue` a client sends all of its body, and must get the 413.
#[test]
fn a_client_sees_the_413_after_100_continue() {
    let world = small();
    let body = vec![b'x'; 500_000];
    let exchange = world.known(Exchange::post("").chunked(body).removed("Expect", "100-continue"));
    let bytes = exchange.bytes();
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let mut client = world.client();
    client.send(&bytes[..head]);
    assert_eq!(client.head().unwrap().start, "HTTP/1.1 100 Continue");
    let mut sender = client.twin();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(&bytes[head..]));
        world.check_fault(bytes.clone(), TOO_LARGE, &client.answer().unwrap());
    });
}
