use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use super::*;
use crate::{
    access_record::End,
    exporters::{
        open_with,
        queue::{Piece, queue},
    },
    name::FileName,
    recorder::Drops,
    settings::{ExporterTable, MetricLabels, Origin},
    usage::NotCounted,
};

fn record() -> AccessRecord {
    let mut record =
        AccessRecord::begun([127, 0, 0, 1].into(), Method::POST, "/v1/x".to_owned(), 1_700_000_000_123);
    record.provider = FileName::new("demo");
    record.status = Some(StatusCode::OK);
    record.end = End::Complete;
    record.duration = Duration::from_nanos(1_500_000_001);
    let mut usage = Usage {
        model: Some("m-1".into()),
        request_model: Some("m".into()),
        max_output: Some(64),
        has_content: true,
        content: Some(Arc::new(Content {
            prompt: vec![
                ("messages".into(), r#"[{"role":"user","content":"hi"}]"#.to_owned()),
                ("system".into(), r#""be brief""#.to_owned()),
            ],
            parameters: vec![("temperature".into(), "0.5".to_owned()), ("top_p".into(), "1".to_owned())],
            answer: "hello".to_owned(),
            is_cut: false,
            is_dropped: false,
        })),
        ..Usage::default()
    };
    usage.counters.set(Counter::Input, 3);
    usage.counters.set(Counter::Output, 5);
    usage.counters.set(Counter::Reasoning, 2);
    usage.counters.set(Counter::CacheRead, 11);
    record.usage = Some(Box::new(usage));
    record
}

/// The documents that an exporter posts for a record.
fn exported(record: AccessRecord, content: bool) -> Vec<Value> {
    let (queue, mut queued, _) = queue("llemtry", "spans", &Drops::default());
    Llemtry { queue, ids: Ids::new(), content }.record(&[record]);
    let document = Document::new(SERVICE);
    std::iter::from_fn(|| queued.try_recv().ok())
        .map(|piece| serde_json::from_slice(&document.body(&[piece.encode()])).unwrap())
        .collect()
}

fn span_of(record: AccessRecord) -> Value {
    exported(record, true)[0]["spans"][0].clone()
}

#[test]
fn a_span_has_every_field_of_the_format() {
    let [mut document] = <[Value; 1]>::try_from(exported(record(), true)).unwrap();
    let span = &mut document["spans"][0];
    let (trace, id) = (span["traceId"].take(), span["spanId"].take());
    let is_uuid = |id: &Value| id.as_str().unwrap().len() == 36;
    assert!(is_uuid(&trace) && is_uuid(&id) && trace != id);
    assert_eq!(span["attributes"]["openclaw.run.id"].take(), id);
    assert_eq!(
        document,
        json!({
            "resource": { "serviceName": "openclaw-ai-gateway" },
            "spans": [{
                "traceId": null, "spanId": null, "name": "gen_ai.generate", "kind": "client",
                "startTimeUnixNano": "1700000000123000000", "endTimeUnixNano": "1700000001623000001",
                "status": { "code": "OK" },
                "attributes": {
                    "gen_ai.system": "demo", "gen_ai.request.model": "m-1",
                    "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 7,
                    "gen_ai.request.max_tokens": 64, "gen_ai.request.temperature": 0.5,
                    "openclaw.session.id": "ai-gateway", "openclaw.run.id": null,
                    "openclaw.usage.cache_read_tokens": 11,
                },
                "events": [
                    { "name": "gen_ai.content.prompt", "timeUnixNano": "1700000000123000000",
                      "body": { "messages": [{ "role": "user", "content": "hi" }], "system": "be brief" } },
                    { "name": "gen_ai.content.completion", "timeUnixNano": "1700000001623000001", "body": "hello" },
                ],
            }],
        })
    );
}

#[test]
fn attributes_without_a_value_are_left_out() {
    let mut record = record();
    let content = Content { prompt: vec![("messages".into(), "[]".to_owned())], ..Content::default() };
    let usage = Usage { has_content: true, content: Some(Arc::new(content)), ..Usage::default() };
    record.usage = Some(Box::new(usage));
    let attributes = span_of(record)["attributes"].clone();
    let names: Vec<&String> = attributes.as_object().unwrap().keys().collect();
    assert_eq!(names, ["gen_ai.system", "gen_ai.request.model", "openclaw.session.id", "openclaw.run.id"]);
    assert_eq!(attributes["gen_ai.request.model"], "unknown");
}

#[test]
fn what_failed_or_broke_off_is_an_error() {
    let check = |change: fn(&mut AccessRecord), expected: Value| {
        let mut record = record();
        change(&mut record);
        assert_eq!(span_of(record)["status"], expected);
    };
    check(|_| (), json!({ "code": "OK" }));
    check(|record| record.end = End::Cut, json!({ "code": "ERROR", "message": "cut" }));
    check(|record| record.end = End::ClientLeft, json!({ "code": "ERROR", "message": "client_left" }));
    check(
        |record| record.status = Some(StatusCode::SERVICE_UNAVAILABLE),
        json!({ "code": "ERROR", "message": "upstream_error" }),
    );
    check(
        |record| record.usage.as_mut().unwrap().failed = true,
        json!({ "code": "ERROR", "message": "upstream_error" }),
    );
}

#[test]
fn estimates_are_marked() {
    let mut record = record();
    assert_eq!(span_of(record.clone())["attributes"].get("tollgate.usage.estimated"), None);
    let usage = record.usage.as_mut().unwrap();
    usage.estimated.set(Counter::Output, 5);
    usage.not_counted = Some(NotCounted::Missing);
    assert_eq!(span_of(record)["attributes"]["tollgate.usage.estimated"], true);
}

#[test]
fn texts_are_cut_at_a_character() {
    let mut record = record();
    let long = "é".repeat(MAX_TEXT + 1);
    let content = Arc::make_mut(record.usage.as_mut().unwrap().content.as_mut().unwrap());
    content.answer = long.clone();
    content.prompt = vec![
        ("messages".into(), json!([{ "content": [{ "text": long }, { "text": "short" }] }]).to_string()),
        // What the bound of the meter cut.
        ("system".into(), "\"no end".to_owned()),
    ];
    let events = span_of(record)["events"].clone();
    let length = |value: &Value| value.as_str().unwrap().chars().count();
    assert_eq!(length(&events[1]["body"]), MAX_TEXT);
    let parts = &events[0]["body"]["messages"][0]["content"];
    assert_eq!((length(&parts[0]["text"]), &parts[1]["text"]), (MAX_TEXT, &json!("short")));
    assert_eq!(events[0]["body"]["system"], "\"no end");
}

#[test]
fn nothing_is_encoded_before_it_is_sent() {
    let (queue, mut queued, counts) = queue("llemtry", "spans", &Drops::default());
    let mut sink = Llemtry { queue, ids: Ids::new(), content: true };
    let mut record = record();
    let content = Arc::make_mut(record.usage.as_mut().unwrap().content.as_mut().unwrap());
    content.prompt = vec![("messages".into(), "x".repeat(1 << 20))];
    let records = vec![record; 20];
    sink.record(&records);
    let shown = counts.status();
    assert_eq!((shown.queued, shown.dropped), (15, 5));
    while let Ok(piece) = queued.try_recv() {
        assert!(matches!(piece, Piece::Raw(_)) && piece.size() > 1 << 20);
    }
    let texts: Vec<_> =
        records.iter().map(|record| record.usage.as_ref().unwrap().content.as_ref().unwrap()).collect();
    assert!(texts.iter().all(|text| Arc::ptr_eq(text, texts[0])));
}

/// A receiver that takes two seconds for a request gets hundreds of exchanges a second.
#[test]
fn a_request_has_more_than_a_thousand_short_exchanges() {
    let (queue, mut queued, _) = queue("llemtry", "spans", &Drops::default());
    Llemtry { queue, ids: Ids::new(), content: true }.record(&vec![record(); 1500]);
    let (mut sizes, mut pieces, mut bytes) = (0, Vec::new(), 0);
    while let Ok(piece) = queued.try_recv() {
        sizes += piece.size();
        if sizes > BATCH.bytes || pieces.len() == BATCH.pieces {
            break;
        }
        pieces.push(piece.encode());
        bytes = Document::new(SERVICE).start.len()
            + 2
            + pieces.iter().map(|piece| piece.len() + 1).sum::<usize>();
    }
    assert!(pieces.len() > 1000 && bytes < 5 << 18, "{} in {bytes} bytes", pieces.len());
}

#[test]
fn text_that_was_cut_is_marked() {
    let mut record = record();
    Arc::make_mut(record.usage.as_mut().unwrap().content.as_mut().unwrap()).is_cut = true;
    assert_eq!(span_of(record)["attributes"]["tollgate.content.truncated"], true);
}

#[test]
fn text_that_was_dropped_is_marked() {
    let mut record = record();
    let content = record.usage.as_mut().unwrap().content.as_mut().unwrap();
    *content = Arc::new(Content { is_dropped: true, ..content.without_text() });
    let span = span_of(record);
    assert_eq!(
        (&span["attributes"]["tollgate.content.dropped"], &span["events"]),
        (&json!(true), &json!([]))
    );
}

#[test]
fn content_can_be_left_out() {
    // Another exporter may have asked for the text.
    let documents = exported(record(), false);
    assert_eq!(documents[0]["spans"][0]["events"], json!([]));
    assert_eq!(documents[0]["spans"][0]["attributes"]["gen_ai.request.temperature"], 0.5);
    let mut record = record();
    record.usage.as_mut().unwrap().content = None;
    assert_eq!(exported(record, false)[0]["spans"][0]["events"], json!([]));
    let text_is_kept = |content| {
        let (queue, ..) = queue("llemtry", "spans", &Drops::default());
        Llemtry { queue, ids: Ids::new(), content }.wants_content()
    };
    assert_eq!([true, false].map(text_is_kept), [true, false]);
}

#[test]
fn exchanges_without_content_in_their_format_are_not_exported() {
    let mut record = record();
    record.usage.as_mut().unwrap().has_content = false;
    assert_eq!(exported(record.clone(), true), Vec::<Value>::new());
    record.usage = None;
    assert_eq!(exported(record, true), Vec::<Value>::new());
}

/// The number of exporters that these settings open, or the error.
fn opened(table: Option<Value>, variables: &[(&str, &str)]) -> Result<usize, String> {
    opened_as("llemtry", table, variables)
}

fn opened_as(name: &str, table: Option<Value>, variables: &[(&str, &str)]) -> Result<usize, String> {
    let table = table.map(|keys| ExporterTable {
        name: name.to_owned(),
        origin: Origin::File { key: format!("exporter.{name}"), file: "t.toml".to_owned() },
        keys: keys.as_object().unwrap().clone(),
    });
    let tables: Vec<_> = table.into_iter().collect();
    let lookup =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
    let opened = open_with(&tables, &lookup, &MetricLabels::default(), &Drops::default());
    opened.map(|exporters| exporters.states().status().len()).map_err(|error| error.to_string())
}

#[test]
fn all_three_variables_turn_it_on() {
    let (enabled, endpoint, token) =
        ((ENABLED, "true"), (ENDPOINT, "https://l.example/spans"), (TOKEN, "s3cret"));
    for value in ["true", "TRUE", "True"] {
        assert_eq!(opened(None, &[(ENABLED, value), endpoint, token]), Ok(1), "{value}");
    }
    // Off, and an error is logged: other programs may set them for this one.
    for variables in [
        &[][..],
        &[endpoint, token],
        &[enabled, token],
        &[enabled, endpoint],
        &[(ENABLED, "1"), endpoint, token],
        &[enabled, (ENDPOINT, ""), token],
        &[enabled, (ENDPOINT, "l.example"), token],
        &[enabled, endpoint, (TOKEN, "s3cret\r")],
    ] {
        assert_eq!(opened(None, variables), Ok(0), "{variables:?}");
    }
}

#[test]
fn only_the_exporter_with_the_name_of_the_kind_reads_variables() {
    let variables = [(ENDPOINT, "http://127.0.0.1:1/"), (TOKEN, "s3cret")];
    assert_eq!(
        opened_as("mine", Some(json!({ "kind": "llemtry" })), &variables),
        Err("`exporter.mine` in `t.toml` is enabled, and needs an `endpoint` and a `token_file`".to_owned())
    );
}

#[test]
fn a_table_is_understood_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).to_str().unwrap().to_owned()
    };
    let (token, two) = (file("token", "\u{feff}s3cret\r\n"), file("two", "s3cret\ns3cret\n"));
    let (empty, quoted) = (file("empty", "\n"), file("quoted", "\"s3cret\""));
    let check = |keys: Value, variables: &[(&str, &str)], expected: Result<usize, &str>| match (
        opened(Some(keys), variables),
        expected,
    ) {
        (Ok(number), Ok(expected)) => assert_eq!(number, expected),
        (Err(error), Err(expected)) => {
            let has_place =
                ["`exporter.llemtry` in `t.toml` ", "`LLEMTRY_"].iter().any(|at| error.starts_with(at));
            assert!(has_place && error.contains(expected), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        (found, _) => panic!("{found:?} instead of {expected:?}"),
    };
    let url = "http://127.0.0.1:1/";
    check(json!({ "kind": "llemtry", "endpoint": url, "token_file": token }), &[], Ok(1));
    check(json!({ "kind": "llemtry", "endpoint": url }), &[(TOKEN, "s3cret")], Ok(1));
    for (value, expected) in [
        ("false", Ok(0)),
        ("False", Ok(0)),
        ("TRUE", Ok(1)),
        ("", Ok(1)),
        ("1", Err("`LLEMTRY_ENABLED` is neither `true` nor `false`")),
        ("yes", Err("`LLEMTRY_ENABLED` is neither `true` nor `false`")),
        ("on", Err("`LLEMTRY_ENABLED` is neither `true` nor `false`")),
        ("true ", Err("`LLEMTRY_ENABLED`")),
    ] {
        let keys = json!({ "kind": "llemtry", "endpoint": url, "token_file": token });
        check(keys, &[(ENABLED, value)], expected);
    }
    check(
        json!({ "kind": "llemtry", "endpoint": url }),
        &[],
        Err("needs a `token_file` (or `LLEMTRY_AUTH_TOKEN`)"),
    );
    check(
        json!({ "kind": "llemtry" }),
        &[],
        Err("needs an `endpoint` (or `LLEMTRY_ENDPOINT`) and a `token_file`"),
    );
    check(json!({ "kind": "llemtry", "endpont": url }), &[], Err("did you mean `endpoint`?"));
    check(
        json!({ "kind": "llemtry", "content": 1 }),
        &[],
        Err("`content` is an integer, but has to be a boolean"),
    );
    check(
        json!({ "kind": "llemtry", "endpoint": "x", "token_file": token }),
        &[],
        Err("does not start with `https://`"),
    );
    check(
        json!({ "kind": "llemtry", "endpoint": "https://l.example/x?key=s3cret", "token_file": token }),
        &[],
        Err("cannot post spans to its endpoint `https://l.example`: it has a query or a fragment"),
    );
    check(json!({ "kind": "lemtry" }), &[], Err("unknown `kind` `lemtry`"));
    check(json!({}), &[], Err("has no `kind`"));
    for (path, problem) in [(two, "more than one line"), (empty, "is empty"), (quoted, "is in quotes")] {
        check(json!({ "kind": "llemtry", "endpoint": url, "token_file": path }), &[], Err(problem));
    }
    check(
        json!({ "kind": "llemtry", "endpoint": url, "token_file": "/nowhere" }),
        &[],
        Err("cannot be read"),
    );
}
