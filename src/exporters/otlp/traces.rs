//! Spans: one for each exchange, and one below it for each wait on the way to the answer.
//!
//! The id of an exchange's span is its request id, so that a header that hands the trace on can name it before the span
//! ends.

use std::time::Duration;

use super::{
    attributes::{self, error_type, operation},
    messages::{KIND_CLIENT, KIND_INTERNAL, STATUS_ERROR, Span, Status, number, text},
};
use crate::{
    access_record::{AccessRecord, Wait},
    exporters::ids::Ids,
    hex,
    trace_context::TraceContext,
};

/// `SpanFlags`: the context says whether the parent is remote; it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Makes spans, and ids for those without.
pub(super) struct Traces(Ids);

/// The place of an exchange in its trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The trace, and the client's span.
    pub(super) context: TraceContext,
    /// The exchange's span.
    pub(super) span: [u8; 8],
}

impl Place {
    /// The flags of W3C trace context.
    pub(super) fn flags(&self) -> u32 {
        u32::from(self.context.sampled)
    }
}

impl Traces {
    pub(super) fn new() -> Self {
        Self(Ids::new())
    }

    /// The place of an exchange. Without a client's context, it is a trace of its own.
    pub(super) fn trace(&mut self, record: &AccessRecord) -> Place {
        let own = || TraceContext::begun(self.0.bytes());
        let context = record.trace.as_deref().copied().unwrap_or_else(own);
        let span = hex::decode::<8>(&record.request_id).unwrap_or_else(|| self.0.bytes());
        Place { context, span }
    }

    /// All spans of an exchange, its own first.
    pub(super) fn spans(&mut self, record: &AccessRecord, place: &Place) -> Vec<Span> {
        let mut spans = vec![exchange(record, place)];
        let waits = [
            ("credential refresh", record.waits.refresh),
            ("upstream connect", record.waits.connect),
            ("upstream first byte", first_byte(record)),
        ];
        for (name, wait) in waits {
            if let Some(wait) = wait {
                spans
                    .push(Span { span_id: self.0.bytes::<8>().to_vec(), ..below(name, record, place, wait) });
            }
        }
        spans
    }
}

fn exchange(record: &AccessRecord, place: &Place) -> Span {
    let operation = operation(record);
    let model = record.usage.as_ref().and_then(|usage| usage.request_model.as_deref());
    let mut attributes = attributes::of(record);
    if let Some(upstream) = &record.upstream {
        attributes.push(text("server.address", upstream.host()));
        attributes.push(number("server.port", upstream.port.into()));
    }
    let parent = place.context.parent;
    let message = record.outcome().as_str().to_owned();
    Span {
        trace_id: place.context.trace_id.to_vec(),
        span_id: place.span.to_vec(),
        parent_span_id: parent.map(Vec::from).unwrap_or_default(),
        flags: place.flags() | HAS_IS_REMOTE | if parent.is_some() { IS_REMOTE } else { 0 },
        name: model.map_or_else(|| operation.to_owned(), |model| format!("{operation} {model}")),
        kind: KIND_CLIENT,
        start_time_unix_nano: time(record, Duration::ZERO),
        end_time_unix_nano: time(record, record.duration),
        attributes,
        status: error_type(record).map(|_| Status { message, code: STATUS_ERROR }),
    }
}

/// The time from the sending, or from the end of the connecting, to the first byte of the answer.
fn first_byte(record: &AccessRecord) -> Option<Wait> {
    let connected = record.waits.connect.map(|connect| connect.after + connect.length);
    let after = record.waits.sent?.max(connected.unwrap_or_default());
    Some(Wait { after, length: record.first_byte?.saturating_sub(after) })
}

fn below(name: &str, record: &AccessRecord, place: &Place, wait: Wait) -> Span {
    Span {
        trace_id: place.context.trace_id.to_vec(),
        parent_span_id: place.span.to_vec(),
        flags: place.flags() | HAS_IS_REMOTE,
        name: name.to_owned(),
        kind: KIND_INTERNAL,
        start_time_unix_nano: time(record, wait.after),
        end_time_unix_nano: time(record, wait.after + wait.length),
        ..Span::default()
    }
}

/// A time of an exchange, in nanoseconds since 1970.
pub(super) fn time(record: &AccessRecord, after: Duration) -> u64 {
    let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    record.started_at_ms.saturating_mul(1_000_000).saturating_add(after)
}
