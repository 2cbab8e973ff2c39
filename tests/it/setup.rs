//! `tollgate setup`: the steps of every client, printed, and written into files that are new, in use, broken or read-only.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::harness::{CommandOutput, Home, World, root};

/// The clients that are shipped.
const CLIENTS: [&str; 11] = [
    "aider",
    "anthropic-javascript",
    "anthropic-python",
    "claude-code",
    "codex",
    "curl",
    "cursor",
    "gemini-cli",
    "openai-javascript",
    "openai-python",
    "opencode",
];
/// A token that is nobody's.
const TOKEN: &str = "tg_0123456789abcdef0123456789abcdef0123456789abcdef";
const CLAUDE: &str = ".claude/settings.json";

/// With all built-in providers and clients: a directory with a client alone keeps them.
fn built_in() -> Home {
    let curl = fs::read_to_string(root().join("providers.d/clients/curl.toml")).unwrap();
    Home::new(&[("clients/curl", &curl)])
}

fn provider(path: &str, api: &str) -> String {
    format!(
        "title = \"Demo\"\nbase_url = \"https://api.example.com\"\npath_prefix = \"{path}\"\n\
         endpoint.chat = {{ method = \"POST\", path = \"/v1/chat\", api = \"{api}\" }}\n"
    )
}

/// A client of the api `messages` at `/chat`, with these keys at its top and these steps.
fn client(keys: &str, steps: &str) -> String {
    format!(
        "title = \"Acme\"\nkind = \"tool\"\n{keys}\n[[speaks]]\napi = \"messages\"\npath = \"/chat\"\n{steps}"
    )
}

fn step(file: &str, language: &str, code: &str) -> String {
    format!("[[speaks.step]]\nfile = \"{file}\"\nlanguage = \"{language}\"\ncode = '''\n{code}\n'''\n")
}

fn check(said: &CommandOutput, code: i32, out: &[&str], err: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    for (text, parts) in [(&said.out, out), (&said.err, err)] {
        for part in parts {
            assert!(text.contains(part), "`{part}` is missing in\n{text}");
        }
    }
}

/// Writes the steps of a client below `home` of the directory.
fn write(home: &Home, args: &[&str], stdin: &str) -> CommandOutput {
    let _ = fs::create_dir(home.path("home"));
    home.run(&[&["setup"], args, &["--write", "--home", "home"]].concat(), stdin)
}

fn put(home: &Home, name: &str, text: &str) {
    let path = home.path("home").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn text(home: &Home, name: &str) -> String {
    fs::read_to_string(home.path("home").join(name)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// All files below the directory of the test, and what they hold.
fn contents(home: &Home) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![home.path("")]);
    while let Some(dir) = open.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = fs::read(&path).unwrap_or_default();
                found.insert(path, bytes);
            }
        }
    }
    found
}

// === Printing ===

#[test]
fn the_clients_are_listed() {
    let home = built_in();
    let listed: Value = serde_json::from_str(&home.done(&["setup", "--json"], "")).unwrap();
    let mut names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|one| one["client"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, CLIENTS);
    let said = home.run(&["setup"], "");
    let head = "CLIENT                TITLE                         KIND     PROVIDER   WIRE FORMATS\n";
    check(&said, 0, &[head], &["`tollgate setup CLIENT` prints the steps"]);
    let rows: Vec<&str> = said.out.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert!(rows.len() == CLIENTS.len() && CLIENTS.iter().all(|client| rows.contains(client)), "{said:?}");
}

#[test]
fn every_client_is_set_up_for_the_provider_that_its_file_names() {
    let home = built_in();
    for client in CLIENTS {
        let said = home.run(&["setup", client, "--model", "model-1"], "");
        let base = "http://127.0.0.1:8787/";
        check(
            &said,
            0,
            &[base, "TOKEN"],
            &[" for the provider `", base, "`TOKEN` stands for a gateway token"],
        );
        for part in ["{base_url}", "{token}", "{model}", "MODEL"] {
            assert!(!said.out.contains(part), "{part}: {said:?}");
        }
        let document: Value =
            serde_json::from_str(&home.done(&["setup", client, "--model", "model-1", "--json"], "")).unwrap();
        assert_eq!(document["client"], client);
        let codes = document["steps"].as_array().unwrap();
        for line in codes.iter().flat_map(|step| step["code"].as_str().unwrap().lines()) {
            assert!(said.out.lines().any(|printed| printed == line), "{client}: {line}");
        }
    }
}

/// The guide shows a command and what it prints.
#[test]
fn the_guide_shows_what_is_printed() {
    let page = fs::read_to_string(root().join("docs/tooling.md")).unwrap();
    let (_, after) = page.split_once("<!-- setup: run by tests/it -->\n```sh\ntollgate ").unwrap();
    let (args, after) = after.split_once("\n```\n\n```text\n").unwrap();
    let (expected, _) = after.split_once("```").unwrap();
    assert_eq!(built_in().done(&args.split(' ').collect::<Vec<_>>(), ""), expected);
}

#[test]
fn the_address_is_that_of_the_running_server() {
    let world = World::new();
    let steps = "[[speaks.step]]\nlanguage = \"sh\"\ncode = \"go {base_url} {provider} {model}\"\n";
    world.home.write("clients/acme", &client("", steps));
    world.home.write("demo", &provider("/demo", "messages"));
    let said = world.home.run(&["setup", "acme", "--provider", "demo"], "");
    let line = format!("go http://{}/demo/v1 demo MODEL\n", world.gateway.address);
    check(&said, 0, &[&line], &["`MODEL` stands for the name of a model: `--model` fills it in"]);
    assert_eq!(said.out, line);
}

#[test]
fn what_cannot_be_set_up_is_refused() {
    let home =
        Home::new(&[("one", &provider("/one", "messages")), ("other", &provider("/other", "responses"))]);
    home.write("clients/acme", &client("provider = \"none\"", &step("a.json", "json", "{}")));
    let refused = |args: &[&str], code: i32, err: &[&str]| check(&home.run(args, ""), code, &[], err);
    refused(
        &["setup", "acm"],
        1,
        &["there is no client `acm`: did you mean `acme`? `tollgate setup` lists them"],
    );
    refused(&["setup", "zzz"], 1, &["there is no client `zzz`: `tollgate setup` lists them"]);
    refused(
        &["setup", "acme", "--provider", "oter"],
        1,
        &["there is no provider `oter`: did you mean `other`?"],
    );
    let wrong = "`acme` speaks `messages`, and `other` has no endpoint for it: it can call `one`";
    refused(&["setup", "acme", "--provider", "other"], 1, &[wrong]);
    refused(&["setup", "cursor"], 1, &["`cursor` can call none of the providers of these files"]);
    refused(&["setup", "acme", "--model", "a b"], 2, &["use letters, digits and"]);
    refused(&["setup", "acme", "--token-stdin"], 2, &["--write"]);
    refused(&["setup", "--write"], 2, &["CLIENT"]);
    refused(
        &["setup", "acme", "--write", "--home", "nowhere"],
        1,
        &["the home directory `", "does not exist"],
    );
    refused(&["setup", "acme", "--write"], 0, &[]);
    // The only provider is taken; of two, one has to be named.
    home.write("two", &provider("/two", "messages"));
    refused(&["setup", "acme"], 1, &["name the provider with --provider: `acme` can call `one`, `two`"]);
    home.write("clients/acme", &client("provider = \"two\"", &step("a.json", "json", "{}")));
    check(
        &home.run(&["setup", "acme"], ""),
        0,
        &[],
        &["for the provider `two`, at http://127.0.0.1:8787/two/v1"],
    );
}

// === Writing ===

#[test]
fn new_files_are_created() {
    let home = built_in();
    let said = write(&home, &["claude-code"], "");
    let path = home.path("home").join(CLAUDE);
    let created = format!("{}: created\n  set:      env.ANTHROPIC_BASE_URL\n", path.display());
    let note = "stands for a gateway token: put yours there, or run this again with `--token-stdin`";
    check(&said, 0, &[&created], &["`YOUR-TOLLGATE-TOKEN` in `", note]);
    // The step for one shell does the same: it is not left to do.
    assert!(!said.out.contains("left to do") && !said.out.contains("export"), "{said:?}");
    let expected = json!({ "env": {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8787/anthropic",
        "ANTHROPIC_AUTH_TOKEN": "YOUR-TOLLGATE-TOKEN",
    } });
    assert_eq!(serde_json::from_str::<Value>(&text(&home, CLAUDE)).unwrap(), expected);
    let said = write(&home, &["codex", "--model", "model-1"], "");
    check(&said, 0, &["left to do:\n\nThen run it:\nexport TOLLGATE_TOKEN=\"TOKEN\"\ncodex\n"], &[]);
    assert!(text(&home, ".codex/config.toml").starts_with("model = \"model-1\"\n"));
    check(&write(&home, &["gemini-cli"], ""), 0, &["set:      security.auth.selectedType"], &[]);
    check(&write(&home, &["aider", "--model", "model-1"], ""), 0, &[".aider.conf.yml: created"], &[]);
    // A file without `~/` is below the current directory.
    check(&write(&home, &["opencode", "--model", "model-1"], ""), 0, &["/opencode.json: created"], &[]);
    assert!(home.path("opencode.json").exists());
    let said = write(&home, &["openai-python"], "");
    check(&said, 0, &["left to do:\n\nInstall it with pip install openai, then:"], &[]);
}

#[test]
fn a_second_run_changes_nothing() {
    let home = built_in();
    for args in [
        &["claude-code"][..],
        &["codex", "--model", "m-1"],
        &["opencode", "--model", "m-1"],
        &["aider", "--model", "m-1"],
    ] {
        check(&write(&home, args, ""), 0, &[": created"], &[]);
        let before = contents(&home);
        check(&write(&home, args, ""), 0, &[": has it already, and was not changed\n"], &[]);
        assert_eq!(contents(&home), before, "{args:?}");
    }
    check(&write(&home, &["claude-code", "--token-stdin"], TOKEN), 0, &[": changed"], &[]);
    // Without the token, the one in the file stays.
    let before = contents(&home);
    let said = write(&home, &["claude-code"], "");
    check(&said, 0, &[": has it already, and was not changed\n"], &[]);
    assert!(contents(&home) == before && !said.err.contains("YOUR-TOLLGATE-TOKEN"), "{said:?}");
}

#[test]
fn what_a_file_has_is_kept() {
    let home = built_in();
    let old = "{\n    \"model\": \"large\",\n    \"env\": { \"ANTHROPIC_BASE_URL\": \"https://me:pw@other.example/x\", \"N\": \"1\" },\n    \"big\": 12345678901234567890123\n}\n";
    put(&home, CLAUDE, old);
    let path = home.path("home").join(CLAUDE);
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let said = write(&home, &["claude-code"], "");
    let kept = format!("  kept:     what it was is in {}.before-tollgate\n", path.display());
    check(
        &said,
        0,
        &[
            ": changed\n",
            "  replaced: env.ANTHROPIC_BASE_URL\n",
            "  set:      env.ANTHROPIC_AUTH_TOKEN\n",
            &kept,
        ],
        &[],
    );
    assert!(!format!("{said:?}").contains("me:pw"), "{said:?}");
    let new = old
        .replace("https://me:pw@other.example/x", "http://127.0.0.1:8787/anthropic")
        .replace("\"N\": \"1\" }", "\"N\": \"1\", \"ANTHROPIC_AUTH_TOKEN\": \"YOUR-TOLLGATE-TOKEN\" }");
    assert_eq!(text(&home, CLAUDE), new);
    let copy = home.path("home").join(format!("{CLAUDE}.before-tollgate"));
    assert_eq!((fs::read_to_string(&copy).unwrap().as_str(), mode(&copy), mode(&path)), (old, 0o640, 0o640));
    // The copy of the first change stays, and the next change has its own.
    let said = write(&home, &["claude-code", "--token-stdin"], TOKEN);
    let kept = format!("  kept:     what it was is in {}.before-tollgate-2\n", path.display());
    check(&said, 0, &[&kept], &[]);
    assert_eq!(fs::read_to_string(&copy).unwrap(), old);
    assert_eq!(text(&home, &format!("{CLAUDE}.before-tollgate-2")), new);
    let config = "# mine\nmodel = \"old\" # why\n\n[model_providers.a]\nname = \"a\"\n";
    put(&home, ".codex/config.toml", config);
    check(&write(&home, &["codex", "--model", "m-1"], ""), 0, &["replaced: model, which was `old`"], &[]);
    let new = text(&home, ".codex/config.toml");
    assert!(new.starts_with("# mine\nmodel = \"m-1\" # why\n"), "{new}");
    assert!(
        new.contains("[model_providers.a]\nname = \"a\"\n") && new.contains("[model_providers.tollgate]\n"),
        "{new}"
    );
}

#[test]
fn a_token_goes_into_a_private_file_and_nowhere_else() {
    let home = built_in();
    put(&home, CLAUDE, "{}");
    let said = write(&home, &["claude-code", "--token-stdin"], &format!("{TOKEN}\n"));
    check(&said, 0, &[": changed\n"], &[]);
    assert!(!format!("{said:?}").contains(TOKEN), "{said:?}");
    assert!(text(&home, CLAUDE).contains(&format!("\"ANTHROPIC_AUTH_TOKEN\": \"{TOKEN}\"")));
    assert_eq!(mode(&home.path("home").join(CLAUDE)), 0o600);
    fs::remove_dir_all(home.path("home")).unwrap();
    check(&write(&home, &["claude-code", "--token-stdin"], TOKEN), 0, &[": created\n"], &[]);
    assert_eq!(mode(&home.path("home").join(CLAUDE)), 0o600);
    let said = write(&home, &["codex", "--model", "m-1", "--token-stdin"], TOKEN);
    check(&said, 1, &[], &["no file of `codex` takes a token"]);
    assert!(!home.path("home/.codex").exists());
    for bad in ["", "a b", "a\"b", "$x"] {
        let said = write(&home, &["claude-code", "--token-stdin"], bad);
        check(&said, 1, &[], &["stdin holds no token: a token is one word"]);
    }
}

#[test]
fn a_file_that_cannot_be_changed_is_left_alone() {
    let home = built_in().without_rights();
    fs::create_dir(home.path("home")).unwrap();
    let refused = |args: &[&str], parts: &[&str]| {
        for name in ["", ".claude", ".codex", CLAUDE, ".codex/config.toml", ".aider.conf.yml"] {
            let path = home.path("home").join(name);
            // What is read-only stays so.
            if fs::metadata(&path).is_ok_and(|found| found.permissions().mode() & 0o200 != 0) {
                fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
            }
        }
        let before = contents(&home);
        let said = write(&home, args, "");
        check(&said, 1, &[], parts);
        assert_eq!((contents(&home), said.out.as_str()), (before, ""), "{said:?}");
    };
    put(&home, CLAUDE, "{\n  // mine\n  \"env\": {}\n}\n");
    let comments = "settings.json:2:3`: it is not JSON (key must be a string); JSON with comments is not changed; nothing was changed: mend the file, or put the step into it yourself";
    refused(&["claude-code"], &[comments]);
    put(&home, CLAUDE, "{\"env\": []}");
    refused(&["claude-code"], &["settings.json:1:9`: `env` is no object; nothing was changed"]);
    put(&home, ".codex/config.toml", "x = 1\ny =\n");
    refused(&["codex", "--model", "m-1"], &["config.toml:2:4`: it is not TOML ("]);
    refused(&["codex"], &["`~/.codex/config.toml` takes the name of a model: name it with --model"]);
    put(&home, ".aider.conf.yml", "{ a: 1 }\n");
    refused(&["aider", "--model", "m-1"], &[".aider.conf.yml:1:1`: this line is no key with a value"]);
    fs::write(home.path("home").join(CLAUDE), b"{\"a\": \"\xff\"}").unwrap();
    refused(&["claude-code"], &["settings.json` is not UTF-8"]);
    put(&home, CLAUDE, "{}");
    let path = home.path("home").join(CLAUDE);
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    refused(&["claude-code"], &["cannot change `", "Permission denied"]);
    fs::remove_file(&path).unwrap();
    symlink("gone.json", &path).unwrap();
    refused(&["claude-code"], &["is a symbolic link to a file that does not exist"]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused(&["claude-code"], &["settings.json` is not a file"]);
}

/// Dotfiles are often links into a repository.
#[test]
fn a_symbolic_link_stays_one() {
    let home = built_in();
    put(&home, "dotfiles/settings.json", "{}");
    fs::create_dir(home.path("home/.claude")).unwrap();
    symlink("../dotfiles/settings.json", home.path("home").join(CLAUDE)).unwrap();
    check(&write(&home, &["claude-code"], ""), 0, &[": changed\n"], &[]);
    assert!(fs::symlink_metadata(home.path("home").join(CLAUDE)).unwrap().is_symlink());
    assert!(text(&home, "dotfiles/settings.json").contains("ANTHROPIC_BASE_URL"));
}

/// All files are read before one is written.
#[test]
fn several_files_are_changed_all_or_none() {
    let home = Home::new(&[("demo", &provider("/demo", "messages"))]);
    let steps = [step("~/a.toml", "toml", "url = \"{base_url}\""), step("~/b.json", "json", "{\"a\": 1}")];
    home.write("clients/acme", &client("", &steps.concat()));
    put(&home, "b.json", "{");
    check(&write(&home, &["acme"], ""), 1, &[], &["b.json:1:1`: it is not JSON"]);
    assert!(!home.path("home/a.toml").exists());
    put(&home, "b.json", "{}");
    check(&write(&home, &["acme"], ""), 0, &["a.toml: created", "b.json: changed"], &[]);
    home.write("clients/acme", &client("", &step("~/c.json", "json", "{")));
    let wrong = "the client's own file is wrong: its code for `~/c.json` is refused";
    check(&write(&home, &["acme"], ""), 1, &[], &[wrong]);
}

/// What root writes in the directory of another user, it writes with the rights of that user.
#[test]
fn root_follows_no_link_of_another_user() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can act for another user");
        return;
    }
    let home = built_in();
    fs::set_permissions(home.path(""), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(home.path("home")).unwrap();
    chown(home.path("home"), Some(NOBODY), Some(NOBODY)).unwrap();
    let owned = |name: &str| {
        let found = fs::symlink_metadata(home.path("home").join(name)).unwrap();
        (found.uid(), found.gid())
    };
    // New directories and files are the user's.
    check(&write(&home, &["claude-code"], ""), 0, &[": created\n"], &[]);
    assert_eq!([owned(".claude"), owned(CLAUDE)], [(NOBODY, NOBODY); 2]);
    check(&write(&home, &["claude-code", "--token-stdin"], TOKEN), 0, &[": changed\n"], &[]);
    let copy = format!("{CLAUDE}.before-tollgate");
    assert_eq!([owned(CLAUDE), owned(&copy)], [(NOBODY, NOBODY); 2]);
    // A file of root's alone stays as it is, and its text nowhere.
    let secret = home.path("secret.json");
    fs::write(&secret, "{\"mine\": 1}").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let path = home.path("home").join(CLAUDE);
    let refused = || {
        let before = contents(&home);
        let said = write(&home, &["claude-code"], "");
        let whose = "root acts with the rights of the user 65534 here, whose directory it is";
        check(&said, 1, &[], &[whose, "Permission denied"]);
        assert_eq!((contents(&home), fs::metadata(&secret).unwrap().uid()), (before, 0), "{said:?}");
    };
    fs::remove_file(&path).unwrap();
    symlink(&secret, &path).unwrap();
    refused();
    // Neither is one written below a directory that the user's link leads to.
    fs::remove_dir_all(home.path("home/.claude")).unwrap();
    fs::create_dir(home.path("roots")).unwrap();
    symlink(home.path("roots"), home.path("home/.claude")).unwrap();
    refused();
    fs::remove_file(home.path("home/.claude")).unwrap();
    // A link that leads to what the user may change is followed, as for that user.
    fs::create_dir(home.path("home/.claude")).unwrap();
    chown(home.path("home/.claude"), Some(NOBODY), Some(NOBODY)).unwrap();
    put(&home, "own.json", "{}");
    chown(home.path("home/own.json"), Some(NOBODY), Some(NOBODY)).unwrap();
    symlink("../own.json", &path).unwrap();
    check(&write(&home, &["claude-code"], ""), 0, &[": changed\n"], &[]);
    assert!(text(&home, "own.json").contains("ANTHROPIC_BASE_URL"));
}

/// A key of a vendor would go to tollgate.
#[test]
fn a_token_that_stands_there_is_reported() {
    let home = built_in();
    put(&home, CLAUDE, "{\"env\": {\"ANTHROPIC_AUTH_TOKEN\": \"sk-vendor-1\"}}");
    let kept =
        "  keeps the token that stands there (env.ANTHROPIC_AUTH_TOKEN); use --token-stdin to replace it\n";
    for _ in 0..2 {
        let said = write(&home, &["claude-code"], "");
        check(&said, 0, &[kept], &[]);
        assert!(!format!("{said:?}").contains("sk-vendor"), "{said:?}");
    }
    let said = write(&home, &["claude-code", "--token-stdin"], TOKEN);
    check(&said, 0, &["replaced: env.ANTHROPIC_AUTH_TOKEN\n"], &[]);
    assert!(!said.out.contains("keeps"), "{said:?}");
    put(&home, CLAUDE, "{\"env\": {\"ANTHROPIC_AUTH_TOKEN\": \"\"}}");
    let said = write(&home, &["claude-code"], "");
    check(&said, 0, &["set:      env.ANTHROPIC_AUTH_TOKEN\n"], &["stands for a gateway token"]);
}

#[test]
fn steps_for_one_file_are_merged_into_one_text() {
    let home = Home::new(&[("demo", &provider("/demo", "messages"))]);
    let steps = [
        step("~/a.json", "json", "{\"a\": \"1\"}"),
        step("~/b.json", "json", "{\"x\": 1}"),
        step("~/a.json", "json", "{\"b\": \"{token}\"}"),
    ];
    home.write("clients/acme", &client("", &steps.concat()));
    put(&home, "a.json", "{}");
    let said = write(&home, &["acme", "--token-stdin"], TOKEN);
    check(&said, 0, &["a.json: changed\n  set:      a\n  set:      b\n  kept:", "b.json: created"], &[]);
    let expected = json!({ "a": "1", "b": TOKEN });
    assert_eq!(serde_json::from_str::<Value>(&text(&home, "a.json")).unwrap(), expected);
    assert_eq!(mode(&home.path("home/a.json")), 0o600);
    assert!(!home.path("home/a.json.before-tollgate-2").exists());
}

#[test]
fn a_token_that_is_there_already_gets_a_private_file() {
    let home = built_in();
    check(&write(&home, &["claude-code", "--token-stdin"], TOKEN), 0, &[": created\n"], &[]);
    let path = home.path("home").join(CLAUDE);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let said = write(&home, &["claude-code", "--token-stdin"], TOKEN);
    check(&said, 0, &[": has it already, and was not changed\n  mode:     it is 600 now\n"], &[]);
    assert_eq!(mode(&path), 0o600);
    let said = write(&home, &["claude-code", "--token-stdin"], TOKEN);
    assert!(said.code == 0 && !said.out.contains("mode:"), "{said:?}");
}

#[test]
fn a_copy_is_made_of_each_text_that_is_replaced() {
    let home = built_in();
    let with = |token: &str| format!("{{\"env\": {{\"ANTHROPIC_AUTH_TOKEN\": \"{token}\"}}}}");
    let copy = |end: &str| text(&home, &format!("{CLAUDE}.before-tollgate{end}"));
    for (token, end) in [("one", ""), ("two", "-2"), ("two", "-2"), ("three", "-3")] {
        put(&home, CLAUDE, &with(token));
        let said = write(&home, &["claude-code", "--token-stdin"], TOKEN);
        check(&said, 0, &[&format!(".before-tollgate{end}\n")], &[]);
        assert_eq!(copy(end), with(token));
    }
    assert_eq!((copy(""), copy("-2")), (with("one"), with("two")));
    assert!(!home.path("home").join(format!("{CLAUDE}.before-tollgate-4")).exists());
}
