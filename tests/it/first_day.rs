//! The first day of an operator: commands as root beside a service of another user, commands in the wrong directory, a
//! terminal that closes, Git, and what the log of the server says about commands.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Api, CommandOutput, Exchange, Gateway, Home, KEY, World, provider};

/// The user of the service.
const NOBODY: u32 = 65534;
/// A third user.
const OTHER: u32 = 65533;

fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    assert!(gateway.exit().success());
}

/// A home of an unprivileged user, whom root can serve. None if this is not root.
fn service() -> Option<Home> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can act for two users");
        return None;
    }
    Some(Home::new(&[("t", &provider("http://127.0.0.1:1", ""))]).without_rights())
}

fn as_root(home: &Home, args: &[&str]) -> CommandOutput {
    let said = home.run_as(0, args).unwrap();
    assert_eq!(said.code, 0, "{args:?}: {said:?}");
    said
}

/// Everything in the data directory, and its owner, group and mode.
fn owners(dir: &Path) -> Vec<(PathBuf, (u32, u32, u32))> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = open.pop() {
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let mode = metadata.permissions().mode() & 0o077;
        found.push((path, (metadata.uid(), metadata.gid(), mode)));
    }
    found
}

fn is_all_of_the_service(home: &Home) {
    for (path, owner) in owners(&home.data()) {
        let is_socket = path.ends_with("control.sock");
        assert!(is_socket || owner == (NOBODY, NOBODY, 0), "{}: {owner:?}", path.display());
    }
}

#[test]
fn the_service_can_use_what_root_leaves() {
    let Some(home) = service() else { return };
    let backup = home.data().join("backup.db");
    let backup = backup.to_str().unwrap();
    as_root(&home, &["user", "add", "ada"]);
    is_all_of_the_service(&home);
    let mut gateway = home.serve(&[]);
    as_root(&home, &["user", "add", "bob"]);
    as_root(&home, &["backup", backup]);
    as_root(&home, &["rekey"]);
    is_all_of_the_service(&home);
    stop(&mut gateway);
    as_root(&home, &["rekey"]);
    as_root(&home, &["restore", backup]);
    as_root(&home, &["token", "add", "--admin"]);
    is_all_of_the_service(&home);
    let mut gateway = home.serve(&[]);
    home.user("carol");
    stop(&mut gateway);
    // The same for a volume: the directory is root's, and the database is not.
    chown(home.data(), Some(0), Some(NOBODY)).unwrap();
    fs::set_permissions(home.data(), fs::Permissions::from_mode(0o770)).unwrap();
    as_root(&home, &["restore", backup]);
    let database = fs::metadata(home.data().join("tollgate.db")).unwrap();
    assert_eq!((database.uid(), database.gid()), (NOBODY, NOBODY));
    stop(&mut home.serve(&[]));
}

#[test]
fn a_restore_by_root_before_the_first_start_is_of_use() {
    let Some(home) = service() else { return };
    let (backup, data) = (home.path("backup.db"), home.data());
    home.user("ada");
    home.done(&["backup", backup.to_str().unwrap()], "");
    fs::remove_dir_all(&data).unwrap();
    as_root(&home, &["restore", backup.to_str().unwrap()]);
    is_all_of_the_service(&home);
    stop(&mut home.serve(&[]));
    is_all_of_the_service(&home);
}

#[test]
fn what_root_left_earlier_is_given_to_the_service_and_nothing_else_is() {
    let Some(home) = service() else { return };
    home.user("ada");
    let data = home.data();
    let [secret, other] = ["secret", "other"].map(|name| home.path(name));
    fs::write(&secret, "of root").unwrap();
    fs::write(&other, "of root").unwrap();
    // The user of the directory can put links to files of root's there.
    symlink(&secret, data.join("admin-token")).unwrap();
    fs::hard_link(&other, data.join("master-key.next")).unwrap();
    for name in ["tollgate.db", "setup.lock"] {
        chown(data.join(name), Some(0), Some(0)).unwrap();
    }
    let refused = home.run(&["user", "list"], "");
    let left = "setup.lock` (mode 0600, owner uid 0): a command that ran as that user left it; as root, run `chown -R --reference=";
    assert!(refused.code == 1 && refused.err.contains(left), "{refused:?}");
    as_root(&home, &["user", "list"]);
    for path in [&secret, &other] {
        assert_eq!(fs::metadata(path).unwrap().uid(), 0, "{}", path.display());
    }
    fs::remove_file(data.join("admin-token")).unwrap();
    fs::remove_file(data.join("master-key.next")).unwrap();
    is_all_of_the_service(&home);
    stop(&mut home.serve(&[]));
}

#[test]
fn root_follows_no_link_of_the_service() {
    let Some(home) = service() else { return };
    home.user("ada");
    let victim = home.path("victim");
    fs::write(&victim, "of root").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
    let backup = home.path("backup.db");
    home.done(&["backup", backup.to_str().unwrap()], "");
    for name in ["serve.lock", "setup.lock", "tollgate.db", "tollgate.db-wal"] {
        let (link, aside) = (home.data().join(name), home.path("aside"));
        let had = fs::rename(&link, &aside).is_ok();
        symlink(&victim, &link).unwrap();
        let all = [&["restore", backup.to_str().unwrap()][..], &["rekey"], &["user", "list"]];
        // A list takes no lock of those that serve.
        for args in &all[..if name == "serve.lock" { 2 } else { 3 }] {
            let said = home.run_as(0, args).unwrap();
            let problem = "it is a link, or not a file of the directory's user";
            assert!(said.code == 1 && said.err.contains(problem), "{name} {args:?}: {said:?}");
        }
        let found = fs::metadata(&victim).unwrap();
        assert_eq!((found.permissions().mode() & 0o777, found.uid()), (0o644, 0), "{name}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "of root", "{name}");
        fs::remove_file(&link).unwrap();
        if had {
            fs::rename(&aside, &link).unwrap();
        }
    }
    as_root(&home, &["user", "list"]);
}

#[test]
fn another_user_without_rights_is_refused_before_anything_is_created() {
    let Some(home) = service() else { return };
    fs::set_permissions(home.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(home.data()).unwrap();
    chown(home.data(), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(home.data(), fs::Permissions::from_mode(0o777)).unwrap();
    for args in [&["user", "add", "ada"][..], &["restore", "backup.db"]] {
        let Some(said) = home.run_as(OTHER, args) else { return };
        let expected = "is the data directory of the user with uid 65534, who could not use what this command creates there: run this as that user, or as root\n";
        assert!(said.code == 1 && said.err.ends_with(expected), "{said:?}");
    }
    assert!(home.files().is_empty());
}

#[test]
fn a_command_elsewhere_makes_no_second_store() {
    let world = World::new();
    let elsewhere = world.home.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let address = world.gateway.address.to_string();
    let run = |args: &[&str], address: &str| {
        world.home.run_elsewhere(&elsewhere, args, &[("TOLLGATE_LISTEN", address)])
    };
    let refused = |said: &CommandOutput| {
        let expected = format!(
            "error: a tollgate answers at http://{address}, and it does not serve from `{}`, where there is no store: ",
            elsewhere.join("data").display()
        );
        assert!(said.code == 1 && said.err.starts_with(&expected), "{said:?}");
        assert!(!elsewhere.join("data").exists());
    };
    refused(&run(&["user", "add", "bob"], &address));
    refused(&run(&["token", "add", "--admin"], &address));
    refused(&run(&["restore", "backup.db"], &address));
    fs::write(elsewhere.join("tollgate.toml"), format!("listen = \"{address}\"\n")).unwrap();
    refused(&world.home.run_elsewhere(&elsewhere, &["user", "add", "bob"], &[]));
    // A directory that is named is meant. A listener that is silent, or not there, holds nobody up.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    for (args, address) in [
        (&["--data", "named", "user", "add", "bob"][..], address.as_str()),
        (&["user", "add", "bob"], &silent),
        (&["user", "add", "bob"], "127.0.0.1:1"),
        (&["user", "add", "bob"], "nonsense"),
    ] {
        let said = run(args, address);
        assert!(said.code == 0 && said.err.starts_with("created a new store in "), "{said:?}");
        let _ = fs::remove_dir_all(elsewhere.join("data"));
    }
}

#[test]
fn the_start_names_the_whole_path_of_the_data_directory() {
    let home = Home::new(&[("t", &provider("http://127.0.0.1:1", ""))]);
    let whole = home.data();
    let mut gateway = home.start(&[], &[("TOLLGATE_DATA", "data")]);
    assert_eq!(gateway.wait_for_log("listening")["data"], json!(whole));
    stop(&mut gateway);
    let mut gateway = home.start(&["--log-format", "human"], &[("TOLLGATE_DATA", "data")]);
    gateway.logged(&format!("  data       {}", whole.display()));
    stop(&mut gateway);
}

#[test]
fn a_data_directory_keeps_itself_out_of_git() {
    let check = |before: &[(&str, &str)], args: &[&str], expected: Option<&str>| {
        let home = Home::new(&[]);
        if !before.is_empty() {
            fs::create_dir(home.data()).unwrap();
        }
        for (name, text) in before {
            fs::write(home.data().join(name), text).unwrap();
        }
        home.done(args, "");
        let found = fs::read_to_string(home.data().join(".gitignore")).ok();
        assert_eq!(found.as_deref(), expected, "{before:?}");
    };
    let add = &["user", "add", "ada"];
    check(&[], add, Some("*\n"));
    check(&[(".gitignore", "mine\n")], add, Some("mine\n"));
    check(&[("lost+found", "")], add, Some("*\n"));
    check(&[("README.md", "a whole repository")], add, None);
}

#[test]
fn a_terminal_that_closes_ends_the_server() {
    let home = Home::new(&[("t", &provider("http://127.0.0.1:1", ""))]);
    let mut gateway = home.serve_at_terminal("");
    gateway.signal(Signal::KILL);
    let _ = gateway.exit();
    let log = gateway.log().join("\n");
    assert!(log.contains("\"signal\":\"SIGHUP\"") && log.contains("\"message\":\"stopped\""), "{log}");
    assert!(!log.contains("stopped immediately"), "{log}");
}

#[test]
fn with_nohup_a_terminal_that_closes_reloads_the_files() {
    let home = Home::new(&[("t", &provider("http://127.0.0.1:1", ""))]);
    let mut gateway = home.serve_at_terminal("trap '' HUP;");
    gateway.signal(Signal::KILL);
    gateway.wait_for_log("provider files reloaded: no change");
    let lock = fs::read_to_string(home.data().join("serve.lock")).unwrap();
    let server: i32 = lock.lines().next().unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(server).unwrap(), Signal::TERM).unwrap();
    let _ = gateway.exit();
}

/// The audit lines of a log.
fn audit(gateway: &Gateway) -> Vec<Value> {
    let lines = gateway.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    lines.filter(|line| line["message"] == "audit").collect()
}

#[test]
fn changes_by_commands_are_in_the_log_of_the_server() {
    let mut world = World::new();
    let api = Api::admin(&world);
    let before = audit(&world.gateway).len();
    let mut expected = Vec::new();
    for round in 0..5 {
        let name = format!("user{round}");
        world.home.user(&name);
        expected.push(("user.create", json!("command line")));
        api.user(&format!("{name}-by-api"));
        expected.push(("user.create", Value::Null));
        // These two ask the running server, which writes them itself.
        world.home.credential(&name, "providers.t.apiKey", "a-secret-of-the-test");
        expected.push(("credentials.change", Value::Null));
        world.home.done(&["token", "add", &name], "");
        expected.push(("token.create", Value::Null));
    }
    world.exchange(Exchange::get());
    stop(&mut world.gateway);
    let lines = audit(&world.gateway);
    let of_test: Vec<_> =
        lines[before..].iter().map(|line| (line["action"].as_str().unwrap(), line["via"].clone())).collect();
    assert_eq!(of_test, expected);
    let numbers: Vec<_> = lines[before..].iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    let own = rustix::process::getuid().as_raw();
    assert_eq!(lines[before]["actor"], json!(format!("uid {own}")));
    let log = world.gateway.log().join("\n");
    assert!(!log.contains("a-secret-of-the-test") && !log.contains(KEY), "{log}");
}
