//! The admin API: over HTTP with an admin token, over the control socket without one, and through the commands that
//! use the socket.

use std::{
    fs,
    io::Read,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Exchange, Fault, Home, NO_ADMIN, PROVIDER, WRONG_ADMIN, Wire, World, connect, eventually, over_socket,
    provider,
};

const NOT_FOUND: Fault<'_> = Fault(404, "not_found", "Not found");
/// A file with one mistake, on its line 6.
const BROKEN: &str = "title = \"Broken\"\nbase_url = \"https://broken.example\"\npath_prefix = \"/broken\"\n[endpoint.one]\nmethod = \"GET\"\npaht = \"/one\"\n";

fn request(line: &str, token: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// A call over HTTP. Returns the status code and the document.
fn over_http(world: &World, line: &str, token: &str) -> (u16, Value) {
    let mut client = world.client();
    client.send(request(line, token));
    let answer = client.answer().unwrap();
    assert_eq!(answer.head.get("cache-control"), Some("no-store"));
    assert_eq!(answer.head.get("content-type"), Some("application/json"));
    assert_eq!(answer.head.get("access-control-allow-origin"), None);
    (answer.head.status(), serde_json::from_slice(&answer.body).unwrap())
}

/// A provider file's entry in the status.
fn file<'s>(status: &'s Value, provider: &str) -> &'s Value {
    status["files"].as_array().unwrap().iter().find(|file| file["provider"] == provider).unwrap()
}

fn admin_token(world: &World) -> String {
    world.home.done(&["token", "add", "--admin"], "").trim_end().to_owned()
}

#[test]
fn the_status_is_available_in_every_way() {
    let world = World::new();
    let (code, mut status) = over_http(&world, "GET /admin/providers", &admin_token(&world));
    assert_eq!((code, &status["ok"], &status["generation"]), (200, &true.into(), &1.into()));
    // The call's own connection. It has ended before the next call.
    assert_eq!(status["load"]["connections"]["now"].take(), 1);
    status["load"]["connections"]["now"] = 0.into();
    eventually("the connection has ended", || {
        over_socket(&world.home.data(), "GET /admin/providers").1["load"] == status["load"]
    });
    assert_eq!(file(&status, "t")["state"], "live");
    assert_eq!(over_socket(&world.home.data(), "GET /admin/providers?x=1"), (200, status.clone()));
    assert_eq!(over_socket(&world.home.data(), "HEAD /admin/providers"), (200, Value::Null));
    let output = world.home.done(&["status", "--json"], "");
    assert_eq!(serde_json::from_str::<Value>(&output).unwrap(), status);
    let output = world.home.done(&["status"], "");
    assert!(output.starts_with("ok: generation 1 since ") && output.lines().count() == 2, "{output}");
    assert!(output.contains("\nload: 0 of "), "{output}");
    let output = world.home.done(&["status", "--all"], "");
    assert!(output.contains("\nlive ") && output.contains("/t.toml since "), "{output}");
}

#[test]
fn only_admins_get_the_status_over_http() {
    let mut world = World::new();
    let (user, admin) = (world.token.clone(), admin_token(&world));
    for line in ["GET /admin/providers", "POST /admin/reload", "GET /admin/nowhere"] {
        world.fault(format!("{line} HTTP/1.1\r\nHost: gateway.test\r\n\r\n"), NO_ADMIN);
        world.fault(request(line, &user), WRONG_ADMIN);
    }
    let others =
        ["GET /admin", "GET /admin/", "POST /admin/providers", "GET /admin/reload", "GET /admin/providers/"];
    for line in others {
        world.fault(request(line, &admin), NOT_FOUND);
        let (code, fault) = over_socket(&world.home.data(), line);
        assert_eq!((code, &fault["error"]["code"]), (404, &"not_found".into()), "{line}");
    }
    for line in ["GET /health", "GET /t/get", "GET /", "GET /administrator/providers"] {
        assert_eq!(over_socket(&world.home.data(), line).0, 404, "{line}");
    }
}

#[test]
fn a_reload_reports_its_outcome() {
    let mut world = World::new();
    let admin = admin_token(&world);
    let generation = |status: &Value| status["generation"].as_u64().unwrap();
    world.home.write("broken", BROKEN);
    let (code, status) = over_http(&world, "POST /admin/reload", &admin);
    assert_eq!((code, &status["ok"], &status["counts"]["rejected"]), (422, &false.into(), &1.into()));
    let found = &file(&status, "broken")["diagnostics"][0];
    assert_eq!((&found["line"], &found["column"]), (&6.into(), &1.into()), "{status}");
    assert_eq!((&found["code"], &found["help"]), (&"TG010".into(), &"did you mean `path`?".into()));

    for command in ["reload", "status"] {
        let said = world.home.run(&[command], "");
        assert_eq!((said.code, said.err.as_str()), (1, ""), "{command} {said:?}");
        assert!(said.out.starts_with("NOT OK: 1 rejected, generation "), "{command} {said:?}");
        assert!(said.out.contains("broken.toml:6:1: error[TG010]: unknown key `paht`\n"), "{said:?}");
        assert!(said.out.contains("    help: did you mean `path`?\n"), "{command} {said:?}");
        assert!(!said.out.contains("t.toml since"), "{command} {said:?}");
    }
    let said = world.home.run(&["reload", "--json"], "");
    let status = serde_json::from_str::<Value>(&said.out).unwrap();
    assert_eq!((said.code, &status["ok"]), (1, &false.into()));

    world.home.write("broken", &BROKEN.replace("paht", "path"));
    let output = world.home.done(&["reload"], "");
    assert!(output.starts_with("ok: generation "), "{output}");
    let (code, mended) = over_http(&world, "POST /admin/reload", &admin);
    assert_eq!((code, &mended["ok"], &mended["counts"]["rejected"]), (200, &true.into(), &0.into()));
    assert!(generation(&mended) >= generation(&status));
    world.exchange(Exchange::get());
}

#[test]
fn only_its_owner_may_use_the_socket() {
    let world = World::new();
    let socket = fs::symlink_metadata(world.home.data().join("control.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.mode() & 0o7777, 0o600);
    assert!(!world.home.data().join("control.new").exists());
    if socket.uid() != 0 {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let check = |part: &str| {
        let Some(said) = world.home.run_as(65534, &["status"]) else { return };
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert!(said.err.contains(part), "`{part}` is missing in {said:?}");
    };
    let rights = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    rights(&world.home.path(""), 0o755);
    check("/data` (mode 0700, owner uid 0): run this as that user, or as root");
    rights(&world.home.data(), 0o755);
    check("/data/control.sock` (mode 0600, owner uid 0): run this as that user, or as root");
    rights(&world.home.data().join("control.sock"), 0o666);
    check("Only the user that runs the server (uid 0) and root may use this socket");
}

#[test]
fn a_second_server_leaves_the_first_ones_socket_alone() {
    let world = World::new();
    let said = world.home.run(&["serve", "--listen", "127.0.0.1:0"], "");
    assert!(said.code == 1 && said.err.contains("another tollgate serves from"), "{said:?}");
    world.home.done(&["status"], "");
}

/// Checks the output of the commands without a server.
fn nobody_serves(home: &Home) {
    for command in ["status", "reload"] {
        let said = home.run(&[command], "");
        let expected = format!(
            "error: no tollgate serves from `{}`: start one with `tollgate serve`, or name its data directory with `--data`\n",
            home.data().display()
        );
        assert_eq!(
            (said.code, said.out.as_str(), said.err.as_str()),
            (1, "", expected.as_str()),
            "{command}"
        );
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let home = Home::new(&[("t", &provider("https://t.example", ""))]);
    nobody_serves(&home);
    let mut gateway = home.serve(&[]);
    gateway.signal(Signal::KILL);
    gateway.exit();
    assert!(home.data().join("control.sock").exists());
    nobody_serves(&home);
    let mut gateway = home.serve(&[]);
    home.done(&["status"], "");
    gateway.signal(Signal::TERM);
    assert!(gateway.exit().success());
    assert!(!home.data().join("control.sock").exists());
    nobody_serves(&home);
}

#[test]
fn the_data_path_may_be_long() {
    let home = Home::new(&[("t", &provider("https://t.example", ""))]);
    let data = home.path(&format!("{}/{}", "a".repeat(100), "b".repeat(100)));
    let data = data.to_str().unwrap();
    let mut gateway = home.serve(&["--data", data]);
    assert!(home.done(&["status", "--data", data], "").starts_with("ok: "));
    assert_eq!(fs::symlink_metadata(Path::new(data).join("control.sock")).unwrap().mode() & 0o7777, 0o600);
    gateway.signal(Signal::TERM);
    assert!(gateway.exit().success());
    assert!(!Path::new(data).join("control.sock").exists());
}

#[test]
fn the_status_is_available_while_draining() {
    let mut world = World::new();
    let exchange = world.known(Exchange::get());
    let mut client = world.client();
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    // A connection with part of a head is waited for; one without any byte is closed.
    let mut probe = world.client();
    probe.send("GET /readyz HTTP/1.1\r\n");
    let mut idle = world.client();
    idle.send(request("GET /livez", ""));
    assert_eq!(idle.answer().unwrap().head.status(), 200);
    world.gateway.signal(Signal::TERM);
    idle.ends();
    probe.send("Host: gateway.test\r\n\r\n");
    let ready = probe.answer().unwrap();
    assert_eq!((ready.head.status(), &ready.body[..]), (503, &br#"{"status":"draining"}"#[..]));
    assert!(world.home.done(&["status"], "").starts_with("ok: "));
    assert_eq!(over_socket(&world.home.data(), "POST /admin/reload").0, 200);
    wire.send(exchange.answer.bytes());
    assert_eq!(client.answer().unwrap().head.status(), 200);
    assert!(world.gateway.exit().success());
}

#[test]
fn an_open_socket_does_not_delay_the_end() {
    let mut world = World::new();
    let mut silent = connect(&world.home.data());
    over_socket(&world.home.data(), "GET /admin/providers");
    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}

#[test]
fn without_a_provider_it_is_not_ready() {
    let home = Home::new(&[("t", &format!("base_url = 1\n{PROVIDER}"))]);
    let gateway = home.serve(&[]);
    let ready = |path: &str| {
        let mut client = Wire::connect(gateway.address);
        client.send(request(&format!("GET {path}"), ""));
        let answer = client.answer().unwrap();
        (answer.head.status(), String::from_utf8(answer.body).unwrap())
    };
    assert_eq!(ready("/readyz"), (503, r#"{"status":"no_providers"}"#.into()));
    assert_eq!(ready("/livez"), (200, r#"{"status":"ok"}"#.into()));
}

/// The connection limit is reached by silent ones: the next one waits until they are closed.
#[test]
fn silent_connections_are_closed() {
    let world = World::new();
    let silent: Vec<UnixStream> = (0..16).map(|_| connect(&world.home.data())).collect();
    let began = Instant::now();
    world.home.done(&["status"], "");
    let took = began.elapsed();
    assert!(took > Duration::from_secs(4), "it was answered after {took:?} beside {} others", silent.len());
}
