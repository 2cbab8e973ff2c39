//! Forms of `application/x-www-form-urlencoded`.

use super::*;

fn case() -> Case<'static> {
    let content_type = Some("application/x-www-form-urlencoded");
    Case { places: places("/model", &["/max", "/a/limit"]), content_type, needs: ALL }
}

#[test]
fn fields_are_decoded() {
    let check = |body: &str, expected: &str| case().check(body.as_bytes(), expected);
    check("", "- -");
    check("model=m", "m -");
    check("max=5&model=m&b=c", "m 5");
    check("&&c&=b&model=m&", "m -");
    check("%6dode%6C=%6d%2f%C3%a9+1", "m/é 1 -");
    check("model=a=b&max=0", "a=b 0");
    check("model", " -");
    check("model=", " -");
    check("b=model=x&model=m", "m -");
    check("b[]=1&c=/:,@!$'()*[]~?#&model=m", "m -");
    check("b=%FF%00&model=m", "m -");
    check(&format!("model={}", "m".repeat(512)), &format!("{} -", "m".repeat(512)));
    check(&format!("{}=1&model=m", "k".repeat(1024)), "m -");
}

#[test]
fn forms_with_two_readings_are_refused() {
    let check = |body: &str, expected: &str| case().check(body.as_bytes(), expected);
    for twice in ["model=m&model=m", "model=m&mod%65l=x", "model&model", "max=1&max=1", "model=m&model"] {
        check(twice, "!twice");
    }
    for like in [
        "Model=m",
        "model=m&MODEL=x",
        "model%00=x",
        "model[]=m",
        "model%5B%5D=m",
        "model[a]=m",
        "model.a=m",
        "+model=m",
        "model+=m",
        "%0Amodel=m",
        "model[=m",
        "MAX[]=1",
        "a[limit]=5",
        "A=1",
        "%E2%84%AAmodel=1&model%00",
    ] {
        check(like, "!look_alike");
    }
    check("a=1", "!not_an_object");
    for charset in ["_charset_=utf-7", "_CHARSET_", "model=m&_charset%5F=utf-8"] {
        check(charset, "!charset_field");
    }
    for value in ["", "-1", "+1", "01", "1.0", "1e3", "a", "%2B1", "18446744073709551616", &"9".repeat(600)] {
        check(&format!("max={value}"), "!max_output");
    }
    check("max", "!max_output");
    check(&format!("model={}", "m".repeat(513)), "!long_model");
    check(&format!("{}=1&model=m", "k".repeat(1025)), "!long_name");
    for control in ["model=a%00b", "model=a%0A", "model=%7f"] {
        check(control, "!model_text");
    }
    for cut in ["model=m%", "model=m%4", "mode%6"] {
        check(cut, "!incomplete");
    }
    for wrong in ["model=%C3", "model=%C1%A9", "%FFmodel=m", "mod%C1%A5l=m"] {
        check(wrong, "!not_utf8");
    }
    for wrong in [
        "model=m;b=c",
        "b=c;model=m",
        r#"{"model":"x","a":"&model=m&"}"#,
        " model=m",
        "model=m\n",
        "model=m&b=\"",
        "b={}",
        "b=%zz",
        "b=%u006d",
        "%mmodel=m",
        "model=é",
        "b=a b",
        "a\0=1",
        "<model>m</model>",
        "b=\\",
        "b=^",
        "b=`",
        "b=|",
    ] {
        check(wrong, "!not_a_form");
    }
}
