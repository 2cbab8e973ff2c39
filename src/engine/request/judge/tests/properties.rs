//! Whatever the judge lets pass, other parsers read as it does: `serde_json`, typed and as a value, and the meter's scanner.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::request::meter::Meter;

#[derive(Deserialize)]
struct Typed {
    model: Option<String>,
    max: Option<u64>,
}

/// Keys that are the model, the cap, or like them.
const KEYS: &[&str] = &[
    "model",
    "model",
    "model",
    "max",
    "max",
    r"\u006dodel",
    r"mode\u006C",
    "Model",
    "MODEL",
    r"model\u0000",
    r"model\u0000x",
    r"ma\u0078",
    "MAX",
    "a",
    "b",
    "c",
    "",
    "mod\u{e9}l",
    r"\ud83d\ude00",
    r"\ud83d",
    "model ",
];

const SCALARS: &[&str] = &[
    r#""m""#,
    r#""m""#,
    r#""x""#,
    r#""\u006d""#,
    r#""\ud83d\ude00""#,
    r#""\ud83d""#,
    r#""a\u0000b""#,
    r#""\"model\":\"y\"""#,
    "\"\u{20ac}\\n\"",
    "null",
    "true",
    "01",
    "-0",
    "1.5e3",
    "NaN",
    "'m'",
];

/// What is put into a text.
const CHANGES: &[&[u8]] = &[
    b"",
    b"\"",
    b"\\",
    b",",
    b"{",
    b"}",
    b"0",
    b"//",
    b"\0",
    b"\xEF\xBB\xBF",
    b"\xFF",
    b"\xC1\xAD",
    b"\"model\":\"y\",",
];

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(KEYS).prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = String> {
    let number = (0..100_u64).prop_map(|value| value.to_string());
    prop_oneof![prop::sample::select(SCALARS).prop_map(str::to_owned), number]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\r\n\t")]
}

fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            object(inner),
        ]
    })
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member =
        (key(), space(), value).prop_map(|(key, space, value)| format!("\"{key}\"{space}:{space}{value}"));
    prop::collection::vec(member, 0..5).prop_map(|all| format!("{{{}}}", all.join(",")))
}

/// A change of a text: a place, and what is put there in place of some bytes.
fn change() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let with = prop::sample::select(CHANGES).prop_map(<[u8]>::to_vec);
    (any::<prop::sample::Index>(), 0..3_usize, with)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let deep = (0..600_usize, value()).prop_map(|(depth, value)| {
        format!(r#"{{"model":"m","a":{}{value}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    });
    let mark = object(value()).prop_map(|body| format!("\u{FEFF}{body}"));
    let text = prop_oneof![20 => object(value()), 2 => value(), 1 => deep, 1 => mark];
    (text, prop::collection::vec(change(), 0..3), prop::bool::weighted(0.5)).prop_map(
        |(text, changes, keep)| {
            let mut bytes = text.into_bytes();
            for (place, removed, with) in changes.into_iter().filter(|_| !keep) {
                let start = place.index(bytes.len() + 1);
                let end = bytes.len().min(start + removed);
                bytes.splice(start..end, with);
            }
            bytes
        },
    )
}

/// `serde_json` has two limits of its own.
fn is_limit(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    text.contains("recursion limit") || text.contains("number out of range")
}

fn check(body: &[u8]) {
    let metering = metering(&["/model"], &["/max"]);
    let case = Case { places: Arc::new(Places::of(&metering).unwrap()), content_type: None, needs: ALL };
    let Ok((model, max_output)) = case.pieces([body], None) else { return };
    let shown = String::from_utf8_lossy(body);
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => {
            assert_eq!(value.get("model").and_then(Value::as_str), model.as_deref(), "{shown}");
            assert_eq!(value.get("max").and_then(Value::as_u64), max_output, "{shown}");
        }
        Err(error) => assert!(body.is_empty() || is_limit(&error), "{error}: {shown}"),
    }
    match serde_json::from_slice::<Option<Typed>>(body) {
        Ok(typed) => {
            let typed = typed.unwrap_or(Typed { model: None, max: None });
            assert_eq!((typed.model, typed.max), (model.clone(), max_output), "{shown}");
        }
        Err(error) => assert!(body.is_empty() || is_limit(&error), "{error}: {shown}"),
    }
    let mut meter = Meter::new(Arc::new(metering), None, false);
    meter.request(body);
    meter.request_end();
    let usage = meter.finish(true);
    assert_eq!(usage.request_model.as_deref(), model.as_deref().filter(|model| !model.is_empty()), "{shown}");
    assert_eq!(usage.max_output, max_output, "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn other_parsers_read_what_the_judge_reads(body in body()) {
        check(&body);
    }

    #[test]
    fn every_cut_gives_an_equal_result(body in body(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let case = Case { places: places("/model", &["/max"]), content_type: None, needs: ALL };
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        places.sort_unstable();
        let mut pieces = Vec::new();
        let mut start = 0;
        for place in places.into_iter().chain([body.len()]) {
            pieces.push(&body[start..place]);
            start = place;
        }
        prop_assert_eq!(case.pieces(pieces, None), case.pieces([&*body], None));
        prop_assert_eq!(case.pieces(body.chunks(1), None), case.pieces([&*body], None));
    }

    #[test]
    fn any_bytes_are_judged_without_panic(body in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3_usize) {
        let content_type = [None, Some("application/x-www-form-urlencoded"), Some("multipart/form-data; boundary=b")][kind];
        let case = Case { places: places("/model", &["/max"]), content_type, needs: ALL };
        prop_assert_eq!(case.pieces(body.chunks(1), None), case.pieces([&*body], None));
    }
}
