//! Chat completions, unary and streamed. With `stream_options.include_usage` every chunk has `"usage":null`, except the
//! last one: it has the token counts and no choice.

use super::ScriptSource;

pub(super) const UNARY: ScriptSource = ScriptSource {
    head: r#"{"id":"chatcmpl-mock00000000000000000001","object":"chat.completion","created":1750000000,"model":$model,"choices":[{"index":0,"message":{"role":"assistant","content":"$text","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":$input,"completion_tokens":$output,"total_tokens":$total,"prompt_tokens_details":{"cached_tokens":$cached},"completion_tokens_details":{"reasoning_tokens":0}},"system_fingerprint":"fp_mock000001"}"#,
    delta: "",
    tail: "",
    first_seq: 0,
};

pub(super) const STREAM: ScriptSource = ScriptSource {
    head: r#"data: {"id":"chatcmpl-mock00000000000000000001","object":"chat.completion.chunk","created":1750000000,"model":$model,"system_fingerprint":"fp_mock000001","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]}

"#,
    delta: r#"data: {"id":"chatcmpl-mock00000000000000000001","object":"chat.completion.chunk","created":1750000000,"model":$model,"system_fingerprint":"fp_mock000001","choices":[{"index":0,"delta":{"content":"$text"},"logprobs":null,"finish_reason":null}]}

"#,
    tail: r#"data: {"id":"chatcmpl-mock00000000000000000001","object":"chat.completion.chunk","created":1750000000,"model":$model,"system_fingerprint":"fp_mock000001","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}

data: [DONE]

"#,
    first_seq: 0,
};

pub(super) const STREAM_USAGE: ScriptSource = ScriptSource {
    head: r#"data: {"id":"chatcmpl-mock00000000000000000001","object":"chat.completion.chunk","created":1750000000,"model":$model,"system_fingerprint":"fp_mock000001","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}

"#,
    delta: r#"data: {"id":"chatcmpl-mock00000000000000000001","object":"chat.completion.chunk","created":1750000000,"model":$model,"system_fingerprint":"fp_mock000001","choices":[{"index":0,"delta":{"content":"$text"},"logprobs":null,"finish_reason":null}],"usage":null}

"#,
    tail: r#"data: {"id":"chatcmpl-mock00000000000000000001","object":"chat.completion.chunk","created":1750000000,"model":$model,"system_fingerprint":"fp_mock000001","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

data: {"id":"chatcmpl-mock00000000000000000001","object":"chat.completion.chunk","created":1750000000,"model":$model,"system_fingerprint":"fp_mock000001","choices":[],"usage":{"prompt_tokens":$input,"completion_tokens":$output,"total_tokens":$total,"prompt_tokens_details":{"cached_tokens":$cached},"completion_tokens_details":{"reasoning_tokens":0}}}

data: [DONE]

"#,
    first_seq: 0,
};
