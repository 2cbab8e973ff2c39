//! Requests that are changed so that the upstream sends usage (`when_missing = "ask"`), over real sockets: the body, the
//! answer without the event that was asked for, and all that passes unchanged.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::harness::{Fault, Framing, Message, Wire, World, chunk};

const ASKS: &str = "api = \"chat-completions\"\nwhen_missing = \"ask\"\n";
const SSE: &str = "Content-Type: text/event-stream";
const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}],\"usage\":null}\n\n";
const EXTRA: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":7}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// The head of a request; `lines` follow its framing.
fn head(world: &World, lines: &str) -> String {
    let token = &world.token;
    format!(
        "POST /t/post HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\nAccept-Encoding: gzip\r\n{lines}\r\n"
    )
}

fn with_length(world: &World, lines: &str, body: &[u8]) -> Vec<u8> {
    [head(world, &format!("Content-Length: {}\r\n{lines}", body.len())).as_bytes(), body].concat()
}

/// Sends a request. Returns the client's end, the request as the upstream has it, and the upstream's end.
fn sent(world: &mut World, request: &[u8]) -> (Wire, Message, Wire) {
    let mut client = world.client();
    client.send(request);
    let (request, upstream) = world.upstream.request();
    (client, request, upstream)
}

fn answer(lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The client's answer, and the access log's line about the exchange.
fn ended(world: &mut World, client: &mut Wire) -> (Message, Value) {
    let answer = client.answer().unwrap_or_else(|broken| panic!("{broken:?}"));
    (answer, world.gateway.wait_for_log("request"))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_stream_is_asked_for_usage_which_the_client_does_not_see() {
    let mut world = World::with(ASKS, &[]);
    let check = |world: &mut World, body: &str, expected: &str, is_chunked: bool| {
        let request = if is_chunked {
            let body = [chunk(body.as_bytes()), b"0\r\nX-Trailer: 1\r\n\r\n".to_vec()].concat();
            [head(world, "Transfer-Encoding: chunked\r\n").into_bytes(), body].concat()
        } else {
            with_length(world, "", body.as_bytes())
        };
        let (mut client, request, mut upstream) = sent(world, &request);
        assert_eq!(String::from_utf8(request.body).unwrap(), expected);
        assert_eq!(request.framing, Framing::Length(expected.len() as u64));
        assert_eq!(request.head.get("accept-encoding"), Some("identity"));
        upstream.send(answer(SSE, [TEXT, TEXT, EXTRA, DONE].concat().as_bytes()));
        let (seen, line) = ended(world, &mut client);
        assert_eq!(String::from_utf8(seen.body.clone()).unwrap(), [TEXT, TEXT, DONE].concat());
        assert_eq!(seen.framing, Framing::Chunked);
        assert_eq!((&line["usage_input"], &line["usage_output"]), (&json!(10), &json!(7)));
        assert_eq!((&line["estimated_output"], &line["bytes_out"]), (&Value::Null, &json!(seen.body.len())));
        assert_eq!(line["bytes_in"], body.len());
    };
    let plain = " {\"model\": \"m\",\n \"stream\" : true, \"x\": 1e400 }\n";
    let asking = " {\"model\": \"m\",\n \"stream\" : true, \"x\": 1e400,\"stream_options\":{\"include_usage\":true} }\n";
    check(&mut world, plain, asking, false);
    check(&mut world, plain, asking, true);
    let refused = r#"{"stream":true,"stream_options":{"include_usage":false,"z":[1]}}"#;
    let asking = r#"{"stream":true,"stream_options":{"include_usage":true,"z":[1]}}"#;
    check(&mut world, refused, asking, false);
}

#[test]
fn events_pass_as_they_come_and_a_broken_answer_passes_to_its_last_byte() {
    let mut world = World::with(ASKS, &[]);
    let request = with_length(&world, "", br#"{"stream":true}"#);
    for is_whole in [false, true] {
        let (mut client, _, mut upstream) = sent(&mut world, &request);
        upstream.send(format!("HTTP/1.1 200 OK\r\n{SSE}\r\nTransfer-Encoding: chunked\r\n\r\n"));
        client.head().unwrap();
        upstream.send(chunk(TEXT.as_bytes()));
        assert_eq!(client.chunk().unwrap().unwrap(), TEXT.as_bytes());
        let begun = &EXTRA.as_bytes()[..30];
        upstream.send(chunk(begun));
        if is_whole {
            upstream.send(chunk(&EXTRA.as_bytes()[30..]));
            upstream.send(b"0\r\n\r\n");
            assert_eq!(client.chunk(), Ok(None));
        } else {
            drop(upstream);
            assert_eq!(client.chunk().unwrap().unwrap(), begun);
            assert!(client.chunk().is_err());
        }
        let line = world.gateway.wait_for_log("request");
        assert_eq!(line["end"], if is_whole { "complete" } else { "cut" });
        let bytes = if is_whole { TEXT.len() } else { TEXT.len() + begun.len() };
        assert_eq!(line["bytes_out"], bytes);
    }
}

/// Bodies that are not to ask, ask already, or cannot be changed; with the header lines of the request.
#[test]
fn other_requests_and_their_answers_pass_unchanged() {
    let mut world = World::with(ASKS, &[]);
    let stream = [TEXT, EXTRA, DONE].concat();
    let encoded = gzip(r#"{"stream":true}"#);
    let large = format!(r#"{{"stream":true,"x":"{}"}}"#, "x".repeat(5 << 20));
    let bodies: [(&str, &[u8]); 8] = [
        ("", br#"{"stream":true,"stream_options":{"include_usage":true}}"#),
        ("", br#"{"stream":false}"#),
        ("", b"{}"),
        ("", b"\xff\x00 no JSON"),
        ("", br#"{"stream":true,"stream_options":7}"#),
        ("", b"[true]"),
        ("Content-Encoding: gzip\r\n", &encoded),
        ("", large.as_bytes()),
    ];
    for (lines, body) in bodies {
        let request = with_length(&world, lines, body);
        let (mut client, request, mut upstream) = sent(&mut world, &request);
        assert!(request.body == body, "{}", body[..body.len().min(80)].escape_ascii());
        assert_eq!(request.head.get("accept-encoding"), Some("gzip"));
        upstream.send(answer(SSE, stream.as_bytes()));
        let (seen, _) = ended(&mut world, &mut client);
        assert_eq!((seen.body, seen.framing), (stream.clone().into(), Framing::Length(stream.len() as u64)));
    }
}

#[test]
fn a_body_that_turns_out_too_large_passes_and_is_estimated() {
    let mut world = World::with(ASKS, &[]);
    let body = format!(r#"{{"stream":true,"x":"{}"}}"#, "x".repeat(5 << 20));
    let chunked = [chunk(body.as_bytes()), b"0\r\n\r\n".to_vec()].concat();
    let request = [head(&world, "Transfer-Encoding: chunked\r\n").into_bytes(), chunked].concat();
    let (mut client, request, mut upstream) = sent(&mut world, &request);
    assert!(request.body == body.as_bytes(), "{} bytes", request.body.len());
    assert_eq!(request.framing, Framing::Chunked);
    upstream.send(answer(SSE, [&TEXT.repeat(9), DONE].concat().as_bytes()));
    let (_, line) = ended(&mut world, &mut client);
    assert!(line["estimated_output"].as_u64() > Some(0), "{line}");
}

#[test]
fn errors_and_encoded_answers_pass_unchanged() {
    let mut world = World::with(ASKS, &[]);
    let request = with_length(&world, "", br#"{"stream":true}"#);
    let encoded = gzip(&[TEXT, EXTRA, DONE].concat());
    let whole = r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":7}}"#;
    let answers: [(String, &[u8]); 2] = [
        (format!("{SSE}\r\nContent-Encoding: gzip"), &encoded),
        ("Content-Type: application/json".into(), whole.as_bytes()),
    ];
    for (lines, body) in answers {
        let (mut client, _, mut upstream) = sent(&mut world, &request);
        upstream.send(answer(&lines, body));
        let (seen, line) = ended(&mut world, &mut client);
        assert_eq!((seen.body, seen.framing), (body.to_vec(), Framing::Length(body.len() as u64)));
        assert_eq!((&line["usage_input"], &line["usage_output"]), (&json!(10), &json!(7)));
    }
    for (status, expected) in [("200 OK", ""), ("429 Slow", EXTRA)] {
        let (mut client, _, mut upstream) = sent(&mut world, &request);
        let length = EXTRA.len();
        upstream.send(format!("HTTP/1.1 {status}\r\n{SSE}\r\nContent-Length: {length}\r\n\r\n{EXTRA}"));
        let (seen, _) = ended(&mut world, &mut client);
        assert_eq!(seen.body, expected.as_bytes(), "{status}");
    }
}

#[test]
fn comments_pass_at_once_and_events_with_more_than_usage_pass() {
    let mut world = World::with(ASKS, &[]);
    let request = with_length(&world, "", br#"{"stream":true}"#);
    let (mut client, _, mut upstream) = sent(&mut world, &request);
    upstream.send(format!("HTTP/1.1 200 OK\r\n{SSE}\r\nTransfer-Encoding: chunked\r\n\r\n"));
    client.head().unwrap();
    for passes in [
        ": ping\n",
        ": ping\n",
        "id: 7\n",
        "data: {\"error\":{\"message\":\"quota exceeded\"},\"choices\":[],\"usage\":{\"prompt_tokens\":3}}\n\n",
        "data: {\"choices\":{\"0\":{\"delta\":{\"content\":\"secret\"}}},\"usage\":{\"prompt_tokens\":3}}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3},\"citations\":[\"a\"]}\n\n",
        "event: error\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3}}\n\n",
    ] {
        upstream.send(chunk(passes.as_bytes()));
        assert_eq!(
            client.chunk().unwrap().unwrap().escape_ascii().to_string(),
            passes.as_bytes().escape_ascii().to_string()
        );
    }
    upstream.send(chunk(format!("id: 8\nevent: message\n{EXTRA}").as_bytes()));
    assert_eq!(client.chunk().unwrap().unwrap(), b"id: 8\n");
    upstream.send(b"0\r\n\r\n");
    assert_eq!(client.chunk(), Ok(None));
}

/// Digests in heads and trailers, of a request and of an answer.
#[test]
fn digests_pass_only_with_their_body() {
    const NAMES: [&str; 7] = [
        "content-digest",
        "repr-digest",
        "unencoded-digest",
        "digest",
        "content-md5",
        "x-amz-content-sha256",
        "x-ms-content-sha256",
    ];
    let lines: String = NAMES.map(|name| format!("{name}: sha-256=:a:\r\n")).concat();
    let mut world = World::with(ASKS, &[]);
    for (body, signature, is_changed) in [
        (r#"{"stream":true}"#, "", true),
        (r#"{"stream":false}"#, "", false),
        (r#"{"stream":true}"#, "Signature-Input: a=()\r\nSignature: a=:b:\r\n", false),
    ] {
        let request = with_length(&world, &format!("TE: trailers\r\n{lines}{signature}"), body.as_bytes());
        let (mut client, request, mut upstream) = sent(&mut world, &request);
        assert_eq!(request.body != body.as_bytes(), is_changed);
        let trailer = "0\r\nContent-Digest: sha-256=:a:\r\nX-Other: 1\r\n\r\n";
        let head = format!(
            "HTTP/1.1 200 OK\r\n{SSE}\r\n{lines}Trailer: Content-Digest, X-Other\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        upstream.send([head.as_bytes(), &chunk(TEXT.as_bytes()), trailer.as_bytes()].concat());
        let (answer, _) = ended(&mut world, &mut client);
        assert_eq!(answer.body, TEXT.as_bytes());
        for name in NAMES {
            assert_eq!(request.head.get(name).is_none(), is_changed, "{name} of the request");
            assert_eq!(answer.head.get(name).is_none(), is_changed, "{name} of the answer");
        }
        assert_eq!(
            answer.trailers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-digest")),
            !is_changed
        );
        assert!(answer.trailers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-other")));
    }
}

#[test]
fn a_key_twice_is_refused_and_the_connection_goes_on() {
    let mut world = World::with(ASKS, &[]);
    let message = "The request's body has a key twice on the way to `/stream_options/include_usage` or `/stream`, so that it could be read in two ways: send each key once";
    let fault = || Fault(400, "ambiguous_body", message);
    let bodies = [
        r#"{"stream":true,"stream":false}"#,
        r#"{"stream":true,"stream_options":{},"stream_options":{"include_usage":true}}"#,
        r#"{"stream":true,"stream_options":{"include_usage":true,"include_usage":false}}"#,
    ];
    let mut client = world.client();
    for body in bodies {
        let request = with_length(&world, "", body.as_bytes());
        client.send(&request);
        world.check_fault(&request, fault(), &client.answer().unwrap());
    }
    world.upstream.saw_nothing();
    // Elsewhere in the body, it is no concern of tollgate's.
    let request = with_length(&world, "", br#"{"a":1,"a":2}"#);
    client.send(&request);
    let (request, mut upstream) = world.upstream.request();
    assert_eq!(request.body, br#"{"a":1,"a":2}"#);
    upstream.send(answer("Content-Type: application/json", b"{}"));
    assert_eq!(client.answer().unwrap().body, b"{}");
}

#[test]
fn a_body_that_stalls_or_breaks_off_reaches_no_upstream() {
    let more = format!("{ASKS}[timeouts]\nfirst_byte = \"300ms\"\nidle = \"300ms\"");
    let mut world = World::with(&more, &[]);
    let request = [head(&world, "Content-Length: 100\r\n").as_bytes(), b"{\"stream\""].concat();
    let mut client = world.client();
    client.send(&request);
    let fault = Fault(408, "body_timeout", "The request's body did not arrive in time");
    world.check_fault(&request, fault, &client.answer().unwrap());
    let mut client = world.client();
    client.send(&request);
    client.finish();
    drop(client);
    assert_eq!(world.gateway.wait_for_log("request")["fault"], "body_timeout");
    assert_ne!(world.gateway.wait_for_log("request")["status"], 200);
    world.upstream.saw_nothing();
}

#[test]
fn a_body_of_many_small_values_costs_no_memory_of_its_own() {
    let mut world = World::with(ASKS, &[]);
    let body = format!(r#"{{"stream":[{}{{}}]}}"#, r#"{"":0},"#.repeat(590_000));
    let request = with_length(&world, "", body.as_bytes());
    let before = world.gateway.peak_bytes();
    let (mut client, request, mut upstream) = sent(&mut world, &request);
    assert!(request.body == body.as_bytes(), "{} bytes", request.body.len());
    upstream.send(answer("Content-Type: application/json", b"{}"));
    assert_eq!(client.answer().unwrap().body, b"{}");
    let grown = world.gateway.peak_bytes() - before;
    assert!(grown < 40 << 20, "{} MiB for a body of {} bytes", grown >> 20, body.len());
}
