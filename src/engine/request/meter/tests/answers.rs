//! Rules that all formats share: the forms of server-sent events, media types and statuses, missing usage, the model, content.

use super::*;
use crate::request::access_record::Content;

#[test]
fn server_sent_events_have_many_forms() {
    let usage = r#"{"usage":{"prompt_tokens":4,"completion_tokens":2}}"#;
    let (head, tail) = usage.split_at(9);
    let counted = "input=4 output=2 model=asked prompt=5 max=9 streamed";
    for answer in [
        format!("data: {usage}\n\n"),
        format!("data:{usage}\n\n"),
        format!("data: {usage}\r\n\r\n"),
        format!("data: {usage}\r\r"),
        format!("data: {usage}"),
        format!("data:  \t{usage} \n\n"),
        format!("\u{feff}data: {usage}\n\n"),
        format!("\u{feff}: comment\r\n\r\nid: 1\nevent: e\nretry: 9\ndata: {usage}\n\n"),
        format!("data: {head}\ndata: {tail}\n\n"),
        format!("data: {head}\r\n: between\r\ndata:{tail}\r\n\r\n"),
        format!("data\ndata: {usage}\ndata\n\n"),
        format!("\n\n\n:\n\ndata: {usage}\nevent: after\n\n"),
        format!("data: {usage}\n\ndata: [DONE]\n\n"),
        format!("data: {usage}\n\ndata: {{\n\n"),
        format!("data: {{\"a\":\n\ndata: {usage}\n\n"),
    ] {
        Exchange::new(ASKED, SSE, answer.as_bytes()).check(chat(), counted);
    }
    let estimates = "model=asked prompt=5 max=9 streamed estimate-prompt estimate-answer wrong_format";
    for answer in ["database: {}\n\n".to_owned(), format!(" data: {usage}\n\n"), format!("dat: {usage}\n\n")]
    {
        Exchange::new(ASKED, SSE, answer.as_bytes()).check(chat(), estimates);
    }
}

#[test]
fn content_types_and_statuses_decide() {
    let usage = r#"{"usage":{"prompt_tokens":4,"completion_tokens":2}}"#;
    let check = |request: &str, status: u16, media: Option<&str>, answer: &str, expected: &str| {
        let exchange = Exchange::new(request, media, answer.as_bytes());
        Exchange { status, ..exchange }.check(chat(), expected);
    };
    check("{}", 200, Some("application/vnd.x+json"), usage, "input=4 output=2");
    check("{}", 200, None, usage, "input=4 output=2");
    check(r#"{"stream":true}"#, 200, None, &format!("data: {usage}\n\n"), "input=4 output=2 streamed");
    check("{}", 200, Some("text/html"), "<html>", "estimate-prompt estimate-answer content_type");
    check("{}", 200, Some("application/x-ndjson"), usage, "estimate-prompt estimate-answer content_type");
    check("{}", 400, JSON, usage, "");
    check("{}", 529, SSE, &format!("data: {usage}\n\n"), "");
    check("{}", 204, JSON, "", "estimate-prompt estimate-answer wrong_format");
}

#[test]
fn without_estimates_missing_usage_is_reported() {
    let none = |metering: Metering| Metering { when_missing: WhenMissing::None, ..metering };
    let check = |answer: &str, expected: &str| {
        Exchange::new("{}", SSE, answer.as_bytes()).check(none(chat()), expected);
    };
    check("data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n", "answer=2 streamed usage_missing");
    check("data: {\"usage\":{\"prompt_tokens\":4}}\n\n", "input=4 streamed usage_missing");
    check("data: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}\n\n", "input=4 output=2 streamed");
    check("<html>\n", "streamed wrong_format");
}

#[test]
fn the_model_may_stand_in_the_path() {
    let meter = |captured: Option<&str>, answer: &[u8]| {
        let mut meter = Meter::new(Arc::new(chat()), captured, false);
        meter.request(br#"{"model":"body"}"#);
        meter.answer(200, Some(b"application/json"));
        meter.bytes(answer);
        let usage = meter.finish(true);
        (usage.request_model.unwrap(), usage.model.unwrap())
    };
    assert_eq!(meter(Some("path"), b"{}"), ("path".into(), "path".into()));
    assert_eq!(meter(None, b"{\"model\":\"\"}"), ("body".into(), "body".into()));
    assert_eq!(meter(Some("path"), b"{\"model\":\"made\"}"), ("path".into(), "made".into()));
}

#[test]
fn content_is_kept_for_exporters_that_ask() {
    let request = r#"{"temperature": 0.5, "system" : {"a":[1, "x"]}, "messages": [{"content":"He\"llo"}, 7],"stop":[]}"#;
    let event = |text: &str| {
        format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}},{{"delta":{{"content":"no"}}}}]}}"#)
    };
    let answer = sse(&[&event("Hi "), &event(r"\u00e9\n"), &event("!")]);
    let usage = Exchange::new(request, SSE, &answer).usage(chat());
    let text = |name: &str, value: &str| (name.into(), value.to_owned());
    let expected = Content {
        prompt: vec![text("messages", r#"[{"content":"He\"llo"}, 7]"#), text("system", r#"{"a":[1, "x"]}"#)],
        parameters: vec![text("temperature", "0.5")],
        answer: "Hi é\n!".to_owned(),
        is_cut: false,
        is_dropped: false,
    };
    assert_eq!(usage.content.as_deref(), Some(&expected));
    let without = |request: &str| {
        let mut meter = Meter::new(Arc::new(chat()), None, false);
        meter.request(request.as_bytes());
        meter.answer(200, Some(b"text/event-stream"));
        meter.bytes(&answer);
        meter.finish(true).content
    };
    let parameters = Content { parameters: expected.parameters.clone(), ..Content::default() };
    assert_eq!(without(request).as_deref(), Some(&parameters));
    assert_eq!(without(r#"{"temperature":{"a":1},"messages":[]}"#), None);
    assert_eq!(without(r#"{"temperature":null}"#), None);
}

#[test]
fn an_unknown_coding_is_reported() {
    let mut meter = Meter::new(Arc::new(chat()), None, false);
    meter.answer(200, Some(b"text/event-stream"));
    meter.bytes(b"data: {\"usage\":{\"prompt_tokens\":4}}\n\ndata: {\"us");
    meter.undecodable();
    meter.bytes(b"age\":{\"prompt_tokens\":9}}\n\n");
    assert_eq!(shown(&meter.finish(true)), "input=4 streamed estimate-answer content_coding");
}

#[test]
fn parts_of_a_side_alone_do_not_count_it() {
    let check = |metering: Metering, usage: &str, expected: &str| {
        let answer = format!(r#"{{"choices":[{{"message":{{"content":"Hi there"}}}}],"usage":{usage}}}"#);
        Exchange::new(ASKED, JSON, answer.as_bytes()).check(metering, expected);
    };
    let rest = "model=asked prompt=5 answer=8 max=9";
    check(
        chat(),
        r#"{"prompt_tokens":20,"completion_tokens_details":{"reasoning_tokens":4}}"#,
        &format!("input=20 reasoning=4 {rest} estimate-answer"),
    );
    check(
        chat(),
        r#"{"prompt_tokens_details":{"cached_tokens":3},"completion_tokens":9}"#,
        &format!("output=9 cache_read=3 {rest} estimate-prompt"),
    );
    // Places that add to a count are parts, too. Formats without an input or output are counted by their parts.
    let text = "text /choices/*/message/content";
    let body = |usage: &str| {
        metering(&[], "model /model\ntext /messages/*/content", &format!("{usage}\n{text}"), "")
    };
    let plus = body("input /usage/in plus /usage/citations\noutput /usage/out");
    check(
        plus.clone(),
        r#"{"citations":2,"out":1}"#,
        "input=2 output=1 model=asked prompt=5 answer=8 estimate-prompt",
    );
    check(plus, r#"{"citations":2,"in":4,"out":1}"#, "input=6 output=1 model=asked prompt=5 answer=8");
    let audio = body("input /usage/in\naudio_output /usage/out\nunits /usage/searches");
    check(audio.clone(), r#"{"in":3,"out":4}"#, "input=3 audio_output=4 model=asked prompt=5 answer=8");
    check(audio, r#"{"searches":1}"#, "units=1 model=asked prompt=5 answer=8");
}

#[test]
fn nothing_unknown_looks_like_a_counted_zero() {
    let check = |request: &str, answer: &str, expected: &str| {
        Exchange::new(request, JSON, answer.as_bytes()).check(chat(), expected);
    };
    let text = r#"{"messages":[{"content":"Hello"}]}"#;
    let image = r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"x"}}]}]}"#;
    let said =
        |usage: &str| format!(r#"{{"choices":[{{"message":{{"content":"Hi there"}}}}],"usage":{usage}}}"#);
    check(
        text,
        r#"{"output":"text at an unknown place"}"#,
        "prompt=5 estimate-prompt estimate-answer usage_missing",
    );
    check(image, &said("null"), "answer=8 other estimate-prompt estimate-answer usage_missing");
    check(image, &said(r#"{"prompt_tokens":9,"completion_tokens":2}"#), "input=9 output=2 answer=8 other");
    let zeros = r#"{"prompt_tokens":0,"completion_tokens":0}"#;
    check(text, &said(zeros), "prompt=5 answer=8 estimate-prompt estimate-answer");
    check(image, &said(zeros), "answer=8 other estimate-answer");
    check("{}", &format!(r#"{{"choices":[],"usage":{zeros}}}"#), "");
    // Hidden reasoning is all that was counted.
    let reasoned =
        r#"{"prompt_tokens":1,"completion_tokens":4,"completion_tokens_details":{"reasoning_tokens":4}}"#;
    check(text, &said(reasoned), "input=1 reasoning=4 prompt=5 answer=8");
}
