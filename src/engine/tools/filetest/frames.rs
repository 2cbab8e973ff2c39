//! Frames the events of a test's answer as an upstream sends them.

use serde_json::Value;

use crate::language::{compile::metering::Framing, syntax::Payload};

/// The content type of streams.
pub(super) fn content_type(framing: Framing) -> &'static str {
    match framing {
        Framing::Sse => "text/event-stream",
        Framing::Ndjson => "application/x-ndjson",
        Framing::JsonArray => "application/json",
        Framing::AwsEventStream => "application/vnd.amazon.eventstream",
    }
}

/// The bytes of a stream with these events.
pub(super) fn stream(framing: Framing, events: &[Payload]) -> Vec<u8> {
    let texts = || events.iter().map(Payload::text);
    match framing {
        Framing::Sse => texts().flat_map(|text| sse_event(&text)).collect(),
        Framing::Ndjson => texts().flat_map(|text| format!("{text}\n").into_bytes()).collect(),
        Framing::JsonArray => format!("[{}]", texts().collect::<Vec<_>>().join(",\r\n")).into_bytes(),
        Framing::AwsEventStream => events.iter().flat_map(aws_message).collect(),
    }
}

fn sse_event(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| format!("data: {line}\n"));
    (lines.collect::<String>() + "\n").into_bytes()
}

/// A table with one key is a message of that type, and an exception if the name ends so. Anything else is a payload.
fn aws_message(event: &Payload) -> Vec<u8> {
    let named = event.json().and_then(Value::as_object).filter(|table| table.len() == 1);
    match named.and_then(|table| table.iter().next()) {
        Some((name, payload)) if name.ends_with("Exception") => {
            message(&[(":exception-type", name), (":message-type", "exception")], &payload.to_string())
        }
        Some((name, payload)) => {
            message(&[(":event-type", name), (":message-type", "event")], &payload.to_string())
        }
        None => message(&[(":message-type", "event")], &event.text()),
    }
}

/// A message of the AWS event stream: a prelude, headers of strings, the payload and a checksum.
fn message(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    const STRING: u8 = 7;
    let mut head = Vec::new();
    for (name, value) in headers.iter().chain(&[(":content-type", "application/json")]) {
        head.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        head.extend_from_slice(name.as_bytes());
        head.push(STRING);
        head.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let total = 16 + head.len() + payload.len();
    let mut message = [length(total), length(head.len())].concat();
    message.extend_from_slice(&checksum(&message).to_be_bytes());
    message.extend_from_slice(&head);
    message.extend_from_slice(payload.as_bytes());
    message.extend_from_slice(&checksum(&message).to_be_bytes());
    message
}

/// CRC-32 (ISO-HDLC).
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(sum & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(framing: Framing, events: &str) -> Vec<u8> {
        let events: Vec<Payload> = serde_json::from_str(events).unwrap();
        stream(framing, &events)
    }

    #[test]
    fn events_are_framed_as_upstreams_send_them() {
        let check = |framing, events, expected: &str| {
            assert_eq!(String::from_utf8(framed(framing, events)).unwrap(), expected);
        };
        check(
            Framing::Sse,
            r#"[{"a":1}, "[DONE]", "b\nc"]"#,
            "data: {\"a\":1}\n\ndata: [DONE]\n\ndata: b\ndata: c\n\n",
        );
        check(Framing::Ndjson, r#"[{"a":1}, "{}"]"#, "{\"a\":1}\n{}\n");
        check(Framing::JsonArray, r#"[{"a":1}, "{}"]"#, "[{\"a\":1},\r\n{}]");
        check(Framing::JsonArray, "[]", "[]");
    }

    /// The check value of the algorithm, and the lengths of a message.
    #[test]
    fn messages_of_the_binary_stream_have_lengths_and_checksums() {
        assert_eq!(checksum(b"123456789"), 0xCBF4_3926);
        let bytes = framed(
            Framing::AwsEventStream,
            r#"[{"stop":{"a":1}}, {"throttlingException":{"message":"no"}}]"#,
        );
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let (total, head) = (usize::try_from(number(0)).unwrap(), usize::try_from(number(4)).unwrap());
        assert_eq!(number(8), checksum(&bytes[..8]));
        assert_eq!(number(total - 4), checksum(&bytes[..total - 4]));
        assert_eq!(&bytes[12 + head..total - 4], b"{\"a\":1}");
        let text = String::from_utf8_lossy(&bytes[total..]).into_owned();
        assert!(text.contains("throttlingException") && text.contains(":message-type"), "{text}");
    }
}
