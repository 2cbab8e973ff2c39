//! Whatever the judge lets pass, other parsers read as it does: `serde_json`, typed and as a value, and the meter's scanner.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::{
    language::compile::metering::{Metering, WhenMissing},
    request::meter::Meter,
};

#[derive(Deserialize)]
struct Typed {
    model: Option<String>,
    max: Option<u64>,
}

/// Keys that are not like a place.
const KEYS: &[&str] = &["a", "b", "c", "", "mod\u{e9}l", r"\ud83d\ude00", "model ", "models"];

/// Keys that are a place, like one, or broken.
const HOSTILE_KEYS: &[&str] = &[
    "model",
    "max",
    r"\u006dodel",
    r"mode\u006C",
    r"ma\u0078",
    "Model",
    "MODEL",
    "MAX",
    r"model\u0000",
    r"model\u0000x",
    r"\ud83d",
];

const SCALARS: &[&str] = &[
    r#""m""#,
    r#""x""#,
    r#""\u006d""#,
    r#""\ud83d\ude00""#,
    r#""\"model\":\"y\"""#,
    "\"\u{20ac}\\n\"",
    "null",
    "true",
    "-0",
    "1.5e3",
];

const HOSTILE_SCALARS: &[&str] = &[r#""\ud83d""#, r#""a\u0000b""#, "01", "NaN", "'m'"];

/// Members that name the model or the cap.
const MEMBERS: &[&str] = &[
    r#""model":"m""#,
    r#""model" : "house\/m""#,
    r#""\u006dodel":"\u006d""#,
    r#""model":null"#,
    r#""max":7"#,
    r#""ma\u0078":18446744073709551615"#,
    r#""max":7,"model":"m""#,
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

fn mostly(tame: &'static [&'static str], hostile: &'static [&'static str]) -> impl Strategy<Value = String> {
    let (tame, hostile) = (prop::sample::select(tame), prop::sample::select(hostile));
    prop_oneof![40 => tame, 1 => hostile].prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = String> {
    let number = (0..100_u64).prop_map(|value| value.to_string());
    prop_oneof![3 => mostly(SCALARS, HOSTILE_SCALARS), 1 => number]
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
    let member = (mostly(KEYS, HOSTILE_KEYS), space(), value)
        .prop_map(|(key, space, value)| format!("\"{key}\"{space}:{space}{value}"));
    prop::collection::vec(member, 0..5).prop_map(|all| format!("{{{}}}", all.join(",")))
}

/// A change of a text: a place, and what is put there in place of some bytes.
fn change() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let with = prop::sample::select(CHANGES).prop_map(<[u8]>::to_vec);
    (any::<prop::sample::Index>(), 0..3_usize, with)
}

/// An object that has members of [`MEMBERS`] among its own.
fn named_object() -> impl Strategy<Value = String> {
    let members = prop::collection::vec(prop::sample::select(MEMBERS), 1..3);
    (object(value()), members, any::<bool>()).prop_map(|(object, members, is_first)| {
        let inner = &object[1..object.len() - 1];
        let members = members.join(", ");
        let parts = if is_first { [&members, inner] } else { [inner, &members] };
        format!("{{{}}}", parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(","))
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let deep = (0..600_usize, value()).prop_map(|(depth, value)| {
        format!(r#"{{"model":"m","a":{}{value}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    });
    let mark = named_object().prop_map(|body| format!("\u{FEFF}{body}"));
    let text = prop_oneof![20 => named_object(), 4 => object(value()), 1 => value(), 1 => deep, 1 => mark];
    let changes = prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(change(), 1..3)];
    (text, changes).prop_map(|(text, changes)| {
        let mut bytes = text.into_bytes();
        for (place, removed, with) in changes {
            let start = place.index(bytes.len() + 1);
            let end = bytes.len().min(start + removed);
            bytes.splice(start..end, with);
        }
        bytes
    })
}

/// `serde_json` has two limits of its own.
fn is_limit(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    text.contains("recursion limit") || text.contains("number out of range")
}

fn metering() -> Metering {
    Metering {
        request: Arc::new(map([("/model", Target::Model), ("/max", Target::MaxOutput)])),
        body: Arc::new(Map::default()),
        event: Arc::new(Map::default()),
        framings: Vec::new(),
        when_missing: WhenMissing::Estimate,
        ask: None,
        path_model: None,
    }
}

fn check(body: &[u8]) {
    let metering = metering();
    let places = Arc::clone(metering.request.places().unwrap());
    let case = Case { places, content_type: None, needs: ALL };
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
    // The meter reads numbers that every parser reads exactly.
    assert_eq!(usage.max_output, max_output.filter(|cap| *cap <= 1 << 53), "{shown}");
}

/// Pieces of a form.
const FRAGMENTS: &[&str] = &[
    "Content-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\n",
    "Content-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--\r\n",
    "Content-Disposition: form-data; name=\"max\"\r\n\r\n7\r\n--b\r\n",
    "Content-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n-\r\n--\r\n\r\n--b\r\n",
    "Content-Disposition: form-data; name=\"c\"\r\n\r\n\r\n--b--",
    "Content-Disposition: form-data; name=\"Model\"\r\n",
    "Content-Disposition: form-data; name=model\r\n",
    "Content-Type: text/plain\r\n",
    "\r\n",
    "\r",
    "\n",
    "-",
    "--b",
    "--",
    "m",
];

const FORM: &str = "multipart/form-data; boundary=b";

fn form() -> impl Strategy<Value = String> {
    let fragments = prop::collection::vec(prop::sample::select(FRAGMENTS), 0..6);
    fragments.prop_map(|fragments| format!("--b\r\n{}", fragments.concat()))
}

/// The lenient scanner of forms reads what the judge reads.
fn check_form(body: &str) {
    let metering = metering();
    let places = Arc::clone(metering.request.places().unwrap());
    let case = Case { places, content_type: Some(FORM), needs: ALL };
    let judged = case.every_cut(body.as_bytes());
    let Ok((model, max_output)) = judged else { return };
    let mut meter = Meter::new(Arc::new(metering), None, false);
    meter.request_type(FORM.as_bytes());
    meter.request(body.as_bytes());
    meter.request_end();
    let usage = meter.finish(true);
    assert_eq!((usage.request_model.as_deref(), usage.max_output), (model.as_deref(), max_output), "{body}");
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
    fn the_meter_reads_forms_as_the_judge_does(form in form()) {
        check_form(&form);
    }

    #[test]
    fn any_bytes_are_judged_without_panic(body in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3_usize) {
        let content_type = [None, Some("application/x-www-form-urlencoded"), Some("multipart/form-data; boundary=b")][kind];
        let case = Case { places: places("/model", &["/max"]), content_type, needs: ALL };
        prop_assert_eq!(case.pieces(body.chunks(1), None), case.pieces([&*body], None));
    }
}
