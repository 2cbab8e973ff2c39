//! Content types of answers.

use crate::language::compile::metering::Framing;

/// The kind of an answer by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// JSON.
    Json,
    /// A stream.
    Framed(Framing),
    /// Something that is not read.
    Other,
    /// No content type.
    Missing,
}

const FRAMED: [(&str, Framing); 7] = [
    ("text/event-stream", Framing::Sse),
    ("application/x-ndjson", Framing::Ndjson),
    ("application/ndjson", Framing::Ndjson),
    ("application/jsonl", Framing::Ndjson),
    ("application/x-jsonlines", Framing::Ndjson),
    ("application/stream+json", Framing::Ndjson),
    ("application/vnd.amazon.eventstream", Framing::AwsEventStream),
];

/// The kind of a content type.
pub(super) fn of(content_type: Option<&[u8]>) -> Media {
    let Some(value) = content_type else { return Media::Missing };
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    if let Some((_, framing)) = FRAMED.iter().find(|(name, _)| is(name)) {
        return Media::Framed(*framing);
    }
    let suffix = essence.len().checked_sub(5).and_then(|start| essence.get(start..));
    if is("application/json")
        || is("text/json")
        || suffix.is_some_and(|end| end.eq_ignore_ascii_case(b"+json"))
    {
        return Media::Json;
    }
    Media::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_select_the_framing() {
        let check =
            |value: &str, expected: Media| assert_eq!(of(Some(value.as_bytes())), expected, "{value}");
        check("application/json", Media::Json);
        check("Application/JSON; charset=utf-8", Media::Json);
        check("application/problem+json", Media::Json);
        check("text/event-stream;charset=UTF-8", Media::Framed(Framing::Sse));
        check("application/x-ndjson", Media::Framed(Framing::Ndjson));
        check("application/stream+json", Media::Framed(Framing::Ndjson));
        check("application/vnd.amazon.eventstream", Media::Framed(Framing::AwsEventStream));
        check("text/html; charset=utf-8", Media::Other);
        check("", Media::Other);
        check("json", Media::Other);
        assert_eq!(of(None), Media::Missing);
    }
}
