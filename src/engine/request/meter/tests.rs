//! Tests of the meter: formats and the harness here; transcripts, units besides tokens, rules that formats share, forms, ways
//! of cutting and hostile peers in files of their own.

mod answers;
mod cuts;
mod forms;
mod hostile;
mod reference;
mod transcripts;
mod units;

use core::fmt::Write as _;

use super::*;
use crate::{
    base::usage::{Counter, Counters},
    language::compile::metering::{Combine, CounterRule, MapBuilder, Target, WhenMissing},
};

/// A map out of lines: a name, pointers in their order, and `minus`, `plus` or `combine` with words of their own.
fn map(text: &str) -> Arc<Map> {
    let mut builder = MapBuilder::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let (mut section, mut rule) = ("at", CounterRule::default());
        for word in words {
            match (section, word) {
                (_, "minus" | "plus" | "combine") => section = word,
                ("minus", counter) => rule.minus.push(Counter::parse(counter).unwrap()),
                ("combine", name) => rule.combine = Combine::parse(name).unwrap(),
                ("plus", pointer) => {
                    builder.add(pointer, Target::Plus(Counter::parse(name).unwrap())).unwrap();
                }
                (_, pointer) => builder.add(pointer, target(name)).unwrap(),
            }
        }
        if let Some(counter) = Counter::parse(name) {
            builder.rule(counter, rule);
        }
    }
    Arc::new(builder.build().unwrap())
}

fn target(name: &str) -> Target {
    match name {
        "model" => Target::Model,
        "id" => Target::Id,
        "finish" => Target::FinishReason,
        "error" => Target::Error,
        "max_output" => Target::MaxOutput,
        "stream" => Target::Stream,
        "text" => Target::Text,
        "other" => Target::Other,
        "content" => Target::Content,
        _ => match name.split_once(':') {
            Some(("prompt", name)) => Target::Prompt(name.into()),
            Some(("parameter", name)) => Target::Parameter(name.into()),
            _ => Target::Count(Counter::parse(name).unwrap_or_else(|| panic!("{name}"))),
        },
    }
}

fn metering(framings: &[Framing], request: &str, body: &str, event: &str) -> Metering {
    Metering {
        request: map(request),
        body: map(body),
        event: map(event),
        framings: framings.to_vec(),
        when_missing: WhenMissing::Estimate,
        ask: None,
        path_model: None,
    }
}

/// Chat completions.
fn chat() -> Metering {
    let usage = "
        input /usage/prompt_tokens minus cache_read audio_input
        cache_read /usage/prompt_tokens_details/cached_tokens /usage/prompt_cache_hit_tokens
        audio_input /usage/prompt_tokens_details/audio_tokens
        output /usage/completion_tokens minus reasoning audio_output
        reasoning /usage/completion_tokens_details/reasoning_tokens
        audio_output /usage/completion_tokens_details/audio_tokens
        model /model
        id /id
        finish /choices/*/finish_reason
        error /error";
    metering(
        &[Framing::Sse],
        "model /model
         max_output /max_completion_tokens /max_tokens
         stream /stream
         text /messages/*/content /messages/*/content/*/text
         other /messages/*/content/*/image_url
         prompt:messages /messages
         prompt:system /system
         parameter:temperature /temperature",
        &format!("{usage}\ntext /choices/*/message/content\ncontent /choices/0/message/content"),
        &format!(
            "{usage}
             text /choices/*/delta/content /choices/*/delta/tool_calls/*/function/arguments
             content /choices/0/delta/content"
        ),
    )
}

/// Messages: usage in the first event and in the last but one.
fn messages() -> Metering {
    let usage = |at: &str, or: &str| {
        let pointers = |name: &str| format!("{at}/usage/{name} {or}/usage/{name}");
        format!(
            "input {}\ncache_read {}\ncache_write {}\noutput {}\nerror /error",
            pointers("input_tokens"),
            pointers("cache_read_input_tokens"),
            pointers("cache_creation_input_tokens"),
            pointers("output_tokens")
        )
    };
    metering(
        &[Framing::Sse],
        "model /model\nmax_output /max_tokens\ntext /system /messages/*/content /messages/*/content/*/text",
        &format!(
            "{}\nmodel /model\nid /id\nfinish /stop_reason\ntext /content/*/text\ncontent /content/*/text",
            usage("", "/none")
        ),
        &format!(
            "{}\nmodel /message/model\nid /message/id\nfinish /delta/stop_reason
             text /delta/text /delta/partial_json /delta/thinking\ncontent /delta/text",
            usage("", "/message")
        ),
    )
}

/// An exchange.
#[derive(Debug, Clone, Copy)]
struct Exchange<'a> {
    request: &'a [u8],
    request_type: Option<&'a str>,
    status: u16,
    content_type: Option<&'a str>,
    answer: &'a [u8],
    complete: bool,
}

const SSE: Option<&str> = Some("text/event-stream");
const JSON: Option<&str> = Some("application/json");

/// The request of most exchanges.
const ASKED: &str = r#"{"model":"asked","max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}"#;

/// Server-sent events.
fn sse(events: &[&str]) -> Vec<u8> {
    events.iter().flat_map(|event| format!("data: {event}\n\n").into_bytes()).collect()
}

impl<'a> Exchange<'a> {
    fn new(request: &'a str, content_type: Option<&'a str>, answer: &'a [u8]) -> Self {
        let request = request.as_bytes();
        Self { request, request_type: None, status: 200, content_type, answer, complete: true }
    }

    fn cut(self) -> Self {
        Self { complete: false, ..self }
    }

    /// The usage, with both bodies in such pieces.
    fn run<'p>(
        &self,
        metering: &Arc<Metering>,
        request: impl IntoIterator<Item = &'p [u8]>,
        answer: impl IntoIterator<Item = &'p [u8]>,
    ) -> Usage {
        let mut meter = Meter::new(Arc::clone(metering), None, true);
        if let Some(request_type) = self.request_type {
            meter.request_type(request_type.as_bytes());
        }
        request.into_iter().for_each(|piece| meter.request(piece));
        meter.request_end();
        meter.answer(self.status, self.content_type.map(str::as_bytes));
        answer.into_iter().for_each(|piece| meter.bytes(piece));
        meter.finish(self.complete)
    }

    /// The usage of the exchange in one piece. It is the same for single bytes, and for every cut into two.
    fn usage(&self, metering: Metering) -> Usage {
        let metering = Arc::new(metering);
        let (request, answer) = (self.request, self.answer);
        let whole = self.run(&metering, [request], [answer]);
        let single = self.run(&metering, request.chunks(1), answer.chunks(1));
        assert_eq!(single, whole, "in single bytes: {}", answer.escape_ascii());
        for at in 0..=answer.len() {
            let request = request.split_at(at.min(request.len()));
            let answer = answer.split_at(at);
            let cut = self.run(&metering, [request.0, request.1], [answer.0, answer.1]);
            assert_eq!(cut, whole, "cut at {at}: {}", self.answer.escape_ascii());
        }
        whole
    }

    /// Checks the usage as [`shown`].
    fn check(&self, metering: Metering, expected: &str) {
        let usage = self.usage(metering);
        let expected = expected.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(shown(&usage), expected, "{}", self.answer.escape_ascii());
    }
}

/// The fields of usage, without content.
fn shown(usage: &Usage) -> String {
    let Usage {
        counters,
        estimated,
        not_counted,
        model,
        request_model: _,
        response_id,
        finish_reason,
        max_output,
        streamed,
        failed,
        prompt_bytes,
        prompt_has_other,
        answer_bytes,
        to_estimate,
        has_content: _,
        content: _,
    } = usage;
    assert_eq!(*estimated, Counters::ZERO, "the meter estimates nothing");
    let mut text = String::new();
    for (counter, value) in counters.iter().filter(|(_, value)| *value > 0) {
        let _ = write!(text, "{counter}={value} ");
    }
    for (name, value) in [("model", model), ("id", response_id), ("finish", finish_reason)] {
        if let Some(value) = value {
            let _ = write!(text, "{name}={value} ");
        }
    }
    for (name, value) in
        [("prompt", *prompt_bytes), ("answer", *answer_bytes), ("max", max_output.unwrap_or(0))]
    {
        if value > 0 {
            let _ = write!(text, "{name}={value} ");
        }
    }
    let flags = [
        ("other", *prompt_has_other),
        ("streamed", *streamed),
        ("failed", *failed),
        ("estimate-prompt", to_estimate.prompt),
        ("estimate-answer", to_estimate.answer),
    ];
    for (name, _) in flags.iter().filter(|(_, is_set)| *is_set) {
        let _ = write!(text, "{name} ");
    }
    if let Some(reason) = not_counted {
        let _ = write!(text, "{}", reason.code());
    }
    text.trim_end().to_owned()
}
