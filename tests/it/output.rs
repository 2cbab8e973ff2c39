//! Output that cannot be written: a token that nobody has is revoked, and a file is whole or stays as it was.

use std::fs;

use crate::harness::{CommandOutput, Home};

const FULL: &str = "exec >/dev/full";
const NOTHING: &str = "error: failed to print the token, so nothing was created: ";

/// Runs a command on a full disk and on a closed pipe. Returns what it says each time.
fn lost(home: &Home, args: &[&str]) -> [CommandOutput; 2] {
    let all = [home.run_after(FULL, args), home.run_unread(args)];
    for said in &all {
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{args:?}: {said:?}");
    }
    all
}

/// The lines of a list, without its head.
fn listed(home: &Home, args: &[&str]) -> Vec<String> {
    home.done(args, "").lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn a_token_that_cannot_be_printed_is_taken_back() {
    let home = Home::shipped();
    home.user("alice");
    home.done(&["token", "add", "--admin"], "");
    let mut serving = None;
    for _ in 0..2 {
        for args in [&["user", "add", "bob"][..], &["token", "add", "alice"], &["token", "add", "--admin"]] {
            let [full, unread] = lost(&home, args);
            assert!(
                full.err.ends_with(&format!("{NOTHING}No space left on device (os error 28)\n")),
                "{full:?}"
            );
            assert!(unread.err.ends_with(&format!("{NOTHING}Broken pipe (os error 32)\n")), "{unread:?}");
        }
        assert_eq!(listed(&home, &["user", "list"]).len(), 1);
        assert_eq!(listed(&home, &["token", "list"]).len(), 1);
        assert_eq!(listed(&home, &["token", "list", "--admin"]).len(), 1);
        // The same while a server runs.
        serving.get_or_insert_with(|| home.serve(&[]));
    }
}

#[test]
fn the_only_admin_token_cannot_be_taken_back() {
    let home = Home::new(&[]);
    home.user("alice");
    let said = home.run_after(FULL, &["token", "add", "--admin"]);
    let tokens = listed(&home, &["token", "list", "--admin"]);
    let id = tokens[0].split(' ').next().unwrap();
    let advice = format!(
        "`tollgate token add --admin` creates another one, then `tollgate token revoke --admin {id}` revokes it"
    );
    assert!(said.code == 1 && said.err.contains(&advice), "{said:?}");
    home.done(&["token", "add", "--admin"], "");
    home.done(&["token", "revoke", "--admin", id], "");
}

#[test]
fn a_token_is_printed_also_if_its_note_cannot_be() {
    let home = Home::new(&[]);
    let said = home.run_after("exec 2>/dev/full", &["user", "add", "alice"]);
    assert_eq!(said.code, 0, "{said:?}");
    let shown = home.done(&["token", "list"], "");
    assert!(shown.contains(&said.out[..8]), "{said:?}: {shown}");
}

#[test]
fn a_note_that_stderr_does_not_take_goes_to_stdout() {
    let home = Home::shipped();
    let _serving = home.serve(&[]);
    let said = home.run_after("exec 2>/dev/full", &["rekey"]);
    assert!(said.code == 0 && said.out.starts_with("the master key is `"), "{said:?}");
}

/// A limit of the size of files stops a write in its middle, by an error or by a signal.
#[test]
fn a_file_is_written_whole_or_stays_as_it_was() {
    let long = format!("title = \"x\"\n{}", "# a comment\n".repeat(1000));
    let home = Home::new(&[("long", &long)]);
    let (kept, junit) = (home.path("schema/provider.schema.json"), home.path("junit.xml"));
    fs::create_dir_all(home.path("schema/draft-07")).unwrap();
    for file in [&kept, &junit] {
        fs::write(file, "as it was").unwrap();
    }
    let (schema, ca) = (home.path("schema"), home.path("ca.pem"));
    let (schema, ca) = (schema.to_str().unwrap(), ca.to_str().unwrap());
    let commands: [&[&str]; 5] = [
        &["fmt"],
        &["schema", "--out", schema],
        &["test", "--junit", junit.to_str().unwrap()],
        &["new", "acme", "--base-url", "https://acme.example"],
        &["mock", "--listen", "127.0.0.1:0", "--tls", "--ca-out", ca],
    ];
    for args in commands {
        for limit in ["trap '' XFSZ && ulimit -f 0", "ulimit -f 0"] {
            let said = home.run_after(limit, args);
            assert_ne!(said.code, 0, "{args:?}: {said:?}");
            assert!(limit.starts_with("ulimit") || said.err.contains("File too large"), "{args:?}: {said:?}");
        }
    }
    assert_eq!(fs::read_to_string(home.providers().join("long.toml")).unwrap(), long);
    for file in [&kept, &junit] {
        assert_eq!(fs::read_to_string(file).unwrap(), "as it was");
    }
    assert!(!home.providers().join("acme.toml").exists() && !home.path("ca.pem").exists());
    assert!(!home.path("schema/policy.schema.json").exists());
}

#[test]
fn a_device_is_written_to_and_not_replaced() {
    let home = Home::new(&[]);
    home.done(&["new", "acme", "--base-url", "https://acme.example"], "");
    let said = home.done(&["test", "--junit", "/dev/stdout"], "");
    assert!(said.starts_with("<?xml"), "{said}");
}
