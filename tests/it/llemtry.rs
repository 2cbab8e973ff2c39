//! llemtry: the documents that a receiver gets about exchanges over real sockets with the shipped wire formats, and the
//! signs of a receiver that hangs or fails.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::{
    exporters::{Exporting, header, reply},
    harness::{Message, chunk},
};

const JSON: &str = "Content-Type: application/json";
const SSE: &str = "Content-Type: text/event-stream";
/// Endpoints of the shipped formats, after the endpoint `post`.
const ENDPOINTS: &str = "api = \"chat-completions\"\n\
     [endpoint.messages]\nmethod = \"POST\"\npath = \"/messages\"\napi = \"messages\"\n\
     [endpoint.embed]\nmethod = \"POST\"\npath = \"/embed\"\napi = \"embeddings\"\n\
     [[response]]\nwhen = { status = 418 }\nreply = { status = 502, message = \"blocked\" }\n";
const CHAT: (&str, &str) = (
    "/t/post",
    r#"{"model":"m","max_tokens":64,"temperature":0.5,"messages":[{"role":"user","content":"Hello"}],"tools":[]}"#,
);
const MESSAGES: (&str, &str) = (
    "/t/messages",
    r#"{"model":"m","max_tokens":64,"temperature":1,"system":"Be brief","messages":[{"role":"user","content":[{"type":"text","text":"Hello"}]}]}"#,
);

/// A gateway with an exporter, and more keys in its table.
fn gateway(more: &str) -> Exporting {
    let settings = format!(
        "[exporter.llemtry]\nkind = \"llemtry\"\nendpoint = \"URL/spans\"\ntoken_file = \"token\"\n{more}"
    );
    Exporting::with(&settings, ("token", "s3cret\n"), ENDPOINTS, &[])
}

/// The upstream's answer.
fn whole(status: &str, lines: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = format!("Content-Length: {}", body.len());
    let head = [&[status], lines, &[&length, "", ""]].concat().join("\r\n");
    [b"HTTP/1.1 ", head.as_bytes(), body].concat()
}

fn stream(events: &[&str]) -> Vec<u8> {
    let lines: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    whole("200 OK", &[SSE], lines.concat())
}

/// An exchange. An upstream that does not stay closes the connection after its bytes, of which there may be none.
fn exchange(
    exporting: &mut Exporting,
    (path, body): (&str, &str),
    answer: &[u8],
    stays: bool,
) -> Option<Message> {
    let world = &mut exporting.world;
    let mut client = world.client();
    let (token, length) = (&world.token, body.len());
    client.send(format!(
        "POST {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let (request, mut upstream) = world.upstream.request();
    assert_eq!(request.body, body.as_bytes());
    upstream.send(answer);
    if stays {
        world.upstream.keep(upstream);
    } else {
        drop(upstream);
    }
    client.answer().ok()
}

/// The next document. What differs each time is checked, and null then; times are `start` and `end`.
fn document(exporting: &mut Exporting) -> Value {
    let request = exporting.answer("200 OK", b"");
    assert_eq!(request.head.start, "POST /spans HTTP/1.1");
    assert_eq!(header(&request, "authorization"), Some("Bearer s3cret"));
    assert_eq!(header(&request, "content-type"), Some("application/json"));
    let mut document: Value = serde_json::from_slice(&request.body).unwrap();
    let span = &mut document["spans"][0];
    let (trace, id) = (span["traceId"].take(), span["spanId"].take());
    let is_uuid = |id: &Value| uuid_parts(id.as_str().unwrap()) == [8, 4, 4, 4, 12];
    assert!(is_uuid(&trace) && is_uuid(&id) && trace != id);
    assert_eq!(span["attributes"]["openclaw.run.id"].take(), id);
    let (start, end) = (span["startTimeUnixNano"].clone(), span["endTimeUnixNano"].clone());
    let nanoseconds = |time: &Value| time.as_str().unwrap().parse::<u64>().unwrap();
    let now = tollgate::clock::now_ms() * 1_000_000;
    assert!(nanoseconds(&start) <= nanoseconds(&end) && now.abs_diff(nanoseconds(&end)) < 600_000_000_000);
    let named = |time: &Value| if *time == start { "start" } else { "end" };
    for event in span["events"].as_array_mut().unwrap() {
        assert!([&start, &end].contains(&&event["timeUnixNano"]));
        event["timeUnixNano"] = named(&event["timeUnixNano"]).into();
    }
    (span["startTimeUnixNano"], span["endTimeUnixNano"]) = ("start".into(), "end".into());
    document
}

fn uuid_parts(id: &str) -> Vec<usize> {
    id.split('-').map(str::len).collect()
}

/// The whole document, with these attributes beside those of every span, and these events.
fn expected(attributes: &Value, events: &Value) -> Value {
    let mut all =
        json!({ "gen_ai.system": "t", "openclaw.session.id": "ai-gateway", "openclaw.run.id": null });
    all.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    json!({
        "resource": { "serviceName": "openclaw-ai-gateway" },
        "spans": [{
            "traceId": null, "spanId": null, "name": "gen_ai.generate", "kind": "client",
            "startTimeUnixNano": "start", "endTimeUnixNano": "end",
            "status": { "code": "OK" }, "attributes": all, "events": events,
        }],
    })
}

fn prompt(body: &Value) -> Value {
    json!({ "name": "gen_ai.content.prompt", "timeUnixNano": "start", "body": body })
}

fn completion(text: &str) -> Value {
    json!({ "name": "gen_ai.content.completion", "timeUnixNano": "end", "body": text })
}

/// The prompt of [`CHAT`].
fn chat_prompt() -> Value {
    prompt(&json!({ "messages": [{ "role": "user", "content": "Hello" }] }))
}

fn chat_answer() -> String {
    r#"{"id":"c","model":"m-1","choices":[{"message":{"content":"Hi there"},"finish_reason":"stop"},{"message":{"content":"other"}}],"usage":{"prompt_tokens":10,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}"#.to_owned()
}

fn chat_attributes() -> Value {
    json!({
        "gen_ai.request.model": "m-1", "gen_ai.usage.input_tokens": 6, "gen_ai.usage.output_tokens": 7,
        "gen_ai.request.max_tokens": 64, "gen_ai.request.temperature": 0.5, "openclaw.usage.cache_read_tokens": 4,
    })
}

#[test]
fn chat_completions_are_exported() {
    let mut exporting = gateway("");
    let expected = expected(&chat_attributes(), &json!([chat_prompt(), completion("Hi there")]));
    exchange(&mut exporting, CHAT, &whole("200 OK", &[JSON], chat_answer()), true).unwrap();
    assert_eq!(document(&mut exporting), expected);
    let events = [
        r#"{"id":"c","model":"m-1","choices":[{"delta":{"role":"assistant","content":"","reasoning_content":"Think"}}]}"#,
        r#"{"id":"c","model":"m-1","choices":[{"delta":{"content":"Hi"}}]}"#,
        r#"{"id":"c","model":"m-1","choices":[{"delta":{"content":" there"},"finish_reason":"stop"}]}"#,
        r#"{"id":"c","model":"m-1","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}}}"#,
        "[DONE]",
    ];
    exchange(&mut exporting, CHAT, &stream(&events), true).unwrap();
    assert_eq!(document(&mut exporting), expected);
}

#[test]
fn messages_are_exported() {
    let mut exporting = gateway("");
    let messages = json!([{ "role": "user", "content": [{ "type": "text", "text": "Hello" }] }]);
    let prompt = prompt(&json!({ "messages": messages, "system": "Be brief" }));
    let attributes = json!({
        "gen_ai.request.model": "m-2", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 8,
        "gen_ai.request.max_tokens": 64, "gen_ai.request.temperature": 1,
        "openclaw.usage.cache_read_tokens": 3, "openclaw.usage.cache_write_tokens": 2,
    });
    let expected = expected(&attributes, &json!([prompt, completion("Hi there")]));
    let body = r#"{"id":"msg_1","model":"m-2","content":[{"type":"thinking","thinking":"Hm"},{"type":"text","text":"Hi"},{"type":"tool_use","name":"get","input":{"text":"no"}},{"type":"text","text":" there"}],"usage":{"input_tokens":5,"cache_read_input_tokens":3,"cache_creation_input_tokens":2,"output_tokens":8}}"#;
    exchange(&mut exporting, MESSAGES, &whole("200 OK", &[JSON], body), true).unwrap();
    assert_eq!(document(&mut exporting), expected);
    let events = [
        r#"{"type":"message_start","message":{"id":"msg_1","model":"m-2","usage":{"input_tokens":5,"cache_read_input_tokens":3,"cache_creation_input_tokens":2,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hi"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":" there"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":8}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    exchange(&mut exporting, MESSAGES, &stream(&events), true).unwrap();
    assert_eq!(document(&mut exporting), expected);
}

#[test]
fn a_gzip_answer_is_decoded_for_the_export_alone() {
    let mut exporting = gateway("");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(chat_answer().as_bytes()).unwrap();
    let body = encoder.finish().unwrap();
    let answer = whole("200 OK", &[JSON, "Content-Encoding: gzip"], &body);
    let got = exchange(&mut exporting, CHAT, &answer, true).unwrap();
    assert_eq!((header(&got, "content-encoding"), &got.body), (Some("gzip"), &body));
    let expected = expected(&chat_attributes(), &json!([chat_prompt(), completion("Hi there")]));
    assert_eq!(document(&mut exporting), expected);
}

#[test]
fn what_has_no_value_is_left_out() {
    let mut exporting = gateway("");
    let request = ("/t/post", r#"{"messages":[]}"#);
    exchange(&mut exporting, request, &whole("200 OK", &[JSON], r#"{"choices":[]}"#), true).unwrap();
    let attributes = json!({ "gen_ai.request.model": "unknown" });
    let expected_document = expected(&attributes, &json!([prompt(&json!({ "messages": [] }))]));
    assert_eq!(document(&mut exporting), expected_document);
    // Without the receiver's wish for it, no text is kept.
    let mut exporting = gateway("content = false\n");
    exchange(&mut exporting, CHAT, &whole("200 OK", &[JSON], chat_answer()), true).unwrap();
    assert_eq!(document(&mut exporting), expected(&chat_attributes(), &json!([])));
}

/// The formats decide which exchanges are exported: this one has no generated text.
#[test]
fn other_formats_are_exported_if_they_name_content() {
    let mut exporting = gateway("");
    let body = r#"{"model":"e","data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}"#;
    let request = ("/t/embed", r#"{"model":"e","input":"Hello"}"#);
    exchange(&mut exporting, request, &whole("200 OK", &[JSON], body), true).unwrap();
    exchange(&mut exporting, CHAT, &whole("200 OK", &[JSON], chat_answer()), true).unwrap();
    let document = document(&mut exporting);
    let spans = document["spans"].as_array().unwrap();
    let models: Vec<_> = spans.iter().map(|span| &span["attributes"]["gen_ai.request.model"]).collect();
    assert_eq!(models, ["m-1"]);
}

#[test]
fn failed_and_broken_exchanges_have_the_status_error() {
    let mut exporting = gateway("");
    let mut check = |answer: &[u8], stays: bool, outcome: &str, (model, text): (&str, Option<&str>)| {
        exchange(&mut exporting, CHAT, answer, stays);
        let document = document(&mut exporting);
        let span = &document["spans"][0];
        assert_eq!(span["status"], json!({ "code": "ERROR", "message": outcome }), "{document}");
        assert_eq!(span["attributes"]["gen_ai.request.model"], model);
        let events: Vec<_> = [chat_prompt()].into_iter().chain(text.map(completion)).collect();
        assert_eq!(span["events"], Value::from(events), "{outcome}");
        // Tokens of an answer that used none have no value.
        assert_eq!(span["attributes"]["gen_ai.usage.output_tokens"].is_null(), text.is_none());
    };
    let event = r#"{"model":"m-1","choices":[{"delta":{"content":"Hi"}}]}"#;
    let error = r#"{"error":{"code":502,"message":"gone"},"choices":[]}"#;
    check(&stream(&[event, error]), true, "upstream_error", ("m-1", Some("Hi")));
    let head = format!("HTTP/1.1 200 OK\r\n{SSE}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let cut = [head.as_bytes(), &chunk(format!("data: {event}\n\n").as_bytes())].concat();
    check(&cut, false, "cut", ("m-1", Some("Hi")));
    let failed = |status: &str| whole(status, &[JSON], r#"{"error":{"message":"no"},"model":"m-1"}"#);
    check(&failed("500 Internal Server Error"), true, "upstream_error", ("m", None));
    check(&failed("429 Too Many Requests"), true, "upstream_limited", ("m", None));
    check(&failed("400 Bad Request"), true, "upstream_rejected", ("m", None));
    check(&failed("418 Teapot"), false, "upstream_failed", ("m", None));
    check(b"", false, "upstream_failed", ("m", None));
}

#[test]
fn a_receiver_that_fails_shows_in_the_status() {
    let mut exporting = gateway("");
    exchange(&mut exporting, CHAT, &whole("200 OK", &[JSON], chat_answer()), true).unwrap();
    let first = exporting.answer("500 Internal Server Error", b"");
    let state = exporting.state(|state| state["problem"].is_string());
    assert!(
        state["problem"].as_str().unwrap().starts_with("it answered 500") && state["queued"] == 1,
        "{state}"
    );
    assert_eq!(exporting.answer("200 OK", b"").body, first.body, "the same batch");
    exporting.state(|state| state["sent"] == 1 && state["queued"] == 0);
    exchange(&mut exporting, CHAT, &whole("200 OK", &[JSON], chat_answer()), true).unwrap();
    exporting.answer("403 Forbidden", b"");
    exporting.state(|state| state["failed"] == 1 && state["queued"] == 0);
    let shown = exporting.world.home.run(&["status"], "");
    let expected = "exporter llemtry, spans: 1 sent, 0 queued, 0 dropped, 1 given up; the last attempt failed: it answered 403";
    assert!(shown.out.contains(expected), "{shown:?}");
}

/// No client waits: what does not fit into the queue is dropped.
#[test]
fn a_receiver_that_hangs_costs_spans_alone() {
    let mut exporting = gateway("");
    let text = "x".repeat(100_000);
    let message = json!({ "role": "user", "content": text });
    let body = json!({ "model": "m", "messages": [message, message, message, message] }).to_string();
    let answer = whole("200 OK", &[JSON], chat_answer());
    exchange(&mut exporting, ("/t/post", &body), &answer, true).unwrap();
    let (_, mut wire) = exporting.collector.request();
    // 16 MiB are 41 of them.
    for _ in 0..50 {
        exchange(&mut exporting, ("/t/post", &body), &answer, true).unwrap();
    }
    let number = |state: &Value, name: &str| state[name].as_u64().unwrap();
    let state = exporting.state(|state| number(state, "queued") + number(state, "dropped") == 51);
    assert!(number(&state, "dropped") >= 9, "{state}");
    let shown = exporting.world.home.run(&["status"], "");
    let dropped = format!("dropped since the start: {} by `exporter.llemtry.spans`", state["dropped"]);
    assert!(shown.out.contains(&dropped), "{shown:?}");
    reply(&mut wire, "200 OK", b"");
    exporting.collector.keep(wire);
    let mut delivered = 1;
    while delivered < number(&state, "queued") {
        let request = exporting.answer("200 OK", b"");
        let document: Value = serde_json::from_slice(&request.body).unwrap();
        delivered += u64::try_from(document["spans"].as_array().unwrap().len()).unwrap();
    }
    exporting.state(|state| number(state, "queued") == 0);
}
