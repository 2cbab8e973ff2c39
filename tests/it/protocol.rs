//! HTTP/1.1 beyond a request and its answer: upgrades, `Expect`, persistent connections, older versions, interim
//! answers, and methods without a body.

use crate::harness::{Answer, Exchange, Fault, Framing, NO_TOKEN, World};

const UPGRADE: Fault<'_> =
    Fault(426, "upgrade_refused", "WebSocket is not served here: send a plain request");

fn websocket(exchange: Exchange, upgrade: &str) -> Exchange {
    let exchange = exchange.removed("Upgrade", upgrade).removed("Connection", "Upgrade");
    let exchange = exchange.removed("Sec-WebSocket-Version", "13");
    exchange.removed("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[test]
fn websocket_is_refused_so_that_clients_fall_back() {
    let mut world = World::new();
    for upgrade in ["websocket", "WebSocket", "h2c, websocket"] {
        for exchange in [Exchange::get(), Exchange::post("{}"), Exchange::get().at("/nowhere", "")] {
            let known = websocket(world.known(exchange.clone()), upgrade).bytes();
            world.fault(known, UPGRADE);
            world.fault(websocket(exchange, upgrade).bytes(), NO_TOKEN);
        }
    }
}

#[test]
fn other_upgrades_are_ignored() {
    let mut world = World::new();
    for upgrade in ["h2c", "TLS/1.0", "websockets", "HTTP/2.0"] {
        world.exchange(websocket(Exchange::post("{}"), upgrade));
    }
}

#[test]
fn a_body_is_asked_for_once_it_is_wanted() {
    let mut world = World::new();
    let exchange = world.known(Exchange::post("").removed("Expect", "100-continue").body("hello"));
    let mut client = world.client();
    client.send(exchange.head_bytes());
    let interim = client.head().unwrap();
    assert_eq!((interim.start.as_str(), interim.lines.len()), ("HTTP/1.1 100 Continue", 0));
    client.send("hello");
    world.serve(&exchange);
    world.receive(&mut client, &exchange);
    let next = world.known(Exchange::post("more"));
    world.exchange_on(&mut client, &next);
}

#[test]
fn a_body_that_is_not_wanted_is_not_asked_for() {
    let mut world = World::with("[limits]\nmax_body = \"10B\"", &[]);
    let expect = |exchange: Exchange| exchange.removed("Expect", "100-continue").framed(Framing::Length(100));
    let large = "The request's body is larger than 10 bytes";
    let cases = [
        (expect(Exchange::post("")), NO_TOKEN),
        (
            world.known(expect(Exchange::new("POST", "/nowhere"))),
            Fault(404, "route_not_found", "Route not implemented in AI Gateway: /t/nowhere"),
        ),
        (world.known(expect(Exchange::post(""))), Fault(413, "body_too_large", large)),
    ];
    for (exchange, fault) in cases {
        world.fault(exchange.head_bytes(), fault);
    }
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let mut world = World::new();
    let mut client = world.client();
    let chunked = Answer::new("200 OK").chunked("in chunks");
    for exchange in [
        Exchange::get(),
        Exchange::post("{}").answer(chunked.clone()),
        Exchange::get().answer(Answer::new("204 No Content").bare()),
        Exchange::post("").chunked("{}").answer(chunked),
        Exchange::get().answer(Answer::new("500 Internal Server Error").until_close("broken")),
        Exchange::get(),
    ] {
        let exchange = world.known(exchange);
        world.exchange_on(&mut client, &exchange);
        let unknown = Exchange::get();
        client.send(unknown.bytes());
        world.check_fault(unknown.bytes(), NO_TOKEN, &client.answer().unwrap());
    }
}

#[test]
fn a_client_may_ask_for_the_end() {
    let mut world = World::new();
    let answer = Answer::new("200 OK").body("ok").added("Connection", "close");
    let exchange = world.known(Exchange::get().removed("Connection", "close").answer(answer));
    let mut client = world.client();
    world.exchange_on(&mut client, &exchange);
    client.ends();
    world.exchange(Exchange::get());
    assert_eq!(world.upstream.connections, 1, "the client's wish is not the upstream's");
}

#[test]
fn an_upstream_may_ask_for_the_end() {
    let mut world = World::new();
    for _ in 0..3 {
        let exchange =
            world.known(Exchange::get().answer(Answer::new("200 OK").removed("Connection", "close")));
        let mut client = world.client();
        client.send(exchange.bytes());
        let (request, mut wire) = world.upstream.request();
        exchange.check(&world.host, &request);
        wire.send(exchange.answer.bytes());
        world.receive(&mut client, &exchange);
        wire.ends();
        let next = world.known(Exchange::get());
        world.exchange_on(&mut client, &next);
        world.upstream.drop_idle();
    }
}

#[test]
fn clients_of_http_1_0_get_what_they_understand() {
    let mut world = World::new();
    for (answer, framing) in [
        (Answer::new("200 OK").body("ok"), Framing::Length(2)),
        (Answer::new("200 OK").chunked("ok"), Framing::Close),
        (Answer::new("200 OK").until_close("ok"), Framing::Close),
    ] {
        let exchange = world.known(Exchange::get());
        let bytes = String::from_utf8(exchange.bytes()).unwrap().replace("HTTP/1.1", "HTTP/1.0");
        let mut client = world.client();
        client.send(bytes);
        let (request, mut wire) = world.upstream.request();
        exchange.check(&world.host, &request);
        wire.send(answer.bytes());
        drop(wire);
        let seen = client.answer().unwrap();
        assert_eq!((seen.framing, &seen.body[..]), (framing, &b"ok"[..]), "{:?}", seen.head);
        client.ends();
    }
}

#[test]
fn upstreams_of_http_1_0_are_understood() {
    let mut world = World::new();
    for (sent, framing) in [
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Framing::Length(2)),
        ("HTTP/1.0 200 OK\r\n\r\nok", Framing::Chunked),
    ] {
        let exchange = world.known(Exchange::post("{}"));
        let mut client = world.client();
        client.send(exchange.bytes());
        let (_, mut wire) = world.upstream.request();
        wire.send(sent);
        drop(wire);
        let seen = client.answer().unwrap();
        assert_eq!((seen.framing, &seen.body[..]), (framing, &b"ok"[..]), "{:?}", seen.head);
    }
    world.exchange(Exchange::get());
}

#[test]
fn interim_answers_are_dropped() {
    let mut world = World::new();
    for interim in ["100 Continue", "102 Processing", "103 Early Hints\r\nLink: </a>"] {
        let exchange = world.known(Exchange::post("{}"));
        let mut client = world.client();
        client.send(exchange.bytes());
        let (request, mut wire) = world.upstream.request();
        exchange.check(&world.host, &request);
        wire.send(format!("HTTP/1.1 {interim}\r\n\r\n"));
        wire.send(exchange.answer.bytes());
        world.receive(&mut client, &exchange);
        world.upstream.keep(wire);
    }
}

#[test]
fn all_methods_that_a_file_may_name() {
    let more: String = ["PUT", "PATCH", "DELETE", "HEAD"]
        .map(|method| {
            format!("[endpoint.{}]\nmethod = \"{method}\"\npath = \"/any\"\n", method.to_lowercase())
        })
        .concat();
    let mut world = World::with(&more, &[]);
    for method in ["PUT", "PATCH", "DELETE"] {
        world.exchange(Exchange::new(method, "/any").body("{}"));
    }
    world.exchange(Exchange::new("DELETE", "/any"));
    // The length is that of the answer to a GET, without a body.
    let exchange = world.known(Exchange::new("HEAD", "/any"));
    let answer = Answer::new("200 OK").framed(Framing::Length(5));
    let mut client = world.client();
    for _ in 0..2 {
        client.send(exchange.bytes());
        let (request, mut wire) = world.upstream.request();
        exchange.check(&world.host, &request);
        wire.send(answer.head_bytes());
        answer.check_head(&world.cors, &client.head().unwrap());
        world.upstream.keep(wire);
    }
    let message = "Route not implemented in AI Gateway: /t/get";
    let request = world.known(Exchange::new("HEAD", "/get")).bytes();
    client.send(&request);
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("content-type")), (404, Some("application/json")), "{message}");
    client.finish();
    client.ends();
}
