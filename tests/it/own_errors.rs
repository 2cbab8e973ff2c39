//! Errors of tollgate itself, as clients read them: the format of the API that was called, the endpoint that was meant, the
//! cause of a 401, `x-should-retry`, and the limit of header fields.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::harness::{Answer, Exchange, Message, World};

const BROKEN: &str = "title = \"Broken\"\npath_prefix = \"/broken\"\nbase_urll = 1\n";

/// tollgate's own answer to a request, the error in it.
fn refused(world: &mut World, line: &str, more: &str) -> (Message, Value) {
    let mut client = world.client();
    client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{more}\r\n"));
    let answer = client.answer().unwrap();
    world.upstream.saw_nothing();
    let body = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    (answer, body)
}

fn known(world: &World) -> String {
    format!("Authorization: Bearer {}\r\n", world.token)
}

#[test]
fn an_error_has_the_format_of_the_api_that_was_called() {
    let mut world = World::shipped(&[]);
    let known = known(&world);
    let (messages, chat, plain) = ("messages", "chat-completions", "plain");
    let version = "anthropic-version: 2023-06-01\r\n";
    let cases = [
        // The endpoint.
        ("POST /anthropic/v1/messages", "", messages),
        ("POST /openai/v1/chat/completions", "", chat),
        // Its path, with another method.
        ("GET /anthropic/v1/messages", &known, messages),
        ("PUT /proxy/groq/v1/chat/completions", &known, chat),
        // The prefix of a provider.
        ("GET /anthropic/v1/nowhere", &known, messages),
        ("GET /anthropic/v1/nowhere", "", messages),
        ("GET /anthropic/../x", &known, messages),
        ("GET /openai/v1/nowhere", &known, chat),
        ("GET /proxy/groq/nowhere", &known, chat),
        ("GET /openai-codex/nowhere", &known, chat),
        // No prefix: what the path or a header says.
        ("POST /v1/messages", &known, messages),
        ("POST /antropic/v1/messages/count_tokens", &known, messages),
        ("GET /v1/models", &format!("{known}{version}"), messages),
        ("POST /v1/chat/completions", &format!("{known}{version}"), chat),
        ("POST /v1/chat/completions", &known, chat),
        ("GET /nowhere", &known, plain),
        ("GET /nowhere", "", plain),
        // tollgate's own paths.
        ("GET /auth/v1/messages", &format!("{known}{version}"), plain),
        ("GET /admin/users", version, plain),
    ];
    for (line, more, expected) in cases {
        let (answer, body) = refused(&mut world, line, more);
        let is_401 = answer.head.status() == 401;
        let kind = body["error"]["type"].as_str().unwrap();
        let format = match (&body["type"], kind) {
            (Value::String(text), _) if text == "error" => {
                assert_eq!(body["request_id"].as_str(), answer.head.get("tollgate-request-id"), "{line}");
                messages
            }
            (_, "invalid_request_error") => chat,
            (_, "authentication_error") if is_401 => plain,
            (_, "not_found_error") => plain,
            _ => panic!("{line}: {body}"),
        };
        assert_eq!(format, expected, "{line} {more}: {body}");
    }
}

#[test]
fn a_404_names_the_endpoint_that_was_meant() {
    let mut world = World::shipped(&[]);
    let known = known(&world);
    let long = format!("/anthropic/{}", "a/".repeat(2000));
    let cases = [
        ("GET", "/anthropic/v1/messages", Some("POST /anthropic/v1/messages")),
        ("POST", "/anthropic/v1/message", Some("POST /anthropic/v1/messages")),
        ("POST", "/anthropic/messages", Some("POST /anthropic/v1/messages")),
        ("POST", "/anthropic/v1/v1/messages", Some("POST /anthropic/v1/messages")),
        ("POST", "/anthropic/v1/messages/", Some("POST /anthropic/v1/messages")),
        ("POST", "/v1/messages", Some("POST /anthropic/v1/messages")),
        ("POST", "/v1/chat/completions", Some("POST /openai/v1/chat/completions")),
        ("POST", "/groq/v1/chat/completions", Some("POST /proxy/groq/v1/chat/completions")),
        ("POST", "/proxy/gorq/v1/chat/completions", Some("POST /proxy/groq/v1/chat/completions")),
        ("POST", "/antropic/v1/messages", Some("POST /anthropic/v1/messages")),
        ("POST", "/proxy/openai/v1/chat/completions", Some("POST /openai/v1/chat/completions")),
        ("POST", "/proxy/anthropic/v1/messages", Some("POST /anthropic/v1/messages")),
        ("POST", "/proxy/openai/v1/respones", Some("POST /openai/v1/responses")),
        ("POST", "/openai/v1/v1/models", Some("GET /openai/v1/models")),
        ("GET", "/anthropic/v1/message", Some("POST /anthropic/v1/messages")),
        ("GET", "/nowhere", None),
        ("GET", "/favicon.ico", None),
        ("GET", &*long, None),
    ];
    for (method, path, expected) in cases {
        let (answer, body) = refused(&mut world, &format!("{method} {path}"), &known);
        assert_eq!(answer.head.status(), 404, "{path}");
        assert_eq!(body["error"]["code"], "route_not_found");
        let nearest = expected.map(|near| {
            let is_path = near.split_once(' ').is_some_and(|(_, near)| near == path);
            let other_method = if is_path { format!(", not for {method}") } else { String::new() };
            format!("The nearest endpoint is `{near}`{other_method}. ")
        });
        let nearest = nearest.unwrap_or_default();
        let list = "`GET /auth/providers` and `tollgate routes` list all";
        let message = format!("Route not implemented in AI Gateway: {path}. {nearest}{list}");
        assert_eq!(body["error"]["message"], message);
    }
}

/// A token learns of no endpoint that it does not reach.
#[test]
fn a_404_names_endpoints_in_scope() {
    let mut world = World::new();
    let made = world.home.run(&["token", "add", "ada", "--scope", "t/post"], "");
    let scoped = format!("Authorization: Bearer {}\r\n", made.out.trim());
    let known = known(&world);
    for (more, expected) in [(&known, "GET /t/get"), (&scoped, "POST /t/post")] {
        let (_, body) = refused(&mut world, "POST /t/get", more);
        let message = body["error"]["message"].as_str().unwrap();
        let others = ["GET /t/get", "POST /t/post"].into_iter().filter(|one| *one != expected);
        assert!(others.into_iter().all(|other| !message.contains(&format!("`{other}`"))), "{message}");
    }
}

#[test]
fn a_401_says_what_is_wrong_with_the_token() {
    let mut world = World::shipped(&[]);
    let gone = world.home.done(&["token", "add", "ada"], "").trim().to_owned();
    world.home.done(&["token", "revoke", "-"], &gone);
    let unknown = "tg_0123456789abcdef0123456789abcdef0123456789abcdef";
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let not_valid = "The token is not valid here: it was revoked, has expired, or belongs to an admin or another tollgate";
    let foreign = |kind: &str| {
        format!(
            "The token does not look like one of tollgate's (`tg_...`): {kind}. Send a token of tollgate: \
             vendors' keys are stored there, and no client needs them"
        )
    };
    // As tollgate makes it for one client, and as its vendor does.
    let pasted = |subject: &str| {
        let claims = serde_json::json!({
            "exp": 9_999_999_999_u64, "iat": 1, "iss": "https://auth.openai.com", "sub": subject,
            "https://api.openai.com/auth": { "chatgpt_account_id": "1", "chatgpt_user_id": "user-1" },
            "https://api.openai.com/profile": { "email": "user@example.com" },
        });
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    let missing = "No token was found in the request: send yours as `Authorization: Bearer TOKEN`, \
        or where the client has its API key";
    let anthropic = "sk-ant-api03-Secret0123456789";
    let cases = [
        (String::new(), "missing_token", missing.to_owned()),
        ("Authorization: Basic YTpi\r\n".into(), "missing_token", missing.to_owned()),
        ("Cookie: tollgate=abc\r\n".into(), "missing_token", missing.to_owned()),
        (bearer(anthropic), "foreign_token", foreign("it looks like a key of Anthropic")),
        (format!("x-api-key: {anthropic}\r\n"), "foreign_token", foreign("it looks like a key of Anthropic")),
        (bearer("gsk_Secret0123456789"), "foreign_token", foreign("it looks like a key of Groq")),
        (bearer("0123456789abcdef"), "foreign_token", foreign("it may be a vendor's key")),
        (bearer(unknown), "invalid_token", not_valid.to_owned()),
        (bearer(&format!("sk-ant-oat-{unknown}")), "invalid_token", not_valid.to_owned()),
        (bearer("eyJh.eyJz.c2ln"), "foreign_token", foreign("it may be a vendor's key")),
        (bearer(&pasted("gateway-proxy")), "invalid_token", not_valid.to_owned()),
        (bearer(&pasted("auth0|1")), "foreign_token", foreign("it may be a vendor's key")),
    ];
    for (more, code, advice) in &cases {
        let (answer, body) = refused(&mut world, "POST /openai/v1/chat/completions", more);
        assert_eq!((answer.head.status(), body["error"]["code"].as_str()), (401, Some(*code)), "{more}");
        assert_eq!(body["error"]["message"], format!("Invalid or missing auth credentials. {advice}"));
        assert_eq!(answer.head.get("x-should-retry"), Some("false"));
    }
    for (more, code) in [
        (String::new(), "missing_token"),
        (bearer(anthropic), "foreign_token"),
        (bearer(unknown), "invalid_admin_token"),
        (bearer(&world.token), "invalid_admin_token"),
    ] {
        let (answer, body) = refused(&mut world, "GET /admin/users", &more);
        assert_eq!((answer.head.status(), body["error"]["code"].as_str()), (401, Some(code)), "{more}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("Invalid or missing admin credentials. "), "{message}");
    }
    // One that was revoked gets the same answer as one that never was.
    let mut client = world.client();
    let revoked = loop {
        client.send(format!("GET /nowhere HTTP/1.1\r\nHost: a\r\n{}\r\n", bearer(&gone)));
        let answer = client.answer().unwrap();
        if answer.head.status() == 401 {
            break serde_json::from_slice::<Value>(&answer.body).unwrap();
        }
    };
    let (_, never) = refused(&mut world, "GET /nowhere", &bearer(unknown));
    assert_eq!(revoked, never);
    // No part of a key is logged.
    let log = world.gateway.log().join("\n");
    assert!(!log.contains("Secret0123"), "{log}");
}

#[test]
fn only_what_a_retry_mends_is_retried() {
    let world = World::with("[limits]\nmax_body = \"1KiB\"", &["--admin-listen", "127.0.0.1:0"]);
    world.home.write("broken", BROKEN);
    world.home.run(&["reload"], "");
    let known = known(&world);
    for (line, more, status) in [
        ("GET /t/get", "", 401),
        ("GET /t/nowhere", &*known, 404),
        ("GET /admin/users", &known, 404),
        ("POST /t/post", &format!("{known}Content-Length: 2000\r\n"), 413),
        ("GET /t/get", &format!("{known}Upgrade: websocket\r\nConnection: upgrade\r\n"), 426),
        ("GET /broken/x", &known, 503),
        ("GET /t/get", "Host: b\r\n", 400),
    ] {
        let mut client = world.client();
        client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{more}\r\n"));
        let answer = client.answer().unwrap();
        assert_eq!(answer.head.status(), status, "{line} {answer:?}");
        assert_eq!(answer.head.get("x-should-retry"), Some("false"), "{line}");
        assert_eq!(answer.head.get("retry-after"), None, "{line}");
    }
}

/// The lines of fields that nothing removes, `number` of them.
fn fields(exchange: Exchange, number: usize) -> Exchange {
    (0..number).fold(exchange, |exchange, index| exchange.header(&format!("x-field-{index}"), "v"))
}

fn answered(number: usize) -> Answer {
    let answer = Answer::new("200 OK").body("{}");
    (0..number).fold(answer, |answer, index| answer.header(&format!("x-field-{index}"), "v"))
}

#[test]
fn a_head_has_up_to_256_fields() {
    let mut world = World::new();
    // `Host` and `Authorization` count, and what each answer has beside these.
    world.exchange(fields(Exchange::get(), 254));
    world.exchange(Exchange::get().answer(answered(250)));
    let known = known(&world);
    let lines = field_lines;
    for number in [255, 500, 600, 3000] {
        let (answer, body) = refused(&mut world, "GET /t/get", &format!("{known}{}", lines(number)));
        assert_eq!(answer.head.status(), 431, "{number}");
        assert_eq!(body["error"]["code"], "head_too_large", "{number}");
        assert_eq!(answer.head.get("x-should-retry"), Some("false"), "{number}");
    }
    let exchange = world.known(Exchange::get().answer(answered(256)));
    let mut client = world.client();
    client.send(exchange.bytes());
    world.serve(&exchange);
    let answer = client.answer().unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.head.status(), &body["error"]["code"]), (502, &"upstream_head_too_large".into()));
    let message =
        "Upstream t failed: the head of its answer is too large: it may have 256 header fields and 64 KiB";
    assert_eq!(body["error"]["message"], message);
}

#[test]
fn a_head_with_too_many_fields_gets_an_error_in_the_format_of_the_api() {
    let mut world = World::shipped(&[]);
    let lines = field_lines(300);
    let (answer, body) = refused(&mut world, "POST /anthropic/v1/messages", &lines);
    assert_eq!(answer.head.status(), 431);
    assert_eq!(
        (&body["type"], &body["error"]["code"]),
        (&"error".into(), &"head_too_large".into()),
        "{body}"
    );
}

#[test]
fn what_is_not_http_gets_a_body() {
    let mut world = World::new();
    let (answer, body) = refused(&mut world, "GET /t/get", "no line\r\n");
    assert_eq!((answer.head.status(), &body["error"]["code"]), (400, &"malformed_request".into()));
    assert_eq!(answer.head.get("connection"), Some("close"));
    // Behind an answer on the same connection.
    let mut client = world.client();
    client.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().unwrap().head.status(), 200);
    client.send("GET /t/get HTTP/1.1\r\nno line\r\n\r\n");
    let answer = client.answer().unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.head.status(), &body["error"]["code"]), (400, &"malformed_request".into()));
    client.ends();
}

/// Some header fields.
fn field_lines(number: usize) -> String {
    let lines: Vec<String> = (0..number).map(|index| format!("x-{index}: v\r\n")).collect();
    lines.concat()
}
