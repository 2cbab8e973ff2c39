//! The kind `llemtry`: one JSON span for each exchange whose api file names its content, with prompt and answer unless
//! `content` is off.
//!
//! It guarantees: fields and names are those of the receiver's format; attributes without a value are left out; each text
//! has at most [`MAX_TEXT`] characters; what failed or broke off has the status `ERROR`; an estimate is marked.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    BatchSize, Given, Kind, Opened, Outlet, Outlets, Protocol, Queue, Receiver, ids::Ids, queue::Encode,
};
use crate::{
    access_record::{AccessRecord, Content, Outcome, Usage},
    name::FileName,
    recorder::Sink,
    secret::Secret,
    syntax::Checker,
    usage::Counter,
};

/// The kind.
pub(super) const KIND: Kind = Kind { name: "llemtry", open };

/// The variables of the kind.
const ENABLED: &str = "LLEMTRY_ENABLED";
const ENDPOINT: &str = "LLEMTRY_ENDPOINT";
const TOKEN: &str = "LLEMTRY_AUTH_TOKEN";

/// Maximum length of a text, in characters.
const MAX_TEXT: usize = 102_400;
/// The name of the service that clients of the format expect.
const SERVICE: &str = "openclaw-ai-gateway";
/// The session of all spans.
const SESSION: &str = "ai-gateway";
/// The size of a span without text, in bytes, about.
const SPAN: usize = 768;
/// The bounds of a request. Content makes spans large, and few servers take more than 1 MiB by default.
const BATCH: BatchSize = BatchSize { pieces: 2048, bytes: (1 << 20) - (32 << 10) };

/// The table of an exporter of this kind.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The kind
    #[serde(rename = "kind")]
    _kind: Option<String>,
    /// The URL that spans are posted to
    #[schemars(example = &"https://llemtry.example/v1/spans")]
    endpoint: Option<String>,
    /// A file with the bearer token
    #[schemars(example = &"/etc/tollgate/llemtry-token")]
    token_file: Option<PathBuf>,
    /// False to leave out prompts and answers [default: true]
    #[schemars(example = false)]
    content: Option<bool>,
    /// The name of this service [default: openclaw-ai-gateway]
    #[schemars(example = &"openclaw-ai-gateway")]
    service_name: Option<String>,
}

static CHECKER: LazyLock<Checker> = LazyLock::new(Checker::of::<Table>);

fn open(given: &Given<'_>, outlets: &mut Outlets) -> Opened {
    if !given.switch(ENABLED)?.unwrap_or(given.table.is_some()) {
        return Ok(None);
    }
    let Table { _kind, endpoint, token_file, content, service_name } = given.table(&CHECKER)?;
    let token = match (given.text(TOKEN)?, token_file) {
        (Some(token), _) => Some(Secret::new(token)),
        (None, Some(path)) => Some(given.secret("token_file", &path)?),
        (None, None) => None,
    };
    let from_variable = given.text(ENDPOINT)?;
    let endpoint = from_variable.or(endpoint);
    let (Some(endpoint), Some(token)) = (&endpoint, &token) else {
        let mut missing = Vec::new();
        if endpoint.is_none() {
            missing.push(format!("an `endpoint`{}", given.or_variable(ENDPOINT)));
        }
        if token.is_none() {
            missing.push(format!("a `token_file`{}", given.or_variable(TOKEN)));
        }
        return Err(given.refused(format!("is enabled, and needs {}", missing.join(" and "))));
    };
    let receiver = receiver(endpoint, token).map_err(|problem| given.bad_url("spans", endpoint, &problem))?;
    let service = service_name.unwrap_or_else(|| SERVICE.to_owned());
    let protocol = Box::new(Document::new(&service));
    let queue = outlets.add(given, Outlet { signal: "spans", receiver, protocol, size: BATCH });
    Ok(Some(Box::new(Llemtry { queue, ids: Ids::new(), content: content.unwrap_or(true) })))
}

fn receiver(endpoint: &str, token: &Secret) -> Result<Receiver, String> {
    let mut receiver = Receiver::new(endpoint, "application/json").map_err(str::to_owned)?;
    let value = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()));
    receiver.header("authorization", &value)?;
    Ok(receiver)
}

/// The document of a request: a resource, and spans.
struct Document {
    start: String,
}

impl Document {
    fn new(service: &str) -> Self {
        let service = Value::from(service);
        Self { start: format!("{{\"resource\":{{\"serviceName\":{service}}},\"spans\":[") }
    }
}

impl Protocol for Document {
    fn body(&self, pieces: &[Bytes]) -> Bytes {
        let size = pieces.iter().map(|piece| piece.len() + 1).sum::<usize>();
        let mut body = Vec::with_capacity(self.start.len() + size + 2);
        body.extend_from_slice(self.start.as_bytes());
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(piece);
        }
        body.extend_from_slice(b"]}");
        body.into()
    }

    fn is_temporary(&self, status: StatusCode) -> bool {
        status.is_server_error() || matches!(status.as_u16(), 408 | 429)
    }
}

/// An exporter of this kind.
struct Llemtry {
    queue: Queue,
    ids: Ids,
    content: bool,
}

impl Sink for Llemtry {
    fn wants_content(&self) -> bool {
        self.content
    }

    fn record(&mut self, records: &[AccessRecord]) {
        for record in records {
            if let Some(usage) = record.usage.as_deref().filter(|usage| usage.has_content) {
                self.queue.push_raw(Exchange::new(record, usage, self.content, &mut self.ids));
            }
        }
    }
}

/// An exchange that is encoded when it is sent.
struct Exchange {
    trace_id: String,
    span_id: String,
    provider: Option<FileName>,
    /// Times in nanoseconds since 1970.
    start: u64,
    end: u64,
    outcome: Outcome,
    usage: Usage,
}

impl Exchange {
    fn new(record: &AccessRecord, usage: &Usage, with_content: bool, ids: &mut Ids) -> Self {
        let start = record.started_at_ms.saturating_mul(1_000_000);
        let end = start.saturating_add(u64::try_from(record.duration.as_nanos()).unwrap_or(u64::MAX));
        let mut usage = usage.clone();
        if let Some(content) = usage.content.as_mut().filter(|_| !with_content) {
            // Another exporter may have asked for the text.
            *content = Arc::new(content.without_text());
        }
        let (provider, outcome) = (record.provider.clone(), record.outcome());
        Self { trace_id: ids.uuid(), span_id: ids.uuid(), provider, start, end, outcome, usage }
    }
}

impl Encode for Exchange {
    fn size(&self) -> usize {
        SPAN + self.usage.content.as_deref().map_or(0, Content::text_bytes)
    }

    fn encode(self: Box<Self>) -> Vec<u8> {
        serde_json::to_vec(&span(&self)).expect("a span has text keys and no failing parts")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are those of the format")]
struct Span<'a> {
    trace_id: &'a str,
    span_id: &'a str,
    name: &'static str,
    kind: &'static str,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    status: Status,
    attributes: Map<String, Value>,
    events: Vec<Event<'a>>,
}

#[derive(Serialize)]
struct Status {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    name: &'static str,
    time_unix_nano: String,
    body: EventBody<'a>,
}

/// Serialized as its value alone.
enum EventBody<'a> {
    Prompt(Map<String, Value>),
    Completion(&'a str),
}

impl Serialize for EventBody<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Prompt(prompt) => prompt.serialize(serializer),
            Self::Completion(text) => text.serialize(serializer),
        }
    }
}

fn span(exchange: &Exchange) -> Span<'_> {
    let (start, end) = (exchange.start.to_string(), exchange.end.to_string());
    let status = match exchange.outcome {
        Outcome::Success => Status { code: "OK", message: None },
        failed => Status { code: "ERROR", message: Some(failed.as_str()) },
    };
    let content = exchange.usage.content.as_deref();
    let events = content.map_or_else(Vec::new, |content| events(content, &start, &end));
    Span {
        attributes: attributes(exchange),
        trace_id: &exchange.trace_id,
        span_id: &exchange.span_id,
        name: "gen_ai.generate",
        kind: "client",
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        status,
        events,
    }
}

fn attributes(exchange: &Exchange) -> Map<String, Value> {
    let Exchange { span_id, provider, usage, .. } = exchange;
    let counters = &usage.counters;
    let sum = |all: &[Counter]| all.iter().fold(0_u64, |sum, one| sum.saturating_add(counters.get(*one)));
    // Of a side without a count, zero is no value. A side that was counted may be empty beside the other; an exchange without an
    // answer has an estimate of its prompt alone.
    let is_counted = counters.tokens() > 0 && usage.not_counted.is_none() && usage.estimated.is_zero();
    let counted = |value: u64| (value > 0 || is_counted).then_some(value);
    let present = |value: u64| (value > 0).then_some(value);
    let parameter = |name: &str| {
        let (_, text) = usage.content.as_deref()?.parameters.iter().find(|(known, _)| &**known == name)?;
        serde_json::from_str::<Value>(text).ok().filter(Value::is_number)
    };
    let model = usage.model.as_deref().or(usage.request_model.as_deref()).unwrap_or("unknown");
    let input = counted(sum(&[Counter::Input, Counter::AudioInput]));
    let output = counted(sum(&[Counter::Output, Counter::Reasoning, Counter::AudioOutput]));
    let is_estimated = !usage.estimated.is_zero();
    let content = usage.content.as_deref();
    let (is_cut, is_dropped) = content.map_or((false, false), |content| (content.is_cut, content.is_dropped));
    let attributes: [(&str, Option<Value>); 13] = [
        ("gen_ai.system", provider.as_ref().map(|name| name.as_str().into())),
        ("gen_ai.request.model", Some(model.into())),
        ("gen_ai.usage.input_tokens", input.map(Value::from)),
        ("gen_ai.usage.output_tokens", output.map(Value::from)),
        ("gen_ai.request.max_tokens", usage.max_output.map(Value::from)),
        ("gen_ai.request.temperature", parameter("temperature")),
        ("openclaw.session.id", Some(SESSION.into())),
        ("openclaw.run.id", Some(span_id.as_str().into())),
        ("openclaw.usage.cache_read_tokens", present(counters.get(Counter::CacheRead)).map(Value::from)),
        ("openclaw.usage.cache_write_tokens", present(counters.get(Counter::CacheWrite)).map(Value::from)),
        ("tollgate.usage.estimated", is_estimated.then_some(Value::Bool(true))),
        ("tollgate.content.truncated", is_cut.then_some(Value::Bool(true))),
        ("tollgate.content.dropped", is_dropped.then_some(Value::Bool(true))),
    ];
    let present = attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    present.collect()
}

fn events<'a>(content: &'a Content, start: &str, end: &str) -> Vec<Event<'a>> {
    let mut prompt = Map::new();
    for (name, text) in &content.prompt {
        // JSON that is too deep is a text.
        let mut value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
        cut_texts(&mut value);
        prompt.insert(name.to_string(), value);
    }
    let completion = cut(&content.answer);
    let mut events = Vec::new();
    if !prompt.is_empty() {
        events.push(Event {
            name: "gen_ai.content.prompt",
            time_unix_nano: start.to_owned(),
            body: EventBody::Prompt(prompt),
        });
    }
    if !completion.is_empty() {
        events.push(Event {
            name: "gen_ai.content.completion",
            time_unix_nano: end.to_owned(),
            body: EventBody::Completion(completion),
        });
    }
    events
}

/// The first [`MAX_TEXT`] characters.
fn cut(text: &str) -> &str {
    text.char_indices().nth(MAX_TEXT).map_or(text, |(end, _)| &text[..end])
}

/// Cuts each text in a value. The parser of JSON bounds the depth.
fn cut_texts(value: &mut Value) {
    match value {
        Value::String(text) => text.truncate(cut(text).len()),
        Value::Array(items) => items.iter_mut().for_each(cut_texts),
        Value::Object(map) => map.values_mut().for_each(cut_texts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
