//! docs/operating.md and docs/accounts.md: their commands are run as they stand there, one after the other, against the
//! real binary; what else the first names exists.

use std::{
    net::TcpListener,
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::harness::{Home, binary, root};

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).expect("the page is there")
}

/// The commands of all blocks. One that `exits 1` has to.
fn script(page: &str) -> String {
    let blocks = page.split("\n```sh\n").skip(1).filter_map(|tail| tail.split("\n```").next());
    let lines = blocks.flat_map(str::lines).map(|line| {
        if line.contains("# exits 1") {
            format!("code=0; {{ {line}\n}} || code=$?; test $code = 1\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

/// A port that is free now, for a command that has to be told one.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("loopback has ports").port()
}

#[test]
fn every_command_of_operating_does_what_the_page_says() {
    let script = script(&page("operating.md"));
    assert!(script.contains("test $code = 1"), "{script}");
    run(&script);
}

#[test]
fn every_command_of_accounts_does_what_the_page_says() {
    run(&script(&page("accounts.md")));
}

fn run(script: &str) {
    let dir = TempDir::new().expect("the temporary directory is writable");
    std::fs::create_dir(dir.path().join("bin")).unwrap();
    symlink(binary(), dir.path().join("bin/tollgate")).unwrap();
    let [port, mock] = [free_port(), free_port()].map(|port| port.to_string());
    assert!(script.matches("tollgate ").count() + script.matches("curl ").count() > 10, "{script}");
    let path = format!("{}/bin:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("timeout");
    // What goes on in the background ends with the script.
    let script =
        format!("trap 'kill $(jobs -p)' EXIT\n{}", script.replace("8787", &port).replace("8788", &mock));
    shell.args(["60", "bash", "-euxo", "pipefail", "-c", &script]);
    shell.env_clear().env("PATH", path).env("TOLLGATE_LISTEN", format!("127.0.0.1:{port}"));
    let output = shell.current_dir(dir.path()).stdin(Stdio::null()).output().expect("there is a shell");
    let log = std::fs::read_to_string(dir.path().join("tollgate.log")).unwrap_or_default();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}\n{log}");
}

#[test]
fn what_the_page_names_exists() {
    let page = page("operating.md");
    let home = Home::shipped();
    let help = home.done(&["serve", "--help"], "") + &home.done(&["status", "--help"], "");
    let words = |begin: &'static str| {
        let part = |one: char| one.is_ascii_alphanumeric() || one == '-' || one == '_';
        page.match_indices(begin).map(move |(at, _)| (at, part)).collect::<Vec<_>>()
    };
    let mut seen = 0;
    for (at, part) in words("`--").into_iter().chain(words("TOLLGATE_")) {
        let word = page[at..].trim_start_matches('`');
        let word = &word[..word.find(|one| !part(one)).unwrap_or(word.len())];
        assert!(word == "TOLLGATE_" || word == "TOLLGATE_MASTER_KEY" || help.contains(word), "{word}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
    for path in ["/livez", "/readyz"] {
        assert!(page.contains(&format!("httpGet: {{ path: {path}, port: 8787 }}")), "{path}");
    }
}
