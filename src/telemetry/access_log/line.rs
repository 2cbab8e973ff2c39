//! A line of the access log. docs/operating.md describes each field; a test holds that table against this file.
//!
//! Fields without a value are left out, and so are counters that are 0. Headers, queries and bodies are not in a record,
//! except [`Usage::content`], which is never written.

use std::{borrow::Cow, fmt::Write as _};

use crate::{
    access_record::{AccessRecord, Usage, Waits, WebSocketEnd},
    clock::utc_ms,
    escape,
    fault::FaultKind,
    hex,
    name::{FileName, GroupName, LimitId, TokenId, UserId},
    numbers::millis,
    usage::{Counters, NotCounted},
};

/// The most that is written of a text, in bytes.
const MAX_TEXT: usize = 256;

/// Appends the line of an exchange, without its end.
pub(super) fn write(record: &AccessRecord, human: bool, out: &mut String) {
    let time = utc_ms(record.ended_at_ms());
    // Writing to a string cannot fail.
    let _ = if human {
        write!(out, "{time}  INFO request")
    } else {
        write!(out, r#"{{"timestamp":"{time}","level":"INFO","message":"request""#)
    };
    let mut line = Line { out, human };
    line.exchange(record);
    if let Some(usage) = &record.usage {
        line.usage(usage);
    }
    if !human {
        out.push('}');
    }
}

struct Line<'o> {
    out: &'o mut String,
    human: bool,
}

impl Line<'_> {
    /// All fields but those of the usage.
    fn exchange(&mut self, record: &AccessRecord) {
        let AccessRecord {
            request_id,
            started_at_ms: _, // `timestamp` and `ms` say it.
            peer,
            method,
            path,
            user,
            group,
            token,
            key_owner,
            provider,
            endpoint,
            status,
            fault,
            limit,
            bytes_in,
            bytes_out,
            first_byte,
            duration,
            end,
            websocket,
            upstream,
            waits: Waits { refresh, connect, sent: _ },
            trace,
            usage: _,
            telemetry: _, // For OpenTelemetry; `provider` and `endpoint` say it here.
        } = record;
        self.text("request_id", Some(request_id));
        self.text("peer", Some(&peer.to_string()));
        self.text("method", Some(method.as_str()));
        self.text("path", Some(path));
        self.text("user", user.as_ref().map(UserId::as_str));
        self.text("group", group.as_ref().map(GroupName::as_str));
        self.text("token", token.as_ref().map(TokenId::as_str));
        self.text("key_owner", key_owner.as_ref().map(ToString::to_string).as_deref());
        self.text("provider", provider.as_ref().map(FileName::as_str));
        self.text("endpoint", endpoint.as_deref());
        self.text("upstream", upstream.as_ref().map(ToString::to_string).as_deref());
        self.number("status", status.map(|status| status.as_u16().into()));
        self.text("fault", fault.map(FaultKind::code));
        self.text("limit", limit.as_ref().map(LimitId::as_str));
        self.number("bytes_in", Some(*bytes_in));
        self.number("bytes_out", Some(*bytes_out));
        self.number("first_byte_ms", first_byte.map(millis));
        self.number("refresh_ms", refresh.map(|wait| millis(wait.length)));
        self.number("connect_ms", connect.map(|wait| millis(wait.length)));
        self.number("ms", Some(millis(*duration)));
        self.text("end", Some(end.as_str()));
        if let Some(WebSocketEnd { closed_by, code, frames_in, frames_out }) = websocket {
            self.text("upgrade", Some("websocket"));
            self.text("closed_by", Some(closed_by.as_str()));
            self.number("close_code", Some((*code).into()));
            self.number("frames_in", Some(*frames_in));
            self.number("frames_out", Some(*frames_out));
        }
        self.text("outcome", Some(record.outcome().as_str()));
        self.text("trace_id", trace.as_ref().map(|trace| hex::encode(&trace.trace_id)).as_deref());
    }

    fn usage(&mut self, usage: &Usage) {
        let Usage {
            counters,
            estimated,
            not_counted,
            model,
            request_model,
            response_id,
            finish_reason,
            max_output,
            streamed,
            failed,
            prompt_bytes,
            answer_bytes,
            to_estimate: _, // The estimate has been made.
            prompt_has_other: _,
            has_content: _, // It is a property of the api file.
            content: _,     // Never.
        } = usage;
        self.text("model", model.as_deref());
        self.text("request_model", request_model.as_deref());
        self.text("response_id", response_id.as_deref());
        self.text("finish_reason", finish_reason.as_deref());
        self.number("max_output", *max_output);
        self.flag("streamed", *streamed);
        self.flag("failed", *failed);
        self.counters("usage_", counters);
        self.counters("estimated_", estimated);
        self.text("not_counted", not_counted.map(NotCounted::code));
        self.number("prompt_text_bytes", Some(*prompt_bytes).filter(|bytes| *bytes > 0));
        self.number("answer_text_bytes", Some(*answer_bytes).filter(|bytes| *bytes > 0));
    }

    fn counters(&mut self, prefix: &str, counters: &Counters) {
        for (counter, value) in counters.iter().filter(|(_, value)| *value > 0) {
            self.name(&[prefix, counter.name()]);
            let _ = write!(self.out, "{value}");
        }
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.name(&[name]);
            let _ = write!(self.out, "{value}");
        }
    }

    fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.name(&[name]);
            self.out.push_str("true");
        }
    }

    /// For people, a text is quoted if it is not a plain word. No value forges a field: a word has neither space nor `=`.
    fn text(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.name(&[name]);
        let value = bounded(value);
        if self.human && !value.is_empty() && value.bytes().all(is_of_word) {
            self.out.push_str(&value);
        } else if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte)) {
            self.out.extend(["\"", &value, "\""]);
        } else {
            self.out.push_str(&serde_json::Value::from(&*value).to_string());
        }
    }

    fn name(&mut self, parts: &[&str]) {
        self.out.push_str(if self.human { " " } else { ",\"" });
        self.out.extend(parts.iter().copied());
        self.out.push_str(if self.human { "=" } else { "\":" });
    }
}

fn is_of_word(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !b"\"\\=".contains(&byte)
}

/// The text, cut at a character if it is too long; hidden characters escaped.
fn bounded(text: &str) -> Cow<'_, str> {
    escape::value(&text[..text.floor_char_boundary(MAX_TEXT)])
}
