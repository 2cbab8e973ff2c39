//! Backups, made while accounts change, and restores: complete or not at all, never with a key, and never over the
//! existing database.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::process::Signal;

use crate::harness::{CommandOutput, Exchange, Gateway, Home, KEY, World, pause};

fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    assert!(gateway.exit().success());
}

fn failed(said: &CommandOutput, expected: &str) {
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert!(
        said.err.starts_with("error: ") && said.err.contains(expected),
        "`{expected}` is missing: {said:?}"
    );
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The names of a home's users.
fn users(home: &Home) -> Vec<String> {
    let list = home.done(&["user", "list"], "");
    let mut names: Vec<_> =
        list.lines().skip(1).filter_map(|line| Some(line.split(' ').next_back()?.to_owned())).collect();
    names.sort();
    names
}

/// Names of replaced databases that were kept.
fn kept(home: &Home) -> Vec<String> {
    let names =
        fs::read_dir(home.data()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".before-restore-")).collect()
}

#[test]
fn a_backup_is_made_while_serving_and_restores_everything() {
    let mut world = World::new();
    world.exchange(Exchange::get());
    let file = world.home.path("backup.db");
    let name = file.to_str().unwrap();
    let said = world.home.run(&["backup", name], "");
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    assert!(said.err.contains("1 user, 1 token, 1 credential, schema "), "{said:?}");
    let bytes = fs::read(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = fs::read_to_string(world.home.data().join("master-key")).unwrap();
    let admin = fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    for secret in [KEY, &world.token, key.trim(), admin.trim()] {
        assert!(!contains(&bytes, secret), "a secret stands in the backup");
    }
    failed(&world.home.run(&["backup", name], ""), "backup.db` exists already: name another file");
    assert_eq!(fs::read(&file).unwrap(), bytes);

    let bob = world.home.user("bob");
    world.home.credential("ada", "providers.t.apiKey", "sk-later");
    let before = world.home.contents();
    failed(&world.home.run(&["restore", name], ""), "another tollgate serves from `");
    assert!(before == world.home.contents(), "something was changed");
    stop(&mut world.gateway);
    let said = world.home.run(&["restore", name], "");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("` is available") && said.err.contains("is kept as `"), "{said:?}");
    world.gateway = world.home.serve(&[]);
    world.exchange(Exchange::get());
    assert_eq!(users(&world.home), ["ada"]);
    stop(&mut world.gateway);

    // The replaced database is a database like any other.
    let [old] = &*kept(&world.home) else { panic!("{:?}", kept(&world.home)) };
    let old = world.home.data().join(old);
    assert_eq!(fs::metadata(&old).unwrap().permissions().mode() & 0o777, 0o600);
    world.home.done(&["restore", old.to_str().unwrap()], "");
    assert_eq!(users(&world.home), ["ada", "bob"]);
    world.gateway = world.home.serve(&[]);
    assert!(!bob.is_empty());
}

#[test]
fn a_backup_is_consistent() {
    let home = Home::new(&[]);
    home.user("u000");
    let done = AtomicBool::new(false);
    let backups: Vec<_> = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 1..60 {
                home.user(&format!("u{number:03}"));
            }
            done.store(true, Ordering::Release);
        });
        let mut names = Vec::new();
        while !done.load(Ordering::Acquire) && !writer.is_finished() {
            let name = home.path(&format!("{}.db", names.len())).display().to_string();
            home.done(&["backup", &name], "");
            names.push(name);
        }
        names
    });
    assert!(backups.len() > 2, "{backups:?}");
    let mut last = 0;
    for name in &backups {
        let other = Home::new(&[]);
        other.done(&["restore", name], "");
        let found = users(&other);
        let expected: Vec<_> = (0..found.len()).map(|number| format!("u{number:03}")).collect();
        assert!(found == expected && found.len() >= last, "{found:?}");
        last = found.len();
    }
}

/// A gateway with users, and a backup of it. Restoring another file must fail and change nothing.
struct Refusals {
    home: Home,
    good: Vec<u8>,
}

impl Refusals {
    fn new() -> Self {
        let home = Home::new(&[]);
        for number in 0..40 {
            home.user(&format!("u{number}"));
        }
        let good = home.path("good.db");
        home.done(&["backup", good.to_str().unwrap()], "");
        let good = fs::read(good).unwrap();
        Self { home, good }
    }

    /// The backup without its checksum, as a copy of a database is.
    fn plain(&self) -> &[u8] {
        &self.good[..self.good.len() - self.good.len() % 4096]
    }

    fn check(&self, name: &str, make: impl Fn(&Path), expected: &str) {
        let file = self.home.path(name);
        make(&file);
        let before = self.home.contents();
        failed(&self.home.run(&["restore", file.to_str().unwrap()], ""), expected);
        assert!(before == self.home.contents(), "{name}: something was changed");
    }

    fn bytes(&self, name: &str, bytes: &[u8], expected: &str) {
        self.check(name, |path| fs::write(path, bytes).unwrap(), expected);
    }

    fn sql(&self, name: &str, bytes: &[u8], statements: &'static str, expected: &str) {
        let make = |path: &Path| {
            fs::write(path, bytes).unwrap();
            crate::harness::database(path, statements);
        };
        self.check(name, make, expected);
    }
}

#[test]
fn a_damaged_backup_is_refused() {
    let refusals = Refusals::new();
    let good = &refusals.good;
    refusals.check("none", |_| (), "none` is missing or empty: name a file that `tollgate backup` wrote");
    refusals.bytes("empty", b"", "empty` is missing or empty");
    let check = |name: &str, bytes: &[u8]| {
        refusals.bytes(name, bytes, &format!("{name}` is not a tollgate database, or is damaged ("));
    };
    check("garbage", &b"garbage".repeat(1000));
    check("short", &good[..good.len() - 5000]);
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 4096].fill(0x5a);
    check("flipped", &flipped);
    // One flipped bit, wherever it is: also where no row is.
    for at in (0..good.len()).step_by(9973) {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        check("bit", &flipped);
    }
    let mut renamed = good.clone();
    let name = good.windows(3).position(|name| name == b"u17").unwrap();
    renamed[name] = b'v';
    refusals.bytes(
        "renamed",
        &renamed,
        "is damaged (its checksum is wrong: it was changed after it was written): nothing was changed",
    );
    let tail = [refusals.plain(), b"tail"].concat();
    refusals.bytes(
        "tail",
        &tail,
        "is damaged (it does not end where its database ends): nothing was changed",
    );
    let torn = |path: &Path| {
        fs::write(path, good).unwrap();
        fs::write(path.with_extension("db-wal"), "something").unwrap();
    };
    refusals.check("torn.db", torn, "torn.db` was copied while it was in use");
    assert_eq!(users(&refusals.home).len(), 40);
    failed(&refusals.home.run(&["backup", "no/such/x.db"], ""), "No such file or directory");
    let empty = Home::new(&[]);
    failed(&empty.run(&["backup", "x.db"], ""), "tollgate.db` is missing or empty: name the data directory");
    assert!(!empty.data().exists() && !empty.path("x.db").exists());
}

/// Without a checksum, as in a copy of a database, the content alone tells.
#[test]
fn a_foreign_database_is_refused() {
    let refusals = Refusals::new();
    let plain = refusals.plain();
    refusals.sql(
        "newer",
        plain,
        "PRAGMA user_version = 99",
        "newer` was written by a newer tollgate (schema 99",
    );
    let other = "CREATE TABLE a (b); PRAGMA user_version = 1";
    refusals.sql("other", b"", other, "other` is not a tollgate database");
    refusals.sql("tables", b"", "CREATE TABLE a (b)", "tables` is not a tollgate database");
    let forged = "DROP TRIGGER audit_is_never_changed; UPDATE audit SET actor = 'nobody' WHERE seq = 3;
        CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
            BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END";
    refusals.sql("forged", plain, forged, "entry 3 of the audit log does not match its hash");
    let trigger = "CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM tokens; END";
    refusals.sql("trigger", plain, trigger, "(the trigger `t` is not as in schema 11)");
    let view = "CREATE VIEW v AS SELECT * FROM users";
    refusals.sql("view", plain, view, "(the view `v` is not as in schema 11)");
    let index = "DROP INDEX tokens_by_user";
    refusals.sql("index", plain, index, "(the index `tokens_by_user` of schema 11 is missing)");
    let column = "ALTER TABLE users ADD COLUMN more TEXT";
    refusals.sql("column", plain, column, "(the table `users` is not as in schema 11)");
    let orphan = "PRAGMA foreign_keys = off; DELETE FROM users WHERE name = 'u3'";
    refusals.sql("orphan", plain, orphan, "(a row of `tokens` refers to one that does not exist)");
}

#[test]
fn a_database_with_a_row_that_cannot_be_read_is_refused() {
    let refusals = Refusals::new();
    let check = |name: &str, statements: &'static str, expected: &str| {
        refusals.sql(name, refusals.plain(), statements, expected);
    };
    check(
        "type",
        "UPDATE tokens SET created_at = 'x' WHERE rowid = 7",
        "(`tokens.created_at` holds another type than bigint)",
    );
    check(
        "blob",
        "UPDATE users SET name = CAST('x' AS BLOB) WHERE rowid = 7",
        "(`users.name` holds another type than text)",
    );
    for (name, statements) in [
        ("kind", "UPDATE tokens SET kind = 'bith' WHERE rowid = 7"),
        ("scopes", "UPDATE tokens SET scopes = '[' WHERE rowid = 7"),
        ("hash", "UPDATE tokens SET hash = 'short' WHERE rowid = 7"),
        (
            "id",
            "PRAGMA foreign_keys = off; UPDATE users SET id = 'someone' WHERE name = 'u3';
             UPDATE tokens SET user_id = 'someone' WHERE user_id NOT IN (SELECT id FROM users)",
        ),
    ] {
        check(name, statements, &format!("{name}` is not a tollgate database, or is damaged ("));
    }
}

#[test]
fn a_restore_reports_the_key_that_it_needs() {
    let world = World::new();
    let file = world.home.path("backup.db");
    let file = file.to_str().unwrap();
    let output = world.home.run(&["backup", file], "").err;
    let id = output.split("master key `").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    let other = Home::new(&[]);
    let said = other.run(&["restore", file], "");
    assert!(
        said.code == 0 && said.err.contains("cannot be decrypted yet: the store was set up with"),
        "{said:?}"
    );
    assert!(said.err.contains(id), "{said:?}");
    let wrong = "0123456789abcdef".repeat(4);
    let other = Home::new(&[]);
    let said = other.run_with(&["restore", file], &[("TOLLGATE_MASTER_KEY", &wrong)], "");
    assert!(
        said.code == 0 && said.err.contains("TOLLGATE_MASTER_KEY holds the master key with id"),
        "{said:?}"
    );
    let key = fs::read_to_string(world.home.data().join("master-key")).unwrap();
    let other = Home::new(&[]);
    let said = other.run_with(&["restore", file], &[("TOLLGATE_MASTER_KEY", key.trim())], "");
    assert!(said.code == 0 && said.err.contains(&format!("its master key `{id}` is available")), "{said:?}");
}

/// A backup replaces a damaged database, which is kept with its write-ahead log.
#[test]
fn a_damaged_database_is_replaced_and_kept() {
    let home = Home::new(&[]);
    home.user("ada");
    let file = home.path("backup.db");
    home.done(&["backup", file.to_str().unwrap()], "");
    let database = home.data().join("tollgate.db");
    let damaged = b"garbage".repeat(1000);
    fs::write(&database, &damaged).unwrap();
    fs::write(database.with_extension("db-wal"), "its log").unwrap();
    home.done(&["restore", file.to_str().unwrap()], "");
    assert_eq!(users(&home), ["ada"]);
    let mut names = kept(&home);
    names.sort();
    let [old, log] = &*names else { panic!("{names:?}") };
    assert_eq!(fs::read(home.data().join(old)).unwrap(), damaged);
    assert_eq!(format!("{old}-wal"), *log);
    assert_eq!(fs::read(home.data().join(log)).unwrap(), b"its log");
}

/// Killed at any point, a restore leaves the old database or the new one, and keeps the old one.
#[test]
fn a_killed_restore_loses_nothing() {
    let home = Home::new(&[]);
    home.user("old");
    let file = home.path("backup.db");
    let file = file.to_str().unwrap();
    home.done(&["backup", file], "");
    home.user("new");
    let began = std::time::Instant::now();
    home.done(&["restore", file], "");
    let whole = began.elapsed();
    let mut seen = [0, 0];
    for round in 0..30 {
        if users(&home) == ["old"] {
            home.user("new");
        }
        for name in kept(&home) {
            fs::remove_file(home.data().join(name)).unwrap();
        }
        let mut child = home.spawn(&["restore", file]);
        pause(whole * round / 25);
        child.kill().unwrap();
        child.wait().unwrap();
        let now = users(&home);
        let new = now == ["old"];
        assert!(new || now == ["new", "old"], "{now:?}");
        assert!(!new || kept(&home).len() == 1, "the old one is gone");
        seen[usize::from(new)] += 1;
    }
    eprintln!("{} times the old one, {} times the new one", seen[0], seen[1]);
    home.done(&["restore", file], "");
    assert_eq!(users(&home), ["old"]);
    assert!(!home.data().join("restore.tmp").exists());
}
