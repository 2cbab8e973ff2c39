//! The access log over real sockets: its fields, its selection, and the last lines of a process.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Answer, DiskFault, Exchange, Fault, FaultyDisk, World, eventually, over_socket};

/// The fields with these names, in this order.
fn fields(line: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| line[name].clone()).collect()
}

#[test]
fn a_line_has_the_exchange() {
    let mut world = World::new();
    let answer = Answer::new("200 OK").body("four");
    world.exchange(Exchange::post("seven b").answer(answer));
    let line = world.gateway.wait_for_log("request");
    assert_eq!(
        fields(
            &line,
            &["method", "path", "provider", "endpoint", "status", "bytes_in", "bytes_out", "end", "outcome"]
        ),
        json!(["POST", "/t/post", "t", "post", 200, 7, 4, "complete", "success"])
    );
    let user = line["user"].as_str().unwrap();
    assert!(user.starts_with("usr_") && line["token"].as_str().unwrap().starts_with("tok_"), "{line}");
    assert_eq!(line["key_owner"], user);
    assert!(line["first_byte_ms"].as_u64().unwrap() <= line["ms"].as_u64().unwrap(), "{line}");
    assert_eq!(
        (&line["level"], &line["group"], &line["model"]),
        (&json!("INFO"), &Value::Null, &Value::Null)
    );

    world.exchange(Exchange::get().answer(Answer::new("429 Too Many Requests")));
    let line = world.gateway.wait_for_log("request");
    let names = ["method", "status", "bytes_in", "bytes_out", "outcome"];
    assert_eq!(fields(&line, &names), json!(["GET", 429, 0, 0, "upstream_limited"]));
    assert!(line["first_byte_ms"].is_u64(), "without a body, its head counts: {line}");

    let refused = Fault(401, "foreign_token", "Invalid or missing auth credentials");
    world.fault("GET /t/get HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer x\r\n\r\n", refused);
    let line = world.gateway.wait_for_log("request");
    let names = ["status", "fault", "outcome", "user", "key_owner"];
    assert_eq!(fields(&line, &names), json!([401, "foreign_token", "refused", null, null]));
}

#[test]
fn the_last_lines_are_written_before_the_process_ends() {
    let mut world = World::new();
    world.exchange(Exchange::get());
    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
    let log = world.gateway.log();
    let line = log.iter().position(|line| line.contains(r#""path":"/t/get""#));
    let end = log.iter().position(|line| line.contains(r#""message":"stopped""#));
    assert!(line.is_some() && line < end, "{log:?}");
}

#[test]
fn without_an_access_log_there_is_no_line() {
    let mut world = World::with("", &["--access-log", "false"]);
    world.exchange(Exchange::get());
    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
    let log = world.gateway.log().join("\n");
    assert!(!log.contains(r#""message":"request""#), "{log}");
}

#[test]
fn a_sample_has_all_failures() {
    let mut world = World::with("", &["--access-log-sample", "0"]);
    world.exchange(Exchange::get());
    world.exchange(Exchange::post("x").answer(Answer::new("500 Internal Server Error")));
    world.gateway.wait_for_log("request");
    let log = world.gateway.log().join("\n");
    assert!(log.contains(r#""path":"/t/post""#) && !log.contains(r#""path":"/t/get""#), "{log}");
}

#[test]
fn lines_beyond_the_rate_are_counted_in_the_status() {
    let world = World::with("", &["--access-log-rate", "1"]);
    eventually("two requests end in one second, and the status counts the second", || {
        let mut client = world.client();
        client.send("GET /health HTTP/1.1\r\nHost: gateway.test\r\n\r\n".repeat(2));
        assert!(client.answer().is_ok() && client.answer().is_ok());
        world.home.run(&["status"], "").out.contains("by `access_log_rate`")
    });
}

/// Standard error is a pipe here, which fails as a full disk does.
#[test]
fn lines_that_a_full_disk_refuses_are_counted_and_reported_once_it_has_room() {
    let disk = FaultyDisk::new();
    let env = disk.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut world = World::with_env("", &[], &env);
    disk.fail(DiskFault::Full, "pipe:[");
    for _ in 0..3 {
        world.exchange(Exchange::get());
    }
    let lost = |world: &World| {
        let (_, status) = over_socket(&world.home.data(), "GET /admin/providers");
        status["dropped"]["log"].as_u64().unwrap_or_default()
    };
    eventually("the status counts the lost lines", || lost(&world) >= 3);
    let shown = world.home.run(&["status"], "").out;
    assert!(shown.contains("by `log`"), "{shown}");
    assert!(!world.gateway.log().concat().contains(r#""message":"request""#));
    disk.mend();
    world.exchange(Exchange::get());
    let line = world.gateway.wait_for_log("log lines were dropped");
    assert_eq!(line["lines"], lost(&world));
}
