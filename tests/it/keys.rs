//! The master key as an operator provides it: from each source, never from two, never a wrong one. A loss without it
//! is reported before anything is changed.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Instant,
};

use rustix::process::Signal;

use crate::harness::{CommandOutput, Exchange, Gateway, Home, KEY, World, pause};

const SERVE: &[&str] = &["serve", "--listen", "127.0.0.1:0"];

fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    assert!(gateway.exit().success());
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Checks that a start fails with all of these messages, shows no key, and changes nothing.
fn refused(home: &Home, env: &[(&str, &str)], words: &[&str]) {
    let before = home.contents();
    let said = home.run_with(SERVE, env, "");
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    for word in words {
        assert!(said.err.contains(word), "`{word}` is missing: {said:?}");
    }
    for (name, value) in env.iter().filter(|(name, _)| *name == "TOLLGATE_MASTER_KEY") {
        assert!(!said.err.contains(value), "{name} is shown: {said:?}");
    }
    assert!(before == home.contents(), "something was changed");
}

#[test]
fn a_key_works_from_each_source() {
    let mut world = World::new();
    world.exchange(Exchange::get());
    stop(&mut world.gateway);
    let made = world.home.data().join("master-key");
    let key = fs::read_to_string(&made).unwrap().trim().to_owned();
    fs::remove_file(&made).unwrap();
    let (file, credentials) = (world.home.path("elsewhere/key"), world.home.path("credentials"));
    write(&file, &format!("{key}\n"), 0o400);
    write(&credentials.join("tollgate-master-key"), &key, 0o440);
    let (file, credentials) = (file.to_str().unwrap(), credentials.to_str().unwrap());
    let wrong = "0123456789abcdef".repeat(4);
    fs::write(world.home.path("t.toml"), format!("master_key_file = \"{file}\"\n")).unwrap();
    let variable = ("TOLLGATE_MASTER_KEY", key.as_str());
    let named = ("TOLLGATE_MASTER_KEY_FILE", file);
    let credential = ("CREDENTIALS_DIRECTORY", credentials);
    for env in [
        &[variable][..],
        &[named],
        &[("TOLLGATE_CONFIG", "t.toml")],
        &[credential],
        &[variable, named, credential],
    ] {
        world.gateway = world.home.serve_with(&[], env);
        world.exchange(Exchange::get());
        let listed = world.home.run_with(&["credential", "list", "ada"], env, "");
        assert!(listed.out.contains("sk-upstr...6789"), "{env:?}: {listed:?}");
        stop(&mut world.gateway);
        assert!(!made.exists(), "{env:?}: a key that was given is not written down");
    }
    let other = ("TOLLGATE_MASTER_KEY", wrong.as_str());
    refused(&world.home, &[], &["the store was set up with the master key `", "master-key` is missing"]);
    refused(
        &world.home,
        &[other],
        &["TOLLGATE_MASTER_KEY holds the master key with id `", "was set up with"],
    );
    refused(
        &world.home,
        &[other, named],
        &["TOLLGATE_MASTER_KEY holds", "key` the one with id", "remove the wrong"],
    );
    refused(
        &world.home,
        &[other, credential],
        &["TOLLGATE_MASTER_KEY holds", "tollgate-master-key` the one with id"],
    );
    refused(
        &world.home,
        &[("TOLLGATE_MASTER_KEY_FILE", "none")],
        &["`none`, named by `master_key_file`, is missing"],
    );
    write(Path::new(file), &key, 0o644);
    refused(&world.home, &[named], &["is readable by others (mode 644): run `chmod 600 "]);
    // Another key in the default place is reported and not used.
    write(&made, &wrong, 0o600);
    world.gateway = world.home.serve_with(&[], &[variable]);
    world.gateway.logged("a master key that is not in use was found");
    world.exchange(Exchange::get());
}

#[test]
fn memory_that_cannot_be_locked_causes_only_a_warning() {
    let home = Home::shipped();
    let Some(namespace) = home.namespace("ulimit -l 0") else { return };
    let gateway = home.serve_in(&namespace, &[]);
    let lines = gateway.logged("the master key may be written to swap");
    assert!(lines.len() == 1 && lines[0].contains("`LimitMEMLOCK=`"), "{lines:?}");
    let home = Home::shipped();
    let gateway = home.serve(&[]);
    let locked: u64 = gateway.proc_status("VmLck:").trim_end_matches(" kB").parse().unwrap();
    assert!(locked >= 4, "{locked}");
}

/// The first schema: users, tokens and credentials alone.
const FIRST_SCHEMA: &str = "
    CREATE TABLE users (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, created_at BIGINT NOT NULL);
    CREATE INDEX users_by_name ON users (name);
    CREATE TABLE tokens (hash TEXT NOT NULL PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        prefix TEXT NOT NULL, label TEXT, created_at BIGINT NOT NULL, expires_at BIGINT);
    CREATE INDEX tokens_by_user ON tokens (user_id);
    CREATE TABLE credentials (user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE, section TEXT NOT NULL,
        field TEXT NOT NULL, sealed BLOB NOT NULL, updated_at BIGINT NOT NULL, PRIMARY KEY (user_id, section, field));
    CREATE TABLE admin_tokens (hash TEXT NOT NULL PRIMARY KEY, label TEXT NOT NULL, created_at BIGINT NOT NULL);
    CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);
    INSERT INTO meta VALUES ('master_key_id', '0123456789abcdef');
    INSERT INTO users VALUES ('usr_0123456789abcdef', 'ada', 5);
    INSERT INTO credentials VALUES ('usr_0123456789abcdef', 'demo', 'apiKey', x'01', 5);
    PRAGMA user_version = 1;
";

#[test]
fn without_its_key_an_older_store_stays_unchanged() {
    let home = Home::new(&[]);
    fs::create_dir(home.data()).unwrap();
    home.database("PRAGMA journal_mode = WAL");
    home.database(FIRST_SCHEMA);
    let wrong = "0123456789abcdef".repeat(4);
    refused(&home, &[("TOLLGATE_MASTER_KEY", &wrong)], &["TOLLGATE_MASTER_KEY holds", "`0123456789abcdef`"]);
    refused(&home, &[], &["the store was set up with the master key `0123456789abcdef`"]);
    assert!(!home.data().join("tollgate.db-wal").exists());
    let version: i64 = home.database("PRAGMA user_version").parse().unwrap();
    assert_eq!(version, 1);
}

// === another key ===

fn key_file(home: &Home) -> String {
    fs::read_to_string(home.data().join("master-key")).unwrap()
}

/// The keys that rotations have kept.
fn old_keys(home: &Home) -> Vec<String> {
    let files = home.files().into_iter();
    let old = files.filter(|(path, _)| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("master-key.old-"))
    });
    old.map(|(_, key)| String::from_utf8(key).unwrap()).collect()
}

#[test]
fn the_old_key_is_kept_for_the_backups_that_need_it() {
    let mut world = World::new();
    stop(&mut world.gateway);
    let first = key_file(&world.home);
    let backup = world.home.path("backup.db");
    let backup = backup.to_str().unwrap();
    world.home.done(&["backup", backup], "");
    let said = world.home.run(&["rekey"], "");
    rekeyed(&said, 1);
    let kept = said.err.lines().last().unwrap();
    let (path, need) = kept.split_once("`: ").unwrap();
    let path = path.strip_prefix("the old key is kept as `").unwrap();
    assert_eq!(need, "every backup that was made before now needs it; delete it with the last of them");
    assert_eq!(fs::read_to_string(path).unwrap(), first);
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = key_file(&world.home);
    let said = world.home.run(&["restore", backup], "");
    let put_back = |said: &CommandOutput| {
        let line = said.err.lines().last().unwrap();
        let (_, kept) = line.split_once("/master-key` again; the one that was there is kept as `").unwrap();
        kept.strip_suffix("`: the previous database needs it").unwrap().to_owned()
    };
    let kept = put_back(&said);
    assert_eq!((key_file(&world.home), fs::read_to_string(&kept).unwrap()), (first.clone(), second.clone()));
    world.gateway = world.home.serve(&[]);
    world.exchange(Exchange::get());
    stop(&mut world.gateway);
    // The database before the restore, and its key, come back in the same way.
    let is_kept = |path: &std::path::PathBuf| path.to_string_lossy().contains(".before-restore-");
    let before = world.home.files().into_keys().find(is_kept).unwrap();
    let said = world.home.run(&["restore", before.to_str().unwrap()], "");
    let kept = put_back(&said);
    assert_eq!((key_file(&world.home), fs::read_to_string(&kept).unwrap()), (second, first));
    world.gateway = world.home.serve(&[]);
    world.exchange(Exchange::get());
}

fn rekeyed(said: &CommandOutput, credentials: usize) {
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    assert!(said.err.starts_with("the master key is `"), "{said:?}");
    let sealed =
        format!(": {credentials} credential{} re-encrypted\n", if credentials == 1 { "" } else { "s" });
    assert!(said.err.contains(&sealed), "{said:?}");
}

#[test]
fn a_key_is_replaced_while_serving() {
    let mut world = World::new();
    world.exchange(Exchange::get());
    let first = key_file(&world.home);
    rekeyed(&world.home.run(&["rekey"], ""), 1);
    let second = key_file(&world.home);
    assert_ne!(first, second);
    assert!(!world.home.data().join("master-key.next").exists());
    assert_eq!(old_keys(&world.home), [&*first]);
    // The server did not learn the new key from this change: it had it already.
    world.exchange(Exchange::get());
    world.home.credential("ada", "providers.t.apiKey", KEY);
    world.exchange(Exchange::get());
    let bob = world.home.user("bob");
    world.home.credential("bob", "providers.t.apiKey", KEY);
    let exchange = Exchange::get().removed("Authorization", &format!("Bearer {bob}"));
    let exchange = exchange.added("Authorization", &format!("Bearer {KEY}"));
    let mut client = world.client();
    world.exchange_on(&mut client, &exchange);
    rekeyed(&world.home.run(&["rekey"], ""), 2);
    let third = key_file(&world.home);
    world.exchange(Exchange::get());
    world.home.done(&["audit", "verify"], "");
    stop(&mut world.gateway);
    rekeyed(&world.home.run(&["rekey"], ""), 2);
    let last = key_file(&world.home);
    let (mut expected, mut kept) = (vec![first.clone(), second.clone(), third], old_keys(&world.home));
    expected.sort();
    kept.sort();
    assert_eq!(kept, expected);
    world.gateway = world.home.serve(&[]);
    world.exchange(Exchange::get());
    stop(&mut world.gateway);
    for old in [first, second] {
        write(&world.home.data().join("master-key"), &old, 0o600);
        refused(
            &world.home,
            &[],
            &["master-key` holds the master key with id `", "but the store was set up with"],
        );
    }
    write(&world.home.data().join("master-key"), &last, 0o600);
    world.gateway = world.home.serve(&[]);
    world.exchange(Exchange::get());
}

#[test]
fn a_key_from_elsewhere_is_replaced_at_its_source() {
    let (old, new) = ("0123456789abcdef".repeat(4), "fedcba9876543210".repeat(4));
    let old = ("TOLLGATE_MASTER_KEY", old.as_str());
    let mut world = World::new();
    stop(&mut world.gateway);
    let file = world.home.path("old");
    write(&file, old.1, 0o600);
    rekeyed(&world.home.run(&["rekey", "--to", file.to_str().unwrap()], ""), 1);
    fs::remove_file(world.home.data().join("master-key")).unwrap();
    world.gateway = world.home.serve_with(&[], &[old]);
    write(&file, &new, 0o600);
    let said = world.home.run(&["rekey", "--to", file.to_str().unwrap()], "");
    rekeyed(&said, 1);
    assert!(
        said.err.contains("before the next start, put the key in `")
            && said.err.contains("TOLLGATE_MASTER_KEY"),
        "{said:?}"
    );
    world.exchange(Exchange::get());
    stop(&mut world.gateway);
    // It starts even with the old key, since the new one is available.
    world.gateway = world.home.serve_with(&[], &[old]);
    world.gateway.logged("TOLLGATE_MASTER_KEY holds a master key that was replaced");
    world.exchange(Exchange::get());
    stop(&mut world.gateway);
    let new = ("TOLLGATE_MASTER_KEY", new.as_str());
    world.gateway = world.home.serve_with(&[], &[new]);
    world.exchange(Exchange::get());
    assert!(!world.home.data().join("master-key.next").exists());
    stop(&mut world.gateway);
    refused(&world.home, &[old], &["TOLLGATE_MASTER_KEY holds the master key with id `", "was set up with"]);
}

#[test]
fn an_invalid_next_key_is_reported() {
    let world = World::new();
    let file = world.home.path("key");
    let name = file.to_str().unwrap();
    let check = |expected: &str| {
        let before = world.home.contents();
        let said = world.home.run(&["rekey", "--to", name], "");
        assert!(said.code == 1 && said.err.contains(expected), "{said:?}");
        assert!(before == world.home.contents(), "something was changed");
    };
    check("key` is missing: name a file with the new key, or none to create a new key");
    write(&file, "no key", 0o600);
    check("key` does not hold a master key");
    write(&file, &"01".repeat(32), 0o644);
    check("is readable by others (mode 644)");
    write(&file, &key_file(&world.home), 0o600);
    check("is the current one: give another key");
    let empty = Home::new(&[]);
    let said = empty.run(&["rekey"], "");
    assert!(said.code == 1 && said.err.contains("has no database yet"), "{said:?}");
    assert!(!empty.data().exists());
}

/// Killing the command or the server at any point loses nothing, and the rekey continues.
#[test]
fn a_killed_rekey_continues() {
    let mut world = World::new();
    stop(&mut world.gateway);
    let began = Instant::now();
    rekeyed(&world.home.run(&["rekey"], ""), 1);
    let whole = began.elapsed();
    let first = key_file(&world.home);
    for round in 0..24 {
        let mut child = world.home.spawn(&["rekey"]);
        pause(whole * round / 20);
        child.kill().unwrap();
        child.wait().unwrap();
        let listed = world.home.done(&["credential", "list", "ada"], "");
        assert!(listed.contains("sk-upstr...6789"), "{round}: {listed}");
    }
    assert_ne!(first, key_file(&world.home), "none was done");
    // The next start continues with the rest.
    world.gateway = world.home.serve(&[]);
    world.exchange(Exchange::get());
    for round in 0..8 {
        let mut child = world.home.spawn(&["rekey"]);
        pause(whole * round / 6);
        world.gateway.signal(Signal::KILL);
        world.gateway.exit();
        child.wait().unwrap();
        world.gateway = world.home.serve(&[]);
        world.exchange(Exchange::get());
    }
    assert_eq!(world.home.run(&["rekey"], "").code, 0);
    world.exchange(Exchange::get());
    assert!(!world.home.data().join("master-key.next").exists());
    world.home.done(&["audit", "verify"], "");
}
