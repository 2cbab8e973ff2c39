//! Responses that are never streamed. The model list is valid in both common list formats.

use super::ScriptSource;

pub(super) const COUNT_TOKENS: ScriptSource =
    ScriptSource { head: r#"{"input_tokens":$input}"#, delta: "", tail: "", first_seq: 0 };

pub(super) const EMBEDDINGS: ScriptSource = ScriptSource {
    head: r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.125,-0.25,0.5,-0.0625,0.75,0.03125,-0.375,0.0]}],"model":$model,"usage":{"prompt_tokens":$input,"total_tokens":$input}}"#,
    delta: "",
    tail: "",
    first_seq: 0,
};

pub(super) const MODELS: ScriptSource = ScriptSource {
    head: r#"{"object":"list","data":[{"id":"mock-model","object":"model","type":"model","display_name":"Mock Model","created":1750000000,"created_at":"2025-06-15T15:06:40Z","owned_by":"mock"}],"has_more":false,"first_id":"mock-model","last_id":"mock-model"}"#,
    delta: "",
    tail: "",
    first_seq: 0,
};
