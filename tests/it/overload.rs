//! Admission control: what is beyond a limit is refused with a clear answer, what runs goes on, and each place is given
//! back whichever way a request or a connection ends.

use rustix::process::{Resource, Signal};
use serde_json::Value;

use crate::harness::{
    Answer, Exchange, Fault, Framing, Home, KEY, Upstream, Wire, World, chunk, eventually, over_socket,
    provider,
};

const OF_TOKEN: Fault<'_> = Fault(
    429,
    "token_concurrency",
    "This token has 2 requests in progress, its limit: wait until one has ended",
);
const OF_USER: Fault<'_> =
    Fault(429, "user_concurrency", "You have 2 requests in progress, your limit: wait until one has ended");
const OF_ADDRESS: Fault<'_> = Fault(
    429,
    "too_many_connections",
    "Your address has too many connections here: close some, or reuse them",
);
const OF_ALL: Fault<'_> =
    Fault(503, "overloaded", "This tollgate has too much work at the moment: try again later");

/// No limit but that of one flag.
fn only<'a>(flag: &'a str, limit: &'a str) -> Vec<&'a str> {
    let others = ["--max-requests-per-token", "--max-requests-per-user", "--max-connections-per-address"];
    let others = others.into_iter().filter(|other| *other != flag).flat_map(|other| [other, "0"]);
    others.chain([flag, limit]).collect()
}

/// A stream in the middle: both of its ends.
fn stream(world: &mut World) -> (Wire, Wire) {
    let mut client = world.client();
    client.send(world.known(Exchange::post("{}")).bytes());
    let (_, mut wire) = world.upstream.request();
    let answer = Answer::new("200 OK").framed(Framing::Chunked);
    wire.send(answer.head_bytes());
    wire.send(chunk(b"hello"));
    answer.check_head(&world.cors, &client.head().unwrap());
    assert_eq!(client.chunk().unwrap().unwrap(), b"hello");
    (client, wire)
}

fn finish(world: &mut World, (mut client, mut wire): (Wire, Wire)) {
    wire.send(chunk(b"world"));
    wire.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap().unwrap(), b"world");
    assert_eq!(client.chunk().unwrap(), None);
    client.trailers().unwrap();
    world.upstream.keep(wire);
}

/// A refusal on an open connection, which stays usable.
fn refused(world: &mut World, client: &mut Wire, fault: Fault<'_>) {
    let request = world.known(Exchange::get()).bytes();
    client.send(&request);
    world.check_fault(&request, fault, &client.answer().unwrap());
    world.upstream.saw_nothing();
}

fn serves(world: &mut World, client: &mut Wire) {
    let exchange = world.known(Exchange::get());
    world.exchange_on(client, &exchange);
}

/// The status of a request without a token, on a connection of its own.
fn status_of(world: &World, path: &str) -> u16 {
    let mut client = world.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: g\r\n\r\n"));
    client.answer().unwrap().head.status()
}

fn load(world: &World) -> Value {
    over_socket(&world.home.data(), "GET /admin/providers").1["load"].clone()
}

#[test]
fn a_token_has_a_limit_and_its_connection_stays_usable() {
    let mut world = World::with("", &["--max-requests-per-token", "2"]);
    let mut client = world.client();
    let (first, second) = (stream(&mut world), stream(&mut world));
    // As many as would be delayed, if they were failed authentications.
    for _ in 0..20 {
        refused(&mut world, &mut client, OF_TOKEN);
    }
    let wrong = Fault(401, "foreign_token", "Invalid or missing auth credentials");
    world.fault(Exchange::get().removed("Authorization", "Bearer wrong").bytes(), wrong);
    let log = world.gateway.logged("load shedding began: new work is refused");
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains("max_requests_per_token") && log[0].contains("\"limit\":2"), "{log:?}");
    assert!(log[0].contains("\"from\":\"tok_"), "the log names the token: {log:?}");
    assert!(!world.gateway.log().join("\n").contains("authentication rate limit"));
    assert_eq!(load(&world)["refused"]["requests_per_token"], 20);
    assert_eq!(load(&world)["requests"]["now"], 2);
    finish(&mut world, first);
    serves(&mut world, &mut client);
    finish(&mut world, second);
    serves(&mut world, &mut client);
    assert_eq!(load(&world)["requests"]["now"], 0);
}

#[test]
fn a_user_has_a_limit_over_all_tokens() {
    let mut world = World::with("", &["--max-requests-per-user", "2", "--workers", "4"]);
    let (first_token, second_token) = (world.token.clone(), world.home.done(&["token", "add", "ada"], ""));
    let stranger = world.home.user("bob");
    world.home.credential("bob", "providers.t.apiKey", KEY);
    let first = stream(&mut world);
    second_token.trim_end().clone_into(&mut world.token);
    let second = stream(&mut world);
    let mut client = world.client();
    refused(&mut world, &mut client, OF_USER);
    // Neither tollgate's own API nor another user.
    client.send(format!("GET /auth/me HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {first_token}\r\n\r\n"));
    assert_eq!(client.answer().unwrap().head.status(), 200);
    let own = std::mem::replace(&mut world.token, stranger);
    serves(&mut world, &mut client);
    world.token = own;
    refused(&mut world, &mut client, OF_USER);
    finish(&mut world, first);
    serves(&mut world, &mut client);
    finish(&mut world, second);
}

#[test]
fn every_end_of_a_request_gives_its_place_back() {
    let mut world = World::with("", &["--max-requests-per-token", "1"]);
    let mut client = world.client();
    // The client leaves.
    let (gone, mut wire) = stream(&mut world);
    drop(gone);
    wire.ends();
    serves(&mut world, &mut client);
    // The upstream breaks off its answer.
    let (mut cut, wire) = stream(&mut world);
    drop(wire);
    assert!(cut.chunk().is_err());
    serves(&mut world, &mut client);
    // The upstream closes the connection without an answer.
    world.upstream.drop_idle();
    let request = world.known(Exchange::post("{}")).bytes();
    client.send(&request);
    drop(world.upstream.request());
    let reset =
        Fault(502, "upstream_reset", "Upstream t failed: it closed the connection before it answered");
    world.check_fault(&request, reset, &client.answer().unwrap());
    serves(&mut world, &mut client);
    // The client leaves before the answer.
    let mut gone = world.client();
    gone.send(&request);
    let (_, mut wire) = world.upstream.request();
    drop(gone);
    wire.ends();
    serves(&mut world, &mut client);
    // The answer has no body.
    let empty = world.known(Exchange::get().answer(Answer::new("204 No Content").framed(Framing::None)));
    world.exchange_on(&mut client, &empty);
    serves(&mut world, &mut client);
}

#[test]
fn a_drain_waits_for_what_runs_at_the_limit() {
    let mut world = World::with("", &["--max-requests-per-token", "1"]);
    let running = stream(&mut world);
    let mut idle = world.client();
    refused(
        &mut world,
        &mut idle,
        Fault(
            429,
            "token_concurrency",
            "This token has 1 request in progress, its limit: wait until one has ended",
        ),
    );
    world.gateway.signal(Signal::TERM);
    idle.ends();
    finish(&mut world, running);
    assert!(world.gateway.exit().success());
}

#[test]
fn all_requests_have_a_limit_and_health_checks_are_answered() {
    let mut world = World::with("", &only("--max-requests", "1"));
    let running = stream(&mut world);
    let mut client = world.client();
    refused(&mut world, &mut client, OF_ALL);
    let log = world.gateway.logged("load shedding began");
    assert!(log[0].contains(", with 1 of them\""), "{log:?}");
    for path in ["/readyz", "/livez", "/health"] {
        assert_eq!(status_of(&world, path), 200, "{path}");
    }
    let status = world.home.done(&["status"], "");
    let load = " connections, 1 of 1 requests; refused since the start: 1 by max_requests\n";
    assert!(status.contains(load), "{status}");
    finish(&mut world, running);
    serves(&mut world, &mut client);
}

#[test]
fn a_refusal_by_the_limit_of_all_names_who_has_the_most() {
    let mut world = World::with("", &only("--max-requests", "2"));
    let stranger = world.home.user("bob");
    world.home.credential("bob", "providers.t.apiKey", KEY);
    let running = [stream(&mut world), stream(&mut world)];
    let own = std::mem::replace(&mut world.token, stranger);
    let mut client = world.client();
    refused(&mut world, &mut client, OF_ALL);
    let log = world.gateway.logged("load shedding began");
    let users = world.home.done(&["user", "list"], "");
    let ada = users.lines().find(|line| line.ends_with(" ada")).unwrap().split(' ').next().unwrap();
    assert!(log[0].contains(&format!("\"from\":\"{ada}, with 2 of them\"")), "{log:?}");
    world.token = own;
    for one in running {
        finish(&mut world, one);
    }
}

#[test]
fn a_limit_beyond_the_open_files_is_lowered_and_logged() {
    let world = World::with("", &["--max-connections", "10000000"]);
    let log = world.gateway.logged("a limit was lowered to what open files allow");
    assert!(log[0].contains("\"setting\":\"max_connections\",\"asked\":10000000"), "{log:?}");
    assert_eq!(load(&world)["connections"]["max"].as_u64().map(|max| max < 10_000_000), Some(true));
}

#[test]
fn an_address_has_a_limit_of_connections() {
    let mut world = World::with("", &only("--max-connections-per-address", "2"));
    // Idle ones make room.
    let mut idle: Vec<Wire> = (0..10).map(|_| world.client()).collect();
    let (first, second) = (stream(&mut world), stream(&mut world));
    for one in &mut idle {
        one.ends();
    }
    let request = world.known(Exchange::get()).bytes();
    let mut third = world.client();
    third.send(&request);
    let answer = third.answer().unwrap();
    world.check_fault(&request, OF_ADDRESS, &answer);
    assert_eq!(answer.head.get("connection"), Some("close"));
    third.ends();
    assert_eq!(status_of(&world, "/readyz"), 200);
    let log = world.gateway.logged("load shedding began");
    assert!(log[0].contains("max_connections_per_address") && log[0].contains("127.0.0.1"), "{log:?}");
    drop(second);
    finish(&mut world, first);
    eventually("closed connections give their places back", || load(&world)["connections"]["now"] == 0);
    let mut fourth = world.client();
    serves(&mut world, &mut fourth);
}

#[test]
fn a_trusted_proxy_has_no_limit_of_its_own() {
    let mut args = only("--max-connections-per-address", "1");
    args.extend(["--trusted-proxies", "127.0.0.0/8"]);
    let mut world = World::with("", &args);
    let mut clients: Vec<Wire> = (0..5).map(|_| world.client()).collect();
    for client in &mut clients {
        serves(&mut world, client);
    }
}

#[test]
fn idle_connections_make_room_the_oldest_first() {
    let mut world = World::with("", &only("--max-connections", "3"));
    let (mut silent, mut half, mut kept) = (world.client(), world.client(), world.client());
    half.send("GET /t/get HTTP/1.1\r\nHo");
    serves(&mut world, &mut kept);
    let mut next = world.client();
    serves(&mut world, &mut next);
    silent.ends();
    let mut more = world.client();
    serves(&mut world, &mut more);
    // One that has sent half a head is idle too.
    assert!(half.rest().is_empty());
    serves(&mut world, &mut kept);
    serves(&mut world, &mut next);
    serves(&mut world, &mut more);
    assert_eq!(load(&world)["connections"]["now"], 3);
}

#[test]
fn busy_connections_stay_and_the_next_is_refused() {
    let mut args = only("--max-connections", "2");
    args.extend(["--max-requests", "2"]);
    let mut world = World::with("", &args);
    let running = [stream(&mut world), stream(&mut world)];
    let request = world.known(Exchange::get()).bytes();
    for _ in 0..5 {
        let mut client = world.client();
        client.send(&request);
        world.check_fault(&request, OF_ALL, &client.answer().unwrap());
        client.ends();
        assert_eq!(status_of(&world, "/readyz"), 200);
    }
    // A flood of silent connections keeps nobody from being answered.
    let silent: Vec<Wire> = (0..200).map(|_| world.client()).collect();
    assert_eq!(status_of(&world, "/readyz"), 200);
    assert!(world.home.run(&["status"], "").out.contains("2 of 2 connections"));
    drop(silent);
    for one in running {
        finish(&mut world, one);
    }
    world.exchange(Exchange::get());
}

/// A world whose `serve` has a limit of open files, soft and hard.
fn with_files(soft: &str, hard: &str) -> World {
    let upstream = Upstream::plain();
    let host = upstream.address().to_string();
    let home = Home::new(&[("t", &provider(&format!("http://{host}"), ""))]);
    let token = home.user("ada");
    home.credential("ada", "providers.t.apiKey", KEY);
    let gateway = home.serve_within(&format!("ulimit -Sn {soft}; ulimit -Hn {hard}"), &[]);
    let cors = "Content-Type, Authorization, x-api-key".into();
    World { upstream, gateway, home, token, host, cors }
}

#[test]
fn the_limit_of_open_files_is_raised() {
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).min(4096);
    let world = with_files("64", &hard.to_string());
    assert_eq!(load(&world)["max_open_files"], hard);
    assert_eq!(world.gateway.open_files_limit(), hard.to_string());
}

#[test]
fn sixty_four_open_files_are_enough_to_answer() {
    let mut world = with_files("64", "64");
    world.gateway.logged("few connections fit: raise the limit of open files");
    let silent: Vec<Wire> = (0..300).map(|_| world.client()).collect();
    world.exchange(Exchange::get());
    assert_eq!(status_of(&world, "/readyz"), 200);
    let numbers = load(&world);
    let most = usize::try_from(numbers["requests"]["max"].as_u64().unwrap()).unwrap();
    let per_token = usize::try_from(numbers["max_requests_per_token"].as_u64().unwrap()).unwrap();
    assert!(per_token < most && most < 10, "{numbers}");
    let running: Vec<_> = (0..per_token).map(|_| stream(&mut world)).collect();
    let mut client = world.client();
    client.send(world.known(Exchange::get()).bytes());
    assert_eq!(client.answer().unwrap().head.status(), 429);
    assert_eq!(status_of(&world, "/readyz"), 200);
    // The store, and the control socket.
    world.home.user("bob");
    world.home.done(&["status"], "");
    for one in running {
        finish(&mut world, one);
    }
    drop(silent);
    let log = world.gateway.log().join("\n");
    assert!(!log.contains("accepting connections failed"), "{log}");
}

#[test]
fn an_admin_listener_answers_when_clients_take_everything() {
    let mut args = only("--max-connections", "2");
    args.extend(["--max-requests", "2", "--admin-listen", "127.0.0.1:0"]);
    let mut world = World::with("", &args);
    let running = [stream(&mut world), stream(&mut world)];
    let silent: Vec<Wire> = (0..100).map(|_| Wire::connect(world.gateway.admin_address)).collect();
    let mut admin = Wire::connect(world.gateway.admin_address);
    admin.send("GET /readyz HTTP/1.1\r\nHost: g\r\n\r\n");
    assert_eq!(admin.answer().unwrap().head.status(), 200);
    drop(silent);
    for one in running {
        finish(&mut world, one);
    }
}

/// Whatever a client does not take waits in the sockets, not in the gateway: a stalled stream of small events holds little.
#[test]
fn a_stalled_stream_is_finished_whole() {
    let mut world = World::new();
    let (mut client, mut wire) = stream(&mut world);
    let event = chunk(&[b'e'; 200]);
    let block = event.repeat(2000);
    let rounds = 20;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                wire.send(&block);
            }
            wire.send("0\r\n\r\n");
        });
        let mut bytes = 0;
        while let Some(data) = client.chunk().unwrap() {
            bytes += data.len();
        }
        assert_eq!(bytes, rounds * 2000 * 200);
    });
}
