//! `/metrics` of the real binary: the numbers after exchanges, both formats, the bounds of its labels, and the callers that
//! it is open to.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{
    Answer, Exchange, FOREIGN_ADMIN, KEY, Message, NO_ADMIN, Wire, World, chunk, eventually,
};

/// A scrape as a program of this machine sends it.
const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn scrape(mut client: Wire, request: &str) -> Message {
    client.send(request);
    client.answer().unwrap()
}

/// The samples, by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| line.rsplit_once(' ').unwrap_or_else(|| panic!("`{line}`")));
    let mut found = BTreeMap::new();
    for (series, number) in samples {
        let before = found.insert(series.to_owned(), number.parse().unwrap_or_else(|_| panic!("`{number}`")));
        assert_eq!(before, None, "{series} is there twice");
    }
    found
}

/// The samples of this moment.
fn now(world: &World) -> BTreeMap<String, f64> {
    let answer = scrape(world.client(), SCRAPE);
    assert_eq!(answer.head.status(), 200);
    samples(&String::from_utf8(answer.body).unwrap())
}

/// Waits until the samples have these numbers: an exchange is counted about 100 ms after its end.
pub fn counted(world: &World, expected: &[(&str, f64)]) -> BTreeMap<String, f64> {
    eventually("the exchanges are counted", || {
        let seen = now(world);
        expected.iter().all(|(series, number)| seen.get(*series) == Some(number))
    });
    now(world)
}

#[test]
fn exchanges_are_counted_with_their_endpoint_and_outcome() {
    let mut world = World::new();
    world.exchange(Exchange::get());
    world.exchange(Exchange::get().answer(Answer::new("429 Too Many Requests").body("no")));
    let wrong = "GET /t/get HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer wrong\r\n\r\n";
    assert_eq!(scrape(world.client(), wrong).head.status(), 401);
    let seen = counted(
        &world,
        &[
            (r#"tollgate_requests_total{provider="t",endpoint="get",status="2xx",outcome="success"}"#, 1.0),
            (
                r#"tollgate_requests_total{provider="t",endpoint="get",status="4xx",outcome="upstream_limited"}"#,
                1.0,
            ),
            (r#"tollgate_requests_total{provider="",endpoint="",status="4xx",outcome="refused"}"#, 1.0),
            (r#"tollgate_faults_total{provider="",code="foreign_token",blame="client"}"#, 1.0),
            (r#"tollgate_upstream_failures_total{provider="t",reason="upstream_limited"}"#, 1.0),
            (r#"tollgate_request_duration_seconds_count{provider="t",endpoint="get"}"#, 2.0),
            (r#"tollgate_request_duration_seconds_bucket{provider="t",endpoint="get",le="+Inf"}"#, 2.0),
            (r#"tollgate_response_body_bytes_total{provider="t",endpoint="get"}"#, 4.0),
            (r#"tollgate_upstream_connections_total{state="new"}"#, 1.0),
            (r#"tollgate_upstream_connections_total{state="reused"}"#, 1.0),
            ("tollgate_upstream_connections_idle", 1.0),
            (r#"tollgate_caller_cache_lookups_total{result="hit"}"#, 1.0),
            ("tollgate_config_last_reload_successful", 1.0),
            (r#"tollgate_config_files{state="live"}"#, 1.0),
            ("tollgate_config_generation", 1.0),
            ("tollgate_store_up", 1.0),
            ("tollgate_response_streams", 0.0),
            (r#"tollgate_dropped_total{queue="records"}"#, 0.0),
        ],
    );
    assert!(seen["process_start_time_seconds"] > 1.7e9);
    assert!(seen["tollgate_store_last_success_timestamp_seconds"] >= seen["process_start_time_seconds"]);
    assert!(seen["tollgate_config_last_scan_timestamp_seconds"] > 1.7e9);
    let version = format!("tollgate_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen.get(&version), Some(&1.0));
}

#[test]
fn the_numbers_of_this_moment_follow_streams_and_files() {
    let mut world = World::new();
    let mut client = world.client();
    client.send(world.known(Exchange::get()).bytes());
    let (_, mut wire) = world.upstream.request();
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.send(chunk(b"first"));
    client.head().unwrap();
    let seen = now(&world);
    let moment =
        ["tollgate_response_streams", "tollgate_requests_in_flight", "tollgate_upstream_connections_idle"];
    assert_eq!(moment.map(|series| seen.get(series)), [Some(&1.0), Some(&1.0), Some(&0.0)]);
    drop(client);
    counted(&world, &moment.map(|series| (series, 0.0)));
    let left = r#"tollgate_requests_total{provider="t",endpoint="get",status="2xx",outcome="client_left"}"#;
    counted(&world, &[(left, 1.0)]);
    world.home.write("broken", "titel = 1");
    assert_eq!(world.home.run(&["reload"], "").code, 1);
    let seen = now(&world);
    assert_eq!(seen.get("tollgate_config_last_reload_successful"), Some(&0.0));
    assert_eq!(seen.get(r#"tollgate_config_files{state="rejected"}"#), Some(&1.0));
}

#[test]
fn a_client_gets_its_format() {
    let world = World::new();
    let check = |accept: &str, kind: &str, ends: bool| {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n");
        let answer = scrape(world.client(), &request);
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.head.get("content-type"), Some(kind), "{accept}");
        assert_eq!(answer.head.get("cache-control"), Some("no-store"));
        assert_eq!(answer.head.get("vary"), Some("accept"));
        assert_eq!(answer.head.get("access-control-allow-origin"), None);
        assert_eq!(text.ends_with("\n# EOF\n"), ends, "{accept}");
        samples(text.trim_end_matches("# EOF\n"));
    };
    check("", "text/plain; version=0.0.4; charset=utf-8", false);
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    check("Accept: application/openmetrics-text; version=1.0.0\r\n", open, true);
    let mut client = world.client();
    client.send(SCRAPE.replacen("GET", "HEAD", 1));
    assert_eq!(client.head().unwrap().status(), 200);
}

/// The table of decisions has the other cases.
#[test]
fn a_proxy_of_this_machine_needs_a_token_and_an_overloaded_gateway_none() {
    let mut world = World::with("", &["--trusted-proxies", "127.0.0.0/8"]);
    world.fault(SCRAPE, NO_ADMIN);
    let token = world.home.done(&["token", "add", "--admin"], "");
    let known =
        SCRAPE.replacen("\r\n\r\n", &format!("\r\nAuthorization: Bearer {}\r\n\r\n", token.trim()), 1);
    assert_eq!(scrape(world.client(), &known).head.status(), 200);
    world.fault(SCRAPE.replacen("\r\n\r\n", "\r\nAuthorization: Bearer wrong\r\n\r\n", 1), FOREIGN_ADMIN);

    // Connections beyond the limit get health checks and metrics, and nothing else.
    let mut world = World::with("", &["--max-connections-per-address", "1"]);
    let mut held = world.client();
    held.send(format!("GET /t/get HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", world.token));
    let (_, _upstream) = world.upstream.request();
    assert_eq!(scrape(world.client(), "GET /t/get HTTP/1.1\r\nHost: a\r\n\r\n").head.status(), 429);
    assert_eq!(scrape(world.client(), SCRAPE).head.status(), 200);
}

#[test]
fn a_scanner_makes_no_series() {
    let world = World::new();
    let before = now(&world);
    let known = format!("Host: a\r\nAuthorization: Bearer {}\r\n", world.token);
    let mut client = world.client();
    for number in 0..5000 {
        let caller = if number % 2 == 0 { known.as_str() } else { "Host: a\r\n" };
        let request = format!(
            "M{number} /t/scan-{number}.php?k={number} HTTP/1.1\r\nUser-Agent: s{number}\r\n{caller}\r\n"
        );
        client.send(request);
        assert!([401, 404].contains(&client.answer().unwrap().head.status()));
    }
    let seen = counted(
        &world,
        &[
            (r#"tollgate_faults_total{provider="",code="route_not_found",blame="client"}"#, 2500.0),
            (r#"tollgate_faults_total{provider="",code="missing_token",blame="client"}"#, 2500.0),
        ],
    );
    let new: BTreeSet<_> = seen.keys().filter(|series| !before.contains_key(*series)).collect();
    assert!(new.len() <= 8, "{new:?}");
    let text: String = seen.into_keys().collect();
    assert!(!text.contains(".php") && !text.contains(KEY) && !text.contains(&world.token), "{text}");
}
