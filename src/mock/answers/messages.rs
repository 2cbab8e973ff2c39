//! Messages, unary and streamed. The first event of a stream has the input tokens; the last but one has the final
//! output tokens.

use super::ScriptSource;

pub(super) const UNARY: ScriptSource = ScriptSource {
    head: r#"{"id":"msg_mock00000000000000000001","type":"message","role":"assistant","model":$model,"content":[{"type":"text","text":"$text"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":$uncached,"cache_creation_input_tokens":0,"cache_read_input_tokens":$cached,"output_tokens":$output}}"#,
    delta: "",
    tail: "",
    first_seq: 0,
};

pub(super) const STREAM: ScriptSource = ScriptSource {
    head: r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_mock00000000000000000001","type":"message","role":"assistant","model":$model,"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":$uncached,"cache_creation_input_tokens":0,"cache_read_input_tokens":$cached,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type":"ping"}

"#,
    delta: r#"event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"$text"}}

"#,
    tail: r#"event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":$output}}

event: message_stop
data: {"type":"message_stop"}

"#,
    first_seq: 0,
};
