//! The attributes of an exchange, with the names of the semantic conventions (generative AI, HTTP, server, error), and
//! `tollgate.*` for what they have no name for. Never content, a header or a query.

use super::messages::{AnyValue, ArrayValue, KeyValue, Value, attribute, number, text};
use crate::{
    access_record::{AccessRecord, Outcome, Usage},
    fault::FaultKind,
    usage::{Counter, Counters},
};

/// The operation.
pub(super) fn operation(record: &AccessRecord) -> &str {
    record.telemetry.as_ref().map_or("unknown", |names| &*names.operation)
}

/// The provider.
pub(super) fn provider(record: &AccessRecord) -> &str {
    record.telemetry.as_ref().map_or("unknown", |names| &*names.provider)
}

/// All attributes of an exchange, for its span and its log record.
pub(super) fn of(record: &AccessRecord) -> Vec<KeyValue> {
    let mut all = vec![
        text("gen_ai.operation.name", operation(record)),
        text("gen_ai.provider.name", provider(record)),
        text("http.request.method", record.method.as_str()),
        text("url.path", record.path.as_str()),
        number("http.request.body.size", record.bytes_in),
        number("http.response.body.size", record.bytes_out),
        text("client.address", record.peer.to_string()),
        text("tollgate.request.id", record.request_id.as_str()),
        text("tollgate.outcome", record.outcome().as_str()),
    ];
    let optional = [
        ("tollgate.provider.name", record.provider.as_ref().map(ToString::to_string)),
        ("tollgate.endpoint.name", record.endpoint.as_ref().map(ToString::to_string)),
        ("error.type", error_type(record)),
        ("tollgate.user.id", record.user.as_ref().map(ToString::to_string)),
        ("tollgate.user.group", record.group.as_ref().map(ToString::to_string)),
        ("tollgate.token.id", record.token.as_ref().map(ToString::to_string)),
        ("tollgate.credential.owner", record.key_owner.as_ref().map(ToString::to_string)),
    ];
    all.extend(optional.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
    if let Some(status) = record.status {
        all.push(number("http.response.status_code", status.as_u16().into()));
    }
    if let Some(websocket) = record.websocket {
        all.push(text("network.protocol.name", "websocket"));
        all.push(number("tollgate.websocket.close_code", websocket.code.into()));
        all.push(text("tollgate.websocket.closed_by", websocket.closed_by.as_str()));
    }
    if let Some(usage) = &record.usage {
        of_usage(record, usage, &mut all);
    }
    all
}

fn of_usage(record: &AccessRecord, usage: &Usage, all: &mut Vec<KeyValue>) {
    let optional = [
        ("gen_ai.request.model", &usage.request_model),
        ("gen_ai.response.model", &usage.model),
        ("gen_ai.response.id", &usage.response_id),
    ];
    all.extend(optional.into_iter().filter_map(|(key, value)| Some(text(key, value.as_deref()?))));
    if let Some(reason) = &usage.finish_reason {
        let reason = AnyValue { value: Some(Value::String(reason.to_string())) };
        all.push(attribute(
            "gen_ai.response.finish_reasons",
            Value::Array(ArrayValue { values: vec![reason] }),
        ));
    }
    if let Some(max) = usage.max_output {
        all.push(number("gen_ai.request.max_tokens", max));
    }
    if usage.streamed {
        all.push(attribute("gen_ai.request.stream", Value::Bool(true)));
        if let Some(first) = record.first_byte {
            all.push(attribute("gen_ai.response.time_to_first_chunk", Value::Double(first.as_secs_f64())));
        }
    }
    all.extend(tokens(&usage.counters));
    if !usage.estimated.is_zero() {
        all.push(attribute("tollgate.usage.estimated", Value::Bool(true)));
    }
    if let Some(reason) = usage.not_counted {
        all.push(text("tollgate.usage.not_counted", reason.code()));
    }
}

/// Counters that are not zero. Those of the conventions include their parts: input has cached tokens, output has reasoning.
fn tokens(counters: &Counters) -> impl Iterator<Item = KeyValue> {
    let of = |counter| counters.get(counter);
    let all = [
        ("gen_ai.usage.input_tokens", counters.prompt_tokens()),
        ("gen_ai.usage.output_tokens", output_tokens(counters)),
        ("gen_ai.usage.cache_read.input_tokens", of(Counter::CacheRead)),
        ("gen_ai.usage.cache_write.input_tokens", of(Counter::CacheWrite)),
        ("gen_ai.usage.reasoning.output_tokens", of(Counter::Reasoning)),
        ("gen_ai.usage.audio.input_tokens", of(Counter::AudioInput)),
        ("gen_ai.usage.audio.output_tokens", of(Counter::AudioOutput)),
        ("tollgate.usage.images", of(Counter::Images)),
        ("tollgate.usage.characters", of(Counter::Characters)),
        ("tollgate.usage.seconds", of(Counter::Seconds)),
        ("tollgate.usage.units", of(Counter::Units)),
    ];
    all.into_iter().filter(|(_, value)| *value > 0).map(|(key, value)| number(key, value))
}

/// All tokens of the answer.
pub(super) fn output_tokens(counters: &Counters) -> u64 {
    counters.tokens().saturating_sub(counters.prompt_tokens())
}

/// The class of error: the fault's code, else the status of an answer that is an error, else the way it ended.
pub(super) fn error_type(record: &AccessRecord) -> Option<String> {
    let outcome = record.outcome();
    match (record.fault.map(FaultKind::code), outcome) {
        (_, Outcome::Success) => None,
        (Some(code), _) => Some(code.to_owned()),
        (None, Outcome::UpstreamLimited | Outcome::UpstreamRejected | Outcome::UpstreamError) => {
            let status = record.status.filter(|status| status.as_u16() >= 400);
            Some(status.map_or_else(|| outcome.as_str().to_owned(), |status| status.as_str().to_owned()))
        }
        (
            None,
            Outcome::Refused
            | Outcome::GatewayError
            | Outcome::UpstreamFailed
            | Outcome::Cut
            | Outcome::ClientLeft,
        ) => Some(outcome.as_str().to_owned()),
    }
}
