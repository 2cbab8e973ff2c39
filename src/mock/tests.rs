use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use super::*;

/// Longer than any response takes; reached only if the mock is broken.
const DEADLINE: Duration = Duration::from_secs(10);
const JSON_TYPE: &str = "content-type: application/json";

fn start(behaviour: Behaviour) -> Mock {
    let listeners = crate::server::listen::listen(([127, 0, 0, 1], 0).into(), 1, "--listen").unwrap();
    serve_all(listeners, Options { behaviour, tls: None }).unwrap()
}

fn send(mock: &Mock, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(mock.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// A POST with `connection: close`.
fn post(path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}content-length: {length}\r\n\r\n{body}"
    )
}

/// Reads until the connection ends. Returns the text and the error, if any.
fn read(mut stream: TcpStream) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).err().map(|error| error.kind());
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

fn echo_of(request: &str) -> Value {
    let (answer, _) = read(send(&start(Behaviour::default()), request));
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[test]
fn responds_over_sockets() {
    let mock = start(Behaviour::default());
    let check = |request: &str, parts: &[&str]| {
        let (answer, end) = read(send(&mock, request));
        assert_eq!(end, None, "{request}");
        for part in parts {
            assert!(answer.contains(part), "no {part:?} in the answer to {request}:\n{answer}");
        }
    };
    let chat = "/v1/chat/completions";
    check(&post(chat, "", r#"{"model":"m"}"#), &["HTTP/1.1 200 OK\r\n", JSON_TYPE, r#""model":"m""#]);
    check(&post(chat, "", r#"{"stream":true}"#), &["text/event-stream", "data: [DONE]\n\n", "\r\n0\r\n\r\n"]);
    check(&post("/v1/messages", "", r#"{"stream":true}"#), &["event: message_stop\n", "\r\n0\r\n\r\n"]);
    let tools = r#"{"tools":[{"type":"function","function":{"name":"look"}}],"stream":true}"#;
    check(&post(chat, "", tools), &["text/event-stream", r#""name":"look""#, "data: [DONE]\n\n"]);
    let generate = "/v1beta/models/m-1:streamGenerateContent";
    check(&post(&format!("{generate}?alt=sse"), "", "{}"), &["text/event-stream", "data: {", r#""m-1""#]);
    check(&post(generate, "", "{}"), &[JSON_TYPE, "[{", "}]\n"]);
    check(&post("/v1/audio/speech", "", "{}"), &["content-type: audio/wav\r\n", "RIFF"]);
    check(
        &post("/v1/embeddings", "x-mock-status: 201\r\n", "{}"),
        &["HTTP/1.1 201 Created\r\n", r#""id":"embd-"#],
    );
    check(&post("/v1/nothing", "", ""), &["HTTP/1.1 404 ", "/v1/nothing", "*/chat/completions"]);
    check(&post(chat, "x-mock-status: 429\r\n", ""), &["HTTP/1.1 429 ", JSON_TYPE, "mock_error"]);
    check(&post(&format!("{chat}?a=b&mock_status=529"), "x-mock-status: 500\r\n", ""), &["HTTP/1.1 529 "]);
    check(&post(chat, "x-mock-colour: red\r\n", ""), &["HTTP/1.1 400 ", "x-mock-colour", "count, size"]);
    check(&post(chat, "x-mock-header: set-cookie=a=b\r\n", ""), &["\r\nset-cookie: a=b\r\n"]);
    check(&post(chat, "x-mock-header: content-type=text/html\r\n", ""), &["content-type: text/html\r\n"]);
    check(&post(chat, "x-mock-size: 3\r\n", ""), &[r#""content":"The""#]);
    check(&post(chat, "x-mock-size: 4294967295\r\n", ""), &["HTTP/1.1 400 ", "at most 67108864"]);
    check(
        &post(chat, "te: trailers\r\nx-mock-trailers: a=b\r\n", ""),
        &["trailer: a\r\n", "\r\n0\r\na: b\r\n\r\n"],
    );
    check(&post(chat, "x-mock-garbage: HTTP/1.1 200 OK%0d%0a\r\n", ""), &["HTTP/1.1 200 OK\r\n"]);
    check(
        "POST /v1/messages HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         9\r\n{\"model\":\r\n4\r\n\"m\"}\r\n0\r\n\r\n",
        &[r#""model":"m""#],
    );
}

#[test]
fn injects_faults() {
    let mock = start(Behaviour::default());
    let check = |fields: &str, body: &str, expected: &str, ends: &[Option<ErrorKind>]| {
        let (answer, end) = read(send(&mock, &post("/v1/chat/completions", fields, body)));
        assert!(ends.contains(&end), "{fields}: {end:?}");
        let found = answer.split_once("\r\n\r\n").map_or(answer.as_str(), |(_, body)| body);
        assert_eq!(found, expected, "{fields}");
    };
    let closed = &[None];
    let reset = &[Some(ErrorKind::ConnectionReset)];
    check("x-mock-cut: head\r\n", "", "", closed);
    check("x-mock-cut: 0\r\n", "", "", closed);
    check("x-mock-cut: 5\r\n", "", "{\"id\"", closed);
    check("x-mock-cut: 4\r\n", r#"{"stream":true}"#, "4\r\ndata\r\n", closed);
    check("x-mock-reset: head\r\n", "", "", reset);
    check("x-mock-reset: 5\r\n", "", "{\"id\"", reset);
    check("x-mock-garbage: hello\r\n", "", "hello", closed);
    check("x-mock-status: 204\r\n", "", "", closed);
    assert_eq!(mock.counts().snapshot(), Snapshot { connections: 8, requests: 8, cancelled: 0 });
}

#[test]
fn a_truncated_body_keeps_the_declared_length() {
    let (answer, _) =
        read(send(&start(Behaviour::default()), &post("/v1/messages", "x-mock-cut: 1\r\n", "")));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(length.parse::<usize>().unwrap() > 1, "{length}");
    assert_eq!(body, "{");
}

#[test]
fn echo_describes_the_request() {
    let request = "PUT /a/b?c=d&c=d HTTP/1.1\r\nHost: h\r\nX-B: 1\r\nx-mock-echo: true\r\nX-A: 2\r\n\
                   connection: close\r\ncontent-length: 3\r\n\r\nabc";
    let echo = echo_of(request);
    assert_eq!(echo["method"], "PUT");
    assert_eq!(echo["path"], "/a/b");
    assert_eq!(echo["query"], "c=d&c=d");
    let headers = serde_json::json!([
        ["host", "h"],
        ["x-b", "1"],
        ["x-mock-echo", "true"],
        ["x-a", "2"],
        ["connection", "close"],
        ["content-length", "3"],
    ]);
    assert_eq!(echo["headers"], headers);
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(echo["body"], serde_json::json!({ "length": 3, "sha256": sha256, "text": "abc" }));
    assert_eq!(echo["counts"], serde_json::json!({ "connections": 1, "requests": 1, "cancelled": 0 }));
}

#[test]
fn cancelled_requests_are_counted() {
    let mock = start(Behaviour::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut left = 0;
    let mut check = |fields: &str, body: &str, seen: &str| {
        let mut stream = send(&mock, &post("/v1/messages", fields, body));
        let mut first = vec![0; seen.len()];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(String::from_utf8_lossy(&first), seen);
        drop(stream);
        left += 1;
        let reached = mock.counts().cancelled_reaches(left);
        let in_time = runtime.block_on(async { tokio::time::timeout(DEADLINE, reached).await.is_ok() });
        assert!(in_time, "{fields}");
    };
    check("x-mock-hang: head\r\n", "", "");
    check("x-mock-delay: 1000s\r\n", "", "");
    check("x-mock-hang: 1\r\n", "", "HTTP/1.1 200 OK");
    check("x-mock-interval: 1000s\r\n", r#"{"stream":true}"#, "HTTP/1.1 200 OK");
}

#[test]
fn a_request_overrides_the_behaviour_of_the_mock() {
    let mut behaviour = Behaviour::default();
    behaviour.set("size", "1").unwrap();
    behaviour.set("count", "1").unwrap();
    let mock = start(behaviour);
    let (answer, _) = read(send(&mock, &post("/messages?mock_count=2", "", r#"{"stream":true}"#)));
    assert_eq!(answer.matches(r#""text":"T""#).count(), 2, "{answer}");
}
