//! Peers that lie, or answer with something else.

use super::*;
use crate::{
    base::usage::NotCounted,
    request::meter::{number::whole, tally::MAX_LABEL},
};

fn one(media: Option<&str>, answer: &[u8]) -> Usage {
    Exchange::new("{}", media, answer).run(&Arc::new(chat()), [], [answer])
}

#[test]
fn lies_about_usage_are_reported() {
    let check = |prompt: &str, output: &str, expected: &str| {
        let answer = format!(r#"{{"usage":{{"prompt_tokens":{prompt},"completion_tokens":{output}}}}}"#);
        Exchange::new("{}", JSON, answer.as_bytes()).check(chat(), expected);
        let answer = format!("data: {answer}\n\n");
        let exchange = Exchange::new("{}", SSE, answer.as_bytes());
        let usage = exchange.usage(chat());
        assert_eq!(shown(&Usage { streamed: false, ..usage }), expected);
    };
    for bad in ["-1", "1e300", "1e999", "\"12\"", "1.5", "true", "[]", "{\"a\":1}", "1000000001", "00"] {
        check("4", bad, "input=4 estimate-answer bad_count");
        check(bad, "2", "output=2 estimate-prompt bad_count");
    }
    check("4", "null", "input=4 estimate-answer usage_missing");
    check("4.0", "2e0", "input=4 output=2");
    check("1000000000", "0", "input=1000000000");
    let answer =
        br#"{"usage":{"prompt_tokens":4,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":5},
        "completion_tokens_details":{"reasoning_tokens":2}}}"#;
    Exchange::new("{}", JSON, answer).check(chat(), "reasoning=2 estimate-prompt contradiction");
}

#[test]
fn sums_stay_within_what_can_be_a_count() {
    let event = "data: {\"u\":[1000000000]}\n\n";
    let metering = metering(&[Framing::Sse], "", "", "units /u/* combine sum");
    let check = |events: usize, expected: &str| {
        Exchange::new("", SSE, event.repeat(events).as_bytes()).check(metering.clone(), expected);
    };
    check(1, "units=1000000000 streamed");
    check(2, "streamed bad_count");
}

#[test]
fn ten_thousand_usage_events_are_one() {
    let mut events = String::new();
    for index in 0..10_000 {
        let usage = format!("{{\"prompt_tokens\":4,\"completion_tokens\":{index}}}");
        let _ = write!(events, "data: {{\"usage\":{usage}}}\n\n");
    }
    assert_eq!(shown(&one(SSE, events.as_bytes())), "input=4 output=9999 streamed");
}

#[test]
fn something_else_than_the_format_is_reported() {
    let html = b"<!DOCTYPE html>\n<html><body>usage: 7</body></html>\n";
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    let check = |media: Option<&str>, answer: &[u8], expected: &str| {
        Exchange::new("{}", media, answer).check(chat(), expected);
    };
    let estimates = "estimate-prompt estimate-answer wrong_format";
    check(JSON, html, estimates);
    check(SSE, html, &format!("streamed {estimates}"));
    check(SSE, b"", &format!("streamed {estimates}"));
    check(SSE, b"{\"usage\":{\"prompt_tokens\":4}}", &format!("streamed {estimates}"));
    check(SSE, &[text.as_bytes(), html].concat(), &format!("answer=2 streamed {estimates}"));
    check(
        SSE,
        &[text.as_bytes(), b"data: {\"a\":<html>}\n\n"].concat(),
        &format!("answer=2 streamed {estimates}"),
    );
    for bad in [
        "",
        " \n",
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "[1,2",
        "{\"usage\":[}",
        "{\"usage\":{\"prompt_tokens\":nul}}",
        "{\"usage\":{\"prompt_tokens\":tru}}",
        "{\"a\":1}}",
        "{\"a\":1} x",
        "data: {}",
        "\u{0}{}",
        "{\"choices\":[{\"message\":{\"content\":\"\\x\"}}]}",
        "{\"\\x\":1}",
    ] {
        let usage = Exchange::new("{}", JSON, bad.as_bytes()).usage(chat());
        assert_eq!(usage.not_counted, Some(NotCounted::Format), "{bad:?}");
    }
    // What was counted before the error stays.
    check(
        JSON,
        b"{\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}garbage",
        "input=4 output=2 wrong_format",
    );
}

#[test]
fn strings_may_hold_any_byte() {
    let text = |bytes: &[u8]| {
        [b"{\"choices\":[{\"message\":{\"content\":\"", bytes, b"\"}}],\"model\":\"m\"}"].concat()
    };
    let check = |bytes: &[u8], length: u64| {
        let usage = Exchange::new(ASKED, JSON, &text(bytes)).usage(chat());
        assert_eq!((usage.answer_bytes, usage.not_counted), (length, None), "{}", bytes.escape_ascii());
        assert_eq!(usage.model.as_deref(), Some("m"));
    };
    check(b"\0\x01\x7f", 3);
    check(b"\xff\xfe\x80", 3);
    check("é€😀".as_bytes(), 9);
    check(br"\u00e9\u20ac\ud83d\ude00", 9);
    check(br"\ud83d", 3);
    check(br"\ud83d\ud83d\ude00x", 8);
    check(br"\ude00\ud83dx\ud83d\n", 11);
    check(br#"\"\\\/\b\f\n\r\t"#, 8);
}

#[test]
fn keys_are_compared_as_characters() {
    let check = |body: &str, expected: &str| {
        Exchange::new("{}", JSON, body.as_bytes()).check(chat(), expected);
    };
    let estimate = "estimate-answer usage_missing";
    check(r#"{"us\u0061ge":{"prompt\u005ftokens":4}}"#, &format!("input=4 {estimate}"));
    check(r#"{"usage\u0000":{"prompt_tokens":4}}"#, &format!("estimate-prompt {estimate}"));
    let long = "usage".repeat(4000);
    check(
        &format!(r#"{{"{long}":1,"\u0075{long}":2,"usage":{{"prompt_tokens":4}}}}"#),
        &format!("input=4 {estimate}"),
    );
    // Repeated keys are further matches: the last counts.
    check(
        r#"{"usage":{"prompt_tokens":4,"prompt_tokens":6},"usage":{"completion_tokens":2}}"#,
        "input=6 output=2",
    );
}

#[test]
fn deep_and_long_documents_are_read_in_fixed_memory() {
    let deep = |open: &str, close: &str, count: usize| {
        format!(
            "{{\"x\":{}{},\"usage\":{{\"prompt_tokens\":4,\"completion_tokens\":2}}}}",
            open.repeat(count),
            close.repeat(count)
        )
    };
    let counted = "input=4 output=2";
    assert_eq!(shown(&one(JSON, deep("[", "]", 1_000_000).as_bytes())), counted);
    assert_eq!(shown(&one(JSON, deep("{\"a\":[", "0]}", 100_000).as_bytes())), counted);
    let unclosed = "{\"choices\":[".repeat(300_000);
    assert_eq!(one(JSON, unclosed.as_bytes()).not_counted, Some(NotCounted::Format));
    let nested = "[".repeat(300_000);
    assert_eq!(one(JSON, format!("{{\"choices\":{nested}").as_bytes()).not_counted, Some(NotCounted::Format));
    // A line of 6 MB, in one piece and in pieces of a byte.
    let text = "x".repeat(6 << 20);
    let long = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let metering = Arc::new(chat());
    for size in [long.len(), 1] {
        let mut meter = Meter::new(Arc::clone(&metering), None, true);
        meter.answer(200, SSE.map(str::as_bytes));
        long.as_bytes().chunks(size).for_each(|piece| meter.bytes(piece));
        let usage = meter.finish(true);
        assert_eq!(usage.answer_bytes, whole(text.len()));
        assert_eq!(usage.content.unwrap().answer.len(), crate::request::meter::tally::MAX_CONTENT);
    }
}

#[test]
fn the_meter_is_small() {
    // The framing of AWS is the largest.
    let size = size_of::<Meter>() + size_of::<Reader>() + size_of::<(Frames, Reader)>();
    let chat = chat();
    // A meter has one tally of the request and one of the answer.
    let entries = chat.request.entries().len() + chat.body.entries().len().max(chat.event.entries().len());
    let counts = entries * size_of::<crate::request::meter::tally::Count>();
    // Three labels, and the one at hand, on either side.
    let labels = 2 * 4 * (MAX_LABEL + 1);
    assert!(size + counts + labels <= 4096, "{size} + {counts} + {labels}");
}

#[test]
fn text_is_dropped_where_there_is_no_room() {
    let request = r#"{"model":"m","temperature":1,"system":"be brief","messages":["a prompt"]}"#;
    let answer = r#"{"model":"m","choices":[{"message":{"content":"an answer"}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
    for dropped_at in [0, request.len() / 2, request.len(), request.len() + answer.len() / 2] {
        let mut meter = Meter::new(Arc::new(chat()), None, true);
        let mut most = 0;
        for (at, byte) in request.bytes().chain(answer.bytes()).enumerate() {
            if at == request.len() {
                meter.request_end();
                meter.answer(200, JSON.map(str::as_bytes));
            }
            if at == dropped_at {
                meter.drop_text();
            }
            let piece = [byte];
            if at < request.len() {
                meter.request(&piece);
            } else {
                meter.bytes(&piece);
            }
            most = most.max(meter.text_bytes());
            assert!(at < dropped_at || meter.text_bytes() == 0, "nothing is kept after {dropped_at}");
        }
        assert_eq!(most > 0, dropped_at >= request.len(), "{dropped_at}");
        let usage = meter.finish(true);
        assert_eq!((usage.counters.get(Counter::Input), usage.counters.get(Counter::Output)), (3, 4));
        let content = usage.content.unwrap();
        assert_eq!((content.is_dropped, content.text_bytes(), content.parameters.len()), (true, 0, 1));
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let long = "é".repeat(400_000);
    let request = format!(
        r#"{{"model":"{long}","temperature":"{long}","system":"{long}","messages":["{long}","{long}"],"system":"short"}}"#
    );
    let answer = format!(
        r#"{{"model":"x{long}","id":"{long}","choices":[{{"finish_reason":"{long}","message":{{"content":"x{long}"}}}}]}}"#
    );
    let exchange = Exchange::new(&request, JSON, answer.as_bytes());
    let metering = Arc::new(chat());
    let usage = exchange.run(&metering, [request.as_bytes()], [answer.as_bytes()]);
    let cut = exchange.run(&metering, request.as_bytes().chunks(7), answer.as_bytes().chunks(7));
    assert_eq!(usage, cut);
    for label in [&usage.request_model, &usage.response_id, &usage.finish_reason] {
        assert_eq!(label.as_deref(), Some(&*"é".repeat(MAX_LABEL / 2)));
    }
    assert_eq!(usage.model.as_ref().map(|model| model.len()), Some(MAX_LABEL - 1));
    let content = usage.content.unwrap();
    assert!(content.parameters.is_empty(), "a long parameter is left out");
    assert_eq!(content.answer.len(), crate::request::meter::tally::MAX_CONTENT - 1);
    assert!(content.is_cut);
    let total: usize = content.prompt.iter().map(|(_, json)| json.len()).sum();
    assert!(total < 1 << 20, "{total}");
    for (name, json) in &content.prompt {
        assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{name} is valid JSON");
    }
    let request = format!(r#"{{"messages":["{long}","{long}"]}}"#);
    let content = Exchange::new(&request, JSON, b"{}").usage(chat()).content.unwrap();
    let [(name, json)] = content.prompt.as_slice() else { panic!("one prompt") };
    let texts: Vec<String> = serde_json::from_str(json).unwrap();
    let lengths: Vec<usize> = texts.iter().map(|text| text.chars().count()).collect();
    assert_eq!((&**name, lengths, content.is_cut), ("messages", vec![262_143], true));
}
