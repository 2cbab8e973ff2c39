//! CORS, as a browser sees it: what a preflight allows, and what a page may read.

use crate::harness::{Answer, Exchange, Message, World};

/// A file whose rules name headers in every place.
const NAMED: &str = r#"
[caller]
headers = ["x-goog-api-key"]
[headers]
pass = ["x-forwarded-for", "cf-*"]
remove = ["x-removed", "x-debug-*"]
default = { acme-version = "1" }
set = { x-set = "1" }
[endpoint.put]
method = "PATCH"
path = "/patch"
headers = { remove = ["x-endpoint"] }
"#;

fn preflight(world: &mut World, path: &str, more: &str) -> Message {
    let mut client = world.client();
    client.send(format!("OPTIONS {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n"));
    let answer = client.answer().unwrap();
    assert_eq!(answer.head.status(), 204);
    world.upstream.saw_nothing();
    answer
}

/// As a browser decides: by the list, in any case.
fn allows(answer: &Message, list: &str, name: &str) -> bool {
    let listed = answer.head.get(list).unwrap_or_default();
    listed.split(", ").any(|one| one.eq_ignore_ascii_case(name))
}

const ALLOWED: &str = "access-control-allow-headers";

#[test]
fn a_page_may_send_what_files_name() {
    let mut world = World::with(NAMED, &[]);
    let known = [
        "content-type",
        "authorization",
        "x-api-key",
        "x-goog-api-key",
        "x-forwarded-for",
        "cf-ray",
        "x-removed",
        "x-debug-1",
        "acme-version",
        "x-set",
        "x-endpoint",
    ];
    let asked = format!(
        "Origin: https://app.example\r\nAccess-Control-Request-Method: PATCH\r\nAccess-Control-Request-Headers: {},x-unknown\r\n",
        known.join(",")
    );
    // The same on every path: nobody can probe for endpoints.
    for path in ["/t/patch", "/t/nowhere", "/nowhere"] {
        let answer = preflight(&mut world, path, &asked);
        for name in known {
            assert!(allows(&answer, ALLOWED, name), "{path}: {name}, {:?}", answer.head);
        }
        assert!(!allows(&answer, ALLOWED, "x-unknown"));
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            assert!(allows(&answer, "access-control-allow-methods", method), "{method}");
        }
        assert_eq!(answer.head.get("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.head.get("access-control-allow-private-network"), None);
        assert_eq!(answer.head.get("access-control-allow-credentials"), None);
        for part in ["Origin", "Access-Control-Request-Headers", "Access-Control-Request-Private-Network"] {
            assert!(allows(&answer, "vary", part), "{part}");
        }
    }
}

#[test]
fn a_trusted_page_may_send_anything() {
    let origins = "https://app.example,http://localhost:3000";
    let mut world = World::with("", &["--cors-trusted-origins", origins]);
    let asked = |origin: &str| {
        format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: PURGE\r\nAccess-Control-Request-Headers: x-unknown\r\n\
             Access-Control-Request-Private-Network: true\r\n"
        )
    };
    for (origin, trusted) in [
        ("https://app.example", true),
        ("http://localhost:3000", true),
        ("https://app.example.evil.example", false),
        ("http://app.example", false),
        ("null", false),
    ] {
        let answer = preflight(&mut world, "/t/post", &asked(origin));
        assert_eq!(allows(&answer, ALLOWED, "x-unknown"), trusted, "{origin}");
        assert_eq!(allows(&answer, "access-control-allow-methods", "PURGE"), trusted, "{origin}");
        let private = answer.head.get("access-control-allow-private-network");
        assert_eq!(private, trusted.then_some("true"), "{origin}");
        // tollgate's own paths are for no page.
        let own = preflight(&mut world, "/auth/creds", &asked(origin));
        assert!(
            !own.head.lines.iter().any(|(name, _)| name.starts_with("access-control-")),
            "{:?}",
            own.head
        );
    }
    let mut open = World::with("", &["--cors-trusted-origins", "*"]);
    let answer = preflight(&mut open, "/t/post", &asked("null"));
    assert!(allows(&answer, ALLOWED, "x-unknown"));
    let refused =
        world.home.run(&["serve", "--listen", "127.0.0.1:0", "--cors-trusted-origins", "app.example"], "");
    assert!(
        refused.err.contains("`--cors-trusted-origins` cannot be `app.example`: write origins"),
        "{}",
        refused.err
    );
}

#[test]
fn only_listed_pages_may_read_answers() {
    let own = "https://app.example";
    let mut world = World::with("", &["--cors-origins", &format!("{own},http://localhost:3000")]);
    let known = format!("Authorization: Bearer {}\r\n", world.token);
    for (origin, allowed) in [
        (own, true),
        ("http://localhost:3000", true),
        ("https://app.example.evil.example", false),
        ("http://app.example", false),
        ("null", false),
    ] {
        let asked = format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n");
        let answer = preflight(&mut world, "/t/post", &asked);
        let reader = |head: &crate::harness::Message| {
            let allowed = head.head.get("access-control-allow-origin").map(str::to_owned);
            let others =
                head.head.lines.iter().filter(|(name, _)| name.starts_with("access-control-")).count();
            assert_eq!(allowed.is_some(), others > 0, "{:?}", head.head);
            assert!(head.head.all("vary").iter().any(|line| line.contains("Origin")), "{:?}", head.head);
            allowed
        };
        assert_eq!(reader(&answer).as_deref(), allowed.then_some(origin), "{origin}");
        // An error, and an answer of the upstream.
        let mut client = world.client();
        client.send(format!("GET /t/nowhere HTTP/1.1\r\nHost: a\r\n{known}Origin: {origin}\r\n\r\n"));
        assert_eq!(reader(&client.answer().unwrap()).as_deref(), allowed.then_some(origin), "{origin}");
        let exchange = world.known(Exchange::get().removed("Origin", origin));
        client.send(exchange.bytes());
        world.serve(&exchange);
        assert_eq!(reader(&client.answer().unwrap()).as_deref(), allowed.then_some(origin), "{origin}");
    }
    let refused = world.home.run(&["serve", "--listen", "127.0.0.1:0", "--cors-origins", "app.example"], "");
    assert!(
        refused.err.contains("`--cors-origins` cannot be `app.example`: write origins"),
        "{}",
        refused.err
    );
}

#[test]
fn a_page_may_read_every_header_and_every_error() {
    let mut world = World::new();
    let answer = Answer::new("429 Too Many Requests")
        .header("x-ratelimit-remaining-requests", "0")
        .header("retry-after", "7")
        .removed("access-control-expose-headers", "x-own")
        .body("slow down");
    let page = |exchange: Exchange| exchange.removed("origin", "https://app.example");
    world.exchange(page(Exchange::get()).answer(answer));
    let mut client = world.client();
    client.send("GET /t/get HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\n\r\n");
    let refused = client.answer().unwrap();
    assert_eq!(refused.head.status(), 401);
    for (name, value) in [("access-control-allow-origin", "*"), ("access-control-expose-headers", "*")] {
        assert_eq!(refused.head.get(name), Some(value));
    }
}

#[test]
fn the_shipped_files_allow_what_sdks_send() {
    let mut world = World::shipped(&[]);
    let sent = [
        "x-stainless-os",
        "x-stainless-retry-count",
        "x-stainless-helper-method",
        "openai-organization",
        "openai-project",
        "openai-beta",
        "anthropic-version",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "user-agent",
        "x-stainless-timeout",
        "idempotency-key",
        "x-title",
        "http-referer",
    ];
    let asked =
        format!("Origin: https://app.example\r\nAccess-Control-Request-Headers: {}\r\n", sent.join(","));
    let answer = preflight(&mut world, "/anthropic/v1/messages", &asked);
    for name in sent {
        assert!(allows(&answer, ALLOWED, name), "{name}");
    }
}
