//! The document of api files: a wire format, with the format of errors, the places of usage and of text.
//!
//! Read next: `places`, the form of a place, and `language::compile::metering`, their meaning.

mod places;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::json;

use super::{Provider, StringMap, Test, file_test::example_test};
use crate::base::usage::Counter;

pub use places::{Combine, Count, CountTable, Pointers};

/// An api: a wire format.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate api")]
pub struct Api {
    /// The version of the language that the file is written in.
    #[schemars(example = 2, range(min = 1, max = 2))]
    pub language: Option<u32>,
    /// The display name.
    #[schemars(example = &"Example chat")]
    pub title: String,
    /// The format's documentation.
    #[schemars(example = &"https://example.com/docs")]
    pub docs: Option<String>,
    /// The operation's name in OpenTelemetry (`gen_ai.operation.name`), for endpoints that are metered. The semantic conventions
    /// list well-known names. A name is of lower-case letters, digits, `_` and dots between words.
    #[schemars(example = &"chat", regex(pattern = r"^[a-z][a-z0-9_]*([.][a-z][a-z0-9_]*)*$"))]
    #[schemars(extend("maxLength" = 64))]
    pub operation: Option<String>,
    /// CORS: headers that clients of the format send from browsers, as names or globs.
    #[schemars(example = json!(["x-example-sdk-*"]))]
    #[schemars(extend("maxItems" = 64))]
    pub cors_headers: Option<Vec<String>>,
    /// The requests that are taken for ones of this format where no endpoint says it. Errors of tollgate itself have the format
    /// then. Nothing else depends on it.
    #[schemars(example = json!({ "headers": ["example-version"], "paths": ["*/v1/example"] }))]
    #[schemars(extend("x-language" = 2))]
    pub known_by: Option<KnownBy>,
    /// The format of an error.
    #[schemars(example = json!({ "body": { "message": "{message}" } }))]
    pub error: ErrorShape,
    /// Places in the request. In a form (`multipart/form-data`), `/model` is the field `model`.
    #[schemars(example = json!({ "model": "/model", "stream": "/stream" }))]
    pub request: Option<ApiRequest>,
    /// Places of usage, in the answer and in the request. A format without them is not metered.
    #[schemars(example = json!({ "body": { "input": "/usage/prompt_tokens" } }))]
    pub usage: Option<ApiUsage>,
    /// Places of text, for estimates.
    #[schemars(example = json!({ "body": ["/choices/*/message/content"] }))]
    pub text: Option<ApiText>,
    /// Places of content, for exporters that are to have it.
    #[schemars(example = json!({ "prompt": { "messages": "/messages" } }))]
    pub content: Option<ApiContent>,
    /// The provider of the tests that have none of their own. Its name is `fixture`.
    #[schemars(example = json!({ "title": "Fixture" }))]
    pub fixture: Option<Box<Provider>>,
    /// Tests of the file. Each runs against the provider in `[fixture]`, or one of its own in `[test.provider]`.
    #[schemars(example = example_test())]
    #[schemars(extend("maxItems" = 2000))]
    pub test: Option<Vec<Test>>,
}

/// The requests that are taken for ones of a format.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownBy {
    /// Names of headers that clients of this format alone send.
    #[schemars(example = json!(["example-version"]))]
    #[schemars(extend("maxItems" = 16))]
    pub headers: Option<Vec<String>>,
    /// Globs on client paths, case-sensitive. They count before headers.
    #[schemars(example = json!(["*/v1/example"]))]
    #[schemars(extend("maxItems" = 16))]
    pub paths: Option<Vec<String>>,
}

/// The format of errors, so that client libraries understand errors of tollgate itself.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorShape {
    /// The JSON body. Its strings are templates over `{message}`, `{code}`, `{type}`, `{status}` and `{request_id}`. A string that is
    /// `{status}` alone is a number.
    #[schemars(example = json!({ "message": "{message}" }))]
    #[schemars(extend("maxProperties" = 256))]
    pub body: BTreeMap<String, serde_json::Value>,
    /// The values of `{type}` by status; `default` for all others.
    #[schemars(example = json!({ "401": "authentication_error", "default": "api_error" }))]
    #[schemars(extend("maxProperties" = 64))]
    pub types: Option<StringMap>,
}

/// Places in the request. In a form (`multipart/form-data`), `/model` is the field `model`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiRequest {
    /// The model: a pointer, or `{name}` for a capture of the endpoint's path.
    #[schemars(example = &"/model")]
    #[schemars(extend("maxLength" = 256))]
    pub model: Option<String>,
    /// The greatest number of tokens of the answer. The first pointer with a value applies.
    #[schemars(example = json!(["/max_completion_tokens", "/max_tokens"]))]
    pub max_output: Option<Pointers>,
    /// Models that the upstream may call besides the model, or in its place: a list to fall back to, the model of a tool. Limits and
    /// rules alone read this and the next three.
    #[schemars(example = json!(["/models/*", "/fallbacks/*/model"]))]
    pub other_models: Option<Pointers>,
    /// The number of answers to a prompt, each of which may have `max_output` tokens. Of several, the greatest counts.
    #[schemars(example = json!(["/n", "/best_of"]))]
    pub answers: Option<Pointers>,
    /// Prompts of one request, each of which is answered by itself. Numbers are tokens of one prompt.
    #[schemars(example = &"/prompt/*")]
    pub prompts: Option<Pointers>,
    /// Values that let the request use more tokens than its size and `max_output` say: what the upstream loads or keeps, and tools
    /// that it runs. The places of `other` in `[text]` are such, too.
    #[schemars(example = json!(["/previous_response_id", { "at": "/tools/*/type", "except": ["function", "custom"] }]))]
    #[schemars(extend("maxItems" = 64))]
    pub unbounded: Option<Vec<Unbounded>>,
    /// The value that asks for a stream.
    #[schemars(example = &"/stream")]
    #[schemars(extend("maxLength" = 256))]
    pub stream: Option<String>,
}

/// The place of a value that lets the request use more tokens than its size and its bounds say.
#[derive(Debug, Clone)]
pub enum Unbounded {
    /// A pointer: any value but null is such.
    At(String),
    /// A pointer, with the strings that are not.
    Except(UnboundedExcept),
}

/// A place whose value lets the request use more tokens than its size and its bounds say, unless it is one of some strings.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnboundedExcept {
    /// The pointer.
    #[schemars(example = &"/tools/*/type")]
    #[schemars(extend("maxLength" = 256))]
    pub at: String,
    /// Globs on strings that are harmless.
    #[schemars(example = json!(["function", "custom"]))]
    #[schemars(extend("maxItems" = 32))]
    pub except: Vec<String>,
}

/// Places of usage.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiUsage {
    /// The framing of streamed answers, or a list of which the content type of the answer selects one. Without it, no answer
    /// of the format is a stream.
    #[schemars(example = &"sse")]
    pub stream: Option<Framings>,
    /// The procedure for an answer without usage; `estimate` by default.
    #[schemars(example = &"estimate")]
    pub when_missing: Option<WhenMissing>,
    /// The key of the request that makes the upstream send usage, for `when_missing = "ask"`.
    #[schemars(example = json!({ "at": "/stream_options/include_usage", "value": true, "when": "/stream" }))]
    pub ask: Option<Ask>,
    /// Places in an answer that is no stream.
    #[schemars(example = json!({ "input": "/usage/prompt_tokens" }))]
    pub body: Option<UsageMap>,
    /// Places in an event of a stream; those of `body` by default.
    #[schemars(example = json!({ "input": "/usage/prompt_tokens" }))]
    pub event: Option<UsageMap>,
    /// Counts that the request holds. They count only if the answer has none of the same name.
    #[schemars(example = json!({ "characters": { "at": "/input", "combine": "length" } }))]
    pub request: Option<RequestCounts>,
}

/// A framing, or a list of framings.
#[derive(Debug, Clone)]
pub enum Framings {
    /// One.
    One(Framing),
    /// A list.
    Several(Vec<Framing>),
}

impl Framings {
    /// The framings.
    pub fn all(&self) -> &[Framing] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

/// The framing of a streamed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Framing {
    /// Server-sent events (WHATWG HTML, section 9.2).
    Sse,
    /// One JSON value a line.
    Ndjson,
    /// One JSON array, of which each element is an event.
    JsonArray,
    /// Binary messages of the media type `application/vnd.amazon.eventstream`.
    AwsEventStream,
}

/// The procedure for an answer without usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum WhenMissing {
    /// Tokens are estimated from the bytes of text, and marked as estimated.
    Estimate,
    /// The exchange is reported as not counted.
    None,
    /// The request asks the upstream for usage, by the key `ask` of the api. The client does not see the answer to it.
    Ask,
}

/// The key of the request that makes the upstream send usage.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The pointer of the key. Another value of it in the client's request is replaced.
    #[schemars(example = &"/stream_options/include_usage")]
    #[schemars(extend("maxLength" = 256))]
    pub at: String,
    /// Its value.
    #[schemars(example = true)]
    #[schemars(extend("type" = ["boolean", "number", "string", "array", "object"]))]
    pub value: serde_json::Value,
    /// The pointer of a value that has to be `true` for the key to be inserted.
    #[schemars(example = &"/stream")]
    #[schemars(extend("maxLength" = 256))]
    pub when: Option<String>,
    /// The event that the upstream sends only because it was asked. It is taken out of the answer.
    #[schemars(example = json!({ "at": "/usage", "empty": "/choices", "with": ["/id", "/model"] }))]
    pub extra: Option<ExtraEvent>,
}

/// An event with usage alone: an object with members at one pointer, an empty array at another, and no value besides that
/// is not named in `with`. All other events pass.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtraEvent {
    /// The pointer of the usage, an object with members.
    #[schemars(example = &"/usage")]
    #[schemars(extend("maxLength" = 256))]
    pub at: String,
    /// The pointer of the empty array.
    #[schemars(example = &"/choices")]
    #[schemars(extend("maxLength" = 256))]
    pub empty: String,
    /// Pointers of strings, numbers and booleans that the event may have besides: those that a client knows without it.
    #[schemars(example = json!(["/id", "/model"]))]
    #[schemars(extend("maxItems" = 64))]
    #[serde(default)]
    pub with: Vec<String>,
}

/// Places of counts and names in an answer. Counts are disjoint: a token is in one of them only.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageMap {
    /// Tokens of the prompt that no other counter has.
    #[schemars(example = json!({ "at": "/usage/prompt_tokens", "minus": ["cache_read"] }))]
    pub input: Option<Count>,
    /// Tokens of the answer that no other counter has.
    #[schemars(example = json!({ "at": "/usage/completion_tokens", "minus": ["reasoning"] }))]
    pub output: Option<Count>,
    /// Tokens of the prompt that the upstream read from its cache.
    #[schemars(example = &"/usage/prompt_tokens_details/cached_tokens")]
    pub cache_read: Option<Count>,
    /// Tokens of the prompt that the upstream wrote to its cache.
    #[schemars(example = &"/usage/cache_creation_input_tokens")]
    pub cache_write: Option<Count>,
    /// Tokens that a model spent on reasoning.
    #[schemars(example = &"/usage/completion_tokens_details/reasoning_tokens")]
    pub reasoning: Option<Count>,
    /// Audio tokens of the prompt.
    #[schemars(example = &"/usage/prompt_tokens_details/audio_tokens")]
    pub audio_input: Option<Count>,
    /// Audio tokens of the answer.
    #[schemars(example = &"/usage/completion_tokens_details/audio_tokens")]
    pub audio_output: Option<Count>,
    /// Images made.
    #[schemars(example = json!({ "at": "/data/*", "combine": "count" }))]
    pub images: Option<Count>,
    /// Characters of text that was read aloud or translated.
    #[schemars(example = &"/usage/characters")]
    pub characters: Option<Count>,
    /// Seconds of audio or video, rounded up.
    #[schemars(example = &"/usage/seconds")]
    pub seconds: Option<Count>,
    /// Other units that a vendor bills, such as search units of a rerank.
    #[schemars(example = &"/meta/billed_units/search_units")]
    pub units: Option<Count>,
    /// The model of the answer.
    #[schemars(example = &"/model")]
    pub model: Option<Pointers>,
    /// The upstream's id of the response.
    #[schemars(example = &"/id")]
    pub id: Option<Pointers>,
    /// The finish reason. The last one applies.
    #[schemars(example = &"/choices/*/finish_reason")]
    pub finish_reason: Option<Pointers>,
    /// An error within the answer: any value but `null`.
    #[schemars(example = &"/error")]
    pub error: Option<Pointers>,
}

impl UsageMap {
    /// The counters that it has, with their places, in the order of [`Counter::ALL`].
    pub fn counts(&self) -> impl Iterator<Item = (Counter, &Count)> {
        let one = |counter| (counter, self.count(counter));
        Counter::ALL.into_iter().map(one).filter_map(|(counter, count)| Some((counter, count?)))
    }

    fn count(&self, counter: Counter) -> Option<&Count> {
        match counter {
            Counter::Input => self.input.as_ref(),
            Counter::Output => self.output.as_ref(),
            Counter::CacheRead => self.cache_read.as_ref(),
            Counter::CacheWrite => self.cache_write.as_ref(),
            Counter::Reasoning => self.reasoning.as_ref(),
            Counter::AudioInput => self.audio_input.as_ref(),
            Counter::AudioOutput => self.audio_output.as_ref(),
            Counter::Images => self.images.as_ref(),
            Counter::Characters => self.characters.as_ref(),
            Counter::Seconds => self.seconds.as_ref(),
            Counter::Units => self.units.as_ref(),
        }
    }
}

/// Counts that the request holds.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestCounts {
    /// Images that are to be made.
    #[schemars(example = &"/n")]
    pub images: Option<Count>,
    /// Characters of text that is to be read aloud or translated.
    #[schemars(example = json!({ "at": "/input", "combine": "length" }))]
    pub characters: Option<Count>,
    /// Seconds of audio or video that are to be made.
    #[schemars(example = &"/seconds")]
    pub seconds: Option<Count>,
    /// Other units that a vendor bills.
    #[schemars(example = json!({ "at": "/documents/*", "combine": "count" }))]
    pub units: Option<Count>,
}

impl RequestCounts {
    /// The counters that it has, with their places.
    pub fn counts(&self) -> impl Iterator<Item = (Counter, &Count)> {
        let Self { images, characters, seconds, units } = self;
        let all = [
            (Counter::Images, images),
            (Counter::Characters, characters),
            (Counter::Seconds, seconds),
            (Counter::Units, units),
        ];
        all.into_iter().filter_map(|(counter, count)| Some((counter, count.as_ref()?)))
    }
}

/// Places of text, as pointers to strings. Values of other types count as no text.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiText {
    /// In the request.
    #[schemars(example = json!(["/messages/*/content"]))]
    #[schemars(extend("maxItems" = 64))]
    pub prompt: Option<Vec<String>>,
    /// Parts of the prompt that are no text in the request, such as images and files. Estimates do not learn from a prompt that
    /// has one.
    #[schemars(example = json!(["/messages/*/content/*/image_url"]))]
    #[schemars(extend("maxItems" = 64))]
    pub other: Option<Vec<String>>,
    /// In an answer that is no stream.
    #[schemars(example = json!(["/choices/*/message/content"]))]
    #[schemars(extend("maxItems" = 64))]
    pub body: Option<Vec<String>>,
    /// In an event of a stream; those of `body` by default.
    #[schemars(example = json!(["/choices/*/delta/content"]))]
    #[schemars(extend("maxItems" = 64))]
    pub event: Option<Vec<String>>,
}

/// Places of content.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiContent {
    /// JSON values of the request, by the names under which they are exported.
    #[schemars(example = json!({ "messages": "/messages", "system": "/system" }))]
    #[schemars(extend("maxProperties" = 16))]
    pub prompt: Option<StringMap>,
    /// Numbers, booleans and strings of the request, by the names under which they are exported.
    #[schemars(example = json!({ "temperature": "/temperature" }))]
    #[schemars(extend("maxProperties" = 64))]
    pub parameters: Option<StringMap>,
    /// Pointers to the text of an answer that is no stream.
    #[schemars(example = json!(["/choices/0/message/content"]))]
    #[schemars(extend("maxItems" = 64))]
    pub body: Option<Vec<String>>,
    /// Pointers to the text of an event of a stream; those of `body` by default.
    #[schemars(example = json!(["/choices/0/delta/content"]))]
    #[schemars(extend("maxItems" = 64))]
    pub event: Option<Vec<String>>,
}

// === impl Framings: untagged, distinguished by JSON type ===

impl<'de> Deserialize<'de> for Framings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            text @ serde_json::Value::String(_) => Framing::deserialize(text).map(Self::One),
            other => Vec::deserialize(other).map(Self::Several),
        }
        .map_err(de::Error::custom)
    }
}

impl JsonSchema for Framings {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Framings".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Framing>();
        json_schema!({
            "type": ["string", "array"],
            "if": { "type": "string" },
            "then": one,
            "else": { "items": one, "maxItems": 4 },
        })
    }
}

// === impl Unbounded: untagged, distinguished by JSON type ===

impl<'de> Deserialize<'de> for Unbounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self::At(text)),
            table => UnboundedExcept::deserialize(table).map(Self::Except).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Unbounded {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Unbounded".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<UnboundedExcept>();
        json_schema!({
            "type": ["string", "object"],
            "maxLength": 256,
            "if": { "type": "string" },
            "then": true,
            "else": table,
        })
    }
}
