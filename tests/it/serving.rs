//! `serve` itself: startup, its treatment of bad files, and its log.

use rustix::process::Signal;

use crate::harness::{Answer, Exchange, Fault, Home, KEY, PROVIDER, Upstream, World, provider};

const BROKEN: &str =
    "title = \"Broken\"\npath_prefix = \"/broken\"\nbase_url = \"https://a.example\"\nbase_urll = 1\n";

/// A world with further files beside the good one.
fn beside(files: &[(&str, &str)]) -> World {
    let upstream = Upstream::plain();
    let host = upstream.address().to_string();
    let home = Home::new(&[("t", &provider(&format!("http://{host}"), ""))]);
    let token = home.user("ada");
    home.credential("ada", "providers.t.apiKey", KEY);
    for (name, text) in files {
        home.write(name, text);
    }
    let gateway = home.serve(&[]);
    World { upstream, gateway, home, token, host, cors: "Content-Type, Authorization, x-api-key".into() }
}

/// Kinds of bad files, each with its log text.
const WRONG: [(&str, &str); 4] = [
    (BROKEN, "base_urll"),
    ("title = \"Broken\"\npath_prefix = \"/broken\"\nbase_url = \"ftp://a.example\"\n", "https://"),
    ("title = 1\npath_prefix = \"/broken\"\nbase_url = \"https://a.example\"\n", "title"),
    ("path_prefix = \"/broken\"\nbase_url = \"https://a.example\"\nextends = \"nothing\"\n", "nothing"),
];

fn rejected(text: &str, reason: &str) {
    rejected_below("/broken", text, reason);
}

fn rejected_below(prefix: &str, text: &str, reason: &str) {
    let mut world = beside(&[("broken", text)]);
    world.exchange(Exchange::get());
    let message = "Provider broken is out of service: its configuration is rejected";
    for path in ["/v1/chat", "/"] {
        let path = format!("{prefix}{path}");
        let request = world.known(Exchange::post("{}").at(&path, "")).bytes();
        world.fault(request, Fault(503, "config_rejected", message));
        let unknown = Exchange::post("{}").at(&path, "").bytes();
        world.fault(unknown, Fault(401, "missing_token", "Invalid or missing auth credentials"));
    }
    let path = format!("{prefix}x/v1");
    let message = format!("Route not implemented in AI Gateway: {path}");
    let request = world.known(Exchange::post("{}").at(&path, "")).bytes();
    world.fault(request, Fault(404, "route_not_found", &message));
    let log = world.gateway.log().join("\n");
    assert!(log.contains(reason) && log.contains("broken.toml"), "{log}");
}

#[test]
fn a_bad_file_is_rejected_and_the_others_serve() {
    rejected(WRONG[1].0, WRONG[1].1);
    rejected(WRONG[3].0, WRONG[3].1);
}

/// The prefix that the file would have is that of the preset which files extend by default.
#[test]
fn a_file_that_misspells_its_preset_is_rejected_below_the_default_prefix() {
    let text = |extends: &str| format!("base_url = \"https://a.example\"\nextends = \"{extends}\"\n");
    for extends in ["openai-compatibel", "nothing"] {
        rejected_below("/proxy/broken", &text(extends), extends);
    }
}

#[test]
fn a_malformed_file_is_rejected_and_its_prefix_is_not_found() {
    rejected(WRONG[0].0, WRONG[0].1);
    rejected(WRONG[2].0, WRONG[2].1);
}

#[test]
fn invalid_toml_is_rejected_and_the_others_serve() {
    let mut world = beside(&[("broken", "path_prefix = \"/broken\"\ntitle = \n[[[")]);
    world.exchange(Exchange::get());
    let log = world.gateway.log().join("\n");
    assert!(log.contains("broken.toml"), "{log}");
}

#[test]
fn a_file_whose_own_tests_fail_is_rejected() {
    let test = "[[test]]\nname = \"wrong\"\nrequest = { path = \"/u/get\" }\ncredentials = { apiKey = \"k\" }\nexpect = { url = \"http://elsewhere/\" }\n";
    let file =
        provider("http://127.0.0.1:1", test).replace("/t\"", "/u\"").replace("providers.t", "providers.u");
    let mut world = beside(&[("u", &file)]);
    let message = "Provider u is out of service: its configuration is rejected";
    let request = world.known(Exchange::get().at("/u/get", "")).bytes();
    world.fault(request, Fault(503, "config_rejected", message));
    world.exchange(Exchange::get());
}

#[test]
fn of_two_conflicting_files_one_serves() {
    let mut world = beside(&[(
        "u",
        &format!("base_url = \"http://127.0.0.1:1\"\n{PROVIDER}").replace("providers.t", "providers.u"),
    )]);
    world.exchange(Exchange::get());
}

#[test]
fn strict_refuses_to_start() {
    let home = Home::new(&[("broken", BROKEN)]);
    for args in
        [&["serve", "--strict", "--listen", "127.0.0.1:0"][..], &["--strict", "--listen", "127.0.0.1:0"]]
    {
        let said = home.run(args, "");
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert!(said.err.contains("base_urll") && said.err.contains("broken.toml:4"), "{said:?}");
    }
}

#[test]
fn invalid_settings_are_refused_at_startup() {
    let home = Home::new(&[("t", &provider("http://127.0.0.1:1", ""))]);
    let check = |args: &[&str], code: i32, expected: &str| {
        let said = home.run(&[&["serve"], args].concat(), "");
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{args:?} {said:?}");
        assert!(said.err.contains(expected), "{args:?} {said:?}");
    };
    check(&["--listen", "nowhere"], 1, "`--listen` cannot be `nowhere`");
    check(&["--listen", "127.0.0.1:0", "--connect-to", "a"], 1, "is not a connect rule");
    check(&["--listen", "127.0.0.1:0", "--ca-file", "/nonexistent/ca.pem"], 1, "/nonexistent/ca.pem");
    check(&["--listen", "127.0.0.1:0", "--providers", "/nonexistent"], 1, "/nonexistent");
    check(&["--listen", "127.0.0.1:0", "--grace", "soon"], 1, "`--grace` cannot be `soon`");
    check(&["--listen", "127.0.0.1:0", "--max-head", "1KiB"], 1, "`--max-head` cannot be `1KiB`");
    check(&["--listen", "127.0.0.1:0", "--workers", "0"], 1, "`--workers` cannot be `0`");
    check(&["--nonsense"], 2, "unexpected argument");
}

#[test]
fn several_workers_serve_alike() {
    let mut world = World::with("", &["--workers", "3"]);
    for _ in 0..40 {
        world.exchange(Exchange::get());
    }
}

#[test]
fn settings_may_come_from_the_environment() {
    let upstream = Upstream::plain();
    let home = Home::new(&[("t", &provider("http://name.invalid", ""))]);
    let token = home.user("ada");
    home.credential("ada", "providers.t.apiKey", KEY);
    let rule = format!("name.invalid:80={}", upstream.address());
    let gateway = home.serve_with(&[], &[("TOLLGATE_CONNECT_TO", &rule), ("TOLLGATE_IDLE_TIMEOUT", "300ms")]);
    let cors = "Content-Type, Authorization, x-api-key".into();
    let mut world = World { upstream, gateway, home, token, host: "name.invalid".into(), cors };
    world.exchange(Exchange::get());
    world.client().ends();
}

/// Secrets that must not be in a log, in every place where a client or an upstream may put them.
const CANARIES: [&str; 7] = [
    "canary-prompt",
    "canary-answer",
    "canary-query",
    "canary-header",
    "canary-cookie",
    "canary-location",
    "canary-garbage",
];

#[test]
fn the_log_contains_no_secret() {
    for level in ["trace", "debug", "info"] {
        let upstream = Upstream::plain();
        let host = upstream.address().to_string();
        let home =
            Home::new(&[("t", &provider(&format!("http://{host}"), "[timeouts]\nfirst_byte = \"200ms\""))]);
        let token = home.user("ada");
        home.credential("ada", "providers.t.apiKey", KEY);
        let gateway = home.serve_with(&[], &[("TOLLGATE_LOG", level)]);
        let cors = "Content-Type, Authorization, x-api-key".into();
        let mut world = World { upstream, gateway, home, token, host, cors };
        talk(&mut world);
        let token = world.token.clone();
        world.gateway.signal(Signal::TERM);
        assert!(world.gateway.exit().success());
        let log = world.gateway.log();
        assert!(log.iter().any(|line| line.contains("\"request_id\"")), "{level}: requests are logged");
        for line in &log {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            for secret in CANARIES.iter().copied().chain([KEY, &token]) {
                assert!(!line.contains(secret), "{level}: `{secret}` is logged: {line}");
            }
        }
    }
}

/// Requests that succeed and fail, with a canary in every possible place.
fn talk(world: &mut World) {
    let answer = Answer::new("200 OK")
        .header("X-Up", "canary-header")
        .header("Location", "/canary-location")
        .body("canary-answer");
    let good = Exchange::post("canary-prompt").at("/t/post?q=canary-query", "/post?q=canary-query");
    let good = good.header("X-Secret", "canary-header").removed("Cookie", "canary-cookie");
    world.exchange(good.answer(answer));
    let unknown = Exchange::post("canary-prompt").removed("Authorization", "Bearer canary-header").bytes();
    world.fault(unknown, Fault(401, "foreign_token", "Invalid or missing auth credentials"));
    let exchange = world.known(Exchange::post("canary-prompt"));
    for garbage in ["canary-garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: canary-garbage\r\n\r\n", ""]
    {
        let mut client = world.client();
        client.send(exchange.bytes());
        let (_, mut wire) = world.upstream.request();
        wire.send(garbage);
        client.answer().unwrap();
    }
    for garbage in ["GET /canary-garbage\u{1} HTTP/1.1\r\n\r\n", "canary-garbage\r\n\r\n"] {
        let mut client = world.client();
        client.send(garbage);
        client.answer().unwrap();
    }
    let mut client = world.client();
    client.send(exchange.bytes());
    let (_, wire) = world.upstream.request();
    drop(client);
    drop(wire);
}
