//! Responses, unary and streamed. Every event has a sequence number. The last events repeat the complete text; the final
//! one has the usage.

use super::ScriptSource;

pub(super) const UNARY: ScriptSource = ScriptSource {
    head: r#"{"id":"resp_mock00000000000000000001","object":"response","created_at":1750000000,"status":"completed","error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":$model,"output":[{"id":"msg_mock00000000000000000001","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"$text","annotations":[]}]}],"parallel_tool_calls":true,"temperature":1.0,"tool_choice":"auto","tools":[],"top_p":1.0,"usage":{"input_tokens":$input,"input_tokens_details":{"cached_tokens":$cached},"output_tokens":$output,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":$total},"metadata":{}}"#,
    delta: "",
    tail: "",
    first_seq: 0,
};

pub(super) const STREAM: ScriptSource = ScriptSource {
    head: r#"event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_mock00000000000000000001","object":"response","created_at":1750000000,"status":"in_progress","error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":$model,"output":[],"parallel_tool_calls":true,"temperature":1.0,"tool_choice":"auto","tools":[],"top_p":1.0,"usage":null,"metadata":{}}}

event: response.in_progress
data: {"type":"response.in_progress","sequence_number":1,"response":{"id":"resp_mock00000000000000000001","object":"response","created_at":1750000000,"status":"in_progress","error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":$model,"output":[],"parallel_tool_calls":true,"temperature":1.0,"tool_choice":"auto","tools":[],"top_p":1.0,"usage":null,"metadata":{}}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"msg_mock00000000000000000001","type":"message","status":"in_progress","role":"assistant","content":[]}}

event: response.content_part.added
data: {"type":"response.content_part.added","sequence_number":3,"item_id":"msg_mock00000000000000000001","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}

"#,
    delta: r#"event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":$seq,"item_id":"msg_mock00000000000000000001","output_index":0,"content_index":0,"delta":"$text","logprobs":[]}

"#,
    tail: r#"event: response.output_text.done
data: {"type":"response.output_text.done","sequence_number":$after0,"item_id":"msg_mock00000000000000000001","output_index":0,"content_index":0,"text":"$all","logprobs":[]}

event: response.content_part.done
data: {"type":"response.content_part.done","sequence_number":$after1,"item_id":"msg_mock00000000000000000001","output_index":0,"content_index":0,"part":{"type":"output_text","text":"$all","annotations":[]}}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":$after2,"output_index":0,"item":{"id":"msg_mock00000000000000000001","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"$all","annotations":[]}]}}

event: response.completed
data: {"type":"response.completed","sequence_number":$after3,"response":{"id":"resp_mock00000000000000000001","object":"response","created_at":1750000000,"status":"completed","error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":$model,"output":[{"id":"msg_mock00000000000000000001","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"$all","annotations":[]}]}],"parallel_tool_calls":true,"temperature":1.0,"tool_choice":"auto","tools":[],"top_p":1.0,"usage":{"input_tokens":$input,"input_tokens_details":{"cached_tokens":$cached},"output_tokens":$output,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":$total},"metadata":{}}}

"#,
    first_seq: 4,
};
