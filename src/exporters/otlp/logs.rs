//! Log records: one for each exchange, with the attributes of its span, and its place in the trace.

use super::{
    attributes,
    messages::LogRecord,
    traces::{Place, time},
};
use crate::access_record::{AccessRecord, Outcome};

/// The event of all records.
const EVENT: &str = "tollgate.exchange";

/// The record of an exchange.
pub(super) fn record(record: &AccessRecord, place: &Place) -> LogRecord {
    let (severity_number, severity_text) = severity(record.outcome());
    let ended = time(record, record.duration);
    LogRecord {
        time_unix_nano: ended,
        observed_time_unix_nano: ended,
        severity_number,
        severity_text: severity_text.to_owned(),
        attributes: attributes::of(record),
        flags: place.flags(),
        trace_id: place.context.trace_id.to_vec(),
        span_id: place.span.to_vec(),
        event_name: EVENT.to_owned(),
    }
}

/// `SeverityNumber`, and its text.
const fn severity(outcome: Outcome) -> (i32, &'static str) {
    match outcome {
        Outcome::Success => (9, "INFO"),
        Outcome::Refused | Outcome::ClientLeft | Outcome::UpstreamLimited | Outcome::UpstreamRejected => {
            (13, "WARN")
        }
        Outcome::GatewayError | Outcome::UpstreamFailed | Outcome::UpstreamError | Outcome::Cut => {
            (17, "ERROR")
        }
    }
}
