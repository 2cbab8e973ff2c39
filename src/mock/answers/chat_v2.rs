//! Chats of the second version of their API, unary and streamed. Each event has its type as its name; the last one has the
//! usage.

use super::ScriptSource;

pub(super) const UNARY: ScriptSource = ScriptSource {
    head: r#"{"id":"mock0000-0000-0000-0000-000000000001","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"$text"}]},"usage":{"billed_units":{"input_tokens":$input,"output_tokens":$output},"tokens":{"input_tokens":$input,"output_tokens":$output}}}"#,
    delta: "",
    tail: "",
    first_seq: 0,
};

pub(super) const STREAM: ScriptSource = ScriptSource {
    head: r#"event: message-start
data: {"type":"message-start","id":"mock0000-0000-0000-0000-000000000001","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}

event: content-start
data: {"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}

"#,
    delta: r#"event: content-delta
data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"$text"}}}}

"#,
    tail: r#"event: content-end
data: {"type":"content-end","index":0}

event: message-end
data: {"type":"message-end","id":"mock0000-0000-0000-0000-000000000001","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":$input,"output_tokens":$output},"tokens":{"input_tokens":$input,"output_tokens":$output}}}}

"#,
    first_seq: 0,
};
