use serde_json::Value;

use super::*;

const MODEL_JSON: &str = "\"m\"";

/// The data of every event, with the name from its `event:` line.
fn events(shape: Shape, count: u32) -> Vec<(Option<String>, String)> {
    let events = Script::render(shape, count, 5).events(MODEL_JSON);
    let mut stream = events.head.to_vec();
    for number in 0..events.count {
        stream.extend_from_slice(&events.delta.number(number));
    }
    stream.extend_from_slice(&events.tail);
    let stream = String::from_utf8(stream).unwrap();
    let blocks = stream.strip_suffix("\n\n").unwrap().split("\n\n");
    blocks
        .map(|block| match block.split_once('\n') {
            Some((name, data)) => (name.strip_prefix("event: ").map(str::to_owned), data),
            None => (None, block),
        })
        .map(|(name, data)| (name, data.strip_prefix("data: ").unwrap().to_owned()))
        .collect()
}

#[test]
fn selects_shapes_by_method_and_path() {
    let check = |method: &Method, path: &str, stream: bool, usage: bool, expected: Option<Shape>| {
        assert_eq!(Shape::find(method, path, ResponseOptions { stream, usage }), expected, "{method} {path}");
    };
    let (get, post) = (&Method::GET, &Method::POST);
    check(post, "/chat/completions", false, false, Some(Shape::Chat));
    check(post, "/a/b/v1/chat/completions", true, false, Some(Shape::ChatStream));
    check(post, "/v1/chat/completions", true, true, Some(Shape::ChatStreamUsage));
    check(post, "/v1/chat/completions", false, true, Some(Shape::Chat));
    check(post, "/v1/messages", false, false, Some(Shape::Messages));
    check(post, "/v1/messages", true, false, Some(Shape::MessagesStream));
    check(post, "/v1/messages/count_tokens", true, false, Some(Shape::CountTokens));
    check(post, "/v1/responses", false, false, Some(Shape::Responses));
    check(post, "/v1/responses", true, false, Some(Shape::ResponsesStream));
    check(post, "/v1/embeddings", true, false, Some(Shape::Embeddings));
    check(get, "/v1/models", false, false, Some(Shape::Models));
    check(post, "/v1/models", false, false, None);
    check(get, "/v1/messages", false, false, None);
    check(post, "/v1/messages/", false, false, None);
    check(post, "/v1/xmessages", false, false, None);
}

#[test]
fn unary_answers_are_json() {
    for shape in Shape::ALL.into_iter().filter(|shape| !shape.is_stream()) {
        let body = Script::render(shape, 3, 5).unary(MODEL_JSON);
        let json: Value = serde_json::from_slice(&body).unwrap();
        if let Some(usage) = json.get("usage") {
            assert_eq!(json["model"], "m", "{shape:?}");
            assert!(usage.is_object(), "{shape:?}");
        }
    }
}

#[test]
fn streams_have_their_events_in_order() {
    let check = |shape: Shape, count: u32, sequence: &[&str]| {
        let found = events(shape, count);
        let kinds: Vec<_> = found.iter().map(|(name, data)| kind(name.as_deref(), data)).collect();
        assert_eq!(kinds, sequence, "{shape:?}");
    };
    check(Shape::ChatStream, 2, &["role", "text", "text", "stop", "[DONE]"]);
    check(Shape::ChatStream, 0, &["role", "stop", "[DONE]"]);
    check(Shape::ChatStreamUsage, 1, &["role", "text", "stop", "usage", "[DONE]"]);
    check(
        Shape::MessagesStream,
        1,
        &[
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ],
    );
    check(
        Shape::ResponsesStream,
        2,
        &[
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ],
    );
}

/// The kind of an event: its type, which must equal its name, or the content of a chat chunk.
fn kind(name: Option<&str>, data: &str) -> String {
    if data == "[DONE]" {
        return data.to_owned();
    }
    let json: Value = serde_json::from_str(data).unwrap();
    if let Some(name) = name {
        assert_eq!(json["type"], name);
        return name.to_owned();
    }
    let delta = json.pointer("/choices/0/delta");
    let kind = match delta {
        None => "usage",
        Some(delta) if delta.get("role").is_some() => "role",
        Some(delta) if delta["content"] == "The m" => "text",
        Some(_) => "stop",
    };
    assert_eq!(kind == "usage", json.get("usage").is_some_and(Value::is_object));
    kind.to_owned()
}

#[test]
fn sequence_numbers_increase_and_the_last_event_has_the_complete_text() {
    let found = events(Shape::ResponsesStream, 12);
    let json: Vec<Value> = found.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    for (number, event) in json.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let last = &json.last().unwrap()["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], "The m".repeat(12));
    assert_eq!(last["usage"]["total_tokens"], 25 + 12);
}
