//! The order of decisions, and authentication: the answers of tollgate itself, before any upstream.

use crate::harness::{
    Exchange, FOREIGN_TOKEN, Fault, KEY, Message, NO_ADMIN, NO_TOKEN, WRONG_ADMIN, WRONG_TOKEN, World,
};

const NOT_FOUND: Fault<'_> = Fault(404, "not_found", "Not found");

fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: gateway.test\r\n{headers}\r\n")
}

fn own(world: &mut World, request: &str) -> Message {
    let mut client = world.client();
    client.send(request);
    let answer = client.answer().unwrap();
    world.upstream.saw_nothing();
    answer
}

/// Sorted names and values, without the date, the announcement of the idle timeout, and the request id's value.
fn lines(answer: &Message) -> Vec<String> {
    let left_out = ["date", "connection", "keep-alive"];
    let kept = answer.head.lines.iter().filter(|(name, _)| !left_out.contains(&name.as_str()));
    let shown =
        kept.map(
            |(name, value)| {
                if name == "tollgate-request-id" { name.clone() } else { format!("{name}: {value}") }
            },
        );
    let mut lines: Vec<String> = shown.collect();
    lines.sort();
    lines
}

const CORS: [&str; 7] = [
    "access-control-allow-headers: Content-Type, Authorization, x-api-key",
    "access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    "access-control-allow-origin: *",
    "access-control-expose-headers: *",
    "access-control-max-age: 86400",
    "tollgate-request-id",
    "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
];

/// Paths below tollgate's own first segments.
const RESERVED: [&str; 2] = ["cache-control: no-store", "tollgate-request-id"];

#[test]
fn every_path_has_a_preflight() {
    let mut world = World::new();
    for path in ["/", "/t/post", "/nowhere", "/health", "/v1/a%2Fb", "/proxy/__proto__/v1/models"] {
        let answer = own(&mut world, &request(&format!("OPTIONS {path}"), ""));
        assert_eq!(answer.head.start, "HTTP/1.1 204 No Content", "{path}");
        assert_eq!(answer.body, b"", "{path}");
        let expected: &[&str] = if path == "/health" { &RESERVED } else { &CORS };
        assert_eq!(lines(&answer), expected, "{path}");
    }
}

#[test]
fn reserved_paths_have_no_cors() {
    let mut world = World::new();
    for path in ["/admin", "/admin/users", "/auth/creds", "/config", "/console/x", "/metrics"] {
        let answer = own(&mut world, &request(&format!("OPTIONS {path}"), ""));
        assert_eq!(lines(&answer), RESERVED, "{path}");
    }
}

#[test]
fn health_and_config_are_open() {
    let mut world = World::new();
    for path in ["/health", "/livez", "/readyz"] {
        let health = own(&mut world, &request(&format!("GET {path}"), ""));
        assert_eq!((health.head.status(), &health.body[..]), (200, &br#"{"status":"ok"}"#[..]), "{path}");
        assert_eq!(health.head.get("content-type"), Some("application/json"), "{path}");
    }
    let config = own(&mut world, &request("GET /config", ""));
    assert_eq!(config.head.status(), 200);
    assert_eq!(config.head.get("content-type"), Some("text/html; charset=utf-8"));
    let policy = config.head.get("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(config.head.get("x-frame-options"), Some("DENY"));
    assert_eq!(config.head.get("access-control-allow-origin"), None);
    let mut client = world.client();
    client.send(request("HEAD /config", ""));
    assert_eq!(client.head().unwrap().status(), 200);
}

#[test]
fn the_caller_comes_before_the_path() {
    let mut world = World::new();
    let bearer = format!("Authorization: Bearer {}\r\n", world.token);
    for path in ["/", "/favicon.ico", "/nowhere", "/t/nowhere", "/a//b", "/a%2Fb", "/../x", "/t/get/"] {
        world.fault(request(&format!("GET {path}"), ""), NO_TOKEN);
        let message = format!("Route not implemented in AI Gateway: {path}");
        world.fault(request(&format!("GET {path}"), &bearer), Fault(404, "route_not_found", &message));
    }
    for method in ["PUT", "DELETE", "PATCH", "HEAD2", "post", "TRACE"] {
        let message = "Route not implemented in AI Gateway: /t/post";
        world.fault(request(&format!("{method} /t/post"), &bearer), Fault(404, "route_not_found", message));
    }
    world.exchange(Exchange::get());
}

/// The one reader of `Authorization` serves providers, self-service and the admin API alike.
#[test]
fn every_api_reads_tokens_as_the_standard_says() {
    let mut world = World::new();
    let admin = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    for (line, token, refusal) in [
        ("GET /auth/me", world.token.clone(), NO_TOKEN),
        ("GET /admin/users", admin.trim_end().to_owned(), NO_ADMIN),
    ] {
        for start in ["Bearer ", "bearer ", "BEARER   ", "\tbearer "] {
            let answer = own(&mut world, &request(line, &format!("Authorization: {start}{token} \r\n")));
            assert_eq!(answer.head.status(), 200, "{line} {start}");
        }
        for start in ["", "Bearer", "Bearer\t", "Basic ", "Token "] {
            world.fault(request(line, &format!("Authorization: {start}{token}\r\n")), refusal);
        }
    }
}

#[test]
fn admin_and_self_service_require_a_caller() {
    let mut world = World::new();
    let bearer = format!("Authorization: Bearer {}\r\n", world.token);
    for path in ["/admin", "/admin/", "/admin/users", "/admin/nowhere?x=1"] {
        world.fault(request(&format!("GET {path}"), ""), NO_ADMIN);
        world.fault(request(&format!("POST {path}"), &bearer), WRONG_ADMIN);
    }
    for path in ["/auth", "/auth/", "/auth/nowhere"] {
        world.fault(request(&format!("GET {path}"), ""), NO_TOKEN);
        world.fault(request(&format!("PATCH {path}"), &bearer), NOT_FOUND);
    }
    for path in ["/administrator", "/authority"] {
        world.fault(request(&format!("GET {path}"), ""), NO_TOKEN);
    }
}

#[test]
fn a_key_is_needed_where_the_file_asks_for_one() {
    let mut world = World::new();
    let token = world.home.user("bob");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let message = "No API key configured for t";
    world.fault(request("GET /t/get", &bearer), Fault(401, "credential_missing", message));
    let message = "Route not implemented in AI Gateway: /t/nowhere";
    world.fault(request("GET /t/nowhere", &bearer), Fault(404, "route_not_found", message));
    let message = "Route not implemented in AI Gateway: /t/get";
    world.fault(request("PUT /t/get", &bearer), Fault(404, "route_not_found", message));
}

#[test]
fn reserved_paths_are_no_routes() {
    let mut world = World::new();
    let bearer = format!("Authorization: Bearer {}\r\n", world.token);
    for line in [
        "POST /health",
        "GET /health/x",
        "PUT /config",
        "DELETE /config/",
        "PATCH /console",
        "POST /livez",
        "GET /readyz/x",
        "GET /metrics/x",
        "POST /metrics",
    ] {
        let check = |answer: &Message, status: u16, code: &str| {
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((answer.head.status(), &body["error"]["code"]), (status, &code.into()), "{line}");
            assert_eq!(answer.head.get("access-control-allow-origin"), None, "{line}");
        };
        check(&own(&mut world, &request(line, "")), 401, "missing_token");
        check(&own(&mut world, &request(line, &bearer)), 404, "route_not_found");
    }
}

#[test]
fn the_admin_token_is_no_users_token() {
    let mut world = World::new();
    let admin = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    let admin = format!("Authorization: Bearer {}\r\n", admin.trim_end());
    world.fault(request("GET /admin/nowhere", &admin), NOT_FOUND);
    world.fault(request("PATCH /admin", &admin), NOT_FOUND);
    world.fault(request("GET /auth/creds", &admin), WRONG_TOKEN);
    world.fault(request("GET /t/get", &admin), WRONG_TOKEN);
    world.fault(request("GET /admin/users", &admin.replacen("Bearer ", "Bearer x-", 1)), WRONG_ADMIN);
}

/// `{}` is the token.
const GOOD_TOKENS: [&[(&str, &str)]; 14] = [
    &[("Authorization", "Bearer {}")],
    &[("authorization", "Bearer {}")],
    &[("Authorization", "bearer {}")],
    &[("Authorization", "BEARER {}")],
    &[("Authorization", "bEARER   {}")],
    &[("Authorization", "Bearer  {}")],
    &[("Authorization", "\tBearer {} \t")],
    &[("Authorization", " \t"), ("x-api-key", " {} ")],
    &[("x-api-key", "{}")],
    &[("X-Api-Key", "{}")],
    &[("Authorization", ""), ("x-api-key", "{}")],
    &[("Authorization", "Bearer {}"), ("x-api-key", "another")],
    &[("Authorization", "Bearer sk-ant-oat-{}")],
    &[("x-api-key", "sk-ant-oat-{}")],
];

const BAD_TOKENS: [&[(&str, &str)]; 20] = [
    &[],
    &[("Authorization", "")],
    &[("Authorization", "{}")],
    &[("Authorization", "Bearer")],
    &[("Authorization", "Bearer ")],
    &[("Authorization", "Bearer\t{}")],
    &[("Authorization", "Bearer \t{}")],
    &[("Authorization", "Bearer{}")],
    &[("Authorization", "Bearer={}")],
    &[("Authorization", "Token {}")],
    &[("Authorization", "Bearer {}x")],
    &[("Authorization", "Bearer {}, Bearer {}")],
    &[("Authorization", "Basic YTpi"), ("x-api-key", "{}")],
    &[("Authorization", "Bearer wrong"), ("x-api-key", "{}")],
    &[("Authorization", "Bearer wrong"), ("Authorization", "Bearer {}")],
    &[("Authorization", "Bearer {}-")],
    &[("Authorization", "Bearer {}-x")],
    &[("x-api-key", "Bearer {}")],
    &[("Cookie", "token={}")],
    &[("Authorization", "Bearer \u{e9}")],
];

#[test]
fn known_tokens() {
    let mut world = World::new();
    for headers in GOOD_TOKENS {
        let mut exchange = Exchange::get();
        for (name, value) in headers {
            exchange = exchange.removed(name, &value.replace("{}", &world.token));
        }
        let mut client = world.client();
        let exchange = exchange.added("authorization", &format!("Bearer {KEY}"));
        world.exchange_on(&mut client, &exchange);
    }
}

#[test]
fn unknown_tokens() {
    let mut world = World::new();
    let token = world.token.clone();
    for headers in BAD_TOKENS {
        let mut exchange = Exchange::get();
        for (name, value) in headers {
            exchange = exchange.removed(name, &value.replace("{}", &token));
        }
        let fault = match headers {
            [(_, "Bearer wrong"), ("x-api-key", _)] => FOREIGN_TOKEN,
            [(_, "Bearer {}x" | "Bearer {}-" | "Bearer {}-x")] => WRONG_TOKEN,
            _ => NO_TOKEN,
        };
        world.fault(exchange.bytes(), fault);
    }
    for length in [506, 507, 4096, 10_000, 40_000] {
        let long = "a".repeat(length);
        world.fault(
            Exchange::get().removed("Authorization", &format!("Bearer {long}")).bytes(),
            FOREIGN_TOKEN,
        );
        world.fault(Exchange::get().removed("x-api-key", &format!("a.b.{long}")).bytes(), FOREIGN_TOKEN);
    }
}

#[test]
fn a_provider_names_further_token_locations() {
    let more = "[caller]\nheaders = [\"x-test-key\"]\nquery = [\"key\"]";
    let mut world = World::with(more, &[]);
    let token = world.token.clone();
    let upstream_key = format!("Bearer {KEY}");
    let known = |exchange: Exchange| exchange.added("authorization", &upstream_key);
    let mut client = world.client();
    world.exchange_on(&mut client, &known(Exchange::get().removed("x-test-key", &token)));
    let target = format!("/t/get?a=1&key={token}&b=2");
    world.exchange_on(&mut client, &known(Exchange::get().at(&target, "/get?a=1&b=2")));
    let both = Exchange::get().removed("Authorization", "Bearer wrong").removed("x-test-key", &token);
    world.fault(both.bytes(), FOREIGN_TOKEN);
    world.fault(Exchange::get().at("/t/get?key=", "").bytes(), NO_TOKEN);
    let elsewhere = Exchange::get().at("/nowhere", "").removed("x-test-key", &token);
    world.fault(elsewhere.bytes(), NO_TOKEN);
}
