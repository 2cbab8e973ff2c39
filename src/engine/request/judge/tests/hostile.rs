//! Hostile bodies: memory is bounded, whatever comes.

use super::*;
use crate::request::judge::json::Json;

#[test]
fn deep_and_long_bodies_are_judged_in_bounded_memory() {
    let case = Case { places: places("/model", &["/max"]), content_type: None, needs: ALL };
    let deep = "[".repeat(1_000_000);
    assert_eq!(case.pieces([format!("{{\"a\":{deep}").as_bytes()], None), Err(Unjudgeable::TooDeep));
    let long = "x".repeat(1_000_000);
    let check = |body: String, expected: Judged| {
        assert_eq!(case.pieces([body.as_bytes()], None), expected);
        assert_eq!(case.pieces(body.as_bytes().chunks(1000), None), expected);
    };
    check(format!(r#"{{"{long}":"{long}","model":"m"}}"#), Ok((Some("m".to_owned()), None)));
    check(format!(r#"{{"model":"{long}"}}"#), Err(Unjudgeable::LongModel));
    check(
        format!(r#"{{"max":{}}}"#, "1".repeat(1_000_000)),
        Err(Unjudgeable::MaxOutput { name: "max".into() }),
    );
    check(format!("{}{{}}", " ".repeat(1_000_000)), Ok((None, None)));
    assert!(size_of::<Json>() < 256);
}

#[test]
fn many_containers_and_keys_are_judged() {
    let case = Case { places: places("/model", &["/max"]), content_type: None, needs: ALL };
    let many = r#"{"Model":[{}],"max":{"a":[]}},"#.repeat(20_000);
    let body = format!(r#"{{"a":[{many}1],"model":"m","max":7}}"#);
    assert_eq!(case.pieces(body.as_bytes().chunks(4096), None), Ok((Some("m".to_owned()), Some(7))));
}
