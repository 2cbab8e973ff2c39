//! Calls of tools. A request with tools is answered with a call of the first one, and with a text once the result is among
//! its messages.
//!
//! Values of arguments are made by the tool's schema. Pure, like all answers.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{CREATED, INPUT_TOKENS, served::Served};

/// Coding agents bring more tools than this, and would run the call: they get a text.
const MAX_TOOLS: usize = 3;
/// The deepest schema that values are made for.
const MAX_DEPTH: usize = 8;
/// The most members of an object that is made.
const MAX_MEMBERS: usize = 64;
const OUTPUT_TOKENS: u32 = 12;
const ID: &str = "call_mock0000000000000001";

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Call {
    name: String,
    arguments: Value,
}

impl Call {
    /// The call that answers a request. None if it has no tools, too many, or the result of a call, and if it wants none.
    pub(in super::super) fn wanted(served: Served, body: &Value) -> Option<Self> {
        let tools = body["tools"].as_array()?;
        let functions: Vec<&Value> = match served {
            Served::Generate | Served::GenerateStream => {
                tools.iter().filter_map(|tool| tool["functionDeclarations"].as_array()).flatten().collect()
            }
            Served::Chat | Served::ChatV2 => tools.iter().map(|tool| &tool["function"]).collect(),
            _ => tools.iter().collect(),
        };
        if functions.len() > MAX_TOOLS || has_result(served, body) || wants_none(body) {
            return None;
        }
        let first = functions.into_iter().find(|one| one["name"].is_string())?;
        let keys = ["parameters", "input_schema", "parametersJsonSchema", "parameters_json_schema"];
        let schema = keys.into_iter().find_map(|key| first.get(key));
        let arguments = schema.map_or_else(|| json!({}), |schema| made(schema, schema, 0));
        Some(Self { name: first["name"].as_str()?.to_owned(), arguments })
    }

    /// The whole response.
    pub(in super::super) fn unary(&self, served: Served, model: &Value) -> Value {
        let Self { name, arguments } = self;
        let output = OUTPUT_TOKENS;
        match served {
            Served::Messages => json!({
                "id": "msg_mock00000000000000000001", "type": "message", "role": "assistant", "model": model,
                "content": [{ "type": "tool_use", "id": ID, "name": name, "input": arguments }],
                "stop_reason": "tool_use", "stop_sequence": null,
                "usage": { "input_tokens": INPUT_TOKENS, "output_tokens": output },
            }),
            Served::Responses => response(model, "completed", &json!([self.item("completed", true)])),
            Served::Generate | Served::GenerateStream => json!({
                "candidates": [{
                    "content": { "parts": [{ "functionCall": { "name": name, "args": arguments } }], "role": "model" },
                    "finishReason": "STOP", "index": 0,
                }],
                "usageMetadata": {
                    "promptTokenCount": INPUT_TOKENS, "candidatesTokenCount": output,
                    "totalTokenCount": INPUT_TOKENS + output,
                },
                "modelVersion": model, "responseId": "mock00000000000000000001",
            }),
            Served::ChatV2 => json!({
                "id": "mock0000-0000-0000-0000-000000000001", "finish_reason": "TOOL_CALL",
                "message": { "role": "assistant", "tool_plan": "Call the tool.", "tool_calls": [self.function(true)] },
                "usage": v2_usage(),
            }),
            _ => json!({
                "id": "chatcmpl-mock00000000000000000001", "object": "chat.completion", "created": CREATED, "model": model,
                "choices": [{
                    "index": 0, "logprobs": null, "finish_reason": "tool_calls",
                    "message": { "role": "assistant", "content": null, "refusal": null, "tool_calls": [self.function(true)] },
                }],
                "usage": chat_usage(),
            }),
        }
    }

    /// The events of a stream. `usage` asks for an event with it.
    pub(in super::super) fn stream(&self, served: Served, model: &Value, usage: bool) -> String {
        match served {
            Served::Messages => named(self.message_events(model)),
            Served::Responses => named(self.response_events(model)),
            Served::GenerateStream => unnamed([self.unary(served, model)]),
            Served::ChatV2 => named(self.v2_events()),
            _ => format!("{}data: [DONE]\n\n", unnamed(self.chat_events(model, usage))),
        }
    }

    fn text(&self) -> String {
        self.arguments.to_string()
    }

    /// The call in a chat, with or without its arguments.
    fn function(&self, whole: bool) -> Value {
        let arguments = if whole { self.text() } else { String::new() };
        json!({ "id": ID, "type": "function", "function": { "name": self.name, "arguments": arguments } })
    }

    fn chat_events(&self, model: &Value, usage: bool) -> Vec<Value> {
        let chunk = |delta: Value, end: Value| {
            let mut chunk = json!({
                "id": "chatcmpl-mock00000000000000000001", "object": "chat.completion.chunk", "created": CREATED,
                "model": model,
                "choices": [{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": end }],
            });
            if usage {
                chunk["usage"] = Value::Null;
            }
            chunk
        };
        // In one part: some readers take no name that comes apart from the arguments.
        let mut call = self.function(true);
        call["index"] = json!(0);
        let mut events = vec![
            chunk(json!({ "role": "assistant", "content": null, "tool_calls": [call] }), Value::Null),
            chunk(json!({}), json!("tool_calls")),
        ];
        if usage {
            let mut last = chunk(json!({}), Value::Null);
            last["choices"] = json!([]);
            last["usage"] = chat_usage();
            events.push(last);
        }
        events
    }

    fn message_events(&self, model: &Value) -> Vec<Value> {
        let mut message = self.unary(Served::Messages, model);
        message["content"] = json!([]);
        message["stop_reason"] = Value::Null;
        let block = json!({ "type": "tool_use", "id": ID, "name": self.name, "input": {} });
        let delta = json!({ "type": "input_json_delta", "partial_json": self.text() });
        let stop = json!({ "stop_reason": "tool_use", "stop_sequence": null });
        vec![
            json!({ "type": "message_start", "message": message }),
            json!({ "type": "content_block_start", "index": 0, "content_block": block }),
            json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "delta": stop, "usage": { "output_tokens": OUTPUT_TOKENS } }),
            json!({ "type": "message_stop" }),
        ]
    }

    /// The call among the output of a response, with or without its arguments.
    fn item(&self, status: &str, whole: bool) -> Value {
        let arguments = if whole { self.text() } else { String::new() };
        json!({
            "type": "function_call", "id": "fc_mock00000000000000000001", "call_id": ID, "name": self.name,
            "arguments": arguments, "status": status,
        })
    }

    fn response_events(&self, model: &Value) -> Vec<Value> {
        let item = "fc_mock00000000000000000001";
        let done = self.item("completed", true);
        let mut events = vec![
            json!({ "type": "response.created", "response": response(model, "in_progress", &json!([])) }),
            json!({ "type": "response.output_item.added", "output_index": 0, "item": self.item("in_progress", false) }),
            json!({
                "type": "response.function_call_arguments.delta", "item_id": item, "output_index": 0, "delta": self.text(),
            }),
            json!({
                "type": "response.function_call_arguments.done", "item_id": item, "output_index": 0, "name": self.name,
                "arguments": self.text(),
            }),
            json!({ "type": "response.output_item.done", "output_index": 0, "item": done }),
            json!({ "type": "response.completed", "response": response(model, "completed", &json!([done])) }),
        ];
        for (number, event) in events.iter_mut().enumerate() {
            event["sequence_number"] = json!(number);
        }
        events
    }

    fn v2_events(&self) -> Vec<Value> {
        let id = "mock0000-0000-0000-0000-000000000001";
        let message =
            json!({ "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [] });
        let part = |calls: Value| json!({ "message": { "tool_calls": calls } });
        let arguments = json!({ "function": { "arguments": self.text() } });
        let end = json!({ "finish_reason": "TOOL_CALL", "usage": v2_usage() });
        vec![
            json!({ "type": "message-start", "id": id, "delta": { "message": message } }),
            json!({ "type": "tool-plan-delta", "delta": { "message": { "tool_plan": "Call the tool." } } }),
            json!({ "type": "tool-call-start", "index": 0, "delta": part(self.function(false)) }),
            json!({ "type": "tool-call-delta", "index": 0, "delta": part(arguments) }),
            json!({ "type": "tool-call-end", "index": 0 }),
            json!({ "type": "message-end", "id": id, "delta": end }),
        ]
    }
}

/// A response with this output.
fn response(model: &Value, status: &str, output: &Value) -> Value {
    let usage = json!({
        "input_tokens": INPUT_TOKENS, "input_tokens_details": { "cached_tokens": 0 },
        "output_tokens": OUTPUT_TOKENS, "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    });
    let is_done = status == "completed";
    json!({
        "id": "resp_mock00000000000000000001", "object": "response", "created_at": CREATED, "status": status,
        "error": null, "incomplete_details": null, "instructions": null, "max_output_tokens": null, "model": model,
        "output": output, "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": [],
        "top_p": 1.0, "usage": if is_done { usage } else { Value::Null }, "metadata": {},
    })
}

fn chat_usage() -> Value {
    let (input, output) = (INPUT_TOKENS, OUTPUT_TOKENS);
    json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output })
}

fn v2_usage() -> Value {
    let tokens = json!({ "input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS });
    json!({ "billed_units": tokens, "tokens": tokens })
}

/// Events whose name is their type.
fn named(events: Vec<Value>) -> String {
    let event =
        |event: Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
    events.into_iter().map(event).collect()
}

fn unnamed(events: impl IntoIterator<Item = Value>) -> String {
    let mut text = String::new();
    for event in events {
        // Writing to a string cannot fail.
        let _ = write!(text, "data: {event}\n\n");
    }
    text
}

/// True if the last message has the result of a tool.
fn has_result(served: Served, body: &Value) -> bool {
    let last = |key: &str| body[key].as_array().and_then(|all| all.last()).unwrap_or(&Value::Null);
    let any = |parts: &Value, is: fn(&Value) -> bool| parts.as_array().is_some_and(|all| all.iter().any(is));
    match served {
        Served::Messages => any(&last("messages")["content"], |part| part["type"] == "tool_result"),
        Served::Responses => any(&body["input"], |item| item["type"] == "function_call_output"),
        Served::Generate | Served::GenerateStream => {
            any(&last("contents")["parts"], |part| part.get("functionResponse").is_some())
        }
        _ => last("messages")["role"] == "tool",
    }
}

fn wants_none(body: &Value) -> bool {
    let choice = &body["tool_choice"];
    let is_none = |value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("none"));
    is_none(choice)
        || is_none(&choice["type"])
        || is_none(&body["toolConfig"]["functionCallingConfig"]["mode"])
}

/// A value that a JSON schema allows, as far as it is of the usual kind.
fn made(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    let below = |schema: &Value| made(schema, root, depth + 1);
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return below(&root["$defs"][name]);
    }
    for choices in ["anyOf", "oneOf"] {
        if let Some(first) = schema[choices].get(0) {
            return below(first);
        }
    }
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return value.clone();
    }
    match schema["type"].as_str().unwrap_or("object").to_ascii_lowercase().as_str() {
        "string" => json!("Paris"),
        "integer" => json!(21),
        "number" => json!(21.5),
        "boolean" => json!(true),
        "array" => json!([]),
        "object" => {
            let members = schema["properties"].as_object().into_iter().flatten().take(MAX_MEMBERS);
            let made: Map<String, Value> = members.map(|(key, part)| (key.clone(), below(part))).collect();
            Value::Object(made)
        }
        _ => Value::Null,
    }
}
