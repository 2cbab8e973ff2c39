//! Forms of `multipart/form-data`.

use super::*;

fn case() -> Case<'static> {
    let content_type = Some("multipart/form-data; boundary=b-1");
    Case { places: places("/model", &["/max", "/a/limit"]), content_type, needs: ALL }
}

fn check(body: &str, expected: &str) {
    case().check(body.as_bytes(), expected);
}

/// A form of parts: the lines of a head, and the content.
fn form(parts: &[(&str, &str)]) -> String {
    let part = |(head, content): &(&str, &str)| format!("--b-1\r\n{head}\r\n\r\n{content}\r\n");
    format!("{}--b-1--\r\n", parts.iter().map(part).collect::<String>())
}

const DISPOSITION: &str = "Content-Disposition: form-data; name=";

/// A form with one field before the model.
fn with(head: &str, content: &str) -> String {
    form(&[(head, content), (&format!("{DISPOSITION}model"), "m")])
}

#[test]
fn fields_are_read() {
    let field = |name: &str| format!("{DISPOSITION}\"{name}\"");
    let (model, max, file) = (field("model"), field("max"), field("file") + "; filename=\"a.wav\"");
    check("", "- -");
    check("--b-1--", "- -");
    check("--b-1--\r\n", "- -");
    check(&form(&[]), "- -");
    check(&form(&[(&model, "m")]), "m -");
    check(form(&[(&model, "m")]).trim_end(), "m -");
    check(&form(&[(&max, "5"), (&model, "m")]), "m 5");
    check(&form(&[(&model, "")]), " -");
    check(&form(&[(&model, "m"), (&file, "a\r\nb\n--\r\n--b\r--b-\r\n-b-1")]), "m -");
    check(&form(&[(&file, ""), (&model, "m")]), "m -");
    check(&form(&[(&file, "\r\n\r\n\r\n"), (&model, "m")]), "m -");
    check(&form(&[(&file, &"x".repeat(3000)), (&model, "m")]), "m -");
    check(&form(&[(&model, "é€")]), "é€ -");
    check(&form(&[(&model, &"m".repeat(512))]), &format!("{} -", "m".repeat(512)));
    check(&form(&[("content-disposition:form-data;name=model", "m")]), "m -");
    check(&form(&[(&format!("{model}\r\nContent-Type: text/plain; charset=UTF-8"), "m")]), "m -");
    check(&form(&[(&format!("Content-Length: 1\r\n{model}"), "m")]), "m -");
    check(
        &with(&format!("{file}\r\nContent-Type: audio/wav\r\nContent-Transfer-Encoding: binary"), "x"),
        "m -",
    );
    check(&with(&field("b[]"), "1"), "m -");
    check(&with(&(field("b") + "; filename=\"é.wav\"; filename*=UTF-8''%C3%A9.wav"), "1"), "m -");
    check(&with(&(field("b") + "; filename=\"name=model\""), "1"), "m -");
    let long = format!("{}\r\nX-Long: {}", field("b"), "x".repeat(4000));
    check(&with(&long, "1"), "m -");
}

#[test]
fn binary_content_passes() {
    let mut body = b"--b-1\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n".to_vec();
    body.extend(0..=255);
    body.extend(form(&[(&format!("{DISPOSITION}model"), "m")]).replacen("--b-1", "\r\n--b-1", 1).as_bytes());
    case().check(&body, "m -");
}

#[test]
fn fields_with_two_readings_are_refused() {
    let model = format!("{DISPOSITION}\"model\"");
    check(&form(&[(&model, "m"), (&model, "m")]), "!twice");
    check(&form(&[(&model, "m"), (&model, "x")]), "!twice");
    for name in
        ["Model", "MODEL", "model[]", "model[0]", " model", "model ", "model.a", "MAX", "A", "a[limit]"]
    {
        check(&with(&format!("{DISPOSITION}\"{name}\""), "x"), "!look_alike");
    }
    check(&with(&format!("{DISPOSITION}a"), "{}"), "!not_an_object");
    check(&with(&format!("{DISPOSITION}_charset_"), "utf-7"), "!charset_field");
    for end in [
        "; filename=a",
        "; filename=\"\"",
        "; filename*=UTF-8''a",
        "\r\nContent-Type: application/json",
        "\r\nContent-Type: text/plain; charset=utf-16",
        "\r\nContent-Type: text/plain; charset",
        "\r\nContent-Type: text/html",
        "\r\nContent-Transfer-Encoding: base64",
        "\r\nContent-Transfer-Encoding: 8bit",
        "\r\nContent-Encoding: gzip",
        "\r\nX: y",
    ] {
        check(&form(&[(&format!("{model}{end}"), "m")]), "!file_part");
    }
    for value in ["", " 5", "5 ", "-1", "01", "5\r\n", "18446744073709551616", &"9".repeat(600)] {
        check(&form(&[(&format!("{DISPOSITION}max"), value)]), "!max_output");
    }
    check(&form(&[(&model, &"m".repeat(513))]), "!long_model");
    check(&form(&[(&model, &"m".repeat(2000))]), "!long_model");
    // A long text with a delimiter that does not stand alone: the first error is the same for every cut.
    for (length, expected) in
        [(512, "!not_a_form"), (515, "!not_a_form"), (516, "!long_model"), (519, "!long_model")]
    {
        check(&form(&[(&model, &format!("{}--b-1", "m".repeat(length)))]), expected);
    }
    for value in ["m\r\n", "\r\nm", "m\n", "m\0", "m\t"] {
        check(&form(&[(&model, value)]), "!model_text");
    }
    let wrong = form(&[(&model, "m?")]).replace('?', "\u{1}").into_bytes();
    let wrong: Vec<u8> = wrong.into_iter().map(|byte| if byte == 1 { 0xFF } else { byte }).collect();
    case().check(&wrong, "!not_utf8");
}

#[test]
fn heads_with_two_readings_are_refused() {
    for head in [
        "",
        "Content-Type: text/plain",
        "Content-Disposition: form-data",
        "Content-Disposition: form-data; filename=a",
        "Content-Disposition: form-data; name",
        "Content-Disposition: form-data; name=",
        "Content-Disposition: form-data; name=a; name=model",
        "Content-Disposition: form-data; name=b; NAME=model",
        "Content-Disposition: form-data; name*=UTF-8''model",
        "Content-Disposition: form-data; name=b; name*=UTF-8''model",
        "Content-Disposition: form-data; name*0=model",
        "Content-Disposition: form-data; name=b; name*0=mo; name*1=del",
        "Content-Disposition: form-data; name=\"b\\\"; name=model; c=\"",
        "Content-Disposition: form-data; name=\"mod\\el\"",
        "Content-Disposition: form-data; name=\"b",
        "Content-Disposition: form-data; name=\"b\"c",
        "Content-Disposition: form-data; name=\"b;name=model\"",
        "Content-Disposition: form-data; name=%6dodel",
        "Content-Disposition: form-data; name='model'",
        "Content-Disposition: form-data; name=\"<model>\"",
        "Content-Disposition: form-data; name=b; filename=\"a;name=model;c\"",
        "Content-Disposition: form-data; name=b; filename=a; filename=c",
        "Content-Disposition: form-data; name=mod\u{e9}l",
        "Content-Disposition: form-data; name=\"mod\u{e9}l\"",
        "Content-Disposition: form-data name=model",
        "Content-Disposition: form-data, name=model",
        "Content-Disposition: attachment; name=model",
        "Content-Disposition: form-data; name=b\r\nContent-Disposition: form-data; name=model",
        "Content-Disposition: form-data; name=b\r\ncontent-disposition: form-data; name=model",
        "Content-Disposition: form-data;\r\n name=model",
        "Content-Disposition: form-data; name=b;\r\n\tname=model",
        "Content-Disposition : form-data; name=b",
        " Content-Disposition: form-data; name=b",
        ": b\r\nContent-Disposition: form-data; name=b",
        "Content-Disposition: form-data; name=b\nX: y",
        "Content-Disposition: form-data; name=b\n\nmodel",
        "Content-Disposition: form-data; name=b\rX: y",
        "Content-Disposition: form-data; name=b\0",
        "Content-Disposition: form-data; name=b\r\nno field",
        "Content-Disposition: form-data; name =model",
        "Content-Disposition: form-data; name= model",
    ] {
        check(&with(head, "x"), "!part_head");
    }
    check(&with(&format!("{DISPOSITION}b\r\nX: {}", "x".repeat(5000)), "x"), "!part_head");
    check(&with(&format!("{DISPOSITION}\"{}\"", "b".repeat(1025)), "x"), "!long_name");
}

#[test]
fn delimiters_stand_alone() {
    let good = with(&format!("{DISPOSITION}b"), "x");
    check(&good, "m -");
    for end in 1..good.len() {
        let is_whole = good[..end].ends_with("--b-1--");
        check(&good[..end], if is_whole { "m -" } else { "!incomplete" });
    }
    let checks = |body: String| check(&body, "!not_a_form");
    for front in ["\r\n", "x", "preamble\r\n", "{\"model\":\"x\"}\r\n", "-", " "] {
        checks(format!("{front}{good}"));
    }
    for end in ["\r\n", "x", "epilogue", "--b-1--\r\n", " ", "\n"] {
        checks(format!("{good}{end}"));
    }
    for end in [" ", "-", "\n", "\r", "\rx", "x"] {
        let body = format!("{}{end}", good.trim_end());
        check(&body, if end == "\r" { "!incomplete" } else { "!not_a_form" });
    }
    for content in [
        "--b-1",
        "a--b-1b",
        "\n--b-1\r\n",
        "\r--b-1\r\n",
        "\r\n--b-1x",
        "\r\n--b-1 \r\n",
        "\r\n---b-1\r\n",
        "\r\n--b-1-\r\n",
        "\r\n--b-1\n",
        "\r\n--b-1\rx",
    ] {
        checks(with(&format!("{DISPOSITION}b"), content));
    }
    checks(good.replacen("--b-1\r\n", "--b-1\n", 1));
    checks(good.replacen("--b-1\r\n", "--b-1 \r\n", 1));
    checks(good.replacen("--b-1", "--c-1", 1));
    checks(r#"{"model":"m"}"#.to_owned());
    checks("model=m".to_owned());
}
