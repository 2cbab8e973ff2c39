//! Generated content, unary and streamed. A stream is one of events, or one JSON array that grows. Its last part has the
//! final usage and no text.

use super::ScriptSource;

pub(super) const UNARY: ScriptSource = ScriptSource {
    head: r#"{"candidates":[{"content":{"parts":[{"text":"$text"}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":$input,"candidatesTokenCount":$output,"totalTokenCount":$total,"cachedContentTokenCount":$cached},"modelVersion":$model,"responseId":"mock00000000000000000001"}"#,
    delta: "",
    tail: "",
    first_seq: 0,
};

pub(super) const STREAM: ScriptSource = ScriptSource {
    head: "",
    delta: r#"data: {"candidates":[{"content":{"parts":[{"text":"$text"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":$input,"totalTokenCount":$input},"modelVersion":$model,"responseId":"mock00000000000000000001"}

"#,
    tail: r#"data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":$input,"candidatesTokenCount":$output,"totalTokenCount":$total,"cachedContentTokenCount":$cached},"modelVersion":$model,"responseId":"mock00000000000000000001"}

"#,
    first_seq: 0,
};

pub(super) const ARRAY: ScriptSource = ScriptSource {
    head: "[",
    delta: r#"{"candidates":[{"content":{"parts":[{"text":"$text"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":$input,"totalTokenCount":$input},"modelVersion":$model,"responseId":"mock00000000000000000001"},
"#,
    tail: r#"{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":$input,"candidatesTokenCount":$output,"totalTokenCount":$total,"cachedContentTokenCount":$cached},"modelVersion":$model,"responseId":"mock00000000000000000001"}]
"#,
    first_seq: 0,
};

pub(super) const COUNT: ScriptSource =
    ScriptSource { head: r#"{"totalTokens":$input}"#, delta: "", tail: "", first_seq: 0 };
