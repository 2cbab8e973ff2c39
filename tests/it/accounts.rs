//! Users, tokens and credentials beside a running server: requests see a change by the command line a moment later.
//! The output is for people and scripts.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use crate::harness::{Exchange, Fault, Home, KEY, LIMIT, Next, WRONG_TOKEN, Wire, World};

const NO_KEY: Fault<'_> = Fault(401, "credential_missing", "No API key configured for t");

/// A request that begins later than this after a change must see it.
const SEEN: Duration = Duration::from_millis(250);

fn get(token: &str, key: &str) -> Exchange {
    let exchange = Exchange::get().removed("Authorization", &format!("Bearer {token}"));
    exchange.added("Authorization", &format!("Bearer {key}"))
}

/// The outcome of a request with `token`: the key that the upstream saw, or the code of a fault.
fn outcome(world: &mut World, token: &str) -> String {
    let mut client = world.client();
    client.send(get(token, "").bytes());
    if let Next::Request(mut wire) = world.upstream.next_or(&client) {
        let request = wire.request().unwrap();
        wire.send(Exchange::get().answer.bytes());
        world.upstream.keep(wire);
        assert_eq!(client.answer().unwrap().head.status(), 200);
        return request.head.get("authorization").unwrap().trim_start_matches("Bearer ").to_owned();
    }
    let body = client.answer().unwrap().body;
    serde_json::from_slice::<serde_json::Value>(&body).unwrap()["error"]["code"].as_str().unwrap().to_owned()
}

/// Repeats a request until its outcome is `expected`. A request that begins later than `SEEN` with another outcome
/// fails the test.
fn becomes(world: &mut World, token: &str, expected: &str) {
    let changed = Instant::now();
    loop {
        let began = changed.elapsed();
        let seen = outcome(world, token);
        if seen == expected {
            eprintln!("{expected} was seen by a request after {began:?}");
            return;
        }
        assert!(began <= SEEN, "{seen} after {began:?}, when {expected} was due");
        assert!(began <= LIMIT);
    }
}

#[test]
fn changes_are_seen_at_once() {
    let mut world = World::new();
    let ada = world.token.clone();
    becomes(&mut world, &ada, KEY);
    world.home.credential("ada", "providers.t.apiKey", "sk-second");
    becomes(&mut world, &ada, "sk-second");
    world.home.done(&["credential", "remove", "ada", "providers.t.apiKey"], "");
    becomes(&mut world, &ada, "credential_missing");
    world.home.credential("ada", "providers.t.apiKey", KEY);
    becomes(&mut world, &ada, KEY);

    let more = world.home.done(&["token", "add", "ada", "--label", "ci"], "");
    let more = more.trim_end();
    becomes(&mut world, more, KEY);
    world.home.done(&["token", "revoke", "-"], more);
    becomes(&mut world, more, "invalid_token");
    becomes(&mut world, &ada, KEY);

    let bob = world.home.user("bob");
    becomes(&mut world, &bob, "credential_missing");
    world.home.credential("bob", "providers.t.apiKey", "sk-bob");
    becomes(&mut world, &bob, "sk-bob");
    world.home.done(&["user", "remove", "bob"], "");
    becomes(&mut world, &bob, "invalid_token");
    becomes(&mut world, &ada, KEY);
}

#[test]
fn users_are_created_during_a_flood_of_wrong_tokens() {
    let mut world = World::new();
    // The rate limit delays most of their answers.
    let _knocking: Vec<Wire> = (0..50)
        .map(|number| {
            let mut client = world.client();
            client.send(get(&format!("tg_{number:048x}"), "").bytes());
            client
        })
        .collect();
    let eve = world.home.user("eve");
    becomes(&mut world, &eve, "credential_missing");
}

#[test]
fn a_stream_continues_when_its_token_is_revoked() {
    let mut world = World::new();
    let token = world.token.clone();
    let exchange = get(&token, KEY);
    let mut client = world.client();
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    world.home.done(&["token", "revoke", "-"], &token);
    becomes(&mut world, &token, "invalid_token");
    wire.send(exchange.answer.bytes());
    world.receive(&mut client, &exchange);
    world.fault(exchange.bytes(), WRONG_TOKEN);
}

#[test]
fn keys_are_each_users_own() {
    let mut world = World::new();
    let bob = world.home.user("bob");
    world.fault(get(&bob, "").bytes(), NO_KEY);
    world.home.credential("bob", "providers.t.apiKey", "sk-bob");
    becomes(&mut world, &bob, "sk-bob");
    for _ in 0..5 {
        let ada = world.token.clone();
        let mut client = world.client();
        world.exchange_on(&mut client, &get(&ada, KEY));
        world.exchange_on(&mut client, &get(&bob, "sk-bob"));
    }
}

#[test]
fn commands_report_their_outcome() {
    let world = World::new();
    let check = |args: &[&str], stdin: &str, code: i32, out: &str, err: &str| {
        let said = world.home.run(args, stdin);
        assert_eq!(said.code, code, "{args:?} {said:?}");
        let fits =
            |text: &str, part: &str| if part.is_empty() { text.is_empty() } else { text.contains(part) };
        assert!(fits(&said.out, out) && fits(&said.err, err), "{args:?} {said:?}");
    };
    check(&["user", "add", "ada"], "", 1, "", "error: a user named `ada` exists, with the id usr_");
    check(&["user", "add", ""], "", 1, "", "a name has 1 to 100 characters");
    check(&["user", "list"], "", 0, "ada", "");
    check(&["user", "remove", "nobody"], "", 1, "", "no user has the id or name `nobody`");
    check(&["token", "list"], "", 0, "tg_", "");
    check(&["token", "list", "ada"], "", 0, "tg_", "");
    check(&["token", "add", "nobody"], "", 1, "", "no user has the id or name `nobody`");
    check(&["token", "add", "--admin", "--label", "ci"], "", 0, "tg_", "created an admin token");
    check(&["token", "add", "ada", "--admin"], "", 2, "", "cannot be used with");
    check(&["token", "add"], "", 2, "", "required");
    check(&["user", "change", "ada"], "", 2, "", "required");
    check(&["token", "revoke", "adm_0123456789abcdef"], "", 1, "", "is an admin token's id: add `--admin`");
    check(&["token", "revoke", "tg_nothing"], "", 1, "", "no token is shown as `tg_nothing`");
    check(&["credential", "list", "ada"], "", 0, "providers.t.apiKey", "");
    check(
        &["credential", "set", "ada", "providers.t.apikey"],
        "k",
        1,
        "",
        "did you mean `providers.t.apiKey`?",
    );
    check(&["credential", "set", "ada", "providers.t.apiKey"], "two\nlines", 1, "", "failed to store");
    check(&["credential", "set", "ada", "providers.t.apiKey"], "", 1, "", "failed to store");
    check(&["credential", "remove", "ada", "providers.u.apiKey"], "", 1, "", "has no credential");
    check(&["user"], "", 2, "", "Usage: tollgate user");
    check(&["token", "revoke"], "", 2, "", "required");
    check(&["nonsense"], "", 2, "", "unrecognized subcommand");
}

#[test]
fn only_adding_a_user_creates_a_store() {
    let home = Home::new(&[]);
    let data = home.data();
    let none = format!("error: there is no store in {}: no tollgate has served from there", data.display());
    for args in [
        &["user", "list"][..],
        &["user", "remove", "ada"],
        &["token", "add", "ada"],
        &["token", "list"],
        &["token", "revoke", "tg_0"],
        &["credential", "set", "--everybody", "providers.t.apiKey"],
        &["credential", "list", "ada"],
        &["audit", "verify"],
        &["explain", "GET", "/proxy/groq/v1/models", "--as", "ada"],
    ] {
        let said = home.run(args, "key");
        assert!(said.code != 0 && said.out.is_empty() && said.err.contains(&none), "{args:?} {said:?}");
        assert!(!data.exists(), "{args:?}");
    }
    let created = format!("created a new store in {}\n", data.display());
    let first = home.run(&["user", "add", "ada"], "");
    assert!(first.code == 0 && first.err.starts_with(&created), "{first:?}");
    let next = home.run(&["user", "add", "bob"], "");
    assert!(next.code == 0 && !next.err.contains("created a new store"), "{next:?}");
    // Deleting all entries leaves a valid empty chain.
    home.done(&["audit", "verify"], "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = data.join("tollgate.db");
        let mut database = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let statements = "DROP TRIGGER audit_is_never_shortened; DELETE FROM audit";
        sqlx::raw_sql(statements).execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    });
    let emptied = home.run(&["audit", "verify"], "");
    assert!(emptied.code == 1 && emptied.err.contains("all of its entries were removed"), "{emptied:?}");
}

#[test]
fn without_a_server_commands_report_the_files_they_read() {
    let text = |name: &str| {
        format!(
            "title = \"X\"\nbase_url = \"https://x.example\"\npath_prefix = \"/{name}\"\n\
             credentials.field = [{{ name = \"key\" }}]\nauth = [{{ field = \"key\", set = {{ x-key = \"{{secret}}\" }} }}]\n\
             [endpoint.one]\nmethod = \"GET\"\npath = \"/one\"\n"
        )
    };
    let region = "vars.region = { env = \"REGION_OF_FAR\" }\n";
    let far = text("far")
        .replace("https://x", "https://{region}")
        .replace("[endpoint", &format!("{region}[endpoint"));
    let home = Home::new(&[("near", &text("near")), ("far", &far)]);
    home.user("ada");
    home.credential("ada", "providers.near.key", "k");
    home.write("near", &text("near").replace("title", "tilte"));
    let looked = format!(
        "note: no tollgate serves from {}: checked against the files of {}\n",
        home.data().display(),
        home.providers().display()
    );
    for (place, wrong) in [
        ("providers.near.key", "no provider file has this field any more"),
        ("providers.far.key", "no provider file has such a"),
    ] {
        let said = home.run(&["credential", "set", "ada", place], "k");
        let begin = format!("error: failed to store `{place}`: {wrong}");
        assert!(said.code == 1 && said.err.starts_with(&begin) && said.err.contains(&looked), "{said:?}");
        for part in [
            "near.toml` is not used, since it has errors: see `tollgate check`\n",
            "far.toml` is not used in this shell: var `region` is not set: environment variable `REGION_OF_FAR`",
        ] {
            assert!(said.err.contains(part), "`{part}` is missing in {}", said.err);
        }
    }
}

#[test]
fn an_unusable_data_directory_is_reported_with_advice() {
    let home = Home::new(&[]);
    let nowhere = home.run(&["serve", "--data", "/proc/nope"], "");
    let made = "error: the data directory `/proc/nope` cannot be created: No such file or directory";
    assert!(nowhere.code == 1 && nowhere.err.starts_with(made), "{nowhere:?}");
    assert!(nowhere.err.contains("; name another with `--data`"), "{nowhere:?}");
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root is another user too");
        return;
    }
    home.user("ada");
    fs::set_permissions(home.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let owner = format!(
        "no right to use `{}` (mode 0700, owner uid 0): run this as that user, or as root",
        home.data().display()
    );
    for args in [&["user", "list"], &["serve", "--listen=127.0.0.1:0"]] {
        let Some(said) = home.run_as(65534, args) else { return };
        assert!(said.code == 1 && said.err.contains(&owner), "{args:?} {said:?}");
    }
}

#[test]
fn secrets_are_never_shown_again() {
    let world = World::new();
    for args in [&["user", "list"][..], &["token", "list"], &["credential", "list", "ada"]] {
        let said = world.home.run(args, "");
        let text = format!("{}{}", said.out, said.err);
        assert!(!text.contains(KEY) && !text.contains(&world.token), "{args:?} {text}");
    }
}

#[test]
fn nothing_at_rest_is_in_clear_or_for_others() {
    let mut world = World::new();
    world.exchange(Exchange::get());
    // The files of a killed process: a running one replaces some while the test lists them.
    world.gateway.signal(Signal::KILL);
    world.gateway.exit();
    let data = world.home.data();
    assert_eq!(mode(&data), 0o700);
    let mut files = Vec::new();
    collect(&data, &mut files);
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        if file.symlink_metadata().unwrap().file_type().is_file() {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
            let bytes = fs::read(&file).unwrap();
            for secret in [KEY, &world.token] {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "a secret stands in {}", file.display());
            }
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn collect(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_eq!(mode(&path), 0o700, "{}", path.display());
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
