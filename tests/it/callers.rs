//! Client addresses, and the authentication rate limit.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Row, sqlite::SqliteConnectOptions};

use crate::harness::{
    Answer, Api, Exchange, FOREIGN_ADMIN, FOREIGN_TOKEN, Fault, Home, NO_TOKEN, WRONG_ADMIN, WRONG_TOKEN,
    Wire, World, eventually,
};

const TOO_MANY: Fault<'_> =
    Fault(429, "too_many_attempts", "Too many wrong tokens came from your network: try again later");

const NO_KEY: &str = "credential_missing";
const DOWN: &str = "the store does not respond; known callers are served for `store_grace`";

/// Wrong tokens of one address that are answered without delay.
const FREE: usize = 10;
/// Further ones that may be delayed at once; `SHORT` of them for less than five seconds.
const DELAYED: usize = 128;
const SHORT: usize = 8;

/// A request with a token, forwarded for an address.
fn request(line: &str, token: &str, from: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\nX-Forwarded-For: {from}\r\n\r\n"
    )
}

/// The client address of the last request in the access log.
fn peer(world: &World) -> String {
    world.gateway.wait_for_log("request")["peer"].as_str().unwrap().to_owned()
}

#[test]
fn only_trusted_proxies_set_the_client_address() {
    let mut world = World::with("", &["--trusted-proxies", "127.0.0.0/8,2001:db8::/32"]);
    let mut check = |from: &str, expected: &str| {
        world.fault(request("GET /t/get", "wrong", from), FOREIGN_TOKEN);
        assert_eq!(peer(&world), expected, "{from}");
    };
    check("203.0.113.9", "203.0.113.9");
    check("198.51.100.7, 203.0.113.10, 2001:db8::1", "203.0.113.10");
    check("198.51.100.7:4711", "198.51.100.7");
    check("nonsense", "127.0.0.1");
    let mut world = World::new();
    world.fault(request("GET /t/get", "wrong", "203.0.113.9"), FOREIGN_TOKEN);
    assert_eq!(peer(&world), "127.0.0.1");
}

/// No token authenticates these requests, so that none is refused for its path.
#[test]
fn the_access_log_has_no_generated_token() {
    let mut world = World::new();
    let token = world.token.clone();
    let encoded: String = token.bytes().map(|byte| ["%", &tollgate::hex::encode(&[byte])].concat()).collect();
    let mut check = |line: &str, header: &str, path: &str| {
        let fault = if header.contains("tg_wrong") { WRONG_TOKEN } else { NO_TOKEN };
        world.fault(format!("{line} HTTP/1.1\r\nHost: gateway.test\r\n{header}\r\n"), fault);
        assert_eq!(world.gateway.wait_for_log("request")["path"], path, "{line}");
    };
    for header in ["", &format!("Authorization: Token {token}\r\n"), "Authorization: Basic dTpw\r\n"] {
        for token in [&token, &encoded] {
            for front in ["/t/item/", "/nowhere/", "/auth/tokens/", "/"] {
                check(&format!("GET {front}{token}"), header, "***");
            }
        }
        check(
            &format!("GET /nowhere/{}?{token}", &token[..50]),
            header,
            &format!("/nowhere/{}", &token[..50]),
        );
    }
    // Of another user, and longer than what is kept of a path.
    check(&format!("GET /{}/{token}", "x".repeat(230)), "Authorization: Bearer tg_wrong\r\n", "***");
    assert!(!world.gateway.log().iter().any(|line| line.contains(&token) || line.contains(&encoded)));
}

const STATUS: &str = "GET /admin/providers";

/// Asks for the status with wrong tokens, each on its own connection. Reads no answer.
fn guess(world: &World, count: usize, from: &str) -> Vec<Wire> {
    let sent = (0..count).map(|_| {
        let mut client = world.client();
        client.send(request(STATUS, "wrong", from));
        client
    });
    sent.collect()
}

/// Reads the next answer. Returns true if it is the rate limit's 429.
fn refused(world: &World, client: &mut Wire) -> bool {
    let answer = client.answer().unwrap();
    let too_many = answer.head.status() == 429;
    world.check_fault(STATUS, if too_many { TOO_MANY } else { FOREIGN_ADMIN }, &answer);
    too_many
}

#[test]
fn wrong_tokens_are_rate_limited_and_valid_ones_never() {
    let mut world = World::with("", &["--trusted-proxies", "127.0.0.1"]);
    let (here, elsewhere) = ("203.0.113.9", "203.0.113.10");
    for mut free in guess(&world, FREE, here) {
        assert!(!refused(&world, &mut free));
    }
    // The delays grow up to five seconds, so the last of these exceed the limit.
    let held_back = guess(&world, DELAYED + 2 * SHORT, here);
    // They are sent at once, so the order in which they arrive is unknown.
    let is_refusal = |line: &String| line.contains("\"status\":429");
    eventually("a refusal", || world.gateway.log().iter().any(is_refusal));
    // Places of short delays may be free again by now. Those that take one wait for five seconds, the others are refused at once.
    let mut more = guess(&world, 2 * SHORT, here);
    let is_answered = |client: &Wire| !client.is_quiet_for(Duration::from_millis(1));
    eventually("a further refusal", || more.iter().any(is_answered));
    let answered = more.iter().position(is_answered).unwrap();
    assert!(refused(&world, &mut more[answered]));
    // Meanwhile valid tokens from there, the first wrong ones from elsewhere, and requests without one are answered.
    let exchange = world.known(Exchange::get().removed("X-Forwarded-For", here));
    let mut client = world.client();
    world.exchange_on(&mut client, &exchange);
    assert!(!refused(&world, &mut guess(&world, 1, elsewhere)[0]));
    world.fault("GET /t/get HTTP/1.1\r\nHost: gateway.test\r\n\r\n", NO_TOKEN);
    let waiting = held_back.iter().filter(|client| client.is_quiet_for(Duration::from_millis(1))).count();
    assert!(waiting > DELAYED - SHORT, "{waiting}");
}

#[test]
fn a_flood_of_wrong_tokens_reaches_neither_the_store_nor_memory() {
    let mut world = World::with("", &["--trusted-proxies", "127.0.0.1", "--log", "debug"]);
    // It may be filled before the gateway listens.
    world.gateway.logged("the Bloom filter of token hashes is filled");
    let mut client = world.client();
    // Each comes from another address, so that none is delayed.
    let mut flood = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let from = std::net::Ipv4Addr::from_bits(number << 8);
            client.send(request("GET /t/get", &format!("tg_{number:048x}"), &from.to_string()));
            assert_eq!(client.answer().unwrap().head.status(), 401);
        }
    };
    flood(0..500);
    let (resident, began) = (world.gateway.resident_bytes(), Instant::now());
    flood(500..3000);
    let grown = world.gateway.resident_bytes().saturating_sub(resident);
    // The records of the last requests may wait for their thread.
    assert!(grown < 4 << 20, "{grown} bytes");
    world.exchange(Exchange::get());
    let log = world.gateway.log();
    let lookups = log.iter().filter(|line| line.contains("a token is looked up")).count();
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(lookups <= 51 + 50 * (seconds + 2), "{lookups} lookups in {seconds} s");
    // A new user is admitted: with the rest of the lookup budget, or once the change has been noticed.
    let bob = world.home.user("bob");
    eventually("bob is known", || {
        let mut client = world.client();
        client.send(request("GET /t/get", &bob, "203.0.113.9"));
        let body: Value = serde_json::from_slice(&client.answer().unwrap().body).unwrap();
        body["error"]["code"] == NO_KEY
    });
}

#[test]
fn cached_callers_are_served_without_the_store_for_a_limited_time() {
    let mut world = World::with("", &["--store-grace", "1s"]);
    world.exchange(Exchange::get());
    let database = world.home.data().join("tollgate.db");
    fs::rename(&database, database.with_extension("away")).unwrap();
    assert_eq!(world.gateway.wait_for_log(DOWN)["for_s"], 1);
    let token = world.token.clone();
    eventually("known callers have to wait", || {
        let mut client = world.client();
        client.send(request("GET /t/nowhere", &token, ""));
        client.answer().unwrap().head.status() == 503
    });
    fs::rename(database.with_extension("away"), database).unwrap();
    world.gateway.wait_for_log("the store responds again");
    world.exchange(Exchange::get());
}

#[test]
fn the_last_use_of_a_token_is_known_after_a_restart() {
    let mut world = World::new();
    let admin = world.home.done(&["token", "add", "--admin"], "");
    let began = now_ms();
    world.exchange(Exchange::get());
    let mut client = world.client();
    client.send(request(STATUS, admin.trim_end(), ""));
    assert_eq!(client.answer().unwrap().head.status(), 200);
    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
    let used = last_used(&world.home);
    assert_eq!(used.len(), 2, "of a user and of an admin");
    assert!(used.iter().all(|at_ms| (began..=now_ms()).contains(at_ms)), "{used:?}");
}

fn now_ms() -> i64 {
    i64::try_from(tollgate::clock::now_ms()).unwrap()
}

/// The times of last use, of all tokens that have one.
fn last_used(home: &Home) -> Vec<i64> {
    let query = "SELECT last_used_at FROM tokens WHERE last_used_at IS NOT NULL
         UNION ALL SELECT last_used_at FROM admin_tokens WHERE last_used_at IS NOT NULL";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(home.data().join("tollgate.db"));
        let mut store = options.connect().await.unwrap();
        let rows = sqlx::query(query).fetch_all(&mut store).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    })
}

/// A token's rights are checked when a call is executed, not when its slow body begins.
#[test]
fn a_token_revoked_during_its_call_changes_nothing() {
    let world = World::new();
    let admin = Api::admin(&world);
    let begin = |line: &str, token: &str| {
        let mut client = world.client();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nContent-Length: 2\r\n\r\n{{"
        );
        client.send(head);
        client
    };
    let (_, second) = admin.user("eve");
    let me = Api::new(world.gateway.address, &second).done("GET /auth/me", &Value::Null);
    let made = admin.done("POST /admin/tokens", &json!({ "label": "second" }));
    let admin_token = made["token"].as_str().unwrap();
    let mut slow = [
        (begin("POST /auth/tokens", &second), WRONG_TOKEN.1),
        (begin("PUT /auth/creds", &second), WRONG_TOKEN.1),
        (begin("POST /admin/tokens", admin_token), WRONG_ADMIN.1),
    ];
    let own = (me["id"].as_str().unwrap(), me["token"]["id"].as_str().unwrap());
    admin.done(&format!("DELETE /admin/users/{}/tokens/{}", own.0, own.1), &Value::Null);
    admin.done(&format!("DELETE /admin/tokens/{}", made["id"].as_str().unwrap()), &Value::Null);
    for (client, code) in &mut slow {
        client.send("}");
        let answer = client.answer().unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.head.status(), body["error"]["code"].as_str()), (401, Some(*code)), "{body}");
    }
}

#[test]
fn a_token_with_a_scheme_of_the_file() {
    let more = "[caller]\nschemes = [\"Token\", \"Key\", \"\"]\n";
    let mut world = World::with(more, &[]);
    let token = world.token.clone();
    for scheme in ["Token ", "token  ", "KEY ", "", "Bearer "] {
        let mut client = world.client();
        client.send(format!("GET /t/get HTTP/1.1\r\nHost: g\r\nAuthorization: {scheme}{token}\r\n\r\n"));
        let (request, mut wire) = world.upstream.request();
        assert_eq!(request.head.get("authorization"), Some("Bearer sk-upstream-0123456789"), "{scheme}");
        wire.send(Answer::new("200 OK").body("ok").bytes());
        assert_eq!(client.answer().unwrap().body, b"ok", "{scheme}");
    }
    for (refused, fault) in [
        (format!("Basic {token}"), NO_TOKEN),
        (format!("Tokens {token}"), NO_TOKEN),
        // A token without a scheme, as the file allows.
        ("Token".into(), FOREIGN_TOKEN),
        (format!("Key a {token}"), NO_TOKEN),
    ] {
        world.fault(format!("GET /t/get HTTP/1.1\r\nHost: g\r\nAuthorization: {refused}\r\n\r\n"), fault);
    }
    // Not outside of the provider's prefix.
    for path in ["/auth/me", "/tt/get", "/t"] {
        world.fault(
            format!("GET {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Token {token}\r\n\r\n"),
            NO_TOKEN,
        );
    }
}
