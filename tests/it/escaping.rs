//! Hostile texts through every command and every format: none controls a terminal, hides a text, forges a line, or is a
//! command to a CI system.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::{
    harness::{CommandOutput, Gateway, Home},
    usage,
};

/// Every kind of hostile text, as a TOML string's escapes. A line of its own begins with `FORGED`.
const HOSTILE: &str = "a\\u001b[31m\\u009b7m\\r\\n::stop-commands::x\\nFORGED\\u202e\\u2066\\u200b\\ufeff\\u00ad\\u2028\\U000E0041##[add-mask]y##vso[z]section_start:1:s\\u007f";
/// The same as it stands in a name of a file.
const FILE_NAME: &str =
    "a\u{1b}[31m\u{9b}7m\r\n::stop-commands::x\nFORGED\u{202e}\u{200b}##[add-mask]y section_start:1:s.toml";

/// Valid. One of its tests fails, and all its texts are hostile.
fn valid() -> String {
    let base = "title = \"T H\"\nbase_url = \"https://good.example\"\npath_prefix = \"/good\"\n\
        vars = { region = { env = \"HOST_VAR\", optional = true } }\n\
        auth = [{ field = \"apiKey\", set = { x-key = \"{secret}\" } }]\n\
        credentials = { section = \"providers.good\", field = [{ name = \"apiKey\", label = \"H\" }] }\n\
        [endpoint.one]\nmethod = \"GET\"\npath = \"/one/{x}\"\n\
        [[response]]\nwhen = { status = 403 }\nreply = { status = 502, message = \"H\" }\n\
        [[test]]\nname = \"H\"\nrequest = { path = \"/good/one/1\", headers = { x-a = \"b\" } }\n\
        credentials = { apiKey = \"H\" }\n\
        expect = { url = \"H\", body = { a = \"H\" }, headers = { x-b = \"H\" } }\n";
    base.replace("\"H\"", &format!("\"{HOSTILE}\"")).replace("T H", HOSTILE)
}

/// With errors of many kinds, and raw characters in names and comments.
fn broken() -> String {
    format!(
        "\"{HOSTILE}\" = 1\ntitle = [\"{HOSTILE}\"] # \u{202e}\u{9b}##[add-mask]x\nbase_url = \"{HOSTILE}\"\n\
        path_prefix = \"/{HOSTILE}\"\nextends = \"{HOSTILE}\"\n[endpoint.\"{HOSTILE}\"]\nmethod = \"{HOSTILE}\"\n\
        path = \"/{{{HOSTILE}}}\"\n[headers.set]\n\"{HOSTILE}\" = \"{HOSTILE}\"\n[[auth]]\nfield = \"{HOSTILE}\"\n"
    )
}

const SYNTAX: &str =
    "title = \"\u{202e}\u{9b}##[add-mask]\" \u{200b}::\n::stop-commands::x\n\u{1b}[31m = 1\n";

fn good_home() -> Home {
    let home = Home::new(&[("good", &valid())]);
    let rule = format!(
        "[[headers]]\nname = \"{HOSTILE}\"\nnever = [\"x-key\"]\n[[tests]]\nname = \"t\"\nrefusals = [\"credential_missing\"]\n"
    );
    fs::write(home.path("policy.toml"), rule).unwrap();
    home
}

fn bad_home() -> Home {
    let home = Home::new(&[("good", &valid()), ("bad", &broken()), ("syntax", SYNTAX)]);
    fs::write(home.providers().join(FILE_NAME), broken()).unwrap();
    fs::write(home.path("bad-settings.toml"), format!("\"{HOSTILE}\" = 1\n")).unwrap();
    let user = json!({ "name": "a\u{1b}[31m\n::stop-commands::x\nFORGED\u{202e}" });
    let users = json!({ "usr_\u{1b}\nFORGED": user, "usr_00000000000000aa": user });
    let dump = json!([{ "key": "users", "value": users.to_string() }, { "key": "x\u{1b}\nFORGED\u{202e}:1", "value": "" }]);
    fs::write(home.path("dump.json"), dump.to_string()).unwrap();
    // A project's provider, of which only the mark is hostile: it is shown since no preset is for it.
    let dir = home.path("import/models.dev/providers/demo");
    fs::create_dir_all(dir.join(FILE_NAME)).unwrap();
    fs::create_dir_all(home.path("import/models.dev/providers").join(FILE_NAME)).unwrap();
    let entry = format!("name = \"{HOSTILE}\"\nnpm = \"{HOSTILE}\"\napi = \"https://demo.example/v1\"\n");
    fs::write(dir.join("provider.toml"), entry).unwrap();
    home
}

/// An output of a command that GitHub runs has lines for GitHub.
fn check(what: &str, text: &str, is_github: bool) {
    // Written out here, apart from the table of the code.
    let hides = |c: char| {
        let range = |first: u32, last: u32| (first..=last).contains(&u32::from(c));
        c.is_control() && c != '\n'
            || c == '\u{ad}'
            || c == '\u{feff}'
            || range(0x200b, 0x200f)
            || range(0x2028, 0x202e)
            || range(0x2060, 0x2069)
            || range(0xe0000, 0xe0fff)
    };
    if let Some(c) = text.chars().find(|c| hides(*c)) {
        panic!("{what}: {c:?} in\n{}", text.escape_debug());
    }
    for line in text.lines() {
        let start = line.trim_start();
        assert!(!start.starts_with("FORGED"), "{what}: {line}");
        let own = is_github && (start.starts_with("::error file=") || start.starts_with("::warning file="));
        assert!(own || !start.starts_with("::"), "{what}: {line}");
        for mark in ["##[", "##vso[", "section_start:"] {
            assert!(!line.contains(mark), "{what}: {line}");
        }
    }
}

/// Runs a command, and checks both its streams. With `shows`, the hostile text has to be in them, escaped.
fn run(home: &Home, args: &[&str], shows: bool) -> CommandOutput {
    let said = home.run(args, "");
    let is_github = args.contains(&"github");
    check(&format!("{args:?}"), &said.out, is_github);
    check(&format!("{args:?}"), &said.err, false);
    let all = format!("{}{}", said.out, said.err);
    let escaped = ["\\u{202e}", "\\\\u{202e}", "\\u202e", "&#92;u"].iter().any(|one| all.contains(one));
    assert!(escaped || !shows, "{args:?} does not show the text: {said:?}");
    if args.iter().any(|one| matches!(*one, "json" | "sarif" | "--json")) {
        serde_json::from_str::<Value>(&said.out).unwrap_or_else(|error| panic!("{args:?}: {error}"));
    }
    said
}

/// The calls of this test: arguments, and true if the hostile text is shown. The last arguments are hostile themselves.
fn calls() -> Vec<(Vec<&'static str>, bool)> {
    let list: &[(&str, bool)] = &[
        ("check", true),
        ("check --format json", true),
        ("check --format github", true),
        ("check --format sarif", true),
        ("check --format human providers.d/bad.toml", true),
        ("check --config bad-settings.toml", true),
        ("fmt --check", true),
        ("new other --base-url https://other.example", false),
        ("new demo --base-url HOSTILE", true),
        ("diff EMPTY providers.d", true),
        ("diff HOSTILE providers.d", true),
        ("prove --policy HOSTILE", true),
        ("test", true),
        ("test HOSTILE", true),
        ("explain GET /proxy/good/one/1 --as HOSTILE", true),
        ("price HOSTILE HOSTILE", true),
        ("status", false),
        ("reload", false),
        ("routes", true),
        ("schema", false),
        ("usage --model HOSTILE", false),
        ("limits --as HOSTILE", false),
        ("limits --limit HOSTILE", false),
        ("limits --near HOSTILE", false),
        ("limits grant HOSTILE all 5 --until 2h", true),
        ("limits revoke HOSTILE all", true),
        ("limits revoke ada HOSTILE", true),
        ("user add HOSTILE", false),
        ("user list", false),
        ("user change HOSTILE --name x", true),
        ("user remove HOSTILE", true),
        ("user access HOSTILE", true),
        ("user add --from HOSTILE", true),
        ("token add HOSTILE", true),
        ("token list HOSTILE", true),
        ("token revoke HOSTILE", false),
        ("token rotate HOSTILE", false),
        ("credential set HOSTILE providers.good.apiKey", true),
        ("credential fields HOSTILE", true),
        ("credential list HOSTILE", true),
        ("credential confirm HOSTILE", true),
        ("credential recover HOSTILE providers.good.apiKey", true),
        ("credential remove HOSTILE providers.good.apiKey", true),
        ("audit list --actor HOSTILE", false),
        ("audit list --target HOSTILE", false),
        ("audit verify --head HOSTILE", false),
        ("backup HOSTILE/x", true),
        ("restore HOSTILE", true),
        ("rekey --to HOSTILE", true),
        ("import-worker dump.json", false),
        ("import-worker HOSTILE", true),
        ("import models.dev import/models.dev", true),
        ("import models.dev import/models.dev --json", true),
        ("import HOSTILE", true),
        ("import models.dev HOSTILE", true),
        ("mock --listen HOSTILE", true),
        ("providers HOSTILE", true),
        ("providers --json HOSTILE", false),
        ("setup HOSTILE", true),
        ("setup curl --provider HOSTILE", true),
        ("setup curl --model HOSTILE", true),
        ("setup claude-code --write --home HOSTILE", true),
        ("serve --listen HOSTILE", false),
        ("HOSTILE", true),
        ("help HOSTILE", true),
    ];
    let words = |text: &'static str| text.split(' ').collect();
    list.iter().map(|(text, shows)| (words(text), *shows)).collect()
}

#[test]
fn no_command_prints_a_hostile_text() {
    let home = bad_home();
    home.user("ada");
    fs::create_dir(home.path("empty")).unwrap();
    fs::write(home.path("empty/good.toml"), "title = 1").unwrap();
    for (args, shows) in calls() {
        let name = FILE_NAME.trim_end_matches(".toml");
        let given = args.iter().map(|one| match *one {
            "HOSTILE" => name,
            "HOSTILE/x" => "a\u{1b}\n::stop-commands::x\nFORGED\u{202e}/x",
            "EMPTY" => "empty",
            one => one,
        });
        run(&home, &given.collect::<Vec<_>>(), shows);
    }
    let good = good_home();
    for (args, shows) in [
        (&["test"][..], true),
        (&["test", "--junit", "out.xml"], true),
        (&["prove", "--format", "human"], true),
        (&["prove", "--format", "json"], true),
        (&["explain", "GET", "/proxy/good/one/1", "--credential", "apiKey=x"], false),
        (&["explain", "GET", "/proxy/good/one/1", "--json"], false),
        (&["diff", "providers.d", "other", "--format", "human"], true),
        (&["diff", "providers.d", "other", "--format", "json"], true),
        (&["diff", "providers.d", "other", "--format", "markdown"], true),
        // Its test fails.
        (&["diff", "other", "providers.d"], true),
        (&["fmt", "--check"], false),
        (&["routes"], false),
    ] {
        fs::create_dir_all(good.path("other")).unwrap();
        let other =
            valid().replace("\"apiKey\", set", "\"apiKey\", match = \"H*\", set").replace("H*", HOSTILE);
        let (other, _) = other.split_once("[[test]]").unwrap();
        fs::write(good.path("other/good.toml"), other.replace("status = 502", "status = 503")).unwrap();
        run(&good, args, shows);
    }
    let xml = fs::read_to_string(good.path("out.xml")).unwrap();
    check("JUnit", &xml, false);
}

/// Names of models come from clients and upstreams.
#[test]
fn usage_is_escaped() {
    let home = Home::new(&[]);
    home.user("ada");
    let listed = home.done(&["user", "list"], "");
    let user = listed.lines().nth(1).and_then(|line| line.split(' ').next()).unwrap();
    usage::fill(&home, vec![(usage::key(user, FILE_NAME), usage::sums(1, 5, 7))]);
    for args in [
        "usage",
        "usage --every day --by model,user",
        "usage --json",
        "usage --csv --by user,model",
        "usage --recent",
        "usage --recent --json",
        "usage --recent --csv",
    ] {
        run(&home, &args.split(' ').collect::<Vec<_>>(), true);
    }
}

/// The commands that the help lists, with those below them.
fn commands(home: &Home, above: &[&str]) -> Vec<String> {
    let help = home.run(&[above, &["--help"]].concat(), "").out;
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let names: Vec<_> = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    if names.is_empty() {
        return vec![above.join(" ")];
    }
    names.iter().flat_map(|name| commands(home, &[above, &[name]].concat())).collect()
}

#[test]
fn every_command_is_tried() {
    let home = Home::new(&[]);
    let all = commands(&home, &[]);
    assert!(all.len() > 25 && all.contains(&"credential set".to_owned()), "{all:?}");
    let tried: BTreeSet<String> = calls().iter().map(|(args, _)| args.join(" ")).collect();
    for command in &all {
        let is_tried = tried.iter().any(|call| call == command || call.starts_with(&format!("{command} ")));
        assert!(is_tried, "`{command}` is missing in this test");
    }
}

/// The log, and the commands that read the running server.
#[test]
fn no_log_line_is_hostile() {
    let log = |home: &Home, gateway: &Gateway, what: &str| {
        gateway.logged("listening");
        for args in
            [&["status"][..], &["status", "--all"], &["status", "--json"], &["reload"], &["reload", "--json"]]
        {
            run(home, args, true);
        }
        run(home, &["diff", "socket:data", "providers.d", "--format", "markdown"], true);
        let lines = gateway.log();
        assert!(lines.iter().any(|line| line.contains("u202e") || line.contains("u{202e}")), "{lines:?}");
        check(what, &lines.join("\n"), false);
    };
    for format in ["human", "json"] {
        let home = bad_home();
        let gateway = home.start(&["--log-format", format], &[]);
        log(&home, &gateway, format);
    }
}
