//! The pages of the console's tools: what is typed comes back as it was, and is text. A browser tests what they show:
//! `tests/pages/console_tools.mjs`.

use std::net::SocketAddr;

use crate::harness::{Message, Wire, World};

const OWN: &str = "Origin: http://gateway.test\r\nContent-Type: application/x-www-form-urlencoded\r\n";
const HOSTILE: &str = "</textarea><img src=x onerror=alert(1)>";

fn ask(address: SocketAddr, line: &str, lines: &str, body: &str) -> Message {
    let mut client = Wire::connect(address);
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    client.send(format!("{line} HTTP/1.1\r\nHost: gateway.test\r\n{lines}{length}\r\n{body}"));
    client.answer().unwrap()
}

fn text(answer: &Message) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

/// Signs in as an operator. Returns the line of the cookie.
fn sign_in(world: &World) -> String {
    let token = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    let form = format!("token={}", token.trim());
    let answer = ask(world.gateway.address, "POST /console/sign-in", OWN, &form);
    let (cookie, _) = answer.head.get("set-cookie").unwrap().split_once(';').unwrap();
    format!("Cookie: {cookie}\r\n")
}

fn form(file: &str, text: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("file", file)
        .append_pair("text", text)
        .finish()
}

#[test]
fn what_is_typed_to_be_checked_comes_back() {
    let world = World::new();
    let cookie = format!("{OWN}{}", sign_in(&world));
    let check = |file: &str, text: &str| {
        ask(world.gateway.address, "POST /console/check", &cookie, &form(file, text))
    };
    for (file, status) in [("new.toml", 200), ("../new.toml", 422)] {
        let shown = check(file, &format!("\r\n  title = 1\r\n# {HOSTILE}\r\n\r\n"));
        assert_eq!((shown.head.status(), shown.head.get("cache-control")), (status, Some("no-store")));
        let shown = text(&shown);
        // The first line end is the one that browsers drop.
        assert!(shown.contains("wrap=\"off\">\n\n  title = 1\n# &#60;/textarea&#62;"), "{shown}");
        assert!(!shown.contains("<img src=x"), "{shown}");
    }
    let key = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789";
    let shown = check("new.toml", &format!("x = \"{key}\"\n"));
    assert_eq!(text(&shown).matches(key).count(), 1, "in the form alone");
}

#[test]
fn a_large_text_is_taken_from_operators_alone() {
    let world = World::new();
    let cookie = sign_in(&world);
    let large = form("new.toml", &"# \u{e4}\n".repeat(200_000));
    assert!(large.len() > 2 << 20);
    let shown = ask(world.gateway.address, "POST /console/check", &format!("{OWN}{cookie}"), &large);
    assert!(shown.head.status() == 200 && text(&shown).contains("TG"), "{}", shown.head.status());
    assert!(shown.body.len() < 100 << 10, "{} bytes", shown.body.len());
    // Many findings, and lines that do not compress.
    let lines = (0..20_000_u64).map(|line| format!("[t{:x}]\n", line.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let gzip = format!("{OWN}{cookie}Accept-Encoding: gzip\r\n");
    let shown = ask(
        world.gateway.address,
        "POST /console/check",
        &gzip,
        &form("new.toml", &lines.collect::<String>()),
    );
    assert_eq!((shown.head.status(), shown.head.get("content-encoding")), (200, Some("gzip")));
    assert!(shown.body.len() < 100 << 10, "{} bytes", shown.body.len());
    // Its body is not read: the answer comes before it is sent.
    let mut client = Wire::connect(world.gateway.address);
    client.send(format!(
        "POST /console/check HTTP/1.1\r\nHost: gateway.test\r\n{OWN}Content-Length: {}\r\n\r\n",
        large.len()
    ));
    assert_eq!(client.answer().unwrap().head.status(), 401);
    let mut client = Wire::connect(world.gateway.address);
    client.send(format!(
        "POST /console/check HTTP/1.1\r\nHost: gateway.test\r\n{OWN}{cookie}Content-Length: {}\r\n\r\n",
        4 << 20
    ));
    assert_eq!(client.answer().unwrap().head.status(), 413);
}

#[test]
fn a_question_is_in_the_address_and_headers_are_not() {
    let world = World::new();
    let cookie = sign_in(&world);
    let get = |path: &str| ask(world.gateway.address, &format!("GET {path}"), &cookie, "");
    let shown = get("/console/explain?method=get&path=/t/get&user=ada");
    assert!(shown.head.status() == 200 && text(&shown).contains("It is sent upstream"), "{}", text(&shown));
    assert!(text(&shown).contains("ada&#39;s own") && text(&shown).contains("t.toml:"), "{}", text(&shown));
    let none = get("/console/explain?path=/t/get&user=%3Cb%3E&headers=");
    assert_eq!(none.head.status(), 422);
    assert!(text(&none).contains("value=\"&#60;b&#62;\"") && !text(&none).contains("<b>"), "{}", text(&none));
    // Headers may hold a token: an address has none.
    let ignored = get("/console/explain?path=/t/get&headers=a:%20sk-in-an-address");
    assert!(ignored.head.status() == 200 && !text(&ignored).contains("sk-in-an-address"));
    let cookie = format!("{OWN}{cookie}");
    let post = |form: &str| ask(world.gateway.address, "POST /console/explain", &cookie, form);
    let line = post("method=GET&path=/t/get&headers=a:b%0D%0Anothing");
    assert_eq!(line.head.status(), 422);
    assert!(text(&line).contains("line 2 is not of the form"), "{}", text(&line));
    let shown =
        post("method=GET&path=/t/get&user=ada&headers=x-mine:%20b%0D%0Aauthorization:%20Bearer%20sk-typed");
    assert!(
        text(&shown).contains("It is sent upstream") && text(&shown).contains("x-mine"),
        "{}",
        text(&shown)
    );
    assert!(text(&shown).contains("<form class=\"card\" method=\"post\" action=\"/console/explain\">"));
    assert_eq!(text(&shown).matches("sk-typed").count(), 1, "in the form alone: {}", text(&shown));
    assert!(text(&shown).contains("href=\"/console/explain?method=GET&#38;path=%2Ft%2Fget&#38;user=ada\""));
    let unnamed = post("method=GET&path=/t/get&user=nobody&headers=");
    assert!(unnamed.head.status() == 422 && text(&unnamed).contains("No user has this id or name"));
    assert_eq!(get("/console/providers/item?file=nothing.toml").head.status(), 404);
    let item = get("/console/providers/item?file=t.toml");
    assert!(
        item.head.status() == 200 && text(&item).contains("method=GET&#38;path=%2Ft%2Fget"),
        "{}",
        text(&item)
    );
}
