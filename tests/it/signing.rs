//! Signed requests over real sockets: the body is hashed before it is sent, within bounds of size, memory and time. The
//! signatures themselves are checked against published vectors (`language/auth/sigv4`) and botocore (`tests/sigv4.sh`).

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::harness::{Fault, Framing, Home, Message, Upstream, Wire, World, chunk};

const KEY: &str = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY";

/// A provider `t` whose requests are signed, with more keys of `sign`, of the endpoint `post`, and of the file.
fn world(sign: &str, post: &str, more: &str) -> World {
    let upstream = Upstream::plain();
    let host = upstream.address().to_string();
    let text = format!(
        r#"
title = "Test"
base_url = "http://{host}"
path_prefix = "/t"
credentials.field = [{{ name = "id" }}, {{ name = "key" }}]
auth = [{{ sign = {{ kind = "aws-sigv4", service = "demo", region = "eu", key_id = "{{id}}", key = "{{key}}"{sign} }} }}]
{more}
[endpoint.get]
method = "GET"
path = "/get"
[endpoint.post]
method = "POST"
path = "/post"
{post}
"#
    );
    let home = Home::new(&[("t", &text)]);
    let token = home.user("ada");
    home.credential("ada", "providers.t.id", "AKIDEXAMPLE");
    home.credential("ada", "providers.t.key", KEY);
    let gateway = home.serve_with(&["--workers", "1"], &[]);
    World { upstream, gateway, home, token, host, cors: "Content-Type, Authorization, x-api-key".into() }
}

fn head(world: &World, framing: &str) -> String {
    let token = &world.token;
    format!(
        "POST /t/post HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\r\n"
    )
}

fn with_length(world: &World, body: &[u8]) -> Vec<u8> {
    [head(world, &format!("Content-Length: {}", body.len())).as_bytes(), body].concat()
}

fn chunked(world: &World, body: &[u8]) -> Vec<u8> {
    let body = [chunk(body), b"0\r\nX-Trailer: 1\r\n\r\n".to_vec()].concat();
    [head(world, "Transfer-Encoding: chunked").into_bytes(), body].concat()
}

/// Sends a request. Returns the client's end, the request as the upstream has it, and the upstream's end.
fn sent(world: &mut World, request: &[u8]) -> (Wire, Message, Wire) {
    let mut client = world.client();
    client.send(request);
    let (request, upstream) = world.upstream.request();
    (client, request, upstream)
}

fn answered(client: &mut Wire, upstream: &mut Wire) {
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().unwrap().body, b"ok");
}

fn sha256(body: &[u8]) -> String {
    tollgate::hex::encode(&Sha256::digest(body))
}

/// The headers that a signature covers, and the signature.
fn signature(request: &Message) -> (String, String) {
    let value = request.head.get("authorization").unwrap();
    let (front, signature) = value.split_once(", Signature=").unwrap();
    let (scope, signed) = front.split_once(", SignedHeaders=").unwrap();
    let date = &request.head.get("x-amz-date").unwrap()[..8];
    assert_eq!(scope, format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{date}/eu/demo/aws4_request"));
    assert!(signature.len() == 64 && signature.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (signed.to_owned(), signature.to_owned())
}

#[test]
fn the_body_is_hashed_and_goes_up_unchanged() {
    let mut world = world("", "", "");
    let large: Vec<u8> = (0..3 << 20).map(|at: u32| at.to_le_bytes()[1]).collect();
    let mut signatures = BTreeSet::new();
    for body in [&b""[..], b"\xff\x00 no text", &large] {
        for request in [with_length(&world, body), chunked(&world, body)] {
            let (mut client, request, mut upstream) = sent(&mut world, &request);
            assert!(request.body == body, "{} bytes", request.body.len());
            if !body.is_empty() {
                assert_eq!(request.framing, Framing::Length(body.len() as u64));
            }
            assert_eq!(request.head.get("x-amz-content-sha256"), Some(&*sha256(body)));
            let (signed, signature) = signature(&request);
            assert_eq!(signed, "host;x-amz-content-sha256;x-amz-date");
            signatures.insert((body.len(), signature));
            answered(&mut client, &mut upstream);
            let shown = world.gateway.log().join("\n");
            assert!(!shown.contains(KEY) && !shown.contains("Signature="), "{shown}");
        }
    }
    assert!(signatures.len() >= 3, "each body has another signature: {signatures:?}");
}

#[test]
fn a_body_without_a_signature_streams() {
    let mut world = world(", payload = \"unsigned\"", "", "");
    let mut client = world.client();
    client.send(head(&world, "Transfer-Encoding: chunked"));
    client.send(chunk(b"first"));
    let mut upstream = world.upstream.next();
    let head = upstream.head().unwrap();
    assert_eq!(head.get("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
    assert_eq!(upstream.chunk().unwrap().unwrap(), b"first");
    client.send(b"0\r\n\r\n");
    assert_eq!(upstream.chunk(), Ok(None));
    answered(&mut client, &mut upstream);
}

#[test]
fn a_body_beyond_the_limit_is_refused_and_the_connection_goes_on() {
    let mut world = world("", "", "limits = { signed_body = \"1KiB\", max_body = \"8KiB\" }");
    let message = "The request is signed, and its body is larger than 1024 bytes, the most that is kept in memory for a signature";
    let fault = || Fault(413, "signed_body_too_large", message);
    let mut client = world.client();
    for size in [1025, 8192] {
        for request in [with_length(&world, &vec![b'x'; size]), chunked(&world, &vec![b'x'; size])] {
            client.send(&request);
            world.check_fault(&request, fault(), &client.answer().unwrap());
        }
    }
    let request = with_length(&world, &[b'x'; 8193]);
    client.send(&request);
    let fault = Fault(413, "body_too_large", "The request's body is larger than 8192 bytes");
    world.check_fault(&request, fault, &client.answer().unwrap());
    world.upstream.saw_nothing();
    client.send(with_length(&world, &[b'x'; 1024]));
    let (request, mut upstream) = world.upstream.request();
    assert_eq!(request.head.get("x-amz-content-sha256"), Some(&*sha256(&[b'x'; 1024])));
    answered(&mut client, &mut upstream);
}

#[test]
fn bodies_in_memory_are_bounded() {
    const HELD: usize = 52 << 20;
    let mut world = world("", "", "limits.signed_body = \"64MiB\"");
    let body = vec![b'x'; HELD];
    let mut first = world.client();
    // All but the last byte: the body is held, also with what sockets still buffer.
    first.send(head(&world, &format!("Content-Length: {HELD}")));
    first.send(&body[1..]);
    let request = with_length(&world, &body[..24 << 20]);
    let message = "Too many bodies of signed requests are held in memory now: try again";
    let mut second = world.client();
    let mut sender = second.twin();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.try_send(&request));
        let answer = second.answer().unwrap_or_else(|broken| panic!("{broken:?}"));
        world.check_fault(&request, Fault(503, "overloaded", message), &answer);
    });
    world.upstream.saw_nothing();
    first.finish();
    drop(first);
    assert_ne!(world.gateway.wait_for_log("request")["status"], 200);
    assert_ne!(world.gateway.wait_for_log("request")["status"], 200);
    // The memory is free again.
    let (mut client, seen, mut upstream) = sent(&mut world, &request);
    assert_eq!(seen.head.get("x-amz-content-sha256"), Some(&*sha256(&body[..24 << 20])));
    answered(&mut client, &mut upstream);
}

#[test]
fn a_body_that_stalls_or_breaks_off_reaches_no_upstream() {
    let mut world = world("", "", "timeouts = { first_byte = \"300ms\", idle = \"300ms\" }");
    let request = [head(&world, "Content-Length: 100").as_bytes(), b"part"].concat();
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
fn a_body_that_asks_for_usage_is_signed_as_it_is_sent() {
    let mut world = world("", "api = \"chat-completions\"\nwhen_missing = \"ask\"\n", "");
    let asking = br#"{"stream":true,"stream_options":{"include_usage":true}}"#;
    for (body, expected) in
        [(&br#"{"stream":true}"#[..], &asking[..]), (br#"{"stream":false}"#, br#"{"stream":false}"#)]
    {
        for request in [with_length(&world, body), chunked(&world, body)] {
            let (mut client, request, mut upstream) = sent(&mut world, &request);
            assert_eq!(request.body, expected);
            assert_eq!(request.head.get("x-amz-content-sha256"), Some(&*sha256(expected)));
            signature(&request);
            answered(&mut client, &mut upstream);
        }
    }
    // A body that is too large to be changed is signed all the same.
    let large = format!(r#"{{"stream":true,"x":"{}"}}"#, "x".repeat(5 << 20));
    let request = with_length(&world, large.as_bytes());
    let (mut client, request, mut upstream) = sent(&mut world, &request);
    assert!(request.body == large.as_bytes());
    assert_eq!(request.head.get("x-amz-content-sha256"), Some(&*sha256(large.as_bytes())));
    answered(&mut client, &mut upstream);
}
