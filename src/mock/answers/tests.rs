use http::Method;
use serde_json::{Value, json};

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
        let options = ResponseOptions { stream, usage, ..ResponseOptions::default() };
        let found = Served::find(method, path).and_then(|served| served.shape(options));
        assert_eq!(found, expected, "{method} {path}");
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
    check(post, "/v1/embeddings", true, false, None);
    check(post, "/v1beta/models/m:generateContent", false, false, Some(Shape::Generate));
    check(post, "/v1beta/models/m:streamGenerateContent", false, false, Some(Shape::GenerateArray));
    check(post, "/v1beta/models/:generateContent", false, false, None);
    check(post, "/v2/chat", true, false, Some(Shape::ChatV2Stream));
    check(post, "/v2/chat", false, false, Some(Shape::ChatV2));
    check(post, "/api/chat", false, false, None);
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
        if let Some(usage) = json.get("usage").filter(|_| shape != Shape::ChatV2) {
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
    check(
        Shape::ChatV2Stream,
        2,
        &["message-start", "content-start", "content-delta", "content-delta", "content-end", "message-end"],
    );
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

/// A stream of generated content is a list of events, or a JSON array.
#[test]
fn generated_content_is_streamed_in_two_framings() {
    let parts: Vec<Value> = events(Shape::GenerateStream, 3)
        .iter()
        .map(|(_, data)| serde_json::from_str(data).unwrap())
        .collect();
    for count in [0, 1, 3] {
        let events = Script::render(Shape::GenerateArray, count, 5).events(MODEL_JSON);
        let mut text = events.head.to_vec();
        (0..count).for_each(|number| text.extend_from_slice(&events.delta.number(number)));
        text.extend_from_slice(&events.tail);
        let array: Vec<Value> = serde_json::from_slice(&text).unwrap();
        assert_eq!(array.len(), count as usize + 1);
        assert!(count != 3 || array == parts, "{array:?}");
    }
    let last = &parts[3];
    assert_eq!((&last["modelVersion"], &last["usageMetadata"]["totalTokenCount"]), (&json!("m"), &json!(28)));
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
}

/// Each path of the table leads to its own row.
#[test]
fn every_path_is_found() {
    for (method, path, expected) in SERVED {
        let asked = format!("/prefix{}", path.replace('*', "x"));
        assert_eq!(Served::find(method, &asked), Some(*expected), "{method} {asked}");
    }
}

const TOOL: &str = r##"{"type":"object","properties":{"city":{"type":"string"},"n":{"$ref":"#/$defs/n"},"unit":{"enum":["C","F"]},"x":{"anyOf":[{"type":"boolean"},{"type":"null"}]}},"$defs":{"n":{"type":"INTEGER"}}}"##;

fn call(served: Served, body: &Value) -> Option<Call> {
    Call::wanted(served, body)
}

#[test]
fn a_tool_is_called_until_its_result_is_there() {
    let schema: Value = serde_json::from_str(TOOL).unwrap();
    let chat = json!([{ "type": "function", "function": { "name": "look", "parameters": schema } }]);
    let plain = json!([{ "type": "function", "name": "look", "parameters": schema }]);
    let blocks = json!([{ "name": "look", "input_schema": schema }]);
    let declared = json!([{ "functionDeclarations": [{ "name": "look", "parameters": schema }] }]);
    let user = json!([{ "role": "user", "content": "x" }]);
    let parts = |part: Value| json!([{ "parts": [{ "text": "x" }] }, { "parts": [part] }]);
    let check = |served: Served, tools: &Value, key: &str, before: Value, after: Value| {
        let body = json!({ "tools": tools, key: before });
        let found = call(served, &body).unwrap();
        assert_eq!(format!("{found:?}"), format!("{:?}", call(served, &body).unwrap()));
        let text = found.unary(served, &json!("m")).to_string();
        for part in ["look", "city", "Paris", "21", "unit", "C", "true"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let stream = found.stream(served, &json!("m"), true);
        let blocks = stream.strip_suffix("\n\n").unwrap().split("\n\n");
        let all = blocks.map(|block| block.rsplit_once("data: ").unwrap().1);
        all.filter(|data| *data != "[DONE]")
            .for_each(|data| assert!(serde_json::from_str::<Value>(data).is_ok()));
        assert!(stream.contains("look") && stream.contains("Paris"), "{stream}");
        assert_eq!(call(served, &json!({ "tools": tools, key: after })), None);
        assert_eq!(call(served, &json!({ "tools": tools, "tool_choice": "none", key: before })), None);
        let four: Vec<&Value> = tools.as_array().unwrap().iter().cycle().take(4).collect();
        assert_eq!(call(served, &json!({ "tools": four, key: before })), None);
    };
    let result = json!([{ "role": "user", "content": "x" }, { "role": "tool", "content": "y" }]);
    check(Served::Chat, &chat, "messages", user.clone(), result.clone());
    check(Served::ChatV2, &chat, "messages", user.clone(), result);
    let result = json!([{ "role": "user", "content": [{ "type": "tool_result", "content": "y" }] }]);
    check(Served::Messages, &blocks, "messages", user.clone(), result);
    check(Served::Responses, &plain, "input", user, json!([{ "type": "function_call_output" }]));
    let response = json!({ "functionResponse": { "name": "look" } });
    for served in [Served::Generate, Served::GenerateStream] {
        check(served, &declared, "contents", parts(json!({ "text": "y" })), parts(response.clone()));
    }
    assert_eq!(call(Served::Chat, &json!({ "tools": [] })), None);
    assert_eq!(call(Served::Chat, &json!({ "tools": [{ "type": "x" }] })), None);
}

/// The JSON of an endpoint without a shape.
fn json_of(served: Served, path: &str, body: &str) -> Value {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    match made(served, Asked { path, json: &json, body: body.as_bytes(), length: body.len() as u64 }) {
        Made::Json(value) => value,
        Made::Other(kind, _) => panic!("{kind}"),
    }
}

#[test]
fn there_are_as_many_answers_as_inputs() {
    let check = |served: Served, body: &str, pointer: &str, expected: usize| {
        let found = json_of(served, "/x", body);
        assert_eq!(found.pointer(pointer).unwrap().as_array().unwrap().len(), expected, "{body}");
    };
    check(Served::Embeddings, r#"{"input":"a"}"#, "/data", 1);
    check(Served::Embeddings, r#"{"input":["a","b","c"]}"#, "/data", 3);
    check(Served::Embeddings, r#"{"input":[1,2,3]}"#, "/data", 1);
    check(Served::EmbedContents, r#"{"requests":[{},{}]}"#, "/embeddings", 2);
    check(Served::EmbedV2, r#"{"texts":["a","b"]}"#, "/embeddings/float", 2);
    check(Served::Rerank, r#"{"documents":["a","b","c"]}"#, "/results", 3);
    check(Served::Rerank, r#"{"documents":["a","b","c"],"top_n":2}"#, "/results", 2);
    check(Served::Embeddings, &format!("{{\"input\":[{}\"\"]}}", "\"\",".repeat(5000)), "/data", 2048);
    let text = json_of(Served::Embeddings, "/x", r#"{"input":"a","encoding_format":"base64"}"#);
    assert_eq!(text["data"][0]["embedding"].as_str().unwrap().len(), 44);
    assert!(text["id"].is_string());
}

#[test]
fn files_and_batches_have_the_ids_of_their_paths() {
    let form = "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\ncontent-disposition: form-data; \
                name=\"file\"; filename=\"a.jsonl\"\r\ncontent-type: text/plain\r\n\r\nhello\r\n--b--\r\n";
    let uploaded = json_of(Served::Upload, "/v1/files", form);
    assert_eq!((&uploaded["filename"], &uploaded["bytes"]), (&json!("a.jsonl"), &json!(5)));
    assert_eq!(json_of(Served::File, "/v1/files/f-1", "")["id"], "f-1");
    assert_eq!(json_of(Served::DeletedFile, "/v1/files/f-1", "")["deleted"], true);
    assert_eq!(json_of(Served::Batch, "/v1/batches/b-1", "")["id"], "b-1");
    assert_eq!(json_of(Served::CancelledBatch, "/v1/batches/b-1/cancel", "")["id"], "b-1");
    assert_eq!(
        json_of(Served::NewBatch, "/v1/batches", r#"{"input_file_id":"f-1"}"#)["input_file_id"],
        "f-1"
    );
    assert_eq!(json_of(Served::Model, "/v1/models/m-1", "")["id"], "m-1");
    assert_eq!(model_of("/v1beta/models/m-1:generateContent"), "m-1");
}

#[test]
fn a_sound_has_the_size_that_it_says() {
    let Made::Other(_, wav) =
        made(Served::Speech, Asked { path: "", json: &Value::Null, body: b"", length: 0 })
    else {
        panic!("it is no JSON");
    };
    let number = |at: usize| u32::from_le_bytes(wav[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((&wav[..4], &wav[8..16], &wav[36..40]), (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..]));
    assert_eq!((number(4), number(40)), (wav.len() - 8, wav.len() - 44));
}
