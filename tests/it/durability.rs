//! Acknowledged changes survive every end of the process, and secrets are only where they belong.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Exchange, Gateway, Home, KEY, LIMIT, World, eventually, over_socket, pause, provider};

/// A call of the API that may be cut off. Returns the status and the document.
fn call(gateway: &Gateway, token: &str, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(gateway.address).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).ok()?))
}

fn admin_token(home: &Home) -> String {
    fs::read_to_string(home.data().join("admin-token")).unwrap().trim().to_owned()
}

/// A user is created with a token and a credential in one change: all acknowledged ones exist, and none in part.
#[test]
fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    const KILLS: u32 = 100;
    let home = Home::new(&[("t", &provider("http://127.0.0.1:1", ""))]);
    let args = ["--access-log", "false"];
    let mut acknowledged = BTreeSet::new();
    for round in 0..KILLS {
        let mut gateway = home.serve(&args);
        let admin = admin_token(&home);
        let count = AtomicUsize::new(0);
        let made = thread::scope(|scope| {
            let writers: Vec<_> = (0..2)
                .map(|writer| {
                    let (gateway, admin, count) = (&gateway, &admin, &count);
                    scope.spawn(move || {
                        let mut made = Vec::new();
                        for number in 0.. {
                            let name = format!("{round}-{writer}-{number}");
                            let body =
                                json!({ "name": name, "creds": { "providers": { "t": { "apiKey": KEY } } } });
                            match call(gateway, admin, "POST", "/admin/users", &body) {
                                Some((201, answer)) => {
                                    made.push(answer["userId"].as_str().unwrap().to_owned());
                                    count.fetch_add(1, Ordering::Release);
                                }
                                Some(other) => panic!("{other:?}"),
                                None => break,
                            }
                        }
                        made
                    })
                })
                .collect();
            // At a different moment each time, and never before the first write.
            eventually("a user is made", || count.load(Ordering::Acquire) > 0);
            pause(std::time::Duration::from_micros(u64::from(round) * 97 % 4000));
            gateway.signal(Signal::KILL);
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        gateway.exit();
        acknowledged.extend(made);
    }
    assert!(acknowledged.len() >= 100, "{}", acknowledged.len());
    let _gateway = home.serve(&args);
    let users = over_socket(&home.data(), "GET /admin/users").1;
    let users = users.as_object().unwrap();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !users.contains_key(*id)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let count = |query| home.database(query).parse::<usize>().unwrap();
    assert_eq!(count("SELECT count(DISTINCT user_id) FROM tokens"), users.len(), "a user without a token");
    assert_eq!(count("SELECT count(*) FROM credentials"), users.len(), "a user without the credential");
    assert_eq!(count("SELECT count(*) FROM audit WHERE action = 'user.create'"), users.len());
    home.done(&["audit", "verify"], "");
    eprintln!("{} acknowledged, {} there", acknowledged.len(), users.len());
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// True for the files of keys.
fn is_of_key(path: &std::path::Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == "admin-token" || name == "master-key" || name.starts_with("master-key.old-")
}

/// Sends every secret through every interface, then searches all that was written.
#[test]
fn no_secret_is_anywhere_but_where_it_belongs() {
    const CANARIES: [&str; 5] = [
        "sk-canary-one-0001",
        "sk-canary-two-0002",
        "sk-canary-tri-0003",
        "canary-access-0004",
        "canary-refresh-0005",
    ];
    let mut world = World::with("", &["--log", "trace"]);
    world.exchange(Exchange::get());
    let (home, data) = (&world.home, world.home.data());
    let key = |home: &Home| fs::read_to_string(home.data().join("master-key")).unwrap().trim().to_owned();
    let admin = admin_token(home);
    let mut secrets: Vec<String> = CANARIES.map(str::to_owned).to_vec();
    secrets.extend([KEY.to_owned(), world.token.clone(), key(home)]);
    let mut said = String::new();
    let ask = |said: &mut String, token: &str, method: &str, path: &str, body: Value| {
        let (status, answer) = call(&world.gateway, token, method, path, &body).unwrap();
        // A token is shown once, to its creator.
        if answer.get("token").is_none() {
            said.push_str(&answer.to_string());
        }
        (status, answer)
    };
    let creds = |secret: &str| json!({ "providers": { "t": { "apiKey": secret } } });
    let (status, eve) =
        ask(&mut said, &admin, "POST", "/admin/users", json!({ "name": "eve", "creds": creds(CANARIES[0]) }));
    assert_eq!(status, 201, "{eve}");
    let (id, token) = (eve["userId"].as_str().unwrap(), eve["token"].as_str().unwrap());
    secrets.push(token.to_owned());
    for (status, token, method, path, body) in [
        (200, admin.as_str(), "PUT", format!("/admin/users/{id}/creds"), creds(CANARIES[1])),
        (200, &admin, "PUT", "/admin/credentials/everybody".to_owned(), creds(CANARIES[2])),
        (200, token, "PUT", "/auth/creds".to_owned(), creds(CANARIES[0])),
        (400, token, "PUT", "/auth/creds".to_owned(), creds(&format!("{}\n", CANARIES[1]))),
        (400, token, "PUT", "/auth/creds".to_owned(), json!({ CANARIES[1]: CANARIES[2] })),
        (
            400,
            token,
            "PUT",
            "/auth/creds".to_owned(),
            json!({ "providers": { "t": { "apiKey": { "accessToken": CANARIES[3], "refreshToken": CANARIES[4] } } } }),
        ),
        (401, CANARIES[1], "GET", "/auth/creds".to_owned(), Value::Null),
        (401, CANARIES[1], "GET", "/admin/users".to_owned(), Value::Null),
        (200, token, "GET", "/auth/creds".to_owned(), Value::Null),
        (200, &admin, "GET", "/admin/users".to_owned(), Value::Null),
        (200, &admin, "GET", "/admin/audit".to_owned(), Value::Null),
        (404, &admin, "GET", "/metrics".to_owned(), Value::Null),
    ] {
        let (found, answer) = call(&world.gateway, token, method, &path, &body).unwrap_or_default();
        // A refused key is named: it is the caller's own, and only the caller sees it.
        if body.get(CANARIES[1]).is_none() {
            said.push_str(&answer.to_string());
        }
        assert!(found == status || path == "/metrics", "{method} {path}: {found} {answer}");
    }
    let (status, more) = ask(&mut said, token, "POST", "/auth/rotate", Value::Null);
    assert_eq!(status, 200, "{more}");
    secrets.push(more["token"].as_str().unwrap().to_owned());

    let file = home.path("dump.json");
    let dump = json!({
        "users": { "usr_00000000000000aa": { "name": "zoe" } },
        "token:canarycanarycanary0006": "usr_00000000000000aa",
        "creds:usr_00000000000000aa": creds(CANARIES[1]),
    });
    secrets.push("canarycanarycanary0006".to_owned());
    fs::write(&file, dump.to_string()).unwrap();
    let backup = home.path("backup.db");
    for args in [
        &["import-worker", file.to_str().unwrap()][..],
        &["backup", backup.to_str().unwrap()],
        &["rekey"],
        &["user", "list"],
        &["token", "list"],
        &["credential", "list", "ada"],
        &["credential", "list", "usr_00000000000000aa"],
        &["audit", "verify"],
        &["status", "--json"],
        &["explain", "GET", "/t/get", "--as", "ada"],
    ] {
        let done = home.run(args, "");
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        said.push_str(&(done.out + &done.err));
    }
    secrets.push(key(home));
    world.exchange(Exchange::get());
    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
    let log = world.gateway.log().join("\n");
    assert!(log.contains("\"level\":\"DEBUG\"") || log.contains("\"level\":\"TRACE\""), "{log}");
    // A key belongs in its own file.
    let mut files = world.home.files();
    files.retain(|path, _| !is_of_key(path));
    files.insert(backup.clone(), fs::read(&backup).unwrap());
    assert!(files.keys().any(|path| *path == data.join("tollgate.db")), "{:?}", files.keys());
    for secret in secrets.iter().chain([&admin]) {
        for (path, bytes) in &files {
            assert!(!holds(bytes, secret), "{secret} stands in {}", path.display());
        }
        assert!(!log.contains(secret.as_str()), "{secret} is logged");
        assert!(!said.contains(secret.as_str()), "{secret} is shown");
    }
}
