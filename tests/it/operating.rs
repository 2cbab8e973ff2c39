//! docs/operating.md and docs/accounts.md: runs their commands in order against the real binary. The settings and the
//! messages that operating.md names exist.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::harness::{Home, binary, root};

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).expect("the page is there")
}

/// The commands of all blocks, each block this many times. A command with the comment `exits 1` must do so.
fn script(page: &str, times: usize) -> String {
    let blocks = page.split("\n```sh\n").skip(1).filter_map(|tail| tail.split("\n```").next());
    let lines = blocks.flat_map(|block| std::iter::repeat_n(block, times)).flat_map(str::lines).map(|line| {
        if line.contains("# exits 1") {
            format!("code=0; {{ {line}\n}} || code=$?; test $code = 1\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

/// A port that is free now, for a command that needs a fixed one.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("loopback has ports").port()
}

#[test]
fn the_commands_of_operating_succeed() {
    assert!(script(&page("operating.md"), 1).contains("test $code = 1"));
    run("operating.md");
}

#[test]
fn the_commands_of_accounts_succeed() {
    run("accounts.md");
}

/// Runs the commands of a page, runs them again in the same directory, and then each block twice.
fn run(name: &str) {
    let dir = TempDir::new().expect("the temporary directory is writable");
    fs::create_dir(dir.path().join("bin")).unwrap();
    symlink(binary(), dir.path().join("bin/tollgate")).unwrap();
    for times in [1, 1, 2] {
        run_in(dir.path(), &script(&page(name), times));
    }
}

fn run_in(dir: &Path, script: &str) {
    let [port, mock] = [free_port(), free_port()].map(|port| port.to_string());
    assert!(script.matches("tollgate ").count() + script.matches("curl ").count() > 10, "{script}");
    let path = format!("{}/bin:{}", dir.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("timeout");
    // Background processes end with the script.
    let script =
        format!("trap 'kill $(jobs -p)' EXIT\n{}", script.replace("8787", &port).replace("8788", &mock));
    shell.args(["60", "bash", "-euxo", "pipefail", "-c", &script]);
    shell.env_clear().env("PATH", path).env("TOLLGATE_LISTEN", format!("127.0.0.1:{port}"));
    let output = shell.current_dir(dir).stdin(Stdio::null()).output().expect("there is a shell");
    let log = fs::read_to_string(dir.join("tollgate.log")).unwrap_or_default();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}\n{log}");
}

#[test]
fn the_settings_and_probes_of_operating_exist() {
    let page = page("operating.md") + &page("kubernetes.yaml");
    let home = Home::shipped();
    let help =
        ["serve", "status", "usage", "limits"].map(|command| home.done(&[command, "--help"], "")).concat();
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

/// Messages change their wording: an operator must find the quoted ones by search.
#[test]
fn the_quoted_messages_of_operating_are_in_the_code() {
    let page = page("operating.md");
    let (_, symptoms) = page.split_once("\n## At three in the morning\n").expect("the page has this part");
    let code = code(&root().join("src"));
    let mut seen = 0;
    for row in symptoms.lines().filter(|line| line.starts_with("| ")) {
        let symptom = row.split('|').nth(1).unwrap_or_default();
        for quoted in symptom.split('`').skip(1).step_by(2) {
            for piece in quoted.split("...").map(str::trim) {
                assert!(code.contains(piece), "`{piece}` is not in src/");
            }
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

/// The text of all source files below `dir`.
fn code(dir: &Path) -> String {
    let entries = fs::read_dir(dir).expect("the directory is readable").map(|entry| entry.unwrap().path());
    let texts = entries.map(|path| match path.extension() {
        _ if path.is_dir() => code(&path),
        Some(extension) if extension == "rs" => fs::read_to_string(path).unwrap(),
        _ => String::new(),
    });
    texts.collect()
}
