//! The process: its lock on the data directory, its addresses, signals from startup to shutdown, and its
//! notifications of the service manager.

use std::{fs::File, net::TcpStream, time::Instant};

use rustix::process::Signal;

use crate::harness::{
    Answer, Exchange, Fault, Framing, Gateway, Home, KEY, Manager, Message, Upstream, Wire, World, provider,
};

/// An unfinished stream, and its upstream connection.
fn streaming(world: &mut World) -> (Wire, Wire) {
    let exchange = world.known(Exchange::post("{}"));
    let mut client = world.client();
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    let answer = Answer::new("200 OK").framed(Framing::Chunked);
    wire.send(answer.head_bytes());
    wire.send("5\r\nhello\r\n");
    answer.check_head(&world.cors, &client.head().unwrap());
    assert_eq!(client.chunk().unwrap().unwrap(), b"hello");
    (client, wire)
}

#[test]
fn streams_finish_before_the_process_ends() {
    let mut world = World::new();
    let (mut client, mut wire) = streaming(&mut world);
    let mut idle = world.client();
    world.gateway.signal(Signal::TERM);
    // A connection without a first request has nothing to finish, and new ones are refused.
    idle.ends();
    if let Ok(socket) = TcpStream::connect(world.gateway.address) {
        assert_eq!(Wire::plain(socket).rest(), b"");
    }
    wire.send("5\r\nworld\r\n");
    assert_eq!(client.chunk().unwrap().unwrap(), b"world");
    wire.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), None);
    client.trailers().unwrap();
    client.ends();
    assert!(world.gateway.exit().success());
}

#[test]
fn a_kept_connection_ends_with_the_process() {
    let mut world = World::new();
    let exchange = world.known(Exchange::get());
    let mut client = world.client();
    world.exchange_on(&mut client, &exchange);
    world.gateway.signal(Signal::INT);
    client.ends();
    assert!(world.gateway.exit().success());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut world = World::new();
    let (mut client, mut wire) = streaming(&mut world);
    let mut idle = world.client();
    world.gateway.signal(Signal::TERM);
    idle.ends();
    world.gateway.signal(Signal::TERM);
    let _ = world.gateway.exit();
    assert!(client.chunk().is_err());
    wire.ends();
}

#[test]
fn grace_has_an_end() {
    let mut world = World::with("", &["--grace", "300ms"]);
    let (mut client, mut wire) = streaming(&mut world);
    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
    assert!(client.chunk().is_err());
    wire.ends();
    let log = world.gateway.log().join("\n");
    assert!(log.contains("the grace period is over"), "{log}");
}

#[test]
fn sighup_does_not_end_the_process() {
    let mut world = World::new();
    let (mut client, mut wire) = streaming(&mut world);
    world.gateway.signal(Signal::HUP);
    wire.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), None);
    world.upstream.keep(wire);
    world.exchange(Exchange::get());
}

#[test]
fn a_clean_shutdown_leaves_one_database_file() {
    let mut world = World::new();
    world.exchange(Exchange::get());
    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
    let names = std::fs::read_dir(world.home.data()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.starts_with("tollgate.db")).collect();
    assert_eq!(left, ["tollgate.db"]);
}

#[test]
fn a_second_signal_ends_the_drain_delay_too() {
    let mut world = World::with("", &["--drain-delay", "1h"]);
    let (mut client, mut wire) = streaming(&mut world);
    world.gateway.signal(Signal::TERM);
    world.gateway.wait_for_log("stopping: `/readyz` returns 503");
    world.gateway.signal(Signal::INT);
    assert!(world.gateway.exit().success());
    assert!(client.chunk().is_err());
    wire.ends();
}

/// A `GET` without a token.
fn get(address: std::net::SocketAddr, path: &str) -> Message {
    ask(address, "GET", path, "")
}

fn ask(address: std::net::SocketAddr, method: &str, path: &str, lines: &str) -> Message {
    let mut client = Wire::connect(address);
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: gateway.test\r\n{lines}\r\n"));
    client.answer().unwrap_or_else(|broken| panic!("{broken:?}; {client:?}"))
}

#[test]
fn during_the_drain_delay_all_requests_are_served() {
    let mut world = World::with("", &["--drain-delay", "1h"]);
    let exchange = world.known(Exchange::get());
    let mut kept = world.client();
    world.exchange_on(&mut kept, &exchange);
    assert_eq!(get(world.gateway.address, "/readyz").head.status(), 200);
    world.gateway.signal(Signal::TERM);
    let line = world.gateway.wait_for_log("stopping: `/readyz` returns 503");
    assert_eq!((&line["signal"], &line["drain_delay_ms"]), (&"SIGTERM".into(), &3_600_000.into()));
    let ready = get(world.gateway.address, "/readyz");
    assert_eq!((ready.head.status(), &*ready.body), (503, &br#"{"status":"draining"}"#[..]));
    assert_eq!(get(world.gateway.address, "/livez").head.status(), 200);
    for _ in 0..3 {
        world.exchange(Exchange::get());
        world.exchange_on(&mut kept, &exchange);
    }
}

#[test]
fn after_the_drain_delay_streams_end_and_nothing_new_begins() {
    let mut world = World::with("", &["--drain-delay", "300ms"]);
    let start = Instant::now();
    let (mut client, mut wire) = streaming(&mut world);
    let mut idle = world.client();
    world.gateway.signal(Signal::TERM);
    idle.ends();
    assert!(start.elapsed().as_millis() >= 300, "the delay is waited for");
    world.gateway.wait_for_log("draining: no new connections; open streams continue");
    if let Ok(socket) = TcpStream::connect(world.gateway.address) {
        assert_eq!(Wire::plain(socket).rest(), b"");
    }
    wire.send("5\r\nworld\r\n0\r\n\r\n");
    assert_eq!(client.chunk().unwrap().unwrap(), b"world");
    assert_eq!(client.chunk().unwrap(), None);
    assert!(world.gateway.exit().success());
    assert!(world.gateway.log().last().unwrap().contains("stopped"));
}

/// A gateway whose startup waits for a lock that the test holds.
fn half_started(env: &[(&str, &str)]) -> (World, File) {
    let upstream = Upstream::plain();
    let host = upstream.address().to_string();
    let home = Home::new(&[("t", &provider(&format!("http://{host}"), ""))]);
    let token = home.user("ada");
    home.credential("ada", "providers.t.apiKey", KEY);
    let lock = File::open(home.data().join("setup.lock")).unwrap();
    lock.lock().unwrap();
    let gateway = home.start(&[], env);
    gateway.catches(&[Signal::HUP, Signal::INT, Signal::TERM]);
    let cors = "Content-Type, Authorization, x-api-key".into();
    (World { upstream, gateway, home, token, host, cors }, lock)
}

#[test]
fn a_signal_during_startup_ends_the_process() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut world, _lock) = half_started(&[]);
        world.gateway.signal(signal);
        assert!(world.gateway.exit().success());
        let log = world.gateway.log().join("\n");
        assert!(log.contains("stopped during startup") && !log.contains("listening"), "{log}");
    }
}

#[test]
fn sighup_during_startup_causes_a_reload_after_it() {
    let manager = Manager::new();
    let (mut world, lock) = half_started(&[("NOTIFY_SOCKET", manager.place())]);
    world.gateway.signal(Signal::HUP);
    drop(lock);
    world.gateway.listens();
    manager.expect(READY);
    manager.expect(RELOADING);
    manager.expect(READY);
    world.exchange(Exchange::get());
}

#[test]
fn one_data_directory_serves_once() {
    let mut world = World::new();
    let said = world.home.run(&["serve", "--listen", "127.0.0.1:0"], "");
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    let holder = format!(
        "error: another tollgate serves from `{}`, as process {} since 20",
        world.home.data().display(),
        world.gateway.id()
    );
    let advice = "Z: stop it, or choose another data directory with `--data`\n";
    assert!(said.err.contains(&holder) && said.err.ends_with(advice), "{said:?}");
    world.exchange(Exchange::get());
    world.gateway.signal(Signal::KILL);
    world.gateway.exit();
    world.gateway = world.home.serve(&[]);
    world.exchange(Exchange::get());
}

#[test]
fn an_address_in_use_is_named_with_its_flag() {
    let taken = Upstream::plain();
    let taken = taken.address().to_string();
    let home = Home::new(&[("t", &provider("http://127.0.0.1:1", ""))]);
    let check = |listen: &str, admin: &str, expected: &str| {
        let said = home.run(&["serve", "--listen", listen, "--admin-listen", admin], "");
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert!(said.err.contains(expected), "{said:?}");
    };
    let port = taken.rsplit(':').next().unwrap();
    let failed = |flag: &str| format!(":{port}` shows it), or choose another address with `{flag}`");
    check(&taken, "127.0.0.1:0", &failed("--listen"));
    check("127.0.0.1:0", &taken, &failed("--admin-listen"));
    check("127.0.0.1:9", "127.0.0.1:9", "`--admin-listen` cannot be `127.0.0.1:9`: `--listen` is the same");
}

#[test]
fn the_admin_api_has_its_own_listener() {
    let mut world = World::with("", &["--admin-listen", "127.0.0.1:0"]);
    let (public, admin) = (world.gateway.address, world.gateway.admin_address);
    let admin_token = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    let bearer = |token: &str| format!("Authorization: Bearer {}\r\n", token.trim());
    let nothing = Fault(404, "not_found", "Not found");
    for path in ["/admin", "/admin/any", "/console", "/metrics"] {
        for lines in [String::new(), bearer(&admin_token), bearer(&world.token)] {
            for method in ["GET", "POST", "OPTIONS"] {
                nothing.check(None, &ask(public, method, path, &lines));
            }
        }
    }
    let refused = Fault(401, "missing_token", "Invalid or missing admin credentials");
    refused.check(None, &get(admin, "/admin/any"));
    nothing.check(None, &ask(admin, "GET", "/admin/any", &bearer(&admin_token)));
    for path in ["/", "/t/get", "/config", "/auth/any", "/health/"] {
        for method in ["GET", "POST", "OPTIONS"] {
            nothing.check(None, &ask(admin, method, path, &bearer(&world.token)));
        }
    }
    for path in ["/health", "/livez", "/readyz"] {
        for address in [public, admin] {
            assert_eq!(get(address, path).head.status(), 200, "{path}");
        }
    }
    world.upstream.saw_nothing();
    world.exchange(Exchange::get());
    let mut idle = Wire::connect(admin);
    world.gateway.signal(Signal::TERM);
    idle.ends();
    assert!(world.gateway.exit().success());
}

const READY: &[&str] = &["READY=1", "STATUS="];
const RELOADING: &[&str] = &["RELOADING=1", "STATUS=", "MONOTONIC_USEC="];
const STOPPING: &[&str] = &["STOPPING=1", "STATUS=", "EXTEND_TIMEOUT_USEC="];

/// A gateway that notifies a service manager.
fn managed(args: &[&str]) -> (Home, Manager, Gateway) {
    let home = Home::new(&[("t", &provider("http://127.0.0.1:1", ""))]);
    let manager = Manager::new();
    let gateway = home.serve_with(args, &[("NOTIFY_SOCKET", manager.place())]);
    (home, manager, gateway)
}

#[test]
fn the_service_manager_is_notified_of_each_step() {
    let (home, manager, mut gateway) = managed(&["--drain-delay", "100ms", "--grace", "5m"]);
    let ready = manager.expect(READY);
    assert!(
        ready[1].starts_with("STATUS=serving; providers: 1, stale files: 0, rejected files: 0, as of 20"),
        "{ready:?}"
    );
    home.write("broken", "title = 1");
    gateway.signal(Signal::HUP);
    let reloading = manager.expect(RELOADING);
    let micros: u64 = reloading[2].rsplit('=').next().unwrap().parse().unwrap();
    assert!(micros > 0);
    let ready = manager.expect(READY);
    assert!(ready[1].contains("rejected files: 1,"), "{ready:?}");
    gateway.signal(Signal::TERM);
    let stopping = manager.expect(STOPPING);
    assert_eq!(stopping[2], "EXTEND_TIMEOUT_USEC=320100000");
    assert!(gateway.exit().success());
    manager.expect_no_more();
}

#[test]
fn an_abstract_notify_socket_is_notified() {
    let manager = Manager::abstracted();
    let home = Home::new(&[("t", &provider("http://127.0.0.1:1", ""))]);
    let _gateway = home.serve_with(&[], &[("NOTIFY_SOCKET", manager.place())]);
    manager.expect(READY);
}

#[test]
fn a_slow_reload_delays_no_other_signal() {
    let (home, manager, mut gateway) = managed(&[]);
    manager.expect(READY);
    for index in 0..1000 {
        home.write(
            &format!("p{index}"),
            &provider("http://127.0.0.1:1", "").replace("/t\"", &format!("/p{index}\"")),
        );
    }
    gateway.signal(Signal::HUP);
    manager.expect(RELOADING);
    for _ in 0..5 {
        gateway.signal(Signal::HUP);
    }
    manager.expect(READY);
    manager.expect(RELOADING);
    gateway.signal(Signal::TERM);
    manager.expect(STOPPING);
    assert!(gateway.exit().success());
    manager.expect_no_more();
}

#[test]
fn the_watchdog_is_notified_until_the_end() {
    let manager = Manager::new();
    let env = [("NOTIFY_SOCKET", manager.place()), ("WATCHDOG_USEC", "200000")];
    let mut world = World::with_env("", &["--workers", "2", "--admin-listen", "127.0.0.1:0"], &env);
    let fed = |times: usize| {
        let start = Instant::now();
        let mut pings = Vec::new();
        while pings.len() < times {
            match manager.next_message() {
                lines if lines == ["WATCHDOG=1"] => pings.push(start.elapsed()),
                lines => assert!(lines[0] == "READY=1" || lines[0] == "STOPPING=1", "{lines:?}"),
            }
        }
        assert!(start.elapsed().as_millis() < 200 * times as u128, "{pings:?}");
    };
    fed(10);
    // The other workers have ended as planned: the watchdog does not count them as missing.
    let (mut client, mut wire) = streaming(&mut world);
    world.gateway.signal(Signal::TERM);
    fed(10);
    wire.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), None);
    assert!(world.gateway.exit().success());
    let log = world.gateway.log().join("\n");
    assert!(!log.contains("hangs"), "{log}");
}

#[test]
fn an_unresponsive_service_manager_delays_nothing() {
    let manager = Manager::new();
    let env = [("NOTIFY_SOCKET", manager.place()), ("WATCHDOG_USEC", "30000")];
    let mut world = World::with_env("", &[], &env);
    world.gateway.wait_for_log("notifying the service manager at `NOTIFY_SOCKET` failed");
    world.exchange(Exchange::get());
    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
}
