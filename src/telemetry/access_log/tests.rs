use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use http::{Method, StatusCode};

use super::*;
use crate::{
    access_record::{ClosedBy, Content, End, Sides, Usage, Wait, Waits, WebSocketEnd},
    fault::FaultKind,
    name::{FileName, GroupName, LimitId, Owner, TokenId, UserId},
    origin::Origin,
    trace_context::TraceContext,
    usage::{Counter, Counters, NotCounted},
};

fn record() -> AccessRecord {
    let peer = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let record = AccessRecord::begun(peer, Method::POST, "/demo/chat".into(), 1_767_323_045_000);
    AccessRecord {
        request_id: "80000000cafe0123".into(),
        status: Some(StatusCode::OK),
        end: End::Complete,
        duration: Duration::from_millis(1234),
        ..record
    }
}

/// A record with a value in every field.
fn full() -> AccessRecord {
    let user = UserId::new("usr_0123456789abcdef").unwrap();
    let mut counters = Counters::ZERO;
    for (counter, value) in Counter::ALL.into_iter().zip(1..) {
        counters.set(counter, value);
    }
    let wait = Wait { after: Duration::ZERO, length: Duration::from_millis(8) };
    let content = Content { answer: "canary".into(), ..Content::default() };
    let usage = Usage {
        counters,
        estimated: counters,
        not_counted: Some(NotCounted::BadCount),
        model: Some("m-2".into()),
        request_model: Some("m".into()),
        response_id: Some("resp_1".into()),
        finish_reason: Some("stop".into()),
        max_output: Some(64),
        streamed: true,
        failed: true,
        prompt_bytes: 11,
        prompt_has_other: true,
        answer_bytes: 12,
        to_estimate: Sides { prompt: true, answer: true },
        has_content: true,
        content: Some(content.into()),
    };
    AccessRecord {
        user: Some(user.clone()),
        group: GroupName::new("lab"),
        token: TokenId::new("tok_0123456789abcdef"),
        key_owner: Some(Owner::User(user)),
        provider: FileName::new("demo"),
        endpoint: Some(Arc::from("chat")),
        fault: Some(FaultKind::ResponseRule),
        limit: LimitId::new("burst"),
        bytes_in: 5,
        bytes_out: 6,
        first_byte: Some(Duration::from_millis(7)),
        upstream: Some(Origin::split("https://api.example.com").unwrap().0),
        waits: Waits { refresh: Some(wait), connect: Some(wait), sent: None },
        trace: Some(Box::new(TraceContext::begun([7; 16]))),
        usage: Some(Box::new(usage)),
        ..record()
    }
}

fn line(record: &AccessRecord, human: bool) -> String {
    let mut line = String::new();
    line::write(record, human, &mut line);
    line
}

#[test]
fn a_line_in_both_formats() {
    let mut record = record();
    record.usage = Some(Box::default());
    assert_eq!(
        line(&record, true),
        "2026-01-02T03:04:06.234Z  INFO request request_id=80000000cafe0123 peer=::1 method=POST path=/demo/chat \
         status=200 bytes_in=0 bytes_out=0 ms=1234 end=complete outcome=success"
    );
    assert_eq!(
        line(&record, false),
        r#"{"timestamp":"2026-01-02T03:04:06.234Z","level":"INFO","message":"request","request_id":"80000000cafe0123","peer":"::1","method":"POST","path":"/demo/chat","status":200,"bytes_in":0,"bytes_out":0,"ms":1234,"end":"complete","outcome":"success"}"#
    );
}

/// The table in docs/operating.md has a row for every field, in their order, and no other.
#[test]
fn every_field_is_documented() {
    let websocket =
        Some(WebSocketEnd { closed_by: ClosedBy::Client, code: 1000, frames_in: 1, frames_out: 2 });
    let record = AccessRecord { websocket, ..full() };
    let line: serde_json::Value = serde_json::from_str(&line(&record, false)).unwrap();
    let written: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).unwrap();
    let (_, table) = page.split_once("<!-- fields of the access log -->").unwrap();
    let rows = table.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    let first = rows.map(|row| row.split('|').nth(1).unwrap());
    let names: Vec<&str> = first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert_eq!(names, written);
}

#[test]
fn content_is_never_written() {
    for human in [true, false] {
        assert!(!line(&full(), human).contains("canary"));
    }
}

/// A text of a client or an upstream stays a value: bounded, in its field, on its line.
#[test]
fn foreign_texts_are_bounded_and_forge_nothing() {
    let check = |text: &str, human: &str, json: &str| {
        let mut record = record();
        record.usage = Some(Box::new(Usage { model: Some(text.into()), ..Usage::default() }));
        let shown = line(&record, true);
        assert_eq!(shown.split_once(" model=").unwrap().1, human, "{text:?}");
        let shown = line(&record, false);
        assert_eq!(shown.split_once(r#""model":"#).unwrap().1, format!("{json}}}"), "{text:?}");
        serde_json::from_str::<serde_json::Value>(&shown).unwrap();
    };
    check("m-1", "m-1", r#""m-1""#);
    check("", r#""""#, r#""""#);
    check("a status=500", r#""a status=500""#, r#""a status=500""#);
    check("a\nb", r#""a\\nb""#, r#""a\\nb""#);
    check("q\"q", r#""q\"q""#, r#""q\"q""#);
    check("\u{202e}\u{1b}[2J", r#""\\u{202e}\\u{1b}[2J""#, r#""\\u{202e}\\u{1b}[2J""#);
    check("é", "\"é\"", "\"é\"");
    let long = format!("{}é", "x".repeat(255));
    check(&long, &"x".repeat(255), &format!("\"{}\"", "x".repeat(255)));
}

fn selection(sample: f64, rate: Option<u64>) -> Selection {
    Selection::new(Settings { sample, rate })
}

#[test]
fn a_sample_is_drawn_by_the_request_id_and_has_every_failure() {
    let check = |sample: f64, id: &str, status: u16, expected: Selected| {
        let status = Some(StatusCode::from_u16(status).unwrap());
        let record = AccessRecord { request_id: id.into(), status, ..record() };
        assert_eq!(
            selection(sample, None).select(&record, Instant::now()),
            expected,
            "{sample} {id} {status:?}"
        );
    };
    check(1.0, "ffffffff00000000", 200, Selected::Logged);
    check(0.5, "7fffffff00000000", 200, Selected::Logged);
    check(0.5, "8000000000000000", 200, Selected::LeftOut);
    check(0.0, "0000000000000000", 200, Selected::LeftOut);
    for status in [400, 429, 503] {
        check(0.0, "ffffffff00000000", status, Selected::Logged);
    }
}

#[test]
fn a_rate_limits_the_lines_of_a_second() {
    let mut selection = selection(1.0, Some(2));
    let start = Instant::now();
    let mut check = |ms: u64, wall_ms: u64, expected: [Selected; 3]| {
        let record = AccessRecord { started_at_ms: wall_ms, duration: Duration::ZERO, ..record() };
        let now = start + Duration::from_millis(ms);
        assert_eq!(expected.map(|_| selection.select(&record, now)), expected, "{ms}");
    };
    let fresh = [Selected::Logged, Selected::Logged, Selected::Limited];
    check(0, 10_999, fresh);
    check(999, 11_998, [Selected::Limited; 3]);
    check(1000, 11_999, fresh);
    // The wall clock may be set back: that opens no further second, and closes none.
    check(1500, 500, [Selected::Limited; 3]);
    check(2000, 1000, fresh);
    check(9000, 8000, fresh);
}
