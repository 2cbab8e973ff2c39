//! Bodies in both directions: unchanged, unbuffered, at the pace of the slower side, in constant memory.

use std::time::Duration;

use crate::harness::{Answer, Exchange, Framing, Wire, World, chunk};

/// Bodies to relay.
fn bodies() -> [Vec<u8>; 6] {
    let every_byte: Vec<u8> = (0..=255).collect();
    [
        Vec::new(),
        b"x".to_vec(),
        b"{\"text\":\"\xc3\xa4\"}\r\n\r\n".to_vec(),
        every_byte.clone(),
        // Framing and gzip in a body are only bytes.
        b"0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\x1f\x8b\x08\x00".to_vec(),
        every_byte.repeat(1000),
    ]
}

#[test]
fn bodies_pass_byte_for_byte() {
    let mut world = World::new();
    for body in bodies() {
        world.exchange(Exchange::post(body.clone()).answer(Answer::new("200 OK").body(body.clone())));
        let chunked = Exchange::post("").chunked(body.clone());
        world.exchange(chunked.clone().answer(Answer::new("200 OK").chunked(body.clone())));
        world.exchange(chunked.answer(Answer::new("500 Internal Server Error").until_close(body)));
    }
}

#[test]
fn encoded_bytes_stay_encoded() {
    let mut world = World::new();
    let gzip =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x4c\x4a\x06\x00\xc2\x41\x24\x35\x03\x00\x00\x00";
    for encoding in ["gzip", "zstd", "br"] {
        let answer = Answer::new("200 OK").header("Content-Encoding", encoding).body(*gzip);
        world.exchange(Exchange::post(*gzip).header("Content-Encoding", encoding).answer(answer));
    }
}

/// Ten megabytes each way. Both ends work at once, since socket buffers hold far less.
fn large(up: fn(Exchange, Vec<u8>) -> Exchange, down: fn(Answer, Vec<u8>) -> Answer) {
    let mut world = World::new();
    let body: Vec<u8> = (0..10_000_000_u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    let answer = down(Answer::new("200 OK"), body.clone());
    let exchange = world.known(up(Exchange::post(""), body)).answer(answer);
    let mut client = world.client();
    let mut sender = client.twin();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(exchange.bytes()));
        let (request, mut wire) = world.upstream.request();
        exchange.check(&world.host, &request);
        let answer = exchange.answer.bytes();
        scope.spawn(move || wire.send(answer));
        world.receive(&mut client, &exchange);
    });
}

#[test]
fn ten_megabytes_of_known_length() {
    large(Exchange::body, Answer::body);
}

#[test]
fn ten_megabytes_in_chunks() {
    large(Exchange::chunked, Answer::chunked);
}

#[test]
fn ten_megabytes_until_the_connection_closes() {
    large(Exchange::chunked, Answer::until_close);
}

const STREAM: &[u8] = b"event: message\ndata: {\"delta\":\"h\xc3\xa4\"}\n\ndata:[DONE]\n\n";

#[test]
fn one_byte_after_the_other() {
    let mut world = World::new();
    let answer = Answer::new("200 OK").header("Content-Type", "text/event-stream").framed(Framing::Chunked);
    let exchange = world.known(Exchange::post("{\"stream\":true}"));
    let mut client = world.client();
    client.send(exchange.bytes());
    let (request, mut wire) = world.upstream.request();
    exchange.check(&world.host, &request);
    wire.send(answer.head_bytes());
    // The head arrives before any of the body.
    answer.check_head(&world.cors, &client.head().unwrap());
    for byte in STREAM {
        // The client has seen this one before the next leaves.
        wire.send(chunk(&[*byte]));
        assert_eq!(client.chunk().unwrap().unwrap(), [*byte]);
    }
    wire.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), None);
    assert_eq!(client.trailers().unwrap(), []);
    world.upstream.keep(wire);
    world.exchange_on(&mut client, &exchange);
    assert_eq!(world.upstream.connections, 1);
}

#[test]
fn one_byte_after_the_other_with_a_known_length_or_until_the_end() {
    let mut world = World::new();
    let exchange = world.known(Exchange::post("{}"));
    let length = Framing::Length(STREAM.len() as u64);
    let mut client = world.client();
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    let answer = Answer::new("200 OK").framed(length);
    wire.send(answer.head_bytes());
    answer.check_head(&world.cors, &client.head().unwrap());
    for byte in STREAM {
        wire.send([*byte]);
        assert_eq!(client.bytes(1).unwrap(), [*byte]);
    }
    client.send(exchange.bytes());
    world.upstream.keep(wire);
    let (_, mut wire) = world.upstream.request();
    let answer = Answer::new("200 OK").until_close("");
    wire.send(answer.head_bytes());
    answer.check_head(&world.cors, &client.head().unwrap());
    for byte in STREAM {
        wire.send([*byte]);
        assert_eq!(client.chunk().unwrap().unwrap(), [*byte]);
    }
    drop(wire);
    assert_eq!(client.chunk().unwrap(), None);
}

#[test]
fn a_request_is_read_while_it_is_written() {
    let mut world = World::new();
    for framing in [Framing::Chunked, Framing::Length(STREAM.len() as u64)] {
        let exchange = world.known(Exchange::post("").framed(framing));
        let mut client = world.client();
        client.send(exchange.head_bytes());
        client.send(piece(framing, &STREAM[..1]));
        let mut wire = world.upstream.next();
        exchange.check_head(&world.host, &wire.head().unwrap());
        assert_eq!(read_piece(&mut wire, framing), STREAM[..1]);
        for byte in &STREAM[1..] {
            client.send(piece(framing, &[*byte]));
            assert_eq!(read_piece(&mut wire, framing), [*byte]);
        }
        if framing == Framing::Chunked {
            client.send("0\r\n\r\n");
            assert_eq!(wire.chunk().unwrap(), None);
            assert_eq!(wire.trailers().unwrap(), []);
        }
        wire.send(exchange.answer.bytes());
        world.receive(&mut client, &exchange);
    }
}

fn piece(framing: Framing, data: &[u8]) -> Vec<u8> {
    if framing == Framing::Chunked { chunk(data) } else { data.to_vec() }
}

fn read_piece(wire: &mut Wire, framing: Framing) -> Vec<u8> {
    if framing == Framing::Chunked { wire.chunk().unwrap().unwrap() } else { wire.bytes(1).unwrap() }
}

#[test]
fn both_sides_send_at_once() {
    let mut world = World::new();
    let exchange = world.known(Exchange::post("").framed(Framing::Chunked));
    let answer = Answer::new("200 OK").framed(Framing::Chunked);
    let mut client = world.client();
    client.send(exchange.head_bytes());
    client.send(chunk(b"a"));
    let mut wire = world.upstream.next();
    wire.head().unwrap();
    assert_eq!(wire.chunk().unwrap().unwrap(), b"a");
    wire.send(answer.head_bytes());
    answer.check_head(&world.cors, &client.head().unwrap());
    for byte in STREAM {
        client.send(chunk(&[*byte]));
        assert_eq!(wire.chunk().unwrap().unwrap(), [*byte]);
        wire.send(chunk(&[*byte]));
        assert_eq!(client.chunk().unwrap().unwrap(), [*byte]);
    }
    client.send("0\r\n\r\n");
    assert_eq!(wire.chunk().unwrap(), None);
    wire.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), None);
}

/// The client's view of announced trailers.
fn trailers(world: &mut World, te: Option<&str>, announced: bool) -> (Option<String>, Vec<(String, String)>) {
    let mut exchange = world.known(Exchange::get());
    if let Some(te) = te {
        exchange = exchange.removed("TE", te).removed("Connection", "TE");
        if te == "trailers" {
            exchange = exchange.added("TE", "trailers").added("Connection", "te");
        }
    }
    let mut client = world.client();
    client.send(exchange.bytes());
    let (request, mut wire) = world.upstream.request();
    exchange.check(&world.host, &request);
    let trailer = if announced { "Trailer: X-Checksum, Set-Cookie, Content-Length\r\n" } else { "" };
    wire.send(format!("HTTP/1.1 200 OK\r\n{trailer}Transfer-Encoding: chunked\r\n\r\n"));
    wire.send("2\r\nok\r\n0\r\nX-Checksum: 1\r\nX-Other: 2\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\n");
    let answer = client.answer().unwrap();
    assert_eq!(answer.body, b"ok");
    world.upstream.keep(wire);
    (answer.head.get("trailer").map(str::to_owned), answer.trailers)
}

#[test]
fn trailers_go_to_clients_that_asked() {
    let mut world = World::new();
    let checksum = vec![("x-checksum".to_owned(), "1".to_owned())];
    let announced = Some("X-Checksum, Set-Cookie, Content-Length".to_owned());
    assert_eq!(trailers(&mut world, Some("trailers"), true), (announced, checksum));
    assert_eq!(trailers(&mut world, None, true), (None, vec![]));
    assert_eq!(trailers(&mut world, Some("gzip"), true), (None, vec![]));
    assert_eq!(trailers(&mut world, Some("trailers"), false), (None, vec![]));
}

#[test]
fn a_requests_trailers_are_dropped() {
    let mut world = World::new();
    let exchange = world.known(Exchange::post("").removed("Trailer", "X-Sum").chunked("hello"));
    let bytes = String::from_utf8(exchange.bytes()).unwrap();
    let bytes = bytes.replace("0\r\n\r\n", "0\r\nX-Sum: 1\r\nAuthorization: Bearer x\r\n\r\n");
    let mut client = world.client();
    client.send(bytes);
    world.serve(&exchange);
    world.receive(&mut client, &exchange);
}

/// Enough time for a worker to move all it can, even on a busy machine.
const SETTLING: Duration = Duration::from_secs(1);
/// More than the socket buffers of both hops and hyper's own hold; far less than is offered.
const MOST_HELD: usize = 24 << 20;
const MOST_GROWTH: usize = 8 << 20;
const OFFERED: usize = 200_000_000;
/// A response that was read but not yet written: 16 KiB of read-ahead, the last frame and a read buffer, of 8 KiB each.
const MOST_READ_AHEAD: usize = 40 << 10;

/// Bytes of two connections that the kernel holds: sent and not yet read. `/proc/net/tcp` has both ends of each.
fn bytes_in_sockets(wires: [&Wire; 2]) -> usize {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ports = wires
        .map(|wire| [wire.socket().local_addr(), wire.socket().peer_addr()].map(|end| end.unwrap().port()));
    let port = |end: &str| u16::from_str_radix(end.rsplit(':').next().unwrap(), 16).unwrap();
    let queues = sockets.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [near, far] = [port(fields[1]), port(fields[2])];
        if !ports.contains(&[near, far]) && !ports.contains(&[far, near]) {
            return None;
        }
        let (sent, received) = fields[4].split_once(':').unwrap();
        Some([sent, received].map(|queue| usize::from_str_radix(queue, 16).unwrap()).iter().sum::<usize>())
    });
    queues.sum()
}

#[test]
fn a_client_that_does_not_read_holds_the_upstream_back() {
    let mut world = World::new();
    world.exchange(Exchange::get());
    let before = world.gateway.resident_bytes();
    let exchange = world.known(Exchange::get());
    let mut client = world.client();
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    let answer = Answer::new("200 OK").framed(Framing::Length(OFFERED as u64));
    wire.send(answer.head_bytes());
    let taken = wire.push(OFFERED, SETTLING);
    let grown = world.gateway.resident_bytes().saturating_sub(before);
    let held = taken.saturating_sub(bytes_in_sockets([&client, &wire]));
    eprintln!("took {taken} bytes, held {held}, grew by {grown}");
    assert!(taken < MOST_HELD, "{taken} bytes were taken for a client that reads nothing");
    assert!(held <= MOST_READ_AHEAD, "{held} bytes were read ahead of a client that reads nothing");
    assert!(grown < MOST_GROWTH, "grew by {grown} bytes");
    // The rest arrives as soon as the client reads.
    std::thread::scope(|scope| {
        scope.spawn(move || assert_eq!(wire.push(OFFERED - taken, Duration::from_secs(10)), OFFERED - taken));
        answer.check_head(&world.cors, &client.head().unwrap());
        assert_eq!(client.skip(OFFERED), OFFERED);
    });
    let grown = world.gateway.resident_bytes().saturating_sub(before);
    assert!(grown < MOST_GROWTH, "grew by {grown} bytes");
}

#[test]
fn an_upstream_that_does_not_read_holds_the_client_back() {
    let mut world = World::new();
    world.exchange(Exchange::get());
    let before = world.gateway.resident_bytes();
    let exchange = world.known(Exchange::post("").framed(Framing::Length(OFFERED as u64)));
    let mut client = world.client();
    client.send(exchange.head_bytes());
    let taken = client.push(OFFERED, SETTLING);
    let mut wire = world.upstream.next();
    let grown = world.gateway.resident_bytes().saturating_sub(before);
    eprintln!("took {taken} bytes, grew by {grown}");
    assert!(taken < MOST_HELD, "{taken} bytes were taken for an upstream that reads nothing");
    assert!(grown < MOST_GROWTH, "grew by {grown} bytes");
    std::thread::scope(|scope| {
        let mut sender = client.twin();
        scope.spawn(move || {
            assert_eq!(sender.push(OFFERED - taken, Duration::from_secs(10)), OFFERED - taken);
        });
        exchange.check_head(&world.host, &wire.head().unwrap());
        assert_eq!(wire.skip(OFFERED), OFFERED);
        wire.send(exchange.answer.bytes());
        world.receive(&mut client, &exchange);
    });
}

#[test]
fn a_pause_of_the_client_is_not_the_upstreams() {
    let mut world = World::with("[timeouts]\nidle = \"300ms\"", &[]);
    let exchange = world.known(Exchange::get());
    let mut client = world.client();
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    let answer = Answer::new("200 OK").framed(Framing::Length(OFFERED as u64));
    wire.send(answer.head_bytes());
    // A write that blocks for a whole second is the pause. It exceeds the upstream's idle timeout.
    let taken = wire.push(OFFERED, SETTLING);
    std::thread::scope(|scope| {
        scope.spawn(move || assert_eq!(wire.push(OFFERED - taken, Duration::from_secs(10)), OFFERED - taken));
        client.head().unwrap();
        assert_eq!(client.skip(OFFERED), OFFERED);
    });
}
