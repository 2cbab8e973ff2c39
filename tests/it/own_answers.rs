//! Every answer of tollgate's own has what RFC 9110 requires of its status, at every listener. The rules are a table; the
//! answers are as many kinds as a client can cause.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
};

use crate::harness::{Answer, Exchange, KEY, Wire, World, connect};

/// The headers that a status requires.
const REQUIRED: &[(u16, &[&str])] = &[
    (401, &["www-authenticate"]),
    (405, &["allow"]),
    (407, &["proxy-authenticate"]),
    (426, &["upgrade", "connection"]),
    (429, &["retry-after"]),
    (503, &["retry-after"]),
];

/// Statuses that require what tollgate cannot know, or does not have: a `Location`, a range. It never makes them.
const NEVER: &[u16] = &[205, 206, 301, 302, 303, 307, 308, 402, 416];

/// A whole answer as text. Returns its status.
fn check(request: &str, answer: &str) -> u16 {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: `{answer}`"));
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next().unwrap()[9..12].parse().unwrap();
    let lines: Vec<(String, &str)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let all = |wanted: &str| -> Vec<&str> {
        lines.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect()
    };
    let one = |wanted: &str| match all(wanted)[..] {
        [value] => value,
        ref other => panic!("{request}: {status} has {other:?} as `{wanted}`"),
    };
    assert!(!NEVER.contains(&status), "{request}: {status}");
    // Section 6.6.1.
    assert!(one("date").ends_with(" GMT"), "{request}");
    // Section 6.4.1: no body, and none announced for a 204 (section 8.6).
    let is_head = request.starts_with("HEAD ");
    if status == 204 || status == 304 {
        assert_eq!(
            (body, all("content-length"), all("transfer-encoding")),
            ("", vec![], vec![]),
            "{request}"
        );
    } else {
        let length: usize = one("content-length").parse().unwrap();
        assert_eq!(body.len(), if is_head { 0 } else { length }, "{request}");
        // Section 8.3.
        assert_eq!(all("content-type").len(), usize::from(length > 0), "{request}");
    }
    for (_, required) in REQUIRED.iter().filter(|(of, _)| *of == status) {
        for name in *required {
            assert!(!one(name).is_empty(), "{request}: {status} without `{name}`");
        }
    }
    if let [seconds] = all("retry-after")[..] {
        assert!(seconds.parse::<u32>().unwrap() > 0, "{request}");
    }
    // Section 7.8: an `Upgrade` is a connection option, too.
    if !all("upgrade").is_empty() {
        assert!(one("connection").split(", ").any(|option| option == "upgrade"), "{request}");
    }
    // Section 7.6.1: so is `Keep-Alive`.
    if !all("keep-alive").is_empty() {
        assert_eq!(one("connection"), "keep-alive", "{request}");
    }
    // RFC 9209: an error names the party that made it.
    if status >= 400 && !body.is_empty() && body.contains("\"code\"") {
        assert!(one("proxy-status").starts_with("tollgate; error="), "{request}");
    }
    status
}

/// The answer to one request on its own connection.
fn answer_of(mut client: Wire, request: &str) -> u16 {
    client.send(request);
    client.finish();
    check(request, &String::from_utf8(client.rest()).unwrap())
}

#[test]
fn every_own_answer_keeps_the_musts_of_its_status() {
    let rules = [405, 407, 416, 426, 503].map(|status| {
        format!("[[response]]\nwhen = {{ status = {status} }}\nreply = {{ status = {status}, message = \"no\" }}\n")
    });
    let more = format!("{}[limits]\nmax_body = \"1KiB\"", rules[..2].concat() + &rules[3..].concat());
    let args = ["--admin-listen", "127.0.0.1:0", "--max-requests-per-token", "1", "--half-closed", "answer"];
    let mut world = World::with(&more, &args);
    let bare = world.home.user("bob");
    let admin = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    let (known, bare) =
        (format!("Authorization: Bearer {}\r\n", world.token), format!("Authorization: Bearer {bare}\r\n"));
    let admin = format!("Authorization: Bearer {}\r\n", admin.trim());
    let long = "a".repeat(70_000);
    let requests: &[(&str, &str, u16)] = &[
        ("GET /health", "", 200),
        ("HEAD /health", "", 200),
        ("GET /livez", "", 200),
        ("GET /readyz", "", 200),
        ("HEAD /readyz", "", 200),
        ("GET /config", "", 200),
        ("HEAD /config", "", 200),
        ("OPTIONS /t/get", "", 204),
        ("OPTIONS /admin", "", 404),
        ("OPTIONS /health", "", 204),
        ("GET /t/get", "", 401),
        ("HEAD /t/get", "", 401),
        ("GET /t/get", "Authorization: Bearer wrong\r\n", 401),
        ("GET /auth/me", "", 401),
        ("GET /t/get", &bare, 401),
        ("GET /t/nowhere", &known, 404),
        ("GET /console", "", 404),
        ("POST /config/sign-in", "Content-Length: 0\r\n", 403),
        ("GET /t/get", &format!("{known}Upgrade: websocket\r\nConnection: upgrade\r\n"), 426),
        ("POST /t/post", &format!("{known}Upgrade: websocket\r\nContent-Length: 9000000\r\n"), 426),
        ("POST /t/post", &format!("{known}Content-Length: 2000\r\n"), 413),
        ("PUT /auth/creds", &format!("{known}Content-Length: 2000000\r\n"), 413),
        ("PUT /auth/creds", &format!("{known}Content-Length: 1\r\n"), 400),
        ("GET /auth/me", &known, 200),
        ("GET /auth/nowhere", &known, 404),
        ("GET /t/get", "Host: b\r\n", 400),
        ("GET /t/get", "Transfer-Encoding: gzip\r\n", 400),
        ("GET /t/get", &format!("X: {long}\r\n"), 431),
        ("GET /t/get", "no line\r\n", 400),
        (&format!("GET /{long}"), "", 431),
    ];
    let mut seen = BTreeSet::new();
    for (line, more, status) in requests {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: a\r\n{more}\r\n{}",
            if more.ends_with("Length: 1\r\n") { "x" } else { "" }
        );
        assert_eq!(answer_of(world.client(), &request), *status, "{line:.60} {more:.60}");
        seen.insert(*status);
    }
    for (line, more, status) in [
        ("GET /admin/users", "", 401),
        ("GET /admin/users", &*admin, 200),
        ("POST /admin/users", &admin, 400),
        ("GET /admin/nowhere", &admin, 404),
        ("GET /t/get", &known, 404),
        ("GET /readyz", "", 200),
        ("OPTIONS /admin/users", "", 204),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
        assert_eq!(answer_of(Wire::connect(world.gateway.admin_address), &request), status, "{line}");
    }
    for (line, status) in [("GET /admin/users", 200), ("GET /admin/nowhere", 404), ("POST /admin/users", 400)]
    {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut socket = connect(&world.home.data());
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_eq!(check(&request, &answer), status, "{line}");
    }
    // Replies of a file's rules, and a limit.
    for status in [405, 407, 426, 503] {
        let mut client = world.client();
        client.send(world.known(Exchange::get()).bytes());
        let (_, mut wire) = world.upstream.request();
        let busy = format!("GET /t/get HTTP/1.1\r\nHost: a\r\n{known}\r\n");
        assert_eq!(answer_of(world.client(), &busy), 429);
        wire.send(Answer::new(&format!("{status} Odd")).removed("Connection", "close").body("no").bytes());
        client.finish();
        let answer = String::from_utf8(client.rest()).unwrap();
        assert_eq!(check("GET /t/get", &answer), status);
        assert!(!answer.contains(KEY));
        seen.insert(status);
    }
    for (status, _) in REQUIRED.iter().filter(|(status, _)| *status != 429) {
        assert!(seen.contains(status), "no answer with {status} was seen");
    }
}
