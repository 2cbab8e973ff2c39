//! Requests that are forms: what is read of them, and what is none. Their fields count as the members of an object.

use proptest::prelude::*;

use super::{
    cuts::{damage, damaged, pieces},
    *,
};

const TYPE: &str = "multipart/form-data; boundary=bound";

const REQUEST: &str = "
    model /model
    max_output /max /limit
    stream /stream
    text /prompt
    other /image
    images /n
    characters /input combine length
    units /count combine count
    prompt:prompt /prompt
    parameter:heat /heat
    parameter:model /model";

fn forms() -> Metering {
    metering(&[Framing::Sse], REQUEST, "id /id", "id /id")
}

/// A part with such a head after `form-data; name=`.
fn part(head: &str, value: &str) -> String {
    format!("--bound\r\nContent-Disposition: form-data; name={head}\r\n\r\n{value}\r\n")
}

/// The usage of a request, for every way of cutting it into two.
fn usage_of(content_type: &str, request: &str) -> Usage {
    let exchange = Exchange::new(request, JSON, b"{}");
    Exchange { request_type: Some(content_type), ..exchange }.usage(forms())
}

#[track_caller]
fn check(request: &str, expected: &str) {
    assert_eq!(shown(&usage_of(TYPE, request)), expected, "{}", request.escape_debug());
}

#[test]
fn fields_are_read_and_files_are_skipped() {
    let form = [
        part("\"model\"", "m-1"),
        part("\"image\"; filename=\"a.png\"\r\nContent-Type: image/png", "\u{0}\r\n--boun\r\n\"model\"\r\n"),
        part("prompt", "a \"cat\"\r\n\\ \u{1}é"),
        part("\"max\"", "12"),
        part("\"n\"", "2"),
        part("\"unknown\"", "model"),
        part("\"input\"", "Größe"),
        part("\"count\"; filename=x", ""),
        part("\"heat\"\r\nContent-Type: text/plain", "0.5"),
    ];
    let usage = usage_of(TYPE, &format!("{}--bound--\r\n", form.concat()));
    assert_eq!(shown(&usage), "images=2 characters=5 units=1 model=m-1 prompt=14 max=12 other");
    let content = usage.content.unwrap();
    assert_eq!(
        content.prompt,
        [("prompt".into(), r#""a \u0022cat\u0022\u000d\u000a\u005c \u0001é""#.to_owned())]
    );
    assert_eq!(
        content.parameters,
        [("heat".into(), "0.5".to_owned()), ("model".into(), r#""m-1""#.to_owned())]
    );
}

/// Only `true` asks for a stream: without a content type of the answer, it decides.
#[test]
fn values_are_strings_but_where_a_number_or_boolean_counts() {
    let check_stream = |value: &str, is_stream: bool| {
        let request = format!("{}--bound--", part("stream", value));
        let exchange = Exchange::new(&request, None, b"data: {}\n\n");
        let usage = Exchange { request_type: Some(TYPE), ..exchange }.usage(forms());
        assert_eq!(usage.streamed, is_stream, "{value}");
    };
    check_stream("true", true);
    for value in ["false", "True", "1", "", "\"true\"", "{\"a\":true}", "true,\"a\":1"] {
        check_stream(value, false);
    }
    let check = |name: &str, value: &str, expected: &str| {
        check(&format!("{}--bound--", part(name, value)), expected);
    };
    check("model", "true", "model=true");
    check("model", "", "");
    check("n", " 7 ", "images=7");
    check("n", "seven", "bad_count");
    check("n", "null", "bad_count");
    check("n", "[7]", "bad_count");
    check("n", &"7".repeat(40), "bad_count");
    check("n", "-1", "bad_count");
    check("max", "twelve", "");
    check("max", "1}", "");
    check("input", "7", "characters=1");
    check("image", "a link", "other");
}

#[test]
fn of_repeated_fields_the_last_counts() {
    let form =
        [part("model", "a"), part("max", "1"), part("model", "b"), part("max", "x"), part("limit", "4")];
    check(&format!("{}--bound--", form.concat()), "model=b max=4");
    check(&format!("{}{}--bound--", part("model", "a"), part("model; filename=b", "c")), "");
}

#[test]
fn delimiters() {
    let ended = "Content-Disposition: form-data; name=model\r\n\r\nm\r\n--bound--";
    check(&format!("preamble\r\n--bound\r\n{ended}\r\nepilogue\r\n--bound\r\n{ended}"), "model=m");
    check(&format!("\r\n--bound \t \r\n{ended}"), "model=m");
    check(&format!("--bound\n{}", ended.replacen("\r\n\r\n", "\n\n", 1)), "model=m");
    // What only looks like one.
    check(&format!("x--bound\r\n{ended}"), "");
    check(&format!("--bounds\r\n{ended}"), "");
    check(&format!("--bound-\r\n{ended}"), "");
    let value = "\r\n--boun\r\r\n--bound-\r\n--boundary\n--bound\r\r\n-";
    check(&format!("{}--bound--", part("prompt", value)), &format!("prompt={}", value.len()));
    check(&format!("{}--bound--", part("prompt", "--bound-x")), "prompt=9");
    // A part without content, with and without a line end of its own.
    check("--bound\r\nContent-Disposition: form-data; name=model\r\n\r\n\r\n--bound--", "");
    let empty = "--bound\r\nContent-Disposition: form-data; name=model\r\n\r\n";
    check(&format!("{empty}{}--bound--", part("model", "m")), "model=m");
    check(&format!("{empty}--bound--"), "");
}

#[test]
fn a_form_without_its_end_has_the_fields_that_ended() {
    let form = format!("{}{}", part("model", "m"), part("prompt", "abc"));
    check(&form, "model=m prompt=3");
    check(&form[..form.len() - 3], "model=m prompt=2");
    check(&format!("{form}--bound"), "model=m prompt=3");
    check(&format!("{form}--bound\r\nContent-Disposition: form-data; name=model\r\n\r\nn"), "prompt=3");
}

#[test]
fn heads_are_bounded() {
    let check = |length: usize, expected: &str| {
        let fixed = "Content-Disposition: form-data; name=model\r\nX: \r\n\r\n".len();
        let head = format!("model\r\nX: {}", "x".repeat(length - fixed));
        let usage = usage_of(TYPE, &format!("{}{}--bound--", part(&head, "a"), part("max", "1")));
        assert_eq!(shown(&usage), expected, "{length}");
    };
    check(4096, "model=a max=1");
    check(4097, "max=1");
    check(9000, "max=1");
}

#[test]
fn the_content_type_selects_the_form() {
    let form = format!("{}--bound--", part("model", "m"));
    let check = |content_type: &str, request: &str, expected: &str| {
        assert_eq!(shown(&usage_of(content_type, request)), expected, "{content_type}");
    };
    check("Multipart/Form-Data; charset=utf-8; Boundary=\"bound\"", &form, "model=m");
    let longest = "b".repeat(70);
    check(&format!("multipart/form-data; boundary={longest}"), &form.replace("bound", &longest), "model=m");
    for other in ["application/json", "multipart/mixed; boundary=bound", "multipart/form-data"] {
        check(other, &form, "");
        check(other, r#"{"model":"m"}"#, "model=m");
    }
    let long = "b".repeat(71);
    check(&format!("multipart/form-data; boundary={long}"), &form.replace("bound", &long), "");
    check("multipart/form-data; boundary=\"bou\u{7f}nd\"", &form.replace("bound", "bou\u{7f}nd"), "");
    check("multipart/form-data; boundary=\"\"", &form.replace("bound", ""), "");
}

/// Nothing of a file is kept, nor of fields without a place.
#[test]
fn long_parts_take_no_memory() {
    let metering = Arc::new(forms());
    let mut meter = Meter::new(metering, None, false);
    meter.request_type(TYPE.as_bytes());
    meter.request(part("image; filename=a", "").trim_end().as_bytes());
    for piece in
        [&b"\r\n\r\n--boun"[..], &[b'\r'; 9000], &[0; 9000], b"\r\n--bound-"].iter().cycle().take(4000)
    {
        meter.request(piece);
    }
    meter.request(format!("\r\n{}--bound--", part("model", "m")).as_bytes());
    let held = format!("{:?}", meter.request).len();
    assert!(held < 16 << 10, "{held}");
    meter.request_end();
    meter.answer(200, None);
    meter.bytes(b"{}");
    assert_eq!(shown(&meter.finish(true)), "model=m other");
}

/// A field of a form, and the same as a member of an object.
fn field() -> impl Strategy<Value = (String, String)> {
    let name =
        prop::sample::select(vec!["model", "prompt", "stream", "n", "input", "heat", "image", "max", "x"]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "",
            "m-1",
            "true",
            "12",
            "0.5",
            "null",
            "\r",
            "\r\n",
            "\r\n--bound-",
            "\r\n--boun",
            "x--bound--",
            "\"\\\u{0}é€😀",
        ])
        .prop_map(str::to_owned),
        "[ -~é€😀\r\n]{0,60}",
    ];
    let quoted = any::<bool>();
    (name, value, quoted, any::<bool>()).prop_map(|(name, value, quoted, is_file)| {
        let mut head = if quoted { format!("\"{name}\"") } else { name.to_owned() };
        if is_file {
            head.push_str("; filename=\"a.b\"\r\nContent-Type: a/b");
        }
        let is_text = matches!(name, "model" | "prompt" | "input");
        let is_scalar = serde_json::from_str::<serde_json::Value>(&value)
            .is_ok_and(|value| value.is_number() || value.is_boolean());
        let member = match (is_file, is_text) {
            (true, _) => "{}".to_owned(),
            (false, false) if is_scalar && value.len() <= 32 => value.clone(),
            (false, _) => serde_json::Value::from(value.clone()).to_string(),
        };
        (part(&head, &value), format!("\"{name}\":{member}"))
    })
}

#[test]
fn a_line_of_two_cr_ends_no_head_however_it_is_cut() {
    let metering = Arc::new(forms());
    let form = format!("--bound\r\nContent-Disposition: form-data; name=x\r\n\r\r\n{}", part("model", "m-1"));
    let exchange = Exchange { request_type: Some(TYPE), ..Exchange::new("", JSON, b"{}") };
    let run = |pieces: Vec<&[u8]>| exchange.run(&metering, pieces, [&b"{}"[..]]);
    let (whole, bytes) = (run(vec![form.as_bytes()]), run(form.as_bytes().chunks(1).collect()));
    assert_eq!(bytes, whole);
}

/// The usage with the content read as JSON: forms write escapes of their own.
fn with_content(usage: &Usage) -> (Usage, Vec<(Box<str>, serde_json::Value)>) {
    let content = usage.content.as_deref().cloned().unwrap_or_default();
    let all = content.prompt.iter().chain(&content.parameters);
    let values = all.map(|(name, json)| (name.clone(), serde_json::from_str(json).unwrap())).collect();
    (Usage { content: None, ..usage.clone() }, values)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_form_is_read_as_the_object_with_its_fields(
        fields in prop::collection::vec(field(), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let metering = Arc::new(forms());
        let (parts, members): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
        let (form, object) = (format!("{}--bound--\r\n", parts.concat()), format!("{{{}}}", members.join(",")));
        let as_object = Exchange::new(&object, JSON, b"{}");
        let expected = with_content(&as_object.run(&metering, [object.as_bytes()], [&b"{}"[..]]));
        let as_form = Exchange { request_type: Some(TYPE), ..as_object };
        let cut = pieces(form.as_bytes(), &cuts);
        prop_assert_eq!(with_content(&as_form.run(&metering, cut, [&b"{}"[..]])), expected);
    }

    #[test]
    fn every_way_of_cutting_a_form_gives_an_equal_result(
        fields in prop::collection::vec(field(), 0..4),
        damage in damage(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let metering = Arc::new(forms());
        let form: String = fields.into_iter().map(|(part, _)| part).chain(["--bound--".to_owned()]).collect();
        let form = damaged(form.as_bytes(), damage);
        let exchange = Exchange { request_type: Some(TYPE), ..Exchange::new("", JSON, b"{}") };
        let run = |pieces: Vec<&[u8]>| exchange.run(&metering, pieces, [&b"{}"[..]]);
        let whole = run(vec![&form[..]]);
        prop_assert_eq!(&run(pieces(&form, &cuts)), &whole);
        prop_assert_eq!(&run(form.chunks(1).collect()), &whole);
    }
}
