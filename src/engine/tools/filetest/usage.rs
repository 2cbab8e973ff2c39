//! Meters the answer of a test, and compares the usage with the expected one. It runs the meter that answers run through:
//! once in one piece, and once byte by byte.

use std::sync::Arc;

use http::{Method, request::Parts};
use serde_json::Value;

use super::{
    Mismatch,
    absent::{Absent, absent},
    frames,
};
use crate::{
    base::usage::{Counter, NotCounted},
    language::{
        compile::metering::{Framing, Metering, WhenMissing},
        syntax::{Expect, ExpectContent, ExpectUsage, Payload, StringMap, TestAnswer, TestRequest},
    },
    request::{
        access_record::Usage,
        meter::{
            Meter,
            ask::{self, ExtraFilter},
        },
        table::Hit,
    },
};

/// The exchange of a test, with bodies as they pass.
struct Exchange<'a> {
    metering: &'a Arc<Metering>,
    model: Option<String>,
    request: String,
    request_type: Option<&'a str>,
    status: u16,
    content_type: Option<String>,
    answer: Vec<u8>,
    is_complete: bool,
}

/// A metered exchange.
#[derive(Debug)]
pub(super) struct Metered {
    usage: Usage,
    /// The places that hold nothing.
    absent: Absent,
    /// The stream that the client gets, and its framing. None if the answer is none.
    stream: Option<(Framing, Vec<u8>)>,
}

/// A test's exchange; none if it is not metered. The error is a sentence.
pub(super) fn metered(
    hit: &Hit,
    request: &TestRequest,
    answer: &TestAnswer,
) -> Result<Option<Metered>, String> {
    let metering = hit.endpoint().metering.as_ref();
    let written = [answer.body.is_some(), answer.text.is_some(), answer.events.is_some()];
    if written.into_iter().filter(|is_written| *is_written).count() > 1 {
        return Err("its answer has more than one of `body`, `text` and `events`".to_owned());
    }
    let framing = metering.and_then(|metering| metering.framings.first());
    if answer.events.is_some() && framing.is_none() {
        return Err("its answer has `events`, but no stream of the endpoint is metered".to_owned());
    }
    let encoded = [("request", &request.headers, request.body.is_some()), ("answer", &answer.headers, true)];
    for (side, headers, has_body) in encoded {
        let coding = header(headers.as_ref(), "content-encoding").filter(|_| has_body);
        if let Some(coding) = coding.filter(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return Err(format!(
                "its {side} has the content coding `{coding}`, but a test holds plain text: leave the header out"
            ));
        }
    }
    let Some(metering) = metering.filter(|_| (200..300).contains(&answer.status())) else { return Ok(None) };
    let stream = answer.events.as_deref().zip(framing.copied());
    let is_body = answer.body.is_some() || answer.text.is_some();
    let content_type = match stream {
        Some((_, framing)) => Some(frames::content_type(framing)),
        None => is_body.then_some("application/json"),
    };
    let given = header(answer.headers.as_ref(), "content-type");
    let path = request.path.split('?').next().unwrap_or_default();
    let exchange = Exchange {
        metering,
        model: hit.captured_model(path),
        request: request.body.as_ref().map(Payload::text).unwrap_or_default(),
        request_type: header(request.headers.as_ref(), "content-type"),
        status: answer.status(),
        content_type: given.or(content_type).map(str::to_owned),
        answer: match stream {
            Some((events, framing)) => frames::stream(framing, events),
            None => body(answer).into_bytes(),
        },
        is_complete: answer.cut != Some(true),
    };
    let (whole, cut) = (exchange.usage(usize::MAX), exchange.usage(1));
    if whole != cut {
        return Err(format!(
            "the usage depends on the pieces of the answer: {whole:?}, byte by byte {cut:?}"
        ));
    }
    let stream = stream.map(|(_, framing)| (framing, exchange.passed()));
    Ok(Some(Metered { usage: whole, absent: absent(metering, request, answer), stream }))
}

/// The body that a test's request is sent upstream with.
pub(super) fn sent_body(hit: &Hit, head: &Parts, request: &TestRequest) -> Vec<u8> {
    let body = request.body.as_ref().map(Payload::text).unwrap_or_default().into_bytes();
    if matches!(head.method, Method::GET | Method::HEAD) {
        return Vec::new();
    }
    let metering = hit.endpoint().metering.as_ref();
    let wanted = metering.filter(|metering| metering.when_missing == WhenMissing::Ask);
    let wanted = wanted.and_then(|metering| metering.ask.as_deref());
    match wanted.filter(|_| ask::is_changeable(&head.headers)).map(|wanted| ask::ask(wanted, &body)) {
        Some(Ok(Some(splice))) => splice.apply(&body),
        Some(Ok(None) | Err(_)) | None => body,
    }
}

/// A header as a test has it.
fn header<'a>(headers: Option<&'a StringMap>, wanted: &str) -> Option<&'a str> {
    let found = headers?.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.map(|(_, value)| value.as_str())
}

fn body(answer: &TestAnswer) -> String {
    let json = answer.body.as_ref().map(|body| body.0.to_string());
    json.or_else(|| answer.text.clone()).unwrap_or_default()
}

/// The bytes that a test's meter reads.
pub(super) fn size(request: &TestRequest, answer: &TestAnswer) -> usize {
    let events = answer.events.iter().flatten().map(|event| event.text().len() + 128);
    request.body.as_ref().map_or(0, |body| body.text().len()) + body(answer).len() + events.sum::<usize>()
}

impl Exchange<'_> {
    /// The usage, with bodies in pieces of `most` bytes.
    fn usage(&self, most: usize) -> Usage {
        let mut meter = Meter::new(self.metering.clone(), self.model.as_deref(), true);
        if let Some(request_type) = self.request_type {
            meter.request_type(request_type.as_bytes());
        }
        self.request.as_bytes().chunks(most).for_each(|piece| meter.request(piece));
        meter.request_end();
        meter.answer(self.status, self.content_type.as_deref().map(str::as_bytes));
        self.answer.chunks(most).for_each(|piece| meter.bytes(piece));
        meter.finish(self.is_complete)
    }

    /// The answer as the client gets it.
    fn passed(&self) -> Vec<u8> {
        let Metering { when_missing, ask, .. } = &**self.metering;
        let ask = ask.as_ref().filter(|_| *when_missing == WhenMissing::Ask);
        let asked = ask.filter(|ask| matches!(ask::ask(ask, self.request.as_bytes()), Ok(Some(_))));
        let is_sse = self.content_type.as_deref() == Some(frames::content_type(Framing::Sse));
        let extra = asked.and_then(|ask| ask.extra.as_ref()).filter(|_| is_sse);
        let Some(extra) = extra else { return self.answer.clone() };
        let (mut filter, mut passed) = (ExtraFilter::new(extra), Vec::new());
        filter.push(&self.answer, &mut passed);
        filter.finish(&mut passed);
        passed
    }
}

/// The differences from the expected usage and events. `has_answer`: the test has one.
pub(super) fn compare(expect: &Expect, metered: Option<&Metered>, has_answer: bool) -> Vec<Mismatch> {
    let usage = metered.map(|metered| &metered.usage);
    let mut mismatches = Vec::new();
    if !has_answer && (expect.metered == Some(true) || expect.usage.is_some()) {
        let sentence = "the test has no `answer`, so that there is nothing to meter: add one".to_owned();
        return vec![Mismatch::Other(sentence)];
    }
    match (expect.metered, usage) {
        (Some(false), Some(_)) => mismatches.push(Mismatch::Other("the exchange is metered".to_owned())),
        (Some(true), None) => mismatches.push(Mismatch::Other("the exchange is not metered".to_owned())),
        (Some(_) | None, _) => {}
    }
    match (&expect.usage, usage) {
        (Some(_), None) => {
            let sentence = "the exchange is not metered, so that it has no usage".to_owned();
            mismatches.push(Mismatch::Other(sentence));
        }
        (Some(expected), Some(usage)) => mismatches.extend(differences(expected, usage)),
        (None, _) => {}
    }
    let places = metered.map(|metered| empty_places(&mismatches, &metered.absent)).unwrap_or_default();
    mismatches.extend(places);
    if let Some(expected) = &expect.events {
        mismatches.extend(events(expected, metered));
    }
    mismatches
}

/// The difference from the expected events.
fn events(expected: &[Payload], metered: Option<&Metered>) -> Option<Mismatch> {
    let Some((framing, stream)) = metered.and_then(|metered| metered.stream.as_ref()) else {
        let sentence = "`events` are expected, but the exchange has no metered stream".to_owned();
        return Some(Mismatch::Other(sentence));
    };
    let expected = frames::stream(*framing, expected);
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
    (expected != *stream).then(|| Mismatch::Differs {
        what: "the stream that the client gets".to_owned(),
        expected: shown(&expected),
        actual: Some(shown(stream)),
    })
}

/// The places without a value of those values that are missing, or zero.
fn empty_places(mismatches: &[Mismatch], absent: &Absent) -> Vec<Mismatch> {
    let missing = mismatches.iter().filter_map(|one| match one {
        Mismatch::Differs { what, actual, .. } if actual.as_deref().is_none_or(|actual| actual == "0") => {
            Some(absent.get(what)?.join(", "))
        }
        Mismatch::Differs { .. } | Mismatch::Other(_) => None,
    });
    missing.map(|places| Mismatch::Other(format!("nothing is at {places}"))).collect()
}

fn differences(expected: &ExpectUsage, usage: &Usage) -> Vec<Mismatch> {
    let counts = Counter::ALL.into_iter().map(|counter| {
        let name = format!("the count `{counter}`");
        (name, Some(expected.counter(counter).to_string()), Some(usage.counters.get(counter).to_string()))
    });
    let text = |written: &Option<String>| written.clone();
    let number = |written: Option<u64>| written.map(|number| number.to_string());
    let found = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let flag = |is_set: bool| Some(is_set.to_string());
    // Without text, there is nothing to estimate from.
    let is_estimated = usage.to_estimate.prompt && usage.prompt_bytes > 0
        || usage.to_estimate.answer && usage.answer_bytes > 0;
    // A reason that is left out has to be none.
    let none = || Some("none".to_owned());
    let values = [
        ("the model", text(&expected.model), found(&usage.model)),
        ("the id of the response", text(&expected.id), found(&usage.response_id)),
        ("the finish reason", text(&expected.finish_reason), found(&usage.finish_reason)),
        ("`max_output`", number(expected.max_output), number(usage.max_output)),
        ("`prompt_bytes`", number(expected.prompt_bytes), number(Some(usage.prompt_bytes))),
        ("`answer_bytes`", number(expected.answer_bytes), number(Some(usage.answer_bytes))),
        (
            "`not_counted`",
            text(&expected.not_counted).or_else(none),
            usage.not_counted.map(NotCounted::code).map(str::to_owned).or_else(none),
        ),
        ("`estimated`", flag(expected.estimated == Some(true)), flag(is_estimated)),
        ("`failed`", flag(expected.failed == Some(true)), flag(usage.failed)),
    ];
    let values = values.into_iter().map(|(name, expected, actual)| (name.to_owned(), expected, actual));
    let values = counts.chain(values).chain(expected.content.iter().flat_map(|one| content(one, usage)));
    let differs = |(what, expected, actual): (String, Option<String>, Option<String>)| {
        let expected = expected?;
        (actual.as_ref() != Some(&expected)).then_some(Mismatch::Differs { what, expected, actual })
    };
    values.filter_map(differs).collect()
}

/// The expected and actual values of content, by what they are.
fn content(expected: &ExpectContent, usage: &Usage) -> Vec<(String, Option<String>, Option<String>)> {
    let ExpectContent { prompt, parameters, answer } = expected;
    let content = usage.content.as_deref().cloned().unwrap_or_default();
    let sorted = |mut value: Value| {
        value.sort_all_objects();
        value.to_string()
    };
    let json = |kept: &[(Box<str>, String)], name: &str| {
        let (_, text) = kept.iter().find(|(known, _)| **known == *name)?;
        Some(serde_json::from_str(text).map_or_else(|_| text.clone(), sorted))
    };
    let mut values = Vec::new();
    for (name, value) in prompt.iter().flatten() {
        let what = format!("the content `{name}` of the prompt");
        values.push((what, Some(sorted(value.clone())), json(&content.prompt, name)));
    }
    for (name, value) in parameters.iter().flatten() {
        let what = format!("the parameter `{name}`");
        values.push((what, Some(sorted(value.clone())), json(&content.parameters, name)));
    }
    values.push(("the content of the answer".to_owned(), answer.clone(), Some(content.answer)));
    values
}
