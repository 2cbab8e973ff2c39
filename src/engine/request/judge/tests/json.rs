//! JSON with other places than one key of the document: nested ones, caps, and names that fold.

use super::*;

#[test]
fn caps_are_whole_numbers() {
    let places = places("/model", &["/max"]);
    let check = |value: &str, expected: &str| {
        let body = format!(r#"{{"max":{value},"model":"m"}}"#);
        let case = |needs| Case { places: Arc::clone(&places), content_type: None, needs };
        case(ALL).check(body.as_bytes(), expected);
        let alone = expected.strip_prefix('m').map_or(expected.to_owned(), |cap| format!("-{cap}"));
        case(MAX_OUTPUT).check(body.as_bytes(), &alone);
        // A cap that is not needed is only validated.
        case(MODEL).check(body.as_bytes(), if expected == "!not_json" { expected } else { "m -" });
    };
    check("0", "m 0");
    check("1", "m 1");
    check(" 4096\n", "m 4096");
    check("18446744073709551615", "m 18446744073709551615");
    check("null", "m -");
    check("18446744073709551616", "!max_output");
    check(&"9".repeat(24), "!max_output");
    check(&"9".repeat(25), "!max_output");
    check(&"9".repeat(500), "!max_output");
    for wrong in ["-1", "-0", "1.0", "1e3", "1E0", "0e0", "\"1\"", "true", "false", "[1]", "{}"] {
        check(wrong, "!max_output");
    }
    for wrong in ["01", "+1", "1.", "1e", "-", "0x1", "1_0", "NaN", "Infinity", "nul,"] {
        check(wrong, "!not_json");
    }
}

#[test]
fn of_several_caps_all_agree() {
    let places = places("/model", &["/first", "/second", "/a/third"]);
    let check = |body: &str, expected: &str| {
        Case { places: Arc::clone(&places), content_type: None, needs: MAX_OUTPUT }
            .check(body.as_bytes(), expected);
    };
    check(r#"{"first":1}"#, "- 1");
    check(r#"{"second":2}"#, "- 2");
    check(r#"{"a":{"third":3}}"#, "- 3");
    check(r#"{"first":null,"second":2}"#, "- 2");
    check(r#"{"second":2,"first":null,"a":null}"#, "- 2");
    check(r#"{"first":1,"a":{"third":1},"second":1}"#, "- 1");
    check(r#"{"first":null,"second":null,"a":{}}"#, "- -");
    check(r#"{"first":1,"second":2}"#, "!two_max_outputs");
    check(r#"{"second":2,"first":1}"#, "!two_max_outputs");
    check(r#"{"a":{"third":0},"first":1}"#, "!two_max_outputs");
    check(r#"{"first":1,"second":"2"}"#, "!max_output");
    check(r#"{"first":1,"First":1}"#, "!look_alike");
    check(r#"{"a":{"third":1,"third":1}}"#, "!twice");
    // The model is not needed.
    check(r#"{"first":1,"model":"a","model":2,"MODEL":3}"#, "- 1");
}

#[test]
fn nested_places_lie_in_objects() {
    let places = places("/config/model", &["/config/limits/max"]);
    let check = |body: &str, expected: &str| {
        Case { places: Arc::clone(&places), content_type: None, needs: ALL }.check(body.as_bytes(), expected);
    };
    check(r#"{"config":{"model":"m","limits":{"max":5}}}"#, "m 5");
    check(r#"{"config":{"limits":{"max":5},"model":"m"}}"#, "m 5");
    check(r#"{"model":"x","config":{"max":1,"model":"m"},"max":2}"#, "m -");
    check(r#"{"a":[{"config":{"model":"x"}}],"config":{"model":"m"}}"#, "m -");
    check(r#"{"config":{"config":{"model":"x"},"model":"m"}}"#, "m -");
    check(r#"{"config":{"a":{"limits":{"max":1}},"limits":{"a":{"max":2},"max":3}}}"#, "- 3");
    check(r#"{"config":{}}"#, "- -");
    check(r#"{"config":null}"#, "- -");
    check(r#"{"config":{"limits":null,"model":null}}"#, "- -");
    for value in ["[]", "[{\"model\":\"m\"}]", "\"m\"", "1", "-1", "true", "false"] {
        check(&format!(r#"{{"config":{value}}}"#), "!not_an_object");
        check(&format!(r#"{{"config":{{"limits":{value}}}}}"#), "!not_an_object");
    }
    check(r#"{"config":{"model":"m"},"config":{}}"#, "!twice");
    check(r#"{"config":null,"config":{"model":"m"}}"#, "!twice");
    check(r#"{"config":{"model":"m"},"confi\u0067":null}"#, "!twice");
    check(r#"{"config":{"limits":{},"limits":{}}}"#, "!twice");
    check(r#"{"config":{"model":"m"},"Config":{"model":"x"}}"#, "!look_alike");
    check(r#"{"config":{"model":"m","Model":"x"}}"#, "!look_alike");
    check(r#"{"config":{"LIMITS":{}}}"#, "!look_alike");
    check(r#"{"conf\u0131g":{}}"#, "!look_alike");
    check("{\"conf\u{130}g\":{}}", "!look_alike");
    // Only a place's own object counts.
    check(r#"{"Model":"x","MAX":1,"config":{"model":"m","Max":2,"Limit":3}}"#, "m -");
}

#[test]
fn keys_that_fold_to_a_name_are_refused() {
    let places = places("/kiss", &[]);
    let check = |key: &str, expected: &str| {
        let body = format!(r#"{{"{key}":"m"}}"#);
        Case { places: Arc::clone(&places), content_type: None, needs: MODEL }
            .check(body.as_bytes(), expected);
    };
    check("kiss", "m -");
    for like in [
        "Kiss",
        "KISS",
        "kisS",
        "\u{212A}iss",
        r"\u212Aiss",
        r"\u212aISS",
        "ki\u{17F}s",
        "kis\u{17F}",
        r"ki\u017F\u017f",
        "k\u{130}ss",
        "k\u{131}ss",
        r"kiss\u0000",
        r"KI\u017fS\u0000kiss",
    ] {
        check(like, "!look_alike");
    }
    for other in [
        "kis",
        "kisss",
        "kiß",
        "ki\u{df}",
        "kiss ",
        " kiss",
        "kiss.",
        "\u{39a}iss",
        "",
        r"\u0000kiss",
        "k\u{307}iss",
    ] {
        check(other, "- -");
    }
}

#[test]
fn without_needs_nothing_is_read() {
    let body = b"\xFF{]";
    let case =
        |needs| Case { places: places("/model", &[]), content_type: Some("multipart/form-data"), needs };
    case(Needs::default()).check(body, "- -");
    case(MAX_OUTPUT).check(body, "- -");
    case(MODEL).check(body, "!boundary");
}

#[test]
fn progress_says_that_all_is_found() {
    let check = |needs: Needs, body: &str, expected: usize| {
        let case = Case { places: places("/model", &["/max", "/other"]), content_type: None, needs };
        let progress = case.progress(body.as_bytes());
        let found = progress.iter().position(|one| *one == Progress::Found).unwrap_or(body.len());
        assert_eq!(found, expected, "{body}");
        assert!(progress[found..].iter().all(|one| *one == Progress::Found), "what was found stays");
    };
    let body = r#"{"model":"m","max":12,"a":1}"#;
    check(MODEL, body, 11);
    check(MAX_OUTPUT, body, 21);
    check(ALL, body, 21);
    check(ALL, r#"{"other":1,"model":null}"#, 19);
    check(ALL, r#"{"max":null,"model":"m"}"#, 24);
    check(MODEL, r#"{"a":1}"#, 7);
}

#[test]
fn a_refused_body_names_nothing() {
    let places = places("/model", &["/max"]);
    let mut judge = Judge::new(places, Some(b"application/json"), ALL).unwrap();
    assert_eq!(judge.feed(br#"{"model":"m","max":1,"#), Ok(Progress::Found));
    assert_eq!((judge.model(), judge.max_output()), (Some("m"), Some(1)));
    let twice = Unjudgeable::Twice { name: "model".into() };
    assert_eq!(judge.feed(br#""model":"#), Err(twice.clone()));
    assert_eq!((judge.model(), judge.max_output()), (None, None));
    assert_eq!(judge.feed(b"1}"), Err(twice.clone()));
    assert_eq!(judge.end(), Err(twice));
}

#[test]
fn errors_have_their_place() {
    let check = |body: &[u8], expected: Unjudgeable| {
        let case = Case { places: places("/a/model", &["/max"]), content_type: None, needs: ALL };
        assert_eq!(case.every_cut(body), Err(expected), "{}", String::from_utf8_lossy(body));
    };
    check(b"{\"b\":1,}", Unjudgeable::NotJson { at: 7 });
    check(b"{\"\xC3\xA9\":x}", Unjudgeable::NotJson { at: 6 });
    check(b"{\"b\":\"0123456789012345678901234567890\x01\"", Unjudgeable::NotJson { at: 37 });
    check(b"{\"\xC3\xA9\":\"\xC3\"}", Unjudgeable::NotUtf8 { at: 7 });
    check(br#"{"a":{"model":"m"},"a":{}}"#, Unjudgeable::Twice { name: "a".into() });
    check(br#"{"a":{"Model":"m"}}"#, Unjudgeable::LookAlike { name: "a/model".into() });
    check(br#"{"a":[]}"#, Unjudgeable::NotAnObject { name: "a".into() });
    check(b"[]", Unjudgeable::NotAnObject { name: "/".into() });
    check(br#"{"max":-1}"#, Unjudgeable::MaxOutput { name: "max".into() });
}

#[test]
fn messages_say_the_problem_and_the_remedy() {
    let check = |refused: Unjudgeable, expected: &str| assert_eq!(refused.to_string(), expected);
    check(
        Unjudgeable::Twice { name: "model".into() },
        "The body has `model` twice, so that it could be read in two ways: send it once",
    );
    check(
        Unjudgeable::NotJson { at: 7 },
        "The body is not valid JSON (RFC 8259) at byte 7: send strict JSON",
    );
    check(Unjudgeable::LongModel, "The body has a model of more than 512 bytes: send its name");
    check(Unjudgeable::TooDeep, "The body is nested more than 512 deep: send it with fewer levels");
}
