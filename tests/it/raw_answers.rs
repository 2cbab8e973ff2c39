//! Answers that two parsers might read differently. Each becomes a 502, is visibly cut, or reaches the client as one
//! well-framed answer (the client here reads strictly). Bytes that an upstream sends beyond its answer never reach a
//! client.
//!
//! The results are in `raw_answers.txt`; `UPDATE_EXPECT=1` writes it again, for review.

use std::fmt::Write as _;

use crate::harness::{Broken, Exchange, Message, World, root};

const HEADS: [(&str, &str); 37] = [
    ("plain", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("without a reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    ("with an empty reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
    ("with a reason in Latin-1", "HTTP/1.1 200 \u{e4}\r\nContent-Length: 2\r\n\r\nok"),
    ("line ends of LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("line ends of CR", "HTTP/1.1 200 OK\rContent-Length: 2\r\rok"),
    ("CR in a value", "HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 2\r\n\r\nok"),
    ("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok"),
    ("NUL in a name", "HTTP/1.1 200 OK\r\nX\0: a\r\nContent-Length: 2\r\n\r\nok"),
    ("space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
    ("space in a name", "HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 2\r\n\r\nok"),
    ("empty name", "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\nok"),
    ("no colon", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok"),
    ("folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
    ("empty line before", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("HTTP/2", "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("HTTP/0.9", "ok"),
    ("status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("status 099", "HTTP/1.1 099 No\r\nContent-Length: 2\r\n\r\nok"),
    ("status 999", "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok"),
    ("status 600", "HTTP/1.1 600 Odd\r\nContent-Length: 2\r\n\r\nok"),
    ("status 599", "HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nok"),
    ("length with leading noughts", "HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\nok"),
    ("length doubled, equal", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("length doubled, differing", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\nok"),
    ("length list, equal", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
    ("length +", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("length empty", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok"),
    (
        "length beside chunked",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("xchunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok"),
    ("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n"),
    ("304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"),
    ("205 with a body", "HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nok"),
];

/// Bodies after `Transfer-Encoding: chunked`.
const CHUNKS: [(&str, &str); 15] = [
    ("size in capitals", "A\r\n0123456789\r\n0\r\n\r\n"),
    ("size with leading noughts", "00000002\r\nok\r\n0\r\n\r\n"),
    ("size negative", "-2\r\nok\r\n0\r\n\r\n"),
    ("size 0x", "0x2\r\nok\r\n0\r\n\r\n"),
    ("size empty", "\r\nok\r\n0\r\n\r\n"),
    ("size beyond 64 bits", "10000000000000002\r\nok\r\n0\r\n\r\n"),
    ("extension", "2;a=b\r\nok\r\n0;c\r\n\r\n"),
    ("extension with LF", "2;a\nb\r\nok\r\n0\r\n\r\n"),
    ("line ends of LF", "2\nok\n0\n\n"),
    ("data ended by LF", "2\r\nok\n0\r\n\r\n"),
    ("data too long", "2\r\nok!\r\n0\r\n\r\n"),
    ("trailer", "2\r\nok\r\n0\r\nX: 1\r\n\r\n"),
    ("trailer without a colon", "2\r\nok\r\n0\r\nnonsense\r\n\r\n"),
    ("trailer that is forbidden", "2\r\nok\r\n0\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\n"),
    ("no end", "2\r\nok\r\n"),
];

/// A whole unsolicited answer.
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/// Answers followed by further bytes.
const AFTER: [(&str, &str); 8] = [
    ("length, then an answer", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{poison}"),
    (
        "chunked, then an answer",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{poison}",
    ),
    ("204, then an answer", "HTTP/1.1 204 No Content\r\n\r\n{poison}"),
    ("304, then an answer", "HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n{poison}"),
    ("204 with a length, then an answer", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n{poison}"),
    ("length, then nonsense", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok nonsense"),
    (
        "103, then an answer",
        "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "100 twice, then an answer",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
];

fn cases() -> Vec<(String, String)> {
    let mut cases: Vec<_> =
        HEADS.iter().map(|(name, text)| (format!("head: {name}"), (*text).to_owned())).collect();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    cases.extend(CHUNKS.iter().map(|(name, text)| (format!("chunk: {name}"), format!("{head}{text}"))));
    cases.extend(
        AFTER.iter().map(|(name, text)| (format!("after: {name}"), text.replace("{poison}", POISON))),
    );
    let many =
        |count: usize| format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", "X: 1\r\n".repeat(count));
    let long =
        |size: usize| format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "a".repeat(size));
    for (name, text) in [
        ("90 headers", many(90)),
        ("150 headers", many(150)),
        ("header of 60 kB", long(60_000)),
        ("header of 1 MB", long(1_000_000)),
    ] {
        cases.push((format!("size: {name}"), text));
    }
    cases
}

/// The client's answer in words.
fn shown(answer: Result<Message, Broken>) -> String {
    match answer {
        Ok(answer) => {
            let code = serde_json::from_slice::<serde_json::Value>(&answer.body).ok();
            let code = code.and_then(|body| body["error"]["code"].as_str().map(str::to_owned));
            code.unwrap_or_else(|| format!("{} `{}`", &answer.head.start[9..], answer.body.escape_ascii()))
        }
        Err(Broken::Cut) => "cut".into(),
        // An answer that is broken from the start fails before its head is written: the clearest cut.
        Err(Broken::Closed) => "cut before the head".into(),
        Err(broken) => panic!("{broken:?}"),
    }
}

/// Answers a request with these bytes, and then closes the connection or keeps it open.
fn outcome(world: &mut World, text: &str, keep: bool) -> String {
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let exchange = world.known(Exchange::post("{}"));
    let mut client = world.client();
    client.send(exchange.bytes());
    let (request, mut wire) = world.upstream.request();
    exchange.check(&world.host, &request);
    // The gateway may close before it has read everything.
    wire.try_send(&bytes).ok();
    let mut open = Some(wire).filter(|_| keep);
    let outcome = shown(client.answer());
    if let Some(wire) = open.take() {
        world.upstream.keep(wire);
    }
    // Leftover bytes on the connection are not the next request's answer.
    for _ in 0..2 {
        let next = world.known(Exchange::get());
        world.exchange_on(&mut world.client(), &next);
    }
    outcome
}

#[test]
fn every_answer_is_refused_cut_or_unambiguous() {
    let mut world = World::with("[timeouts]\nfirst_byte = \"300ms\"\nidle = \"300ms\"", &[]);
    let mut outcomes = String::new();
    for (name, text) in cases() {
        let outcome = outcome(&mut world, &text, false);
        writeln!(outcomes, "{name}\n    {outcome}").unwrap();
    }
    let path = root().join("tests/it/raw_answers.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &outcomes).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (seen, expected) in outcomes.lines().zip(expected.lines()) {
        assert_eq!(seen, expected);
    }
    assert_eq!(outcomes, expected);
    assert!(!outcomes.contains("poison"));
}

#[test]
fn nothing_left_over_is_the_next_answer() {
    let mut world = World::new();
    for (name, text) in AFTER {
        let outcome = outcome(&mut world, &text.replace("{poison}", POISON), true);
        assert!(!outcome.contains("poison"), "{name}: {outcome}");
    }
}
