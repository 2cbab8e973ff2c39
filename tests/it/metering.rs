//! Usage of exchanges over real sockets, as the access log shows it: the shipped formats, codings, broken exchanges, and
//! upstreams that lie. Every answer passes byte for byte.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};

use crate::harness::{Wire, World, chunk};

const JSON: &str = "Content-Type: application/json";
const SSE: &str = "Content-Type: text/event-stream";
const ASKED: &str =
    r#"{"model":"m-1","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"12345678"}]}"#;
const USAGE: &str = r#""usage":{"prompt_tokens":10,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}"#;

/// A gateway whose endpoint `post` has an api.
fn world(api: &str) -> World {
    World::with(&format!("api = \"{api}\"\n"), &[])
}

/// Sends a request. Returns the client's end, and the upstream's, which has read the request.
fn asked(world: &mut World, body: &str) -> (Wire, Wire) {
    asked_with(world, "Accept: */*", body.as_bytes())
}

/// The same with a line of its head, which the upstream gets.
fn asked_with(world: &mut World, line: &str, body: &[u8]) -> (Wire, Wire) {
    let mut client = world.client();
    let (token, length) = (&world.token, body.len());
    client.send(format!(
        "POST /t/post HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\n{line}\r\nContent-Length: {length}\r\n\r\n"
    ));
    client.send(body);
    let (request, upstream) = world.upstream.request();
    assert!(request.body == body, "the body is changed");
    let (name, value) = line.split_once(": ").unwrap();
    assert_eq!(request.head.get(&name.to_ascii_lowercase()), Some(value));
    (client, upstream)
}

/// The access log's line about a request with such a line and body, and an answer of `{}`.
fn line_of_request(world: &mut World, line: &str, body: &[u8]) -> Value {
    let (mut client, mut upstream) = asked_with(world, line, body);
    upstream.send(format!("HTTP/1.1 200 OK\r\n{JSON}\r\nContent-Length: 2\r\n\r\n{{}}"));
    assert!(client.answer().is_ok_and(|answer| answer.body == b"{}"));
    world.gateway.wait_for_log("request")
}

/// The access log's line about an exchange with this answer, which the client gets byte for byte.
fn line(world: &mut World, status: &str, lines: &[&str], body: &[u8]) -> Value {
    let (mut client, mut upstream) = asked(world, ASKED);
    let length = format!("Content-Length: {}", body.len());
    let head = [&[status], lines, &[&length, "", ""]].concat().join("\r\n");
    upstream.send(format!("HTTP/1.1 {head}"));
    upstream.send(body);
    let answer = client.answer().unwrap_or_else(|broken| panic!("{broken:?}"));
    assert!(answer.body == body, "the body is changed");
    world.gateway.wait_for_log("request")
}

/// The fields of the usage that are there.
fn usage(line: &Value) -> Value {
    let of_usage = |name: &str| {
        name.starts_with("usage_")
            || name.starts_with("estimated_")
            || ["not_counted", "failed"].contains(&name)
    };
    line.as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| of_usage(name))
        .map(|(a, b)| (a.clone(), b.clone()))
        .collect()
}

fn counted() -> Value {
    json!({ "usage_input": 6, "usage_cache_read": 4, "usage_output": 5, "usage_reasoning": 2 })
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn answers_in_one_piece_are_counted_in_any_coding() {
    let mut world = world("chat-completions");
    let body = format!(
        r#"{{"id":"c-1","model":"m-1-2026","choices":[{{"message":{{"content":"hi"}},"finish_reason":"stop"}}],{USAGE}}}"#
    );
    let plain = line(&mut world, "200 OK", &[JSON], body.as_bytes());
    assert_eq!(usage(&plain), counted());
    let fields = ["model", "request_model", "response_id", "finish_reason", "max_output", "outcome"];
    let fields: Value = fields.iter().map(|name| plain[name].clone()).collect();
    assert_eq!(fields, json!(["m-1-2026", "m-1", "c-1", "stop", 9, "success"]));
    let encoded = gzip(body.as_bytes());
    assert_eq!(usage(&line(&mut world, "200 OK", &[JSON, "Content-Encoding: gzip"], &encoded)), counted());
    let unread = json!({ "not_counted": "content_coding" });
    let other = line(&mut world, "200 OK", &[JSON, "Content-Encoding: lzma"], &encoded);
    assert_eq!(usage(&other)["not_counted"], unread["not_counted"]);
    let damaged = line(&mut world, "200 OK", &[JSON, "Content-Encoding: gzip"], body.as_bytes());
    assert_eq!(usage(&damaged)["not_counted"], unread["not_counted"]);
}

/// The request is read as the upstream reads it: the model, the limit and the text of the prompt.
#[test]
fn requests_are_read_in_any_coding() {
    let mut world = world("chat-completions");
    let mut read = |coding: &str, body: &[u8]| {
        let shown = line_of_request(&mut world, &format!("Content-Encoding: {coding}"), body);
        json!([shown["request_model"], shown["max_output"], shown["prompt_text_bytes"]])
    };
    let long = ASKED.replace("12345678", &"12345678".repeat(20_000));
    let zstd = |body: &str| compress_to_vec(body.as_bytes(), CompressionLevel::Fastest);
    assert_eq!(read("identity", ASKED.as_bytes()), json!(["m-1", 9, 8]));
    assert_eq!(read("gzip", &gzip(ASKED.as_bytes())), json!(["m-1", 9, 8]));
    assert_eq!(read("zstd", &zstd(ASKED)), json!(["m-1", 9, 8]));
    assert_eq!(read("zstd", &zstd(&long)), json!(["m-1", 9, 160_000]));
    let mut damaged = zstd(ASKED);
    damaged[0] = 0;
    for (coding, body) in [("zstd", &damaged[..]), ("gzip", ASKED.as_bytes()), ("lzma", b"any")] {
        assert_eq!(read(coding, body), json!([null, null, null]), "{coding}");
    }
}

#[test]
fn forms_are_read_field_by_field() {
    let mut world = world("transcription");
    let file = "\r\n--edge-\r\n\u{0}".repeat(20_000);
    let form = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n{file}\r\n\
         --edge\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm-1\r\n--edge--\r\n"
    );
    let kind = "Content-Type: multipart/form-data; boundary=edge";
    let shown = line_of_request(&mut world, kind, form.as_bytes());
    assert_eq!((&shown["model"], &shown["request_model"]), (&json!("m-1"), &json!("m-1")));
}

#[test]
fn streams_are_counted_and_else_estimated() {
    let mut world = world("chat-completions");
    let event = |text: &str| {
        format!("data: {{\"model\":\"m-1\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    let last = format!("data: {{\"model\":\"m-1\",\"choices\":[],{USAGE}}}\n\ndata: [DONE]\n\n");
    let with = [event("one"), event("two"), last].concat();
    let shown = line(&mut world, "200 OK", &[SSE], with.as_bytes());
    assert_eq!((usage(&shown), &shown["streamed"]), (counted(), &json!(true)));
    let without = [event("12345678").repeat(50), "data: [DONE]\n\n".into()].concat();
    let shown = usage(&line(&mut world, "200 OK", &[SSE], without.as_bytes()));
    let output = shown["usage_output"].as_u64().unwrap();
    assert!(output > 10 && shown["estimated_output"] == output, "{shown}");
    assert_eq!(shown["estimated_input"], shown["usage_input"]);
}

#[test]
fn messages_are_counted_with_their_own_api() {
    let mut world = world("messages");
    let start = r#"{"type":"message_start","message":{"id":"msg_1","model":"m-2","usage":{"input_tokens":5,"cache_read_input_tokens":3,"cache_creation_input_tokens":2,"output_tokens":1}}}"#;
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":8}}"#;
    let body = format!("event: message_start\ndata: {start}\n\nevent: message_delta\ndata: {end}\n\n");
    let shown = line(&mut world, "200 OK", &[SSE], body.as_bytes());
    let expected =
        json!({ "usage_input": 5, "usage_output": 8, "usage_cache_read": 3, "usage_cache_write": 2 });
    assert_eq!((usage(&shown), &shown["finish_reason"]), (expected, &json!("end_turn")));
}

/// A client that swaps two settings, and an upstream that echoes headers.
#[test]
fn labels_show_no_token_and_no_key() {
    let mut world = world("chat-completions");
    let token = world.token.clone();
    let (mut client, mut upstream) = asked(&mut world, &format!(r#"{{"model":"{token}","messages":[]}}"#));
    let key = crate::harness::KEY;
    let body = format!(
        r#"{{"id":"{token}","model":"echo {key}","choices":[{{"finish_reason":"{token}"}}],{USAGE}}}"#
    );
    upstream.send(format!("HTTP/1.1 200 OK\r\n{JSON}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert!(client.answer().is_ok_and(|answer| answer.body == body.as_bytes()));
    let line = world.gateway.wait_for_log("request");
    for name in ["model", "request_model", "response_id", "finish_reason"] {
        assert_eq!(line[name], "***", "{name}");
    }
    let log = world.gateway.log().join("\n");
    assert!(!log.contains(&token) && !log.contains(key));
}

/// The log line of an exchange that the client or the upstream breaks off.
fn broken_off(world: &mut World, client: Wire, upstream: Wire, client_leaves: bool) -> Value {
    let (first, last) = if client_leaves { (client, upstream) } else { (upstream, client) };
    drop(first);
    let shown = world.gateway.wait_for_log("request");
    drop(last);
    shown
}

#[test]
fn broken_exchanges_have_what_was_seen() {
    let mut world = world("chat-completions");
    for client_leaves in [false, true] {
        let (mut client, mut upstream) = asked(&mut world, ASKED);
        upstream.send(format!("HTTP/1.1 200 OK\r\n{SSE}\r\nTransfer-Encoding: chunked\r\n\r\n"));
        upstream.send(chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"0123456789\"}}]}\n\n"));
        client.head().unwrap();
        client.chunk().unwrap();
        let shown = broken_off(&mut world, client, upstream, client_leaves);
        let end = if client_leaves { "client_left" } else { "cut" };
        assert_eq!((&shown["end"], &shown["answer_text_bytes"]), (&json!(end), &json!(10)));
        let shown = usage(&shown);
        assert!(shown["usage_output"].as_u64() >= Some(1), "{shown}");
        assert_eq!(shown["estimated_output"], shown["usage_output"]);
    }
}

/// The upstream may bill the prompt.
#[test]
fn exchanges_that_break_off_before_an_answer_have_their_prompt() {
    let mut world = world("chat-completions");
    for client_leaves in [false, true] {
        let (client, upstream) = asked(&mut world, ASKED);
        let shown = broken_off(&mut world, client, upstream, client_leaves);
        assert_eq!(shown["request_model"], "m-1");
        assert_eq!(usage(&shown), json!({ "usage_input": 2, "estimated_input": 2 }));
    }
}

#[test]
fn errors_use_nothing_and_lies_are_not_counted() {
    let mut world = world("chat-completions");
    let shown = line(&mut world, "500 Internal Server Error", &[JSON], format!("{{{USAGE}}}").as_bytes());
    assert_eq!(usage(&shown), json!({}));
    let mut check = |count: &str, reason: &str| {
        let body = format!("{{\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":{count}}}}}");
        let shown = line(&mut world, "200 OK", &[JSON], body.as_bytes());
        assert_eq!(usage(&shown)["not_counted"], reason, "{count}");
    };
    for count in ["-1", "1e300", "\"7\"", "7.5", "[7]"] {
        check(count, "bad_count");
    }
    let shown = line(&mut world, "200 OK", &[JSON], b"<html>");
    assert_eq!(usage(&shown)["not_counted"], "wrong_format");
    let shown = line(&mut world, "200 OK", &["Content-Type: text/html"], b"<html>");
    assert_eq!(usage(&shown)["not_counted"], "content_type");
}
