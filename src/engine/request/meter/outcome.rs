//! The usage of a finished exchange: counters, sides to estimate, and the reason for which something was not counted. The
//! rules are in the parent module.

use std::sync::Arc;

use super::{
    Answer, Meter, Text,
    counters::Counted,
    prompt::json,
    request::Request,
    scanner::Captured,
    tally::{MAX_CONTENT, MAX_LABEL, Tally, bounded},
};
use crate::{
    base::usage::{Counter, CounterSet, NotCounted},
    language::compile::metering::{Map, Target, WhenMissing},
    request::access_record::{Content, Sides, Usage},
};

/// The documents of an answer, as they were found.
struct Found {
    tally: Option<Tally>,
    is_stream: bool,
    is_broken: bool,
    documents: u64,
    /// The reason for which nothing was read.
    unread: Option<NotCounted>,
}

/// The usage of an exchange.
pub(super) fn usage(meter: Meter, is_complete: bool) -> Usage {
    let Meter { metering, captured_model, text, request, answer, is_undecodable } = meter;
    let request = request.unwrap_or_else(|| Box::new(Request::new(&metering.request, false)));
    let (request, captured) = request.into_parts();
    let is_lost = matches!(answer, Answer::Lost);
    let found = Found::new(answer);
    let request_model = captured_model.map(|model| bounded(model.as_bytes(), MAX_LABEL).into());
    let request_model = request_model.or_else(|| request.model.get());
    let mut usage = Usage {
        max_output: request.max_output(),
        prompt_bytes: request.text_bytes,
        prompt_has_other: request.has_other,
        content: content(&metering.request, captured, found.as_ref(), text),
        has_content: metering.has_content(),
        request_model,
        ..Usage::default()
    };
    let Some(found) = found else {
        if is_lost {
            let maps = [&metering.body, &metering.event];
            let prompt = maps.iter().any(|map| map.counted().has_any(CounterSet::PROMPT));
            lacks(&mut usage, metering.when_missing, Sides { prompt, answer: false });
        }
        return usage;
    };
    let map = if found.is_stream { &metering.event } else { &metering.body };
    let none;
    let tally = if let Some(tally) = &found.tally {
        tally
    } else {
        none = Tally::new(map, false);
        &none
    };
    let counted = Counted::new(map, &tally.counts).or(&Counted::new(&metering.request, &request.counts));
    let missing = missing([map, &metering.request], &counted, [request.text_bytes, tally.text_bytes], tally);
    usage.counters = *counted.counters();
    usage.model = tally.model.get().or_else(|| usage.request_model.clone());
    usage.response_id = tally.id.get();
    usage.finish_reason = tally.finish_reason.get();
    usage.streamed = found.is_stream;
    usage.failed = tally.failed;
    usage.answer_bytes = tally.text_bytes;
    usage.not_counted = found.reason(is_undecodable, is_complete, missing).or(counted.reason);
    lacks(&mut usage, metering.when_missing, missing);
    usage
}

/// Sides without counts are estimated, or reported as missing. Without any text, there is nothing to estimate from: a zero would
/// look as if it was counted.
fn lacks(usage: &mut Usage, when_missing: WhenMissing, missing: Sides) {
    let is_missing = if when_missing == WhenMissing::None {
        missing != Sides::default()
    } else {
        usage.to_estimate = missing;
        missing.prompt && usage.prompt_bytes == 0 || missing.answer && usage.answer_bytes == 0
    };
    usage.not_counted = usage.not_counted.or(is_missing.then_some(NotCounted::Missing));
}

/// The sides that the format counts, and the answer did not. The first map is that of the answer. A count of zero beside text is
/// none.
fn missing(maps: [&Map; 2], counted: &Counted, text: [u64; 2], tally: &Tally) -> Sides {
    let counters = counted.counters();
    let (prompt, all) = (counters.prompt_tokens(), counters.tokens());
    let has_prompt =
        has_side(maps, counted, Counter::Input, CounterSet::PROMPT) && (prompt > 0 || text[0] == 0);
    let has_answer =
        has_side(maps, counted, Counter::Output, CounterSet::ANSWER) && (all > prompt || text[1] == 0);
    if all == 0 {
        let has_units = counters.iter().any(|(counter, value)| !counter.is_tokens() && value > 0);
        let only_error = tally.failed && text[1] == 0;
        if has_units || only_error {
            return Sides::default();
        }
    }
    let is_final = has_answer && tally.text_bytes == tally.text_bytes_counted;
    Sides {
        prompt: !has_prompt && maps[0].counted().has_any(CounterSet::PROMPT),
        answer: !is_final && maps[0].counted().has_any(CounterSet::ANSWER),
    }
}

/// True if a side was counted: its main counter has a value. Parts of it alone do not say its size; only where no format has
/// a place for the main counter, they are all that there is.
fn has_side(maps: [&Map; 2], counted: &Counted, main: Counter, side: CounterSet) -> bool {
    let has_place = maps.iter().any(|map| map.counted().has(main));
    counted.has_any(if has_place { CounterSet::default().with(main) } else { side })
}

impl Found {
    fn new(answer: Answer) -> Option<Self> {
        let unread =
            |reason| Self { tally: None, is_stream: false, is_broken: false, documents: 1, unread: reason };
        let (is_stream, reader) = match answer {
            Answer::Nothing | Answer::Lost => return None,
            Answer::Unread(reason) => return Some(unread(reason)),
            // No byte but space came.
            Answer::Undecided => return Some(Self { documents: 0, ..unread(None) }),
            Answer::Body(reader) => (false, *reader),
            Answer::Stream(stream) => (true, stream.1),
        };
        let (is_broken, documents) = (reader.is_broken, reader.documents);
        Some(Self { tally: Some(reader.into_parts().0), is_stream, is_broken, documents, unread: None })
    }

    /// The reason for which the answer was not read, or not wholly.
    fn reason(&self, is_undecodable: bool, is_complete: bool, missing: Sides) -> Option<NotCounted> {
        let is_missing = missing != Sides::default();
        let is_broken = self.is_broken && (is_missing || !self.is_stream);
        if is_undecodable {
            Some(NotCounted::Coding)
        } else if is_broken || (is_complete && self.documents == 0) {
            Some(NotCounted::Format)
        } else {
            self.unread
        }
    }
}

/// The text of both sides, and the parameters of the request.
fn content(
    map: &Map,
    mut captured: Vec<Captured>,
    found: Option<&Found>,
    text: Text,
) -> Option<Arc<Content>> {
    let mut content = Content { is_dropped: text == Text::Dropped, ..Content::default() };
    // The order is that of the api file.
    captured.sort_by_key(|value| value.entry);
    for value in captured {
        match &map.entries()[usize::from(value.entry)].target {
            Target::Prompt(name) => {
                content.is_cut |= value.is_cut;
                // Without room, nothing of it is known.
                if !value.bytes.is_empty() {
                    content.prompt.push((name.clone(), json(&value)));
                }
            }
            Target::Parameter(name) if !value.is_cut && is_plain(&value.bytes) => {
                content.parameters.push((name.clone(), json(&value)));
            }
            _ => {}
        }
    }
    let answer = found.and_then(|found| found.tally.as_ref()?.content.as_ref());
    content.is_cut |= answer.is_some_and(|text| text.len() > MAX_CONTENT);
    content.answer = answer.map(|text| bounded(text, MAX_CONTENT)).unwrap_or_default();
    (text != Text::Unwanted || !content.parameters.is_empty()).then(|| Arc::new(content))
}

/// A number, a string or a boolean.
fn is_plain(value: &[u8]) -> bool {
    !value.starts_with(b"{") && !value.starts_with(b"[") && value != b"null"
}
