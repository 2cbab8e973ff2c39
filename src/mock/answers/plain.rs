//! Responses that are never streamed. The model list is valid in all common list formats.

use super::ScriptSource;

pub(super) const COUNT_TOKENS: ScriptSource =
    ScriptSource { head: r#"{"input_tokens":$input}"#, delta: "", tail: "", first_seq: 0 };

pub(super) const MODELS: ScriptSource = ScriptSource {
    head: r#"{"object":"list","data":[{"id":"mock-model","object":"model","type":"model","display_name":"Mock Model","created":1750000000,"created_at":"2025-06-15T15:06:40Z","owned_by":"mock"}],"models":[{"name":"models/mock-model","displayName":"Mock Model","supportedGenerationMethods":["generateContent"],"endpoints":["chat"]}],"has_more":false,"first_id":"mock-model","last_id":"mock-model"}"#,
    delta: "",
    tail: "",
    first_seq: 0,
};
