//! Tests of the key that is inserted, and of the filter: byte-exact, for events of every kind and every way of cutting.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::language::compile::metering::{ExtraEvent, MapBuilder, Pointer, Target};

fn asks() -> Ask {
    let mut event = MapBuilder::new();
    event.add("/error", Target::Error).unwrap();
    event.add("/usage/error", Target::Error).unwrap();
    let with = ["/id", "/model", "/meta/at"].map(str::to_owned);
    let extra = ExtraEvent::new("/usage", "/choices", &with, &event.build().unwrap()).unwrap();
    Ask {
        at: Pointer::parse("/stream_options/include_usage").unwrap(),
        value: json!(true),
        when: Some(Pointer::parse("/stream").unwrap()),
        extra: Some(Arc::new(extra)),
    }
}

#[test]
fn a_request_asks_once() {
    let check = |body: &str, expected: Result<Option<&str>, SpliceProblem>| {
        let made = ask(&asks(), body.as_bytes()).map(|splice| splice.map(|one| one.apply(body.as_bytes())));
        let made = made.map(|body| body.map(|body| String::from_utf8(body).unwrap()));
        assert_eq!(made.as_ref().map(Option::as_deref), expected.as_ref().copied(), "{body}");
    };
    check(r#"{"stream": true}"#, Ok(Some(r#"{"stream": true,"stream_options":{"include_usage":true}}"#)));
    check(
        r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
        Ok(Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#)),
    );
    check(r#"{"stream":true,"stream_options":{"include_usage":true}}"#, Ok(None));
    check(r#"{"stream":false}"#, Ok(None));
    check(r#"{"stream":[{"":0},{"":0}]}"#, Ok(None));
    for own in ["1", "\"true\"", "[{\"\":0},{\"\":0}]", "{\"\":0,\"\":0}"] {
        check(&format!(r#"{{"stream":true,"stream_options":{{"include_usage":{own}}}}}"#), Ok(None));
    }
    check(
        r#"{"stream":true,"stream_options":{"include_usage":null}}"#,
        Ok(Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#)),
    );
    check("{}", Ok(None));
    check(r#"{"stream":true,"stream":true}"#, Err(SpliceProblem::Repeated));
    check(r#"{"stream":true,"stream_options":7}"#, Err(SpliceProblem::NotAnObject));
    check("no JSON", Err(SpliceProblem::NotJson));
}

#[test]
fn signed_and_encoded_requests_are_not_changed() {
    let check = |lines: &[(&'static str, &'static str)], expected: bool| {
        let lines = lines.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        });
        let headers: HeaderMap = lines.collect();
        assert_eq!(is_changeable(&headers), expected, "{headers:?}");
    };
    check(&[], true);
    check(&[("content-digest", "sha-256=:a:"), ("content-encoding", "Identity")], true);
    check(&[("content-encoding", "gzip")], false);
    check(&[("content-encoding", "identity"), ("content-encoding", "br")], false);
    check(&[("signature-input", "a=()")], false);
    check(&[("signature", "a=:b:")], false);
}

const KEPT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}";
const EXTRA: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3}}";

/// The answer after the filter, in such pieces.
fn run<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let mut filter = ExtraFilter::new(asks().extra.as_ref().unwrap());
    let mut out = Vec::new();
    for piece in pieces {
        filter.push(piece, &mut out);
    }
    filter.finish(&mut out);
    out
}

/// The answer after the filter; the same for every way of cutting it into two, and into single bytes.
fn filtered(answer: &str) -> String {
    let bytes = answer.as_bytes();
    let whole = run([bytes]);
    for at in 0..bytes.len() {
        assert_eq!(run([&bytes[..at], &bytes[at..]]), whole, "{answer:?} cut at {at}");
    }
    assert_eq!(run(bytes.chunks(1)), whole, "{answer:?} in single bytes");
    String::from_utf8(whole).unwrap()
}

#[test]
fn only_the_extra_event_is_taken_out() {
    for end in ["\n\n", "\r\n\r\n", "\r\r"] {
        let (kept, extra) = (format!("{KEPT}{end}"), format!("{EXTRA}{end}"));
        let done = format!("data: [DONE]{end}");
        assert_eq!(filtered(&format!("{kept}{extra}{done}")), format!("{kept}{done}"));
        assert_eq!(filtered(&format!("{kept}{kept}{done}")), format!("{kept}{kept}{done}"));
    }
    assert_eq!(filtered(&format!("{KEPT}\n\n{EXTRA}")), format!("{KEPT}\n\n"));
    for kept in
        [": comment\n\n", "\n\n\n", "data: {\"usage\":{},\"choices\":[", "<html>\n\n</html>", "dat", ""]
    {
        assert_eq!(filtered(kept), kept);
    }
}

/// Events with usage and nothing else: their data.
const EXTRAS: [&str; 7] = [
    r#"{"choices":[],"usage":{"a":3}}"#,
    r#" { "usage" : {"a":{"error":null},"b":[{}]} , "choices" : [ ] } "#,
    r#"{"id":"1","model":null,"meta":{"at":1.5},"choices":[],"usage":{"a":3},"error":null}"#,
    r#"{"citations":null,"meta":null,"usage":{"a":1},"choices":[]}"#,
    r#"{"\u0075sage":{"a":1},"choices":[],"meta":{}}"#,
    r#"{"usage":{"a":null},"choices":[],"id":false}"#,
    r#"{"usage":{"choices":[7]},"choices":[]}"#,
];

/// Events that have, or may have, something that the client would have seen: their data.
const OTHERS: [&str; 39] = [
    "[DONE]",
    "",
    "null",
    "[]",
    r#"{"error":{"message":"quota exceeded"},"choices":[],"usage":{"a":3}}"#,
    r#"{"error":false,"choices":[],"usage":{"a":3}}"#,
    r#"{"choices":[],"usage":{"a":3,"error":"late"}}"#,
    r#"{"choices":[],"usage":{"a":3},"citations":["https://example.com"]}"#,
    r#"{"choices":[],"usage":{"a":3},"citations":[]}"#,
    r#"{"choices":[],"usage":{"a":3},"citations":{}}"#,
    r#"{"choices":[],"usage":{"a":3},"note":""}"#,
    r#"{"choices":[],"usage":{"a":3},"id":{"a":1}}"#,
    r#"{"choices":[],"usage":{"a":3},"id":["a"]}"#,
    r#"{"choices":[],"usage":{"a":3},"meta":{"at":1,"more":1}}"#,
    r#"{"choices":[],"usage":{"a":3},"meta":1}"#,
    r#"{"choices":[],"usage":{"a":3},"":1}"#,
    r#"{"choices":{"0":{"delta":{"content":"secret"}}},"usage":{"a":3}}"#,
    r#"{"choices":{},"usage":{"a":3}}"#,
    r#"{"choices":"hello","usage":{"a":3}}"#,
    r#"{"choices":0,"usage":{"a":3}}"#,
    r#"{"choices":null,"usage":{"a":3}}"#,
    r#"{"choices":[null],"usage":{"a":3}}"#,
    r#"{"choices":[[]],"usage":{"a":3}}"#,
    r#"{"choices":[{"delta":{}}],"usage":{"a":3}}"#,
    r#"{"choices":[],"usage":false}"#,
    r#"{"choices":[],"usage":true}"#,
    r#"{"choices":[],"usage":7}"#,
    r#"{"choices":[],"usage":"none"}"#,
    r#"{"choices":[],"usage":[1]}"#,
    r#"{"choices":[],"usage":{}}"#,
    r#"{"choices":[],"usage":null}"#,
    r#"{"choices":[]}"#,
    r#"{"usage":{"a":3}}"#,
    r#"{"usage":{"a":3},"choices":[],"choices":[{"a":1}]}"#,
    r#"{"usage":{"a":3},"usage":"b","choices":[]}"#,
    r#"{"choices":[],"usage":{"a":3}"#,
    r#"{"choices":[],"usage":{"a":3}}}"#,
    r#"{"choices":[],"usage":{"a":3}} {}"#,
    r#"[{"choices":[],"usage":{"a":3}}]"#,
];

#[test]
fn in_doubt_an_event_passes() {
    for data in EXTRAS {
        assert_eq!(filtered(&format!("data:{data}\n\n")), "", "{data}");
    }
    for data in OTHERS {
        let event = format!("data: {data}\n\n");
        assert_eq!(filtered(&event), event);
    }
    // Lines that say that the event is another one, or that no stream of events has.
    for line in ["event: error", "event:messages", "event", "event:  message", "events: a", "dat", "x"] {
        for event in [format!("{line}\n{EXTRA}\n\n"), format!("{EXTRA}\n{line}\n\n")] {
            assert_eq!(filtered(&event), event);
        }
    }
    for broken in ["\u{FEFF}\u{FEFF}", "\u{FEBF}"] {
        let event = format!("{broken}{EXTRA}\n\n");
        assert_eq!(filtered(&event), event);
    }
}

#[test]
fn lines_of_the_extra_event_other_than_its_data_pass() {
    let check = |event: &str, expected: &str| {
        assert_eq!(filtered(&format!("{event}{KEPT}\n\n")), format!("{expected}{KEPT}\n\n"));
    };
    check(&format!("id: 7\nretry: 9\n{EXTRA}\n\n"), "id: 7\nretry: 9\n");
    check(&format!("{EXTRA}\nid\nretry:9\n: ping\n:\n\n"), "id\nretry:9\n: ping\n:\n");
    check(&format!("event: message\r\nid: 7\r\n{EXTRA}\r\n\r\n"), "id: 7\r\n");
    check(&format!("event:message\rid: 7\r{EXTRA}\r\r"), "id: 7\r");
    check(&format!("\u{FEFF}{EXTRA}\n\n"), "\u{FEFF}");
    check("data: {\"choices\":[],\nid: 7\ndata\ndata:\"usage\":{\"a\":1}}\n\n", "id: 7\n");
}

#[test]
fn an_event_is_held_back_only_while_it_may_be_the_extra_one() {
    let check = |pieces: &[(&str, &str)]| {
        let mut filter = ExtraFilter::new(asks().extra.as_ref().unwrap());
        for (piece, expected) in pieces {
            let mut out = Vec::new();
            filter.push(piece.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), *expected, "{piece:?} of {pieces:?}");
        }
    };
    check(&[("data: {\"choices\":[", ""), ("{\"delta\"", "data: {\"choices\":[{\"delta\""), (":1", ":1")]);
    check(&[("data: {\"error\":", ""), ("\"no\",", "data: {\"error\":\"no\",")]);
    check(&[("event: err", ""), ("or\n", "event: error\n"), ("data: 1", "data: 1")]);
    // Keep-alives and other lines that are not the event.
    check(&[(": ping", ": ping"), ("\n", "\n"), (": ping\n", ": ping\n"), ("\n", "\n"), (":", ":")]);
    check(&[("i", ""), ("d: 7", "id: 7"), ("\r", "\r"), ("\n", "\n"), ("retry: 1\n", "retry: 1\n")]);
    // A line after one that is held back waits for it: bytes stay in order.
    check(&[("data: {", ""), ("}\n: ping\n", ""), ("\n", "data: {}\n: ping\n\n")]);
    let long = format!("data: {{\"x\":\"{}\"", "x".repeat(MAX_HELD));
    check(&[(long.as_str(), long.as_str())]);
}

/// An event, and the part of it that passes.
fn event(end: &'static str) -> impl Strategy<Value = (String, String)> {
    let line = || prop::sample::select(vec![": ping", "id: 7", "id", "retry:10", ":"]);
    let lines = || prop::collection::vec(line(), 0..3);
    let data = prop_oneof![
        prop::sample::select(EXTRAS.to_vec()).prop_map(|data| (data, true)),
        prop::sample::select(OTHERS.to_vec()).prop_map(|data| (data, false)),
    ];
    let kind = prop::sample::select(vec!["", "", "event: message", "event: error", "event: ping", "more"]);
    (lines(), kind, any::<bool>(), data, lines(), any::<bool>()).prop_map(
        move |(before, kind, is_apart, (data, is_extra), after, has_space)| {
            let space = if has_space { " " } else { "" };
            let data = if is_apart {
                data.replacen(',', &format!(",{end}data:{space}"), 1)
            } else {
                data.to_owned()
            };
            let all = |lines: &[&str]| lines.iter().flat_map(|line| [*line, end]).collect::<String>();
            let kind_line = if kind.is_empty() { String::new() } else { format!("{kind}{end}") };
            let whole = format!("{}{kind_line}data:{space}{data}{end}{}{end}", all(&before), all(&after));
            let passes = if is_extra && ["", "event: message"].contains(&kind) {
                all(&before) + &all(&after)
            } else {
                whole.clone()
            };
            (whole, passes)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_bytes_but_those_of_the_extra_event_pass(
        (events, mark) in (prop::sample::select(vec!["\n", "\r\n", "\r"]), any::<bool>())
            .prop_flat_map(|(end, mark)| (prop::collection::vec(event(end), 0..6), Just(mark))),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mark = if mark { "\u{FEFF}" } else { "" };
        let joined = |part: fn(&(String, String)) -> &str| {
            mark.to_owned() + &events.iter().map(part).collect::<String>()
        };
        let (answer, expected) = (joined(|(whole, _)| whole), joined(|(_, passes)| passes));
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(answer.len() + 1)).collect();
        places.sort_unstable();
        let ends = places.iter().copied().chain([answer.len()]);
        let starts = [0].into_iter().chain(places.iter().copied());
        let pieces: Vec<&[u8]> = starts.zip(ends).map(|(start, end)| &answer.as_bytes()[start..end]).collect();
        for out in [run([answer.as_bytes()]), run(answer.as_bytes().chunks(1)), run(pieces)] {
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected.as_str());
        }
    }
}
