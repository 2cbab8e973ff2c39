use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use http::HeaderValue;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;
use crate::{
    access_record::{HIDDEN, Sides},
    compile::metering::{CounterRule, Framing, Map, MapBuilder, Metering, Target, WhenMissing},
    usage::{Counter, Counters, NotCounted},
};

fn map(pointers: &[(&str, Target)]) -> Arc<Map> {
    let mut builder = MapBuilder::new();
    for (pointer, target) in pointers {
        builder.add(pointer, target.clone()).unwrap();
    }
    builder.rule(Counter::Output, CounterRule::default());
    Arc::new(builder.build().unwrap())
}

fn metered() -> Metered {
    sent(&[])
}

/// The meter of a request with such headers.
fn sent(lines: &[(&'static str, &'static str)]) -> Metered {
    Metered::of(Meter::new(Arc::new(metering()), None, false), &headers(lines), None, &Budget::default())
}

fn metering() -> Metering {
    let usage =
        [("/usage/in", Target::Count(Counter::Input)), ("/usage/out", Target::Count(Counter::Output))];
    Metering {
        request: map(&[("/model", Target::Model), ("/prompt", Target::Text)]),
        body: map(&usage),
        event: map(&[usage.to_vec(), vec![("/text", Target::Text)]].concat()),
        framings: vec![Framing::Sse],
        when_missing: WhenMissing::Estimate,
        ask: None,
        path_model: None,
    }
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

const JSON: (&str, &str) = ("content-type", "application/json");
const SSE: (&str, &str) = ("content-type", "text/event-stream");

#[test]
fn both_bodies_are_metered() {
    let metered = metered();
    metered.tap().data(br#"{"model":"m-1","prom"#);
    metered.tap().data(br#"pt":"abc"}"#);
    metered.answer(StatusCode::OK, &headers(&[JSON]));
    metered.bytes(br#"{"usage":{"in":3,"#);
    // The upload may end after the answer has begun.
    metered.tap().end();
    metered.bytes(br#""out":4}}"#);
    let usage = metered.finish(true).unwrap();
    assert_eq!((usage.counters.get(Counter::Input), usage.counters.get(Counter::Output)), (3, 4));
    assert_eq!((usage.model.as_deref(), usage.prompt_bytes, usage.not_counted), (Some("m-1"), 3, None));
    // What comes later changes nothing.
    metered.tap().data(b"{}");
    metered.tap().end();
    metered.bytes(b"{}");
    assert_eq!(metered.finish(true), None);
}

#[test]
fn a_form_is_read_by_the_content_type_of_the_request() {
    let metered = sent(&[("content-type", "multipart/form-data; boundary=b")]);
    metered.tap().data(b"--b\r\nContent-Disposition: form-data; name=model\r\n\r\nm");
    metered.tap().data(b"-1\r\n--b--");
    metered.tap().end();
    assert_eq!(metered.finish(true).unwrap().request_model.as_deref(), Some("m-1"));
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

const PROMPT: &[u8] = br#"{"model":"m-1","prompt":"abc"}"#;

/// The model and the bytes of text in a request that was sent in two pieces.
fn read(lines: &[(&'static str, &'static str)], body: &[u8], ends: bool) -> (Option<Box<str>>, u64) {
    let metered = sent(lines);
    let (start, rest) = body.split_at(body.len() / 2);
    metered.tap().data(start);
    metered.tap().data(rest);
    if ends {
        metered.tap().end();
    }
    metered.answer(StatusCode::OK, &headers(&[JSON]));
    metered.bytes(br#"{"usage":{"in":3,"out":4}}"#);
    let usage = metered.finish(true).unwrap();
    assert_eq!((usage.counters.get(Counter::Input), usage.not_counted), (3, None));
    (usage.request_model, usage.prompt_bytes)
}

#[test]
fn a_request_is_decoded() {
    let whole = (Some("m-1".into()), 3);
    let (gzip, zstd) = (gzip(PROMPT), compress_to_vec(PROMPT, CompressionLevel::Uncompressed));
    assert_eq!(read(&[("content-encoding", "gzip")], &gzip, true), whole);
    assert_eq!(read(&[("content-encoding", "zstd")], &zstd, true), whole);
    assert_eq!(read(&[("content-encoding", "identity")], PROMPT, true), whole);
    // The exchange may end before the request.
    assert_eq!(read(&[("content-encoding", "gzip")], &gzip, false), whole);
}

/// What came before the damage counts.
#[test]
fn a_request_that_cannot_be_decoded_is_not_read() {
    let none = (None, 0);
    for coding in ["compress", "gzip, gzip", "gzip", "zstd", "br", "deflate"] {
        assert_eq!(read(&[("content-encoding", coding)], PROMPT, true), none, "{coding}");
    }
    let twice = [("content-encoding", "gzip"), ("content-encoding", "gzip")];
    assert_eq!(read(&twice, &gzip(PROMPT), true), none);
    let mut cut = gzip(PROMPT);
    cut.truncate(cut.len() - 8);
    assert_eq!(read(&[("content-encoding", "gzip")], &cut, true), (Some("m-1".into()), 3));
}

#[test]
fn a_request_without_room_for_its_decoder_is_not_read() {
    let budget = Budget::default();
    let room: Vec<_> = std::iter::from_fn(|| budget.take(b"br")).collect();
    let metered = Metered::of(
        Meter::new(Arc::new(metering()), None, false),
        &headers(&[("content-encoding", "gzip")]),
        None,
        &budget,
    );
    metered.tap().data(&gzip(PROMPT));
    metered.tap().end();
    metered.answer(StatusCode::OK, &headers(&[JSON]));
    metered.bytes(br#"{"usage":{"in":3,"out":4}}"#);
    let usage = metered.finish(true).unwrap();
    assert_eq!((usage.request_model, usage.counters.get(Counter::Output)), (None, 4));
    drop(room);
    assert!(budget.take(b"br").is_some());
}

/// The request is there all the same.
#[test]
fn only_successful_answers_use_anything() {
    let check = |answer: fn(&Metered)| {
        let metered = metered();
        metered.tap().data(br#"{"model":"m-1","prompt":"abc"}"#);
        answer(&metered);
        metered.bytes(br#"{"usage":{"in":3,"out":4},"model":"m-2"}"#);
        let expected = Usage { request_model: Some("m-1".into()), prompt_bytes: 3, ..Usage::default() };
        assert_eq!(metered.finish(true), Some(expected));
    };
    check(|metered| metered.answer(StatusCode::BAD_REQUEST, &headers(&[JSON])));
    check(|metered| metered.answer(StatusCode::MOVED_PERMANENTLY, &headers(&[JSON])));
    check(|metered| metered.answer(StatusCode::BAD_GATEWAY, &headers(&[JSON])));
    check(Metered::head_came);
    check(|metered| {
        metered.answer(StatusCode::OK, &headers(&[JSON]));
        metered.bytes(br#"{"usage":{"in":3,"#);
        metered.no_answer();
    });
}

/// The upstream may bill it.
#[test]
fn a_request_without_an_answer_has_its_prompt() {
    let metered = metered();
    metered.tap().data(br#"{"model":"m-1","prompt":"abc"}"#);
    let usage = metered.finish(false).unwrap();
    assert_eq!((usage.request_model.as_deref(), usage.prompt_bytes), (Some("m-1"), 3));
    assert_eq!(usage.model, None, "no upstream has shown that it knows it");
    assert_eq!(usage.to_estimate, Sides { prompt: true, answer: false });
    assert_eq!((usage.counters, usage.not_counted), (Counters::ZERO, None));
}

#[test]
fn a_prompt_that_broke_off_before_its_text_is_reported() {
    let metered = metered();
    metered.tap().data(br#"{"model":"m-1","#);
    let usage = metered.finish(false).unwrap();
    assert_eq!((usage.request_model.as_deref(), usage.not_counted), (Some("m-1"), Some(NotCounted::Missing)));
}

#[test]
fn a_request_that_was_not_sent_has_no_usage() {
    assert_eq!(metered().finish(false), Some(Usage::default()));
}

#[test]
fn a_request_that_is_sent_again_awaits_another_answer() {
    let metered = metered();
    metered.tap().data(br#"{"model":"m-1","prompt":"abc"}"#);
    metered.head_came();
    metered.sent_again();
    assert!(metered.finish(false).unwrap().to_estimate.prompt);
}

/// The answer may begin before the request has ended.
#[test]
fn a_request_that_goes_on_after_an_error_uses_nothing() {
    let metered = metered();
    metered.tap().data(br#"{"model":"m-1","#);
    metered.answer(StatusCode::PAYLOAD_TOO_LARGE, &headers(&[JSON]));
    metered.tap().data(br#""prompt":"abc"}"#);
    assert_eq!(metered.finish(false).unwrap().to_estimate, Sides::default());
}

#[test]
fn a_cut_stream_has_what_came() {
    let metered = metered();
    metered.answer(StatusCode::OK, &headers(&[SSE]));
    metered.bytes(b"data: {\"text\":\"four\"}\n\ndata: {\"te");
    let usage = metered.finish(false).unwrap();
    assert!(usage.answer_bytes == 4 && usage.to_estimate.answer && usage.streamed, "{usage:?}");
}

#[test]
fn a_coding_that_is_not_understood_is_reported() {
    for codings in [&["compress"][..], &["gzip", "gzip"], &["gzip, br"]] {
        let metered = metered();
        let mut headers = headers(&[JSON]);
        for coding in codings {
            headers.append("content-encoding", HeaderValue::from_static(coding));
        }
        metered.answer(StatusCode::OK, &headers);
        metered.bytes(b"any");
        assert_eq!(metered.finish(true).unwrap().not_counted, Some(NotCounted::Coding), "{codings:?}");
    }
}

#[test]
fn labels_show_no_secret() {
    let token = format!("tg_{}", "0123456789abcdef".repeat(3));
    let key = Secret::new(format!("sk-{}", "k".repeat(300)));
    let refreshed = Secret::new("refreshed-access-token");
    let check = |label: &str, is_hidden: bool| {
        let metered = metered();
        metered.hide([&Secret::new("client-token"), &key].into_iter());
        metered.hide([&refreshed].into_iter());
        metered.tap().data(format!(r#"{{"model":"{label}"}}"#).as_bytes());
        let usage = metered.finish(true).unwrap();
        let shown = usage.request_model.unwrap();
        assert_eq!(&*shown == HIDDEN, is_hidden, "{label}: {shown}");
        assert!(is_hidden || *shown == *label);
    };
    for label in [&token, "x/client-token", key.expose(), "refreshed-access-token"] {
        check(label, true);
    }
    // It is cut before the key's end.
    check(&format!("{} {}", "x".repeat(150), key.expose()), true);
    check("m-1", false);
}

#[test]
fn a_short_secret_is_not_searched_for() {
    let metered = metered();
    metered.hide([&Secret::new("m-1"), &Secret::new("long-enough")].into_iter());
    metered.tap().data(br#"{"model":"m-1"}"#);
    assert_eq!(metered.finish(true).unwrap().request_model.as_deref(), Some("m-1"));
}
