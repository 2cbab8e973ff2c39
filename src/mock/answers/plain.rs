//! The answers that are never streamed. The list of models fits both ways of listing that clients know.

use super::Text;

pub(super) const COUNT_TOKENS: Text =
    Text { head: r#"{"input_tokens":$input}"#, delta: "", tail: "", first_seq: 0 };

pub(super) const EMBEDDINGS: Text = Text {
    head: r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.125,-0.25,0.5,-0.0625,0.75,0.03125,-0.375,0.0]}],"model":$model,"usage":{"prompt_tokens":$input,"total_tokens":$input}}"#,
    delta: "",
    tail: "",
    first_seq: 0,
};

pub(super) const MODELS: Text = Text {
    head: r#"{"object":"list","data":[{"id":"mock-model","object":"model","type":"model","display_name":"Mock Model","created":1750000000,"created_at":"2025-06-15T15:06:40Z","owned_by":"mock"}],"has_more":false,"first_id":"mock-model","last_id":"mock-model"}"#,
    delta: "",
    tail: "",
    first_seq: 0,
};
